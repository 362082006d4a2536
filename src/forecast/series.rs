//! Regular series, and how irregular readings become them.
//!
//! A row is labelled by its END: the value at `t` is the mean over `(t - step, t]`, so it is known at `t` and a model that
//! uses rows up to `now` looks at nothing later. NaN = missing.

use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// A regular series. Row `k` is at `start + k * step`; NaN = missing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Series {
    pub start: Timestamp,
    pub step: Span,
    pub values: Vec<f64>,
}

/// Outdoor air on the same grid as the targets, °C.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WeatherSeries {
    pub dry_bulb_c: Series,
    pub wet_bulb_c: Series,
}

/// What is known up to now: at best as much of each target as [`super::Forecaster::window`] says, on the model's step.
#[derive(Clone, Default)]
pub struct Window {
    pub loads: Vec<(String, Series)>,
    pub weather: Option<WeatherSeries>,
    /// What is known ahead, by name.
    pub plans: Vec<(String, std::sync::Arc<dyn super::Plan + Send + Sync>)>,
}

impl Window {
    /// The plan of that name, or one that knows nothing.
    pub(super) fn plan(&self, name: &str) -> &dyn super::Plan {
        struct Unknown;
        impl super::Plan for Unknown {
            fn change(&self, _: Timestamp, _: Span) -> f64 {
                f64::NAN
            }
        }
        match self.plans.iter().find(|(n, _)| n == name) {
            Some((_, plan)) => &**plan,
            None => &Unknown,
        }
    }
}

impl Series {
    pub fn new(start: Timestamp, step: Span, values: Vec<f64>) -> Series {
        Series { start, step, values }
    }

    /// Number of the last row at or before `at`; `None` before the first row. May lie beyond the last row.
    pub fn row(&self, at: Timestamp) -> Option<usize> {
        if self.step.0 <= 0 || at < self.start {
            return None;
        }
        usize::try_from((at - self.start).0 / self.step.0).ok()
    }

    /// Value of the row that `at` falls on; NaN outside.
    pub fn at(&self, at: Timestamp) -> f64 {
        self.row(at).map_or(f64::NAN, |k| self.get(k as i64))
    }

    /// Value of row `k`; NaN outside.
    pub fn get(&self, k: i64) -> f64 {
        usize::try_from(k).ok().and_then(|k| self.values.get(k)).copied().unwrap_or(f64::NAN)
    }

    /// Timestamp of row `k`.
    pub fn time(&self, k: usize) -> Timestamp {
        Timestamp(self.start.0.saturating_add(self.step.0.saturating_mul(k as i64)))
    }

    /// Timestamp after the last row.
    pub fn end(&self) -> Timestamp {
        self.time(self.values.len())
    }

    /// Rows with a value.
    pub fn present(&self) -> usize {
        self.values.iter().filter(|v| v.is_finite()).count()
    }

    /// The rows before `row`, as a series of their own.
    pub fn head(&self, row: usize) -> Series {
        Series { start: self.start, step: self.step, values: self.values[..row.min(self.values.len())].to_vec() }
    }

    /// Appends the mean of the step that ends at `at` (taken to the grid); rows in between are missing, the oldest rows
    /// beyond `keep` go. A row that is there already is replaced; one before the series or a step of 0 is ignored.
    pub fn push(&mut self, at: Timestamp, value: f64, keep: usize) {
        if self.step.0 <= 0 {
            return;
        }
        if self.values.is_empty() {
            self.start = at.floor(self.step);
        }
        let Some(k) = self.row(at) else { return };
        if k >= self.values.len().saturating_add(keep.max(1)) {
            // A gap longer than what is kept: begin again.
            self.values.clear();
            self.start = at.floor(self.step);
            self.values.push(value);
            return;
        }
        if k >= self.values.len() {
            self.values.resize(k + 1, f64::NAN);
        }
        self.values[k] = value;
        let extra = self.values.len().saturating_sub(keep.max(1));
        if extra > 0 {
            self.values.drain(..extra);
            self.start += Span(self.step.0 * extra as i64);
        }
    }
}

/// Irregular readings `(at, value)`, in order of time, to rows at `start, start + step, … < end`.
///
/// Each value holds until the next one, at most for `hold`; a row is the time-weighted mean over `(t - step, t]`, and is
/// missing where less than half of its step is covered. Points that publish on change are thereby weighed rightly.
/// NaN ends the value before it.
pub fn resample(rows: &[(Timestamp, f64)], start: Timestamp, end: Timestamp, step: Span, hold: Span) -> Series {
    let mut out = Series { start, step, values: Vec::new() };
    if step.0 <= 0 || end <= start {
        return out;
    }
    let n = ((end - start).0 + step.0 - 1) / step.0;
    let n = usize::try_from(n).unwrap_or(0);
    let mut area = vec![0.0; n];
    let mut covered = vec![0i64; n];
    for (i, &(at, value)) in rows.iter().enumerate() {
        if !value.is_finite() {
            continue;
        }
        let until = rows.get(i + 1).map_or(at + hold, |next| next.0.min(at + hold)).min(end);
        // Row k covers (start + (k-1) step, start + k step].
        let mut from = at.max(start - step);
        while from < until {
            let k = (from - (start - step)).0 / step.0;
            let row_end = start + Span(k * step.0);
            let stop = row_end.min(until);
            let Some(slot) = usize::try_from(k).ok().filter(|k| *k < n) else { break };
            let ms = (stop - from).0;
            area[slot] += value * ms as f64;
            covered[slot] += ms;
            from = stop;
        }
    }
    out.values = area.iter().zip(&covered).map(|(a, c)| if 2 * c >= step.0 { a / *c as f64 } else { f64::NAN }).collect();
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIN: i64 = 60_000;

    #[test]
    fn irregular_readings_become_time_weighted_means() {
        // 10 kW from 0 to 2 min, 40 kW from 2 to 5 min: the row that ends at 5 min is (10·2 + 40·3)/5 = 28.
        let rows = [(Timestamp(0), 10.0), (Timestamp(2 * MIN), 40.0), (Timestamp(5 * MIN), 7.0)];
        let s = resample(&rows, Timestamp(5 * MIN), Timestamp(26 * MIN), Span::minutes(5), Span::minutes(8));
        assert_eq!(s.values.len(), 5);
        assert!((s.values[0] - 28.0).abs() < 1e-12);
        assert!((s.values[1] - 7.0).abs() < 1e-12);
        // Held for 8 min: 3 of 5 min of the third row are covered, none of the fourth.
        assert!((s.values[2] - 7.0).abs() < 1e-12);
        assert!(s.values[3].is_nan() && s.values[4].is_nan());
    }

    #[test]
    fn a_pushed_series_is_bounded_and_keeps_its_gaps() {
        let mut s = Series { step: Span::minutes(5), ..Series::default() };
        for k in [0i64, 1, 3, 4] {
            s.push(Timestamp(k * 5 * MIN), k as f64, 4);
        }
        assert_eq!(s.start, Timestamp(5 * MIN));
        assert_eq!(s.values.len(), 4);
        assert!(s.values[1].is_nan());
        assert_eq!(s.at(Timestamp(20 * MIN)), 4.0);
        s.push(Timestamp(1_000 * MIN), 9.0, 4);
        assert_eq!(s.values, [9.0]);
    }
}
