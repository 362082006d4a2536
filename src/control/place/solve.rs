//! The search: jobs put in one by one at their cheapest place, then a large-neighbourhood search (Shaw 1998) that takes a
//! few out and puts them back in another order.
//!
//! Invariants: deterministic (its random numbers have a fixed seed); bounded by [`Effort::work`], which counts racks
//! looked at times slots, never by a clock; the answer is never worse than the best greedy order; what it returns fits
//! every constraint (`super::audit` checks that in tests, without this code).

use super::problem::{Place, Problem, Schedule};
use super::state::State;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// How hard to search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Effort {
    /// Racks looked at, times slots.
    pub work: u64,
    /// Rounds of the neighbourhood search at most.
    pub rounds: u32,
}

impl Default for Effort {
    fn default() -> Effort {
        Effort { work: 6_000_000, rounds: 4_000 }
    }
}

/// Jobs that one round takes out at most.
const OUT_MAX: usize = 5;

/// Places all jobs.
pub fn solve(p: &Problem, effort: Effort) -> Schedule {
    let mut best: Option<(f64, Vec<Option<Place>>)> = None;
    let mut work = 0;
    for order in orders(p) {
        if best.is_some() && work * 2 > effort.work {
            break;
        }
        let mut s = State::new(p);
        for j in order {
            if let Some((_, place)) = s.cheapest(j, None) {
                s.put(j, place);
            }
        }
        work += s.work;
        let cost = s.cost_kwh();
        if best.as_ref().is_none_or(|(b, _)| cost < *b - 1e-9) {
            best = Some((cost, s.places));
        }
    }
    let (cost, places) = best.unwrap_or((0.0, vec![]));
    improve(p, cost, places, effort, work)
}

/// Orders in which jobs are put in: the least room to wait first, the largest first, the longest first, as they came.
fn orders(p: &Problem) -> Vec<Vec<usize>> {
    let by = |key: &dyn Fn(usize) -> (u64, u64, u64)| {
        let mut o: Vec<usize> = (0..p.asks.len()).collect();
        o.sort_by_key(|j| (key(*j), *j));
        o
    };
    let a = &p.asks;
    let few = |j: usize| {
        let partitions = a[j].partitions.iter().filter(|x| **x).count() as u64;
        let room = (a[j].latest - a[j].earliest.min(a[j].latest)) as u64;
        (partitions, room)
    };
    let down = |n: u32| u64::from(u32::MAX - n);
    vec![
        by(&|j| (few(j).0, few(j).1, down(a[j].gpus))),
        by(&|j| (u64::from(!a[j].one_domain), down(a[j].gpus), few(j).1)),
        by(&|j| (u64::MAX - u64::from(a[j].gpus) * a[j].slots as u64, few(j).1, 0)),
        by(&|j| (a[j].earliest as u64, 0, 0)),
    ]
}

fn improve(p: &Problem, cost: f64, places: Vec<Option<Place>>, effort: Effort, spent: u64) -> Schedule {
    let n = p.asks.len();
    let mut s = State::new(p);
    for (j, place) in places.iter().enumerate() {
        if let Some(place) = place {
            s.put(j, place.clone());
        }
    }
    let mut now = cost;
    let (mut best, mut kept) = (cost, places);
    let mut rng = ChaCha8Rng::seed_from_u64(0x706c_6163);
    let small = n <= 64;
    for round in 0..effort.rounds {
        if n == 0 || spent + s.work > effort.work {
            break;
        }
        let count = rng.random_range(1..=OUT_MAX.min(n));
        let mut out: Vec<usize> = vec![];
        // One in two rounds begins with a job that has no place, where there is one.
        let without: Vec<usize> = if round % 2 == 0 { (0..n).filter(|j| s.places[*j].is_none()).collect() } else { vec![] };
        if !without.is_empty() {
            out.push(without[rng.random_range(0..without.len())]);
        }
        while out.len() < count {
            let j = rng.random_range(0..n);
            if !out.contains(&j) {
                out.push(j);
            }
        }
        let before: Vec<(usize, Option<Place>)> = out.iter().map(|&j| (j, s.take(j))).collect();
        let was = part_kwh(&mut s, &before);
        for i in (1..out.len()).rev() {
            out.swap(i, rng.random_range(0..=i));
        }
        let mut after: Vec<(usize, Option<Place>)> = vec![];
        for (i, &j) in out.iter().enumerate() {
            let old = before.iter().find(|(b, _)| *b == j).and_then(|(_, place)| place.as_ref());
            let leave = i == 0 && rng.random_range(0..2) == 0;
            let forbidden = old.filter(|_| leave).map(|o| (o.start, o.racks.first().map_or(0, |(r, _)| p.racks[*r].domain)));
            let found = s.cheapest(j, forbidden).map(|(_, place)| place);
            if let Some(place) = &found {
                s.put(j, place.clone());
            }
            after.push((j, found));
        }
        for &(j, _) in &after {
            s.take(j);
        }
        let is = part_kwh(&mut s, &after);
        // A little worse is taken now and then in small problems, so that the search leaves its valley.
        let heat = if small { 0.004 * best.abs() * (1.0 - f64::from(round) / f64::from(effort.rounds)) * rng.random::<f64>() } else { 0.0 };
        let accept = is <= was + heat;
        let chosen = if accept { &after } else { &before };
        for (j, place) in chosen {
            if let Some(place) = place {
                s.put(*j, place.clone());
            }
        }
        if accept {
            now += is - was;
            if now < best - 1e-7 {
                best = now;
                kept.clone_from(&s.places);
            }
        }
    }
    let mut schedule = Schedule { places: kept, cost_kwh: 0.0 };
    schedule.cost_kwh = super::audit::cost_kwh(p, &schedule);
    schedule
}

/// What some jobs (now taken out) cost together at given places, kWh; they are put in and taken out again.
fn part_kwh(s: &mut State, places: &[(usize, Option<Place>)]) -> f64 {
    let mut kwh = 0.0;
    for (j, place) in places {
        match place {
            Some(place) => {
                kwh += s.rise_kwh(*j, place);
                s.put(*j, place.clone());
            }
            None => kwh += s.p.unplaced_kwh(&s.p.asks[*j]),
        }
    }
    for (j, _) in places {
        s.take(*j);
    }
    kwh
}
