//! `identify --site S [--since T]`: learns a plant from the store and says what the fit is worth.
//!
//! Invariant: a fit beyond the gates is shown and not stored: the service controls with stored ones only.

use super::cli::IdentifyArgs;
use super::config::{Config, Overrides};
use super::history;
use crate::plant::greybox;
use crate::plant::predict::Predict;
use crate::store::Embedded;
use crate::time::Timestamp;

pub fn run(args: &IdentifyArgs) -> Result<(), String> {
    let overrides = Overrides { data_dir: args.data_dir.clone(), ..Overrides::default() };
    let config = Config::load(&args.config, &overrides).map_err(|e| e.to_string())?;
    let since = match &args.since {
        None => None,
        Some(t) => {
            Some(Timestamp::parse(t).ok_or_else(|| format!("--since {t:?} is no time; for example 2026-07-01 or 2026-07-01T06:00:00Z"))?)
        }
    };
    let have = || config.sites.iter().map(|s| s.file.site.id.as_str()).collect::<Vec<_>>().join(", ");
    let wanted: Vec<String> = args.sites.iter().map(|s| s.display().to_string()).collect();
    if let Some(unknown) = wanted.iter().find(|w| !config.sites.iter().any(|s| s.file.site.id == **w)) {
        return Err(format!("--site {unknown:?} is not in {}; its sites are: {}", config.path.display(), have()));
    }
    let store = Embedded::open(&config.data_dir).map_err(|e| format!("{e}; a running service holds it: it learns by itself"))?;
    let mut refused = 0;
    for site in config.sites.iter().filter(|s| wanted.is_empty() || wanted.contains(&s.file.site.id)) {
        let site = &site.file;
        let (plan, rows) = history::from_store(&store, site, since)?;
        if let Some(what) = plan.unbound(site).filter(|_| !rows.is_empty()) {
            println!("{}: {what} selects no stored point; compare its `select` with the points' metadata", site.site.id);
        }
        let name = format!("{}-learnt/0", site.site.id);
        match greybox::fit(&rows, site.control.tick(), site, plan.binding(), &name) {
            Err(e) => {
                refused += 1;
                println!("{}: not identified: {e} ({} rows in the store)", site.site.id, rows.len());
            }
            Ok(mut model) => {
                greybox::report(&model, site).lines.iter().for_each(|l| println!("{l}"));
                if model.fit().usable() {
                    let dir = greybox::save(&mut model, site, &super::service::learnt_models(&config)).map_err(|e| e.to_string())?;
                    println!("stored with its card: {}", dir.display());
                } else {
                    refused += 1;
                    println!("not stored: the service does not control on a fit like this");
                }
            }
        }
    }
    if refused > 0 { Err(format!("{refused} site(s) not identified; the lines above say why")) } else { Ok(()) }
}
