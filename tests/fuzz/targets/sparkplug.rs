#![no_main]

// Messages of one edge in a row: a byte says of what kind, two give the length.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut edges = tramuntana_fuzz::ingest::decode::sparkplug::Edges::default();
    let mut now = 0;
    for (kind, message) in tramuntana_fuzz::messages(data) {
        let topic = ["NBIRTH/e", "NDATA/e", "NDEATH/e", "DBIRTH/e/d", "DDATA/e/d", "DDEATH/e/d", "NCMD/e"][usize::from(kind % 7)];
        now += 3000;
        let mut batch = tramuntana_fuzz::ingest::decode::Batch::default();
        let at = tramuntana_fuzz::time::Timestamp(now);
        if edges.take(&format!("spBv1.0/g/{topic}"), message, at, &mut batch).is_ok() {
            tramuntana_fuzz::check(&batch);
        }
    }
});
