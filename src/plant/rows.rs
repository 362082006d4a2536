//! From points to rows: the site file's roles, loops, limits, actuators and meters as the vectors that a plant model is
//! learnt from. A simulated hall, a running service and a store's history all go through here.
//!
//! Words: a *slot* is one number of a row before it is sorted into its fields. Invariant: what is unknown is NaN.

use super::identified::{Binding, Row};
use crate::reading::PointId;
use crate::signal::weather::Weather;
use crate::site::{Catalogue, Combine, Selector, SiteFile};
use crate::time::Timestamp;
use crate::units::{dew_point_c, wet_bulb_c};

/// Roles outside loops, limits and meters that a row carries.
const SCALARS: [&str; 6] = ["dry_bulb", "wet_bulb", "outdoor_humidity", "room_dew_point", "gpus_allocated", "gpu_utilisation"];

/// Points behind one slot, and how they become one number.
#[derive(Clone, Debug)]
struct Slot {
    points: Vec<PointId>,
    combine: Combine,
}

/// Which points make which number of a row.
#[derive(Clone, Debug)]
pub struct RowPlan {
    binding: Binding,
    /// In this order: actuators, loops, limits, meters, scalars.
    slots: Vec<Option<Slot>>,
}

impl RowPlan {
    /// Binds a site file to points. Actuators' kinds are those of their points.
    pub fn new(site: &SiteFile, catalogue: &Catalogue) -> RowPlan {
        let find = |select: &Selector, combine| {
            let points: Vec<PointId> = catalogue.select(select).map(|p| p.id).collect();
            (!points.is_empty()).then_some(Slot { points, combine })
        };
        let role = |name: &str| site.role(name).and_then(|r| find(&r.select, r.combine));
        let mut slots: Vec<Option<Slot>> = Vec::new();
        slots.extend(site.actuators.iter().map(|a| find(&a.in_force, Combine::Mean)));
        slots.extend(site.loads().map(role));
        slots.extend(site.limits.iter().map(|l| role(&l.role)));
        slots.extend(site.meters.iter().map(|m| find(&m.select, Combine::Sum)));
        slots.extend(SCALARS.iter().map(|name| role(name)));
        let mut binding = Binding::of(site);
        for (kind, a) in binding.kinds.iter_mut().zip(&site.actuators) {
            if let Some(p) = catalogue.select(&a.in_force).next() {
                *kind = p.kind;
            }
        }
        RowPlan { binding, slots }
    }

    pub fn binding(&self) -> &Binding {
        &self.binding
    }
    /// Numbers that a row is made of.
    pub fn len(&self) -> usize {
        self.slots.len()
    }
    pub fn points(&self) -> impl Iterator<Item = PointId> + '_ {
        self.slots.iter().flatten().flat_map(|s| s.points.iter().copied())
    }

    /// The first part of the site file that selects no point, in words; roles outside loops and limits may be absent.
    pub fn unbound(&self, site: &SiteFile) -> Option<String> {
        let k = self.slots.iter().take(self.slots.len() - SCALARS.len()).position(Option::is_none)?;
        let (a, l, m) = (site.actuators.len(), site.loads().count(), site.limits.len());
        Some(match k {
            _ if k < a => format!("actuator {:?}, `in_force`,", site.actuators[k].id),
            _ if k < a + l => format!("the load of role {:?}", site.loads().nth(k - a).unwrap_or("?")),
            _ if k < a + l + m => format!("limit {:?}, role {:?},", site.limits[k - a - l].id, site.limits[k - a - l].role),
            _ => format!("meter {:?}", site.meters[k - a - l - m].id),
        })
    }

    /// One number from the newest values of its points; NaN ones are left out.
    pub fn value(&self, k: usize, latest: impl Fn(PointId) -> f64) -> f64 {
        let Some(Some(slot)) = self.slots.get(k) else { return f64::NAN };
        let (mut n, mut sum, mut lo, mut hi) = (0u32, 0.0, f64::INFINITY, f64::NEG_INFINITY);
        for v in slot.points.iter().map(|p| latest(*p)).filter(|v| v.is_finite()) {
            n += 1;
            sum += v;
            lo = lo.min(v);
            hi = hi.max(v);
        }
        match slot.combine {
            _ if n == 0 => f64::NAN,
            Combine::Mean => sum / f64::from(n),
            Combine::Sum => sum,
            Combine::Max => hi,
            Combine::Min => lo,
        }
    }

    /// Sorts the numbers into a row.
    pub fn row(&self, at: Timestamp, value: impl Fn(usize) -> f64) -> Row {
        let b = &self.binding;
        let mut next = 0;
        let mut take = |n: usize| {
            let from = next;
            next += n;
            (from..next).map(&value).collect::<Vec<f64>>()
        };
        let (in_force, loads_kw) = (take(b.actuators.len()), take(b.loads()));
        let (limited, meters_kw) = (take(b.limits.len()), take(b.meters.len()));
        let s = take(SCALARS.len());
        let (dry_bulb_c, humidity) = (s[0], s[2]);
        // A site without a wet-bulb point computes it from the humidity.
        let wet = if s[1].is_finite() { s[1] } else { wet_bulb_c(dry_bulb_c, humidity) };
        // It may measure one of the two only; each stands for the other.
        let dry_bulb_c = if dry_bulb_c.is_finite() { dry_bulb_c } else { wet };
        let wet = if wet.is_finite() { wet } else { dry_bulb_c };
        let weather = Weather { dry_bulb_c, wet_bulb_c: wet, dew_point_c: dew_point_c(dry_bulb_c, humidity) };
        Row { at, in_force, loads_kw, weather, room_dew_point_c: s[3], gpus_allocated: s[4], gpu_utilisation_pct: s[5], meters_kw, limited }
    }
}
