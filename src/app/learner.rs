//! Learning a plant while it runs: rows, when to fit, and which model is in force.
//!
//! Words: the model *in force* is the one that the controller plans on; a *candidate* is a new fit; it is *promoted* when
//! it passes its gates and is not worse than the one in force on the rows since. A *shipped* model (`plant_model` of the
//! site file) counts as the first in force.
//! Invariants: rows are bounded; a fit runs beside the site's task, which waits for it at most [`FIT_WAIT`], so that a plant in
//! lock-step sees its result in the same step; one that takes longer is taken in at a later beat. Only what is promoted is
//! saved: the newest on the disk is in force after a restart. What is refused says why.

use super::journal;
use crate::plant::greybox::{self, GreyBox};
use crate::plant::identified::{self, Binding, Drift, IdentifiedModel};
use crate::plant::predict::Predict;
use crate::site::SiteFile;
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Rows kept for fitting: a month of five minutes.
const ROWS_MAX: usize = 8640;
/// How long the site's task waits for a fit before it goes on without it.
pub const FIT_WAIT: Duration = Duration::from_secs(6);
/// Rows between two fits: while nothing is in force, on the first day, in the first week, later.
const EVERY: [usize; 4] = [6, 6, 24, 96];
/// A candidate replaces the model in force where its error on the newest rows is at most this multiple of that one's.
const NOT_WORSE: f64 = 1.1;
const RECENT: usize = 36;

/// What the controller plans on.
#[derive(Clone, Debug)]
pub enum PlantModel {
    Shipped(Box<IdentifiedModel>),
    Learnt(Box<GreyBox>),
}

impl PlantModel {
    pub fn predict(&self) -> &dyn Predict {
        match self {
            PlantModel::Shipped(m) => &**m,
            PlantModel::Learnt(m) => &**m,
        }
    }

    /// Lets the model follow its plant; what its residuals say.
    pub fn observe(&mut self, row: &identified::Row, tick: Span) -> Drift {
        match self {
            PlantModel::Shipped(m) => m.residual_correct(row, tick),
            PlantModel::Learnt(m) => {
                m.observe(row);
                Drift {
                    cooling_bias_kw: m.bias.cooling_kw,
                    limit_bias: m.bias.limits.clone(),
                    cooling_cusum: m.bias.up.max(m.bias.down),
                    alarm: m.bias.alarm,
                    ..Drift::default()
                }
            }
        }
    }
}

/// A fit to be run.
pub struct FitJob {
    rows: Vec<identified::Row>,
    step: Span,
    site: Arc<SiteFile>,
    binding: Binding,
}

impl FitJob {
    /// Fits. The model gets its number where it is promoted.
    pub fn run(self) -> Result<GreyBox, String> {
        let name = format!("{}-learnt/0", self.site.site.id);
        greybox::fit(&self.rows, self.step, &self.site, &self.binding, &name).map_err(|e| e.to_string())
    }
}

/// Rows of one site and the state of its learning.
pub struct Learner {
    site: Arc<SiteFile>,
    rows: VecDeque<identified::Row>,
    /// Rows since the last fit was begun.
    since_fit: usize,
    pub binding: Option<Binding>,
    /// Where learnt models go; none = they are not kept.
    pub root: Option<PathBuf>,
    /// What the newest fit said, for the page and the log.
    pub word: String,
}

impl Learner {
    pub fn new(site: Arc<SiteFile>, root: Option<PathBuf>) -> Learner {
        Learner { site, rows: VecDeque::new(), since_fit: 0, binding: None, root, word: "no fit yet".into() }
    }

    /// Rows from the store or a file, in time order, before anything live.
    pub fn begin(&mut self, history: Vec<identified::Row>) {
        let skip = history.len().saturating_sub(ROWS_MAX);
        self.rows = history.into_iter().skip(skip).collect();
        // The first beat then fits at once.
        self.since_fit = self.rows.len();
    }

    /// The site as it is controlled from now on; rows of another tick are left behind.
    pub fn follow(&mut self, site: Arc<SiteFile>) {
        if site.control.tick() != self.site.control.tick() {
            self.rows.clear();
            self.since_fit = 0;
        }
        self.site = site;
    }

