//! `kubernetes labels`: the hints as labels and annotations of nodes, as a manifest to look at and apply.

use super::cli::KubernetesLabels;
use super::placement::by_node;
use crate::api::model::Hints;
use crate::scheduler::kubernetes::labels;
use crate::time::Timestamp;
use std::time::Duration;

/// Prints the manifest.
pub fn run(args: &KubernetesLabels) -> Result<(), String> {
    let url = format!("{}/api/v1/placement/hints?site={}", args.api.trim_end_matches('/'), args.site);
    let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).build().into();
    let mut answer = agent.get(&url).call().map_err(|e| format!("{url}: {e}; is the service there, and are its hints fresh?"))?;
    let hints: Hints = answer.body_mut().with_config().limit(64 << 20).read_json().map_err(|e| format!("{url}: {e}"))?;
    print!("{}", labels(&by_node(&hints).into_iter().collect(), &Timestamp(hints.valid_until).to_string()));
    Ok(())
}
