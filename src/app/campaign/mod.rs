//! `evaluate --campaign N`: what breaks in a plant, around it and on the way to it, and whether a limit is broken by our action.
//!
//! Words: a *run* is one fault on one hall, twice: under this service (as [`super::closed`] holds it), and at the building management
//! system's own setpoints with the same seed and the same fault. A limit is broken *by us* where our minutes beyond it exceed the
//! minutes that the other half of the run spends beyond the same limit; both are judged on the plant's true values, every 10 s.
//! *Hand-back* is counted in control ticks from the tick on which a reason against control was first seen to the one on which setpoints
//! begin to go back; after a kick-out, to the last request that we made.
//! Invariants: same N and seed, same table; what is left out of a table is in `--json`; nothing here softens a judgement.

pub mod outside;
mod table;

use super::closed::Closed;
use super::config::{Config, ConfiguredSite, Overrides};
use crate::event::MARKED;
use crate::plant::twin::TwinSpec;
use crate::signal::jobs::{JobStream, Offer};
use crate::signal::weather::WeatherSeries;
use crate::sim::fault::{Fault, FaultKind, Striking};
use crate::sim::hall::{Account, Hall, Placement, Scenario, Work};
use crate::time::{Span, Timestamp};
use serde::Serialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

pub use table::{text, worst};

/// The halls of the campaign, as folders under `sensors/`.
const SITES: [&str; 2] = ["bsc-hq", "torre-girona"];
/// A fault strikes when control has settled.
const SETTLED: Span = Span::hours(5);
/// Length of a run: settled, at most an hour more, at most six hours of fault, and time to come back.
const LENGTH: Span = Span::hours(14);
/// Time between two words of the simulated BMS.
const PACE: Span = Span::minutes(1);
/// Hours of the day at which runs begin, and shifts of the July weather, K: in turn.
const HOURS: [i64; 4] = [0, 6, 12, 18];
const SEASONS_K: [f64; 4] = [0.0, -16.0, 4.0, -9.0];

/// What became of one run.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub site: String,
    pub seed: u64,
    pub fault: Fault,
    /// Minutes beyond each limit that was passed: under us, at the BMS's own setpoints.
    pub minutes_beyond: BTreeMap<String, (f64, f64)>,
    /// Minutes by which ours exceed the others, over limits.
    pub by_us_min: f64,
    /// Ticks from the first reason against control to the hand-back; none where nothing was handed back.
    pub hand_back_ticks: Option<f64>,
    pub reaction: Reaction,
    /// In auto again at the end (or never out of it).
    pub returned: bool,
    /// Changes of mode from the moment of the fault on: when, to what, why.
    pub modes: Vec<(Timestamp, String, String)>,
    pub requests: Requests,
    /// Readings that the gate marked after the fault struck.
    pub marked: u64,
    /// Energy of IT, cooling and loss: under us, at the BMS's own setpoints.
    pub kwh: (f64, f64),
    /// Least distance to each limit: under us, at the BMS's own setpoints.
    pub least_margin: BTreeMap<String, (f64, f64)>,
}

/// What the BMS saw of our requests.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Requests {
    pub made: u64,
    pub clamped: u64,
    pub slewed: u64,
    pub refused: u64,
    pub while_kicked_out: u64,
}

/// The farthest that the controller went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    /// Control went on: the limits held all the same.
    WentOn,
    /// Setpoints were frozen for a while.
    Guarded,
    HandedBack,
    /// Control never began: the fault was there first.
    NeverBegan,
}

/// One planned run.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    pub site: &'static str,
    pub kind: FaultKind,
    pub seed: u64,
}

