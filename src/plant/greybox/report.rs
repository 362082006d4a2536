//! What a fit is worth, in words: figures by ASHRAE Guideline 14, intervals, what the data do not identify and which test
//! would tell.

use super::model::GreyBox;
use crate::site::SiteFile;

/// A report in lines, and the findings alone (they go into the model's card).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Identified {
    pub lines: Vec<String>,
    pub findings: Vec<String>,
}

/// Says how good a model is and what it does not know.
pub fn report(m: &GreyBox, site: &SiteFile) -> Identified {
    let mut lines = Vec::new();
    let gate = if m.fit.usable() { "passed" } else { "FAILED: not used for control" };
    lines.push(format!("{}: {} rows of {} from {} to {}", m.binding.site, m.fit.rows, m.step, m.from, m.to));
    lines.push(format!(
        "cooling power, held-out blocks: CV-RMSE {:.1} % (gate 30 %), NMBE {:+.2} % (gate ±10 %): ASHRAE Guideline 14 {gate}",
        m.fit.cv_rmse_pct, m.fit.nmbe_pct
    ));
    for x in &m.meters {
        let name = site.meters.get(x.meter).map_or("?", |s| s.name.as_str());
        lines.push(format!("  {name}: mean {:.1} kW, held-out sigma {:.2} kW, {} terms", x.mean_kw, x.sigma_kw, x.terms.len()));
    }
    for (l, s) in m.limits.iter().zip(&site.limits) {
        lines.push(format!("  {}: held-out sigma {:.2}, keeps {:.0} % over a step", s.name, l.sigma, 100.0 * l.keep));
    }
    for x in &m.machines {
        let name = site.meters.get(x.meter).map_or("?", |s| s.name.as_str());
        lines.push(format!(
            "  {name} is on or off: it ran {:.0} % of the time; the model tells which in {:.0} % of the rows",
            100.0 * x.ran,
            100.0 * x.right
        ));
    }
    let (k, e) = (100.0 * m.it.leak.per_k, 100.0 * m.it.leak.error);
    lines.push(format!("IT power per kelvin of the chips: {k:.3} % (95 % interval {:.3} … {:.3} %)", k - 1.96 * e, k + 1.96 * e));
    lines.push(format!("load is felt {:.0} % one step late", 100.0 * m.load_delay));
    let findings = findings(m, site);
    lines.extend(findings.iter().map(|f| format!("not identified: {f}")));
    Identified { lines, findings }
}

fn findings(m: &GreyBox, site: &SiteFile) -> Vec<String> {
    let mut out = Vec::new();
    for (i, a) in site.actuators.iter().enumerate() {
        let (lo, hi) = m.ranges.get(i).copied().unwrap_or((0.0, 0.0));
        let (lo, hi) = (lo * m.variables.scale[i], hi * m.variables.scale[i]);
        let share = (hi - lo) / (a.hi - a.lo);
        if share < 0.02 {
            out.push(format!("{}: it never moved (at {lo:.1}); a step of {:.1} for an hour would tell", a.name, 0.15 * (a.hi - a.lo)));
        } else if share < 0.2 {
            out.push(format!(
                "{}: seen only from {lo:.1} to {hi:.1}; beyond it nothing is known, a slow walk to {:.1} would tell",
                a.name,
                0.5 * (a.lo + a.hi)
            ));
        }
    }
    if m.it.leak.error > 0.5 * m.it.leak.per_k.max(1e-4) {
        out.push("leakage of the IT: its interval is wide; two hours with the coolant 4 K warmer at steady work would tell".into());
    }
    for (l, s) in m.limits.iter().zip(&site.limits) {
        if !l.sigma.is_finite() {
            out.push(format!("{}: its role has too few values", s.name));
        }
    }
    out
}
