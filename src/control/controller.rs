//! One site's controller: mode and memory between ticks; analyses first, then acts in one place.
//!
//! Words: *fit* = nothing stands against automatic control; an *approval* lets the targets of one recommendation go out
//! in advise, for [`APPROVAL`].
//! Invariants: nothing leaves but through [`check`]; in shadow nothing leaves; a missed tick does no harm (requests lapse
//! on the other side after their hold time, ours are renewed each tick).

mod handover;
mod learning;
mod loops;
mod surprise;

use super::check::{self, Memory};
use super::desk::Track;
use super::explain;
use super::learn::Excitation;
use super::mode::{Hold, Mode, ModeEvent, Operation, Order, Orders, Pin, Why};
use super::plan::{Plan, Start, Tuning, plan};
use super::recommendation::{Binding, Expects, Item, Recommendation, Withheld};
use super::view::View;
use crate::event::{MODE_CHANGES, REQUESTS, TICKS, Tally, WITHHELD};
use crate::plant::predict::Predict;
use crate::site::{Actuator, SiteFile};
use crate::time::{Span, Timestamp};
pub use handover::Handed;
use serde::{Deserialize, Serialize};
use surprise::Surprise;

/// How long an approval lets its targets be followed.
pub const APPROVAL: Span = Span::hours(2);
/// A heartbeat older than this is lost (it comes every 10 s).
pub const HEARTBEAT_LOST: Span = Span::minutes(2);

/// A setpoint to publish to all request points of an actuator.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Index and identifier in the site file.
    pub actuator: usize,
    pub id: String,
    /// Canonical unit.
    pub value: f64,
}

/// What one tick brought.
#[derive(Clone, Debug, Default)]
pub struct Tick {
    pub recommendation: Option<Recommendation>,
    pub requests: Vec<Request>,
    pub mode_events: Vec<ModeEvent>,
}

/// Why an approval was not taken.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum ApproveError {
    #[error("recommendation {id} is not the newest of {site}; the newest is {newest}")]
    NotNewest { site: String, id: String, newest: String },
    #[error("recommendation {id} lapsed at {until}; approve the newest")]
    Lapsed { id: String, until: Timestamp },
    #[error("{site} is in {mode}; an approval counts in advise only")]
    NotAdvise { site: String, mode: &'static str },
}

/// Why an order was not taken.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum OrderError {
    #[error("no actuator of {site} is named {id:?}")]
    NoActuator { site: String, id: String },
    #[error("{value} is outside {lo} … {hi} of {id}")]
    OutOfBounds { id: String, value: f64, lo: f64, hi: f64 },
    #[error("no loop of {site} is named {id:?}")]
    NoLoop { site: String, id: String },
}

/// An approval that stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Approval {
    pub recommendation: String,
    pub who: String,
    pub why: String,
    pub at: Timestamp,
    /// One per actuator; `None` where the recommendation asks nothing of it. (A NaN would be written as null, which no number is read from.)
    pub targets: Vec<Option<f64>>,
}

/// The controller of one site.
#[derive(Clone, Debug)]
pub struct Controller {
    site: String,
    actuators: Vec<Actuator>,
    /// Identifiers of the site's loops.
    loops: Vec<String>,
    wanted: Operation,
    /// What was wanted before another service took charge; we stand by.
    set_aside: Option<Operation>,
    mode: Mode,
    orders: Orders,
    tracks: Vec<Track>,
    memory: Vec<Memory>,
    prior: Option<Vec<f64>>,
    settled: Option<Vec<f64>>,
    surprise: Surprise,
    last: Option<Recommendation>,
    approval: Option<Approval>,
    tuning: Tuning,
    started: bool,
    /// The site lets us move setpoints to identify it.
    may_learn: bool,
    excitation: Option<Excitation>,
    /// When the first model that was learnt here came into force.
    learnt_since: Option<Timestamp>,
    /// Offsets of the newest requests from the plan, per actuator.
    offsets: Vec<f64>,
    /// What the newest announcement of a learning step said.
    announced: Vec<f64>,
    ticks: u64,
}

impl Controller {
    pub fn new(site: &SiteFile, now: Timestamp) -> Controller {
        Controller::with_tuning(site, now, Tuning::default())
    }

