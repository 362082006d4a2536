//! What the models see: which features, in which order. [`super::rows`] and [`super::features`] compute them.
//!
//! Words: *load* features are differences from the load at the origin, so that models learn changes and a plant that
//! grew is no surprise; *shared* features are the same for all horizons, *own* ones belong to one; an *input* is a series
//! beside the load that is known at the origin (weather), a *plan* one that is known ahead (jobs, weather forecast).

use super::ForecastError;
use super::calendar::Calendar;
use crate::time::Span;
use serde::{Deserialize, Serialize};

pub(super) const DAY: Span = Span::hours(24);
pub(super) const WEEK: Span = Span::hours(24 * 7);
/// Lags of the load, rows and spans.
const LAG_ROWS: [usize; 5] = [1, 2, 3, 4, 6];
const LAG_SPANS: [Span; 6] = [Span::hours(1), Span::hours(2), Span::hours(3), Span::hours(6), Span::hours(12), Span::hours(24)];
/// Windows of the rolling mean and of the mean step.
const WINDOWS: [Span; 3] = [Span::hours(1), Span::hours(6), Span::hours(24)];
/// Days that the mean day is made of.
pub(super) const PROFILE_DAYS: usize = 7;
/// Half of the window that a past day's value is smoothed over.
const AROUND: Span = Span::minutes(30);
const HARMONICS: usize = 3;

/// Which features a model has. Follows from the step, the horizons and how far back the load is known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    pub step: Span,
    /// Ascending whole numbers of steps.
    pub horizons: Vec<Span>,
    /// How far back features look, at most.
    pub max_lag: Span,
    pub calendar: Calendar,
    /// Names of the inputs that are known at the origin.
    pub inputs: Vec<String>,
    /// Names of the plans: their change from the origin to the horizon is a feature.
    pub plans: Vec<String>,
}

impl Spec {
    /// Checks the step and the horizons.
    pub fn new(step: Span, horizons: &[Span], max_lag: Span) -> Result<Spec, ForecastError> {
        let mut horizons: Vec<Span> = horizons.to_vec();
        horizons.sort_unstable();
        horizons.dedup();
        let whole = |h: &Span| h.0 > 0 && step.0 > 0 && h.0 % step.0 == 0;
        if horizons.is_empty() || !horizons.iter().all(whole) {
            let list = horizons.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            return Err(ForecastError::Step { step, horizons: list });
        }
        Ok(Spec { step, horizons, max_lag, calendar: Calendar::default(), inputs: Vec::new(), plans: Vec::new() })
    }

    /// Whole rows of a span; 0 where it is none.
    pub fn rows(&self, span: Span) -> usize {
        if self.step.0 > 0 && span.0 > 0 { (span.0 / self.step.0) as usize } else { 0 }
    }

    pub fn day_rows(&self) -> usize {
        self.rows(DAY)
    }

    /// Does the model know the time of day and the day before, and the week before?
    pub fn knows_day(&self) -> bool {
        self.max_lag >= DAY && DAY.0 % self.step.0.max(1) == 0
    }
    pub fn knows_week(&self) -> bool {
        self.max_lag >= WEEK && self.knows_day()
    }

    pub(super) fn lags(&self) -> Vec<usize> {
        let mut lags: Vec<usize> = LAG_ROWS.into_iter().chain(LAG_SPANS.iter().map(|s| self.rows(*s))).collect();
        lags.retain(|k| *k > 0 && self.step.0 * *k as i64 <= self.max_lag.0);
        lags.sort_unstable();
        lags.dedup();
        lags
    }

    pub(super) fn windows(&self) -> Vec<usize> {
        WINDOWS.iter().filter(|w| **w <= self.max_lag).map(|w| self.rows(*w)).filter(|n| *n > 1).collect()
    }

    /// Whole days to go back from a target `k` rows ahead so that it was known at the origin.
    pub(super) fn days_back(&self, k: usize) -> usize {
        1 + (k.max(1) - 1) / self.day_rows().max(1)
    }

    /// Rows to either side of a past day's value that its smoothed form is the mean of.
    pub(super) fn around_rows(&self) -> usize {
        self.rows(AROUND).max(1)
    }

    /// Rows before the origin at which the window of [`Spec::around_rows`] to either side of the target's time, `back` rows
    /// before it, ends; a window that would reach beyond the origin ends there.
    pub(super) fn around_ends(&self, back: usize, k: usize) -> usize {
        back.saturating_sub(k + self.around_rows())
    }

    /// Rows of history that all features together need.
    pub fn history_rows(&self) -> usize {
        let lags = self.lags().last().copied().unwrap_or(1).max(self.windows().last().copied().unwrap_or(1));
        let far = self.horizons.last().map_or(0, |h| self.rows(*h));
        let days = if self.knows_week() { PROFILE_DAYS.max(self.days_back(far)) } else { self.days_back(far) };
        lags.max(if self.knows_day() { days * self.day_rows() + self.around_rows() } else { 0 }) + 1
    }

    /// Names of the shared features, in order.
    pub fn shared_names(&self) -> Vec<String> {
        let span = |k: usize| Span(self.step.0 * k as i64).to_string().replace(' ', "");
        let mut names = vec!["level".to_owned()];
        names.extend(self.lags().iter().map(|k| format!("{}_ago", span(*k))));
        for w in self.windows() {
            names.extend([format!("mean_{}", span(w)), format!("rough_{}", span(w))]);
        }
        names.extend(self.inputs.iter().cloned());
        names
    }

    /// Names of a horizon's own features, in order.
    pub fn own_names(&self) -> Vec<String> {
        let mut names = Vec::new();
        if self.knows_day() {
            names.extend(["day", "day_change", "day_around"].map(String::from));
        }
        if self.knows_week() {
            names.extend(["week", "week_change", "week_around", "mean_day", "mean_day_change"].map(String::from));
        }
        if self.knows_day() {
            names.extend((1..=HARMONICS).flat_map(|q| [format!("sin{q}"), format!("cos{q}")]));
        }
        if self.knows_week() {
            names.extend(["mon", "tue", "wed", "thu", "fri", "sat"].map(String::from));
        }
        names.extend(self.plans.iter().map(|p| format!("{p}_change")));
        names
    }

    /// All names of a horizon's features.
    pub fn names(&self) -> Vec<String> {
        let mut names = self.shared_names();
        names.extend(self.own_names());
        names
    }

    /// Calendar features of one instant, in the order of [`Spec::own_names`].
    pub(super) fn calendar_row(&self, local: super::calendar::Local, out: &mut Vec<f64>) {
        if self.knows_day() {
            let day = std::f64::consts::TAU * local.hour / 24.0;
            for q in 1..=HARMONICS {
                out.extend([(q as f64 * day).sin(), (q as f64 * day).cos()]);
            }
        }
        if self.knows_week() {
            out.extend((0..6).map(|w| f64::from(u8::from(local.weekday == w))));
        }
    }
}
