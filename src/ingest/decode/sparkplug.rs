//! Sparkplug B 3.0: births, aliases, sequence numbers, deaths.
//!
//! ```text
//! unborn ──NBIRTH──▶ alive ──gap, wrong bdSeq, data of an unborn device──▶ suspect ──NBIRTH──▶ alive
//!    └─anything else: suspect, rebirth asked for            alive, suspect ──NDEATH──▶ dead ──NBIRTH──▶ alive
//! ```
//!
//! Words: an *edge* is `{group}/{edge node}`, a *device* hangs on it; a *birth* gives each metric its name, alias and
//! datatype, and data may carry the alias alone; `seq` (0–255, wrapping) counts an edge's messages; `bdSeq` numbers its
//! sessions. A *rebirth request* is an NCMD `Node Control/Rebirth` = true.
//! Invariants: pure but for its own memory, which is bounded ([`EDGES_MAX`], [`METRICS_MAX`]); what a suspect edge sends is
//! marked distrusted until its rebirth; an edge is asked at most once in [`ASK_EVERY`].
//!
//! A death whose `bdSeq` is not its birth's is, by the specification, to be ignored: it may be the will of an earlier
//! session that the broker delivered late. But publishers exist that number wrongly (`pysparkplug` 0.6.1 prepares the next
//! session's number right after its birth, and its parting NDEATH carries that one), and believing a dead sensor is the worse mistake. So such a death makes
//! the edge *suspect*, not dead, and asks for a rebirth: a living edge answers and is trusted again, a dead one stays so.

use super::sparkplug_wire::{Metric, Payload, Sent, datatype};
use super::{Batch, NAME_MAX, Name, Sample, Value};
use crate::reading::Quality;
use crate::time::{Span, Timestamp};
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// Edges and devices together that one site may have.
pub const EDGES_MAX: usize = 8192;
/// Metrics that one site's births may name.
pub const METRICS_MAX: usize = 400_000;
/// Time between two rebirth requests to one edge, on the host's clock.
pub const ASK_EVERY: Span = Span::seconds(10);
/// OPC quality "good", where a publisher sends the property `Quality`.
const GOOD: u32 = 192;

/// Who a message is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct From<'t> {
    pub group: &'t str,
    pub edge: &'t str,
    pub device: Option<&'t str>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    NodeBirth,
    NodeData,
    NodeDeath,
    DeviceBirth,
    DeviceData,
    DeviceDeath,
    /// A command, or a host application's state: not for us.
    Other,
}

/// What a message changes besides its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// Ask the edge for a rebirth.
    pub ask: bool,
    /// Every point of the sender has no value from now on; an edge's death includes its devices.
    pub died: bool,
    /// Every point of the edge is to be distrusted until its rebirth.
    pub suspect: bool,
    /// The sender was born: its values are current.
    pub born: bool,
}

/// A metric as its birth described it.
#[derive(Debug)]
struct Known {
    name: Arc<str>,
    alias: Option<u64>,
    datatype: u32,
}

#[derive(Debug, Default)]
struct Device {
    alive: bool,
    /// In the order of the birth.
    metrics: Vec<Known>,
    by_alias: HashMap<u64, u32>,
    by_name: HashMap<Arc<str>, u32>,
    /// The metric that follows the one that came last: data mostly come in the order of the birth.
    next: usize,
}

#[derive(Debug, Default)]
struct Edge {
    alive: bool,
    suspect: bool,
    seq: Option<u8>,
    bd_seq: Option<u64>,
    asked: Option<Timestamp>,
    node: Device,
    devices: HashMap<Box<str>, Device>,
}

/// The edges of a site.
#[derive(Debug, Default)]
pub struct Edges {
    edges: HashMap<Box<str>, Edge>,
    /// Edges and devices; metrics of all births.
    members: usize,
    metrics: usize,
}

