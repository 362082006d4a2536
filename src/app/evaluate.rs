//! `evaluate`: closed-loop comparisons. On an outside plant its own policies against this service from a cold start; on the
//! shipped simulated ones fixed setpoints, trim and respond, this service and perfect foresight ([`super::versus`]); or a fault
//! campaign ([`super::campaign`]).
//!
//! Words: an *arm* is one way to run the plant; the *first* arm is what the others are compared with; a *pair* is two arms
//! with the same seed. The plant is any command that takes `--seed`, `--json FILE` and either the arguments of an arm or
//! `--host` and `--port` of a broker, on which it is a building management system in lock-step (WIRE.md §1).
//! Invariants: every arm of a seed sees the same weather and load; figures are the plant's own, not the service's; a run in
//! which the plant was late, or which it calls void, is said to be so.

use super::broker::EmbeddedBroker;
use super::campaign::{self, outside};
use super::cli::EvaluateArgs;
use super::config::{Config, ConfiguredSite, Overrides};
use super::service::{Service, StartOptions, listen, runtime};
use super::versus;
use crate::event::MODE_CHANGES;
use crate::report::Interval;
use crate::sim::fault::FaultKind;
use crate::time::{Span, Timestamp};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::{Path, PathBuf};
use std::process::Stdio;

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
        (None, Some(n)) => faults(args, n),
        (Some(command), None) => policies(args, command),
        (Some(command), Some(n)) => faults_outside(args, command, n),
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

/// A fault campaign on the simulated plants.
fn faults(args: &EvaluateArgs, n: usize) -> Result<(), String> {
    let bar = indicatif::ProgressBar::new(n as u64);
    let outcomes = campaign::run(n, args.seed, &args.faults, &|_| bar.inc(1))?;
    bar.finish_and_clear();
    print!("{}", campaign::text(&outcomes));
    if let Some(path) = &args.json {
        write_json(path, &serde_json::to_value(&outcomes).map_err(|e| e.to_string())?)?;
    }
    let (broken, ticks, kicked) = campaign::worst(&outcomes);
    println!(
        "{} runs: limits broken by us in {broken}; longest hand-back {ticks:.1} ticks; requests while kicked out {kicked}",
        outcomes.len()
    );
    if broken > 0 || ticks > 2.0 || kicked > 0 { Err("the campaign found what must not be".into()) } else { Ok(()) }
}

/// A fault campaign on an outside plant: learnt once, then one run a fault.
fn faults_outside(args: &EvaluateArgs, plant_command: &str, n: usize) -> Result<(), String> {
    let plant: Vec<String> = plant_command.split_whitespace().map(str::to_owned).collect();
    let fixed = arms(args)?.into_iter().next().map(|a| a.1).unwrap_or_default();
    let dir = args.data_dir.join("evaluate").join("campaign");
    empty(&dir)?;
    let words = &args.faults;
    let kinds: Vec<FaultKind> =
        outside::KINDS.into_iter().filter(|k| words.is_empty() || words.iter().any(|w| k.name().contains(w.as_str()))).collect();
    // The plant is learnt undisturbed; the days of the plant's command must be enough for it (2 are).
    println!("learning the plant, undisturbed …");
    let (learnt, _, _) = bridged(args, &plant, args.seed, &dir.join("learn"), None, None)?;
    println!("undisturbed: {:.4} kWh per GPU-hour", learnt["kwh_per_gpu_hour"].as_f64().unwrap_or(f64::NAN));
    let models = dir.join("learn").join("data").join("models");
    let mut theirs: BTreeMap<u64, Value> = Default::default();
    let mut outcomes = Vec::new();
    for i in 0..if kinds.is_empty() { 0 } else { n } {
        let (kind, seed) = (kinds[i % kinds.len()], args.seed + (i / kinds.len()) as u64);
        let own = dir.join(format!("run-{i}"));
        std::fs::create_dir_all(&own).map_err(|e| format!("{}: {e}; give another --data-dir", own.display()))?;
        if let Entry::Vacant(e) = theirs.entry(seed) {
            e.insert(command(&plant, &fixed, seed, &dir.join(format!("fixed-{seed}.json")))?);
        }
        let fault = outside::BusFault::draw(kind, seed, 12.0);
        let (ours, (what, asked_out), (modes, ends_in)) = bridged(args, &plant, seed, &own, Some(fault), Some(&models))?;
        let minutes = |v: &Value, id: &str| v["minutes_beyond_limit"][id].as_f64().unwrap_or(0.0);
        let ids: Vec<String> = ours["minutes_beyond_limit"].as_object().map_or(vec![], |o| o.keys().cloned().collect());
        let base = &theirs[&seed];
        let minutes_beyond: std::collections::BTreeMap<String, (f64, f64)> = ids
            .into_iter()
            .map(|id| (id.clone(), (minutes(&ours, &id), minutes(base, &id))))
            .filter(|(_, m)| m.0 > 0.0 || m.1 > 0.0)
            .collect();
        let number = |v: &Value| v["kwh_per_gpu_hour"].as_f64().unwrap_or(f64::NAN);
        outcomes.push(outside::Outcome {
            seed,
            kind,
            what,
            by_us_min: minutes_beyond.values().map(|(a, b)| (a - b).max(0.0)).sum(),
            minutes_beyond,
            requests_while_kicked_out: asked_out,
            modes,
            ends_in,
            kwh_per_gpu_hour: (number(&ours), number(base)),
            bus: ours["bus"].clone(),
        });
        println!("{} done", kind.name());
    }
    print!("{}", outside::text(&outcomes));
    if let Some(path) = &args.json {
        write_json(path, &serde_json::to_value(&outcomes).map_err(|e| e.to_string())?)?;
    }
    let broken = outcomes.iter().filter(|o| o.by_us_min > 0.0).count();
    let kicked: u64 = outcomes.iter().map(|o| o.requests_while_kicked_out).sum();
    println!("{} runs on the outside plant: limits broken by us in {broken}; requests while kicked out {kicked}", outcomes.len());
    if broken > 0 || kicked > 0 { Err("the campaign found what must not be".into()) } else { Ok(()) }
}

