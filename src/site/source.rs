//! Sources: which topics speak which format, and what their values mean (`[[source]]` of a site file).
//!
//! Words: a *source* binds an MQTT topic filter to a wire format; a *declared value* says of a value's name what metadata
//! would say on a DSX bus: unit, object, place. *Parts* are the named levels of the topic and, where the format has them,
//! the tags of the message, besides `{key}` (the value's name), `{topic}` and `{series}` (what names the series: the topic,
//! or measurement and tags).
//! Invariants: the first source whose filter means a topic decodes it; a payload is never sniffed; every declared value has
//! a unit that this program knows, or texts for its states.

use super::template::{TextTemplate, TopicTemplate};
use super::{StateText, file::check_filter};
use crate::units::Unit;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Points that one source may bring where its table does not say.
pub const SOURCE_POINTS: usize = 50_000;

/// A wire format (WIRE.md §2–§7). DSX is not here: it is what `[bus]` speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// `{"k": number, …}` with a declared time field.
    Json,
    /// One number a message; the topic names it.
    Bare,
    /// ExaMon and EAR: `k/v/…/metric` topics with `value;seconds`, plain or gzip.
    Examon,
    /// ExaMon's JSON: `{"name","value","timestamp","tags"}`, one or a list, plain or gzip.
    ExamonJson,
    /// DCDB: 8 or N × 16 bytes little-endian.
    Dcdb,
    /// Influx line protocol.
    Line,
    /// Sparkplug B 3.0.
    Sparkplug,
    /// ThingsBoard: `{"ts","values":{}}`.
    Thingsboard,
    /// thin-edge.io: `te/device/<id>///m/<type>`.
    ThinEdge,
    /// Redfish MetricReport.
    Redfish,
    /// DSX Flex load targets: CloudEvents with a signed payload.
    Flex,
}

impl Format {
    /// The name in counters and on the API.
    pub const fn name(self) -> &'static str {
        match self {
            Format::Json => "json",
            Format::Bare => "bare",
            Format::Examon => "examon",
            Format::ExamonJson => "examon_json",
            Format::Dcdb => "dcdb",
            Format::Line => "line",
            Format::Sparkplug => "sparkplug",
            Format::Thingsboard => "thingsboard",
            Format::ThinEdge => "thin_edge",
            Format::Redfish => "redfish",
            Format::Flex => "flex",
        }
    }
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TimeUnit {
    /// `2026-07-14T12:00:00Z`
    Rfc3339,
    /// Seconds since the epoch, whole or with a fraction.
    S,
    #[default]
    Ms,
    Us,
    Ns,
}

/// What becomes of a value that no `[[source.value]]` declares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Undeclared {
    /// Refused and counted.
    #[default]
    Refuse,
    /// Passed over in silence: the publisher sends more than is wanted.
    Ignore,
    /// Taken in without a unit: stored as sent, never used for control.
    Take,
}

/// A value of a source, declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceValue {
    /// The value's name in the message; `*` stands for any text.
    pub key: String,
    /// Parts that the message must carry besides, `*` standing for any text: `when = { sensor = "inlet" }`.
    #[serde(default)]
    pub when: BTreeMap<String, String>,
    /// Unit as sent (`W`, `°C`, `L/min`, `1` for a pure number); not with `state_text`.
    #[serde(default)]
    pub unit: Option<String>,
    /// Texts of an enumerated state. A text that is sent becomes its number.
    #[serde(default)]
    pub state_text: Vec<StateText>,
    /// What the number is multiplied with to be in `unit`.
    #[serde(default = "one")]
    pub scale: f64,
    /// Identity of the point, unique within the site: a text of parts.
    #[serde(default = "default_path")]
    pub path: String,
    /// The fields of the point, as DSX metadata name them: texts of parts.
    #[serde(default = "default_object_type")]
    pub object_type: String,
    #[serde(default = "default_point_type")]
    pub point_type: String,
    #[serde(default = "default_object_id")]
    pub object_id: String,
    /// `object_id` where absent.
    #[serde(default)]
    pub object_name: Option<String>,
    #[serde(default)]
    pub serves_id: Vec<String>,
    #[serde(default)]
    pub process_area: Vec<String>,
    #[serde(default)]
    pub is_setpoint: bool,
    #[serde(default)]
    pub phase: String,
    /// One sentence of truth about the value.
    #[serde(default)]
    pub about: String,
}

fn one() -> f64 {
    1.0
}
fn default_path() -> String {
    "{series}/{key}".into()
}
fn default_object_type() -> String {
    "GenericObject".into()
}
fn default_point_type() -> String {
    "{key}".into()
}
fn default_object_id() -> String {
    "{series}".into()
}

impl SourceValue {
    /// What an undeclared value is taken in as.
    pub fn undeclared() -> SourceValue {
        SourceValue {
            key: "*".into(),
            when: BTreeMap::new(),
            unit: None,
            state_text: Vec::new(),
            scale: one(),
            path: default_path(),
            object_type: default_object_type(),
            point_type: default_point_type(),
            object_id: default_object_id(),
            object_name: None,
            serves_id: Vec::new(),
            process_area: Vec::new(),
            is_setpoint: false,
            phase: String::new(),
            about: String::new(),
        }
    }

