//! Bounds and limits in the unit that the operators write them in.
//!
//! Inside the program every number is in the canonical unit of its kind (°C, kW, L/min, %, …). A plant that is run in °F or
//! GPM has its bounds in those; `unit = "F"` under an actuator or a limit says so, and they are converted once, here.
//! Words: a *level* is a value on the scale (bounds, default); a *step* is a difference of two (slew, step, margin, and a
//! limit that is counted from another role). Invariant: after this no `unit` is left in the file.

use super::file::{Actuator, Limit};
use crate::units::{Kind, Unit};

fn unit_of(text: &str) -> Result<Unit, String> {
    Unit::parse(text).ok_or_else(|| {
        format!("`unit = {text:?}` is not known; for example \"C\", \"F\", \"kW\", \"LPM\", \"GPM\", \"%\", \"kPa\", \"psi\"")
    })
}

impl Actuator {
    /// Converts bounds, default, slew and step to the canonical unit.
    ///
    /// # Errors
    /// The unit is not known; the text says which are.
    pub(super) fn make_canonical(&mut self) -> Result<(), String> {
        let Some(text) = self.unit.take() else { return Ok(()) };
        let unit = unit_of(&text)?;
        for level in [&mut self.lo, &mut self.hi, &mut self.default] {
            *level = unit.canonical(*level);
        }
        for step in [&mut self.slew_per_min, &mut self.slew_per_10min, &mut self.step] {
            *step *= unit.scale;
        }
        Ok(())
    }
}

impl Limit {
    /// Converts `max`, `min` and `margin` to the canonical unit.
    ///
    /// # Errors
    /// The unit is not known; the text says which are.
    pub(super) fn make_canonical(&mut self) -> Result<(), String> {
        let Some(text) = self.unit.take() else { return Ok(()) };
        let unit = unit_of(&text)?;
        // A limit on a difference, or one counted from another role, has no zero of its own.
        let relative = self.above.is_some() || unit.kind == Kind::TemperatureDifference;
        for level in [&mut self.max, &mut self.min].into_iter().flatten() {
            *level = if relative { *level * unit.scale } else { unit.canonical(*level) };
        }
        self.margin *= unit.scale;
        Ok(())
    }
}
