//! Forecasts that know the jobs, on the twin: what the scheduler's queue is worth one hour ahead.
//!
//! What no forecast can know is what is submitted later and starts at once. So the gain hangs on how full the machine is: where there
//! is room, half of the ramps of the next hour are jobs that nobody has submitted yet; where a queue stands, all of them are known.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use tramuntana::forecast::jobs::{JobBook, JobPlan, KnownJob};
use tramuntana::forecast::{Plan, Series, Training, train};
use tramuntana::plant::twin::TwinSpec;
use tramuntana::signal::jobs::{Job, JobClass, JobStream, Offer};
use tramuntana::sim::excite;
use tramuntana::sim::hall::{Hall, Placement, Work};
use tramuntana::time::{Span, Timestamp};

const DAYS: i64 = 21;
const STEP: Span = Span::minutes(5);

/// The scheduler's log, by its own rule: first come, first served on free GPUs, at every step of the plant.
fn log(jobs: &[Job], gpus: u32, start: Timestamp, step: Span) -> JobBook {
    let known = |j: &Job| KnownJob {
        class: j.class,
        gpus: j.gpus,
        submitted: j.submit,
        started: None,
        ended: None,
        expected: j.duration,
        planned: None,
    };
    let mut jobs: Vec<KnownJob> = jobs.iter().map(known).collect();
    let (mut free, mut queue, mut next, mut running) = (gpus, VecDeque::new(), 0, Vec::<usize>::new());
    let mut now = start;
    while now < start + Span::hours(24 * DAYS) {
        running.retain(|&j| {
            let over = jobs[j].started.is_some_and(|s| now - s >= jobs[j].expected);
            if over {
                free += jobs[j].gpus;
                jobs[j].ended = Some(now);
            }
            !over
        });
        while jobs.get(next).is_some_and(|j| j.submitted <= now) {
            queue.push_back(next);
            next += 1;
        }
        while let Some(&j) = queue.front().filter(|j| jobs[**j].gpus <= free) {
            queue.pop_front();
            free -= jobs[j].gpus;
            jobs[j].started = Some(now);
            running.push(j);
        }
        now += step;
    }
    JobBook { gpus, jobs }
}

/// MAE of the rack power of bsc-hq one hour ahead, kW: without the jobs and with them. `more`: arrivals beyond the twin's own stream, a share.
fn errors(more: f64) -> (f64, f64) {
    let spec = Arc::new(TwinSpec::load(Path::new("sensors/bsc-hq/twin.toml")).unwrap());
    let start = Timestamp::parse("2026-06-01").unwrap();
    let mut scenario = excite::scenario(&spec, 9_101, start, Span::hours(24 * DAYS), -1.5);
    let Work::Jobs(own) = scenario.work.clone() else { panic!("the scenario has jobs") };
    let gpus = spec.gpus();
    let mut jobs = own.jobs.clone();
    if more > 0.0 {
        let offer = Offer { class: spec.job_class, gpus: (more * f64::from(gpus)) as u32 };
        jobs.extend(JobStream::generate(9_102, start, Span::hours(24 * DAYS), offer).jobs);
        jobs.sort_by_key(|j| j.submit);
        jobs.iter_mut().zip(1..).for_each(|(j, id)| j.id = id);
    }
    scenario.work = Work::Jobs(Arc::new(JobStream { jobs: jobs.clone() }));
    let mut hall = Hall::new(Arc::clone(&spec), scenario);
    let book = log(&jobs, gpus, start, hall.step_span());
    let (mut values, mut sum, mut n) = (Vec::new(), 0.0, 0);
    while !hall.done() {
        hall.advance(&mut Placement::FirstFit);
        (sum, n) = (sum + hall.truth().it_kw, n + 1);
        if hall.now().0 % STEP.0 == 0 {
            values.push(sum / f64::from(n));
            (sum, n) = (0.0, 0);
        }
    }
    let targets = vec![("rack_power".to_owned(), Series::new(start + STEP, STEP, values))];
    let told = JobPlan::all(&book, JobClass::Training, STEP);
    let plans: Vec<(&str, &dyn Plan)> = told.iter().map(|(name, p)| (*name, p as &dyn Plan)).collect();
    let horizons = [Span::hours(1)];
    let mae = |training: Training| train(&training).unwrap().score().iter().find(|r| r.chosen).unwrap().mae;
    let base = Training { horizons: &horizons, ..Training::new("jobs/1", &targets, None, 5) };
    let (without, with) = (mae(base.clone()), mae(Training { plans: &plans, ..base }));
    println!(
        "1 h ahead on the twin of bsc-hq, {DAYS} days, {:.0} % more arrivals: MAE {without:.1} kW without the jobs, {with:.1} kW with them ({:+.1} %)",
        100.0 * more,
        100.0 * (with / without - 1.0)
    );
    (without, with)
}

#[test]
fn knowing_the_jobs_lowers_the_error_where_the_machine_has_room() {
    let (without, with) = errors(0.0);
    // With all jobs submitted by then known to the second, the error would still be 60 % of that without.
    assert!(with < 0.7 * without, "{with} against {without}");
}

#[test]
fn knowing_the_jobs_lowers_it_more_where_a_queue_stands() {
    let (without, with) = errors(0.35);
    assert!(with < 0.6 * without, "{with} against {without}");
}
