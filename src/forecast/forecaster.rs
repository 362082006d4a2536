//! The forecaster in service: models in, forecasts out, and what it does when inputs are unfit.
//!
//! ```text
//! newest value old, or frozen ──> yesterday, else persistence on the last value ─┐
//! a model lacks features      ──> the naive experts alone                        ├─> points and bands, `fallback` says why
//! features outside the trained range ──> the models' share falls                 │
//! fit inputs                  ──> the chosen model, normally the blend ──────────┘
//! ```
//! A target without any usable value gets a forecast without points: a state that the controller sees, not an error.
//! In service blend and bands go on learning ([`Forecaster::cycle`]); ridges and trees stand still until the next training.

use super::bands::{Bands, Edges, Mark};
use super::calendar::Clock;
use super::hierarchy::{Tree, Whole};
use super::lane::{Lane, Said};
use super::rows::{FILL_INPUT, FILL_LOAD, Known, Plan, fill, own, shared};
use super::score::{Row, Sum};
use super::spec::Spec;
use super::tail::{Tail, Within};
use super::{ForecastError, Series, WeatherSeries, Window};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Age of the newest value beyond which a target is stale.
pub const STALE: Span = Span::minutes(15);
/// Forecasts kept for learning until their time has come, per target and horizon.
const WAITING_MAX: usize = 512;

/// One horizon of a forecast, in the unit of the target (kW for heat).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ahead {
    pub ahead: Span,
    pub p05: f64,
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
    pub p95: f64,
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
    /// Highest load within the next minutes, p99: the headroom that a setpoint must leave.
    pub within: Vec<Within>,
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
        let now = self.value_now.map_or_else(
            || Ahead { ahead: Span::ZERO, ..first.clone() },
            |v| Ahead { ahead: Span::ZERO, p05: v, p10: v, p50: v, p90: v, p95: v },
        );
        let knots: Vec<&Ahead> = std::iter::once(&now).chain(&self.points).collect();
        (1..=count)
            .map(|i| {
                let ahead = Span(step.0.saturating_mul(i as i64));
                let after = knots.iter().position(|k| k.ahead >= ahead).unwrap_or(knots.len() - 1).max(1);
                let (a, b) = (knots[after - 1], knots[after]);
                let part = ((ahead.0 - a.ahead.0) as f64 / (b.ahead.0 - a.ahead.0).max(1) as f64).clamp(0.0, 1.0);
                let mix = |x: f64, y: f64| x + (y - x) * part;
                Ahead {
                    ahead,
                    p05: mix(a.p05, b.p05),
                    p10: mix(a.p10, b.p10),
                    p50: mix(a.p50, b.p50),
                    p90: mix(a.p90, b.p90),
                    p95: mix(a.p95, b.p95),
                }
            })
            .collect()
    }
}

/// One horizon of one target: what says it, and the bands of what is in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LaneModel {
    pub lane: Lane,
    pub bands: Bands,
    /// `blend`, or the expert that was clearly better on the training part.
    pub chosen: String,
}

/// All that is known of one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Target {
    pub name: String,
    /// Longest run of equal values in training, rows: a longer one (twice) is a frozen sensor.
    pub longest_still_rows: usize,
    /// Least value that a forecast may take: 0 for a target that was never negative.
    pub floor: Option<f64>,
    pub lanes: Vec<LaneModel>,
    pub tails: Vec<Tail>,
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
    pub wholes: Vec<Whole>,
    pub targets: Vec<Target>,
}

/// A forecast that waits for its outcome.
#[derive(Clone)]
struct Waiting {
    due: Timestamp,
    level: f64,
    said: Said,
    point: f64,
    mark: Mark,
}

/// A rise that waits for its span to be over.
#[derive(Clone)]
struct Rising {
    origin: Timestamp,
    bound: Option<f64>,
}

/// One target's forecast with what is learnt from when its time has come.
struct Fresh {
    forecast: Forecast,
    /// By lane; empty where the inputs were unfit: those teach nothing.
    waiting: Vec<Option<Waiting>>,
    rising: Vec<Rising>,
}

