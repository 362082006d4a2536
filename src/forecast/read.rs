//! Series from files: CSV, gzipped CSV or Parquet, to one regular grid.
//!
//! Words: a *column list* is comma separated, `prefix*` and `*suffix` match several; matched columns are summed row by
//! row, and a row with any of them missing is missing. A row of the grid is labelled by its START and holds the mean of
//! the readings in `[t, t + step)`; the grid begins at midnight of the first reading's day.
//! Invariants: nothing is filled in here; a cell that is no number is missing and counted; errors name file, line, column.

use super::{ForecastError, Series};
use crate::cell::{self, number};
use crate::time::{Span, Timestamp};
use parquet::file::reader::{FileReader as _, SerializedFileReader};
use parquet::record::Field;
use std::io::Read;
use std::path::Path;

/// Rows of a grid beyond which a file is refused (a wrong time column makes centuries).
const ROWS_MAX: i64 = 4_000_000;

/// What to read from a file.
#[derive(Clone, Debug, Default)]
pub struct Source<'a> {
    /// Column of the time: timestamps, or seconds since `origin` where that is given.
    pub time: &'a str,
    pub origin: Option<Timestamp>,
    /// Column list of the load.
    pub target: &'a str,
    /// Column list of inputs that are known at the origin, e.g. weather; each stays a column of its own.
    pub inputs: &'a str,
    pub step: Span,
}

/// A load and its inputs on one grid; NaN = missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Data {
    pub load: Series,
    pub inputs: Vec<(String, Series)>,
    /// Cells that are no number, and rows whose time cannot be read.
    pub bad_cells: usize,
    pub bad_times: usize,
}

/// Columns of a file as numbers, and the rows' instants.
struct Columns {
    times: Vec<Option<Timestamp>>,
    values: Vec<Vec<f64>>,
    bad_cells: usize,
}

/// Reads a file by its name's ending: `.csv`, `.csv.gz`, `.parquet`.
pub fn read(path: &Path, source: &Source) -> Result<Data, ForecastError> {
    let fail = |why: String| ForecastError::File { path: path.to_owned(), why };
    if source.step.0 <= 0 {
        return Err(fail(format!("--step {} is not a length of time above 0", source.step)));
    }
    let name = path.to_string_lossy().to_lowercase();
    let (targets, inputs, columns) =
        if name.ends_with(".parquet") { parquet(path, source).map_err(fail)? } else { csv_file(path, source).map_err(fail)? };
    grid(source, &targets, &inputs, columns).map_err(fail)
}

/// Does `name` match `pattern` with `*` for any run of characters?
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => {
            let Some(tail) = name.strip_prefix(head) else { return false };
            (0..=tail.len()).filter(|i| tail.is_char_boundary(*i)).any(|i| matches(rest, &tail[i..]))
        }
    }
}

/// Positions of the columns that a list names, each once, in the order of the file within a pattern.
fn pick(list: &str, header: &[String]) -> Result<Vec<usize>, String> {
    let mut out = Vec::new();
    for pattern in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
        let before = out.len();
        for (i, name) in header.iter().enumerate() {
            if matches(pattern, name) && !out.contains(&i) {
                out.push(i);
            }
        }
        if out.len() == before && !header.iter().any(|n| matches(pattern, n)) {
            return Err(format!("no column matches {pattern:?}; it has {}", header.join(", ")));
        }
    }
    Ok(out)
}

type Found = (Vec<String>, Vec<String>, Columns);

fn names(at: &[usize], header: &[String]) -> Vec<String> {
    at.iter().map(|i| header[*i].clone()).collect()
}

fn wanted(source: &Source, header: &[String]) -> Result<(usize, Vec<usize>, Vec<usize>), String> {
    let time = header
        .iter()
        .position(|n| n == source.time)
        .ok_or_else(|| format!("no time column {:?}; it has {} (give one with --time)", source.time, header.join(", ")))?;
    let targets = pick(source.target, header)?;
    if targets.is_empty() {
        return Err("--target names no column".into());
    }
    Ok((time, targets, pick(source.inputs, header)?))
}

/// An instant as files write it: RFC 3339, or a civil date and time without a zone (read as it stands).
pub fn instant(text: &str) -> Option<Timestamp> {
    let t = text.trim();
    // With an offset it is an instant; without one the civil time is taken as UTC. A date alone is its midnight.
    if let Ok(at) = t.parse::<jiff::Timestamp>() {
        return Some(Timestamp(at.as_millisecond()));
    }
    let civil: jiff::civil::DateTime = t.parse().ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(Timestamp(zoned.timestamp().as_millisecond()))
}

fn seconds(origin: Timestamp, s: f64) -> Option<Timestamp> {
    (s.is_finite() && s.abs() < 1e12).then(|| origin + Span((s * 1e3).round() as i64))
}

