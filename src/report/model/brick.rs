//! Brick 1.4 as Turtle.

use super::{Thing, about, meters, things};
use crate::site::{Catalogue, Point, SiteFile};
use crate::units::Kind;
use std::fmt::Write;

/// A part of an IRI: unreserved characters as they are, all others as %XX (RFC 3986).
fn iri(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, b| {
        if b.is_ascii_alphanumeric() || b"-_.~".contains(&b) {
            out.push(b as char);
        } else {
            let _ = write!(out, "%{b:02X}");
        }
        out
    })
}

/// A Turtle string.
fn literal(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn class_of_thing(t: &Thing) -> &'static str {
    match t.object_type.as_str() {
        "Rack" => "ICT_Rack",
        "Chiller" => "Chiller",
        "CoolingTower" => "Cooling_Tower",
        "DryCooler" => "Dry_Cooler",
        "PowerMeter" | "EnergyMeter" => "Electrical_Meter",
        "Pump" => "Pump",
        "Fan" => "Fan",
        "CRAH" => "Computer_Room_Air_Handler",
        "CRAC" => "Computer_Room_Air_Conditioning",
        "CDU" | "HeatExchanger" => "Heat_Exchanger",
        "Valve" => "Valve",
        "UPS" | "PDU" | "Transformer" => "Electrical_Equipment",
        _ => "Equipment",
    }
}

fn class_of_point(p: &Point) -> &'static str {
    let outdoor = about(p, "outdoor") || about(p, "outside");
    if p.is_setpoint {
        return match p.kind {
            Kind::Temperature => "Temperature_Setpoint",
            Kind::Flow => "Flow_Setpoint",
            Kind::Humidity => "Humidity_Setpoint",
            _ => "Setpoint",
        };
    }
    match p.kind {
        Kind::Temperature if outdoor && about(p, "wet bulb") => "Outside_Air_Wet_Bulb_Temperature_Sensor",
        Kind::Temperature if about(p, "dew point") => "Dewpoint_Sensor",
        Kind::Temperature if outdoor => "Outside_Air_Temperature_Sensor",
        Kind::Temperature if about(p, "liquid") && about(p, "supply") => "Supply_Water_Temperature_Sensor",
        Kind::Temperature if about(p, "liquid") && about(p, "return") => "Return_Water_Temperature_Sensor",
        Kind::Temperature if about(p, "liquid") => "Water_Temperature_Sensor",
        Kind::Temperature if about(p, "air") => "Air_Temperature_Sensor",
        Kind::Temperature => "Temperature_Sensor",
        Kind::Power => "Active_Power_Sensor",
        Kind::Energy => "Electric_Energy_Sensor",
        Kind::Current => "Current_Sensor",
        Kind::Voltage => "Voltage_Sensor",
        Kind::Frequency => "Frequency_Sensor",
        Kind::Flow => "Water_Flow_Sensor",
        Kind::AirFlow => "Air_Flow_Sensor",
        Kind::Pressure => "Pressure_Sensor",
        Kind::Humidity => "Humidity_Sensor",
        Kind::State => "Status",
        _ => "Point",
    }
}

/// A site as Turtle. `namespace` is the owner's, e.g. `https://example.org/site#`.
pub fn turtle(site: &SiteFile, catalogue: &Catalogue, namespace: &str) -> String {
    let mut out = String::new();
    let _ = writeln!(
        out,
        "@prefix brick: <https://brickschema.org/schema/Brick#> .\n@prefix rdfs: <http://www.w3.org/2000/01/rdf-schema#> .\n\
         @prefix ref: <https://brickschema.org/schema/Brick/ref#> .\n"
    );
    let at = |kind: &str, id: &str| format!("<{namespace}{}/{kind}/{}>", iri(&site.site.id), iri(id));
    let here = format!("<{namespace}{}>", iri(&site.site.id));
    let _ = writeln!(out, "{here} a brick:Site ;\n    rdfs:label {} .\n", literal(&site.site.name));
    for l in &site.loops {
        let _ = writeln!(out, "{} a brick:Water_Loop ;\n    rdfs:label {} .", at("loop", &l.id), literal(&l.name));
        if let Some(into) = &l.into {
            let _ = writeln!(out, "{} brick:feeds {} .", at("loop", &l.id), at("loop", into));
        }
    }
    let known = things(catalogue);
    for t in known.values() {
        let _ = writeln!(
            out,
            "{} a brick:{} ;\n    rdfs:label {} ;\n    brick:hasLocation {here} .",
            at("object", &t.id),
            class_of_thing(t),
            literal(&t.name)
        );
        for s in t.serves.iter().filter(|s| known.contains_key(*s)) {
            let _ = writeln!(out, "{} brick:feeds {} .", at("object", &t.id), at("object", s));
        }
    }
    for (m, points) in meters(site, catalogue) {
        let me = at("meter", &m.id);
        let _ = writeln!(out, "{me} a brick:Electrical_Meter ;\n    rdfs:label {} ;\n    brick:meters {here} .", literal(&m.name));
        for p in points {
            let _ = writeln!(out, "{me} brick:hasPoint {} .", at("point", &p.path));
        }
    }
    for p in catalogue.iter() {
        let me = at("point", &p.path);
        let _ = writeln!(
            out,
            "{me} a brick:{} ;\n    rdfs:label {} ;\n    ref:hasExternalReference [ a ref:TimeseriesReference ; ref:hasTimeseriesId {} ] .",
            class_of_point(p),
            literal(format!("{} {}", p.object_name, p.process_area.join(", ")).trim()),
            literal(&p.path)
        );
        let owner = if p.object_id.is_empty() { here.clone() } else { at("object", &p.object_id) };
        let _ = writeln!(out, "{me} brick:isPointOf {owner} .");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_place() {
        assert_eq!(iri("a b/ü>"), "a%20b%2F%C3%BC%3E");
        assert_eq!(literal("say \"x\"\\\n"), "\"say \\\"x\\\"\\\\\\u000A\"");
    }
}
