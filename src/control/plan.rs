//! The search for setpoints: least energy over a receding horizon, with limits as hard constraints.
//!
//! Words: a *target* is where an actuator is heading; its *trajectory* goes there as fast as slew allows, then holds. The
//! *cost* of targets is what the site's objective counts (energy, money, emissions, peak: [`super::objective`]) at the p50 load, with a
//! small charge for moving; the *excess* is how far limits are passed (`plan/limits.rs`). A *state* is the target of an actuator that
//! is switched: each combination of the few states is a branch of its own.
//! Order of plans: the smaller excess, then the smaller cost. A plan with any excess says so (`feasible = false`).
//! Invariants: at most [`Tuning::rollouts_max`] rollouts a search, a third of that for each further branch, and a dozen to settle and
//! describe; deterministic; first moves stay within the reach given.

mod limits;

use super::objective::{Objective, Toll};
use super::view::{RAMP, View};
use crate::plant::predict::{Outcome, PlantState, Predict, StepInput};
use crate::site::{Actuator, SiteFile};
use crate::time::Span;
use std::collections::BTreeMap;

/// How to search.
#[derive(Clone, Debug, PartialEq)]
pub struct Tuning {
    pub step: Span,
    pub steps: usize,
    /// Standard deviations of the model's error kept from a limit, besides the limit's own margin.
    pub sigmas: f64,
    pub rollouts_max: usize,
    /// Charge for moving one actuator through its whole range, as a share of the horizon's energy.
    pub switch_share: f64,
    /// Least distance, K, between the supply setpoint of a loop and that of the loop that takes its heat: below the
    /// approach of the heat exchanger between them a setpoint cannot be reached, and pumps run full in the attempt.
    pub approach_k: f64,
    /// A plan must save this share of the horizon's energy against holding, else we hold.
    pub worth_share: f64,
    /// Time constant with which temperature setpoints follow the optimum of each tick; zero = at once. An optimum moves with the noise of loads, weather and
    /// model, to and fro; each way back costs, and no horizon that ends before it holds that cost.
    pub settle: Span,
}

impl Tuning {
    /// Part of the way to a new optimum that a creeping setpoint goes in one tick.
    pub fn follow_share(&self, tick: Span) -> f64 {
        if self.settle.0 > 0 { 1.0 - (-tick.as_secs_f64() / self.settle.as_secs_f64()).exp() } else { 1.0 }
    }
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            step: Span::minutes(5),
            steps: 24,
            sigmas: 0.3,
            rollouts_max: 600,
            switch_share: 1e-4,
            approach_k: 3.0,
            worth_share: 1e-4,
            settle: Span(0),
        }
    }
}

/// Where a search begins and what it may move.
#[derive(Clone, Debug)]
pub struct Start {
    /// What is asked or in force now, per actuator: the meaning of "hold".
    pub base: Vec<f64>,
    /// Values that the first request may take.
    pub reach: Vec<(f64, f64)>,
    /// Targets fixed by an operator or by necessity.
    pub fixed: Vec<Option<f64>>,
    /// Targets of the plan before.
    pub prior: Option<Vec<f64>>,
    /// What plans have settled on so far ([`Tuning::settle`]), not on the grid of steps.
    pub settled: Option<Vec<f64>>,
    /// How much nearer to its limit each limited value is than the model explains, at least 0; short = nothing.
    pub surprise: Vec<f64>,
}

/// What the search found.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    pub targets: Vec<f64>,
    /// What plans have settled on, for the next [`Start`].
    pub settled: Vec<f64>,
    /// The request for now, per actuator.
    pub first: Vec<f64>,
    pub plan_kwh: f64,
    pub hold_kwh: f64,
    /// With the operators' fixed setpoints in force throughout.
    pub fixed_kwh: f64,
    /// About 90 % of a difference between two of these, from the model's stated error (half of it taken as common).
    pub plus_minus_kwh: f64,
    /// The same three in what the objective counts (kWh where that is energy).
    pub plan_cost: f64,
    pub hold_cost: f64,
    pub fixed_cost: f64,
    /// Cost, emissions and highest power under the plan, and at the operators' fixed setpoints.
    pub plan_toll: Toll,
    pub fixed_toll: Toll,
    /// Sum over limits and steps beyond the tightened limits; 0 = feasible.
    pub excess: f64,
    /// The limit that is nearest at p90, and its distance to the limit itself.
    pub binding: Option<(usize, f64)>,
    /// The limit at which what is kept for a loss leaves least at the expected load: which loss, and what is kept for it.
    pub reserved: Option<(usize, String, f64)>,
    /// Limits that the model knows nothing of.
    pub unknown_limits: Vec<usize>,
    pub rollouts: usize,
    /// Mean powers over the horizon, kW: under the plan and when holding.
    pub it_kw: (f64, f64),
    pub cooling_kw: (f64, f64),
}

