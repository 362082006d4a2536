//! View models: plain structs for the wire.
//!
//! Invariants: instants are epoch milliseconds (`at`, `*_at`, `*_until`) on the clock of the site that they belong to;
//! a number whose unit is not in its name has a `unit` beside it; what is unknown is `null`, never zero.

pub use super::placement_model::*;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How grave an alarm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Worth knowing.
    Notice,
    /// Needs a look today.
    Warning,
    /// Needs somebody now.
    Critical,
}

/// One thing that is wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Alarm {
    pub id: String,
    pub severity: Severity,
    /// Since when, epoch ms; null where nothing tells when it began.
    pub since: Option<i64>,
    pub text: String,
    /// What an operator can do.
    pub action: String,
    /// Who has seen it.
    #[serde(default)]
    pub acknowledged_by: Option<String>,
}

/// An alarm that was raised, cleared or acknowledged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AlarmEvent {
    pub site: String,
    /// On this host's clock, epoch ms.
    pub host_at: i64,
    /// `raised`, `cleared` or `acknowledged`.
    pub state: String,
    pub alarm: Alarm,
}

/// State of a site's connection to its broker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Link {
    /// `up`, `connecting` or `down`.
    pub state: String,
    pub why: String,
    /// Since when on this host's clock, epoch ms.
    pub since: Option<i64>,
}

/// A site at this moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteStatus {
    pub id: String,
    pub name: String,
    /// What the site file claims to be.
    pub label: String,
    pub time_zone: String,
    /// `warming`, `learning`, `shadow`, `advise`, `auto`, `guarded` or `fail-safe`.
    pub mode: String,
    pub mode_why: String,
    /// Several services share the plant and another one is in charge: what this one says of that; null where it is in charge itself.
    pub stands_by: Option<String>,
    /// Who holds the setpoints and why; null where nobody does.
    pub held: Option<String>,
    /// What may be done with each loop.
    pub loops: Vec<LoopMode>,
    /// The site's clock, epoch ms; null before the first heartbeat.
    pub clock: Option<i64>,
    /// Host time since the clock last moved, s.
    pub clock_age_s: Option<f64>,
    pub link: Link,
    /// The broker's address without a password.
    pub broker: String,
    pub points: u64,
    pub readings_in: u64,
    pub readings_refused: u64,
    pub it_kw: Option<f64>,
    pub cooling_kw: Option<f64>,
    pub loss_kw: Option<f64>,
    pub pue_now: Option<f64>,
    pub gpus_allocated: Option<f64>,
    pub kwh_per_gpu_hour_now: Option<f64>,
    pub kwh_per_gpu_hour_today: Option<f64>,
    /// The same with the operators' fixed setpoints; null where no baseline is known.
    pub baseline_kwh_per_gpu_hour_today: Option<f64>,
    pub baseline_cooling_kw: Option<f64>,
    /// Where the baseline comes from (twin run with the same seed, model, measured reference day); empty without one.
    pub baseline_about: String,
    /// The recommendation in force or waiting, if any.
    pub recommendation: Option<String>,
    pub alarms: Vec<Alarm>,
}

/// One loop's leave to act.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LoopMode {
    pub id: String,
    pub name: String,
    /// `shadow`, `advise` or `auto`: what the operators let us do with it, at most what they let us do with the site.
    pub mode: String,
    /// Who holds its setpoints and why; null where nobody does.
    pub held: Option<String>,
}

/// One point with its newest value.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PointRow {
    pub site: String,
    /// Number of the point in its site's catalogue.
    pub id: u32,
    pub path: String,
    pub object_type: String,
    pub point_type: String,
    pub process_area: Vec<String>,
    /// What is measured (`temperature`, `power`, …).
    pub kind: String,
    /// Canonical unit of `last_value` and of the series.
    pub unit: String,
    /// Unit as published.
    pub eng_unit: String,
    pub object_name: String,
    pub object_id: String,
    pub serves_id: Vec<String>,
    pub is_setpoint: bool,
    pub integration: String,
    pub last_value: Option<f64>,
    /// Source timestamp of the newest value, epoch ms.
    pub last_at: Option<i64>,
    /// Age of the newest value on the site's clock, s.
    pub age_s: Option<f64>,
    /// `good`, or the marks; empty before the first value.
    pub quality: String,
    /// Text of the state that `last_value` stands for, for enumerated points.
    pub state_text: String,
}

/// A page of points.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PointPage {
    pub points: Vec<PointRow>,
    /// Points that match in all.
    pub total: usize,
    /// Pass as `cursor` for the next page; null on the last.
    pub next: Option<String>,
}

