//! The folder of reports that the service has made: `<data-dir>/reports/<id>/`.
//!
//! Words: a *folder* is one report: its files and `MADE.json`, which says what it is and names them.
//! Invariants: a folder appears whole, under its name, or not at all ([`ASIDE`]); a file is given out by what `MADE.json` names,
//! never by a path that somebody asked for; what is not a report of ours is left alone.

use crate::api::reports::{Report, ReportFile};
use crate::time::{Span, Timestamp};
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

const MADE: &str = "MADE.json";
/// The end of a folder's name that is not finished; a backup leaves it out.
const ASIDE: &str = "-aside";
/// Files that one report may have: tables, and a dozen besides.
const FILES_MAX: usize = 200;

/// Where reports lie.
pub struct Shelf {
    dir: PathBuf,
}

/// Is a name one part of a path, and nothing else?
fn plain_name(name: &str) -> bool {
    let ours = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    !name.is_empty() && name.len() <= 120 && !name.starts_with('.') && name.chars().all(ours)
}

fn failed(path: &Path, e: std::io::Error) -> String {
    format!("{}: {e}; make the data directory writable for this user, and free space on its disk", path.display())
}

/// What a file of this name holds, as HTTP says it.
pub fn media_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, end)| end) {
        Some("pdf") => "application/pdf",
        Some("xlsx") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        Some("csv") => "text/csv; charset=utf-8",
        Some("json") => "application/json",
        Some("html") => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    }
}

/// Size and digest of a file.
fn weighed(path: &Path) -> std::io::Result<(u64, String)> {
    let (mut file, mut hash, mut bytes, mut buffer) = (File::open(path)?, blake3::Hasher::new(), 0, vec![0; 1 << 16]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hash.finalize().to_hex().to_string())),
            n => {
                hash.update(&buffer[..n]);
                bytes += n as u64;
            }
        }
    }
}

impl Shelf {
    pub fn new(data_dir: &Path) -> Shelf {
        Shelf { dir: data_dir.join("reports") }
    }

    fn folder(&self, id: &str) -> PathBuf {
        self.dir.join(id)
    }

    fn aside(&self, id: &str) -> PathBuf {
        self.dir.join(format!("{id}{ASIDE}"))
    }

    /// The reports that are there, oldest first. What a service left unfinished goes; what is none of ours stays.
    pub fn open(&self) -> Vec<Report> {
        let names = std::fs::read_dir(&self.dir).into_iter().flatten().flatten().filter_map(|e| e.file_name().into_string().ok());
        let mut all = Vec::new();
        for name in names.filter(|n| plain_name(n)) {
            if name.ends_with(ASIDE) {
                let _ = std::fs::remove_dir_all(self.dir.join(&name));
                continue;
            }
            let path = self.folder(&name).join(MADE);
            match std::fs::read(&path).map_err(|e| e.to_string()).and_then(|t| serde_json::from_slice(&t).map_err(|e| e.to_string())) {
                Ok(Report { id, files, .. }) if id != name || files.iter().any(|f| !plain_name(&f.name)) => {
                    tracing::warn!("{}: names another folder or file; this report is left out", path.display());
                }
                Ok(report) => all.push(report),
                Err(e) => tracing::warn!("{}: {e}; this report is left out", path.display()),
            }
        }
        all.sort_by_key(|r: &Report| (r.made_at, r.ordered_at));
        all
    }

    /// An empty folder to write a report's files into.
    ///
    /// # Errors
    /// The disk or its rights.
    pub fn begin(&self, id: &str) -> Result<PathBuf, String> {
        let aside = self.aside(id);
        let _ = std::fs::remove_dir_all(&aside);
        let mut make = std::fs::DirBuilder::new();
        make.recursive(true).mode(0o700).create(&aside).map_err(|e| failed(&aside, e))?;
        Ok(aside)
    }

    /// Takes away what was begun.
    pub fn give_up(&self, id: &str) {
        let _ = std::fs::remove_dir_all(self.aside(id));
    }

