//! Physically shaped features: what fans, pumps, heat exchangers and compressors make of load, setpoint and weather.
//!
//! Words: a *variable* is one number of the plant's state of affairs (a setpoint, a loop's load, the weather); a
//! *feature* is `times · act(bias + Σ weight·variable)^power`, with `act` the identity or the hinge `max(0, ·)`. That
//! one shape holds pump and fan laws (flow², flow³), loads, lifts over wet and dry bulb, approaches between loops and
//! the knee where a dry cooler runs out of capacity: `max(0, load − capacity·lift)`.
//! Invariants: features are values in the model's file, not code; evaluation allocates nothing.

use super::dataset::Binding;
use crate::units::Kind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// Where each kind of variable stands in the vector of variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// Divisor of each actuator's value: 1 for temperatures, the baseline for flows.
    pub setpoint_scale: Vec<f64>,
    /// Divisor of each load: its mean in the data, kW.
    pub load_scale: Vec<f64>,
    /// Actuators that are not temperatures: their inverses are variables too (film resistance, temperature rise).
    pub flows: Vec<usize>,
}

impl Layout {
    pub fn load(&self, i: usize) -> usize {
        self.setpoint_scale.len() + i
    }
    pub fn dry_bulb(&self) -> usize {
        self.setpoint_scale.len() + self.load_scale.len()
    }
    pub fn wet_bulb(&self) -> usize {
        self.dry_bulb() + 1
    }
    pub fn room_dew_point(&self) -> usize {
        self.dry_bulb() + 2
    }
    pub fn inverse(&self, flow: usize) -> usize {
        self.dry_bulb() + 3 + flow
    }
    pub fn len(&self) -> usize {
        self.dry_bulb() + 3 + self.flows.len()
    }

    /// Fills the variables from one step; loads are multiplied by `load_gain`.
    pub fn fill(&self, setpoints: &[f64], loads_kw: &[f64], load_gain: f64, weather: [f64; 3], z: &mut Vec<f64>) {
        z.clear();
        let at = |v: &[f64], i: usize| v.get(i).copied().unwrap_or(f64::NAN);
        z.extend(self.setpoint_scale.iter().enumerate().map(|(i, s)| at(setpoints, i) / s));
        z.extend(self.load_scale.iter().enumerate().map(|(i, s)| at(loads_kw, i) * load_gain / s));
        z.extend_from_slice(&weather);
        z.extend(self.flows.iter().map(|&i| self.setpoint_scale[i] / at(setpoints, i).max(0.05 * self.setpoint_scale[i])));
    }

    /// Names of the variables, for the card.
    pub fn names(&self, b: &Binding) -> Vec<String> {
        let mut names: Vec<String> = b.actuators.clone();
        names.extend(b.loops.iter().chain(&b.own_loads).map(|l| format!("load:{l}")));
        names.extend(["dry_bulb", "wet_bulb", "room_dew_point"].map(String::from));
        names.extend(self.flows.iter().map(|&i| format!("1/{}", b.actuators[i])));
        names
    }
}

/// `times · act(bias + Σ weight·variable)^power`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Feature {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u16>,
    pub weights: Vec<(u16, f64)>,
    #[serde(default)]
    pub bias: f64,
    #[serde(default)]
    pub hinge: bool,
    pub power: u8,
}

impl Feature {
    pub fn new(weights: &[(usize, f64)], bias: f64) -> Feature {
        Feature { times: None, weights: weights.iter().map(|&(i, w)| (i as u16, w)).collect(), bias, hinge: false, power: 1 }
    }
    pub fn hinge(mut self) -> Feature {
        self.hinge = true;
        self
    }
    pub fn power(mut self, power: u8) -> Feature {
        self.power = power;
        self
    }
    pub fn times(mut self, variable: usize) -> Feature {
        self.times = Some(variable as u16);
        self
    }

    /// Does it hang on one of these variables?
    pub fn uses(&self, variables: &std::ops::Range<usize>) -> bool {
        self.weights.iter().map(|w| w.0).chain(self.times).any(|i| variables.contains(&usize::from(i)))
    }

    pub fn value(&self, z: &[f64]) -> f64 {
        let mut x = self.bias;
        for &(i, w) in &self.weights {
            x += w * z[i as usize];
        }
        if self.hinge {
            x = x.max(0.0);
        }
        let x = match self.power {
            1 => x,
            2 => x * x,
            _ => x * x * x,
        };
        self.times.map_or(x, |t| x * z[t as usize])
    }
}

/// What the dictionary needs to know of the data: quantiles of variables place the knots.
pub struct Ranges<'a> {
    /// All rows' variables.
    pub z: &'a [Vec<f64>],
}

