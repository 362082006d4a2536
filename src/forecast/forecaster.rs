//! Forecasts at one instant, and what happens when the inputs are not fit.
//!
//! ```text
//! newest value at most 15 min old, not frozen ──> model in force per horizon
//!        │ else                                     │ linear: > 1/4 of the features missing ──> best naive of that horizon
//!        v                                          │ linear: a feature > 3 sigma outside    ──> faded to persistence, said
//! yesterday, or persistence on the last value       v
//!        (said in `fallback`)                    points and bands
//! ```
//! A target without any usable value gets a forecast without points: a state that the controller sees, not an error.

use super::backtest::Row;
use super::bands::{Errors, Tails};
use super::features::{FeatureRow, Spec};
use super::linear::{Linear, Said};
use super::{Series, WeatherSeries, Window};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Age of the newest value beyond which a target is stale.
pub const STALE: Span = Span::minutes(15);
/// Forecasts kept for adaptation until their time has come, per forecaster.
const PENDING_MAX: usize = 4096;

/// One horizon of a forecast, in the unit of the target (kW for heat).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    pub ahead: Span,
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
}

/// What is expected of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    pub target: String,
    pub made_at: Timestamp,
    /// The newest value that the forecast stands on.
    pub value_now: Option<f64>,
    /// In order of `ahead`; empty where nothing can be said (see `fallback`).
    pub points: Vec<Ahead>,
    /// Name of the forecaster and what is in force at which horizon.
    pub model: String,
    /// Why this is not the model in force alone; none = all is well.
    pub fallback: Option<String>,
}

impl Forecast {
    /// The forecast at `step, 2·step, … count·step` ahead: linear between the horizons, from the value now (or the
    /// first horizon where that is unknown); the last horizon's values hold beyond it. Empty without points.
    pub fn every(&self, step: Span, count: usize) -> Vec<Ahead> {
        let Some(first) = self.points.first() else { return Vec::new() };
        let now = self
            .value_now
            .map_or_else(|| Ahead { ahead: Span::ZERO, ..first.clone() }, |v| Ahead { ahead: Span::ZERO, p10: v, p50: v, p90: v });
        let knots: Vec<&Ahead> = std::iter::once(&now).chain(&self.points).collect();
        (1..=count)
            .map(|i| {
                let ahead = Span(step.0.saturating_mul(i as i64));
                let after = knots.iter().position(|k| k.ahead >= ahead).unwrap_or(knots.len() - 1).max(1);
                let (a, b) = (knots[after - 1], knots[after]);
                let part = ((ahead.0 - a.ahead.0) as f64 / (b.ahead.0 - a.ahead.0).max(1) as f64).clamp(0.0, 1.0);
                let mix = |x: f64, y: f64| x + (y - x) * part;
                Ahead { ahead, p10: mix(a.p10, b.p10), p50: mix(a.p50, b.p50), p90: mix(a.p90, b.p90) }
            })
            .collect()
    }
}

/// The three models of a horizon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Linear,
    Persistence,
    Yesterday,
}

impl Kind {
    pub const ALL: [Kind; 3] = [Kind::Linear, Kind::Persistence, Kind::Yesterday];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Linear => "linear",
            Kind::Persistence => "persistence",
            Kind::Yesterday => "yesterday",
        }
    }
}

/// All that is known of one horizon of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Horizon {
    pub ahead: Span,
    /// The model in force, and the better naive one.
    pub chosen: Kind,
    pub naive: Kind,
    pub linear: Option<Linear>,
    /// Held-out errors in the order of [`Kind::ALL`].
    pub errors: [Errors; 3],
}

/// All that is known of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    /// Longest run of equal values in training, rows: a longer one (twice) is a frozen sensor.
    pub longest_still_rows: usize,
    /// Least value that a forecast may take: 0 for a target that was never negative.
    pub floor: Option<f64>,
    pub horizons: Vec<Horizon>,
}

/// What is written to `model.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Model {
    pub format: u32,
    pub name: String,
    pub seed: u64,
    pub spec: Spec,
    pub features: Vec<String>,
    pub trained_from: Timestamp,
    pub trained_to: Timestamp,
    /// blake3 of the training values.
    pub data_digest: String,
    pub targets: Vec<Target>,
}

struct Pending {
    target: usize,
    horizon: usize,
    due: Timestamp,
    p10: f64,
    p90: f64,
}

/// A trained forecaster. Cloning it copies the model, not what it waits to learn from.
pub struct Forecaster {
    pub(super) model: Model,
    pub(super) score: Vec<Row>,
    tails: Vec<Vec<Tails>>,
    pending: VecDeque<Pending>,
}

