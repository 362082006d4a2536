//! The queue on disk between the embedded store and the server: an outage of the server costs disk, never memory.
//!
//! Layout of `<data-dir>/influx/`: segments `0000000001.rows`, …, and `cursor`. A segment is a row of records
//! `length u32 | check u64 (blake3) | payload`; a payload is `site length u8 | site | rows`, a row `point u32 | at i64 ms | ns u32 | value
//! f64 | quality u16`, all little-endian. The cursor is `segment offset` of the first record that the server does not have.
//! Invariants: what `append` has returned for survives the death of the process, what `sync` has returned for a loss of power;
//! a torn record at the end is cut off when the queue is opened; the cursor moves only forward, and a lost one sends again
//! what is still there; the newest segment stays, so that the queue knows what it took last; above `bytes_max` the oldest
//! segment is dropped and its readings are counted. One reader.

use crate::id::PointId;
use crate::reading::{Quality, Reading};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};

const SEGMENT_BYTES: u64 = 16 << 20;
const HEAD: usize = 12;
const ROW: usize = 26;
/// Rows of one record: longer batches become several.
const ROWS_MAX: usize = 4096;
const RECORD_MAX: usize = HEAD + 256 + ROWS_MAX * ROW;

/// A place in the queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub segment: u64,
    pub offset: u64,
}

/// One record: readings of one site in the order of their arrival.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    pub site: String,
    pub readings: Vec<Reading>,
}

struct Tail {
    /// Bytes of each segment, ascending.
    segments: BTreeMap<u64, u64>,
    file: Option<File>,
    cursor: Cursor,
    dropped: u64,
    damaged: u64,
}

/// The queue. See the module's text.
pub struct Outbox {
    dir: PathBuf,
    bytes_max: u64,
    tail: Mutex<Tail>,
}

