//! Project Haystack 4 as JSON (Hayson): a grid of the site, its equipment and its points.

use super::{Thing, about, things};
use crate::site::{Catalogue, Point, SiteFile};
use crate::units::Kind;
use serde_json::{Map, Value, json};

/// A reference: letters, digits, `_ : - . ~` only.
fn id(parts: &[&str]) -> String {
    let clean = |t: &&str| t.chars().map(|c| if c.is_ascii_alphanumeric() || "_-.~".contains(c) { c } else { '_' }).collect::<String>();
    parts.iter().map(clean).collect::<Vec<_>>().join(":")
}

fn reference(text: &str) -> Value {
    json!({ "_kind": "ref", "val": text })
}

fn marker() -> Value {
    json!({ "_kind": "marker" })
}

fn marks(row: &mut Map<String, Value>, names: &[&str]) {
    names.iter().for_each(|n| {
        row.insert((*n).into(), marker());
    });
}

fn of_thing(t: &Thing) -> &'static [&'static str] {
    match t.object_type.as_str() {
        "Rack" => &["equip", "rack", "dataCenter"],
        "Chiller" => &["equip", "chiller"],
        "CoolingTower" => &["equip", "coolingTower"],
        "PowerMeter" | "EnergyMeter" => &["equip", "elec", "meter"],
        "Pump" => &["equip", "pump", "motor"],
        "Fan" => &["equip", "fan", "motor"],
        "CRAH" | "CRAC" => &["equip", "crac"],
        "CDU" | "HeatExchanger" => &["equip", "heatExchanger"],
        _ => &["equip"],
    }
}

fn of_point(p: &Point) -> Vec<&'static str> {
    let mut out = vec!["point", if p.is_setpoint { "sp" } else { "sensor" }];
    out.extend(match p.kind {
        Kind::Temperature => &["temp"][..],
        Kind::Power => &["elec", "power", "active"],
        Kind::Energy => &["elec", "energy", "active"],
        Kind::Current => &["elec", "current"],
        Kind::Voltage => &["elec", "volt"],
        Kind::Frequency => &["freq"],
        Kind::Flow => &["flow", "water"],
        Kind::AirFlow => &["flow", "air"],
        Kind::Pressure => &["pressure"],
        Kind::Humidity => &["humidity", "air"],
        _ => &[],
    });
    for (word, mark) in [("supply", "leaving"), ("return", "entering"), ("outdoor", "outside")] {
        if about(p, word) {
            out.push(mark);
        }
    }
    if p.kind == Kind::Temperature {
        out.push(if about(p, "liquid") || about(p, "water") { "water" } else { "air" });
    }
    out.dedup();
    out
}

/// A site as a Haystack grid.
pub fn json(site: &SiteFile, catalogue: &Catalogue) -> Value {
    let here = id(&[&site.site.id]);
    let mut rows = Vec::new();
    let mut row = Map::new();
    row.insert("id".into(), reference(&here));
    row.insert("dis".into(), site.site.name.as_str().into());
    row.insert("tz".into(), site.site.time_zone.rsplit('/').next().unwrap_or("UTC").into());
    marks(&mut row, &["site", "dataCenter"]);
    rows.push(Value::Object(row));
    for t in things(catalogue).values() {
        let mut row = Map::new();
        row.insert("id".into(), reference(&id(&[&site.site.id, "equip", &t.id])));
        row.insert("dis".into(), t.name.as_str().into());
        row.insert("siteRef".into(), reference(&here));
        marks(&mut row, of_thing(t));
        rows.push(Value::Object(row));
    }
    for p in catalogue.iter() {
        let mut row = Map::new();
        row.insert("id".into(), reference(&id(&[&site.site.id, "point", &p.path])));
        row.insert("dis".into(), p.path.as_str().into());
        row.insert("siteRef".into(), reference(&here));
        if !p.object_id.is_empty() {
            row.insert("equipRef".into(), reference(&id(&[&site.site.id, "equip", &p.object_id])));
        }
        row.insert("kind".into(), "Number".into());
        if !p.kind.unit().is_empty() {
            row.insert("unit".into(), p.kind.unit().into());
        }
        marks(&mut row, &of_point(p));
        rows.push(Value::Object(row));
    }
    let mut names: Vec<String> = Vec::new();
    for name in rows.iter().filter_map(Value::as_object).flat_map(|r| r.keys()) {
        if !names.contains(name) {
            names.push(name.clone());
        }
    }
    let cols: Vec<Value> = names.iter().map(|n| json!({ "name": n })).collect();
    json!({ "_kind": "grid", "meta": { "ver": "3.0" }, "cols": cols, "rows": rows })
}
