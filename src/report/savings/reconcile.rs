//! The ledger against itself and against the meters: what recommendations promised, what came of them, what was verified.
//!
//! Words: an entry is *scored* where somebody applied it and its baseline and meters were there; its *error* is realised less
//! predicted. Invariants: only entries made within the period count; what was predicted for entries that nobody applied is
//! forgone, never predicted; shares are sums over sums.

use crate::control::ledger::Entry;
use crate::time::Timestamp;
use serde::Serialize;

/// The ledger of a period. kWh and hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Reconciliation {
    pub entries: usize,
    pub scored: usize,
    pub scored_h: f64,
    /// Of scored entries.
    pub predicted_kwh: f64,
    pub realised_kwh: f64,
    /// Scored entries whose error is within the ± that they were given with.
    pub within: usize,
    pub forgone_kwh: f64,
}

impl Reconciliation {
    /// Reckons the entries made within `from..to`.
    pub fn of<'a>(entries: impl IntoIterator<Item = &'a Entry>, from: Timestamp, to: Timestamp) -> Reconciliation {
        let mut r = Reconciliation::default();
        for e in entries.into_iter().filter(|e| e.made_at >= from && e.made_at < to) {
            r.entries += 1;
            r.forgone_kwh += e.forgone_kwh;
            let Some(realised) = e.realised_kwh else { continue };
            r.scored += 1;
            r.scored_h += e.hours;
            r.predicted_kwh += e.predicted_kwh;
            r.realised_kwh += realised;
            r.within += usize::from((realised - e.predicted_kwh).abs() <= e.plus_minus_kwh);
        }
        r
    }

    pub fn error_kwh(&self) -> f64 {
        self.realised_kwh - self.predicted_kwh
    }

    /// Error over what was predicted; none where nothing was.
    pub fn error_share(&self) -> Option<f64> {
        (self.predicted_kwh.abs() > 0.0).then(|| self.error_kwh() / self.predicted_kwh)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ledger::Applied;
    use crate::time::Span;

    #[test]
    fn sums_over_sums_of_what_was_applied_within_the_period() {
        let entry = |h: i64, predicted_kwh: f64, plus_minus_kwh: f64, realised_kwh: Option<f64>| {
            let made_at = Timestamp(0) + Span::hours(h);
            let applied = realised_kwh.map(|_| Applied { who: "controller".into(), at: made_at });
            let forgone_kwh = if applied.is_none() { predicted_kwh } else { 0.0 };
            let (recommendation, site) = (format!("r{h}"), "s".to_owned());
            Entry { recommendation, site, made_at, predicted_kwh, plus_minus_kwh, hours: 0.5, applied, realised_kwh, forgone_kwh }
        };
        // The first is from before, the last from after the period. Of the two that are scored the first errs by +2 of ±3, the second
        // by −5 of ±4: 27 of 30 kWh, −10 %. Nobody applied the third: 5 kWh forgone.
        let entries = [
            entry(-1, 100.0, 1.0, Some(1.0)),
            entry(0, 10.0, 3.0, Some(12.0)),
            entry(1, 20.0, 4.0, Some(15.0)),
            entry(2, 5.0, 1.0, None),
            entry(3, 7.0, 1.0, Some(7.0)),
        ];
        let r = Reconciliation::of(&entries, Timestamp(0), Timestamp(0) + Span::hours(3));
        assert_eq!((r.entries, r.scored, r.within, r.scored_h), (3, 2, 1, 1.0));
        assert_eq!((r.predicted_kwh, r.realised_kwh, r.forgone_kwh, r.error_kwh()), (30.0, 27.0, 5.0, -3.0));
        assert!((r.error_share().unwrap() + 0.1).abs() < 1e-12);
        assert_eq!(Reconciliation::default().error_share(), None);
    }
}
