//! The controller under arbitrary site files, views, orders and clocks: no request ever breaks a rule, and the same view gives the
//! same plan. The rules are said here once more in the plainest way, without the controller's code.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use tramuntana::control::mode::{Operation, Order};
use tramuntana::control::plan::Tuning;
use tramuntana::control::view::{ActuatorView, Price};
use tramuntana::control::{Aged, Controller, Link, LoadForecast, View};
use tramuntana::event::Tally;
use tramuntana::plant::predict::{Fit, Outcome, PlantState, Predict, StepInput};
use tramuntana::reading::Quality;
use tramuntana::signal::weather::Weather;
use tramuntana::site::SiteFile;
use tramuntana::time::{Span, Timestamp};
use tramuntana::units::Kind;

/// A site with up to six actuators on up to three loops, some of them switched, some with limits on the setpoint, above a dew point.
fn site(rng: &mut ChaCha8Rng) -> Arc<SiteFile> {
    let loops = rng.random_range(1..=3);
    let mut text = String::from(
        "format = 1\n[site]\nid = \"any\"\nname = \"Any\"\ntime_zone = \"UTC\"\n[bus]\nfilter = \"BMS/#\"\n[control]\nmode = \"auto\"\n",
    );
    let objective = ["kwh_per_gpu_hour", "eur", "kg_co2", "peak_kw", "weighted"][rng.random_range(0..5)];
    text.push_str(&format!("objective = \"{objective}\"\nlearn = {}\n", rng.random_bool(0.3)));
    if objective == "weighted" {
        text.push_str("weights = { kwh = 1.0, eur = 3.0, kg_co2 = 0.5, peak_kw = 0.1 }\n");
    }
    text.push_str("[signals]\nprice_eur_per_mwh = 80.0\ncarbon_g_per_kwh = 150.0\n");
    for role in ["room_dew_point", "load"] {
        text.push_str(&format!("[[role]]\nname = \"{role}\"\nselect = {{ point_type = \"x\" }}\n"));
    }
    for l in 0..loops {
        text.push_str(&format!(
            "[[role]]\nname = \"s{l}\"\nselect = {{ point_type = \"x\" }}\n[[role]]\nname = \"hot{l}\"\nselect = {{ point_type = \"x\" }}\n"
        ));
        let into = if l + 1 < loops && rng.random_bool(0.5) { format!("into = \"l{}\"\n", l + 1) } else { String::new() };
        text.push_str(&format!("[[loop]]\nid = \"l{l}\"\nname = \"L\"\nsupply = \"s{l}\"\nreturn = \"s{l}\"\nload = \"load\"\n{into}"));
        text.push_str(&format!(
            "[[limit]]\nid = \"hot{l}\"\nname = \"Hot\"\nrole = \"hot{l}\"\nmax = 80.0\nmargin = {:.2}\n",
            rng.random_range(0.0..3.0)
        ));
    }
    for i in 0..rng.random_range(1..=6) {
        let on = rng.random_range(0..loops);
        let select = "request = { point_type = \"f\" }\nin_force = { point_type = \"g\" }\n";
        if rng.random_bool(0.25) {
            text.push_str(&format!(
                "[[actuator]]\nid = \"a{i}\"\nname = \"A\"\nloop = \"l{on}\"\n{select}lo = 0.0\nhi = 1.0\ndefault = 1.0\nslew_per_min = 1.0\nslew_per_10min = 1.0\nstep = 1.0\ndwell_s = 1200\nstates = [\"off\", \"on\"]\n"
            ));
            continue;
        }
        let lo: f64 = rng.random_range(5.0..50.0);
        let wide: f64 = rng.random_range(1.0..60.0);
        let per_min = rng.random_range(0.05..5.0);
        text.push_str(&format!(
            "[[actuator]]\nid = \"a{i}\"\nname = \"A\"\nloop = \"l{on}\"\n{select}measured = \"s{on}\"\nlo = {lo:.3}\nhi = {:.3}\ndefault = {:.3}\nslew_per_min = {per_min:.3}\nslew_per_10min = {:.3}\nstep = {:.3}\ndwell_s = {}\n",
            lo + wide,
            lo + wide * rng.random_range(0.0..1.0),
            per_min * rng.random_range(1.0..10.0),
            wide * rng.random_range(0.005..0.2),
            rng.random_range(0..900)
        ));
        if rng.random_bool(0.6) {
            text.push_str(&format!(
                "[[limit]]\nid = \"dew{i}\"\nname = \"Dew\"\nrole = \"s{on}\"\nmin = {:.2}\nabove = \"room_dew_point\"\nmargin = 0.3\nactuator = \"a{i}\"\n",
                rng.random_range(0.5..3.0)
            ));
        }
    }
    Arc::new(SiteFile::parse(Path::new("any/site.toml"), &text).expect("a site file"))
}

