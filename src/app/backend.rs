//! What answers the API: snapshots of the sites' state, history from the store, operators' acts to the controllers.

use super::alarms;
use super::audit::{ActOf, Audit};
use super::gauges::Gauges;
use super::influx::Influx;
use super::journal::{Energy, Row};
use super::kept_orders;
use super::placement;
use super::reports::Reports;
use super::site_task::{Core, SiteShared, host_now};
use super::views::{self, at, band, baseline_of_day, held_text, known, line, link, loops, objective_text, unit_of, why_text};
use crate::api::chart::{ActuatorChart, LimitChart, LoopChart, Overview};
use crate::api::model::*;
use crate::api::reports::{OpenFile, Report, ReportList, ReportOrder};
use crate::api::{Backend, ExtenderVerb, Fault, SERIES_ROWS_MAX, SeriesQuery};
use crate::control::controller::OrderError;
use crate::control::{self, Operation, Order};
use crate::event::{HINTS, INFLUX_READS, Tally};
use crate::site::SiteFile;
use crate::store::{Step, Store};
use crate::time::{Span, Timestamp};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// The service as the API sees it.
pub struct ServiceBackend {
    sites: Vec<Arc<SiteShared>>,
    store: Arc<dyn Store>,
    influx: Influx,
    reports: Arc<Reports>,
    tally: Arc<Tally>,
    changes: watch::Sender<u64>,
    audit: Audit,
    demo: Mutex<Option<DemoView>>,
}

/// What the demo adds: its table, and the baseline run to compare with.
#[derive(Clone, Default)]
pub struct DemoView {
    pub result: Option<serde_json::Value>,
    /// Baseline cooling power per site: (time, kW), one a tick.
    pub baseline_cooling_kw: std::collections::BTreeMap<String, Vec<(Timestamp, f64)>>,
    /// Baseline energy of each site's run until each tick: (time, total kWh, GPU-hours).
    pub baseline_energy: std::collections::BTreeMap<String, Vec<(Timestamp, f64, f64)>>,
}

/// Orders count where somebody carries them out.
fn in_charge(s: &SiteShared) -> Result<(), Fault> {
    match s.charge.standing().filter(|l| !l.in_charge) {
        Some(l) => {
            Err(Fault::conflict(format!("{}: this service {}", s.id(), l.text()), "give the order to the service that is in charge"))
        }
        None => Ok(()),
    }
}

impl ServiceBackend {
    pub fn new(
        sites: Vec<Arc<SiteShared>>,
        store: Arc<dyn Store>,
        influx: Influx,
        reports: Arc<Reports>,
        tally: Arc<Tally>,
        changes: watch::Sender<u64>,
    ) -> ServiceBackend {
        ServiceBackend { sites, audit: Audit::new(Arc::clone(&store)), store, influx, reports, tally, changes, demo: Mutex::new(None) }
    }

    /// Steps before the embedded store's first, from InfluxDB 2 where it is the history.
    fn earlier(&self, s: &SiteShared, q: &SeriesQuery, first: Timestamp) -> Result<Vec<Step>, Fault> {
        let Some(history) = self.influx.history.as_ref().filter(|_| first > q.from) else { return Ok(Vec::new()) };
        let Some(point) = s.core().ingest.catalogue().get(q.point).cloned() else { return Ok(Vec::new()) };
        let answer = history.series(s.id(), &point, q.from, first, q.step);
        self.tally.add(INFLUX_READS, &format!("{}/{}", s.id(), if answer.is_ok() { "answered" } else { "failed" }), 1);
        // A part without a word about the rest would pass for the whole.
        answer.map_err(|e| {
            Fault::unavailable(format!("what is before {first} is in InfluxDB: {e}"), format!("ask again later, or from {first} on"))
        })
    }

    pub fn set_demo(&self, view: DemoView) {
        *self.demo.lock().unwrap_or_else(|e| e.into_inner()) = Some(view);
        self.changes.send_modify(|n| *n += 1);
    }

