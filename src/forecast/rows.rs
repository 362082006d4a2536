//! One row of features at a time: what a forecast in service computes. [`super::features`] makes whole tables of the same.
//!
//! Missing values, by rule: a load or input that is missing is carried forward for a few steps (see [`fill`]) and counted;
//! beyond that its features are NaN, which the models see as "as usual" (the training mean, or no change) and count.

use super::calendar::Clock;
use super::series::Series;
use super::spec::{PROFILE_DAYS, Spec};
use crate::time::{Span, Timestamp};

/// Steps that a missing load, and a missing input, is carried forward at most.
pub const FILL_LOAD: usize = 3;
pub const FILL_INPUT: usize = 6;

/// Carries the last value forward over at most `limit` missing rows. Returns the number of rows that were filled.
pub fn fill(values: &mut [f64], limit: usize) -> usize {
    let (mut last, mut run, mut filled) = (f64::NAN, 0, 0);
    for v in values {
        if v.is_finite() {
            (last, run) = (*v, 0);
        } else if run < limit && last.is_finite() {
            *v = last;
            run += 1;
            filled += 1;
        } else {
            run += 1;
        }
    }
    filled
}

/// Series that features are computed from, on one grid of steps (starts may differ).
#[derive(Clone, Copy)]
pub struct Known<'a> {
    pub load: &'a Series,
    /// In the order of the spec's inputs.
    pub inputs: &'a [&'a Series],
    /// In the order of the spec's plans.
    pub plans: &'a [&'a dyn Plan],
}

/// Something that is known ahead: jobs with their expected ends, a weather forecast.
pub trait Plan {
    /// Expected change from `origin` to `origin + ahead`, as known at `origin`; NaN where nothing is known.
    fn change(&self, origin: Timestamp, ahead: Span) -> f64;
}

/// Shared features at row `t` of the load; nothing after `t` is used.
pub fn shared(spec: &Spec, known: &Known, t: usize, out: &mut Vec<f64>) {
    let load = known.load;
    let y = load.get(t as i64);
    let ago = |rows: usize| load.get(t as i64 - rows as i64);
    out.push(y);
    out.extend(spec.lags().iter().map(|k| ago(*k) - y));
    for w in spec.windows() {
        out.push((0..w).map(ago).sum::<f64>() / w as f64 - y);
        out.push((0..w - 1).map(|i| (ago(i) - ago(i + 1)).abs()).sum::<f64>() / (w - 1) as f64);
    }
    let at = load.time(t);
    out.extend(known.inputs.iter().map(|s| s.at(at)));
}

/// A horizon's own features, `k` rows ahead of row `t`.
pub fn own(spec: &Spec, clock: &Clock, known: &Known, t: usize, k: usize, out: &mut Vec<f64>) {
    let load = known.load;
    let y = load.get(t as i64);
    let back = |rows: usize| load.get((t + k) as i64 - rows as i64);
    let from = |rows: usize| load.get(t as i64 - rows as i64);
    let day = spec.day_rows();
    let first = spec.days_back(k);
    let width = 2 * spec.around_rows() + 1;
    let around = |back: usize| {
        let end = spec.around_ends(back, k);
        (0..width).map(|i| from(end + i)).sum::<f64>() / width as f64 - y
    };
    if spec.knows_day() {
        out.extend([back(day * first) - y, back(day * first) - from(day * first), around(day * first)]);
    }
    if spec.knows_week() {
        let weeks = 7 * first.div_ceil(7);
        out.extend([back(day * weeks) - y, back(day * weeks) - from(day * weeks), around(day * weeks)]);
        let days = first..=PROFILE_DAYS.max(first);
        let n = days.clone().count() as f64;
        out.push(days.clone().map(|d| back(day * d)).sum::<f64>() / n - y);
        out.push(days.map(|d| back(day * d) - from(day * d)).sum::<f64>() / n);
    }
    let at = load.time(t) + Span(spec.step.0 * k as i64);
    spec.calendar_row(clock.at(at), out);
    out.extend(known.plans.iter().map(|plan| plan.change(load.time(t), Span(spec.step.0 * k as i64))));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_so_far_and_counted() {
        let mut v = [f64::NAN, 1.0, f64::NAN, f64::NAN, f64::NAN, 2.0, f64::NAN];
        assert_eq!(fill(&mut v, 2), 3);
        assert!(v[0].is_nan() && v[4].is_nan());
        assert_eq!((v[2], v[3], v[6]), (1.0, 1.0, 2.0));
    }
}
