//! `verify-savings`: a saving with its interval, or a refusal with its reasons; out of the store or of a file.

use super::config::{Config, Overrides};
use super::reports::chosen;
use crate::control::ledger::Entry;
use crate::report::account::Period;
use crate::report::facts::e_dc;
use crate::report::figure::{Cell, Chart, ChartKind, Document, Figure, Status, Table};
use crate::report::savings::{Limits, Reconciliation, Row, Verdict, verify};
use crate::report::{Book, Lang, MeterRole, ReportFile, write};
use crate::signal::dated::instant;
use crate::signal::table;
use crate::store::{Embedded, Store};
use crate::time::{Span, Timestamp};
use clap::{Args, ValueEnum};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const CITE: &str = "IPMVP Core Concepts 2022, options B and C; ASHRAE Guideline 14-2014";

/// What the saving is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Boundary {
    /// The cooling meters (option B).
    Cooling,
    /// All of the site (option C).
    Site,
}

/// Arguments of `verify-savings`.
#[derive(Clone, Debug, Args)]
pub struct SavingsArgs {
    /// Before the change: A..B, dates of the site's zone or instants; B is not part of it
    #[arg(long, value_name = "A..B", required_unless_present = "simulate")]
    pub baseline_period: Option<String>,
    /// After the change
    #[arg(long, value_name = "C..D", required_unless_present = "simulate")]
    pub reporting_period: Option<String>,
    /// A site of the configuration, whose meters the store has
    #[arg(long, value_name = "SITE")]
    pub site: Option<String>,
    /// What the saving is on
    #[arg(long, value_enum, default_value_t = Boundary::Cooling)]
    pub boundary: Boundary,
    /// The configuration file; a bare name is also looked for in sensors/
    #[arg(long, value_name = "FILE", default_value = "tramuntana.toml")]
    pub config: PathBuf,
    /// Where the store is (overrides the file)
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// A CSV (or .gz) instead of the store
    #[arg(long, value_name = "FILE", conflicts_with = "site")]
    pub file: Option<PathBuf>,
    /// Columns of the file: time, power that is saved on (kW), load (kW), weather (°C)
    #[arg(long, value_name = "COL", default_value = "time")]
    pub time: String,
    #[arg(long, value_name = "COL", default_value = "power_kw")]
    pub power: String,
    #[arg(long, value_name = "COL", default_value = "load_kw")]
    pub load: String,
    #[arg(long, value_name = "COL", default_value = "weather_c")]
    pub weather: String,
    /// Zone of the file's times
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: String,
    /// Hours that are left out, and why: "A..B=reason"; repeat for several
    #[arg(long, value_name = "A..B=WHY")]
    pub leave_out: Vec<String>,
    /// A non-routine adjustment of the baseline over the reporting period: "KWH=reason"; repeat for several
    #[arg(long, value_name = "KWH=WHY", allow_hyphen_values = true)]
    pub adjust: Vec<String>,
    /// Write savings as a report's folder (JSON, CSV, spreadsheet, page, PDF)
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Language of the folder
    #[arg(long, value_enum, default_value_t = Lang::En)]
    pub lang: Lang,
    /// Instead: so many seeded cases on the simulated plants, whose saving is known, and as many without any change
    #[arg(long, value_name = "N")]
    pub simulate: Option<u32>,
    /// First seed of the simulated cases
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
}

/// Two periods' rows, and what the caller must know of where they come from.
struct Evidence {
    baseline: (Period, Vec<Row>),
    reporting: (Period, Vec<Row>),
    name: String,
    ledger: Vec<Entry>,
    meters: Vec<String>,
}

impl Evidence {
    fn reconciliation(&self) -> Reconciliation {
        let grid = self.reporting.0.grid;
        Reconciliation::of(&self.ledger, grid.from, grid.to)
    }
}

