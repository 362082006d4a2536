//! The grid of quarter-hours that everything is counted on.

use crate::time::{Span, Timestamp};

/// Length of a bin. Every zone's midnight lies on one, and no market settles in finer steps.
pub const BIN: Span = Span::minutes(15);

/// The bins of a period: `from` and `to` lie on bin edges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Grid {
    /// `None` where an edge is not on a quarter of an hour, or nothing lies between them.
    pub fn new(from: Timestamp, to: Timestamp) -> Option<Grid> {
        (from.floor(BIN) == from && to.floor(BIN) == to && from < to).then_some(Grid { from, to })
    }

    pub fn len(&self) -> usize {
        ((self.to - self.from).0 / BIN.0).max(0) as usize
    }
    pub fn hours(&self) -> f64 {
        (self.to - self.from).as_hours_f64()
    }
    pub fn at(&self, bin: usize) -> Timestamp {
        self.from + Span(BIN.0 * bin as i64)
    }
    /// The bin that an instant within the grid lies in.
    pub fn bin(&self, at: Timestamp) -> usize {
        ((at - self.from).0.max(0) / BIN.0) as usize
    }

    /// Calls `f` with each bin that `from..to` touches within the grid, and the part of the stretch in it.
    pub fn pieces(&self, from: Timestamp, to: Timestamp, mut f: impl FnMut(usize, Timestamp, Timestamp)) {
        let (mut a, end) = (from.max(self.from), to.min(self.to));
        while a < end {
            let bin = self.bin(a);
            let b = self.at(bin + 1).min(end);
            f(bin, a, b);
            a = b;
        }
    }
}