impl Outbox {
    /// Opens a queue, or makes one.
    pub fn open(dir: &Path, bytes_max: u64) -> io::Result<Outbox> {
        std::fs::create_dir_all(dir)?;
        let mut segments = BTreeMap::new();
        for entry in std::fs::read_dir(dir)?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.ends_with(".log") {
                let why = format!("{name} was written by an earlier version; let that one empty the queue, or remove the folder");
                return Err(io::Error::new(io::ErrorKind::InvalidData, why));
            }
            if let Some(n) = name.strip_suffix(".rows").and_then(|n| n.parse().ok()) {
                segments.insert(n, entry.metadata()?.len());
            }
        }
        let outbox = Outbox {
            dir: dir.into(),
            bytes_max: bytes_max.max(2 * SEGMENT_BYTES),
            tail: Mutex::new(Tail { segments, file: None, cursor: Cursor::default(), dropped: 0, damaged: 0 }),
        };
        let mut tail = outbox.tail();
        if let Some((&last, &len)) = tail.segments.last_key_value() {
            let whole = outbox.whole_until(last, len)?;
            let file = OpenOptions::new().append(true).open(outbox.path(last))?;
            if whole < len {
                file.set_len(whole)?;
                tail.damaged += len - whole;
                tail.segments.insert(last, whole);
            }
            tail.file = Some(file);
        }
        let first = tail.segments.keys().next().copied().unwrap_or(1);
        let known = std::fs::read_to_string(outbox.dir.join("cursor")).ok().and_then(|t| {
            let (segment, offset) = t.trim().split_once(' ')?;
            Some(Cursor { segment: segment.parse().ok()?, offset: offset.parse().ok()? })
        });
        // One beyond the end of its segment (a loss of power took what it had passed) would pass over what comes next.
        let holds = |c: &Cursor| tail.segments.get(&c.segment).is_some_and(|len| c.offset <= *len);
        tail.cursor = known.filter(holds).unwrap_or(Cursor { segment: first, offset: 0 });
        drop(tail);
        Ok(outbox)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn path(&self, segment: u64) -> PathBuf {
        self.dir.join(format!("{segment:010}.rows"))
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Where the whole records of a segment end.
    fn whole_until(&self, segment: u64, len: u64) -> io::Result<u64> {
        let mut file = File::open(self.path(segment))?;
        let mut at = 0;
        while let Some((_, next)) = record(&mut file, at, len)? {
            at = next;
        }
        Ok(at)
    }

    /// Appends readings that the store has.
    pub fn append(&self, site: &str, readings: &[Reading]) -> io::Result<()> {
        if readings.is_empty() {
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(readings.len() * ROW + 64);
        for rows in readings.chunks(ROWS_MAX) {
            put(&mut bytes, site, rows);
        }
        let mut tail = self.tail();
        let current = tail.segments.last_key_value().map(|(s, len)| (*s, *len));
        let (segment, len) = match current {
            Some((s, len)) if tail.file.is_some() && len < SEGMENT_BYTES => (s, len),
            _ => {
                let next = current.map_or(tail.cursor.segment.max(1), |(s, _)| s + 1);
                if let Some(old) = &tail.file {
                    old.sync_data()?;
                }
                tail.file = Some(OpenOptions::new().create(true).append(true).open(self.path(next))?);
                tail.segments.insert(next, 0);
                (next, 0)
            }
        };
        if let Some(file) = &mut tail.file
            && let Err(e) = file.write_all(&bytes)
        {
            // Half a record must not stand between whole ones.
            file.set_len(len)?;
            return Err(e);
        }
        tail.segments.insert(segment, len + bytes.len() as u64);
        self.keep_within(&mut tail)
    }

    /// Drops the oldest segments above the limit, and counts what the server has not got of them.
    fn keep_within(&self, tail: &mut Tail) -> io::Result<()> {
        while tail.segments.len() > 1 && tail.segments.values().sum::<u64>() > self.bytes_max {
            let Some((&oldest, &len)) = tail.segments.first_key_value() else { break };
            let mut at = if tail.cursor.segment == oldest { tail.cursor.offset } else { 0 };
            let mut file = File::open(self.path(oldest))?;
            while let Some((batch, next)) = record(&mut file, at, len)? {
                tail.dropped += batch.readings.len() as u64;
                at = next;
            }
            std::fs::remove_file(self.path(oldest))?;
            tail.segments.remove(&oldest);
            let first = tail.segments.keys().next().copied().unwrap_or(oldest + 1);
            if tail.cursor.segment < first {
                tail.cursor = Cursor { segment: first, offset: 0 };
            }
        }
        Ok(())
    }

    /// Makes everything appended so far survive a loss of power.
    pub fn sync(&self) -> io::Result<()> {
        let file = self.tail().file.as_ref().map(File::try_clone).transpose()?;
        file.map_or(Ok(()), |f| f.sync_data())
    }

    /// Bytes that wait for the server.
    pub fn waiting_bytes(&self) -> u64 {
        let tail = self.tail();
        let from = tail.cursor;
        tail.segments.range(from.segment..).map(|(s, len)| if *s == from.segment { len.saturating_sub(from.offset) } else { *len }).sum()
    }

    /// Readings dropped because the queue was full, since it was opened.
    pub fn dropped(&self) -> u64 {
        self.tail().dropped
    }

    /// Bytes that could not be read, torn records at the end included, since it was opened.
    pub fn damaged(&self) -> u64 {
        self.tail().damaged
    }

    /// The newest timestamp that the queue took of each site, as far as the newest segments say; empty for a new queue.
    pub fn newest(&self) -> io::Result<BTreeMap<String, Timestamp>> {
        let mut newest: BTreeMap<String, Timestamp> = BTreeMap::new();
        let segments: Vec<(u64, u64)> = self.tail().segments.iter().rev().take(2).map(|(s, l)| (*s, *l)).collect();
        for (segment, len) in segments {
            let (mut file, mut at) = (File::open(self.path(segment))?, 0);
            while let Some((batch, next)) = record(&mut file, at, len)? {
                let last = newest.entry(batch.site).or_insert(Timestamp::MIN);
                *last = batch.readings.iter().map(|r| r.at).max().unwrap_or(*last).max(*last);
                at = next;
            }
        }
        Ok(newest)
    }

    /// A reader that begins at the cursor.
    pub fn reader(&self) -> OutboxReader<'_> {
        OutboxReader { outbox: self, at: self.tail().cursor, file: None }
    }
}

/// Reads the queue in order. What was read is done with only once [`OutboxReader::done`] has been called.
pub struct OutboxReader<'a> {
    outbox: &'a Outbox,
    at: Cursor,
    file: Option<(u64, File)>,
}