/// A trained forecaster. Cloning it copies all that it has learnt, not what it waits to learn from.
pub struct Forecaster {
    pub(super) model: Model,
    pub(super) score: Vec<Row>,
    clock: Clock,
    tree: Tree,
    /// By target and lane, and by target and tail.
    waiting: Vec<Vec<VecDeque<Waiting>>>,
    rising: Vec<Vec<VecDeque<Rising>>>,
}

impl Clone for Forecaster {
    fn clone(&self) -> Forecaster {
        let (waiting, rising) = queues(&self.model);
        Forecaster {
            model: self.model.clone(),
            score: self.score.clone(),
            clock: self.clock.clone(),
            tree: self.tree.clone(),
            waiting,
            rising,
        }
    }
}

fn queues(model: &Model) -> (Vec<Vec<VecDeque<Waiting>>>, Vec<Vec<VecDeque<Rising>>>) {
    let waiting = model.targets.iter().map(|t| vec![VecDeque::new(); t.lanes.len()]).collect();
    (waiting, model.targets.iter().map(|t| vec![VecDeque::new(); t.tails.len()]).collect())
}

impl Forecaster {
    pub(super) fn new(model: Model, score: Vec<Row>) -> Result<Forecaster, ForecastError> {
        let clock = model.spec.calendar.clock()?;
        let names: Vec<String> = model.targets.iter().map(|t| t.name.clone()).collect();
        let tree = Tree::new(&names, &model.wholes).map_err(ForecastError::Hierarchy)?;
        let (waiting, rising) = queues(&model);
        Ok(Forecaster { model, score, clock, tree, waiting, rising })
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
        Span(self.model.spec.step.0.saturating_mul(self.model.spec.history_rows() as i64))
    }
    /// Errors on the last part of the training series.
    pub fn score(&self) -> &[Row] {
        &self.score
    }
    pub fn trained_to(&self) -> Timestamp {
        self.model.trained_to
    }

    /// Forecasts of all targets at `now`. Uses no row later than `now`; never fails; learns nothing.
    pub fn predict(&self, now: Timestamp, recent: &Window) -> Vec<Forecast> {
        self.fresh(now, recent).into_iter().map(|f| f.forecast).collect()
    }

    /// Learns from what has become known, then forecasts all targets at `now` and remembers what it said.
    pub fn cycle(&mut self, now: Timestamp, recent: &Window) -> Vec<Forecast> {
        self.settle(now, recent);
        let fresh = self.fresh(now, recent);
        fresh
            .into_iter()
            .enumerate()
            .map(|(t, f)| {
                for (queue, w) in self.waiting[t].iter_mut().zip(f.waiting) {
                    if queue.len() >= WAITING_MAX {
                        queue.pop_front();
                    }
                    queue.extend(w);
                }
                for (queue, r) in self.rising[t].iter_mut().zip(f.rising) {
                    if queue.len() >= WAITING_MAX {
                        queue.pop_front();
                    }
                    queue.push_back(r);
                }
                f.forecast
            })
            .collect()
    }

    fn settle(&mut self, now: Timestamp, recent: &Window) {
        for (t, target) in self.model.targets.iter_mut().enumerate() {
            let Some((_, series)) = recent.loads.iter().find(|(n, _)| *n == target.name) else { continue };
            for (lane, queue) in target.lanes.iter_mut().zip(&mut self.waiting[t]) {
                while queue.front().is_some_and(|w| w.due <= now) {
                    let Some(w) = queue.pop_front() else { break };
                    let truth = series.at(w.due);
                    if truth.is_finite() {
                        lane.lane.blend.learn(&w.said.experts, truth - w.level);
                        lane.bands.learn(w.point, &w.mark, truth);
                    }
                }
            }
            for (tail, queue) in target.tails.iter_mut().zip(&mut self.rising[t]) {
                while queue.front().is_some_and(|r| r.origin + tail.within <= now) {
                    let Some(r) = queue.pop_front() else { break };
                    if let Some(row) = series.row(r.origin) {
                        tail.learn(tail.rise(series, row), r.bound);
                    }
                }
            }
        }
    }

