//! The energy account of a run, on true values.

use super::guard::RequestStats;
use crate::plant::twin::{TCS_FLOW, Truth, TwinSpec};
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Sums over a run, after its warm-up.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Account {
    pub it_kwh: f64,
    pub cooling_kwh: f64,
    pub loss_kwh: f64,
    pub components_kwh: BTreeMap<String, f64>,
    pub gpu_hours: f64,
    /// Minutes beyond each limit.
    pub minutes_beyond_limit: BTreeMap<String, f64>,
    /// Least distance to each limit, in its unit; negative = beyond.
    pub least_margin: BTreeMap<String, f64>,
    pub hours: f64,
    pub requests: RequestStats,
}

impl Account {
    pub(super) fn new(spec: &TwinSpec) -> Account {
        let zero = |ids: &mut dyn Iterator<Item = String>, v: f64| ids.map(|id| (id, v)).collect::<BTreeMap<_, _>>();
        Account {
            components_kwh: zero(&mut Truth::default().components().iter().map(|c| c.0.to_owned()), 0.0),
            minutes_beyond_limit: zero(&mut spec.limits.iter().map(|l| l.id.clone()), 0.0),
            least_margin: zero(&mut spec.limits.iter().map(|l| l.id.clone()), f64::MAX),
            ..Account::default()
        }
    }

    pub(super) fn add(&mut self, spec: &TwinSpec, truth: &Truth, span: Span, gpus: u32, in_force: [f64; 4]) {
        let h = span.as_hours_f64();
        self.hours += h;
        self.it_kwh += truth.it_kw * h;
        self.cooling_kwh += truth.cooling_kw() * h;
        self.loss_kwh += truth.loss_kw * h;
        self.gpu_hours += f64::from(gpus) * h;
        for (id, kw) in truth.components() {
            if let Some(sum) = self.components_kwh.get_mut(id) {
                *sum += kw * h;
            }
        }
        for limit in &spec.limits {
            let margin = limit_margin(&limit.of, limit.max, limit.min, truth, in_force);
            if let Some(m) = self.least_margin.get_mut(&limit.id) {
                *m = m.min(margin);
            }
            if margin < 0.0
                && let Some(minutes) = self.minutes_beyond_limit.get_mut(&limit.id)
            {
                *minutes += 60.0 * h;
            }
        }
    }

    /// All that the GPUs' hours are charged with, kWh.
    pub fn total_kwh(&self) -> f64 {
        self.it_kwh + self.cooling_kwh + self.loss_kwh
    }
    pub fn kwh_per_gpu_hour(&self) -> f64 {
        self.total_kwh() / self.gpu_hours
    }
    pub fn beyond_limit_minutes(&self) -> f64 {
        self.minutes_beyond_limit.values().sum()
    }
}

/// Limits that are passed: bit `i` for limit `i`.
pub(super) fn beyond(spec: &TwinSpec, truth: &Truth, in_force: [f64; 4]) -> u32 {
    let passed = |l: &crate::plant::twin::LimitSpec| limit_margin(&l.of, l.max, l.min, truth, in_force) < 0.0;
    spec.limits.iter().take(32).enumerate().map(|(i, l)| u32::from(passed(l)) << i).sum()
}

/// Value that a limit bounds, and its distance to it.
pub(super) fn limited(spec: &TwinSpec, id: &str, truth: &Truth, in_force: [f64; 4]) -> Option<(f64, f64)> {
    let l = spec.limits.iter().find(|l| l.id == id)?;
    Some((limited_value(&l.of, truth, in_force)?, limit_margin(&l.of, l.max, l.min, truth, in_force)))
}

/// Distance to a limit, in its unit; negative = beyond.
fn limit_margin(of: &str, max: Option<f64>, min: Option<f64>, truth: &Truth, in_force: [f64; 4]) -> f64 {
    let Some(value) = limited_value(of, truth, in_force) else { return f64::MAX };
    let over = max.map_or(f64::MAX, |m| m - value);
    let under = min.map_or(f64::MAX, |m| value - m);
    over.min(under)
}

fn limited_value(of: &str, truth: &Truth, in_force: [f64; 4]) -> Option<f64> {
    Some(match of {
        "gpu" => truth.hottest_gpu_c(),
        "fws_supply" => truth.fws_supply_c,
        "tcs_supply_over_dew_point" => truth.tcs_supply_least_c() - truth.room_dew_point_c,
        "cold_supply_over_dew_point" => truth.cold_supply_c - truth.room_dew_point_c,
        "room_air" => truth.room_air_c,
        "tcs_return" => truth.tcs_return_c(),
        "tcs_flow" => in_force[TCS_FLOW],
        _ => return None,
    })
}
