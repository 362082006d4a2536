//! `demo`: two simulated sites on an embedded broker, the whole service, baseline against recommendations.
//!
//! Arms: the *baseline* runs each plant at the operators' fixed setpoints with first-fit placement, without the bus; the
//! *recommended* arm runs the same plants, jobs and weather as building management systems on the bus in lock-step with
//! the service in `auto`; the *optimum* (on request) searches the same plant with perfect foresight.
//! Invariants: all arms share seed, jobs and weather; accounts come from the plants' true values; GPU-hours are equal.

use super::backend::DemoView;
use super::bms::{BusAccount, SimulatedBms};
use super::broker::EmbeddedBroker;
use super::cli::DemoArgs;
use super::config::{Config, Overrides};
use super::service::{Service, StartOptions, listen, runtime, shutdown_signal};
use crate::plant::twin::TwinSpec;
use crate::report::{
    Account, Band, DemoResult, LimitLine, LoadTrace, Margin, RunReport, SeedRow, SetpointTrace, SiteResult, Trace, Traffic,
};
use crate::report::{run_page, table};
use crate::signal::jobs::{Job, JobStream, Offer};
use crate::signal::load::LoadSeries;
use crate::signal::weather::WeatherSeries;
use crate::sim::hall::{Hall, Placement, Scenario, Work};
use crate::sim::optimum;
use crate::time::{Span, Timestamp};
use indicatif::{ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// The sites of the demo, as folders under `sensors/`.
const SITES: [&str; 2] = ["bsc-hq", "torre-girona"];
/// The integration's identifier on the bus, as the site files have it.
const US: &str = "TRAMUNTANA";
/// Longest time that the scheduler waits for a placement hint.
const HINT_PATIENCE: Duration = Duration::from_millis(250);
/// Step of the baseline's trace.
const TRACE_STEP: Span = Span::minutes(5);

/// The world of one seed, per site.
struct World {
    spec: Arc<TwinSpec>,
    scenario: Scenario,
}

/// One arm's trace: time, cooling kW, total kWh so far, cooling kWh so far, GPU-hours so far.
type ArmTrace = Vec<(Timestamp, f64, f64, f64, f64)>;

/// One site's arms.
struct SiteRun {
    id: String,
    baseline: crate::sim::hall::Account,
    baseline_trace: ArmTrace,
    recommended: crate::sim::hall::Account,
    recommended_trace: ArmTrace,
    optimum: Option<crate::sim::hall::Account>,
    bus: BusAccount,
    readings_in: u64,
    readings_refused: u64,
}

/// Runs the demo.
pub fn run(args: DemoArgs) -> Result<(), String> {
    let addr = super::config::parse_listen(&args.listen)?;
    if !addr.ip().is_loopback() {
        return Err(format!("--listen {addr}: the demo asks nobody who he is, so it listens on this host only: give 127.0.0.1 and a port"));
    }
    let listener = listen(addr)?;
    let sensors = Path::new("sensors");
    if !sensors.join(SITES[0]).is_dir() {
        return Err("sensors/bsc-hq is not here: start the demo in the repository's folder".into());
    }
    let start = Timestamp::parse(&args.start)
        .ok_or_else(|| format!("--start {:?}: give a date or an instant, such as 2026-07-14T00:00:00Z", args.start))?;
    let span = Span::parse(&args.span)
        .filter(|s| *s >= Span::hours(2))
        .ok_or_else(|| format!("--span {:?}: give at least 2h, such as 2d or 14h", args.span))?;
    let load = args.load.as_deref().map(LoadSeries::load).transpose().map_err(|e| e.to_string())?.map(Arc::new);
    let weather = args.weather.as_deref().map(WeatherSeries::load_tmy3).transpose().map_err(|e| e.to_string())?.map(Arc::new);
    let broker = EmbeddedBroker::start()?;
    runtime()?.block_on(async {
        let mut listener = Some(listener);
        let mut sites: BTreeMap<String, SiteResult> = BTreeMap::new();
        let mut seeds = Vec::new();
        let (mut speed, mut kept) = (0.0, None);
        // The first seed runs last: its service is the one that goes on serving the page.
        for k in (0..u64::from(args.seeds.max(1))).rev() {
            let seed = args.seed + k;
            let first = k == 0;
            let worlds = worlds(&args, seed, start, span, load.as_ref(), weather.as_ref())?;
            let taken = match listener.take_if(|_| first) {
                Some(l) => l,
                None => listen(std::net::SocketAddr::from(([127, 0, 0, 1], 0)))?,
            };
            let (runs, service, fast) = one_seed(&args, seed, worlds, &broker, taken, first).await?;
            speed = if speed == 0.0 { fast } else { f64::min(speed, fast) };
            let mut of_seed = BTreeMap::new();
            for r in &runs {
                let result = site_result(r, fast);
                seeds.push(SeedRow::new(seed, &r.id, &result));
                of_seed.insert(r.id.clone(), result);
            }
            let one = DemoResult::assemble(of_seed.clone(), fast, Vec::new());
            seeds.push(SeedRow::new(seed, "total", &one.total));
            if args.seeds > 1 {
                let d = one.total.difference();
                println!(
                    "seed {seed}: cooling {:+.1} %, kWh per GPU-hour {:+.2} %{}",
                    d.cooling_pct.unwrap_or(f64::NAN),
                    d.kwh_per_gpu_hour_pct.unwrap_or(f64::NAN),
                    one.total.share_of_optimum().map_or(String::new(), |s| format!(", {:.0} % of the optimum's saving", 100.0 * s))
                );
            }
            if first {
                sites = of_seed;
                kept = Some((service, runs));
            } else {
                service.stop().await;
            }
        }
        let Some((service, runs)) = kept else { return Err("no seed was run".into()) };
        let result = DemoResult::assemble(sites, speed, if args.seeds > 1 { seeds } else { Vec::new() });
        println!("\n{}", table::text(&result));
        let json = serde_json::to_value(&result).map_err(|e| e.to_string())?;
        if let Some(path) = &args.json {
            let text = serde_json::to_string_pretty(&json).map_err(|e| e.to_string())?;
            std::fs::write(path, text + "\n")
                .map_err(|e| format!("{}: cannot be written: {e}; give another with --json", path.display()))?;
        }
        let out = args.report.clone().unwrap_or_else(|| args.data_dir.join("report"));
        let reports = runs.iter().map(|r| report_of(&service, r, &result, &title(&args, r))).collect::<Vec<_>>();
        for report in &reports {
            match run_page(report, &out) {
                Ok(paths) => println!("report: {}", paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", ")),
                Err(e) => println!("no report for {}: {e}", report.site_id),
            }
        }
        service.backend.set_demo(demo_view(Some(json), &runs));
        service.sites.iter().for_each(|s| s.over.store(true, Ordering::Relaxed));
        if !args.exit {
            println!("page and API: http://{} (Ctrl-C ends)", service.addr);
            shutdown_signal().await;
        }
        service.stop().await;
        Ok(())
    })
}

