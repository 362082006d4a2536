//! A site's placement board: everything that placing a job there must know, made once a control tick and then immutable.
//!
//! Words: a rack's *surcharge* is what a kW costs there above the site's marginal price: chips in warmer coolant leak
//! more (the plant model's leak, times how much warmer its coolant returns, at equal load, than its partition's mean); a rack is
//! *strained* when its coolant supply is above its neighbours' by more than [`STRAIN_K`]: its distribution unit does not
//! hold the setpoint; a *band* says how good a rack is to the plant, 1 = best … 5 = no room by power or cooling.
//! Invariants: a board has an end and is not served beyond it; a rack with no room for its free GPUs is in band 5; racks
//! without a free GPU are ranked last, whatever their band, so that weights do not follow every job; the same inputs give the
//! same board.

use super::outlook::{Outlook, Slot, leak_per_k, slots};
use crate::control::view::View;
use crate::plant::predict::Predict;
use crate::site::{CapKind, SiteFile, names_rack};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Validity of a board.
pub const VALID: Span = Span::minutes(15);
/// Bounds on a surcharge.
pub const EXTRA_LEAST: f64 = -0.05;
pub const EXTRA_MOST: f64 = 0.15;
/// Coolant supply above the neighbours' from which a rack counts as strained, K, and its surcharge per K beyond.
pub const STRAIN_K: f64 = 1.5;
const STRAIN_PER_K: f64 = 0.01;
/// Costs above the best rack's at which bands 2, 3 and 4 begin, as shares.
pub const BANDS: [f64; 3] = [0.003, 0.01, 0.03];
/// Share of its rating that a rack with all its GPUs taken may be above it before it counts as overloaded.
const FULL_SLACK: f64 = 0.03;
/// Share of its rating from which a rack's return says something of its cooling.
const TELLING_SHARE: f64 = 0.3;
/// Thermal headroom below which a rack is not better than band 4, K.
const TIGHT_K: f64 = 1.0;

/// One rack as its telemetry shows it; NaN where unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RackView {
    pub id: String,
    pub partition: String,
    pub power_kw: f64,
    pub rating_kw: f64,
    pub supply_c: f64,
    pub return_c: f64,
    /// As the scheduler says it; `None` where nobody does.
    pub free_gpus: Option<u32>,
}

/// A rack on the board.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardRack {
    pub id: String,
    /// Index in the site file's partitions.
    pub partition: usize,
    pub domain: String,
    /// Indices in [`Board::caps`].
    pub caps: Vec<usize>,
    pub nodes: Vec<String>,
    pub gpus: u32,
    pub free_gpus: u32,
    /// Is `free_gpus` only reckoned from the rack's power?
    pub free_estimated: bool,
    pub power_kw: f64,
    pub rating_kw: f64,
    /// To its own rating, kW; negative = above it, `None` = its power is not known.
    pub room_kw: Option<f64>,
    pub return_c: f64,
    /// To the coolant's limit, K.
    pub thermal_headroom_k: Option<f64>,
    /// Surcharge, kW per kW.
    pub extra: f64,
    pub strained: bool,
    pub band: u8,
    /// 1 = best of its partition.
    pub rank: u32,
    pub reasons: Vec<String>,
}

/// A power cap as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct BoardCap {
    pub name: String,
    pub kind: CapKind,
    /// Load that may be added under it, kW, per slot; negative = too much already.
    pub room_kw: Vec<f64>,
}

/// A site's board.
#[derive(Clone, Debug)]
pub struct Board {
    pub site: Arc<SiteFile>,
    pub made_at: Timestamp,
    pub valid_until: Timestamp,
    /// Changes when racks, nodes, caps or domains do (16 hex digits).
    pub topology: String,
    pub slot: Span,
    pub slots: Vec<Slot>,
    pub racks: Vec<BoardRack>,
    pub caps: Vec<BoardCap>,
    pub gpus_allocated: Option<f64>,
    /// Standard deviation of the site's price over the next hours, kW per kW: the model's stated error of cooling, or what
    /// [`Board::doubted`] says; where setpoints follow the load, all that the price is above 1: they can undo any of it.
    pub price_sigma: f64,
    /// Name of the plant model.
    pub model: String,
}

impl Board {
    /// May this still be served?
    pub fn fresh(&self, now: Timestamp) -> bool {
        self.made_at <= now && now < self.valid_until
    }

    /// Typical power of one GPU in a partition, kW.
    pub fn kw_per_gpu(&self, partition: usize) -> f64 {
        self.site.partitions.get(partition).map_or(1.0, |p| p.rack_rating_kw / f64::from(p.gpus_per_rack.max(1)))
    }

