//! Forecasts: the two feature paths agree, nothing later than now is used, blend and bands hold, models come back from disk.

use std::path::PathBuf;
use std::process::Command;
use tramuntana::forecast::hierarchy::Whole;
use tramuntana::forecast::read::{self, Data, Source};
use tramuntana::forecast::{
    Calendar, Forecast, ForecastError, Forecaster, Known, Members, Outcome, Row, SPLIT_RIDGE, Series, Setup, Spec, Table, Tail, Training,
    WeatherSeries, Window, backtest, own, shared, train,
};
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

fn learn(name: &str, targets: &[(String, Series)], weather: Option<&WeatherSeries>, seed: u64) -> Result<Forecaster, ForecastError> {
    // Two horizons and no trees: the tests of service behaviour need no more.
    let members = Members(Members::all().into_iter().filter(|m| !m.starts_with("trees")).collect());
    train(&Training { members, horizons: &[Span::minutes(15), Span::hours(6)], ..Training::new(name, targets, weather, seed) })
}

#[test]
fn one_row_equals_the_lazy_table() {
    for step in [Span::minutes(5), Span::minutes(1), Span::minutes(10), Span::hours(1)] {
        let mut series = load(16, 1);
        let mut dry = weather(16).dry_bulb_c;
        (series.step, dry.step) = (step, step);
        for k in [700, 701, 1500] {
            series.values[k] = f64::NAN;
        }
        let mut spec = Spec::new(step, &[Span::hours(1), Span::hours(24), Span::hours(30)], Span::hours(24 * 7)).unwrap();
        spec.calendar = Calendar { zone: "Europe/Madrid".into(), holidays: vec!["2026-07-16".into()] };
        spec.inputs = vec!["dry".into()];
        let clock = spec.calendar.clock().unwrap();
        let inputs = [&dry];
        let known = Known { load: &series, inputs: &inputs, plans: &[] };
        let table = Table::new(&spec, &clock, "tcs", &known).unwrap();
        let (mut row, mut lazy, mut compared) = (Vec::new(), Vec::new(), 0);
        for (h, ahead) in spec.horizons.iter().enumerate() {
            for t in (0..series.values.len()).step_by(7).chain(695..720).chain(1495..1510) {
                row.clear();
                shared(&spec, &known, t, &mut row);
                own(&spec, &clock, &known, t, spec.rows(*ahead), &mut row);
                table.row(h, t, &mut lazy);
                assert_eq!((row.len(), lazy.len()), (spec.names().len(), spec.names().len()));
                for ((a, b), name) in row.iter().zip(&lazy).zip(spec.names()) {
                    assert_eq!(a.is_nan(), b.is_nan(), "{name} row {t}, step {step}: {a} against {b}");
                    assert!(a.is_nan() || (a - b).abs() < 1e-6, "{name} row {t}, step {step}: {a} against {b}");
                    compared += usize::from(!a.is_nan());
                }
            }
        }
        assert!(compared > 5_000, "{compared}");
    }
}

#[test]
fn what_repeats_is_learnt_and_the_bands_cover() {
    let targets = vec![("tcs".to_owned(), load(28, 3))];
    let forecaster = learn("test/1", &targets, None, 7).unwrap();
    let of = |model: &str, h: Span| forecaster.score().iter().find(|r| r.model == model && r.horizon == h).unwrap();
    let h = Span::hours(6);
    let (blend, persistence) = (of("blend", h), of("persistence", h));
    assert!(blend.mae < 0.3 * persistence.mae, "{} against {}", blend.mae, persistence.mae);
    assert!(blend.chosen && blend.rmse >= blend.mae && blend.n > 500);
    for h in [Span::minutes(15), h] {
        let r = of("blend", h);
        assert!((r.coverage80 - 0.8).abs() < 0.06 && (r.coverage90 - 0.9).abs() < 0.04, "{h}: {} {}", r.coverage80, r.coverage90);
        assert!(r.width90 > 0.0 && r.bias.abs() <= r.mae);
    }
}

fn said(f: &Forecast) -> String {
    f.fallback.clone().unwrap_or_default()
}

