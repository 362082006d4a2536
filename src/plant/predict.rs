//! What a controller asks of a plant model: a rollout over the horizon.
//!
//! All vectors follow the order of the site file: `setpoints` its actuators, `loads_kw` its loops and then the loads that limits have of their own, `limited` its limits.

use crate::signal::weather::Weather;
use crate::time::Span;

/// One step of the future: what we would ask for, and what the world is expected to do.
#[derive(Clone, Debug)]
pub struct StepInput {
    pub span: Span,
    /// Setpoints in force during the step, one per actuator, canonical units.
    pub setpoints: Vec<f64>,
    /// Heat that each loop must carry, then the loads that limits have of their own, kW, at the setpoints in force now.
    pub loads_kw: Vec<f64>,
    pub weather: Weather,
    /// Dew point of the room, °C.
    pub room_dew_point_c: f64,
}

/// Where the plant stands at the start of a rollout.
#[derive(Clone, Debug)]
pub struct PlantState {
    /// Setpoints in force, one per actuator.
    pub in_force: Vec<f64>,
    /// Current value of each limited role; NaN where unknown.
    pub limited: Vec<f64>,
}

/// What a step is expected to bring: means over the step for powers, worst value of the step for limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    pub it_kw: f64,
    pub cooling_kw: f64,
    pub loss_kw: f64,
    /// One standard deviation of the model's error in `it_kw + cooling_kw + loss_kw`.
    pub power_sigma_kw: f64,
    /// Value of each limited role.
    pub limited: Vec<f64>,
    /// One standard deviation of the model's error in each.
    pub limited_sigma: Vec<f64>,
}

impl Outcome {
    /// Empties `out` to `n` outcomes. Their vectors keep their room: a search asks for some hundred rollouts a tick.
    pub fn anew(out: &mut Vec<Outcome>, n: usize) {
        out.resize_with(n, Outcome::default);
        for o in out {
            let (mut limited, mut limited_sigma) = (std::mem::take(&mut o.limited), std::mem::take(&mut o.limited_sigma));
            limited.clear();
            limited_sigma.clear();
            *o = Outcome { limited, limited_sigma, ..Outcome::default() };
        }
    }
    /// Everything the partition's energy account counts, kW.
    pub fn total_kw(&self) -> f64 {
        self.it_kw + self.cooling_kw + self.loss_kw
    }
}

/// How well a model describes its plant (ASHRAE Guideline 14-2014, hourly gates: CV-RMSE ≤ 30 %, NMBE ±10 %).
#[derive(Clone, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Fit {
    /// Coefficient of variation of the RMSE of total cooling power, %.
    pub cv_rmse_pct: f64,
    /// Normalised mean bias error of total cooling power, %.
    pub nmbe_pct: f64,
    /// Rows that the model was fitted on.
    pub rows: usize,
}

impl Fit {
    /// Good enough to control with?
    pub fn usable(&self) -> bool {
        self.rows > 0 && self.cv_rmse_pct <= 30.0 && self.nmbe_pct.abs() <= 10.0
    }
}

/// A plant model that a controller plans on.
pub trait Predict: Send + Sync {
    /// Outcomes of `steps` from `state`, in order, in place of what is in `out`. Never fails: what the model does not know it
    /// returns with a large sigma.
    fn rollout(&self, state: &PlantState, steps: &[StepInput], out: &mut Vec<Outcome>);
    fn fit(&self) -> &Fit;
    /// Name and version for the audit trail, e.g. `bsc-hq-plant/1`.
    fn name(&self) -> &str;
}
