//! Ridge regression on normal equations with blocked cross-validation, and the choice of features by linfa's
//! multi-task elastic net.
//!
//! Words: a *gram* holds XᵀX, XᵀY and YᵀY of centred, scaled columns; folds are grams of blocks of time, so that leaving
//! a block out is a subtraction. Invariant: same numbers in, same bytes out; no randomness here.

use linfa::prelude::Fit as _;
use ndarray::{Array2, s};

/// Strengths tried, relative to the mean diagonal of XᵀX.
pub const STRENGTHS: [f64; 6] = [1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2];

/// XᵀX, XᵀY and YᵀY of a set of rows.
#[derive(Clone)]
pub struct Gram {
    pub rows: f64,
    pub xx: Array2<f64>,
    pub xy: Array2<f64>,
    pub yy: Vec<f64>,
}

impl Gram {
    pub fn of(x: &Array2<f64>, y: &Array2<f64>, from: usize, to: usize) -> Gram {
        let (x, y) = (x.slice(s![from..to, ..]), y.slice(s![from..to, ..]));
        let xt = x.t();
        Gram { rows: (to - from) as f64, xx: xt.dot(&x), xy: xt.dot(&y), yy: y.columns().into_iter().map(|c| c.dot(&c)).collect() }
    }

    fn combine(&self, o: &Gram, sign: f64) -> Gram {
        Gram {
            rows: self.rows + sign * o.rows,
            xx: &self.xx + &(&o.xx * sign),
            xy: &self.xy + &(&o.xy * sign),
            yy: self.yy.iter().zip(&o.yy).map(|(a, b)| a + sign * b).collect(),
        }
    }
    pub fn plus(&self, o: &Gram) -> Gram {
        self.combine(o, 1.0)
    }
    pub fn minus(&self, o: &Gram) -> Gram {
        self.combine(o, -1.0)
    }

    /// Sum of squared errors of output `o` under coefficients `w` on these rows.
    pub fn sse(&self, w: &Array2<f64>, o: usize) -> f64 {
        let c = w.column(o);
        (self.yy[o] - 2.0 * c.dot(&self.xy.column(o)) + c.dot(&self.xx.dot(&c))).max(0.0)
    }

    /// Ridge coefficients of one output.
    pub fn ridge_one(&self, strength: f64, output: usize) -> Vec<f64> {
        let xy = self.xy.select(ndarray::Axis(1), &[output]);
        let one = Gram { rows: self.rows, xx: self.xx.clone(), xy, yy: vec![self.yy[output]] };
        one.ridge(strength).column(0).to_vec()
    }

    /// Ridge coefficients for all outputs at one strength.
    pub fn ridge(&self, strength: f64) -> Array2<f64> {
        let p = self.xx.nrows();
        let mean = (0..p).map(|i| self.xx[[i, i]]).sum::<f64>() / p.max(1) as f64;
        let mut a = self.xx.clone();
        for i in 0..p {
            a[[i, i]] += (strength * mean).max(1e-12);
        }
        let root = cholesky(a);
        let mut w = self.xy.clone();
        for mut column in w.columns_mut() {
            for i in 0..p {
                let done: f64 = (0..i).map(|j| root[[i, j]] * column[j]).sum();
                column[i] = (column[i] - done) / root[[i, i]];
            }
            for i in (0..p).rev() {
                let done: f64 = (i + 1..p).map(|j| root[[j, i]] * column[j]).sum();
                column[i] = (column[i] - done) / root[[i, i]];
            }
        }
        w
    }
}

/// Lower Cholesky factor. A pivot that rounding made non-positive is raised: the column then counts for nothing.
fn cholesky(mut a: Array2<f64>) -> Array2<f64> {
    let p = a.nrows();
    let width = p;
    let m = a.as_slice_mut().unwrap_or(&mut []);
    for j in 0..p {
        for i in j..p {
            let (head, tail) = m.split_at(i * width);
            let dot = if i == j {
                tail[..j].iter().map(|v| v * v).sum::<f64>()
            } else {
                tail[..j].iter().zip(&head[j * width..j * width + j]).map(|(a, b)| a * b).sum()
            };
            let v = m[i * width + j] - dot;
            m[i * width + j] = if i == j { v.max(1e-9).sqrt() } else { v / m[j * width + j] };
        }
    }
    a
}

/// What blocked cross-validation chose for one output.
#[derive(Clone, Debug)]
pub struct Chosen {
    pub strength: f64,
    /// Held-out sum of squared errors, and of bias per row.
    pub held_out_sse: f64,
    pub weights: Vec<f64>,
}

