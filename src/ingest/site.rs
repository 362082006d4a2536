//! One site's intake: packets in, judged readings out.
//!
//! Words: an *early* value came before its point's metadata; it waits, bounded, and is taken in when the metadata comes.
//! The *site's clock* is the BMS's heartbeat (`clock = "bms"`), this host's (`"host"`) or the newest accepted timestamp
//! (`"data"`).
//! Invariants: total: any packets give a `Taken`; points keep their numbers; metadata equal to the last one of its point
//! costs one comparison; the clock does not run backwards, except that a BMS which sets its clock back by more than
//! [`gate::LEAD_MAX`] is followed and the order of its points begins anew.

use super::decode::dsx::{self, Topic};
use super::gate::{self, SiteClock, Watch};
use super::quarantine::{Quarantine, Refusal};
use crate::event::{MESSAGES, READINGS_DUPLICATE, REFUSED, Tally};
use crate::reading::{Latest, PointId, Quality, Reading};
use crate::site::{Catalogue, Classes, ClockSource, Point, SiteFile};
use crate::time::{Span, Timestamp};
use std::collections::{HashMap, VecDeque};

/// Early values kept per site; beyond it the oldest is dropped and counted.
pub const EARLY_MAX: usize = 8192;
/// The event that counts clocks set back.
const CLOCK_SET_BACK: &str = "tramuntana_clock_set_back";

/// One MQTT message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub topic: String,
    pub payload: Vec<u8>,
    pub retain: bool,
}

/// What a batch of packets gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// In the order of arrival.
    pub readings: Vec<Reading>,
    /// Values of `HeartbeatTimestampBms`, in the order of arrival: the BMS's time.
    pub heartbeats: Vec<Timestamp>,
    pub catalogue_changed: bool,
    pub messages: u64,
    /// Messages refused, and early values dropped.
    pub refused: u64,
    /// Value messages accepted (early ones when they are released).
    pub values: u64,
    /// Values for the newest timestamp of their point, dropped.
    pub duplicates: u64,
}

/// What is kept per point.
struct Slot {
    id: PointId,
    /// The metadata's bytes as last seen in this process.
    metadata: Box<[u8]>,
    class: Option<usize>,
    scale: f64,
    offset: f64,
    beat: bool,
    watch: Watch,
    latest: Option<Latest>,
    /// The newest one that can be believed: what control ages while its sensor is silent or distrusted.
    good: Option<Latest>,
}

/// A site's intake. See the module's text.
pub struct SiteIngest {
    source: ClockSource,
    us: String,
    classes: Classes,
    catalogue: Catalogue,
    slots: Vec<Slot>,
    by_path: HashMap<Box<str>, u32>,
    early: VecDeque<(Box<str>, dsx::Value)>,
    clock: SiteClock,
    /// Newest accepted timestamp and the host's time then (`clock = "data"`).
    newest: Option<(Timestamp, Timestamp)>,
    quarantine: Quarantine,
}

impl SiteIngest {
    /// `catalogue` holds the points known from earlier runs, under the numbers that the store files them by.
    pub fn new(site: &SiteFile, classes: Classes, catalogue: Catalogue) -> SiteIngest {
        let mut ingest = SiteIngest {
            source: site.bus.clock,
            us: site.bus.integration.clone(),
            classes,
            catalogue: Catalogue::new(),
            slots: Vec::new(),
            by_path: HashMap::new(),
            early: VecDeque::new(),
            clock: SiteClock::default(),
            newest: None,
            quarantine: Quarantine::default(),
        };
        for point in catalogue.iter() {
            ingest.learn(point.clone(), Box::default());
        }
        ingest
    }

    /// Takes in a batch. `host_now` is the host's clock.
    pub fn take(&mut self, packets: &[Packet], host_now: Timestamp, tally: &Tally) -> Taken {
        let mut taken = Taken { messages: packets.len() as u64, readings: Vec::with_capacity(packets.len()), ..Taken::default() };
        if self.source == ClockSource::Host {
            self.clock.now = Some(host_now);
        }
        for packet in packets {
            if let Err(reason) = self.one(packet, host_now, tally, &mut taken) {
                self.refuse(&packet.topic, reason, &packet.payload, host_now, tally, &mut taken);
            }
        }
        tally.add(MESSAGES, "dsx", taken.messages);
        tally.add(READINGS_DUPLICATE, "dsx", taken.duplicates);
        taken
    }

