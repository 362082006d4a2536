//! Savings whose truth is known: the simulated plants with other setpoints, judged as if nobody knew.
//!
//! One case: a plant runs three weeks at the operators' setpoints (baseline), then two weeks at others (reporting). The truth is
//! what the same plant draws in those two weeks with the operators' setpoints under the same weather and the same power of each
//! rack, less what it drew. A null case moves no setpoint. The verification sees hourly means with meters' errors: 1 % of cooling
//! energy by the hour, 0.3 K of weather, none of the truth.

use crate::plant::twin::{Twin, TwinSpec};
use crate::report::savings::{Limits, Row, verify};
use crate::signal::weather::Weather;
use crate::sim::excite::scenario;
use crate::sim::hall::{Hall, Placement};
use crate::time::{Span, Timestamp};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;
use std::sync::Arc;

const BASELINE: Span = Span::hours(24 * 21);
const REPORTING: Span = Span::hours(24 * 14);
/// Simulated step: coarser than the demo's, the same physics.
const STEP_S: u32 = 30;
const START: &str = "2026-06-15T00:00:00Z";
/// Weather of the cases, K off a July of Barcelona.
const SEASONS_K: [f64; 4] = [0.0, -4.0, -9.0, 2.0];

struct Case {
    truth_kwh: f64,
    saving_kwh: f64,
    half_width_kwh: f64,
    claims: bool,
    refusals: Vec<String>,
}

/// Means over hours of (cooling, IT, dry bulb).
struct Hours {
    rows: Vec<Row>,
    sum: [f64; 3],
    n: f64,
    at: Timestamp,
}

impl Hours {
    fn new(at: Timestamp) -> Hours {
        Hours { rows: vec![], sum: [0.0; 3], n: 0.0, at }
    }
    fn add(&mut self, now: Timestamp, values: [f64; 3]) {
        if now.floor(Span::hours(1)) != self.at {
            let [p, l, w] = self.sum.map(|s| s / self.n.max(1.0));
            self.rows.push(Row { at: self.at, power_kw: p, load_kw: l, weather_c: w });
            (self.sum, self.n, self.at) = ([0.0; 3], 0.0, now.floor(Span::hours(1)));
        }
        self.sum.iter_mut().zip(values).for_each(|(s, v)| *s += v);
        self.n += 1.0;
    }
}

fn case(spec: &Arc<TwinSpec>, seed: u64, change: bool) -> Case {
    let start = Timestamp::parse(START).unwrap_or_default();
    let offset = SEASONS_K[(seed % 4) as usize];
    let mut hall = Hall::new(Arc::clone(spec), scenario(spec, seed, start, Span(BASELINE.0 + REPORTING.0), offset));
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x5a71);
    let former: Vec<f64> = hall.actuators().iter().map(|a| a.default).collect();
    let mut other = former.clone();
    if change {
        for (value, a) in other.iter_mut().zip(hall.actuators()) {
            // Warmer by 0–5 K, or less flow by 0–30 %.
            let step = if a.hi > 60.0 { -rng.random_range(0.0..30.0) } else { rng.random_range(0.0..5.0) };
            *value = (*value + step).clamp(a.lo, a.hi);
        }
    }
    let switch = start + BASELINE;
    let mut hours = Hours::new(start);
    // The twin that nobody changed, fed with the racks' true power: it has no leakage of its own.
    let mut plain = TwinSpec::clone(spec);
    plain.leak_per_k = 0.0;
    let mut unchanged = Twin::new(Arc::new(plain));
    let fixed: [f64; 4] = std::array::from_fn(|i| former.get(i).copied().unwrap_or(0.0));
    let (mut metered, mut would) = (0.0, 0.0);
    let h = f64::from(STEP_S) / 3600.0;
    while !hall.done() {
        let now = hall.now();
        if now >= switch && change {
            for (i, v) in other.iter().enumerate() {
                hall.request(i, *v);
            }
        }
        hall.advance(&mut Placement::FirstFit);
        let t = hall.truth();
        let weather = t.weather.unwrap_or(Weather { dry_bulb_c: f64::NAN, wet_bulb_c: f64::NAN, dew_point_c: f64::NAN });
        unchanged.step(f64::from(STEP_S), &fixed, &t.rack_kw, weather);
        if now >= switch {
            metered += t.cooling_kw() * h;
            would += unchanged.truth().cooling_kw() * h;
        }
        hours.add(now, [t.cooling_kw(), t.it_kw, weather.dry_bulb_c]);
    }
    hours.add(hall.now() + Span::hours(1), [0.0; 3]);
    let mut noise = |scale: f64| scale * (0..12).map(|_| rng.random_range(-0.5..0.5)).sum::<f64>();
    for r in &mut hours.rows {
        r.power_kw *= 1.0 + noise(0.01);
        r.load_kw *= 1.0 + noise(0.003);
        r.weather_c += noise(0.3);
    }
    // The first hours are the plant's coming to rest.
    let split = hours.rows.partition_point(|r| r.at < switch);
    let v = verify(
        &hours.rows[6.min(split)..split],
        &hours.rows[split..],
        [BASELINE.as_hours_f64(), REPORTING.as_hours_f64()],
        0.0,
        Limits::default(),
        &|_| String::new(),
    );
    Case {
        truth_kwh: would - metered,
        saving_kwh: v.saving_kwh,
        half_width_kwh: v.half_width_kwh,
        claims: v.claims(),
        refusals: v.refusals,
    }
}

