//! The key-value store (fjall) under the hot rows: the log of appends, the chunks, records, names.
//!
//! Picture: `append → log entry (durable) + head (memory) → flush → chunks by point, log entries removed`, the flush in
//! one atomic batch. Opening reads the log back into the head.
//! Invariants: a chunk holds rows of one point and one UTC day; the rows of one millisecond lie in one chunk and
//! chunks of a point never overlap in time, so that one look finds the only chunk that can hold an instant; at most
//! [`CHUNK_ROWS`] rows a chunk, unless a single millisecond has more.

use super::head::{Head, Waiting};
use super::{Row, StoreError, codec, keys};
use crate::reading::{PointId, Reading};
use crate::time::{Span, Stamp, Timestamp};
use fjall::config::FilterPolicy;
use fjall::{Database, Guard, Iter, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode, Readable, Snapshot};
use std::path::{Path, PathBuf};

const CACHE_BYTES: u64 = 64 << 20;
/// Counted by the bytes of keys and values; small ones take several times as much memory.
const MEMTABLE_BYTES: u64 = 8 << 20;
const LOG_BYTES_MAX: u64 = 256 << 20;
/// Rows of one chunk, at most.
pub const CHUNK_ROWS: usize = 4096;
pub const DAY: Span = Span::hours(24);

/// The open key-value store.
pub struct Hot {
    dir: PathBuf,
    db: Database,
    log: Keyspace,
    chunks: Keyspace,
    pub records: Keyspace,
    pub meta: Keyspace,
}

/// A chunk as it lies in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkName {
    pub site: u16,
    pub point: PointId,
    pub first: Timestamp,
}

/// Opens the store at `path`, or makes it there. `dir` is for the errors.
fn open_at(dir: &Path, path: &Path) -> Result<Hot, StoreError> {
    let fault = |e: fjall::Error| StoreError::db(dir, &e);
    let db = Database::builder(path)
        .cache_size(CACHE_BYTES)
        .max_journaling_size(LOG_BYTES_MAX)
        .journal_compression(fjall::CompressionType::None)
        .manual_journal_persist(true)
        .worker_threads(1)
        .open()
        .map_err(fault)?;
    // Chunks are found by range, and what is looked up is mostly there: filters would only cost memory.
    let options = || {
        KeyspaceCreateOptions::default()
            .max_memtable_size(MEMTABLE_BYTES)
            .manual_journal_persist(true)
            .filter_policy(FilterPolicy::disabled())
    };
    let open = |name| db.keyspace(name, options).map_err(fault);
    Ok(Hot { dir: dir.into(), log: open("log")?, chunks: open("chunks")?, records: open("records")?, meta: open("meta")?, db })
}

impl Hot {
    /// Opens `dir/hot`. A new one is made aside and renamed: a crash in the first moment leaves nothing that cannot be
    /// opened.
    pub fn open(dir: &Path) -> Result<Hot, StoreError> {
        let io = |e: std::io::Error| StoreError::io(dir, &e);
        let hot = dir.join("hot");
        if !hot.exists() {
            let aside = dir.join("hot-aside");
            if aside.exists() {
                std::fs::remove_dir_all(&aside).map_err(io)?;
            }
            drop(open_at(dir, &aside)?);
            std::fs::rename(&aside, &hot).map_err(io)?;
            std::fs::File::open(dir).and_then(|d| d.sync_all()).map_err(io)?;
        }
        open_at(dir, &hot)
    }

    pub fn fault(&self, e: &fjall::Error) -> StoreError {
        StoreError::db(&self.dir, e)
    }

    pub fn damaged(&self, what: &str) -> StoreError {
        StoreError::Damaged { dir: self.dir.clone(), why: what.into() }
    }

    pub fn batch(&self) -> OwnedWriteBatch {
        self.db.batch().durability(Some(PersistMode::Buffer))
    }

    pub fn commit(&self, batch: OwnedWriteBatch) -> Result<(), StoreError> {
        batch.commit().map_err(|e| self.fault(&e))
    }

    /// One key, in the operating system's hands when it returns.
    pub fn put(&self, keyspace: &Keyspace, key: Vec<u8>, value: &[u8]) -> Result<(), StoreError> {
        let mut batch = self.batch();
        batch.insert(keyspace, key, value);
        self.commit(batch)
    }

    pub fn sync(&self) -> Result<(), StoreError> {
        self.db.persist(PersistMode::SyncData).map_err(|e| self.fault(&e))
    }

    pub fn log_space(&self) -> &Keyspace {
        &self.log
    }

    pub fn chunk_space(&self) -> &Keyspace {
        &self.chunks
    }

    pub fn snapshot(&self) -> Snapshot {
        self.db.snapshot()
    }

    pub fn bytes(&self) -> u64 {
        self.db.disk_space().unwrap_or_default()
    }

