//! Forecasts: the two feature paths agree, nothing later than now is used, bands cover, models come back from disk.

use std::io::Read;
use std::path::PathBuf;
use tramuntana::forecast::{FeatureRow, ForecastError, Forecaster, Series, Spec, Table, WeatherSeries, Window, backtest, train};
use tramuntana::time::{Span, Timestamp};

const STEP: Span = Span::minutes(5);
const START: Timestamp = Timestamp(1_784_000_100_000);

/// Noise with a fixed recipe, −1…1.
fn noise(k: u64) -> f64 {
    let mut x = k.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    x ^= x >> 31;
    x = x.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x ^= x >> 29;
    (x >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

/// A load with a daily shape and jobs that last an hour: kW.
fn load(days: usize, salt: u64) -> Series {
    let n = days * 288;
    let mut job = 0.0;
    let values = (0..n)
        .map(|k| {
            if k % 12 == 0 {
                job = 60.0 * noise(salt + k as u64 / 12);
            }
            let hour = (START + Span(STEP.0 * k as i64)).hour_of_day();
            900.0 + 250.0 * (std::f64::consts::TAU * (hour - 9.0) / 24.0).sin() + job + 5.0 * noise(salt * 7 + k as u64)
        })
        .collect();
    Series::new(START, STEP, values)
}

fn weather(days: usize) -> WeatherSeries {
    let make = |mean: f64| {
        let values =
            (0..days * 288).map(|k| mean + 6.0 * (std::f64::consts::TAU * k as f64 / 288.0).sin() + noise(k as u64 + 99)).collect();
        Series::new(START, STEP, values)
    };
    WeatherSeries { dry_bulb_c: make(24.0), wet_bulb_c: make(18.0) }
}

fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tramuntana-forecast-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    dir
}

#[test]
fn one_row_equals_the_lazy_table() {
    for step in [Span::minutes(5), Span::minutes(1), Span::minutes(10), Span::hours(1)] {
        let mut series = load(16, 1);
        let weather = weather(16);
        series.step = step;
        let (mut dry, mut wet) = (weather.dry_bulb_c, weather.wet_bulb_c);
        (dry.step, wet.step) = (step, step);
        let weather = WeatherSeries { dry_bulb_c: dry, wet_bulb_c: wet };
        for k in [700, 701, 1500] {
            series.values[k] = f64::NAN;
        }
        let mut spec = Spec::new(step, series.values.len(), true).unwrap();
        (spec.day, spec.yesterday, spec.week) = (true, true, true);
        let table = Table::new(&spec, "tcs", &series, Some(&weather)).unwrap();
        assert_eq!(table.names, spec.names());
        let mut row = Vec::new();
        let mut compared = 0;
        for k in (0..series.values.len()).step_by(7).chain(695..720).chain(1495..1510) {
            FeatureRow::compute(&spec, &series, k, Some(&weather), &mut row);
            assert_eq!(row.len(), table.columns.len());
            for (j, v) in row.iter().enumerate() {
                let lazy = table.columns[j][k];
                assert_eq!(v.is_nan(), lazy.is_nan(), "{} row {k}, step {step}: {v} against {lazy}", table.names[j]);
                assert!(v.is_nan() || (v - lazy).abs() < 1e-9, "{} row {k}, step {step}: {v} against {lazy}", table.names[j]);
                compared += usize::from(!v.is_nan());
            }
        }
        assert!(compared > 5_000, "{compared}");
        // Changes are what they say.
        let (_, ahead) = spec.horizons()[0];
        assert_eq!(table.changes[0][10], series.values[10 + ahead] - series.values[10]);
        assert!(table.changes[0][700 - ahead].is_nan());
    }
}

#[test]
fn the_linear_model_earns_its_place_and_the_bands_cover() {
    let targets = vec![("tcs".to_owned(), load(28, 3))];
    let forecaster = train("test/1", &targets, None, 7).unwrap();
    let of = |model: &str, minutes: i64| {
        forecaster
            .score()
            .iter()
            .find(|r| r.model == model && r.horizon == Span::minutes(minutes))
            .unwrap_or_else(|| panic!("{model} {minutes}"))
    };
    // The daily sine moves by up to 16 kW in 15 min and 250 kW in 4 h: persistence can't know, the model can.
    for minutes in [60, 120, 240, 360] {
        let (linear, persistence) = (of("linear", minutes), of("persistence", minutes));
        assert!(linear.mae < 0.7 * persistence.mae, "{minutes} min: {} against {}", linear.mae, persistence.mae);
        assert!(linear.chosen);
        let force = of("in_force", minutes);
        assert!((force.coverage80 - 0.8).abs() < 0.1, "{minutes} min: coverage {}", force.coverage80);
        assert!(force.rmse >= force.mae && force.bias.abs() <= force.mae && force.n > 500);
    }
}

#[test]
fn a_forecast_sees_nothing_after_now_and_says_when_its_inputs_are_unfit() {
    let series = load(10, 5);
    let forecaster = train("test/1", &[("tcs".to_owned(), series.clone())], None, 7).unwrap();
    let now_row = 9 * 288 + 100;
    let now = series.time(now_row);
    let window = |s: Series| Window { loads: vec![("tcs".into(), s)], weather: None };
    let predict = |s: Series| forecaster.predict(now, &window(s)).remove(0);
    let whole = predict(series.clone());
    assert_eq!(whole, predict(series.head(now_row + 1)));
    assert_eq!(whole.fallback, None);
    assert_eq!(whole.points.len(), 7);
    assert!(whole.points.iter().all(|a| a.p10 <= a.p50 && a.p50 <= a.p90));

    let said = |f: &tramuntana::forecast::Forecast| f.fallback.clone().unwrap_or_default();
    // Stale: the last half hour is missing; yesterday takes over.
    let stale = predict(series.head(now_row - 5));
    assert!(said(&stale).contains("old"), "{stale:?}");
    assert_eq!(stale.points[6].p50, series.values[now_row + 72 - 288]);
    // Frozen.
    let mut frozen = series.clone();
    frozen.values[now_row - 40..].fill(873.0);
    assert!(said(&predict(frozen)).contains("stood still"));
    // No history but the last value: too many features are missing, persistence speaks.
    let mut bare = series.clone();
    bare.values[..now_row].fill(f64::NAN);
    let bare = predict(bare);
    assert!(said(&bare).contains("features are missing"), "{bare:?}");
    assert!(bare.points.iter().all(|a| a.p50 == series.values[now_row]));
    // Far outside: all of the model has faded, the load stays as it is.
    let mut far = series.clone();
    far.values[now_row] = 90_000.0;
    let far = predict(far);
    assert!(said(&far).contains("outside the trained range"), "{far:?}");
    // Nothing at all, or the wrong grid.
    let none = forecaster.predict(now, &Window::default()).remove(0);
    assert!(none.points.is_empty() && said(&none).contains("no series"));
    assert!(said(&predict(Series { step: Span::minutes(1), ..series })).contains("step"));
}

#[test]
fn bands_widen_after_misses() {
    let series = load(10, 5);
    let mut forecaster = train("test/1", &[("tcs".to_owned(), series.clone())], None, 7).unwrap();
    let now = series.time(9 * 288);
    let window = Window { loads: vec![("tcs".into(), series)], weather: None };
    let before = forecaster.predict(now, &window);
    let mut shifted = window.clone();
    shifted.loads[0].1.values.iter_mut().for_each(|v| *v += 400.0);
    for _ in 0..5 {
        forecaster.record(&before);
        forecaster.settle(now + Span::hours(7), &shifted);
    }
    let after = forecaster.predict(now, &window);
    for (a, b) in after[0].points.iter().zip(&before[0].points) {
        assert!(a.p90 > b.p90 || a.p90 == b.p90 && a.ahead == b.ahead, "{a:?} {b:?}");
    }
    assert!(after[0].points.iter().zip(&before[0].points).any(|(a, b)| a.p90 > b.p90));
}

#[test]
fn models_come_back_from_disk_and_a_wrong_one_is_refused() {
    let targets = vec![("tcs".to_owned(), load(6, 1)), ("cold".to_owned(), load(6, 2))];
    let weather = weather(6);
    let forecaster = train("hall-load/1", &targets, Some(&weather), 11).unwrap();
    let (one, two) = (scratch("one"), scratch("two"));
    let dir = forecaster.save(&one, "a made-up load").unwrap();
    train("hall-load/1", &targets, Some(&weather), 11).unwrap().save(&two, "a made-up load").unwrap();
    for file in ["model.json", "card.toml", "score.json"] {
        assert_eq!(std::fs::read(dir.join(file)).unwrap(), std::fs::read(two.join("hall-load/1").join(file)).unwrap(), "{file}");
    }
    let wanted = ["cold".to_owned(), "tcs".to_owned()];
    let again = Forecaster::load(&one, "hall-load/1", Some(&wanted)).unwrap();
    let window = Window { loads: targets.clone(), weather: Some(weather) };
    let now = targets[0].1.time(1_500);
    assert_eq!(again.predict(now, &window), forecaster.predict(now, &window));
    assert_eq!(again.score(), forecaster.score());

    let refused = |r: Result<Forecaster, ForecastError>| r.err().map(|e| e.to_string()).unwrap_or_default();
    let other = refused(Forecaster::load(&one, "hall-load/1", Some(&["tcs".to_owned()])));
    assert!(other.contains("the list of targets is cold, tcs, expected tcs"), "{other}");
    assert!(refused(Forecaster::load(&one, "hall-load/2", None)).contains("cannot be read"));
    assert!(refused(Forecaster::load(&one, "../etc", None)).contains("expected `<name>/<version>`"));
    let text = std::fs::read_to_string(dir.join("model.json")).unwrap();
    std::fs::write(dir.join("model.json"), text.replacen("cold", "warm", 1)).unwrap();
    assert!(refused(Forecaster::load(&one, "hall-load/1", None)).contains("the digest is"));
    for dir in [one, two] {
        let _ = std::fs::remove_dir_all(dir);
    }
}

#[test]
fn what_cannot_be_trained_is_refused_with_the_way_out() {
    let short = vec![("tcs".to_owned(), Series::new(START, STEP, vec![1.0; 20]))];
    let said = |r: Result<Forecaster, ForecastError>| r.err().map(|e| e.to_string()).unwrap_or_default();
    assert!(said(train("a/1", &short, None, 1)).contains("needs at least 48"));
    assert!(said(train("a/1", &[], None, 1)).contains("no target"));
    assert!(said(train("a", &[("x".into(), load(2, 1))], None, 1)).contains("<name>/<version>"));
    let mut odd = load(2, 1);
    odd.step = Span::minutes(7);
    assert!(said(train("a/1", &[("x".into(), odd)], None, 1)).contains("step"));
}

fn column_file(file: &str, pick: fn(&str) -> bool) -> Option<Vec<(Timestamp, f64)>> {
    let bytes = std::fs::read(crate::common::shared(&format!("data/{file}"))?).ok()?;
    let mut text = String::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let wanted: Vec<bool> = lines.next()?.split(',').map(pick).collect();
    Some(
        lines
            .map(|l| {
                let cells: Vec<f64> = l.split(',').map(|c| c.parse().unwrap_or(f64::NAN)).collect();
                let sum = cells.iter().zip(&wanted).filter(|(_, w)| **w).map(|(v, _)| v).sum();
                (START + Span::seconds(cells[0] as i64), sum)
            })
            .collect(),
    )
}

fn print_rows(title: &str, rows: &[tramuntana::forecast::Row]) {
    println!("{title}\n  horizon  model        chosen      MAE     RMSE  nMAE %     bias  pinball  cover80      n");
    for r in rows {
        let chosen = if r.chosen { "*" } else { "" };
        println!(
            "  {:>7}  {:<12} {chosen:^6} {:>8.3} {:>8.3} {:>7.2} {:>8.3} {:>8.3} {:>8.3} {:>6}",
            r.horizon.to_string(),
            r.model,
            r.mae,
            r.rmse,
            r.nmae_pct,
            r.bias,
            r.pinball,
            r.coverage80,
            r.n
        );
    }
}

/// Real loads: the model in force is never much worse than persistence, whatever was chosen on the training part.
#[test]
fn on_real_loads_the_model_in_force_holds_up() {
    let frontier = column_file("frontier_cdu_15s_h00_h14.csv.gz", |c| c.starts_with("cdu"));
    let google = column_file("google2019_5min_d01_d21.csv.gz", |c| c == "cpu_util");
    let (Some(frontier), Some(google)) = (frontier, google) else {
        return;
    };
    let grid = |rows: &[(Timestamp, f64)], step: Span, scale: f64| {
        let end = rows.last().unwrap().0 + Span(1);
        let mut s = tramuntana::forecast::resample(rows, START + step, end, step, Span::minutes(10));
        s.values.iter_mut().for_each(|v| *v *= scale);
        s
    };
    let cases = [
        ("Frontier, MW, 1 min", grid(&frontier, Span::minutes(1), 1e-6), 0.7),
        ("Frontier, MW, 5 min", grid(&frontier, STEP, 1e-6), 0.7),
        ("Google 2019, CPU %", grid(&google, STEP, 100.0), 0.8),
    ];
    for (title, series, share) in cases {
        let rows = backtest(&[("sum".to_owned(), series)], None, share, 1).unwrap();
        print_rows(title, &rows);
        assert!(!rows.is_empty());
        for force in rows.iter().filter(|r| r.model == "in_force" && r.n > 100) {
            let naive = rows.iter().find(|r| r.model == "persistence" && r.horizon == force.horizon).unwrap();
            assert!(force.mae <= 1.25 * naive.mae, "{title} {}: {} against {}", force.horizon, force.mae, naive.mae);
        }
    }
}