/// The runs of a campaign: all kinds whose name has one of `words` (all without any) in turn, sites in turn within a kind.
pub fn cases(n: usize, seed: u64, words: &[String]) -> Vec<Case> {
    let wanted = |k: &FaultKind| words.is_empty() || words.iter().any(|w| k.name().contains(w.as_str()));
    let kinds: Vec<FaultKind> = FaultKind::ALL.into_iter().filter(wanted).collect();
    (0..if kinds.is_empty() { 0 } else { n })
        .map(|i| Case {
            kind: kinds[i % kinds.len()],
            site: SITES[(i / kinds.len() + i % kinds.len()) % SITES.len()],
            seed: seed + (i / kinds.len()) as u64,
        })
        .collect()
}

fn hall(case: &Case) -> Result<(Hall, TwinSpec), String> {
    let spec = TwinSpec::load(&Path::new("sensors").join(case.site).join("twin.toml")).map_err(|e| e.to_string())?;
    let turn = case.seed as usize;
    let day = Timestamp::parse("2026-07-14").ok_or("no start")?;
    let start = day + Span::hours(HOURS[turn % HOURS.len()]);
    let jobs = JobStream::generate(case.seed, start, LENGTH, Offer { class: spec.job_class, gpus: spec.gpus() });
    let weather = WeatherSeries::synthetic(case.seed, start, LENGTH, SEASONS_K[turn / HOURS.len() % SEASONS_K.len()]);
    let scenario = Scenario { seed: case.seed, start, span: LENGTH, weather: Arc::new(weather), work: Work::Jobs(Arc::new(jobs)) };
    Ok((Hall::new(Arc::new(spec.clone()), scenario), spec))
}

/// The configuration of the shipped sites, with no data directory of anybody's.
fn config() -> Result<Config, String> {
    let nowhere = PathBuf::from("/nonexistent/tramuntana-campaign");
    let overrides = Overrides { data_dir: Some(nowhere), ..Overrides::default() };
    Config::load(Path::new("sensors/tramuntana.toml"), &overrides).map_err(|e| e.to_string())
}

/// Runs one case, both halves.
pub fn run_one(config: &Config, case: &Case) -> Result<Outcome, String> {
    let site = config.sites.iter().find(|s| s.file.site.id == case.site).ok_or_else(|| format!("no site {}", case.site))?;
    let (hall, _) = hall(case)?;
    let fault = Fault::draw(case.kind, case.seed, &hall, hall.start() + SETTLED);
    let theirs = untouched(hall.clone(), &fault, case.seed);
    let (ours, seen) = under_us(config, site, hall, &fault, case.seed)?;
    let both = |a: &BTreeMap<String, f64>, b: &BTreeMap<String, f64>| -> BTreeMap<String, (f64, f64)> {
        a.iter().map(|(id, v)| (id.clone(), (*v, b.get(id).copied().unwrap_or(0.0)))).collect()
    };
    let mut minutes_beyond = both(&ours.minutes_beyond_limit, &theirs.minutes_beyond_limit);
    minutes_beyond.retain(|_, (a, b)| *a > 0.0 || *b > 0.0);
    Ok(Outcome {
        site: case.site.into(),
        seed: case.seed,
        by_us_min: minutes_beyond.values().map(|(a, b)| (a - b).max(0.0)).sum(),
        minutes_beyond,
        hand_back_ticks: seen.hand_back_ticks,
        reaction: seen.reaction,
        returned: seen.returned,
        modes: seen.modes,
        requests: Requests {
            made: ours.requests.made,
            clamped: ours.requests.clamped,
            slewed: ours.requests.slewed,
            refused: ours.requests.refused,
            while_kicked_out: seen.while_kicked_out,
        },
        marked: seen.marked,
        kwh: (ours.total_kwh(), theirs.total_kwh()),
        least_margin: both(&ours.least_margin, &theirs.least_margin),
        fault,
    })
}

/// The same hall, the same fault, the BMS's own setpoints.
fn untouched(mut hall: Hall, fault: &Fault, seed: u64) -> Account {
    let striking = Striking::new(fault.clone(), seed);
    while !hall.done() {
        let trouble = striking.trouble(hall.spec(), hall.now());
        hall.set_trouble(trouble);
        hall.advance(&mut Placement::FirstFit);
    }
    hall.account().clone()
}

