//! What goes wrong in a hall that is not a sensor: machines lost, work that jumps, weather that turns.

use crate::plant::twin::{Outage, TwinSpec};
use crate::signal::weather::Weather;
use crate::units;

/// The trouble of a moment. The default is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trouble {
    /// Rise of the racks' power against the scenario's, a share (0.6 = +60 %). No rack goes beyond its rating.
    pub load_rise: f64,
    /// Outdoor air warmer by this at the same relative humidity, K.
    pub warmer_k: f64,
    pub outage: Outage,
}

impl Trouble {
    pub(super) fn load(&self, spec: &TwinSpec, group_of: impl Fn(usize) -> usize, kw: &mut [f64]) {
        if self.load_rise == 0.0 {
            return;
        }
        for (rack, kw) in kw.iter_mut().enumerate() {
            *kw = (*kw * (1.0 + self.load_rise)).min(spec.rack_groups[group_of(rack)].rating_kw.max(*kw));
        }
    }

    pub(super) fn weather(&self, w: Weather) -> Weather {
        if self.warmer_k == 0.0 {
            return w;
        }
        let dry_bulb_c = w.dry_bulb_c + self.warmer_k;
        Weather::from_dew_point(dry_bulb_c, units::dew_point_c(dry_bulb_c, w.humidity_pct()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warmer_air_keeps_its_relative_humidity() {
        let w = Weather::from_dew_point(30.0, 18.0);
        let hot = Trouble { warmer_k: 8.0, ..Trouble::default() }.weather(w);
        assert!((hot.dry_bulb_c - 38.0).abs() < 1e-9 && (hot.humidity_pct() - w.humidity_pct()).abs() < 0.5, "{hot:?}");
        assert!(hot.wet_bulb_c > w.wet_bulb_c + 5.0);
    }
}
