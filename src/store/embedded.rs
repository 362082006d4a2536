//! The store in this process: fjall for the hot rows and records, Parquet for sealed days.
//!
//! Layout of the directory: `FORMAT` (one line), `LOCK` (held by the process that has it open), `hot/` (fjall and its
//! log), `sealed/<site>/` (Parquet, see [`super::sealed`]).
//! A reading newer than everything known of its point is new without a look at the disk; any other is looked up.
//! A late row of a sealed day stays hot until the day is sealed again; reading prefers the sealed row, so that a
//! (point, timestamp) is still seen once.
//! A full disk: writing stops with [`RESERVE_BYTES`] still free, so that what is open stays whole; where it filled up all
//! the same, the key-value store is opened again as soon as there is room, and the head is made again from its log.

use super::head::{Head, Waiting, place};
use super::hot::{ChunkName, Hot};
use super::retain::{Expired, Keep};
use super::sealed::{Sealed, Tier};
use super::{Appended, Record, Row, Step, Store, StoreError, StoreStats, codec, keys};
use crate::reading::{PointId, Reading};
use crate::site::{Catalogue, POINTS_MAX, Point};
use crate::time::{Span, Stamp, Timestamp};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

/// The mark of the directory's format, in its file `FORMAT`: a name and a number that grows with each change of what lies there.
pub const FORMAT: &str = "tramuntana-store 2";
/// Rows of the head that make it be flushed into chunks, and the log's bytes and entries that do: so many a point of all sites (where chunks
/// have stopped getting denser, and a vector that doubles is nearly full), within these bounds.
const HEAD_ROWS_A_POINT: usize = 240;
const HEAD_ROWS_MIN: usize = 1 << 16;
pub const HEAD_ROWS: usize = 1 << 20;
const LOG_BYTES: usize = 24 << 20;
const LOG_ENTRIES: u64 = 16_384;
/// Writing stops where the file system has less than this left.
pub const RESERVE_BYTES: u64 = 32 << 20;
/// Free space is looked at again after so many bytes.
const ROOM_BYTES: usize = 1 << 20;

/// What is remembered of a site between two calls.
pub(super) struct SiteState {
    pub number: u16,
    pub points: Vec<Point>,
}

/// What appends change.
#[derive(Default)]
pub(super) struct State {
    pub sites: BTreeMap<String, SiteState>,
    pub head: Head,
    /// Numbers of the log entries whose rows are in the head.
    logged: std::ops::Range<u64>,
    logged_bytes: usize,
    /// Bytes written since free space was looked at.
    unchecked_bytes: usize,
    /// Why the key-value store must be opened again before anything is written.
    broken: Option<String>,
}

/// See the module's text.
pub struct Embedded {
    pub(super) dir: PathBuf,
    /// `None` between a failure and the next opening.
    hot: Mutex<Option<Arc<Hot>>>,
    pub(super) sealed: Sealed,
    state: Mutex<State>,
    stored: AtomicU64,
    duplicates: AtomicU64,
    /// Dropped last: the directory is free once the key-value store is closed.
    _lock: std::fs::File,
}

/// Takes the directory's lock. A child process that is being started holds a copy of an earlier handle until it has become
/// its own program: that passes within milliseconds, so a few tries are made.
fn take_lock(lock: &std::fs::File) -> Result<(), std::fs::TryLockError> {
    for _ in 0..20 {
        match lock.try_lock() {
            Err(std::fs::TryLockError::WouldBlock) => std::thread::sleep(std::time::Duration::from_millis(10)),
            other => return other,
        }
    }
    lock.try_lock()
}