/// Verifies, prints, and writes the folder.
///
/// # Errors
/// Something cannot be read; or no saving may be claimed (the folder is written all the same).
pub fn run(a: &SavingsArgs) -> Result<(), String> {
    if let Some(cases) = a.simulate {
        return super::savings_sim::run(cases, a.seed);
    }
    let mut e = match &a.file {
        Some(file) => from_file(a, file)?,
        None => from_store(a)?,
    };
    let mut adjustments = Vec::new();
    for text in &a.leave_out {
        let (span, why) = text.split_once('=').ok_or_else(|| format!("--leave-out {text:?}: write A..B=reason"))?;
        let p = Period::parse(span, &e.reporting.0.zone_name).map_err(|x| format!("--leave-out: {x}"))?;
        let gone = |r: &Row| r.at >= p.grid.from && r.at < p.grid.to;
        let n = e.baseline.1.len() + e.reporting.1.len();
        e.baseline.1.retain(|r| !gone(r));
        e.reporting.1.retain(|r| !gone(r));
        let left = n - e.baseline.1.len() - e.reporting.1.len();
        adjustments.push((format!("{span}: {left} hours left out"), 0.0, why.to_owned()));
    }
    for text in &a.adjust {
        let (kwh, why) = text.split_once('=').ok_or_else(|| format!("--adjust {text:?}: write KWH=reason"))?;
        let kwh: f64 = kwh.trim().parse().map_err(|_| format!("--adjust {text:?}: {kwh:?} is no number"))?;
        adjustments.push(("baseline adjusted".into(), kwh, why.to_owned()));
    }
    let hours = [e.baseline.0.grid.hours(), e.reporting.0.grid.hours()];
    let sum = adjustments.iter().map(|x| x.1).sum();
    let period = e.reporting.0.clone();
    let month = |at: Timestamp| period.local(at).chars().take(7).collect::<String>();
    let v = verify(&e.baseline.1, &e.reporting.1, hours, sum, Limits::default(), &month);
    print(&v, &e, &adjustments);
    if let Some(dir) = &a.out {
        let mut doc = document(a, &v, &e, &adjustments);
        let paths = write::write(&mut doc, &[], dir, a.lang, true)?;
        println!("{} files in {}", paths.len(), dir.display());
    }
    if v.refused() { Err(format!("no saving is claimed: {}", v.refusals.join("; "))) } else { Ok(()) }
}

fn periods(a: &SavingsArgs, zone: &str) -> Result<(Period, Period), String> {
    let get = |name: &str, text: &Option<String>| {
        let text = text.as_ref().ok_or_else(|| format!("--{name}: give A..B"))?;
        Period::parse(text, zone).map_err(|e| format!("--{name}: {e}"))
    };
    let (b, r) = (get("baseline-period", &a.baseline_period)?, get("reporting-period", &a.reporting_period)?);
    if b.grid.from < r.grid.to && r.grid.from < b.grid.to {
        return Err("the two periods overlap; a baseline has nothing of what it is compared with".into());
    }
    Ok((b, r))
}

