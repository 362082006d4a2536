//! Rows as files of other tools: CSV and Parquet, in and out, in bounded memory.
//!
//! One row a reading: `at_ms` (epoch ms) with `ns` (nanoseconds within it) or `time` (RFC 3339), `point` (its path), `value`, and where there are any `unit`
//! and `quality` (the marks' number). Exported steps have `mean,min,max,count` instead of `value`.
//! Invariants: numbers leave so that they come back bit for bit; a row that cannot be read is refused with its place and
//! does not stop the others; what is exported can be imported.

mod csv_file;
mod parquet_file;

pub use csv_file::{CsvExport, import_csv};
pub use parquet_file::{ParquetExport, import_parquet};

use super::{Row, Step};
use crate::reading::Quality;
use crate::site::Point;
use crate::time::Stamp;

/// One value on its way in: canonical only once its unit has been looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub path: String,
    /// Unit as written; empty = none given.
    pub unit: String,
    pub at: Stamp,
    pub value: f64,
    pub quality: Quality,
}

/// What happens to a row of a file: kept, or refused with its place.
pub trait Intake {
    fn take(&mut self, sample: Sample) -> Result<(), String>;
    /// `place`: line or row number, from 1.
    fn refuse(&mut self, place: u64, why: String);
}

/// A file being written.
pub trait Export {
    fn rows(&mut self, point: &Point, rows: &[Row]) -> Result<(), String>;
    fn steps(&mut self, point: &Point, steps: &[Step]) -> Result<(), String>;
    fn finish(self: Box<Self>) -> Result<(), String>;
}
