//! A site's calendar: local time of day, weekday, holidays.
//!
//! Loads follow clocks on walls, not UTC: the same morning moves by an hour twice a year. A holiday counts as a Sunday.
//! Source of zones: the system's or the bundled IANA database (jiff).

use super::ForecastError;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where days begin, and which of them are holidays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    /// IANA name, for example `Europe/Madrid`.
    pub zone: String,
    /// Civil dates, `YYYY-MM-DD`.
    pub holidays: Vec<String>,
}

impl Default for Calendar {
    fn default() -> Calendar {
        Calendar { zone: "UTC".into(), holidays: Vec::new() }
    }
}

/// Local time of an instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Local {
    /// Hours since local midnight, 0–24.
    pub hour: f64,
    /// 0 = Monday … 6 = Sunday and holidays.
    pub weekday: u8,
}

/// A calendar that is ready to be asked.
#[derive(Clone, Debug)]
pub struct Clock {
    zone: jiff::tz::TimeZone,
    holidays: Vec<jiff::civil::Date>,
    utc: bool,
}

impl Calendar {
    /// Looks up the zone and reads the dates.
    pub fn clock(&self) -> Result<Clock, ForecastError> {
        let bad = |what: &str, why: String| ForecastError::Calendar { what: what.to_owned(), why };
        let zone = jiff::tz::TimeZone::get(&self.zone).map_err(|e| bad(&self.zone, e.to_string()))?;
        let mut holidays = Vec::with_capacity(self.holidays.len());
        for text in &self.holidays {
            holidays.push(text.parse().map_err(|e: jiff::Error| bad(text, e.to_string()))?);
        }
        holidays.sort_unstable();
        Ok(Clock { utc: self.zone == "UTC" && holidays.is_empty(), zone, holidays })
    }
}

impl Clock {
    /// Local time at an instant; out of the range of dates, that of the epoch.
    pub fn at(&self, at: Timestamp) -> Local {
        if self.utc {
            // 1970-01-01 was a Thursday.
            let weekday = (at.0.div_euclid(86_400_000) + 3).rem_euclid(7) as u8;
            return Local { hour: at.hour_of_day(), weekday };
        }
        let instant = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
        let civil = self.zone.to_datetime(instant);
        let hour = f64::from(civil.hour()) + f64::from(civil.minute()) / 60.0 + f64::from(civil.second()) / 3600.0;
        let holiday = self.holidays.binary_search(&civil.date()).is_ok();
        let weekday = if holiday { 6 } else { civil.weekday().to_monday_zero_offset() as u8 };
        Local { hour, weekday }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_time_moves_with_the_zone_and_holidays_are_sundays() {
        let calendar = Calendar { zone: "Europe/Madrid".into(), holidays: vec!["2026-12-25".into()] };
        let clock = calendar.clock().unwrap();
        let at = |text| clock.at(Timestamp::parse(text).unwrap());
        assert_eq!(at("2026-07-14T10:30:00Z"), Local { hour: 12.5, weekday: 1 });
        assert_eq!(at("2026-01-13T10:30:00Z"), Local { hour: 11.5, weekday: 1 });
        assert_eq!(at("2026-12-25T10:00:00Z").weekday, 6);
        let utc = Calendar::default().clock().unwrap();
        assert_eq!(utc.at(Timestamp::parse("2026-07-14T10:30:00Z").unwrap()), Local { hour: 10.5, weekday: 1 });
        assert!(Calendar { zone: "Mars/Olympus".into(), holidays: vec![] }.clock().unwrap_err().to_string().contains("Mars"));
    }
}