/// Reads a topic `spBv1.0/{group}/{type}/{edge}[/{device}]`.
fn parse(topic: &str) -> Result<(Kind, From<'_>), &'static str> {
    let levels: Vec<&str> = topic.split('/').collect();
    let ("spBv1.0", [group, kind, edge, device @ ..]) = (levels[0], levels.get(1..).unwrap_or_default()) else {
        return match levels.as_slice() {
            ["spBv1.0", "STATE", _] => Ok((Kind::Other, From { group: "", edge: "", device: None })),
            _ => Err("topic not of Sparkplug B"),
        };
    };
    let from = From { group, edge, device: device.first().copied() };
    if device.len() > 1 || group.is_empty() || edge.is_empty() || device.iter().any(|l| l.is_empty()) {
        return Err("topic not of Sparkplug B");
    }
    let kind = match (*kind, from.device.is_some()) {
        ("NBIRTH", false) => Kind::NodeBirth,
        ("NDATA", false) => Kind::NodeData,
        ("NDEATH", false) => Kind::NodeDeath,
        ("DBIRTH", true) => Kind::DeviceBirth,
        ("DDATA", true) => Kind::DeviceData,
        ("DDEATH", true) => Kind::DeviceDeath,
        ("NCMD", false) | ("DCMD", true) => Kind::Other,
        _ if *group == "STATE" => Kind::Other,
        _ => return Err("topic not of Sparkplug B"),
    };
    Ok((kind, from))
}

impl From<'_> {
    /// What names the sender's points: `{group}/{edge}[/{device}]`.
    pub fn series(&self) -> String {
        match self.device {
            Some(d) => format!("{}/{}/{d}", self.group, self.edge),
            None => format!("{}/{}", self.group, self.edge),
        }
    }
}

/// Topic and payload of a rebirth request.
pub fn rebirth(group: &str, edge: &str, now: Timestamp) -> (String, Vec<u8>) {
    let metric = Metric {
        name: Some("Node Control/Rebirth"),
        timestamp: Some(now.0 as u64),
        datatype: Some(datatype::BOOLEAN),
        value: Some(Sent::Boolean(true)),
        ..Metric::default()
    };
    let payload = Payload { timestamp: Some(now.0 as u64), metrics: vec![metric], ..Payload::default() };
    (format!("spBv1.0/{group}/NCMD/{edge}"), payload.write())
}

