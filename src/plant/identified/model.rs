//! The identified model itself: what it holds, how it rolls out, how it follows a slow drift.
//!
//! Words: a *variable* and a *feature* are as in [`super::feature`]; *leak* is the share by which IT power changes with the
//! coolant at the same work (leakage of the chips, fans of the servers); a *lag* is the first-order answer of a limited
//! temperature.
//! Invariants: a rollout never fails and gives finite numbers; outside the range that the model was trained in, sigma
//! grows and the variables are held at the edge of an allowance; powers are never negative.

use super::card::Card;
use super::compiled::Lazily;
use super::dataset::{Binding, Row};
use super::drift::Residuals;
use super::feature::{Feature, Layout};
use crate::plant::predict::{Fit, Outcome, PlantState, Predict, StepInput};
use crate::site::MeterBoundary;
use serde::{Deserialize, Serialize};

/// How far beyond its trained range a variable may go before it is held, as a share of the range's width.
const ALLOWANCE: f64 = 0.15;
/// Largest logarithm of the leak's factor: beyond it the fit, not the plant, would be speaking.
const LEAK_MAX: f64 = 0.2;
/// Growth of sigma per trained range width that a variable is outside.
const SIGMA_PER_WIDTH: f64 = 4.0;

/// A linear answer to the features, in raw (not standardised) feature values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    pub intercept: f64,
    pub weights: Vec<f64>,
}

/// One meter outside the IT boundary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeterModel {
    /// Index in the site file's meters.
    pub meter: usize,
    pub linear: Linear,
    /// Held-out standard deviation, kW.
    pub sigma_kw: f64,
}

/// One limited role.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LimitModel {
    pub linear: Linear,
    /// Time constant of its first-order answer, s.
    pub lag_s: f64,
    pub sigma: f64,
    /// +1: bounded above, the worst is the highest; −1: below; 0: both.
    pub side: i8,
    /// Values seen in training; predictions stay within them, widened by the allowance.
    pub seen: (f64, f64),
}

/// One way in which setpoints move IT power at the same work: a feature of the setpoints (and the load) in the logarithm
/// of IT power.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    pub feature: Feature,
    /// Share of IT power per unit of the feature, and its standard error.
    pub share: f64,
    pub error: f64,
}

/// IT power: load to meter, and the leak.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ItModel {
    pub intercept_kw: f64,
    /// kW of IT meters per kW of each loop's load.
    pub per_load: Vec<f64>,
    pub leaks: Vec<Leak>,
    pub sigma_kw: f64,
}

impl ItModel {
    /// Logarithm of the leak's factor, up to a constant.
    fn log_leak(&self, z: &[f64]) -> f64 {
        self.leaks.iter().map(|l| l.share * l.feature.value(z)).sum()
    }
}

/// A plant as its telemetry describes it. Made by [`super::fit`], kept in `models/` by [`super::save`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentifiedModel {
    pub binding: Binding,
    pub layout: Layout,
    pub features: Vec<Feature>,
    pub meters: Vec<MeterModel>,
    pub limits: Vec<LimitModel>,
    pub it: ItModel,
    /// Range of each variable in training (0.5 % to 99.5 %).
    pub ranges: Vec<(f64, f64)>,
    /// Held-out standard deviation of cooling and loss together, kW.
    pub sigma_kw: f64,
    pub fit: Fit,
    #[serde(skip)]
    pub card: Card,
    #[serde(skip)]
    pub residuals: Residuals,
    #[serde(skip)]
    pub compiled: Lazily,
}

/// Working space of one evaluation.
#[derive(Default)]
pub(crate) struct Scratch {
    pub z: Vec<f64>,
    /// Answers: meters, then limits.
    pub y: Vec<f64>,
}

impl IdentifiedModel {
    /// Fills the variables, held within their trained ranges and an allowance; returns how far outside the ranges they
    /// were, in widths.
    fn variables(&self, setpoints: &[f64], loads_kw: &[f64], weather: [f64; 3], s: &mut Scratch) -> f64 {
        self.layout.fill(setpoints, loads_kw, 1.0, weather, &mut s.z);
        let mut outside = 0.0;
        for (v, &(lo, hi)) in s.z.iter_mut().zip(&self.ranges) {
            let width = (hi - lo).max(1e-6);
            if !v.is_finite() {
                *v = 0.5 * (lo + hi);
                outside += 1.0;
            } else if *v > hi {
                outside += (*v - hi) / width.max(0.02 * hi.abs());
                *v = v.min(hi + ALLOWANCE * width);
            } else if *v < lo {
                outside += (lo - *v) / width.max(0.02 * lo.abs());
                *v = v.max(lo - ALLOWANCE * width);
            }
        }
        outside
    }

    /// Fills variables and answers; returns how far outside the trained ranges this is, and the factor by which IT power
    /// and loads differ from what they are at the setpoints `from`.
    fn evaluate(&self, from: Option<&[f64]>, setpoints: &[f64], loads_kw: &[f64], weather: [f64; 3], s: &mut Scratch) -> (f64, f64) {
        let mut gain = 1.0;
        let there = from.map(|from| {
            self.variables(from, loads_kw, weather, s);
            self.it.log_leak(&s.z)
        });
        let outside = self.variables(setpoints, loads_kw, weather, s);
        if let Some(there) = there {
            gain = (self.it.log_leak(&s.z) - there).clamp(-LEAK_MAX, LEAK_MAX).exp();
            let loads = self.layout.load(0)..self.layout.dry_bulb();
            s.z[loads].iter_mut().for_each(|v| *v *= gain);
        }
        self.compiled.of(self).answers(&s.z, &mut s.y);
        (outside, gain)
    }

