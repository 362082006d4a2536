#![no_main]

use tramuntana_fuzz::ingest::decode::{Batch, flex};

// A key set, a message, and the message as the payload of a well-formed event.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let keys = flex::Keys::parse(include_str!("../../../sensors/examples/flex-keys.json")).expect("the example's keys");
    let text = String::from_utf8_lossy(data);
    let _ = flex::Keys::parse(&text);
    assert!(flex::decode(&keys, data, &mut Batch::default()).is_err(), "nothing here is signed");
    let event = format!(
        r#"{{"specversion":"1.0.2","type":"grid.loadtarget.set.v1","time":"2026-07-14T03:33:20Z","data":{}}}"#,
        serde_json::json!(text)
    );
    assert!(flex::decode(&keys, event.as_bytes(), &mut Batch::default()).is_err(), "nothing here is signed");
});
