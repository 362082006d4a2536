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
    pub format: &'static str,
    pub reason: &'static str,
    /// The value's name, where one value of the message was refused.
    pub key: String,
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
    pub fn put(&mut self, topic: &str, format: &'static str, reason: &'static str, key: &str, payload: &[u8], at: Timestamp) {
        if self.kept.len() >= KEPT {
            self.kept.pop_front();
        }
        let payload = String::from_utf8_lossy(payload.get(..BYTES_KEPT).unwrap_or(payload)).into_owned();
        let short = |text: &str| text.chars().take(TOPIC_KEPT).collect();
        self.kept.push_back(Refusal { topic: short(topic), format, reason, key: short(key), payload, at });
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Refusal> {
        self.kept.iter()
    }
}
