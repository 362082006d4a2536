//! `backtest`: one series, every model's errors on its last part.

use super::cli::BacktestArgs;
use crate::forecast::read::{self, Data, Source};
use crate::forecast::{Calendar, Members, Outcome, Row, SPLIT_RIDGE, Series, Setup, Took, backtest};
use crate::report::forecast_plots::{self, Fan, HorizonErrors, Plots};
use crate::store::{Embedded, STEPS_MAX, Store};
use crate::time::{Span, Timestamp};
use serde::Serialize;
use std::fmt::Write as _;
use std::time::Instant;

/// One line of `--json`.
#[derive(Debug, Serialize)]
struct JsonRow<'a> {
    horizon: &'a str,
    model: &'a str,
    chosen: bool,
    mae: f64,
    rmse: f64,
    nmae_pct: f64,
    bias: f64,
    pinball: f64,
    coverage80: f64,
    coverage90: f64,
    width90: f64,
    n: usize,
    train_s: f64,
    predict_s: f64,
}

fn span(what: &str, text: &str) -> Result<Span, String> {
    Span::parse(&text.to_lowercase())
        .filter(|s| s.0 > 0)
        .ok_or_else(|| format!("{what} {text:?} is not a length of time such as 10min, 1h or 7d"))
}

fn instant(what: &str, text: &str) -> Result<Timestamp, String> {
    read::instant(text).ok_or_else(|| format!("{what} {text:?} is not an instant such as 2024-03-10 or \"2024-03-10 14:20\""))
}

/// Runs the command.
pub fn run(args: BacktestArgs) -> Result<(), String> {
    let started = Instant::now();
    let watch = || started.elapsed().as_secs_f64();
    let step = span("--step", &args.step)?;
    let known = Members::all();
    if let Some(odd) = args.models.iter().find(|m| !known.contains(m)) {
        return Err(format!("--models {odd:?} is none of {}", known.join(", ")));
    }
    let setup = Setup {
        horizons: args.horizons.iter().map(|h| span("--horizons", h)).collect::<Result<_, _>>()?,
        max_lag: span("--max-lag", &args.max_lag)?,
        from: instant("--train-until", &args.train_until)?,
        to: args.test_until.as_deref().map(|t| instant("--test-until", t)).transpose()?,
        calendar: Calendar { zone: args.time_zone.clone(), holidays: args.holidays.clone() },
        members: if args.models.is_empty() { Members::default() } else { Members(args.models.clone()) },
        seed: args.seed,
    };
    let data = load(&args, step)?;
    let outcome = backtest(&data, &setup, &watch).map_err(|e| e.to_string())?;
    let written = |h: Span| args.horizons.iter().find(|t| span("", t) == Ok(h)).map_or("", String::as_str);
    print!("{}", table(&outcome, &written));
    let rows = data.load.values.len();
    println!(
        "{rows} steps of {step}; missing {}, of which filled {}; cells that are no number {}, rows without a time {}; {:.2} s in all",
        outcome.missing,
        outcome.filled,
        data.bad_cells,
        data.bad_times,
        watch()
    );
    let write = |path: &std::path::Path, text: &str| std::fs::write(path, text).map_err(|e| format!("{}: {e}", path.display()));
    if let Some(path) = &args.json {
        let rows: Vec<JsonRow> = outcome.horizons.iter().flat_map(|h| h.rows.iter().map(|(r, t)| json(written(h.ahead), r, t))).collect();
        write(path, &(serde_json::to_string_pretty(&rows).map_err(|e| e.to_string())? + "\n"))?;
    }
    if let Some(path) = &args.out {
        write(path, &predictions(&outcome, &written))?;
    }
    if let Some(dir) = &args.plots {
        let title = args.file.as_ref().map_or_else(
            || args.site.clone().unwrap_or_default(),
            |f| f.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        );
        for path in forecast_plots::draw(&plots(&outcome, &title, &args.time_zone), dir).map_err(|e| e.to_string())? {
            println!("{}", path.display());
        }
    }
    Ok(())
}

