//! The second author: judges every request before it leaves.
//!
//! It knows the site file, the view and what was asked before. It uses neither the plan's code nor the plant model, so
//! that an error in either does not get past it. A request that breaks a rule goes to `withheld` with the reason.
//! Invariant: what passes is finite, inside bounds, slew (per minute and per ten minutes, against the setpoint in force
//! and against our own requests), absolute limits on setpoints, and above the room's dew point as it may be by now.

use super::mode::Orders;
use super::view::{STALE, View};
use crate::site::{Actuator, Limit};
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;

const EPS: f64 = 1e-6;
const TEN_MINUTES: Span = Span::minutes(10);
/// Levels that are remembered: two a tick, for ten minutes of ticks a second long.
const SEEN_MAX: usize = 2048;

/// What the checker remembers of one actuator: requests and setpoints in force of the last ten minutes, kept here and
/// nowhere else.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    seen: VecDeque<(Timestamp, f64)>,
    last_asked: Option<(Timestamp, f64)>,
    last_change: Option<Timestamp>,
    /// Setpoint in force at the tick before, and when a state (see [`Actuator::is_discrete`]) was last seen to change or asked to.
    before: Option<f64>,
    switched: Option<Timestamp>,
}

impl Memory {
    /// Notes a setpoint in force; to be called each tick before judging.
    pub fn in_force(&mut self, now: Timestamp, value: f64) {
        if value.is_finite() {
            if self.before.is_some_and(|b| (b - value).abs() >= 0.5) {
                self.switched = Some(now);
            }
            self.before = Some(value);
            self.seen.push_back((now, value));
        }
        while self.seen.front().is_some_and(|(t, _)| now - *t >= TEN_MINUTES) || self.seen.len() > SEEN_MAX {
            self.seen.pop_front();
        }
    }

    /// Notes a request that left.
    pub fn sent(&mut self, now: Timestamp, value: f64, in_force: f64) {
        let before = self.last_asked.map_or(in_force, |(_, v)| v);
        if (before - value).abs() > EPS {
            self.last_change = Some(now);
            if (value - in_force).abs() >= 0.5 {
                self.switched = Some(now);
            }
        }
        self.last_asked = Some((now, value));
        self.seen.push_back((now, value));
    }

    /// Notes a request that another controller sent: dwell counts from it, as nobody told whether it was a change.
    pub fn inherit(&mut self, at: Timestamp, value: f64) {
        self.last_asked = Some((at, value));
        self.last_change = self.last_change.max(Some(at));
        self.switched = self.switched.max(Some(at));
        self.seen.push_back((at, value));
    }

    /// When a state may change again: its dwell after the last change that was seen or asked for.
    pub fn may_switch(&self, now: Timestamp, dwell: Span) -> bool {
        self.switched.is_none_or(|t| now - t >= dwell)
    }

    /// Forgets the request that was out, but not the levels of the last ten minutes.
    pub fn release(&mut self) {
        self.last_asked = None;
    }
}

