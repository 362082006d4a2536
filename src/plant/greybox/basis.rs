//! Variables, axes and ramps: the physically signed shapes that meters are made of.
//!
//! Words: a *lift* is a temperature over the ambient; a *gap* is a setpoint over another loop's, less what an exchanger
//! needs in proportion to the load. Invariant: evaluation allocates nothing and cannot fail; every weight on a
//! [`Shape`] is meant to be zero or above.

use crate::plant::identified::{Binding, Row};
use crate::site::SiteFile;
use crate::units::Kind;
use serde::{Deserialize, Serialize};

/// What the vector of variables is made of, in this order: setpoints (temperatures as they are, others as a share of
/// their upper bound), loads (as a share of their mean), dry bulb, wet bulb, dew point of the room.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Variables {
    /// Divisor of each actuator's value: 1 for temperatures.
    pub scale: Vec<f64>,
    pub is_temp: Vec<bool>,
    /// Index of each distinct load in a row's loads, and its mean, kW: those of the loops first, then those that limits have of their own.
    pub loads: Vec<(usize, f64)>,
    /// For each loop, which of `loads` it carries.
    pub load_of_loop: Vec<usize>,
    /// The loop that each actuator acts on.
    pub acts_on: Vec<usize>,
    /// Pairs of temperature setpoints whose loops an exchanger links: the one that gives heat, the one that takes it.
    pub linked: Vec<(usize, usize)>,
    /// Machines that are on or off; each adds the share of time for which it runs, after all others.
    pub machines: usize,
}

impl Variables {
    pub fn of(site: &SiteFile, b: &Binding, rows: &[Row]) -> Variables {
        let is_temp: Vec<bool> = b.kinds.iter().map(|k| matches!(k, Kind::Temperature | Kind::TemperatureDifference)).collect();
        let scale = site.actuators.iter().zip(&is_temp).map(|(a, t)| if *t { 1.0 } else { a.hi.abs().max(1e-6) }).collect();
        let mean = |i: usize| {
            let (mut sum, mut n) = (0.0, 0.0);
            for v in rows.iter().map(|r| r.loads_kw[i]).filter(|v| v.is_finite()) {
                sum += v;
                n += 1.0;
            }
            if n > 0.0 { (sum / n).max(1e-3) } else { 1.0 }
        };
        let mut loads: Vec<(usize, f64)> = Vec::new();
        let mut load_of_loop = Vec::new();
        for (i, l) in site.loops.iter().enumerate() {
            let same = site.loops[..i].iter().position(|o| o.load == l.load);
            match same {
                Some(o) => load_of_loop.push(load_of_loop[o]),
                None => {
                    load_of_loop.push(loads.len());
                    loads.push((i, mean(i)));
                }
            }
        }
        loads.extend((b.loops.len()..b.loads()).map(|i| (i, mean(i))));
        let into = |a: usize| site.loops.get(*b.acts_on.get(a)?)?.into.as_deref();
        let linked = (0..is_temp.len())
            .flat_map(|a| (0..is_temp.len()).map(move |o| (a, o)))
            .filter(|&(a, o)| is_temp[a] && is_temp[o] && into(a).is_some_and(|id| site.actuators[o].loop_id == id))
            .collect();
        Variables { scale, is_temp, loads, load_of_loop, acts_on: b.acts_on.clone(), linked, machines: 0 }
    }

