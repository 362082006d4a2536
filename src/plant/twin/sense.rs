//! What sensors say of the plant: noise, drift, resolution, dropout.

use super::points::points;
use super::points::{SimPoint, Source};
use super::step::Twin;
use crate::units::WATER_KW_PER_LPM_K;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

/// One sensed value; NaN where the point has none. `quality` as DSX has it: 1 = good.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sensed {
    pub value: f64,
    pub quality: u8,
    /// The reading never comes this time.
    pub dropped: bool,
}

/// What the scheduler and the BMS know beside the plant.
#[derive(Clone, Copy, Debug, Default)]
pub struct Beside {
    pub gpus_allocated: u32,
    /// Mean utilisation of the allocated GPUs, %.
    pub utilisation_pct: f64,
    pub in_force: [f64; 4],
    pub enabled: bool,
}

/// The sensors of one plant. Their noise has a stream of its own: how often they are read does not change the plant.
#[derive(Clone, Debug)]
pub struct Sensors {
    points: std::sync::Arc<[SimPoint]>,
    /// Slow drift of each sensor, in its own noise's sigma.
    drift: Vec<f64>,
    rng: ChaCha8Rng,
}

impl Sensors {
    pub fn new(twin: &Twin, seed: u64) -> Sensors {
        let points: std::sync::Arc<[SimPoint]> = points(twin.spec()).into();
        Sensors { drift: vec![0.0; points.len()], points, rng: ChaCha8Rng::seed_from_u64(seed ^ 0x7365_6e73_6f72) }
    }

    pub fn points(&self) -> &[SimPoint] {
        &self.points
    }

    /// Reads every point; `out` gets one entry a point, in order.
    pub fn read(&mut self, twin: &Twin, beside: &Beside, out: &mut Vec<Sensed>) {
        let (scale, dropout) = (twin.spec().noise, twin.spec().dropout);
        out.clear();
        for (i, p) in self.points.iter().enumerate() {
            let truth = value(p.source, twin, beside);
            let luck: f64 = self.rng.random();
            let mut value = truth;
            if p.noise > 0.0 && truth.is_finite() {
                let noise: f64 = StandardNormal.sample(&mut self.rng);
                self.drift[i] = 0.999 * self.drift[i] + 0.02 * noise;
                value += scale * p.noise * (noise * 0.5 + self.drift[i]);
            }
            if p.cov > 0.0 {
                value = (value / p.cov).round() * p.cov;
            }
            out.push(Sensed { value, quality: u8::from(luck < 1.0 - 0.5 * dropout), dropped: luck < 0.5 * dropout });
        }
    }
}

/// The true value behind a point, in the point's unit.
fn value(source: Source, twin: &Twin, beside: &Beside) -> f64 {
    let t = twin.truth();
    let spec = twin.spec();
    let w = t.weather;
    let flow_pct = 100.0 * t.tcs_flow_fraction;
    let rack_flow = |r: usize| {
        let group = &spec.rack_groups[twin.group_of(r)];
        1.5 * group.rating_kw * group.liquid_share * t.tcs_flow_fraction
    };
    match source {
        Source::RackPower(r) => t.rack_kw[r],
        Source::RackSupply(r) => t.cdu_supply_c[twin.cdu_of(r)],
        Source::RackReturn(r) => {
            let group = &spec.rack_groups[twin.group_of(r)];
            t.cdu_supply_c[twin.cdu_of(r)] + t.rack_kw[r] * group.liquid_share / (rack_flow(r) * WATER_KW_PER_LPM_K).max(0.1)
        }
        Source::RackFlow(r) => rack_flow(r),
        Source::RackDp(_) => 120.0 * t.tcs_flow_fraction * t.tcs_flow_fraction,
        Source::RackValve(_) => 60.0,
        Source::RackLeak(_) => 0.0,
        Source::Tray(r, offset_k) => t.rack_chip_c[r] + offset_k,
        Source::CduSupply(c) => t.cdu_supply_c[c],
        Source::CduReturn(c) => t.cdu_return_c[c],
        Source::CduPrimarySupply => t.fws_supply_c,
        Source::CduPrimaryReturn(_) => t.fws_return_c,
        Source::CduFlow(c) => spec.cdus[c].design_flow_lpm * twin.cdu_flow_fraction(c),
        Source::CduAvailable(c) => f64::from(u8::from(!twin.cdu_is_lost(c))),
        Source::CduPump => flow_pct,
        Source::CduDp => 180.0 * t.tcs_flow_fraction * t.tcs_flow_fraction,
        Source::CduValve(c) => 100.0 * t.cdu_primary_fraction[c],
        Source::FwsSupply => t.fws_supply_c,
        Source::FwsReturn => t.fws_return_c,
        Source::FwsFlow => t.fws_flow_fraction * spec.cdus.iter().map(|c| c.design_flow_lpm).sum::<f64>(),
        Source::FwsFan => 100.0 * t.fws.fan_fraction,
        Source::FwsPump => 100.0 * t.fws_flow_fraction,
        Source::FwsChillerOn => f64::from(u8::from(t.fws.chiller_on)),
        Source::FwsCondenser => t.fws.condenser_c,
        Source::FwsAdiabatic => f64::from(u8::from(t.fws.adiabatic)),
        Source::ColdSupply => t.cold_supply_c,
        Source::ColdReturn => t.cold_return_c,
        Source::ColdFlow => t.cold_flow_fraction * spec.cold.rejection.design_flow_lpm,
        Source::ColdFan => 100.0 * t.cold.fan_fraction,
        Source::ColdPump => 100.0 * t.cold_flow_fraction,
        Source::ColdChillerOn => f64::from(u8::from(t.cold.chiller_on)),
        Source::ColdCondenser => t.cold.condenser_c,
        Source::RoomAir => t.room_air_c,
        Source::RoomDewPoint => t.room_dew_point_c,
        Source::DryBulb => w.map_or(f64::NAN, |w| w.dry_bulb_c),
        Source::WetBulb => w.map_or(f64::NAN, |w| w.wet_bulb_c),
        Source::Humidity => w.map_or(f64::NAN, |w| w.humidity_pct()),
        Source::It => t.it_kw,
        Source::Loss => t.loss_kw,
        Source::Component(i) => t.components()[i].1,
        Source::GpuHottest => t.hottest_gpu_c(),
        Source::GpusAllocated => f64::from(beside.gpus_allocated),
        Source::Utilisation => beside.utilisation_pct,
        Source::InForce(a) => beside.in_force[a],
        Source::AiStatus => {
            if beside.enabled {
                1.0
            } else {
                2.0
            }
        }
        Source::Constant(v) => v,
        Source::None => f64::NAN,
    }
}
