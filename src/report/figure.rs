//! What a report is made of, before it is any file: figures, tables, charts.

use super::account::Quantity;
use super::lang::Lang;
use serde::{Deserialize, Serialize};

/// Where a figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Summed from meters.
    Metered,
    /// Answered in `report.toml`.
    Answered,
    /// Worked out of other figures.
    Derived,
    Missing,
}

impl Status {
    pub fn key(self) -> &'static str {
        match self {
            Status::Metered => "metered",
            Status::Answered => "answered",
            Status::Derived => "derived",
            Status::Missing => "missing",
        }
    }
}

/// One figure with all that stands behind it. Shares are 0–1; the uncertainty is a half-width, k = 2, about 95 %.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub key: String,
    pub section: String,
    pub scope: String,
    pub name: String,
    pub value: Option<f64>,
    pub text: Option<String>,
    pub unit: String,
    pub status: Status,
    pub boundary: String,
    pub meters: Vec<String>,
    pub from: String,
    pub to: String,
    pub coverage: Option<f64>,
    pub estimated_share: Option<f64>,
    pub missing_share: Option<f64>,
    pub uncertainty_95: Option<f64>,
    pub citation: String,
    pub note: String,
}

/// A figure's number on its way: with standard uncertainty.
#[derive(Clone, Debug, Default)]
pub struct Fact {
    pub value: Option<f64>,
    pub u: Option<f64>,
    pub status: Option<Status>,
    pub coverage: Option<f64>,
    pub estimated: Option<f64>,
    pub missing: Option<f64>,
    pub meters: Vec<String>,
    pub boundary: String,
    pub notes: Vec<String>,
}

impl Fact {
    pub fn missing(why: String) -> Fact {
        Fact { notes: vec![why], ..Fact::default() }
    }

    pub fn of(q: &Quantity, boundary: String, lang: Lang) -> Fact {
        let mut notes = Vec::new();
        if !q.class_known {
            notes.push(lang.t("class_unknown"));
        }
        if q.missing_h > 0.0 {
            notes.push(lang.say("missing_hours", &[&lang.number(100.0 * q.missing_share(), 2)]));
        }
        Fact {
            value: Some(q.value()),
            u: q.u(),
            status: Some(Status::Metered),
            coverage: Some(q.coverage()),
            estimated: Some(q.estimated_share()),
            missing: Some(q.missing_share()),
            meters: q.meters.clone(),
            boundary,
            notes,
        }
    }

    /// A sum over a sum: relative uncertainties in quadrature, as if independent; of the shares the worse.
    pub fn ratio(a: &Fact, b: &Fact, scale: f64) -> Fact {
        let mut out = Fact { boundary: join(&a.boundary, &b.boundary), ..Fact::default() };
        out.meters = a.meters.iter().chain(&b.meters).cloned().collect();
        out.meters.sort();
        out.meters.dedup();
        for n in a.notes.iter().chain(&b.notes) {
            if !out.notes.contains(n) {
                out.notes.push(n.clone());
            }
        }
        if let (Some(x), Some(y)) = (a.value, b.value)
            && y != 0.0
        {
            let v = scale * x / y;
            out.value = Some(v);
            out.status = Some(Status::Derived);
            out.u = a.u.zip(b.u).map(|(ua, ub)| (scale / y).abs() * (ua * ua + (x / y * ub).powi(2)).sqrt());
            let pick = |f: fn(f64, f64) -> f64, p: Option<f64>, q: Option<f64>| p.or(q).map(|v| f(v, q.or(p).unwrap_or(v)));
            out.coverage = pick(f64::min, a.coverage, b.coverage);
            out.estimated = pick(f64::max, a.estimated, b.estimated);
            out.missing = pick(f64::max, a.missing, b.missing);
        }
        out
    }

