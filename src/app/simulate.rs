//! `simulate`: a simulated plant on a broker, for trying a service or a scheduler against a plant that can be damaged.
//!
//! Reads lines from the standard input: `degrade CDU02 0.9` fouls a coolant distribution unit (share of its heat transfer that
//! is lost), `pace 60` goes on at another pace, `quit` ends. The plant waits for the service's echo as in the demo, and goes no faster than `--pace`.

use super::bms::SimulatedBms;
use super::cli::SimulateArgs;
use crate::ingest::mqtt::BrokerAddress;
use crate::plant::twin::TwinSpec;
use crate::signal::jobs::{JobStream, Offer};
use crate::signal::weather::WeatherSeries;
use crate::sim::hall::{Hall, Scenario, Work};
use crate::time::{Span, Timestamp};
use std::io::BufRead;
use std::net::ToSocketAddrs;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// The integration's identifier on the bus, as the shipped site files have it.
const US: &str = "TRAMUNTANA";

/// Runs until the span is over, `quit`, or the end of the input.
pub fn run(args: &SimulateArgs) -> Result<(), String> {
    let span = Span::parse(&args.span).filter(|s| s.0 > 0).ok_or_else(|| format!("--span {:?}: give a length such as 2h", args.span))?;
    let mut pace = Pace::of(args.pace).ok_or_else(|| format!("--pace {}: give simulated seconds a second, above 0", args.pace))?;
    let spec = TwinSpec::load(&args.site.join("twin.toml")).map_err(|e| e.to_string())?;
    let broker = BrokerAddress::parse(&args.broker).map_err(|e| e.to_string())?;
    if broker.tls || broker.user.is_some() {
        return Err(format!(
            "--broker {broker}: simulate speaks plain MQTT without a login, for a broker on this host; give mqtt://HOST:PORT alone"
        ));
    }
    let address = (broker.host.as_str(), broker.port)
        .to_socket_addrs()
        .ok()
        .and_then(|mut a| a.next())
        .ok_or_else(|| format!("--broker {}: no such host", args.broker))?;
    let start = Timestamp::parse("2026-07-14").ok_or("no such date")?;
    let jobs = JobStream::generate(args.seed, start, span, Offer { class: spec.job_class, gpus: spec.gpus() });
    let weather = Arc::new(WeatherSeries::synthetic(args.seed, start, span, 0.0));
    let spec = Arc::new(spec);
    let hall = Hall::new(Arc::clone(&spec), Scenario { seed: args.seed, start, span, weather, work: Work::Jobs(Arc::new(jobs)) });
    let mut bms = SimulatedBms::start(hall, address, US).map_err(|e| e.to_string())?;
    let (tx, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                return;
            }
        }
    });
    println!("{} on {}: {} points", spec.site, args.broker, bms.hall().points().len());
    while !bms.done() {
        match lines.try_recv() {
            Ok(line) if line.trim() == "quit" => return Ok(()),
            Ok(line) if line.starts_with("pace ") => match line[5..].trim().parse().ok().and_then(Pace::of) {
                Some(other) => pace = other,
                None => println!("{line:?}: say `pace N`, simulated seconds a second, above 0"),
            },
            Ok(line) => match degraded(bms.hall().spec(), &line) {
                Ok(worse) => {
                    bms.hall_mut().respec(Arc::new(worse));
                    println!("{line}");
                }
                Err(e) => println!("{e}"),
            },
            Err(mpsc::TryRecvError::Empty) => {}
            Err(mpsc::TryRecvError::Disconnected) => return Ok(()),
        }
        bms.step(&mut |_, _| None).map_err(|e| e.to_string())?;
        pace.keep(f64::from(spec.step_s));
    }
    Ok(())
}

/// How fast the plant's time may pass.
struct Pace {
    /// Simulated seconds a second.
    at_most: f64,
    since: Instant,
    simulated_s: f64,
}

impl Pace {
    fn of(at_most: f64) -> Option<Pace> {
        (at_most > 0.0).then(|| Pace { at_most, since: Instant::now(), simulated_s: 0.0 })
    }

    /// Waits until a step that has been made may be over.
    fn keep(&mut self, step_s: f64) {
        self.simulated_s += step_s;
        let due = Duration::try_from_secs_f64(self.simulated_s / self.at_most).unwrap_or(Duration::MAX);
        std::thread::sleep(due.saturating_sub(self.since.elapsed()));
    }
}

/// The plant after `degrade CDU SHARE`.
fn degraded(spec: &TwinSpec, line: &str) -> Result<TwinSpec, String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let share = words.get(2).and_then(|s| s.parse::<f64>().ok()).filter(|s| (0.0..0.99).contains(s));
    let (Some(&"degrade"), Some(id), Some(share)) = (words.first(), words.get(1), share) else {
        return Err(format!("{line:?}: say `degrade CDU SHARE` (0 to 0.99), `pace N` or `quit`"));
    };
    let mut spec = spec.clone();
    let known: Vec<String> = spec.cdus.iter().map(|c| c.id.clone()).collect();
    let cdu = spec.cdus.iter_mut().find(|c| c.id == *id).ok_or_else(|| format!("no CDU {id:?}; there are {}", known.join(", ")))?;
    cdu.fouling = share;
    Ok(spec)
}
