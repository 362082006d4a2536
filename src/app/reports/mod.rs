//! Reports that the running service makes on order, and keeps.
//!
//! Words: an *order* waits in the queue until the *maker*, one thread of low priority, has time for it; a *shelf* keeps what was made.
//! Invariants: one report at a time, at most [`WAITING_MAX`] wait, the same one never twice; the maker reads the store that the
//! service has open and writes nothing but the shelf; a report is whole or not there; what failed says why; who ordered is in the
//! audit trail of each site in it; what is on the shelf is bounded in number and age (`[reports]`).
//! An order that still waits when the service ends is gone: nobody would know of a report that nobody waits for.

mod make;
mod shelf;

pub use make::{Wanted, chosen, make, period_of};

use super::reload::InForce;
use super::site_task::host_now;
use crate::api::Fault;
use crate::api::reports::{OpenFile, Report, ReportList, ReportOrder, ReportPack, ReportState};
use crate::event::{REPORTS, Tally};
use crate::report::figure::Status;
use crate::report::pack::Pack;
use crate::report::{Lang, write};
use crate::store::{Embedded, free_bytes};
use crate::time::Timestamp;
use serde::Deserialize;
use shelf::{Shelf, surplus};
use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::watch;

/// Orders that may wait.
const WAITING_MAX: usize = 8;
/// Orders that failed and are still told of.
const FAILED_MAX: usize = 20;
/// Free disk below which none is begun: the store needs it first.
const ROOM_BYTES: u64 = 256 << 20;
/// How often the shelf is looked through for what is too old.
const LOOK_EVERY: Duration = Duration::from_secs(3600);
/// The maker's niceness: it yields to intake and control.
const NICE: i32 = 10;
const KEEP_MAX: usize = 1000;

/// `[reports]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReportSettings {
    /// Reports that are kept; the oldest go first.
    pub keep: usize,
    /// Days that a report is kept.
    pub keep_days: u32,
}

impl Default for ReportSettings {
    fn default() -> ReportSettings {
        ReportSettings { keep: 100, keep_days: 3650 }
    }
}

impl ReportSettings {
    pub fn check(&self) -> Result<(), String> {
        if !(1..=KEEP_MAX).contains(&self.keep) {
            return Err(format!("keep = {}: give how many reports are kept, 1 to {KEEP_MAX}", self.keep));
        }
        if self.keep_days == 0 {
            return Err("keep_days = 0: give how many days a report is kept, 1 or more".into());
        }
        Ok(())
    }
}

#[derive(Default)]
struct State {
    /// Oldest first: those that wait, and the one that is being made.
    orders: VecDeque<(Report, Wanted)>,
    /// Oldest first.
    failed: VecDeque<Report>,
    /// Oldest first; what is on the shelf.
    made: Vec<Report>,
    ends: bool,
}

/// See the module's text.
pub struct Reports {
    in_force: InForce,
    store: Arc<Embedded>,
    shelf: Shelf,
    packs: Vec<ReportPack>,
    tally: Arc<Tally>,
    changes: watch::Sender<u64>,
    state: Mutex<State>,
    wake: Condvar,
}

/// The packs, as the API shows them.
fn packs() -> Vec<ReportPack> {
    let shown = |p: Pack| ReportPack {
        title: Lang::ALL.iter().map(|l| (l.code().to_owned(), p.title.get(*l).to_owned())).collect(),
        id: p.id,
        version: p.version,
        citation: p.cite,
    };
    Pack::names().into_iter().filter_map(|id| Pack::get(id).ok()).map(shown).collect()
}

