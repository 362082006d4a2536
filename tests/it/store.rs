//! Integration tests of `store`: what was acknowledged is there, once, whatever kills the process.

use crate::common::catalogue;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tramuntana::reading::{PointId, Quality, Reading};
use tramuntana::site::{Catalogue, Point};
use tramuntana::store::{Appended, Embedded, Expired, Keep, Row, Step, Store, StoreError};
use tramuntana::time::{Span, Timestamp};
use tramuntana::units::Kind;

const DAY0: i64 = 1_784_000_000_000 / 86_400_000 * 86_400_000;
const BATCH: usize = 50;

/// A directory of this test, removed at its end.
struct Scratch(PathBuf);
impl Scratch {
    fn new(name: &str) -> Scratch {
        let dir = std::env::temp_dir().join(format!("tramuntana-it-store-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        std::fs::create_dir_all(&dir).unwrap();
        Scratch(dir)
    }
}
impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn open(dir: &Path, points: u32) -> Embedded {
    let store = Embedded::open(dir).unwrap();
    store.put_catalogue("hq", &catalogue(points)).unwrap();
    store
}

fn reading(point: u32, at: i64, value: f64) -> Reading {
    Reading { point: PointId(point), at: Timestamp(at), ns: 0, value, quality: Quality::GOOD }
}

/// Reading number `n` of the numbered series that the crash tests write: three points in turn, one a second.
fn numbered(n: u64) -> Reading {
    reading((n % 3) as u32, DAY0 + (n as i64) * 1000, n as f64)
}

/// All numbers in the store, sorted; asserts that each sits under its own timestamp.
fn numbers(store: &Embedded) -> Vec<u64> {
    let mut all = Vec::new();
    for p in 0..3 {
        for row in store.scan("hq", PointId(p), Timestamp(0), Timestamp(i64::MAX), usize::MAX).unwrap() {
            assert_eq!(numbered(row.value as u64), reading(p, row.at.0, row.value));
            all.push(row.value as u64);
        }
    }
    all.sort_unstable();
    all
}

#[test]
fn the_first_of_a_point_and_time_stays_and_is_counted_once() {
    let dir = Scratch::new("once");
    let store = open(&dir.0, 3);
    let batch = [reading(0, 1000, 1.0), reading(1, 1000, 2.0), reading(0, 1000, 9.0), reading(0, 3000, 3.0)];
    assert_eq!(store.append("hq", &batch).unwrap(), Appended { stored: 3, duplicates: 1 });
    let late = [reading(0, 2000, 4.0), reading(0, 2000, 8.0), reading(0, 1000, 7.0)];
    assert_eq!(store.append("hq", &late).unwrap(), Appended { stored: 1, duplicates: 2 });
    drop(store);
    let store = open(&dir.0, 3);
    assert_eq!(store.append("hq", &batch).unwrap(), Appended { stored: 0, duplicates: 4 });
    let rows = store.scan("hq", PointId(0), Timestamp(0), Timestamp(3000), 10).unwrap();
    assert_eq!(rows.iter().map(|r| (r.at.0, r.value)).collect::<Vec<_>>(), [(1000, 1.0), (2000, 4.0)]);
    assert_eq!(store.scan("hq", PointId(0), Timestamp(0), Timestamp(9000), 2).unwrap().len(), 2);
    assert_eq!(store.scan("hq", PointId(2), Timestamp(0), Timestamp(9000), 2).unwrap(), []);
    assert!(matches!(store.append("hq", &[reading(3, 1, 1.0)]), Err(StoreError::Refused { .. })));
    assert!(matches!(store.append("a/b", &batch), Err(StoreError::Refused { .. })));
}

#[test]
fn readings_of_one_millisecond_are_told_apart_whatever_order_they_come_in() {
    let dir = Scratch::new("nanoseconds");
    let mut rng = rand::rngs::StdRng::seed_from_u64(11);
    // Two points: one with more rows in a millisecond than a chunk has, one with some in each of several.
    let mut all: Vec<Reading> = (0..5000).map(|i| Reading { ns: i * 200, ..reading(0, DAY0 + 7, f64::from(i)) }).collect();
    all.extend((0..3000).map(|i| Reading { ns: i % 40 * 25_000, ..reading(1, DAY0 + i64::from(i / 40), f64::from(i)) }));
    for i in 0..all.len() {
        // Mostly in order, some far from their place.
        let near = if i % 7 == 0 { all.len() } else { (i + 20).min(all.len()) };
        all.swap(i, rng.random_range(i..near));
    }
    let mut store = open(&dir.0, 2);
    for part in all.chunks(97) {
        let n = part.len() as u64;
        assert_eq!(store.append("hq", part).unwrap(), Appended { stored: n, duplicates: 0 });
        assert_eq!(store.append("hq", part).unwrap(), Appended { stored: 0, duplicates: n });
        match rng.random_range(0..8) {
            0 => store.compact().unwrap(),
            1 => {
                drop(store);
                store = open(&dir.0, 2);
            }
            2 => drop(store.seal("hq", &Timestamp(DAY0).day()).unwrap()),
            _ => {}
        }
    }
    let mut want: Vec<Vec<Row>> = (0..2).map(|p| all.iter().filter(|r| r.point == PointId(p)).map(Row::from).collect()).collect();
    want.iter_mut().for_each(|rows| rows.sort_by_key(Row::stamp));
    let have = |store: &Embedded| vec![rows(store, 0), rows(store, 1)];
    assert!(have(&store) == want);
    store.seal("hq", &Timestamp(DAY0).day()).unwrap();
    assert!(have(&store) == want);
    // Once more into a sealed day: seen once, before and after it is sealed again.
    store.append("hq", &all).unwrap();
    assert!(have(&store) == want);
    store.seal("hq", &Timestamp(DAY0).day()).unwrap();
    assert!(have(&store) == want);
    assert!(store.inspect("hq", true).unwrap().iter().all(|r| r.fault.is_none()));
}

#[test]
fn points_keep_their_numbers_and_sites_do_not_mix() {
    let dir = Scratch::new("sites");
    {
        let store = open(&dir.0, 2);
        store.put_catalogue("chapel", &catalogue(1)).unwrap();
        store.append("hq", &[reading(0, 5, 1.0)]).unwrap();
        store.append("chapel", &[reading(0, 5, 2.0)]).unwrap();
    }
    let store = Embedded::open(&dir.0).unwrap();
    let again: Vec<Point> = store.catalogue("hq").unwrap().iter().cloned().collect();
    assert_eq!(again, catalogue(2).iter().cloned().collect::<Vec<_>>());
    assert_eq!(store.catalogue("chapel").unwrap().len(), 1);
    let value = |site| store.scan(site, PointId(0), Timestamp(0), Timestamp(9), 9).unwrap()[0].value;
    assert_eq!((value("hq"), value("chapel")), (1.0, 2.0));
    let mut other = Catalogue::new();
    let mut p = catalogue(1).iter().next().unwrap().clone();
    p.path = "CDU/Status/other".into();
    other.upsert(p);
    assert!(matches!(store.put_catalogue("hq", &other), Err(StoreError::Refused { .. })));
}

#[test]
fn records_come_back_by_kind_site_and_time() {
    let dir = Scratch::new("records");
    let store = open(&dir.0, 1);
    for (kind, site, at) in [("rec", "hq", 30), ("rec", "hq", 10), ("rec", "hq", 20), ("rec", "chapel", 15), ("recommendation", "hq", 15)] {
        store.put_record(kind, site, Timestamp(at), &format!("{kind}-{at}"), format!("{{\"at\":{at}}}").as_bytes()).unwrap();
    }
    let ids = |from, to, limit| {
        store.records("rec", "hq", Timestamp(from), Timestamp(to), limit).unwrap().into_iter().map(|r| r.id).collect::<Vec<_>>()
    };
    assert_eq!(ids(0, 30, 9), ["rec-10", "rec-20"]);
    assert_eq!(ids(0, 99, 2), ["rec-20", "rec-30"]);
    assert_eq!(store.records("rec", "chapel", Timestamp(0), Timestamp(99), 9).unwrap()[0].json, b"{\"at\":15}");
}

#[test]
fn a_sealed_day_reads_back_as_the_hot_rows_did() {
    let dir = Scratch::new("seal");
    let store = open(&dir.0, 3);
    let mut readings: Vec<Reading> = (0..5000).map(|n| numbered(n * 40)).collect();
    readings[7].value = f64::NAN;
    readings[7].quality = Quality::NO_VALUE.with(Quality::DISTRUSTED);
    assert_eq!(store.append("hq", &readings).unwrap().stored, 5000);
    let day = Timestamp(DAY0).day();
    let all = |store: &Embedded| {
        (0..3)
            .map(|p| store.scan("hq", PointId(p), Timestamp(0), Timestamp(i64::MAX), usize::MAX).unwrap())
            .flat_map(|rows| rows.into_iter().map(|r| (r.at, r.value.to_bits(), r.quality)))
            .collect::<Vec<_>>()
    };
    let (before, series) = (all(&store), store.series("hq", PointId(1), Timestamp(0), Timestamp(i64::MAX), Span::hours(1)).unwrap());
    assert_eq!(store.hot_days("hq").unwrap().len(), 3);
    let in_day = readings.iter().filter(|r| r.at.day() == day).count() as u64;
    assert_eq!(store.seal("hq", &day).unwrap(), in_day);
    assert_eq!((store.days("hq").unwrap(), store.hot_days("hq").unwrap().len()), (vec![day.clone()], 2));
    assert_eq!(all(&store), before);
    let sealed = store.series("hq", PointId(1), Timestamp(0), Timestamp(i64::MAX), Span::hours(1)).unwrap();
    assert_eq!(sealed.len(), series.len());
    for (a, b) in sealed.iter().zip(&series) {
        // Ready-made means are rounded to a millionth of their step's range.
        assert_eq!(Step { mean: 0.0, ..*a }, Step { mean: 0.0, ..*b });
        assert!((a.mean - b.mean).abs() <= 1e-6 * (b.max - b.min), "{a:?} {b:?}");
    }
    // A late row of the sealed day is seen at once, and is in the file after sealing again; so is a row that comes twice.
    store.append("hq", &[reading(0, DAY0 + 1, -1.0), readings[0]]).unwrap();
    assert_eq!(all(&store).len(), 5001);
    assert_eq!(store.seal("hq", &day).unwrap(), in_day + 1);
    assert_eq!(all(&store).len(), 5001);
    drop(store);
    let store = Embedded::open(&dir.0).unwrap();
    assert_eq!(all(&store).len(), 5001);
    assert_eq!(store.seal("hq", "2001-01-01").unwrap(), 0);
    assert!(matches!(store.seal("hq", "../../x"), Err(StoreError::Refused { .. })));
    assert_eq!(store.stats().sealed_days, 1);
}

const DAY_MS: i64 = 86_400_000;

fn rows(store: &Embedded, point: u32) -> Vec<Row> {
    store.scan("hq", PointId(point), Timestamp(0), Timestamp(i64::MAX), usize::MAX).unwrap()
}

/// Steps made by hand.
fn steps_of(model: &BTreeMap<i64, f64>, from: i64, to: i64, step: i64) -> Vec<(i64, u32, f64, f64, f64)> {
    let mut out: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    model.range(from..to).for_each(|(t, v)| out.entry(t.div_euclid(step) * step).or_default().push(*v));
    let fold = |v: &[f64], f: fn(f64, f64) -> f64| v.iter().copied().fold(f64::NAN, f);
    out.into_iter()
        .map(|(t, v)| (t, v.len() as u32, v.iter().sum::<f64>() / v.len() as f64, fold(&v, f64::min), fold(&v, f64::max)))
        .collect()
}

#[test]
fn whatever_order_rows_come_in_each_is_there_once_in_its_day() {
    let dir = Scratch::new("order");
    let mut rng = rand::rngs::StdRng::seed_from_u64(11);
    let mut store = open(&dir.0, 4);
    let mut model: Vec<BTreeMap<i64, f64>> = vec![BTreeMap::new(); 4];
    let (mut clock, mut stored, mut duplicates) = (DAY0, 0, 0);
    for round in 0..60 {
        let mut batch = Vec::new();
        for _ in 0..200 {
            let point = rng.random_range(0..4_u32);
            // Mostly in order, sometimes late by up to two days, sometimes again.
            let at = match rng.random_range(0..10) {
                0..=6 => {
                    clock += rng.random_range(1..120_000);
                    clock
                }
                7 | 8 => (clock - rng.random_range(0..2 * DAY_MS)).max(DAY0),
                _ => model[point as usize].keys().next_back().copied().unwrap_or(clock),
            };
            batch.push(reading(point, at, rng.random_range(0..500) as f64 / 10.0));
        }
        // Sealed rows are only met when reading; hot ones, and those of the batch, at once.
        let done = store.append("hq", &batch).unwrap();
        for r in &batch {
            model[r.point.0 as usize].entry(r.at.0).or_insert(r.value);
        }
        (stored, duplicates) = (stored + done.stored, duplicates + done.duplicates);
        match round % 10 {
            3 => store.compact().unwrap(),
            6 => drop(store.seal_before("hq", Timestamp(clock - DAY_MS)).unwrap()),
            8 => {
                drop(store);
                store = open(&dir.0, 4);
            }
            _ => {}
        }
    }
    assert_eq!(stored + duplicates, 60 * 200);
    assert!(store.days("hq").unwrap().len() > 2 && !store.hot_days("hq").unwrap().is_empty());
    let check = |store: &Embedded| {
        for (p, model) in model.iter().enumerate() {
            let there: Vec<(i64, f64)> = rows(store, p as u32).iter().map(|r| (r.at.0, r.value)).collect();
            assert!(there == model.iter().map(|(t, v)| (*t, *v)).collect::<Vec<_>>(), "point {p}");
        }
        // Steps: of all points at once, with and without ready-made ones, across days, from and to anywhere.
        for (step, from, to) in [
            (300_000, DAY0, DAY0 + 30 * DAY_MS),
            (3_600_000, DAY0, clock),
            (7 * 60_000, DAY0 + 12_345, clock - 99),
            (5 * 3_600_000, DAY0, clock),
            (3 * DAY_MS, DAY0 - DAY_MS, clock),
        ] {
            let points = [PointId(2), PointId(0), PointId(3)];
            let mut found: BTreeMap<u32, Vec<Step>> = BTreeMap::new();
            let mut keep = |id: PointId, steps: &[Step]| {
                found.entry(id.0).or_default().extend_from_slice(steps);
                true
            };
            store.series_each("hq", &points, Timestamp(from), Timestamp(to), Span(step), &mut keep).unwrap();
            for p in points {
                let expected = steps_of(&model[p.0 as usize], from, to, step);
                let found = found.remove(&p.0).unwrap_or_default();
                assert_eq!(found.len(), expected.len(), "point {}, step {step}", p.0);
                for (s, (at, count, mean, min, max)) in found.iter().zip(expected) {
                    assert_eq!((s.at.0, s.count, s.min, s.max), (at, count, min, max), "point {}, step {step}", p.0);
                    assert!((s.mean - mean).abs() <= 1e-5 * (max - min) + 1e-9 * mean.abs(), "{s:?} {mean}");
                }
            }
        }
    };
    check(&store);
    // All days, also those that got late rows after they were sealed, and once more from the disk.
    store.seal_before("hq", Timestamp(i64::MAX / 2)).unwrap();
    assert_eq!(store.hot_days("hq").unwrap(), Vec::<String>::new());
    store.compact().unwrap();
    check(&store);
    assert!(store.inspect("hq", true).unwrap().iter().all(|r| r.fault.is_none()));
    drop(store);
    check(&open(&dir.0, 4));
}

#[test]
fn a_crash_between_sealing_and_forgetting_shows_nothing_twice() {
    let dir = Scratch::new("sealing");
    let (before, after) = (dir.0.join("before"), dir.0.join("after"));
    let store = open(&before, 3);
    store.append("hq", &(0..5000).map(numbered).collect::<Vec<_>>()).unwrap();
    store.compact().unwrap();
    drop(store);
    copy_dir(&before, &after);
    let store = open(&after, 3);
    assert_eq!(store.seal("hq", &Timestamp(DAY0).day()).unwrap(), 5000);
    drop(store);
    // The sealed files are there, and the hot rows still too; besides, a file that was cut short aside of its name.
    copy_dir(&after.join("sealed"), &before.join("sealed"));
    std::fs::write(before.join("sealed/hq/raw/2026-07-15.parquet-aside"), b"PAR1 torn").unwrap();
    let store = open(&before, 3);
    assert_eq!(numbers(&store), (0..5000).collect::<Vec<_>>());
    let hour = store.series("hq", PointId(1), Timestamp(DAY0), Timestamp(DAY0 + DAY_MS), Span::hours(1)).unwrap();
    assert_eq!(hour.iter().map(|s| s.count).sum::<u32>(), 1667);
    assert_eq!(store.seal("hq", &Timestamp(DAY0).day()).unwrap(), 5000);
    assert_eq!(store.hot_days("hq").unwrap().len(), 0);
    assert_eq!(numbers(&store), (0..5000).collect::<Vec<_>>());
}

#[test]
fn each_class_of_rows_is_kept_as_long_as_it_says() {
    let dir = Scratch::new("keep");
    let store = open(&dir.0, 2);
    // Ten days of two points, a reading every 20 s.
    let all: Vec<Reading> =
        (0..10 * 4320).flat_map(|i| [reading(0, DAY0 + i * 20_000, i as f64), reading(1, DAY0 + i * 20_000, -(i as f64))]).collect();
    all.chunks(9000).for_each(|c| assert_eq!(store.append("hq", c).unwrap().stored as usize, c.len()));
    let now = Timestamp(DAY0 + 10 * DAY_MS);
    assert_eq!(store.seal_before("hq", now).unwrap().len(), 10);
    let keep = Keep { raw_days: 2, minute_days: 5, hour_days: 8, meter_days: 9 };
    let meters = BTreeSet::from([PointId(1)]);
    assert_eq!(store.expire("hq", now, &keep, &meters).unwrap(), Expired { raw: 8, minute: 5, hour: 2, meter: 0 });
    assert_eq!(store.expire("hq", now, &keep, &meters).unwrap(), Expired::default());
    // Rows: all of the last two days, the meter's of nine.
    assert_eq!((rows(&store, 0).len(), rows(&store, 1).len()), (2 * 4320, 9 * 4320));
    let steps = |point, step| store.series("hq", PointId(point), Timestamp(DAY0), now, step).unwrap();
    let counted = |steps: &[Step]| steps.iter().map(|s| u64::from(s.count)).sum::<u64>();
    // Minutes of five days, then hours of eight.
    assert_eq!(steps(0, Span::minutes(1)).iter().filter(|s| s.at.0 >= DAY0 + 5 * DAY_MS).count(), 5 * 1440);
    assert_eq!(counted(&steps(0, Span::hours(1))), 8 * 4320);
    assert_eq!(steps(0, Span::hours(1)).len(), 8 * 24);
    assert_eq!(counted(&steps(1, Span::minutes(1))), 9 * 4320);
    // Also where no ready-made steps fit: those of a step that is no multiple, and of a stretch that begins within a minute.
    assert_eq!(counted(&steps(0, Span::seconds(90))), 8 * 4320);
    let (from, to) = (Timestamp(DAY0 + 5 * DAY_MS + 1), Timestamp(DAY0 + 6 * DAY_MS));
    assert_eq!(counted(&store.series("hq", PointId(0), from, to, Span::hours(1)).unwrap()), 1439 * 3);
    let first = steps(0, Span::hours(1))[0];
    let exact: f64 = (2 * 4320..2 * 4320 + 180).map(f64::from).sum::<f64>() / 180.0;
    assert!((first.mean - exact).abs() < 1e-3 && first.min == 8640.0 && first.max == 8819.0, "{first:?}");
    // Late rows of a day whose rows are gone do not replace its steps, and do not stay for ever.
    store.append("hq", &[reading(0, DAY0 + 4 * DAY_MS + 7, 1e9)]).unwrap();
    store.seal_before("hq", now).unwrap();
    assert_eq!(counted(&steps(0, Span::hours(1))), 8 * 4320);
    assert!(store.hot_days("hq").unwrap().is_empty());
    assert!(store.inspect("hq", true).unwrap().iter().all(|r| r.fault.is_none()));
}

fn python() -> Option<String> {
    let python = std::env::var("TRAMUNTANA_PYTHON").ok().filter(|p| Path::new(p).exists());
    if python.is_none() {
        println!("SKIPPED: TRAMUNTANA_PYTHON names no Python (tests/run sets it)");
    }
    python
}

#[test]
fn pandas_and_duckdb_read_a_sealed_day_as_we_do() {
    let Some(python) = python() else { return };
    let dir = Scratch::new("pandas");
    let store = open(&dir.0, 3);
    let mut readings: Vec<Reading> = (0..20_000).map(|i| reading((i % 3) as u32, DAY0 + i * 4000, (i % 977) as f64 / 10.0)).collect();
    readings[7].quality = Quality::LATE.with(Quality::FROZEN);
    readings[8] = Reading { value: f64::NAN, quality: Quality::NO_VALUE, ..readings[8] };
    store.append("hq", &readings).unwrap();
    let day = Timestamp(DAY0).day();
    store.seal("hq", &day).unwrap();
    let script = r#"
import sys, pandas, duckdb
raw, five, points = (sys.argv[1] + p for p in ("/raw/" + sys.argv[2] + ".parquet", "/5m/" + sys.argv[2] + ".parquet", "/points.csv"))
p = pandas.read_parquet(raw)
d = duckdb.sql(f"select * from '{raw}'").df()
assert p.equals(d.astype(p.dtypes.to_dict())), "pandas and DuckDB differ"
for r in p.itertuples(index=False): print(r.point, r.at_ms, repr(float(r.value)), r.quality)
s = pandas.read_parquet(five)
g = p.dropna().assign(at=p.at_ms // 300000 * 300000).groupby(["point", "at"]).value.agg(["min", "max", "count"]).reset_index()
s = s[s["count"] > 0].reset_index(drop=True)
assert (s.point == g.point).all() and (s.at_ms == g["at"]).all() and (s["min"] == g["min"]).all() and (s["count"] == g["count"]).all()
assert list(pandas.read_csv(points).path) == [f"CDU/LiquidTemperature/{i}" for i in range(3)]
"#;
    let site = dir.0.join("sealed/hq");
    let out = Command::new(python).args(["-c", script, site.to_str().unwrap(), &day]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let mut theirs = text.lines();
    for point in 0..3 {
        for r in rows(&store, point) {
            let line = theirs.next().expect("as many rows");
            let f: Vec<&str> = line.split(' ').collect();
            let value: f64 = f[2].parse().unwrap();
            assert_eq!((f[0], f[1], f[3]), (point.to_string().as_str(), r.at.0.to_string().as_str(), r.quality.0.to_string().as_str()));
            assert!(value.to_bits() == r.value.to_bits() || (value.is_nan() && r.value.is_nan()), "{line}");
        }
    }
    assert_eq!(theirs.next(), None);
}

fn tramuntana(args: &[&str]) -> (bool, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_tramuntana")).args(args).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    (out.status.success(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
}

#[test]
fn what_is_exported_can_be_imported_and_is_the_same() {
    let dir = Scratch::new("exchange");
    let (a, b) = (dir.0.join("a"), dir.0.join("b"));
    let store = open(&a, 3);
    let mut readings: Vec<Reading> = (0..9000).map(numbered).map(|r| Reading { value: r.value / 7.0, ..r }).collect();
    // Two of one millisecond.
    (readings[9].at, readings[9].ns) = (readings[6].at, 250_000);
    readings[5] = Reading { value: f64::NAN, quality: Quality::NO_VALUE, ..readings[5] };
    store.append("hq", &readings).unwrap();
    let before: Vec<Vec<Row>> = (0..3).map(|p| rows(&store, p)).collect();
    drop(store);
    let path = |name: &str| dir.0.join(name).to_string_lossy().into_owned();
    let (dir_a, dir_b) = (a.to_string_lossy(), b.to_string_lossy());
    for file in ["all.csv", "all.parquet"] {
        let _ = std::fs::remove_dir_all(&b);
        let (ok, text) = tramuntana(&["store", "export", "--data-dir", &dir_a, "--site", "hq", "--out", &path(file)]);
        assert!(ok && text.contains("9000 rows of 3 points"), "{text}");
        for (stored, there) in [(9000, 0), (0, 9000)] {
            let (ok, text) = tramuntana(&["store", "import", "--data-dir", &dir_b, "--site", "hq", &path(file)]);
            assert!(ok && text.contains(&format!("{stored} readings stored, {there} were there already, 0 refused")), "{text}");
        }
        let (ok, text) = tramuntana(&["store", "compact", "--data-dir", &dir_b]);
        assert!(ok && text.contains("hq: sealed"), "{text}");
        let (ok, text) = tramuntana(&["store", "verify", "--data-dir", &dir_b]);
        assert!(ok && text.contains(" ok"), "{text}");
        let store = Embedded::open(&b).unwrap();
        let same = |a: &Row, b: &Row| {
            a.stamp() == b.stamp() && a.quality == b.quality && (a.value == b.value || (a.value.is_nan() && b.value.is_nan()))
        };
        for (p, before) in before.iter().enumerate() {
            let after = rows(&store, p as u32);
            assert!(after.len() == before.len() && after.iter().zip(before).all(|(a, b)| same(a, b)), "{file}, point {p}");
        }
        assert_eq!(
            store.catalogue("hq").unwrap().iter().map(|p| (p.path.as_str(), p.kind)).collect::<Vec<_>>()[0],
            ("CDU/LiquidTemperature/0", Kind::Temperature)
        );
    }
    // Steps, one point, a part of the time; what cannot be read is named with its line and does not stop the rest.
    let (ok, text) = tramuntana(&[
        "store",
        "export",
        "--data-dir",
        &dir_b,
        "--site",
        "hq",
        "--point",
        "CDU/LiquidTemperature/1",
        "--step",
        "5min",
        "--to",
        &Timestamp(DAY0 + 600_000).to_string(),
    ]);
    assert!(ok && text.lines().count() == 3 && text.starts_with("at_ms,time,point,unit,mean,min,max,count,quality\n"), "{text}");
    std::fs::write(
        path("bad.csv"),
        "time,point,value,unit\nnoon,a/b/c,1,W\n2026-01-01T00:00:00Z,a/b/c,1.5,kW\n2026-01-01T00:00:01Z,a/b/c,x,kW\n",
    )
    .unwrap();
    let (ok, text) = tramuntana(&["store", "import", "--data-dir", &dir_b, "--site", "new", &path("bad.csv")]);
    assert!(
        ok && text.contains("1 readings stored, 0 were there already, 2 refused") && text.contains("row 2") && text.contains("row 4"),
        "{text}"
    );
    let (ok, text) = tramuntana(&["store", "export", "--data-dir", &dir_b, "--site", "new", "--point", "nobody"]);
    assert!(!ok && text.contains("--point"), "{text}");
    std::fs::write(
        path("in.lp"),
        "cpu,host=a usage=1.5,idle=98i 1784000000000000000\ncpu,host=a usage=x 1784000001000000000\nmem,host=a used=7\n",
    )
    .unwrap();
    let (ok, text) = tramuntana(&["store", "import", "--data-dir", &dir_b, "--site", "lp", &path("in.lp")]);
    assert!(ok && text.contains("2 readings stored, 0 were there already, 2 refused"), "{text}");
    let (ok, text) = tramuntana(&["store", "export", "--data-dir", &dir_b, "--site", "lp", "--point", "cpu,host=a/usage"]);
    assert!(ok && text.contains("1784000000000,0,2026-07-14T03:33:20Z,\"cpu,host=a/usage\",,1.5,0"), "{text}");
    // A damaged file is named.
    let day = b.join("sealed/hq/raw").read_dir().unwrap().next().unwrap().unwrap().path();
    let mut bytes = std::fs::read(&day).unwrap();
    let middle = bytes.len() / 3;
    bytes[middle..middle + 40].iter_mut().for_each(|b| *b ^= 0x5a);
    std::fs::write(&day, bytes).unwrap();
    let (ok, text) = tramuntana(&["store", "verify", "--data-dir", &dir_b]);
    assert!(!ok && text.contains("damaged"), "{text}");
    // Steps in the place of rows, and what is no Parquet: refused with the file's name, also by who reads it.
    let steps = b.join("sealed/hq/5m").join(day.file_name().unwrap());
    for bytes in [std::fs::read(&steps).unwrap(), b"x".to_vec()] {
        std::fs::write(&day, bytes).unwrap();
        for args in [["store", "verify", "--data-dir", &dir_b].as_slice(), &["store", "export", "--data-dir", &dir_b, "--site", "hq"]] {
            let (ok, text) = tramuntana(args);
            assert!(!ok && text.contains("raw") && text.contains("damaged") && !text.contains("panicked"), "{text}");
        }
    }
}

#[test]
fn a_directory_that_cannot_be_used_is_one_clear_error() {
    let dir = Scratch::new("errors");
    let store = open(&dir.0, 1);
    let locked = Embedded::open(&dir.0).err().unwrap();
    assert!(matches!(locked, StoreError::Locked { .. }), "{locked}");
    assert!(locked.to_string().contains(dir.0.to_str().unwrap()));
    drop(store);
    // Directories of other formats are refused, untouched, each with its own way out.
    for (mark, way_out) in [
        ("tramuntana-store 9", "newer version"),
        ("tramuntana-store 1", "`store export` it with that version"),
        ("garbi 2", "right directory"),
    ] {
        std::fs::write(dir.0.join("FORMAT"), format!("{mark}\n")).unwrap();
        let why = Embedded::open(&dir.0).err().unwrap();
        assert!(matches!(why, StoreError::Format { .. }), "{why}");
        let text = why.to_string();
        assert!(text.contains(mark) && text.contains(way_out) && text.contains("--data-dir"), "{text}");
        assert_eq!(std::fs::read_to_string(dir.0.join("FORMAT")).unwrap(), format!("{mark}\n"));
    }
    let file = dir.0.join("file");
    std::fs::write(&file, "x").unwrap();
    let why = Embedded::open(&file).err().unwrap();
    assert!(matches!(why, StoreError::NotWritable { .. }) && why.to_string().contains("--data-dir"), "{why}");
}

/// Not a test of its own: the process that the crash test kills.
#[test]
#[ignore = "run by kill_nine_loses_nothing_that_was_acknowledged"]
fn crash_child() {
    let Ok(dir) = std::env::var("TRAMUNTANA_CRASH_DIR") else { return };
    let store = open(Path::new(&dir), 3);
    let first = numbers(&store).len() as u64;
    for batch in (0u64..).map(|b| first + b * BATCH as u64) {
        let readings: Vec<Reading> = (batch..batch + BATCH as u64).map(numbered).collect();
        store.append("hq", &readings).unwrap();
        if (batch / BATCH as u64).is_multiple_of(16) {
            store.sync().unwrap();
        }
        println!("\nacknowledged {}", batch + BATCH as u64);
    }
}

#[test]
fn kill_nine_loses_nothing_that_was_acknowledged() {
    let dir = Scratch::new("kill");
    let mut total = 0;
    for (round, pause_ms) in [90u64, 7, 160, 33, 250].into_iter().enumerate() {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "store::crash_child", "--nocapture", "--test-threads=1"])
            .env("TRAMUNTANA_CRASH_DIR", &dir.0)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let said = |line: String| line.strip_prefix("acknowledged ").and_then(|n| n.trim().parse::<u64>().ok());
        let mut acknowledged = lines.by_ref().find_map(said).expect("the child acknowledged nothing");
        std::thread::sleep(Duration::from_millis(pause_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = lines.filter_map(said).last().unwrap_or(acknowledged);
        let store = open(&dir.0, 3);
        let there = numbers(&store);
        let expected: Vec<u64> = (0..there.len() as u64).collect();
        assert!(there == expected, "round {round}: something is missing or there twice");
        assert!(there.len() as u64 >= acknowledged, "round {round}: {acknowledged} acknowledged, {} there", there.len());
        assert!(there.len() as u64 > total);
        assert!(there.len().is_multiple_of(BATCH), "a batch is whole or absent");
        total = there.len() as u64;
    }
}

#[test]
fn a_first_opening_can_be_killed_at_any_moment() {
    let dir = Scratch::new("first");
    for pause_ms in [1u64, 3, 5, 8, 12, 17, 25, 40] {
        let fresh = dir.0.join(pause_ms.to_string());
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", "store::crash_child", "--nocapture"])
            .env("TRAMUNTANA_CRASH_DIR", &fresh)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pause_ms));
        child.kill().unwrap();
        child.wait().unwrap();
        let there = numbers(&open(&fresh, 3));
        assert_eq!(there, (0..there.len() as u64).collect::<Vec<_>>(), "killed after {pause_ms} ms");
    }
}

#[test]
fn a_torn_last_record_costs_that_record_only() {
    let dir = Scratch::new("torn");
    let origin = dir.0.join("origin");
    let store = open(&origin, 3);
    store.append("hq", &(0..30).map(numbered).collect::<Vec<_>>()).unwrap();
    let journal = newest_journal(&origin);
    let end = || std::fs::read(&journal).unwrap().iter().rposition(|b| *b != 0).map_or(0, |i| i as u64 + 1);
    let before = end();
    store.append("hq", &[numbered(30), numbered(31)]).unwrap();
    let after = end();
    assert!(after > before, "the second append is in the log");
    // A copy of the directory as a crash would leave it, cut at every byte of the last record.
    for cut in before..=after {
        let copy = dir.0.join("copy");
        let _ = std::fs::remove_dir_all(&copy);
        copy_dir(&origin, &copy);
        let file = std::fs::OpenOptions::new().write(true).open(newest_journal(&copy)).unwrap();
        file.set_len(cut).unwrap();
        drop(file);
        let store = Embedded::open(&copy).unwrap_or_else(|e| panic!("cut at {cut} of {before}..{after}: {e}"));
        let there = numbers(&store);
        assert!(there.len() == 30 || there.len() == 32, "cut at {cut}: {} rows", there.len());
        assert_eq!(there[..30], (0..30).collect::<Vec<u64>>()[..]);
        assert_eq!(store.append("hq", &[numbered(30), numbered(31)]).unwrap().stored as usize, 32 - there.len());
        assert_eq!(numbers(&store).len(), 32);
    }
}

fn newest_journal(dir: &Path) -> PathBuf {
    let number = |p: &PathBuf| p.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u64>().ok());
    let files = std::fs::read_dir(dir.join("hot")).unwrap().flatten().map(|e| e.path());
    files.filter(|p| p.extension().is_some_and(|x| x == "jnl")).max_by_key(number).expect("a journal")
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else if entry.path().extension().is_some_and(|x| x == "jnl") {
            // The log is allocated ahead: only what is written is copied, the rest stays a hole.
            let bytes = std::fs::read(entry.path()).unwrap();
            let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |i| i + 1);
            std::fs::write(&target, &bytes[..end]).unwrap();
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A child that may not write files beyond a small size stands for a full disk.
#[test]
fn a_full_disk_is_one_clear_error() {
    let dir = Scratch::new("full");
    let child = Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 2048; exec \"$0\" --ignored --exact store::crash_child --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env("TRAMUNTANA_CRASH_DIR", &dir.0)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stderr).into_owned() + &String::from_utf8_lossy(&child.stdout);
    assert!(!child.status.success() && said.contains("Full {") && said.contains(dir.0.to_str().unwrap()), "{said}");
    // What it left behind opens once there is room again.
    open(&dir.0, 3).append("hq", &[numbered(0)]).unwrap();
}

/// Bulk path by hand: `cargo test --release --test it store::bulk -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn bulk() {
    let dir = Scratch::new("bulk");
    let store = open(&dir.0, 1000);
    let total: u64 = std::env::var("ROWS").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000_000);
    let begin = std::time::Instant::now();
    for b in 0..total / 300 {
        let batch: Vec<Reading> =
            (b * 300..(b + 1) * 300).map(|n| reading((n % 1000) as u32, DAY0 + (n / 1000) as i64 * 10_000, n as f64)).collect();
        store.append("hq", &batch).unwrap();
    }
    let each = begin.elapsed().as_nanos() as u64 / total;
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or_default().to_owned();
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let cpu: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2).collect();
    println!("CPU user, system in 10 ms: {cpu:?}");
    println!("{total} rows: {each} ns a row; {:?}; {peak}", store.stats());
}