    /// Gives the folder its name; from here on the report is there.
    ///
    /// # Errors
    /// The disk or its rights; more than [`FILES_MAX`] files.
    pub fn finish(&self, report: &mut Report, paths: &[PathBuf]) -> Result<(), String> {
        let aside = self.aside(&report.id);
        if paths.len() > FILES_MAX {
            return Err(format!("{} files are more than the {FILES_MAX} that one report may have; order it for fewer sites", paths.len()));
        }
        for path in paths {
            let name = path.file_name().and_then(|n| n.to_str()).filter(|n| plain_name(n));
            let name = name.ok_or_else(|| format!("{}: a file of this name cannot be given out", path.display()))?.to_owned();
            let (bytes, digest) = weighed(path).map_err(|e| failed(path, e))?;
            report.files.push(ReportFile { media_type: media_type(&name).into(), name, bytes, digest });
        }
        let path = aside.join(MADE);
        let text = serde_json::to_vec_pretty(report).map_err(|e| e.to_string())?;
        let file = File::options().write(true).create_new(true).mode(0o600).open(&path);
        file.and_then(|mut f| f.write_all(&text).and_then(|()| f.sync_all())).map_err(|e| failed(&path, e))?;
        let folder = self.folder(&report.id);
        std::fs::rename(&aside, &folder).map_err(|e| failed(&folder, e))?;
        File::open(&self.dir).and_then(|d| d.sync_all()).map_err(|e| failed(&self.dir, e))
    }

    /// The document of a report, to number the one that follows it.
    pub fn document(&self, id: &str) -> Option<crate::report::figure::Document> {
        serde_json::from_slice(&std::fs::read(self.folder(id).join("report.json")).ok()?).ok()
    }

    /// Opens a file that a report of this shelf names.
    pub fn file(&self, report: &Report, file: &ReportFile) -> std::io::Result<File> {
        File::open(self.folder(&report.id).join(&file.name))
    }

    /// Takes a report away; who reads one of its files reads on.
    pub fn remove(&self, id: &str) -> std::io::Result<()> {
        // Out of sight first: a folder that is half removed is never taken for a report.
        let aside = self.aside(id);
        std::fs::rename(self.folder(id), &aside)?;
        std::fs::remove_dir_all(aside)
    }
}

/// Which of the reports, oldest first, are too many or too old.
pub fn surplus(all: &[Report], now: Timestamp, keep: usize, keep_days: u32) -> Vec<String> {
    let oldest = now - Span::hours(24 * i64::from(keep_days));
    let many = all.len().saturating_sub(keep);
    let old = |r: &Report| r.made_at.is_some_and(|t| t < oldest.0);
    all.iter().enumerate().filter(|(i, r)| *i < many || old(r)).map(|(_, r)| r.id.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_part_of_a_path() {
        for (name, ok) in [
            ("report.pdf", true),
            ("20261129T101500Z", true),
            ("", false),
            ("..", false),
            (".hidden", false),
            ("a/b", false),
            ("a\\b", false),
            ("a\0", false),
        ] {
            assert_eq!(plain_name(name), ok, "{name:?}");
        }
    }

    fn report(id: &str, made_at: i64) -> Report {
        Report { id: id.into(), made_at: Some(made_at), ..Report::default() }
    }

    #[test]
    fn what_is_too_many_or_too_old_goes() {
        let day = 86_400_000;
        let all = [report("a", 0), report("b", 5 * day), report("c", 9 * day)];
        let now = Timestamp(10 * day);
        assert_eq!(surplus(&all, now, 10, 30), Vec::<String>::new());
        assert_eq!(surplus(&all, now, 2, 30), ["a"]);
        assert_eq!(surplus(&all, now, 10, 6), ["a"]);
        assert_eq!(surplus(&all, now, 1, 3), ["a", "b"]);
    }

    #[test]
    fn a_report_is_there_whole_or_not_at_all() {
        let dir = std::env::temp_dir().join(format!("tramuntana-shelf-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let shelf = Shelf::new(&dir);
        assert!(shelf.open().is_empty());
        let begun = shelf.begin("one").unwrap();
        std::fs::write(begun.join("report.pdf"), "%PDF").unwrap();
        assert!(shelf.open().is_empty() && !begun.exists(), "what was left unfinished goes");
        let begun = shelf.begin("one").unwrap();
        std::fs::write(begun.join("report.pdf"), "%PDF").unwrap();
        let mut r = report("one", 1);
        shelf.finish(&mut r, &[begun.join("report.pdf")]).unwrap();
        assert_eq!(shelf.open(), [r.clone()]);
        assert_eq!((r.files[0].bytes, r.files[0].media_type.as_str()), (4, "application/pdf"));
        assert!(shelf.file(&r, &r.files[0]).is_ok());
        // One that names a file elsewhere is not taken.
        std::fs::create_dir_all(dir.join("reports/two")).unwrap();
        let bad = ReportFile { name: "../../secret".into(), ..r.files[0].clone() };
        let text = serde_json::to_vec(&Report { id: "two".into(), files: vec![bad], ..Report::default() }).unwrap();
        std::fs::write(dir.join("reports/two").join(MADE), text).unwrap();
        assert_eq!(shelf.open().len(), 1);
        shelf.remove("one").unwrap();
        assert!(shelf.open().is_empty());
        std::fs::remove_dir_all(&dir).unwrap();
    }
}
