//! The campaign's table: one line a kind of fault, the worst of each column.

use super::{Outcome, Reaction};
use crate::sim::fault::FaultKind;

/// The figures that are judged: runs in which a limit was broken by us, the longest hand-back, requests to a BMS that had us out.
pub fn worst(outcomes: &[Outcome]) -> (usize, f64, u64) {
    let broken = outcomes.iter().filter(|o| o.by_us_min > 0.0).count();
    let ticks = outcomes.iter().filter_map(|o| o.hand_back_ticks).fold(0.0, f64::max);
    (broken, ticks, outcomes.iter().map(|o| o.requests.while_kicked_out).sum())
}

/// The table, and below it each run that broke a limit.
pub fn text(outcomes: &[Outcome]) -> String {
    let mut out = format!(
        "{:<22}{:>5}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "fault",
        "runs",
        "went on",
        "guarded",
        "handed",
        "not begun",
        "back again",
        "hand-back",
        "beyond",
        "beyond",
        "by us",
        "clamped",
        "refused",
        "marked",
        "saved"
    );
    out.push_str(&format!(
        "{:<22}{:>5}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}{:>10}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}\n",
        "", "", "", "", "back", "", "", "ticks", "ours min", "BMS min", "runs", "slewed", "", "readings", "%"
    ));
    let mut line = |name: &str, of: &[&Outcome]| {
        if of.is_empty() {
            return;
        }
        let count = |r: Reaction| of.iter().filter(|o| o.reaction == r).count();
        // The sum of nothing is −0.0.
        let minutes = |pick: fn(&(f64, f64)) -> f64| of.iter().flat_map(|o| o.minutes_beyond.values()).map(pick).sum::<f64>() + 0.0;
        let ticks = of.iter().filter_map(|o| o.hand_back_ticks).fold(f64::NAN, f64::max);
        let (ours, theirs): (f64, f64) = of.iter().fold((0.0, 0.0), |s, o| (s.0 + o.kwh.0, s.1 + o.kwh.1));
        out.push_str(&format!(
            "{name:<22}{:>5}{:>9}{:>9}{:>9}{:>10}{:>10}{:>10}{:>10.1}{:>9.1}{:>9}{:>9}{:>9}{:>9}{:>9.2}\n",
            of.len(),
            count(Reaction::WentOn),
            count(Reaction::Guarded),
            count(Reaction::HandedBack),
            count(Reaction::NeverBegan),
            of.iter().filter(|o| o.returned).count(),
            if ticks.is_finite() { format!("{ticks:.1}") } else { "-".into() },
            minutes(|m| m.0),
            minutes(|m| m.1),
            of.iter().filter(|o| o.by_us_min > 0.0).count(),
            of.iter().map(|o| o.requests.clamped + o.requests.slewed).sum::<u64>(),
            of.iter().map(|o| o.requests.refused).sum::<u64>(),
            of.iter().map(|o| o.marked).sum::<u64>(),
            100.0 * (theirs - ours) / theirs,
        ));
    };
    for kind in FaultKind::ALL {
        line(kind.name(), &outcomes.iter().filter(|o| o.fault.kind == kind).collect::<Vec<_>>());
    }
    line("all", &outcomes.iter().collect::<Vec<_>>());
    for o in outcomes.iter().filter(|o| o.by_us_min > 0.0) {
        out.push_str(&format!("BROKEN BY US: {}\n", describe(o)));
    }
    for o in outcomes.iter().filter(|o| o.hand_back_ticks.is_some_and(|t| t > 2.0) || o.requests.while_kicked_out > 0) {
        out.push_str(&format!("SLOW HAND-BACK: {}\n", describe(o)));
    }
    out
}

fn describe(o: &Outcome) -> String {
    let limits: Vec<String> = o.minutes_beyond.iter().map(|(id, (a, b))| format!("{id} {a:.1} min (BMS {b:.1})")).collect();
    let modes: Vec<String> = o.modes.iter().map(|(at, to, why)| format!("{at} {to}: {why}")).collect();
    format!(
        "{} seed {}: {}, {} from {} to {}; {}; {}",
        o.site,
        o.seed,
        o.fault.kind.name(),
        o.fault.what,
        o.fault.from,
        o.fault.to,
        limits.join(", "),
        if modes.is_empty() { "no change of mode".into() } else { modes.join(" | ") }
    )
}