impl Plan {
    pub fn feasible(&self) -> bool {
        self.excess <= EXCESS_EPS
    }
}

const EXCESS_EPS: f64 = 1e-6;
/// Setpoints up to which every pair of them is moved at once.
const ALL_PAIRS: usize = 8;
/// Combinations of states that are searched, and the part of the rollouts that each gets.
const BRANCHES_MAX: usize = 32;
const BRANCH_PART: usize = 3;
/// Step sizes of the coordinate search, as shares of an actuator's range; its smallest step comes last.
const SHARES: [f64; 5] = [0.3, 0.12, 0.05, 0.02, 0.0];

#[derive(Clone, Copy, Debug, PartialEq)]
struct Score {
    excess: f64,
    cost: f64,
}

impl Score {
    fn better_than(&self, o: &Score) -> bool {
        if (self.excess - o.excess).abs() > EXCESS_EPS { self.excess < o.excess } else { self.cost < o.cost - 1e-9 }
    }
}

struct Search<'a> {
    site: &'a SiteFile,
    model: &'a dyn Predict,
    tuning: &'a Tuning,
    start: &'a Start,
    state: PlantState,
    p50: Vec<StepInput>,
    p90: Vec<StepInput>,
    /// Some limit keeps a reserve.
    reserves: bool,
    /// How much of its reserve each limit misses at the operators' setpoints, by step and limit: a plan need not keep that.
    lacks: Vec<Vec<f64>>,
    out: Vec<Outcome>,
    /// `(low, high)` that `min` and `max` of each limit are counted from.
    reference: Vec<(f64, f64)>,
    /// (actuator of a loop's supply, actuator of the supply of the loop that takes its heat).
    above: Vec<(usize, usize)>,
    known: BTreeMap<Vec<i64>, Score>,
    objective: Objective,
    hold_kwh: f64,
    hold_cost: f64,
    rollouts: usize,
    /// Rollouts at which the branch under way must end.
    budget: usize,
    /// Actuators whose requests are not on the grid of steps; short = none.
    creeps: Vec<bool>,
    /// How far each setpoint goes in a step of the horizon.
    per_step: Vec<f64>,
    /// Trajectories that stand in `p50` and in `p90`: a rollout writes those anew that differ.
    ways: [Vec<Way>; 2],
    /// Setpoints that are moved two at a time.
    pairs: Vec<(usize, usize)>,
}

/// The trajectory of one setpoint.
#[derive(Clone, Copy, PartialEq)]
struct Way {
    first: f64,
    target: f64,
    per_step: f64,
}

impl Way {
    /// The setpoint at step `k` of the horizon.
    fn at(&self, k: usize) -> f64 {
        let reach = self.per_step * k as f64;
        self.first + (self.target - self.first).clamp(-reach, reach)
    }
}

