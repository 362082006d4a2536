//! Tables of features: all rows of all targets and horizons in one lazy polars pass.
//!
//! [`super::rows`] computes one row of the same in service; `tests/it/forecast.rs` holds them equal.

use super::calendar::Clock;
use super::rows::Known;
use super::series::Series;
use super::spec::{PROFILE_DAYS, Spec};
use super::{ForecastError, Plan};
use crate::time::Span;
use polars::prelude::*;

/// Targets per lazy pass: bounds the memory of a pass over many points.
const TARGETS_PER_PASS: usize = 8;

/// All rows of one target: features by column. NaN = missing.
pub struct Table {
    pub rows: usize,
    pub shared: Vec<Vec<f64>>,
    /// By horizon, then by column.
    pub own: Vec<Vec<Vec<f64>>>,
    inputs: usize,
    day: bool,
    week: bool,
}

impl Table {
    /// Tables of several targets on one grid. Nothing after a row is used in it but the calendar and the plans.
    pub fn many(
        spec: &Spec,
        clock: &Clock,
        loads: &[(&str, &Series)],
        inputs: &[&Series],
        plans: &[&dyn Plan],
    ) -> Result<Vec<Table>, ForecastError> {
        let mut out = Vec::with_capacity(loads.len());
        let calendar = match loads.first() {
            Some((_, first)) => calendar_columns(spec, clock, first),
            None => return Ok(out),
        };
        for chunk in loads.chunks(TARGETS_PER_PASS) {
            let (mut columns, mut staged, mut exprs) = (Vec::new(), Vec::new(), Vec::new());
            for (i, (_, load)) in chunk.iter().enumerate() {
                let y: Vec<Option<f64>> = load.values.iter().map(|v| v.is_finite().then_some(*v)).collect();
                columns.push(Column::new(format!("y{i}").into(), y));
                staged.extend(smoothed(spec, i));
                exprs.extend(expressions(spec, i));
            }
            let fail = |e: PolarsError| ForecastError::Features { target: chunk[0].0.to_owned(), why: e.to_string() };
            let frame = DataFrame::new(columns).map_err(fail)?.lazy().with_columns(staged).select(exprs).collect().map_err(fail)?;
            for (i, (name, load)) in chunk.iter().enumerate() {
                let known = Known { load, inputs, plans };
                out.push(
                    take(spec, &frame, i, &known, &calendar)
                        .map_err(|e| ForecastError::Features { target: (*name).to_owned(), why: e.to_string() })?,
                );
            }
        }
        Ok(out)
    }

    /// Table of one target.
    pub fn new(spec: &Spec, clock: &Clock, target: &str, known: &Known) -> Result<Table, ForecastError> {
        Table::many(spec, clock, &[(target, known.load)], known.inputs, known.plans)?.pop().ok_or(ForecastError::NoTargets)
    }

    /// Features of row `t` for horizon number `h`.
    pub fn row(&self, h: usize, t: usize, out: &mut Vec<f64>) {
        out.clear();
        out.extend(self.shared.iter().chain(&self.own[h]).map(|c| c[t]));
    }

    /// Is everything there that the naive and the peers' methods look back to: lags, windows, the day and the week
    /// before, inputs? Figures are of complete rows, so that all methods are judged on the same ones.
    pub fn complete(&self, h: usize, t: usize) -> bool {
        let own = &self.own[h];
        let [_, day, week, _] = self.naive(h, t);
        self.shared.iter().all(|c| c[t].is_finite())
            && (!self.day || day.is_finite())
            && (!self.week || week.is_finite())
            && (own.is_empty() || t < own[0].len())
    }

    /// What the naive methods say: no change, yesterday's, last week's, the mean day's value; as changes.
    pub fn naive(&self, h: usize, t: usize) -> [f64; 4] {
        naive(self.shared[0][t], self.day, self.week, |j| self.own[h][j][t])
    }

    /// Position of the inputs among the shared features.
    pub fn inputs(&self) -> (usize, usize) {
        (self.shared.len() - self.inputs, self.shared.len())
    }
}

/// Naive changes from a row's own features.
pub(super) fn naive(level: f64, day: bool, week: bool, own: impl Fn(usize) -> f64) -> [f64; 4] {
    let at = |is: bool, j: usize| if is { own(j) } else { f64::NAN };
    [if level.is_finite() { 0.0 } else { f64::NAN }, at(day, 0), at(week, 3), at(week, 6)]
}

fn roll(n: usize) -> RollingOptionsFixedWindow {
    RollingOptionsFixedWindow { window_size: n, min_periods: n, ..Default::default() }
}

