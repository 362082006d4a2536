//! Reports: the packs that there are, those that were made, one made on order, its files.
//!
//! Words: an *order* asks for a report; a *report* waits, is being made, is made, or failed.
//! Invariants: a report and a file are looked up among those that there are, and no part of a path is ever made of what was asked
//! for; a file leaves in pieces, so that a large one takes no more memory than a small one; a file is saved, never shown in place
//! of the page.

use super::access::Caller;
use super::acts::{body, signed};
use super::query::Params;
use super::routes::find_site;
use super::{Fault, Problem, Shared, blocking};
use axum::Json;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::rejection::JsonRejection;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use http_body::{Frame, SizeHint};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::pin::Pin;
use std::task::{Context, Poll};
use utoipa::ToSchema;

/// What is read of a file and sent at once.
const PIECE: u64 = 64 * 1024;

/// What files of a report may be.
pub const MEDIA_TYPES: [&str; 6] = [
    "application/pdf",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "text/csv",
    "application/json",
    "text/html",
    "application/octet-stream",
];

/// How far a report is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ReportState {
    #[default]
    Waiting,
    Making,
    Made,
    Failed,
}

/// One file of a report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportFile {
    /// As it stands in its address: `/api/v1/reports/{id}/files/{name}`.
    pub name: String,
    pub media_type: String,
    pub bytes: u64,
    /// BLAKE3, hex.
    pub digest: String,
}

/// One report.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Report {
    pub id: String,
    pub pack: String,
    /// A year, or `A..B` with B not part of it, in the sites' zone.
    pub period: String,
    /// The one site; null: all sites as one group.
    pub site: Option<String>,
    /// The sites in it, by id.
    pub sites: Vec<String>,
    /// en, es or ca.
    pub lang: String,
    pub state: ReportState,
    /// What is being done now.
    pub step: String,
    /// The share that is done, 0 to 1.
    pub done: f64,
    /// Why it failed, and the way out.
    pub why_not: Option<String>,
    pub ordered_by: String,
    pub why: String,
    /// Epoch ms on the service's clock, as the other two.
    pub ordered_at: i64,
    pub made_at: Option<i64>,
    /// 1 for the first of its pack, period, sites and language; one that tells other figures adds 1.
    pub version: u32,
    /// Figures that differ from the version before.
    pub changes: usize,
    /// Figures that it has, and those of them that are printed as missing.
    pub figures: usize,
    pub missing: usize,
    /// Documents first, then tables.
    pub files: Vec<ReportFile>,
}

/// A pack: definitions that a report follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportPack {
    pub id: String,
    pub version: String,
    /// By language: en, es, ca.
    pub title: BTreeMap<String, String>,
    pub citation: String,
}

/// The reports of this service.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReportList {
    pub packs: Vec<ReportPack>,
    /// Orders that may still be given before one is done.
    pub room: usize,
    /// Newest first.
    pub reports: Vec<Report>,
}

/// An order.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReportOrder {
    /// One of the packs of GET /api/v1/reports.
    pub pack: String,
    /// A year (`2026`), or two dates or instants `2026-01-01..2026-07-01`, the second not part of it, in the sites' zone.
    pub period: String,
    /// One site; all sites as one group where absent.
    #[serde(default)]
    pub site: Option<String>,
    /// The report's language; English where absent.
    #[serde(default = "english")]
    pub lang: String,
    /// Who orders it; the token's name where absent.
    #[serde(default)]
    pub who: String,
    #[serde(default)]
    pub why: String,
}

fn english() -> String {
    "en".into()
}

/// A file that is open to be sent.
pub struct OpenFile {
    pub file: std::fs::File,
    pub told: ReportFile,
    /// What it is called where it is saved: letters, digits, `.`, `-`, `_`.
    pub save_as: String,
}

type Marks = [(HeaderName, String); 2];

/// Does the client have this already?
fn has(headers: &HeaderMap, tag: &str) -> bool {
    let told = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(','));
    told.map(str::trim).any(|t| t == "*" || t.trim_start_matches("W/") == tag.trim_start_matches("W/"))
}

/// A document with its tag; 304 for who has it already.
fn tagged(headers: &HeaderMap, document: &impl Serialize) -> Response {
    let text = serde_json::to_vec(document).unwrap_or_default();
    let tag = format!("W/\"{}\"", &blake3::hash(&text).to_hex()[..16]);
    let marks: Marks = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "no-cache".into())];
    match has(headers, &tag) {
        true => (StatusCode::NOT_MODIFIED, marks).into_response(),
        false => (marks, [(header::CONTENT_TYPE, "application/json")], text).into_response(),
    }
}

fn no_report(id: &str) -> Fault {
    let shown: String = id.chars().take(80).collect();
    Fault::unknown(
        "id",
        format!("no report is called {shown:?}"),
        "see /api/v1/reports; old ones are taken away ([reports] of the configuration)",
    )
}

