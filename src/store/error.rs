//! What can go wrong with the data directory, each with its way out.

use std::io::{Error as IoError, ErrorKind};
use std::path::{Path, PathBuf};

/// A store error names the directory and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("data directory {dir}: cannot be used: {why}; make it writable for this user, or give another with --data-dir", dir = dir.display())]
    NotWritable { dir: PathBuf, why: String },
    #[error("data directory {dir}: another process has it open; stop that one, or give another directory with --data-dir", dir = dir.display())]
    Locked { dir: PathBuf },
    #[error("data directory {dir}: the disk is full ({why}); free space on its file system (`df -h {dir}` shows how much there is): writing goes on by itself then, and what was acknowledged is kept", dir = dir.display())]
    Full { dir: PathBuf, why: String },
    #[error("data directory {dir}: written in format {found:?}, this program reads {expected:?}; {hint}, or give another directory with --data-dir", dir = dir.display(), hint = way_out(found, expected))]
    Format { dir: PathBuf, found: String, expected: &'static str },
    #[error("data directory {dir}: writing failed before and the store has stopped; restart the program: what was acknowledged is kept", dir = dir.display())]
    Stopped { dir: PathBuf },
    #[error("data directory {dir}: writing failed ({why}); it is opened again by itself as soon as it can be; what was acknowledged is kept", dir = dir.display())]
    Failed { dir: PathBuf, why: String },
    #[error("data directory {dir}: damaged: {why}; restore it from a copy, or move it away to begin anew", dir = dir.display())]
    Damaged { dir: PathBuf, why: String },
    #[error("data directory {dir}: {why}", dir = dir.display())]
    Io { dir: PathBuf, why: String },
    #[error("{what}: {why}")]
    Refused { what: String, why: &'static str },
}

/// What to do about a directory of another format: by its number, or because it is none of ours.
fn way_out(found: &str, expected: &str) -> &'static str {
    let number = |mark: &str| mark.strip_prefix("tramuntana-store ").and_then(|n| n.parse::<u32>().ok());
    match (number(found), number(expected)) {
        (Some(there), Some(here)) if there > here => "it was written by a newer version: run that one or a later one",
        (Some(_), Some(_)) => {
            "it was written by an older version and nothing in it was touched: `store export` it with that version and `store import` it with this one"
        }
        _ => "it is no mark of this program: is this the right directory?",
    }
}

impl StoreError {
    pub(super) fn io(dir: &Path, e: &IoError) -> StoreError {
        let (dir, why) = (dir.to_path_buf(), e.to_string());
        match e.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => StoreError::Full { dir, why },
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem | ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                StoreError::NotWritable { dir, why }
            }
            _ => StoreError::Io { dir, why },
        }
    }

    pub(super) fn db(dir: &Path, e: &fjall::Error) -> StoreError {
        match e {
            fjall::Error::Locked => StoreError::Locked { dir: dir.into() },
            fjall::Error::Poisoned => StoreError::Stopped { dir: dir.into() },
            fjall::Error::Io(e) => StoreError::io(dir, e),
            fjall::Error::Storage(fjall::LsmError::Io(e)) => StoreError::io(dir, e),
            fjall::Error::Storage(_)
            | fjall::Error::JournalRecovery(_)
            | fjall::Error::InvalidVersion(_)
            | fjall::Error::InvalidTrailer
            | fjall::Error::InvalidTag(_)
            | fjall::Error::Unrecoverable => StoreError::Damaged { dir: dir.into(), why: e.to_string() },
            other => StoreError::Io { dir: dir.into(), why: other.to_string() },
        }
    }
}