impl Clone for Forecaster {
    fn clone(&self) -> Forecaster {
        Forecaster { model: self.model.clone(), score: self.score.clone(), tails: self.tails.clone(), pending: VecDeque::new() }
    }
}

impl Forecaster {
    pub(super) fn new(model: Model, score: Vec<Row>) -> Forecaster {
        let tails = model.targets.iter().map(|t| vec![Tails::default(); t.horizons.len()]).collect();
        Forecaster { model, score, tails, pending: VecDeque::new() }
    }

    /// `<name>/<version>`.
    pub fn name(&self) -> &str {
        &self.model.name
    }
    /// Names of the targets, in the order of training.
    pub fn targets(&self) -> impl Iterator<Item = &str> {
        self.model.targets.iter().map(|t| t.name.as_str())
    }
    /// Step of the series that `predict` takes.
    pub fn step(&self) -> Span {
        self.model.spec.step
    }
    /// Length of the window that `predict` makes full use of.
    pub fn window(&self) -> Span {
        Span(Span::hours(24).0 + self.model.spec.step.0)
    }
    /// Errors on the last part of the training series, which took no part in fitting, choosing or the bands.
    pub fn score(&self) -> &[Row] {
        &self.score
    }

    /// Forecasts of all targets at `now`. Uses no row later than `now`; never fails.
    pub fn predict(&self, now: Timestamp, recent: &Window) -> Vec<Forecast> {
        let weather = recent.weather.as_ref();
        (0..self.model.targets.len())
            .map(|t| {
                let target = &self.model.targets[t];
                let series = recent.loads.iter().find(|(name, _)| *name == target.name).map(|(_, s)| s);
                self.predict_one(t, now, series, weather, &self.tails[t])
            })
            .collect()
    }

    /// One target, with the tails' levels given (the backtest has its own).
    pub(super) fn predict_one(
        &self,
        t: usize,
        now: Timestamp,
        series: Option<&Series>,
        weather: Option<&WeatherSeries>,
        tails: &[Tails],
    ) -> Forecast {
        let target = &self.model.targets[t];
        let mut out = Forecast {
            target: target.name.clone(),
            made_at: now,
            value_now: None,
            points: Vec::new(),
            model: self.describe(t),
            fallback: None,
        };
        let series = match series {
            None => return Forecast { fallback: Some("no series of this target was given".into()), ..out },
            Some(s) if s.step != self.model.spec.step => {
                let why = format!("the series has a step of {}, the model one of {}", s.step, self.model.spec.step);
                return Forecast { fallback: Some(why), ..out };
            }
            Some(s) => s,
        };
        let newest = series.row(now).and_then(|k| {
            let k = k.min(series.values.len().checked_sub(1)?);
            series.values[..=k].iter().rposition(|v| v.is_finite())
        });
        let mut said: Vec<String> = Vec::new();
        let mut distrusted = None;
        let last = newest.map(|k| series.values[k]);
        match newest {
            None => distrusted = Some("no value up to now".to_owned()),
            Some(k) => {
                let age = now - series.time(k);
                if age > STALE.max(Span(2 * series.step.0)) {
                    distrusted = Some(format!("newest value is {age} old"));
                } else if let Some(still) = self.frozen(target, series, k) {
                    distrusted = Some(format!("value has stood still for {still}"));
                } else if age >= series.step && age > Span::ZERO {
                    said.push(format!("newest value is {age} old; the forecast starts there"));
                }
            }
        }
        out.value_now = last;
        let mut row = Vec::new();
        if let (Some(k), None) = (newest, &distrusted) {
            FeatureRow::compute(&self.model.spec, series, k, weather, &mut row);
        }
        let mut used_naive: Option<String> = None;
        for (h, horizon) in target.horizons.iter().enumerate() {
            let yesterday = Some(series.at(now + horizon.ahead - Span::hours(24))).filter(|v| v.is_finite());
            let mut kind = if distrusted.is_some() { Kind::Yesterday } else { horizon.chosen };
            let mut point = None;
            if kind == Kind::Linear
                && let (Some(linear), Some(level)) = (&horizon.linear, last)
            {
                match linear.say(&row) {
                    Said::Change(c) => point = Some(level + c),
                    Said::Faded { change, weight, feature } => {
                        point = Some(level + change);
                        let name = self.model.features.get(feature).map_or("?", String::as_str);
                        said.push(format!("{}: {name} is outside the trained range, {:.0} % of the model", horizon.ahead, 100.0 * weight));
                    }
                    Said::Missing { count } => {
                        used_naive = Some(format!("{count} of {} features are missing", row.len()));
                        kind = horizon.naive;
                    }
                }
            }
            if point.is_none() {
                (kind, point) = match (kind, yesterday, last) {
                    (Kind::Yesterday, Some(v), _) => (Kind::Yesterday, Some(v)),
                    (_, _, Some(v)) => (Kind::Persistence, Some(v)),
                    (_, Some(v), None) => (Kind::Yesterday, Some(v)),
                    _ => (kind, None),
                };
            }
            let Some(point) = point else { continue };
            let floor = target.floor.unwrap_or(f64::NEG_INFINITY);
            let point = point.max(floor);
            let standard = Tails::default();
            // Levels were learnt on forecasts from fit inputs: a fall-back takes the standard ones.
            let tail = if distrusted.is_none() { tails.get(h).unwrap_or(&standard) } else { &standard };
            let (lo, hi) = tail.offsets(&horizon.errors[kind as usize]);
            out.points.push(Ahead { ahead: horizon.ahead, p10: (point + lo).max(floor), p50: point, p90: point + hi });
        }
        if let Some(why) = distrusted {
            let by = if out.points.is_empty() { "no forecast" } else { "yesterday, or the last value where yesterday is unknown" };
            said.insert(0, format!("{why}: {by}"));
        } else if let Some(why) = used_naive {
            said.insert(0, format!("{why}: persistence or yesterday instead of the linear model"));
        }
        said.truncate(4);
        out.fallback = (!said.is_empty()).then(|| said.join("; "));
        out
    }