/// Runs the cases and prints how often the interval covered the truth, and how often nothing was claimed where nothing was.
///
/// # Errors
/// A plant's file cannot be read.
pub fn run(cases: u32, seed: u64) -> Result<(), String> {
    let mut specs = Vec::new();
    for site in ["bsc-hq", "torre-girona"] {
        let path = Path::new("sensors").join(site).join("twin.toml");
        let mut spec = TwinSpec::load(&path).map_err(|e| e.to_string())?;
        spec.step_s = STEP_S;
        specs.push(Arc::new(spec));
    }
    println!("{:>6} {:>14} {:>12} {:>12} {:>10}  verdict", "seed", "plant", "truth, kWh", "saving, kWh", "± 95 %");
    let mut counts = [(0, 0, 0, 0); 2];
    for k in 0..cases {
        for (kind, change) in [(0, true), (1, false)] {
            let seed = seed + u64::from(k) + if change { 0 } else { 1_000_000 };
            let spec = &specs[(k % 2) as usize];
            let c = case(spec, seed, change);
            let count = &mut counts[kind];
            count.0 += 1;
            let covered = (c.saving_kwh - c.truth_kwh).abs() <= c.half_width_kwh;
            let verdict = match () {
                () if !c.refusals.is_empty() => c.refusals.join("; "),
                () => format!("{}{}", if covered { "covers" } else { "MISSES" }, if c.claims { ", claims" } else { "" }),
            };
            if c.refusals.is_empty() {
                count.1 += 1;
                count.2 += u32::from(covered);
            }
            count.3 += u32::from(c.claims);
            let plant = if k % 2 == 0 { "bsc-hq" } else { "torre-girona" };
            println!("{seed:>6} {plant:>14} {:>12.0} {:>12.0} {:>10.0}  {verdict}", c.truth_kwh, c.saving_kwh, c.half_width_kwh);
        }
    }
    let share = |a: u32, b: u32| 100.0 * f64::from(a) / f64::from(b.max(1));
    let (n, judged, covered, claimed) = counts[0];
    println!(
        "changed: {n} cases, {} refused, truth covered in {covered} of {judged} ({:.1} %), {claimed} claim a saving",
        n - judged,
        share(covered, judged)
    );
    let (n, judged, covered, claimed) = counts[1];
    println!(
        "null: {n} cases, {} refused, {claimed} claim a saving: nothing claimed in {:.1} %; truth covered in {covered} of {judged} ({:.1} %)",
        n - judged,
        share(n - claimed, n),
        share(covered, judged)
    );
    Ok(())
}
