//! What a kind of quantity can and cannot do: why a power of zero is a machine at rest and a temperature of zero is not.
//!
//! Words: a *restless* quantity is measured continuously and never repeats itself for long while its sensor lives; one that
//! *rests* has a zero that means "switched off"; a *raw zero* is the canonical value of a published 0 (−17.8 °C for a
//! publisher in °F), which a broken wire, a missing register or a failed poll sends.
//! Invariant: depends on the point's metadata alone; a setpoint is none of these.

use crate::site::{Class, Point};
use crate::units::Kind;

/// How the values of a point behave, for the detectors.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Nature {
    /// Can be judged frozen from its own habit.
    pub restless: bool,
    /// Zero, and what is close to it, is a machine at rest.
    pub rests: bool,
    /// Canonical value of a published zero, where that is no sensible value.
    pub dead_zero: Option<f64>,
    /// Has no end of its own below the end of the sensor's scale.
    pub can_clip: bool,
    /// Least departure that can be a spike, canonical unit.
    pub spike_floor: Option<f64>,
    /// Only grows.
    pub counter: bool,
    /// Published units per canonical unit: where a counter's digits end.
    pub scale: f64,
    /// Counts for a class that says how long the value may stand still.
    pub frozen_after_s: Option<u32>,
    pub max_departure: Option<f64>,
    pub max_rate_per_min: Option<f64>,
    pub range: Option<[f64; 2]>,
}

impl Nature {
    pub fn of(point: &Point, class: Option<&Class>) -> Nature {
        let unit = point.unit();
        let mut n = Nature { scale: unit.scale, ..Nature::default() };
        if let Some(c) = class {
            (n.frozen_after_s, n.max_departure) = (c.frozen_after_s, c.max_departure);
            (n.max_rate_per_min, n.range) = (c.max_rate_per_min, c.range);
        }
        if point.is_setpoint {
            return n;
        }
        match point.kind {
            Kind::Temperature => {
                (n.restless, n.can_clip, n.spike_floor) = (true, true, Some(5.0));
                n.dead_zero = Some(unit.canonical(0.0));
            }
            Kind::TemperatureDifference => (n.restless, n.rests, n.can_clip, n.spike_floor) = (true, true, true, Some(5.0)),
            // 100 %RH is fog, and the end of every sensor's scale.
            Kind::Humidity => (n.restless, n.dead_zero, n.spike_floor) = (true, Some(0.0), Some(20.0)),
            Kind::Power | Kind::ApparentPower | Kind::Current => {
                (n.restless, n.rests, n.can_clip, n.spike_floor) = (true, true, true, Some(0.0));
            }
            // Held by a controller, at its highest for as long as that is asked for.
            Kind::Flow | Kind::AirFlow | Kind::Pressure | Kind::Voltage => (n.restless, n.rests, n.spike_floor) = (true, true, Some(0.0)),
            Kind::Sound => (n.restless, n.rests, n.spike_floor) = (true, true, Some(20.0)),
            Kind::Energy => n.counter = true,
            // A drive's speed, an opening and a share rest at their ends; counts and states stand still by nature; a volume is
            // a tank's level as often as a meter's count.
            Kind::Frequency | Kind::Ratio | Kind::Volume | Kind::Count | Kind::State | Kind::Instant | Kind::Opaque => {}
        }
        n.can_clip &= class.is_none_or(|c| !c.tops_out);
        n
    }
}
