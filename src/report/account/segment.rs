//! One device at one point: its readings become energy by bin.

use super::bins::Grid;
use super::gaps::{Gap, Open, Rule};
use crate::ingest::gate::counter;
use crate::store::Row;
use crate::time::{Span, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;

/// Readings further apart than this have a gap between them, where the register says nothing else: one and a third of the
/// quarter-hour that utilities' meters are read at.
pub const GAP_AFTER: Span = Span::minutes(20);

/// What a point's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Nature {
    /// A rate in units an hour (kW gives kWh; GPUs give GPU-hours).
    Rate,
    /// Only grows.
    Counter,
}

/// What is known of a device at a point.
#[derive(Clone, Debug)]
pub struct Terms {
    pub nature: Nature,
    /// Multiplies values (transformer ratio, unit).
    pub factor: f64,
    pub gap_after: Span,
    /// Installed and removed; the device's readings outside do not count.
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// What the counter showed then.
    pub initial: Option<f64>,
    pub last: Option<f64>,
    /// Reading at which the digits are full and begin at zero.
    pub rolls_over_at: Option<f64>,
    /// Highest rate that is possible, in units an hour after `factor`.
    pub rated: Option<f64>,
    /// Limit of error, % of reading; none = not stated.
    pub class_pct: Option<f64>,
}

impl Terms {
    pub fn new(nature: Nature) -> Terms {
        Terms {
            nature,
            factor: 1.0,
            gap_after: GAP_AFTER,
            since: None,
            until: None,
            initial: None,
            last: None,
            rolls_over_at: None,
            rated: None,
            class_pct: None,
        }
    }
}

/// Something that happened to a counter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    pub at: Timestamp,
    /// `roll_over`, `reset`, `installed`, `removed`.
    pub what: &'static str,
    pub before: f64,
    pub after: f64,
}

/// What a rule put into a bin, and the time of the bin that it filled or had to leave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Patch {
    pub estimated: f64,
    pub estimated_ms: u32,
    pub missing_ms: u32,
}

/// What readings and rules made, by bin. Most bins have readings alone: what rules made is kept only where they did.
#[derive(Clone, Debug)]
pub struct Metered {
    pub grid: Grid,
    /// Empty until the first reading.
    pub measured: Vec<f64>,
    pub covered_ms: Vec<u32>,
    pub patches: BTreeMap<usize, Patch>,
    pub gaps: Vec<Gap>,
    pub events: Vec<Event>,
}

impl Metered {
    fn new(grid: Grid) -> Metered {
        Metered { grid, measured: vec![], covered_ms: vec![], patches: BTreeMap::new(), gaps: vec![], events: vec![] }
    }

    fn room(&mut self) {
        self.measured.resize(self.grid.len(), 0.0);
        self.covered_ms.resize(self.grid.len(), 0);
    }

    pub(super) fn patch(&mut self, bin: usize) -> &mut Patch {
        self.patches.entry(bin).or_default()
    }
}

/// Takes in the readings of one device at one point in order of time.
#[derive(Clone, Debug)]
pub struct Segment {
    terms: Terms,
    from: Timestamp,
    to: Timestamp,
    out: Metered,
    open: Vec<Open>,
    last: Option<(Timestamp, f64)>,
    /// The newest known rate, and whether the newest open gaps still wait for theirs.
    rate: Option<f64>,
    waiting: usize,
    stride: f64,
}

impl Segment {
    /// `None` where the device was not there in the period.
    pub fn new(grid: Grid, terms: Terms) -> Option<Segment> {
        let from = terms.since.map_or(grid.from, |s| s.max(grid.from));
        let to = terms.until.map_or(grid.to, |u| u.min(grid.to));
        let mut s = Segment { from, to, out: Metered::new(grid), open: vec![], last: None, rate: None, waiting: 0, stride: 0.0, terms };
        if let (Some(at), Some(value), Nature::Counter) = (s.terms.since, s.terms.initial, s.terms.nature) {
            s.out.events.push(Event { at, what: "installed", before: f64::NAN, after: value });
            s.take(at, value);
        }
        (from < to).then_some(s)
    }

    /// Takes in stored rows; those that are not usable, or not this device's, are passed over.
    pub fn rows(&mut self, rows: &[Row]) {
        let (since, until) = (self.terms.since, self.terms.until);
        for r in rows {
            let ours = since.is_none_or(|s| r.at >= s) && until.is_none_or(|u| r.at < u);
            if ours && r.quality.usable() && r.value.is_finite() {
                self.take(r.at, r.value);
            }
        }
    }

    /// Takes in one usable reading. Readings that are not later than the one before are passed over.
    pub fn take(&mut self, at: Timestamp, value: f64) {
        let Some((t0, v0)) = self.last else {
            self.out.room();
            self.last = Some((at, value));
            if at > self.from {
                self.gap(self.from, at, 0.0);
            }
            if self.terms.nature == Nature::Rate {
                self.known(value * self.terms.factor);
            }
            return;
        };
        if at <= t0 {
            return;
        }
        self.last = Some((at, value));
        match self.terms.nature {
            Nature::Rate => self.straight(t0, v0, at, value),
            Nature::Counter => self.counted(t0, v0, at, value),
        }
    }