fn load(args: &BacktestArgs, step: Span) -> Result<Data, String> {
    if let Some(file) = &args.file {
        let origin = args.origin.as_deref().map(|t| instant("--origin", t)).transpose()?;
        let source = Source { time: &args.time, origin, target: &args.target, inputs: &args.weather, step };
        return read::read(file, &source).map_err(|e| e.to_string());
    }
    let (Some(site), Some(points)) = (&args.site, &args.point) else {
        return Err("give a file, or --site and --point for a series of the store (--data-dir)".into());
    };
    let store = Embedded::open(&args.data_dir).map_err(|e| e.to_string())?;
    let find = |list: &str| series_of_store(&store, site, list, step);
    let mut inputs = Vec::new();
    for name in args.weather.split(',').map(str::trim).filter(|n| !n.is_empty()) {
        inputs.push((name.to_owned(), find(name)?));
    }
    Ok(Data { load: find(points)?, inputs, bad_cells: 0, bad_times: 0 })
}

/// Sum of the points of a site whose paths match a list, on a grid; a step that any of them lacks is missing.
pub(super) fn series_of_store(store: &dyn Store, site: &str, list: &str, step: Span) -> Result<Series, String> {
    let catalogue = store.catalogue(site).map_err(|e| e.to_string())?;
    let patterns: Vec<&str> = list.split(',').map(str::trim).collect();
    let ids: Vec<_> = catalogue.iter().filter(|p| patterns.iter().any(|pattern| read::matches(pattern, &p.path))).map(|p| p.id).collect();
    if ids.is_empty() {
        return Err(format!("no point of site {site:?} matches {list:?}; it has {} points", catalogue.iter().count()));
    }
    sum_of_points(store, site, &ids, Timestamp(0), Timestamp(i64::MAX / 2), step)
}

/// Sum of points on a grid from the first to the last step that has data; what the gate distrusts counts as none.
pub(super) fn sum_of_points(
    store: &dyn Store,
    site: &str,
    ids: &[crate::reading::PointId],
    from: Timestamp,
    to: Timestamp,
    step: Span,
) -> Result<Series, String> {
    let mut columns = Vec::with_capacity(ids.len());
    for id in ids {
        let column = store.series(site, *id, from, to, step).map_err(|e| e.to_string())?;
        if column.len() >= STEPS_MAX {
            // The store gives the oldest of them: the newest would be missing without a word.
            return Err(format!("site {site:?}: a point has {STEPS_MAX} steps of {step} or more; take a longer step, or a shorter span"));
        }
        columns.push(column);
    }
    let ends = columns.iter().flat_map(|c| c.first().into_iter().chain(c.last())).map(|s| s.at);
    let (Some(first), Some(last)) = (ends.clone().min(), ends.max()) else {
        return Err(format!("site {site:?}: the store has no rows of these points"));
    };
    let rows = ((last - first).0 / step.0.max(1)) as usize + 1;
    if rows > STEPS_MAX {
        return Err(format!("{rows} steps of {step} are more than {STEPS_MAX}; give a longer --step"));
    }
    let mut sum = vec![0.0; rows];
    for column in columns {
        let mut values = vec![f64::NAN; rows];
        for s in column.into_iter().filter(|s| s.quality.usable() && s.mean.is_finite()) {
            if let Some(v) = values.get_mut(((s.at - first).0 / step.0.max(1)) as usize) {
                *v = s.mean;
            }
        }
        // Points that publish on change are silent while they stand still: their last value stands for an hour.
        crate::forecast::fill(&mut values, (Span::hours(1).0 / step.0.max(1)) as usize);
        sum.iter_mut().zip(values).for_each(|(s, v)| *s += v);
    }
    Ok(Series::new(first, step, sum))
}

fn json<'a>(horizon: &'a str, r: &'a Row, t: &Took) -> JsonRow<'a> {
    JsonRow {
        horizon,
        model: &r.model,
        chosen: r.chosen,
        mae: r.mae,
        rmse: r.rmse,
        nmae_pct: r.nmae_pct,
        bias: r.bias,
        pinball: r.pinball,
        coverage80: r.coverage80,
        coverage90: r.coverage90,
        width90: r.width90,
        n: r.n,
        train_s: t.train_s,
        predict_s: t.predict_s,
    }
}

