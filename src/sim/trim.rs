//! Trim and respond (ASHRAE Guideline 36-2021, 5.1.14) on any site file: the rule that good building automation runs today.
//!
//! Words: each actuator *trims* one step towards its cheap side (warmer water, less flow) every period; a *request* is a limited
//! value nearer to its limit than two margins, and each request takes back several steps, up to a most. A limit on a setpoint itself
//! makes no request: it bounds that setpoint, with its margin.
//! Invariants: setpoints stay inside the site file's bounds; what is measured is all that it knows.

use crate::plant::identified::Row;
use crate::site::{Limit, SiteFile};

/// In steps of an actuator's own size: trimmed in a period, taken back by one request, taken back at most in a period.
const TRIM: f64 = 1.0;
const RESPOND: f64 = 3.0;
const RESPOND_MAX: f64 = 8.0;
/// Requests begin at this many margins from a limit.
const NEAR_MARGINS: f64 = 2.0;

/// The rule's setpoints.
#[derive(Clone, Debug)]
pub struct TrimRespond {
    setpoints: Vec<f64>,
}

impl TrimRespond {
    pub fn new(site: &SiteFile) -> TrimRespond {
        TrimRespond { setpoints: site.actuators.iter().map(|a| a.default).collect() }
    }

    /// One period (5 min) on what is measured now. `reference` gives the value of a limit's `above` role; `cheap_up` tells for each
    /// actuator whether more is cheaper (a temperature).
    pub fn step(&mut self, site: &SiteFile, row: &Row, reference: impl Fn(&str) -> f64, cheap_up: &[bool]) -> &[f64] {
        let base = |l: &Limit| l.above.as_deref().map_or(0.0, &reference);
        let asks = |(k, l): &(usize, &Limit)| l.actuator.is_none() && near(l, row.limited.get(*k).copied().unwrap_or(f64::NAN), base(l));
        let requests = site.limits.iter().enumerate().filter(asks).count();
        let steps = if requests == 0 { TRIM } else { -(RESPOND * requests as f64).min(RESPOND_MAX) };
        for (i, (a, s)) in site.actuators.iter().zip(&mut self.setpoints).enumerate() {
            let cheap = if cheap_up.get(i).copied().unwrap_or(false) { 1.0 } else { -1.0 };
            let (mut lo, mut hi) = (a.lo, a.hi);
            for l in site.limits.iter().filter(|l| l.actuator.as_deref() == Some(a.id.as_str()) && base(l).is_finite()) {
                lo = l.min.map_or(lo, |m| lo.max(base(l) + m + l.margin));
                hi = l.max.map_or(hi, |m| hi.min(base(l) + m - l.margin));
            }
            *s = (*s + cheap * steps * a.step).clamp(lo.min(a.hi), hi.max(lo).min(a.hi));
        }
        &self.setpoints
    }
}

/// An unknown value counts as near.
fn near(l: &Limit, value: f64, reference: f64) -> bool {
    let keep = NEAR_MARGINS * l.margin;
    !(l.max.is_none_or(|m| value < reference + m - keep) && l.min.is_none_or(|m| value > reference + m + keep))
}
