//! Where to place jobs: racks ranked by what one more GPU-hour costs there.
//!
//! Words: the *marginal power* is d(total kW)/d(load kW) by finite difference on the plant model; a rack's *resistance* is
//! its coolant's temperature rise per kW against the mean of its partition: a rack that runs warmer per kW needs colder
//! water and leaks more, and is charged for it.
//! Invariants: a hint has an end and is not served beyond it; a rack with no room or at its thermal limit is never ranked
//! above one with room; the same inputs give the same order.

use super::plan::Tuning;
use super::view::View;
use crate::plant::predict::{PlantState, Predict, StepInput};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Share of a marginal kW by which a rack's resistance above the mean is charged (bounded to ±[`PENALTY_MAX`]).
pub const PENALTY_SHARE: f64 = 0.05;
pub const PENALTY_MAX: f64 = 0.05;
/// Validity of hints.
pub const VALID: Span = Span::minutes(15);

/// One rack as its telemetry shows it; NaN where unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RackView {
    pub id: String,
    pub partition: String,
    pub power_kw: f64,
    pub rating_kw: f64,
    pub supply_c: f64,
    pub return_c: f64,
    pub free_gpus: Option<u32>,
}

/// One rack's place in a ranking.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RackHint {
    pub rack: String,
    pub rank: u32,
    pub marginal_kwh_per_gpu_hour: f64,
    pub power_headroom_kw: f64,
    /// To the nearest limit with a maximum; `None` where the rack's temperatures are not known.
    pub thermal_headroom_k: Option<f64>,
    /// 1 = best … 5 = worst or without room.
    pub band: u8,
    pub reasons: Vec<String>,
}

/// Ranked racks of one partition for one job class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hints {
    pub site: String,
    pub partition: String,
    pub job_class: String,
    pub made_at: Timestamp,
    pub valid_until: Timestamp,
    pub racks: Vec<RackHint>,
}

impl Hints {
    /// May these still be served?
    pub fn fresh(&self, now: Timestamp) -> bool {
        self.made_at <= now && now < self.valid_until
    }
}

/// d(total kW)/d(load kW) at the present setpoints, weather and load; 1 = no overhead. `None` where the view or the model
/// cannot tell.
pub fn marginal_kw_per_kw(view: &View, model: &dyn Predict) -> Option<f64> {
    let loads: Vec<f64> = view.loads.iter().map(|l| l.p50_kw.first().copied()).collect::<Option<_>>()?;
    let total: f64 = loads.first().copied()?;
    let in_force = view.in_force();
    if !(total > 0.0) || loads.iter().chain(&in_force).any(|v| !v.is_finite()) {
        return None;
    }
    let dew = view.role("room_dew_point");
    let run = |factor: f64| {
        let step = StepInput {
            span: Tuning::default().step,
            setpoints: in_force.clone(),
            loads_kw: loads.iter().map(|l| l * factor).collect(),
            weather: view.weather,
            room_dew_point_c: if dew.is_known() { dew.value } else { view.weather.dew_point_c },
        };
        let limited = view.site.limits.iter().map(|l| view.role(&l.role).value).collect();
        let mut out = vec![];
        model.rollout(&PlantState { in_force: in_force.clone(), limited }, &[step], &mut out);
        out.first().map(|o| o.total_kw())
    };
    let share = 0.03;
    let slope = (run(1.0 + share)? - run(1.0 - share)?) / (2.0 * share * total);
    slope.is_finite().then_some(slope.clamp(0.5, 3.0))
}

