//! The placement problem in plain numbers: slots of time, sites with what a load costs them, racks, caps, jobs.
//!
//! Words: a *slot* is one step of the horizon; a *chunk* is the number of GPUs that a job takes or leaves together (a
//! node); a *domain* is a set of racks inside which a job's GPUs see one another fast (NVLink, one leaf switch); a *cap*
//! bounds the power that may be added to a set of racks (PDU, row, site, cooling); the *tail* is what of a job lies
//! behind the horizon.
//! Objective, kWh: the rise of every site's total energy by the placed load, each rack's own surcharge, the tail at the
//! last slot's price, a small charge for each rack touched (fragmentation) and each hour waited, and [`UNPLACED_FACTOR`]
//! times its own energy for a job that finds no place. Constraints are hard; none is a weight.

use crate::time::Span;

/// A job without a place is charged this many times what it would use anywhere.
pub const UNPLACED_FACTOR: f64 = 10.0;
/// Charge for each rack that a job touches, as kWh per hour of the job.
pub const TOUCH_KW: f64 = 0.02;
/// Charge for each GPU-hour that a job waits, kWh.
pub const WAIT_KWH: f64 = 2e-4;

/// Total power of a site over the load that it carries: linear between samples, the end slopes beyond them.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub first_kw: f64,
    pub step_kw: f64,
    /// Total (IT, cooling, losses), kW, at `first_kw + i · step_kw`; at least two.
    pub total_kw: Vec<f64>,
}

impl Curve {
    /// No overhead but a constant factor.
    pub fn straight(factor: f64) -> Curve {
        Curve { first_kw: 0.0, step_kw: 1e3, total_kw: vec![0.0, 1e3 * factor] }
    }

    fn place(&self, load_kw: f64) -> usize {
        let last = self.total_kw.len().saturating_sub(2);
        (((load_kw - self.first_kw) / self.step_kw).floor().max(0.0) as usize).min(last)
    }

    /// Total power at a load, kW.
    pub fn at(&self, load_kw: f64) -> f64 {
        let i = self.place(load_kw);
        let x = load_kw - self.first_kw - self.step_kw * i as f64;
        self.total_kw[i] + x * self.slope_of(i)
    }

    /// d(total)/d(load) at a load.
    pub fn slope(&self, load_kw: f64) -> f64 {
        self.slope_of(self.place(load_kw))
    }

    fn slope_of(&self, i: usize) -> f64 {
        (self.total_kw[i + 1] - self.total_kw[i]) / self.step_kw
    }

    /// The highest load at which the total stays at or below `total_kw`; none where even the first sample is above.
    pub fn load_at(&self, total_kw: f64) -> Option<f64> {
        if self.total_kw[0] > total_kw {
            return None;
        }
        let i = (0..self.total_kw.len() - 1).find(|&i| self.total_kw[i + 1] > total_kw).unwrap_or(self.total_kw.len() - 2);
        let slope = self.slope_of(i).max(1e-6);
        Some(self.first_kw + self.step_kw * i as f64 + (total_kw - self.total_kw[i]) / slope)
    }
}

/// One site over the horizon.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteLoad {
    /// Load without the jobs to place, kW, per slot.
    pub base_kw: Vec<f64>,
    /// Per slot.
    pub curves: Vec<Curve>,
}

/// One rack over the horizon.
#[derive(Clone, Debug, PartialEq)]
pub struct Rack {
    pub site: usize,
    pub domain: usize,
    pub partition: usize,
    /// GPUs that no job holds, per slot.
    pub free: Vec<u32>,
    /// Surcharge of a kW here above the site's own price, kW per kW.
    pub extra: f64,
    /// Indices of the caps that it counts under.
    pub caps: Vec<usize>,
}

/// A bound on the power that may be added to the racks that name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Cap {
    /// What binds, in words (`rack bsc-hq-T01`, `pdu A`, `limit gpu`).
    pub name: String,
    /// Power that may be added, kW, per slot.
    pub room_kw: Vec<f64>,
}

/// A job to place.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub gpus: u32,
    /// GPUs of one chunk; `gpus` is a multiple of it.
    pub chunk: u32,
    pub kw_per_gpu: f64,
    /// Length in slots, at least 1.
    pub slots: usize,
    /// First and last slot in which it may start.
    pub earliest: usize,
    pub latest: usize,
    /// May run in this partition? By partition index.
    pub partitions: Vec<bool>,
    /// All GPUs inside one domain?
    pub one_domain: bool,
}

impl Ask {
    pub fn kw(&self) -> f64 {
        f64::from(self.gpus) * self.kw_per_gpu
    }
    pub fn chunks(&self) -> u32 {
        self.gpus / self.chunk.max(1)
    }
}

/// The whole problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    pub slot: Span,
    pub slots: usize,
    pub sites: Vec<SiteLoad>,
    pub racks: Vec<Rack>,
    pub caps: Vec<Cap>,
    pub asks: Vec<Ask>,
}

/// Where and when one job runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    pub start: usize,
    /// (rack, chunks), by rack index, ascending.
    pub racks: Vec<(usize, u32)>,
}

/// One answer: a place per job, or none.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    pub places: Vec<Option<Place>>,
    /// Objective, kWh.
    pub cost_kwh: f64,
}

impl Problem {
    pub fn hours(&self) -> f64 {
        self.slot.as_hours_f64()
    }

    /// What a job without a place is charged, kWh.
    pub fn unplaced_kwh(&self, ask: &Ask) -> f64 {
        UNPLACED_FACTOR * ask.kw() * ask.slots as f64 * self.hours() + 1.0
    }

    /// Price of the tail at a site, kW per kW.
    pub fn tail_price(&self, site: usize) -> f64 {
        let s = &self.sites[site];
        let k = self.slots - 1;
        s.curves[k].slope(s.base_kw[k])
    }

    /// Everything in the objective of one job that does not hang on what else runs, kWh: tail, surcharges, racks touched,
    /// waiting.
    pub fn own_kwh(&self, ask: &Ask, place: &Place) -> f64 {
        let h = self.hours();
        let all_h = ask.slots as f64 * h;
        let tail_h = (place.start + ask.slots).saturating_sub(self.slots) as f64 * h;
        let mut kwh = WAIT_KWH * f64::from(ask.gpus) * place.start.saturating_sub(ask.earliest) as f64 * h;
        for &(r, n) in &place.racks {
            let kw = f64::from(n * ask.chunk) * ask.kw_per_gpu;
            let rack = &self.racks[r];
            kwh += kw * (rack.extra * all_h + self.tail_price(rack.site) * tail_h) + TOUCH_KW * all_h;
        }
        kwh
    }
}