    /// Takes in the newest row.
    pub fn push(&mut self, row: identified::Row) {
        if self.rows.back().is_some_and(|b| b.at >= row.at) {
            return;
        }
        if self.rows.len() >= ROWS_MAX {
            self.rows.pop_front();
        }
        self.rows.push_back(row);
        self.since_fit += 1;
    }

    /// A fit that is due, or none.
    pub fn job(&mut self, in_force: Option<&PlantModel>) -> Option<FitJob> {
        if !self.site.control.learns() || self.rows.len() < greybox::ROWS_MIN {
            return None;
        }
        let tick = self.site.control.tick();
        let age = Span(tick.0 * self.rows.len() as i64);
        let every = match in_force {
            None => EVERY[0],
            Some(PlantModel::Learnt(m)) if m.wants_refit() => EVERY[1],
            Some(_) if age <= Span::hours(24) => EVERY[1],
            Some(_) if age <= Span::hours(24 * 7) => EVERY[2],
            Some(_) => EVERY[3],
        };
        let binding = self.binding.clone()?;
        if self.since_fit < every {
            return None;
        }
        self.since_fit = 0;
        Some(FitJob { rows: self.rows.iter().cloned().collect(), step: tick, site: Arc::clone(&self.site), binding })
    }

    /// Judges a candidate, and saves with its card what it lets through. Returns the new model in force, or none where the one
    /// that is stays.
    pub fn judge(&mut self, candidate: Result<GreyBox, String>, in_force: Option<&PlantModel>) -> Option<PlantModel> {
        let mut model = match candidate {
            Ok(m) => m,
            Err(why) => {
                self.word = format!("not fitted: {why}");
                return None;
            }
        };
        let figures = format!("CV-RMSE {:.1} %, bias {:+.1} %, {} rows", model.fit.cv_rmse_pct, model.fit.nmbe_pct, model.fit.rows);
        if !model.fit().usable() {
            self.word = format!("refused: {figures}: beyond the gates of Guideline 14 (30 %, ±10 %)");
            return None;
        }
        let tick = self.site.control.tick();
        if Span(tick.0 * model.fit.rows as i64) < self.least() {
            self.word = format!("waits: {figures}: too short a time to be trusted");
            return None;
        }
        if let Some(PlantModel::Learnt(old)) = in_force {
            // Both on the newest rows; the one in force has not been fitted on them.
            let error = |m: &GreyBox| {
                let recent = self.rows.iter().zip(self.rows.iter().skip(1)).rev().take(RECENT);
                let residuals: Vec<f64> = recent.filter_map(|(before, r)| m.residual_kw(r, Some(before))).collect();
                (residuals.iter().map(|r| r * r).sum::<f64>() / residuals.len().max(1) as f64).sqrt()
            };
            let (new, old) = (error(&model), error(old));
            if new > NOT_WORSE * old {
                self.word = format!("kept the one in force ({old:.1} kW on the newest rows): candidate {figures}, {new:.1} kW");
                return None;
            }
        }
        if let Some(root) = &self.root
            && let Err(e) = greybox::save(&mut model, &self.site, root)
        {
            self.word = format!("not saved, so not promoted: {figures}: {e}");
            return None;
        }
        self.word = format!("promoted {}: {figures}", model.name);
        Some(PlantModel::Learnt(Box::new(model)))
    }

    /// Shortest time that a first model must rest on.
    fn least(&self) -> Span {
        Span(LEAST.0.max(self.site.control.tick().0 * greybox::ROWS_MIN as i64))
    }
}

/// Shortest time of rows before a model steers.
const LEAST: Span = Span::hours(8);

/// A row of the journal as models learn from it. `at` = start of the tick.
pub fn row_of(row: &journal::Row, tick: Span, dew_point_c: f64, gpu_utilisation_pct: f64) -> identified::Row {
    identified::Row {
        at: Timestamp(row.at.0 - tick.0),
        in_force: row.actuators.iter().map(|a| a[1]).collect(),
        loads_kw: row.loops.iter().map(|l| l[2]).chain(row.own_loads_kw.iter().copied()).collect(),
        weather: crate::signal::weather::Weather { dry_bulb_c: row.dry_bulb_c, wet_bulb_c: row.wet_bulb_c, dew_point_c },
        room_dew_point_c: row.dew_point_c,
        gpus_allocated: row.gpus,
        gpu_utilisation_pct,
        meters_kw: row.meters_kw.clone(),
        limited: row.limits.iter().map(|l| l[0]).collect(),
    }
}
