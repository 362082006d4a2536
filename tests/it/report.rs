//! The run page: three files, readable text, nothing drawn outside the page.

use std::f64::consts::TAU;
use tramuntana::report::{Band, LimitLine, LoadTrace, ReportError, RunReport, SetpointTrace, Trace, run_page};
use tramuntana::time::{Span, Timestamp};

fn trace(f: impl Fn(f64) -> f64) -> Trace {
    let start = Timestamp::parse("2026-07-14T22:00:00Z").unwrap();
    (0..577).map(|k| (start + Span::minutes(5 * k), f(k as f64 / 12.0))).collect()
}

fn run() -> RunReport {
    let day = |h: f64| (TAU * (h - 9.0) / 24.0).sin();
    let wiggle = |h: f64| (h * 2.3).sin() + 0.6 * (h * 7.1).cos();
    let load = |base: f64, swing: f64, name: &str| {
        let truth_kw = trace(|h| base + swing * day(h) + 0.2 * swing * wiggle(h));
        let forecast = truth_kw
            .iter()
            .map(|&(at, v)| Band { at, p10: v - 0.35 * swing, p50: v + 0.1 * swing * (at.0 as f64 / 9e6).sin(), p90: v + 0.3 * swing })
            .collect();
        LoadTrace { name: name.into(), truth_kw, forecast, ahead: Span::hours(1) }
    };
    let setpoint = |name: &str, at: f64| {
        let held = |h: f64| at + (h / 3.0).floor().rem_euclid(5.0) * 0.6;
        SetpointTrace {
            name: name.into(),
            unit: "°C".into(),
            asked: trace(|h| held(h + 0.2)),
            in_force: trace(held),
            measured: trace(|h| held(h) + 0.15 * wiggle(h)),
        }
    };
    let mut saved = 0.0;
    let mut cumulative = trace(|h| 3.0 + day(h));
    cumulative.iter_mut().for_each(|r| {
        saved += r.1;
        r.1 = saved;
    });
    RunReport {
        site_id: "bsc-hq".into(),
        site_name: "BSC headquarters".into(),
        label: "Representative, not BSC's plant; synthetic values".into(),
        time_zone: "Europe/Madrid".into(),
        title: "two simulated days, seed 1".into(),
        loads: vec![load(1600.0, 250.0, "warm loop"), load(380.0, 60.0, "cold loop")],
        setpoints: vec![setpoint("warm supply", 30.0), setpoint("facility water", 25.0), setpoint("chilled water", 17.0)],
        limits: vec![
            LimitLine { name: "W40 supply".into(), unit: "°C".into(), value: vec![(Timestamp(0), 40.0)] },
            LimitLine { name: "dew point + 2 K".into(), unit: "°C".into(), value: trace(|h| 15.0 + 0.8 * day(h)) },
        ],
        cooling_baseline_kw: trace(|h| 310.0 + 60.0 * day(h) + 8.0 * wiggle(h)),
        cooling_recommended_kw: trace(|h| 250.0 + 45.0 * day(h) + 8.0 * wiggle(h)),
        wet_bulb_c: trace(|h| 19.0 + 3.0 * day(h)),
        saved_cooling_kwh: cumulative.iter().map(|r| (r.0, r.1 * 1.12)).collect(),
        saved_total_kwh: cumulative,
        figures: vec![
            vec!["bsc-hq".into(), "baseline".into(), "recommended".into()],
            vec!["cooling, kWh".into(), "14 880.0".into(), "12 000.0 <b>".into()],
        ],
    }
}

#[test]
fn a_run_becomes_a_page() {
    let dir = std::env::temp_dir().join(format!("tramuntana-report-{}", std::process::id()));
    let paths = run_page(&run(), &dir).unwrap();
    let svg = std::fs::read_to_string(&paths[0]).unwrap();
    for text in ["Load and its forecast", "electric power, kW", "wet bulb, °C", "saved, kWh", "dew point + 2 K", "15 Jul", "Europe/Madrid"]
    {
        assert!(svg.contains(text), "{text}");
    }
    assert!(!svg.contains("NaN"));
    let png = std::fs::read(&paths[1]).unwrap();
    assert_eq!(&png[..4], b"\x89PNG");
    // Width and height from the header: 1600 × (130 + 4 · 480).
    assert_eq!((&png[16..20], &png[20..24]), (&1600u32.to_be_bytes()[..], &2050u32.to_be_bytes()[..]));
    let html = std::fs::read_to_string(&paths[2]).unwrap();
    assert!(html.contains("<svg") && html.contains("12 000.0 &lt;b&gt;") && !html.contains("{{"));
    // The same run gives the same bytes.
    run_page(&run(), &dir).unwrap();
    assert_eq!(std::fs::read(&paths[1]).unwrap(), png);
    if std::env::var_os("KEEP_REPORT").is_none() {
        let _ = std::fs::remove_dir_all(&dir);
    } else {
        println!("{}", dir.display());
    }
}

#[test]
fn what_cannot_be_drawn_or_written_says_so() {
    let empty = RunReport { site_id: "x".into(), ..RunReport::default() };
    assert!(matches!(run_page(&empty, &std::env::temp_dir()), Err(ReportError::Empty { .. })));
    let file = std::env::temp_dir().join(format!("tramuntana-report-file-{}", std::process::id()));
    std::fs::write(&file, "in the way").unwrap();
    let error = run_page(&run(), &file).unwrap_err().to_string();
    assert!(error.contains("cannot be written"), "{error}");
    let _ = std::fs::remove_file(&file);
    // A trace with gaps, and an unknown zone, are drawn all the same.
    let mut odd = run();
    odd.time_zone = "Nowhere".into();
    odd.wet_bulb_c.iter_mut().step_by(50).for_each(|r| r.1 = f64::NAN);
    let dir = std::env::temp_dir().join(format!("tramuntana-report-odd-{}", std::process::id()));
    let paths = run_page(&odd, &dir).unwrap();
    assert!(std::fs::read_to_string(&paths[0]).unwrap().contains("Times in UTC"));
    let _ = std::fs::remove_dir_all(&dir);
}
