//! The simulated plants' MQTT client: MQTT 3.1.1, QoS 0, many messages in one write.
//!
//! Why not an asynchronous client: a simulated BMS publishes hundreds of values a step and then waits for one echo. One
//! buffer and one blocking read a step keep the demo's two cores for the service that is being shown. Encoding and
//! decoding are `rumqttc`'s.
//! Invariants: blocking calls end within their time limit; what is read is bounded by [`PACKET_MAX`].

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::{Connect, Packet, Publish, Subscribe};
use rumqttc::mqttbytes::{Error as CodecError, QoS};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Largest packet in either direction, bytes.
const PACKET_MAX: usize = 1024 * 1024;
/// Connect, subscribe and write must be done within this.
const PATIENCE: Duration = Duration::from_secs(10);

/// A connected client.
#[derive(Debug)]
pub struct WireClient {
    stream: TcpStream,
    out: BytesMut,
    inbox: BytesMut,
    last_write: Instant,
}

/// Why the connection can't go on.
#[derive(Debug, thiserror::Error)]
#[error("the simulated BMS's connection to {broker}: {why}")]
pub struct WireError {
    broker: SocketAddr,
    why: String,
}

impl WireClient {
    /// Connects under `client_id` and waits for the broker's word.
    pub fn connect(broker: SocketAddr, client_id: &str) -> Result<WireClient, WireError> {
        let fail = |why: String| WireError { broker, why };
        let stream = TcpStream::connect_timeout(&broker, PATIENCE).map_err(|e| fail(e.to_string()))?;
        stream.set_nodelay(true).map_err(|e| fail(e.to_string()))?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(|e| fail(e.to_string()))?;
        let mut client = WireClient {
            stream,
            out: BytesMut::with_capacity(1 << 18),
            inbox: BytesMut::with_capacity(1 << 16),
            last_write: Instant::now(),
        };
        let mut hello = Connect::new(client_id);
        hello.keep_alive = 60;
        hello.write(&mut client.out).map_err(|e| fail(e.to_string()))?;
        client.flush()?;
        match client.next(PATIENCE)? {
            Some(Packet::ConnAck(ack)) if ack.code == rumqttc::mqttbytes::v4::ConnectReturnCode::Success => Ok(client),
            other => Err(fail(format!("no welcome but {other:?}"))),
        }
    }

    /// Subscribes at QoS 0 and waits for the answer.
    pub fn subscribe(&mut self, filter: &str) -> Result<(), WireError> {
        let mut subscribe = Subscribe::new(filter, QoS::AtMostOnce);
        subscribe.pkid = 1;
        subscribe.write(&mut self.out).map_err(|e| self.fail(e.to_string()))?;
        self.flush()?;
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(Packet::SubAck(_)) = self.next(PATIENCE)? {
                return Ok(());
            }
        }
        Err(self.fail(format!("no answer to the subscription {filter}")))
    }

    /// Puts a message into the buffer; [`WireClient::flush`] sends it.
    pub fn publish(&mut self, topic: &str, payload: Vec<u8>, retain: bool) -> Result<(), WireError> {
        let mut publish = Publish::new(topic, QoS::AtMostOnce, payload);
        publish.retain = retain;
        publish.write(&mut self.out).map(|_| ()).map_err(|e| self.fail(e.to_string()))
    }

    /// Sends what is buffered.
    pub fn flush(&mut self) -> Result<(), WireError> {
        self.stream.write_all(&self.out).map_err(|e| self.fail(e.to_string()))?;
        self.out.clear();
        self.last_write = Instant::now();
        Ok(())
    }

    /// The next message within `patience`; `None` when there was none.
    pub fn message(&mut self, patience: Duration) -> Result<Option<Publish>, WireError> {
        let end = Instant::now() + patience;
        loop {
            match self.next(end.saturating_duration_since(Instant::now()))? {
                Some(Packet::Publish(p)) => return Ok(Some(p)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    fn next(&mut self, patience: Duration) -> Result<Option<Packet>, WireError> {
        let end = Instant::now() + patience;
        loop {
            match Packet::read(&mut self.inbox, PACKET_MAX) {
                Ok(packet) => return Ok(Some(packet)),
                Err(CodecError::InsufficientBytes(_)) => {}
                Err(e) => return Err(self.fail(e.to_string())),
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.stream.set_read_timeout(Some(left)).map_err(|e| self.fail(e.to_string()))?;
            let mut chunk = [0_u8; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(self.fail("the broker closed it".into())),
                Ok(n) => self.inbox.extend_from_slice(&chunk[..n]),
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) => {}
                Err(e) => return Err(self.fail(e.to_string())),
            }
        }
    }

    fn fail(&self, why: String) -> WireError {
        let broker = self.stream.peer_addr().unwrap_or_else(|_| SocketAddr::from(([127, 0, 0, 1], 0)));
        WireError { broker, why }
    }
}
