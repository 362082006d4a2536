//! The intake up to the gate, for the bench: topic and payload to (point, time, canonical value), what is no number refused.

use super::decode::dsx::{self, Topic};
use super::decode::sparkplug::Edges;
use super::decode::{self, Batch, Value};
use super::points::{Origin, Points};
use super::route::{Router, Target};
use crate::ingest::Packet;
use crate::site::{Catalogue, Classes, Format, SiteFile};
use crate::time::{Stamp, Timestamp};

pub struct Rows {
    points: Points,
    router: Router,
    edges: Edges,
}

/// One row: index of the point (its unit is in the catalogue), time, value in the canonical unit.
pub type Row = (u32, Stamp, f64);

impl Rows {
    pub fn new(site: &SiteFile) -> Rows {
        Rows { points: Points::new(site, Classes::default(), Catalogue::new()), router: Router::new(&site.sources), edges: Edges::default() }
    }

    /// Fills `rows`; returns the number of values refused.
    pub fn take(&mut self, packets: &[Packet], rows: &mut Vec<Row>) -> usize {
        let (mut batch, mut refused) = (Batch::default(), 0);
        for packet in packets {
            batch.clear();
            refused += usize::from(self.one(packet, &mut batch, rows).is_none());
        }
        refused
    }

    fn one<'p>(&mut self, packet: &'p Packet, batch: &mut Batch<'p>, rows: &mut Vec<Row>) -> Option<()> {
        let (which, mut place) = self.router.source_of(&packet.topic);
        let Some(which) = which else { return self.dsx(packet, rows) };
        let mut series = String::new();
        let topic = if self.router.sources[which].source.format == Format::Sparkplug {
            series = self.edges.take(&packet.topic, &packet.payload, Timestamp(0), batch).ok()??.0.series();
            place = self.router.place("spBv1.0");
            "spBv1.0"
        } else {
            decode::decode(&self.router.sources[which].source, &packet.topic, &packet.payload, batch).ok()?;
            packet.topic.as_str()
        };
        if !batch.run.is_empty() {
            let target = self.router.shelf(place, None).and_then(|s| s.find(""));
            let target = target.unwrap_or_else(|| self.router.resolve(which, topic, None, "", &mut self.points).0);
            let slot = index(target).and_then(|i| self.points.slot(i).map(|s| (i, s)));
            rows.extend(batch.run.iter().filter_map(|(at, v)| slot.map(|(i, s)| (i, *at, s.canonical(*v)))));
            return Some(());
        }
        let mut rest = batch.samples.as_slice();
        while let Some(first) = rest.first() {
            let of = if series.is_empty() { first.series.and_then(|i| batch.series.get(i as usize)).map(|s| &**s) } else { Some(series.as_str()) };
            let n = rest.iter().position(|s| s.series != first.series).unwrap_or(rest.len());
            for sample in &rest[..n] {
                let target = self.router.shelf(place, of).and_then(|s| s.find(&sample.key));
                let target = target.unwrap_or_else(|| {
                    let (target, _) = self.router.resolve(which, topic, of, &sample.key, &mut self.points);
                    place = self.router.place(topic);
                    target
                });
                if let (Some(i), Value::Number(v)) = (index(target), &sample.value)
                    && let (Some(slot), Some(at)) = (self.points.slot(i), sample.at)
                    && v.is_finite()
                {
                    rows.push((i, at, slot.canonical(*v)));
                }
            }
            rest = &rest[n..];
        }
        Some(())
    }

    fn dsx(&mut self, packet: &Packet, rows: &mut Vec<Row>) -> Option<()> {
        match Topic::parse(&packet.topic).ok()? {
            Topic::Value { path, .. } => {
                let value = dsx::value(&packet.payload).ok()?;
                let index = self.points.index(path)?;
                rows.push((index, value.at.into(), self.points.slot(index)?.canonical(value.value.filter(|_| value.trusted)?)));
            }
            Topic::Metadata { path } => drop(self.points.learn(dsx::metadata(path, &packet.payload).ok()?, Origin::Dsx, 1.0)?),
        }
        Some(())
    }
}

fn index(target: Target) -> Option<u32> {
    if let Target::Point(i) = target { Some(i) } else { None }
}
