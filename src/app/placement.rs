//! Placement between the brain and the API: outlooks for the board, hints and ranks for the wire, what schedulers tell.
//!
//! Invariants: a rank works on boards taken out from under their locks, so that no tick waits for it; a site without a
//! fresh board is left out and named; what a scheduler told is believed for [`BELIEVED`] on the site's clock.

use super::brain::Brain;
use super::site_task::{SiteShared, host_now};
use super::views::known;
use crate::api::model::*;
use crate::api::{ExtenderVerb, Fault};
use crate::control::place::solve::Effort;
use crate::control::place::{Board, BoardRack, JobAsk, Outlook, rank, shed};
use crate::control::{self, View};
use crate::scheduler::kubernetes as k8s;
use crate::site::Partition;
use crate::time::{Span, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// How far, and in which steps, placement looks ahead.
const SLOT: Span = Span::minutes(30);
const SLOTS: usize = 24;
/// How long a scheduler's word on free GPUs holds.
const BELIEVED: Span = Span::minutes(10);
/// From then on a site's clock counts as standing: three heartbeats of a building management system.
const STANDS: Span = Span::seconds(30);
/// Work of one rank: about a tenth of a second on one core.
const EFFORT: Effort = Effort { work: 6_000_000, rounds: 2_000 };

/// What a scheduler told, and when on the site's clock.
#[derive(Clone, Debug)]
pub struct Occupied {
    at: Timestamp,
    free: BTreeMap<String, u32>,
    jobs: Vec<JobOccupancy>,
}

impl Occupied {
    /// Free GPUs by node.
    pub fn told(at: Timestamp, free: BTreeMap<String, u32>) -> Occupied {
        Occupied { at, free, jobs: vec![] }
    }

    /// Does it still hold?
    pub fn holds(&self, now: Option<Timestamp>) -> bool {
        now.is_some_and(|n| n - self.at < BELIEVED)
    }

    /// Free GPUs of a rack: the sum over its nodes; `None` where none of them was told of.
    pub fn free_on(&self, partition: &Partition, rack: &str) -> Option<u32> {
        let nodes = partition.nodes_of(rack);
        let told: Vec<u32> = nodes.iter().filter_map(|n| self.free.get(n)).copied().collect();
        (!told.is_empty()).then(|| told.iter().fold(0, |a: u32, b| a.saturating_add(*b)))
    }
}

/// The hours ahead: weather as yesterday, load as forecast (as now where nothing forecasts), setpoints where the plan heads.
pub fn outlook(brain: &Brain, view: &View, recommendation: Option<&control::Recommendation>) -> Outlook {
    let mut setpoints = view.in_force();
    if let Some(r) = recommendation.filter(|r| r.mode == "auto") {
        for item in &r.items {
            if let Some(i) = view.site.actuators.iter().position(|a| a.id == item.actuator) {
                setpoints[i] = item.target;
            }
        }
    }
    let weather =
        (0..SLOTS).map(|k| if k == 0 { view.weather } else { brain.weather_ahead(view.weather, view.now, Span(SLOT.0 * k as i64)) });
    let follow = recommendation.is_some_and(|r| r.mode == "auto");
    let mut outlook =
        Outlook { slot: SLOT, weather: weather.collect(), p50_kw: vec![vec![]; SLOTS], p90_kw: vec![vec![]; SLOTS], setpoints, follow };
    for (l, now) in view.site.loads().zip(&view.loads) {
        let told = brain.forecasts.iter().find(|f| f.target == l).filter(|f| !f.points.is_empty());
        let ahead = told.map(|f| f.every(SLOT, SLOTS)).unwrap_or_default();
        for k in 0..SLOTS {
            let flat = |v: &Vec<f64>| v.first().copied().unwrap_or(f64::NAN);
            let at = ahead.get(k);
            outlook.p50_kw[k].push(at.map_or_else(|| flat(&now.p50_kw), |a| a.p50));
            outlook.p90_kw[k].push(at.map_or_else(|| flat(&now.p90_kw), |a| a.p90));
        }
    }
    outlook
}

/// A site's board, its clock and what its scheduler told, out from under the lock.
struct Snapshot {
    board: Arc<Board>,
    now: Timestamp,
    jobs: Vec<JobOccupancy>,
}

fn snapshot(s: &SiteShared) -> Option<Snapshot> {
    let core = s.core();
    // A clock that stands still does not keep hints young: what passes on the host's clock since it moved is added.
    let stood = host_now().0 - s.clock_moved.load(Ordering::Relaxed);
    let now = core.ingest.clock()? + Span(if stood > STANDS.0 { stood } else { 0 });
    let board = core.brain.board.clone()?;
    let told = core.brain.occupancy.as_ref().filter(|o| o.holds(Some(now)));
    Some(Snapshot { board, now, jobs: told.map(|o| o.jobs.clone()).unwrap_or_default() })
}

/// Boards of all sites that are fresh, and why the others are not.
fn fresh(sites: &[Arc<SiteShared>]) -> (Vec<Snapshot>, Vec<String>) {
    let (mut out, mut left_out) = (vec![], vec![]);
    for s in sites {
        match snapshot(s) {
            Some(x) if x.board.fresh(x.now) => out.push(x),
            Some(x) => left_out.push(format!("{}: its hints ended at {}", s.id(), x.board.valid_until)),
            None => left_out.push(format!("{}: it has no hints yet", s.id())),
        }
    }
    (out, left_out)
}

/// The newest hints of a site, fresh or not: the API judges that.
pub fn hints(sites: &[Arc<SiteShared>], s: &SiteShared, job_class: Option<&str>) -> Option<Hints> {
    let Snapshot { board, now, jobs } = snapshot(s)?;
    let takes = |p: usize| job_class.is_none_or(|c| board.site.partitions[p].job_classes.iter().any(|x| x == c));
    let racks: Vec<Hint> = board.racks.iter().filter(|r| takes(r.partition)).map(|r| hint(&board, r)).collect();
    if racks.is_empty() {
        return None;
    }
    let mut racks = racks;
    racks.sort_by(|a, b| a.rank.cmp(&b.rank).then(a.marginal_kwh_per_gpu_hour.total_cmp(&b.marginal_kwh_per_gpu_hour)));
    let ahead = (0..board.slots.len())
        .map(|k| {
            let x = &board.slots[k];
            HintSlot {
                at: x.at.0,
                load_kw: x.base_kw,
                marginal_kw_per_kw: x.marginal(),
                average_kwh_per_gpu_hour: board.average(k),
                cooling_headroom_kw: known(x.room_kw),
                cooling_limit: x.limit.clone(),
                needs_other_setpoints: x.cooled,
            }
        })
        .collect();
    let partitions = (board.site.partitions.iter().enumerate())
        .filter(|(i, _)| takes(*i))
        .map(|(i, p)| {
            let own = || board.racks.iter().filter(move |r| r.partition == i);
            let best = own().filter(|r| r.band < 5).min_by_key(|r| r.rank);
            HintPartition {
                partition: p.id.clone(),
                scheduler_name: p.scheduler_name().to_owned(),
                job_classes: p.job_classes.clone(),
                racks: own().count() as u32,
                gpus: own().map(|r| r.gpus).sum(),
                gpus_free: own().map(|r| r.free_gpus).sum(),
                marginal_kwh_per_gpu_hour: best.map(|r| board.marginal(r, 0)),
                power_headroom_kw: own().filter(|r| r.band < 5).map(|r| board.room(r).0.max(0.0)).sum(),
            }
        })
        .collect();
    let others: Vec<Arc<Board>> =
        sites.iter().filter(|o| o.id() != s.id()).filter_map(|o| snapshot(o)).filter(|x| x.board.fresh(x.now)).map(|x| x.board).collect();
    Some(Hints {
        version: HINTS_VERSION,
        site: s.id().to_owned(),
        made_at: board.made_at.0,
        valid_until: board.valid_until.0,
        now: now.0,
        topology: board.topology.clone(),
        model: board.model.clone(),
        ahead,
        partitions,
        caps: board
            .caps
            .iter()
            .map(|c| HintCap { name: c.name.clone(), headroom_kw: c.room_kw.first().copied().and_then(known) })
            .collect(),
        racks,
        shed: sheds(&board, &jobs, &others),
    })
}

fn hint(board: &Board, r: &BoardRack) -> Hint {
    let p = &board.site.partitions[r.partition];
    let (room_kw, by) = board.room(r);
    let mut reasons = vec![format!("one more kW of load costs {:.3} kW in all", board.slots[0].marginal())];
    reasons.extend(r.reasons.iter().cloned());
    Hint {
        rank: r.rank,
        partition: p.id.clone(),
        rack: r.id.clone(),
        job_class: p.job_classes.join(", "),
        nodes: r.nodes.clone(),
        domain: r.domain.clone(),
        gpus: r.gpus,
        gpus_free: Some(r.free_gpus).filter(|_| !r.free_estimated || r.power_kw.is_finite()),
        gpus_free_estimated: r.free_estimated,
        marginal_kwh_per_gpu_hour: board.marginal(r, 0),
        marginal_sigma: known(board.price_sigma * board.kw_per_gpu(r.partition)),
        marginal_ahead: (0..board.slots.len()).map(|k| board.marginal(r, k)).collect(),
        power_headroom_kw: r.room_kw.and(known(room_kw)),
        power_headroom_by: by,
        thermal_headroom_k: r.thermal_headroom_k,
        band: r.band,
        reason: reasons.join("; "),
        reasons,
    }
}

fn sheds(board: &Board, jobs: &[JobOccupancy], others: &[Arc<Board>]) -> Vec<ShedHint> {
    let of_node: BTreeMap<&str, &BoardRack> = board.racks.iter().flat_map(|r| r.nodes.iter().map(move |n| (n.as_str(), r))).collect();
    let known_jobs: Vec<shed::KnownJob> = jobs
        .iter()
        .map(|j| {
            let racks: Vec<&BoardRack> = j.nodes.iter().filter_map(|n| of_node.get(n.as_str()).copied()).collect();
            let partition = racks.first().map_or(0, |r| r.partition);
            let mut names: Vec<String> = racks.iter().map(|r| r.id.clone()).collect();
            names.dedup();
            shed::KnownJob {
                id: j.id.clone(),
                racks: names,
                gpus: j.gpus,
                kw: f64::from(j.gpus) * board.kw_per_gpu(partition),
                waits: j.waits,
                slack_h: j.slack_h,
            }
        })
        .collect();
    let shown = |s: shed::Shed| ShedHint {
        limit: s.breach.what,
        at: s.breach.at.0,
        needed_kw: s.breach.needed_kw,
        acts: (s.acts.into_iter())
            .map(|a| ShedAct {
                kind: a.kind.into(),
                target: a.target,
                effect_kw: a.effect_kw,
                sum_kw: a.sum_kw,
                enough: a.enough,
                cost: a.cost,
            })
            .collect(),
    };
    shed::shed(board, &known_jobs, others).into_iter().map(shown).collect()
}

/// Places for jobs; the request's numbers have been judged.
pub fn rank_jobs(sites: &[Arc<SiteShared>], ask: &RankAsk) -> Result<RankAnswer, Fault> {
    let wanted: Vec<Arc<SiteShared>> = sites.iter().filter(|s| ask.site.as_ref().is_none_or(|w| w == s.id())).cloned().collect();
    let (fresh, left_out) = fresh(&wanted);
    if fresh.is_empty() {
        return Err(Fault::unavailable(
            format!("no site has fresh placement hints ({})", left_out.join("; ")),
            "place without them until there are; see /api/v1/health",
        ));
    }
    if let (Some(topology), Some(x)) = (&ask.topology, fresh.first())
        && *topology != x.board.topology
    {
        return Err(Fault::conflict(
            format!("topology {topology:?} is not that of {} any more: it is {:?}", x.board.site.site.id, x.board.topology),
            "read the hints again, then ask",
        ));
    }
    // Names are judged against every site's file, fresh or not: a partition that is only away now is no mistake.
    let mut names: Vec<String> = vec![];
    let mut classes: Vec<String> = vec![];
    for p in wanted.iter().flat_map(|s| &s.site.partitions) {
        names.extend([p.id.clone(), p.scheduler_name().to_owned()]);
        classes.extend(p.job_classes.iter().cloned());
    }
    for list in [&mut names, &mut classes] {
        list.sort();
        list.dedup();
    }
    let mut jobs = Vec::with_capacity(ask.jobs.len());
    for (i, j) in ask.jobs.iter().enumerate() {
        let shown = |t: &str| t.chars().take(60).collect::<String>();
        if let Some(bad) = j.partitions.iter().find(|p| !names.contains(p)) {
            let field = format!("jobs[{i}].partitions");
            return Err(Fault::invalid(
                &field,
                format!("no partition is called {:?}", shown(bad)),
                format!("there are: {}", names.join(", ")),
            ));
        }
        let own = j.own_place.as_ref().and_then(|o| Some((o, &fresh.iter().find(|x| x.board.site.site.id == o.site)?.board)));
        if let Some((o, board)) = own
            && let Some(k) = o.racks.iter().position(|r| !board.racks.iter().any(|x| x.id == r.rack))
        {
            return Err(Fault::invalid(
                &format!("jobs[{i}].own_place.racks[{k}].rack"),
                format!("{} has no rack {:?}", o.site, shown(&o.racks[k].rack)),
                "name racks as the hints do",
            ));
        }
        if let Some(bad) = j.job_class.as_ref().filter(|c| !classes.contains(c)) {
            let field = format!("jobs[{i}].job_class");
            return Err(Fault::invalid(
                &field,
                format!("no partition takes {:?}", shown(bad)),
                format!("there are: {}", classes.join(", ")),
            ));
        }
        jobs.push(job(i, j));
    }
    let boards: Vec<Arc<Board>> = fresh.iter().map(|x| Arc::clone(&x.board)).collect();
    let answers = rank(&boards, &jobs, EFFORT);
    let ranked = |(a, j): (control::place::rank::Answer, &JobAsk)| RankedJob {
        id: a.id,
        notes: a.notes,
        places: (a.places.into_iter())
            .map(|p| RankPlace {
                kwh_per_gpu_hour: p.kwh / (f64::from(j.gpus) * j.duration.as_hours_f64()).max(1e-9),
                site: p.site,
                partition: p.partition,
                racks: p.racks.into_iter().map(|(rack, gpus)| RankRack { rack, gpus }).collect(),
                start_at: p.start.0,
                end_at: p.end.0,
                kwh: p.kwh,
                doubt_kwh: known(p.doubt_kwh),
                eur: p.eur,
                g_co2: p.g_co2,
                binds: p.binds,
                binds_headroom_kw: known(p.binds_room_kw),
                gpus_free_estimated: p.estimated,
            })
            .collect(),
    };
    Ok(RankAnswer {
        version: HINTS_VERSION,
        sites: (fresh.iter())
            .map(|x| RankSite {
                site: x.board.site.site.id.clone(),
                topology: x.board.topology.clone(),
                now: x.now.0,
                valid_until: x.board.valid_until.0,
            })
            .collect(),
        left_out,
        jobs: answers.into_iter().zip(&jobs).map(ranked).collect(),
    })
}

fn job(i: usize, j: &RankJob) -> JobAsk {
    let gpus = j.gpus.unwrap_or_else(|| j.nodes.unwrap_or(1.0) * j.gpus_per_node.unwrap_or(1.0));
    let hours = |h: f64| Span((h * 3.6e6) as i64);
    let earliest = j.earliest_h.unwrap_or(0.0);
    let peak = j.profile_kw.iter().copied().fold(0.0, f64::max);
    JobAsk {
        id: j.id.clone().unwrap_or_else(|| format!("job {}", i + 1)),
        gpus: gpus as u32,
        gpus_per_node: j.gpus_per_node.map(|n| n as u32),
        kw_per_gpu: if peak > 0.0 { Some(peak / gpus) } else { j.kw_per_gpu },
        duration: hours(j.duration_h),
        earliest: hours(earliest),
        latest: hours(j.latest_h.unwrap_or(earliest)),
        partitions: j.partitions.clone(),
        sites: vec![],
        job_class: j.job_class.clone(),
        one_domain: j.one_domain,
        own_place: j.own_place.as_ref().map(|o| (o.site.clone(), o.racks.iter().map(|r| (r.rack.clone(), r.gpus)).collect())),
    }
}

/// Keeps what a scheduler told; the next control tick's board rests on it.
pub fn take_occupancy(s: &SiteShared, told: &Occupancy) -> Result<Done, Fault> {
    let mut core = s.core();
    let Some(at) = core.ingest.clock() else {
        return Err(Fault::unavailable(format!("{} has no clock yet", s.id()), "tell again when its telemetry has come"));
    };
    let ours: std::collections::BTreeSet<String> =
        (core.brain.board.as_ref()).map(|b| b.racks.iter().flat_map(|r| r.nodes.iter().cloned()).collect()).unwrap_or_default();
    let free: BTreeMap<String, u32> = told.nodes.iter().map(|n| (n.node.clone(), n.gpus_free)).collect();
    let unknown = free.keys().filter(|n| !ours.contains(*n)).count();
    let text = format!("{} nodes taken, {unknown} of them on no rack of {}; {} jobs", free.len(), s.id(), told.jobs.len());
    core.brain.occupancy = Some(Occupied { at, free, jobs: told.jobs.clone() });
    Ok(Done { text })
}

/// The hints of one site by node; `room_gpus` by power and cooling.
pub fn by_node(h: &Hints) -> Vec<(String, k8s::NodeHint)> {
    let per_gpu = |r: &Hint| r.marginal_kwh_per_gpu_hour / h.ahead.first().map_or(1.0, |s| s.marginal_kw_per_kw.max(0.1));
    let one = |r: &Hint| k8s::NodeHint {
        band: r.band,
        marginal_kwh_per_gpu_hour: r.marginal_kwh_per_gpu_hour,
        room_gpus: match r.thermal_headroom_k {
            Some(t) if t <= 0.0 => 0,
            _ => (r.power_headroom_kw.unwrap_or(0.0) / per_gpu(r).max(1e-3)).max(0.0) as u32,
        },
        why: if r.band == 5 { r.reasons.iter().skip(1).next_back().cloned().unwrap_or_default() } else { String::new() },
        site: h.site.clone(),
        rack: r.rack.clone(),
    };
    h.racks.iter().flat_map(|r| r.nodes.iter().map(|n| (n.clone(), one(r))).collect::<Vec<_>>()).collect()
}

/// Answers kube-scheduler.
pub fn extend_kubernetes(sites: &[Arc<SiteShared>], verb: ExtenderVerb, message: &serde_json::Value) -> Result<serde_json::Value, Fault> {
    let args = k8s::args(message).map_err(|(field, why)| {
        Fault::invalid(&field, why, "send the ExtenderArgs of kube-scheduler; nodeCacheCapable: true sends names only")
    })?;
    let fresh = sites.iter().filter_map(|s| hints(sites, s, None)).filter(|h| h.now < h.valid_until);
    let nodes: BTreeMap<String, k8s::NodeHint> = fresh.flat_map(|h| by_node(&h)).collect();
    let answer = match verb {
        ExtenderVerb::Filter => serde_json::to_value(k8s::filter(&args, &nodes)),
        ExtenderVerb::Prioritize => serde_json::to_value(k8s::prioritize(&args, &nodes)),
    };
    answer.map_err(|e| Fault::unavailable(e.to_string(), "tell us of it"))
}
