//! The gate: judges one value of one point. Refuses what cannot be filed, marks what cannot be believed.
//!
//! Words: the *allowed lead* is how far a timestamp may be ahead of the site's clock; the *watch* is what is remembered
//! of a point between two values.
//! Invariants: a mark never changes or drops a value; a refusal has a static reason; nothing here reads a clock.
//! Absent: limits of operation (those are `control`'s). A mark here says "this cannot be true", not "this is bad".

use crate::reading::Quality;
use crate::site::{Class, Point};
use crate::time::{Span, Timestamp};
use crate::units::Kind;

/// Timestamps further ahead of the site's clock are refused.
pub const LEAD_MAX: Span = Span::minutes(5);
/// Timestamps further behind the site's clock are refused.
pub const RETENTION: Span = Span::hours(24 * 400);
/// A lead below this is the order of messages within one heartbeat, not a wrong clock.
const LEAD_UNMARKED: Span = Span::seconds(30);
/// A BMS that steps its clock in longer strides than this is in lock-step with us: values of the coming stride arrive
/// before its heartbeat does.
const STRIDE_MAX: Span = Span::hours(1);

/// What the gate knows of the site's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SiteClock {
    pub now: Option<Timestamp>,
    /// Time between the last two heartbeats.
    pub stride: Option<Span>,
}

impl SiteClock {
    fn lead_allowed(&self) -> Span {
        match self.stride {
            Some(s) if s <= Span::minutes(1) => LEAD_MAX,
            Some(s) => Span(LEAD_MAX.0 + s.0.min(STRIDE_MAX.0)),
            None => STRIDE_MAX,
        }
    }

    /// Can a timestamp be filed? `Ok` carries the mark it earns. Without a clock everything can.
    pub fn judge(&self, at: Timestamp) -> Result<Quality, &'static str> {
        let Some(now) = self.now else { return Ok(Quality::GOOD) };
        let lead = at - now;
        if lead > self.lead_allowed() {
            return Err("ahead of the site's clock");
        }
        if lead < Span(-RETENTION.0) {
            return Err("older than the retention");
        }
        let unmarked = self.stride.map_or(STRIDE_MAX, |s| s.min(STRIDE_MAX)).max(LEAD_UNMARKED);
        Ok(if lead > unmarked { Quality::SKEWED } else { Quality::GOOD })
    }
}

/// What is remembered of a point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Watch {
    /// Newest source timestamp taken in.
    pub newest: Option<Timestamp>,
    /// The last number and when it came, and since when it has stood still.
    last: Option<(Timestamp, f64, Timestamp)>,
}

/// A value for the same timestamp as the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

impl Watch {
    /// Forgets the order of timestamps: the site's clock was set back.
    pub fn restart(&mut self) {
        *self = Watch::default();
    }

    /// Marks a value (canonical, or NaN for none) and remembers it.
    pub fn mark(&mut self, point: &Point, class: Option<&Class>, at: Timestamp, value: f64) -> Result<Quality, Duplicate> {
        if self.newest == Some(at) {
            return Err(Duplicate);
        }
        let late = self.newest.is_some_and(|n| at < n);
        let mut quality = if late { Quality::LATE } else { Quality::GOOD };
        if value.is_nan() {
            quality = quality.with(Quality::NO_VALUE);
        } else {
            if implausible(point, class, value) {
                quality = quality.with(Quality::OUT_OF_RANGE);
            }
            if !late {
                quality = quality.with(self.motion(class, at, value));
            }
        }
        if !late {
            self.newest = Some(at);
        }
        Ok(quality)
    }

    /// Marks of change and of stillness; only for values in order.
    fn motion(&mut self, class: Option<&Class>, at: Timestamp, value: f64) -> Quality {
        let Some((last_at, last, still_since)) = self.last else {
            self.last = Some((at, value, at));
            return Quality::GOOD;
        };
        let still_since = if value == last { still_since } else { at };
        self.last = Some((at, value, still_since));
        let Some(class) = class else { return Quality::GOOD };
        let mut quality = Quality::GOOD;
        // Within a minute the whole minute's change is allowed: noise between two close samples is not a rate.
        let minutes = ((at - last_at).as_secs_f64() / 60.0).max(1.0);
        if class.max_rate_per_min.is_some_and(|r| (value - last).abs() > r * minutes) {
            quality = quality.with(Quality::TOO_FAST);
        }
        if class.frozen_after_s.is_some_and(|s| at - still_since > Span::seconds(i64::from(s))) {
            quality = quality.with(Quality::FROZEN);
        }
        quality
    }
}