impl Edges {
    /// Takes a message in. `now` is the host's clock. `None` = a message that is not for us.
    pub fn take<'t, 'p>(
        &mut self,
        topic: &'t str,
        payload: &'p [u8],
        now: Timestamp,
        batch: &mut Batch<'p>,
    ) -> Result<Option<(From<'t>, Change)>, &'static str> {
        let (kind, from) = parse(topic)?;
        if kind == Kind::Other {
            return Ok(None);
        }
        let payload = Payload::read(payload).map_err(|_| "message not protobuf")?;
        if payload.uuid == Some("SPBV1.0_COMPRESSED") {
            return Err("compressed payload not read");
        }
        if payload.too_many {
            return Err("too many values in a message");
        }
        let name = format!("{}/{}", from.group, from.edge);
        if !self.edges.contains_key(name.as_str()) {
            if self.members >= EDGES_MAX {
                return Err("too many edges");
            }
            self.members += 1;
        }
        let edge = self.edges.entry(name.into()).or_default();
        let mut change = edge.order(kind, from.device, &payload);
        let (edge_suspect, budget) = (edge.suspect, METRICS_MAX.saturating_sub(self.metrics));
        let device = match from.device {
            None => &mut edge.node,
            Some(d) => {
                if !edge.devices.contains_key(d) {
                    if self.members >= EDGES_MAX {
                        return Err("too many edges");
                    }
                    self.members += 1;
                }
                edge.devices.entry(d.into()).or_default()
            }
        };
        match kind {
            Kind::NodeBirth | Kind::DeviceBirth => {
                self.metrics -= device.count().min(self.metrics);
                let learned = device.birth(&payload, budget + device.count(), batch);
                self.metrics += learned;
                change.born = true;
            }
            Kind::NodeData | Kind::DeviceData => device.data(&payload, edge_suspect, batch),
            Kind::NodeDeath | Kind::DeviceDeath | Kind::Other => {}
        }
        if edge.suspect && edge.asked.is_none_or(|at| now - at >= ASK_EVERY || now < at) {
            edge.asked = Some(now);
            change.ask = true;
        }
        Ok(Some((from, change)))
    }
}

impl Edge {
    /// Follows the edge's life: see the picture in the module's text.
    fn order(&mut self, kind: Kind, device: Option<&str>, payload: &Payload) -> Change {
        let mut change = Change::default();
        let bd_seq = payload.metrics.iter().find(|m| m.name == Some("bdSeq")).and_then(|m| match m.value {
            Some(Sent::Long(n)) => Some(n),
            Some(Sent::Int(n)) => Some(u64::from(n)),
            _ => None,
        });
        let seq = payload.seq.and_then(|s| u8::try_from(s).ok());
        match kind {
            Kind::NodeBirth => {
                (self.alive, self.suspect, self.seq, self.bd_seq, self.asked) = (true, false, seq, bd_seq, None);
                self.node.alive = true;
                self.devices.values_mut().for_each(|d| d.alive = false);
                return change;
            }
            Kind::NodeDeath => {
                if bd_seq.is_some() && bd_seq == self.bd_seq {
                    (self.alive, self.suspect, self.seq) = (false, false, None);
                    self.node.alive = false;
                    self.devices.values_mut().for_each(|d| d.alive = false);
                    change.died = true;
                } else if self.alive {
                    (self.suspect, change.suspect) = (true, true);
                }
                return change;
            }
            _ => {}
        }
        let expected = self.seq.map(|s| s.wrapping_add(1));
        let in_order = seq.is_some() && seq == expected;
        self.seq = seq.or(self.seq);
        let device_alive = device.is_none_or(|d| self.devices.get(d).is_some_and(|d| d.alive));
        let data_of_unborn = matches!(kind, Kind::NodeData | Kind::DeviceData) && !(device_alive && self.node.alive);
        if (!self.alive || !in_order || data_of_unborn) && !self.suspect {
            (self.suspect, change.suspect) = (true, true);
        }
        if let Some(d) = device.and_then(|d| self.devices.get_mut(d))
            && kind == Kind::DeviceDeath
        {
            d.alive = false;
            change.died = true;
        }
        change
    }
}

impl Device {
    fn count(&self) -> usize {
        self.metrics.len()
    }

    /// Learns names, aliases and datatypes, and takes the values in. Returns the number of metrics learned.
    fn birth<'p>(&mut self, payload: &Payload<'p>, budget: usize, batch: &mut Batch<'p>) -> usize {
        *self = Device { alive: true, ..Device::default() };
        for metric in &payload.metrics {
            let Some(name) = metric.name.filter(|n| !n.is_empty()) else {
                batch.refuse("birth of a metric without a name");
                continue;
            };
            if control(name) {
                continue;
            }
            if name.len() > NAME_MAX {
                batch.refuse("name too long");
                continue;
            }
            if self.metrics.len() >= budget {
                batch.refuse("too many metrics");
                continue;
            }
            let (name, datatype): (Arc<str>, u32) = (name.into(), metric.datatype.unwrap_or_default());
            let place = self.metrics.len() as u32;
            self.by_name.insert(name.clone(), place);
            if let Some(alias) = metric.alias {
                self.by_alias.insert(alias, place);
            }
            self.metrics.push(Known { name: name.clone(), alias: metric.alias, datatype });
            push(metric, Name::Known(name), datatype, payload.timestamp, Quality::GOOD, batch);
        }
        self.count()
    }

    /// The metric that data mean.
    #[inline]
    fn known(&mut self, name: Option<&str>, alias: Option<u64>) -> Option<&Known> {
        let expected = self.metrics.get(self.next).is_some_and(|k| match name {
            Some(name) => *k.name == *name,
            None => alias.is_some() && k.alias == alias,
        });
        // Of two that share an alias the last one counts.
        let place = match name {
            _ if expected && name.is_some() => self.next,
            Some(name) => *self.by_name.get(name)? as usize,
            None if expected && self.by_alias.len() == self.metrics.len() => self.next,
            None => *self.by_alias.get(&alias?)? as usize,
        };
        self.next = place + 1;
        if self.next >= self.metrics.len() {
            self.next = 0;
        }
        self.metrics.get(place)
    }

