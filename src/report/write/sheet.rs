//! The report as a spreadsheet: a sheet of figures, one for each table, one for the jobs. Numbers are numbers; text is only text.

use super::{FIGURE_COLUMNS, figure_row};
use crate::report::figure::{Cell, Document};
use crate::report::gpu::JobShare;
use crate::report::lang::Lang;
use rust_xlsxwriter::{Format, Workbook, Worksheet, XlsxError};

/// Rows that a sheet takes.
const ROWS_MAX: usize = 1_048_000;

pub fn render(doc: &Document, jobs: &[JobShare], lang: Lang) -> Result<Vec<u8>, String> {
    build(doc, jobs, lang).map_err(|e| format!("report.xlsx: {e}"))
}

fn build(doc: &Document, jobs: &[JobShare], lang: Lang) -> Result<Vec<u8>, XlsxError> {
    let bold = Format::new().set_bold();
    let mut book = Workbook::new();
    let mut sheet = |name: &str, head: &[&str], rows: &mut dyn Iterator<Item = Vec<Cell>>| -> Result<(), XlsxError> {
        let s = book.add_worksheet();
        // Names of sheets: 31 letters, none of []:*?/\.
        let name: String = name.chars().filter(|c| !"[]:*?/\\".contains(*c)).take(31).collect();
        s.set_name(&name)?;
        for (c, h) in head.iter().enumerate() {
            s.write_string_with_format(0, c as u16, *h, &bold)?;
        }
        s.set_freeze_panes(1, 0)?;
        let mut widths: Vec<usize> = head.iter().map(|h| h.chars().count()).collect();
        for (r, row) in rows.take(ROWS_MAX).enumerate() {
            for (c, cell) in row.iter().enumerate() {
                put(s, r as u32 + 1, c as u16, cell)?;
                if let (Some(w), Cell::Text(t)) = (widths.get_mut(c), cell) {
                    *w = (*w).max(t.chars().count());
                }
            }
        }
        for (c, w) in widths.iter().enumerate() {
            s.set_column_width(c as u16, (*w as f64 + 2.0).clamp(8.0, 60.0))?;
        }
        Ok(())
    };
    let head: Vec<&str> = FIGURE_COLUMNS.into_iter().chain(["note"]).collect();
    sheet(&lang.t("figures"), &head, &mut doc.figures.iter().map(figure_row))?;
    let about = [
        ("title", &doc.title),
        ("pack", &doc.pack),
        ("pack_version", &doc.pack_version),
        ("citation", &doc.citation),
        ("period", &doc.period),
        ("from", &doc.from),
        ("to", &doc.to),
        ("made", &doc.made),
    ];
    let version = doc.version.to_string();
    let about = about.into_iter().chain([("version", &version)]).chain(doc.sites.iter().map(|s| ("site", s)));
    let about = about.chain(doc.labels.iter().map(|l| ("label", l))).chain(doc.notes.iter().map(|n| ("note", n)));
    sheet(&lang.t("notes"), &["key", "value"], &mut about.map(|(k, v)| vec![Cell::from(k), Cell::from(v.as_str())]))?;
    for t in &doc.tables {
        let head: Vec<&str> = t.columns.iter().map(String::as_str).collect();
        sheet(&t.id, &head, &mut t.rows.iter().cloned())?;
    }
    if !doc.changes.is_empty() {
        let row =
            |c: &crate::report::figure::Change| [&c.key, &c.scope, &c.what, &c.before, &c.after].map(|t| Cell::from(t.as_str())).to_vec();
        sheet("changes", &["key", "scope", "what", "before", "after"], &mut doc.changes.iter().map(row))?;
    }
    if !jobs.is_empty() {
        let row = |j: &JobShare| -> Vec<Cell> {
            vec![
                j.job.as_str().into(),
                j.group.as_str().into(),
                j.partition.as_str().into(),
                j.gpu_h.into(),
                j.useful_h.into(),
                j.kwh.into(),
            ]
        };
        sheet("jobs", &["job", "group", "partition", "gpu_hours", "useful_gpu_hours", "kwh"], &mut jobs.iter().map(row))?;
    }
    book.save_to_buffer()
}

fn put(s: &mut Worksheet, row: u32, column: u16, cell: &Cell) -> Result<(), XlsxError> {
    match cell {
        Cell::Number(v) if v.is_finite() => s.write_number(row, column, *v)?,
        Cell::Number(_) => s.write_string(row, column, "")?,
        Cell::Text(t) if t.is_empty() => return Ok(()),
        // A cell holds 32,767 letters.
        Cell::Text(t) => s.write_string(row, column, t.chars().take(32_000).collect::<String>())?,
    };
    Ok(())
}
