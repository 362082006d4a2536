//! `twin.toml`: every physical parameter of a simulated plant.

use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// A refused twin file.
#[derive(Debug, thiserror::Error)]
pub enum TwinSpecError {
    #[error("{}: cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, why: std::io::Error },
    #[error("{}, line {line}: {why}", path.display())]
    Syntax { path: PathBuf, line: usize, why: String },
    #[error("{}: {why}", path.display())]
    Meaning { path: PathBuf, why: String },
}

/// A coolant distribution unit: a counterflow exchanger and the pumps of its racks.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CduSpec {
    pub id: String,
    /// Clean heat transfer at design flows, kW/K.
    pub ua_kw_per_k: f64,
    /// Fouling, share of the clean UA that is lost (0 = clean).
    pub fouling: f64,
    /// Design flow of the TCS side, L/min; the FWS side has the same.
    pub design_flow_lpm: f64,
    /// Pump power at design flow, kW.
    pub pump_kw: f64,
}

/// Racks that are alike.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RackGroup {
    pub prefix: String,
    pub count: u32,
    pub gpus: u32,
    pub rating_kw: f64,
    /// Power with idle GPUs, kW.
    pub idle_kw: f64,
    /// Share of the heat that leaves in the liquid; the rest goes through the rear door.
    pub liquid_share: f64,
    /// Chip above coolant at rating and design flow, K.
    pub chip_rise_k: f64,
    /// Temperature sensors on trays, per rack.
    pub trays: u32,
    /// CDUs that the racks hang on, filled in turn.
    pub cdus: Vec<String>,
}

/// How facility water gives its heat to the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RejectionKind {
    DryCooler,
    Tower,
}

/// Dry cooler (with adiabatic pads) or tower, and the chiller that trims behind it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RejectionSpec {
    pub kind: RejectionKind,
    /// Heat transfer to air at full fan and design water flow, kW/K.
    pub ua_kw_per_k: f64,
    /// Heat capacity flow of the air at full fan, kW/K.
    pub air_kw_per_k: f64,
    /// Fan power at full speed, kW.
    pub fan_kw: f64,
    /// Effect of the adiabatic pads (0 = none), and the dry bulb above which they run, °C.
    pub adiabatic_effect: f64,
    pub adiabatic_above_c: f64,
    /// Chiller: cooling capacity kW; share of Carnot that it reaches; condenser above outdoor air, K; least load share.
    pub chiller_kw: f64,
    pub chiller_carnot: f64,
    pub condenser_approach_k: f64,
    pub chiller_least_load: f64,
    /// Loop volume L, design flow L/min, pump power at design flow kW, static head share.
    pub volume_l: f64,
    pub design_flow_lpm: f64,
    pub pump_kw: f64,
    pub static_head: f64,
}

/// The cold loop behind the rear doors.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColdSpec {
    /// Rear doors, kW per K between room air and water at full flow.
    pub door_kw_per_k: f64,
    /// Room air that the doors hold, °C.
    pub air_c: f64,
    pub rejection: RejectionSpec,
}

/// A setpoint with the guardrails that the building management system holds.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActuatorSpec {
    pub id: String,
    pub name: String,
    pub unit: String,
    pub lo: f64,
    pub hi: f64,
    pub default: f64,
    pub slew_per_min: f64,
    pub slew_per_10min: f64,
    pub process_area: Vec<String>,
}

/// A limit that the account judges on true values.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitSpec {
    pub id: String,
    /// `gpu`, `fws_supply`, `tcs_supply_over_dew_point`, `cold_supply_over_dew_point`, `room_air`, `tcs_return`, `tcs_flow`.
    pub of: String,
    #[serde(default)]
    pub max: Option<f64>,
    #[serde(default)]
    pub min: Option<f64>,
}