impl Embedded {
    /// Opens a data directory, or makes one.
    pub fn open(dir: &Path) -> Result<Embedded, StoreError> {
        let io = |e: std::io::Error| match StoreError::io(dir, &e) {
            StoreError::Io { dir, why } => StoreError::NotWritable { dir, why },
            other => other,
        };
        std::fs::create_dir_all(dir).map_err(io)?;
        let lock = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(dir.join("LOCK")).map_err(io)?;
        take_lock(&lock).map_err(|e| match e {
            std::fs::TryLockError::WouldBlock => StoreError::Locked { dir: dir.into() },
            std::fs::TryLockError::Error(e) => io(e),
        })?;
        let marker = dir.join("FORMAT");
        match std::fs::read_to_string(&marker) {
            Ok(found) if found.trim() == FORMAT => {}
            Ok(found) if !found.trim().is_empty() => {
                return Err(StoreError::Format { dir: dir.into(), found: found.trim().chars().take(80).collect(), expected: FORMAT });
            }
            // Absent or cut short by a crash in the very first moment.
            Ok(_) => std::fs::write(&marker, format!("{FORMAT}\n")).map_err(io)?,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => std::fs::write(&marker, format!("{FORMAT}\n")).map_err(io)?,
            Err(e) => return Err(io(e)),
        }
        let hot = Hot::open(dir)?;
        let mut state = State { unchecked_bytes: ROOM_BYTES, ..State::default() };
        state.replay(&hot)?;
        Ok(Embedded {
            hot: Mutex::new(Some(Arc::new(hot))),
            sealed: Sealed::new(dir),
            dir: dir.into(),
            state: Mutex::new(state),
            stored: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            _lock: lock,
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// The key-value store for reading.
    pub(super) fn hot(&self) -> Result<Arc<Hot>, StoreError> {
        let hot = self.hot.lock().unwrap_or_else(|e| e.into_inner());
        hot.clone().ok_or_else(|| StoreError::Stopped { dir: self.dir.clone() })
    }

    /// The key-value store for writing: opened again where it failed before, refused where the disk is nearly full.
    fn writable(&self, state: &mut State) -> Result<Arc<Hot>, StoreError> {
        if state.unchecked_bytes >= ROOM_BYTES || state.broken.is_some() {
            self.room()?;
            state.unchecked_bytes = 0;
        }
        let Some(why) = &state.broken else { return self.hot() };
        let mut slot = self.hot.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(open) = slot.take() {
            match Arc::try_unwrap(open) {
                Ok(closed) => drop(closed),
                // A query still reads from it.
                Err(busy) => {
                    *slot = Some(busy);
                    return Err(StoreError::Failed { dir: self.dir.clone(), why: why.clone() });
                }
            }
        }
        let hot = Arc::new(Hot::open(&self.dir)?);
        state.replay(&hot)?;
        state.broken = None;
        *slot = Some(Arc::clone(&hot));
        Ok(hot)
    }

    /// Is there room to write?
    fn room(&self) -> Result<(), StoreError> {
        let free = free_bytes(&self.dir).unwrap_or(u64::MAX);
        if free < RESERVE_BYTES {
            let why = format!("{} MiB free, {} MiB are kept for what is open", free >> 20, RESERVE_BYTES >> 20);
            return Err(StoreError::Full { dir: self.dir.clone(), why });
        }
        Ok(())
    }

    /// Remembers a failed write: the key-value store takes no more until it was opened again.
    fn failed(&self, state: &mut State, e: StoreError) -> StoreError {
        state.broken = Some(e.to_string());
        // Free space is looked at before the next attempt.
        match e {
            StoreError::Stopped { dir } => StoreError::Failed { dir, why: "an earlier write failed".into() },
            other => other,
        }
    }

    /// Writes by `f` on the open key-value store.
    fn write<T>(&self, state: &mut State, f: impl FnOnce(&Hot, &mut State) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let hot = self.writable(state)?;
        f(&hot, state).map_err(|e| if matches!(e, StoreError::Refused { .. }) { e } else { self.failed(state, e) })
    }

    /// Runs `f` with what is remembered of a site; a new site gets the next number.
    pub(super) fn with_site<T>(
        &self,
        site: &str,
        f: impl FnOnce(&mut State, u16, usize) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        if site.is_empty() || site.len() > 64 || !site.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(StoreError::Refused { what: format!("site {site:?}"), why: "use letters, digits, `-` and `_` only" });
        }
        let mut state = self.state();
        if !state.sites.contains_key(site) {
            let hot = self.hot()?;
            let loaded = match load_site(&hot, site, &self.dir)? {
                Some(loaded) => loaded,
                None => self.write(&mut state, |hot, _| new_site(hot, site))?,
            };
            state.sites.insert(site.to_owned(), loaded);
        }
        let (number, points) = state.sites.get(site).map_or((0, 0), |s| (s.number, s.points.len()));
        f(&mut state, number, points)
    }

    /// Names of the sites that the directory holds.
    pub fn sites(&self) -> Result<Vec<String>, StoreError> {
        let hot = self.hot()?;
        let name = |g: fjall::Guard| g.key().map_err(|e| hot.fault(&e)).map(|k| String::from_utf8_lossy(&k[SITE.len()..]).into_owned());
        hot.meta.prefix(SITE).map(name).collect()
    }

    /// Days of a site that have hot rows, in order: what can be sealed once it is over.
    pub fn hot_days(&self, site: &str) -> Result<Vec<String>, StoreError> {
        let hot = self.hot()?;
        let mut days = BTreeSet::new();
        let (number, points) = self.with_site(site, |state, number, points| {
            for w in state.head.of(number, points).iter() {
                days.extend(w.rows.iter().map(|r| r.at.day_start()).chain(w.late.keys().map(|t| t.at.day_start())));
            }
            Ok((number, points as u32))
        })?;
        (0..points).try_for_each(|p| hot.days(number, PointId(p), &mut days))?;
        Ok(days.into_iter().map(Timestamp::day).collect())
    }

    /// Moves the head into chunks now.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let mut state = self.state();
        self.write(&mut state, flush)
    }

    /// Removes chunks that are sealed, where they have not changed since.
    pub(super) fn forget(&self, chunks: &[(ChunkName, usize)]) -> Result<(), StoreError> {
        for part in chunks.chunks(4096) {
            let mut state = self.state();
            self.write(&mut state, |hot, _| hot.remove_unchanged(part))?;
        }
        Ok(())
    }

    /// Rewrites the hot store without what was removed.
    pub fn compact(&self) -> Result<(), StoreError> {
        self.flush()?;
        self.hot()?.compact()
    }
}

const SITE: &str = "site/";

fn load_site(hot: &Hot, site: &str, dir: &Path) -> Result<Option<SiteState>, StoreError> {
    let damaged = |why: String| StoreError::Damaged { dir: dir.into(), why };
    let name = format!("{SITE}{site}");
    let Some(bytes) = hot.meta.get(&name).map_err(|e| hot.fault(&e))? else { return Ok(None) };
    let number = u16::from_be_bytes(<[u8; 2]>::try_from(&bytes[..]).map_err(|_| damaged(format!("{name} has {} bytes", bytes.len())))?);
    let mut points = Vec::new();
    for guard in hot.meta.prefix(point_head(number)) {
        let (_, json) = guard.into_inner().map_err(|e| hot.fault(&e))?;
        let point: Point = serde_json::from_slice(&json).map_err(|e| damaged(format!("point of {site}: {e}")))?;
        if point.id.0 as usize != points.len() {
            return Err(damaged(format!("points of {site}: number {} is missing", points.len())));
        }
        points.push(point);
    }
    Ok(Some(SiteState { number, points }))
}

fn new_site(hot: &Hot, site: &str) -> Result<SiteState, StoreError> {
    let taken = hot.meta.prefix(SITE).count();
    let number = u16::try_from(taken)
        .map_err(|_| StoreError::Refused { what: format!("site {site:?}"), why: "the directory has 65,536 sites already" })?;
    hot.put(&hot.meta, format!("{SITE}{site}").into_bytes(), &number.to_be_bytes())?;
    Ok(SiteState { number, points: Vec::new() })
}

fn point_head(site: u16) -> Vec<u8> {
    let mut key = b"point/".to_vec();
    key.extend_from_slice(&site.to_be_bytes());
    key
}

/// Bytes that this process may still write on a directory's file system.
pub fn free_bytes(dir: &Path) -> Option<u64> {
    let s = rustix::fs::statvfs(dir).ok()?;
    Some(s.f_bavail * s.f_frsize)
}

/// Adds entries up to a limit; true where there is room for more.
fn fill<T: Copy>(out: &mut Vec<T>, part: &[T], limit: usize) -> bool {
    out.extend_from_slice(&part[..part.len().min(limit - out.len())]);
    out.len() < limit
}

/// Newest time known of a point.
fn newest(hot: &Hot, w: &mut Waiting, site: u16, point: PointId) -> Result<Stamp, StoreError> {
    if let Some(t) = w.newest {
        return Ok(t);
    }
    // Rows in order are newer than every chunk; late ones are older than something.
    let t = match w.rows.last() {
        Some(r) => r.stamp(),
        None => hot.newest(site, point)?,
    };
    w.newest = Some(t);
    Ok(t)
}

impl State {
    /// Rows that the head may have. A small site's head that grew for half a day would be memory that only grows, and a long way back after a crash.
    fn head_rows(&self) -> usize {
        let points: usize = self.sites.values().map(|s| s.points.len()).sum();
        (points * HEAD_ROWS_A_POINT).clamp(HEAD_ROWS_MIN, HEAD_ROWS)
    }

