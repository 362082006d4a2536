//! What the linear model sees: one definition, two ways to compute it.
//!
//! [`Table`] makes all rows and all horizons in one lazy polars pass (training); [`FeatureRow`] makes one row in a few
//! microseconds (prediction). Both follow [`Spec::names`]; `tests/it/forecast.rs` holds them equal.
//!
//! All load features but `level` are differences from the load now, so that the model learns changes and a plant that grew is
//! no surprise. Missing values: a training row with any missing feature is dropped; at prediction a missing feature is
//! set to its training mean (see `linear`), and with more than a quarter missing the forecast falls back.

use super::{ForecastError, Series, WeatherSeries};
use crate::time::{Span, Timestamp};
use polars::prelude::*;
use serde::{Deserialize, Serialize};
use std::f64::consts::TAU;

/// Horizons that are forecast, minutes.
pub const HORIZONS_MIN: [i64; 7] = [5, 15, 30, 60, 120, 240, 360];
const LAGS_MIN: [i64; 6] = [5, 10, 15, 30, 60, 120];
const MEANS_MIN: [i64; 4] = [15, 30, 60, 240];
/// Window of the spread, the least and the greatest value.
const SPREAD_MIN: i64 = 60;
/// Shortest training series for features of the time of day and of the day before, and of the week.
const DAYS_NEEDED: Span = Span::hours(72);
const WEEK_NEEDS: Span = Span::hours(24 * 14);
const DAY: Span = Span::hours(24);

/// Which features a model has, in order. Follows from the step and the length of the training series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub step: Span,
    /// Time of day: on less than three days its shape would be a fit to chance.
    pub day: bool,
    pub yesterday: bool,
    pub week: bool,
    pub weather: bool,
}

impl Spec {
    /// The features that `rows` rows of `step` support.
    pub fn new(step: Span, rows: usize, weather: bool) -> Result<Spec, ForecastError> {
        let spec = Spec { step, day: false, yesterday: false, week: false, weather };
        if step.0 <= 0 || spec.horizons().is_empty() {
            return Err(ForecastError::Step(step));
        }
        let length = Span(step.0.saturating_mul(rows as i64));
        let day = length >= DAYS_NEEDED;
        Ok(Spec { day, yesterday: day && DAY.0 % step.0 == 0, week: length >= WEEK_NEEDS, ..spec })
    }

    fn rows(&self, minutes: i64) -> Option<usize> {
        let span = Span::minutes(minutes).0;
        (self.step.0 > 0 && span % self.step.0 == 0).then(|| (span / self.step.0) as usize).filter(|n| *n > 0)
    }

    /// Horizons that are whole numbers of steps, as (span, rows).
    pub fn horizons(&self) -> Vec<(Span, usize)> {
        HORIZONS_MIN.iter().filter_map(|m| Some((Span::minutes(*m), self.rows(*m)?))).collect()
    }

    fn lags(&self) -> Vec<(i64, usize)> {
        LAGS_MIN.iter().filter_map(|m| Some((*m, self.rows(*m)?))).collect()
    }

    fn means(&self) -> Vec<(i64, usize)> {
        MEANS_MIN.iter().filter_map(|m| Some((*m, self.rows(*m)?))).filter(|(_, n)| *n >= 2).collect()
    }

    /// Rows of the spread's window, and the distance of its samples (every 5 min where the step divides it).
    fn spread(&self) -> Option<(usize, usize)> {
        let n = self.rows(SPREAD_MIN).filter(|n| *n >= 3)?;
        Some((n, self.rows(5).filter(|s| n / s >= 3).unwrap_or(1)))
    }

    /// Rows of a day.
    pub fn day_rows(&self) -> usize {
        (DAY.0 / self.step.0.max(1)) as usize
    }

