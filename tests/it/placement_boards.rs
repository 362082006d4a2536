//! Integration tests of placement boards: room by limits and caps, load targets, two sites, what to shed.

use std::path::Path;
use std::sync::Arc;
use tramuntana::control::place::rank::rank;
use tramuntana::control::place::shed::{KnownJob, shed};
use tramuntana::control::place::solve::Effort;
use tramuntana::control::place::{Board, JobAsk, Outlook, RackView};
use tramuntana::control::view::ActuatorView;
use tramuntana::control::{Aged, Link, LoadForecast, View};
use tramuntana::plant::predict::{Fit, Outcome, PlantState, Predict, StepInput};
use tramuntana::reading::Quality;
use tramuntana::signal::weather::Weather;
use tramuntana::site::SiteFile;
use tramuntana::time::{Span, Timestamp};
use tramuntana::units::Kind;

const SITE: &str = r#"
format = 1
[site]
id = "ID"
name = "Hall"
time_zone = "Europe/Madrid"
[bus]
filter = "BMS/#"
[[role]]
name = "supply"
select = { point_type = "a" }
[[role]]
name = "gpu"
select = { point_type = "c" }
[[role]]
name = "load"
select = { point_type = "d" }
[[role]]
name = "load_target"
select = { point_type = "t" }
[[loop]]
id = "tcs"
name = "TCS"
supply = "supply"
return = "supply"
load = "load"
[[actuator]]
id = "water"
name = "Water supply"
loop = "tcs"
request = { point_type = "f" }
in_force = { point_type = "g" }
measured = "supply"
lo = 16.0
hi = 32.0
default = 22.0
slew_per_min = 0.2
slew_per_10min = 2.0
step = 0.25
[[limit]]
id = "gpu"
name = "Hottest GPU"
role = "gpu"
max = 83.0
margin = 1.0
[[partition]]
id = "train"
name = "Training"
racks = { point_type = "d" }
gpus_per_rack = 64
rack_rating_kw = 128.0
job_classes = ["training"]
[[partition.rack]]
rack = "r1"
nodes = ["n[01-08]"]
[[cap]]
id = "a"
kind = "pdu"
racks = ["r1", "r2"]
max_kw = 200.0
[[cap]]
id = "grid"
kind = "site"
role = "load_target"
[[domain]]
id = "leaf"
racks = ["r2", "r3"]
[energy]
eur_per_kwh = 0.1
g_co2_per_kwh = 100.0
"#;

/// Cooling takes `share` of the load; chips are water + 40 K at 400 kW.
struct Plant {
    share: f64,
    fit: Fit,
}

impl Predict for Plant {
    fn rollout(&self, _: &PlantState, steps: &[StepInput], out: &mut Vec<Outcome>) {
        out.clear();
        out.extend(steps.iter().map(|s| {
            let (water, load) = (s.setpoints[0], s.loads_kw[0]);
            Outcome {
                it_kw: load * (1.0 + 0.002 * (water - 22.0)),
                cooling_kw: load * self.share * (1.0 + 0.02 * (22.0 - water).max(0.0)),
                loss_kw: 0.03 * load,
                power_sigma_kw: 1.0,
                limited: vec![water + 40.0 * load / 400.0 + 10.0],
                limited_sigma: vec![0.0],
            }
        }));
    }
    fn fit(&self) -> &Fit {
        &self.fit
    }
    fn name(&self) -> &str {
        "plant/1"
    }
}

fn view(id: &str, water_c: f64, load_kw: f64, target_kw: Option<f64>) -> View {
    let now = Timestamp(1_784_030_400_000);
    let site = Arc::new(SiteFile::parse(Path::new("test/site.toml"), &SITE.replace("ID", id)).expect("the test's site file"));
    let aged = |v: f64, kind| Aged::new(v, now, now, kind, Quality::GOOD);
    let mut roles = std::collections::BTreeMap::new();
    roles.insert("supply".to_owned(), aged(water_c, Kind::Temperature));
    roles.insert("gpu".to_owned(), aged(60.0, Kind::Temperature));
    roles.insert("load".to_owned(), aged(load_kw, Kind::Power));
    if let Some(kw) = target_kw {
        roles.insert("load_target".to_owned(), aged(kw, Kind::Power));
    }
    View {
        now,
        site,
        roles,
        actuators: vec![ActuatorView { in_force: aged(water_c, Kind::Temperature), measured: None, request_points: 1, unit: "°C" }],
        loads: vec![LoadForecast::persistence(load_kw, 0.0, 24, "a test")],
        weather: Weather { dry_bulb_c: 20.0, wet_bulb_c: 15.0, dew_point_c: 10.0 },
        weather_forecast: vec![],
        gpus_allocated: Some(100.0),
        link: Link::default(),
        drifted: false,
        findings: vec![],
        prices: vec![],
        peak_kw: 0.0,
    }
}

