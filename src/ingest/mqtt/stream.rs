//! The connection under MQTT: TCP, or TLS over it (rustls with ring), and its first exchange.

use super::frame::{self, Frame, Frames};
use super::options::{LinkOptions, TlsFiles};
use super::{BrokerAddress, LinkError};
use bytes::BytesMut;
use std::io::{Error as IoError, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Longest time that connecting, or writing to a broker that does not read, may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Room that is made for one read.
const READ_BYTES: usize = 128 * 1024;
/// Where systems keep the authorities that they trust.
const SYSTEM_CA: [&str; 3] = ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

enum Wire {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that the broker has accepted.
pub struct Stream {
    wire: Wire,
    pub frames: Frames,
    pub buffer: BytesMut,
}

/// Reads the files of TLS. The text names the file and what is wrong with it.
fn tls_config(files: &TlsFiles) -> Result<ClientConfig, String> {
    let certificates = |path: &Path| -> Result<Vec<CertificateDer<'static>>, String> {
        let read = CertificateDer::pem_file_iter(path).and_then(|i| i.collect::<Result<Vec<_>, _>>());
        let list = read.map_err(|e| format!("{}: {e}", path.display()))?;
        if list.is_empty() { Err(format!("{}: holds no certificate in PEM", path.display())) } else { Ok(list) }
    };
    let mut roots = RootCertStore::empty();
    let ca = files.ca.as_deref().or_else(|| SYSTEM_CA.iter().map(Path::new).find(|p| p.exists()));
    let ca = ca.ok_or("no authorities: give the file of the one that signed the broker's certificate as `ca`")?;
    roots.add_parsable_certificates(certificates(ca)?);
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .with_root_certificates(roots);
    match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => {
            let private = PrivateKeyDer::from_pem_file(key).map_err(|e| format!("{}: {e}", key.display()))?;
            config.with_client_auth_cert(certificates(cert)?, private).map_err(|e| format!("{}: {e}", cert.display()))
        }
        _ => Ok(config.with_no_client_auth()),
    }
}

async fn dial(o: &LinkOptions) -> Result<Wire, LinkError> {
    let BrokerAddress { host, port, tls, .. } = &o.broker;
    let broker = || o.broker.to_string();
    let name = host.trim_start_matches('[').trim_end_matches(']');
    let tcp = TcpStream::connect((name, *port)).await.map_err(|e| LinkError::sort_io(broker(), &e, false))?;
    tcp.set_nodelay(true).map_err(|e| LinkError::sort_io(broker(), &e, false))?;
    if !tls {
        return Ok(Wire::Plain(tcp));
    }
    let fault = |why: String| LinkError::Tls { broker: broker(), why };
    let config = tls_config(&o.tls).map_err(fault)?;
    let server = ServerName::try_from(name.to_owned()).map_err(|e| fault(e.to_string()))?;
    let stream = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(server, tcp).await;
    stream.map(|s| Wire::Tls(Box::new(s))).map_err(|e| fault(e.to_string()))
}

impl Stream {
    /// Connects and is accepted; nothing is subscribed yet.
    pub async fn open(o: &LinkOptions) -> Result<Stream, LinkError> {
        let broker = o.broker.to_string();
        let attempt = async {
            let mut stream = Stream { wire: dial(o).await?, frames: Frames::new(o.version), buffer: BytesMut::new() };
            let mut out = BytesMut::new();
            frame::connect(o, &mut out).map_err(|why| LinkError::Refused { broker: broker.clone(), why })?;
            stream.write(&out).await.map_err(|e| LinkError::sort_io(broker.clone(), &e, false))?;
            match stream.frame().await {
                Ok(Frame::ConnAck(0)) => Ok(stream),
                Ok(Frame::ConnAck(code)) => Err(LinkError::refused(broker.clone(), code)),
                Ok(Frame::Disconnect(code)) => Err(LinkError::refused(broker.clone(), code)),
                Ok(other) => Err(LinkError::Protocol { broker: broker.clone(), why: format!("{other:?} before CONNACK") }),
                Err(e) if e.kind() == ErrorKind::InvalidData => Err(LinkError::of_stream(broker.clone(), &e)),
                Err(e) => {
                    Err(LinkError::Closed { broker: broker.clone(), why: format!("by the broker, before it accepted the client: {e}") })
                }
            }
        };
        tokio::time::timeout(PATIENCE, attempt).await.unwrap_or(Err(LinkError::Timeout { broker: o.broker.to_string() }))
    }

    /// Reads once what is there into the buffer. Safe to drop half-way.
    pub async fn read(&mut self) -> Result<(), IoError> {
        self.buffer.reserve(READ_BYTES);
        let n = match &mut self.wire {
            Wire::Plain(s) => s.read_buf(&mut self.buffer).await?,
            Wire::Tls(s) => s.read_buf(&mut self.buffer).await?,
        };
        if n == 0 { Err(IoError::new(ErrorKind::UnexpectedEof, "by the broker")) } else { Ok(()) }
    }

    /// The next frame of the buffer. A broken protocol is `InvalidData`.
    pub fn next(&mut self) -> Result<Option<Frame>, IoError> {
        self.frames.next(&mut self.buffer).map_err(|why| IoError::new(ErrorKind::InvalidData, why))
    }

    /// Waits for one frame.
    pub async fn frame(&mut self) -> Result<Frame, IoError> {
        loop {
            if let Some(frame) = self.next()? {
                return Ok(frame);
            }
            self.read().await?;
        }
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), IoError> {
        let all = async {
            match &mut self.wire {
                Wire::Plain(s) => s.write_all(bytes).await,
                Wire::Tls(s) => {
                    s.write_all(bytes).await?;
                    s.flush().await
                }
            }
        };
        tokio::time::timeout(PATIENCE, all).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
    }

    /// Says good-bye, so that the broker does not take it for a loss.
    pub async fn close(mut self) {
        let _ = self.write(&frame::DISCONNECT).await;
        let _ = match &mut self.wire {
            Wire::Plain(s) => s.shutdown().await,
            Wire::Tls(s) => s.shutdown().await,
        };
    }
}
