//! Ways to run a hall to its end.
//!
//! Words: the *fixed* arm holds the operators' setpoints and places jobs first fit; any other arm is a visitor that is
//! called at a steady pace and may look at sensors and ask for setpoints.
//! Invariant: the visitor is called between steps, never inside one.

use super::hall::{Account, Hall, Placement};
use crate::signal::jobs::Job;
use crate::time::{Span, Timestamp};

/// Ranks racks for a job; `None` = first fit.
pub type Ranker<'a> = &'a mut dyn FnMut(&Job, Timestamp) -> Option<Vec<String>>;

/// The operators' fixed setpoints, first fit.
pub fn run_fixed(hall: Hall) -> Account {
    hall.run_fixed().account().clone()
}

/// Runs to the end; `visit` is called at the start and then every `every` of simulated time.
pub fn run_with(hall: Hall, every: Span, visit: &mut dyn FnMut(&mut Hall)) -> Account {
    run_placed(hall, every, visit, None)
}

/// As [`run_with`], with jobs placed by `rank` where it is given.
pub fn run_placed(mut hall: Hall, every: Span, visit: &mut dyn FnMut(&mut Hall), mut rank: Option<Ranker<'_>>) -> Account {
    let every = Span(every.0.max(1));
    let mut due = hall.now();
    while !hall.done() {
        if hall.now() >= due {
            visit(&mut hall);
            due += every;
        }
        let mut placement = match rank.as_deref_mut() {
            Some(rank) => Placement::Ranked(rank),
            None => Placement::FirstFit,
        };
        hall.advance(&mut placement);
    }
    hall.account().clone()
}
