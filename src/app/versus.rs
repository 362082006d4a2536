//! The arms of `evaluate` on the shipped simulated plants, in one process: fixed setpoints, trim and respond, this service, and the
//! best that perfect foresight finds.
//!
//! Invariants: all arms of a seed share plant, weather and jobs, and place jobs first fit, so that GPU-hours are equal; accounts come
//! from the plant's true values; only this service and trim-and-respond look at sensors, only the optimum at the future.

use super::closed::Closed;
use super::config::{Config, ConfiguredSite};
use crate::plant::twin::TwinSpec;
use crate::signal::jobs::{JobStream, Offer};
use crate::signal::weather::WeatherSeries;
use crate::sim::hall::{Account, Hall, Scenario, Work};
use crate::sim::telemetry::Telemetry;
use crate::sim::trim::TrimRespond;
use crate::sim::{arms, optimum};
use crate::time::{Span, Timestamp};
use crate::units::Kind;
use serde_json::{Value, json};
use std::sync::Arc;

/// Time between two words of the simulated BMS.
const PACE: Span = Span::minutes(1);
/// Period of trim and respond (Guideline 36 has 2 to 5 min).
const PERIOD: Span = Span::minutes(5);

/// A simulated site with one seed's weather and jobs.
pub fn hall(site: &ConfiguredSite, seed: u64, start: Timestamp, span: Span, offset_k: f64) -> Result<Hall, String> {
    let spec = TwinSpec::load(&site.dir.join("twin.toml")).map_err(|e| e.to_string())?;
    let jobs = JobStream::generate(seed, start, span, Offer { class: spec.job_class, gpus: spec.gpus() });
    let weather = Arc::new(WeatherSeries::synthetic(seed, start, span, offset_k));
    Ok(Hall::new(Arc::new(spec), Scenario { seed, start, span, weather, work: Work::Jobs(Arc::new(jobs)) }))
}

/// One arm by its name: `fixed`, `trim`, `tramuntana`, `optimum`.
pub fn run(arm: &str, config: &Config, site: &ConfiguredSite, hall: Hall) -> Result<Value, String> {
    let account = match arm {
        "fixed" => arms::run_fixed(hall),
        "trim" => trim(site, hall)?,
        "optimum" => optimum::run(hall, optimum::Search::default(), &optimum::reserves(&site.file), None).account,
        _ => {
            let mut closed = Closed::new(config, site, hall, None, PACE)?;
            while !closed.done() {
                closed.turn(&mut |_| {});
            }
            closed.hall.account().clone()
        }
    };
    Ok(figures(&account))
}

fn trim(site: &ConfiguredSite, hall: Hall) -> Result<Account, String> {
    let mut telemetry = Telemetry::new(&hall, &site.file).map_err(|e| e.to_string())?;
    let cheap_up: Vec<bool> = telemetry.binding().kinds.iter().map(|k| *k == Kind::Temperature).collect();
    let mut rule = TrimRespond::new(&site.file);
    Ok(arms::run_with(hall, PERIOD, &mut |hall| {
        telemetry.sense(hall);
        let row = telemetry.latest(hall.now());
        let reference = |role: &str| if role == "room_dew_point" { row.room_dew_point_c } else { f64::NAN };
        for (i, v) in rule.step(&site.file, &row, reference, &cheap_up).iter().enumerate() {
            hall.request(i, *v);
        }
    }))
}

/// An account in the words of an outside plant's result.
fn figures(a: &Account) -> Value {
    let r = a.requests;
    json!({
        "kwh_per_gpu_hour": a.kwh_per_gpu_hour(), "total_kwh": a.total_kwh(), "cooling_kwh": a.cooling_kwh, "it_kwh": a.it_kwh, "loss_kwh": a.loss_kwh,
        "gpu_hours": a.gpu_hours, "minutes_beyond_limit": a.minutes_beyond_limit, "components_kwh": a.components_kwh,
        "bus": {"late": 0, "actuators": {"all": {"requests": r.made, "clamped": r.clamped, "slewed": r.slewed, "refused": r.refused, "expired": r.expired}}},
    })
}