/// Packs, and the reports that wait, are being made, are there or failed, newest first.
#[utoipa::path(get, path = "/api/v1/reports",
    params(("site" = Option<String>, Query, description = "those that this site is in"), ("limit" = Option<usize>, Query, description = "1–1,000; 100 where absent")),
    responses((status = 200, body = ReportList, headers(("ETag" = String))), (status = 304, description = "not changed"),
        (status = 400, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn list(State(backend): State<Shared>, uri: Uri, headers: HeaderMap) -> Result<Response, Fault> {
    let params = Params::read(&uri, &["site", "limit"])?;
    let limit = params.count("limit", 100, 1, 1000)?;
    let site = params.text("site").map(|id| find_site(&backend, id)).transpose()?.map(|s| s.id);
    let mut all = backend.reports();
    all.reports.retain(|r| site.as_ref().is_none_or(|id| r.sites.contains(id)));
    all.reports.truncate(limit);
    Ok(tagged(&headers, &all))
}

/// Orders a report: it is made in the background, one at a time. One that waits or is being made already is not ordered twice.
#[utoipa::path(post, path = "/api/v1/reports", request_body = ReportOrder,
    responses((status = 202, body = Report, description = "ordered; Location says where it is", headers(("Location" = String))),
        (status = 400, body = Problem, content_type = "application/problem+json"), (status = 404, body = Problem, content_type = "application/problem+json"),
        (status = 429, body = Problem, content_type = "application/problem+json", description = "too many wait")))]
pub(super) async fn order(
    State(backend): State<Shared>,
    caller: Option<Extension<Caller>>,
    order: Result<Json<ReportOrder>, JsonRejection>,
) -> Result<Response, Problem> {
    let mut order = body(order)?;
    order.who = signed(caller, &order.who, &order.why)?;
    order.site = match order.site.as_deref().map(str::trim).filter(|s| !s.is_empty()) {
        Some(id) => Some(find_site(&backend, id)?.id),
        None => None,
    };
    let report = blocking(|| backend.order_report(&order))?;
    let place = format!("/api/v1/reports/{}", report.id);
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, place)], Json(report)).into_response())
}

/// One report: how far it is, its files.
#[utoipa::path(get, path = "/api/v1/reports/{id}", params(("id" = String, Path)),
    responses((status = 200, body = Report, headers(("ETag" = String))), (status = 304, description = "not changed"),
        (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn one(State(backend): State<Shared>, Path(id): Path<String>, headers: HeaderMap) -> Result<Response, Fault> {
    let all = backend.reports();
    let report = all.reports.iter().find(|r| r.id == id).ok_or_else(|| no_report(&id))?;
    Ok(tagged(&headers, report))
}

/// One file of a report, to save.
#[utoipa::path(get, path = "/api/v1/reports/{id}/files/{name}", params(("id" = String, Path), ("name" = String, Path)),
    responses((status = 200, description = "the file", body = Vec<u8>, content_type = "application/octet-stream",
            headers(("ETag" = String), ("Content-Disposition" = String))),
        (status = 304, description = "not changed"), (status = 404, body = Problem, content_type = "application/problem+json")))]
pub(super) async fn file(
    State(backend): State<Shared>,
    Path((id, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, Fault> {
    let open = blocking(|| backend.report_file(&id, &name))?;
    // Weak: what is sent may be packed on its way.
    let tag = format!("W/\"{}\"", open.told.digest.chars().take(32).collect::<String>());
    let marks: Marks = [(header::ETAG, tag.clone()), (header::CACHE_CONTROL, "private, no-cache".into())];
    if has(&headers, &tag) {
        return Ok((StatusCode::NOT_MODIFIED, marks).into_response());
    }
    let more = [
        (header::CONTENT_TYPE, open.told.media_type),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", open.save_as)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".into()),
        (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:".into()),
    ];
    let body = Body::new(Pieces { file: open.file, left: open.told.bytes });
    Ok((marks, more, body).into_response())
}

/// A file as a body, read as it is sent.
struct Pieces {
    file: std::fs::File,
    left: u64,
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
        if self.left == 0 {
            return Poll::Ready(None);
        }
        let mut piece = vec![0; self.left.min(PIECE) as usize];
        let read = blocking(|| self.file.read(&mut piece));
        Poll::Ready(Some(match read {
            // Shorter than it was: the connection breaks rather than pass a part for the whole.
            Ok(0) => Err(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => {
                piece.truncate(n);
                self.left -= n as u64;
                Ok(Frame::data(piece.into()))
            }
            Err(e) => Err(e),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_known_again() {
        let mut h = HeaderMap::new();
        assert!(!has(&h, "W/\"a\""));
        h.insert(header::IF_NONE_MATCH, "\"b\", W/\"a\"".parse().unwrap());
        assert!(has(&h, "W/\"a\"") && has(&h, "\"b\"") && !has(&h, "\"c\""));
        h.insert(header::IF_NONE_MATCH, "*".parse().unwrap());
        assert!(has(&h, "\"c\""));
    }

    #[test]
    fn a_file_leaves_in_pieces_and_a_shorter_one_breaks_off() {
        let path = std::env::temp_dir().join(format!("tramuntana-pieces-{}", std::process::id()));
        std::fs::write(&path, vec![7; 100_000]).unwrap();
        let read = |bytes: u64| {
            let mut p = Pieces { file: std::fs::File::open(&path).unwrap(), left: bytes };
            let mut sizes = Vec::new();
            while let Poll::Ready(Some(frame)) = Pin::new(&mut p).poll_frame(&mut Context::from_waker(std::task::Waker::noop())) {
                match frame {
                    Ok(f) => sizes.push(f.data_ref().map_or(0, |d| d.len())),
                    Err(e) => return Err(e.kind()),
                }
            }
            Ok(sizes)
        };
        assert_eq!(read(100_000), Ok(vec![65_536, 34_464]));
        assert_eq!(read(100_001), Err(std::io::ErrorKind::UnexpectedEof));
        std::fs::remove_file(&path).unwrap();
    }
}