/// What several horizons share of target number `i`: its smoothed form `around<i>`, and `days<i>_<n>`, its sum over the last `n` days at
/// this time of day, this row's among them.
fn smoothed(spec: &Spec, i: usize) -> Vec<Expr> {
    let y = || col(format!("y{i}"));
    let mut out = vec![y().rolling_mean(roll(2 * spec.around_rows() + 1)).alias(format!("around{i}"))];
    if spec.knows_week() {
        let mut counts: Vec<usize> = spec.horizons.iter().map(|h| days(spec.days_back(spec.rows(*h)))).collect();
        counts.sort_unstable();
        counts.dedup();
        for n in counts {
            let sum = (0..n as i64).map(|d| y().shift(lit(d * spec.day_rows() as i64))).reduce(|a, b| a + b);
            out.extend(sum.map(|s| s.alias(format!("days{i}_{n}"))));
        }
    }
    out
}

/// Days that the mean day is made of where the newest that is known lies `first` days back.
fn days(first: usize) -> usize {
    PROFILE_DAYS.max(first) + 1 - first
}

/// Lazy expressions of target number `i`, named `<i>_<number>`: shared ones, then those of each horizon.
fn expressions(spec: &Spec, i: usize) -> Vec<Expr> {
    let y = || col(format!("y{i}"));
    let ago = |rows: i64| y().shift(lit(rows));
    let step = || {
        let d = y() - ago(1);
        when(d.clone().gt(lit(0.0))).then(d.clone()).otherwise(lit(0.0) - d)
    };
    let mut out = vec![y()];
    out.extend(spec.lags().iter().map(|k| ago(*k as i64) - y()));
    for w in spec.windows() {
        out.push(y().rolling_mean(roll(w)) - y());
        out.push(step().rolling_mean(roll(w - 1)));
    }
    let day = spec.day_rows() as i64;
    let around = |back: i64, k: i64| col(format!("around{i}")).shift(lit(spec.around_ends(back as usize, k as usize) as i64)) - y();
    for h in &spec.horizons {
        let k = spec.rows(*h);
        let first = spec.days_back(k) as i64;
        let n = days(first as usize);
        let k = k as i64;
        if spec.knows_day() {
            out.extend([ago(day * first - k) - y(), ago(day * first - k) - ago(day * first), around(day * first, k)]);
        }
        if spec.knows_week() {
            let weeks = 7 * ((first + 6) / 7);
            out.extend([ago(day * weeks - k) - y(), ago(day * weeks - k) - ago(day * weeks), around(day * weeks, k)]);
            let sum = |rows: i64| col(format!("days{i}_{n}")).shift(lit(rows));
            out.push(sum(day * first - k) / lit(n as f64) - y());
            out.push((sum(day * first - k) - sum(day * first)) / lit(n as f64));
        }
    }
    out.into_iter().enumerate().map(|(j, e)| e.alias(format!("{i}_{j}"))).collect()
}

/// Calendar columns over all rows and as many more as the longest horizon needs.
fn calendar_columns(spec: &Spec, clock: &Clock, load: &Series) -> Vec<Vec<f64>> {
    let far = spec.horizons.last().map_or(0, |h| spec.rows(*h));
    let mut row = Vec::new();
    let mut out: Vec<Vec<f64>> = Vec::new();
    for t in 0..load.values.len() + far {
        row.clear();
        spec.calendar_row(clock.at(load.time(t)), &mut row);
        out.resize_with(row.len(), Vec::new);
        out.iter_mut().zip(&row).for_each(|(c, v)| c.push(*v));
    }
    out
}

fn take(spec: &Spec, frame: &DataFrame, i: usize, known: &Known, calendar: &[Vec<f64>]) -> PolarsResult<Table> {
    let n = known.load.values.len();
    let mut next = 0;
    let mut column = || -> PolarsResult<Vec<f64>> {
        let c = frame.column(&format!("{i}_{next}"))?.as_materialized_series().f64()?.clone();
        next += 1;
        Ok(c.into_iter().map(|v| v.unwrap_or(f64::NAN)).collect())
    };
    let own_count = if spec.knows_week() { 8 } else { 3 * usize::from(spec.knows_day()) };
    let mut shared: Vec<Vec<f64>> = (0..1 + spec.lags().len() + 2 * spec.windows().len()).map(|_| column()).collect::<Result<_, _>>()?;
    shared.extend(known.inputs.iter().map(|s| (0..n).map(|t| s.at(known.load.time(t))).collect()));
    let mut own = Vec::with_capacity(spec.horizons.len());
    for h in &spec.horizons {
        let k = spec.rows(*h);
        let mut columns: Vec<Vec<f64>> = (0..own_count).map(|_| column()).collect::<Result<_, _>>()?;
        columns.extend(calendar.iter().map(|c| c[k..k + n].to_vec()));
        for plan in known.plans {
            columns.push((0..n).map(|t| plan.change(known.load.time(t), Span(spec.step.0 * k as i64))).collect());
        }
        own.push(columns);
    }
    Ok(Table { rows: n, shared, own, inputs: known.inputs.len(), day: spec.knows_day(), week: spec.knows_week() })
}
