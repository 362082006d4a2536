//! A site's equipment as its own metadata tells it: what there is, what serves what, what each piece says now.
//!
//! Words: an *object* is a piece of equipment (`objectId` with its `objectType`); its *column* is how far it stands from the
//! racks along `servesId`: 0 is a rack, 1 what serves racks, and so on; what is tied to nothing is *plant* and stands
//! furthest. Pure: made of the rows that [`super::Backend::points`] gives.
//! Invariants: a cycle in `servesId` ends at the number of objects; an object that is served but unknown is left out;
//! at most [`VALUES`] values an object, the telling ones first.

use super::model::PointRow;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;

/// Values that are shown of an object.
const VALUES: usize = 4;
/// Age on the site's clock from which a value counts as stale, s.
const STALE_S: f64 = 300.0;
/// Types that measure or speak and are no equipment.
const NO_EQUIPMENT: [&str; 3] = ["Sensor", "System", "PowerMeter"];
const RACK: &str = "Rack";

/// One value of an object.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ObjectValue {
    /// Number of the point in its site's catalogue.
    pub point: u32,
    /// What is measured, in the words of the metadata.
    pub name: String,
    pub value: Option<f64>,
    pub unit: String,
    /// Text of the state, for enumerated points.
    pub state_text: String,
    /// Is the value old or marked?
    pub doubtful: bool,
}

/// One piece of equipment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlantObject {
    pub id: String,
    pub name: String,
    pub object_type: String,
    /// Steps to the racks along what it serves; 0 = a rack.
    pub column: u32,
    /// Identifiers of the objects that it serves.
    pub serves: Vec<String>,
    /// `good`, `doubtful` (a shown value is old or marked) or `silent` (no value yet).
    pub health: String,
    pub values: Vec<ObjectValue>,
}

/// The equipment of one site, in the order of columns (furthest from the racks first), then of its metadata.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Topology {
    pub site: String,
    pub objects: Vec<PlantObject>,
}

/// The topology that a site's points tell of.
pub fn topology(site: &str, points: &[PointRow]) -> Topology {
    let mut order: Vec<&str> = Vec::new();
    let mut of: BTreeMap<&str, Vec<&PointRow>> = BTreeMap::new();
    for p in points.iter().filter(|p| !p.object_id.is_empty() && !NO_EQUIPMENT.contains(&p.object_type.as_str())) {
        let rows = of.entry(&p.object_id).or_default();
        if rows.is_empty() {
            order.push(&p.object_id);
        }
        rows.push(p);
    }
    let serves: BTreeMap<&str, Vec<&str>> = (of.iter())
        .map(|(id, rows)| {
            let mut all: Vec<&str> =
                rows.iter().flat_map(|p| p.serves_id.iter().map(String::as_str)).filter(|s| of.contains_key(s)).collect();
            all.sort_unstable();
            all.dedup();
            (*id, all)
        })
        .collect();
    let columns = columns(&of, &serves);
    let mut objects: Vec<PlantObject> = (order.iter())
        .filter_map(|id| {
            let rows = &of[id];
            let values = values(rows);
            // A setpoint that stands alone is no equipment.
            if values.is_empty() && serves[id].is_empty() && rows[0].object_type != RACK {
                return None;
            }
            let health = match () {
                () if values.iter().all(|v| v.value.is_none()) => "silent",
                () if values.iter().any(|v| v.doubtful) => "doubtful",
                () => "good",
            };
            Some(PlantObject {
                id: (*id).to_owned(),
                name: rows.iter().map(|p| p.object_name.as_str()).find(|n| !n.is_empty()).unwrap_or(id).to_owned(),
                object_type: rows[0].object_type.clone(),
                column: columns[id],
                serves: serves[id].iter().map(|s| (*s).to_owned()).collect(),
                health: health.into(),
                values,
            })
        })
        .collect();
    objects.sort_by_key(|o| std::cmp::Reverse(o.column));
    Topology { site: site.to_owned(), objects }
}

/// Longest way to what serves nothing; what is tied to nothing stands one beyond the furthest, but racks are racks.
fn columns<'a>(of: &BTreeMap<&'a str, Vec<&PointRow>>, serves: &BTreeMap<&'a str, Vec<&'a str>>) -> BTreeMap<&'a str, u32> {
    let mut at: BTreeMap<&str, u32> = of.keys().map(|id| (*id, 0)).collect();
    for _ in 0..of.len().min(32) {
        let next: BTreeMap<&str, u32> =
            (at.keys()).map(|id| (*id, serves[id].iter().map(|s| at[s] + 1).max().unwrap_or(0).min(32))).collect();
        if next == at {
            break;
        }
        at = next;
    }
    let furthest = at.values().copied().max().unwrap_or(0);
    let served: Vec<&str> = serves.values().flatten().copied().collect();
    for (id, rows) in of {
        if serves[id].is_empty() && !served.contains(id) && rows[0].object_type != RACK {
            at.insert(id, furthest + 1);
        }
    }
    at
}

