//! What a partial schedule leaves free, and the cheapest place for one more job.
//!
//! Invariants: what is placed fits every constraint; putting a job in and taking it out again leaves the state as it was
//! (up to rounding); ties go to the lower index, so that the same problem gives the same places.

use super::problem::{Ask, Place, Problem, TOUCH_KW, WAIT_KWH};

/// Racks of one domain at one site.
struct Domain {
    racks: Vec<usize>,
    partition: usize,
    least_extra: f64,
    /// The most GPUs that one of its racks has free in any slot before anything is placed.
    most_gpus: u32,
    /// Its row in [`State::domain_free`].
    row: usize,
}

impl Domain {
    /// Least surcharge and touch charge of a job here, kWh over `all_h` hours: on its cheapest rack, over as few racks as can hold it.
    fn least_kwh(&self, ask: &Ask, all_h: f64) -> f64 {
        (ask.kw() * self.least_extra + TOUCH_KW * f64::from(ask.gpus.div_ceil(self.most_gpus.max(1)))) * all_h
    }
}

/// A partial schedule.
pub struct State<'a> {
    pub p: &'a Problem,
    pub places: Vec<Option<Place>>,
    /// rack · slots + slot.
    free: Vec<u32>,
    /// cap · slots + slot.
    room_kw: Vec<f64>,
    /// site · slots + slot.
    load_kw: Vec<f64>,
    /// Per site, cheapest first.
    domains: Vec<Vec<Domain>>,
    /// Free GPUs of a domain's racks together: row · slots + slot.
    domain_free: Vec<u32>,
    /// Per rack, the row of its domain.
    rows: Vec<usize>,
    /// Per site, the caps that all of its racks count under.
    common: Vec<Vec<usize>>,
    /// Racks looked at, times slots: the search's budget is counted in these.
    pub work: u64,
    /// Per cap: its least room, kW, and the look ([`State::looks`]) that found it. Racks share caps.
    held: Vec<(u64, f64)>,
    looks: u64,
    /// Room to write for one look, kept so that it is not asked for anew.
    scratch: Scratch,
}

#[derive(Default)]
struct Scratch {
    /// (rack, chunks that fit).
    fits: Vec<(usize, u32)>,
    /// (rack, chunks) of one way to lay a job.
    laid: Vec<(usize, u32)>,
    /// (cap, kW).
    spent: Vec<(usize, f64)>,
}

/// Which corner a search must leave: a start and a domain.
pub type Forbidden = Option<(usize, usize)>;

