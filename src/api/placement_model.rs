//! View models of placement: hints, a job asked for and its answer, what a scheduler tells us.
//!
//! Invariants: as in [`super::model`]; `version` is [`HINTS_VERSION`] and grows only when a field goes or changes its
//! meaning; new fields may come at any time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A whole number of GPUs, also where it is written with a point: to JSON `4.0` is an integer.
fn whole<'de, D: serde::Deserializer<'de>>(d: D) -> Result<u32, D::Error> {
    let n = f64::deserialize(d)?;
    let fits = n.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&n);
    if fits { Ok(n as u32) } else { Err(serde::de::Error::custom(format!("{n} is no whole number of GPUs"))) }
}

/// Version of the hints and of ranks.
pub const HINTS_VERSION: u32 = 1;

/// One rack in a placement hint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Hint {
    /// 1 = best of its partition.
    pub rank: u32,
    pub partition: String,
    pub rack: String,
    /// Classes of jobs that its partition takes, separated by a comma and a blank.
    pub job_class: String,
    /// Nodes of the rack, as the scheduler names them. The rack's figures hold for each of them.
    pub nodes: Vec<String>,
    /// Racks inside which a training job should stay.
    pub domain: String,
    pub gpus: u32,
    /// GPUs of the rack that no job holds; reckoned from its power where no scheduler tells (`gpus_free_estimated`).
    pub gpus_free: Option<u32>,
    pub gpus_free_estimated: bool,
    /// Energy that one more GPU-hour costs here now, kWh: IT, cooling and losses.
    pub marginal_kwh_per_gpu_hour: f64,
    /// Standard deviation of that over the next hours, between sites; where setpoints follow the load it is all that is not IT.
    pub marginal_sigma: Option<f64>,
    /// The same in each slot of `ahead`.
    pub marginal_ahead: Vec<f64>,
    /// Power that may be added here now, kW, under the rack's rating, every cap and what can be cooled; and what ends it.
    pub power_headroom_kw: Option<f64>,
    pub power_headroom_by: String,
    /// Coolant return to its limit, K.
    pub thermal_headroom_k: Option<f64>,
    /// 1 = best, 2 = dearer by 0.3 %, 3 = by 1 %, 4 = by 3 % or its cooling is strained, 5 = no room.
    pub band: u8,
    pub reasons: Vec<String>,
    /// `reasons` in one sentence.
    pub reason: String,
}

/// One slot of the hours ahead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HintSlot {
    pub at: i64,
    /// Expected IT load without new jobs, kW.
    pub load_kw: f64,
    /// What one more kW of load costs in all, kW.
    pub marginal_kw_per_kw: f64,
    /// Total energy over allocated GPU-hours, kWh; null where nobody tells how many GPUs are allocated.
    pub average_kwh_per_gpu_hour: Option<f64>,
    /// Load that can still be cooled inside every limit, kW, above the p90 load; null where no limit is near.
    pub cooling_headroom_kw: Option<f64>,
    /// The limit that ends it.
    pub cooling_limit: String,
    /// Is that headroom only there with setpoints other than those in force?
    pub needs_other_setpoints: bool,
}

/// A partition in a placement hint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HintPartition {
    pub partition: String,
    /// Its name in Slurm or Kubernetes.
    pub scheduler_name: String,
    pub job_classes: Vec<String>,
    pub racks: u32,
    pub gpus: u32,
    pub gpus_free: u32,
    /// Of its best rack with room; null where none has any.
    pub marginal_kwh_per_gpu_hour: Option<f64>,
    /// Sum over racks with room, kW.
    pub power_headroom_kw: f64,
}

/// A power cap in a placement hint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct HintCap {
    pub name: String,
    /// Load that may be added under it now, kW; negative = too much already, null = it bounds nothing now.
    pub headroom_kw: Option<f64>,
}

/// One act that would take load off before a limit is reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ShedAct {
    /// `delay` (a job that waits), `move` (a job to another site) or `cap` (a rack's power).
    pub kind: String,
    pub target: String,
    pub effect_kw: f64,
    /// With the acts before it, kW.
    pub sum_kw: f64,
    /// Is the breach averted with the acts up to this one?
    pub enough: bool,
    pub cost: String,
}

/// A limit that will be passed and cannot be cooled away, and what to do before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct ShedHint {
    /// The limit or cap.
    pub limit: String,
    /// When it is reached, epoch ms.
    pub at: i64,
    /// Load that must go by then, kW.
    pub needed_kw: f64,
    /// Ranked: what loses no work first.
    pub acts: Vec<ShedAct>,
}

/// A site's placement hints with their time limit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct Hints {
    pub version: u32,
    pub site: String,
    pub made_at: i64,
    /// Past this instant on the site's clock the hints are not served.
    pub valid_until: i64,
    /// The site's clock when asked, epoch ms.
    pub now: i64,
    /// Changes when racks, nodes, caps or domains do.
    pub topology: String,
    /// Plant model that speaks.
    pub model: String,
    pub ahead: Vec<HintSlot>,
    pub partitions: Vec<HintPartition>,
    pub caps: Vec<HintCap>,
    pub racks: Vec<Hint>,
    pub shed: Vec<ShedHint>,
}

