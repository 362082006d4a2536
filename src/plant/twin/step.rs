//! One step of the plant, and its true state.

use super::physics as ph;
use super::spec::{CDUS_MAX, RejectionKind, RejectionSpec, TwinSpec};
use super::{COLD_SUPPLY, FWS_SUPPLY, TCS_FLOW, TCS_SUPPLY};
use crate::signal::weather::Weather;
use std::sync::Arc;

/// Chip temperature at which `rack_dynamic_kw` is stated, °C.
const LEAK_REFERENCE_C: f64 = 50.0;
/// Least time that a chiller stays on or off, s.
const CHILLER_DWELL_S: f64 = 1200.0;

/// The plant's real state after a step. Powers in kW, temperatures in °C, flows in L/min.
#[derive(Clone, Debug, Default)]
pub struct Truth {
    pub weather: Option<Weather>,
    pub rack_kw: Vec<f64>,
    pub rack_chip_c: Vec<f64>,
    pub rack_hottest_c: Vec<f64>,
    pub cdu_supply_c: Vec<f64>,
    pub cdu_return_c: Vec<f64>,
    pub cdu_primary_fraction: Vec<f64>,
    pub tcs_flow_fraction: f64,
    pub fws_supply_c: f64,
    pub fws_return_c: f64,
    pub fws_flow_fraction: f64,
    pub cold_supply_c: f64,
    pub cold_return_c: f64,
    pub cold_flow_fraction: f64,
    pub room_air_c: f64,
    pub room_dew_point_c: f64,
    pub it_kw: f64,
    pub loss_kw: f64,
    pub tcs_pumps_kw: f64,
    pub fws: Rejected,
    pub cold: Rejected,
    /// Heat that enters and leaves the plant's water in this step, kW: equal in steady state.
    pub heat_in_kw: f64,
    pub heat_out_kw: f64,
}

/// What a heat rejection does in a step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rejected {
    pub pump_kw: f64,
    pub fan_kw: f64,
    pub chiller_kw: f64,
    pub fan_fraction: f64,
    pub chiller_load_kw: f64,
    pub chiller_on: bool,
    pub adiabatic: bool,
    pub condenser_c: f64,
}

