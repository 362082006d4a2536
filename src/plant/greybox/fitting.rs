//! From rows to a model: delays, signed least squares by blocked cross-validation, limits, leak.
//!
//! Invariants: no randomness; the same rows give the same bytes; every figure of fit comes from blocks of time that the
//! fit did not see.

use super::basis::{Shape, Variables, dictionary, weather_of};
use super::leak;
use super::machines::{MACHINES_MAX, Machine, threshold};
use super::model::{FORMAT, GreyBox, It, Limited, Meter, Part, Term, usable};
use super::motion;
use super::solve::{Normal, Solution, Strength, solve};
use crate::plant::identified::{Binding, Row};
use crate::plant::predict::Fit;
use crate::site::{MeterBoundary, SiteFile};
use crate::time::{Span, Timestamp};
use ndarray::Array2;

/// Fewest usable rows.
pub const ROWS_MIN: usize = 36;
/// Most rows that a fit takes, and how many of them are the first ones.
const ROWS_MAX: usize = 2400;
const ROWS_FIRST: usize = 500;
/// Most terms that enter a fit.
const TERMS_MAX: usize = 420;
const FOLDS: usize = 5;
/// A row weighs half as much after this time.
const HALF_LIFE: Span = Span::hours(24 * 7);
const STRENGTHS: [Strength; 2] = [Strength { lasso: 1e-3, ridge: 1e-3 }, Strength { lasso: 1e-2, ridge: 1e-2 }];
/// Shares of the load one step before that are tried.
const DELAYS: [f64; 3] = [1.0, 0.5, 0.0];
/// A setpoint that moves by this share of its slew makes its row count half.
const STEADY: f64 = 0.3;
/// How long a move is felt: loops must turn over, machines that it started must stop.
const UNREST: Span = Span::minutes(15);
/// A meter is not believed to go beyond this multiple of the most that it has shown.
const BEYOND: f64 = 1.5;
const KEEPS: [f64; 6] = [0.0, 0.2, 0.4, 0.6, 0.8, 0.9];

/// Why no model was made.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FitError {
    #[error("{rows} usable rows, and {ROWS_MIN} are needed")]
    TooFew { rows: usize },
    #[error("no setpoint was moved: what they do cannot be known from these data")]
    NeverMoved,
    #[error("no meter outside IT: the site file names none with boundary `cooling` or `loss`")]
    NoMeters,
}

struct Prepared<'a> {
    rows: Vec<&'a Row>,
    joined: Vec<bool>,
    weights: Vec<f64>,
    fold: Vec<usize>,
}

fn prepare(rows: &[Row], step: Span, has_dew: bool) -> Prepared<'_> {
    let good: Vec<&Row> = rows.iter().filter(|r| usable(r, has_dew)).collect();
    // Where there are too many, the first ones stay (setpoints were moved then) and the newest; both without holes.
    let drop = good.len().saturating_sub(ROWS_MAX);
    let keep = |i: usize| i < ROWS_FIRST || i >= ROWS_FIRST + drop;
    let mut joined = Vec::new();
    let mut kept = Vec::new();
    for (i, r) in good.iter().enumerate().filter(|(i, _)| keep(*i)) {
        joined.push(i > 0 && (r.at - good[i - 1].at).0 * 2 <= step.0 * 3 && keep(i - 1));
        kept.push(*r);
    }
    let end = kept.last().map_or(Timestamp(0), |r| r.at);
    let weights = kept.iter().map(|r| 0.5_f64.powf((end - r.at).as_secs_f64() / HALF_LIFE.as_secs_f64())).collect();
    // At least an hour, so that no hour is half seen.
    let hour = (Span::hours(1).0 / step.0.max(1)).max(1) as usize;
    let block = (kept.len() / 40).clamp(hour, hour.max(48));
    let fold = (0..kept.len()).map(|i| (i / block) % FOLDS).collect();
    Prepared { rows: kept, joined, weights, fold }
}

