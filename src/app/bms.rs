//! A simulated building management system on the bus: a [`Hall`] behind an MQTT client that speaks the DSX contract.
//!
//! One step: sensed values go out on change and every 100 s, the heartbeat last; then the BMS waits for the integration's
//! echo of exactly that time, takes the requests that came before it, and lets the plant go on. Lock-step at any speed.
//! Invariants: it shares nothing with the service but the broker (and the scheduler's hint over HTTP); metadata is
//! retained, at the start and every 100 s; a step without an echo in time counts as late and goes on.

use super::wire_client::{WireClient, WireError};
use crate::plant::twin::{Sensed, SimPointKind};
use crate::signal::jobs::Job;
use crate::sim::hall::{Hall, Placement};
use crate::time::{Span, Timestamp};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Values and metadata are repeated at least this often on the BMS's clock.
const REPEAT: Span = Span::seconds(100);
/// How long the BMS waits for an echo before it goes on by itself.
const ECHO_PATIENCE: Duration = Duration::from_secs(10);

/// What the bus saw of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct BusAccount {
    pub published: u64,
    /// Steps without an echo in time.
    pub late: u64,
    /// Messages on topics that are not ours to write, or that are no DSX value.
    pub not_understood: u64,
    pub hints_used: u64,
    pub hints_missing: u64,
}

/// A simulated BMS that is connected to its broker.
pub struct SimulatedBms {
    hall: Hall,
    client: WireClient,
    metadata: Vec<(String, Vec<u8>)>,
    value_topics: Vec<String>,
    last_sent: Vec<Option<(f64, u8)>>,
    requests: HashMap<String, usize>,
    heartbeat_topic: String,
    echo_topic: String,
    steps: u64,
    sensed: Vec<Sensed>,
    account: BusAccount,
}

impl SimulatedBms {
    /// Connects, subscribes to the integration's values, and publishes all metadata.
    pub fn start(mut hall: Hall, broker: SocketAddr, integration: &str) -> Result<SimulatedBms, WireError> {
        let site = hall.spec().site.clone();
        // One step, so that the first values are those of a plant at work.
        hall.advance(&mut Placement::FirstFit);
        let mut client = WireClient::connect(broker, &format!("bms-{site}"))?;
        client.subscribe(&format!("BMS/v1/{integration}/Value/#"))?;
        let mut metadata = Vec::new();
        let mut requests = HashMap::new();
        for p in hall.points() {
            metadata.push((format!("BMS/v1/PUB/Metadata/{}", p.path), p.metadata.to_string().into_bytes()));
            if let SimPointKind::Request(i) = p.kind {
                requests.insert(format!("BMS/v1/{integration}/Value/{}", p.path), i);
            }
        }
        let beat = format!("System/HeartbeatTimestampBms/{site}/bms");
        let echo = format!("System/HeartbeatEchoIntegration/{site}/echo");
        let own = format!("System/HeartbeatTimestampIntegration/{site}/integration");
        for (path, text) in heartbeat_metadata(&site, integration, [&beat, &echo, &own]) {
            metadata.push((format!("BMS/v1/PUB/Metadata/{path}"), text.into_bytes()));
        }
        let value_topics: Vec<String> = hall.points().iter().map(|p| format!("BMS/v1/PUB/Value/{}", p.path)).collect();
        let mut bms = SimulatedBms {
            last_sent: vec![None; value_topics.len()],
            client,
            metadata,
            value_topics,
            requests,
            heartbeat_topic: format!("BMS/v1/PUB/Value/{beat}"),
            echo_topic: format!("BMS/v1/{integration}/Value/{echo}"),
            steps: 0,
            sensed: Vec::new(),
            account: BusAccount::default(),
            hall,
        };
        for i in 0..bms.metadata.len() {
            bms.publish_metadata(i)?;
            if i % 64 == 63 {
                bms.client.flush()?;
            }
        }
        bms.client.flush()?;
        Ok(bms)
    }

    pub fn hall_mut(&mut self) -> &mut Hall {
        &mut self.hall
    }
    pub fn hall(&self) -> &Hall {
        &self.hall
    }
    pub fn account(&self) -> BusAccount {
        self.account
    }
    pub fn done(&self) -> bool {
        self.hall.done()
    }
    pub fn into_hall(self) -> Hall {
        self.hall
    }

