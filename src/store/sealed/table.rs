//! A Parquet file as plain columns: 32-bit and 64-bit integers and doubles, none of them null.
//!
//! Raw rows: `point` (u32), `at_ms` (i64, epoch ms UTC), `value` (f64, canonical unit, NaN = none), `quality` (u16, the
//! marks of `reading::Quality`), `ns` (u32, nanoseconds within the millisecond; files of before that column have none). Steps: `point`, `at_ms` (start of the step), `mean`, `min`, `max` (f64, over the rows that
//! have a number), `count` (u32, those rows), `quality` (all marks together).
//! Why so encoded: times and points rise, so that differences (DELTA_BINARY_PACKED) are short; sensors have few distinct
//! values a day, so that a dictionary is short, and where it is not, byte planes (BYTE_STREAM_SPLIT) compress better than
//! whole doubles; zstd takes what is left. Statistics of `point` let a reader skip row groups.

use crate::store::StoreError;
use parquet::basic::{Compression, Encoding, Repetition, Type as Physical, ZstdLevel};
use parquet::column::reader::ColumnReader;
use parquet::column::writer::ColumnWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterVersion};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::statistics::Statistics;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

const RAW: &str = "message reading {
  REQUIRED INT32 point (INTEGER(32,false)); REQUIRED INT64 at_ms; REQUIRED DOUBLE value; REQUIRED INT32 quality (INTEGER(16,false));
  REQUIRED INT32 ns (INTEGER(32,false));
}";
const STEPS: &str = "message step {
  REQUIRED INT32 point (INTEGER(32,false)); REQUIRED INT64 at_ms; REQUIRED DOUBLE mean; REQUIRED DOUBLE min; REQUIRED DOUBLE max;
  REQUIRED INT32 count (INTEGER(32,false)); REQUIRED INT32 quality (INTEGER(16,false));
}";
/// Above this a dictionary stops paying, bytes.
const DICTIONARY_BYTES: usize = 256 << 10;
const ZSTD_LEVEL: i32 = 6;
/// Note in a file: number of bytes before its footer, and their BLAKE3 digest.
const DIGEST: &str = "tramuntana.blake3";

/// The columns of a row group. Raw rows have one column of doubles, steps have three, and a count.
#[derive(Debug, Default)]
pub struct Columns {
    pub point: Vec<i32>,
    pub at_ms: Vec<i64>,
    pub ns: Vec<i32>,
    pub values: [Vec<f64>; 3],
    pub count: Vec<i32>,
    pub quality: Vec<i32>,
}

/// What a Parquet error means for the store.
fn fault(path: &Path, e: ParquetError) -> StoreError {
    match e {
        ParquetError::External(inner) => match inner.downcast_ref::<std::io::Error>() {
            Some(e) => StoreError::io(path, e),
            None => StoreError::Damaged { dir: path.into(), why: inner.to_string() },
        },
        other => StoreError::Damaged { dir: path.into(), why: other.to_string() },
    }
}

/// Passes bytes on to a file and keeps their digest.
struct Digested {
    file: File,
    digest: Arc<Mutex<(blake3::Hasher, u64)>>,
}

impl Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.file.write(bytes)?;
        let mut digest = self.digest.lock().unwrap_or_else(|e| e.into_inner());
        digest.0.update(&bytes[..n]);
        digest.1 += n as u64;
        Ok(n)
    }
    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A file being written, aside of its name.
pub struct TableWriter {
    writer: SerializedFileWriter<Digested>,
    digest: Arc<Mutex<(blake3::Hasher, u64)>>,
    steps: bool,
    path: PathBuf,
    aside: PathBuf,
}

