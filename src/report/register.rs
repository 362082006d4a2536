//! `sensors/<site>/report.toml`: the dated meter register, the answers that no meter feeds, the series that the site brings.
//!
//! Words: a meter's *role* says on which side of which boundary it stands; its *devices* are what hung there, one after the
//! other, each with accuracy class, calibration and registers; an *answer* is a field of a pack by its key.
//! Invariants: unknown keys are refused with their line; an answer that is not there is missing, never guessed; a meter of
//! the site file is in the register with or without an entry here.

use super::account::{GAP_AFTER, Nature};
use crate::site::{MeterBoundary, Selector, SiteFile};
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The version of the format that this program reads.
pub const FORMAT: u32 = 1;

/// A refused report file.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    #[error("{}: cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, why: std::io::Error },
    #[error("{}, line {line}: {why}", path.display())]
    Syntax { path: PathBuf, line: usize, why: String },
    #[error("{}: {what}: {why}", path.display())]
    Meaning { path: PathBuf, what: String, why: String },
}

/// Where a meter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeterRole {
    /// All electricity from outside, before the transfer switchgear. Without one, E_DC is the sum of what is behind it.
    Supply,
    /// Back-up generators.
    Generator,
    /// IT energy at the UPS outputs (PUE category 1), the PDU outputs (2), the IT equipment's inputs (3).
    UpsOut,
    PduOut,
    ItIn,
    /// Processors, memory, storage and network proper, inside the IT equipment (for ITUE).
    Compute,
    Cooling,
    Loss,
    /// Lighting, offices and what else is behind the supply.
    Other,
    /// Heat handed to others, kWh.
    ReuseHeat,
    /// Heat that the cooling took away, kWh (for CER).
    HeatRemoved,
    /// Electricity made on site from renewable sources and used here.
    Renewable,
    /// Water, m³; potable water is part of it.
    WaterIn,
    WaterPotable,
    /// Temperatures, °C.
    WasteHeatTemperature,
    IntakeSetpoint,
}

impl MeterRole {
    pub fn text(self) -> &'static str {
        match self {
            MeterRole::Supply => "supply",
            MeterRole::Generator => "generator",
            MeterRole::UpsOut => "ups_out",
            MeterRole::PduOut => "pdu_out",
            MeterRole::ItIn => "it_in",
            MeterRole::Compute => "compute",
            MeterRole::Cooling => "cooling",
            MeterRole::Loss => "loss",
            MeterRole::Other => "other",
            MeterRole::ReuseHeat => "reuse_heat",
            MeterRole::HeatRemoved => "heat_removed",
            MeterRole::Renewable => "renewable",
            MeterRole::WaterIn => "water_in",
            MeterRole::WaterPotable => "water_potable",
            MeterRole::WasteHeatTemperature => "waste_heat_temperature",
            MeterRole::IntakeSetpoint => "intake_setpoint",
        }
    }
}

/// One device at a meter's place, from `since` until `until` (RFC 3339 or a date, UTC midnight).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Device {
    /// Make, type, serial number.
    pub device: String,
    /// Limit of error, % of reading (class 0.5 S of IEC 62053-22: 0.5).
    pub class_pct: Option<f64>,
    pub calibrated: Option<String>,
    pub since: Option<String>,
    pub until: Option<String>,
    /// What the counter showed when it was installed and removed.
    pub initial: Option<f64>,
    pub last: Option<f64>,
    /// Multiplies readings (transformer ratio that the device does not know).
    pub factor: Option<f64>,
    /// Reading at which the digits are full.
    pub rolls_over_at: Option<f64>,
    /// Highest power (or flow an hour) that can pass.
    pub rated: Option<f64>,
    /// Its own points, where they differ from the meter's.
    pub select: Option<Selector>,
}

