//! Filling gaps by a stated rule.

use super::bins::{BIN, Grid};
use super::segment::Metered;
use crate::time::{Span, Timestamp};
use serde::Serialize;

/// Longest gap that a straight line bridges.
pub const BRIDGE: Span = Span::hours(2);
/// How many days on either side may lend a bin its value, and how many must.
pub const DONOR_DAYS: i64 = 7;
pub const DONORS_MIN: usize = 3;

/// How a gap was filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// The counter went on: the energy is measured, its course within the gap is even.
    Counted,
    /// The same, but over the period's edge: the part within is shared out by time.
    CountedOverEdge,
    StraightLine,
    SimilarDays,
    /// Nothing to go by.
    Missing,
}

/// A stretch without readings, clipped to the window.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Gap {
    pub from: Timestamp,
    pub to: Timestamp,
    pub rule: Rule,
    /// What the rule put in, in the meter's unit.
    pub value: f64,
    /// Standard uncertainty of it.
    pub u: f64,
}

/// A gap that waits for what comes after it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub from: Timestamp,
    pub to: Timestamp,
    /// Rates per hour on either side.
    pub before: Option<f64>,
    pub after: Option<f64>,
    /// What is known to have been counted at least.
    pub least: f64,
}

impl Metered {
    /// Fills what waits, once all readings are in. Straight lines first, so that nobody borrows from an estimate.
    pub(super) fn fill(&mut self, open: Vec<Open>) {
        for gap in open {
            let hours = (gap.to - gap.from).as_hours_f64();
            if hours <= 0.0 {
                continue;
            }
            let ends = gap.before.or(gap.after).zip(gap.after.or(gap.before));
            match ends {
                Some((a, b)) if gap.to - gap.from <= BRIDGE => self.line(&gap, a, b, hours),
                _ => self.borrow(&gap, hours),
            }
        }
    }

    fn line(&mut self, gap: &Open, a: f64, b: f64, hours: f64) {
        let plain = (a + b) / 2.0 * hours;
        let lift = if plain < gap.least { gap.least - plain } else { 0.0 };
        let rate = |t: Timestamp| a + (b - a) * (t - gap.from).as_hours_f64() / hours + lift / hours;
        let grid = self.grid;
        grid.pieces(gap.from, gap.to, |bin, from, to| {
            let patch = self.patch(bin);
            patch.estimated += (rate(from) + rate(to)) / 2.0 * (to - from).as_hours_f64();
            patch.estimated_ms += (to - from).0 as u32;
        });
        let u = (b - a).abs() / 12_f64.sqrt() * hours;
        self.gaps.push(Gap { from: gap.from, to: gap.to, rule: Rule::StraightLine, value: plain + lift, u });
    }

    fn borrow(&mut self, gap: &Open, hours: f64) {
        let mut pieces = Vec::new();
        self.grid.pieces(gap.from, gap.to, |bin, from, to| pieces.push((bin, (to - from).0)));
        let donors: Vec<Option<(f64, f64)>> = pieces.iter().map(|(bin, _)| self.similar(*bin)).collect();
        if donors.iter().any(Option::is_none) {
            for (bin, ms) in &pieces {
                self.patch(*bin).missing_ms += *ms as u32;
            }
            // What is known to have been counted stays, as a lower bound.
            if let Some((bin, _)) = pieces.first().filter(|_| gap.least > 0.0) {
                self.patch(*bin).estimated += gap.least;
            }
            self.gaps.push(Gap { from: gap.from, to: gap.to, rule: Rule::Missing, value: gap.least, u: 0.0 });
            return;
        }
        let (mut value, mut u) = (0.0, 0.0);
        for ((_, ms), (mean, sd)) in pieces.iter().zip(donors.iter().flatten()) {
            let share = *ms as f64 / BIN.0 as f64;
            value += mean * share;
            u += sd * share;
        }
        let lift = if value < gap.least { gap.least - value } else { 0.0 };
        for ((bin, ms), (mean, _)) in pieces.iter().zip(donors.iter().flatten()) {
            let patch = self.patch(*bin);
            patch.estimated += mean * *ms as f64 / BIN.0 as f64 + lift * (Span(*ms).as_hours_f64() / hours);
            patch.estimated_ms += *ms as u32;
        }
        self.gaps.push(Gap { from: gap.from, to: gap.to, rule: Rule::SimilarDays, value: value + lift, u });
    }

    /// Mean and standard deviation of the wholly measured bins at a bin's time of day.
    fn similar(&self, bin: usize) -> Option<(f64, f64)> {
        let day = (Span::hours(24).0 / BIN.0) as usize;
        let untouched = |b: usize| self.patches.get(&b).is_none_or(|p| p.estimated_ms == 0 && p.missing_ms == 0);
        let whole = |b: usize| self.covered_ms[b] as i64 == BIN.0 && untouched(b);
        let mut values = Vec::with_capacity(2 * DONOR_DAYS as usize);
        for k in 1..=DONOR_DAYS as usize {
            values.extend(bin.checked_sub(k * day).filter(|b| whole(*b)).map(|b| self.measured[b]));
            values.extend(Some(bin + k * day).filter(|b| *b < self.grid.len() && whole(*b)).map(|b| self.measured[b]));
        }
        if values.len() < DONORS_MIN {
            return None;
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Some((mean, var.sqrt()))
    }
}

/// For the caller's own grids.
impl Grid {
    /// A series of zeros, one for each bin.
    pub fn zeros(&self) -> Vec<f64> {
        vec![0.0; self.len()]
    }
}
