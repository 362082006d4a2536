//! Perfect foresight: what the best setpoints would have saved on the same plant, with the same future.
//!
//! Words: a *block* is a stretch of time with one target per actuator; a *rollout* is a clone of the hall driven through
//! the look-ahead with its true weather and true jobs. Each block searches the actuators' box: a coarse grid over all of
//! them now and then, and a coordinate search with shrinking steps from the best so far in every block. The objective is
//! the true energy (IT, cooling and loss) of the look-ahead.
//! Invariants: the BMS's bounds and slew hold for every candidate (rollouts go through its guardrails); a minute beyond a
//! limit costs more than any energy, so none is bought; the site's reserves (what the loss of one machine adds) are kept like
//! limits as far as the operators' fixed setpoints keep them, since that they are kept is no choice of a controller's; what is reported is one real run of the hall, not a sum of
//! rollouts. It bounds what a causal controller can reach to within its own search: blocks, grid and look-ahead.

use super::arms::Ranker;
use super::hall::{Account, Hall, Placement};
use crate::site::{Limit, SiteFile};
use crate::time::{Span, Timestamp};

/// kWh that a minute beyond a limit, or a minute with one unit of a reserve missing, counts as.
const BEYOND_KWH_PER_MINUTE: f64 = 200.0;
/// A request lapses after 30 min; it is renewed well before.
const RENEW: Span = Span::minutes(10);
/// Steps of the coordinate search, as shares of an actuator's range.
const STEPS: [f64; 4] = [0.2, 0.08, 0.03, 0.012];

/// How hard to search.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// One decision per block.
    pub block: Span,
    /// Future that a decision is judged on.
    pub look: Span,
    /// Values per actuator of the coarse grid.
    pub grid: u32,
    /// Blocks between two coarse grids.
    pub grid_every: u32,
}

impl Default for Search {
    fn default() -> Search {
        Search { block: Span::minutes(30), look: Span::minutes(90), grid: 4, grid_every: 8 }
    }
}

/// The limits of a site that keep something for the loss of one machine.
pub fn reserves(site: &SiteFile) -> Vec<Limit> {
    site.limits.iter().filter(|l| l.has_reserve()).cloned().collect()
}

/// How much of its reserve each limit misses at the operators' setpoints, step by step to the hall's end.
fn lacks(hall: &Hall, reserves: &[Limit]) -> Vec<Vec<f64>> {
    let mut fixed = hall.clone();
    let mut out = vec![];
    while !reserves.is_empty() && !fixed.done() {
        fixed.advance(&mut Placement::FirstFit);
        out.push(reserves.iter().map(|l| missing(l, &fixed)).collect());
    }
    out
}

/// How much of its reserve a limit misses in the hall now, in its unit. What the twin does not limit misses nothing.
fn missing(limit: &Limit, hall: &Hall) -> f64 {
    let Some((value, margin)) = hall.limited(&limit.id) else { return 0.0 };
    let setpoint = |id: &str| hall.actuators().iter().find(|a| a.id == id).map(|a| a.in_force);
    (limit.reserve_at(value, setpoint) - margin).max(0.0)
}

/// The run with perfect foresight, and what the search cost.
#[derive(Clone, Debug)]
pub struct Optimum {
    pub account: Account,
    pub rollouts: u64,
    /// Plant steps over all rollouts.
    pub steps: u64,
    /// Targets of every block, in the order of the actuators.
    pub targets: Vec<Vec<f64>>,
}

struct Seeker<'a> {
    rank: Option<Ranker<'a>>,
    reserves: &'a [Limit],
    start: Timestamp,
    lacks: Vec<Vec<f64>>,
    look: Span,
    rollouts: u64,
    steps: u64,
}

