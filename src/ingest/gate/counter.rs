//! Meters that only grow: where one falls, it began anew.
//!
//! Words: a meter *rolls over* when its digits are full and it begins at zero again; it is *set back* when it is exchanged or
//! reset. Both are marked: the value is true, the difference to the one before is not consumption. What was counted over a
//! roll-over is known to within its digits; what was counted before a meter was set back is not.
//! Method: digits are full at a power of ten or of two of the published unit (or a tenth to a thousandth of it); a fall is a
//! roll-over where the way over the top is at most [`STRIDES`] times the largest growth seen between two values.

/// Growths between two values that the way over the top may have.
const STRIDES: f64 = 20.0;

/// What is remembered of a meter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counter {
    last: Option<f64>,
    /// Largest growth between two readings so far.
    stride: f64,
}

/// How a meter began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    RolledOver,
    SetBack,
}

impl Counter {
    /// Takes in a reading; tells whether the meter began anew. `scale` makes published values canonical.
    #[inline]
    pub fn judge(&mut self, value: f64, scale: f64) -> Option<Restart> {
        let last = self.last.replace(value)?;
        if value >= last {
            self.stride = self.stride.max(value - last);
            return None;
        }
        Some(if over_the_top(last, value, scale, self.stride).is_some() { Restart::RolledOver } else { Restart::SetBack })
    }
}

/// What a meter counted from `last` to a lower `value`, where its digits were full in between. `scale` makes published values
/// canonical; `stride` is the largest growth between two readings that is known to be true.
pub fn over_the_top(last: f64, value: f64, scale: f64, stride: f64) -> Option<f64> {
    full_digits(last, scale).map(|top| top - last + value.max(0.0)).filter(|way| *way <= STRIDES * stride)
}

/// The smallest value above `reading` at which digits are full.
fn full_digits(reading: f64, scale: f64) -> Option<f64> {
    let tens = (2..=15).map(|k| 10f64.powi(k));
    let twos = [15, 16, 24, 31, 32, 48].into_iter().map(|k| 2f64.powi(k));
    let decimals = [1.0, 0.1, 0.01, 0.001];
    let tops = tens.chain(twos).flat_map(|t| decimals.map(|d| t * d * scale));
    tops.filter(|t| *t > reading).min_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(values: &[f64], scale: f64) -> Vec<Option<Restart>> {
        let mut c = Counter::default();
        values.iter().map(|v| c.judge(*v, scale)).collect()
    }

    #[test]
    fn a_roll_over_is_told_from_a_reset() {
        use Restart::{RolledOver, SetBack};
        assert_eq!(judged(&[999_980.0, 999_990.0, 3.0, 13.0], 1.0), [None, None, Some(RolledOver), None]);
        assert_eq!(judged(&[123_446.0, 123_456.0, 7.0], 1.0), [None, None, Some(SetBack)]);
        // A 32-bit register of watt-hours, shown in kWh.
        let top = 4_294_967.296;
        assert_eq!(judged(&[top - 1.0, top - 0.5, 0.25], 1e-3), [None, None, Some(RolledOver)]);
        // Nothing is known of a meter that falls at its second reading.
        assert_eq!(judged(&[999_990.0, 3.0], 1.0), [None, Some(SetBack)]);
    }
}