    /// What one more GPU-hour on a rack costs, kWh, in a slot.
    pub fn marginal(&self, rack: &BoardRack, slot: usize) -> f64 {
        let k = slot.min(self.slots.len() - 1);
        self.slots[k].marginal() * self.kw_per_gpu(rack.partition) * (1.0 + rack.extra)
    }

    /// What a GPU-hour costs on average, kWh, in a slot; `None` where nobody tells how many GPUs are allocated.
    pub fn average(&self, slot: usize) -> Option<f64> {
        let s = self.slots.get(slot)?;
        self.gpus_allocated.filter(|g| *g >= 1.0).map(|g| s.curve.at(s.base_kw) / g)
    }

    /// Room for more load at a rack now, kW, by its own rating and the caps that it shares with some racks, not with all; and
    /// what ends it.
    fn own_room(&self, rack: &BoardRack) -> (f64, String) {
        let mut best = (rack.room_kw.unwrap_or(0.0), format!("rack {}", rack.id));
        for &c in rack.caps.iter().filter(|c| self.caps[**c].kind != CapKind::Site) {
            let room = self.caps[c].room_kw.first().copied().unwrap_or(f64::INFINITY);
            if room < best.0 {
                best = (room, self.caps[c].name.clone());
            }
        }
        best
    }

    /// Room for more load at a rack now, kW, under everything, the site's caps and cooling too; and what ends it.
    pub fn room(&self, rack: &BoardRack) -> (f64, String) {
        let mut best = self.own_room(rack);
        for &c in rack.caps.iter().filter(|c| self.caps[**c].kind == CapKind::Site) {
            let room = self.caps[c].room_kw.first().copied().unwrap_or(f64::INFINITY);
            if room < best.0 {
                best = (room, self.caps[c].name.clone());
            }
        }
        let s = &self.slots[0];
        if s.room_kw < best.0 && !s.limit.is_empty() {
            best = (s.room_kw, s.limit.clone());
        }
        best
    }

    /// Makes a board. `None` where no marginal power is known: no hint is better than a made-up one.
    pub fn new(view: &View, racks: &[RackView], outlook: &Outlook, model: &dyn Predict) -> Option<Board> {
        let site = Arc::clone(&view.site);
        let spare = |r: &RackView| if r.power_kw.is_finite() { (r.rating_kw - r.power_kw).max(0.0) } else { 0.0 };
        let reach_kw: f64 = racks.iter().map(spare).sum();
        let slots = slots(view, outlook, model, reach_kw);
        if slots.is_empty() {
            return None;
        }
        let leak = leak_per_k(view, outlook, model);
        let ceiling = thermal_ceiling(view);
        let caps = caps(view, &slots, racks);
        let mut out: Vec<BoardRack> = racks.iter().filter_map(|r| rack(view, racks, r, leak, ceiling)).collect();
        let topology = topology(&site, &out);
        let mut board = Board {
            made_at: view.now,
            valid_until: view.now + VALID,
            topology,
            slot: outlook.slot,
            slots,
            racks: vec![],
            caps,
            gpus_allocated: view.gpus_allocated,
            price_sigma: 0.0,
            model: model.name().to_owned(),
            site,
        };
        let share = if outlook.follow { 1.0 } else { 1e-2 * model.fit().cv_rmse_pct.max(0.0) };
        board.price_sigma = share * (board.slots[0].marginal() - 1.0).max(0.0);
        board.band(&mut out);
        board.racks = out;
        Some(board)
    }

    /// With what its own forecasts of the price were wrong by (see [`super::price`]), where that is more.
    pub fn doubted(self, sigma: f64) -> Board {
        Board { price_sigma: self.price_sigma.max(sigma), ..self }
    }

    /// What the GPUs that are given under a cap may still draw above what they draw now, kW.
    pub fn may_rise_kw(&self, cap: usize) -> f64 {
        let own = self.racks.iter().filter(|r| r.caps.contains(&cap) && r.power_kw.is_finite());
        own.map(|r| (f64::from(r.gpus - r.free_gpus.min(r.gpus)) * self.kw_per_gpu(r.partition) - r.power_kw).max(0.0)).sum()
    }

