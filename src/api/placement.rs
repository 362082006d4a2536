//! Placement over HTTP: hints with a time limit, places for jobs, what a scheduler tells, and the Kubernetes extender.
//!
//! Invariants: hints past their end are a 503, never an answer; every number of a request is judged before it is used, and
//! a refusal names the field as `jobs[3].gpus`; the extender fails open.

use super::model::*;
use super::query::Params;
use super::routes::find_site;
use super::{Fault, Problem, Shared, blocking};
use crate::time::Timestamp;
use axum::Json;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;
use std::time::Duration;

/// Jobs of one request.
pub const JOBS_MAX: usize = 10_000;
/// Bytes of one request.
pub const LIST_BYTES_MAX: usize = 8 << 20;
/// Nodes that a scheduler may tell of at once.
const OCCUPIED_MAX: usize = 100_000;
/// Racks that one job's own place may name.
const OWN_RACKS_MAX: usize = 10_000;
/// Longest wait for changed hints, s.
const WAIT_S: f64 = 25.0;
const GPUS_MAX: f64 = 1e6;
const HOURS_MAX: f64 = 24.0 * 366.0;
const KW_MAX: f64 = 1e6;

/// What kube-scheduler asks of an extender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExtenderVerb {
    Filter,
    Prioritize,
}

type Body<T> = Result<Json<T>, JsonRejection>;
const STALE: &str = "place without hints until fresh ones come; see /api/v1/health for why there are none";

fn fresh(backend: &Shared, site: &str, job_class: Option<&str>) -> Result<Hints, Fault> {
    let Some(hints) = backend.hints(site, job_class) else {
        if let (Some(class), Some(all)) = (job_class, backend.hints(site, None)) {
            let known: std::collections::BTreeSet<&str> =
                all.partitions.iter().flat_map(|p| p.job_classes.iter().map(String::as_str)).collect();
            let known = known.into_iter().collect::<Vec<_>>().join(", ");
            let shown: String = class.chars().take(60).collect();
            return Err(Fault::unknown(
                "job_class",
                format!("no partition of {site} takes {shown:?}"),
                format!("its classes are: {known}"),
            ));
        }
        return Err(Fault::unavailable(format!("{site} has no placement hints yet"), STALE));
    };
    if hints.now >= hints.valid_until {
        let ended = Timestamp(hints.valid_until);
        return Err(Fault::unavailable(format!("the newest placement hints of {site} ended at {ended} on its clock"), STALE));
    }
    Ok(hints)
}

/// The tag covers what a scheduler would act on, not the moment of asking.
fn tag_of(h: &Hints) -> String {
    let content = serde_json::to_vec(&Hints { now: 0, ..h.clone() }).unwrap_or_default();
    format!("\"{}\"", &blake3::hash(&content).to_hex()[..16])
}

/// Ranked racks with headroom, bands and the hours ahead. With `If-None-Match` and `wait` the answer waits for a change.
#[utoipa::path(get, path = "/api/v1/placement/hints",
    params(("site" = String, Query), ("job_class" = Option<String>, Query),
        ("wait" = Option<f64>, Query, description = "with If-None-Match: seconds to wait for a change, 0–25; 304 where none comes")),
    responses((status = 200, body = Hints, headers(("ETag" = String))), (status = 304, description = "not changed"),
        (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "no fresh hints")))]
pub(super) async fn hints(State(backend): State<Shared>, headers: HeaderMap, uri: Uri) -> Result<Response, Fault> {
    let params = Params::read(&uri, &["site", "job_class", "wait"])?;
    let site = find_site(&backend, params.required("site", "name one, see /api/v1/sites")?)?;
    let wait = Duration::from_secs_f64(params.number("wait", 0.0, 0.0, WAIT_S)?);
    let known: Vec<String> = (headers.get_all(header::IF_NONE_MATCH).iter())
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .map(|t| t.trim().trim_start_matches("W/").to_owned())
        .collect();
    let end = tokio::time::sleep(wait);
    tokio::pin!(end);
    let mut changes = backend.changes();
    loop {
        let hints = fresh(&backend, &site.id, params.text("job_class"))?;
        let tag = tag_of(&hints);
        let marks = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".to_owned())];
        if !known.iter().any(|t| t == "*" || *t == tag) {
            return Ok((marks, Json(hints)).into_response());
        }
        tokio::select! {
            changed = changes.changed() => {
                if changed.is_err() {
                    return Err(Fault::unavailable("the service is shutting down", "ask again when it is back"));
                }
            }
            () = &mut end => return Ok((StatusCode::NOT_MODIFIED, marks).into_response()),
        }
    }
}