impl Ranges<'_> {
    /// The first loop whose load is the same number in every row, as a variable.
    fn same(&self, l: &Layout, i: usize) -> usize {
        let equal = |j: &usize| self.z.iter().all(|z| (z[l.load(*j)] - z[l.load(i)]).abs() < 1e-9);
        l.load((0..i).find(equal).unwrap_or(i))
    }
    fn distinct(&self, l: &Layout, loops: usize) -> Vec<usize> {
        (0..loops).filter(|&i| self.same(l, i) == l.load(i)).collect()
    }

    fn quantiles<const N: usize>(&self, f: impl Fn(&[f64]) -> f64, q: [f64; N]) -> [f64; N] {
        let mut v: Vec<f64> = self.z.iter().map(|z| f(z)).filter(|x| x.is_finite()).collect();
        v.sort_by(f64::total_cmp);
        q.map(|q| if v.is_empty() { 0.0 } else { v[((v.len() - 1) as f64 * q).round() as usize] })
    }
}

/// Approaches of exchangers at mean load, K.
const APPROACHES_K: [f64; 8] = [1.5, 2.5, 3.5, 5.0, 6.5, 8.5, 11.0, 15.0];
/// Rises over a supply temperature at mean load, K.
const RISES_K: [f64; 4] = [2.0, 4.0, 7.0, 11.0];
/// Hinges with directions drawn at random, for what the shaped ones miss.
const DRAWN: usize = 260;

/// Shares of wet bulb in the air that a cooler sees: dry, adiabatic pads at 0.8, wet.
const WETNESS: [f64; 3] = [0.0, 0.8, 1.0];

/// The physically shaped dictionary for any binding.
pub fn dictionary(b: &Binding, l: &Layout, ranges: &Ranges<'_>) -> Vec<Feature> {
    let mut out = Vec::new();
    let (db, wb, rdp) = (l.dry_bulb(), l.wet_bulb(), l.room_dew_point());
    let is_temp = |a: usize| matches!(b.kinds[a], Kind::Temperature | Kind::TemperatureDifference);
    let temps: Vec<usize> = (0..b.actuators.len()).filter(|&a| is_temp(a)).collect();
    // Loops that read the same role carry the same numbers: the first stands for all.
    let loads = ranges.distinct(l, b.loops.len());
    for &i in &loads {
        let v = l.load(i);
        out.push(Feature::new(&[(v, 1.0)], 0.0));
        out.push(Feature::new(&[(v, 1.0)], 0.0).power(2));
    }
    out.extend([db, wb, rdp].map(|v| Feature::new(&[(v, 1.0)], 0.0)));
    for (k, &a) in l.flows.iter().enumerate() {
        let own = ranges.same(l, b.acts_on[a]);
        for power in 1..=3 {
            out.push(Feature::new(&[(a, 1.0)], 0.0).power(power));
        }
        out.push(Feature::new(&[(a, 1.0)], 0.0).times(own));
        out.push(Feature::new(&[(l.inverse(k), 1.0)], 0.0).times(own));
        out.push(Feature::new(&[(l.inverse(k), 1.0)], 0.0).times(own).power(2));
    }
    // What a limit's own load heats: its rise over the coolant, film and temperature rise as above.
    for v in (b.loops.len()..b.loads()).map(|i| l.load(i)) {
        out.push(Feature::new(&[(v, 1.0)], 0.0));
        out.push(Feature::new(&[(v, 1.0)], 0.0).power(2));
        for k in 0..l.flows.len() {
            out.push(Feature::new(&[(l.inverse(k), 1.0)], 0.0).times(v));
            out.push(Feature::new(&[(l.inverse(k), 1.0)], 0.0).times(v).power(2));
        }
    }
    for (n, &a) in temps.iter().enumerate() {
        out.push(Feature::new(&[(a, 1.0)], 0.0));
        out.push(Feature::new(&[(a, 1.0)], 0.0).power(2));
        for &i in &loads {
            out.push(Feature::new(&[(a, 1.0)], 0.0).times(l.load(i)));
        }
        let own = ranges.same(l, b.acts_on[a]);
        for wet in [0.0, 1.0] {
            let lift = [(a, 1.0), (wb, -wet), (db, wet - 1.0)];
            out.push(Feature::new(&lift, 0.0).power(2));
            out.push(Feature::new(&lift, 0.0).times(own));
            for k in ranges.quantiles(|z| z[a] - wet * z[wb] - (1.0 - wet) * z[db], [0.1, 0.3, 0.5, 0.7, 0.9]) {
                // max(0, knot − lift), alone and per load: the approach that fans and compressors fight.
                out.push(Feature::new(&[(a, -1.0), (wb, wet), (db, 1.0 - wet)], k).hinge().times(own));
            }
        }
        // What saturates: a valve or a fan that is fully open lets a temperature rise with supply + k·load from there on.
        for k in RISES_K {
            for c in ranges.quantiles(|z| z[a] + k * z[own], [0.45, 0.6, 0.75, 0.9]) {
                out.push(Feature::new(&[(a, 1.0), (own, k)], -c).hinge());
            }
        }
        // The approach to every other loop: an exchanger needs one in proportion to its heat, k·load − gap.
        for &o in &temps[n + 1..] {
            out.push(Feature::new(&[(a, 1.0), (o, -1.0)], 0.0).power(2));
            for k in APPROACHES_K {
                let gap = Feature::new(&[(own, k), (a, -1.0), (o, 1.0)], 0.0).hinge();
                out.extend(l.flows.iter().enumerate().map(|(f, _)| gap.clone().times(l.inverse(f))));
                out.push(gap.clone().power(2));
                out.push(gap);
            }
        }
        // What switches with the weather (pads, economizers) changes the slope of the setpoint there.
        for k in ranges.quantiles(|z| z[db], [0.2, 0.35, 0.5, 0.65, 0.8]) {
            out.push(Feature::new(&[(db, 1.0)], -k).hinge().times(a));
            out.push(Feature::new(&[(db, 1.0)], -k).hinge().times(own));
        }
        // The knee: heat beyond what the air takes at this lift, max(0, load − c·lift), for the loop itself and for all.
        let all: Vec<(usize, f64)> = loads.iter().map(|&i| (l.load(i), 1.0 / loads.len() as f64)).collect();
        for wet in WETNESS {
            for total in [false, true] {
                let heat = if total { all.clone() } else { vec![(own, 1.0)] };
                let sum = |z: &[f64]| heat.iter().map(|&(i, w)| w * z[i]).sum::<f64>();
                let lift = |z: &[f64]| (z[a] - wet * z[wb] - (1.0 - wet) * z[db]).max(0.5);
                if total && loads.len() == 1 {
                    continue;
                }
                for c in ranges.quantiles(|z| sum(z) / lift(z), [0.15, 0.35, 0.55, 0.75, 0.9]) {
                    let mut w = heat.clone();
                    w.extend([(a, -c), (wb, c * wet), (db, c * (1.0 - wet))]);
                    out.push(Feature::new(&w, 0.0).hinge());
                    out.push(Feature::new(&w, 0.0).hinge().power(2));
                }
            }
        }
    }
    for (i, &a) in temps.iter().enumerate() {
        for &f in &l.flows {
            out.push(Feature::new(&[(a, 1.0)], 0.0).times(f));
        }
        for &o in &temps[i + 1..] {
            out.push(Feature::new(&[(a, 1.0)], 0.0).times(o));
        }
    }
    drawn(l, &temps, &loads, ranges, &mut out);
    out
}

