//! Parquet with the columns of the module's text; times may also be Parquet timestamps, values any number.

use super::{Export, Intake, Sample};
use crate::cell;
use crate::reading::Quality;
use crate::site::Point;
use crate::store::{Row, Step};
use crate::time::{Stamp, Timestamp};
use parquet::basic::{Compression, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::writer::SerializedFileWriter;
use parquet::record::Field;
use parquet::schema::parser::parse_message_type;
use std::fs::File;
use std::sync::Arc;

const ROWS: &str = "message reading {
  REQUIRED INT64 at_ms; REQUIRED INT64 time (TIMESTAMP(MILLIS,true)); REQUIRED BYTE_ARRAY point (STRING); REQUIRED BYTE_ARRAY unit (STRING);
  REQUIRED DOUBLE value; REQUIRED INT32 quality; REQUIRED INT32 ns;
}";
const STEPS: &str = "message step {
  REQUIRED INT64 at_ms; REQUIRED INT64 time (TIMESTAMP(MILLIS,true)); REQUIRED BYTE_ARRAY point (STRING); REQUIRED BYTE_ARRAY unit (STRING);
  REQUIRED DOUBLE mean; REQUIRED DOUBLE min; REQUIRED DOUBLE max; REQUIRED INT32 count; REQUIRED INT32 quality;
}";
/// Rows gathered for a row group: the memory of an export.
const GROUP_ROWS: usize = 65_536;

/// Writes rows or steps.
pub struct ParquetExport {
    writer: SerializedFileWriter<File>,
    at: Vec<i64>,
    texts: [Vec<ByteArray>; 2],
    numbers: Vec<[f64; 3]>,
    whole: Vec<[i32; 2]>,
}

impl ParquetExport {
    /// `steps`: write steps, not rows.
    pub fn new(file: File, steps: bool) -> Result<ParquetExport, String> {
        let make = || {
            let properties = WriterProperties::builder().set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?)).build();
            let schema = parse_message_type(if steps { STEPS } else { ROWS })?;
            SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties))
        };
        let writer = make().map_err(|e: ParquetError| e.to_string())?;
        Ok(ParquetExport { writer, at: Vec::new(), texts: Default::default(), numbers: Vec::new(), whole: Vec::new() })
    }

    fn push(&mut self, at: Timestamp, texts: &[ByteArray; 2], numbers: [f64; 3], whole: [i32; 2]) -> Result<(), String> {
        self.at.push(at.0);
        self.texts.iter_mut().zip(texts).for_each(|(column, text)| column.push(text.clone()));
        self.numbers.push(numbers);
        self.whole.push(whole);
        if self.at.len() >= GROUP_ROWS { self.write().map_err(|e| e.to_string()) } else { Ok(()) }
    }

    fn write(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        let (mut text, mut number, mut whole) = (0, 0, 0);
        let wholes: [Vec<i32>; 2] = [0, 1].map(|i| self.whole.iter().map(|w| w[i]).collect());
        while let Some(mut column) = group.next_column()? {
            match column.untyped() {
                ColumnWriter::Int64ColumnWriter(w) => drop(w.write_batch(&self.at, None, None)?),
                ColumnWriter::ByteArrayColumnWriter(w) => {
                    w.write_batch(&self.texts[text], None, None)?;
                    text += 1;
                }
                ColumnWriter::DoubleColumnWriter(w) => {
                    w.write_batch(&self.numbers.iter().map(|n| n[number]).collect::<Vec<_>>(), None, None)?;
                    number += 1;
                }
                ColumnWriter::Int32ColumnWriter(w) => {
                    w.write_batch(&wholes[whole], None, None)?;
                    whole += 1;
                }
                _ => return Err(ParquetError::General("a column of another type".into())),
            }
            column.close()?;
        }
        group.close()?;
        self.at.clear();
        self.texts.iter_mut().for_each(Vec::clear);
        self.numbers.clear();
        self.whole.clear();
        Ok(())
    }
}

fn texts(point: &Point) -> [ByteArray; 2] {
    [ByteArray::from(point.path.as_str()), ByteArray::from(point.kind.unit())]
}

