//! What the controller is allowed to do, and why.
//!
//! ```text
//!                    fit                       fit to act, and asked for
//!   Warming ───────────────► Shadow ◄──► Advise ◄──► Auto
//!      ▲                        ▲  operator's orders   │ ▲
//!      │ (start)                │                unfit │ │ fit for FIT_TICKS
//!      │                        │                      ▼ │
//!      │        kick-out, leave │                  Guarded{why}: moves nothing, renews what is in force
//!      │                        │                      │ ▲
//!      │                        │    longer than PATIENCE │ │ fit for FIT_TICKS
//!      │                        │                      ▼ │
//!      └────────────────────────┴──────────────── FailSafe{why}: hands back to the operators' setpoints, by slew
//! ```
//!
//! Where the site lets us learn, a plant without a usable model goes from Warming (after [`WATCH`] of good inputs) to
//! Learning, which moves setpoints inside the guardrails until a model passes its gates, and then to Auto; Learning is
//! left like Auto is.
//! Advise falls to Guarded and FailSafe only when one of its requests is out. A kick-out by the building management
//! system stops every request in the same tick. The controller returns by itself when it is fit again.

use crate::site::StartMode;
use crate::time::{Span, Timestamp};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Ticks of good inputs in a row before control resumes.
pub const FIT_TICKS: u32 = 2;
/// Time in Guarded before setpoints are handed back: over at the second tick of five minutes, wherever between two ticks it began.
pub const PATIENCE: Span = Span::seconds(301);
/// Time of good inputs before setpoints are moved to learn.
pub const WATCH: Span = Span::minutes(30);

/// What the operators want us to do when all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Shadow,
    Advise,
    Auto,
}

impl From<StartMode> for Operation {
    fn from(m: StartMode) -> Operation {
        match m {
            StartMode::Shadow => Operation::Shadow,
            StartMode::Advise => Operation::Advise,
            StartMode::Auto => Operation::Auto,
        }
    }
}

/// Why control is not free.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "why", content = "what")]
pub enum Why {
    BrokerDown,
    HeartbeatLost,
    KickedOut,
    NoModel,
    /// The model describes the plant badly, with its figures.
    BadFit(String),
    Drifted,
    /// A role or a setpoint is stale or unknown.
    Stale(String),
    /// The model does not know how a limited value will develop.
    UnknownLimit(String),
    /// A setpoint in force lies far outside its own bounds: the site file's numbers are of another unit, or another point.
    OutOfBounds(String),
}

impl Why {
    /// Nothing is wrong with the plant or the way to it: we only do not know it yet.
    pub fn is_ignorance(&self) -> bool {
        matches!(self, Why::NoModel | Why::BadFit(_) | Why::UnknownLimit(_))
    }

    pub fn text(&self) -> String {
        match self {
            Why::BrokerDown => "the broker cannot be reached".into(),
            Why::HeartbeatLost => "the building management system's heartbeat is lost".into(),
            Why::KickedOut => "the building management system has not enabled us".into(),
            Why::NoModel => "there is no plant model yet".into(),
            Why::BadFit(what) => format!("the plant model fits badly: {what}"),
            Why::Drifted => "the plant has drifted from its model".into(),
            Why::Stale(what) => format!("{what} is stale or unknown"),
            Why::UnknownLimit(what) => format!("the model does not know {what}"),
            Why::OutOfBounds(what) => what.clone(),
        }
    }
}

/// The mode; each state owns what it needs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "mode")]
pub enum Mode {
    Warming {
        since: Timestamp,
        waiting_for: Vec<Why>,
    },
    Shadow,
    Advise,
    Auto,
    /// Setpoints are moved so that the plant can be identified.
    Learning {
        since: Timestamp,
        waiting_for: Vec<Why>,
    },
    Guarded {
        why: Vec<Why>,
        since: Timestamp,
        fit_ticks: u32,
    },
    /// `done` = every setpoint is back at the operators' value.
    FailSafe {
        why: Vec<Why>,
        since: Timestamp,
        fit_ticks: u32,
        done: bool,
    },
}

