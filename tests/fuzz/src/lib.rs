//! The intake without its link: the files of `src/` that turn bytes into readings, by path.

#[path = "../../../src/event.rs"]
pub mod event;
#[path = "../../../src/id.rs"]
pub mod id;
pub mod ingest;
#[path = "../../../src/reading.rs"]
pub mod reading;
#[path = "../../../src/site/mod.rs"]
pub mod site;
pub mod store;
#[path = "../../../src/time.rs"]
pub mod time;
#[path = "../../../src/units.rs"]
pub mod units;

use ingest::decode::{self as decoders, Batch, NAME_MAX, SAMPLES_MAX, Value};
use ingest::{Packet, SiteIngest};
use reading::Quality;

/// Topics of every format: those of the examples, and of a DSX bus.
const TOPICS: [&str; 24] = [
    "dc/h1/r1/n1/telemetry",
    "dc/odd",
    "plant/cdu1/supply_c",
    "plant/cdu1/pump",
    "org/bsc/cluster/mn5/node/n1/jobid/1/AVG_DC_POWER_W",
    "org/bsc/odd",
    "examon/json",
    "/r/n/power",
    "/DCDB_JOBDATA/",
    "/DCDB_MAP//r/n/power",
    "telegraf/n1/cpu",
    "spBv1.0/hall/NBIRTH/e",
    "spBv1.0/hall/NDATA/e",
    "spBv1.0/hall/NDEATH/e",
    "spBv1.0/hall/DBIRTH/e/d",
    "spBv1.0/hall/DDATA/e/d",
    "v1/devices/a/telemetry",
    "v1/gateway/telemetry",
    "te/device/a///m/env",
    "redfish/bmc1/metrics",
    "grid/v1/isv/a/loadtarget/set",
    "BMS/v1/PUB/Metadata/CDU/LiquidTemperature/a",
    "BMS/v1/PUB/Value/CDU/LiquidTemperature/a",
    "BMS/v1/US/Value/CDU/LiquidTemperature/a",
];

pub fn topic(n: u8) -> String {
    TOPICS[usize::from(n) % TOPICS.len()].into()
}

/// Splits fuzzed bytes into (kind, message): a byte, two bytes of length, the message.
pub fn messages(mut data: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let (&[kind, lo, hi], rest) = data.split_first_chunk::<3>()?;
        let (message, rest) = rest.split_at(usize::from(u16::from_le_bytes([lo, hi])).min(rest.len()));
        data = rest;
        Some((kind, message))
    })
}

/// What holds of every batch.
pub fn check(batch: &Batch<'_>) {
    assert!(batch.samples.len() + batch.run.len() <= SAMPLES_MAX + 1);
    assert!(batch.run.is_empty() || batch.samples.is_empty());
    assert!(batch.run.iter().all(|(at, value)| at.at.0 > 0 && value.is_finite()));
    for sample in &batch.samples {
        assert!(sample.key.len() <= NAME_MAX);
        assert!(sample.series.is_none_or(|s| batch.series[s as usize].len() <= NAME_MAX));
        assert!(!matches!(sample.value, Value::Number(n) if !n.is_finite()));
        assert!(sample.at.is_none_or(|t| t.at.0 > 0));
    }
}

/// Decodes a message of a format, and names what it brings.
pub fn decode(format: &str, topic: &str, payload: &[u8]) {
    let more = if format == "json" { "time = \"ts\"\ntags = [\"node\"]\n" } else { "" };
    let source: site::Source = toml::from_str(&format!("filter = \"#\"\nformat = \"{format}\"\n{more}")).expect("a source");
    let inflated = if decoders::may_be_gzip(source.format) { decoders::inflate::inflate(payload) } else { Ok(None) };
    let Ok(inflated) = inflated else { return };
    let mut batch = Batch::default();
    if decoders::decode(&source, topic, inflated.as_deref().unwrap_or(payload), &mut batch).is_ok() {
        check(&batch);
        for sample in &batch.samples {
            let _ = decoders::named(&source, topic, sample.series.map(|s| &*batch.series[s as usize]));
        }
    }
}

/// A site that speaks every format, made of the examples.
pub fn all_formats() -> SiteIngest {
    let mut sources = String::new();
    for text in [
        include_str!("../../../sensors/examples/bare.toml"),
        include_str!("../../../sensors/examples/dcdb.toml"),
        include_str!("../../../sensors/examples/examon.toml"),
        include_str!("../../../sensors/examples/flex.toml"),
        include_str!("../../../sensors/examples/json.toml"),
        include_str!("../../../sensors/examples/line.toml"),
        include_str!("../../../sensors/examples/redfish.toml"),
        include_str!("../../../sensors/examples/sparkplug.toml"),
        include_str!("../../../sensors/examples/thin-edge.toml"),
        include_str!("../../../sensors/examples/thingsboard.toml"),
    ] {
        let from = text.find("[[source]]").expect("a source");
        sources += text[from..].split("[[role]]").next().unwrap_or_default();
        sources.push('\n');
    }
    let text = format!(
        "format = 1\n[site]\nid = \"all\"\nname = \"all\"\ntime_zone = \"UTC\"\n[bus]\nfilter = \"BMS/#\"\nintegration = \"US\"\nclock = \"data\"\n{sources}"
    );
    let mut file = site::SiteFile::parse(std::path::Path::new("all"), &text).unwrap_or_else(|e| panic!("{e}"));
    for source in file.sources.iter_mut().filter(|s| s.keys_file.is_some()) {
        source.keys = include_str!("../../../sensors/examples/flex-keys.json").into();
    }
    SiteIngest::new(&file, site::Classes::default(), site::Catalogue::new())
}

/// Takes packets in and holds what comes out to its promises.
pub fn take(site: &mut SiteIngest, packets: &[Packet]) {
    let tally = event::Tally::new();
    let taken = site.take(packets, time::Timestamp(1_784_000_000_000), &tally);
    assert_eq!(taken.messages, packets.len() as u64);
    assert_eq!(taken.refused, tally.total(event::REFUSED));
    for reading in &taken.readings {
        assert!(reading.value.is_finite() || reading.quality.has(Quality::NO_VALUE));
        assert!(site.catalogue().get(reading.point).is_some());
    }
    for out in &taken.outgoing {
        assert!(ingest::publish::may_go_out(&out.topic, "US"));
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_format_has_its_topics() {
        let mut site = super::all_formats();
        let packets = |payload: &'static [u8]| -> Vec<super::Packet> {
            (0..24).map(|n| super::Packet { topic: super::topic(n), payload: payload.into(), retain: false }).collect()
        };
        super::take(&mut site, &packets(b""));
        super::take(&mut site, &packets(b"{\"watts\":1,\"temperature\":2,\"values\":{\"temperature\":3}}"));
        assert!(site.catalogue().len() >= 3);
    }
}
