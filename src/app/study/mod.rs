//! `placement`: what placing by hints brings on simulated plants, against a scheduler without them.
//!
//! Words: a *case* is a world (plants, weather, caps, jobs); an *arm* is a way to place, with the operators' fixed setpoints
//! or with moving ones; every arm of a seed has the same jobs, and all of them run to their end inside the run.
//! Invariants: figures are the plants' true values; hints see sensors and the shipped, identified models only, never the
//! twin; intervals are paired by seed.

mod cases;
mod mind;

use super::cli::PlacementArgs;
use crate::event::Tally;
use crate::report::Interval;
use crate::sim::fleet::{Arrivals, Fleet, Order, Word};
use crate::time::Span;
use cases::{Case, World};
use mind::Mind;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

/// A start this much later than now is worth waiting for.
const SOON: Span = Span::minutes(15);
/// Below this share a gain is called none, %.
const NOTHING_PCT: f64 = 0.2;

/// One way to run a case.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Arm {
    name: &'static str,
    order: Order,
    hints: bool,
    /// May hints hold a job back within its slack? A job that waits ends later, and a job that comes after it may then find the
    /// hall full: without waiting, jobs of one hall start when first fit starts them, wherever they run.
    waits: bool,
    setpoints: bool,
}

const PLAIN: Arm = Arm { name: "first fit", order: Order::FirstFit, hints: false, waits: false, setpoints: false };
const ARMS: [Arm; 7] = [
    PLAIN,
    Arm { name: "Slurm's order", order: Order::SlurmDefault, ..PLAIN },
    Arm { name: "random", order: Order::Random(7), ..PLAIN },
    Arm { name: "hints", hints: true, ..PLAIN },
    Arm { name: "hints that may delay", hints: true, waits: true, ..PLAIN },
    Arm { name: "setpoints, first fit", setpoints: true, ..PLAIN },
    Arm { name: "setpoints and hints", hints: true, setpoints: true, ..PLAIN },
];

/// What one run of one arm came to.
#[derive(Clone, Debug)]
struct Run {
    seed: u64,
    arm: &'static str,
    kwh_per_gpu_hour: f64,
    kwh: f64,
    gpu_hours: f64,
    lost_gpu_hours: f64,
    throttled_gpu_minutes: f64,
    beyond_limit_minutes: f64,
    it_kwh: f64,
    cooling_kwh: f64,
    chiller_kwh: f64,
    /// Jobs that started after their slack had ended, ascending.
    late: Vec<usize>,
    started: u32,
    unfinished: usize,
    waited_h_per_job: f64,
    halls: Value,
}

pub fn run(args: &PlacementArgs) -> Result<(), String> {
    let span =
        Span::parse(&args.span).filter(|s| *s >= Span::hours(24)).ok_or_else(|| format!("--span {:?}: give at least 1d", args.span))?;
    let arrivals = args.arrivals.as_deref().map(arrivals).transpose()?;
    let all = cases::all();
    if let Some(bad) = args.cases.iter().find(|c| !all.iter().any(|x| x.name == **c)) {
        let names: Vec<&str> = all.iter().map(|c| c.name).collect();
        return Err(format!("--cases {bad:?}: there are {}", names.join(", ")));
    }
    if let Some(bad) = args.arms.iter().find(|a| !ARMS.iter().any(|x| x.name == **a)) {
        return Err(format!("--arm {bad:?}: there are {}", ARMS.map(|a| a.name).join("; ")));
    }
    let asked = |a: &Arm| args.arms.is_empty() || a.name == PLAIN.name || args.arms.iter().any(|x| x == a.name);
    let arms: Vec<Arm> = ARMS.iter().copied().filter(|a| !(a.setpoints && args.placement_only) && asked(a)).collect();
    let mut report = vec![];
    for case in all.iter().filter(|c| args.cases.is_empty() || args.cases.iter().any(|x| x == c.name)) {
        println!("\n{}: {}", case.name, case.about);
        let mut runs: Vec<Run> = vec![];
        for seed in (0..u64::from(args.seeds.max(1))).map(|k| args.seed + k) {
            let world = cases::world(case, seed, span)?;
            // Two arms at a time: one a core.
            for pair in arms.chunks(2) {
                let done: Vec<Result<Run, String>> = std::thread::scope(|s| {
                    let handles: Vec<_> = pair.iter().map(|arm| s.spawn(|| one(case, &world, *arm, seed, arrivals.clone()))).collect();
                    handles.into_iter().map(|h| h.join().unwrap_or_else(|_| Err("a run stopped".into()))).collect()
                });
                for r in done {
                    runs.push(r?);
                }
            }
        }
        print!("{}", table(&runs, &arms));
        report.push(json!({"case": case.name, "about": case.about, "runs": runs.iter().map(shown).collect::<Vec<_>>()}));
    }
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report).map_err(|e| e.to_string())?;
        std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}; give another with --json", path.display()))?;
    }
    Ok(())
}