    pub fn with_tuning(site: &SiteFile, now: Timestamp, tuning: Tuning) -> Controller {
        let n = site.actuators.len();
        Controller {
            site: site.site.id.clone(),
            actuators: site.actuators.clone(),
            loops: site.loops.iter().map(|l| l.id.clone()).collect(),
            wanted: site.control.mode.into(),
            set_aside: None,
            mode: Mode::Warming { since: now, waiting_for: vec![] },
            orders: Orders::default(),
            tracks: vec![Track::default(); n],
            memory: vec![Memory::default(); n],
            prior: None,
            settled: None,
            surprise: Surprise::default(),
            last: None,
            approval: None,
            tuning,
            started: false,
            may_learn: site.control.learns(),
            excitation: None,
            learnt_since: None,
            offsets: vec![],
            announced: vec![],
            ticks: 0,
        }
    }

    pub fn mode(&self) -> &Mode {
        &self.mode
    }
    pub fn wanted(&self) -> Operation {
        self.wanted
    }
    pub fn orders(&self) -> &Orders {
        &self.orders
    }
    pub fn tuning(&self) -> &Tuning {
        &self.tuning
    }
    /// Plans otherwise from now on.
    pub fn retune(&mut self, tuning: Tuning) {
        self.tuning = tuning;
    }
    pub fn last(&self) -> Option<&Recommendation> {
        self.last.as_ref()
    }
    pub fn approval(&self) -> Option<&Approval> {
        self.approval.as_ref()
    }
    /// Our newest request to an actuator.
    pub fn asked(&self, actuator: usize) -> Option<(f64, Timestamp)> {
        self.tracks.get(actuator)?.asked.map(|(t, v)| (v, t))
    }

    /// Takes an operator's order. Leaving auto counts at once; setpoints then go back by slew from the next tick on.
    pub fn order(&mut self, order: Order, who: &str, why: &str, now: Timestamp, tally: &Tally) -> Result<Vec<ModeEvent>, OrderError> {
        let named = |id: &String| {
            self.actuators.iter().find(|a| a.id == *id).ok_or(OrderError::NoActuator { site: self.site.clone(), id: id.clone() })
        };
        let note = format!("{order:?}: {why}");
        match order {
            Order::Mode { to } => self.wanted = to,
            Order::Leave => self.wanted = Operation::Shadow,
            Order::Hold => self.orders.hold = Some(Hold { who: who.into(), why: why.into(), since: now }),
            Order::Release => self.orders.hold = None,
            Order::Pin { actuator, value } => {
                let a = named(&actuator)?;
                if !(a.lo <= value && value <= a.hi) {
                    return Err(OrderError::OutOfBounds { id: actuator, value, lo: a.lo, hi: a.hi });
                }
                self.orders.pins.insert(actuator, Pin { value, who: who.into(), why: why.into(), since: now });
            }
            Order::Unpin { actuator } => {
                named(&actuator)?;
                self.orders.pins.remove(&actuator);
            }
            Order::LoopMode { .. } | Order::LoopHold { .. } => self.order_loop(order, who, why, now)?,
        }
        let before = self.mode.name();
        if self.wanted == Operation::Shadow && !matches!(self.mode, Mode::Warming { .. } | Mode::Shadow) {
            self.approval = None;
            self.mode = match self.is_out() {
                true => Mode::FailSafe { why: vec![], since: now, fit_ticks: 0, done: false },
                false => Mode::Shadow,
            };
        }
        Ok(vec![self.event(before, note, who, now, tally)])
    }

    /// Lets the targets of the newest recommendation go out (advise).
    pub fn approve(&mut self, id: &str, who: &str, why: &str, now: Timestamp) -> Result<(), ApproveError> {
        let advised = |a: &Actuator| self.orders.operation(&a.loop_id, self.wanted) == Operation::Advise;
        if self.mode != Mode::Advise && !(self.mode == Mode::Auto && self.actuators.iter().any(advised)) {
            return Err(ApproveError::NotAdvise { site: self.site.clone(), mode: self.mode.name() });
        }
        let newest = self.last.as_ref().map_or("none", |r| r.id.as_str());
        let Some(r) = self.last.as_ref().filter(|r| r.id == id) else {
            return Err(ApproveError::NotNewest { site: self.site.clone(), id: id.into(), newest: newest.into() });
        };
        if !r.is_valid(now) {
            return Err(ApproveError::Lapsed { id: id.into(), until: r.valid_until });
        }
        let target = |a: &Actuator| r.items.iter().find(|i| i.actuator == a.id).map(|i| i.target).filter(|v| v.is_finite());
        let targets = self.actuators.iter().map(target).collect();
        self.approval = Some(Approval { recommendation: id.into(), who: who.into(), why: why.into(), at: now, targets });
        Ok(())
    }