    fn demo_view(&self) -> Option<DemoView> {
        self.demo.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    fn find(&self, site: &str) -> Result<&Arc<SiteShared>, Fault> {
        let have = || self.sites.iter().map(|s| s.id()).collect::<Vec<_>>().join(", ");
        self.sites
            .iter()
            .find(|s| s.id() == site)
            .ok_or_else(|| Fault::unknown("site", format!("no site {site:?}"), format!("the sites are: {}", have())))
    }

    pub(super) fn status(&self, s: &SiteShared) -> SiteStatus {
        let up = s.book().up();
        let core = s.core();
        let brain = &core.brain;
        let clock = core.ingest.clock();
        let host = host_now();
        let moved = s.clock_moved.load(Ordering::Relaxed);
        let last = brain.journal.last.as_ref();
        let day = clock.and_then(|c| brain.journal.days.get(&c.day_start()));
        let now = |f: fn(&Row) -> f64| last.map(f).and_then(known);
        let (it, cooling, loss, gpus) = (now(|r| r.it_kw), now(|r| r.cooling_kw), now(|r| r.loss_kw), now(|r| r.gpus));
        let total = it.zip(cooling).map(|(i, c)| i + c + loss.unwrap_or(0.0));
        let demo = self.demo_view();
        let baseline_kw = demo.as_ref().and_then(|d| at(d.baseline_cooling_kw.get(s.id())?, clock?));
        let stands_by = s.charge.standing().filter(|l| !l.in_charge).map(|l| l.text());
        let mode = brain.controller.mode().name().to_owned();
        let mode_why = stands_by.clone().unwrap_or_else(|| why_text(brain.controller.mode()));
        let clock_age_s = (moved > 0).then(|| (host.0 - moved) as f64 / 1e3);
        SiteStatus {
            id: s.id().to_owned(),
            name: s.site.site.name.clone(),
            label: s.site.site.label.clone(),
            time_zone: s.site.site.time_zone.clone(),
            mode,
            mode_why,
            stands_by,
            held: brain.controller.orders().hold.as_ref().map(held_text),
            loops: loops(s, &core),
            clock: clock.map(|c| c.0),
            clock_age_s,
            link: link(&s.link.borrow()),
            broker: s.broker.clone(),
            points: core.ingest.catalogue().len() as u64,
            readings_in: s.readings_in.load(Ordering::Relaxed),
            readings_refused: s.readings_refused.load(Ordering::Relaxed),
            it_kw: it,
            cooling_kw: cooling,
            loss_kw: loss,
            pue_now: total.zip(it).filter(|(_, i)| *i > 0.0).map(|(t, i)| t / i),
            gpus_allocated: gpus,
            kwh_per_gpu_hour_now: total.zip(gpus).filter(|(_, g)| *g > 0.0).map(|(t, g)| t / g),
            kwh_per_gpu_hour_today: day.and_then(Energy::kwh_per_gpu_hour),
            baseline_kwh_per_gpu_hour_today: demo.as_ref().and_then(|d| baseline_of_day(d, s.id(), clock?)),
            baseline_cooling_kw: baseline_kw,
            baseline_about: if baseline_kw.is_some() {
                "the same simulated plant, jobs and weather at the operators' fixed setpoints".into()
            } else {
                String::new()
            },
            recommendation: brain.recommendations.back().map(|r| r.id.clone()),
            alarms: up,
        }
    }

    /// Files an act. One that cannot be filed has happened all the same: it stands in the log.
    fn file(&self, act: ActOf) {
        let text = format!("{} at {}: {} ({})", act.who, act.site, act.act, act.why);
        if let Err(e) = self.audit.file(act, host_now()) {
            tracing::error!("not in the audit trail, {text}: {e}");
        }
    }

    fn order(&self, site: &str, order: Order, who: &str, why: &str, text: String) -> Result<Done, Fault> {
        let s = self.find(site)?;
        if who.trim().is_empty() {
            return Err(Fault::invalid("who", "is empty", "say who acts: it goes into the audit trail"));
        }
        in_charge(s)?;
        let mut core = s.core();
        let at = core.ingest.clock().unwrap_or_else(host_now);
        core.brain.controller.order(order.clone(), who, why, at, &s.tally).map_err(|e| match &e {
            OrderError::NoActuator { .. } => Fault::unknown("actuator", e.to_string(), "GET /api/v1/sites/{id}/overview lists them"),
            OrderError::NoLoop { .. } => Fault::unknown("loop", e.to_string(), "GET /api/v1/sites lists them"),
            OrderError::OutOfBounds { .. } => Fault::invalid("value", e.to_string(), "give a value within the bounds"),
        })?;
        kept_orders::keep(s.store.as_ref(), &s.site, &core.brain.controller);
        drop(core);
        s.charge.tell();
        self.file(ActOf { site, at, who, why, act: serde_json::json!(order) });
        tracing::info!(site, "{who}: {text}{}", if why.is_empty() { String::new() } else { format!(" ({why})") });
        s.changed();
        Ok(Done { text })
    }

    fn state_of(core: &Core, r: &control::Recommendation) -> (String, bool, Option<String>) {
        let now = core.ingest.clock().unwrap_or(r.made_at);
        let newest = core.brain.recommendations.back().is_some_and(|n| n.id == r.id);
        let approved = core.brain.controller.approval().filter(|a| a.recommendation == r.id).map(|a| a.who.clone());
        let valid = r.is_valid(now);
        let state = match r.mode.as_str() {
            _ if approved.is_some() => "approved",
            "auto" if newest && valid => "published",
            "advise" if newest && valid => "waiting",
            _ if !valid && !newest => "superseded",
            _ if !valid => "lapsed",
            "auto" => "superseded",
            _ => "recorded",
        };
        // In auto a loop that is in advise waits for its approval.
        let c = &core.brain.controller;
        let advised = || core.brain.site.actuators.iter().any(|a| c.operation(a) == Operation::Advise);
        let waits = state == "waiting" || (state == "published" && advised());
        (state.into(), waits && !r.items.is_empty(), approved)
    }

    fn shown(&self, s: &SiteShared, core: &Core, r: &control::Recommendation) -> Recommendation {
        let (state, can_approve, approved_by) = ServiceBackend::state_of(core, r);
        let of = |id: &str| s.site.actuator(id);
        Recommendation {
            id: r.id.clone(),
            site: r.site.clone(),
            parent: r.parent.clone(),
            made_at: r.made_at.0,
            valid_until: r.valid_until.0,
            mode: r.mode.clone(),
            state,
            can_approve,
            items: (r.items.iter())
                .map(|i| Item {
                    actuator: i.actuator.clone(),
                    name: i.name.clone(),
                    unit: i.unit.clone(),
                    from: i.from,
                    asked: i.asked,
                    target: i.target,
                    reason: i.reason.clone(),
                })
                .collect(),
            withheld: (r.withheld.iter())
                .map(|w| WithheldItem {
                    actuator: w.actuator.clone(),
                    name: of(&w.actuator).map_or_else(String::new, |a| a.name.clone()),
                    unit: unit_of(s, core, &w.actuator),
                    asked: w.asked,
                    reason: w.reason.clone(),
                })
                .collect(),
            expects: Expectation {
                horizon_h: r.expects.horizon_h,
                plan_kwh: r.expects.plan_kwh,
                saves_vs_fixed_kwh: r.expects.saves_vs_fixed_kwh,
                saves_vs_hold_kwh: r.expects.saves_vs_hold_kwh,
                plus_minus_kwh: r.expects.plus_minus_kwh,
                kwh_per_gpu_hour: r.expects.kwh_per_gpu_hour,
                least_margin: r.expects.binding.as_ref().map(|b| b.margin),
                least_margin_unit: r.expects.binding.as_ref().map_or_else(String::new, |b| b.unit.clone()),
                least_margin_limit: r.expects.binding.as_ref().map_or_else(String::new, |b| b.name.clone()),
                feasible: r.expects.feasible,
                objective: objective_text(r.expects.objective).into(),
                saves_vs_fixed_eur: r.expects.saves_vs_fixed_eur,
                saves_vs_fixed_kg_co2: r.expects.saves_vs_fixed_kg_co2,
                peak_kw: r.expects.peak_kw,
            },
            explanation: r.explanation.clone(),
            inputs: r.inputs_digest.clone(),
            approved_by,
        }
    }
}

impl Backend for ServiceBackend {
    fn sites(&self) -> Vec<SiteStatus> {
        self.sites.iter().map(|s| self.status(s)).collect()
    }

