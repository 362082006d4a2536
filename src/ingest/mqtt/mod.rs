//! The link to a broker: MQTT 3.1.1 or 5, plain or over TLS.
//!
//! Words: a *link* is one site's connection to one broker; a *delivery* is a batch of packets with its *receipt*;
//! a receipt acknowledges the batch's QoS 1 packets to the broker, once they are stored.
//! Picture: `connecting → up → down (back-off) → connecting …`; the state is on a watch channel.
//! Invariants: nothing is acknowledged before the consumer says so; a receipt of a lost connection acknowledges nothing
//! (the broker sends its packets again); what is published goes out in order on the one connection, or is refused at once
//! while the link is down; no text names a password.
//! Why not rumqttc's event loop: it writes each acknowledgement by a system call of its own, keeps what was stashed of a dead
//! session, and sends no ping while we do not read. What we write is encoded by its codec.
//! Absent: no task is spawned, no clock is read (the caller passes one).

mod address;
mod error;
mod frame;
mod link;
mod options;
mod outbox;
mod stream;

pub use address::{BadAddress, BrokerAddress};
pub use error::LinkError;
pub use link::{Delivery, LinkState, MqttLink, check_connection};
pub use options::{LinkOptions, MqttVersion, TlsFiles, Will};
pub use outbox::{Publisher, Receipt, SendRefused};
