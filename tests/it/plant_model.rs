//! The identified model against a small plant whose equations are known, and against the twin.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use tramuntana::plant::identified::{self, Binding, Dataset, IdentifyError, Row};
use tramuntana::plant::predict::{Outcome, PlantState, Predict, StepInput};
use tramuntana::signal::weather::Weather;
use tramuntana::site::{MeterBoundary, SiteFile};
use tramuntana::time::{Span, Timestamp};

const SITE: &str = r#"
format = 1
site = { id = "toy", name = "Toy", time_zone = "Europe/Madrid" }
bus = { filter = "BMS/#" }
role = [
  { name = "supply", select = { point_type = "a" } }, { name = "facility", select = { point_type = "b" } },
  { name = "load", select = { point_type = "c" } }, { name = "chip", select = { point_type = "d" } },
]
loop = [
  { id = "tcs", name = "TCS", supply = "supply", return = "supply", load = "load", into = "fws" },
  { id = "fws", name = "FWS", supply = "facility", return = "facility", load = "load" },
]
limit = [{ id = "chip", name = "Chip", role = "chip", max = 80.0, margin = 3.0 }]
meter = [
  { id = "it", name = "IT", select = { point_type = "m1" }, boundary = "it" },
  { id = "pump", name = "Pump", select = { point_type = "m2" }, boundary = "cooling" },
  { id = "fan", name = "Fan", select = { point_type = "m3" }, boundary = "cooling" },
  { id = "chiller", name = "Chiller", select = { point_type = "m4" }, boundary = "cooling" },
  { id = "ups", name = "UPS", select = { point_type = "m5" }, boundary = "loss" },
]
[[actuator]]
id = "tcs-supply"
name = "TCS supply"
loop = "tcs"
request = { eng_unit = "C" }
in_force = { eng_unit = "C" }
lo = 22.0
hi = 45.0
default = 28.0
slew_per_min = 0.5
slew_per_10min = 2.0
step = 0.25
[[actuator]]
id = "tcs-flow"
name = "TCS flow"
loop = "tcs"
request = { eng_unit = "%" }
in_force = { eng_unit = "%" }
lo = 40.0
hi = 100.0
default = 85.0
slew_per_min = 5.0
slew_per_10min = 20.0
step = 1.0
[[actuator]]
id = "fws-supply"
name = "FWS supply"
loop = "fws"
request = { eng_unit = "C" }
in_force = { eng_unit = "C" }
lo = 18.0
hi = 41.0
default = 24.0
slew_per_min = 0.5
slew_per_10min = 1.0
step = 0.25
"#;

fn site() -> SiteFile {
    SiteFile::parse(Path::new("toy/site.toml"), SITE).unwrap()
}

/// Work (0–1), setpoints and weather to (it, pump, fan, chiller, ups, chip): a leak of 0.2 %/K, a cubic pump, a fan that
/// goes with the cube of heat over lift until it is full, and a chiller for the rest.
fn toy(work: f64, s: &[f64], w: Weather) -> [f64; 6] {
    let (supply, flow, facility) = (s[0], s[1] / 100.0, s[2]);
    let it = 2000.0 * (0.3 + 0.7 * work) * (1.0 + 0.002 * (supply - 28.0) + 0.02 * (0.85 / flow - 1.0));
    // The exchanger cannot bring the loop closer than 3 K to the facility water: below that the valve is fully open.
    let supply_got = supply.max(facility + 3.0 * it / 2000.0);
    let air = w.dry_bulb_c - 0.8 * (w.dry_bulb_c - w.wet_bulb_c);
    let share = it / 2000.0 * 7.0 / (facility - air).max(0.1);
    let fan = 60.0 * share.min(1.0).powi(3);
    let trim = it * (1.0 - 1.0 / share.max(1.0));
    let chiller = trim * (0.08 + 0.004 * (w.dry_bulb_c - facility + 15.0).max(0.0));
    let pump = 5.0 + 55.0 * flow.powf(2.7) + 12.0 * (3.5 / (supply - facility).max(3.0 * it / 2000.0)).powi(2);
    let chip = supply_got + it / 2000.0 * (18.0 + 10.0 / flow);
    [it, pump, fan, chiller, 20.0 + 0.03 * it, chip]
}

