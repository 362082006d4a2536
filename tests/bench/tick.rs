//! One control tick for two sites with 20 actuators each and 24 steps: how long it takes, and what its plan costs.
//!
//! `tests/bench/tick` runs it beside the same problem in Python (cvxpy, Clarabel). The plant is convex, so that Python's answer is the
//! true optimum and bounds what any search can reach: each site has ten loops, and each loop a supply temperature T (°C) and a flow f (%):
//!
//! ```text
//! power   load (1 + 0.0018 (T - 20)) + lift load max(0, wet bulb + 6 - T) + pump (f / 100)³             kW
//! hottest relaxes to T + 12 + rise load (2 - f / 100) with a time constant of 5 min, at most 83 - 1 °C
//! ```
//!
//! Prints JSON: milliseconds of each tick, energy of each plan. With an argument, writes the problems there.

use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use tramuntana::control::plan::Tuning;
use tramuntana::control::view::ActuatorView;
use tramuntana::control::{Aged, Controller, Link, LoadForecast, View};
use tramuntana::event::Tally;
use tramuntana::plant::predict::{Fit, Outcome, PlantState, Predict, StepInput};
use tramuntana::reading::Quality;
use tramuntana::signal::weather::Weather;
use tramuntana::site::SiteFile;
use tramuntana::time::{Span, Timestamp};
use tramuntana::units::Kind;

const LOOPS: usize = 10;
const STEPS: usize = 24;
const SITES: usize = 2;
const TICKS: usize = 240;

/// Halton's sequence of base 2: numbers that anybody can make again.
fn spread(k: usize) -> f64 {
    let (mut k, mut f, mut x) = (k + 1, 1.0, 0.0);
    while k > 0 {
        f /= 2.0;
        x += f * (k % 2) as f64;
        k /= 2;
    }
    x
}

struct Plant {
    fit: Fit,
    lift: Vec<f64>,
    pump: Vec<f64>,
    rise: Vec<f64>,
}

impl Plant {
    fn new(site: usize) -> Plant {
        let at = |j: usize, salt: usize| spread(17 * site + 7 * j + salt);
        Plant {
            fit: Fit { cv_rmse_pct: 5.0, nmbe_pct: 0.0, rows: 1000 },
            lift: (0..LOOPS).map(|j| 0.01 + 0.02 * at(j, 1)).collect(),
            pump: (0..LOOPS).map(|j| 3.0 + 5.0 * at(j, 2)).collect(),
            rise: (0..LOOPS).map(|j| 0.15 + 0.1 * at(j, 3)).collect(),
        }
    }
}

impl Predict for Plant {
    fn rollout(&self, state: &PlantState, steps: &[StepInput], out: &mut Vec<Outcome>) {
        Outcome::anew(out, steps.len());
        let mut hot: Vec<f64> = state.limited[..LOOPS].to_vec();
        for (s, o) in steps.iter().zip(out) {
            let keep = (-s.span.as_secs_f64() / 300.0).exp();
            o.limited_sigma.resize(LOOPS, 0.0);
            for (j, hot) in hot.iter_mut().enumerate() {
                let (t, f, load) = (s.setpoints[2 * j], s.setpoints[2 * j + 1] / 100.0, s.loads_kw[j]);
                o.it_kw += load * (1.0 + 0.0018 * (t - 20.0));
                o.cooling_kw += self.lift[j] * load * (s.weather.wet_bulb_c + 6.0 - t).max(0.0) + self.pump[j] * f * f * f;
                let rest = t + 12.0 + self.rise[j] * load * (2.0 - f);
                *hot = rest + keep * (*hot - rest);
                o.limited.push(*hot);
            }
        }
    }
    fn fit(&self) -> &Fit {
        &self.fit
    }
    fn name(&self) -> &str {
        "bench/1"
    }
}

fn site(k: usize) -> Arc<SiteFile> {
    let mut t = format!(
        "format = 1\n[site]\nid = \"s{k}\"\nname = \"S\"\ntime_zone = \"UTC\"\n[bus]\nfilter = \"BMS/#\"\n[control]\nmode = \"auto\"\n"
    );
    for j in 0..LOOPS {
        for role in ["t", "load", "hot"] {
            t.push_str(&format!("[[role]]\nname = \"{role}{j}\"\nselect = {{ point_type = \"x\" }}\n"));
        }
        t.push_str(&format!("[[loop]]\nid = \"l{j}\"\nname = \"L\"\nsupply = \"t{j}\"\nreturn = \"t{j}\"\nload = \"load{j}\"\n"));
        let a = |id: &str, lo: f64, hi: f64, default: f64, per_min: f64, step: f64| {
            let per_ten = 10.0 * per_min;
            format!(
                "[[actuator]]\nid = \"{id}{j}\"\nname = \"A\"\nloop = \"l{j}\"\nrequest = {{ point_type = \"x\" }}\nin_force = {{ point_type = \"y\" }}\nlo = {lo:.1}\nhi = {hi:.1}\ndefault = {default:.1}\nslew_per_min = {per_min:.1}\nslew_per_10min = {per_ten:.1}\nstep = {step}\n"
            )
        };
        t.push_str(&a("supply", 16.0, 34.0, 22.0, 0.2, 0.25));
        t.push_str(&a("flow", 45.0, 100.0, 100.0, 1.0, 1.0));
        t.push_str(&format!("[[limit]]\nid = \"hot{j}\"\nname = \"Hot\"\nrole = \"hot{j}\"\nmax = 83.0\nmargin = 1.0\n"));
    }
    Arc::new(SiteFile::parse(Path::new("bench/site.toml"), &t).expect("the bench's site file"))
}

