//! How far a plan passes its limits, and what it keeps from them.
//!
//! Words: the *excess* is what is missing to the tightened limits, summed over limits and steps; a limit is tightened by its margin or,
//! at the expected load, by what a loss of one machine *needs* where that is more ([`crate::site::Reserve`]), and by the model's stated
//! error; what the operators' own setpoints *lack* of such a need, a plan need not keep.
//! Invariants: a limit with its margin is never weakened by what operators lack; one thing goes wrong at a time, so losses are judged at
//! the expected load and the ramp without losses.

use super::{Level, Search};
use crate::site::Reserve;

impl Search<'_> {
    /// How far targets pass the tightened limits: with their reserves at the expected load (one thing goes wrong at a time), and
    /// without under the ramp, which is what stays in `out`.
    pub(super) fn beyond(&mut self, targets: &[f64]) -> f64 {
        let mut sum = 0.0;
        if self.reserves {
            self.roll(targets, Level::P50);
            sum += self.excess(true);
        }
        self.roll(targets, Level::Ramp);
        sum + self.excess(false)
    }

    /// How far the rollout in `out` passes the tightened limits, or (`reserves`) those that have a reserve with that in place of a
    /// smaller margin: what is lost may take the margin, not the limit. A limit that is passed already is not charged for the first
    /// step: no plan can change that.
    fn excess(&self, reserves: bool) -> f64 {
        let mut sum = 0.0;
        for (i, l) in self.site.limits.iter().enumerate().filter(|(_, l)| !reserves || l.has_reserve()) {
            let now = self.state.limited.get(i).copied().unwrap_or(f64::NAN);
            // A setpoint neither grows with the load nor with what is lost: it is counted once, under the ramp. It is no surprise either.
            let steered = l.actuator.as_ref().filter(|_| !reserves).and_then(|a| self.site.actuators.iter().position(|x| x.id == *a));
            let surprise = self.start.surprise.get(i).copied().unwrap_or(0.0);
            for (k, o) in self.out.iter().enumerate() {
                let reserve = if reserves { self.reserve(i, k, o.limited.get(i).copied().unwrap_or(f64::NAN)) } else { 0.0 };
                let keep =
                    l.margin.max(reserve) + self.tuning.sigmas * o.limited_sigma.get(i).copied().filter(|s| s.is_finite()).unwrap_or(0.0);
                if let Some(v) = o.limited.get(i).copied().filter(|v| v.is_finite())
                    && !(k == 0 && self.distance(i, now) < keep)
                {
                    sum += (keep - self.distance(i, v)).max(0.0);
                }
                if let Some(j) = steered {
                    sum += (l.margin - surprise - self.distance(i, self.p90[k].setpoints[j])).max(0.0);
                }
            }
        }
        sum
    }

    /// See [`Search::lacks`]; of the rollout in `out`, at the operators' setpoints.
    pub(super) fn lacks(&self) -> Vec<Vec<f64>> {
        let lack = |k: usize, i: usize| {
            let value = self.out[k].limited.get(i).copied().filter(|v| v.is_finite());
            value.map_or(0.0, |v| (self.needs(i, k, v) - self.distance(i, v)).max(0.0))
        };
        let limits = 0..self.site.limits.len();
        (0..self.out.len()).map(|k| limits.clone().map(|i| lack(k, i)).collect()).collect()
    }

    /// What is kept of [`Search::needs`]: not what the operators' own setpoints would not survive either.
    fn reserve(&self, i: usize, k: usize, value: f64) -> f64 {
        self.needs(i, k, value) - self.lacks.get(k).and_then(|l| l.get(i)).copied().unwrap_or(0.0)
    }

    /// What the loss of one machine adds to limit `i` in step `k` of the plan, where `value` is expected.
    fn needs(&self, i: usize, k: usize, value: f64) -> f64 {
        self.site.limits[i].reserve_at(value, |id| self.setpoint(id, k))
    }

    /// See [`Plan::reserved`]; of the rollout in `out`, at the expected load.
    pub(super) fn reserved(&self) -> Option<(usize, String, f64)> {
        let mut least: Option<(f64, usize, usize, f64)> = None;
        for (i, _) in self.site.limits.iter().enumerate().filter(|(_, l)| l.has_reserve()) {
            for (k, o) in self.out.iter().enumerate() {
                let Some(v) = o.limited.get(i).copied().filter(|v| v.is_finite()) else { continue };
                let spare = self.distance(i, v) - self.reserve(i, k, v);
                if least.is_none_or(|(s, ..)| spare < s) {
                    least = Some((spare, i, k, v));
                }
            }
        }
        let (_, i, k, value) = least?;
        let kept = |r: &Reserve| r.at(value, &|id: &str| self.setpoint(id, k));
        let worst = self.site.limits[i].reserve.iter().max_by(|a, b| kept(a).total_cmp(&kept(b)))?;
        Some((i, worst.loss.clone(), self.reserve(i, k, value)))
    }

    /// Setpoint of an actuator in step `k` of the plan.
    fn setpoint(&self, id: &str, k: usize) -> Option<f64> {
        self.site.actuators.iter().position(|a| a.id == id).and_then(|j| self.p50[k].setpoints.get(j)).copied()
    }

    /// Distance of a value to limit `i`; negative = beyond. Unknown references do not bound here: the checker withholds.
    pub(super) fn distance(&self, i: usize, value: f64) -> f64 {
        let (l, (low, high)) = (&self.site.limits[i], self.reference[i]);
        let over = l.max.map_or(f64::MAX, |m| low + m - value);
        let under = l.min.map_or(f64::MAX, |m| value - high - m);
        let d = over.min(under) - self.start.surprise.get(i).copied().unwrap_or(0.0);
        if d.is_finite() { d } else { f64::MAX }
    }
}
