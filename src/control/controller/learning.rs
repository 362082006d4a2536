//! How the controller moves setpoints to learn: excitation before there is a model, small offsets afterwards.
//!
//! Words: an *offset* is what a request differs from its plan by, so that the plant goes on telling its effects. Invariant: everything here goes out through [`super::check`] like any request,
//! stays off limits by more than their margins, and stops with a hold, a pin, or a limit that comes near.

use super::super::learn::{self, Excitation, halton, prime};
use super::super::mode::Operation;
use super::super::plan::Plan;
use super::super::recommendation::{Expects, Item, Recommendation};
use super::super::view::View;
use super::{Controller, Tick, unit_of};
use crate::time::Span;

/// Dither of a learnt model's plan: half its width as a share of an actuator's bounds, while the model is young and later;
/// how long it is young; ticks that one offset is held. Without it a closed loop hides what it does from identification
/// (Ljung 1999, ch. 13).
const DITHER_YOUNG: f64 = 0.03;
const DITHER_LATER: f64 = 0.01;
const YOUNG: Span = Span::hours(36);
const DITHER_TICKS: u64 = 4;
/// Part of the way to its target that a setpoint goes in one tick on a learnt model: noise of load and weather should not
/// shake the loops, whose water makes heat or cold of every kelvin.
const FOLLOW: f64 = 0.4;

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

    /// The plan's requests, smoothed and with small known offsets, where the model was learnt and no limit is near.
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
        let age = view.now - since;
        let share = if age < YOUNG { DITHER_YOUNG } else { DITHER_LATER };
        let start = self.start(view);
        for (i, a) in view.site.actuators.iter().enumerate() {
            if start.fixed[i].is_some() || a.is_discrete() {
                continue;
            }
            let own = share * (a.hi - a.lo) * (2.0 * halton(1 + self.ticks / DITHER_TICKS, prime(i)) - 1.0);
            let offset = if near || self.orders.hold(&a.loop_id).is_some() { 0.0 } else { own };
            let before = self.offsets[i];
            let clean = start.base[i] - before;
            let (lo, hi) = start.reach[i];
            let (least, most) = learn::limits_of(view, a);
            let follow = if near { 1.0 } else { FOLLOW };
            let value = clean + follow * (p.targets[i] - clean) + offset;
            // A plan that is itself nearer to a limit than this is not pushed further.
            let value = value.clamp(least.min(p.first[i]), most.max(p.first[i]));
            first[i] = value.clamp(a.lo, a.hi).clamp(lo, hi.max(lo));
            self.offsets[i] = offset;
        }
        first
    }
}