    fn fresh(&self, now: Timestamp, recent: &Window) -> Vec<Fresh> {
        let empty = Series { step: self.model.spec.step, ..Series::default() };
        let filled = |s: &Series| {
            let mut s = s.clone();
            fill(&mut s.values, FILL_INPUT);
            s
        };
        let weather: Vec<Series> = match &recent.weather {
            Some(WeatherSeries { dry_bulb_c, wet_bulb_c }) => vec![filled(dry_bulb_c), filled(wet_bulb_c)],
            None => vec![empty.clone(), empty],
        };
        let inputs: Vec<&Series> = weather.iter().take(self.model.spec.inputs.len()).collect();
        let plans: Vec<&dyn Plan> = self.model.spec.plans.iter().map(|name| recent.plan(name)).collect();
        let mut out: Vec<Fresh> = (0..self.model.targets.len())
            .map(|t| {
                let name = &self.model.targets[t].name;
                let series = recent.loads.iter().find(|(n, _)| n == name).map(|(_, s)| s);
                self.one(t, now, series, &inputs, &plans)
            })
            .collect();
        self.agree(&mut out);
        out
    }

    /// Moves the points so that wholes are the sums of their parts, bands with them.
    fn agree(&self, out: &mut [Fresh]) {
        if self.model.wholes.is_empty() {
            return;
        }
        for h in 0..self.model.spec.horizons.len() {
            let at = |f: &Fresh| f.forecast.points.get(h).map_or(f64::NAN, |a| a.p50);
            let mut values: Vec<f64> = out.iter().map(at).collect();
            let before = values.clone();
            let variances: Vec<f64> = self.model.targets.iter().map(|t| t.lanes.get(h).map_or(0.0, |l| l.bands.scale().powi(2))).collect();
            self.tree.reconcile(&mut values, &variances);
            for ((f, new), old) in out.iter_mut().zip(&values).zip(&before) {
                let by = new - old;
                if let (Some(a), true) = (f.forecast.points.get_mut(h), by.is_finite()) {
                    for v in [&mut a.p05, &mut a.p10, &mut a.p50, &mut a.p90, &mut a.p95] {
                        *v += by;
                    }
                }
            }
        }
    }

