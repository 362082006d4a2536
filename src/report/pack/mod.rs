//! Packs: which figures a report has, in whose words and by which law. Versioned data, one file each.
//!
//! Invariants: each field of a pack is in the report, as a figure, an answer or a missing one; a pack names no meter.

use super::book::Book;
use super::charts;
use super::facts::Facts;
use super::figure::{Cell, Document, Fact, Figure, Status, Table};
use super::gpu;
use super::lang::Lang;
use super::register::Answer;
use serde::Deserialize;

/// Jobs that the report's own pages show.
const JOBS_SHOWN: usize = 25;

/// A text in three languages.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    en: String,
    es: String,
    ca: String,
}

impl Words {
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Es => &self.es,
            Lang::Ca => &self.ca,
        }
    }
}

/// How sites' answers become the group's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    #[default]
    Figure,
    Sum,
    List,
}

/// One field.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    pub key: String,
    pub section: String,
    /// Where the definition stands, if not at the section of the pack's own text.
    #[serde(default)]
    pub cite: Option<String>,
    #[serde(default)]
    pub unit: String,
    pub figure: Option<String>,
    #[serde(default)]
    pub merge: Merge,
    pub name: Words,
}

/// A pack.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pack {
    pub id: String,
    pub version: String,
    pub cite: String,
    pub title: Words,
    pub about: Words,
    #[serde(rename = "field")]
    pub fields: Vec<Field>,
}

const PACKS: [(&str, &str); 3] = [
    ("eu-2024-1364", include_str!("eu-2024-1364.toml")),
    ("iso-30134", include_str!("iso-30134.toml")),
    ("energy-per-gpu-hour", include_str!("energy-per-gpu-hour.toml")),
];

impl Pack {
    /// The names of the packs that there are.
    pub fn names() -> Vec<&'static str> {
        PACKS.iter().map(|p| p.0).collect()
    }

    /// # Errors
    /// There is no such pack.
    pub fn get(id: &str) -> Result<Pack, String> {
        let text = PACKS.iter().find(|p| p.0 == id).ok_or_else(|| format!("no pack {id:?}; there are: {}", Pack::names().join(", ")))?.1;
        toml::from_str(text).map_err(|e| format!("pack {id}: {e}"))
    }
}

/// What a report is asked for.
pub struct Order<'a> {
    pub pack: &'a Pack,
    pub lang: Lang,
    /// All books as one group of structures; otherwise there is one book.
    pub group: bool,
    /// The instant it is made at, RFC 3339.
    pub made: String,
}

/// Makes the document of some sites' books. All books have the same period's label.
///
/// # Errors
/// No book; or the pack needs what the sites do not have.
pub fn document(books: &[Book], order: &Order) -> Result<(Document, Vec<gpu::JobShare>), String> {
    let first = books.first().ok_or("no site to report on")?;
    let lang = order.lang;
    let p = &first.period;
    let group = order.group && books.len() > 1;
    let scope = if group { "group".to_owned() } else { first.id.clone() };
    let mut doc = Document {
        format: 1,
        pack: order.pack.id.clone(),
        pack_version: order.pack.version.clone(),
        citation: order.pack.cite.clone(),
        lang: lang.code().into(),
        title: order.pack.title.get(lang).into(),
        about: order.pack.about.get(lang).into(),
        version: 1,
        made: order.made.clone(),
        period: p.label.clone(),
        from: p.local(p.grid.from),
        to: p.local(p.grid.to),
        sites: books.iter().map(|b| format!("{} ({})", b.name, b.id)).collect(),
        group,
        // Each once: the sites of a group often say the same of themselves.
        labels: books.iter().fold(Vec::new(), |mut seen, b| {
            if !b.label.is_empty() && !seen.contains(&b.label) {
                seen.push(b.label.clone());
            }
            seen
        }),
        figures: vec![],
        tables: vec![],
        charts: vec![],
        notes: vec![],
        changes: vec![],
    };
    let all: Vec<&Book> = books.iter().collect();
    let mut jobs = vec![];
    if order.pack.id == "energy-per-gpu-hour" {
        jobs = gpu_figures(&mut doc, &all, order, &scope)?;
    } else {
        let facts = Facts { books: all.clone(), lang };
        for field in &order.pack.fields {
            doc.figures.push(field_figure(field, &facts, order, &scope, first));
        }
        if group {
            // Each site's own figures stand below the group's.
            for b in books {
                let facts = Facts { books: vec![b], lang };
                for field in &order.pack.fields {
                    doc.figures.push(field_figure(field, &facts, order, &b.id, b));
                }
            }
        }
        doc.charts = charts::general(&facts);
    }
    for b in books {
        let series = [("carbon_location", &b.carbon_location), ("carbon_market", &b.carbon_market), ("price", &b.price)];
        for (name, s) in series.into_iter().filter_map(|(n, s)| Some((n, s.as_ref()?))) {
            let source = Some(&s.source).filter(|t| !t.is_empty());
            doc.notes.extend(source.into_iter().chain(&s.notes).map(|t| format!("{}, {name}: {t}", b.id)));
        }
    }
    doc.tables.extend(annexes(books, lang));
    Ok((doc, jobs))
}

