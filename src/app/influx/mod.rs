//! InfluxDB 2 in the service: settings, the mirror's thread, the history behind the API.

mod history;
mod mirror;
mod settings;

pub use history::History;
pub use mirror::Mirror;
pub use settings::InfluxSettings;

use super::config::Config;
use crate::event::Tally;
use crate::influx::{Target, read};
use crate::store::Store;
use std::path::Path;
use std::sync::Arc;

/// Asks a server whether it is there and the token sees the bucket, for `check`. The client unwraps what a server sends: its
/// panic is an error here.
pub fn check(target: Target) -> Result<(), String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().map_err(|e| e.to_string())?;
    let url = target.url.clone();
    let asked = runtime.block_on(runtime.spawn(read::check(target)));
    asked.unwrap_or_else(|_| Err(format!("{url}: its answer is not what an InfluxDB 2 sends")))
}

/// What of InfluxDB a service uses.
#[derive(Clone, Default)]
pub struct Influx {
    pub mirror: Option<Arc<Mirror>>,
    pub history: Option<History>,
}

impl Influx {
    /// Opens the mirror's queue and starts its thread, as configured; nothing without `[influx]`.
    pub fn start(config: &Config, store: &Arc<dyn Store>, tally: &Arc<Tally>) -> Result<Influx, String> {
        let Some(settings) = &config.influx else { return Ok(Influx::default()) };
        let target = settings.target(config.path.parent().unwrap_or(Path::new(".")))?;
        let history = settings.read.then(|| History::new(target.clone()));
        if !settings.mirror {
            return Ok(Influx { mirror: None, history });
        }
        let sites = config.sites.iter().map(|s| s.file.site.id.clone()).collect();
        let mirror = Arc::new(Mirror::open(settings, target, &config.data_dir, sites, Arc::clone(store), Arc::clone(tally))?);
        let runs = Arc::clone(&mirror);
        std::thread::Builder::new()
            .name("influx".into())
            .spawn(move || runs.run())
            .map_err(|e| format!("no thread for the mirror: {e}"))?;
        Ok(Influx { mirror: Some(mirror), history })
    }
}
