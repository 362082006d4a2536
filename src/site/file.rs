//! The site file: what metadata cannot say of a plant (roles, loops, limits, actuators, meters, partitions).
//!
//! Invariants: unknown keys are refused with their line; every reference inside the file resolves; a bound is a pair
//! with `lo < hi`. A site file never carries a physical parameter of the plant: those are identified from telemetry.

use super::control::{Control, Objective, Signals, Weights};
use super::placement::{Domain, Energy, Partition, PowerCap, hosts};
use super::{Alert, Reserve, Selector, Source};
use crate::units::Unit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The version of the format that this program reads.
pub const FORMAT: u32 = 1;

/// A refused site file: where, what was expected, how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum SiteFileError {
    #[error("{path}: cannot be read: {why}; give each site its file as `sites = [\"sensors/<site>/site.toml\"]`", path = path.display())]
    Unreadable { path: PathBuf, why: std::io::Error },
    #[error("{path}, line {line}: {why}", path = path.display())]
    Syntax { path: PathBuf, line: usize, why: String },
    #[error("{path}: {what}: {why}", path = path.display())]
    Meaning { path: PathBuf, what: String, why: String },
}

/// How several points become one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Combine {
    #[default]
    Mean,
    Sum,
    Max,
    Min,
}

/// Whose clock a site follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockSource {
    /// The BMS heartbeat (DSX `HeartbeatTimestampBms`).
    #[default]
    Bms,
    /// This host's clock.
    Host,
    /// The newest accepted timestamp.
    Data,
}

/// Who the site is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteName {
    /// Short identifier, used in the API, in folders and in metrics: letters, digits, `-`.
    pub id: String,
    pub name: String,
    /// What the file claims to be, shown wherever the site is (e.g. `representative, not BSC's plant`).
    #[serde(default)]
    pub label: String,
    /// IANA time zone of reports and calendars.
    pub time_zone: String,
    /// Dates that count as Sundays in forecasts, `YYYY-MM-DD`.
    #[serde(default)]
    pub holidays: Vec<String>,
}

/// How the site speaks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Bus {
    /// Broker of this site; the configuration's `broker` where absent.
    pub broker: Option<String>,
    /// MQTT topic filter that carries this site's DSX metadata and values; empty = the site speaks no DSX.
    pub filter: String,
    /// Our identifier in the metadata's `integration` field.
    pub integration: String,
    pub clock: ClockSource,
}

impl Default for Bus {
    fn default() -> Bus {
        Bus { broker: None, filter: String::new(), integration: default_integration(), clock: ClockSource::default() }
    }
}

fn default_integration() -> String {
    "TRAMUNTANA".into()
}

/// A name that the controller knows, bound to points. Known names: `dry_bulb`, `wet_bulb`, `outdoor_humidity`,
/// `room_dew_point`, `gpus_allocated`, `ai_status`; others serve limits, loops and the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Role {
    pub name: String,
    pub select: Selector,
    #[serde(default)]
    pub combine: Combine,
    /// One sentence of truth about the value.
    #[serde(default)]
    pub about: String,
}

/// A coolant loop that carries heat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Loop {
    pub id: String,
    pub name: String,
    /// Roles of the loop's supply and return temperature and flow.
    pub supply: String,
    #[serde(rename = "return")]
    pub return_: String,
    #[serde(default)]
    pub flow: Option<String>,
    /// Role of the heat that the loop must carry, kW (a sum of rack powers or meters): the forecast's target.
    pub load: String,
    /// The loop that takes this loop's heat; none = ambient.
    #[serde(default)]
    pub into: Option<String>,
    /// Least and largest plausible share of `load` that flow × ΔT carries, over half an hour: beyond it one of the loop's
    /// points is wrong. No check where absent.
    #[serde(default)]
    pub balance: Option<[f64; 2]>,
}

