//! The row: what is stored of one reading under its point.

use crate::reading::{PointId, Quality, Reading};
use crate::time::{Stamp, Timestamp};
use serde::Serialize;

/// One stored value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Row {
    pub at: Timestamp,
    /// Nanoseconds of the source timestamp within its millisecond.
    pub ns: u32,
    /// Canonical unit; NaN with `NO_VALUE`.
    pub value: f64,
    pub quality: Quality,
}

impl Row {
    /// What names the row among those of its point.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        Stamp { at: self.at, ns: self.ns }
    }

    /// The row as a reading of its point.
    pub fn reading(&self, point: PointId) -> Reading {
        Reading { point, at: self.at, ns: self.ns, value: self.value, quality: self.quality }
    }
}

impl From<&Reading> for Row {
    #[inline]
    fn from(r: &Reading) -> Row {
        Row { at: r.at, ns: r.ns, value: r.value, quality: r.quality }
    }
}