/// A plant that answers to anything with finite numbers: cooler is dearer, more is hotter.
struct Any(Fit);

impl Predict for Any {
    fn rollout(&self, state: &PlantState, steps: &[StepInput], out: &mut Vec<Outcome>) {
        out.clear();
        for s in steps {
            let sum: f64 = s.setpoints.iter().enumerate().map(|(i, v)| (v - 20.0 - i as f64).powi(2)).sum();
            let load: f64 = s.loads_kw.iter().sum();
            let limited =
                (0..state.limited.len()).map(|i| 30.0 + 0.02 * load + s.setpoints.get(i % s.setpoints.len()).unwrap_or(&0.0)).collect();
            out.push(Outcome {
                it_kw: load,
                cooling_kw: 10.0 + sum,
                loss_kw: 1.0,
                power_sigma_kw: 2.0,
                limited,
                limited_sigma: vec![0.3; state.limited.len()],
            });
        }
    }
    fn fit(&self) -> &Fit {
        &self.0
    }
    fn name(&self) -> &str {
        "any/1"
    }
}

/// Any number, and now and then one that is none.
fn number(rng: &mut ChaCha8Rng, lo: f64, hi: f64) -> f64 {
    match rng.random_range(0..40) {
        0 => f64::NAN,
        1 => f64::INFINITY,
        2 => -1e12,
        3 => 1e12,
        _ => rng.random_range(lo..hi),
    }
}

fn aged(rng: &mut ChaCha8Rng, value: f64, now: Timestamp) -> Aged {
    let old = match rng.random_range(0..12) {
        0 => Span::minutes(rng.random_range(1..40)),
        1 => Span::minutes(-rng.random_range(1..40)),
        2 => return Aged::unknown(),
        _ => Span::ZERO,
    };
    Aged::new(value, now - old, now, Kind::Temperature, Quality::GOOD)
}

fn view(rng: &mut ChaCha8Rng, site: &Arc<SiteFile>, now: Timestamp, in_force: &[f64]) -> View {
    let roles: BTreeMap<String, Aged> = (site.roles.iter())
        .map(|r| {
            let v = match r.name.as_str() {
                "room_dew_point" => number(rng, -5.0, 40.0),
                "load" => number(rng, 0.0, 2000.0),
                n if n.starts_with("hot") => number(rng, 30.0, 90.0),
                _ => number(rng, 5.0, 60.0),
            };
            (r.name.clone(), aged(rng, v, now))
        })
        .collect();
    let actuators = (in_force.iter())
        .map(|v| {
            let mut seen = aged(rng, *v, now);
            // What is in force is said or not said; it is never said wrongly in this test.
            if seen.value != *v {
                seen = Aged::unknown();
            }
            ActuatorView { in_force: seen, measured: None, request_points: usize::from(rng.random_bool(0.97)), unit: "°C" }
        })
        .collect();
    let series = |rng: &mut ChaCha8Rng| (0..rng.random_range(0..30)).map(|_| number(rng, 0.0, 2000.0)).collect::<Vec<f64>>();
    let loads = (site.loops.iter())
        .map(|_| {
            let mut l = LoadForecast::persistence(rng.random_range(0.0..2000.0), 0.1, 24, "test");
            if rng.random_bool(0.1) {
                (l.p50_kw, l.p90_kw) = (series(rng), series(rng));
            }
            l.ramp_kw = number(rng, 0.0, 3000.0);
            l
        })
        .collect();
    let wet = number(rng, -10.0, 30.0);
    View {
        now,
        site: Arc::clone(site),
        roles,
        actuators,
        loads,
        weather: Weather { dry_bulb_c: number(rng, -10.0, 45.0), wet_bulb_c: wet, dew_point_c: number(rng, -10.0, 30.0) },
        weather_forecast: vec![],
        prices: (0..rng.random_range(0..25))
            .map(|_| Price { eur_per_kwh: number(rng, -0.1, 0.5), kg_co2_per_kwh: number(rng, 0.0, 0.6) })
            .collect(),
        peak_kw: rng.random_range(0.0..3000.0),
        gpus_allocated: Some(number(rng, 0.0, 1000.0)),
        link: Link { broker_up: rng.random_bool(0.97), ai_status: Some(i64::from(!rng.random_bool(0.97)) + 1), ..Link::default() },
        drifted: rng.random_bool(0.03),
        findings: vec![],
    }
}

