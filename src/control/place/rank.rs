//! Jobs asked for, placed over the boards of one or more sites: which racks, when, at what cost, and what binds.
//!
//! Words: a job's *own place* is where its scheduler would put it without a hint; *doubt* is the difference in energy below which
//! the model cannot tell two places apart: within a site the width of the best band, between sites what their prices are uncertain by.
//! Invariants: a job stays at its own place unless another is cheaper by more than the doubt, or its own has no room: what cannot be
//! told apart is not moved, as moving is not free (heat gathers, setpoints follow). Sites that have no fresh board are left out and named; a job that finds no place says what keeps it out; a
//! start is never before `earliest` nor after `latest`; each site's slots count from its own clock.

use super::board::{BANDS, Board};
use super::problem::{Ask, Cap, Place, Problem, Rack, SiteLoad};
use super::solve::{Effort, solve};
use super::state::State;
use crate::time::{Span, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Alternatives that one job is shown.
pub const PLACES_MAX: usize = 5;
/// Standard deviations of a price's error in a doubt; half of the error is taken as common to both sites.
const SIGMAS: f64 = 1.645 * std::f64::consts::FRAC_1_SQRT_2;
/// Jobs up to which alternatives are looked for.
const ALTERNATIVES_FOR: usize = 50;

/// A job as somebody asks for it. Names are checked by the caller.
#[derive(Clone, Debug, PartialEq)]
pub struct JobAsk {
    pub id: String,
    pub gpus: u32,
    /// GPUs that it takes together on one node; the node's where absent.
    pub gpus_per_node: Option<u32>,
    /// The partition's typical power where absent.
    pub kw_per_gpu: Option<f64>,
    pub duration: Span,
    /// From now.
    pub earliest: Span,
    pub latest: Span,
    /// Partitions (their id or scheduler name) and sites; empty = any.
    pub partitions: Vec<String>,
    pub sites: Vec<String>,
    pub job_class: Option<String>,
    /// All GPUs inside one domain? Where absent: training jobs that any domain can hold.
    pub one_domain: Option<bool>,
    /// Where it would run, from `earliest` on, if nobody gave a hint: site and (rack, GPUs).
    pub own_place: Option<(String, Vec<(String, u32)>)>,
}

/// Where a job may go.
#[derive(Clone, Debug, PartialEq)]
pub struct Ranked {
    pub site: String,
    pub partition: String,
    /// (rack, GPUs).
    pub racks: Vec<(String, u32)>,
    pub start: Timestamp,
    pub end: Timestamp,
    /// Energy that the job adds over its whole life, kWh: IT, cooling and losses.
    pub kwh: f64,
    /// A difference to another site's places below this, kWh, cannot be told from none (90 %).
    pub doubt_kwh: f64,
    pub eur: Option<f64>,
    pub g_co2: Option<f64>,
    /// The constraint with the least room left once it runs there, and that room, kW.
    pub binds: String,
    pub binds_room_kw: f64,
    pub estimated: bool,
}

/// The answer for one job.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub id: String,
    /// Best first; empty = no place.
    pub places: Vec<Ranked>,
    /// Why there is none, or what was cut.
    pub notes: Vec<String>,
}

struct Map<'a> {
    boards: &'a [Arc<Board>],
    /// Problem partition: (board, partition).
    partitions: Vec<(usize, usize)>,
    /// Problem rack: (board, rack).
    racks: Vec<(usize, usize)>,
    /// Per board, the problem's index of the first cap of its site file.
    file_caps: Vec<usize>,
}