    fn data<'p>(&mut self, payload: &Payload<'p>, suspect: bool, batch: &mut Batch<'p>) {
        let marks = if suspect { Quality::DISTRUSTED } else { Quality::GOOD };
        batch.samples.reserve(payload.metrics.len());
        for metric in &payload.metrics {
            let name = metric.name.filter(|n| !n.is_empty());
            if name.is_some_and(control) {
                continue;
            }
            let Some(known) = self.known(name, metric.alias) else {
                batch.refuse("metric before its birth");
                continue;
            };
            push(metric, Name::Known(known.name.clone()), metric.datatype.unwrap_or(known.datatype), payload.timestamp, marks, batch);
        }
    }
}

/// Metrics that steer the protocol are no readings.
fn control(name: &str) -> bool {
    name == "bdSeq" || name.starts_with("Node Control/") || name.starts_with("Device Control/")
}

fn push<'a>(metric: &Metric<'a>, key: Name<'a>, datatype: u32, message_ms: Option<u64>, marks: Quality, batch: &mut Batch<'a>) {
    let value = match value(metric, datatype) {
        Ok(value) => value,
        Err(reason) => return batch.refuse(reason),
    };
    let at = match metric.timestamp.or(message_ms) {
        None => None,
        Some(ms) => match super::time::whole(i64::try_from(ms).unwrap_or(i64::MAX), crate::site::TimeUnit::Ms) {
            Ok(at) => Some(at),
            Err(reason) => return batch.refuse(reason),
        },
    };
    let mut marks = marks;
    if metric.is_historical {
        marks = marks.with(Quality::HISTORICAL);
    }
    if metric.quality.is_some_and(|q| q != GOOD) {
        marks = marks.with(Quality::DISTRUSTED);
    }
    batch.samples.push(Sample { series: None, key, value, at, marks });
}

/// A metric's value. Signed whole numbers travel as two's complement in the unsigned field.
fn value<'a>(metric: &Metric<'a>, datatype: u32) -> Result<Value<'a>, &'static str> {
    let (Some(sent), false) = (metric.value, metric.is_null) else { return Ok(Value::Null) };
    let bits = match sent {
        Sent::Int(n) => u64::from(n),
        Sent::Long(n) => n,
        Sent::Float(f) => return finite(f64::from(f)),
        Sent::Double(d) => return finite(d),
        Sent::Boolean(b) => return Ok(Value::Number(f64::from(u8::from(b)))),
        Sent::Text(t) => return Ok(Value::Text(Cow::Borrowed(t))),
        Sent::Other => return Err("datatype not a reading"),
    };
    Ok(Value::Number(match datatype {
        datatype::INT8 => f64::from(bits as u8 as i8),
        datatype::INT16 => f64::from(bits as u16 as i16),
        datatype::INT32 => f64::from(bits as u32 as i32),
        datatype::INT64 => bits as i64 as f64,
        _ => bits as f64,
    }))
}