    /// Makes the head again from the log.
    fn replay(&mut self, hot: &Hot) -> Result<(), StoreError> {
        self.head = Head::default();
        let head = &mut self.head;
        self.logged = hot.replay(|site, readings| {
            let points = readings.iter().map(|r| r.point.0 as usize + 1).max().unwrap_or(0);
            if points > POINTS_MAX {
                return Err(hot.damaged("a log entry of a point that no site can have"));
            }
            let waiting = head.of(site, points);
            for r in &readings {
                let w = place(waiting, r.point);
                if r.stamp() > newest(hot, w, site, r.point)? { w.push(r) } else { w.push_late(r) }
            }
            head.rows += readings.len();
            Ok(())
        })?;
        self.logged_bytes = 0;
        Ok(())
    }

    /// Puts the readings that are new into the head and into `new`; returns the number of the others. After an error,
    /// `new` tells what must be given back.
    fn take(&mut self, hot: &Hot, site: u16, points: usize, readings: &[Reading], new: &mut Vec<Reading>) -> Result<u64, StoreError> {
        let result = take_into(self.head.of(site, points), hot, site, readings, new);
        self.head.rows += new.len();
        result
    }

    /// Takes readings out of the head that did not reach the log.
    fn give_back(&mut self, site: u16, points: usize, new: &[Reading]) {
        let waiting = self.head.of(site, points);
        for r in new.iter().rev() {
            let w = place(waiting, r.point);
            if w.rows.last().is_some_and(|last| last.stamp() == r.stamp()) {
                w.rows.pop();
                w.newest = None;
            } else {
                w.late.remove(&r.stamp());
            }
        }
        self.head.rows -= new.len();
    }
}

fn take_into(waiting: &mut [Waiting], hot: &Hot, site: u16, readings: &[Reading], new: &mut Vec<Reading>) -> Result<u64, StoreError> {
    let mut duplicates = 0;
    let mut chunk = None;
    for r in readings {
        let w = place(waiting, r.point);
        let (newest, stamp) = (newest(hot, w, site, r.point)?, r.stamp());
        if stamp > newest {
            w.push(r);
        } else if stamp == newest || w.has(stamp) || hot.has(site, r.point, stamp, &mut chunk)? {
            duplicates += 1;
            continue;
        } else {
            w.push_late(r);
        }
        new.push(*r);
    }
    Ok(duplicates)
}

fn flush(hot: &Hot, state: &mut State) -> Result<(), StoreError> {
    if state.head.rows > 0 {
        hot.flush(&state.head, state.logged.clone())?;
        state.head.clear();
        (state.logged, state.logged_bytes) = (state.logged.end..state.logged.end, 0);
    }
    Ok(())
}

impl Store for Embedded {
    fn append(&self, site: &str, readings: &[Reading]) -> Result<Appended, StoreError> {
        let done = self.with_site(site, |state, number, points| {
            if let Some(r) = readings.iter().find(|r| r.point.0 as usize >= points) {
                let what = format!("point {} of {site}", r.point.0);
                return Err(StoreError::Refused { what, why: "its catalogue was not put before its readings" });
            }
            self.write(state, |hot, state| {
                let mut new = Vec::with_capacity(readings.len());
                let logged = state.take(hot, number, points, readings, &mut new).and_then(|duplicates| {
                    if new.is_empty() {
                        return Ok((duplicates, 0));
                    }
                    let entry = codec::entry(number, new.iter());
                    let bytes = entry.len();
                    hot.log(state.logged.end, entry).map(|()| (duplicates, bytes))
                });
                let (duplicates, bytes) = logged.inspect_err(|_| state.give_back(number, points, &new))?;
                if bytes > 0 {
                    state.logged.end += 1;
                    state.logged_bytes += bytes;
                    state.unchecked_bytes += bytes;
                }
                Ok(Appended { stored: new.len() as u64, duplicates })
            })
            .inspect(|_| {
                let full = state.head.rows >= state.head_rows() || state.logged_bytes >= LOG_BYTES;
                if full || state.logged.end - state.logged.start >= LOG_ENTRIES {
                    // The batch is in the log; a failure here is met again, and told, by the next write.
                    let _ = self.write(state, flush);
                }
            })
        })?;
        self.stored.fetch_add(done.stored, Ordering::Relaxed);
        self.duplicates.fetch_add(done.duplicates, Ordering::Relaxed);
        Ok(done)
    }