    fn band(&self, racks: &mut [BoardRack]) {
        for p in 0..self.site.partitions.len() {
            let cost = |r: &BoardRack| 1.0 + r.extra;
            let gpu_kw = self.kw_per_gpu(p);
            let judged: Vec<(usize, f64, String)> = (racks.iter().enumerate())
                .filter(|(_, r)| r.partition == p)
                .map(|(i, r)| {
                    // What binds the whole site tells no rack from another: a weight could not act on it.
                    let (room, what) = self.own_room(r);
                    (i, room, what)
                })
                .collect();
            let has_room = |i: usize, room: f64, racks: &[BoardRack]| {
                let r = &racks[i];
                // A rack whose GPUs are all taken needs no room for more, and runs at its rating by right: a band speaks of
                // the plant, who is free the scheduler knows.
                let needs = if r.free_gpus > 0 { gpu_kw } else { -FULL_SLACK * r.rating_kw };
                r.room_kw.is_some() && room >= needs && r.thermal_headroom_k.is_none_or(|t| t > 0.0)
            };
            let best = judged
                .iter()
                .filter(|(i, room, _)| has_room(*i, *room, racks))
                .map(|(i, _, _)| cost(&racks[*i]))
                .fold(f64::INFINITY, f64::min);
            for (i, room, what) in &judged {
                let ok = has_room(*i, *room, racks);
                let r = &mut racks[*i];
                let above = cost(r) / best - 1.0;
                r.band = match ok {
                    true => {
                        let by_cost = 1 + BANDS.iter().filter(|b| above > **b).count() as u8;
                        let tight = r.strained || r.thermal_headroom_k.is_some_and(|t| t < TIGHT_K);
                        if tight { by_cost.max(4) } else { by_cost }
                    }
                    false => 5,
                };
                if r.free_gpus == 0 {
                    r.reasons.push("no free GPU".into());
                }
                if *room < gpu_kw && (r.free_gpus > 0 || r.room_kw.is_none()) {
                    r.reasons.push(match r.room_kw {
                        None => "its power is not known".into(),
                        Some(_) => format!("{what} leaves {room:.1} kW of room; a GPU takes {gpu_kw:.2} kW"),
                    });
                }
                if r.thermal_headroom_k.is_some_and(|t| t <= 0.0) {
                    r.reasons.push("its coolant return has no thermal headroom".into());
                }
            }
            // Racks with free GPUs, bands, then costs within 0.1 % as the same, then the rack with more room, then the name: ranks do not flicker.
            let bucket = |r: &BoardRack| (cost(r) / 0.001).round() as i64;
            let mut order: Vec<usize> = judged.iter().map(|j| j.0).collect();
            let room = |r: &BoardRack| r.room_kw.unwrap_or(0.0);
            order.sort_by(|a, b| {
                let (a, b) = (&racks[*a], &racks[*b]);
                let full = |r: &BoardRack| r.free_gpus == 0;
                full(a)
                    .cmp(&full(b))
                    .then(a.band.cmp(&b.band))
                    .then(bucket(a).cmp(&bucket(b)))
                    .then(room(b).total_cmp(&room(a)))
                    .then(a.id.cmp(&b.id))
            });
            for (rank, i) in order.into_iter().enumerate() {
                racks[i].rank = rank as u32 + 1;
            }
        }
    }
}

fn rack(view: &View, all: &[RackView], r: &RackView, leak: f64, ceiling: Option<f64>) -> Option<BoardRack> {
    let site = &view.site;
    let partition = site.partitions.iter().position(|p| p.id == r.partition)?;
    let p = &site.partitions[partition];
    let own = || all.iter().filter(|x| x.partition == r.partition);
    // Racks are compared at the same load: an idle rack's coolant returns cool whatever its cooling is worth, and warms up with the
    // job that lands there.
    let mean_kw = mean(own().map(|x| x.power_kw));
    let mean_rise = mean(own().map(rise_per_kw));
    let expected = |x: &RackView| {
        let own_rise = Some(rise_per_kw(x)).filter(|v| v.is_finite()).or(mean_rise);
        x.supply_c + own_rise.zip(mean_kw).map_or(f64::NAN, |(rise, kw)| rise * kw)
    };
    let (return_c, mean_return) = (expected(r), mean(own().map(expected)));
    let median_supply = median(own().map(|x| x.supply_c).collect());
    let mut reasons = vec![];
    let mut extra = 0.0;
    match mean_return {
        Some(mean) if return_c.is_finite() => {
            extra = leak * (return_c - mean);
            if extra.abs() > 5e-4 {
                reasons.push(format!(
                    "at the partition's mean load its coolant would return at {return_c:.1} °C, {mean:.1} °C on average: leakage {:+.2} %",
                    100.0 * extra
                ));
            }
        }
        _ => reasons.push("its own coolant temperatures are not known; taken as average".into()),
    }
    let above = median_supply.map_or(0.0, |m| r.supply_c - m);
    let strained = above > STRAIN_K;
    if strained {
        extra += STRAIN_PER_K * (above - STRAIN_K);
        reasons.push(format!("its coolant supply is {above:.1} K above its neighbours': its distribution unit does not hold the setpoint"));
    }
    let room_kw = r.power_kw.is_finite().then_some(r.rating_kw - r.power_kw);
    let by_power = || (f64::from(p.gpus_per_rack) * (1.0 - r.power_kw / r.rating_kw).clamp(0.0, 1.0)).floor() as u32;
    let free_gpus = r.free_gpus.unwrap_or_else(|| if r.power_kw.is_finite() { by_power() } else { 0 });
    Some(BoardRack {
        domain: site.domains.iter().find(|d| names_rack(&d.racks, &r.id)).map_or_else(|| r.id.clone(), |d| d.id.clone()),
        caps: (0..site.caps.len()).filter(|&c| site.caps[c].kind == CapKind::Site || names_rack(&site.caps[c].racks, &r.id)).collect(),
        nodes: p.nodes_of(&r.id),
        gpus: p.gpus_per_rack,
        free_gpus: free_gpus.min(p.gpus_per_rack),
        free_estimated: r.free_gpus.is_none(),
        power_kw: r.power_kw,
        rating_kw: r.rating_kw,
        room_kw,
        return_c: r.return_c,
        thermal_headroom_k: ceiling.map(|c| c - r.return_c).filter(|v| v.is_finite()),
        extra: extra.clamp(EXTRA_LEAST, EXTRA_MOST),
        strained,
        band: 5,
        rank: 0,
        reasons,
        partition,
        id: r.id.clone(),
    })
}