fn csv_file(path: &Path, source: &Source) -> Result<Found, String> {
    let file = std::fs::File::open(path).map_err(|e| format!("cannot be read: {e}"))?;
    let raw: Box<dyn Read> =
        if path.extension().is_some_and(|e| e == "gz") { Box::new(flate2::read::MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(std::io::BufReader::new(raw));
    let header: Vec<String> = reader.headers().map_err(|e| format!("line 1: {e}"))?.iter().map(str::to_owned).collect();
    let (time, targets, inputs) = wanted(source, &header)?;
    let all: Vec<usize> = targets.iter().chain(&inputs).copied().collect();
    let mut out = Columns { times: Vec::new(), values: vec![Vec::new(); all.len()], bad_cells: 0 };
    let mut record = csv::StringRecord::new();
    while reader.read_record(&mut record).map_err(|e| e.to_string())? {
        let cell = |i: usize| record.get(i).unwrap_or("");
        out.times.push(match source.origin {
            Some(origin) => cell(time).parse().ok().and_then(|s| seconds(origin, s)),
            None => instant(cell(time)),
        });
        for (column, i) in out.values.iter_mut().zip(&all) {
            let text = cell(*i);
            let value = text.parse::<f64>().ok().filter(|v| v.is_finite());
            out.bad_cells += usize::from(value.is_none() && !text.is_empty() && !text.eq_ignore_ascii_case("nan"));
            column.push(value.unwrap_or(f64::NAN));
        }
    }
    Ok((names(&targets, &header), names(&inputs, &header), out))
}

fn parquet(path: &Path, source: &Source) -> Result<Found, String> {
    let file = std::fs::File::open(path).map_err(|e| e.to_string())?;
    let reader = SerializedFileReader::new(file).map_err(|e| e.to_string())?;
    let schema = reader.metadata().file_metadata().schema_descr();
    let header: Vec<String> = schema.columns().iter().map(|c| c.name().to_owned()).collect();
    let (time, targets, inputs) = wanted(source, &header)?;
    let unit = cell::time_unit(&schema.column(time));
    let all: Vec<usize> = targets.iter().chain(&inputs).copied().collect();
    let mut out = Columns { times: Vec::new(), values: vec![Vec::new(); all.len()], bad_cells: 0 };
    for (i, row) in reader.get_row_iter(None).map_err(|e| e.to_string())?.enumerate() {
        let row = row.map_err(|e| format!("row {}: {e}", i + 1))?;
        let cells: Vec<&Field> = row.get_column_iter().map(|(_, f)| f).collect();
        let cell = |i: usize| cells.get(i).copied().unwrap_or(&Field::Null);
        out.times.push(match (source.origin, cell(time)) {
            (Some(origin), f) => number(f).and_then(|s| seconds(origin, s)),
            (None, Field::Str(text)) => instant(text),
            (None, Field::Null) => None,
            (None, f) => {
                let what = &source.time;
                let known = cell::instant(f, unit).map(|s| s.at);
                let why = || {
                    format!("column {what:?}, row {}: {f} is neither a timestamp nor text; give --origin where it counts seconds", i + 1)
                };
                Some(known.ok_or_else(why)?)
            }
        });
        for (column, i) in out.values.iter_mut().zip(&all) {
            let value = number(cell(*i)).filter(|v| v.is_finite());
            out.bad_cells += usize::from(value.is_none() && !matches!(cell(*i), Field::Null | Field::Double(_) | Field::Float(_)));
            column.push(value.unwrap_or(f64::NAN));
        }
    }
    Ok((names(&targets, &header), names(&inputs, &header), out))
}

/// Rows to the grid.
fn grid(source: &Source, targets: &[String], inputs: &[String], columns: Columns) -> Result<Data, String> {
    let good = || columns.times.iter().flatten();
    let (Some(first), Some(last)) = (good().min().copied(), good().max().copied()) else {
        return Err(format!("no row has a time in {:?}; times are like 2024-03-10 14:20:00, or seconds with --origin", source.time));
    };
    let step = source.step.0;
    let start = first.day_start();
    let start = start + Span(((first - start).0 / step) * step);
    let rows = (last - start).0 / step + 1;
    if rows > ROWS_MAX {
        return Err(format!("{rows} steps of {} from {first} to {last}; is {:?} the time, and --step right?", source.step, source.time));
    }
    let series = |value: &dyn Fn(usize) -> f64| {
        let (mut sum, mut n) = (vec![0.0; rows as usize], vec![0u32; rows as usize]);
        for (i, at) in columns.times.iter().enumerate() {
            let Some(at) = at else { continue };
            let v = value(i);
            if v.is_finite() {
                let k = ((*at - start).0 / step) as usize;
                sum[k] += v;
                n[k] += 1;
            }
        }
        let values = sum.iter().zip(&n).map(|(s, n)| if *n > 0 { s / f64::from(*n) } else { f64::NAN }).collect();
        Series::new(start, source.step, values)
    };
    let load = series(&|i| columns.values[..targets.len()].iter().map(|c| c[i]).sum());
    let inputs = (inputs.iter().enumerate()).map(|(j, name)| (name.clone(), series(&|i| columns.values[targets.len() + j][i]))).collect();
    let bad_times = columns.times.iter().filter(|t| t.is_none()).count();
    Ok(Data { load, inputs, bad_cells: columns.bad_cells, bad_times })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_people_mean_them() {
        for (pattern, name, yes) in
            [("s*_w", "s05_w", true), ("s*_w", "s05_c", false), ("cdu*", "cdu01_w", true), ("a", "ab", false), ("*", "", true)]
        {
            assert_eq!(matches(pattern, name), yes, "{pattern} {name}");
        }
    }

    #[test]
    fn instants_are_read_as_files_write_them() {
        let noon = Timestamp::parse("2024-03-10T12:00:00Z").unwrap();
        for text in
            ["2024-03-10 12:00:00", "2024-03-10 12:00", "2024-03-10T12:00:00Z", "2024-03-10T13:00:00+01:00", " 2024-03-10 12:00:00.0000000"]
        {
            assert_eq!(instant(text), Some(noon), "{text}");
        }
        assert_eq!(instant("2024-03-10"), Some(noon - Span::hours(12)));
        assert_eq!(instant("soon"), None);
    }
}
