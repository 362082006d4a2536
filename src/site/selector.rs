//! Picks points by meaning.

use super::Point;
use serde::{Deserialize, Serialize};

/// All the fields that are given must match; those left out match anything. Texts compare without regard to case.
///
/// `process_area` lists areas that the point must all carry. `object_id` and `serves_id` are exact identifiers; a
/// trailing `*` makes them a prefix. An empty selector matches nothing, so that a forgotten table can't mean "all".
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Selector {
    pub object_type: Option<String>,
    pub point_type: Option<String>,
    pub object_id: Option<String>,
    pub serves_id: Option<String>,
    pub process_area: Vec<String>,
    pub is_setpoint: Option<bool>,
    pub integration: Option<String>,
    pub eng_unit: Option<String>,
    /// The exact path, for publishers without metadata.
    pub path: Option<String>,
}

fn id_matches(pattern: &str, id: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => id.starts_with(prefix),
        None => pattern == id,
    }
}

impl Selector {
    pub fn is_empty(&self) -> bool {
        *self == Selector::default()
    }

    pub fn matches(&self, p: &Point) -> bool {
        let same = |want: &Option<String>, have: &str| want.as_ref().is_none_or(|w| w.eq_ignore_ascii_case(have));
        !self.is_empty()
            && same(&self.object_type, &p.object_type)
            && same(&self.point_type, &p.point_type)
            && self.object_id.as_ref().is_none_or(|w| id_matches(w, &p.object_id))
            && self.serves_id.as_ref().is_none_or(|w| p.serves_id.iter().any(|s| id_matches(w, s)))
            && self.process_area.iter().all(|a| p.process_area.iter().any(|b| a.eq_ignore_ascii_case(b)))
            && self.is_setpoint.is_none_or(|w| w == p.is_setpoint)
            && self.integration.as_ref().is_none_or(|w| *w == p.integration)
            && self.eng_unit.as_ref().is_none_or(|w| *w == p.eng_unit)
            && self.path.as_ref().is_none_or(|w| *w == p.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PointId;
    use crate::units::Kind;

    fn point() -> Point {
        Point {
            id: PointId(0),
            path: "CDU/LiquidTemperature/x".into(),
            object_type: "CDU".into(),
            point_type: "LiquidTemperature".into(),
            kind: Kind::Temperature,
            eng_unit: "C".into(),
            state_text: vec![],
            object_name: "CDU 1".into(),
            object_id: "hq-CDU01".into(),
            associated: false,
            serves_id: vec!["hq-RACK01".into()],
            process_area: vec!["Secondary".into(), "Supply".into()],
            is_setpoint: false,
            integration: String::new(),
            scope: String::new(),
            phase: String::new(),
        }
    }

    #[test]
    fn every_given_field_must_match() {
        let select = |t: &str| toml::from_str::<Selector>(t).unwrap().matches(&point());
        assert!(select("object_type = 'cdu'\nprocess_area = ['supply', 'Secondary']"));
        assert!(select("object_id = 'hq-CDU*'\nserves_id = 'hq-RACK01'"));
        assert!(!select("object_id = 'hq-CDU'"));
        assert!(!select("process_area = ['Return']"));
        assert!(!select("is_setpoint = true"));
        assert!(!Selector::default().matches(&point()));
    }
}
