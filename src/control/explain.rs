//! Why, in a sentence that a facility engineer accepts. Names and units come from the site file; nothing of a plant is
//! known here.

use super::plan::Plan;
use super::recommendation::{Expects, Item, Withheld};
use super::view::View;
use crate::site::{Actuator, Objective};

/// A move below this is none: it would read as "25.5 → 25.5".
const LEAST_MOVE: f64 = 5e-3;

/// A setpoint with its unit and one decimal, or two where the second is not zero.
pub fn amount(value: f64, unit: &str) -> String {
    let text = format!("{value:.2}");
    let text = text.strip_suffix('0').unwrap_or(&text);
    if unit.is_empty() { text.to_owned() } else { format!("{text} {unit}") }
}

/// The reason of one item.
pub fn reason(a: &Actuator, from: f64, asked: f64, target: f64, unit: &str) -> String {
    if let (Some(was), Some(will)) = (a.state(from), a.state(target)) {
        return if was == will { format!("stays {will}") } else { format!("switch from {was} to {will}") };
    }
    moved(from, asked, target, unit)
}

fn moved(from: f64, asked: f64, target: f64, unit: &str) -> String {
    if (asked - from).abs() < LEAST_MOVE && (target - from).abs() < LEAST_MOVE {
        return "stays: no move within its slew saves energy inside every limit".into();
    }
    let verb = if target > from { "raise" } else { "lower" };
    if (target - asked).abs() < LEAST_MOVE {
        format!("{verb} to {}", amount(target, unit))
    } else {
        format!("{verb} towards {}, as fast as its slew allows", amount(target, unit))
    }
}

/// A distance to a limit, with one decimal.
fn distance(value: f64, unit: &str) -> String {
    if unit.is_empty() { format!("{value:.1}") } else { format!("{value:.1} {unit}") }
}

/// The whole recommendation in words.
pub fn explain(view: &View, plan: &Plan, items: &[Item], withheld: &[Withheld], expects: &Expects) -> String {
    let moves: Vec<String> = (items.iter())
        .filter(|i| (i.target - i.from).abs() >= LEAST_MOVE)
        .map(|i| {
            if let Some((was, will)) = view.site.actuator(&i.actuator).and_then(|a| Some((a.state(i.from)?, a.state(i.target)?))) {
                return format!("switch {} {was} → {will}", i.name);
            }
            let verb = if i.target > i.from { "raise" } else { "lower" };
            format!("{verb} {} {} → {}", i.name, amount(i.from, ""), amount(i.target, &i.unit))
        })
        .collect();
    let mut text = if moves.is_empty() { "keep all setpoints".to_owned() } else { moves.join(", ") };
    text.push_str(&format!(": dry bulb {:.1} °C, wet bulb {:.1} °C", view.weather.dry_bulb_c, view.weather.wet_bulb_c));
    if !moves.is_empty() {
        text.push_str(&format!(
            ", cooling {:.0} → {:.0} kW and IT {:.0} → {:.0} kW on average",
            plan.cooling_kw.1, plan.cooling_kw.0, plan.it_kw.1, plan.it_kw.0
        ));
    }
    if let Some(b) = &expects.binding {
        text.push_str(&format!("; least margin {} at {}", distance(b.margin, &b.unit), b.name));
    }
    if let Some((l, loss, kept)) = plan.reserved.as_ref().and_then(|(i, loss, kept)| Some((view.site.limits.get(*i)?, loss, kept)))
        && *kept > l.margin
    {
        text.push_str(&format!("; {} keeps {} for the loss of {loss}", l.name, distance(*kept, view.role(&l.role).kind.step_unit())));
    }
    if !expects.feasible {
        text.push_str("; no plan keeps every limit with its margin: this is the one that comes nearest");
    }
    text.push_str(&format!(
        "; saves {:.0} ± {:.0} kWh in the next {:.1} h against holding, {:.0} kWh against the operators' fixed setpoints",
        expects.saves_vs_hold_kwh, expects.plus_minus_kwh, expects.horizon_h, expects.saves_vs_fixed_kwh
    ));
    if let Some(eur) = expects.saves_vs_fixed_eur {
        text.push_str(&format!(", {eur:.2} €"));
    }
    if let Some(kg) = expects.saves_vs_fixed_kg_co2 {
        text.push_str(&format!(", {kg:.1} kg CO2"));
    }
    if let (Objective::PeakKw, Some(peak)) = (expects.objective, expects.peak_kw) {
        text.push_str(&format!("; highest power {peak:.0} kW"));
    }
    for w in withheld {
        let name = view.site.actuator(&w.actuator).map_or(w.actuator.as_str(), |a| a.name.as_str());
        text.push_str(&format!("; withheld: {name} {} ({})", amount(w.asked, ""), w.reason));
    }
    for l in view.loads.iter().filter_map(|l| l.fallback.as_ref()).take(1) {
        text.push_str(&format!("; load forecast fell back: {l}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_kelvin_is_told_and_a_thousandth_is_no_move() {
        assert_eq!(amount(29.75, "°C"), "29.75 °C");
        assert_eq!(amount(32.5, "°C"), "32.5 °C");
        assert_eq!(amount(30.0, ""), "30.0");
        assert_eq!(moved(25.5, 25.75, 26.0, "°C"), "raise towards 26.0 °C, as fast as its slew allows");
        assert_eq!(moved(25.501, 25.5, 25.5, "°C"), "stays: no move within its slew saves energy inside every limit");
    }
}
