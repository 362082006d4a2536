//! The service: store, one task a site, the HTTP server, orderly shutdown. `serve` runs it; `demo` runs it among
//! simulated plants.
//!
//! Invariants: it starts although a broker is away or a model is missing, and says so; it does not start with an address
//! in use, a data directory that is held by another, or a site file that does not check.

use super::access::Keyring;
use super::alarms;
use super::backend::ServiceBackend;
use super::brain::Brain;
use super::cli::ServeArgs;
use super::config::{Config, ConfiguredSite, Overrides};
use super::door::{self, Bounded, Certificates, TlsDoor};
use super::history::{self, HistoryFile};
use super::influx::Influx;
use super::kept_orders;
use super::learner::PlantModel;
use super::lease::{Charge, LeaseTask};
use super::reload::{InForce, Reloader};
use super::reports::Reports;
use super::site_task::{self, Core, SiteShared, host_now};
use crate::api::access::Peer;
use crate::event::Tally;
use crate::forecast::Forecaster;
use crate::ingest::SiteIngest;
use crate::ingest::mqtt::{BrokerAddress, LinkOptions, MqttLink, TlsFiles};
use crate::plant::{greybox, identified};
use crate::signal::tariff::Tariff;
use crate::site::Classes;
use crate::store::{Embedded, Expired, Store, StoreError};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

/// Deliveries that may wait for a site's task: the batch grows in the link meanwhile.
const DELIVERIES: usize = 2;
/// How long readings that no acknowledgement waits for may stay unsynced; in lock-step each sync holds the plant up.
const SYNC_AFTER: Duration = Duration::from_millis(50);
const SYNC_LOCK_STEP: Duration = Duration::from_secs(2);
/// How long the end of the service waits for its tasks, and then for work that nobody waits for (a training).
const DRAIN: Duration = Duration::from_secs(3);
const LEFT: Duration = Duration::from_millis(500);
/// How soon a day that has just become over is sealed, and how often late rows of older ones are looked for.
const SEAL_SOON: Duration = Duration::from_secs(30);
const SEAL_EVERY: Duration = Duration::from_secs(900);

/// The models of a site, and what was wrong with those that are not there.
#[derive(Default)]
pub struct Models {
    pub plant: Option<PlantModel>,
    pub load: Option<Forecaster>,
    pub findings: Vec<String>,
}

/// Reads the point classes beside a site file.
pub fn load_classes(site: &ConfiguredSite) -> Result<Classes, String> {
    Classes::load(&site.dir.join("points")).map_err(|e| e.to_string())
}

/// Reads the models that a site file names, version 1 or the newest numbered one.
pub fn load_models(config: &Config, site: &ConfiguredSite) -> Models {
    let mut models = Models::default();
    if let Some(name) = &site.file.control.plant_model {
        match identified::load(&config.models_dir.join(name).join("1"), &site.file) {
            Ok(m) => models.plant = Some(PlantModel::Shipped(Box::new(m))),
            Err(e) => models.findings.push(e.to_string()),
        }
    }
    if site.file.control.learns() {
        match greybox::newest(&learnt_models(config), &site.file) {
            Ok(Some(m)) => models.plant = Some(PlantModel::Learnt(Box::new(m))),
            Ok(None) => {}
            Err(e) => models.findings.push(e.to_string()),
        }
    }
    if let Some(name) = &site.file.control.load_model {
        match super::retrain::newest(&config.data_dir, name, &targets(site)) {
            Ok(Some(own)) => {
                models.load = Some(own);
                return models;
            }
            Ok(None) => {}
            Err(e) => models.findings.push(format!("{e}; the shipped load model is in force until the next training")),
        }
        let version = super::train::versions(&config.models_dir, name).last().copied().unwrap_or(1);
        match Forecaster::load(&config.models_dir, &format!("{name}/{version}"), Some(&targets(site))) {
            Ok(m) => models.load = Some(m),
            Err(e) => models.findings.push(e.to_string()),
        }
    }
    models
}

/// Reads what electricity costs and emits at a site: (price €/MWh, carbon g/kWh).
pub fn load_tariffs(site: &ConfiguredSite) -> Result<(Option<Tariff>, Option<Tariff>), String> {
    let s = &site.file.signals;
    let one = |value: Option<f64>, file: &Option<String>| match file {
        Some(f) => Tariff::load(&site.dir.join(f)).map(Some).map_err(|e| e.to_string()),
        None => Ok(value.map(Tariff::Constant)),
    };
    Ok((one(s.price_eur_per_mwh, &s.price_file)?, one(s.carbon_g_per_kwh, &s.carbon_file)?))
}