fn from_store(a: &SavingsArgs) -> Result<Evidence, String> {
    let overrides = Overrides { data_dir: a.data_dir.clone(), ..Overrides::default() };
    let config = Config::load(&a.config, &overrides).map_err(|e| e.to_string())?;
    let store = Embedded::open(&config.data_dir).map_err(|e| e.to_string())?;
    let id = a.site.as_deref().ok_or("give --site, or --file with a table")?;
    let site = *chosen(&config, &store, Some(id))?.first().ok_or("no such site")?;
    let (b, r) = periods(a, &site.file.site.time_zone)?;
    let mut meters = Vec::new();
    let mut rows = |p: Period| -> Result<(Period, Vec<Row>), String> {
        let file = ReportFile::load(&site.dir, &site.file).map_err(|e| e.to_string())?;
        let book = Book::gather(&store, &site.file, &site.dir, file, p.clone(), a.lang)?;
        let power = match a.boundary {
            Boundary::Cooling => book.sum(MeterRole::Cooling),
            Boundary::Site => e_dc(&book).0,
        };
        let (it, _) = crate::report::facts::e_it(&book, &[MeterRole::PduOut, MeterRole::UpsOut, MeterRole::ItIn]);
        meters = power.meters.iter().chain(&it.meters).cloned().collect();
        let air: Vec<f64> = book.dry_bulb_c.chunks_exact(4).map(|c| c.iter().sum::<f64>() / 4.0).collect();
        let (power, it) = (power.hours(), it.hours());
        let row = |i: usize| Row { at: p.grid.from + Span::hours(i as i64), power_kw: power[i], load_kw: it[i], weather_c: air[i] };
        let n = power.len().min(it.len()).min(air.len());
        let rows = (0..n).map(row).filter(|r| r.power_kw.is_finite()).collect();
        Ok((p, rows))
    };
    let (baseline, reporting) = (rows(b)?, rows(r)?);
    let (from, to) = (reporting.0.grid.from, reporting.0.grid.to);
    let records = store.records("ledger", id, from, to, 1_000_000).map_err(|e| e.to_string())?;
    let ledger = records.iter().filter_map(|r| serde_json::from_slice(&r.json).ok()).collect();
    Ok(Evidence { baseline, reporting, name: site.file.site.name.clone(), ledger, meters })
}

/// Hourly means of a table's rows; an hour counts where at least three quarters of its rows are there.
fn from_file(a: &SavingsArgs, path: &Path) -> Result<Evidence, String> {
    let (b, r) = periods(a, &a.time_zone)?;
    let t = table::Table::load(path).map_err(|e| e.to_string())?;
    let want = "verify-savings needs a time, a power (kW), a load (kW) and a weather column (°C)";
    let column = |name: &str| t.column(name, want).map_err(|e| e.to_string());
    let (time, columns) = (column(&a.time)?, [column(&a.power)?, column(&a.load)?, column(&a.weather)?]);
    let mut all: Vec<(Timestamp, [f64; 3])> = Vec::new();
    for i in 0..t.len() {
        let text = t.text(i, time);
        let at = instant(text, &b.zone).ok_or_else(|| t.cell(i, time, format!("{text:?} is no time")).to_string())?;
        all.push((at, columns.map(|c| t.text(i, c).parse().unwrap_or(f64::NAN))));
    }
    all.sort_by_key(|r| r.0);
    let mut steps: Vec<i64> = all.windows(2).map(|w| (w[1].0 - w[0].0).0).filter(|d| *d > 0).collect();
    steps.sort_unstable();
    let step = steps.get(steps.len() / 2).copied().unwrap_or(3_600_000);
    let full = (3_600_000 / step.clamp(1, 3_600_000)).max(1) as f64;
    let mut hours = BTreeMap::<Timestamp, ([f64; 3], f64)>::new();
    for (at, v) in all.iter().filter(|r| r.1.iter().all(|v| v.is_finite())) {
        let h = hours.entry(at.floor(Span::hours(1))).or_default();
        h.0.iter_mut().zip(v).for_each(|(a, b)| *a += b);
        h.1 += 1.0;
    }
    let rows = |p: &Period| -> Vec<Row> {
        let inside = hours.range(p.grid.from..p.grid.to).filter(|(_, h)| h.1 >= 0.75 * full);
        inside.map(|(at, (s, n))| Row { at: *at, power_kw: s[0] / n, load_kw: s[1] / n, weather_c: s[2] / n }).collect()
    };
    let (x, y) = (rows(&b), rows(&r));
    let name = path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let meters = [&a.power, &a.load, &a.weather].map(|c| format!("{name}:{c}")).to_vec();
    Ok(Evidence { baseline: (b, x), reporting: (r, y), name, ledger: vec![], meters })
}

