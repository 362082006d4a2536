//! Bounded, safe excitation: moves setpoints a little so that their effects can be told apart.
//!
//! Words: a *band* is the part of an actuator's bounds that is tried by now; it widens with the hours. A *level* is a
//! value inside the band, held for some ticks; levels and holds follow Halton sequences (Halton 1960), one prime per
//! actuator, so that the patterns are independent, fill the bands evenly, and are the same each time.
//! Invariants: a level keeps each limit with its margin as far as the setpoint itself is limited; when a limited value
//! comes near its limit everything goes back towards the operators' setpoints until it is clear again; what is asked
//! still passes [`super::check`]. No randomness, no clock.
//! The bands lean to the side that is usually cheaper (warmer supplies, slower pumps): what is learnt there is of more use.

use super::view::View;
use crate::site::{Actuator, SiteFile};
use crate::time::{Span, Timestamp};

/// Part of the way to a bound that is tried at once, and that is added each hour.
const BAND_FIRST: f64 = 0.3;
const BAND_PER_HOUR: f64 = 0.25;
/// Part of the way to a bound that excitation never goes beyond: on the cheap side of a temperature, on the other, and
/// down to the least flow.
const BAND_CHEAP: f64 = 0.6;
const BAND_DEAR: f64 = 0.2;
const BAND_FLOW: f64 = 0.75;
/// A setpoint this far over the ambient, K, is cooled without effort on its dear side too: the side is then tried as far as
/// the other one; below the first figure not at all so.
const EASY_K: (f64, f64) = (6.0, 12.0);
/// How long a level is held at least, and at most that much more; never less than three ticks.
const HOLD: Span = Span::minutes(25);
const HOLD_TICKS_MIN: i64 = 3;
/// How long everything stays back after a limit came near.
const RETREAT: Span = Span::minutes(40);
/// Extra distance from a limit, in margins.
const CLEAR_MARGINS: f64 = 1.5;

const PRIMES: [u64; 16] = [2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53];

/// The `k`-th number of the Halton sequence of a base, 0–1.
pub fn halton(mut k: u64, base: u64) -> f64 {
    let (mut f, mut x) = (1.0, 0.0);
    while k > 0 {
        f /= base as f64;
        x += f * (k % base) as f64;
        k /= base;
    }
    x
}

/// The prime of an actuator.
pub fn prime(i: usize) -> u64 {
    PRIMES[i % PRIMES.len()]
}

/// One site's excitation under way.
#[derive(Clone, Debug)]
pub struct Excitation {
    began: Timestamp,
    /// Per actuator: the level, until when, and how many levels there have been.
    levels: Vec<(f64, Timestamp, u64)>,
    retreat_until: Timestamp,
    /// Why everything is held back now; empty where nothing is.
    pub retreat_why: String,
}

impl Excitation {
    pub fn new(site: &SiteFile, now: Timestamp) -> Excitation {
        let levels = site.actuators.iter().enumerate().map(|(i, a)| (a.default, now, 1 + i as u64)).collect();
        Excitation { began: now, levels, retreat_until: Timestamp::MIN, retreat_why: String::new() }
    }

    pub fn began(&self) -> Timestamp {
        self.began
    }

    /// Targets for now, one per actuator.
    pub fn targets(&mut self, view: &View) -> Vec<f64> {
        let site = &*view.site;
        let now = view.now;
        if let Some(name) = nearest_limit(view) {
            self.retreat_until = now + RETREAT;
            self.retreat_why = format!("{name} is near its limit");
        }
        if now < self.retreat_until {
            for (level, a) in self.levels.iter_mut().zip(&site.actuators) {
                (level.0, level.1) = (a.default, self.retreat_until);
            }
        } else {
            self.retreat_why.clear();
        }
        let tick = site.control.tick();
        let grown = (BAND_FIRST + BAND_PER_HOUR * (now - self.began).as_hours_f64()).min(1.0);
        for (i, a) in site.actuators.iter().enumerate() {
            let Some((level, until, k)) = self.levels.get_mut(i) else { continue };
            if now >= *until {
                let p = prime(i);
                *k += 1;
                let ticks = (HOLD.0 / tick.0.max(1)).max(HOLD_TICKS_MIN) as f64;
                let (lo, hi) = band(view, a, grown);
                let wanted = lo + halton(*k + 7 * p, p) * (hi - lo);
                // On the grid of steps, as far as the band has room for one.
                let grid = a.default + ((wanted - a.default) / a.step).round() * a.step;
                let before = *level;
                *level = if (lo..=hi).contains(&grid) { grid } else { wanted };
                // Held from its arrival on: on the way nothing is learnt of the plant at rest.
                let on_the_way = ((*level - before).abs() / (a.slew_per_min * tick.as_secs_f64() / 60.0)).ceil();
                *until = now + Span(tick.0 * (ticks * (1.0 + halton(*k, prime(i + 3))) + on_the_way) as i64);
            }
        }
        // Loops that give their heat to another one stay warmer than it: below that, machines run in vain.
        let mut out: Vec<f64> = self.levels.iter().map(|l| l.0).collect();
        for (cool, c) in site.actuators.iter().enumerate().filter(|(_, c)| is_temp(view, c)) {
            let feeds = |a: &Actuator| site.loops.iter().any(|l| l.id == a.loop_id && l.into.as_deref() == Some(c.loop_id.as_str()));
            let warm = site.actuators.iter().zip(&out).filter(|(a, _)| feeds(a) && is_temp(view, a));
            let Some(coldest) = warm.map(|(_, v)| *v).min_by(f64::total_cmp) else { continue };
            let gap = 0.5 + 7.0 * halton(self.levels[cool].2, 2);
            let (lo, hi) = limits_of(view, c);
            out[cool] = (coldest - gap).clamp(lo.max(ambient_floor(view, c)).min(hi), hi);
        }
        out
    }
}