    /// Rewrites what is on disk without what was removed.
    pub fn compact(&self) -> Result<(), StoreError> {
        [&self.log, &self.chunks, &self.records].into_iter().try_for_each(|k| {
            k.rotate_memtable_and_wait().map_err(|e| self.fault(&e))?;
            k.major_compact().map_err(|e| self.fault(&e))
        })
    }

    /// Files one append in the log.
    pub fn log(&self, sequence: u64, entry: Vec<u8>) -> Result<(), StoreError> {
        let mut batch = OwnedWriteBatch::with_capacity(self.db.clone(), 1).durability(Some(PersistMode::Buffer));
        batch.insert(&self.log, sequence.to_be_bytes(), entry);
        self.commit(batch)
    }

    /// Reads the log, oldest entry first. `f` gets the site's number and readings. Returns the numbers of the entries.
    pub fn replay(&self, mut f: impl FnMut(u16, Vec<Reading>) -> Result<(), StoreError>) -> Result<std::ops::Range<u64>, StoreError> {
        let mut range = 0..0;
        for guard in self.log.iter() {
            let (key, value) = guard.into_inner().map_err(|e| self.fault(&e))?;
            let sequence = <[u8; 8]>::try_from(&key[..]).map_err(|_| self.damaged("a log entry with a wrong key"))?;
            let sequence = u64::from_be_bytes(sequence);
            let (site, readings) = codec::read_entry(&value).ok_or_else(|| self.damaged("a log entry that cannot be read"))?;
            f(site, readings)?;
            range = if range.is_empty() { sequence..sequence + 1 } else { range.start..sequence + 1 };
        }
        Ok(range)
    }

    fn named(&self, key: &[u8]) -> Result<ChunkName, StoreError> {
        keys::read_chunk(key).ok_or_else(|| self.damaged("a chunk with a wrong key"))
    }

    fn decoded(&self, bytes: &[u8]) -> Result<Vec<Row>, StoreError> {
        codec::read_chunk(bytes).filter(|r| !r.is_empty()).ok_or_else(|| self.damaged("a chunk that cannot be read"))
    }

    fn open_guard(&self, guard: Guard) -> Result<(ChunkName, Vec<Row>), StoreError> {
        let (key, value) = guard.into_inner().map_err(|e| self.fault(&e))?;
        Ok((self.named(&key)?, self.decoded(&value)?))
    }

    /// The chunk that begins at or before an instant, the newest of them.
    fn floor(&self, site: u16, point: PointId, at: Timestamp) -> Result<Option<(ChunkName, Vec<Row>)>, StoreError> {
        let range = keys::chunk(site, point, Timestamp::MIN)..=keys::chunk(site, point, at);
        self.chunks.range(range).next_back().map(|g| self.open_guard(g)).transpose()
    }

    /// Newest time in the chunks of a point; `Stamp::MIN` where it has none.
    pub fn newest(&self, site: u16, point: PointId) -> Result<Stamp, StoreError> {
        let newest = self.floor(site, point, Timestamp(i64::MAX))?;
        Ok(newest.and_then(|(_, rows)| rows.last().map(Row::stamp)).unwrap_or(Stamp::MIN))
    }

    /// Is there a row of this instant in the chunks? `last` keeps the chunk that was looked at.
    pub fn has(&self, site: u16, point: PointId, stamp: Stamp, last: &mut Option<(ChunkName, Vec<Row>)>) -> Result<bool, StoreError> {
        let within = |(name, rows): &(ChunkName, Vec<Row>)| {
            (name.site, name.point) == (site, point) && name.first <= stamp.at && rows.last().is_some_and(|r| stamp <= r.stamp())
        };
        if !last.as_ref().is_some_and(within) {
            *last = self.floor(site, point, stamp.at)?;
        }
        Ok(last.as_ref().is_some_and(|c| within(c) && c.1.binary_search_by_key(&stamp, Row::stamp).is_ok()))
    }

    /// Names of the chunks of a point that may hold rows with `from <= at < to`.
    fn range(&self, snapshot: &Snapshot, site: u16, point: PointId, from: Timestamp, to: Timestamp) -> Iter {
        // A chunk keeps to its day: none that begins before the day of `from` reaches it.
        let begin = from.max(Timestamp(i64::MIN + DAY.0)).day_start();
        snapshot.range(&self.chunks, keys::chunk(site, point, begin)..keys::chunk(site, point, to.max(begin)))
    }

    /// The chunks of a point that overlap `from <= at < to`, in order of time.
    pub fn chunks(
        &self,
        snapshot: &Snapshot,
        site: u16,
        point: PointId,
        from: Timestamp,
        to: Timestamp,
    ) -> impl Iterator<Item = Result<(ChunkName, Vec<Row>), StoreError>> {
        self.range(snapshot, site, point, from, to).map(|g| self.open_guard(g))
    }

