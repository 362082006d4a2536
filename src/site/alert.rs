//! Alert rules of a site file: when a value, or its distance from another, needs somebody.
//!
//! Words: a rule *holds* while its value is beyond `max` or below `min`; once raised it clears only `clear` inside of
//! them, so that a value that sits on its threshold raises one alarm and not a hundred.
//! Invariant: a value that is not known makes no rule hold: that something is unknown is an alarm of its own elsewhere.

use serde::{Deserialize, Serialize};

/// How much somebody is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AlertSeverity {
    /// Good to know.
    Notice,
    /// Needs a look today.
    #[default]
    Warning,
    /// Needs somebody now.
    Critical,
}

/// One `[[alert]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    pub id: String,
    pub name: String,
    /// Role of the value.
    pub role: String,
    #[serde(default)]
    pub max: Option<f64>,
    #[serde(default)]
    pub min: Option<f64>,
    /// With this role, `min` and `max` are counted from its value (an approach: leaving water above the wet bulb).
    #[serde(default)]
    pub above: Option<String>,
    /// How long it must hold before it is raised, s on the site's clock.
    #[serde(default)]
    pub for_s: u32,
    /// How far inside the value must be before it clears, in the value's unit.
    #[serde(default)]
    pub clear: f64,
    #[serde(default)]
    pub severity: AlertSeverity,
    /// What to do, as an operator would say it.
    pub action: String,
}

impl Alert {
    /// Does the rule hold for a value (already counted from `above`)? `raised`: it did before.
    pub fn holds(&self, value: f64, raised: bool) -> bool {
        let room = if raised { self.clear } else { 0.0 };
        self.max.is_some_and(|m| value > m - room) || self.min.is_some_and(|m| value < m + room)
    }

    /// The first thing that is wrong with the rule itself.
    pub fn fault(&self) -> Option<&'static str> {
        if self.max.is_none() && self.min.is_none() {
            return Some("give `max`, `min` or both");
        }
        if !(self.clear >= 0.0) {
            return Some("`clear` must be 0 or above");
        }
        if let (Some(min), Some(max)) = (self.min, self.max)
            && !(min + self.clear < max - self.clear)
        {
            return Some("`min` and `max` with `clear` inside of both leave no room: it would never clear");
        }
        self.action.trim().is_empty().then_some("`action` says what an operator is to do: write it")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Alert {
        toml::from_str(&format!("id = 'x'\nname = 'X'\nrole = 'r'\naction = 'look'\n{text}")).unwrap()
    }

    #[test]
    fn a_raised_rule_clears_only_well_inside() {
        let r = rule("max = 6\nclear = 1");
        assert!(!r.holds(6.0, false) && r.holds(6.1, false));
        assert!(r.holds(5.5, true) && !r.holds(5.0, true));
        let low = rule("min = 40\nclear = 5");
        assert!(low.holds(39.9, false) && low.holds(44.0, true) && !low.holds(45.0, true));
        assert!(!low.holds(f64::NAN, true), "an unknown value makes no rule hold");
    }

    #[test]
    fn a_rule_that_can_never_clear_is_refused() {
        assert_eq!(rule("").fault(), Some("give `max`, `min` or both"));
        assert!(rule("min = 10\nmax = 12\nclear = 1").fault().unwrap().contains("never clear"));
        assert!(rule("max = 1\nclear = -1").fault().is_some());
        assert_eq!(rule("max = 1").fault(), None);
    }
}
