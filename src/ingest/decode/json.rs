//! Plain JSON: `{"k": number, …}`, one object or a list of them, with a time field that the site file names.
//!
//! Words: a nested object's values are named `outer.inner`, a list's `outer.0`, `outer.1`, …; the keys that the source calls
//! `tags` are texts that name the series.
//! What is flat and without escapes is read by [`super::plain`], everything else by `serde_json`.
//! Invariants: one pass, no tree; an object's timestamp counts for all its values wherever it stands; without one the
//! values are stamped on arrival.

use super::plain::{Cursor, Number};
use super::time::{self, TimeSeed};
use super::{Batch, NAME_MAX, NESTING_MAX, Name, Value, put_tag};
use crate::site::{Source, TimeUnit};
use crate::time::Stamp;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

/// Decodes one message.
pub fn decode<'a>(source: &Source, payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    let tags = source.tags.as_deref().unwrap_or_default();
    let (unit, fault) = (source.time_unit.unwrap_or_default(), Fault::default());
    let from = batch.samples.len();
    if plain(source.time.as_deref(), unit, tags, payload, batch).is_some() {
        return Ok(());
    }
    batch.samples.truncate(from);
    run(payload, Objects { time: source.time.as_deref(), unit, tags, batch, fault: &fault }, &fault)
}

/// One object as most publishers write it: nothing nested, no escapes. `None` = look closer; samples that it left behind
/// count for nothing.
fn plain<'a>(time: Option<&str>, unit: TimeUnit, tags: &[String], payload: &'a [u8], batch: &mut Batch<'a>) -> Option<()> {
    let mut c = Cursor::new(payload)?;
    let from = batch.samples.len();
    let mut at: Option<Stamp> = None;
    let mut found: Vec<Option<&str>> = vec![None; tags.len()];
    c.take(b'{')?;
    loop {
        let key = c.text().filter(|k| k.len() <= NAME_MAX)?;
        c.take(b':')?;
        if time == Some(key) {
            at = Some(match c.peek()? {
                b'"' => time::text(c.text()?, unit),
                _ => match c.number()? {
                    Number::Whole(n) => time::whole(n, unit),
                    Number::Other(v) => time::fractional(v, unit),
                },
            })
            .transpose()
            .ok()?;
        } else if let Some(i) = tags.iter().position(|t| *t == key) {
            found[i] = Some(c.text()?);
        } else {
            let value = match c.peek()? {
                b'"' => Value::Text(Cow::Borrowed(c.text()?)),
                b'n' => c.word("null").map(|()| Value::Null)?,
                b't' => c.word("true").map(|()| Value::Number(1.0))?,
                b'f' => c.word("false").map(|()| Value::Number(0.0))?,
                _ => Value::Number(c.number()?.value()),
            };
            batch.push(Name::Sent(key), value).ok()?;
        }
        if c.take(b',').is_none() {
            break;
        }
    }
    c.take(b'}')?;
    c.end()?;
    close(tags, &found, from, at, batch).ok()
}

/// Gives the samples of an object their series and their time.
fn close<T: AsRef<str>>(
    tags: &[String],
    found: &[Option<T>],
    from: usize,
    at: Option<Stamp>,
    batch: &mut Batch,
) -> Result<(), &'static str> {
    let mut series = None;
    if !tags.is_empty() {
        let mut text = String::new();
        tags.iter().zip(found).filter_map(|(n, t)| Some((n, t.as_ref()?))).for_each(|(n, t)| put_tag(&mut text, n, t.as_ref()));
        if text.len() > NAME_MAX {
            return Err("series too long");
        }
        series = Some(batch.series.len() as u32);
        batch.series.push(text.into());
    }
    for sample in batch.samples.iter_mut().skip(from) {
        (sample.at, sample.series) = (at, series);
    }
    Ok(())
}

/// Why a decoder stopped, where it was not the JSON's fault.
pub(super) type Fault = Cell<Option<&'static str>>;

/// Stops a decoder for a reason of ours.
pub(super) fn stop<E: de::Error>(fault: &Fault, reason: &'static str) -> E {
    fault.set(Some(reason));
    E::custom(reason)
}

