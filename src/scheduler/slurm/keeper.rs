//! Keeps a band on every node as Slurm's `Weight`, and knows what was there before.
//!
//! ```text
//!            fresh hints                     no fresh hints, or we leave
//! original ───────────────▶ band 1 … 5 ───────────────────────────────────▶ original
//!                             ▲    │ scontrol reconfigure, a restart of slurmctld
//!                             └────┘ sets again what was lost
//! ```
//! Words: a node's *original* is what Slurm's own configuration gives it; *set* is what we gave it last.
//! Invariants: the original of a node is kept before its first change; a weight that is neither ours nor the original is
//! an administrator's new original; a band changes at most once in [`DWELL`], and a step of one band only when it was
//! asked for twice in a row.

use super::node::Node;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Least time between two band changes of one node.
pub const DWELL: Span = Span::minutes(15);
/// Prefix of the features that we set; the band's number follows.
pub const FEATURE: &str = "tramuntana_band";

/// What a node carries.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    pub weight: u32,
    pub features: String,
    /// What we set last; none = the node is as it was.
    #[serde(default)]
    pub set: Option<u32>,
    #[serde(default)]
    pub band: Option<u8>,
    #[serde(default)]
    pub changed_at: Option<Timestamp>,
    /// Asked for at the last pass, where it is not in force yet.
    #[serde(default)]
    pub asked: Option<u8>,
}

/// One thing to set in Slurm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub node: String,
    pub weight: u32,
    /// `None` = leave the features alone.
    pub features: Option<String>,
    pub why: String,
}

/// The nodes that we keep, with their originals: written to disk before Slurm is touched.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Keeper {
    pub nodes: BTreeMap<String, Kept>,
    /// Weights of bands 1 to 5.
    pub weights: [u32; 5],
    pub use_features: bool,
}

impl Keeper {
    pub fn new(weights: [u32; 5], use_features: bool) -> Keeper {
        Keeper { nodes: BTreeMap::new(), weights, use_features }
    }

    /// What must be set so that nodes carry the wanted bands. A node that the hints do not name is left alone or, where we
    /// had set it, given back.
    pub fn follow(&mut self, now: Timestamp, actual: &[Node], wanted: &BTreeMap<String, u8>) -> Vec<Change> {
        let mut out = vec![];
        for node in actual {
            let Some(&band) = wanted.get(&node.name) else {
                out.extend(self.give_back(node));
                continue;
            };
            let band = band.clamp(1, 5);
            let kept = self.nodes.entry(node.name.clone()).or_insert_with(|| Kept {
                weight: node.weight,
                features: ours_left_out(&node.features),
                ..Kept::default()
            });
            // Ours are told apart by their name: what an administrator adds or takes away meanwhile stays so.
            kept.features = ours_left_out(&node.features);
            let lost = kept.set.is_some_and(|w| w != node.weight);
            if lost && node.weight != kept.weight {
                kept.weight = node.weight;
            }
            if kept.set.is_none() {
                kept.weight = node.weight;
            }
            let next = match kept.band {
                None => band,
                Some(b) if b == band => b,
                // The dwell holds; so does a single step that was not asked for before.
                Some(b) if kept.changed_at.is_some_and(|t| now - t < DWELL && now >= t) => b,
                Some(b) if b.abs_diff(band) == 1 && kept.asked != Some(band) => b,
                Some(_) => band,
            };
            kept.asked = (next != band).then_some(band);
            let weight = self.weights[usize::from(next) - 1];
            let why = match kept.band {
                Some(b) if b == next && lost => format!("band {next} again: it was lost"),
                Some(b) if b == next && kept.set.is_some() => String::new(),
                Some(b) if b != next => format!("band {b} to {next}"),
                _ => format!("band {next}"),
            };
            if kept.band != Some(next) {
                kept.changed_at = Some(now);
            }
            (kept.band, kept.set) = (Some(next), Some(weight));
            let features = self.use_features.then(|| with_band(&kept.features, next));
            let feature_lost = features.as_ref().is_some_and(|f| *f != node.features);
            if !why.is_empty() || weight != node.weight || feature_lost {
                out.push(Change { node: node.name.clone(), weight, features, why });
            }
        }
        out
    }

    /// What must be set so that every node is as it was. `changed_at` is kept, so that coming back does not flap.
    pub fn restore(&mut self, actual: &[Node]) -> Vec<Change> {
        actual.iter().filter_map(|n| self.give_back(n)).collect()
    }

    fn give_back(&mut self, node: &Node) -> Option<Change> {
        let use_features = self.use_features;
        let kept = self.nodes.get_mut(&node.name)?;
        let set = kept.set.take()?;
        kept.asked = None;
        let theirs_only = ours_left_out(&node.features);
        let features = (use_features || theirs_only != node.features).then_some(theirs_only);
        let same = node.weight == kept.weight && features.as_ref().is_none_or(|f| *f == node.features);
        // An administrator's hand in between stays.
        let theirs = node.weight != set && node.weight != kept.weight;
        (!same && !theirs).then(|| Change { node: node.name.clone(), weight: kept.weight, features, why: "original".into() })
    }

    /// Is any node changed by us?
    pub fn holds_any(&self) -> bool {
        self.nodes.values().any(|k| k.set.is_some())
    }
}

fn ours_left_out(features: &str) -> String {
    features.split(',').filter(|f| !f.is_empty() && !f.starts_with(FEATURE)).collect::<Vec<_>>().join(",")
}