fn field_figure(field: &Field, facts: &Facts, order: &Order, scope: &str, book: &Book) -> Figure {
    let fact = field.figure.as_deref().and_then(|name| facts.get(name, &field.key));
    match fact {
        Some(f) => figure(field, f, order, scope, book, None),
        None => {
            let (fact, text) = answer(field, facts);
            figure(field, fact, order, scope, book, text)
        }
    }
}

fn figure(field: &Field, fact: Fact, order: &Order, scope: &str, book: &Book, text: Option<String>) -> Figure {
    let there = fact.value.is_some() || text.is_some();
    Figure {
        key: field.key.clone(),
        section: field.section.clone(),
        scope: scope.into(),
        name: field.name.get(order.lang).into(),
        value: fact.value,
        text,
        unit: field.unit.clone(),
        status: if there { fact.status.unwrap_or(Status::Answered) } else { Status::Missing },
        boundary: fact.boundary,
        meters: fact.meters,
        from: book.period.local(book.grid().from),
        to: book.period.local(book.grid().to),
        coverage: fact.coverage,
        estimated_share: fact.estimated,
        missing_share: fact.missing,
        uncertainty_95: fact.u.filter(|_| fact.value.is_some()).map(|u| 2.0 * u),
        citation: field.cite.clone().unwrap_or_else(|| format!("{}, {}", order.pack.cite, field.section)),
        note: fact.notes.join("; "),
    }
}

/// The sites' answers to a field, merged as the pack says.
fn answer(field: &Field, facts: &Facts) -> (Fact, Option<String>) {
    let mut lacking = Vec::new();
    let (mut sum, mut texts) = (0.0, Vec::new());
    for b in &facts.books {
        let several = facts.books.len() > 1;
        match (b.file.answers.get(&field.key), field.merge) {
            (Some(Answer::Number(v)), Merge::Sum | Merge::Figure) => sum += v,
            (Some(Answer::Text(_) | Answer::List(_)), Merge::Sum) => {
                lacking.push(format!("sensors/{}/report.toml, [answers] {}: a number is needed", b.id, field.key));
            }
            (Some(a), _) => {
                let text = match a {
                    Answer::Number(v) => facts.lang.value(*v),
                    Answer::Text(t) => t.clone(),
                    Answer::List(l) => l.join(", "),
                };
                texts.push(if several { format!("{}: {text}", b.name) } else { text });
            }
            (None, _) => lacking.push(facts.lang.say("answer_me", &[&b.id, &field.key])),
        }
    }
    let boundary = facts.lang.t("b_site");
    if !lacking.is_empty() {
        return (Fact { notes: lacking, ..Fact::default() }, None);
    }
    if !texts.is_empty() {
        return (Fact { boundary, status: Some(Status::Answered), ..Fact::default() }, Some(texts.join("; ")));
    }
    (Fact { value: Some(sum), boundary, status: Some(Status::Answered), ..Fact::default() }, None)
}

fn gpu_figures(doc: &mut Document, books: &[&Book], order: &Order, scope: &str) -> Result<Vec<gpu::JobShare>, String> {
    let lang = order.lang;
    let mut sites = Vec::new();
    for b in books {
        let s = gpu::shares(b).ok_or_else(|| {
            format!("{}: energy per GPU-hour needs an IT meter and metered racks of each partition in the period; the store has none", b.id)
        })?;
        sites.push(s);
    }
    let mut scopes: Vec<(String, Vec<&gpu::Shares>)> = vec![(scope.to_owned(), sites.iter().flat_map(|s| &s.partitions).collect())];
    if books.len() > 1 {
        scopes.extend(sites.iter().map(|s| (s.site.clone(), s.partitions.iter().collect())));
    }
    for s in &sites {
        scopes.extend(s.partitions.iter().map(|p| (format!("{}/{}", s.site, p.partition), vec![p])));
    }
    for (name, parts) in scopes {
        let scope = gpu::Scope { parts, books: books.to_vec(), lang };
        for field in &order.pack.fields {
            let fact = field.figure.as_deref().and_then(|f| scope.get(f)).unwrap_or_default();
            doc.figures.push(figure(field, fact, order, &name, books[0], None));
        }
    }
    doc.tables.push(gpu::reconciliation(&sites, lang));
    let groups = gpu::groups(&sites);
    let per = |k: f64, h: f64| Cell::from(if h > 0.0 { k / h } else { f64::NAN });
    if !groups.is_empty() {
        let columns = [lang.t("group"), "GPU-h".into(), format!("GPU-h {}", lang.t("useful")), "kWh".into(), "kWh/GPU-h".into()];
        let rows = groups
            .iter()
            .map(|(name, g)| vec![name.as_str().into(), g.gpu_h.into(), g.useful_h.into(), g.kwh.into(), per(g.kwh, g.gpu_h)])
            .collect();
        doc.tables.push(Table { id: "groups".into(), title: lang.t("groups"), columns: columns.to_vec(), rows });
    }
    let jobs = gpu::jobs(&sites);
    if !jobs.is_empty() {
        let columns = [lang.t("jobs"), lang.t("group"), lang.t("partition"), "GPU-h".into(), "kWh".into(), "kWh/GPU-h".into()];
        let row = |j: &gpu::JobShare| {
            let texts = [&j.job, &j.group, &j.partition].map(|t| Cell::from(t.as_str()));
            texts.into_iter().chain([j.gpu_h.into(), j.kwh.into(), per(j.kwh, j.gpu_h)]).collect()
        };
        let rows = jobs.iter().take(JOBS_SHOWN).map(row).collect();
        doc.tables.push(Table { id: "largest_jobs".into(), title: lang.t("job_table"), columns: columns.to_vec(), rows });
    }
    doc.charts = charts::gpu(&sites, books, lang);
    Ok(jobs)
}

