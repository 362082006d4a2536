//! CSV with a header that names its columns, in any order; columns with other names are passed over. A path that a
//! spreadsheet would take for a formula is written with an apostrophe before it, which reading takes away.

use super::{Export, Intake, Sample};
use crate::cell::{from_plain, plain};
use crate::reading::Quality;
use crate::site::Point;
use crate::store::{Row, Step};
use crate::time::{Stamp, Timestamp};
use std::io::{Read, Write};

/// Writes rows or steps.
pub struct CsvExport<W: Write> {
    out: csv::Writer<W>,
}

impl<W: Write> CsvExport<W> {
    /// `steps`: write steps, not rows.
    pub fn new(out: W, steps: bool) -> Result<CsvExport<W>, String> {
        let mut out = csv::Writer::from_writer(out);
        let header: &[&str] = if steps {
            &["at_ms", "time", "point", "unit", "mean", "min", "max", "count", "quality"]
        } else {
            &["at_ms", "ns", "time", "point", "unit", "value", "quality"]
        };
        out.write_record(header).map_err(|e| e.to_string())?;
        Ok(CsvExport { out })
    }
}

/// The shortest text that gives the same number again; nothing for no number.
fn number(v: f64) -> String {
    if v.is_nan() { String::new() } else { v.to_string() }
}

impl<W: Write> Export for CsvExport<W> {
    fn rows(&mut self, point: &Point, rows: &[Row]) -> Result<(), String> {
        for r in rows {
            let fields = [
                r.at.0.to_string(),
                r.ns.to_string(),
                r.stamp().to_string(),
                plain(&point.path).into_owned(),
                point.kind.unit().into(),
                number(r.value),
                r.quality.0.to_string(),
            ];
            self.out.write_record(fields).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn steps(&mut self, point: &Point, steps: &[Step]) -> Result<(), String> {
        for s in steps {
            let fields = [
                s.at.0.to_string(),
                s.at.to_string(),
                plain(&point.path).into_owned(),
                point.kind.unit().into(),
                number(s.mean),
                number(s.min),
                number(s.max),
                s.count.to_string(),
                s.quality.0.to_string(),
            ];
            self.out.write_record(fields).map_err(|e| e.to_string())?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), String> {
        self.out.flush().map_err(|e| e.to_string())
    }
}

/// Reads rows; a file without the needed columns is an error, a row that cannot be read is refused.
pub fn import_csv(file: impl Read, intake: &mut dyn Intake) -> Result<(), String> {
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(file);
    let header = reader.headers().map_err(|e| e.to_string())?.clone();
    let column = |names: &[&str]| header.iter().position(|h| names.iter().any(|n| h.eq_ignore_ascii_case(n)));
    let at_ms = column(&["at_ms"]);
    let ns = column(&["ns"]);
    let time = column(&["time", "timestamp"]);
    if at_ms.is_none() && time.is_none() {
        return Err("its header names no `at_ms` (epoch ms) and no `time` (RFC 3339)".into());
    }
    let path = column(&["point", "path"]).ok_or("its header names no `point` (the point's path)")?;
    let value = column(&["value"]).ok_or("its header names no `value`")?;
    let (unit, quality) = (column(&["unit"]), column(&["quality"]));
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(false) => return Ok(()),
            Ok(true) => {}
            Err(e) => {
                intake.refuse(e.position().map_or(0, |p| p.line()), e.to_string());
                if matches!(e.kind(), csv::ErrorKind::Io(_)) {
                    return Err(e.to_string());
                }
                continue;
            }
        }
        let line = record.position().map_or(0, |p| p.line());
        let field = |i: usize| record.get(i).unwrap_or_default();
        let at = match (at_ms.map(field).filter(|t| !t.is_empty()), time.map(field)) {
            (Some(ms), _) => match ns.map(field).unwrap_or_default() {
                "" => ms.parse().ok().map(|ms| Timestamp(ms).into()),
                ns => ms.parse().ok().zip(ns.parse().ok().filter(|ns| *ns < 1_000_000)).map(|(ms, ns)| Stamp { at: Timestamp(ms), ns }),
            },
            (None, Some(text)) => Stamp::parse(text).or_else(|| Timestamp::parse(text).map(Stamp::from)),
            (None, None) => None,
        };
        let number = match field(value) {
            "" => Some(f64::NAN),
            text => text.parse().ok(),
        };
        let marks = match quality.map(field).unwrap_or_default() {
            "" => Some(0),
            text => text.parse().ok(),
        };
        match (at, number, marks) {
            (Some(at), Some(value), Some(marks)) if !field(path).is_empty() => {
                let unit = unit.map(field).unwrap_or_default().to_owned();
                intake.take(Sample { path: from_plain(field(path)).to_owned(), unit, at, value, quality: Quality(marks) })?;
            }
            (None, ..) => intake.refuse(line, "its time cannot be read; write epoch ms, or an instant such as 2026-07-14T13:00:00Z".into()),
            (_, None, _) => intake.refuse(line, format!("value {:?} is no number", field(value))),
            (_, _, None) => intake.refuse(line, "its quality is no whole number".into()),
            _ => intake.refuse(line, "it names no point".into()),
        }
    }
}