impl Truth {
    pub fn cooling_kw(&self) -> f64 {
        let part = |r: &Rejected| r.pump_kw + r.fan_kw + r.chiller_kw;
        self.tcs_pumps_kw + part(&self.fws) + part(&self.cold)
    }
    /// Hottest GPU of the hall, °C.
    pub fn hottest_gpu_c(&self) -> f64 {
        self.rack_hottest_c.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
    pub fn tcs_supply_least_c(&self) -> f64 {
        self.cdu_supply_c.iter().copied().fold(f64::INFINITY, f64::min)
    }
    pub fn tcs_return_c(&self) -> f64 {
        self.cdu_return_c.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
    /// Cooling power by component, kW.
    pub fn components(&self) -> [(&'static str, f64); 7] {
        [
            ("tcs-pumps", self.tcs_pumps_kw),
            ("fws-pumps", self.fws.pump_kw),
            ("fws-fans", self.fws.fan_kw),
            ("fws-chiller", self.fws.chiller_kw),
            ("cold-pumps", self.cold.pump_kw),
            ("cold-fans", self.cold.fan_kw),
            ("cold-chiller", self.cold.chiller_kw),
        ]
    }
}

/// What of the plant is out of order. The default is a whole plant.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outage {
    /// Most of its design flow that each CDU still reaches: with one of two pumps lost about 0.55 (the other speeds up to hold what is
    /// asked, as far as it can), 0 is a CDU lost. Empty = all whole.
    pub cdu_flow_max: Vec<f64>,
    /// Most of its design flow that the facility water still reaches.
    pub fws_flow_max: Option<f64>,
}

impl Outage {
    /// Share of its design flow that a CDU gives where `asked` is asked.
    fn flow(&self, cdu: usize, asked: f64) -> f64 {
        self.cdu_flow_max.get(cdu).map_or(asked, |most| asked.min(*most))
    }
    fn is_lost(&self, cdu: usize) -> bool {
        self.cdu_flow_max.get(cdu).is_some_and(|most| *most <= 0.0)
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct ChillerState {
    on: bool,
    since_s: f64,
    wanted_s: f64,
}

/// A simulated plant. Cloning is cheap: the perfect-foresight search does it for each candidate.
#[derive(Clone, Debug)]
pub struct Twin {
    spec: Arc<TwinSpec>,
    rack_cdu: Arc<[usize]>,
    rack_group: Arc<[usize]>,
    truth: Truth,
    fws_leaving_c: f64,
    chillers: [ChillerState; 2],
    outage: Arc<Outage>,
}

impl Twin {
    /// A plant at rest near its default setpoints.
    pub fn new(spec: Arc<TwinSpec>) -> Twin {
        let mut rack_cdu = Vec::new();
        let mut rack_group = Vec::new();
        for (g, group) in spec.rack_groups.iter().enumerate() {
            for i in 0..group.count as usize {
                let cdu = &group.cdus[i * group.cdus.len() / group.count as usize];
                rack_cdu.push(spec.cdus.iter().position(|c| c.id == *cdu).unwrap_or(0));
                rack_group.push(g);
            }
        }
        let at = |i: usize| spec.actuators[i].default;
        let (racks, cdus) = (rack_cdu.len(), spec.cdus.len());
        let truth = Truth {
            rack_kw: vec![0.0; racks],
            rack_chip_c: vec![45.0; racks],
            rack_hottest_c: vec![48.0; racks],
            cdu_supply_c: vec![at(TCS_SUPPLY); cdus],
            cdu_return_c: vec![at(TCS_SUPPLY) + 6.0; cdus],
            cdu_primary_fraction: vec![0.5; cdus],
            tcs_flow_fraction: at(TCS_FLOW) / 100.0,
            fws_supply_c: at(FWS_SUPPLY),
            fws_return_c: at(FWS_SUPPLY) + 6.0,
            fws_flow_fraction: 0.6,
            cold_supply_c: at(COLD_SUPPLY),
            cold_return_c: at(COLD_SUPPLY) + 4.0,
            cold_flow_fraction: 0.6,
            room_air_c: spec.cold.air_c,
            room_dew_point_c: spec.room_dew_point_max_c - 1.0,
            ..Truth::default()
        };
        let fws_leaving_c = truth.fws_supply_c;
        Twin {
            rack_cdu: rack_cdu.into(),
            rack_group: rack_group.into(),
            truth,
            fws_leaving_c,
            chillers: Default::default(),
            outage: Arc::default(),
            spec,
        }
    }

    pub fn spec(&self) -> &Arc<TwinSpec> {
        &self.spec
    }
    pub fn truth(&self) -> &Truth {
        &self.truth
    }
    /// Takes other parameters for the same racks and CDUs; its state stays.
    pub fn respec(&mut self, spec: Arc<TwinSpec>) {
        debug_assert!(spec.racks() == self.spec.racks() && spec.cdus.len() == self.spec.cdus.len());
        self.spec = spec;
    }
    /// CDU that a rack hangs on.
    pub fn cdu_of(&self, rack: usize) -> usize {
        self.rack_cdu[rack]
    }
    pub fn group_of(&self, rack: usize) -> usize {
        self.rack_group[rack]
    }

    /// What is out of order from the next step on.
    pub fn set_outage(&mut self, outage: Outage) {
        if *self.outage != outage {
            self.outage = outage.into();
        }
    }
    /// Share of its design flow that a CDU gives, 0 = lost.
    pub fn cdu_flow_fraction(&self, cdu: usize) -> f64 {
        self.outage.flow(cdu, self.truth.tcs_flow_fraction)
    }
    pub fn cdu_is_lost(&self, cdu: usize) -> bool {
        self.outage.is_lost(cdu)
    }

    /// Advances by `span_s` seconds. `setpoints` in the order of the spec's actuators; `rack_dynamic_kw` is each rack's
    /// power at a chip temperature of 50 °C.
    pub fn step(&mut self, span_s: f64, setpoints: &[f64; 4], rack_dynamic_kw: &[f64], weather: Weather) {
        let spec = Arc::clone(&self.spec);
        let t = &mut self.truth;
        t.weather = Some(weather);
        let lag = |tau_s: f64| 1.0 - (-span_s / tau_s.max(1.0)).exp();
        t.tcs_flow_fraction += (setpoints[TCS_FLOW] / 100.0 - t.tcs_flow_fraction) * lag(30.0);
        let flow = t.tcs_flow_fraction.max(0.05);
        // The racks hang on one header: those of a CDU that is lost are carried by the others, and all get less flow.
        let out = Arc::clone(&self.outage);
        let cdus = spec.cdus.len().min(CDUS_MAX);
        let at_work = (0..cdus).filter(|c| !out.is_lost(*c)).count().max(1);
        let lost = at_work < cdus;
        let header_flow = (0..cdus).map(|c| out.flow(c, flow)).sum::<f64>().max(0.05) / cdus.max(1) as f64;
        let header_c = |t: &Truth| {
            let sum: f64 = (0..cdus).filter(|c| !out.is_lost(*c)).map(|c| t.cdu_supply_c[c] + t.cdu_return_c[c]).sum();
            0.5 * sum / at_work as f64
        };

        // Racks: work and leakage to heat, chips above coolant.
        let mut air_heat_kw = 0.0;
        let mut cdu_heat_kw = [0.0_f64; CDUS_MAX];
        t.it_kw = 0.0;
        for (i, dynamic_kw) in rack_dynamic_kw.iter().enumerate().take(t.rack_kw.len()) {
            let (group, cdu) = (&spec.rack_groups[self.rack_group[i]], self.rack_cdu[i]);
            let kw = dynamic_kw * (1.0 + spec.leak_per_k * (t.rack_chip_c[i] - LEAK_REFERENCE_C));
            let liquid_kw = kw * group.liquid_share;
            t.rack_kw[i] = kw;
            t.it_kw += kw;
            air_heat_kw += kw - liquid_kw;
            if !out.is_lost(cdu) {
                cdu_heat_kw[cdu.min(31)] += liquid_kw;
            } else {
                (0..cdus).filter(|c| !out.is_lost(*c)).for_each(|c| cdu_heat_kw[c] += liquid_kw / at_work as f64);
            }
            let rack_flow = if lost { header_flow } else { out.flow(cdu, flow) };
            let rise_k = group.chip_rise_k * kw / group.rating_kw * rack_flow.powf(-0.6);
            let coolant_c = if lost { header_c(t) } else { 0.5 * (t.cdu_supply_c[cdu] + t.cdu_return_c[cdu]) };
            t.rack_chip_c[i] += (coolant_c + rise_k - t.rack_chip_c[i]) * lag(25.0);
            t.rack_hottest_c[i] = t.rack_chip_c[i] + 2.0 + 0.12 * rise_k;
        }

        // CDUs: the valve on the facility side holds the TCS supply as far as the facility water lets it.
        t.tcs_pumps_kw = 0.0;
        let (mut fws_flow_lpm, mut fws_heat_kw, mut design_lpm) = (0.0, 0.0, 0.0);
        let primary_max = out.fws_flow_max.unwrap_or(1.0).clamp(0.1, 1.0);
        for (c, cdu) in spec.cdus.iter().enumerate() {
            design_lpm += cdu.design_flow_lpm;
            if out.is_lost(c) {
                t.cdu_primary_fraction[c] = 0.0;
                continue;
            }
            let flow = out.flow(c, flow);
            let pump_kw = ph::pump_kw(cdu.pump_kw, flow, spec.tcs_static_head);
            t.tcs_pumps_kw += pump_kw;
            let heat_kw = cdu_heat_kw[c.min(31)] + pump_kw;
            let capacity = ph::capacity_kw_per_k(cdu.design_flow_lpm * flow);
            let loop_lag = lag(spec.tcs_volume_l / (cdu.design_flow_lpm * flow) * 60.0);
            t.cdu_return_c[c] += (t.cdu_supply_c[c] + heat_kw / capacity - t.cdu_return_c[c]) * loop_lag;
            let (hot_c, cold_c) = (t.cdu_return_c[c], t.fws_supply_c);
            let moved_kw = |primary: f64| {
                let ua = ph::exchanger_ua(cdu.ua_kw_per_k, cdu.fouling, flow, primary);
                let cold_capacity = ph::capacity_kw_per_k(cdu.design_flow_lpm * primary);
                let (lo, hi) = if cold_capacity < capacity { (cold_capacity, capacity) } else { (capacity, cold_capacity) };
                ph::effectiveness_counterflow(ua, lo, hi) * lo * (hot_c - cold_c).max(0.0)
            };
            let wanted_kw = (hot_c - setpoints[TCS_SUPPLY]).max(0.0) * capacity;
            let primary = solve(0.06, primary_max, |v| moved_kw(v) - wanted_kw);
            let kw = moved_kw(primary).min(wanted_kw.max(moved_kw(0.06)));
            t.cdu_primary_fraction[c] = primary;
            t.cdu_supply_c[c] += (hot_c - kw / capacity - t.cdu_supply_c[c]) * lag(35.0);
            fws_flow_lpm += cdu.design_flow_lpm * primary;
            fws_heat_kw += kw;
        }
        if lost {
            // What a dead CDU's sensors feel is the header.
            let at_work = |v: &[f64]| (0..cdus).filter(|c| !out.is_lost(*c)).map(|c| v[c]).sum::<f64>() / at_work as f64;
            let (supply_c, return_c) = (at_work(&t.cdu_supply_c), at_work(&t.cdu_return_c));
            for c in (0..cdus).filter(|c| out.is_lost(*c)) {
                (t.cdu_supply_c[c], t.cdu_return_c[c]) = (supply_c, return_c);
            }
        }

        // Facility water.
        t.fws_flow_fraction = fws_flow_lpm / design_lpm.max(1.0);
        t.fws.pump_kw = ph::pump_kw(spec.fws.pump_kw, t.fws_flow_fraction, spec.fws.static_head);
        let capacity = ph::capacity_kw_per_k(fws_flow_lpm);
        t.fws_return_c = t.fws_supply_c + (fws_heat_kw + t.fws.pump_kw) / capacity;
        let leaving_c =
            reject(&spec.fws, &mut t.fws, &mut self.chillers[0], span_s, t.fws_return_c, setpoints[FWS_SUPPLY], capacity, weather);
        self.fws_leaving_c += (leaving_c - self.fws_leaving_c) * lag(spec.fws.volume_l / fws_flow_lpm.max(1.0) * 60.0);
        t.fws_supply_c += (self.fws_leaving_c - t.fws_supply_c) * lag(spec.transport_s / t.fws_flow_fraction.max(0.1));
        let fws_out_kw = capacity * (t.fws_return_c - leaving_c);

        // Rear doors and the cold loop.
        t.room_dew_point_c += (weather.dew_point_c.min(spec.room_dew_point_max_c) - t.room_dew_point_c) * lag(900.0);
        let door = &spec.cold;
        let drive_k = (door.air_c - t.cold_supply_c).max(0.5);
        let wanted = (air_heat_kw / (door.door_kw_per_k * drive_k)).powf(1.0 / 0.6);
        t.cold_flow_fraction += (wanted.clamp(0.2, 1.0) - t.cold_flow_fraction) * lag(40.0);
        let air_c = t.cold_supply_c + air_heat_kw / (door.door_kw_per_k * t.cold_flow_fraction.powf(0.6));
        t.room_air_c += (air_c - t.room_air_c) * lag(120.0);
        t.cold.pump_kw = ph::pump_kw(door.rejection.pump_kw, t.cold_flow_fraction, door.rejection.static_head);
        let cold_lpm = door.rejection.design_flow_lpm * t.cold_flow_fraction;
        let capacity = ph::capacity_kw_per_k(cold_lpm);
        t.cold_return_c = t.cold_supply_c + (air_heat_kw + t.cold.pump_kw) / capacity;
        let leaving_c =
            reject(&door.rejection, &mut t.cold, &mut self.chillers[1], span_s, t.cold_return_c, setpoints[COLD_SUPPLY], capacity, weather);
        t.cold_supply_c += (leaving_c - t.cold_supply_c) * lag(door.rejection.volume_l / cold_lpm.max(1.0) * 60.0);

        t.loss_kw = spec.loss_fixed_kw + spec.loss_share * t.it_kw;
        t.heat_in_kw = t.it_kw + t.tcs_pumps_kw + t.fws.pump_kw + t.cold.pump_kw;
        t.heat_out_kw = fws_out_kw + capacity * (t.cold_return_c - leaving_c);
    }
}

/// The root of a growing function on [lo, hi] by bisection; the nearer end where there is none inside.
fn solve(mut lo: f64, mut hi: f64, f: impl Fn(f64) -> f64) -> f64 {
    if f(hi) <= 0.0 {
        return hi;
    }
    if f(lo) >= 0.0 {
        return lo;
    }
    for _ in 0..14 {
        let mid = 0.5 * (lo + hi);
        if f(mid) < 0.0 { lo = mid } else { hi = mid }
    }
    0.5 * (lo + hi)
}

/// Free cooling first, then the chiller for what is left. Returns the leaving water temperature, °C.
#[allow(clippy::too_many_arguments, reason = "one physical process with its whole boundary")]
fn reject(
    spec: &RejectionSpec,
    now: &mut Rejected,
    chiller: &mut ChillerState,
    span_s: f64,
    entering_c: f64,
    setpoint_c: f64,
    capacity: f64,
    weather: Weather,
) -> f64 {
    let heat_kw = (entering_c - setpoint_c).max(0.0) * capacity;
    let free_c = match spec.kind {
        RejectionKind::DryCooler => {
            let leaving = |air_c: f64, fan: f64| {
                let air = spec.air_kw_per_k * fan;
                let (lo, hi) = if air < capacity { (air, capacity) } else { (capacity, air) };
                let kw = ph::effectiveness_crossflow(spec.ua_kw_per_k * fan.powf(0.55), lo, hi) * lo * (entering_c - air_c).max(0.0);
                entering_c - kw / capacity.max(1e-6)
            };
            let wet_c = weather.dry_bulb_c - spec.adiabatic_effect * (weather.dry_bulb_c - weather.wet_bulb_c);
            now.adiabatic =
                spec.adiabatic_effect > 0.0 && weather.dry_bulb_c > spec.adiabatic_above_c && leaving(weather.dry_bulb_c, 0.8) > setpoint_c;
            let air_c = if now.adiabatic { wet_c } else { weather.dry_bulb_c };
            // Air no colder than the water takes no heat: the fans idle instead of blowing for nothing.
            now.fan_fraction = if air_c + 0.5 >= entering_c { 0.08 } else { solve(0.08, 1.0, |fan| setpoint_c - leaving(air_c, fan)) };
            leaving(air_c, now.fan_fraction)
        }
        RejectionKind::Tower => {
            let approach_k =
                ph::tower_approach_k((entering_c - weather.wet_bulb_c).max(0.0) * capacity / (spec.ua_kw_per_k * 10.0), weather.wet_bulb_c);
            let wanted_k = (setpoint_c - weather.wet_bulb_c).max(1e-3);
            now.fan_fraction = (approach_k / wanted_k).powf(1.0 / 0.7).clamp(0.08, 1.0);
            now.adiabatic = false;
            (weather.wet_bulb_c + approach_k * now.fan_fraction.powf(-0.7)).min(entering_c)
        }
    };
    now.fan_kw = ph::fan_kw(spec.fan_kw, now.fan_fraction);
    now.condenser_c = spec.condenser_approach_k
        + match spec.kind {
            RejectionKind::DryCooler => weather.dry_bulb_c,
            RejectionKind::Tower => weather.wet_bulb_c,
        };
    let left_kw = ((free_c - setpoint_c) * capacity).clamp(0.0, heat_kw);
    let least_kw = spec.chiller_least_load * spec.chiller_kw;
    chiller.since_s += span_s;
    let wish = if chiller.on { left_kw > 0.4 * least_kw } else { left_kw > least_kw };
    chiller.wanted_s = if wish == chiller.on { 0.0 } else { chiller.wanted_s + span_s };
    if chiller.wanted_s >= 180.0 && (chiller.since_s >= CHILLER_DWELL_S || !chiller.on) {
        *chiller = ChillerState { on: !chiller.on, since_s: 0.0, wanted_s: 0.0 };
    }
    now.chiller_on = chiller.on;
    now.chiller_load_kw = if chiller.on { left_kw.min(spec.chiller_kw) } else { 0.0 };
    // At less than its least load a chiller throttles by hot-gas bypass: it draws the power of its least load.
    let billed_kw = if chiller.on { now.chiller_load_kw.max(least_kw) } else { 0.0 };
    now.chiller_kw = ph::chiller_kw(billed_kw, spec.chiller_kw, setpoint_c, now.condenser_c, spec.chiller_carnot);
    free_c - now.chiller_load_kw / capacity.max(1e-6)
}
