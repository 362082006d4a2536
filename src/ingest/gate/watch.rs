//! What is remembered of one point between two values, and the marks that come of it.

use super::counter::{Counter, Restart};
use super::nature::Nature;
use super::pile::Pile;
use super::spike::Spikes;
use super::still::Stillness;
use crate::reading::Quality;
use crate::site::{Class, Point};
use crate::time::{Stamp, Timestamp};
use crate::units::Kind;

/// Distance from where a point was below which a raw zero may be true, canonical unit (K, %RH).
const ZERO_NEAR: f64 = 5.0;
/// Share of the highest value below which a machine is at rest.
const REST_SHARE: f64 = 0.01;

/// What is remembered of a point.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Watch {
    /// Newest source timestamp taken in.
    pub newest: Option<Stamp>,
    /// Made from the point and its class at the first value.
    nature: Option<Nature>,
    /// The last number and when it came.
    last: Option<(Timestamp, f64)>,
    /// The last number that was no dead zero.
    alive: f64,
    still: Stillness,
    spikes: Spikes,
    pile: Pile,
    counter: Counter,
}

/// A value for the same timestamp as the newest one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Duplicate;

impl Watch {
    /// Forgets everything: the site's clock was set back, or the point's metadata changed.
    pub fn restart(&mut self) {
        *self = Watch::default();
    }

    /// Marks a value (canonical, or NaN for none) and remembers it.
    pub fn mark(&mut self, point: &Point, class: Option<&Class>, stamp: Stamp, value: f64) -> Result<Quality, Duplicate> {
        if self.newest == Some(stamp) {
            return Err(Duplicate);
        }
        let nature = *self.nature.get_or_insert_with(|| Nature::of(point, class));
        let late = self.newest.is_some_and(|n| stamp < n);
        let mut quality = if late { Quality::LATE } else { Quality::GOOD };
        if value.is_nan() {
            quality = quality.with(Quality::NO_VALUE);
        } else {
            if implausible(point, &nature, value) {
                quality = quality.with(Quality::OUT_OF_RANGE);
            }
            if !late {
                quality = quality.with(self.motion(&nature, quality, stamp.at, value));
            }
        }
        if !late {
            self.newest = Some(stamp);
        }
        Ok(quality)
    }

    /// Marks that need the values before; only for values in order.
    fn motion(&mut self, nature: &Nature, so_far: Quality, at: Timestamp, value: f64) -> Quality {
        let Some((last_at, last)) = self.last.replace((at, value)) else {
            self.still = Stillness::begin(at);
            self.alive = value;
            // A first value of zero is not known to be a dead one.
            return self.learn(nature, so_far, value);
        };
        let mut quality = Quality::GOOD;
        // Within a minute the whole minute's change is allowed: noise between two close samples is not a rate.
        let minutes = ((at - last_at).as_secs_f64() / 60.0).max(1.0);
        if nature.max_rate_per_min.is_some_and(|r| (value - last).abs() > r * minutes) {
            quality = quality.with(Quality::TOO_FAST);
        }
        if nature.dead_zero == Some(value) && (self.alive - value).abs() > ZERO_NEAR {
            return quality.with(Quality::DEAD_ZERO);
        }
        self.alive = value;
        if value != last {
            self.still.moved(last_at, at);
        } else if !(nature.rests && value.abs() <= REST_SHARE * self.spikes.hi)
            && self.still.stayed(last_at, at, nature.frozen_after_s, nature.restless)
        {
            quality = quality.with(Quality::FROZEN);
        }
        quality.with(self.learn(nature, so_far.with(quality), value))
    }

    /// The detectors that learn the point's own values; what is marked teaches nothing.
    fn learn(&mut self, nature: &Nature, so_far: Quality, value: f64) -> Quality {
        if !so_far.is_good() {
            return Quality::GOOD;
        }
        if nature.counter {
            return match self.counter.judge(value, nature.scale) {
                None => Quality::GOOD,
                Some(Restart::RolledOver) => Quality::METER_ROLLOVER,
                Some(Restart::SetBack) => Quality::METER_RESTART,
            };
        }
        if let Some(floor) = nature.spike_floor.or(nature.max_departure)
            && self.spikes.judge(value, floor, nature.max_departure, nature.rests)
        {
            return Quality::SPIKE;
        }
        if nature.can_clip && self.pile.judge(value) { Quality::CLIPPED } else { Quality::GOOD }
    }
}

fn implausible(point: &Point, nature: &Nature, value: f64) -> bool {
    if point.kind == Kind::State && !point.state_text.iter().any(|s| s.value as f64 == value) {
        return true;
    }
    nature.range.is_some_and(|[lo, hi]| !(lo..=hi).contains(&value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::dsx;
    use crate::site::Classes;
    use crate::time::Timestamp;

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
            .map(|(s, v)| watch.mark(&p, classes.of(&p), Timestamp(s * 1000).into(), *v).map_or("duplicate".into(), Quality::text))
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
    fn within_a_millisecond_the_nanoseconds_tell_values_apart() {
        let (p, mut w) = (point(), Watch::default());
        let mut mark = |ns| w.mark(&p, None, Stamp { at: Timestamp(5), ns }, 20.0);
        assert_eq!([mark(1), mark(2), mark(2), mark(1)], [Ok(Quality::GOOD), Ok(Quality::GOOD), Err(Duplicate), Ok(Quality::LATE)]);
    }

    #[test]
    fn a_state_without_a_text_is_implausible() {
        let json = br#"{"objectType":"CDU","pointType":"Status","stateText":[{"value":0,"text":"Off"},{"value":1,"text":"On"}],"objectName":"a","objectId":"a"}"#;
        let p = dsx::metadata("CDU/Status/a", json).unwrap();
        let mut w = Watch::default();
        assert_eq!(w.mark(&p, None, Timestamp(1).into(), 1.0), Ok(Quality::GOOD));
        assert_eq!(w.mark(&p, None, Timestamp(2).into(), 2.0), Ok(Quality::OUT_OF_RANGE));
    }
}