    /// One tick on the site's clock.
    pub fn tick(&mut self, view: &View, model: Option<&dyn Predict>, tally: &Tally) -> Tick {
        tally.add(TICKS, &self.site, 1);
        self.ticks += 1;
        self.observe(view, tally);
        // Analyse.
        let mut unfit = assess(view, model);
        let usable = model.filter(|m| m.fit().usable());
        self.surprise.see(view, usable);
        let start = self.clean_start(view);
        let plan = usable.and_then(|m| plan(view, &start, m, &self.tuning));
        let advice = usable.and_then(|m| self.advice(view, &start, m));
        if let Some(p) = &plan {
            let limit = |i: &usize| view.site.limits.get(*i).map_or_else(String::new, |l| l.name.clone());
            unfit.extend(p.unknown_limits.iter().map(|i| Why::UnknownLimit(limit(i))));
        }
        let mut out = Tick { mode_events: self.step_mode(view, &unfit, tally), ..Tick::default() };
        if unfit.contains(&Why::KickedOut) {
            self.tracks.iter_mut().for_each(Track::release);
            self.memory.iter_mut().for_each(Memory::release);
            self.approval = None;
        }
        // Act.
        if let Some(mut p) = plan {
            if matches!(self.mode, Mode::Auto) {
                if self.may_learn {
                    self.learnt_since.get_or_insert(view.now);
                }
                p.first = self.dithered(view, &p);
            }
            let r = self.recommend(view, model, &p, advice.as_ref(), tally);
            self.prior = Some(p.targets.clone());
            self.settled = Some(p.settled.clone());
            if matches!(self.mode, Mode::Auto) {
                self.follow_loops(view, &p.first, &mut out.requests);
            }
            self.last = Some(r.clone());
            out.recommendation = Some(r);
        } else if matches!(self.mode, Mode::Auto) {
            self.renew(view, &mut out.requests);
        }
        match self.mode {
            Mode::Guarded { .. } => self.renew(view, &mut out.requests),
            Mode::Advise => self.follow_loops(view, &[], &mut out.requests),
            Mode::Learning { .. } => self.excite(view, &mut out),
            Mode::FailSafe { .. } if !unfit.contains(&Why::KickedOut) => self.hand_back(view, &|_| true, &mut out.requests),
            _ => {}
        }
        for r in &out.requests {
            tally.add(REQUESTS, &format!("{}/{}", self.site, r.id), 1);
        }
        debug_assert!(out.requests.iter().all(|r| r.value.is_finite()));
        out
    }

    /// Steps the mode where no tick can run, because the site's clock stands still. Nothing is asked for: what is out
    /// lapses on the other side, which is the hand-back that a silent line allows.
    pub fn silent(&mut self, at: Timestamp, why: Why, tally: &Tally) -> Vec<ModeEvent> {
        if matches!(self.mode, Mode::Warming { .. } | Mode::Shadow) {
            return vec![];
        }
        let before = self.mode.name();
        let text = why.text();
        let next = self.mode.step(at, self.wanted, &[why], self.is_out(), false, false);
        let changed = next.name() != before;
        self.mode = next;
        if !changed {
            return vec![];
        }
        if matches!(self.mode, Mode::FailSafe { .. }) {
            self.tracks.iter_mut().for_each(Track::release);
            self.memory.iter_mut().for_each(Memory::release);
            self.approval = None;
        }
        vec![self.event(before, text, "", at, tally)]
    }

    fn observe(&mut self, view: &View, tally: &Tally) {
        // A site file that was exchanged for one with more actuators must not be met by too short a memory.
        let n = view.site.actuators.len().max(self.tracks.len());
        self.tracks.resize_with(n, Track::default);
        self.memory.resize_with(n, Memory::default);
        for (i, a) in view.site.actuators.iter().enumerate() {
            let (Some(seen), Some(track), Some(memory)) = (view.actuators.get(i), self.tracks.get_mut(i), self.memory.get_mut(i)) else {
                continue;
            };
            // What was asked before a restart has lapsed by now, or its clock was another one.
            let lapsed = |at: Timestamp| view.now < at || view.now - at >= view.site.control.valid();
            if !self.started && track.asked.is_some_and(|(at, _)| lapsed(at)) {
                track.release();
                memory.release();
            }
            if !seen.in_force.is_stale() {
                track.see(view.now, seen.in_force.value, a, &self.site, tally);
                memory.in_force(view.now, seen.in_force.value);
            }
        }
        self.started = true;
        if self.approval.as_ref().is_some_and(|a| view.now - a.at >= APPROVAL) {
            self.approval = None;
        }
    }

