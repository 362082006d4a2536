//! Redfish MetricReport (DMTF DSP0268, `MetricReport.v1`): `{"MetricValues":[{"MetricId","MetricValue":"42",…}]}`.
//!
//! Words: a value's name is its `MetricId`; its `MetricProperty` (the URI of what was measured), where there is one, names
//! the series within the topic.
//! Invariants: `MetricValue` is a text that holds a number; a value without its own `Timestamp` has the report's; a value
//! that cannot be read leaves the report's others alone.

use super::time;
use super::{Batch, NAME_MAX, Name, SAMPLES_MAX, Sample, Value};
use crate::reading::Quality;
use crate::site::TimeUnit;
use serde::Deserialize;
use std::borrow::Cow;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Report<'a> {
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    metric_values: Vec<Metric<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Metric<'a> {
    #[serde(borrow, default)]
    metric_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metric_property: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    metric_value: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    timestamp: Option<Cow<'a, str>>,
}

/// Decodes one report.
pub fn decode<'a>(payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    let report: Report<'a> = serde_json::from_slice(payload).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => "message not as agreed",
        _ => "message not JSON",
    })?;
    if report.metric_values.len() > SAMPLES_MAX {
        return Err("too many values in a message");
    }
    let at = report.timestamp.map(|t| time::text(&t, TimeUnit::Rfc3339)).transpose()?;
    for metric in report.metric_values {
        match sample(metric, at, batch) {
            Ok(sample) => batch.samples.push(sample),
            Err(reason) => batch.refuse(reason),
        }
    }
    Ok(())
}

fn sample<'a>(metric: Metric<'a>, report_at: Option<crate::time::Stamp>, batch: &mut Batch<'a>) -> Result<Sample<'a>, &'static str> {
    let at = metric.timestamp.map(|t| time::text(&t, TimeUnit::Rfc3339)).transpose()?.or(report_at);
    let key = match (metric.metric_id, &metric.metric_property) {
        (Some(id), _) if !id.is_empty() => Name::from(id),
        (_, Some(property)) => Name::Made(property.rsplit(['/', '#']).next().unwrap_or_default().to_owned()),
        _ => return Err("value without a name"),
    };
    if key.len() > NAME_MAX || metric.metric_property.as_ref().is_some_and(|p| p.len() > NAME_MAX) {
        return Err("name too long");
    }
    let value = match metric.metric_value {
        None => Value::Null,
        Some(text) => match text.trim().parse::<f64>() {
            Ok(n) if n.is_finite() => Value::Number(n),
            Ok(_) => return Err("value not finite"),
            Err(_) => Value::Text(text),
        },
    };
    let series = metric.metric_property.filter(|p| !p.is_empty()).map(|property| {
        batch.series.push(property);
        batch.series.len() as u32 - 1
    });
    Ok(Sample { series, key, value, at, marks: Quality::GOOD })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::tests::{Seen, owned};

    #[test]
    fn a_report_gives_its_values() {
        let json = r##"{"@odata.id":"/redfish/v1/TelemetryService/MetricReports/P","Id":"P","Timestamp":"2026-07-14T03:33:20Z","MetricValues":[
            {"MetricId":"Power","MetricValue":"312.5","MetricProperty":"/redfish/v1/Chassis/1/Power#/PowerControl/0/PowerConsumedWatts","Timestamp":"2026-07-14T05:33:21+02:00"},
            {"MetricProperty":"/redfish/v1/Chassis/1/Thermal#/Fans/0/Reading","MetricValue":"4100"},
            {"MetricId":"State","MetricValue":"Enabled"},{"MetricId":"Gap","MetricValue":null},{"MetricValue":"1"},{"MetricId":"x","MetricValue":"inf"}]}"##;
        let mut batch = Batch::default();
        decode(json.as_bytes(), &mut batch).unwrap();
        let at = Some(1_784_000_000_000);
        assert_eq!(
            owned(&batch),
            [
                Seen::number("Power", 312.5, Some(1_784_000_001_000)).of("/redfish/v1/Chassis/1/Power#/PowerControl/0/PowerConsumedWatts"),
                Seen::number("Reading", 4100.0, at).of("/redfish/v1/Chassis/1/Thermal#/Fans/0/Reading"),
                Seen::text("State", "Enabled", at),
                Seen::null("Gap", at),
            ]
        );
        assert_eq!(batch.refusals, [("value without a name", 1), ("value not finite", 1)]);
        assert_eq!(decode(b"{}", &mut Batch::default()), Err("message not as agreed"));
        assert_eq!(decode(b"{", &mut Batch::default()), Err("message not JSON"));
        assert_eq!(decode(br#"{"Timestamp":"soon","MetricValues":[]}"#, &mut Batch::default()), Err("time not RFC 3339"));
        assert_eq!(decode(br#"{"MetricValues":[{"MetricId":"a","MetricValue":1}]}"#, &mut Batch::default()), Err("message not as agreed"));
    }
}
