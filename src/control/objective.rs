//! What a plan is to minimise: energy, money, emissions, peak power, or a weighted sum of them.
//!
//! Words: a *toll* is what a course of powers costs and emits and its highest power; the *cost* is what the objective counts of it.
//! Invariants: an objective never touches a limit; a step whose price nobody tells counts at the mean of those that are told, and
//! where none is told energy stands in; the GPU-hours of a horizon do not depend on setpoints, so that least energy is least energy
//! per GPU-hour.

use super::plan::Tuning;
use super::view::{Price, View};
use crate::plant::predict::Outcome;
use crate::site::Weights;

/// What a course of powers costs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Toll {
    /// NaN where no price is known.
    pub eur: f64,
    pub kg_co2: f64,
    /// Highest mean power of a step.
    pub peak_kw: f64,
}

/// The objective with the prices of a horizon.
#[derive(Clone, Debug)]
pub struct Objective {
    /// Cost of a kWh in each step, and of a kW above the peak so far.
    per_kwh: Vec<f64>,
    per_peak_kw: f64,
    peak_kw: f64,
    prices: Vec<Price>,
    step_h: f64,
}

impl Objective {
    pub fn of(view: &View, tuning: &Tuning) -> Objective {
        let w = view.site.control.weights();
        let mean = |pick: fn(&Price) -> f64| {
            let known: Vec<f64> = view.prices.iter().map(pick).filter(|v| v.is_finite()).collect();
            known.iter().sum::<f64>() / known.len() as f64
        };
        let (eur, kg) = (mean(|p| p.eur_per_kwh), mean(|p| p.kg_co2_per_kwh));
        let or = |v: f64, mean: f64| if v.is_finite() { v } else { mean };
        let prices: Vec<Price> = (0..tuning.steps)
            .map(|k| {
                let p = view.prices.get(k).copied().unwrap_or(Price { eur_per_kwh: f64::NAN, kg_co2_per_kwh: f64::NAN });
                Price { eur_per_kwh: or(p.eur_per_kwh, eur), kg_co2_per_kwh: or(p.kg_co2_per_kwh, kg) }
            })
            .collect();
        let per_kwh = prices.iter().map(|p| per_kwh(&w, p)).collect();
        Objective { per_kwh, per_peak_kw: w.peak_kw, peak_kw: view.peak_kw.max(0.0), prices, step_h: tuning.step.as_hours_f64() }
    }

    /// What the objective counts of a rollout.
    pub fn cost(&self, out: &[Outcome]) -> f64 {
        let energy: f64 = out.iter().zip(&self.per_kwh).map(|(o, w)| o.total_kw() * self.step_h * w).sum();
        let peak = out.iter().map(Outcome::total_kw).fold(0.0, f64::max);
        let cost = energy + self.per_peak_kw * (peak - self.peak_kw).max(0.0);
        if cost.is_finite() { cost } else { f64::MAX }
    }

    pub fn toll(&self, out: &[Outcome]) -> Toll {
        let sum = |pick: fn(&Price) -> f64| out.iter().zip(&self.prices).map(|(o, p)| o.total_kw() * self.step_h * pick(p)).sum();
        Toll {
            eur: sum(|p| p.eur_per_kwh),
            kg_co2: sum(|p| p.kg_co2_per_kwh),
            peak_kw: out.iter().map(Outcome::total_kw).fold(0.0, f64::max),
        }
    }
}

/// Weight of a kWh at a price. A weight without a price falls back on energy, so that a plan still saves something.
fn per_kwh(w: &Weights, p: &Price) -> f64 {
    let priced = |weight: f64, price: f64| if weight > 0.0 && price.is_finite() { weight * price } else { 0.0 };
    let sum = w.kwh + priced(w.eur, p.eur_per_kwh) + priced(w.kg_co2, p.kg_co2_per_kwh);
    let unpriced = (w.eur > 0.0 && !p.eur_per_kwh.is_finite()) || (w.kg_co2 > 0.0 && !p.kg_co2_per_kwh.is_finite());
    if unpriced && w.kwh == 0.0 && sum == 0.0 { 1.0 } else { sum }
}