/// A job to rank places for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RankJob {
    /// Yours, to find the answer by; `job 1`, `job 2`, … where absent.
    #[serde(default)]
    pub id: Option<String>,
    /// GPUs in all; or `nodes` and `gpus_per_node`.
    #[serde(default)]
    pub gpus: Option<f64>,
    #[serde(default)]
    pub nodes: Option<f64>,
    #[serde(default)]
    pub gpus_per_node: Option<f64>,
    /// Expected power of one GPU with its share of the node, kW; the partition's typical one where absent.
    #[serde(default)]
    pub kw_per_gpu: Option<f64>,
    /// Expected power of the whole job, kW, at equal steps over its life; its highest value is what must fit and be paid.
    #[serde(default)]
    pub profile_kw: Vec<f64>,
    pub duration_h: f64,
    /// Earliest and latest start, h from now; 0 and `earliest_h` where absent.
    #[serde(default)]
    pub earliest_h: Option<f64>,
    #[serde(default)]
    pub latest_h: Option<f64>,
    /// Partitions by id or scheduler name; any where empty.
    #[serde(default)]
    pub partitions: Vec<String>,
    /// `training` or `inference`; any where absent.
    #[serde(default)]
    pub job_class: Option<String>,
    /// Must all GPUs stay inside one NVLink or leaf domain? Where absent: training jobs that fit into one.
    #[serde(default)]
    pub one_domain: Option<bool>,
    /// Where it would run, from `earliest_h` on, without a hint: it stays there, as the first of its places, unless another is
    /// cheaper by more than can be told from none, or this one has no room.
    #[serde(default)]
    pub own_place: Option<OwnPlace>,
}

/// Where a scheduler would put a job by itself.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OwnPlace {
    pub site: String,
    /// All of its GPUs.
    pub racks: Vec<RankRack>,
}

/// Jobs to place together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RankAsk {
    /// Only this site; all with fresh hints where absent.
    #[serde(default)]
    pub site: Option<String>,
    /// 1–10,000 jobs, placed together: none takes another's room.
    pub jobs: Vec<RankJob>,
    /// `topology` of the hints that the request rests on: refused (409) where the site's has changed since. Needs `site`.
    #[serde(default)]
    pub topology: Option<String>,
}

/// GPUs of a job on one rack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RankRack {
    pub rack: String,
    pub gpus: u32,
}

/// One place for a job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RankPlace {
    pub site: String,
    pub partition: String,
    pub racks: Vec<RankRack>,
    /// Epoch ms.
    pub start_at: i64,
    pub end_at: i64,
    /// Energy that the job adds over its whole life, kWh: IT, cooling and losses.
    pub kwh: f64,
    pub kwh_per_gpu_hour: f64,
    /// A difference to another site's place below this, kWh, cannot be told from none; null where nothing can.
    pub doubt_kwh: Option<f64>,
    /// Null where the site file names no price or carbon.
    pub eur: Option<f64>,
    pub g_co2: Option<f64>,
    /// The rating, cap or limit with the least room left while it runs there, and that room, kW.
    pub binds: String,
    pub binds_headroom_kw: Option<f64>,
    /// Does it rest on free GPUs that were only reckoned from power?
    pub gpus_free_estimated: bool,
}

/// The answer for one job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RankedJob {
    pub id: String,
    /// Best first; with more than 50 jobs only the best; empty where there is none.
    pub places: Vec<RankPlace>,
    /// Why there is none, or what was cut.
    pub notes: Vec<String>,
}

/// Ranked places.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RankAnswer {
    pub version: u32,
    /// Sites whose fresh hints this rests on, each with the end of their validity.
    pub sites: Vec<RankSite>,
    /// Sites left out, and why.
    pub left_out: Vec<String>,
    pub jobs: Vec<RankedJob>,
}

/// A site that a rank rests on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RankSite {
    pub site: String,
    pub topology: String,
    pub now: i64,
    pub valid_until: i64,
}

/// GPUs that no job holds, as the scheduler says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeOccupancy {
    pub node: String,
    #[serde(deserialize_with = "whole")]
    pub gpus_free: u32,
}

/// A job as the scheduler knows it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct JobOccupancy {
    pub id: String,
    #[serde(default)]
    pub nodes: Vec<String>,
    #[serde(deserialize_with = "whole")]
    pub gpus: u32,
    /// Waits for resources (else it runs).
    #[serde(default)]
    pub waits: bool,
    /// How much later it may start, h; 0 = not known.
    #[serde(default)]
    pub slack_h: f64,
}

/// What a scheduler tells: believed for ten minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Occupancy {
    pub site: String,
    /// Who tells (`slurm`).
    pub source: String,
    pub nodes: Vec<NodeOccupancy>,
    #[serde(default)]
    pub jobs: Vec<JobOccupancy>,
}
