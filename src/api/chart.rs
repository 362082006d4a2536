//! The charts of one site in one answer: arrays over one shared time grid.
//!
//! Invariants: every array of a chart is as long as [`Overview::at`] (a forecast's as its own `at`); a step without a
//! value is null; units are canonical (°C, kW, kPa) and named.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Values over the shared grid.
pub type Line = Vec<Option<f64>>;

/// A forecast with its band.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Band {
    pub made_at: i64,
    pub model: String,
    /// Why a naive model was used; null where the trained one was.
    pub fallback: Option<String>,
    /// Instants that the forecast is for, epoch ms, ascending.
    pub at: Vec<i64>,
    pub p10: Vec<f64>,
    pub p50: Vec<f64>,
    pub p90: Vec<f64>,
}

/// One coolant loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoopChart {
    pub id: String,
    pub name: String,
    pub supply_c: Line,
    pub return_c: Line,
    /// Heat that the loop carries, kW.
    pub load_kw: Line,
    pub forecast: Option<Band>,
}

/// A limited value with its limits, which may move (dew point + 2 K).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LimitChart {
    pub id: String,
    pub name: String,
    pub unit: String,
    /// The loop in whose chart the limit is drawn, where it limits that loop's supply; null elsewhere.
    #[serde(rename = "loop")]
    pub loop_id: Option<String>,
    pub value: Line,
    /// Empty where there is no such bound; else one per step.
    pub max: Line,
    pub min: Line,
    pub source: String,
}

/// A setpoint: asked, in force, and the quantity that it steers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ActuatorChart {
    pub id: String,
    pub name: String,
    #[serde(rename = "loop")]
    pub loop_id: String,
    pub unit: String,
    pub lo: f64,
    pub hi: f64,
    /// The operators' fixed setpoint.
    pub default: f64,
    pub asked: Line,
    pub in_force: Line,
    /// Empty where nothing measures it.
    pub measured: Line,
    /// Value that an operator pinned it to.
    pub pinned: Option<f64>,
}

/// Everything the page draws of one site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Overview {
    pub site: String,
    /// The site's clock, epoch ms.
    pub now: Option<i64>,
    pub step_s: u32,
    /// End of each step, epoch ms, ascending.
    pub at: Vec<i64>,
    pub it_kw: Line,
    pub cooling_kw: Line,
    pub loss_kw: Line,
    /// Cooling power with the operators' fixed setpoints; empty where no baseline is known.
    pub baseline_cooling_kw: Line,
    pub kwh_per_gpu_hour: Line,
    /// Heat of the whole site, kW, and its forecast (sum over the loops that take heat from racks).
    pub load_kw: Line,
    pub forecast: Option<Band>,
    pub loops: Vec<LoopChart>,
    pub limits: Vec<LimitChart>,
    pub actuators: Vec<ActuatorChart>,
}
