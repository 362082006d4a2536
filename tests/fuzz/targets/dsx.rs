#![no_main]

use tramuntana_fuzz::ingest::decode::dsx;

// A topic, a line end, a payload.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let at = data.iter().position(|b| *b == b'\n').unwrap_or(data.len());
    let payload = data.get(at + 1..).unwrap_or_default();
    if let Ok(value) = dsx::value(payload) {
        assert!(value.value.is_none_or(f64::is_finite));
    }
    let topic = String::from_utf8_lossy(&data[..at]);
    let path = match dsx::Topic::parse(&topic) {
        Ok(dsx::Topic::Metadata { path } | dsx::Topic::Value { path, .. }) => path,
        Err(_) => "CDU/LiquidTemperature/x",
    };
    if let Ok(point) = dsx::metadata(path, payload) {
        assert!(!point.integration.contains('/') && point.unit().scale != 0.0);
    }
});
