//! CSV tables of numbers (plain or gzip), read with errors that name line and column.

use std::io::Read;
use std::path::{Path, PathBuf};

/// Rows that one signal file may have (a year at 5 s).
pub const ROWS_MAX: usize = 6_500_000;

/// Bytes that one signal file may have, unpacked.
pub const BYTES_MAX: u64 = 1 << 29;

/// A refused signal file.
#[derive(Debug, thiserror::Error)]
pub enum SignalError {
    #[error("{}: cannot be read: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{}: no column {missing:?}; it has: {have}. {expected}", path.display())]
    NoColumn { path: PathBuf, missing: String, have: String, expected: String },
    #[error("{}, line {line}, column {column:?}: {why}", path.display())]
    Cell { path: PathBuf, line: usize, column: String, why: String },
    #[error("{}: {why}", path.display())]
    Shape { path: PathBuf, why: String },
}

/// A table of text cells with its header.
pub struct Table {
    pub path: PathBuf,
    pub header: Vec<String>,
    /// Rows with their line in the file: blank lines and quoted line breaks make it differ from the row's number.
    rows: Vec<(usize, csv::StringRecord)>,
}

impl Table {
    pub fn load(path: &Path) -> Result<Table, SignalError> {
        let unreadable = |why: String| SignalError::Unreadable { path: path.into(), why };
        let file = std::fs::File::open(path).map_err(|e| unreadable(e.to_string()))?;
        let gz = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz"));
        let input: Box<dyn Read> = if gz { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
        let mut text = Vec::new();
        input.take(BYTES_MAX).read_to_end(&mut text).map_err(|e| unreadable(e.to_string()))?;
        if text.len() as u64 == BYTES_MAX {
            return Err(SignalError::Shape { path: path.into(), why: format!("more than {BYTES_MAX} bytes; cut it into parts") });
        }
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_slice());
        let header: Vec<String> = reader.headers().map_err(|e| unreadable(e.to_string()))?.iter().map(str::to_owned).collect();
        let mut rows = Vec::new();
        for row in reader.records() {
            let row = row.map_err(|e| unreadable(format!("line {}: {e}", rows.len() + 2)))?;
            // A record's position is where the reader began to look for it: blank lines before it come on top.
            let line = row.position().map_or(rows.len() + 2, |p| {
                let from = text.get(p.byte() as usize..).unwrap_or_default();
                let blank = from.iter().take_while(|b| matches!(b, b'\n' | b'\r')).filter(|b| **b == b'\n').count();
                p.line() as usize + blank
            });
            if row.len() != header.len() {
                let why = format!("{} cells where the header has {}; a comma too many or too few?", row.len(), header.len());
                return Err(SignalError::Cell { path: path.into(), line, column: header.first().cloned().unwrap_or_default(), why });
            }
            if rows.len() >= ROWS_MAX {
                return Err(SignalError::Shape { path: path.into(), why: format!("more than {ROWS_MAX} rows; cut it into parts") });
            }
            rows.push((line, row));
        }
        Ok(Table { path: path.into(), header, rows })
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Index of a column that must be there.
    pub fn column(&self, name: &str, expected: &str) -> Result<usize, SignalError> {
        self.header.iter().position(|h| h == name).ok_or_else(|| SignalError::NoColumn {
            path: self.path.clone(),
            missing: name.into(),
            have: self.header.join(", "),
            expected: expected.into(),
        })
    }

    /// A cell as it stands.
    pub fn text(&self, row: usize, column: usize) -> &str {
        self.rows.get(row).and_then(|r| r.1.get(column)).unwrap_or("")
    }

    /// A cell as a finite number.
    pub fn number(&self, row: usize, column: usize) -> Result<f64, SignalError> {
        let text = self.text(row, column);
        match text.parse::<f64>() {
            Ok(v) if v.is_finite() => Ok(v),
            _ if text.is_empty() => Err(self.cell(row, column, "is empty; fill the gap or cut the file before it".into())),
            _ => Err(self.cell(row, column, format!("{text:?} is not a number"))),
        }
    }

    /// An error about one cell. Line 1 is the header.
    pub fn cell(&self, row: usize, column: usize, why: String) -> SignalError {
        let line = self.rows.get(row).map_or(row + 2, |r| r.0);
        SignalError::Cell { path: self.path.clone(), line, column: self.header.get(column).cloned().unwrap_or_default(), why }
    }
}
