//! Sums that agree: racks, loops, partitions, site.
//!
//! Each level is forecast by itself, so the forecasts of the parts do not add up to that of the whole. They are moved as
//! little as their errors warrant until they do: weighted least squares with the variances of the forecasts' errors on
//! the diagonal (MinT with a diagonal covariance, "WLS_v": Wickramasuriya, Athanasopoulos & Hyndman 2019,
//! doi:10.1080/01621459.2018.1448825). On a tree that is two passes: up, each node is the variance-weighted mean of its
//! own forecast and its parts' sum; down, what is left is shared among the parts by their variances.
//! Invariant: the parts of every node add up to it, to rounding.

use serde::{Deserialize, Serialize};

/// A whole and its parts, by name. Parts may be wholes of others; a name is part of one whole at most.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Whole {
    pub name: String,
    pub parts: Vec<String>,
}

/// A tree over positions of forecasts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tree {
    parts: Vec<Vec<usize>>,
    /// Wholes before their parts.
    order: Vec<usize>,
}

impl Tree {
    /// `names` are those of the forecasts. Errors in words: a name that is not forecast, a part of two wholes, a circle.
    pub fn new(names: &[String], wholes: &[Whole]) -> Result<Tree, String> {
        let find =
            |n: &String| names.iter().position(|m| m == n).ok_or_else(|| format!("{n:?} is not forecast; it has {}", names.join(", ")));
        let mut parts = vec![Vec::new(); names.len()];
        let mut parent: Vec<Option<usize>> = vec![None; names.len()];
        for w in wholes {
            let whole = find(&w.name)?;
            for p in &w.parts {
                let part = find(p)?;
                if parent[part].replace(whole).is_some() {
                    return Err(format!("{p:?} is a part twice"));
                }
                parts[whole].push(part);
            }
        }
        let mut order: Vec<usize> = (0..names.len()).filter(|i| parent[*i].is_none()).collect();
        let mut next = 0;
        while next < order.len() {
            order.extend(parts[order[next]].clone());
            next += 1;
        }
        if order.len() < names.len() {
            return Err("the wholes form a circle".into());
        }
        Ok(Tree { parts, order })
    }

    /// Moves `values` so that sums agree; `variances` are those of their errors (a value that is not finite, or a variance
    /// of 0 or less, counts as unknown: it is the sum of its parts, or its share of the whole).
    pub fn reconcile(&self, values: &mut [f64], variances: &[f64]) {
        const UNKNOWN: f64 = 1e18;
        let n = self.parts.len();
        let mut mean: Vec<f64> = values.iter().map(|v| if v.is_finite() { *v } else { 0.0 }).collect();
        let mut var: Vec<f64> = (0..n).map(|i| if values[i].is_finite() && variances[i] > 0.0 { variances[i] } else { UNKNOWN }).collect();
        let (mut sum_mean, mut sum_var) = (vec![0.0; n], vec![0.0; n]);
        for &i in self.order.iter().rev().filter(|i| !self.parts[**i].is_empty()) {
            sum_mean[i] = self.parts[i].iter().map(|p| mean[*p]).sum();
            sum_var[i] = self.parts[i].iter().map(|p| var[*p]).sum();
            let own = sum_var[i] / (var[i] + sum_var[i]);
            mean[i] = own * mean[i] + (1.0 - own) * sum_mean[i];
            var[i] = var[i] * sum_var[i] / (var[i] + sum_var[i]);
        }
        for &i in self.order.iter().filter(|i| !self.parts[**i].is_empty()) {
            let left = mean[i] - sum_mean[i];
            for p in &self.parts[i] {
                mean[*p] += left * var[*p] / sum_var[i];
            }
        }
        values.copy_from_slice(&mean);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(n: &[&str]) -> Vec<String> {
        n.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn sums_agree_and_the_surer_forecast_moves_less() {
        let whole = |name: &str, parts: &[&str]| Whole { name: name.into(), parts: names(parts) };
        let all = names(&["site", "a", "b", "a1", "a2"]);
        let tree = Tree::new(&all, &[whole("site", &["a", "b"]), whole("a", &["a1", "a2"])]).unwrap();
        let mut v = [100.0, 70.0, 40.0, 30.0, 30.0];
        tree.reconcile(&mut v, &[1.0, 4.0, 4.0, 1.0, 3.0]);
        assert!((v[0] - v[1] - v[2]).abs() < 1e-9 && (v[1] - v[3] - v[4]).abs() < 1e-9, "{v:?}");
        assert!(v[0] > 100.0 && v[0] < 110.0 && (v[4] - 30.0).abs() > (v[3] - 30.0).abs());
        // By hand, one level: generalised least squares of s = x + y with variances 1, 1, 2 moves 10 by 1/4, 1/4, 1/2.
        let tree = Tree::new(&names(&["s", "x", "y"]), &[whole("s", &["x", "y"])]).unwrap();
        let mut v = [10.0, 0.0, 0.0];
        tree.reconcile(&mut v, &[1.0, 1.0, 2.0]);
        for (v, e) in v.iter().zip([7.5, 2.5, 5.0]) {
            assert!((v - e).abs() < 1e-9, "{v} {e}");
        }
        // A part that is unknown takes what is left.
        let mut v = [10.0, 4.0, f64::NAN];
        tree.reconcile(&mut v, &[1.0, 1.0, 1.0]);
        assert!((v[2] - 6.0).abs() < 1e-6, "{v:?}");
        assert!(Tree::new(&all, &[whole("a", &["b"]), whole("site", &["b"])]).unwrap_err().contains("twice"));
        assert!(Tree::new(&all, &[whole("a", &["b"]), whole("b", &["a"])]).unwrap_err().contains("circle"));
    }
}
