#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tramuntana_fuzz::store::read(data);
});
