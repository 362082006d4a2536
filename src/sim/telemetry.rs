//! What a hall's sensors say, in the words of the site file.
//!
//! Words: *roles*, loops, limits, actuators and meters are bound to points by the site file's selectors, exactly as a
//! service that listens on the bus binds them; a *row* is the mean over a step.
//! Invariants: values dropped or marked bad by their publisher are left out, and the newest good value stands until the
//! next; nothing here looks at the plant's truth.

use super::hall::Hall;
use crate::ingest::decode::dsx;
use crate::plant::identified::{Binding, Row};
use crate::plant::rows::RowPlan;
use crate::plant::twin::Sensed;
use crate::site::{Catalogue, SiteFile};
use crate::time::Timestamp;

/// A site file that does not fit its plant's points.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    #[error("{site}: point {path}: {why}")]
    Metadata { site: String, path: String, why: &'static str },
    #[error("{site}: {what} selects no point; compare its `select` with the points' metadata")]
    Unbound { site: String, what: String },
}

/// Binds a hall's points to a site file, keeps the newest good values and averages them into rows.
#[derive(Clone, Debug)]
pub struct Telemetry {
    catalogue: Catalogue,
    plan: RowPlan,
    /// Multiply and add to make a value canonical, by point.
    units: Vec<crate::units::Unit>,
    latest: Vec<f64>,
    sums: Vec<f64>,
    counts: Vec<u32>,
    sensed: Vec<Sensed>,
    since: Option<Timestamp>,
}

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
        let plan = RowPlan::new(site, &catalogue);
        if let Some(what) = plan.unbound(site) {
            return Err(TelemetryError::Unbound { site: id(), what });
        }
        let n = plan.len();
        let units = catalogue.iter().map(crate::site::Point::unit).collect();
        let latest = vec![f64::NAN; catalogue.len()];
        Ok(Telemetry { catalogue, plan, units, latest, sums: vec![0.0; n], counts: vec![0; n], sensed: Vec::new(), since: None })
    }

    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }
    pub fn binding(&self) -> &Binding {
        self.plan.binding()
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
        for k in 0..self.plan.len() {
            let v = self.value(k);
            if v.is_finite() {
                self.sums[k] += v;
                self.counts[k] += 1;
            }
        }
    }

    fn value(&self, k: usize) -> f64 {
        self.plan.value(k, |p| self.latest.get(p.0 as usize).copied().unwrap_or(f64::NAN))
    }

    /// Values as they stand now.
    pub fn latest(&self, now: Timestamp) -> Row {
        self.plan.row(now, |k| self.value(k))
    }

    /// Means since the last call, and a new row begun. `None` when nothing was sensed.
    pub fn take_row(&mut self) -> Option<Row> {
        let at = self.since.take()?;
        let row = self.plan.row(at, |k| if self.counts[k] > 0 { self.sums[k] / f64::from(self.counts[k]) } else { f64::NAN });
        self.sums.fill(0.0);
        self.counts.fill(0);
        Some(row)
    }
}
