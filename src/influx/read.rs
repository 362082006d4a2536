//! History from the server: one question in Flux, its tables folded into steps.
//!
//! Invariant: total over whatever tables come back; a step without a count is not there. The crate behind it is not: see the
//! module `influx`, and call this in a task of its own.

use super::{Target, flux};
use crate::reading::Quality;
use crate::time::{Span, Timestamp};
use influxdb2::api::query::FluxRecord;
use influxdb2::models::Query;
use influxdb2_structmap::value::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Longest time that one request may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// One step of a series, as the embedded store gives it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bucket {
    pub sum: f64,
    pub count: u64,
    pub min: f64,
    pub max: f64,
    pub quality: Quality,
}

fn client(target: &Target) -> Result<influxdb2::Client, String> {
    let mut http = reqwest::Client::builder().timeout(TIMEOUT);
    if let Some(pem) = &target.authority {
        let authority = reqwest::Certificate::from_pem(pem.as_bytes()).map_err(|e| format!("influx.ca_file: {e}"))?;
        http = http.add_root_certificate(authority);
    }
    let built = influxdb2::ClientBuilder::with_builder(http, &target.url, &target.org, &target.token).build();
    built.map_err(|e| format!("{}: {e}", target.url))
}

/// Steps of one series, by their start.
pub async fn series(
    target: Target,
    site: String,
    path: String,
    from: Timestamp,
    to: Timestamp,
    step: Span,
) -> Result<BTreeMap<Timestamp, Bucket>, String> {
    let question = flux::series(&target.bucket, &site, &path, from, to, step);
    let records = client(&target)?.query_raw(Some(Query::new(question))).await.map_err(|e| why(&target, &e))?;
    Ok(fold(&records, from, step))
}

/// What the server says of itself and of the bucket, for `check`.
pub async fn check(target: Target) -> Result<(), String> {
    let client = client(&target)?;
    client.health().await.map_err(|e| why(&target, &e))?;
    let rows = client.query_raw(Some(Query::new(flux::bucket_is_there(&target.bucket)))).await.map_err(|e| why(&target, &e))?;
    if rows.is_empty() {
        return Err(format!(
            "{}: the token sees no bucket {:?} in {:?}; make it, or mend influx.bucket and influx.org",
            target.url, target.bucket, target.org
        ));
    }
    Ok(())
}

fn why(target: &Target, e: &influxdb2::RequestError) -> String {
    let url = &target.url;
    match e {
        influxdb2::RequestError::Http { status, text } => {
            let mend = match status.as_u16() {
                401 | 403 => "; give a token that may read the bucket, in influx.token_env or influx.token_file",
                404 => "; mend influx.org and influx.bucket",
                429 | 503 => "; ask again later",
                _ => "",
            };
            let text: String = text.chars().filter(|c| !c.is_control()).take(200).collect();
            format!("{url} answers {}: {text}{mend}", status.as_u16())
        }
        influxdb2::RequestError::ReqwestProcessing { source } => format!("{url} does not answer: {source}"),
        other => format!("{url}: {other}"),
    }
}

fn number(v: Option<&Value>) -> Option<f64> {
    match v? {
        Value::Double(d) => Some(d.into_inner()),
        Value::Long(n) => Some(*n as f64),
        Value::UnsignedLong(n) => Some(*n as f64),
        _ => None,
    }
}

fn fold(records: &[FluxRecord], from: Timestamp, step: Span) -> BTreeMap<Timestamp, Bucket> {
    let mut out: BTreeMap<Timestamp, Bucket> = BTreeMap::new();
    for r in records {
        let time = |name: &str| match r.values.get(name) {
            Some(Value::TimeRFC(t)) => Some(Timestamp(t.timestamp_millis())),
            _ => None,
        };
        let Some(Value::String(table)) = r.values.get("result") else { continue };
        let Some(at) = time("_time").or_else(|| time("_start")) else { continue };
        // The first window begins where the range does, the embedded store's at a whole step.
        let at = if at == from { at.floor(step) } else { at };
        let none = Bucket { min: f64::INFINITY, max: f64::NEG_INFINITY, ..Bucket::default() };
        let b = out.entry(at).or_insert(none);
        let v = number(r.values.get("_value"));
        match (table.as_str(), v) {
            ("sum", Some(v)) => b.sum += v,
            ("count", Some(v)) => b.count += v as u64,
            ("min", Some(v)) => b.min = b.min.min(v),
            ("max", Some(v)) => b.max = b.max.max(v),
            ("quality", _) => b.quality = b.quality.with(Quality(number(r.values.get("marks")).unwrap_or(0.0) as u16)),
            _ => {}
        }
    }
    out
}
