//! Wire formats: bytes to meaning. How a payload is decoded is chosen by the site's topic filter, never by sniffing.
//!
//! Words: a *sample* is one named value of a message; its *series* is what names it besides the topic (measurement and
//! tags, a device); a *batch* holds the samples and refusals of one message.
//! Invariants: every decoder is pure and total (no input panics, nothing is dropped without a reason); a refusal's reason
//! is a static text, so that counters stay bounded; sizes, counts and nesting are bounded by the constants here; the unit
//! is converted once, in `ingest::points`.

pub mod bare;
pub mod dcdb;
pub mod dsx;
pub mod examon;
pub mod flex;
pub mod inflate;
pub mod json;
pub mod line;
mod plain;
pub mod redfish;
pub mod sparkplug;
pub mod sparkplug_wire;
pub mod thin_edge;
pub mod thingsboard;
pub mod time;

use crate::reading::Quality;
use crate::site::{Format, Source};
use crate::time::{Stamp, Timestamp};
use serde::Serialize;
use std::borrow::Cow;
use std::sync::Arc;

/// Longest accepted payload, bytes. The link's own limit is the same.
pub const PAYLOAD_MAX: usize = 1024 * 1024;
/// Longest payload after inflation, bytes: what a gzip bomb may cost.
pub const INFLATED_MAX: usize = 8 * 1024 * 1024;
/// Samples that one message may carry.
pub const SAMPLES_MAX: usize = 65_536;
/// Longest name of a value, and of a series, bytes.
pub const NAME_MAX: usize = 512;
/// Objects and lists within each other.
pub const NESTING_MAX: usize = 8;

/// The name of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name<'a> {
    /// As it stands in the message.
    Sent(&'a str),
    /// Put together or unescaped.
    Made(String),
    /// From an earlier message (a birth).
    Known(Arc<str>),
}

impl std::ops::Deref for Name<'_> {
    type Target = str;
    fn deref(&self) -> &str {
        match self {
            Name::Sent(s) => s,
            Name::Made(s) => s,
            Name::Known(s) => s,
        }
    }
}

impl<'a> From<Cow<'a, str>> for Name<'a> {
    fn from(text: Cow<'a, str>) -> Name<'a> {
        match text {
            Cow::Borrowed(s) => Name::Sent(s),
            Cow::Owned(s) => Name::Made(s),
        }
    }
}

/// A value as sent.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// A finite number; booleans are 0 and 1.
    Number(f64),
    /// The publisher has no value now.
    Null,
    /// A text: a state, where the point has texts for its states.
    Text(Cow<'a, str>),
}

/// One named value of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample<'a> {
    /// Index into the batch's series; none = the topic names the series.
    pub series: Option<u32>,
    pub key: Name<'a>,
    pub value: Value<'a>,
    /// None = stamped on arrival.
    pub at: Option<Stamp>,
    /// What the publisher itself says against the value.
    pub marks: Quality,
}

/// A job as its publisher noted it: kept as a record, never as a point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct JobNote {
    pub id: String,
    pub user: String,
    pub start: Timestamp,
    /// None = it runs.
    pub end: Option<Timestamp>,
    pub nodes: Vec<String>,
}

/// What a message says that is no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    Job(JobNote),
    /// A topic's points have a name (`{name}` in the site file's texts).
    Named {
        topic: &'a str,
        name: &'a str,
    },
}

/// What one message said.
#[derive(Debug, Default)]
pub struct Batch<'a> {
    pub samples: Vec<Sample<'a>>,
    /// Many readings of the topic's one value, in the order of the message; there are no samples then.
    pub run: Vec<(Stamp, f64)>,
    /// What names a series within the message, in the format's own writing; see [`named`].
    pub series: Vec<Cow<'a, str>>,
    pub notes: Vec<Note<'a>>,
    /// Values refused: reason and number.
    pub refusals: Vec<(&'static str, u64)>,
}

impl<'a> Batch<'a> {
    pub fn clear(&mut self) {
        self.samples.clear();
        self.run.clear();
        self.series.clear();
        self.notes.clear();
        self.refusals.clear();
    }

    /// Counts a refused value.
    pub fn refuse(&mut self, reason: &'static str) {
        match self.refusals.iter_mut().find(|(r, _)| *r == reason) {
            Some((_, n)) => *n += 1,
            None => self.refusals.push((reason, 1)),
        }
    }

    /// Adds a value of the topic's own series; its time follows.
    pub fn push(&mut self, key: Name<'a>, value: Value<'a>) -> Result<(), &'static str> {
        if self.samples.len() >= SAMPLES_MAX {
            return Err("too many values in a message");
        }
        if key.len() > NAME_MAX {
            self.refuse("name too long");
            return Ok(());
        }
        self.samples.push(Sample { series: None, key, value, at: None, marks: Quality::GOOD });
        Ok(())
    }
}

/// Decodes a message of a source, inflated where it was compressed ([`inflate::inflate`]). An error refuses it whole; the
/// batch then counts for nothing. Sparkplug and Flex have decoders of their own: they need a memory, and keys.
pub fn decode<'a>(source: &Source, topic: &'a str, payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    match source.format {
        Format::Json => json::decode(source, payload, batch),
        Format::Bare => bare::decode(payload, batch),
        Format::Examon => examon::decode(payload, batch),
        Format::ExamonJson => examon::decode_json(source, payload, batch),
        Format::Dcdb => dcdb::decode(topic, payload, batch),
        Format::Line => line::decode(source, payload, batch),
        Format::Thingsboard => thingsboard::decode(source, topic, payload, batch),
        Format::ThinEdge => thin_edge::decode(topic, payload, batch),
        Format::Redfish => redfish::decode(payload, batch),
        Format::Sparkplug | Format::Flex => Err("format with a decoder of its own"),
    }
}

