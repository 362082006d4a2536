//! What identification learns from: one row per control step of closed-loop telemetry, and the names that bind it to a
//! site.
//!
//! Words: a *row* holds means over one step, as sensed (noise included); a *segment* is an unbroken run of rows (one
//! season, one seed): lags and blocks never cross a segment's edge; a *binding* is the set of names that rows and
//! features follow, in the order of the site file.
//! Invariant: a row that misses a value carries NaN there and is left out of the fits that need it, never filled in.

use crate::signal::weather::Weather;
use crate::site::{MeterBoundary, SiteFile};
use crate::time::{Span, Timestamp};
use crate::units::Kind;
use serde::{Deserialize, Serialize};

/// Most rows that one identification takes: 1 year of 5 min steps.
pub const ROWS_MAX: usize = 110_000;

/// Names of everything that a model's vectors follow. Two sites with the same binding can share a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub site: String,
    pub actuators: Vec<String>,
    /// What each actuator sets: a temperature enters as a lift over the weather, anything else as a flow.
    pub kinds: Vec<Kind>,
    /// The loop (index in `loops`) that each actuator acts on.
    pub acts_on: Vec<usize>,
    pub loops: Vec<String>,
    /// Roles of the loads that limits have of their own; loads follow the loops, then these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own_loads: Vec<String>,
    pub limits: Vec<String>,
    /// Role behind each limit.
    pub roles: Vec<String>,
    pub meters: Vec<String>,
    pub boundaries: Vec<MeterBoundary>,
}

impl Binding {
    /// The names of a site. An actuator's kind is read from the range of its bounds' unit as the site file's selector
    /// gives it (`eng_unit` or `point_type`); where neither says, a temperature is assumed.
    pub fn of(site: &SiteFile) -> Binding {
        let kind = |a: &crate::site::Actuator| {
            let hint = |s: &crate::site::Selector| {
                if let Some(unit) = s.eng_unit.as_deref().and_then(crate::units::Unit::parse) {
                    return Some(unit.kind);
                }
                let mut words = s.point_type.clone().unwrap_or_default().to_ascii_lowercase();
                s.process_area.iter().for_each(|p| words.push_str(&p.to_ascii_lowercase()));
                match () {
                    () if words.contains("temp") => Some(Kind::Temperature),
                    () if words.contains("flow") || words.contains("pump") || words.contains("speed") => Some(Kind::Ratio),
                    () if words.contains("pressure") => Some(Kind::Pressure),
                    () => None,
                }
            };
            // Bounds beyond what water can be say "not a temperature" where the selectors are silent.
            let fallback = if a.hi > 75.0 { Kind::Ratio } else { Kind::Temperature };
            hint(&a.in_force).or_else(|| hint(&a.request)).unwrap_or(fallback)
        };
        Binding {
            site: site.site.id.clone(),
            actuators: site.actuators.iter().map(|a| a.id.clone()).collect(),
            kinds: site.actuators.iter().map(kind).collect(),
            acts_on: site.actuators.iter().map(|a| site.loops.iter().position(|l| l.id == a.loop_id).unwrap_or(0)).collect(),
            loops: site.loops.iter().map(|l| l.id.clone()).collect(),
            own_loads: site.own_loads().map(str::to_owned).collect(),
            limits: site.limits.iter().map(|l| l.id.clone()).collect(),
            roles: site.limits.iter().map(|l| l.role.clone()).collect(),
            meters: site.meters.iter().map(|m| m.id.clone()).collect(),
            boundaries: site.meters.iter().map(|m| m.boundary).collect(),
        }
    }

    /// Number of loads in a row.
    pub fn loads(&self) -> usize {
        self.loops.len() + self.own_loads.len()
    }

    /// The first name in which two bindings differ, in words; `None` when they agree.
    pub fn differs(&self, other: &Binding) -> Option<String> {
        let lists = [
            ("actuators", &self.actuators, &other.actuators),
            ("loops", &self.loops, &other.loops),
            ("loads of limits", &self.own_loads, &other.own_loads),
            ("limits", &self.limits, &other.limits),
            ("limit roles", &self.roles, &other.roles),
            ("meters", &self.meters, &other.meters),
        ];
        if self.site != other.site {
            return Some(format!("site {:?} against {:?}", self.site, other.site));
        }
        for (what, a, b) in lists {
            if a != b {
                return Some(format!("{what} {a:?} against {b:?}"));
            }
        }
        if self.kinds != other.kinds || self.acts_on != other.acts_on || self.boundaries != other.boundaries {
            return Some("kinds of actuators, the loops that they act on, or the boundaries of meters".into());
        }
        None
    }
}

/// Means over one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Start of the step.
    pub at: Timestamp,
    /// Setpoints in force, one per actuator.
    pub in_force: Vec<f64>,
    /// Heat of each loop, then the loads that limits have of their own, kW.
    pub loads_kw: Vec<f64>,
    pub weather: Weather,
    pub room_dew_point_c: f64,
    /// GPUs that jobs hold; NaN where the site does not tell.
    pub gpus_allocated: f64,
    /// Mean utilisation of the site's GPUs, %; NaN where the site does not tell.
    pub gpu_utilisation_pct: f64,
    /// Power of each meter, kW.
    pub meters_kw: Vec<f64>,
    /// Value of each limited role.
    pub limited: Vec<f64>,
}

/// Rows of one site, in segments.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    pub binding: Binding,
    pub step: Span,
    /// Where the rows come from, for the card: seeds, scenario, weather.
    pub about: String,
    pub segments: Vec<Vec<Row>>,
}

impl Dataset {
    pub fn rows(&self) -> impl Iterator<Item = &Row> {
        self.segments.iter().flatten()
    }
    pub fn len(&self) -> usize {
        self.segments.iter().map(Vec::len).sum()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// BLAKE3 over every number in order: names the data that a model was fitted on.
    pub fn digest(&self) -> String {
        let mut hash = blake3::Hasher::new();
        hash.update(format!("{:?}{}", self.binding, self.step.0).as_bytes());
        let mut put = |v: f64| {
            hash.update(&v.to_bits().to_le_bytes());
        };
        for segment in &self.segments {
            put(segment.len() as f64);
            for r in segment {
                put(r.at.0 as f64);
                let w = &r.weather;
                let scalars = [w.dry_bulb_c, w.wet_bulb_c, w.dew_point_c, r.room_dew_point_c, r.gpus_allocated, r.gpu_utilisation_pct];
                scalars.iter().chain(&r.in_force).chain(&r.loads_kw).chain(&r.meters_kw).chain(&r.limited).for_each(|&v| put(v));
            }
        }
        hash.finalize().to_hex()[..16].to_owned()
    }
}
