//! Ridge regressions that go on learning: standardised features, the kinds that a lane has, and the trained range.

use super::gram::Gram;
use serde::{Deserialize, Serialize};

/// Standardised values beyond this are cut off: one broken row shall not turn the fit.
const CUT: f64 = 6.0;
/// Share of the mean error below which an error counts in full (see [`super::gram`]).
const DELTA: f64 = 0.3;
/// Penalty per row of overlap: rows of a horizon of `k` steps are `k` times the same evidence.
const FEW: f64 = 1.0;
/// Rows that are learnt before the first solution: the larger of this and twice the features.
const ROWS_MIN: usize = 60;

/// Distance from the trained range, in standard deviations, where a model's share starts to fall and where it is gone:
/// for inputs (weather), on which a line extrapolates badly, and for what is made of the load itself.
const FADE_INPUT: (f64, f64) = (0.75, 2.25);
const FADE_LOAD: (f64, f64) = (3.0, 6.0);

/// How far one row widens the learnt range, a share of its distance.
const WIDEN: f64 = 0.05;

/// Mean, spread and learnt range of each feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scale {
    pub means: Vec<f64>,
    /// Standard deviation; 0 for a feature that never moved, which then says nothing.
    pub sigmas: Vec<f64>,
    /// Least and greatest standardised value that was learnt.
    pub lowest: Vec<f64>,
    pub highest: Vec<f64>,
    /// Features `inputs.0..inputs.1` are inputs.
    pub inputs: (usize, usize),
}

/// How far a row is outside of what was learnt.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Guard {
    /// Share that models keep, 0–1.
    pub share: f64,
    /// The feature that is furthest outside, where the share is below 1.
    pub feature: usize,
    /// Missing features.
    pub missing: usize,
}

impl Scale {
    /// From rows of training; missing values are left out.
    pub fn new<'a>(width: usize, rows: impl Iterator<Item = &'a [f64]> + Clone, inputs: (usize, usize)) -> Scale {
        let (mut means, mut sigmas) = (vec![0.0; width], vec![0.0; width]);
        for j in 0..width {
            let column = || rows.clone().map(|r| r[j]).filter(|v| v.is_finite());
            let (n, sum) = column().fold((0.0, 0.0), |(n, s), v| (n + 1.0, s + v));
            means[j] = if n > 0.0 { sum / n } else { 0.0 };
            let sigma = (column().map(|v| (v - means[j]).powi(2)).sum::<f64>() / f64::max(n, 1.0)).sqrt();
            sigmas[j] = if sigma > 1e-9 * (1.0 + means[j].abs()) { sigma } else { 0.0 };
        }
        Scale { means, sigmas, lowest: vec![0.0; width], highest: vec![0.0; width], inputs }
    }

    /// Standardises a row into `z` (behind a leading 1); a missing feature counts as its mean. `matters` is asked whether
    /// a feature that is so many standard deviations outside changes anything: most never do.
    pub fn standard(&self, row: &[f64], z: &mut Vec<f64>, matters: impl Fn(usize, f64) -> bool) -> Guard {
        z.clear();
        z.push(1.0);
        let mut guard = Guard { share: 1.0, feature: 0, missing: 0 };
        for (j, v) in row.iter().enumerate() {
            if !v.is_finite() {
                guard.missing += 1;
                z.push(0.0);
                continue;
            }
            let s = if self.sigmas[j] > 0.0 { (v - self.means[j]) / self.sigmas[j] } else { 0.0 };
            let outside = (self.lowest[j] - s).max(s - self.highest[j]);
            let (from, to) = if (self.inputs.0..self.inputs.1).contains(&j) { FADE_INPUT } else { FADE_LOAD };
            if outside > from && matters(j, outside) {
                let share = ((to - outside) / (to - from)).max(0.0);
                if share < guard.share {
                    guard = Guard { share, feature: j, ..guard };
                }
            }
            z.push(s.clamp(-CUT, CUT));
        }
        guard
    }

    /// Widens the learnt range towards a row: one odd row is not yet a range that was learnt.
    pub fn widen(&mut self, row: &[f64]) {
        for (j, v) in row.iter().enumerate() {
            if v.is_finite() && self.sigmas[j] > 0.0 {
                let s = (v - self.means[j]) / self.sigmas[j];
                self.lowest[j] += WIDEN * (s - self.lowest[j]).min(0.0);
                self.highest[j] += WIDEN * (s - self.highest[j]).max(0.0);
            }
        }
    }
}

/// A kind of ridge.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    pub name: &'static str,
    /// Days until a past row counts half, and least rows for that; `None` = never.
    pub half_life_days: Option<f64>,
    /// Towards least absolute errors.
    pub robust: bool,
    pub alpha: f64,
}

