//! Training: strictly split in time.
//!
//! ```text
//! 0 ─────────── 60 % ────── 75 % ──────── 85 % ────── 100 %
//!   fit              choose      calibrate      score
//! ```
//! A row belongs to a block only if its instant and the instant that it forecasts both lie in it, so nothing of a later
//! block is seen from an earlier one. *choose* picks the penalty and the model in force (the linear one must beat the
//! better naive one by 1 %, on a block of at least six horizons), *calibrate* gives the errors that the bands are made of, *score* is only looked at.
//! The naive models are not fitted: their errors come from all rows before *score*. Where *calibrate* is too short for a
//! horizon, the errors of *choose* are used; where that is too short as well, persistence is in force.

use super::bands::Errors;
use super::features::{Spec, Table};
use super::forecaster::{Forecaster, Horizon, Kind, Model, Target};
use super::linear::{Linear, Said};
use super::{ForecastError, Series, WeatherSeries};
use crate::time::Span;
use rand::SeedableRng;
use rand::seq::index;
use rand_chacha::ChaCha8Rng;

/// Rows with a value below which nothing is trained.
const ROWS_MIN: usize = 48;
/// Fitted rows per feature, and rows of a block, below which the linear model is not tried.
const ROWS_PER_FEATURE: usize = 5;
const BLOCK_MIN: usize = 30;
/// Rows that one fit uses at most; a longer series is sampled with the seed.
const FIT_ROWS_MAX: usize = 12_000;
/// Penalties that are tried (on standardised rows), mostly ridge: lags are close to one another.
const PENALTIES: [f64; 3] = [0.003, 0.03, 0.3];
const L1_RATIO: f64 = 0.2;
/// Forecasts that do not overlap which the block of the choice must hold: rows of overlapping ones are one piece of
/// evidence told many times, and on a short block a ramp or two would make the choice.
const WINDOWS_MIN: usize = 6;
/// What the linear model must gain on the better naive one.
const EARN: f64 = 0.99;

/// Ends of the blocks, rows.
pub(super) struct Blocks {
    pub fit: usize,
    pub choose: usize,
    pub calibrate: usize,
}

impl Blocks {
    /// Shares of `rows`; with `keep` < 1 the rest is left for the score or the test.
    pub fn new(rows: usize, keep: f64) -> Blocks {
        let part = |share: f64| (rows as f64 * keep * share / 0.85) as usize;
        Blocks { fit: part(0.60), choose: part(0.75), calibrate: part(0.85) }
    }
}

/// Trains a forecaster on series of one grid (start, step, length). `name` is `<name>/<version>`.
///
/// Deterministic in its arguments. The score on the last 15 % is in [`Forecaster::score`].
pub fn train(name: &str, targets: &[(String, Series)], weather: Option<&WeatherSeries>, seed: u64) -> Result<Forecaster, ForecastError> {
    let rows = targets.first().map_or(0, |t| t.1.values.len());
    let blocks = Blocks::new(rows, 0.85);
    let mut forecaster = fit(name, targets, weather, seed, &blocks)?;
    forecaster.score = super::backtest::evaluate(&forecaster, targets, weather, blocks.calibrate);
    Ok(forecaster)
}

/// Fits on the blocks; looks at nothing after `blocks.calibrate`.
pub(super) fn fit(
    name: &str,
    targets: &[(String, Series)],
    weather: Option<&WeatherSeries>,
    seed: u64,
    blocks: &Blocks,
) -> Result<Forecaster, ForecastError> {
    let (_, first) = targets.first().ok_or(ForecastError::NoTargets)?;
    check_name(name)?;
    for (target, s) in targets {
        let grid = |what| ForecastError::Grid { target: target.clone(), what };
        if s.step != first.step {
            return Err(grid("step"));
        }
        if s.start != first.start || s.values.len() != first.values.len() {
            return Err(grid("start or length"));
        }
        if s.present() < ROWS_MIN {
            return Err(ForecastError::TooShort { target: target.clone(), rows: s.present(), need: ROWS_MIN });
        }
    }
    let spec = Spec::new(first.step, blocks.calibrate, weather.is_some())?;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut digest = blake3::Hasher::new();
    let mut out = Vec::with_capacity(targets.len());
    for (target, series) in targets {
        digest.update(target.as_bytes());
        for v in series.values.iter().take(blocks.calibrate) {
            digest.update(&v.to_bits().to_le_bytes());
        }
        let table = Table::new(&spec, target, series, weather)?;
        let spans = spec.horizons();
        let horizons = spans.iter().enumerate().map(|(h, (ahead, k))| horizon(&spec, &table, series, blocks, h, *ahead, *k, &mut rng));
        let known = || series.values.iter().take(blocks.calibrate).copied().filter(|v| v.is_finite());
        out.push(Target {
            name: target.clone(),
            longest_still_rows: longest_still(&series.values[..blocks.calibrate.min(series.values.len())]),
            floor: (known().fold(f64::INFINITY, f64::min) >= 0.0).then_some(0.0),
            horizons: horizons.collect(),
        });
    }
    let model = Model {
        format: super::card::FORMAT,
        name: name.to_owned(),
        seed,
        features: spec.names(),
        spec,
        trained_from: first.start,
        trained_to: first.time(blocks.calibrate),
        data_digest: digest.finalize().to_hex().to_string(),
        targets: out,
    };
    Ok(Forecaster::new(model, Vec::new()))
}

