//! Decoders in values per second on one core: `cargo bench --manifest-path tests/fuzz/Cargo.toml`, then
//! `tests/bench/decode_peers.py` beside it.
//!
//! `decode/*` is bytes to samples, `take/*` is bytes to judged readings of known points (decode, route, gate), `memchr/*` is
//! one pass of memchr over the same bytes: what reading them costs at least. The payloads are made the same way in
//! `decode_peers.py`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use std::hint::black_box;
use std::path::Path;
use tramuntana_fuzz::event::Tally;
use tramuntana_fuzz::ingest::decode::sparkplug::Edges;
use tramuntana_fuzz::ingest::decode::sparkplug_wire::{Metric, Payload, Sent};
use tramuntana_fuzz::ingest::decode::{self, Batch, dsx};
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

/// 50 metrics by alias.
fn sparkplug(i: usize, round: i64, birth: bool) -> Vec<u8> {
    let metrics = (0..50).map(|k| Metric {
        name: birth.then(|| format!("Rack {k}/Power")),
        alias: Some(k),
        timestamp: Some((T0 + round * 1000 + i as i64) as u64),
        datatype: Some(10),
        value: Some(Sent::Double(300.0 + k as f64 + i as f64 * 0.01)),
        ..Metric::default()
    });
    Payload { timestamp: Some(T0 as u64), metrics: metrics.collect(), seq: Some(if birth { 0 } else { (i as u64 + 1) % 256 }), uuid: None }
        .encode_to_vec()
}

/// The samples of all messages, counted.
fn samples(source: &Source, messages: &[Vec<u8>]) -> usize {
    let mut batch = Batch::default();
    let mut n = 0;
    for message in messages {
        batch.clear();
        decode::decode(source, "a/b", message, &mut batch).expect("good");
        n += black_box(&batch.samples).len();
    }
    n
}

/// Takes rounds in whose timestamps go on, so that nothing is a duplicate.
fn take(c: &mut Criterion, name: &str, source: &str, topic: impl Fn(usize) -> String, payload: impl Fn(usize, i64) -> Vec<u8>) {
    let mut ingest = SiteIngest::new(&site(source), Classes::default(), Catalogue::new());
    let tally = Tally::new();
    let mut round = 0;
    let mut next = || {
        round += 1;
        (0..MESSAGES).map(|i| Packet { topic: topic(i), payload: payload(i, round).into(), retain: false }).collect::<Vec<_>>()
    };
    let values = ingest.take(&next(), Timestamp(T0), &tally).values;
    let mut group = c.benchmark_group("take");
    group.throughput(Throughput::Elements(values));
    group.bench_function(name, |b| {
        b.iter_batched(&mut next, |packets| ingest.take(&packets, Timestamp(T0), &tally).readings.len(), criterion::BatchSize::LargeInput);
    });
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
    edges.take("spBv1.0/g/NBIRTH/e", &sparkplug(0, 0, true), Timestamp(T0), &mut Batch::default()).expect("a birth");
    let messages: Vec<Vec<u8>> = (0..MESSAGES).map(|i| sparkplug(i, 0, false)).collect();
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
    take(c, "json", &format!("{plain}{wanted}"), |i| format!("dc/h1/r{:02}/n{i:03}/telemetry", i / 20), json);
    take(c, "line", "format = \"line\"\n", |i| format!("telegraf/n{i:03}/cpu"), lines);
    take(c, "dcdb", "format = \"dcdb\"\n", |i| format!("/rack/n{i:03}/power"), dcdb);
}

criterion_group!(benches, all);
criterion_main!(benches);
