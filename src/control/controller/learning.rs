//! How the controller moves setpoints to learn: excitation before there is a model, small offsets afterwards.
//!
//! Words: an *offset* is what a request differs from its plan by, so that the plant goes on telling its effects. Invariant: everything here goes out through [`super::check`] like any request,
//! stays off limits by more than their margins, and stops with a hold, a pin, or a limit that comes near.

use super::super::learn::{self, Excitation, halton, prime};
use super::super::mode::{Mode, Operation};
use super::super::plan::{Plan, Start};
use super::super::recommendation::{Expects, Item, Recommendation};
use super::super::view::View;
use super::{Controller, Tick, unit_of};
use crate::time::Span;

/// Dither of a learnt model's plan: half its width as a share of bounds, in common for all temperatures (the narrowest
/// bounds count) and for each setpoint alone, and how long one offset is held; while the model is young, and later.
/// Without it a closed loop hides what it does from identification (Ljung 1999, ch. 13). Held long, because each fall of a
/// setpoint costs something; wider in common, because how far a plant is cooled says more than how loops lie to one another
/// and costs less to try.
const DITHER_YOUNG: (f64, f64, Span) = (0.06, 0.02, Span::hours(1));
const DITHER_LATER: (f64, f64, Span) = (0.05, 0.015, Span::hours(3));
/// How long a model is young.
const YOUNG: Span = Span::hours(36);

impl Controller {
    /// A learning step: moves every setpoint towards its next level, and announces levels that are new.
    pub(super) fn excite(&mut self, view: &View, out: &mut Tick) {
        let mut excitation = self.excitation.take().unwrap_or_else(|| Excitation::new(&view.site, view.now));
        let mut targets = excitation.targets(view);
        for (t, a) in targets.iter_mut().zip(&view.site.actuators) {
            if let Some(pin) = self.orders.pins.get(&a.id) {
                *t = pin.value;
            } else if a.is_discrete() || self.orders.operation(&a.loop_id, self.wanted) != Operation::Auto {
                // Machines are not switched to learn, and loops that are not in auto are not moved.
                *t = a.default;
            }
        }
        let values = self.towards(view, &targets);
        if self.announced != targets {
            out.recommendation = Some(self.announce(view, &values, &targets, &excitation));
            self.announced.clone_from(&targets);
            self.last.clone_from(&out.recommendation);
        }
        self.follow(view, &values, false, &mut out.requests);
        self.excitation = Some(excitation);
    }

    fn announce(&self, view: &View, values: &[f64], targets: &[f64], excitation: &Excitation) -> Recommendation {
        let items: Vec<Item> = (view.site.actuators.iter().enumerate())
            .map(|(i, a)| Item {
                actuator: a.id.clone(),
                name: a.name.clone(),
                unit: unit_of(view, a).into(),
                from: view.actuators.get(i).map_or(f64::NAN, |v| v.in_force.value),
                asked: values[i],
                target: targets[i],
                reason: "learning: a step inside the guardrails, so that its effect can be told".into(),
            })
            .collect();
        let why = match excitation.retreat_why.as_str() {
            "" => "learning how the plant answers: setpoints move on their own, inside every limit; hold, leave auto or the building management system's switch stop it".to_owned(),
            why => format!("learning is interrupted, setpoints go back: {why}"),
        };
        let horizon_h = self.tuning.step.as_hours_f64() * self.tuning.steps as f64;
        Recommendation {
            id: String::new(),
            parent: self.last.as_ref().map(|r| r.id.clone()),
            site: self.site.clone(),
            made_at: view.now,
            valid_until: view.now + view.site.control.valid(),
            mode: self.mode.name().into(),
            inputs_digest: view.digest(),
            models: vec![],
            items,
            withheld: vec![],
            expects: Expects { horizon_h, feasible: true, ..Expects::default() },
            explanation: why,
        }
        .sealed()
    }

    /// Where a plan begins: at the setpoints as they would be without offsets.
    pub(super) fn clean_start(&mut self, view: &View) -> Start {
        let mut start = self.start(view);
        if !matches!(self.mode, Mode::Auto) {
            self.offsets.clear();
        }
        for (i, offset) in self.offsets.iter().enumerate() {
            if start.fixed[i].is_none() {
                start.base[i] -= offset;
            }
        }
        start
    }

    /// The plan's requests with small known offsets, where the model was learnt and no limit is near.
    pub(super) fn dithered(&mut self, view: &View, p: &Plan) -> Vec<f64> {
        let mut first = p.first.clone();
        let Some(since) = self.learnt_since.filter(|_| p.feasible()) else {
            self.offsets.clear();
            return first;
        };
        self.offsets.resize(first.len(), 0.0);
        let limit = |i: usize| view.site.limits.get(i);
        // Limits on setpoints themselves are kept below; others know only of the plan's values.
        let near = p.binding.is_some_and(|(i, d)| limit(i).is_some_and(|l| l.actuator.is_none() && d < 2.0 * l.margin));
        let (common, alone, hold) = if view.now - since < YOUNG { DITHER_YOUNG } else { DITHER_LATER };
        let turn = 1 + ((view.now - since).0 / hold.0.max(1)) as u64;
        let is_temp = |i: usize| view.is_temp(i);
        let sites = || view.site.actuators.iter().enumerate();
        let narrowest = sites().filter(|(i, _)| is_temp(*i)).map(|(_, a)| a.hi - a.lo).fold(f64::MAX, f64::min);
        let number = |base: u64| 2.0 * halton(turn, base) - 1.0;
        let start = self.start(view);
        for (i, a) in sites() {
            if start.fixed[i].is_some() || a.is_discrete() {
                self.offsets[i] = 0.0;
                continue;
            }
            let still = near || self.orders.hold(&a.loop_id).is_some();
            let shared = if is_temp(i) { common * narrowest * number(2) } else { 0.0 };
            let wanted = if still { 0.0 } else { shared + alone * (a.hi - a.lo) * number(prime(i + 1)) };
            // As slowly as the plan's own moves; away from a limit, or where somebody holds, at once.
            let share = if still { 1.0 } else { self.tuning.follow_share(view.site.control.tick()) };
            let offset = self.offsets[i] + share * (wanted - self.offsets[i]);
            let (lo, hi) = start.reach[i];
            let (least, most) = learn::limits_of(view, a);
            // A plan that is itself nearer to a limit than this is not pushed further.
            let value = (p.first[i] + offset).clamp(least.min(p.first[i]), most.max(p.first[i])).clamp(a.lo, a.hi);
            first[i] = value.clamp(lo, hi.max(lo));
            self.offsets[i] = first[i] - p.first[i];
        }
        first
    }
}