/// The ridges of a lane.
pub const KINDS: [Kind; 3] = [
    Kind { name: "ridge", half_life_days: None, robust: true, alpha: 0.1 },
    Kind { name: "ridge-squares", half_life_days: None, robust: false, alpha: 0.01 },
    Kind { name: "ridge-recent", half_life_days: Some(3.0), robust: true, alpha: 0.01 },
];
const HALF_LIFE_ROWS_MIN: f64 = 400.0;

/// One ridge regression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ridge {
    /// Position in [`KINDS`].
    pub kind: usize,
    /// Intercept, then change per standard deviation of each feature; empty until enough was learnt.
    pub weights: Vec<f64>,
    /// Mean absolute error, forgetting.
    error: f64,
    /// What it learns with; a model from disk stands still.
    #[serde(skip)]
    gram: Option<Box<Learning>>,
}

#[derive(Clone, Debug)]
struct Learning {
    gram: Gram,
    keep: f64,
    few: f64,
    refresh: usize,
    since: usize,
}

impl PartialEq for Learning {
    fn eq(&self, _: &Learning) -> bool {
        true
    }
}

impl Ridge {
    /// `ahead` and `day` in rows; solved anew after every `refresh` rows.
    pub fn new(kind: usize, features: usize, ahead: usize, day: usize, refresh: usize) -> Ridge {
        let keep = KINDS[kind].half_life_days.map_or(1.0, |d| 0.5_f64.powf(1.0 / (d * day as f64).max(HALF_LIFE_ROWS_MIN)));
        let gram = Learning { gram: Gram::new(features + 1), keep, few: FEW * ahead as f64, refresh, since: 0 };
        Ridge { kind, weights: Vec::new(), error: 0.0, gram: Some(Box::new(gram)) }
    }

    /// Stops learning.
    pub fn freeze(&mut self) {
        self.gram = None;
    }

    /// Would a feature that far outside of what was learnt move the forecast by more than half of its usual error?
    pub fn leans_on(&self, feature: usize, outside: f64) -> bool {
        self.weights.get(feature + 1).is_some_and(|w| w.abs() * outside > 0.5 * self.error)
    }

    /// The change that a standardised row leads to; NaN before enough was learnt.
    pub fn say(&self, z: &[f64]) -> f64 {
        if self.weights.len() != z.len() {
            return f64::NAN;
        }
        self.weights.iter().zip(z).map(|(w, z)| w * z).sum()
    }

    /// Learns that a row led to a change; `said` is what was said of it.
    pub fn learn(&mut self, z: &[f64], said: f64, change: f64) {
        let Some(l) = &mut self.gram else { return };
        let error = if said.is_finite() { (change - said).abs() } else { change.abs() };
        self.error = if l.gram.rows == 0 { error } else { self.error + 0.01 * (error - self.error) };
        let delta = (DELTA * self.error).max(f64::MIN_POSITIVE);
        let weight = if KINDS[self.kind].robust { delta / error.max(delta) } else { 1.0 };
        l.gram.learn(z, change, weight, l.keep);
        l.since += 1;
        if l.since >= l.refresh && l.gram.rows >= ROWS_MIN.max(2 * z.len()) {
            l.since = 0;
            if let Some(weights) = l.gram.solve(KINDS[self.kind].alpha + l.few / l.gram.rows as f64) {
                self.weights = weights;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outside_the_learnt_range_the_share_falls_first_for_inputs() {
        let rows: Vec<[f64; 2]> = (0..100).map(|i| [f64::from(i % 10), f64::from(i % 10)]).collect();
        let mut scale = Scale::new(2, rows.iter().map(|r| &r[..]), (1, 2));
        (0..50).for_each(|_| rows.iter().for_each(|r| scale.widen(r)));
        let mut z = Vec::new();
        let mut share = |row: [f64; 2]| scale.standard(&row, &mut z, |_, _| true).share;
        // The spread of 0…9 is 2.87.
        assert_eq!(share([9.0, 9.0]), 1.0);
        assert_eq!(share([9.0 + 2.0 * 2.87, 9.0]), 1.0);
        assert!((share([9.0 + 4.5 * 2.872, 9.0]) - 0.5).abs() < 0.01);
        assert!((share([9.0, 9.0 + 1.5 * 2.872]) - 0.5).abs() < 0.01);
        assert_eq!(share([9.0, 30.0]), 0.0);
        assert_eq!(scale.standard(&[9.0, 30.0], &mut z, |_, _| false).share, 1.0);
        assert_eq!(scale.standard(&[f64::NAN, 3.0], &mut z, |_, _| true).missing, 1);
    }
}