/// What was run; its length is that of the trace, since a measured load may end before `--span`.
fn title(args: &DemoArgs, run: &SiteRun) -> String {
    let hours = match run.recommended_trace.as_slice() {
        [first, .., last] => (last.0 - first.0).as_hours_f64().round(),
        _ => 0.0,
    };
    let load = args
        .load
        .as_ref()
        .map_or("simulated jobs".to_owned(), |p| format!("measured heat of {}", p.file_name().unwrap_or_default().to_string_lossy()));
    let weather = args
        .weather
        .as_ref()
        .map_or("synthetic July weather".to_owned(), |p| format!("weather of {}", p.file_name().unwrap_or_default().to_string_lossy()));
    format!("{hours} hours, seed {}, {load}, {weather}", args.seed)
}

fn worlds(
    args: &DemoArgs,
    seed: u64,
    start: Timestamp,
    span: Span,
    load: Option<&Arc<LoadSeries>>,
    weather: Option<&Arc<WeatherSeries>>,
) -> Result<Vec<World>, String> {
    let mut out = Vec::new();
    for (i, folder) in SITES.iter().enumerate() {
        let mut spec = TwinSpec::load(&Path::new("sensors").join(folder).join("twin.toml")).map_err(|e| e.to_string())?;
        if let Some(n) = args.points {
            let have = Hall::new(Arc::new(spec.clone()), scenario(&spec, seed, start, span, None, None)).points().len();
            let share = n / SITES.len() + if i == 0 { n % SITES.len() } else { 0 };
            spec.extra_points = share.saturating_sub(have) as u32;
            spec.trim_points = have.saturating_sub(share) as u32;
        }
        let scenario = scenario(&spec, seed, start, span, load, weather);
        out.push(World { spec: Arc::new(spec), scenario });
    }
    Ok(out)
}

