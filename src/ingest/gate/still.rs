//! Frozen: a value that stands still for longer than its sensor can.
//!
//! Method: the time that a value has stood still is compared with the class's `frozen_after_s`, or else with the point's own
//! habit: [`HABIT`] times its longest stillness so far, once it has changed [`CHANGES_MIN`] times. The habit makes a sensor
//! that updates once an hour, or in whole degrees, no false alarm (the persistence test of the quality control of weather
//! stations, WMO-No. 8, with a learnt limit). A stillness that was marked teaches nothing.
//! Invariant: bounded state; the limit never exceeds [`LIMIT_MAX`], so that habit cannot excuse a dead sensor for ever.

use crate::time::{Span, Timestamp};

/// Multiples of the longest honest stillness that are believed.
const HABIT: i64 = 8;
/// The same where a class names a limit, which then is the least one.
const HABIT_IN_CLASS: i64 = 2;
/// Changes after which a point without a class is known to move at all.
const CHANGES_MIN: u32 = 32;
/// A point without a class is never frozen before this.
const LIMIT_MIN: Span = Span::hours(24);
/// Equal values in a row below which a point without a class is never frozen.
const REPEATS_MIN: u32 = 64;
const LIMIT_MAX: Span = Span::hours(24 * 14);
/// Silence after which an unmarked stillness begins anew: nobody looked meanwhile.
const SILENCE: Span = Span::hours(6);

/// What is remembered of a point's stillness.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stillness {
    since: Timestamp,
    /// Equal values in a row after the first.
    repeats: u32,
    changes: u32,
    longest: Span,
    marked: bool,
}

impl Stillness {
    pub fn begin(at: Timestamp) -> Stillness {
        Stillness { since: at, ..Stillness::default() }
    }

    /// The value changed at `at`; it had last been seen at `last_at`.
    #[inline]
    pub fn moved(&mut self, last_at: Timestamp, at: Timestamp) {
        if !self.marked {
            self.longest = self.longest.max(last_at - self.since);
            self.changes = self.changes.saturating_add(1);
        }
        (self.since, self.repeats, self.marked) = (at, 0, false);
    }

    /// The value came again unchanged. True where it is frozen.
    #[inline]
    pub fn stayed(&mut self, last_at: Timestamp, at: Timestamp, class_limit_s: Option<u32>, restless: bool) -> bool {
        self.repeats = self.repeats.saturating_add(1);
        if at - last_at > SILENCE && !self.marked {
            (self.since, self.repeats) = (at, 0);
            return false;
        }
        let limit = match class_limit_s {
            Some(s) => Span::seconds(i64::from(s)).max(Span(self.longest.0.saturating_mul(HABIT_IN_CLASS)).min(LIMIT_MAX)),
            None if !restless || self.changes < CHANGES_MIN || self.repeats < REPEATS_MIN => return self.marked,
            None => Span(self.longest.0.saturating_mul(HABIT)).clamp(LIMIT_MIN, LIMIT_MAX),
        };
        self.marked |= at - self.since > limit;
        self.marked
    }
}
