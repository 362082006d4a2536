//! A document as files: JSON with its schema, CSV, spreadsheet, page, PDF; and what became of the version before.
//!
//! Invariants: a folder holds one report (pack, period, sites, language); made again with other figures it is a new version, with
//! its changes, and the old files stay in `version-<N>/`; text that a spreadsheet could take for a formula is never one.

mod html;
mod sheet;

use super::figure::{Cell, Document, Figure, Table};
use super::gpu::JobShare;
use super::lang::Lang;
use crate::cell::plain;
use std::path::{Path, PathBuf};

const SCHEMA: &str = include_str!("../../../dashboards/report/report.schema.json");

fn failed(path: &Path, why: impl std::fmt::Display) -> String {
    format!("{}: cannot be written: {why}; give a folder that this user may write to", path.display())
}

/// Writes a report's folder; returns the paths. `documents`: those that people read too, beside JSON and CSV.
///
/// # Errors
/// The folder holds another report, or cannot be written to.
pub fn write(doc: &mut Document, jobs: &[JobShare], dir: &Path, lang: Lang, documents: bool) -> Result<Vec<PathBuf>, String> {
    std::fs::create_dir_all(dir).map_err(|e| failed(dir, e))?;
    versioned(doc, dir)?;
    let mut out = Vec::new();
    let mut put = |name: &str, bytes: &[u8]| -> Result<(), String> {
        let path = dir.join(name);
        std::fs::write(&path, bytes).map_err(|e| failed(&path, e))?;
        out.push(path);
        Ok(())
    };
    put("report.json", &serde_json::to_vec_pretty(doc).map_err(|e| e.to_string())?)?;
    put("report.schema.json", SCHEMA.as_bytes())?;
    put("figures.csv", &figures_csv(doc)?)?;
    for table in &doc.tables {
        put(&format!("{}.csv", table.id), &table_csv(table)?)?;
    }
    if !doc.changes.is_empty() {
        put("changes.csv", &changes_csv(doc)?)?;
    }
    if !jobs.is_empty() {
        put("jobs.csv", &jobs_csv(jobs)?)?;
    }
    if !documents {
        return Ok(out);
    }
    put("report.html", html::render(doc, lang)?.as_bytes())?;
    put("report.pdf", &super::pdf::render(doc, lang)?)?;
    put("report.xlsx", &sheet::render(doc, jobs, lang)?)?;
    Ok(out)
}

/// Looks at what is there: the same report again, an earlier version of it, or another one.
fn versioned(doc: &mut Document, dir: &Path) -> Result<(), String> {
    let path = dir.join("report.json");
    let Ok(text) = std::fs::read_to_string(&path) else { return Ok(()) };
    let before: Document =
        serde_json::from_str(&text).map_err(|e| format!("{}: is no report of this program ({e}); give another --out", path.display()))?;
    if !same_report(&before, doc) {
        return Err(format!("{}: holds another report ({}, {}); give another --out", dir.display(), before.pack, before.period));
    }
    let number = before.version;
    if !follow(doc, before) {
        return Ok(());
    }
    let old = dir.join(format!("version-{number}"));
    std::fs::create_dir_all(&old).map_err(|e| failed(&old, e))?;
    let entries = std::fs::read_dir(dir).map_err(|e| failed(dir, e))?;
    for entry in entries.flatten().filter(|e| e.path().is_file()) {
        let to = old.join(entry.file_name());
        std::fs::rename(entry.path(), &to).map_err(|e| failed(&to, e))?;
    }
    Ok(())
}

/// Are two documents the same report, made at different times?
pub fn same_report(a: &Document, b: &Document) -> bool {
    (&a.pack, &a.period, &a.sites, &a.lang) == (&b.pack, &b.period, &b.sites, &b.lang)
}

/// Numbers a document as what follows an earlier one of the same report. Does it tell other figures, as a new version?
pub fn follow(doc: &mut Document, before: Document) -> bool {
    let changes = doc.changes_from(&before);
    if changes.is_empty() {
        (doc.version, doc.changes) = (before.version, before.changes);
        return false;
    }
    (doc.version, doc.changes) = (before.version + 1, changes);
    true
}

fn cell(c: &Cell) -> String {
    match c {
        Cell::Number(v) => format!("{v}"),
        Cell::Text(t) => plain(t).into_owned(),
    }
}

fn number(v: Option<f64>) -> String {
    v.map_or_else(String::new, |v| format!("{v}"))
}

fn csv(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> Result<Vec<u8>, String> {
    let mut w = csv::Writer::from_writer(Vec::new());
    w.write_record(head).map_err(|e| e.to_string())?;
    for row in rows {
        w.write_record(&row).map_err(|e| e.to_string())?;
    }
    w.into_inner().map_err(|e| e.to_string())
}

/// Heads of the figures' columns, the same in every language: machines read them.
pub(super) const FIGURE_COLUMNS: [&str; 17] = [
    "key",
    "section",
    "scope",
    "name",
    "value",
    "text",
    "unit",
    "status",
    "boundary",
    "meters",
    "from",
    "to",
    "coverage",
    "estimated_share",
    "missing_share",
    "uncertainty_95",
    "citation",
];

pub(super) fn figure_row(f: &Figure) -> Vec<Cell> {
    let text = |t: &str| Cell::from(t);
    let number = |v: Option<f64>| v.map_or_else(|| Cell::from(""), Cell::from);
    vec![
        text(&f.key),
        text(&f.section),
        text(&f.scope),
        text(&f.name),
        number(f.value),
        text(f.text.as_deref().unwrap_or("")),
        text(&f.unit),
        text(f.status.key()),
        text(&f.boundary),
        text(&f.meters.join(" ")),
        text(&f.from),
        text(&f.to),
        number(f.coverage),
        number(f.estimated_share),
        number(f.missing_share),
        number(f.uncertainty_95),
        text(&f.citation),
        text(&f.note),
    ]
}

fn figures_csv(doc: &Document) -> Result<Vec<u8>, String> {
    let head: Vec<&str> = FIGURE_COLUMNS.into_iter().chain(["note"]).collect();
    csv(&head, doc.figures.iter().map(|f| figure_row(f).iter().map(cell).collect()))
}

fn table_csv(t: &Table) -> Result<Vec<u8>, String> {
    let head: Vec<&str> = t.columns.iter().map(String::as_str).collect();
    csv(&head, t.rows.iter().map(|r| r.iter().map(cell).collect()))
}

fn changes_csv(doc: &Document) -> Result<Vec<u8>, String> {
    let rows = doc.changes.iter().map(|c| [&c.key, &c.scope, &c.what, &c.before, &c.after].map(|t| plain(t).into_owned()).to_vec());
    csv(&["key", "scope", "what", "before", "after"], rows)
}

fn jobs_csv(jobs: &[JobShare]) -> Result<Vec<u8>, String> {
    let rows = jobs.iter().map(|j| {
        let numbers = [Some(j.gpu_h), Some(j.useful_h), Some(j.kwh), (j.gpu_h > 0.0).then(|| j.kwh / j.gpu_h)].map(number);
        [&j.job, &j.group, &j.partition].map(|t| plain(t).into_owned()).into_iter().chain(numbers).collect()
    });
    csv(&["job", "group", "partition", "gpu_hours", "useful_gpu_hours", "kwh", "kwh_per_gpu_hour"], rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_no_text() {
        assert_eq!(cell(&Cell::Number(-2.5)), "-2.5");
        assert_eq!(cell(&Cell::from("-2.5")), "'-2.5");
    }
}