    pub fn temps(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.is_temp.len()).filter(|&a| self.is_temp[a])
    }
    pub fn flows(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.is_temp.len()).filter(|&a| !self.is_temp[a])
    }
    pub fn load(&self, l: usize) -> usize {
        self.scale.len() + l
    }
    /// How many of `loads` are loops': what powers hang on.
    pub fn of_loops(&self) -> usize {
        self.loads.iter().filter(|(i, _)| *i < self.load_of_loop.len()).count()
    }
    /// The load, as a variable, of the loop that an actuator acts on.
    pub fn load_of(&self, actuator: usize) -> usize {
        self.load(self.load_of_loop.get(self.acts_on[actuator]).copied().unwrap_or(0))
    }
    pub fn dry_bulb(&self) -> usize {
        self.scale.len() + self.loads.len()
    }
    pub fn wet_bulb(&self) -> usize {
        self.dry_bulb() + 1
    }
    pub fn dew_point(&self) -> usize {
        self.dry_bulb() + 2
    }
    pub fn machine(&self, m: usize) -> usize {
        self.dry_bulb() + 3 + m
    }
    pub fn len(&self) -> usize {
        self.machine(self.machines)
    }

    /// Fills the variables; machines rest.
    pub fn fill(&self, setpoints: &[f64], loads_kw: &[f64], gain: f64, weather: [f64; 3], z: &mut Vec<f64>) {
        z.clear();
        z.extend(self.scale.iter().enumerate().map(|(i, s)| setpoints.get(i).copied().unwrap_or(f64::NAN) / s));
        z.extend(self.loads.iter().map(|(i, mean)| loads_kw.get(*i).copied().unwrap_or(f64::NAN) * gain / mean));
        z.extend_from_slice(&weather);
        z.resize(self.len(), 0.0);
    }
}

pub fn weather_of(r: &Row) -> [f64; 3] {
    [r.weather.dry_bulb_c, r.weather.wet_bulb_c, r.room_dew_point_c]
}

/// A direction along which cooling gets easier; indices are of variables.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// A setpoint as it is.
    Level { a: u16 },
    /// A setpoint over the ambient.
    Lift { a: u16, ambient: u16 },
    /// Lift per unit of load: what a tower or a dry cooler feels.
    Ease { a: u16, ambient: u16, load: u16 },
    /// `a − o − k·load`: what an exchanger or a compressor between two loops feels; with a flow, `k·load/flow`.
    Gap { a: u16, o: u16, k: f64, load: u16, flow: Option<u16> },
    /// Less of something: of flow, of load, of warm weather.
    Less { v: u16 },
}

impl Axis {
    pub fn value(&self, z: &[f64]) -> f64 {
        let at = |i: u16| z[usize::from(i)];
        match *self {
            Axis::Level { a } => at(a),
            Axis::Lift { a, ambient } => at(a) - at(ambient),
            Axis::Ease { a, ambient, load } => ((at(a) - at(ambient)).max(0.3) / at(load).max(0.05)).ln(),
            Axis::Gap { a, o, k, load, flow } => {
                let per = flow.map_or(1.0, |f| at(f).max(0.05));
                at(a) - at(o) - k * at(load) / per
            }
            Axis::Less { v } => -at(v),
        }
    }
}

/// One stretch of an axis, alone or per load. `from` is its easy end (0), `to` its hard end (1); a ramp without an end
/// goes on rising beyond `from`, one per unit of the axis.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Shape {
    Ramp {
        axis: Axis,
        from: f64,
        to: f64,
        times: Option<u16>,
    },
    Hinge {
        axis: Axis,
        from: f64,
        times: Option<u16>,
    },
    /// A variable to a power, alone or times another: fan and pump laws, loads.
    Power {
        v: u16,
        power: u8,
        times: Option<u16>,
    },
    /// (load / lift)³: the fan law of a cooler whose air flow is made for its approach, held where the lift vanishes.
    Cube {
        a: u16,
        ambient: u16,
        load: u16,
    },
}

impl Shape {
    pub fn value(&self, z: &[f64]) -> f64 {
        let times = |t: Option<u16>| t.map_or(1.0, |t| z[usize::from(t)]);
        match *self {
            Shape::Ramp { axis, from, to, times: t } => ((from - axis.value(z)) / (from - to)).clamp(0.0, 1.0) * times(t),
            Shape::Hinge { axis, from, times: t } => (from - axis.value(z)).max(0.0) * times(t),
            Shape::Power { v, power, times: t } => z[usize::from(v)].max(0.0).powi(i32::from(power)) * times(t),
            Shape::Cube { a, ambient, load } => {
                let lift = (z[usize::from(a)] - z[usize::from(ambient)]).max(1.5);
                (4.0 * z[usize::from(load)] / lift).min(2.0).powi(3)
            }
        }
    }
}