    fn step_mode(&mut self, view: &View, unfit: &[Why], tally: &Tally) -> Vec<ModeEvent> {
        let done = self.handed_back(view);
        let may_learn = self.may_learn && self.orders.hold.is_none();
        let next = self.mode.step(view.now, self.wanted, unfit, self.is_out(), done, may_learn);
        let before = self.mode.name();
        let changed = before != next.name();
        self.mode = next;
        if !changed {
            return vec![];
        }
        let why = match unfit {
            [] => "fit".to_owned(),
            _ => unfit.iter().map(Why::text).collect::<Vec<_>>().join("; "),
        };
        vec![self.event(before, why, "", view.now, tally)]
    }

    fn event(&self, from: &'static str, why: String, who: &str, at: Timestamp, tally: &Tally) -> ModeEvent {
        let to = self.mode.name();
        if from != to {
            tally.add(MODE_CHANGES, &format!("{}/{from}>{to}", self.site), 1);
        }
        ModeEvent { at, site: self.site.clone(), from: from.into(), to: to.into(), why, who: who.into() }
    }

    /// Are requests of ours out?
    fn is_out(&self) -> bool {
        self.tracks.iter().any(|t| t.asked.is_some())
    }

    fn handed_back(&self, view: &View) -> bool {
        let back = |(i, t): (usize, &Track)| {
            let Some((_, asked)) = t.asked else { return true };
            let (Some(a), Some(v)) = (view.site.actuators.get(i), view.actuators.get(i)) else { return true };
            (asked - a.default).abs() < 1e-6 && (v.in_force.value - a.default).abs() <= near(a)
        };
        self.tracks.iter().enumerate().all(back)
    }

    fn start(&self, view: &View) -> Start {
        let tick = view.site.control.tick();
        let mut s = Start {
            base: vec![],
            reach: vec![],
            fixed: vec![],
            prior: self.prior.clone(),
            settled: self.settled.clone(),
            surprise: self.surprise.by_limit(),
        };
        for (i, a) in view.site.actuators.iter().enumerate() {
            let in_force = view.actuators.get(i).map_or(f64::NAN, |v| v.in_force.value);
            let track = &self.tracks[i];
            let operation = self.operation(a);
            // What was asked and has come into force, but for the noise of its read-back, is the base.
            let base = track.asked.map(|(_, v)| v).filter(|v| (v - in_force).abs() <= near(a)).unwrap_or(in_force);
            let pin = self.orders.pins.get(&a.id).map(|p| p.value);
            let still = self.orders.hold(&a.loop_id).is_some() || view.actuators.get(i).is_none_or(|v| v.request_points == 0);
            let reach = match a.is_discrete() {
                true if self.memory[i].may_switch(view.now, Span::seconds(i64::from(a.dwell_s))) => (a.lo, a.hi),
                true => (base, base),
                false if track.dwell_over(a, view.now) => track.reach(a, in_force, view.now, tick),
                false => (base, base),
            };
            s.base.push(base);
            s.reach.push(reach);
            s.fixed.push(pin.or(still.then_some(base)).or_else(|| self.not_ours(i, a, operation, base)));
        }
        s
    }

