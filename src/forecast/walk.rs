//! A walk through a series, row by row: forecast, wait, learn. Training is a walk; so is a backtest.
//!
//! ```text
//! 0 ───────────────────── fit ──────────────────── from ───────────────────── to
//!    ridges learn            trees are grown and       trees are grown anew,
//!                            speak, ridges learn,      the rest goes on;
//!                            blend and bands learn     figures are taken
//! ```
//! Invariants: at row `t` nothing is used that was not known at `t`: an origin is learnt from when its target's time has
//! come, never earlier; the scale, the trees and the choice are made of rows whose targets lie before `from`.

use super::bands::{Bands, Mark};
use super::features::Table;
use super::lane::{Lane, NAIVE, Said, TREES};
use super::ridge::{Guard, KINDS, Ridge, Scale};
use super::score::Sum;
use super::series::Series;
use super::spec::Spec;
use super::trees::{Binned, Growth, Trees};
use crate::time::Span;

/// Share of the complete rows of training that the first trees are grown on; blend and bands learn on the rest.
const FIT: f64 = 0.45;
/// Rows that trees are grown on at most (the newest are kept), and at least.
const TREE_ROWS: (usize, usize) = (200, 6_000);
/// Small and quick: thrice as many trees with finer bins, grown twice as often, gain a thousandth of the error.
const GROWTH: Growth = Growth { trees: 30, leaves: 10, rate: 0.18, least: 20, features: 0.35 };
/// How often trees are grown anew at most: so many times in a walk beside the growth at the beginning of the test part, and not twice a day.
const GROWN_MAX: usize = 1;
/// What another model must gain on the blend to be chosen in its place.
const EARN: f64 = 0.9;
/// Forecasts that do not overlap below which nothing but the blend is chosen: a few days would decide by chance.
const CHOICE_WINDOWS: usize = 30;
/// Forecasts that do not overlap which the training part must hold before models take part at all.
const MODEL_WINDOWS: usize = 8;
/// How often ridges are solved in a walk through the training part, and bounds of the rows between two solutions.
const SOLUTIONS: usize = 200;
const REFRESH: (usize, usize) = (4, 48);

/// Which models take part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members(pub Vec<String>);

impl Default for Members {
    fn default() -> Members {
        Members(Members::all())
    }
}

impl Members {
    /// Names of all models; the blend is over those that take part.
    pub fn all() -> Vec<String> {
        let mut names: Vec<String> = NAIVE.iter().map(|s| (*s).to_owned()).collect();
        names.extend(KINDS.iter().map(|k| k.name.to_owned()));
        names.extend(TREES.map(String::from));
        names.push("blend".into());
        names
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|n| n == name)
    }
}

/// Ends of the parts of a walk, rows.
#[derive(Clone, Copy, Debug)]
pub struct Parts {
    /// First row of the test part; targets of the training part lie before it.
    pub from: usize,
    /// End of the test part.
    pub to: usize,
}

/// One forecast of the test part.
#[derive(Clone, Debug, PartialEq)]
pub struct Made {
    pub origin: usize,
    pub point: f64,
    pub edges: super::bands::Edges,
    pub truth: f64,
    /// Is it among the figures (origin complete, target seen)?
    pub scored: bool,
}

/// Seconds that one model took. Measured by the clock that the caller lends; 0 without one.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Took {
    pub train_s: f64,
    pub predict_s: f64,
}

/// What a walk leaves.
pub struct Walked {
    pub lane: Lane,
    /// Bands of the chosen model, as they stand at the end.
    pub bands: Bands,
    /// Names of the models in the order of the figures: the experts, then the blend.
    pub models: Vec<&'static str>,
    pub chosen: usize,
    /// Figures over the test part.
    pub sums: Vec<Sum>,
    pub took: Vec<Took>,
    /// Forecasts of the chosen model over the test part.
    pub made: Vec<Made>,
    /// Figures of the yardstick for bands (see [`super::split`]), where it was asked for.
    pub split: Option<Sum>,
}

/// A stopwatch of the caller's, seconds.
pub type Watch<'a> = &'a dyn Fn() -> f64;