/// Runs one arm to its end.
fn one(case: &Case, world: &World, arm: Arm, seed: u64, arrivals: Option<Arrivals>) -> Result<Run, String> {
    let order = if let Order::Random(s) = arm.order { Order::Random(s ^ seed.rotate_left(8)) } else { arm.order };
    let mut fleet = Fleet::new(world.halls.clone(), Arc::clone(&world.jobs), world.caps.clone(), arrivals, order);
    let tally = Tally::new();
    let mut minds: Vec<Mind> = vec![];
    if arm.hints || arm.setpoints {
        for (h, site) in world.sites.iter().enumerate() {
            minds.push(Mind::new(&fleet.halls[h], Arc::clone(site), case.folders[h], arm.setpoints)?);
        }
    }
    let mut waits: HashMap<usize, u64> = HashMap::new();
    let mut stamp = 0_u64;
    while !fleet.done() {
        cases::happen(case, &mut fleet);
        let mut fresh = false;
        for (h, mind) in minds.iter_mut().enumerate() {
            if mind.due(fleet.now()) {
                let free = fleet.free(h).to_vec();
                fresh |= mind.look(&mut fleet.halls[h], &free, &tally);
            }
        }
        stamp += u64::from(fresh);
        let mut steward = |f: &Fleet, j: usize, may_wait: bool| -> Word {
            if !arm.hints {
                return Word::Nothing;
            }
            let may_wait = may_wait && arm.waits;
            // A job that waits is asked for again with the next board, or when it may not wait any more.
            if may_wait && waits.get(&j) == Some(&stamp) {
                return Word::Wait;
            }
            let word = mind::word(&minds, f, j, may_wait, SOON);
            if word == Word::Wait {
                waits.insert(j, stamp);
            }
            word
        };
        fleet.advance(&mut steward);
    }
    let accounts = fleet.accounts();
    let sum = |f: &dyn Fn(&crate::sim::hall::Account) -> f64| accounts.iter().map(|a| f(a)).sum::<f64>();
    Ok(Run {
        seed,
        arm: arm.name,
        kwh_per_gpu_hour: fleet.kwh_per_gpu_hour(),
        kwh: sum(&|a| a.total_kwh()),
        gpu_hours: sum(&|a| a.gpu_hours),
        lost_gpu_hours: fleet.lost_gpu_hours,
        throttled_gpu_minutes: fleet.throttled_gpu_minutes,
        beyond_limit_minutes: sum(&|a| a.beyond_limit_minutes()),
        it_kwh: sum(&|a| a.it_kwh),
        cooling_kwh: sum(&|a| a.cooling_kwh),
        chiller_kwh: sum(&|a| ["fws-chiller", "cold-chiller"].iter().filter_map(|c| a.components_kwh.get(*c)).sum()),
        late: {
            let mut late = fleet.late.clone();
            late.sort_unstable();
            late
        },
        started: fleet.started,
        unfinished: fleet.unfinished(),
        waited_h_per_job: fleet.waited_gpu_hours / f64::from(fleet.started.max(1)),
        halls: (accounts.iter().zip(&fleet.sums))
            .map(|(a, s)| {
                json!({
                    "it_kwh": a.it_kwh, "cooling_kwh": a.cooling_kwh, "load_kw": s.load_kw().0, "load_sd_kw": s.load_kw().1,
                    "hot_gpu_minutes": s.hot_gpu_minutes, "minutes_beyond_limit": a.minutes_beyond_limit, "least_margin": a.least_margin,
                })
            })
            .collect(),
    })
}

