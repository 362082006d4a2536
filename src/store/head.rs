//! The head: rows that are in the log and not yet in chunks, in memory, by site and point.
//!
//! Words: a row is *in order* where it is newer than everything known of its point, else *late*.
//! Invariants: what is here is in the log too, so that it can be made again from it; rows of a point are unique; the
//! number of rows is what the store bounds ([`super::hot`] flushes the head into chunks).

use super::Row;
use crate::reading::{PointId, Quality, Reading};
use crate::time::Stamp;
use std::collections::{BTreeMap, HashMap};

/// The rows of one point that wait for their chunk.
#[derive(Default)]
pub struct Waiting {
    /// In order: rising times, newer than every chunk of the point.
    pub rows: Vec<Row>,
    pub late: BTreeMap<Stamp, (f64, Quality)>,
    /// Newest time of the point in head and chunks; `None` = not looked up yet.
    pub newest: Option<Stamp>,
}

impl Waiting {
    pub fn has(&self, stamp: Stamp) -> bool {
        self.late.contains_key(&stamp) || self.rows.binary_search_by_key(&stamp, Row::stamp).is_ok()
    }

    /// Takes in a reading that is newer than everything known of the point.
    pub fn push(&mut self, r: &Reading) {
        self.newest = Some(r.stamp());
        self.rows.push(r.into());
    }

    /// Takes in a reading that is not.
    pub fn push_late(&mut self, r: &Reading) {
        self.late.insert(r.stamp(), (r.value, r.quality));
    }

    /// Late rows with `from <= stamp < to`.
    pub fn late(&self, from: Stamp, to: Stamp) -> impl Iterator<Item = Row> {
        let range = if from < to { Some(self.late.range(from..to)) } else { None };
        range.into_iter().flatten().map(|(s, (value, quality))| Row { at: s.at, ns: s.ns, value: *value, quality: *quality })
    }

    /// Rows with `from <= at < to`, in order of time.
    pub fn range(&self, from: impl Into<Stamp>, to: impl Into<Stamp>) -> Vec<Row> {
        let (from, to) = (from.into(), to.into());
        let (a, b) = (self.rows.partition_point(|r| r.stamp() < from), self.rows.partition_point(|r| r.stamp() < to));
        let mut out = self.rows[a..b.max(a)].to_vec();
        let before = out.len();
        out.extend(self.late(from, to));
        if out.len() > before {
            out.sort_by_key(Row::stamp);
        }
        out
    }

    fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.late.is_empty()
    }
}

/// The place of a point among those that [`Head::of`] has made room for.
#[inline]
pub fn place(waiting: &mut [Waiting], point: PointId) -> &mut Waiting {
    &mut waiting[point.0 as usize]
}

/// See the module's text.
#[derive(Default)]
pub struct Head {
    sites: HashMap<u16, Vec<Waiting>>,
    pub rows: usize,
}

impl Head {
    /// The places of the first `points` points of a site.
    pub fn of(&mut self, site: u16, points: usize) -> &mut [Waiting] {
        let waiting = self.sites.entry(site).or_default();
        if waiting.len() < points {
            waiting.resize_with(points, Waiting::default);
        }
        waiting
    }

    /// Every point that has rows here.
    pub fn waiting(&self) -> impl Iterator<Item = (u16, PointId, &Waiting)> {
        let all = self.sites.iter().flat_map(|(site, w)| w.iter().enumerate().map(|(i, w)| (*site, PointId(i as u32), w)));
        all.filter(|(_, _, w)| !w.is_empty())
    }

    /// Forgets the rows, which are in chunks now; keeps what is known of each point.
    pub fn clear(&mut self) {
        for w in self.sites.values_mut().flatten() {
            // A point that stays as busy gets its room again without growing step by step; an idle one gives it back.
            if w.rows.is_empty() {
                w.rows = Vec::new()
            } else {
                w.rows.clear()
            }
            w.late.clear();
        }
        self.rows = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Timestamp;

    #[test]
    fn late_rows_stand_in_their_place() {
        let mut head = Head::default();
        let w = &mut head.of(3, 2)[1];
        w.rows = [10, 20, 30].map(|t| Row { at: Timestamp(t), ns: 0, value: 0.0, quality: Quality::GOOD }).to_vec();
        w.late.insert(Timestamp(15).into(), (1.0, Quality::LATE));
        let times = |from, to| w.range(Timestamp(from), Timestamp(to)).iter().map(|r| r.at.0).collect::<Vec<_>>();
        assert_eq!(times(10, 30), [10, 15, 20]);
        assert!(times(31, 10).is_empty());
        assert!(w.has(Timestamp(15).into()) && !w.has(Stamp { ns: 1, ..Timestamp(15).into() }));
        assert_eq!(head.waiting().count(), 1);
    }
}