/// Runs a decoder over a whole JSON text.
pub(super) fn run<'a, S: DeserializeSeed<'a>>(payload: &'a [u8], seed: S, fault: &Fault) -> Result<S::Value, &'static str> {
    let mut json = serde_json::Deserializer::from_slice(payload);
    let read = seed.deserialize(&mut json).and_then(|value| json.end().map(|()| value));
    read.map_err(|e| match fault.take() {
        Some(reason) => reason,
        None if e.classify() == serde_json::error::Category::Data => "message not as agreed",
        None => "message not JSON",
    })
}

/// One object of values, or a list of such objects.
struct Objects<'b, 's, 'a> {
    time: Option<&'s str>,
    unit: TimeUnit,
    tags: &'s [String],
    batch: &'b mut Batch<'a>,
    fault: &'s Fault,
}

impl<'a> DeserializeSeed<'a> for Objects<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Objects<'_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of numbers")
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let from = self.batch.samples.len();
        let mut at: Option<Stamp> = None;
        let mut tags: Vec<Option<Cow<'a, str>>> = vec![None; self.tags.len()];
        while let Some(key) = map.next_key_seed(Text)? {
            if self.time.is_some_and(|t| *t == *key) {
                at = Some(map.next_value_seed(TimeSeed(self.unit))?.map_err(|reason| stop(self.fault, reason))?);
            } else if let Some(i) = self.tags.iter().position(|t| **t == *key) {
                tags[i] = Some(map.next_value_seed(Text)?);
            } else {
                map.next_value_seed(ValueOf { key: key.into(), batch: self.batch, fault: self.fault, depth: 1 })?;
            }
        }
        close(self.tags, &tags, from, at, self.batch).map_err(|reason| stop(self.fault, reason))
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        let Objects { time, unit, tags, batch, fault } = self;
        while seq.next_element_seed(Element(Objects { time, unit, tags, batch, fault }))?.is_some() {}
        Ok(())
    }
}

/// An object within the list; a list within the list is refused.
struct Element<'b, 's, 'a>(Objects<'b, 's, 'a>);

impl<'a> DeserializeSeed<'a> for Element<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self.0)
    }
}

/// A text; a number or a boolean where a text belongs is written as one.
pub(super) struct Text;

impl<'a> DeserializeSeed<'a> for Text {
    type Value = Cow<'a, str>;
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<Cow<'a, str>, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Text {
    type Value = Cow<'a, str>;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a text")
    }
    fn visit_borrowed_str<E>(self, v: &'a str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(v))
    }
    fn visit_str<E>(self, v: &str) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(v.to_owned()))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(v.to_string()))
    }
    fn visit_u64<E>(self, v: u64) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(v.to_string()))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Owned(v.to_string()))
    }
    fn visit_bool<E>(self, v: bool) -> Result<Cow<'a, str>, E> {
        Ok(Cow::Borrowed(if v { "true" } else { "false" }))
    }
}

/// The value of a key, whatever it is: what is nested is flattened into dotted names.
pub(super) struct ValueOf<'b, 's, 'a> {
    pub key: Name<'a>,
    pub batch: &'b mut Batch<'a>,
    pub fault: &'s Fault,
    pub depth: usize,
}

impl<'a> ValueOf<'_, '_, 'a> {
    fn put<E: de::Error>(self, value: Value<'a>) -> Result<(), E> {
        self.batch.push(self.key, value).map_err(|reason| stop(self.fault, reason))
    }
}