fn scenario(
    spec: &TwinSpec,
    seed: u64,
    start: Timestamp,
    span: Span,
    load: Option<&Arc<LoadSeries>>,
    weather: Option<&Arc<WeatherSeries>>,
) -> Scenario {
    let work = match load {
        Some(l) => Work::Measured(Arc::clone(l)),
        None => Work::Jobs(Arc::new(JobStream::generate(seed, start, span, Offer { class: spec.job_class, gpus: spec.gpus() }))),
    };
    let weather = weather.cloned().unwrap_or_else(|| Arc::new(WeatherSeries::synthetic(seed, start, span, 0.0)));
    Scenario { seed, start, span, weather, work }
}

fn trace_point(hall: &Hall, trace: &mut ArmTrace) {
    if hall.now().0 % TRACE_STEP.0 == 0 {
        let a = hall.account();
        trace.push((hall.now(), hall.truth().cooling_kw(), a.total_kwh(), a.cooling_kwh, a.gpu_hours));
    }
}

fn run_baseline(world: &World) -> (crate::sim::hall::Account, ArmTrace) {
    let mut hall = Hall::new(Arc::clone(&world.spec), world.scenario.clone());
    let mut trace = Vec::new();
    while !hall.done() {
        hall.advance(&mut Placement::FirstFit);
        trace_point(&hall, &mut trace);
    }
    (hall.account().clone(), trace)
}

/// All arms of one seed; the service goes on running.
async fn one_seed(
    args: &DemoArgs,
    seed: u64,
    worlds: Vec<World>,
    broker: &EmbeddedBroker,
    listener: std::net::TcpListener,
    show: bool,
) -> Result<(Vec<SiteRun>, Service, f64), String> {
    let began = Instant::now();
    let baselines = tokio::task::block_in_place(|| {
        std::thread::scope(|s| {
            let handles: Vec<_> = worlds.iter().map(|w| s.spawn(|| run_baseline(w))).collect();
            handles.into_iter().map(|h| h.join().map_err(|_| "the baseline run stopped".to_owned())).collect::<Result<Vec<_>, _>>()
        })
    })?;
    let data_dir = args.data_dir.join("demo").join(format!("seed-{seed}"));
    clear(&data_dir)?;
    let overrides = Overrides { broker: Some(broker.url()), data_dir: Some(data_dir), listen: None };
    let mut config = Config::load(Path::new("sensors/tramuntana.toml"), &overrides).map_err(|e| e.to_string())?;
    config.sites.retain(|s| SITES.contains(&s.file.site.id.as_str()));
    let options = StartOptions { broker_overridden: true, lock_step: true, history: None };
    let service = Service::start(&config, listener, &options).await?;
    if show {
        println!("page and API: http://{}", service.addr);
    }
    service.backend.set_demo(demo_view_of(&config, &baselines));
    wait_for_links(&service).await?;
    let steps = worlds.iter().map(|w| (w.scenario.length().0 / (1000 * i64::from(w.spec.step_s))) as u64).sum();
    let bar = ProgressBar::new(steps);
    if let Ok(style) = ProgressStyle::with_template("seed {prefix} {bar:40} {percent:>3} %  {msg}  {elapsed} of about {duration}") {
        bar.set_style(style);
    }
    bar.set_prefix(seed.to_string());
    let api = format!("http://{}", service.addr);
    let ran = tokio::task::block_in_place(|| {
        std::thread::scope(|s| {
            let handles: Vec<_> = worlds
                .iter()
                .map(|w| {
                    let (bar, api) = (bar.clone(), api.clone());
                    s.spawn(move || run_on_bus(w, broker.addr, &api, &bar))
                })
                .collect();
            handles.into_iter().map(|h| h.join().map_err(|_| "a simulated site stopped".to_owned())?).collect::<Result<Vec<_>, String>>()
        })
    })?;
    bar.finish_and_clear();
    let simulated_s = worlds.iter().map(|w| w.scenario.length().as_secs_f64()).fold(0.0, f64::max);
    let fast = simulated_s / began.elapsed().as_secs_f64();
    let optima: Vec<Option<crate::sim::hall::Account>> = if args.optimum {
        println!("seed {seed}: searching the optimum with perfect foresight …");
        tokio::task::block_in_place(|| {
            std::thread::scope(|s| {
                let handles: Vec<_> = worlds
                    .iter()
                    .map(|w| {
                        let site = config.sites.iter().find(|s| s.file.site.id == w.spec.site);
                        let reserves = site.map_or(vec![], |s| optimum::reserves(&s.file));
                        s.spawn(move || {
                            let hall = Hall::new(Arc::clone(&w.spec), w.scenario.clone());
                            optimum::run(hall, optimum::Search::default(), &reserves, None).account
                        })
                    })
                    .collect();
                handles.into_iter().map(|h| h.join().ok()).collect()
            })
        })
    } else {
        vec![None; worlds.len()]
    };
    let mut runs = Vec::new();
    for (((world, (baseline, baseline_trace)), (hall, recommended_trace, bus)), best) in worlds.iter().zip(baselines).zip(ran).zip(optima) {
        let shared = service.sites.iter().find(|s| s.id() == world.spec.site);
        let count = |f: fn(&super::site_task::SiteShared) -> u64| shared.map_or(0, |s| f(s));
        runs.push(SiteRun {
            id: world.spec.site.clone(),
            baseline,
            baseline_trace,
            recommended: hall.account().clone(),
            recommended_trace,
            optimum: best,
            bus,
            readings_in: count(|s| s.readings_in.load(Ordering::Relaxed)),
            readings_refused: count(|s| s.readings_refused.load(Ordering::Relaxed)),
        });
        if bus.late > 0 || bus.not_understood > 0 {
            println!(
                "{}: {} steps without an echo in time, {} messages not understood by the BMS",
                world.spec.site, bus.late, bus.not_understood
            );
        }
        if show {
            println!("{}: {} jobs placed by hint, {} without one", world.spec.site, bus.hints_used, bus.hints_missing);
        }
    }
    Ok((runs, service, fast))
}

