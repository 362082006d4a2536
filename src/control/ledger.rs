//! Predicted against realised energy of each recommendation. Pure: the caller keeps the entries.
//!
//! Words: *realised* = what the baseline model says the plant would have used, less what the meters say it used; energy is
//! *forgone* when a recommendation was not applied.

use super::recommendation::Recommendation;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One line of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub recommendation: String,
    pub site: String,
    pub made_at: Timestamp,
    /// Energy expected to be saved against the fixed setpoints in the span that is charged to this recommendation.
    pub predicted_kwh: f64,
    pub plus_minus_kwh: f64,
    /// Hours that are charged to it: until the next one replaced it.
    pub hours: f64,
    pub applied: Option<Applied>,
    pub realised_kwh: Option<f64>,
    /// Predicted energy that was not saved because nobody applied it.
    pub forgone_kwh: f64,
}

/// Who let it out, and when. `controller` in auto.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    pub who: String,
    pub at: Timestamp,
}

/// Opens the entry of a recommendation that was replaced at `until`.
pub fn open(r: &Recommendation, until: Timestamp, applied: Option<Applied>) -> Entry {
    let hours = (until.min(r.valid_until) - r.made_at).as_hours_f64().clamp(0.0, r.expects.horizon_h);
    let share = if r.expects.horizon_h > 0.0 { hours / r.expects.horizon_h } else { 0.0 };
    let predicted_kwh = r.expects.saves_vs_fixed_kwh * share;
    Entry {
        recommendation: r.id.clone(),
        site: r.site.clone(),
        made_at: r.made_at,
        predicted_kwh,
        plus_minus_kwh: r.expects.plus_minus_kwh * share,
        hours,
        forgone_kwh: if applied.is_none() { predicted_kwh.max(0.0) } else { 0.0 },
        applied,
        realised_kwh: None,
    }
}

/// Closes an entry with the baseline model's energy and the meters' over the entry's hours, both kWh. Values that are not
/// numbers leave it open.
pub fn close(mut e: Entry, baseline_kwh: f64, metered_kwh: f64) -> Entry {
    let saved = baseline_kwh - metered_kwh;
    e.realised_kwh = (saved.is_finite() && e.applied.is_some()).then_some(saved);
    e
}

/// Sums over entries: predicted and realised of those that are closed, forgone of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Balance {
    pub entries: usize,
    pub closed: usize,
    pub predicted_kwh: f64,
    pub realised_kwh: f64,
    pub forgone_kwh: f64,
}

pub fn balance<'a>(entries: impl Iterator<Item = &'a Entry>) -> Balance {
    entries.fold(Balance::default(), |mut b, e| {
        b.entries += 1;
        b.forgone_kwh += e.forgone_kwh;
        if let Some(r) = e.realised_kwh {
            b.closed += 1;
            b.predicted_kwh += e.predicted_kwh;
            b.realised_kwh += r;
        }
        b
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::recommendation::Expects;
    use crate::time::Span;

    #[test]
    fn a_quarter_of_the_horizon_is_charged_a_quarter_of_the_saving() {
        let r = Recommendation {
            id: "r".into(),
            parent: None,
            site: "s".into(),
            made_at: Timestamp(0),
            valid_until: Timestamp(0) + Span::hours(1),
            mode: "auto".into(),
            inputs_digest: String::new(),
            models: vec![],
            items: vec![],
            withheld: vec![],
            expects: Expects { horizon_h: 2.0, saves_vs_fixed_kwh: 40.0, ..Expects::default() },
            explanation: String::new(),
        };
        let until = Timestamp(0) + Span::minutes(30);
        let done = close(open(&r, until, Some(Applied { who: "a".into(), at: Timestamp(0) })), 100.0, 92.0);
        let not = open(&r, until, None);
        assert_eq!((done.predicted_kwh, done.realised_kwh, not.forgone_kwh), (10.0, Some(8.0), 10.0));
        let b = balance([done, not].iter());
        assert_eq!((b.entries, b.closed, b.realised_kwh, b.forgone_kwh), (2, 1, 8.0, 10.0));
    }
}
