#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tramuntana_fuzz::decode("thin_edge", "te/device/a///m/env", data);
});
