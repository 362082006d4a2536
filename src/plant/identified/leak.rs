//! IT power from loads, and its leak: how setpoints move it at the same work.
//!
//! The work of the machines moves IT power far more than the coolant does, so the leak is read against a proxy of work
//! (GPUs allocated and their utilisation), in logarithms (a leak is a share), and by generalised least squares with
//! first-order autocorrelated errors (Cochrane and Orcutt 1949): the slow part that the proxy misses then counts little,
//! and the moves of setpoints count much.
//! Invariants: a leak share comes with its standard error; without a proxy, or where a setpoint never moved, it is 0.

use super::dataset::{Binding, Row};
use super::feature::{Feature, Layout};
use super::model::{ItModel, Leak};
use crate::site::{MeterBoundary, SiteFile};
use crate::time::Span;
use crate::units::Kind;
use ndarray::Array2;

/// Settling of the coolant before a setpoint's effect is whole, s.
const SETTLE_S: f64 = 240.0;
/// Columns that tell of the work.
const WORK: usize = 6;

pub(super) fn fit_it(rows: &[&Row], starts: &[usize], b: &Binding, l: &Layout, site: &SiteFile, step: Span) -> ItModel {
    let it: Vec<f64> = rows.iter().map(|r| it_of(r, b)).collect();
    let (intercept_kw, per_load, sigma_kw) = load_to_it(rows, &it, b.loops.len());
    let leaks = fit_leaks(rows, starts, &it, b, l, site, step);
    ItModel { intercept_kw, per_load, leaks, sigma_kw }
}

fn it_of(r: &Row, b: &Binding) -> f64 {
    r.meters_kw.iter().zip(&b.boundaries).filter(|(_, s)| **s == MeterBoundary::It).map(|(kw, _)| kw).sum()
}

/// Least squares of IT power on the loops' loads, lightly ridged: loads that are made of one another share the weight. A limit's own load
/// is part of theirs and has none.
fn load_to_it(rows: &[&Row], it: &[f64], loops: usize) -> (f64, Vec<f64>, f64) {
    let loads = rows.first().map_or(0, |r| r.loads_kw.len());
    let x = Array2::from_shape_fn((rows.len(), loops + 1), |(i, j)| if j == loops { 1.0 } else { rows[i].loads_kw[j] });
    let (w, _) = least_squares(&x, it, 1e-6);
    let error = (0..rows.len()).map(|i| (x.row(i).iter().zip(&w).map(|(a, b)| a * b).sum::<f64>() - it[i]).powi(2)).sum::<f64>();
    let sigma = (error / rows.len().max(1) as f64).sqrt();
    let mut per_load = w[..loops].to_vec();
    per_load.resize(loads, 0.0);
    (w[loops], per_load, sigma)
}

/// The ways in which coolant can reach the chips: each temperature setpoint; the inverse of each flow (film and
/// temperature rise), alone and per load; and where a loop's setpoint is out of reach of the loop that takes its heat,
/// what that loop's setpoint adds: max(0, taker + k·load − setpoint).
fn terms(rows: &[&Row], b: &Binding, l: &Layout, site: &SiteFile) -> Vec<Feature> {
    let moved = |a: usize| rows.iter().any(|r| (r.in_force[a] - rows[0].in_force[a]).abs() > 1e-6);
    let temp = |a: usize| matches!(b.kinds[a], Kind::Temperature | Kind::TemperatureDifference) && moved(a);
    let mut out = Vec::new();
    for a in (0..b.actuators.len()).filter(|&a| temp(a)) {
        let own = l.load(b.acts_on[a]);
        out.push(Feature::new(&[(a, 1.0)], 0.0));
        let into = site.loops.get(b.acts_on[a]).and_then(|s| s.into.as_ref());
        for o in (0..b.actuators.len()).filter(|&o| temp(o) && into.is_some_and(|i| b.loops[b.acts_on[o]] == *i)) {
            out.extend([2.0, 4.0, 7.0, 11.0].map(|k| Feature::new(&[(own, k), (a, -1.0), (o, 1.0)], 0.0).hinge()));
        }
    }
    for (k, &a) in l.flows.iter().enumerate().filter(|(_, a)| moved(**a)) {
        let inverse = Feature::new(&[(l.inverse(k), 1.0)], 0.0);
        out.extend([inverse.clone(), inverse.clone().times(l.load(b.acts_on[a])), inverse.power(2).times(l.load(b.acts_on[a]))]);
    }
    out
}

