//! The row: what is stored of one reading under its point.

use crate::reading::Quality;
use crate::time::Timestamp;
use serde::Serialize;

/// One stored value.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Row {
    pub at: Timestamp,
    /// Canonical unit; NaN with `NO_VALUE`.
    pub value: f64,
    pub quality: Quality,
}