fn implausible(point: &Point, class: Option<&Class>, value: f64) -> bool {
    if point.kind == Kind::State && !point.state_text.iter().any(|s| s.value as f64 == value) {
        return true;
    }
    class.and_then(|c| c.range).is_some_and(|[lo, hi]| !(lo..=hi).contains(&value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::dsx;
    use crate::site::Classes;

    fn point() -> Point {
        let json = br#"{"objectType":"CDU","pointType":"LiquidTemperature","engUnit":"C","objectName":"a","objectId":"a"}"#;
        dsx::metadata("CDU/LiquidTemperature/a", json).unwrap()
    }

    fn marks(values: &[(i64, f64)]) -> Vec<String> {
        let text = "format = 1\n[[class]]\nname='t'\nselect={object_type='CDU'}\nunit='°C'\nabout='x'\nrange=[0,90]\nmax_rate_per_min=10\nfrozen_after_s=600\n";
        let classes = Classes::parse(std::path::Path::new("t"), text).unwrap();
        let (mut watch, p) = (Watch::default(), point());
        values
            .iter()
            .map(|(s, v)| watch.mark(&p, classes.of(&p), Timestamp(s * 1000), *v).map_or("duplicate".into(), Quality::text))
            .collect()
    }

    #[test]
    fn each_mark_has_its_cause() {
        assert_eq!(marks(&[(0, 20.0), (10, 29.0), (20, 39.5), (80, 49.0)]), ["good", "good", "too fast", "good"]);
        assert_eq!(marks(&[(0, 95.0), (10, -1.0)]), ["out of range", "out of range, too fast"]);
        assert_eq!(marks(&[(0, 20.0), (600, 20.0), (601, 20.0), (602, 20.1)]), ["good", "good", "frozen", "good"]);
        assert_eq!(marks(&[(10, 20.0), (5, 21.0), (10, 22.0), (11, f64::NAN)]), ["good", "late", "duplicate", "no value"]);
    }

    #[test]
    fn a_state_without_a_text_is_implausible() {
        let json = br#"{"objectType":"CDU","pointType":"Status","stateText":[{"value":0,"text":"Off"},{"value":1,"text":"On"}],"objectName":"a","objectId":"a"}"#;
        let p = dsx::metadata("CDU/Status/a", json).unwrap();
        let mut w = Watch::default();
        assert_eq!(w.mark(&p, None, Timestamp(1), 1.0), Ok(Quality::GOOD));
        assert_eq!(w.mark(&p, None, Timestamp(2), 2.0), Ok(Quality::OUT_OF_RANGE));
    }

    #[test]
    fn timestamps_are_judged_against_the_sites_clock() {
        let now = Timestamp(2_000_000_000_000);
        let clock = SiteClock { now: Some(now), stride: Some(Span::seconds(10)) };
        assert_eq!(clock.judge(now + Span::seconds(10)), Ok(Quality::GOOD));
        assert_eq!(clock.judge(now + Span::seconds(31)), Ok(Quality::SKEWED));
        assert_eq!(clock.judge(now + LEAD_MAX), Ok(Quality::SKEWED));
        assert_eq!(clock.judge(now + LEAD_MAX + Span(1)), Err("ahead of the site's clock"));
        assert_eq!(clock.judge(now - RETENTION), Ok(Quality::GOOD));
        assert_eq!(clock.judge(now - RETENTION - Span(1)), Err("older than the retention"));
        // A plant in lock-step with 15-minute steps sends the values of a step before its heartbeat.
        let slow = SiteClock { now: Some(now), stride: Some(Span::minutes(15)) };
        assert_eq!(slow.judge(now + Span::minutes(15)), Ok(Quality::GOOD));
        assert_eq!(slow.judge(now + Span::minutes(21)), Err("ahead of the site's clock"));
    }
}
