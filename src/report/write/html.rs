//! The report as one HTML file, for reading: charts inside as SVG.

use crate::report::draw;
use crate::report::figure::{Cell, Document, Figure, Status};
use crate::report::lang::Lang;
use crate::report::page::escape;
use crate::report::pdf::ROWS_SHOWN;
use std::fmt::Write;

const TEMPLATE: &str = include_str!("../../../dashboards/report/report.html");

pub fn render(doc: &Document, lang: Lang) -> Result<String, String> {
    let mut body = String::new();
    let _ = writeln!(body, "<h1>{}</h1>", escape(&doc.title));
    for l in &doc.labels {
        let _ = writeln!(body, "<p class=\"label\">{}</p>", escape(l));
    }
    let facts = [
        (lang.t("sites"), doc.sites.join("; ")),
        (lang.t("period"), format!("{} ({} … {})", doc.period, doc.from, doc.to)),
        (lang.t("pack"), format!("{} {} · {}", doc.pack, doc.pack_version, doc.citation)),
        (lang.t("version"), format!("{} · {} {}", doc.version, lang.t("made"), doc.made)),
    ];
    body.push_str("<dl>");
    for (name, text) in facts {
        let _ = write!(body, "<dt>{}</dt><dd>{}</dd>", escape(&name), escape(&text));
    }
    body.push_str("</dl>\n");
    let _ = writeln!(body, "<p>{}</p>", escape(&doc.about));
    if !doc.changes.is_empty() {
        let title = lang.say("changes", &[&doc.version.saturating_sub(1).to_string()]);
        let head = ["field", "scope", "what", "before", "after"].map(|k| lang.t(k));
        let rows = doc.changes.iter().map(|c| [&c.key, &c.scope, &c.what, &c.before, &c.after].map(|t| (escape(t), false)).to_vec());
        table(&mut body, &title, &head, rows);
    }
    let head = ["field", "scope", "value", "unit", "u95", "coverage", "estimated", "status"].map(|k| lang.t(k));
    table(&mut body, &lang.t("figures"), &head, doc.figures.iter().map(|f| row(f, lang)));
    for t in doc.tables.iter().filter(|t| !["register", "gaps", "events"].contains(&t.id.as_str())) {
        any(&mut body, t, lang);
    }
    for c in &doc.charts {
        let _ = writeln!(body, "<figure><figcaption>{}</figcaption>{}</figure>", escape(&c.title), draw::svg(c, lang)?);
    }
    let head = ["field", "boundary", "meters", "citation", "note"].map(|k| lang.t(k));
    let behind = doc.figures.iter().map(|f| {
        let scope = if f.scope == "group" { lang.t("group") } else { f.scope.clone() };
        [format!("{} ({scope})", f.key), f.boundary.clone(), f.meters.join(", "), f.citation.clone(), f.note.clone()]
            .map(|t| (escape(&t), false))
            .to_vec()
    });
    table(&mut body, &lang.t("behind"), &head, behind);
    if !doc.notes.is_empty() {
        let _ = write!(body, "<h2>{}</h2>\n<ul>", lang.t("notes"));
        for n in &doc.notes {
            let _ = write!(body, "<li>{}</li>", escape(n));
        }
        body.push_str("</ul>\n");
    }
    for t in doc.tables.iter().filter(|t| ["register", "gaps", "events"].contains(&t.id.as_str())) {
        any(&mut body, t, lang);
    }
    Ok(TEMPLATE.replace("{{lang}}", lang.code()).replace("{{title}}", &escape(&doc.title)).replace("{{body}}", &body))
}

fn row(f: &Figure, lang: Lang) -> Vec<(String, bool)> {
    let percent = |v: Option<f64>| v.map_or_else(String::new, |v| format!("{} %", lang.number(100.0 * v, 2)));
    let missing = f.status == Status::Missing;
    let value = f.value.map(|v| lang.value(v)).or_else(|| f.text.clone()).unwrap_or_else(|| lang.t("missing"));
    let value = if missing { format!("<b class=\"missing\">{}</b>", escape(&value)) } else { escape(&value) };
    vec![
        (format!("<b>{}</b> {}", escape(&f.key), escape(&f.name)), false),
        (escape(&if f.scope == "group" { lang.t("group") } else { f.scope.clone() }), false),
        (value, f.value.is_some()),
        (escape(&f.unit), false),
        (f.uncertainty_95.map_or_else(String::new, |u| lang.value(u)), true),
        (percent(f.coverage), true),
        (percent(f.estimated_share), true),
        (escape(&lang.t(f.status.key())), false),
    ]
}

fn any(body: &mut String, t: &crate::report::figure::Table, lang: Lang) {
    let cell = |c: &Cell| match c {
        Cell::Number(v) => (lang.value(*v), true),
        Cell::Text(t) => (escape(t), false),
    };
    let more = t.rows.len().saturating_sub(ROWS_SHOWN);
    let last = (more > 0).then(|| vec![(format!("… {more} ({}.csv)", escape(&t.id)), false)]);
    table(body, &t.title, &t.columns, t.rows.iter().take(ROWS_SHOWN).map(|r| r.iter().map(cell).collect()).chain(last));
}

/// Cells are HTML already; true = a number.
fn table(body: &mut String, title: &str, head: &[String], rows: impl Iterator<Item = Vec<(String, bool)>>) {
    let _ = write!(body, "<h2>{}</h2>\n<table><thead><tr>", escape(title));
    for h in head {
        let _ = write!(body, "<th>{}</th>", escape(h));
    }
    body.push_str("</tr></thead><tbody>\n");
    for r in rows {
        body.push_str("<tr>");
        for (text, number) in r {
            let _ = write!(body, "<td{}>{text}</td>", if number { " class=\"n\"" } else { "" });
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody></table>\n");
}
