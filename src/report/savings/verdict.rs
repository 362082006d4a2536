//! From two periods to a saving with its interval, or to a refusal with its reasons.

use super::fit::{Fit, Row, whole};
use crate::time::{Span, Timestamp};
use serde::Serialize;

/// Guideline 14's own factor on the half-width (annex B, after Reddy & Claridge 2000): what the formulas of regression leave out.
const GUIDELINE_14_FACTOR: f64 = 1.26;

/// Mean squared error, in that of the best form, up to which another form does about as well.
const ABOUT_AS_WELL: f64 = 1.25;

/// What a baseline must reach (ASHRAE Guideline 14-2014, hourly calibration), and what the data must carry.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Limits {
    pub cv_rmse_max: f64,
    pub nmbe_max: f64,
    /// Days with at least 12 whole hours.
    pub baseline_days_min: usize,
    pub reporting_days_min: usize,
    /// Share of a period's hours that must be whole.
    pub coverage_min: f64,
    /// Share of reporting hours that may lie outside of what the baseline saw.
    pub outside_max: f64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { cv_rmse_max: 0.30, nmbe_max: 0.10, baseline_days_min: 14, reporting_days_min: 7, coverage_min: 0.80, outside_max: 0.15 }
    }
}

/// How good the baseline is. On the rows that it was fitted on, and on days that the fit did not see.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Gates {
    pub cv_rmse: f64,
    pub nmbe: f64,
    pub held_out_cv_rmse: f64,
    pub held_out_nmbe: f64,
    /// Share of hours that are whole, of each period.
    pub baseline_coverage: f64,
    pub reporting_coverage: f64,
    pub baseline_days: usize,
    pub reporting_days: usize,
    /// Share of reporting hours whose load or weather the baseline never saw (1 % of its range beyond its ends).
    pub outside_share: f64,
}

/// A part of the reporting period (a civil month).
#[derive(Clone, Debug, Serialize)]
pub struct Month {
    pub name: String,
    pub saving_kwh: f64,
    pub half_width_kwh: f64,
}

/// The result. kWh over the whole hours of the reporting period.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    pub fit: Option<Fit>,
    pub gates: Gates,
    pub limits: Limits,
    pub hours: usize,
    pub baseline_kwh: f64,
    pub metered_kwh: f64,
    pub saving_kwh: f64,
    /// Half-width of the 95 % interval.
    pub half_width_kwh: f64,
    pub months: Vec<Month>,
    /// Why nothing is claimed; empty = a saving may be stated.
    pub refusals: Vec<String>,
}

impl Verdict {
    /// The interval lies above zero, and nothing stands against it.
    pub fn claims(&self) -> bool {
        self.refusals.is_empty() && self.saving_kwh > self.half_width_kwh
    }
    pub fn refused(&self) -> bool {
        !self.refusals.is_empty()
    }
}