    /// One target.
    fn one(&self, t: usize, now: Timestamp, series: Option<&Series>, inputs: &[&Series], plans: &[&dyn Plan]) -> Fresh {
        let target = &self.model.targets[t];
        let spec = &self.model.spec;
        let mut out = Forecast {
            target: target.name.clone(),
            made_at: now,
            value_now: None,
            points: Vec::new(),
            within: Vec::new(),
            model: self.describe(t),
            fallback: None,
        };
        let unfit = |forecast: Forecast| Fresh { forecast, waiting: Vec::new(), rising: Vec::new() };
        let series = match series {
            None => return unfit(Forecast { fallback: Some("no series of this target was given".into()), ..out }),
            Some(s) if s.step != spec.step => {
                let why = format!("the series has a step of {}, the model one of {}", s.step, spec.step);
                return unfit(Forecast { fallback: Some(why), ..out });
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
                } else if let Some(still) = frozen(target, series, k) {
                    distrusted = Some(format!("value has stood still for {still}"));
                } else if age >= series.step && age > Span::ZERO {
                    said.push(format!("newest value is {age} old; the forecast starts there"));
                }
            }
        }
        out.value_now = last;
        let mut waiting = vec![None; target.lanes.len()];
        let mut silent = 0;
        if let (Some(k), Some(level), None) = (newest, last, &distrusted) {
            let mut load = series.head(k + 1);
            fill(&mut load.values, FILL_LOAD);
            let known = Known { load: &load, inputs, plans };
            let mut common = Vec::new();
            shared(spec, &known, k, &mut common);
            let (mut row, mut z, mut weights) = (Vec::new(), Vec::new(), Vec::new());
            for (h, l) in target.lanes.iter().enumerate() {
                row.clone_from(&common);
                own(spec, &self.clock, &known, k, l.lane.rows, &mut row);
                let first = common.len();
                let naive = super::features::naive(level, spec.knows_day(), spec.knows_week(), |j| row[first + j]);
                let s = l.lane.say(&row, naive, &mut z, &mut weights);
                silent =
                    silent.max(if s.experts[l.lane.naive.len()..].iter().any(|v| v.is_finite()) || l.lane.naive.len() == s.experts.len() {
                        0
                    } else {
                        s.guard.missing
                    });
                said.extend(super::walk::outside(&s.guard, &self.model.features, l.lane.ahead));
                let expert = l.lane.experts().iter().position(|n| *n == l.chosen).map_or(s.change, |i| s.experts[i]);
                let change = if s.guard.share < 1.0 || !expert.is_finite() { s.change } else { expert };
                if !change.is_finite() {
                    continue;
                }
                let point = level + change;
                out.points.push(ahead(l.lane.ahead, point, &l.bands.edges(point), target.floor));
                waiting[h] = Some(Waiting { due: series.time(k) + l.lane.ahead, level, mark: l.bands.mark(), point, said: s });
            }
            out.within = target.tails.iter().map(|tail| Within { within: tail.within, p99: tail.p99(level) }).collect();
        } else {
            for l in &target.lanes {
                let yesterday = Some(series.at(now + l.lane.ahead - Span::hours(24))).filter(|v| v.is_finite());
                let Some((name, point)) = yesterday.map(|v| ("yesterday", v)).or(last.map(|v| ("persistence", v))) else { continue };
                // The bands are those of a better model: wider by how much the naive one errs more.
                let mae = l.lane.blend.mae();
                let best = mae.iter().copied().filter(|v| *v > 0.0).fold(f64::INFINITY, f64::min);
                let own = l.lane.experts().iter().position(|n| *n == name).and_then(|i| mae.get(i)).copied().unwrap_or(best);
                let wider = if best.is_finite() { (own / best).max(1.0) } else { 1.0 };
                let e = l.bands.edges(0.0);
                let wide = Edges {
                    p05: point + wider * e.p05,
                    p10: point + wider * e.p10,
                    p90: point + wider * e.p90,
                    p95: point + wider * e.p95,
                };
                out.points.push(ahead(l.lane.ahead, point, &wide, target.floor));
            }
        }
        if let Some(why) = distrusted {
            let by = if out.points.is_empty() { "no forecast" } else { "yesterday, or the last value where yesterday is unknown" };
            said.insert(0, format!("{why}: {by}"));
            waiting.clear();
        } else if silent > 0 {
            said.insert(0, format!("{silent} of {} features are missing: the naive experts alone", self.model.features.len()));
        }
        said.truncate(4);
        out.fallback = (!said.is_empty()).then(|| said.join("; "));
        let origin = newest.map(|k| series.time(k));
        let rising = match (origin, waiting.is_empty()) {
            (Some(origin), false) => target.tails.iter().map(|tail| Rising { origin, bound: tail.bound() }).collect(),
            _ => Vec::new(),
        };
        Fresh { forecast: out, waiting, rising }
    }

    /// Errors of this forecaster, as it stands, over rows `from..` of series on its step: what it would have said in
    /// service. Rows are of the model in force and of persistence.
    pub fn walk(&self, targets: &[(String, Series)], weather: Option<&WeatherSeries>, from: usize) -> Vec<Row> {
        let mut own = self.clone();
        let mut out = Vec::new();
        let rows = targets.iter().map(|(_, s)| s.values.len()).max().unwrap_or(0);
        let lanes = self.model.spec.horizons.len();
        let mut sums: Vec<Vec<[Sum; 2]>> = vec![vec![<[Sum; 2]>::default(); lanes]; targets.len()];
        let keep = self.model.spec.history_rows();
        for k in from..rows {
            let Some((_, first)) = targets.first() else { break };
            let now = first.time(k);
            let cut = |s: &Series| {
                let end = s.row(now).map_or(0, |k| k + 1).min(s.values.len());
                let start = end.saturating_sub(keep);
                Series::new(s.time(start), s.step, s.values[start..end].to_vec())
            };
            let window = Window {
                loads: targets.iter().map(|(n, s)| (n.clone(), cut(s))).collect(),
                weather: weather.map(|w| WeatherSeries { dry_bulb_c: cut(&w.dry_bulb_c), wet_bulb_c: cut(&w.wet_bulb_c) }),
                ..Window::default()
            };
            for f in own.cycle(now, &window) {
                let Some((i, level)) = targets.iter().position(|(n, _)| *n == f.target).zip(f.value_now) else { continue };
                for a in &f.points {
                    let Some(h) = self.model.spec.horizons.iter().position(|h| *h == a.ahead) else { continue };
                    let truth = targets[i].1.at(now + a.ahead);
                    if truth.is_finite() {
                        sums[i][h][0].add(a.p50, &Edges { p05: a.p05, p10: a.p10, p90: a.p90, p95: a.p95 }, truth);
                        sums[i][h][1].add(level, &Edges { p05: level, p10: level, p90: level, p95: level }, truth);
                    }
                }
            }
        }
        for (i, (name, _)) in targets.iter().enumerate() {
            for (h, ahead) in self.model.spec.horizons.iter().enumerate() {
                out.extend(sums[i][h][0].row(name, *ahead, "in-force", true));
                out.extend(sums[i][h][1].row(name, *ahead, "persistence", false));
            }
        }
        out
    }

    /// Error of the bands' model in service over that of its score, mean over lanes: 1 = as promised.
    pub fn drift(&self) -> Option<f64> {
        let ratios: Vec<f64> = (self.model.targets.iter())
            .flat_map(|t| t.lanes.iter().map(move |l| (t, l)))
            .filter_map(|(t, l)| {
                let promised = self.score.iter().find(|r| r.chosen && r.target == t.name && r.horizon == l.lane.ahead)?.mae;
                (promised > 0.0 && l.bands.outcomes > 0).then(|| l.bands.recent() / promised)
            })
            .collect();
        (!ratios.is_empty()).then(|| ratios.iter().sum::<f64>() / ratios.len() as f64)
    }

    /// `bsc-hq-load/1: blend 5 min, 15 min; persistence 6.0 h`.
    fn describe(&self, t: usize) -> String {
        let lanes = &self.model.targets[t].lanes;
        let mut kinds: Vec<&str> = Vec::new();
        for l in lanes {
            if !kinds.contains(&l.chosen.as_str()) {
                kinds.push(&l.chosen);
            }
        }
        let part = |kind: &&str| {
            let at: Vec<String> = lanes.iter().filter(|l| l.chosen == **kind).map(|l| l.lane.ahead.to_string()).collect();
            format!("{kind} {}", at.join(", "))
        };
        format!("{}: {}", self.model.name, kinds.iter().map(part).collect::<Vec<_>>().join("; "))
    }
}

/// How long the value at row `k` has stood still, where that is longer than a live one does.
fn frozen(target: &Target, series: &Series, k: usize) -> Option<Span> {
    let value = series.values[k];
    let rows = series.values[..=k].iter().rev().take_while(|v| **v == value).count();
    let still = Span(series.step.0.saturating_mul(rows as i64));
    (rows > 2 * target.longest_still_rows.max(1) && still > Span::minutes(30)).then_some(still)
}

fn ahead(ahead: Span, point: f64, e: &Edges, floor: Option<f64>) -> Ahead {
    let floor = floor.unwrap_or(f64::NEG_INFINITY);
    Ahead { ahead, p05: e.p05.max(floor), p10: e.p10.max(floor), p50: point.max(floor), p90: e.p90.max(floor), p95: e.p95.max(floor) }
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
                Ahead { ahead: Span::minutes(5), p05: 85.0, p10: 90.0, p50: 110.0, p90: 120.0, p95: 125.0 },
                Ahead { ahead: Span::minutes(15), p05: 75.0, p10: 80.0, p50: 130.0, p90: 150.0, p95: 155.0 },
            ],
            within: vec![],
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
