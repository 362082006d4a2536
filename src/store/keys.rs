//! Keys and values of the key-value store.
//!
//! Hot row: `site u16 | point u32 | at i64` big-endian with the sign flipped, so that bytes sort as numbers do →
//! `value f64 | quality u16` little-endian. Record: `kind 0 site 0 at id` → JSON.

use super::Row;
use crate::reading::{PointId, Quality};
use crate::time::Timestamp;

pub const ROW_KEY: usize = 14;

fn ordered(at: Timestamp) -> [u8; 8] {
    ((at.0 as u64) ^ (1 << 63)).to_be_bytes()
}

fn instant(bytes: [u8; 8]) -> Timestamp {
    Timestamp((u64::from_be_bytes(bytes) ^ (1 << 63)) as i64)
}

pub fn row(site: u16, point: PointId, at: Timestamp) -> [u8; ROW_KEY] {
    let mut key = [0; ROW_KEY];
    key[..2].copy_from_slice(&site.to_be_bytes());
    key[2..6].copy_from_slice(&point.0.to_be_bytes());
    key[6..].copy_from_slice(&ordered(at));
    key
}

pub fn row_at(key: &[u8]) -> Option<Timestamp> {
    Some(instant(key.get(6..ROW_KEY)?.try_into().ok()?))
}

pub fn row_value(value: f64, quality: Quality) -> [u8; 10] {
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&value.to_le_bytes());
    bytes[8..].copy_from_slice(&quality.0.to_le_bytes());
    bytes
}

pub fn read_row(key: &[u8], value: &[u8]) -> Option<Row> {
    Some(Row {
        at: row_at(key)?,
        value: f64::from_le_bytes(value.get(..8)?.try_into().ok()?),
        quality: Quality(u16::from_le_bytes(value.get(8..10)?.try_into().ok()?)),
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
    fn keys_sort_as_time_does_and_rows_come_back() {
        let key = |t| row(1, PointId(7), Timestamp(t));
        assert!(key(-1) < key(0) && key(0) < key(1) && key(255) < key(256));
        assert!(row(1, PointId(7), Timestamp(i64::MAX)) < row(1, PointId(8), Timestamp(i64::MIN)));
        let quality = Quality::LATE.with(Quality::ESTIMATED);
        let back = read_row(&key(-5), &row_value(2.5, quality)).unwrap();
        assert_eq!(back, Row { at: Timestamp(-5), value: 2.5, quality });
        let k = record("ledger", "hq", Timestamp(9), "r-1");
        assert_eq!(read_record(&k, "ledger".len() + "hq".len() + 2), Some((Timestamp(9), "r-1".into())));
        assert_eq!(read_row(b"short", b""), None);
    }
}
