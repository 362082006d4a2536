//! The hatch: a socket in the data directory (`service.sock`), through which commands on this host ask the running service.
//!
//! Why not HTTP: who may read the data directory may have a copy of it, nobody else; no path and no file goes over the network,
//! and the service writes nothing outside of its directory. One question a connection, a line (`backup`); the answer is a
//! line too (`ok <store format>` or `no <why>`), and after `ok` the frames of [`crate::store::Frozen`].
//! Invariants: one copy at a time; a reader that takes nothing for [`STALLED`] loses the connection, so that it holds nothing for
//! ever; the end of the service ends a copy at once.

use crate::store::Embedded;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

const NAME: &str = "service.sock";
/// How long a reader may take nothing.
const STALLED: Duration = Duration::from_secs(60);
/// How often a blocked write looks whether the service ends.
const LOOK: Duration = Duration::from_millis(200);

/// The socket's path by the directory's descriptor: a socket's name has at most 107 bytes, a data directory's may be longer.
fn path(dir: &std::fs::File) -> PathBuf {
    use std::os::fd::AsRawFd;
    PathBuf::from(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()))
}

/// Is this the hatch of a data directory? It is no part of a backup.
pub fn is_hatch(name: &str) -> bool {
    name == NAME
}

/// Opens the hatch. The caller holds the directory's lock, so that a socket that lies there is a dead one's.
pub fn open(store: Arc<Embedded>, stop: watch::Receiver<bool>) -> Result<JoinHandle<()>, String> {
    let name = store.dir().join(NAME);
    let fail = |e: std::io::Error| format!("{}: {e}", name.display());
    match std::fs::remove_file(&name) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(fail(e)),
        _ => {}
    }
    let dir = std::fs::File::open(store.dir()).map_err(fail)?;
    let listener = UnixListener::bind(path(&dir)).map_err(fail)?;
    std::fs::set_permissions(&name, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(fail)?;
    Ok(tokio::spawn(attend(listener, store, stop)))
}

async fn attend(listener: UnixListener, store: Arc<Embedded>, mut stop: watch::Receiver<bool>) {
    let ending = Arc::new(AtomicBool::new(false));
    let busy = Arc::new(AtomicBool::new(false));
    loop {
        let stream = tokio::select! {
            _ = stop.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(e) => {
                    tracing::warn!("{NAME}: {e}");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                    continue;
                }
            },
        };
        let (store, ending, busy) = (Arc::clone(&store), Arc::clone(&ending), Arc::clone(&busy));
        tokio::task::spawn_blocking(move || {
            let stream = stream.into_std().and_then(|s| s.set_nonblocking(false).map(|()| s));
            if let Err(e) = stream.and_then(|s| answer(s, &store, &ending, &busy)) {
                tracing::warn!("a question at {NAME} was not answered to its end: {e}");
            }
        });
    }
    ending.store(true, Ordering::Relaxed);
    let _ = std::fs::remove_file(store.dir().join(NAME));
}

fn answer(stream: UnixStream, store: &Embedded, ending: &AtomicBool, busy: &AtomicBool) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.set_write_timeout(Some(LOOK))?;
    let mut question = String::new();
    std::io::Read::take(BufReader::new(&stream), 200).read_line(&mut question)?;
    let mut out = std::io::BufWriter::with_capacity(256 << 10, Patient { stream: &stream, ending });
    if question.trim() != "backup" {
        writeln!(out, "no such question: {:?}; this version knows \"backup\"", question.trim())?;
        return out.flush();
    }
    if busy.swap(true, Ordering::Relaxed) {
        writeln!(out, "no: another backup is being taken; wait for its end")?;
        return out.flush();
    }
    let sent = match store.freeze() {
        Err(e) => {
            tracing::warn!("backup: the hot store could not be frozen: {e}");
            writeln!(out, "no: {e}").and_then(|()| out.flush()).map(|()| None)
        }
        Ok(frozen) => writeln!(out, "ok {}", crate::store::FORMAT)
            .and_then(|()| frozen.write(&mut out).map_err(|e| e.unwrap_or_else(|e| std::io::Error::other(e.to_string()))))
            .map(Some),
    };
    busy.store(false, Ordering::Relaxed);
    if let Some(entries) = sent? {
        tracing::info!("backup: {entries} entries of the hot store given out");
    }
    Ok(())
}

/// A writer that waits for a slow reader, but neither for ever nor beyond the service's end.
struct Patient<'a> {
    stream: &'a UnixStream,
    ending: &'a AtomicBool,
}

impl Write for Patient<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let begun = Instant::now();
        loop {
            match (&mut &*self.stream).write(bytes) {
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {
                    if self.ending.load(Ordering::Relaxed) || begun.elapsed() > STALLED {
                        return Err(e);
                    }
                }
                other => {
                    if self.ending.load(Ordering::Relaxed) {
                        return Err(std::io::Error::other("the service ends"));
                    }
                    return other;
                }
            }
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Asks the service that has a data directory open for its hot rows; what is returned reads its frames.
pub fn ask_for_hot(data_dir: &Path) -> Result<impl std::io::Read, String> {
    let shown = data_dir.join(NAME);
    let fail = |e: std::io::Error| format!("{}: the process that has the directory open does not answer: {e}", shown.display());
    let dir = std::fs::File::open(data_dir).map_err(fail)?;
    let mut stream = UnixStream::connect(path(&dir)).map_err(fail)?;
    stream.set_read_timeout(Some(STALLED)).map_err(fail)?;
    stream.write_all(b"backup\n").map_err(fail)?;
    let mut reader = BufReader::with_capacity(256 << 10, stream);
    let mut line = String::new();
    std::io::Read::take(&mut reader, 1000).read_line(&mut line).map_err(fail)?;
    match line.trim().split_once(' ') {
        Some(("ok", format)) if format == crate::store::FORMAT => Ok(reader),
        Some(("ok", format)) => {
            Err(format!("the service's store has format {format:?}, this program's {:?}: use its own", crate::store::FORMAT))
        }
        _ => Err(format!("the service says: {}", line.trim())),
    }
}
