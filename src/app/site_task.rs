//! One site's task: MQTT deliveries in, readings to the store, beats to the brain, requests and echoes out.
//!
//! ```text
//! delivery -> take (decode, gate) -> store -> acknowledge -> beat -> requests, then the echo of the heartbeat
//! ```
//!
//! Invariants: nothing is acknowledged before the store has it; while the store refuses, nothing more is read and the
//! broker's flow control does the rest; requests go out before the echo that covers them, on one connection; each site
//! has its own task, link, clock and mode, so that one being unreachable leaves the other at work.

use super::brain::Brain;
use super::influx::Mirror;
use crate::control::Request;
use crate::event::{READINGS_DUPLICATE, READINGS_STORED, RECONNECTS, Tally};
use crate::ingest::mqtt::{Delivery, LinkState, Publisher, Receipt};
use crate::ingest::publish;
use crate::ingest::{SiteIngest, Taken};
use crate::site::{ClockSource, SiteFile};
use crate::store::Store;
use crate::time::{Span, Timestamp};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Our own heartbeat's period (WIRE.md §1), on the host's clock; unsynced readings reach the disk at the same pace.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Pause before a refused append is tried again.
const STORE_RETRY: Duration = Duration::from_secs(2);

/// This host's clock.
pub fn host_now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_millisecond())
}

/// Intake and brain, which the API reads between deliveries.
pub struct Core {
    pub ingest: SiteIngest,
    pub brain: Brain,
}

/// What task and API share of one site.
pub struct SiteShared {
    pub site: Arc<SiteFile>,
    /// The broker's address without a password.
    pub broker: String,
    pub core: Mutex<Core>,
    pub publisher: Publisher,
    pub link: watch::Receiver<LinkState>,
    pub tally: Arc<Tally>,
    pub store: Arc<dyn Store>,
    /// Where readings go besides.
    pub mirror: Option<Arc<Mirror>>,
    /// Grows with each change worth showing.
    pub changes: watch::Sender<u64>,
    pub readings_in: AtomicU64,
    pub readings_refused: AtomicU64,
    /// Host time when the site's clock last moved.
    pub clock_moved: AtomicI64,
    /// Why the store refuses, empty when it does not.
    pub store_trouble: Mutex<String>,
}

impl SiteShared {
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(|e| e.into_inner())
    }
    pub fn id(&self) -> &str {
        &self.site.site.id
    }
    pub fn broker_up(&self) -> bool {
        matches!(*self.link.borrow(), LinkState::Up { .. })
    }
    pub fn trouble(&self) -> String {
        self.store_trouble.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn set_trouble(&self, text: String) {
        *self.store_trouble.lock().unwrap_or_else(|e| e.into_inner()) = text;
    }

    /// Publishes setpoint requests to every point of their actuators. Returns how many messages went out.
    pub fn publish_requests(&self, core: &Core, requests: &[Request], at: Timestamp) -> usize {
        let mut sent = 0;
        let catalogue = core.ingest.catalogue();
        for r in requests {
            let Some(actuator) = self.site.actuators.get(r.actuator) else { continue };
            for point in catalogue.select(&actuator.request) {
                match publish::value(point, &self.site.bus.integration, r.value, at) {
                    Ok(out) => match self.publisher.send(out) {
                        Ok(()) => sent += 1,
                        Err(e) => tracing::warn!(site = self.id(), "request not sent: {e}"),
                    },
                    Err(e) => tracing::warn!(site = self.id(), "request not sent: {e}"),
                }
            }
        }
        sent
    }

    pub fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }
}

/// Runs one site until `stop` fires or the link is gone.
pub async fn run(shared: Arc<SiteShared>, mut deliveries: mpsc::Receiver<Delivery>, mut stop: watch::Receiver<bool>) {
    let mut own = tokio::time::interval(HEARTBEAT);
    own.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut link = shared.link.clone();
    let mut was_up = false;
    loop {
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            delivery = deliveries.recv() => match delivery {
                Some(delivery) => {
                    if !take(&shared, delivery, &mut stop).await {
                        break;
                    }
                }
                None => break,
            },
            Ok(()) = link.changed() => {
                let state = link.borrow_and_update().clone();
                announce(&shared, &state, &mut was_up);
            }
            _ = own.tick() => heartbeat(&shared),
        }
    }
    if let Err(e) = shared.store.sync() {
        tracing::error!(site = shared.id(), "last sync: {e}");
    }
}

fn announce(shared: &SiteShared, state: &LinkState, was_up: &mut bool) {
    match state {
        LinkState::Up { .. } => {
            tracing::info!(site = shared.id(), broker = shared.broker, "connected");
            if *was_up {
                shared.tally.add(RECONNECTS, shared.id(), 1);
            }
            *was_up = true;
        }
        LinkState::Down { why, retry_at, .. } => {
            let seconds = (*retry_at - host_now()).as_secs_f64().max(0.0);
            tracing::warn!(site = shared.id(), "{why}; next attempt in {seconds:.1} s");
        }
        LinkState::Connecting => {}
    }
    shared.changed();
}

/// Our own heartbeat, and the disk for what no acknowledgement waits for.
fn heartbeat(shared: &SiteShared) {
    let now = host_now();
    if shared.broker_up() {
        let core = shared.core();
        let us = &shared.site.bus.integration;
        for (point, _) in core.ingest.our_points().filter(|(p, _)| p.point_type == "HeartbeatTimestampIntegration") {
            if let Ok(out) = publish::heartbeat(point, us, now, now) {
                let _ = shared.publisher.send(out);
            }
        }
    }
    let synced = tokio::task::block_in_place(|| shared.store.sync());
    if let Err(e) = synced {
        tracing::error!(site = shared.id(), "{e}");
    }
    shared.changed();
}

