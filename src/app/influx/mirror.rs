//! The mirror: takes what the store has, queues it on disk, sends it to InfluxDB 2 from a thread of its own.
//!
//! ```text
//! site task: store.append ─► Mirror::take ─► outbox           thread: outbox ─► lines ─► POST ─► cursor
//! ```
//!
//! What an answer leads to: written → the cursor moves; 429, 503 → as long as `Retry-After` says; no answer, 5xx → again
//! after a pause that doubles up to a minute; 401, 403, 404, other 4xx → again every minute, since somebody must mend
//! something; 413 → half as many lines; 400, 422 → halves, until the refused line stands alone: it is logged, counted and
//! left out (the embedded store keeps it), and the queue goes on.
//! Invariants: nothing is sent before the store has it; a crash between store and outbox is made good at the next start by a
//! look at the store ([`Mirror::reconcile`]); the thread holds one batch in memory; an outage stops neither intake nor page.

use super::settings::InfluxSettings;
use crate::app::site_task::host_now;
use crate::event::{INFLUX_DROPPED, INFLUX_ERRORS, INFLUX_REFUSED, INFLUX_WRITTEN, Tally};
use crate::influx::write::{WriteFault, Writer};
use crate::influx::{Outbox, Target, line};
use crate::reading::Reading;
use crate::store::{Row, Store, StoreError};
use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_LONGEST: Duration = Duration::from_secs(60);
/// The store is looked at from so long before the queue's newest reading.
const RECONCILE_BEFORE: Span = Span::minutes(1);
/// Name of the file that says from when on the queue is being compared with the store.
const RECONCILING: &str = "reconciling";

/// How the mirror stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MirrorState {
    /// `idle` (nothing has been sent yet), `up`, `waiting` (it comes back by itself) or `refused` (somebody must mend something).
    pub state: &'static str,
    /// Why it is not up.
    pub why: String,
    /// Host time since when it is so.
    pub since: Option<Timestamp>,
    /// Readings written since the start.
    pub written: u64,
    /// Readings that the server refused for good, and why the newest of them.
    pub refused: u64,
    pub refused_why: String,
    /// Host time of the newest success.
    pub written_at: Option<Timestamp>,
    /// Newest site time that the server has, by site.
    pub newest: BTreeMap<String, Timestamp>,
}

struct Shared {
    state: MirrorState,
    stop: bool,
    news: bool,
}

/// See the module's text.
pub struct Mirror {
    outbox: Outbox,
    writer: Writer,
    pub target: Target,
    batch: usize,
    linger: Duration,
    /// From when on the store is compared with the queue at the start, by site.
    compare_from: BTreeMap<String, Timestamp>,
    store: Arc<dyn Store>,
    tally: Arc<Tally>,
    shared: Mutex<Shared>,
    wake: Condvar,
    /// Measurement and tags by site and point; emptied when a site's catalogue changes.
    heads: Mutex<HashMap<String, Vec<String>>>,
}

/// The lines of one request, each with its site and time.
#[derive(Default)]
struct Lines {
    text: String,
    ends: Vec<usize>,
    newest: BTreeMap<String, Timestamp>,
}

impl Lines {
    fn of(&self, from: usize, to: usize) -> &str {
        let begin = from.checked_sub(1).map_or(0, |i| self.ends[i]);
        &self.text[begin..self.ends[to - 1]]
    }
}

