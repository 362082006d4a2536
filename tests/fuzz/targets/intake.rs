#![no_main]

use std::cell::RefCell;
use tramuntana_fuzz::ingest::{Packet, SiteIngest};

thread_local! {
    static SITE: RefCell<SiteIngest> = RefCell::new(tramuntana_fuzz::all_formats());
}

// Packets in a row into one site that speaks every format; a byte says on which topic, two give the length.
libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let packets: Vec<Packet> = tramuntana_fuzz::messages(data)
        .map(|(topic, payload)| Packet { topic: tramuntana_fuzz::topic(topic), payload: payload.to_vec().into(), retain: false })
        .collect();
    SITE.with_borrow_mut(|site| tramuntana_fuzz::take(site, &packets));
});
