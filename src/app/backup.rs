//! `store backup` and `store restore`: a copy of the data directory, also of one that a service has open.
//!
//! Layout of a backup: `hot.frames` (the hot store at one moment, [`crate::store::Frozen`]), `files/` (sealed days, models, tokens,
//! the mirror's queue: every other file), `BACKUP.json` (what is there, with digests), written last: without it there is no backup.
//! Order: the hot rows are frozen first, then files are copied. Files of the directory appear whole under their names or are only
//! appended to, so that a copy of each is whole; of the mirror's queue the cursor goes first: readings may be sent twice (which
//! changes nothing in InfluxDB), never left out.
//! Invariants: every reading acknowledged before the backup began is in it; nothing is written into the data directory; a
//! restore writes aside, compares every digest, and only then gives the directory its name; a path of a backup never leads out of it.

use super::hatch;
use super::site_task::host_now;
use crate::store::{Embedded, FORMAT, StoreError, build, pass};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

const MANIFEST: &str = "BACKUP.json";
const HOT: &str = "hot.frames";
/// The version of a backup's own layout.
const LAYOUT: u32 = 1;
/// Folders in folders, at most: a link that leads back up ends somewhere.
const DEPTH_MAX: usize = 8;

/// One file of a backup.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filed {
    /// Below the data directory.
    path: PathBuf,
    bytes: u64,
    /// BLAKE3, hex.
    digest: String,
}

/// What a backup holds.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    layout: u32,
    /// Of the store in it.
    format: String,
    program: String,
    /// When it was begun.
    at: Timestamp,
    /// Keys and values of the hot store.
    entries: u64,
    hot_bytes: u64,
    hot_digest: String,
    files: Vec<Filed>,
}

/// Passes bytes on and takes their digest.
struct Digesting<T> {
    inner: T,
    hash: blake3::Hasher,
    bytes: u64,
}

impl<T> Digesting<T> {
    fn new(inner: T) -> Digesting<T> {
        Digesting { inner, hash: blake3::Hasher::new(), bytes: 0 }
    }

    fn seen(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    fn digest(&self) -> String {
        self.hash.finalize().to_hex().to_string()
    }
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.seen(&bytes[..n]);
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Digesting<R> {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let n = self.inner.read(bytes)?;
        self.seen(&bytes[..n]);
        Ok(n)
    }
}

fn at<'a>(path: &'a Path) -> impl Fn(std::io::Error) -> String + 'a {
    move |e| format!("{}: {e}", path.display())
}

/// Makes a folder that no other user may look into, or takes an empty one.
fn empty_folder(dir: &Path, flag: &str) -> Result<(), String> {
    match std::fs::read_dir(dir) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(format!("{}: is not empty; give {flag} a folder that does not exist yet", dir.display())),
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(at(dir))
        }
        Err(e) => Err(at(dir)(e)),
    }
}

/// A new file for this user alone.
fn create(path: &Path) -> Result<File, String> {
    if let Some(parent) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(at(parent))?;
    }
    File::options().write(true).create_new(true).mode(0o600).open(path).map_err(at(path))
}

/// Copies one file; returns its size and digest.
fn copy(from: File, to: &Path) -> Result<(u64, String), String> {
    let mut out = Digesting::new(create(to)?);
    std::io::copy(&mut BufReader::new(from), &mut out).map_err(at(to))?;
    out.inner.sync_all().map_err(at(to))?;
    Ok((out.bytes, out.digest()))
}

/// Every file below a data directory that a backup copies as it is, by path.
fn files(root: &Path, below: &Path, depth: usize, out: &mut Vec<PathBuf>) -> Result<(), String> {
    let dir = root.join(below);
    let mut names: Vec<String> =
        std::fs::read_dir(&dir).map_err(at(&dir))?.flatten().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort_by_key(|n| (n != "cursor", n.clone()));
    for name in names {
        let ours = depth == 0 && (matches!(name.as_str(), "LOCK" | "FORMAT" | "hot" | "hot-aside") || hatch::is_hatch(&name));
        let unfinished = name.ends_with("-aside") || name.ends_with(".part") || name.ends_with(".new");
        if ours || unfinished {
            continue;
        }
        let path = below.join(&name);
        match std::fs::metadata(root.join(&path)) {
            // A store of its own (the demo's runs lie in the same folder).
            Ok(m) if m.is_dir() && root.join(&path).join("LOCK").exists() => {}
            Ok(m) if m.is_dir() && depth < DEPTH_MAX => files(root, &path, depth + 1, out)?,
            Ok(m) if m.is_file() => out.push(path),
            // Gone since, or nothing that can be copied.
            _ => {}
        }
    }
    Ok(())
}

/// `store backup`.
pub fn backup(data_dir: &Path, to: &Path) -> Result<(), String> {
    if !data_dir.join("FORMAT").exists() {
        return Err(format!("{}: no data directory; name it with --data-dir", data_dir.display()));
    }
    empty_folder(to, "--to")?;
    let (inside, target) = (data_dir.canonicalize().map_err(at(data_dir))?, to.canonicalize().map_err(at(to))?);
    if target.starts_with(&inside) {
        return Err(format!("--to {}: lies in the data directory itself; give a folder elsewhere, best on another disk", to.display()));
    }
    let begun = host_now();
    let hot = to.join(HOT);
    let mut out = Digesting::new(BufWriter::with_capacity(1 << 20, create(&hot)?));
    // Kept open to the end where nobody else has it: no service starts and seals meanwhile.
    let (entries, own) = match Embedded::open(data_dir) {
        Ok(store) => {
            let frozen = store.freeze().map_err(|e| e.to_string())?;
            (frozen.write(&mut out).map_err(|e| e.map_or_else(|e| e.to_string(), at(&hot)))?, Some(store))
        }
        Err(StoreError::Locked { .. }) => {
            let mut frames = hatch::ask_for_hot(data_dir)?;
            (pass(&mut frames, &mut out).map_err(|e| format!("{}: cut short: {e}; remove the folder and try again", hot.display()))?, None)
        }
        Err(e) => return Err(e.to_string()),
    };
    let taken = rest(data_dir, to)?;
    finish(to, begun, entries, out, taken, own.is_none())
}