#[test]
fn a_forecast_sees_nothing_after_now_and_says_when_its_inputs_are_unfit() {
    let mut series = load(10, 5);
    let weather = weather(10);
    // What the models see of the weather they must lean on, or no range is left by it that matters.
    series.values.iter_mut().zip(&weather.dry_bulb_c.values).for_each(|(l, t)| *l += 20.0 * (t - 24.0));
    let forecaster = learn("test/1", &[("tcs".to_owned(), series.clone())], Some(&weather), 7).unwrap();
    let now_row = 9 * 288 + 100;
    let now = series.time(now_row);
    let window = |s: Series| Window { loads: vec![("tcs".into(), s)], weather: Some(weather.clone()), ..Window::default() };
    let predict = |s: Series| forecaster.predict(now, &window(s)).remove(0);
    let whole = predict(series.clone());
    assert_eq!(whole, predict(series.head(now_row + 1)));
    assert_eq!(whole.fallback, None);
    assert_eq!((whole.points.len(), whole.within.len()), (2, 2));
    assert!(whole.points.iter().all(|a| a.p05 <= a.p10 && a.p10 <= a.p50 && a.p50 <= a.p90 && a.p90 <= a.p95));
    assert!(whole.within.iter().all(|w| w.p99 >= series.values[now_row]));

    // Stale: the last half hour is missing; yesterday takes over.
    let stale = predict(series.head(now_row - 5));
    assert!(said(&stale).contains("old"), "{stale:?}");
    assert_eq!(stale.points[1].p50, series.values[now_row + 72 - 288]);
    assert!(stale.points[0].p90 - stale.points[0].p10 > whole.points[0].p90 - whole.points[0].p10, "a naive forecast is less sure");
    // Frozen.
    let mut frozen = series.clone();
    frozen.values[now_row - 40..].fill(873.0);
    assert!(said(&predict(frozen)).contains("stood still"));
    // No history but the last value: the models fall silent, persistence speaks.
    let mut bare = series.clone();
    bare.values[..now_row].fill(f64::NAN);
    let bare = predict(bare);
    assert!(said(&bare).contains("features are missing"), "{bare:?}");
    assert!(bare.points.iter().all(|a| a.p50 == series.values[now_row]));
    // Far outside: all of the models has faded.
    let mut far = series.clone();
    far.values[now_row] = 90_000.0;
    assert!(said(&predict(far)).contains("outside the trained range"));
    // Weather 8 K above all that was learnt: the models' share falls, and it is said.
    let peak =
        (0..288).map(|k| now_row - k).max_by(|a, b| weather.dry_bulb_c.values[*a].total_cmp(&weather.dry_bulb_c.values[*b])).unwrap();
    let at_peak = series.time(peak);
    let mut hotter = weather.clone();
    hotter.dry_bulb_c.values.iter_mut().for_each(|v| *v += 8.0);
    let f = forecaster.predict(at_peak, &Window { weather: Some(hotter), ..window(series.clone()) }).remove(0);
    assert!(said(&f).contains("dry_bulb_c is outside the trained range"), "{f:?}");
    // No weather at all: two features are missing, the forecast goes on.
    let blind = forecaster.predict(now, &Window { weather: None, ..window(series.clone()) }).remove(0);
    assert!(blind.points.len() == 2 && blind.fallback.is_none(), "{blind:?}");
    // Nothing at all, or the wrong grid.
    let none = forecaster.predict(now, &Window::default()).remove(0);
    assert!(none.points.is_empty() && said(&none).contains("no series"));
    assert!(said(&predict(Series { step: Span::minutes(1), ..series })).contains("step"));
}

#[test]
fn bands_widen_after_misses() {
    let series = load(10, 5);
    let mut forecaster = learn("test/1", &[("tcs".to_owned(), series.clone())], None, 7).unwrap();
    let mut shifted = series.clone();
    for k in 8 * 288..10 * 288 {
        shifted.values[k] += 300.0 * noise(k as u64);
    }
    let window = Window { loads: vec![("tcs".into(), shifted)], ..Window::default() };
    let width = |f: &[Forecast]| f[0].points[0].p90 - f[0].points[0].p10;
    let before = width(&forecaster.predict(series.time(8 * 288), &window));
    for k in 8 * 288..9 * 288 {
        forecaster.cycle(series.time(k), &window);
    }
    let after = width(&forecaster.predict(series.time(9 * 288), &window));
    assert!(after > 2.0 * before, "{before} {after}");
    assert!(forecaster.drift().unwrap() > 2.0);
}