    /// How long the value at row `k` has stood still, where that is longer than a live one does.
    fn frozen(&self, target: &Target, series: &Series, k: usize) -> Option<Span> {
        let value = series.values[k];
        let rows = series.values[..=k].iter().rev().take_while(|v| **v == value).count();
        let still = Span(series.step.0.saturating_mul(rows as i64));
        (rows > 2 * target.longest_still_rows.max(1) && still > Span::minutes(30)).then_some(still)
    }

    /// Remembers forecasts so that [`Forecaster::settle`] can learn from what happened. Those that fell back are not
    /// learnt from. Bounded: the oldest go first.
    pub fn record(&mut self, forecasts: &[Forecast]) {
        for f in forecasts.iter().filter(|f| f.fallback.is_none()) {
            let Some(target) = self.model.targets.iter().position(|t| t.name == f.target) else { continue };
            for a in &f.points {
                let Some(horizon) = self.model.targets[target].horizons.iter().position(|h| h.ahead == a.ahead) else { continue };
                if self.pending.len() >= PENDING_MAX {
                    self.pending.pop_front();
                }
                self.pending.push_back(Pending { target, horizon, due: f.made_at + a.ahead, p10: a.p10, p90: a.p90 });
            }
        }
    }

    /// Adapts the bands to what happened: looks up the truth of every recorded forecast whose time has come.
    pub fn settle(&mut self, now: Timestamp, recent: &Window) {
        let mut pending = std::mem::take(&mut self.pending);
        pending.retain(|p| {
            if p.due > now {
                return true;
            }
            let name = &self.model.targets[p.target].name;
            let truth = recent.loads.iter().find(|(n, _)| n == name).map_or(f64::NAN, |(_, s)| s.at(p.due));
            if truth.is_finite() {
                self.tails[p.target][p.horizon].learn(p.p10, p.p90, truth);
            }
            false
        });
        self.pending = pending;
    }

    /// `bsc-hq-load/1: linear 5 min, 15 min; persistence 6.0 h`.
    fn describe(&self, t: usize) -> String {
        let parts: Vec<String> = Kind::ALL
            .iter()
            .filter_map(|kind| {
                let at: Vec<String> =
                    self.model.targets[t].horizons.iter().filter(|h| h.chosen == *kind).map(|h| h.ahead.to_string()).collect();
                (!at.is_empty()).then(|| format!("{} {}", kind.name(), at.join(", ")))
            })
            .collect();
        format!("{}: {}", self.model.name, parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forecast_is_read_at_any_step() {
        let f = Forecast {
            target: "tcs".into(),
            made_at: Timestamp(0),
            value_now: Some(100.0),
            points: vec![
                Ahead { ahead: Span::minutes(5), p10: 90.0, p50: 110.0, p90: 120.0 },
                Ahead { ahead: Span::minutes(15), p10: 80.0, p50: 130.0, p90: 150.0 },
            ],
            model: String::new(),
            fallback: None,
        };
        let every = f.every(Span::minutes(5), 4);
        assert_eq!(every.iter().map(|a| a.p50).collect::<Vec<_>>(), [110.0, 120.0, 130.0, 130.0]);
        assert_eq!(every[1].p10, 85.0);
        assert_eq!(f.every(Span::seconds(150), 1)[0].p90, 110.0);
        assert!(Forecast { points: vec![], ..f }.every(Span::minutes(5), 3).is_empty());
    }
}