/// One delivery's whole way. False = stop.
async fn take(shared: &SiteShared, delivery: Delivery, stop: &mut watch::Receiver<bool>) -> bool {
    let now = host_now();
    let Delivery { packets, receipt } = delivery;
    let (taken, catalogue) = {
        let mut core = shared.core();
        let before = core.ingest.clock();
        let taken = core.ingest.take(&packets, now, &shared.tally);
        if core.ingest.clock() != before {
            shared.clock_moved.store(now.0, Ordering::Relaxed);
        }
        let catalogue = taken.catalogue_changed.then(|| core.ingest.catalogue().clone());
        (taken, catalogue)
    };
    shared.readings_refused.fetch_add(taken.refused, Ordering::Relaxed);
    if !keep(shared, &taken, catalogue.as_ref(), &receipt, stop).await {
        return false;
    }
    receipt.acknowledge().await;
    for out in &taken.outgoing {
        if let Err(e) = shared.publisher.send(out.clone()) {
            tracing::warn!(site = shared.id(), "{e}");
        }
    }
    think(shared, &taken);
    true
}

/// Stores a batch; while the store refuses, waits and tries again. False = stop.
async fn keep(
    shared: &SiteShared,
    taken: &Taken,
    catalogue: Option<&crate::site::Catalogue>,
    receipt: &Receipt,
    stop: &mut watch::Receiver<bool>,
) -> bool {
    loop {
        let written = tokio::task::block_in_place(|| {
            if let Some(c) = catalogue {
                shared.store.put_catalogue(shared.id(), c)?;
            }
            let appended = shared.store.append(shared.id(), &taken.readings)?;
            if let Some(mirror) = &shared.mirror {
                if catalogue.is_some() {
                    mirror.catalogue_changed(shared.id());
                }
                mirror.take(shared.id(), &taken.readings, appended.duplicates)?;
                if !receipt.is_empty() {
                    mirror.sync()?;
                }
            }
            for job in &taken.jobs {
                shared.store.put_record("job", shared.id(), job.start, &job.id, &serde_json::to_vec(job).unwrap_or_default())?;
            }
            // QoS 1 packets are acknowledged after this batch: it must be on the disk by then.
            if !receipt.is_empty() {
                shared.store.sync()?;
            }
            Ok::<_, crate::store::StoreError>(appended)
        });
        match written {
            Ok(appended) => {
                shared.set_trouble(String::new());
                shared.readings_in.fetch_add(appended.stored, Ordering::Relaxed);
                shared.tally.add(READINGS_STORED, shared.id(), appended.stored);
                shared.tally.add(READINGS_DUPLICATE, shared.id(), appended.duplicates);
                return true;
            }
            Err(e) => {
                let text = e.to_string();
                if shared.trouble() != text {
                    tracing::error!(site = shared.id(), "{text}; the broker keeps what is not acknowledged");
                    shared.set_trouble(text);
                }
            }
        }
        shared.changed();
        tokio::select! {
            () = tokio::time::sleep(STORE_RETRY) => {}
            _ = stop.changed() => return false,
        }
    }
}

/// Takes the site's clock forward: requests first, then the echo of the newest heartbeat.
fn think(shared: &SiteShared, taken: &Taken) {
    let mut guard = shared.core();
    let core = &mut *guard;
    let beat_at = match shared.site.bus.clock {
        ClockSource::Bms => taken.heartbeats.last().copied(),
        ClockSource::Host | ClockSource::Data => core.ingest.clock().filter(|c| {
            let last = core.brain.journal.last.as_ref().map_or(Timestamp::MIN, |r| r.at);
            *c - last >= Span::seconds(10)
        }),
    };
    let Some(now) = beat_at else { return };
    let Core { ingest, brain } = core;
    let latest = |id| ingest.latest(id).copied();
    let beat = brain.beat(now, ingest.catalogue(), &latest, shared.broker_up(), &shared.tally);
    shared.publish_requests(core, &beat.requests, now);
    if let Some(echoed) = taken.heartbeats.last() {
        let us = &shared.site.bus.integration;
        for (point, _) in core.ingest.our_points().filter(|(p, _)| p.point_type == "HeartbeatEchoIntegration") {
            if let Ok(out) = publish::heartbeat(point, us, *echoed, now) {
                let _ = shared.publisher.send(out);
            }
        }
    }
    drop(guard);
    if beat.ticked {
        for event in &beat.mode_events {
            tracing::info!(site = shared.id(), "{} -> {}: {}", event.from, event.to, event.why);
        }
        record(shared, &beat, now);
        shared.changed();
    }
}

/// Files what was decided: the audit trail.
fn record(shared: &SiteShared, beat: &super::brain::Beat, now: Timestamp) {
    let put = |kind: &str, id: &str, json: Vec<u8>| {
        if let Err(e) = shared.store.put_record(kind, shared.id(), now, id, &json) {
            tracing::error!(site = shared.id(), "{kind} not filed: {e}");
        }
    };
    if let Some(r) = &beat.recommendation {
        put("recommendation", &r.id, serde_json::to_vec(r).unwrap_or_default());
    }
    for (i, event) in beat.mode_events.iter().enumerate() {
        put("mode", &format!("{}-{i}", now.0), serde_json::to_vec(event).unwrap_or_default());
    }
}