impl Mirror {
    /// Opens the queue in `data_dir`; `sites` are all that will be taken.
    pub fn open(
        settings: &InfluxSettings,
        target: Target,
        data_dir: &Path,
        sites: Vec<String>,
        store: Arc<dyn Store>,
        tally: Arc<Tally>,
    ) -> Result<Mirror, String> {
        let dir = data_dir.join("influx");
        let outbox = Outbox::open(&dir, (settings.backlog_gib * (1u64 << 30) as f64) as u64)
            .map_err(|e| format!("{}: the queue of the InfluxDB mirror cannot be opened: {e}; make the folder writable", dir.display()))?;
        let writer = Writer::new(target.clone())?;
        let compare_from = compare_from(&outbox, &sites).map_err(|e| format!("{}: {e}", dir.display()))?;
        Ok(Mirror {
            outbox,
            writer,
            target,
            batch: settings.batch,
            linger: Duration::from_secs_f64(settings.linger_s),
            compare_from,
            store,
            tally,
            shared: Mutex::new(Shared {
                state: MirrorState { state: "idle", since: Some(host_now()), ..MirrorState::default() },
                stop: false,
                news: false,
            }),
            wake: Condvar::new(),
            heads: Mutex::default(),
        })
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn state(&self) -> MirrorState {
        self.shared().state.clone()
    }
    pub fn waiting_bytes(&self) -> u64 {
        self.outbox.waiting_bytes()
    }
    pub fn dropped(&self) -> u64 {
        self.outbox.dropped()
    }

    /// Queues readings that the store has just been given; `duplicates` of them were there before and may differ: of those
    /// that the store keeps another value for, the store's counts.
    pub fn take(&self, site: &str, readings: &[Reading], duplicates: u64) -> Result<(), StoreError> {
        let dropped = self.outbox.dropped();
        let queued = if duplicates == 0 {
            self.outbox.append(site, readings)
        } else {
            let kept: Vec<Reading> = readings.iter().filter_map(|r| self.as_stored(site, r).transpose()).collect::<Result<_, _>>()?;
            self.outbox.append(site, &kept)
        };
        queued.map_err(|e| self.io(&e))?;
        self.tally.add(INFLUX_DROPPED, site, self.outbox.dropped() - dropped);
        self.shared().news = true;
        self.wake.notify_one();
        Ok(())
    }

    fn as_stored(&self, site: &str, r: &Reading) -> Result<Option<Reading>, StoreError> {
        let rows = self.store.scan(site, r.point, r.at, Timestamp(r.at.0.saturating_add(1)), usize::MAX)?;
        Ok(rows.iter().find(|row| row.stamp() == r.stamp()).map(|row| Reading { value: row.value, quality: row.quality, ..*r }))
    }

    /// As durable as the store's own readings.
    pub fn sync(&self) -> Result<(), StoreError> {
        self.outbox.sync().map_err(|e| self.io(&e))
    }

    fn io(&self, e: &std::io::Error) -> StoreError {
        StoreError::Io { dir: self.outbox.dir().to_owned(), why: format!("queue of the InfluxDB mirror: {e}") }
    }

    /// A site's points have other metadata now.
    pub fn catalogue_changed(&self, site: &str) {
        self.heads.lock().unwrap_or_else(|e| e.into_inner()).remove(site);
    }

    /// Ends the thread after the request under way.
    pub fn stop(&self) {
        self.shared().stop = true;
        self.wake.notify_all();
    }

    /// Waits for news, the end, or the time to pass. True where it is the end.
    fn pause(&self, time: Duration, until_news: bool) -> bool {
        let end = Instant::now() + time;
        let mut s = self.shared();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if s.stop || left.is_zero() || (until_news && s.news) {
                s.news = false;
                return s.stop;
            }
            s = self.wake.wait_timeout(s, left).map_or_else(|e| e.into_inner().0, |(s, _)| s);
        }
    }

    /// The thread's whole life.
    pub fn run(&self) {
        if let Err(e) = self.reconcile() {
            tracing::error!("InfluxDB mirror: the queue was not compared with the store: {e}");
        }
        if self.outbox.damaged() > 0 {
            let (bytes, dir) = (self.outbox.damaged(), self.outbox.dir().display());
            tracing::warn!(
                "InfluxDB mirror: {bytes} bytes at the end of the queue in {dir} were torn and are cut off; the store was asked for them"
            );
        }
        let mut reader = self.outbox.reader();
        let mut damaged = self.outbox.damaged();
        loop {
            if self.outbox.damaged() > damaged {
                damaged = self.outbox.damaged();
                tracing::error!(
                    "InfluxDB mirror: a damaged part of the queue was left out ({damaged} bytes so far); the embedded store has its readings"
                );
            }
            let lines = match self.gather(&mut reader) {
                Ok(lines) => lines,
                Err(e) => {
                    self.set("waiting", &format!("its queue cannot be read: {e}"));
                    if self.pause(PAUSE_LONGEST, false) {
                        return;
                    }
                    continue;
                }
            };
            if lines.ends.is_empty() {
                if self.pause(Duration::from_secs(1), true) {
                    return;
                }
                continue;
            }
            if !self.send(&lines, 0, lines.ends.len()) {
                return;
            }
            if let Err(e) = reader.done() {
                tracing::error!("InfluxDB mirror: cursor not filed: {e}; what was sent is sent again after a restart");
            }
            let mut s = self.shared();
            for (site, at) in lines.newest {
                let newest = s.state.newest.entry(site).or_insert(at);
                *newest = (*newest).max(at);
            }
        }
    }

    /// Lines of at least one record, up to about a batch; waits a little for more.
    fn gather(&self, reader: &mut crate::influx::OutboxReader<'_>) -> std::io::Result<Lines> {
        let mut lines = Lines::default();
        let begin = Instant::now();
        while lines.ends.len() < self.batch {
            match reader.read()? {
                Some(batch) => self.add(&mut lines, &batch.site, &batch.readings),
                None if lines.ends.is_empty() => break,
                None => {
                    let left = self.linger.saturating_sub(begin.elapsed());
                    if left.is_zero() || self.pause(left, true) {
                        break;
                    }
                }
            }
        }
        Ok(lines)
    }

    fn add(&self, lines: &mut Lines, site: &str, readings: &[Reading]) {
        let mut all = self.heads.lock().unwrap_or_else(|e| e.into_inner());
        let known = all.get(site).map_or(0, Vec::len);
        if readings.iter().any(|r| r.point.0 as usize >= known) {
            match self.store.catalogue(site) {
                Ok(c) => {
                    all.insert(site.to_owned(), c.iter().map(|p| line::head(site, p)).collect());
                }
                Err(e) => tracing::error!("InfluxDB mirror: {e}"),
            }
        }
        let Some(heads) = all.get(site) else { return };
        for r in readings {
            let Some(head) = heads.get(r.point.0 as usize) else { continue };
            if line::push(&mut lines.text, head, r.stamp(), r.value, r.quality) {
                lines.ends.push(lines.text.len());
                let newest = lines.newest.entry(site.to_owned()).or_insert(r.at);
                *newest = (*newest).max(r.at);
            } else {
                self.tally.add(INFLUX_REFUSED, "timestamp without nanoseconds", 1);
            }
        }
    }

