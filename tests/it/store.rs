//! Integration tests of `store`: what was acknowledged is there, once, whatever kills the process.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;
use tramuntana::reading::{PointId, Quality, Reading};
use tramuntana::site::{Catalogue, Point};
use tramuntana::store::{Appended, Embedded, Store, StoreError};
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

fn catalogue(points: u32) -> Catalogue {
    let mut c = Catalogue::new();
    for i in 0..points {
        c.upsert(Point {
            id: PointId(0),
            path: format!("CDU/LiquidTemperature/{i}"),
            object_type: "CDU".into(),
            point_type: "LiquidTemperature".into(),
            kind: Kind::Temperature,
            eng_unit: "C".into(),
            state_text: vec![],
            object_name: format!("CDU {i}"),
            object_id: format!("C{i}"),
            associated: false,
            serves_id: vec![],
            process_area: vec![],
            is_setpoint: false,
            integration: String::new(),
            scope: String::new(),
            phase: String::new(),
        });
    }
    c
}

fn open(dir: &Path, points: u32) -> Embedded {
    let store = Embedded::open(dir).unwrap();
    store.put_catalogue("hq", &catalogue(points)).unwrap();
    store
}

fn reading(point: u32, at: i64, value: f64) -> Reading {
    Reading { point: PointId(point), at: Timestamp(at), value, quality: Quality::GOOD }
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
    assert_eq!(store.series("hq", PointId(1), Timestamp(0), Timestamp(i64::MAX), Span::hours(1)).unwrap(), series);
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

#[test]
fn a_directory_that_cannot_be_used_is_one_clear_error() {
    let dir = Scratch::new("errors");
    let store = open(&dir.0, 1);
    let locked = Embedded::open(&dir.0).err().unwrap();
    assert!(matches!(locked, StoreError::Locked { .. }), "{locked}");
    assert!(locked.to_string().contains(dir.0.to_str().unwrap()));
    drop(store);
    std::fs::write(dir.0.join("FORMAT"), "tramuntana-store 9\n").unwrap();
    assert!(matches!(Embedded::open(&dir.0), Err(StoreError::Format { .. })));
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
