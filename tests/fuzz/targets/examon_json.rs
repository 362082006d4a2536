#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tramuntana_fuzz::decode("examon_json", "a/b", data);
});
