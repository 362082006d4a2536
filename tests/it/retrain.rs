//! Load models in service: trained from the store, promoted only if better, rolled back for good when they drift.

use crate::common::{command, scratch};
use crate::control::SITE;
use std::path::{Path, PathBuf};
use tramuntana::app::config::ConfiguredSite;
use tramuntana::app::retrain::{challenge, drifted, newest, set_aside};
use tramuntana::forecast::{Forecaster, Series, Training, Verdict, Window, train};
use tramuntana::reading::{PointId, Quality, Reading};
use tramuntana::site::{Catalogue, Point, SiteFile};
use tramuntana::store::{Embedded, Store};
use tramuntana::time::{Span, Timestamp};
use tramuntana::units::Kind;

const STEP: Span = Span::minutes(5);
const DAYS: i64 = 6;
const FAMILY: &str = "hall-load";

fn start() -> Timestamp {
    Timestamp::parse("2026-06-01").unwrap()
}

/// A load with a day's shape, and noise of that size; kW.
fn load_kw(at: Timestamp, noise_kw: f64) -> f64 {
    let k = (at.0 / STEP.0) as u64;
    let hash = (k.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f64 / (1u64 << 24) as f64;
    900.0 + 250.0 * (std::f64::consts::TAU * (at.hour_of_day() - 9.0) / 24.0).sin() + noise_kw * (hash - 0.5)
}

fn series(days: i64, noise_kw: impl Fn(Timestamp) -> f64) -> Series {
    let at = |k: i64| start() + Span(STEP.0 * (k + 1));
    Series::new(start() + STEP, STEP, (0..days * 288).map(|k| load_kw(at(k), noise_kw(at(k)))).collect())
}

fn site_text() -> String {
    SITE.replace("mode = \"auto\"", &format!("mode = \"auto\"\nload_model = \"{FAMILY}\""))
}

fn site() -> ConfiguredSite {
    ConfiguredSite { file: SiteFile::parse(Path::new("site.toml"), &site_text()).unwrap(), dir: PathBuf::from(".") }
}

/// A data directory with some days of the load.
fn fill(dir: &Path) -> Embedded {
    let store = Embedded::open(dir).unwrap();
    let mut points = Catalogue::new();
    points.upsert(Point {
        id: PointId(0),
        path: "PowerMeter/d/load".into(),
        object_type: "PowerMeter".into(),
        point_type: "d".into(),
        kind: Kind::Power,
        eng_unit: "kW".into(),
        state_text: vec![],
        object_name: "Load".into(),
        object_id: "PM1".into(),
        associated: false,
        serves_id: vec![],
        process_area: vec![],
        is_setpoint: false,
        integration: String::new(),
        scope: String::new(),
        phase: String::new(),
    });
    store.put_catalogue("hall", &points).unwrap();
    let reading = |k: i64| {
        let at = start() + Span::minutes(k);
        Reading { point: PointId(0), at, ns: 0, value: load_kw(at, 40.0), quality: Quality::GOOD }
    };
    let all: Vec<Reading> = (0..DAYS * 1_440).map(reading).collect();
    for chunk in all.chunks(1_000) {
        store.append("hall", chunk).unwrap();
    }
    store.sync().unwrap();
    store
}

#[test]
fn a_challenger_is_promoted_only_if_it_is_better_and_a_drifted_model_is_never_taken_again() {
    let dir = scratch("retrain");
    let store = fill(&dir);
    let site = site();
    let now = start() + Span::hours(24 * DAYS);
    let targets = vec!["load".to_owned()];
    let challenge = |champion: Option<&Forecaster>, now| challenge(&site, &store, &dir, champion, now, Span::hours(24 * 28)).unwrap();

    // Two days are too few to train on.
    assert!(challenge(None, start() + Span::hours(48)).is_none());
    assert!(newest(&dir, FAMILY, &targets).unwrap().is_none());

    // Nobody in force: the first one is taken, and lies on disk with its standing.
    let (standing, first) = challenge(None, now).unwrap();
    let first = first.unwrap();
    assert_eq!((standing.verdict, first.name()), (Verdict::Promoted, "hall-load/1"));
    assert!(standing.champion_score.is_none() && standing.challenger_score < 0.9, "{standing:?}");
    assert_eq!(newest(&dir, FAMILY, &targets).unwrap().unwrap().name(), "hall-load/1");
    let on_disk: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("models/hall-load/1/standing.json")).unwrap()).unwrap();
    assert_eq!(on_disk["verdict"], "promoted");

    // The same data once more: no better, so it stays, and both scores are filed.
    let (standing, none) = challenge(Some(&first), now + STEP).unwrap();
    assert!(none.is_none() && standing.verdict == Verdict::Kept, "{standing:?}");
    assert_eq!(standing.champion.as_deref(), Some("hall-load/1"));
    assert!(standing.champion_score.unwrap() <= standing.challenger_score / 0.99);

    // A champion that learnt another load is beaten.
    let flat = vec![("load".to_owned(), Series::new(start() + STEP, STEP, (0..6 * 288).map(|k| 500.0 + f64::from(k % 3)).collect()))];
    let stranger = train(&Training::new("hall-load/1", &flat, None, 1)).unwrap();
    let (standing, second) = challenge(Some(&stranger), now + STEP + STEP).unwrap();
    let mut second = second.unwrap();
    assert_eq!((standing.verdict, second.name()), (Verdict::Promoted, "hall-load/2"));
    assert!(standing.challenger_score < 0.99 * standing.champion_score.unwrap());

    // In service the load grows rough: the new one drifts, is set aside, and the next start takes the older one.
    assert!(drifted(&second).is_none());
    let rough = series(DAYS + 2, |t| if t > now { 400.0 } else { 40.0 });
    let window = Window { loads: vec![("load".into(), rough.clone())], ..Window::default() };
    for k in DAYS * 288..(DAYS + 1) * 288 {
        second.cycle(rough.time(k as usize), &window);
    }
    let drift = drifted(&second).expect("its errors are many times those of its score");
    let text = set_aside(&store, &dir, "hall", second.name(), first.name(), drift, now + Span::hours(24)).unwrap();
    assert!(text.contains("hall-load/2") && text.contains("hall-load/1 is in force again"), "{text}");
    assert_eq!(newest(&dir, FAMILY, &targets).unwrap().unwrap().name(), "hall-load/1");

    // One of an older format is refused, with its file, and not passed over in silence.
    let (model, card) = (dir.join("models/hall-load/1/model.json"), dir.join("models/hall-load/1/card.toml"));
    let text = std::fs::read_to_string(&model).unwrap();
    let older = text.replacen("\"format\":3", "\"format\":2", 1);
    assert_ne!(text, older);
    let digest = |t: &str| blake3::hash(t.as_bytes()).to_hex().to_string();
    let told = std::fs::read_to_string(&card).unwrap().replace(&digest(&text), &digest(&older));
    std::fs::write(&model, older).unwrap();
    std::fs::write(&card, told).unwrap();
    let why = newest(&dir, FAMILY, &targets).err().expect("an older format").to_string();
    assert!(why.contains("model.json") && why.contains("format"), "{why}");
    println!("{why}");

    // All of it is in the records, in order.
    let records = store.records("forecast", "hall", Timestamp(0), Timestamp(i64::MAX), 9).unwrap();
    let ids: Vec<&str> = records.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids, ["hall-load-1", "hall-load-2", "hall-load-2", "rollback-hall-load-2"]);
}

