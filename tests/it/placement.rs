//! Integration tests of `control::place`: against an exact solver, against random problems, boards, shedding.

#[path = "../bench/placement/instances.rs"]
mod instances;

use crate::common::{repository, scratch};
use instances::{Size, problem, small, text};
use tramuntana::control::place::audit;
use tramuntana::control::place::solve::{Effort, solve};

/// Instances that the exact solver judges.
const JUDGED: u64 = 60;

#[test]
fn schedules_break_nothing_and_are_repeatable() {
    for seed in 0..80 {
        let p = small(seed);
        let s = solve(&p, Effort::default());
        assert!(audit::faults(&p, &s).is_empty(), "seed {seed}: {:?}", audit::faults(&p, &s));
        assert!((audit::cost_kwh(&p, &s) - s.cost_kwh).abs() < 1e-9);
        assert_eq!(s, solve(&p, Effort::default()), "seed {seed}");
    }
    let size = Size { sites: 2, domains: 20, racks: 4, nodes: 4, slots: 12, jobs: 150, job_nodes: 12 };
    let p = problem(5, size);
    let s = solve(&p, Effort { work: 2_000_000, rounds: 500 });
    assert!(audit::faults(&p, &s).is_empty(), "{:?}", audit::faults(&p, &s));
    assert!(s.places.iter().flatten().count() > 100, "{}", s.places.iter().flatten().count());
}

#[test]
fn the_search_is_near_the_exact_optimum() {
    let Some(python) = std::env::var_os("TRAMUNTANA_PYTHON") else {
        println!("SKIPPED: TRAMUNTANA_PYTHON is not set; tests/run sets up HiGHS");
        return;
    };
    let has = std::process::Command::new(&python).args(["-c", "import highspy"]).output().is_ok_and(|o| o.status.success());
    if !has {
        println!("SKIPPED: highspy is not installed");
        return;
    }
    let solved: Vec<_> = (0..JUDGED)
        .map(|seed| {
            let p = small(seed);
            let s = solve(&p, Effort::default());
            text(&p, &s)
        })
        .collect();
    let file = scratch("placement").join("instances.json");
    std::fs::write(&file, serde_json::to_string(&solved).expect("JSON")).expect("written");
    let judge = repository().join("tests/bench/placement/judge.py");
    let out = std::process::Command::new(&python).arg(judge).arg(&file).output().expect("python starts");
    let said = String::from_utf8_lossy(&out.stdout);
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    println!("placement against HiGHS: {said}");
    let v: serde_json::Value = serde_json::from_str(&said).expect("a line of JSON");
    let number = |key: &str| v[key].as_f64().expect("a number");
    assert!(number("mean_gap_pct") <= 1.0 && number("worst_gap_pct") <= 3.0, "{said}");
    assert!(number("instances") >= 50.0 && number("closed") >= 50.0, "{said}");
}