impl Mode {
    pub fn name(&self) -> &'static str {
        match self {
            Mode::Warming { .. } => "warming",
            Mode::Shadow => "shadow",
            Mode::Advise => "advise",
            Mode::Auto => "auto",
            Mode::Learning { .. } => "learning",
            Mode::Guarded { .. } => "guarded",
            Mode::FailSafe { .. } => "fail-safe",
        }
    }

    fn of(operation: Operation) -> Mode {
        match operation {
            Operation::Shadow => Mode::Shadow,
            Operation::Advise => Mode::Advise,
            Operation::Auto => Mode::Auto,
        }
    }

    /// The next mode. `unfit` lists what is wrong now; `out` = requests of ours are in force somewhere; `done` = they are
    /// handed back; `may_learn` = the site lets us move setpoints to identify it.
    pub fn step(&self, now: Timestamp, wanted: Operation, unfit: &[Why], out: bool, done: bool, may_learn: bool) -> Mode {
        let kicked = unfit.contains(&Why::KickedOut);
        let fit = unfit.is_empty();
        let why = || unfit.to_vec();
        let learnable = may_learn && wanted == Operation::Auto && !fit && unfit.iter().all(Why::is_ignorance);
        match self {
            // The watch begins with the first tick on which nothing but a model is missing.
            Mode::Warming { waiting_for, .. } if learnable && !waiting_for.iter().all(Why::is_ignorance) => {
                Mode::Warming { since: now, waiting_for: why() }
            }
            Mode::Warming { since, waiting_for } if learnable && waiting_for.is_empty() && now - *since > WATCH => {
                Mode::Warming { since: now, waiting_for: why() }
            }
            Mode::Warming { since, .. } if learnable && now - *since >= WATCH => Mode::Learning { since: now, waiting_for: why() },
            Mode::Warming { since, .. } if !fit => Mode::Warming { since: *since, waiting_for: why() },
            Mode::Warming { .. } => Mode::of(wanted),
            _ if kicked => Mode::FailSafe { why: why(), since: self.since().unwrap_or(now), fit_ticks: 0, done: true },
            Mode::Shadow | Mode::Advise | Mode::Auto | Mode::Learning { .. } if wanted == Operation::Shadow => {
                if out {
                    self.hand_back(now, vec![], done)
                } else {
                    Mode::Shadow
                }
            }
            Mode::Shadow | Mode::Advise | Mode::Auto | Mode::Learning { .. } if fit => Mode::of(wanted),
            Mode::Learning { since, .. } if learnable => Mode::Learning { since: *since, waiting_for: why() },
            Mode::Shadow | Mode::Advise | Mode::Auto if learnable => Mode::Learning { since: now, waiting_for: why() },
            Mode::Shadow => Mode::Shadow,
            Mode::Advise if !out => Mode::Advise,
            Mode::Advise | Mode::Auto | Mode::Learning { .. } => Mode::Guarded { why: why(), since: now, fit_ticks: 0 },
            Mode::Guarded { since, fit_ticks, why: before } => {
                if wanted == Operation::Shadow {
                    self.hand_back(now, before.clone(), done)
                } else if fit || learnable {
                    let n = fit_ticks + 1;
                    if n >= FIT_TICKS {
                        if fit { Mode::of(wanted) } else { Mode::Learning { since: now, waiting_for: why() } }
                    } else if now - *since >= PATIENCE {
                        // One good tick at the end of the patience proves nothing: what flaps is handed back no later than what stays away.
                        Mode::FailSafe { why: before.clone(), since: now, fit_ticks: n, done }
                    } else {
                        Mode::Guarded { why: before.clone(), since: *since, fit_ticks: n }
                    }
                } else if now - *since >= PATIENCE {
                    self.hand_back(now, why(), done)
                } else {
                    Mode::Guarded { why: why(), since: *since, fit_ticks: 0 }
                }
            }
            Mode::FailSafe { since, fit_ticks, why: before, .. } => {
                let n = if fit || learnable { fit_ticks + 1 } else { 0 };
                if wanted == Operation::Shadow && done {
                    Mode::Shadow
                } else if wanted != Operation::Shadow && n >= FIT_TICKS {
                    if fit { Mode::of(wanted) } else { Mode::Learning { since: now, waiting_for: why() } }
                } else {
                    let why = if fit { before.clone() } else { why() };
                    Mode::FailSafe { why, since: *since, fit_ticks: n, done }
                }
            }
        }
    }

    fn hand_back(&self, now: Timestamp, why: Vec<Why>, done: bool) -> Mode {
        Mode::FailSafe { why, since: now, fit_ticks: 0, done }
    }

    fn since(&self) -> Option<Timestamp> {
        match self {
            Mode::FailSafe { since, .. } | Mode::Guarded { since, .. } => Some(*since),
            _ => None,
        }
    }
}

/// A change of mode, or an operator's order, for the record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeEvent {
    pub at: Timestamp,
    pub site: String,
    pub from: String,
    pub to: String,
    pub why: String,
    /// The operator; empty where the controller moved by itself.
    pub who: String,
}

/// A setpoint fixed by an operator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pin {
    pub value: f64,
    pub who: String,
    pub why: String,
    pub since: Timestamp,
}

/// An operator's hold: nothing moves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hold {
    pub who: String,
    pub why: String,
    pub since: Timestamp,
}

/// Standing orders of the operators.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Orders {
    pub hold: Option<Hold>,
    /// By actuator identifier.
    pub pins: BTreeMap<String, Pin>,
    /// By loop identifier: loops that are to be run with more care than their site.
    #[serde(default)]
    pub loops: BTreeMap<String, LoopOrder>,
}

/// Standing orders for one loop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LoopOrder {
    /// At most this; the site's own where absent.
    pub operation: Option<Operation>,
    pub hold: Option<Hold>,
}

