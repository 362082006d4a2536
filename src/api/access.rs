//! Who may do what: roles, and the guard that stands before every route.
//!
//! Words: a *caller* is who asks, by token, by the header of a trusted proxy, by a client certificate, or nobody in particular
//! (*anonymous*); a *role* says what a caller may do; a *gatekeeper* (implemented in `app`) knows tokens, proxies and the clock.
//! Invariants: every request but those of the page's own files, `/api/v1/health` and `/api/v1/session` passes the
//! gatekeeper; what changes something needs more than reading; a route that nobody thought of here needs the most.
//! The page cannot send a header with its event stream, so a token may also come as a cookie that scripts cannot read
//! (`HttpOnly`) and other sites cannot send (`SameSite=Strict`).

use super::Problem;
use axum::Json;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, Extension, Request};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::serve::IncomingStream;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use std::sync::Arc;
use utoipa::ToSchema;

/// The cookie that the page's token stands in.
const COOKIE: &str = "tramuntana_token";
/// How long a browser keeps it, s: a shift and a half.
const COOKIE_S: u32 = 12 * 3600;

/// What a caller may do. The order means nothing: see [`Role::may`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads everything.
    Viewer,
    /// Reads, approves, holds, pins, changes modes.
    Operator,
    /// Reads, and asks where jobs should run.
    Scheduler,
    /// All of it.
    Admin,
}

/// What a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    Nothing,
    Read,
    Place,
    Operate,
}

impl Role {
    pub fn may(self, need: Need) -> bool {
        match need {
            Need::Nothing | Need::Read => true,
            Need::Place => matches!(self, Role::Scheduler | Role::Operator | Role::Admin),
            Need::Operate => matches!(self, Role::Operator | Role::Admin),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Operator => "operator",
            Role::Scheduler => "scheduler",
            Role::Admin => "admin",
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's, the proxy user's or the certificate's name; none for an anonymous caller.
    pub name: Option<String>,
    pub role: Role,
}

impl Caller {
    /// Who an act is filed under: what the caller says of himself, and what is known of him.
    pub fn signs(&self, who: &str) -> String {
        match &self.name {
            Some(name) if who.trim().is_empty() || who == name => name.clone(),
            Some(name) => format!("{who} [{name}]"),
            None => who.to_owned(),
        }
    }
}

/// What a client's certificate says of its holder. TLS has verified it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCertificate {
    /// SHA-256 of the whole certificate, hex.
    pub fingerprint: String,
    /// As RFC 4514 writes it: `CN=desk,O=BSC,C=ES`.
    pub subject: String,
    /// Where it has just one.
    pub common_name: Option<String>,
    /// `DNS:…`, `URI:…`, `email:…`.
    pub names: Vec<String>,
    /// When it is over, epoch ms.
    pub not_after: i64,
}

/// What a request shows of its sender.
#[derive(Debug, Default)]
pub struct Credentials<'a> {
    pub token: Option<&'a str>,
    /// The value of a request header, for the one that a trusted proxy sets.
    pub headers: Option<&'a HeaderMap>,
    pub peer: Option<IpAddr>,
    /// That of the connection.
    pub certificate: Option<&'a ClientCertificate>,
}

/// Who is let in; implemented in `app`, which has the tokens and the clock. Refusals are counted there.
pub trait Gatekeeper: Send + Sync + 'static {
    fn caller(&self, shown: &Credentials) -> Result<Caller, Problem>;
    /// Does the listener speak TLS itself? Its cookies must not travel without.
    fn over_tls(&self) -> bool {
        false
    }
}

/// Where a request came from, and the certificate that was shown there.
#[derive(Clone, Debug)]
pub struct Peer {
    pub ip: IpAddr,
    pub certificate: Option<Arc<ClientCertificate>>,
}

impl Connected<IncomingStream<'_, tokio::net::TcpListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, tokio::net::TcpListener>) -> Peer {
        Peer { ip: stream.remote_addr().ip(), certificate: None }
    }
}

fn peer(request: &Request) -> Option<&Peer> {
    request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(p)| p)
}

/// What the session endpoint says of the caller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    pub name: Option<String>,
    pub role: Role,
}

/// A token to keep in the browser.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    pub token: String,
}

/// What a request needs, from its method and path alone.
pub fn need(method: &Method, path: &str) -> Need {
    match path {
        "/" | "/words.js" | "/draw.js" | "/plant.js" | "/trend.js" | "/reports.js" | "/app.js" | "/style.css" | "/api/v1/health"
        | "/api/v1/session" => Need::Nothing,
        _ if method == Method::GET || method == Method::HEAD => Need::Read,
        p if p.starts_with("/api/v1/placement/") || p.starts_with("/k8s/") => Need::Place,
        _ => Need::Operate,
    }
}

/// The token of a request: `Authorization: Bearer …`, else the page's cookie.
fn token(headers: &HeaderMap) -> Option<&str> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).and_then(|v| v.strip_prefix("Bearer "));
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(';'));
    let cookie = || cookies.map(str::trim).find_map(|c| c.strip_prefix(COOKIE)?.strip_prefix('='));
    bearer.map(str::trim).or_else(cookie).filter(|t| !t.is_empty())
}