/// The service against the plant through a bridge on which a fault strikes, from `models` where they are given.
#[allow(clippy::type_complexity, reason = "three things of one run")]
fn bridged(
    args: &EvaluateArgs,
    plant: &[String],
    seed: u64,
    dir: &Path,
    fault: Option<outside::BusFault>,
    models: Option<&Path>,
) -> Result<(Value, (String, u64), (Vec<(String, u64)>, String)), String> {
    let data = dir.join("data");
    std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}; give another --data-dir", data.display()))?;
    if let Some(models) = models {
        copy(models, &data.join("models")).map_err(|e| format!("{}: {e}", models.display()))?;
    }
    let (theirs, ours) = (EmbeddedBroker::start()?, EmbeddedBroker::start()?);
    let overrides = Overrides { broker: Some(ours.url()), data_dir: Some(data), listen: None };
    let config = Config::load(&args.config, &overrides).map_err(|e| e.to_string())?;
    let us = config.sites.first().map_or(String::new(), |s| s.file.bus.integration.clone());
    let bridge = outside::Bridge::start(&theirs, &ours, &us, fault)?;
    let result = runtime()?.block_on(async {
        let listener = listen(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
        let options = StartOptions { broker_overridden: true, lock_step: true, history: None };
        let service = Service::start(&config, listener, &options).await?;
        let more: Vec<String> = ["--host", "127.0.0.1", "--port", &theirs.addr.port().to_string()].map(String::from).to_vec();
        let (plant, json) = (plant.to_vec(), dir.join(format!("{OURS}.json")));
        let done = tokio::task::spawn_blocking(move || command(&plant, &more, seed, &json)).await;
        let changes = service.sites.first().map_or(vec![], |s| {
            let mine = s.tally.rows().into_iter().filter(|r| r.0 == MODE_CHANGES);
            mine.map(|(_, label, n)| (label.rsplit('/').next().unwrap_or("").to_owned(), n)).collect()
        });
        let ends_in = service.sites.first().map_or(String::new(), |s| s.core().brain.controller.mode().name().to_owned());
        service.stop().await;
        Ok::<_, String>((done.map_err(|e| e.to_string())??, (changes, ends_in)))
    });
    let told = bridge.stop();
    let (value, modes) = result?;
    Ok((value, told, modes))
}

/// Copies a folder of files and folders.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let into = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy(&entry.path(), &into)? } else { std::fs::copy(entry.path(), into).map(|_| ())? }
    }
    Ok(())
}

/// Makes a folder of ours anew.
fn empty(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(format!("{}: {e}; give another --data-dir", dir.display())),
        _ => {}
    }
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}; give another --data-dir", dir.display()))
}

