//! `evaluate`: closed-loop comparisons. On an outside plant its own policies against this service from a cold start; on the
//! shipped simulated ones fixed setpoints, trim and respond, this service and perfect foresight ([`super::versus`]); or a fault
//! campaign ([`super::campaign`]).
//!
//! Words: an *arm* is one way to run the plant; the *first* arm is what the others are compared with; a *pair* is two arms
//! with the same seed. The plant is any command that takes `--seed`, `--json FILE` and either the arguments of an arm or
//! `--host` and `--port` of a broker, on which it is a building management system in lock-step (WIRE.md §1).
//! Invariants: every arm of a seed sees the same weather and load; figures are the plant's own, not the service's; a run in
//! which the plant was late, or which it calls void, is said to be so.

mod faults;
mod outside;
mod table;

use super::cli::EvaluateArgs;
use super::config::{Config, ConfiguredSite, Overrides};
use super::versus;
use crate::time::{Span, Timestamp};
use serde_json::{Value, json};
use std::path::Path;

/// Name of the arm that is this service.
const OURS: &str = "tramuntana";

/// One run of one arm.
struct Run {
    /// The plant; empty where there is only one.
    plant: String,
    seed: u64,
    arm: String,
    result: Value,
}

impl Run {
    fn number(&self, key: &str) -> f64 {
        self.result[key].as_f64().unwrap_or(f64::NAN)
    }
    /// Sum over an object of numbers.
    fn sum(&self, key: &str) -> f64 {
        self.result[key].as_object().map_or(f64::NAN, |o| o.values().filter_map(Value::as_f64).sum())
    }
    fn bus(&self, key: &str) -> f64 {
        let all = self.result["bus"]["actuators"].as_object();
        all.map_or(0.0, |o| o.values().filter_map(|a| a[key].as_f64()).sum())
    }
}

pub fn run(args: &EvaluateArgs) -> Result<(), String> {
    match (&args.plant, args.campaign) {
        (None, Some(n)) => faults::simulated(args, n),
        (Some(command), None) => outside::policies(args, command),
        (Some(command), Some(n)) => faults::outside(args, command, n),
        (None, None) => simulated(args),
    }
}

/// All arms on the shipped simulated plants.
fn simulated(args: &EvaluateArgs) -> Result<(), String> {
    let nowhere = args.data_dir.join("evaluate").join("none");
    let overrides = Overrides { data_dir: Some(nowhere), ..Overrides::default() };
    let config = Config::load(Path::new("sensors/tramuntana.toml"), &overrides).map_err(|e| e.to_string())?;
    let start = Timestamp::parse(&args.start).ok_or_else(|| format!("--start {:?}: give a date, such as 2026-07-14", args.start))?;
    let span = Span::parse(&args.span)
        .filter(|s| *s >= Span::hours(3))
        .ok_or_else(|| format!("--span {:?}: give at least 3h, such as 25h or 2d", args.span))?;
    let mut names: Vec<String> = ["fixed", "trim", OURS].map(String::from).to_vec();
    if args.optimum {
        names.push("optimum".into());
    }
    let sites: Vec<&ConfiguredSite> = config.sites.iter().filter(|s| s.dir.join("twin.toml").exists()).collect();
    let mut work = Vec::new();
    for seed in (0..u64::from(args.seeds.max(1))).map(|k| args.seed + k) {
        work.extend(sites.iter().flat_map(|s| names.iter().map(move |n| (*s, seed, n.clone()))));
    }
    let bar = indicatif::ProgressBar::new(work.len() as u64);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let take = || -> Result<Vec<(usize, Run)>, String> {
        let mut mine = Vec::new();
        loop {
            let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some((site, seed, arm)) = work.get(i) else { return Ok(mine) };
            let hall = versus::hall(site, *seed, start, span, args.offset_k)?;
            let result = versus::run(arm, &config, site, hall)?;
            bar.inc(1);
            mine.push((i, Run { plant: site.file.site.id.clone(), seed: *seed, arm: arm.clone(), result }));
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let mut runs = std::thread::scope(|s| {
        let handles: Vec<_> = (0..threads).map(|_| s.spawn(take)).collect();
        let joined = handles.into_iter().map(|h| h.join().map_err(|_| "a run stopped".to_owned())?);
        joined.collect::<Result<Vec<_>, String>>()
    })?
    .into_iter()
    .flatten()
    .collect::<Vec<_>>();
    bar.finish_and_clear();
    runs.sort_by_key(|(i, _)| *i);
    let runs: Vec<Run> = runs.into_iter().map(|(_, r)| r).collect();
    report(args, "the shipped simulated plants", &runs, &names)
}

fn write_json(path: &Path, value: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}; give another with --json", path.display()))
}

/// Prints the table and the paired differences, and writes all of it.
fn report(args: &EvaluateArgs, plant: &str, runs: &[Run], names: &[String]) -> Result<(), String> {
    print!("{}", table::table(runs));
    let pairs = table::paired(runs, names, &args.reference);
    for line in pairs.iter().map(|p| p.1.as_str()) {
        println!("{line}");
    }
    let Some(path) = &args.json else { return Ok(()) };
    let runs: Vec<Value> = runs.iter().map(|r| json!({"plant": r.plant, "seed": r.seed, "arm": r.arm, "result": r.result})).collect();
    let pairs: Vec<&Value> = pairs.iter().map(|p| &p.0).collect();
    write_json(path, &json!({"plant": plant, "runs": runs, "paired": pairs}))
}