    /// Names of the features, in order.
    pub fn names(&self) -> Vec<String> {
        let mut names = vec!["level".to_owned()];
        names.extend(self.lags().iter().map(|(m, _)| format!("change_since_{m}min")));
        names.extend(self.means().iter().map(|(m, _)| format!("mean_{m}min_less_level")));
        if self.spread().is_some() {
            names.extend(["std", "min", "max"].map(|s| format!("{s}_{SPREAD_MIN}min")));
        }
        if self.day {
            names.extend(["sin_day", "cos_day", "sin_half_day", "cos_half_day"].map(String::from));
        }
        if self.week {
            names.extend(["sin_week", "cos_week"].map(String::from));
        }
        if self.weather {
            names.extend(["dry_bulb_c", "wet_bulb_c"].map(String::from));
        }
        if self.yesterday {
            names.push("yesterday_less_level".into());
            names.extend(self.horizons().iter().map(|(h, _)| format!("yesterday_change_{}min", h.0 / 60_000)));
        }
        names
    }
}

/// Harmonics of the time of day and of the week (UTC), where the spec has them.
fn harmonics(at: Timestamp, spec: &Spec) -> Vec<f64> {
    let mut out = Vec::with_capacity(6);
    if spec.day {
        let day = TAU * at.hour_of_day() / 24.0;
        out.extend([day.sin(), day.cos(), (2.0 * day).sin(), (2.0 * day).cos()]);
    }
    if spec.week {
        let w = TAU * at.0.rem_euclid(7 * DAY.0) as f64 / (7 * DAY.0) as f64;
        out.extend([w.sin(), w.cos()]);
    }
    out
}

/// All rows of one target: features by column, and the change from now to each horizon. NaN = missing.
pub struct Table {
    pub names: Vec<String>,
    pub columns: Vec<Vec<f64>>,
    /// One column per horizon of the spec.
    pub changes: Vec<Vec<f64>>,
}

impl Table {
    /// One lazy pass over the series for all features and all horizons.
    pub fn new(spec: &Spec, target: &str, series: &Series, weather: Option<&WeatherSeries>) -> Result<Table, ForecastError> {
        let fail = |e: PolarsError| ForecastError::Features { target: target.to_owned(), why: e.to_string() };
        let n = series.values.len();
        let some = |v: f64| v.is_finite().then_some(v);
        let load: Vec<Option<f64>> = series.values.iter().map(|v| some(*v)).collect();
        let mut input = vec![Column::new("y".into(), load)];
        // polars' trigonometry is a feature that this program does not build; the clock columns are made here.
        let clock: Vec<Vec<f64>> = (0..n).map(|k| harmonics(series.time(k), spec)).collect();
        let clock_names: Vec<String> = spec.names().into_iter().filter(|s| s.starts_with("sin_") || s.starts_with("cos_")).collect();
        for (c, name) in clock_names.iter().enumerate() {
            input.push(Column::new(name.as_str().into(), clock.iter().map(|r| r[c]).collect::<Vec<f64>>()));
        }
        if spec.weather {
            let on_grid = |pick: fn(&WeatherSeries) -> &Series| -> Vec<Option<f64>> {
                (0..n).map(|k| weather.and_then(|w| some(pick(w).at(series.time(k))))).collect()
            };
            input.push(Column::new("dry_bulb_c".into(), on_grid(|w| &w.dry_bulb_c)));
            input.push(Column::new("wet_bulb_c".into(), on_grid(|w| &w.wet_bulb_c)));
        }
        let y = || col("y");
        let ago = |rows: usize| col("y").shift(lit(rows as i64));
        let roll = |n: usize| RollingOptionsFixedWindow { window_size: n, min_periods: n, ..Default::default() };
        let mut exprs = vec![y().alias("level")];
        for (m, k) in spec.lags() {
            exprs.push((y() - ago(k)).alias(format!("change_since_{m}min")));
        }
        for (m, k) in spec.means() {
            exprs.push((y().rolling_mean(roll(k)) - y()).alias(format!("mean_{m}min_less_level")));
        }
        if let Some((k, apart)) = spec.spread() {
            // Written out over samples: a running variance loses digits where the load stands still.
            let samples: Vec<usize> = (0..k).step_by(apart).collect();
            let count = samples.len() as f64;
            let sum = |parts: Vec<Expr>| parts.into_iter().reduce(|a, b| a + b).unwrap_or(lit(0.0));
            let mean = sum(samples.iter().map(|s| y() - ago(*s)).collect()) / lit(count);
            let square = |e: Expr| e.clone() * e;
            let var = sum(samples.iter().map(|s| square(y() - ago(*s) - mean.clone())).collect()) / lit(count);
            exprs.push(var.sqrt().alias(format!("std_{SPREAD_MIN}min")));
            exprs.push((y().rolling_min(roll(k)) - y()).alias(format!("min_{SPREAD_MIN}min")));
            exprs.push((y().rolling_max(roll(k)) - y()).alias(format!("max_{SPREAD_MIN}min")));
        }
        if spec.yesterday {
            let day = spec.day_rows();
            exprs.push((ago(day) - y()).alias("yesterday_less_level"));
            for (h, k) in spec.horizons() {
                exprs.push((ago(day - k) - ago(day)).alias(format!("yesterday_change_{}min", h.0 / 60_000)));
            }
        }
        for (h, k) in spec.horizons() {
            exprs.push((y().shift(lit(-(k as i64))) - y()).alias(format!("ahead_{}", h.0)));
        }
        let frame = DataFrame::new(input).map_err(fail)?.lazy().with_columns(exprs).collect().map_err(fail)?;
        let column = |name: &str| -> Result<Vec<f64>, ForecastError> {
            let values = frame.column(name).and_then(|c| c.as_materialized_series().f64().cloned()).map_err(fail)?;
            Ok(values.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect())
        };
        let names = spec.names();
        let columns = names.iter().map(|n| column(n)).collect::<Result<_, _>>()?;
        let changes = spec.horizons().iter().map(|(h, _)| column(&format!("ahead_{}", h.0))).collect::<Result<_, _>>()?;
        Ok(Table { names, columns, changes })
    }