/// A setpoint that we may request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actuator {
    pub id: String,
    pub name: String,
    /// The loop it acts on.
    #[serde(rename = "loop")]
    pub loop_id: String,
    /// The points to publish requests to; several (one per CDU) take the same value.
    pub request: Selector,
    /// The setpoint in force as the BMS reads it back.
    pub in_force: Selector,
    /// Role of the quantity that the setpoint steers; none where nothing measures it.
    #[serde(default)]
    pub measured: Option<String>,
    /// Unit of the numbers below, as building management systems write it (`F`, `GPM`, …); none = the canonical unit of the
    /// point's kind (°C, L/min, %, kPa). Converted when the file is read, then gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Bounds.
    pub lo: f64,
    pub hi: f64,
    /// The operators' fixed setpoint: the baseline, and where we hand back to.
    pub default: f64,
    /// Largest change per minute and per ten minutes, in the same unit.
    pub slew_per_min: f64,
    pub slew_per_10min: f64,
    /// Smallest change worth a request, and the grid of plans. Temperatures that follow their plan slowly ([`Control::settle_s`]) go by less.
    pub step: f64,
    /// Least time between two changes, s.
    #[serde(default = "default_dwell_s")]
    pub dwell_s: u32,
    /// Names of the states of a machine that is switched instead of set (`["off", "on"]` of a chiller, an economizer, pads): the
    /// first stands for `lo`, and so on in steps of 1. Empty = a setpoint.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<String>,
}

impl Actuator {
    /// Is it switched between states instead of set?
    pub fn is_discrete(&self) -> bool {
        !self.states.is_empty()
    }
    /// The name of a state; none where it has none.
    pub fn state(&self, value: f64) -> Option<&str> {
        self.states.get((value - self.lo).round().max(0.0) as usize).map(String::as_str).filter(|_| value.is_finite())
    }
}

/// Least dwell of a machine that is switched, s.
const STATE_DWELL_S: u32 = 600;

fn default_dwell_s() -> u32 {
    300
}

/// A limit that is never crossed by our action. At least one of `max` and `min` is given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limit {
    pub id: String,
    pub name: String,
    /// Role of the value that the limit bounds.
    pub role: String,
    /// Unit of the numbers below; none = the canonical one. As with an actuator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    #[serde(default)]
    pub max: Option<f64>,
    #[serde(default)]
    pub min: Option<f64>,
    /// With this role, `min` and `max` are counted from its value (dew point + 2 K: `above = "room_dew_point"`, `min = 2`).
    #[serde(default)]
    pub above: Option<String>,
    /// Distance from the limit that a plan keeps, in the same unit.
    pub margin: f64,
    /// What the loss of one machine adds before anybody can answer, kept instead of the margin where it is the larger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reserve: Vec<Reserve>,
    /// The actuator that the limit bounds directly, where its setpoint is the limited value.
    #[serde(default)]
    pub actuator: Option<String>,
    /// Role of the load that decides the value where one part does, not the whole: the hottest GPU follows the fullest rack, whatever the
    /// others do. None = the loops' loads decide.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load: Option<String>,
    /// Source of the figure (ASHRAE W32, vendor data sheet, operator's rule).
    #[serde(default)]
    pub source: String,
}

impl Limit {
    /// Is anything kept besides the margin?
    pub fn has_reserve(&self) -> bool {
        !self.reserve.is_empty()
    }
    /// What the worst loss of one machine adds at `value`; `setpoint` tells the setpoint of an actuator, NaN or nothing where it is not known.
    pub fn reserve_at(&self, value: f64, setpoint: impl Fn(&str) -> Option<f64>) -> f64 {
        self.reserve.iter().map(|r| r.at(value, &setpoint)).fold(0.0, f64::max)
    }
}

/// Which side of the account a meter is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MeterBoundary {
    It,
    Cooling,
    Loss,
}

/// A power meter of the energy account.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meter {
    pub id: String,
    pub name: String,
    pub select: Selector,
    pub boundary: MeterBoundary,
}