/// Removes an earlier demo's store. Only folders that this command makes: `<data-dir>/demo/seed-N`.
fn clear(dir: &Path) -> Result<(), String> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(format!("{}: an earlier demo's data cannot be removed: {e}; give another --data-dir", dir.display())),
    }
}

async fn wait_for_links(service: &Service) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(10);
    while service.sites.iter().any(|s| !s.broker_up()) {
        if Instant::now() > end {
            return Err("the service could not connect to the embedded broker on loopback".into());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn run_on_bus(world: &World, broker: std::net::SocketAddr, api: &str, bar: &ProgressBar) -> Result<(Hall, ArmTrace, BusAccount), String> {
    let hall = Hall::new(Arc::clone(&world.spec), world.scenario.clone());
    let mut bms = SimulatedBms::start(hall, broker, US).map_err(|e| e.to_string())?;
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(HINT_PATIENCE)).build().into();
    let url = format!("{api}/api/v1/placement/hints?site={}&job_class=", world.spec.site);
    // The scheduler asks the API as any scheduler would, and fails open.
    let mut rank = |job: &Job, _: Timestamp| -> Option<Vec<String>> {
        let mut answer = agent.get(format!("{url}{}", job.class.text())).call().ok()?;
        let hints: crate::api::model::Hints = answer.body_mut().read_json().ok()?;
        (hints.now < hints.valid_until).then(|| hints.racks.into_iter().map(|r| r.rack).collect())
    };
    let mut trace = Vec::new();
    let mut pending = 0;
    while !bms.done() {
        bms.step(&mut rank).map_err(|e| e.to_string())?;
        trace_point(bms.hall(), &mut trace);
        pending += 1;
        if pending == 360 {
            bar.inc(pending);
            bar.set_message(bms.hall().now().to_string());
            pending = 0;
        }
    }
    bar.inc(pending);
    let account = bms.account();
    Ok((bms.into_hall(), trace, account))
}

fn site_result(run: &SiteRun, speed: f64) -> SiteResult {
    let account = |a: &crate::sim::hall::Account| Account::new(a.it_kwh, a.cooling_kwh, a.loss_kwh, a.gpu_hours, a.beyond_limit_minutes());
    let least_margin = run
        .baseline
        .least_margin
        .iter()
        .map(|(id, b)| {
            let unit = if id.ends_with("flow") { "%" } else { "K" };
            let margin = Margin {
                unit: unit.into(),
                baseline: Some(*b),
                recommended: run.recommended.least_margin.get(id).copied(),
                optimum: run.optimum.as_ref().and_then(|o| o.least_margin.get(id).copied()),
            };
            (id.clone(), margin)
        })
        .collect();
    let requests = run.recommended.requests;
    SiteResult {
        baseline: account(&run.baseline),
        recommended: account(&run.recommended),
        optimum: run.optimum.as_ref().map(account),
        traffic: Traffic {
            readings_in: run.readings_in,
            readings_refused: run.readings_refused,
            requests: requests.made,
            requests_refused: requests.refused + run.bus.not_understood,
            requests_clamped: requests.clamped,
            sim_seconds_per_wall_second: speed,
        },
        least_margin,
    }
}

fn demo_view_of(config: &Config, baselines: &[(crate::sim::hall::Account, ArmTrace)]) -> DemoView {
    let mut view = DemoView::default();
    for (site, (_, trace)) in config.sites.iter().zip(baselines) {
        add_baseline(&mut view, &site.file.site.id, trace);
    }
    view
}

fn demo_view(result: Option<serde_json::Value>, runs: &[SiteRun]) -> DemoView {
    let mut view = DemoView { result, ..DemoView::default() };
    for r in runs {
        add_baseline(&mut view, &r.id, &r.baseline_trace);
    }
    view
}

fn add_baseline(view: &mut DemoView, id: &str, trace: &ArmTrace) {
    view.baseline_cooling_kw.insert(id.into(), trace.iter().map(|t| (t.0, t.1)).collect());
    view.baseline_energy.insert(id.into(), trace.iter().map(|t| (t.0, t.2, t.4)).collect());
}

/// The page of one site's run, from what the service saw and what the plants' accounts say.
fn report_of(service: &Service, run: &SiteRun, result: &DemoResult, title: &str) -> RunReport {
    let Some(shared) = service.sites.iter().find(|s| s.id() == run.id) else { return RunReport::default() };
    let core = shared.core();
    let (site, brain) = (&shared.site, &core.brain);
    let rows = &brain.journal.rows;
    let trace = |f: &dyn Fn(&super::journal::Row) -> f64| -> Trace { rows.iter().map(|r| (r.at, f(r))).collect() };
    let cell = |v: Option<&[f64; 3]>, k: usize| v.map_or(f64::NAN, |v| v[k]);
    let unit = |a: &crate::site::Actuator| {
        core.ingest.catalogue().select(&a.in_force).next().map_or_else(String::new, |p| p.kind.unit().to_owned())
    };
    let mut limits = Vec::new();
    for (i, l) in site.limits.iter().enumerate().filter(|(_, l)| l.actuator.is_some() && !l.id.ends_with("flow")) {
        for (k, on) in [(1, l.max.is_some()), (2, l.min.is_some())] {
            if on {
                limits.push(LimitLine { name: l.name.clone(), unit: "°C".into(), value: trace(&|r| cell(r.limits.get(i), k)) });
            }
        }
    }
    let saved = |k: fn(&(Timestamp, f64, f64, f64, f64)) -> f64| -> Trace {
        run.baseline_trace.iter().zip(&run.recommended_trace).map(|(b, r)| (b.0, k(b) - k(r))).collect()
    };
    RunReport {
        site_id: run.id.clone(),
        site_name: site.site.name.clone(),
        label: site.site.label.clone(),
        time_zone: site.site.time_zone.clone(),
        title: title.to_owned(),
        loads: vec![LoadTrace {
            name: "IT load".into(),
            truth_kw: trace(&|r| cell(r.loops.first(), 2)),
            forecast: brain.past_forecasts.iter().map(|(at, [p10, p50, p90])| Band { at: *at, p10: *p10, p50: *p50, p90: *p90 }).collect(),
            ahead: Span::minutes(30),
        }],
        setpoints: (site.actuators.iter().enumerate())
            .map(|(i, a)| SetpointTrace {
                name: a.name.clone(),
                unit: unit(a),
                asked: trace(&|r| cell(r.actuators.get(i), 0)),
                in_force: trace(&|r| cell(r.actuators.get(i), 1)),
                measured: if a.measured.is_some() { trace(&|r| cell(r.actuators.get(i), 2)) } else { Vec::new() },
            })
            .collect(),
        limits,
        cooling_baseline_kw: run.baseline_trace.iter().map(|t| (t.0, t.1)).collect(),
        cooling_recommended_kw: run.recommended_trace.iter().map(|t| (t.0, t.1)).collect(),
        wet_bulb_c: trace(&|r| r.wet_bulb_c),
        saved_cooling_kwh: saved(|t| t.3),
        saved_total_kwh: saved(|t| t.2),
        figures: table::rows(result, &run.id),
    }
}
