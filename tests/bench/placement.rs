//! Speed of placement: `cargo bench --bench placement`. 10,000 nodes in 2,500 racks at two sites, 1,000 jobs, 24 slots
//! (aim < 200 ms); with `-- FILE` it also writes problems of growing size with our answers, for `placement/judge.py`.

#[allow(dead_code, reason = "the test uses the small ones")]
#[path = "placement/instances.rs"]
mod instances;

use instances::{Size, problem, text};
use std::time::Instant;
use tramuntana::control::place::audit;
use tramuntana::control::place::solve::{Effort, solve};

fn main() {
    let size = Size { sites: 2, domains: 156, racks: 8, nodes: 4, slots: 24, jobs: 1000, job_nodes: 24 };
    let p = problem(1, size);
    println!("{} racks of 4 nodes, {} jobs, {} slots", p.racks.len(), p.asks.len(), p.slots);
    for effort in [Effort { work: 0, rounds: 0 }, Effort { work: 6_000_000, rounds: 2_000 }] {
        let mut took: Vec<f64> = vec![];
        let mut last = None;
        for _ in 0..7 {
            let began = Instant::now();
            last = Some(solve(&p, effort));
            took.push(began.elapsed().as_secs_f64() * 1e3);
        }
        took.sort_by(f64::total_cmp);
        let s = last.expect("seven rounds");
        let faults = audit::faults(&p, &s);
        println!(
            "{effort:?}: median {:.0} ms, worst {:.0} ms; {} of {} jobs placed, {:.0} kWh, {} faults",
            took[3],
            took[6],
            s.places.iter().flatten().count(),
            p.asks.len(),
            s.cost_kwh,
            faults.len()
        );
    }
    if let Some(file) = std::env::args().skip(1).find(|a| !a.starts_with("--")) {
        let sizes = [(2, 1, 10), (4, 2, 20), (8, 2, 40), (16, 4, 80)];
        let all: Vec<_> = sizes
            .iter()
            .map(|&(domains, racks, jobs)| {
                let p = problem(1, Size { sites: 2, domains, racks, nodes: 4, slots: 6, jobs, job_nodes: 8 });
                let began = Instant::now();
                let s = solve(&p, Effort::default());
                println!("{} nodes x {jobs} jobs: {:.0} ms, {:.1} kWh", p.racks.len() * 4, began.elapsed().as_secs_f64() * 1e3, s.cost_kwh);
                text(&p, &s)
            })
            .collect();
        std::fs::write(&file, serde_json::to_string(&all).expect("JSON")).expect("written");
    }
}