    /// Sums of independent parts.
    pub fn plus(&self, o: &Fact) -> Fact {
        let total = self.value.zip(o.value).map(|(a, b)| a + b);
        let share = |p: Option<f64>, q: Option<f64>| match (p, q, total) {
            (Some(p), Some(q), Some(t)) if t != 0.0 => Some((p * self.value.unwrap_or(0.0) + q * o.value.unwrap_or(0.0)) / t),
            (p, q, _) => p.or(q),
        };
        let mut meters = self.meters.clone();
        meters.extend(o.meters.iter().cloned());
        let mut notes = self.notes.clone();
        notes.extend(o.notes.iter().filter(|n| !self.notes.contains(n)).cloned());
        Fact {
            value: total,
            u: self.u.zip(o.u).map(|(a, b)| a.hypot(b)),
            status: total.and(self.status),
            coverage: self.coverage.zip(o.coverage).map(|(a, b)| a.min(b)).or(self.coverage).or(o.coverage),
            estimated: share(self.estimated, o.estimated),
            missing: self.missing.zip(o.missing).map(|(a, b)| a.max(b)).or(self.missing).or(o.missing),
            meters,
            boundary: join(&self.boundary, &o.boundary),
            notes,
        }
    }
}

fn join(a: &str, b: &str) -> String {
    if a == b || b.is_empty() {
        a.to_owned()
    } else if a.is_empty() {
        b.to_owned()
    } else {
        format!("{a}; {b}")
    }
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Cell {
    Number(f64),
    Text(String),
}

impl From<f64> for Cell {
    fn from(v: f64) -> Cell {
        if v.is_finite() { Cell::Number(v) } else { Cell::Text(String::new()) }
    }
}
impl From<&str> for Cell {
    fn from(t: &str) -> Cell {
        Cell::Text(t.to_owned())
    }
}
impl From<String> for Cell {
    fn from(t: String) -> Cell {
        Cell::Text(t)
    }
}

/// A table of the report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    pub id: String,
    pub title: String,
    pub columns: Vec<String>,
    pub rows: Vec<Vec<Cell>>,
}

/// A drawing: lines over a number, or bars over names, with half-widths where there are any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Chart {
    pub id: String,
    pub title: String,
    pub x: String,
    pub y: String,
    pub kind: ChartKind,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartKind {
    Lines(Vec<(String, Vec<(f64, f64)>)>),
    Bars { categories: Vec<String>, series: Vec<(String, Vec<f64>, Vec<f64>)> },
}

/// A report, whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Document {
    pub format: u32,
    pub pack: String,
    pub pack_version: String,
    pub citation: String,
    pub lang: String,
    pub title: String,
    pub about: String,
    /// 1 for the first; each correction adds 1.
    pub version: u32,
    pub made: String,
    pub period: String,
    pub from: String,
    pub to: String,
    pub sites: Vec<String>,
    pub group: bool,
    /// What each site says of itself ("Representative, not BSC's plant").
    pub labels: Vec<String>,
    pub figures: Vec<Figure>,
    pub tables: Vec<Table>,
    pub charts: Vec<Chart>,
    pub notes: Vec<String>,
    /// Since the version before.
    pub changes: Vec<Change>,
}

/// One figure of a corrected report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    pub key: String,
    pub scope: String,
    pub what: String,
    pub before: String,
    pub after: String,
}

impl Document {
    pub fn figure(&self, key: &str, scope: &str) -> Option<&Figure> {
        self.figures.iter().find(|f| f.key == key && f.scope == scope)
    }

    /// What differs from an earlier document, figure by figure.
    pub fn changes_from(&self, before: &Document) -> Vec<Change> {
        let show = |f: Option<&Figure>| match f {
            None => "–".to_owned(),
            Some(f) => f.value.map(|v| format!("{v}")).or(f.text.clone()).unwrap_or_else(|| "missing".into()),
        };
        let mut out = Vec::new();
        for f in &self.figures {
            let old = before.figure(&f.key, &f.scope);
            let push = |out: &mut Vec<Change>, what: &str, a: String, b: String| {
                if a != b {
                    out.push(Change { key: f.key.clone(), scope: f.scope.clone(), what: what.into(), before: a, after: b });
                }
            };
            push(&mut out, "value", show(old), show(Some(f)));
            if let Some(old) = old {
                push(&mut out, "status", old.status.key().into(), f.status.key().into());
                let share = |v: Option<f64>| v.map_or_else(String::new, |v| format!("{v}"));
                push(&mut out, "estimated share", share(old.estimated_share), share(f.estimated_share));
                push(&mut out, "uncertainty", share(old.uncertainty_95), share(f.uncertainty_95));
            }
        }
        for f in before.figures.iter().filter(|f| self.figure(&f.key, &f.scope).is_none()) {
            let (before, after) = (show(Some(f)), show(None));
            out.push(Change { key: f.key.clone(), scope: f.scope.clone(), what: "value".into(), before, after });
        }
        out
    }
}