/// Ranks jobs over boards of equal slot length. The boards' horizon is the shortest of them.
pub fn rank(boards: &[Arc<Board>], jobs: &[JobAsk], effort: Effort) -> Vec<Answer> {
    let Some((mut problem, map)) = problem(boards) else {
        let notes = vec!["no site has a fresh placement board".to_owned()];
        return jobs.iter().map(|j| Answer { id: j.id.clone(), places: vec![], notes: notes.clone() }).collect();
    };
    let mut notes: Vec<Vec<String>> = vec![];
    for job in jobs {
        let (mut ask, mut note) = ask(&problem, &map, job);
        // Numbers are judged where they come in; what slipped through finds no place, and nothing is reckoned with it.
        if ask.gpus == 0 || !(ask.kw_per_gpu > 0.0 && ask.kw_per_gpu.is_finite()) || job.duration.0 <= 0 {
            note.push(format!("{} GPUs of {} kW for {} are no job", ask.gpus, ask.kw_per_gpu, job.duration));
            ask.partitions.fill(false);
            (ask.gpus, ask.chunk, ask.kw_per_gpu) = (1, 1, 1.0);
        }
        problem.asks.push(ask);
        notes.push(note);
    }
    let schedule = solve(&problem, effort);
    let mut state = State::new(&problem);
    for (j, place) in schedule.places.iter().enumerate() {
        if let Some(place) = place {
            state.put(j, place.clone());
        }
    }
    let mut out = Vec::with_capacity(jobs.len());
    for (j, job) in jobs.iter().enumerate() {
        let mut places = vec![];
        if let Some(chosen) = state.take(j) {
            let kwh = state.rise_kwh(j, &chosen);
            let best = chosen;
            let mut chosen = best.clone();
            if let Some(own) = own_place(&state, &map, j, job).filter(|own| *own != best) {
                let (saved, doubt) = (state.rise_kwh(j, &own) - kwh, doubt_kwh(&state, &map, j, &own, &best));
                if saved <= doubt {
                    notes[j].push(format!("elsewhere it would save {saved:.2} kWh; below {doubt:.2} kWh that cannot be told from none"));
                    places.push(shown(&state, &map, j, kwh + saved, &own));
                    chosen = own;
                }
            }
            places.push(shown(&state, &map, j, kwh, &best));
            if jobs.len() <= ALTERNATIVES_FOR {
                let other = state.places_for(j, None, PLACES_MAX);
                let room = PLACES_MAX - places.len();
                places.extend(
                    other.iter().filter(|(_, p)| *p != chosen && *p != best).take(room).map(|(kwh, p)| shown(&state, &map, j, *kwh, p)),
                );
            }
            state.put(j, chosen);
        } else {
            notes[j].push(why_not(&problem, j));
        }
        out.push(Answer { id: job.id.clone(), places, notes: std::mem::take(&mut notes[j]) });
    }
    out
}

/// A job's own place, where it may and can be taken: whole chunks, room for them, and under each cap that racks share also for
/// what the jobs already there may come to draw. A rack's own rating does not count: it is made for all of its GPUs, and how it is
/// filled is the scheduler's.
fn own_place(s: &State, map: &Map, j: usize, job: &JobAsk) -> Option<Place> {
    let (site, named) = job.own_place.as_ref()?;
    let (p, ask) = (s.p, &s.p.asks[j]);
    let b = map.boards.iter().position(|board| board.site.site.id == *site)?;
    let mut racks = vec![];
    for (id, gpus) in named.iter().filter(|(_, n)| *n > 0) {
        let r = map.racks.iter().position(|&(x, i)| x == b && map.boards[b].racks[i].id == *id)?;
        if !gpus.is_multiple_of(ask.chunk) || !ask.partitions[p.racks[r].partition] {
            return None;
        }
        racks.push((r, gpus / ask.chunk));
    }
    racks.sort_unstable();
    let domains = |r: &(usize, u32)| p.racks[r.0].domain;
    let tied = ask.one_domain && racks.windows(2).any(|w| domains(&w[0]) != domains(&w[1]));
    let place = Place { start: ask.earliest, racks };
    let whole = place.racks.iter().map(|r| r.1).sum::<u32>() == ask.chunks();
    // A site's caps stand in the order of its file, then its cooling, then its racks' own.
    let (first, count) = (map.file_caps[b], map.boards[b].caps.len());
    let reserve = |c: usize| match c.checked_sub(first)? {
        own if own < count => Some(map.boards[b].may_rise_kw(own)),
        own if own == count => Some(0.0),
        _ => None,
    };
    (whole && !tied && !place.racks.is_empty() && s.fits(j, &place, &reserve)).then_some(place)
}

/// Below this the difference of a job between two places cannot be told from none, kWh.
fn doubt_kwh(s: &State, map: &Map, j: usize, a: &Place, b: &Place) -> f64 {
    let ask = &s.p.asks[j];
    let board = |place: &Place| place.racks.first().map_or(0, |(r, _)| map.racks[*r].0);
    let kwh = ask.kw() * ask.slots as f64 * s.p.hours();
    let (a, b) = (board(a), board(b));
    let prices = if a == b { 0.0 } else { SIGMAS * map.boards[a].price_sigma.hypot(map.boards[b].price_sigma) };
    kwh * prices.max(BANDS[0])
}