fn fit_leaks(rows: &[&Row], starts: &[usize], it: &[f64], b: &Binding, l: &Layout, site: &SiteFile, step: Span) -> Vec<Leak> {
    let features = terms(rows, b, l, site);
    let known = |i: usize| rows[i].gpus_allocated > 0.0 && rows[i].gpu_utilisation_pct.is_finite() && it[i] > 0.0;
    let usable: Vec<usize> = (0..rows.len()).filter(|&i| known(i)).collect();
    if features.is_empty() || usable.len() < super::fitting::ROWS_MIN {
        return Vec::new();
    }
    let most = rows.iter().map(|r| r.gpus_allocated).filter(|g| g.is_finite()).fold(1.0, f64::max);
    let y: Vec<f64> = it.iter().map(|v| v.max(1e-3).ln()).collect();
    let work = |i: usize| {
        let (g, u) = (rows[i].gpus_allocated / most, rows[i].gpu_utilisation_pct / 100.0);
        let w = g * u;
        if known(i) { [g, w, w * w, g * g, g * w, 1.0] } else { [0.0, 0.0, 0.0, 0.0, 0.0, 1.0] }
    };
    // Loads carry the leak themselves: the terms take the load that the work explains instead.
    let x_work = Array2::from_shape_fn((usable.len(), WORK), |(k, j)| work(usable[k])[j]);
    let (by_work, _) = least_squares(&x_work, &usable.iter().map(|&i| y[i]).collect::<Vec<_>>(), 1e-9);
    let mean = it.iter().sum::<f64>() / it.len() as f64;
    let p = features.len();
    let keep = (-step.as_secs_f64() / SETTLE_S).exp();
    let mut x = Array2::zeros((rows.len(), p + WORK));
    let mut z = Vec::with_capacity(l.len());
    for i in 0..rows.len() {
        let w = work(i);
        let explained = w.iter().zip(&by_work).map(|(a, b)| a * b).sum::<f64>().exp() / mean;
        let loads: Vec<f64> = l.load_scale.iter().map(|s| s * explained).collect();
        l.fill(&rows[i].in_force, &loads, 1.0, [0.0; 3], &mut z);
        for (j, f) in features.iter().enumerate() {
            let now = f.value(&z);
            let before = if i == 0 || starts.contains(&i) { now } else { x[[i - 1, j]] };
            x[[i, j]] = now + keep * (before - now);
        }
        w.iter().enumerate().for_each(|(k, v)| x[[i, p + k]] = *v);
    }
    let pairs: Vec<usize> = (1..rows.len()).filter(|&i| !starts.contains(&i) && known(i) && known(i - 1)).collect();
    let pick = |rho: f64, columns: &[usize]| {
        let xs =
            Array2::from_shape_fn((pairs.len(), columns.len()), |(k, j)| x[[pairs[k], columns[j]]] - rho * x[[pairs[k] - 1, columns[j]]]);
        let ys: Vec<f64> = pairs.iter().map(|&i| y[i] - rho * y[i - 1]).collect();
        least_squares(&xs, &ys, 1e-9)
    };
    let mut columns: Vec<usize> = (0..p + WORK).collect();
    let mut rho = 0.0;
    for _ in 0..3 {
        let (w, _) = pick(rho, &columns);
        let residual = |i: usize| y[i] - (0..p + WORK).map(|j| x[[i, j]] * w[j]).sum::<f64>();
        let (mut cross, mut square) = (0.0, 1e-12);
        for &i in &pairs {
            let (now, before) = (residual(i), residual(i - 1));
            cross += now * before;
            square += before * before;
        }
        rho = f64::clamp(cross / square, 0.0, 0.98);
    }
    // Terms that their own errors cover leave, the least certain first: the others are then better known.
    loop {
        let (w, e) = pick(rho, &columns);
        let certainty = |k: usize| w[k].abs() / e[k].max(1e-12);
        let least = (0..columns.len()).filter(|&k| columns[k] < p).min_by(|&a, &b| certainty(a).total_cmp(&certainty(b)));
        match least {
            Some(k) if certainty(k) < 3.0 => {
                columns.remove(k);
            }
            _ => {
                let kept = columns.iter().enumerate().filter(|(_, j)| **j < p);
                return kept.map(|(k, &j)| Leak { feature: features[j].clone(), share: w[k], error: e[k] }).collect();
            }
        }
    }
}

/// Least squares with a relative ridge; returns coefficients and their standard errors. Columns are scaled inside.
fn least_squares(x: &Array2<f64>, y: &[f64], ridge: f64) -> (Vec<f64>, Vec<f64>) {
    let p = x.ncols();
    let scale: Vec<f64> = x.columns().into_iter().map(|c| (c.dot(&c) / x.nrows().max(1) as f64).sqrt().max(1e-12)).collect();
    let scaled = Array2::from_shape_fn(x.dim(), |(i, j)| x[[i, j]] / scale[j]);
    let target = Array2::from_shape_fn((y.len(), 1), |(i, _)| y[i]);
    let gram = super::solve::Gram::of(&scaled, &target, 0, y.len());
    let w = gram.ridge(ridge);
    let freedom = (y.len() as f64 - p as f64).max(1.0);
    let variance = gram.sse(&w, 0) / freedom;
    // The inverse's diagonal, a unit vector at a time.
    let units = super::solve::Gram { rows: gram.rows, xx: gram.xx.clone(), xy: Array2::eye(p), yy: vec![0.0; p] }.ridge(ridge);
    let errors = (0..p).map(|j| (variance * units[[j, j]].max(0.0)).sqrt() / scale[j]).collect();
    ((0..p).map(|j| w[[j, 0]] / scale[j]).collect(), errors)
}