    fn recommend(&self, view: &View, model: Option<&dyn Predict>, acted: &Plan, advice: Option<&Plan>, tally: &Tally) -> Recommendation {
        let (mut items, mut withheld) = (vec![], vec![]);
        for (i, a) in view.site.actuators.iter().enumerate() {
            // What a loop would be asked for that is not in auto stands in the plan that leaves it free.
            let p = advice.filter(|_| self.operation(a) != Operation::Auto).unwrap_or(acted);
            let from = view.actuators.get(i).map_or(f64::NAN, |v| v.in_force.value);
            let unit = unit_of(view, a);
            match check::check(view, i, p.first[i], &self.memory[i], &self.orders, false) {
                None => items.push(Item {
                    actuator: a.id.clone(),
                    name: a.name.clone(),
                    unit: unit.into(),
                    from,
                    asked: p.first[i],
                    target: p.targets[i],
                    reason: explain::reason(a, from, p.first[i], p.targets[i], unit),
                }),
                Some(reason) => {
                    tally.add(WITHHELD, &format!("{}/{}", self.site, a.id), 1);
                    withheld.push(Withheld { actuator: a.id.clone(), asked: p.first[i], reason });
                }
            }
        }
        let p = acted;
        let horizon_h = self.tuning.step.as_hours_f64() * self.tuning.steps as f64;
        let known = |v: f64| v.is_finite().then_some(v);
        let limit = |(i, margin): (usize, f64)| {
            view.site.limits.get(i).map(|l| {
                let unit = view.role(&l.role).kind.step_unit().to_owned();
                Binding { limit: l.id.clone(), name: l.name.clone(), margin, unit }
            })
        };
        let expects = Expects {
            horizon_h,
            plan_kwh: p.plan_kwh,
            saves_vs_fixed_kwh: p.fixed_kwh - p.plan_kwh,
            saves_vs_hold_kwh: p.hold_kwh - p.plan_kwh,
            plus_minus_kwh: p.plus_minus_kwh,
            kwh_per_gpu_hour: view.gpus_allocated.filter(|g| *g > 0.0).map(|g| p.plan_kwh / (g * horizon_h)),
            binding: p.binding.and_then(limit),
            feasible: p.feasible(),
            objective: view.site.control.objective,
            saves_vs_fixed_eur: known(p.fixed_toll.eur - p.plan_toll.eur),
            saves_vs_fixed_kg_co2: known(p.fixed_toll.kg_co2 - p.plan_toll.kg_co2),
            peak_kw: known(p.plan_toll.peak_kw),
            peak_fixed_kw: known(p.fixed_toll.peak_kw),
        };
        let explanation = explain::explain(view, p, &items, &withheld, &expects);
        let mut models: Vec<String> = model.iter().map(|m| m.name().to_owned()).collect();
        models.extend(view.loads.iter().map(|l| l.model.clone()));
        Recommendation {
            id: String::new(),
            parent: self.last.as_ref().map(|r| r.id.clone()),
            site: self.site.clone(),
            made_at: view.now,
            valid_until: view.now + view.site.control.valid(),
            mode: self.mode.name().into(),
            inputs_digest: view.digest(),
            models,
            items,
            withheld,
            expects,
            explanation,
        }
        .sealed()
    }

    /// Asks for `values`, each through the checker; what is withheld falls back to a renewal of what was asked. An actuator whose
    /// value is infinite is left out.
    fn follow(&mut self, view: &View, values: &[f64], hand_back: bool, out: &mut Vec<Request>) {
        for (i, &value) in values.iter().enumerate().filter(|(_, v)| !v.is_infinite()) {
            let in_force = view.actuators.get(i).map_or(f64::NAN, |v| v.in_force.value);
            let before = self.tracks[i].asked.map(|(_, v)| v);
            if before.is_none() && (value - in_force).abs() < 1e-9 {
                continue;
            }
            let pass = |v: &f64| check::check(view, i, *v, &self.memory[i], &self.orders, hand_back).is_none();
            if let Some(v) = [Some(value), before].into_iter().flatten().find(pass) {
                self.send(view, i, v, in_force, out);
            }
        }
    }

    fn renew(&mut self, view: &View, out: &mut Vec<Request>) {
        let values: Vec<f64> = self.tracks.iter().map(|t| t.asked.map_or(f64::NAN, |(_, v)| v)).collect();
        self.follow(view, &values, false, out);
    }

    /// Follows the approved targets of some actuators, or hands them back where nothing is approved.
    fn follow_approval(&mut self, view: &View, of: &dyn Fn(usize) -> bool, out: &mut Vec<Request>) {
        match self.approval.clone() {
            Some(a) => {
                let targets: Vec<f64> = a.targets.iter().map(|t| t.unwrap_or(f64::NAN)).collect();
                let values = only(self.towards(view, &targets), of);
                self.follow(view, &values, false, out);
            }
            None => self.hand_back(view, of, out),
        }
    }

