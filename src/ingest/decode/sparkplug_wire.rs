//! Sparkplug B's messages as protobuf: the part of Eclipse Tahu's `sparkplug_b.proto` that carries readings.
//!
//! What is read borrows from the message, so that a metric of data (alias, timestamp, value) costs no allocation; what is
//! written (a rebirth request) has one metric.
//! Invariants: total: any bytes give a payload or [`NoMessage`]; of a field that is sent twice the last counts, unknown
//! fields are passed over, as protobuf wants it; a payload has at most [`SAMPLES_MAX`] metrics.
//! Absent: data sets, templates and metadata are passed over; a metric that is one of them has no value here.
//! Ours rather than `prost`'s: that one owns every metric, which was two thirds of a message's cost; it stands against this
//! in the tests.

use super::SAMPLES_MAX;

/// Not protobuf, or not of this schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoMessage;

/// A message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload<'a> {
    /// Epoch ms.
    pub timestamp: Option<u64>,
    pub metrics: Vec<Metric<'a>>,
    pub seq: Option<u64>,
    /// What the body is, where the message is not of metrics.
    pub uuid: Option<&'a str>,
    /// More metrics came than are read.
    pub too_many: bool,
}

/// One metric.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metric<'a> {
    pub name: Option<&'a str>,
    pub alias: Option<u64>,
    pub timestamp: Option<u64>,
    pub datatype: Option<u32>,
    pub is_historical: bool,
    pub is_null: bool,
    /// The property `Quality`, where it is a whole number.
    pub quality: Option<u32>,
    pub value: Option<Sent<'a>>,
}

/// A metric's value as it travels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sent<'a> {
    Int(u32),
    Long(u64),
    Float(f32),
    Double(f64),
    Boolean(bool),
    Text(&'a str),
    /// Bytes, a data set or a template.
    Other,
}

/// A field's content.
#[derive(Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Eight([u8; 8]),
    Bytes(&'a [u8]),
    Four([u8; 4]),
}

/// The fields of a message, one by one.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    #[inline(always)]
    fn varint(&mut self) -> Result<u64, NoMessage> {
        match self.0 {
            [b, rest @ ..] if *b < 0x80 => {
                self.0 = rest;
                Ok(u64::from(*b))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, NoMessage> {
        let mut value = 0;
        for (i, b) in self.0.iter().take(10).enumerate() {
            // The tenth byte has room for one bit.
            if i == 9 && *b > 1 {
                break;
            }
            value |= u64::from(b & 0x7f) << (7 * i);
            if *b < 0x80 {
                self.0 = &self.0[i + 1..];
                return Ok(value);
            }
        }
        Err(NoMessage)
    }

    #[inline]
    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], NoMessage> {
        let (head, rest) = self.0.split_first_chunk().ok_or(NoMessage)?;
        self.0 = rest;
        Ok(*head)
    }

    /// The next field's number and content; `None` at the end.
    #[inline(always)]
    fn next(&mut self) -> Result<Option<(u32, Wire<'a>)>, NoMessage> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = u32::try_from(self.varint()?).map_err(|_| NoMessage)?;
        let wire = match key & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Eight(self.fixed()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| NoMessage)?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or(NoMessage)?;
                self.0 = rest;
                Wire::Bytes(bytes)
            }
            5 => Wire::Four(self.fixed()?),
            // Groups were given up before Sparkplug began.
            _ => return Err(NoMessage),
        };
        if key >> 3 == 0 { Err(NoMessage) } else { Ok(Some((key >> 3, wire))) }
    }
}

impl<'a> Wire<'a> {
    fn whole(self) -> Result<u64, NoMessage> {
        if let Wire::Varint(n) = self { Ok(n) } else { Err(NoMessage) }
    }
    fn bytes(self) -> Result<&'a [u8], NoMessage> {
        if let Wire::Bytes(b) = self { Ok(b) } else { Err(NoMessage) }
    }
    fn text(self) -> Result<&'a str, NoMessage> {
        std::str::from_utf8(self.bytes()?).map_err(|_| NoMessage)
    }
}

