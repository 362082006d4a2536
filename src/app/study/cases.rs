//! The worlds of the study: plants, weather, caps and jobs.

use crate::plant::twin::TwinSpec;
use crate::signal::jobs::{JobStream, Offer};
use crate::signal::weather::WeatherSeries;
use crate::sim::fleet::{Cap, Fleet, FleetJob};
use crate::sim::hall::{Hall, Scenario, Work};
use crate::site::{CapKind, PowerCap, SiteFile};
use crate::time::{Span, Timestamp};
use std::path::Path;
use std::sync::Arc;

/// The last jobs are submitted so long before the end that all of them end (the longest takes 30 h).
const RUN_OUT: Span = Span::hours(40);

/// A world.
pub struct Case {
    pub name: &'static str,
    pub about: &'static str,
    /// Site folders, one a hall.
    pub folders: &'static [&'static str],
    /// Outdoor air of each hall, K above the synthetic July.
    pub offset_k: &'static [f64],
    /// May a job run at the other hall?
    pub movable: bool,
    /// Share of the GPUs that the stream keeps busy, of the usual one.
    pub share: f64,
    /// A cap on the first racks of the first hall: (racks, kW).
    pub cap: Option<(usize, f64)>,
    /// A distribution unit of the first hall that fouls after a day: (its id, share of its transfer that is lost).
    pub degraded: Option<(&'static str, f64)>,
}

const PLAIN: Case = Case {
    name: "",
    about: "",
    folders: &["bsc-hq", "torre-girona"],
    offset_k: &[0.0, 0.0],
    movable: false,
    share: 1.0,
    cap: None,
    degraded: None,
};

pub fn all() -> Vec<Case> {
    vec![
        Case { name: "healthy", about: "both shipped plants, each with its own jobs, July", ..PLAIN },
        Case {
            name: "degraded",
            about: "the headquarters alone, 60 % of the usual jobs; after a day CDU02 loses 85 % of its heat transfer",
            folders: &["bsc-hq"],
            offset_k: &[0.0],
            share: 0.6,
            degraded: Some(("CDU02", 0.85)),
            ..PLAIN
        },
        Case {
            name: "hot",
            about: "two plants like the headquarters, one in air 8 K warmer; 60 % of the usual jobs, which may run at either, at home where no hint speaks",
            folders: &["bsc-hq", "bsc-hq"],
            offset_k: &[0.0, 8.0],
            movable: true,
            share: 0.6,
            ..PLAIN
        },
        Case {
            name: "cap",
            about: "the headquarters alone; racks 1 to 8 hang on one row of 640 kW (their ratings sum to 1,056 kW)",
            folders: &["bsc-hq"],
            offset_k: &[0.0],
            share: 0.7,
            cap: Some((8, 640.0)),
            ..PLAIN
        },
        Case {
            name: "chiller",
            about: "two plants like the chapel in air 5 K cooler than July, 60 % of the usual jobs: a rack less at one lets its chiller stop",
            folders: &["torre-girona", "torre-girona"],
            offset_k: &[-5.0, -4.0],
            movable: true,
            share: 0.6,
            ..PLAIN
        },
    ]
}

/// One seed's world.
pub struct World {
    pub halls: Vec<Hall>,
    pub sites: Vec<Arc<SiteFile>>,
    pub jobs: Arc<Vec<FleetJob>>,
    pub caps: Vec<Cap>,
}

pub fn world(case: &Case, seed: u64, span: Span) -> Result<World, String> {
    let start = Timestamp::parse("2026-07-14").ok_or("no such date")?;
    let (mut halls, mut sites, mut jobs) = (vec![], vec![], vec![]);
    for (h, folder) in case.folders.iter().enumerate() {
        let dir = Path::new("sensors").join(folder);
        let spec = Arc::new(TwinSpec::load(&dir.join("twin.toml")).map_err(|e| format!("{e}; start it in the repository's folder"))?);
        let mut site = SiteFile::load(&dir.join("site.toml")).map_err(|e| e.to_string())?;
        if let Some((racks, max_kw)) = case.cap.filter(|_| h == 0) {
            let names = (1..=racks).map(|i| format!("{}-{}{i:02}", spec.site, spec.rack_groups[0].prefix)).collect();
            site.caps.push(PowerCap { id: "row".into(), kind: CapKind::Row, racks: names, max_kw: Some(max_kw), role: None });
        }
        if h > 0 && case.folders[..h].contains(folder) {
            site.site.id = format!("{}-{}", site.site.id, h + 1);
        }
        // A second plant of a kind has its own jobs, under its own seed.
        let own = seed + 1000 * h as u64;
        let offer = Offer { class: spec.job_class, gpus: (f64::from(spec.gpus()) * case.share) as u32 };
        let stream = JobStream::generate(own, start, Span(span.0 - RUN_OUT.0), offer);
        let others: Vec<usize> = if case.movable { (0..case.folders.len()).filter(|o| *o != h).collect() } else { vec![] };
        jobs.extend(stream.jobs.into_iter().map(|job| FleetJob { job, halls: std::iter::once(h).chain(others.iter().copied()).collect() }));
        let weather = Arc::new(WeatherSeries::synthetic(seed, start, span, case.offset_k[h]));
        halls.push(Hall::new(spec, Scenario { seed: own, start, span, weather, work: Work::Jobs(Arc::default()) }));
        sites.push(Arc::new(site));
    }
    jobs.sort_by_key(|j| (j.job.submit, j.halls[0], j.job.id));
    let caps = case.cap.map(|(racks, max_kw)| Cap { hall: 0, racks: (0..racks).collect(), max_kw });
    Ok(World { halls, sites, jobs: Arc::new(jobs), caps: caps.into_iter().collect() })
}

/// What befalls the plants at their time.
pub fn happen(case: &Case, fleet: &mut Fleet) {
    let Some((id, share)) = case.degraded else { return };
    let hall = &mut fleet.halls[0];
    if hall.now() - hall.start() != Span::hours(24) {
        return;
    }
    let mut spec = (**hall.spec()).clone();
    if let Some(cdu) = spec.cdus.iter_mut().find(|c| c.id == id) {
        cdu.fouling = share;
    }
    hall.respec(Arc::new(spec));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::fleet::{Order, Word};

    /// Where a job runs does not change when jobs start: who only says where makes no job late.
    #[test]
    fn jobs_of_one_hall_start_alike_wherever_they_run() {
        let all = all();
        let case = all.iter().find(|c| c.name == "healthy").expect("a case");
        let case = Case { folders: &case.folders[..1], offset_k: &[0.0], share: 1.3, ..PLAIN };
        let late = |order: Order| {
            let world = world(&case, 11, Span::hours(72)).expect("a world");
            let mut fleet = Fleet::new(world.halls, world.jobs, vec![], None, order);
            while !fleet.done() {
                fleet.advance(&mut |_, _, _| Word::Nothing);
            }
            (fleet.started, fleet.late)
        };
        let first = late(Order::FirstFit);
        assert!(!first.1.is_empty(), "the hall must be full at times for this to say anything");
        assert_eq!(first, late(Order::Random(3)));
        assert_eq!(first, late(Order::SlurmDefault));
    }
}
