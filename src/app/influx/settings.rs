//! `[influx]` of the configuration: which InfluxDB 2, and what for.

use crate::influx::Target;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// See `sensors/tramuntana.toml`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InfluxSettings {
    /// `http://host:8086` or `https://…`.
    pub url: String,
    pub org: String,
    pub bucket: String,
    /// Name of the environment variable that holds the token.
    #[serde(default)]
    pub token_env: Option<String>,
    /// File whose first line is the token.
    #[serde(default)]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authority that signed the server's certificate, where it is not a public one.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// Send every reading there, after the embedded store has it.
    #[serde(default = "yes")]
    pub mirror: bool,
    /// Answer for times before the embedded store's first reading from there.
    #[serde(default)]
    pub read: bool,
    /// Readings of one request.
    #[serde(default = "default_batch")]
    pub batch: usize,
    /// Readings wait at most so long for their request to fill, s.
    #[serde(default = "default_linger_s")]
    pub linger_s: f64,
    /// Disk that may be used while the server is away, GiB; beyond it the oldest readings are left out of the mirror.
    #[serde(default = "default_backlog_gib")]
    pub backlog_gib: f64,
}

fn yes() -> bool {
    true
}
fn default_batch() -> usize {
    5000
}
fn default_linger_s() -> f64 {
    1.0
}
fn default_backlog_gib() -> f64 {
    16.0
}

impl InfluxSettings {
    /// What is wrong, as (key, why and the way out).
    pub fn check(&self) -> Result<(), (String, String)> {
        let fail = |what: &str, why: &str| Err((format!("influx.{what}"), why.to_owned()));
        let authority = self.url.strip_prefix("http://").or_else(|| self.url.strip_prefix("https://"));
        match authority.map(|a| a.trim_end_matches('/')) {
            Some(a) if !a.is_empty() && !a.contains(['/', '?', '#', '@', ' ']) => {}
            _ => return fail("url", "is not http://host:port or https://host:port; for example http://127.0.0.1:8086"),
        }
        if self.org.is_empty() || self.bucket.is_empty() {
            return fail("org, influx.bucket", "must not be empty; they are the organisation's and the bucket's names");
        }
        if self.token_env.is_some() && self.token_file.is_some() {
            return fail("token_env", "give `token_env` or `token_file`, not both");
        }
        if !(1..=50_000).contains(&self.batch) {
            return fail("batch", "must be 1 to 50,000 readings");
        }
        if !(0.0..=3600.0).contains(&self.linger_s) {
            return fail("linger_s", "must be 0 to 3,600 s");
        }
        if !(0.01..=1e6).contains(&self.backlog_gib) {
            return fail("backlog_gib", "must be 0.01 to 1,000,000 GiB");
        }
        Ok(())
    }

    /// Reads the token and the authority's certificate; `base` is the configuration's folder.
    pub fn target(&self, base: &Path) -> Result<Target, String> {
        let read = |key: &str, file: &Path| {
            let file = base.join(file);
            std::fs::read_to_string(&file).map_err(|e| format!("influx.{key} = {:?}: cannot be read: {e}", file.display().to_string()))
        };
        let token = match (&self.token_env, &self.token_file) {
            (Some(name), _) => {
                std::env::var(name).map_err(|e| format!("influx.token_env = {name:?}: {e}; export that variable before the start"))?
            }
            (None, Some(file)) => read("token_file", file)?.lines().next().unwrap_or_default().trim().to_owned(),
            (None, None) => String::new(),
        };
        if token.chars().any(char::is_control) {
            return Err("influx: the token has control characters; it is one line".into());
        }
        let authority = self.ca_file.as_ref().map(|f| read("ca_file", f)).transpose()?;
        let (url, org, bucket) = (self.url.trim_end_matches('/').to_owned(), self.org.clone(), self.bucket.clone());
        Ok(Target { url, org, bucket, token, authority })
    }
}
