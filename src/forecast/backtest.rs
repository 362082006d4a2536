//! Honest errors: strict time split, rolling origin, every model beside the naive ones.

use super::bands::{Tails, pinball};
use super::features::FeatureRow;
use super::forecaster::{Forecaster, Kind};
use super::linear::Said;
use super::train::{Blocks, fit};
use super::{ForecastError, Series, WeatherSeries};
use crate::time::Span;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Origins that are evaluated at most; a longer part is walked in larger strides.
const ORIGINS_MAX: usize = 5_000;

/// Errors of one model at one horizon, in the unit of the target unless the name says otherwise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    pub target: String,
    pub horizon: Span,
    /// `in_force` (all rules and fall-backs included), `linear`, `persistence` or `yesterday`.
    pub model: String,
    /// Is it the model that was chosen, on the training part, for this horizon?
    pub chosen: bool,
    pub mae: f64,
    pub rmse: f64,
    /// MAE in % of the mean absolute truth.
    pub nmae_pct: f64,
    /// Mean of forecast less truth.
    pub bias: f64,
    /// Mean pinball loss over p10, p50 and p90.
    pub pinball: f64,
    /// Share of outcomes within p10…p90; 0.8 is right.
    pub coverage80: f64,
    /// Forecasts that the figures are made of.
    pub n: usize,
}

#[derive(Default)]
struct Sum {
    abs: f64,
    square: f64,
    bias: f64,
    pinball: f64,
    inside: usize,
    truth: f64,
    n: usize,
}

impl Sum {
    fn add(&mut self, (p10, p50, p90): (f64, f64, f64), truth: f64) {
        let e = p50 - truth;
        self.abs += e.abs();
        self.square += e * e;
        self.bias += e;
        self.pinball += (pinball(0.1, p10, truth) + pinball(0.5, p50, truth) + pinball(0.9, p90, truth)) / 3.0;
        self.inside += usize::from(p10 <= truth && truth <= p90);
        self.truth += truth.abs();
        self.n += 1;
    }

    fn row(&self, target: &str, horizon: Span, model: &str, chosen: bool) -> Option<Row> {
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
            coverage80: self.inside as f64 / n,
            n: self.n,
        })
    }
}

/// Bands of one model at one horizon while they adapt: an outcome is learnt only once its time has come.
#[derive(Default)]
struct Learner {
    tails: Tails,
    waiting: VecDeque<(usize, f64, f64, f64)>,
}

impl Learner {
    fn learn_until(&mut self, row: usize) {
        while let Some(&(due, p10, p90, truth)) = self.waiting.front() {
            if due > row {
                break;
            }
            self.tails.learn(p10, p90, truth);
            self.waiting.pop_front();
        }
    }
}

/// Walks the origins from row `from` on; every forecast uses rows up to its origin only. Models are compared on the
/// same origins: those where all of them that exist can speak.
pub(super) fn evaluate(forecaster: &Forecaster, targets: &[(String, Series)], weather: Option<&WeatherSeries>, from: usize) -> Vec<Row> {
    let mut out = Vec::new();
    let spec = &forecaster.model.spec;
    let ahead_rows: Vec<usize> = spec.horizons().iter().map(|(_, k)| *k).collect();
    for (t, target) in forecaster.model.targets.iter().enumerate() {
        let Some((_, series)) = targets.iter().find(|(n, _)| *n == target.name) else { continue };
        let n = series.values.len();
        let stride = n.saturating_sub(from).div_ceil(ORIGINS_MAX).max(1);
        let count = target.horizons.len();
        // Index 0..3 by Kind, 3 = in force.
        let mut sums: Vec<[Sum; 4]> = (0..count).map(|_| Default::default()).collect();
        let mut learners: Vec<[Learner; 4]> = (0..count).map(|_| Default::default()).collect();
        let mut features = Vec::new();
        for k in (from..n).step_by(stride) {
            let now = series.values[k];
            if !now.is_finite() {
                continue;
            }
            FeatureRow::compute(spec, series, k, weather, &mut features);
            for each in &mut learners {
                each.iter_mut().for_each(|l| l.learn_until(k));
            }
            let tails: Vec<Tails> = learners.iter().map(|l| l[3].tails.clone()).collect();
            let in_force = forecaster.predict_one(t, series.time(k), Some(series), weather, &tails);
            for (h, horizon) in target.horizons.iter().enumerate() {
                let due = k + ahead_rows[h];
                let truth = series.get(due as i64);
                if !truth.is_finite() {
                    continue;
                }
                let linear = horizon.linear.as_ref().and_then(|m| match m.say(&features) {
                    Said::Change(c) | Said::Faded { change: c, .. } => Some(now + c),
                    Said::Missing { .. } => None,
                });
                let day_before = due.checked_sub(spec.day_rows()).map(|d| series.get(d as i64)).filter(|v| v.is_finite());
                let knows_yesterday = horizon.errors[Kind::Yesterday as usize].count > 0;
                if (horizon.linear.is_some() && linear.is_none()) || (knows_yesterday && day_before.is_none()) {
                    continue;
                }
                let points = [linear, Some(now), day_before.filter(|_| knows_yesterday)];
                for (kind, point) in points.iter().enumerate() {
                    let Some(point) = point else { continue };
                    let (lo, hi) = learners[h][kind].tails.offsets(&horizon.errors[kind]);
                    sums[h][kind].add((point + lo, *point, point + hi), truth);
                    learners[h][kind].waiting.push_back((due, point + lo, point + hi, truth));
                }
                if let Some(a) = in_force.points.iter().find(|a| a.ahead == horizon.ahead) {
                    sums[h][3].add((a.p10, a.p50, a.p90), truth);
                    learners[h][3].waiting.push_back((due, a.p10, a.p90, truth));
                }
            }
        }
        for (horizon, sums) in target.horizons.iter().zip(&sums) {
            out.extend(sums[3].row(&target.name, horizon.ahead, "in_force", true));
            for kind in Kind::ALL {
                out.extend(sums[kind as usize].row(&target.name, horizon.ahead, kind.name(), kind == horizon.chosen));
            }
        }
    }
    out
}

/// Trains on the first `train_share` (0–1) of the series and walks the rest. Nothing of the rest is seen in training.
pub fn backtest(
    targets: &[(String, Series)],
    weather: Option<&WeatherSeries>,
    train_share: f64,
    seed: u64,
) -> Result<Vec<Row>, ForecastError> {
    let rows = targets.first().map_or(0, |t| t.1.values.len());
    let blocks = Blocks::new(rows, train_share.clamp(0.0, 1.0));
    let forecaster = fit("backtest/0", targets, weather, seed, &blocks)?;
    Ok(evaluate(&forecaster, targets, weather, blocks.calibrate))
}
