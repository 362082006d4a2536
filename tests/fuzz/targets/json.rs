#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tramuntana_fuzz::decode("json", "a/b", data);
});
