//! Looking at what is there: sizes by file, and whether every byte of it reads as it should.
//!
//! Sealed files: digest of their bytes, columns, row counts, strictly rising (point, time), steps within their range. Hot rows: every chunk and
//! log entry decodes (opening has read the log), times rise over the chunks of a point.

use super::embedded::Embedded;
use super::sealed::{TableReader, Tier};
use super::{Store, StoreError};
use crate::reading::PointId;
use crate::time::Timestamp;
use serde::Serialize;

/// One file, or the hot rows, of a site.
#[derive(Clone, Debug, Serialize)]
pub struct DayReport {
    /// `2026-07-14`, or `hot`.
    pub day: String,
    /// `raw`, `1m`, `5m`, `1h`; empty for hot rows.
    pub tier: &'static str,
    pub rows: u64,
    /// Points with rows; 0 where the file was not read through.
    pub points: u32,
    pub bytes: u64,
    /// What is wrong with it.
    pub fault: Option<String>,
}

impl Embedded {
    /// Every sealed file of a site; `deep` reads them through.
    pub fn inspect(&self, site: &str, deep: bool) -> Result<Vec<DayReport>, StoreError> {
        let mut out = Vec::new();
        for day in self.sealed.all_days(site)? {
            for tier in Tier::ALL.into_iter().filter(|t| self.sealed.has(site, *t, &day)) {
                let path = self.sealed.path(site, tier, &day);
                let bytes = path.metadata().map_or(0, |m| m.len());
                let mut report = DayReport { day: day.clone(), tier: tier.name(), rows: 0, points: 0, bytes, fault: None };
                let read = TableReader::open(&path, tier != Tier::Raw).and_then(|table| {
                    report.rows = table.rows();
                    if deep { check(&table, &day).map(|n| report.points = n) } else { Ok(()) }
                });
                report.fault = read.err().map(|e| e.to_string());
                out.push(report);
            }
        }
        Ok(out)
    }

    /// Reads the hot rows of a site through.
    pub fn inspect_hot(&self, site: &str) -> Result<DayReport, StoreError> {
        let mut report = DayReport { day: "hot".into(), tier: "", rows: 0, points: 0, bytes: 0, fault: None };
        for point in self.catalogue(site)?.iter().map(|p| p.id) {
            let rows = self.view(site, &[point], Timestamp::MIN, Timestamp(i64::MAX))?.rows(point, Timestamp::MIN, Timestamp(i64::MAX));
            match rows {
                Ok(rows) => {
                    report.rows += rows.len() as u64;
                    report.points += u32::from(!rows.is_empty());
                    if rows.windows(2).any(|w| w[0].stamp() >= w[1].stamp()) {
                        report.fault = Some(format!("point {}: times do not rise", point.0));
                    }
                }
                Err(e) => report.fault = Some(e.to_string()),
            }
        }
        Ok(report)
    }
}

/// Reads a file through; returns its points.
fn check(table: &TableReader, day: &str) -> Result<u32, StoreError> {
    let damaged = |why: String| StoreError::Damaged { dir: day.into(), why };
    let start = Timestamp::parse(day).unwrap_or_default();
    let mut last: Option<(PointId, i64, i32)> = None;
    let mut points = 0;
    if let Some(why) = table.digest_fault()? {
        return Err(damaged(why));
    }
    for group in 0..table.groups() {
        let c = table.read(group)?;
        for (i, (point, at)) in c.point.iter().zip(&c.at_ms).enumerate() {
            let here = (PointId(*point as u32), *at, c.ns.get(i).copied().unwrap_or(0));
            if last.is_some_and(|l| l >= here) {
                return Err(damaged(format!("row group {group}, row {i}: not after the row before it")));
            }
            if Timestamp(*at).day_start() != start {
                return Err(damaged(format!("row group {group}, row {i}: belongs to another day")));
            }
            if c.count.get(i).is_some_and(|n| *n > 0) && !(c.values[1][i] <= c.values[0][i] && c.values[0][i] <= c.values[2][i]) {
                return Err(damaged(format!("row group {group}, row {i}: the mean is outside its range")));
            }
            points += u32::from(last.is_none_or(|(p, ..)| p != here.0));
            last = Some(here);
        }
    }
    Ok(points)
}
