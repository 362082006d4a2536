//! What the plant model says of the hours ahead: what a load costs in each slot, and how much more can be cooled.
//!
//! Words: the *curve* of a slot is the site's total power over its load at the setpoints in force; the *room* is the load
//! that may be added before a limit with its margin and the model's error is reached, above the p90 load; where the
//! setpoints in force leave no room, colder or faster ones are tried before it is called full ([`Slot::cooled`]).
//! Invariants: limits that do not move with the load are none of placement's business; a slot of which the model knows
//! nothing ends the outlook there.

use super::problem::Curve;
use crate::control::plan::Tuning;
use crate::control::view::View;
use crate::plant::predict::{Outcome, PlantState, Predict, StepInput};
use crate::signal::weather::Weather;
use crate::time::{Span, Timestamp};

/// Load levels of a curve, as shares of the expected load.
const LEVEL_FIRST: f64 = 0.7;
const LEVELS: usize = 13;
/// Bounds on what a kW of load may cost in all, kW: outside them the model, not the plant, would be speaking.
const SLOPE_LEAST: f64 = 0.9;
const SLOPE_MOST: f64 = 3.0;
/// Leakage that a model may claim, share of IT power per K.
const LEAK_MOST: f64 = 0.01;
/// Values that an actuator is tried at for more cooling, as shares of its range.
const TRIES: [f64; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];

/// What is expected without the jobs to place, per slot.
#[derive(Clone, Debug, PartialEq)]
pub struct Outlook {
    pub slot: Span,
    pub weather: Vec<Weather>,
    /// Per slot and loop, kW.
    pub p50_kw: Vec<Vec<f64>>,
    pub p90_kw: Vec<Vec<f64>>,
    /// Setpoints that the plan heads for; those in force where it has none.
    pub setpoints: Vec<f64>,
    /// Do the setpoints follow the load by themselves? Then a job that is placed moves them too.
    pub follow: bool,
}

/// One slot as the model sees it.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub at: Timestamp,
    /// Expected load of the site (its first loop), kW.
    pub base_kw: f64,
    pub curve: Curve,
    /// Load that may be added before a limit is reached, kW; negative = too much already, infinite = none is near.
    pub room_kw: f64,
    /// The limit that ends it; empty where none is reached within the levels looked at.
    pub limit: String,
    /// Is `room_kw` only there with other setpoints than those in force?
    pub cooled: bool,
}

impl Slot {
    /// d(total)/d(load), kW per kW.
    pub fn marginal(&self) -> f64 {
        let k = &self.curve;
        // Across a level on either side: a rack's worth of load, not an instant.
        let (lo, hi) = (self.base_kw - 0.5 * k.step_kw, self.base_kw + 0.5 * k.step_kw);
        ((k.at(hi) - k.at(lo)) / (hi - lo)).clamp(SLOPE_LEAST, SLOPE_MOST)
    }
}

struct Look<'a> {
    view: &'a View,
    outlook: &'a Outlook,
    model: &'a dyn Predict,
    state: PlantState,
    dew_c: f64,
    sigmas: f64,
    /// The most that each load can be, kW, where the racks tell.
    ratings_kw: Vec<Option<f64>>,
}