fn finite(number: f64) -> Result<Value<'static>, &'static str> {
    if number.is_finite() { Ok(Value::Number(number)) } else { Err("value not finite") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::tests::{Seen, owned};

    const T: u64 = 1_784_000_000_000;

    fn metric<'a>(name: &'a str, alias: u64, datatype: u32, value: Sent<'a>) -> Metric<'a> {
        Metric {
            name: Some(name).filter(|n| !n.is_empty()),
            alias: Some(alias),
            datatype: Some(datatype),
            value: Some(value),
            ..Metric::default()
        }
    }

    struct Host(Edges, i64);

    impl Host {
        /// What a message gives: its samples, its refusals, what it changes.
        fn take(&mut self, topic: &str, seq: Option<u64>, metrics: Vec<Metric<'_>>) -> (Vec<Seen>, Vec<(&'static str, u64)>, Change) {
            let bytes = Payload { timestamp: Some(T), metrics, seq, ..Payload::default() }.write();
            let mut batch = Batch::default();
            self.1 += 20_000;
            let (_, change) = self.0.take(&format!("spBv1.0/{topic}"), &bytes, Timestamp(self.1), &mut batch).unwrap().unwrap();
            (owned(&batch), batch.refusals.clone(), change)
        }
    }

    fn born() -> Host {
        let mut host = Host(Edges::default(), 0);
        let node = vec![metric("bdSeq", 0, datatype::INT64, Sent::Long(7)), metric("load", 1, datatype::DOUBLE, Sent::Double(0.5))];
        assert_eq!(host.take("g/NBIRTH/e", Some(0), node), (vec![Seen::number("load", 0.5, Some(T as i64))], vec![], BORN));
        let device = vec![metric("temp", 1, datatype::INT32, Sent::Int(-5i32 as u32))];
        assert_eq!(host.take("g/DBIRTH/e/d", Some(1), device).0, [Seen::number("temp", -5.0, Some(T as i64))]);
        host
    }

    const NOTHING: Change = Change { ask: false, died: false, suspect: false, born: false };
    const LOST: Change = Change { ask: true, suspect: true, ..NOTHING };
    const BORN: Change = Change { born: true, ..NOTHING };

    #[test]
    fn aliases_stand_for_names_and_seq_wraps() {
        let mut host = born();
        for i in 2..600u64 {
            let (seen, refused, change) =
                host.take("g/DDATA/e/d", Some(i % 256), vec![metric("", 1, datatype::INT32, Sent::Int(i as u32))]);
            assert_eq!((seen, refused, change), (vec![Seen::number("temp", i as f64, Some(T as i64))], vec![], NOTHING));
        }
        let (seen, refused, _) = host.take("g/NDATA/e", Some(600 % 256), vec![metric("", 9, 0, Sent::Int(1)), Metric::default()]);
        assert_eq!((seen, refused), (vec![], vec![("metric before its birth", 2)]));
    }

    #[test]
    fn a_gap_makes_the_edge_suspect_until_its_rebirth() {
        let mut host = born();
        let data = || vec![metric("", 1, datatype::INT32, Sent::Int(1))];
        let (seen, _, change) = host.take("g/DDATA/e/d", Some(4), data());
        assert_eq!((change, seen[0].marks), (LOST, Quality::DISTRUSTED));
        let (seen, _, change) = host.take("g/DDATA/e/d", Some(5), data());
        assert_eq!((change, seen[0].marks), (Change { ask: true, ..NOTHING }, Quality::DISTRUSTED));
        host.1 -= 20_000;
        assert_eq!(host.take("g/DDATA/e/d", Some(6), data()).2, NOTHING, "asked a moment ago");
        host.take("g/NBIRTH/e", Some(0), vec![metric("bdSeq", 0, datatype::INT64, Sent::Long(7))]);
        // A device is born again too before it is trusted.
        assert_eq!(host.take("g/DDATA/e/d", Some(1), data()).2, LOST);
        host.take("g/NBIRTH/e", Some(0), vec![]);
        host.take("g/DBIRTH/e/d", Some(1), vec![metric("temp", 1, datatype::INT32, Sent::Int(1))]);
        let (seen, _, change) = host.take("g/DDATA/e/d", Some(2), data());
        assert_eq!((change, seen[0].marks), (NOTHING, Quality::GOOD));
    }

    #[test]
    fn deaths_count_when_their_session_is_the_birth_s() {
        let will = |n| vec![metric("bdSeq", 0, datatype::INT64, Sent::Long(n))];
        let mut host = born();
        assert_eq!(host.take("g/DDEATH/e/d", Some(2), vec![]).2, Change { died: true, ..NOTHING });
        assert_eq!(host.take("g/NDEATH/e", None, will(7)).2, Change { died: true, ..NOTHING });
        let mut host = born();
        assert_eq!(host.take("g/NDEATH/e", None, will(6)).2, LOST, "neither believed nor ignored");
        assert_eq!(host.take("g/NBIRTH/e", Some(0), will(8)).2, BORN);
        // An edge that was never born here: its data cannot be read, so it is asked.
        let mut host = Host(Edges::default(), 0);
        let (seen, refused, change) = host.take("g/NDATA/x", Some(9), vec![metric("a", 1, datatype::INT32, Sent::Int(1))]);
        assert_eq!((seen, refused, change), (vec![], vec![("metric before its birth", 1)], LOST));
    }

    #[test]
    fn every_datatype_is_read_as_it_is_meant() {
        let mut host = Host(Edges::default(), 0);
        let mut history = metric("old", 20, datatype::FLOAT, Sent::Float(1.5));
        (history.is_historical, history.timestamp) = (true, Some(T - 5000));
        let mut null = metric("null", 21, datatype::INT64, Sent::Long(1));
        null.is_null = true;
        let mut stale = metric("stale", 22, datatype::DOUBLE, Sent::Double(2.0));
        stale.quality = Some(500);
        let metrics = vec![
            metric("i8", 1, datatype::INT8, Sent::Int(0xff)),
            metric("i8w", 2, datatype::INT8, Sent::Int(0xffff_ff80)),
            metric("i16", 3, datatype::INT16, Sent::Int(0xfffe)),
            metric("i64", 4, datatype::INT64, Sent::Long(u64::MAX)),
            metric("u8", 5, datatype::UINT8, Sent::Int(255)),
            metric("u64", 6, datatype::UINT64, Sent::Long(1 << 60)),
            metric("when", 7, datatype::DATE_TIME, Sent::Long(T)),
            metric("on", 8, datatype::BOOLEAN, Sent::Boolean(true)),
            metric("text", 9, datatype::STRING, Sent::Text("open")),
            metric("nan", 10, datatype::DOUBLE, Sent::Double(f64::NAN)),
            metric("set", 11, 16, Sent::Other),
            history,
            null,
            stale,
        ];
        let (seen, refused, _) = host.take("g/NBIRTH/e", Some(0), metrics);
        let at = Some(T as i64);
        let number = |k, v| Seen::number(k, v, at);
        let mut want = vec![
            number("i8", -1.0),
            number("i8w", -128.0),
            number("i16", -2.0),
            number("i64", -1.0),
            number("u8", 255.0),
            number("u64", (1u64 << 60) as f64),
            number("when", T as f64),
            number("on", 1.0),
            Seen::text("text", "open", at),
            Seen::number("old", 1.5, Some(T as i64 - 5000)),
            Seen::null("null", at),
            number("stale", 2.0),
        ];
        want[9].marks = Quality::HISTORICAL;
        want[11].marks = Quality::DISTRUSTED;
        assert_eq!(seen, want);
        assert_eq!(refused, [("value not finite", 1), ("datatype not a reading", 1)]);
    }

    #[test]
    fn topics_and_bytes_that_are_none_are_refused() {
        let mut edges = Edges::default();
        let mut take = |topic: &str, bytes: &[u8]| edges.take(topic, bytes, Timestamp(0), &mut Batch::default()).map(|o| o.is_some());
        for topic in [
            "spBv1.0/g/NDATA",
            "spBv1.0/g/NDATA/e/d",
            "spBv1.0/g/DDATA/e",
            "spAv1.0/g/NDATA/e",
            "spBv1.0/g/XDATA/e",
            "spBv1.0//NDATA/e",
            "x",
            "",
        ] {
            assert_eq!(take(topic, &[]), Err("topic not of Sparkplug B"), "{topic}");
        }
        assert_eq!(take("spBv1.0/g/NDATA/e", &[0xff; 9]), Err("message not protobuf"));
        assert_eq!(take("spBv1.0/g/NCMD/e", &[]), Ok(false));
        assert_eq!(take("spBv1.0/STATE/host", b"{}"), Ok(false));
        let (topic, bytes) = rebirth("g", "e", Timestamp(5));
        let sent = Payload::read(&bytes).unwrap();
        assert_eq!((topic.as_str(), sent.metrics[0].name), ("spBv1.0/g/NCMD/e", Some("Node Control/Rebirth")));
    }
}
