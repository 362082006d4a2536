//! One site's intake: packets in, judged readings out.
//!
//! Words: an *early* value came before its point's metadata; it waits, bounded, and is taken in when the metadata comes.
//! Way of a packet: a topic that a `[[source]]` means goes to that source's decoder and its samples to their points
//! ([`super::route`]); every other one is DSX ([`decode::dsx`]).
//! Invariants: total: any packets give a `Taken`; metadata equal to the last one of its point costs one comparison; a
//! message that is refused leaves nothing behind, and a value that is refused leaves its message's others alone.

use super::decode::dsx::{self, Topic};
use super::decode::{self, Batch, JobNote, Note, PAYLOAD_MAX, Value, flex, inflate, sparkplug};
use super::gate::Finding;
use super::points::{Origin, Points};
use super::publish::Outgoing;
use super::quarantine::{Quarantine, Refusal};
use super::route::{Place, Router, Target};
use crate::event::{MESSAGES, READINGS_DUPLICATE, REFUSED, Tally};
use crate::reading::{Latest, PointId, Quality, Reading};
use crate::site::{Catalogue, Classes, ClockSource, Format, Point, SiteFile};
use crate::time::{Stamp, Timestamp};
use bytes::Bytes;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Early values kept per site; beyond it the oldest is dropped and counted.
pub const EARLY_MAX: usize = 8192;
/// The event that counts clocks set back.
const CLOCK_SET_BACK: &str = "tramuntana_clock_set_back";
/// What the series of Sparkplug's edges are remembered under.
const SPARKPLUG: &str = "spBv1.0";
/// The format's name in counters, where no source means the topic.
const DSX: &str = "dsx";

/// One MQTT message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub topic: String,
    pub payload: Bytes,
    pub retain: bool,
}

/// What a batch of packets gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Taken {
    /// In the order of arrival.
    pub readings: Vec<Reading>,
    /// Values of `HeartbeatTimestampBms`, in the order of arrival: the BMS's time.
    pub heartbeats: Vec<Timestamp>,
    /// What the intake itself has to say to publishers (Sparkplug's rebirth requests).
    pub outgoing: Vec<Outgoing>,
    /// Jobs that publishers have noted.
    pub jobs: Vec<JobNote>,
    pub catalogue_changed: bool,
    pub messages: u64,
    /// Messages and values refused, and early values dropped.
    pub refused: u64,
    /// Values accepted (early ones when they are released).
    pub values: u64,
    /// Values for the newest timestamp of their point, dropped.
    pub duplicates: u64,
}

/// A site's intake. See the module's text.
pub struct SiteIngest {
    us: String,
    points: Points,
    router: Router,
    early: VecDeque<(Box<str>, dsx::Value)>,
    edges: sparkplug::Edges,
    /// The points of each Sparkplug edge and device.
    members: HashMap<Box<str>, BTreeSet<u32>>,
    quarantine: Quarantine,
}

/// What one call of [`SiteIngest::take`] works with.
struct Turn<'t> {
    host_now: Timestamp,
    tally: &'t Tally,
    taken: Taken,
    /// Refusals by format and reason, handed to the tally at the end.
    refused: Vec<((&'static str, &'static str), u64)>,
    /// Messages by format.
    messages: Vec<(&'static str, u64)>,
}

/// Adds to a short table.
fn count<K: PartialEq + Copy>(table: &mut Vec<(K, u64)>, key: K, n: u64) {
    match table.iter_mut().find(|(k, _)| *k == key) {
        Some((_, sum)) => *sum += n,
        None => table.push((key, n)),
    }
}

impl SiteIngest {
    /// `catalogue` holds the points known from earlier runs, under the numbers that the store files them by.
    pub fn new(site: &SiteFile, classes: Classes, catalogue: Catalogue) -> SiteIngest {
        SiteIngest {
            us: site.bus.integration.clone(),
            points: Points::new(site, classes, catalogue),
            router: Router::new(&site.sources),
            early: VecDeque::new(),
            edges: sparkplug::Edges::default(),
            members: HashMap::new(),
            quarantine: Quarantine::default(),
        }
    }

