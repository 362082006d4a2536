//! HTTP API, metrics and the page: what the service knows, for people and for programs.
//!
//! Words: a *backend* is what answers (implemented in `app`); a *view model* is a plain struct made for the wire
//! ([`model`], [`chart`]); a *problem* is an RFC 9457 error document; a *change* is the backend's counter that grows when
//! something worth showing happened.
//! Invariants: every route under `/api/v1` is in `openapi.json`; every error is a problem that names the field and the
//! way out; a placement hint past its time limit is never served; bodies, queries, pages and waits are bounded; a broker's
//! password never leaves, since the address that comes here has none.
//! Absent by design: no clock (ages and `now` come from the backend), no spawn, no store, no state of its own.
//!
//! Blocking: the backend's methods are plain functions. Those that may read the store run under
//! `tokio::task::block_in_place` on a multi-thread runtime (which `app` uses), directly on a current-thread one.

pub mod access;
pub mod chart;
pub mod model;
pub mod reports;
pub mod topology;

mod acts;
mod error;
mod events;
mod metrics;
mod openapi;
mod page;
mod placement;
mod placement_model;
mod query;
mod routes;

pub use error::{Fault, Problem};
pub use metrics::OPENMETRICS;
pub use openapi::document;
pub use placement::ExtenderVerb;
pub use query::{SERIES_ROWS_MAX, SeriesQuery};

use crate::time::Timestamp;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Router};
use model::*;
use std::sync::Arc;
use std::time::Duration;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{DefaultPredicate, NotForContentType, Predicate};
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

/// Largest request body, bytes: the acts are short JSON objects.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// Longest time that a request may take, s; longer than the longest wait of the event stream.
pub const REQUEST_SECONDS_MAX: u64 = 30;

