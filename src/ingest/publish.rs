//! What we publish: values of points that a BMS has declared ours, rebirth requests to Sparkplug edges, alarms and the lease
//! under our own name ([`may_go_out`]), and nothing else.
//!
//! Which points: those whose metadata name us as their integration, whatever their type. NVIDIA's contract says so "globally
//! to every integration-published point across all objectTypes" (its text, "Integration publishing contract"); the lists of
//! point types at its integration channels hold those that it knows today and are no limit ("and any future
//! integration-owned pointTypes"), and `BMS/v1/{us}/Value/#` is ours alone. One limit there is: of heartbeats "the suffix
//! indicates the publisher", so that one of the BMS is never ours, whatever its metadata say.
//! Invariants: a topic comes from the point's metadata (`PUB` → our identifier, `Metadata` → `Value`), never from
//! anything else; a point that is not ours, and a number that JSON cannot carry, are refused; metadata is never published.

use super::decode::dsx;
use crate::site::Point;
use crate::time::Timestamp;

/// Point types that only the BMS publishes.
const HEARTBEATS_OF_BMS: [&str; 2] = ["HeartbeatTimestampBms", "HeartbeatEchoBms"];

/// A message ready to go out at QoS 0. Whether the broker keeps it is said where it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub topic: String,
    pub payload: Vec<u8>,
}

/// Why a value was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishRefused {
    #[error("{path}: not ours to publish: its metadata says integration = {says:?}, we are {us:?}")]
    NotOurs { path: String, says: String, us: String },
    #[error("{path}: the heartbeat of the building management system, which alone publishes it; its metadata must not name an integration")]
    OfTheBms { path: String },
    #[error("integration identifier {us:?} cannot be a topic level; set `bus.integration` to a word without `/`, `+`, `#`, and not `PUB`")]
    BadIdentifier { us: String },
    #[error("{path}: {value} is not a number that can be published")]
    NotFinite { path: String, value: String },
}

/// May a message go out on a topic? Only under `BMS/v1/{us}/Value/`, to Sparkplug edges (`spBv1.0/{group}/NCMD/{edge}`), and
/// as an alarm or a lease of ours (`{us}/alarms/{site}/{alarm}`, `{us}/lease/{site}`).
pub fn may_go_out(topic: &str, us: &str) -> bool {
    let value = topic.strip_prefix("BMS/v1/").and_then(|t| t.strip_prefix(us)).and_then(|t| t.strip_prefix("/Value/"));
    let levels: Vec<&str> = topic.split('/').collect();
    value.is_some_and(|path| !path.is_empty())
        || matches!(levels.as_slice(), ["spBv1.0", _, "NCMD", _])
        || matches!(levels.as_slice(), [first, "alarms", _, _] | [first, "lease", _] if *first == us)
}

/// The topic that a point of ours is published on.
pub fn topic(point: &Point, us: &str) -> Result<String, PublishRefused> {
    if us.is_empty() || us == dsx::BMS || us.contains(['/', '+', '#', '\0']) {
        return Err(PublishRefused::BadIdentifier { us: us.into() });
    }
    if point.integration != us {
        return Err(PublishRefused::NotOurs { path: point.path.clone(), says: point.integration.clone(), us: us.into() });
    }
    if HEARTBEATS_OF_BMS.contains(&point.point_type.as_str()) {
        return Err(PublishRefused::OfTheBms { path: point.path.clone() });
    }
    Ok(format!("BMS/v1/{us}/Value/{}", point.path))
}

/// A value of ours, given in the canonical unit; it goes out in the point's own unit, with quality 1.
pub fn value(point: &Point, us: &str, canonical: f64, at: Timestamp) -> Result<Outgoing, PublishRefused> {
    let topic = topic(point, us)?;
    let published = point.unit().published(canonical);
    if !published.is_finite() {
        return Err(PublishRefused::NotFinite { path: point.path.clone(), value: canonical.to_string() });
    }
    Ok(Outgoing { topic, payload: format!("{{\"value\":{},\"timestamp\":{},\"quality\":1}}", number(published), at.0).into_bytes() })
}

/// A heartbeat of ours (`HeartbeatTimestampIntegration`, or the echo of the BMS's own): value = epoch ms.
pub fn heartbeat(point: &Point, us: &str, beat: Timestamp, at: Timestamp) -> Result<Outgoing, PublishRefused> {
    let topic = topic(point, us)?;
    Ok(Outgoing { topic, payload: format!("{{\"value\":{},\"timestamp\":{},\"quality\":1}}", beat.0, at.0).into_bytes() })
}

/// JSON text of a finite number; whole numbers without a fraction, others rounded to what a setpoint can mean.
fn number(v: f64) -> String {
    let rounded = (v * 1e6).round() / 1e6;
    let v = if rounded.is_finite() { rounded } else { v };
    if v == v.trunc() && v.abs() < 9e15 { format!("{}", v as i64) } else { format!("{v}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(unit: &str) -> Point {
        let json = format!(
            r#"{{"objectType":"CDU","pointType":"LiquidTemperatureSpRequest","engUnit":"{unit}","objectName":"a","objectId":"a","integration":"US"}}"#
        );
        dsx::metadata("CDU/LiquidTemperatureSpRequest/hall/a", json.as_bytes()).unwrap()
    }

    #[test]
    fn nothing_goes_out_elsewhere() {
        assert!(may_go_out("BMS/v1/US/Value/CDU/x/y", "US") && may_go_out("spBv1.0/g/NCMD/e", "US"));
        for topic in
            ["BMS/v1/US/Metadata/CDU/x/y", "BMS/v1/PUB/Value/CDU/x/y", "BMS/v1/USA/Value/x", "BMS/v1/US/Value/", "spBv1.0/g/DCMD/e/d", "x"]
        {
            assert!(!may_go_out(topic, "US"), "{topic}");
        }
    }

    #[test]
    fn only_what_is_ours_goes_out_and_in_its_own_unit() {
        let out = value(&point("F"), "US", 20.0, Timestamp(5)).unwrap();
        assert_eq!(out.topic, "BMS/v1/US/Value/CDU/LiquidTemperatureSpRequest/hall/a");
        assert_eq!(String::from_utf8(out.payload).unwrap(), r#"{"value":68,"timestamp":5,"quality":1}"#);
        let out = value(&point("C"), "US", 20.25, Timestamp(5)).unwrap();
        assert!(dsx::value(&out.payload).is_ok_and(|v| v.value == Some(20.25)));
        assert!(matches!(value(&point("C"), "THEM", 20.0, Timestamp(5)), Err(PublishRefused::NotOurs { .. })));
        assert!(matches!(value(&point("C"), "PUB", 20.0, Timestamp(5)), Err(PublishRefused::BadIdentifier { .. })));
        assert!(matches!(value(&point("C"), "US", f64::NAN, Timestamp(5)), Err(PublishRefused::NotFinite { .. })));
        let of_the_bms = r#"{"objectType":"System","pointType":"HeartbeatTimestampBms","engUnit":"ms","objectName":"a","objectId":"a","integration":"US"}"#;
        let p = dsx::metadata("System/HeartbeatTimestampBms/a", of_the_bms.as_bytes()).unwrap();
        assert_eq!(heartbeat(&p, "US", Timestamp(1), Timestamp(1)), Err(PublishRefused::OfTheBms { path: p.path.clone() }));
        let beat = heartbeat(&point("C"), "US", Timestamp(1_743_620_423_000), Timestamp(1_743_620_424_000)).unwrap();
        assert!(beat.payload.starts_with(br#"{"value":1743620423000,"#));
    }
}
