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
        let parts = segments.into_iter().map(|s| q.take(s)).collect();
        (q, parts)
    }

    /// Finishes one segment and adds it. What happened to it is handed back; its bins are in the sum.
    pub fn take(&mut self, segment: Segment) -> Metered {
        let (m, u, stated) = segment.finish();
        self.bins.iter_mut().zip(&m.measured).for_each(|(sum, v)| *sum += v);
        let (mut estimated, mut estimated_ms, mut missing_ms) = (0.0, 0_u64, 0_u64);
        for (bin, p) in &m.patches {
            self.bins[*bin] += p.estimated;
            self.filled[*bin] |= p.estimated_ms > 0 || p.missing_ms > 0;
            estimated += p.estimated;
            estimated_ms += u64::from(p.estimated_ms);
            missing_ms += u64::from(p.missing_ms);
        }
        let covered_ms: u64 = m.covered_ms.iter().map(|v| u64::from(*v)).sum();
        let [covered_h, estimated_h, missing_h] = [covered_ms, estimated_ms, missing_ms].map(|ms| ms as f64 / 3.6e6);
        self.measured += m.measured.iter().sum::<f64>();
        self.estimated += estimated;
        self.covered_h += covered_h;
        self.estimated_h += estimated_h;
        self.missing_h += missing_h;
        self.window_h += covered_h + estimated_h + missing_h;
        self.u2_class += u * u;
        self.u2_gaps += m.gaps.iter().map(|g| g.u * g.u).sum::<f64>();
        self.class_known &= stated;
        m
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
