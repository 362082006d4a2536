//! One site's task: MQTT deliveries in, readings to the store, beats to the brain, requests and echoes out.
//!
//! ```text
//! delivery -> take (decode, gate) -> store -> sync -> acknowledge -> beat -> requests, then the echo of the heartbeat
//! ```
//!
//! Invariants: nothing is acknowledged, and nothing counted as stored, before it is on the disk (what needs no
//! acknowledgement is synced with what comes within [`SiteShared::sync_after`]); while the store refuses, nothing more is
//! read and the broker's flow control does the rest; requests go out before the echo that covers them, on one connection; each site
//! has its own task, link, clock and mode, so that one being unreachable leaves the other at work.

use super::alarms::book::Book;
use super::brain::Brain;
use super::influx::Mirror;
use super::kept_orders;
use super::learner::{FIT_WAIT, FitJob};
use super::lease::Charge;
use crate::control::Request;
use crate::event::{READINGS_DUPLICATE, READINGS_STORED, RECONNECTS, REFUSED, Tally};
use crate::ingest::mqtt::{Delivery, LinkState, Publisher, Receipt};
use crate::ingest::publish;
use crate::ingest::{SiteIngest, Taken};
use crate::plant::greybox::GreyBox;
use crate::reading::PointId;
use crate::site::{ClockSource, SiteFile};
use crate::store::{Appended, Store, StoreError};
use crate::time::{Span, Timestamp};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// Our own heartbeat's period (WIRE.md §1), on the host's clock.
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
    /// The site's own connection: takes in, asks for births, tells of alarms.
    pub publisher: Publisher,
    /// What a plant takes as ours goes out through this.
    pub charge: Charge,
    /// The newest heartbeat of the plant.
    pub last_beat: AtomicI64,
    pub link: watch::Receiver<LinkState>,
    pub tally: Arc<Tally>,
    pub store: Arc<dyn Store>,
    /// Where readings go besides.
    pub mirror: Option<Arc<Mirror>>,
    /// Grows with each change worth showing.
    pub changes: watch::Sender<u64>,
    pub readings_in: AtomicU64,
    pub readings_refused: AtomicU64,
    /// How many of `readings_in` a sync has confirmed.
    pub readings_synced: AtomicU64,
    /// How long readings that no acknowledgement waits for may stay unsynced.
    pub sync_after: Duration,
    /// Deliveries that wait for the task, and the messages of the one it took last: how far it is behind.
    pub queued: AtomicU64,
    pub batch: AtomicU64,
    /// Host time when the site's clock last moved.
    pub clock_moved: AtomicI64,
    /// The plant was simulated and its days are over: silence is no fault.
    pub over: AtomicBool,
    pub alarms: Mutex<Book>,
    /// Why the store refuses, empty when it does not.
    pub store_trouble: Mutex<String>,
    /// A fit that took longer than the site's task waits for it.
    pub pending_fit: Mutex<Option<tokio::task::JoinHandle<Result<GreyBox, String>>>>,
}

impl SiteShared {
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// Take it before [`SiteShared::core`], never after.
    pub fn book(&self) -> MutexGuard<'_, Book> {
        self.alarms.lock().unwrap_or_else(|e| e.into_inner())
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

    /// The points of the meters behind the KPIs.
    pub fn meter_points(&self) -> BTreeSet<PointId> {
        let core = self.core();
        let catalogue = core.ingest.catalogue();
        self.site.meters.iter().flat_map(|m| catalogue.select(&m.select).map(|p| p.id)).collect()
    }

    /// Readings that no sync has confirmed yet.
    fn unsynced(&self) -> u64 {
        self.readings_in.load(Ordering::Relaxed).saturating_sub(self.readings_synced.load(Ordering::Relaxed))
    }

    /// A sync has confirmed the first `mark` readings.
    fn synced(&self, mark: u64) {
        let before = self.readings_synced.fetch_max(mark, Ordering::Relaxed);
        self.tally.add(READINGS_STORED, self.id(), mark.saturating_sub(before));
    }