/// The slots of the outlook; `reach_kw` is how much load may come at most. Empty where the view or the model cannot tell.
pub fn slots(view: &View, outlook: &Outlook, model: &dyn Predict, reach_kw: f64) -> Vec<Slot> {
    let n = outlook.weather.len().min(outlook.p50_kw.len()).min(outlook.p90_kw.len());
    let known = |row: &Vec<f64>| !row.is_empty() && row.iter().all(|v| v.is_finite() && *v >= 0.0);
    let n = (0..n).find(|&k| !(known(&outlook.p50_kw[k]) && outlook.p50_kw[k][0] > 0.0)).unwrap_or(n);
    if n == 0 || outlook.setpoints.len() != view.site.actuators.len() || outlook.setpoints.iter().any(|v| !v.is_finite()) {
        return vec![];
    }
    let dew = view.role("room_dew_point");
    let look = Look {
        view,
        outlook,
        model,
        state: PlantState { in_force: view.in_force(), limited: view.site.limits.iter().map(|l| view.role(&l.role).value).collect() },
        dew_c: if dew.is_known() { dew.value } else { view.weather.dew_point_c },
        sigmas: Tuning::default().sigmas,
        ratings_kw: view.site.loads().map(|l| view.site.rating_kw(l, std::iter::empty())).collect(),
    };
    if look.state.in_force.iter().any(|v| !v.is_finite()) {
        return vec![];
    }
    let most = (0..n).map(|k| outlook.p50_kw[k][0]).fold(f64::INFINITY, f64::min);
    let top = (1.0 + reach_kw.max(0.0) / most.max(1.0)).clamp(1.3, 3.0);
    let levels: Vec<f64> = (0..LEVELS).map(|i| LEVEL_FIRST + (top - LEVEL_FIRST) * i as f64 / (LEVELS - 1) as f64).collect();
    let rows: Vec<Vec<Outcome>> = levels.iter().map(|f| look.roll(&outlook.setpoints, *f, n)).collect();
    if rows.iter().any(|r| r.len() < n || r.iter().any(|o| !o.total_kw().is_finite())) {
        return vec![];
    }
    let mut rooms = look.rooms(&levels, &rows, n);
    let colder = if rooms.iter().any(|(kw, _)| *kw < reach_kw) { look.colder(&levels, n) } else { None };
    let mut cooled = vec![false; n];
    if let Some(setpoints) = colder {
        let rows: Vec<Vec<Outcome>> = levels.iter().map(|f| look.roll(&setpoints, *f, n)).collect();
        for (k, room) in look.rooms(&levels, &rows, n).into_iter().enumerate() {
            if room.0 > rooms[k].0 + 1e-6 {
                rooms[k] = room;
                cooled[k] = true;
            }
        }
    }
    (0..n)
        .map(|k| {
            let base_kw = outlook.p50_kw[k][0];
            let curve = Curve {
                first_kw: levels[0] * base_kw,
                step_kw: (levels[1] - levels[0]) * base_kw,
                total_kw: rising(rows.iter().map(|r| r[k].total_kw()).collect(), (levels[1] - levels[0]) * base_kw),
            };
            let (room_kw, limit) = rooms[k].clone();
            Slot { at: view.now + Span(outlook.slot.0 * k as i64), base_kw, curve, room_kw, limit, cooled: cooled[k] }
        })
        .collect()
}

/// A curve whose slopes stay within what a plant can do: a model beyond its data may fall or leap.
fn rising(mut total_kw: Vec<f64>, step_kw: f64) -> Vec<f64> {
    for i in 1..total_kw.len() {
        let (lo, hi) = (SLOPE_LEAST * step_kw, SLOPE_MOST * step_kw);
        total_kw[i] = total_kw[i].clamp(total_kw[i - 1] + lo, total_kw[i - 1] + hi);
    }
    total_kw
}

/// Share of IT power that one K of warmer coolant costs, by the model: 0 where it knows none.
pub fn leak_per_k(view: &View, outlook: &Outlook, model: &dyn Predict) -> f64 {
    if outlook.weather.is_empty() || outlook.setpoints.iter().chain(&view.in_force()).any(|v| !v.is_finite()) {
        return 0.0;
    }
    let dew = view.role("room_dew_point");
    let state = PlantState { in_force: outlook.setpoints.clone(), limited: vec![f64::NAN; view.site.limits.len()] };
    let it_kw = |setpoints: Vec<f64>| {
        let step = StepInput {
            span: Span::hours(1),
            setpoints,
            loads_kw: outlook.p50_kw[0].clone(),
            weather: outlook.weather[0],
            room_dew_point_c: if dew.is_known() { dew.value } else { view.weather.dew_point_c },
        };
        let mut out = vec![];
        model.rollout(&state, &[step], &mut out);
        out.first().map_or(f64::NAN, |o| o.it_kw)
    };
    let base = it_kw(outlook.setpoints.clone());
    let supplies: Vec<usize> = (view.site.actuators.iter().enumerate())
        .filter(|(_, a)| a.measured.as_ref().is_some_and(|m| view.site.loops.iter().any(|l| l.supply == *m)))
        .map(|(i, _)| i)
        .collect();
    let share = |i: &usize| {
        let mut warmer = outlook.setpoints.clone();
        warmer[*i] += 1.0;
        (it_kw(warmer) / base - 1.0).clamp(0.0, LEAK_MOST)
    };
    supplies.iter().map(share).filter(|s| s.is_finite()).fold(0.0, f64::max)
}