impl OutboxReader<'_> {
    /// The next record; `None` where everything has been read.
    pub fn read(&mut self) -> io::Result<Option<Batch>> {
        loop {
            let (len, following) = {
                let tail = self.outbox.tail();
                // Dropped meanwhile.
                if self.at < tail.cursor {
                    self.at = tail.cursor;
                }
                let following = tail.segments.range(self.at.segment + 1..).next().map(|(s, _)| *s);
                (tail.segments.get(&self.at.segment).copied(), following)
            };
            let record = match len {
                Some(len) if self.at.offset < len => {
                    if self.file.as_ref().is_none_or(|(s, _)| *s != self.at.segment) {
                        self.file = Some((self.at.segment, File::open(self.outbox.path(self.at.segment))?));
                    }
                    match &mut self.file {
                        Some((_, file)) => record(file, self.at.offset, len)?,
                        None => None,
                    }
                }
                _ => None,
            };
            match (record, following) {
                (Some((batch, next)), _) => {
                    self.at.offset = next;
                    return Ok(Some(batch));
                }
                // The segment is read, or what is left of it is damaged.
                (None, Some(segment)) => {
                    self.outbox.tail().damaged += len.unwrap_or(0).saturating_sub(self.at.offset);
                    self.at = Cursor { segment, offset: 0 };
                }
                (None, None) => return Ok(None),
            }
        }
    }

    /// Everything read so far is with the server: moves the cursor and removes the segments before it.
    pub fn done(&mut self) -> io::Result<()> {
        let mut tail = self.outbox.tail();
        if self.at <= tail.cursor {
            return Ok(());
        }
        tail.cursor = self.at;
        let aside = self.outbox.dir.join("cursor-aside");
        std::fs::write(&aside, format!("{} {}\n", self.at.segment, self.at.offset))?;
        std::fs::rename(&aside, self.outbox.dir.join("cursor"))?;
        let passed: Vec<u64> = tail.segments.range(..self.at.segment).map(|(s, _)| *s).collect();
        for segment in passed {
            std::fs::remove_file(self.outbox.path(segment))?;
            tail.segments.remove(&segment);
        }
        Ok(())
    }
}

fn put(out: &mut Vec<u8>, site: &str, rows: &[Reading]) {
    let head = out.len();
    out.extend_from_slice(&[0; HEAD]);
    let name = &site.as_bytes()[..site.len().min(255)];
    out.push(name.len() as u8);
    out.extend_from_slice(name);
    for r in rows {
        out.extend_from_slice(&r.point.0.to_le_bytes());
        out.extend_from_slice(&r.at.0.to_le_bytes());
        out.extend_from_slice(&r.ns.to_le_bytes());
        out.extend_from_slice(&r.value.to_le_bytes());
        out.extend_from_slice(&r.quality.0.to_le_bytes());
    }
    let length = (out.len() - head - HEAD) as u32;
    let check = check(&out[head + HEAD..]);
    out[head..head + 4].copy_from_slice(&length.to_le_bytes());
    out[head + 4..head + HEAD].copy_from_slice(&check);
}

fn check(payload: &[u8]) -> [u8; 8] {
    let mut eight = [0; 8];
    eight.copy_from_slice(&blake3::hash(payload).as_bytes()[..8]);
    eight
}

/// The record at an offset and where the next one begins; `None` where there is no whole one.
fn record(file: &mut File, at: u64, len: u64) -> io::Result<Option<(Batch, u64)>> {
    if at + HEAD as u64 > len {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(at))?;
    let mut head = [0; HEAD];
    file.read_exact(&mut head)?;
    let [l0, l1, l2, l3, sum @ ..] = head;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let next = at + (HEAD + length) as u64;
    if length == 0 || length > RECORD_MAX || next > len {
        return Ok(None);
    }
    let mut payload = vec![0; length];
    file.read_exact(&mut payload)?;
    Ok((check(&payload) == sum).then(|| batch(&payload)).flatten().map(|b| (b, next)))
}