#[test]
fn what_is_frozen_stays_as_it_was_while_the_store_goes_on() {
    let dir = Scratch::new("frozen");
    let store = open(&dir.0, 3);
    let append = |range: std::ops::Range<u64>| {
        let readings: Vec<Reading> = range.map(numbered).collect();
        for b in readings.chunks(BATCH) {
            store.append("hq", b).unwrap();
        }
    };
    // Some in chunks, some in the log only.
    append(0..40_000);
    store.compact().unwrap();
    append(40_000..60_000);
    store.put_record("audit", "hq", Timestamp(DAY0), "a", b"{}").unwrap();
    let frozen = store.freeze().unwrap();
    let frames = |frozen: &tramuntana::store::Frozen| {
        let mut out = Vec::new();
        frozen.write(&mut out).map_err(|_| ()).unwrap();
        out
    };
    let early = frames(&frozen);
    // The log goes into chunks, is compacted away, and the first day is sealed and leaves the hot store.
    append(60_000..100_000);
    store.compact().unwrap();
    store.put_record("audit", "hq", Timestamp(DAY0), "b", b"{}").unwrap();
    store.seal("hq", &Timestamp(DAY0).day()).unwrap();
    append(100_000..120_000);
    store.compact().unwrap();
    assert!(frames(&frozen) == early, "a frozen store has changed");
    drop(frozen);

    let copy = dir.0.join("copy");
    tramuntana::store::build(&copy, &mut &early[..]).unwrap();
    let copied = Embedded::open(&copy).unwrap();
    assert_eq!(numbers(&copied), (0..60_000).collect::<Vec<_>>());
    let records = copied.records("audit", "hq", Timestamp(0), Timestamp(i64::MAX), 10).unwrap();
    assert_eq!(records.iter().map(|r| r.id.as_str()).collect::<Vec<_>>(), ["a"]);
    // It is a store like any other: what it has is known as a duplicate, what is new goes in.
    let again: Vec<Reading> = (59_990..60_010).map(numbered).collect();
    assert_eq!(copied.append("hq", &again).unwrap(), Appended { stored: 10, duplicates: 10 });
    drop(copied);
    assert!(tramuntana::store::build(&dir.0.join("short"), &mut &early[..early.len() - 9]).is_err());
    assert!(!dir.0.join("short/FORMAT").exists(), "half a store has no mark");
}
