//! Everything that one control tick may know.
//!
//! Words: a value is *fresh* up to [`FRESH`]; beyond it, its `low` and `high` drift apart at [`DRIFT_K_PER_MIN`] or
//! [`DRIFT_SHARE_PER_MIN`]; whoever judges a maximum reads `high`, whoever judges a minimum reads `low`. Beyond
//! [`STALE`] a value is no ground for automatic control.
//! Invariant: building a view cannot fail; what is missing is NaN with an unbounded age.

use crate::reading::{Latest, PointId, Quality};
use crate::signal::weather::Weather;
use crate::site::{Catalogue, Combine, Selector, SiteFile};
use crate::time::{Span, Timestamp};
use crate::units::Kind;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Age up to which a value is taken as it is: building management systems repeat values every 100 s.
pub const FRESH: Span = Span::seconds(150);
/// Age beyond which automatic control does not rely on a value.
pub const STALE: Span = Span::minutes(10);
/// Drift of a temperature beyond `FRESH`: air may move 5 K in 15 min (ASHRAE), its dew point and water less.
pub const DRIFT_K_PER_MIN: f64 = 0.33;
/// Drift of any other quantity, as a share of its value.
pub const DRIFT_SHARE_PER_MIN: f64 = 0.02;
/// How far ahead a load's ramp is reckoned with.
pub const RAMP: Span = Span::minutes(15);
/// The age of what was never seen.
pub const NEVER: Span = Span(i64::MAX / 4);

/// A value with its age and the range in which it may lie by now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Aged {
    /// NaN where nothing usable is known.
    pub value: f64,
    /// Source time of the oldest contributing reading.
    pub at: Timestamp,
    pub age: Span,
    pub quality: Quality,
    /// The least and the most that the value may be now.
    pub low: f64,
    pub high: f64,
    /// Points that should contribute and do not.
    pub missing: usize,
    /// What it is a value of; opaque where nothing is known.
    pub kind: Kind,
}

impl Aged {
    pub fn unknown() -> Aged {
        let nan = f64::NAN;
        Aged { value: nan, at: Timestamp::MIN, age: NEVER, quality: Quality::NO_VALUE, low: nan, high: nan, missing: 0, kind: Kind::Opaque }
    }

    /// A value of a kind read at `at`, aged to `now`.
    pub fn new(value: f64, at: Timestamp, now: Timestamp, kind: Kind, quality: Quality) -> Aged {
        if !value.is_finite() {
            return Aged::unknown();
        }
        let age = Span((now - at).0.max(0));
        let minutes = (age.0 - FRESH.0).max(0) as f64 / 6e4;
        let drift = match kind {
            Kind::Temperature | Kind::TemperatureDifference => DRIFT_K_PER_MIN * minutes,
            _ => DRIFT_SHARE_PER_MIN * minutes * value.abs(),
        };
        Aged { value, at, age, quality, low: value - drift, high: value + drift, missing: 0, kind }
    }

    pub fn is_known(&self) -> bool {
        self.value.is_finite()
    }
    pub fn is_stale(&self) -> bool {
        !self.is_known() || self.age > STALE
    }
}

/// Load of one loop, or one that a limit has of its own, over the horizon, kW, one value per step of the plan.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadForecast {
    pub p10_kw: Vec<f64>,
    pub p50_kw: Vec<f64>,
    pub p90_kw: Vec<f64>,
    /// Highest load to be reckoned with during the next [`RAMP`] (p99), kW; NaN where nobody tells. Limits must hold
    /// under it, since a setpoint cannot follow a ramp that is steeper than its slew.
    pub ramp_kw: f64,
    pub model: String,
    /// Why a naive model stands in; none where the trained one speaks.
    pub fallback: Option<String>,
}

impl LoadForecast {
    /// The load stays as it is, ± a share (the forecaster's last resort).
    pub fn persistence(load_kw: f64, share: f64, steps: usize, why: &str) -> LoadForecast {
        let flat = |x: f64| vec![load_kw * x; steps];
        LoadForecast {
            p10_kw: flat(1.0 - share),
            p50_kw: flat(1.0),
            p90_kw: flat(1.0 + share),
            ramp_kw: f64::NAN,
            model: "persistence".into(),
            fallback: Some(why.into()),
        }
    }
}

/// One actuator as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ActuatorView {
    pub in_force: Aged,
    /// The steered quantity; unknown where nothing measures it.
    pub measured: Option<Aged>,
    /// Points that take the request; 0 = the actuator can't be reached.
    pub request_points: usize,
    /// Symbol of the setpoint's canonical unit.
    pub unit: &'static str,
}

/// Health of the way to the building management system.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Link {
    pub broker_up: bool,
    /// Age of the BMS's heartbeat on the site's clock (or the host's, where the site has none).
    pub heartbeat_age: Span,
    /// Value of the `ai_status` point: 1 = enabled, anything else = we are out. None = the site has no such point.
    pub ai_status: Option<i64>,
}

