//! ExaMon and EAR: `value;epoch_seconds[.mmm]` on topics of key/value pairs, and ExaMon's JSON.
//!
//! Words: a topic `k1/v1/…/metric` has an odd number of levels, its last is the metric; pairs come in any order, so that a
//! series is its pairs in the order of their keys. Source: ExaMon's publishers (CINECA, Bologna), EAR's MQTT reports (BSC).
//! Invariants: `_` is "no value"; a job's or step's number never names a series (`ignore_tags`); plain or gzip.

use super::json::{self, Fault, Text, ValueOf, stop};
use super::time::TimeSeed;
use super::{Batch, NAME_MAX, Name, Value, put_tag};
use crate::site::{Source, TimeUnit};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Decodes `value;time`. The value's name is empty: the topic gives it.
pub fn decode<'a>(payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    let text = std::str::from_utf8(payload).map_err(|_| "message not a text")?.trim();
    let (value, time) = text.split_once(';').ok_or("message not value;time")?;
    let at = super::time::text(time, TimeUnit::S)?;
    let value = match value.trim() {
        "_" => Value::Null,
        v => Value::Number(v.parse().ok().filter(|n: &f64| n.is_finite()).ok_or("value not a number")?),
    };
    batch.push(Name::Sent(""), value)?;
    batch.samples.iter_mut().for_each(|s| s.at = Some(at));
    Ok(())
}

/// The pairs of a topic and its metric.
pub fn pairs(topic: &str) -> Result<(Vec<(&str, &str)>, &str), &'static str> {
    let (front, metric) = topic.rsplit_once('/').ok_or("topic not of pairs and a metric")?;
    let levels: Vec<&str> = front.split('/').collect();
    if !levels.len().is_multiple_of(2) || metric.is_empty() || levels.iter().any(|l| l.is_empty()) {
        return Err("topic not of pairs and a metric");
    }
    Ok((levels.chunks_exact(2).map(|p| (p[0], p[1])).collect(), metric))
}

/// What names the series of a topic's pairs or of a message's tags: those that identify, in the order of their keys.
pub fn series<'t>(source: &Source, pairs: impl Iterator<Item = (&'t str, &'t str)>) -> String {
    let mut kept: Vec<(&str, &str)> = pairs.filter(|(k, _)| source.identifies(k)).collect();
    kept.sort_unstable();
    let mut text = String::new();
    kept.iter().for_each(|(k, v)| put_tag(&mut text, k, v));
    text
}

/// Decodes `{"name","value","timestamp","tags":{}}` or a list of them.
pub fn decode_json<'a>(source: &Source, payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    let fault = Fault::default();
    json::run(payload, Entries { source, batch, fault: &fault }, &fault)
}

struct Entries<'b, 's, 'a> {
    source: &'s Source,
    batch: &'b mut Batch<'a>,
    fault: &'s Fault,
}

impl<'a> DeserializeSeed<'a> for Entries<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Entries<'_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an ExaMon reading or a list of them")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Entry(Entries { source: self.source, batch: self.batch, fault: self.fault }))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let from = self.batch.samples.len();
        let (mut name, mut at, mut tags) = (None, None, Vec::new());
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "name" => name = Some(map.next_value_seed(Text)?),
                "timestamp" => {
                    let unit = self.source.time_unit.unwrap_or(TimeUnit::Ms);
                    at = Some(map.next_value_seed(TimeSeed(unit))?.map_err(|reason| stop(self.fault, reason))?);
                }
                "tags" => tags = map.next_value_seed(Tags)?,
                "value" => map.next_value_seed(ValueOf { key: Name::Sent(""), batch: self.batch, fault: self.fault, depth: 1 })?,
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        let name = name.filter(|n| !n.is_empty() && n.len() <= NAME_MAX).ok_or_else(|| stop(self.fault, "reading without a name"))?;
        let text = series(self.source, tags.iter().map(|(k, v)| (&**k, &**v)));
        if text.len() > NAME_MAX {
            return Err(stop(self.fault, "series too long"));
        }
        let series = self.batch.series.len() as u32;
        self.batch.series.push(Cow::Owned(text));
        match self.batch.samples.len() - from {
            0 => self.batch.refuse("reading without a value"),
            1 => {}
            _ => return Err(stop(self.fault, "reading with more than one value")),
        }
        if let Some(sample) = self.batch.samples.get_mut(from) {
            (sample.key, sample.at, sample.series) = (name.into(), at, Some(series));
            if let Value::Text(t) = &sample.value {
                // Some publishers quote their numbers.
                sample.value = match t.as_ref() {
                    "_" => Value::Null,
                    t => {
                        Value::Number(t.parse().ok().filter(|n: &f64| n.is_finite()).ok_or_else(|| stop(self.fault, "value not a number"))?)
                    }
                };
            }
        }
        Ok(())
    }
}

