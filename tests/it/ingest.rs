//! Integration tests of `ingest`: NVIDIA's recording, the order of metadata and values, clocks, hostile packets, the link.

use crate::common::{repository, shared};
use std::path::Path;
use std::time::Duration;
use tramuntana::event::{REFUSED, Tally};
use tramuntana::ingest::mqtt::{BrokerAddress, Delivery, LinkError, LinkOptions, LinkState, MqttLink, SendRefused, check_connection};
use tramuntana::ingest::publish::Outgoing;
use tramuntana::ingest::replay::Recording;
use tramuntana::ingest::{Packet, SiteIngest, Taken, publish};
use tramuntana::reading::Quality;
use tramuntana::site::{Catalogue, Classes, SiteFile};
use tramuntana::store::{Embedded, Store};
use tramuntana::time::{Span, Timestamp};

const T0: i64 = 1_784_000_000_000;

/// A site whose clock is `clock` and that we are `US` in.
fn site(clock: &str) -> SiteIngest {
    let text = format!(
        "format = 1\n[site]\nid = \"hall\"\nname = \"Hall\"\ntime_zone = \"UTC\"\n[bus]\nfilter = \"BMS/v1/PUB/+/+/+/hall/#\"\nintegration = \"US\"\nclock = \"{clock}\"\n"
    );
    let file = SiteFile::parse(Path::new("site.toml"), &text).unwrap();
    SiteIngest::new(&file, Classes::default(), Catalogue::new())
}

fn packet(topic: &str, payload: &str) -> Packet {
    Packet { topic: topic.into(), payload: payload.as_bytes().to_vec().into(), retain: false }
}

