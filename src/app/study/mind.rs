//! What a hall's service knows and says in the study: sensors in, a placement board out, setpoints where it may move them.

use crate::app::brain::{Brain, tuning};
use crate::app::learner::PlantModel;
use crate::app::placement::Occupied;
use crate::control::place::solve::Effort;
use crate::control::place::{Board, JobAsk, Outlook, PriceTrack, RackView, rank};
use crate::control::{Bindings, ViewBuilder};
use crate::event::Tally;
use crate::forecast::Forecaster;
use crate::plant::identified;
use crate::plant::twin::Sensed;
use crate::reading::{Latest, PointId, Quality};
use crate::signal::weather::Weather;
use crate::sim::fleet::{Fleet, FleetJob, Word};
use crate::sim::hall::Hall;
use crate::sim::telemetry::Telemetry;
use crate::site::{Catalogue, SiteFile};
use crate::time::{Span, Timestamp};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

/// How often boards are made without moving setpoints, and sensors are read with them.
const BOARD_EVERY: Span = Span::minutes(15);
const BEAT_EVERY: Span = Span::minutes(1);
const SLOT: Span = Span::minutes(30);
const SLOTS: usize = 24;
const DAY: usize = (24 * 60 / 15) as usize;

/// One rack's points.
struct RackPoints {
    id: String,
    partition: String,
    rating_kw: f64,
    power: PointId,
    supply: Option<PointId>,
    back: Option<PointId>,
}

/// One hall's service.
pub struct Mind {
    site: Arc<SiteFile>,
    catalogue: Catalogue,
    bindings: Bindings,
    units: Vec<crate::units::Unit>,
    latest: Vec<Option<Latest>>,
    sensed: Vec<Sensed>,
    racks: Vec<RackPoints>,
    model: identified::IdentifiedModel,
    /// Plans and moves setpoints, where the arm lets it.
    brain: Option<Box<Brain>>,
    weather: VecDeque<Weather>,
    pub board: Option<Arc<Board>>,
    prices: PriceTrack,
    next: Timestamp,
}

impl Mind {
    pub fn new(hall: &Hall, site: Arc<SiteFile>, folder: &str, setpoints: bool) -> Result<Mind, String> {
        let names = Telemetry::new(hall, &site).map_err(|e| e.to_string())?;
        let catalogue = names.catalogue().clone();
        let shipped = SiteFile::load(&Path::new("sensors").join(folder).join("site.toml")).map_err(|e| e.to_string())?;
        let load = || identified::load(&Path::new("models").join(format!("{folder}-plant/1")), &shipped).map_err(|e| e.to_string());
        let brain = match setpoints {
            true => {
                let mut targets: Vec<String> = vec![];
                for l in &site.loops {
                    if !targets.contains(&l.load) {
                        targets.push(l.load.clone());
                    }
                }
                let forecaster =
                    Forecaster::load(Path::new("models"), &format!("{folder}-load/1"), Some(&targets)).map_err(|e| e.to_string())?;
                Some(Box::new(Brain::new(Arc::clone(&site), Some(PlantModel::Shipped(Box::new(load()?))), Some(forecaster))))
            }
            false => None,
        };
        let mut racks = vec![];
        for p in &site.partitions {
            for point in catalogue.select(&p.racks) {
                let of = |kind: &str| catalogue.iter().find(|q| q.object_id == point.object_id && q.point_type == kind).map(|q| q.id);
                racks.push(RackPoints {
                    id: point.object_id.clone(),
                    partition: p.id.clone(),
                    rating_kw: p.rack_rating_kw,
                    power: point.id,
                    supply: of("RackLiquidSupplyTemperature"),
                    back: of("RackLiquidReturnTemperature"),
                });
            }
        }
        Ok(Mind {
            bindings: Bindings::resolve(&site, &catalogue),
            units: catalogue.iter().map(crate::site::Point::unit).collect(),
            latest: vec![None; catalogue.len()],
            sensed: vec![],
            racks,
            model: load()?,
            brain,
            weather: VecDeque::new(),
            board: None,
            prices: PriceTrack::default(),
            next: hall.now(),
            catalogue,
            site,
        })
    }

    pub fn due(&self, now: Timestamp) -> bool {
        now >= self.next
    }