/// One place where something is metered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterMeter {
    /// That of a meter of the site file, or a new one with `select`.
    pub id: String,
    pub name: Option<String>,
    pub role: Option<MeterRole>,
    pub select: Option<Selector>,
    /// `rate` or `counter`; from the point's unit where absent (energy and volume are counters).
    pub nature: Option<Natures>,
    /// Readings further apart have a gap between them, e.g. `20min`.
    pub gap_after: Option<String>,
    /// Where the device stamps the civil time of a zone instead of UTC: that zone.
    pub clock: Option<String>,
    #[serde(default, rename = "device")]
    pub devices: Vec<Device>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Natures {
    Rate,
    Counter,
}

impl From<Natures> for Nature {
    fn from(n: Natures) -> Nature {
        match n {
            Natures::Rate => Nature::Rate,
            Natures::Counter => Nature::Counter,
        }
    }
}

/// Where a series comes from: a file, a point of the store (a signal on the bus), or one number for all the year.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeriesSource {
    pub file: Option<PathBuf>,
    /// Columns of the file.
    pub time: String,
    pub value: String,
    /// Zone of times without an offset; the site's where absent.
    pub zone: Option<String>,
    /// The path of a point of the store.
    pub point: Option<String>,
    pub constant: Option<f64>,
    /// Who says so, and until when it is valid.
    pub source: String,
}

/// Series by what they mean.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SeriesSources {
    /// Grid mean, g CO2/kWh.
    pub carbon_location: Option<SeriesSource>,
    /// Residual mix, or the supplier's own mix, for what no instrument covers, g CO2/kWh.
    pub carbon_market: Option<SeriesSource>,
    /// EUR/MWh.
    pub price: Option<SeriesSource>,
}

/// What the account of GPU-hours needs of a partition besides the site file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PartitionTerms {
    pub id: String,
    /// Point or points with GPUs that are allocated, and mean utilisation of those, %; the site's roles `gpus_allocated` and
    /// `gpu_utilisation` where absent and the site has one partition.
    pub allocated: Option<Selector>,
    pub utilisation: Option<Selector>,
    /// Power of a GPU's share of a rack when nobody has it, kW: what is charged to idle.
    pub idle_kw_per_gpu: f64,
}

/// Jobs as the scheduler's accounting has them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct JobsSource {
    /// CSV: job, partition, group, gpus, start, end, state.
    pub file: PathBuf,
    /// States whose GPU-hours are useful.
    pub useful: Vec<String>,
}

/// An answer: text, number, or a list of texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Answer {
    Number(f64),
    Text(String),
    List(Vec<String>),
}

/// The report file of a site, checked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportFile {
    pub format: u32,
    pub answers: BTreeMap<String, Answer>,
    pub series: SeriesSources,
    pub jobs: Option<JobsSource>,
    #[serde(rename = "partition")]
    pub partitions: Vec<PartitionTerms>,
    #[serde(rename = "meter")]
    pub meters: Vec<RegisterMeter>,
}

impl ReportFile {
    /// Reads `report.toml` of a site's folder; a site without one has an empty register and no answers.
    ///
    /// # Errors
    /// It cannot be read, or says something that cannot be: with the line or the entry.
    pub fn load(dir: &Path, site: &SiteFile) -> Result<ReportFile, RegisterError> {
        let path = dir.join("report.toml");
        if !path.exists() {
            return ReportFile { format: FORMAT, ..ReportFile::default() }.complete(&path, site);
        }
        let text = std::fs::read_to_string(&path).map_err(|why| RegisterError::Unreadable { path: path.clone(), why })?;
        ReportFile::parse(&path, &text, site)
    }

    pub fn parse(path: &Path, text: &str, site: &SiteFile) -> Result<ReportFile, RegisterError> {
        let file: ReportFile = toml::from_str(text).map_err(|e| RegisterError::Syntax {
            path: path.into(),
            line: e.span().map_or(1, |s| 1 + text[..s.start.min(text.len())].matches('\n').count()),
            why: e.message().to_owned(),
        })?;
        file.complete(path, site)
    }

