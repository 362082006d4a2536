//! `report`: a year of one site, or of all as a group, as a folder of files.

use super::config::{Config, Overrides};
use super::reports::{Wanted, make};
use crate::report::pack::Pack;
use crate::report::{Lang, write};
use crate::store::{Embedded, StoreError};
use clap::Args;
use std::path::PathBuf;

/// Arguments of `report`.
#[derive(Clone, Debug, Args)]
pub struct ReportArgs {
    /// Definitions: eu-2024-1364, iso-30134, energy-per-gpu-hour
    #[arg(long, value_name = "NAME")]
    pub pack: String,
    /// A calendar year of the site's zone
    #[arg(long, value_name = "YEAR", conflicts_with = "period", required_unless_present = "period")]
    pub year: Option<i16>,
    /// Another period: A..B, dates of the site's zone or instants; B is not part of it
    #[arg(long, value_name = "A..B")]
    pub period: Option<String>,
    /// One site of the configuration, by its id
    #[arg(long, value_name = "SITE", conflicts_with = "group")]
    pub site: Option<String>,
    /// All sites of the configuration that the store has, as one group of structures
    #[arg(long, required_unless_present = "site")]
    pub group: bool,
    /// The configuration file; a bare name is also looked for in sensors/
    #[arg(long, value_name = "FILE", default_value = "tramuntana.toml")]
    pub config: PathBuf,
    /// Where the store is (overrides the file); no service may have it open: one that runs makes reports itself, on its page
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// The report's folder. Made again there after a correction, it becomes a new version with its changes
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Language
    #[arg(long, value_enum, default_value_t = Lang::En)]
    pub lang: Lang,
    /// The figures alone: JSON and CSV; no page, PDF or spreadsheet
    #[arg(long)]
    pub data_only: bool,
}

/// What to do where a service has the store open.
fn ask_the_service(config: &Config, wanted: &Wanted) -> String {
    let scheme = if config.https.cert.is_some() { "https" } else { "http" };
    let url = format!("{scheme}://{}", config.listen);
    let order =
        serde_json::json!({ "pack": wanted.pack, "period": wanted.period, "site": wanted.site, "lang": wanted.lang.code(), "who": "…" });
    format!(
        "data directory {}: another process has it open. If it is the service, let it make the report: on its page ({url}) under Reports, or by\n  curl -s {url}/api/v1/reports -H 'content-type: application/json' -d '{order}'\nwhich answers with where it will be. Otherwise stop that process, or give another directory with --data-dir",
        config.data_dir.display()
    )
}

/// Makes the report.
///
/// # Errors
/// What stands in the way, with the file and what to do.
pub fn run(a: &ReportArgs) -> Result<(), String> {
    Pack::get(&a.pack).map_err(|e| format!("--pack: {e}"))?;
    let overrides = Overrides { data_dir: a.data_dir.clone(), ..Overrides::default() };
    let config = Config::load(&a.config, &overrides).map_err(|e| e.to_string())?;
    let period = match (a.year, &a.period) {
        (Some(year), _) => year.to_string(),
        (None, Some(text)) => text.clone(),
        (None, None) => return Err("give --year or --period".into()),
    };
    let wanted = Wanted { pack: a.pack.clone(), period, site: a.site.clone(), lang: a.lang };
    let store = Embedded::open(&config.data_dir).map_err(|e| match e {
        StoreError::Locked { .. } => ask_the_service(&config, &wanted),
        e => e.to_string(),
    })?;
    let made = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let (mut doc, jobs) = make(&config, &store, &wanted, made, &mut |_, _| true)?;
    let paths = write::write(&mut doc, &jobs, &a.out, a.lang, !a.data_only)?;
    use crate::report::figure::Status;
    let missing: Vec<&str> = doc.figures.iter().filter(|f| f.status == Status::Missing).map(|f| f.key.as_str()).collect();
    println!(
        "{}, {}, version {}: {} figures, {} files in {}",
        a.pack,
        doc.period,
        doc.version,
        doc.figures.len(),
        paths.len(),
        a.out.display()
    );
    if !missing.is_empty() {
        println!("missing, printed as such: {}", missing.join(", "));
    }
    if !doc.changes.is_empty() {
        println!("{} changes since version {}: {}", doc.changes.len(), doc.version - 1, a.out.join("changes.csv").display());
    }
    Ok(())
}
