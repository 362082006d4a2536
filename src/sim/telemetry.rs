//! What a hall's sensors say, in the words of the site file.
//!
//! Words: *roles*, loops, limits, actuators and meters are bound to points by the site file's selectors, exactly as a
//! service that listens on the bus binds them; a *row* is the mean over a step.
//! Invariants: values dropped or marked bad by their publisher are left out, and the newest good value stands until the
//! next; nothing here looks at the plant's truth.

use super::hall::Hall;
use crate::ingest::decode::dsx;
use crate::plant::identified::{Binding, Row};
use crate::plant::twin::Sensed;
use crate::signal::weather::Weather;
use crate::site::{Catalogue, Combine, Selector, SiteFile};
use crate::time::Timestamp;
use crate::units::{dew_point_c, wet_bulb_c};

/// A site file that does not fit its plant's points.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("{site}: point {path}: {why}")]
    Metadata { site: String, path: String, why: &'static str },
    #[error("{site}: {what} selects no point; compare its `select` with the points' metadata")]
    Unbound { site: String, what: String },
}

/// Points behind one value, and how they become one number.
#[derive(Clone, Debug)]
struct Bound {
    points: Vec<usize>,
    combine: Combine,
}

/// Binds a hall's points to a site file, keeps the newest good values and averages them into rows.
#[derive(Clone, Debug)]
pub struct Telemetry {
    catalogue: Catalogue,
    binding: Binding,
    /// In this order: actuators, loops, limits, meters, then the seven of `SCALARS`.
    bound: Vec<Option<Bound>>,
    /// Multiply and add to make a value canonical, by point.
    units: Vec<crate::units::Unit>,
    latest: Vec<f64>,
    sums: Vec<f64>,
    counts: Vec<u32>,
    sensed: Vec<Sensed>,
    since: Option<Timestamp>,
}

const SCALARS: [&str; 6] = ["dry_bulb", "wet_bulb", "outdoor_humidity", "room_dew_point", "gpus_allocated", "gpu_utilisation"];

impl Telemetry {
    /// # Errors
    /// A point's metadata cannot be read, or an actuator, loop, limit or meter of the site file selects no point.
    pub fn new(hall: &Hall, site: &SiteFile) -> Result<Telemetry, TelemetryError> {
        let id = || site.site.id.clone();
        let mut catalogue = Catalogue::new();
        for p in hall.points() {
            let bad = |why| TelemetryError::Metadata { site: id(), path: p.path.clone(), why };
            let point = dsx::metadata(&p.path, p.metadata.to_string().as_bytes()).map_err(bad)?;
            catalogue.upsert(point).ok_or_else(|| bad("the catalogue is full"))?;
        }
        let find = |select: &Selector, combine| {
            let points: Vec<usize> = catalogue.select(select).map(|p| p.id.0 as usize).collect();
            (!points.is_empty()).then_some(Bound { points, combine })
        };
        let role = |name: &str| site.role(name).and_then(|r| find(&r.select, r.combine));
        let need = |b: Option<Bound>, what: String| b.map(Some).ok_or_else(|| TelemetryError::Unbound { site: id(), what });
        let mut bound = Vec::new();
        for a in &site.actuators {
            bound.push(need(find(&a.in_force, Combine::Mean), format!("actuator {:?}, `in_force`,", a.id))?);
        }
        for l in &site.loops {
            bound.push(need(role(&l.load), format!("loop {:?}, role {:?},", l.id, l.load))?);
        }
        for l in &site.limits {
            bound.push(need(role(&l.role), format!("limit {:?}, role {:?},", l.id, l.role))?);
        }
        for m in &site.meters {
            bound.push(need(find(&m.select, Combine::Sum), format!("meter {:?}", m.id))?);
        }
        bound.extend(SCALARS.iter().map(|name| role(name)));
        let mut binding = Binding::of(site);
        for (kind, a) in binding.kinds.iter_mut().zip(&site.actuators) {
            if let Some(p) = catalogue.select(&a.in_force).next() {
                *kind = p.kind;
            }
        }
        let n = bound.len();
        let units = catalogue.iter().map(crate::site::Point::unit).collect();
        let latest = vec![f64::NAN; catalogue.len()];
        Ok(Telemetry { catalogue, binding, bound, units, latest, sums: vec![0.0; n], counts: vec![0; n], sensed: Vec::new(), since: None })
    }

    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }
    pub fn binding(&self) -> &Binding {
        &self.binding
    }

    /// Reads the hall's sensors once and adds the values to the row under way.
    pub fn sense(&mut self, hall: &mut Hall) {
        let mut sensed = std::mem::take(&mut self.sensed);
        hall.sense(&mut sensed);
        for (i, s) in sensed.iter().enumerate() {
            if let (true, Some(slot)) = (!s.dropped && s.quality == 1 && s.value.is_finite(), self.latest.get_mut(i)) {
                *slot = self.units[i].canonical(s.value);
            }
        }
        self.sensed = sensed;
        self.since.get_or_insert(hall.now());
        for k in 0..self.bound.len() {
            let v = self.value(k);
            if v.is_finite() {
                self.sums[k] += v;
                self.counts[k] += 1;
            }
        }
    }

    fn value(&self, k: usize) -> f64 {
        let Some(Some(b)) = self.bound.get(k) else { return f64::NAN };
        let good = b.points.iter().filter_map(|&i| self.latest.get(i).copied()).filter(|v| v.is_finite());
        let (mut n, mut sum, mut lo, mut hi) = (0u32, 0.0, f64::INFINITY, f64::NEG_INFINITY);
        for v in good {
            n += 1;
            sum += v;
            lo = lo.min(v);
            hi = hi.max(v);
        }
        match b.combine {
            _ if n == 0 => f64::NAN,
            Combine::Mean => sum / f64::from(n),
            Combine::Sum => sum,
            Combine::Max => hi,
            Combine::Min => lo,
        }
    }

    fn row(&self, at: Timestamp, value: impl Fn(usize) -> f64) -> Row {
        let b = &self.binding;
        let mut next = 0;
        let mut take = |n: usize| {
            let from = next;
            next += n;
            (from..next).map(&value).collect::<Vec<f64>>()
        };
        let (in_force, loads_kw) = (take(b.actuators.len()), take(b.loops.len()));
        let (limited, meters_kw) = (take(b.limits.len()), take(b.meters.len()));
        let s = take(SCALARS.len());
        let (dry_bulb_c, humidity) = (s[0], s[2]);
        // A site without a wet-bulb point computes it from the humidity.
        let wet = if s[1].is_finite() { s[1] } else { wet_bulb_c(dry_bulb_c, humidity) };
        let weather = Weather { dry_bulb_c, wet_bulb_c: wet, dew_point_c: dew_point_c(dry_bulb_c, humidity) };
        Row { at, in_force, loads_kw, weather, room_dew_point_c: s[3], gpus_allocated: s[4], gpu_utilisation_pct: s[5], meters_kw, limited }
    }

    /// Values as they stand now.
    pub fn latest(&self, now: Timestamp) -> Row {
        self.row(now, |k| self.value(k))
    }

    /// Means since the last call, and a new row begun. `None` when nothing was sensed.
    pub fn take_row(&mut self) -> Option<Row> {
        let at = self.since.take()?;
        let row = self.row(at, |k| if self.counts[k] > 0 { self.sums[k] / f64::from(self.counts[k]) } else { f64::NAN });
        self.sums.fill(0.0);
        self.counts.fill(0);
        Some(row)
    }
}