fn problem(boards: &[Arc<Board>]) -> Option<(Problem, Map<'_>)> {
    let first = boards.first()?;
    let slots = boards.iter().map(|b| b.slots.len()).min().filter(|n| *n > 0)?;
    let mut p = Problem { slot: first.slot, slots, sites: vec![], racks: vec![], caps: vec![], asks: vec![] };
    let mut map = Map { boards, partitions: vec![], racks: vec![], file_caps: vec![] };
    let mut domains = BTreeMap::new();
    for (b, board) in boards.iter().enumerate() {
        let parts = map.partitions.len();
        map.partitions.extend((0..board.site.partitions.len()).map(|q| (b, q)));
        p.sites.push(SiteLoad {
            base_kw: board.slots[..slots].iter().map(|s| s.base_kw).collect(),
            curves: board.slots[..slots].iter().map(|s| s.curve.clone()).collect(),
        });
        let file_caps = p.caps.len();
        map.file_caps.push(file_caps);
        p.caps.extend(board.caps.iter().map(|c| Cap { name: c.name.clone(), room_kw: c.room_kw[..slots].to_vec() }));
        let cooling = p.caps.len();
        let limit = board.slots.iter().map(|s| &s.limit).find(|l| !l.is_empty());
        p.caps.push(Cap {
            name: format!("cooling of {}{}", board.site.site.id, limit.map_or(String::new(), |l| format!(": {l}"))),
            room_kw: board.slots[..slots].iter().map(|s| s.room_kw).collect(),
        });
        for (i, r) in board.racks.iter().enumerate() {
            let next = domains.len();
            let domain = *domains.entry((b, r.domain.clone())).or_insert(next);
            let own = p.caps.len();
            p.caps.push(Cap { name: format!("rack {}", r.id), room_kw: vec![r.room_kw.unwrap_or(0.0); slots] });
            let cold = r.thermal_headroom_k.is_none_or(|t| t > 0.0);
            p.racks.push(Rack {
                site: b,
                domain,
                partition: parts + r.partition,
                free: vec![if cold { r.free_gpus } else { 0 }; slots],
                extra: r.extra * board.slots[0].marginal(),
                caps: [own, cooling].into_iter().chain(r.caps.iter().map(|c| file_caps + c)).collect(),
            });
            map.racks.push((b, i));
        }
    }
    Some((p, map))
}

fn ask(p: &Problem, map: &Map, job: &JobAsk) -> (Ask, Vec<String>) {
    let mut notes = vec![];
    let fits = |&(b, q): &(usize, usize)| {
        let site = &map.boards[b].site;
        let part = &site.partitions[q];
        (job.sites.is_empty() || job.sites.contains(&site.site.id))
            && (job.partitions.is_empty() || job.partitions.iter().any(|n| *n == part.id || n == part.scheduler_name()))
            && job.job_class.as_ref().is_none_or(|c| part.job_classes.contains(c))
    };
    let partitions: Vec<bool> = map.partitions.iter().map(fits).collect();
    let of = |f: &dyn Fn(usize, usize) -> f64| {
        let own = map.partitions.iter().zip(&partitions).filter(|(_, ok)| **ok).map(|((b, q), _)| f(*b, *q));
        own.fold(f64::NAN, f64::max)
    };
    let kw_per_gpu = job.kw_per_gpu.unwrap_or_else(|| of(&|b, q| map.boards[b].kw_per_gpu(q)).max(1e-3));
    let node_gpus = of(&|b, q| {
        let r = map.boards[b].racks.iter().find(|r| r.partition == q);
        r.map_or(1.0, |r| f64::from(r.gpus / (r.nodes.len().max(1) as u32)))
    });
    let node = job.gpus_per_node.unwrap_or(if node_gpus >= 1.0 { node_gpus as u32 } else { 1 }).max(1);
    // Whole nodes where the job is a multiple of them; else single GPUs.
    let chunk = if job.gpus.is_multiple_of(node) && job.gpus >= node { node } else { 1 };
    let slot_of = |s: Span, up: bool| (s.0.max(0).saturating_add(if up { p.slot.0 - 1 } else { 0 }) / p.slot.0.max(1)) as usize;
    let earliest = slot_of(job.earliest, true).min(p.slots - 1);
    let mut latest = slot_of(job.latest, false).max(earliest);
    if latest >= p.slots {
        latest = p.slots - 1;
        notes.push(format!("starts are looked at up to {} from now; `latest` is beyond it", Span(p.slot.0 * p.slots as i64)));
    }
    let one_domain = job.one_domain.unwrap_or_else(|| {
        let mut sizes = BTreeMap::<usize, u64>::new();
        for (r, &(b, i)) in p.racks.iter().zip(&map.racks) {
            if partitions[r.partition] {
                *sizes.entry(r.domain).or_default() += u64::from(map.boards[b].racks[i].gpus);
            }
        }
        job.job_class.as_deref() == Some("training") && sizes.values().any(|s| *s >= u64::from(job.gpus))
    });
    // Beyond a year a length means the same: the tail's price.
    let slots = slot_of(job.duration.min(Span::hours(24 * 366)), true).max(1);
    (Ask { gpus: job.gpus, chunk, kw_per_gpu, slots, earliest, latest, partitions, one_domain }, notes)
}

