//! Timestamps as publishers write them: RFC 3339, or a number of s, ms, µs or ns since the epoch; as precise as they are
//! written (a number with a fraction to the microsecond).
//!
//! Invariant: what comes out lies after 1970 and before the year 10000; anything else is refused, never wrapped.

use crate::site::TimeUnit;
use crate::time::{Stamp, Timestamp};
use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

/// 9999-12-31, ms.
const LAST_MS: i64 = 253_402_214_400_000;

/// A whole number in a unit.
#[inline]
pub fn whole(value: i64, unit: TimeUnit) -> Result<Stamp, &'static str> {
    ranged(match unit {
        TimeUnit::Rfc3339 => return Err("time not RFC 3339"),
        TimeUnit::S => Timestamp(value.saturating_mul(1000)).into(),
        TimeUnit::Ms => Timestamp(value).into(),
        TimeUnit::Us => Stamp::from_us(value),
        TimeUnit::Ns => Stamp::from_ns(value),
    })
}

/// A number with a fraction in a unit; rounded to the microsecond.
pub fn fractional(value: f64, unit: TimeUnit) -> Result<Stamp, &'static str> {
    let us = match unit {
        TimeUnit::Rfc3339 => return Err("time not RFC 3339"),
        TimeUnit::S => value * 1e6,
        TimeUnit::Ms => value * 1e3,
        TimeUnit::Us => value,
        TimeUnit::Ns => value / 1e3,
    };
    ranged(Stamp::from_us(us.round() as i64))
}

/// A text in a unit.
pub fn text(value: &str, unit: TimeUnit) -> Result<Stamp, &'static str> {
    if unit == TimeUnit::Rfc3339 {
        return Stamp::parse(value).or_else(|| Timestamp::parse(value).map(Stamp::from)).ok_or("time not RFC 3339").and_then(ranged);
    }
    match (value.parse::<i64>(), value.parse::<f64>()) {
        (Ok(whole_value), _) => whole(whole_value, unit),
        (_, Ok(number)) if number.is_finite() => fractional(number, unit),
        _ => Err("time not a number"),
    }
}

#[inline]
fn ranged(stamp: Stamp) -> Result<Stamp, &'static str> {
    match stamp.at.0 {
        1..=LAST_MS => Ok(stamp),
        i64::MIN..=0 => Err("timestamp not after 1970"),
        _ => Err("timestamp after the year 9999"),
    }
}

/// Reads a timestamp where a decoder meets one. The inner result is the refusal.
pub struct TimeSeed(pub TimeUnit);

impl<'de> DeserializeSeed<'de> for TimeSeed {
    type Value = Result<Stamp, &'static str>;
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<Self::Value, D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TimeSeed {
    type Value = Result<Stamp, &'static str>;
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
        let ms = Stamp::from(Timestamp(1_784_000_000_123));
        let within = |ns| Ok(Stamp { ns, ..ms });
        assert_eq!(whole(1_784_000_000_123_999_999, TimeUnit::Ns), within(999_999));
        assert_eq!(whole(1_784_000_000_123_999, TimeUnit::Us), within(999_000));
        assert_eq!(text("1784000000.123456", TimeUnit::S), within(456_000));
        assert_eq!(text("2026-07-14T03:33:20.123000001Z", TimeUnit::Rfc3339), within(1));
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
