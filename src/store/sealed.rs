//! Sealed days: `sealed/<site>/<day>.parquet`, columns `point` (u32), `at_ms` (i64, epoch ms UTC), `value` (f64,
//! canonical unit, NaN = none), `quality` (u32, the marks of `reading::Quality`); sorted by point and time; zstd.
//!
//! Invariant: a file appears whole or not at all (written aside, synced, renamed).

use super::{Row, StoreError};
use crate::reading::{PointId, Quality};
use crate::time::Timestamp;
use polars::prelude::*;
use std::path::{Path, PathBuf};

/// Rows per row group: bounds the memory of sealing and lets a reader skip what it does not want.
pub const GROUP_ROWS: usize = 262_144;

pub struct Sealed {
    dir: PathBuf,
}

/// Columns of rows on their way into a file.
#[derive(Default)]
pub struct Columns {
    point: Vec<u32>,
    at: Vec<i64>,
    value: Vec<f64>,
    quality: Vec<u32>,
}

impl Columns {
    pub fn push(&mut self, point: PointId, row: Row) {
        self.point.push(point.0);
        self.at.push(row.at.0);
        self.value.push(row.value);
        self.quality.push(u32::from(row.quality.0));
    }
    pub fn len(&self) -> usize {
        self.point.len()
    }
    fn frame(&mut self) -> PolarsResult<DataFrame> {
        let c = std::mem::take(self);
        DataFrame::new(vec![
            Column::new("point".into(), c.point),
            Column::new("at_ms".into(), c.at),
            Column::new("value".into(), c.value),
            Column::new("quality".into(), c.quality),
        ])
    }
}

/// A file being written.
pub struct Writing {
    writer: polars::io::parquet::write::BatchedWriter<std::fs::File>,
    dir: PathBuf,
    aside: PathBuf,
    path: PathBuf,
    pub rows: u64,
}

impl Writing {
    pub fn write(&mut self, columns: &mut Columns) -> Result<(), StoreError> {
        if columns.len() == 0 {
            return Ok(());
        }
        self.rows += columns.len() as u64;
        let frame = columns.frame().map_err(|e| polars_error(&self.dir, e))?;
        self.writer.write_batch(&frame).map_err(|e| polars_error(&self.dir, e))
    }

    /// Gives the file up; nothing was there to write.
    pub fn abandon(self) {
        let _ = std::fs::remove_file(&self.aside);
    }

    /// Makes the file durable and gives it its name.
    pub fn finish(self) -> Result<u64, StoreError> {
        self.writer.finish().map_err(|e| polars_error(&self.dir, e))?;
        let io = |e: std::io::Error| StoreError::io(&self.dir, &e);
        std::fs::File::open(&self.aside).and_then(|f| f.sync_all()).map_err(io)?;
        std::fs::rename(&self.aside, &self.path).map_err(io)?;
        if let Some(parent) = self.path.parent() {
            std::fs::File::open(parent).and_then(|d| d.sync_all()).map_err(io)?;
        }
        Ok(self.rows)
    }
}

fn polars_error(dir: &Path, e: PolarsError) -> StoreError {
    match e {
        PolarsError::IO { error, .. } => StoreError::io(dir, &error),
        other => StoreError::Damaged { dir: dir.into(), why: other.to_string() },
    }
}

impl Sealed {
    pub fn new(data_dir: &Path) -> Sealed {
        Sealed { dir: data_dir.join("sealed") }
    }

    fn path(&self, site: &str, day: &str) -> PathBuf {
        self.dir.join(site).join(format!("{day}.parquet"))
    }

    /// Days of a site that have a file, in order.
    pub fn days(&self, site: &str) -> Result<Vec<String>, StoreError> {
        let entries = match std::fs::read_dir(self.dir.join(site)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(StoreError::io(&self.dir, &e)),
        };
        let name = |e: std::fs::DirEntry| e.file_name().to_str()?.strip_suffix(".parquet").map(str::to_owned);
        let mut days: Vec<String> = entries.flatten().filter_map(name).collect();
        days.sort();
        Ok(days)
    }

    /// Bytes and number of all sealed files.
    pub fn size(&self) -> (u64, u64) {
        let sites = std::fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let files = sites.flat_map(|s| std::fs::read_dir(s.path()).into_iter().flatten().flatten());
        let files = files.filter(|f| f.path().extension().is_some_and(|x| x == "parquet"));
        files.filter_map(|f| f.metadata().ok()).fold((0, 0), |(bytes, n), m| (bytes + m.len(), n + 1))
    }

    pub fn begin(&self, site: &str, day: &str) -> Result<Writing, StoreError> {
        let path = self.path(site, day);
        let io = |e: std::io::Error| StoreError::io(&self.dir, &e);
        std::fs::create_dir_all(self.dir.join(site)).map_err(io)?;
        let aside = path.with_extension("parquet-aside");
        let file = std::fs::File::create(&aside).map_err(io)?;
        let empty = Columns::default().frame().map_err(|e| polars_error(&self.dir, e))?;
        let writer = ParquetWriter::new(file)
            .with_compression(ParquetCompression::Zstd(None))
            .with_statistics(StatisticsOptions::full())
            .batched(empty.schema())
            .map_err(|e| polars_error(&self.dir, e))?;
        Ok(Writing { writer, dir: self.dir.clone(), aside, path, rows: 0 })
    }

    /// Rows of one point of one sealed day with `from <= at < to`, in time order; empty where the day is not sealed.
    pub fn read(&self, site: &str, day: &str, point: PointId, from: Timestamp, to: Timestamp) -> Result<Vec<Row>, StoreError> {
        let path = self.path(site, day);
        if !path.is_file() {
            return Ok(vec![]);
        }
        let wanted = col("point").eq(lit(point.0)).and(col("at_ms").gt_eq(lit(from.0))).and(col("at_ms").lt(lit(to.0)));
        let frame = LazyFrame::scan_parquet(&path, ScanArgsParquet::default()).and_then(|f| f.filter(wanted).collect());
        let frame = frame.map_err(|e| polars_error(&path, e))?;
        rows(&frame).map_err(|e| polars_error(&path, e))
    }
}

fn rows(frame: &DataFrame) -> PolarsResult<Vec<Row>> {
    let (at, value, quality) = (frame.column("at_ms")?.i64()?, frame.column("value")?.f64()?, frame.column("quality")?.u32()?);
    let all = at.into_iter().zip(value).zip(quality);
    let row = |((at, value), quality): ((Option<i64>, Option<f64>), Option<u32>)| Row {
        at: Timestamp(at.unwrap_or_default()),
        value: value.unwrap_or(f64::NAN),
        quality: Quality(quality.unwrap_or_default() as u16),
    };
    Ok(all.map(row).collect())
}
