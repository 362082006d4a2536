//! How warm chips move IT power at the same work.
//!
//! The work of the machines moves IT power far more than the coolant does. So its logarithm is regressed on what tells of
//! the work (GPUs allocated, their utilisation, whichever the site has) and on the kelvins that the *setpoints* cause, with
//! first-order autocorrelated errors (Cochrane and Orcutt 1949) and a prior from published leakage (PLANT.md: 0.1–0.5 %
//! of chip power per K). Where the data say little, the prior speaks; its width is then the stated error.

use super::solve::small;
use crate::plant::identified::Row;
use serde::{Deserialize, Serialize};

/// Prior of the slope, share of IT power per K, and its standard deviation.
const PRIOR: (f64, f64) = (0.0015, 0.0008);

/// Share of IT power per kelvin of the chips (of the coolant where nothing measures chips).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Leak {
    pub per_k: f64,
    pub error: f64,
}

impl Default for Leak {
    fn default() -> Leak {
        Leak { per_k: PRIOR.0, error: PRIOR.1 }
    }
}

/// Columns that tell of the work in one row; empty where the site tells nothing of it.
fn work(r: &Row, most_gpus: f64) -> Vec<f64> {
    let g = r.gpus_allocated / most_gpus;
    let u = r.gpu_utilisation_pct / 100.0;
    match (g.is_finite(), u.is_finite()) {
        (true, true) => vec![g, g * g, u, g * u],
        (true, false) => vec![g, g * g],
        (false, true) => vec![u, u * u],
        (false, false) => vec![],
    }
}

/// IT power that the work explains, kW, per row: the load at which setpoints' kelvins are counted. The mean where
/// nothing tells of the work.
pub fn explained_kw(rows: &[&Row], it_kw: &[f64]) -> Vec<f64> {
    let mean = it_kw.iter().filter(|v| v.is_finite()).sum::<f64>() / it_kw.iter().filter(|v| v.is_finite()).count().max(1) as f64;
    let most = rows.iter().map(|r| r.gpus_allocated).filter(|g| g.is_finite()).fold(1.0, f64::max);
    let columns: Vec<Vec<f64>> = rows.iter().map(|r| work(r, most)).collect();
    let p = columns.iter().map(Vec::len).max().unwrap_or(0) + 1;
    let used: Vec<usize> = (0..rows.len()).filter(|&i| columns[i].len() + 1 == p && it_kw[i] > 0.0).collect();
    if p == 1 || used.len() < 24 {
        return vec![mean; rows.len()];
    }
    let x = |i: usize| columns[i].iter().copied().chain([1.0]).collect::<Vec<f64>>();
    let (mut a, mut b) = (vec![vec![0.0; p]; p], vec![0.0; p]);
    for &i in &used {
        let xi = x(i);
        for j in 0..p {
            b[j] += xi[j] * it_kw[i];
            for k in 0..p {
                a[j][k] += xi[j] * xi[k];
            }
        }
    }
    let n = used.len() as f64;
    (0..p).for_each(|j| a[j][j] += 1e-6 * n);
    let Some((w, _)) = small(&a, &b) else { return vec![mean; rows.len()] };
    (0..rows.len())
        .map(|i| if columns[i].len() + 1 == p { x(i).iter().zip(&w).map(|(x, w)| x * w).sum::<f64>().max(0.1 * mean) } else { mean })
        .collect()
}

/// The slope from `kelvin` (what the setpoints cause at the explained load), row by row; `joined[i]` = row `i` follows
/// row `i − 1` without a gap.
pub fn fit(rows: &[&Row], it_kw: &[f64], kelvin: &[f64], joined: &[bool]) -> Leak {
    let most = rows.iter().map(|r| r.gpus_allocated).filter(|g| g.is_finite()).fold(1.0, f64::max);
    let columns: Vec<Vec<f64>> = rows.iter().map(|r| work(r, most)).collect();
    let p = columns.iter().map(Vec::len).max().unwrap_or(0) + 2;
    let ok = |i: usize| it_kw[i] > 0.0 && kelvin[i].is_finite() && columns[i].len() + 2 == p;
    let pairs: Vec<usize> = (1..rows.len()).filter(|&i| joined[i] && ok(i) && ok(i - 1)).collect();
    if pairs.len() < 24 {
        return Leak::default();
    }
    let center = pairs.iter().map(|&i| kelvin[i]).sum::<f64>() / pairs.len() as f64;
    let x = |i: usize| -> Vec<f64> { std::iter::once(kelvin[i] - center).chain(columns[i].iter().copied()).chain([1.0]).collect() };
    let y = |i: usize| it_kw[i].ln();
    let mut rho = 0.0;
    let mut leak = Leak::default();
    for _ in 0..4 {
        let (mut a, mut b, mut yy) = (vec![vec![0.0; p]; p], vec![0.0; p], 0.0);
        for &i in &pairs {
            let (now, before) = (x(i), x(i - 1));
            let xi: Vec<f64> = now.iter().zip(&before).map(|(n, b)| n - rho * b).collect();
            let yi = y(i) - rho * y(i - 1);
            yy += yi * yi;
            for j in 0..p {
                b[j] += xi[j] * yi;
                for k in 0..p {
                    a[j][k] += xi[j] * xi[k];
                }
            }
        }
        let n = pairs.len() as f64;
        (0..p).for_each(|j| a[j][j] += 1e-9 * n);
        let Some((w, _)) = small(&a, &b) else { return Leak::default() };
        let fitted: f64 = (0..p).map(|j| w[j] * (2.0 * b[j] - (0..p).map(|k| a[j][k] * w[k]).sum::<f64>())).sum();
        let variance = ((yy - fitted) / (n - p as f64).max(1.0)).max(1e-12);
        // The prior joins as one more observation of the slope.
        a[0][0] += variance / PRIOR.1.powi(2);
        b[0] += variance * PRIOR.0 / PRIOR.1.powi(2);
        let Some((w, inverse)) = small(&a, &b) else { return Leak::default() };
        leak = Leak { per_k: w[0].max(0.0), error: (variance * inverse[0].max(0.0)).sqrt() };
        let residual = |i: usize| y(i) - x(i).iter().zip(&w).map(|(a, b)| a * b).sum::<f64>();
        let (mut cross, mut square) = (0.0, 1e-12);
        for &i in &pairs {
            cross += residual(i) * residual(i - 1);
            square += residual(i - 1).powi(2);
        }
        rho = f64::clamp(cross / square, 0.0, 0.97);
    }
    leak
}
