//! Placement problems from a seed, and their text for the judge (`judge.py` beside this file): the test and the bench use
//! the same ones.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tramuntana::control::place::problem::{Ask, Cap, Curve, Problem, Rack, Schedule, SiteLoad, TOUCH_KW, WAIT_KWH};
use tramuntana::time::Span;

/// How large a problem is.
#[derive(Clone, Copy)]
pub struct Size {
    pub sites: usize,
    pub domains: usize,
    pub racks: usize,
    pub nodes: u32,
    pub slots: usize,
    pub jobs: usize,
    /// Largest job, in nodes.
    pub job_nodes: u32,
}

/// A site's total power over load: pumps and fans by a power law, leakage, and a chiller that starts somewhere: not convex.
fn curve(rng: &mut ChaCha8Rng, base: f64, reach: f64, k: usize) -> Curve {
    let (chiller_at, chiller_kw) = (base + reach * rng.random_range(0.1..1.2), base * rng.random_range(0.01..0.05));
    let (share, heat) = (rng.random_range(0.02..0.08), 1.0 + 0.05 * (k as f64 * 0.7).sin());
    let first = 0.7 * base;
    let step = (base + reach - first) / 12.0;
    let total = |load: f64| {
        let x = load / base;
        load * 1.03 + share * base * heat * x.powi(3) + if load > chiller_at { chiller_kw + 0.15 * (load - chiller_at) } else { 0.0 }
    };
    Curve { first_kw: first, step_kw: step, total_kw: (0..13).map(|i| total(first + step * i as f64)).collect() }
}

pub fn problem(seed: u64, size: Size) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut p = Problem { slot: Span::minutes(30), slots: size.slots, sites: vec![], racks: vec![], caps: vec![], asks: vec![] };
    let (gpus_per_node, kw) = (8u32, 1.1);
    let rack_kw = f64::from(size.nodes * gpus_per_node) * kw;
    let mut domain = 0;
    for site in 0..size.sites {
        let racks = (size.domains * size.racks) as f64;
        let base = 0.5 * racks * rack_kw + 50.0;
        let reach = racks * rack_kw;
        let cooling = p.caps.len();
        let room = reach * rng.random_range(0.3..0.9);
        p.caps.push(Cap { name: format!("cooling {site}"), room_kw: (0..size.slots).map(|k| room * (1.0 - 0.02 * k as f64)).collect() });
        p.sites.push(SiteLoad {
            base_kw: (0..size.slots).map(|k| base * (1.0 + 0.03 * (k as f64 * 0.5).sin())).collect(),
            curves: (0..size.slots).map(|k| curve(&mut rng, base, reach, k)).collect(),
        });
        for d in 0..size.domains {
            let pdu = p.caps.len();
            let room = size.racks as f64 * rack_kw * rng.random_range(0.4..1.0);
            p.caps.push(Cap { name: format!("pdu {site}.{d}"), room_kw: vec![room; size.slots] });
            for _ in 0..size.racks {
                let own = p.caps.len();
                let busy = rng.random_range(0..=size.nodes / 2);
                let ends = rng.random_range(0..size.slots);
                p.caps
                    .push(Cap { name: format!("rack {}", p.racks.len()), room_kw: vec![rack_kw * rng.random_range(0.5..1.0); size.slots] });
                p.racks.push(Rack {
                    site,
                    domain,
                    partition: site,
                    free: (0..size.slots).map(|k| (size.nodes - if k < ends { busy } else { 0 }) * gpus_per_node).collect(),
                    extra: rng.random_range(-0.01..0.03),
                    caps: vec![own, pdu, cooling],
                });
            }
            domain += 1;
        }
    }
    for _ in 0..size.jobs {
        let earliest = rng.random_range(0..size.slots.div_ceil(2));
        let latest = (earliest + rng.random_range(0..=size.slots / 2)).min(size.slots - 1);
        let chunk = if rng.random_range(0..4) == 0 { 1 } else { gpus_per_node };
        let gpus = if chunk == 1 { rng.random_range(1..gpus_per_node) } else { gpus_per_node * rng.random_range(1..=size.job_nodes) };
        let mut partitions: Vec<bool> = (0..size.sites).map(|_| rng.random_range(0..3) > 0).collect();
        if !partitions.contains(&true) {
            let i = rng.random_range(0..size.sites);
            partitions[i] = true;
        }
        p.asks.push(Ask {
            gpus,
            chunk,
            kw_per_gpu: kw * rng.random_range(0.6..1.0),
            slots: rng.random_range(1..=size.slots),
            earliest,
            latest,
            partitions,
            one_domain: rng.random_range(0..2) == 0,
        });
    }
    p
}

/// A small instance of the judged set: one or two sites, four to nine jobs.
pub fn small(seed: u64) -> Problem {
    let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x73_6d61_6c6c);
    problem(
        seed,
        Size {
            sites: rng.random_range(1..=2),
            domains: rng.random_range(1..=3),
            racks: rng.random_range(1..=2),
            nodes: rng.random_range(2..=4),
            slots: rng.random_range(3..=5),
            jobs: rng.random_range(4..=9),
            job_nodes: 4,
        },
    )
}

/// The problem and our answer, as the judge reads them.
pub fn text(p: &Problem, ours: &Schedule) -> Value {
    json!({
        "hours": p.hours(), "slots": p.slots, "touch_kw": TOUCH_KW, "wait_kwh": WAIT_KWH, "ours": ours.cost_kwh,
        "ours_unplaced": ours.places.iter().filter(|x| x.is_none()).count(),
        "sites": p.sites.iter().enumerate().map(|(i, s)| json!({
            "base": s.base_kw, "tail": p.tail_price(i),
            "curves": s.curves.iter().map(|c| json!({"first": c.first_kw, "step": c.step_kw, "total": c.total_kw})).collect::<Vec<_>>(),
        })).collect::<Vec<_>>(),
        "racks": p.racks.iter().map(|r| json!({"site": r.site, "domain": r.domain, "partition": r.partition, "free": r.free, "extra": r.extra, "caps": r.caps})).collect::<Vec<_>>(),
        "caps": p.caps.iter().map(|c| &c.room_kw).collect::<Vec<_>>(),
        "asks": p.asks.iter().map(|a| json!({
            "gpus": a.gpus, "chunk": a.chunk, "kw": a.kw_per_gpu, "slots": a.slots, "earliest": a.earliest, "latest": a.latest,
            "partitions": a.partitions, "one_domain": a.one_domain, "unplaced": p.unplaced_kwh(a),
        })).collect::<Vec<_>>(),
    })
}
