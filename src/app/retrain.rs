//! Champion and challenger: `serve` trains the load models anew on schedule and keeps what is better.
//!
//! ```text
//! due ── store ─> challenger ── last window ─┬─ better ──> promoted; the old champion stands by
//!                                            └─ not ─────> kept
//! in force ── errors drift from the score ──────────────> the one that stood by is in force again
//! ```
//! New versions go to `<data_dir>/models/`, never into the shipped folder. Each verdict, with both scores, is a record of
//! the store (kind `forecast`), lies beside the promoted model as `standing.json`, and is shown as a notice. A version that was
//! rolled back keeps its folder with `rolled_back.json` in it, and no later start takes it.

use super::config::ConfiguredSite;
use super::reload::InForce;
use super::site_task::SiteShared;
use super::train::{next_version, site_series, train_site, versions};
use crate::forecast::{DRIFT, ForecastError, Forecaster, Standing, Verdict, judge, relative};
use crate::store::Store;
use crate::time::{Span, Timestamp};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often the schedule is looked at, on the host's clock.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// Least data that a challenger is trained on.
const DATA_MIN: Span = Span::hours(72);
/// Share of the data that is the last window, as in training.
const WINDOW: f64 = 0.15;
/// Outcomes in service before drift is judged: a few bad hours are not drift.
const DRIFT_AFTER: Span = Span::hours(24);
const SEED: u64 = 9001;
/// Kind of the store's records of verdicts.
const KIND: &str = "forecast";

/// Beside a version that is not to be taken again.
const ROLLED_BACK: &str = "rolled_back.json";

/// What a site's schedule remembers.
struct Plan {
    configured: ConfiguredSite,
    shared: Arc<SiteShared>,
    last: Option<Timestamp>,
    stand_by: Option<(Forecaster, Timestamp)>,
}

/// The folder that trained versions go to.
pub fn folder(data_dir: &Path) -> PathBuf {
    data_dir.join("models")
}

/// The newest version that a service of this data directory has promoted and not rolled back.
///
/// # Errors
/// It is there and cannot be read: of another format, of other loads, or damaged.
pub fn newest(data_dir: &Path, family: &str, targets: &[String]) -> Result<Option<Forecaster>, ForecastError> {
    let models = folder(data_dir);
    let stands = |version: &&u64| !models.join(family).join(version.to_string()).join(ROLLED_BACK).exists();
    let version = versions(&models, family).iter().rev().find(stands).copied();
    version.map(|v| Forecaster::load(&models, &format!("{family}/{v}"), Some(targets))).transpose()
}

/// When a site's load model was last judged: the schedule goes on from there after a restart.
fn last_judged(store: &dyn Store, site: &str) -> Option<Timestamp> {
    let all = store.records(KIND, site, Timestamp(0), Timestamp(i64::MAX), 1).ok()?;
    all.last().map(|r| r.at)
}

/// Runs until the service stops.
pub async fn run(in_force: InForce, sites: Vec<Arc<SiteShared>>, store: Arc<dyn Store>, mut stop: watch::Receiver<bool>) {
    let data_dir = in_force.borrow().data_dir.clone();
    let configured = in_force.borrow().sites.clone();
    let mut plans: Vec<Plan> = (configured.into_iter())
        .zip(sites)
        .filter(|(c, _)| c.file.control.load_model.is_some())
        .map(|(configured, shared)| Plan { configured, shared, last: None, stand_by: None })
        .collect();
    loop {
        tokio::select! {
            () = tokio::time::sleep(LOOK_EVERY) => {}
            _ = stop.changed() => return,
        }
        let settings = in_force.borrow().forecast.clone();
        if settings.retrain_hours == 0 {
            continue;
        }
        for plan in &mut plans {
            let Some(now) = plan.shared.core().ingest.clock() else { continue };
            roll_back(plan, &*store, &data_dir, now);
            let last = *plan.last.get_or_insert_with(|| last_judged(&*store, plan.shared.id()).unwrap_or(now).min(now));
            if now - last < Span::hours(i64::from(settings.retrain_hours)) {
                continue;
            }
            plan.last = Some(now);
            let (configured, store, dir, champion) =
                (plan.configured.clone(), Arc::clone(&store), data_dir.clone(), plan.shared.core().brain.forecaster.clone());
            let span = Span::hours(24 * i64::from(settings.train_days));
            let done = tokio::task::spawn_blocking(move || challenge(&configured, &*store, &dir, champion.as_ref(), now, span)).await;
            match done {
                Ok(Ok(Some((standing, promoted)))) => settle(plan, promoted, &standing, now),
                Ok(Ok(None)) => tracing::debug!(site = plan.shared.id(), "too little data for a new load model"),
                Ok(Err(why)) => tracing::warn!(site = plan.shared.id(), "load model not trained: {why}"),
                Err(e) => tracing::error!("training: {e}"),
            }
        }
    }
}