/// Walks one horizon (number `h` of the spec). `raw` is the load before gaps were filled: only seen targets count.
pub fn walk(
    spec: &Spec,
    table: &Table,
    load: &Series,
    raw: &Series,
    h: usize,
    parts: Parts,
    members: &Members,
    seed: u64,
    yardstick: bool,
    watch: Watch,
) -> Walked {
    let ahead = spec.horizons[h];
    let k = spec.rows(ahead);
    let rows = table.rows.min(parts.to);
    let width = table.shared.len() + table.own[h].len();
    // Rows side by side: the walk goes along them many times.
    let mut flat = Vec::with_capacity(table.rows * width);
    let mut row = Vec::with_capacity(width);
    for t in 0..table.rows {
        table.row(h, t, &mut row);
        flat.extend_from_slice(&row);
    }
    let feature = |t: usize| &flat[t * width..(t + 1) * width];
    let change = |t: usize| if t + k < raw.values.len() && t + k < parts.to { raw.values[t + k] - load.values[t] } else { f64::NAN };
    let train_rows = parts.from.saturating_sub(k);
    let scale = Scale::new(width, (0..parts.from.min(table.rows)).map(feature), table.inputs());
    let naive: Vec<usize> = (0..NAIVE.len())
        .filter(|i| members.has(NAIVE[*i]) && (0..parts.from.min(table.rows)).any(|t| table.naive(h, t)[*i].is_finite()))
        .collect();
    let refresh = (parts.from / SOLUTIONS).clamp(REFRESH.0, REFRESH.1);
    let models_take_part = train_rows >= MODEL_WINDOWS * k || naive.is_empty();
    let ridges: Vec<Ridge> = (0..KINDS.len())
        .filter(|i| models_take_part && members.has(KINDS[*i].name))
        .map(|i| Ridge::new(i, width, k, spec.day_rows(), refresh))
        .collect();
    let usable: Vec<usize> = (0..train_rows).filter(|t| change(*t).is_finite() && table.complete(h, *t)).collect();
    let fit = usable.get((FIT * usable.len() as f64) as usize).copied().unwrap_or(train_rows);
    let with_trees = models_take_part && TREES.iter().any(|t| members.has(t)) && usable.partition_point(|t| t + k < fit) >= TREE_ROWS.0;
    let regrow = spec.day_rows().max(rows.saturating_sub(fit) / GROWN_MAX).max(1);
    let count = naive.len() + ridges.len() + TREES.len() * usize::from(with_trees);
    let mut lane =
        Lane { ahead, rows: k, scale, naive, ridges, trees: None, rest: None, with_trees, blend: super::blend::Blend::new(count, k) };
    let mut models = lane.experts();
    models.push("blend");
    let mut took = vec![Took::default(); models.len()];
    let mut bands = vec![Bands::new(k); models.len()];
    let (mut sums, mut choice) = (vec![Sum::default(); models.len()], vec![Sum::default(); models.len()]);
    let mut waiting: std::collections::VecDeque<(usize, Said, Vec<Mark>)> = std::collections::VecDeque::with_capacity(k + 1);
    let (mut z, mut weights) = (Vec::new(), Vec::new());
    let mut made: Vec<(usize, Vec<super::bands::Edges>, Vec<f64>, bool)> = Vec::new();
    let tree_at = models.len() - 1 - TREES.len();
    let mut base = vec![f64::NAN; rows];
    for t in 0..rows {
        if with_trees && (t == parts.from || t >= fit && (t - fit) % regrow == 0) {
            let started = watch();
            let known: Vec<usize> =
                (0..t.saturating_sub(k)).filter(|t| (change(*t) - base[*t]).is_finite() && table.complete(h, *t)).collect();
            let seed = seed.wrapping_add(h as u64);
            if let Some((rows, binned)) = binned(known, width, &feature) {
                let spent = watch() - started;
                for (i, trees) in [&mut lane.trees, &mut lane.rest].into_iter().enumerate() {
                    let started = watch();
                    let y: Vec<f64> = rows.iter().map(|t| if i == 0 { change(*t) } else { change(*t) - base[*t] }).collect();
                    *trees = Some(Trees::fit_binned(&binned, &y, &GROWTH, seed));
                    took[tree_at + i].train_s += watch() - started + spent / TREES.len() as f64;
                }
            }
        }
        while waiting.front().is_some_and(|(s, _, _)| s + k <= t) {
            let Some((s, said, marks)) = waiting.pop_front() else { break };
            let truth = change(s);
            if !truth.is_finite() {
                continue;
            }
            let started = watch();
            lane.learn(feature(s), &said, truth, s >= fit, &mut z);
            let spent = watch() - started;
            let first = lane.naive.len();
            for i in 0..lane.ridges.len() {
                took[first + i].train_s += spent / lane.ridges.len() as f64;
            }
            if s >= fit {
                for (m, b) in bands.iter_mut().enumerate() {
                    b.learn(point(&said, m), &marks[m], truth);
                }
            }
        }
        if !load.values[t].is_finite() {
            continue;
        }
        let started = watch();
        let said = lane.say(feature(t), table.naive(h, t), &mut z, &mut weights);
        let spent = watch() - started;
        base[t] = lane.base(&said.experts);
        let truth = change(t);
        let marks: Vec<Mark> = bands.iter().map(Bands::mark).collect();
        if t >= fit {
            let complete = truth.is_finite() && table.complete(h, t);
            let level = load.values[t];
            let value = |m: usize| level + point(&said, m);
            let edges: Vec<_> = (0..models.len()).map(|m| bands[m].edges(value(m))).collect();
            if t >= parts.from {
                took.iter_mut().for_each(|t| t.predict_s += spent / models.len() as f64);
                if complete {
                    sums.iter_mut().enumerate().for_each(|(m, s)| add(s, value(m), &edges[m], level + truth));
                }
                let points = (0..models.len()).map(value).collect();
                made.push((t, edges, points, complete));
            } else if t < train_rows && complete {
                choice.iter_mut().enumerate().for_each(|(m, s)| add(s, value(m), &edges[m], level + truth));
            }
        }
        waiting.push_back((t, said, marks));
    }
    let chosen = choose(&choice, members.has("blend"), CHOICE_WINDOWS * k);
    let made = (made.into_iter())
        .map(|(origin, edges, points, scored)| Made {
            origin,
            point: points[chosen],
            edges: edges[chosen],
            truth: change(origin) + load.values[origin],
            scored,
        })
        .collect();
    let split =
        yardstick.then(|| super::split::walk(table, h, &feature, &change, &|t| load.values[t], 0..train_rows, parts.from..rows)).flatten();
    // The blend took as long as all that it is made of.
    let last = models.len() - 1;
    took[last] = Took { train_s: took.iter().map(|t| t.train_s).sum(), predict_s: took.iter().map(|t| t.predict_s).sum() };
    let bands = bands.swap_remove(chosen);
    Walked { lane, bands, models, chosen, sums, took, made, split }
}