    /// All templates of the value, with the names of their keys.
    fn templates(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let one =
            [("path", &self.path), ("object_type", &self.object_type), ("point_type", &self.point_type), ("object_id", &self.object_id)];
        let many =
            self.serves_id.iter().map(|s| ("serves_id", s.as_str())).chain(self.process_area.iter().map(|s| ("process_area", s.as_str())));
        one.into_iter().map(|(n, s)| (n, s.as_str())).chain(self.object_name.iter().map(|s| ("object_name", s.as_str()))).chain(many)
    }

    fn check(&self) -> Result<(), String> {
        match (&self.unit, self.state_text.is_empty()) {
            (None, true) => {
                return Err("has no `unit`; say what is sent (\"W\", \"°C\", \"1\" for a pure number), or give `state_text`".into());
            }
            (Some(_), false) => return Err("has both `unit` and `state_text`; give one".into()),
            (Some(unit), true) if Unit::parse(unit).is_none() => {
                return Err(format!(
                    "unit = {unit:?} is not known; convert with `scale` into one that is (W, kWh, °C, L/min, kPa, %, Hz, 1, …)"
                ));
            }
            _ => {}
        }
        if !(self.scale.is_finite() && self.scale != 0.0) {
            return Err("`scale` must be a number other than 0".into());
        }
        for (name, text) in self.templates() {
            TextTemplate::parse(text).map_err(|why| format!("{name} = {why}"))?;
        }
        Ok(())
    }
}

/// One source: a topic filter, its format, and what its values mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// MQTT topic filter.
    pub filter: String,
    pub format: Format,
    /// Names the levels of the topic: `dc/{hall}/{rack}/{node}/telemetry`. `{key}` names the value in formats whose payload
    /// does not (`bare`, `dcdb`).
    #[serde(default)]
    pub topic: Option<String>,
    /// Key of the timestamp in the message (`json`); absent = stamped on arrival.
    #[serde(default)]
    pub time: Option<String>,
    /// How the timestamp is written (`json`, `line`, `examon_json`, `thingsboard`); absent = as the format says.
    #[serde(default)]
    pub time_unit: Option<TimeUnit>,
    /// Keys of the message whose texts are parts, not values (`json`), or the tags that belong to a series' identity
    /// (`line`, `examon_json`; absent = all but those ignored).
    #[serde(default)]
    pub tags: Option<Vec<String>>,
    /// Tags that never belong to an identity: jobs come and go.
    #[serde(default = "default_ignore_tags")]
    pub ignore_tags: Vec<String>,
    #[serde(default)]
    pub undeclared: Undeclared,
    /// Points that the source may bring.
    #[serde(default = "default_max_points")]
    pub max_points: usize,
    /// JSON Web Key Set with the signers' public keys, beside the site file (`flex`).
    #[serde(default)]
    pub keys_file: Option<PathBuf>,
    /// What `keys_file` holds, read with the site file.
    #[serde(skip)]
    pub keys: String,
    #[serde(default, rename = "value")]
    pub values: Vec<SourceValue>,
}

fn default_max_points() -> usize {
    SOURCE_POINTS
}
fn default_ignore_tags() -> Vec<String> {
    ["jobid", "job_id", "stepid", "step_id"].map(String::from).into()
}

impl Source {
    /// Is a tag part of a series' identity?
    pub fn identifies(&self, tag: &str) -> bool {
        self.tags.as_ref().is_none_or(|t| t.iter().any(|n| n == tag)) && !self.ignore_tags.iter().any(|n| n == tag)
    }

    /// What is wrong with the source, and how to mend it.
    pub(super) fn check(&self) -> Result<(), String> {
        check_filter(&self.filter).map_err(|why| format!("filter: {why}"))?;
        let topic = self.topic.as_deref().map(TopicTemplate::parse).transpose().map_err(|why| format!("topic: {why}"))?;
        let format = self.format;
        if self.time.is_some() && format != Format::Json {
            return Err(format!("`time` names a key of `json` messages; {} has its own place for the time", format.name()));
        }
        if self.max_points == 0 {
            return Err("max_points must be above 0".into());
        }
        if (format == Format::Flex) != self.keys_file.is_some() {
            return Err("`keys_file` and format = \"flex\" belong together: a load target is believed only with its signature".into());
        }
        if self.values.is_empty() && self.undeclared != Undeclared::Take {
            return Err("declares no value; add [[source.value]] tables, or undeclared = \"take\" to store everything without units".into());
        }
        // Of most formats it is known which parts there are: their texts can be judged now.
        let tags = self.tags.as_deref().unwrap_or_default();
        let own: &[&str] = match format {
            Format::Dcdb => &["name"],
            Format::Sparkplug => &["group", "edge", "device"],
            Format::Redfish => &["property"],
            Format::Thingsboard => &["device"],
            _ => &[],
        };
        let open = matches!(format, Format::Examon | Format::ExamonJson | Format::Line);
        let named = |name: &str| topic.as_ref().is_some_and(|t| t.names().any(|n| n == name)) || tags.iter().any(|t| t == name);
        let known = |name: &str| open || ["key", "topic", "series"].contains(&name) || own.contains(&name) || named(name);
        for v in &self.values {
            v.check().map_err(|why| format!("value {:?}: {why}", v.key))?;
            for (field, text) in v.templates() {
                if let Some(name) = TextTemplate::parse(text)?.names().find(|n| !known(n)) {
                    return Err(format!("value {:?}: {field} = {text:?}: no part is named {{{name}}}; name the levels of `topic`", v.key));
                }
            }
        }
        Ok(())
    }
}
