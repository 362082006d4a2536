//! Periods of a site's civil time.

use super::Grid;
use crate::time::{Span, Timestamp};
use jiff::civil::Date;
use jiff::tz::TimeZone;

/// Why a period cannot be reported on.
#[derive(Debug, thiserror::Error)]
#[error(
    "{text:?}: {why}; give a year (--year 2025), or dates or instants on quarter-hours, the last one not included: 2025-01-01..2025-07-01"
)]
pub struct PeriodError {
    pub text: String,
    pub why: String,
}

/// From an instant to another, which is not part of it, in a zone.
#[derive(Clone, Debug)]
pub struct Period {
    pub grid: Grid,
    pub zone: TimeZone,
    pub zone_name: String,
    /// As it was asked for.
    pub label: String,
}

impl Period {
    /// A calendar year of a zone.
    pub fn year(year: i16, zone_name: &str) -> Result<Period, PeriodError> {
        Period::parse(&format!("{year:04}-01-01..{:04}-01-01", year + 1), zone_name).map(|p| Period { label: year.to_string(), ..p })
    }

    /// `A..B`: each a date (midnight in the zone) or an RFC 3339 instant.
    pub fn parse(text: &str, zone_name: &str) -> Result<Period, PeriodError> {
        let bad = |why: &str| PeriodError { text: text.into(), why: why.into() };
        let zone = TimeZone::get(zone_name).map_err(|e| bad(&e.to_string()))?;
        let (a, b) = text.split_once("..").ok_or_else(|| bad("has no `..`"))?;
        let edge = |t: &str| -> Result<Timestamp, PeriodError> {
            // A date is also read out of an instant, which is longer.
            if t.trim().len() == 10
                && let Ok(date) = t.trim().parse::<Date>()
            {
                let at = date.to_zoned(zone.clone()).map_err(|e| bad(&e.to_string()))?;
                return Ok(Timestamp(at.timestamp().as_millisecond()));
            }
            Timestamp::parse(t.trim()).ok_or_else(|| bad("an edge is neither a date nor an instant"))
        };
        let grid = Grid::new(edge(a)?, edge(b)?).ok_or_else(|| bad("does not run from one quarter-hour to a later one"))?;
        if grid.hours() > 24.0 * 3660.0 {
            return Err(bad("is longer than ten years"));
        }
        Ok(Period { grid, zone, zone_name: zone_name.into(), label: text.into() })
    }

    /// The first instants of the civil days that touch the period, and its end.
    pub fn days(&self) -> Vec<Timestamp> {
        let mut out = vec![self.grid.from];
        let Ok(first) = jiff::Timestamp::from_millisecond(self.grid.from.0) else { return out };
        let mut date = first.to_zoned(self.zone.clone()).date();
        while let Ok(next) = date.tomorrow() {
            date = next;
            let Ok(start) = date.to_zoned(self.zone.clone()) else { break };
            let at = Timestamp(start.timestamp().as_millisecond());
            if at >= self.grid.to {
                break;
            }
            if out.last().is_some_and(|l| *l < at) {
                out.push(at);
            }
        }
        out.push(self.grid.to);
        out
    }

    /// Local hour (0–23) and month (1–12) of each bin's start.
    pub fn clock(&self) -> Vec<(u8, u8)> {
        let local = |bin| {
            jiff::Timestamp::from_millisecond(self.grid.at(bin).0).map_or((0, 1), |t| {
                let local = self.zone.to_datetime(t);
                (local.hour() as u8, local.month() as u8)
            })
        };
        (0..self.grid.len()).map(local).collect()
    }

    pub fn span(&self) -> Span {
        self.grid.to - self.grid.from
    }

    /// RFC 3339 with the zone's offset.
    pub fn local(&self, at: Timestamp) -> String {
        jiff::Timestamp::from_millisecond(at.0)
            .map_or_else(|_| at.to_string(), |t| t.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string())
    }
}
