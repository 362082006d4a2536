//! One report out of a store: what the command and the service share.
//!
//! Invariants: the store is only read; `made` is the instant that stands in the report, so that the same store and instant give
//! the same bytes.

use crate::app::config::{Config, ConfiguredSite};
use crate::report::account::{Period, PeriodError};
use crate::report::figure::Document;
use crate::report::gpu::JobShare;
use crate::report::pack::{Order, Pack, document};
use crate::report::{Book, Lang, ReportFile};
use crate::store::Embedded;

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    pub pack: String,
    /// A year, or `A..B`.
    pub period: String,
    /// One site; all that the store has, as one group, where there is none.
    pub site: Option<String>,
    pub lang: Lang,
}

/// A period as people write it: a year, or `A..B` with B not part of it.
pub fn period_of(text: &str, zone: &str) -> Result<Period, PeriodError> {
    let text = text.trim();
    match text.parse::<i16>() {
        Ok(year) if text.len() == 4 => Period::year(year, zone),
        _ => Period::parse(text, zone),
    }
}

/// The sites that are asked for, of those that the store has.
pub fn chosen<'a>(config: &'a Config, store: &Embedded, site: Option<&str>) -> Result<Vec<&'a ConfiguredSite>, String> {
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

/// Makes a report's document, and the jobs that belong to it. `tell` hears what comes next and the share that is done; where it
/// says no, nothing more is made.
///
/// # Errors
/// What stands in the way, with the file and what to do.
pub fn make(
    config: &Config,
    store: &Embedded,
    wanted: &Wanted,
    made: String,
    tell: &mut dyn FnMut(String, f64) -> bool,
) -> Result<(Document, Vec<JobShare>), String> {
    let pack = Pack::get(&wanted.pack)?;
    let sites = chosen(config, store, wanted.site.as_deref())?;
    // Reading is most of the work; figures and files are the last part.
    let parts = sites.len() as f64 + 1.0;
    let mut books = Vec::new();
    for (i, s) in sites.iter().enumerate() {
        if !tell(format!("reads {}", s.file.site.id), i as f64 / parts) {
            return Err("the service ended before it was made; order it again".into());
        }
        let period = period_of(&wanted.period, &s.file.site.time_zone).map_err(|e| e.to_string())?;
        let file = ReportFile::load(&s.dir, &s.file).map_err(|e| e.to_string())?;
        books.push(Book::gather(store, &s.file, &s.dir, file, period, wanted.lang)?);
    }
    tell("works out figures and writes files".into(), sites.len() as f64 / parts);
    document(&books, &Order { pack: &pack, lang: wanted.lang, group: wanted.site.is_none(), made })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_year_or_two_edges_are_a_period() {
        let zone = "Europe/Madrid";
        assert_eq!(period_of("2026", zone).map(|p| p.label).ok().as_deref(), Some("2026"));
        assert_eq!(period_of(" 2026-01-01..2026-07-01 ", zone).map(|p| p.grid.hours()).ok(), Some(4343.0));
        for bad in ["", "26", "2026-07-01..2026-01-01", "20260101", "next year", "9999", "-001"] {
            assert!(period_of(bad, zone).is_err(), "{bad:?}");
        }
    }
}
