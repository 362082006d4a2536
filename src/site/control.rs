//! `[control]` and `[signals]` of a site file: how the site is controlled, what for, and what its electricity costs and emits.

use crate::time::Span;
use serde::{Deserialize, Serialize};

/// The mode in which control of a site begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StartMode {
    /// Computes and records; publishes no request.
    #[default]
    Shadow,
    /// Publishes a request when an operator approves it.
    Advise,
    /// Publishes requests inside the guardrails by itself.
    Auto,
}

/// What the controller minimises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// Energy (GPU-hours do not depend on setpoints).
    #[default]
    KwhPerGpuHour,
    /// Cost at the price of `[signals]`.
    Eur,
    /// Emissions at the intensity of `[signals]`.
    KgCo2,
    /// The highest power of the month; energy decides between equals.
    PeakKw,
    /// A sum of all four, with `weights`.
    Weighted,
}

/// What a unit of each counts in the objective.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Weights {
    pub kwh: f64,
    pub eur: f64,
    pub kg_co2: f64,
    /// A kW by which the horizon's highest power passes the month's highest so far.
    pub peak_kw: f64,
}

/// Share of an energy term that decides between plans with the same peak, kWh per kW.
const PEAK_TIE: f64 = 1e-3;

/// Price and carbon intensity of the site's electricity.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Signals {
    /// €/MWh: one number, or a CSV file (time, value) beside the site file.
    pub price_eur_per_mwh: Option<f64>,
    pub price_file: Option<String>,
    /// g CO2 per kWh: one number, or a CSV file (time, value) beside the site file.
    pub carbon_g_per_kwh: Option<f64>,
    pub carbon_file: Option<String>,
}

/// How the site is controlled.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Control {
    #[serde(default)]
    pub mode: StartMode,
    #[serde(default)]
    pub objective: Objective,
    /// With `objective = "weighted"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Length of one control tick on the site's clock, s.
    #[serde(default = "default_tick_s")]
    pub tick_s: u32,
    /// A recommendation or a request not renewed within this time lapses, s.
    #[serde(default = "default_valid_s")]
    pub valid_s: u32,
    /// Name of the identified model under `models/`; none = identify from scratch.
    #[serde(default)]
    pub plant_model: Option<String>,
    /// Name of the load forecast model under `models/`.
    #[serde(default)]
    pub load_model: Option<String>,
    /// Rise of the load, a share, that every limit must bear at any time (0.6 = +60 %, within minutes and up to the racks' rating), beyond
    /// what the load's own history shows. Setpoints cannot follow a step that is steeper than their slew.
    #[serde(default)]
    pub load_step: f64,
    /// In `auto`, move setpoints a little, inside every limit, until the data identify the plant. Where the file does not
    /// say: true where it names no `plant_model`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub learn: Option<bool>,
    /// Time constant with which temperature setpoints follow the plan, s; 0 = as fast as slew allows. Where the file does not say: an hour where
    /// the plant is learnt, else 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settle_s: Option<u32>,
}

/// In two January fortnights of an EnergyPlus plant an hour and three were better than none, and an hour was the steadier; it was then kept for four
/// other weathers and months.
const SETTLE_LEARNT_S: u32 = 3600;

fn default_tick_s() -> u32 {
    300
}
fn default_valid_s() -> u32 {
    1800
}

impl Default for Control {
    fn default() -> Control {
        Control {
            mode: StartMode::Shadow,
            objective: Objective::KwhPerGpuHour,
            weights: None,
            tick_s: default_tick_s(),
            valid_s: default_valid_s(),
            plant_model: None,
            load_model: None,
            load_step: 0.0,
            learn: None,
            settle_s: None,
        }
    }
}

impl Control {
    /// What a unit of energy, cost, emissions and peak counts.
    pub fn weights(&self) -> Weights {
        let none = Weights::default();
        match self.objective {
            Objective::KwhPerGpuHour => Weights { kwh: 1.0, ..none },
            Objective::Eur => Weights { eur: 1.0, ..none },
            Objective::KgCo2 => Weights { kg_co2: 1.0, ..none },
            Objective::PeakKw => Weights { peak_kw: 1.0, kwh: PEAK_TIE, ..none },
            Objective::Weighted => self.weights.unwrap_or(Weights { kwh: 1.0, ..none }),
        }
    }
    pub fn tick(&self) -> Span {
        Span::seconds(i64::from(self.tick_s))
    }
    /// Is the plant learnt while the service runs?
    pub fn learns(&self) -> bool {
        self.learn.unwrap_or(self.plant_model.is_none())
    }
    /// Time constant with which temperature setpoints follow the plan.
    pub fn settle(&self) -> Span {
        let default = if self.learns() { SETTLE_LEARNT_S } else { 0 };
        Span::seconds(i64::from(self.settle_s.unwrap_or(default)))
    }
    pub fn valid(&self) -> Span {
        Span::seconds(i64::from(self.valid_s))
    }
}
