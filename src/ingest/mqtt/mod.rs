//! The link to a broker: MQTT 3.1.1 by rumqttc.
//!
//! Words: a *link* is one site's connection to one broker; a *delivery* is a batch of packets with its *receipt*;
//! a receipt acknowledges the batch's QoS 1 packets to the broker, once they are stored.
//! Picture: `connecting → up → down (back-off) → connecting …`; the state is on a watch channel.
//! Invariants: nothing is acknowledged before the consumer says so; a receipt of a lost connection acknowledges nothing
//! (the broker sends its packets again); what is published goes out in order on the one connection, or is refused at once
//! while the link is down; no text names a password.
//! Absent: no task is spawned, no clock is read (the caller passes one), no TLS.

mod address;
mod error;
mod link;

pub use address::{BadAddress, BrokerAddress};
pub use error::LinkError;
pub use link::{Delivery, LinkOptions, LinkState, MqttLink, Publisher, Receipt, SendRefused, check_connection};