pub(super) fn check_name(name: &str) -> Result<(), ForecastError> {
    let good = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match name.split_once('/') {
        Some((a, b)) if good(a) && good(b) => Ok(()),
        _ => Err(ForecastError::Name(name.to_owned())),
    }
}

fn longest_still(values: &[f64]) -> usize {
    let (mut longest, mut run, mut before) = (0, 0, f64::NAN);
    for v in values {
        run = if *v == before { run + 1 } else { usize::from(v.is_finite()) };
        before = *v;
        longest = longest.max(run);
    }
    longest
}

/// Rows whose instant and forecast instant both lie in `[from, to)`.
fn block(from: usize, to: usize, ahead: usize) -> std::ops::Range<usize> {
    from..to.saturating_sub(ahead).max(from)
}

#[allow(clippy::too_many_arguments)]
fn horizon(spec: &Spec, table: &Table, series: &Series, blocks: &Blocks, h: usize, ahead: Span, k: usize, rng: &mut ChaCha8Rng) -> Horizon {
    let change = |t: usize| table.changes[h].get(t).copied().unwrap_or(f64::NAN);
    let day = spec.day_rows();
    let yesterday = |t: usize| (t + k).checked_sub(day).map_or(f64::NAN, |d| series.get(d as i64) - series.get(t as i64));
    let mean_abs = |errors: &[f64]| {
        let good: Vec<f64> = errors.iter().copied().filter(|e| e.is_finite()).collect();
        (good.len() >= BLOCK_MIN).then(|| good.iter().map(|e| e.abs()).sum::<f64>() / good.len() as f64)
    };
    let choose = block(blocks.fit, blocks.choose, k);
    let naive_mae = |said: &dyn Fn(usize) -> f64| mean_abs(&choose.clone().map(|t| change(t) - said(t)).collect::<Vec<_>>());
    let persistence_mae = naive_mae(&|_| 0.0);
    let yesterday_mae = naive_mae(&yesterday);
    let (naive, naive_best) = match (persistence_mae, yesterday_mae) {
        (Some(p), Some(y)) if y < EARN * p => (Kind::Yesterday, Some(y)),
        (p, _) => (Kind::Persistence, p),
    };
    let before_score = block(0, blocks.calibrate, k);
    let naive_errors = |said: &dyn Fn(usize) -> f64| Errors::new(before_score.clone().map(|t| change(t) - said(t)).collect());
    let mut out = Horizon {
        ahead,
        chosen: naive,
        naive,
        linear: None,
        errors: [Errors::default(), naive_errors(&|_| 0.0), naive_errors(&yesterday)],
    };

    let mut rows: Vec<usize> = block(0, blocks.fit, k).filter(|t| change(*t).is_finite()).collect();
    let mut complete: Vec<(usize, Vec<f64>)> = Vec::new();
    if rows.len() > FIT_ROWS_MAX {
        let mut picked = index::sample(rng, rows.len(), FIT_ROWS_MAX).into_vec();
        picked.sort_unstable();
        rows = picked.into_iter().map(|i| rows[i]).collect();
    }
    complete.extend(rows.into_iter().filter_map(|t| Some((t, table.complete(t)?))));
    let (times, x): (Vec<usize>, Vec<Vec<f64>>) = complete.into_iter().unzip();
    if x.len() < ROWS_PER_FEATURE * table.names.len() {
        return out;
    }
    let y: Vec<f64> = times.iter().map(|t| change(*t)).collect();
    let residuals = |model: &Linear, range: std::ops::Range<usize>| -> Vec<f64> {
        range
            .filter_map(|t| match model.say(&table.complete(t)?) {
                Said::Change(c) | Said::Faded { change: c, .. } => Some(change(t) - c),
                Said::Missing { .. } => None,
            })
            .filter(|e| e.is_finite())
            .collect()
    };
    let mut best: Option<(f64, Linear)> = None;
    for penalty in PENALTIES {
        let Some(model) = Linear::fit(&x, &y, penalty, L1_RATIO) else { continue };
        let Some(mae) = mean_abs(&residuals(&model, choose.clone())) else { continue };
        if best.as_ref().is_none_or(|(b, _)| mae < *b) {
            best = Some((mae, model));
        }
    }
    if let Some((mae, model)) = best {
        let held_out = residuals(&model, block(blocks.choose, blocks.calibrate, k));
        let held_out = if held_out.len() >= BLOCK_MIN { held_out } else { residuals(&model, choose.clone()) };
        out.errors[Kind::Linear as usize] = Errors::new(held_out);
        let enough = blocks.choose.saturating_sub(blocks.fit) >= WINDOWS_MIN * k;
        if enough && naive_best.is_some_and(|n| mae < EARN * n) {
            out.chosen = Kind::Linear;
        }
        out.linear = Some(model);
    }
    out
}
