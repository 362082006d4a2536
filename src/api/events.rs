//! The event stream, as server-sent events (WHATWG HTML §9.2).
//!
//! Each answer carries one `sites` event and ends; the browser's `EventSource` asks again after `retry`, naming the last
//! event it saw, and is answered at the next change or after [`WAIT_S`]. So the stream needs no queue per client (a slow
//! client gets the newest state, never a backlog), falls under the request's time limit, and ends by itself at shutdown.

use super::{Fault, Problem, Shared};
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use std::time::Duration;

/// Longest wait for a change, s.
const WAIT_S: u64 = 15;
/// Pause before the client asks again, ms: the fastest pace of the page.
const RETRY_MS: u64 = 1000;

/// Server-sent events: `sites` with all site states as data, each time that something changed.
#[utoipa::path(get, path = "/api/v1/events",
    responses((status = 200, description = "event `sites`, data: a JSON list of SiteStatus", content_type = "text/event-stream"), (status = 503, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn events(State(backend): State<Shared>, headers: HeaderMap) -> Result<Response, Fault> {
    let mut changes = backend.changes();
    let seen = headers.get("last-event-id").and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    let mut now = *changes.borrow_and_update();
    if seen == Some(now) {
        match tokio::time::timeout(Duration::from_secs(WAIT_S), changes.changed()).await {
            Ok(Ok(())) => now = *changes.borrow_and_update(),
            Ok(Err(_)) => return Err(Fault::unavailable("the service is shutting down", "ask again when it is back")),
            Err(_) => {}
        }
    }
    let data = serde_json::to_string(&backend.sites()).unwrap_or_else(|_| "[]".into());
    let text = format!("retry: {RETRY_MS}\nid: {now}\nevent: sites\ndata: {data}\n\n");
    Ok(([(header::CONTENT_TYPE, "text/event-stream"), (header::CACHE_CONTROL, "no-store")], text).into_response())
}