impl<'a> Payload<'a> {
    /// Reads a message.
    pub fn read(message: &'a [u8]) -> Result<Payload<'a>, NoMessage> {
        let mut p = Payload::default();
        let mut fields = Fields(message);
        while let Some((field, wire)) = fields.next()? {
            match field {
                1 => p.timestamp = Some(wire.whole()?),
                2 if p.metrics.len() >= SAMPLES_MAX => p.too_many = true,
                2 => p.metrics.push(Metric::read(wire.bytes()?)?),
                3 => p.seq = Some(wire.whole()?),
                4 => p.uuid = Some(wire.text()?),
                _ => {}
            }
        }
        Ok(p)
    }
}

impl<'a> Metric<'a> {
    fn read(message: &'a [u8]) -> Result<Metric<'a>, NoMessage> {
        let mut m = Metric::default();
        let mut fields = Fields(message);
        while let Some((field, wire)) = fields.next()? {
            match (field, wire) {
                (1, w) => m.name = Some(w.text()?),
                (2, w) => m.alias = Some(w.whole()?),
                (3, w) => m.timestamp = Some(w.whole()?),
                (4, w) => m.datatype = Some(w.whole()? as u32),
                (5, w) => m.is_historical = w.whole()? != 0,
                (7, w) => m.is_null = w.whole()? != 0,
                (9, w) => m.quality = quality(w.bytes()?)?.or(m.quality),
                (10, w) => m.value = Some(Sent::Int(w.whole()? as u32)),
                (11, w) => m.value = Some(Sent::Long(w.whole()?)),
                (12, Wire::Four(b)) => m.value = Some(Sent::Float(f32::from_le_bytes(b))),
                (13, Wire::Eight(b)) => m.value = Some(Sent::Double(f64::from_le_bytes(b))),
                (12 | 13, _) => return Err(NoMessage),
                (14, w) => m.value = Some(Sent::Boolean(w.whole()? != 0)),
                (15, w) => m.value = Some(Sent::Text(w.text()?)),
                (16..=18, w) => m.value = w.bytes().map(|_| Some(Sent::Other))?,
                _ => {}
            }
        }
        Ok(m)
    }
}

/// The property `Quality` of a set: keys and values stand in two lists of the same order.
fn quality(set: &[u8]) -> Result<Option<u32>, NoMessage> {
    let (mut keys, mut values, mut place, mut found) = (0, 0, None, None);
    // Which of the keys it is; then the value at that place.
    for looking_for_key in [true, false] {
        let mut fields = Fields(set);
        while let Some((field, wire)) = fields.next()? {
            match (field, looking_for_key) {
                (1, true) => {
                    if wire.text()?.eq_ignore_ascii_case("quality") && place.is_none() {
                        place = Some(keys);
                    }
                    keys += 1;
                }
                (2, false) => {
                    let mut property = Fields(wire.bytes()?);
                    let mut whole = None;
                    while let Some((field, wire)) = property.next()? {
                        if field == 3 {
                            whole = Some(wire.whole()? as u32);
                        }
                    }
                    if place == Some(values) {
                        found = whole;
                    }
                    values += 1;
                }
                _ => {}
            }
        }
    }
    Ok(found)
}

fn put_varint(out: &mut Vec<u8>, mut n: u64) {
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
}

fn put_whole(out: &mut Vec<u8>, field: u8, n: u64) {
    out.push(field << 3);
    put_varint(out, n);
}

fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    put_varint(out, u64::from(field) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

impl Payload<'_> {
    /// The message's bytes.
    pub fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.timestamp.into_iter().for_each(|n| put_whole(&mut out, 1, n));
        self.metrics.iter().for_each(|m| put_bytes(&mut out, 2, &m.write()));
        self.seq.into_iter().for_each(|n| put_whole(&mut out, 3, n));
        self.uuid.into_iter().for_each(|t| put_bytes(&mut out, 4, t.as_bytes()));
        out
    }
}

impl Metric<'_> {
    fn write(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.name.into_iter().for_each(|t| put_bytes(&mut out, 1, t.as_bytes()));
        let flag = |set: bool| set.then_some(1);
        let wholes = [
            (2, self.alias),
            (3, self.timestamp),
            (4, self.datatype.map(u64::from)),
            (5, flag(self.is_historical)),
            (7, flag(self.is_null)),
        ];
        wholes.into_iter().filter_map(|(field, n)| Some((field, n?))).for_each(|(field, n)| put_whole(&mut out, field, n));
        if let Some(quality) = self.quality {
            let (mut property, mut set) = (Vec::new(), Vec::new());
            put_whole(&mut property, 1, u64::from(datatype::INT32));
            put_whole(&mut property, 3, u64::from(quality));
            put_bytes(&mut set, 1, b"Quality");
            put_bytes(&mut set, 2, &property);
            put_bytes(&mut out, 9, &set);
        }
        match self.value {
            None => {}
            Some(Sent::Int(n)) => put_whole(&mut out, 10, u64::from(n)),
            Some(Sent::Long(n)) => put_whole(&mut out, 11, n),
            Some(Sent::Float(v)) => {
                out.push(12 << 3 | 5);
                out.extend_from_slice(&v.to_le_bytes());
            }
            Some(Sent::Double(v)) => {
                out.push(13 << 3 | 1);
                out.extend_from_slice(&v.to_le_bytes());
            }
            Some(Sent::Boolean(v)) => put_whole(&mut out, 14, u64::from(v)),
            Some(Sent::Text(t)) => put_bytes(&mut out, 15, t.as_bytes()),
            Some(Sent::Other) => put_bytes(&mut out, 17, &[]),
        }
        out
    }
}