/// Trains a challenger and judges it; the new forecaster where it is promoted. Blocks.
pub fn challenge(
    site: &ConfiguredSite,
    store: &dyn Store,
    data_dir: &Path,
    champion: Option<&Forecaster>,
    now: Timestamp,
    span: Span,
) -> Result<Option<(Standing, Option<Forecaster>)>, String> {
    let Some(family) = &site.file.control.load_model else { return Ok(None) };
    let data = site_series(store, site, now, span)?;
    let rows = data.loads.first().map_or(0, |(_, s)| s.values.len());
    let step = data.loads.first().map_or(Span::ZERO, |(_, s)| s.step);
    if step.0.saturating_mul(rows as i64) < DATA_MIN.0 {
        return Ok(None);
    }
    let models = folder(data_dir);
    let version =
        next_version(&models, family).max(champion.and_then(|c| c.name().rsplit('/').next()?.parse().ok()).map_or(1, |v: u64| v + 1));
    let challenger = train_site(&format!("{family}/{version}"), site, &data, SEED)?;
    let from = (rows as f64 * (1.0 - WINDOW)) as usize;
    let challenger_score = relative(challenger.score()).unwrap_or(f64::NAN);
    let champion_score = champion.and_then(|c| Some((c.name(), relative(&c.walk(&data.loads, data.weather.as_ref(), from))?)));
    let standing = judge(champion_score, (challenger.name(), challenger_score));
    let json = serde_json::to_vec_pretty(&standing).map_err(|e| e.to_string())?;
    let id = standing.challenger.replace('/', "-");
    store.put_record(KIND, &site.file.site.id, now, &id, &json).map_err(|e| e.to_string())?;
    if standing.verdict == Verdict::Kept {
        return Ok(Some((standing, None)));
    }
    let about = format!("{} rows of {} up to {now} from the store (serve)", rows, site.file.site.id);
    let dir = challenger.save(&models, &about).map_err(|e| e.to_string())?;
    std::fs::write(dir.join("standing.json"), &json).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(Some((standing, Some(challenger))))
}

fn settle(plan: &mut Plan, promoted: Option<Forecaster>, standing: &Standing, now: Timestamp) {
    let score = |s: Option<f64>| s.map_or_else(|| "none".into(), |s| format!("{s:.3}"));
    let text = format!(
        "load model {}: {} ({} against {} of {}; error over that of no change, on the last window)",
        standing.challenger,
        if promoted.is_some() { "promoted" } else { "not promoted" },
        score(Some(standing.challenger_score)),
        score(standing.champion_score),
        standing.champion.as_deref().unwrap_or("no model")
    );
    tracing::info!(site = plan.shared.id(), "{text}");
    let mut core = plan.shared.core();
    core.brain.model_news = Some((now, text));
    if let Some(new) = promoted {
        let old = core.brain.forecaster.replace(new);
        plan.stand_by = old.map(|o| (o, now));
    }
}

/// Puts the former champion back in force where the new one's errors have drifted.
fn roll_back(plan: &mut Plan, store: &dyn Store, data_dir: &Path, now: Timestamp) {
    let Some((_, since)) = &plan.stand_by else { return };
    if now - *since < DRIFT_AFTER {
        return;
    }
    let mut core = plan.shared.core();
    let Some(drift) = core.brain.forecaster.as_ref().and_then(drifted) else { return };
    let Some((old, _)) = plan.stand_by.take() else { return };
    let Some(gone) = core.brain.forecaster.replace(old.clone()) else { return };
    match set_aside(store, data_dir, plan.shared.id(), gone.name(), old.name(), drift, now) {
        Ok(text) => {
            tracing::warn!(site = plan.shared.id(), "{text}");
            core.brain.model_news = Some((now, text));
        }
        Err(why) => tracing::error!(site = plan.shared.id(), "load model {} rolled back, but not on disk: {why}", gone.name()),
    }
}

/// Error in service over that of the score, where it is beyond what a model in force may have.
pub fn drifted(in_force: &Forecaster) -> Option<f64> {
    in_force.drift().filter(|d| *d >= DRIFT)
}

/// Files that version `gone` was rolled back to version `back`, and sees to it that no later start takes it. Says so in words.
pub fn set_aside(
    store: &dyn Store,
    data_dir: &Path,
    site: &str,
    gone: &str,
    back: &str,
    drift: f64,
    now: Timestamp,
) -> Result<String, String> {
    let json = serde_json::json!({ "rolled_back": gone, "in_force": back, "drift": drift, "at": now }).to_string();
    store.put_record(KIND, site, now, &format!("rollback-{}", gone.replace('/', "-")), json.as_bytes()).map_err(|e| e.to_string())?;
    let dir = folder(data_dir).join(gone);
    std::fs::write(dir.join(ROLLED_BACK), json).map_err(|e| format!("{}: {e}", dir.display()))?;
    Ok(format!("load model {gone}: errors {drift:.1} times those of its score; {back} is in force again"))
}
