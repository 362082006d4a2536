//! Row groups as rows: writing point after point, and a cursor that takes them out again.
//!
//! A group ends where a point ends once it has [`GROUP_ROWS`], so that a point of a day lies in one group, or in few.

use super::table::{Columns, Finished, TableReader, TableWriter};
use super::{Sealed, Tier};
use crate::reading::{PointId, Quality};
use crate::store::{Row, Step, StoreError};
use crate::time::Timestamp;
use std::path::Path;

/// Rows of a group: bounds the memory of sealing and what a reader of one point must decode.
pub const GROUP_ROWS: usize = 32_768;

/// What a file's row is: a row, or a step of rows.
pub trait Entry: Copy {
    /// A file of steps?
    const STEPS: bool;
    fn push(&self, columns: &mut Columns);
    fn read(columns: &Columns, i: usize) -> Self;
}

impl Entry for Row {
    const STEPS: bool = false;
    fn push(&self, c: &mut Columns) {
        c.at_ms.push(self.at.0);
        c.ns.push(self.ns as i32);
        c.values[0].push(self.value);
        c.quality.push(i32::from(self.quality.0));
    }
    fn read(c: &Columns, i: usize) -> Row {
        Row { at: Timestamp(c.at_ms[i]), ns: c.ns[i] as u32, value: c.values[0][i], quality: Quality(c.quality[i] as u16) }
    }
}

impl Entry for Step {
    const STEPS: bool = true;
    fn push(&self, c: &mut Columns) {
        c.at_ms.push(self.at.0);
        for (column, value) in c.values.iter_mut().zip([trimmed(self), self.min, self.max]) {
            column.push(value);
        }
        c.count.push(self.count as i32);
        c.quality.push(i32::from(self.quality.0));
    }
    fn read(c: &Columns, i: usize) -> Step {
        Step {
            at: Timestamp(c.at_ms[i]),
            mean: c.values[0][i],
            min: c.values[1][i],
            max: c.values[2][i],
            count: c.count[i] as u32,
            quality: Quality(c.quality[i] as u16),
        }
    }
}

/// The mean without the bits that it cannot know: rounded to a millionth of the step's range (a power of 2), which no
/// sensor resolves, and which leaves zero bytes that compress.
fn trimmed(step: &Step) -> f64 {
    let range = step.max - step.min;
    if !(range > 0.0 && range.is_finite()) {
        return step.mean;
    }
    let grain = (range / f64::from(1 << 20)).log2().floor().exp2();
    let rounded = (step.mean / grain).round() * grain;
    if rounded.is_finite() { rounded.clamp(step.min, step.max) } else { step.mean }
}

/// A file of one day and tier being written; points must come in rising order, their entries in order of time.
pub struct Writing {
    table: TableWriter,
    columns: Columns,
    pub rows: u64,
}

impl Writing {
    pub fn begin(sealed: &Sealed, site: &str, tier: Tier, day: &str, note: Option<(&str, &str)>) -> Result<Writing, StoreError> {
        let table = TableWriter::create(&sealed.path(site, tier, day), tier != Tier::Raw, note)?;
        Ok(Writing { table, columns: Columns::default(), rows: 0 })
    }

    pub fn push(&mut self, point: PointId, entries: &[impl Entry]) -> Result<(), StoreError> {
        for part in entries.chunks(GROUP_ROWS) {
            for e in part {
                self.columns.point.push(point.0 as i32);
                e.push(&mut self.columns);
            }
            self.rows += part.len() as u64;
            if self.columns.point.len() >= GROUP_ROWS {
                self.table.write(&mut self.columns)?;
            }
        }
        Ok(())
    }

    /// Makes the file durable, still aside; `None` where nothing was written.
    pub fn finish(mut self) -> Result<Option<Finished>, StoreError> {
        if self.rows == 0 {
            self.table.abandon();
            return Ok(None);
        }
        if !self.columns.point.is_empty() {
            self.table.write(&mut self.columns)?;
        }
        self.table.finish().map(Some)
    }
}

/// Takes the entries of rising points out of a file, decoding only the groups that have them.
pub struct Cursor<T> {
    table: TableReader,
    group: usize,
    columns: Option<Columns>,
    /// First entry of the decoded group that was not taken.
    next: usize,
    out: Vec<T>,
}

impl<T: Entry> Cursor<T> {
    /// Opens a file; `None` where there is none.
    pub fn open(path: &Path) -> Result<Option<Cursor<T>>, StoreError> {
        if !path.is_file() {
            return Ok(None);
        }
        Ok(Some(Cursor { table: TableReader::open(path, T::STEPS)?, group: 0, columns: None, next: 0, out: Vec::new() }))
    }

    pub fn table(&self) -> &TableReader {
        &self.table
    }

    /// The entries of a point with `from <= at < to`, in order of time. Points must be asked for in rising order.
    pub fn take(&mut self, point: PointId, from: Timestamp, to: Timestamp) -> Result<&[T], StoreError> {
        self.out.clear();
        while self.group < self.table.groups() {
            let (first, last) = self.table.points(self.group);
            if point.0 < first {
                break;
            }
            if point.0 <= last {
                let columns = match &mut self.columns {
                    Some(c) => c,
                    none => none.insert(self.table.read(self.group)?),
                };
                let rest = &columns.point[self.next..];
                let begin = self.next + rest.partition_point(|p| (*p as u32) < point.0);
                let end = begin + columns.point[begin..].partition_point(|p| (*p as u32) <= point.0);
                let times = &columns.at_ms[begin..end];
                let (a, b) = (times.partition_point(|t| *t < from.0), times.partition_point(|t| *t < to.0));
                self.out.extend((begin + a..begin + b.max(a)).map(|i| T::read(columns, i)));
                self.next = end;
                if end < columns.point.len() {
                    break;
                }
            }
            (self.group, self.next, self.columns) = (self.group + 1, 0, None);
        }
        Ok(&self.out)
    }
}
