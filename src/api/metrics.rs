//! `/metrics`: OpenMetrics 1.0 text from the tally's counters and the backend's gauges.

use super::model::Gauge;
use super::{Problem, Shared};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use std::collections::BTreeMap;

/// Content type of the answer.
pub const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Debug)]
struct Snapshot {
    counters: BTreeMap<&'static str, Vec<(String, u64)>>,
    gauges: BTreeMap<&'static str, Vec<Gauge>>,
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        for (name, rows) in &self.counters {
            let help = name.trim_start_matches("tramuntana_").replace('_', " ");
            let mut family = encoder.encode_descriptor(name, &help, None, MetricType::Counter)?;
            for (label, count) in rows {
                ConstCounter::new(*count).encode(family.encode_family(&[("label", escaped(label).as_str())])?)?;
            }
        }
        for (name, rows) in &self.gauges {
            let help = rows.first().map_or("", |g| g.help);
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for g in rows {
                let labels: Vec<(&str, String)> = g.labels.iter().map(|(k, v)| (*k, escaped(v))).collect();
                ConstGauge::new(g.value).encode(family.encode_family(&labels.as_slice())?)?;
            }
        }
        Ok(())
    }
}

/// A label value as OpenMetrics writes it: prometheus-client 0.24 leaves the escaping to its caller.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Counters and gauges as OpenMetrics text.
#[utoipa::path(get, path = "/metrics", responses((status = 200, body = String, content_type = "application/openmetrics-text")))]
pub(super) async fn serve(State(backend): State<Shared>) -> Response {
    let mut snapshot = Snapshot { counters: BTreeMap::new(), gauges: BTreeMap::new() };
    for (name, label, n) in backend.tally() {
        snapshot.counters.entry(name).or_default().push((label, n));
    }
    for g in backend.gauges() {
        snapshot.gauges.entry(g.name).or_default().push(g);
    }
    let mut registry = Registry::default();
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response(),
        Err(_) => {
            let (detail, mend) = ("the metrics could not be written", "report it with the service's log");
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, None, detail.into(), mend.into()).into_response()
        }
    }
}
