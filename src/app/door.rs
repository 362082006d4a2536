//! The listener of page and API: plain on loopback, TLS where other hosts reach it.
//!
//! Words: the *door* is the address that the service listens on; a door is *far* when another host can reach it.
//! Invariants: a far door without TLS (ours, or a proxy's that the configuration names) and without a token in force is
//! not opened (a client certificate with a role counts as one); what clients hold is bounded in number and time ([`Bounded`]); a client that does not finish its handshake holds nobody else up and is dropped after [`HANDSHAKE`].

use super::access::has_tokens;
use super::certificate;
use super::config::Config;
use crate::api::access::{ClientCertificate, Peer};
use crate::event::{ACCESS_REFUSED, Tally};
use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use serde::Deserialize;
use std::future::Future;
use std::io::IoSlice;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::Sleep;
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

/// Connections at once; more wait in the system's queue.
const CONNECTIONS_MAX: usize = 512;
/// How long a connection may go without an answer of ours; longer than the longest wait of a request.
const UNANSWERED: Duration = Duration::from_secs(crate::api::REQUEST_SECONDS_MAX + 10);

/// `[https]` of the configuration: PEM files, relative to it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpsSettings {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    /// Who signs the certificates that clients must show (mutual TLS).
    pub client_ca: Option<PathBuf>,
    /// Who shows none may come all the same, with a token.
    pub client_optional: bool,
}

impl HttpsSettings {
    pub fn check(&self) -> Result<(), String> {
        if self.client_optional && self.client_ca.is_none() {
            return Err("`client_optional` needs `client_ca`: who signed the certificates that clients may show".into());
        }
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
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                let verifier = if self.client_optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().map_err(|e| format!("https.client_ca: {e}"))?)
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
    if !proxied && config.access.client_certificate.is_empty() && !has_tokens(&config.data_dir)? {
        return Err(format!(
            "{addr} can be reached from other hosts and there is no token yet: tramuntana token create --data-dir {} --name NAME --role admin, or give client certificates a role ([[access.client_certificate]]), or listen on 127.0.0.1",
            config.data_dir.display()
        ));
    }
    Ok(())
}

/// A listener that bounds what clients can hold: so many connections at once, and each only as long as it gets answers.
pub struct Bounded<L> {
    inner: L,
    room: Arc<Semaphore>,
}

impl<L> Bounded<L> {
    pub fn new(inner: L) -> Bounded<L> {
        Bounded { inner, room: Arc::new(Semaphore::new(CONNECTIONS_MAX)) }
    }
}

impl<L: Listener<Addr = SocketAddr>> Listener for Bounded<L> {
    type Io = Timed<L::Io>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        // Never closed: it gives a place as soon as a connection ends.
        let place = Arc::clone(&self.room).acquire_owned().await.ok();
        let (io, addr) = self.inner.accept().await;
        (Timed { io, idle: Box::pin(tokio::time::sleep(UNANSWERED)), _place: place }, addr)
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.inner.local_addr()
    }
}

/// A connection, as far as it tells who is at its other end.
pub trait Shows {
    /// The certificate that was shown and verified.
    fn certificate(&self) -> Option<ClientCertificate>;
}

impl Shows for TcpStream {
    fn certificate(&self) -> Option<ClientCertificate> {
        None
    }
}

impl Shows for TlsStream<TcpStream> {
    fn certificate(&self) -> Option<ClientCertificate> {
        self.get_ref().1.peer_certificates().and_then(|chain| chain.first()).map(|c| certificate::read(c))
    }
}

impl<L: Listener<Addr = SocketAddr>> Connected<IncomingStream<'_, Bounded<L>>> for Peer
where
    L::Io: Shows,
{
    fn connect_info(stream: IncomingStream<'_, Bounded<L>>) -> Peer {
        Peer { ip: stream.remote_addr().ip(), certificate: stream.io().io.certificate().map(Arc::new) }
    }
}

/// A connection whose reading ends [`UNANSWERED`] after we last wrote on it: who sends a request byte by byte, or none, or does not read
/// its answer, is cut off.
pub struct Timed<T> {
    io: T,
    idle: Pin<Box<Sleep>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl<T: AsyncRead + Unpin> AsyncRead for Timed<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        if self.idle.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(std::io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<T: AsyncWrite + Unpin> Timed<T> {
    /// After progress the time begins anew; without, it goes on.
    fn progress<R>(&mut self, cx: &mut Context<'_>, done: Poll<std::io::Result<R>>) -> Poll<std::io::Result<R>> {
        match done {
            Poll::Pending if self.idle.as_mut().poll(cx).is_ready() => Poll::Ready(Err(std::io::ErrorKind::TimedOut.into())),
            Poll::Ready(Ok(n)) => {
                self.idle.as_mut().reset(tokio::time::Instant::now() + UNANSWERED);
                Poll::Ready(Ok(n))
            }
            other => other,
        }
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Timed<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.progress(cx, done)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, parts: &[IoSlice<'_>]) -> Poll<std::io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.progress(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The TLS configuration that the next handshake uses; another can be put in its place (a renewed certificate).
#[derive(Clone)]
pub struct Certificates(Arc<RwLock<Arc<ServerConfig>>>);

impl Certificates {
    pub fn new(server: Arc<ServerConfig>) -> Certificates {
        Certificates(Arc::new(RwLock::new(server)))
    }

    pub fn put(&self, server: Arc<ServerConfig>) {
        *self.0.write().unwrap_or_else(|e| e.into_inner()) = server;
    }

    fn acceptor(&self) -> TlsAcceptor {
        Arc::clone(&self.0.read().unwrap_or_else(|e| e.into_inner())).into()
    }
}

/// A TLS listener whose handshakes run beside each other.
pub struct TlsDoor {
    listener: TcpListener,
    certificates: Certificates,
    tally: Arc<Tally>,
    shaking: JoinSet<Option<(TlsStream<TcpStream>, SocketAddr)>>,
}

impl TlsDoor {
    pub fn new(listener: TcpListener, certificates: Certificates, tally: Arc<Tally>) -> TlsDoor {
        TlsDoor { listener, certificates, tally, shaking: JoinSet::new() }
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
                    let (acceptor, tally) = (self.certificates.acceptor(), Arc::clone(&self.tally));
                    self.shaking.spawn(async move {
                        match tokio::time::timeout(HANDSHAKE, acceptor.accept(tcp)).await {
                            Ok(Ok(stream)) => Some((stream, addr)),
                            Ok(Err(e)) => {
                                tally.add(ACCESS_REFUSED, "handshake", 1);
                                tracing::debug!("{addr}: no TLS: {e}");
                                None
                            }
                            Err(_) => {
                                tally.add(ACCESS_REFUSED, "handshake too slow", 1);
                                None
                            }
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
