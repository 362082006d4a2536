//! What electricity costs and emits at a time: one number, or a series of steps (day-ahead prices, grid intensity).

use super::dated;
use super::table::{SignalError, Table};
use crate::time::Timestamp;
use jiff::tz::TimeZone;
use std::path::Path;

/// A value that stands from each of its times to the next one.
#[derive(Clone, Debug, PartialEq)]
pub enum Tariff {
    Constant(f64),
    /// Rising in time.
    Steps(Vec<(Timestamp, f64)>),
}

/// The last step of a series stands at most this long; after it the value is not known.
const LAST: crate::time::Span = crate::time::Span::hours(2);

impl Tariff {
    /// Reads a CSV (or .gz): its first column is the time (RFC 3339, or `2026-07-14 13:00:00` in UTC), its second the value.
    ///
    /// # Errors
    /// The file cannot be read, a time or a number is none, or times do not rise.
    pub fn load(path: &Path) -> Result<Tariff, SignalError> {
        let table = Table::load(path)?;
        if table.header.len() < 2 || table.len() == 0 {
            return Err(SignalError::Shape { path: path.into(), why: "needs two columns (time, value) and a row".into() });
        }
        let mut steps: Vec<(Timestamp, f64)> = Vec::with_capacity(table.len());
        for row in 0..table.len() {
            let text = table.text(row, 0);
            let at = dated::instant(text, &TimeZone::UTC)
                .ok_or_else(|| table.cell(row, 0, format!("{text:?} is no time, such as 2026-07-14T13:00:00Z")))?;
            if steps.last().is_some_and(|(t, _)| *t >= at) {
                // Local clocks that are set back repeat an hour: the first one counts.
                continue;
            }
            steps.push((at, table.number(row, 1)?));
        }
        Ok(Tariff::Steps(steps))
    }

    /// The value at a time; NaN where the series does not say.
    pub fn at(&self, t: Timestamp) -> f64 {
        match self {
            Tariff::Constant(v) => *v,
            Tariff::Steps(s) => match s.partition_point(|(at, _)| *at <= t).checked_sub(1).and_then(|i| Some((i, s.get(i)?))) {
                Some((i, (at, v))) if i + 1 < s.len() || t - *at < LAST => *v,
                _ => f64::NAN,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn a_step_stands_until_the_next_one() {
        let h = |n| Timestamp(0) + Span::hours(n);
        let t = Tariff::Steps(vec![(h(0), 40.0), (h(1), 55.0)]);
        assert_eq!((t.at(h(0)), t.at(h(1) - Span(1)), t.at(h(2))), (40.0, 40.0, 55.0));
        assert!(t.at(h(3)).is_nan() && t.at(h(0) - Span(1)).is_nan());
        assert_eq!(Tariff::Constant(7.0).at(h(99)), 7.0);
    }

    #[test]
    fn times_have_any_offset_or_are_utc() {
        let path = std::env::temp_dir().join(format!("tramuntana-tariff-{}.csv", std::process::id()));
        let text = "time,v\n2026-07-14,1\n2026-07-14 01:00:00,2\n2026-07-14T03:00:00+01:00,3\n2026-07-13T22:00:00-05:00,4\n";
        std::fs::write(&path, text).unwrap();
        let read = Tariff::load(&path);
        let _ = std::fs::remove_file(&path);
        let midnight = Timestamp::parse("2026-07-14").unwrap();
        let hours = (0..4).map(|h| (midnight + Span::hours(h), h as f64 + 1.0)).collect();
        assert_eq!(read.unwrap(), Tariff::Steps(hours));
    }
}