/// Searches targets. `None` where the view does not say what a rollout needs (setpoints in force, loads).
pub fn plan(view: &View, start: &Start, model: &dyn Predict, tuning: &Tuning) -> Option<Plan> {
    let site = &*view.site;
    let n = site.actuators.len();
    if n == 0 || start.base.len() != n || start.base.iter().any(|v| !v.is_finite()) {
        return None;
    }
    let p50 = inputs(view, tuning, Level::P50)?;
    let p90 = inputs(view, tuning, Level::Ramp)?;
    let reserves = site.limits.iter().any(|l| l.has_reserve());
    let state = PlantState { in_force: view.in_force(), limited: site.limits.iter().map(|l| view.role(&l.role).value).collect() };
    let reference = (site.limits.iter()).map(|l| l.above.as_ref().map_or((0.0, 0.0), |r| (view.role(r).low, view.role(r).high))).collect();
    let out = Vec::with_capacity(tuning.steps);
    let known = BTreeMap::new();
    let objective = Objective::of(view, tuning);
    let above = supplies(site);
    let (hold_kwh, hold_cost, budget) = (0.0, 0.0, tuning.rollouts_max);
    let mut s = Search {
        site,
        model,
        tuning,
        start,
        state,
        p50,
        p90,
        reserves,
        lacks: vec![],
        out,
        reference,
        above,
        known,
        objective,
        hold_kwh,
        hold_cost,
        rollouts: 0,
        budget,
        creeps: vec![],
        per_step: site.actuators.iter().map(|a| per_step(a, tuning.step)).collect(),
        ways: [vec![], vec![]],
        pairs: pairs(site),
    };
    Some(s.run(view))
}

/// How far slew lets a setpoint go in a step of the horizon.
fn per_step(a: &Actuator, step: Span) -> f64 {
    let minutes = step.as_secs_f64() / 60.0;
    (a.slew_per_min * minutes).min(a.slew_per_10min * (minutes / 10.0).min(1.0))
}

/// Pairs of supply setpoints that an exchanger links, by the site file's topology alone.
fn supplies(site: &SiteFile) -> Vec<(usize, usize)> {
    let steers = |loop_id: &str| {
        let l = site.loops.iter().find(|l| l.id == loop_id)?;
        site.actuators.iter().position(|a| a.loop_id == l.id && a.measured.as_deref() == Some(l.supply.as_str()))
    };
    site.loops.iter().filter_map(|l| Some((steers(&l.id)?, steers(l.into.as_deref()?)?))).collect()
}

/// Setpoints that lean on one another: all pairs of a small plant; in a large one those of the same loop, or of loops that an exchanger links.
fn pairs(site: &SiteFile) -> Vec<(usize, usize)> {
    let n = site.actuators.len();
    let into = |a: usize| site.loops.iter().find(|l| l.id == site.actuators[a].loop_id).and_then(|l| l.into.as_deref());
    let gives = |a: usize, to: usize| into(a) == Some(site.actuators[to].loop_id.as_str());
    let near = |i: usize, j: usize| site.actuators[i].loop_id == site.actuators[j].loop_id || gives(i, j) || gives(j, i);
    (0..n).flat_map(|i| (i + 1..n).map(move |j| (i, j))).filter(|&(i, j)| n <= ALL_PAIRS || near(i, j)).collect()
}

/// Which load a rollout is asked for.
#[derive(Clone, Copy, PartialEq)]
enum Level {
    /// Loops at their p50. What a limit has of its own counts at its p90: no energy hangs on it, and it may rise before anybody can answer.
    P50,
    /// p90, and at first the ramp that is to be reckoned with.
    Ramp,
}

/// The steps of the horizon at a level of the load.
fn inputs(view: &View, tuning: &Tuning, level: Level) -> Option<Vec<StepInput>> {
    let dew = view.role("room_dew_point");
    let room_dew_point_c = if dew.is_known() { dew.high } else { view.weather.dew_point_c };
    (0..tuning.steps)
        .map(|k| {
            let mut loads_kw = Vec::with_capacity(view.loads.len());
            for l in &view.loads {
                let of_loop = loads_kw.len() < view.site.loops.len();
                let series = if level == Level::P50 && of_loop { &l.p50_kw } else { &l.p90_kw };
                let mut v = *series.get(k).or(series.last())?;
                if level == Level::Ramp && tuning.step.0 * k as i64 <= RAMP.0 - tuning.step.0 {
                    v = v.max(l.ramp_kw);
                }
                if !v.is_finite() {
                    return None;
                }
                loads_kw.push(v);
            }
            let weather = *view.weather_forecast.get(k).or(view.weather_forecast.last()).unwrap_or(&view.weather);
            Some(StepInput { span: tuning.step, setpoints: vec![], loads_kw, weather, room_dew_point_c })
        })
        .collect()
}