    /// Says once what the store's trouble is.
    fn say_trouble(&self, e: &StoreError) {
        let text = e.to_string();
        if self.trouble() != text {
            tracing::error!(site = self.id(), "{text}; the broker keeps what is not acknowledged");
            self.set_trouble(text);
        }
    }

    fn set_trouble(&self, text: String) {
        *self.store_trouble.lock().unwrap_or_else(|e| e.into_inner()) = text;
    }

    /// Publishes setpoint requests to every point of their actuators. Returns how many messages went out.
    pub fn publish_requests(&self, core: &Core, requests: &[Request], at: Timestamp) -> usize {
        let mut sent = 0;
        let Some(writer) = self.charge.writer() else { return 0 };
        let catalogue = core.ingest.catalogue();
        for r in requests {
            let Some(actuator) = self.site.actuators.get(r.actuator) else { continue };
            for point in catalogue.select(&actuator.request) {
                match publish::value(point, &self.site.bus.integration, r.value, at) {
                    Ok(out) => match writer.send(out) {
                        Ok(()) => sent += 1,
                        Err(e) => tracing::warn!(site = self.id(), "request not sent: {e}"),
                    },
                    Err(e) => tracing::warn!(site = self.id(), "request not sent: {e}"),
                }
            }
        }
        if sent > 0 {
            self.charge.tell();
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
    let mut charge = shared.charge.watch();
    let mut was_up = false;
    // When the readings that no acknowledgement waits for must be synced, and the sync that does it.
    let due = tokio::time::sleep(Duration::ZERO);
    tokio::pin!(due);
    let mut waiting = false;
    let mut syncing: Option<tokio::task::JoinHandle<(u64, Result<(), StoreError>)>> = None;
    loop {
        if !waiting && syncing.is_none() && shared.unsynced() > 0 {
            due.as_mut().reset(tokio::time::Instant::now() + shared.sync_after);
            waiting = true;
        }
        tokio::select! {
            biased;
            _ = stop.changed() => break,
            () = &mut due, if waiting => {
                waiting = false;
                let (store, mark) = (Arc::clone(&shared.store), shared.readings_in.load(Ordering::Relaxed));
                syncing = Some(tokio::task::spawn_blocking(move || (mark, store.sync())));
            }
            done = async { syncing.as_mut()?.await.ok() }, if syncing.is_some() => {
                syncing = None;
                match done {
                    Some((mark, Ok(()))) => shared.synced(mark),
                    Some((_, Err(e))) => shared.say_trouble(&e),
                    None => {}
                }
            }
            delivery = deliveries.recv() => match delivery {
                Some(delivery) => {
                    shared.queued.store(deliveries.len() as u64, Ordering::Relaxed);
                    shared.batch.store(delivery.packets.len() as u64, Ordering::Relaxed);
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
            Ok(()) = charge.changed() => {
                if charge.borrow_and_update().as_ref().is_some_and(|s| s.in_charge) {
                    assume(&shared).await;
                }
            }
            _ = own.tick() => {
                // With a lease, its own beat tells both.
                if charge.borrow().is_none() {
                    heartbeat(&shared);
                }
                watch(&shared);
            }
        }
    }
    match shared.store.sync() {
        Ok(()) => shared.synced(shared.readings_in.load(Ordering::Relaxed)),
        Err(e) => tracing::error!(site = shared.id(), "last sync: {e}"),
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

/// Our own heartbeat, where we are in charge.
pub(super) fn heartbeat(shared: &SiteShared) {
    let now = host_now();
    if let Some(writer) = shared.charge.writer() {
        let core = shared.core();
        let us = &shared.site.bus.integration;
        for (point, _) in core.ingest.our_points().filter(|(p, _)| p.point_type == "HeartbeatTimestampIntegration") {
            if let Ok(out) = publish::heartbeat(point, us, now, now) {
                let _ = writer.send(out);
            }
        }
    }
    shared.changed();
}

/// Steps the mode on the host's clock while the site's own stands still: no heartbeat comes, or, on the host's clock, nothing
/// at all. A clock of the data stands still between two parts of a replay too, so that it is not watched.
fn watch(shared: &SiteShared) {
    let moved = shared.clock_moved.load(Ordering::Relaxed);
    if shared.site.bus.clock == ClockSource::Data || moved == 0 || shared.over.load(Ordering::Relaxed) {
        return;
    }
    let now = host_now();
    let events = shared.core().brain.silent(Span(now.0 - moved), shared.broker_up(), &shared.tally);
    for event in &events {
        tracing::warn!(site = shared.id(), "{} -> {}: {}", event.from, event.to, event.why);
    }
    if !events.is_empty() {
        record(shared, &super::brain::Beat { mode_events: events, ..Default::default() }, now);
        shared.changed();
    }
}

/// One delivery's whole way. False = stop.
async fn take(shared: &SiteShared, delivery: Delivery, stop: &mut watch::Receiver<bool>) -> bool {
    let now = host_now();
    let Delivery { packets, receipt, refused } = delivery;
    for (why, n) in refused {
        shared.tally.add(REFUSED, &format!("mqtt/{why}"), n);
        shared.readings_refused.fetch_add(n, Ordering::Relaxed);
    }
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
    drop(packets);
    shared.readings_refused.fetch_add(taken.refused, Ordering::Relaxed);
    if !keep(shared, &taken, catalogue.as_ref(), &receipt, stop).await {
        return false;
    }
    receipt.acknowledge();
    for out in &taken.outgoing {
        if let Err(e) = shared.publisher.send(out.clone()) {
            tracing::warn!(site = shared.id(), "{e}");
        }
    }
    think(shared, &taken).await;
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
    // Rows of an attempt that failed later (in its sync) are duplicates for the next one: each is counted once.
    let (mut stored, mut duplicates) = (0, u64::MAX);
    loop {
        // QoS 1 packets are acknowledged after this batch: it must be on the disk by then.
        let written = append(shared, taken, catalogue).and_then(|appended| {
            stored = stored.max(appended.stored);
            duplicates = duplicates.min(appended.duplicates);
            if receipt.is_empty() { Ok(()) } else { tokio::task::block_in_place(|| sync(shared)) }
        });
        match written {
            Ok(()) => {
                shared.set_trouble(String::new());
                let mark = shared.readings_in.fetch_add(stored, Ordering::Relaxed) + stored;
                shared.tally.add(READINGS_DUPLICATE, shared.id(), duplicates);
                if !receipt.is_empty() {
                    shared.synced(mark);
                }
                return true;
            }
            Err(e) => shared.say_trouble(&e),
        }
        shared.changed();
        tokio::select! {
            () = tokio::time::sleep(STORE_RETRY) => {}
            _ = stop.changed() => return false,
        }
    }
}

/// Appends a batch: the log is in the operating system's hands afterwards, which takes microseconds.
fn append(shared: &SiteShared, taken: &Taken, catalogue: Option<&crate::site::Catalogue>) -> Result<Appended, StoreError> {
    if let Some(c) = catalogue {
        shared.store.put_catalogue(shared.id(), c)?;
        if let Some(mirror) = &shared.mirror {
            mirror.catalogue_changed(shared.id());
        }
    }
    let appended = match taken.readings.as_slice() {
        [] => Appended::default(),
        readings => shared.store.append(shared.id(), readings)?,
    };
    if let Some(mirror) = &shared.mirror {
        mirror.take(shared.id(), &taken.readings, appended.duplicates)?;
    }
    for job in &taken.jobs {
        shared.store.put_record("job", shared.id(), job.start, &job.id, &serde_json::to_vec(job).unwrap_or_default())?;
    }
    Ok(appended)
}

/// Mirror first: what the store has after a loss of power, the mirror's queue has too.
fn sync(shared: &SiteShared) -> Result<(), StoreError> {
    if let Some(mirror) = &shared.mirror {
        mirror.sync()?;
    }
    shared.store.sync()
}

/// Takes charge between two heartbeats of the plant: renews what is asked for, and answers the newest one, which may have
/// found nobody.
async fn assume(shared: &SiteShared) {
    let last = shared.last_beat.load(Ordering::Relaxed);
    if last > 0 {
        let taken = Taken { heartbeats: vec![Timestamp(last)], ..Taken::default() };
        think(shared, &taken).await;
    }
}

/// Takes the site's clock forward: requests first, then what was learnt, then the echo of the newest heartbeat.
async fn think(shared: &SiteShared, taken: &Taken) {
    if let Some(newest) = taken.heartbeats.last() {
        shared.last_beat.store(newest.0, Ordering::Relaxed);
    }
    let Some((now, beat, job)) = beat(shared, taken) else { return };
    learn(shared, job).await;
    echo(shared, taken, now);
    if beat.ticked {
        for event in &beat.mode_events {
            tracing::info!(site = shared.id(), "{} -> {}: {}", event.from, event.to, event.why);
        }
        if let Some(why) = &beat.waits_for {
            tracing::warn!(site = shared.id(), "not controlled yet: {why}");
        }
        record(shared, &beat, now);
        if !beat.requests.is_empty() {
            kept_orders::keep(shared.store.as_ref(), &shared.site, &shared.core().brain.controller);
        }
        shared.changed();
    }
}

/// One beat under the lock: the brain, its requests, and a fit that is due.
fn beat(shared: &SiteShared, taken: &Taken) -> Option<(Timestamp, super::brain::Beat, Option<FitJob>)> {
    let mut guard = shared.core();
    let core = &mut *guard;
    let now = match shared.site.bus.clock {
        ClockSource::Bms => taken.heartbeats.last().copied(),
        ClockSource::Host | ClockSource::Data => core.ingest.clock().filter(|c| {
            let last = core.brain.journal.last.as_ref().map_or(Timestamp::MIN, |r| r.at);
            *c - last >= Span::seconds(10)
        }),
    }?;
    let Core { ingest, brain } = core;
    if let (ClockSource::Bms, [earlier @ .., _]) = (shared.site.bus.clock, taken.heartbeats.as_slice()) {
        brain.passed(earlier);
    }
    let latest = |id| ingest.good(id).copied();
    let beat = brain.beat(now, ingest.catalogue(), &latest, shared.broker_up(), &shared.tally);
    let idle = shared.pending_fit.lock().unwrap_or_else(|e| e.into_inner()).is_none();
    let job = if beat.ticked && idle { brain.learner.job(brain.model.as_ref()) } else { None };
    shared.publish_requests(core, &beat.requests, now);
    Some((now, beat, job))
}

/// Runs a fit beside this task, waits for it a while, and takes in what is done.
async fn learn(shared: &SiteShared, job: Option<FitJob>) {
    let before = shared.pending_fit.lock().unwrap_or_else(|e| e.into_inner()).take();
    let Some(mut fit) = before.or_else(|| job.map(|j| tokio::task::spawn_blocking(move || j.run()))) else { return };
    match tokio::time::timeout(FIT_WAIT, &mut fit).await {
        Err(_) => *shared.pending_fit.lock().unwrap_or_else(|e| e.into_inner()) = Some(fit),
        Ok(done) => {
            let candidate = done.unwrap_or_else(|e| Err(format!("the fit stopped: {e}")));
            let mut core = shared.core();
            let brain = &mut core.brain;
            if let Some(model) = brain.learner.judge(candidate, brain.model.as_ref()) {
                brain.model = Some(model);
                brain.drift = Default::default();
            }
            tracing::info!(site = shared.id(), "plant model {}", brain.learner.word);
        }
    }
}

/// Tells the building management system that everything up to its heartbeat is taken in.
fn echo(shared: &SiteShared, taken: &Taken, now: Timestamp) {
    let Some(echoed) = taken.heartbeats.last() else { return };
    let Some(writer) = shared.charge.writer() else { return };
    let core = shared.core();
    let us = &shared.site.bus.integration;
    for (point, _) in core.ingest.our_points().filter(|(p, _)| p.point_type == "HeartbeatEchoIntegration") {
        if let Ok(out) = publish::heartbeat(point, us, *echoed, now) {
            let _ = writer.send(out);
        }
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
    if let Some(e) = &beat.entry {
        put("ledger", &e.recommendation, serde_json::to_vec(e).unwrap_or_default());
    }
    for (i, event) in beat.mode_events.iter().enumerate() {
        put("mode", &format!("{}-{i}", now.0), serde_json::to_vec(event).unwrap_or_default());
    }
}
