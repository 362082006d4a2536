//! The charts of a report, as data: what is drawn is also what `report.json` holds.

use super::account::Quantity;
use super::book::Book;
use super::facts::{Facts, e_dc};
use super::figure::{Chart, ChartKind};
use super::gpu::{SiteShares, balance};
use super::lang::Lang;
use super::register::MeterRole;

/// Points of a duration curve.
const CURVE: usize = 200;

fn chart(lang: Lang, id: &str, title: &str, x: String, y: String, kind: ChartKind) -> Chart {
    Chart { id: id.into(), title: lang.t(title), x, y, kind }
}

/// Load duration, PUE by temperature, balance, water, carbon: those that there are data for.
pub fn general(facts: &Facts) -> Vec<Chart> {
    let lang = facts.lang;
    let mut out = Vec::new();
    let curves: Vec<_> = facts.books.iter().flat_map(|b| duration(b, lang)).collect();
    if !curves.is_empty() {
        out.push(chart(lang, "load_duration", "c_duration", lang.t("x_share"), "kW".into(), ChartKind::Lines(curves)));
    }
    let pue = facts.pue_by_temperature();
    if pue.len() > 1 {
        out.push(chart(
            lang,
            "pue_by_temperature",
            "c_pue",
            lang.t("x_outdoor"),
            "PUE".into(),
            ChartKind::Lines(vec![("PUE".into(), pue)]),
        ));
    }
    if let Some(c) = energy_balance(&facts.books, lang) {
        out.push(c);
    }
    if let Some(c) = water(&facts.books, lang) {
        out.push(c);
    }
    let carbon: Vec<_> = [("carbon_location", "location"), ("carbon_market", "market")]
        .iter()
        .filter_map(|(series, word)| Some((lang.t(word), facts.carbon_by_hour(series)?)))
        .collect();
    if !carbon.is_empty() {
        out.push(chart(lang, "carbon_by_hour", "c_carbon", lang.t("x_hour"), "kg CO2".into(), ChartKind::Lines(carbon)));
    }
    out
}

/// Sorted mean powers of quarter-hours, of E_DC and of IT.
fn duration(b: &Book, lang: Lang) -> Vec<(String, Vec<(f64, f64)>)> {
    let (dc, _) = e_dc(b);
    let (it, _) = super::facts::e_it(b, &[MeterRole::PduOut, MeterRole::UpsOut, MeterRole::ItIn]);
    let curve = |q: &Quantity| -> Vec<(f64, f64)> {
        let mut kw: Vec<f64> = q.rates().collect();
        kw.sort_by(|a, b| b.total_cmp(a));
        let n = kw.len().max(2) - 1;
        (0..=CURVE).map(|k| (100.0 * k as f64 / CURVE as f64, kw.get(k * n / CURVE).copied().unwrap_or(f64::NAN))).collect()
    };
    [(dc, "total"), (it, "it")]
        .into_iter()
        .filter(|(q, _)| !q.is_none())
        .map(|(q, w)| (format!("{}, {}", b.name, lang.t(w)), curve(&q)))
        .collect()
}

fn energy_balance(books: &[&Book], lang: Lang) -> Option<Chart> {
    let parts: Vec<Vec<(String, f64)>> = books.iter().map(|b| balance(b, lang)).collect();
    let categories: Vec<String> = parts.first()?.iter().map(|p| p.0.clone()).collect();
    let series: Vec<_> =
        books.iter().zip(&parts).map(|(b, p)| (b.name.clone(), p.iter().map(|v| v.1 / 1e3).collect::<Vec<f64>>(), vec![])).collect();
    if series.iter().all(|s| s.1.iter().all(|v| *v == 0.0)) {
        return None;
    }
    Some(chart(lang, "energy_balance", "c_balance", String::new(), "MWh".into(), ChartKind::Bars { categories, series }))
}

fn water(books: &[&Book], lang: Lang) -> Option<Chart> {
    let mut series = Vec::new();
    for (role, word) in [(MeterRole::WaterIn, "total"), (MeterRole::WaterPotable, "potable")] {
        let mut months = vec![0.0; 12];
        let mut there = false;
        for b in books {
            let q = b.sum(role);
            there |= !q.is_none();
            for (v, (_, month)) in q.bins.iter().zip(&b.clock) {
                months[usize::from(*month) - 1] += v;
            }
        }
        if there {
            series.push((lang.t(word), months, vec![]));
        }
    }
    let categories = (1..=12).map(|m| m.to_string()).collect();
    (!series.is_empty()).then(|| chart(lang, "water", "c_water", lang.t("x_month"), "m³".into(), ChartKind::Bars { categories, series }))
}

/// kWh per GPU-hour by partition, and the balance.
pub fn gpu(sites: &[SiteShares], books: &[&Book], lang: Lang) -> Vec<Chart> {
    let parts: Vec<_> = sites.iter().flat_map(|s| &s.partitions).collect();
    let categories: Vec<String> = parts.iter().map(|p| p.name.clone()).collect();
    let per = |hours: &dyn Fn(&super::gpu::Shares) -> f64| -> Vec<f64> {
        let value = |p: &&super::gpu::Shares| if hours(p) > 0.0 { p.total() / hours(p) } else { 0.0 };
        parts.iter().map(value).collect()
    };
    let series: Vec<_> = [
        (lang.t("allocated"), per(&|p| p.allocated.iter().sum())),
        (lang.t("active"), per(&|p| p.active.iter().sum())),
        (lang.t("useful"), per(&|p| p.useful_h.unwrap_or(0.0))),
    ]
    .into_iter()
    .filter(|(_, v)| v.iter().any(|v| *v > 0.0))
    .map(|(n, v)| (n, v, vec![]))
    .collect();
    let mut out = Vec::new();
    if !series.is_empty() {
        out.push(chart(lang, "gpu_hour", "c_gpu", String::new(), "kWh/GPU-h".into(), ChartKind::Bars { categories, series }));
    }
    out.extend(energy_balance(books, lang));
    out
}
