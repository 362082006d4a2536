//! An online blend of forecasts that is never worse than the best of them for long.
//!
//! A mixture of two aggregations, which fail in different ways:
//! - ML-Poly, polynomially weighted averages with a rate per expert (Gaillard, Stoltz & van Erven 2014, arXiv:1402.2044) on
//!   gradients of the absolute error: weight ∝ rate · (regret)₊. Its regret is bounded against the best fixed *mixture*.
//! - weights ∝ (mean absolute error so far)⁻⁸: dull, but right from the first outcomes on, where a long horizon has
//!   given only a handful of independent ones.
//!
//! How much of the first: half of the mixture in the end, less while few forecasts have come out that do not overlap (24 h ahead,
//! a week is seven). Its bound is worth nothing before: regrets that come in runs as long as the horizon chase the last day.
//!
//! An expert that has nothing to say sleeps and its share goes to the others; outcomes count only while all speak, so
//! that no expert is judged on easier days than another.

use serde::{Deserialize, Serialize};

const POWER: i32 = 8;
/// Outcomes that do not overlap after which ML-Poly has half of its final share, and that share.
const HALF_WINDOWS: f64 = 100.0;
const POLY_SHARE: f64 = 0.5;

/// What the weights are made of, in the order of the experts.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Blend {
    regret: Vec<f64>,
    square: Vec<f64>,
    largest: f64,
    /// Sum of absolute errors.
    abs: Vec<f64>,
    pub outcomes: u64,
    /// Outcomes that overlap one another: the horizon in rows.
    overlap: u64,
}

impl Blend {
    /// `overlap` is the horizon in rows.
    pub fn new(experts: usize, overlap: usize) -> Blend {
        let zero = || vec![0.0; experts];
        Blend { regret: zero(), square: zero(), largest: 0.0, abs: zero(), outcomes: 0, overlap: overlap.max(1) as u64 }
    }

    /// Number of experts; 0 where the parts do not fit one another (a broken model from disk).
    pub fn experts(&self) -> usize {
        if self.regret.len() == self.abs.len() && self.square.len() == self.abs.len() { self.abs.len() } else { 0 }
    }

    /// Forgets the last expert.
    pub fn drop_last(&mut self) {
        for v in [&mut self.regret, &mut self.square, &mut self.abs] {
            v.pop();
        }
    }

    /// Weights over the experts that speak (finite); they add up to 1, or are all 0 where none speaks.
    pub fn weights(&self, said: &[f64], out: &mut Vec<f64>) {
        let awake = said.iter().filter(|s| s.is_finite()).count();
        let floor = self.largest * self.largest + f64::MIN_POSITIVE;
        let least = said.iter().zip(&self.abs).filter(|(s, _)| s.is_finite()).map(|(_, a)| *a).fold(f64::INFINITY, f64::min);
        let poly = |i: usize| self.regret[i].max(0.0) / (self.square[i] + floor);
        // Relative to the best, so that no power overflows; equal where nothing is known or nothing was ever wrong.
        let power = |i: usize| if least > 0.0 { (least / self.abs[i]).powi(POWER) } else { f64::from(u8::from(self.abs[i] <= 0.0)) };
        let sum = |f: &dyn Fn(usize) -> f64| (0..said.len()).filter(|i| said[*i].is_finite()).map(f).sum::<f64>();
        let (poly_sum, power_sum) = (sum(&poly), sum(&power));
        let windows = self.outcomes as f64 / self.overlap.max(1) as f64;
        let share = POLY_SHARE * windows / (windows + HALF_WINDOWS);
        out.clear();
        out.extend((0..said.len()).map(|i| {
            if !said[i].is_finite() {
                return 0.0;
            }
            let a = if power_sum > 0.0 { power(i) / power_sum } else { 1.0 / awake as f64 };
            let b = if poly_sum > 0.0 { poly(i) / poly_sum } else { a };
            (1.0 - share) * a + share * b
        }));
    }

    /// The blend of what the experts said; NaN where none speaks. Leaves the weights in `weights`.
    pub fn mix(&self, said: &[f64], weights: &mut Vec<f64>) -> f64 {
        self.weights(said, weights);
        if !said.iter().any(|s| s.is_finite()) {
            return f64::NAN;
        }
        said.iter().zip(weights.iter()).filter(|(s, _)| s.is_finite()).map(|(s, w)| s * w).sum()
    }

    /// Learns from an outcome: what the experts had said, and the truth.
    pub fn learn(&mut self, said: &[f64], truth: f64) {
        if said.len() != self.experts() || !truth.is_finite() || !said.iter().all(|s| s.is_finite()) {
            return;
        }
        let mut weights = Vec::with_capacity(said.len());
        let mixed = self.mix(said, &mut weights);
        let slope = f64::from(i8::from(mixed > truth) - i8::from(mixed < truth));
        for (i, s) in said.iter().enumerate() {
            let gain = slope * (mixed - s);
            self.regret[i] += gain;
            self.square[i] += gain * gain;
            self.largest = self.largest.max(gain.abs());
            self.abs[i] += (s - truth).abs();
        }
        self.outcomes += 1;
    }

    /// Mean absolute error of each expert over the outcomes.
    pub fn mae(&self) -> Vec<f64> {
        self.abs.iter().map(|a| a / self.outcomes.max(1) as f64).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_better_expert_takes_over_and_a_mixture_beats_both() {
        let mut blend = Blend::new(3, 1);
        let (mut abs, mut best) = (0.0, [0.0; 3]);
        let mut w = Vec::new();
        for k in 0..2_000 {
            let wave = f64::from(k % 7) - 3.0;
            // Two experts that err against one another, and one that is off by 5.
            let said = [wave, -wave, 5.0];
            let mixed = blend.mix(&said, &mut w);
            assert!((w.iter().sum::<f64>() - 1.0).abs() < 1e-9);
            abs += mixed.abs();
            best.iter_mut().zip(said).for_each(|(b, s)| *b += s.abs());
            blend.learn(&said, 0.0);
        }
        assert!(abs < 0.2 * best[0], "{abs} against {best:?}");
        assert!(w[2] < 0.01);
    }

    #[test]
    fn who_is_silent_has_no_share() {
        let mut w = Vec::new();
        let blend = Blend::new(2, 1);
        assert_eq!(blend.mix(&[f64::NAN, 4.0], &mut w), 4.0);
        assert_eq!(w, [0.0, 1.0]);
        assert!(blend.mix(&[f64::NAN, f64::NAN], &mut w).is_nan());
        assert_eq!(blend.mix(&[2.0, 4.0], &mut w), 3.0);
    }
}
