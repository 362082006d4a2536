//! What jobs foretell: GPUs that will be busy, from the jobs that are known at an origin.
//!
//! Lags cannot see a ramp coming; the queue can. At an origin are known: jobs that run, with their expected end; jobs that
//! wait, and hence (first come, first served, on the GPUs that become free) when they will start; planned starts. Not
//! known: what is submitted later, and how busy a job keeps its GPUs: that is learnt.
//! Invariant: what is told at an origin uses no submission, start or end after it.

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

/// What a job book tells of an instant, as expected at an origin; all in GPUs of one class unless it says otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// GPUs at work, mean over the step.
    Busy,
    /// Of these, GPUs of jobs that are younger than [`YOUNG`]: jobs ramp up, and a row in which one starts is no full row of it.
    Young,
    /// GPUs free, of the whole pool: room for jobs that nobody has submitted yet.
    Free,
    /// GPUs asked for by jobs that wait, of all classes.
    Waiting,
}

/// Age at which a job is taken to have ramped up.
pub const YOUNG: Span = Span::minutes(5);
/// A job over its time is expected to end at any moment, not at once.
const OVERTIME: Span = Span::minutes(10);

/// A job's expected stay: from when to when, on how many GPUs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stay {
    class: JobClass,
    gpus: u32,
    from: Timestamp,
    to: Timestamp,
}

impl JobBook {
    /// Stays that are expected at an origin, up to `until`, and the GPUs that still wait then. Jobs that ended before the origin are
    /// there too where they touch `since`, so that the row that ends at the origin can be counted as it was.
    fn played(&self, origin: Timestamp, since: Timestamp, until: Timestamp) -> (Vec<Stay>, u32) {
        let known = || self.jobs.iter().take_while(|j| j.submitted <= origin);
        let mut stays = Vec::new();
        let mut taken = 0u32;
        // Ends of the jobs at work: (when, GPUs).
        let mut ends: Vec<(Timestamp, u32)> = Vec::new();
        for j in known() {
            let Some(from) = j.started.filter(|s| *s <= origin) else { continue };
            let stay = |to| Stay { class: j.class, gpus: j.gpus, from, to };
            if let Some(end) = j.ended.filter(|e| *e <= origin) {
                if end > since {
                    stays.push(stay(end));
                }
                continue;
            }
            let end = if from + j.expected <= origin { origin + OVERTIME } else { from + j.expected };
            taken += j.gpus;
            ends.push((end, j.gpus));
            stays.push(stay(end));
        }
        ends.sort_unstable();
        let mut free = self.gpus.saturating_sub(taken);
        let (mut clock, mut next) = (origin, 0);
        let mut waiting = 0;
        for j in known().filter(|j| j.started.is_none_or(|s| s > origin)) {
            if waiting > 0 {
                // First come, first served: who is behind waits too.
                waiting += j.gpus;
                continue;
            }
            let earliest = j.planned.map_or(clock, |p| p.max(clock));
            while next < ends.len() && (free < j.gpus || ends[next].0 <= earliest) {
                clock = clock.max(ends[next].0);
                free += ends[next].1;
                next += 1;
            }
            let from = earliest.max(clock);
            if free < j.gpus || from > until {
                waiting += j.gpus;
                continue;
            }
            free -= j.gpus;
            let to = from + j.expected;
            let place = ends[next..].partition_point(|e| e.0 <= to) + next;
            ends.insert(place, (to, j.gpus));
            stays.push(Stay { class: j.class, gpus: j.gpus, from, to });
        }
        (stays, waiting)
    }

    /// GPUs of a class that will be busy at `origin + ahead`, as known at `origin`.
    pub fn busy(&self, class: JobClass, origin: Timestamp, ahead: Span) -> f64 {
        let at = origin + ahead;
        let (stays, _) = self.played(origin, origin, at);
        stays.iter().filter(|s| s.class == class && s.from <= at && s.to > at).map(|s| f64::from(s.gpus)).sum()
    }

    /// What is told of the step that ends at `origin + ahead`, as known at `origin`.
    pub fn tell(&self, what: Tells, class: JobClass, origin: Timestamp, ahead: Span, step: Span) -> f64 {
        let to = origin + ahead;
        let from = to - Span(step.0.max(1));
        let (stays, waiting) = self.played(origin, from.min(origin), to);
        // Mean over the step of the GPUs of stays, each from its start on and for `length` at most.
        let mean = |length: Option<Span>| -> f64 {
            let part = |s: &Stay| {
                let end = length.map_or(s.to, |l| s.to.min(s.from + l));
                f64::from(s.gpus) * ((end.min(to) - s.from.max(from)).0.max(0)) as f64 / (to - from).0 as f64
            };
            stays.iter().filter(|s| s.class == class).map(part).sum()
        };
        match what {
            Tells::Busy => mean(None),
            Tells::Young => mean(Some(YOUNG)),
            Tells::Free => {
                let at_work: f64 = stays.iter().filter(|s| s.from <= to && s.to > to).map(|s| f64::from(s.gpus)).sum();
                f64::from(self.gpus) - at_work
            }
            Tells::Waiting => f64::from(waiting),
        }
    }
}

/// What a job book tells, as a plan: of [`Tells::Busy`] and [`Tells::Young`] the change from the origin's row to the target's; of the
/// others the state that is expected at the target's time.
pub struct JobPlan<'a> {
    pub book: &'a JobBook,
    pub class: JobClass,
    /// Step of the series that is forecast.
    pub step: Span,
    pub what: Tells,
}

impl JobPlan<'_> {
    /// All that a book tells of a class, by the name of the feature.
    pub fn all(book: &JobBook, class: JobClass, step: Span) -> Vec<(&'static str, JobPlan<'_>)> {
        [("busy_gpus", Tells::Busy), ("young_gpus", Tells::Young), ("free_gpus", Tells::Free), ("waiting_gpus", Tells::Waiting)]
            .map(|(name, what)| (name, JobPlan { book, class, step, what }))
            .into()
    }
}

impl Plan for JobPlan<'_> {
    fn change(&self, origin: Timestamp, ahead: Span) -> f64 {
        let tell = |ahead| self.book.tell(self.what, self.class, origin, ahead, self.step);
        match self.what {
            Tells::Busy | Tells::Young => tell(ahead) - tell(Span::ZERO),
            Tells::Free | Tells::Waiting => tell(ahead),
        }
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
        let tell = |what, origin: i64, ahead: i64| book.tell(what, JobClass::Training, at(origin), Span::minutes(ahead), Span::minutes(10));
        // At 10: the eight go at 60, when the six and then the two begin; of the step from 55 to 65 half is theirs.
        assert_eq!((tell(Tells::Busy, 10, 45), tell(Tells::Busy, 10, 55)), (8.0, 8.0));
        assert_eq!((tell(Tells::Young, 10, 55), tell(Tells::Young, 10, 70)), (4.0, 0.0));
        assert_eq!((tell(Tells::Free, 10, 30), tell(Tells::Free, 10, 55)), (2.0, 2.0));
        assert_eq!((tell(Tells::Waiting, 10, 30), tell(Tells::Waiting, 45, 30)), (8.0, 9.0));
        // The row that ends at the origin is counted as it was: the eight began with it.
        assert_eq!((tell(Tells::Busy, 5, 0), tell(Tells::Young, 5, 0)), (4.0, 4.0));
    }
}