/// Copies what is not in the hot store.
fn rest(data_dir: &Path, to: &Path) -> Result<Vec<Filed>, String> {
    let mut paths = Vec::new();
    files(data_dir, Path::new(""), 0, &mut paths)?;
    let mut taken = Vec::new();
    for path in paths {
        match File::open(data_dir.join(&path)) {
            Ok(file) => {
                let (bytes, digest) = copy(file, &to.join("files").join(&path))?;
                taken.push(Filed { path, bytes, digest });
            }
            // Dropped by retention, or sent by the mirror, since it was listed.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(at(&data_dir.join(&path))(e)),
        }
    }
    Ok(taken)
}

fn finish(
    to: &Path,
    begun: Timestamp,
    entries: u64,
    out: Digesting<BufWriter<File>>,
    files: Vec<Filed>,
    running: bool,
) -> Result<(), String> {
    let hot = to.join(HOT);
    let (hot_bytes, hot_digest) = (out.bytes, out.digest());
    out.inner.into_inner().map_err(|e| e.into_error()).and_then(|f| f.sync_all()).map_err(at(&hot))?;
    let program = env!("CARGO_PKG_VERSION").to_owned();
    let bytes: u64 = hot_bytes + files.iter().map(|f| f.bytes).sum::<u64>();
    let n = files.len();
    let manifest = Manifest { layout: LAYOUT, format: FORMAT.into(), program, at: begun, entries, hot_bytes, hot_digest, files };
    let path = to.join(MANIFEST);
    let mut file = create(&path)?;
    file.write_all(&serde_json::to_vec_pretty(&manifest).map_err(|e| e.to_string())?).and_then(|()| file.sync_all()).map_err(at(&path))?;
    File::open(to).and_then(|d| d.sync_all()).map_err(at(to))?;
    let from = if running { "the running service" } else { "the directory, which nobody had open" };
    println!("{}: backup of {from} as of {begun}: {entries} entries of hot rows and records, {n} files, {bytes} bytes", to.display());
    Ok(())
}

/// Does a path stay below where it is joined to?
fn stays_below(path: &Path) -> bool {
    path.components().count() > 0 && path.components().all(|c| matches!(c, Component::Normal(_)))
}

fn manifest(from: &Path) -> Result<Manifest, String> {
    let path = from.join(MANIFEST);
    let text = std::fs::read_to_string(&path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => format!("{}: is not there: no backup, or one that was not finished", path.display()),
        _ => at(&path)(e),
    })?;
    let m: Manifest = serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))?;
    if m.layout != LAYOUT || m.format != FORMAT {
        let why = format!("layout {} and store format {:?}, made by version {}", m.layout, m.format, m.program);
        return Err(format!("{}: {why}; this program restores layout {LAYOUT} and {FORMAT:?}: use that version", path.display()));
    }
    match m.files.iter().find(|f| !stays_below(&f.path)) {
        Some(f) => Err(format!("{}: {:?} leads out of the data directory; this is no backup of ours", path.display(), f.path)),
        None => Ok(m),
    }
}

/// `store restore`.
pub fn restore(from: &Path, data_dir: &Path) -> Result<(), String> {
    let m = manifest(from)?;
    empty_folder(data_dir, "--data-dir")?;
    let mut aside = data_dir.as_os_str().to_owned();
    aside.push("-restoring");
    let aside = PathBuf::from(aside);
    empty_folder(&aside, "--data-dir")?;
    let entries = fill(from, &m, &aside).and_then(|n| std::fs::rename(&aside, data_dir).map(|()| n).map_err(at(data_dir)));
    // Empty folders give way to a rename; nothing half restored stays.
    let entries = entries.inspect_err(|_| {
        let _ = std::fs::remove_dir_all(&aside);
        let _ = std::fs::remove_dir(data_dir);
    })?;
    println!("{}: restored as of {}: {entries} entries of hot rows and records, {} files", data_dir.display(), m.at, m.files.len());
    Ok(())
}

/// Copies a backup into a folder and compares every digest.
fn fill(from: &Path, m: &Manifest, aside: &Path) -> Result<u64, String> {
    let differs = |path: &Path| format!("{}: is not what was backed up (its digest differs); use another backup", path.display());
    for f in &m.files {
        let source = from.join("files").join(&f.path);
        let (bytes, digest) = copy(File::open(&source).map_err(at(&source))?, &aside.join(&f.path))?;
        if (bytes, &digest) != (f.bytes, &f.digest) {
            return Err(differs(&source));
        }
    }
    let source = from.join(HOT);
    let mut frames = Digesting::new(BufReader::with_capacity(1 << 20, File::open(&source).map_err(at(&source))?));
    let entries = build(aside, &mut frames).map_err(|e| e.to_string())?;
    if (entries, frames.bytes, frames.digest()) != (m.entries, m.hot_bytes, m.hot_digest.clone()) {
        return Err(differs(&source));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_out_is_seen() {
        for (path, ok) in
            [("sealed/hq/raw/2026-07-14.parquet", true), ("../x", false), ("/etc/x", false), ("a/../../x", false), ("", false)]
        {
            assert_eq!(stays_below(Path::new(path)), ok, "{path}");
        }
    }
}
