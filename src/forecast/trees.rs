//! Gradient-boosted regression trees for the absolute error, small and exactly repeatable.
//!
//! Friedman 2001 (doi:10.1214/aos/1013203451), algorithm 3 (least absolute deviation): each tree is grown on the signs of
//! the residuals, and each leaf says the median residual of its rows. Features are put into quantile bins once and splits
//! are found in histograms, leaf by leaf, best gain first (as LightGBM does: Ke et al. 2017); every tree sees a sample of
//! the features. linfa has no regression trees; of the crates that have, `perpetual` needs a nightly
//! compiler and `forust-ml` knows no absolute error.
//!
//! A missing feature has a bin of its own, below all others.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// How trees are grown.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    pub trees: usize,
    pub leaves: usize,
    pub rate: f64,
    /// Least rows of a leaf.
    pub least: usize,
    /// Share of the features that a tree sees.
    pub features: f64,
}

const BINS: usize = 24;
/// Values that the edges of a column's bins are taken from, spread evenly.
const EDGE_ROWS: usize = 1_000;

/// One node: a leaf's value, or a test `feature value <= at` that leads to `low` or `low + 1`; on disk `value` or
/// `[feature, at, low]`, since nodes are most of a model's bytes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Node {
    Leaf(f64),
    Split(u32, f64, u32),
}

/// A sum of trees.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trees {
    base: f64,
    trees: Vec<Vec<Node>>,
}

/// Columns of features, each value put into a bin.
pub struct Binned {
    /// By column: upper edges of the bins.
    cuts: Vec<Vec<f64>>,
    bins: Vec<Vec<u8>>,
}

impl Binned {
    /// Of columns (p × n).
    pub fn new(columns: &[Vec<f64>]) -> Binned {
        let cuts: Vec<Vec<f64>> = columns.iter().map(|c| edges(c)).collect();
        let bins = columns.iter().zip(&cuts).map(|(c, cuts)| c.iter().map(|v| bin(*v, cuts)).collect()).collect();
        Binned { cuts, bins }
    }
}

/// A leaf while its tree grows: rows `from..to` of the order, its histogram and its best split.
struct Growing {
    node: usize,
    from: usize,
    to: usize,
    histogram: Vec<i64>,
    best: Option<(f64, usize, usize)>,
}

/// A cell of a histogram packs the sum of signs (upper 32 bits) and the number of rows: one addition adds both.
fn cell(packed: i64) -> (f64, f64) {
    let rows = packed & 0xFFFF_FFFF;
    (((packed - rows) >> 32) as f64, rows as f64)
}

fn median(values: &mut [f64]) -> f64 {
    if values.is_empty() {
        return 0.0;
    }
    let mid = values.len() / 2;
    *values.select_nth_unstable_by(mid, f64::total_cmp).1
}

impl Trees {
    /// Fits `y` (n) on columns of features (p × n). The same arguments give the same trees.
    pub fn fit(columns: &[Vec<f64>], y: &[f64], growth: &Growth, seed: u64) -> Trees {
        Trees::fit_binned(&Binned::new(columns), y, growth, seed)
    }

    /// The same on features that were put into bins before: they serve for several `y`.
    pub fn fit_binned(binned: &Binned, y: &[f64], growth: &Growth, seed: u64) -> Trees {
        let n = y.len();
        let base = median(&mut y.to_vec());
        let mut out = Trees { base, trees: Vec::with_capacity(growth.trees) };
        let Binned { cuts, bins } = binned;
        if n < 2 * growth.least || bins.iter().any(|b| b.len() != n) {
            return out;
        }
        let useful: Vec<usize> = (0..bins.len()).filter(|j| !cuts[*j].is_empty()).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut said = vec![base; n];
        let mut signs = vec![0i64; n];
        for _ in 0..growth.trees {
            for ((s, y), f) in signs.iter_mut().zip(y).zip(&said) {
                *s = ((i64::from(y > f) - i64::from(y < f)) << 32) + 1;
            }
            let mut order: Vec<u32> = (0..n as u32).collect();
            let features: Vec<usize> = useful.iter().copied().filter(|_| rng.random::<f64>() < growth.features).collect();
            let (mut tree, leaves) = grow(bins, cuts, &features, &mut order, &signs, growth);
            let mut residuals = Vec::with_capacity(n);
            for l in &leaves {
                let rows = &order[l.from..l.to];
                residuals.clear();
                residuals.extend(rows.iter().map(|r| y[*r as usize] - said[*r as usize]));
                let v = growth.rate * median(&mut residuals);
                tree[l.node] = Node::Leaf(v);
                rows.iter().for_each(|r| said[*r as usize] += v);
            }
            out.trees.push(tree);
        }
        out
    }