fn shown(s: &State, map: &Map, j: usize, kwh: f64, place: &Place) -> Ranked {
    let (p, ask) = (s.p, &s.p.asks[j]);
    let racks: Vec<(String, u32)> =
        place.racks.iter().map(|&(r, n)| (map.boards[map.racks[r].0].racks[map.racks[r].1].id.clone(), n * ask.chunk)).collect();
    let (b, i) = map.racks[place.racks[0].0];
    let board = &map.boards[b];
    let start = board.made_at + Span(p.slot.0 * place.start as i64);
    let (binds, binds_room_kw) = s.least_room_after(j, place);
    let energy = &board.site.energy;
    Ranked {
        site: board.site.site.id.clone(),
        partition: board.site.partitions[board.racks[i].partition].id.clone(),
        estimated: place.racks.iter().any(|&(r, _)| board.racks[map.racks[r].1].free_estimated),
        racks,
        start,
        end: start + Span(p.slot.0 * ask.slots as i64),
        kwh,
        doubt_kwh: SIGMAS * std::f64::consts::SQRT_2 * board.price_sigma * ask.kw() * ask.slots as f64 * p.hours(),
        eur: energy.eur_per_kwh.map(|e| e * kwh),
        g_co2: energy.g_co2_per_kwh.map(|g| g * kwh),
        binds,
        binds_room_kw,
    }
}

/// Why a job finds no place, tried from the outermost reason inwards, on a hall without the other jobs.
fn why_not(p: &Problem, j: usize) -> String {
    let ask = &p.asks[j];
    let racks: Vec<&Rack> = p.racks.iter().filter(|r| ask.partitions.get(r.partition).copied().unwrap_or(false)).collect();
    if racks.is_empty() {
        return "no partition with a fresh board takes it".into();
    }
    let mut whole: BTreeMap<(usize, usize), u64> = BTreeMap::new();
    for r in &racks {
        let key = if ask.one_domain { (r.site, r.domain) } else { (r.site, 0) };
        let free = r.free[ask.earliest..=ask.latest.min(p.slots - 1)].iter().copied().max().unwrap_or(0);
        *whole.entry(key).or_default() += u64::from(free / ask.chunk * ask.chunk);
    }
    let most = whole.values().copied().max().unwrap_or(0);
    if most < u64::from(ask.gpus) {
        let what = if ask.one_domain { "one domain" } else { "one site" };
        return format!("{} GPUs asked for, at most {most} are free in {what} between its earliest and latest start", ask.gpus);
    }
    let mut alone = p.clone();
    alone.asks = vec![ask.clone()];
    if State::new(&alone).cheapest(0, None).is_some() {
        return "the other jobs of this request take what it would need".into();
    }
    let mut used: Vec<usize> = racks.iter().flat_map(|r| r.caps.iter().copied()).collect();
    used.sort_unstable();
    used.dedup();
    let room = |c: usize| p.caps[c].room_kw[ask.earliest];
    // The cap over most racks that has no room for it speaks first.
    let over = |c: usize| racks.iter().filter(|r| r.caps.contains(&c)).count();
    let tight = used
        .iter()
        .filter(|&&c| room(c) < ask.kw() && over(c) > 1)
        .max_by_key(|&&c| over(c))
        .or(used.iter().min_by(|a, b| room(**a).total_cmp(&room(**b))));
    tight.map_or_else(
        || "no room".into(),
        |&c| format!("{} has room for {:.1} kW; the job takes {:.1} kW", p.caps[c].name, room(c).max(0.0), ask.kw()),
    )
}
