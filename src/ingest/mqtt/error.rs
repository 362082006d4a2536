//! What can go wrong between us and a broker, each with its way out.

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
    #[error(
        "{broker}: no TLS with it ({why}); check `ca` (who signed the broker's certificate), the host name in the address, and `cert` and `key` where the broker asks for ours"
    )]
    Tls { broker: String, why: String },
    #[error(
        "{broker}: does not speak MQTT as expected ({why}); is it an MQTT broker's plain TCP port, and its version the one in the configuration?"
    )]
    Protocol { broker: String, why: String },
}

impl LinkError {
    /// The code of a refused CONNECT: 1–5 in MQTT 3.1.1, from 0x80 on in MQTT 5.
    pub(super) fn refused(broker: String, code: u8) -> LinkError {
        let why = match code {
            4 | 0x86 => return LinkError::BadCredentials { broker },
            5 | 0x87 => return LinkError::NotAuthorised { broker },
            1 | 0x84 => "it does not speak this version of MQTT: set `version`",
            2 | 0x85 => "the client identifier is not allowed",
            3 | 0x88 | 0x89 => "it is unavailable or busy",
            0x8a => "this client is banned",
            0x8c => "it wants another way of authentication",
            _ => return LinkError::Refused { broker, why: format!("code {code:#04x}") },
        };
        LinkError::Refused { broker, why: why.into() }
    }

    /// The broker has ended an accepted connection and said why (MQTT 5).
    pub(super) fn ended(broker: String, code: u8) -> LinkError {
        let why = match code {
            0x8e => "the session was taken over by another client with this identifier".into(),
            0x8b => "it is shutting down".into(),
            0x87 => return LinkError::NotAuthorised { broker },
            _ => format!("by the broker, code {code:#04x}"),
        };
        LinkError::Closed { broker, why }
    }

    /// An error of an accepted connection.
    pub(super) fn of_stream(broker: String, e: &std::io::Error) -> LinkError {
        match e.kind() {
            ErrorKind::InvalidData => LinkError::Protocol { broker, why: e.to_string() },
            _ => LinkError::sort_io(broker, e, true),
        }
    }

    pub(super) fn sort_io(broker: String, e: &std::io::Error, connected: bool) -> LinkError {
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