    fn sync(&self) -> Result<(), StoreError> {
        let hot = self.hot()?;
        hot.sync().map_err(|e| {
            drop(hot);
            self.failed(&mut self.state(), e)
        })
    }

    fn scan(&self, site: &str, point: PointId, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        self.rows_each(site, &[point], from, to, &mut |_, part| fill(&mut rows, part, limit))?;
        Ok(rows)
    }

    fn series(&self, site: &str, point: PointId, from: Timestamp, to: Timestamp, step: Span) -> Result<Vec<Step>, StoreError> {
        let mut steps: Vec<Step> = Vec::new();
        self.series_each(site, &[point], from, to, step, &mut |_, part| fill(&mut steps, part, super::STEPS_MAX))?;
        Ok(steps)
    }

    fn rows_each(
        &self,
        site: &str,
        points: &[PointId],
        from: Timestamp,
        to: Timestamp,
        f: &mut dyn FnMut(PointId, &[Row]) -> bool,
    ) -> Result<(), StoreError> {
        self.walk_rows(site, points, from, to, f)
    }

    fn series_each(
        &self,
        site: &str,
        points: &[PointId],
        from: Timestamp,
        to: Timestamp,
        step: Span,
        f: &mut dyn FnMut(PointId, &[Step]) -> bool,
    ) -> Result<(), StoreError> {
        self.walk_series(site, points, from, to, step, f)
    }