/// The variables of each row, with the load of the step before mixed in.
fn variables(v: &Variables, p: &Prepared<'_>, delay: f64) -> Vec<Vec<f64>> {
    let mut z = Vec::with_capacity(v.len());
    let mut out: Vec<Vec<f64>> = Vec::with_capacity(p.rows.len());
    let mut before: Vec<f64> = Vec::new();
    for (i, r) in p.rows.iter().enumerate() {
        let loads: Vec<f64> = match p.joined[i] && !before.is_empty() {
            true => r.loads_kw.iter().zip(&before).map(|(now, was)| (1.0 - delay) * now + delay * was).collect(),
            false => r.loads_kw.clone(),
        };
        before.clone_from(&r.loads_kw);
        v.fill(&r.in_force, &loads, 1.0, weather_of(r), &mut z);
        out.push(z.clone());
    }
    out
}

/// Sums per fold, and their total.
fn normals(x: &Array2<f64>, y: &Array2<f64>, w: &[f64], fold: &[usize]) -> (Vec<Normal>, Normal) {
    let mut folds = Vec::new();
    for f in 0..FOLDS {
        let mine: Vec<f64> = w.iter().zip(fold).map(|(w, k)| if *k == f { *w } else { 0.0 }).collect();
        let rows: Vec<usize> = (0..w.len()).filter(|&i| mine[i] > 0.0).collect();
        let (xs, ys) = (x.select(ndarray::Axis(0), &rows), y.select(ndarray::Axis(0), &rows));
        let ws: Vec<f64> = rows.iter().map(|&i| mine[i]).collect();
        folds.push(Normal::of(&xs, &ys, &ws, 0..rows.len()));
    }
    let mut all = folds[0].clone();
    for f in &folds[1..] {
        all = all.combine(f, 1.0);
    }
    (folds, all)
}

/// What meters are regressed on, for one delay of the load.
struct Columns {
    sse: f64,
    delay: f64,
    machines: Vec<Machine>,
    terms: Vec<Term>,
    /// Largest value of each feature of motion.
    most: Vec<f64>,
    x: Array2<f64>,
    free: Vec<bool>,
}

/// Held-out residuals of one output, and the solution on all rows.
struct Judged {
    solution: Solution,
    residuals: Vec<f64>,
    sse: f64,
}

fn judge(
    x: &Array2<f64>,
    y: &Array2<f64>,
    o: usize,
    folds: &[Normal],
    all: &Normal,
    fold: &[usize],
    weights: &[f64],
    free: &[bool],
    strengths: &[Strength],
) -> Judged {
    let mut best: Option<Judged> = None;
    let most = BEYOND * y.column(o).iter().copied().fold(0.0, f64::max);
    for &s in strengths {
        let whole = solve(all, o, free, s, best.as_ref().map(|b| &b.solution));
        let mut residuals = vec![0.0; y.nrows()];
        for (f, part) in folds.iter().enumerate() {
            let rest = all.combine(part, -1.0);
            if rest.weight <= 0.0 {
                continue;
            }
            let w = solve(&rest, o, free, s, Some(&whole));
            for i in (0..y.nrows()).filter(|&i| fold[i] == f) {
                let predicted = w.intercept + x.row(i).iter().zip(&w.weights).map(|(a, b)| a * b).sum::<f64>();
                residuals[i] = y[[i, o]] - predicted.max(0.0).min(most);
            }
        }
        let sse: f64 = residuals.iter().zip(weights).map(|(r, w)| w * r * r).sum();
        if best.as_ref().is_none_or(|b| sse < b.sse * 0.98) {
            best = Some(Judged { solution: whole, residuals, sse });
        }
    }
    best.unwrap_or(Judged { solution: Solution::default(), residuals: vec![], sse: 0.0 })
}

/// Change of each temperature setpoint since the row before.
fn rates(v: &Variables, z: &[Vec<f64>], joined: &[bool]) -> Vec<Vec<f64>> {
    (0..z.len()).map(|i| v.temps().map(|a| if joined[i] { z[i][a] - z[i - 1][a] } else { 0.0 }).collect()).collect()
}