#[test]
fn the_train_command_writes_the_next_version_from_the_store_the_same_twice() {
    let dir = scratch("train-store");
    drop(fill(&dir.join("data")));
    std::fs::write(dir.join("site.toml"), site_text()).unwrap();
    std::fs::write(dir.join("tramuntana.toml"), "format = 1\nbroker = \"mqtt://127.0.0.1:1883\"\nsites = [\"site.toml\"]\n").unwrap();
    let run = |more: &[&str]| {
        let config = dir.join("tramuntana.toml");
        let data = dir.join("data");
        let fixed = ["train", "--config", &config.to_string_lossy(), "--data-dir", &data.to_string_lossy()].map(String::from);
        let all: Vec<&str> = fixed.iter().map(String::as_str).chain(more.iter().copied()).collect();
        let done = command(&all).output().unwrap();
        (done.status.success(), String::from_utf8_lossy(&done.stdout).into_owned(), String::from_utf8_lossy(&done.stderr).into_owned())
    };
    let models = dir.join("models");
    let out = models.to_string_lossy().into_owned();
    for version in 1..=2 {
        let (ok, said, why) = run(&["--out", &out]);
        assert!(ok && said.contains("in force"), "{said}{why}");
        for file in ["model.json", "card.toml", "score.json"] {
            assert!(models.join(format!("hall-load/{version}/{file}")).exists(), "{file}");
        }
    }
    let score = |v: u32| std::fs::read_to_string(models.join(format!("hall-load/{v}/score.json"))).unwrap();
    assert_eq!(score(1), score(2));
    let (ok, _, why) = run(&["--site", "nowhere"]);
    assert!(!ok && why.contains("nowhere"), "{why}");
}
