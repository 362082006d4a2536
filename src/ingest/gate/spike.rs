//! Spike: one value, or two, far from the values around them.
//!
//! Method: the Hampel identifier (Hampel 1974; Davies & Gather 1993, doi:10.1080/01621459.1993.10476339; on-line as in Liu, Shah & Jiang
//! 2004, doi:10.1016/j.compchemeng.2004.01.009): the distance from the median of the last [`WINDOW`] values against their
//! median absolute deviation. A plant's values step by nature (a chiller starts, a job ends), so without a limit of the
//! class a departure counts only where it also leaves all that the point has shown so far, its *envelope*, by half the
//! envelope's width. Of a quantity that rests, which multiplies whenever its machine starts, only gross errors count: ten
//! times all that was shown, while the machine runs (a decimal point, a unit, a register's full scale).
//! A third departing value in a row is a step, not a spike: the window begins anew from it.
//! Invariants: bounded state; a spike teaches nothing; at most two values of a step are marked.

/// Values that the median is of.
const WINDOW: usize = 7;
/// Multiple of the scaled median absolute deviation.
const K: f64 = 6.0;
/// Makes a median absolute deviation a standard deviation, for Gaussian noise.
const MAD_TO_SIGMA: f64 = 1.4826;
/// Multiple of the highest value that is a gross error, and the share of it at which a machine runs.
const GROSS: f64 = 10.0;
const RUNNING: f64 = 0.25;
/// Values after which the envelope is known.
const LEARNT: u32 = 64;
/// Departing values in a row that make a step.
const STEP: u8 = 3;

/// The last values and all that the point has shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spikes {
    window: [f64; WINDOW],
    next: u8,
    departed: u8,
    seen: u32,
    pub lo: f64,
    pub hi: f64,
}

impl Default for Spikes {
    fn default() -> Spikes {
        Spikes { window: [0.0; WINDOW], next: 0, departed: 0, seen: 0, lo: f64::INFINITY, hi: f64::NEG_INFINITY }
    }
}

impl Spikes {
    /// Takes in a value. True where it is a spike. `floor` is the least departure of the kind, `limit` the class's largest
    /// plausible one; `rests` = zero is a machine at rest.
    #[inline]
    pub fn judge(&mut self, value: f64, floor: f64, limit: Option<f64>, rests: bool) -> bool {
        if self.departs(value, floor, limit, rests) {
            self.departed += 1;
            if self.departed < STEP {
                return true;
            }
            self.window = [value; WINDOW];
        }
        self.departed = 0;
        self.window[usize::from(self.next)] = value;
        self.next = (self.next + 1) % WINDOW as u8;
        self.seen = self.seen.saturating_add(1);
        self.lo = self.lo.min(value);
        self.hi = self.hi.max(value);
        false
    }

    #[inline]
    fn departs(&self, value: f64, floor: f64, limit: Option<f64>, rests: bool) -> bool {
        match limit {
            Some(limit) => {
                self.seen >= WINDOW as u32 && {
                    let (median, _) = self.median_and_mad();
                    (value - median).abs() > limit
                }
            }
            None => {
                let beyond = (self.hi - self.lo) / 2.0;
                // Nearly every value ends here.
                let within = if rests { value <= GROSS * self.hi } else { (self.lo - beyond..=self.hi + beyond).contains(&value) };
                if self.seen < LEARNT || within {
                    return false;
                }
                let (median, mad) = self.median_and_mad();
                if rests && median < RUNNING * self.hi {
                    return false;
                }
                (value - median).abs() > (K * MAD_TO_SIGMA * mad).max(floor).max(0.5 * median.abs())
            }
        }
    }

    fn median_and_mad(&self) -> (f64, f64) {
        let middle = |mut v: [f64; WINDOW]| {
            v.sort_unstable_by(f64::total_cmp);
            v[WINDOW / 2]
        };
        let median = middle(self.window);
        (median, middle(self.window.map(|v| (v - median).abs())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lone_value_is_a_spike_and_a_step_is_not() {
        let mut s = Spikes::default();
        let mut judge = |v: f64| s.judge(v, 5.0, None, false);
        for i in 0..100 {
            assert!(!judge(20.0 + f64::from(i % 7) * 0.3));
        }
        assert!(judge(60.0) && !judge(20.1));
        assert!(judge(-40.0) && !judge(20.1));
        // The plant is another one from here on.
        assert_eq!([judge(60.0), judge(60.2), judge(60.1), judge(60.3), judge(60.0)], [true, true, false, false, false]);
        // What has been shown before is no spike.
        assert!(!judge(20.0));
    }

    #[test]
    fn a_class_limit_holds_from_the_eighth_value_on() {
        let mut s = Spikes::default();
        for _ in 0..7 {
            assert!(!s.judge(20.0, 5.0, Some(3.0), false));
        }
        assert!(s.judge(23.5, 5.0, Some(3.0), false) && !s.judge(22.0, 5.0, Some(3.0), false));
    }
}