    fn publish_metadata(&mut self, i: usize) -> Result<(), WireError> {
        let (topic, body) = &self.metadata[i];
        self.account.published += 1;
        self.client.publish(topic, body.clone(), true)
    }

    /// One step on the bus. `rank` is the scheduler's way to ask for a placement hint.
    pub fn step(&mut self, rank: &mut dyn FnMut(&Job, Timestamp) -> Option<Vec<String>>) -> Result<(), WireError> {
        let now = self.hall.now();
        let every = (REPEAT.0 / self.hall.step_span().0.max(1)).max(1) as u64;
        let phase = self.steps % every;
        self.steps += 1;
        let mut sensed = std::mem::take(&mut self.sensed);
        self.hall.sense(&mut sensed);
        for (i, s) in sensed.iter().enumerate() {
            let due = i as u64 % every == phase;
            let changed = self.last_sent[i].is_none_or(|(v, q)| v != s.value || q != s.quality);
            if s.dropped || s.value.is_nan() || !(due || changed) {
                continue;
            }
            self.last_sent[i] = Some((s.value, s.quality));
            self.account.published += 1;
            let body = format!("{{\"value\":{},\"timestamp\":{},\"quality\":{}}}", Decimal(s.value), now.0, s.quality);
            self.client.publish(&self.value_topics[i], body.into_bytes(), false)?;
        }
        self.sensed = sensed;
        if self.steps > every {
            for i in (phase as usize..self.metadata.len()).step_by(every as usize) {
                self.publish_metadata(i)?;
            }
        }
        let body = format!("{{\"value\":{},\"timestamp\":{},\"quality\":1}}", now.0, now.0);
        self.client.publish(&self.heartbeat_topic, body.into_bytes(), false)?;
        self.account.published += 1;
        self.client.flush()?;
        self.await_echo(now)?;
        let account = &mut self.account;
        let mut counted = |job: &Job, at: Timestamp| {
            let hint = rank(job, at);
            if hint.is_some() {
                account.hints_used += 1
            } else {
                account.hints_missing += 1
            }
            hint
        };
        self.hall.advance(&mut Placement::Ranked(&mut counted));
        Ok(())
    }

    /// Takes requests until the integration echoes `now`.
    fn await_echo(&mut self, now: Timestamp) -> Result<(), WireError> {
        let end = std::time::Instant::now() + ECHO_PATIENCE;
        loop {
            let left = end.saturating_duration_since(std::time::Instant::now());
            let Some(message) = self.client.message(left)? else {
                self.account.late += 1;
                return Ok(());
            };
            let value = serde_json::from_slice::<serde_json::Value>(&message.payload).ok();
            let number = value.as_ref().and_then(|v| v.get("value")).and_then(serde_json::Value::as_f64);
            if message.topic == self.echo_topic {
                if number == Some(now.0 as f64) {
                    return Ok(());
                }
            } else if let Some(&index) = self.requests.get(&message.topic) {
                self.hall.request(index, number.unwrap_or(f64::NAN));
            } else if message.topic.contains(&format!("/{}/", self.hall.spec().site))
                && !message.topic.contains("HeartbeatTimestampIntegration")
            {
                self.account.not_understood += 1;
            }
        }
    }
}

/// A number as DSX publishers write it: no exponent, at most six decimals.
pub(super) struct Decimal(pub f64);

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", (self.0 * 1e6).round() / 1e6)
    }
}

pub(super) fn heartbeat_metadata(site: &str, integration: &str, [beat, echo, own]: [&str; 3]) -> [(String, String); 3] {
    let bms = serde_json::json!({
        "objectType": "System", "pointType": "HeartbeatTimestampBms", "objectName": format!("BMS {site}"), "objectId": format!("BMS-{site}"), "scope": site
    });
    let echoed = serde_json::json!({
        "objectType": "System", "pointType": "HeartbeatEchoIntegration", "objectName": format!("BMS {site}"), "objectId": format!("BMS-{site}"), "integration": integration
    });
    let ours = serde_json::json!({
        "objectType": "System", "pointType": "HeartbeatTimestampIntegration", "objectName": integration, "objectId": integration, "integration": integration
    });
    [(beat.to_owned(), bms.to_string()), (echo.to_owned(), echoed.to_string()), (own.to_owned(), ours.to_string())]
}