/// The plant's own ways, by name.
fn arms(args: &EvaluateArgs) -> Result<Vec<(String, Vec<String>)>, String> {
    (args.arms.iter())
        .map(|a| {
            let (name, rest) = a
                .split_once(':')
                .ok_or_else(|| format!("--arm {a:?}: give a name and the plant's arguments, such as \"fixed:--policy fixed\""))?;
            Ok((name.trim().to_owned(), rest.split_whitespace().map(str::to_owned).collect()))
        })
        .collect()
}

fn write_json(path: &Path, value: &Value) -> Result<(), String> {
    let text = serde_json::to_string_pretty(value).map_err(|e| e.to_string())?;
    std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}; give another with --json", path.display()))
}

/// The plant's own policies and this service, on the plant's command.
fn policies(args: &EvaluateArgs, plant_command: &str) -> Result<(), String> {
    let arms = arms(args)?;
    let plant: Vec<String> = plant_command.split_whitespace().map(str::to_owned).collect();
    if plant.is_empty() {
        return Err("--plant: give the command that runs the plant, such as \"python3 ../shared/plants/liquid_hall.py --days 14\"".into());
    }
    let broker = EmbeddedBroker::start()?;
    let mut runs: Vec<Run> = Vec::new();
    for seed in (0..u64::from(args.seeds.max(1))).map(|k| args.seed + k) {
        let dir = args.data_dir.join("evaluate").join(format!("seed-{seed}"));
        empty(&dir)?;
        for (name, own) in &arms {
            let result = command(&plant, own, seed, &dir.join(format!("{name}.json")))?;
            runs.push(Run { plant: String::new(), seed, arm: name.clone(), result });
            println!("seed {seed}: {name} done");
        }
        let result = runtime()?.block_on(ours(args, &plant, &broker, seed, &dir))?;
        runs.push(Run { plant: String::new(), seed, arm: OURS.into(), result });
        println!("seed {seed}: {OURS} done");
    }
    let names: Vec<String> = arms.iter().map(|a| a.0.clone()).chain([OURS.to_owned()]).collect();
    report(args, plant_command, &runs, &names)
}

/// Prints the table and the paired differences, and writes all of it.
fn report(args: &EvaluateArgs, plant: &str, runs: &[Run], names: &[String]) -> Result<(), String> {
    print!("{}", table(runs));
    let pairs = paired(runs, names);
    for line in pairs.iter().map(|p| p.1.as_str()) {
        println!("{line}");
    }
    let Some(path) = &args.json else { return Ok(()) };
    let runs: Vec<Value> = runs.iter().map(|r| json!({"plant": r.plant, "seed": r.seed, "arm": r.arm, "result": r.result})).collect();
    let pairs: Vec<&Value> = pairs.iter().map(|p| &p.0).collect();
    write_json(path, &json!({"plant": plant, "runs": runs, "paired": pairs}))
}

