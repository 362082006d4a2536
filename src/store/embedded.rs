//! The store in this process: fjall for the hot rows and records, Parquet for sealed days.
//!
//! Layout of the directory: `FORMAT` (one line), `LOCK` (held by the process that has it open), `hot/` (fjall and its
//! log), `sealed/<site>/<day>.parquet`. `hot/` is made aside and renamed: a crash in the first moment leaves nothing that
//! cannot be opened.
//! A reading newer than everything known of its point is new without a look at the disk; any other is looked up.
//! A late row of a sealed day stays hot until the day is sealed again; reading prefers the sealed row, so that a
//! (point, timestamp) is still seen once.

use super::sealed::{Columns, GROUP_ROWS, Sealed};
use super::{Appended, Record, Row, Step, Steps, Store, StoreError, StoreStats, keys};
use crate::reading::{PointId, Reading};
use crate::site::{Catalogue, Point};
use crate::time::{Span, Timestamp};
use fjall::{Database, Guard, Keyspace, KeyspaceCreateOptions, PersistMode, Readable};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

const FORMAT: &str = "tramuntana-store 1";
const CACHE_BYTES: u64 = 64 << 20;
const MEMTABLE_BYTES: u64 = 32 << 20;
const LOG_BYTES_MAX: u64 = 256 << 20;
/// Hot rows removed at once after sealing.
const REMOVE_ROWS: usize = 4096;
const DAY: Span = Span::hours(24);

/// What is remembered of a site between two calls.
#[derive(Default)]
struct SiteState {
    number: u16,
    /// Newest hot timestamp by point; `None` = not looked up yet.
    newest: Vec<Option<Timestamp>>,
    points: Vec<Point>,
}

/// See the module's text.
pub struct Embedded {
    dir: PathBuf,
    db: Database,
    hot: Keyspace,
    records: Keyspace,
    meta: Keyspace,
    sealed: Sealed,
    sites: Mutex<BTreeMap<String, SiteState>>,
    stored: AtomicU64,
    duplicates: AtomicU64,
    /// Why writing stopped, if it did: the key-value store itself only says that it has.
    full: Mutex<Option<String>>,
    /// Dropped last: the directory is free once the key-value store is closed.
    _lock: std::fs::File,
}

