//! Machines that are on or off: where the line between the two runs, learnt from their meters.
//!
//! A chiller that starts, or a pump that goes to its full speed, changes every power at once, so a sum of smooth shapes
//! cannot follow. A meter whose values fall into two heaps betrays such a machine; logistic regression (Newton's method, ridge) says from setpoints, loads, flows and
//! weather how likely it runs; every shape may then count while it runs.

use super::basis::Variables;
use super::motion;
use super::solve::small;
use serde::{Deserialize, Serialize};

/// A meter is of two heaps where splitting it in two explains this share of its variance, hardly a value lies in the middle
/// third between their means, both heaps are there, and the lower one is well below the upper one.
const EXPLAINED_MIN: f64 = 0.7;
const BETWEEN_MAX: f64 = 0.15;
const HEAP_MIN: f64 = 0.03;
const HEAP_ROWS: usize = 8;
const APART: f64 = 0.6;
/// Machines that one model tells apart.
pub const MACHINES_MAX: usize = 2;
const RIDGE: f64 = 1e-3;

/// One machine: its meter and its line.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    pub meter: usize,
    /// On above this, kW.
    pub threshold_kw: f64,
    mean: Vec<f64>,
    deviation: Vec<f64>,
    weights: Vec<f64>,
    /// Share of rows in which it ran, and in which the line is right.
    pub ran: f64,
    pub right: f64,
}

/// Is a meter of two heaps? Its threshold, kW, and the variance that the split explains, kW² (Otsu 1979).
pub fn threshold(kw: &[f64]) -> Option<(f64, f64)> {
    let mut v: Vec<f64> = kw.iter().copied().filter(|v| v.is_finite()).collect();
    v.sort_by(f64::total_cmp);
    let n = v.len();
    if n < 2 * HEAP_ROWS {
        return None;
    }
    let total: f64 = v.iter().sum();
    let mean = total / n as f64;
    let variance = v.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
    let mut below = 0.0;
    let mut best = (0.0, 0.0, 0.0);
    for (i, x) in v.iter().enumerate().take(n - 1) {
        below += x;
        let (k, m) = ((i + 1) as f64, (n - i - 1) as f64);
        let (lo, hi) = (below / k, (total - below) / m);
        let between = k * m * (hi - lo).powi(2) / (n as f64).powi(2);
        if between > best.0 {
            best = (between, lo, hi);
        }
    }
    let (between, lo, hi) = best;
    let third = (hi - lo) / 3.0;
    let off = v.iter().filter(|x| **x <= lo + third).count();
    let on = v.iter().filter(|x| **x >= hi - third).count();
    let enough = |heap: usize| heap >= HEAP_ROWS && heap as f64 >= HEAP_MIN * n as f64;
    let valley = (n - off - on) as f64 <= BETWEEN_MAX * n as f64;
    let apart = hi > 1.0 && lo <= APART * hi;
    (between >= EXPLAINED_MIN * variance && enough(off) && enough(on) && valley && apart).then_some((0.5 * (lo + hi), between))
}

/// What the line is linear in: temperatures, flows, loads, load per flow, weather, and what moves.
fn features(v: &Variables, z: &[f64], moving: Option<&[f64]>, out: &mut Vec<f64>) {
    out.clear();
    out.extend_from_slice(&z[..v.dry_bulb()]);
    out.extend(v.flows().map(|f| z[v.load_of(f)] / z[f].max(0.05)));
    out.push(z[v.dry_bulb()]);
    out.push(z[v.wet_bulb()]);
    // How hard a cooler or an exchanger has it: load per kelvin that it is left with.
    out.extend(v.temps().map(|a| z[v.load_of(a)] / (z[a] - z[v.wet_bulb()]).max(1.0)));
    out.extend(v.linked.iter().map(|&(a, o)| z[v.load_of(a)] / (z[a] - z[o]).max(0.5)));
    match moving {
        Some(m) => out.extend_from_slice(m),
        None => out.extend(std::iter::repeat_n(0.0, motion::len(v))),
    }
}

