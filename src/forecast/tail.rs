//! How high the load may climb soon: p99 of the highest load within the next minutes.
//!
//! A setpoint must leave this headroom, since ramps (3 MW in 15 s on a real machine) are faster than any plant. The bound is a
//! quantile of the rises that the load itself has shown, with the finite-sample rank of conformal prediction (Lei et al. 2018):
//! the `⌈(n + 1)·0.99⌉`-th of `n`. Rises from neighbouring rows share a ramp, so `n` counts spans that do not overlap; below 99
//! of them the bound is the steepest rise seen. No more can be had from the past alone: on a trace of half a day even the
//! steepest rise so far is passed more often than once in a hundred, and the figures of [`Tail::misses`] say so.

use super::series::Series;
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// How soon.
pub const WITHIN: [Span; 2] = [Span::minutes(5), Span::minutes(15)];
/// Nominal share of rises beyond.
pub const TAIL: f64 = 0.01;
/// Rises that are kept: the steepest.
const KEPT: usize = 256;
/// Spans that do not overlap after which all counts are halved, so that what was long ago fades.
const SPANS_MAX: u64 = 800;

/// The highest load that is expected within a span, in the unit of the target.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Within {
    pub within: Span,
    pub p99: f64,
}

/// The steepest rises of one target within one span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    pub within: Span,
    pub rows: usize,
    /// Descending.
    steepest: Vec<f64>,
    /// Rises that the bound is made of.
    counted: u64,
    pub outcomes: u64,
    pub misses: u64,
}

/// Rise from row `t` to the highest load of the next `rows`; NaN where one of them is missing.
fn rise(load: &Series, t: usize, rows: usize) -> f64 {
    let from = load.get(t as i64);
    (1..=rows)
        .map(|j| load.get((t + j) as i64) - from)
        .fold(f64::NEG_INFINITY, |a, v| if a.is_nan() || v.is_nan() { f64::NAN } else { a.max(v) })
}

impl Tail {
    pub fn new(within: Span, rows: usize) -> Tail {
        Tail { within, rows, steepest: Vec::new(), counted: 0, outcomes: 0, misses: 0 }
    }

    /// The rise that all but one in a hundred stay below; `None` before there was any.
    pub fn bound(&self) -> Option<f64> {
        let spans = self.counted as f64 / self.rows.max(1) as f64;
        let beyond = ((1.0 - (1.0 - TAIL) * (spans + 1.0) / spans.max(f64::MIN_POSITIVE)) * self.counted as f64).max(0.0);
        self.steepest.get((beyond as usize).min(self.steepest.len().checked_sub(1)?)).map(|r| r.max(0.0))
    }

    /// p99 of the load within the span, from the load now.
    pub fn p99(&self, level: f64) -> f64 {
        level + self.bound().unwrap_or(0.0)
    }

    /// Rise from row `t` to the highest load of the span; NaN where a row of it is missing.
    pub fn rise(&self, load: &Series, t: usize) -> f64 {
        rise(load, t, self.rows)
    }

    /// Learns from a rise; `bound` is what [`Tail::bound`] said at its origin.
    pub fn learn(&mut self, rise: f64, bound: Option<f64>) {
        if !rise.is_finite() {
            return;
        }
        if let Some(bound) = bound {
            self.outcomes += 1;
            self.misses += u64::from(rise > bound);
        }
        let place = self.steepest.partition_point(|r| *r >= rise);
        if place < KEPT {
            self.steepest.insert(place, rise);
            self.steepest.truncate(KEPT);
        }
        self.counted += 1;
        if self.counted >= SPANS_MAX * self.rows.max(1) as u64 {
            self.counted /= 2;
            let mut odd = false;
            self.steepest.retain(|_| {
                odd = !odd;
                odd
            });
        }
    }

    /// Walks along a series. Each rise is learnt when its span is over.
    pub fn walk(&mut self, load: &Series) {
        let mut bounds = std::collections::VecDeque::with_capacity(self.rows + 1);
        for t in 0..load.values.len() {
            bounds.push_back(self.bound());
            if t >= self.rows
                && let Some(bound) = bounds.pop_front()
            {
                self.learn(self.rise(load, t - self.rows), bound);
            }
        }
    }
}

/// The newest load and the rise within `within` that a share `quantile` of the series' own stay below; never more than the
/// series has shown. What limits must bear where no more is known than the series; NaN of an empty one.
pub fn steepest(series: &Series, within: Span, quantile: f64) -> f64 {
    let rows = (within.0 / series.step.0.max(1)).max(1) as usize;
    let v = &series.values;
    let Some(now) = v.iter().rev().find(|v| v.is_finite()) else { return f64::NAN };
    let highest = |w: &[f64]| w.iter().copied().fold(f64::NAN, f64::max);
    let mut rises: Vec<f64> =
        (0..v.len().saturating_sub(rows)).map(|i| highest(&v[i + 1..=i + rows]) - v[i]).filter(|r| r.is_finite()).collect();
    rises.sort_by(f64::total_cmp);
    let last = rises.len().saturating_sub(1);
    let q = rises.get(((rises.len() as f64 * quantile) as usize).min(last)).copied().unwrap_or(0.0).max(0.0);
    (now + q).min(highest(v).max(*now))
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
            1000.0 + if k > 30_000 { 11.0 } else { 10.0 } * x * x
        });
        let load = Series::new(Timestamp(0), Span::minutes(1), values.collect());
        let mut tail = Tail::new(Span::minutes(5), 5);
        tail.walk(&load);
        let share = tail.misses as f64 / tail.outcomes as f64;
        assert!((share - 0.01).abs() < 0.005, "{share}");
        assert!(tail.p99(1000.0) > 1000.0);
    }

    #[test]
    fn few_spans_mean_the_steepest_rise_seen() {
        let load = Series::new(Timestamp(0), Span::minutes(1), (0..200).map(|k| f64::from(k % 50)).collect());
        let mut tail = Tail::new(Span::minutes(5), 5);
        assert_eq!((tail.bound(), tail.p99(7.0)), (None, 7.0));
        tail.walk(&load);
        assert_eq!(tail.bound(), Some(5.0));
        assert_eq!(steepest(&load, Span::minutes(5), 0.99), 49.0);
        assert!(steepest(&Series::default(), Span::minutes(5), 0.99).is_nan());
    }
}
