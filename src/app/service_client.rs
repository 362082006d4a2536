//! Speaks to a running service: what `slurm` and `kubernetes` share.
//!
//! Invariants: no call is waited for longer than [`PATIENCE`]; a token never stands in an error or on a command line.

use crate::api::Problem;
use crate::api::model::Hints;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;
use ureq::Body;
use ureq::http::Response;

/// Longest time that the service may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of one answer: hints of ten thousand racks.
const ANSWER_MAX: u64 = 64 << 20;
/// Bytes of a problem document.
const PROBLEM_MAX: u64 = 64 << 10;

/// A service's address, and our token where it wants one.
pub struct ServiceClient {
    agent: ureq::Agent,
    base: String,
    token: Option<String>,
}

impl ServiceClient {
    /// The token is the first line of the file, else of the environment variable `TRAMUNTANA_TOKEN`, else none.
    pub fn new(api: &str, token_file: Option<&Path>) -> Result<ServiceClient, String> {
        let token = match token_file {
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}; give another with --token-file", path.display()))?;
                text.lines().next().map(|l| l.trim().to_owned())
            }
            None => std::env::var("TRAMUNTANA_TOKEN").ok(),
        };
        let agent = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build().into();
        Ok(ServiceClient { agent, base: api.trim_end_matches('/').to_owned(), token: token.filter(|t| !t.is_empty()) })
    }

    fn bearer(&self) -> Option<String> {
        self.token.as_ref().map(|t| format!("Bearer {t}"))
    }

    /// The answer, where it is no refusal; a refusal in the service's own words.
    fn taken(url: &str, answer: Result<Response<Body>, ureq::Error>) -> Result<Response<Body>, String> {
        let mut answer = answer.map_err(|e| format!("{url}: {e}"))?;
        let status = answer.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(answer);
        }
        let mend = match status.as_u16() {
            401 | 403 => "; give a token of the role scheduler with --token-file or TRAMUNTANA_TOKEN",
            _ => "",
        };
        let problem = answer.body_mut().with_config().limit(PROBLEM_MAX).read_json::<Problem>();
        // What is no problem document comes from something before the service: a proxy, or another server.
        let said = problem.map_or_else(|_| format!("http status: {}", status.as_u16()), |p| format!("{}; {}", p.detail, p.mend));
        Err(format!("{url}: {said}{mend}"))
    }

    /// The placement hints of a site.
    pub fn hints(&self, site: &str) -> Result<Hints, String> {
        let url = format!("{}/api/v1/placement/hints?site={site}", self.base);
        let mut request = self.agent.get(&url);
        if let Some(b) = self.bearer() {
            request = request.header("authorization", b);
        }
        let mut answer = ServiceClient::taken(&url, request.call())?;
        answer.body_mut().with_config().limit(ANSWER_MAX).read_json().map_err(|e| format!("{url}: {e}"))
    }

    /// Posts a document; the body of an answer that is no refusal is not read.
    pub fn post(&self, path: &str, body: &impl Serialize) -> Result<(), String> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.post(&url);
        if let Some(b) = self.bearer() {
            request = request.header("authorization", b);
        }
        ServiceClient::taken(&url, request.send_json(body)).map(|_| ())
    }
}
