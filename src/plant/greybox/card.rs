//! A learnt model on disk: `<data-dir>/models/<site>/<number>/{model.json, card.toml}`.
//!
//! Invariants: a folder is written whole before it gets its name; reading refuses a model of another plant, or one that
//! was changed by hand into something inconsistent; numbers only grow.

use super::basis::{Axis, Shape};
use super::model::{FORMAT, GreyBox, Part};
use super::motion;
use super::report::report;
use crate::plant::identified::Binding;
use crate::site::SiteFile;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Largest model file that is read.
const FILE_MAX: u64 = 4 << 20;
/// Models kept per site.
const KEPT: usize = 50;

/// Why a learnt model could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum Trial {
    #[error("{path}: {why}", path = path.display())]
    File { path: PathBuf, why: String },
    #[error("{path}: made for another plant: {what}; remove the folder, or learn anew with `tramuntana identify`", path = path.display())]
    Mismatch { path: PathBuf, what: String },
    #[error("{path}: written in format {found}, this program reads format {FORMAT}; run the version that wrote it, or remove the folder: the plant is learnt anew", path = path.display())]
    Format { path: PathBuf, found: u32 },
}

/// What is read of a file before anything else: what is in one of another format need not be what this program expects.
#[derive(Deserialize)]
struct Mark {
    format: Option<u32>,
}

/// The card: what the model is, in words and figures.
#[derive(Serialize)]
struct Card<'a> {
    name: &'a str,
    site: &'a str,
    what: &'static str,
    from: String,
    to: String,
    rows: usize,
    step_s: f64,
    data_digest: &'a str,
    cooling_cv_rmse_pct: f64,
    cooling_nmbe_pct: f64,
    usable: bool,
    leak_pct_per_k: f64,
    leak_standard_error: f64,
    findings: Vec<String>,
    limits_of_use: &'static str,
}

fn numbers(dir: &Path) -> Vec<u32> {
    let mut n: Vec<u32> = (std::fs::read_dir(dir).into_iter().flatten().flatten())
        .filter_map(|e| e.file_name().to_str().and_then(|s| s.parse().ok()))
        .collect();
    n.sort_unstable();
    n
}

/// Writes a model under `<root>/<site>/` with the next free number, which becomes part of its name; the oldest beyond
/// the last 50 go. Returns its folder.
///
/// # Errors
/// A folder or file cannot be written.
pub fn save(model: &mut GreyBox, site: &SiteFile, root: &Path) -> Result<PathBuf, Trial> {
    let dir = root.join(&model.binding.site);
    let fail = |path: &Path, e: &dyn std::fmt::Display| Trial::File { path: path.into(), why: e.to_string() };
    std::fs::create_dir_all(&dir).map_err(|e| fail(&dir, &e))?;
    let have = numbers(&dir);
    let number = have.last().copied().unwrap_or(0) + 1;
    model.name = format!("{}-learnt/{number}", model.binding.site);
    let card = Card {
        name: &model.name,
        site: &model.binding.site,
        what: "Power of each meter, value of each limited role and leakage of the IT, from setpoints in force, loads and weather; physically signed; learnt from this plant's telemetry.",
        from: model.from.to_string(),
        to: model.to.to_string(),
        rows: model.fit.rows,
        step_s: model.step.as_secs_f64(),
        data_digest: &model.digest,
        cooling_cv_rmse_pct: model.fit.cv_rmse_pct,
        cooling_nmbe_pct: model.fit.nmbe_pct,
        usable: model.fit.usable(),
        leak_pct_per_k: 100.0 * model.it.leak.per_k,
        leak_standard_error: 100.0 * model.it.leak.error,
        findings: report(model, site).findings,
        limits_of_use: "Inside the ranges that its data cover. Beyond them power is held flat where it would fall and goes on rising where it would rise.",
    };
    let json = serde_json::to_string(&*model).map_err(|e| fail(&dir, &e))?;
    let toml = toml::to_string_pretty(&card).map_err(|e| fail(&dir, &e))?;
    let making = dir.join(format!(".{number}.new"));
    std::fs::create_dir_all(&making).map_err(|e| fail(&making, &e))?;
    for (file, text) in [("model.json", json), ("card.toml", toml)] {
        let path = making.join(file);
        std::fs::write(&path, text + "\n").map_err(|e| fail(&path, &e))?;
    }
    let done = dir.join(number.to_string());
    std::fs::rename(&making, &done).map_err(|e| fail(&done, &e))?;
    for old in have.iter().rev().skip(KEPT - 1) {
        let _ = std::fs::remove_dir_all(dir.join(old.to_string()));
    }
    Ok(done)
}

