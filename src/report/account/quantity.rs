//! A sum of meters with what stands behind it.

use super::bins::{BIN, Grid};
use super::segment::{Metered, Segment};

/// An amount over a period (kWh, m³, GPU-hours): value, by bin, how much of it was measured, how sure it is.
#[derive(Clone, Debug)]
pub struct Quantity {
    pub grid: Grid,
    /// Measured and estimated together.
    pub bins: Vec<f64>,
    /// Bins of which a part was estimated or is missing.
    pub filled: Vec<bool>,
    pub measured: f64,
    pub estimated: f64,
    /// Hours of all its parts together: under readings, estimated, missing; and what there are.
    pub covered_h: f64,
    pub estimated_h: f64,
    pub missing_h: f64,
    pub window_h: f64,
    /// Sum of squared standard uncertainties: of the devices' classes, of the gaps.
    pub u2_class: f64,
    pub u2_gaps: f64,
    /// Every device states its class.
    pub class_known: bool,
    pub meters: Vec<String>,
}

impl Quantity {
    pub fn none(grid: Grid) -> Quantity {
        Quantity {
            grid,
            bins: grid.zeros(),
            filled: vec![false; grid.len()],
            measured: 0.0,
            estimated: 0.0,
            covered_h: 0.0,
            estimated_h: 0.0,
            missing_h: 0.0,
            window_h: 0.0,
            u2_class: 0.0,
            u2_gaps: 0.0,
            class_known: true,
            meters: vec![],
        }
    }

    /// The segments of one meter. What happened to them is handed back beside the sum.
    pub fn of(grid: Grid, meter: &str, segments: Vec<Segment>) -> (Quantity, Vec<Metered>) {
        let mut q = Quantity::none(grid);
        q.meters.push(meter.to_owned());
        let mut parts = Vec::new();
        for s in segments {
            let (m, u, stated) = s.finish();
            for (sum, (a, b)) in q.bins.iter_mut().zip(m.measured.iter().zip(&m.estimated)) {
                *sum += a + b;
            }
            for (f, (e, m)) in q.filled.iter_mut().zip(m.estimated_ms.iter().zip(&m.missing_ms)) {
                *f |= *e > 0 || *m > 0;
            }
            let hours = |ms: &[u32]| ms.iter().map(|v| f64::from(*v)).sum::<f64>() / 3.6e6;
            q.measured += m.measured.iter().sum::<f64>();
            q.estimated += m.estimated.iter().sum::<f64>();
            q.covered_h += hours(&m.covered_ms);
            q.estimated_h += hours(&m.estimated_ms);
            q.missing_h += hours(&m.missing_ms);
            q.u2_class += u * u;
            q.u2_gaps += m.gaps.iter().map(|g| g.u * g.u).sum::<f64>();
            q.class_known &= stated;
            parts.push(m);
        }
        q.window_h = q.covered_h + q.estimated_h + q.missing_h;
        (q, parts)
    }

    pub fn add(&mut self, other: &Quantity) {
        if self.grid == other.grid {
            self.bins.iter_mut().zip(&other.bins).for_each(|(a, b)| *a += b);
            self.filled.iter_mut().zip(&other.filled).for_each(|(a, b)| *a |= b);
        }
        self.measured += other.measured;
        self.estimated += other.estimated;
        self.covered_h += other.covered_h;
        self.estimated_h += other.estimated_h;
        self.missing_h += other.missing_h;
        self.window_h += other.window_h;
        self.u2_class += other.u2_class;
        self.u2_gaps += other.u2_gaps;
        self.class_known &= other.class_known;
        self.meters.extend(other.meters.iter().cloned());
    }

    pub fn sum<'a>(grid: Grid, parts: impl IntoIterator<Item = &'a Quantity>) -> Quantity {
        let mut all = Quantity::none(grid);
        parts.into_iter().for_each(|p| all.add(p));
        all
    }

    pub fn is_none(&self) -> bool {
        self.meters.is_empty()
    }
    pub fn value(&self) -> f64 {
        self.measured + self.estimated
    }
    /// Share of the period's time that good readings span.
    pub fn coverage(&self) -> f64 {
        if self.window_h > 0.0 { self.covered_h / self.window_h } else { 0.0 }
    }
    pub fn missing_share(&self) -> f64 {
        if self.window_h > 0.0 { self.missing_h / self.window_h } else { 1.0 }
    }
    /// Share of the value that a rule filled in.
    pub fn estimated_share(&self) -> f64 {
        if self.value().abs() > 0.0 { self.estimated / self.value() } else { 0.0 }
    }
    /// Standard uncertainty; none where a device's class is not stated.
    pub fn u(&self) -> Option<f64> {
        self.class_known.then(|| (self.u2_class + self.u2_gaps).sqrt())
    }

    /// By hour from the period's first one on: the sum, NaN where a part of it was not measured.
    pub fn hours(&self) -> Vec<f64> {
        let n = (3_600_000 / BIN.0) as usize;
        let hour = |(b, f): (&[f64], &[bool])| if f.iter().any(|f| *f) || self.is_none() { f64::NAN } else { b.iter().sum() };
        self.bins.chunks_exact(n).zip(self.filled.chunks_exact(n)).map(hour).collect()
    }

    /// Mean rate by bin, in units an hour.
    pub fn rates(&self) -> impl Iterator<Item = f64> + '_ {
        self.bins.iter().map(|v| v / BIN.as_hours_f64())
    }
}
