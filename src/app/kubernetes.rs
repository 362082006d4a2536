//! `kubernetes labels`: the hints as labels and annotations of nodes, as a manifest to look at and apply.

use super::cli::KubernetesLabels;
use super::placement::by_node;
use super::service_client::ServiceClient;
use crate::scheduler::kubernetes::labels;
use crate::time::Timestamp;

/// Prints the manifest.
pub fn run(args: &KubernetesLabels) -> Result<(), String> {
    let hints = ServiceClient::new(&args.api, args.token_file.as_deref())?.hints(&args.site)?;
    print!("{}", labels(&by_node(&hints).into_iter().collect(), &Timestamp(hints.valid_until).to_string()));
    Ok(())
}
