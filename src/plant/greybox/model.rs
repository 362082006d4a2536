//! The grey-box model itself: what it holds and how it rolls out.
//!
//! Invariants: a rollout never fails and gives finite numbers; powers are never negative; a limited role that the model
//! cannot predict comes back as NaN, never as a guess.

use super::basis::{Shape, Variables, weather_of};
use super::leak::Leak;
use super::machines::Machine;
use super::motion;
use crate::plant::identified::{Binding, Row};
use crate::plant::predict::{Fit, Outcome, PlantState, Predict, StepInput};
use crate::site::MeterBoundary;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Time constant and bound (in sigma) with which a bias follows the newest rows.
const FOLLOW: Span = Span::hours(3);
const BIAS_SIGMAS: f64 = 3.0;

/// Power of one meter outside the IT boundary: intercept + Σ weight · shape, kW.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Meter {
    pub meter: usize,
    pub intercept: f64,
    pub terms: Vec<Term>,
    /// kW per unit of each feature of motion.
    pub motion: Vec<f64>,
    /// Held-out standard deviation, kW, and mean of the data, kW.
    pub sigma_kw: f64,
    pub mean_kw: f64,
    /// What it is held below, kW: somewhat more than the most that it has shown.
    pub most_kw: f64,
}

/// A shape with its weight; with a gate it counts for the share of time that a machine runs. Without a shape the gate
/// counts alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Term {
    pub weight: f64,
    pub shape: Option<Shape>,
    pub gate: Option<u16>,
}

impl Term {
    /// Without the weight.
    pub fn value(&self, z: &[f64]) -> f64 {
        let gate = self.gate.map_or(1.0, |g| z[usize::from(g)]);
        if gate == 0.0 { 0.0 } else { gate * self.shape.map_or(1.0, |s| s.value(z)) }
    }
}

/// A limited role: linear in variables and in load per flow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Limited {
    /// NaN where the data do not tell, which JSON has no number for.
    #[serde(deserialize_with = "nan_where_null")]
    pub intercept: f64,
    pub terms: Vec<(f64, Part)>,
    /// Share of the value before that remains after one step of [`GreyBox::step`].
    pub keep: f64,
    #[serde(deserialize_with = "nan_where_null")]
    pub sigma: f64,
    /// +1: bounded above; −1: below; 0: both.
    pub side: i8,
}

fn nan_where_null<'d, D: serde::Deserializer<'d>>(d: D) -> Result<f64, D::Error> {
    Ok(Option::<f64>::deserialize(d)?.unwrap_or(f64::NAN))
}

/// What a limited role is linear in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Part {
    Variable(u16),
    /// load · flow^−power, power in tenths.
    LoadPerFlow {
        load: u16,
        flow: u16,
        tenths: u8,
    },
}

impl Part {
    pub fn value(&self, z: &[f64]) -> f64 {
        match *self {
            Part::Variable(v) => z[usize::from(v)],
            Part::LoadPerFlow { load, flow, tenths } => {
                z[usize::from(load)] * z[usize::from(flow)].max(0.05).powf(-f64::from(tenths) / 10.0)
            }
        }
    }
}

/// IT power: kW per kW of each distinct load, and how warm chips add to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct It {
    pub intercept_kw: f64,
    pub per_load: Vec<f64>,
    pub leak: Leak,
    /// The limited role that stands for the chips; none = the setpoints nearest to the chips do.
    pub chips: Option<usize>,
    pub coolant: Vec<usize>,
    pub sigma_kw: f64,
}

/// The format of a model's file, its key `format`: a number that grows with each change of what it means. Files without one are of the first.
pub const FORMAT: u32 = 1;

fn first() -> u32 {
    1
}

/// A plant as some hours to weeks of its telemetry describe it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GreyBox {
    #[serde(default = "first")]
    pub format: u32,
    pub name: String,
    pub binding: Binding,
    pub variables: Variables,
    pub step: Span,
    pub from: Timestamp,
    pub to: Timestamp,
    pub machines: Vec<Machine>,
    /// Largest value of each feature of motion in the data: what a move costs is not known beyond.
    pub motion_most: Vec<f64>,
    pub meters: Vec<Meter>,
    pub limits: Vec<Limited>,
    pub it: It,
    /// Range of each variable in the data.
    pub ranges: Vec<(f64, f64)>,
    /// Share of the load one step before in what the plant feels now.
    pub load_delay: f64,
    pub sigma_kw: f64,
    pub fit: Fit,
    /// Digest of the rows.
    pub digest: String,
    #[serde(skip)]
    pub bias: Bias,
}

