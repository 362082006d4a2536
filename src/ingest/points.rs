//! The points of a site at work: their numbers, how sent values become canonical ones, their newest reading, and the
//! site's clock.
//!
//! Words: a *slot* is what is kept per point beside its metadata; the *site's clock* is the BMS's heartbeat
//! (`clock = "bms"`), this host's (`"host"`) or the newest accepted timestamp (`"data"`).
//! Invariants: points keep their numbers; the unit is converted here, once; the clock does not run backwards, except that
//! a BMS which sets its clock back by more than [`gate::LEAD_MAX`] is followed and the order of its points begins anew.

use super::gate::{self, Relations, SiteClock, Watch};
use super::site::Taken;
use crate::event::{MARKED, Tally};
use crate::reading::{Latest, PointId, Quality, Reading};
use crate::site::{Catalogue, Classes, ClockSource, Point, SiteFile};
use crate::time::{Span, Stamp, Timestamp};

/// Who describes a point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Origin {
    /// Known from an earlier run; its publisher has not spoken yet.
    #[default]
    Earlier,
    /// DSX metadata.
    Dsx,
    /// A `[[source]]` of the site file, by its index.
    Source(u16),
}

/// What is kept per point.
pub(super) struct Slot {
    id: PointId,
    pub origin: Origin,
    /// The metadata's bytes as last seen in this process.
    pub metadata: Box<[u8]>,
    class: Option<usize>,
    scale: f64,
    offset: f64,
    pub beat: bool,
    /// The publisher has withdrawn the point.
    pub gone: bool,
    watch: Watch,
    pub latest: Option<Latest>,
    /// The newest one that can be believed: what control ages while its sensor is silent or distrusted. None once its
    /// publisher has died or withdrawn the point.
    pub good: Option<Latest>,
}

impl Slot {
    /// A number as sent, in the canonical unit of the point's kind.
    #[inline]
    pub fn canonical(&self, sent: f64) -> f64 {
        sent * self.scale + self.offset
    }
}

/// All points of a site. See the module's text.
pub(super) struct Points {
    pub clock_source: ClockSource,
    pub classes: Classes,
    pub catalogue: Catalogue,
    pub slots: Vec<Slot>,
    pub clock: SiteClock,
    pub relations: Relations,
    /// Newest accepted timestamp and the host's time then (`clock = "data"`).
    newest: Option<(Timestamp, Timestamp)>,
}

impl Points {
    pub fn new(site: &SiteFile, classes: Classes, earlier: Catalogue) -> Points {
        let mut points = Points {
            clock_source: site.bus.clock,
            classes,
            catalogue: Catalogue::new(),
            slots: Vec::new(),
            clock: SiteClock::default(),
            relations: Relations::new(site),
            newest: None,
        };
        for point in earlier.iter() {
            points.learn(point.clone(), Origin::Earlier, 1.0);
        }
        points
    }

    pub fn index(&self, path: &str) -> Option<u32> {
        self.catalogue.id(path).map(|id| id.0)
    }
    pub fn slot(&self, index: u32) -> Option<&Slot> {
        self.slots.get(index as usize)
    }
    pub fn slot_mut(&mut self, index: u32) -> Option<&mut Slot> {
        self.slots.get_mut(index as usize)
    }

    /// Enters a point, or what is new about it, into the catalogue and the slots. `scale` brings a sent number into the
    /// point's own unit. Returns its index and whether anything changed; `None` = the catalogue is full.
    pub fn learn(&mut self, point: Point, origin: Origin, scale: f64) -> Option<(u32, bool)> {
        let (unit, class) = (point.unit(), self.classes.index_of(&point));
        let beat = point.object_type == "System" && point.point_type == "HeartbeatTimestampBms";
        let (id, changed) = self.catalogue.upsert(point)?;
        if self.slots.len() <= id.0 as usize {
            self.slots.push(Slot {
                id,
                origin,
                metadata: Box::default(),
                class,
                scale: 1.0,
                offset: 0.0,
                beat,
                gone: false,
                watch: Watch::default(),
                latest: None,
                good: None,
            });
        }
        let slot = self.slots.get_mut(id.0 as usize)?;
        (slot.class, slot.scale, slot.offset, slot.beat, slot.gone) = (class, unit.scale * scale, unit.offset, beat, false);
        if origin != Origin::Earlier {
            slot.origin = origin;
        }
        if changed {
            slot.good = None;
            slot.watch.restart();
        }
        Some((id.0, changed))
    }

    /// When a value without a timestamp of its own came, on the site's clock.
    pub fn arrival(&self, host_now: Timestamp) -> Timestamp {
        match self.clock_source {
            ClockSource::Bms => self.clock.now.unwrap_or(host_now),
            ClockSource::Host | ClockSource::Data => host_now,
        }
    }

    /// The clock that timestamps are judged by.
    fn judge(&self, host_now: Timestamp) -> SiteClock {
        match self.clock_source {
            ClockSource::Bms => self.clock,
            ClockSource::Host => SiteClock { now: Some(host_now), stride: Some(Span::ZERO) },
            // Between two values of a data clock, time passes as the host's does.
            ClockSource::Data => {
                SiteClock { now: self.newest.map(|(at, host)| at + Span((host_now - host).0.max(0))), stride: Some(Span::ZERO) }
            }
        }
    }

