//! The lease: of several services of one plant, which one is in charge; the others stand by, warm, and take over.
//!
//! ```text
//!                 released, or silent for 2.5 beats
//!   stands by ─────────────────────────────────────► connects as the writer ──► in charge: tells so each beat
//!       ▲                                                                            │
//!       └──────────── the writer's connection is lost, or another one's lease is newer┘
//! ```
//! Words: the *writer* is an MQTT client identifier that belongs to the plant, not to a process: everything that a plant takes as
//! ours (requests, heartbeats, echoes) goes out on a connection under that identifier alone. The *lease* is a retained message
//! `<integration>/lease/<site>`: who is in charge, in which *epoch*, and what a successor must know (orders, requests that are out).
//! Invariants: never do two write, whatever their clocks, pauses or networks do: a broker keeps one connection an identifier and
//! ends the older one (MQTT 3.1.1 §3.1.4, 5.0 §3.1.4), so that who takes over fences the other off at the only door to the plant; times
//! decide only *when* somebody takes over. Who loses the writer's connection lets go at once and never forces its way back: it waits for
//! the lease like any other. A crash is told by the broker (the will), a hang is seen by its silence.
//! What it cannot promise: over a clustered broker that is split, each part may keep a connection of the same name until it heals;
//! a plant hears only the part that it is connected to.

use super::site_task::{SiteShared, heartbeat, host_now};
use crate::control::Handed;
use crate::ingest::mqtt::{Delivery, LinkOptions, LinkState, MqttLink, Publisher, Will};
use crate::ingest::publish::Outgoing;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// Beats of silence after which the lease is over, in halves.
const SILENT_HALVES: u32 = 5;
/// How long a connection as the writer may take.
const CONNECT: Duration = Duration::from_secs(5);

/// `[lease]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeaseSettings {
    /// This service's own name; each of a plant's services has another.
    pub name: String,
    /// Seconds between two beats (our heartbeat among them).
    #[serde(default = "ten")]
    pub beat_s: f64,
}

fn ten() -> f64 {
    10.0
}

impl LeaseSettings {
    pub fn check(&self) -> Result<(), String> {
        if self.name.is_empty() || self.name.len() > 40 || !self.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(format!("name = {:?}: give letters, digits, `-` and `_`, at most 40; another one for each service", self.name));
        }
        if !(0.2..=60.0).contains(&self.beat_s) {
            return Err(format!("beat_s = {}: give 0.2 … 60 (the plant's integration expects 10)", self.beat_s));
        }
        Ok(())
    }

    pub fn beat(&self) -> Duration {
        Duration::from_secs_f64(self.beat_s)
    }
}

/// Who is in charge, for the API.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Standing {
    pub in_charge: bool,
    /// Empty while nobody is known to be.
    pub holder: String,
    pub epoch: u64,
}

impl Standing {
    /// What one standing by says of itself.
    pub fn text(&self) -> String {
        match self.holder.as_str() {
            "" => "stands by; nobody is known to be in charge".into(),
            name => format!("stands by; {name} is in charge (epoch {})", self.epoch),
        }
    }
}

/// Whether this service is in charge of a site, and the connection that it writes on if so.
pub struct Charge {
    writer: Mutex<Option<Publisher>>,
    /// `None`: there is no lease, we are the only one.
    standing: watch::Sender<Option<Standing>>,
    /// A successor must know something new.
    news: Notify,
}

impl Charge {
    /// In charge for good, on the site's own connection.
    pub fn alone(publisher: Publisher) -> Charge {
        Charge { writer: Mutex::new(Some(publisher)), standing: watch::channel(None).0, news: Notify::new() }
    }

    pub fn leased() -> Charge {
        Charge { writer: Mutex::default(), standing: watch::channel(Some(Standing::default())).0, news: Notify::new() }
    }

