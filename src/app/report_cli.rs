//! `report`: a year of one site, or of all as a group, as a folder of files.

use super::config::{Config, ConfiguredSite, Overrides};
use crate::report::account::Period;
use crate::report::pack::{Order, Pack, document};
use crate::report::{Book, Lang, ReportFile, write};
use crate::store::Embedded;
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
    /// Where the store is (overrides the file); no service may have it open
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

/// The sites that are asked for, of those that the store has.
pub(super) fn chosen<'a>(config: &'a Config, store: &Embedded, site: Option<&str>) -> Result<Vec<&'a ConfiguredSite>, String> {
    let known = store.sites().map_err(|e| e.to_string())?;
    let sites: Vec<_> = config.sites.iter().filter(|s| site.is_none_or(|id| s.file.site.id == *id)).collect();
    if let (Some(id), true) = (site, sites.is_empty()) {
        let have: Vec<&str> = config.sites.iter().map(|s| s.file.site.id.as_str()).collect();
        return Err(format!("--site {id:?}: not in {}; it has {}", config.path.display(), have.join(", ")));
    }
    let there: Vec<_> = sites.into_iter().filter(|s| known.contains(&s.file.site.id)).collect();
    if there.is_empty() {
        return Err(format!("{}: has no readings of these sites; it has: {}", config.data_dir.display(), known.join(", ")));
    }
    Ok(there)
}

/// Makes the report.
///
/// # Errors
/// What stands in the way, with the file and what to do.
pub fn run(a: &ReportArgs) -> Result<(), String> {
    let pack = Pack::get(&a.pack).map_err(|e| format!("--pack: {e}"))?;
    let overrides = Overrides { data_dir: a.data_dir.clone(), ..Overrides::default() };
    let config = Config::load(&a.config, &overrides).map_err(|e| e.to_string())?;
    let store = Embedded::open(&config.data_dir).map_err(|e| e.to_string())?;
    let mut books = Vec::new();
    for s in chosen(&config, &store, a.site.as_deref())? {
        let zone = &s.file.site.time_zone;
        let period = match (a.year, &a.period) {
            (Some(year), _) => Period::year(year, zone),
            (None, Some(text)) => Period::parse(text, zone),
            (None, None) => return Err("give --year or --period".into()),
        };
        let file = ReportFile::load(&s.dir, &s.file).map_err(|e| e.to_string())?;
        books.push(Book::gather(&store, &s.file, &s.dir, file, period.map_err(|e| e.to_string())?, a.lang)?);
    }
    let made = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let order = Order { pack: &pack, lang: a.lang, group: a.group, made };
    let (mut doc, jobs) = document(&books, &order)?;
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
