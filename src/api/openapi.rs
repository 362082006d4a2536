//! `openapi.json`: the contract, made from the handlers themselves.

use super::{access, acts, events, metrics, placement, routes};
use axum::Json;
use utoipa::OpenApi;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Tramuntana",
        description = "Thermal load, cooling setpoints and placement hints of connected sites. Instants are epoch milliseconds on the site's clock; errors are RFC 9457 problems."
    ),
    paths(
        routes::sites,
        routes::site,
        routes::overview,
        routes::topology,
        routes::points,
        routes::series,
        routes::forecasts,
        routes::recommendations,
        routes::recommendation,
        placement::hints,
        placement::rank,
        placement::occupancy,
        placement::slurm,
        placement::filter,
        placement::prioritize,
        routes::kpis,
        routes::ledger,
        routes::audit,
        routes::alarms,
        acts::acknowledge,
        access::session,
        access::login,
        routes::health,
        routes::refusals,
        routes::demo,
        acts::approve,
        acts::mode,
        acts::hold,
        acts::pin,
        events::events,
        metrics::serve,
        serve,
    )
)]
struct Document;

/// The OpenAPI document.
pub fn document() -> utoipa::openapi::OpenApi {
    Document::openapi()
}

/// This document.
#[utoipa::path(get, path = "/api/v1/openapi.json", responses((status = 200, body = serde_json::Value)))]
pub(super) async fn serve() -> Json<utoipa::openapi::OpenApi> {
    Json(document())
}
