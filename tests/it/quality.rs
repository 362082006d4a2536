//! The gate on real telemetry: the faults that are known to be in it are found by name, and good columns are left alone.
//!
//! `cargo test --release --test it quality:: -- --nocapture` prints the marks of each column and the false-alarm rate.

use crate::common::shared;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use tramuntana::event::{CONTRADICTIONS, MARKED, Tally};
use tramuntana::ingest::{Packet, SiteIngest};
use tramuntana::reading::Quality;
use tramuntana::site::{Catalogue, Classes, SiteFile};
use tramuntana::time::{Span, Timestamp};

/// Header and rows of a gzipped CSV.
fn table(path: &Path) -> (Vec<String>, Vec<Vec<String>>) {
    let file = flate2::read::GzDecoder::new(std::fs::File::open(path).expect("readable"));
    let mut csv = csv::Reader::from_reader(file);
    let header = csv.headers().expect("a header").iter().map(str::to_owned).collect();
    (header, csv.records().map(|r| r.expect("a row").iter().map(str::to_owned).collect()).collect())
}

fn site(more: &str) -> SiteIngest {
    let head = "format = 1\n[site]\nid = \"plant\"\nname = \"Plant\"\ntime_zone = \"UTC\"\n[bus]\nfilter = \"BMS/#\"\nclock = \"data\"\n";
    let file = SiteFile::parse(Path::new("site.toml"), &format!("{head}{more}")).expect("a site file");
    SiteIngest::new(&file, Classes::default(), Catalogue::new())
}

