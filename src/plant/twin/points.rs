//! The points that a simulated plant publishes: DSX metadata, and where each value comes from.
//!
//! Object and point types, units and identities follow NVIDIA's BMS event bus (`dsx-bms-asyncapi.yaml`).

use super::spec::{RejectionKind, TwinSpec};
use serde_json::{Map, Value, json};

/// What a point is to the bus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimPointKind {
    /// The BMS publishes its value.
    Measured,
    /// The integration publishes it: the request for an actuator.
    Request(usize),
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    RackPower(usize),
    RackSupply(usize),
    RackReturn(usize),
    RackFlow(usize),
    RackDp(usize),
    RackValve(usize),
    RackLeak(usize),
    /// A tray's temperature: its rack's chips and an offset, K.
    Tray(usize, f64),
    CduSupply(usize),
    CduReturn(usize),
    CduPrimarySupply,
    CduPrimaryReturn(usize),
    CduFlow(usize),
    CduPump,
    CduDp,
    CduValve(usize),
    CduAvailable(usize),
    FwsSupply,
    FwsReturn,
    FwsFlow,
    FwsFan,
    FwsPump,
    FwsChillerOn,
    FwsCondenser,
    FwsAdiabatic,
    ColdSupply,
    ColdReturn,
    ColdFlow,
    ColdFan,
    ColdPump,
    ColdChillerOn,
    ColdCondenser,
    RoomAir,
    RoomDewPoint,
    DryBulb,
    WetBulb,
    Humidity,
    It,
    Loss,
    /// Cooling component by its index in `Truth::components`.
    Component(usize),
    GpuHottest,
    GpusAllocated,
    Utilisation,
    InForce(usize),
    AiStatus,
    Constant(f64),
    /// Nothing: a request point's value is not ours to publish.
    None,
}

/// A point as the simulated BMS publishes it.
#[derive(Clone, Debug)]
pub struct SimPoint {
    /// `{objectType}/{pointType}/{site}/{tag}`.
    pub path: String,
    /// The DSX metadata message.
    pub metadata: Value,
    pub kind: SimPointKind,
    pub source: Source,
    /// Standard deviation of the sensor's noise, in the point's unit.
    pub noise: f64,
    /// Resolution: values are rounded to it, and a change of one step goes out (BACnet change of value).
    pub cov: f64,
}

/// Collects points with little to say at each.
struct Builder<'a> {
    site: &'a str,
    points: Vec<SimPoint>,
}

impl Builder<'_> {
    #[allow(clippy::too_many_arguments, reason = "one row of a table")]
    fn add(&mut self, object: &str, kind: &str, tag: &str, unit: &str, source: Source, noise: f64, cov: f64, meta: Value) {
        let mut metadata = Map::new();
        metadata.insert("objectType".into(), json!(object));
        metadata.insert("pointType".into(), json!(kind));
        match unit.strip_prefix("states:") {
            Some(states) => {
                let texts: Vec<Value> = states.split('|').enumerate().map(|(value, text)| json!({"value": value, "text": text})).collect();
                metadata.insert("stateText".into(), Value::Array(texts));
            }
            None => {
                metadata.insert("engUnit".into(), json!(unit));
            }
        }
        if let Value::Object(more) = meta {
            metadata.extend(more);
        }
        let path = format!("{object}/{kind}/{}/{tag}", self.site);
        self.points.push(SimPoint { path, metadata: Value::Object(metadata), kind: SimPointKind::Measured, source, noise, cov });
    }
    fn named(&self, id: &str, name: &str, area: &[&str]) -> Value {
        let mut m = json!({"objectName": name, "objectId": format!("{}-{id}", self.site)});
        if !area.is_empty() {
            m["processArea"] = json!(area);
        }
        m
    }
    fn meter(&mut self, id: &str, name: &str, source: Source, serves: &[String]) {
        let mut meta = self.named(id, name, &[]);
        meta["servesId"] = json!(serves);
        self.add("PowerMeter", "ActivePower", &format!("power/{id}"), "kW", source, 0.15, 0.5, meta);
    }
}

