//! A plant's past as rows to learn from: out of the store, or out of a Parquet file.
//!
//! A file has the columns that `store export` writes: `point` (its path), `at_ms` or `time`, `value`, and where there are any
//! `unit` and `quality`.
//! Invariants: a value holds for at most two steps; distrusted values, and those of a unit that is not known or measures something
//! else than their point, are left out and counted; at most [`ROWS_MAX`] rows, the newest.

use crate::plant::identified::Row;
use crate::plant::rows::RowPlan;
use crate::reading::PointId;
use crate::site::{Catalogue, SiteFile};
use crate::store::exchange::{Intake, Sample, import_parquet};
use crate::store::{Embedded, Store};
use crate::time::{Span, Timestamp};
use crate::units::{Kind, Unit};
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

/// First and last day that the store has rows of a site of.
pub(super) fn days(store: &Embedded, site: &str, catalogue: &Catalogue) -> Result<Option<(Timestamp, Timestamp)>, String> {
    let mut days = store.days(site).map_err(|e| e.to_string())?;
    if !catalogue.is_empty() {
        days.extend(store.hot_days(site).map_err(|e| e.to_string())?);
    }
    days.sort();
    Ok(days.first().and_then(|d| Timestamp::parse(d)).zip(days.last().and_then(|d| Timestamp::parse(d))))
}

/// Rows of a site from the store, since an instant (all of them where none is given), and the plan that names their parts.
///
/// # Errors
/// The store cannot be read, or a part of the site file selects no stored point.
pub fn from_store(store: &Embedded, site: &SiteFile, since: Option<Timestamp>) -> Result<(RowPlan, Vec<Row>), String> {
    let id = &site.site.id;
    let catalogue = store.catalogue(id).map_err(|e| e.to_string())?;
    let plan = RowPlan::new(site, &catalogue);
    let Some((first, last)) = days(store, id, &catalogue)? else { return Ok((plan, vec![])) };
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

/// Values of a file by the path of their points and by their unit, as it is written: what it says is known with the point.
#[derive(Debug, Default)]
pub struct HistoryFile {
    values: HashMap<String, BTreeMap<String, Vec<(Timestamp, f64)>>>,
    refused: u64,
}

/// How to read a unit at a point of that kind; none where it is not known, or measures something else. Without a unit, or with
/// the symbol that an export writes, values are canonical.
fn unit_at(kind: Kind, text: &str) -> Option<Unit> {
    if text.is_empty() || text == kind.unit() {
        return Some(Unit::plain(kind));
    }
    Unit::parse(text).filter(|u| u.kind == kind)
}

impl Intake for HistoryFile {
    fn take(&mut self, sample: Sample) -> Result<(), String> {
        match sample.quality.usable() && sample.value.is_finite() {
            true => self.values.entry(sample.path).or_default().entry(sample.unit).or_default().push((sample.at.at, sample.value)),
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
        if history.refused > 0 {
            tracing::warn!("{name}: {} rows refused or distrusted", history.refused);
        }
        Ok(history)
    }

    /// Rows of a site, once its points are known.
    pub fn rows(&self, site: &SiteFile, catalogue: &Catalogue) -> Vec<Row> {
        let plan = RowPlan::new(site, catalogue);
        let tick = site.control.tick();
        let mut values: HashMap<PointId, Steps> = HashMap::new();
        for point in plan.points().collect::<BTreeSet<_>>() {
            let Some(known) = catalogue.get(point) else { continue };
            let Some(series) = self.values.get(&known.path) else { continue };
            let mut sums: BTreeMap<Timestamp, (f64, f64)> = BTreeMap::new();
            for (text, rows) in series {
                let Some(unit) = unit_at(known.kind, text) else {
                    let (path, kind, n) = (&known.path, known.kind, rows.len());
                    tracing::warn!("--history: {path} measures {kind:?}, and unit {text:?} is none of it that is known: {n} rows left out");
                    continue;
                };
                for (at, v) in rows {
                    let s = sums.entry(at.floor(tick)).or_default();
                    *s = (s.0 + unit.canonical(*v), s.1 + 1.0);
                }
            }
            values.insert(point, sums.into_iter().map(|(t, (sum, n))| (t, sum / n)).collect());
        }
        build(&plan, tick, &values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_read_as_one_of_its_point_or_not_at_all() {
        let read = |kind, text: &str| unit_at(kind, text).map(|u| u.canonical(1.0));
        assert_eq!(read(Kind::Power, "MW"), Some(1000.0));
        assert_eq!(read(Kind::Power, ""), Some(1.0));
        assert_eq!((read(Kind::Power, "furlong"), read(Kind::Power, "°C")), (None, None));
        // What an export writes comes back as it was, also where the same symbol means something else elsewhere.
        assert_eq!((read(Kind::TemperatureDifference, "K"), read(Kind::AirFlow, "m³/h")), (Some(1.0), Some(1.0)));
        assert_eq!(read(Kind::State, "state"), Some(1.0));
    }
}