/// Power of all meters in the hour around each row, in medians: an error of some kW says less where a plant labours, and
/// where it labours nobody will want to run it. The hour's, so that chance in one row is not judged by itself.
fn hardness(y: &Array2<f64>, step: Span) -> Vec<f64> {
    let total: Vec<f64> = y.rows().into_iter().map(|r| r.sum()).collect();
    let mut sorted = total.clone();
    sorted.sort_by(f64::total_cmp);
    let median = sorted[sorted.len() / 2].abs().max(1e-6);
    let half = ((Span::hours(1).0 / step.0.max(1)) / 2).max(1) as usize;
    (0..total.len())
        .map(|i| {
            let around = &total[i.saturating_sub(half)..(i + half + 1).min(total.len())];
            around.iter().sum::<f64>() / around.len() as f64 / median
        })
        .collect()
}

/// What moves in each row.
fn moving(v: &Variables, z: &[Vec<f64>], joined: &[bool]) -> Vec<Vec<f64>> {
    (0..z.len())
        .map(|i| {
            let mut m = Vec::new();
            motion::fill(v, &z[i], joined[i].then(|| z[i - 1].as_slice()), &mut m);
            m
        })
        .collect()
}

/// Every shape, alone and while each machine runs, and the machines themselves.
fn terms(shapes: &[Shape], v: &Variables) -> Vec<Term> {
    let gates = || std::iter::once(None).chain((0..v.machines).map(|m| Some(v.machine(m) as u16)));
    let mut out: Vec<Term> = shapes.iter().flat_map(|s| gates().map(|gate| Term { weight: 0.0, shape: Some(*s), gate })).collect();
    out.extend(gates().flatten().map(|g| Term { weight: 0.0, shape: None, gate: Some(g) }));
    out
}

fn columns(terms: &[Term], z: &[Vec<f64>], moving: &[Vec<f64>]) -> Array2<f64> {
    let free = moving.first().map_or(0, Vec::len);
    Array2::from_shape_fn((z.len(), terms.len() + free), |(i, j)| {
        terms.get(j).map_or_else(|| moving[i][j - terms.len()], |t| t.value(&z[i]))
    })
}

/// The terms that say most of any output.
fn screen(terms: Vec<Term>, z: &[Vec<f64>], y: &Array2<f64>, w: &[f64]) -> Vec<Term> {
    if terms.len() <= TERMS_MAX {
        return terms;
    }
    let n = w.iter().sum::<f64>().max(1e-9);
    let mean = |v: &[f64]| v.iter().zip(w).map(|(v, w)| v * w).sum::<f64>() / n;
    let centred: Vec<(Vec<f64>, f64)> = (y.columns().into_iter())
        .map(|c| {
            let c = c.to_vec();
            let m = mean(&c);
            let v: Vec<f64> = c.iter().map(|v| v - m).collect();
            let d = mean(&v.iter().map(|v| v * v).collect::<Vec<_>>()).sqrt();
            (v, d)
        })
        .collect();
    let mut scored: Vec<(f64, usize)> = (terms.iter().enumerate())
        .map(|(j, s)| {
            let x: Vec<f64> = z.iter().map(|z| s.value(z)).collect();
            let m = mean(&x);
            let d = mean(&x.iter().map(|v| (v - m).powi(2)).collect::<Vec<_>>()).sqrt();
            let best = centred.iter().map(|(y, dy)| {
                let c = x.iter().zip(y).zip(w).map(|((a, b), w)| w * (a - m) * b).sum::<f64>() / n;
                if d > 1e-9 && *dy > 1e-9 { c / (d * dy) } else { 0.0 }
            });
            (best.fold(0.0, f64::max), j)
        })
        .collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let mut kept: Vec<usize> = scored.into_iter().take(TERMS_MAX).map(|(_, j)| j).collect();
    kept.sort_unstable();
    kept.into_iter().map(|j| terms[j]).collect()
}