/// All points of a plant, in the order of their numbers.
pub fn points(spec: &TwinSpec) -> Vec<SimPoint> {
    let site = spec.site.as_str();
    let mut b = Builder { site, points: Vec::new() };
    let id = |x: &str| format!("{site}-{x}");

    let mut rack = 0;
    let mut rack_ids = Vec::new();
    for group in &spec.rack_groups {
        for i in 0..group.count {
            let name = format!("{}{:02}", group.prefix, i + 1);
            let tag = name.to_lowercase();
            let meta = json!({"rackLocationName": name, "rackLocationId": id(&name)});
            let mut add = |kind: &str, tag_end: &str, unit: &str, source, noise, cov| {
                b.add("Rack", kind, &format!("{tag}/{tag_end}"), unit, source, noise, cov, meta.clone())
            };
            add("RackPower", "power", "kW", Source::RackPower(rack), 0.15, 0.5);
            add("RackLiquidSupplyTemperature", "supply", "C", Source::RackSupply(rack), 0.03, 0.1);
            add("RackLiquidReturnTemperature", "return", "C", Source::RackReturn(rack), 0.03, 0.1);
            add("RackLiquidFlow", "flow", "LPM", Source::RackFlow(rack), 0.3, 1.0);
            add("RackLiquidDifferentialPressure", "dp", "kPa", Source::RackDp(rack), 0.2, 1.0);
            add("RackControlValvePosition", "valve", "%", Source::RackValve(rack), 0.2, 1.0);
            add("RackLeakDetect", "leak", "states:NoLeak|Leak", Source::RackLeak(rack), 0.0, 1.0);
            for t in 0..group.trays {
                let offset_k = 3.0 * ((f64::from(t) + 0.5) / f64::from(group.trays) - 0.5);
                let meta = json!({"associateId": id(&name), "processArea": ["GPU", "Tray", "Temperature"]});
                b.add("Sensor", "GenericPoint", &format!("{tag}/tray{:02}/gpu", t + 1), "C", Source::Tray(rack, offset_k), 0.15, 1.0, meta);
            }
            rack_ids.push(id(&name));
            rack += 1;
        }
    }
    for t in 0..spec.extra_points {
        let r = t as usize % rack.max(1);
        let meta = json!({"associateId": rack_ids.get(r).cloned().unwrap_or_default(), "processArea": ["GPU", "Board", "Temperature"]});
        b.add("Sensor", "GenericPoint", &format!("board{t:05}/temp"), "C", Source::Tray(r, f64::from(t % 7) - 3.0), 0.15, 1.0, meta);
    }

    for (c, cdu) in spec.cdus.iter().enumerate() {
        let meta = |area: &[&str]| {
            let mut m = b.named(&cdu.id, &format!("CDU {}", cdu.id), area);
            m["servesId"] = json!(rack_ids);
            m
        };
        let rows = [
            ("LiquidTemperature", "secondary/supply", "C", Source::CduSupply(c), 0.03, 0.1, meta(&["Secondary", "Supply"])),
            ("LiquidTemperature", "secondary/return", "C", Source::CduReturn(c), 0.03, 0.1, meta(&["Secondary", "Return"])),
            ("LiquidTemperature", "primary/supply", "C", Source::CduPrimarySupply, 0.03, 0.1, meta(&["Primary", "Supply"])),
            ("LiquidTemperature", "primary/return", "C", Source::CduPrimaryReturn(c), 0.03, 0.1, meta(&["Primary", "Return"])),
            ("LiquidFlow", "secondary/flow", "LPM", Source::CduFlow(c), 1.0, 5.0, meta(&["Secondary"])),
            ("LiquidDifferentialPressure", "secondary/dp", "kPa", Source::CduDp, 0.2, 1.0, meta(&["Secondary"])),
            ("PumpSpeed", "secondary/pump", "%", Source::CduPump, 0.1, 0.5, meta(&["Secondary"])),
            ("ValvePosition", "primary/valve", "%", Source::CduValve(c), 0.2, 1.0, meta(&["Primary"])),
            ("Available", "available", "states:NotAvailable|Available", Source::CduAvailable(c), 0.0, 1.0, meta(&[])),
            ("LeakDetect", "leak", "states:NoLeak|Leak", Source::Constant(0.0), 0.0, 1.0, meta(&[])),
        ];
        for (kind, tag, unit, source, noise, cov, meta) in rows {
            b.add("CDU", kind, &format!("{}/{tag}", cdu.id.to_lowercase()), unit, source, noise, cov, meta);
        }
    }

    let tower = spec.fws.kind == RejectionKind::Tower;
    let (rejector, rejector_id, rejector_name) =
        if tower { ("CoolingTower", "CT1", "Cooling tower") } else { ("HX", "DC1", "Dry coolers") };
    let rows: Vec<(&str, &str, &str, &str, Source, f64, f64, Value)> = vec![
        (
            "GenericObject",
            "LiquidTemperature",
            "fws/supply",
            "C",
            Source::FwsSupply,
            0.03,
            0.1,
            b.named("FWS", "Facility water", &["Facility Water", "Supply"]),
        ),
        (
            "GenericObject",
            "LiquidTemperature",
            "fws/return",
            "C",
            Source::FwsReturn,
            0.03,
            0.1,
            b.named("FWS", "Facility water", &["Facility Water", "Return"]),
        ),
        (
            "GenericObject",
            "LiquidFlow",
            "fws/flow",
            "LPM",
            Source::FwsFlow,
            5.0,
            20.0,
            b.named("FWS", "Facility water", &["Facility Water"]),
        ),
        (rejector, "FanSpeed", "fws/fans", "%", Source::FwsFan, 0.2, 1.0, b.named(rejector_id, rejector_name, &[])),
        ("Pump", "PumpSpeed", "fws/pump", "%", Source::FwsPump, 0.1, 0.5, b.named("FWP", "Facility water pumps", &[])),
        ("Chiller", "Status", "fws/chiller", "states:Off|Running", Source::FwsChillerOn, 0.0, 1.0, b.named("CH1", "Trim chiller", &[])),
        (
            "Chiller",
            "LiquidTemperature",
            "fws/condenser",
            "C",
            Source::FwsCondenser,
            0.05,
            0.2,
            b.named("CH1", "Trim chiller", &["Condenser", "Entering"]),
        ),
        (
            rejector,
            "Status",
            "fws/adiabatic",
            "states:Dry|Wet",
            Source::FwsAdiabatic,
            0.0,
            1.0,
            b.named(rejector_id, rejector_name, &["Adiabatic"]),
        ),
        (
            "GenericObject",
            "LiquidTemperature",
            "cold/supply",
            "C",
            Source::ColdSupply,
            0.03,
            0.1,
            b.named("COLD", "Cold loop", &["Chilled Water", "Supply"]),
        ),
        (
            "GenericObject",
            "LiquidTemperature",
            "cold/return",
            "C",
            Source::ColdReturn,
            0.03,
            0.1,
            b.named("COLD", "Cold loop", &["Chilled Water", "Return"]),
        ),
        ("GenericObject", "LiquidFlow", "cold/flow", "LPM", Source::ColdFlow, 2.0, 10.0, b.named("COLD", "Cold loop", &["Chilled Water"])),
        ("HX", "FanSpeed", "cold/fans", "%", Source::ColdFan, 0.2, 1.0, b.named("EC1", "Economizer", &[])),
        ("Pump", "PumpSpeed", "cold/pump", "%", Source::ColdPump, 0.1, 0.5, b.named("CWP", "Cold-loop pumps", &[])),
        (
            "Chiller",
            "Status",
            "cold/chiller",
            "states:Off|Running",
            Source::ColdChillerOn,
            0.0,
            1.0,
            b.named("CH2", "Cold-loop chiller", &[]),
        ),
        (
            "Chiller",
            "LiquidTemperature",
            "cold/condenser",
            "C",
            Source::ColdCondenser,
            0.05,
            0.2,
            b.named("CH2", "Cold-loop chiller", &["Condenser", "Entering"]),
        ),
        ("Sensor", "AirTemperature", "room/air", "C", Source::RoomAir, 0.05, 0.2, b.named("ROOM", "Hall", &["Room", "Rear Door"])),
        (
            "Sensor",
            "GenericPoint",
            "room/dewpoint",
            "C",
            Source::RoomDewPoint,
            0.05,
            0.2,
            b.named("ROOM", "Hall", &["Room", "Dew Point", "Temperature"]),
        ),
        (
            "Sensor",
            "AirTemperature",
            "weather/drybulb",
            "C",
            Source::DryBulb,
            0.03,
            0.1,
            b.named("WX", "Roof weather station", &["Outdoor", "Dry Bulb"]),
        ),
        (
            "Sensor",
            "AirRelativeHumidity",
            "weather/humidity",
            "%RH",
            Source::Humidity,
            0.3,
            1.0,
            b.named("WX", "Roof weather station", &["Outdoor"]),
        ),
        (
            "Sensor",
            "GenericPoint",
            "weather/wetbulb",
            "C",
            Source::WetBulb,
            0.03,
            0.1,
            b.named("WX", "Roof weather station", &["Outdoor", "Wet Bulb", "Temperature"]),
        ),
        (
            "Sensor",
            "GenericPoint",
            "gpu/hottest",
            "C",
            Source::GpuHottest,
            0.2,
            0.5,
            b.named("GPU", "Hottest GPU of the partition", &["GPU", "Hottest", "Temperature"]),
        ),
        (
            "GenericObject",
            "GenericPoint",
            "gpu/allocated",
            "count",
            Source::GpusAllocated,
            0.0,
            1.0,
            b.named("GPU", "Scheduler", &["GPU", "Allocated"]),
        ),
        (
            "GenericObject",
            "GenericPoint",
            "gpu/utilisation",
            "%",
            Source::Utilisation,
            0.1,
            0.5,
            b.named("GPU", "Scheduler", &["GPU", "Utilisation"]),
        ),
        ("UPS", "Status", "ups/status", "states:Bypass|Online", Source::Constant(1.0), 0.0, 1.0, b.named("UPS1", "UPS 1", &[])),
    ];
    for (object, kind, tag, unit, source, noise, cov, meta) in rows {
        b.add(object, kind, tag, unit, source, noise, cov, meta);
    }

    b.meter("PM-IT", "IT distribution", Source::It, &rack_ids);
    b.meter("PM-LOSS", "UPS and PDU losses", Source::Loss, &[id("UPS1")]);
    for (i, (key, name, serves)) in [
        ("TCS-P", "TCS pumps", "CDU-GROUP"),
        ("FWS-P", "Facility water pumps", "FWS"),
        ("FWS-F", "Heat rejection fans", rejector_id),
        ("FWS-CH", "Trim chiller", "CH1"),
        ("COLD-P", "Cold-loop pumps", "COLD"),
        ("COLD-F", "Economizer fans", "EC1"),
        ("COLD-CH", "Cold-loop chiller", "CH2"),
    ]
    .into_iter()
    .enumerate()
    {
        b.meter(&format!("PM-{key}"), name, Source::Component(i), &[id(serves)]);
    }

    for (i, a) in spec.actuators.iter().enumerate() {
        let area = |last: &str| {
            let mut area = a.process_area.clone();
            area.extend(["Setpoint".to_owned(), last.to_owned()]);
            area
        };
        let temperature = a.unit == "C";
        let (object, back) = if temperature { ("GenericObject", "LiquidTemperature") } else { ("GenericObject", "GenericPoint") };
        let mut meta = b.named(&format!("SP-{}", a.id), &a.name, &[]);
        meta["processArea"] = json!(area("In force"));
        meta["isSetpoint"] = json!(true);
        b.add(object, back, &format!("setpoint/{}/inforce", a.id), &a.unit, Source::InForce(i), 0.0, 0.01, meta);
        let mut meta = b.named(&format!("SP-{}", a.id), &a.name, &[]);
        meta["processArea"] = json!(area("Request"));
        meta["integration"] = json!("TRAMUNTANA");
        let kind = if temperature { "LiquidTemperatureSpRequest" } else { "GenericPoint" };
        if !temperature {
            meta["isSetpoint"] = json!(true);
        }
        b.add(object, kind, &format!("setpoint/{}/request", a.id), &a.unit, Source::None, 0.0, 0.01, meta);
        if let Some(p) = b.points.last_mut() {
            p.kind = SimPointKind::Request(i);
        }
    }
    let meta = json!({"objectName": "TRAMUNTANA", "objectId": "TRAMUNTANA", "processArea": ["AI control"]});
    b.add("System", "Status", "ai", "states:Disabled by operator|Enabled|Kicked out", Source::AiStatus, 0.0, 1.0, meta);
    let mut trim = spec.trim_points;
    b.points.retain(|p| {
        let tray = matches!(p.source, Source::Tray(..)) && trim > 0;
        trim -= u32::from(tray);
        !tray
    });
    b.points
}
