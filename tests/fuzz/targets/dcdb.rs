#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for topic in ["/r/n/power", "/DCDB_JOBDATA/", "/DCDB_MAP//r/n/power", "/DCDB_MAP/METADATA//r/n/power"] {
        tramuntana_fuzz::decode("dcdb", topic, data);
    }
});