/// Identifies a plant from rows in time order. `binding` names what the rows' vectors follow; `name` is for the audit
/// trail.
///
/// # Errors
/// Too few rows, setpoints that never moved, no meter to explain.
pub fn fit(rows: &[Row], step: Span, site: &SiteFile, binding: &Binding, name: &str) -> Result<GreyBox, FitError> {
    let metered: Vec<usize> = (0..binding.meters.len()).filter(|&m| binding.boundaries[m] != MeterBoundary::It).collect();
    if metered.is_empty() {
        return Err(FitError::NoMeters);
    }
    let has_dew = rows.iter().any(|r| r.room_dew_point_c.is_finite());
    let p = prepare(rows, step, has_dew);
    if p.rows.len() < ROWS_MIN {
        return Err(FitError::TooFew { rows: p.rows.len() });
    }
    let moved = |a: usize| p.rows.iter().any(|r| (r.in_force[a] - p.rows[0].in_force[a]).abs() > 1e-6);
    if !(0..binding.actuators.len()).any(moved) {
        return Err(FitError::NeverMoved);
    }
    let mut v = Variables::of(site, binding, rows);
    let y = Array2::from_shape_fn((p.rows.len(), metered.len()), |(i, o)| p.rows[i].meters_kw[metered[o]]);

    // The machines that say most of the powers.
    let mut heaps: Vec<(usize, f64, f64)> =
        (0..metered.len()).filter_map(|o| threshold(&y.column(o).to_vec()).map(|(kw, said)| (o, kw, said))).collect();
    heaps.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    heaps.truncate(MACHINES_MAX);
    v.machines = heaps.len();
    let plain = variables(&v, &p, 0.0);
    // Steady rows count most: what a moving setpoint stores in a loop's water is no part of the plant at rest.
    let slews: Vec<f64> = v.temps().map(|a| STEADY * site.actuators[a].slew_per_min * (step.as_secs_f64() / 60.0)).collect();
    let hard = hardness(&y, step);
    let lasting = (-step.as_secs_f64() / UNREST.as_secs_f64()).exp();
    let mut unrest: f64 = 0.0;
    let mut weights = Vec::with_capacity(p.rows.len());
    for ((i, w), (r, h)) in p.weights.iter().enumerate().zip(rates(&v, &plain, &p.joined).iter().zip(&hard)) {
        let now: f64 = r.iter().zip(&slews).map(|(r, s)| r.abs() / s.max(1e-6)).sum();
        unrest = if p.joined[i] { now.max(lasting * unrest) } else { now };
        weights.push(w / (1.0 + unrest * unrest) / (1.0 + h * h));
    }

    // The delay of the load that blocked cross-validation of the total likes best; then each meter with it.
    let total = Array2::from_shape_fn((p.rows.len(), 1), |(i, _)| y.row(i).sum());
    let mut best: Option<Columns> = None;
    for delay in DELAYS {
        let mut z = variables(&v, &p, delay);
        let moving = moving(&v, &z, &p.joined);
        let machines: Vec<Machine> =
            (heaps.iter()).map(|&(o, kw, _)| Machine::fit(&v, &z, &moving, &y.column(o).to_vec(), &weights, metered[o], kw)).collect();
        // Fitted on what the lines say of the machines, not on what they did: that is all a prediction has.
        let mut room = Vec::new();
        for i in 0..z.len() {
            for (k, m) in machines.iter().enumerate() {
                z[i][v.machine(k)] = m.share(&v, &z[i], Some(&moving[i]), 0.0, &mut room);
            }
        }
        let terms = screen(terms(&dictionary(&v, &z), &v), &z, &y, &weights);
        let x = columns(&terms, &z, &moving);
        let free: Vec<bool> = (0..x.ncols()).map(|j| j >= terms.len()).collect();
        let (folds, all) = normals(&x, &total, &weights, &p.fold);
        let sse = judge(&x, &total, 0, &folds, &all, &p.fold, &weights, &free, &STRENGTHS[..1]).sse;
        if best.as_ref().is_none_or(|b| sse < 0.97 * b.sse) {
            let most = (0..motion::len(&v)).map(|j| moving.iter().fold(0.0, |m: f64, r| m.max(r[j].abs()))).collect();
            best = Some(Columns { sse, delay, machines, terms, most, x, free });
        }
    }
    let Some(Columns { delay: load_delay, machines, terms, most, x, free, .. }) = best else {
        return Err(FitError::TooFew { rows: p.rows.len() });
    };
    let (folds, all) = normals(&x, &y, &weights, &p.fold);
    let judged: Vec<Judged> = (0..metered.len()).map(|o| judge(&x, &y, o, &folds, &all, &p.fold, &weights, &free, &STRENGTHS)).collect();
    let n = p.rows.len() as f64;
    let total = weights.iter().sum::<f64>().max(1e-9);
    let meters: Vec<Meter> = (judged.iter().enumerate())
        .map(|(o, j)| Meter {
            meter: metered[o],
            intercept: j.solution.intercept,
            terms: (j.solution.weights.iter().zip(&terms)).filter(|(w, _)| **w > 1e-9).map(|(w, t)| Term { weight: *w, ..*t }).collect(),
            motion: j.solution.weights[terms.len()..].to_vec(),
            sigma_kw: (j.sse / total).sqrt(),
            mean_kw: y.column(o).sum() / n,
            most_kw: BEYOND * y.column(o).iter().copied().fold(0.0, f64::max),
        })
        .collect();
    let (fit, sigma_kw) = figures(&judged, &y, &metered, binding, &p, &weights);
    let limits = fit_limits(site, &v, &p, has_dew);
    let ranges = {
        let z = variables(&v, &p, 0.0);
        let range = |k: usize| {
            let of = z.iter().map(|z| z[k]).filter(|v| v.is_finite());
            let (lo, hi) = of.fold((f64::MAX, f64::MIN), |(lo, hi), v| (lo.min(v), hi.max(v)));
            if lo <= hi { (lo, hi) } else { (0.0, 0.0) }
        };
        (0..v.len()).map(range).collect()
    };
    let it = It { intercept_kw: 0.0, per_load: vec![], leak: Default::default(), chips: None, coolant: vec![], sigma_kw: 0.0 };
    let mut model = GreyBox {
        format: FORMAT,
        name: name.to_owned(),
        binding: binding.clone(),
        variables: v,
        step,
        from: p.rows[0].at,
        to: p.rows.last().map_or(p.rows[0].at, |r| r.at),
        machines,
        motion_most: most,
        meters,
        limits,
        it,
        ranges,
        load_delay,
        sigma_kw,
        fit,
        digest: digest(&p.rows),
        bias: Default::default(),
    };
    fit_it(&mut model, site, &p);
    Ok(model)
}

