//! Errors and bands of one model at one horizon, as figures.

use super::bands::{Edges, pinball};
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// Figures of one model at one horizon, in the unit of the target unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub target: String,
    pub horizon: Span,
    /// `blend`, or one of its experts.
    pub model: String,
    /// Is it the model that was chosen, on the training part, for this horizon?
    pub chosen: bool,
    pub mae: f64,
    pub rmse: f64,
    /// MAE in % of the mean absolute truth.
    pub nmae_pct: f64,
    /// Mean of forecast less truth.
    pub bias: f64,
    /// Mean pinball loss over p5, p10, p50, p90 and p95.
    pub pinball: f64,
    /// Shares of outcomes within p10…p90 and p5…p95; 0.8 and 0.9 are right.
    pub coverage80: f64,
    pub coverage90: f64,
    /// Mean width of p5…p95.
    pub width90: f64,
    /// Forecasts that the figures are made of.
    pub n: usize,
}

/// Sums that a [`Row`] is made of.
#[derive(Clone, Debug, Default)]
pub struct Sum {
    abs: f64,
    square: f64,
    bias: f64,
    pinball: f64,
    inside80: usize,
    inside90: usize,
    width: f64,
    truth: f64,
    pub n: usize,
}

impl Sum {
    pub fn add(&mut self, point: f64, e: &Edges, truth: f64) {
        let error = point - truth;
        self.abs += error.abs();
        self.square += error * error;
        self.bias += error;
        let at = [(0.05, e.p05), (0.1, e.p10), (0.5, point), (0.9, e.p90), (0.95, e.p95)];
        self.pinball += at.iter().map(|(level, q)| pinball(*level, *q, truth)).sum::<f64>() / at.len() as f64;
        self.inside80 += usize::from(e.p10 <= truth && truth <= e.p90);
        self.inside90 += usize::from(e.p05 <= truth && truth <= e.p95);
        self.width += e.p95 - e.p05;
        self.truth += truth.abs();
        self.n += 1;
    }

    pub fn mae(&self) -> f64 {
        if self.n > 0 { self.abs / self.n as f64 } else { f64::NAN }
    }

    /// `None` without any forecast.
    pub fn row(&self, target: &str, horizon: Span, model: &str, chosen: bool) -> Option<Row> {
        if self.n == 0 {
            return None;
        }
        let n = self.n as f64;
        Some(Row {
            target: target.to_owned(),
            horizon,
            model: model.to_owned(),
            chosen,
            mae: self.abs / n,
            rmse: (self.square / n).sqrt(),
            nmae_pct: if self.truth > 0.0 { 100.0 * self.abs / self.truth } else { 0.0 },
            bias: self.bias / n,
            pinball: self.pinball / n,
            coverage80: self.inside80 as f64 / n,
            coverage90: self.inside90 as f64 / n,
            width90: self.width / n,
            n: self.n,
        })
    }
}