impl Look<'_> {
    /// Loads of the whole times `factor`. One rack's own grows with them no further than its rating: then others fill up.
    fn loads_kw(&self, p50_kw: &[f64], factor: f64) -> Vec<f64> {
        let grown = |(rating, kw): (&Option<f64>, &f64)| match rating {
            Some(rating) => (kw * factor).min(rating.max(*kw)),
            None => kw * factor,
        };
        self.ratings_kw.iter().zip(p50_kw).map(grown).collect()
    }

    fn roll(&self, setpoints: &[f64], factor: f64, n: usize) -> Vec<Outcome> {
        let steps: Vec<StepInput> = (0..n)
            .map(|k| StepInput {
                span: self.outlook.slot,
                setpoints: setpoints.to_vec(),
                loads_kw: self.loads_kw(&self.outlook.p50_kw[k], factor),
                weather: self.outlook.weather[k],
                room_dew_point_c: self.dew_c,
            })
            .collect();
        let mut out = vec![];
        self.model.rollout(&self.state, &steps, &mut out);
        out
    }

    /// How far a limited value is inside the limit with its margin; infinite where nothing bounds it or is known.
    fn spare(&self, i: usize, o: &Outcome) -> f64 {
        let l = &self.view.site.limits[i];
        let (low, high) = l.above.as_ref().map_or((0.0, 0.0), |r| (self.view.role(r).low, self.view.role(r).high));
        let Some(v) = o.limited.get(i).copied().filter(|v| v.is_finite()) else { return f64::INFINITY };
        let sigma = o.limited_sigma.get(i).copied().filter(|s| s.is_finite()).unwrap_or(0.0);
        let over = l.max.map_or(f64::INFINITY, |m| low + m - v);
        let under = l.min.map_or(f64::INFINITY, |m| v - high - m);
        let d = over.min(under) - l.margin - self.sigmas * sigma;
        if d.is_finite() { d } else { f64::INFINITY }
    }

    /// Room above the p90 load per slot, and the limit that ends it. A limit counts where more load brings it nearer.
    fn rooms(&self, levels: &[f64], rows: &[Vec<Outcome>], n: usize) -> Vec<(f64, String)> {
        (0..n)
            .map(|k| {
                let base = self.outlook.p50_kw[k][0];
                let high = self.outlook.p90_kw[k].first().copied().filter(|v| v.is_finite()).unwrap_or(base).max(base);
                let mut room = (f64::INFINITY, String::new());
                for (i, l) in self.view.site.limits.iter().enumerate() {
                    let spare: Vec<f64> = rows.iter().map(|r| self.spare(i, &r[k])).collect();
                    let (first, last) = (spare[0], spare[spare.len() - 1]);
                    if !(first.is_finite() && last.is_finite()) || last >= first - 0.05 || last >= 0.0 {
                        continue;
                    }
                    let at = (1..spare.len()).find(|&j| spare[j] < 0.0).unwrap_or(spare.len() - 1);
                    let (a, b) = (spare[at - 1], spare[at]);
                    let part = if a > 0.0 { a / (a - b).max(1e-9) } else { 0.0 };
                    let level = if a > 0.0 { levels[at - 1] + part * (levels[at] - levels[at - 1]) } else { levels[0] };
                    if level * base - high < room.0 {
                        room = (level * base - high, l.name.clone());
                    }
                }
                room
            })
            .collect()
    }

    /// Setpoints that leave less excess at the highest level; `None` where none do.
    fn colder(&self, levels: &[f64], n: usize) -> Option<Vec<f64>> {
        let top = levels[levels.len() - 1];
        let excess = |setpoints: &[f64]| -> f64 {
            let out = self.roll(setpoints, top, n);
            let own = |i: usize| {
                // A limit on a setpoint itself holds for what is tried too.
                let l = &self.view.site.limits[i];
                let Some(a) = l.actuator.as_ref().and_then(|a| self.view.site.actuators.iter().position(|x| x.id == *a)) else {
                    return 0.0;
                };
                let (low, high) = l.above.as_ref().map_or((0.0, 0.0), |r| (self.view.role(r).low, self.view.role(r).high));
                let d =
                    l.max.map_or(f64::INFINITY, |m| low + m - setpoints[a]).min(l.min.map_or(f64::INFINITY, |m| setpoints[a] - high - m));
                if d.is_finite() { (l.margin - d).max(0.0) * 10.0 } else { 0.0 }
            };
            (0..self.view.site.limits.len())
                .map(|i| own(i) + out.iter().map(|o| self.spare(i, o)).filter(|s| s.is_finite()).map(|s| (-s).max(0.0)).sum::<f64>())
                .sum()
        };
        let mut best = self.outlook.setpoints.clone();
        let start = excess(&best);
        let mut least = start;
        for _ in 0..2 {
            for (i, a) in self.view.site.actuators.iter().enumerate() {
                for share in TRIES {
                    let mut trial = best.clone();
                    trial[i] = a.lo + share * (a.hi - a.lo);
                    let e = excess(&trial);
                    if e < least - 1e-6 {
                        (best, least) = (trial, e);
                    }
                }
            }
        }
        (least < start - 1e-6).then_some(best)
    }
}
