//! The gate: judges one value of one point. Refuses what cannot be filed, marks what cannot be believed.
//!
//! Words: the *allowed lead* is how far a timestamp may be ahead of the site's clock; the [`Watch`] is what is remembered
//! of a point between two values; [`Relations`] are cross-checks between points.
//!
//! ```text
//! clock      ahead of or behind the site's clock           skewed, or refused
//! order      the newest timestamp again, an older one       dropped as duplicate; late
//! range      outside what the class says, or no state       out of range
//! rate       more change a minute than the class says       too fast
//! nature     what a kind of quantity can do
//! still      stands still longer than it can                frozen
//! spike      alone and far from the values around           spike
//! pile       again and again at exactly its highest         clipped
//! (watch)    exactly zero, far from where it was            dead zero
//! counter    a meter that falls                             meter rollover, meter restart
//! relations  heat against load, wet bulb against dry        energy balance, contradicted
//! ```
//!
//! Invariants: a mark never changes or drops a value; a refusal has a static reason; nothing here reads a clock; state per
//! point is bounded and what is marked teaches nothing; a false mark is worse than none.
//! Absent: limits of operation (those are `control`'s). A mark here says "this cannot be true", not "this is bad".

pub mod counter;
mod nature;
mod pile;
mod relations;
mod spike;
mod still;
mod watch;

pub use nature::Nature;
pub use relations::{Finding, Relations};
pub use watch::{Duplicate, Watch};

use crate::reading::Quality;
use crate::time::{Span, Timestamp};

/// Timestamps further ahead of the site's clock are refused.
pub const LEAD_MAX: Span = Span::minutes(5);
/// Timestamps further behind the site's clock are refused.
pub const RETENTION: Span = Span::hours(24 * 400);
/// A lead below this is the order of messages within one heartbeat, not a wrong clock.
const LEAD_UNMARKED: Span = Span::seconds(30);
/// A BMS that steps its clock in longer strides than this is in lock-step with us: values of the coming stride arrive
/// before its heartbeat does.
const STRIDE_MAX: Span = Span::hours(1);

/// What the gate knows of the site's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SiteClock {
    pub now: Option<Timestamp>,
    /// Time between the last two heartbeats.
    pub stride: Option<Span>,
}

impl SiteClock {
    fn lead_allowed(&self) -> Span {
        match self.stride {
            Some(s) if s <= Span::minutes(1) => LEAD_MAX,
            Some(s) => Span(LEAD_MAX.0 + s.0.min(STRIDE_MAX.0)),
            None => STRIDE_MAX,
        }
    }

    /// Can a timestamp be filed? `Ok` carries the mark it earns. Without a clock everything can.
    pub fn judge(&self, at: Timestamp) -> Result<Quality, &'static str> {
        let Some(now) = self.now else { return Ok(Quality::GOOD) };
        let lead = at - now;
        if lead > self.lead_allowed() {
            return Err("ahead of the site's clock");
        }
        if lead < Span(-RETENTION.0) {
            return Err("older than the retention");
        }
        let unmarked = self.stride.map_or(STRIDE_MAX, |s| s.min(STRIDE_MAX)).max(LEAD_UNMARKED);
        Ok(if lead > unmarked { Quality::SKEWED } else { Quality::GOOD })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_judged_against_the_sites_clock() {
        let now = Timestamp(2_000_000_000_000);
        let clock = SiteClock { now: Some(now), stride: Some(Span::seconds(10)) };
        assert_eq!(clock.judge(now + Span::seconds(10)), Ok(Quality::GOOD));
        assert_eq!(clock.judge(now + Span::seconds(31)), Ok(Quality::SKEWED));
        assert_eq!(clock.judge(now + LEAD_MAX), Ok(Quality::SKEWED));
        assert_eq!(clock.judge(now + LEAD_MAX + Span(1)), Err("ahead of the site's clock"));
        assert_eq!(clock.judge(now - RETENTION), Ok(Quality::GOOD));
        assert_eq!(clock.judge(now - RETENTION - Span(1)), Err("older than the retention"));
        // A plant in lock-step with 15-minute steps sends the values of a step before its heartbeat.
        let slow = SiteClock { now: Some(now), stride: Some(Span::minutes(15)) };
        assert_eq!(slow.judge(now + Span::minutes(15)), Ok(Quality::GOOD));
        assert_eq!(slow.judge(now + Span::minutes(21)), Err("ahead of the site's clock"));
    }
}
