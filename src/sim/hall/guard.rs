//! The guardrails that a BMS holds on requested setpoints: bounds, slew, time-out, the operator's switch.

use crate::plant::twin::TwinSpec;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// How long a request stays valid without being renewed.
pub const HOLD: Span = Span::minutes(30);

/// A setpoint as the BMS holds it.
#[derive(Clone, Debug)]
pub struct HallActuator {
    pub id: String,
    pub lo: f64,
    pub hi: f64,
    pub default: f64,
    pub slew_per_min: f64,
    pub slew_per_10min: f64,
    pub in_force: f64,
    pub asked: Option<(f64, Timestamp)>,
    /// In force at each of the last ten minutes, oldest first.
    minutes: [f64; 10],
}

/// What became of the requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestStats {
    pub made: u64,
    pub clamped: u64,
    pub slewed: u64,
    pub refused: u64,
    pub expired: u64,
}

#[derive(Clone, Debug)]
pub(super) struct Guard {
    actuators: Vec<HallActuator>,
    pub enabled: bool,
    pub stats: RequestStats,
    since_minute: Span,
}

impl Guard {
    pub fn new(spec: &TwinSpec) -> Guard {
        let actuators = spec
            .actuators
            .iter()
            .map(|a| HallActuator {
                id: a.id.clone(),
                lo: a.lo,
                hi: a.hi,
                default: a.default,
                slew_per_min: a.slew_per_min,
                slew_per_10min: a.slew_per_10min,
                in_force: a.default,
                asked: None,
                minutes: [a.default; 10],
            })
            .collect();
        Guard { actuators, enabled: true, stats: RequestStats::default(), since_minute: Span::ZERO }
    }

    pub fn actuators(&self) -> &[HallActuator] {
        &self.actuators
    }

    pub fn in_force(&self) -> [f64; 4] {
        std::array::from_fn(|i| self.actuators.get(i).map_or(0.0, |a| a.in_force))
    }

    pub fn request(&mut self, index: usize, value: f64, now: Timestamp) {
        self.stats.made += 1;
        let Some(a) = self.actuators.get_mut(index).filter(|_| self.enabled && value.is_finite()) else {
            self.stats.refused += 1;
            return;
        };
        let held = value.clamp(a.lo, a.hi);
        if (held - value).abs() > 1e-9 {
            self.stats.clamped += 1;
        }
        let reach = (a.in_force - a.slew_per_10min, a.in_force + a.slew_per_10min);
        if held < reach.0 - 1e-6 || held > reach.1 + 1e-6 {
            self.stats.slewed += 1;
        }
        a.asked = Some((held, now));
    }

    /// Moves what is in force towards what is asked, or back to the default where nothing valid is.
    pub fn tick(&mut self, now: Timestamp, span: Span) {
        self.since_minute = Span(self.since_minute.0 + span.0);
        let minute = self.since_minute >= Span::minutes(1);
        for a in &mut self.actuators {
            if a.asked.is_some_and(|(_, at)| now - at > HOLD) {
                a.asked = None;
                self.stats.expired += 1;
            }
            let want = a.asked.filter(|_| self.enabled).map_or(a.default, |(v, _)| v);
            let step = a.slew_per_min * span.as_secs_f64() / 60.0;
            let (least, most) = a.minutes.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
            let next = a.in_force + (want - a.in_force).clamp(-step, step);
            a.in_force = next.clamp(most - a.slew_per_10min, least + a.slew_per_10min);
            if minute {
                a.minutes.rotate_left(1);
                a.minutes[9] = a.in_force;
            }
        }
        if minute {
            self.since_minute = Span::ZERO;
        }
    }
}
