//! Meters that only grow: told apart from values that do not, and their differences over a restart.
//!
//! Words: a meter *rolls over* when its digits are full and it begins at zero again; it is *set back* when it is exchanged or
//! reset. Both are marked `METER_RESTART`: the value is true, the difference to the one before is not consumption.
//! Method: digits are full at a power of ten or of two of the published unit (or a tenth to a thousandth of it); a fall is a
//! roll-over where the way over the top is at most [`STRIDES`] times the largest growth seen between two values.

/// Growths between two values that the way over the top may have.
const STRIDES: f64 = 20.0;

/// What is remembered of a meter.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counter {
    last: Option<f64>,
    stride: f64,
}

impl Counter {
    /// Takes in a reading. True where the meter began anew.
    #[inline]
    pub fn judge(&mut self, value: f64) -> bool {
        let Some(last) = self.last.replace(value) else { return false };
        if value >= last {
            self.stride = self.stride.max(value - last);
            return false;
        }
        true
    }

    /// Largest growth between two readings so far.
    pub fn stride(&self) -> f64 {
        self.stride
    }
}

/// What a meter counted between two readings, in their unit: the plain difference, over the top where it rolled over, or what
/// it shows since it was set back to zero (a lower bound). `scale` makes published values canonical; `stride` is the largest
/// growth between two readings that is known to be true.
pub fn counted(before: f64, now: f64, scale: f64, stride: f64) -> f64 {
    if now >= before {
        return now - before;
    }
    full_digits(before, scale).map(|top| top - before + now).filter(|way| *way <= STRIDES * stride).unwrap_or(now.max(0.0))
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

    #[test]
    fn a_roll_over_is_bridged_and_a_reset_is_a_lower_bound() {
        let mut c = Counter::default();
        assert_eq!([999_980.0, 999_990.0, 3.0, 13.0].map(|v| c.judge(v)), [false, false, true, false]);
        assert_eq!(c.stride(), 10.0);
        assert_eq!(counted(999_990.0, 3.0, 1.0, 10.0), 13.0);
        assert_eq!(counted(123_456.0, 7.0, 1.0, 10.0), 7.0);
        assert_eq!(counted(100.0, 105.0, 1.0, 10.0), 5.0);
        // A 32-bit register of watt-hours, shown in kWh.
        let top = 4_294_967.296;
        assert!((counted(top - 0.5, 0.25, 1e-3, 1.0) - 0.75).abs() < 1e-6);
    }
}
