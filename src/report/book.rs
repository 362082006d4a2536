//! A site's book: everything that a pack counts with, out of the store and the site's own files, for one period.
//!
//! One walk over the store serves all meters. Memory: one grid a meter and partition, whatever the density of the readings.

use super::account::{BIN, Event, Gap, Grid, Metered, Nature, Period, Quantity, Segment, Terms};
use super::jobs::{self, JobRow};
use super::lang::Lang;
use super::register::{Device, MeterRole, RegisterMeter, ReportFile};
use super::series::{self, Series};
use crate::reading::PointId;
use crate::site::{Catalogue, Selector, SiteFile};
use crate::store::{Row, Store};
use crate::time::{Span, Timestamp};
use crate::units::Kind;
use jiff::tz::TimeZone;
use std::collections::HashMap;
use std::path::Path;

/// How far before and after the period readings are looked for, to span its edges.
const MARGIN: Span = Span::hours(24);

/// One meter with what was counted.
#[derive(Clone, Debug)]
pub struct MeterBook {
    pub entry: RegisterMeter,
    pub role: MeterRole,
    /// kWh, m³, or °C·h for temperatures.
    pub quantity: Quantity,
    pub gaps: Vec<Gap>,
    pub events: Vec<Event>,
    /// Paths of its points; none = the register names points that the store does not have.
    pub points: Vec<String>,
}

impl MeterBook {
    /// Time mean of a temperature, °C, over what good readings span.
    pub fn mean(&self) -> Option<f64> {
        (self.quantity.covered_h > 0.0).then(|| self.quantity.measured / self.quantity.covered_h)
    }
}

/// One partition.
#[derive(Clone, Debug)]
pub struct PartitionBook {
    pub id: String,
    pub name: String,
    pub gpus: f64,
    pub idle_kw_per_gpu: f64,
    /// Energy of its racks, kWh.
    pub it: Quantity,
    /// GPU-hours allocated, and utilisation % × h.
    pub allocated: Quantity,
    pub utilisation: Quantity,
}

impl PartitionBook {
    /// Allocated GPU-hours weighted by their utilisation, by bin.
    pub fn active(&self) -> Vec<f64> {
        let share = |h: f64| (h / BIN.as_hours_f64() / 100.0).clamp(0.0, 1.0);
        self.allocated.bins.iter().zip(&self.utilisation.bins).map(|(a, u)| a * share(*u)).collect()
    }
}

/// The book.
pub struct Book {
    pub id: String,
    pub name: String,
    pub label: String,
    pub period: Period,
    pub file: ReportFile,
    pub meters: Vec<MeterBook>,
    pub partitions: Vec<PartitionBook>,
    /// Outdoor dry bulb, °C, by bin; NaN where nothing was measured.
    pub dry_bulb_c: Vec<f64>,
    /// Local hour and month, by bin.
    pub clock: Vec<(u8, u8)>,
    pub carbon_location: Option<Series>,
    pub carbon_market: Option<Series>,
    pub price: Option<Series>,
    pub jobs: Vec<JobRow>,
}

/// Which sum a segment belongs to.
#[derive(Clone, Copy)]
enum Place {
    Meter(usize),
    It(usize),
    Allocated(usize),
    Utilisation(usize),
    DryBulb,
}

struct Feed {
    place: Place,
    segment: Segment,
    /// Zone that stamps are civil times of.
    clock: Option<TimeZone>,
}

/// How a point's values become an amount.
fn nature(kind: Kind, said: Option<Nature>) -> (Nature, f64) {
    let by_unit = if matches!(kind, Kind::Energy | Kind::Volume) { Nature::Counter } else { Nature::Rate };
    // L/min → m³/h.
    let factor = if kind == Kind::Flow { 0.06 } else { 1.0 };
    (said.unwrap_or(by_unit), factor)
}

fn terms(kind: Kind, m: &RegisterMeter, d: &Device) -> Terms {
    let (nature, factor) = nature(kind, m.nature.map(Into::into));
    Terms {
        factor: factor * d.factor.unwrap_or(1.0),
        gap_after: m.gap(),
        since: d.instant(&d.since),
        until: d.instant(&d.until),
        initial: d.initial,
        last: d.last,
        rolls_over_at: d.rolls_over_at,
        rated: d.rated,
        class_pct: d.class_pct,
        ..Terms::new(nature)
    }
}

/// A stamp that a device wrote as civil time of a zone, as an instant. Of a time that the clock shows twice, the first.
fn as_instant(at: Timestamp, zone: &TimeZone) -> Timestamp {
    let civil = jiff::Timestamp::from_millisecond(at.0).map(|t| TimeZone::UTC.to_datetime(t));
    let instant = civil.ok().and_then(|c| zone.to_timestamp(c).ok());
    instant.map_or(at, |t| Timestamp(t.as_millisecond()))
}

