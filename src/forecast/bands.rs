//! Bands around a point forecast that keep their promise while the plant changes.
//!
//! Conformal prediction that adapts online: each edge is a quantile of the normalised errors that is tracked by its own
//! misses, `q += η (miss − tail)` (the quantile tracker of conformal PID control: Angelopoulos, Candès & Tibshirani 2023,
//! arXiv:2307.16895, after ACI: Gibbs & Candès 2021, arXiv:2106.00170). Whatever the errors do, the share of misses goes
//! to the tail's nominal share. Errors are normalised by how large they lately were, so that a calm night has a narrow
//! band and the next storm does not break it for long.
//!
//! Outcomes come late by the horizon, `k` rows. A miss is one of the edge that was *shown*, so each forecast keeps a [`Mark`] of
//! the edges as they stood; and as `k` outcomes are on their way whatever the tracker does, its step falls with `k`, or it would
//! swing: `η = 0.05 · 24 / (24 + k)` of the usual error.

use serde::{Deserialize, Serialize};

/// Nominal share beyond each edge: p5, p10, p90, p95.
pub const TAILS: [f64; 4] = [0.05, 0.10, 0.10, 0.05];
/// Step of the trackers at short horizons, in units of the mean absolute error, and the rows ahead that halve it.
const STEP: f64 = 0.05;
const STEP_ROWS: f64 = 24.0;
/// Weight of all outcomes in the scale, against the recent ones.
const LONG: f64 = 0.5;
/// Outcomes until a past error counts half in the scale.
const SCALE_HALF_LIFE: f64 = 50.0;

/// Edges of the bands, in the unit of the target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edges {
    pub p05: f64,
    pub p10: f64,
    pub p90: f64,
    pub p95: f64,
}

/// The trackers of one model at one horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bands {
    /// Normalised edges, p5 … p95; positive is away from the point.
    q: [f64; 4],
    /// Mean absolute error: of all outcomes, and of the recent ones.
    long: f64,
    short: f64,
    pub outcomes: u64,
    /// The horizon in rows: outcomes that are always on their way.
    overlap: u64,
}

/// The edges as they stood when a forecast was made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mark {
    q: [f64; 4],
    scale: f64,
}

impl Bands {
    /// For forecasts `overlap` rows ahead.
    pub fn new(overlap: usize) -> Bands {
        // A Laplace law's quantiles in units of its mean absolute error: ln(1 / (2·tail)).
        Bands { q: TAILS.map(|t| (0.5 / t).ln()), long: 0.0, short: 0.0, outcomes: 0, overlap: overlap as u64 }
    }

    /// The yardstick at the time of a forecast, in the unit of the target.
    pub fn scale(&self) -> f64 {
        LONG * self.long + (1.0 - LONG) * self.short
    }

    /// To be kept with a forecast until its outcome is learnt.
    pub fn mark(&self) -> Mark {
        Mark { q: self.q, scale: self.scale() }
    }

    /// Mean absolute error of the recent outcomes.
    pub fn recent(&self) -> f64 {
        self.short
    }

    /// Edges around a point; `p05 <= p10 <= point <= p90 <= p95`.
    pub fn edges(&self, point: f64) -> Edges {
        let s = self.scale();
        let [a, b, c, d] = self.q.map(|q| q.max(0.0) * s);
        Edges { p05: point - a.max(b), p10: point - b, p90: point + c, p95: point + d.max(c) }
    }

    /// Learns from an outcome; `mark` is what [`Bands::mark`] said when the forecast was made.
    pub fn learn(&mut self, point: f64, mark: &Mark, truth: f64) {
        let error = truth - point;
        if !error.is_finite() {
            return;
        }
        if mark.scale > 0.0 {
            // A young tracker takes larger steps.
            let step = STEP * STEP_ROWS / (STEP_ROWS + self.overlap as f64) * (1.0 + 20.0 / (1.0 + self.outcomes as f64 / 20.0));
            for (i, q) in self.q.iter_mut().enumerate() {
                let away = if i < 2 { -error } else { error } / mark.scale;
                *q = (*q + step * (f64::from(u8::from(away > mark.q[i])) - TAILS[i])).clamp(-1.0, 100.0);
            }
        }
        self.outcomes += 1;
        let n = self.outcomes as f64;
        self.long += (error.abs() - self.long) / n;
        self.short += (error.abs() - self.short) / n.min(SCALE_HALF_LIFE / std::f64::consts::LN_2);
    }
}

/// Pinball loss of a quantile forecast, in the unit of the target.
pub fn pinball(level: f64, forecast: f64, truth: f64) -> f64 {
    let d = truth - forecast;
    if d >= 0.0 { level * d } else { (level - 1.0) * d }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_the_errors_do_the_tails_hold_their_share() {
        let mut bands = Bands::new(1);
        let (mut inside80, mut inside90, n) = (0, 0, 20_000);
        let mut x = 0.4_f64;
        for k in 0..n {
            x = 3.99 * x * (1.0 - x);
            // Skewed errors whose size changes tenfold half way.
            let error = (x * x - 0.3) * if k > n / 2 { 10.0 } else { 1.0 };
            let e = bands.edges(0.0);
            assert!(e.p05 <= e.p10 && e.p10 <= 0.0 && 0.0 <= e.p90 && e.p90 <= e.p95);
            inside80 += i32::from(e.p10 <= error && error <= e.p90);
            inside90 += i32::from(e.p05 <= error && error <= e.p95);
            bands.learn(0.0, &bands.mark(), error);
        }
        let share = |k: i32| f64::from(k) / f64::from(n);
        assert!((share(inside80) - 0.8).abs() < 0.01 && (share(inside90) - 0.9).abs() < 0.01, "{} {}", share(inside80), share(inside90));
    }

    #[test]
    fn pinball_weighs_the_sides() {
        assert!((pinball(0.9, 10.0, 12.0) - 1.8).abs() < 1e-12);
        assert!((pinball(0.9, 10.0, 8.0) - 0.2).abs() < 1e-12);
    }
}
