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
                    send_at_once(addr);
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

/// Turns Nagle's algorithm off on the broker's listener: accepted sockets inherit it. `rumqttd` leaves it on and offers no
/// switch; together with delayed acknowledgements it would hold up a lock-step bus for 40 ms at every burst. Where the
/// socket is not found the bus is slower and nothing else.
fn send_at_once(addr: SocketAddr) {
    use std::os::fd::{BorrowedFd, RawFd};
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    for fd in open.flatten().filter_map(|e| e.file_name().to_string_lossy().parse::<RawFd>().ok()) {
        // SAFETY: the descriptor is only asked what it is, and given one option if it is our listener; should another
        // thread close it meanwhile, the calls fail with EBADF. It is not closed here.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) };
        let socket = socket2::SockRef::from(&fd);
        let ours = socket.is_listener().unwrap_or(false) && socket.local_addr().ok().and_then(|a| a.as_socket()) == Some(addr);
        if ours && socket.set_tcp_nodelay(true).is_err() {
            tracing::debug!("the embedded broker keeps Nagle's algorithm");
        }
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