impl<'a> State<'a> {
    pub fn new(p: &'a Problem) -> State<'a> {
        let k = p.slots;
        let mut free = Vec::with_capacity(p.racks.len() * k);
        for r in &p.racks {
            free.extend((0..k).map(|s| r.free.get(s).copied().unwrap_or(0)));
        }
        let mut room_kw = Vec::with_capacity(p.caps.len() * k);
        for c in &p.caps {
            room_kw.extend((0..k).map(|s| c.room_kw.get(s).copied().unwrap_or(0.0).max(0.0)));
        }
        let load_kw = p.sites.iter().flat_map(|s| s.base_kw.iter().copied()).collect();
        // A domain that two partitions share is two lists: a job may use one of them and not the other.
        let mut found = std::collections::BTreeMap::<(usize, usize, usize), Vec<usize>>::new();
        for (r, rack) in p.racks.iter().enumerate() {
            found.entry((rack.site, rack.domain, rack.partition)).or_default().push(r);
        }
        let mut domains: Vec<Vec<Domain>> = p.sites.iter().map(|_| vec![]).collect();
        for ((site, _, partition), mut racks) in found {
            racks.sort_by(|a, b| p.racks[*a].extra.total_cmp(&p.racks[*b].extra).then(a.cmp(b)));
            let least_extra = racks.first().map_or(0.0, |r| p.racks[*r].extra);
            let most_gpus = racks.iter().flat_map(|r| &free[r * k..(r + 1) * k]).copied().max().unwrap_or(0);
            domains[site].push(Domain { racks, partition, least_extra, most_gpus, row: 0 });
        }
        for d in &mut domains {
            d.sort_by(|a, b| a.least_extra.total_cmp(&b.least_extra).then(a.racks.cmp(&b.racks)));
        }
        let mut rows = vec![0; p.racks.len()];
        let mut domain_free = vec![];
        for (row, d) in domains.iter_mut().flatten().enumerate() {
            d.row = row;
            d.racks.iter().for_each(|r| rows[*r] = row);
            domain_free.extend((0..k).map(|s| d.racks.iter().map(|r| free[r * k + s]).sum::<u32>()));
        }
        State {
            places: vec![None; p.asks.len()],
            free,
            room_kw,
            load_kw,
            domains,
            domain_free,
            rows,
            common: (0..p.sites.len()).map(|site| common_caps(p, site)).collect(),
            work: 0,
            held: vec![(0, 0.0); p.caps.len()],
            looks: 0,
            scratch: Scratch::default(),
            p,
        }
    }

    fn until(&self, ask: &Ask, start: usize) -> usize {
        (start + ask.slots).min(self.p.slots)
    }

    /// Rise of a site's energy within the horizon, kWh.
    fn site_kwh(&self, site: usize, ask: &Ask, start: usize) -> f64 {
        let (s, kw) = (&self.p.sites[site], ask.kw());
        let at = |k: usize| {
            let before = self.load_kw[site * self.p.slots + k];
            s.curves[k].at(before + kw) - s.curves[k].at(before)
        };
        self.p.hours() * (start..self.until(ask, start)).map(at).sum::<f64>()
    }

    /// What a job that has no place yet would add to the objective at a place, kWh.
    pub fn rise_kwh(&self, j: usize, place: &Place) -> f64 {
        let ask = &self.p.asks[j];
        let site = place.racks.first().map_or(0, |(r, _)| self.p.racks[*r].site);
        self.site_kwh(site, ask, place.start) + self.p.own_kwh(ask, place)
    }

    /// The cap with the least room left while a job (now taken out) runs at a place, and that room, kW.
    pub fn least_room_after(&self, j: usize, place: &Place) -> (String, f64) {
        let ask = &self.p.asks[j];
        let until = self.until(ask, place.start);
        let mut added: Vec<(usize, f64)> = vec![];
        for &(r, n) in &place.racks {
            for &c in &self.p.racks[r].caps {
                let kw = f64::from(n * ask.chunk) * ask.kw_per_gpu;
                match added.iter_mut().find(|(x, _)| *x == c) {
                    Some((_, sum)) => *sum += kw,
                    None => added.push((c, kw)),
                }
            }
        }
        let left = |&(c, kw): &(usize, f64)| (c, self.least_room(c, place.start, until) - kw);
        added
            .iter()
            .map(left)
            .min_by(|a, b| a.1.total_cmp(&b.1))
            .map_or((String::new(), f64::INFINITY), |(c, kw)| (self.p.caps[c].name.clone(), kw.max(0.0)))
    }

    /// Does a job that has no place fit at one, with a reserve left under each cap (kW; `None` = that cap does not count)?
    pub fn fits(&self, j: usize, place: &Place, reserve_kw: &dyn Fn(usize) -> Option<f64>) -> bool {
        let (ask, k) = (&self.p.asks[j], self.p.slots);
        let until = self.until(ask, place.start);
        let mut added: Vec<(usize, f64, f64)> = vec![];
        for &(r, n) in &place.racks {
            if self.free[r * k + place.start..r * k + until].iter().any(|f| *f < n * ask.chunk) {
                return false;
            }
            for &c in &self.p.racks[r].caps {
                let kw = f64::from(n * ask.chunk) * ask.kw_per_gpu;
                match (added.iter_mut().find(|(x, ..)| *x == c), reserve_kw(c)) {
                    (Some((_, sum, _)), _) => *sum += kw,
                    (None, Some(reserve)) => added.push((c, kw, reserve)),
                    (None, None) => {}
                }
            }
        }
        added.iter().all(|(c, kw, reserve)| self.least_room(*c, place.start, until) + 1e-7 >= kw + reserve)
    }

    /// Objective so far, kWh.
    pub fn cost_kwh(&self) -> f64 {
        super::audit::cost_kwh(self.p, &super::problem::Schedule { places: self.places.clone(), cost_kwh: 0.0 })
    }

    fn change(&mut self, j: usize, place: &Place, sign: f64) {
        let ask = &self.p.asks[j];
        let (k, until) = (self.p.slots, self.until(ask, place.start));
        for &(r, n) in &place.racks {
            let rack = &self.p.racks[r];
            let (gpus, kw) = (n * ask.chunk, f64::from(n * ask.chunk) * ask.kw_per_gpu * sign);
            for s in place.start..until {
                for free in [&mut self.free[r * k + s], &mut self.domain_free[self.rows[r] * k + s]] {
                    *free = if sign > 0.0 { *free - gpus } else { *free + gpus };
                }
                self.load_kw[rack.site * k + s] += kw;
                for &c in &rack.caps {
                    self.room_kw[c * k + s] -= kw;
                }
            }
        }
    }

    pub fn put(&mut self, j: usize, place: Place) {
        self.change(j, &place, 1.0);
        self.places[j] = Some(place);
    }

    pub fn take(&mut self, j: usize) -> Option<Place> {
        let place = self.places[j].take()?;
        self.change(j, &place, -1.0);
        Some(place)
    }

    /// Chunks that fit on a rack from a start on, by free GPUs and each of its caps alone. Within one look (one job and start,
    /// nothing put or taken) a cap is reckoned once.
    fn fit(&mut self, r: usize, ask: &Ask, start: usize) -> u32 {
        let (k, until) = (self.p.slots, self.until(ask, start));
        self.work += (until - start) as u64;
        // Most racks of a busy hall are full in the first slot already.
        let row = &self.free[r * k + start..r * k + until];
        if row.first().is_none_or(|f| *f < ask.chunk) {
            return 0;
        }
        let free = row.iter().copied().min().unwrap_or(0) / ask.chunk;
        if free == 0 {
            return 0;
        }
        let chunk_kw = f64::from(ask.chunk) * ask.kw_per_gpu;
        let p = self.p;
        p.racks[r].caps.iter().fold(free, |fit, &c| {
            if self.held[c].0 != self.looks {
                self.held[c] = (self.looks, self.least_room(c, start, until));
            }
            let room_kw = self.held[c].1;
            if room_kw >= f64::from(fit) * chunk_kw { fit } else { fit.min(chunks(room_kw, chunk_kw)) }
        })
    }

    fn least_room(&self, c: usize, start: usize, until: usize) -> f64 {
        let k = self.p.slots;
        // Four at a time: one after the other each comparison would wait for the one before.
        let (fours, rest) = self.room_kw[c * k + start..c * k + until].as_chunks::<4>();
        let least = |a: f64, b: f64| if b < a { b } else { a };
        let mut of = [f64::INFINITY; 4];
        for four in fours {
            of = std::array::from_fn(|i| least(of[i], four[i]));
        }
        of.iter().chain(rest).copied().fold(f64::INFINITY, least)
    }

    /// Fills racks in the order given, into `laid`; false where they do not hold the job.
    fn fill(&self, order: &[(usize, u32)], ask: &Ask, laid: &mut Vec<(usize, u32)>, spent: &mut Vec<(usize, f64)>) -> bool {
        let chunk_kw = f64::from(ask.chunk) * ask.kw_per_gpu;
        let mut left = ask.chunks();
        laid.clear();
        spent.clear();
        for &(r, fit) in order {
            let mut n = fit.min(left);
            for &c in &self.p.racks[r].caps {
                if let Some((_, kw)) = spent.iter().find(|(x, _)| *x == c) {
                    n = n.min(chunks(self.held[c].1 - kw, chunk_kw));
                }
            }
            if n == 0 {
                continue;
            }
            for &c in &self.p.racks[r].caps {
                match spent.iter_mut().find(|(x, _)| *x == c) {
                    Some((_, kw)) => *kw += f64::from(n) * chunk_kw,
                    None => spent.push((c, f64::from(n) * chunk_kw)),
                }
            }
            laid.push((r, n));
            left -= n;
            if left == 0 {
                return true;
            }
        }
        false
    }

    fn racks_kwh(&self, ask: &Ask, racks: &[(usize, u32)]) -> f64 {
        let all_h = ask.slots as f64 * self.p.hours();
        let one = |&(r, n): &(usize, u32)| f64::from(n * ask.chunk) * ask.kw_per_gpu * self.p.racks[r].extra * all_h + TOUCH_KW * all_h;
        racks.iter().map(one).sum()
    }

    /// The cheapest way found to lay a job over some racks: cheapest rack first, fewest racks, one rack that it fits best.
    fn lay(&mut self, racks: &[usize], ask: &Ask, start: usize) -> Option<(f64, Vec<(usize, u32)>)> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let best = self.lay_with(racks, ask, start, &mut scratch);
        self.scratch = scratch;
        best
    }