    /// Adds the site file's meters that have no entry, and checks.
    fn complete(mut self, path: &Path, site: &SiteFile) -> Result<ReportFile, RegisterError> {
        let fail = |what: String, why: &str| RegisterError::Meaning { path: path.into(), what, why: why.into() };
        if self.format != FORMAT {
            return Err(fail(format!("format = {}", self.format), "this program reads format 1"));
        }
        for m in &site.meters {
            let role = match m.boundary {
                MeterBoundary::It => MeterRole::PduOut,
                MeterBoundary::Cooling => MeterRole::Cooling,
                MeterBoundary::Loss => MeterRole::Loss,
            };
            match self.meters.iter_mut().find(|r| r.id == m.id) {
                Some(entry) => {
                    entry.select.get_or_insert_with(|| m.select.clone());
                    entry.name.get_or_insert_with(|| m.name.clone());
                    entry.role.get_or_insert(role);
                }
                None => self.meters.push(RegisterMeter {
                    id: m.id.clone(),
                    name: Some(m.name.clone()),
                    role: Some(role),
                    select: Some(m.select.clone()),
                    nature: None,
                    gap_after: None,
                    clock: None,
                    devices: vec![],
                }),
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        for m in &self.meters {
            let what = format!("meter {:?}", m.id);
            if !seen.insert(&m.id) {
                return Err(fail(what, "is there twice; give one meter its devices one after the other instead"));
            }
            if m.role.is_none() {
                return Err(fail(what, "is no meter of the site file, so it needs a `role`"));
            }
            if m.select.as_ref().is_none_or(Selector::is_empty) && m.devices.iter().all(|d| d.select.is_none()) {
                return Err(fail(what, "is no meter of the site file, so it needs a `select`"));
            }
            if m.gap_after.as_ref().is_some_and(|g| Span::parse(g).is_none_or(|s| s.0 <= 0)) {
                return Err(fail(what, "`gap_after` is a length of time, such as \"20min\""));
            }
            if m.clock.as_ref().is_some_and(|z| jiff::tz::TimeZone::get(z).is_err()) {
                return Err(fail(what, "`clock` is an IANA time zone, such as \"Europe/Madrid\""));
            }
            let mut last = None::<Timestamp>;
            for d in &m.devices {
                let what = format!("{what}, device {:?}", d.device);
                for t in [&d.since, &d.until, &d.calibrated].into_iter().flatten() {
                    if Timestamp::parse(t).is_none() {
                        return Err(fail(what, &format!("{t:?} is neither a date nor an instant, such as 2025-03-30T10:00:00Z")));
                    }
                }
                if d.class_pct.is_some_and(|c| !(0.0..=50.0).contains(&c)) || d.factor == Some(0.0) {
                    return Err(fail(what, "`class_pct` is a limit of error in % of reading (0–50), `factor` is not 0"));
                }
                let (since, until) = (d.instant(&d.since), d.instant(&d.until));
                if last.is_some_and(|l| since.is_none_or(|s| s < l)) || since.zip(until).is_some_and(|(s, u)| s >= u) {
                    return Err(fail(what, "devices follow each other: `since` is not before the former's `until`, and before its own"));
                }
                last = until.or(last);
            }
        }
        for p in &self.partitions {
            if !site.partitions.iter().any(|s| s.id == p.id) {
                return Err(fail(format!("partition {:?}", p.id), "is no partition of the site file"));
            }
        }
        Ok(self)
    }

    pub fn partition(&self, id: &str) -> Option<&PartitionTerms> {
        self.partitions.iter().find(|p| p.id == id)
    }
}

impl Device {
    pub(super) fn instant(&self, text: &Option<String>) -> Option<Timestamp> {
        text.as_deref().and_then(Timestamp::parse)
    }
}

impl RegisterMeter {
    pub fn gap(&self) -> Span {
        self.gap_after.as_deref().and_then(Span::parse).unwrap_or(GAP_AFTER)
    }
    pub fn title(&self) -> &str {
        self.name.as_deref().unwrap_or(&self.id)
    }
}