/// Hints per partition and job class. Empty where no marginal power is known: no hint is better than a made-up one.
pub fn hints(view: &View, racks: &[RackView], model: &dyn Predict) -> Vec<Hints> {
    let Some(marginal) = marginal_kw_per_kw(view, model) else { return vec![] };
    let mut out = vec![];
    for p in &view.site.partitions {
        let own: Vec<&RackView> = racks.iter().filter(|r| r.partition == p.id).collect();
        let rise = |r: &RackView| {
            let v = (r.return_c - r.supply_c) / r.power_kw;
            (v.is_finite() && r.power_kw > 0.1 * r.rating_kw && v > 0.0).then_some(v)
        };
        let rises: Vec<f64> = own.iter().filter_map(|r| rise(r)).collect();
        let mean_rise = (!rises.is_empty()).then(|| rises.iter().sum::<f64>() / rises.len() as f64);
        let ceiling = thermal_ceiling(view);
        let gpu_kw = p.rack_rating_kw / f64::from(p.gpus_per_rack.max(1));
        let mut ranked: Vec<(bool, RackHint)> = own
            .iter()
            .map(|r| {
                let mut reasons = vec![format!("one more kW of load costs {marginal:.3} kW in all")];
                let mut cost = marginal * gpu_kw;
                if let (Some(rise), Some(mean)) = (rise(r), mean_rise) {
                    let penalty = (PENALTY_SHARE * (rise / mean - 1.0)).clamp(-PENALTY_MAX, PENALTY_MAX);
                    cost *= 1.0 + penalty;
                    reasons.push(format!("coolant rises {rise:.3} K per kW here, {mean:.3} on average"));
                } else {
                    reasons.push("its own coolant rise is not known; taken as average".into());
                }
                let power = r.rating_kw - r.power_kw;
                let thermal = ceiling.map(|c| c - r.return_c).filter(|v| v.is_finite());
                let full = r.free_gpus == Some(0);
                let room = !full && power >= gpu_kw && thermal.is_none_or(|t| t > 0.0);
                if full {
                    reasons.push("no free GPU".into());
                }
                if !(power >= gpu_kw) {
                    reasons.push(format!("power headroom is {power:.1} kW of a rating of {:.0} kW", r.rating_kw));
                }
                if thermal.is_some_and(|t| t <= 0.0) {
                    reasons.push("its coolant return has no thermal headroom".into());
                }
                let hint = RackHint {
                    rack: r.id.clone(),
                    rank: 0,
                    marginal_kwh_per_gpu_hour: cost,
                    power_headroom_kw: if power.is_finite() { power } else { 0.0 },
                    thermal_headroom_k: thermal,
                    band: 5,
                    reasons,
                };
                (room, hint)
            })
            .collect();
        // Costs within 0.1 % are the same; then the rack with more room, then the name, so that ranks do not flicker.
        let bucket = |h: &RackHint| (h.marginal_kwh_per_gpu_hour / (0.001 * marginal * gpu_kw)).round() as i64;
        ranked.sort_by(|(ra, a), (rb, b)| {
            (rb.cmp(ra))
                .then(bucket(a).cmp(&bucket(b)))
                .then(b.power_headroom_kw.total_cmp(&a.power_headroom_kw))
                .then(a.rack.cmp(&b.rack))
        });
        let fit = ranked.iter().filter(|(room, _)| *room).count().max(1);
        let list: Vec<RackHint> = (ranked.into_iter().enumerate())
            .map(|(i, (room, mut h))| {
                h.rank = i as u32 + 1;
                h.band = if room { 1 + (4 * i / fit).min(3) as u8 } else { 5 };
                h
            })
            .collect();
        for class in &p.job_classes {
            out.push(Hints {
                site: view.site.site.id.clone(),
                partition: p.id.clone(),
                job_class: class.clone(),
                made_at: view.now,
                valid_until: view.now + VALID,
                racks: list.clone(),
            });
        }
    }
    out
}

/// The highest coolant return that a limit of the site allows, with its margin; none where no loop's return is limited.
fn thermal_ceiling(view: &View) -> Option<f64> {
    let returns: Vec<&String> = view.site.loops.iter().map(|l| &l.return_).collect();
    (view.site.limits.iter())
        .filter(|l| returns.contains(&&l.role) && l.above.is_none())
        .filter_map(|l| l.max.map(|m| m - l.margin))
        .min_by(f64::total_cmp)
}