impl Book {
    /// Reads a site's store and files. `dir` is the site file's folder; `lang` is that of the notes.
    ///
    /// # Errors
    /// The store, a series or the jobs cannot be read.
    pub fn gather(store: &dyn Store, site: &SiteFile, dir: &Path, file: ReportFile, period: Period, lang: Lang) -> Result<Book, String> {
        let id = &site.site.id;
        let grid = period.grid;
        let catalogue = store.catalogue(id).map_err(|e| e.to_string())?;
        let mut feeds: HashMap<PointId, Vec<Feed>> = HashMap::new();
        let mut meter_points: Vec<Vec<String>> = Vec::new();
        for (i, m) in file.meters.iter().enumerate() {
            meter_points.push(feed_meter(&mut feeds, &catalogue, grid, i, m));
        }
        let one = site.partitions.len() == 1;
        let role = |name: &str| site.role(name).map(|r| r.select.clone());
        let feed = |select: Option<Selector>, place: Place, feeds: &mut HashMap<PointId, Vec<Feed>>| {
            for p in select.iter().flat_map(|s| catalogue.select(s)) {
                let (nature, factor) = nature(p.kind, None);
                let terms = Terms { factor, ..Terms::new(nature) };
                feeds.entry(p.id).or_default().extend(Segment::new(grid, terms).map(|segment| Feed { place, segment, clock: None }));
            }
        };
        let mut racks = Vec::new();
        for (i, p) in site.partitions.iter().enumerate() {
            let told = file.partition(&p.id);
            racks.push(catalogue.select(&p.racks).count());
            feed(Some(p.racks.clone()), Place::It(i), &mut feeds);
            let allocated = told.and_then(|t| t.allocated.clone()).or_else(|| role("gpus_allocated").filter(|_| one));
            let utilisation = told.and_then(|t| t.utilisation.clone()).or_else(|| role("gpu_utilisation").filter(|_| one));
            feed(allocated, Place::Allocated(i), &mut feeds);
            feed(utilisation, Place::Utilisation(i), &mut feeds);
        }
        feed(role("dry_bulb"), Place::DryBulb, &mut feeds);
        walk(store, id, grid, &mut feeds)?;

        let mut parts: HashMap<usize, (Vec<Segment>, Vec<Segment>, Vec<Segment>)> = HashMap::new();
        let mut metered: Vec<Vec<Segment>> = file.meters.iter().map(|_| vec![]).collect();
        let mut air = Vec::new();
        let mut ids: Vec<PointId> = feeds.keys().copied().collect();
        ids.sort_unstable();
        for f in ids.iter().filter_map(|p| feeds.remove(p)).flatten() {
            match f.place {
                Place::Meter(i) => metered[i].push(f.segment),
                Place::It(i) => parts.entry(i).or_default().0.push(f.segment),
                Place::Allocated(i) => parts.entry(i).or_default().1.push(f.segment),
                Place::Utilisation(i) => parts.entry(i).or_default().2.push(f.segment),
                Place::DryBulb => air.push(f.segment),
            }
        }
        let mut meters = Vec::new();
        for ((entry, segments), points) in file.meters.iter().zip(metered).zip(meter_points) {
            let there = !segments.is_empty();
            let (mut quantity, metered) = Quantity::of(grid, &format!("{id}/{}", entry.id), segments);
            if !there {
                quantity.meters.clear();
            }
            let (gaps, events) = all(&metered);
            let role = entry.role.unwrap_or(MeterRole::Other);
            meters.push(MeterBook { entry: entry.clone(), role, quantity, gaps, events, points });
        }
        let mut partitions = Vec::new();
        for (i, p) in site.partitions.iter().enumerate() {
            let (it, allocated, utilisation) = parts.remove(&i).unwrap_or_default();
            let of = |what: &str, segments: Vec<Segment>| {
                let there = !segments.is_empty();
                let (mut q, _) = Quantity::of(grid, &format!("{id}/{}/{what}", p.id), segments);
                if !there {
                    q.meters.clear();
                }
                q
            };
            partitions.push(PartitionBook {
                id: p.id.clone(),
                name: p.name.clone(),
                gpus: f64::from(p.gpus_per_rack) * racks[i] as f64,
                idle_kw_per_gpu: file.partition(&p.id).map_or(0.0, |t| t.idle_kw_per_gpu),
                it: of("racks", it),
                allocated: of("allocated", allocated),
                utilisation: of("utilisation", utilisation),
            });
        }
        let load = |source: &Option<super::register::SeriesSource>| {
            source.as_ref().map(|s| series::load(store, id, &catalogue, dir, s, &period, lang)).transpose()
        };
        let carbon_location = load(&file.series.carbon_location)?;
        let carbon_market = load(&file.series.carbon_market)?;
        let price = load(&file.series.price)?;
        let jobs = match &file.jobs {
            Some(source) => jobs::load(&dir.join(&source.file), &period.zone).map_err(|e| e.to_string())?,
            None => vec![],
        };
        Ok(Book {
            id: id.clone(),
            name: site.site.name.clone(),
            label: site.site.label.clone(),
            dry_bulb_c: mean_bins(grid, air),
            clock: period.clock(),
            period,
            file,
            meters,
            partitions,
            carbon_location,
            carbon_market,
            price,
            jobs,
        })
    }

