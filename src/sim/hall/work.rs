//! The scheduler of a hall: jobs onto racks, or measured heat onto racks; both give each rack's power.

use crate::plant::twin::TwinSpec;
use crate::signal::jobs::{Job, JobStream};
use crate::signal::load::LoadSeries;
use crate::signal::weather::WeatherSeries;
use crate::time::{Span, Timestamp};
use std::collections::VecDeque;
use std::sync::Arc;

/// What keeps the racks busy.
#[derive(Clone, Debug)]
pub enum Work {
    Jobs(Arc<JobStream>),
    /// Measured heat per group. Rule: rack `i` follows group `i mod groups`; a group's span from its lowest to its
    /// highest value becomes 12 % to 96 % of the rack's power above idle; its GPUs count as allocated in proportion.
    Measured(Arc<LoadSeries>),
}

/// One run's world.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub seed: u64,
    pub start: Timestamp,
    pub span: Span,
    pub weather: Arc<WeatherSeries>,
    pub work: Work,
}

impl Scenario {
    pub fn length(&self) -> Span {
        match &self.work {
            Work::Measured(load) => self.span.min(load.span()),
            Work::Jobs(_) => self.span,
        }
    }
}

/// Answers which racks a job should prefer, best first; `None` = no hint.
pub type Ranker<'a> = &'a mut dyn FnMut(&Job, Timestamp) -> Option<Vec<String>>;

/// How jobs find their racks.
pub enum Placement<'a> {
    /// In the order of the racks.
    FirstFit,
    /// By hints; a job without a hint goes by first fit.
    Ranked(Ranker<'a>),
}

/// A job at work.
#[derive(Clone, Debug)]
pub struct Running {
    pub job: usize,
    pub since: Timestamp,
    /// GPUs per rack.
    pub gpus: Vec<(usize, u32)>,
}

#[derive(Clone, Debug)]
pub(super) struct Floor {
    rack_ids: Arc<[String]>,
    rack_gpus: Arc<[u32]>,
    /// Idle power and power above idle of each rack, kW.
    rack_kw: Arc<[(f64, f64)]>,
    ranges_kw: Arc<[(f64, f64)]>,
    free: Vec<u32>,
    running: Vec<Running>,
    queue: VecDeque<usize>,
    next: usize,
    allocated: u32,
    utilisation_pct: f64,
}

impl Floor {
    pub fn new(spec: &TwinSpec, scenario: &Scenario) -> Floor {
        let mut rack_ids = Vec::new();
        let mut rack_gpus = Vec::new();
        let mut rack_kw = Vec::new();
        for g in &spec.rack_groups {
            for i in 0..g.count {
                rack_ids.push(format!("{}-{}{:02}", spec.site, g.prefix, i + 1));
                rack_gpus.push(g.gpus);
                rack_kw.push((g.idle_kw, g.rating_kw - g.idle_kw));
            }
        }
        let ranges_kw = match &scenario.work {
            Work::Measured(load) => load.ranges_kw(),
            Work::Jobs(_) => Vec::new(),
        };
        Floor {
            free: rack_gpus.clone(),
            rack_ids: rack_ids.into(),
            rack_gpus: rack_gpus.into(),
            rack_kw: rack_kw.into(),
            ranges_kw: ranges_kw.into(),
            running: Vec::new(),
            queue: VecDeque::new(),
            next: 0,
            allocated: 0,
            utilisation_pct: 0.0,
        }
    }

    pub fn rack_ids(&self) -> &[String] {
        &self.rack_ids
    }
    pub fn gpus_allocated(&self) -> u32 {
        self.allocated
    }
    pub fn utilisation_pct(&self) -> f64 {
        self.utilisation_pct
    }
    /// Somebody else schedules.
    pub fn set(&mut self, gpus: u32, utilisation_pct: f64) {
        (self.allocated, self.utilisation_pct) = (gpus, utilisation_pct);
    }