/// Closed-loop rows with setpoints moved at random every 40 min, measured with 0.5 % noise.
fn recorded(seed: u64, days: i64) -> Dataset {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let (mut s, mut work, mut chip) = ([28.0f64, 85.0, 24.0], 0.6f64, 55.0);
    let mut rows = Vec::new();
    for i in 0..days * 288 {
        if i % 8 == 0 {
            s = [rng.random_range(22.0..45.0), rng.random_range(40.0..100.0), rng.random_range(18.0..41.0)];
            s[2] = s[2].min(s[0] - 1.0);
        }
        work = (work + rng.random_range(-0.05..0.05)).clamp(0.2, 1.0);
        let hour = i as f64 / 12.0;
        let dry = 22.0 + 6.0 * (hour / 24.0 * std::f64::consts::TAU).sin() + 3.0 * (hour / 71.0).sin();
        let weather = Weather { dry_bulb_c: dry, wet_bulb_c: dry - 4.0 - 2.0 * (hour / 13.0).sin(), dew_point_c: 14.0 };
        let p = toy(work, &s, weather);
        chip += (1.0 - (-300.0f64 / 480.0).exp()) * (p[5] - chip);
        let mut noisy = |v: f64| v * (1.0 + rng.random_range(-0.005..0.005));
        rows.push(Row {
            at: Timestamp(i * 300_000),
            in_force: s.to_vec(),
            loads_kw: vec![noisy(p[0]), noisy(p[0])],
            weather,
            room_dew_point_c: 12.0,
            gpus_allocated: 1000.0,
            gpu_utilisation_pct: noisy(100.0 * work),
            meters_kw: p[..5].iter().map(|v| noisy(*v)).collect(),
            limited: vec![noisy(chip)],
        });
    }
    Dataset { binding: Binding::of(&site()), step: Span::minutes(5), about: format!("toy plant, seed {seed}"), segments: vec![rows] }
}

fn step(s: &[f64], it: f64, weather: Weather) -> StepInput {
    StepInput { span: Span::minutes(5), setpoints: s.to_vec(), loads_kw: vec![it, it], weather, room_dew_point_c: 12.0 }
}

#[test]
fn the_known_plant_is_found_again() {
    let model = identified::fit(&recorded(7, 21), &site(), "toy/1", 7).unwrap();
    println!("{:#?}", model.card);
    println!("{:?}, {} features", model.fit, model.features.len());
    assert!(model.fit.usable() && model.fit.cv_rmse_pct < 8.0, "{:?}", model.fit);
    // The leak: 0.2 % per K at the same work.
    let per_kelvin = model.leak_factor(&[28.0, 85.0, 24.0], &[33.0, 85.0, 24.0], &[1400.0, 1400.0]).ln() / 5.0;
    assert!((per_kelvin - 0.002).abs() < 0.0003, "{per_kelvin}");
    // The lag of the chip is 480 s.
    assert_eq!(model.limits[0].lag_s, 480.0);

    // The best setpoints that the model finds cost little more than the best there are.
    let mut worst = 0.0f64;
    for (work, dry) in [(0.4, 18.0), (0.7, 22.0), (0.9, 26.0), (0.8, 30.0)] {
        let weather = Weather { dry_bulb_c: dry, wet_bulb_c: dry - 4.0, dew_point_c: 14.0 };
        let base = [28.0, 85.0, 24.0];
        let it = toy(work, &base, weather)[0];
        let state = PlantState { in_force: base.to_vec(), limited: vec![f64::NAN] };
        let (mut best, mut found) = ((f64::INFINITY, base), (f64::INFINITY, base));
        let mut out: Vec<Outcome> = Vec::new();
        for supply in (22..=45).map(f64::from) {
            for flow in (40..=100).step_by(4).map(f64::from) {
                for facility in (18..=41).map(f64::from).filter(|f| *f <= supply - 1.0) {
                    let s = [supply, flow, facility];
                    let p = toy(work, &s, weather);
                    if p[5] > 80.0 {
                        continue;
                    }
                    let total: f64 = p[..5].iter().sum();
                    if total < best.0 {
                        best = (total, s);
                    }
                    model.rollout(&state, &[step(&s, it, weather)], &mut out);
                    if out[0].total_kw() < found.0 {
                        found = (out[0].total_kw(), s);
                    }
                }
            }
        }
        let got: f64 = toy(work, &found.1, weather)[..5].iter().sum();
        let fixed: f64 = toy(work, &base, weather)[..5].iter().sum();
        println!("work {work} dry {dry}: fixed {fixed:.0}, best {:.0} at {:?}, found {got:.0} at {:?}", best.0, best.1, found.1);
        worst = worst.max(got / best.0 - 1.0);
    }
    assert!(worst < 0.01, "{worst}");
}

