//! The equations of the plant, each a pure function with its source.

use crate::units::WATER_KW_PER_LPM_K;

/// Heat capacity flow of water, kW/K, from L/min.
pub fn capacity_kw_per_k(flow_lpm: f64) -> f64 {
    flow_lpm * WATER_KW_PER_LPM_K
}

/// Effectiveness of a counterflow exchanger (Kays and London): `ua`, `c_min`, `c_max` in kW/K.
pub fn effectiveness_counterflow(ua: f64, c_min: f64, c_max: f64) -> f64 {
    if c_min <= 1e-9 {
        return 1.0;
    }
    let (ntu, ratio) = (ua / c_min, c_min / c_max.max(1e-9));
    if ratio > 0.999 {
        return ntu / (1.0 + ntu);
    }
    let e = (-ntu * (1.0 - ratio)).exp();
    (1.0 - e) / (1.0 - ratio * e)
}

/// Effectiveness of a crossflow exchanger, both streams unmixed (Incropera, eq. 11.32).
pub fn effectiveness_crossflow(ua: f64, c_min: f64, c_max: f64) -> f64 {
    if c_min <= 1e-9 {
        return 1.0;
    }
    let (ntu, ratio) = (ua / c_min, (c_min / c_max.max(1e-9)).clamp(1e-6, 1.0));
    1.0 - ((ntu.powf(0.22) / ratio) * ((-ratio * ntu.powf(0.78)).exp() - 1.0)).exp()
}

/// Overall UA, kW/K, at flow fractions of both sides: 1/UA = a m_h^−0.8 + b m_c^−0.8 + R_foul, with a = b.
pub fn exchanger_ua(clean_ua: f64, fouling: f64, hot_fraction: f64, cold_fraction: f64) -> f64 {
    let half = 0.5 / clean_ua;
    let foul = fouling / (clean_ua * (1.0 - fouling).max(0.05));
    1.0 / (half * hot_fraction.max(0.02).powf(-0.8) + half * cold_fraction.max(0.02).powf(-0.8) + foul)
}

/// Pump power, kW: P = m · dp / η with dp = dp0 + k m² and an efficiency that falls off at low flow.
/// Without static head it follows the affinity cube; `static_head` is dp0's share at design flow.
pub fn pump_kw(design_kw: f64, fraction: f64, static_head: f64) -> f64 {
    let f = fraction.max(0.0);
    let efficiency = 0.75 + 0.5 * f - 0.25 * f * f;
    design_kw * f * (static_head + (1.0 - static_head) * f * f) / efficiency.max(0.3)
}

/// Fan power, kW, by the fan law with drive losses (exponent 2.8).
pub fn fan_kw(full_kw: f64, fraction: f64) -> f64 {
    full_kw * fraction.clamp(0.0, 1.0).powf(2.8)
}

/// Electric chiller, EnergyPlus Electric:EIR: power kW for a load kW at leaving chilled °C and entering condenser °C.
/// The curve set of PLANT.md (471 kW, COP 5.89 at 8.89/26.67 °C) scaled to `capacity_kw` holds for 7.2–12.8 °C chilled
/// and 12.8–26.7 °C condenser; outside it the chiller runs at `carnot` × Carnot, joined at the same part-load curve.
pub fn chiller_kw(load_kw: f64, capacity_kw: f64, chilled_c: f64, condenser_c: f64, carnot: f64) -> f64 {
    if load_kw <= 0.0 {
        return 0.0;
    }
    if (7.2..=12.8).contains(&chilled_c) && (12.8..=26.7).contains(&condenser_c) {
        let available = capacity_kw * biquadratic(&CAPACITY, chilled_c, condenser_c);
        let plr = (load_kw / available.max(1.0)).min(1.1);
        return available / REFERENCE_COP * biquadratic(&EIR_OF_TEMPERATURE, chilled_c, condenser_c) * quadratic(&EIR_OF_LOAD, plr);
    }
    let lift_k = (condenser_c + 3.0 - chilled_c).max(4.0);
    let cop = (carnot * (chilled_c + 273.15) / lift_k).min(14.0);
    let plr = (load_kw / capacity_kw.max(1.0)).min(1.1);
    // The part-load curve is a factor on full-load power; per unit of load it is EIR(plr)/plr.
    load_kw / cop * (quadratic(&EIR_OF_LOAD, plr) / plr.max(0.05)).clamp(0.9, 2.5)
}

