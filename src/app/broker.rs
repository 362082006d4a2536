//! The embedded MQTT broker of the demo: `rumqttd` on a free loopback port.
//!
//! Invariant: loopback only; its memory is bounded by small log segments, which lock-step traffic never fills.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// A running embedded broker. It lives until the process ends: `rumqttd` has no way to stop.
#[derive(Debug)]
pub struct EmbeddedBroker {
    pub addr: SocketAddr,
}

impl EmbeddedBroker {
    /// Starts a broker on a free port of 127.0.0.1 and waits until it accepts connections.
    pub fn start() -> Result<EmbeddedBroker, String> {
        for _ in 0..5 {
            let addr = free_port()?;
            let config = config(addr);
            std::thread::Builder::new()
                .name("mqtt-broker".into())
                .spawn(move || {
                    if let Err(e) = rumqttd::Broker::new(config).start() {
                        tracing::error!("the embedded MQTT broker stopped: {e}");
                    }
                })
                .map_err(|e| format!("the embedded MQTT broker's thread cannot start: {e}"))?;
            let end = Instant::now() + Duration::from_secs(5);
            while Instant::now() < end {
                if TcpStream::connect(addr).is_ok() {
                    return Ok(EmbeddedBroker { addr });
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Err("the embedded MQTT broker did not come up on 127.0.0.1; is loopback open to this process?".into())
    }

    pub fn url(&self) -> String {
        format!("mqtt://{}", self.addr)
    }
}

fn free_port() -> Result<SocketAddr, String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(|e| format!("no free port on 127.0.0.1: {e}"))?;
    listener.local_addr().map_err(|e| e.to_string())
}

fn config(addr: SocketAddr) -> rumqttd::Config {
    let server = rumqttd::ServerSettings {
        name: "v4".into(),
        listen: addr,
        tls: None,
        next_connection_delay_ms: 1,
        connections: rumqttd::ConnectionSettings {
            connection_timeout_ms: 5_000,
            max_payload_size: 256 * 1024,
            max_inflight_count: 500,
            auth: None,
            external_auth: None,
            dynamic_filters: true,
        },
    };
    rumqttd::Config {
        id: 0,
        router: rumqttd::RouterConfig {
            max_connections: 64,
            max_outgoing_packet_count: 500,
            max_segment_size: 8 * 1024 * 1024,
            max_segment_count: 4,
            custom_segment: None,
            initialized_filters: None,
            shared_subscriptions_strategy: Default::default(),
        },
        v4: Some(HashMap::from([("v4".to_owned(), server)])),
        ..Default::default()
    }
}