/// Register, gaps, events.
fn annexes(books: &[Book], lang: Lang) -> Vec<Table> {
    let head = |keys: &[&str]| keys.iter().map(|k| lang.t(k)).collect::<Vec<_>>();
    let mut register = Table {
        id: "register".into(),
        title: lang.t("register"),
        columns: head(&["meter", "role", "device", "class", "calibrated", "since", "until", "value", "coverage", "estimated", "points"]),
        rows: vec![],
    };
    let mut gaps =
        Table { id: "gaps".into(), title: lang.t("gaps"), columns: head(&["meter", "from", "to", "rule", "value", "u95"]), rows: vec![] };
    let mut events =
        Table { id: "events".into(), title: lang.t("events"), columns: head(&["meter", "from", "what", "before", "after"]), rows: vec![] };
    for b in books {
        for m in &b.meters {
            let id = format!("{}/{}", b.id, m.entry.id);
            let none = [super::register::Device::default()];
            let devices = if m.entry.devices.is_empty() { &none[..] } else { &m.entry.devices[..] };
            for (i, d) in devices.iter().enumerate() {
                let stated = |t: &Option<String>| Cell::from(t.clone().unwrap_or_default());
                let device = if d.device.is_empty() { lang.t("not_stated") } else { d.device.clone() };
                let class = d.class_pct.map_or_else(|| Cell::from(lang.t("not_stated")), Cell::from);
                let mut row: Vec<Cell> = vec![format!("{id}: {}", m.entry.title()).into(), m.role.text().into(), device.into(), class];
                row.extend([stated(&d.calibrated), stated(&d.since), stated(&d.until)]);
                let q = &m.quantity;
                let sums = if i == 0 && !q.is_none() { [q.value(), q.coverage(), q.estimated_share()] } else { [f64::NAN; 3] };
                row.extend(sums.map(Cell::from));
                row.push(if i == 0 { m.points.join(" ").into() } else { "".into() });
                register.rows.push(row);
            }
            for g in &m.gaps {
                use super::account::Rule;
                let rule = match g.rule {
                    Rule::Counted => "counted",
                    Rule::CountedOverEdge => "counted_over_edge",
                    Rule::StraightLine => "straight_line",
                    Rule::SimilarDays => "similar_days",
                    Rule::Missing => "rule_missing",
                };
                let times = [b.period.local(g.from), b.period.local(g.to), lang.t(rule)].map(Cell::from);
                gaps.rows.push([Cell::from(id.as_str())].into_iter().chain(times).chain([g.value.into(), (2.0 * g.u).into()]).collect());
            }
            for e in &m.events {
                let texts = [id.clone(), b.period.local(e.at), lang.t(e.what)].map(Cell::from);
                events.rows.push(texts.into_iter().chain([e.before.into(), e.after.into()]).collect());
            }
        }
    }
    [register, gaps, events].into_iter().filter(|t| t.id == "register" || !t.rows.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pack_can_be_read_and_its_keys_are_its_own() {
        for name in Pack::names() {
            let pack = Pack::get(name).unwrap();
            assert_eq!(pack.id, name);
            for (i, f) in pack.fields.iter().enumerate() {
                assert!(pack.fields[..i].iter().all(|o| o.key != f.key), "{name}: {}", f.key);
                assert!(f.figure.is_some() || f.merge != Merge::Figure, "{name}: {} is neither computed nor merged", f.key);
                for lang in Lang::ALL {
                    assert!(!f.name.get(lang).is_empty());
                }
            }
        }
        assert!(Pack::get("x").unwrap_err().contains("eu-2024-1364"));
    }
}
