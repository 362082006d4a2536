//! Time series on disk.
//!
//! Words: *hot* rows are in the key-value store; a *sealed* day is a zstd Parquet file of one site and UTC day; a
//! *record* is a small JSON document filed by kind, site, time and identifier (recommendations, ledger, audit).
//! Invariants: what `append` has returned for is in the operating system's hands and survives the death of the process;
//! what `sync` has returned for survives a loss of power; a (point, timestamp) is one row, the first that came; point
//! numbers are stable within a data directory; only one process has a directory open.
//! Absent: no clock, no thread of ours (the key-value store has its own workers), no retention policy.

mod embedded;
mod error;
mod keys;
mod sealed;

pub use embedded::Embedded;
pub use error::StoreError;

use crate::reading::{PointId, Quality, Reading};
use crate::site::Catalogue;
use crate::time::{Span, Timestamp};
use serde::Serialize;

/// One stored value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Row {
    pub at: Timestamp,
    /// Canonical unit; NaN with `NO_VALUE`.
    pub value: f64,
    pub quality: Quality,
}

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
    /// Bytes on disk: hot rows, records and log together; sealed files.
    pub hot_bytes: u64,
    pub sealed_bytes: u64,
    pub sealed_days: u64,
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
    /// Files a site's points. Cheap where nothing changed.
    fn put_catalogue(&self, site: &str, catalogue: &Catalogue) -> Result<(), StoreError>;
    /// The points of a site with the numbers that its rows are filed by; empty for a new site.
    fn catalogue(&self, site: &str) -> Result<Catalogue, StoreError>;
    fn put_record(&self, kind: &str, site: &str, at: Timestamp, id: &str, json: &[u8]) -> Result<(), StoreError>;
    /// The newest `limit` records with `from <= at < to`, in time order.
    fn records(&self, kind: &str, site: &str, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<Record>, StoreError>;
    /// Writes a UTC day (`2026-07-14`) to Parquet and removes its hot rows. Returns the rows sealed.
    fn seal(&self, site: &str, day: &str) -> Result<u64, StoreError>;
    /// Sealed days of a site, in order.
    fn days(&self, site: &str) -> Result<Vec<String>, StoreError>;
    fn stats(&self) -> StoreStats;
}

/// Steps that one series may have.
pub const STEPS_MAX: usize = 100_000;

/// Folds rows that come in time order into steps.
pub(crate) struct Steps {
    step: Span,
    done: Vec<Step>,
    sum: f64,
}

impl Steps {
    pub fn new(step: Span) -> Steps {
        Steps { step: Span(step.0.max(1)), done: Vec::new(), sum: 0.0 }
    }

    /// False where the series is full.
    pub fn push(&mut self, row: Row) -> bool {
        let at = row.at.floor(self.step);
        if self.done.last().is_none_or(|s| s.at != at) {
            if self.done.len() >= STEPS_MAX {
                return false;
            }
            self.sum = 0.0;
            self.done.push(Step { at, mean: f64::NAN, min: f64::NAN, max: f64::NAN, count: 0, quality: Quality::GOOD });
        }
        if let Some(s) = self.done.last_mut() {
            s.quality = s.quality.with(row.quality);
            if !row.value.is_nan() {
                self.sum += row.value;
                s.count += 1;
                s.mean = self.sum / f64::from(s.count);
                s.min = s.min.min(row.value);
                s.max = s.max.max(row.value);
            }
        }
        true
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
            assert!(steps.push(Row { at: Timestamp(at), value, quality }));
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