/// Where models go that were learnt while the service ran.
pub fn learnt_models(config: &Config) -> PathBuf {
    config.data_dir.join("models")
}

/// What the load model of a site forecasts: the load role of each loop, each once.
pub fn targets(site: &ConfiguredSite) -> Vec<String> {
    let mut targets: Vec<String> = Vec::new();
    for l in &site.file.loops {
        if !targets.contains(&l.load) {
            targets.push(l.load.clone());
        }
    }
    targets
}

/// How to reach a broker as a site.
pub fn link_options(config: &Config, url: &str, site: &str, filters: Vec<String>) -> Result<LinkOptions, String> {
    let mut broker = BrokerAddress::parse(url).map_err(|e| e.to_string())?;
    let mqtt = config.mqtt.of(&broker);
    if broker.user.is_none() {
        broker.user = mqtt.user.clone();
    }
    if broker.password.is_none() {
        broker.password = config.password_of(&mqtt).map_err(|e| e.to_string())?;
    }
    let client = mqtt.client_id.as_deref().unwrap_or("tramuntana");
    let mut options = LinkOptions::new(broker, format!("{client}-{site}"), filters);
    let file = |p: &Option<std::path::PathBuf>| p.as_deref().map(|p| config.beside(p));
    options.version = mqtt.version.unwrap_or_default();
    options.tls = TlsFiles { ca: file(&mqtt.ca), cert: file(&mqtt.cert), key: file(&mqtt.key) };
    options.shared_group = mqtt.shared_group;
    options.at_least_once = mqtt.qos != Some(0);
    Ok(options)
}

/// A running service.
pub struct Service {
    pub sites: Vec<Arc<SiteShared>>,
    pub store: Arc<dyn Store>,
    pub backend: Arc<ServiceBackend>,
    pub addr: SocketAddr,
    pub reloader: Reloader,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
    influx: Influx,
}

/// How a service is started.
#[derive(Clone, Debug, Default)]
pub struct StartOptions {
    /// `--broker` was given: it counts for all sites.
    pub broker_overridden: bool,
    /// Simulated plants wait for each of our answers, on a broker that forgets us afterwards (the demo).
    pub lock_step: bool,
    /// Readings from before, to learn from.
    pub history: Option<PathBuf>,
}

