//! From telemetry to a model.
//!
//! The steps: variables and dictionary from the data's quantiles; features chosen for all meters and limits together;
//! ridge per output with the strength that blocked cross-validation likes; a lag per limited role from a grid; the leak of
//! IT power at the same work by generalised least squares; figures of fit on blocks that were held out.
//! Invariants: nothing depends on chance (the dictionary's draw is fixed), so the same data give the same bytes; no figure of fit comes from rows that the fit saw.

use super::card::Card;
use super::dataset::{Binding, Dataset, Row};
use super::feature::{Feature, Layout, Ranges, dictionary};
use super::leak::fit_it;
use super::model::{IdentifiedModel, LimitModel, Linear, MeterModel, weather_of};
use super::solve::{Chosen, Gram, choose_features, ridge_by_blocks};
use crate::plant::predict::Fit;
use crate::site::{MeterBoundary, SiteFile};
use crate::units::Kind;
use ndarray::Array2;

/// Fewest usable rows: below it cross-validation says nothing.
pub const ROWS_MIN: usize = 240;
/// Features that a model keeps.
const FEATURES_MAX: usize = 220;
/// Blocks of time that take turns in being held out.
const FOLDS: usize = 8;
/// Lags tried for limited roles, s.
const LAGS_S: [f64; 7] = [0.0, 60.0, 120.0, 240.0, 480.0, 900.0, 1800.0];

/// Why no model could be made or read.
#[derive(Debug, thiserror::Error)]
pub enum IdentifyError {
    #[error("{site}: {rows} usable rows, and {ROWS_MIN} are needed; record at least a day in which the setpoints are moved")]
    TooFew { site: String, rows: usize },
    #[error("{site}: more than {} rows; thin them out or use longer steps", super::dataset::ROWS_MAX)]
    TooMany { site: String },
    #[error(
        "{site}: the data belong to another plant than the site file: {what}; record the data anew or use the file that they came from"
    )]
    OtherPlant { site: String, what: String },
    #[error("{site}: no setpoint was ever moved in these data; excite the plant within its bounds (`identify --sim` does) and try again")]
    NeverMoved { site: String },
    #[error("{path}: {why}", path = path.display())]
    File { path: std::path::PathBuf, why: String },
    #[error("{path}: made for another plant: {what}; identify it anew for this site file", path = path.display())]
    Mismatch { path: std::path::PathBuf, what: String },
}

fn usable(row: &Row) -> bool {
    let numbers = row.in_force.iter().chain(&row.loads_kw).chain(&row.meters_kw).chain(&row.limited);
    numbers.chain(&weather_of(row)).all(|v| v.is_finite())
}

/// Columns scaled to mean 0 and deviation 1, with what undoes it.
struct Scaled {
    x: Array2<f64>,
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

impl Scaled {
    fn of(mut x: Array2<f64>) -> Scaled {
        let n = x.nrows().max(1) as f64;
        let (mut mean, mut deviation) = (Vec::new(), Vec::new());
        for mut c in x.columns_mut() {
            let m = c.sum() / n;
            let d = (c.iter().map(|v| (v - m).powi(2)).sum::<f64>() / n).sqrt();
            // A column that stands still carries nothing: it becomes zero and earns no weight.
            let by = if d > 1e-9 * m.abs().max(1e-3) { d } else { 0.0 };
            c.iter_mut().for_each(|v| *v = if by > 0.0 { (*v - m) / by } else { 0.0 });
            mean.push(m);
            deviation.push(by);
        }
        Scaled { x, mean, deviation }
    }

    /// Some of the columns, in the order asked for.
    fn columns(&self, kept: &[usize]) -> Scaled {
        let pick = |v: &[f64]| kept.iter().map(|&j| v[j]).collect();
        Scaled { x: self.x.select(ndarray::Axis(1), kept), mean: pick(&self.mean), deviation: pick(&self.deviation) }
    }

