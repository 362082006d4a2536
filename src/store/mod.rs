//! Time series on disk.
//!
//! Words: *hot* rows are in the key-value store; a *sealed* day is in Parquet files of one site and UTC day; a *step* is
//! what is left of the rows of some minutes (mean, min, max, count); a *record* is a small JSON document filed by kind, site, time and identifier (recommendations, ledger, audit).
//! Invariants: what `append` has returned for is in the operating system's hands and survives the death of the process;
//! what `sync` has returned for survives a loss of power; a (point, timestamp) is one row, the first that came,
//! timestamps counted to the nanosecond; point
//! numbers are stable within a data directory; only one process has a directory open.
//! Absent: no clock, no thread of ours (the key-value store has its own workers).

mod codec;
mod copy;
mod embedded;
mod error;
pub mod exchange;
mod head;
mod hot;
mod keys;
mod read;
mod retain;
mod row;
mod seal;
mod sealed;
mod verify;

pub use copy::{Frozen, build, pass};
pub use embedded::{Embedded, FORMAT, free_bytes};
pub use error::StoreError;
pub use retain::{Expired, Keep};
pub use row::Row;
pub use verify::DayReport;

use crate::reading::{PointId, Quality, Reading};
use crate::site::Catalogue;
use crate::time::{Span, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;

/// What an append did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    pub stored: u64,
    /// Rows that were there already: the first stays.
    pub duplicates: u64,
}

/// One step of a downsampled series; only steps that have data are there.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Step {
    /// Start of the step.
    pub at: Timestamp,
    /// Over the rows that have a number.
    pub mean: f64,
    pub min: f64,
    pub max: f64,
    /// Rows that have a number.
    pub count: u32,
    /// All marks of the step's rows together.
    pub quality: Quality,
}

/// One stored record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub at: Timestamp,
    pub id: String,
    pub json: Vec<u8>,
}

/// Sizes and counts, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreStats {
    /// Rows appended since the store was opened.
    pub stored: u64,
    pub duplicates: u64,
    /// Rows in memory that wait for their chunks; all are in the log too.
    pub head_rows: u64,
    /// Bytes on disk: hot rows, records and log together; sealed files.
    pub hot_bytes: u64,
    pub sealed_bytes: u64,
    pub sealed_days: u64,
    /// Bytes that the file system has left.
    pub free_bytes: u64,
}

