//! Decoders in values per second on one core: `cargo bench --manifest-path tests/fuzz/Cargo.toml`, then
//! `tests/bench/decode_peers.py` beside it.
//!
//! `decode/*` is payload to samples (names, numbers, times); `rows/*` is topic and payload to (point, time, canonical value) of
//! known points; `take/*` is the whole intake: rows, judged (decode, route, gate); `memchr/*` is one pass of memchr over the same bytes:
//! what reading them costs at least. The payloads are made the same way in `decode_peers.py`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::path::Path;
use tramuntana_fuzz::event::Tally;
use tramuntana_fuzz::ingest::decode::sparkplug::Edges;
use tramuntana_fuzz::ingest::decode::sparkplug_wire::{Metric, Payload, Sent};
use tramuntana_fuzz::ingest::decode::{self, Batch, dsx};
use tramuntana_fuzz::ingest::rows::Rows;
use tramuntana_fuzz::ingest::{Packet, SiteIngest};
use tramuntana_fuzz::site::{Catalogue, Classes, SiteFile, Source};
use tramuntana_fuzz::time::Timestamp;

const T0: i64 = 1_784_000_000_000;
/// Messages of one round.
const MESSAGES: usize = 200;

fn site(source: &str) -> SiteFile {
    let undeclared = if source.contains("[[source.value]]") { "ignore" } else { "take" };
    let text = format!(
        "format = 1\n[site]\nid = \"b\"\nname = \"b\"\ntime_zone = \"UTC\"\n[bus]\nclock = \"data\"\n[[source]]\nfilter = \"#\"\nundeclared = \"{undeclared}\"\n{source}"
    );
    SiteFile::parse(Path::new("bench"), &text).expect("a good site file")
}

/// A site on a DSX bus.
fn bms() -> SiteFile {
    let text = "format = 1\n[site]\nid = \"b\"\nname = \"b\"\ntime_zone = \"UTC\"\n[bus]\nfilter = \"BMS/#\"\nintegration = \"US\"\nclock = \"data\"\n";
    SiteFile::parse(Path::new("bench"), text).expect("a good site file")
}

/// What blast.c sends: 7 keys, of which 4 are wanted.
fn json(i: usize, round: i64) -> Vec<u8> {
    let ns = (T0 + round * 1000 + i as i64) * 1_000_000 + 123_456;
    format!(
        r#"{{"ts":{ns},"node":"n{:03}","watts":{:.2},"inlet_c":{:.2},"gpu_util":{},"fan_rpm":{},"seq":{i}}}"#,
        i % 1000,
        300.0 + i as f64 * 0.31,
        22.0 + (i % 89) as f64 * 0.05,
        i % 101,
        4000 + i % 700
    )
    .into_bytes()
}

/// A Telegraf batch: 20 lines of 5 fields.
fn lines(i: usize, round: i64) -> Vec<u8> {
    let mut text = String::new();
    for line in 0..20 {
        let ns = (T0 + round * 1000 + i as i64) * 1_000_000;
        text += &format!(
            "cpu,cpu=cpu{line},host=n{:03} usage_user={:.2},usage_system={:.2},usage_idle={:.2},usage_iowait=0,ctx={}i {ns}\n",
            i % 1000,
            12.5 + i as f64 * 0.01,
            3.25,
            84.25,
            1000 + i
        );
    }
    text.into_bytes()
}

fn dsx_value(i: usize, round: i64) -> Vec<u8> {
    format!(r#"{{"value":{:.3},"timestamp":{},"quality":1}}"#, 21.0 + i as f64 * 0.001, T0 + round * 1000 + i as i64).into_bytes()
}

/// 50 readings of one sensor.
fn dcdb(i: usize, round: i64) -> Vec<u8> {
    (0..50i64)
        .flat_map(|k| [(300_000 + i as i64 + k).to_le_bytes(), ((T0 + round * 1000 + k) * 1_000_000).to_le_bytes()])
        .flatten()
        .collect()
}

/// 50 metrics by alias; without a sequence number a birth, which gives them their names.
fn sparkplug(i: usize, round: i64, seq: Option<u64>) -> Vec<u8> {
    let names: Vec<String> = (0..50).map(|k| format!("Rack {k}/Power")).collect();
    let metrics = (0..50).map(|k| Metric {
        name: seq.is_none().then(|| names[k as usize].as_str()),
        alias: Some(k),
        timestamp: Some((T0 + round * 1000 + i as i64) as u64),
        datatype: Some(10),
        value: Some(Sent::Double(300.0 + k as f64 + i as f64 * 0.01)),
        ..Metric::default()
    });
    Payload { timestamp: Some(T0 as u64), metrics: metrics.collect(), seq: seq.or(Some(0)), ..Payload::default() }
        .write()
}

/// The samples of all messages, counted.
fn samples(source: &Source, messages: &[Vec<u8>]) -> usize {
    let mut batch = Batch::default();
    let mut n = 0;
    for message in messages {
        batch.clear();
        decode::decode(source, "a/b", message, &mut batch).expect("good");
        n += black_box(&batch.samples).len() + black_box(&batch.run).len();
    }
    n
}

/// Takes rounds in whose timestamps go on, so that nothing is a duplicate. `first` makes the points known that need it.
fn take(
    c: &mut Criterion,
    name: &str,
    site: &SiteFile,
    first: &[Packet],
    topic: impl Fn(usize) -> String,
    payload: impl Fn(usize, i64) -> Vec<u8>,
) {
    let mut round = 0;
    let mut next = || {
        round += 1;
        (0..MESSAGES).map(|i| Packet { topic: topic(i), payload: payload(i, round).into(), retain: false }).collect::<Vec<_>>()
    };
    let (mut ingest, tally) = (SiteIngest::new(site, Classes::default(), Catalogue::new()), Tally::new());
    ingest.take(first, Timestamp(T0), &tally);
    let packets = next();
    let values = ingest.take(&packets, Timestamp(T0), &tally).values;
    let mut group = c.benchmark_group("take");
    group.throughput(Throughput::Elements(values));
    group.bench_function(name, |b| {
        b.iter_batched(&mut next, |packets| ingest.take(&packets, Timestamp(T0), &tally).readings.len(), criterion::BatchSize::LargeInput);
    });
    group.finish();

    let (mut rows, mut out) = (Rows::new(site), Vec::new());
    rows.take(first, &mut out);
    let mut once = |packets: &[Packet]| {
        out.clear();
        assert_eq!(rows.take(packets, &mut out), 0);
        out.len() as u64
    };
    assert_eq!(once(&packets), values);
    let mut group = c.benchmark_group("rows");
    group.throughput(Throughput::Elements(values));
    group.bench_function(name, |b| b.iter(|| once(black_box(&packets))));
    group.finish();
}

fn stateless(c: &mut Criterion, name: &str, source: &str, payload: impl Fn(usize, i64) -> Vec<u8>) {
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|i| payload(i, 0)).collect();
    let source = &site(source).sources[0];
    let values = samples(source, &messages);
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(values as u64));
    group.bench_function(name, |b| b.iter(|| samples(source, black_box(&messages))));
    group.finish();
    scan(c, name, &messages, values as u64);
}

