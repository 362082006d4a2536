//! Instants and spans of a site's clock, in milliseconds.
//!
//! Words: a *timestamp* is what the data say (epoch ms, UTC); a *span* is a difference of two; a *stamp* is a timestamp as
//! precise as its publisher writes it: what tells two readings of a point apart that lie within one millisecond.
//! Invariant: nothing here reads a clock. `now` is always a parameter below `app`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// Milliseconds since 1970-01-01T00:00:00Z on the clock of the site that the value belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub i64);

/// An instant as its publisher writes it: a millisecond, and the nanoseconds within it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Stamp {
    pub at: Timestamp,
    /// 0 ≤ ns < 1,000,000; 0 where the publisher counts milliseconds or more.
    pub ns: u32,
}

/// A length of time in milliseconds; may be negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Span(pub i64);

/// Nanoseconds of a millisecond.
const NS: i64 = 1_000_000;

impl Stamp {
    pub const MIN: Stamp = Stamp { at: Timestamp::MIN, ns: 0 };
    pub const MAX: Stamp = Stamp { at: Timestamp(i64::MAX), ns: 999_999 };

    /// From nanoseconds since the epoch.
    #[inline]
    pub const fn from_ns(ns: i64) -> Stamp {
        Stamp { at: Timestamp(ns.div_euclid(NS)), ns: ns.rem_euclid(NS) as u32 }
    }

    /// From microseconds since the epoch.
    #[inline]
    pub const fn from_us(us: i64) -> Stamp {
        Stamp { at: Timestamp(us.div_euclid(1000)), ns: us.rem_euclid(1000) as u32 * 1000 }
    }

    /// Nanoseconds since the epoch; `None` beyond the years 1677–2262.
    pub fn epoch_ns(self) -> Option<i64> {
        self.at.0.checked_mul(NS)?.checked_add(i64::from(self.ns))
    }

    /// Reads an RFC 3339 instant.
    pub fn parse(text: &str) -> Option<Stamp> {
        let t: jiff::Timestamp = text.parse().ok()?;
        let ms = t.as_nanosecond().div_euclid(i128::from(NS));
        Some(Stamp { at: Timestamp(i64::try_from(ms).ok()?), ns: t.as_nanosecond().rem_euclid(i128::from(NS)) as u32 })
    }
}

impl From<Timestamp> for Stamp {
    #[inline]
    fn from(at: Timestamp) -> Stamp {
        Stamp { at, ns: 0 }
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.epoch_ns().and_then(|ns| jiff::Timestamp::from_nanosecond(i128::from(ns)).ok()) {
            Some(t) => write!(f, "{t}"),
            None => write!(f, "{}", self.at),
        }
    }
}

impl Timestamp {
    pub const MIN: Timestamp = Timestamp(i64::MIN);