/// What one site meets at one tick: loads, wet bulb; a day goes by in 240 ticks.
fn world(k: usize, tick: usize) -> (Vec<Vec<f64>>, Vec<f64>) {
    let day = |step: usize| (tick as f64 + step as f64) / 240.0 * std::f64::consts::TAU;
    let load = |j: usize, step: usize| 100.0 + 60.0 * (day(step) + 0.6 * (j + 3 * k) as f64).sin() + 10.0 * spread(tick + 31 * j);
    let loads = (0..STEPS).map(|s| (0..LOOPS).map(|j| load(j, s)).collect()).collect();
    (loads, (0..STEPS).map(|s| 15.0 + 7.0 * (day(s) - 1.5 + k as f64).sin()).collect())
}

fn main() {
    let dump = std::env::args().nth(1).filter(|a| !a.starts_with("--"));
    let (plants, sites): (Vec<Plant>, Vec<Arc<SiteFile>>) = (0..SITES).map(|k| (Plant::new(k), site(k))).unzip();
    let start = Timestamp(0) + Span::hours(1);
    let tuning = Tuning { switch_share: 0.0, worth_share: 0.0, sigmas: 0.0, ..Tuning::default() };
    let mut controllers: Vec<Controller> = sites.iter().map(|s| Controller::with_tuning(s, start, tuning.clone())).collect();
    let mut in_force: Vec<Vec<f64>> = sites.iter().map(|s| s.actuators.iter().map(|a| a.default).collect()).collect();
    let mut hot: Vec<Vec<f64>> = vec![vec![60.0; LOOPS]; SITES];
    let tally = Tally::new();
    let (mut ms, mut problems, mut kwh) = (vec![], vec![], vec![]);
    for tick in 0..TICKS {
        let now = start + Span::minutes(5 * tick as i64);
        let aged = |v: f64| Aged::new(v, now, now, Kind::Temperature, Quality::GOOD);
        let views: Vec<View> = (0..SITES)
            .map(|k| {
                let (loads, wet) = world(k, tick);
                let mut roles = BTreeMap::new();
                for j in 0..LOOPS {
                    roles.insert(format!("t{j}"), aged(in_force[k][2 * j]));
                    roles.insert(format!("load{j}"), aged(loads[0][j]));
                    roles.insert(format!("hot{j}"), aged(hot[k][j]));
                }
                let weather = |w: f64| Weather { dry_bulb_c: w + 6.0, wet_bulb_c: w, dew_point_c: w - 4.0 };
                let series = |j: usize, x: f64| loads.iter().map(|l| x * l[j]).collect::<Vec<f64>>();
                View {
                    now,
                    site: Arc::clone(&sites[k]),
                    roles,
                    actuators: (in_force[k].iter())
                        .map(|v| ActuatorView { in_force: aged(*v), measured: None, request_points: 1, unit: "°C" })
                        .collect(),
                    loads: (0..LOOPS)
                        .map(|j| LoadForecast {
                            p10_kw: series(j, 0.9),
                            p50_kw: series(j, 1.0),
                            p90_kw: series(j, 1.1),
                            ramp_kw: f64::NAN,
                            model: "bench".into(),
                            fallback: None,
                        })
                        .collect(),
                    weather: weather(wet[0]),
                    weather_forecast: wet.iter().map(|w| weather(*w)).collect(),
                    prices: vec![],
                    peak_kw: 0.0,
                    gpus_allocated: Some(900.0),
                    link: Link { ai_status: Some(1), ..Link::default() },
                    drifted: false,
                    findings: vec![],
                }
            })
            .collect();
        if dump.is_some() {
            for k in 0..SITES {
                let (loads, wet) = world(k, tick);
                problems
                    .push(json!({"site": k, "tick": tick, "in_force": in_force[k], "hot": hot[k], "loads_kw": loads, "wet_bulb_c": wet}));
            }
        }
        let began = Instant::now();
        let ticks: Vec<_> = (0..SITES).map(|k| controllers[k].tick(&views[k], Some(&plants[k]), &tally)).collect();
        ms.push(began.elapsed().as_secs_f64() * 1e3);
        for (k, t) in ticks.into_iter().enumerate() {
            kwh.push(t.recommendation.as_ref().map_or(f64::NAN, |r| r.expects.plan_kwh));
            for r in t.requests {
                in_force[k][r.actuator] = r.value;
            }
            let (loads, _) = world(k, tick);
            for j in 0..LOOPS {
                let rest = in_force[k][2 * j] + 12.0 + plants[k].rise[j] * loads[0][j] * (2.0 - in_force[k][2 * j + 1] / 100.0);
                hot[k][j] = rest + (-1.0f64).exp() * (hot[k][j] - rest);
            }
        }
    }
    let mut sorted = ms.clone();
    sorted.sort_by(f64::total_cmp);
    let at = |q: f64| sorted[((sorted.len() - 1) as f64 * q).round() as usize];
    if let Some(path) = dump {
        let plants: Vec<_> = plants.iter().map(|p| json!({"lift": p.lift, "pump": p.pump, "rise": p.rise})).collect();
        let all = json!({"plants": plants, "problems": problems, "plan_kwh": kwh, "tick_ms": ms});
        std::fs::write(path, all.to_string()).expect("the problems can be written");
    }
    println!(
        "{}",
        json!({"sites": SITES, "actuators": SITES * 2 * LOOPS, "steps": STEPS, "ticks": TICKS, "p50_ms": at(0.5), "p99_ms": at(0.99), "most_ms": at(1.0)})
    );
}