    /// The connection that requests, heartbeats and echoes go out on; `None` = another one is in charge.
    pub fn writer(&self) -> Option<Publisher> {
        self.writer.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub fn standing(&self) -> Option<Standing> {
        self.standing.borrow().clone()
    }

    /// Orders or requests have changed: they are told at once, not at the next beat.
    pub fn tell(&self) {
        self.news.notify_one();
    }

    /// Tells of every change.
    pub fn watch(&self) -> watch::Receiver<Option<Standing>> {
        self.standing.subscribe()
    }

    fn put(&self, writer: Option<Publisher>, standing: Standing) {
        *self.writer.lock().unwrap_or_else(|e| e.into_inner()) = writer;
        self.standing.send_if_modified(|s| {
            let new = Some(standing);
            let changed = *s != new;
            *s = new;
            changed
        });
    }
}

/// The lease as it goes over the bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Lease {
    /// The process: its name and when it was started.
    holder: String,
    name: String,
    epoch: u64,
    /// Nobody is in charge any more: the holder has ended, or its connection has.
    released: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    handed: Option<Handed>,
}

/// What one standing by has heard, and when it may take over.
#[derive(Clone, Debug)]
struct Heard {
    newest: Option<Lease>,
    /// When the newest lease was last renewed, or there was last reason to wait as long.
    at: Instant,
    /// Not before this, whatever is heard.
    not_before: Instant,
}

impl Heard {
    fn new(now: Instant) -> Heard {
        Heard { newest: None, at: now, not_before: now }
    }

    fn epoch(&self) -> u64 {
        self.newest.as_ref().map_or(0, |l| l.epoch)
    }

    /// Is a lease another one's of a later epoch than ours? One of the same epoch is whose connection we have ended: had it
    /// ended ours, we would not be in charge.
    fn ends_ours(&self, lease: &Lease, holder: &str) -> bool {
        lease.holder != holder && lease.epoch > self.epoch()
    }

    /// Takes in a lease; older ones (a will that comes late) are passed over.
    fn take(&mut self, lease: Lease, now: Instant) {
        if lease.epoch < self.epoch() {
            return;
        }
        let same = self.newest.as_ref().is_some_and(|l| (l.epoch, &l.holder) == (lease.epoch, &lease.holder));
        if lease.released && lease.epoch == self.epoch() && !same && self.newest.is_some() {
            return;
        }
        if !lease.released {
            self.at = now;
        }
        let handed = lease.handed.clone().or_else(|| if same { self.newest.as_ref()?.handed.clone() } else { None });
        self.newest = Some(Lease { handed, ..lease });
    }

    /// May who stands by take over now?
    fn is_free(&self, now: Instant, beat: Duration) -> bool {
        let released = self.newest.as_ref().is_some_and(|l| l.released);
        now >= self.not_before && (released || now - self.at >= beat * SILENT_HALVES / 2)
    }
}

/// What the task of a site's lease needs.
pub struct LeaseTask {
    pub shared: Arc<SiteShared>,
    pub settings: LeaseSettings,
    /// How to reach the broker; identifiers and filters are set here.
    pub link: LinkOptions,
}

/// The connection under the writer's identifier.
struct Writer {
    publisher: Publisher,
    state: watch::Receiver<LinkState>,
    /// Dropped = the connection ends.
    _inbox: mpsc::Receiver<Delivery>,
    task: JoinHandle<()>,
}

impl LeaseTask {
    fn us(&self) -> &str {
        &self.shared.site.bus.integration
    }

    fn topic(&self) -> String {
        format!("{}/lease/{}", self.us(), self.shared.id())
    }

    fn text(&self, holder: &str, epoch: u64, released: bool, handed: Option<Handed>) -> Vec<u8> {
        let lease = Lease { holder: holder.into(), name: self.settings.name.clone(), epoch, released, handed };
        serde_json::to_vec(&lease).unwrap_or_default()
    }

    fn say(&self, writer: &Publisher, holder: &str, epoch: u64, released: bool) {
        let handed = self.shared.core().brain.controller.handed();
        let out = Outgoing { topic: self.topic(), payload: self.text(holder, epoch, released, Some(handed)) };
        if let Err(e) = writer.retain(out) {
            tracing::debug!(site = self.shared.id(), "lease not told: {e}");
        }
    }