#[test]
fn beyond_what_it_saw_the_model_is_finite_and_unsure() {
    let model = identified::fit(&recorded(3, 4), &site(), "toy/1", 3).unwrap();
    let weather = Weather { dry_bulb_c: 22.0, wet_bulb_c: 18.0, dew_point_c: 14.0 };
    let state = PlantState { in_force: vec![28.0, 85.0, 24.0], limited: vec![55.0] };
    let ask = |s: [f64; 3], it: f64, dry: f64| {
        let mut out = Vec::new();
        model.rollout(&state, &[step(&s, it, Weather { dry_bulb_c: dry, ..weather })], &mut out);
        out.remove(0)
    };
    let inside = ask([28.0, 85.0, 24.0], 1400.0, 22.0);
    let hot = ask([28.0, 85.0, 24.0], 1400.0, 44.0);
    let wild = ask([f64::NAN, 1e9, -300.0], f64::NAN, f64::INFINITY);
    assert!(hot.power_sigma_kw > 2.0 * inside.power_sigma_kw && hot.limited_sigma[0] > 2.0 * inside.limited_sigma[0]);
    for o in [hot, wild] {
        assert!(o.total_kw().is_finite() && o.cooling_kw >= 0.0 && o.limited[0].is_finite() && o.power_sigma_kw.is_finite(), "{o:?}");
    }
}

#[test]
fn a_model_is_the_same_bytes_again_and_refused_elsewhere() {
    let dir = std::env::temp_dir().join(format!("tramuntana-model-{}", std::process::id()));
    let data = recorded(5, 2);
    let model = identified::fit(&data, &site(), "toy/1", 5).unwrap();
    identified::save(&model, &dir).unwrap();
    let read = identified::load(&dir, &site()).unwrap();
    assert_eq!(read, model);
    let bytes = std::fs::read(dir.join("model.json")).unwrap();
    identified::save(&identified::fit(&recorded(5, 2), &site(), "toy/1", 5).unwrap(), &dir).unwrap();
    assert_eq!(std::fs::read(dir.join("model.json")).unwrap(), bytes);

    let mut other = site();
    other.meters[1].id = "pumps".into();
    let refused = identified::load(&dir, &other).unwrap_err().to_string();
    assert!(refused.contains("made for another plant") && refused.contains("\"pumps\""), "{refused}");
    assert!(matches!(identified::fit(&data, &other, "toy/1", 5), Err(IdentifyError::OtherPlant { .. })));

    // Truncated weights are noticed when read, not when used.
    let text = String::from_utf8(bytes).unwrap();
    let cut = text.replacen("\"features\":[{", "\"features\":[{\"weights\":[[0,1.0]],\"power\":1},{", 1);
    std::fs::write(dir.join("model.json"), cut).unwrap();
    let refused = identified::load(&dir, &site()).unwrap_err().to_string();
    assert!(refused.contains("differ in number"), "{refused}");
    std::fs::remove_dir_all(&dir).unwrap();
    assert!(identified::load(&dir, &site()).unwrap_err().to_string().contains("model.json"));

    let short = Dataset { segments: vec![data.segments[0][..50].to_vec()], ..data };
    assert!(matches!(identified::fit(&short, &site(), "toy/1", 5), Err(IdentifyError::TooFew { rows: 50, .. })));
}