fn board(id: &str, share: f64, water_c: f64, load_kw: f64, target_kw: Option<f64>, racks: &[(&str, f64, u32)]) -> Board {
    let v = view(id, water_c, load_kw, target_kw);
    let views: Vec<RackView> = (racks.iter())
        .map(|(rack, power_kw, free)| RackView {
            id: (*rack).to_owned(),
            partition: "train".into(),
            power_kw: *power_kw,
            rating_kw: 128.0,
            supply_c: water_c,
            return_c: water_c + 8.0,
            free_gpus: Some(*free),
        })
        .collect();
    let outlook = Outlook {
        slot: Span::minutes(30),
        weather: vec![v.weather; 6],
        p50_kw: vec![vec![load_kw]; 6],
        p90_kw: vec![vec![load_kw]; 6],
        setpoints: v.in_force(),
        follow: false,
    };
    Board::new(&v, &views, &outlook, &Plant { share, fit: Fit::default() }).expect("a board")
}

fn job(gpus: u32) -> JobAsk {
    JobAsk {
        id: "j".into(),
        gpus,
        gpus_per_node: None,
        kw_per_gpu: Some(1.0),
        duration: Span::hours(1),
        earliest: Span::ZERO,
        latest: Span::ZERO,
        partitions: vec![],
        sites: vec![],
        job_class: None,
        one_domain: None,
        own_place: None,
    }
}

const RACKS: [(&str, f64, u32); 3] = [("r1", 40.0, 64), ("r2", 40.0, 64), ("r3", 40.0, 64)];

#[test]
fn caps_and_limits_end_the_room_and_are_named() {
    let b = Arc::new(board("hall", 0.1, 22.0, 300.0, None, &RACKS));
    assert_eq!(b.racks[0].nodes.len(), 8);
    // PDU a: 200 kW less what r1 and r2 draw.
    assert!((b.caps[0].room_kw[0] - 120.0).abs() < 1e-9 && b.caps[1].room_kw[0].is_infinite());
    let places = |gpus: u32, one: Option<bool>| {
        rank(std::slice::from_ref(&b), &[JobAsk { one_domain: one, ..job(gpus) }], Effort::default()).remove(0)
    };
    let a = places(128, Some(false));
    assert_eq!(a.places[0].racks.iter().map(|r| r.1).sum::<u32>(), 128);
    // 128 kW on r1 and r2 would pass the PDU: some of it must be on r3.
    assert!(a.places[0].racks.iter().any(|r| r.0 == "r3"), "{a:?}");
    assert_eq!((a.places[0].eur, a.places[0].g_co2), (Some(0.1 * a.places[0].kwh), Some(100.0 * a.places[0].kwh)));
    let leaf = places(128, Some(true));
    assert!(leaf.places[0].racks.iter().all(|r| r.0 != "r1"), "{leaf:?}");
    let none = places(192, Some(true));
    assert!(none.places.is_empty() && none.notes[0].contains("at most 128 are free in one domain"), "{none:?}");
    // Chips reach 82 °C at 22 °C water and 500 kW: colder water makes room, and the slot says so.
    assert!(b.slots[0].cooled, "{:?}", b.slots[0]);
    let hot = board("hall", 0.1, 22.0, 500.0, None, &[("r1", 40.0, 64)]);
    let s = &hot.slots[0];
    assert!(s.cooled && (s.room_kw - 60.0).abs() < 2.0 && s.limit == "Hottest GPU", "{s:?}");
}

#[test]
fn a_load_target_bounds_the_site() {
    // 300 kW of load are 339 kW in all; the grid asks for 350: about 9.7 kW of load may come.
    let b = Arc::new(board("hall", 0.1, 22.0, 300.0, Some(350.0), &RACKS));
    assert!((b.caps[1].room_kw[0] - 11.0 / 1.13).abs() < 0.2, "{:?}", b.caps[1]);
    let a = rank(&[b], &[job(64)], Effort::default()).remove(0);
    assert!(a.places.is_empty() && a.notes[0].contains("site grid has room for"), "{a:?}");
}