    fn put_catalogue(&self, site: &str, catalogue: &Catalogue) -> Result<(), StoreError> {
        self.with_site(site, |state, number, _| {
            let Some(known) = state.sites.get(site) else { return Ok(()) };
            let mut points = Vec::new();
            for point in catalogue.iter() {
                match known.points.get(point.id.0 as usize) {
                    Some(known) if known == point => continue,
                    Some(known) if known.path != point.path => {
                        return Err(StoreError::Refused {
                            what: format!("{site}: point {} is {:?}, not {:?}", point.id.0, known.path, point.path),
                            why: "a point's number cannot change within a data directory; begin with the stored catalogue",
                        });
                    }
                    _ => points.push(point.clone()),
                }
            }
            if points.is_empty() {
                return Ok(());
            }
            self.write(state, |hot, _| {
                let mut batch = hot.batch();
                for point in &points {
                    let mut key = point_head(number);
                    key.extend_from_slice(&point.id.0.to_be_bytes());
                    let json = serde_json::to_vec(point).map_err(|e| StoreError::Damaged { dir: self.dir.clone(), why: e.to_string() })?;
                    batch.insert(&hot.meta, key, json);
                }
                hot.commit(batch)
            })?;
            let Some(known) = state.sites.get_mut(site) else { return Ok(()) };
            for point in points {
                match known.points.get_mut(point.id.0 as usize) {
                    Some(known) => *known = point,
                    None => known.points.push(point),
                }
            }
            Ok(())
        })
    }