/// What was seen of the controller.
struct Seen {
    hand_back_ticks: Option<f64>,
    reaction: Reaction,
    returned: bool,
    modes: Vec<(Timestamp, String, String)>,
    while_kicked_out: u64,
    marked: u64,
}

fn under_us(config: &Config, site: &ConfiguredSite, hall: Hall, fault: &Fault, seed: u64) -> Result<(Account, Seen), String> {
    let tick = site.file.control.tick();
    let striking = Striking::new(fault.clone(), seed);
    let mut closed = Closed::new(config, site, hall, Some(striking), PACE)?;
    let mut seen =
        Seen { hand_back_ticks: None, reaction: Reaction::WentOn, returned: false, modes: vec![], while_kicked_out: 0, marked: 0 };
    let mut doubt: Option<Timestamp> = None;
    let (mut began, mut last_asked_out, mut marked_before) = (false, None, 0);
    while !closed.done() {
        let now = closed.hall.now();
        let beat = closed.turn(&mut |_| {});
        if now < fault.from {
            marked_before = marked(&closed);
        }
        for event in beat.mode_events.iter().filter(|e| e.from != e.to) {
            if event.at >= fault.from {
                seen.modes.push((event.at, event.to.clone(), event.why.clone()));
            }
            match event.to.as_str() {
                "guarded" => {
                    doubt.get_or_insert(event.at);
                    seen.reaction = seen.reaction.max(Reaction::Guarded);
                }
                "fail-safe" => {
                    let ticks = (event.at - doubt.take().unwrap_or(event.at)).as_secs_f64() / tick.as_secs_f64();
                    seen.hand_back_ticks = Some(seen.hand_back_ticks.unwrap_or(0.0).max(ticks));
                    seen.reaction = Reaction::HandedBack;
                }
                "auto" => {
                    began = true;
                    doubt = None;
                }
                _ => {}
            }
        }
        if fault.kind == FaultKind::KickedOut && fault.strikes(now) && !beat.requests.is_empty() {
            seen.while_kicked_out += beat.requests.len() as u64;
            last_asked_out = Some(now);
        }
    }
    if let Some(last) = last_asked_out {
        let ticks = ((last - fault.from).as_secs_f64() / tick.as_secs_f64()).ceil();
        seen.hand_back_ticks = Some(seen.hand_back_ticks.unwrap_or(0.0).max(ticks));
    }
    if !began {
        seen.reaction = Reaction::NeverBegan;
    }
    seen.returned = closed.brain.controller.mode().name() == "auto";
    seen.marked = marked(&closed) - marked_before;
    Ok((closed.hall.account().clone(), seen))
}

fn marked(closed: &Closed) -> u64 {
    closed.tally.total(MARKED)
}

/// Runs a campaign on as many threads as there are cores. `done` hears of each run.
pub fn run(n: usize, seed: u64, words: &[String], done: &(dyn Fn(&Outcome) + Sync)) -> Result<Vec<Outcome>, String> {
    let config = config()?;
    let cases = cases(n, seed, words);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Outcome)>, String> {
        let mut mine = Vec::new();
        loop {
            let i = next.fetch_add(1, Ordering::Relaxed);
            let Some(case) = cases.get(i) else { return Ok(mine) };
            let outcome = run_one(&config, case)?;
            done(&outcome);
            mine.push((i, outcome));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut all = std::thread::scope(|s| {
        let handles: Vec<_> = (0..threads).map(|_| s.spawn(work)).collect();
        handles.into_iter().map(|h| h.join().map_err(|_| "a run stopped".to_owned())?).collect::<Result<Vec<_>, String>>()
    })?
    .concat();
    all.sort_by_key(|(i, _)| *i);
    Ok(all.into_iter().map(|(_, o)| o).collect())
}
