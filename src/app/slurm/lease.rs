//! The lease: who may write node weights. A file in the state directory, read and written under a lock.
//!
//! Invariants: one holder at a time, as far as the clocks of the hosts agree; a lease not renewed ends by itself; who lost it
//! touches nothing any more. Hosts that share the work share the state directory (as slurmctld's own pair does).

use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lease {
    pub holder: String,
    pub until: Timestamp,
}

/// Writes a file whole or not at all.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    let part = path.with_extension("part");
    let fail = |e: std::io::Error| format!("{}: {e}; give another with --state", path.display());
    std::fs::write(&part, bytes).map_err(fail)?;
    File::open(&part).and_then(|f| f.sync_all()).map_err(fail)?;
    std::fs::rename(&part, path).map_err(fail)
}

/// Runs `work` while no other process is in the state directory.
fn locked<T>(dir: &Path, work: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    let fail = |e: std::io::Error| format!("{}: {e}; give another with --state", dir.display());
    std::fs::create_dir_all(dir).map_err(fail)?;
    let file = File::options().create(true).truncate(false).write(true).open(dir.join("lock")).map_err(fail)?;
    file.lock().map_err(fail)?;
    let out = work();
    let _ = file.unlock();
    out
}

/// The lease that is there. One that cannot be read may be somebody's: it is an error, not none.
fn read(dir: &Path) -> Result<Option<Lease>, String> {
    let path = dir.join("lease.json");
    let fail = |e: &dyn std::fmt::Display| format!("{}: {e}; move it away if nobody else keeps the weights", path.display());
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| fail(&e)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(fail(&e)),
    }
}

/// Takes or renews the lease; `Ok(Some(other))` = somebody else has it.
pub fn take(dir: &Path, holder: &str, now: Timestamp, length: Span) -> Result<Option<Lease>, String> {
    locked(dir, || {
        if let Some(other) = read(dir)?.filter(|l| l.holder != holder && l.until > now) {
            return Ok(Some(other));
        }
        let lease = Lease { holder: holder.to_owned(), until: now + length };
        write(&dir.join("lease.json"), &serde_json::to_vec(&lease).unwrap_or_default())?;
        Ok(None)
    })
}

/// Gives the lease up, if it is ours.
pub fn release(dir: &Path, holder: &str) -> Result<(), String> {
    locked(dir, || {
        if read(dir)?.is_some_and(|l| l.holder == holder) {
            let _ = std::fs::remove_file(dir.join("lease.json"));
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_holds_it_and_it_ends() {
        let dir = std::env::temp_dir().join(format!("tramuntana-lease-{}", std::process::id()));
        let at = |s| Timestamp(0) + Span::seconds(s);
        assert_eq!(take(&dir, "a", at(0), Span::seconds(60)).unwrap(), None);
        assert_eq!(take(&dir, "b", at(30), Span::seconds(60)).unwrap().unwrap().holder, "a");
        assert_eq!(take(&dir, "a", at(50), Span::seconds(60)).unwrap(), None);
        assert!(take(&dir, "b", at(100), Span::seconds(60)).unwrap().is_some());
        assert_eq!(take(&dir, "b", at(111), Span::seconds(60)).unwrap(), None);
        assert!(take(&dir, "a", at(112), Span::seconds(60)).unwrap().is_some());
        release(&dir, "a").unwrap();
        assert!(take(&dir, "a", at(113), Span::seconds(60)).unwrap().is_some());
        release(&dir, "b").unwrap();
        assert_eq!(take(&dir, "a", at(114), Span::seconds(60)).unwrap(), None);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_lease_that_cannot_be_read_is_nobodys_to_take() {
        let dir = std::env::temp_dir().join(format!("tramuntana-lease-torn-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::write(dir.join("lease.json"), "{").unwrap();
        let why = take(&dir, "a", Timestamp(0), Span::seconds(60)).unwrap_err();
        assert!(why.contains("lease.json"), "{why}");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    /// Controllers that all start at once, again and again.
    #[test]
    fn of_many_at_once_one_gets_it() {
        let dir = std::env::temp_dir().join(format!("tramuntana-leases-{}", std::process::id()));
        for round in 0..20 {
            let now = Timestamp(0) + Span::minutes(round);
            let held: Vec<bool> = std::thread::scope(|s| {
                let ask = |i: i32| {
                    let dir = &dir;
                    s.spawn(move || take(dir, &format!("{i}/{round}"), now, Span::seconds(30)).unwrap().is_none())
                };
                let all: Vec<_> = (0..8).map(ask).collect();
                all.into_iter().map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(held.iter().filter(|h| **h).count(), 1, "round {round}: {held:?}");
        }
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