#[test]
fn models_come_back_from_disk_and_a_wrong_one_is_refused() {
    let targets = vec![("tcs".to_owned(), load(6, 1)), ("cold".to_owned(), load(6, 2))];
    let weather = weather(6);
    let make =
        || train(&Training { horizons: &[Span::minutes(15)], ..Training::new("hall-load/1", &targets, Some(&weather), 11) }).unwrap();
    let forecaster = make();
    let (one, two) = (scratch("one"), scratch("two"));
    let dir = forecaster.save(&one, "a made-up load").unwrap();
    make().save(&two, "a made-up load").unwrap();
    for file in ["model.json", "card.toml", "score.json"] {
        assert_eq!(std::fs::read(dir.join(file)).unwrap(), std::fs::read(two.join("hall-load/1").join(file)).unwrap(), "{file}");
    }
    let wanted = ["cold".to_owned(), "tcs".to_owned()];
    let again = Forecaster::load(&one, "hall-load/1", Some(&wanted)).unwrap();
    let window = Window { loads: targets.clone(), weather: Some(weather.clone()), ..Window::default() };
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
    assert!(said(learn("a/1", &short, None, 1)).contains("needs at least 48"));
    assert!(said(learn("a/1", &[], None, 1)).contains("no target"));
    assert!(said(learn("a", &[("x".into(), load(2, 1))], None, 1)).contains("<name>/<version>"));
    let mut odd = load(2, 1);
    odd.step = Span::minutes(7);
    assert!(said(learn("a/1", &[("x".into(), odd)], None, 1)).contains("whole number of steps"));
}

#[test]
fn racks_add_up_to_their_loop_and_loops_to_the_site() {
    let racks: Vec<Series> = (0..3).map(|r| load(6, 20 + r)).collect();
    let sum = |of: &[&Series]| Series::new(START, STEP, (0..of[0].values.len()).map(|k| of.iter().map(|s| s.values[k]).sum()).collect());
    let loop_a = sum(&[&racks[0], &racks[1]]);
    let site = sum(&[&loop_a, &racks[2]]);
    let targets: Vec<(String, Series)> =
        [("site", site), ("loop-a", loop_a), ("r0", racks[0].clone()), ("r1", racks[1].clone()), ("r2", racks[2].clone())]
            .into_iter()
            .map(|(n, s)| (n.to_owned(), s))
            .collect();
    let whole = |name: &str, parts: &[&str]| Whole { name: name.into(), parts: parts.iter().map(|p| (*p).to_owned()).collect() };
    let wholes = [whole("site", &["loop-a", "r2"]), whole("loop-a", &["r0", "r1"])];
    let members = Members(Members::all().into_iter().filter(|m| !m.starts_with("trees")).collect());
    let training =
        Training { wholes: &wholes, members, horizons: &[Span::hours(1), Span::hours(4)], ..Training::new("sums/1", &targets, None, 3) };
    let forecaster = train(&training).unwrap();
    let f = forecaster.predict(targets[0].1.time(1_500), &Window { loads: targets.clone(), ..Window::default() });
    for h in 0..2 {
        let p = |i: usize| f[i].points[h].p50;
        assert!(
            (p(0) - p(1) - p(4)).abs() < 1e-6 && (p(1) - p(2) - p(3)).abs() < 1e-6,
            "{:?}",
            f.iter().map(|f| f.points[h].p50).collect::<Vec<_>>()
        );
    }
    let bad = Training { wholes: &[whole("site", &["nobody"])], ..Training::new("sums/1", &targets, None, 3) };
    assert!(train(&bad).err().unwrap().to_string().contains("nobody"));
}

fn real(file: &str, source: &Source) -> Option<Data> {
    Some(read::read(&crate::common::shared(&format!("data/{file}"))?, source).unwrap())
}

fn setup(horizons: &[Span], max_lag: Span, from: Timestamp) -> Setup {
    Setup { horizons: horizons.to_vec(), max_lag, from, to: None, calendar: Calendar::default(), members: Members::default(), seed: 1 }
}

fn chosen(o: &Outcome) -> Vec<(&Row, f64)> {
    let naive = |h: &tramuntana::forecast::HorizonOutcome| {
        let of = |r: &&(Row, tramuntana::forecast::Took)| ["persistence", "yesterday", "last-week"].contains(&r.0.model.as_str());
        h.rows.iter().filter(of).map(|r| r.0.mae).fold(f64::INFINITY, f64::min)
    };
    o.horizons.iter().filter_map(|h| Some((&h.rows.iter().find(|r| r.0.chosen)?.0, naive(h)))).collect()
}

