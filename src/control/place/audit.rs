//! The second author of every schedule: recomputes its cost and names what it breaks, without the search's code.

use super::problem::{Problem, Schedule};

/// Objective of a schedule, kWh, recomputed.
pub fn cost_kwh(p: &Problem, s: &Schedule) -> f64 {
    let mut load: Vec<Vec<f64>> = p.sites.iter().map(|site| site.base_kw.clone()).collect();
    let mut kwh = 0.0;
    for (ask, place) in p.asks.iter().zip(&s.places) {
        let Some(place) = place else {
            kwh += p.unplaced_kwh(ask);
            continue;
        };
        kwh += p.own_kwh(ask, place);
        for &(r, n) in &place.racks {
            let kw = f64::from(n * ask.chunk) * ask.kw_per_gpu;
            let end = (place.start + ask.slots).min(p.slots);
            load[p.racks[r].site][place.start.min(end)..end].iter_mut().for_each(|l| *l += kw);
        }
    }
    for (site, load) in p.sites.iter().zip(&load) {
        for ((curve, load), base) in site.curves.iter().zip(load).zip(&site.base_kw).take(p.slots) {
            kwh += p.hours() * (curve.at(*load) - curve.at(*base));
        }
    }
    kwh
}

/// What a schedule breaks; empty = nothing.
pub fn faults(p: &Problem, s: &Schedule) -> Vec<String> {
    let mut out = vec![];
    let mut used = vec![0u64; p.racks.len() * p.slots];
    let mut added = vec![0.0; p.caps.len() * p.slots];
    if s.places.len() != p.asks.len() {
        out.push(format!("{} places for {} jobs", s.places.len(), p.asks.len()));
    }
    for (j, (ask, place)) in p.asks.iter().zip(&s.places).enumerate() {
        let Some(place) = place else { continue };
        if place.start < ask.earliest || place.start > ask.latest {
            out.push(format!("job {j} starts in slot {}, allowed {} to {}", place.start, ask.earliest, ask.latest));
        }
        let gpus: u32 = place.racks.iter().map(|(_, n)| n * ask.chunk).sum();
        if gpus != ask.gpus {
            out.push(format!("job {j} has {gpus} GPUs of {}", ask.gpus));
        }
        let Some(first) = place.racks.first().map(|(r, _)| &p.racks[*r]) else { continue };
        for &(r, n) in &place.racks {
            let rack = &p.racks[r];
            if !ask.partitions.get(rack.partition).copied().unwrap_or(false) {
                out.push(format!("job {j} is on rack {r} of a partition that it may not use"));
            }
            if rack.site != first.site {
                out.push(format!("job {j} runs at two sites"));
            }
            if ask.one_domain && rack.domain != first.domain {
                out.push(format!("job {j} leaves its domain"));
            }
            for k in place.start..(place.start + ask.slots).min(p.slots) {
                used[r * p.slots + k] += u64::from(n * ask.chunk);
                for &c in &rack.caps {
                    added[c * p.slots + k] += f64::from(n * ask.chunk) * ask.kw_per_gpu;
                }
            }
        }
    }
    for (r, rack) in p.racks.iter().enumerate() {
        for k in 0..p.slots {
            if used[r * p.slots + k] > u64::from(rack.free[k]) {
                out.push(format!("rack {r}, slot {k}: {} GPUs given, {} free", used[r * p.slots + k], rack.free[k]));
            }
        }
    }
    for (c, cap) in p.caps.iter().enumerate() {
        for k in 0..p.slots {
            let kw = added[c * p.slots + k];
            if kw > cap.room_kw[k].max(0.0) + 1e-6 {
                out.push(format!("{}, slot {k}: {kw:.3} kW added, room for {:.3}", cap.name, cap.room_kw[k]));
            }
        }
    }
    out
}