    /// Each rack's power at a chip temperature of 50 °C, kW.
    pub fn tick(&mut self, scenario: &Scenario, now: Timestamp, placement: &mut Placement, kw: &mut [f64]) {
        match &scenario.work {
            Work::Jobs(stream) => self.tick_jobs(stream, now, placement, kw),
            Work::Measured(load) => self.tick_measured(load, now - scenario.start, kw),
        }
    }

    fn tick_measured(&mut self, load: &LoadSeries, since_start: Span, kw: &mut [f64]) {
        let row = load.at(since_start);
        let (mut gpus, mut weighted) = (0.0, 0.0);
        for (rack, out) in kw.iter_mut().enumerate() {
            let group = rack % row.len().max(1);
            let (lo, hi) = self.ranges_kw[group];
            let level = 0.12 + 0.84 * ((row[group] - lo) / (hi - lo).max(1e-9)).clamp(0.0, 1.0);
            let (idle, above) = self.rack_kw[rack];
            *out = idle + above * level;
            gpus += f64::from(self.rack_gpus[rack]) * level;
            weighted += f64::from(self.rack_gpus[rack]);
        }
        self.allocated = gpus.round() as u32;
        // Measured heat says nothing of how busy an allocated GPU is: the work goes with the number of GPUs.
        self.utilisation_pct = if weighted > 0.0 { 100.0 } else { 0.0 };
    }

    fn tick_jobs(&mut self, stream: &JobStream, now: Timestamp, placement: &mut Placement, kw: &mut [f64]) {
        let mut i = 0;
        while i < self.running.len() {
            let r = &self.running[i];
            if now - r.since >= stream.jobs[r.job].duration {
                for &(rack, gpus) in &r.gpus {
                    self.free[rack] += gpus;
                    self.allocated -= gpus;
                }
                self.running.swap_remove(i);
            } else {
                i += 1;
            }
        }
        while stream.jobs.get(self.next).is_some_and(|j| j.submit <= now) {
            self.queue.push_back(self.next);
            self.next += 1;
        }
        // First come, first served: when a job starts depends on how many GPUs are free, never on where they are, so
        // GPU-hours are the same however jobs are placed.
        while let Some(&job) = self.queue.front() {
            let want = stream.jobs[job].gpus;
            if self.free.iter().sum::<u32>() < want {
                break;
            }
            self.queue.pop_front();
            let ranked = match placement {
                Placement::FirstFit => None,
                Placement::Ranked(rank) => rank(&stream.jobs[job], now),
            };
            self.start(job, want, ranked, now);
        }
        for (out, (idle, _)) in kw.iter_mut().zip(self.rack_kw.iter()) {
            *out = *idle;
        }
        let mut busy = 0.0;
        for r in &self.running {
            let job = &stream.jobs[r.job];
            // Power above idle goes with utilisation to the 0.9 (a busy GPU's first half costs more than its second).
            let u = job.utilisation(now - r.since, now);
            let share = u.powf(0.9);
            for &(rack, gpus) in &r.gpus {
                kw[rack] += self.rack_kw[rack].1 * share * f64::from(gpus) / f64::from(self.rack_gpus[rack]);
                busy += u * f64::from(gpus);
            }
        }
        self.utilisation_pct = if self.allocated > 0 { 100.0 * busy / f64::from(self.allocated) } else { 0.0 };
    }

    fn start(&mut self, job: usize, want: u32, ranked: Option<Vec<String>>, now: Timestamp) {
        let mut order: Vec<usize> = Vec::with_capacity(self.free.len());
        for id in ranked.into_iter().flatten() {
            if let Some(rack) = self.rack_ids.iter().position(|r| *r == id)
                && !order.contains(&rack)
            {
                order.push(rack);
            }
        }
        for rack in 0..self.free.len() {
            if !order.contains(&rack) {
                order.push(rack);
            }
        }
        let mut left = want;
        let mut gpus = Vec::new();
        for rack in order {
            let take = self.free[rack].min(left);
            if take > 0 {
                self.free[rack] -= take;
                left -= take;
                gpus.push((rack, take));
            }
            if left == 0 {
                break;
            }
        }
        self.allocated += want - left;
        self.running.push(Running { job, since: now, gpus });
    }
}