fn shown(r: &Run) -> Value {
    json!({
        "seed": r.seed, "arm": r.arm, "kwh_per_gpu_hour": r.kwh_per_gpu_hour, "kwh": r.kwh, "gpu_hours": r.gpu_hours,
        "lost_gpu_hours": r.lost_gpu_hours, "throttled_gpu_minutes": r.throttled_gpu_minutes,
        "minutes_beyond_limit": r.beyond_limit_minutes, "it_kwh": r.it_kwh, "cooling_kwh": r.cooling_kwh, "chiller_kwh": r.chiller_kwh, "late_jobs": r.late.len(), "jobs": r.started,
        "halls": r.halls, "unfinished": r.unfinished, "gpu_hours_waited_per_job": r.waited_h_per_job,
    })
}

fn table(runs: &[Run], arms: &[Arm]) -> String {
    let mut out = format!(
        "  {:<22}{:>11}{:>26}{:>14}{:>11}{:>9}{:>7}{:>11}{:>9}{:>9}\n",
        "arm", "kWh/GPU-h", "against first fit, %", "throttled", "lost GPU-h", "beyond", "late", "IT kWh", "cooling", "chiller"
    );
    let of = |arm: &str, f: &dyn Fn(&Run) -> f64| -> Vec<f64> { runs.iter().filter(|r| r.arm == arm).map(f).collect() };
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let per_hour = |r: &Run| r.kwh_per_gpu_hour;
    let difference = |arm: &str, against: &str| {
        let pct: Vec<f64> = of(arm, &per_hour).iter().zip(of(against, &per_hour)).map(|(a, b)| 100.0 * (a / b - 1.0)).collect();
        Interval::of(&pct)
    };
    for a in arms {
        let pct = difference(a.name, arms[0].name).filter(|_| a.name != arms[0].name);
        let text =
            pct.map_or(String::new(), |i| format!("{:+.3}{}", i.mean, i.half_width_95.map_or(String::new(), |h| format!(" ± {h:.3}"))));
        out.push_str(&format!(
            "  {:<22}{:>11.4}{:>26}{:>14.0}{:>11.1}{:>9.1}{:>7.1}{:>11.0}{:>9.0}{:>9.0}\n",
            a.name,
            mean(&of(a.name, &per_hour)),
            text,
            mean(&of(a.name, &|r| r.throttled_gpu_minutes)),
            mean(&of(a.name, &|r| r.lost_gpu_hours)),
            mean(&of(a.name, &|r| r.beyond_limit_minutes)),
            mean(&of(a.name, &|r| r.late.len() as f64)),
            mean(&of(a.name, &|r| r.it_kwh)),
            mean(&of(a.name, &|r| r.cooling_kwh)),
            mean(&of(a.name, &|r| r.chiller_kwh)),
        ));
    }
    for against in ["first fit", "Slurm's order", "random"] {
        if let Some(i) = difference("hints", against) {
            let h = i.half_width_95.unwrap_or(f64::INFINITY);
            let word = match i.mean {
                m if m + h >= 0.0 && m - h <= 0.0 => "not distinguishable from zero".to_owned(),
                m if -m < NOTHING_PCT && m < 0.0 => format!("less than {NOTHING_PCT} %"),
                m if m < 0.0 => "a gain".to_owned(),
                _ => "a loss".to_owned(),
            };
            out.push_str(&format!("  placement alone against {against}: {:+.3} % ± {h:.3}: {word}\n", i.mean));
        }
    }
    if let (Some(both), true) = (difference("setpoints and hints", "setpoints, first fit"), arms.iter().any(|a| a.setpoints)) {
        out.push_str(&format!(
            "  hints on top of moving setpoints: {:+.3} % ± {:.3}\n",
            both.mean,
            both.half_width_95.unwrap_or(f64::INFINITY)
        ));
    }
    for a in arms.iter().filter(|a| a.hints) {
        // Jobs that one arm starts too late and the other in time, a seed.
        let beyond = |late: &str, kept: &str| {
            let of = |name: &str| -> Vec<&Run> { runs.iter().filter(|r| r.arm == name).collect() };
            let counts: Vec<f64> = of(late)
                .iter()
                .zip(of(kept))
                .map(|(l, k)| l.late.iter().filter(|j| k.late.binary_search(j).is_err()).count() as f64)
                .collect();
            mean(&counts)
        };
        out.push_str(&format!(
            "  late under {:?}, in time under first fit: {:.1} jobs a seed; the other way round: {:.1}\n",
            a.name,
            beyond(a.name, arms[0].name),
            beyond(arms[0].name, a.name)
        ));
    }
    let hours = of(arms[0].name, &|r| r.gpu_hours);
    let same = runs.iter().filter(|r| r.unfinished > 0).count();
    out.push_str(&format!("  {} seeds, {:.0} GPU-hours a seed; runs with jobs left at the end: {same}\n", hours.len(), mean(&hours)));
    out
}