impl TableWriter {
    /// Begins the file `path`. `note` goes into its metadata.
    pub fn create(path: &Path, steps: bool, note: Option<(&str, &str)>) -> Result<TableWriter, StoreError> {
        let io = |e: std::io::Error| StoreError::io(path, &e);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(io)?;
        let aside = path.with_extension("parquet-aside");
        let file = File::create(&aside).map_err(io)?;
        let column = |name: &str| ColumnPath::from(name);
        let mut properties = WriterProperties::builder()
            .set_writer_version(WriterVersion::PARQUET_2_0)
            .set_created_by(format!("tramuntana {}", env!("CARGO_PKG_VERSION")))
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(ZSTD_LEVEL).map_err(|e| fault(path, e))?))
            .set_statistics_enabled(EnabledStatistics::Chunk)
            .set_offset_index_disabled(true)
            .set_dictionary_page_size_limit(DICTIONARY_BYTES)
            .set_key_value_metadata(note.map(|(k, v)| vec![KeyValue::new(k.to_owned(), v.to_owned())]));
        for name in ["point", "at_ms", "ns"] {
            properties = properties
                .set_column_dictionary_enabled(column(name), false)
                .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
        }
        for name in ["value", "mean", "min", "max"] {
            properties = properties.set_column_encoding(column(name), Encoding::BYTE_STREAM_SPLIT);
        }
        // Means have few equal ones: their byte planes compress better than a dictionary.
        properties = properties.set_column_dictionary_enabled(column("mean"), false);
        let schema = parse_message_type(if steps { STEPS } else { RAW }).map_err(|e| fault(path, e))?;
        let digest = Arc::new(Mutex::new((blake3::Hasher::new(), 0)));
        let file = Digested { file, digest: Arc::clone(&digest) };
        let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::new(properties.build())).map_err(|e| fault(path, e))?;
        Ok(TableWriter { writer, digest, steps, path: path.into(), aside })
    }

    /// Writes a row group and empties the columns.
    pub fn write(&mut self, c: &mut Columns) -> Result<(), StoreError> {
        self.write_group(c).map_err(|e| fault(&self.path, e))?;
        for v in [&mut c.point, &mut c.count, &mut c.quality, &mut c.ns] {
            v.clear();
        }
        c.at_ms.clear();
        c.values.iter_mut().for_each(Vec::clear);
        Ok(())
    }

    fn write_group(&mut self, c: &Columns) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        let mut index = 0;
        while let Some(mut column) = group.next_column()? {
            let values = &c.values[index.clamp(2, 4) - 2];
            let small = match (index, self.steps) {
                (0, _) => &c.point,
                (4, false) => &c.ns,
                (5, true) => &c.count,
                _ => &c.quality,
            };
            match column.untyped() {
                ColumnWriter::Int32ColumnWriter(w) => w.write_batch(small, None, None)?,
                ColumnWriter::Int64ColumnWriter(w) => w.write_batch(&c.at_ms, None, None)?,
                ColumnWriter::DoubleColumnWriter(w) => w.write_batch(values, None, None)?,
                _ => return Err(ParquetError::General("a column of another type".into())),
            };
            column.close()?;
            index += 1;
        }
        group.close().map(|_| ())
    }

    /// Gives the file up; nothing was there to write.
    pub fn abandon(self) {
        let _ = std::fs::remove_file(&self.aside);
    }

    /// Makes the file durable, still aside.
    pub fn finish(mut self) -> Result<Finished, StoreError> {
        self.writer.flush().map_err(|e| StoreError::io(&self.path, &e))?;
        let digest = {
            let d = self.digest.lock().unwrap_or_else(|e| e.into_inner());
            format!("{} {}", d.1, d.0.finalize().to_hex())
        };
        self.writer.append_key_value_metadata(KeyValue::new(DIGEST.to_owned(), digest));
        self.writer.close().map_err(|e| fault(&self.path, e))?;
        File::open(&self.aside).and_then(|f| f.sync_all()).map_err(|e| StoreError::io(&self.path, &e))?;
        Ok(Finished { path: self.path, aside: self.aside })
    }
}

/// A durable file that waits for its name.
pub struct Finished {
    path: PathBuf,
    aside: PathBuf,
}

impl Finished {
    pub fn publish(self) -> Result<(), StoreError> {
        let io = |e: std::io::Error| StoreError::io(&self.path, &e);
        std::fs::rename(&self.aside, &self.path).map_err(io)?;
        File::open(self.path.parent().unwrap_or(Path::new("."))).and_then(|d| d.sync_all()).map_err(io)
    }
}

/// An open file.
pub struct TableReader {
    reader: SerializedFileReader<File>,
    steps: bool,
    path: PathBuf,
}

