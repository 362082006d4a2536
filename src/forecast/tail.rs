//! How high the load may climb soon: p99 of the highest load within the next minutes.
//!
//! A setpoint must leave this headroom, since ramps (3 MW in 15 s on a real machine) are faster than any plant. The rise is
//! normalised by what rises lately were; its p99 is tracked by its own misses as the edges of [`super::bands`] are.

use super::series::Series;
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// How soon.
pub const WITHIN: [Span; 2] = [Span::minutes(5), Span::minutes(15)];
/// Nominal share of rises beyond.
pub const TAIL: f64 = 0.01;
const STEP: f64 = 0.1;
/// Outcomes until a past rise counts half in the scale.
const HALF_LIFE: f64 = 100.0;

/// The highest load that is expected within a span, in the unit of the target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Within {
    pub within: Span,
    pub p99: f64,
}

/// Tracks the rise of one target within one span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    pub within: Span,
    pub rows: usize,
    q: f64,
    long: f64,
    short: f64,
    pub outcomes: u64,
    pub misses: u64,
}

impl Tail {
    pub fn new(within: Span, rows: usize) -> Tail {
        Tail { within, rows, q: (0.5 / TAIL).ln(), long: 0.0, short: 0.0, outcomes: 0, misses: 0 }
    }

    pub fn scale(&self) -> f64 {
        0.5 * (self.long + self.short)
    }

    /// p99 of the load within the span, from the load now.
    pub fn p99(&self, level: f64) -> f64 {
        level + self.q.max(0.0) * self.scale()
    }

    /// Rise from row `t` to the highest load of the span; NaN where a row of it is missing.
    pub fn rise(&self, load: &Series, t: usize) -> f64 {
        let from = load.get(t as i64);
        (1..=self.rows)
            .map(|j| load.get((t + j) as i64) - from)
            .fold(f64::NEG_INFINITY, |a, v| if a.is_nan() || v.is_nan() { f64::NAN } else { a.max(v) })
    }

    /// Learns from a rise; `scale` is what [`Tail::scale`] said at its origin.
    pub fn learn(&mut self, rise: f64, scale: f64) {
        if !rise.is_finite() {
            return;
        }
        if scale > 0.0 {
            let miss = rise / scale > self.q.max(0.0);
            self.misses += u64::from(miss);
            self.q = (self.q + STEP * (f64::from(u8::from(miss)) - TAIL)).clamp(0.0, 100.0);
        }
        self.outcomes += 1;
        let n = self.outcomes as f64;
        self.long += (rise.abs() - self.long) / n;
        self.short += (rise.abs() - self.short) / n.min(HALF_LIFE / std::f64::consts::LN_2);
    }

    /// Walks along a series. Each rise is learnt when its span is over.
    pub fn walk(&mut self, load: &Series) {
        let mut scales = std::collections::VecDeque::with_capacity(self.rows + 1);
        for t in 0..load.values.len() {
            scales.push_back(self.scale());
            if t >= self.rows
                && let Some(scale) = scales.pop_front()
            {
                self.learn(self.rise(load, t - self.rows), scale);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn one_rise_in_a_hundred_is_beyond() {
        let mut x = 0.3_f64;
        let values = (0..60_000).map(|k| {
            x = 3.98 * x * (1.0 - x);
            1000.0 + if k > 30_000 { 40.0 } else { 10.0 } * x * x
        });
        let load = Series::new(Timestamp(0), Span::minutes(1), values.collect());
        let mut tail = Tail::new(Span::minutes(5), 5);
        tail.walk(&load);
        let share = tail.misses as f64 / tail.outcomes as f64;
        assert!((share - 0.01).abs() < 0.003, "{share}");
        assert!(tail.p99(1000.0) > 1000.0);
    }
}