    pub fn grid(&self) -> Grid {
        self.period.grid
    }

    /// The sum of the meters of a role; none where there is no such meter.
    pub fn sum(&self, role: MeterRole) -> Quantity {
        Quantity::sum(self.grid(), self.meters.iter().filter(|m| m.role == role).map(|m| &m.quantity))
    }
}

/// Feeds one meter's points; returns their paths.
fn feed_meter(feeds: &mut HashMap<PointId, Vec<Feed>>, catalogue: &Catalogue, grid: Grid, i: usize, m: &RegisterMeter) -> Vec<String> {
    let clock = m.clock.as_deref().and_then(|z| TimeZone::get(z).ok());
    let unnamed = [Device::default()];
    let devices = if m.devices.is_empty() { &unnamed[..] } else { &m.devices[..] };
    let mut paths = Vec::new();
    for d in devices {
        let Some(select) = d.select.as_ref().or(m.select.as_ref()) else { continue };
        for p in catalogue.select(select) {
            if !paths.contains(&p.path) {
                paths.push(p.path.clone());
            }
            let made = Segment::new(grid, terms(p.kind, m, d));
            feeds.entry(p.id).or_default().extend(made.map(|segment| Feed { place: Place::Meter(i), segment, clock: clock.clone() }));
        }
    }
    paths
}

fn walk(store: &dyn Store, site: &str, grid: Grid, feeds: &mut HashMap<PointId, Vec<Feed>>) -> Result<(), String> {
    let mut points: Vec<PointId> = feeds.keys().copied().collect();
    points.sort_unstable();
    if points.is_empty() {
        return Ok(());
    }
    let mut shifted: Vec<Row> = Vec::new();
    store
        .rows_each(site, &points, grid.from - MARGIN, grid.to + MARGIN, &mut |point, rows| {
            for f in feeds.get_mut(&point).into_iter().flatten() {
                match &f.clock {
                    None => f.segment.rows(rows),
                    Some(zone) => {
                        shifted.clear();
                        shifted.extend(rows.iter().map(|r| Row { at: as_instant(r.at, zone), ..*r }));
                        f.segment.rows(&shifted);
                    }
                }
            }
            true
        })
        .map_err(|e| e.to_string())
}

fn all(parts: &[Metered]) -> (Vec<Gap>, Vec<Event>) {
    let mut gaps: Vec<Gap> = parts.iter().flat_map(|p| p.gaps.iter().copied()).collect();
    let mut events: Vec<Event> = parts.iter().flat_map(|p| p.events.iter().cloned()).collect();
    gaps.sort_by_key(|g| g.from);
    events.sort_by_key(|e| e.at);
    (gaps, events)
}

/// Means of a rate by bin over what was measured, all points alike; NaN elsewhere.
fn mean_bins(grid: Grid, segments: Vec<Segment>) -> Vec<f64> {
    let mut sum = grid.zeros();
    let mut hours = grid.zeros();
    for s in segments {
        let (m, _, _) = s.finish();
        for i in 0..grid.len() {
            sum[i] += m.measured[i];
            hours[i] += f64::from(m.covered_ms[i]) / 3.6e6;
        }
    }
    sum.iter().zip(&hours).map(|(s, h)| if *h > 0.0 { s / h } else { f64::NAN }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_civil_clock_loses_the_hour_that_comes_twice() {
        let zone = TimeZone::get("Europe/Madrid").unwrap();
        let at = |t: &str| Timestamp::parse(t).unwrap();
        // Winter: one hour ahead; 02:30 on the last Sunday of October is taken as the first of the two.
        assert_eq!(as_instant(at("2025-01-10T12:00:00Z"), &zone), at("2025-01-10T11:00:00Z"));
        assert_eq!(as_instant(at("2025-10-26T02:30:00Z"), &zone), at("2025-10-26T00:30:00Z"));
        assert_eq!(as_instant(at("2025-10-26T03:00:00Z"), &zone), at("2025-10-26T02:00:00Z"));
    }

    #[test]
    fn a_meter_on_a_civil_clock_has_an_hour_to_estimate_in_autumn() {
        // 60 kW, stamped every quarter of an hour of civil time: the store has each stamp once, so that of the day's 25 hours
        // the second 02:00–03:00 is silent: from 02:45 (first) to 03:00, 1 h 15 min, a straight line of 75 kWh.
        let zone = TimeZone::get("Europe/Madrid").unwrap();
        let p = Period::parse("2025-10-26..2025-10-27", "Europe/Madrid").unwrap();
        let mut s = Segment::new(p.grid, Terms::new(Nature::Rate)).unwrap();
        let civil = Timestamp::parse("2025-10-26").unwrap();
        for k in 0..=96 {
            s.take(as_instant(civil + Span::minutes(15 * k), &zone), 60.0);
        }
        let (q, _) = Quantity::of(p.grid, "m", vec![s]);
        assert!((q.value() - 1500.0).abs() < 1e-9 && (q.estimated - 75.0).abs() < 1e-9, "{} {}", q.value(), q.estimated);
    }
}
