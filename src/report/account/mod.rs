//! Energy of a meter over a period, from power samples or from counters; pure, the caller brings the readings.
//!
//! Words: a *bin* is a quarter of an hour of UTC, the finest step of the account; a *segment* is one device at one point, from
//! its installation to its removal; a *gap* is a stretch of a segment's window that no two readings close enough span; energy
//! is *measured* where it comes from readings, *estimated* where a rule filled it in; a stretch is *missing* where no rule
//! had anything to go by: it adds no energy, and a figure that has one says so.
//!
//! Rules, in the order that they are tried:
//! 1. Two usable readings at most `gap_after` apart span the time between them: power as a straight line, counters evenly.
//! 2. A counter that went on counting through a longer gap is measured; only where in the gap is a guess. Where the gap reaches
//!    over the period's edge, the part within is estimated.
//! 3. A gap of at most [`BRIDGE`]: a straight line from the rate before to the rate after; from one of them where the other is
//!    not known. Standard uncertainty: |after − before| / √12 × time (a rectangle between the two, GUM 4.3.7).
//! 4. A longer gap: each bin gets the mean of the measured bins at its time of day within seven days on either side, three of
//!    them at least. Standard uncertainty: their standard deviation, taken as wholly correlated within the gap.
//! 5. Nothing of this: missing.
//!
//! Counters: a fall is a roll-over where the register is known to be full there, or, between close readings, where the way over the
//! top is plausible (`ingest::gate::counter`); else the meter was reset, and what it counted meanwhile is estimated, never less than it shows.
//! Invariants: sums over sums; what a rule filled in is never called measured; unusable readings are not there.

mod bins;
mod gaps;
mod period;
mod quantity;
mod segment;

pub use bins::{BIN, Grid};
pub use gaps::{BRIDGE, DONOR_DAYS, DONORS_MIN, Gap, Rule};
pub use period::{Period, PeriodError};
pub use quantity::Quantity;
pub use segment::{Event, GAP_AFTER, Metered, Nature, Segment, Terms};

#[cfg(test)]
mod tests;