impl Machine {
    /// Fits the line. `moving[i]` = what moves in row `i` ([`motion`]).
    pub fn fit(
        v: &Variables,
        z: &[Vec<f64>],
        moving: &[Vec<f64>],
        kw: &[f64],
        weights: &[f64],
        meter: usize,
        threshold_kw: f64,
    ) -> Machine {
        let mut x: Vec<Vec<f64>> = Vec::with_capacity(z.len());
        let mut f = Vec::new();
        for (z, r) in z.iter().zip(moving) {
            features(v, z, Some(r), &mut f);
            x.push(f.clone());
        }
        let p = x.first().map_or(0, Vec::len);
        let n = x.len() as f64;
        let mean: Vec<f64> = (0..p).map(|j| x.iter().map(|r| r[j]).sum::<f64>() / n).collect();
        let deviation: Vec<f64> = (0..p).map(|j| (x.iter().map(|r| (r[j] - mean[j]).powi(2)).sum::<f64>() / n).sqrt().max(1e-9)).collect();
        let on: Vec<f64> = kw.iter().map(|k| f64::from(u8::from(*k > threshold_kw))).collect();
        let scaled: Vec<Vec<f64>> = (x.iter())
            .map(|r| (0..p).map(|j| if deviation[j] > 1e-6 { (r[j] - mean[j]) / deviation[j] } else { 0.0 }).chain([1.0]).collect())
            .collect();
        let mut w = vec![0.0; p + 1];
        for _ in 0..25 {
            let (mut a, mut g) = (vec![vec![0.0; p + 1]; p + 1], vec![0.0; p + 1]);
            for ((r, y), weight) in scaled.iter().zip(&on).zip(weights) {
                let s = sigmoid(r.iter().zip(&w).map(|(a, b)| a * b).sum());
                let h = weight * s * (1.0 - s) + 1e-6;
                for i in 0..=p {
                    g[i] += weight * (s - y) * r[i];
                    for j in 0..=i {
                        a[i][j] += h * r[i] * r[j];
                    }
                }
            }
            for i in 0..=p {
                let ridge = if i < p { RIDGE * n } else { 1e-3 };
                g[i] += ridge * w[i];
                a[i][i] += ridge + 1e-9;
            }
            let Some((step, _)) = small(&a, &g) else { break };
            let most = step.iter().fold(0.0_f64, |m, s| m.max(s.abs()));
            w.iter_mut().zip(&step).for_each(|(w, s)| *w -= s.clamp(-3.0, 3.0));
            if most < 1e-4 {
                break;
            }
        }
        let right =
            scaled.iter().zip(&on).filter(|(r, y)| (r.iter().zip(&w).map(|(a, b)| a * b).sum::<f64>() > 0.0) == (**y > 0.5)).count();
        Machine { meter, threshold_kw, mean, deviation, weights: w, ran: on.iter().sum::<f64>() / n, right: right as f64 / n }
    }

    /// How likely the machine runs, 0–1. `lean` (log-odds) is added to what the line says.
    pub fn share(&self, v: &Variables, z: &[f64], moving: Option<&[f64]>, lean: f64, room: &mut Vec<f64>) -> f64 {
        features(v, z, moving, room);
        let sum: f64 = (room.iter().zip(&self.mean).zip(&self.deviation).zip(&self.weights))
            .map(|(((x, m), d), w)| if *d > 1e-6 { (x - m) / d * w } else { 0.0 })
            .sum();
        let s = sigmoid(sum + self.weights.last().copied().unwrap_or(0.0) + lean);
        if s.is_finite() { s } else { self.ran }
    }

    /// Do the vectors fit a plant's variables?
    pub fn fits(&self, v: &Variables) -> bool {
        let p = v.dry_bulb() + v.flows().count() + 2 + v.temps().count() + v.linked.len() + motion::len(v);
        self.mean.len() == p && self.deviation.len() == p && self.weights.len() == p + 1
    }
}

fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x.clamp(-30.0, 30.0)).exp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_heaps_are_a_machine_and_a_fan_is_not() {
        let chiller: Vec<f64> = (0..60).map(|i| if i % 3 == 0 { 36.0 + 0.1 * f64::from(i) } else { 0.2 }).collect();
        assert!(threshold(&chiller).is_some_and(|(t, _)| (10.0..30.0).contains(&t)));
        // A pump that runs at a quarter or in full.
        let pump: Vec<f64> = (0..60).map(|i| if i % 3 == 0 { 20.0 + 0.1 * f64::from(i) } else { 5.0 + 0.02 * f64::from(i) }).collect();
        assert!(threshold(&pump).is_some_and(|(t, _)| (8.0..18.0).contains(&t)));
        let fan: Vec<f64> = (0..60).map(f64::from).collect();
        assert_eq!(threshold(&fan), None);
        assert_eq!(threshold(&[0.0; 40]), None);
    }
}
