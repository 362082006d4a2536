//! What an operator can do: approve, change the mode, hold, pin. Each act names who does it.
//!
//! Only `application/json` is taken, so that a foreign web page cannot post without the browser asking first (we never
//! answer such a question).

use super::access::Caller;
use super::model::*;
use super::routes::{find_site, no_recommendation};
use super::{Fault, Problem, Shared, blocking};
use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;

const WHO_MAX: usize = 100;
const WHY_MAX: usize = 1000;
/// Modes that an operator may choose; the others are entered by the controller alone.
const MODES: [&str; 4] = ["shadow", "advise", "auto", "leave"];

type Body<T> = Result<Json<T>, JsonRejection>;
type Who = Option<Extension<Caller>>;

/// The body, or a problem that says what is wrong with it.
pub(super) fn body<T>(body: Body<T>) -> Result<T, Problem> {
    body.map(|Json(value)| value).map_err(|e| {
        let mend = "send the JSON object that /api/v1/openapi.json describes, with content-type: application/json";
        let status = if e.status() == StatusCode::UNPROCESSABLE_ENTITY { StatusCode::BAD_REQUEST } else { e.status() };
        Problem::new(status, Some("body".into()), e.body_text(), mend.into())
    })
}

/// Who the act is filed under.
pub(super) fn signed(caller: Who, who: &str, why: &str) -> Result<String, Fault> {
    let who = &caller.map_or_else(|| who.to_owned(), |Extension(c)| c.signs(who));
    if who.trim().is_empty() {
        return Err(Fault::invalid("who", "is empty", "give your name: the act is kept with it"));
    }
    if who.len() > WHO_MAX || why.len() > WHY_MAX {
        let (field, max) = if who.len() > WHO_MAX { ("who", WHO_MAX) } else { ("why", WHY_MAX) };
        return Err(Fault::invalid(field, format!("is longer than {max} bytes"), "shorten it"));
    }
    Ok(who.clone())
}

/// Approves the recommendation that waits.
#[utoipa::path(post, path = "/api/v1/recommendations/{id}/approve", params(("id" = String, Path)), request_body = Act,
    responses((status = 200, body = Done), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json", description = "lapsed, superseded or not in `advise`")))]
pub(super) async fn approve(
    State(backend): State<Shared>,
    Path(id): Path<String>,
    caller: Who,
    act: Body<Act>,
) -> Result<Json<Done>, Problem> {
    let mut act = body(act)?;
    act.who = signed(caller, &act.who, &act.why)?;
    blocking(|| backend.recommendation(&id)).ok_or_else(|| no_recommendation(&id))?;
    Ok(Json(blocking(|| backend.approve(&id, &act))?))
}

/// Changes a site's mode, or what one loop of it may do.
#[utoipa::path(post, path = "/api/v1/sites/{id}/mode", params(("id" = String, Path)), request_body = ModeAct,
    responses((status = 200, body = Done), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn mode(
    State(backend): State<Shared>,
    Path(id): Path<String>,
    caller: Who,
    act: Body<ModeAct>,
) -> Result<Json<Done>, Problem> {
    let mut act = body(act)?;
    let site = find_site(&backend, &id)?;
    act.who = signed(caller, &act.who, &act.why)?;
    let as_the_site = act.mode == "site" && act.loop_id.is_some();
    if !(as_the_site || MODES.contains(&act.mode.as_str())) {
        let shown: String = act.mode.chars().take(40).collect();
        let detail = format!("{shown:?} is no mode that an operator can choose");
        return Err(Fault::invalid("mode", detail, format!("one of: {}", MODES.join(", "))).into());
    }
    Ok(Json(blocking(|| backend.set_mode(&site.id, &act))?))
}

/// Keeps a site's setpoints, or one loop's, as they are until released.
#[utoipa::path(post, path = "/api/v1/sites/{id}/hold", params(("id" = String, Path)), request_body = HoldAct,
    responses((status = 200, body = Done), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn hold(
    State(backend): State<Shared>,
    Path(id): Path<String>,
    caller: Who,
    act: Body<HoldAct>,
) -> Result<Json<Done>, Problem> {
    let mut act = body(act)?;
    let site = find_site(&backend, &id)?;
    act.who = signed(caller, &act.who, &act.why)?;
    Ok(Json(blocking(|| backend.hold(&site.id, &act))?))
}

/// Pins one actuator to a value within its bounds; null releases it.
#[utoipa::path(post, path = "/api/v1/sites/{id}/pin", params(("id" = String, Path)), request_body = PinAct,
    responses((status = 200, body = Done), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 409, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn pin(
    State(backend): State<Shared>,
    Path(id): Path<String>,
    caller: Who,
    act: Body<PinAct>,
) -> Result<Json<Done>, Problem> {
    let mut act = body(act)?;
    let site = find_site(&backend, &id)?;
    act.who = signed(caller, &act.who, &act.why)?;
    Ok(Json(blocking(|| backend.pin(&site.id, &act))?))
}

/// Says that somebody has seen an alarm: it is not told again until it clears or becomes worse.
#[utoipa::path(post, path = "/api/v1/sites/{id}/alarms/{alarm}/acknowledge", params(("id" = String, Path), ("alarm" = String, Path)),
    request_body = Act,
    responses((status = 200, body = Done), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn acknowledge(
    State(backend): State<Shared>,
    Path((id, alarm)): Path<(String, String)>,
    caller: Who,
    act: Body<Act>,
) -> Result<Json<Done>, Problem> {
    let mut act = body(act)?;
    let site = find_site(&backend, &id)?;
    act.who = signed(caller, &act.who, &act.why)?;
    Ok(Json(blocking(|| backend.acknowledge(&site.id, &alarm, &act))?))
}