/// Measured less predicted, followed over time; forgotten with each new fit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bias {
    pub cooling_kw: f64,
    pub limits: Vec<f64>,
    /// By machine: log-odds that it runs beyond what its line says (logistic regression that goes on learning its intercept). A
    /// constant added to the power would not move the plan away from a chiller that runs where the line says that it rests.
    pub lean: Vec<f64>,
    /// CUSUM (Page 1954) of the cooling residual, both sides, in sigma.
    pub up: f64,
    pub down: f64,
    pub alarm: bool,
    /// The row before.
    pub before: Option<Row>,
}

/// Slack and thresholds of the CUSUM, in sigma per hour (a new fit is asked for; the plant is no longer the one that was
/// learnt), and the least error that counts, as a share of cooling power.
const SLACK: f64 = 1.0;
const REFIT: f64 = 6.0;
const THRESHOLD: f64 = 72.0;
const FLOOR: f64 = 0.3;
/// What an hour of a machine that runs against its line adds to its log-odds, when half of that is forgotten, and the most of it.
const LEAN_PER_H: f64 = 12.0;
const LEAN_HALF_LIFE_H: f64 = 12.0;
const LEAN_MOST: f64 = 3.0;

impl GreyBox {
    fn temperature(&self, z: &[f64]) -> f64 {
        match self.it.chips.and_then(|i| self.limits.get(i)) {
            Some(l) => l.terms.iter().map(|(w, p)| w * p.value(z)).sum(),
            None => {
                let n = self.it.coolant.len().max(1) as f64;
                self.it.coolant.iter().map(|&a| z[a]).sum::<f64>() / n
            }
        }
    }

    /// Kelvins of the chips (up to a constant) that setpoints cause at given loads.
    pub(super) fn kelvin(&self, setpoints: &[f64], loads_kw: &[f64], weather: [f64; 3], z: &mut Vec<f64>) -> f64 {
        self.variables.fill(setpoints, loads_kw, 1.0, weather, z);
        self.temperature(z)
    }

    /// Fills what moves since the step before, as far as the data tell of such moves, and sets the machines' shares of time.
    fn run_machines(&self, z: &mut [f64], before: Option<&[f64]>, lean: &[f64], moving: &mut Vec<f64>, room: &mut Vec<f64>) {
        motion::fill(&self.variables, z, before, moving);
        for (m, most) in moving.iter_mut().zip(&self.motion_most) {
            *m = m.clamp(-most, *most);
        }
        for (k, m) in self.machines.iter().enumerate() {
            z[self.variables.machine(k)] = m.share(&self.variables, z, Some(moving), lean.get(k).copied().unwrap_or(0.0), room);
        }
    }

    fn powers(&self, z: &[f64], moving: &[f64]) -> (f64, f64) {
        let (mut cooling, mut loss) = (0.0, 0.0);
        for m in &self.meters {
            let at_rest = m.intercept + m.terms.iter().map(|t| t.weight * t.value(z)).sum::<f64>();
            let kw = (at_rest + m.motion.iter().zip(moving).map(|(w, x)| w * x).sum::<f64>()).max(0.0).min(m.most_kw);
            match self.binding.boundaries.get(m.meter) {
                Some(MeterBoundary::Loss) => loss += kw,
                _ => cooling += kw,
            }
        }
        (cooling, loss)
    }

    pub fn limit_at_rest(&self, i: usize, z: &[f64]) -> f64 {
        self.limits.get(i).map_or(f64::NAN, |l| l.intercept + l.terms.iter().map(|(w, p)| w * p.value(z)).sum::<f64>())
    }

    /// The variables of a row whose predecessor is known (its setpoints and loads), loads mixed by the delay; predicted power
    /// of cooling and losses, kW. `None` where a number is missing.
    fn predict_row(&self, row: &Row, before: Option<&Row>, lean: &[f64], z: &mut Vec<f64>) -> Option<(f64, f64)> {
        let before = before.filter(|b| (row.at - b.at).0 > 0 && (row.at - b.at).0 * 2 <= self.step.0 * 3);
        let mut was = Vec::new();
        let mixed = |r: &Row, b: Option<&Row>, z: &mut Vec<f64>| {
            let d = if b.is_some() { self.load_delay } else { 0.0 };
            let loads: Vec<f64> =
                (r.loads_kw.iter().enumerate()).map(|(i, l)| (1.0 - d) * l + b.map_or(0.0, |b| d * b.loads_kw[i])).collect();
            self.variables.fill(&r.in_force, &loads, 1.0, weather_of(r), z);
        };
        mixed(row, before, z);
        if let Some(b) = before {
            mixed(b, None, &mut was);
        }
        if z.iter().any(|v| !v.is_finite()) {
            return None;
        }
        let mut moving = Vec::new();
        self.run_machines(z, before.map(|_| was.as_slice()), lean, &mut moving, &mut Vec::new());
        Some(self.powers(z, &moving))
    }

