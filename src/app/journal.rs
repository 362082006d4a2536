//! What a site did lately: one row a control tick, and the energy account.
//!
//! Words: a *row* holds means over one tick; a *sample* is what one heartbeat saw; the *account* integrates meters over
//! the site's clock. Invariants: rows are bounded ([`Journal::keep_for`]); a gap longer than [`GAP`] is a gap: it adds no energy
//! and lowers the coverage; what is unknown is NaN, never zero.

use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, VecDeque};

/// Rows kept in memory at least: four days of five minutes. Older ones are gone; their readings are in the store.
pub const ROWS_MAX: usize = 1152;
/// Rows kept in memory at most, however short the tick.
const ROWS_MOST: usize = 12_000;
/// The longest time that the API shows at once.
const SHOWN: Span = Span::hours(168);
/// Longest time between two samples that still counts as measured.
pub const GAP: Span = Span::minutes(5);
/// Days kept in the account.
const DAYS_MAX: usize = 400;

/// One sample or one row. Vectors follow the site file; powers in kW, temperatures in °C.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// End of the tick that the row is the mean of.
    pub at: Timestamp,
    pub it_kw: f64,
    pub cooling_kw: f64,
    pub loss_kw: f64,
    pub gpus: f64,
    pub dry_bulb_c: f64,
    pub wet_bulb_c: f64,
    pub dew_point_c: f64,
    /// Supply, return, load of each loop.
    pub loops: Vec<[f64; 3]>,
    /// Loads that limits have of their own.
    pub own_loads_kw: Vec<f64>,
    /// Value, max, min of each limit.
    pub limits: Vec<[f64; 3]>,
    /// Asked, in force, measured of each actuator.
    pub actuators: Vec<[f64; 3]>,
    /// Power of each meter.
    pub meters_kw: Vec<f64>,
}

impl Row {
    /// Power of IT, cooling and losses. Losses that nothing measures count nothing, as in the account.
    pub fn total_kw(&self) -> f64 {
        self.it_kw + self.cooling_kw + or_nothing(self.loss_kw)
    }

    /// Every number of the row, in a fixed order.
    fn numbers(&mut self) -> impl Iterator<Item = &mut f64> {
        [
            &mut self.it_kw,
            &mut self.cooling_kw,
            &mut self.loss_kw,
            &mut self.gpus,
            &mut self.dry_bulb_c,
            &mut self.wet_bulb_c,
            &mut self.dew_point_c,
        ]
        .into_iter()
        .chain(self.loops.iter_mut().flatten())
        .chain(self.limits.iter_mut().flatten())
        .chain(self.actuators.iter_mut().flatten())
        .chain(self.meters_kw.iter_mut())
        .chain(self.own_loads_kw.iter_mut())
    }
}

/// Energy and GPU-hours of a period.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Energy {
    pub it_kwh: f64,
    pub cooling_kwh: f64,
    pub loss_kwh: f64,
    pub gpu_hours: f64,
    /// What of the energy fell into hours whose GPUs are known: it alone is shared out among them.
    pub gpu_kwh: f64,
    /// Hours that were measured.
    pub hours: f64,
    pub from: Timestamp,
    pub to: Timestamp,
}

impl Energy {
    pub fn total_kwh(&self) -> f64 {
        self.it_kwh + self.cooling_kwh + self.loss_kwh
    }
    pub fn kwh_per_gpu_hour(&self) -> Option<f64> {
        (self.gpu_hours > 0.0).then(|| self.gpu_kwh / self.gpu_hours)
    }
    pub fn pue(&self) -> Option<f64> {
        (self.it_kwh > 0.0).then(|| self.total_kwh() / self.it_kwh)
    }
    /// Share of the period that was measured, 0–1.
    pub fn coverage(&self) -> f64 {
        let whole = (self.to - self.from).as_hours_f64();
        if whole > 0.0 { (self.hours / whole).min(1.0) } else { 0.0 }
    }
}

fn or_nothing(v: f64) -> f64 {
    if v.is_finite() { v } else { 0.0 }
}

/// Rows and account of one site.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    pub rows: VecDeque<Row>,
    pub last: Option<Row>,
    /// Longest time between two samples of this site that counts as measured, where it is longer than [`GAP`].
    pub gap: Span,
    /// Rows kept, where they are more than [`ROWS_MAX`].
    keep: usize,
    sum: Option<(Row, Vec<u32>)>,
    pub total: Energy,
    pub days: BTreeMap<Timestamp, Energy>,
}

impl Journal {
    /// Keeps as many rows of a tick as the API may ask for.
    pub fn keep_for(&mut self, tick: Span) {
        self.keep = usize::try_from(SHOWN.0 / tick.0.max(1)).unwrap_or(ROWS_MOST).clamp(ROWS_MAX, ROWS_MOST);
    }

