//! How rows become bytes in the hot store: the *entry* of one append in the log, and the *chunk* of one point.
//!
//! Entry: version, site, number of rows; then by column: point and time as differences to the row before (zigzag
//! varints), value as 8 bytes; then flags, and what they announce: marks of 2 bytes a row, nanoseconds as a varint a row.
//! Chunk: version, number of rows; then by row: the change of the time step, and the value XORed with the one before, without
//! its zero bytes at either end (after Pelkonen et al., "Gorilla", VLDB 2015, in whole bytes); then runs of equal marks; in
//! version 2 a varint of nanoseconds a row. Times are milliseconds; rows without nanoseconds cost nothing for them.
//! Invariants: decoding is total (any bytes give rows or `None`), allocates no more than the bytes can mean, and gives
//! back exactly what was encoded, NaN payloads included; a chunk's times rise strictly.

use super::Row;
use crate::reading::{PointId, Quality, Reading};
use crate::time::Timestamp;

const ENTRY_VERSION: u8 = 1;
/// Flags of an entry.
const MARKED: u8 = 1;
const FINE: u8 = 2;
/// A chunk without nanoseconds, and one with them.
const CHUNK_PLAIN: u8 = 1;
const CHUNK_FINE: u8 = 2;
/// Rows that one entry or chunk may claim to have.
pub const ROWS_MAX: usize = 1 << 24;

fn zigzag(v: i64) -> u64 {
    ((v << 1) ^ (v >> 63)) as u64
}

fn unzigzag(v: u64) -> i64 {
    ((v >> 1) as i64) ^ -((v & 1) as i64)
}

fn put_varint(out: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        out.push(v as u8 | 0x80);
        v >>= 7;
    }
    out.push(v as u8);
}

/// Reads from the front of a slice.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(head)
    }
    fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }
    fn varint(&mut self) -> Option<u64> {
        let mut v = 0_u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            v |= u64::from(b & 0x7f) << shift;
            if b < 0x80 {
                return Some(v);
            }
        }
        None
    }
    /// A number of rows of at least `each` bytes a row.
    fn rows(&mut self, each: usize) -> Option<usize> {
        let n = usize::try_from(self.varint()?).ok()?;
        (n <= ROWS_MAX && n.checked_mul(each)? <= self.0.len()).then_some(n)
    }
    /// The nanoseconds within a millisecond.
    fn ns(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok().filter(|ns| *ns < 1_000_000)
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }
}

/// The log entry of one append.
pub fn entry<'a>(site: u16, readings: impl ExactSizeIterator<Item = &'a Reading> + Clone) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + readings.len() * 12);
    out.push(ENTRY_VERSION);
    out.extend_from_slice(&site.to_le_bytes());
    put_varint(&mut out, readings.len() as u64);
    let (mut point, mut at) = (0_i64, 0_i64);
    for r in readings.clone() {
        put_varint(&mut out, zigzag(i64::from(r.point.0) - point));
        put_varint(&mut out, zigzag(r.at.0.wrapping_sub(at)));
        out.extend_from_slice(&r.value.to_bits().to_le_bytes());
        (point, at) = (i64::from(r.point.0), r.at.0);
    }
    let marked = readings.clone().any(|r| !r.quality.is_good());
    let fine = readings.clone().any(|r| r.ns > 0);
    out.push(if marked { MARKED } else { 0 } | if fine { FINE } else { 0 });
    if marked {
        readings.clone().for_each(|r| out.extend_from_slice(&r.quality.0.to_le_bytes()));
    }
    if fine {
        readings.for_each(|r| put_varint(&mut out, u64::from(r.ns)));
    }
    out
}

/// What an entry holds: the site's number and the readings.
pub fn read_entry(bytes: &[u8]) -> Option<(u16, Vec<Reading>)> {
    let mut b = Bytes(bytes);
    if b.byte()? != ENTRY_VERSION {
        return None;
    }
    let site = b.u16()?;
    let n = b.rows(10)?;
    let mut readings = Vec::with_capacity(n);
    let (mut point, mut at) = (0_i64, 0_i64);
    for _ in 0..n {
        point = point.checked_add(unzigzag(b.varint()?))?;
        at = at.wrapping_add(unzigzag(b.varint()?));
        let value = f64::from_bits(u64::from_le_bytes(b.take(8)?.try_into().ok()?));
        readings.push(Reading { point: PointId(u32::try_from(point).ok()?), at: Timestamp(at), ns: 0, value, quality: Quality::GOOD });
    }
    let flags = b.byte().filter(|f| f & !(MARKED | FINE) == 0)?;
    for r in readings.iter_mut().filter(|_| flags & MARKED != 0) {
        r.quality = Quality(b.u16()?);
    }
    for r in readings.iter_mut().filter(|_| flags & FINE != 0) {
        r.ns = b.ns()?;
    }
    b.0.is_empty().then_some((site, readings))
}

/// A chunk of rows in rising order of time.
pub fn chunk(rows: &[Row]) -> Vec<u8> {
    let mut out = Vec::with_capacity(16 + rows.len() * 6);
    let fine = rows.iter().any(|r| r.ns > 0);
    out.push(if fine { CHUNK_FINE } else { CHUNK_PLAIN });
    put_varint(&mut out, rows.len() as u64);
    let (mut at, mut step, mut bits) = (0_i64, 0_i64, 0_u64);
    for r in rows {
        let this = r.at.0.wrapping_sub(at);
        put_varint(&mut out, zigzag(this.wrapping_sub(step)));
        (at, step) = (r.at.0, this);
        let x = r.value.to_bits() ^ bits;
        bits = r.value.to_bits();
        let low = (x.trailing_zeros() / 8).min(7);
        let len = if x == 0 { 0 } else { 8 - x.leading_zeros() / 8 - low };
        out.push((low << 4 | len) as u8);
        out.extend_from_slice(&(x >> (8 * low)).to_le_bytes()[..len as usize]);
    }
    let mut rest = rows;
    while let Some(first) = rest.first() {
        let run = rest.iter().take_while(|r| r.quality == first.quality).count();
        put_varint(&mut out, run as u64);
        out.extend_from_slice(&first.quality.0.to_le_bytes());
        rest = &rest[run..];
    }
    if fine {
        rows.iter().for_each(|r| put_varint(&mut out, u64::from(r.ns)));
    }
    out
}