fn shown(request: &Request) -> Credentials<'_> {
    let peer = peer(request);
    Credentials {
        token: token(request.headers()),
        headers: Some(request.headers()),
        peer: peer.map(|p| p.ip),
        certificate: peer.and_then(|p| p.certificate.as_deref()),
    }
}

/// Lets a request through with its [`Caller`] attached, or answers 401 or 403.
pub(super) async fn guard(Extension(gate): Extension<Arc<dyn Gatekeeper>>, mut request: Request, next: Next) -> Response {
    let need = need(request.method(), request.uri().path());
    // Nobody is asked who he is, so that nobody is refused: the session endpoint asks by itself.
    if need == Need::Nothing {
        return next.run(request).await;
    }
    match gate.caller(&shown(&request)) {
        Ok(caller) if caller.role.may(need) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Ok(caller) => Problem::new(
            StatusCode::FORBIDDEN,
            None,
            format!("the role {} may not do this", caller.role.name()),
            "use a token of a role that may: tramuntana token create --role operator".into(),
        )
        .into_response(),
        Err(problem) => with_challenge(problem),
    }
}

fn with_challenge(problem: Problem) -> Response {
    let mut response = problem.into_response();
    if response.status() == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer realm=\"tramuntana\""));
    }
    response
}

/// Who the caller is.
#[utoipa::path(get, path = "/api/v1/session",
    responses((status = 200, body = Session), (status = 401, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn session(Extension(gate): Extension<Arc<dyn Gatekeeper>>, request: Request) -> Response {
    match gate.caller(&shown(&request)) {
        Ok(c) => ([(header::CACHE_CONTROL, "no-store")], Json(Session { name: c.name, role: c.role })).into_response(),
        Err(problem) => with_challenge(problem),
    }
}

/// Keeps a token in the browser as a cookie; an empty one takes it away.
#[utoipa::path(post, path = "/api/v1/session", request_body = Login,
    responses((status = 200, body = Session), (status = 204, description = "the cookie is gone: an empty token signs out"), (status = 400, body = Problem, content_type = "application/problem+json"),
        (status = 401, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn login(
    Extension(gate): Extension<Arc<dyn Gatekeeper>>,
    headers: HeaderMap,
    login: Result<Json<Login>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let token = match super::acts::body(login) {
        Ok(l) => l.token.trim().to_owned(),
        Err(problem) => return problem.into_response(),
    };
    // Behind TLS, ours or a proxy's, the cookie must not travel without.
    let tls = gate.over_tls() || headers.get("x-forwarded-proto").is_some_and(|v| v == "https");
    let secure = if tls { "; Secure" } else { "" };
    let cookie = |value: &str, age: u32| format!("{COOKIE}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    if token.is_empty() {
        return ([(header::SET_COOKIE, cookie("", 0))], StatusCode::NO_CONTENT).into_response();
    }
    match gate.caller(&Credentials { token: Some(&token), ..Credentials::default() }) {
        Ok(c) => {
            let marks = [(header::SET_COOKIE, cookie(&token, COOKIE_S)), (header::CACHE_CONTROL, "no-store".to_owned())];
            (marks, Json(Session { name: c.name, role: c.role })).into_response()
        }
        Err(problem) => with_challenge(problem),
    }
}

/// Lets everybody do everything: for a listener that only this host reaches, and for tests.
pub struct Open;

impl Gatekeeper for Open {
    fn caller(&self, _: &Credentials) -> Result<Caller, Problem> {
        Ok(Caller { name: None, role: Role::Admin })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_needs_more_than_reading() {
        assert_eq!(need(&Method::GET, "/api/v1/points"), Need::Read);
        assert_eq!(need(&Method::GET, "/metrics"), Need::Read);
        assert_eq!(need(&Method::POST, "/api/v1/sites/x/mode"), Need::Operate);
        assert_eq!(need(&Method::POST, "/api/v1/placement/rank"), Need::Place);
        assert_eq!(need(&Method::DELETE, "/api/v1/not-yet-thought-of"), Need::Operate);
        assert_eq!(need(&Method::GET, "/api/v1/health"), Need::Nothing);
        assert!(!Role::Viewer.may(Need::Place) && !Role::Scheduler.may(Need::Operate) && Role::Operator.may(Need::Operate));
    }

    #[test]
    fn a_token_comes_as_a_bearer_or_as_the_pages_cookie() {
        let mut h = HeaderMap::new();
        assert_eq!(token(&h), None);
        h.insert(header::COOKIE, "a=b; tramuntana_token=tok; c=d".parse().unwrap());
        assert_eq!(token(&h), Some("tok"));
        h.insert(header::COOKIE, "tramuntana_token_other=tok".parse().unwrap());
        assert_eq!(token(&h), None);
        h.insert(header::AUTHORIZATION, "Bearer first".parse().unwrap());
        assert_eq!(token(&h), Some("first"));
        h.insert(header::AUTHORIZATION, "Basic abc".parse().unwrap());
        assert_eq!(token(&h), None);
    }

    #[test]
    fn a_named_caller_signs_with_his_token() {
        let c = Caller { name: Some("desk-1".into()), role: Role::Operator };
        assert_eq!(c.signs(""), "desk-1");
        assert_eq!(c.signs("Maria"), "Maria [desk-1]");
        assert_eq!(Caller { name: None, role: Role::Admin }.signs("Maria"), "Maria");
    }
}
