//! What jobs foretell: GPUs that will be busy, from the jobs that are known at an origin.
//!
//! Lags cannot see a ramp coming; the queue can. At an origin are known: jobs that run, with their expected end; jobs that
//! wait, and hence (first come, first served, on the GPUs that become free) when they will start; planned starts. Not
//! known: what is submitted later, and how busy a job keeps its GPUs: that is learnt.
//! Invariant: [`JobBook::busy`] at an origin uses no submission, start or end after it.

use super::rows::Plan;
use crate::signal::jobs::JobClass;
use crate::time::{Span, Timestamp};

/// What is known of one job.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownJob {
    pub class: JobClass,
    pub gpus: u32,
    pub submitted: Timestamp,
    /// When it was started, and when it ended; `None` = not yet.
    pub started: Option<Timestamp>,
    pub ended: Option<Timestamp>,
    /// Length that its owner or its history announces.
    pub expected: Span,
    /// Start that is planned ahead (a reservation).
    pub planned: Option<Timestamp>,
}

/// The jobs of one pool of GPUs.
#[derive(Clone, Debug, Default)]
pub struct JobBook {
    pub gpus: u32,
    /// In the order of submission.
    pub jobs: Vec<KnownJob>,
}

impl JobBook {
    /// GPUs of a class that will be busy at `origin + ahead`, as known at `origin`.
    pub fn busy(&self, class: JobClass, origin: Timestamp, ahead: Span) -> f64 {
        let at = origin + ahead;
        let known = || self.jobs.iter().take_while(|j| j.submitted <= origin);
        let (mut busy, mut taken) = (0u32, 0u32);
        // Ends of the jobs at work: (when, GPUs). A job over its time is expected to end at any moment, not at once.
        let mut ends: Vec<(Timestamp, u32)> = Vec::new();
        let overtime = Span::minutes(10);
        for j in known() {
            let Some(start) = j.started.filter(|s| *s <= origin) else { continue };
            if j.ended.is_some_and(|e| e <= origin) {
                continue;
            }
            let end = (start + j.expected).max(if start + j.expected <= origin { origin + overtime } else { origin });
            taken += j.gpus;
            ends.push((end, j.gpus));
            if j.class == class && end > at {
                busy += j.gpus;
            }
        }
        if ahead.0 == 0 {
            return f64::from(busy);
        }
        ends.sort_unstable();
        let mut free = self.gpus.saturating_sub(taken);
        let (mut clock, mut next) = (origin, 0);
        for j in known().filter(|j| j.started.is_none_or(|s| s > origin)) {
            let earliest = j.planned.map_or(clock, |p| p.max(clock));
            while next < ends.len() && (free < j.gpus || ends[next].0 <= earliest) {
                clock = clock.max(ends[next].0);
                free += ends[next].1;
                next += 1;
            }
            let start = earliest.max(clock);
            if free < j.gpus || start > at {
                // First come, first served: who is behind waits too.
                break;
            }
            free -= j.gpus;
            let end = start + j.expected;
            let place = ends[next..].partition_point(|e| e.0 <= end) + next;
            ends.insert(place, (end, j.gpus));
            if j.class == class && end > at {
                busy += j.gpus;
            }
        }
        f64::from(busy)
    }
}

/// The change of busy GPUs of one class, as a plan.
pub struct BusyGpus<'a> {
    pub book: &'a JobBook,
    pub class: JobClass,
}

impl Plan for BusyGpus<'_> {
    fn change(&self, origin: Timestamp, ahead: Span) -> f64 {
        self.book.busy(self.class, origin, ahead) - self.book.busy(self.class, origin, Span::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_played_forward_and_the_future_is_not_known() {
        let at = |m: i64| Timestamp(m * 60_000);
        let job = |submit: i64, start: Option<i64>, minutes: i64, gpus: u32| KnownJob {
            class: JobClass::Training,
            gpus,
            submitted: at(submit),
            started: start.map(at),
            ended: None,
            expected: Span::minutes(minutes),
            planned: None,
        };
        let book = JobBook { gpus: 10, jobs: vec![job(0, Some(0), 60, 8), job(5, None, 30, 6), job(6, None, 30, 2), job(40, None, 30, 9)] };
        let busy = |origin: i64, ahead: i64| book.busy(JobClass::Training, at(origin), Span::minutes(ahead));
        assert_eq!(busy(10, 0), 8.0);
        // Six wait for the eight; two wait behind them although there is room.
        assert_eq!((busy(10, 30), busy(10, 51), busy(10, 90)), (8.0, 8.0, 0.0));
        // The job submitted at 40 is not known at 10; at 45 it waits for the six.
        assert_eq!((busy(45, 16), busy(45, 50)), (8.0, 9.0));
        assert_eq!(book.busy(JobClass::Inference, at(45), Span::minutes(16)), 0.0);
    }
}