    /// What the trees say of one row of features.
    pub fn say(&self, row: &[f64]) -> f64 {
        let mut sum = self.base;
        for tree in &self.trees {
            if let Node::Leaf(v) = tree[leaf(tree, |j| row.get(j).copied().unwrap_or(f64::NAN))] {
                sum += v;
            }
        }
        sum
    }

    /// How often each of `features` features is split on, a share of all splits.
    pub fn importance(&self, features: usize) -> Vec<f64> {
        let mut count = vec![0.0; features];
        for node in self.trees.iter().flatten() {
            if let Node::Split(feature, _, _) = node
                && let Some(c) = count.get_mut(*feature as usize)
            {
                *c += 1.0;
            }
        }
        let sum: f64 = count.iter().sum::<f64>().max(1.0);
        count.iter().map(|c| c / sum).collect()
    }

    /// Are all nodes in their trees, forward only? For models from disk.
    pub fn sound(&self, features: usize) -> bool {
        self.trees.iter().all(|tree| {
            !tree.is_empty()
                && tree.iter().enumerate().all(|(i, node)| match node {
                    Node::Leaf(v) => v.is_finite(),
                    Node::Split(feature, _, low) => (*feature as usize) < features && *low as usize > i && (*low as usize + 1) < tree.len(),
                })
        })
    }
}

fn leaf(tree: &[Node], value: impl Fn(usize) -> f64) -> usize {
    let mut at = 0;
    while let Node::Split(feature, cut, low) = &tree[at] {
        let v = value(*feature as usize);
        at = *low as usize + usize::from(v > *cut);
    }
    at
}

/// Upper edges of the bins, ascending: quantiles of the values that are there, each once; empty where all are equal.
fn edges(values: &[f64]) -> Vec<f64> {
    let stride = values.len().div_ceil(EDGE_ROWS).max(1);
    let mut sorted: Vec<f64> = values.iter().copied().step_by(stride).filter(|v| v.is_finite()).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    let Some(last) = sorted.last().copied() else { return Vec::new() };
    let mut out: Vec<f64> = (1..BINS).map(|q| sorted[(q * sorted.len() / BINS).min(sorted.len() - 1)]).collect();
    out.dedup();
    // An edge at the greatest value divides nothing.
    out.retain(|e| *e < last);
    out
}

/// 0 = missing, then 1 + number of edges below the value.
fn bin(v: f64, edges: &[f64]) -> u8 {
    if v.is_finite() { 1 + edges.partition_point(|e| *e < v) as u8 } else { 0 }
}

fn histogram(bins: &[Vec<u8>], features: &[usize], rows: &[u32], signs: &[i64]) -> Vec<i64> {
    let width = BINS + 1;
    let mut out = vec![0; width * features.len()];
    let signs: Vec<i64> = rows.iter().map(|r| signs[*r as usize]).collect();
    for (f, j) in features.iter().enumerate() {
        let cells = &mut out[f * width..(f + 1) * width];
        let column = &bins[*j];
        for (r, s) in rows.iter().zip(&signs) {
            cells[column[*r as usize] as usize] += s;
        }
    }
    out
}

/// Best split of a histogram: (gain, position among the features, last bin that goes low).
fn best(histogram: &[i64], features: usize, least: usize) -> Option<(f64, usize, usize)> {
    let width = BINS + 1;
    let mut found: Option<(f64, usize, usize)> = None;
    for f in 0..features {
        let cells = &histogram[f * width..(f + 1) * width];
        let (sum, count) = cell(cells.iter().sum());
        let whole = sum * sum / (count + 1.0);
        let (mut g, mut n) = (0.0, 0.0);
        for (b, packed) in cells.iter().enumerate().take(width - 1) {
            let c = cell(*packed);
            g += c.0;
            n += c.1;
            if c.1 == 0.0 || n < least as f64 {
                continue;
            }
            if count - n < least as f64 {
                break;
            }
            let gain = g * g / (n + 1.0) + (sum - g) * (sum - g) / (count - n + 1.0) - whole;
            if gain > 1e-9 && found.is_none_or(|(best, _, _)| gain > best) {
                found = Some((gain, f, b));
            }
        }
    }
    found
}