/// Real loads: what was chosen on the training part holds on the test part, and the bands cover.
#[test]
fn on_real_loads_the_chosen_model_holds_up() {
    let origin = Some(Timestamp::parse("2019-05-01").unwrap());
    let google = Source { time: "t_s", origin, target: "cpu_util", inputs: "", step: STEP };
    let cornell = Source { time: "timestamp", origin: None, target: "s*_w", inputs: "", step: Span::hours(1) };
    let week = Span::hours(24 * 7);
    let cases = [
        ("google2019_5min_d01_d21.csv.gz", google, "2019-05-16", [Span::minutes(15), Span::hours(6)]),
        ("cornell_power_4_servers_to_2025_05.csv.gz", cornell, "2025-01-01", [Span::hours(1), Span::hours(6)]),
    ];
    for (file, source, until, horizons) in cases {
        let Some(data) = real(file, &source) else { continue };
        let o = backtest(&data, &setup(&horizons, week, Timestamp::parse(until).unwrap()), &|| 0.0).unwrap();
        for (row, naive) in chosen(&o) {
            println!(
                "{file} {}: {} MAE {:.4}, best naive {naive:.4}, 90 % band covers {:.3}, n {}",
                row.horizon, row.model, row.mae, row.coverage90, row.n
            );
            assert!(row.mae <= 1.02 * naive, "{file} {}: {} against {naive}", row.horizon, row.mae);
            assert!((row.coverage90 - 0.9).abs() < 0.03, "{file} {}: {}", row.horizon, row.coverage90);
        }
    }
}

/// December's model meets March's weather and chillers: the guard keeps it near the naive ones at worst.
#[test]
fn trained_on_december_it_survives_march() {
    let source = Source { time: "ts", origin: None, target: "cooling_kw", inputs: "ambient_db_c,ambient_wb_c", step: Span::minutes(10) };
    let Some(data) = real("plant_10min_dec23_mar24.csv.gz", &source) else { return };
    let horizons = [Span::minutes(20), Span::hours(1), Span::hours(6), Span::hours(24)];
    let o = backtest(&data, &setup(&horizons, Span::hours(24 * 7), Timestamp::parse("2024-01-01").unwrap()), &|| 0.0).unwrap();
    for (row, naive) in chosen(&o) {
        println!("December -> March, {}: {} MAE {:.1}, best naive {naive:.1}, n {}", row.horizon, row.model, row.mae, row.n);
        assert!(row.mae <= 1.05 * naive, "{}: {} against {naive}", row.horizon, row.mae);
    }
}

/// On a step of the weather by +8 K that leaves the load alone, a bare ridge runs away and the blend does not.
#[test]
fn a_step_of_eight_kelvin_does_not_carry_the_forecast_away() {
    let days = 30;
    let mut load = load(days, 9);
    let air = weather(days).dry_bulb_c;
    // The load follows the weather while it is mild: 20 kW a kelvin.
    load.values.iter_mut().zip(&air.values).for_each(|(l, t)| *l += 20.0 * (t - 24.0));
    let from = 24 * 288;
    let mut hot = air.clone();
    hot.values[from..].iter_mut().for_each(|v| *v += 8.0);
    let run = |air: Series| {
        let data = Data { load: load.clone(), inputs: vec![("dry_bulb_c".into(), air)], bad_cells: 0, bad_times: 0 };
        let o = backtest(&data, &setup(&[Span::hours(1)], Span::hours(24 * 7), load.time(from)), &|| 0.0).unwrap();
        let (row, naive) = chosen(&o)[0];
        (row.mae, naive)
    };
    let ((mild, _), (stepped, naive)) = (run(air), run(hot));
    println!("1 h ahead: MAE {mild:.1} kW as trained, {stepped:.1} kW after +8 K, best naive {naive:.1} kW");
    assert!(stepped <= 1.02 * naive, "{stepped} against {naive}");
}

