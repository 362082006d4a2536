//! A stream of GPU jobs: arrival, size, length, power profile, slack.
//!
//! Words: a *class* is what a partition takes (training, inference); the *profile* is the job's GPU utilisation over its
//! life, a pure function of the job and the time since its start.

use crate::time::{Span, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

/// What kind of work a job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobClass {
    Training,
    Inference,
}

impl JobClass {
    pub fn text(self) -> &'static str {
        match self {
            JobClass::Training => "training",
            JobClass::Inference => "inference",
        }
    }
}

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: u32,
    pub class: JobClass,
    pub gpus: u32,
    pub submit: Timestamp,
    pub duration: Span,
    /// How long the start may wait without harm.
    pub slack: Span,
    /// Seed of the utilisation profile.
    pub profile_seed: u64,
}

/// A cheap, stateless hash to a number in 0..1 (SplitMix64 finaliser, Steele et al. 2014).
fn unit_hash(seed: u64, n: u64) -> f64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

impl Job {
    /// GPU utilisation, 0–1, at a time since the start. Training: a plateau with a ramp at its start and a dip at each
    /// checkpoint. Inference: follows the hour of the day, with bursts.
    pub fn utilisation(&self, since_start: Span, now: Timestamp) -> f64 {
        let s = since_start.as_secs_f64();
        match self.class {
            JobClass::Training => {
                let level = 0.82 + 0.14 * unit_hash(self.profile_seed, 0);
                let period_s = 1500.0 + 2100.0 * unit_hash(self.profile_seed, 1);
                let dip_s = 40.0 + 60.0 * unit_hash(self.profile_seed, 2);
                let ramp = (s / 180.0).min(1.0);
                if s % period_s < dip_s && s > period_s { 0.35 } else { level * (0.3 + 0.7 * ramp) }
            }
            JobClass::Inference => {
                let day = 0.5 + 0.5 * ((now.hour_of_day() - 14.0) / 24.0 * std::f64::consts::TAU).cos();
                let minute = (now.0 / 120_000) as u64;
                let burst = unit_hash(self.profile_seed, minute);
                let slow = unit_hash(self.profile_seed ^ 0xABCD, (now.0 / 1_800_000) as u64);
                (0.28 + 0.42 * day + 0.14 * (burst - 0.5) + 0.16 * (slow - 0.5)).clamp(0.05, 1.0)
            }
        }
    }
}

/// What a partition offers: the class it takes and its GPUs.
#[derive(Clone, Copy, Debug)]
pub struct Offer {
    pub class: JobClass,
    pub gpus: u32,
}

/// Jobs in the order of their submission.
#[derive(Clone, Debug, Default)]
pub struct JobStream {
    pub jobs: Vec<Job>,
}

impl JobStream {
    /// Jobs for one partition over `span` that keep 65–90 % of its GPUs busy, beginning full at `start`.
    pub fn generate(seed: u64, start: Timestamp, span: Span, offer: Offer) -> JobStream {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x6a6f_6273);
        let sizes: &[u32] = match offer.class {
            JobClass::Training => &[36, 72, 72, 144, 144, 288],
            JobClass::Inference => &[8, 8, 16, 32, 32, 64],
        };
        let mean_hours = match offer.class {
            JobClass::Training => 7.0,
            JobClass::Inference => 9.0,
        };
        let mut jobs = Vec::new();
        let mut push = |rng: &mut ChaCha8Rng, submit: Timestamp| {
            let gpus = sizes[rng.random_range(0..sizes.len())].min(offer.gpus);
            let hours = (-mean_hours * (1.0 - rng.random::<f64>()).ln()).clamp(0.4, 30.0);
            jobs.push(Job {
                id: jobs.len() as u32 + 1,
                class: offer.class,
                gpus,
                submit,
                duration: Span((hours * 3.6e6) as i64),
                slack: Span::minutes(rng.random_range(10..240)),
                profile_seed: rng.random(),
            });
            gpus
        };
        // The partition is at work when the run begins.
        let mut busy = 0;
        while f64::from(busy) < 0.72 * f64::from(offer.gpus) {
            busy += push(&mut rng, start);
        }
        // Poisson arrivals that renew about 78 % of the partition (more by day than by night).
        let mean_gpus = sizes.iter().map(|g| f64::from(*g)).sum::<f64>() / sizes.len() as f64;
        let per_hour = 0.78 * f64::from(offer.gpus) / (mean_gpus * mean_hours);
        let mut at = start;
        loop {
            let by_day = 1.0 + 0.45 * ((at.hour_of_day() - 13.0) / 24.0 * std::f64::consts::TAU).cos();
            let gap_h = -(1.0 - rng.random::<f64>()).ln() / (per_hour * by_day);
            at += Span((gap_h * 3.6e6) as i64 + 1);
            if at >= start + span {
                break;
            }
            push(&mut rng, at);
        }
        JobStream { jobs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_repeatable_ordered_and_about_full() {
        let start = Timestamp::parse("2026-07-14").unwrap();
        let offer = Offer { class: JobClass::Training, gpus: 1152 };
        let a = JobStream::generate(3, start, Span::hours(48), offer);
        assert_eq!(a.jobs, JobStream::generate(3, start, Span::hours(48), offer).jobs);
        assert!(a.jobs.windows(2).all(|w| w[0].submit <= w[1].submit));
        let asked: f64 = a.jobs.iter().map(|j| f64::from(j.gpus) * j.duration.as_hours_f64()).sum();
        let offered = 1152.0 * 48.0;
        assert!((0.5..1.6).contains(&(asked / offered)), "{}", asked / offered);
        for job in &a.jobs {
            for m in 0..200 {
                let u = job.utilisation(Span::minutes(m), start + Span::minutes(m));
                assert!((0.0..=1.0).contains(&u));
            }
        }
    }
}