fn with_band(features: &str, band: u8) -> String {
    if features.is_empty() { format!("{FEATURE}{band}") } else { format!("{features},{FEATURE}{band}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, weight: u32) -> Node {
        Node { name: name.into(), weight, ..Node::default() }
    }
    fn want(pairs: &[(&str, u8)]) -> BTreeMap<String, u8> {
        pairs.iter().map(|(n, b)| ((*n).to_owned(), *b)).collect()
    }
    fn at(minutes: i64) -> Timestamp {
        Timestamp(0) + Span::minutes(minutes)
    }

    #[test]
    fn weights_follow_bands_without_flapping_and_go_back() {
        let mut k = Keeper::new([10, 20, 30, 40, 50], false);
        let first = k.follow(at(0), &[node("a", 7), node("b", 1)], &want(&[("a", 1), ("b", 5)]));
        assert_eq!(first.iter().map(|c| c.weight).collect::<Vec<_>>(), [10, 50]);
        // Within the dwell nothing moves, however often it is asked.
        for m in 1..15 {
            assert!(k.follow(at(m), &[node("a", 10), node("b", 50)], &want(&[("a", 5), ("b", 1)])).is_empty(), "{m}");
        }
        let later = k.follow(at(15), &[node("a", 10), node("b", 50)], &want(&[("a", 5), ("b", 1)]));
        assert_eq!(later.iter().map(|c| c.weight).collect::<Vec<_>>(), [50, 10]);
        // One band of difference must be asked for twice.
        assert!(k.follow(at(40), &[node("a", 50), node("b", 10)], &want(&[("a", 4), ("b", 1)])).is_empty());
        assert_eq!(k.follow(at(41), &[node("a", 50), node("b", 10)], &want(&[("a", 4), ("b", 1)]))[0].weight, 40);
        // A reconfigure brings the configuration's weight back: set again, and still the original to go back to.
        assert_eq!(k.follow(at(42), &[node("a", 7), node("b", 10)], &want(&[("a", 4), ("b", 1)]))[0].weight, 40);
        let back = k.restore(&[node("a", 40), node("b", 10)]);
        assert_eq!(back.iter().map(|c| c.weight).collect::<Vec<_>>(), [7, 1]);
        assert!(!k.holds_any() && k.restore(&[node("a", 7), node("b", 1)]).is_empty());
    }

    #[test]
    fn features_that_an_administrator_adds_or_takes_away_meanwhile_stay_so() {
        let mut k = Keeper::new([10, 20, 30, 40, 50], true);
        let with = |weight, features: &str| Node { features: features.into(), ..node("a", weight) };
        k.follow(at(0), &[with(7, "ib")], &want(&[("a", 2)]));
        assert!(k.follow(at(1), &[with(20, "ib,fast,tramuntana_band2")], &want(&[("a", 2)])).is_empty());
        assert!(k.follow(at(2), &[with(20, "fast,tramuntana_band2")], &want(&[("a", 2)])).is_empty());
        assert_eq!(k.restore(&[with(20, "fast,tramuntana_band2")])[0].features.as_deref(), Some("fast"));
    }

    /// Hints that leap every minute, a clock that jumps, nodes that come and go, giving back in between.
    #[test]
    fn whatever_is_asked_a_node_changes_its_band_at_most_once_in_a_dwell() {
        let mut k = Keeper::new([10, 20, 30, 40, 50], false);
        let (mut seed, mut now, mut changes) = (7_u64, 0_i64, BTreeMap::<String, Vec<i64>>::new());
        let mut draw = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % n
        };
        let names = ["a", "b", "c", "d"];
        let mut weights: BTreeMap<&str, u32> = names.iter().map(|n| (*n, 7)).collect();
        for _ in 0..5000 {
            now += if draw(50) == 0 { draw(90) as i64 } else { 1 };
            let nodes: Vec<Node> = names.iter().map(|n| node(n, weights[n])).collect();
            let asked: Vec<(&str, u8)> = names.iter().filter_map(|n| (draw(20) > 0).then_some((*n, 1 + draw(7) as u8))).collect();
            let before: BTreeMap<String, Option<u8>> = k.nodes.iter().map(|(n, kept)| (n.clone(), kept.band)).collect();
            let out = if draw(40) == 0 { k.restore(&nodes) } else { k.follow(at(now), &nodes, &want(&asked)) };
            for (n, kept) in &k.nodes {
                if before.get(n).is_some_and(|b| b.is_some() && *b != kept.band) {
                    changes.entry(n.clone()).or_default().push(now);
                }
            }
            for c in out {
                *weights.get_mut(c.node.as_str()).expect("a node that was there") = c.weight;
            }
            // Now and then a reconfigure wipes them out.
            if draw(30) == 0 {
                weights.values_mut().for_each(|w| *w = 7);
            }
        }
        for (n, times) in &changes {
            assert!(times.len() > 50, "{n}: {}", times.len());
            assert!(times.windows(2).all(|w| w[1] - w[0] >= 15), "{n}");
        }
        assert_eq!(changes.len(), 4);
        let nodes: Vec<Node> = names.iter().map(|n| node(n, weights[n])).collect();
        for c in k.restore(&nodes) {
            assert_eq!(c.weight, 7);
        }
    }

    #[test]
    fn an_administrators_hand_is_a_new_original() {
        let mut k = Keeper::new([10, 20, 30, 40, 50], true);
        let mut n = node("a", 7);
        n.features = "ib,tramuntana_band3".into();
        let c = k.follow(at(0), &[n.clone()], &want(&[("a", 2)]));
        assert_eq!(c[0].features.as_deref(), Some("ib,tramuntana_band2"));
        (n.weight, n.features) = (99, "ib".into());
        assert_eq!(k.follow(at(1), &[n.clone()], &want(&[("a", 2)]))[0].weight, 20);
        (n.weight, n.features) = (20, "ib,tramuntana_band2".into());
        let back = k.restore(&[n]);
        assert_eq!((back[0].weight, back[0].features.as_deref()), (99, Some("ib")));
    }
}