/// The telling ones: power, temperatures, what turns or opens, flow, states. Setpoints and what we ask for are in the charts.
fn values(rows: &[&PointRow]) -> Vec<ObjectValue> {
    let rank = |p: &PointRow| match p.kind.as_str() {
        "power" => Some(0),
        "temperature" => Some(1),
        "ratio" => Some(2),
        "flow" => Some(3),
        "state" => Some(4),
        _ => None,
    };
    let mut telling: Vec<(i32, &PointRow)> =
        rows.iter().filter(|p| !p.is_setpoint && p.integration.is_empty()).filter_map(|p| Some((rank(p)?, *p))).collect();
    telling.sort_by_key(|(r, p)| (*r, p.id));
    (telling.into_iter().take(VALUES))
        .map(|(_, p)| ObjectValue {
            point: p.id,
            name: named(p),
            value: p.last_value,
            unit: if p.kind == "state" { String::new() } else { p.unit.clone() },
            state_text: p.state_text.clone(),
            doubtful: p.age_s.is_some_and(|a| a > STALE_S) || !matches!(p.quality.as_str(), "" | "good"),
        })
        .collect()
}

/// `Secondary Supply`, or the point's type in words: `RackLiquidReturnTemperature` → `liquid return temperature`.
fn named(p: &PointRow) -> String {
    if !p.process_area.is_empty() {
        return p.process_area.join(" ");
    }
    let rest = p.point_type.strip_prefix(p.object_type.as_str()).filter(|r| !r.is_empty()).unwrap_or(&p.point_type);
    let mut out = String::with_capacity(rest.len() + 4);
    for (i, c) in rest.chars().enumerate() {
        if c.is_uppercase() && i > 0 && !out.ends_with(' ') {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u32, object_type: &str, object_id: &str, point_type: &str, kind: &str, serves: &[&str]) -> PointRow {
        PointRow {
            id,
            object_type: object_type.into(),
            object_id: object_id.into(),
            point_type: point_type.into(),
            kind: kind.into(),
            serves_id: serves.iter().map(|s| (*s).to_owned()).collect(),
            last_value: Some(1.0),
            age_s: Some(1.0),
            quality: "good".into(),
            ..PointRow::default()
        }
    }

    #[test]
    fn equipment_stands_by_how_far_it_is_from_the_racks() {
        let points = [
            row(0, "Rack", "R1", "RackPower", "power", &[]),
            row(1, "Rack", "R1", "RackLiquidReturnTemperature", "temperature", &[]),
            row(2, "CDU", "C1", "LiquidTemperature", "temperature", &["R1", "gone"]),
            row(3, "Chiller", "CH", "Status", "state", &[]),
            row(4, "Sensor", "R1", "GenericPoint", "temperature", &[]),
            row(5, "Pump", "P", "PumpSpeed", "ratio", &["C1"]),
            PointRow { is_setpoint: true, ..row(6, "GenericObject", "SP", "LiquidTemperature", "temperature", &[]) },
        ];
        let t = topology("hall", &points);
        let seen: Vec<(&str, u32)> = t.objects.iter().map(|o| (o.id.as_str(), o.column)).collect();
        assert_eq!(seen, [("CH", 3), ("P", 2), ("C1", 1), ("R1", 0)]);
        assert_eq!(t.objects[2].serves, ["R1"]);
        let rack: Vec<&str> = t.objects[3].values.iter().map(|v| v.name.as_str()).collect();
        assert_eq!(rack, ["power", "liquid return temperature"]);
        assert!(t.objects.iter().all(|o| o.health == "good"));
    }

    #[test]
    fn a_circle_ends_and_old_values_are_doubtful() {
        let mut a = row(0, "CDU", "A", "LiquidTemperature", "temperature", &["B"]);
        let b = row(1, "CDU", "B", "LiquidTemperature", "temperature", &["A"]);
        a.age_s = Some(1e4);
        let mut silent = row(2, "Pump", "P", "PumpSpeed", "ratio", &[]);
        silent.last_value = None;
        let t = topology("hall", &[a, b, silent]);
        let health = |id: &str| t.objects.iter().find(|o| o.id == id).map(|o| o.health.clone()).unwrap_or_default();
        assert_eq!((health("A"), health("B"), health("P")), ("doubtful".into(), "good".into(), "silent".into()));
    }
}