    fn one(&mut self, packet: &Packet, host_now: Timestamp, tally: &Tally, taken: &mut Taken) -> Result<(), &'static str> {
        match Topic::parse(&packet.topic)? {
            Topic::Value { publisher, path } => {
                let value = dsx::value(&packet.payload)?;
                match self.by_path.get(path) {
                    Some(&index) => self.value(index, publisher, value, host_now, tally, taken),
                    None if publisher != dsx::BMS => Err("value of an integration before its metadata"),
                    None => {
                        if self.early.len() >= EARLY_MAX
                            && let Some((path, _)) = self.early.pop_front()
                        {
                            self.refuse(&path, "value before its metadata", b"", host_now, tally, taken);
                        }
                        self.early.push_back((path.into(), value));
                        Ok(())
                    }
                }
            }
            Topic::Metadata { path } => {
                if let Some(slot) = self.by_path.get(path).and_then(|i| self.slots.get(*i as usize))
                    && *slot.metadata == *packet.payload
                {
                    return Ok(());
                }
                let point = dsx::metadata(path, &packet.payload)?;
                let (index, changed) = self.learn(point, packet.payload.as_slice().into()).ok_or("too many points")?;
                taken.catalogue_changed |= changed;
                self.release(path, index, host_now, tally, taken);
                Ok(())
            }
        }
    }

    /// Enters a point into the catalogue and the slots.
    fn learn(&mut self, point: Point, metadata: Box<[u8]>) -> Option<(u32, bool)> {
        let (unit, class) = (point.unit(), self.classes.index_of(&point));
        let beat = point.object_type == "System" && point.point_type == "HeartbeatTimestampBms";
        let path: Box<str> = point.path.as_str().into();
        let (id, changed) = self.catalogue.upsert(point)?;
        match self.slots.get_mut(id.0 as usize) {
            Some(slot) => {
                (slot.metadata, slot.class, slot.scale, slot.offset, slot.beat) = (metadata, class, unit.scale, unit.offset, beat);
                if changed {
                    slot.good = None;
                    slot.watch.restart();
                }
            }
            None => {
                self.slots.push(Slot {
                    id,
                    metadata,
                    class,
                    scale: unit.scale,
                    offset: unit.offset,
                    beat,
                    watch: Watch::default(),
                    latest: None,
                    good: None,
                });
                self.by_path.insert(path, id.0);
            }
        }
        Some((id.0, changed))
    }

    /// Takes in the early values of a point that is now known.
    fn release(&mut self, path: &str, index: u32, host_now: Timestamp, tally: &Tally, taken: &mut Taken) {
        if !self.early.iter().any(|(p, _)| **p == *path) {
            return;
        }
        let (ready, waiting): (VecDeque<_>, VecDeque<_>) = self.early.drain(..).partition(|(p, _)| **p == *path);
        self.early = waiting;
        for (path, value) in ready {
            if let Err(reason) = self.value(index, dsx::BMS, value, host_now, tally, taken) {
                self.refuse(&path, reason, b"", host_now, tally, taken);
            }
        }
    }

    fn value(
        &mut self,
        index: u32,
        publisher: &str,
        value: dsx::Value,
        host_now: Timestamp,
        tally: &Tally,
        taken: &mut Taken,
    ) -> Result<(), &'static str> {
        let (Some(slot), Some(point)) = (self.slots.get_mut(index as usize), self.catalogue.get(PointId(index))) else {
            return Err("value without point");
        };
        if publisher != dsx::BMS && publisher != point.integration {
            return Err("value from an integration that does not own the point");
        }
        if slot.beat
            && let Some(beat) = value.value
            && publisher == dsx::BMS
        {
            if !(1.0..9e15).contains(&beat) {
                return Err("heartbeat is not a time");
            }
            let beat = Timestamp(beat as i64);
            taken.heartbeats.push(beat);
            if self.source == ClockSource::Bms && self.advance(beat) {
                tally.add(CLOCK_SET_BACK, "dsx", 1);
            }
        } else {
            let clock = match self.source {
                ClockSource::Bms => self.clock,
                ClockSource::Host => SiteClock { now: Some(host_now), stride: Some(Span::ZERO) },
                // Between two values of a data clock, time passes as the host's does.
                ClockSource::Data => {
                    SiteClock { now: self.newest.map(|(at, host)| at + Span((host_now - host).0.max(0))), stride: Some(Span::ZERO) }
                }
            };
            let skew = clock.judge(value.at)?;
            return self.accept(index, value, skew, host_now, taken);
        }
        self.accept(index, value, Quality::GOOD, host_now, taken)
    }

    fn accept(&mut self, index: u32, value: dsx::Value, skew: Quality, host_now: Timestamp, taken: &mut Taken) -> Result<(), &'static str> {
        let (Some(slot), Some(point)) = (self.slots.get_mut(index as usize), self.catalogue.get(PointId(index))) else {
            return Err("value without point");
        };
        let number = value.value.map_or(f64::NAN, |v| v * slot.scale + slot.offset);
        if value.value.is_some() && !number.is_finite() {
            return Err("value not finite");
        }
        let class = slot.class.and_then(|i| self.classes.get(i));
        let Ok(mut quality) = slot.watch.mark(point, class, value.at, number) else {
            taken.duplicates += 1;
            return Ok(());
        };
        quality = quality.with(skew);
        if !value.trusted {
            quality = quality.with(Quality::DISTRUSTED);
        }
        if self.source == ClockSource::Data && self.newest.is_none_or(|(at, _)| value.at >= at) {
            self.newest = Some((value.at, host_now));
            self.clock.now = Some(value.at);
        }
        if !quality.has(Quality::LATE) {
            let arrived = match self.source {
                ClockSource::Host => host_now,
                _ => self.clock.now.unwrap_or(value.at),
            };
            let newest = Latest { at: value.at, arrived, value: number, quality };
            slot.latest = Some(newest);
            if quality.usable() && number.is_finite() {
                slot.good = Some(newest);
            }
        }
        taken.values += 1;
        taken.readings.push(Reading { point: slot.id, at: value.at, value: number, quality });
        Ok(())
    }

    /// Follows the BMS's clock. True where it was set back.
    fn advance(&mut self, beat: Timestamp) -> bool {
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

    fn refuse(&mut self, topic: &str, reason: &'static str, payload: &[u8], at: Timestamp, tally: &Tally, taken: &mut Taken) {
        let label = format!("dsx/{reason}");
        tally.add(REFUSED, &label, 1);
        taken.refused += 1;
        self.quarantine.put(topic, label, payload, at);
    }

    /// The site's clock; none before the first heartbeat (`bms`), value (`data`) or batch (`host`).
    pub fn clock(&self) -> Option<Timestamp> {
        self.clock.now
    }
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }
    pub fn classes(&self) -> &Classes {
        &self.classes
    }
    /// The newest reading of a point in this process.
    pub fn latest(&self, id: PointId) -> Option<&Latest> {
        self.slots.get(id.0 as usize)?.latest.as_ref()
    }
    /// The newest reading of a point that can be believed; the newest at all where none ever could.
    pub fn good(&self, id: PointId) -> Option<&Latest> {
        let slot = self.slots.get(id.0 as usize)?;
        slot.good.as_ref().or(slot.latest.as_ref())
    }
    /// The points that we must publish, with their topics.
    pub fn our_points(&self) -> impl Iterator<Item = (&Point, String)> {
        self.catalogue.iter().filter_map(|p| Some((p, super::publish::topic(p, &self.us).ok()?)))
    }
    /// The newest refusals, oldest first.
    pub fn quarantine(&self) -> impl DoubleEndedIterator<Item = &Refusal> {
        self.quarantine.iter()
    }
    /// Early values that still wait for their metadata.
    pub fn waiting(&self) -> usize {
        self.early.len()
    }
}
