//! Retention: how long which rows are kept, by the site's clock.
//!
//! ```text
//! sealed: every row, 5 min, 1 h  --raw_days-->  1 min, 5 min, 1 h (meters: every row)  --minute_days-->  1 h  --hour_days--> nothing
//! ```
//! The meters behind the KPIs keep every row for `meter_days`, so that a reported figure can be made again.
//! Invariant: a finer file goes only after the coarser ones that outlive it are there.

use super::embedded::Embedded;
use super::hot::DAY;
use super::seal::coarser;
use super::sealed::{Cursor, Tier, Writing};
use super::{Row, StoreError};
use crate::reading::PointId;
use crate::time::{Span, Timestamp};
use serde::Serialize;
use std::collections::BTreeSet;

/// The note in a raw file that only some points' rows were kept.
pub(super) const KEPT: &str = "tramuntana.kept";

/// Days that rows are kept, by class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Every row of every point.
    pub raw_days: u32,
    /// 1 min and 5 min steps.
    pub minute_days: u32,
    /// 1 h steps.
    pub hour_days: u32,
    /// Every row of the meters behind the KPIs.
    pub meter_days: u32,
}

impl Default for Keep {
    fn default() -> Keep {
        Keep { raw_days: 400, minute_days: 1100, hour_days: 3650, meter_days: 3650 }
    }
}

/// What expired.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expired {
    /// Days whose raw rows went, all or all but the meters'.
    pub raw: u32,
    pub minute: u32,
    pub hour: u32,
    pub meter: u32,
}

impl Embedded {
    /// See [`super::Store::expire`].
    pub(super) fn expire_days(&self, site: &str, now: Timestamp, keep: &Keep, meters: &BTreeSet<PointId>) -> Result<Expired, StoreError> {
        let mut gone = Expired::default();
        let limit = |days: u32| now.day_start() - Span::hours(24 * i64::from(days));
        for day in self.sealed.all_days(site)? {
            let Some(start) = Timestamp::parse(&day) else { continue };
            let over = |days| start + DAY <= limit(days);
            if over(keep.raw_days) && self.sealed.has(site, Tier::Raw, &day) {
                gone.raw += u32::from(self.thin(site, &day, start, !over(keep.minute_days), !over(keep.meter_days), meters)?);
            }
            if over(keep.minute_days.max(keep.raw_days)) {
                let minute = self.sealed.remove(site, Tier::Minute, &day)?;
                gone.minute += u32::from(self.sealed.remove(site, Tier::FiveMinutes, &day)? || minute);
            }
            if over(keep.hour_days.max(keep.minute_days)) {
                gone.hour += u32::from(self.sealed.remove(site, Tier::Hour, &day)?);
            }
            if over(keep.meter_days.max(keep.raw_days)) {
                gone.meter += u32::from(self.sealed.remove(site, Tier::Raw, &day)?);
            }
        }
        Ok(gone)
    }

    /// Makes the minutes of a day and keeps raw rows of the meters only. False where that was done before.
    fn thin(
        &self,
        site: &str,
        day: &str,
        start: Timestamp,
        minutes: bool,
        keep_meters: bool,
        meters: &BTreeSet<PointId>,
    ) -> Result<bool, StoreError> {
        let path = self.sealed.path(site, Tier::Raw, day);
        let Some(mut old) = Cursor::<Row>::open(&path)? else { return Ok(false) };
        if old.table().note(KEPT).is_some() {
            return Ok(false);
        }
        let points = self.with_site(site, |_, _, points| Ok(points as u32))?;
        let mut minute = minutes.then(|| Writing::begin(&self.sealed, site, Tier::Minute, day, None)).transpose()?;
        let mut kept = Writing::begin(&self.sealed, site, Tier::Raw, day, Some((KEPT, "meters")))?;
        for point in (0..points).map(PointId) {
            let rows = old.take(point, start, start + DAY)?;
            if let Some(minute) = &mut minute {
                minute.push(point, &coarser(rows, &[], Tier::Minute))?;
            }
            if keep_meters && meters.contains(&point) {
                kept.push(point, rows)?;
            }
        }
        if let Some(finished) = minute.map(Writing::finish).transpose()?.flatten() {
            finished.publish()?;
        }
        match kept.finish()? {
            Some(finished) => finished.publish()?,
            None => drop(self.sealed.remove(site, Tier::Raw, day)?),
        }
        Ok(true)
    }
}
