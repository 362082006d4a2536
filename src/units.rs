//! Quantities and their canonical units.
//!
//! Words: a *kind* is what is measured (temperature, power, …); each kind has one *canonical unit*, and every value
//! inside the program is in it. A *unit* is how a publisher writes the kind; `Unit::canonical` converts, once, at decode.
//! Invariant: values are converted where they come in, and only there: readings by `ingest`, bounds and limits by the site file, rows of a
//! file by their reader.

use serde::{Deserialize, Serialize};

/// What a point measures. The canonical unit of each kind is given by [`Kind::unit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Temperature,
    TemperatureDifference,
    Power,
    ApparentPower,
    Energy,
    Current,
    Voltage,
    Frequency,
    Flow,
    AirFlow,
    Pressure,
    Humidity,
    Ratio,
    Sound,
    Volume,
    Count,
    /// An enumerated state; its texts are in the point's metadata.
    State,
    /// Epoch milliseconds (heartbeats).
    Instant,
    /// A unit that this program does not know: stored as sent, never used for control.
    Opaque,
}

impl Kind {
    /// The symbol of a difference of two values.
    pub fn step_unit(self) -> &'static str {
        if self == Kind::Temperature { Kind::TemperatureDifference.unit() } else { self.unit() }
    }

    /// The canonical unit's symbol.
    pub fn unit(self) -> &'static str {
        match self {
            Kind::Temperature => "°C",
            Kind::TemperatureDifference => "K",
            Kind::Power => "kW",
            Kind::ApparentPower => "kVA",
            Kind::Energy => "kWh",
            Kind::Current => "A",
            Kind::Voltage => "V",
            Kind::Frequency => "Hz",
            Kind::Flow => "L/min",
            Kind::AirFlow => "m³/h",
            Kind::Pressure => "kPa",
            Kind::Humidity => "%RH",
            Kind::Ratio => "%",
            Kind::Sound => "dB",
            Kind::Volume => "m³",
            Kind::Count => "1",
            Kind::State => "state",
            Kind::Instant => "ms",
            Kind::Opaque => "",
        }
    }
}

/// A publisher's unit: `canonical = value * scale + offset`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    pub kind: Kind,
    pub scale: f64,
    pub offset: f64,
}

impl Unit {
    /// The unit of enumerated states and of heartbeats: taken as sent.
    pub const fn plain(kind: Kind) -> Unit {
        Unit { kind, scale: 1.0, offset: 0.0 }
    }

    /// Converts a published value to the kind's canonical unit.
    pub fn canonical(self, value: f64) -> f64 {
        value * self.scale + self.offset
    }

    /// Converts a canonical value to this unit (for what we publish).
    pub fn published(self, canonical: f64) -> f64 {
        (canonical - self.offset) / self.scale
    }

    /// Reads an engineering unit as building management systems write it. `None` for an unknown one.
    pub fn parse(text: &str) -> Option<Unit> {
        let u = |kind, scale: f64| Some(Unit { kind, scale, offset: 0.0 });
        match text.trim() {
            "C" | "°C" | "degC" | "Cel" | "celsius" => u(Kind::Temperature, 1.0),
            "F" | "°F" | "degF" => Some(Unit { kind: Kind::Temperature, scale: 5.0 / 9.0, offset: -160.0 / 9.0 }),
            "K" | "degK" => Some(Unit { kind: Kind::Temperature, scale: 1.0, offset: -273.15 }),
            "dC" | "deltaC" | "ΔK" | "ΔC" => u(Kind::TemperatureDifference, 1.0),
            "mW" => u(Kind::Power, 1e-6),
            "W" => u(Kind::Power, 1e-3),
            "kW" => u(Kind::Power, 1.0),
            "MW" => u(Kind::Power, 1e3),
            "BTU/h" | "BTUH" => u(Kind::Power, 2.930_711e-4),
            "TR" | "ton" | "tons" => u(Kind::Power, 3.516_853),
            "VA" => u(Kind::ApparentPower, 1e-3),
            "kVA" => u(Kind::ApparentPower, 1.0),
            "MVA" => u(Kind::ApparentPower, 1e3),
            "Wh" => u(Kind::Energy, 1e-3),
            "kWh" => u(Kind::Energy, 1.0),
            "MWh" => u(Kind::Energy, 1e3),
            "J" => u(Kind::Energy, 1.0 / 3.6e6),
            "kJ" => u(Kind::Energy, 1.0 / 3.6e3),
            "A" => u(Kind::Current, 1.0),
            "mA" => u(Kind::Current, 1e-3),
            "mV" => u(Kind::Voltage, 1e-3),
            "V" => u(Kind::Voltage, 1.0),
            "kV" => u(Kind::Voltage, 1e3),
            "Hz" => u(Kind::Frequency, 1.0),
            "kHz" => u(Kind::Frequency, 1e3),
            "MHz" => u(Kind::Frequency, 1e6),
            "rpm" | "RPM" | "1/min" => u(Kind::Frequency, 1.0 / 60.0),
            "LPM" | "L/min" | "l/min" | "lpm" => u(Kind::Flow, 1.0),
            "L/s" | "l/s" | "lps" => u(Kind::Flow, 60.0),
            "m3/h" | "m³/h" => u(Kind::Flow, 1000.0 / 60.0),
            "GPM" | "gpm" => u(Kind::Flow, 3.785_412),
            "CFM" | "cfm" => u(Kind::AirFlow, 1.699_011),
            "kPa" => u(Kind::Pressure, 1.0),
            "Pa" => u(Kind::Pressure, 1e-3),
            "bar" => u(Kind::Pressure, 100.0),
            "mbar" | "hPa" => u(Kind::Pressure, 0.1),
            "psi" => u(Kind::Pressure, 6.894_757),
            "inWC" => u(Kind::Pressure, 0.249_089),
            "%RH" | "%rh" => u(Kind::Humidity, 1.0),
            "%" => u(Kind::Ratio, 1.0),
            "fraction" | "pu" => u(Kind::Ratio, 100.0),
            "dB" | "dBA" => u(Kind::Sound, 1.0),
            "m3" | "m³" => u(Kind::Volume, 1.0),
            "L" | "l" => u(Kind::Volume, 1e-3),
            "count" | "1" | "" => u(Kind::Count, 1.0),
            "ms" => u(Kind::Instant, 1.0),
            _ => None,
        }
    }
}