fn grow(
    bins: &[Vec<u8>],
    cuts: &[Vec<f64>],
    features: &[usize],
    order: &mut [u32],
    signs: &[i64],
    growth: &Growth,
) -> (Vec<Node>, Vec<Growing>) {
    let mut tree = vec![Node::Leaf(0.0)];
    let whole = histogram(bins, features, order, signs);
    let split = best(&whole, features.len(), growth.least);
    let mut leaves = vec![Growing { node: 0, from: 0, to: order.len(), histogram: whole, best: split }];
    while leaves.len() < growth.leaves {
        let Some((i, _)) = leaves.iter().enumerate().filter_map(|(i, l)| Some((i, l.best?.0))).reduce(|a, b| if b.1 > a.1 { b } else { a })
        else {
            break;
        };
        let parent = leaves.swap_remove(i);
        let Some((_, f, last)) = parent.best else { break };
        let feature = features[f];
        let column = &bins[feature];
        // Stable partition keeps the order of the rows, so that sums are repeatable.
        let rows = &mut order[parent.from..parent.to];
        let (low, high): (Vec<u32>, Vec<u32>) = rows.iter().partition(|r| column[**r as usize] as usize <= last);
        rows[..low.len()].copy_from_slice(&low);
        rows[low.len()..].copy_from_slice(&high);
        let middle = parent.from + low.len();
        let small_is_low = low.len() <= high.len();
        let small = histogram(bins, features, if small_is_low { &low } else { &high }, signs);
        let large: Vec<i64> = parent.histogram.iter().zip(&small).map(|(p, s)| p - s).collect();
        let (low_h, high_h) = if small_is_low { (small, large) } else { (large, small) };
        let at = tree.len();
        // Bin 0 is "missing": below every value. The outermost cuts are finite, since JSON has no infinity.
        let cut = if last == 0 { f64::MIN } else { cuts[feature].get(last - 1).copied().unwrap_or(f64::MAX) };
        tree[parent.node] = Node::Split(feature as u32, cut, at as u32);
        tree.extend([Node::Leaf(0.0), Node::Leaf(0.0)]);
        for (node, from, to, histogram) in [(at, parent.from, middle, low_h), (at + 1, middle, parent.to, high_h)] {
            let best = best(&histogram, features.len(), growth.least);
            leaves.push(Growing { node, from, to, histogram, best });
        }
    }
    (tree, leaves)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROWTH: Growth = Growth { trees: 80, leaves: 8, rate: 0.2, least: 5, features: 1.0 };

    #[test]
    fn a_step_that_no_line_can_follow_is_found_again_and_again() {
        let a: Vec<f64> = (0..400).map(|i| f64::from(i % 20)).collect();
        let b: Vec<f64> = (0..400).map(|i| if i % 7 == 0 { f64::NAN } else { f64::from(i % 3) }).collect();
        let y: Vec<f64> = a.iter().zip(&b).map(|(a, b)| if *a > 9.5 { 10.0 } else { 0.0 } + if b.is_nan() { 4.0 } else { 0.0 }).collect();
        let columns = vec![a, b];
        let trees = Trees::fit(&columns, &y, &GROWTH, 7);
        assert_eq!(trees, Trees::fit(&columns, &y, &GROWTH, 7));
        assert!(trees.sound(2) && !trees.sound(1));
        for (row, truth) in [([3.0, 1.0], 0.0), ([15.0, 1.0], 10.0), ([15.0, f64::NAN], 14.0), ([3.0, f64::NAN], 4.0)] {
            assert!((trees.say(&row) - truth).abs() < 0.5, "{row:?}: {}", trees.say(&row));
        }
        let share = trees.importance(2);
        assert!((share[0] + share[1] - 1.0).abs() < 1e-12 && share[0] > 0.0 && share[1] > 0.0);
    }

    #[test]
    fn too_few_rows_say_the_median() {
        let trees = Trees::fit(&[vec![1.0, 2.0, 3.0]], &[5.0, 7.0, 100.0], &GROWTH, 1);
        assert_eq!(trees.say(&[9.0]), 7.0);
    }
}