/// The rows of a chunk.
pub fn read_chunk(bytes: &[u8]) -> Option<Vec<Row>> {
    let mut b = Bytes(bytes);
    let fine = match b.byte()? {
        CHUNK_PLAIN => false,
        CHUNK_FINE => true,
        _ => return None,
    };
    let n = b.rows(2)?;
    let mut rows: Vec<Row> = Vec::with_capacity(n);
    let (mut at, mut step, mut bits) = (0_i64, 0_i64, 0_u64);
    for i in 0..n {
        step = step.wrapping_add(unzigzag(b.varint()?));
        let next = at.wrapping_add(step);
        if i > 0 && (next < at || (next == at && !fine)) {
            return None;
        }
        at = next;
        let head = b.byte()?;
        let (low, len) = (u32::from(head >> 4), usize::from(head & 15));
        if low > 7 || len + low as usize > 8 {
            return None;
        }
        let mut x = [0; 8];
        x[..len].copy_from_slice(b.take(len)?);
        bits ^= u64::from_le_bytes(x) << (8 * low);
        rows.push(Row { at: Timestamp(at), ns: 0, value: f64::from_bits(bits), quality: Quality::GOOD });
    }
    let mut done = 0;
    while done < n {
        let run = usize::try_from(b.varint()?).ok()?;
        let quality = Quality(b.u16()?);
        let rows = rows.get_mut(done..done.checked_add(run)?).filter(|r| !r.is_empty())?;
        rows.iter_mut().for_each(|r| r.quality = quality);
        done += run;
    }
    for r in rows.iter_mut().filter(|_| fine) {
        r.ns = b.ns()?;
    }
    if fine && rows.windows(2).any(|w| w[0].stamp() >= w[1].stamp()) {
        return None;
    }
    b.0.is_empty().then_some(rows)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn same(a: &Row, b: &Row) -> bool {
        a.stamp() == b.stamp() && a.quality == b.quality && a.value.to_bits() == b.value.to_bits()
    }

    #[test]
    fn what_was_encoded_comes_back_bit_for_bit() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(7);
        for (n, fine) in [(0_usize, false), (1, true), (2, false), (77, true), (1000, false), (1000, true)] {
            let mut at = -5_i64;
            let rows: Vec<Row> = (0..n)
                .map(|i| {
                    at += if i % 9 == 0 { rng.random_range(1..1_000_000_000) } else { 1000 };
                    let value = match i % 5 {
                        0 => f64::NAN,
                        1 => rng.random(),
                        2 => -0.0,
                        3 => f64::MAX,
                        _ => 21.5,
                    };
                    // With nanoseconds, several rows lie within one millisecond.
                    let (at, ns) = if fine { (i as i64 / 9 * 1000, (i % 9 * 100_000) as u32) } else { (at, 0) };
                    Row { at: Timestamp(at), ns, value, quality: Quality((i / 7 % 3) as u16) }
                })
                .collect();
            let back = read_chunk(&chunk(&rows)).unwrap();
            assert!(back.len() == n && back.iter().zip(&rows).all(|(a, b)| same(a, b)));
            let readings: Vec<Reading> = rows.iter().map(|r| r.reading(PointId(rng.random_range(0..200_000)))).collect();
            let (site, back) = read_entry(&entry(9, readings.iter())).unwrap();
            let same = |a: &Reading, b: &Reading| {
                (a.point, a.stamp(), a.quality) == (b.point, b.stamp(), b.quality) && a.value.to_bits() == b.value.to_bits()
            };
            assert!(site == 9 && back.len() == n && back.iter().zip(&readings).all(|(a, b)| same(a, b)));
        }
        let extremes = [i64::MIN, -1, i64::MAX].map(|t| Row { at: Timestamp(t), ns: 0, value: 1.0, quality: Quality::GOOD });
        assert_eq!(read_chunk(&chunk(&extremes)).unwrap(), extremes);
    }

    #[test]
    fn bytes_that_mean_nothing_are_refused_and_cost_nothing() {
        let row = |i: i64, ns| Row { at: Timestamp(i * 10), ns, value: i as f64, quality: Quality::LATE };
        for rows in [(0..50).map(|i| row(i, 0)).collect::<Vec<_>>(), (0..50).map(|i| row(i / 3, i as u32)).collect()] {
            let good = chunk(&rows);
            assert_eq!(read_chunk(&good), Some(rows));
            for cut in 0..good.len() {
                assert_eq!(read_chunk(&good[..cut]), None, "cut at {cut}");
            }
        }
        let good = chunk(&(0..50).map(|i| row(i, 0)).collect::<Vec<_>>());
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        for _ in 0..20_000 {
            let mut bytes = good.clone();
            let i = rng.random_range(0..bytes.len());
            bytes[i] = rng.random();
            let _ = read_chunk(&bytes);
            let noise: Vec<u8> = (0..rng.random_range(0..40)).map(|_| rng.random()).collect();
            let _ = (read_chunk(&noise), read_entry(&noise));
        }
        // Claims a million rows in ten bytes.
        assert_eq!(read_chunk(&[1, 0xff, 0xff, 0x3f, 0, 0, 0, 0, 0, 0]), None);
    }
}
