//! An outside plant's own policies against this service from a cold start.

use super::super::broker::EmbeddedBroker;
use super::super::cli::EvaluateArgs;
use super::super::config::{Config, Overrides};
use super::super::service::{Service, StartOptions, listen, runtime};
use super::{OURS, Run, report};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// The program and the arguments of the plant's command.
pub fn plant(command: &str) -> Result<Vec<String>, String> {
    let plant: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
    if plant.is_empty() {
        return Err("--plant: give the command that runs the plant, such as \"python3 ../shared/plants/liquid_hall.py --days 14\"".into());
    }
    Ok(plant)
}

/// The plant's own policies and this service, on the plant's command.
pub fn policies(args: &EvaluateArgs, plant_command: &str) -> Result<(), String> {
    let arms = arms(args)?;
    let plant = plant(plant_command)?;
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

/// Makes a folder of ours anew.
pub fn empty(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(dir) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(format!("{}: {e}; give another --data-dir", dir.display())),
        _ => {}
    }
    std::fs::create_dir_all(dir).map_err(|e| format!("{}: {e}; give another --data-dir", dir.display()))
}

/// The plant's own ways, by name.
pub fn arms(args: &EvaluateArgs) -> Result<Vec<(String, Vec<String>)>, String> {
    (args.arms.iter())
        .map(|a| {
            let (name, rest) = a
                .split_once(':')
                .ok_or_else(|| format!("--arm {a:?}: give a name and the plant's arguments, such as \"fixed:--policy fixed\""))?;
            Ok((name.trim().to_owned(), rest.split_whitespace().map(str::to_owned).collect()))
        })
        .collect()
}

/// Runs the plant's command to its end and reads what it wrote.
pub fn command(plant: &[String], more: &[String], seed: u64, json: &Path) -> Result<Value, String> {
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
