//! What was asked, what came into force, and when: the memory between ticks.
//!
//! Words: a request is *clamped* when the setpoint in force moved but stopped elsewhere, *refused* when it did not move
//! at all, both after [`SETTLE_TICKS`] ticks at a standstill; a move is counted at most once until it comes into force.
//! Invariant: memory is bounded: samples older than the longest slew window are dropped, but for the newest.

use crate::event::{REQUESTS_CLAMPED, REQUESTS_REFUSED, Tally};
use crate::site::Actuator;
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;

/// The longest slew window.
pub const WINDOW: Span = Span::minutes(10);
/// Ticks after which a request should be in force.
pub const SETTLE_TICKS: u32 = 3;
/// Two a tick, for ten minutes of ticks a second long.
const SAMPLES_MAX: usize = 2048;

/// One actuator's recent past.
#[derive(Clone, Debug, Default)]
pub struct Track {
    /// Setpoints in force and requests of the last ten minutes: each a level that the slew is counted from.
    pub levels: VecDeque<(Timestamp, f64)>,
    /// Our newest request.
    pub asked: Option<(Timestamp, f64)>,
    /// When we last asked for another value than before.
    pub changed_at: Option<Timestamp>,
    /// In force when the pending move began, and at the tick before.
    from: f64,
    before: f64,
    ticks: u32,
    judged: bool,
}

impl Track {
    /// Takes in the setpoint in force; judges the request that is out.
    pub fn see(&mut self, now: Timestamp, in_force: f64, a: &Actuator, site: &str, tally: &Tally) {
        self.push(now, in_force);
        let Some((_, asked)) = self.asked else { return };
        let tolerance = 0.5 * a.step.min(0.02 * (a.hi - a.lo));
        if !in_force.is_finite() || (in_force - asked).abs() <= tolerance {
            self.ticks = 0;
            self.judged = false;
            self.before = in_force;
            return;
        }
        // While it is still on its way it is late, not stuck.
        let on_its_way = self.ticks > 0 && (in_force - self.before).abs() > tolerance;
        self.ticks = if on_its_way { 1 } else { self.ticks + 1 };
        self.before = in_force;
        if self.ticks >= SETTLE_TICKS && !self.judged {
            self.judged = true;
            let moved = (in_force - self.from).abs() > tolerance;
            tally.add(if moved { REQUESTS_CLAMPED } else { REQUESTS_REFUSED }, &format!("{site}/{}", a.id), 1);
        }
    }

    /// Notes a request that goes out.
    pub fn ask(&mut self, now: Timestamp, value: f64, in_force: f64) {
        if self.asked.is_none_or(|(_, v)| (v - value).abs() > 1e-9) {
            // A renewal at the value in force is no change: dwell is counted from real moves.
            if (value - in_force).abs() > 1e-9 || self.asked.is_some() {
                self.changed_at = Some(now);
            }
            // A request that follows one which is still pending in the same direction is judged with it.
            let pending = self.ticks > 0 && self.asked.is_some_and(|(_, v)| (v > self.from) == (value > self.from));
            if !pending {
                self.from = in_force;
                self.before = in_force;
                self.ticks = 0;
                self.judged = false;
            }
        }
        self.asked = Some((now, value));
        self.push(now, value);
    }

    /// Forgets the request that is out (it lapsed, or we were kicked out).
    pub fn release(&mut self) {
        self.asked = None;
        self.ticks = 0;
        self.judged = false;
    }

    fn push(&mut self, now: Timestamp, value: f64) {
        if !value.is_finite() {
            return;
        }
        while self.levels.front().is_some_and(|(t, _)| now - *t >= WINDOW) || self.levels.len() >= SAMPLES_MAX {
            self.levels.pop_front();
        }
        self.levels.push_back((now, value));
    }

    /// Values that a request may take now by slew alone: `(lo, hi)`, around the setpoint in force. `tick` caps the time
    /// that a single step may stand for, so that a step is never larger than what a BMS takes in one control interval.
    pub fn reach(&self, a: &Actuator, in_force: f64, now: Timestamp, tick: Span) -> (f64, f64) {
        let since = self.changed_at.map_or(tick, |t| now - t);
        let minutes = (since.0.min(tick.0).max(60_000) as f64 / 6e4).min(10.0);
        // A hair less than the slew: the read-back is rounded, and a step that is too large by the rounding is cut.
        let step = 0.998 * (a.slew_per_min * minutes).min(a.slew_per_10min);
        let (mut lo, mut hi) = (in_force - step, in_force + step);
        for (t, v) in &self.levels {
            if now - *t < WINDOW {
                lo = lo.max(v - a.slew_per_10min);
                hi = hi.min(v + a.slew_per_10min);
            }
        }
        (lo.min(in_force).max(a.lo.min(in_force)), hi.max(in_force).min(a.hi.max(in_force)))
    }

    /// Is the least time between two changes over? A minute at least, which slew is counted over.
    pub fn dwell_over(&self, a: &Actuator, now: Timestamp) -> bool {
        self.changed_at.is_none_or(|t| now - t >= Span::seconds(i64::from(a.dwell_s.max(60))))
    }
}