impl Orders {
    /// What may be done with a loop when the site may do `site`: never more than the site.
    pub fn operation(&self, loop_id: &str, site: Operation) -> Operation {
        self.loops.get(loop_id).and_then(|l| l.operation).map_or(site, |own| own.min(site))
    }
    /// The hold that keeps a loop's setpoints still: its own, or the site's.
    pub fn hold(&self, loop_id: &str) -> Option<&Hold> {
        self.hold.as_ref().or_else(|| self.loops.get(loop_id)?.hold.as_ref())
    }
}

/// What an operator may order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "order")]
pub enum Order {
    Mode {
        to: Operation,
    },
    Hold,
    Release,
    Pin {
        actuator: String,
        value: f64,
    },
    Unpin {
        actuator: String,
    },
    /// Out of auto at once: hand back and stay in shadow.
    Leave,
    /// One loop runs at most so; `None` = as its site does. `shadow` hands its setpoints back.
    LoopMode {
        #[serde(rename = "loop")]
        id: String,
        to: Option<Operation>,
    },
    /// Keeps one loop's setpoints as they are, or lets go.
    LoopHold {
        #[serde(rename = "loop")]
        id: String,
        hold: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_guards_then_hands_back_then_returns_by_itself() {
        let t = |m| Timestamp(0) + Span::minutes(m);
        let stale = [Why::Stale("x".into())];
        let m = Mode::Warming { since: t(0), waiting_for: vec![] }.step(t(0), Operation::Auto, &[], false, true, false);
        assert_eq!(m, Mode::Auto);
        let m = m.step(t(5), Operation::Auto, &stale, true, false, false);
        assert_eq!(m.name(), "guarded");
        let m = m.step(t(10), Operation::Auto, &stale, true, false, false);
        assert_eq!(m.name(), "guarded");
        let m = m.step(t(15), Operation::Auto, &stale, true, false, false);
        assert_eq!(m.name(), "fail-safe", "two ticks after it was first seen");
        let m = m.step(t(25), Operation::Auto, &[], true, false, false);
        assert_eq!(m.name(), "fail-safe");
        assert_eq!(m.step(t(30), Operation::Auto, &[], true, false, false), Mode::Auto);
        let kicked = Mode::Auto.step(t(35), Operation::Auto, &[Why::KickedOut], true, false, false);
        assert!(matches!(kicked, Mode::FailSafe { done: true, .. }));
        assert_eq!(Mode::Shadow.step(t(0), Operation::Shadow, &[Why::NoModel], false, true, false), Mode::Shadow);
    }

    #[test]
    fn what_flaps_is_handed_back_no_later_than_what_stays_away() {
        let t = |m| Timestamp(0) + Span::minutes(m);
        let stale = [Why::Stale("x".into())];
        let step = |m: Mode, at: i64, unfit: &[Why]| m.step(t(at), Operation::Auto, unfit, true, false, false);
        let m = step(step(Mode::Auto, 5, &stale), 10, &stale);
        let m = step(m, 15, &[]);
        assert_eq!(m.name(), "fail-safe", "one good tick is no proof, and two ticks of doubt are over");
        assert_eq!(step(m.clone(), 20, &[]), Mode::Auto, "the good tick counts");
        assert_eq!(step(m, 20, &stale).name(), "fail-safe");
        let short = step(step(step(Mode::Auto, 5, &stale), 10, &[]), 15, &[]);
        assert_eq!(short, Mode::Auto, "a doubt of one tick hands nothing back");
    }

    #[test]
    fn a_plant_without_a_model_is_watched_then_excited_then_controlled() {
        let t = |m| Timestamp(0) + Span::minutes(m);
        let unknown = [Why::NoModel];
        let stale = [Why::NoModel, Why::Stale("x".into())];
        let start = Mode::Warming { since: t(0), waiting_for: vec![] };
        let m = start.step(t(100), Operation::Auto, &stale, false, true, true);
        let m = m.step(t(105), Operation::Auto, &unknown, false, true, true);
        assert_eq!(m.step(t(130), Operation::Auto, &unknown, false, true, true).name(), "warming", "the watch began at 105");
        assert_eq!(m.step(t(135), Operation::Auto, &unknown, false, true, false).name(), "warming", "the site does not let us");
        let m = m.step(t(135), Operation::Auto, &unknown, false, true, true);
        assert_eq!(m.name(), "learning");
        assert_eq!(m.step(t(140), Operation::Auto, &stale, true, false, true).name(), "guarded");
        assert_eq!(m.step(t(140), Operation::Shadow, &unknown, true, false, true).name(), "fail-safe", "handed back by slew");
        assert!(matches!(m.step(t(140), Operation::Auto, &[Why::KickedOut], true, false, true), Mode::FailSafe { done: true, .. }));
        assert_eq!(m.step(t(140), Operation::Auto, &[], true, false, true), Mode::Auto);
    }
}
