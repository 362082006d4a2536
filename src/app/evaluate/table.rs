//! The tables of an evaluation: every run by its components, and arms paired by plant and seed.

use super::Run;
use crate::report::Interval;
use serde_json::{Value, json};

pub fn table(runs: &[Run]) -> String {
    let mut out = format!(
        "{:<14}{:<6}{:<12}{:>12}{:>14}{:>12}{:>12}{:>9}{:>7}{:>9}{:>9}  {}\n",
        "plant",
        "seed",
        "arm",
        "kWh/GPU-h",
        "last 7 days",
        "cooling kWh",
        "IT kWh",
        "beyond",
        "late",
        "clamped",
        "slewed",
        "components, kWh"
    );
    for r in runs {
        let parts = r.result["components_kwh"].as_object().map_or(String::new(), |o| {
            o.iter()
                .map(|(k, v)| format!("{} {:.0}", k.trim_start_matches("p_"), v.as_f64().unwrap_or(f64::NAN)))
                .collect::<Vec<_>>()
                .join(", ")
        });
        let void = r.result["heat_check"].as_str().filter(|h| *h != "ok").map_or(String::new(), |h| format!("  {h}"));
        out.push_str(&format!(
            "{:<14}{:<6}{:<12}{:>12.4}{:>14}{:>12.0}{:>12.0}{:>9.0}{:>7.0}{:>9.0}{:>9.0}  {parts}{void}\n",
            r.plant,
            r.seed,
            r.arm,
            r.number("kwh_per_gpu_hour"),
            Some(r.number("kwh_per_gpu_hour_last_7_days")).filter(|v| v.is_finite()).map_or("-".into(), |v| format!("{v:.4}")),
            r.number("cooling_kwh"),
            r.number("it_kwh"),
            r.sum("minutes_beyond_limit"),
            r.result["bus"]["late"].as_f64().unwrap_or(0.0),
            r.bus("clamped"),
            r.bus("slewed"),
        ));
    }
    out
}

/// Each arm less the first one, pair by pair of plant and seed, in per cent of the first; with the 95 % interval where there are
/// pairs enough. Beside it each arm's share of the saving that the arm named `reference` reaches, where that was run.
pub fn paired(runs: &[Run], names: &[String], reference: &str) -> Vec<(Value, String)> {
    let Some(first) = names.first() else { return vec![] };
    let mut out = Vec::new();
    for key in ["kwh_per_gpu_hour", "kwh_per_gpu_hour_last_7_days", "cooling_kwh"] {
        let of = |arm: &str, like: &Run| {
            runs.iter().find(|r| r.arm == arm && r.seed == like.seed && r.plant == like.plant).map_or(f64::NAN, |r| r.number(key))
        };
        let base = || runs.iter().filter(|r| r.arm == *first);
        for name in &names[1..] {
            let d: Vec<f64> = base().map(|b| 100.0 * (of(name, b) - b.number(key)) / b.number(key)).filter(|d| d.is_finite()).collect();
            let Some(i) = Interval::of(&d) else { continue };
            let mean = i.mean;
            let bounds = i.half_width_95.map(|h| [mean - h, mean + h]);
            let shown = bounds.map_or(String::new(), |[lo, hi]| format!(" (95 % interval {lo:+.2} … {hi:+.2} %)"));
            let shares: Vec<f64> =
                base().map(|b| (b.number(key) - of(name, b)) / (b.number(key) - of(reference, b))).filter(|s| s.is_finite()).collect();
            let share = Interval::of(&shares).filter(|_| name != reference).map(|i| i.mean);
            let of_best = share.map_or(String::new(), |s| format!(", {:.1} % of what {reference} saves", 100.0 * s));
            let line = format!("{key}: {name} {mean:+.2} % against {first}{shown}, {} pair(s){of_best}", d.len());
            let value = json!({"figure": key, "arm": name, "against": first, "mean_pct": mean, "interval_95_pct": bounds,
                "per_pair_pct": d, "reference": reference, "share_of_reference": share});
            out.push((value, line));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_paired_by_seed() {
        let run = |seed, arm: &str, v: f64| Run { plant: String::new(), seed, arm: arm.into(), result: json!({"kwh_per_gpu_hour": v}) };
        let runs =
            [run(1, "fixed", 2.0), run(1, "x", 1.9), run(2, "fixed", 3.0), run(2, "x", 2.85), run(1, "best", 1.8), run(2, "best", 2.8)];
        let p = paired(&runs, &["fixed".into(), "x".into(), "best".into()], "best");
        assert_eq!(p.len(), 2);
        assert!((p[0].0["mean_pct"].as_f64().unwrap() + 5.0).abs() < 1e-9, "{}", p[0].1);
        // (0.1 / 0.2 + 0.15 / 0.2) / 2
        assert!((p[0].0["share_of_reference"].as_f64().unwrap() - 0.625).abs() < 1e-9 && p[1].0["share_of_reference"].is_null());
    }
}
