//! What can be read: sites, charts, points, series, forecasts, recommendations, hints, account, health, refusals.

use super::model::*;
use super::query::{Params, SeriesQuery, series_step};
use super::topology::Topology;
use super::{Fault, Problem, Shared, blocking, chart};
use crate::reading::PointId;
use crate::time::{Span, Timestamp};
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri};

/// The year 9999: beyond it a time is a mistake.
const LAST_INSTANT: usize = 253_402_300_799_000;
const POINTS_PAGE: usize = 200;
const POINTS_PAGE_MAX: usize = 2000;

/// The site, or a 404 that names the sites there are.
pub(super) fn find_site(backend: &Shared, id: &str) -> Result<SiteStatus, Fault> {
    let sites = backend.sites();
    let names: Vec<String> = sites.iter().map(|s| s.id.clone()).collect();
    let shown: String = id.chars().take(60).collect();
    sites
        .into_iter()
        .find(|s| s.id == id)
        .ok_or_else(|| Fault::unknown("site", format!("no site is called {shown:?}"), format!("the sites are: {}", names.join(", "))))
}

/// One site where it is named, else all.
fn chosen_sites(backend: &Shared, params: &Params) -> Result<Vec<String>, Fault> {
    match params.text("site") {
        Some(id) => Ok(vec![find_site(backend, id)?.id]),
        None => Ok(backend.sites().into_iter().map(|s| s.id).collect()),
    }
}

/// All sites at this moment.
#[utoipa::path(get, path = "/api/v1/sites", responses((status = 200, body = Vec<SiteStatus>)))]
pub(super) async fn sites(State(backend): State<Shared>) -> Json<Vec<SiteStatus>> {
    Json(backend.sites())
}