/// How much warmer a rack's coolant returns per kW, K; NaN where it runs too little to tell.
fn rise_per_kw(r: &RackView) -> f64 {
    if r.power_kw >= TELLING_SHARE * r.rating_kw { (r.return_c - r.supply_c) / r.power_kw } else { f64::NAN }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (n, sum) = values.filter(|v| v.is_finite()).fold((0, 0.0), |(n, s), v| (n + 1, s + v));
    (n > 0).then(|| sum / f64::from(n))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|v| v.is_finite());
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// The caps of the site file as they stand, in its order.
fn caps(view: &View, slots: &[Slot], racks: &[RackView]) -> Vec<BoardCap> {
    let one = |c: &crate::site::PowerCap| {
        let told = c.role.as_ref().map(|r| view.role(r)).filter(|a| !a.is_stale()).map(|a| a.low);
        let bound = c.max_kw.into_iter().chain(told).fold(f64::INFINITY, f64::min);
        let room_kw = match c.kind {
            CapKind::Site => slots.iter().map(|s| site_room(s, bound)).collect(),
            CapKind::Pdu | CapKind::Row => {
                let power = |r: &RackView| if r.power_kw.is_finite() { r.power_kw } else { r.rating_kw };
                let used: f64 = racks.iter().filter(|r| names_rack(&c.racks, &r.id)).map(power).sum();
                vec![bound - used; slots.len()]
            }
        };
        BoardCap { name: format!("{} {}", c.kind.text(), c.id), kind: c.kind, room_kw }
    };
    view.site.caps.iter().map(one).collect()
}

/// Load that may be added below a bound on the site's total, kW.
fn site_room(s: &Slot, bound_kw: f64) -> f64 {
    if bound_kw.is_infinite() {
        return f64::INFINITY;
    }
    s.curve.load_at(bound_kw).unwrap_or_else(|| s.base_kw + (bound_kw - s.curve.at(s.base_kw)) / s.marginal()) - s.base_kw
}

/// The highest coolant return that a limit of the site allows, with its margin; none where no loop's return is limited.
fn thermal_ceiling(view: &View) -> Option<f64> {
    let returns: Vec<&String> = view.site.loops.iter().map(|l| &l.return_).collect();
    (view.site.limits.iter())
        .filter(|l| returns.contains(&&l.role) && l.above.is_none())
        .filter_map(|l| l.max.map(|m| m - l.margin))
        .min_by(f64::total_cmp)
}

fn topology(site: &SiteFile, racks: &[BoardRack]) -> String {
    let mut h = blake3::Hasher::new();
    let mut text = |s: &str| {
        h.update(s.as_bytes());
        h.update(&[0]);
    };
    for r in racks {
        text(&r.id);
        text(&format!("{}/{}/{}/{:?}", r.partition, r.domain, r.gpus, r.caps));
        r.nodes.iter().for_each(|n| text(n));
    }
    for p in &site.partitions {
        text(&format!("{}/{}/{:?}", p.id, p.scheduler_name(), p.job_classes));
    }
    site.caps.iter().for_each(|c| text(&c.id));
    h.finalize().to_hex()[..16].to_string()
}
