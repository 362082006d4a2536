//! Least squares with signs: non-negative weights for shapes, free ones for the rest, by coordinate descent on normal
//! equations (Lawson and Hanson 1974 state the problem; Friedman, Hastie and Tibshirani 2010 the method).
//!
//! Invariant: same numbers in, same bytes out.

use ndarray::Array2;

/// XᵀWX, XᵀWy, yᵀWy and the weighted sums, so that columns can be centred and blocks taken out by subtraction.
#[derive(Clone)]
pub struct Normal {
    pub weight: f64,
    pub xx: Array2<f64>,
    pub xy: Array2<f64>,
    pub yy: Vec<f64>,
    pub x: Vec<f64>,
    pub y: Vec<f64>,
}

impl Normal {
    /// Of rows `range` of `x` (rows × columns) and `y` (rows × outputs), weighted.
    pub fn of(x: &Array2<f64>, y: &Array2<f64>, w: &[f64], rows: std::ops::Range<usize>) -> Normal {
        let root = Array2::from_shape_fn((rows.len(), 1), |(i, _)| w[rows.start + i].sqrt());
        let xs = &x.slice(ndarray::s![rows.clone(), ..]) * &root;
        let ys = &y.slice(ndarray::s![rows.clone(), ..]) * &root;
        let sums = |m: &Array2<f64>| m.columns().into_iter().map(|c| c.iter().zip(&root).map(|(a, r)| a * r).sum()).collect();
        Normal {
            weight: rows.map(|i| w[i]).sum(),
            xx: xs.t().dot(&xs),
            xy: xs.t().dot(&ys),
            yy: ys.columns().into_iter().map(|c| c.dot(&c)).collect(),
            x: sums(&xs),
            y: sums(&ys),
        }
    }

    pub fn combine(&self, o: &Normal, sign: f64) -> Normal {
        let v = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a + sign * b).collect();
        Normal {
            weight: self.weight + sign * o.weight,
            xx: &self.xx + &(&o.xx * sign),
            xy: &self.xy + &(&o.xy * sign),
            yy: v(&self.yy, &o.yy),
            x: v(&self.x, &o.x),
            y: v(&self.y, &o.y),
        }
    }

    /// Scale of each column: its weighted standard deviation, 0 where it stands still.
    pub fn deviations(&self) -> Vec<f64> {
        let n = self.weight.max(1e-9);
        (0..self.x.len())
            .map(|j| {
                let d = (self.xx[[j, j]] / n - (self.x[j] / n).powi(2)).max(0.0).sqrt();
                if d > 1e-6 * (self.x[j] / n).abs().max(1e-6) { d } else { 0.0 }
            })
            .collect()
    }
}

/// Ridge of columns of any sign, as a share of the number of rows.
const FREE_RIDGE: f64 = 3e-3;

/// Weights (raw units) and intercept of one output.
#[derive(Clone, Debug, Default)]
pub struct Solution {
    pub weights: Vec<f64>,
    pub intercept: f64,
}

/// How much weights are held back, as shares: `lasso` of the largest correlation, `ridge` of the number of rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Strength {
    pub lasso: f64,
    pub ridge: f64,
}

