//! Bands around a point forecast, from errors on rows that the model was not fitted on.
//!
//! Split conformal prediction (Vovk, Gammerman, Shafer 2005; Lei et al. 2018, doi:10.1080/01621459.2017.1307116): the band's
//! edges are order statistics of held-out errors, each tail by itself. Load errors drift, so each tail's level is
//! then adapted as errors come in (ACI: Gibbs & Candès 2021, arXiv:2106.00170):
//! `level += ADAPT_STEP · (0.1 − miss)`. p50 is the model's own point: a median error of a short block would add its drift.

use serde::{Deserialize, Serialize};

/// Share of outcomes that each tail should hold.
pub const TAIL: f64 = 0.1;
/// Step of the adaptation.
pub const ADAPT_STEP: f64 = 0.01;
const GRID: usize = 101;

/// Held-out errors (`truth − forecast`) as an even grid of quantiles.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Errors {
    pub count: usize,
    /// Quantiles at levels 0, 0.01, …, 1; empty without any error.
    pub quantiles: Vec<f64>,
}

impl Errors {
    pub fn new(mut errors: Vec<f64>) -> Errors {
        errors.retain(|e| e.is_finite());
        errors.sort_by(f64::total_cmp);
        let n = errors.len();
        if n == 0 {
            return Errors::default();
        }
        let quantiles = (0..GRID)
            .map(|g| {
                // The conformal rank: (n + 1) · level, outward, within the sample.
                let level = g as f64 / (GRID - 1) as f64;
                let rank = (n + 1) as f64 * level;
                let rank = if level < 0.5 { rank.floor() } else { rank.ceil() };
                errors[(rank.max(1.0) as usize).min(n) - 1]
            })
            .collect();
        Errors { count: n, quantiles }
    }

    /// Error at a level from 0 to 1, between the grid's lines; 0 where nothing is known.
    pub fn quantile(&self, level: f64) -> f64 {
        let Some(last) = self.quantiles.len().checked_sub(1) else { return 0.0 };
        let x = level.clamp(0.0, 1.0) * last as f64;
        let lo = x.floor() as usize;
        let hi = (lo + 1).min(last);
        let part = x - lo as f64;
        self.quantiles[lo] * (1.0 - part) + self.quantiles[hi] * part
    }
}

/// The two tails' levels in force, and how wide the band is stretched beyond the errors that were seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Tails {
    pub low: f64,
    pub high: f64,
}

impl Default for Tails {
    fn default() -> Tails {
        Tails { low: TAIL, high: TAIL }
    }
}

impl Tails {
    /// Learns from one outcome.
    pub fn learn(&mut self, p10: f64, p90: f64, truth: f64) {
        let step = |level: f64, miss: bool| (level + ADAPT_STEP * (TAIL - f64::from(u8::from(miss)))).clamp(-0.5, 0.45);
        self.low = step(self.low, truth < p10);
        self.high = step(self.high, truth > p90);
    }

    /// Offsets of p10 and p90 from the point: never past the point itself. Below level 0 the widest error seen is
    /// stretched by up to half, where ACI proper would have an endless band.
    pub fn offsets(&self, errors: &Errors) -> (f64, f64) {
        let stretch = |level: f64| 1.0 + (-level).max(0.0);
        let lo = errors.quantile(self.low) * stretch(self.low);
        let hi = errors.quantile(1.0 - self.high) * stretch(self.high);
        (lo.min(0.0), hi.max(0.0))
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
    fn the_band_is_made_of_order_statistics() {
        // Errors 1..=99 less 50: rank (99+1)·0.1 = 10 is -40, rank 90 is +40.
        let errors = Errors::new((1..=99).map(|i| f64::from(i) - 50.0).collect());
        assert_eq!(Tails::default().offsets(&errors), (-40.0, 40.0));
        assert_eq!(Errors::new(vec![f64::NAN]).quantile(0.9), 0.0);
        // All errors above the point: p10 stays at the point.
        assert_eq!(Tails::default().offsets(&Errors::new(vec![5.0, 6.0, 7.0])), (0.0, 7.0));
    }

    #[test]
    fn tails_widen_after_misses_and_relax_after_hits() {
        let mut tails = Tails::default();
        tails.learn(90.0, 110.0, 120.0);
        assert!((tails.high - (0.1 - 0.009)).abs() < 1e-12 && (tails.low - 0.101).abs() < 1e-12);
        for _ in 0..1000 {
            tails.learn(90.0, 110.0, 120.0);
        }
        let errors = Errors::new(vec![-1.0, 0.0, 2.0]);
        assert_eq!(tails.offsets(&errors).1, 3.0, "bounded: half as wide again as the widest error seen");
    }

    #[test]
    fn pinball_weighs_the_sides() {
        assert!((pinball(0.9, 10.0, 12.0) - 1.8).abs() < 1e-12);
        assert!((pinball(0.9, 10.0, 8.0) - 0.2).abs() < 1e-12);
    }
}
