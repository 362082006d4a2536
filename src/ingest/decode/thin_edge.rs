//! thin-edge.io measurements: `te/device/<id>///m/<type>` with `{"time":…,"k":number,"group":{"k":number}}`.
//!
//! Source: thin-edge.io, "Thin Edge JSON" and "MQTT API": numbers only, at most one level of nesting, `time` as RFC 3339 or
//! as seconds since the epoch.
//! Invariant: a text, a truth value, a list or a deeper object refuses the message, as thin-edge itself does.

use super::json::{self, Fault, Text, stop};
use super::time::TimeSeed;
use super::{Batch, NAME_MAX, Name, Value};
use crate::site::TimeUnit;
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Decodes one message.
pub fn decode<'a>(topic: &str, payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    // te/<four levels of identity>/m/<type>
    if topic.split('/').nth(5) != Some("m") {
        return Err("topic not of a measurement");
    }
    let fault = Fault::default();
    json::run(payload, Group { name: None, batch, fault: &fault }, &fault)
}

/// The message, or a group within it.
struct Group<'b, 's, 'a> {
    name: Option<Name<'a>>,
    batch: &'b mut Batch<'a>,
    fault: &'s Fault,
}

impl<'a> DeserializeSeed<'a> for Group<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Group<'_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of numbers")
    }
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        if self.name.as_ref().is_some_and(|group| group.len() > NAME_MAX) {
            // A name that is too long already would be copied for each value below it.
            while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
            self.batch.refuse("name too long");
            return Ok(());
        }
        let mut at = None;
        while let Some(key) = map.next_key_seed(Text)? {
            let name = match &self.name {
                None if &*key == "time" => {
                    at = Some(map.next_value_seed(EitherTime)?.map_err(|reason| stop(self.fault, reason))?);
                    continue;
                }
                None => key.into(),
                Some(group) => Name::Made(format!("{}.{key}", &**group)),
            };
            map.next_value_seed(Number { name, nested: self.name.is_some(), batch: self.batch, fault: self.fault })?;
        }
        if self.name.is_none() {
            self.batch.samples.iter_mut().for_each(|s| s.at = at);
        }
        Ok(())
    }
}

/// RFC 3339 where it is a text, seconds where it is a number.
struct EitherTime;

impl<'a> DeserializeSeed<'a> for EitherTime {
    type Value = <TimeSeed as DeserializeSeed<'a>>::Value;
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for EitherTime {
    type Value = <TimeSeed as DeserializeSeed<'a>>::Value;
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a time")
    }
    fn visit_str<E: de::Error>(self, v: &str) -> Result<Self::Value, E> {
        TimeSeed(TimeUnit::Rfc3339).visit_str(v)
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<Self::Value, E> {
        TimeSeed(TimeUnit::S).visit_u64(v)
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<Self::Value, E> {
        TimeSeed(TimeUnit::S).visit_i64(v)
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<Self::Value, E> {
        TimeSeed(TimeUnit::S).visit_f64(v)
    }
}

/// A number, or one group of numbers.
struct Number<'b, 's, 'a> {
    name: Name<'a>,
    nested: bool,
    batch: &'b mut Batch<'a>,
    fault: &'s Fault,
}

impl<'a> Number<'_, '_, 'a> {
    fn put<E: de::Error>(self, number: f64) -> Result<(), E> {
        self.batch.push(self.name, Value::Number(number)).map_err(|reason| stop(self.fault, reason))
    }
}

impl<'a> DeserializeSeed<'a> for Number<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Number<'_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_f64<E: de::Error>(self, v: f64) -> Result<(), E> {
        self.put(v)
    }
    fn visit_u64<E: de::Error>(self, v: u64) -> Result<(), E> {
        self.put(v as f64)
    }
    fn visit_i64<E: de::Error>(self, v: i64) -> Result<(), E> {
        self.put(v as f64)
    }
    fn visit_bool<E: de::Error>(self, _: bool) -> Result<(), E> {
        Err(stop(self.fault, "value not a number"))
    }
    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        Err(stop(self.fault, "value not a number"))
    }
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Err(stop(self.fault, "value not a number"))
    }
    fn visit_seq<A: SeqAccess<'a>>(self, _: A) -> Result<(), A::Error> {
        Err(stop(self.fault, "value not a number"))
    }
    fn visit_map<A: MapAccess<'a>>(self, map: A) -> Result<(), A::Error> {
        if self.nested {
            return Err(stop(self.fault, "nested too deep"));
        }
        Group { name: Some(self.name), batch: self.batch, fault: self.fault }.visit_map(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::tests::{Seen, owned};

    fn check(payload: &str, want: Result<&[Seen], &'static str>) {
        let mut batch = Batch::default();
        let got = decode("te/device/cdu1///m/env", payload.as_bytes(), &mut batch).map(|()| owned(&batch));
        assert_eq!(got.as_deref().map_err(|e| *e), want, "{payload}");
    }

    #[test]
    fn numbers_in_at_most_one_group() {
        let at = Some(1_784_000_000_500);
        check(
            r#"{"temperature":21.5,"time":1784000000.5,"current":{"L1":1,"L2":-2.5}}"#,
            Ok(&[Seen::number("temperature", 21.5, at), Seen::number("current.L1", 1.0, at), Seen::number("current.L2", -2.5, at)]),
        );
        check(r#"{"time":"2026-07-14T03:33:20.5Z","a":1}"#, Ok(&[Seen::number("a", 1.0, at)]));
        check(r#"{"a":1}"#, Ok(&[Seen::number("a", 1.0, None)]));
        for bad in [r#"{"a":"1"}"#, r#"{"a":true}"#, r#"{"a":[1]}"#, r#"{"a":null}"#] {
            check(bad, Err("value not a number"));
        }
        check(r#"{"a":{"b":{"c":1}}}"#, Err("nested too deep"));
        check(r#"{"time":"soon","a":1}"#, Err("time not RFC 3339"));
        check("[]", Err("message not as agreed"));
        check("{", Err("message not JSON"));
        assert_eq!(decode("te/device/cdu1///e/alarm", b"{}", &mut Batch::default()), Err("topic not of a measurement"));
    }

    #[test]
    fn a_group_whose_name_is_too_long_is_refused_once() {
        let group = (0..50_000).map(|i| format!("\"{i}\":1")).collect::<Vec<_>>().join(",");
        let payload = format!("{{\"a\":1,\"{}\":{{{group}}}}}", "k".repeat(500_000));
        let mut batch = Batch::default();
        assert_eq!(decode("te/device/cdu1///m/env", payload.as_bytes(), &mut batch), Ok(()));
        assert_eq!((batch.samples.len(), batch.refusals.as_slice()), (1, &[("name too long", 1)][..]));
    }
}