/// The newest model of a site under `root`; `None` where none was learnt yet.
///
/// # Errors
/// See [`load`].
pub fn newest(root: &Path, site: &SiteFile) -> Result<Option<GreyBox>, Trial> {
    let dir = root.join(&site.site.id);
    numbers(&dir).last().map(|n| load(&dir.join(n.to_string()), site)).transpose()
}

/// Reads a model for a site.
///
/// # Errors
/// A file is missing, too large or not a model; the model is of another plant.
pub fn load(dir: &Path, site: &SiteFile) -> Result<GreyBox, Trial> {
    let path = dir.join("model.json");
    let bad = |why: String| Trial::File { path: path.clone(), why };
    let size = std::fs::metadata(&path).map_err(|e| bad(e.to_string()))?.len();
    if size > FILE_MAX {
        return Err(bad(format!("{size} bytes, more than the {FILE_MAX} that a model may have")));
    }
    let text = std::fs::read_to_string(&path).map_err(|e| bad(e.to_string()))?;
    let parsed = |e: serde_json::Error| bad(format!("line {}, column {}: {e}", e.line(), e.column()));
    let mark: Mark = serde_json::from_str(&text).map_err(parsed)?;
    if let Some(found) = mark.format.filter(|f| *f != FORMAT) {
        return Err(Trial::Format { path, found });
    }
    let model: GreyBox = serde_json::from_str(&text).map_err(parsed)?;
    let want = Binding { kinds: model.binding.kinds.clone(), ..Binding::of(site) };
    if let Some(what) = model.binding.differs(&want) {
        return Err(Trial::Mismatch { path, what });
    }
    if inconsistent(&model) {
        return Err(bad("its vectors do not fit one another; it was changed or cut off".into()));
    }
    Ok(model)
}

/// Every index that evaluation relies on.
fn inconsistent(m: &GreyBox) -> bool {
    let (b, v, n) = (&m.binding, &m.variables, m.variables.len());
    let ok = |i: u16| usize::from(i) < n;
    let axis = |a: &Axis| match *a {
        Axis::Level { a } | Axis::Less { v: a } => ok(a),
        Axis::Lift { a, ambient } => ok(a) && ok(ambient),
        Axis::Ease { a, ambient, load } => ok(a) && ok(ambient) && ok(load),
        Axis::Gap { a, o, load, flow, .. } => ok(a) && ok(o) && ok(load) && flow.is_none_or(ok),
    };
    let shape = |s: &Shape| match s {
        Shape::Ramp { axis: a, times, .. } | Shape::Hinge { axis: a, times, .. } => axis(a) && times.is_none_or(ok),
        Shape::Power { v, times, .. } => ok(*v) && times.is_none_or(ok),
        Shape::Cube { a, ambient, load } => ok(*a) && ok(*ambient) && ok(*load),
    };
    let part = |p: &Part| match p {
        Part::Variable(v) => ok(*v),
        Part::LoadPerFlow { load, flow, .. } => ok(*load) && ok(*flow),
    };
    let fine = v.scale.len() == b.actuators.len()
        && v.is_temp.len() == v.scale.len()
        && v.machines == m.machines.len()
        && m.machines.iter().all(|x| x.meter < b.meters.len() && x.fits(v))
        && v.acts_on.len() == v.scale.len()
        && v.linked.iter().all(|&(a, o)| a < v.scale.len() && o < v.scale.len())
        && v.load_of_loop.len() == b.loops.len()
        && v.load_of_loop.iter().all(|&l| l < v.loads.len())
        && v.loads.iter().all(|(i, _)| *i < b.loads())
        && m.ranges.len() == n
        && m.motion_most.len() == motion::len(v)
        && m.motion_most.iter().all(|most| *most >= 0.0)
        && m.meters.iter().all(|x| x.motion.len() == motion::len(v))
        && m.limits.len() == b.limits.len()
        && m.it.per_load.len() == v.loads.len()
        && m.it.coolant.iter().all(|&a| a < v.scale.len())
        && m.it.chips.is_none_or(|c| c < m.limits.len())
        && m.meters.iter().all(|x| {
            x.meter < b.meters.len()
                && x.terms.iter().all(|t| t.weight.is_finite() && t.shape.as_ref().is_none_or(shape) && t.gate.is_none_or(ok))
        })
        && m.limits.iter().all(|l| l.terms.iter().all(|(w, p)| w.is_finite() && part(p)));
    !fine
}