impl Service {
    /// Opens the store, listens, starts a task per site. Needs a multi-thread runtime.
    pub async fn start(config: &Config, listener: std::net::TcpListener, options: &StartOptions) -> Result<Service, String> {
        let embedded = Arc::new(Embedded::open(&config.data_dir).map_err(|e| e.to_string())?);
        let store: Arc<dyn Store> = embedded.clone();
        let history = options.history.as_deref().map(HistoryFile::load).transpose()?.map(Arc::new);
        let tally = Arc::new(Tally::new());
        let influx = Influx::start(config, &store, &tally)?;
        let (stop, stopped) = watch::channel(false);
        let (changes, _) = watch::channel(0_u64);
        let (in_force, settings) = watch::channel(Arc::new(config.clone()));
        let mut sites = Vec::new();
        let mut classes = Vec::new();
        let mut tasks = Vec::new();
        for configured in &config.sites {
            let site = Arc::new(configured.file.clone());
            crate::ingest::check_sources(&site)?;
            let url = config.broker_of(&site, options.broker_overridden);
            let mut link = link_options(config, &url, &site.site.id, site.filters())?;
            if options.lock_step {
                link.clean_session = true;
                // The embedded broker would raise every value to QoS 1 and wait for acknowledgements.
                link.at_least_once = false;
                link.gather = Duration::ZERO;
            }
            if let Some(lease) = &config.lease {
                // Several services of one plant are several clients.
                link.client_id = format!("{}-{}", link.client_id, lease.name);
            }
            let leased = config.lease.clone().map(|settings| (settings, link.clone()));
            let shown = link.broker.to_string();
            let catalogue = store.catalogue(&site.site.id).map_err(|e| e.to_string())?;
            let models = load_models(config, configured);
            for finding in &models.findings {
                tracing::warn!(site = site.site.id, "{finding}");
            }
            let mut brain = Brain::new(Arc::clone(&site), models.plant, models.load);
            (brain.price, brain.carbon) = load_tariffs(configured)?;
            if config.lease.is_none() {
                kept_orders::restore(store.as_ref(), &site, &mut brain.controller);
            }
            if site.control.learns() {
                brain.learner.root = Some(learnt_models(config));
                let (_, rows) = history::from_store(&embedded, &site, None)?;
                if !rows.is_empty() {
                    tracing::info!(site = site.site.id, "{} rows of history in the store", rows.len());
                }
                brain.learner.begin(rows);
                brain.history = history.clone();
            }
            classes.push(load_classes(configured)?);
            let ingest = SiteIngest::new(&site, classes.last().cloned().unwrap_or_default(), catalogue);
            let (tx, rx) = mpsc::channel(DELIVERIES);
            let (mqtt, publisher, link_state) = MqttLink::new(link, &site.bus.integration, tx);
            let shared = Arc::new(SiteShared {
                site,
                broker: shown,
                core: Mutex::new(Core { ingest, brain }),
                charge: if leased.is_some() { Charge::leased() } else { Charge::alone(publisher.clone()) },
                last_beat: AtomicI64::new(0),
                publisher,
                link: link_state,
                tally: Arc::clone(&tally),
                store: Arc::clone(&store),
                mirror: influx.mirror.clone(),
                changes: changes.clone(),
                readings_in: AtomicU64::new(0),
                readings_refused: AtomicU64::new(0),
                readings_synced: AtomicU64::new(0),
                sync_after: if options.lock_step { SYNC_LOCK_STEP } else { SYNC_AFTER },
                clock_moved: AtomicI64::new(0),
                over: AtomicBool::new(false),
                queued: AtomicU64::new(0),
                batch: AtomicU64::new(0),
                alarms: Mutex::default(),
                store_trouble: Mutex::new(String::new()),
                pending_fit: Mutex::new(None),
            });
            tasks.push(tokio::spawn(mqtt.run(host_now)));
            tasks.push(tokio::spawn(site_task::run(Arc::clone(&shared), rx, stopped.clone())));
            if let Some((settings, link)) = leased {
                let task = LeaseTask { shared: Arc::clone(&shared), settings, link };
                tasks.push(tokio::spawn(task.run(stopped.clone())));
            }
            sites.push(shared);
        }
        tasks.push(tokio::spawn(super::retrain::run(settings.clone(), sites.clone(), Arc::clone(&store), stopped.clone())));
        tasks.push(tokio::spawn(keep_days(sites.clone(), Arc::clone(&store), settings.clone(), stopped.clone())));
        let reports = Arc::new(Reports::new(settings.clone(), Arc::clone(&embedded), Arc::clone(&tally), changes.clone()));
        tasks.push(super::reports::start(&reports, stopped.clone())?);
        let backend =
            Arc::new(ServiceBackend::new(sites.clone(), Arc::clone(&store), influx.clone(), reports, Arc::clone(&tally), changes));
        tasks.push(tokio::spawn(alarms::run(Arc::clone(&backend), sites.clone(), settings, stopped.clone())));
        match super::hatch::open(Arc::clone(&embedded), stopped.clone()) {
            Ok(task) => tasks.push(task),
            Err(e) => tracing::warn!("no backup while this service runs: {e}"),
        }
        let addr = listener.local_addr().map_err(|e| e.to_string())?;
        let tls = config.https.cert.is_some();
        let keyring = Arc::new(Keyring::open(&config.data_dir, config.access.clone(), tls, Arc::clone(&tally)));
        let router = crate::api::guarded(backend.clone(), keyring.clone());
        let certificates = config.https.server(config)?.map(Certificates::new);
        tasks.push(serve_http(listener, router, certificates.clone(), Arc::clone(&tally), stopped)?);
        let reloader = Reloader { in_force, addr, keyring, certificates, sites: sites.clone(), classes, tally };
        Ok(Service { sites, store, backend, addr, reloader, stop, tasks, influx })
    }

    /// Stops every task, then syncs the store. What is not done after [`DRAIN`] (a page that is being read, a fit) is left: all
    /// that was acknowledged is on the disk, and what was not comes again.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        if let Some(mirror) = &self.influx.mirror {
            mirror.stop();
        }
        let end = tokio::time::Instant::now() + DRAIN;
        for task in self.tasks {
            let abort = task.abort_handle();
            if tokio::time::timeout_at(end, task).await.is_err() {
                abort.abort();
            }
        }
        if let Err(e) = tokio::task::block_in_place(|| self.store.sync()) {
            tracing::error!("last sync: {e}");
        }
    }
}

fn serve_http(
    listener: std::net::TcpListener,
    router: axum::Router,
    tls: Option<Certificates>,
    tally: Arc<Tally>,
    mut stopped: watch::Receiver<bool>,
) -> Result<JoinHandle<()>, String> {
    listener.set_nonblocking(true).map_err(|e| e.to_string())?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(|e| e.to_string())?;
    let service = router.into_make_service_with_connect_info::<Peer>();
    Ok(tokio::spawn(async move {
        let stop = async move {
            let _ = stopped.wait_for(|s| *s).await;
        };
        let served = match tls {
            None => axum::serve(Bounded::new(listener), service).with_graceful_shutdown(stop).await,
            Some(certificates) => {
                axum::serve(Bounded::new(TlsDoor::new(listener, certificates, tally)), service).with_graceful_shutdown(stop).await
            }
        };
        if let Err(e) = served {
            tracing::error!("the HTTP server stopped: {e}");
        }
    }))
}

