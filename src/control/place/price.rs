//! How far a board's own prices can be believed: what it said the next hours would cost, against what it says when they are there.
//!
//! Words: a *price* is what one more kW of load costs in all, kW per kW. It moves with weather, load and setpoints; a forecast of it
//! that was wrong by more than two sites differ cannot choose between them.
//! Invariants: bounded; until enough of its own forecasts have come out, the spread of the curve's own slopes stands for the error.

use super::outlook::Slot;
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;

/// Hours over which a price is averaged: most of a job's life, and long enough that a setpoint's move is over.
const OVER: Span = Span::hours(4);
/// Errors younger than this count; none counts before there are errors over [`ENOUGH`].
const KEPT: Span = Span::hours(48);
const ENOUGH: Span = Span::hours(2);
/// Least time between two forecasts that are kept.
const EVERY: Span = Span::minutes(5);
/// Share of the load on either side within which a curve's slopes are looked at.
const SWING: f64 = 0.3;

/// Forecasts of a site's price, and how they came out.
#[derive(Clone, Debug, Default)]
pub struct PriceTrack {
    seen: VecDeque<(Timestamp, f64)>,
    said: VecDeque<(Timestamp, f64)>,
    /// (when, squared error).
    errors: VecDeque<(Timestamp, f64)>,
}

impl PriceTrack {
    /// Takes in a board's slots; gives the standard deviation to go with them, kW per kW.
    pub fn observe(&mut self, now: Timestamp, slots: &[Slot], slot: Span) -> f64 {
        let Some(first) = slots.first() else { return f64::INFINITY };
        if self.seen.back().is_some_and(|s| now < s.0) {
            // The clock went back: what was seen is of another time.
            *self = PriceTrack::default();
        }
        if self.seen.back().is_none_or(|s| now - s.0 >= EVERY) {
            let ahead = ((OVER.0 / slot.0.max(1)) as usize).clamp(1, slots.len());
            let mean = slots[..ahead].iter().map(Slot::marginal).sum::<f64>() / ahead as f64;
            self.seen.push_back((now, first.marginal()));
            self.said.push_back((now, mean));
        }
        while let Some(&(at, said)) = self.said.front().filter(|s| now - s.0 >= OVER) {
            self.said.pop_front();
            let came: Vec<f64> = self.seen.iter().filter(|s| s.0 >= at && s.0 - at <= OVER).map(|s| s.1).collect();
            // Over a gap in telemetry nothing can be said.
            if came.len() as i64 * 2 * EVERY.0 >= OVER.0 / 3 {
                let mean = came.iter().sum::<f64>() / came.len() as f64;
                self.errors.push_back((now, (said - mean).powi(2)));
            }
        }
        let since = self.said.front().map_or(now, |s| s.0);
        self.seen.retain(|s| s.0 >= since);
        while self.errors.front().is_some_and(|e| now - e.0 > KEPT) {
            self.errors.pop_front();
        }
        match self.errors.front() {
            Some(e) if now - e.0 >= ENOUGH => (self.errors.iter().map(|e| e.1).sum::<f64>() / self.errors.len() as f64).sqrt(),
            _ => slope_spread(first),
        }
    }
}

/// Standard deviation of a curve's slopes around the load.
fn slope_spread(s: &Slot) -> f64 {
    let (steps, mut slopes) = (8, vec![]);
    for i in 0..=steps {
        slopes.push(s.curve.slope(s.base_kw * (1.0 - SWING + 2.0 * SWING * f64::from(i) / f64::from(steps))));
    }
    let mean = slopes.iter().sum::<f64>() / slopes.len() as f64;
    (slopes.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / slopes.len() as f64).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::place::problem::Curve;

    fn slots(price: f64) -> Vec<Slot> {
        let curve = Curve { first_kw: 0.0, step_kw: 100.0, total_kw: (0..20).map(|i| 100.0 * price * f64::from(i)).collect() };
        let one = Slot { at: Timestamp(0), base_kw: 500.0, curve, room_kw: f64::INFINITY, limit: String::new(), cooled: false };
        vec![one; 12]
    }

    #[test]
    fn a_steady_price_is_believed_and_a_leaping_one_is_not() {
        let run = |price: &dyn Fn(i64) -> f64| {
            let mut t = PriceTrack::default();
            (0..2000).fold(0.0, |_, k| t.observe(Timestamp(0) + Span::minutes(5 * k), &slots(price(k)), Span::minutes(30)))
        };
        assert!(run(&|_| 1.07) < 1e-9);
        // Five hours dear, five hours cheap: each board says that it stays as it is.
        let leaping = run(&|k| if (k / 60) % 2 == 0 { 1.1 } else { 1.0 });
        assert!((0.03..0.08).contains(&leaping), "{leaping}");
    }

    #[test]
    fn before_it_has_seen_itself_the_curve_speaks() {
        let mut t = PriceTrack::default();
        let mut bent = slots(1.0);
        bent[0].curve.total_kw.iter_mut().enumerate().for_each(|(i, v)| *v += 20.0 * (i as f64 - 5.0).max(0.0));
        let sigma = t.observe(Timestamp(0), &bent, Span::minutes(30));
        assert!((0.05..0.15).contains(&sigma), "{sigma}");
        assert!(t.observe(Timestamp(0), &[], Span::minutes(30)).is_infinite());
        for k in 0..100_000 {
            t.observe(Timestamp(0) + Span::seconds(k), &bent, Span::minutes(30));
        }
        assert!(t.seen.len() + t.said.len() + t.errors.len() < 1000);
    }
}