    fn straight(&mut self, t0: Timestamp, v0: f64, t1: Timestamp, v1: f64) {
        let f = self.terms.factor;
        if t1 - t0 > self.terms.gap_after {
            self.gap(t0, t1, 0.0);
            self.known(v1 * f);
            return;
        }
        let slope = (v1 - v0) / (t1 - t0).as_hours_f64();
        let (from, to) = (t0.max(self.from), t1.min(self.to));
        let out = &mut self.out;
        let grid = out.grid;
        grid.pieces(from, to, |bin, a, b| {
            let middle = v0 + slope * ((a - t0).as_hours_f64() + (b - t0).as_hours_f64()) / 2.0;
            out.measured[bin] += middle * f * (b - a).as_hours_f64();
            out.covered_ms[bin] += (b - a).0 as u32;
        });
        self.known(v1 * f);
    }

    fn counted(&mut self, t0: Timestamp, v0: f64, t1: Timestamp, v1: f64) {
        let hours = (t1 - t0).as_hours_f64();
        let mut delta = v1 - v0;
        if delta < 0.0 {
            match self.over_the_top(v0, v1, hours) {
                Some(way) => {
                    self.out.events.push(Event { at: t1, what: "roll_over", before: v0, after: v1 });
                    delta = way;
                }
                None => {
                    self.out.events.push(Event { at: t1, what: "reset", before: v0, after: v1 });
                    self.gap(t0, t1, v1.max(0.0) * self.terms.factor);
                    return;
                }
            }
        } else {
            self.stride = self.stride.max(delta);
        }
        let total = delta * self.terms.factor;
        let rate = total / hours;
        let close = t1 - t0 <= self.terms.gap_after;
        let inside = t0 >= self.from && t1 <= self.to;
        let out = &mut self.out;
        let (from, to) = (t0.max(self.from), t1.min(self.to));
        let grid = out.grid;
        grid.pieces(from, to, |bin, a, b| {
            let part = rate * (b - a).as_hours_f64();
            let ms = (b - a).0 as u32;
            if close || inside {
                out.measured[bin] += part
            } else {
                out.patch(bin).estimated += part
            }
            if close { out.covered_ms[bin] += ms } else { out.patch(bin).estimated_ms += ms }
        });
        if !close && from < to {
            let value = rate * (to - from).as_hours_f64();
            // Over the edge: the whole may have been on either side of it.
            let (rule, u) = if inside { (Rule::Counted, 0.0) } else { (Rule::CountedOverEdge, total / 12_f64.sqrt()) };
            out.gaps.push(Gap { from, to, rule, value, u });
        }
        self.known(rate);
    }

    /// The way over the top of the digits, where that is what happened.
    fn over_the_top(&self, before: f64, now: f64, hours: f64) -> Option<f64> {
        if let Some(top) = self.terms.rolls_over_at {
            let way = top - before + now;
            let most = self.terms.rated.map_or(f64::INFINITY, |r| 1.2 * r / self.terms.factor.abs().max(1e-12) * hours);
            return (way >= 0.0 && way <= most).then_some(way);
        }
        // Within a longer silence too many tops are plausible: without a register it counts as a reset.
        let close = Span((hours * 3.6e6).round() as i64) <= self.terms.gap_after;
        counter::over_the_top(before, now, 1.0, self.stride).filter(|_| close)
    }

    /// A stretch without readings, clipped to the window; a counter's or a power's rate after it comes later.
    fn gap(&mut self, from: Timestamp, to: Timestamp, least: f64) {
        let whole = (to - from).as_hours_f64();
        let (a, b) = (from.max(self.from), to.min(self.to));
        if a < b {
            let least = if whole > 0.0 { least * (b - a).as_hours_f64() / whole } else { 0.0 };
            self.open.push(Open { from: a, to: b, before: self.rate, after: None, least });
        }
    }

    /// A rate is known: gaps that waited for it have it.
    fn known(&mut self, rate: f64) {
        for gap in &mut self.open[self.waiting..] {
            gap.after = Some(rate);
        }
        self.waiting = self.open.len();
        self.rate = Some(rate);
    }

    /// Fills the gaps and hands out what was counted; and the segment's share of the uncertainty that its class gives.
    pub fn finish(mut self) -> (Metered, f64, bool) {
        if let (Some(at), Some(value), Nature::Counter) = (self.terms.until, self.terms.last, self.terms.nature) {
            self.out.events.push(Event { at, what: "removed", before: value, after: f64::NAN });
            self.take(at, value);
        }
        match self.last {
            None => self.gap(self.from, self.to, 0.0),
            Some((at, _)) if at < self.to => self.gap(at, self.to, 0.0),
            Some(_) => {}
        }
        let open = std::mem::take(&mut self.open);
        self.out.room();
        self.out.fill(open);
        let measured: f64 = self.out.measured.iter().sum();
        let u = self.terms.class_pct.map_or(0.0, |c| c / 100.0 * measured.abs() / 3_f64.sqrt());
        (self.out, u, self.terms.class_pct.is_some())
    }
}
