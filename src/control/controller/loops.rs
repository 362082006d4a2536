//! Loops that are run with more care than their site: one in advise or in shadow beside others in auto, one that is held.
//!
//! Invariants: a loop never does more than its site; the plan that is acted on knows that such a loop will not move (or where it goes
//! back to), so that no other loop leans on a move that nobody makes; what such a loop would be asked for is found by a second plan.

use super::super::mode::{Hold, LoopOrder, Operation, Order};
use super::super::plan::{Plan, Start, plan};
use super::super::view::View;
use super::{Controller, OrderError, Request};
use crate::plant::predict::Predict;
use crate::site::Actuator;
use crate::time::Timestamp;

impl Controller {
    /// What may be done with an actuator's loop.
    pub fn operation(&self, a: &Actuator) -> Operation {
        self.orders.operation(&a.loop_id, self.wanted)
    }

    pub(super) fn order_loop(&mut self, order: Order, who: &str, why: &str, now: Timestamp) -> Result<(), OrderError> {
        let (Order::LoopMode { id, .. } | Order::LoopHold { id, .. }) = &order else { return Ok(()) };
        if !self.loops.contains(id) {
            return Err(OrderError::NoLoop { site: self.site.clone(), id: id.clone() });
        }
        let standing = self.orders.loops.entry(id.clone()).or_default();
        match order {
            Order::LoopMode { to, .. } => standing.operation = to,
            Order::LoopHold { hold, .. } => standing.hold = hold.then(|| Hold { who: who.into(), why: why.into(), since: now }),
            _ => {}
        }
        self.orders.loops.retain(|_, o| *o != LoopOrder::default());
        Ok(())
    }

    /// Where an actuator is or goes that this tick's plan may not move: one whose loop is not in auto while its site is.
    pub(super) fn not_ours(&self, i: usize, a: &Actuator, operation: Operation, base: f64) -> Option<f64> {
        if operation == Operation::Auto || operation == self.wanted {
            return None;
        }
        let asked = self.tracks.get(i).is_some_and(|t| t.asked.is_some());
        let approved = self.approval.as_ref().and_then(|p| p.targets.get(i).copied().flatten());
        Some(match (operation, approved) {
            (Operation::Advise, Some(target)) => target,
            _ if asked => a.default,
            _ => base,
        })
    }

    /// The plan that leaves every loop free, where some are not: what those would be asked for.
    pub(super) fn advice(&self, view: &View, start: &Start, model: &dyn Predict) -> Option<Plan> {
        let own = |a: &Actuator| self.operation(a) != self.wanted;
        if !view.site.actuators.iter().any(own) {
            return None;
        }
        let mut free = start.clone();
        for (i, a) in view.site.actuators.iter().enumerate() {
            if own(a) && !self.orders.pins.contains_key(&a.id) && self.orders.hold(&a.loop_id).is_none() {
                free.fixed[i] = None;
            }
        }
        plan(view, &free, model, &self.tuning)
    }

    /// In auto and advise: loops in auto follow the plan, those in advise what was approved, those in shadow go back.
    pub(super) fn follow_loops(&mut self, view: &View, first: &[f64], out: &mut Vec<Request>) {
        let operations: Vec<Operation> = view.site.actuators.iter().map(|a| self.operation(a)).collect();
        let is = |what: Operation| move |i: usize| operations.get(i) == Some(&what);
        let (auto, advise, shadow) = (is.clone()(Operation::Auto), is.clone()(Operation::Advise), is(Operation::Shadow));
        self.follow(view, &super::only(first.to_vec(), &auto), false, out);
        self.follow_approval(view, &advise, out);
        self.hand_back(view, &shadow, out);
        out.sort_by_key(|r| r.actuator);
    }
}