/// One site at this moment.
#[utoipa::path(get, path = "/api/v1/sites/{id}", params(("id" = String, Path)),
    responses((status = 200, body = SiteStatus), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn site(State(backend): State<Shared>, Path(id): Path<String>) -> Result<Json<SiteStatus>, Fault> {
    find_site(&backend, &id).map(Json)
}

/// Everything that the page draws of one site.
#[utoipa::path(get, path = "/api/v1/sites/{id}/overview",
    params(("id" = String, Path), ("hours" = Option<f64>, Query, description = "length of the past, 0.25–168 h; 24 where absent")),
    responses((status = 200, body = chart::Overview), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn overview(State(backend): State<Shared>, Path(id): Path<String>, uri: Uri) -> Result<Json<chart::Overview>, Fault> {
    let hours = Params::read(&uri, &["hours"])?.number("hours", 24.0, 0.25, 168.0)?;
    let site = find_site(&backend, &id)?;
    blocking(|| backend.overview(&site.id, hours)).map(Json)
}

/// The equipment of one site, what serves what, and what each piece says now.
#[utoipa::path(get, path = "/api/v1/sites/{id}/topology", params(("id" = String, Path)),
    responses((status = 200, body = Topology), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn topology(State(backend): State<Shared>, Path(id): Path<String>) -> Result<Json<Topology>, Fault> {
    let site = find_site(&backend, &id)?;
    Ok(Json(super::topology::topology(&site.id, &backend.points(&site.id))))
}

/// Points with their newest values, in pages.
#[utoipa::path(get, path = "/api/v1/points",
    params(("site" = Option<String>, Query), ("object_type" = Option<String>, Query), ("point_type" = Option<String>, Query),
        ("q" = Option<String>, Query, description = "words that must all occur in path, names, areas, unit or what it serves"),
        ("limit" = Option<usize>, Query, description = "1–2,000; 200 where absent"), ("cursor" = Option<String>, Query)),
    responses((status = 200, body = PointPage), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn points(State(backend): State<Shared>, uri: Uri) -> Result<Json<PointPage>, Fault> {
    let params = Params::read(&uri, &["site", "object_type", "point_type", "q", "limit", "cursor"])?;
    let limit = params.count("limit", POINTS_PAGE, 1, POINTS_PAGE_MAX)?;
    // A cursor is `site:number` of the last point seen: it stays right while points are added.
    let after = match params.text("cursor") {
        None => None,
        Some(c) => match c.rsplit_once(':').and_then(|(s, n)| Some((s.to_owned(), n.parse::<u32>().ok()?))) {
            Some(a) => Some(a),
            None => {
                return Err(Fault::invalid("cursor", "is none that this address gave", "use `next` of the page before, or leave it out"));
            }
        },
    };
    let words: Vec<String> = params.text("q").unwrap_or("").split_whitespace().map(str::to_lowercase).collect();
    let same = |name: &str, have: &str| params.text(name).is_none_or(|w| w.eq_ignore_ascii_case(have));
    let mut page = PointPage::default();
    let mut seen = after.is_none();
    for site in chosen_sites(&backend, &params)? {
        let here = after.as_ref().filter(|(s, _)| *s == site).map(|(_, n)| *n);
        for p in backend.points(&site) {
            if !(same("object_type", &p.object_type) && same("point_type", &p.point_type) && has_words(&p, &words)) {
                continue;
            }
            page.total += 1;
            let past_cursor = seen || here.is_some_and(|n| p.id > n);
            if !past_cursor {
                continue;
            }
            if page.points.len() == limit {
                page.next = page.points.last().map(|l| format!("{}:{}", l.site, l.id));
            } else if page.points.len() < limit {
                page.points.push(p);
            }
        }
        seen |= here.is_some();
    }
    Ok(Json(page))
}

fn has_words(p: &PointRow, words: &[String]) -> bool {
    if words.is_empty() {
        return true;
    }
    let text = [&p.path, &p.object_name, &p.object_id, &p.unit, &p.kind, &p.process_area.join(" "), &p.serves_id.join(" ")];
    let text = text.map(|t| t.to_lowercase()).join("\n");
    words.iter().all(|w| text.contains(w.as_str()))
}

/// One point's history in buckets. Without `from` the last 24 h of the site's clock.
#[utoipa::path(get, path = "/api/v1/series",
    params(("site" = String, Query), ("point" = String, Query, description = "number or path"),
        ("from" = Option<String>, Query, description = "RFC 3339 or epoch ms"), ("to" = Option<String>, Query, description = "RFC 3339 or epoch ms"),
        ("step" = Option<String>, Query, description = "10s, 5min, 1h or seconds; about 500 buckets where absent")),
    responses((status = 200, body = Series), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn series(State(backend): State<Shared>, uri: Uri) -> Result<Json<Series>, Fault> {
    let params = Params::read(&uri, &["site", "point", "from", "to", "step"])?;
    let site = find_site(&backend, params.required("site", "name one, see /api/v1/sites")?)?;
    let wanted = params.required("point", "give a number or a path from /api/v1/points")?;
    let number = wanted.parse::<u32>().ok();
    let row = backend.points(&site.id).into_iter().find(|p| match number {
        Some(n) => p.id == n,
        None => p.path == wanted,
    });
    let Some(row) = row else {
        return Err(Fault::unknown("point", format!("{} has no point {wanted:?}", site.id), "look for it with /api/v1/points?q="));
    };
    let newest = row.last_at.or(site.clock).map_or(Timestamp(0), Timestamp);
    let to = params.instant("to")?.unwrap_or(newest + Span(1));
    let from = params.instant("from")?.unwrap_or(to - Span::hours(24));
    let step = series_step(from, to, params.span("step")?)?;
    let query = SeriesQuery { site: site.id.clone(), point: PointId(row.id), from, to, step };
    let rows = blocking(|| backend.series(&query))?;
    let step_s = step.as_secs_f64();
    Ok(Json(Series { site: site.id, point: row.id, path: row.path, unit: row.unit, from: from.0, to: to.0, step_s, rows }))
}

/// Newest forecasts per loop and time ahead.
#[utoipa::path(get, path = "/api/v1/forecasts", params(("site" = Option<String>, Query)),
    responses((status = 200, body = Vec<ForecastRow>), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn forecasts(State(backend): State<Shared>, uri: Uri) -> Result<Json<Vec<ForecastRow>>, Fault> {
    let params = Params::read(&uri, &["site"])?;
    Ok(Json(chosen_sites(&backend, &params)?.iter().flat_map(|s| backend.forecasts(s)).collect()))
}

/// Recommendations, newest first per site.
#[utoipa::path(get, path = "/api/v1/recommendations",
    params(("site" = Option<String>, Query), ("limit" = Option<usize>, Query, description = "per site, 1–1,000; 20 where absent")),
    responses((status = 200, body = Vec<Recommendation>), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn recommendations(State(backend): State<Shared>, uri: Uri) -> Result<Json<Vec<Recommendation>>, Fault> {
    let params = Params::read(&uri, &["site", "limit"])?;
    let limit = params.count("limit", 20, 1, 1000)?;
    let sites = chosen_sites(&backend, &params)?;
    Ok(Json(blocking(|| sites.iter().flat_map(|s| backend.recommendations(s, limit)).collect())))
}

/// One recommendation.
#[utoipa::path(get, path = "/api/v1/recommendations/{id}", params(("id" = String, Path)),
    responses((status = 200, body = Recommendation), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn recommendation(State(backend): State<Shared>, Path(id): Path<String>) -> Result<Json<Recommendation>, Fault> {
    blocking(|| backend.recommendation(&id)).map(Json).ok_or_else(|| no_recommendation(&id))
}

pub(super) fn no_recommendation(id: &str) -> Fault {
    let shown: String = id.chars().take(80).collect();
    Fault::unknown("id", format!("no recommendation is called {shown:?}"), "see /api/v1/recommendations")
}

/// Predicted, realised and forgone energy of a site's recommendations.
#[utoipa::path(get, path = "/api/v1/sites/{id}/ledger",
    params(("id" = String, Path), ("from" = Option<i64>, Query, description = "epoch ms; all where absent"), ("to" = Option<i64>, Query),
        ("limit" = Option<usize>, Query, description = "1–10,000; 1,000 where absent")),
    responses((status = 200, body = Ledger), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn ledger(State(backend): State<Shared>, Path(id): Path<String>, uri: Uri) -> Result<Json<Ledger>, Fault> {
    let (site, from, to, limit) = past(&backend, &id, &uri)?;
    blocking(|| backend.ledger(&site, from, to, limit)).map(Json)
}

/// A site and a part of its past: `from`, `to`, `limit`.
fn past(backend: &Shared, id: &str, uri: &Uri) -> Result<(String, Timestamp, Timestamp, usize), Fault> {
    let params = Params::read(uri, &["from", "to", "limit"])?;
    let site = find_site(backend, id)?;
    let from = params.count("from", 0, 0, LAST_INSTANT)?;
    let to = params.count("to", LAST_INSTANT, 0, LAST_INSTANT)?;
    Ok((site.id, Timestamp(from as i64), Timestamp(to as i64), params.count("limit", 1000, 1, 10_000)?))
}

/// What happened to a site's alarms, newest first; those that are up are at /api/v1/sites.
#[utoipa::path(get, path = "/api/v1/sites/{id}/alarms",
    params(("id" = String, Path), ("from" = Option<i64>, Query, description = "epoch ms on the service's clock; all where absent"),
        ("to" = Option<i64>, Query), ("limit" = Option<usize>, Query, description = "1–10,000; 1,000 where absent")),
    responses((status = 200, body = Vec<AlarmEvent>), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn alarms(State(backend): State<Shared>, Path(id): Path<String>, uri: Uri) -> Result<Json<Vec<AlarmEvent>>, Fault> {
    let (site, from, to, limit) = past(&backend, &id, &uri)?;
    blocking(|| backend.alarms(&site, from, to, limit)).map(Json)
}

/// What operators did: who, when, why; each entry carries the hash of the one before it.
#[utoipa::path(get, path = "/api/v1/audit",
    params(("site" = Option<String>, Query), ("limit" = Option<usize>, Query, description = "1–10,000; 100 where absent")),
    responses((status = 200, body = Vec<AuditEntry>), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn audit(State(backend): State<Shared>, uri: Uri) -> Result<Json<Vec<AuditEntry>>, Fault> {
    let params = Params::read(&uri, &["site", "limit"])?;
    let site = params.text("site").map(|id| find_site(&backend, id)).transpose()?.map(|s| s.id);
    let limit = params.count("limit", 100, 1, 10_000)?;
    blocking(|| backend.audit(site.as_deref(), limit)).map(Json)
}

/// The energy account.
#[utoipa::path(get, path = "/api/v1/kpis", responses((status = 200, body = Vec<Kpi>)))]
pub(super) async fn kpis(State(backend): State<Shared>) -> Json<Vec<Kpi>> {
    Json(blocking(|| backend.kpis()))
}

/// Alive and ready: 200 when ready, 503 with the reasons when not.
#[utoipa::path(get, path = "/api/v1/health", responses((status = 200, body = Health), (status = 503, body = Health)))]
pub(super) async fn health(State(backend): State<Shared>) -> (StatusCode, Json<Health>) {
    let health = backend.health();
    (if health.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, Json(health))
}

/// The newest refused messages.
#[utoipa::path(get, path = "/api/v1/refusals", params(("limit" = Option<usize>, Query, description = "1–1,000; 100 where absent")),
    responses((status = 200, body = Vec<Refusal>), (status = 400, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn refusals(State(backend): State<Shared>, uri: Uri) -> Result<Json<Vec<Refusal>>, Fault> {
    let limit = Params::read(&uri, &["limit"])?.count("limit", 100, 1, 1000)?;
    Ok(Json(backend.refusals(limit)))
}

/// The demonstration's result table; null where there is none.
#[utoipa::path(get, path = "/api/v1/demo", responses((status = 200, body = Option<serde_json::Value>)))]
pub(super) async fn demo(State(backend): State<Shared>) -> Json<Option<serde_json::Value>> {
    Json(backend.demo())
}
