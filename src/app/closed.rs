//! The closed loop in one process: a simulated hall, and behind its sensors everything that the service has between the bus and its
//! requests (decoder, gate, forecast, plan, check), without a broker, a store or a clock.
//!
//! Words: a *pace* is the time between two words of the building management system; a *striking* fault bends what passes.
//! Invariants: what the service would see on the bus is what it sees here, byte for byte in the same messages; the hall's BMS keeps
//! bounds, slew and time-out; same hall, same fault, same bytes. Absent: whatever belongs to the link itself.

use super::bms::{Decimal, heartbeat_metadata};
use super::brain::{Beat, Brain};
use super::config::{Config, ConfiguredSite};
use super::service::{load_classes, load_models, load_tariffs};
use crate::control::Order;
use crate::event::Tally;
use crate::ingest::{Packet, SiteIngest};

use crate::plant::twin::{Sensed, SimPointKind};
use crate::sim::fault::Striking;
use crate::sim::hall::{Hall, Placement};
use crate::site::Catalogue;
use crate::time::{Span, Timestamp};
use bytes::Bytes;
use std::sync::Arc;

/// Messages that a broker keeps for a session that is away (Mosquitto's `max_queued_messages`).
const KEPT_MAX: usize = 1000;
/// How often the service looks at its host's clock while nothing comes.
const WATCH: Span = Span::seconds(10);

/// A hall under control.
pub struct Closed {
    pub hall: Hall,
    pub brain: Brain,
    pub ingest: SiteIngest,
    pub tally: Tally,
    striking: Option<Striking>,
    pace: Span,
    topics: Vec<String>,
    heartbeat: String,
    sensed: Vec<Sensed>,
    /// What the broker keeps while we are away.
    kept: Vec<Packet>,
    heard: Timestamp,
    /// Requests that left while nothing passes.
    pub lost_requests: u64,
}

impl Closed {
    /// # Errors
    /// The site's classes cannot be read, or a model that the site file names cannot be loaded.
    pub fn new(config: &Config, site: &ConfiguredSite, mut hall: Hall, striking: Option<Striking>, pace: Span) -> Result<Closed, String> {
        // As on the bus: one step, so that the first values are those of a plant at work.
        hall.advance(&mut Placement::FirstFit);
        let models = load_models(config, site);
        if let Some(finding) = models.findings.first() {
            return Err(finding.clone());
        }
        let file = Arc::new(site.file.clone());
        let id = file.site.id.clone();
        let us = file.bus.integration.clone();
        let tally = Tally::new();
        let mut ingest = SiteIngest::new(&file, load_classes(site)?, Catalogue::new());
        let beat = format!("System/HeartbeatTimestampBms/{id}/bms");
        let echo = format!("System/HeartbeatEchoIntegration/{id}/echo");
        let own = format!("System/HeartbeatTimestampIntegration/{id}/integration");
        let points = hall.points();
        let metadata = |i: usize| match &striking {
            Some(s) => s.fault().metadata(i, points),
            None => Some(points[i].metadata.clone()),
        };
        let packet =
            |path: &str, text: String| Packet { topic: format!("BMS/v1/PUB/Metadata/{path}"), payload: Bytes::from(text), retain: true };
        let mut packets: Vec<Packet> = (0..points.len()).filter_map(|i| Some(packet(&points[i].path, metadata(i)?.to_string()))).collect();
        packets.extend(heartbeat_metadata(&id, &us, [&beat, &echo, &own]).map(|(path, text)| packet(&path, text)));
        ingest.take(&packets, hall.now(), &tally);
        let topics = points
            .iter()
            .map(|p| if p.kind == SimPointKind::Measured { format!("BMS/v1/PUB/Value/{}", p.path) } else { String::new() })
            .collect();
        let mut brain = Brain::new(file, models.plant, models.load);
        (brain.price, brain.carbon) = load_tariffs(site)?;
        Ok(Closed {
            heartbeat: format!("BMS/v1/PUB/Value/{beat}"),
            brain,
            heard: hall.now(),
            pace: Span(pace.0.max(hall.step_span().0)),
            hall,
            ingest,
            tally,
            striking,
            topics,
            sensed: Vec::new(),
            kept: Vec::new(),
            lost_requests: 0,
        })
    }

    pub fn done(&self) -> bool {
        self.hall.done()
    }

    /// An operator's order, as it comes over the API.
    pub fn order(&mut self, order: Order, who: &str, why: &str) -> Result<(), String> {
        let now = self.hall.now();
        self.brain.controller.order(order, who, why, now, &self.tally).map(|_| ()).map_err(|e| e.to_string())
    }

    /// One word of the BMS: values and heartbeat go to the service, its requests come back, the plant goes on until the next one.
    /// `each` is called after every step of the plant.
    pub fn turn(&mut self, each: &mut dyn FnMut(&Hall)) -> Beat {
        let now = self.hall.now();
        if let Some(s) = &self.striking {
            let enabled = s.enabled(now);
            self.hall.set_enabled(enabled);
        }
        let packets = self.words(now);
        let up = self.striking.as_ref().is_none_or(|s| s.bus_up(now));
        let mut beat = Beat::default();
        if up {
            let mut all = std::mem::take(&mut self.kept);
            all.extend(packets);
            let taken = self.ingest.take(&all, now, &self.tally);
            if let Some(at) = taken.heartbeats.last() {
                self.heard = now;
                let Closed { ingest, brain, tally, .. } = self;
                let latest = |id| ingest.good(id).copied();
                beat = brain.beat(*at, ingest.catalogue(), &latest, true, tally);
            }
            for r in &beat.requests {
                self.hall.request(r.actuator, r.value);
            }
        } else if self.striking.as_ref().is_some_and(|s| s.fault().session_kept) {
            self.kept.extend(packets);
            let over = self.kept.len().saturating_sub(KEPT_MAX);
            self.kept.drain(..over);
        }
        let until = now + self.pace;
        while self.hall.now() < until && !self.hall.done() {
            if let Some(s) = &self.striking {
                let trouble = s.trouble(self.hall.spec(), self.hall.now());
                self.hall.set_trouble(trouble);
            }
            self.hall.advance(&mut Placement::FirstFit);
            each(&self.hall);
            let away = self.hall.now() - self.heard;
            if !up && away.0 % WATCH.0 == 0 {
                beat.mode_events.extend(self.brain.silent(away, false, &self.tally));
            }
        }
        beat
    }

    /// What the BMS publishes at an instant.
    fn words(&mut self, now: Timestamp) -> Vec<Packet> {
        let mut sensed = std::mem::take(&mut self.sensed);
        self.hall.sense(&mut sensed);
        if let Some(s) = &mut self.striking {
            s.sensed(now, &mut sensed);
        }
        let said = sensed.iter().zip(&self.topics).filter(|(s, topic)| !s.dropped && !s.value.is_nan() && !topic.is_empty());
        let mut packets: Vec<Packet> = said
            .map(|(s, topic)| {
                let body = format!("{{\"value\":{},\"timestamp\":{},\"quality\":{}}}", Decimal(s.value), now.0, s.quality);
                Packet { topic: topic.clone(), payload: Bytes::from(body), retain: false }
            })
            .collect();
        let body = format!("{{\"value\":{},\"timestamp\":{},\"quality\":1}}", now.0, now.0);
        packets.push(Packet { topic: self.heartbeat.clone(), payload: Bytes::from(body), retain: false });
        self.sensed = sensed;
        packets
    }
}
