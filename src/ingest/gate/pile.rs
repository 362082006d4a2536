//! Clipped: values that pile up at exactly the highest one, as a saturated sensor's or a wrongly initialised minimum's do.
//!
//! Method: a continuous quantity whose sensor has room above it comes exactly to its maximum once; one that is cut comes to it
//! again and again while the band just below it stays thin. Counted are the values at the maximum, the arrivals there
//! from below, and the values in the band below it (a twentieth of the range, or four steps of the resolution). The pile
//! must come from a quantity that otherwise varies, so that a machine with two speeds is none.
//! Invariants: bounded state; a higher value ends the pile.

/// Values at the maximum, and arrivals there, that make a pile.
const PILE: u32 = 24;
const ARRIVALS: u32 = 6;
/// How much higher than the band below it the pile is.
const HIGHER: u32 = 4;
/// Values between the ends that show a varying quantity.
const BETWEEN: u32 = 64;
/// The band's width as a share of the range, and in steps of the resolution.
const BAND: f64 = 0.05;
const BAND_STEPS: f64 = 4.0;

/// The highest value and how the point comes to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pile {
    max: f64,
    min: f64,
    last: f64,
    /// Smallest change seen.
    resolution: f64,
    at_max: u32,
    arrivals: u32,
    in_band: u32,
    between: u32,
}

impl Default for Pile {
    fn default() -> Pile {
        Pile {
            max: f64::NEG_INFINITY,
            min: f64::INFINITY,
            last: f64::NAN,
            resolution: f64::INFINITY,
            at_max: 0,
            arrivals: 0,
            in_band: 0,
            between: 0,
        }
    }
}

impl Pile {
    /// Takes in a value. True where it lies on the pile.
    #[inline]
    pub fn judge(&mut self, value: f64) -> bool {
        let step = (value - self.last).abs();
        if step > 0.0 && step < self.resolution {
            self.resolution = step;
        }
        self.min = self.min.min(value);
        let band = (BAND * (self.max - self.min)).max(BAND_STEPS * self.resolution);
        if value > self.max {
            // What lay at the old maximum is in the new one's band, or no longer near.
            let kept = self.max >= value - band;
            self.between = self.between.saturating_add(if kept { 0 } else { self.at_max + self.in_band });
            self.in_band = if kept { self.in_band + self.at_max } else { 0 };
            (self.max, self.at_max, self.arrivals) = (value, 1, 1);
        } else if value == self.max {
            self.at_max = self.at_max.saturating_add(1);
            self.arrivals += u32::from(self.last != value && self.arrivals < u32::MAX);
        } else if value > self.max - band {
            self.in_band = self.in_band.saturating_add(1);
        } else if value > self.min + band {
            self.between = self.between.saturating_add(1);
        }
        self.last = value;
        value == self.max
            && self.at_max >= PILE
            && self.arrivals >= ARRIVALS
            && self.at_max / HIGHER >= self.in_band
            && self.between >= BETWEEN.max(self.at_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(values: impl Iterator<Item = f64>) -> usize {
        let mut p = Pile::default();
        values.filter(|v| p.judge(*v)).count()
    }

    /// A load between 20 and 140 that is no multiple of anything.
    fn load(i: u32) -> f64 {
        80.0 + 60.0 * (f64::from(i) * 0.7).sin() * (f64::from(i) * 0.013).cos()
    }

    #[test]
    fn a_cut_signal_piles_up_and_a_free_one_does_not() {
        assert!(marked((0..2000).map(|i| load(i).min(100.0))) > 200);
        assert_eq!(marked((0..2000).map(load)), 0);
    }

    #[test]
    fn two_speeds_and_whole_degrees_are_no_pile() {
        assert_eq!(marked((0..2000).map(|i| if (i / 40) % 2 == 0 { 0.0 } else { 8.1 })), 0);
        assert_eq!(marked((0..2000).map(|i| (load(i) / 20.0).round())), 0);
    }
}
