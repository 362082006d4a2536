//! The numbered points of one site.

use super::{Point, Selector};
use crate::id::PointId;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// Points that one site may have. A publisher that invents topics without end is refused beyond it.
pub const POINTS_MAX: usize = 200_000;

/// Points by number and by path. Only grows; a point's metadata may be replaced (rebirth) under the same number.
#[derive(Clone, Debug, Default)]
pub struct Catalogue {
    points: Vec<Point>,
    by_path: HashMap<String, PointId, RandomState>,
    /// Grows with each change, so that bindings made from selectors know when to look again.
    version: u64,
}

impl Catalogue {
    pub fn new() -> Catalogue {
        Catalogue::default()
    }

    /// Takes in a point's metadata. Its `id` field is set here. Returns the number and whether anything changed;
    /// `None` when the catalogue is full.
    pub fn upsert(&mut self, mut point: Point) -> Option<(PointId, bool)> {
        if let Some(&id) = self.by_path.get(&point.path) {
            point.id = id;
            let slot = &mut self.points[id.0 as usize];
            let changed = *slot != point;
            if changed {
                *slot = point;
                self.version += 1;
            }
            return Some((id, changed));
        }
        if self.points.len() >= POINTS_MAX {
            return None;
        }
        let id = PointId(self.points.len() as u32);
        point.id = id;
        self.by_path.insert(point.path.clone(), id);
        self.points.push(point);
        self.version += 1;
        Some((id, true))
    }

    pub fn id(&self, path: &str) -> Option<PointId> {
        self.by_path.get(path).copied()
    }
    pub fn get(&self, id: PointId) -> Option<&Point> {
        self.points.get(id.0 as usize)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Point> {
        self.points.iter()
    }
    pub fn len(&self) -> usize {
        self.points.len()
    }
    pub fn is_empty(&self) -> bool {
        self.points.is_empty()
    }
    pub fn version(&self) -> u64 {
        self.version
    }
    /// The points that a selector means, in the order of their numbers.
    pub fn select<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = &'a Point> {
        self.points.iter().filter(|p| selector.matches(p))
    }
}
