//! One linear model: the change of one target at one horizon, by elastic net (linfa).
//!
//! Features and change are standardised on the fitted rows. The model remembers the range of each feature it was fitted
//! on: outside of it by more than three standard deviations it fades to "no change" and says which feature it was.

use linfa::prelude::*;
use linfa_elasticnet::ElasticNet;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

/// Distance from the fitted range, in standard deviations, where fading begins, and where nothing is left.
const FADE_FROM: f64 = 3.0;
const FADE_TO: f64 = 6.0;
/// Share of features that may be missing at prediction.
const MISSING_MAX: f64 = 0.25;

/// A fitted model; all vectors follow the order of the features.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    pub means: Vec<f64>,
    pub sigmas: Vec<f64>,
    /// Least and greatest standardised value that was fitted on.
    pub lowest: Vec<f64>,
    pub highest: Vec<f64>,
    /// Change per standard deviation of each feature, in the unit of the target.
    pub weights: Vec<f64>,
    pub intercept: f64,
    pub penalty: f64,
    pub rows: usize,
}

/// What the model says of one row.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// The change, with all features inside the fitted range.
    Change(f64),
    /// The change after fading by `weight`, because feature number `feature` is outside the fitted range.
    Faded { change: f64, weight: f64, feature: usize },
    /// Too many features are missing.
    Missing { count: usize },
}

impl Linear {
    /// Fits on complete rows. `None` where the solver refuses or the result is not finite.
    pub fn fit(rows: &[Vec<f64>], changes: &[f64], penalty: f64, l1_ratio: f64) -> Option<Linear> {
        let n = rows.len();
        let p = rows.first()?.len();
        if n != changes.len() || n < 2 {
            return None;
        }
        let mut means = vec![0.0; p];
        let mut sigmas = vec![0.0; p];
        let (mut lowest, mut highest) = (vec![f64::INFINITY; p], vec![f64::NEG_INFINITY; p]);
        for j in 0..p {
            means[j] = rows.iter().map(|r| r[j]).sum::<f64>() / n as f64;
            let var = rows.iter().map(|r| (r[j] - means[j]).powi(2)).sum::<f64>() / n as f64;
            // A feature that never varied carries nothing; any sigma above 0 keeps it at weight 0.
            sigmas[j] = if var.sqrt() > 1e-9 * (1.0 + means[j].abs()) { var.sqrt() } else { 1.0 };
        }
        let mut x = Array2::zeros((n, p));
        for (i, r) in rows.iter().enumerate() {
            for j in 0..p {
                let z = (r[j] - means[j]) / sigmas[j];
                lowest[j] = lowest[j].min(z);
                highest[j] = highest[j].max(z);
                x[[i, j]] = z;
            }
        }
        let centre = changes.iter().sum::<f64>() / n as f64;
        let spread = (changes.iter().map(|c| (c - centre).powi(2)).sum::<f64>() / n as f64).sqrt();
        let (weights, intercept) = if spread > 0.0 {
            let y = Array1::from_iter(changes.iter().map(|c| (c - centre) / spread));
            let fitted = ElasticNet::params()
                .penalty(penalty)
                .l1_ratio(l1_ratio)
                .with_intercept(false)
                .max_iterations(400)
                .tolerance(1e-4)
                .fit(&Dataset::new(x, y))
                .ok()?;
            (fitted.hyperplane().iter().map(|w| w * spread).collect(), centre)
        } else {
            (vec![0.0; p], centre)
        };
        let model = Linear { means, sigmas, lowest, highest, weights, intercept, penalty, rows: n };
        let finite =
            model.intercept.is_finite() && [&model.means, &model.sigmas, &model.weights].iter().all(|v| v.iter().all(|w| w.is_finite()));
        finite.then_some(model)
    }

    /// The change that a row of features leads to. A missing feature counts as its training mean.
    pub fn say(&self, row: &[f64]) -> Said {
        let count = row.iter().filter(|v| !v.is_finite()).count();
        if row.len() != self.weights.len() || count as f64 > MISSING_MAX * row.len() as f64 {
            return Said::Missing { count };
        }
        let mut change = self.intercept;
        let (mut worst, mut feature) = (0.0, 0);
        for (j, v) in row.iter().enumerate() {
            if !v.is_finite() {
                continue;
            }
            let z = (v - self.means[j]) / self.sigmas[j];
            let outside = (self.lowest[j] - z).max(z - self.highest[j]);
            if outside > worst {
                (worst, feature) = (outside, j);
            }
            change += self.weights[j] * z;
        }
        if worst <= FADE_FROM {
            return Said::Change(change);
        }
        let weight = ((FADE_TO - worst) / (FADE_TO - FADE_FROM)).max(0.0);
        Said::Faded { change: change * weight, weight, feature }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fitted() -> Linear {
        // change = 2·a − 1, b is noise-free and irrelevant.
        let rows: Vec<Vec<f64>> = (0..200).map(|i| vec![f64::from(i % 10), f64::from(i % 7)]).collect();
        let changes: Vec<f64> = rows.iter().map(|r| 2.0 * r[0] - 1.0).collect();
        Linear::fit(&rows, &changes, 1e-4, 0.1).unwrap()
    }

    #[test]
    fn a_line_is_found() {
        let Said::Change(c) = fitted().say(&[4.0, 3.0]) else { panic!("inside the range") };
        assert!((c - 7.0).abs() < 0.02, "{c}");
    }

    #[test]
    fn outside_the_fitted_range_it_fades_and_names_the_feature() {
        let model = fitted();
        // Sigma of 0..9 is 2.87; 3 sigma beyond 9 is 17.6, 6 sigma is 26.2.
        assert!(matches!(model.say(&[17.0, 3.0]), Said::Change(_)));
        assert!(matches!(model.say(&[20.0, 3.0]), Said::Faded { weight, feature: 0, .. } if weight > 0.5 && weight < 1.0));
        assert!(matches!(model.say(&[100.0, 3.0]), Said::Faded { change, .. } if change == 0.0));
        assert_eq!(model.say(&[f64::NAN, 1.0]), Said::Missing { count: 1 });
    }
}