/// The body, or a problem that names the field.
fn body<T>(body: Body<T>) -> Result<T, Problem> {
    body.map(|Json(value)| value).map_err(|e| {
        let text = e.body_text();
        // serde's path stands before the first ": " behind axum's own words.
        let path = text.split_once("target type: ").and_then(|(_, t)| t.split_once(": ")).map(|(p, _)| p.to_owned());
        let field = path.filter(|p| !p.contains(' ')).unwrap_or_else(|| "body".into());
        let status = if e.status() == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { e.status() };
        let mend = "send the JSON object that /api/v1/openapi.json describes, with content-type: application/json";
        Problem::new(status, Some(field), text, mend.into())
    })
}

fn whole(field: &str, v: f64, lo: f64, hi: f64) -> Result<(), Fault> {
    if v >= lo && v <= hi && v.fract() == 0.0 {
        return Ok(());
    }
    Err(Fault::invalid(field, format!("{v} is no whole number from {lo} to {hi}"), "give the number that the job really takes"))
}

fn within(field: &str, v: f64, lo: f64, hi: f64, unit: &str) -> Result<(), Fault> {
    if v >= lo && v <= hi {
        return Ok(());
    }
    Err(Fault::invalid(field, format!("{v} {unit} is not from {lo} to {hi}"), "give the value that is expected"))
}

/// Judges every number of a request.
pub(super) fn check(ask: &RankAsk) -> Result<(), Fault> {
    let n = ask.jobs.len();
    if n == 0 || n > JOBS_MAX {
        return Err(Fault::invalid(
            "jobs",
            format!("{n} jobs; one request takes 1 to {JOBS_MAX}"),
            "send the next ones to start, and ask again",
        ));
    }
    if ask.topology.is_some() && ask.site.is_none() {
        return Err(Fault::invalid("topology", "is given without `site`", "a topology belongs to one site: name it"));
    }
    let mut seen = std::collections::BTreeSet::new();
    for (i, j) in ask.jobs.iter().enumerate() {
        let field = |name: &str| format!("jobs[{i}].{name}");
        if let Some(id) = &j.id {
            if id.len() > 200 {
                return Err(Fault::invalid(&field("id"), "is longer than 200 bytes", "shorten it"));
            }
            if !seen.insert(id) {
                return Err(Fault::invalid(&field("id"), format!("{id:?} is there twice"), "name each job once"));
            }
        }
        match (j.gpus, j.nodes, j.gpus_per_node) {
            (Some(g), None, _) => whole(&field("gpus"), g, 1.0, GPUS_MAX)?,
            (None, Some(n), Some(_)) => whole(&field("nodes"), n, 1.0, GPUS_MAX)?,
            (Some(g), Some(n), Some(per)) if g == n * per => {
                whole(&field("gpus"), g, 1.0, GPUS_MAX)?;
                whole(&field("nodes"), n, 1.0, GPUS_MAX)?;
            }
            (Some(_), Some(_), _) => {
                return Err(Fault::invalid(&field("gpus"), "is not nodes × gpus_per_node", "give one of both, or make them agree"));
            }
            (None, ..) => return Err(Fault::invalid(&field("gpus"), "is missing", "give `gpus`, or `nodes` with `gpus_per_node`")),
        }
        if let Some(per) = j.gpus_per_node {
            whole(&field("gpus_per_node"), per, 1.0, 4096.0)?;
            let total = j.gpus.unwrap_or(per * j.nodes.unwrap_or(1.0));
            whole(&field("nodes"), total, 1.0, GPUS_MAX)?;
        }
        if let Some(kw) = j.kw_per_gpu {
            within(&field("kw_per_gpu"), kw, 0.001, 100.0, "kW")?;
        }
        if j.profile_kw.len() > 10_000 {
            return Err(Fault::invalid(&field("profile_kw"), "has more than 10,000 values", "use longer steps"));
        }
        for (k, kw) in j.profile_kw.iter().enumerate() {
            within(&field(&format!("profile_kw[{k}]")), *kw, 0.0, KW_MAX, "kW")?;
        }
        if j.duration_h <= 0.0 {
            return Err(Fault::invalid(
                &field("duration_h"),
                format!("{} h is not above 0", j.duration_h),
                "give the length expected, or the time limit",
            ));
        }
        within(&field("duration_h"), j.duration_h, 0.0, HOURS_MAX, "h")?;
        let earliest = j.earliest_h.unwrap_or(0.0);
        within(&field("earliest_h"), earliest, 0.0, HOURS_MAX, "h")?;
        within(&field("latest_h"), j.latest_h.unwrap_or(earliest), 0.0, HOURS_MAX, "h")?;
        if j.latest_h.is_some_and(|l| l < earliest) {
            return Err(Fault::invalid(&field("latest_h"), "is before `earliest_h`", "give earliest_h <= latest_h"));
        }
        if let Some(o) = &j.own_place {
            let given: u64 = o.racks.iter().map(|r| u64::from(r.gpus)).sum();
            let asked = j.gpus.unwrap_or_else(|| j.nodes.unwrap_or(0.0) * j.gpus_per_node.unwrap_or(0.0));
            if o.racks.len() > OWN_RACKS_MAX || given as f64 != asked {
                return Err(Fault::invalid(
                    &field("own_place"),
                    format!("{} racks with {given} GPUs; the job takes {asked}", o.racks.len()),
                    format!("give each of its at most {OWN_RACKS_MAX} racks with the GPUs that the job takes there"),
                ));
            }
        }
        if j.partitions.len() > 100 {
            return Err(Fault::invalid(&field("partitions"), "names more than 100", "leave it empty for any"));
        }
    }
    Ok(())
}

