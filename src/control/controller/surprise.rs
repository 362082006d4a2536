//! What the plant does that its model does not know of: a pump lost, a fouled exchanger.
//!
//! Words: the *shadow* of a limited value is what the model makes of it by itself, from the setpoints in force, the loads and the
//! weather that were measured, without ever being set to the measured value; the *surprise* is how much nearer to its limit the
//! measured value is than its shadow. A prediction that starts at the measured value would hide the disturbance behind the model's
//! own lag: with each tick only the part that grew since the last would show.
//! Invariants: a surprise only ever counts towards safety; it rises at once and fades slowly; it is bounded.

use super::super::view::View;
use crate::plant::predict::{PlantState, Predict, StepInput};
use crate::site::Limit;
use crate::time::Timestamp;

/// Errors of the model that are no surprise, in standard deviations, and the part by which a surprise fades in a tick.
const SIGMAS: f64 = 1.5;
const FADES: f64 = 0.1;
/// Part of what a value is inside its margin by that a surprise grows with in a tick, and how many margins it may come to.
const GROWS: f64 = 0.5;
const MARGINS_MAX: f64 = 10.0;
/// How far a value may be from its own setpoint, towards the limit, and still follow it: a part of the limit's margin.
const FOLLOWS: f64 = 0.5;
/// Ticks without a word after which shadows begin anew.
const GAP_TICKS: i64 = 2;

#[derive(Clone, Debug, Default)]
pub(super) struct Surprise {
    shadow: Option<Shadow>,
    by_limit: Vec<f64>,
}

#[derive(Clone, Debug)]
struct Shadow {
    at: Timestamp,
    values: Vec<f64>,
    loads_kw: Vec<f64>,
}

impl Surprise {
    /// By how much each limited value is nearer to its limit than its shadow, in the limit's unit; in the order of the site file.
    pub fn by_limit(&self) -> Vec<f64> {
        self.by_limit.clone()
    }

    /// Takes in a view. Without a usable model nothing can surprise: what was seen fades.
    pub fn see(&mut self, view: &View, model: Option<&dyn Predict>) {
        let expected = model.and_then(|m| self.cast(view, m));
        if expected.is_none() {
            self.shadow = None;
        }
        self.by_limit.resize(view.site.limits.len(), 0.0);
        for (i, (l, s)) in view.site.limits.iter().zip(&mut self.by_limit).enumerate() {
            let measured = view.role(&l.role);
            let at = |id: &str| view.site.actuators.iter().position(|a| a.id == id).and_then(|j| view.actuators.get(j));
            let reserve = l.reserve_at(measured.value, |id| at(id).map(|a| a.in_force.value));
            let known = expected.as_ref().and_then(|e| e.get(i)).filter(|e| e.0.is_finite() && e.1.is_finite() && !measured.is_stale());
            let (nearer, clear) = (|shadow: f64| nearer(l, measured.value, shadow), clear(l, measured.value, view));
            // A value that follows its own setpoint is where a plan put it; one that does not (a chiller that will not start) is like any other.
            let setpoint = l.actuator.as_deref().and_then(at).map(|a| a.in_force.value).filter(|v| v.is_finite());
            let follows = l.actuator.is_some() && setpoint.is_none_or(|s| nearer(s) <= FOLLOWS * l.margin);
            // Such a setpoint moves slowly: it counts from twice the margin on.
            let margin = if l.actuator.is_some() { 2.0 * l.margin } else { l.margin };
            *s = match known {
                // Inside its margin already: what the model is wrong by counts whole, and more with every tick that it stays there.
                Some((v, _)) if clear < margin && !follows => s.max(nearer(*v)) + GROWS * (margin - clear),
                Some((v, sigma)) if nearer(*v) - SIGMAS * sigma > *s => nearer(*v) - SIGMAS * sigma,
                Some((v, sigma)) => *s + FADES * (nearer(*v) - SIGMAS * sigma - *s),
                None => *s * (1.0 - FADES),
            }
            .clamp(0.0, MARGINS_MAX * l.margin.max(1.0) + reserve);
        }
    }

    /// Takes the shadows to now; their values with the model's error, where the loads of the time between are known.
    fn cast(&mut self, view: &View, model: &dyn Predict) -> Option<Vec<(f64, f64)>> {
        let loads_kw: Vec<f64> = view.site.loads().map(|l| view.role(l).value).collect();
        let in_force = view.in_force();
        if loads_kw.iter().chain(&in_force).any(|v| !v.is_finite()) {
            return None;
        }
        let measured: Vec<f64> = view.site.limits.iter().map(|l| view.role(&l.role).value).collect();
        let tick = view.site.control.tick();
        let before = self.shadow.take().filter(|s| view.now > s.at && (view.now - s.at).0 <= GAP_TICKS * tick.0);
        let Some(before) = before else {
            self.shadow = Some(Shadow { at: view.now, values: measured, loads_kw });
            return Some(vec![]);
        };
        // A value that was not known has no shadow yet.
        let limited = before.values.iter().zip(&measured).map(|(s, m)| if s.is_finite() { *s } else { *m }).collect();
        let dew = view.role("room_dew_point");
        let step = StepInput {
            span: view.now - before.at,
            setpoints: in_force.clone(),
            loads_kw: before.loads_kw.iter().zip(&loads_kw).map(|(a, b)| 0.5 * (a + b)).collect(),
            weather: view.weather,
            room_dew_point_c: if dew.is_known() { dew.value } else { view.weather.dew_point_c },
        };
        let mut out = Vec::with_capacity(1);
        model.rollout(&PlantState { in_force, limited }, &[step], &mut out);
        let now = out.pop()?;
        self.shadow = Some(Shadow { at: view.now, values: now.limited.clone(), loads_kw });
        let sigma = |i: usize| now.limited_sigma.get(i).copied().unwrap_or(0.0);
        Some(now.limited.iter().enumerate().map(|(i, v)| (*v, sigma(i))).collect())
    }
}

/// How much nearer to its limit a value is than another.
fn nearer(l: &Limit, value: f64, than: f64) -> f64 {
    let to_max = l.max.map_or(0.0, |_| value - than);
    let to_min = l.min.map_or(0.0, |_| than - value);
    to_max.max(to_min)
}

/// Distance of a value from its limit; negative = beyond.
fn clear(l: &Limit, value: f64, view: &View) -> f64 {
    let (low, high) = l.above.as_ref().map_or((0.0, 0.0), |r| (view.role(r).low, view.role(r).high));
    l.max.map_or(f64::MAX, |m| m + low - value).min(l.min.map_or(f64::MAX, |m| value - high - m))
}
