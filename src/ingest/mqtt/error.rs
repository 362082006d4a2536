//! What can go wrong between us and a broker, each with its way out.

use rumqttc::{ConnectReturnCode, ConnectionError, StateError};
use std::io::ErrorKind;

/// Why a link is not up. Names the broker (never the password) and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error(
        "{broker}: nothing listens there (connection refused); start the broker, or correct its address in the configuration or with --broker"
    )]
    NothingThere { broker: String },
    #[error("{broker}: the host name cannot be resolved ({why}); correct the broker's address or the DNS")]
    UnknownHost { broker: String, why: String },
    #[error("{broker}: no answer in time; is the address right, and does a firewall let port and host through?")]
    Timeout { broker: String },
    #[error("{broker}: the broker refuses user or password; correct the user in the address and the password in its variable or file")]
    BadCredentials { broker: String },
    #[error(
        "{broker}: the broker does not authorise this client; check the user and the password (Mosquitto says so for a wrong one), then the access list for its client identifier"
    )]
    NotAuthorised { broker: String },
    #[error("{broker}: the broker refuses the connection ({why}); see the broker's log")]
    Refused { broker: String, why: String },
    #[error("{broker}: the broker refuses the subscription to {filter}; allow it in the broker's access list")]
    SubscriptionRefused { broker: String, filter: String },
    #[error("{broker}: the connection was closed ({why}); another client with the same identifier, or a broker that stopped, does that")]
    Closed { broker: String, why: String },
    #[error("{broker}: does not speak MQTT 3.1.1 as expected ({why}); is it an MQTT broker's plain TCP port?")]
    Protocol { broker: String, why: String },
}

impl LinkError {
    /// Sorts rumqttc's errors. `connected`: the connection had been accepted before.
    pub(super) fn sort(broker: &str, error: &ConnectionError, connected: bool) -> LinkError {
        let broker = broker.to_owned();
        match error {
            ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => LinkError::Timeout { broker },
            ConnectionError::Io(e) => LinkError::sort_io(broker, e, connected),
            ConnectionError::ConnectionRefused(code) => match code {
                ConnectReturnCode::BadUserNamePassword => LinkError::BadCredentials { broker },
                ConnectReturnCode::NotAuthorized => LinkError::NotAuthorised { broker },
                other => LinkError::Refused { broker, why: format!("{other:?}") },
            },
            ConnectionError::MqttState(StateError::Io(e)) => LinkError::sort_io(broker, e, connected),
            ConnectionError::MqttState(StateError::ConnectionAborted) if connected => {
                LinkError::Closed { broker, why: "by the broker".into() }
            }
            ConnectionError::MqttState(StateError::ConnectionAborted) => {
                LinkError::Closed { broker, why: "by the broker, before it accepted the client".into() }
            }
            ConnectionError::MqttState(StateError::AwaitPingResp) => LinkError::Timeout { broker },
            ConnectionError::MqttState(StateError::Deserialization(rumqttc::mqttbytes::Error::Io(e))) => {
                LinkError::Closed { broker, why: e.to_string() }
            }
            other => LinkError::Protocol { broker, why: other.to_string() },
        }
    }

    fn sort_io(broker: String, e: &std::io::Error, connected: bool) -> LinkError {
        match e.kind() {
            ErrorKind::ConnectionRefused => LinkError::NothingThere { broker },
            ErrorKind::TimedOut | ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => LinkError::Timeout { broker },
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe | ErrorKind::UnexpectedEof => {
                LinkError::Closed { broker, why: e.to_string() }
            }
            _ if !connected => LinkError::UnknownHost { broker, why: e.to_string() },
            _ => LinkError::Closed { broker, why: e.to_string() },
        }
    }
}