impl TableReader {
    /// Opens a file of rows, or of steps; refuses one that has other columns.
    pub fn open(path: &Path, steps: bool) -> Result<TableReader, StoreError> {
        let file = File::open(path).map_err(|e| StoreError::io(path, &e))?;
        let reader = SerializedFileReader::new(file).map_err(|e| fault(path, e))?;
        let schema = reader.metadata().file_metadata().schema_descr_ptr();
        let columns: Vec<(String, Physical, bool)> = (schema.columns().iter())
            .map(|c| (c.name().to_owned(), c.physical_type(), c.self_type().get_basic_info().repetition() == Repetition::REQUIRED))
            .collect();
        let named = |names: &[(&str, Physical)]| {
            columns.len() == names.len()
                && columns.iter().zip(names).all(|(have, want)| (have.0.as_str(), have.1, have.2) == (want.0, want.1, true))
        };
        let rows_columns = [
            ("point", Physical::INT32),
            ("at_ms", Physical::INT64),
            ("value", Physical::DOUBLE),
            ("quality", Physical::INT32),
            ("ns", Physical::INT32),
        ];
        let steps_columns = [
            ("point", Physical::INT32),
            ("at_ms", Physical::INT64),
            ("mean", Physical::DOUBLE),
            ("min", Physical::DOUBLE),
            ("max", Physical::DOUBLE),
            ("count", Physical::INT32),
            ("quality", Physical::INT32),
        ];
        let fits = if steps { named(&steps_columns) } else { named(&rows_columns) || named(&rows_columns[..4]) };
        if !fits {
            let what = if steps { "steps" } else { "rows" };
            return Err(StoreError::Damaged { dir: path.into(), why: format!("its columns are not those of a sealed day's {what}") });
        }
        Ok(TableReader { reader, steps, path: path.into() })
    }

    pub fn groups(&self) -> usize {
        self.reader.num_row_groups()
    }
    pub fn rows(&self) -> u64 {
        self.reader.metadata().file_metadata().num_rows().max(0) as u64
    }

    /// A note of the file's metadata.
    pub fn note(&self, key: &str) -> Option<&str> {
        let notes = self.reader.metadata().file_metadata().key_value_metadata()?;
        notes.iter().find(|n| n.key == key)?.value.as_deref()
    }

    /// Are the bytes of all row groups those that were written? What is wrong, if anything.
    pub fn digest_fault(&self) -> Result<Option<String>, StoreError> {
        let Some((length, expected)) = self.note(DIGEST).and_then(|d| d.split_once(' ')) else {
            return Ok(Some("it has no digest".into()));
        };
        let io = |e: std::io::Error| StoreError::io(&self.path, &e);
        let mut hasher = blake3::Hasher::new();
        let rest = File::open(&self.path).map_err(io)?.take(length.parse().unwrap_or(0));
        hasher.update_reader(rest).map_err(io)?;
        Ok((hasher.finalize().to_hex().as_str() != expected).then(|| "its bytes are not those that were written".into()))
    }

    /// First and last point of a group; everything where the file does not say.
    pub fn points(&self, group: usize) -> (u32, u32) {
        let column = self.reader.metadata().row_groups().get(group).and_then(|g| g.columns().first());
        match column.and_then(|c| c.statistics()) {
            Some(Statistics::Int32(s)) => (s.min_opt().map_or(0, |v| *v as u32), s.max_opt().map_or(u32::MAX, |v| *v as u32)),
            _ => (0, u32::MAX),
        }
    }

    /// The columns of a group, all of the same length.
    pub fn read(&self, group: usize) -> Result<Columns, StoreError> {
        self.read_group(group).map_err(|e| fault(&self.path, e))
    }

    fn read_group(&self, group: usize) -> Result<Columns, ParquetError> {
        let reader = self.reader.get_row_group(group)?;
        let n = usize::try_from(reader.metadata().num_rows()).unwrap_or(0);
        let mut c = Columns::default();
        for index in 0..reader.num_columns() {
            let small = match (index, self.steps) {
                (0, _) => &mut c.point,
                (4, false) => &mut c.ns,
                (5, true) => &mut c.count,
                _ => &mut c.quality,
            };
            let read = match reader.get_column_reader(index)? {
                ColumnReader::Int32ColumnReader(mut r) => r.read_records(n, None, None, small)?.0,
                ColumnReader::Int64ColumnReader(mut r) => r.read_records(n, None, None, &mut c.at_ms)?.0,
                ColumnReader::DoubleColumnReader(mut r) => r.read_records(n, None, None, &mut c.values[index.clamp(2, 4) - 2])?.0,
                _ => 0,
            };
            if read != n {
                return Err(ParquetError::General(format!("row group {group}: column {index} has {read} of {n} rows")));
            }
        }
        if !self.steps {
            c.ns.resize(n, 0);
        }
        Ok(c)
    }
}