/// A simulated plant, whole.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TwinSpec {
    pub format: u32,
    /// Site id: the first part of every tag path.
    pub site: String,
    pub partition: String,
    /// `training` or `inference`.
    pub job_class: crate::signal::jobs::JobClass,
    pub step_s: u32,
    /// Share of GPU power that leaks more per K of chip temperature, around 50 °C.
    pub leak_per_k: f64,
    /// Losses of UPS and PDU: fixed kW, and share of IT power.
    pub loss_fixed_kw: f64,
    pub loss_share: f64,
    /// Static head share of the TCS pumps.
    pub tcs_static_head: f64,
    /// Water in each TCS loop, L per CDU.
    pub tcs_volume_l: f64,
    /// Transport delay between plant and hall at design flow, s.
    pub transport_s: f64,
    /// Highest dew point that the room's dehumidification lets through, °C.
    pub room_dew_point_max_c: f64,
    /// Scale of sensor noise (1 = as the point says) and share of readings that drop out.
    pub noise: f64,
    pub dropout: f64,
    #[serde(rename = "cdu")]
    pub cdus: Vec<CduSpec>,
    #[serde(rename = "racks")]
    pub rack_groups: Vec<RackGroup>,
    pub fws: RejectionSpec,
    pub cold: ColdSpec,
    #[serde(rename = "actuator")]
    pub actuators: Vec<ActuatorSpec>,
    #[serde(rename = "limit")]
    pub limits: Vec<LimitSpec>,
    /// Temperature sensors added to reach a wished number of points (`--points`); not in the file.
    #[serde(skip)]
    pub extra_points: u32,
    /// Tray sensors left out to reach a smaller number of points (`--points`); not in the file.
    #[serde(skip)]
    pub trim_points: u32,
}

/// What a limit of the twin may be of.
pub const JUDGED: [&str; 7] =
    ["gpu", "fws_supply", "tcs_supply_over_dew_point", "cold_supply_over_dew_point", "room_air", "tcs_return", "tcs_flow"];
/// Most CDUs of a hall.
pub const CDUS_MAX: usize = 32;

impl TwinSpec {
    pub fn load(path: &Path) -> Result<TwinSpec, TwinSpecError> {
        let text = std::fs::read_to_string(path).map_err(|why| TwinSpecError::Unreadable { path: path.into(), why })?;
        let spec: TwinSpec = toml::from_str(&text).map_err(|e| TwinSpecError::Syntax {
            path: path.into(),
            line: e.span().map_or(1, |s| 1 + text[..s.start.min(text.len())].matches('\n').count()),
            why: e.message().to_owned(),
        })?;
        let fail = |why: String| Err(TwinSpecError::Meaning { path: path.into(), why });
        if spec.format != 1 {
            return fail(format!("format = {}; this program reads format 1", spec.format));
        }
        let order: Vec<&str> = spec.actuators.iter().map(|a| a.id.as_str()).collect();
        if order != ["tcs-supply", "tcs-flow", "fws-supply", "cold-supply"] {
            return fail(format!("the actuators are {order:?}; the twin has tcs-supply, tcs-flow, fws-supply, cold-supply, in this order"));
        }
        for g in &spec.rack_groups {
            if g.cdus.is_empty() || g.count == 0 {
                return fail(format!("racks {:?} need a count and at least one CDU", g.prefix));
            }
            if let Some(c) = g.cdus.iter().find(|c| !spec.cdus.iter().any(|x| x.id == **c)) {
                return fail(format!("racks {:?} hang on CDU {c:?}, which is not there", g.prefix));
            }
        }
        if spec.cdus.is_empty() || spec.cdus.len() > CDUS_MAX {
            return fail(format!("{} CDUs; 1 to {CDUS_MAX}", spec.cdus.len()));
        }
        // A limit of a name that nobody judges would be kept whatever happens.
        if let Some(l) = spec.limits.iter().find(|l| !JUDGED.contains(&l.of.as_str())) {
            return fail(format!("limit {:?}: of = {:?} is not judged; one of {}", l.id, l.of, JUDGED.join(", ")));
        }
        if spec.step_s == 0 || spec.step_s > 60 {
            return fail(format!("step_s = {}; 1 to 60 s", spec.step_s));
        }
        Ok(spec)
    }

    pub fn racks(&self) -> usize {
        self.rack_groups.iter().map(|g| g.count as usize).sum()
    }
    pub fn gpus(&self) -> u32 {
        self.rack_groups.iter().map(|g| g.count * g.gpus).sum()
    }
    pub fn rating_kw(&self) -> f64 {
        self.rack_groups.iter().map(|g| f64::from(g.count) * g.rating_kw).sum()
    }
}
