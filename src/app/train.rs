//! `identify` and `train`: the models of the shipped sites, from simulated telemetry, bit for bit the same each time.

use super::cli::{IdentifyArgs, TrainArgs};
use crate::forecast::{self, Series, WeatherSeries};
use crate::plant::identified;
use crate::plant::predict::Predict;
use crate::plant::twin::TwinSpec;
use crate::sim::excite;
use crate::sim::hall::{Hall, Placement};
use crate::site::SiteFile;
use crate::time::{Span, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Length of the load series that a forecast model is trained on.
const TRAIN_SPAN: Span = Span::hours(24 * 28);
/// Step of the load series.
const TRAIN_STEP: Span = Span::minutes(5);

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

/// Writes `models/<site>-load/1` for each site.
pub fn train(args: TrainArgs) -> Result<(), String> {
    for dir in &args.sites {
        let (site, spec) = load_site(dir)?;
        let name = format!("{}-load/1", site.site.id);
        let start = Timestamp::parse("2026-06-01").unwrap_or_default();
        let (load, weather) = simulated_load(&spec, args.seed, start);
        let mut targets: Vec<(String, Series)> = Vec::new();
        for l in &site.loops {
            if !targets.iter().any(|(t, _)| *t == l.load) {
                targets.push((l.load.clone(), load.clone()));
            }
        }
        let model = forecast::train(&name, &targets, Some(&weather), args.seed).map_err(|e| e.to_string())?;
        let data = format!("28 simulated days of {} from 2026-06-01, seed {}, step 5 min (tramuntana train)", site.site.id, args.seed);
        let out = model.save(&args.out, &data).map_err(|e| e.to_string())?;
        println!("{}:", out.display());
        for row in model.score() {
            println!(
                "  {:>8} {:<12} MAE {:>7.1} kW  coverage 80 % band {:>5.1} %{}",
                row.horizon.to_string(),
                row.model,
                row.mae,
                100.0 * row.coverage80,
                if row.chosen { "  in force" } else { "" }
            );
        }
    }
    Ok(())
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
