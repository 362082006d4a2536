//! Timestamps as publishers write them: RFC 3339, or a number of s, ms, µs or ns since the epoch.
//!
//! Invariant: what comes out lies after 1970 and before the year 10000; anything else is refused, never wrapped.

use crate::site::TimeUnit;
use crate::time::Timestamp;
use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

/// 9999-12-31, ms.
const LAST_MS: i64 = 253_402_214_400_000;

/// A whole number in a unit.
pub fn whole(value: i64, unit: TimeUnit) -> Result<Timestamp, &'static str> {
    let ms = match unit {
        TimeUnit::Rfc3339 => return Err("time not RFC 3339"),
        TimeUnit::S => value.saturating_mul(1000),
        TimeUnit::Ms => value,
        TimeUnit::Us => value.div_euclid(1000),
        TimeUnit::Ns => value.div_euclid(1_000_000),
    };
    ranged(ms)
}

/// A number with a fraction in a unit; rounded to the millisecond.
pub fn fractional(value: f64, unit: TimeUnit) -> Result<Timestamp, &'static str> {
    let ms = match unit {
        TimeUnit::Rfc3339 => return Err("time not RFC 3339"),
        TimeUnit::S => value * 1e3,
        TimeUnit::Ms => value,
        TimeUnit::Us => value / 1e3,
        TimeUnit::Ns => value / 1e6,
    };
    ranged(ms.round() as i64)
}

/// A text in a unit.
pub fn text(value: &str, unit: TimeUnit) -> Result<Timestamp, &'static str> {
    if unit == TimeUnit::Rfc3339 {
        return Timestamp::parse(value).ok_or("time not RFC 3339").and_then(|t| ranged(t.0));
    }
    match (value.parse::<i64>(), value.parse::<f64>()) {
        (Ok(whole_value), _) => whole(whole_value, unit),
        (_, Ok(number)) if number.is_finite() => fractional(number, unit),
        _ => Err("time not a number"),
    }
}

fn ranged(ms: i64) -> Result<Timestamp, &'static str> {
    match ms {
        1..=LAST_MS => Ok(Timestamp(ms)),
        i64::MIN..=0 => Err("timestamp not after 1970"),
        _ => Err("timestamp after the year 9999"),
    }
}

/// Reads a timestamp where a decoder meets one. The inner result is the refusal.
pub struct TimeSeed(pub TimeUnit);

impl<'de> DeserializeSeed<'de> for TimeSeed {
    type Value = Result<Timestamp, &'static str>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TimeSeed {
    type Value = Result<Timestamp, &'static str>;
    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("a timestamp")
    }
    fn visit_u64<E>(self, v: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(v).map_err(|_| "timestamp after the year 9999").and_then(|v| whole(v, self.0)))
    }
    fn visit_i64<E>(self, v: i64) -> Result<Self::Value, E> {
        Ok(whole(v, self.0))
    }
    fn visit_f64<E>(self, v: f64) -> Result<Self::Value, E> {
        Ok(fractional(v, self.0))
    }
    fn visit_str<E>(self, v: &str) -> Result<Self::Value, E> {
        Ok(text(v, self.0))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Err("time not a number"))
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Err("time not a number"))
    }
    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
        Ok(Err("time not a number"))
    }
    fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<de::IgnoredAny>()?.is_some() {}
        Ok(Err("time not a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_their_unit_and_never_wrap() {
        let ms = Timestamp(1_784_000_000_123);
        assert_eq!(whole(1_784_000_000_123_999_999, TimeUnit::Ns), Ok(ms));
        assert_eq!(whole(1_784_000_000_123_999, TimeUnit::Us), Ok(ms));
        assert_eq!(fractional(1_784_000_000.123, TimeUnit::S), Ok(ms));
        assert_eq!(text("1784000000.123", TimeUnit::S), Ok(ms));
        assert_eq!(text("2026-07-14T03:33:20.123Z", TimeUnit::Rfc3339), Ok(ms));
        assert_eq!(text("2026-07-14T05:33:20.123+02:00", TimeUnit::Rfc3339), Ok(ms));
        assert_eq!(whole(i64::MAX, TimeUnit::S), Err("timestamp after the year 9999"));
        assert_eq!(fractional(1e300, TimeUnit::S), Err("timestamp after the year 9999"));
        assert_eq!(whole(0, TimeUnit::S), Err("timestamp not after 1970"));
        assert_eq!(fractional(f64::NAN, TimeUnit::S), Err("timestamp not after 1970"));
        assert_eq!(text("soon", TimeUnit::S), Err("time not a number"));
        assert_eq!(text("soon", TimeUnit::Rfc3339), Err("time not RFC 3339"));
    }
}
