//! Machines that are on or off: where the line between the two runs, learnt from their meters.
//!
//! A chiller that starts changes every power at once, so a sum of smooth shapes cannot follow. A meter whose values fall
//! into two heaps betrays a machine; logistic regression (Newton's method, ridge) says from setpoints, loads, flows and
//! weather how likely it runs; every shape may then count while it runs.

use super::basis::Variables;
use super::solve::small;
use serde::{Deserialize, Serialize};

/// A meter is of two heaps where hardly a value lies between these shares of its high end, and both heaps are there.
const OFF_BELOW: f64 = 0.10;
const ON_ABOVE: f64 = 0.25;
const BETWEEN_MAX: f64 = 0.05;
const HEAP_MIN: f64 = 0.03;
const HEAP_ROWS: usize = 8;
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

/// Is a meter of two heaps? Its threshold, kW.
pub fn threshold(kw: &[f64]) -> Option<f64> {
    let mut v: Vec<f64> = kw.iter().copied().filter(|v| v.is_finite()).collect();
    v.sort_by(f64::total_cmp);
    let high = *v.get(v.len().saturating_sub(1) * 49 / 50)?;
    if high < 1.0 {
        return None;
    }
    let n = v.len() as f64;
    let off = v.iter().filter(|k| **k < OFF_BELOW * high).count();
    let on = v.iter().filter(|k| **k > ON_ABOVE * high).count();
    let enough = |heap: usize| heap >= HEAP_ROWS && heap as f64 >= HEAP_MIN * n;
    let between = 1.0 - (off + on) as f64 / n;
    (enough(off) && enough(on) && between <= BETWEEN_MAX).then_some(0.5 * (OFF_BELOW + ON_ABOVE) * high)
}

/// What the line is linear in: temperatures, flows, loads, load per flow, weather, and how fast setpoints move.
fn features(v: &Variables, z: &[f64], rates: Option<&[f64]>, out: &mut Vec<f64>) {
    out.clear();
    out.extend_from_slice(&z[..v.dry_bulb()]);
    out.extend(v.flows().map(|f| z[v.load_of(f)] / z[f].max(0.05)));
    out.push(z[v.dry_bulb()]);
    out.push(z[v.wet_bulb()]);
    match rates {
        Some(r) => out.extend_from_slice(r),
        None => out.extend(v.temps().map(|_| 0.0)),
    }
}

impl Machine {
    /// Fits the line. `rates[i]` = change of each temperature setpoint in row `i`.
    pub fn fit(v: &Variables, z: &[Vec<f64>], rates: &[Vec<f64>], kw: &[f64], weights: &[f64], meter: usize, threshold_kw: f64) -> Machine {
        let mut x: Vec<Vec<f64>> = Vec::with_capacity(z.len());
        let mut f = Vec::new();
        for (z, r) in z.iter().zip(rates) {
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

    /// How likely the machine runs, 0–1.
    pub fn share(&self, v: &Variables, z: &[f64], rates: Option<&[f64]>, room: &mut Vec<f64>) -> f64 {
        features(v, z, rates, room);
        let sum: f64 = (room.iter().zip(&self.mean).zip(&self.deviation).zip(&self.weights))
            .map(|(((x, m), d), w)| if *d > 1e-6 { (x - m) / d * w } else { 0.0 })
            .sum();
        let s = sigmoid(sum + self.weights.last().copied().unwrap_or(0.0));
        if s.is_finite() { s } else { self.ran }
    }

    /// Do the vectors fit a plant's variables?
    pub fn fits(&self, v: &Variables) -> bool {
        let p = v.dry_bulb() + v.flows().count() + 2 + v.temps().count();
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
        assert!(threshold(&chiller).is_some_and(|t| (4.0..12.0).contains(&t)));
        let fan: Vec<f64> = (0..60).map(f64::from).collect();
        assert_eq!(threshold(&fan), None);
        assert_eq!(threshold(&[0.0; 40]), None);
    }
}