impl Default for Link {
    fn default() -> Link {
        Link { broker_up: true, heartbeat_age: Span::ZERO, ai_status: None }
    }
}

/// What electricity costs and emits at a step; NaN where nobody tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Price {
    pub eur_per_kwh: f64,
    pub kg_co2_per_kwh: f64,
}

/// Everything that one tick may know of one site.
#[derive(Clone, Debug)]
pub struct View {
    pub now: Timestamp,
    pub site: Arc<SiteFile>,
    pub roles: BTreeMap<String, Aged>,
    /// In the order of the site file.
    pub actuators: Vec<ActuatorView>,
    /// One per loop, then the loads that limits have of their own ([`SiteFile::loads`]).
    pub loads: Vec<LoadForecast>,
    pub weather: Weather,
    /// One per step of the plan; the last one stands for what is beyond, `weather` where it is empty.
    pub weather_forecast: Vec<Weather>,
    /// One per step of the plan; empty where the site has no tariffs.
    pub prices: Vec<Price>,
    /// Highest power of the site in this month so far, kW; 0 where nothing is known.
    pub peak_kw: f64,
    pub gpus_allocated: Option<f64>,
    pub link: Link,
    /// The model's residuals have drifted (a CUSUM alarm upstream).
    pub drifted: bool,
    /// Selectors that match nothing, and other findings for the page.
    pub findings: Vec<String>,
}

impl View {
    pub fn role(&self, name: &str) -> Aged {
        self.roles.get(name).copied().unwrap_or_else(Aged::unknown)
    }
    /// Is an actuator's setpoint a temperature?
    pub fn is_temp(&self, actuator: usize) -> bool {
        self.actuators.get(actuator).is_some_and(|v| v.unit == "°C")
    }
    /// Does an actuator follow its plan slowly, in steps however small? A setpoint that creeps is followed by valves; one that jumps starts machines, be
    /// the jump a tenth of a kelvin.
    pub fn creeps(&self, actuator: usize) -> bool {
        let continuous = self.site.actuators.get(actuator).is_some_and(|a| !a.is_discrete());
        continuous && self.is_temp(actuator) && self.site.control.settle().0 > 0
    }
    pub fn in_force(&self) -> Vec<f64> {
        self.actuators.iter().map(|a| a.in_force.value).collect()
    }

    /// Digest of the inputs (blake3, 32 hex digits) for the audit trail.
    pub fn digest(&self) -> String {
        let mut h = blake3::Hasher::new();
        let mut text = |s: &str| {
            h.update(&(s.len() as u64).to_le_bytes());
            h.update(s.as_bytes());
        };
        text(&self.site.site.id);
        text(&format!("{}|{:?}|{:?}|{}|{:?}", self.now.0, self.weather, self.link, self.drifted, self.gpus_allocated));
        for (name, a) in &self.roles {
            text(name);
            text(&format!("{:?}", a));
        }
        for a in &self.actuators {
            text(&format!("{a:?}"));
        }
        for l in &self.loads {
            text(&format!("{l:?}"));
        }
        text(&format!("{:?}", self.weather_forecast));
        if !self.prices.is_empty() {
            text(&format!("{:?}", self.prices));
        }
        if self.peak_kw > 0.0 {
            text(&format!("{:?}", self.peak_kw));
        }
        h.finalize().to_hex()[..32].to_string()
    }
}

struct Bound {
    points: Vec<PointId>,
    kind: Kind,
}

impl Bound {
    fn find(catalogue: &Catalogue, select: &Selector, what: String, findings: &mut Vec<String>) -> Bound {
        let mut kind = Kind::Opaque;
        let mut points = vec![];
        for p in catalogue.select(select) {
            if points.is_empty() {
                kind = p.kind;
            }
            if p.kind == kind {
                points.push(p.id);
            } else {
                findings.push(format!("{what}: {} is of another kind than the first match; left out", p.path));
            }
        }
        if points.is_empty() {
            findings.push(format!("{what}: its selector matches no point yet"));
        }
        Bound { points, kind }
    }
}

/// The site file's selectors resolved against a catalogue, once per catalogue version.
pub struct Bindings {
    /// The catalogue version that this was made from; make it again when it differs.
    pub version: u64,
    /// What did not match.
    pub findings: Vec<String>,
    roles: Vec<(String, Combine, Bound)>,
    request: Vec<Bound>,
    in_force: Vec<Bound>,
}

impl Bindings {
    pub fn resolve(site: &SiteFile, catalogue: &Catalogue) -> Bindings {
        let mut findings = vec![];
        let roles = (site.roles.iter())
            .map(|r| (r.name.clone(), r.combine, Bound::find(catalogue, &r.select, format!("role {:?}", r.name), &mut findings)))
            .collect();
        let mut request = vec![];
        let mut in_force = vec![];
        for a in &site.actuators {
            request.push(Bound::find(catalogue, &a.request, format!("actuator {:?}, request", a.id), &mut findings));
            in_force.push(Bound::find(catalogue, &a.in_force, format!("actuator {:?}, in_force", a.id), &mut findings));
        }
        Bindings { version: catalogue.version(), findings, roles, request, in_force }
    }