impl Reports {
    pub fn new(in_force: InForce, store: Arc<Embedded>, tally: Arc<Tally>, changes: watch::Sender<u64>) -> Reports {
        let shelf = Shelf::new(store.dir());
        let state = Mutex::new(State { made: shelf.open(), ..State::default() });
        Reports { in_force, store, shelf, packs: packs(), tally, changes, state, wake: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn changed(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    /// Packs and reports, newest order first.
    pub fn list(&self) -> ReportList {
        let s = self.state();
        let mut reports: Vec<Report> = s.orders.iter().map(|(r, _)| r).chain(&s.failed).chain(&s.made).cloned().collect();
        let waiting = s.orders.iter().filter(|(r, _)| r.state == ReportState::Waiting).count();
        drop(s);
        reports.sort_by(|a, b| (b.ordered_at, &b.id).cmp(&(a.ordered_at, &a.id)));
        ReportList { packs: self.packs.clone(), room: WAITING_MAX.saturating_sub(waiting), reports }
    }

    /// What an order means, or what is wrong with it.
    fn wanted(&self, order: &ReportOrder) -> Result<(Wanted, Vec<String>), Fault> {
        let short = |t: &str| t.chars().take(60).collect::<String>();
        let pack = Pack::names().into_iter().find(|n| *n == order.pack);
        let no_pack = || {
            Fault::unknown("pack", format!("no pack is called {:?}", short(&order.pack)), format!("one of: {}", Pack::names().join(", ")))
        };
        let pack = pack.ok_or_else(no_pack)?;
        let lang = Lang::of(&order.lang).ok_or_else(|| {
            let detail = format!("{:?} is no language of a report", short(&order.lang));
            Fault::invalid("lang", detail, "one of: en, es, ca")
        })?;
        let config = self.in_force.borrow().clone();
        let sites: Vec<_> = config.sites.iter().filter(|s| order.site.as_ref().is_none_or(|id| s.file.site.id == *id)).collect();
        for s in &sites {
            period_of(&order.period, &s.file.site.time_zone).map_err(|e| {
                let mend =
                    "give a year (2026), or two dates or instants on quarter-hours (2026-01-01..2026-07-01), the second not part of it";
                Fault::invalid("period", format!("{:?}: {}", short(&e.text), e.why), mend)
            })?;
        }
        let period = order.period.trim().to_owned();
        Ok((Wanted { pack: pack.into(), period, site: order.site.clone(), lang }, sites.iter().map(|s| s.file.site.id.clone()).collect()))
    }

    /// Takes an order; the report that waits, and whether it is a new one.
    pub fn order(&self, order: &ReportOrder, now: Timestamp) -> Result<(Report, bool), Fault> {
        let (wanted, sites) = self.wanted(order).inspect_err(|_| self.tally.add(REPORTS, "refused", 1))?;
        let mut s = self.state();
        if let Some((report, _)) = s.orders.iter().find(|(_, w)| *w == wanted) {
            return Ok((report.clone(), false));
        }
        if s.orders.iter().filter(|(r, _)| r.state == ReportState::Waiting).count() >= WAITING_MAX {
            self.tally.add(REPORTS, "refused", 1);
            return Err(Fault::busy(format!("{WAITING_MAX} reports wait to be made"), "order it again when one of them is made"));
        }
        let report = Report {
            id: s.free_id(now),
            pack: wanted.pack.clone(),
            period: wanted.period.clone(),
            site: wanted.site.clone(),
            sites,
            lang: wanted.lang.code().into(),
            ordered_by: order.who.clone(),
            why: order.why.clone(),
            ordered_at: now.0,
            version: 1,
            ..Report::default()
        };
        s.orders.push_back((report.clone(), wanted));
        drop(s);
        self.wake.notify_all();
        self.changed();
        Ok((report, true))
    }

    /// Opens a file of a report.
    pub fn file(&self, id: &str, name: &str) -> Result<OpenFile, Fault> {
        let short = |t: &str| t.chars().take(80).collect::<String>();
        let report = self.state().made.iter().find(|r| r.id == id).cloned();
        let report = report.ok_or_else(|| {
            Fault::unknown("id", format!("no report that is made is called {:?}", short(id)), "GET /api/v1/reports lists them")
        })?;
        let told = report.files.iter().find(|f| f.name == name).cloned().ok_or_else(|| {
            let names: Vec<&str> = report.files.iter().map(|f| f.name.as_str()).collect();
            Fault::unknown("name", format!("the report has no file {:?}", short(name)), format!("its files: {}", names.join(", ")))
        })?;
        let file = self.shelf.file(&report, &told).map_err(|e| {
            Fault::unknown("name", format!("{name} cannot be read any more: {e}"), "order the report again, or restore it from a backup")
        })?;
        let scope = report.site.as_deref().unwrap_or("group");
        let whole = format!("{scope}-{}-{}-{}-v{}-{name}", report.pack, report.period.replace("..", "_"), report.lang, report.version);
        let save_as = whole.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
        Ok(OpenFile { file, told, save_as })
    }

    /// Ends the maker after what it is at.
    pub fn end(&self) {
        self.state().ends = true;
        self.wake.notify_all();
    }

    /// The maker: until [`Reports::end`].
    pub fn run(&self) {
        yield_to_others();
        loop {
            self.clear(host_now());
            let Some((report, wanted)) = self.next() else { return };
            self.one(report, &wanted);
        }
    }

    /// The next order, marked as being made; `None` at the end. Between orders the shelf is looked through now and then.
    fn next(&self) -> Option<(Report, Wanted)> {
        let mut s = self.state();
        loop {
            if s.ends {
                if !s.orders.is_empty() {
                    tracing::warn!("{} reports were ordered and not made: the service ends", s.orders.len());
                }
                return None;
            }
            if let Some((report, wanted)) = s.orders.front_mut() {
                report.state = ReportState::Making;
                return Some((report.clone(), wanted.clone()));
            }
            let (again, waited) = self.wake.wait_timeout(s, LOOK_EVERY).unwrap_or_else(|e| e.into_inner());
            s = again;
            if waited.timed_out() {
                drop(s);
                self.clear(host_now());
                s = self.state();
            }
        }
    }

    /// Makes one; it is the first of the orders until it is made or has failed.
    fn one(&self, mut report: Report, wanted: &Wanted) {
        let begun = std::time::Instant::now();
        // A fault of ours in one report must not end the maker.
        let work = std::panic::AssertUnwindSafe(|| self.write(&mut report, wanted));
        let done = std::panic::catch_unwind(work).unwrap_or_else(|_| Err("a fault of this program; its log has more".into()));
        let name = format!("{} {} of {}", report.pack, report.period, report.sites.join(", "));
        let mut s = self.state();
        s.orders.pop_front();
        match done {
            Ok(()) => {
                tracing::info!("report {} made for {}: {name}, {:.1} s", report.id, report.ordered_by, begun.elapsed().as_secs_f64());
                self.tally.add(REPORTS, "made", 1);
                s.made.push(report);
            }
            Err(why) => {
                self.shelf.give_up(&report.id);
                tracing::warn!("report {} not made: {name}: {why}", report.id);
                self.tally.add(REPORTS, "failed", 1);
                (report.state, report.step, report.why_not) = (ReportState::Failed, String::new(), Some(why));
                if s.failed.len() == FAILED_MAX {
                    s.failed.pop_front();
                }
                s.failed.push_back(report);
            }
        }
        drop(s);
        self.changed();
    }

    fn write(&self, report: &mut Report, wanted: &Wanted) -> Result<(), String> {
        if let Some(free) = free_bytes(self.store.dir()).filter(|free| *free < ROOM_BYTES) {
            return Err(format!(
                "only {} MiB are free where the data directory is, and the store needs them; free some, then order it again",
                free >> 20
            ));
        }
        let config = self.in_force.borrow().clone();
        let made_at = host_now();
        let mut tell = |step: String, done: f64| {
            let mut s = self.state();
            if let Some((r, _)) = s.orders.front_mut() {
                (r.step, r.done) = (step, done);
            }
            let goes_on = !s.ends;
            drop(s);
            self.changed();
            goes_on
        };
        let made = jiff::Timestamp::from_millisecond(made_at.0).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        let (mut doc, jobs) = make(&config, &self.store, wanted, made, &mut tell)?;
        if let Some(before) = self.before(wanted).filter(|b| write::same_report(b, &doc)) {
            write::follow(&mut doc, before);
        }
        let folder = self.shelf.begin(&report.id)?;
        let mut paths = write::write(&mut doc, &jobs, &folder, wanted.lang, true)?;
        // What people open first stands first.
        let first = ["report.pdf", "report.xlsx", "report.html", "report.json"];
        paths.sort_by_key(|p| first.iter().position(|f| p.ends_with(f)).unwrap_or(first.len()));
        report.sites = chosen(&config, &self.store, wanted.site.as_deref())?.iter().map(|s| s.file.site.id.clone()).collect();
        (report.version, report.changes, report.figures) = (doc.version, doc.changes.len(), doc.figures.len());
        report.missing = doc.figures.iter().filter(|f| f.status == Status::Missing).count();
        (report.state, report.step, report.done, report.made_at) = (ReportState::Made, String::new(), 1.0, Some(made_at.0));
        self.shelf.finish(report, &paths)
    }

    /// The newest report that asks for the same.
    fn before(&self, wanted: &Wanted) -> Option<crate::report::figure::Document> {
        let same = |r: &&Report| {
            (&r.pack, &r.period, &r.site, r.lang.as_str()) == (&wanted.pack, &wanted.period, &wanted.site, wanted.lang.code())
        };
        let id = self.state().made.iter().rev().find(same)?.id.clone();
        self.shelf.document(&id)
    }

    /// Takes away what is too many or too old.
    fn clear(&self, now: Timestamp) {
        let settings = self.in_force.borrow().reports.clone();
        let gone = surplus(&self.state().made, now, settings.keep, settings.keep_days);
        for id in gone {
            match self.shelf.remove(&id) {
                Ok(()) => tracing::info!("report {id} taken away: [reports] keeps {} for {} days", settings.keep, settings.keep_days),
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    tracing::warn!("report {id} cannot be taken away: {e}");
                    continue;
                }
            }
            self.state().made.retain(|r| r.id != id);
        }
    }
}

impl State {
    /// A name that no report has: the instant, and a number where there are several.
    fn free_id(&self, now: Timestamp) -> String {
        let at = jiff::Timestamp::from_millisecond(now.0).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
        let taken = |id: &str| self.orders.iter().map(|(r, _)| r).chain(&self.failed).chain(&self.made).any(|r| r.id == id);
        (1..).map(|n| if n == 1 { at.clone() } else { format!("{at}-{n}") }).find(|id| !taken(id)).unwrap_or(at)
    }
}

/// Gives this thread a low priority. Where that is not allowed it works all the same.
fn yield_to_others() {
    if let Err(e) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!("reports are made with normal priority: {e}");
    }
}

/// Starts the maker; the task ends with the service.
pub fn start(reports: &Arc<Reports>, mut stop: watch::Receiver<bool>) -> Result<tokio::task::JoinHandle<()>, String> {
    let maker = Arc::clone(reports);
    let thread =
        std::thread::Builder::new().name("reports".into()).spawn(move || maker.run()).map_err(|e| format!("no thread for reports: {e}"))?;
    let reports = Arc::clone(reports);
    Ok(tokio::spawn(async move {
        let _ = stop.wait_for(|s| *s).await;
        reports.end();
        // A report that is being written is waited for as long as the service's end allows.
        let _ = tokio::task::spawn_blocking(move || thread.join()).await;
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn names_follow_the_clock_and_are_never_given_twice() {
        let mut s = State::default();
        let now = Timestamp::parse("2026-11-29T10:15:00.250Z").unwrap_or(Timestamp(0));
        assert_eq!(s.free_id(now), "20261129T101500Z");
        s.failed.push_back(Report { id: s.free_id(now), ..Report::default() });
        s.made.push(Report { id: s.free_id(now), ..Report::default() });
        assert_eq!(s.free_id(now + Span(10)), "20261129T101500Z-3");
    }

    #[test]
    fn orders_are_bounded_and_the_same_is_not_made_twice() {
        use crate::app::config::{Config, Overrides};
        let dir = std::env::temp_dir().join(format!("tramuntana-orders-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("sensors/tramuntana.toml");
        let config = Config::load(&file, &Overrides::default()).unwrap();
        let (_force, in_force) = watch::channel(Arc::new(config));
        let store = Arc::new(Embedded::open(&dir).unwrap());
        let reports = Reports::new(in_force, store, Arc::new(Tally::new()), watch::channel(0).0);
        let order = |year: usize| ReportOrder {
            pack: "iso-30134".into(),
            period: year.to_string(),
            site: None,
            lang: "es".into(),
            who: "x".into(),
            why: String::new(),
        };
        let now = Timestamp(1_784_030_400_000);
        let first = reports.order(&order(2001), now).unwrap();
        assert!(first.1 && first.0.sites.len() == 3);
        assert_eq!(reports.order(&order(2001), now).unwrap(), (first.0.clone(), false));
        for year in 2002..2001 + WAITING_MAX {
            assert!(reports.order(&order(year), now).unwrap().1);
        }
        assert_eq!(reports.list().room, 0);
        assert!(matches!(reports.order(&order(2050), now), Err(Fault::Busy { .. })));
        assert_eq!(reports.order(&order(2001), now).unwrap().0.id, first.0.id, "one that waits is no new one");
        assert_eq!(reports.tally.get(REPORTS, "refused"), 1);
        // The store has no readings: each fails, says so, and makes room.
        reports.end();
        let (report, wanted) = reports.state().orders.front().cloned().unwrap();
        reports.one(report, &wanted);
        let list = reports.list();
        assert_eq!((list.room, list.reports.len()), (1, WAITING_MAX));
        let failed = list.reports.iter().find(|r| r.id == first.0.id).unwrap();
        assert!(failed.state == ReportState::Failed && failed.why_not.as_ref().is_some_and(|w| w.contains("no readings")), "{failed:?}");
        assert!(reports.file(&first.0.id, "report.pdf").is_err());
        drop(reports);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn what_is_kept_is_bounded() {
        assert!(ReportSettings::default().check().is_ok());
        assert!(ReportSettings { keep: 0, keep_days: 1 }.check().unwrap_err().contains("keep = 0"));
        assert!(ReportSettings { keep: 5000, keep_days: 1 }.check().is_err());
        assert!(ReportSettings { keep: 1, keep_days: 0 }.check().unwrap_err().contains("keep_days"));
    }
}