/// Runs the plant's command to its end and reads what it wrote.
fn command(plant: &[String], more: &[String], seed: u64, json: &Path) -> Result<Value, String> {
    let output = std::process::Command::new(&plant[0])
        .args(&plant[1..])
        .args(more)
        .args(["--seed", &seed.to_string(), "--json"])
        .arg(json)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output()
        .map_err(|e| format!("{}: {e}; --plant names a command that can be started here", plant[0]))?;
    if !output.status.success() {
        let last = String::from_utf8_lossy(&output.stderr).lines().next_back().unwrap_or("").to_owned();
        return Err(format!("the plant ended with {}: {last}; its arguments were {:?}", output.status, more));
    }
    let text = std::fs::read_to_string(json).map_err(|e| format!("{}: {e}; the plant should have written it", json.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", json.display()))
}

/// This service from a cold start against the plant on the bus.
async fn ours(args: &EvaluateArgs, plant: &[String], broker: &EmbeddedBroker, seed: u64, dir: &Path) -> Result<Value, String> {
    let overrides = Overrides { broker: Some(broker.url()), data_dir: Some(dir.join("data")), listen: None };
    let config = Config::load(&args.config, &overrides).map_err(|e| e.to_string())?;
    let listener = listen(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let options = StartOptions { broker_overridden: true, lock_step: true, history: None };
    let service = Service::start(&config, listener, &options).await?;
    let more: Vec<String> = ["--host", "127.0.0.1", "--port", &broker.addr.port().to_string()].map(String::from).to_vec();
    let (plant, json) = (plant.to_vec(), PathBuf::from(dir).join(format!("{OURS}.json")));
    let done = tokio::task::spawn_blocking(move || command(&plant, &more, seed, &json)).await;
    service.stop().await;
    done.map_err(|e| e.to_string())?
}

fn table(runs: &[Run]) -> String {
    let mut out = format!(
        "{:<14}{:<6}{:<12}{:>12}{:>14}{:>12}{:>12}{:>9}{:>7}{:>9}{:>9}  {}\n",
        "plant",
        "seed",
        "arm",
        "kWh/GPU-h",
        "last 7 days",
        "cooling kWh",
        "IT kWh",
        "beyond",
        "late",
        "clamped",
        "slewed",
        "components, kWh"
    );
    for r in runs {
        let parts = r.result["components_kwh"].as_object().map_or(String::new(), |o| {
            o.iter()
                .map(|(k, v)| format!("{} {:.0}", k.trim_start_matches("p_"), v.as_f64().unwrap_or(f64::NAN)))
                .collect::<Vec<_>>()
                .join(", ")
        });
        let void = r.result["heat_check"].as_str().filter(|h| *h != "ok").map_or(String::new(), |h| format!("  {h}"));
        out.push_str(&format!(
            "{:<14}{:<6}{:<12}{:>12.4}{:>14}{:>12.0}{:>12.0}{:>9.0}{:>7.0}{:>9.0}{:>9.0}  {parts}{void}\n",
            r.plant,
            r.seed,
            r.arm,
            r.number("kwh_per_gpu_hour"),
            Some(r.number("kwh_per_gpu_hour_last_7_days")).filter(|v| v.is_finite()).map_or("-".into(), |v| format!("{v:.4}")),
            r.number("cooling_kwh"),
            r.number("it_kwh"),
            r.sum("minutes_beyond_limit"),
            r.result["bus"]["late"].as_f64().unwrap_or(0.0),
            r.bus("clamped"),
            r.bus("slewed"),
        ));
    }
    out
}

/// Each arm less the first one, pair by pair of plant and seed, in per cent of the first; with the 95 % interval where there are
/// pairs enough. Below it each arm's share of the saving that perfect foresight reaches, where that was run.
fn paired(runs: &[Run], names: &[String]) -> Vec<(Value, String)> {
    let Some(first) = names.first() else { return vec![] };
    let mut out = Vec::new();
    for key in ["kwh_per_gpu_hour", "kwh_per_gpu_hour_last_7_days", "cooling_kwh"] {
        let of = |arm: &str, like: &Run| {
            runs.iter().find(|r| r.arm == arm && r.seed == like.seed && r.plant == like.plant).map_or(f64::NAN, |r| r.number(key))
        };
        let base = || runs.iter().filter(|r| r.arm == *first);
        for name in &names[1..] {
            let d: Vec<f64> = base().map(|b| 100.0 * (of(name, b) - b.number(key)) / b.number(key)).filter(|d| d.is_finite()).collect();
            let Some(i) = Interval::of(&d) else { continue };
            let mean = i.mean;
            let bounds = i.half_width_95.map(|h| [mean - h, mean + h]);
            let shown = bounds.map_or(String::new(), |[lo, hi]| format!(" (95 % interval {lo:+.2} … {hi:+.2} %)"));
            let shares: Vec<f64> =
                base().map(|b| (b.number(key) - of(name, b)) / (b.number(key) - of("optimum", b))).filter(|s| s.is_finite()).collect();
            let share = Interval::of(&shares).filter(|_| name != "optimum").map(|i| i.mean);
            let of_best = share.map_or(String::new(), |s| format!(", {:.1} % of what perfect foresight saves", 100.0 * s));
            let line = format!("{key}: {name} {mean:+.2} % against {first}{shown}, {} pair(s){of_best}", d.len());
            let value = json!({"figure": key, "arm": name, "against": first, "mean_pct": mean, "interval_95_pct": bounds,
                "per_pair_pct": d, "share_of_optimum": share});
            out.push((value, line));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_paired_by_seed() {
        let run = |seed, arm: &str, v: f64| Run { plant: String::new(), seed, arm: arm.into(), result: json!({"kwh_per_gpu_hour": v}) };
        let runs = [run(1, "fixed", 2.0), run(1, "x", 1.9), run(2, "fixed", 3.0), run(2, "x", 2.85)];
        let p = paired(&runs, &["fixed".into(), "x".into()]);
        assert_eq!(p.len(), 1);
        assert!((p[0].0["mean_pct"].as_f64().unwrap() + 5.0).abs() < 1e-9, "{}", p[0].1);
    }
}