/// Solves output `o`. `free[j]` = column `j` may have any sign and is not held back by the lasso.
/// `warm` begins from another solution.
pub fn solve(n: &Normal, o: usize, free: &[bool], s: Strength, warm: Option<&Solution>) -> Solution {
    let p = n.x.len();
    let total = n.weight.max(1e-9);
    let d = n.deviations();
    // Centred and scaled normal equations.
    let mut a = Array2::zeros((p, p));
    let mut b = vec![0.0; p];
    for i in 0..p {
        if d[i] == 0.0 {
            continue;
        }
        b[i] = (n.xy[[i, o]] - n.x[i] * n.y[o] / total) / d[i] / total;
        for j in 0..p {
            if d[j] > 0.0 {
                a[[i, j]] = (n.xx[[i, j]] - n.x[i] * n.x[j] / total) / (d[i] * d[j]) / total;
            }
        }
    }
    let top = b.iter().zip(free).filter(|(_, f)| !**f).map(|(b, _)| b.max(0.0)).fold(0.0, f64::max);
    let lasso = s.lasso * top;
    let mut w: Vec<f64> = warm.map_or_else(|| vec![0.0; p], |s| s.weights.iter().zip(&d).map(|(w, d)| w * d).collect());
    // Gradient A·w − b, kept up to date.
    let mut g: Vec<f64> = b.iter().map(|b| -b).collect();
    for j in 0..p {
        if w[j] != 0.0 {
            for i in 0..p {
                g[i] += a[[i, j]] * w[j];
            }
        }
    }
    let scale = (n.yy[o] / total - (n.y[o] / total).powi(2)).max(1e-12).sqrt();
    let mut active: Vec<usize> = (0..p).filter(|&j| d[j] > 0.0).collect();
    for sweep in 0..400 {
        let full = sweep % 10 == 0;
        let mut most: f64 = 0.0;
        for &j in &active {
            if !full && w[j] == 0.0 && !free[j] {
                continue;
            }
            let (step_lasso, ridge) = if free[j] { (0.0, FREE_RIDGE) } else { (lasso, s.ridge) };
            let pull = a[[j, j]] * w[j] - g[j] - step_lasso;
            let mut next = pull / (a[[j, j]] + ridge);
            if !free[j] {
                next = next.max(0.0);
            }
            let delta = next - w[j];
            if delta != 0.0 {
                w[j] = next;
                let column = a.row(j);
                for (gi, aij) in g.iter_mut().zip(column) {
                    *gi += aij * delta;
                }
                most = most.max(delta.abs());
            }
        }
        if full && most < 1e-5 * scale {
            break;
        }
        if !full && most < 1e-5 * scale {
            // Nothing moves among the active ones: the next full sweep decides.
            if sweep % 10 != 9 {
                continue;
            }
        }
        active.retain(|&j| d[j] > 0.0);
    }
    let weights: Vec<f64> = w.iter().zip(&d).map(|(w, d)| if *d > 0.0 { w / d } else { 0.0 }).collect();
    let intercept = (n.y[o] - weights.iter().zip(&n.x).map(|(w, x)| w * x).sum::<f64>()) / total;
    Solution { weights, intercept }
}

/// Solves `A x = b` for a small symmetric positive matrix, given by its lower half, by Cholesky; also the diagonal of A⁻¹. `None` where it is not.
pub fn small(a: &[Vec<f64>], b: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
    let p = b.len();
    let mut l = vec![vec![0.0; p]; p];
    for i in 0..p {
        for j in 0..=i {
            let dot: f64 = (0..j).map(|k| l[i][k] * l[j][k]).sum();
            let v = a[i][j] - dot;
            if i == j {
                if v <= 0.0 || !v.is_finite() {
                    return None;
                }
                l[i][i] = v.sqrt();
            } else {
                l[i][j] = v / l[j][j];
            }
        }
    }
    let back = |rhs: &[f64]| {
        let mut x = rhs.to_vec();
        for i in 0..p {
            let dot: f64 = (0..i).map(|k| l[i][k] * x[k]).sum();
            x[i] = (x[i] - dot) / l[i][i];
        }
        for i in (0..p).rev() {
            let dot: f64 = (i + 1..p).map(|k| l[k][i] * x[k]).sum();
            x[i] = (x[i] - dot) / l[i][i];
        }
        x
    };
    let inverse = (0..p)
        .map(|j| {
            let mut e = vec![0.0; p];
            e[j] = 1.0;
            back(&e)[j]
        })
        .collect();
    Some((back(b), inverse))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_are_kept_and_the_truth_is_found() {
        // y = 2 + 3·x0, x1 is noise that a free fit would give a negative weight.
        let x = Array2::from_shape_fn((60, 2), |(i, j)| if j == 0 { i as f64 / 10.0 } else { ((i * 7919) % 13) as f64 / 13.0 });
        let y = Array2::from_shape_fn((60, 1), |(i, _)| 2.0 + 3.0 * x[[i, 0]] - 0.2 * x[[i, 1]]);
        let w = vec![1.0; 60];
        let n = Normal::of(&x, &y, &w, 0..60);
        let s = solve(&n, 0, &[false, false], Strength { lasso: 0.0, ridge: 1e-9 }, None);
        assert!((s.weights[0] - 3.0).abs() < 0.02 && s.weights[1] == 0.0, "{s:?}");
        let rest = n.combine(&Normal::of(&x, &y, &w, 10..20), -1.0);
        assert!((rest.weight - 50.0).abs() < 1e-9);
        let (v, inverse) = small(&[vec![4.0, 1.0], vec![1.0, 3.0]], &[1.0, 2.0]).unwrap();
        assert!((v[0] - 1.0 / 11.0).abs() < 1e-12 && (inverse[0] - 3.0 / 11.0).abs() < 1e-12);
        assert!(small(&[vec![-1.0]], &[1.0]).is_none());
    }
}
