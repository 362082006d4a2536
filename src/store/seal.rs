//! Sealing: the rows of a finished day go from the hot store into Parquet, with their steps beside them.
//!
//! Order, so that a crash at any moment loses nothing and shows nothing twice: all files are written aside and synced;
//! the raw file gets its name, then the steps get theirs; only then are the hot rows removed, and of those only chunks
//! that have not changed since they were read. A day with hot rows is read row by row, so that older steps do no harm.
//! Sealing a day again merges its late rows in.

use super::embedded::Embedded;
use super::hot::{ChunkName, DAY};
use super::read::merged;
use super::sealed::{Cursor, Tier, Writing};
use super::{Row, Step, Steps, StoreError};
use crate::cell::plain;
use crate::reading::PointId;
use crate::time::Timestamp;
use std::io::Write;

/// Steps that are made of a day when it is sealed.
const STEPS: [Tier; 2] = [Tier::FiveMinutes, Tier::Hour];

/// Folds steps into coarser ones.
pub(super) fn coarser(rows: &[Row], steps: &[Step], tier: Tier) -> Vec<Step> {
    let mut out = Steps::new(tier.step());
    rows.iter().for_each(|r| out.push(*r));
    steps.iter().for_each(|s| out.push_step(s));
    out.finish()
}

impl Embedded {
    /// See [`super::Store::seal`].
    pub(super) fn seal_day(&self, site: &str, day: &str) -> Result<u64, StoreError> {
        let refuse = |why| StoreError::Refused { what: format!("day {day:?}"), why };
        let start = Timestamp::parse(day).filter(|t| t.day() == day).ok_or_else(|| refuse("write it as 2026-07-14"))?;
        if !self.hot_days(site)?.iter().any(|d| d == day) {
            return Ok(0);
        }
        self.flush()?;
        let (number, points) = self.with_site(site, |_, number, points| Ok((number, points as u32)))?;
        let hot = self.hot()?;
        let snapshot = hot.snapshot();
        let mut old = Cursor::<Row>::open(&self.sealed.path(site, Tier::Raw, day))?;
        // Rows of a day whose raw rows were thinned out or dropped: their time is over, and so is theirs.
        let over = match &old {
            Some(old) => old.table().note(super::retain::KEPT).is_some(),
            None => self.sealed.all_days(site)?.iter().any(|d| d == day),
        };
        let mut taken: Vec<(ChunkName, usize)> = Vec::new();
        let mut raw = (!over).then(|| Writing::begin(&self.sealed, site, Tier::Raw, day, None)).transpose()?;
        let mut steps = Vec::new();
        for tier in STEPS.iter().filter(|_| !over) {
            steps.push((*tier, Writing::begin(&self.sealed, site, *tier, day, None)?));
        }
        for point in (0..points).map(PointId) {
            let mut rows = Vec::new();
            for chunk in hot.chunks(&snapshot, number, point, start, start + DAY) {
                let (name, chunk) = chunk?;
                taken.push((name, chunk.len()));
                rows.extend(chunk);
            }
            let Some(raw) = &mut raw else { continue };
            if let Some(old) = &mut old {
                rows = merged(old.take(point, start, start + DAY)?, &rows);
            }
            raw.push(point, &rows)?;
            for (tier, writing) in &mut steps {
                writing.push(point, &coarser(&rows, &[], *tier))?;
            }
        }
        let rows = raw.as_ref().map_or(0, |r| r.rows);
        let mut finished = Vec::new();
        for writing in raw.into_iter().chain(steps.into_iter().map(|(_, w)| w)) {
            finished.extend(writing.finish()?);
        }
        finished.into_iter().try_for_each(|f| f.publish())?;
        self.write_points(site)?;
        self.forget(&taken)?;
        Ok(rows)
    }

    /// `points.csv`: what the numbers in the files mean.
    fn write_points(&self, site: &str) -> Result<(), StoreError> {
        let dir = self.sealed.site(site);
        let quoted = |t: &str| format!("\"{}\"", plain(t).replace('"', "\"\""));
        let lines: Vec<String> = self.with_site(site, |state, _, _| {
            let points = state.sites.get(site).into_iter().flat_map(|s| &s.points);
            Ok(points
                .map(|p| {
                    let texts = [&p.path, p.kind.unit(), &p.object_type, &p.point_type, &p.object_id].map(quoted);
                    format!("{},{}", p.id.0, texts.join(","))
                })
                .collect())
        })?;
        let write = || {
            std::fs::create_dir_all(&dir)?;
            let aside = dir.join("points.csv-aside");
            let mut file = std::io::BufWriter::new(std::fs::File::create(&aside)?);
            writeln!(file, "point,path,unit,object_type,point_type,object_id")?;
            lines.iter().try_for_each(|l| writeln!(file, "{l}"))?;
            file.into_inner().map_err(|e| e.into_error())?.sync_all()?;
            std::fs::rename(aside, dir.join("points.csv"))
        };
        write().map_err(|e| StoreError::io(&dir, &e))
    }
}
