//! One target at one horizon: experts, their blend, its bands, and how all of them learn from what happened.
//!
//! ```text
//!            ┌─ persistence, yesterday, last week, mean day ────────────────┐
//! features ──┼─ standardise ─ ridges (all time, squares, recent) ───────────┼─> blend ─┐
//!            ├─ trees; trees on what the ridges leave over ─────────────────┘          ├─> change ─> bands
//!            └─ guard: how far outside of what was learnt ──> naive blend alone ───────┘
//! ```
//! Everything is a *change* from the load at the origin. Invariants: a naive expert that cannot look back (no yesterday
//! yet) and a model with more than a quarter of its features missing are silent; so long as one expert speaks there is
//! a forecast; outside of the trained range the models' share falls to nothing and the naive ones take over.

use super::blend::Blend;
use super::ridge::{Guard, KINDS, Ridge, Scale};
use super::trees::Trees;
use crate::time::Span;
use serde::{Deserialize, Serialize};

/// The naive experts, in the order in which they stand before the models.
pub const NAIVE: [&str; 4] = ["persistence", "yesterday", "last-week", "mean-day"];
/// Boosted trees: on the change itself, and on what the ridges leave over.
pub const TREES: [&str; 2] = ["trees", "trees-on-ridge"];
/// Share of features that may be missing before models fall silent.
const MISSING_MAX: f64 = 0.25;

/// A forecast of the change, and how it came about.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// By expert; NaN = silent.
    pub experts: Vec<f64>,
    /// Change; NaN where no expert speaks.
    pub change: f64,
    pub guard: Guard,
}

/// Experts and blend of one target at one horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lane {
    pub ahead: Span,
    /// Steps ahead.
    pub rows: usize,
    pub scale: Scale,
    /// Positions in [`NAIVE`].
    pub naive: Vec<usize>,
    pub ridges: Vec<Ridge>,
    /// `None` where they were left out or have not earned their place.
    pub trees: Option<Trees>,
    /// Trees on what the ridges leave over.
    pub rest: Option<Trees>,
    /// Is there a place for trees among the experts?
    pub with_trees: bool,
    pub blend: Blend,
}

impl Lane {
    /// Names of the experts, in order.
    pub fn experts(&self) -> Vec<&'static str> {
        let mut names: Vec<&'static str> = self.naive.iter().map(|i| NAIVE[*i]).collect();
        names.extend(self.ridges.iter().map(|r| KINDS[r.kind].name));
        if self.with_trees {
            names.extend(TREES);
        }
        names
    }

    /// Do all vectors fit `features` features? For models from disk.
    pub fn sound(&self, features: usize) -> bool {
        let s = &self.scale;
        self.rows > 0
            && [&s.means, &s.sigmas, &s.lowest, &s.highest].iter().all(|v| v.len() == features)
            && self.naive.iter().all(|i| *i < NAIVE.len())
            && self.ridges.iter().all(|r| r.kind < KINDS.len() && (r.weights.is_empty() || r.weights.len() == features + 1))
            && [&self.trees, &self.rest].into_iter().flatten().all(|t| t.sound(features))
            && self.blend.experts() == self.experts().len()
    }

    /// Mean of what the ridges say, NaN before all of them speak: what the second trees begin with.
    pub fn base(&self, experts: &[f64]) -> f64 {
        let first = self.naive.len();
        let ridges = experts.get(first..first + self.ridges.len()).unwrap_or_default();
        if ridges.is_empty() { 0.0 } else { ridges.iter().sum::<f64>() / ridges.len() as f64 }
    }

    /// Forecast from a row of features and what the naive ones of [`NAIVE`] say.
    pub fn say(&self, row: &[f64], naive: [f64; 4], z: &mut Vec<f64>, weights: &mut Vec<f64>) -> Said {
        let guard = self.scale.standard(row, z, |j, outside| self.ridges.iter().any(|r| r.leans_on(j, outside)));
        let fit = guard.missing as f64 <= MISSING_MAX * row.len() as f64;
        let mut experts: Vec<f64> = self.naive.iter().map(|i| naive[*i]).collect();
        let model = |v: f64| if fit { v } else { f64::NAN };
        experts.extend(self.ridges.iter().map(|r| model(r.say(z))));
        if self.with_trees {
            let base = self.base(&experts);
            experts.push(model(self.trees.as_ref().map_or(f64::NAN, |t| t.say(row))));
            experts.push(model(self.rest.as_ref().map_or(f64::NAN, |t| base + t.say(row))));
        }
        let mut change = self.blend.mix(&experts, weights);
        if guard.share < 1.0 || !change.is_finite() {
            let plain: Vec<f64> = experts.iter().enumerate().map(|(i, v)| if i < self.naive.len() { *v } else { f64::NAN }).collect();
            let fallen = self.blend.mix(&plain, weights);
            change = if change.is_finite() { guard.share * change + (1.0 - guard.share) * fallen } else { fallen };
        }
        Said { experts, change, guard }
    }

    /// Learns from an outcome: the row of features, what was said of it, the change that came. `judge`: the blend learns too,
    /// as soon as the experts have learnt enough to be judged fairly.
    pub fn learn(&mut self, row: &[f64], said: &Said, change: f64, judge: bool, z: &mut Vec<f64>) {
        if !change.is_finite() {
            return;
        }
        if judge {
            self.blend.learn(&said.experts, change);
        }
        let guard = self.scale.standard(row, z, |_, _| false);
        if guard.missing as f64 <= MISSING_MAX * row.len() as f64 {
            let first = self.naive.len();
            for (i, ridge) in self.ridges.iter_mut().enumerate() {
                ridge.learn(z, said.experts.get(first + i).copied().unwrap_or(f64::NAN), change);
            }
            self.scale.widen(row);
        }
    }
}
