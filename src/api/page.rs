//! The built-in page: its files inside the binary, nothing from elsewhere.

use super::Shared;
use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const INDEX: &str = include_str!("../../dashboards/web/index.html");
const WORDS: &str = include_str!("../../dashboards/web/words.js");
const DRAW: &str = include_str!("../../dashboards/web/draw.js");
const PLANT: &str = include_str!("../../dashboards/web/plant.js");
const TREND: &str = include_str!("../../dashboards/web/trend.js");
const REPORTS: &str = include_str!("../../dashboards/web/reports.js");
const SCRIPT: &str = include_str!("../../dashboards/web/app.js");
const STYLE: &str = include_str!("../../dashboards/web/style.css");

/// Only our own files, no inline script, no frame: what the page shows comes from the plant, not from elsewhere.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub(super) fn routes() -> Router<Shared> {
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", INDEX) }))
        .route("/words.js", get(|| async { script(WORDS) }))
        .route("/draw.js", get(|| async { script(DRAW) }))
        .route("/plant.js", get(|| async { script(PLANT) }))
        .route("/trend.js", get(|| async { script(TREND) }))
        .route("/reports.js", get(|| async { script(REPORTS) }))
        .route("/app.js", get(|| async { script(SCRIPT) }))
        .route("/style.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
}

fn script(text: &'static str) -> Response {
    file("text/javascript; charset=utf-8", text)
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, text).into_response()
}