fn add(sum: &mut Sum, point: f64, edges: &super::bands::Edges, truth: f64) {
    if point.is_finite() {
        sum.add(point, edges, truth);
    }
}

/// Change that model number `m` says: an expert's, or the blend's.
fn point(said: &Said, m: usize) -> f64 {
    said.experts.get(m).copied().unwrap_or(said.change)
}

/// The blend, unless another was clearly better on the rest of the training part.
fn choose(choice: &[Sum], blend: bool, least: usize) -> usize {
    let last = choice.len() - 1;
    let best = (0..last).filter(|m| choice[*m].n > 0).reduce(|a, b| if choice[b].mae() < choice[a].mae() { b } else { a });
    match best {
        Some(m) if !blend => m,
        Some(m) if choice[m].n >= least && choice[m].n >= choice[last].n && choice[m].mae() < EARN * choice[last].mae() => m,
        _ => last,
    }
}

/// The newest rows of `known` that trees are grown on, and their features in bins; `None` where there are too few.
fn binned<'a>(mut known: Vec<usize>, width: usize, feature: &impl Fn(usize) -> &'a [f64]) -> Option<(Vec<usize>, Binned)> {
    if known.len() < TREE_ROWS.0 {
        return None;
    }
    known.drain(..known.len().saturating_sub(TREE_ROWS.1));
    let columns: Vec<Vec<f64>> = (0..width).map(|j| known.iter().map(|t| feature(*t)[j]).collect()).collect();
    Some((known, Binned::new(&columns)))
}

/// What a guard says, for people: share and name of the feature.
pub(super) fn outside(guard: &Guard, names: &[String], ahead: Span) -> Option<String> {
    (guard.share < 1.0).then(|| {
        let name = names.get(guard.feature).map_or("?", String::as_str);
        format!("{ahead}: {name} is outside the trained range, {:.0} % of the models", 100.0 * guard.share)
    })
}