/// A site file, checked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SiteFile {
    pub format: u32,
    pub site: SiteName,
    #[serde(default)]
    pub bus: Bus,
    /// What the site speaks besides, or instead of, DSX.
    #[serde(default, rename = "source")]
    pub sources: Vec<Source>,
    #[serde(default)]
    pub control: Control,
    #[serde(default)]
    pub signals: Signals,
    #[serde(default, rename = "role")]
    pub roles: Vec<Role>,
    #[serde(default, rename = "loop")]
    pub loops: Vec<Loop>,
    #[serde(default, rename = "actuator")]
    pub actuators: Vec<Actuator>,
    #[serde(default, rename = "limit")]
    pub limits: Vec<Limit>,
    #[serde(default, rename = "alert", skip_serializing_if = "Vec::is_empty")]
    pub alerts: Vec<Alert>,
    #[serde(default, rename = "meter")]
    pub meters: Vec<Meter>,
    #[serde(default, rename = "partition")]
    pub partitions: Vec<Partition>,
    /// Power caps that jobs may not break, besides each rack's rating.
    #[serde(default, rename = "cap", skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<PowerCap>,
    /// Racks inside which a training job should stay; a rack that is in none is one of its own.
    #[serde(default, rename = "domain", skip_serializing_if = "Vec::is_empty")]
    pub domains: Vec<Domain>,
    #[serde(default)]
    pub energy: Energy,
}

impl SiteFile {
    /// Reads and checks a site file.
    pub fn load(path: &Path) -> Result<SiteFile, SiteFileError> {
        let text = std::fs::read_to_string(path).map_err(|why| SiteFileError::Unreadable { path: path.into(), why })?;
        let mut file = SiteFile::parse(path, &text)?;
        for source in &mut file.sources {
            let Some(keys) = &source.keys_file else { continue };
            let keys = path.parent().unwrap_or(Path::new(".")).join(keys);
            source.keys = std::fs::read_to_string(&keys).map_err(|why| SiteFileError::Meaning {
                path: path.into(),
                what: format!("keys_file = {:?}", keys.display().to_string()),
                why: format!("cannot be read: {why}; it holds the signers' public keys as a JSON Web Key Set"),
            })?;
        }
        Ok(file)
    }

    /// Checks a site file's text; `path` is for the errors.
    pub fn parse(path: &Path, text: &str) -> Result<SiteFile, SiteFileError> {
        let mut file: SiteFile = toml::from_str(text).map_err(|e| SiteFileError::Syntax {
            path: path.into(),
            line: e.span().map_or(1, |s| 1 + text[..s.start.min(text.len())].matches('\n').count()),
            why: e.message().to_owned(),
        })?;
        let meaning = |(what, why)| SiteFileError::Meaning { path: path.into(), what, why };
        let units: BTreeMap<String, Unit> =
            file.actuators.iter().filter_map(|a| Some((a.id.clone(), Unit::parse(a.unit.as_deref()?)?))).collect();
        for a in &mut file.actuators {
            a.make_canonical().map_err(|why| meaning((format!("actuator {:?}", a.id), why)))?;
        }
        for l in &mut file.limits {
            l.make_canonical().map_err(|why| meaning((format!("limit {:?}", l.id), why)))?;
            // What is left of a loss is said in the unit of the actuator that the machines serve.
            for left in l.reserve.iter_mut().filter_map(|r| r.left.as_mut()) {
                if let Some(unit) = units.get(&left.by) {
                    left.reach = unit.canonical(left.reach);
                    left.full = left.full.map(|v| unit.canonical(v));
                }
                left.full = left.full.or_else(|| file.actuators.iter().find(|a| a.id == left.by).map(|a| a.hi));
            }
        }
        file.check().map_err(meaning)?;
        Ok(file)
    }

