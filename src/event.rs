//! Named events: each is one counter, which `/metrics` shows.
//!
//! Words: a *tally* is the process's table of counters, keyed by a static event name and a short label (a format, a
//! reason, a site). Names follow OpenMetrics without the `_total` suffix, which `/metrics` adds.
//! Invariant: the number of labels per event is bounded ([`LABELS_MAX`]); beyond it they fall under `other`.
//! Absent by design: no clock, no I/O, no log lines: `app` writes those where they are due.

use std::collections::BTreeMap;
use std::sync::Mutex;

/// Labels kept per event name before they are lumped together: a hostile publisher must not grow memory.
pub const LABELS_MAX: usize = 256;

/// Readings made durable.
pub const READINGS_STORED: &str = "tramuntana_readings_stored";
/// Readings that arrived a second time for the same (point, timestamp).
pub const READINGS_DUPLICATE: &str = "tramuntana_readings_duplicate";
/// Readings marked by the gate, labelled `site/mark`.
pub const MARKED: &str = "tramuntana_readings_marked";
/// Cross-checks between points that began to fail, labelled `site/check`.
pub const CONTRADICTIONS: &str = "tramuntana_contradictions";
/// Readings that InfluxDB 2 has taken, labelled by bucket.
pub const INFLUX_WRITTEN: &str = "tramuntana_influx_written";
/// Requests to InfluxDB 2 that failed, labelled by status or `no answer`.
pub const INFLUX_ERRORS: &str = "tramuntana_influx_errors";
/// Readings that InfluxDB 2 refused for good, labelled by status.
pub const INFLUX_REFUSED: &str = "tramuntana_influx_refused";
/// Readings left out of the mirror because its queue was full, labelled by site.
pub const INFLUX_DROPPED: &str = "tramuntana_influx_dropped";
/// Questions to InfluxDB 2, labelled `site/answered` or `site/failed`.
pub const INFLUX_READS: &str = "tramuntana_influx_reads";
/// Messages or readings refused, labelled `format/reason`.
pub const REFUSED: &str = "tramuntana_refused";
/// MQTT messages taken in.
pub const MESSAGES: &str = "tramuntana_messages";
/// Setpoint requests published.
pub const REQUESTS: &str = "tramuntana_requests";
/// Setpoints that the checker withheld.
pub const WITHHELD: &str = "tramuntana_withheld";
/// Requests that the building management system clamped (in force differs from asked at a bound).
pub const REQUESTS_CLAMPED: &str = "tramuntana_requests_clamped";
/// Requests that the building management system refused or let lapse.
pub const REQUESTS_REFUSED: &str = "tramuntana_requests_refused";
/// Changes of a site's control mode, labelled `site/from>to`.
pub const MODE_CHANGES: &str = "tramuntana_mode_changes";
/// Connections to a broker made again after a loss, labelled by site.
pub const RECONNECTS: &str = "tramuntana_reconnects";
/// Control ticks, labelled by site.
pub const TICKS: &str = "tramuntana_ticks";
/// Forecasts that fell back to a naive model, labelled `site/target`.
pub const FORECAST_FALLBACKS: &str = "tramuntana_forecast_fallbacks";
/// Alarms, labelled `site/raised` or `site/cleared`.
pub const ALARMS: &str = "tramuntana_alarms";
/// Alarms told to others, labelled `way/sent`, `way/failed` or `way/dropped`.
pub const NOTIFICATIONS: &str = "tramuntana_notifications";
/// Requests to the API that were not let in, labelled by reason.
pub const ACCESS_REFUSED: &str = "tramuntana_access_refused";
/// The configuration read again, labelled `taken` or `refused`.
pub const CONFIG_READ: &str = "tramuntana_config_read";
/// Reports that were ordered, labelled `made`, `failed` or `refused`.
pub const REPORTS: &str = "tramuntana_reports";
/// Placement hints served.
pub const HINTS: &str = "tramuntana_hints_served";

/// Counters by event name and label.
#[derive(Default, Debug)]
pub struct Tally {
    counts: Mutex<BTreeMap<&'static str, BTreeMap<String, u64>>>,
}

impl Tally {
    pub fn new() -> Tally {
        Tally::default()
    }

    /// Adds `n` to an event's counter.
    pub fn add(&self, event: &'static str, label: &str, n: u64) {
        if n == 0 {
            return;
        }
        let mut counts = self.counts.lock().unwrap_or_else(|e| e.into_inner());
        let labels = counts.entry(event).or_default();
        if let Some(count) = labels.get_mut(label) {
            *count += n;
        } else {
            let key = if labels.len() < LABELS_MAX { label } else { "other" };
            *labels.entry(key.to_owned()).or_default() += n;
        }
    }

    /// Sum of an event's counters over all labels.
    pub fn total(&self, event: &str) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(|e| e.into_inner());
        counts.get(event).map_or(0, |labels| labels.values().sum())
    }

    /// One label's counter.
    pub fn get(&self, event: &str, label: &str) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(|e| e.into_inner());
        counts.get(event).and_then(|labels| labels.get(label)).copied().unwrap_or(0)
    }

    /// All counters as (event, label, count), in order.
    pub fn rows(&self) -> Vec<(&'static str, String, u64)> {
        let counts = self.counts.lock().unwrap_or_else(|e| e.into_inner());
        counts.iter().flat_map(|(event, labels)| labels.iter().map(move |(label, n)| (*event, label.clone(), *n))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_bounded_and_nothing_is_lost() {
        let tally = Tally::new();
        for i in 0..1000 {
            tally.add(REFUSED, &format!("dsx/reason-{i}"), 1);
        }
        assert_eq!(tally.total(REFUSED), 1000);
        assert!(tally.rows().len() <= LABELS_MAX + 1);
        assert_eq!(tally.get(REFUSED, "dsx/reason-7"), 1);
    }
}