/// Figures of fit of cooling power by the hour, as Guideline 14 counts them, each row weighing as it does in the fit; and the
/// standard deviation of all meters together by the row, kW.
fn figures(judged: &[Judged], y: &Array2<f64>, metered: &[usize], binding: &Binding, p: &Prepared<'_>, weights: &[f64]) -> (Fit, f64) {
    let hour = Span::hours(1);
    let (mut sse, mut bias, mut sum, mut total) = (0.0, 0.0, 0.0, 0.0);
    let (mut sse_row, mut all_rows) = (0.0, 0.0);
    let mut i = 0;
    while i < p.rows.len() {
        let start = p.rows[i].at.floor(hour);
        let (mut residual, mut measured, mut weight) = (0.0, 0.0, 0.0);
        while i < p.rows.len() && p.rows[i].at.floor(hour) == start {
            let (mut cooling, mut all) = (0.0, 0.0);
            for (o, &m) in metered.iter().enumerate() {
                let r = judged[o].residuals.get(i).copied().unwrap_or(0.0);
                all += r;
                if binding.boundaries[m] == MeterBoundary::Cooling {
                    cooling += r;
                    measured += weights[i] * y[[i, o]];
                }
            }
            residual += weights[i] * cooling;
            weight += weights[i];
            sse_row += weights[i] * all * all;
            all_rows += weights[i];
            i += 1;
        }
        // Hours of moving setpoints only say little.
        if weight > 0.0 {
            sse += residual * residual / weight;
            bias -= residual;
            sum += measured;
            total += weight;
        }
    }
    let mean = (sum / f64::max(total, 1e-9)).max(1e-6);
    let fit = Fit {
        cv_rmse_pct: 100.0 * (sse / f64::max(total, 1e-9)).sqrt() / mean,
        nmbe_pct: 100.0 * bias / f64::max(total, 1e-9) / mean,
        rows: p.rows.len(),
    };
    (fit, (sse_row / f64::max(all_rows, 1e-9)).sqrt())
}