    /// Follows the plant: takes in the newest step as measured.
    pub fn observe(&mut self, row: &Row) {
        let mut z = Vec::new();
        let before = self.bias.before.take();
        let predicted = self.predict_row(row, before.as_ref(), &self.bias.lean, &mut z);
        self.bias.before = Some(row.clone());
        let Some((predicted, _)) = predicted else { return };
        let share = 1.0 - (-self.step.as_secs_f64() / FOLLOW.as_secs_f64()).exp();
        let own = self.meters.iter().filter(|m| self.binding.boundaries.get(m.meter) == Some(&MeterBoundary::Cooling));
        let measured: f64 = own.map(|m| row.meters_kw.get(m.meter).copied().unwrap_or(f64::NAN)).sum();
        let residual = measured - predicted;
        if residual.is_finite() {
            let sigma = self.sigma_kw.max(1e-3);
            self.bias.cooling_kw += share * (residual - self.bias.cooling_kw);
            self.bias.cooling_kw = self.bias.cooling_kw.clamp(-BIAS_SIGMAS * sigma, BIAS_SIGMAS * sigma);
            let mean: f64 = self.meters.iter().map(|m| m.mean_kw).sum();
            let x = self.bias.cooling_kw / sigma.max(FLOOR * mean);
            let hours = self.step.as_hours_f64();
            self.bias.up = (self.bias.up + (x - SLACK) * hours).max(0.0);
            self.bias.down = (self.bias.down - (x + SLACK) * hours).max(0.0);
            self.bias.alarm = self.bias.up.max(self.bias.down) > THRESHOLD;
        }
        self.bias.lean.resize(self.machines.len(), 0.0);
        let hours = self.step.as_hours_f64();
        for (k, m) in self.machines.iter().enumerate() {
            let (kw, said) = (row.meters_kw.get(m.meter).copied().unwrap_or(f64::NAN), z[self.variables.machine(k)]);
            if kw.is_finite() && said.is_finite() {
                let ran = f64::from(u8::from(kw > m.threshold_kw));
                let b = &mut self.bias.lean[k];
                *b = (*b * 0.5_f64.powf(hours / LEAN_HALF_LIFE_H) + LEAN_PER_H * hours * (ran - said)).clamp(-LEAN_MOST, LEAN_MOST);
            }
        }
        self.bias.limits.resize(self.limits.len(), 0.0);
        for i in 0..self.limits.len() {
            let residual = row.limited.get(i).copied().unwrap_or(f64::NAN) - self.limit_at_rest(i, &z);
            if residual.is_finite() {
                let bound = BIAS_SIGMAS * self.limits[i].sigma.max(0.05);
                let b = &mut self.bias.limits[i];
                *b = (*b + share * (residual - *b)).clamp(-bound, bound);
            }
        }
    }

    /// Measured less predicted power of all meters outside IT in one row, kW, without any bias.
    pub fn residual_kw(&self, row: &Row, before: Option<&Row>) -> Option<f64> {
        let (cooling, loss) = self.predict_row(row, before, &[], &mut Vec::new())?;
        let measured: f64 = self.meters.iter().map(|m| row.meters_kw.get(m.meter).copied().unwrap_or(f64::NAN)).sum();
        Some(measured - cooling - loss).filter(|r| r.is_finite())
    }

    /// Do the residuals ask for a new fit?
    pub fn wants_refit(&self) -> bool {
        self.bias.up.max(self.bias.down) > REFIT
    }

    /// How far outside the data a point is, in widths of the ranges.
    fn outside(&self, z: &[f64]) -> f64 {
        z.iter()
            .zip(&self.ranges)
            .map(|(v, (lo, hi))| ((v - hi).max(lo - v)).max(0.0) / (hi - lo).max(0.05 * hi.abs()).max(0.5))
            .filter(|d| d.is_finite())
            .sum()
    }
}

