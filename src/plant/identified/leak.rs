//! IT power from loads, and its leak: how setpoints move it at the same work.
//!
//! The work of the machines moves IT power far more than the coolant does, so the leak is read against a proxy of work
//! (GPUs allocated and their utilisation), in logarithms (a leak is a share), and by generalised least squares with
//! first-order autocorrelated errors (Cochrane and Orcutt 1949): the slow part that the proxy misses then counts little,
//! and the moves of setpoints count much.
//! Invariants: a leak share comes with its standard error; without a proxy, or where a setpoint never moved, it is 0.

use super::dataset::{Binding, Row};
use super::model::{ItModel, Leak};
use crate::site::{MeterBoundary, SiteFile};
use crate::time::Span;
use crate::units::Kind;
use ndarray::Array2;

/// Settling of the coolant before a setpoint's effect is whole, s.
const SETTLE_S: f64 = 240.0;

pub(super) fn fit_it(rows: &[&Row], starts: &[usize], b: &Binding, site: &SiteFile, step: Span) -> ItModel {
    let it: Vec<f64> = rows.iter().map(|r| it_of(r, b)).collect();
    let (intercept_kw, per_load, sigma_kw) = load_to_it(rows, &it);
    let leaks = fit_leaks(rows, starts, &it, b, site, step);
    ItModel { intercept_kw, per_load, leaks, sigma_kw }
}

fn it_of(r: &Row, b: &Binding) -> f64 {
    r.meters_kw.iter().zip(&b.boundaries).filter(|(_, s)| **s == MeterBoundary::It).map(|(kw, _)| kw).sum()
}

/// Least squares of IT power on the loops' loads, lightly ridged: loads that are made of one another share the weight.
fn load_to_it(rows: &[&Row], it: &[f64]) -> (f64, Vec<f64>, f64) {
    let loops = rows.first().map_or(0, |r| r.loads_kw.len());
    let x = Array2::from_shape_fn((rows.len(), loops + 1), |(i, j)| if j == loops { 1.0 } else { rows[i].loads_kw[j] });
    let (w, _) = least_squares(&x, it, 1e-6);
    let error = (0..rows.len()).map(|i| (x.row(i).iter().zip(&w).map(|(a, b)| a * b).sum::<f64>() - it[i]).powi(2)).sum::<f64>();
    let sigma = (error / rows.len().max(1) as f64).sqrt();
    (w[loops], w[..loops].to_vec(), sigma)
}

fn fit_leaks(rows: &[&Row], starts: &[usize], it: &[f64], b: &Binding, site: &SiteFile, step: Span) -> Vec<Leak> {
    let mut leaks = Vec::new();
    for (a, kind) in b.kinds.iter().enumerate() {
        let temp = matches!(kind, Kind::Temperature | Kind::TemperatureDifference);
        let still = rows.iter().all(|r| (r.in_force[a] - rows[0].in_force[a]).abs() < 1e-6);
        let powers: &[i8] = match (still, temp) {
            (true, _) => &[],
            (false, true) => &[1, 2],
            (false, false) => &[-1],
        };
        leaks.extend(powers.iter().map(|&power| Leak { actuator: a, power, reference: site.actuators[a].default, share: 0.0, error: 0.0 }));
    }
    let known = |i: usize| rows[i].gpus_allocated > 0.0 && rows[i].gpu_utilisation_pct.is_finite() && it[i] > 0.0;
    let most = rows.iter().map(|r| r.gpus_allocated).filter(|g| g.is_finite()).fold(1.0, f64::max);
    if leaks.is_empty() || (0..rows.len()).filter(|&i| known(i)).count() < super::fitting::ROWS_MIN {
        return Vec::new();
    }
    // Columns: the leaks (filtered as the coolant settles), then the work, then 1.
    let p = leaks.len();
    let keep = (-step.as_secs_f64() / SETTLE_S).exp();
    let mut x = Array2::zeros((rows.len(), p + 6));
    for i in 0..rows.len() {
        for (j, l) in leaks.iter().enumerate() {
            let now = Leak::term(l.power, l.reference, rows[i].in_force[l.actuator]);
            let before = if i == 0 || starts.contains(&i) { now } else { x[[i - 1, j]] };
            x[[i, j]] = now + keep * (before - now);
        }
        let (g, u) = (rows[i].gpus_allocated / most, rows[i].gpu_utilisation_pct / 100.0);
        let w = g * u;
        [g, w, w * w, g * g, u, 1.0].iter().enumerate().for_each(|(k, v)| x[[i, p + k]] = *v);
    }
    let y: Vec<f64> = it.iter().map(|v| v.max(1e-3).ln()).collect();
    let pairs: Vec<usize> = (1..rows.len()).filter(|&i| !starts.contains(&i) && known(i) && known(i - 1)).collect();
    let pick = |rho: f64| {
        let xs = Array2::from_shape_fn((pairs.len(), p + 6), |(k, j)| x[[pairs[k], j]] - rho * x[[pairs[k] - 1, j]]);
        let ys: Vec<f64> = pairs.iter().map(|&i| y[i] - rho * y[i - 1]).collect();
        (xs, ys)
    };
    let mut rho = 0.0;
    let mut solved = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (xs, ys) = pick(rho);
        solved = least_squares(&xs, &ys, 1e-9);
        let w = &solved.0;
        let residual = |i: usize| y[i] - x.row(i).iter().zip(w).map(|(a, b)| a * b).sum::<f64>();
        let (mut cross, mut square) = (0.0, 1e-12);
        for &i in &pairs {
            let (now, before) = (residual(i), residual(i - 1));
            cross += now * before;
            square += before * before;
        }
        rho = (cross / square).clamp(0.0, 0.98);
    }
    for (j, l) in leaks.iter_mut().enumerate() {
        l.share = solved.0[j];
        l.error = solved.1[j];
    }
    // A square that its own error covers is curvature of the noise: without it the line is better known.
    if leaks.iter().any(|l| l.power == 2 && l.share.abs() < 2.0 * l.error) {
        let doubtful: Vec<usize> =
            leaks.iter().enumerate().filter(|(_, l)| l.power == 2 && l.share.abs() < 2.0 * l.error).map(|(j, _)| j).collect();
        let (xs, ys) = pick(rho);
        let keep: Vec<usize> = (0..p + 6).filter(|j| !doubtful.contains(j)).collect();
        let (w, e) = least_squares(&xs.select(ndarray::Axis(1), &keep), &ys, 1e-9);
        for (k, &j) in keep.iter().enumerate().filter(|(_, j)| **j < p) {
            leaks[j].share = w[k];
            leaks[j].error = e[k];
        }
        let mut j = 0;
        leaks.retain(|_| {
            j += 1;
            !doubtful.contains(&(j - 1))
        });
    }
    leaks
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