/// Why a request for `value` on actuator `i` must not leave; `None` = it may. `hand_back` = a move to the operators'
/// own setpoint, which needs no fresh inputs but still every hard limit.
pub fn check(view: &View, i: usize, value: f64, memory: &Memory, orders: &Orders, hand_back: bool) -> Option<String> {
    let (Some(a), Some(seen)) = (view.site.actuators.get(i), view.actuators.get(i)) else {
        return Some("the actuator is not in the site file".into());
    };
    if !value.is_finite() {
        return Some("the value is not a number".into());
    }
    if view.link.ai_status.is_some_and(|s| s != 1) {
        return Some("the building management system has not enabled us".into());
    }
    if !view.link.broker_up {
        return Some("the broker cannot be reached".into());
    }
    if seen.request_points == 0 {
        return Some("no point takes the request".into());
    }
    let now_c = seen.in_force.value;
    if seen.in_force.is_stale() {
        return Some("the setpoint in force is not known".into());
    }
    let moves = (value - now_c).abs() > EPS;
    if let Some(pin) = orders.pins.get(&a.id) {
        if (value - pin.value).abs() > (pin.value - now_c).abs() + EPS {
            return Some(format!("pinned at {} by {}", pin.value, pin.who));
        }
    } else if let Some(hold) = orders.hold(&a.loop_id)
        && moves
        && !hand_back
    {
        return Some(format!("held by {}", hold.who));
    }
    if value < a.lo - EPS || value > a.hi + EPS {
        return Some(format!("{value:.2} is outside {} … {}", a.lo, a.hi));
    }
    if a.is_discrete() {
        return switch(view, a, value, now_c, memory, hand_back);
    }
    // Slew: against the setpoint in force, over the time since our last change and at most one control tick.
    let tick_ms = view.site.control.tick().0;
    let since_ms = memory.last_change.map_or(tick_ms, |t| (view.now - t).0);
    let minutes = since_ms.min(tick_ms).clamp(60_000, 600_000) as f64 / 6e4;
    let per_step = a.slew_per_min * minutes;
    if (value - now_c).abs() > per_step + EPS {
        return Some(format!("a step of {:.2} is more than {per_step:.2} in {minutes:.0} min", value - now_c));
    }
    if let Some((t, asked)) = memory.last_asked
        && view.now - t < Span::minutes(1)
        && (value - asked).abs() > a.slew_per_min + EPS
    {
        return Some(format!("more than {} in a minute after our last request", a.slew_per_min));
    }
    for (t, level) in &memory.seen {
        if view.now - *t < TEN_MINUTES && (value - level).abs() > a.slew_per_10min + EPS {
            return Some(format!("more than {} from {level:.2} within ten minutes", a.slew_per_10min));
        }
    }
    let asked_before = memory.last_asked.map_or(now_c, |(_, v)| v);
    let changes = (value - asked_before).abs() > EPS;
    // A change takes up to a whole minute's slew: however short the tick and the dwell, one a minute.
    let dwell_s = a.dwell_s.max(60);
    if changes && memory.last_change.is_some_and(|t| view.now - t < Span::seconds(i64::from(dwell_s))) {
        return Some(format!("the last change is less than {dwell_s} s ago"));
    }
    if changes && !hand_back && moves && !view.creeps(i) && (value - now_c).abs() < a.step * 0.999 - EPS {
        return Some(format!("a step below {} is not worth a request", a.step));
    }
    for limit in &view.site.limits {
        if limit.actuator.as_deref() == Some(a.id.as_str())
            && let Some(why) = breaks_setpoint_limit(view, limit, value, now_c)
        {
            return Some(why);
        }
        if moves
            && !hand_back
            && let Some(why) = rests_on_stale(view, limit)
        {
            return Some(why);
        }
    }
    None
}

/// A state of a machine: a whole one, and not before the machine's least time in its state is over, whoever switched it.
fn switch(view: &View, a: &Actuator, value: f64, now_value: f64, memory: &Memory, hand_back: bool) -> Option<String> {
    if (value - value.round()).abs() > EPS {
        return Some(format!("{value:.2} is no state: whole numbers from {} to {}", a.lo, a.hi));
    }
    if (value - now_value).abs() < 0.5 {
        return None;
    }
    let dwell = Span::seconds(i64::from(a.dwell_s));
    if let Some(t) = memory.switched
        && view.now - t < dwell
    {
        return Some(format!("it was switched less than {} s ago", a.dwell_s));
    }
    let own = |l: &&Limit| l.actuator.as_deref() == Some(a.id.as_str());
    if let Some(why) = view.site.limits.iter().filter(own).find_map(|l| breaks_setpoint_limit(view, l, value, now_value)) {
        return Some(why);
    }
    if hand_back { None } else { view.site.limits.iter().find_map(|l| rests_on_stale(view, l)) }
}

/// A limit whose value is the setpoint itself. A step that brings a breaking setpoint nearer to the limit may pass.
fn breaks_setpoint_limit(view: &View, limit: &Limit, value: f64, now_value: f64) -> Option<String> {
    let (low_ref, high_ref) = match &limit.above {
        None => (0.0, 0.0),
        Some(role) => {
            let r = view.role(role);
            if !r.is_known() && (value - now_value).abs() > EPS {
                return Some(format!("{}: {role} is not known", limit.name));
            }
            if !r.is_known() {
                return None;
            }
            (r.low, r.high)
        }
    };
    if let Some(min) = limit.min {
        let floor = high_ref + min;
        if value < floor - EPS && value < now_value + EPS {
            return Some(format!("{}: {value:.2} is below {floor:.2}", limit.name));
        }
    }
    if let Some(max) = limit.max {
        let ceiling = low_ref + max;
        if value > ceiling + EPS && value > now_value - EPS {
            return Some(format!("{}: {value:.2} is above {ceiling:.2}", limit.name));
        }
    }
    None
}

/// A limited value that is not fresh enough to move by. How near it is to its limit is not judged here: that takes a model.
fn rests_on_stale(view: &View, limit: &Limit) -> Option<String> {
    let names = std::iter::once(&limit.role).chain(&limit.above);
    for name in names {
        let r = view.role(name);
        if !r.is_known() {
            return Some(format!("{}: {name} is not known", limit.name));
        }
        if r.age > STALE {
            return Some(format!("{}: {name} is {} old", limit.name, r.age));
        }
    }
    None
}