    /// Watches the lease until `stop`.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let holder = format!("{}-{}-{}", self.settings.name, std::process::id(), host_now().0);
        let beat = self.settings.beat();
        let mut o = self.link.clone();
        (o.client_id, o.filters) = (format!("{}-lease", self.link.client_id), vec![self.topic()]);
        (o.clean_session, o.at_least_once, o.shared_group) = (true, false, None);
        (o.retry_longest, o.gather) = (beat / 2, Duration::ZERO);
        let (tx, mut inbox) = mpsc::channel(1);
        let (link, _publisher, mut state) = MqttLink::new(o, self.us(), tx);
        let link = tokio::spawn(link.run(host_now));
        let mut heard = Heard::new(Instant::now());
        let mut writer: Option<Writer> = None;
        let mut beats = tokio::time::interval(beat);
        let mut looks = tokio::time::interval(beat / 20);
        for i in [&mut beats, &mut looks] {
            i.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        }
        self.shared.core().brain.controller.stand_by();
        loop {
            let mut up = writer.as_ref().map(|w| w.state.clone());
            let lost = async {
                match &mut up {
                    Some(state) => drop(state.wait_for(|s| !matches!(s, LinkState::Up { .. })).await),
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = stop.changed() => break,
                () = lost => {
                    tracing::warn!(site = self.shared.id(), "the writer's connection is lost: standing by");
                    heard.not_before = Instant::now() + beat;
                    self.let_go(&mut writer, &mut heard);
                }
                delivery = inbox.recv() => {
                    let Some(delivery) = delivery else { break };
                    for p in &delivery.packets {
                        match serde_json::from_slice::<Lease>(&p.payload) {
                            // In charge, we hear ourselves, who was it before, and nobody else.
                            Ok(lease) if writer.is_some() && !heard.ends_ours(&lease, &holder) => {}
                            Ok(lease) => heard.take(lease, Instant::now()),
                            Err(e) => tracing::warn!(site = self.shared.id(), "{}: no lease: {e}", p.topic),
                        }
                    }
                    let _ = delivery.receipt.acknowledge();
                    let newer = heard.newest.as_ref().filter(|l| !l.released && l.holder != holder);
                    if writer.is_some() && newer.is_some() {
                        tracing::error!(site = self.shared.id(), "another service is in charge although this one's connection stands: standing by");
                        self.let_go(&mut writer, &mut heard);
                    } else if writer.is_none() {
                        self.show(&heard);
                    }
                }
                Ok(()) = state.changed() => {
                    if matches!(*state.borrow_and_update(), LinkState::Up { .. }) && writer.is_none() {
                        // Whoever is in charge gets the time to say so.
                        heard.at = Instant::now();
                    }
                }
                _ = beats.tick(), if writer.is_some() => {
                    if let Some(w) = &writer {
                        self.say(&w.publisher, &holder, heard.epoch(), false);
                        heartbeat(&self.shared);
                    }
                }
                () = self.shared.charge.news.notified(), if writer.is_some() => {
                    if let Some(w) = &writer {
                        self.say(&w.publisher, &holder, heard.epoch(), false);
                    }
                }
                _ = looks.tick(), if writer.is_none() => {
                    let up = matches!(*state.borrow(), LinkState::Up { .. });
                    if up && heard.is_free(Instant::now(), beat) {
                        writer = self.acquire(&holder, &mut heard, beat).await;
                        beats.reset();
                    }
                }
            }
        }
        if let Some(w) = writer {
            self.say(&w.publisher, &holder, heard.epoch(), true);
            self.shared.charge.put(None, Standing::default());
            end(w).await;
        }
        drop(inbox);
        let _ = tokio::time::timeout(Duration::from_secs(1), link).await;
    }