/// Tokens a minute of recorded requests over their hour, relative to their mean.
fn arrivals(path: &Path) -> Result<Arrivals, String> {
    let fail = |why: String| format!("{}: {why}; give a CSV with TIMESTAMP, ContextTokens, GeneratedTokens", path.display());
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    let read: Box<dyn std::io::Read> =
        if path.extension().is_some_and(|e| e == "gz") { Box::new(flate2::read::GzDecoder::new(file)) } else { Box::new(file) };
    let mut csv = csv::Reader::from_reader(read);
    let headers = csv.headers().map_err(|e| fail(e.to_string()))?.clone();
    let column = |name: &str| headers.iter().position(|h| h == name).ok_or_else(|| fail(format!("it has no column {name}")));
    let (at, context, generated) = (column("TIMESTAMP")?, column("ContextTokens")?, column("GeneratedTokens")?);
    let mut minutes = vec![0.0; 60];
    for (line, row) in csv.records().enumerate() {
        let row = row.map_err(|e| fail(e.to_string()))?;
        let bad = |what: &str| fail(format!("line {}: {what}", line + 2));
        // The minute of the hour stands behind the first colon.
        let minute: usize = row
            .get(at)
            .and_then(|t| t.split(':').nth(1))
            .and_then(|m| m.parse().ok())
            .filter(|m| *m < 60)
            .ok_or_else(|| bad("no minute in TIMESTAMP"))?;
        let number = |i: usize| row.get(i).and_then(|t| t.parse::<f64>().ok());
        let (c, g) = (
            number(context).ok_or_else(|| bad("ContextTokens is no number"))?,
            number(generated).ok_or_else(|| bad("GeneratedTokens is no number"))?,
        );
        // A generated token costs a pass of its own; a context token shares one: about a tenth.
        minutes[minute] += g + 0.1 * c;
    }
    let mean = minutes.iter().sum::<f64>() / 60.0;
    if !(mean > 0.0) {
        return Err(fail("it has no rows".into()));
    }
    Ok(Arc::new(minutes.into_iter().map(|m| m / mean).collect()))
}