/// Places and start times for jobs that are placed together, under every limit; nothing is reserved by asking.
#[utoipa::path(post, path = "/api/v1/placement/rank", request_body = RankAsk,
    responses((status = 200, body = RankAnswer), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "the topology has changed"),
        (status = 413, body = Problem, content_type = "application/problem+json"),
        (status = 503, body = Problem, content_type = "application/problem+json", description = "no site has fresh hints")))]
pub(super) async fn rank(State(backend): State<Shared>, ask: Body<RankAsk>) -> Result<Json<RankAnswer>, Problem> {
    let ask = body(ask)?;
    if let Some(site) = &ask.site {
        find_site(&backend, site)?;
    }
    check(&ask)?;
    Ok(Json(blocking(|| backend.rank(&ask))?))
}

/// What a scheduler tells of free GPUs and jobs; believed for ten minutes.
#[utoipa::path(post, path = "/api/v1/placement/occupancy", request_body = Occupancy,
    responses((status = 200, body = Done), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn occupancy(State(backend): State<Shared>, told: Body<Occupancy>) -> Result<Json<Done>, Problem> {
    let told = body(told)?;
    find_site(&backend, &told.site)?;
    if told.source.trim().is_empty() || told.source.len() > 100 {
        return Err(Fault::invalid("source", "is empty or longer than 100 bytes", "say who tells, such as slurm").into());
    }
    for (field, n) in [("nodes", told.nodes.len()), ("jobs", told.jobs.len())] {
        if n > OCCUPIED_MAX {
            return Err(
                Fault::invalid(field, format!("{n} of them; at most {OCCUPIED_MAX} are taken"), "leave out those that are over").into()
            );
        }
    }
    if let Some(i) = told.jobs.iter().position(|j| !(0.0..=HOURS_MAX).contains(&j.slack_h)) {
        return Err(Fault::invalid(&format!("jobs[{i}].slack_h"), "is not from 0 to a year", "0 where it is not known").into());
    }
    Ok(Json(blocking(|| backend.occupancy(&told))?))
}

/// A text for `job_submit.lua`: one line of what to note on a job, empty where no fresh hint speaks.
#[utoipa::path(get, path = "/api/v1/placement/slurm", params(("partition" = Option<String>, Query, description = "as Slurm names it")),
    responses((status = 200, body = String, content_type = "text/plain"), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn slurm(State(backend): State<Shared>, uri: Uri) -> Result<Response, Fault> {
    let params = Params::read(&uri, &["partition"])?;
    let wanted = params.text("partition");
    let mut best: Option<(f64, String)> = None;
    for site in backend.sites() {
        let Ok(h) = fresh(&backend, &site.id, None) else { continue };
        for p in h.partitions.iter().filter(|p| wanted.is_none_or(|w| w == p.scheduler_name || w == p.partition)) {
            let Some(kwh) = p.marginal_kwh_per_gpu_hour else { continue };
            let Some(r) = h.racks.iter().filter(|r| r.partition == p.partition && r.band < 5).min_by_key(|r| r.rank) else { continue };
            if best.as_ref().is_none_or(|(b, _)| kwh < *b) {
                let until = Timestamp(h.valid_until);
                best = Some((
                    kwh,
                    format!("tramuntana: {kwh:.3} kWh/GPU-h at {}, best rack {} (band {}), until {until}", h.site, r.rack, r.band),
                ));
            }
        }
    }
    let text = best.map_or(String::new(), |(_, t)| t + "\n");
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], text).into_response())
}

/// Scheduler extender, filter verb: keeps out nodes whose rack has no room; unknown nodes and stale hints pass.
#[utoipa::path(post, path = "/k8s/filter", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value, description = "ExtenderFilterResult"), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn filter(State(backend): State<Shared>, message: Body<Value>) -> Result<Json<Value>, Problem> {
    let message = body(message)?;
    Ok(Json(blocking(|| backend.extend_kubernetes(ExtenderVerb::Filter, &message))?))
}

/// Scheduler extender, prioritize verb: 10 for band 1 … 0 for band 5, 5 where nothing is known.
#[utoipa::path(post, path = "/k8s/prioritize", request_body = serde_json::Value,
    responses((status = 200, body = serde_json::Value, description = "HostPriorityList"), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn prioritize(State(backend): State<Shared>, message: Body<Value>) -> Result<Json<Value>, Problem> {
    let message = body(message)?;
    Ok(Json(blocking(|| backend.extend_kubernetes(ExtenderVerb::Prioritize, &message))?))
}