    fn lay_with(&mut self, racks: &[usize], ask: &Ask, start: usize, scratch: &mut Scratch) -> Option<(f64, Vec<(usize, u32)>)> {
        let Scratch { fits, laid, spent } = scratch;
        self.looks += 1;
        fits.clear();
        fits.extend(racks.iter().map(|&r| (r, self.fit(r, ask, start))).filter(|(_, n)| *n > 0));
        let need = ask.chunks();
        if fits.iter().map(|(_, n)| u64::from(*n)).sum::<u64>() < u64::from(need) {
            return None;
        }
        let p = self.p;
        let extra = |r: usize| p.racks[r].extra;
        let mut best: Option<(f64, Vec<(usize, u32)>)> = None;
        let mut offer = |s: &State, order: &[(usize, u32)]| {
            if s.fill(order, ask, laid, spent) {
                laid.sort_unstable();
                let kwh = s.racks_kwh(ask, laid);
                if best.as_ref().is_none_or(|(b, _)| kwh < *b - 1e-9) {
                    best = Some((kwh, laid.clone()));
                }
            }
        };
        let whole = fits.iter().filter(|(_, n)| *n >= need);
        if let Some(one) = whole.min_by(|a, b| extra(a.0).total_cmp(&extra(b.0)).then(a.1.cmp(&b.1)).then(a.0.cmp(&b.0))) {
            offer(self, &[*one]);
        }
        fits.sort_unstable_by(|a, b| extra(a.0).total_cmp(&extra(b.0)).then(b.1.cmp(&a.1)).then(a.0.cmp(&b.0)));
        offer(self, fits);
        fits.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(extra(a.0).total_cmp(&extra(b.0))).then(a.0.cmp(&b.0)));
        offer(self, fits);
        best
    }

    /// The cheapest place found for a job that has none: (kWh, place).
    pub fn cheapest(&mut self, j: usize, forbidden: Forbidden) -> Option<(f64, Place)> {
        self.places_for(j, forbidden, 1).into_iter().next()
    }

    /// Up to `want` places at different sites or starts, cheapest first.
    pub fn places_for(&mut self, j: usize, forbidden: Forbidden, want: usize) -> Vec<(f64, Place)> {
        let p = self.p;
        let ask = &p.asks[j];
        let h = p.hours();
        let all_h = ask.slots as f64 * h;
        let mut corners: Vec<(f64, usize, usize)> = vec![];
        for site in 0..p.sites.len() {
            let usable = |d: &&Domain| ask.partitions.get(d.partition).copied().unwrap_or(false);
            let Some(least) = self.domains[site].iter().find(usable).map(|d| d.least_extra) else { continue };
            for start in ask.earliest..=ask.latest.min(p.slots - 1) {
                let tail_h = (start + ask.slots).saturating_sub(p.slots) as f64 * h;
                let wait = WAIT_KWH * f64::from(ask.gpus) * (start - ask.earliest) as f64 * h;
                let kwh = self.site_kwh(site, ask, start) + ask.kw() * p.tail_price(site) * tail_h + wait;
                corners.push((kwh + ask.kw() * least * all_h + TOUCH_KW * all_h, site, start));
            }
        }
        corners.sort_by(|a, b| a.0.total_cmp(&b.0).then((a.2, a.1).cmp(&(b.2, b.1))));
        let mut out: Vec<(f64, Place)> = vec![];
        for (bound, site, start) in corners {
            if out.len() >= want && out.last().is_some_and(|(worst, _)| bound >= *worst) {
                break;
            }
            let least = self.domains[site].iter().find(|d| ask.partitions[d.partition]).map_or(0.0, |d| d.least_extra);
            let common = bound - ask.kw() * least * all_h - TOUCH_KW * all_h;
            if let Some((kwh, racks)) = self.at(ask, site, start, forbidden) {
                let at = out.partition_point(|(c, _)| *c <= common + kwh);
                out.insert(at, (common + kwh, Place { start, racks }));
                out.truncate(want);
            }
        }
        out
    }

    /// The cheapest racks found at one site from one start on.
    fn at(&mut self, ask: &Ask, site: usize, start: usize, forbidden: Forbidden) -> Option<(f64, Vec<(usize, u32)>)> {
        let all_h = ask.slots as f64 * self.p.hours();
        let (k, need, until) = (self.p.slots, ask.gpus, self.until(ask, start));
        // What the whole site has no room for, no rack of it takes (up to the rounding that `chunks` allows). Its racks count as looked at.
        if self.common[site].iter().any(|&c| self.least_room(c, start, until) + 1e-6 < ask.kw()) {
            let mine = |d: &&Domain| ask.partitions.get(d.partition).copied().unwrap_or(false);
            let racks = self.domains[site].iter().filter(mine).map(|d| d.racks.len()).sum::<usize>();
            self.work += (racks * (until - start)) as u64;
            return None;
        }
        let domains = std::mem::take(&mut self.domains[site]);
        let mut best: Option<(f64, Vec<(usize, u32)>)> = None;
        for d in &domains {
            // Cheapest first: those behind cost no less by their racks, though one may do with fewer of them.
            if best.as_ref().is_some_and(|(b, _)| (ask.kw() * d.least_extra + TOUCH_KW) * all_h >= *b) {
                break;
            }
            let domain = d.racks.first().map(|r| self.p.racks[*r].domain);
            if !ask.partitions.get(d.partition).copied().unwrap_or(false) || forbidden.is_some_and(|(s, f)| s == start && Some(f) == domain)
            {
                continue;
            }
            self.work += 1;
            let row = &self.domain_free[d.row * k + start..d.row * k + until];
            if row[0] < need || best.as_ref().is_some_and(|(b, _)| d.least_kwh(ask, all_h) >= *b) {
                continue;
            }
            // What its racks hold through all slots is at most what they hold together in the fullest one. They count as looked at:
            // an effort finds the same as without this short cut.
            if row.iter().any(|free| *free < need) {
                self.work += (d.racks.len() * (until - start)) as u64;
                continue;
            }
            if let Some((kwh, racks)) = self.lay(&d.racks, ask, start)
                && best.as_ref().is_none_or(|(b, _)| kwh < *b - 1e-9)
            {
                best = Some((kwh, racks));
            }
        }
        if !ask.one_domain && (best.is_none() || self.p.racks.len() <= SMALL) {
            let all: Vec<usize> = domains.iter().filter(|d| ask.partitions[d.partition]).flat_map(|d| d.racks.iter().copied()).collect();
            if let Some((kwh, racks)) = self.lay(&all, ask, start)
                && best.as_ref().is_none_or(|(b, _)| kwh < *b - 1e-9)
            {
                best = Some((kwh, racks));
            }
        }
        self.domains[site] = domains;
        best
    }
}

fn common_caps(p: &Problem, site: usize) -> Vec<usize> {
    let mut racks = p.racks.iter().filter(|r| r.site == site);
    let first = racks.next().map_or(vec![], |r| r.caps.clone());
    racks.fold(first, |mut caps, r| {
        caps.retain(|c| r.caps.contains(c));
        caps
    })
}

/// Below this many racks a job that may leave its domain is always also tried over all of them.
const SMALL: usize = 64;

/// Whole chunks in a room; the cast cuts off, and ends at 0 and at the largest number.
fn chunks(room_kw: f64, chunk_kw: f64) -> u32 {
    if chunk_kw <= 0.0 { u32::MAX } else { ((room_kw + 1e-7) / chunk_kw) as u32 }
}
