//! A copy of the hot store as it stands at one moment, taken while it is written to.
//!
//! Words: *frozen* is the hot store as a snapshot sees it; it goes out as *frames*: `keyspace u8 | key length u32 | value length u32 |
//! key | value`, little-endian, and an end frame (`0xFF | number of frames u64`), so that a stream that was cut short is seen.
//! Invariants: a frozen store is consistent over all its keyspaces: an append is in its log, or in its chunks, once; what was appended
//! before the freeze is in it, what came after is not. Sealed days are files that appear whole and are copied after the freeze:
//! what left the hot rows until then is in them, and what went there since is in both, where reading shows it once.

use super::StoreError;
use super::embedded::Embedded;
use super::hot::Hot;
use fjall::{Keyspace, Readable, Snapshot};
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

const END: u8 = 0xFF;
/// Keys and values longer than this are no frames of ours: the log's entries are the longest and stay far below.
const PART_MAX: usize = 256 << 20;
/// Bytes that go into the new store in one batch.
const BATCH_BYTES: usize = 4 << 20;

/// The hot store at one moment. While it lives, the key-value store keeps what it shows.
pub struct Frozen {
    hot: Arc<Hot>,
    snapshot: Snapshot,
}

/// The keyspaces in the order of their frames' first byte.
fn spaces(hot: &Hot) -> [&Keyspace; 4] {
    [&hot.meta, hot.log_space(), hot.chunk_space(), &hot.records]
}

impl Embedded {
    /// Takes the hot store as it is now; cheap.
    pub fn freeze(&self) -> Result<Frozen, StoreError> {
        let hot = self.hot()?;
        Ok(Frozen { snapshot: hot.snapshot(), hot })
    }
}

impl Frozen {
    /// Writes every frame; returns their number. An error of `out` comes back as it is in `Err(Ok(…))`.
    pub fn write(&self, out: &mut dyn Write) -> Result<u64, Result<std::io::Error, StoreError>> {
        let mut frames = 0_u64;
        for (n, space) in spaces(&self.hot).into_iter().enumerate() {
            for guard in self.snapshot.iter(space) {
                let (key, value) = guard.into_inner().map_err(|e| Err(self.hot.fault(&e)))?;
                let mut head = [n as u8; 9];
                head[1..5].copy_from_slice(&(key.len() as u32).to_le_bytes());
                head[5..].copy_from_slice(&(value.len() as u32).to_le_bytes());
                out.write_all(&head).and_then(|()| out.write_all(&key)).and_then(|()| out.write_all(&value)).map_err(Ok)?;
                frames += 1;
            }
        }
        out.write_all(&[END]).and_then(|()| out.write_all(&frames.to_le_bytes())).and_then(|()| out.flush()).map_err(Ok)?;
        Ok(frames)
    }
}

/// One frame as it was read, or the end with the number of frames that it says.
enum Part {
    Entry(u8, Vec<u8>, Vec<u8>),
    End(u64),
}

fn read_part(from: &mut dyn Read) -> std::io::Result<Part> {
    let wrong = |what: String| std::io::Error::new(std::io::ErrorKind::InvalidData, what);
    let mut first = [0];
    from.read_exact(&mut first)?;
    if first[0] == END {
        let mut n = [0; 8];
        from.read_exact(&mut n)?;
        return Ok(Part::End(u64::from_le_bytes(n)));
    }
    let mut sizes = [0; 8];
    from.read_exact(&mut sizes)?;
    let size = |i: usize| u32::from_le_bytes([sizes[i], sizes[i + 1], sizes[i + 2], sizes[i + 3]]) as usize;
    let (key, value) = (size(0), size(4));
    if usize::from(first[0]) >= 4 || key > 65_535 || value > PART_MAX {
        return Err(wrong(format!("no frame: keyspace {}, key of {key} bytes, value of {value}", first[0])));
    }
    // By what really comes, not by what the head claims.
    let mut part = |n: usize| {
        let mut bytes = Vec::new();
        Read::take(&mut *from, n as u64).read_to_end(&mut bytes)?;
        if bytes.len() < n { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok::<_, std::io::Error>(bytes) }
    };
    Ok(Part::Entry(first[0], part(key)?, part(value)?))
}

/// Passes frames on as they are, up to and with the end; returns their number.
pub fn pass(from: &mut dyn Read, to: &mut dyn Write) -> std::io::Result<u64> {
    let mut frames = 0;
    loop {
        match read_part(from)? {
            Part::Entry(space, key, value) => {
                to.write_all(&[space])?;
                to.write_all(&(key.len() as u32).to_le_bytes())?;
                to.write_all(&(value.len() as u32).to_le_bytes())?;
                to.write_all(&key)?;
                to.write_all(&value)?;
                frames += 1;
            }
            Part::End(n) => {
                to.write_all(&[END])?;
                to.write_all(&n.to_le_bytes())?;
                to.flush()?;
                counted(frames, n)?;
                return Ok(frames);
            }
        }
    }
}

fn counted(frames: u64, said: u64) -> std::io::Result<()> {
    let why = || format!("{frames} frames came, {said} were sent");
    if frames == said { Ok(()) } else { Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why())) }
}

/// Makes the hot store of a new data directory from frames. The directory gets its format's mark last.
pub fn build(dir: &Path, from: &mut dyn Read) -> Result<u64, StoreError> {
    let io = |e: std::io::Error| StoreError::io(dir, &e);
    let bad = |e: std::io::Error| StoreError::Damaged { dir: dir.into(), why: format!("the backup's hot rows: {e}") };
    std::fs::create_dir_all(dir).map_err(io)?;
    let hot = Hot::open(dir)?;
    let (mut batch, mut bytes, mut frames) = (hot.batch(), 0, 0);
    loop {
        match read_part(from).map_err(bad)? {
            Part::Entry(space, key, value) => {
                bytes += key.len() + value.len();
                batch.insert(spaces(&hot)[usize::from(space)], key, value);
                frames += 1;
            }
            Part::End(n) => {
                counted(frames, n).map_err(bad)?;
                hot.commit(batch)?;
                break;
            }
        }
        if bytes >= BATCH_BYTES {
            hot.commit(std::mem::replace(&mut batch, hot.batch()))?;
            bytes = 0;
        }
    }
    hot.sync()?;
    drop(hot);
    std::fs::write(dir.join("FORMAT"), format!("{}\n", super::FORMAT)).map_err(io)?;
    std::fs::File::open(dir.join("FORMAT")).and_then(|f| f.sync_all()).map_err(io)?;
    Ok(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_that_were_cut_short_or_are_none_are_refused() {
        let mut whole = vec![1, 1, 0, 0, 0, 2, 0, 0, 0, b'k', b'v', b'w', END];
        whole.extend_from_slice(&1_u64.to_le_bytes());
        let mut out = Vec::new();
        assert_eq!(pass(&mut &whole[..], &mut out).unwrap(), 1);
        assert_eq!(out, whole);
        for cut in 0..whole.len() {
            assert!(pass(&mut &whole[..cut], &mut Vec::new()).is_err(), "{cut}");
        }
        let mut short_of_one = whole.clone();
        short_of_one[13] = 2;
        assert!(pass(&mut &short_of_one[..], &mut Vec::new()).unwrap_err().to_string().contains("1 frames came, 2 were sent"));
        assert!(pass(&mut &[7, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0][..], &mut Vec::new()).is_err());
        assert!(pass(&mut &[1, 1, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0][..], &mut Vec::new()).is_err());
    }
}
