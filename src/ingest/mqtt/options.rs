//! How a link connects: address, version, identity, subscriptions, TLS.

use super::BrokerAddress;
use serde::Deserialize;
use std::path::PathBuf;
use std::time::Duration;

/// The protocol's version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum MqttVersion {
    #[default]
    #[serde(rename = "3.1.1")]
    V311,
    #[serde(rename = "5")]
    V5,
}

/// Files of TLS, PEM; read at each connection, so that a renewed certificate counts from the next one on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsFiles {
    /// Authorities that may have signed the broker's certificate; absent = the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate (chain) and its key, for mutual TLS; both or none.
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
}

/// What the broker says in our place when the connection is lost (and not when it ends in order); retained.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
}

/// How to connect.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    pub broker: BrokerAddress,
    pub version: MqttVersion,
    /// Used where the address says `mqtts://`.
    pub tls: TlsFiles,
    /// Stable over restarts: the broker keeps our session under it.
    pub client_id: String,
    pub filters: Vec<String>,
    /// Subscribe as one of a group (`$share/<group>/<filter>`): the broker deals the messages out among its members. A
    /// shared subscription brings no retained messages.
    pub shared_group: Option<String>,
    /// Subscribe at QoS 1 (default): what was published at QoS 1 is sent again until we have stored it. At QoS 0 nothing
    /// needs an acknowledgement; rumqttd, unlike other brokers, raises every message to the QoS of the subscription and
    /// stops after 100 messages that are not acknowledged, so that the demo asks for QoS 0.
    pub at_least_once: bool,
    /// Ask the broker to forget us on disconnection (the demo and short commands do).
    pub clean_session: bool,
    pub will: Option<Will>,
    /// Under load, how long a read waits for more to come: fewer and larger batches cost less. Zero = never (lock-step).
    pub gather: Duration,
    /// First and longest pause between two attempts.
    pub retry_first: Duration,
    pub retry_longest: Duration,
}

impl LinkOptions {
    pub fn new(broker: BrokerAddress, client_id: impl Into<String>, filters: Vec<String>) -> LinkOptions {
        LinkOptions {
            broker,
            version: MqttVersion::default(),
            tls: TlsFiles::default(),
            client_id: client_id.into(),
            filters,
            shared_group: None,
            at_least_once: true,
            clean_session: false,
            will: None,
            gather: Duration::from_millis(4),
            retry_first: Duration::from_millis(250),
            retry_longest: Duration::from_secs(30),
        }
    }
}
