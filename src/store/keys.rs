//! Keys and values of the key-value store.
//!
//! Chunk: `site u16 | point u32 | first instant i64` big-endian with the sign flipped, so that bytes sort as numbers do.
//! Record: `kind 0 site 0 at id` → JSON.

use super::hot::ChunkName;
use crate::reading::PointId;
use crate::time::Timestamp;

pub const CHUNK_KEY: usize = 14;

fn ordered(at: Timestamp) -> [u8; 8] {
    ((at.0 as u64) ^ (1 << 63)).to_be_bytes()
}

fn instant(bytes: [u8; 8]) -> Timestamp {
    Timestamp((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64)
}

pub fn chunk(site: u16, point: PointId, first: Timestamp) -> [u8; CHUNK_KEY] {
    let mut key = [0; CHUNK_KEY];
    key[..2].copy_from_slice(&site.to_be_bytes());
    key[2..6].copy_from_slice(&point.0.to_be_bytes());
    key[6..].copy_from_slice(&ordered(first));
    key
}

pub fn read_chunk(key: &[u8]) -> Option<ChunkName> {
    let key = <&[u8; CHUNK_KEY]>::try_from(key).ok()?;
    Some(ChunkName {
        site: u16::from_be_bytes(key[..2].try_into().ok()?),
        point: PointId(u32::from_be_bytes(key[2..6].try_into().ok()?)),
        first: instant(key[6..].try_into().ok()?),
    })
}

pub fn record(kind: &str, site: &str, at: Timestamp, id: &str) -> Vec<u8> {
    let mut key = Vec::with_capacity(kind.len() + site.len() + id.len() + 10);
    for part in [kind, site] {
        key.extend_from_slice(part.as_bytes());
        key.push(0);
    }
    key.extend_from_slice(&ordered(at));
    key.extend_from_slice(id.as_bytes());
    key
}

/// Time and identifier of a record's key, given the length of its `kind 0 site 0` head.
pub fn read_record(key: &[u8], head: usize) -> Option<(Timestamp, String)> {
    let at = instant(key.get(head..head + 8)?.try_into().ok()?);
    Some((at, String::from_utf8_lossy(key.get(head + 8..)?).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_as_time_does_and_come_back() {
        let key = |t| chunk(1, PointId(7), Timestamp(t));
        assert!(key(-1) < key(0) && key(0) < key(1) && key(255) < key(256));
        assert!(chunk(1, PointId(7), Timestamp(i64::MAX)) < chunk(1, PointId(8), Timestamp(i64::MIN)));
        assert_eq!(read_chunk(&key(-5)), Some(ChunkName { site: 1, point: PointId(7), first: Timestamp(-5) }));
        let k = record("ledger", "hq", Timestamp(9), "r-1");
        assert_eq!(read_record(&k, "ledger".len() + "hq".len() + 2), Some((Timestamp(9), "r-1".into())));
        assert_eq!(read_chunk(b"short"), None);
    }
}
