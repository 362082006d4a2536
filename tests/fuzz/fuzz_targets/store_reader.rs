//! The store's reader: any bytes as a log entry and as a chunk. Seeds: real ones (`tests/fuzz/corpus/store_reader`).
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    tramuntana::store::read_bytes(bytes);
});