    /// Reads an RFC 3339 instant or a civil date (midnight UTC). A civil time without an offset is neither.
    pub fn parse(text: &str) -> Option<Timestamp> {
        if let Ok(t) = text.parse::<jiff::Timestamp>() {
            return Some(Timestamp(t.as_millisecond()));
        }
        // A date is also read out of longer texts: their time of day would be lost.
        if text.trim().len() != 10 {
            return None;
        }
        let date: jiff::civil::Date = text.parse().ok()?;
        let zoned = date.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Timestamp(zoned.timestamp().as_millisecond()))
    }

    fn civil(self) -> Option<jiff::civil::DateTime> {
        let t = jiff::Timestamp::from_millisecond(self.0).ok()?;
        Some(t.to_zoned(jiff::tz::TimeZone::UTC).datetime())
    }

    /// `YYYY-MM-DD` in UTC: the name of the day that a reading is filed under.
    pub fn day(self) -> String {
        self.civil().map_or_else(|| "out-of-range".into(), |c| c.date().to_string())
    }

    /// Start of this instant's UTC day.
    pub fn day_start(self) -> Timestamp {
        Timestamp(self.0.div_euclid(86_400_000) * 86_400_000)
    }

    /// Start of this instant's UTC month.
    pub fn month_start(self) -> Timestamp {
        let first = self.civil().map(|c| c.date().first_of_month());
        first.and_then(|d| d.to_zoned(jiff::tz::TimeZone::UTC).ok()).map_or(Timestamp::MIN, |z| Timestamp(z.timestamp().as_millisecond()))
    }

    /// Hours since midnight UTC, 0 ≤ h < 24.
    pub fn hour_of_day(self) -> f64 {
        self.0.rem_euclid(86_400_000) as f64 / 3_600_000.0
    }

    /// Month (1–12) and day of month (1–31) in UTC; the epoch's where out of range.
    pub fn month_day(self) -> (u8, u8) {
        self.civil().map_or((1, 1), |c| (c.month() as u8, c.day() as u8))
    }

    /// The last whole multiple of `step` at or before this instant.
    pub fn floor(self, step: Span) -> Timestamp {
        Timestamp(self.0.div_euclid(step.0.max(1)) * step.0.max(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(t) => write!(f, "{t}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl Span {
    pub const ZERO: Span = Span(0);
    pub const fn seconds(s: i64) -> Span {
        Span(s * 1000)
    }
    pub const fn minutes(m: i64) -> Span {
        Span(m * 60_000)
    }
    pub const fn hours(h: i64) -> Span {
        Span(h * 3_600_000)
    }
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e3
    }
    pub fn as_hours_f64(self) -> f64 {
        self.0 as f64 / 3.6e6
    }

    /// Reads a length of time as people write it: `10s`, `5 min`, `2h`, `1d`, `250ms`.
    pub fn parse(text: &str) -> Option<Span> {
        let t = text.trim();
        let split = t.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = t[..split].parse().ok()?;
        let ms = match t[split..].trim() {
            "ms" => 1.0,
            "s" | "sec" => 1e3,
            "m" | "min" => 6e4,
            "h" => 3.6e6,
            "d" | "day" | "days" => 8.64e7,
            _ => return None,
        };
        Some(Span((number * ms).round() as i64))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = self.0 as f64 / 1e3;
        match s.abs() {
            a if a < 120.0 => write!(f, "{s} s"),
            a if a < 7200.0 => write!(f, "{:.0} min", s / 60.0),
            _ => write!(f, "{:.1} h", s / 3600.0),
        }
    }
}

impl Add<Span> for Timestamp {
    type Output = Timestamp;
    fn add(self, s: Span) -> Timestamp {
        Timestamp(self.0.saturating_add(s.0))
    }
}
impl AddAssign<Span> for Timestamp {
    fn add_assign(&mut self, s: Span) {
        *self = *self + s;
    }
}
impl Sub<Span> for Timestamp {
    type Output = Timestamp;
    fn sub(self, s: Span) -> Timestamp {
        Timestamp(self.0.saturating_sub(s.0))
    }
}
impl Sub for Timestamp {
    type Output = Span;
    fn sub(self, o: Timestamp) -> Span {
        Span(self.0.saturating_sub(o.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_read_as_people_write_them() {
        for (text, ms) in [("10s", 10_000), ("5 min", 300_000), ("2h", 7_200_000), ("1.5h", 5_400_000), ("250ms", 250), ("2d", 172_800_000)]
        {
            assert_eq!(Span::parse(text), Some(Span(ms)), "{text}");
        }
        assert_eq!(Span::parse("soon"), None);
        assert_eq!(Span::parse("10"), None);
    }

    #[test]
    fn stamps_are_as_precise_as_they_are_written() {
        let text = "2026-07-14T03:33:20.123456789Z";
        let stamp = Stamp { at: Timestamp(1_784_000_000_123), ns: 456_789 };
        assert_eq!(Stamp::parse(text), Some(stamp));
        assert_eq!((stamp.to_string().as_str(), stamp.epoch_ns()), (text, Some(1_784_000_000_123_456_789)));
        assert_eq!(Stamp::from_ns(1_784_000_000_123_456_789), stamp);
        assert_eq!(Stamp::from_us(-1), Stamp { at: Timestamp(-1), ns: 999_000 });
        assert_eq!(Stamp::from(Timestamp(i64::MAX)).epoch_ns(), None);
        assert!(Stamp::from(stamp.at) < stamp && stamp < Stamp::from(stamp.at + Span(1)));
    }

    #[test]
    fn days_are_utc_days() {
        let t = Timestamp::parse("2026-07-14T23:59:59Z").unwrap();
        assert_eq!(t.day(), "2026-07-14");
        assert_eq!((t + Span::seconds(1)).day(), "2026-07-15");
        assert_eq!(Timestamp::parse("2026-07-14"), Some(t.day_start()));
        assert_eq!(Timestamp::parse("2026-07-14T10:30:00"), None);
        assert_eq!(Timestamp::parse("2026-07-14T10:30:00+02:00"), Timestamp::parse("2026-07-14T08:30:00Z"));
        assert_eq!(Timestamp(i64::MAX).day(), "out-of-range");
    }
}