/// Where readings and records are kept. All calls may block on the disk.
pub trait Store: Send + Sync {
    /// Files readings; see the module's invariants. The site's catalogue must have been put before.
    fn append(&self, site: &str, readings: &[Reading]) -> Result<Appended, StoreError>;
    /// Makes everything appended and put so far survive a loss of power.
    fn sync(&self) -> Result<(), StoreError>;
    /// The first `limit` rows with `from <= at < to`, in time order.
    fn scan(&self, site: &str, point: PointId, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<Row>, StoreError>;
    /// Rows with `from <= at < to` in steps of `step`, aligned to the epoch. At most [`STEPS_MAX`] steps.
    fn series(&self, site: &str, point: PointId, from: Timestamp, to: Timestamp, step: Span) -> Result<Vec<Step>, StoreError>;
    /// Streams the rows of points with `from <= at < to`: `f` gets some rows of one point at a time, each point's in order
    /// of time, until it says false. `f` must not write to the store.
    fn rows_each(
        &self,
        site: &str,
        points: &[PointId],
        from: Timestamp,
        to: Timestamp,
        f: &mut dyn FnMut(PointId, &[Row]) -> bool,
    ) -> Result<(), StoreError>;
    /// Streams the steps of points, as [`Store::rows_each`] streams rows; made of ready-made steps where there are any.
    fn series_each(
        &self,
        site: &str,
        points: &[PointId],
        from: Timestamp,
        to: Timestamp,
        step: Span,
        f: &mut dyn FnMut(PointId, &[Step]) -> bool,
    ) -> Result<(), StoreError>;
    /// Files a site's points. Cheap where nothing changed.
    fn put_catalogue(&self, site: &str, catalogue: &Catalogue) -> Result<(), StoreError>;
    /// The points of a site with the numbers that its rows are filed by; empty for a new site.
    fn catalogue(&self, site: &str) -> Result<Catalogue, StoreError>;
    fn put_record(&self, kind: &str, site: &str, at: Timestamp, id: &str, json: &[u8]) -> Result<(), StoreError>;
    /// The newest `limit` records with `from <= at < to`, in time order.
    fn records(&self, kind: &str, site: &str, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<Record>, StoreError>;
    /// Writes a UTC day (`2026-07-14`) to Parquet and removes its hot rows. Returns the rows sealed.
    fn seal(&self, site: &str, day: &str) -> Result<u64, StoreError>;
    /// Seals every day before the one of `before` that has hot rows, also one with late rows again. Returns day and rows.
    fn seal_before(&self, site: &str, before: Timestamp) -> Result<Vec<(String, u64)>, StoreError>;
    /// Drops what is older than its class is kept, seen from the site's clock. `meters`: the points behind the KPIs.
    fn expire(&self, site: &str, now: Timestamp, keep: &Keep, meters: &BTreeSet<PointId>) -> Result<Expired, StoreError>;
    /// Sealed days of a site that have raw rows, in order.
    fn days(&self, site: &str) -> Result<Vec<String>, StoreError>;
    fn stats(&self) -> StoreStats;
}

/// Steps that one series may have.
pub const STEPS_MAX: usize = 100_000;

/// Folds rows and finer steps that come in order of time into steps.
pub(crate) struct Steps {
    step: Span,
    done: Vec<Step>,
    sum: f64,
}

impl Steps {
    pub fn new(step: Span) -> Steps {
        Steps { step: Span(step.0.max(1)), done: Vec::new(), sum: 0.0 }
    }

    fn add(&mut self, at: Timestamp, sum: f64, min: f64, max: f64, count: u32, quality: Quality) {
        let at = at.floor(self.step);
        if self.done.last().is_none_or(|s| s.at != at) {
            self.sum = 0.0;
            self.done.push(Step { at, mean: f64::NAN, min: f64::NAN, max: f64::NAN, count: 0, quality: Quality::GOOD });
        }
        let Some(s) = self.done.last_mut() else { return };
        s.quality = s.quality.with(quality);
        if count > 0 {
            self.sum += sum;
            s.count += count;
            s.mean = self.sum / f64::from(s.count);
            s.min = s.min.min(min);
            s.max = s.max.max(max);
        }
    }

    pub fn push(&mut self, row: Row) {
        let known = !row.value.is_nan();
        self.add(row.at, if known { row.value } else { 0.0 }, row.value, row.value, u32::from(known), row.quality);
    }

    /// Takes in a finer step.
    pub fn push_step(&mut self, s: &Step) {
        let sum = if s.count > 0 { s.mean * f64::from(s.count) } else { 0.0 };
        self.add(s.at, sum, s.min, s.max, s.count, s.quality);
    }

    /// Takes out the steps that are over: all but the last.
    pub fn drain(&mut self, out: &mut Vec<Step>) {
        let over = self.done.len().saturating_sub(1);
        out.extend(self.done.drain(..over));
    }

    pub fn finish(self) -> Vec<Step> {
        self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_fold_numbers_and_keep_every_mark() {
        let mut steps = Steps::new(Span(10));
        for (at, value, quality) in
            [(0, 1.0, Quality::GOOD), (9, 3.0, Quality::LATE), (10, f64::NAN, Quality::NO_VALUE), (35, -2.0, Quality::GOOD)]
        {
            steps.push(Row { at: Timestamp(at), ns: 0, value, quality });
        }
        let s = steps.finish();
        assert_eq!(
            s.iter().map(|s| (s.at.0, s.count, s.quality)).collect::<Vec<_>>(),
            [(0, 2, Quality::LATE), (10, 0, Quality::NO_VALUE), (30, 1, Quality::GOOD)]
        );
        assert_eq!((s[0].mean, s[0].min, s[0].max), (2.0, 1.0, 3.0));
        assert!(s[1].mean.is_nan());
    }
}
