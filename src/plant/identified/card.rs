//! A model on disk: `models/<name>/<version>/{model.json, card.toml, score.json}`.
//!
//! Words: the *card* says in plain words what the model is, what it was trained on and where it must not be used; the
//! *score* holds its figures. Invariants: reading refuses a model of another plant and a file that has been changed by
//! hand into something inconsistent; the same model writes the same bytes.

use super::dataset::{Binding, Dataset};
use super::feature::Layout;
use super::fitting::IdentifyError;
use super::model::{IdentifiedModel, ItModel, LimitModel, MeterModel};
use crate::plant::predict::Fit;
use crate::site::SiteFile;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Largest model file that is read.
const FILE_MAX: u64 = 8 << 20;

/// A range of one variable in training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trained {
    pub variable: String,
    pub lo: f64,
    pub hi: f64,
}

/// What the model is, in words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    pub name: String,
    pub what: String,
    pub site: String,
    pub trained_on: String,
    pub data_digest: String,
    pub seed: u64,
    pub rows: usize,
    pub step_s: f64,
    pub features: String,
    pub figures: String,
    pub limits_of_use: String,
    #[serde(default)]
    pub leak: Vec<String>,
    #[serde(default, rename = "trained")]
    pub trained: Vec<Trained>,
}

fn rounded(v: f64) -> f64 {
    (v * 1000.0).round() / 1000.0
}

impl Card {
    #[allow(clippy::too_many_arguments, reason = "a card gathers everything that is known of a fit")]
    pub(super) fn of(
        name: &str,
        seed: u64,
        data: &Dataset,
        layout: &Layout,
        ranges: &[(f64, f64)],
        fit: &Fit,
        meters: &[MeterModel],
        limits: &[LimitModel],
        it: &ItModel,
    ) -> Card {
        let b = &data.binding;
        let names = layout.names(b);
        let leak = it.leaks.iter().map(|l| {
            let name = |i: u16| names.get(usize::from(i)).map_or("?", String::as_str);
            let mut form: Vec<String> = l.feature.weights.iter().map(|&(i, w)| format!("{w:+} {}", name(i))).collect();
            if l.feature.hinge {
                form = vec![format!("max(0, {})", form.join(" "))];
            }
            let times = l.feature.times.map_or(String::new(), |t| format!(" x {}", name(t)));
            let power = if l.feature.power == 1 { String::new() } else { format!("^{}", l.feature.power) };
            format!("{:.4} % of IT power per ({}){power}{times}, standard error {:.4}", 100.0 * l.share, form.join(" "), 100.0 * l.error)
        });
        let lags: Vec<String> = b.limits.iter().zip(limits).map(|(n, l)| format!("{n}: sigma {:.3}, lag {} s", l.sigma, l.lag_s)).collect();
        let sigmas: Vec<String> = meters.iter().map(|m| format!("{}: sigma {:.2} kW", b.meters[m.meter], m.sigma_kw)).collect();
        Card {
            name: name.to_owned(),
            what: "Power of each meter and value of each limited role, from setpoints in force, loads and weather; learnt from telemetry alone."
                .into(),
            site: b.site.clone(),
            trained_on: data.about.clone(),
            data_digest: data.digest(),
            seed,
            rows: fit.rows,
            step_s: data.step.as_secs_f64(),
            features: "Loads, flows to the third power, lifts over dry and wet bulb, approaches, and hinges for the knees; chosen by a \
                       multi-task elastic net, weighed by ridge, strengths by blocked cross-validation."
                .into(),
            figures: format!("{}; {}", sigmas.join(", "), lags.join(", ")),
            limits_of_use: "Valid inside the trained ranges below. Outside them sigma grows with the distance, and the variables are held 15 % \
                            of the range beyond its ends. Steps of 1 to 15 min; faster effects and the starting and stopping of compressors \
                            are averages. It describes the plant that made its data and no other."
                .into(),
            leak: leak.collect(),
            trained: names
                .iter()
                .cloned()
                .zip(ranges)
                .map(|(variable, &(lo, hi))| Trained { variable, lo: rounded(lo), hi: rounded(hi) })
                .collect(),
        }
    }
}

/// Figures of a model, for machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Score {
    cooling_cv_rmse_pct: f64,
    cooling_nmbe_pct: f64,
    power_sigma_kw: f64,
    rows: usize,
    usable: bool,
}

