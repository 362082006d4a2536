//! The campaign on an outside plant: a bridge between its broker and ours, on which faults strike.
//!
//! ```text
//! plant -> broker A -> bridge (bends, drops, lies) -> broker B -> this service, as it is served
//! plant <- broker A <- bridge (drops)              <- broker B <- requests, echoes
//! ```
//!
//! The plant is learnt once, undisturbed; every run then starts from that model. Limits are judged by the plant itself, on true
//! values; the other half of a run is the plant at its own fixed setpoints (the first `--arm`) with the same seed. Only faults that can
//! be made on a bus are run: a plant nobody here wrote has no lever for lost machines.
//! Invariants: while the bus is lost the bridge answers the plant's heartbeat itself, since lock-step is no part of the fault; the host's
//! clock does not pass meanwhile, so that our watch on it is not exercised here (on the simulated plants it is).

use super::super::broker::EmbeddedBroker;
use super::super::wire_client::{WireClient, WireError};
use crate::sim::fault::FaultKind;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Kinds that a bus can make.
pub const KINDS: [FaultKind; 8] = [
    FaultKind::Stuck,
    FaultKind::Drifting,
    FaultKind::Noisy,
    FaultKind::Missing,
    FaultKind::Swapped,
    FaultKind::BrokerLost,
    FaultKind::WrongMetadata,
    FaultKind::KickedOut,
];
const HOUR_MS: f64 = 3.6e6;
/// How long one side waits for a message before it looks at the other's.
const POLL: Duration = Duration::from_millis(2);

/// What one run on the outside plant came to.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    pub seed: u64,
    pub kind: FaultKind,
    pub what: String,
    /// Minutes beyond each limit that was passed: under us, at the plant's own setpoints.
    pub minutes_beyond: BTreeMap<String, (f64, f64)>,
    pub by_us_min: f64,
    pub requests_while_kicked_out: u64,
    /// Changes of mode with their number.
    pub modes: Vec<(String, u64)>,
    /// The mode at the end.
    pub ends_in: String,
    pub kwh_per_gpu_hour: (f64, f64),
    /// The plant's own account of the bus.
    pub bus: Value,
}

/// A fault on the bus; points are chosen when it strikes, from those that metadata have named.
#[derive(Clone, Debug)]
pub struct BusFault {
    pub kind: FaultKind,
    pub seed: u64,
    /// From the first heartbeat, hours.
    pub from_h: f64,
    pub to_h: f64,
}

impl BusFault {
    pub fn draw(kind: FaultKind, seed: u64, earliest_h: f64) -> BusFault {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6272_6964_6765 ^ ((kind as u64) << 40));
        let from_h = earliest_h + rng.random_range(0.0..2.0);
        let long = match kind {
            FaultKind::BrokerLost => rng.random_range(0.2..6.0),
            _ => rng.random_range(1.0..4.0),
        };
        let from_h = if kind == FaultKind::WrongMetadata { 0.0 } else { from_h };
        BusFault { kind, seed, from_h, to_h: if kind == FaultKind::WrongMetadata { f64::MAX } else { from_h + long } }
    }
}

/// What the two sides of the bridge share.
#[derive(Default)]
struct Shared {
    /// The plant's time, ms, and when it began.
    now: AtomicU64,
    began: AtomicU64,
    stop: AtomicBool,
    asked_out: AtomicU64,
    what: Mutex<String>,
}

impl Shared {
    fn strikes(&self, f: &BusFault) -> bool {
        let (now, began) = (self.now.load(Ordering::Relaxed), self.began.load(Ordering::Relaxed));
        let h = now.saturating_sub(began) as f64 / HOUR_MS;
        f.from_h <= h && h < f.to_h
    }
}

/// A running bridge.
pub struct Bridge {
    shared: Arc<Shared>,
    threads: Vec<std::thread::JoinHandle<Result<(), WireError>>>,
}

type Message = (String, Vec<u8>, bool);

