//! InfluxDB 2: the mirror through outages, refusals and kill -9; line protocol and Flux before those who know them.
//!
//! No InfluxDB 2 server is to be had from a registry, so it is met in parts: the write API of VictoriaMetrics, the line
//! protocol of influxdb 1.6, the Flux parser of InfluxData (npm), and a wire double that PyPI's `influxdb-client` accepts.

mod double;
pub mod peers;
mod service;

use crate::common::scratch;
use double::{BUCKET, Double, ORG, TOKEN};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tramuntana::app::influx::{InfluxSettings, Mirror};
use tramuntana::event::{INFLUX_ERRORS, INFLUX_REFUSED, INFLUX_WRITTEN, Tally};
use tramuntana::influx::{Target, line};
use tramuntana::ingest::decode::dsx;
use tramuntana::reading::{PointId, Quality, Reading};
use tramuntana::site::{Catalogue, Point};
use tramuntana::store::{Embedded, Store};
use tramuntana::time::{Span, Timestamp};

const T0: Timestamp = Timestamp(1_784_000_000_000);
const SITE: &str = "hall";

/// Waits until something is so.
fn wait(what: &str, seconds: u64, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(seconds);
    while !done() {
        assert!(Instant::now() < end, "waited {seconds} s for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Points whose tag paths are as given.
fn points(paths: &[String]) -> Catalogue {
    let mut catalogue = Catalogue::new();
    for p in paths {
        let json =
            serde_json::json!({"objectType": "CDU", "pointType": "LiquidTemperature", "engUnit": "C", "objectName": p, "objectId": p});
        let point = dsx::metadata(&format!("CDU/LiquidTemperature/{p}"), json.to_string().as_bytes()).expect("metadata");
        catalogue.upsert(point).expect("room");
    }
    catalogue
}

fn numbered(n: usize) -> Catalogue {
    points(&(0..n).map(|i| format!("hall/cdu{i}")).collect::<Vec<_>>())
}

fn settings(url: &str, more: &str) -> InfluxSettings {
    let s: InfluxSettings =
        toml::from_str(&format!("url = {url:?}\norg = {ORG:?}\nbucket = {BUCKET:?}\nlinger_s = 0.1\n{more}")).expect("settings");
    s.check().expect("good settings");
    s
}

/// A store with a mirror, and the mirror's thread.
struct Rig {
    store: Arc<dyn Store>,
    mirror: Arc<Mirror>,
    tally: Arc<Tally>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Rig {
    fn new(dir: &Path, catalogue: &Catalogue, url: &str, token: &str, more: &str) -> Rig {
        let store: Arc<dyn Store> = Arc::new(Embedded::open(dir).expect("a store"));
        store.put_catalogue(SITE, catalogue).expect("points");
        let tally = Arc::new(Tally::new());
        let s = settings(url, more);
        let target = Target { token: token.into(), ..s.target(Path::new(".")).expect("a target") };
        let mirror = Arc::new(Mirror::open(&s, target, dir, vec![SITE.into()], Arc::clone(&store), Arc::clone(&tally)).expect("a mirror"));
        let runs = Arc::clone(&mirror);
        let thread = Some(std::thread::spawn(move || runs.run()));
        Rig { store, mirror, tally, thread }
    }

    fn append(&self, readings: &[Reading]) {
        let done = self.store.append(SITE, readings).expect("stored");
        self.mirror.take(SITE, readings, done.duplicates).expect("queued");
    }

    fn drained(&self, seconds: u64) {
        wait("the queue to be empty", seconds, || self.mirror.waiting_bytes() == 0);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.mirror.stop();
        if let Some(t) = self.thread.take() {
            let _ = t.join();
        }
    }
}

/// Reading number `i` of `n` points: each (point, timestamp) once.
fn reading(i: i64, n: usize) -> Reading {
    Reading { point: PointId((i % n as i64) as u32), at: T0 + Span(i * 100), ns: 0, value: i as f64 / 8.0, quality: Quality::GOOD }
}

fn readings(from: i64, to: i64, n: usize) -> Vec<Reading> {
    (from..to).map(|i| reading(i, n)).collect()
}

/// Everything that the store has is in the double, with the same value, and nothing else.
fn assert_same(store: &dyn Store, kept: &double::Kept) -> usize {
    let mut rows = 0;
    for point in store.catalogue(SITE).expect("points").iter() {
        let mut want: BTreeMap<i64, String> = BTreeMap::new();
        let mut from = Timestamp::MIN;
        loop {
            let some = store.scan(SITE, point.id, from, Timestamp(i64::MAX), 10_000).expect("rows");
            want.extend(some.iter().map(|r| (r.at.0 * 1_000_000, format!("{:?}", r.value))));
            match some.last() {
                Some(last) if some.len() == 10_000 => from = last.at + Span(1),
                _ => break,
            }
        }
        rows += want.len();
        let path = line::path_tag(point);
        let have: BTreeMap<i64, String> = (kept.series.iter())
            .filter(|(s, _)| s.get("path") == Some(&path) && s.get("site").is_some_and(|s| s == SITE))
            .flat_map(|(_, p)| p.iter().map(|(at, f)| (*at, f["value"].clone())))
            .collect();
        assert!(have == want, "{}: {} rows in the store, {} in the double", point.path, want.len(), have.len());
    }
    assert_eq!((rows, kept.overwritten), (kept.points(), 0), "rows of the store, points of the double");
    rows
}

/// Resident memory of this process, bytes.
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split_whitespace().nth(1).and_then(|p| p.parse::<u64>().ok()).unwrap_or(0) * 4096
}

#[test]
fn a_day_without_the_server_loses_nothing_and_sends_nothing_twice() {
    const POINTS: usize = 100;
    let dir = scratch("influx-outage");
    let mut double = Double::new();
    let rig = Rig::new(&dir, &numbered(POINTS), &double.url, TOKEN, "");
    rig.append(&readings(0, 1000, POINTS));
    rig.drained(20);
    double.down();
    // 24 h (or as many as asked for) of a value each 10 s and point: 864,000 readings.
    let hours: i64 = std::env::var("TRAMUNTANA_OUTAGE_H").ok().and_then(|h| h.parse().ok()).unwrap_or(24);
    let total = 1000 + hours * 360 * POINTS as i64;
    let began = resident();
    let mut memory = Vec::new();
    for from in (1000..total).step_by(2000) {
        rig.append(&readings(from, (from + 2000).min(total), POINTS));
        if (from - 1000) / 2000 % (hours * 3) == hours * 3 - 1 {
            memory.push(format!("{:+.0}", (resident() as f64 - began as f64) / 1e6));
        }
    }
    wait("the outage to be seen", 10, || rig.mirror.state().state == "waiting");
    let state = rig.mirror.state();
    assert!(state.why.contains("does not answer") && state.why.contains(&double.url), "{}", state.why);
    let waited = rig.mirror.waiting_bytes();
    println!(
        "outage of {hours} h: {} readings, {:.1} MB wait on disk, memory at each sixth of it {} MB (the store's included)",
        total - 1000,
        waited as f64 / 1e6,
        memory.join(" ")
    );
    assert_eq!(double.kept().points(), 1000);
    double.up();
    rig.drained(5 * hours.unsigned_abs());
    let kept = double.kept();
    assert_eq!(assert_same(&*rig.store, &kept) as i64, total);
    assert_eq!((kept.again, kept.gzipped), (0, kept.requests.len() as u64), "nothing twice, everything gzipped");
    assert_eq!(rig.tally.total(INFLUX_WRITTEN) as i64, total);
    assert_eq!(rig.mirror.state().newest[SITE], reading(total - 1, POINTS).at);
    drop(kept);
    drop(rig);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn each_answer_is_told_apart_and_leads_to_its_own_act() {
    let dir = scratch("influx-answers");
    let double = Double::new();
    let rig = Rig::new(&dir, &numbered(5), &double.url, TOKEN, "batch = 100");
    // 429 and 503 with Retry-After, in seconds and as a date.
    let date = jiff::fmt::rfc2822::to_string(&(jiff::Zoned::now() + jiff::Span::new().seconds(3))).expect("a date");
    double.kept().script.extend([(429, Some("2".to_owned())), (503, Some(date)), (503, None)]);
    rig.append(&readings(0, 10, 5));
    wait("the wait to show", 10, || rig.mirror.state().why.contains("429"));
    assert_eq!(rig.mirror.state().state, "waiting");
    rig.drained(30);
    let times: Vec<(Instant, u16)> = double.kept().requests.iter().map(|(t, s, _)| (*t, *s)).collect();
    assert_eq!(times.iter().map(|t| t.1).collect::<Vec<_>>(), [429, 503, 503, 204]);
    assert!(times[1].0 - times[0].0 >= Duration::from_secs(2), "Retry-After: 2 was honoured");
    assert!(times[3].0 - times[2].0 >= Duration::from_millis(900), "without the header its own pause");
    assert_eq!((rig.mirror.state().state, rig.tally.get(INFLUX_ERRORS, "429"), rig.tally.get(INFLUX_ERRORS, "503")), ("up", 1, 2));

    // A batch that is too large is halved; a line that is refused is left out alone.
    double.kept().lines_max = Some(16);
    rig.append(&readings(10, 110, 5));
    rig.drained(20);
    assert_eq!(double.kept().points(), 110);
    double.kept().refused_text = Some("value=16.25,".into());
    rig.append(&readings(110, 210, 5));
    rig.drained(20);
    let state = rig.mirror.state();
    assert_eq!((double.kept().points(), state.refused, rig.tally.get(INFLUX_REFUSED, "400")), (209, 1, 1));
    assert!(state.refused_why.contains("refuses a line (400)") && state.state == "up", "{}", state.refused_why);

    // A token that has been withdrawn: told apart, kept, sent when it counts again.
    double.kept().token = "another".into();
    rig.append(&readings(210, 220, 5));
    wait("the refusal to show", 10, || rig.mirror.state().state == "refused");
    let why = rig.mirror.state().why;
    assert!(
        why.contains("refuses the token (401)") && why.contains("unauthorized access") && why.contains("token_env") && !why.contains(TOKEN),
        "{why}"
    );
    assert_eq!((rig.tally.get(INFLUX_ERRORS, "401"), double.kept().points()), (1, 209));
    assert!(rig.mirror.waiting_bytes() > 0);
    drop(rig);
    double.kept().token = TOKEN.into();
    let rig = Rig::new(&dir, &numbered(5), &double.url, TOKEN, "");
    rig.drained(20);
    assert_eq!(double.kept().points(), 219);
    drop(rig);

    // A bucket that is not there, and a server that is none.
    let rig = Rig::new(&dir, &numbered(5), &double.url, TOKEN, "");
    rig.drained(10);
    drop(rig);
    let elsewhere = |org: &str| {
        let target = Target { url: double.url.clone(), org: org.into(), bucket: "none".into(), token: TOKEN.into(), authority: None };
        tramuntana::influx::write::Writer::new(target).expect("a writer").write("a,site=x value=1 1\n", T0).unwrap_err()
    };
    let fault = elsewhere(ORG);
    assert!(fault.needs_a_hand() && fault.to_string().contains("knows no bucket \"none\""), "{fault}");
    assert!(elsewhere("nobody").to_string().contains("organization name not found"));
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn what_the_store_keeps_is_what_the_mirror_sends() {
    let dir = scratch("influx-conflict");
    let double = Double::new();
    let catalogue = numbered(1);
    let rig = Rig::new(&dir, &catalogue, &double.url, TOKEN, "");
    let at = |s: i64, value: f64| Reading { point: PointId(0), at: T0 + Span::seconds(s), ns: 0, value, quality: Quality::GOOD };
    rig.append(&[at(0, 1.0), at(10, 2.0)]);
    rig.drained(10);
    // The same instants again, one with another value, and a late one: the first that came counts, in both.
    rig.append(&[at(10, 7.0), at(0, 1.0), at(5, 3.0)]);
    rig.append(&[Reading { value: f64::NAN, quality: Quality::NO_VALUE, ..at(20, 0.0) }]);
    rig.drained(10);
    let kept = double.kept();
    let rows: Vec<(i64, String)> = kept
        .series
        .values()
        .flatten()
        .map(|(at, f)| ((at / 1_000_000 - T0.0) / 1000, f.get("value").cloned().unwrap_or_default()))
        .collect();
    assert_eq!(rows, [(0, "1.0".into()), (5, "3.0".into()), (10, "2.0".into()), (20, String::new())]);
    assert_eq!((kept.overwritten, kept.again), (0, 2));
    drop(kept);
    drop(rig);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

/// Not a test of its own: the process that the next test kills.
#[test]
#[ignore = "run by the test of kill -9"]
fn child() {
    let Ok(dir) = std::env::var("TRAMUNTANA_INFLUX_CHILD") else { return };
    let url = std::env::var("TRAMUNTANA_INFLUX_URL").expect("the double's address");
    let n = 20;
    let rig = Rig::new(Path::new(&dir), &numbered(n), &url, TOKEN, "batch = 700");
    let newest =
        |p: u32| rig.store.scan(SITE, PointId(p), Timestamp::MIN, Timestamp(i64::MAX), usize::MAX).expect("rows").last().map(|r| r.at);
    let mut i = (0..n as u32).filter_map(newest).max().map_or(0, |at| (at - T0).0 / 100 + 1);
    if std::env::var("TRAMUNTANA_INFLUX_DRAIN").is_ok() {
        // One more, so that the comparison with the store has been made before the queue is called empty.
        wait("the comparison", 20, || !Path::new(&dir).join("influx/reconciling").exists());
        rig.drained(60);
        println!("drained {i}");
        return;
    }
    loop {
        rig.append(&readings(i, i + 90, n));
        i += 90;
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn kill_9_at_any_moment_loses_nothing_and_leaves_nothing_twice() {
    use rand_chacha::ChaCha8Rng;
    use rand_chacha::rand_core::{RngCore, SeedableRng};
    let dir = scratch("influx-kill");
    let mut double = Double::new();
    let mut rng = ChaCha8Rng::seed_from_u64(11);
    let me = std::env::current_exe().expect("this program");
    let run = |drain: bool| {
        let mut c = Command::new(&me);
        c.args(["--exact", "influx::child", "--ignored", "--nocapture", "--test-threads=1"])
            .env("TRAMUNTANA_INFLUX_CHILD", &dir)
            .env("TRAMUNTANA_INFLUX_URL", &double.url)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        if drain {
            c.env("TRAMUNTANA_INFLUX_DRAIN", "1");
        }
        c.spawn().expect("a child")
    };
    let mut running = Vec::new();
    for round in 0..20 {
        let mut child = run(false);
        std::thread::sleep(Duration::from_millis(150 + u64::from(rng.next_u32() % 350)));
        child.kill().expect("killed");
        child.wait().expect("gone");
        running.push(round);
    }
    let out = run(true).wait_with_output().expect("the last run");
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success() && text.contains("drained"), "{text}");
    double.down();
    let store = Embedded::open(&dir).expect("the store");
    let kept = double.kept();
    let rows = assert_same(&store, &kept);
    println!("kill -9: {} rounds, {rows} readings, {} sent again with the same value, 0 lost, 0 twice", running.len(), kept.again);
    assert!(rows > 1000 && rows as i64 % 90 == 0, "{rows}");
    drop(kept);
    drop(store);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

/// Names that try to leave their place in line protocol and in Flux.
fn hostile() -> Vec<String> {
    [
        "plain/a",
        "blank in it/b",
        "comma,site=evil/c",
        "equals=and value=1 1784000000000000000/d",
        "line\nbreak,x=1 value=666 1/e",
        "quote\"quote/f",
        "dollar${1+1}/g",
        "back\\slash\\",
        "tab\tand\rreturn\u{0}nul",
        "\") |> drop(columns: [\"_value\"]) //",
        "sol·licitud µ °C 冷水",
        "org/bsc/node/n1/jobid/4711/stepid/0/POWER",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The points of [`hostile`].
fn hostile_points() -> Vec<Point> {
    points(&hostile()).iter().cloned().collect()
}