fn print(v: &Verdict, e: &Evidence, adjustments: &[(String, f64, String)]) {
    let g = &v.gates;
    println!("{}: baseline {}, reporting {}", e.name, e.baseline.0.label, e.reporting.0.label);
    if let Some(f) = &v.fit {
        println!(
            "model {:?}, change point {:.1} °C, {} coefficients, {} hours of {} days, R² {:.3}, autocorrelation {:.2}",
            f.form,
            f.change_point_c,
            f.coefficients.len(),
            f.rows,
            f.days,
            f.r2,
            f.rho
        );
    }
    let gate = |name: &str, have: f64, most: f64| {
        println!("{name:<28}{:>8.2} %   at most {:.0} %   {}", 100.0 * have, 100.0 * most, if have <= most { "pass" } else { "FAIL" });
    };
    gate("CV-RMSE, hourly", g.cv_rmse, v.limits.cv_rmse_max);
    gate("CV-RMSE, days not seen", g.held_out_cv_rmse, v.limits.cv_rmse_max);
    gate("|NMBE|", g.nmbe.abs(), v.limits.nmbe_max);
    gate("|NMBE|, days not seen", g.held_out_nmbe.abs(), v.limits.nmbe_max);
    gate("outside of what was seen", g.outside_share, v.limits.outside_max);
    println!(
        "whole hours: {:.1} % of the baseline, {:.1} % of the reporting period",
        100.0 * g.baseline_coverage,
        100.0 * g.reporting_coverage
    );
    for (what, kwh, why) in adjustments {
        println!("non-routine: {what}, {kwh:+.1} kWh: {why}");
    }
    if v.saving_kwh.is_finite() {
        let pct = 100.0 / v.baseline_kwh;
        println!("adjusted baseline {:.0} kWh, metered {:.0} kWh over {} hours", v.baseline_kwh, v.metered_kwh, v.hours);
        let (s, h) = (v.saving_kwh, v.half_width_kwh);
        let verdict = match () {
            () if v.refused() => "not claimed",
            () if s > h => "a saving",
            () if s < -h => "more energy, not less",
            () => "not distinguishable from zero",
        };
        println!("saving {s:.0} ± {h:.0} kWh (95 %), {:.2} ± {:.2} %: {verdict}", s * pct, h * pct);
    }
    if !e.ledger.is_empty() {
        let r = e.reconciliation();
        println!(
            "ledger: {} recommendations, {} applied and scored over {:.1} h: predicted {:.1} kWh, realised by the plant's model {:.1} kWh, error {:+.1} kWh{}, {} of {} within their own ±; forgone {:.1} kWh",
            r.entries,
            r.scored,
            r.scored_h,
            r.predicted_kwh,
            r.realised_kwh,
            r.error_kwh(),
            r.error_share().map_or_else(String::new, |s| format!(" ({:+.1} %)", 100.0 * s)),
            r.within,
            r.scored,
            r.forgone_kwh
        );
    }
}

