//! Several halls under one scheduler: the same jobs on the same plants, placed in different ways.
//!
//! Words: an *order* is how a scheduler without hints picks racks; a *steward* may say where and whether a waiting job
//! starts; *throttled GPU-minutes* are those of racks under a power cap that is passed (power is cut to the cap, and the
//! work that it costs is taken off the useful GPU-hours) or with a chip above its limit.
//! Invariants: jobs start first come, first served; a job runs its whole length; every arm has the same jobs; halls move
//! in step.

use super::hall::{Account, Hall};
use crate::signal::jobs::{Job, JobClass};
use crate::time::{Span, Timestamp};
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::VecDeque;
use std::sync::Arc;

/// Chip temperature from which a GPU counts as throttled, °C (H100, PLANT.md).
const THROTTLE_C: f64 = 87.0;

/// Share of a hall's GPUs that must stay free besides a job's own for it to be held back.
const WAIT_FREE: f64 = 0.35;

/// How racks are picked where no steward speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The first racks with free GPUs, hall by hall.
    FirstFit,
    /// Slurm's select/cons_tres without weights: the one rack that fits best, else the shortest row of neighbours.
    SlurmDefault,
    Random(u64),
}

/// Racks with the GPUs that a job takes there.
pub type Racks = Vec<(usize, u32)>;

/// What a steward says of a waiting job.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    /// Start now at a hall, on these racks.
    Start(usize, Racks),
    /// Wait: it still may.
    Wait,
    /// Nothing: the order decides.
    Nothing,
}

/// A power cap on racks of one hall.
#[derive(Clone, Debug)]
pub struct Cap {
    pub hall: usize,
    pub racks: Vec<usize>,
    pub max_kw: f64,
}

/// A job with the halls that may take it.
#[derive(Clone, Debug)]
pub struct FleetJob {
    pub job: Job,
    pub halls: Vec<usize>,
}

/// Utilisation of serving over the minutes of an hour, relative to its mean: repeated each hour.
pub type Arrivals = Arc<Vec<f64>>;

/// What one hall went through.
#[derive(Clone, Debug, Default)]
pub struct HallSums {
    /// GPU-minutes with a chip above its limit.
    pub hot_gpu_minutes: f64,
    steps: f64,
    kw: f64,
    kw2: f64,
}

impl HallSums {
    /// Mean load and its standard deviation over time, kW.
    pub fn load_kw(&self) -> (f64, f64) {
        let n = self.steps.max(1.0);
        let mean = self.kw / n;
        (mean, (self.kw2 / n - mean * mean).max(0.0).sqrt())
    }
}

#[derive(Clone, Debug)]
struct Running {
    job: usize,
    since: Timestamp,
    hall: usize,
    racks: Racks,
}

/// Halls, queue and what was counted.
pub struct Fleet {
    pub halls: Vec<Hall>,
    jobs: Arc<Vec<FleetJob>>,
    caps: Vec<Cap>,
    arrivals: Option<Arrivals>,
    order: Order,
    rng: ChaCha8Rng,
    free: Vec<Vec<u32>>,
    rack_gpus: Vec<Vec<u32>>,
    /// Idle power and power above it, kW.
    rack_kw: Vec<Vec<(f64, f64)>>,
    kw: Vec<Vec<f64>>,
    running: Vec<Running>,
    queue: VecDeque<usize>,
    next: usize,
    pub throttled_gpu_minutes: f64,
    /// One a hall.
    pub sums: Vec<HallSums>,
    pub lost_gpu_hours: f64,
    /// Jobs that started later than their slack allows, as they started.
    pub late: Vec<usize>,
    pub started: u32,
    pub waited_gpu_hours: f64,
}

impl Fleet {
    pub fn new(halls: Vec<Hall>, jobs: Arc<Vec<FleetJob>>, caps: Vec<Cap>, arrivals: Option<Arrivals>, order: Order) -> Fleet {
        let racks = |f: &dyn Fn(&crate::plant::twin::RackGroup) -> (u32, (f64, f64))| -> Vec<Vec<(u32, (f64, f64))>> {
            let of = |h: &Hall| h.spec().rack_groups.iter().flat_map(|g| std::iter::repeat_n(f(g), g.count as usize)).collect();
            halls.iter().map(of).collect()
        };
        let all = racks(&|g| (g.gpus, (g.idle_kw, g.rating_kw - g.idle_kw)));
        let rack_gpus: Vec<Vec<u32>> = all.iter().map(|h| h.iter().map(|r| r.0).collect()).collect();
        let seed = if let Order::Random(s) = order { s } else { 0 };
        Fleet {
            rack_kw: all.iter().map(|h| h.iter().map(|r| r.1).collect()).collect(),
            kw: all.iter().map(|h| vec![0.0; h.len()]).collect(),
            free: rack_gpus.clone(),
            sums: vec![HallSums::default(); rack_gpus.len()],
            rack_gpus,
            halls,
            jobs,
            caps,
            arrivals,
            order,
            rng: ChaCha8Rng::seed_from_u64(seed),
            running: vec![],
            queue: VecDeque::new(),
            next: 0,
            throttled_gpu_minutes: 0.0,
            lost_gpu_hours: 0.0,
            late: vec![],
            started: 0,
            waited_gpu_hours: 0.0,
        }
    }

