//! `slurm apply` and `slurm restore`: the loop around the keeper.

use super::cluster;
use super::lease::{self, write};
use crate::api::model::{Hints, JobOccupancy, NodeOccupancy, Occupancy};
use crate::app::cli::{SlurmApply, SlurmRestore};
use crate::app::service::{runtime, shutdown_signal};
use crate::app::service_client::{PATIENCE, ServiceClient};
use crate::app::site_task::host_now;
use crate::scheduler::slurm::keeper::DWELL;
use crate::scheduler::slurm::{Change, Keeper, Node};
use crate::time::{Span, Timestamp};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

struct Loop {
    args: SlurmApply,
    keeper: Keeper,
    service: ServiceClient,
    holder: String,
    give_up: Span,
    lease: Span,
    /// Newest hints, and when they came on this host's clock.
    hints: Option<(Hints, Timestamp)>,
    started: Timestamp,
    said: String,
}

fn span(name: &str, text: &str) -> Result<Span, String> {
    Span::parse(text).filter(|s| s.0 > 0).ok_or_else(|| format!("--{name} {text:?}: give a length of time such as 30s or 2min"))
}

fn state_file(dir: &Path) -> PathBuf {
    dir.join("nodes.json")
}

/// The keeper as it was left, with the weights of this call.
fn load(dir: &Path, weights: [u32; 5], features: bool) -> Result<Keeper, String> {
    let path = state_file(dir);
    match std::fs::read(&path) {
        Ok(bytes) => {
            let mut k: Keeper = serde_json::from_slice(&bytes).map_err(|e| {
                format!("{}: {e}; it holds the nodes' own weights: mend it, or move it away if no node carries ours", path.display())
            })?;
            (k.weights, k.use_features) = (weights, features || k.use_features);
            Ok(k)
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Keeper::new(weights, features)),
        Err(e) => Err(format!("{}: {e}; give another with --state", path.display())),
    }
}

fn save(dir: &Path, keeper: &Keeper) -> Result<(), String> {
    write(&state_file(dir), &serde_json::to_vec_pretty(keeper).map_err(|e| e.to_string())?)
}

/// Says what is set; `at` = the plant's clock of the hints that ask for it, which in a simulation is not the log's.
fn show(changes: &[Change], at: Option<Timestamp>) {
    let at = at.map(|t| format!(", hints of {t}")).unwrap_or_default();
    for c in changes {
        tracing::info!("{}: weight {} ({}{at})", c.node, c.weight, if c.why.is_empty() { "set again" } else { &c.why });
    }
}

pub fn run(args: &SlurmApply) -> Result<(), String> {
    let weights: [u32; 5] = args
        .weights
        .clone()
        .try_into()
        .map_err(|w: Vec<u32>| format!("--weights: {} given; give one for each of the five bands", w.len()))?;
    if weights.windows(2).any(|w| w[0] > w[1]) {
        return Err("--weights: Slurm fills low weights first, so they must not fall from band 1 to band 5".into());
    }
    let every = span("interval", &args.interval)?;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let now = host_now();
    let mut this = Loop {
        keeper: if args.dry_run {
            load(&args.state, weights, args.features).unwrap_or_else(|_| Keeper::new(weights, args.features))
        } else {
            load(&args.state, weights, args.features)?
        },
        service: ServiceClient::new(&args.api, args.token_file.as_deref())?,
        holder: format!("{}/{}/{}", host.trim(), std::process::id(), now.0),
        give_up: span("give-up", &args.give_up)?,
        lease: Span(every.0 * 3 + 2 * PATIENCE.as_millis() as i64),
        hints: None,
        started: now,
        said: String::new(),
        args: args.clone(),
    };
    if args.dry_run {
        return this.dry_run();
    }
    if args.once {
        let done = this.pass();
        lease::release(&args.state, &this.holder)?;
        return done.map(|_| ());
    }
    runtime()?.block_on(async {
        let end = shutdown_signal();
        tokio::pin!(end);
        loop {
            // A pass ends by itself: each of its steps has a time limit.
            let passed = tokio::task::block_in_place(|| this.pass());
            if let Err(e) = passed {
                this.say(format!("{e}; trying again every {every}"));
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(every.0 as u64)) => {}
                () = &mut end => break,
            }
        }
        tokio::task::block_in_place(|| this.leave())
    })
}