impl Export for ParquetExport {
    fn rows(&mut self, point: &Point, rows: &[Row]) -> Result<(), String> {
        let texts = texts(point);
        let mut push = |r: &Row| self.push(r.at, &texts, [r.value; 3], [i32::from(r.quality.0), r.ns as i32]);
        rows.iter().try_for_each(&mut push)
    }

    fn steps(&mut self, point: &Point, steps: &[Step]) -> Result<(), String> {
        let texts = texts(point);
        let mut push = |s: &Step| self.push(s.at, &texts, [s.mean, s.min, s.max], [s.count as i32, i32::from(s.quality.0)]);
        steps.iter().try_for_each(&mut push)
    }

    fn finish(mut self: Box<Self>) -> Result<(), String> {
        if !self.at.is_empty() {
            self.write().map_err(|e| e.to_string())?;
        }
        self.writer.close().map(|_| ()).map_err(|e| e.to_string())
    }
}

/// Reads rows; a file without the needed columns is an error, a row that cannot be read is refused.
pub fn import_parquet(file: File, intake: &mut dyn Intake) -> Result<(), String> {
    let reader = SerializedFileReader::new(file).map_err(|e| e.to_string())?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let names: Vec<&str> = schema.columns().iter().map(|c| c.name()).collect();
    let unit = |name: &str| schema.columns().iter().find(|c| c.name() == name).and_then(|c| cell::time_unit(c));
    let units = ["time", "timestamp"].map(unit);
    let has = |name: &str| names.contains(&name);
    if !(has("at_ms") || has("time") || has("timestamp")) || !(has("point") || has("path")) || !has("value") {
        return Err(format!("it needs the columns `at_ms` or `time`, `point`, `value`; it has {}", names.join(", ")));
    }
    let rows = reader.get_row_iter(None).map_err(|e| e.to_string())?;
    for (i, row) in rows.enumerate() {
        let place = i as u64 + 1;
        let row = row.map_err(|e| format!("row {place}: {e}"))?;
        let mut sample = Sample { path: String::new(), unit: String::new(), at: Stamp::MIN, value: f64::NAN, quality: Quality::GOOD };
        let mut fault = None;
        for (name, field) in row.get_column_iter() {
            match (name.as_str(), field) {
                ("at_ms", Field::Long(ms)) => sample.at.at = Timestamp(*ms),
                ("ns", f) => match cell::number(f) {
                    Some(ns) if (0.0..1e6).contains(&ns) => sample.at.ns = ns as u32,
                    _ => fault = Some(format!("ns {f} is no part of a millisecond")),
                },
                ("time" | "timestamp", _) if has("at_ms") => {}
                ("at_ms" | "time" | "timestamp", f) => match instant(f, units[usize::from(name == "timestamp")]) {
                    Some(at) => sample.at = at,
                    None => fault = Some(format!("{name} {f} is no instant")),
                },
                ("point" | "path", Field::Str(s)) => sample.path.clone_from(s),
                ("unit", Field::Str(s)) => sample.unit.clone_from(s),
                ("value", Field::Null) => {}
                ("value", f) => match cell::number(f) {
                    Some(v) => sample.value = v,
                    None => fault = Some(format!("value {f} is no number")),
                },
                ("quality", f) => match cell::number(f) {
                    Some(q) if (0.0..65_536.0).contains(&q) => sample.quality = Quality(q as u16),
                    _ => fault = Some(format!("quality {f} is no set of marks")),
                },
                _ => {}
            }
        }
        if sample.path.is_empty() {
            fault = Some("it names no point by its path".into());
        }
        match fault {
            Some(why) => intake.refuse(place, why),
            None => intake.take(sample)?,
        }
    }
    Ok(())
}

/// An instant of any column that holds one; a whole number without a unit counts milliseconds.
fn instant(f: &Field, unit: Option<parquet::basic::TimeUnit>) -> Option<Stamp> {
    match f {
        Field::Str(text) => Stamp::parse(text).or_else(|| Timestamp::parse(text).map(Stamp::from)),
        f => cell::instant(f, unit.or(Some(parquet::basic::TimeUnit::MILLIS))),
    }
}