/// One bucket of a point's history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesRow {
    /// Start of the bucket, epoch ms.
    pub at: i64,
    pub mean: Option<f64>,
    pub min: Option<f64>,
    pub max: Option<f64>,
    pub count: u64,
    /// Union of the marks in the bucket: `good`, or their names.
    pub quality: String,
}

/// A point's history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Series {
    pub site: String,
    pub point: u32,
    pub path: String,
    pub unit: String,
    pub from: i64,
    pub to: i64,
    pub step_s: f64,
    pub rows: Vec<SeriesRow>,
}

/// Expected load of one loop at one time ahead.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForecastRow {
    pub site: String,
    #[serde(rename = "loop")]
    pub loop_id: String,
    pub made_at: i64,
    /// Time ahead of `made_at`, s.
    pub ahead_s: u32,
    /// Instant that the forecast is for, epoch ms.
    pub at: i64,
    pub p10_kw: f64,
    pub p50_kw: f64,
    pub p90_kw: f64,
    pub model: String,
    /// Why a naive model was used; null where the trained one was.
    pub fallback: Option<String>,
}

/// One recommended setpoint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Item {
    pub actuator: String,
    pub name: String,
    pub unit: String,
    /// In force when the recommendation was made.
    pub from: f64,
    /// Asked now (one slew-limited step).
    pub asked: f64,
    /// Where the plan goes.
    pub target: f64,
    pub reason: String,
}

/// A setpoint that the plan wanted and the checker withheld.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WithheldItem {
    pub actuator: String,
    pub name: String,
    pub unit: String,
    pub asked: f64,
    pub reason: String,
}

/// What a recommendation is expected to bring over its horizon.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Expectation {
    pub horizon_h: f64,
    /// Energy under the plan, kWh.
    pub plan_kwh: f64,
    /// Energy saved against the operators' fixed setpoints, kWh; negative = costs.
    pub saves_vs_fixed_kwh: f64,
    /// Energy saved against holding the setpoints in force, kWh; negative = costs.
    pub saves_vs_hold_kwh: f64,
    /// Half width of the interval of both (about 90 %), kWh.
    pub plus_minus_kwh: f64,
    pub kwh_per_gpu_hour: Option<f64>,
    /// Least distance to a limit over the horizon, in that limit's unit.
    pub least_margin: Option<f64>,
    /// Its unit.
    pub least_margin_unit: String,
    /// Name of that limit; empty where none is near.
    pub least_margin_limit: String,
    /// False where no plan keeps every limit with its margin.
    pub feasible: bool,
    /// What is minimised: `kwh_per_gpu_hour`, `eur`, `kg_co2`, `peak_kw` or `weighted`.
    pub objective: String,
    /// Saved against the operators' fixed setpoints, €; null where no price is known.
    pub saves_vs_fixed_eur: Option<f64>,
    /// Saved against the operators' fixed setpoints, kg CO2; null where no intensity is known.
    pub saves_vs_fixed_kg_co2: Option<f64>,
    /// Highest mean power of a step under the plan, kW.
    pub peak_kw: Option<f64>,
}

/// An immutable recommendation.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Recommendation {
    pub id: String,
    pub site: String,
    pub parent: Option<String>,
    pub made_at: i64,
    pub valid_until: i64,
    pub mode: String,
    /// `waiting`, `approved`, `published`, `lapsed`, `superseded` or `recorded` (shadow).
    pub state: String,
    /// May an operator approve it now?
    pub can_approve: bool,
    pub items: Vec<Item>,
    pub withheld: Vec<WithheldItem>,
    pub expects: Expectation,
    pub explanation: String,
    /// Digest of the inputs.
    pub inputs: String,
    pub approved_by: Option<String>,
}

/// One act of an operator, as it is filed: a link of a chain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditEntry {
    /// Number in the site's chain, from 1.
    pub seq: u64,
    /// On this host's clock, epoch ms.
    pub host_at: i64,
    /// On the site's clock, epoch ms.
    pub at: i64,
    pub site: String,
    pub who: String,
    #[serde(default)]
    pub why: String,
    /// What was ordered.
    pub act: serde_json::Value,
    /// BLAKE3 of the entry before (64 hex digits; zeros before the first), and of this one with it.
    pub prev: String,
    pub hash: String,
}

/// Who acts and why: kept in the audit trail. `who` may be absent where a token names the caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Act {
    #[serde(default)]
    pub who: String,
    #[serde(default)]
    pub why: String,
}