/// Writes a model to `dir` (`models/<name>/<version>`), making the folder.
///
/// # Errors
/// The folder or a file cannot be written; the error names it.
pub fn save(model: &IdentifiedModel, dir: &Path) -> Result<(), IdentifyError> {
    let file = |path: &Path, why: &dyn std::fmt::Display| IdentifyError::File { path: path.into(), why: why.to_string() };
    std::fs::create_dir_all(dir).map_err(|e| file(dir, &e))?;
    let score = Score {
        cooling_cv_rmse_pct: model.fit.cv_rmse_pct,
        cooling_nmbe_pct: model.fit.nmbe_pct,
        power_sigma_kw: model.sigma_kw.hypot(model.it.sigma_kw),
        rows: model.fit.rows,
        usable: crate::plant::predict::Predict::fit(model).usable(),
    };
    let json = serde_json::to_string(model).map_err(|e| file(dir, &e))?;
    let score = serde_json::to_string_pretty(&score).map_err(|e| file(dir, &e))?;
    let card = toml::to_string_pretty(&model.card).map_err(|e| file(dir, &e))?;
    for (name, text) in [("model.json", json), ("card.toml", card), ("score.json", score)] {
        let path = dir.join(name);
        std::fs::write(&path, text + "\n").map_err(|e| file(&path, &e))?;
    }
    Ok(())
}

/// Reads a model from `dir` for a site.
///
/// # Errors
/// A file is missing, too large or not a model; or the model is of another plant (the first name that differs is told).
pub fn load(dir: &Path, site: &SiteFile) -> Result<IdentifiedModel, IdentifyError> {
    let read = |name: &str| {
        let path = dir.join(name);
        let bad = |why: String| IdentifyError::File { path: path.clone(), why };
        let size = std::fs::metadata(&path).map_err(|e| bad(format!("{e}; `tramuntana identify` makes it")))?.len();
        if size > FILE_MAX {
            return Err(bad(format!("{size} bytes, more than the {FILE_MAX} that a model may have")));
        }
        let text = std::fs::read_to_string(&path).map_err(|e| bad(e.to_string()))?;
        Ok((path.clone(), text))
    };
    let (path, text) = read("model.json")?;
    let mut model: IdentifiedModel = serde_json::from_str(&text).map_err(|e| IdentifyError::File {
        path: path.clone(),
        why: format!("line {}, column {}: {e}; identify it anew", e.line(), e.column()),
    })?;
    let want = Binding { kinds: model.binding.kinds.clone(), ..Binding::of(site) };
    if let Some(what) = model.binding.differs(&want) {
        return Err(IdentifyError::Mismatch { path, what });
    }
    if let Some(why) = inconsistent(&model) {
        return Err(IdentifyError::File { path, why: format!("{why}; it was changed or cut off: identify it anew") });
    }
    let (path, text) = read("card.toml")?;
    model.card = toml::from_str(&text).map_err(|e| IdentifyError::File { path, why: e.message().to_owned() })?;
    Ok(model)
}

/// What a hand-made or truncated file could break: every index and length that evaluation relies on.
fn inconsistent(m: &IdentifiedModel) -> Option<String> {
    let (b, variables, features) = (&m.binding, m.layout.len(), m.features.len());
    let inside = |f: &super::feature::Feature| {
        f.weights.iter().all(|w| usize::from(w.0) < variables) && f.times.is_none_or(|t| usize::from(t) < variables)
    };
    let all = |ok: bool, why: &str| if ok { None } else { Some(why.to_owned()) };
    let finite = |l: &super::model::Linear| l.intercept.is_finite() && l.weights.iter().all(|w| w.is_finite());
    all(m.layout.setpoint_scale.len() == b.actuators.len() && m.layout.load_scale.len() == b.loads(), "scales and names differ in number")
        .or_else(|| all(b.kinds.len() == b.actuators.len() && b.boundaries.len() == b.meters.len(), "names differ in number"))
        .or_else(|| all(m.layout.flows.iter().all(|&f| f < b.actuators.len()), "a flow names no actuator"))
        .or_else(|| all(m.ranges.len() == variables, "ranges and variables differ in number"))
        .or_else(|| all(m.features.iter().all(&inside), "a feature names no variable"))
        .or_else(|| {
            let linear = m.meters.iter().map(|x| &x.linear).chain(m.limits.iter().map(|x| &x.linear));
            all(linear.into_iter().all(|l| l.weights.len() == features && finite(l)), "weights and features differ in number")
        })
        .or_else(|| all(m.limits.iter().all(|l| l.seen.0 <= l.seen.1), "the range of a limit runs backwards"))
        .or_else(|| {
            all(m.limits.len() == b.limits.len() && m.meters.iter().all(|x| x.meter < b.meters.len()), "limits or meters differ in number")
        })
        .or_else(|| {
            all(m.it.per_load.len() == b.loads() && m.it.leaks.iter().all(|l| inside(&l.feature)), "the IT model names no loop or variable")
        })
}