    /// Judges a value as sent (`None` = the publisher has none) and takes it in.
    pub fn file(
        &mut self,
        index: u32,
        sent: Option<f64>,
        stamp: Stamp,
        marks: Quality,
        host_now: Timestamp,
        taken: &mut Taken,
    ) -> Result<(), &'static str> {
        let skew = self.judge(host_now).judge(stamp.at)?;
        self.accept(index, sent, stamp, marks.with(skew), host_now, taken)
    }

    /// Takes a value in whose timestamp needs no judgement (a heartbeat's).
    pub fn accept(
        &mut self,
        index: u32,
        sent: Option<f64>,
        stamp: Stamp,
        marks: Quality,
        host_now: Timestamp,
        taken: &mut Taken,
    ) -> Result<(), &'static str> {
        let (Some(slot), Some(point)) = (self.slots.get_mut(index as usize), self.catalogue.get(PointId(index))) else {
            return Err("value without point");
        };
        let number = sent.map_or(f64::NAN, |v| slot.canonical(v));
        if sent.is_some() && !number.is_finite() {
            return Err("value not finite");
        }
        let class = slot.class.and_then(|i| self.classes.get(i));
        let historical = marks.has(Quality::HISTORICAL);
        // History is judged by itself: it says nothing about the order of what is live.
        let mut own = Watch::default();
        let watch = if historical { &mut own } else { &mut slot.watch };
        let at = stamp.at;
        let Ok(quality) = watch.mark(point, class, stamp, number) else {
            taken.duplicates += 1;
            return Ok(());
        };
        let quality = quality.with(marks).with(self.relations.mark(slot.id));
        if !historical {
            if self.clock_source == ClockSource::Data && self.newest.is_none_or(|(newest, _)| at >= newest) {
                self.newest = Some((at, host_now));
                self.clock.now = Some(at);
            }
            if !quality.has(Quality::LATE) {
                let arrived = match self.clock_source {
                    ClockSource::Host => host_now,
                    _ => self.clock.now.unwrap_or(at),
                };
                let newest = Latest { at, arrived, value: number, quality };
                slot.latest = Some(newest);
                if quality.usable() && number.is_finite() {
                    slot.good = Some(newest);
                }
            }
        }
        taken.values += 1;
        taken.readings.push(Reading { point: slot.id, at, ns: stamp.ns, value: number, quality });
        Ok(())
    }

    /// After a batch: cross-checks between points, and the marks of its readings into the tally.
    pub fn conclude(&mut self, readings: &[Reading], host_now: Timestamp, tally: &Tally) {
        if self.relations.due(self.clock.now) {
            let (now, slots) = (self.clock.now.unwrap_or(host_now), &self.slots);
            self.relations.look(now, &self.catalogue, |id| slots.get(id.0 as usize)?.latest.as_ref(), tally);
        }
        let all = readings.iter().fold(Quality::GOOD, |q, r| q.with(r.quality));
        for (mark, name) in all.marks() {
            let n = readings.iter().filter(|r| r.quality.has(mark)).count() as u64;
            tally.add(MARKED, &format!("{}/{name}", self.relations.site()), n);
        }
    }

    /// Follows the BMS's clock. True where it was set back.
    pub fn advance(&mut self, beat: Timestamp) -> bool {
        let Some(now) = self.clock.now else {
            self.clock.now = Some(beat);
            return false;
        };
        let step = beat - now;
        if step > Span::ZERO {
            self.clock = SiteClock { now: Some(beat), stride: Some(step) };
            return false;
        }
        let set_back = step < Span(-gate::LEAD_MAX.0);
        if set_back {
            self.clock = SiteClock { now: Some(beat), stride: None };
            self.slots.iter_mut().for_each(|s| s.watch.restart());
        }
        set_back
    }

    /// Files "no value" for a point whose publisher has died: from now on, or just behind its newest value.
    pub fn silence(&mut self, index: u32, host_now: Timestamp, taken: &mut Taken) {
        let Some(latest) = self.slot(index).and_then(|s| s.latest) else { return };
        if latest.value.is_nan() {
            return;
        }
        let behind = latest.at + Span(1);
        let at = if self.clock_source == ClockSource::Data { behind } else { behind.max(self.arrival(host_now)) };
        // A refusal here is a duplicate of the same silence.
        let _ = self.accept(index, None, at.into(), Quality::GOOD, host_now, taken);
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.good = None;
        }
    }

    /// The publisher of a point describes it anew: what was held against its newest value is over, and the next value is
    /// the newest whatever its timestamp (a birth repeats a value with the time when it was measured).
    pub fn reborn(&mut self, index: u32) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        let doubtful = |l: &Latest| l.quality.has(Quality(Quality::DISTRUSTED.0 | Quality::NO_VALUE.0));
        if slot.latest.as_ref().is_some_and(doubtful) {
            slot.watch.restart();
        }
    }

    /// Marks the newest reading of a point at once, without a new value: its publisher died or lost count.
    pub fn distrust(&mut self, index: u32, mark: Quality) {
        let Some(slot) = self.slots.get_mut(index as usize) else { return };
        slot.good = None;
        if let Some(latest) = slot.latest.as_mut() {
            latest.quality = latest.quality.with(mark);
        }
    }
}