    fn check(&self) -> Result<(), (String, String)> {
        let fail = |what: String, why: &str| Err((what, why.to_owned()));
        if self.format != FORMAT {
            return fail(format!("format = {}", self.format), &format!("this program reads format {FORMAT}; see the README on upgrading"));
        }
        let id = &self.site.id;
        if id.is_empty() || !id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_') {
            return fail(format!("site.id = {id:?}"), "use letters, digits and `-` only; it names folders and metrics");
        }
        if jiff::tz::TimeZone::get(&self.site.time_zone).is_err() {
            return fail(format!("site.time_zone = {:?}", self.site.time_zone), "not an IANA time zone; for example `Europe/Madrid`");
        }
        if !self.bus.filter.is_empty()
            && let Err(why) = check_filter(&self.bus.filter)
        {
            return fail(format!("bus.filter = {:?}", self.bus.filter), why);
        }
        if self.bus.filter.is_empty() && self.sources.is_empty() {
            return fail("bus".into(), "the site listens to nothing; give `bus.filter` (DSX) or a [[source]]");
        }
        if self.bus.filter.is_empty() && self.bus.clock == ClockSource::Bms {
            return fail("bus.clock".into(), "without DSX there is no heartbeat; set clock = \"host\" or \"data\" under [bus]");
        }
        for (i, source) in self.sources.iter().enumerate() {
            if let Err(why) = source.check() {
                return fail(format!("source {} ({:?})", i + 1, source.filter), &why);
            }
        }
        for (key, name) in [("plant_model", &self.control.plant_model), ("load_model", &self.control.load_model)] {
            if let Some(name) = name
                && !(!name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) && !name.starts_with('.'))
            {
                return fail(
                    format!("control.{key} = {name:?}"),
                    "the name of a folder in the models' folder: letters, digits, `-`, `_`, `.`",
                );
            }
        }
        if self.control.tick_s == 0 || self.control.valid_s < self.control.tick_s {
            return fail("control".into(), "`tick_s` must be at least 1, and `valid_s` at least one tick");
        }
        if self.control.settle_s.is_some_and(|s| s > 86_400) {
            return fail("control.settle_s".into(), "is a time in seconds, at most 86400 (a day)");
        }
        if !(0.0..=10.0).contains(&self.control.load_step) {
            return fail("control.load_step".into(), "is a share: 0.6 for a load that may rise by 60 %");
        }
        self.check_objective()?;
        let role = |name: &String| self.roles.iter().any(|r| r.name == *name);
        for r in &self.roles {
            if r.select.is_empty() {
                return fail(
                    format!("role {:?}", r.name),
                    "its `select` is empty: it would match no point; give object_type, point_type or others",
                );
            }
        }
        for l in &self.loops {
            for r in [&l.supply, &l.return_, &l.load].into_iter().chain(&l.flow) {
                if !role(r) {
                    return fail(format!("loop {:?}", l.id), &format!("no role is named {r:?}; add a [[role]] with that name"));
                }
            }
            if let Some(into) = &l.into
                && !self.loops.iter().any(|o| o.id == *into && o.id != l.id)
            {
                return fail(format!("loop {:?}", l.id), &format!("`into = {into:?}` names no other loop"));
            }
        }
        for l in self.loops.iter().filter(|l| l.balance.is_some()) {
            if l.balance.is_some_and(|[lo, hi]| !(0.0 <= lo && lo < hi)) || l.flow.is_none() {
                return fail(format!("loop {:?}", l.id), "`balance = [lo, hi]` needs 0 <= lo < hi, and the loop a `flow` role");
            }
        }
        for a in &self.actuators {
            let what = format!("actuator {:?}", a.id);
            if ![a.lo, a.hi, a.slew_per_min, a.slew_per_10min, a.step].iter().all(|v| v.is_finite()) {
                return fail(what, "lo, hi, slew_per_min, slew_per_10min and step must be finite numbers");
            }
            if !(a.lo < a.hi && a.lo <= a.default && a.default <= a.hi) {
                return fail(what, "needs lo < hi and default within them");
            }
            if !(a.slew_per_min > 0.0 && a.slew_per_10min > 0.0 && a.step > 0.0) {
                return fail(what, "slew_per_min, slew_per_10min and step must be above 0");
            }
            let whole = |v: f64| v.fract() == 0.0;
            if a.is_discrete() && !(whole(a.lo) && whole(a.default) && a.step == 1.0 && a.hi - a.lo + 1.0 == a.states.len() as f64) {
                return fail(what, "`states` are whole numbers: lo and default whole, step = 1, hi = lo + number of states - 1");
            }
            if a.is_discrete() && a.dwell_s < STATE_DWELL_S {
                return fail(what, &format!("`states` switch a machine: give dwell_s of at least {STATE_DWELL_S} (20 min for a chiller)"));
            }
            if !self.loops.iter().any(|l| l.id == a.loop_id) {
                return fail(what, &format!("`loop = {:?}` names no [[loop]]", a.loop_id));
            }
            if a.request.is_empty() || a.in_force.is_empty() {
                return fail(what, "`request` and `in_force` must select points");
            }
            if let Some(m) = &a.measured
                && !role(m)
            {
                return fail(what, &format!("`measured = {m:?}` names no role"));
            }
        }
        for l in &self.limits {
            let what = format!("limit {:?}", l.id);
            if l.max.is_none() && l.min.is_none() {
                return fail(what, "give `max`, `min` or both");
            }
            if l.max.into_iter().chain(l.min).any(|v| !v.is_finite()) || !(l.margin >= 0.0 && l.margin.is_finite()) {
                return fail(what, "`max`, `min` and `margin` must be finite numbers, `margin` 0 or above");
            }
            if let (Some(min), Some(max)) = (l.min, l.max)
                && !(min + l.margin < max - l.margin)
            {
                return fail(what, "`min` and `max` leave no room between them with `margin` inside of each");
            }
            let known = |id: &str| self.actuators.iter().any(|a| a.id == id);
            if let Some(fault) = l.reserve.iter().find_map(|r| r.fault(known)) {
                return fail(what, &fault);
            }
            if let Some(r) = std::iter::once(&l.role).chain(&l.above).chain(&l.load).find(|r| !role(r)) {
                return fail(what, &format!("no role is named {r:?}"));
            }
            if let Some(a) = &l.actuator
                && !self.actuators.iter().any(|x| x.id == *a)
            {
                return fail(what, &format!("`actuator = {a:?}` names no actuator"));
            }
        }
        for a in &self.alerts {
            let what = format!("alert {:?}", a.id);
            if let Some(fault) = a.fault() {
                return fail(what, fault);
            }
            if let Some(r) = std::iter::once(&a.role).chain(&a.above).find(|r| !role(r)) {
                return fail(what, &format!("no role is named {r:?}"));
            }
        }
        for p in &self.partitions {
            if p.gpus_per_rack == 0 || !(p.rack_rating_kw > 0.0) {
                return fail(format!("partition {:?}", p.id), "gpus_per_rack and rack_rating_kw must be above 0");
            }
        }
        for r in self.partitions.iter().flat_map(|p| &p.racks_nodes) {
            for list in &r.nodes {
                hosts(list).map_err(|why| (format!("nodes of rack {:?}", r.rack), why))?;
            }
        }
        for c in &self.caps {
            super::placement::check_cap(c)?;
            if let Some(r) = c.role.as_ref().filter(|r| !role(r)) {
                return fail(format!("cap {:?}", c.id), &format!("no role is named {r:?}; add a [[role]] with that name"));
            }
        }
        unique("cap", self.caps.iter().map(|r| &r.id))?;
        unique("domain", self.domains.iter().map(|r| &r.id))?;
        unique("role", self.roles.iter().map(|r| &r.name))?;
        unique("loop", self.loops.iter().map(|r| &r.id))?;
        unique("actuator", self.actuators.iter().map(|r| &r.id))?;
        unique("limit", self.limits.iter().map(|r| &r.id))?;
        unique("alert", self.alerts.iter().map(|r| &r.id))?;
        unique("meter", self.meters.iter().map(|r| &r.id))?;
        unique("partition", self.partitions.iter().map(|r| &r.id))
    }

    fn check_objective(&self) -> Result<(), (String, String)> {
        let fail = |what: &str, why: String| Err((what.to_owned(), why));
        let (c, s) = (&self.control, &self.signals);
        if (c.objective == Objective::Weighted) != c.weights.is_some() {
            return fail("control.weights", "belongs to objective = \"weighted\", and that needs it: { kwh = 1, eur = 5 }".into());
        }
        let w = c.weights();
        if [w.kwh, w.eur, w.kg_co2, w.peak_kw].iter().any(|v| !(*v >= 0.0 && v.is_finite())) || w == Weights::default() {
            return fail("control.weights", "weights are 0 or above, and one of them is above 0".into());
        }
        for (value, file, name) in [(s.price_eur_per_mwh, &s.price_file, "price"), (s.carbon_g_per_kwh, &s.carbon_file, "carbon")] {
            if value.is_some() && file.is_some() {
                return fail("signals", format!("give one number or a file for {name}, not both"));
            }
            let wanted = if name == "price" { w.eur > 0.0 } else { w.kg_co2 > 0.0 };
            if wanted && value.is_none() && file.is_none() {
                let keys = if name == "price" { "price_eur_per_mwh or price_file" } else { "carbon_g_per_kwh or carbon_file" };
                return fail("signals", format!("the objective counts {name}: give {keys} under [signals]"));
            }
        }
        Ok(())
    }

    /// Every topic filter that the site listens to.
    pub fn filters(&self) -> Vec<String> {
        let dsx = Some(self.bus.filter.clone()).filter(|f| !f.is_empty());
        dsx.into_iter().chain(self.sources.iter().map(|s| s.filter.clone())).collect()
    }

    /// Roles of the loads that limits have of their own, each once: those that are no loop's.
    pub fn own_loads(&self) -> impl Iterator<Item = &str> {
        self.limits.iter().enumerate().filter_map(|(i, l)| {
            let name = l.load.as_deref()?;
            let known = self.loops.iter().any(|x| x.load == name) || self.limits[..i].iter().any(|x| x.load.as_deref() == Some(name));
            (!known).then_some(name)
        })
    }
    /// Roles of all loads in the order of every vector of loads: one per loop, then [`SiteFile::own_loads`].
    pub fn loads(&self) -> impl Iterator<Item = &str> {
        self.loops.iter().map(|l| l.load.as_str()).chain(self.own_loads())
    }
    /// The most that a load can be, kW, by the racks' ratings: of the fullest rack, one rating; of a sum, that of `racks`. None where no
    /// rating is known.
    pub fn rating_kw(&self, load: &str, racks: impl Iterator<Item = f64>) -> Option<f64> {
        let kw = match self.role(load).map(|r| r.combine) {
            Some(Combine::Max) => self.partitions.iter().map(|p| p.rack_rating_kw).fold(0.0, f64::max),
            _ => racks.sum(),
        };
        (kw > 0.0).then_some(kw)
    }

    pub fn role(&self, name: &str) -> Option<&Role> {
        self.roles.iter().find(|r| r.name == name)
    }
    pub fn actuator(&self, id: &str) -> Option<&Actuator> {
        self.actuators.iter().find(|a| a.id == id)
    }
}

