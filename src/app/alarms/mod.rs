//! Alarms: watched once a second, raised, cleared, acknowledged, filed and told.
//!
//! Words: see [`book`] for conditions and alarms, [`conditions`] for what is watched, [`notify`] for who is told.
//! Invariants: whatever cannot be told (a webhook that is away, a full queue) is counted and shown and never holds the
//! watch up; every raising, clearing and acknowledgement is a record of the store (`alarm`).

pub(super) mod book;
mod conditions;
mod notify;

pub use notify::NotifySettings;

use super::backend::ServiceBackend;
use super::reload::InForce;
use super::site_task::{SiteShared, host_now};
use crate::api::model::{Alarm, AlarmEvent};
use crate::event::ALARMS;
use crate::store::free_bytes;
use book::Change;
use notify::Notifier;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often conditions are looked at, on the host's clock.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Watches all sites until `stop`.
pub async fn run(backend: Arc<ServiceBackend>, sites: Vec<Arc<SiteShared>>, mut config: InForce, mut stop: watch::Receiver<bool>) {
    let data_dir = config.borrow().data_dir.clone();
    let mut notifier = Notifier::start(&config.borrow_and_update().notify);
    let mut pace = tokio::time::interval(LOOK_EVERY);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = pace.tick() => {}
            Ok(()) = config.changed() => notifier = Notifier::start(&config.borrow_and_update().notify),
            _ = stop.changed() => return,
        }
        let free = free_bytes(&data_dir);
        for site in &sites {
            for (change, alarm) in look(&backend, site, free) {
                let state = if change == Change::Raised { "raised" } else { "cleared" };
                tracing::info!(site = site.id(), "alarm {} {state}: {}", alarm.id, alarm.text);
                site.tally.add(ALARMS, &format!("{}/{state}", site.id()), 1);
                let event = file(site, state, alarm);
                notifier.tell(site, &event);
                site.changed();
            }
        }
    }
}

fn look(backend: &ServiceBackend, site: &SiteShared, free: Option<u64>) -> Vec<(Change, Alarm)> {
    let status = backend.status(site);
    let mut book = site.book();
    let core = site.core();
    let now = core.ingest.clock().unwrap_or_else(host_now);
    let found = conditions::conditions(site, &core, &status, free, &|id| book.is_up(id));
    drop(core);
    let before = book.left_out();
    let changes = book.look(now, found);
    // Said where it changes, not once a second.
    if book.left_out() != before && book.left_out() > 0 {
        tracing::warn!(site = site.id(), "{} alarms more than are kept: clear some of those that are up", book.left_out());
    }
    changes
}

/// Files what happened to an alarm.
pub(super) fn file(site: &SiteShared, state: &str, alarm: Alarm) -> AlarmEvent {
    let now = host_now();
    let event = AlarmEvent { site: site.id().to_owned(), host_at: now.0, state: state.to_owned(), alarm };
    let json = serde_json::to_vec(&event).unwrap_or_default();
    if let Err(e) = site.store.put_record("alarm", site.id(), now, &format!("{}-{state}", event.alarm.id), &json) {
        tracing::error!(site = site.id(), "alarm not filed: {e}");
    }
    event
}