impl<'a> DeserializeSeed<'a> for ValueOf<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for ValueOf<'_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a value")
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<(), E> {
        self.put(Value::Number(v))
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<(), E> {
        self.put(Value::Number(v as f64))
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<(), E> {
        self.put(Value::Number(v as f64))
    }
    fn visit_bool<E: de::Error>(self, v: bool) -> Result<(), E> {
        self.put(Value::Number(f64::from(u8::from(v))))
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        self.put(Value::Null)
    }
    fn visit_borrowed_str<E: de::Error>(self, v: &'a str) -> Result<(), E> {
        self.put(Value::Text(Cow::Borrowed(v)))
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<(), E> {
        self.put(Value::Text(Cow::Owned(v.to_owned())))
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        if self.depth >= NESTING_MAX {
            return Err(stop(self.fault, "nested too deep"));
        }
        if self.key.len() > NAME_MAX {
            // A name that is too long already would be copied for each value below it.
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            self.batch.refuse("name too long");
            return Ok(());
        }
        while let Some(key) = map.next_key_seed(Text)? {
            let key = Name::Made(format!("{}.{key}", &*self.key));
            map.next_value_seed(ValueOf { key, batch: self.batch, fault: self.fault, depth: self.depth + 1 })?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.depth >= NESTING_MAX {
            return Err(stop(self.fault, "nested too deep"));
        }
        if self.key.len() > NAME_MAX {
            while seq.next_element::<IgnoredAny>()?.is_some() {}
            self.batch.refuse("name too long");
            return Ok(());
        }
        for i in 0.. {
            let key = Name::Made(format!("{}.{i}", &*self.key));
            if seq.next_element_seed(ValueOf { key, batch: self.batch, fault: self.fault, depth: self.depth + 1 })?.is_none() {
                break;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::tests::{Seen, seen, source};

    fn check(more: &str, payload: &str, want: Result<&[Seen], &str>) {
        let source = source(&format!("format = \"json\"\n{more}"));
        assert_eq!(seen(&source, payload.as_bytes()).as_deref().map_err(|e| *e), want, "{payload}");
    }

    #[test]
    fn an_object_gives_its_numbers_with_its_own_time() {
        let ns = "time = \"ts\"\ntime_unit = \"ns\"";
        check(
            ns,
            r#"{"watts":300.5,"ts":1784000000123456789,"node":"n1","on":true,"gap":null}"#,
            Ok(&[
                Seen::number("watts", 300.5, Some(1_784_000_000_123)),
                Seen::text("node", "n1", Some(1_784_000_000_123)),
                Seen::number("on", 1.0, Some(1_784_000_000_123)),
                Seen::null("gap", Some(1_784_000_000_123)),
            ]),
        );
        check(ns, r#"{"watts":1}"#, Ok(&[Seen::number("watts", 1.0, None)]));
        check(ns, r#"{"watts":1,"ts":"soon"}"#, Err("time not a number"));
        check(ns, r#"{"watts":1,"ts":{"s":1}}"#, Err("time not a number"));
        check(
            "time = \"t\"\ntime_unit = \"rfc3339\"",
            r#"{"t":"2026-07-14T03:33:20Z","w":1}"#,
            Ok(&[Seen::number("w", 1.0, Some(1_784_000_000_000))]),
        );
    }

    #[test]
    fn lists_and_nesting_are_flattened() {
        check(
            "",
            r#"{"gpu":[1,2],"in":{"air":{"c":21}}}"#,
            Ok(&[Seen::number("gpu.0", 1.0, None), Seen::number("gpu.1", 2.0, None), Seen::number("in.air.c", 21.0, None)]),
        );
        check(
            "time = \"t\"",
            r#"[{"t":1000,"a":1},{"t":2000,"a":2}]"#,
            Ok(&[Seen::number("a", 1.0, Some(1000)), Seen::number("a", 2.0, Some(2000))]),
        );
        check("", r#"[[{"a":1}]]"#, Err("message not as agreed"));
        check("", &format!("{}1{}", "{\"a\":".repeat(9), "}".repeat(9)), Err("nested too deep"));
        check("", &"[".repeat(100_000), Err("message not as agreed"));
        check("", &"{\"a\":".repeat(100_000), Err("nested too deep"));
    }

    #[test]
    fn tags_name_the_series_in_their_declared_order() {
        let tags = "tags = [\"rack\", \"node\"]";
        check(tags, r#"{"node":7,"w":1,"rack":"r1"}"#, Ok(&[Seen::number("w", 1.0, None).of("rack=r1,node=7")]));
        check(tags, r#"{"node":"a,rack=b","w":1}"#, Ok(&[Seen::number("w", 1.0, None).of("node=a，rack=b")]));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for payload in ["", "{", "nope", "{\"a\":1}{}", "{\"a\":1e999}", "{\"a\":NaN}", "{\"a\":1,}"] {
            check("", payload, Err("message not JSON"));
        }
        check("", "3", Err("message not as agreed"));
        assert!(seen(&source("format = \"json\""), &[b'{', 0xff, b'"']).is_err());
        check("", &format!("{{\"{}\":1}}", "k".repeat(NAME_MAX + 1)), Ok(&[]));
    }

    #[test]
    fn a_name_that_is_too_long_is_refused_once_and_not_made_longer() {
        let long = "k".repeat(500_000);
        let map = format!("{{{}}}", (0..50_000).map(|i| format!("\"{i}\":1")).collect::<Vec<_>>().join(","));
        let list = format!("[{}1]", "1,".repeat(200_000));
        for below in [map, list] {
            let payload = format!("{{\"a\":1,\"{long}\":{below}}}");
            let mut batch = Batch::default();
            assert_eq!(decode(&source("format = \"json\""), payload.as_bytes(), &mut batch), Ok(()));
            assert_eq!((batch.samples.len(), batch.refusals.as_slice()), (1, &[("name too long", 1)][..]));
        }
    }
}
