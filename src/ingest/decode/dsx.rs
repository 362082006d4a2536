//! DSX Exchange "BMS Event Bus 1.0.0": topics, metadata, values. Source: NVIDIA's AsyncAPI file (Apache-2.0).
//!
//! Words: the *path* of a point is what follows `Metadata/` or `Value/` in its topic:
//! `{objectType}/{pointType}/{tagPath…}`. The tag path is identity only and never parsed for meaning. The *publisher* of
//! a value is `PUB` (the BMS) or an integration.
//! Invariants: total (any bytes give a value or a static reason); no allocation per value.
//! Absent: no state, no clock; what was seen before is `ingest::SiteIngest`'s.

use super::plain::{Cursor, Number};
use crate::reading::PointId;
use crate::site::{Point, StateText};
use crate::time::Timestamp;
use crate::units::{Kind, Unit};
use serde::{Deserialize, Deserializer};

/// Longest accepted metadata payload, bytes.
pub const METADATA_MAX: usize = 64 * 1024;
/// Longest accepted value payload, bytes.
pub const VALUE_MAX: usize = 1024;
/// Longest accepted topic, bytes.
pub const TOPIC_MAX: usize = 1024;
/// The segment that the BMS publishes under.
pub const BMS: &str = "PUB";

/// Point types whose values an integration publishes: their metadata says which.
const OF_INTEGRATIONS: [&str; 6] = [
    "RackLeakDetectTray",
    "RackLiquidIsolationRequest",
    "RackElectricalIsolationRequest",
    "LiquidTemperatureSpRequest",
    "HeartbeatTimestampIntegration",
    "HeartbeatEchoIntegration",
];

/// What a topic says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic<'a> {
    /// `BMS/v1/PUB/Metadata/{path}`
    Metadata { path: &'a str },
    /// `BMS/v1/{publisher}/Value/{path}`
    Value { publisher: &'a str, path: &'a str },
}

impl<'a> Topic<'a> {
    /// Reads a topic. The error is the reason for the refusal.
    pub fn parse(topic: &'a str) -> Result<Topic<'a>, &'static str> {
        if topic.len() > TOPIC_MAX {
            return Err("topic too long");
        }
        let rest = topic.strip_prefix("BMS/v1/").ok_or("topic not under BMS/v1")?;
        let (publisher, rest) = rest.split_once('/').ok_or("topic too short")?;
        let (what, path) = rest.split_once('/').ok_or("topic too short")?;
        if publisher.is_empty() {
            return Err("topic without publisher");
        }
        let mut levels = path.splitn(3, '/');
        if !(0..3).all(|_| levels.next().is_some_and(|l| !l.is_empty())) {
            return Err("topic without object type, point type and tag path");
        }
        match what {
            "Value" => Ok(Topic::Value { publisher, path }),
            "Metadata" if publisher == BMS => Ok(Topic::Metadata { path }),
            "Metadata" => Err("metadata not from the BMS"),
            _ => Err("topic neither Value nor Metadata"),
        }
    }
}

/// A value as published: not yet in the canonical unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Value {
    /// `None` = the publisher has no value now.
    pub value: Option<f64>,
    pub at: Timestamp,
    /// The publisher trusts it (quality = 1).
    pub trusted: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WireValue {
    #[serde(deserialize_with = "required_nullable")]
    value: Option<f64>,
    timestamp: i64,
    quality: i64,
}

/// A value as most publishers write it; `None` = look closer.
fn plain(payload: &[u8]) -> Option<Value> {
    let mut c = Cursor::new(payload)?;
    let (mut value, mut at, mut quality) = (None, None, None);
    c.take(b'{')?;
    loop {
        let key = c.text()?;
        c.take(b':')?;
        match key {
            "value" if value.is_none() && c.peek()? == b'n' => value = Some(c.word("null").map(|()| None)?),
            "value" if value.is_none() => value = Some(Some(c.number()?.value())),
            "timestamp" if at.is_none() => at = Some(c.number()?),
            "quality" if quality.is_none() => quality = Some(c.number()?),
            _ => return None,
        }
        if c.take(b',').is_none() {
            break;
        }
    }
    c.take(b'}')?;
    c.end()?;
    match (at?, quality?) {
        (Number::Whole(at), Number::Whole(quality)) if at > 0 => Some(Value { value: value?, at: Timestamp(at), trusted: quality == 1 }),
        _ => None,
    }
}