fn is_temp(view: &View, a: &Actuator) -> bool {
    view.actuators.iter().zip(&view.site.actuators).any(|(v, s)| s.id == a.id && v.unit == "°C")
}

/// The least that weather lets a loop reach that gives its heat to it; the bound where another loop takes the heat.
fn ambient_floor(view: &View, a: &Actuator) -> f64 {
    let outdoors = view.site.loops.iter().any(|l| l.id == a.loop_id && l.into.is_none());
    let wet = view.weather.wet_bulb_c;
    if outdoors && is_temp(view, a) && wet.is_finite() { wet + 2.0 } else { a.lo }
}

/// Bounds of an actuator with the limits on its setpoint and on what it steers, and their margins.
pub fn limits_of(view: &View, a: &Actuator) -> (f64, f64) {
    let (mut lo, mut hi) = (a.lo, a.hi);
    for l in &view.site.limits {
        let own = l.actuator.as_deref() == Some(a.id.as_str());
        if !own {
            continue;
        }
        let (below, above) = l.above.as_ref().map_or((0.0, 0.0), |r| (view.role(r).low, view.role(r).high));
        if let Some(min) = l.min.map(|m| m + above + CLEAR_MARGINS * l.margin).filter(|m| m.is_finite()) {
            lo = lo.max(min);
        }
        if let Some(max) = l.max.map(|m| m + below - CLEAR_MARGINS * l.margin).filter(|m| m.is_finite()) {
            hi = hi.min(max);
        }
    }
    (lo.min(a.hi), hi.max(lo).min(a.hi))
}

/// What may be tried of an actuator by now.
fn band(view: &View, a: &Actuator, grown: f64) -> (f64, f64) {
    let (lo, hi) = limits_of(view, a);
    let over = a.default - view.weather.wet_bulb_c;
    let ease = if over.is_finite() { ((over - EASY_K.0) / (EASY_K.1 - EASY_K.0)).clamp(0.0, 1.0) } else { 0.0 };
    let (down, up) = match is_temp(view, a) {
        true => (BAND_DEAR + ease * (BAND_CHEAP - BAND_DEAR), BAND_CHEAP),
        false => (BAND_FLOW, BAND_DEAR),
    };
    let lo_tried = a.default - grown * down * (a.default - a.lo);
    let hi_tried = a.default + grown * up * (a.hi - a.default);
    let lo = lo_tried.max(lo).max(ambient_floor(view, a).min(hi)).min(hi);
    (lo, hi_tried.clamp(lo, hi))
}

/// The first limit, not on a setpoint of ours, whose value is near; an unknown value counts as near.
fn nearest_limit(view: &View) -> Option<String> {
    let near = |l: &&crate::site::Limit| {
        let v = view.role(&l.role);
        let (below, above) = l.above.as_ref().map_or((0.0, 0.0), |r| (view.role(r).low, view.role(r).high));
        let keep = CLEAR_MARGINS * l.margin;
        // Written so that NaN is near.
        l.actuator.is_none() && !(l.max.is_none_or(|m| v.high < m + below - keep) && l.min.is_none_or(|m| v.low > m + above + keep))
    };
    view.site.limits.iter().find(near).map(|l| l.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_fill_the_band_evenly() {
        let v: Vec<f64> = (1..=16).map(|k| halton(k, 2)).collect();
        assert!(v.iter().all(|x| (0.0..1.0).contains(x)));
        for bin in 0..4 {
            assert_eq!(v.iter().filter(|x| (**x * 4.0) as usize == bin).count(), 4);
        }
    }
}