/// What answers the API. Every call is a quick snapshot, except those marked *may block*.
pub trait Backend: Send + Sync + 'static {
    /// All sites in the configuration's order.
    fn sites(&self) -> Vec<SiteStatus>;
    /// All points of a site in the order of their numbers; the API filters and pages. Empty for an unknown site.
    fn points(&self, site: &str) -> Vec<PointRow>;
    /// Buckets of one point's history, ascending. May block.
    fn series(&self, query: &SeriesQuery) -> Result<Vec<SeriesRow>, Fault>;
    /// The charts of one site over the last `hours` of its clock, and the forecast ahead. May block.
    fn overview(&self, site: &str, hours: f64) -> Result<chart::Overview, Fault>;
    /// Newest forecast per loop and time ahead.
    fn forecasts(&self, site: &str) -> Vec<ForecastRow>;
    /// Recommendations of a site, newest first, at most `limit`. May block.
    fn recommendations(&self, site: &str, limit: usize) -> Vec<Recommendation>;
    /// One recommendation by its identifier. May block.
    fn recommendation(&self, id: &str) -> Option<Recommendation>;
    /// An operator approves the current recommendation.
    fn approve(&self, id: &str, act: &Act) -> Result<Done, Fault>;
    /// An operator changes a site's mode.
    fn set_mode(&self, site: &str, act: &ModeAct) -> Result<Done, Fault>;
    /// An operator keeps a site's setpoints as they are, or releases them.
    fn hold(&self, site: &str, act: &HoldAct) -> Result<Done, Fault>;
    /// An operator pins one actuator to a value, or releases it.
    fn pin(&self, site: &str, act: &PinAct) -> Result<Done, Fault>;
    /// The newest placement hints of a site; `job_class` narrows them. `None` before the first.
    fn hints(&self, site: &str, job_class: Option<&str>) -> Option<Hints>;
    /// Places for jobs. May block.
    fn rank(&self, ask: &RankAsk) -> Result<RankAnswer, Fault> {
        let _ = ask;
        Err(Fault::unavailable("this service ranks no jobs", "ask one that has sites"))
    }
    /// A scheduler tells of free GPUs and jobs.
    fn occupancy(&self, told: &Occupancy) -> Result<Done, Fault> {
        let _ = told;
        Err(Fault::unavailable("this service takes no occupancy", "tell one that has sites"))
    }
    /// A message of kube-scheduler to its extender, and the answer to it.
    fn extend_kubernetes(&self, verb: ExtenderVerb, message: &serde_json::Value) -> Result<serde_json::Value, Fault> {
        let _ = (verb, message);
        Err(Fault::unavailable("this service extends no scheduler", "ask one that has sites"))
    }
    /// The energy account of each site and period. May block.
    fn kpis(&self) -> Vec<Kpi>;
    /// The ledger of a site with `from <= made_at < to`, at most `limit` lines, the newest. May block.
    fn ledger(&self, site: &str, from: Timestamp, to: Timestamp, limit: usize) -> Result<Ledger, Fault> {
        let _ = (from, to, limit);
        Ok(Ledger { site: site.to_owned(), ..Ledger::default() })
    }
    /// An operator has seen an alarm.
    fn acknowledge(&self, site: &str, alarm: &str, act: &Act) -> Result<Done, Fault> {
        let _ = (site, act);
        Err(Fault::unknown("alarm", format!("no alarm {alarm:?} is up"), "GET /api/v1/sites lists them"))
    }
    /// What happened to alarms of a site with `from <= host_at < to`, newest first, at most `limit`. May block.
    fn alarms(&self, site: &str, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<AlarmEvent>, Fault> {
        let _ = (site, from, to, limit);
        Ok(Vec::new())
    }
    /// The newest acts of operators, newest first, at most `limit`; all sites where none is named. May block.
    fn audit(&self, site: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, Fault> {
        let _ = (site, limit);
        Ok(Vec::new())
    }
    /// The packs and the reports, newest first.
    fn reports(&self) -> reports::ReportList {
        reports::ReportList::default()
    }
    /// Somebody orders a report; it is made in the background. May block.
    fn order_report(&self, order: &reports::ReportOrder) -> Result<reports::Report, Fault> {
        let _ = order;
        Err(Fault::unavailable("this service makes no reports", "ask one that has a store"))
    }
    /// Opens a file of a report. May block.
    fn report_file(&self, id: &str, name: &str) -> Result<reports::OpenFile, Fault> {
        let _ = name;
        Err(Fault::unknown("id", format!("no report is called {id:?}"), "GET /api/v1/reports lists them"))
    }
    /// Alive, ready, and why not.
    fn health(&self) -> Health;
    /// The newest refused messages, newest first, at most `limit`.
    fn refusals(&self, limit: usize) -> Vec<Refusal>;
    /// The demonstration's result table (the document of `--json`), when there is one.
    fn demo(&self) -> Option<serde_json::Value>;
    /// Counters: `event::Tally::rows`.
    fn tally(&self) -> Vec<(&'static str, String, u64)>;
    /// Gauges of this moment (queue fill, link up, clock age, mode).
    fn gauges(&self) -> Vec<Gauge>;
    /// A counter that grows with each change worth showing (at least each control tick, link or mode change).
    fn changes(&self) -> tokio::sync::watch::Receiver<u64>;
}

pub(crate) type Shared = Arc<dyn Backend>;

/// The whole HTTP surface, open to whoever reaches it. The caller serves it.
pub fn router(backend: Arc<dyn Backend>) -> Router {
    guarded(backend, Arc::new(access::Open))
}

/// The whole HTTP surface: API, metrics and page, behind a gatekeeper.
pub fn guarded(backend: Arc<dyn Backend>, gate: Arc<dyn access::Gatekeeper>) -> Router {
    Router::new()
        .route("/api/v1/sites", get(routes::sites))
        .route("/api/v1/sites/{id}", get(routes::site))
        .route("/api/v1/sites/{id}/overview", get(routes::overview))
        .route("/api/v1/sites/{id}/topology", get(routes::topology))
        .route("/api/v1/sites/{id}/mode", post(acts::mode))
        .route("/api/v1/sites/{id}/hold", post(acts::hold))
        .route("/api/v1/sites/{id}/pin", post(acts::pin))
        .route("/api/v1/points", get(routes::points))
        .route("/api/v1/series", get(routes::series))
        .route("/api/v1/forecasts", get(routes::forecasts))
        .route("/api/v1/recommendations", get(routes::recommendations))
        .route("/api/v1/recommendations/{id}", get(routes::recommendation))
        .route("/api/v1/recommendations/{id}/approve", post(acts::approve))
        .route("/api/v1/placement/hints", get(placement::hints))
        .route("/api/v1/placement/slurm", get(placement::slurm))
        .route("/api/v1/kpis", get(routes::kpis))
        .route("/api/v1/sites/{id}/ledger", get(routes::ledger))
        .route("/api/v1/health", get(routes::health))
        .route("/api/v1/refusals", get(routes::refusals))
        .route("/api/v1/demo", get(routes::demo))
        .route("/api/v1/session", get(access::session).post(access::login))
        .route("/api/v1/sites/{id}/alarms", get(routes::alarms))
        .route("/api/v1/sites/{id}/alarms/{alarm}/acknowledge", post(acts::acknowledge))
        .route("/api/v1/audit", get(routes::audit))
        .route("/api/v1/reports", get(reports::list).post(reports::order))
        .route("/api/v1/reports/{id}", get(reports::one))
        .route("/api/v1/reports/{id}/files/{name}", get(reports::file))
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/openapi.json", get(openapi::serve))
        .route("/metrics", get(metrics::serve))
        .layer(RequestBodyLimitLayer::new(BODY_BYTES_MAX))
        .merge(lists())
        .merge(page::routes())
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(axum::middleware::from_fn(access::guard))
        .layer(Extension(gate))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, Duration::from_secs(REQUEST_SECONDS_MAX)))
        .layer(axum::middleware::map_response(error::as_problem))
        .layer(CompressionLayer::new().compress_when(worth_packing()))
        .with_state(backend)
}

/// What is packed on its way: not what is packed already, so that its length is known to who saves it.
fn worth_packing() -> impl Predicate {
    let [pdf, sheet, ..] = reports::MEDIA_TYPES;
    DefaultPredicate::new().and(NotForContentType::const_new(pdf)).and(NotForContentType::const_new(sheet))
}

/// What takes lists: jobs, nodes, names.
fn lists() -> Router<Shared> {
    Router::new()
        .route("/api/v1/placement/rank", post(placement::rank))
        .route("/api/v1/placement/occupancy", post(placement::occupancy))
        .route("/k8s/filter", post(placement::filter))
        .route("/k8s/prioritize", post(placement::prioritize))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(RequestBodyLimitLayer::new(placement::LIST_BYTES_MAX))
}

/// Runs what may block without holding up the other requests.
pub(crate) fn blocking<T>(work: impl FnOnce() -> T) -> T {
    use tokio::runtime::{Handle, RuntimeFlavor};
    match Handle::try_current().map(|h| h.runtime_flavor()) {
        Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
        _ => work(),
    }
}
