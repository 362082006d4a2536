//! Small views of a site's state that the backend's answers are made of: links, lines, bands.

use super::backend::DemoView;
use super::influx::Mirror;
use super::journal::Row;
use super::site_task::{Core, SiteShared};
use crate::api::chart::{Band, Line};
use crate::api::model::{Kpi, Link, LoopMode, MirrorHealth};
use crate::control::{self, Mode};
use crate::ingest::mqtt::LinkState;
use crate::time::{Span, Timestamp};

/// What the figures of the energy account count.
const DEFINITION: &str =
    "(IT at the PDU outputs + cooling + UPS and PDU losses) / allocated GPU-hours, sums over the period; KPI pack energy-per-gpu-hour";

/// The energy account of a site: today, yesterday and since the start, as far as there is one.
pub(super) fn kpis(s: &SiteShared) -> Vec<Kpi> {
    let core = s.core();
    let journal = &core.brain.journal;
    let today = core.ingest.clock().map(Timestamp::day_start);
    let day = |d: Option<Timestamp>| d.and_then(|d| journal.days.get(&d).copied());
    let periods = [
        ("today", day(today)),
        ("yesterday", day(today.map(|t| t - Span::hours(24)))),
        ("since_start", (journal.total.hours > 0.0).then_some(journal.total)),
    ];
    let known = periods.into_iter().filter_map(|(period, energy)| Some((period, energy?)));
    known
        .map(|(period, e)| Kpi {
            site: s.id().to_owned(),
            period: period.into(),
            from: e.from.0,
            to: e.to.0,
            it_kwh: e.it_kwh,
            cooling_kwh: e.cooling_kwh,
            loss_kwh: e.loss_kwh,
            gpu_hours: e.gpu_hours,
            kwh_per_gpu_hour: e.kwh_per_gpu_hour(),
            pue: e.pue(),
            coverage: e.coverage(),
            definition: DEFINITION.into(),
        })
        .collect()
}

pub(super) fn unit_of(s: &SiteShared, core: &Core, actuator: &str) -> String {
    let Some(a) = s.site.actuator(actuator) else { return String::new() };
    core.ingest.catalogue().select(&a.in_force).next().map_or_else(String::new, |p| p.kind.unit().to_owned())
}

/// Who holds and why.
pub(super) fn held_text(h: &control::mode::Hold) -> String {
    if h.why.is_empty() { h.who.clone() } else { format!("{}: {}", h.who, h.why) }
}

/// An objective's name in the site file.
pub(super) fn objective_text(o: crate::site::Objective) -> &'static str {
    use crate::site::Objective::*;
    match o {
        KwhPerGpuHour => "kwh_per_gpu_hour",
        Eur => "eur",
        KgCo2 => "kg_co2",
        PeakKw => "peak_kw",
        Weighted => "weighted",
    }
}

/// What may be done with each loop that has a setpoint of ours.
pub(super) fn loops(s: &SiteShared, core: &Core) -> Vec<LoopMode> {
    let c = &core.brain.controller;
    let steered = |id: &String| s.site.actuators.iter().any(|a| a.loop_id == *id);
    (s.site.loops.iter().filter(|l| steered(&l.id)))
        .map(|l| LoopMode {
            id: l.id.clone(),
            name: l.name.clone(),
            mode: match c.orders().operation(&l.id, c.wanted()) {
                control::Operation::Shadow => "shadow",
                control::Operation::Advise => "advise",
                control::Operation::Auto => "auto",
            }
            .into(),
            held: c.orders().hold(&l.id).map(held_text),
        })
        .collect()
}

/// Why a site is in its mode, in words; empty where it is where the operators want it.
pub(super) fn why_text(mode: &Mode) -> String {
    let why = match mode {
        Mode::Warming { waiting_for, .. } | Mode::Learning { waiting_for, .. } => waiting_for,
        Mode::Guarded { why, .. } | Mode::FailSafe { why, .. } => why,
        Mode::Shadow | Mode::Advise | Mode::Auto => return String::new(),
    };
    why.iter().map(control::Why::text).collect::<Vec<_>>().join("; ")
}

/// The value in force at `t` of a step-wise trace.
pub(super) fn at(trace: &[(Timestamp, f64)], t: Timestamp) -> Option<f64> {
    let i = trace.partition_point(|(at, _)| *at <= t);
    trace.get(i.checked_sub(1)?).map(|(_, v)| *v)
}

pub(super) fn baseline_of_day(d: &DemoView, site: &str, clock: Timestamp) -> Option<f64> {
    let trace = d.baseline_energy.get(site)?;
    let upto = |t: Timestamp| {
        let i = trace.partition_point(|(at, _, _)| *at <= t);
        i.checked_sub(1).and_then(|i| trace.get(i)).map_or((0.0, 0.0), |(_, e, g)| (*e, *g))
    };
    let (from, to) = (upto(clock.day_start()), upto(clock));
    (to.1 > from.1).then(|| (to.0 - from.0) / (to.1 - from.1))
}

pub(super) fn link(state: &LinkState) -> Link {
    match state {
        LinkState::Connecting => Link { state: "connecting".into(), ..Link::default() },
        LinkState::Up { since } => Link { state: "up".into(), why: String::new(), since: Some(since.0) },
        LinkState::Down { since, why, .. } => Link { state: "down".into(), why: why.to_string(), since: Some(since.0) },
    }
}

pub(super) fn mirror(m: &Mirror) -> MirrorHealth {
    let s = m.state();
    MirrorHealth {
        target: format!("{:?}", m.target),
        state: s.state.into(),
        why: s.why,
        since: s.since.map(|t| t.0),
        written_at: s.written_at.map(|t| t.0),
        written: s.written,
        waiting_bytes: m.waiting_bytes(),
        refused: s.refused,
        refused_why: s.refused_why,
        dropped: m.dropped(),
    }
}

pub(super) fn line(rows: &[&Row], f: impl Fn(&Row) -> f64) -> Line {
    rows.iter().map(|r| known(f(r))).collect()
}

pub(super) fn band(core: &Core, load: &str) -> Option<Band> {
    let f = core.brain.forecasts.iter().find(|f| f.target == load && !f.points.is_empty())?;
    Some(Band {
        made_at: f.made_at.0,
        model: f.model.clone(),
        fallback: f.fallback.clone(),
        at: f.points.iter().map(|a| (f.made_at + a.ahead).0).collect(),
        p10: f.points.iter().map(|a| a.p10).collect(),
        p50: f.points.iter().map(|a| a.p50).collect(),
        p90: f.points.iter().map(|a| a.p90).collect(),
    })
}

/// A number, or nothing where it is not known.
pub(super) fn known(v: f64) -> Option<f64> {
    v.is_finite().then_some(v)
}