    /// The points that an actuator's request is published to.
    pub fn request_points(&self, actuator: usize) -> &[PointId] {
        self.request.get(actuator).map_or(&[], |b| &b.points)
    }
}

/// Combines readings into one aged value: unusable ones are left out, stale ones too while fresh ones exist. The age is
/// the oldest contributor's. A sum with missing parts is scaled up and marked as estimated.
pub fn combine(readings: &[Option<Latest>], how: Combine, kind: Kind, now: Timestamp) -> Aged {
    let usable = |l: &&Latest| l.quality.usable() && l.value.is_finite();
    let mut used: Vec<&Latest> = readings.iter().flatten().filter(usable).collect();
    if used.iter().any(|l| now - l.at <= STALE) {
        used.retain(|l| now - l.at <= STALE);
    }
    let Some(oldest) = used.iter().map(|l| l.at).min() else { return Aged { missing: readings.len(), ..Aged::unknown() } };
    let n = used.len() as f64;
    let missing = readings.len() - used.len();
    let sum: f64 = used.iter().map(|l| l.value).sum();
    let mut quality = used.iter().fold(Quality::GOOD, |q, l| q.with(l.quality));
    let value = match how {
        Combine::Mean => sum / n,
        Combine::Sum if missing > 0 => {
            quality = quality.with(Quality::ESTIMATED);
            sum * readings.len() as f64 / n
        }
        Combine::Sum => sum,
        Combine::Max => used.iter().map(|l| l.value).fold(f64::NEG_INFINITY, f64::max),
        Combine::Min => used.iter().map(|l| l.value).fold(f64::INFINITY, f64::min),
    };
    Aged { missing, ..Aged::new(value, oldest, now, kind, quality) }
}

/// Makes a view from the newest readings.
pub struct ViewBuilder<'a> {
    pub site: Arc<SiteFile>,
    pub bindings: &'a Bindings,
    pub now: Timestamp,
    /// Time between two heartbeats of the site: a value repeated only with them is not old within one and a half.
    pub pace: Span,
}

/// How much older than [`FRESH`] a value may be because its site only speaks that often.
pub fn grace(pace: Span) -> Span {
    Span((pace.0 * 3 / 2 - FRESH.0).max(0))
}

impl ViewBuilder<'_> {
    /// Roles, setpoints, weather and status from `latest`; loads are persistence until [`View::loads`] is replaced.
    /// The link's `broker_up` and `heartbeat_age` are the caller's to set.
    pub fn build(&self, latest: impl Fn(PointId) -> Option<Latest>, steps: usize) -> View {
        let now = self.now - grace(self.pace);
        let get = |b: &Bound, how| combine(&b.points.iter().map(|p| latest(*p)).collect::<Vec<_>>(), how, b.kind, now);
        let roles: BTreeMap<String, Aged> = self.bindings.roles.iter().map(|(n, how, b)| (n.clone(), get(b, *how))).collect();
        let role = |name: &str| roles.get(name).copied().unwrap_or_else(Aged::unknown);
        let actuators = (self.site.actuators.iter().enumerate())
            .map(|(i, a)| ActuatorView {
                in_force: self.bindings.in_force.get(i).map_or_else(Aged::unknown, |b| get(b, Combine::Mean)),
                measured: a.measured.as_ref().map(|m| role(m)),
                request_points: self.bindings.request_points(i).len(),
                unit: self.bindings.in_force.get(i).map_or("", |b| b.kind.unit()),
            })
            .collect();
        let loads = (self.site.loads()).map(|l| LoadForecast::persistence(role(l).value, 0.1, steps, "no forecast was given")).collect();
        let (dry, humidity) = (role("dry_bulb").value, role("outdoor_humidity").value);
        let wet = role("wet_bulb").value;
        let wet = if wet.is_finite() { wet } else { crate::units::wet_bulb_c(dry, humidity) };
        // A site may measure one of the two only; each stands for the other, which a plant that feels it will show.
        let dry = if dry.is_finite() { dry } else { wet };
        let wet = if wet.is_finite() { wet } else { dry };
        let weather = Weather { dry_bulb_c: dry, wet_bulb_c: wet, dew_point_c: crate::units::dew_point_c(dry, humidity) };
        let status = self.site.role("ai_status").map(|_| {
            let a = role("ai_status");
            if a.is_known() { a.value as i64 } else { -1 }
        });
        let gpus = role("gpus_allocated");
        View {
            now: self.now,
            site: self.site.clone(),
            actuators,
            loads,
            weather,
            weather_forecast: vec![],
            prices: vec![],
            peak_kw: 0.0,
            gpus_allocated: gpus.is_known().then_some(gpus.value),
            link: Link { ai_status: status, ..Link::default() },
            drifted: false,
            findings: self.bindings.findings.clone(),
            roles,
        }
    }
}