fn unique<'a>(what: &str, names: impl Iterator<Item = &'a String>) -> Result<(), (String, String)> {
    let mut seen = std::collections::BTreeSet::new();
    for n in names {
        if !seen.insert(n) {
            return Err((format!("{what} {n:?}"), "is there twice; rename one".into()));
        }
    }
    Ok(())
}

/// An MQTT 3.1.1 topic filter (§4.7): `+` and `#` stand alone in a level, `#` only in the last.
pub(super) fn check_filter(filter: &str) -> Result<(), &'static str> {
    if filter.is_empty() || filter.len() > 65_535 || filter.contains('\0') {
        return Err("an MQTT topic filter has 1 to 65,535 bytes and no NUL");
    }
    let levels: Vec<&str> = filter.split('/').collect();
    for (i, level) in levels.iter().enumerate() {
        if level.contains('#') && (*level != "#" || i + 1 != levels.len()) {
            return Err("`#` must stand alone and come last");
        }
        if level.contains('+') && *level != "+" {
            return Err("`+` must stand alone between slashes");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"
format = 1
[site]
id = "hall"
name = "Hall"
time_zone = "Europe/Madrid"
[bus]
filter = "BMS/v1/PUB/+/+/+/hall/#"
[[role]]
name = "supply"
select = { object_type = "CDU", process_area = ["Supply"] }
[[role]]
name = "load"
select = { point_type = "RackPower" }
combine = "sum"
[[loop]]
id = "tcs"
name = "Technology cooling"
supply = "supply"
return = "supply"
load = "load"
"#;

    fn refused(text: &str) -> String {
        SiteFile::parse(Path::new("x/site.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn a_source_declares_what_its_values_mean() {
        let source = "\n[[source]]\nfilter = \"dc/#\"\nformat = \"json\"\ntopic = \"dc/{node}\"\n[[source.value]]\nkey = \"watts\"\nunit = \"W\"\nobject_id = \"{node}\"\n";
        let text = format!("{}{source}", GOOD.replace("filter = \"BMS/v1/PUB/+/+/+/hall/#\"", "clock = \"host\""));
        assert_eq!(SiteFile::parse(Path::new("x"), &text).unwrap().filters(), ["dc/#"]);
        assert!(refused(&text.replace("clock = \"host\"", "")).contains("no heartbeat"));
        let why = refused(&text.replace("\nunit = \"W\"", ""));
        assert!(why.contains("source 1 (\"dc/#\")") && why.contains("has no `unit`"), "{why}");
        assert!(refused(&text.replace("\"W\"", "\"furlong\"")).contains("is not known"));
        assert!(refused(&text.replace("\"{node}\"", "\"{rack}\"")).contains("no part is named {rack}"));
        assert!(refused(&text.replace("dc/{node}", "dc/{node")).contains("must fill its level"));
        assert!(refused(&text.replace("format = \"json\"", "format = \"flex\"")).contains("belong together"));
        assert!(refused(&text.replace("format = \"json\"", "format = \"xml\"")).contains("line"));
    }

    #[test]
    fn errors_name_the_file_and_the_place() {
        assert!(SiteFile::parse(Path::new("x"), GOOD).is_ok());
        assert!(refused(&GOOD.replace("format = 1", "format = 7")).contains("reads format 1"));
        let unknown = refused(&GOOD.replace("time_zone", "timezone"));
        assert!(unknown.starts_with("x/site.toml, line 6"), "{unknown}");
        assert!(refused(&GOOD.replace("load = \"load\"", "load = \"heat\"")).contains("no role is named \"heat\""));
        assert!(refused(&GOOD.replace("hall/#", "hall/#/x")).contains("come last"));
        assert!(refused(&GOOD.replace("filter = \"BMS/v1/PUB/+/+/+/hall/#\"", "")).contains("listens to nothing"));
        assert!(refused(&GOOD.replace("Europe/Madrid", "Mars/Olympus")).contains("IANA"));
        assert!(refused(&format!("{GOOD}\n[[role]]\nname = \"load\"\nselect = {{ point_type = \"x\" }}")).contains("is there twice"));
    }
}
