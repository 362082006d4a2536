//! What to shed before a limit is reached that cooling cannot hold off: ranked, with the effect of each act.
//!
//! Words: a *breach* is a slot whose load is beyond what the plant can cool, or a cap that is passed; an *act* is to delay
//! a job that waits, to move load elsewhere, or to cap a rack's power. Order: what loses no work first (delay), then what
//! costs a restart (move), then what costs speed (cap), each the largest effect first.
//! Invariant: nothing is shed here; these are hints for a scheduler, each with the kW that it brings and what it costs.

use super::board::Board;
use crate::time::Timestamp;
use std::sync::Arc;

/// Share of a rack's power that a power cap is reckoned to take off it without stopping work.
pub const CAP_SHARE: f64 = 0.25;
/// Work that such a cap costs, as a share: a GPU loses less speed than power near its limit.
pub const CAP_WORK_SHARE: f64 = 0.12;
/// Acts that one hint lists.
const ACTS_MAX: usize = 64;

/// A job that a scheduler told of.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownJob {
    pub id: String,
    pub racks: Vec<String>,
    pub gpus: u32,
    pub kw: f64,
    pub waits: bool,
    /// It may start this much later, h; 0 = not known.
    pub slack_h: f64,
}

/// What is about to be passed.
#[derive(Clone, Debug, PartialEq)]
pub struct Breach {
    /// The limit or cap.
    pub what: String,
    pub at: Timestamp,
    /// Load that must go, kW.
    pub needed_kw: f64,
    /// Racks under it.
    pub racks: Vec<usize>,
}

/// One act.
#[derive(Clone, Debug, PartialEq)]
pub struct Act {
    /// `delay`, `move` or `cap`.
    pub kind: &'static str,
    /// A job or a rack.
    pub target: String,
    pub effect_kw: f64,
    /// Sum of this and the acts before it, kW.
    pub sum_kw: f64,
    /// Is the breach averted with this and the acts before it?
    pub enough: bool,
    /// What it costs, in words.
    pub cost: String,
}

/// A breach with the acts that avert it.
#[derive(Clone, Debug, PartialEq)]
pub struct Shed {
    pub breach: Breach,
    pub acts: Vec<Act>,
}

/// The nearest breach of each limit and cap.
pub fn breaches(board: &Board) -> Vec<Breach> {
    let mut out: Vec<Breach> = vec![];
    if let Some(s) = board.slots.iter().find(|s| s.room_kw < 0.0) {
        let needed = board.slots.iter().filter(|x| x.limit == s.limit).map(|x| -x.room_kw).fold(0.0, f64::max);
        out.push(Breach { what: s.limit.clone(), at: s.at, needed_kw: needed, racks: (0..board.racks.len()).collect() });
    }
    for (c, cap) in board.caps.iter().enumerate() {
        let Some(k) = cap.room_kw.iter().position(|r| *r < 0.0) else { continue };
        let needed_kw = cap.room_kw.iter().map(|r| -r).fold(0.0, f64::max);
        let racks = (0..board.racks.len()).filter(|r| board.racks[*r].caps.contains(&c)).collect();
        out.push(Breach { what: cap.name.clone(), at: board.slots[k].at, needed_kw, racks });
    }
    out
}

/// Ranked acts for each breach of a board; `others` are fresh boards of other sites.
pub fn shed(board: &Board, jobs: &[KnownJob], others: &[Arc<Board>]) -> Vec<Shed> {
    breaches(board).into_iter().map(|breach| Shed { acts: acts(board, &breach, jobs, others), breach }).collect()
}

fn acts(board: &Board, breach: &Breach, jobs: &[KnownJob], others: &[Arc<Board>]) -> Vec<Act> {
    let under = |rack: &String| breach.racks.iter().any(|&r| board.racks[r].id == *rack);
    let act = |kind, target: &str, effect_kw, cost| Act { kind, target: target.to_owned(), effect_kw, sum_kw: 0.0, enough: false, cost };
    let mut delays: Vec<Act> = (jobs.iter())
        .filter(|j| j.waits)
        .map(|j| {
            let slack = if j.slack_h > 0.0 { format!("; it may wait {:.1} h", j.slack_h) } else { String::new() };
            // A job that waits is not in the load yet: keeping it out averts what it would add, it frees nothing.
            act("delay", &j.id, 0.0, format!("keeps {:.1} kW from being added; no work is lost{slack}", j.kw))
        })
        .collect();
    let room_elsewhere =
        |gpus: u32, kw: f64| others.iter().find(|o| o.slots[0].room_kw >= kw && o.racks.iter().map(|r| r.free_gpus).sum::<u32>() >= gpus);
    let mut moves: Vec<Act> = (jobs.iter())
        .filter(|j| !j.waits && j.racks.iter().any(under))
        .filter_map(|j| {
            let to = room_elsewhere(j.gpus, j.kw)?;
            Some(act("move", &j.id, j.kw, format!("a restart from its checkpoint at {}", to.site.site.id)))
        })
        .collect();
    let mut caps: Vec<Act> = (breach.racks.iter())
        .map(|&r| &board.racks[r])
        .filter(|r| r.power_kw.is_finite() && r.power_kw > 0.0)
        .map(|r| {
            let kw = CAP_SHARE * r.power_kw;
            let busy = f64::from(r.gpus - r.free_gpus.min(r.gpus));
            act("cap", &r.id, kw, format!("to {:.1} kW; about {:.1} GPU-hours of work an hour", r.power_kw - kw, CAP_WORK_SHARE * busy))
        })
        .collect();
    for list in [&mut delays, &mut moves, &mut caps] {
        list.sort_by(|a, b| b.effect_kw.total_cmp(&a.effect_kw).then(a.target.cmp(&b.target)));
    }
    let mut sum = 0.0;
    let mut out: Vec<Act> = vec![];
    for mut a in delays.into_iter().chain(moves).chain(caps).take(ACTS_MAX) {
        sum += a.effect_kw;
        a.sum_kw = sum;
        a.enough = sum >= breach.needed_kw;
        let done = a.enough;
        out.push(a);
        if done {
            break;
        }
    }
    out
}