/// `null` is a value, a missing key is not.
fn required_nullable<'de, D: Deserializer<'de>>(d: D) -> Result<Option<f64>, D::Error> {
    Option::<f64>::deserialize(d)
}

/// Reads a value payload: exactly the keys `value`, `timestamp` (epoch ms) and `quality`.
pub fn value(payload: &[u8]) -> Result<Value, &'static str> {
    if payload.len() > VALUE_MAX {
        return Err("value too long");
    }
    if let Some(value) = plain(payload) {
        return Ok(value);
    }
    let wire: WireValue = serde_json::from_slice(payload).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => "value not as agreed",
        _ => "value not JSON",
    })?;
    if wire.value.is_some_and(|v| !v.is_finite()) {
        return Err("value not finite");
    }
    if wire.timestamp <= 0 {
        return Err("timestamp not after 1970");
    }
    Ok(Value { value: wire.value, at: Timestamp(wire.timestamp), trusted: wire.quality == 1 })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireMetadata {
    object_type: String,
    point_type: String,
    eng_unit: Option<String>,
    state_text: Option<Vec<StateText>>,
    rack_location_name: Option<String>,
    rack_location_id: Option<String>,
    object_name: Option<String>,
    object_id: Option<String>,
    associate_id: Option<String>,
    #[serde(default)]
    serves_id: Option<Vec<String>>,
    #[serde(default)]
    process_area: Option<Vec<String>>,
    #[serde(default)]
    is_setpoint: bool,
    #[serde(default)]
    integration: String,
    #[serde(default)]
    scope: Text,
    #[serde(default)]
    phase: Text,
}

/// A text, or a number that a publisher wrote where a text belongs (`"phase": 1`).
#[derive(Default, Deserialize)]
#[serde(untagged)]
enum Text {
    #[default]
    None,
    Some(String),
    Number(i64),
}

impl Text {
    fn text(self) -> String {
        match self {
            Text::None => String::new(),
            Text::Some(s) => s,
            Text::Number(n) => n.to_string(),
        }
    }
}

