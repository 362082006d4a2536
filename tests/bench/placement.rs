//! Speed of placement: `cargo bench --bench placement`. 10,000 nodes in 2,500 racks at two sites, 1,000 jobs, 24 slots
//! (aim < 200 ms), beside HiGHS on the same problem with racks summed (`placement/peer.py`) where TRAMUNTANA_PYTHON names a
//! Python with highspy; with `-- FILE` it also writes problems of growing size with our answers, for `placement/judge.py`.

#[allow(dead_code, reason = "the test uses the small ones")]
#[path = "placement/instances.rs"]
mod instances;

use instances::{Size, problem, text};
use std::time::Instant;
use tramuntana::control::place::audit;
use tramuntana::control::place::solve::{Effort, solve};

/// Seconds that HiGHS may search.
const PEER_LIMIT_S: &str = "60";

/// What HiGHS makes of the same problem.
fn beside(problem: &serde_json::Value) {
    let Some(python) = std::env::var_os("TRAMUNTANA_PYTHON") else {
        println!("SKIPPED: HiGHS beside it: TRAMUNTANA_PYTHON is not set");
        return;
    };
    let file = std::env::temp_dir().join(format!("tramuntana-placement-{}.json", std::process::id()));
    std::fs::write(&file, problem.to_string()).expect("written");
    let peer = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/bench/placement/peer.py");
    let ended = std::process::Command::new(&python).arg(peer).arg(&file).args(["--limit", PEER_LIMIT_S]).status();
    println!("HiGHS {}", if ended.is_ok_and(|s| s.success()) { "ended by itself or at its limit" } else { "failed" });
    _ = std::fs::remove_file(&file);
}

/// Time that this thread was on a processor, ms: what others run beside does not count (Linux; else 0).
fn on_cpu_ms() -> f64 {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    stat.split(' ').next().and_then(|ns| ns.parse::<f64>().ok()).map_or(0.0, |ns| 1e-6 * ns)
}

fn main() {
    let size = Size { sites: 2, domains: 156, racks: 8, nodes: 4, slots: 24, jobs: 1000, job_nodes: 24 };
    let p = problem(1, size);
    println!("{} racks of 4 nodes, {} jobs, {} slots", p.racks.len(), p.asks.len(), p.slots);
    for effort in [Effort { work: 0, rounds: 0 }, Effort { work: 6_000_000, rounds: 2_000 }] {
        let (mut took, mut worked): (Vec<f64>, Vec<f64>) = (vec![], vec![]);
        let mut last = None;
        for _ in 0..7 {
            let (began, cpu) = (Instant::now(), on_cpu_ms());
            last = Some(solve(&p, effort));
            took.push(began.elapsed().as_secs_f64() * 1e3);
            worked.push(on_cpu_ms() - cpu);
        }
        took.sort_by(f64::total_cmp);
        worked.sort_by(f64::total_cmp);
        let s = last.expect("seven rounds");
        let faults = audit::faults(&p, &s);
        println!(
            "{effort:?}: median {:.0} ms, worst {:.0} ms, median on the processor {:.0} ms; {} of {} jobs placed, {:.0} kWh, {} faults",
            took[3],
            took[6],
            worked[3],
            s.places.iter().flatten().count(),
            p.asks.len(),
            s.cost_kwh,
            faults.len()
        );
        if effort.work > 0 {
            beside(&text(&p, &s));
        }
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
