//! Recursive least squares by sufficient statistics, with forgetting and a robust weight.
//!
//! `A ← λA + w z zᵀ`, `b ← λb + w z d`; the weights are the ridge solution of `(A + αnD) β = b`. The prior does not fade as it
//! does in textbook recursive least squares, so collinear lags cannot wind up. With `w = δ/max(|e|, δ)`, `e` the error
//! that was made when the row was forecast, the fit goes towards least absolute errors (iteratively reweighted least
//! squares, Huber's weights) in one pass. Source of the recursion: Ljung & Söderström 1983, ch. 2.

use linfa_linalg::cholesky::SolveCInplace;
use ndarray::{Array1, Array2, Axis};

/// Sums over the rows that were learnt.
#[derive(Clone, Debug)]
pub struct Gram {
    size: usize,
    /// Upper triangle by rows.
    a: Vec<f64>,
    b: Vec<f64>,
    /// Sum of weights after forgetting, and rows learnt.
    pub weight: f64,
    pub rows: usize,
}

impl Gram {
    pub fn new(size: usize) -> Gram {
        Gram { size, a: vec![0.0; size * (size + 1) / 2], b: vec![0.0; size], weight: 0.0, rows: 0 }
    }

    /// Adds one standardised row with its change `d` and weight `w`; what was before counts `keep` times.
    pub fn learn(&mut self, z: &[f64], d: f64, w: f64, keep: f64) {
        let mut at = 0;
        for i in 0..self.size {
            let wz = w * z[i];
            let row = &mut self.a[at..at + self.size - i];
            for (a, zj) in row.iter_mut().zip(&z[i..]) {
                *a = *a * keep + wz * zj;
            }
            at += self.size - i;
            self.b[i] = self.b[i] * keep + wz * d;
        }
        self.weight = self.weight * keep + w;
        self.rows += 1;
    }

    /// Ridge weights with penalty `alpha` per unit of weight, none on the first (the intercept). `None` where the
    /// matrix is not positive definite.
    pub fn solve(&self, alpha: f64) -> Option<Vec<f64>> {
        let n = self.size;
        let mut a = Array2::zeros((n, n));
        let mut at = 0;
        for i in 0..n {
            for j in i..n {
                a[[i, j]] = self.a[at];
                a[[j, i]] = self.a[at];
                at += 1;
            }
            a[[i, i]] += self.weight * if i == 0 { 1e-9 } else { alpha } + 1e-12;
        }
        let mut b = Array1::from_vec(self.b.clone()).insert_axis(Axis(1));
        a.solvec_inplace(&mut b).ok()?;
        let out: Vec<f64> = b.iter().copied().collect();
        out.iter().all(|v| v.is_finite()).then_some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_a_new_one_after_forgetting() {
        let mut gram = Gram::new(2);
        let row = |k: u32| [1.0, f64::from(k % 7) - 3.0];
        for k in 0..500 {
            gram.learn(&row(k), 2.0 + 3.0 * row(k)[1], 1.0, 1.0);
        }
        let beta = gram.solve(1e-6).unwrap();
        assert!((beta[0] - 2.0).abs() < 1e-3 && (beta[1] - 3.0).abs() < 1e-3, "{beta:?}");
        for k in 0..500 {
            gram.learn(&row(k), 2.0 - row(k)[1], 1.0, 0.97);
        }
        let beta = gram.solve(1e-6).unwrap();
        assert!((beta[1] + 1.0).abs() < 1e-3, "{beta:?}");
        // Two equal columns: the penalty shares the weight between them.
        let mut twice = Gram::new(3);
        for k in 0..100 {
            let z = f64::from(k % 5) - 2.0;
            twice.learn(&[1.0, z, z], 4.0 * z, 1.0, 1.0);
        }
        let beta = twice.solve(1e-6).unwrap();
        assert!((beta[1] - beta[2]).abs() < 1e-6 && (beta[1] - 2.0).abs() < 1e-3, "{beta:?}");
    }
}
