//! `check`: validates the configuration, the site files, the models and the brokers without starting anything.

use super::cli::CheckArgs;
use super::config::{Config, Overrides};
use super::door;
use crate::ingest::mqtt;
use std::time::Duration;

/// How long a broker may take to answer.
const BROKER_TIMEOUT: Duration = Duration::from_secs(5);

/// Prints a line per thing checked; the first error of each kind names the file and the way out.
pub fn run(args: CheckArgs) -> Result<(), String> {
    let overrides = Overrides { broker: args.broker.clone(), ..Overrides::default() };
    let config = Config::load(&args.config, &overrides).map_err(|e| e.to_string())?;
    println!("{}: ok", config.path.display());
    let mut faults = Vec::new();
    for site in &config.sites {
        let f = &site.file;
        println!(
            "site {}: {} roles, {} loops, {} actuators, {} limits, {} meters",
            f.site.id,
            f.roles.len(),
            f.loops.len(),
            f.actuators.len(),
            f.limits.len(),
            f.meters.len()
        );
        for s in &f.sources {
            println!("  source {} ({}): {} declared values", s.filter, s.format.name(), s.values.len());
        }
        if let Err(e) = crate::ingest::check_sources(f) {
            faults.push(e);
        }
        if let Err(e) = super::service::load_classes(site) {
            faults.push(e);
        }
        if let Err(e) = super::service::load_tariffs(site) {
            faults.push(e);
        }
        for e in super::service::load_models(&config, site).findings {
            faults.push(e);
        }
    }
    if let Err(e) = config.listen_addr().and_then(|addr| door::check(&config, addr)) {
        faults.push(e);
    }
    if let Err(e) = config.https.server(&config) {
        faults.push(e);
    }
    if !config.access.client_certificate.is_empty() {
        println!("client certificates: {} have a role", config.access.client_certificate.len());
    }
    if !args.offline {
        let mut urls: Vec<String> = config.sites.iter().map(|s| config.broker_of(&s.file, args.broker.is_some())).collect();
        urls.sort();
        urls.dedup();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|e| e.to_string())?;
        for url in urls {
            let settings = super::service::link_options(&config, &url, "check", Vec::new())?;
            match runtime.block_on(mqtt::check_connection(&settings, BROKER_TIMEOUT)) {
                Ok(()) => println!("broker {}: reached", settings.broker),
                Err(e) => faults.push(e.to_string()),
            }
        }
    }
    if let Some(influx) = &config.influx {
        match influx.target(config.path.parent().unwrap_or(std::path::Path::new("."))) {
            Ok(target) if !args.offline => match super::influx::check(target.clone()) {
                Ok(()) => println!("InfluxDB {target:?}: reached, the token sees the bucket"),
                Err(e) => faults.push(e),
            },
            Ok(target) => println!("InfluxDB {target:?}: not tried"),
            Err(e) => faults.push(e),
        }
    }
    if faults.is_empty() {
        println!("all good");
        return Ok(());
    }
    Err(faults.join("\ntramuntana: "))
}
