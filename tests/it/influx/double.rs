//! A wire double of InfluxDB 2: `/health`, `/ping`, `/api/v2/write`, `/api/v2/query`, as its API describes them.
//!
//! It keeps what is written by (series, timestamp), counts what came again, answers the questions that `influx::flux` asks
//! by annotated CSV, and can be told what to answer next. PyPI's `influxdb-client` is run against it to show that it is true.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write as _;
use std::io::Read;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Instant;

pub const TOKEN: &str = "tramuntana-token";
pub const ORG: &str = "bsc";
pub const BUCKET: &str = "telemetry";

/// One point of a series: its fields as they were written.
pub type Fields = BTreeMap<String, String>;

/// What the double knows.
#[derive(Default)]
pub struct Kept {
    /// Measurement and tags (unescaped, in the order of their names) → timestamp, ns → fields.
    pub series: BTreeMap<BTreeMap<String, String>, BTreeMap<i64, Fields>>,
    /// Points whose (series, timestamp) was there, with the same fields and with others.
    pub again: u64,
    pub overwritten: u64,
    pub requests: Vec<(Instant, u16, usize)>,
    pub gzipped: u64,
    /// Answers to the next writes: status, `Retry-After`.
    pub script: VecDeque<(u16, Option<String>)>,
    /// More lines than this in a request are 413.
    pub lines_max: Option<usize>,
    /// A line that has this text is refused, and its whole batch with it.
    pub refused_text: Option<String>,
    pub token: String,
    pub questions: Vec<String>,
}

impl Kept {
    pub fn points(&self) -> usize {
        self.series.values().map(BTreeMap::len).sum()
    }
}

/// A running double; ends when it is dropped.
pub struct Double {
    pub url: String,
    pub port: u16,
    kept: Arc<Mutex<Kept>>,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Drop for Double {
    fn drop(&mut self) {
        if let Some(r) = self.runtime.take() {
            r.shutdown_background();
        }
    }
}

impl Double {
    pub fn new() -> Double {
        let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port();
        let kept = Kept { token: TOKEN.into(), ..Kept::default() };
        let mut d = Double { url: format!("http://127.0.0.1:{port}"), port, kept: Arc::new(Mutex::new(kept)), runtime: None };
        d.up();
        d
    }

    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Nothing listens any more.
    pub fn down(&mut self) {
        if let Some(r) = self.runtime.take() {
            r.shutdown_timeout(std::time::Duration::from_secs(5));
        }
    }

    pub fn up(&mut self) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        let listener = std::net::TcpListener::bind(("127.0.0.1", self.port)).expect("the double's port");
        listener.set_nonblocking(true).expect("non-blocking");
        let router = Router::new()
            .route("/health", get(|| async { axum::Json(serde_json::json!({"name": "influxdb", "message": "ready for queries and writes", "status": "pass", "checks": [], "version": "double", "commit": "none"})) }))
            .route("/ping", get(ping).head(ping))
            .route("/api/v2/write", post(write))
            .route("/api/v2/query", post(query))
            .layer(DefaultBodyLimit::max(64 << 20))
            .with_state(Arc::clone(&self.kept));
        runtime.spawn(async move {
            let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
            let _ = axum::serve(listener, router).await;
        });
        self.runtime = Some(runtime);
    }
}

async fn ping() -> impl IntoResponse {
    (StatusCode::NO_CONTENT, [("x-influxdb-version", "double"), ("x-influxdb-build", "OSS")])
}

type Shared = State<Arc<Mutex<Kept>>>;

fn fault(status: u16, code: &str, message: &str, retry: Option<&str>) -> Response {
    let mut r = (StatusCode::from_u16(status).expect("a status"), axum::Json(serde_json::json!({"code": code, "message": message})))
        .into_response();
    if let Some(v) = retry {
        r.headers_mut().insert("Retry-After", v.parse().expect("a header"));
    }
    r
}

/// `None` where the caller may go on.
fn refuse(kept: &Kept, headers: &HeaderMap, query: &HashMap<String, String>) -> Option<Response> {
    let token = headers.get("authorization").and_then(|v| v.to_str().ok()).unwrap_or("");
    if token != format!("Token {}", kept.token) {
        return Some(fault(401, "unauthorized", "unauthorized access", None));
    }
    if query.get("org").is_none_or(|o| o != ORG) {
        return Some(fault(404, "not found", "organization name not found", None));
    }
    None
}

async fn write(State(kept): Shared, Query(query): Query<HashMap<String, String>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut kept = kept.lock().unwrap_or_else(|e| e.into_inner());
    let (answer, lines) = write_now(&mut kept, &query, &headers, &body);
    let status = answer.status().as_u16();
    kept.requests.push((Instant::now(), status, lines));
    answer
}