    /// Reads the sensors; moves setpoints where it may. True = a new board.
    pub fn look(&mut self, hall: &mut Hall, free: &[u32], tally: &Tally) -> bool {
        let now = hall.now();
        self.next = now + if self.brain.is_some() { BEAT_EVERY } else { BOARD_EVERY };
        let mut sensed = std::mem::take(&mut self.sensed);
        hall.sense(&mut sensed);
        for (i, s) in sensed.iter().enumerate().filter(|(_, s)| !s.dropped && s.quality == 1 && s.value.is_finite()) {
            self.latest[i] = Some(Latest { at: now, arrived: now, value: self.units[i].canonical(s.value), quality: Quality::GOOD });
        }
        self.sensed = sensed;
        let latest = &self.latest;
        let get = |p: PointId| latest.get(p.0 as usize).copied().flatten();
        if let Some(brain) = &mut self.brain {
            let told: BTreeMap<String, u32> = hall.rack_ids().iter().cloned().zip(free.iter().copied()).collect();
            brain.occupancy = Some(Occupied::told(now, told));
            let beat = brain.beat(now, &self.catalogue, &get, true, tally);
            for r in &beat.requests {
                hall.request(r.actuator, r.value);
            }
            if beat.ticked {
                self.board.clone_from(&brain.board);
            }
            return beat.ticked;
        }
        let view = ViewBuilder { site: Arc::clone(&self.site), bindings: &self.bindings, now, pace: Span::ZERO }
            .build(get, tuning(&self.site).steps);
        self.weather.push_back(view.weather);
        if self.weather.len() > DAY + 1 {
            self.weather.pop_front();
        }
        let per_slot = (SLOT.0 / BOARD_EVERY.0) as usize;
        let ahead = |k: usize| {
            // As yesterday at that time, shifted to now.
            let (Some(then), Some(later)) = (self.weather.front(), self.weather.get(k * per_slot)) else { return view.weather };
            if self.weather.len() <= DAY {
                return view.weather;
            }
            let dry_bulb_c = view.weather.dry_bulb_c + later.dry_bulb_c - then.dry_bulb_c;
            let wet_bulb_c = (view.weather.wet_bulb_c + later.wet_bulb_c - then.wet_bulb_c).min(dry_bulb_c);
            Weather { dry_bulb_c, wet_bulb_c, dew_point_c: view.weather.dew_point_c }
        };
        let loads: Vec<f64> = view.loads.iter().map(|l| l.p50_kw.first().copied().unwrap_or(f64::NAN)).collect();
        let outlook = Outlook {
            slot: SLOT,
            weather: (0..SLOTS).map(ahead).collect(),
            p90_kw: vec![loads.iter().map(|l| 1.05 * l).collect(); SLOTS],
            p50_kw: vec![loads; SLOTS],
            setpoints: view.in_force(),
            follow: false,
        };
        let value = |id: Option<PointId>| id.and_then(get).map_or(f64::NAN, |l| l.value);
        let racks: Vec<RackView> = (self.racks.iter().enumerate())
            .map(|(i, r)| RackView {
                id: r.id.clone(),
                partition: r.partition.clone(),
                power_kw: value(Some(r.power)),
                rating_kw: r.rating_kw,
                supply_c: value(r.supply),
                return_c: value(r.back),
                free_gpus: free.get(i).copied(),
            })
            .collect();
        self.board = Board::new(&view, &racks, &outlook, &self.model).map(|b| {
            let sigma = self.prices.observe(now, &b.slots, b.slot);
            Arc::new(b.doubted(sigma))
        });
        true
    }
}

/// Power that a busy GPU adds, kW: what the users of a partition would state.
fn gpu_kw(fleet: &Fleet, hall: usize) -> f64 {
    let g = &fleet.halls[hall].spec().rack_groups[0];
    0.9 * (g.rating_kw - g.idle_kw) / f64::from(g.gpus)
}

/// What the boards say of one waiting job.
pub fn word(minds: &[Mind], fleet: &Fleet, j: usize, waits: bool, soon: Span) -> Word {
    let FleetJob { job, halls } = &fleet.jobs()[j];
    let left = if waits { Span((job.slack.0 - (fleet.now() - job.submit).0).max(0)) } else { Span::ZERO };
    // Boards are minutes old: GPUs that were given since then are known at once.
    let boards: Vec<Arc<Board>> = (halls.iter())
        .filter_map(|&h| {
            let mut b = (**minds[h].board.as_ref()?).clone();
            let ids = fleet.halls[h].rack_ids();
            let mut under: Vec<f64> = vec![0.0; b.caps.len()];
            for r in &mut b.racks {
                if let Some(i) = ids.iter().position(|id| *id == r.id) {
                    // Power follows the GPUs that were given or came back since.
                    let now_free = fleet.free(h)[i];
                    let kw = gpu_kw(fleet, h) * (f64::from(r.free_gpus) - f64::from(now_free));
                    r.room_kw = r.room_kw.map(|room| room - kw);
                    r.power_kw += kw;
                    r.caps.iter().for_each(|c| under[*c] += kw);
                    r.free_gpus = now_free;
                }
            }
            for (cap, kw) in b.caps.iter_mut().zip(under) {
                cap.room_kw.iter_mut().for_each(|room| *room -= kw);
            }
            Some(Arc::new(b))
        })
        .collect();
    if boards.is_empty() {
        return Word::Nothing;
    }
    let own = fleet.would(j).map(|(hall, racks)| {
        let ids = fleet.halls[hall].rack_ids();
        (minds[hall].site.site.id.clone(), racks.into_iter().map(|(r, n)| (ids[r].clone(), n)).collect::<Vec<_>>())
    });
    // Where no place has room for the job's power and it may not wait, the place with the most room is the least evil.
    let shares: &[f64] = if waits { &[1.0] } else { &[1.0, 0.6, 0.3, 0.05] };
    let found = shares.iter().find_map(|share| {
        let ask = JobAsk {
            id: String::new(),
            gpus: job.gpus,
            gpus_per_node: Some(1),
            kw_per_gpu: Some(share * gpu_kw(fleet, halls[0])),
            duration: job.duration,
            earliest: Span::ZERO,
            latest: left,
            partitions: vec![],
            sites: vec![],
            job_class: None,
            one_domain: Some(false),
            own_place: own.clone(),
        };
        rank(&boards, &[ask], Effort { work: 100_000, rounds: 20 }).into_iter().next().and_then(|a| a.places.into_iter().next())
    });
    let Some(place) = found else { return if waits { Word::Wait } else { Word::Nothing } };
    let Some(hall) = halls.iter().copied().find(|h| minds[*h].site.site.id == place.site) else { return Word::Nothing };
    if place.start - boards[0].made_at > soon {
        return Word::Wait;
    }
    let ids = fleet.halls[hall].rack_ids();
    let racks = place.racks.iter().filter_map(|(id, n)| Some((ids.iter().position(|x| x == id)?, *n))).collect();
    Word::Start(hall, racks)
}
