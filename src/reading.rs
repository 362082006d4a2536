//! One measured value and how far it can be trusted.
//!
//! Words: a *reading* is (point, source timestamp, canonical value, quality). *Quality* is a set of marks; an empty set
//! means good. A mark never deletes a value: the value is kept as evidence.

pub use crate::id::PointId;
use crate::time::{Stamp, Timestamp};
use serde::{Deserialize, Serialize};

/// Marks on a reading. Empty = good.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quality(pub u16);

impl Quality {
    pub const GOOD: Quality = Quality(0);
    /// The publisher itself distrusts the value.
    pub const DISTRUSTED: Quality = Quality(1);
    /// Outside the range that the point's kind or site file allows.
    pub const OUT_OF_RANGE: Quality = Quality(1 << 1);
    /// Changed faster than the point can.
    pub const TOO_FAST: Quality = Quality(1 << 2);
    /// Has not changed for longer than the point can stand still.
    pub const FROZEN: Quality = Quality(1 << 3);
    /// Older than a reading that was already taken in for the same point.
    pub const LATE: Quality = Quality(1 << 4);
    /// Ahead of the site's clock, within the tolerated skew.
    pub const SKEWED: Quality = Quality(1 << 5);
    /// The publisher sent null: the point has no value now. Stored as NaN.
    pub const NO_VALUE: Quality = Quality(1 << 6);
    /// Filled in by a rule, not measured.
    pub const ESTIMATED: Quality = Quality(1 << 7);
    /// The publisher marks it as history: stored, never used for control.
    pub const HISTORICAL: Quality = Quality(1 << 8);
    /// Alone, and far from the values around it.
    pub const SPIKE: Quality = Quality(1 << 9);
    /// Exactly zero where zero is no sensible value: a sensor that is not there.
    pub const DEAD_ZERO: Quality = Quality(1 << 10);
    /// At the end of the sensor's or the recorder's scale; the true value may lie beyond it.
    pub const CLIPPED: Quality = Quality(1 << 11);
    /// Other points say that it cannot be (a wet bulb above its dry bulb).
    pub const CONTRADICTED: Quality = Quality(1 << 12);
    /// One of the points of a loop whose heat (flow × ΔT) and load disagree; which of them is wrong is not known.
    pub const UNBALANCED: Quality = Quality(1 << 13);
    /// A meter that was set back or exchanged: true, but the difference to the value before is no consumption.
    pub const METER_RESTART: Quality = Quality(1 << 14);
    /// A meter whose digits were full and that began at zero again: true, but the difference to the value before is no
    /// consumption.
    pub const METER_ROLLOVER: Quality = Quality(1 << 15);

    /// Every mark with its text, in the order that texts are joined in.
    pub const NAMES: [(Quality, &'static str); 16] = [
        (Quality::DISTRUSTED, "distrusted"),
        (Quality::OUT_OF_RANGE, "out of range"),
        (Quality::TOO_FAST, "too fast"),
        (Quality::FROZEN, "frozen"),
        (Quality::LATE, "late"),
        (Quality::SKEWED, "skewed"),
        (Quality::NO_VALUE, "no value"),
        (Quality::ESTIMATED, "estimated"),
        (Quality::HISTORICAL, "historical"),
        (Quality::SPIKE, "spike"),
        (Quality::DEAD_ZERO, "dead zero"),
        (Quality::CLIPPED, "clipped"),
        (Quality::CONTRADICTED, "contradicted"),
        (Quality::UNBALANCED, "energy balance"),
        (Quality::METER_RESTART, "meter restart"),
        (Quality::METER_ROLLOVER, "meter rollover"),
    ];

    pub fn is_good(self) -> bool {
        self.0 == 0
    }
    pub fn with(self, mark: Quality) -> Quality {
        Quality(self.0 | mark.0)
    }
    pub fn has(self, mark: Quality) -> bool {
        self.0 & mark.0 != 0
    }
    /// May a controller act on it? Values that are late, skewed, of an unbalanced loop (nobody knows which point is wrong) or
    /// of a meter that began anew still may; the others may not.
    pub fn usable(self) -> bool {
        const STILL: u16 =
            Quality::LATE.0 | Quality::SKEWED.0 | Quality::UNBALANCED.0 | Quality::METER_RESTART.0 | Quality::METER_ROLLOVER.0;
        self.0 & !STILL == 0
    }
    /// The marks of the set, one by one.
    pub fn marks(self) -> impl Iterator<Item = (Quality, &'static str)> {
        Quality::NAMES.into_iter().filter(move |(mark, _)| self.has(*mark))
    }
    /// `good`, or the marks' names joined by `, `.
    pub fn text(self) -> String {
        if self.is_good() {
            return "good".into();
        }
        let names: Vec<&str> = self.marks().map(|(_, name)| name).collect();
        names.join(", ")
    }
}

/// One value of one point. `value` is in the canonical unit of the point's kind and finite, or NaN with `NO_VALUE`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    pub point: PointId,
    /// Source timestamp, ms since the epoch.
    pub at: Timestamp,
    /// Nanoseconds of the source timestamp within its millisecond.
    pub ns: u32,
    pub value: f64,
    pub quality: Quality,
}

impl Reading {
    /// What names the reading among those of its point.
    #[inline]
    pub fn stamp(&self) -> Stamp {
        Stamp { at: self.at, ns: self.ns }
    }
}

/// The newest reading of a point, with the arrival time on the site's clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Latest {
    pub at: Timestamp,
    pub arrived: Timestamp,
    pub value: f64,
    pub quality: Quality,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quality_is_a_set_with_names() {
        let q = Quality::GOOD.with(Quality::LATE).with(Quality::FROZEN);
        assert_eq!(q.text(), "frozen, late");
        assert!(!q.usable() && !q.is_good());
        assert!(Quality::LATE.usable());
        assert_eq!(Quality::GOOD.text(), "good");
        assert!(Quality::UNBALANCED.usable() && !Quality::CONTRADICTED.usable());
        let all = Quality::NAMES.iter().fold(Quality::GOOD, |q, (m, _)| q.with(*m));
        assert_eq!(all.0.count_ones() as usize, Quality::NAMES.len());
    }
}
