//! One request to `/api/v2/write`, and what its answer means.
//!
//! Answers (InfluxDB 2 API): 204 written; 429 and 503 wait, as long as `Retry-After` says; 401 and 403 the token; 404 bucket or
//! organisation; 413 the batch; 400 and 422 one of the lines; other 4xx our configuration; other 5xx and no answer at all the
//! server or the way to it.

use super::Target;
use crate::time::{Span, Timestamp};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// Longest time that one request may take.
const TIMEOUT: Duration = Duration::from_secs(30);
/// What is kept of an answer's text, characters.
const TEXT_MAX: usize = 300;
/// Longest wait that a server can ask for.
pub const WAIT_MAX: Span = Span::minutes(15);

/// Why a batch is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteFault {
    #[error("{url} does not answer: {why}; check the address and the network, it is tried again by itself")]
    NoAnswer { url: String, why: String },
    #[error("{url} asks to wait ({status}{}){text}", after.map_or(String::new(), |a| format!(", Retry-After {a}")))]
    Busy { url: String, status: u16, after: Option<Span>, text: String },
    #[error("{url} refuses the token ({status}){text}; give one that may write the bucket, in influx.token_env or influx.token_file")]
    Denied { url: String, status: u16, text: String },
    #[error("{url} knows no bucket {bucket:?} of organisation {org:?} (404){text}; make it, or mend influx.bucket and influx.org")]
    NotFound { url: String, org: String, bucket: String, text: String },
    #[error("{url} refuses a batch as too large (413){text}")]
    TooLarge { url: String, text: String },
    #[error("{url} refuses a line ({status}){text}")]
    BadLine { url: String, status: u16, text: String },
    #[error("{url} refuses the request ({status}){text}; is it an InfluxDB 2?")]
    BadRequest { url: String, status: u16, text: String },
    #[error("{url} fails ({status}){text}; it is tried again by itself")]
    Failing { url: String, status: u16, text: String },
}

impl WriteFault {
    /// A short name for counters: the status, or `no answer`.
    pub fn label(&self) -> String {
        match self {
            WriteFault::NoAnswer { .. } => "no answer".into(),
            WriteFault::NotFound { .. } => "404".into(),
            WriteFault::TooLarge { .. } => "413".into(),
            WriteFault::Busy { status, .. }
            | WriteFault::Denied { status, .. }
            | WriteFault::BadLine { status, .. }
            | WriteFault::BadRequest { status, .. }
            | WriteFault::Failing { status, .. } => status.to_string(),
        }
    }
    /// Somebody must mend something: trying again at once is useless.
    pub fn needs_a_hand(&self) -> bool {
        matches!(self, WriteFault::Denied { .. } | WriteFault::NotFound { .. } | WriteFault::BadRequest { .. })
    }
}

/// Writes batches to one server.
pub struct Writer {
    target: Target,
    agent: ureq::Agent,
    endpoint: String,
}

impl Writer {
    /// # Errors
    /// The authority's certificate is none.
    pub fn new(target: Target) -> Result<Writer, String> {
        let mut config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(TIMEOUT));
        if let Some(pem) = &target.authority {
            let certificates: Vec<_> = (ureq::tls::parse_pem(pem.as_bytes()).flatten())
                .filter_map(|item| if let ureq::tls::PemItem::Certificate(c) = item { Some(c) } else { None })
                .collect();
            if certificates.is_empty() {
                return Err("influx.ca_file holds no certificate; give the authority's PEM file".into());
            }
            let roots = ureq::tls::RootCerts::Specific(Arc::new(certificates));
            config = config.tls_config(ureq::tls::TlsConfig::builder().root_certs(roots).build());
        }
        let endpoint = format!("{}/api/v2/write", target.url);
        Ok(Writer { target, agent: config.build().into(), endpoint })
    }

    /// Sends lines, gzipped, in nanoseconds. `now` is the host's clock, for a `Retry-After` that is a date.
    pub fn write(&self, lines: &str, now: Timestamp) -> Result<(), WriteFault> {
        let url = self.target.url.clone();
        let no_answer = |why: String| WriteFault::NoAnswer { url: url.clone(), why };
        let mut gz = flate2::write::GzEncoder::new(Vec::with_capacity(lines.len() / 8), flate2::Compression::fast());
        let body = gz.write_all(lines.as_bytes()).and_then(|()| gz.finish()).map_err(|e| no_answer(e.to_string()))?;
        let t = &self.target;
        let mut request = (self.agent.post(&self.endpoint))
            .query("org", &t.org)
            .query("bucket", &t.bucket)
            .query("precision", "ns")
            .header("Content-Type", "text/plain; charset=utf-8")
            .header("Content-Encoding", "gzip");
        if !t.token.is_empty() {
            request = request.header("Authorization", format!("Token {}", t.token));
        }
        let mut answer = request.send(&body[..]).map_err(|e| no_answer(e.to_string()))?;
        let status = answer.status().as_u16();
        if matches!(status, 200..=299) {
            return Ok(());
        }
        let after = answer.headers().get("retry-after").and_then(|v| v.to_str().ok()).and_then(|v| retry_after(v, now));
        let text = said(&answer.body_mut().with_config().limit(64 * 1024).read_to_string().unwrap_or_default());
        Err(match status {
            429 | 503 => WriteFault::Busy { url, status, after, text },
            401 | 403 => WriteFault::Denied { url, status, text },
            404 => WriteFault::NotFound { url, org: t.org.clone(), bucket: t.bucket.clone(), text },
            413 => WriteFault::TooLarge { url, text },
            400 | 422 => WriteFault::BadLine { url, status, text },
            300..=499 => WriteFault::BadRequest { url, status, text },
            _ => WriteFault::Failing { url, status, text },
        })
    }
}

/// The server's own words: the `message` of its JSON, else the text, shortened.
fn said(body: &str) -> String {
    let json: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let text = json.as_ref().and_then(|j| j["message"].as_str().or(j["error"].as_str())).unwrap_or(body).trim();
    if text.is_empty() {
        return String::new();
    }
    let short: String = text.chars().filter(|c| !c.is_control()).take(TEXT_MAX).collect();
    format!(": {short}")
}

/// `Retry-After` (RFC 9110 §10.2.3): seconds, or a date; at most [`WAIT_MAX`].
pub fn retry_after(value: &str, now: Timestamp) -> Option<Span> {
    let wait = match value.trim().parse::<u64>() {
        Ok(s) => Span::seconds(i64::try_from(s).unwrap_or(i64::MAX / 1000).min(WAIT_MAX.0)),
        Err(_) => {
            let at = jiff::fmt::rfc2822::parse(value.trim()).ok()?;
            Timestamp(at.timestamp().as_millisecond()) - now
        }
    };
    Some(wait.clamp(Span::ZERO, WAIT_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let now = Timestamp::parse("2015-10-21T07:27:00Z").unwrap();
        assert_eq!(retry_after("120", now), Some(Span::seconds(120)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:28:00 GMT", now), Some(Span::minutes(1)));
        assert_eq!(retry_after("Wed, 21 Oct 2015 07:00:00 GMT", now), Some(Span::ZERO));
        assert_eq!(retry_after("999999999999", now), Some(WAIT_MAX));
        assert_eq!(retry_after("soon", now), None);
    }

    #[test]
    fn an_answers_own_words_are_kept_short() {
        assert_eq!(said(r#"{"code":"unauthorized","message":"unauthorized access"}"#), ": unauthorized access");
        assert_eq!(said(""), "");
        assert!(said(&"x".repeat(9000)).len() < 310);
    }
}
