//! The report as PDF: A4 pages, the shipped DejaVu fonts as subsets, charts as vectors.
//!
//! Words: a *sheet* is a page's content in points from its lower left corner; the *pen* is where the next thing goes, from the
//! top. Invariant: nothing is drawn outside the margins; a table's head is repeated on each page.

mod backend;
mod font;
mod layout;

use super::draw;
use super::figure::{Cell, Document, Figure, Table};
use super::lang::Lang;
use layout::{Align, Book, Column};

/// Rows of a table that pages show; files have them all.
pub(super) const ROWS_SHOWN: usize = 200;

/// Renders a document.
pub fn render(doc: &Document, lang: Lang) -> Result<Vec<u8>, String> {
    let mut b = Book::new(&doc.title, lang)?;
    b.title(&doc.title);
    for l in &doc.labels {
        b.accent(l);
    }
    let facts = [
        (lang.t("sites"), doc.sites.join("; ")),
        (lang.t("period"), format!("{}  ({} … {})", doc.period, doc.from, doc.to)),
        (lang.t("pack"), format!("{} {} · {}", doc.pack, doc.pack_version, doc.citation)),
        (lang.t("version"), format!("{} · {} {}", doc.version, lang.t("made"), doc.made)),
    ];
    for (name, text) in &facts {
        b.pair(name, text);
    }
    b.space(4.0);
    b.text(&doc.about, 8.5);
    b.heading(&lang.t("figures"));
    figures(&mut b, doc, lang);
    b.pair(&lang.t("signature"), "");
    if !doc.changes.is_empty() {
        b.heading(&lang.say("changes", &[&(doc.version.saturating_sub(1)).to_string()]));
        let columns = [("field", 90.0), ("scope", 110.0), ("what", 95.0), ("before", 110.0), ("after", 110.0)];
        let columns: Vec<Column> = columns.iter().map(|(k, w)| Column::new(lang.t(k), *w, Align::Left)).collect();
        let rows: Vec<Vec<String>> =
            (doc.changes.iter()).map(|c| vec![c.key.clone(), c.scope.clone(), c.what.clone(), c.before.clone(), c.after.clone()]).collect();
        b.table(&columns, &rows, 7.5);
    }
    for table in doc.tables.iter().filter(|t| !is_annex(t)) {
        b.heading(&table.title);
        any_table(&mut b, table, lang);
    }
    for chart in &doc.charts {
        b.chart(&chart.title, |area| draw::paint(area, chart, lang))?;
    }
    b.heading(&lang.t("behind"));
    for f in &doc.figures {
        behind(&mut b, f, lang);
    }
    if !doc.notes.is_empty() {
        b.heading(&lang.t("notes"));
        for n in &doc.notes {
            b.text(n, 8.0);
        }
    }
    for table in doc.tables.iter().filter(|t| is_annex(t)) {
        b.heading(&table.title);
        any_table(&mut b, table, lang);
    }
    b.finish()
}

fn is_annex(t: &Table) -> bool {
    ["register", "gaps", "events"].contains(&t.id.as_str())
}

fn percent(lang: Lang, v: Option<f64>) -> String {
    v.map_or_else(String::new, |v| format!("{} %", lang.number(100.0 * v, 2)))
}

fn figures(b: &mut Book, doc: &Document, lang: Lang) {
    let columns = [
        Column::new(lang.t("field"), 158.0, Align::Left),
        Column::new(lang.t("scope"), 62.0, Align::Left),
        Column::new(lang.t("value"), 88.0, Align::Right),
        Column::new(lang.t("unit"), 58.0, Align::Left),
        Column::new(lang.t("u95"), 48.0, Align::Right),
        Column::new(lang.t("coverage"), 50.0, Align::Right),
        Column::new(lang.t("estimated"), 51.0, Align::Right),
    ];
    let rows: Vec<Vec<String>> = doc
        .figures
        .iter()
        .map(|f| {
            let value = f.value.map(|v| lang.value(v)).or_else(|| f.text.clone()).unwrap_or_else(|| lang.t("missing").to_uppercase());
            vec![
                format!("{}  {}", f.key, f.name),
                if f.scope == "group" { lang.t("group") } else { f.scope.clone() },
                value,
                f.unit.clone(),
                f.uncertainty_95.map_or_else(String::new, |u| lang.value(u)),
                percent(lang, f.coverage),
                percent(lang, f.estimated_share),
            ]
        })
        .collect();
    b.table(&columns, &rows, 7.5);
}

fn behind(b: &mut Book, f: &Figure, lang: Lang) {
    let scope = if f.scope == "group" { lang.t("group") } else { f.scope.clone() };
    let mut parts = vec![format!("{}: {}", lang.t("status"), lang.t(f.status.key())), f.citation.clone()];
    if !f.boundary.is_empty() {
        parts.push(format!("{}: {}", lang.t("boundary"), f.boundary));
    }
    if !f.meters.is_empty() {
        parts.push(format!("{}: {}", lang.t("meters"), f.meters.join(", ")));
    }
    if !f.note.is_empty() {
        parts.push(format!("{}: {}", lang.t("note"), f.note));
    }
    b.entry(&format!("{} ({scope})", f.key), &parts.join(" · "));
}

fn any_table(b: &mut Book, t: &Table, lang: Lang) {
    let n = t.columns.len();
    let numeric = |c: usize| t.rows.iter().any(|r| matches!(r.get(c), Some(Cell::Number(_))));
    let text = |c: &Cell| match c {
        Cell::Number(v) => lang.value(*v),
        Cell::Text(t) => t.clone(),
    };
    let mut rows: Vec<Vec<String>> = t.rows.iter().take(ROWS_SHOWN).map(|r| r.iter().map(text).collect()).collect();
    if t.rows.len() > ROWS_SHOWN {
        rows.push(vec![format!("… {} ({}.csv)", t.rows.len() - ROWS_SHOWN, t.id)]);
    }
    let size = if n > 8 { 6.0 } else { 7.5 };
    let widths = b.widths(&t.columns, &rows, size);
    let columns: Vec<Column> =
        (0..n).map(|c| Column::new(t.columns[c].clone(), widths[c], if numeric(c) { Align::Right } else { Align::Left })).collect();
    b.table(&columns, &rows, size);
}