    fn hand_back(&mut self, view: &View, of: &dyn Fn(usize) -> bool, out: &mut Vec<Request>) {
        let defaults: Vec<f64> = view.site.actuators.iter().map(|a| a.default).collect();
        let mut values = self.towards(view, &defaults);
        for (i, a) in view.site.actuators.iter().enumerate().filter(|(i, _)| of(*i)) {
            let there = view.actuators.get(i).is_some_and(|v| (v.in_force.value - a.default).abs() <= 0.5 * a.step);
            if self.tracks[i].asked.is_none() {
                values[i] = f64::NAN;
            } else if there {
                // Back where the operators want it: the request may lapse.
                self.tracks[i].release();
                self.memory[i].release();
                values[i] = f64::NAN;
            }
        }
        self.follow(view, &only(values, of), true, out);
    }

    fn towards(&self, view: &View, targets: &[f64]) -> Vec<f64> {
        let s = self.start(view);
        (view.site.actuators.iter().enumerate())
            .map(|(i, _)| {
                let target = targets.get(i).copied().filter(|t| t.is_finite()).unwrap_or(s.base[i]);
                let (lo, hi) = s.reach[i];
                if view.site.actuators[i].is_discrete() {
                    return if lo < hi { target.round() } else { s.base[i].round() };
                }
                if lo <= hi && target.is_finite() { target.clamp(lo, hi) } else { f64::NAN }
            })
            .collect()
    }

    fn send(&mut self, view: &View, i: usize, value: f64, in_force: f64, out: &mut Vec<Request>) {
        self.tracks[i].ask(view.now, value, in_force);
        self.memory[i].sent(view.now, value, in_force);
        out.push(Request { actuator: i, id: view.site.actuators[i].id.clone(), value });
    }
}

/// How near a read-back is that is taken for the value itself.
fn near(a: &Actuator) -> f64 {
    if a.is_discrete() { 0.5 * a.step } else { a.step }
}

/// Values of some actuators; the others are marked to be left out.
fn only(values: Vec<f64>, of: &dyn Fn(usize) -> bool) -> Vec<f64> {
    values.into_iter().enumerate().map(|(i, v)| if of(i) { v } else { f64::INFINITY }).collect()
}

fn unit_of(view: &View, a: &Actuator) -> &'static str {
    view.actuators.iter().zip(&view.site.actuators).find(|(_, x)| x.id == a.id).map_or("", |(v, _)| v.unit)
}

/// What stands against automatic control now.
pub fn assess(view: &View, model: Option<&dyn Predict>) -> Vec<Why> {
    let mut why = vec![];
    if !view.link.broker_up {
        why.push(Why::BrokerDown);
    }
    if view.link.heartbeat_age > HEARTBEAT_LOST {
        why.push(Why::HeartbeatLost);
    }
    if view.link.ai_status.is_some_and(|s| s != 1) {
        why.push(Why::KickedOut);
    }
    match model {
        None => why.push(Why::NoModel),
        Some(m) if !m.fit().usable() => {
            let f = m.fit();
            why.push(Why::BadFit(format!("CV-RMSE {:.1} %, bias {:.1} %, {} rows", f.cv_rmse_pct, f.nmbe_pct, f.rows)));
        }
        Some(_) => {}
    }
    if view.drifted {
        why.push(Why::Drifted);
    }
    let mut stale: Vec<String> = vec![];
    for l in &view.site.limits {
        for role in std::iter::once(&l.role).chain(&l.above) {
            if view.role(role).is_stale() && !stale.contains(role) {
                stale.push(role.clone());
            }
        }
    }
    for (a, v) in view.site.actuators.iter().zip(&view.actuators) {
        if v.in_force.is_stale() {
            stale.push(format!("{} in force", a.id));
        }
        // Well outside its bounds: no operator sets that, a wrong unit does.
        let far = (v.in_force.value - a.hi).max(a.lo - v.in_force.value);
        if far > (0.25 * (a.hi - a.lo)).max(a.step) {
            why.push(Why::OutOfBounds(format!(
                "{}: {:.1} {} in force is far outside its bounds {:.1} … {:.1}: say in which `unit` the site file gives them, or mend `in_force`",
                a.name, v.in_force.value, v.unit, a.lo, a.hi
            )));
        }
    }
    for (l, f) in view.site.loads().zip(&view.loads) {
        let bad = |s: &[f64]| s.is_empty() || s.iter().any(|v| !v.is_finite());
        if bad(&f.p50_kw) || bad(&f.p90_kw) || view.role(l).is_stale() {
            stale.push(format!("load {l}"));
        }
    }
    if !(view.weather.dry_bulb_c.is_finite() && view.weather.wet_bulb_c.is_finite()) {
        stale.push("weather".into());
    }
    why.extend(stale.into_iter().map(Why::Stale));
    why
}