/// Seals the days that lie `hot_days` behind a site's clock, and drops what is older than it is kept.
async fn keep_days(sites: Vec<Arc<SiteShared>>, store: Arc<dyn Store>, in_force: InForce, mut stop: watch::Receiver<bool>) {
    // By site: the day of its clock when it was last looked at, and when that was.
    let mut looked: Vec<Option<(crate::time::Timestamp, std::time::Instant)>> = vec![None; sites.len()];
    loop {
        tokio::select! {
            () = tokio::time::sleep(SEAL_SOON) => {}
            _ = stop.changed() => return,
        }
        let settings = in_force.borrow().store.clone();
        for (site, looked) in sites.iter().zip(&mut looked) {
            let Some(clock) = site.core().ingest.clock() else { continue };
            if looked.is_some_and(|(day, at)| day == clock.day_start() && at.elapsed() < SEAL_EVERY) {
                continue;
            }
            *looked = Some((clock.day_start(), std::time::Instant::now()));
            let meters = site.meter_points();
            let (store, id, settings) = (Arc::clone(&store), site.id().to_owned(), settings.clone());
            let done = tokio::task::spawn_blocking(move || {
                let before = clock.day_start() - crate::time::Span::hours(24 * i64::from(settings.hot_days));
                let sealed = store.seal_before(&id, before)?;
                Ok::<_, StoreError>((sealed, store.expire(&id, clock, &settings.keep(), &meters)?))
            });
            match done.await {
                Ok(Ok((sealed, expired))) => {
                    for (day, n) in sealed {
                        tracing::info!(site = site.id(), "sealed {day}: {n} readings");
                    }
                    if expired != Expired::default() {
                        tracing::info!(
                            site = site.id(),
                            "retention: {} days of readings, {} of minutes, {} of hours, {} of meters dropped",
                            expired.raw,
                            expired.minute,
                            expired.hour,
                            expired.meter
                        );
                    }
                }
                Ok(Err(e)) => tracing::error!(site = site.id(), "not sealed: {e}"),
                Err(e) => tracing::error!(site = site.id(), "not sealed: {e}"),
            }
        }
    }
}

/// Takes the address of page and API, or says which flag to change.
pub fn listen(addr: SocketAddr) -> Result<std::net::TcpListener, String> {
    std::net::TcpListener::bind(addr).map_err(|e| {
        format!(
            "cannot listen on {addr}: {e}; another program may have the port: give another address with --listen, port 0 for any free one"
        )
    })
}

/// A runtime for the service: two workers are enough, `block_in_place` needs more than one.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(|e| e.to_string())
}

/// Waits for Ctrl-C or SIGTERM.
pub async fn shutdown_signal() {
    let mut term = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()) {
        Ok(s) => s,
        Err(e) => {
            tracing::error!("no SIGTERM here: {e}");
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

/// `serve`: runs until Ctrl-C or SIGTERM.
pub fn run(args: ServeArgs) -> Result<(), String> {
    let overrides = Overrides { broker: args.broker.clone(), data_dir: args.data_dir, listen: args.listen };
    let config = Config::load(&args.config, &overrides).map_err(|e| e.to_string())?;
    let addr = config.listen_addr()?;
    door::check(&config, addr)?;
    let listener = listen(addr)?;
    let scheme = if config.https.cert.is_some() { "https" } else { "http" };
    let options = StartOptions { broker_overridden: args.broker.is_some(), lock_step: false, history: args.history };
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let service = Service::start(&config, listener, &options).await?;
        println!("tramuntana {}: page and API on {scheme}://{}", env!("CARGO_PKG_VERSION"), service.addr);
        let mut again =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).map_err(|e| format!("no SIGHUP here: {e}"))?;
        let mut end = std::pin::pin!(shutdown_signal());
        loop {
            tokio::select! {
                () = &mut end => break,
                Some(()) = again.recv() => tokio::task::block_in_place(|| service.reloader.reload(&overrides)),
            }
        }
        tracing::info!("stopping");
        let begun = std::time::Instant::now();
        service.stop().await;
        tracing::info!("stopped in {:.2} s", begun.elapsed().as_secs_f64());
        Ok(())
    });
    runtime.shutdown_timeout(LEFT);
    done
}