/// Saturation vapour pressure over water, kPa, at a temperature in °C (Magnus form, WMO-No. 8 annex 4.B).
pub fn saturation_pressure_kpa(temp_c: f64) -> f64 {
    0.6112 * (17.62 * temp_c / (243.12 + temp_c)).exp()
}

/// Dew point, °C, from dry bulb °C and relative humidity % (inverse Magnus; humidity is held within 1–100 %).
pub fn dew_point_c(dry_bulb_c: f64, humidity_pct: f64) -> f64 {
    let gamma = (humidity_pct.clamp(1.0, 100.0) / 100.0).ln() + 17.62 * dry_bulb_c / (243.12 + dry_bulb_c);
    243.12 * gamma / (17.62 - gamma)
}

/// Wet bulb, °C, from dry bulb °C and relative humidity % (Stull 2011, doi:10.1175/JAMC-D-11-0143.1; ±0.65 K at sea
/// level for 5–99 % and −20–50 °C).
pub fn wet_bulb_c(dry_bulb_c: f64, humidity_pct: f64) -> f64 {
    let (t, rh) = (dry_bulb_c, humidity_pct.clamp(5.0, 99.0));
    t * (0.151_977 * (rh + 8.313_659).sqrt()).atan() + (t + rh).atan() - (rh - 1.676_331).atan()
        + 0.003_918_38 * rh.powf(1.5) * (0.023_101 * rh).atan()
        - 4.686_035
}

/// Volumetric heat of water, kW per (L/min · K): 4.18 kJ/(kg·K) × 0.997 kg/L / 60.
pub const WATER_KW_PER_LPM_K: f64 = 4.18 * 0.997 / 60.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_convert_to_the_canonical_one_and_back() {
        for (text, value, canonical) in
            [("F", 68.0, 20.0), ("W", 1500.0, 1.5), ("L/s", 2.0, 120.0), ("bar", 1.5, 150.0), ("K", 293.15, 20.0), ("MW", 2.0, 2000.0)]
        {
            let unit = Unit::parse(text).unwrap();
            assert!((unit.canonical(value) - canonical).abs() < 1e-9, "{text}");
            assert!((unit.published(canonical) - value).abs() < 1e-9, "{text}");
        }
        assert_eq!(Unit::parse("furlong"), None);
    }

    #[test]
    fn moist_air_matches_the_published_points() {
        // Stull 2011: 20 °C and 50 % give 13.7 °C.
        assert!((wet_bulb_c(20.0, 50.0) - 13.7).abs() < 0.05);
        // ASHRAE Fundamentals psychrometric table: 25 °C and 50 % have a dew point of 13.9 °C.
        assert!((dew_point_c(25.0, 50.0) - 13.9).abs() < 0.1);
        assert!((saturation_pressure_kpa(20.0) - 2.339).abs() < 0.01);
    }
}