/// May a format's payload be gzip?
pub fn may_be_gzip(format: Format) -> bool {
    matches!(format, Format::Examon | Format::ExamonJson)
}

/// A message's parts besides those of the topic's template.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Named<'t> {
    /// What names the series: `{series}`.
    pub series: String,
    pub parts: Vec<(Cow<'t, str>, Cow<'t, str>)>,
    /// The value's name, where the topic gives it.
    pub key: Option<&'t str>,
}

/// What names a sample: the parts of its topic and of its series' text, as the format writes them.
pub fn named<'t>(source: &Source, topic: &'t str, series: Option<&'t str>) -> Result<Named<'t>, &'static str> {
    let text = series.unwrap_or_default();
    let below = |text: &str| if text.is_empty() { topic.to_owned() } else { format!("{topic}/{}", text.trim_start_matches('/')) };
    Ok(match source.format {
        Format::Examon => {
            let (pairs, metric) = examon::pairs(topic)?;
            let series = examon::series(source, pairs.iter().copied());
            let parts = pairs.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
            Named { series, parts, key: Some(metric) }
        }
        Format::ExamonJson => Named { series: text.to_owned(), parts: tags(text), key: None },
        Format::Line => {
            let parts = line::parts(text);
            Named { series: line::series(source, &parts), parts, key: None }
        }
        Format::Sparkplug => {
            let names = ["group", "edge", "device"].map(Cow::Borrowed);
            let parts = names.into_iter().zip(text.splitn(3, '/').map(Cow::Borrowed)).collect();
            Named { series: text.to_owned(), parts, key: None }
        }
        Format::Redfish => {
            let property = series.map(|p| ("property".into(), p.into()));
            Named { series: below(text), parts: property.into_iter().collect(), key: None }
        }
        Format::Json | Format::Thingsboard => Named { series: below(text), parts: tags(text), key: None },
        Format::Bare | Format::Dcdb => Named { series: topic.to_owned(), parts: Vec::new(), key: topic.rsplit('/').next() },
        Format::ThinEdge | Format::Flex => Named { series: topic.to_owned(), parts: Vec::new(), key: None },
    })
}

/// Between a tag's name and its text, and between two tags, in the series that we write ourselves.
const IS: char = '=';
const AND: char = ',';

/// Appends a tag to a series text.
fn put_tag(series: &mut String, name: &str, text: &str) {
    if !series.is_empty() {
        series.push(AND);
    }
    series.push_str(name);
    series.push(IS);
    // A comma would end the tag: a text that has one is written with a full-width one, so that two texts never become one.
    if text.contains(AND) { series.push_str(&text.replace(AND, "，")) } else { series.push_str(text) }
}

/// The tags of a series text that [`put_tag`] wrote.
fn tags(series: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    series.split(AND).filter_map(|t| t.split_once(IS)).map(|(n, t)| (n.into(), t.into())).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A sample, owned, for the decoders' tests.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Seen {
        pub series: Option<String>,
        pub key: String,
        pub value: Value<'static>,
        pub at: Option<i64>,
        pub marks: Quality,
    }

    impl Seen {
        fn new(key: &str, value: Value<'static>, at: Option<i64>) -> Seen {
            Seen { series: None, key: key.into(), value, at, marks: Quality::GOOD }
        }
        pub fn number(key: &str, value: f64, at: Option<i64>) -> Seen {
            Seen::new(key, Value::Number(value), at)
        }
        pub fn null(key: &str, at: Option<i64>) -> Seen {
            Seen::new(key, Value::Null, at)
        }
        pub fn text(key: &str, text: &str, at: Option<i64>) -> Seen {
            Seen::new(key, Value::Text(Cow::Owned(text.into())), at)
        }
        pub fn of(self, series: &str) -> Seen {
            Seen { series: Some(series.into()), ..self }
        }
    }

    /// A source from the inside of its table.
    pub fn source(table: &str) -> Source {
        toml::from_str(&format!("filter = \"#\"\nundeclared = \"take\"\n{table}")).unwrap()
    }

    /// What a message gives, or why it is refused whole.
    pub fn seen(source: &Source, payload: &[u8]) -> Result<Vec<Seen>, &'static str> {
        let inflated = inflate::inflate(payload)?;
        let mut batch = Batch::default();
        decode(source, "a/b", inflated.as_deref().unwrap_or(payload), &mut batch)?;
        Ok(owned(&batch))
    }

    pub fn owned(batch: &Batch<'_>) -> Vec<Seen> {
        let run = batch.run.iter().map(|(at, value)| Seen::number("", *value, Some(at.at.0)));
        (batch.samples.iter())
            .map(|s| Seen {
                series: s.series.map(|i| batch.series[i as usize].to_string()),
                key: s.key.to_string(),
                value: match &s.value {
                    Value::Number(n) => Value::Number(*n),
                    Value::Null => Value::Null,
                    Value::Text(t) => Value::Text(Cow::Owned(t.to_string())),
                },
                at: s.at.map(|t| t.at.0),
                marks: s.marks,
            })
            .chain(run)
            .collect()
    }
}