/// Hinges over random mixes of two to four variables, half of them per load: with them the dictionary reaches any
/// continuous answer, and the elastic net keeps the few that pay. The draw is fixed: same data, same features.
fn drawn(l: &Layout, temps: &[usize], loads: &[usize], ranges: &Ranges<'_>, out: &mut Vec<Feature>) {
    let mut rng = ChaCha8Rng::seed_from_u64(0x6472_6177);
    let mut pool: Vec<usize> = temps.to_vec();
    pool.extend(loads.iter().map(|&i| l.load(i)));
    pool.extend((0..l.flows.len()).map(|f| l.inverse(f)));
    pool.extend([l.dry_bulb(), l.wet_bulb()]);
    let n = ranges.z.len().max(1) as f64;
    let spread = |v: usize| {
        let mean = ranges.z.iter().map(|z| z[v]).sum::<f64>() / n;
        (ranges.z.iter().map(|z| (z[v] - mean).powi(2)).sum::<f64>() / n).sqrt()
    };
    let spreads: Vec<f64> = pool.iter().map(|&v| spread(v)).collect();
    for _ in 0..DRAWN {
        let mut weights: Vec<(usize, f64)> = Vec::new();
        for _ in 0..rng.random_range(2..=4usize) {
            let k = rng.random_range(0..pool.len());
            let weight = rng.random_range(0.4..1.0) * if rng.random_bool(0.5) { 1.0 } else { -1.0 };
            if spreads[k] > 1e-6 && weights.iter().all(|w| w.0 != pool[k]) {
                weights.push((pool[k], weight / spreads[k]));
            }
        }
        let q = rng.random_range(0.2..0.85);
        let [bias] = ranges.quantiles(|z| weights.iter().map(|&(i, w)| w * z[i]).sum(), [q]);
        let per_load = rng.random_bool(0.5).then(|| loads[rng.random_range(0..loads.len())]);
        if weights.len() > 1 {
            let feature = Feature::new(&weights, -bias).hinge();
            out.push(per_load.map_or(feature.clone(), |i| feature.times(l.load(i))));
        }
    }
}