/// `slurm restore`: gives every node its own weight back, whoever set it.
pub fn restore(args: &SlurmRestore) -> Result<(), String> {
    let mut keeper = load(&args.state, [0; 5], false)?;
    let now = host_now();
    let holder = format!("restore/{}/{}", std::process::id(), now.0);
    if let Some(other) = lease::take(&args.state, &holder, now, Span::minutes(1))? {
        return Err(format!("{} keeps the weights until {}: end it first, it gives them back by itself", other.holder, other.until));
    }
    let changes = keeper.restore(&cluster::nodes()?);
    show(&changes, None);
    let mut failed = cluster::set(&changes);
    if failed.is_empty() {
        save(&args.state, &keeper)?;
    }
    failed.extend(cluster::free_licences().err());
    lease::release(&args.state, &holder)?;
    println!("{} nodes given back", changes.len());
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Load that may be added at a site now, kW: under its own caps, what can be cooled, and what its racks bear together. `None` = nothing
/// bounds it.
fn headroom_kw(h: &Hints) -> Option<f64> {
    let caps = h.caps.iter().filter(|c| c.name.starts_with("site ")).filter_map(|c| c.headroom_kw);
    let cooling = h.ahead.first().and_then(|s| s.cooling_headroom_kw);
    let racks = (!h.racks.is_empty()).then(|| h.racks.iter().filter_map(|r| r.power_headroom_kw).map(|kw| kw.max(0.0)).sum::<f64>());
    caps.chain(cooling).chain(racks).min_by(f64::total_cmp)
}

impl Loop {
    fn say(&mut self, text: String) {
        if self.said != text {
            tracing::warn!("{text}");
            self.said = text;
        }
    }

    /// Bands by node, from hints that still hold.
    fn wanted(&mut self) -> Result<Option<(Timestamp, BTreeMap<String, u8>)>, String> {
        let now = host_now();
        let trouble = match self.service.hints(&self.args.site) {
            Ok(h) => {
                self.hints = Some((h, now));
                None
            }
            Err(e) => Some(e),
        };
        let since = self.hints.as_ref().map_or(self.started, |h| h.1);
        let held = self.hints.as_ref().filter(|(h, at)| {
            let aged = h.now + (now - *at).0;
            aged < h.valid_until && now - *at < self.give_up
        });
        match (held, trouble) {
            (Some((h, at)), trouble) => {
                if let Some(e) = trouble {
                    tracing::warn!("{e}; the hints before hold");
                }
                let ours = |p: &String| self.args.partitions.is_empty() || self.args.partitions.contains(p);
                let names: BTreeMap<&str, &str> = h.partitions.iter().map(|p| (p.partition.as_str(), p.scheduler_name.as_str())).collect();
                let taken = |p: &String| ours(p) || names.get(p.as_str()).is_some_and(|n| ours(&(*n).to_owned()));
                let bands =
                    h.racks.iter().filter(|r| taken(&r.partition)).flat_map(|r| r.nodes.iter().map(|n| (n.clone(), r.band))).collect();
                Ok(Some((Timestamp(h.now + (now - *at).0), bands)))
            }
            (None, Some(e)) if now - since < self.give_up => Err(e),
            (None, e) => {
                let why = e.unwrap_or_else(|| "the hints have ended".into());
                self.say(format!("{why}; without fresh hints for {}: nodes get their own weights", self.give_up));
                Ok(None)
            }
        }
    }

    /// One look at Slurm and the service. True = we hold the lease.
    fn pass(&mut self) -> Result<bool, String> {
        if let Some(other) = lease::take(&self.args.state, &self.holder, host_now(), self.lease)? {
            self.say(format!("{} keeps the weights until {}; standing by", other.holder, other.until));
            return Ok(false);
        }
        // Another may have kept them meanwhile: what is on disk is the truth.
        self.keeper = load(&self.args.state, self.keeper.weights, self.keeper.use_features)?;
        let nodes = cluster::nodes()?;
        let wanted = self.wanted()?;
        let changes = match &wanted {
            Some((at, bands)) => self.keeper.follow(*at, &nodes, bands),
            None => self.keeper.restore(&nodes),
        };
        save(&self.args.state, &self.keeper)?;
        show(&changes, wanted.as_ref().map(|w| w.0));
        let mut failed = cluster::set(&changes);
        if let Some(name) = &self.args.power_licence {
            let done = match (&wanted, &self.hints) {
                (Some(_), Some((h, _))) => cluster::hold_licences(name, headroom_kw(h)),
                _ => cluster::free_licences(),
            };
            failed.extend(done.err());
        }
        if wanted.is_some() && !self.args.no_occupancy {
            self.tell(&nodes);
        }
        if wanted.is_some() && failed.is_empty() {
            self.said.clear();
        }
        if failed.is_empty() { Ok(true) } else { Err(failed.join("; ")) }
    }

    /// Tells the service which GPUs are free and what runs and waits; what fails is said and tried at the next pass.
    fn tell(&mut self, nodes: &[Node]) {
        let (jobs, bad) = match cluster::jobs(&self.args.jobs_from) {
            Ok(read) => read,
            Err(e) => {
                // Without jobs the service would take the machine for empty: what it knows stands.
                tracing::warn!("{e}; the service is told nothing");
                return;
            }
        };
        if bad > 0 {
            tracing::warn!("{bad} jobs could not be read and are left out");
        }
        let now_s = host_now().0 / 1000;
        let told = Occupancy {
            site: self.args.site.clone(),
            source: "slurm".into(),
            nodes: (nodes.iter().filter(|n| n.gpus > 0))
                .map(|n| NodeOccupancy { node: n.name.clone(), gpus_free: if n.out { 0 } else { n.gpus.saturating_sub(n.gpus_used) } })
                .collect(),
            jobs: (jobs.into_iter())
                .map(|j| JobOccupancy {
                    slack_h: if j.latest_start_s > now_s { ((j.latest_start_s - now_s) as f64 / 3600.0).min(8760.0) } else { 0.0 },
                    id: j.id,
                    nodes: j.nodes,
                    gpus: j.gpus,
                    waits: j.waits,
                })
                .collect(),
        };
        if told.nodes.is_empty() {
            return;
        }
        if let Err(e) = self.service.post("/api/v1/placement/occupancy", &told) {
            tracing::warn!("{e}");
        }
    }

    fn dry_run(&mut self) -> Result<(), String> {
        let h = self.service.hints(&self.args.site)?;
        if h.now >= h.valid_until {
            return Err("the hints have ended".into());
        }
        self.hints = Some((h, host_now()));
        let nodes = cluster::nodes()?;
        let Some((at, bands)) = self.wanted()? else { return Err("the hints have ended".into()) };
        let changes = self.keeper.follow(at, &nodes, &bands);
        for args in cluster::commands(&changes) {
            println!("scontrol {}", args.join(" "));
        }
        let known: std::collections::BTreeSet<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
        let strangers = bands.keys().filter(|n| !known.contains(n.as_str())).count();
        println!(
            "# {} of {} nodes change, each at most once in {DWELL}; {strangers} nodes of the hints are unknown to Slurm",
            changes.len(),
            nodes.len()
        );
        Ok(())
    }

    /// Gives everything back, if it is ours to give.
    fn leave(&mut self) -> Result<(), String> {
        if let Some(other) = lease::take(&self.args.state, &self.holder, host_now(), self.lease)? {
            tracing::info!("{} keeps the weights: nothing to give back", other.holder);
            return Ok(());
        }
        self.keeper = load(&self.args.state, self.keeper.weights, self.keeper.use_features)?;
        let changes = self.keeper.restore(&cluster::nodes()?);
        show(&changes, None);
        let mut failed = cluster::set(&changes);
        if failed.is_empty() {
            save(&self.args.state, &self.keeper)?;
        }
        if self.args.power_licence.is_some() {
            failed.extend(cluster::free_licences().err());
        }
        lease::release(&self.args.state, &self.holder)?;
        if failed.is_empty() { Ok(()) } else { Err(format!("{}; `tramuntana slurm restore` tries again", failed.join("; "))) }
    }
}