/// Opens the key-value store at `path`, or makes it there. `dir` is for the errors.
fn open_keyspaces(dir: &Path, path: &Path) -> Result<(Database, [Keyspace; 3]), StoreError> {
    let db = |e: fjall::Error| StoreError::db(dir, &e);
    let database = Database::builder(path)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(LOG_BYTES_MAX)
        .journal_compression(fjall::CompressionType::None)
        .manual_journal_persist(true)
        .worker_threads(1)
        .open()
        .map_err(db)?;
    let options = || KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES).manual_journal_persist(true);
    let open = |name| database.keyspace(name, options).map_err(db);
    let keyspaces = [open("hot")?, open("records")?, open("meta")?];
    Ok((database, keyspaces))
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
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(StoreError::Locked { dir: dir.into() }),
            Err(std::fs::TryLockError::Error(e)) => return Err(io(e)),
        }
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
        let hot = dir.join("hot");
        if !hot.exists() {
            let aside = dir.join("hot-aside");
            if aside.exists() {
                std::fs::remove_dir_all(&aside).map_err(io)?;
            }
            drop(open_keyspaces(dir, &aside)?);
            std::fs::rename(&aside, &hot).map_err(io)?;
            std::fs::File::open(dir).and_then(|d| d.sync_all()).map_err(io)?;
        }
        let (db, [hot, records, meta]) = open_keyspaces(dir, &hot)?;
        Ok(Embedded {
            hot,
            records,
            meta,
            db,
            sealed: Sealed::new(dir),
            dir: dir.into(),
            sites: Mutex::default(),
            stored: AtomicU64::new(0),
            duplicates: AtomicU64::new(0),
            full: Mutex::default(),
            _lock: lock,
        })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Days of a site that have hot rows, in order: what can be sealed once it is over.
    pub fn hot_days(&self, site: &str) -> Result<Vec<String>, StoreError> {
        let (number, points) = self.with_site(site, |s| Ok((s.number, s.points.len() as u32)))?;
        let mut days = std::collections::BTreeSet::new();
        for point in (0..points).map(PointId) {
            let mut from = Timestamp::MIN;
            while let Some(guard) = self.range(number, point, from, Timestamp(i64::MAX)).next() {
                let key = guard.key().map_err(|e| self.db_error(&e))?;
                let Some(at) = keys::row_at(&key) else { break };
                days.insert(at.day());
                from = at.day_start() + DAY;
            }
        }
        Ok(days.into_iter().collect())
    }

    fn db_error(&self, e: &fjall::Error) -> StoreError {
        let mut full = self.full.lock().unwrap_or_else(|e| e.into_inner());
        match StoreError::db(&self.dir, e) {
            StoreError::Full { dir, why } => {
                *full = Some(why.clone());
                StoreError::Full { dir, why }
            }
            StoreError::Stopped { dir } => match &*full {
                Some(why) => StoreError::Full { dir, why: why.clone() },
                None => StoreError::Stopped { dir },
            },
            other => other,
        }
    }

    /// Runs `f` with what is remembered of a site; a new site gets the next number.
    fn with_site<T>(&self, site: &str, f: impl FnOnce(&mut SiteState) -> Result<T, StoreError>) -> Result<T, StoreError> {
        if site.is_empty() || site.len() > 64 || !site.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            return Err(StoreError::Refused { what: format!("site {site:?}"), why: "use letters, digits, `-` and `_` only" });
        }
        let mut sites = self.sites.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(state) = sites.get_mut(site) {
            return f(state);
        }
        let mut state = self.load_site(site)?;
        let result = f(&mut state);
        sites.insert(site.to_owned(), state);
        result
    }

    fn load_site(&self, site: &str) -> Result<SiteState, StoreError> {
        let db = |e: fjall::Error| self.db_error(&e);
        let name = format!("site/{site}");
        let number = match self.meta.get(&name).map_err(db)? {
            Some(bytes) => match <[u8; 2]>::try_from(&bytes[..]) {
                Ok(bytes) => u16::from_be_bytes(bytes),
                Err(_) => return Err(self.damaged(format!("{name} has {} bytes", bytes.len()))),
            },
            None => {
                let taken = self.meta.prefix("site/").count();
                let number = u16::try_from(taken)
                    .map_err(|_| StoreError::Refused { what: format!("site {site:?}"), why: "the directory has 65,536 sites already" })?;
                self.put(&self.meta, name.into_bytes(), &number.to_be_bytes())?;
                number
            }
        };
        let mut points = Vec::new();
        for guard in self.meta.prefix(point_head(number)) {
            let (_, json) = guard.into_inner().map_err(db)?;
            let point: Point = serde_json::from_slice(&json).map_err(|e| self.damaged(format!("point of {site}: {e}")))?;
            if point.id.0 as usize != points.len() {
                return Err(self.damaged(format!("points of {site}: number {} is missing", points.len())));
            }
            points.push(point);
        }
        Ok(SiteState { number, newest: Vec::new(), points })
    }

    fn damaged(&self, why: String) -> StoreError {
        StoreError::Damaged { dir: self.dir.clone(), why }
    }

    /// One key, in the operating system's hands when it returns.
    fn put(&self, keyspace: &Keyspace, key: Vec<u8>, value: &[u8]) -> Result<(), StoreError> {
        let mut batch = self.db.batch().durability(Some(PersistMode::Buffer));
        batch.insert(keyspace, key, value);
        batch.commit().map_err(|e| self.db_error(&e))
    }

    fn range(&self, site: u16, point: PointId, from: Timestamp, to: Timestamp) -> impl DoubleEndedIterator<Item = Guard> {
        let (from, to) = (keys::row(site, point, from), keys::row(site, point, to.max(from)));
        self.hot.range(from..to)
    }

    fn hot_rows(&self, site: u16, point: PointId, from: Timestamp, to: Timestamp) -> impl Iterator<Item = Result<Row, StoreError>> {
        self.range(site, point, from, to).map(|guard| {
            let (key, value) = guard.into_inner().map_err(|e| self.db_error(&e))?;
            keys::read_row(&key, &value).ok_or_else(|| self.damaged("a row with a wrong length".into()))
        })
    }

    /// Calls `f` with each row in time order, sealed and hot, until it says false.
    fn each(&self, site: &str, point: PointId, from: Timestamp, to: Timestamp, mut f: impl FnMut(Row) -> bool) -> Result<(), StoreError> {
        let number = self.with_site(site, |s| Ok(s.number))?;
        let mut at = from;
        for day in self.sealed.days(site)? {
            let Some(start) = Timestamp::parse(&day) else { continue };
            let (day_from, day_to) = (start.max(from), (start + DAY).min(to));
            if day_from >= day_to {
                continue;
            }
            // Hot rows before the sealed day, then the day's rows, sealed and late ones merged.
            for row in self.hot_rows(number, point, at, day_from) {
                if !f(row?) {
                    return Ok(());
                }
            }
            let mut rows: BTreeMap<Timestamp, Row> = BTreeMap::new();
            for row in self.hot_rows(number, point, day_from, day_to) {
                let row = row?;
                rows.insert(row.at, row);
            }
            rows.extend(self.sealed.read(site, &day, point, day_from, day_to)?.into_iter().map(|r| (r.at, r)));
            if !rows.into_values().all(&mut f) {
                return Ok(());
            }
            at = day_to;
        }
        for row in self.hot_rows(number, point, at, to) {
            if !f(row?) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Newest hot timestamp of a point; `Timestamp::MIN` where it has none.
    fn newest(&self, site: u16, point: PointId) -> Result<Timestamp, StoreError> {
        match self.range(site, point, Timestamp::MIN, Timestamp(i64::MAX)).next_back() {
            Some(guard) => Ok(guard.key().map_err(|e| self.db_error(&e)).map(|k| keys::row_at(&k))?.unwrap_or(Timestamp::MIN)),
            None => Ok(Timestamp::MIN),
        }
    }

    /// Commits the readings that are new. Every reading's point has its place in `state.newest`; `undo` takes what that
    /// held before.
    fn commit(
        &self,
        state: &mut SiteState,
        readings: &[Reading],
        undo: &mut Vec<(u32, Option<Timestamp>)>,
    ) -> Result<Appended, StoreError> {
        let mut batch = fjall::OwnedWriteBatch::with_capacity(self.db.clone(), readings.len()).durability(Some(PersistMode::Buffer));
        let mut done = Appended::default();
        let mut late = std::collections::BTreeSet::new();
        for r in readings {
            let i = r.point.0 as usize;
            let newest = match state.newest[i] {
                Some(t) => t,
                None => self.newest(state.number, r.point)?,
            };
            let key = keys::row(state.number, r.point, r.at);
            let new =
                r.at > newest || (r.at < newest && !late.contains(&key) && !self.hot.contains_key(key).map_err(|e| self.db_error(&e))?);
            if !new {
                done.duplicates += 1;
                continue;
            }
            if r.at > newest {
                undo.push((r.point.0, state.newest[i]));
                state.newest[i] = Some(r.at);
            } else {
                late.insert(key);
            }
            batch.insert(&self.hot, key, keys::row_value(r.value, r.quality).as_slice());
            done.stored += 1;
        }
        batch.commit().map_err(|e| self.db_error(&e))?;
        Ok(done)
    }
}

fn point_head(site: u16) -> Vec<u8> {
    let mut key = b"point/".to_vec();
    key.extend_from_slice(&site.to_be_bytes());
    key
}

impl Store for Embedded {
    fn append(&self, site: &str, readings: &[Reading]) -> Result<Appended, StoreError> {
        let done = self.with_site(site, |state| {
            if let Some(r) = readings.iter().find(|r| r.point.0 as usize >= state.points.len()) {
                let what = format!("point {} of {site}", r.point.0);
                return Err(StoreError::Refused { what, why: "its catalogue was not put before its readings" });
            }
            state.newest.resize(state.points.len(), None);
            // What is newest is remembered only once the batch is in the log.
            let mut undo = Vec::with_capacity(readings.len());
            let result = self.commit(state, readings, &mut undo);
            if result.is_err() {
                for (point, newest) in undo.into_iter().rev() {
                    state.newest[point as usize] = newest;
                }
            }
            result
        })?;
        self.stored.fetch_add(done.stored, Ordering::Relaxed);
        self.duplicates.fetch_add(done.duplicates, Ordering::Relaxed);
        Ok(done)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::SyncData).map_err(|e| self.db_error(&e))
    }

    fn scan(&self, site: &str, point: PointId, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        self.each(site, point, from, to, |row| {
            if rows.len() < limit {
                rows.push(row);
            }
            rows.len() < limit
        })?;
        Ok(rows)
    }

    fn series(&self, site: &str, point: PointId, from: Timestamp, to: Timestamp, step: Span) -> Result<Vec<Step>, StoreError> {
        let mut steps = Steps::new(step);
        self.each(site, point, from, to, |row| steps.push(row))?;
        Ok(steps.finish())
    }

    fn put_catalogue(&self, site: &str, catalogue: &Catalogue) -> Result<(), StoreError> {
        self.with_site(site, |state| {
            let mut batch = self.db.batch().durability(Some(PersistMode::Buffer));
            let mut points = Vec::new();
            for point in catalogue.iter() {
                match state.points.get(point.id.0 as usize) {
                    Some(known) if known == point => continue,
                    Some(known) if known.path != point.path => {
                        return Err(StoreError::Refused {
                            what: format!("{site}: point {} is {:?}, not {:?}", point.id.0, known.path, point.path),
                            why: "a point's number cannot change within a data directory; begin with the stored catalogue",
                        });
                    }
                    _ => {}
                }
                let json = serde_json::to_vec(point).map_err(|e| self.damaged(e.to_string()))?;
                let mut key = point_head(state.number);
                key.extend_from_slice(&point.id.0.to_be_bytes());
                batch.insert(&self.meta, key, json);
                points.push(point.clone());
            }
            if points.is_empty() {
                return Ok(());
            }
            batch.commit().map_err(|e| self.db_error(&e))?;
            for point in points {
                match state.points.get_mut(point.id.0 as usize) {
                    Some(known) => *known = point,
                    None => state.points.push(point),
                }
            }
            Ok(())
        })
    }

    fn catalogue(&self, site: &str) -> Result<Catalogue, StoreError> {
        self.with_site(site, |state| {
            let mut catalogue = Catalogue::new();
            state.points.iter().for_each(|p| {
                catalogue.upsert(p.clone());
            });
            Ok(catalogue)
        })
    }

    fn put_record(&self, kind: &str, site: &str, at: Timestamp, id: &str, json: &[u8]) -> Result<(), StoreError> {
        if [kind, site, id].iter().any(|s| s.len() > 1024 || s.contains('\0')) {
            return Err(StoreError::Refused { what: format!("record {kind}/{site}"), why: "its names have at most 1024 bytes and no NUL" });
        }
        self.put(&self.records, keys::record(kind, site, at, id), json)
    }

    fn records(&self, kind: &str, site: &str, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<Record>, StoreError> {
        let head = kind.len() + site.len() + 2;
        let range = keys::record(kind, site, from, "")..keys::record(kind, site, to.max(from), "");
        let mut found = Vec::new();
        for guard in self.records.range(range).rev().take(limit) {
            let (key, json) = guard.into_inner().map_err(|e| self.db_error(&e))?;
            let (at, id) = keys::read_record(&key, head).ok_or_else(|| self.damaged("a record with a short key".into()))?;
            found.push(Record { at, id, json: json.to_vec() });
        }
        found.reverse();
        Ok(found)
    }

    fn seal(&self, site: &str, day: &str) -> Result<u64, StoreError> {
        let refuse = |why| StoreError::Refused { what: format!("day {day:?}"), why };
        let start = Timestamp::parse(day).filter(|t| t.day() == day).ok_or_else(|| refuse("write it as 2026-07-14"))?;
        let (number, points) = self.with_site(site, |s| Ok((s.number, s.points.len() as u32)))?;
        let mut writing = self.sealed.begin(site, day)?;
        let mut columns = Columns::default();
        for point in (0..points).map(PointId) {
            let mut fault = None;
            self.each(site, point, start, start + DAY, |row| {
                columns.push(point, row);
                if columns.len() >= GROUP_ROWS {
                    fault = writing.write(&mut columns).err();
                }
                fault.is_none()
            })?;
            if let Some(e) = fault {
                return Err(e);
            }
        }
        writing.write(&mut columns)?;
        if writing.rows == 0 {
            writing.abandon();
            return Ok(0);
        }
        // A row that came after its point was written to the file must not be removed: only what the file has goes.
        let rows = writing.finish()?;
        for point in (0..points).map(PointId) {
            let in_file: std::collections::BTreeSet<Timestamp> = match self.range(number, point, start, start + DAY).next() {
                Some(_) => self.sealed.read(site, day, point, start, start + DAY)?.into_iter().map(|r| r.at).collect(),
                None => continue,
            };
            let snapshot = self.db.snapshot();
            let mut batch = self.db.batch().durability(Some(PersistMode::Buffer));
            for guard in snapshot.range(&self.hot, keys::row(number, point, start)..keys::row(number, point, start + DAY)) {
                let key = guard.key().map_err(|e| self.db_error(&e))?;
                if keys::row_at(&key).is_some_and(|at| in_file.contains(&at)) {
                    batch.remove(&self.hot, key);
                }
                if batch.len() >= REMOVE_ROWS {
                    let full = std::mem::replace(&mut batch, self.db.batch().durability(Some(PersistMode::Buffer)));
                    full.commit().map_err(|e| self.db_error(&e))?;
                }
            }
            batch.commit().map_err(|e| self.db_error(&e))?;
        }
        Ok(rows)
    }

    fn days(&self, site: &str) -> Result<Vec<String>, StoreError> {
        self.sealed.days(site)
    }

    fn stats(&self) -> StoreStats {
        let (sealed_bytes, sealed_days) = self.sealed.size();
        StoreStats {
            stored: self.stored.load(Ordering::Relaxed),
            duplicates: self.duplicates.load(Ordering::Relaxed),
            hot_bytes: self.db.disk_space().unwrap_or_default(),
            sealed_bytes,
            sealed_days,
        }
    }
}
