//! Telling others of alarms: a message on the site's broker, a webhook.
//!
//! Invariants: at most [`WAITING_MAX`] tellings wait for the webhook, the newest are dropped and counted beyond; each is
//! tried [`TRIES`] times with a growing pause; an alarm that somebody has seen is told again only when it clears.

use crate::api::model::AlarmEvent;
use crate::app::site_task::SiteShared;
use crate::event::{NOTIFICATIONS, Tally};
use crate::ingest::publish::Outgoing;
use backon::{BlockingRetryable, ExponentialBuilder};
use serde::Deserialize;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::time::Duration;

const WAITING_MAX: usize = 256;
const TRIES: usize = 5;
const TIMEOUT: Duration = Duration::from_secs(10);

/// `[notify]` of the configuration.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NotifySettings {
    /// Publish each event on the site's own broker, under `<integration>/alarms/<site>/<alarm>`.
    pub mqtt: bool,
    /// Where each event is posted as JSON.
    pub webhook: Option<String>,
    /// Name of the environment variable with the bearer token that the webhook asks for.
    pub webhook_token_env: Option<String>,
}

impl NotifySettings {
    pub fn check(&self) -> Result<(), String> {
        if let Some(url) = &self.webhook
            && !(url.starts_with("http://") || url.starts_with("https://"))
        {
            return Err(format!("webhook = {url:?}: give an http:// or https:// address"));
        }
        if let Some(name) = &self.webhook_token_env
            && std::env::var(name).is_err()
        {
            return Err(format!("webhook_token_env = {name:?}: export that variable before the start"));
        }
        Ok(())
    }
}

struct Telling {
    json: Vec<u8>,
    tally: Arc<Tally>,
}

/// Sends events on their way.
pub struct Notifier {
    mqtt: bool,
    webhook: Option<SyncSender<Telling>>,
}

impl Notifier {
    /// Starts the webhook's thread, which ends with the notifier.
    pub fn start(settings: &NotifySettings) -> Notifier {
        let webhook = settings.webhook.clone().map(|url| {
            let (tx, rx) = sync_channel::<Telling>(WAITING_MAX);
            let bearer = settings.webhook_token_env.as_ref().and_then(|n| std::env::var(n).ok()).map(|t| format!("Bearer {t}"));
            std::thread::spawn(move || {
                let agent: ureq::Agent = ureq::Agent::config_builder().timeout_global(Some(TIMEOUT)).build().into();
                while let Ok(telling) = rx.recv() {
                    let post = || {
                        let mut request = agent.post(&url).header("content-type", "application/json");
                        if let Some(b) = &bearer {
                            request = request.header("authorization", b);
                        }
                        request.send(&telling.json[..]).map(|_| ())
                    };
                    let sent = post.retry(ExponentialBuilder::default().with_max_times(TRIES - 1)).call();
                    if let Err(e) = &sent {
                        tracing::warn!("webhook {url}: {e}; given up after {TRIES} tries");
                    }
                    telling.tally.add(NOTIFICATIONS, if sent.is_ok() { "webhook/sent" } else { "webhook/failed" }, 1);
                }
            });
            tx
        });
        Notifier { mqtt: settings.mqtt, webhook }
    }

    pub fn tell(&self, site: &SiteShared, event: &AlarmEvent) {
        let seen = event.alarm.acknowledged_by.is_some() && event.state == "raised";
        let Some(json) = serde_json::to_vec(event).ok().filter(|_| !seen) else { return };
        if self.mqtt {
            let topic = format!("{}/alarms/{}/{}", site.site.bus.integration, event.site, event.alarm.id);
            let told = site.publisher.send(Outgoing { topic, payload: json.clone() });
            site.tally.add(NOTIFICATIONS, if told.is_ok() { "mqtt/sent" } else { "mqtt/dropped" }, 1);
        }
        if let Some(webhook) = &self.webhook
            && let Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) =
                webhook.try_send(Telling { json, tally: Arc::clone(&site.tally) })
        {
            site.tally.add(NOTIFICATIONS, "webhook/dropped", 1);
        }
    }
}