impl Bridge {
    /// Connects both brokers. `us` is the integration's name on the bus.
    pub fn start(plant: &EmbeddedBroker, ours: &EmbeddedBroker, us: &str, fault: Option<BusFault>) -> Result<Bridge, String> {
        let shared = Arc::new(Shared::default());
        let mut a = WireClient::connect(plant.addr, "bridge-a").map_err(|e| e.to_string())?;
        let mut b = WireClient::connect(ours.addr, "bridge-b").map_err(|e| e.to_string())?;
        a.subscribe("BMS/v1/PUB/#").map_err(|e| e.to_string())?;
        b.subscribe(&format!("BMS/v1/{us}/#")).map_err(|e| e.to_string())?;
        let (to_b, from_a) = channel::<Message>();
        let (to_a, from_b) = channel::<Message>();
        let mut down =
            Down { fault: fault.clone(), us: us.to_owned(), shared: Arc::clone(&shared), to_b, to_a: to_a.clone(), bent: Bent::default() };
        let (up_shared, up_fault) = (Arc::clone(&shared), fault);
        let threads = vec![
            std::thread::spawn({
                let shared = Arc::clone(&shared);
                move || carry(a, &from_b, &shared, &mut |topic, body, retain| down.take(topic, body, retain))
            }),
            std::thread::spawn({
                let shared = Arc::clone(&shared);
                move || {
                    carry(b, &from_a, &shared, &mut |topic, body, retain| {
                        let (kind, strikes) = (up_fault.as_ref().map(|f| f.kind), up_fault.as_ref().is_some_and(|f| up_shared.strikes(f)));
                        match kind {
                            Some(FaultKind::BrokerLost) if strikes => {}
                            Some(FaultKind::KickedOut) if strikes && !topic.contains("/Heartbeat") => {
                                up_shared.asked_out.fetch_add(1, Ordering::Relaxed);
                            }
                            _ => {
                                let _ = to_a.send((topic, body, retain));
                            }
                        }
                    })
                }
            }),
        ];
        Ok(Bridge { shared, threads })
    }

    /// Ends it; tells what the fault was and how many requests came while we were kicked out.
    pub fn stop(self) -> (String, u64) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for t in self.threads {
            if let Ok(Err(e)) = t.join() {
                tracing::warn!("bridge: {e}");
            }
        }
        let what = self.shared.what.lock().unwrap_or_else(|e| e.into_inner()).clone();
        (what, self.shared.asked_out.load(Ordering::Relaxed))
    }
}

/// One side: what comes goes to `take`, what waits goes out.
fn carry(
    mut client: WireClient,
    out: &Receiver<Message>,
    shared: &Shared,
    take: &mut dyn FnMut(String, Vec<u8>, bool),
) -> Result<(), WireError> {
    while !shared.stop.load(Ordering::Relaxed) {
        if let Some(m) = client.message(POLL)? {
            take(m.topic.clone(), m.payload.to_vec(), m.retain);
        }
        let mut any = false;
        while let Ok((topic, body, retain)) = out.try_recv() {
            client.publish(&topic, body, retain)?;
            any = true;
        }
        if any {
            client.flush()?;
        }
    }
    Ok(())
}

/// The way from the plant to us.
struct Down {
    fault: Option<BusFault>,
    us: String,
    shared: Arc<Shared>,
    to_b: Sender<Message>,
    to_a: Sender<Message>,
    bent: Bent,
}

/// What a fault remembers.
#[derive(Default)]
struct Bent {
    /// Unit of every point that can be a victim, by path.
    units: BTreeMap<String, String>,
    victims: Vec<String>,
    held: Option<Value>,
    newest: BTreeMap<String, Value>,
    size: f64,
    rng: Option<ChaCha8Rng>,
}

impl Down {
    fn take(&mut self, topic: String, body: Vec<u8>, _retain: bool) {
        if let Some(path) = topic.strip_prefix("BMS/v1/PUB/Metadata/") {
            let body = self.metadata(path, body);
            let _ = self.to_b.send((topic, body, true));
            return;
        }
        let Some(path) = topic.strip_prefix("BMS/v1/PUB/Value/").map(str::to_owned) else { return };
        let Ok(mut said) = serde_json::from_slice::<Value>(&body) else { return };
        if path.starts_with("System/HeartbeatTimestampBms/")
            && let Some(now) = said["value"].as_f64()
        {
            self.shared.now.store(now as u64, Ordering::Relaxed);
            let _ = self.shared.began.compare_exchange(0, now as u64, Ordering::Relaxed, Ordering::Relaxed);
        }
        let Some(f) = self.fault.clone().filter(|f| self.shared.strikes(f)) else {
            let _ = self.to_b.send((topic, body, false));
            return;
        };
        match f.kind {
            FaultKind::BrokerLost => {
                self.name("nothing passes".into());
                // The plant must not wait for us.
                if path.starts_with("System/HeartbeatTimestampBms/") {
                    let echo = path.replace("HeartbeatTimestampBms", "HeartbeatEchoIntegration").replace("/bms", "/echo");
                    let _ = self.to_a.send((format!("BMS/v1/{}/Value/{echo}", self.us), body, false));
                }
                return;
            }
            FaultKind::KickedOut => {
                self.name("the operators' switch".into());
                if path.starts_with("System/Status/") {
                    said["value"] = 2.into();
                }
            }
            FaultKind::WrongMetadata => {}
            _ => {
                if !self.bend(&f, &path, &mut said) {
                    return;
                }
            }
        }
        let _ = self.to_b.send((topic, said.to_string().into_bytes(), false));
    }

    fn name(&self, what: String) {
        let mut known = self.shared.what.lock().unwrap_or_else(|e| e.into_inner());
        if known.is_empty() {
            *known = what;
        }
    }

