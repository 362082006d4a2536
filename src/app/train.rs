//! `identify` and `train`: the models of sites, from simulated telemetry (bit for bit the same each time) or the store.

use super::backtest::sum_of_points;
use super::cli::{IdentifyArgs, TrainArgs};
use super::config::{Config, ConfiguredSite, Overrides};
use super::history;
use super::service::targets;
use crate::forecast::{self, Calendar, Forecaster, Series, Training, WeatherSeries};
use crate::plant::identified;
use crate::plant::predict::Predict;
use crate::plant::twin::TwinSpec;
use crate::sim::excite;
use crate::sim::hall::{Hall, Placement};
use crate::site::{Combine, SiteFile};
use crate::store::{Embedded, Store};
use crate::time::{Span, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Length of the load series that a forecast model is trained on.
const TRAIN_SPAN: Span = Span::hours(24 * 28);
/// Step of the load series.
const TRAIN_STEP: Span = Span::minutes(5);
/// What is read before the span: its end may be the end of a day, and a value may stand for an hour.
const BEFORE: Span = Span::hours(25);

fn load_site(dir: &Path) -> Result<(SiteFile, Arc<TwinSpec>), String> {
    let site = SiteFile::load(&dir.join("site.toml")).map_err(|e| e.to_string())?;
    let spec = TwinSpec::load(&dir.join("twin.toml")).map_err(|e| e.to_string())?;
    Ok((site, Arc::new(spec)))
}

/// Writes `models/<site>-plant/1` for each site.
pub fn identify(args: IdentifyArgs) -> Result<(), String> {
    let shipped = ["sensors/bsc-hq", "sensors/torre-girona"].map(PathBuf::from).to_vec();
    for dir in if args.sites.is_empty() { &shipped } else { &args.sites } {
        let (site, spec) = load_site(dir)?;
        let seeds: Vec<u64> = (0..excite::SHIPPED_SEGMENTS).map(|k| args.seed + k).collect();
        let model = excite::identify_from_sim(&site, &spec, &seeds).map_err(|e| e.to_string())?;
        let out = args.out.join(format!("{}-plant", site.site.id)).join("1");
        identified::save(&model, &out).map_err(|e| e.to_string())?;
        let fit = model.fit();
        println!(
            "{}: cooling power CV-RMSE {:.1} %, NMBE {:+.1} % on held-out blocks ({} rows); Guideline 14 gate {}",
            out.display(),
            fit.cv_rmse_pct,
            fit.nmbe_pct,
            fit.rows,
            if fit.usable() { "passed" } else { "FAILED" }
        );
    }
    Ok(())
}

/// The calendar of a site.
pub fn calendar(site: &SiteFile) -> Calendar {
    Calendar { zone: site.site.time_zone.clone(), holidays: site.site.holidays.clone() }
}

/// Writes `models/<site>-load/<version>` for each site.
pub fn train(args: TrainArgs) -> Result<(), String> {
    match &args.config {
        Some(config) => train_from_store(&args, config),
        None => train_on_simulated_days(&args),
    }
}

fn train_on_simulated_days(args: &TrainArgs) -> Result<(), String> {
    let shipped = ["sensors/bsc-hq".to_owned(), "sensors/torre-girona".to_owned()];
    let sites = if args.sites.is_empty() { &shipped[..] } else { &args.sites[..] };
    let models = args.out.clone().unwrap_or_else(|| PathBuf::from("models"));
    for dir in sites {
        let (site, spec) = load_site(Path::new(dir))?;
        let name = format!("{}-load/1", site.site.id);
        let start = Timestamp::parse("2026-06-01").unwrap_or_default();
        let (load, weather) = simulated_load(&spec, args.seed, start);
        let mut targets: Vec<(String, Series)> = Vec::new();
        for l in &site.loops {
            if !targets.iter().any(|(t, _)| *t == l.load) {
                targets.push((l.load.clone(), load.clone()));
            }
        }
        let training = Training { calendar: calendar(&site), ..Training::new(&name, &targets, Some(&weather), args.seed) };
        let model = forecast::train(&training).map_err(|e| e.to_string())?;
        let data = format!("28 simulated days of {} from 2026-06-01, seed {}, step 5 min (tramuntana train)", site.site.id, args.seed);
        report(&model.save(&models, &data).map_err(|e| e.to_string())?, &model);
    }
    Ok(())
}

fn train_from_store(args: &TrainArgs, config: &Path) -> Result<(), String> {
    let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
    let config = Config::load(config, &overrides).map_err(|e| e.to_string())?;
    let span =
        Span::parse(&args.span).filter(|s| s.0 > 0).ok_or_else(|| format!("--span {:?} is not a length of time such as 28d", args.span))?;
    if let Some(odd) = args.sites.iter().find(|id| !config.sites.iter().any(|s| s.file.site.id == **id)) {
        return Err(format!("--site {odd:?} is not a site of {}", config.path.display()));
    }
    let store = Embedded::open(&config.data_dir).map_err(|e| e.to_string())?;
    let models = args.out.clone().unwrap_or_else(|| config.models_dir.clone());
    for site in config.sites.iter().filter(|s| args.sites.is_empty() || args.sites.contains(&s.file.site.id)) {
        let Some(family) = &site.file.control.load_model else {
            println!("{}: names no load_model, nothing to train", site.file.site.id);
            continue;
        };
        let id = &site.file.site.id;
        let catalogue = store.catalogue(id).map_err(|e| e.to_string())?;
        let until = history::days(&store, id, &catalogue)?.map_or(Timestamp(0), |(_, last)| last + Span::hours(24));
        let data = site_series(&store, site, until, span)?;
        let name = format!("{family}/{}", next_version(&models, family));
        let model = train_site(&name, site, &data, args.seed)?;
        let about = format!("{} of {} up to {} from the store, step 5 min", args.span, site.file.site.id, model.trained_to());
        report(&model.save(&models, &about).map_err(|e| e.to_string())?, &model);
    }
    Ok(())
}

/// Loads of a site's loops and its weather, as the store has them.
pub struct SiteData {
    pub loads: Vec<(String, Series)>,
    pub weather: Option<WeatherSeries>,
}

/// Reads the newest `span` before `until`.
pub fn site_series(store: &dyn Store, site: &ConfiguredSite, until: Timestamp, span: Span) -> Result<SiteData, String> {
    let id = &site.file.site.id;
    let catalogue = store.catalogue(id).map_err(|e| e.to_string())?;
    // A series has room for so many steps, the oldest first: no more is read than is trained on.
    let from = (until - span - BEFORE).max(Timestamp(0)).floor(TRAIN_STEP);
    let role = |name: &str| -> Option<Result<Series, String>> {
        let role = site.file.role(name)?;
        let ids: Vec<_> = catalogue.select(&role.select).map(|p| p.id).collect();
        let mut sum = (!ids.is_empty()).then(|| sum_of_points(store, id, &ids, from, until, TRAIN_STEP))?;
        if let (Ok(series), true) = (&mut sum, role.combine != Combine::Sum) {
            // Redundant sensors: their mean, whatever the controller takes of them.
            series.values.iter_mut().for_each(|v| *v /= ids.len() as f64);
        }
        Some(sum)
    };
    let mut loads = Vec::new();
    for name in targets(site) {
        loads.push((name.clone(), role(&name).ok_or_else(|| format!("{id}: no point of the store is bound to role {name:?}"))??));
    }
    // One grid: from the latest start, and no more than the span, to the earliest end.
    let start = loads.iter().map(|(_, s)| s.start).max().unwrap_or_default();
    let end = loads.iter().map(|(_, s)| s.end()).min().unwrap_or_default();
    let start = start.max(end - span).floor(TRAIN_STEP);
    let cut = |s: &Series| {
        let rows = ((end - start).0 / TRAIN_STEP.0).max(0);
        // The store labels a step by its start; a forecaster's row is known at its end.
        Series::new(start + TRAIN_STEP, TRAIN_STEP, (0..rows).map(|k| s.at(start + Span(TRAIN_STEP.0 * k))).collect())
    };
    let weather = match (role("dry_bulb").transpose()?, role("wet_bulb").transpose()?) {
        (Some(dry), Some(wet)) => Some(WeatherSeries { dry_bulb_c: cut(&dry), wet_bulb_c: cut(&wet) }),
        _ => None,
    };
    Ok(SiteData { loads: loads.iter().map(|(n, s)| (n.clone(), cut(s))).collect(), weather })
}

/// Trains a site's forecaster on its data.
pub fn train_site(name: &str, site: &ConfiguredSite, data: &SiteData, seed: u64) -> Result<Forecaster, String> {
    let training = Training { calendar: calendar(&site.file), ..Training::new(name, &data.loads, data.weather.as_ref(), seed) };
    forecast::train(&training).map_err(|e| e.to_string())
}

/// Numbers of the versions of a model, ascending.
pub fn versions(models: &Path, family: &str) -> Vec<u64> {
    let mut found: Vec<u64> = (std::fs::read_dir(models.join(family)).into_iter().flatten().flatten())
        .filter_map(|e| e.file_name().to_str()?.parse().ok())
        .collect();
    found.sort_unstable();
    found
}

/// One more than the newest version of a model.
pub fn next_version(models: &Path, family: &str) -> u64 {
    versions(models, family).last().map_or(1, |v| v + 1)
}

fn report(dir: &Path, model: &Forecaster) {
    println!("{}:", dir.display());
    for row in model.score() {
        println!(
            "  {:>8} {:<14} MAE {:>7.1} kW  coverage of the 80 % band {:>5.1} %, 90 % {:>5.1} %{}",
            row.horizon.to_string(),
            row.model,
            row.mae,
            100.0 * row.coverage80,
            100.0 * row.coverage90,
            if row.chosen { "  in force" } else { "" }
        );
    }
}

/// Rack power of a hall at its fixed setpoints, with its weather, on the training step.
fn simulated_load(spec: &Arc<TwinSpec>, seed: u64, start: Timestamp) -> (Series, WeatherSeries) {
    let mut hall = Hall::new(Arc::clone(spec), excite::scenario(spec, seed, start, TRAIN_SPAN, -1.5));
    let (mut load, mut dry, mut wet) = (Vec::new(), Vec::new(), Vec::new());
    let mut sums = [0.0; 3];
    let mut n = 0;
    while !hall.done() {
        hall.advance(&mut Placement::FirstFit);
        let t = hall.truth();
        let w = t.weather.map_or([f64::NAN; 2], |w| [w.dry_bulb_c, w.wet_bulb_c]);
        for (s, v) in sums.iter_mut().zip([t.it_kw, w[0], w[1]]) {
            *s += v;
        }
        n += 1;
        if hall.now().0 % TRAIN_STEP.0 == 0 {
            for (out, s) in [&mut load, &mut dry, &mut wet].into_iter().zip(&mut sums) {
                out.push(*s / f64::from(n));
                *s = 0.0;
            }
            n = 0;
        }
    }
    let series = |values| Series::new(start + TRAIN_STEP, TRAIN_STEP, values);
    (series(load), WeatherSeries { dry_bulb_c: series(dry), wet_bulb_c: series(wet) })
}
