//! The store at 10^8 readings, by hand (minutes, 1 GB of disk):
//! `TRAMUNTANA_BENCH_DIR=/var/tmp/size cargo test --release --test it store_size:: -- --ignored --nocapture`.
//!
//! 1,000 points, a reading every 30 s, 35 days (`DAYS` sets fewer; `REUSE=1` asks a store that is there already). Values as plants have them: temperatures with 0.1 K
//! resolution that wander, powers in whole watts with noise and a day's swing, utilisations in steps, energy counters,
//! setpoints. Half of the points are stamped on the second, half with up to 50 ms of jitter. `tests/bench/store` runs this
//! and compares the bytes with pandas' Parquet and VictoriaMetrics.

use crate::common::catalogue;
use rand::{Rng, SeedableRng};
use std::path::{Path, PathBuf};
use std::time::Instant;
use tramuntana::reading::{PointId, Quality, Reading};
use tramuntana::store::{Embedded, Store};
use tramuntana::time::{Span, Timestamp};

const POINTS: u32 = 1000;
const EVERY_MS: i64 = 30_000;
const DAY_MS: i64 = 86_400_000;
const DAY0: i64 = 1_784_000_000_000 / DAY_MS * DAY_MS;

/// The next value of a point.
fn next(point: u32, state: &mut f64, at: i64, rng: &mut impl Rng) -> f64 {
    let hour = (at % DAY_MS) as f64 / 3.6e6;
    match point % 20 {
        // Temperature, 0.1 K.
        0..=7 => {
            *state = (*state + rng.random_range(-0.08..0.08)).clamp(18.0, 45.0);
            (*state * 10.0).round() / 10.0
        }
        // Power, W.
        8..=13 => {
            *state = 0.9 * *state + rng.random_range(-40.0..40.0);
            (9000.0 + 1500.0 * (hour / 24.0 * std::f64::consts::TAU).sin() + *state).round()
        }
        // Utilisation, %, in jobs.
        14 | 15 => {
            if rng.random_bool(0.005) {
                *state = rng.random_range(0.0..100.0);
            }
            (*state + rng.random_range(-2.0..2.0)).clamp(0.0, 100.0).round()
        }
        // Energy, 0.1 kWh.
        16 | 17 => {
            *state += rng.random_range(0.05..0.12);
            (*state * 10.0).round() / 10.0
        }
        // A setpoint.
        18 => {
            if rng.random_bool(0.0005) {
                *state = f64::from(rng.random_range(20..35));
            }
            *state
        }
        // A flow, 0.01 L/min.
        _ => {
            *state = 0.8 * *state + rng.random_range(-1.0..1.0);
            ((600.0 + *state) * 100.0).round() / 100.0
        }
    }
}

/// Makes the disk forget what it has in memory, where that is permitted.
fn cold() -> bool {
    let _ = std::process::Command::new("sync").status();
    std::fs::write("/proc/sys/vm/drop_caches", "3").is_ok()
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

/// Fills a new store and says what it costs in time and bytes.
fn fill(dir: &Path, days: i64) {
    let _ = std::fs::remove_dir_all(dir);
    let store = Embedded::open(dir).unwrap();
    store.put_catalogue("hq", &catalogue(POINTS)).unwrap();
    let mut rng = rand::rngs::StdRng::seed_from_u64(5);
    let mut states: Vec<f64> = (0..POINTS).map(|p| if p % 20 < 8 { 24.0 + f64::from(p % 9) } else { 50.0 }).collect();
    let (mut appending, mut sealing, mut n) = (0.0, 0.0, 0_u64);
    for day in 0..days {
        for tick in 0..DAY_MS / EVERY_MS {
            let at = DAY0 + day * DAY_MS + tick * EVERY_MS;
            let batch: Vec<Reading> = (0..POINTS)
                .map(|p| {
                    let jitter = if p % 2 == 1 { rng.random_range(0..50) } else { 0 };
                    let value = next(p, &mut states[p as usize], at, &mut rng);
                    Reading { point: PointId(p), at: Timestamp(at + jitter), ns: 0, value, quality: Quality::GOOD }
                })
                .collect();
            let begin = Instant::now();
            n += store.append("hq", &batch).unwrap().stored;
            appending += begin.elapsed().as_secs_f64();
        }
        let begin = Instant::now();
        store.seal("hq", &Timestamp(DAY0 + day * DAY_MS).day()).unwrap();
        sealing += begin.elapsed().as_secs_f64();
    }
    store.compact().unwrap();
    println!("{n} readings; append {:.0} ns each, sealing {:.0} ns each", appending * 1e9 / n as f64, sealing * 1e9 / n as f64);
    let mut tiers: std::collections::BTreeMap<&str, (u64, u64)> = Default::default();
    for r in store.inspect("hq", false).unwrap() {
        let t = tiers.entry(r.tier).or_default();
        *t = (t.0 + r.rows, t.1 + r.bytes);
    }
    for (tier, (rows, bytes)) in &tiers {
        println!(
            "{tier}: {rows} rows, {bytes} bytes, {:.2} bytes a row, {:.2} a reading",
            *bytes as f64 / *rows as f64,
            *bytes as f64 / n as f64
        );
    }
    println!("all sealed files: {:.2} bytes a reading", store.stats().sealed_bytes as f64 / n as f64);
}

#[test]
#[ignore = "a measurement, not a test"]
fn hundred_million_readings() {
    let dir = std::env::var("TRAMUNTANA_BENCH_DIR").map_or_else(|_| std::env::temp_dir().join("tramuntana-size"), PathBuf::from);
    let days: i64 = std::env::var("DAYS").ok().and_then(|d| d.parse().ok()).unwrap_or(35);
    if std::env::var_os("REUSE").is_none() {
        fill(&dir, days);
    }
    let mut rng = rand::rngs::StdRng::seed_from_u64(6);
    let is_cold = cold();
    let store = Embedded::open(&dir).unwrap();
    store.catalogue("hq").unwrap();
    let mut took = Vec::new();
    for i in 0..20 {
        cold();
        let point = PointId(rng.random_range(0..POINTS));
        let from = Timestamp(DAY0 + (i % days) * DAY_MS);
        let begin = Instant::now();
        let rows = store.scan("hq", point, from, from + Span(DAY_MS), usize::MAX).unwrap();
        took.push(begin.elapsed().as_secs_f64() * 1e3);
        assert_eq!(rows.len() as i64, DAY_MS / EVERY_MS);
    }
    let worst = took.iter().copied().fold(0.0, f64::max);
    println!(
        "one day of one point{}: median {:.1} ms, worst {worst:.1} ms of 20",
        if is_cold { ", cold" } else { " (caches not dropped)" },
        median(took)
    );

    let points: Vec<PointId> = (0..POINTS).map(PointId).collect();
    let month = days.min(30);
    for step in [Span::minutes(5), Span::hours(1), Span::minutes(7)] {
        let mut took = Vec::new();
        let mut steps = 0_u64;
        for _ in 0..3 {
            cold();
            steps = 0;
            let begin = Instant::now();
            let mut count = |_, s: &[tramuntana::store::Step]| {
                steps += s.len() as u64;
                true
            };
            store.series_each("hq", &points, Timestamp(DAY0), Timestamp(DAY0 + month * DAY_MS), step, &mut count).unwrap();
            took.push(begin.elapsed().as_secs_f64());
        }
        println!("{month} days of {POINTS} points in steps of {step}: {steps} steps, median {:.2} s of 3", median(took));
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    println!("{}", status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default());
}
