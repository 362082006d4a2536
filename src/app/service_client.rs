//! Speaks to a running service: what `slurm` and `kubernetes` share.
//!
//! Invariants: no call is waited for longer than [`PATIENCE`]; a token never stands in an error or on a command line.

use crate::api::model::Hints;
use serde::Serialize;
use std::path::Path;
use std::time::Duration;

/// Longest time that the service may take to answer.
pub const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of one answer: hints of ten thousand racks.
const ANSWER_MAX: u64 = 64 << 20;

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
        let agent = ureq::Agent::config_builder().timeout_global(Some(PATIENCE)).build().into();
        Ok(ServiceClient { agent, base: api.trim_end_matches('/').to_owned(), token: token.filter(|t| !t.is_empty()) })
    }

    fn bearer(&self) -> Option<String> {
        self.token.as_ref().map(|t| format!("Bearer {t}"))
    }

    fn said(url: &str, e: &ureq::Error) -> String {
        let mend = match e {
            ureq::Error::StatusCode(401 | 403) => "; give a token of the role scheduler with --token-file or TRAMUNTANA_TOKEN",
            _ => "",
        };
        format!("{url}: {e}{mend}")
    }

    /// The placement hints of a site.
    pub fn hints(&self, site: &str) -> Result<Hints, String> {
        let url = format!("{}/api/v1/placement/hints?site={site}", self.base);
        let mut request = self.agent.get(&url);
        if let Some(b) = self.bearer() {
            request = request.header("authorization", b);
        }
        let mut answer = request.call().map_err(|e| ServiceClient::said(&url, &e))?;
        answer.body_mut().with_config().limit(ANSWER_MAX).read_json().map_err(|e| ServiceClient::said(&url, &e))
    }

    /// Posts a document; the answer's body is not read.
    pub fn post(&self, path: &str, body: &impl Serialize) -> Result<(), String> {
        let url = format!("{}{path}", self.base);
        let mut request = self.agent.post(&url);
        if let Some(b) = self.bearer() {
            request = request.header("authorization", b);
        }
        request.send_json(body).map(|_| ()).map_err(|e| ServiceClient::said(&url, &e))
    }
}