/// What any request must keep. `past` = setpoints in force and asked for, by time.
fn keeps_rules(v: &View, i: usize, value: f64, past: &[(Timestamp, Vec<f64>)]) -> Result<(), String> {
    let a = &v.site.actuators[i];
    let now_value = v.actuators[i].in_force.value;
    let ok = |yes: bool, what: &str| if yes { Ok(()) } else { Err(format!("{} at {}: {value} from {now_value}: {what}", a.id, v.now)) };
    ok(v.link.ai_status == Some(1) && v.link.broker_up, "the way is barred")?;
    ok(v.actuators[i].request_points > 0, "nobody takes it")?;
    ok(value.is_finite() && value >= a.lo - 1e-6 && value <= a.hi + 1e-6, "bounds")?;
    let moves = (value - now_value).abs() > 1e-5;
    if a.states.is_empty() {
        ok((value - now_value).abs() <= 5.0 * a.slew_per_min + 1e-5, "slew per step")?;
        for (t, levels) in past {
            if v.now - *t < Span::minutes(10) && levels[i].is_finite() {
                ok((value - levels[i]).abs() <= a.slew_per_10min + 1e-5, "slew per ten minutes")?;
            }
        }
    } else {
        ok(value.fract() == 0.0, "no state")?;
        let dwell = Span::seconds(i64::from(a.dwell_s));
        let recent: Vec<f64> = past.iter().filter(|(t, _)| v.now - *t < dwell && *t < v.now).map(|(_, l)| l[i]).collect();
        ok(!moves || recent.iter().all(|l| (l - now_value).abs() < 0.5), "dwell")?;
    }
    for l in v.site.limits.iter().filter(|l| l.actuator.as_deref() == Some(&*a.id)) {
        let dew = v.role("room_dew_point");
        let upwards = value > now_value + 1e-9;
        ok(!dew.is_known() || upwards || value >= dew.high + l.min.unwrap_or(0.0) - 1e-5, "dew point")?;
        ok(dew.is_known() || !moves, "moved with an unknown dew point")?;
    }
    Ok(())
}