    /// Takes in a batch. `host_now` is the host's clock.
    pub fn take(&mut self, packets: &[Packet], host_now: Timestamp, tally: &Tally) -> Taken {
        let taken = Taken { messages: packets.len() as u64, readings: Vec::with_capacity(packets.len()), ..Taken::default() };
        let mut turn = Turn { host_now, tally, taken, refused: Vec::new(), messages: Vec::new() };
        if self.points.clock_source == ClockSource::Host {
            self.points.clock.now = Some(host_now);
        }
        let mut batch = Batch::default();
        for packet in packets {
            let (source, place) = self.router.source_of(&packet.topic);
            let format = source.and_then(|s| self.router.sources.get(s)).map_or(DSX, |s| s.source.format.name());
            count(&mut turn.messages, format, 1);
            let done = match source {
                Some(which) => self.source(which, place, packet, &mut batch, &mut turn),
                None => self.dsx(packet, &mut turn),
            };
            if let Err(reason) = done {
                self.refuse(format, &packet.topic, reason, "", &packet.payload, 1, &mut turn);
            }
        }
        let Turn { taken, refused, messages, .. } = turn;
        for ((format, reason), n) in refused {
            tally.add(REFUSED, &format!("{format}/{reason}"), n);
        }
        for (format, n) in messages {
            tally.add(MESSAGES, format, n);
        }
        tally.add(READINGS_DUPLICATE, "intake", taken.duplicates);
        self.points.conclude(&taken.readings, host_now, tally);
        taken
    }