    /// Coefficients on scaled columns and target, back in raw values.
    fn raw(&self, chosen: &Chosen, target_mean: f64, target_deviation: f64) -> Linear {
        let mut intercept = target_mean;
        let weights = chosen.weights.iter().zip(self.mean.iter().zip(&self.deviation));
        let weights = weights.map(|(w, (m, d))| {
            let raw = if *d > 0.0 { w * target_deviation / d } else { 0.0 };
            intercept -= raw * m;
            raw
        });
        let weights = weights.collect();
        Linear { intercept, weights }
    }
}

/// Where each of `FOLDS` contiguous blocks begins and ends.
fn blocks(rows: usize) -> Vec<(usize, usize)> {
    (0..FOLDS).map(|k| (k * rows / FOLDS, (k + 1) * rows / FOLDS)).filter(|(a, b)| b > a).collect()
}

fn grams(x: &Array2<f64>, y: &Array2<f64>) -> Vec<Gram> {
    blocks(x.nrows()).into_iter().map(|(a, b)| Gram::of(x, y, a, b)).collect()
}

/// First-order filter of every column, begun anew at each segment.
fn lagged(x: &Array2<f64>, starts: &[usize], keep: f64) -> Array2<f64> {
    let mut out = x.clone();
    for i in 1..x.nrows() {
        if !starts.contains(&i) {
            for j in 0..x.ncols() {
                out[[i, j]] = x[[i, j]] + keep * (out[[i - 1, j]] - x[[i, j]]);
            }
        }
    }
    out
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted.get(((sorted.len().saturating_sub(1)) as f64 * q).round() as usize).copied().unwrap_or(0.0)
}

fn range(values: impl Iterator<Item = f64>, tail: f64) -> (f64, f64) {
    let mut v: Vec<f64> = values.filter(|v| v.is_finite()).collect();
    v.sort_by(f64::total_cmp);
    (quantile(&v, tail), quantile(&v, 1.0 - tail))
}

/// Identifies a plant from its telemetry.
///
/// `name` is what the audit trail will call the model (`bsc-hq-plant/1`); `seed` is recorded in the card (the fit itself
/// has no randomness; the seed made the data).
///
/// # Errors
/// Too few or too many rows, data of another plant, setpoints that never moved.
pub fn fit(dataset: &Dataset, site: &SiteFile, name: &str, seed: u64) -> Result<IdentifiedModel, IdentifyError> {
    let id = || site.site.id.clone();
    let binding = dataset.binding.clone();
    if let Some(what) = binding.differs(&Binding { kinds: binding.kinds.clone(), ..Binding::of(site) }) {
        return Err(IdentifyError::OtherPlant { site: id(), what });
    }
    if dataset.len() > super::dataset::ROWS_MAX {
        return Err(IdentifyError::TooMany { site: id() });
    }
    let mut starts = Vec::new();
    let mut rows: Vec<&Row> = Vec::new();
    for segment in &dataset.segments {
        starts.push(rows.len());
        rows.extend(segment.iter().filter(|r| usable(r)));
    }
    if rows.len() < ROWS_MIN {
        return Err(IdentifyError::TooFew { site: id(), rows: rows.len() });
    }
    let n = rows.len() as f64;
    let moved = |a: usize| {
        let (lo, hi) = range(rows.iter().map(|r| r.in_force[a]), 0.02);
        hi > lo
    };
    if !(0..binding.actuators.len()).any(moved) {
        return Err(IdentifyError::NeverMoved { site: id() });
    }
    let is_temp = |k: &Kind| matches!(k, Kind::Temperature | Kind::TemperatureDifference);
    let layout = Layout {
        setpoint_scale: site
            .actuators
            .iter()
            .zip(&binding.kinds)
            .map(|(a, k)| if is_temp(k) { 1.0 } else { a.default.max(1e-6) })
            .collect(),
        load_scale: (0..binding.loads()).map(|l| (rows.iter().map(|r| r.loads_kw[l]).sum::<f64>() / n).max(1e-3)).collect(),
        flows: binding.kinds.iter().enumerate().filter(|(_, k)| !is_temp(k)).map(|(i, _)| i).collect(),
    };
    let variables: Vec<Vec<f64>> = rows
        .iter()
        .map(|r| {
            let mut z = Vec::with_capacity(layout.len());
            layout.fill(&r.in_force, &r.loads_kw, 1.0, weather_of(r), &mut z);
            z
        })
        .collect();
    let ranges: Vec<(f64, f64)> = (0..layout.len()).map(|v| range(variables.iter().map(|z| z[v]), 0.005)).collect();
    let all_features = dictionary(&binding, &layout, &Ranges { z: &variables });

    // Targets: every meter outside IT, then every limited role, then the sum of cooling meters (for the figures of fit).
    let metered: Vec<usize> = (0..binding.meters.len()).filter(|&m| binding.boundaries[m] != MeterBoundary::It).collect();
    let (meters, limits) = (metered.len(), binding.limits.len());
    let y_raw = Array2::from_shape_fn((rows.len(), meters + limits), |(i, o)| {
        if o < meters { rows[i].meters_kw[metered[o]] } else { rows[i].limited[o - meters] }
    });
    let y = Scaled::of(y_raw.clone());
    let x_all = Scaled::of(Array2::from_shape_fn((rows.len(), all_features.len()), |(i, j)| all_features[j].value(&variables[i])));
    // In the choice of features a meter weighs as its kW, a limit as a tenth of the largest meter.
    let largest = y.deviation[..meters].iter().copied().fold(1e-9, f64::max);
    let weigh = |o: usize| if o < meters { y.deviation[o] / largest } else { 0.1 };
    let y_weighed = Array2::from_shape_fn(y.x.dim(), |(i, o)| y.x[[i, o]] * weigh(o));
    // What hangs on a limit's own load is for limits: powers are the sum's, and would learn from one rack what it is not the cause of.
    let own_loads = layout.load(binding.loops.len())..layout.dry_bulb();
    let (own, shared): (Vec<usize>, Vec<usize>) = (0..all_features.len()).partition(|&j| all_features[j].uses(&own_loads));
    let choice = Gram::of(&x_all.x.select(ndarray::Axis(1), &shared), &y_weighed, 0, rows.len());
    let shared: Vec<usize> = choose_features(&choice, FEATURES_MAX).into_iter().map(|j| shared[j]).collect();
    let kept: Vec<usize> = shared.iter().chain(&own).copied().collect();
    let features: Vec<Feature> = kept.iter().map(|&j| all_features[j].clone()).collect();
    let (x_power, x) = (x_all.columns(&shared), x_all.columns(&kept));

    let folds = grams(&x_power.x, &y.x);
    let at_rest = ridge_by_blocks(&folds);
    let sigma = |c: &Chosen, o: usize| (c.held_out_sse / n).sqrt() * y.deviation[o];
    let meter_models: Vec<MeterModel> = (0..meters)
        .map(|o| {
            let mut linear = x_power.raw(&at_rest[o], y.mean[o], y.deviation[o]);
            linear.weights.resize(kept.len(), 0.0);
            MeterModel { meter: metered[o], linear, sigma_kw: sigma(&at_rest[o], o) }
        })
        .collect();

    let step_s = dataset.step.as_secs_f64();
    let mut best: Vec<(f64, f64, Linear)> = vec![(f64::INFINITY, 0.0, Linear::default()); limits];
    for lag_s in LAGS_S {
        let keep = if lag_s > 0.0 { (-step_s / lag_s).exp() } else { 0.0 };
        let filtered = lagged(&x.x, &starts, keep);
        let y_limits = y.x.slice(ndarray::s![.., meters..]).to_owned();
        for (i, c) in ridge_by_blocks(&grams(&filtered, &y_limits)).iter().enumerate() {
            if c.held_out_sse < best[i].0 * 0.995 {
                best[i] = (c.held_out_sse, lag_s, x.raw(c, y.mean[meters + i], y.deviation[meters + i]));
            }
        }
    }
    let limit_models = best.into_iter().enumerate().map(|(i, (sse, lag_s, linear))| {
        let l = &site.limits[i];
        let side = match (l.max, l.min) {
            (Some(_), None) => 1,
            (None, Some(_)) => -1,
            _ => 0,
        };
        let sigma = (sse / n).sqrt() * y.deviation[meters + i];
        LimitModel { linear, lag_s, sigma, side, seen: range(rows.iter().map(|r| r.limited[i]), 0.002) }
    });
    let limit_models: Vec<LimitModel> = limit_models.collect();

    let (fit, sigma_kw) = held_out(&folds, &at_rest, &x_power, &y, &y_raw, &binding, &metered);
    let it = fit_it(&rows, &starts, &binding, &layout, site, dataset.step);
    let card = Card::of(name, seed, dataset, &layout, &ranges, &fit, &meter_models, &limit_models, &it);
    Ok(IdentifiedModel {
        binding,
        layout,
        features,
        meters: meter_models,
        limits: limit_models,
        it,
        ranges,
        sigma_kw,
        fit,
        card,
        residuals: Default::default(),
        compiled: Default::default(),
    })
}

/// Figures of fit of the sums, every block predicted by a fit that did not see it, clamped as the model clamps.
fn held_out(
    folds: &[Gram],
    chosen: &[Chosen],
    x: &Scaled,
    y: &Scaled,
    y_raw: &Array2<f64>,
    binding: &Binding,
    metered: &[usize],
) -> (Fit, f64) {
    let rows = x.x.nrows();
    let Some(all) = folds.iter().cloned().reduce(|a, b| a.plus(&b)) else { return (Fit::default(), 0.0) };
    let (mut measured, mut bias, mut sse_cooling, mut sse_both) = (0.0, 0.0, 0.0, 0.0);
    for (fold, (from, to)) in folds.iter().zip(blocks(rows)) {
        let rest = all.minus(fold);
        let weights: Vec<Vec<f64>> = (0..metered.len()).map(|o| rest.ridge_one(chosen[o].strength, o)).collect();
        for i in from..to {
            let (mut cooling, mut both, mut seen) = (0.0, 0.0, 0.0);
            for (o, &m) in metered.iter().enumerate() {
                let scaled: f64 = x.x.row(i).iter().zip(&weights[o]).map(|(a, b)| a * b).sum();
                let error = (scaled * y.deviation[o] + y.mean[o]).max(0.0) - y_raw[[i, o]];
                both += error;
                if binding.boundaries[m] == MeterBoundary::Cooling {
                    cooling += error;
                    seen += y_raw[[i, o]];
                }
            }
            measured += seen;
            bias += cooling;
            sse_cooling += cooling * cooling;
            sse_both += both * both;
        }
    }
    let (n, mean) = (rows as f64, (measured / rows as f64).max(1e-6));
    let fit = Fit { cv_rmse_pct: 100.0 * (sse_cooling / n).sqrt() / mean, nmbe_pct: 100.0 * bias / n / mean, rows };
    (fit, (sse_both / n).sqrt())
}
