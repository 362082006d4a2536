//! Series that a site brings as a file: price, carbon intensity, anything by the hour or the quarter of an hour.
//!
//! A CSV file (or .gz) with a column of times and one of values. Times with an offset are instants. Times without one are civil
//! times of a zone, and the two days of the year when its clock is changed are where such files go wrong:
//! - a time that the clock jumps over does not exist: its value is left out and counted;
//! - a time that the clock shows twice, and the file has once, stands for both, and is counted; had twice, the first is the earlier.
//!
//! An empty value is missing; a value that is no number is an error with its line.

use super::table::{SignalError, Table};
use crate::time::{Span, Timestamp};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use std::collections::HashMap;
use std::path::Path;

/// What was read, in order of time; a value holds for `step` from its instant on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dated {
    pub rows: Vec<(Timestamp, f64)>,
    /// The commonest distance of two rows.
    pub step: Span,
    /// Civil times that do not exist, as written.
    pub impossible: Vec<String>,
    /// Civil times that the clock shows twice and the file has once, as written.
    pub once: Vec<String>,
    pub empty: usize,
    /// Instants that were there already: the first stays.
    pub repeated: usize,
}

impl Dated {
    /// Reads a file. `zone` is that of times without an offset.
    ///
    /// # Errors
    /// The file or a column is not there; a time or a value cannot be read.
    pub fn load(path: &Path, time: &str, value: &str, zone: &TimeZone) -> Result<Dated, SignalError> {
        let table = Table::load(path)?;
        let time = table.column(time, "a report's series has a column of times and one of values; `time` and `value` name them")?;
        let value = table.column(value, "a report's series has a column of times and one of values; `time` and `value` name them")?;
        let mut out = Dated::default();
        let mut seen: HashMap<DateTime, u8> = HashMap::new();
        let civil: Vec<Option<DateTime>> = (0..table.len()).map(|i| civil(table.text(i, time))).collect();
        for c in civil.iter().flatten() {
            let n = seen.entry(*c).or_insert(0);
            *n = n.saturating_add(1);
        }
        let mut met: HashMap<DateTime, u8> = HashMap::new();
        for (i, civil) in civil.into_iter().enumerate() {
            if table.text(i, value).is_empty() {
                out.empty += 1;
                continue;
            }
            let v = table.number(i, value)?;
            let text = table.text(i, time);
            let Some(civil) = civil else {
                let at = Timestamp::parse(text)
                    .ok_or_else(|| table.cell(i, time, format!("{text:?} is no time; write 2025-03-30 01:00 or 2025-03-30T00:00:00Z")))?;
                out.rows.push((at, v));
                continue;
            };
            let at = |o: jiff::tz::Offset| o.to_timestamp(civil).map(|t| Timestamp(t.as_millisecond()));
            let pushed = match zone.to_ambiguous_timestamp(civil).offset() {
                AmbiguousOffset::Unambiguous { offset } => at(offset).map(|t| out.rows.push((t, v))),
                AmbiguousOffset::Gap { .. } => {
                    out.impossible.push(text.to_owned());
                    continue;
                }
                AmbiguousOffset::Fold { before, after } => {
                    let nth = met.entry(civil).or_insert(0);
                    *nth = nth.saturating_add(1);
                    let (nth, all) = (*nth, seen.get(&civil).copied().unwrap_or(1));
                    if all == 1 {
                        out.once.push(text.to_owned());
                        at(before).and_then(|a| at(after).map(|b| out.rows.extend([(a, v), (b, v)])))
                    } else {
                        at(if nth == 1 { before } else { after }).map(|t| out.rows.push((t, v)))
                    }
                }
            };
            pushed.map_err(|e| table.cell(i, time, e.to_string()))?;
        }
        out.rows.sort_by_key(|r| r.0);
        let n = out.rows.len();
        out.rows.dedup_by_key(|r| r.0);
        out.repeated = n - out.rows.len();
        let mut steps: HashMap<i64, usize> = HashMap::new();
        for pair in out.rows.windows(2) {
            *steps.entry((pair[1].0 - pair[0].0).0).or_default() += 1;
        }
        out.step = Span(steps.into_iter().max_by_key(|(step, n)| (*n, -*step)).map_or(3_600_000, |(step, _)| step));
        Ok(out)
    }
}

/// An instant, or a civil time of a zone where it has no offset; of a time that the clock shows twice, the first.
pub fn instant(text: &str, zone: &TimeZone) -> Option<Timestamp> {
    match civil(text) {
        Some(c) => zone.to_timestamp(c).ok().map(|t| Timestamp(t.as_millisecond())),
        None => text.parse::<jiff::Timestamp>().ok().map(|t| Timestamp(t.as_millisecond())),
    }
}

/// A civil time without an offset.
fn civil(text: &str) -> Option<DateTime> {
    if text.contains(['Z', 'z', '+']) || text.get(11..).is_some_and(|t| t.contains('-')) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(name: &str, text: &str) -> Result<Dated, SignalError> {
        let path = std::env::temp_dir().join(format!("tramuntana-dated-{name}-{}.csv", std::process::id()));
        std::fs::write(&path, text).unwrap();
        let out = Dated::load(&path, "ts", "v", &TimeZone::get("Europe/Madrid").unwrap());
        let _ = std::fs::remove_file(&path);
        out
    }

    #[test]
    fn clock_changes_are_met() {
        // Spring: 02:00 does not exist. Autumn: 02:00 comes twice, here once.
        let text = "ts,v\n2020-03-29 01:00,1\n2020-03-29 02:00,2\n2020-03-29 03:00,3\n2020-10-25 01:00,4\n2020-10-25 02:00,5\n2020-10-25 03:00,6\n";
        let d = load("once", text).unwrap();
        assert_eq!((d.impossible.len(), d.once.len(), d.step), (1, 1, Span::hours(1)));
        let at = |t: &str| d.rows.iter().find(|r| r.0 == Timestamp::parse(t).unwrap()).map(|r| r.1);
        assert_eq!([at("2020-03-29T00:00:00Z"), at("2020-03-29T01:00:00Z")], [Some(1.0), Some(3.0)]);
        assert_eq!([at("2020-10-25T00:00:00Z"), at("2020-10-25T01:00:00Z"), at("2020-10-25T02:00:00Z")], [Some(5.0), Some(5.0), Some(6.0)]);
        // Given twice, the first is the earlier.
        let d = load("twice", "ts,v\n2020-10-25 02:00:00,5\n2020-10-25 02:00:00,7\n2020-10-25T05:00:00+01:00,9\n").unwrap();
        assert_eq!(d.rows.iter().map(|r| r.1).collect::<Vec<_>>(), [5.0, 7.0, 9.0]);
        assert!(d.once.is_empty());
    }

    #[test]
    fn a_civil_time_is_not_cut_to_its_date() {
        let zone = TimeZone::get("Europe/Madrid").unwrap();
        let at = |t: &str| instant(t, &zone).map(|t| t.to_string());
        assert_eq!(at("2024-07-01 10:30:00"), Some("2024-07-01T08:30:00Z".into()));
        assert_eq!(at("2024-07-01T10:30:00+00:00"), Some("2024-07-01T10:30:00Z".into()));
        assert_eq!(at("soon"), None);
    }

    #[test]
    fn errors_have_their_line() {
        assert!(load("bad", "ts,v\n2020-01-01 00:00,1\nsoon,2\n").unwrap_err().to_string().contains("line 3"));
        assert_eq!(load("empty", "ts,v\n2020-01-01 00:00,\n").unwrap().empty, 1);
    }
}
