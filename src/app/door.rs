//! The listener of page and API: plain on loopback, TLS where other hosts reach it.
//!
//! Words: the *door* is the address that the service listens on; a door is *far* when another host can reach it.
//! Invariants: a far door without TLS (ours, or a proxy's that the configuration names) and without a token in force is
//! not opened; a client that does not finish its handshake holds nobody else up and is dropped after [`HANDSHAKE`].

use super::access::has_tokens;
use super::config::Config;
use crate::api::access::Peer;
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use serde::Deserialize;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// Longest TLS handshake, and how many may be under way at once.
const HANDSHAKE: Duration = Duration::from_secs(5);
const HANDSHAKES_MAX: usize = 256;

/// `[https]` of the configuration: PEM files, relative to it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpsSettings {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Who signs the certificates that clients must show (mutual TLS).
    pub client_ca: Option<PathBuf>,
}

impl HttpsSettings {
    pub fn check(&self) -> Result<(), String> {
        match (&self.cert, &self.key, &self.client_ca) {
            (Some(_), Some(_), _) | (None, None, None) => Ok(()),
            (None, None, Some(_)) => Err("`client_ca` needs `cert` and `key`: our own certificate comes first".into()),
            _ => Err("`cert` and `key` belong together: the certificate that browsers see, and its private key".into()),
        }
    }

    /// The TLS configuration, where there is one.
    pub fn server(&self, config: &Config) -> Result<Option<Arc<ServerConfig>>, String> {
        let (Some(cert), Some(key)) = (&self.cert, &self.key) else { return Ok(None) };
        let key = config.beside(key);
        let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| format!("https.key: {}: {e}; give a PEM file", key.display()))?;
        let provider = Arc::new(ring::default_provider());
        let builder =
            ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().map_err(|e| e.to_string())?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(ca) => {
                let mut roots = RootCertStore::empty();
                for c in certificates("https.client_ca", &config.beside(ca))? {
                    roots.add(c).map_err(|e| format!("https.client_ca: {e}"))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
                builder.with_client_cert_verifier(verifier.map_err(|e| format!("https.client_ca: {e}"))?)
            }
        };
        let chain = certificates("https.cert", &config.beside(cert))?;
        let mut server = builder.with_single_cert(chain, private).map_err(|e| format!("https.cert and https.key: {e}"))?;
        server.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Arc::new(server)))
    }
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(|i| i.collect::<Result<Vec<_>, _>>());
    let list = read.map_err(|e| format!("{what}: {}: {e}; give a PEM file", path.display()))?;
    if list.is_empty() { Err(format!("{what}: {}: has no certificate", path.display())) } else { Ok(list) }
}

/// Refuses a far door that would let anybody read along or walk in.
pub fn check(config: &Config, addr: SocketAddr) -> Result<(), String> {
    if addr.ip().is_loopback() {
        return Ok(());
    }
    let proxied = !config.access.proxies.is_empty();
    if config.https.cert.is_none() && !proxied {
        return Err(format!(
            "{addr} can be reached from other hosts: give [https] cert and key in {}, or name your TLS proxy in [access] proxies, or listen on 127.0.0.1",
            config.path.display()
        ));
    }
    if !proxied && !has_tokens(&config.data_dir)? {
        return Err(format!(
            "{addr} can be reached from other hosts and there is no token yet: tramuntana token create --data-dir {} --name NAME --role admin, or listen on 127.0.0.1",
            config.data_dir.display()
        ));
    }
    Ok(())
}

/// A TLS listener whose handshakes run beside each other.
pub struct TlsDoor {
    listener: TcpListener,
    acceptor: TlsAcceptor,
    shaking: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl TlsDoor {
    pub fn new(listener: TcpListener, server: Arc<ServerConfig>) -> TlsDoor {
        TlsDoor { listener, acceptor: server.into(), shaking: JoinSet::new() }
    }
}

impl Connected<IncomingStream<'_, TlsDoor>> for Peer {
    fn connect_info(stream: IncomingStream<'_, TlsDoor>) -> Peer {
        Peer(stream.remote_addr().ip())
    }
}

impl Listener for TlsDoor {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            tokio::select! {
                // The trait's own accept waits out errors such as too many open files.
                (tcp, addr) = Listener::accept(&mut self.listener), if self.shaking.len() < HANDSHAKES_MAX => {
                    let acceptor = self.acceptor.clone();
                    self.shaking.spawn(async move {
                        match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                            Ok(Ok(stream)) => Some((stream, addr)),
                            Ok(Err(e)) => {
                                tracing::debug!("{addr}: no TLS: {e}");
                                None
                            }
                            Err(_) => None,
                        }
                    });
                }
                Some(done) = self.shaking.join_next() => {
                    if let Ok(Some(open)) = done {
                        return open;
                    }
                }
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}