fn fit_limits(site: &SiteFile, v: &Variables, p: &Prepared<'_>, has_dew: bool) -> Vec<Limited> {
    let mut parts: Vec<Part> = (0..v.machine(0)).filter(|&k| has_dew || k != v.dew_point()).map(|k| Part::Variable(k as u16)).collect();
    for f in v.flows() {
        let load = v.load_of(f) as u16;
        let own = (v.of_loops()..v.loads.len()).map(|l| v.load(l) as u16);
        for load in std::iter::once(load).chain(own) {
            parts.extend([5, 8, 10].map(|tenths| Part::LoadPerFlow { load, flow: f as u16, tenths }));
        }
    }
    let z = variables(v, p, 0.0);
    let raw = Array2::from_shape_fn((z.len(), parts.len()), |(i, j)| parts[j].value(&z[i]));
    let free = vec![false; parts.len()];
    (site.limits.iter().enumerate())
        .map(|(i, l)| {
            let side = match (l.max, l.min) {
                (Some(_), None) => 1,
                (None, Some(_)) => -1,
                _ => 0,
            };
            let known: Vec<usize> = (0..p.rows.len()).filter(|&k| p.rows[k].limited[i].is_finite()).collect();
            let mut best = Limited { intercept: f64::NAN, terms: vec![], keep: 0.0, sigma: f64::INFINITY, side };
            if known.len() < ROWS_MIN / 2 {
                return best;
            }
            let y = Array2::from_shape_fn((known.len(), 1), |(k, _)| p.rows[known[k]].limited[i]);
            let w: Vec<f64> = known.iter().map(|&k| p.weights[k]).collect();
            let fold: Vec<usize> = known.iter().map(|&k| p.fold[k]).collect();
            let mut least = f64::INFINITY;
            for keep in KEEPS {
                let mut x = raw.clone();
                for k in 1..x.nrows() {
                    if p.joined[k] {
                        for j in 0..x.ncols() {
                            x[[k, j]] = (1.0 - keep) * raw[[k, j]] + keep * x[[k - 1, j]];
                        }
                    }
                }
                let x = x.select(ndarray::Axis(0), &known);
                let (folds, all) = normals(&x, &y, &w, &fold);
                let s = Strength { lasso: 1e-4, ridge: 1e-5 };
                let whole = solve(&all, 0, &free, s, None);
                let mut sse = 0.0;
                for (f, part) in folds.iter().enumerate() {
                    let w = solve(&all.combine(part, -1.0), 0, &free, s, Some(&whole));
                    for k in (0..known.len()).filter(|&k| fold[k] == f) {
                        let predicted = w.intercept + x.row(k).iter().zip(&w.weights).map(|(a, b)| a * b).sum::<f64>();
                        sse += (y[[k, 0]] - predicted).powi(2);
                    }
                }
                if sse < 0.97 * least {
                    least = sse;
                    let terms = whole.weights.iter().zip(&parts).filter(|(w, _)| **w > 1e-9).map(|(w, p)| (*w, *p)).collect();
                    best = Limited { intercept: whole.intercept, terms, keep, sigma: (sse / known.len() as f64).sqrt(), side };
                }
            }
            best
        })
        .collect()
}