/// Share of rises beyond p99 within 5 and 15 minutes, on Frontier's ramps (19 MW in 5 min).
#[test]
fn ramps_of_a_real_machine_stay_below_the_tail() {
    let source = Source { time: "t_s", origin: Some(START.day_start()), target: "cdu*", inputs: "", step: Span::seconds(15) };
    let Some(data) = real("frontier_cdu_15s_h00_h14.csv.gz", &source) else { return };
    for (within, rows) in [(Span::minutes(5), 20), (Span::minutes(15), 60)] {
        let mut tail = Tail::new(within, rows);
        tail.walk(&data.load);
        let share = tail.misses as f64 / tail.outcomes as f64;
        println!("Frontier, within {within}: {:.2} % of {} rises beyond p99", 100.0 * share, tail.outcomes);
        // One ramp is twenty and more overlapping rises, and in half a day even the steepest rise so far is passed by 2 % (5 min)
        // and 4.5 % (15 min) of those that follow.
        assert!(share < 0.05, "{within}: {share}");
    }
}

/// The command: the same figures from CSV and Parquet, fields as promised, pictures drawn, the same bytes again.
#[test]
fn the_backtest_command_writes_what_it_promises() {
    let dir = scratch("command");
    std::fs::create_dir_all(&dir).unwrap();
    let (a, b) = (load(12, 3), load(12, 4));
    let mut text = String::from("t_s,a_w,b_w,air_c\n");
    for k in 0..a.values.len() {
        let gap = if k == 500 { String::new() } else { a.values[k].to_string() };
        text += &format!("{},{gap},{},{}\n", k * 300, b.values[k], 20.0 + noise(k as u64));
    }
    let file = dir.join("load.csv");
    std::fs::write(&file, text).unwrap();
    let run = |extra: &[&str]| {
        let out = Command::new(env!("CARGO_BIN_EXE_tramuntana"))
            .args(["backtest", file.to_str().unwrap(), "--time", "t_s", "--origin", "2026-07-01", "--target", "*_w", "--step", "5min"])
            .args(["--train-until", "2026-07-10", "--horizons", "15min,1h", "--weather", "air_c", "--max-lag", "24h"])
            .args(extra)
            .current_dir(&dir)
            .output()
            .unwrap();
        (out.status.success(), String::from_utf8_lossy(&out.stdout).into_owned() + &String::from_utf8_lossy(&out.stderr))
    };
    let (ok, said) = run(&["--json", "rows.json", "--out", "said.csv", "--plots", "plots"]);
    assert!(ok, "{said}");
    let rows: Vec<serde_json::Map<String, serde_json::Value>> =
        serde_json::from_slice(&std::fs::read(dir.join("rows.json")).unwrap()).unwrap();
    let mut fields = [
        "horizon",
        "model",
        "chosen",
        "mae",
        "rmse",
        "nmae_pct",
        "bias",
        "pinball",
        "coverage80",
        "coverage90",
        "width90",
        "n",
        "train_s",
        "predict_s",
    ];
    fields.sort_unstable();
    for horizon in ["15min", "1h"] {
        let of: Vec<_> = rows.iter().filter(|r| r["horizon"] == horizon).collect();
        assert_eq!(of.iter().filter(|r| r["chosen"] == true).count(), 1);
        for model in ["persistence", "trees-on-ridge", "blend", SPLIT_RIDGE] {
            assert!(of.iter().any(|r| r["model"] == model), "{model}");
        }
        let mut keys: Vec<&str> = of[0].keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, fields);
        // Three days of test, less the horizon; all origins are complete.
        assert_eq!(of[0]["n"], if horizon == "15min" { 861 } else { 852 });
    }
    let said = std::fs::read_to_string(dir.join("said.csv")).unwrap();
    assert!(
        said.starts_with("horizon,origin,time,truth,p05,p10,p50,p90,p95,scored\n15min,2026-07-10T00:00:00Z,2026-07-10T00:15:00Z,"),
        "{said:.200}"
    );
    for name in ["fans", "calibration", "errors", "weights"] {
        for ending in ["svg", "png"] {
            assert!(std::fs::metadata(dir.join(format!("plots/{name}.{ending}"))).unwrap().len() > 5_000, "{name}.{ending}");
        }
    }
    let (ok, _) = run(&["--out", "again.csv"]);
    assert!(ok && std::fs::read_to_string(dir.join("again.csv")).unwrap() == said);
    let (ok, said) = run(&["--models", "crystal-ball"]);
    assert!(!ok && said.contains("is none of persistence"), "{said}");
    let _ = std::fs::remove_dir_all(dir);
}
