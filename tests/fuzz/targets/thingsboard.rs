#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    tramuntana_fuzz::decode("thingsboard", "v1/gateway/telemetry", data);
    tramuntana_fuzz::decode("thingsboard", "v1/devices/me/telemetry", data);
});