    fn catalogue(&self, site: &str) -> Result<Catalogue, StoreError> {
        self.with_site(site, |state, _, _| {
            let mut catalogue = Catalogue::new();
            state.sites.get(site).into_iter().flat_map(|s| &s.points).for_each(|p| {
                catalogue.upsert(p.clone());
            });
            Ok(catalogue)
        })
    }

    fn put_record(&self, kind: &str, site: &str, at: Timestamp, id: &str, json: &[u8]) -> Result<(), StoreError> {
        if [kind, site, id].iter().any(|s| s.len() > 1024 || s.contains('\0')) {
            return Err(StoreError::Refused { what: format!("record {kind}/{site}"), why: "its names have at most 1024 bytes and no NUL" });
        }
        let mut state = self.state();
        state.unchecked_bytes += json.len();
        self.write(&mut state, |hot, _| hot.put(&hot.records, keys::record(kind, site, at, id), json))
    }

    fn records(&self, kind: &str, site: &str, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<Record>, StoreError> {
        let hot = self.hot()?;
        let head = kind.len() + site.len() + 2;
        let range = keys::record(kind, site, from, "")..keys::record(kind, site, to.max(from), "");
        let mut found = Vec::new();
        for guard in hot.records.range(range).rev().take(limit) {
            let (key, json) = guard.into_inner().map_err(|e| hot.fault(&e))?;
            let (at, id) = keys::read_record(&key, head)
                .ok_or_else(|| StoreError::Damaged { dir: self.dir.clone(), why: "a record with a short key".into() })?;
            found.push(Record { at, id, json: json.to_vec() });
        }
        found.reverse();
        Ok(found)
    }

    fn seal(&self, site: &str, day: &str) -> Result<u64, StoreError> {
        self.seal_day(site, day)
    }

    fn seal_before(&self, site: &str, before: Timestamp) -> Result<Vec<(String, u64)>, StoreError> {
        let mut sealed = Vec::new();
        for day in self.hot_days(site)? {
            if Timestamp::parse(&day).is_some_and(|start| start < before.day_start()) {
                sealed.push((day.clone(), self.seal_day(site, &day)?));
            }
        }
        Ok(sealed)
    }

    fn expire(&self, site: &str, now: Timestamp, keep: &Keep, meters: &BTreeSet<PointId>) -> Result<Expired, StoreError> {
        self.expire_days(site, now, keep, meters)
    }

    fn days(&self, site: &str) -> Result<Vec<String>, StoreError> {
        self.sealed.days(site, Tier::Raw)
    }

    fn stats(&self) -> StoreStats {
        let (sealed_bytes, sealed_days) = self.sealed.size();
        StoreStats {
            stored: self.stored.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            head_rows: self.state().head.rows as u64,
            hot_bytes: self.hot().map_or(0, |h| h.bytes()),
            sealed_bytes,
            sealed_days,
            free_bytes: free_bytes(&self.dir).unwrap_or(0),
        }
    }
}