impl Predict for GreyBox {
    fn rollout(&self, state: &PlantState, steps: &[StepInput], out: &mut Vec<Outcome>) {
        Outcome::anew(out, steps.len());
        let (mut z, mut room) = (Vec::with_capacity(self.variables.len()), Vec::new());
        let (mut before, mut moving): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        let mut limited = state.limited.clone();
        limited.resize(self.limits.len(), f64::NAN);
        let mut last: &[f64] = &state.in_force;
        // Loads of the step before: the newest that was observed, then the forecast's.
        let mut loads_before: Option<&[f64]> =
            self.bias.before.as_ref().map(|b| b.loads_kw.as_slice()).filter(|l| l.iter().all(|v| v.is_finite()));
        let mut felt_before: Vec<f64> = loads_before.map(<[f64]>::to_vec).unwrap_or_default();
        let mut felt: Vec<f64> = Vec::new();
        for (step, o) in steps.iter().zip(out) {
            let weather = [step.weather.dry_bulb_c, step.weather.wet_bulb_c, step.room_dew_point_c];
            let now = self.kelvin(&state.in_force, &step.loads_kw, weather, &mut z);
            let then = self.kelvin(&step.setpoints, &step.loads_kw, weather, &mut z);
            let gain = (self.it.leak.per_k * (then - now)).clamp(-0.2, 0.2).exp();
            let gain = if gain.is_finite() { gain } else { 1.0 };
            for l in 0..self.variables.loads.len() {
                z[self.variables.load(l)] *= gain;
            }
            // A value that nobody measures stands in the middle of what was seen.
            for (v, (lo, hi)) in z.iter_mut().zip(&self.ranges) {
                if !v.is_finite() {
                    *v = 0.5 * (lo + hi);
                }
            }
            // The load that the plant feels is partly that of the step before.
            felt.clear();
            felt.extend(step.loads_kw.iter().enumerate().map(|(i, now)| {
                let was = loads_before.and_then(|l| l.get(i)).copied().unwrap_or(*now);
                (1.0 - self.load_delay) * now + self.load_delay * was
            }));
            before.clone_from(&z);
            for (l, (i, mean)) in self.variables.loads.iter().enumerate() {
                let k = self.variables.load(l);
                if let Some(v) = felt.get(*i).filter(|v| v.is_finite()) {
                    z[k] = v * gain / mean;
                }
                before[k] = felt_before.get(*i).map_or(z[k], |v| v * gain / mean);
            }
            // What the setpoints move by since the step before.
            for (a, s) in self.variables.scale.iter().enumerate() {
                let was = last.get(a).copied().unwrap_or(f64::NAN) / s;
                before[a] = if was.is_finite() { was } else { z[a] };
            }
            last = &step.setpoints;
            loads_before = Some(&step.loads_kw);
            felt_before.clone_from(&felt);
            self.run_machines(&mut z, Some(&before), &self.bias.lean, &mut moving, &mut room);
            let base: f64 = (self.it.per_load.iter().zip(&self.variables.loads))
                .map(|(k, (i, mean))| k * step.loads_kw.get(*i).copied().filter(|v| v.is_finite()).unwrap_or(*mean))
                .sum();
            let (mut cooling, mut loss_kw) = self.powers(&z, &moving);
            if moving.iter().any(|m| *m != 0.0) {
                // What a move costs counts; what it gives for a step only (heat that a loop's water takes up) does not.
                self.run_machines(&mut z, None, &self.bias.lean, &mut moving, &mut room);
                let rest = self.powers(&z, &moving);
                (cooling, loss_kw) = (cooling.max(rest.0), loss_kw.max(rest.1));
            }
            let grow = 1.0 + 2.0 * self.outside(&z);
            let share = step.span.as_secs_f64() / self.step.as_secs_f64().max(1.0);
            o.it_kw = (self.it.intercept_kw + base).max(0.0) * gain;
            (o.cooling_kw, o.loss_kw) = ((cooling + self.bias.cooling_kw).max(0.0), loss_kw);
            o.power_sigma_kw = self.sigma_kw.hypot(self.it.sigma_kw) * grow;
            for (i, l) in self.limits.iter().enumerate() {
                let rest = self.limit_at_rest(i, &z) + self.bias.limits.get(i).copied().unwrap_or(0.0);
                let before = if limited[i].is_finite() { limited[i] } else { rest };
                let after = rest + l.keep.powf(share) * (before - rest);
                o.limited.push(match l.side {
                    1 => rest.max(after),
                    -1 => rest.min(after),
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
        &self.name
    }
}

/// Usable for fitting: everything but the work's proxies is a number.
pub fn usable(r: &Row, has_dew_point: bool) -> bool {
    let weather = weather_of(r);
    let weather = if has_dew_point { &weather[..] } else { &weather[..2] };
    r.in_force.iter().chain(&r.loads_kw).chain(&r.meters_kw).chain(weather).all(|v| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_that_the_data_do_not_tell_is_written_and_read_again() {
        let unknown = Limited { intercept: f64::NAN, terms: vec![], keep: 0.0, sigma: f64::INFINITY, side: 1 };
        let again: Limited = serde_json::from_str(&serde_json::to_string(&unknown).unwrap()).unwrap();
        assert!(!again.intercept.is_finite() && !again.sigma.is_finite() && again.side == 1);
    }
}
