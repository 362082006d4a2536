//! The yardstick for bands: split-conformal bands around a plain ridge.
//!
//! The textbook's way (Lei, G'Sell, Rinaldo, Tibshirani & Wasserman 2018, doi:10.1080/01621459.2017.1307116): a ridge is fitted on
//! the first four fifths of the training part, the absolute errors on the last fifth give one half-width for all that comes. It
//! learns nothing afterwards. Same features, same rows as ours; it is never chosen and has no part in the blend.

use super::bands::Edges;
use super::features::Table;
use super::gram::Gram;
use super::ridge::Scale;
use super::score::Sum;

/// Name among the rows of a backtest.
pub const NAME: &str = "split-ridge";
/// Share of the rows that is fitted on.
const FIT: f64 = 0.8;
/// Rows below which there is none.
const ROWS_MIN: usize = 100;
/// Penalties per row that are tried on the last fifth.
const ALPHAS: [f64; 6] = [1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0];

/// Figures over the rows `test`; `change` is the truth less the load at the origin, `level`. `None` with too few rows.
pub fn walk<'a>(
    table: &Table,
    h: usize,
    feature: &impl Fn(usize) -> &'a [f64],
    change: &impl Fn(usize) -> f64,
    level: &impl Fn(usize) -> f64,
    train: std::ops::Range<usize>,
    test: std::ops::Range<usize>,
) -> Option<Sum> {
    let usable = |t: &usize| change(*t).is_finite() && table.complete(h, *t);
    let rows: Vec<usize> = train.filter(usable).collect();
    if rows.len() < ROWS_MIN {
        return None;
    }
    let width = feature(rows[0]).len();
    let (fit, rest) = rows.split_at((FIT * rows.len() as f64) as usize);
    let scale = Scale::new(width, fit.iter().map(|t| feature(*t)), (0, 0));
    let mut gram = Gram::new(width + 1);
    let mut z = Vec::with_capacity(width + 1);
    for t in fit {
        scale.standard(feature(*t), &mut z, |_, _| false);
        gram.learn(&z, change(*t), 1.0, 1.0);
    }
    let mut best: Option<(f64, Vec<f64>, Vec<f64>)> = None;
    for weights in ALPHAS.iter().filter_map(|a| gram.solve(*a)) {
        let mut errors = Vec::with_capacity(rest.len());
        for t in rest {
            scale.standard(feature(*t), &mut z, |_, _| false);
            errors.push((change(*t) - dot(&weights, &z)).abs());
        }
        let sum = errors.iter().sum::<f64>();
        if best.as_ref().is_none_or(|(least, _, _)| sum < *least) {
            best = Some((sum, weights, errors));
        }
    }
    let (_, weights, mut errors) = best?;
    errors.sort_unstable_by(f64::total_cmp);
    // The ⌈(n + 1)(1 − α)⌉-th smallest error.
    let quantile = |level: f64| {
        let rank = ((errors.len() + 1) as f64 * level).ceil() as usize;
        errors[rank.clamp(1, errors.len()) - 1]
    };
    let (half80, half90) = (quantile(0.8), quantile(0.9));
    let mut sum = Sum::default();
    for t in test.filter(usable) {
        scale.standard(feature(t), &mut z, |_, _| false);
        let point = level(t) + dot(&weights, &z);
        let edges = Edges { p05: point - half90, p10: point - half80, p90: point + half80, p95: point + half90 };
        sum.add(point, &edges, level(t) + change(t));
    }
    Some(sum)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