    /// Factor by which IT power changes at the same work when the setpoints go from `from` to `to`.
    pub fn leak_factor(&self, from: &[f64], to: &[f64], loads_kw: &[f64]) -> f64 {
        let weather = [f64::NAN; 3];
        self.evaluate(Some(from), to, loads_kw, weather, &mut Scratch::default()).1
    }

    fn limit_at(&self, i: usize, answers: &[f64]) -> f64 {
        let l = &self.limits[i];
        let spare = ALLOWANCE * (l.seen.1 - l.seen.0).max(1e-6);
        answers[self.meters.len() + i].clamp(l.seen.0 - spare, l.seen.1 + spare) + self.residuals.limit_bias(i)
    }

    /// Power of each meter outside the IT boundary at rest, kW, in the order of `self.meters`: for displays and tests.
    pub fn meters_kw(&self, row: &Row) -> Vec<f64> {
        let mut s = Scratch::default();
        self.evaluate(None, &row.in_force, &row.loads_kw, weather_of(row), &mut s);
        s.y[..self.meters.len()].iter().map(|kw| kw.max(0.0)).collect()
    }

    /// Value of each limited role at rest.
    pub fn limits_at_rest(&self, row: &Row) -> Vec<f64> {
        let mut s = Scratch::default();
        self.evaluate(None, &row.in_force, &row.loads_kw, weather_of(row), &mut s);
        (0..self.limits.len()).map(|i| self.limit_at(i, &s.y)).collect()
    }

    /// Lets the model follow a slow drift of its plant: `row` is the newest step as measured. Returns the drift now.
    pub fn residual_correct(&mut self, row: &Row, span: crate::time::Span) -> super::drift::Drift {
        let meters = self.meters_kw(row);
        let mut raw = Residuals::default();
        std::mem::swap(&mut raw, &mut self.residuals);
        let limits = self.limits_at_rest(row);
        let side = |want: MeterBoundary| -> (f64, f64) {
            let own = self.meters.iter().zip(&meters).filter(|(m, _)| self.binding.boundaries.get(m.meter) == Some(&want));
            own.fold((0.0, 0.0), |(p, m), (meter, kw)| (p + kw, m + row.meters_kw.get(meter.meter).copied().unwrap_or(f64::NAN)))
        };
        let (cooling, loss) = (side(MeterBoundary::Cooling), side(MeterBoundary::Loss));
        let limit_sigma: Vec<f64> = self.limits.iter().map(|l| l.sigma).collect();
        raw.observe(span, cooling, loss, self.sigma_kw, &limits, &row.limited, &limit_sigma);
        self.residuals = raw;
        self.residuals.drift()
    }
}

pub(crate) fn weather_of(row: &Row) -> [f64; 3] {
    [row.weather.dry_bulb_c, row.weather.wet_bulb_c, row.room_dew_point_c]
}

impl Predict for IdentifiedModel {
    fn rollout(&self, state: &PlantState, steps: &[StepInput], out: &mut Vec<Outcome>) {
        Outcome::anew(out, steps.len());
        let mut s = Scratch::default();
        let mut limited: Vec<f64> = state.limited.clone();
        limited.resize(self.limits.len(), f64::NAN);
        for (step, o) in steps.iter().zip(out) {
            let weather = [step.weather.dry_bulb_c, step.weather.wet_bulb_c, step.room_dew_point_c];
            let (outside, gain) = self.evaluate(Some(&state.in_force), &step.setpoints, &step.loads_kw, weather, &mut s);
            let grow = 1.0 + SIGMA_PER_WIDTH * outside;
            let base: f64 = self.it.per_load.iter().zip(&step.loads_kw).map(|(k, l)| k * l).sum();
            let base = if base.is_finite() { base } else { self.it.per_load.iter().zip(&self.layout.load_scale).map(|(k, l)| k * l).sum() };
            let it_kw = (self.it.intercept_kw + base).max(0.0) * gain;
            let (mut cooling_kw, mut loss_kw) = (self.residuals.cooling_bias_kw(), self.residuals.loss_bias_kw());
            for (m, kw) in self.meters.iter().zip(&s.y) {
                let kw = kw.max(0.0);
                match self.binding.boundaries.get(m.meter) {
                    Some(MeterBoundary::Loss) => loss_kw += kw,
                    _ => cooling_kw += kw,
                }
            }
            (o.it_kw, o.cooling_kw, o.loss_kw) = (it_kw, cooling_kw.max(0.0), loss_kw.max(0.0));
            o.power_sigma_kw = self.sigma_kw.hypot(self.it.sigma_kw) * grow;
            for (i, l) in self.limits.iter().enumerate() {
                let rest = self.limit_at(i, &s.y);
                let before = if limited[i].is_finite() { limited[i] } else { rest };
                let keep = if l.lag_s > 0.0 { (-step.span.as_secs_f64() / l.lag_s).exp() } else { 0.0 };
                let after = rest + keep * (before - rest);
                o.limited.push(match l.side {
                    1 => before.max(after),
                    -1 => before.min(after),
                    _ => after,
                });
                o.limited_sigma.push(l.sigma * grow);
                limited[i] = after;
            }
        }
    }

    fn fit(&self) -> &Fit {
        &self.fit
    }

    fn name(&self) -> &str {
        &self.card.name
    }
}