    /// Connects as the writer, which ends the connection of whoever was it, and takes charge.
    async fn acquire(&self, holder: &str, heard: &mut Heard, beat: Duration) -> Option<Writer> {
        let epoch = heard.epoch() + 1;
        let mut o = self.link.clone();
        (o.client_id, o.filters, o.clean_session) = (format!("tramuntana-writer-{}-{}", self.us(), self.shared.id()), vec![], true);
        o.will = Some(Will { topic: self.topic(), payload: self.text(holder, epoch, true, None) });
        // A lost connection is not made again by the link: that would force another one out.
        (o.retry_first, o.retry_longest) = (Duration::from_secs(3600), Duration::from_secs(3600));
        let (tx, inbox) = mpsc::channel(1);
        let (link, publisher, mut state) = MqttLink::new(o, self.us(), tx);
        let task = tokio::spawn(link.run(host_now));
        let settled = tokio::time::timeout(CONNECT, state.wait_for(|s| !matches!(s, LinkState::Connecting))).await;
        let up = settled.is_ok_and(|s| s.is_ok_and(|s| matches!(*s, LinkState::Up { .. })));
        let w = Writer { publisher, state, _inbox: inbox, task };
        if !up {
            tracing::warn!(site = self.shared.id(), "not taken over: the broker does not take the writer's connection");
            heard.not_before = Instant::now() + beat;
            w.task.abort();
            return None;
        }
        let before = heard.newest.take();
        let handed = before.as_ref().and_then(|l| l.handed.clone());
        let from = before.map_or_else(|| "nobody".to_owned(), |l| l.name);
        heard.take(Lease { holder: holder.into(), name: self.settings.name.clone(), epoch, released: false, handed: None }, Instant::now());
        {
            let mut core = self.shared.core();
            // Where the newest heartbeat has its answer already, the next one is early enough.
            let last = self.shared.last_beat.load(Ordering::Relaxed);
            let answered = handed.as_ref().is_some_and(|h| h.asked.iter().any(|(_, at, _)| at.0 >= last));
            core.brain.controller.take_over(handed);
            if !answered {
                core.brain.tick_next();
            }
        }
        self.say(&w.publisher, holder, epoch, false);
        self.shared.charge.put(Some(w.publisher.clone()), Standing { in_charge: true, holder: self.settings.name.clone(), epoch });
        heartbeat(&self.shared);
        tracing::info!(site = self.shared.id(), "in charge (epoch {epoch}), after {from}");
        self.shared.changed();
        Some(w)
    }

    fn let_go(&self, writer: &mut Option<Writer>, heard: &mut Heard) {
        heard.at = Instant::now();
        self.shared.core().brain.controller.stand_by();
        self.show(heard);
        if let Some(w) = writer.take() {
            w.task.abort();
        }
        self.shared.changed();
    }

    fn show(&self, heard: &Heard) {
        let holder = heard.newest.as_ref().filter(|l| !l.released).map_or_else(String::new, |l| l.name.clone());
        self.shared.charge.put(None, Standing { in_charge: false, holder, epoch: heard.epoch() });
    }
}

/// Lets what waits go out, then ends the connection in order, so that the broker does not take it for a loss.
async fn end(w: Writer) {
    let Writer { _inbox, task, publisher, .. } = w;
    for _ in 0..50 {
        if publisher.waiting_bytes() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    drop(_inbox);
    let _ = tokio::time::timeout(Duration::from_secs(1), task).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, epoch: u64, released: bool) -> Lease {
        Lease { holder: holder.into(), name: holder.into(), epoch, released, handed: None }
    }

    #[test]
    fn who_stands_by_waits_for_silence_or_a_release_of_the_newest() {
        let (t, beat) = (Instant::now(), Duration::from_secs(10));
        let after = |s| t + Duration::from_secs(s);
        let mut h = Heard::new(t);
        assert!(!h.is_free(after(24), beat) && h.is_free(after(25), beat), "silent from the start");
        h.take(lease("a", 3, false), after(20));
        assert!(!h.is_free(after(44), beat) && h.is_free(after(45), beat));
        h.take(lease("b", 2, true), after(21));
        assert!(!h.is_free(after(22), beat), "a will of an epoch that is over");
        h.take(lease("b", 3, true), after(21));
        assert!(!h.is_free(after(22), beat), "another one's will");
        h.take(lease("a", 3, true), after(23));
        assert!(h.is_free(after(23), beat));
        h.not_before = after(33);
        assert!(!h.is_free(after(32), beat) && h.is_free(after(33), beat), "who was pushed out lets others go first");
        h.take(lease("b", 4, false), after(34));
        assert!(!h.is_free(after(35), beat));
        // In charge in epoch 4: one that took it in the same epoch has lost its connection to us, one of a later epoch has ours.
        assert!(
            !h.ends_ours(&lease("a", 4, false), "b") && !h.ends_ours(&lease("b", 5, false), "b") && h.ends_ours(&lease("a", 5, false), "b")
        );
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let settings = |name: &str, beat_s| LeaseSettings { name: name.into(), beat_s }.check();
        assert!(settings("a", 10.0).is_ok());
        assert!(
            settings("", 10.0).is_err()
                && settings("a/b", 10.0).is_err()
                && settings("a", f64::NAN).is_err()
                && settings("a", 0.0).is_err()
        );
    }
}