    fn points(&self, site: &str) -> Vec<PointRow> {
        let Ok(s) = self.find(site) else { return Vec::new() };
        let core = s.core();
        let clock = core.ingest.clock();
        (core.ingest.catalogue().iter())
            .map(|p| {
                let latest = core.ingest.latest(p.id);
                let value = latest.and_then(|l| known(l.value));
                PointRow {
                    site: site.to_owned(),
                    id: p.id.0,
                    path: p.path.clone(),
                    object_type: p.object_type.clone(),
                    point_type: p.point_type.clone(),
                    process_area: p.process_area.clone(),
                    kind: serde_json::to_value(p.kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default(),
                    unit: p.kind.unit().to_owned(),
                    eng_unit: p.eng_unit.clone(),
                    object_name: p.object_name.clone(),
                    object_id: p.object_id.clone(),
                    serves_id: p.serves_id.clone(),
                    is_setpoint: p.is_setpoint,
                    integration: p.integration.clone(),
                    last_value: value,
                    last_at: latest.map(|l| l.at.0),
                    age_s: latest.zip(clock).map(|(l, c)| (c - l.at).as_secs_f64().max(0.0)),
                    quality: latest.map_or_else(String::new, |l| l.quality.text()),
                    state_text: value
                        .and_then(|v| p.state_text.iter().find(|t| t.value as f64 == v))
                        .map_or_else(String::new, |t| t.text.clone()),
                }
            })
            .collect()
    }

    fn series(&self, q: &SeriesQuery) -> Result<Vec<SeriesRow>, Fault> {
        let s = self.find(&q.site)?;
        let own = (self.store)
            .series(&q.site, q.point, q.from, q.to, q.step)
            .map_err(|e| Fault::unavailable(e.to_string(), "ask again later, or for a shorter period"))?;
        let mut steps = self.earlier(s, q, own.first().map_or(q.to, |f| f.at))?;
        steps.extend(own);
        Ok((steps.into_iter().take(SERIES_ROWS_MAX as usize))
            .map(|s| SeriesRow {
                at: s.at.0,
                mean: known(s.mean),
                min: known(s.min),
                max: known(s.max),
                count: u64::from(s.count),
                quality: s.quality.text(),
            })
            .collect())
    }

    fn overview(&self, site: &str, hours: f64) -> Result<Overview, Fault> {
        let s = self.find(site)?;
        let core = s.core();
        let file: &SiteFile = &s.site;
        let now = core.ingest.clock();
        let from = now.map_or(Timestamp::MIN, |n| n - Span((hours * 3.6e6) as i64));
        let rows: Vec<&Row> = core.brain.journal.rows.iter().filter(|r| r.at > from).collect();
        let demo = self.demo_view();
        let baseline = demo.as_ref().and_then(|d| d.baseline_cooling_kw.get(site));
        let unit = |role: &str| {
            let select = file.role(role).map(|r| &r.select);
            select.and_then(|sel| core.ingest.catalogue().select(sel).next()).map_or_else(String::new, |p| p.kind.unit().to_owned())
        };
        let site_load = file.loops.first();
        Ok(Overview {
            site: site.to_owned(),
            now: now.map(|n| n.0),
            step_s: file.control.tick_s,
            at: rows.iter().map(|r| r.at.0).collect(),
            it_kw: line(&rows, |r| r.it_kw),
            cooling_kw: line(&rows, |r| r.cooling_kw),
            loss_kw: line(&rows, |r| r.loss_kw),
            baseline_cooling_kw: baseline.map_or_else(Vec::new, |b| rows.iter().map(|r| at(b, r.at)).collect()),
            kwh_per_gpu_hour: line(&rows, |r| if r.gpus > 0.0 { r.total_kw() / r.gpus } else { f64::NAN }),
            load_kw: line(&rows, |r| r.loops.first().map_or(f64::NAN, |l| l[2])),
            forecast: site_load.and_then(|l| band(&core, &l.load)),
            loops: (file.loops.iter().enumerate())
                .map(|(i, l)| LoopChart {
                    id: l.id.clone(),
                    name: l.name.clone(),
                    supply_c: line(&rows, |r| r.loops.get(i).map_or(f64::NAN, |v| v[0])),
                    return_c: line(&rows, |r| r.loops.get(i).map_or(f64::NAN, |v| v[1])),
                    load_kw: line(&rows, |r| r.loops.get(i).map_or(f64::NAN, |v| v[2])),
                    forecast: band(&core, &l.load),
                })
                .collect(),
            limits: (file.limits.iter().enumerate())
                .map(|(i, l)| {
                    let some =
                        |on: bool, k: usize| if on { line(&rows, |r| r.limits.get(i).map_or(f64::NAN, |v| v[k])) } else { Vec::new() };
                    LimitChart {
                        id: l.id.clone(),
                        name: l.name.clone(),
                        unit: unit(&l.role),
                        loop_id: file
                            .loops
                            .iter()
                            .find(|x| {
                                x.supply == l.role
                                    || l.actuator
                                        .as_ref()
                                        .is_some_and(|a| file.actuator(a).is_some_and(|a| a.loop_id == x.id && a.hi < 75.0))
                            })
                            .map(|x| x.id.clone()),
                        value: line(&rows, |r| r.limits.get(i).map_or(f64::NAN, |v| v[0])),
                        max: some(l.max.is_some(), 1),
                        min: some(l.min.is_some(), 2),
                        source: l.source.clone(),
                    }
                })
                .collect(),
            actuators: (file.actuators.iter().enumerate())
                .map(|(i, a)| ActuatorChart {
                    id: a.id.clone(),
                    name: a.name.clone(),
                    loop_id: a.loop_id.clone(),
                    unit: unit_of(s, &core, &a.id),
                    lo: a.lo,
                    hi: a.hi,
                    default: a.default,
                    asked: line(&rows, |r| r.actuators.get(i).map_or(f64::NAN, |v| v[0])),
                    in_force: line(&rows, |r| r.actuators.get(i).map_or(f64::NAN, |v| v[1])),
                    measured: if a.measured.is_some() {
                        line(&rows, |r| r.actuators.get(i).map_or(f64::NAN, |v| v[2]))
                    } else {
                        Vec::new()
                    },
                    pinned: core.brain.controller.orders().pins.get(&a.id).map(|p| p.value),
                })
                .collect(),
        })
    }

    fn forecasts(&self, site: &str) -> Vec<ForecastRow> {
        let Ok(s) = self.find(site) else { return Vec::new() };
        let core = s.core();
        let mut out = Vec::new();
        for l in &s.site.loops {
            let Some(f) = core.brain.forecasts.iter().find(|f| f.target == l.load) else { continue };
            out.extend(f.points.iter().map(|a| ForecastRow {
                site: site.to_owned(),
                loop_id: l.id.clone(),
                made_at: f.made_at.0,
                ahead_s: (a.ahead.0 / 1000) as u32,
                at: (f.made_at + a.ahead).0,
                p10_kw: a.p10,
                p50_kw: a.p50,
                p90_kw: a.p90,
                model: f.model.clone(),
                fallback: f.fallback.clone(),
            }));
        }
        out
    }

    fn recommendations(&self, site: &str, limit: usize) -> Vec<Recommendation> {
        let Ok(s) = self.find(site) else { return Vec::new() };
        let core = s.core();
        core.brain.recommendations.iter().rev().take(limit).map(|r| self.shown(s, &core, r)).collect()
    }

    fn recommendation(&self, id: &str) -> Option<Recommendation> {
        self.sites.iter().find_map(|s| {
            let core = s.core();
            let r = core.brain.recommendations.iter().find(|r| r.id == id)?;
            Some(self.shown(s, &core, r))
        })
    }

    fn approve(&self, id: &str, act: &Act) -> Result<Done, Fault> {
        if act.who.trim().is_empty() {
            return Err(Fault::invalid("who", "is empty", "say who acts: it goes into the audit trail"));
        }
        for s in &self.sites {
            let mut core = s.core();
            if !core.brain.recommendations.iter().any(|r| r.id == id) {
                continue;
            }
            let at = core.ingest.clock().unwrap_or_else(host_now);
            in_charge(s)?;
            s.charge.tell();
            core.brain
                .controller
                .approve(id, &act.who, &act.why, at)
                .map_err(|e| Fault::conflict(e.to_string(), "GET /api/v1/recommendations shows the newest"))?;
            kept_orders::keep(s.store.as_ref(), &s.site, &core.brain.controller);
            drop(core);
            self.file(ActOf { site: s.id(), at, who: &act.who, why: &act.why, act: serde_json::json!({ "approve": id }) });
            tracing::info!(site = s.id(), "{} approved {id}", act.who);
            s.changed();
            return Ok(Done { text: "approved: the setpoint requests go out with the next control tick".into() });
        }
        Err(Fault::unknown("id", format!("no recommendation {id:?}"), "GET /api/v1/recommendations lists them"))
    }

    fn set_mode(&self, site: &str, act: &ModeAct) -> Result<Done, Fault> {
        let to = match act.mode.as_str() {
            "shadow" => Some(Operation::Shadow),
            "advise" => Some(Operation::Advise),
            "auto" => Some(Operation::Auto),
            "leave" | "site" => None,
            other => return Err(Fault::invalid("mode", format!("{other:?} is none"), "give shadow, advise, auto or leave")),
        };
        let (order, text) = match (&act.loop_id, to) {
            (Some(id), to) => {
                let to = if act.mode == "leave" { Some(Operation::Shadow) } else { to };
                let text = if act.mode == "site" { "does as the site does".into() } else { format!("is to be in {} at most", act.mode) };
                (Order::LoopMode { id: id.clone(), to }, format!("loop {id} of {site} {text}"))
            }
            (None, Some(to)) => (Order::Mode { to }, format!("{site} is to be in {}", act.mode)),
            (None, None) => (Order::Leave, format!("{site} leaves auto and hands back")),
        };
        self.order(site, order, &act.who, &act.why, text)
    }

    fn hold(&self, site: &str, act: &HoldAct) -> Result<Done, Fault> {
        let order = match (&act.loop_id, act.hold) {
            (Some(id), hold) => Order::LoopHold { id: id.clone(), hold },
            (None, true) => Order::Hold,
            (None, false) => Order::Release,
        };
        let of = act.loop_id.as_ref().map_or(String::new(), |id| format!(" of loop {id}"));
        let text =
            if act.hold { format!("setpoints{of} are held until the hold is released") } else { format!("the hold{of} is released") };
        self.order(site, order, &act.who, &act.why, text)
    }

    fn pin(&self, site: &str, act: &PinAct) -> Result<Done, Fault> {
        let actuator = act.actuator.clone();
        match act.value {
            Some(value) => {
                self.order(site, Order::Pin { actuator, value }, &act.who, &act.why, format!("{} is pinned to {value}", act.actuator))
            }
            None => self.order(site, Order::Unpin { actuator }, &act.who, &act.why, format!("{} is free again", act.actuator)),
        }
    }

    fn hints(&self, site: &str, job_class: Option<&str>) -> Option<Hints> {
        let s = self.find(site).ok()?;
        let out = placement::hints(&self.sites, s, job_class)?;
        self.tally.add(HINTS, site, 1);
        Some(out)
    }

    fn rank(&self, ask: &RankAsk) -> Result<RankAnswer, Fault> {
        placement::rank_jobs(&self.sites, ask)
    }

    fn occupancy(&self, told: &Occupancy) -> Result<Done, Fault> {
        let s = self.find(&told.site)?;
        placement::take_occupancy(s, told)
    }

    fn extend_kubernetes(&self, verb: ExtenderVerb, message: &serde_json::Value) -> Result<serde_json::Value, Fault> {
        placement::extend_kubernetes(&self.sites, verb, message)
    }

    fn ledger(&self, site: &str, from: Timestamp, to: Timestamp, limit: usize) -> Result<Ledger, Fault> {
        self.find(site)?;
        let records = (self.store.records("ledger", site, from, to, limit))
            .map_err(|e| Fault::unavailable(e.to_string(), "ask again later, or for a shorter period"))?;
        let entries: Vec<control::Entry> = records.iter().rev().filter_map(|r| serde_json::from_slice(&r.json).ok()).collect();
        let sums = control::ledger::balance(entries.iter());
        let line = |e: &control::Entry| LedgerLine {
            recommendation: e.recommendation.clone(),
            made_at: e.made_at.0,
            hours: e.hours,
            predicted_kwh: e.predicted_kwh,
            plus_minus_kwh: e.plus_minus_kwh,
            realised_kwh: e.realised_kwh,
            forgone_kwh: e.forgone_kwh,
            applied_by: e.applied.as_ref().map(|a| a.who.clone()),
            applied_at: e.applied.as_ref().map(|a| a.at.0),
        };
        Ok(Ledger {
            site: site.to_owned(),
            lines: entries.iter().map(line).collect(),
            closed: sums.closed,
            predicted_kwh: sums.predicted_kwh,
            realised_kwh: sums.realised_kwh,
            forgone_kwh: sums.forgone_kwh,
        })
    }

    fn kpis(&self) -> Vec<Kpi> {
        self.sites.iter().flat_map(|s| views::kpis(s)).collect()
    }

    fn reports(&self) -> ReportList {
        self.reports.list()
    }

    fn order_report(&self, order: &ReportOrder) -> Result<Report, Fault> {
        let (report, new) = self.reports.order(order, host_now())?;
        // Of each site that it is about, in whose trail somebody would look for it.
        for s in self.sites.iter().filter(|s| new && report.sites.iter().any(|id| id == s.id())) {
            let at = s.core().ingest.clock().unwrap_or_else(host_now);
            let act = serde_json::json!({ "report": report.id, "pack": report.pack, "period": report.period, "lang": report.lang, "site": report.site });
            self.file(ActOf { site: s.id(), at, who: &order.who, why: &order.why, act });
        }
        Ok(report)
    }

    fn report_file(&self, id: &str, name: &str) -> Result<OpenFile, Fault> {
        self.reports.file(id, name)
    }

    fn health(&self) -> Health {
        let mut why_not = Vec::new();
        for s in &self.sites {
            let state = link(&s.link.borrow());
            if state.state != "up" {
                why_not.push(format!(
                    "{}: broker {}{}",
                    s.id(),
                    state.state,
                    if state.why.is_empty() { String::new() } else { format!(": {}", state.why) }
                ));
            }
            let trouble = s.trouble();
            if !trouble.is_empty() {
                why_not.push(format!("{}: {trouble}", s.id()));
            }
        }
        let mirror = self.influx.mirror.as_deref().map(views::mirror);
        Health { alive: true, ready: why_not.is_empty(), why_not, mirror, version: env!("CARGO_PKG_VERSION").into() }
    }

    fn refusals(&self, limit: usize) -> Vec<Refusal> {
        let mut out: Vec<Refusal> = Vec::new();
        for s in &self.sites {
            let core = s.core();
            out.extend(core.ingest.quarantine().rev().take(limit).map(|r| Refusal {
                site: s.id().to_owned(),
                at: r.at.0,
                format: r.format.into(),
                reason: r.reason.into(),
                topic: r.topic.clone(),
                detail: r.key.clone(),
                sample: r.payload.clone(),
            }));
        }
        out.sort_by_key(|r| std::cmp::Reverse(r.at));
        out.truncate(limit);
        out
    }

    fn acknowledge(&self, site: &str, alarm: &str, act: &Act) -> Result<Done, Fault> {
        let s = self.find(site)?;
        let seen = s.book().acknowledge(alarm, &act.who);
        let seen =
            seen.ok_or_else(|| Fault::unknown("alarm", format!("no alarm {alarm:?} is up at {site}"), "GET /api/v1/sites lists them"))?;
        let at = s.core().ingest.clock().unwrap_or_else(host_now);
        self.file(ActOf { site, at, who: &act.who, why: &act.why, act: serde_json::json!({ "acknowledge": alarm }) });
        alarms::file(s, "acknowledged", seen);
        s.changed();
        Ok(Done { text: format!("{alarm} is acknowledged; it is told again when it clears or becomes worse") })
    }

    fn alarms(&self, site: &str, from: Timestamp, to: Timestamp, limit: usize) -> Result<Vec<AlarmEvent>, Fault> {
        let s = self.find(site)?;
        let records = s.store.records("alarm", site, from, to, limit);
        let records = records.map_err(|e| Fault::unavailable(e.to_string(), "look at the service's log"))?;
        Ok(records.iter().rev().filter_map(|r| serde_json::from_slice(&r.json).ok()).collect())
    }

    fn audit(&self, site: Option<&str>, limit: usize) -> Result<Vec<AuditEntry>, Fault> {
        let ids = self.sites.iter().map(|s| s.id()).filter(|id| site.is_none_or(|s| s == *id));
        let mut all = Vec::new();
        for id in ids {
            let newest = self.audit.newest(id, limit);
            all.extend(newest.map_err(|e| Fault::unavailable(e.to_string(), "look at the service's log"))?);
        }
        all.sort_by_key(|e| std::cmp::Reverse((e.host_at, e.seq)));
        all.truncate(limit);
        Ok(all)
    }

    fn demo(&self) -> Option<serde_json::Value> {
        self.demo_view().and_then(|d| d.result)
    }

    fn tally(&self) -> Vec<(&'static str, String, u64)> {
        self.tally.rows()
    }

    fn gauges(&self) -> Vec<Gauge> {
        let mut out = Gauges::default();
        for s in &self.sites {
            out.service(s);
            out.plant(s, &self.status(s));
        }
        if let Some(m) = &self.influx.mirror {
            out.mirror(m);
        }
        out.store(&self.store.stats());
        out.done()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}