fn batch(payload: &[u8]) -> Option<Batch> {
    let (&name, rest) = payload.split_first()?;
    let (site, rows) = rest.split_at_checked(usize::from(name))?;
    let reading = |row: &[u8]| {
        Some(Reading {
            point: PointId(u32::from_le_bytes(row.get(..4)?.try_into().ok()?)),
            at: Timestamp(i64::from_le_bytes(row.get(4..12)?.try_into().ok()?)),
            ns: u32::from_le_bytes(row.get(12..16)?.try_into().ok()?),
            value: f64::from_le_bytes(row.get(16..24)?.try_into().ok()?),
            quality: Quality(u16::from_le_bytes(row.get(24..26)?.try_into().ok()?)),
        })
    };
    let readings = rows.chunks(ROW).map(reading).collect::<Option<Vec<_>>>()?;
    Some(Batch { site: std::str::from_utf8(site).ok()?.to_owned(), readings })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("tramuntana-outbox-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    fn rows(from: i64, n: i64) -> Vec<Reading> {
        (from..from + n)
            .map(|i| Reading { point: PointId(i as u32 % 7), at: Timestamp(i), ns: 7, value: i as f64, quality: Quality::GOOD })
            .collect()
    }

    fn all(outbox: &Outbox) -> Vec<i64> {
        let (mut reader, mut out) = (outbox.reader(), Vec::new());
        while let Some(b) = reader.read().unwrap() {
            out.extend(b.readings.iter().map(|r| r.at.0));
        }
        out
    }

    #[test]
    fn the_queue_is_in_order_and_knows_where_it_was() {
        let dir = scratch("order");
        let q = Outbox::open(&dir, u64::MAX).unwrap();
        q.append("a", &rows(0, 10_000)).unwrap();
        q.append("b", &rows(10_000, 3)).unwrap();
        assert_eq!(all(&q), (0..10_003).collect::<Vec<_>>());
        let mut reader = q.reader();
        assert_eq!(reader.read().unwrap().map(|b| (b.site, b.readings.len())), Some(("a".into(), 4096)));
        reader.done().unwrap();
        drop(q);
        let q = Outbox::open(&dir, u64::MAX).unwrap();
        assert_eq!(all(&q), (4096..10_003).collect::<Vec<_>>());
        assert_eq!(q.newest().unwrap().into_iter().collect::<Vec<_>>(), [("a".into(), Timestamp(9_999)), ("b".into(), Timestamp(10_002))]);
        q.append("b", &rows(10_003, 1)).unwrap();
        assert_eq!(all(&q).last(), Some(&10_003));
        // A lost cursor sends again what is there; nothing is left out.
        std::fs::remove_file(dir.join("cursor")).unwrap();
        assert_eq!(all(&Outbox::open(&dir, u64::MAX).unwrap()).len(), 10_004);
        // So does one that lies beyond the end of its segment.
        std::fs::write(dir.join("cursor"), "1 999999999\n").unwrap();
        assert_eq!(all(&Outbox::open(&dir, u64::MAX).unwrap()).len(), 10_004);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_torn_record_is_cut_off_wherever_it_is_torn() {
        let dir = scratch("torn");
        let q = Outbox::open(&dir, u64::MAX).unwrap();
        q.append("a", &rows(0, 3)).unwrap();
        let whole = q.waiting_bytes();
        q.append("a", &rows(3, 2)).unwrap();
        let end = q.waiting_bytes();
        drop(q);
        let log = dir.join("0000000001.rows");
        let bytes = std::fs::read(&log).unwrap();
        for cut in whole..end {
            std::fs::write(&log, &bytes[..cut as usize]).unwrap();
            let q = Outbox::open(&dir, u64::MAX).unwrap();
            assert_eq!(all(&q), [0, 1, 2], "cut at {cut}");
            q.append("a", &rows(9, 1)).unwrap();
            assert_eq!(all(&q), [0, 1, 2, 9], "cut at {cut}");
        }
        for flip in whole as usize..end as usize {
            let mut bad = bytes.clone();
            bad[flip] ^= 0x40;
            std::fs::write(&log, &bad).unwrap();
            assert_eq!(all(&Outbox::open(&dir, u64::MAX).unwrap()), [0, 1, 2], "damaged at {flip}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn passed_segments_go_and_a_full_queue_counts_what_it_drops() {
        let dir = scratch("full");
        let q = Outbox::open(&dir, 0).unwrap();
        let mut at = 0;
        while q.dropped() == 0 {
            q.append("a", &rows(at, 4096)).unwrap();
            at += 4096;
        }
        let left = all(&q);
        assert_eq!((left.len() as u64 + q.dropped(), left.last()), (at as u64, Some(&(at - 1))));
        let mut reader = q.reader();
        while reader.read().unwrap().is_some() {}
        reader.done().unwrap();
        let files = std::fs::read_dir(&dir).unwrap().count();
        assert_eq!((q.waiting_bytes(), files), (0, 2), "the newest segment and the cursor");
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
