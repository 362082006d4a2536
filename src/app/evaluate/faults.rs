//! Fault campaigns: on the simulated plants, and on an outside plant through a bridge.

use super::super::broker::EmbeddedBroker;
use super::super::campaign::{self, outside as bus};
use super::super::cli::EvaluateArgs;
use super::super::config::{Config, Overrides};
use super::super::service::{Service, StartOptions, listen, runtime};
use super::outside::{arms, command, empty, plant};
use super::{OURS, write_json};
use crate::event::MODE_CHANGES;
use crate::sim::fault::FaultKind;
use serde_json::Value;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

/// Refuses a word that is in no fault's name: a campaign without a run would find nothing wrong.
fn known(words: &[String], kinds: &[FaultKind]) -> Result<(), String> {
    match words.iter().find(|w| !kinds.iter().any(|k| k.name().contains(w.as_str()))) {
        Some(odd) => {
            let names: Vec<&str> = kinds.iter().map(|k| k.name()).collect();
            Err(format!("--fault {odd:?} is in the name of none of: {}", names.join(", ")))
        }
        None => Ok(()),
    }
}

/// A fault campaign on the simulated plants.
pub fn simulated(args: &EvaluateArgs, n: usize) -> Result<(), String> {
    known(&args.faults, &FaultKind::ALL)?;
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
pub fn outside(args: &EvaluateArgs, plant_command: &str, n: usize) -> Result<(), String> {
    let plant = plant(plant_command)?;
    known(&args.faults, &bus::KINDS)?;
    let fixed = arms(args)?.into_iter().next().map(|a| a.1).unwrap_or_default();
    let dir = args.data_dir.join("evaluate").join("campaign");
    empty(&dir)?;
    let words = &args.faults;
    let kinds: Vec<FaultKind> =
        bus::KINDS.into_iter().filter(|k| words.is_empty() || words.iter().any(|w| k.name().contains(w.as_str()))).collect();
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
        let fault = bus::BusFault::draw(kind, seed, 12.0);
        let (ours, (what, asked_out), (modes, ends_in)) = bridged(args, &plant, seed, &own, Some(fault), Some(&models))?;
        let minutes = |v: &Value, id: &str| v["minutes_beyond_limit"][id].as_f64().unwrap_or(0.0);
        let ids: Vec<String> = ours["minutes_beyond_limit"].as_object().map_or(vec![], |o| o.keys().cloned().collect());
        let base = &theirs[&seed];
        let minutes_beyond: BTreeMap<String, (f64, f64)> = ids
            .into_iter()
            .map(|id| (id.clone(), (minutes(&ours, &id), minutes(base, &id))))
            .filter(|(_, m)| m.0 > 0.0 || m.1 > 0.0)
            .collect();
        let number = |v: &Value| v["kwh_per_gpu_hour"].as_f64().unwrap_or(f64::NAN);
        outcomes.push(bus::Outcome {
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
    print!("{}", bus::text(&outcomes));
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
    fault: Option<bus::BusFault>,
    models: Option<&Path>,
) -> Result<(Value, (String, u64), (Vec<(String, u64)>, String)), String> {
    let data = dir.join("data");
    std::fs::create_dir_all(&data).map_err(|e| format!("{}: {e}; give another --data-dir", data.display()))?;
    if let Some(models) = models {
        copy_folder(models, &data.join("models")).map_err(|e| format!("{}: {e}", models.display()))?;
    }
    let (theirs, ours) = (EmbeddedBroker::start()?, EmbeddedBroker::start()?);
    let overrides = Overrides { broker: Some(ours.url()), data_dir: Some(data), listen: None };
    let config = Config::load(&args.config, &overrides).map_err(|e| e.to_string())?;
    let us = config.sites.first().map_or(String::new(), |s| s.file.bus.integration.clone());
    let bridge = bus::Bridge::start(&theirs, &ours, &us, fault)?;
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
fn copy_folder(from: &Path, to: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let into = to.join(entry.file_name());
        if entry.file_type()?.is_dir() { copy_folder(&entry.path(), &into)? } else { std::fs::copy(entry.path(), into).map(|_| ())? }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_names_no_fault_is_refused_with_the_names() {
        let words = |w: &str| [w.to_owned()];
        assert!(known(&[], &FaultKind::ALL).is_ok() && known(&words("pump"), &FaultKind::ALL).is_ok());
        assert!(known(&words("pmup"), &FaultKind::ALL).unwrap_err().contains("lost pump"));
        assert!(known(&words("pump"), &bus::KINDS).is_err(), "a bus cannot make it");
    }
}
