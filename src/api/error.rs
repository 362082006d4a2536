//! One error type, one map to status, one document: RFC 9457 `application/problem+json`.

use axum::Json;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Why a backend cannot do what was asked. `detail` says what is wrong, `mend` the way out.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// The named thing does not exist.
    #[error("{detail}; {mend}")]
    Unknown { field: String, detail: String, mend: String },
    /// A value is outside what is allowed.
    #[error("{field}: {detail}; {mend}")]
    Invalid { field: String, detail: String, mend: String },
    /// Not in the present state (lapsed recommendation, wrong mode).
    #[error("{detail}; {mend}")]
    Conflict { detail: String, mend: String },
    /// Too much is asked for at once.
    #[error("{detail}; {mend}")]
    Busy { detail: String, mend: String },
    /// Cannot answer now.
    #[error("{detail}; {mend}")]
    Unavailable { detail: String, mend: String },
}

impl Fault {
    pub fn unknown(field: &str, detail: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault::Unknown { field: field.into(), detail: detail.into(), mend: mend.into() }
    }
    pub fn invalid(field: &str, detail: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault::Invalid { field: field.into(), detail: detail.into(), mend: mend.into() }
    }
    pub fn conflict(detail: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault::Conflict { detail: detail.into(), mend: mend.into() }
    }
    pub fn busy(detail: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault::Busy { detail: detail.into(), mend: mend.into() }
    }
    pub fn unavailable(detail: impl Into<String>, mend: impl Into<String>) -> Fault {
        Fault::Unavailable { detail: detail.into(), mend: mend.into() }
    }
}

/// A problem document (RFC 9457). `type` is `about:blank`: the status says the class, `detail` the case.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    #[serde(rename = "type")]
    pub kind: String,
    pub title: String,
    pub status: u16,
    pub detail: String,
    /// The parameter or body field that is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// The way out.
    pub mend: String,
}

impl Problem {
    pub fn new(status: StatusCode, field: Option<String>, detail: String, mend: String) -> Problem {
        let title = status.canonical_reason().unwrap_or("Error").to_owned();
        Problem { kind: "about:blank".into(), title, status: status.as_u16(), detail, field, mend }
    }
}

impl From<Fault> for Problem {
    fn from(fault: Fault) -> Problem {
        match fault {
            Fault::Unknown { field, detail, mend } => Problem::new(StatusCode::NOT_FOUND, Some(field), detail, mend),
            Fault::Invalid { field, detail, mend } => Problem::new(StatusCode::BAD_REQUEST, Some(field), detail, mend),
            Fault::Conflict { detail, mend } => Problem::new(StatusCode::CONFLICT, None, detail, mend),
            Fault::Busy { detail, mend } => Problem::new(StatusCode::TOO_MANY_REQUESTS, None, detail, mend),
            Fault::Unavailable { detail, mend } => Problem::new(StatusCode::SERVICE_UNAVAILABLE, None, detail, mend),
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = [(header::CONTENT_TYPE, "application/problem+json"), (header::CACHE_CONTROL, "no-store")];
        (status, headers, Json(self)).into_response()
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        Problem::from(self).into_response()
    }
}

pub(crate) async fn no_such_route(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(200).collect();
    Problem::new(StatusCode::NOT_FOUND, None, format!("nothing is at {path}"), "see /api/v1/openapi.json for what there is".into())
}

pub(crate) async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        None,
        "this address does not take that method".into(),
        "see /api/v1/openapi.json for the methods of each address".into(),
    )
}

/// Answers of the limiting layers have no document of their own: they get one here.
pub(crate) async fn as_problem(response: Response) -> Response {
    let has_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|v| v.as_bytes().ends_with(b"json"));
    let (detail, mend) = match response.status() {
        _ if has_json => return response,
        StatusCode::PAYLOAD_TOO_LARGE => {
            ("the request's body is too large", "the acts take a short JSON object, lists of jobs and nodes 8 MiB: send fewer")
        }
        StatusCode::SERVICE_UNAVAILABLE => ("the answer took too long", "ask for less, or again later"),
        _ => return response,
    };
    Problem::new(response.status(), None, detail.into(), mend.into()).into_response()
}
