//! What a run page shows: plain values, no behaviour beyond finding the extent of the time axis.

use crate::time::{Span, Timestamp};

/// A series as it is drawn, in order of time. NaN breaks the line.
pub type Trace = Vec<(Timestamp, f64)>;

/// One row of a forecast band, at the instant that it speaks of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    pub at: Timestamp,
    pub p10: f64,
    pub p50: f64,
    pub p90: f64,
}

/// The load of one loop and what was forecast for it, kW.
#[derive(Clone, Debug, Default)]
pub struct LoadTrace {
    pub name: String,
    pub truth_kw: Trace,
    /// Made `ahead` before the instants of its rows.
    pub forecast: Vec<Band>,
    pub ahead: Span,
}

/// One setpoint: what was asked, what the BMS put in force, what the loop did.
#[derive(Clone, Debug, Default)]
pub struct SetpointTrace {
    pub name: String,
    /// Canonical unit (`°C`, `kPa`, …); setpoints of one unit share a panel.
    pub unit: String,
    pub asked: Trace,
    pub in_force: Trace,
    pub measured: Trace,
}

/// A limit drawn across a setpoint panel.
#[derive(Clone, Debug, Default)]
pub struct LimitLine {
    pub name: String,
    pub unit: String,
    /// Constant (one row) or moving (a trace, such as dew point + 2 K).
    pub value: Trace,
}

/// All that the page of one site is made of.
#[derive(Clone, Debug, Default)]
pub struct RunReport {
    pub site_id: String,
    pub site_name: String,
    /// What the site file claims to be (`representative, not BSC's plant`).
    pub label: String,
    /// IANA name; UTC where unknown.
    pub time_zone: String,
    /// What was run (`two simulated days, seed 1, real Frontier load`).
    pub title: String,
    pub loads: Vec<LoadTrace>,
    pub setpoints: Vec<SetpointTrace>,
    pub limits: Vec<LimitLine>,
    pub cooling_baseline_kw: Trace,
    pub cooling_recommended_kw: Trace,
    pub wet_bulb_c: Trace,
    /// Baseline less recommended since the start, kWh: cooling alone, and everything (IT, cooling, losses).
    pub saved_cooling_kwh: Trace,
    pub saved_total_kwh: Trace,
    /// Rows of the page's table: a name and its cells, as [`super::table::rows`] gives them. The first row is the head.
    pub figures: Vec<Vec<String>>,
}

impl RunReport {
    /// First and last instant of all traces.
    pub(super) fn extent(&self) -> Option<(Timestamp, Timestamp)> {
        let mut traces: Vec<&Trace> =
            vec![&self.cooling_baseline_kw, &self.cooling_recommended_kw, &self.wet_bulb_c, &self.saved_cooling_kwh, &self.saved_total_kwh];
        traces.extend(self.loads.iter().map(|l| &l.truth_kw));
        traces.extend(self.setpoints.iter().flat_map(|s| [&s.asked, &s.in_force, &s.measured]));
        let from = traces.iter().filter_map(|t| t.first()).map(|r| r.0).min()?;
        let to = traces.iter().filter_map(|t| t.last()).map(|r| r.0).max()?;
        (to > from).then_some((from, to))
    }
}