impl Search<'_> {
    fn run(&mut self, view: &View) -> Plan {
        let site = self.site;
        let hold = self.legal(&self.start.base.clone());
        self.hold_kwh = self.energy(&hold);
        self.hold_cost = self.objective.cost(&self.out);
        let fixed_kwh = self.constant_energy(&site.actuators.iter().map(|a| a.default).collect::<Vec<_>>());
        let fixed = (fixed_kwh, self.objective.cost(&self.out), self.objective.toll(&self.out));
        self.lacks = self.lacks();
        let mut best = hold.clone();
        let mut best_score = self.score(&best, None);
        let hold_score = best_score;
        let mut starts: Vec<Vec<f64>> = vec![];
        starts.extend(self.start.prior.clone());
        starts.push(site.actuators.iter().map(|a| a.default).collect());
        for share in [0.5, 0.2, 0.8] {
            starts.push(site.actuators.iter().map(|a| a.lo + share * (a.hi - a.lo)).collect());
        }
        for s in starts {
            let s = self.legal(&s);
            let score = self.score(&s, Some(best_score));
            if score.better_than(&best_score) {
                (best, best_score) = (s, score);
            }
        }
        self.descend(&mut best, &mut best_score);
        self.branch(&mut best, &mut best_score);
        let worth = self.tuning.worth_share * self.hold_cost.abs();
        if (hold_score.excess - best_score.excess).abs() <= EXCESS_EPS && hold_score.cost - best_score.cost < worth {
            best = hold.clone();
        }
        let settled = self.settle(&mut best, best_score, view);
        self.describe(best, settled, hold, fixed)
    }

    /// Draws the temperatures of `best` towards what plans have settled on, where that passes no limit that `best` keeps.
    fn settle(&mut self, best: &mut Vec<f64>, score: Score, view: &View) -> Vec<f64> {
        let Some(before) = self.start.settled.as_ref().filter(|s| s.len() == best.len() && self.tuning.settle.0 > 0) else {
            return best.clone();
        };
        self.creeps = (0..best.len()).map(|i| view.creeps(i) && self.start.fixed[i].is_none()).collect();
        let share = self.tuning.follow_share(self.site.control.tick());
        // Where the slow way passes a limit, the slowest of a few quicker ones that does not.
        for share in [1.0, 2.0, 4.0, 8.0].map(|k| k * share).into_iter().filter(|s| *s < 1.0) {
            let towards = |(i, (b, s)): (usize, (&f64, &f64))| if self.creeps[i] { s + share * (b - s) } else { *b };
            let drawn: Vec<f64> = best.iter().zip(before).enumerate().map(towards).collect();
            if self.beyond(&drawn) <= score.excess.max(0.0) + EXCESS_EPS {
                best.clone_from(&drawn);
                return drawn;
            }
        }
        self.creeps.clear();
        best.clone()
    }

    fn descend(&mut self, best: &mut Vec<f64>, best_score: &mut Score) {
        let n = best.len();
        for share in SHARES {
            for _ in 0..4 {
                let mut moved = false;
                for i in 0..n {
                    for sign in [1.0, -1.0] {
                        moved |= self.consider(best, best_score, &[(i, sign)], share);
                    }
                }
                if !moved {
                    // Loops lean on one another: two setpoints at once reach what neither does alone.
                    for p in 0..self.pairs.len() {
                        let (i, j) = self.pairs[p];
                        for (a, b) in [(1.0, 1.0), (-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0)] {
                            moved |= self.consider(best, best_score, &[(i, a), (j, b)], share);
                        }
                    }
                }
                if !moved || self.spent() {
                    break;
                }
            }
        }
    }

    fn spent(&self) -> bool {
        self.rollouts + 2 > self.budget
    }

    /// Searches on from the best plan under every other combination of states: what is cheap beside a machine that is off is not
    /// what is cheap beside one that runs.
    fn branch(&mut self, best: &mut Vec<f64>, best_score: &mut Score) {
        let free: Vec<usize> = (0..best.len())
            .filter(|i| {
                self.site.actuators[*i].is_discrete() && self.start.fixed[*i].is_none() && self.start.reach[*i].0 < self.start.reach[*i].1
            })
            .collect();
        let mut combinations: Vec<Vec<f64>> = vec![best.clone()];
        for i in free {
            let a = &self.site.actuators[i];
            let with = |c: &Vec<f64>| {
                (0..a.states.len())
                    .map(|k| {
                        let mut c = c.clone();
                        c[i] = a.lo + k as f64;
                        c
                    })
                    .collect::<Vec<_>>()
            };
            combinations = combinations.iter().flat_map(with).take(BRANCHES_MAX).collect();
        }
        let states = |t: &[f64]| -> Vec<i64> {
            (0..t.len()).filter(|i| self.site.actuators[*i].is_discrete()).map(|i| t[i].round() as i64).collect()
        };
        let done = states(best);
        let others: Vec<Vec<f64>> = combinations.into_iter().filter(|c| states(c) != done).collect();
        for from in others {
            self.budget = self.rollouts + self.tuning.rollouts_max / BRANCH_PART;
            let mut trial = self.legal(&from);
            let mut score = self.score(&trial, None);
            self.descend(&mut trial, &mut score);
            if score.better_than(best_score) {
                (*best, *best_score) = (trial, score);
            }
        }
    }

    fn consider(&mut self, best: &mut Vec<f64>, best_score: &mut Score, moves: &[(usize, f64)], share: f64) -> bool {
        if self.spent() {
            return false;
        }
        let mut trial = best.clone();
        for &(i, sign) in moves {
            let a = &self.site.actuators[i];
            trial[i] += sign * (share * (a.hi - a.lo)).max(a.step);
        }
        let trial = self.legal(&trial);
        if trial == *best {
            return false;
        }
        let score = self.score(&trial, Some(*best_score));
        let better = score.better_than(best_score);
        if better {
            (*best, *best_score) = (trial, score);
        }
        better
    }

    /// Targets inside bounds, on the grid of the actuator's steps counted from its base, with fixed ones in place.
    fn legal(&self, targets: &[f64]) -> Vec<f64> {
        let mut out: Vec<f64> = (self.site.actuators.iter().enumerate())
            .map(|(i, a)| {
                if let Some(v) = self.start.fixed[i] {
                    return v;
                }
                let base = if a.is_discrete() { self.start.base[i].round() } else { self.start.base[i] };
                let v = base + ((targets[i] - base) / a.step).round() * a.step;
                if v < a.lo || v > a.hi { v.clamp(a.lo.min(base), a.hi.max(base)) } else { v }
            })
            .collect();
        for &(warm, cool) in &self.above {
            let least = out[cool] + self.tuning.approach_k;
            if out[warm] < least && self.start.fixed[warm].is_none() {
                out[warm] = least.min(self.site.actuators[warm].hi);
            }
            let most = out[warm] - self.tuning.approach_k;
            if out[cool] > most && self.start.fixed[cool].is_none() {
                out[cool] = most.max(self.site.actuators[cool].lo);
            }
        }
        out
    }

    /// The request for now: towards the target within reach; a move too small to be worth a request waits.
    fn first(&self, i: usize, target: f64) -> f64 {
        let a = &self.site.actuators[i];
        let base = self.start.base[i];
        let (lo, hi) = self.start.reach[i];
        if a.is_discrete() {
            return if lo < hi || self.start.fixed[i].is_some() { target.round() } else { base.round() };
        }
        let v = target.clamp(lo.min(base), hi.max(base));
        let creeps = self.creeps.get(i).copied().unwrap_or(false);
        if (v - base).abs() < 0.999 * a.step && self.start.fixed[i].is_none() && !creeps { base } else { v }
    }

    fn roll(&mut self, targets: &[f64], level: Level) {
        self.rollouts += 1;
        let mut ways = std::mem::take(&mut self.ways[level as usize]);
        let anew = ways.len() != targets.len();
        for (i, target) in targets.iter().enumerate() {
            let first = self.first(i, *target);
            // What is switched stays as it is switched now.
            let target = if self.site.actuators[i].is_discrete() { first } else { *target };
            let way = Way { first, target, per_step: self.per_step[i] };
            if anew {
                ways.push(way);
            } else if ways[i] == way {
                continue;
            }
            ways[i] = way;
            for (k, step) in self.steps(level).iter_mut().enumerate() {
                step.setpoints.resize(targets.len(), f64::NAN);
                step.setpoints[i] = way.at(k);
            }
        }
        self.ways[level as usize] = ways;
        let steps = if level == Level::P50 { &self.p50 } else { &self.p90 };
        self.model.rollout(&self.state, steps, &mut self.out);
    }

    fn steps(&mut self, level: Level) -> &mut [StepInput] {
        match level {
            Level::P50 => &mut self.p50,
            Level::Ramp => &mut self.p90,
        }
    }

    fn kwh(&self) -> f64 {
        let kwh: f64 = self.out.iter().map(|o| o.total_kw() * self.tuning.step.as_hours_f64()).sum();
        if kwh.is_finite() { kwh } else { f64::MAX }
    }

    fn energy(&mut self, targets: &[f64]) -> f64 {
        self.roll(targets, Level::P50);
        self.kwh()
    }

    fn constant_energy(&mut self, setpoints: &[f64]) -> f64 {
        for s in &mut self.p50 {
            s.setpoints = setpoints.to_vec();
        }
        self.ways[Level::P50 as usize].clear();
        self.rollouts += 1;
        self.model.rollout(&self.state, &self.p50, &mut self.out);
        self.kwh()
    }

    /// Cost and excess; where the cost alone already loses against `rival`, the limits are not asked.
    fn score(&mut self, targets: &[f64], rival: Option<Score>) -> Score {
        let key: Vec<i64> = targets.iter().map(|v| (v * 1e4).round() as i64).collect();
        if let Some(s) = self.known.get(&key) {
            return *s;
        }
        let moving: f64 = (self.site.actuators.iter().zip(targets).zip(&self.start.base))
            .map(|((a, t), b)| (t - b).abs() / (a.hi - a.lo) * self.tuning.switch_share * self.hold_cost.abs())
            .sum();
        self.energy(targets);
        let cost = self.objective.cost(&self.out) + moving;
        if rival.is_some_and(|r| r.excess <= EXCESS_EPS && cost >= r.cost) {
            return Score { excess: f64::MAX, cost };
        }
        let score = Score { excess: self.beyond(targets), cost };
        self.known.insert(key, score);
        score
    }

    fn describe(&mut self, best: Vec<f64>, settled: Vec<f64>, hold: Vec<f64>, fixed: (f64, f64, Toll)) -> Plan {
        let means = |out: &[Outcome]| {
            let n = out.len().max(1) as f64;
            (out.iter().map(|o| o.it_kw).sum::<f64>() / n, out.iter().map(|o| o.cooling_kw).sum::<f64>() / n)
        };
        self.energy(&hold);
        let held = means(&self.out);
        let plan_kwh = self.energy(&best);
        let (plan_cost, plan_toll) = (self.objective.cost(&self.out), self.objective.toll(&self.out));
        let planned = means(&self.out);
        let hours = self.tuning.step.as_hours_f64();
        let reserved = self.reserved();
        let plus_minus_kwh = 1.645 * self.out.iter().map(|o| o.power_sigma_kw * hours).sum::<f64>();
        let excess = self.beyond(&best);
        let mut binding: Option<(usize, f64)> = None;
        let mut nearest = f64::MAX;
        let mut unknown_limits = vec![];
        for (i, l) in self.site.limits.iter().enumerate() {
            let values = || self.out.iter().filter_map(|o| o.limited.get(i).copied()).filter(|v| v.is_finite());
            if values().next().is_none() && l.actuator.is_none() {
                unknown_limits.push(i);
            }
            let d = values().map(|v| self.distance(i, v)).fold(f64::MAX, f64::min);
            // Nearness is counted beyond the margin, so that limits of different units compare.
            if d < f64::MAX && d - l.margin < nearest {
                nearest = d - l.margin;
                binding = Some((i, d));
            }
        }
        let first = best.iter().enumerate().map(|(i, t)| self.first(i, *t)).collect();
        Plan {
            first,
            targets: best,
            settled,
            plan_kwh,
            hold_kwh: self.hold_kwh,
            fixed_kwh: fixed.0,
            plus_minus_kwh,
            plan_cost,
            hold_cost: self.hold_cost,
            fixed_cost: fixed.1,
            plan_toll,
            fixed_toll: fixed.2,
            excess,
            binding,
            reserved,
            unknown_limits,
            rollouts: self.rollouts,
            it_kw: (planned.0, held.0),
            cooling_kw: (planned.1, held.1),
        }
    }
}
