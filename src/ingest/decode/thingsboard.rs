//! ThingsBoard: `{"ts":ms,"values":{…}}`, a list of them, or plain `{"k":v}`; the gateway's topic adds device names.
//!
//! Source: ThingsBoard, "MQTT device API" and "MQTT gateway API": `v1/devices/me/telemetry`, `v1/gateway/telemetry`.
//! Invariants: what stands beside `ts` and `values` in such an object is refused; on a topic that ends in
//! `gateway/telemetry` the outer keys are devices, which name the series.

use super::json::{self, Fault, Text, ValueOf, stop};
use super::time::TimeSeed;
use super::{Batch, NAME_MAX, Name, put_tag};
use crate::site::{Source, TimeUnit};
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// Decodes one message.
pub fn decode<'a>(source: &Source, topic: &str, payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    let (unit, fault) = (source.time_unit.unwrap_or(TimeUnit::Ms), Fault::default());
    let telemetry = Telemetry { unit, series: None, batch, fault: &fault };
    if topic.ends_with("gateway/telemetry") {
        json::run(payload, Devices(telemetry), &fault)
    } else {
        json::run(payload, telemetry, &fault)
    }
}

/// The telemetry of one device.
struct Telemetry<'b, 's, 'a> {
    unit: TimeUnit,
    series: Option<u32>,
    batch: &'b mut Batch<'a>,
    fault: &'s Fault,
}

impl<'a> Telemetry<'_, '_, 'a> {
    fn again(&mut self) -> Telemetry<'_, '_, 'a> {
        Telemetry { unit: self.unit, series: self.series, batch: self.batch, fault: self.fault }
    }
}

impl<'a> DeserializeSeed<'a> for Telemetry<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'a> Visitor<'a> for Telemetry<'_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("ThingsBoard telemetry")
    }

    fn visit_seq<A: SeqAccess<'a>>(mut self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(One(self.again()))?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        let from = self.batch.samples.len();
        let (mut at, mut values, mut others) = (None, false, false);
        while let Some(key) = map.next_key_seed(Text)? {
            match &*key {
                "ts" => at = Some(map.next_value_seed(TimeSeed(self.unit))?.map_err(|reason| stop(self.fault, reason))?),
                "values" => {
                    map.next_value_seed(Values { batch: self.batch, fault: self.fault })?;
                    values = true;
                }
                _ => {
                    map.next_value_seed(ValueOf { key: key.into(), batch: self.batch, fault: self.fault, depth: 1 })?;
                    others = true;
                }
            }
        }
        if values == others && values {
            return Err(stop(self.fault, "values beside `values`"));
        }
        for sample in self.batch.samples.iter_mut().skip(from) {
            (sample.at, sample.series) = (at, self.series);
        }
        Ok(())
    }
}

/// An element of a list of telemetry.
struct One<'b, 's, 'a>(Telemetry<'b, 's, 'a>);

impl<'a> DeserializeSeed<'a> for One<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self.0)
    }
}

/// The object of values.
struct Values<'b, 's, 'a> {
    batch: &'b mut Batch<'a>,
    fault: &'s Fault,
}

impl<'a> DeserializeSeed<'a> for Values<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Values<'_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of values")
    }
    fn visit_map<A: MapAccess<'a>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key_seed(Text)? {
            map.next_value_seed(ValueOf { key: Name::from(key), batch: self.batch, fault: self.fault, depth: 1 })?;
        }
        Ok(())
    }
}

/// A gateway's devices.
struct Devices<'b, 's, 'a>(Telemetry<'b, 's, 'a>);

impl<'a> DeserializeSeed<'a> for Devices<'_, '_, 'a> {
    type Value = ();
    fn deserialize<D: Deserializer<'a>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Devices<'_, '_, 'a> {
    type Value = ();
    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object of devices")
    }
    fn visit_map<A: MapAccess<'a>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(device) = map.next_key_seed(Text)? {
            let mut text = String::new();
            put_tag(&mut text, "device", &device);
            if text.len() > NAME_MAX {
                return Err(stop(self.0.fault, "series too long"));
            }
            self.0.series = Some(self.0.batch.series.len() as u32);
            self.0.batch.series.push(Cow::Owned(text));
            map.next_value_seed(self.0.again())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::tests::{Seen, owned, seen, source};

    #[test]
    fn devices_with_and_without_time() {
        let source = source("format = \"thingsboard\"");
        let at = Some(1_784_000_000_123);
        let two = vec![Seen::number("temperature", 21.5, at), Seen::number("on", 1.0, at)];
        let json = r#"{"values":{"temperature":21.5,"on":true},"ts":1784000000123}"#;
        assert_eq!(seen(&source, json.as_bytes()), Ok(two.clone()));
        assert_eq!(seen(&source, format!("[{json}]").as_bytes()), Ok(two));
        assert_eq!(seen(&source, br#"{"temperature":21.5}"#), Ok(vec![Seen::number("temperature", 21.5, None)]));
        assert_eq!(seen(&source, br#"{"ts":1,"values":{"a":1},"b":2}"#), Err("values beside `values`"));
        assert_eq!(seen(&source, br#"{"ts":1,"values":3}"#), Err("message not as agreed"));
        assert_eq!(seen(&source, br#"{"ts":null,"values":{}}"#), Err("time not a number"));
    }

    #[test]
    fn a_gateways_devices_name_the_series() {
        let source = source("format = \"thingsboard\"");
        let mut batch = Batch::default();
        let json = br#"{"CDU 1":[{"ts":1784000000123,"values":{"t":1}},{"ts":1784000000124,"values":{"t":2}}],"CDU 2":[{"t":3}]}"#;
        decode(&source, "v1/gateway/telemetry", json, &mut batch).unwrap();
        assert_eq!(
            owned(&batch),
            [
                Seen::number("t", 1.0, Some(1_784_000_000_123)).of("device=CDU 1"),
                Seen::number("t", 2.0, Some(1_784_000_000_124)).of("device=CDU 1"),
                Seen::number("t", 3.0, None).of("device=CDU 2"),
            ]
        );
    }
}
