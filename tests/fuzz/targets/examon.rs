#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tramuntana_fuzz::decode("examon", "a/b", data);
});
