//! Query parameters: read one by one, so that an error names its field. Unknown parameters are refused.

use super::Fault;
use crate::reading::PointId;
use crate::time::{Span, Timestamp};
use axum::http::Uri;
use std::collections::BTreeMap;

/// Buckets that one series answer may have.
pub const SERIES_ROWS_MAX: i64 = 10_000;

/// What a series is asked for. `from < to`, `step > 0`, at most [`SERIES_ROWS_MAX`] buckets.
#[derive(Clone, Debug, PartialEq)]
pub struct SeriesQuery {
    pub site: String,
    pub point: PointId,
    pub from: Timestamp,
    pub to: Timestamp,
    pub step: Span,
}

/// The parameters of a request, each at most once.
pub(crate) struct Params(BTreeMap<String, String>);

impl Params {
    /// Reads the query string; refuses names that are not in `known` and names that come twice.
    pub fn read(uri: &Uri, known: &[&str]) -> Result<Params, Fault> {
        let axum::extract::Query(pairs) = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|e| Fault::invalid("query", format!("cannot be read: {e}"), "percent-encode the values"))?;
        let mut map = BTreeMap::new();
        for (name, value) in pairs {
            let name: String = name.chars().take(60).collect();
            if !known.contains(&name.as_str()) {
                let mend = if known.is_empty() { "leave it out".into() } else { format!("known here: {}", known.join(", ")) };
                return Err(Fault::invalid(&name, "is no parameter of this address", mend));
            }
            if value.len() > 1000 {
                return Err(Fault::invalid(&name, "is longer than 1,000 bytes", "shorten it"));
            }
            if map.insert(name.clone(), value).is_some() {
                return Err(Fault::invalid(&name, "is given twice", "give it once"));
            }
        }
        Ok(Params(map))
    }

    /// A text; an empty one counts as absent.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|v| v.trim()).filter(|v| !v.is_empty())
    }

    pub fn required(&self, name: &str, mend: &str) -> Result<&str, Fault> {
        self.text(name).ok_or_else(|| Fault::invalid(name, "is missing", mend))
    }

    /// A whole number within bounds.
    pub fn count(&self, name: &str, default: usize, lo: usize, hi: usize) -> Result<usize, Fault> {
        let Some(text) = self.text(name) else { return Ok(default) };
        match text.parse::<usize>() {
            Ok(n) if (lo..=hi).contains(&n) => Ok(n),
            _ => {
                Err(Fault::invalid(name, format!("{text:?} is no whole number from {lo} to {hi}"), format!("for example {name}={default}")))
            }
        }
    }

    /// A number within bounds.
    pub fn number(&self, name: &str, default: f64, lo: f64, hi: f64) -> Result<f64, Fault> {
        let Some(text) = self.text(name) else { return Ok(default) };
        match text.parse::<f64>() {
            Ok(n) if n >= lo && n <= hi => Ok(n),
            _ => Err(Fault::invalid(name, format!("{text:?} is no number from {lo} to {hi}"), format!("for example {name}={default}"))),
        }
    }

    /// An instant: RFC 3339, a date, or epoch ms.
    pub fn instant(&self, name: &str) -> Result<Option<Timestamp>, Fault> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let at = text.parse::<i64>().ok().map(Timestamp).or_else(|| Timestamp::parse(text));
        // Beyond years −9999…9999 no calendar can show it.
        match at {
            Some(t) if t.day() != "out-of-range" => Ok(Some(t)),
            _ => Err(Fault::invalid(
                name,
                format!("{text:?} is no instant"),
                "use RFC 3339 (2026-07-14T12:00:00Z) or epoch milliseconds (1784030400000)",
            )),
        }
    }

    /// A length of time above zero: `10s`, `5min`, or a number of seconds.
    pub fn span(&self, name: &str) -> Result<Option<Span>, Fault> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let seconds = text.parse::<f64>().ok().filter(|s| s.is_finite()).map(|s| Span((s * 1e3) as i64));
        match seconds.or_else(|| Span::parse(text)) {
            Some(s) if s.0 > 0 => Ok(Some(s)),
            _ => Err(Fault::invalid(name, format!("{text:?} is no length of time above 0"), "use 10s, 5min, 1h or a number of seconds")),
        }
    }
}

/// The step of a series: as asked, or one that gives about 500 buckets; never more than [`SERIES_ROWS_MAX`] of them.
pub(crate) fn series_step(from: Timestamp, to: Timestamp, step: Option<Span>) -> Result<Span, Fault> {
    let length = (to - from).0;
    if length <= 0 {
        return Err(Fault::invalid("to", "is not after `from`", "give from < to"));
    }
    let step = step.unwrap_or_else(|| {
        let nice = [1, 10, 30, 60, 300, 600, 900, 1800, 3600, 7200, 21_600, 86_400];
        nice.iter().map(|s| Span::seconds(*s)).find(|s| length / s.0 <= 500).unwrap_or(Span(length / 500 + 1))
    });
    let rows = length / step.0;
    if rows > SERIES_ROWS_MAX {
        return Err(Fault::invalid(
            "step",
            format!("{step} gives {rows} rows; one answer has at most {SERIES_ROWS_MAX}"),
            "widen the step or shorten the time",
        ));
    }
    Ok(step)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params(query: &str) -> Result<Params, Fault> {
        Params::read(&format!("/x?{query}").parse().unwrap(), &["from", "step", "n"])
    }

    #[test]
    fn parameters_are_read_or_named() {
        let p = params("from=2026-07-14T12:00:00Z&step=5min&n=7").unwrap();
        assert_eq!(p.instant("from").unwrap(), Timestamp::parse("2026-07-14T12:00:00Z"));
        assert_eq!(p.span("step").unwrap(), Some(Span::minutes(5)));
        assert_eq!(p.count("n", 1, 1, 10).unwrap(), 7);
        assert_eq!(params("from=1784030400000").unwrap().instant("from").unwrap(), Some(Timestamp(1_784_030_400_000)));
        for (query, field) in [("from=noon", "from"), ("from=9223372036854775807", "from")] {
            let Err(Fault::Invalid { field: f, .. }) = params(query).unwrap().instant("from") else { panic!("{query}") };
            assert_eq!(f, field);
        }
        assert!(params("step=-1").unwrap().span("step").is_err());
        assert!(params("form=1").is_err() && params("n=1&n=2").is_err());
        assert!(params("n=11").unwrap().count("n", 1, 1, 10).is_err());
    }

    #[test]
    fn a_series_is_bounded() {
        let t = Timestamp(0);
        assert_eq!(series_step(t, t + Span::hours(24), None).unwrap(), Span::seconds(300));
        assert!(series_step(t, t, None).is_err());
        assert!(series_step(t, t + Span::hours(240), Some(Span::seconds(1))).is_err());
        assert!(series_step(t, t + Span::hours(24 * 9000), None).is_ok());
    }
}