    /// A message of a source.
    fn source<'p>(
        &mut self,
        which: usize,
        place: Option<Place>,
        packet: &'p Packet,
        batch: &mut Batch<'p>,
        turn: &mut Turn,
    ) -> Result<(), &'static str> {
        let Some(ready) = self.router.sources.get(which) else { return Err("topic of no source") };
        if packet.payload.len() > PAYLOAD_MAX {
            return Err("message too long");
        }
        batch.clear();
        match ready.source.format {
            Format::Sparkplug => return self.sparkplug(which, packet, batch, turn),
            Format::Flex => flex::decode(&ready.keys, &packet.payload, batch)?,
            format if decode::may_be_gzip(format) => {
                if let Some(plain) = inflate::inflate(&packet.payload)? {
                    let mut batch = Batch::default();
                    decode::decode(&ready.source, &packet.topic, &plain, &mut batch)?;
                    self.file(which, &packet.topic, place, packet, &batch, turn);
                    return Ok(());
                }
                decode::decode(&ready.source, &packet.topic, &packet.payload, batch)?;
            }
            _ => decode::decode(&ready.source, &packet.topic, &packet.payload, batch)?,
        }
        let noted = !batch.notes.is_empty();
        for note in batch.notes.drain(..) {
            match note {
                Note::Job(job) => turn.taken.jobs.push(job),
                Note::Named { topic, name } => {
                    if !self.router.name(topic, name) {
                        return Err("too many names");
                    }
                }
            }
        }
        let place = if noted { self.router.place(&packet.topic) } else { place };
        self.file(which, &packet.topic, place, packet, batch, turn);
        Ok(())
    }

    /// A Sparkplug message: its values, and what its sender's life means for the points that it has brought.
    fn sparkplug<'p>(&mut self, which: usize, packet: &'p Packet, batch: &mut Batch<'p>, turn: &mut Turn) -> Result<(), &'static str> {
        let taken = self.edges.take(&packet.topic, &packet.payload, turn.host_now, batch)?;
        let Some((from, change)) = taken else { return Ok(()) };
        let sender = from.series();
        // Birth and data come on different topics but are of the same points: the sender stands for both.
        let series = batch.series.len() as u32;
        batch.series.push(sender.clone().into());
        batch.samples.iter_mut().for_each(|s| s.series = Some(series));
        if change.suspect {
            for index in self.members_of(&sparkplug::From { device: None, ..from }.series()) {
                self.points.distrust(index, Quality::DISTRUSTED);
            }
        }
        if change.born {
            for index in self.members.get(sender.as_str()).into_iter().flatten() {
                self.points.reborn(*index);
            }
        }
        let place = self.router.place(SPARKPLUG);
        self.file(which, SPARKPLUG, place, packet, batch, turn);
        if change.died {
            for index in self.members_of(&sender) {
                self.points.silence(index, turn.host_now, &mut turn.taken);
            }
        }
        if change.ask {
            let (topic, payload) = sparkplug::rebirth(from.group, from.edge, turn.host_now);
            turn.taken.outgoing.push(Outgoing { topic, payload });
        }
        Ok(())
    }

    /// The points of an edge with its devices, or of a device.
    fn members_of(&self, sender: &str) -> Vec<u32> {
        let of = |name: &str| name.strip_prefix(sender).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        self.members.iter().filter(|(name, _)| of(name)).flat_map(|(_, points)| points.iter().copied()).collect()
    }

    /// Files the samples of a message; what is remembered of them stands under `topic`.
    fn file(&mut self, which: usize, topic: &str, mut place: Option<Place>, packet: &Packet, batch: &Batch<'_>, turn: &mut Turn) {
        let source = self.router.sources.get(which).map(|s| s.source.format);
        let format = source.map_or(DSX, Format::name);
        for &(reason, n) in &batch.refusals {
            self.refuse(format, &packet.topic, reason, "", &packet.payload, n, turn);
        }
        if !batch.run.is_empty() {
            let remembered = self.router.shelf(place, None).and_then(|shelf| shelf.find(""));
            let target = remembered.unwrap_or_else(|| {
                let (target, changed) = self.router.resolve(which, topic, None, "", &mut self.points);
                turn.taken.catalogue_changed |= changed;
                target
            });
            for &(at, value) in &batch.run {
                if let Err(reason) = number_to(&mut self.points, target, Some(value), at, Quality::GOOD, turn) {
                    put(&mut self.quarantine, format, &packet.topic, reason, "", &packet.payload, 1, turn);
                }
            }
            return;
        }
        let mut rest = batch.samples.as_slice();
        while let Some(first) = rest.first() {
            let (now, later) = rest.split_at(rest.iter().position(|s| s.series != first.series).unwrap_or(rest.len()));
            rest = later;
            let series = first.series.and_then(|i| batch.series.get(i as usize)).map(|s| &**s);
            let mut from = 0;
            // Whatever is remembered goes the short way; one that is not is looked up, and the short way goes on behind it.
            while from < now.len() {
                if let Some(shelf) = self.router.shelf(place, series) {
                    while let Some(sample) = now.get(from) {
                        let Some(target) = shelf.find(&sample.key) else { break };
                        from += 1;
                        if let Err(reason) = sample_to(&mut self.points, target, sample, turn) {
                            put(&mut self.quarantine, format, &packet.topic, reason, &sample.key, &packet.payload, 1, turn);
                        }
                    }
                }
                if let Some(sample) = now.get(from) {
                    from += 1;
                    let (target, changed) = self.router.resolve(which, topic, series, &sample.key, &mut self.points);
                    if let (Target::Point(index), Some(sender), Some(Format::Sparkplug)) = (target, series, source) {
                        self.members.entry(sender.into()).or_default().insert(index);
                    }
                    turn.taken.catalogue_changed |= changed;
                    place = self.router.place(topic);
                    if let Err(reason) = sample_to(&mut self.points, target, sample, turn) {
                        self.refuse(format, &packet.topic, reason, &sample.key, &packet.payload, 1, turn);
                    }
                }
            }
        }
    }

    /// A message of the BMS bus.
    fn dsx(&mut self, packet: &Packet, turn: &mut Turn) -> Result<(), &'static str> {
        match Topic::parse(&packet.topic)? {
            Topic::Value { publisher, path } => {
                let value = dsx::value(&packet.payload)?;
                let index = self.points.index(path).filter(|i| self.points.slot(*i).is_some_and(|s| !s.gone));
                match index {
                    Some(index) => self.dsx_value(index, publisher, value, turn),
                    None if publisher != dsx::BMS => Err("value of an integration before its metadata"),
                    None => {
                        if self.early.len() >= EARLY_MAX
                            && let Some((path, _)) = self.early.pop_front()
                        {
                            self.refuse(DSX, &path, "value before its metadata", "", b"", 1, turn);
                        }
                        self.early.push_back((path.into(), value));
                        Ok(())
                    }
                }
            }
            Topic::Metadata { path } => {
                let index = self.points.index(path);
                let slot = index.and_then(|i| self.points.slot(i));
                if slot.is_some_and(|s| matches!(s.origin, Origin::Source(_))) {
                    return Err("point belongs to a source of the site file");
                }
                if packet.payload.is_empty() {
                    return self.vanish(index, turn);
                }
                if slot.is_some_and(|s| *s.metadata == *packet.payload) {
                    return Ok(());
                }
                let point = dsx::metadata(path, &packet.payload)?;
                let (index, changed) = self.points.learn(point, Origin::Dsx, 1.0).ok_or("too many points")?;
                if let Some(slot) = self.points.slot_mut(index) {
                    slot.metadata = packet.payload.as_ref().into();
                }
                turn.taken.catalogue_changed |= changed;
                self.release(path, index, turn);
                Ok(())
            }
        }
    }

    /// An empty retained metadata message withdraws its point: it is nobody's to publish any more, its last value counts
    /// for nothing, and values wait until metadata come again. The number and the history stay.
    fn vanish(&mut self, index: Option<u32>, turn: &mut Turn) -> Result<(), &'static str> {
        let Some((index, point)) = index.and_then(|i| Some((i, self.points.catalogue.get(PointId(i))?.clone()))) else {
            return Ok(());
        };
        let (_, changed) = self.points.learn(Point { integration: String::new(), ..point }, Origin::Dsx, 1.0).ok_or("too many points")?;
        turn.taken.catalogue_changed |= changed;
        self.points.distrust(index, Quality::NO_VALUE);
        if let Some(slot) = self.points.slot_mut(index) {
            (slot.gone, slot.metadata) = (true, Box::default());
        }
        Ok(())
    }

    /// Takes in the early values of a point that is now known.
    fn release(&mut self, path: &str, index: u32, turn: &mut Turn) {
        if !self.early.iter().any(|(p, _)| **p == *path) {
            return;
        }
        let (ready, waiting): (VecDeque<_>, VecDeque<_>) = self.early.drain(..).partition(|(p, _)| **p == *path);
        self.early = waiting;
        for (path, value) in ready {
            if let Err(reason) = self.dsx_value(index, dsx::BMS, value, turn) {
                self.refuse(DSX, &path, reason, "", b"", 1, turn);
            }
        }
    }

    fn dsx_value(&mut self, index: u32, publisher: &str, value: dsx::Value, turn: &mut Turn) -> Result<(), &'static str> {
        let (Some(slot), Some(point)) = (self.points.slot(index), self.points.catalogue.get(PointId(index))) else {
            return Err("value without point");
        };
        if matches!(slot.origin, Origin::Source(_)) {
            return Err("point belongs to a source of the site file");
        }
        if publisher != dsx::BMS && publisher != point.integration {
            return Err("value from an integration that does not own the point");
        }
        let marks = if value.trusted { Quality::GOOD } else { Quality::DISTRUSTED };
        if slot.beat
            && let Some(beat) = value.value
            && publisher == dsx::BMS
        {
            if !(1.0..9e15).contains(&beat) {
                return Err("heartbeat is not a time");
            }
            let beat = Timestamp(beat as i64);
            turn.taken.heartbeats.push(beat);
            if self.points.clock_source == ClockSource::Bms && self.points.advance(beat) {
                turn.tally.add(CLOCK_SET_BACK, DSX, 1);
            }
            return self.points.accept(index, value.value, value.at.into(), marks, turn.host_now, &mut turn.taken);
        }
        self.points.file(index, value.value, value.at.into(), marks, turn.host_now, &mut turn.taken)
    }

    /// Counts a refusal and keeps its evidence.
    fn refuse(&mut self, format: &'static str, topic: &str, reason: &'static str, key: &str, payload: &[u8], n: u64, turn: &mut Turn) {
        put(&mut self.quarantine, format, topic, reason, key, payload, n, turn);
    }

    /// The site's clock; none before the first heartbeat (`bms`), value (`data`) or batch (`host`).
    pub fn clock(&self) -> Option<Timestamp> {
        self.points.clock.now
    }
    pub fn catalogue(&self) -> &Catalogue {
        &self.points.catalogue
    }
    pub fn classes(&self) -> &Classes {
        &self.points.classes
    }
    /// The newest reading of a point in this process.
    pub fn latest(&self, id: PointId) -> Option<&Latest> {
        self.points.slot(id.0)?.latest.as_ref()
    }
    /// The newest reading of a point that can be believed; the newest at all where there is none.
    pub fn good(&self, id: PointId) -> Option<&Latest> {
        let slot = self.points.slot(id.0)?;
        slot.good.as_ref().or(slot.latest.as_ref())
    }
    /// The points that we must publish, with their topics.
    pub fn our_points(&self) -> impl Iterator<Item = (&Point, String)> {
        self.points.catalogue.iter().filter_map(|p| Some((p, super::publish::topic(p, &self.us).ok()?)))
    }
    /// Cross-checks between points that fail now.
    pub fn findings(&self) -> impl Iterator<Item = Finding> {
        self.points.relations.findings()
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

fn put(
    quarantine: &mut Quarantine,
    format: &'static str,
    topic: &str,
    reason: &'static str,
    key: &str,
    payload: &[u8],
    n: u64,
    turn: &mut Turn,
) {
    count(&mut turn.refused, (format, reason), n);
    turn.taken.refused += n;
    quarantine.put(topic, format, reason, key, payload, turn.host_now);
}

/// Files a number where it belongs.
fn number_to(
    points: &mut Points,
    target: Target,
    sent: Option<f64>,
    at: Stamp,
    marks: Quality,
    turn: &mut Turn,
) -> Result<(), &'static str> {
    match target {
        Target::Point(index) => points.file(index, sent, at, marks, turn.host_now, &mut turn.taken),
        Target::Ignored => Ok(()),
        Target::Refused(reason) => Err(reason),
    }
}

/// Files one sample where it belongs.
fn sample_to(points: &mut Points, target: Target, sample: &decode::Sample<'_>, turn: &mut Turn) -> Result<(), &'static str> {
    let Target::Point(index) = target else { return number_to(points, target, None, Stamp::MIN, Quality::GOOD, turn) };
    let number = match &sample.value {
        Value::Number(n) if n.is_finite() => Some(*n),
        Value::Number(_) => return Err("value not finite"),
        Value::Null => None,
        Value::Text(text) => Some(state(points, index, text).ok_or("text is no state of the point")?),
    };
    let at = sample.at.unwrap_or_else(|| points.arrival(turn.host_now).into());
    number_to(points, target, number, at, sample.marks, turn)
}

/// The number of a state's text.
fn state(points: &Points, index: u32, text: &str) -> Option<f64> {
    let texts = &points.catalogue.get(PointId(index))?.state_text;
    texts.iter().find(|s| s.text.eq_ignore_ascii_case(text)).map(|s| s.value as f64)
}