pub const REFERENCE_COP: f64 = 5.89;
const CAPACITY: [f64; 6] = [0.252_113_0, 0.013_240_53, -0.008_637_329, 0.085_810_56, -0.004_261_176, 0.008_661_899];
const EIR_OF_TEMPERATURE: [f64; 6] = [0.447_523_8, -0.025_882_10, -0.001_459_053, 0.043_425_95, -0.001_000_651, 0.001_920_106];
const EIR_OF_LOAD: [f64; 3] = [0.277_888_9, 0.233_836_3, 0.488_374_8];

fn biquadratic(c: &[f64; 6], x: f64, y: f64) -> f64 {
    c[0] + c[1] * x + c[2] * x * x + c[3] * y + c[4] * y * y + c[5] * x * y
}
fn quadratic(c: &[f64; 3], x: f64) -> f64 {
    c[0] + c[1] * x + c[2] * x * x
}

/// Approach of a tower's leaving water to the wet bulb, K, at full fan: grows with load and falls with the wet bulb, as
/// YorkCalc does around its rating point (3.9 K at 25.6 °C and full load).
pub fn tower_approach_k(load_share: f64, wet_bulb_c: f64) -> f64 {
    (3.9 * load_share.max(0.0).powf(0.9) * (1.0 + 0.035 * (25.6 - wet_bulb_c).max(-5.0))).max(0.4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_chiller_set_gives_its_rating() {
        // EnergyPlus reference: 471 kW at COP 5.89, 8.89 °C leaving chilled, 26.67 °C entering condenser.
        let kw = chiller_kw(471.0, 471.0, 8.89, 26.67, 0.5);
        assert!((471.0 / kw / 5.89 - 1.0).abs() < 0.02, "COP {}", 471.0 / kw);
        // A colder condenser makes it cheaper, a colder evaporator dearer.
        assert!(chiller_kw(300.0, 471.0, 8.89, 20.0, 0.5) < chiller_kw(300.0, 471.0, 8.89, 26.0, 0.5));
        assert!(chiller_kw(300.0, 471.0, 14.0, 30.0, 0.5) > chiller_kw(300.0, 471.0, 22.0, 30.0, 0.5));
    }

    #[test]
    fn the_tower_meets_its_rating_point() {
        assert!((tower_approach_k(1.0, 25.6) - 3.9).abs() < 1e-9);
        assert!(tower_approach_k(0.5, 25.6) < 2.2);
    }

    #[test]
    fn a_pump_follows_the_affinity_cube_only_without_static_head() {
        let ratio = |s| pump_kw(10.0, 0.8, s) / pump_kw(10.0, 1.0, s);
        let exponent = |s: f64| ratio(s).ln() / 0.8_f64.ln();
        assert!((2.8..=3.0).contains(&exponent(0.0)), "{}", exponent(0.0));
        assert!((2.0..=2.8).contains(&exponent(0.3)), "{}", exponent(0.3));
        assert!((pump_kw(10.0, 1.0, 0.3) - 10.0).abs() < 1e-9);
    }

    #[test]
    fn exchangers_obey_their_limits() {
        // NTU 1, equal capacities: counterflow 0.5 exactly; crossflow a little less (0.48, Kays and London fig. 2-15).
        assert!((effectiveness_counterflow(10.0, 10.0, 10.0) - 0.5).abs() < 1e-3);
        assert!((effectiveness_crossflow(10.0, 10.0, 10.0) - 0.476).abs() < 0.01);
        assert!(effectiveness_counterflow(1e6, 10.0, 20.0) > 0.999);
        assert!((exchanger_ua(100.0, 0.0, 1.0, 1.0) - 100.0).abs() < 1e-9);
        assert!((exchanger_ua(100.0, 0.2, 1.0, 1.0) - 80.0).abs() < 1e-6);
    }
}
