//! Training data: a hall whose setpoints are moved at random, safely, and what its sensors said meanwhile.
//!
//! Words: an *excitation* moves each setpoint on its own, at random times, inside its bounds and the BMS's slew; a
//! *season* is a weather offset. Invariants: no setpoint below the room's dew point and its margin; when a limited role
//! comes within its margin, everything goes back to the operators' setpoints until it is clear again; the same seeds
//! give the same rows. Only sensed values are kept, noise and dropouts included.

use super::hall::{Hall, Placement, Scenario, Work};
use super::telemetry::{Telemetry, TelemetryError};
use crate::plant::identified::{self, Binding, Dataset, IdentifiedModel, IdentifyError, Row};
use crate::plant::twin::TwinSpec;
use crate::signal::jobs::{JobStream, Offer};
use crate::signal::load::LoadSeries;
use crate::signal::weather::WeatherSeries;
use crate::site::SiteFile;
use crate::time::{Span, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::sync::Arc;

/// Length of a row.
pub const STEP: Span = Span::minutes(5);
/// Time between two readings of the sensors.
const SENSE: Span = Span::seconds(30);
/// Weather offsets of the seasons, K: July, cool coast, hot spell, between, winter.
const SEASONS_K: [f64; 5] = [0.0, -9.0, 3.0, -4.0, -14.0];
/// Groups whose heat swings on its own in a swinging segment.
const SWING_GROUPS: usize = 7;
/// Days of one segment.
const DAYS: i64 = 6;
/// First day of the training data; the demo runs in another week.
const START: Timestamp = Timestamp(1_782_864_000_000);

/// First of the seeds that the shipped models were made from, and their number; the demo's own seeds begin at 1.
pub const SHIPPED_SEED: u64 = 9001;
pub const SHIPPED_SEGMENTS: u64 = 16;

/// Why no model came out of a simulation.
#[derive(Debug, thiserror::Error)]
pub enum ExciteError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    Identify(#[from] IdentifyError),
}

/// A scenario of jobs for a plant: its partition's stream under a synthetic July shifted by `offset_k`.
pub fn scenario(spec: &TwinSpec, seed: u64, start: Timestamp, span: Span, offset_k: f64) -> Scenario {
    let offer = Offer { class: spec.job_class, gpus: spec.gpus() };
    Scenario {
        seed,
        start,
        span,
        weather: Arc::new(WeatherSeries::synthetic(seed, start, span, offset_k)),
        work: Work::Jobs(Arc::new(JobStream::generate(seed, start, span, offer))),
    }
}

/// Moves setpoints at random and keeps them safe.
struct Exciter<'a> {
    site: &'a SiteFile,
    rng: ChaCha8Rng,
    targets: Vec<f64>,
    until: Vec<Timestamp>,
    retreat_until: Timestamp,
    /// Actuators that follow another one at a gap, K.
    gap_k: Vec<Option<(usize, f64)>>,
}

impl<'a> Exciter<'a> {
    fn new(site: &'a SiteFile, seed: u64, start: Timestamp) -> Exciter<'a> {
        let n = site.actuators.len();
        let targets = site.actuators.iter().map(|a| a.default).collect();
        Exciter {
            gap_k: vec![None; n],
            site,
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x65_7863_6974),
            targets,
            until: vec![start; n],
            retreat_until: Timestamp::MIN,
        }
    }

    /// Lowest safe value of an actuator: its bound, and the dew point where a limit hangs on it.
    fn floor(&self, a: usize, room_dew_point_c: f64) -> f64 {
        let actuator = &self.site.actuators[a];
        let hung = self.site.limits.iter().filter(|l| l.actuator.as_deref() == Some(actuator.id.as_str()));
        let above = hung.filter_map(|l| l.min.map(|m| m + l.margin + if l.above.is_some() { room_dew_point_c } else { 0.0 }));
        above.fold(actuator.lo, f64::max).min(actuator.hi)
    }

