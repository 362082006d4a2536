//! The immutable record of one decision: what, why, why not, on which inputs, with what expectation.

use crate::site::Objective;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One setpoint to move or to keep.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// Identifier and name in the site file.
    pub actuator: String,
    pub name: String,
    pub unit: String,
    /// The setpoint in force.
    pub from: f64,
    /// What to ask for now (within the slew limits).
    pub asked: f64,
    /// Where the plan is heading within the horizon.
    pub target: f64,
    pub reason: String,
}

/// A move that the checker did not let through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Withheld {
    pub actuator: String,
    pub asked: f64,
    pub reason: String,
}

/// The limit that the plan comes closest to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Binding {
    pub limit: String,
    pub name: String,
    /// Distance to the limit itself at the p90 load, in the limit's unit (a surprise is deducted, the model's error is not).
    pub margin: f64,
    /// Its unit: of a temperature kelvins.
    #[serde(default)]
    pub unit: String,
}

/// What the plan is expected to bring over its horizon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Expects {
    pub horizon_h: f64,
    /// Energy expected under the plan.
    pub plan_kwh: f64,
    /// Energy saved against the operators' fixed setpoints, and against holding those in force.
    pub saves_vs_fixed_kwh: f64,
    pub saves_vs_hold_kwh: f64,
    /// Half width of the interval of both (about 90 %), from the model's stated error.
    pub plus_minus_kwh: f64,
    pub kwh_per_gpu_hour: Option<f64>,
    pub binding: Option<Binding>,
    /// False where no plan keeps every limit with its margin: the plan then goes the least violating way.
    pub feasible: bool,
    /// What was minimised.
    #[serde(default)]
    pub objective: Objective,
    /// Saved against the fixed setpoints, where the site's tariffs say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saves_vs_fixed_eur: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub saves_vs_fixed_kg_co2: Option<f64>,
    /// Highest mean power of a step, under the plan and at the fixed setpoints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_kw: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peak_fixed_kw: Option<f64>,
}

/// A recommendation; never changed once made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    pub id: String,
    pub parent: Option<String>,
    pub site: String,
    pub made_at: Timestamp,
    pub valid_until: Timestamp,
    /// Name of the mode in which it was made.
    pub mode: String,
    pub inputs_digest: String,
    /// The plant model, then the load models in the order of the loops.
    pub models: Vec<String>,
    pub items: Vec<Item>,
    pub withheld: Vec<Withheld>,
    pub expects: Expects,
    pub explanation: String,
}

impl Recommendation {
    /// Sets `id` from the contents: the same decision on the same inputs has the same identifier.
    pub fn sealed(mut self) -> Recommendation {
        self.id.clear();
        let bytes = serde_json::to_vec(&self).unwrap_or_default();
        self.id = blake3::hash(&bytes).to_hex()[..24].to_string();
        self
    }

    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.made_at <= now && now < self.valid_until
    }
}