    pub fn now(&self) -> Timestamp {
        self.halls[0].now()
    }
    pub fn done(&self) -> bool {
        self.halls[0].done()
    }
    pub fn jobs(&self) -> &[FleetJob] {
        &self.jobs
    }
    /// Jobs that wait, in their order.
    pub fn waiting(&self) -> impl Iterator<Item = usize> + '_ {
        self.queue.iter().copied()
    }
    /// Free GPUs per rack of a hall.
    pub fn free(&self, hall: usize) -> &[u32] {
        &self.free[hall]
    }
    pub fn unfinished(&self) -> usize {
        self.running.len() + self.queue.len() + self.jobs.len() - self.next
    }
    pub fn accounts(&self) -> Vec<&Account> {
        self.halls.iter().map(Hall::account).collect()
    }
    /// Energy over useful GPU-hours, kWh.
    pub fn kwh_per_gpu_hour(&self) -> f64 {
        let (kwh, hours) = self.accounts().iter().fold((0.0, 0.0), |(k, h), a| (k + a.total_kwh(), h + a.gpu_hours));
        kwh / (hours - self.lost_gpu_hours)
    }

    /// One step of every hall. `steward` is asked for each waiting job that could start, and told whether it may wait.
    pub fn advance(&mut self, steward: &mut dyn FnMut(&Fleet, usize, bool) -> Word) {
        let now = self.now();
        let jobs = Arc::clone(&self.jobs);
        for i in (0..self.running.len()).rev() {
            if now - self.running[i].since >= jobs[self.running[i].job].job.duration {
                let r = self.running.swap_remove(i);
                for (rack, gpus) in r.racks {
                    self.free[r.hall][rack] += gpus;
                }
            }
        }
        while jobs.get(self.next).is_some_and(|j| j.job.submit <= now) {
            self.queue.push_back(self.next);
            self.next += 1;
        }
        // First come, first served: nobody overtakes a job that finds no room at its halls. A job that the steward holds back
        // keeps its room: who comes after it may only take what is left, and so it starts when its slack ends, at the latest.
        let mut i = 0;
        let mut kept = vec![0_u32; self.halls.len()];
        while let Some(&j) = self.queue.get(i) {
            let job = &jobs[j];
            let room = |h: usize| self.free[h].iter().sum::<u32>().saturating_sub(kept[h]);
            let Some(&first) = job.halls.iter().find(|h| room(**h) >= job.job.gpus) else {
                break;
            };
            let may_wait = self.may_wait(job, first, kept[first]);
            let (hall, racks) = match steward(self, j, may_wait) {
                Word::Wait if may_wait => {
                    kept[first] += job.job.gpus;
                    i += 1;
                    continue;
                }
                Word::Start(hall, _) if room(hall) < job.job.gpus => self.take_pick(job, first),
                Word::Start(hall, racks) if self.holds(hall, &racks, job.job.gpus) => (hall, racks),
                _ => self.take_pick(job, first),
            };
            self.queue.remove(i);
            self.start(j, hall, racks, now);
        }
        self.step(now);
    }

    /// Within its slack, and only while its hall stays so empty that nobody waits for it.
    fn may_wait(&self, job: &FleetJob, hall: usize, kept: u32) -> bool {
        let total: u32 = self.rack_gpus[hall].iter().sum();
        let free = self.free[hall].iter().sum::<u32>().saturating_sub(kept);
        self.now() - job.job.submit < job.job.slack && f64::from(free) >= f64::from(job.job.gpus) + WAIT_FREE * f64::from(total)
    }

    fn holds(&self, hall: usize, racks: &Racks, gpus: u32) -> bool {
        racks.iter().map(|r| r.1).sum::<u32>() == gpus && racks.iter().all(|&(r, n)| self.free[hall].get(r).is_some_and(|f| *f >= n))
    }

    fn start(&mut self, j: usize, hall: usize, racks: Racks, now: Timestamp) {
        for &(r, n) in &racks {
            self.free[hall][r] -= n;
        }
        let job = &self.jobs[j].job;
        let waited = now - job.submit;
        if waited > job.slack {
            self.late.push(j);
        }
        self.started += 1;
        self.waited_gpu_hours += f64::from(job.gpus) * waited.as_hours_f64();
        self.running.push(Running { job: j, since: now, hall, racks });
    }

    /// Where the order would start a job now, if no steward spoke.
    pub fn would(&self, j: usize) -> Option<(usize, Racks)> {
        let job = &self.jobs[j];
        let first = *job.halls.iter().find(|h| self.free[**h].iter().sum::<u32>() >= job.job.gpus)?;
        Some(self.pick(job, first, &mut self.rng.clone()))
    }

    fn take_pick(&mut self, job: &FleetJob, first: usize) -> (usize, Racks) {
        let mut rng = self.rng.clone();
        let picked = self.pick(job, first, &mut rng);
        self.rng = rng;
        picked
    }

    /// The order's racks; `first` is the first of the job's halls that has room.
    fn pick(&self, job: &FleetJob, first: usize, rng: &mut ChaCha8Rng) -> (usize, Racks) {
        let want = job.job.gpus;
        let hall = match self.order {
            Order::Random(_) => {
                let able: Vec<usize> = job.halls.iter().copied().filter(|h| self.free[*h].iter().sum::<u32>() >= want).collect();
                able[rng.random_range(0..able.len())]
            }
            _ => first,
        };
        let free = &self.free[hall];
        let mut order: Vec<usize> = (0..free.len()).collect();
        match self.order {
            Order::FirstFit => {}
            Order::Random(_) => order.shuffle(rng),
            Order::SlurmDefault => {
                if let Some(one) = order.iter().copied().filter(|r| free[*r] >= want).min_by_key(|r| (free[*r], *r)) {
                    order = vec![one];
                } else {
                    // The row of neighbours with the fewest racks, then the least left over.
                    let row = |from: usize| {
                        let mut sum = 0;
                        let to = (from..free.len()).find(|r| {
                            sum += free[*r];
                            sum >= want
                        })?;
                        Some((to - from, sum - want, from, to))
                    };
                    if let Some((_, _, from, to)) = (0..free.len()).filter(|r| free[*r] > 0).filter_map(row).min() {
                        order = (from..=to).collect();
                    }
                }
            }
        }
        let (mut left, mut racks) = (want, vec![]);
        for r in order {
            let n = free[r].min(left);
            if n > 0 {
                racks.push((r, n));
                left -= n;
            }
        }
        (hall, racks)
    }

    fn step(&mut self, now: Timestamp) {
        let jobs = Arc::clone(&self.jobs);
        let hours = self.halls[0].step_span().as_hours_f64();
        for (kw, idle) in self.kw.iter_mut().zip(&self.rack_kw) {
            kw.iter_mut().zip(idle).for_each(|(k, i)| *k = i.0);
        }
        let mut gpus = vec![0_u32; self.halls.len()];
        let mut busy = vec![0.0; self.halls.len()];
        for r in &self.running {
            let job = &jobs[r.job].job;
            let u = self.utilisation(job, now - r.since, now);
            for &(rack, n) in &r.racks {
                self.kw[r.hall][rack] +=
                    self.rack_kw[r.hall][rack].1 * u.powf(0.9) * f64::from(n) / f64::from(self.rack_gpus[r.hall][rack]);
                busy[r.hall] += u * f64::from(n);
                gpus[r.hall] += n;
            }
        }
        for cap in &self.caps {
            let own = &mut self.kw[cap.hall];
            let idle: f64 = cap.racks.iter().map(|r| self.rack_kw[cap.hall][*r].0).sum();
            let sum: f64 = cap.racks.iter().map(|r| own[*r]).sum();
            if sum > cap.max_kw {
                let keep = ((cap.max_kw - idle) / (sum - idle).max(1e-9)).clamp(0.0, 1.0);
                for &r in &cap.racks {
                    let (idle, _) = self.rack_kw[cap.hall][r];
                    own[r] = idle + (own[r] - idle) * keep;
                    let held = f64::from(self.rack_gpus[cap.hall][r] - self.free[cap.hall][r]);
                    self.throttled_gpu_minutes += held * hours * 60.0;
                    // Near its limit a GPU loses about half as much speed as power.
                    self.lost_gpu_hours += held * hours * 0.5 * (1.0 - keep);
                }
            }
        }
        for (h, hall) in self.halls.iter_mut().enumerate() {
            let pct = if gpus[h] > 0 { 100.0 * busy[h] / f64::from(gpus[h]) } else { 0.0 };
            let kw = self.kw[h].iter().sum::<f64>();
            let sums = &mut self.sums[h];
            (sums.steps, sums.kw, sums.kw2) = (sums.steps + 1.0, sums.kw + kw, sums.kw2 + kw * kw);
            hall.advance_given(&self.kw[h], gpus[h], pct);
            for (r, c) in hall.truth().rack_hottest_c.iter().enumerate() {
                if *c > THROTTLE_C {
                    let minutes = f64::from(self.rack_gpus[h][r] - self.free[h][r]) * hours * 60.0;
                    self.throttled_gpu_minutes += minutes;
                    self.sums[h].hot_gpu_minutes += minutes;
                }
            }
        }
    }

    fn utilisation(&self, job: &Job, since: Span, now: Timestamp) -> f64 {
        let u = job.utilisation(since, now);
        match (&self.arrivals, job.class) {
            (Some(a), JobClass::Inference) if !a.is_empty() => {
                (u * a[(now.0.rem_euclid(3_600_000) * a.len() as i64 / 3_600_000) as usize]).clamp(0.05, 1.0)
            }
            _ => u,
        }
    }
}