    /// Sends lines until they are written or left out. False = stop.
    fn send(&self, lines: &Lines, from: usize, to: usize) -> bool {
        let mut pause = PAUSE_FIRST;
        loop {
            let fault = match self.writer.write(lines.of(from, to), host_now()) {
                Ok(()) => {
                    self.tally.add(INFLUX_WRITTEN, &self.target.bucket, (to - from) as u64);
                    self.set("up", "");
                    let mut s = self.shared();
                    s.state.written += (to - from) as u64;
                    s.state.written_at = Some(host_now());
                    return true;
                }
                Err(fault) => fault,
            };
            self.tally.add(INFLUX_ERRORS, &fault.label(), 1);
            let wait = match &fault {
                WriteFault::BadLine { .. } | WriteFault::TooLarge { .. } if to - from > 1 => {
                    let middle = from + (to - from) / 2;
                    return self.send(lines, from, middle) && self.send(lines, middle, to);
                }
                WriteFault::BadLine { .. } | WriteFault::TooLarge { .. } => {
                    tracing::error!("InfluxDB mirror: {fault}; left out: {}", lines.of(from, to).trim_end());
                    self.tally.add(INFLUX_REFUSED, &fault.label(), 1);
                    let mut s = self.shared();
                    s.state.refused += 1;
                    s.state.refused_why = fault.to_string();
                    return true;
                }
                WriteFault::Busy { after: Some(after), .. } => Duration::from_millis(after.0.max(100).unsigned_abs()),
                f if f.needs_a_hand() => PAUSE_LONGEST,
                _ => {
                    let now = pause;
                    pause = (pause * 2).min(PAUSE_LONGEST);
                    now
                }
            };
            self.set(if fault.needs_a_hand() { "refused" } else { "waiting" }, &fault.to_string());
            if self.pause(wait, false) {
                return false;
            }
        }
    }

    fn set(&self, state: &'static str, why: &str) {
        let mut s = self.shared();
        if s.state.state == state && s.state.why == why {
            return;
        }
        match state {
            "up" => tracing::info!("InfluxDB mirror: {:?} takes readings", self.target),
            _ => tracing::warn!("InfluxDB mirror: {why}"),
        }
        if s.state.state != state {
            s.state.since = Some(host_now());
        }
        (s.state.state, s.state.why) = (state, why.to_owned());
    }

    /// Queues what the store has beyond the queue's newest readings: the process may have died between the two, or the
    /// mirror may have been off for a while. A new queue begins with what comes.
    fn reconcile(&self) -> Result<(), String> {
        let (mark, from) = (self.outbox.dir().join(RECONCILING), &self.compare_from);
        if from.is_empty() {
            return Ok(());
        }
        std::fs::write(&mark, serde_json::to_vec(from).unwrap_or_default()).map_err(|e| e.to_string())?;
        for (site, &from) in from {
            let catalogue = self.store.catalogue(site).map_err(|e| e.to_string())?;
            for point in catalogue.iter() {
                let mut fault = Ok(());
                let mut queue = |id, rows: &[Row]| {
                    let readings: Vec<Reading> = rows.iter().map(|r| r.reading(id)).collect();
                    fault = self.outbox.append(site, &readings);
                    fault.is_ok() && !self.shared().stop
                };
                self.store.rows_each(site, &[point.id], from, Timestamp(i64::MAX), &mut queue).map_err(|e| e.to_string())?;
                fault.map_err(|e| e.to_string())?;
                if self.shared().stop {
                    return Ok(());
                }
            }
        }
        std::fs::remove_file(&mark).map_err(|e| e.to_string())
    }
}

/// From when on the store may have what the queue has not: a little before the queue's newest reading of each site, or where
/// a comparison began that was not finished. Empty for a new queue.
fn compare_from(outbox: &Outbox, sites: &[String]) -> std::io::Result<BTreeMap<String, Timestamp>> {
    let mut from = outbox.newest()?;
    for at in from.values_mut() {
        *at = *at - RECONCILE_BEFORE;
    }
    // A site that is silent beside others may have nothing in the newest segments.
    if let Some(oldest) = from.values().min().copied() {
        for site in sites {
            from.entry(site.clone()).or_insert(oldest);
        }
    }
    let unfinished: Option<BTreeMap<String, Timestamp>> =
        std::fs::read(outbox.dir().join(RECONCILING)).ok().and_then(|b| serde_json::from_slice(&b).ok());
    for (site, at) in unfinished.unwrap_or_default() {
        let f = from.entry(site).or_insert(at);
        *f = (*f).min(at);
    }
    Ok(from)
}
