//! The configuration read again while the service runs (SIGHUP).
//!
//! Words: the *configuration in force* is what tasks look at each time they need it.
//! Invariants: a file that does not check changes nothing, and the log says why; what cannot change without a restart keeps its
//! old value in the configuration in force, and is named; a far door never loses what made it safe.

use super::access::Keyring;
use super::config::{Config, Overrides};
use super::door::{self, Certificates};
use super::service::{load_classes, load_tariffs};
use super::site_task::SiteShared;
use crate::event::{CONFIG_READ, Tally};
use crate::site::Classes;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::sync::watch;

/// The configuration in force, as tasks see it.
pub type InForce = watch::Receiver<Arc<Config>>;

/// What is needed to put another configuration in force.
pub struct Reloader {
    pub in_force: watch::Sender<Arc<Config>>,
    pub addr: SocketAddr,
    pub keyring: Arc<Keyring>,
    pub certificates: Option<Certificates>,
    pub sites: Vec<Arc<SiteShared>>,
    /// By site, as they were at the start.
    pub classes: Vec<Classes>,
    pub tally: Arc<Tally>,
}

/// What a new configuration changes at once, and what waits for a restart.
#[derive(Debug, Default, PartialEq)]
pub struct Changed {
    pub at_once: Vec<&'static str>,
    pub restart: Vec<String>,
}

/// Are two settings written the same? (Passwords stand in neither: a configuration names only where they are.)
fn same<T: std::fmt::Debug>(a: &T, b: &T) -> bool {
    format!("{a:?}") == format!("{b:?}")
}

/// The configuration in force with the parts of another that may change at once.
fn merged(old: &Config, new: &Config) -> (Config, Changed) {
    let mut c = Changed::default();
    let mut next = old.clone();
    let mut take = |what, differs: bool| {
        if differs {
            c.at_once.push(what);
        }
        differs
    };
    if take("[store]", !same(&old.store, &new.store)) {
        next.store = new.store.clone();
    }
    if take("[forecast]", !same(&old.forecast, &new.forecast)) {
        next.forecast = new.forecast.clone();
    }
    if take("[notify]", !same(&old.notify, &new.notify)) {
        next.notify = new.notify.clone();
    }
    if take("[reports]", !same(&old.reports, &new.reports)) {
        next.reports = new.reports.clone();
    }
    if take("[access]", !same(&old.access, &new.access)) {
        next.access = new.access.clone();
    }
    let tls_stays = old.https.cert.is_some() == new.https.cert.is_some();
    if tls_stays && take("[https]", !same(&old.https, &new.https)) {
        next.https = new.https.clone();
    }
    let mut wait = |what: &str, differs: bool| {
        if differs {
            c.restart.push(what.to_owned());
        }
    };
    wait("broker", old.broker != new.broker);
    wait("[mqtt]", !same(&old.mqtt, &new.mqtt));
    wait("data_dir", old.data_dir != new.data_dir);
    wait("listen", old.listen != new.listen);
    wait("models_dir", old.models_dir != new.models_dir);
    wait("[lease]", !same(&old.lease, &new.lease));
    wait("[influx]", !same(&old.influx, &new.influx));
    wait("[https] (TLS on or off)", !tls_stays);
    for s in &new.sites {
        let id = &s.file.site.id;
        match old.sites.iter().find(|o| o.file.site.id == *id) {
            Some(o) => wait(&format!("site {id}"), !same(o, s)),
            None => wait(&format!("site {id} (new)"), true),
        }
    }
    for o in &old.sites {
        let id = &o.file.site.id;
        wait(&format!("site {id} (left out)"), !new.sites.iter().any(|s| s.file.site.id == *id));
    }
    (next, c)
}

impl Reloader {
    /// Reads the file again, checks all of it, then puts in force what may change at once.
    pub fn reload(&self, overrides: &Overrides) {
        let old = Arc::clone(&self.in_force.borrow());
        match self.try_reload(&old, overrides) {
            Ok(c) => {
                self.tally.add(CONFIG_READ, "taken", 1);
                let list = |l: &[String]| if l.is_empty() { "nothing".to_owned() } else { l.join(", ") };
                let at_once: Vec<String> = c.at_once.iter().map(|s| (*s).to_owned()).collect();
                tracing::info!(
                    "{} read again: in force now: {} (and tariffs, certificates); waits for a restart: {}",
                    old.path.display(),
                    list(&at_once),
                    list(&c.restart)
                );
            }
            Err(why) => {
                self.tally.add(CONFIG_READ, "refused", 1);
                tracing::error!("{} not taken: {why}; the service goes on with the configuration that it has", old.path.display());
            }
        }
    }

    fn try_reload(&self, old: &Config, overrides: &Overrides) -> Result<Changed, String> {
        let new = Config::load(&old.path, overrides).map_err(|e| e.to_string())?;
        let mut stale_classes = Vec::new();
        let mut tariffs = Vec::new();
        for site in &new.sites {
            crate::ingest::check_sources(&site.file)?;
            let (classes, tariff) = (load_classes(site)?, load_tariffs(site)?);
            let id = &site.file.site.id;
            if let Some(i) = self.sites.iter().position(|s| s.id() == id) {
                if self.classes.get(i).is_some_and(|c| *c != classes) {
                    stale_classes.push(format!("points of {id}"));
                }
                tariffs.push((i, tariff));
            }
        }
        let (next, mut changed) = merged(old, &new);
        changed.restart.extend(stale_classes);
        door::check(&next, self.addr)?;
        let server = next.https.server(&next)?;
        // Nothing can be refused from here on.
        if let (Some(place), Some(server)) = (&self.certificates, server) {
            place.put(server);
        }
        for (i, (price, carbon)) in tariffs {
            let mut core = self.sites[i].core();
            (core.brain.price, core.brain.carbon) = (price, carbon);
        }
        self.keyring.put_settings(next.access.clone());
        self.in_force.send_replace(Arc::new(next));
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn config() -> Config {
        Config::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("sensors/tramuntana.toml"), &Overrides::default()).unwrap()
    }

    #[test]
    fn what_needs_a_restart_is_named_and_keeps_its_value() {
        let old = config();
        assert_eq!(merged(&old, &old.clone()).1, Changed::default());
        let mut new = old.clone();
        new.store.hot_days = 2;
        new.notify.mqtt = !new.notify.mqtt;
        new.listen = "127.0.0.1:9".into();
        new.sites[0].file.control.tick_s += 60;
        let gone = new.sites.pop().unwrap().file.site.id;
        let (next, changed) = merged(&old, &new);
        assert_eq!(changed.at_once, ["[store]", "[notify]"]);
        let first = &old.sites[0].file.site.id;
        assert_eq!(changed.restart, ["listen".to_owned(), format!("site {first}"), format!("site {gone} (left out)")]);
        assert_eq!((next.store.hot_days, next.notify.mqtt), (2, new.notify.mqtt));
        assert_eq!((next.listen, next.sites.len()), (old.listen.clone(), old.sites.len()));
    }
}
