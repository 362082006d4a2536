//! The newest refusals, for operators: what came, why it was refused, when.
//!
//! Invariant: bounded in number and in bytes per entry; counting is the tally's, this is only evidence.

use crate::time::Timestamp;
use serde::Serialize;
use std::collections::VecDeque;

/// Refusals kept per site.
pub const KEPT: usize = 256;
const TOPIC_KEPT: usize = 200;
const BYTES_KEPT: usize = 120;

/// One refused message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    pub topic: String,
    /// `format/reason`, as counted.
    pub reason: String,
    /// The first bytes of the payload, as text.
    pub payload: String,
    /// When it came: the host's clock.
    pub at: Timestamp,
}

/// A ring of refusals.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    kept: VecDeque<Refusal>,
}

impl Quarantine {
    pub fn put(&mut self, topic: &str, reason: String, payload: &[u8], at: Timestamp) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        let payload = String::from_utf8_lossy(payload.get(..BYTES_KEPT).unwrap_or(payload)).into_owned();
        self.kept.push_back(Refusal { topic: topic.chars().take(TOPIC_KEPT).collect(), reason, payload, at });
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Refusal> {
        self.kept.iter()
    }
}
