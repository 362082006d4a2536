//! The store's reader without its key-value store and its Parquet: log entries and chunks.

#[path = "../../../src/store/codec.rs"]
pub mod codec;
#[path = "../../../src/store/row.rs"]
mod row;

pub use row::Row;

/// Reads bytes as the store reads its log and its chunks, and holds what comes out to its promises: a chunk's times rise,
/// and what was read is written and read again as the same.
pub fn read(bytes: &[u8]) {
    if let Some(rows) = codec::read_chunk(bytes) {
        assert!(rows.windows(2).all(|w| w[0].stamp() < w[1].stamp()));
        let again = codec::read_chunk(&codec::chunk(&rows)).expect("what was written is read");
        let bits = |r: &Row| (r.stamp(), r.value.to_bits(), r.quality);
        assert!(again.len() == rows.len() && again.iter().zip(&rows).all(|(a, b)| bits(a) == bits(b)));
    }
    if let Some((site, readings)) = codec::read_entry(bytes) {
        let (site_again, again) = codec::read_entry(&codec::entry(site, readings.iter())).expect("what was written is read");
        assert!(site == site_again && again.len() == readings.len());
        assert!(again.iter().zip(&readings).all(|(a, b)| (a.point, a.stamp(), a.value.to_bits(), a.quality) == (b.point, b.stamp(), b.value.to_bits(), b.quality)));
    }
}