#[test]
fn two_sites_are_weighed_and_each_stands_alone() {
    let cheap = Arc::new(board("cheap", 0.05, 22.0, 300.0, None, &RACKS));
    let dear = Arc::new(board("dear", 0.3, 22.0, 300.0, None, &RACKS));
    let both = [Arc::clone(&dear), Arc::clone(&cheap)];
    let a = rank(&both, &[job(64)], Effort::default()).remove(0);
    assert_eq!(a.places[0].site, "cheap");
    assert!(a.places.iter().any(|p| p.site == "dear" && p.kwh > a.places[0].kwh), "{a:?}");
    // More than the cheap one holds goes over to the other.
    let many: Vec<JobAsk> = (0..5).map(|i| JobAsk { id: format!("{i}"), ..job(64) }).collect();
    let sites: Vec<String> =
        rank(&both, &many, Effort::default()).iter().filter_map(|a| a.places.first().map(|p| p.site.clone())).collect();
    // Each site holds two: r1 and r2 hang on one PDU.
    assert_eq!(sites, ["cheap", "cheap", "dear", "dear"]);
    // The link to the cheap site is down: its board is not there, the other still places.
    assert_eq!(rank(&[dear], &[job(64)], Effort::default()).remove(0).places[0].site, "dear");
    assert!(rank(&[], &[job(64)], Effort::default()).remove(0).notes[0].contains("no site has a fresh"));
}

#[test]
fn a_job_stays_at_its_own_place_where_the_model_cannot_tell() {
    let at = |site: &str, racks: &[(&str, u32)]| Some((site.to_owned(), racks.iter().map(|(r, n)| ((*r).to_owned(), *n)).collect()));
    let first = |boards: &[Arc<Board>], gpus: u32, own| {
        let ask = JobAsk { own_place: own, one_domain: Some(false), ..job(gpus) };
        rank(boards, &[ask], Effort::default()).remove(0)
    };
    let (cheap, dear) = (board("cheap", 0.10, 22.0, 300.0, None, &RACKS), board("dear", 0.14, 22.0, 300.0, None, &RACKS));
    let sure = [Arc::new(dear.clone()), Arc::new(cheap.clone())];
    // The prices differ by 4 %, and nothing says that they are uncertain: it moves.
    assert_eq!(first(&sure, 32, at("dear", &[("r3", 32)])).places[0].site, "cheap");
    // Uncertain by more than they differ, it stays, and the other place is shown behind it.
    let unsure = [Arc::new(dear.clone().doubted(0.03)), Arc::new(cheap.doubted(0.03))];
    let a = first(&unsure, 32, at("dear", &[("r3", 32)]));
    assert_eq!((a.places[0].site.as_str(), a.places[1].site.as_str()), ("dear", "cheap"), "{a:?}");
    assert!(a.places[0].kwh > a.places[1].kwh && a.places[0].doubt_kwh > 0.0 && a.notes[0].contains("told from none"), "{a:?}");
    // Where it has no room it moves all the same: 128 kW on r1 and r2 pass the PDU.
    let a = first(&unsure, 128, at("dear", &[("r1", 64), ("r2", 64)]));
    assert!(a.places[0].racks.len() >= 2 && a.places[0].racks != [("r1".to_owned(), 64), ("r2".to_owned(), 64)], "{a:?}");
    // So it does where jobs that run there already may come to draw what is left: 96 GPUs of 2 kW, 80 kW now, 200 kW allowed.
    let idle = Arc::new(board("hall", 0.1, 22.0, 300.0, None, &RACKS));
    assert_eq!(first(&[idle], 16, at("hall", &[("r2", 16)])).places[0].racks, [("r2".to_owned(), 16)]);
    let busy = Arc::new(board("hall", 0.1, 22.0, 300.0, None, &[("r1", 40.0, 16), ("r2", 40.0, 16), ("r3", 40.0, 64)]));
    assert!((busy.may_rise_kw(0) - 112.0).abs() < 1e-9, "{}", busy.may_rise_kw(0));
    let a = first(&[busy], 16, at("hall", &[("r2", 16)]));
    assert!(a.places[0].racks != [("r2".to_owned(), 16)] && a.notes.is_empty(), "{a:?}");
    // A place that is none is passed over: an unknown rack or site, too few GPUs.
    for own in [at("dear", &[("r9", 32)]), at("nowhere", &[("r3", 32)]), at("dear", &[("r3", 8)]), at("dear", &[])] {
        assert_eq!(first(&unsure, 32, own).places[0].site, "cheap");
    }
}