    /// Days in which a point has chunks.
    pub fn days(&self, site: u16, point: PointId, days: &mut std::collections::BTreeSet<Timestamp>) -> Result<(), StoreError> {
        let mut from = Timestamp::MIN;
        while let Some(guard) = self.chunks.range(keys::chunk(site, point, from)..keys::chunk(site, point, Timestamp(i64::MAX))).next() {
            let name = self.named(&guard.key().map_err(|e| self.fault(&e))?)?;
            days.insert(name.first.day_start());
            from = name.first.day_start() + DAY;
        }
        Ok(())
    }

    /// Removes chunks that have not changed since they were read: `(name, rows it had)`.
    pub fn remove_unchanged(&self, chunks: &[(ChunkName, usize)]) -> Result<(), StoreError> {
        let mut batch = self.batch();
        for (name, rows) in chunks {
            let key = keys::chunk(name.site, name.point, name.first);
            // Rows are only ever added: the same number is the same chunk.
            let now = self.chunks.get(key).map_err(|e| self.fault(&e))?.map(|b| self.decoded(&b)).transpose()?;
            if now.is_some_and(|r| r.len() == *rows) {
                batch.remove(&self.chunks, key);
            }
        }
        self.commit(batch)
    }

    /// Moves the head into chunks and removes the log entries `logged`, all or nothing.
    pub fn flush(&self, head: &Head, logged: std::ops::Range<u64>) -> Result<(), StoreError> {
        let mut batch = self.batch();
        for (site, point, waiting) in head.waiting() {
            self.flush_point(&mut batch, site, point, waiting)?;
        }
        for sequence in logged {
            batch.remove_weak(&self.log, sequence.to_be_bytes());
        }
        self.commit(batch)?;
        // What was removed from the log, and the chunks, leave memory now: in a quiet plant their own sizes would take days to make them.
        [&self.log, &self.chunks, &self.records].into_iter().try_for_each(|k| k.rotate_memtable().map(drop)).map_err(|e| self.fault(&e))
    }

    fn flush_point(&self, batch: &mut OwnedWriteBatch, site: u16, point: PointId, waiting: &Waiting) -> Result<(), StoreError> {
        let first = waiting.rows.first().map_or(Stamp::MAX, Row::stamp);
        let mut older: Vec<Row> = waiting.late(Stamp::MIN, first).collect();
        let newer = waiting.late.range(first..).next().map(|_| waiting.range(first, Stamp::MAX));
        let mut rows = newer.as_deref().unwrap_or(&waiting.rows);
        // A millisecond that has rows in a chunk, or among the older ones, gets its others there.
        let shared = |older: &[Row]| {
            let in_chunk = || Ok(self.newest(site, point)?.at == first.at);
            if older.last().is_some_and(|r| r.at == first.at) {
                Ok(true)
            } else if first.ns > 0 {
                in_chunk()
            } else {
                Ok(false)
            }
        };
        if shared(&older)? {
            let n = rows.partition_point(|r| r.at == first.at);
            older.extend_from_slice(&rows[..n]);
            rows = &rows[n..];
        }
        self.put_chunks(batch, site, point, rows);
        self.merge(batch, site, point, &older)
    }

    /// Files rows that no chunk overlaps.
    fn put_chunks(&self, batch: &mut OwnedWriteBatch, site: u16, point: PointId, mut rows: &[Row]) {
        while let Some(first) = rows.first() {
            let day_end = first.at.day_start() + DAY;
            let mut n = rows.iter().take(CHUNK_ROWS).take_while(|r| r.at < day_end).count().max(1);
            if rows.get(n).is_some_and(|next| next.at == rows[n - 1].at) {
                let cut = rows[n - 1].at;
                let before = rows[..n].partition_point(|r| r.at < cut);
                n = if before > 0 { before } else { rows.partition_point(|r| r.at <= cut) };
            }
            batch.insert(&self.chunks, keys::chunk(site, point, first.at), codec::chunk(&rows[..n]));
            rows = &rows[n..];
        }
    }

    /// Files rows that may lie within or between chunks: each goes into the chunk before it on its day, if there is one.
    fn merge(&self, batch: &mut OwnedWriteBatch, site: u16, point: PointId, mut rows: &[Row]) -> Result<(), StoreError> {
        while let Some(first) = rows.first() {
            let after = keys::chunk(site, point, Timestamp(first.at.0.saturating_add(1)));
            let next = self.chunks.range(after..keys::chunk(site, point, Timestamp(i64::MAX))).next();
            let next = next.map(|g| g.key().map_err(|e| self.fault(&e)).and_then(|k| self.named(&k))).transpose()?;
            let end = next.map_or(Timestamp(i64::MAX), |n| n.first).min(first.at.day_start() + DAY);
            let n = rows.partition_point(|r| r.at < end).max(1);
            let before = self.floor(site, point, first.at)?.filter(|(name, _)| name.first >= first.at.day_start());
            let mut merged = before.map_or_else(Vec::new, |(_, rows)| rows);
            merged.extend_from_slice(&rows[..n]);
            merged.sort_by_key(Row::stamp);
            self.put_chunks(batch, site, point, &merged);
            rows = &rows[n..];
        }
        Ok(())
    }
}