/// One pass of memchr over the same bytes.
fn scan(c: &mut Criterion, name: &str, messages: &[Vec<u8>], values: u64) {
    let mut group = c.benchmark_group("memchr");
    group.throughput(Throughput::Elements(values));
    group.bench_function(name, |b| b.iter(|| messages.iter().map(|m| memchr::memchr_iter(b',', black_box(m)).count()).sum::<usize>()));
    group.finish();
}

fn all(c: &mut Criterion) {
    let plain = "format = \"json\"\ntime = \"ts\"\ntime_unit = \"ns\"\n";
    stateless(c, "json", plain, json);
    stateless(c, "line", "format = \"line\"\n", lines);
    stateless(c, "dcdb", "format = \"dcdb\"\n", dcdb);

    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|i| dsx_value(i, 0)).collect();
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(MESSAGES as u64));
    group.bench_function("dsx", |b| b.iter(|| black_box(&messages).iter().filter(|m| dsx::value(m).is_ok_and(|v| v.trusted)).count()));
    group.finish();
    scan(c, "dsx", &messages, MESSAGES as u64);

    let mut edges = Edges::default();
    edges.take("spBv1.0/g/NBIRTH/e", &sparkplug(0, 0, None), Timestamp(T0), &mut Batch::default()).expect("a birth");
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|i| sparkplug(i, 0, Some((i as u64 + 1) % 256))).collect();
    let values = 50 * MESSAGES as u64;
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(values));
    group.bench_function("sparkplug", |b| {
        b.iter(|| {
            let mut n = 0;
            for message in black_box(&messages) {
                let mut batch = Batch::default();
                edges.take("spBv1.0/g/NDATA/e", message, Timestamp(T0), &mut batch).expect("data");
                n += batch.samples.len();
            }
            n
        });
    });
    group.finish();
    scan(c, "sparkplug", &messages, values);

    let wanted = ["watts", "inlet_c", "gpu_util", "fan_rpm"].map(|k| format!("[[source.value]]\nkey = \"{k}\"\nunit = \"1\"\n")).concat();
    take(c, "json", &site(&format!("{plain}{wanted}")), &[], |i| format!("dc/h1/r{:02}/n{i:03}/telemetry", i / 20), json);
    let unit = "[[source.value]]\nkey = \"*\"\nunit = \"W\"\n";
    take(c, "line", &site(&format!("format = \"line\"\n{unit}")), &[], |i| format!("telegraf/n{i:03}/cpu"), lines);
    take(c, "dcdb", &site(&format!("format = \"dcdb\"\n{unit}scale = 0.001\n")), &[], |i| format!("/rack/n{i:03}/power"), dcdb);
    let path = |i: usize| format!("CDU/LiquidTemperature/hall/cdu{i:03}");
    let metadata = |i| Packet {
        topic: format!("BMS/v1/PUB/Metadata/{}", path(i)),
        payload: format!(
            r#"{{"objectType":"CDU","pointType":"LiquidTemperature","engUnit":"F","objectName":"{i}","objectId":"{i}","processArea":["Supply"]}}"#
        )
        .into_bytes()
        .into(),
        retain: true,
    };
    let metadata: Vec<Packet> = (0..MESSAGES).map(metadata).collect();
    take(c, "dsx", &bms(), &metadata, |i| format!("BMS/v1/PUB/Value/{}", path(i)), dsx_value);
    let birth = |i| Packet { topic: format!("spBv1.0/g/NBIRTH/e{i}"), payload: sparkplug(0, 0, None).into(), retain: false };
    let births: Vec<Packet> = (0..MESSAGES).map(birth).collect();
    take(c, "sparkplug", &site(&format!("format = \"sparkplug\"\n{unit}")), &births, |i| format!("spBv1.0/g/NDATA/e{i}"), |i, round| sparkplug(i, round, Some(round as u64 % 256)));
}

criterion_group!(benches, all);
criterion_main!(benches);