fn write_now(kept: &mut Kept, query: &HashMap<String, String>, headers: &HeaderMap, body: &[u8]) -> (Response, usize) {
    if let Some(r) = refuse(kept, headers, query) {
        return (r, 0);
    }
    if let Some((status, retry)) = kept.script.pop_front() {
        let code = if status == 429 { "too many requests" } else { "unavailable" };
        return (fault(status, code, "as told", retry.as_deref()), 0);
    }
    if query.get("bucket").is_none_or(|b| b != BUCKET) {
        return (fault(404, "not found", &format!("bucket {:?} not found", query.get("bucket")), None), 0);
    }
    let mut text = String::new();
    if headers.get("content-encoding").is_some_and(|e| e == "gzip") {
        kept.gzipped += 1;
        if flate2::read::GzDecoder::new(body).read_to_string(&mut text).is_err() {
            return (fault(400, "invalid", "gzip: invalid header", None), 0);
        }
    } else {
        text = String::from_utf8_lossy(body).into_owned();
    }
    let scale = match query.get("precision").map_or("ns", String::as_str) {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return (fault(400, "invalid", "precision must be one of: ns, us, ms, s", None), 0),
    };
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    if kept.lines_max.is_some_and(|m| lines.len() > m) {
        return (fault(413, "request too large", "unable to read data: points batch is too large", None), lines.len());
    }
    let mut points = Vec::with_capacity(lines.len());
    for line in &lines {
        let bad = kept.refused_text.as_ref().is_some_and(|t| line.contains(t.as_str()));
        match point(line).filter(|_| !bad) {
            Some(p) => points.push(p),
            None => return (fault(400, "invalid", &format!("unable to parse '{line}': bad line"), None), lines.len()),
        }
    }
    for (series, fields, at) in points {
        let (mut again, mut overwritten) = (0, 0);
        match kept.series.entry(series).or_default().entry(at * scale) {
            std::collections::btree_map::Entry::Vacant(v) => {
                v.insert(fields);
            }
            std::collections::btree_map::Entry::Occupied(mut o) => {
                if *o.get() == fields {
                    again = 1;
                } else {
                    overwritten = 1;
                    o.get_mut().extend(fields);
                }
            }
        }
        kept.again += again;
        kept.overwritten += overwritten;
    }
    (StatusCode::NO_CONTENT.into_response(), lines.len())
}

/// Splits at a character that no backslash stands before.
fn split(text: &str, at: char) -> Vec<String> {
    let mut out = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        if c == '\\' && chars.peek().is_some_and(|n| matches!(n, ',' | '=' | ' ')) {
            let next = chars.next().expect("peeked");
            let last = out.last_mut().expect("one");
            if at == '\0' {
                last.push(next);
            } else {
                last.push('\\');
                last.push(next);
            }
        } else if c == at {
            out.push(String::new());
        } else {
            out.last_mut().expect("one").push(c);
        }
    }
    out
}

fn plain(text: &str) -> String {
    split(text, '\0').remove(0)
}

/// One line: series, fields, timestamp. Fields with blanks in strings are not understood: nobody here writes them.
fn point(line: &str) -> Option<(BTreeMap<String, String>, Fields, i64)> {
    let parts = split(line, ' ');
    let [head, fields, at] = parts.as_slice() else { return None };
    let mut tags = split(head, ',').into_iter();
    let mut series = BTreeMap::from([("_measurement".to_owned(), plain(&tags.next().filter(|m| !m.is_empty())?))]);
    for t in tags {
        let pair = split(&t, '=');
        let [k, v] = pair.as_slice() else { return None };
        if k.is_empty() || v.is_empty() {
            return None;
        }
        series.insert(plain(k), plain(v));
    }
    let mut out = Fields::new();
    for f in split(fields, ',') {
        let (k, v) = f.split_once('=')?;
        let number = v.trim_end_matches('i').trim_end_matches('u');
        number.parse::<f64>().ok().filter(|n| n.is_finite())?;
        out.insert(plain(k), v.to_owned());
    }
    Some((series, out, at.parse().ok()?))
}

async fn query(State(kept): Shared, Query(params): Query<HashMap<String, String>>, headers: HeaderMap, body: Bytes) -> Response {
    let mut kept = kept.lock().unwrap_or_else(|e| e.into_inner());
    if let Some(r) = refuse(&kept, &headers, &params) {
        return r;
    }
    let json: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let flux = json["query"].as_str().unwrap_or_default().to_owned();
    kept.questions.push(flux.clone());
    let csv = if flux.starts_with("buckets()") { buckets(&flux) } else { steps(&kept, &flux) };
    match csv {
        Some(csv) => ([("Content-Type", "text/csv; charset=utf-8")], csv).into_response(),
        None => fault(400, "invalid", "compilation failed: the double does not know this question", None),
    }
}