impl Seeker<'_> {
    fn advance(&mut self, hall: &mut Hall) {
        match self.rank.as_deref_mut() {
            Some(rank) => hall.advance(&mut Placement::Ranked(rank)),
            None => hall.advance(&mut Placement::FirstFit),
        }
    }

    /// What reserves miss in the hall now, beyond what they miss at the operators' setpoints.
    fn missing(&self, hall: &Hall) -> f64 {
        let step = ((hall.now() - self.start).0 / hall.step_span().0.max(1) - 1).max(0) as usize;
        let lack = |i: usize| self.lacks.get(step).and_then(|l| l.get(i)).copied().unwrap_or(0.0);
        self.reserves.iter().enumerate().map(|(i, l)| (missing(l, hall) - lack(i)).max(0.0)).sum()
    }

    /// Energy of a stretch with `targets`, kWh, and what reserves missed, unit · min.
    fn drive(&mut self, hall: &mut Hall, targets: &[f64], span: Span) -> (f64, f64) {
        let hours = hall.step_span().as_hours_f64();
        let (end, mut renew, mut kwh, mut bare) = (hall.now() + span, hall.now(), 0.0, 0.0);
        while hall.now() < end && !hall.done() {
            if hall.now() >= renew {
                targets.iter().enumerate().for_each(|(i, v)| hall.request(i, *v));
                renew += RENEW;
            }
            self.advance(hall);
            self.steps += 1;
            let t = hall.truth();
            kwh += (t.it_kw + t.cooling_kw() + t.loss_kw) * hours;
            bare += 60.0 * hours * self.missing(hall);
        }
        (kwh, bare)
    }

    /// Cost of holding `targets` through the look-ahead.
    fn cost(&mut self, hall: &Hall, targets: &[f64]) -> f64 {
        self.rollouts += 1;
        let mut fork = hall.clone();
        let before = fork.account().beyond_limit_minutes();
        let (kwh, bare) = self.drive(&mut fork, targets, self.look);
        kwh + BEYOND_KWH_PER_MINUTE * (fork.account().beyond_limit_minutes() - before + bare)
    }
}

/// Runs a hall to its end with perfect foresight; `rank` places jobs as the recommended arm does (first fit if absent).
pub fn run<'a>(mut hall: Hall, search: Search, reserves: &'a [Limit], rank: Option<Ranker<'a>>) -> Optimum {
    let (start, lacks) = (hall.now(), lacks(&hall, reserves));
    let mut seeker = Seeker { rank, reserves, start, lacks, look: search.look.max(search.block), rollouts: 0, steps: 0 };
    let bounds: Vec<(f64, f64)> = hall.actuators().iter().map(|a| (a.lo, a.hi)).collect();
    let mut best: Vec<f64> = hall.actuators().iter().map(|a| a.in_force).collect();
    let mut chosen = Vec::new();
    let block = Span(search.block.0.max(hall.step_span().0));
    while !hall.done() {
        let mut cost = seeker.cost(&hall, &best);
        let consider = |seeker: &mut Seeker, trial: Vec<f64>, best: &mut Vec<f64>, cost: &mut f64| {
            let c = seeker.cost(&hall, &trial);
            let better = c < *cost - 1e-6;
            if better {
                *cost = c;
                *best = trial;
            }
            better
        };
        if chosen.len() % search.grid_every.max(1) as usize == 0 {
            for trial in grid(&bounds, search.grid) {
                consider(&mut seeker, trial, &mut best, &mut cost);
            }
        }
        for share in STEPS {
            for _ in 0..2 {
                let mut moved = false;
                for i in 0..bounds.len() {
                    for sign in [1.0, -1.0] {
                        let mut trial = best.clone();
                        trial[i] = (trial[i] + sign * share * (bounds[i].1 - bounds[i].0)).clamp(bounds[i].0, bounds[i].1);
                        if trial != best && consider(&mut seeker, trial, &mut best, &mut cost) {
                            moved = true;
                            break;
                        }
                    }
                }
                // All actuators together: loops that lean on one another move best as one.
                for sign in [1.0, -1.0] {
                    let shifted = best.iter().zip(&bounds).map(|(v, (lo, hi))| (v + sign * share * (hi - lo)).clamp(*lo, *hi));
                    let trial: Vec<f64> = shifted.collect();
                    moved |= trial != best && consider(&mut seeker, trial, &mut best, &mut cost);
                }
                if !moved {
                    break;
                }
            }
        }
        chosen.push(best.clone());
        let steps = seeker.steps;
        seeker.drive(&mut hall, &best, block);
        seeker.steps = steps;
    }
    Optimum { account: hall.account().clone(), rollouts: seeker.rollouts, steps: seeker.steps, targets: chosen }
}

fn grid(bounds: &[(f64, f64)], per: u32) -> Vec<Vec<f64>> {
    let per = per.clamp(2, 8);
    let total = (per as usize).pow(bounds.len().min(6) as u32);
    let value = |mut n: usize| {
        let one = |&(lo, hi): &(f64, f64)| {
            let k = n % per as usize;
            n /= per as usize;
            lo + (hi - lo) * k as f64 / f64::from(per - 1)
        };
        bounds.iter().map(one).collect::<Vec<f64>>()
    };
    (0..total).map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grid_holds_every_corner_once() {
        let g = grid(&[(0.0, 1.0), (10.0, 20.0)], 3);
        assert_eq!(g.len(), 9);
        assert!(g.contains(&vec![0.0, 20.0]) && g.contains(&vec![1.0, 10.0]) && g.contains(&vec![0.5, 15.0]));
    }
}
