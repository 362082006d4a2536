//! What waits to go out on a connection: acknowledgements and our messages, in order.
//!
//! Invariants: bounded: messages are refused beyond [`MESSAGES_MAX`] bytes, acknowledgements are at most one a message
//! taken in; what is meant for one connection never goes out on the next.

use super::frame;
use super::options::MqttVersion;
use crate::ingest::publish::{Outgoing, may_go_out};
use bytes::BytesMut;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// Bytes of our messages that may wait.
const MESSAGES_MAX: usize = 4 << 20;

/// One connection's outbox. Closed = the connection is gone.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    waiting: Mutex<Waiting>,
    pub ready: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: BytesMut,
    closed: bool,
}

impl Outbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(|e| e.into_inner())
    }

    pub fn take(&self) -> BytesMut {
        self.waiting().bytes.split()
    }

    pub fn close(&self) {
        let mut w = self.waiting();
        w.closed = true;
        w.bytes = BytesMut::new();
    }

    fn acknowledge(&self, ids: &[u16]) -> bool {
        let mut w = self.waiting();
        if w.closed {
            return false;
        }
        ids.iter().for_each(|id| frame::puback(*id, &mut w.bytes));
        drop(w);
        self.ready.notify_one();
        true
    }
}

/// Acknowledges the QoS 1 packets of a delivery.
#[derive(Debug, Default)]
#[must_use = "packets that are not acknowledged are sent again by the broker"]
pub struct Receipt {
    of: Vec<(Arc<Outbox>, Vec<u16>)>,
}

impl Receipt {
    pub(super) fn new(outbox: &Arc<Outbox>, ids: Vec<u16>) -> Receipt {
        Receipt { of: if ids.is_empty() { Vec::new() } else { vec![(Arc::clone(outbox), ids)] } }
    }

    /// Tells the broker that the batch is stored. On a connection that is gone it does nothing: the broker sends again.
    /// Returns the number of packets acknowledged.
    pub fn acknowledge(self) -> usize {
        self.of.iter().filter(|(outbox, ids)| outbox.acknowledge(ids)).map(|(_, ids)| ids.len()).sum()
    }

    /// Takes over another receipt, so that one sync serves several deliveries.
    pub fn join(&mut self, other: Receipt) {
        self.of.extend(other.of);
    }
    pub fn len(&self) -> usize {
        self.of.iter().map(|(_, ids)| ids.len()).sum()
    }
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

/// Why a message did not go out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendRefused {
    #[error("{topic}: not sent: the link to the broker is down")]
    Down { topic: String },
    #[error("{topic}: not sent: too many messages already wait for the broker")]
    Full { topic: String },
    #[error("{topic}: not sent: its topic or its {bytes} bytes are too long for one message")]
    TooLong { topic: String, bytes: usize },
    #[error("{topic}: not sent: it is neither under BMS/v1/{us}/Value/ nor a request to a Sparkplug edge, an alarm or a lease of ours")]
    NotOurs { topic: String, us: String },
}

/// Publishes on a link's connection, in order. Cheap to clone.
#[derive(Clone)]
pub struct Publisher {
    outbox: Arc<Mutex<Option<Arc<Outbox>>>>,
    version: MqttVersion,
    us: Arc<str>,
}

impl Publisher {
    pub(super) fn new(version: MqttVersion, us: &str) -> Publisher {
        Publisher { outbox: Arc::default(), version, us: us.into() }
    }

    pub(super) fn set(&self, outbox: Option<Arc<Outbox>>) {
        *self.outbox.lock().unwrap_or_else(|e| e.into_inner()) = outbox;
    }

    /// Bytes that wait to go out on the connection.
    pub fn waiting_bytes(&self) -> usize {
        let outbox = self.outbox.lock().unwrap_or_else(|e| e.into_inner()).clone();
        outbox.map_or(0, |o| o.waiting().bytes.len())
    }

    /// Queues a message (QoS 0, not retained) and returns at once. Refused while the link is down: an old request must not
    /// go out later.
    pub fn send(&self, out: Outgoing) -> Result<(), SendRefused> {
        self.put(out, false)
    }

    /// The same, and the broker keeps the message for who subscribes later.
    pub fn retain(&self, out: Outgoing) -> Result<(), SendRefused> {
        self.put(out, true)
    }

    fn put(&self, out: Outgoing, retain: bool) -> Result<(), SendRefused> {
        if !may_go_out(&out.topic, &self.us) {
            return Err(SendRefused::NotOurs { topic: out.topic, us: self.us.to_string() });
        }
        let outbox = self.outbox.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let Some(outbox) = outbox else { return Err(SendRefused::Down { topic: out.topic }) };
        let mut w = outbox.waiting();
        if w.closed {
            return Err(SendRefused::Down { topic: out.topic });
        }
        if w.bytes.len() > MESSAGES_MAX {
            return Err(SendRefused::Full { topic: out.topic });
        }
        if !frame::publish(self.version, &out.topic, out.payload.as_ref(), retain, &mut w.bytes) {
            return Err(SendRefused::TooLong { topic: out.topic, bytes: out.payload.len() });
        }
        drop(w);
        outbox.ready.notify_one();
        Ok(())
    }
}