/// Judges a reporting period by a baseline period. `hours` are the hours that each period has; `adjust_kwh` is added to the
/// baseline (non-routine adjustments). `month` names the part of the reporting period that an instant belongs to.
pub fn verify(
    baseline: &[Row],
    reporting: &[Row],
    hours: [f64; 2],
    adjust_kwh: f64,
    limits: Limits,
    month: &dyn Fn(Timestamp) -> String,
) -> Verdict {
    let (base, rep) = (whole(baseline), whole(reporting));
    let mut v = Verdict {
        fit: None,
        gates: Gates {
            baseline_coverage: base.len() as f64 / hours[0].max(1.0),
            reporting_coverage: rep.len() as f64 / hours[1].max(1.0),
            baseline_days: days(&base),
            reporting_days: days(&rep),
            ..Gates::default()
        },
        limits,
        hours: rep.len(),
        baseline_kwh: f64::NAN,
        metered_kwh: rep.iter().map(|r| r.power_kw).sum(),
        saving_kwh: f64::NAN,
        half_width_kwh: f64::NAN,
        months: vec![],
        refusals: vec![],
    };
    for (name, have, need) in
        [("baseline", v.gates.baseline_days, limits.baseline_days_min), ("reporting", v.gates.reporting_days, limits.reporting_days_min)]
    {
        if have < need {
            v.refusals.push(format!("the {name} period has {have} days with readings; {need} are needed"));
        }
    }
    for (name, have) in [("baseline", v.gates.baseline_coverage), ("reporting", v.gates.reporting_coverage)] {
        if have < limits.coverage_min {
            v.refusals.push(format!(
                "{:.0} % of the {name} period's hours are whole; {:.0} % are needed",
                100.0 * have,
                100.0 * limits.coverage_min
            ));
        }
    }
    let candidates = Fit::candidates(&base);
    let Some((fit, errors)) = candidates.first().and_then(|(_, f)| f.fold_errors(&base).map(|e| (f.clone(), e))) else {
        v.refusals.push("no baseline can be fitted: too few hours, or the load never moved".into());
        return v;
    };
    gates(&mut v, &fit, &base, &errors);
    outside(&mut v, &base, &rep);
    let predicted: Vec<f64> = rep.iter().map(|r| fit.predict(r)).collect();
    v.baseline_kwh = predicted.iter().sum::<f64>() + adjust_kwh;
    v.saving_kwh = v.baseline_kwh - v.metered_kwh;
    let daily = daily_errors(&errors);
    let t = student_95(daily.len().saturating_sub(fit.coefficients.len()).max(2));
    let half = |rows: &[Row]| {
        GUIDELINE_14_FACTOR * t * (fit.sum_variance(rows) + long_run(&daily, rows.len()) + form_variance(&candidates, rows)).sqrt()
    };
    v.half_width_kwh = half(&rep);
    let mut parts: Vec<(String, Vec<Row>, f64)> = Vec::new();
    for (r, p) in rep.iter().zip(&predicted) {
        let name = month(r.at);
        if parts.last().is_none_or(|l| l.0 != name) {
            parts.push((name, vec![], 0.0));
        }
        if let Some(part) = parts.last_mut() {
            part.1.push(*r);
            part.2 += p - r.power_kw;
        }
    }
    v.months = parts.iter().map(|(name, rows, s)| Month { name: name.clone(), saving_kwh: *s, half_width_kwh: half(rows) }).collect();
    v.fit = Some(fit);
    v
}

fn days(rows: &[Row]) -> usize {
    let mut count = std::collections::BTreeMap::<i64, usize>::new();
    rows.iter().for_each(|r| *count.entry(r.at.0.div_euclid(Span::hours(24).0)).or_default() += 1);
    count.values().filter(|n| **n >= 12).count()
}

fn gates(v: &mut Verdict, fit: &Fit, base: &[Row], errors: &[(Row, f64)]) {
    let n = base.len() as f64;
    let free = (n - fit.coefficients.len() as f64).max(1.0);
    let mean = base.iter().map(|r| r.power_kw).sum::<f64>() / n.max(1.0);
    let cv = |sse: f64| (sse / free).sqrt() / mean.abs().max(1e-9);
    let bias = |sum: f64| sum / (free * mean.abs().max(1e-9));
    let inside: Vec<f64> = base.iter().map(|r| fit.predict(r) - r.power_kw).collect();
    v.gates.cv_rmse = cv(inside.iter().map(|e| e * e).sum());
    v.gates.nmbe = bias(inside.iter().sum());
    v.gates.held_out_cv_rmse = cv(errors.iter().map(|e| e.1 * e.1).sum());
    v.gates.held_out_nmbe = bias(errors.iter().map(|e| -e.1).sum());
    let l = v.limits;
    for (name, have, most) in [
        ("CV-RMSE", v.gates.cv_rmse, l.cv_rmse_max),
        ("CV-RMSE on days not seen", v.gates.held_out_cv_rmse, l.cv_rmse_max),
        ("NMBE", v.gates.nmbe.abs(), l.nmbe_max),
        ("NMBE on days not seen", v.gates.held_out_nmbe.abs(), l.nmbe_max),
    ] {
        if !(have <= most) {
            v.refusals.push(format!("{name} of the baseline is {:.1} %; ASHRAE Guideline 14 allows {:.0} %", 100.0 * have, 100.0 * most));
        }
    }
}

/// Hours whose load or weather the baseline never saw.
fn outside(v: &mut Verdict, base: &[Row], rep: &[Row]) {
    let range = |f: fn(&Row) -> f64| {
        let (lo, hi) = base.iter().map(f).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), x| (a.min(x), b.max(x)));
        let room = 0.01 * (hi - lo);
        (lo - room, hi + room)
    };
    let (load, weather) = (range(|r| r.load_kw), range(|r| r.weather_c));
    let beyond = |x: f64, (lo, hi): (f64, f64)| x < lo || x > hi;
    let n = rep.iter().filter(|r| beyond(r.load_kw, load) || beyond(r.weather_c, weather)).count();
    v.gates.outside_share = n as f64 / rep.len().max(1) as f64;
    if v.gates.outside_share > v.limits.outside_max {
        v.refusals.push(format!(
            "{:.1} % of the reporting hours have a load or weather that the baseline never saw; {:.0} % may",
            100.0 * v.gates.outside_share,
            100.0 * v.limits.outside_max
        ));
    }
}