/// One reading of a list.
struct Entry<'b, 's, 'a>(Entries<'b, 's, 'a>);

impl<'a> DeserializeSeed<'a> for Entry<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self.0)
    }
}

/// An object of texts.
struct Tags;

impl<'a> DeserializeSeed<'a> for Tags {
    type Value = Vec<(Cow<'a, str>, Cow<'a, str>)>;
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Tags {
    type Value = Vec<(Cow<'a, str>, Cow<'a, str>)>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of texts")
    }
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut tags = Vec::new();
        while let Some(key) = map.next_key_seed(Text)? {
            tags.push((key, map.next_value_seed(Text)?));
        }
        Ok(tags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::inflate::deflate;
    use crate::ingest::decode::tests::{Seen, seen, source};

    #[test]
    fn a_value_and_its_seconds() {
        let source = source("format = \"examon\"");
        let check = |payload: &[u8], want: Result<Seen, &'static str>| assert_eq!(seen(&source, payload), want.map(|s| vec![s]));
        check(b"312.5;1784000000.123", Ok(Seen::number("", 312.5, Some(1_784_000_000_123))));
        check(b"312;1784000000\n", Ok(Seen::number("", 312.0, Some(1_784_000_000_000))));
        check(b"_;1784000000", Ok(Seen::null("", Some(1_784_000_000_000))));
        check(&deflate(b"7;1784000000"), Ok(Seen::number("", 7.0, Some(1_784_000_000_000))));
        check(b"312", Err("message not value;time"));
        check(b"x;1784000000", Err("value not a number"));
        check(b"inf;1784000000", Err("value not a number"));
        check(b"1;soon", Err("time not a number"));
        check(b"1;0", Err("timestamp not after 1970"));
        check(&[0xff, b';'], Err("message not a text"));
    }

    #[test]
    fn pairs_name_the_series_in_any_order_and_jobs_do_not() {
        let source = source("format = \"examon\"");
        let name = |topic: &str| pairs(topic).map(|(p, m)| format!("{} {m}", series(&source, p.into_iter())));
        let want = Ok("cluster=mn5,node=n1,org=bsc AVG_DC_POWER_W".to_owned());
        assert_eq!(name("org/bsc/cluster/mn5/node/n1/AVG_DC_POWER_W"), want);
        assert_eq!(name("node/n1/jobid/4711/stepid/0/org/bsc/cluster/mn5/AVG_DC_POWER_W"), want);
        assert!(name("org/bsc/cluster/AVG_DC_POWER_W").is_err());
        assert!(name("metric").is_err() && name("a//m").is_err() && name("a/b/").is_err());
    }

    #[test]
    fn json_readings_one_or_many() {
        let source = source("format = \"examon_json\"");
        let one = r#"{"name":"power","value":5,"timestamp":1784000000123,"tags":{"node":"n1","job_id":"9","org":"bsc"}}"#;
        let want = Seen::number("power", 5.0, Some(1_784_000_000_123)).of("node=n1,org=bsc");
        assert_eq!(seen(&source, one.as_bytes()), Ok(vec![want.clone()]));
        let bulk = format!("[{one},{}]", one.replace("\"value\":5", "\"value\":\"_\""));
        let null = Seen::null("power", Some(1_784_000_000_123)).of("node=n1,org=bsc");
        assert_eq!(seen(&source, &deflate(bulk.as_bytes())), Ok(vec![want, null]));
        for (from, to, why) in [
            ("\"name\":\"power\",", "", "reading without a name"),
            ("1784000000123", "\"soon\"", "time not a number"),
            ("\"value\":5", "\"value\":[1,2]", "reading with more than one value"),
            ("\"value\":5", "\"value\":\"five\"", "value not a number"),
            ("{\"node\"", "[{\"node\"", "message not as agreed"),
            ("{\"node\":\"n1\"", "{\"node\":\"n1", "message not JSON"),
            ("{\"node\":\"n1\",\"job_id\":\"9\",\"org\":\"bsc\"}", "3", "message not as agreed"),
        ] {
            assert_eq!(seen(&source, one.replace(from, to).as_bytes()), Err(why), "{to}");
        }
    }
}
