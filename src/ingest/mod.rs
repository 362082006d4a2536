//! MQTT bytes to readings.
//!
//! Words: a *packet* is one MQTT message; a *reading* is a judged value in canonical units; *refused* means counted by
//! reason and kept in the quarantine.
//! Way of a value: [`mqtt`] takes packets in batches → [`decode`] reads them → `route` finds the point → [`gate`] judges →
//! `points` makes it canonical and keeps the newest; [`SiteIngest`] leads them. The caller stores the readings and only then acknowledges the packets.
//! Invariants: [`SiteIngest::take`] is total; every queue here is bounded; a refused message never stops its batch.
//! Absent: no storage, no task is spawned, no clock is read.

pub mod decode;
pub mod gate;
pub mod mqtt;
mod points;
pub mod publish;
mod quarantine;
pub mod replay;
mod route;
mod site;

pub use quarantine::Refusal;
pub use site::{Packet, SiteIngest, Taken};

/// What of a site's sources cannot work, beyond what the site file's own check sees: the signers' keys.
pub fn check_sources(site: &crate::site::SiteFile) -> Result<(), String> {
    for source in site.sources.iter().filter(|s| s.keys_file.is_some()) {
        decode::flex::Keys::parse(&source.keys).map_err(|why| {
            let file = source.keys_file.as_ref().map(|f| f.display().to_string()).unwrap_or_default();
            format!("site {}: keys_file = {file:?}: {why}", site.site.id)
        })?;
    }
    Ok(())
}