fn metadata(tag: &str, integration: &str) -> Packet {
    let ours = if integration.is_empty() { String::new() } else { format!(r#","integration":"{integration}""#) };
    let json =
        format!(r#"{{"objectType":"CDU","pointType":"LiquidTemperature","engUnit":"F","objectName":"{tag}","objectId":"{tag}"{ours}}}"#);
    packet(&format!("BMS/v1/PUB/Metadata/CDU/LiquidTemperature/hall/{tag}"), &json)
}

fn value(tag: &str, v: &str, at: i64) -> Packet {
    packet(&format!("BMS/v1/PUB/Value/CDU/LiquidTemperature/hall/{tag}"), &format!(r#"{{"value":{v},"timestamp":{at},"quality":1}}"#))
}

fn beat(at: i64) -> [Packet; 2] {
    let json = r#"{"objectType":"System","pointType":"HeartbeatTimestampBms","objectName":"BMS","objectId":"BMS"}"#;
    let path = "System/HeartbeatTimestampBms/hall/bms";
    [
        packet(&format!("BMS/v1/PUB/Metadata/{path}"), json),
        packet(&format!("BMS/v1/PUB/Value/{path}"), &format!(r#"{{"value":{at},"timestamp":{at},"quality":1}}"#)),
    ]
}

fn take(ingest: &mut SiteIngest, tally: &Tally, packets: &[Packet]) -> Taken {
    ingest.take(packets, Timestamp(T0), tally)
}

#[test]
fn values_wait_for_their_metadata_and_come_out_canonical() {
    let (mut hall, tally) = (site("bms"), Tally::new());
    let t = take(&mut hall, &tally, &[value("a", "68", T0), value("b", "50", T0), value("a", "null", T0 + 1)]);
    assert_eq!((t.readings.len(), t.values, t.refused, hall.waiting()), (0, 0, 0, 3));
    let t = take(&mut hall, &tally, &[metadata("a", "")]);
    assert!(t.catalogue_changed && hall.waiting() == 1);
    assert_eq!(t.values, 2);
    assert!((t.readings[0].value - 20.0).abs() < 1e-9 && t.readings[0].quality == Quality::GOOD);
    assert!(t.readings[1].value.is_nan() && t.readings[1].quality == Quality::NO_VALUE);
    let t = take(&mut hall, &tally, &[metadata("a", "")]);
    assert!(!t.catalogue_changed && t.refused == 0);
    let t = take(&mut hall, &tally, &[value("a", "68", T0 + 1), value("a", "68", T0)]);
    assert_eq!((t.duplicates, t.readings[0].quality), (1, Quality::LATE));
    assert_eq!(hall.latest(t.readings[0].point).unwrap().at, Timestamp(T0 + 1));
}

#[test]
fn early_values_are_bounded_and_the_dropped_ones_counted() {
    let (mut hall, tally) = (site("bms"), Tally::new());
    let flood: Vec<Packet> = (0..9000).map(|i| value("a", "68", T0 + i)).collect();
    let t = take(&mut hall, &tally, &flood);
    assert_eq!((hall.waiting(), t.refused), (8192, 9000 - 8192));
    assert_eq!(tally.get(REFUSED, "dsx/value before its metadata"), 9000 - 8192);
    assert_eq!(take(&mut hall, &tally, &[metadata("a", "")]).values, 8192);
}

#[test]
fn the_bms_heartbeat_is_the_clock() {
    let (mut hall, tally) = (site("bms"), Tally::new());
    take(&mut hall, &tally, &[metadata("a", "")]);
    assert_eq!(hall.clock(), None);
    let t = take(&mut hall, &tally, &beat(T0));
    assert_eq!((t.heartbeats, hall.clock()), (vec![Timestamp(T0)], Some(Timestamp(T0))));
    take(&mut hall, &tally, &beat(T0 + 10_000));
    let late = Span::hours(24 * 401).0;
    let t = take(&mut hall, &tally, &[value("a", "68", T0 + 310_001), value("a", "68", T0 - late), value("a", "68", T0 + 310_000)]);
    assert_eq!((t.refused, t.values, t.readings[0].quality), (2, 1, Quality::SKEWED));
    assert_eq!(tally.get(REFUSED, "dsx/ahead of the site's clock"), 1);
    assert_eq!(tally.get(REFUSED, "dsx/older than the retention"), 1);
    assert_eq!(hall.quarantine().count(), 2);
    // A repeated older heartbeat does not move the clock; a BMS that sets its clock back is followed.
    take(&mut hall, &tally, &beat(T0 + 5_000)[1..]);
    assert_eq!(hall.clock(), Some(Timestamp(T0 + 10_000)));
    take(&mut hall, &tally, &beat(T0 - 3_600_000)[1..]);
    assert_eq!(hall.clock(), Some(Timestamp(T0 - 3_600_000)));
    assert_eq!(take(&mut hall, &tally, &[value("a", "69", T0 - 3_600_000)]).readings[0].quality, Quality::GOOD);
}

#[test]
fn a_data_clock_follows_the_newest_value_and_the_hosts_pace() {
    let (mut hall, tally) = (site("data"), Tally::new());
    take(&mut hall, &tally, &[metadata("a", "")]);
    let t = hall.take(&[value("a", "68", 1000), value("a", "68", 1000 + 300_001)], Timestamp(T0), &tally);
    assert_eq!((t.values, t.refused, hall.clock()), (1, 1, Some(Timestamp(1000))));
    // An hour later by the host's clock an hour later by the data is no surprise.
    let t = hall.take(&[value("a", "68", 1000 + 3_600_000)], Timestamp(T0 + 3_600_000), &tally);
    assert_eq!((t.values, t.readings[0].quality), (1, Quality::GOOD));
}

#[test]
fn only_our_points_are_ours_and_foreign_integrations_cannot_speak_for_others() {
    let (mut hall, tally) = (site("bms"), Tally::new());
    take(&mut hall, &tally, &[metadata("a", ""), metadata("b", "US"), metadata("c", "NICO")]);
    let ours: Vec<(String, String)> = hall.our_points().map(|(p, t)| (p.object_id.clone(), t)).collect();
    assert_eq!(ours, [("b".to_owned(), "BMS/v1/US/Value/CDU/LiquidTemperature/hall/b".to_owned())]);
    let (point, _) = hall.our_points().next().unwrap();
    let out = publish::value(point, "US", 20.0, Timestamp(T0)).unwrap();
    assert_eq!(out.payload, br#"{"value":68,"timestamp":1784000000000,"quality":1}"#);
    let from = |who: &str, tag: &str| {
        packet(&format!("BMS/v1/{who}/Value/CDU/LiquidTemperature/hall/{tag}"), &format!(r#"{{"value":50,"timestamp":{T0},"quality":1}}"#))
    };
    let t = take(&mut hall, &tally, &[from("NICO", "c"), from("NICO", "b"), from("NICO", "a"), from("NICO", "unknown")]);
    assert_eq!((t.values, t.refused), (1, 3));
}

#[test]
fn any_bytes_are_taken_and_a_bad_message_does_not_stop_its_batch() {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};
    let (mut hall, tally) = (site("bms"), Tally::new());
    take(&mut hall, &tally, &[metadata("a", "")]);
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let good = [metadata("a", ""), value("a", "68", T0)];
    for round in 0..3000i64 {
        let mut p = good[(rng.next_u32() % 2) as usize].clone();
        for _ in 0..1 + rng.next_u32() % 4 {
            let mut payload = p.payload.to_vec();
            let at = rng.next_u32() as usize % payload.len();
            match rng.next_u32() % 3 {
                0 => payload[at] = rng.next_u32() as u8,
                1 => payload.truncate(at.max(1)),
                _ => payload.insert(at, rng.next_u32() as u8),
            }
            p.payload = payload.into();
        }
        if rng.next_u32().is_multiple_of(4) {
            let mut topic = p.topic.clone().into_bytes();
            let at = rng.next_u32() as usize % topic.len();
            topic[at] = rng.next_u32() as u8 & 0x7f;
            p.topic = String::from_utf8(topic).unwrap();
        }
        let t = take(&mut hall, &tally, &[p, metadata("a", ""), value("a", "68", T0 + 1_000_000 + round)]);
        assert!(t.values >= 1, "the good value behind a bad message is taken in");
    }
    assert!(tally.total(REFUSED) > 500 && hall.quarantine().count() == 256);
}

#[test]
fn every_shipped_points_file_loads() {
    for site in ["bsc-hq", "torre-girona", "dsx-exemplar"] {
        let classes = Classes::load(&repository().join("sensors").join(site).join("points")).unwrap();
        assert!(classes.len() > 20, "{site}");
    }
    assert!(Classes::load(Path::new("/nonexistent")).unwrap().is_empty());
}

#[test]
fn nvidias_recording_is_taken_in_whole() {
    let Some(path) = shared("data/dsx/exemplar.csv") else { return };
    let recording = Recording::load(&path).unwrap();
    assert_eq!(recording.messages.len(), 4711);
    let home = repository().join("sensors/dsx-exemplar");
    let file = SiteFile::load(&home.join("site.toml")).unwrap();
    let mut pod = SiteIngest::new(&file, Classes::load(&home.join("points")).unwrap(), Catalogue::new());
    let dir = std::env::temp_dir().join(format!("tramuntana-it-exemplar-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    let store = Embedded::open(&dir).unwrap();
    let (tally, mut stored, mut marked) = (Tally::new(), 0, Vec::new());
    let packets: Vec<Packet> = recording.messages.iter().map(|m| packet(&m.topic, &m.payload_at(Timestamp(T0)))).collect();
    for batch in packets.chunks(300) {
        let t = pod.take(batch, Timestamp(T0), &tally);
        store.put_catalogue("dsx-exemplar", pod.catalogue()).unwrap();
        stored += store.append("dsx-exemplar", &t.readings).unwrap().stored;
        marked.extend(t.readings.iter().filter(|r| !r.quality.is_good()).map(|r| (r.point, r.quality.text())));
    }
    let refused: Vec<_> = pod.quarantine().collect();
    assert_eq!((pod.catalogue().len(), stored, tally.total(REFUSED), pod.waiting()), (166, 4545, 0, 0), "{refused:?}");
    let names: Vec<_> = marked.iter().take(10).map(|(p, q)| (&pod.catalogue().get(*p).unwrap().path, q)).collect();
    assert!(marked.is_empty(), "{} marked: {names:?}", marked.len());
    drop(store);
    assert_eq!(Embedded::open(&dir).unwrap().catalogue("dsx-exemplar").unwrap().len(), 166);
    let _ = std::fs::remove_dir_all(&dir);
}

/// The rules of the bus, one by one (WIRE.md §1); the others have tests of their own above.
#[test]
fn metadata_reborn_changes_the_unit_and_keeps_the_number() {
    let (mut hall, tally) = (site("bms"), Tally::new());
    let t = take(&mut hall, &tally, &[metadata("a", ""), value("a", "68", T0)]);
    let id = t.readings[0].point;
    let celsius =
        |p: Packet| Packet { payload: String::from_utf8(p.payload.to_vec()).unwrap().replace("\"F\"", "\"C\"").into_bytes().into(), ..p };
    let t = take(&mut hall, &tally, &[celsius(metadata("a", "")), value("a", "21", T0 + 1000)]);
    assert!(t.catalogue_changed && t.readings[0].point == id);
    assert!((t.readings[0].value - 21.0).abs() < 1e-9 && t.readings[0].quality == Quality::GOOD, "no jump is seen where the unit changed");
    // A point that becomes ours is ours to publish, and no longer when it is another's.
    take(&mut hall, &tally, &[metadata("a", "US")]);
    assert_eq!(hall.our_points().count(), 1);
    take(&mut hall, &tally, &[metadata("a", "NICO")]);
    let (point, _) = (hall.catalogue().iter().next().unwrap(), ());
    assert!(hall.our_points().next().is_none() && publish::value(point, "US", 20.0, Timestamp(T0)).is_err());
}

#[test]
fn a_vanished_point_is_nobodys_and_its_values_wait() {
    let (mut hall, tally) = (site("bms"), Tally::new());
    let t = take(&mut hall, &tally, &[metadata("a", "US"), value("a", "68", T0)]);
    let id = t.readings[0].point;
    let withdrawn = Packet { payload: bytes::Bytes::new(), retain: true, ..metadata("a", "US") };
    let t = take(&mut hall, &tally, &[withdrawn.clone(), value("a", "70", T0 + 1000)]);
    assert!(t.catalogue_changed && t.refused == 0 && t.values == 0 && hall.waiting() == 1);
    assert!(hall.our_points().next().is_none() && hall.latest(id).unwrap().quality.has(Quality::NO_VALUE));
    let t = take(&mut hall, &tally, &[metadata("a", "US")]);
    assert_eq!((t.values, t.readings[0].point, hall.our_points().count()), (1, id, 1));
    assert_eq!(hall.latest(id).unwrap().quality, Quality::GOOD);
    assert_eq!(take(&mut hall, &tally, &[Packet { topic: "BMS/v1/PUB/Metadata/CDU/Status/x".into(), ..withdrawn }]).refused, 0);
}

#[test]
fn the_tag_path_is_identity_only_and_quality_other_than_1_is_distrust() {
    let (mut hall, tally) = (site("bms"), Tally::new());
    let odd = "BMS/v1/PUB/Metadata/CDU/LiquidTemperature/Return/Rack/7/isSetpoint";
    let json =
        r#"{"objectType":"CDU","pointType":"LiquidTemperature","engUnit":"C","objectName":"n","objectId":"i","processArea":["Supply"]}"#;
    take(&mut hall, &tally, &[packet(odd, json)]);
    let point = hall.catalogue().iter().next().unwrap();
    assert_eq!((point.process_area.as_slice(), point.is_setpoint, point.serves_id.len()), (&["Supply".to_owned()][..], false, 0));
    let sent = packet(&odd.replace("Metadata", "Value"), &format!(r#"{{"value":20,"timestamp":{T0},"quality":2}}"#));
    assert_eq!(take(&mut hall, &tally, &[sent]).readings[0].quality, Quality::DISTRUSTED);
    for refused in [
        packet("BMS/v1/US/Metadata/CDU/LiquidTemperature/x", json),
        packet("BMS/v1/PUB/Value/CDU/LiquidTemperature/x", &format!(r#"{{"value":20,"timestamp":{T0}}}"#)),
        packet(
            "BMS/v1/US/Value/CDU/LiquidTemperature/Return/Rack/7/isSetpoint",
            &format!(r#"{{"value":20,"timestamp":{T0},"quality":1}}"#),
        ),
    ] {
        assert_eq!(take(&mut hall, &tally, std::slice::from_ref(&refused)).refused, 1, "{}", refused.topic);
    }
}

/// A site without DSX: plain JSON as `../shared/peers/ingest/blast.c` sends it.
fn json_hall(undeclared: &str, max_points: usize) -> SiteIngest {
    let text = format!(
        r#"format = 1
[site]
id = "hall"
name = "Hall"
time_zone = "UTC"
[bus]
clock = "host"
[[source]]
filter = "dc/#"
format = "json"
topic = "dc/{{hall}}/{{rack}}/{{node}}/telemetry"
time = "ts"
time_unit = "ns"
undeclared = "{undeclared}"
max_points = {max_points}
[[source.value]]
key = "watts"
unit = "W"
path = "{{node}}/power"
object_type = "Node"
point_type = "NodePower"
object_id = "{{node}}"
serves_id = ["{{rack}}"]
[[source.value]]
key = "inlet_c"
unit = "°C"
path = "{{node}}/inlet"
[[source.value]]
key = "door"
path = "{{node}}/door"
state_text = [{{ value = 0, text = "shut" }}, {{ value = 1, text = "open" }}]
"#
    );
    SiteIngest::new(&SiteFile::parse(Path::new("site.toml"), &text).unwrap(), Classes::default(), Catalogue::new())
}

#[test]
fn plain_json_becomes_points_by_the_site_files_description() {
    let (mut hall, tally) = (json_hall("refuse", 1000), Tally::new());
    let ns = T0 * 1_000_000 + 999_999;
    let message =
        |more: &str| packet("dc/h1/r07/n345/telemetry", &format!(r#"{{"ts":{ns},"watts":1500,"inlet_c":22.5,"door":"open"{more}}}"#));
    let t = take(&mut hall, &tally, &[message("")]);
    assert!(t.catalogue_changed);
    assert_eq!((t.values, t.refused, hall.clock()), (3, 0, Some(Timestamp(T0))));
    assert_eq!(t.readings.iter().map(|r| (r.at.0, r.value)).collect::<Vec<_>>(), [(T0, 1.5), (T0, 22.5), (T0, 1.0)]);
    let power = hall.catalogue().get(hall.catalogue().id("n345/power").unwrap()).unwrap();
    assert_eq!(
        (power.object_type.as_str(), power.object_id.as_str(), power.serves_id.as_slice()),
        ("Node", "n345", &["r07".to_owned()][..])
    );
    // The same again: nothing new but two values that nobody declared and a state that there is not.
    let t = take(
        &mut hall,
        &tally,
        &[
            message(r#","seq":1,"node":"n345""#),
            packet("dc/h1/r07/n345/telemetry", &format!(r#"{{"door":"ajar","inlet_c":23,"ts":{}}}"#, ns + 1_000_000)),
        ],
    );
    assert_eq!((t.catalogue_changed, t.duplicates, t.values, t.refused), (false, 3, 1, 3), "{:?}", hall.quarantine().collect::<Vec<_>>());
    assert_eq!(tally.get(REFUSED, "json/value not declared in the site file"), 2);
    assert_eq!(tally.get(REFUSED, "json/text is no state of the point"), 1);
    assert_eq!(hall.quarantine().last().map(|r| (r.format, r.key.as_str())), Some(("json", "door")));
    // Beside the template, outside every source, and not JSON.
    take(&mut hall, &tally, &[packet("dc/h1/n1", "{\"watts\":1}"), packet("elsewhere", "1"), packet("dc/a/b/c/telemetry", "{")]);
    assert_eq!(tally.get(REFUSED, "json/topic not as the source's template"), 1);
    assert_eq!(tally.get(REFUSED, "json/message not JSON"), 1);
    assert_eq!(tally.get(REFUSED, "dsx/topic not under BMS/v1"), 1);
    // `ignore` passes over what is not declared, `take` stores it as sent.
    let (mut quiet, mut open) = (json_hall("ignore", 1000), json_hall("take", 1000));
    let one = [message(r#","seq":1"#)];
    assert_eq!((take(&mut quiet, &tally, &one).values, take(&mut quiet, &tally, &one).refused), (3, 0));
    assert_eq!((take(&mut open, &tally, &one).values, open.catalogue().id("dc/h1/r07/n345/telemetry/seq").is_some()), (4, true));
    assert!(tally.get(tramuntana::event::MESSAGES, "json") >= 8);
}

#[test]
fn points_keep_their_numbers_over_a_restart_and_bus_and_source_do_not_take_each_others() {
    let (mut hall, tally) = (json_hall("refuse", 1000), Tally::new());
    let one = [packet("dc/h1/r07/n1/telemetry", r#"{"inlet_c":22.5,"watts":900}"#)];
    let first = take(&mut hall, &tally, &one);
    let text = std::fs::read_to_string(repository().join("sensors/dsx-exemplar/site.toml")).unwrap();
    assert!(text.contains("clock"));
    let mut again = SiteIngest::new(&SiteFile::parse(Path::new("s"), &text).unwrap(), Classes::default(), hall.catalogue().clone());
    assert_eq!(again.catalogue().len(), 2);
    assert_eq!(take(&mut again, &tally, &[packet("BMS/v1/PUB/Value/n1/power/x", "{}")]).refused, 1);
    let claim = packet(
        "BMS/v1/PUB/Metadata/n1/power/x",
        r#"{"objectType":"n1","pointType":"power","engUnit":"W","objectName":"a","objectId":"a"}"#,
    );
    assert_eq!(take(&mut hall, &tally, &[claim]).refused, 0);
    assert_eq!(take(&mut hall, &tally, &one).readings.len(), 0, "the same host time is a duplicate");
    assert_eq!(first.readings.len(), 2);
}

#[test]
fn a_million_new_topics_cost_a_counter() {
    let (mut hall, tally) = (json_hall("refuse", 500), Tally::new());
    let known = [packet("dc/h1/r1/n1/telemetry", r#"{"watts":1}"#)];
    take(&mut hall, &tally, &known);
    for round in 0..100 {
        let flood: Vec<Packet> = (0..10_000).map(|i| packet(&format!("dc/h/r/x{round}-{i}/telemetry"), r#"{"watts":1}"#)).collect();
        take(&mut hall, &tally, &flood);
    }
    assert_eq!((hall.catalogue().len(), tally.get(REFUSED, "json/too many points of a source")), (500, 1_000_000 - 499));
    let t = hall.take(&known, Timestamp(T0 + 1), &tally);
    assert_eq!((t.values, hall.quarantine().count()), (1, 256));
}

/// A Sparkplug message of edge `e`: its metrics are (name, value, ms).
fn sparkplug(kind: &str, seq: Option<u64>, metrics: &[(&str, f64, i64)]) -> Packet {
    use tramuntana::ingest::decode::sparkplug_wire::{Metric, Payload, Sent};
    fn metric<'a>(&(name, value, at): &(&'a str, f64, i64)) -> Metric<'a> {
        Metric {
            name: Some(name),
            timestamp: Some(at as u64),
            datatype: Some(if name == "bdSeq" { 4 } else { 10 }),
            value: Some(if name == "bdSeq" { Sent::Long(value as u64) } else { Sent::Double(value) }),
            ..Metric::default()
        }
    }
    let payload = Payload { timestamp: Some(T0 as u64), metrics: metrics.iter().map(metric).collect(), seq, ..Payload::default() };
    Packet { topic: format!("spBv1.0/g/{kind}/e"), payload: payload.write().into(), retain: false }
}

#[test]
fn sparkplug_deaths_silence_gaps_cast_doubt_and_births_lift_both() {
    let text = "format = 1\n[site]\nid = \"hall\"\nname = \"Hall\"\ntime_zone = \"UTC\"\n[bus]\nclock = \"host\"\n[[source]]\nfilter = \"spBv1.0/#\"\nformat = \"sparkplug\"\n[[source.value]]\nkey = \"p\"\nunit = \"kW\"\npath = \"{edge}/p\"\n";
    let mut hall = SiteIngest::new(&SiteFile::parse(Path::new("s"), text).unwrap(), Classes::default(), Catalogue::new());
    let tally = Tally::new();
    let birth = sparkplug("NBIRTH", Some(0), &[("bdSeq", 3.0, T0), ("p", 5.0, T0 - 60_000)]);
    let t = take(&mut hall, &tally, std::slice::from_ref(&birth));
    let id = t.readings[0].point;
    let quality = |hall: &SiteIngest| hall.latest(id).unwrap().quality;
    let t = take(&mut hall, &tally, &[sparkplug("NDATA", Some(2), &[("p", 6.0, T0 - 50_000)])]);
    assert_eq!((quality(&hall), t.outgoing[0].topic.as_str()), (Quality::DISTRUSTED, "spBv1.0/g/NCMD/e"));
    // The rebirth repeats a value with its old timestamp: it is current all the same.
    take(&mut hall, &tally, std::slice::from_ref(&birth));
    assert_eq!((quality(&hall), hall.latest(id).unwrap().value), (Quality::GOOD, 5.0));
    let t = take(&mut hall, &tally, &[sparkplug("NDEATH", None, &[("bdSeq", 3.0, T0)])]);
    assert!(quality(&hall) == Quality::NO_VALUE && t.readings[0].value.is_nan() && t.readings[0].at == Timestamp(T0));
    take(&mut hall, &tally, std::slice::from_ref(&birth));
    assert_eq!((quality(&hall), hall.latest(id).unwrap().value), (Quality::GOOD, 5.0));
    // Another session's death: neither believed nor ignored.
    let t = take(&mut hall, &tally, &[sparkplug("NDEATH", None, &[("bdSeq", 2.0, T0)])]);
    assert_eq!((quality(&hall), t.outgoing.len(), t.readings.len()), (Quality::DISTRUSTED, 1, 0));
    // History is stored and never becomes the newest value.
    let mut old = sparkplug("NBIRTH", Some(0), &[("bdSeq", 3.0, T0), ("p", 7.0, T0)]);
    take(&mut hall, &tally, std::slice::from_ref(&old));
    let mut wire = tramuntana::ingest::decode::sparkplug_wire::Payload::read(&old.payload).unwrap();
    wire.seq = Some(1);
    wire.metrics[1].is_historical = true;
    wire.metrics[1].timestamp = Some(T0 as u64 + 10);
    old.topic = "spBv1.0/g/NDATA/e".into();
    old.payload = wire.write().into();
    let t = take(&mut hall, &tally, &[old]);
    assert_eq!((t.readings[0].quality, hall.latest(id).unwrap().at), (Quality::HISTORICAL, Timestamp(T0)));
}

/// A broker on a free loopback port, in this process.
fn broker() -> u16 {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = rumqttd::Config {
        router: rumqttd::RouterConfig {
            max_connections: 16,
            max_outgoing_packet_count: 200,
            max_segment_size: 1024 * 1024,
            max_segment_count: 10,
            ..Default::default()
        },
        v4: Some(
            [(
                "v4".to_owned(),
                rumqttd::ServerSettings {
                    name: "v4".into(),
                    listen: ([127, 0, 0, 1], port).into(),
                    tls: None,
                    next_connection_delay_ms: 1,
                    connections: rumqttd::ConnectionSettings {
                        connection_timeout_ms: 5000,
                        max_payload_size: 1024 * 1024,
                        max_inflight_count: 200,
                        auth: Some([("ann".to_owned(), "secret".to_owned())].into()),
                        external_auth: None,
                        dynamic_filters: true,
                    },
                },
            )]
            .into(),
        ),
        ..Default::default()
    };
    std::thread::spawn(move || rumqttd::Broker::new(config).start());
    for _ in 0..200 {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return port;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    panic!("the broker does not listen");
}

fn options(port: u16, password: &str, id: &str) -> LinkOptions {
    let address = BrokerAddress::parse(&format!("mqtt://ann:{password}@127.0.0.1:{port}")).unwrap();
    LinkOptions { clean_session: true, ..LinkOptions::new(address, id, vec!["BMS/v1/#".into()]) }
}

#[test]
fn the_link_delivers_in_order_publishes_what_is_ours_and_names_what_is_wrong() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let limit = Duration::from_secs(5);
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let nothing = check_connection(&options(free, "secret", "c"), limit).await.unwrap_err();
        assert!(matches!(nothing, LinkError::NothingThere { .. }), "{nothing}");
        assert!(nothing.to_string().contains(&format!("mqtt://ann@127.0.0.1:{free}")) && !nothing.to_string().contains("secret"));
        let port = broker();
        check_connection(&options(port, "secret", "c"), limit).await.unwrap();
        let wrong = check_connection(&options(port, "wrong-one", "c"), limit).await.unwrap_err();
        assert!(!matches!(wrong, LinkError::Timeout { .. }) && !wrong.to_string().contains("wrong-one"), "{wrong}");

        let (deliveries, mut inbox) = tokio::sync::mpsc::channel::<Delivery>(1);
        let (link, publisher, mut state) = MqttLink::new(options(port, "secret", "link"), "US", deliveries);
        let out = |i: i64| Outgoing {
            topic: "BMS/v1/US/Value/CDU/LiquidTemperature/hall/b".into(),
            payload: format!(r#"{{"value":{i},"timestamp":{},"quality":1}}"#, T0 + i).into_bytes(),
        };
        assert!(matches!(publisher.send(out(0)), Err(SendRefused::Down { .. })));
        let task = tokio::spawn(link.run(|| Timestamp(T0)));
        tokio::time::timeout(limit, state.wait_for(|s| matches!(s, LinkState::Up { .. }))).await.unwrap().unwrap();
        let foreign = Outgoing { topic: "BMS/v1/PUB/Value/CDU/Status/hall/x".into(), payload: vec![] };
        assert!(matches!(publisher.send(foreign), Err(SendRefused::NotOurs { .. })));
        for i in 0..3000 {
            publisher.send(out(i)).unwrap();
        }
        let mut got = Vec::new();
        while got.len() < 3000 {
            let delivery = tokio::time::timeout(limit, inbox.recv()).await.unwrap().unwrap();
            got.extend(delivery.packets.into_iter().map(|p| p.payload));
            delivery.receipt.acknowledge();
        }
        assert!(got.iter().enumerate().all(|(i, p)| *p == out(i as i64).payload), "in order, each once");
        drop(inbox);
        tokio::time::timeout(limit, task).await.unwrap().unwrap();
    });
}

#[test]
fn a_broker_that_is_not_there_is_tried_again_and_the_state_says_so() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let mut o = options(free, "secret", "retry");
        o.retry_first = Duration::from_millis(20);
        let (deliveries, inbox) = tokio::sync::mpsc::channel::<Delivery>(1);
        let (link, _publisher, mut state) = MqttLink::new(o, "US", deliveries);
        let task = tokio::spawn(link.run(|| Timestamp(T0)));
        let mut pauses = Vec::new();
        while pauses.len() < 3 {
            state.changed().await.unwrap();
            if let LinkState::Down { since, why, retry_at } = state.borrow_and_update().clone() {
                assert!(matches!(why, LinkError::NothingThere { .. }), "{why}");
                pauses.push((retry_at - since).0);
            }
        }
        assert_eq!(pauses, [20, 40, 80]);
        drop(inbox);
        tokio::time::timeout(Duration::from_secs(5), task).await.unwrap().unwrap();
    });
}

/// The hot path by hand: `cargo test --release --test it ingest::pace -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn pace() {
    let (mut hall, tally) = (site("bms"), Tally::new());
    let tags: Vec<String> = (0..1000).map(|i| format!("pod1/row{}/rack{i}/manifold/supply/value", i % 7)).collect();
    let known: Vec<Packet> = tags.iter().map(|t| metadata(t, "")).collect();
    take(&mut hall, &tally, &known);
    let steps: Vec<Vec<Packet>> =
        (0..300).map(|s| tags.iter().map(|t| value(t, &format!("{}.{:03}", 60 + s % 9, s), T0 + s * 10_000)).collect()).collect();
    let begin = std::time::Instant::now();
    let taken: u64 = steps.iter().map(|p| take(&mut hall, &tally, p).values).sum();
    println!("values: {taken}, {} ns each", begin.elapsed().as_nanos() as u64 / taken);
    let mut dc = json_hall("ignore", 50_000);
    let steps: Vec<Vec<Packet>> = (0..300i64)
        .map(|s| {
            (0..1000i64)
                .map(|n| {
                    let ts = (T0 + s * 1000) * 1_000_000 + n;
                    let json = format!(
                        r#"{{"ts":{ts},"node":"n{n:03}","watts":{}.{:02},"inlet_c":22.35,"gpu_util":{},"fan_rpm":4100,"seq":{s}}}"#,
                        300 + s,
                        n % 100,
                        n % 100
                    );
                    packet(&format!("dc/h1/r{:02}/n{n:03}/telemetry", n / 20), &json)
                })
                .collect()
        })
        .collect();
    let begin = std::time::Instant::now();
    let taken: u64 = steps.iter().map(|p| dc.take(p, Timestamp(T0 + 300_000), &tally).messages).sum();
    println!("plain JSON: {taken} messages, {} ns each", begin.elapsed().as_nanos() as u64 / taken);
    let begin = std::time::Instant::now();
    (0..100).for_each(|_| assert!(!take(&mut hall, &tally, &known).catalogue_changed));
    println!("known metadata: {} ns each", begin.elapsed().as_nanos() / 100_000);
}

/// The link's pace by hand: `cargo test --release --test it ingest::link_pace -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn link_pace() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let port = broker();
        let mut one_way = options(port, "secret", "pace");
        one_way.filters = vec!["BMS/v1/PUB/#".into()];
        one_way.at_least_once = std::env::var("QOS").is_ok_and(|q| q == "1");
        let (deliveries, mut inbox) = tokio::sync::mpsc::channel::<Delivery>(1);
        let (link, _publisher, mut state) = MqttLink::new(one_way, "US", deliveries);
        tokio::spawn(link.run(|| Timestamp(T0)));
        state.wait_for(|s| matches!(s, LinkState::Up { .. })).await.unwrap();
        let (client, mut events) = {
            let mut o = rumqttc::MqttOptions::new("bms", "127.0.0.1", port);
            o.set_credentials("ann", "secret");
            rumqttc::AsyncClient::new(o, 4096)
        };
        tokio::spawn(async move {
            loop {
                if let Err(e) = events.poll().await {
                    println!("publisher: {e}");
                    return;
                }
            }
        });
        let (steps, per_step) = (300usize, 300usize);
        let begin = std::time::Instant::now();
        let mut batches = 0;
        for step in 0..steps {
            for i in 0..per_step {
                let p = value(&format!("row{}/rack{i}", i % 7), "68.25", T0 + step as i64 * 10_000);
                client.publish(p.topic, rumqttc::QoS::AtMostOnce, false, p.payload).await.unwrap();
            }
            let mut got = 0;
            while got < per_step {
                let d = match tokio::time::timeout(Duration::from_secs(2), inbox.recv()).await {
                    Ok(d) => d.unwrap(),
                    Err(_) => panic!("step {step}: {got} of {per_step} after 2 s; state {:?}", *state.borrow()),
                };
                got += d.packets.len();
                batches += 1;
                d.receipt.acknowledge();
            }
        }
        let s = begin.elapsed().as_secs_f64();
        println!(
            "{steps} steps of {per_step} messages in lock-step: {:.0} steps/s, {:.1} batches a step",
            steps as f64 / s,
            batches as f64 / steps as f64
        );
    });
}
