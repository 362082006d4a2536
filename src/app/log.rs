//! Structured logs on stderr.

use tracing_subscriber::EnvFilter;

/// Starts the log. `TRAMUNTANA_LOG` (as `info`, `tramuntana=debug`, …) wins over the default; libraries stay at `error`
/// because what they say of a lost connection is said by us, once, with the site's name.
pub fn start(default: &str) {
    let usual = || format!("error,rumqttd=off,rumqttc=off,tramuntana={default}");
    let filter = std::env::var("TRAMUNTANA_LOG").unwrap_or_else(|_| usual());
    let filter = EnvFilter::try_new(&filter).unwrap_or_else(|e| {
        eprintln!("TRAMUNTANA_LOG = {filter:?}: {e}; give a level or a target's, such as tramuntana=debug; the usual log is written");
        EnvFilter::new(usual())
    });
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false).try_init();
}