    fn next(&mut self, now: Timestamp, row: &Row) -> &[f64] {
        let in_force = &row.in_force;
        let near = self.site.limits.iter().zip(&row.limited).any(|(l, v)| {
            let base = if l.above.is_some() { row.room_dew_point_c } else { 0.0 };
            // A limit that hangs on its own actuator is kept by the floor above.
            l.actuator.is_none()
                && (l.max.is_some_and(|m| *v > base + m - 0.5 * l.margin) || l.min.is_some_and(|m| *v < base + m + 0.5 * l.margin))
        });
        if near {
            self.retreat_until = now + Span::minutes(40);
        }
        for a in 0..self.targets.len() {
            let actuator = &self.site.actuators[a];
            let floor = self.floor(a, row.room_dew_point_c);
            if now < self.retreat_until {
                self.targets[a] = actuator.default.max(floor);
                self.until[a] = self.retreat_until;
                continue;
            }
            if now >= self.until[a] {
                self.until[a] = now + Span::minutes(self.rng.random_range(30..150));
                self.targets[a] = self.rng.random_range(floor..=actuator.hi.max(floor));
                // Mostly as plants are run: a loop warmer than the loop that takes its heat by what an exchanger needs.
                let into = self.site.loops.iter().find(|l| l.id == actuator.loop_id).and_then(|l| l.into.as_ref());
                let under = into.and_then(|i| self.site.actuators.iter().position(|o| o.loop_id == *i));
                self.gap_k[a] =
                    under.filter(|_| actuator.hi <= 75.0 && self.rng.random_bool(0.75)).map(|u| (u, self.rng.random_range(0.5..13.0)));
            }
            if let Some((u, gap_k)) = self.gap_k[a] {
                self.targets[a] = (in_force[u] + gap_k).clamp(floor, actuator.hi);
            }
            self.targets[a] = self.targets[a].max(floor);
        }
        &self.targets
    }
}

/// One segment: a hall excited from start to end. The first hour (the plant settling) is left out.
pub fn record(site: &SiteFile, spec: &Arc<TwinSpec>, scenario: Scenario) -> Result<(Binding, Vec<Row>), TelemetryError> {
    let seed = scenario.seed;
    let mut hall = Hall::new(Arc::clone(spec), scenario);
    let mut telemetry = Telemetry::new(&hall, site)?;
    let mut exciter = Exciter::new(site, seed, hall.now());
    let settled = hall.now() + Span::hours(1);
    let (mut sense_at, mut row_at) = (hall.now(), hall.now() + STEP);
    let mut rows = Vec::new();
    while !hall.done() {
        hall.advance(&mut Placement::FirstFit);
        if hall.now() >= sense_at {
            telemetry.sense(&mut hall);
            sense_at += SENSE;
        }
        if hall.now() >= row_at {
            row_at += STEP;
            let Some(row) = telemetry.take_row() else { continue };
            let now = hall.now();
            for (i, value) in exciter.next(now, &row).iter().enumerate() {
                hall.request(i, *value);
            }
            if now >= settled {
                rows.push(row);
            }
        }
    }
    Ok((telemetry.binding().clone(), rows))
}

/// Excited telemetry over one segment per seed, seasons in turn.
pub fn dataset(site: &SiteFile, spec: &Arc<TwinSpec>, seeds: &[u64]) -> Result<Dataset, TelemetryError> {
    let span = Span::hours(24 * DAYS);
    let mut binding = Binding::of(site);
    let mut segments = Vec::new();
    for (i, &seed) in seeds.iter().enumerate() {
        let offset_k = SEASONS_K[i % SEASONS_K.len()];
        let mut scenario = scenario(spec, seed, START, span, offset_k);
        // Every other segment swings as measured heat does, so that low loads and steep ramps are not foreign to the model.
        if i % 2 == 1 {
            scenario.work = Work::Measured(Arc::new(LoadSeries::swings(seed, span, SWING_GROUPS)));
        }
        let (found, rows) = record(site, spec, scenario)?;
        binding = found;
        segments.push(rows);
    }
    let about = format!(
        "the simulated plant of {}, excited: {} segments of {DAYS} days from {}, seeds {seeds:?}, July weather shifted by {SEASONS_K:?} K in turn, \
         sensed values with noise, drift and dropouts",
        site.site.id,
        seeds.len(),
        START.day()
    );
    Ok(Dataset { binding, step: STEP, about, segments })
}

/// Identifies a site's model from its simulated plant alone: what `identify --sim` does, and how the shipped models were
/// made (seeds from [`SHIPPED_SEED`] on). The same seeds give the same bytes.
///
/// # Errors
/// The site file does not fit the plant's points, or the data do not identify a plant.
pub fn identify_from_sim(site: &SiteFile, spec: &Arc<TwinSpec>, seeds: &[u64]) -> Result<IdentifiedModel, ExciteError> {
    let data = dataset(site, spec, seeds)?;
    let name = site.control.plant_model.clone().unwrap_or_else(|| format!("{}-plant", site.site.id));
    Ok(identified::fit(&data, site, &format!("{name}/1"), seeds.first().copied().unwrap_or(0))?)
}