/// A change of mode.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModeAct {
    /// `shadow`, `advise` or `auto`; or `leave`: hand back to the operators' setpoints at once and stay in `shadow`.
    /// The other modes are entered by the controller alone. With `loop` also `site`: as the site does.
    pub mode: String,
    /// Only this loop (identifier in the site file): it then does at most that much, and never more than its site.
    #[serde(default, rename = "loop")]
    pub loop_id: Option<String>,
    #[serde(default)]
    pub who: String,
    #[serde(default)]
    pub why: String,
}

/// Keeps the setpoints as they are, or lets go.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldAct {
    /// True holds until released; false releases.
    pub hold: bool,
    /// Only this loop (identifier in the site file).
    #[serde(default, rename = "loop")]
    pub loop_id: Option<String>,
    #[serde(default)]
    pub who: String,
    #[serde(default)]
    pub why: String,
}

/// Pins one actuator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinAct {
    pub actuator: String,
    /// Value in the actuator's unit; null releases the pin.
    pub value: Option<f64>,
    #[serde(default)]
    pub who: String,
    #[serde(default)]
    pub why: String,
}

/// What an act brought about.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Done {
    /// One sentence for the operator.
    pub text: String,
}

/// One line of the energy account.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Kpi {
    pub site: String,
    /// `today`, `yesterday`, `since_start`, ….
    pub period: String,
    pub from: i64,
    pub to: i64,
    pub it_kwh: f64,
    pub cooling_kwh: f64,
    pub loss_kwh: f64,
    pub gpu_hours: f64,
    /// Over the time in which the allocated GPUs are known.
    pub kwh_per_gpu_hour: Option<f64>,
    pub pue: Option<f64>,
    /// Share of the period that is covered by measured values, 0–1.
    pub coverage: f64,
    /// What the figures count, in words.
    pub definition: String,
}

/// One line of the ledger: what a recommendation was expected to save and what it did.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LedgerLine {
    pub recommendation: String,
    pub made_at: i64,
    /// Hours that are charged to it: until the next one replaced it.
    pub hours: f64,
    /// Against the operators' fixed setpoints.
    pub predicted_kwh: f64,
    pub plus_minus_kwh: f64,
    /// Baseline by the plant model less what the meters say; absent where nobody applied it or a meter was silent.
    pub realised_kwh: Option<f64>,
    /// Expected and not saved, because nobody applied it.
    pub forgone_kwh: f64,
    /// `controller` in auto and while learning, the operator who approved in advise; absent where nobody applied it.
    pub applied_by: Option<String>,
    pub applied_at: Option<i64>,
}

/// The ledger of one site: lines, newest first, and their sums.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Ledger {
    pub site: String,
    pub lines: Vec<LedgerLine>,
    /// Lines that are closed: applied and measured. The two sums below are theirs.
    pub closed: usize,
    pub predicted_kwh: f64,
    pub realised_kwh: f64,
    /// Of all lines.
    pub forgone_kwh: f64,
}

/// Alive is this answer; ready is whether the service can do its work.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Health {
    pub alive: bool,
    pub ready: bool,
    /// What keeps it from being ready.
    pub why_not: Vec<String>,
    /// How the InfluxDB mirror stands; null without one. A mirror that waits keeps nothing else from its work.
    pub mirror: Option<MirrorHealth>,
    pub version: String,
}

/// The mirror of the readings in InfluxDB 2.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MirrorHealth {
    /// Address, organisation and bucket.
    pub target: String,
    /// `idle` (nothing has been sent yet), `up`, `waiting` (it is tried again by itself) or `refused` (token, bucket or address must be mended).
    pub state: String,
    /// Why it is not up, with the server's own words.
    pub why: String,
    /// Since when on this host's clock, epoch ms.
    pub since: Option<i64>,
    /// Host time of the newest readings written, epoch ms.
    pub written_at: Option<i64>,
    /// Readings written since the start.
    pub written: u64,
    /// Bytes that wait on this host's disk.
    pub waiting_bytes: u64,
    /// Readings that the server refused for good, and why the newest of them; the embedded store has them.
    pub refused: u64,
    pub refused_why: String,
    /// Readings left out because the queue was full; the embedded store has them.
    pub dropped: u64,
}

/// One refused message.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Refusal {
    pub site: String,
    /// Arrival, epoch ms.
    pub at: i64,
    pub format: String,
    pub reason: String,
    pub topic: String,
    pub detail: String,
    /// Beginning of the payload, as text.
    pub sample: String,
}

/// A gauge of this moment. `name` follows OpenMetrics (`tramuntana_link_up`).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gauge {
    pub name: &'static str,
    pub help: &'static str,
    /// Label name and value pairs (`site`, `bsc-hq`).
    pub labels: Vec<(&'static str, String)>,
    pub value: f64,
}