/// Reads a metadata payload for the point at `path`. The point's number is set by the catalogue.
pub fn metadata(path: &str, payload: &[u8]) -> Result<Point, &'static str> {
    if payload.len() > METADATA_MAX {
        return Err("metadata too long");
    }
    let m: WireMetadata = serde_json::from_slice(payload).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => "metadata not as agreed",
        _ => "metadata not JSON",
    })?;
    let mut levels = path.splitn(3, '/');
    if levels.next() != Some(m.object_type.as_str()) || levels.next() != Some(m.point_type.as_str()) {
        return Err("metadata contradicts its topic");
    }
    let heartbeat = m.point_type.starts_with("Heartbeat");
    let kind = match (&m.eng_unit, &m.state_text) {
        (Some(_), Some(_)) => return Err("metadata with both engUnit and stateText"),
        _ if heartbeat => Kind::Instant,
        (Some(unit), None) => Unit::parse(unit).map_or(Kind::Opaque, |u| u.kind),
        (None, Some(texts)) if texts.is_empty() => return Err("metadata with empty stateText"),
        (None, Some(_)) => Kind::State,
        // The one measurement that the contract leaves without a unit: a pure number.
        (None, None) if m.point_type == "PowerFactor" => Kind::Count,
        // The contract lets a generic point be without both: taken as sent, never used for control.
        (None, None) if m.point_type == "GenericPoint" => Kind::Opaque,
        (None, None) => return Err("metadata without engUnit or stateText"),
    };
    let (object_name, object_id, associated) = match (m.rack_location_id, m.object_id, m.associate_id) {
        (Some(rack), None, None) => (m.rack_location_name.ok_or("metadata without rackLocationName")?, rack, false),
        (None, Some(id), None) => (m.object_name.ok_or("metadata without objectName")?, id, false),
        (None, None, Some(of)) => (m.object_name.unwrap_or_default(), of, true),
        (None, None, None) => return Err("metadata without identity"),
        _ => return Err("metadata with two identities"),
    };
    if m.object_type == "PowerMeter" && m.serves_id.is_none() {
        return Err("metadata of a power meter without servesId");
    }
    if m.point_type == "PhaseCurrent" && matches!(m.phase, Text::None) {
        return Err("metadata of a phase's current without phase");
    }
    if m.point_type == "GenericPoint" && m.process_area.is_none() {
        return Err("metadata of a generic point without processArea");
    }
    if m.integration.is_empty() && OF_INTEGRATIONS.contains(&m.point_type.as_str()) {
        return Err("metadata of an integration's point without integration");
    }
    if m.integration.contains(['/', '+', '#', '\0']) || m.integration == BMS {
        return Err("metadata with an integration that is no topic level");
    }
    Ok(Point {
        id: PointId(0),
        path: path.to_owned(),
        object_type: m.object_type,
        point_type: m.point_type,
        kind,
        eng_unit: m.eng_unit.unwrap_or_default(),
        state_text: m.state_text.unwrap_or_default(),
        object_name,
        object_id,
        associated,
        serves_id: m.serves_id.unwrap_or_default(),
        process_area: m.process_area.unwrap_or_default(),
        is_setpoint: m.is_setpoint,
        integration: m.integration,
        scope: m.scope.text(),
        phase: m.phase.text(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_read_without_looking_into_the_tag_path() {
        assert_eq!(Topic::parse("BMS/v1/PUB/Metadata/CDU/Status/a/b/c"), Ok(Topic::Metadata { path: "CDU/Status/a/b/c" }));
        assert_eq!(Topic::parse("BMS/v1/US/Value/CDU/Status/a"), Ok(Topic::Value { publisher: "US", path: "CDU/Status/a" }));
        for (topic, why) in [
            ("BMS/v2/PUB/Value/CDU/Status/a", "topic not under BMS/v1"),
            ("BMS/v1/PUB", "topic too short"),
            ("BMS/v1/PUB/Value/CDU/Status", "topic without object type, point type and tag path"),
            ("BMS/v1/PUB/Value/CDU//a", "topic without object type, point type and tag path"),
            ("BMS/v1//Value/CDU/Status/a", "topic without publisher"),
            ("BMS/v1/US/Metadata/CDU/Status/a", "metadata not from the BMS"),
            ("BMS/v1/PUB/Other/CDU/Status/a", "topic neither Value nor Metadata"),
        ] {
            assert_eq!(Topic::parse(topic), Err(why), "{topic}");
        }
    }

    #[test]
    fn a_value_has_exactly_three_keys() {
        let v = value(br#"{"value":21.5,"timestamp":1743620423000,"quality":1}"#).unwrap();
        assert_eq!(v, Value { value: Some(21.5), at: Timestamp(1_743_620_423_000), trusted: true });
        let v = value(br#"{"quality":0,"value":null,"timestamp":1743620423000}"#).unwrap();
        assert_eq!((v.value, v.trusted), (None, false));
        for (payload, why) in [
            (r#"{"timestamp":1743620423000,"quality":1}"#, "value not as agreed"),
            (r#"{"value":1,"timestamp":1743620423000}"#, "value not as agreed"),
            (r#"{"value":1,"timestamp":1743620423000,"quality":1,"unit":"C"}"#, "value not as agreed"),
            (r#"{"value":1,"value":2,"timestamp":1743620423000,"quality":1}"#, "value not as agreed"),
            (r#"{"value":"1","timestamp":1743620423000,"quality":1}"#, "value not as agreed"),
            (r#"{"value":1,"timestamp":1743620423000.5,"quality":1}"#, "value not as agreed"),
            (r#"{"value":1,"timestamp":-4,"quality":1}"#, "timestamp not after 1970"),
            (r#"{"value":1e999,"timestamp":1743620423000,"quality":1}"#, "value not JSON"),
            (r#"{"value":NaN,"timestamp":1743620423000,"quality":1}"#, "value not JSON"),
            (r#"{"value":1,"timestamp":1743620423000,"quality":1"#, "value not JSON"),
            ("", "value not JSON"),
            ("21.5", "value not as agreed"),
        ] {
            assert_eq!(value(payload.as_bytes()), Err(why), "{payload}");
        }
        assert_eq!(value(&[b' '; VALUE_MAX + 1]), Err("value too long"));
        assert!(value(&[0xff, 0xfe]).is_err());
    }

    #[test]
    fn metadata_gives_kind_identity_and_place() {
        let path = "CDU/LiquidTemperature/hall/cdu1/x";
        let json = r#"{"objectType":"CDU","pointType":"LiquidTemperature","engUnit":"F","objectName":"CDU 1","objectId":"C1",
            "servesId":["R1","R2"],"processArea":["Secondary","Supply"],"isSetpoint":true,"integration":"US","phase":1}"#;
        let p = metadata(path, json.as_bytes()).unwrap();
        assert_eq!((p.kind, p.object_id.as_str(), p.associated, p.is_setpoint), (Kind::Temperature, "C1", false, true));
        assert_eq!((p.serves_id.len(), p.process_area.len(), p.integration.as_str(), p.phase.as_str()), (2, 2, "US", "1"));
        assert!((p.unit().canonical(68.0) - 20.0).abs() < 1e-9);
        let fail = |from: &str, to: &str| metadata(path, json.replace(from, to).as_bytes()).unwrap_err();
        assert_eq!(fail(r#""engUnit":"F","#, ""), "metadata without engUnit or stateText");
        assert_eq!(fail(r#""engUnit":"F","#, r#""engUnit":"F","stateText":[],"#), "metadata with both engUnit and stateText");
        assert_eq!(fail(r#""engUnit":"F","#, r#""stateText":[],"#), "metadata with empty stateText");
        assert_eq!(fail(r#""objectId":"C1","#, ""), "metadata without identity");
        assert_eq!(fail(r#""objectName":"CDU 1","#, ""), "metadata without objectName");
        assert_eq!(fail(r#""objectId":"C1","#, r#""objectId":"C1","rackLocationId":"R","#), "metadata with two identities");
        assert_eq!(fail(r#""objectType":"CDU""#, r#""objectType":"Rack""#), "metadata contradicts its topic");
        assert_eq!(fail(r#""phase":1"#, r#""colour":1"#), "metadata not as agreed");
        assert_eq!(fail(r#""integration":"US""#, r#""integration":"a/b""#), "metadata with an integration that is no topic level");
        assert_eq!(metadata(path, b"{").unwrap_err(), "metadata not JSON");
    }

    #[test]
    fn racks_associates_and_heartbeats_are_known_by_their_own_fields() {
        let rack = r#"{"objectType":"Rack","pointType":"RackLeakDetect","stateText":[{"value":0,"text":"No"},{"value":1,"text":"Leak"}],"rackLocationName":"R 1","rackLocationId":"R1"}"#;
        let p = metadata("Rack/RackLeakDetect/x", rack.as_bytes()).unwrap();
        assert_eq!((p.kind, p.object_id.as_str(), p.object_name.as_str()), (Kind::State, "R1", "R 1"));
        let of = r#"{"objectType":"Shunt","pointType":"Status","stateText":[{"value":0,"text":"Off"}],"associateId":"E4"}"#;
        let p = metadata("Shunt/Status/x", of.as_bytes()).unwrap();
        assert!(p.associated && p.object_id == "E4");
        let beat = r#"{"objectType":"System","pointType":"HeartbeatTimestampBms","engUnit":"ms","objectName":"BMS","objectId":"BMS"}"#;
        assert_eq!(metadata("System/HeartbeatTimestampBms/x", beat.as_bytes()).unwrap().kind, Kind::Instant);
    }
}