fn document(a: &SavingsArgs, v: &Verdict, e: &Evidence, adjustments: &[(String, f64, String)]) -> Document {
    let lang = a.lang;
    let p = &e.reporting.0;
    let boundary = lang.t(match a.boundary {
        Boundary::Cooling => "b_option_b",
        Boundary::Site => "b_option_c",
    });
    let figure = |key: &str, name: &str, unit: &str, value: f64, half: Option<f64>| {
        let there = value.is_finite() && !(v.refused() && key.starts_with("SAVING"));
        Figure {
            key: key.into(),
            section: "savings".into(),
            scope: e.name.clone(),
            name: lang.t(name),
            value: there.then_some(value),
            text: None,
            unit: unit.into(),
            status: if there { Status::Derived } else { Status::Missing },
            boundary: boundary.clone(),
            meters: e.meters.clone(),
            from: p.local(p.grid.from),
            to: p.local(p.grid.to),
            coverage: Some(v.gates.reporting_coverage.min(1.0)),
            estimated_share: Some(0.0),
            missing_share: None,
            uncertainty_95: half.filter(|h| there && h.is_finite()),
            citation: CITE.into(),
            note: if there { String::new() } else { v.refusals.join("; ") },
        }
    };
    let pct = 100.0 / v.baseline_kwh;
    let g = &v.gates;
    let figures = vec![
        figure("SAVING", "s_saving", "kWh", v.saving_kwh, Some(v.half_width_kwh)),
        figure("SAVING-SHARE", "s_share", "%", v.saving_kwh * pct, Some(v.half_width_kwh * pct)),
        figure("BASELINE", "s_baseline", "kWh", v.baseline_kwh, Some(v.half_width_kwh)),
        figure("METERED", "s_metered", "kWh", v.metered_kwh, None),
        figure("CV-RMSE", "s_cv", "%", 100.0 * g.cv_rmse, None),
        figure("CV-RMSE-HELD-OUT", "s_cv_unseen", "%", 100.0 * g.held_out_cv_rmse, None),
        figure("NMBE", "s_nmbe", "%", 100.0 * g.nmbe, None),
        figure("NMBE-HELD-OUT", "s_nmbe_unseen", "%", 100.0 * g.held_out_nmbe, None),
    ];
    let mut tables = Vec::new();
    let text = |t: &str| t.to_owned();
    if !adjustments.is_empty() {
        let rows = adjustments.iter().map(|(w, k, why)| vec![w.as_str().into(), (*k).into(), why.as_str().into()]).collect();
        tables.push(Table {
            id: text("non_routine"),
            title: lang.t("s_non_routine"),
            columns: vec![lang.t("what"), text("kWh"), lang.t("note")],
            rows,
        });
    }
    if !e.ledger.is_empty() {
        let r = e.reconciliation();
        let verified = if v.refused() { f64::NAN } else { v.saving_kwh };
        let row = |key: &str, value: f64| vec![Cell::from(lang.t(key)), value.into()];
        let rows = vec![
            row("l_entries", r.entries as f64),
            row("l_closed", r.scored as f64),
            row("l_hours", r.scored_h),
            row("l_predicted", r.predicted_kwh),
            row("l_realised", r.realised_kwh),
            row("l_error", r.error_kwh()),
            row("l_error_pct", 100.0 * r.error_share().unwrap_or(f64::NAN)),
            row("l_within", r.within as f64),
            row("l_forgone", r.forgone_kwh),
            row("l_verified", verified),
            row("l_gap", verified - r.realised_kwh),
        ];
        tables.push(Table { id: text("ledger"), title: lang.t("l_title"), columns: vec![lang.t("what"), lang.t("value")], rows });
    }
    let mut charts = Vec::new();
    if !v.refused() && !v.months.is_empty() {
        let categories = v.months.iter().map(|m| m.name.clone()).collect();
        let series = vec![(
            lang.t("c_savings"),
            v.months.iter().map(|m| m.saving_kwh).collect(),
            v.months.iter().map(|m| m.half_width_kwh).collect(),
        )];
        charts.push(Chart {
            id: text("savings"),
            title: lang.t("c_savings"),
            x: lang.t("x_month"),
            y: text("kWh"),
            kind: ChartKind::Bars { categories, series },
        });
    }
    Document {
        format: 1,
        pack: text("verify-savings"),
        pack_version: text("2026-01"),
        citation: CITE.into(),
        lang: lang.code().into(),
        title: lang.say(if v.refused() { "s_refused" } else { "s_claimed" }, &[&e.name]),
        about: format!("{} {}", lang.say("s_about", &[&e.baseline.0.label, &p.label]), v.refusals.join("; ")),
        version: 1,
        made: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
        period: lang.say("s_against", &[&p.label, &e.baseline.0.label]),
        from: p.local(p.grid.from),
        to: p.local(p.grid.to),
        sites: vec![e.name.clone()],
        group: false,
        labels: vec![],
        figures,
        tables,
        charts,
        notes: v.refusals.clone(),
        changes: vec![],
    }
}