fn fit_it(m: &mut GreyBox, site: &SiteFile, p: &Prepared<'_>) {
    let metered: Vec<usize> = (0..m.binding.meters.len()).filter(|&k| m.binding.boundaries[k] == MeterBoundary::It).collect();
    let loads: Vec<usize> = m.variables.loads[..m.variables.of_loops()].iter().map(|(i, _)| *i).collect();
    let it_kw: Vec<f64> = (p.rows.iter())
        .map(|r| match metered.is_empty() {
            // Without an IT meter the first loop's load is the IT power.
            true => r.loads_kw.first().copied().unwrap_or(f64::NAN),
            false => metered.iter().map(|&k| r.meters_kw[k]).sum(),
        })
        .collect();
    let x = Array2::from_shape_fn((p.rows.len(), loads.len()), |(i, j)| p.rows[i].loads_kw[loads[j]]);
    let y = Array2::from_shape_fn((p.rows.len(), 1), |(i, _)| it_kw[i]);
    let all = Normal::of(&x, &y, &p.weights, 0..p.rows.len());
    let s = solve(&all, 0, &vec![false; loads.len()], Strength { lasso: 0.0, ridge: 1e-9 }, None);
    let error = |i: usize| (it_kw[i] - s.intercept - x.row(i).iter().zip(&s.weights).map(|(a, b)| a * b).sum::<f64>()).powi(2);
    let n = p.rows.len() as f64;
    m.it.sigma_kw = ((0..p.rows.len()).map(error).sum::<f64>() / n).sqrt();
    (m.it.intercept_kw, m.it.per_load) = (s.intercept, s.weights);
    // A limit's own load is part of the loops'.
    m.it.per_load.resize(m.variables.loads.len(), 0.0);
    let chip = |role: &str| ["gpu", "chip", "cpu", "die", "core"].iter().any(|w| role.to_ascii_lowercase().contains(w));
    m.it.chips = site.limits.iter().position(|l| l.max.is_some() && l.actuator.is_none() && l.above.is_none() && chip(&l.role));
    m.it.chips = m.it.chips.filter(|&i| m.limits[i].sigma.is_finite());
    // The loops that no other loop gives its heat to are the ones at the chips.
    let taker = |id: &str| site.loops.iter().any(|l| l.into.as_deref() == Some(id));
    m.it.coolant = m.variables.temps().filter(|&a| !taker(&site.actuators[a].loop_id)).collect();
    let explained = leak::explained_kw(&p.rows, &it_kw);
    let mean = it_kw.iter().sum::<f64>() / n;
    let mut z = Vec::new();
    let kelvin: Vec<f64> = (p.rows.iter().zip(&explained))
        .map(|(r, e)| {
            let mut loads = vec![0.0; r.loads_kw.len()];
            for (l, v) in loads.iter_mut().enumerate() {
                let known = m.variables.load_of_loop.get(l).map(|k| m.variables.loads[*k]);
                let mean_kw = known.or_else(|| m.variables.loads.iter().find(|(i, _)| *i == l).copied()).map_or(1.0, |(_, kw)| kw);
                *v = mean_kw * e / mean.max(1e-6);
            }
            m.kelvin(&r.in_force, &loads, weather_of(r), &mut z)
        })
        .collect();
    m.it.leak = leak::fit(&p.rows, &it_kw, &kelvin, &p.joined);
}

fn digest(rows: &[&Row]) -> String {
    let mut h = blake3::Hasher::new();
    for r in rows {
        h.update(&r.at.0.to_le_bytes());
        for v in r.in_force.iter().chain(&r.loads_kw).chain(&r.meters_kw).chain(&r.limited).chain(&weather_of(r)) {
            h.update(&v.to_bits().to_le_bytes());
        }
    }
    h.finalize().to_hex()[..16].to_owned()
}