    /// Learns of a point; for lying metadata, lies about one temperature or power of the first that come.
    fn metadata(&mut self, path: &str, body: Vec<u8>) -> Vec<u8> {
        let Ok(mut said) = serde_json::from_slice::<Value>(&body) else { return body };
        let unit = said["engUnit"].as_str().unwrap_or("").to_owned();
        if !unit.is_empty() && said["integration"].is_null() && !path.ends_with("/request") {
            self.bent.units.insert(path.to_owned(), unit.clone());
        }
        let lies = self.fault.as_ref().filter(|f| f.kind == FaultKind::WrongMetadata).map(|f| f.seed);
        let Some(seed) = lies else { return body };
        if self.bent.victims.is_empty() && matches!(unit.as_str(), "C" | "kW") && self.bent.units.len() as u64 > seed * 5 % 17 {
            self.bent.victims = vec![path.to_owned()];
            self.name(format!("{path}: unit called {}", if unit == "C" { "F" } else { "W" }));
        }
        if self.bent.victims.iter().any(|v| v == path) {
            said["engUnit"] = if unit == "C" { "F".into() } else { "W".into() };
            return said.to_string().into_bytes();
        }
        body
    }

    /// Bends a value; false = it does not pass.
    fn bend(&mut self, f: &BusFault, path: &str, said: &mut Value) -> bool {
        let b = &mut self.bent;
        if b.victims.is_empty() {
            let mut rng = ChaCha8Rng::seed_from_u64(f.seed ^ ((f.kind as u64) << 32));
            let paths: Vec<String> = b.units.keys().cloned().collect();
            if paths.is_empty() {
                return true;
            }
            let first = paths[rng.random_range(0..paths.len())].clone();
            let like: Vec<String> = paths.iter().filter(|p| **p != first && b.units[*p] == b.units[&first]).cloned().collect();
            let second = if like.is_empty() { first.clone() } else { like[rng.random_range(0..like.len())].clone() };
            let scale = if b.units[&first] == "C" { 1.0 } else { 5.0 };
            b.size = scale * rng.random_range(1.0..6.0) * if rng.random_bool(0.5) { 1.0 } else { -1.0 };
            b.victims = if f.kind == FaultKind::Swapped { vec![first, second] } else { vec![first] };
            b.rng = Some(rng);
            let what = format!(
                "{}{}",
                b.victims.join(" <-> "),
                if f.kind == FaultKind::Drifting { format!(" {:+.1}/h", b.size) } else { String::new() }
            );
            self.name(what);
        }
        let b = &mut self.bent;
        let Some(k) = b.victims.iter().position(|v| v == path) else { return true };
        let number = said["value"].as_f64();
        match f.kind {
            FaultKind::Stuck => said["value"] = b.held.get_or_insert_with(|| said["value"].clone()).clone(),
            FaultKind::Missing => return false,
            FaultKind::Drifting => {
                let h = self.shared.now.load(Ordering::Relaxed).saturating_sub(self.shared.began.load(Ordering::Relaxed)) as f64 / HOUR_MS;
                said["value"] = number.map(|v| v + b.size * (h - f.from_h)).into();
            }
            FaultKind::Noisy => {
                let noise: f64 = b.rng.as_mut().map_or(0.0, |r| StandardNormal.sample(r));
                said["value"] = number.map(|v| v + b.size * noise).into();
            }
            FaultKind::Swapped => {
                b.newest.insert(path.to_owned(), said["value"].clone());
                let other = b.victims[(k + 1) % b.victims.len()].clone();
                if let Some(v) = b.newest.get(&other) {
                    said["value"] = v.clone();
                }
            }
            _ => {}
        }
        true
    }
}

/// The table of the runs.
pub fn text(outcomes: &[Outcome]) -> String {
    let mut out = format!(
        "{:<18}{:>5}{:>10}{:>10}{:>8}{:>12}{:>12}  {:<10}{}\n",
        "fault", "seed", "ours min", "BMS min", "by us", "while out", "kWh/GPU-h", "ends in", "what; changes of mode"
    );
    for o in outcomes {
        let minutes = |pick: fn(&(f64, f64)) -> f64| o.minutes_beyond.values().map(pick).sum::<f64>() + 0.0;
        let modes: Vec<String> = o.modes.iter().map(|(m, n)| format!("{m} {n}")).collect();
        out.push_str(&format!(
            "{:<18}{:>5}{:>10.0}{:>10.0}{:>8.0}{:>12}{:>12.4}  {:<10}{}; {}\n",
            o.kind.name(),
            o.seed,
            minutes(|m| m.0),
            minutes(|m| m.1),
            o.by_us_min,
            o.requests_while_kicked_out,
            o.kwh_per_gpu_hour.0,
            o.ends_in,
            o.what,
            modes.join(", ")
        ));
    }
    out
}