    /// Takes a sample: into the running mean, and into the account by the time since the one before.
    pub fn sample(&mut self, mut row: Row) {
        if let Some(last) = &self.last {
            let span = row.at - last.at;
            if span.0 > 0 && span <= GAP.max(self.gap) {
                self.integrate(&row, span);
            }
        }
        let day = row.at.day_start();
        for e in [Some(&mut self.total), self.days.get_mut(&day)].into_iter().flatten() {
            if e.from == Timestamp(0) {
                e.from = row.at;
            }
            e.to = e.to.max(row.at);
        }
        self.last = Some(row.clone());
        match &mut self.sum {
            None => {
                let counts = row.numbers().map(|v| u32::from(v.is_finite())).collect();
                row.numbers().for_each(|v| *v = if v.is_finite() { *v } else { 0.0 });
                self.sum = Some((row, counts));
            }
            Some((sum, counts)) => {
                sum.at = row.at;
                for ((s, n), v) in sum.numbers().zip(counts.iter_mut()).zip(row.numbers()) {
                    if v.is_finite() {
                        *s += *v;
                        *n += 1;
                    }
                }
            }
        }
    }

    fn integrate(&mut self, row: &Row, span: Span) {
        let h = span.as_hours_f64();
        let day = row.at.day_start();
        self.days.entry(day).or_insert(Energy { from: row.at, to: row.at, ..Energy::default() });
        while self.days.len() > DAYS_MAX {
            self.days.pop_first();
        }
        if !(row.it_kw.is_finite() && row.cooling_kw.is_finite()) {
            return;
        }
        for e in [Some(&mut self.total), self.days.get_mut(&day)].into_iter().flatten() {
            e.it_kwh += row.it_kw * h;
            e.cooling_kwh += row.cooling_kw * h;
            e.loss_kwh += or_nothing(row.loss_kw) * h;
            if row.gpus.is_finite() {
                e.gpu_hours += row.gpus * h;
                e.gpu_kwh += row.total_kw() * h;
            }
            e.hours += h;
        }
    }

    /// Closes the tick that ends at `at`: the mean of its samples becomes a row. `None` where there was no sample.
    pub fn close(&mut self, at: Timestamp) -> Option<Row> {
        let (mut row, counts) = self.sum.take()?;
        for (v, n) in row.numbers().zip(counts) {
            *v = if n > 0 { *v / f64::from(n) } else { f64::NAN };
        }
        row.at = at;
        while self.rows.len() >= self.keep.max(ROWS_MAX) {
            self.rows.pop_front();
        }
        self.rows.push_back(row.clone());
        Some(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(s: i64, it_kw: f64, gpus: f64) -> Row {
        Row { at: Timestamp(1_000_000_000_000) + Span::seconds(s), it_kw, cooling_kw: 10.0, loss_kw: f64::NAN, gpus, ..Row::default() }
    }

    #[test]
    fn energy_is_integrated_and_gaps_are_gaps() {
        let mut j = Journal::default();
        for s in 0..=360 {
            j.sample(row(10 * s, 100.0, 50.0));
        }
        assert!((j.total.it_kwh - 100.0).abs() < 1e-9 && (j.total.gpu_hours - 50.0).abs() < 1e-9);
        assert_eq!(j.total.kwh_per_gpu_hour().map(|v| (v * 1e9).round() / 1e9), Some(2.2));
        j.sample(row(3600 + 3600, 100.0, 50.0));
        assert!((j.total.it_kwh - 100.0).abs() < 1e-9, "an hour without samples adds nothing");
        assert!((j.total.coverage() - 0.5).abs() < 0.01);
    }

    #[test]
    fn energy_of_hours_whose_gpus_are_unknown_is_shared_out_among_none() {
        let mut j = Journal::default();
        for s in 0..=720 {
            j.sample(row(10 * s, 100.0, if s <= 360 { 50.0 } else { f64::NAN }));
        }
        assert!((j.total.total_kwh() - 220.0).abs() < 1e-9, "all of it is in the account");
        assert_eq!(j.total.kwh_per_gpu_hour().map(|v| (v * 1e9).round() / 1e9), Some(2.2));
    }

    #[test]
    fn a_week_of_rows_is_kept_but_not_any_number() {
        let mut j = Journal::default();
        for (tick, kept) in [(Span::minutes(15), ROWS_MAX), (Span::minutes(5), 2016), (Span::minutes(1), 10_080), (Span::ZERO, ROWS_MOST)] {
            j.keep_for(tick);
            assert_eq!(j.keep, kept);
        }
    }

    #[test]
    fn a_row_is_the_mean_of_what_was_known() {
        let mut j = Journal::default();
        j.sample(row(0, 100.0, 1.0));
        j.sample(row(10, f64::NAN, 3.0));
        let r = j.close(Timestamp(0)).unwrap();
        assert_eq!((r.it_kw, r.gpus), (100.0, 2.0));
        assert!(r.loss_kw.is_nan());
        assert!(j.close(Timestamp(0)).is_none());
    }
}
