//! What a limit keeps for the loss of one machine (N+1).
//!
//! Words: a *loss* is one machine that fails before anybody can answer: a pump, a fan, a whole CDU; its *reserve* is what the limited
//! value moves by when that happens, at the setpoints in force.
//! Invariants: one thing goes wrong at a time, so of several reserves the largest counts, neither their sum nor a step of the load beside
//! it; where it is not known what is left, the share counts in full, and where the setpoint `over` is not known, nothing of it does (a
//! plan has all setpoints). A plan keeps as much of it as the operators' own fixed setpoints do: a loss that those would not survive
//! either is no reason to run colder than they do.

use serde::{Deserialize, Serialize};

/// One loss that a limit must bear: `flat + share · |value − setpoint of over| · part lost`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reserve {
    /// What is lost, in words.
    pub loss: String,
    /// In the limit's unit.
    #[serde(default)]
    pub flat: f64,
    /// Share of the distance to the setpoint of the actuator `over`: a chip's rise over its coolant grows by so much, be it large or
    /// small.
    #[serde(default)]
    pub share: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<String>,
    /// What the machines left still reach. Without it the share always counts in full.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<Left>,
}

/// What is left when one machine of several is lost: of two pumps, 55 % of the flow that both reach. The share counts in full where the
/// actuator asks `full`, not at all at `reach` and below, in proportion between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Left {
    /// The actuator that the machines serve, a flow or a speed.
    pub by: String,
    /// Its value that those that are left still reach, in its unit.
    pub reach: f64,
    /// Its value at which the whole share is lost, in its unit; its upper bound `hi` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full: Option<f64>,
}

impl Reserve {
    /// What the loss adds at `value`, in the limit's unit; `setpoint` tells the setpoint of an actuator, NaN or nothing where it is not
    /// known.
    pub fn at(&self, value: f64, setpoint: &impl Fn(&str) -> Option<f64>) -> f64 {
        let rise = self.over.as_deref().and_then(setpoint).map_or(0.0, |over| (value - over).abs());
        let part = |l: &Left| Some((setpoint(&l.by)? - l.reach) / (l.full? - l.reach)).filter(|p| p.is_finite());
        let part = self.left.as_ref().and_then(part).map_or(1.0, |p| p.clamp(0.0, 1.0));
        self.flat + if rise.is_finite() { self.share * part * rise } else { 0.0 }
    }

    /// What is wrong with it, and how to mend it; `known` tells whether an actuator has that name.
    pub(super) fn fault(&self, known: impl Fn(&str) -> bool) -> Option<String> {
        let name = &self.loss;
        if name.trim().is_empty() {
            return Some("a reserve has no `loss`: say what is lost, `loss = \"one of two pumps\"`".into());
        }
        let sum = self.flat + self.share;
        if !(self.flat >= 0.0 && self.share >= 0.0 && sum > 0.0 && sum.is_finite()) {
            return Some(format!("reserve {name:?}: `flat` and `share` must be finite, 0 or above, and one of them above 0"));
        }
        if (self.share > 0.0) != self.over.is_some() {
            return Some(format!(
                "reserve {name:?}: `share` and `over` belong together: the actuator whose setpoint the share is counted from"
            ));
        }
        if let Some(a) = self.over.iter().find(|a| !known(a)) {
            return Some(format!("reserve {name:?}: `over = {a:?}` names no actuator"));
        }
        let left = self.left.as_ref()?;
        if !known(&left.by) {
            return Some(format!("reserve {name:?}: `left.by = {:?}` names no actuator", left.by));
        }
        if !(self.share > 0.0 && left.reach.is_finite() && left.full.is_some_and(|full| full.is_finite() && full > left.reach)) {
            return Some(format!(
                "reserve {name:?}: `left` wants `share`, and `reach` below `full` (where it is not given, the actuator's `hi`)"
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pump() -> Reserve {
        let left = Some(Left { by: "flow".into(), reach: 60.0, full: Some(100.0) });
        Reserve { loss: "a pump".into(), flat: 1.0, share: 0.5, over: Some("water".into()), left }
    }

    #[test]
    fn it_counts_by_what_is_left_and_in_full_where_that_is_not_known() {
        let at = |flow: Option<f64>| pump().at(70.0, &|id| if id == "flow" { flow } else { Some(30.0) });
        assert_eq!([at(Some(100.0)), at(Some(80.0)), at(Some(50.0)), at(None), at(Some(f64::NAN))], [21.0, 11.0, 1.0, 21.0, 21.0]);
        assert_eq!(pump().at(70.0, &|_| None), 1.0, "a rise that nobody knows has no share");
    }

    #[test]
    fn a_fault_names_the_loss() {
        let fault = |change: fn(&mut Reserve)| {
            let mut r = pump();
            change(&mut r);
            r.fault(|id| ["flow", "water"].contains(&id)).unwrap_or_default()
        };
        assert_eq!(fault(|_| ()), "");
        assert!(fault(|r| r.loss.clear()).contains("say what is lost"));
        assert!(fault(|r| r.flat = -1.0).contains("\"a pump\""));
        assert!(fault(|r| r.over = None).contains("belong together"));
        assert!(fault(|r| r.over = Some("watr".into())).contains("names no actuator"));
        assert!(fault(|r| r.left.as_mut().unwrap().by = "flw".into()).contains("names no actuator"));
        assert!(fault(|r| r.left.as_mut().unwrap().reach = 120.0).contains("below `full`"));
    }
}