/// Approaches of exchangers at mean load, K.
const APPROACHES_K: [f64; 4] = [0.0, 2.0, 4.0, 8.0];
/// Stretches of an axis.
const STRETCHES: usize = 9;

/// Quantiles of an axis in the data, without doubles.
fn knots(axis: &Axis, rows: &[Vec<f64>]) -> Vec<f64> {
    let mut v: Vec<f64> = rows.iter().map(|z| axis.value(z)).filter(|v| v.is_finite()).collect();
    v.sort_by(f64::total_cmp);
    let (Some(lo), Some(hi)) = (v.first(), v.last()) else { return Vec::new() };
    let least = (hi - lo) / (3.0 * STRETCHES as f64);
    let mut out: Vec<f64> = Vec::new();
    for k in 0..=STRETCHES {
        let q = v[(k as f64 / STRETCHES as f64 * (v.len() - 1) as f64).round() as usize];
        if out.last().is_none_or(|l| q - l > least.max(1e-6)) {
            out.push(q);
        }
    }
    out
}

/// Every shape that a meter of this plant may be made of.
pub fn dictionary(v: &Variables, rows: &[Vec<f64>]) -> Vec<Shape> {
    let mut axes: Vec<(Axis, u16)> = Vec::new();
    let mut out: Vec<Shape> = Vec::new();
    let u = |i: usize| i as u16;
    let temps: Vec<usize> = v.temps().collect();
    let moves = |i: usize| {
        let (lo, hi) = rows.iter().fold((f64::MAX, f64::MIN), |(lo, hi), z| (lo.min(z[i]), hi.max(z[i])));
        hi - lo > 1e-3
    };
    for &a in temps.iter().filter(|&&a| moves(a)) {
        let load = u(v.load_of(a));
        axes.push((Axis::Level { a: u(a) }, load));
        for ambient in [v.wet_bulb(), v.dry_bulb()] {
            axes.push((Axis::Lift { a: u(a), ambient: u(ambient) }, load));
            axes.push((Axis::Ease { a: u(a), ambient: u(ambient), load }, load));
            out.push(Shape::Cube { a: u(a), ambient: u(ambient), load });
        }
    }
    for &a in &temps {
        for &o in temps.iter().filter(|&&o| o != a && (moves(a) || moves(o))) {
            let load = u(v.load_of(a));
            for k in APPROACHES_K {
                axes.push((Axis::Gap { a: u(a), o: u(o), k, load, flow: None }, load));
            }
            for f in v.flows().filter(|&f| v.acts_on[f] == v.acts_on[a] && moves(f)) {
                axes.push((Axis::Gap { a: u(a), o: u(o), k: 4.0, load, flow: Some(u(f)) }, load));
            }
        }
    }
    for f in v.flows().filter(|&f| moves(f)) {
        axes.push((Axis::Less { v: u(f) }, u(v.load_of(f))));
        out.extend((1..=3).map(|power| Shape::Power { v: u(f), power, times: None }));
    }
    for l in 0..v.of_loops() {
        out.extend((1..=3).map(|power| Shape::Power { v: u(v.load(l)), power, times: None }));
    }
    for ambient in [v.wet_bulb(), v.dry_bulb()] {
        axes.push((Axis::Less { v: u(ambient) }, u(v.load(0))));
    }
    for (axis, load) in axes {
        let k = knots(&axis, rows);
        for times in [None, Some(load)] {
            if let Some(first) = k.first() {
                out.push(Shape::Hinge { axis, from: *first, times });
            }
            out.extend(k.windows(2).map(|w| Shape::Ramp { axis, from: w[1], to: w[0], times }));
        }
    }
    out
}