/// The text between two marks.
fn between<'a>(text: &'a str, begin: &str, end: &str) -> Option<&'a str> {
    let from = text.find(begin)? + begin.len();
    Some(&text[from..from + text[from..].find(end)?])
}

/// A Flux string literal that begins after a mark.
fn literal(text: &str, mark: &str) -> Option<String> {
    let rest = text[text.find(mark)? + mark.len()..].strip_prefix('"')?;
    let (mut out, mut chars) = (String::new(), rest.chars());
    loop {
        match chars.next()? {
            '"' => return Some(out),
            '\\' => match chars.next()? {
                'n' => out.push('\n'),
                't' => out.push('\t'),
                'r' => out.push('\r'),
                'x' => out.push(char::from(u8::from_str_radix(&format!("{}{}", chars.next()?, chars.next()?), 16).ok()?)),
                c => out.push(c),
            },
            c => out.push(c),
        }
    }
}

fn buckets(flux: &str) -> Option<String> {
    let name = literal(flux, "r.name == ")?;
    let head = "#datatype,string,long,string\r\n#group,false,false,false\r\n#default,_result,,\r\n,result,table,name\r\n";
    Some(if name == BUCKET { format!("{head},,0,{name}\r\n\r\n") } else { "\r\n".into() })
}

fn steps(kept: &Kept, flux: &str) -> Option<String> {
    let ns = |t: &str| t.parse::<jiff::Timestamp>().ok().map(|t| t.as_nanosecond() as i64);
    let (start, stop) = (ns(between(flux, "start: ", ",")?)?, ns(between(flux, "stop: ", ")")?)?);
    let every = between(flux, "every: ", "ms")?.parse::<i64>().ok()? * 1_000_000;
    let (site, path) = (literal(flux, "r.site == ")?, literal(flux, "r.path == ")?);
    if literal(flux, "from(bucket: ")? != BUCKET {
        return Some(
            "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,could not find bucket,\r\n\r\n".into(),
        );
    }
    let mut tables: Vec<(BTreeMap<i64, Vec<f64>>, BTreeMap<i64, i64>)> = Vec::new();
    for (series, points) in &kept.series {
        if series.get("site") != Some(&site) || series.get("path") != Some(&path) {
            continue;
        }
        let (mut values, mut marks) = (BTreeMap::<i64, Vec<f64>>::new(), BTreeMap::<i64, i64>::new());
        for (at, fields) in points.range(start..stop) {
            // A window begins at a multiple of its length, or where the range does.
            let window = at.div_euclid(every).saturating_mul(every).max(start);
            if let Some(v) = fields.get("value").and_then(|v| v.parse().ok()) {
                values.entry(window).or_default().push(v);
            }
            if let Some(q) = fields.get("quality").and_then(|q| q.trim_end_matches('i').parse::<i64>().ok()) {
                *marks.entry(window).or_default() |= q;
            }
        }
        tables.push((values, marks));
    }
    let time = |ns: i64| jiff::Timestamp::from_nanosecond(i128::from(ns)).map(|t| t.to_string()).unwrap_or_default();
    let mut out = String::new();
    type Fold = fn(&[f64]) -> String;
    let folds: [(&str, &str, Fold); 4] = [
        ("sum", "double", |v| v.iter().sum::<f64>().to_string()),
        ("count", "long", |v| v.len().to_string()),
        ("min", "double", |v| v.iter().copied().fold(f64::INFINITY, f64::min).to_string()),
        ("max", "double", |v| v.iter().copied().fold(f64::NEG_INFINITY, f64::max).to_string()),
    ];
    for (name, kind, fold) in folds {
        let _ = write!(
            out,
            "#datatype,string,long,dateTime:RFC3339,{kind}\r\n#group,false,false,false,false\r\n#default,{name},,,\r\n,result,table,_time,_value\r\n"
        );
        for (table, (values, _)) in tables.iter().enumerate() {
            for (at, v) in values {
                let _ = write!(out, ",,{table},{},{}\r\n", time(*at), fold(v));
            }
        }
        out.push_str("\r\n");
    }
    let _ = write!(
        out,
        "#datatype,string,long,dateTime:RFC3339,long\r\n#group,false,false,true,false\r\n#default,quality,,,\r\n,result,table,_start,marks\r\n"
    );
    for (table, (_, marks)) in tables.iter().enumerate() {
        for (at, q) in marks {
            let _ = write!(out, ",,{table},{},{q}\r\n", time(*at));
        }
    }
    out.push_str("\r\n");
    Some(out)
}