/// Ridge per output, each with the strength that blocked cross-validation likes best.
pub fn ridge_by_blocks(folds: &[Gram]) -> Vec<Chosen> {
    let Some(all) = folds.iter().cloned().reduce(|a, b| a.plus(&b)) else { return Vec::new() };
    let outputs = all.yy.len();
    let mut best = vec![(f64::INFINITY, STRENGTHS[0]); outputs];
    for strength in STRENGTHS {
        let mut sse = vec![0.0; outputs];
        for fold in folds {
            let w = all.minus(fold).ridge(strength);
            (0..outputs).for_each(|o| sse[o] += fold.sse(&w, o));
        }
        for (b, s) in best.iter_mut().zip(&sse) {
            if *s < b.0 * 0.999 {
                *b = (*s, strength);
            }
        }
    }
    let solved: Vec<(f64, Array2<f64>)> = STRENGTHS.iter().map(|&s| (s, all.ridge(s))).collect();
    let pick = |o: usize| {
        let (held_out_sse, strength) = best[o];
        let w = solved.iter().find(|(s, _)| *s == strength).map(|(_, w)| w.column(o).to_vec()).unwrap_or_default();
        Chosen { strength, held_out_sse, weights: w }
    };
    (0..outputs).map(pick).collect()
}

/// Features worth keeping for all outputs together: linfa's multi-task elastic net (group lasso) on the square root of
/// the normal equations, with the smallest penalty of a path that leaves at most `most` features.
///
/// The square root `R` of XᵀX has the same objective as X (R R ᵀ = XᵀX, RᵀQᵀY = XᵀY) with as many rows as features, so
/// the descent costs the same for any number of rows.
pub fn choose_features(all: &Gram, most: usize) -> Vec<usize> {
    let p = all.xx.nrows();
    if p <= most {
        return (0..p).collect();
    }
    let scale = 1.0 / all.rows.max(1.0);
    let mut a = &all.xx * scale;
    (0..p).for_each(|i| a[[i, i]] += 1e-8);
    let root = cholesky(a);
    let mut targets = &all.xy * scale;
    for mut column in targets.columns_mut() {
        for i in 0..p {
            let done: f64 = (0..i).map(|j| root[[i, j]] * column[j]).sum();
            column[i] = (column[i] - done) / root[[i, i]];
        }
    }
    let mut upper = root.t().to_owned();
    for i in 0..p {
        for j in 0..i {
            upper[[i, j]] = 0.0;
        }
    }
    let data = linfa::Dataset::new(upper, targets);
    let mut kept: Vec<usize> = Vec::new();
    for penalty in [1e-2, 4e-3, 1.6e-3, 6e-4, 2.5e-4, 1e-4, 4e-5] {
        let params = linfa_elasticnet::MultiTaskElasticNet::params()
            .penalty(penalty / p as f64)
            .l1_ratio(0.95)
            .with_intercept(false)
            .max_iterations(400)
            .tolerance(1e-5);
        let Ok(model) = params.fit(&data) else { break };
        let support: Vec<usize> = (0..p).filter(|&j| model.hyperplane().row(j).iter().any(|w| w.abs() > 1e-9)).collect();
        if support.len() > most {
            break;
        }
        kept = support;
    }
    if kept.is_empty() { (0..p.min(most)).collect() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn toy(rows: usize) -> (Array2<f64>, Array2<f64>) {
        // Three columns, the third a mix of the others; y = 2a − b.
        let x = Array2::from_shape_fn((rows, 3), |(i, j)| {
            let (a, b) = ((i as f64 * 0.7).sin(), (i as f64 * 0.31).cos());
            [a, b, 0.5 * a + 0.5 * b + 0.01 * (i as f64 * 1.9).sin()][j]
        });
        let y = Array2::from_shape_fn((rows, 1), |(i, _)| 2.0 * x[[i, 0]] - x[[i, 1]]);
        (x, y)
    }

    #[test]
    fn ridge_finds_the_plane_that_made_the_data() {
        let (x, y) = toy(300);
        let folds: Vec<Gram> = (0..3).map(|k| Gram::of(&x, &y, k * 100, (k + 1) * 100)).collect();
        let c = &ridge_by_blocks(&folds)[0];
        assert!((c.weights[0] - 2.0).abs() < 0.01 && (c.weights[1] + 1.0).abs() < 0.01 && c.weights[2].abs() < 0.02, "{c:?}");
        assert!(c.held_out_sse < 1e-3);
    }

    #[test]
    fn the_elastic_net_keeps_what_explains() {
        let (x, y) = toy(300);
        let kept = choose_features(&Gram::of(&x, &y, 0, 300), 2);
        assert!(kept.contains(&0) && kept.len() <= 2, "{kept:?}");
    }
}