/// Four significant digits.
fn short(v: f64) -> String {
    let digits = if v == 0.0 || !v.is_finite() { 0 } else { (3 - v.abs().log10().floor() as i32).clamp(0, 9) as usize };
    format!("{v:.digits$}")
}

fn table<'a>(outcome: &Outcome, written: &impl Fn(Span) -> &'a str) -> String {
    let mut out = String::from(
        "horizon  model             MAE        RMSE       nMAE %  bias       pinball    cover80  cover90  width90    n      train s  predict s\n",
    );
    for h in &outcome.horizons {
        let naive =
            h.rows.iter().filter(|(r, _)| ["persistence", "yesterday", "last-week"].contains(&r.model.as_str())).map(|(r, _)| r.mae);
        let naive = naive.fold(f64::INFINITY, f64::min);
        for (r, t) in &h.rows {
            let mark = if r.chosen { '*' } else { ' ' };
            let _ = writeln!(
                out,
                "{:<8}{mark}{:<17} {:<10} {:<10} {:<7.3} {:<10} {:<10} {:<8.3} {:<8.3} {:<10} {:<6} {:<8.3} {:.3}{}",
                written(h.ahead),
                r.model,
                short(r.mae),
                short(r.rmse),
                r.nmae_pct,
                short(r.bias),
                short(r.pinball),
                r.coverage80,
                r.coverage90,
                short(r.width90),
                r.n,
                t.train_s,
                t.predict_s,
                if r.chosen { beside(r, naive, &h.rows) } else { String::new() }
            );
        }
    }
    let _ = writeln!(out, "* chosen on the training part; {SPLIT_RIDGE}: split-conformal bands around a plain ridge, a yardstick only");
    out
}

/// What is said of the chosen model: how it stands to the better naive forecast, and its band to the yardstick's.
fn beside(r: &Row, naive: f64, rows: &[(Row, Took)]) -> String {
    let mut out = String::new();
    if naive.is_finite() {
        let _ = write!(out, "  {:+.1} % on the best naive", 100.0 * (r.mae / naive - 1.0));
    }
    if let Some((split, _)) = rows.iter().find(|(s, _)| s.model == SPLIT_RIDGE && s.width90 > 0.0) {
        let _ = write!(out, ", band {:.2} x {SPLIT_RIDGE}'s", r.width90 / split.width90);
    }
    out
}

fn predictions<'a>(outcome: &Outcome, written: &impl Fn(Span) -> &'a str) -> String {
    let mut out = String::from("horizon,origin,time,truth,p05,p10,p50,p90,p95,scored\n");
    let number = |v: f64| if v.is_finite() { v.to_string() } else { String::new() };
    for h in &outcome.horizons {
        for m in &h.made {
            let origin = outcome.load.time(m.origin);
            let e = &m.edges;
            let cells = [m.truth, e.p05, e.p10, m.point, e.p90, e.p95].map(number).join(",");
            let _ = writeln!(out, "{},{origin},{},{cells},{}", written(h.ahead), origin + h.ahead, u8::from(m.scored));
        }
    }
    out
}

fn plots(outcome: &Outcome, title: &str, zone: &str) -> Plots {
    let horizons = (outcome.horizons.iter())
        .map(|h| HorizonErrors {
            name: h.ahead.to_string(),
            models: h.rows.iter().map(|(r, _)| (r.model.clone(), r.chosen, r.mae)).collect(),
            forecasts: (h.made.iter())
                .filter(|m| m.scored)
                .map(|m| Fan {
                    at: outcome.load.time(m.origin) + h.ahead,
                    truth: m.truth,
                    edges: [m.edges.p05, m.edges.p10, m.point, m.edges.p90, m.edges.p95],
                })
                .collect(),
            shares: h.shares.iter().map(|(n, s)| ((*n).to_owned(), *s)).collect(),
            leanings: h.leanings.clone(),
        })
        .collect();
    Plots { title: title.to_owned(), time_zone: zone.to_owned(), horizons }
}
