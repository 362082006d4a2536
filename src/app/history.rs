//! A plant's past as rows to learn from: out of the store, or out of a Parquet file.
//!
//! A file has the columns that `store export` writes: `point` (its path), `at_ms` or `time`, `value`, and where there are any
//! `unit` and `quality`.
//! Invariants: a value holds for at most two steps; distrusted values are left out; at most [`ROWS_MAX`] rows, the newest.

use crate::plant::identified::Row;
use crate::plant::rows::RowPlan;
use crate::reading::PointId;
use crate::site::{Catalogue, SiteFile};
use crate::store::exchange::{Intake, Sample, import_parquet};
use crate::store::{Embedded, Store};
use crate::time::{Span, Timestamp};
use crate::units::Unit;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

/// Rows that are built at most: a month of five minutes.
pub const ROWS_MAX: usize = 8640;

/// Values of one point by step.
type Steps = BTreeMap<Timestamp, f64>;

/// Builds rows of one tick each from stepwise values of points.
fn build(plan: &RowPlan, tick: Span, values: &HashMap<PointId, Steps>) -> Vec<Row> {
    let times: BTreeSet<Timestamp> = values.values().flat_map(|s| s.keys().copied()).collect();
    let skip = times.len().saturating_sub(ROWS_MAX);
    let at_or_before = |p: PointId, t: Timestamp| -> f64 {
        let newest = values.get(&p).and_then(|s| s.range(..=t).next_back());
        newest.filter(|(at, _)| (t - **at).0 <= 2 * tick.0).map_or(f64::NAN, |(_, v)| *v)
    };
    times.into_iter().skip(skip).map(|t| plan.row(t, |k| plan.value(k, |p| at_or_before(p, t)))).collect()
}

/// Rows of a site from the store, since an instant (all of them where none is given), and the plan that names their parts.
///
/// # Errors
/// The store cannot be read, or a part of the site file selects no stored point.
pub fn from_store(store: &Embedded, site: &SiteFile, since: Option<Timestamp>) -> Result<(RowPlan, Vec<Row>), String> {
    let id = &site.site.id;
    let catalogue = store.catalogue(id).map_err(|e| e.to_string())?;
    let plan = RowPlan::new(site, &catalogue);
    let mut days = store.days(id).map_err(|e| e.to_string())?;
    if !catalogue.is_empty() {
        days.extend(store.hot_days(id).map_err(|e| e.to_string())?);
    }
    days.sort();
    let (Some(first), Some(last)) = (days.first().and_then(|d| Timestamp::parse(d)), days.last().and_then(|d| Timestamp::parse(d))) else {
        return Ok((plan, vec![]));
    };
    let tick = site.control.tick();
    let to = last + Span::hours(24);
    let from = since.unwrap_or(first).max(first).max(to - Span(tick.0 * ROWS_MAX as i64));
    let mut values: HashMap<PointId, Steps> = HashMap::new();
    for point in plan.points().collect::<BTreeSet<_>>() {
        let steps = store.series(id, point, from, to, tick).map_err(|e| e.to_string())?;
        let good = steps.into_iter().filter(|s| s.quality.usable() && s.mean.is_finite());
        values.insert(point, good.map(|s| (s.at, s.mean)).collect());
    }
    Ok((plan.clone(), build(&plan, tick, &values)))
}

/// Values of a file by the path of their points.
#[derive(Debug, Default)]
pub struct HistoryFile {
    values: HashMap<String, Vec<(Timestamp, f64)>>,
    refused: u64,
}

impl Intake for HistoryFile {
    fn take(&mut self, sample: Sample) -> Result<(), String> {
        let unit = if sample.unit.is_empty() { None } else { Unit::parse(&sample.unit) };
        let value = unit.map_or(sample.value, |u| u.canonical(sample.value));
        match sample.quality.usable() && value.is_finite() {
            true => self.values.entry(sample.path).or_default().push((sample.at.at, value)),
            false => self.refused += 1,
        }
        Ok(())
    }
    fn refuse(&mut self, _: u64, _: String) {
        self.refused += 1;
    }
}

impl HistoryFile {
    /// Reads a file.
    ///
    /// # Errors
    /// It cannot be read, misses a column, or has no usable value; the error names it.
    pub fn load(path: &Path) -> Result<HistoryFile, String> {
        let name = path.display();
        let file = std::fs::File::open(path).map_err(|e| format!("{name}: {e}; --history names a Parquet file"))?;
        let mut history = HistoryFile::default();
        import_parquet(file, &mut history).map_err(|e| format!("{name}: {e}"))?;
        if history.values.is_empty() {
            return Err(format!("{name}: no usable value in it ({} rows refused or distrusted)", history.refused));
        }
        history.values.values_mut().for_each(|v| v.sort_by_key(|r| r.0));
        Ok(history)
    }

    /// Rows of a site, once its points are known.
    pub fn rows(&self, site: &SiteFile, catalogue: &Catalogue) -> Vec<Row> {
        let plan = RowPlan::new(site, catalogue);
        let tick = site.control.tick();
        let mut values: HashMap<PointId, Steps> = HashMap::new();
        for point in plan.points().collect::<BTreeSet<_>>() {
            let Some(series) = catalogue.get(point).and_then(|p| self.values.get(&p.path)) else { continue };
            let mut sums: BTreeMap<Timestamp, (f64, f64)> = BTreeMap::new();
            for (at, v) in series.iter().filter(|r| r.1.is_finite()) {
                let s = sums.entry(at.floor(tick)).or_default();
                *s = (s.0 + v, s.1 + 1.0);
            }
            values.insert(point, sums.into_iter().map(|(t, (sum, n))| (t, sum / n)).collect());
        }
        build(&plan, tick, &values)
    }
}