mod twin {
    use super::*;
    use std::path::PathBuf;
    use std::sync::Arc;
    use tramuntana::plant::identified::IdentifiedModel;
    use tramuntana::plant::twin::TwinSpec;
    use tramuntana::sim::arms::{run_fixed, run_with};
    use tramuntana::sim::excite::{self, identify_from_sim, scenario};
    use tramuntana::sim::hall::{Account, Hall};
    use tramuntana::sim::optimum::{self, Search};
    use tramuntana::sim::telemetry::Telemetry;

    const SITES: [&str; 2] = ["bsc-hq", "torre-girona"];

    fn root() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
    }
    fn load(site: &str) -> (SiteFile, Arc<TwinSpec>) {
        let dir = root().join("sensors").join(site);
        (SiteFile::load(&dir.join("site.toml")).unwrap(), Arc::new(TwinSpec::load(&dir.join("twin.toml")).unwrap()))
    }
    fn hall(spec: &Arc<TwinSpec>, seed: u64, days: i64) -> Hall {
        let start = Timestamp::parse("2026-07-14").unwrap();
        Hall::new(Arc::clone(spec), scenario(spec, seed, start, Span::hours(24 * days), 0.0))
    }
    fn describe(what: &str, a: &Account) {
        println!(
            "{what:>8}: it {:.0} cooling {:.0} loss {:.0} kWh, {:.0} GPU-h, {:.5} kWh/GPU-h, beyond {:?}",
            a.it_kwh,
            a.cooling_kwh,
            a.loss_kwh,
            a.gpu_hours,
            a.kwh_per_gpu_hour(),
            a.minutes_beyond_limit.iter().filter(|(_, m)| **m > 0.0).collect::<Vec<_>>()
        );
        println!("          components {:?}", a.components_kwh.iter().map(|(k, v)| format!("{k} {v:.0}")).collect::<Vec<_>>());
        println!("          margins {:?}", a.least_margin.iter().map(|(k, v)| format!("{k} {v:.2}")).collect::<Vec<_>>());
    }

    /// Cooling power of a row: as predicted at rest, as measured.
    fn cooling(model: &IdentifiedModel, row: &Row) -> (f64, f64) {
        let ours =
            model.meters.iter().zip(model.meters_kw(row)).filter(|(m, _)| model.binding.boundaries[m.meter] == MeterBoundary::Cooling);
        ours.fold((0.0, 0.0), |(p, q), (m, kw)| (p + kw, q + row.meters_kw[m.meter]))
    }

    #[test]
    fn the_shipped_models_describe_days_that_they_never_saw() {
        for site in SITES {
            let (file, spec) = load(site);
            let name = format!("{}/1", file.control.plant_model.clone().unwrap());
            let model = identified::load(&root().join("models").join(&name), &file).unwrap();
            assert_eq!((model.name(), model.fit.usable()), (name.as_str(), true));
            let start = Timestamp::parse("2026-07-21").unwrap();
            let (binding, rows) = excite::record(&file, &spec, scenario(&spec, 4242, start, Span::hours(48), 0.0)).unwrap();
            assert_eq!(binding.differs(&model.binding), None);
            let pairs: Vec<(f64, f64)> = rows.iter().map(|r| cooling(&model, r)).filter(|p| p.1.is_finite()).collect();
            let n = pairs.len() as f64;
            let mean = pairs.iter().map(|p| p.1).sum::<f64>() / n;
            let cv_pct = 100.0 * (pairs.iter().map(|p| (p.0 - p.1).powi(2)).sum::<f64>() / n).sqrt() / mean;
            let nmbe_pct = 100.0 * pairs.iter().map(|p| p.0 - p.1).sum::<f64>() / n / mean;
            println!("{name}: {n} rows, CV-RMSE {cv_pct:.1} %, NMBE {nmbe_pct:.1} %");
            assert!(n > 500.0 && cv_pct < 18.0 && nmbe_pct.abs() < 5.0, "{name}: {cv_pct} {nmbe_pct}");
            // The dew point stood above every setpoint that was asked for.
            for r in &rows {
                assert!(r.in_force[0] > r.room_dew_point_c + 2.0 && r.in_force[3] > r.room_dew_point_c + 1.9, "{r:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_records_the_same_rows() {
        let (file, spec) = load("torre-girona");
        let run = |seed| excite::record(&file, &spec, scenario(&spec, seed, Timestamp(0), Span::hours(6), 0.0)).unwrap().1;
        assert_eq!(format!("{:?}", run(5)), format!("{:?}", run(5)));
        assert_ne!(format!("{:?}", run(5)), format!("{:?}", run(6)));
    }

    #[test]
    fn perfect_foresight_beats_fixed_setpoints_and_buys_no_violation() {
        let (_, spec) = load("torre-girona");
        let start = Timestamp::parse("2026-07-14T10:00:00Z").unwrap();
        let hall = Hall::new(Arc::clone(&spec), scenario(&spec, 3, start, Span::hours(4), 0.0));
        let fixed = run_fixed(hall.clone());
        let best = optimum::run(hall, Search { grid: 2, grid_every: 100, ..Search::default() }, &[], None);
        assert_eq!(best.account.gpu_hours, fixed.gpu_hours);
        assert!(best.account.total_kwh() < 0.99 * fixed.total_kwh(), "{} {}", best.account.total_kwh(), fixed.total_kwh());
        assert!(best.account.beyond_limit_minutes() <= fixed.beyond_limit_minutes());
        assert_eq!(best.targets.len(), 8);
    }

    /// Recedes greedily on the model: every 5 min the best of a coordinate search over an hour with today's load.
    fn recede(site: &SiteFile, model: &IdentifiedModel, hall: Hall) -> Account {
        let mut telemetry = Telemetry::new(&hall, site).unwrap();
        let mut best: Vec<f64> = site.actuators.iter().map(|a| a.default).collect();
        let (mut evaluations, mut ticks) = (0u64, 0u64);
        let mut out = Vec::new();
        let (mut seen, mut square, mut rows) = (0.0, 0.0, 0.0);
        let t = std::time::Instant::now();
        let account = run_with(hall, Span::minutes(1), &mut |hall: &mut Hall| {
            telemetry.sense(hall);
            ticks += 1;
            if ticks % 5 != 1 {
                return;
            }
            let Some(row) = telemetry.take_row() else { return };
            let now = telemetry.latest(hall.now());
            let (predicted, measured) = cooling(model, &row);
            if measured.is_finite() {
                seen += measured;
                square += (predicted - measured).powi(2);
                rows += 1.0;
            }
            let state = PlantState { in_force: now.in_force.clone(), limited: now.limited.clone() };
            let mut cost = |targets: &[f64]| {
                let mut at = state.in_force.clone();
                let steps: Vec<StepInput> = (0..8)
                    .map(|_| {
                        for (i, a) in site.actuators.iter().enumerate() {
                            at[i] += (targets[i] - at[i]).clamp(-1.5 * a.slew_per_10min, 1.5 * a.slew_per_10min);
                        }
                        StepInput {
                            span: Span::minutes(15),
                            setpoints: at.clone(),
                            loads_kw: row.loads_kw.clone(),
                            weather: row.weather,
                            room_dew_point_c: row.room_dew_point_c,
                        }
                    })
                    .collect();
                evaluations += steps.len() as u64;
                model.rollout(&state, &steps, &mut out);
                let mut sum = 0.0;
                for o in &out {
                    sum += o.total_kw();
                    for (i, l) in site.limits.iter().enumerate() {
                        let base = if l.above.is_some() { row.room_dew_point_c } else { 0.0 };
                        let over = l
                            .max
                            .map_or(0.0, |m| o.limited[i] - (base + m - l.margin))
                            .max(l.min.map_or(0.0, |m| base + m + l.margin - o.limited[i]));
                        sum += 200.0 * over.max(0.0);
                    }
                }
                sum
            };
            let floor = |i: usize| {
                let a = &site.actuators[i];
                let hung = site.limits.iter().filter(|l| l.actuator.as_deref() == Some(a.id.as_str()) && l.above.is_some());
                hung.map(|l| row.room_dew_point_c + l.min.unwrap_or(0.0) + l.margin).fold(a.lo, f64::max)
            };
            best.iter_mut().enumerate().for_each(|(i, b)| *b = b.max(floor(i)));
            let mut least = cost(&best);
            for share in [0.3, 0.15, 0.07, 0.03, 0.015] {
                for _ in 0..3 {
                    let mut moved = false;
                    for i in 0..best.len() {
                        let a = &site.actuators[i];
                        for sign in [1.0, -1.0] {
                            let mut trial = best.clone();
                            trial[i] = (trial[i] + sign * share * (a.hi - a.lo)).clamp(floor(i), a.hi);
                            let c = cost(&trial);
                            if c < least - 0.05 {
                                least = c;
                                best = trial;
                                moved = true;
                            }
                        }
                    }
                    if !moved {
                        break;
                    }
                }
            }
            best.iter().enumerate().for_each(|(i, v)| hall.request(i, *v));
        });
        println!("          {evaluations} step evaluations, {:?} in all; last targets {best:.1?}", t.elapsed());
        println!("          CV-RMSE of cooling under its own control {:.1} %", 100.0 * f64::sqrt(square / rows) / (seen / rows));
        account
    }

    /// `cargo test --release --test it plant_model::twin::how_much -- --ignored --nocapture`
    #[test]
    #[ignore = "an experiment of minutes: prints what receding control on the model reaches of the optimum"]
    fn how_much_of_the_optimum_the_model_reaches() {
        let seeds: Vec<u64> = (excite::SHIPPED_SEED..).take(excite::SHIPPED_SEGMENTS as usize).collect();
        for site in SITES {
            let (file, spec) = load(site);
            let t = std::time::Instant::now();
            let model = identify_from_sim(&file, &spec, &seeds).unwrap();
            println!("{site}: {:?}, {} features, {:?}\n{}", model.fit, model.features.len(), t.elapsed(), model.card.figures);
            println!("{:#?}", model.card.leak);
            let state =
                PlantState { in_force: file.actuators.iter().map(|a| a.default).collect(), limited: vec![f64::NAN; file.limits.len()] };
            let weather = Weather { dry_bulb_c: 26.0, wet_bulb_c: 21.0, dew_point_c: 18.0 };
            let loads_kw = model.layout.load_scale.clone();
            let one = StepInput { span: Span::minutes(5), setpoints: state.in_force.clone(), loads_kw, weather, room_dew_point_c: 10.0 };
            let (steps, mut out, t) = (vec![one; 24], Vec::new(), std::time::Instant::now());
            (0..1000).for_each(|_| model.rollout(&state, std::hint::black_box(&steps), &mut out));
            println!("{:?} per step of a rollout", t.elapsed() / 24_000);
            for seed in [1, 2] {
                let fixed = run_fixed(hall(&spec, seed, 1));
                describe("fixed", &fixed);
                let ours = recede(&file, &model, hall(&spec, seed, 1));
                describe("model", &ours);
                let t = std::time::Instant::now();
                let best = optimum::run(hall(&spec, seed, 1), Search::default(), &[], None);
                describe("optimum", &best.account);
                println!("          {} rollouts, {} steps, {:?}", best.rollouts, best.steps, t.elapsed());
                for (k, targets) in best.targets.iter().enumerate().step_by(6) {
                    println!("          block {k}: {targets:.1?}");
                }
                let saved = |a: &Account| fixed.kwh_per_gpu_hour() - a.kwh_per_gpu_hour();
                println!(
                    "{site} seed {seed}: cooling −{:.1} %, kWh/GPU-h −{:.2} %, share of the optimum's saving {:.0} %",
                    100.0 * (1.0 - ours.cooling_kwh / fixed.cooling_kwh),
                    100.0 * saved(&ours) / fixed.kwh_per_gpu_hour(),
                    100.0 * saved(&ours) / saved(&best.account)
                );
            }
        }
    }
}