/// Datatypes (Sparkplug 3.0 §6.4.16).
pub mod datatype {
    pub const INT8: u32 = 1;
    pub const INT16: u32 = 2;
    pub const INT32: u32 = 3;
    pub const INT64: u32 = 4;
    pub const UINT8: u32 = 5;
    pub const UINT64: u32 = 8;
    pub const FLOAT: u32 = 9;
    pub const DOUBLE: u32 = 10;
    pub const BOOLEAN: u32 = 11;
    pub const STRING: u32 = 12;
    pub const DATE_TIME: u32 = 13;
    pub const TEXT: u32 = 14;
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    /// The same messages as `prost` knows them.
    mod theirs {
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct Payload {
            #[prost(uint64, optional, tag = "1")]
            pub timestamp: Option<u64>,
            #[prost(message, repeated, tag = "2")]
            pub metrics: Vec<Metric>,
            #[prost(uint64, optional, tag = "3")]
            pub seq: Option<u64>,
            #[prost(string, optional, tag = "4")]
            pub uuid: Option<String>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct Metric {
            #[prost(string, optional, tag = "1")]
            pub name: Option<String>,
            #[prost(uint64, optional, tag = "2")]
            pub alias: Option<u64>,
            #[prost(uint64, optional, tag = "3")]
            pub timestamp: Option<u64>,
            #[prost(uint32, optional, tag = "4")]
            pub datatype: Option<u32>,
            #[prost(bool, optional, tag = "5")]
            pub is_historical: Option<bool>,
            #[prost(bool, optional, tag = "7")]
            pub is_null: Option<bool>,
            #[prost(message, optional, tag = "9")]
            pub properties: Option<Properties>,
            #[prost(oneof = "Sent", tags = "10, 11, 12, 13, 14, 15, 16, 17, 18")]
            pub value: Option<Sent>,
        }
        #[derive(Clone, PartialEq, prost::Oneof)]
        pub enum Sent {
            #[prost(uint32, tag = "10")]
            Int(u32),
            #[prost(uint64, tag = "11")]
            Long(u64),
            #[prost(float, tag = "12")]
            Float(f32),
            #[prost(double, tag = "13")]
            Double(f64),
            #[prost(bool, tag = "14")]
            Boolean(bool),
            #[prost(string, tag = "15")]
            Text(String),
            #[prost(bytes = "vec", tag = "16")]
            Bytes(Vec<u8>),
            #[prost(bytes = "vec", tag = "17")]
            DataSet(Vec<u8>),
            #[prost(bytes = "vec", tag = "18")]
            Template(Vec<u8>),
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct Properties {
            #[prost(string, repeated, tag = "1")]
            pub keys: Vec<String>,
            #[prost(message, repeated, tag = "2")]
            pub values: Vec<Property>,
        }
        #[derive(Clone, PartialEq, prost::Message)]
        pub struct Property {
            #[prost(uint32, optional, tag = "3")]
            pub int: Option<u32>,
        }
    }

    /// What we read, as they would have it.
    fn as_theirs(p: &Payload) -> theirs::Payload {
        use theirs::Sent as S;
        let metric = |m: &Metric| theirs::Metric {
            name: m.name.map(str::to_owned),
            alias: m.alias,
            timestamp: m.timestamp,
            datatype: m.datatype,
            is_historical: Some(m.is_historical),
            is_null: Some(m.is_null),
            properties: m
                .quality
                .map(|q| theirs::Properties { keys: vec!["Quality".into()], values: vec![theirs::Property { int: Some(q) }] }),
            value: m.value.map(|v| match v {
                Sent::Int(n) => S::Int(n),
                Sent::Long(n) => S::Long(n),
                Sent::Float(v) => S::Float(v),
                Sent::Double(v) => S::Double(v),
                Sent::Boolean(v) => S::Boolean(v),
                Sent::Text(t) => S::Text(t.into()),
                Sent::Other => S::DataSet(vec![]),
            }),
        };
        theirs::Payload {
            timestamp: p.timestamp,
            metrics: p.metrics.iter().map(metric).collect(),
            seq: p.seq,
            uuid: p.uuid.map(str::to_owned),
        }
    }

    /// Theirs, in the one way that ours can say the same.
    fn plain(mut p: theirs::Payload) -> theirs::Payload {
        use theirs::Sent as S;
        for m in &mut p.metrics {
            m.is_historical = Some(m.is_historical == Some(true));
            m.is_null = Some(m.is_null == Some(true));
            let quality = m.properties.take().and_then(|s| {
                let place = s.keys.iter().position(|k| k.eq_ignore_ascii_case("quality"))?;
                s.values.get(place)?.int
            });
            m.properties =
                quality.map(|q| theirs::Properties { keys: vec!["Quality".into()], values: vec![theirs::Property { int: Some(q) }] });
            if matches!(m.value, Some(S::Bytes(_) | S::DataSet(_) | S::Template(_))) {
                m.value = Some(S::DataSet(vec![]));
            }
        }
        p
    }

    #[test]
    fn what_prost_writes_we_read_and_what_we_write_prost_reads() {
        use prost::Message;
        use theirs::Sent as S;
        let mut rng = rand::rngs::StdRng::seed_from_u64(8);
        let (mut good, mut bad) = (0, 0);
        for round in 0..20_000 {
            let values = [
                S::Int(7),
                S::Long(u64::MAX),
                S::Float(1.5),
                S::Double(-2.5),
                S::Boolean(true),
                S::Text("a°".into()),
                S::Template(vec![1, 2]),
            ];
            let metrics = (0..rng.random_range(0..4)).map(|_| {
                let some = |rng: &mut rand::rngs::StdRng| rng.random_bool(0.7);
                theirs::Metric {
                    name: some(&mut rng).then(|| "Rack 1/Power".to_owned()),
                    alias: some(&mut rng).then(|| rng.random()),
                    timestamp: some(&mut rng).then(|| rng.random_range(0..1 << 45)),
                    datatype: some(&mut rng).then(|| rng.random_range(0..20)),
                    is_historical: some(&mut rng).then(|| rng.random()),
                    is_null: some(&mut rng).then(|| rng.random()),
                    properties: some(&mut rng).then(|| theirs::Properties {
                        keys: vec!["a".into(), "QUALITY".into()],
                        values: vec![theirs::Property { int: Some(3) }, theirs::Property { int: some(&mut rng).then(|| rng.random()) }],
                    }),
                    value: some(&mut rng).then(|| values[rng.random_range(0..values.len())].clone()),
                }
            });
            let sent = theirs::Payload { timestamp: Some(5), metrics: metrics.collect(), seq: Some(round % 256), uuid: None };
            let mut bytes = sent.encode_to_vec();
            let read = Payload::read(&bytes).expect("what prost writes");
            assert_eq!(as_theirs(&read), plain(sent.clone()));
            assert_eq!(plain(theirs::Payload::decode(&read.write()[..]).expect("what we write")), plain(sent));
            // Broken anywhere, both say the same, up to what is passed over unread.
            let at = rng.random_range(0..bytes.len());
            bytes[at] ^= 1 << rng.random_range(0..8);
            match (Payload::read(&bytes), theirs::Payload::decode(&bytes[..])) {
                (Ok(ours), Ok(theirs))
                    if ours.metrics.iter().all(|m| m.quality.is_none()) && theirs.metrics.iter().all(|m| m.properties.is_none()) =>
                {
                    assert_eq!(as_theirs(&ours), plain(theirs));
                    good += 1;
                }
                (Ok(_), Ok(_)) => good += 1,
                _ => bad += 1,
            }
        }
        assert!(good > 5000 && bad > 1000, "{good} {bad}");
    }
}