#[test]
fn absurd_jobs_find_no_place_and_break_nothing() {
    let b = [Arc::new(board("hall", 0.1, 22.0, 300.0, None, &RACKS))];
    let (none, most) = (Span(-1), Span(i64::MAX));
    let absurd = [
        JobAsk { gpus: 0, ..job(1) },
        JobAsk { gpus: u32::MAX, ..job(1) },
        JobAsk { gpus: u32::MAX, gpus_per_node: Some(u32::MAX), ..job(1) },
        JobAsk { gpus_per_node: Some(0), ..job(7_777) },
        JobAsk { kw_per_gpu: Some(f64::NAN), ..job(1) },
        JobAsk { kw_per_gpu: Some(-1.0), ..job(1) },
        JobAsk { kw_per_gpu: Some(0.0), ..job(1) },
        JobAsk { kw_per_gpu: Some(f64::INFINITY), ..job(1) },
        JobAsk { kw_per_gpu: Some(1e300), ..job(1) },
        JobAsk { duration: Span::ZERO, ..job(1) },
        JobAsk { duration: none, ..job(1) },
        JobAsk { partitions: vec!["gold".into()], ..job(1) },
        JobAsk { sites: vec!["atlantis".into()], ..job(1) },
        JobAsk { job_class: Some("\u{0}".into()), ..job(1) },
    ];
    for a in rank(&b, &absurd, Effort::default()) {
        assert!(a.places.is_empty() && !a.notes.is_empty(), "{a:?}");
    }
    // Times beyond every horizon are brought inside it; the job still has a place.
    for ask in [
        JobAsk { duration: most, ..job(1) },
        JobAsk { earliest: most, latest: most, ..job(1) },
        JobAsk { earliest: none, latest: none, ..job(1) },
        JobAsk { earliest: most, latest: none, ..job(1) },
    ] {
        let a = rank(&b, std::slice::from_ref(&ask), Effort::default()).remove(0);
        assert!(a.places[0].kwh.is_finite(), "{ask:?}: {a:?}");
    }
}

#[test]
fn what_cannot_be_cooled_is_shed_before_it_comes() {
    // Even at 16 °C the chips pass their limit beyond 560 kW: 100 kW too much.
    let b = board("hall", 0.1, 22.0, 660.0, None, &[("r1", 120.0, 0), ("r2", 100.0, 0), ("r3", 90.0, 0)]);
    let other = Arc::new(board("other", 0.1, 22.0, 200.0, None, &RACKS));
    let known = |id: &str, rack: &str, gpus, waits| KnownJob {
        id: id.into(),
        racks: vec![rack.into()],
        gpus,
        kw: f64::from(gpus),
        waits,
        slack_h: 2.0,
    };
    let jobs = [known("small", "r1", 8, false), known("big", "r2", 48, false), known("later", "r3", 64, true)];
    let all = shed(&b, &jobs, &[other]);
    let limit = all.iter().find(|s| s.breach.what == "Hottest GPU").expect("the limit");
    assert!((limit.breach.needed_kw - 100.0).abs() < 5.0, "{limit:?}");
    let kinds: Vec<(&str, &str)> = limit.acts.iter().map(|a| (a.kind, a.target.as_str())).collect();
    assert_eq!(kinds[..4], [("delay", "later"), ("move", "big"), ("move", "small"), ("cap", "r1")], "{limit:?}");
    assert!(limit.acts.last().is_some_and(|a| a.enough) && limit.acts.iter().rev().skip(1).all(|a| !a.enough));
    // PDU a carries 220 kW of 200.
    let pdu = all.iter().find(|s| s.breach.what == "pdu a").expect("the cap");
    assert!((pdu.breach.needed_kw - 20.0).abs() < 1e-9 && pdu.acts.iter().all(|a| a.target != "r3"), "{pdu:?}");
    // Alone, there is nowhere to move to.
    assert!(shed(&b, &jobs, &[]).iter().flat_map(|s| &s.acts).all(|a| a.kind != "move"));
}
