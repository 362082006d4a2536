//! One controller stands by while another process is in charge, and takes over from where that one was.
//!
//! Invariants: who stands by asks for nothing and hands nothing back (the other one's requests are out, not ours); who takes over
//! keeps the operators' orders, and counts dwell and slew from the requests that the other one sent.

use super::super::mode::{Mode, Operation, Orders};
use super::{Approval, Controller, Track};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What passes from one controller to the next.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Handed {
    pub wanted: Operation,
    pub orders: Orders,
    pub approval: Option<Approval>,
    /// The newest request of each actuator, by its identifier.
    pub asked: Vec<(String, Timestamp, f64)>,
}

impl Controller {
    /// What a successor must know.
    pub fn handed(&self) -> Handed {
        let asked = (self.actuators.iter().zip(&self.tracks)).filter_map(|(a, t)| t.asked.map(|(at, v)| (a.id.clone(), at, v)));
        Handed { wanted: self.wanted, orders: self.orders.clone(), approval: self.approval.clone(), asked: asked.collect() }
    }

    /// Another one is in charge from now on, or still.
    pub fn stand_by(&mut self) {
        self.set_aside.get_or_insert(self.wanted);
        self.wanted = Operation::Shadow;
        self.tracks.iter_mut().for_each(Track::release);
        self.memory.iter_mut().for_each(super::Memory::release);
        self.approval = None;
        if !matches!(self.mode, Mode::Warming { .. }) {
            self.mode = Mode::Shadow;
        }
    }

    /// Takes charge, with what the one before has told, where it has.
    pub fn take_over(&mut self, handed: Option<Handed>) {
        let own = self.set_aside.take();
        let Some(h) = handed else {
            self.wanted = own.unwrap_or(self.wanted);
            return;
        };
        (self.wanted, self.orders, self.approval) = (h.wanted, h.orders, h.approval);
        for (id, at, value) in h.asked {
            let Some(i) = self.actuators.iter().position(|a| a.id == id) else { continue };
            if let (Some(track), Some(memory)) = (self.tracks.get_mut(i), self.memory.get_mut(i)) {
                track.asked = Some((at, value));
                track.changed_at = Some(at);
                memory.inherit(at, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::mode::Order;
    use super::*;
    use crate::event::Tally;
    use crate::site::SiteFile;
    use std::path::Path;

    #[test]
    fn the_successor_keeps_orders_and_requests_and_the_other_lets_go() {
        let site = SiteFile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sensors/bsc-hq/site.toml")).unwrap();
        let (mut a, mut b) = (Controller::new(&site, Timestamp(0)), Controller::new(&site, Timestamp(0)));
        let wanted = a.wanted();
        b.stand_by();
        b.stand_by();
        assert_eq!(b.wanted(), Operation::Shadow);
        let first = site.actuators[0].clone();
        let pin = Order::Pin { actuator: first.id.clone(), value: first.lo };
        a.order(pin, "Maria", "test", Timestamp(1), &Tally::new()).unwrap();
        a.order(Order::Hold, "Maria", "test", Timestamp(2), &Tally::new()).unwrap();
        a.tracks[0].ask(Timestamp(3), first.lo, first.lo);
        let text = serde_json::to_string(&a.handed()).unwrap();
        a.stand_by();
        assert!(!a.is_out());
        b.take_over(Some(serde_json::from_str(&text).unwrap()));
        assert_eq!((b.wanted(), b.orders(), b.asked(0)), (wanted, a.orders(), Some((first.lo, Timestamp(3)))));
        a.take_over(None);
        assert_eq!(a.wanted(), wanted, "what it wanted itself, where nobody tells");
    }

    #[test]
    fn an_approval_of_some_setpoints_is_read_again_and_dwell_counts_from_the_others_request() {
        let site = SiteFile::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sensors/bsc-hq/site.toml")).unwrap();
        let (mut a, mut b) = (Controller::new(&site, Timestamp(0)), Controller::new(&site, Timestamp(0)));
        let mut targets = vec![None; site.actuators.len()];
        targets[0] = Some(31.0);
        let approval = Approval { recommendation: "r".into(), who: "Maria".into(), why: String::new(), at: Timestamp(1), targets };
        a.approval = Some(approval.clone());
        a.tracks[0].ask(Timestamp(60_000), 31.0, 30.0);
        let text = serde_json::to_string(&a.handed()).unwrap();
        b.take_over(Some(serde_json::from_str(&text).unwrap()));
        assert_eq!(b.approval(), Some(&approval));
        let dwell = crate::time::Span::minutes(20);
        let switched = |at: i64| b.memory[0].may_switch(Timestamp(at), dwell);
        assert_eq!([switched(60_000 + 19 * 60_000), switched(60_000 + 20 * 60_000)], [false, true]);
    }
}