    /// Features of row `k`; `None` where any is missing.
    pub fn complete(&self, k: usize) -> Option<Vec<f64>> {
        let row: Vec<f64> = self.columns.iter().map(|c| c.get(k).copied().unwrap_or(f64::NAN)).collect();
        row.iter().all(|v| v.is_finite()).then_some(row)
    }
}

/// One row at prediction time.
pub struct FeatureRow;

impl FeatureRow {
    /// Features at row `k` of the series; NaN = missing. Uses no row after `k`.
    pub fn compute(spec: &Spec, series: &Series, k: usize, weather: Option<&WeatherSeries>, out: &mut Vec<f64>) {
        out.clear();
        let k = k as i64;
        let y = series.get(k);
        let ago = |rows: usize| series.get(k - rows as i64);
        out.push(y);
        out.extend(spec.lags().iter().map(|(_, n)| y - ago(*n)));
        for (_, n) in spec.means() {
            out.push((0..n).rev().map(ago).sum::<f64>() / n as f64 - y);
        }
        if let Some((n, apart)) = spec.spread() {
            let count = n.div_ceil(apart) as f64;
            let mean = (0..n).step_by(apart).map(|s| y - ago(s)).sum::<f64>() / count;
            let var = (0..n).step_by(apart).map(|s| (y - ago(s) - mean).powi(2)).sum::<f64>() / count;
            let fold = |f: fn(f64, f64) -> f64| (0..n).map(ago).reduce(|a, b| if a.is_nan() || b.is_nan() { f64::NAN } else { f(a, b) });
            out.push(var.sqrt());
            out.push(fold(f64::min).unwrap_or(f64::NAN) - y);
            out.push(fold(f64::max).unwrap_or(f64::NAN) - y);
        }
        let at = series.time(k.max(0) as usize);
        out.extend(harmonics(at, spec));
        if spec.weather {
            out.push(weather.map_or(f64::NAN, |w| w.dry_bulb_c.at(at)));
            out.push(weather.map_or(f64::NAN, |w| w.wet_bulb_c.at(at)));
        }
        if spec.yesterday {
            let day = spec.day_rows();
            out.push(ago(day) - y);
            for (_, h) in spec.horizons() {
                out.push(ago(day - h) - ago(day));
            }
        }
    }
}