fn metadata(name: &str, unit: &str) -> Packet {
    let unit = match unit {
        "state" => r#""stateText":[{"value":0,"text":"Off"},{"value":1,"text":"On"}]"#.to_owned(),
        u => format!(r#""engUnit":"{u}""#),
    };
    let json = format!(
        r#"{{"objectType":"GenericObject","pointType":"GenericPoint",{unit},"objectName":"{name}","objectId":"{name}","processArea":["Plant"]}}"#
    );
    Packet { topic: format!("BMS/v1/PUB/Metadata/GenericObject/GenericPoint/{name}"), payload: json.into_bytes().into(), retain: false }
}

fn value(name: &str, text: &str, at: Timestamp) -> Packet {
    Packet {
        topic: format!("BMS/v1/PUB/Value/GenericObject/GenericPoint/{name}"),
        payload: format!(r#"{{"value":{text},"timestamp":{},"quality":1}}"#, at.0).into_bytes().into(),
        retain: false,
    }
}

/// Values and marks of each column that went through a site's gate, and when the marks came.
#[derive(Default)]
struct Judged {
    values: BTreeMap<String, u64>,
    marks: BTreeMap<String, BTreeMap<&'static str, Vec<Timestamp>>>,
}

impl Judged {
    /// `rows`: instant, then one text a column, empty where there is none.
    fn run(&mut self, hall: &mut SiteIngest, names: &[String], units: &[&str], rows: impl Iterator<Item = (Timestamp, Vec<String>)>) {
        let tally = Tally::new();
        let known: Vec<Packet> = names.iter().zip(units).map(|(n, u)| metadata(n, u)).collect();
        hall.take(&known, Timestamp(1), &tally);
        for (at, row) in rows {
            let packets: Vec<Packet> = names.iter().zip(&row).filter(|(_, v)| !v.is_empty()).map(|(n, v)| value(n, v.trim(), at)).collect();
            let taken = hall.take(&packets, at, &tally);
            assert_eq!(taken.refused, 0, "{:?}", hall.quarantine().next_back());
            for r in taken.readings {
                let name = &hall.catalogue().get(r.point).expect("known").object_id;
                *self.values.entry(name.clone()).or_default() += 1;
                for (_, mark) in r.quality.marks() {
                    self.marks.entry(name.clone()).or_default().entry(mark).or_default().push(r.at);
                }
            }
        }
        let marked: u64 = tally.rows().iter().filter(|(e, _, _)| *e == MARKED).map(|(_, _, n)| n).sum();
        assert!(marked >= self.marks.values().flat_map(|m| m.values()).map(|v| v.len() as u64).max().unwrap_or(0) / 100);
    }

    fn of(&self, column: &str, mark: &str) -> Vec<Timestamp> {
        self.marks.get(column).and_then(|m| m.get(mark)).cloned().unwrap_or_default()
    }

    /// Prints the marks and returns (marked, values) of the columns that are not `faulty`.
    fn report(&self, what: &str, faulty: &dyn Fn(&str) -> bool) -> (u64, u64) {
        let (mut marked, mut good) = (0, 0);
        let mut text = String::new();
        for (name, n) in &self.values {
            let marks = self.marks.get(name).map_or_else(String::new, |m| {
                m.iter().map(|(mark, at)| format!("{mark} {}, from {}", at.len(), at[0])).collect::<Vec<_>>().join("; ")
            });
            if faulty(name) {
                let _ = writeln!(text, "  FAULTY {name}: {n} values; {marks}");
                continue;
            }
            good += n;
            // Marks of one value count once, by the largest.
            marked += self.marks.get(name).map_or(0, |m| m.values().map(Vec::len).max().unwrap_or(0) as u64);
            if !marks.is_empty() {
                let _ = writeln!(text, "  good   {name}: {n} values; {marks}");
            }
        }
        println!("{what}: {marked} of {good} values of good columns marked, {:.4} %\n{text}", 100.0 * marked as f64 / good as f64);
        (marked, good)
    }
}

const PLANT: &str = r#"
[[role]]
name = "wet_bulb"
select = { object_id = "bms_wetbulb_c" }
[[role]]
name = "dry_bulb"
select = { object_id = "ambient_db_c" }
[[role]]
name = "outdoor_humidity"
select = { object_id = "ambient_rh_pct" }
[[role]]
name = "supply"
select = { object_id = "chw_supply_c" }
[[role]]
name = "return"
select = { object_id = "chw_return_c" }
[[role]]
name = "flow"
select = { object_id = "chw_flow_lps" }
[[role]]
name = "cooling"
select = { object_id = "cooling_kw" }
[[loop]]
id = "chw"
name = "Chilled water"
supply = "supply"
return = "return"
flow = "flow"
load = "cooling"
balance = [0.8, 1.2]
"#;

#[test]
fn the_known_faults_of_real_plants_are_found_by_name() {
    let Some(path) = shared("data/plant_10min_dec23_mar24.csv.gz") else { return };
    let (header, rows) = table(&path);
    let names: Vec<String> = header[1..].to_vec();
    let unit = |name: &str| match name.rsplit('_').next() {
        _ if name == "ambient_rh_pct" => "%RH",
        Some("kw") => "kW",
        Some("lps") => "L/s",
        Some("c") => "C",
        Some("hz") => "Hz",
        Some("pct") => "%",
        _ => "state",
    };
    let units: Vec<&str> = names.iter().map(|n| unit(n)).collect();
    let instant = |text: &str| Timestamp::parse(&format!("{}Z", text.replace(' ', "T"))).expect("an instant");
    let mut plant = Judged::default();
    plant.run(&mut site(PLANT), &names, &units, rows.into_iter().map(|r| (instant(&r[0]), r[1..].to_vec())));
    let (marked, good) = plant.report("plant", &|c| c == "bms_wetbulb_c");
    let day = |text: &str| Timestamp::parse(text).expect("a date");
    let march = plant.of("bms_wetbulb_c", "frozen").iter().filter(|t| **t >= day("2024-03-01")).count();
    assert_eq!(march, 4436, "the wet bulb stands still in all of March");
    assert_eq!(plant.of("bms_wetbulb_c", "dead zero").len(), 47, "every zero of December");
    assert!(!plant.of("bms_wetbulb_c", "contradicted").is_empty(), "dry bulb and humidity deny it");

    let Some(path) = shared("data/cornell_gpu_hourly_to_2025_05.csv.gz") else { return };
    let (header, rows) = table(&path);
    let column = |name: &str| header.iter().position(|h| h == name).expect("a column");
    let (stamp, server) = (column("timestamp"), column("server"));
    let columns: Vec<usize> = (0..header.len()).filter(|i| *i != stamp && *i != server).collect();
    let kinds: Vec<&str> = (columns.iter())
        .map(|i| match &header[*i] {
            h if h.starts_with("power") => "W",
            h if h.starts_with("temp") => "C",
            _ => "%",
        })
        .collect();
    let mut cornell = Judged::default();
    for s in ["05", "06", "07", "08", "09", "10"] {
        let names: Vec<String> = columns.iter().map(|i| format!("s{s}_{}", header[*i])).collect();
        let mut mine: Vec<&Vec<String>> = rows.iter().filter(|r| r[server] == s).collect();
        mine.sort_by_key(|r| r[stamp].clone());
        let cells = |r: &Vec<String>| columns.iter().map(|i| r[*i].clone()).collect();
        cornell.run(&mut site(""), &names, &kinds, mine.into_iter().map(|r| (instant(&format!("{}:00", r[stamp])), cells(r))));
    }
    let (m, g) = cornell.report("Cornell", &|c| c.ends_with("powermin"));
    let (marked, good) = (marked + m, good + g);
    for s in ["05", "06", "07", "08", "09", "10"] {
        assert!(cornell.of(&format!("s{s}_powermin"), "clipped").len() > 100, "server {s}: the least power is cut at 100 W");
    }

    let Some(path) = shared("data/frontier_cdu_15s_h00_h14.csv.gz") else { return };
    let (header, rows) = table(&path);
    let units: Vec<&str> = header[1..].iter().map(|h| if h.ends_with("_w") { "W" } else { "C" }).collect();
    let at = |r: &[String]| Timestamp(1_712_448_000_000 + (r[0].parse::<f64>().expect("seconds") * 1e3) as i64);
    let mut frontier = Judged::default();
    frontier.run(&mut site(""), &header[1..], &units, rows.into_iter().map(|r| (at(&r), r[1..].to_vec())));
    let (m, g) = frontier.report("Frontier", &|_| false);
    let (marked, good) = (marked + m, good + g);
    let share = 100.0 * marked as f64 / good as f64;
    println!("all good columns: {marked} of {good} values marked, {share:.4} %");
    assert!(share < 0.1, "{share} % false alarms");
}

/// Feeds (minute, value) pairs of one point and gives the texts of their marks.
fn marks(unit: &str, values: impl Iterator<Item = f64>) -> Vec<String> {
    let (mut hall, tally) = (site(""), Tally::new());
    hall.take(&[metadata("x", unit)], Timestamp(1), &tally);
    let feed = |(i, v): (usize, f64)| {
        let at = Timestamp(1_784_000_000_000) + Span::minutes(i as i64);
        hall.take(&[value("x", &v.to_string(), at)], at, &tally).readings[0].quality.text()
    };
    values.enumerate().map(feed).collect()
}

fn count(texts: &[String], mark: &str) -> usize {
    texts.iter().filter(|t| *t == mark).count()
}

/// A temperature that breathes by the day, with a little noise.
fn breath(i: usize) -> f64 {
    let x = i as f64;
    24.0 + 4.0 * (x / 230.0).sin() + 0.1 * ((x * 12.9898).sin() * 43758.5453).fract()
}

#[test]
fn a_zero_is_dead_or_rest_by_the_kind_of_quantity() {
    let fault = |i: usize| (500..520).contains(&i);
    let broken = |i: usize| if fault(i) { 0.0 } else { breath(i) };
    let t = marks("C", (0..800).map(broken));
    assert_eq!((count(&t, "dead zero"), count(&t, "good")), (20, 780));
    // The wire's zero counts, not the canonical one: 0 °F is what a dead sensor says.
    let t = marks("F", (0..800).map(|i| if fault(i) { 0.0 } else { breath(i) * 1.8 + 32.0 }));
    assert_eq!(count(&t, "dead zero"), 20);
    // A machine that stops, for two days, and a thermometer in frost.
    for unit in ["kW", "L/s", "kPa", "A"] {
        let t = marks(unit, (0..6000).map(|i| if (1500..4500).contains(&i) { 0.0 } else { breath(i) }));
        assert_eq!(count(&t, "good"), 6000, "{unit}");
    }
    let t = marks("C", (0..800).map(|i| ((breath(i) - 24.0) * 5.0).round() / 5.0));
    assert_eq!(count(&t, "good"), 800);
}

#[test]
fn what_stands_still_is_frozen_and_what_steps_is_not_a_spike() {
    let t = marks("C", (0..8000).map(|i| breath(i.min(4000))));
    let first = t.iter().position(|m| m == "frozen").expect("frozen at last");
    assert!((4000 + 24 * 60..4000 + 26 * 60).contains(&first) && t[first..].iter().all(|m| m == "frozen"), "{first}");
    // A speed, an opening and a state may stand still for ever.
    for unit in ["Hz", "%", "count"] {
        assert_eq!(count(&marks(unit, (0..8000).map(|i| breath(i.min(4000)).round())), "good"), 8000, "{unit}");
    }
    let t = marks("C", (0..400).map(|i| if i == 300 { 85.0 } else { breath(i) }));
    assert_eq!((t[300].as_str(), count(&t, "good")), ("spike", 399));
    let t = marks("kW", (0..400).map(|i| if i < 200 { 10.0 + breath(i) } else { 90.0 + breath(i) }));
    assert_eq!(count(&t, "good"), 400, "a machine that starts");
    let t = marks("kW", (0..400).map(|i| if i == 300 { 6553.5 } else { 60.0 + breath(i) }));
    assert_eq!((t[300].as_str(), count(&t, "good")), ("spike", 399), "a register's full scale");
    let t = marks("C", (0..400).map(|i| if i < 200 { breath(i) } else { 40.0 + breath(i) }));
    assert_eq!((count(&t, "spike"), count(&t, "good")), (2, 398), "two values until a step is known for one");
}

#[test]
fn a_meter_that_begins_anew_is_marked_with_how() {
    let t = marks("kWh", (0..100).map(|i| (999_900.0 + 7.0 * i as f64) % 1e6));
    assert_eq!((count(&t, "meter rollover"), count(&t, "good")), (1, 99));
    let t = marks("kWh", (0..100).map(|i| 7.0 * i as f64 + if i < 50 { 123_000.0 } else { 0.0 }));
    assert_eq!((count(&t, "meter restart"), count(&t, "good")), (1, 99));
    assert!(Quality::METER_RESTART.usable() && Quality::METER_ROLLOVER.usable());
}

#[test]
fn heat_that_does_not_balance_marks_the_loop_and_is_a_finding() {
    let (mut hall, tally) = (site(PLANT), Tally::new());
    let names = ["chw_supply_c", "chw_return_c", "chw_flow_lps", "cooling_kw", "elsewhere_c"];
    hall.take(
        &names.map(|n| {
            metadata(
                n,
                n.rsplit('_').next().map_or("", |u| ["C", "L/s", "kW"][["c", "lps", "kw"].iter().position(|x| *x == u).unwrap_or(0)]),
            )
        }),
        Timestamp(1),
        &tally,
    );
    let mut feed = |minute: i64, flow: f64| {
        let at = Timestamp(1_784_000_000_000) + Span::minutes(minute);
        let wave = (minute as f64 / 17.0).sin();
        let values = [7.0 + 0.1 * wave, 12.0 + 0.1 * wave, flow, 4.18 * 0.997 * 80.0 * 5.0, 20.0 + wave];
        let packets: Vec<Packet> = names.iter().zip(values).map(|(n, v)| value(n, &v.to_string(), at)).collect();
        let readings = hall.take(&packets, at, &tally).readings;
        let texts: Vec<String> = readings.iter().map(|r| r.quality.text()).collect();
        (texts, hall.findings().next().map(|f| f.text))
    };
    for minute in 0..240 {
        assert_eq!(feed(minute, 80.0), (vec!["good".to_owned(); 5], None), "minute {minute}");
    }
    // The flow meter loses a third of its reading.
    let after: Vec<_> = (240..400).map(|m| feed(m, 53.0)).collect();
    let began = after.iter().position(|(_, f)| f.is_some()).expect("a finding");
    assert!((40..=95).contains(&began), "after {began} minutes");
    let (texts, finding) = after.last().expect("some");
    assert_eq!(texts[..4], vec!["energy balance".to_owned(); 4]);
    assert_eq!(texts[4], "good");
    assert!(finding.as_ref().is_some_and(|f| f.contains("0.66 of it")), "{finding:?}");
    // Mended, and within an hour nothing is marked.
    let mended: Vec<_> = (400..500).map(|m| feed(m, 80.0)).collect();
    assert_eq!(mended[65], (vec!["good".to_owned(); 5], None));
    assert_eq!(tally.get(CONTRADICTIONS, "plant/balance chw"), 1);
    assert!(tally.get(MARKED, "plant/energy balance") > 100);
}

/// The gate's own cost: `cargo test --release --test it quality::pace -- --ignored --nocapture`.
#[test]
#[ignore = "a measurement, not a test"]
fn pace() {
    use tramuntana::ingest::decode::dsx;
    use tramuntana::ingest::gate::Watch;
    const POINTS: usize = 10_000;
    const ROUNDS: usize = 200;
    for (unit, what) in [("C", "temperatures"), ("kW", "powers"), ("kWh", "meters"), ("%", "shares")] {
        let json =
            format!(r#"{{"objectType":"GenericObject","pointType":"GenericPoint","engUnit":"{unit}","objectName":"x","objectId":"x"}}"#);
        let point = dsx::metadata("GenericObject/GenericPoint/x", json.as_bytes()).expect("a point");
        let value = |i: usize| if unit == "kWh" { 1000.0 + i as f64 } else { breath(i * 7) + i as f64 * 0.01 };
        let values: Vec<f64> = (0..ROUNDS).map(value).collect();
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let mut watches = vec![Watch::default(); POINTS];
            let mut marked = 0_u64;
            let begin = std::time::Instant::now();
            for (i, v) in values.iter().enumerate() {
                let at = Timestamp(1_784_000_000_000 + 10_000 * i as i64);
                for w in &mut watches {
                    marked += u64::from(!w.mark(&point, None, at.into(), *v).expect("in order").is_good());
                }
            }
            best = best.min(begin.elapsed().as_nanos() as f64 / (POINTS * ROUNDS) as f64);
            assert!(marked < (POINTS * ROUNDS / 10) as u64, "{marked}");
        }
        println!("{what}: {best:.1} ns a value, best of 5, {POINTS} points of {} bytes in turn", std::mem::size_of::<Watch>());
    }
}