/// Sums of the errors by day with the number of hours, kWh.
fn daily_errors(errors: &[(Row, f64)]) -> Vec<(f64, usize)> {
    let mut out: Vec<(i64, f64, usize)> = Vec::new();
    for (r, e) in errors {
        let day = r.at.0.div_euclid(Span::hours(24).0);
        match out.last_mut().filter(|l| l.0 == day) {
            Some(l) => (l.1, l.2) = (l.1 + e, l.2 + 1),
            None => out.push((day, *e, 1)),
        }
    }
    out.into_iter().map(|(_, e, n)| (e, n)).collect()
}

/// Variance of a sum of predictions between the forms that do about as well on days that no fit saw: which of them is true is
/// not known, and the chosen one is no better witness than the others (model uncertainty, Draper 1995).
fn form_variance(candidates: &[(f64, Fit)], rows: &[Row]) -> f64 {
    let Some(best) = candidates.first().map(|c| c.0) else { return 0.0 };
    let alike = candidates.iter().take_while(|c| c.0 <= ABOUT_AS_WELL * best);
    let sums: Vec<f64> = alike.map(|(_, f)| rows.iter().map(|r| f.predict(r)).sum()).collect();
    let Some(chosen) = sums.first() else { return 0.0 };
    sums.iter().map(|s| (s - chosen).powi(2)).sum::<f64>() / sums.len() as f64
}

/// Variance of the sum of errors over so many hours, kWh²: that of a day's error per hour, with the autocorrelation of days
/// (an autoregression of order one, its coefficient corrected for the shortness of the series, Kendall 1954).
fn long_run(daily: &[(f64, usize)], hours: usize) -> f64 {
    let rates: Vec<f64> = daily.iter().filter(|d| d.1 >= 6).map(|d| d.0 / d.1 as f64).collect();
    let n = rates.len() as f64;
    if n < 3.0 {
        return f64::INFINITY;
    }
    let var = rates.iter().map(|e| e * e).sum::<f64>() / (n - 1.0);
    let lag = rates.windows(2).map(|w| w[0] * w[1]).sum::<f64>() / (n - 1.0);
    let rho = if var > 0.0 { lag / var } else { 0.0 };
    let rho = (rho + (1.0 + 3.0 * rho.max(0.0)) / n).clamp(0.0, 0.8);
    let days = hours as f64 / 24.0;
    // Var(Σ over m days) of an AR(1), exactly; m need not be whole.
    let tail = if rho > 0.0 { 2.0 * rho / (1.0 - rho) - 2.0 * rho * (1.0 - rho.powf(days)) / (days * (1.0 - rho).powi(2)) } else { 0.0 };
    var * 24.0 * 24.0 * days * (1.0 + tail.max(0.0))
}

/// Two-sided 95 % point of Student's t (Cornish-Fisher expansion, Abramowitz & Stegun 26.7.5); within 0.3 % from 3 on.
fn student_95(freedom: usize) -> f64 {
    let (z, n) = (1.959_964_f64, freedom.max(3) as f64);
    let (z3, z5, z7) = (z.powi(3), z.powi(5), z.powi(7));
    z + (z3 + z) / (4.0 * n)
        + (5.0 * z5 + 16.0 * z3 + 3.0 * z) / (96.0 * n * n)
        + (3.0 * z7 + 19.0 * z5 + 17.0 * z3 - 15.0 * z) / (384.0 * n.powi(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn student_is_that_of_the_tables() {
        for (n, t) in [(5, 2.571), (10, 2.228), (30, 2.042), (120, 1.980)] {
            assert!((student_95(n) - t).abs() < 0.005, "{n}: {}", student_95(n));
        }
    }

    #[test]
    fn too_little_is_refused_with_reasons() {
        let row = |h: i64| Row {
            at: Timestamp(0) + Span::hours(h),
            power_kw: 10.0 + (h % 7) as f64,
            load_kw: 100.0 + (h % 24) as f64,
            weather_c: 15.0,
        };
        let base: Vec<Row> = (0..24 * 5).map(row).collect();
        let v = verify(&base, &base, [120.0, 400.0], 0.0, Limits::default(), &|_| "m".into());
        assert!(v.refused() && !v.claims());
        assert!(v.refusals.iter().any(|r| r.contains("5 days")) && v.refusals.iter().any(|r| r.contains("30 %")), "{:?}", v.refusals);
    }
}