#[test]
fn no_request_breaks_a_rule_whatever_the_site_and_the_view() {
    let episodes: u64 = std::env::var("TRAMUNTANA_EPISODES").ok().and_then(|v| v.parse().ok()).unwrap_or(120);
    let model = Any(Fit { cv_rmse_pct: 5.0, nmbe_pct: 0.0, rows: 1000 });
    let (mut requests, mut ticks, mut switched, mut per_loop) = (0u32, 0u32, 0u32, 0u32);
    let mut modes: BTreeMap<&'static str, u32> = BTreeMap::new();
    for episode in 0..episodes {
        let mut rng = ChaCha8Rng::seed_from_u64(episode);
        let site = site(&mut rng);
        let tally = Tally::new();
        let mut now = Timestamp(0) + Span::hours(1);
        let mut c = Controller::with_tuning(&site, now, Tuning { rollouts_max: 60, steps: 12, ..Tuning::default() });
        let start = |a: &tramuntana::site::Actuator, rng: &mut ChaCha8Rng| {
            if a.states.is_empty() { rng.random_range(a.lo..a.hi) } else { a.default }
        };
        let mut in_force: Vec<f64> = site.actuators.iter().map(|a| start(a, &mut rng)).collect();
        let mut past: Vec<(Timestamp, Vec<f64>)> = vec![];
        // Some episodes are calm enough to stay in auto.
        let calm = episode % 2 == 0;
        for _ in 0..40 {
            let mut v = view(&mut rng, &site, now, &in_force);
            if calm && rng.random_bool(0.9) {
                for (name, a) in &mut v.roles {
                    let value = if name == "load" {
                        800.0
                    } else if name.starts_with("hot") {
                        50.0
                    } else {
                        12.0
                    };
                    *a = Aged::new(value, now, now, Kind::Temperature, Quality::GOOD);
                }
                for (a, value) in v.actuators.iter_mut().zip(&in_force) {
                    a.in_force = Aged::new(*value, now, now, Kind::Temperature, Quality::GOOD);
                }
                v.loads.iter_mut().for_each(|l| *l = LoadForecast::persistence(800.0, 0.1, 24, "test"));
                v.weather = Weather { dry_bulb_c: 25.0, wet_bulb_c: 18.0, dew_point_c: 14.0 };
                v.link = Link { ai_status: Some(1), ..Link::default() };
                v.drifted = false;
            }
            let actuator = site.actuators[rng.random_range(0..site.actuators.len())].clone();
            let id = site.loops[rng.random_range(0..site.loops.len())].id.clone();
            let operation = [Operation::Shadow, Operation::Advise, Operation::Auto][rng.random_range(0..3)];
            let order = match rng.random_range(0..40) {
                0 => Some(Order::Pin { actuator: actuator.id, value: number(&mut rng, actuator.lo, actuator.hi) }),
                1 | 2 => Some(Order::Unpin { actuator: actuator.id }),
                3 => Some(Order::Hold),
                4 | 5 => Some(Order::Release),
                6 => Some(Order::Mode { to: operation }),
                7 | 8 => Some(Order::Mode { to: Operation::Auto }),
                9 => Some(Order::Leave),
                10 => Some(Order::LoopMode { id, to: Some(operation) }),
                11 => Some(Order::LoopMode { id, to: None }),
                12 => Some(Order::LoopHold { id, hold: rng.random_bool(0.5) }),
                _ => None,
            };
            if let Some(order) = order {
                per_loop += u32::from(matches!(order, Order::LoopMode { .. }));
                let _ = c.order(order, "op", "test", now, &tally);
            }
            if rng.random_bool(0.3)
                && let Some(id) = c.last().map(|r| r.id.clone())
            {
                let _ = c.approve(&id, "op", "", now);
            }
            let given = rng.random_bool(0.95).then_some(&model as &dyn Predict);
            let mut twin = c.clone();
            let tick = c.tick(&v, given, &tally);
            let again = twin.tick(&v, given, &Tally::new());
            assert_eq!(tick.requests, again.requests, "the same view gives the same requests");
            // NaN in a record is not equal to itself: the text is.
            assert_eq!(format!("{:?}", tick.recommendation), format!("{:?}", again.recommendation), "the same view gives the same plan");
            ticks += 1;
            *modes.entry(c.mode().name()).or_default() += 1;
            past.push((now, in_force.clone()));
            for r in &tick.requests {
                requests += 1;
                if let Err(why) = keeps_rules(&v, r.actuator, r.value, &past) {
                    panic!("episode {episode}: {why} in {:?}", c.mode());
                }
                switched += u32::from(!site.actuators[r.actuator].states.is_empty() && (r.value - in_force[r.actuator]).abs() > 0.5);
                in_force[r.actuator] = r.value;
            }
            past.push((now, in_force.clone()));
            // What a clock that is set back brings near again was forgotten rightly before.
            past.retain(|(t, _)| now - *t < Span::minutes(10));
            // Clocks stand still, jump ahead and, now and then, back.
            now = match rng.random_range(0..60) {
                0 => now + Span::hours(rng.random_range(1..30)),
                1 => now - Span::minutes(rng.random_range(1..30)),
                2 => now,
                3 => now + Span::seconds(rng.random_range(1..200)),
                _ => now + Span::minutes(5),
            };
        }
    }
    println!("{episodes} sites, {ticks} ticks, {requests} requests, {switched} switches, {per_loop} loop orders; modes {modes:?}");
    assert!(requests > 5 * episodes as u32 && switched > 0 && modes.len() >= 5);
}
