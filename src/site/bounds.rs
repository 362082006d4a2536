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
    /// Converts `max`, `min`, `margin` and what reserves keep flat to the canonical unit.
    ///
    /// # Errors
    /// The unit is not known; the text says which are.
    pub(super) fn make_canonical(&mut self) -> Result<(), String> {
        let Some(text) = self.unit.take() else { return Ok(()) };
        let unit = unit_of(&text)?;
        // A limit on a difference, or one counted from another role, has no zero of its own.
        let relative = self.above.is_some() || unit.kind == Kind::TemperatureDifference;
        if text == "K" && !relative {
            return Err("`unit = \"K\"` is an absolute temperature here: write \"C\" for a temperature, \"dC\" for a difference".into());
        }
        for level in [&mut self.max, &mut self.min].into_iter().flatten() {
            *level = if relative { *level * unit.scale } else { unit.canonical(*level) };
        }
        self.margin *= unit.scale;
        self.reserve.iter_mut().for_each(|r| r.flat *= unit.scale);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::SiteFile;
    use std::path::Path;

    const TEXT: &str = r#"
format = 1
[site]
id = "hall"
name = "Hall"
time_zone = "Europe/Madrid"
[bus]
filter = "BMS/v1/PUB/+/+/+/hall/#"
[[role]]
name = "supply"
select = { object_type = "CDU" }
[[loop]]
id = "tcs"
name = "Technology cooling"
supply = "supply"
return = "supply"
load = "supply"
[[actuator]]
id = "supply"
name = "Supply"
loop = "tcs"
request = { object_id = "a" }
in_force = { object_id = "b" }
unit = "F"
lo = 68.0
hi = 104.0
default = 77.0
slew_per_min = 0.36
slew_per_10min = 3.6
step = 0.18
[[limit]]
id = "hot"
name = "Supply"
role = "supply"
unit = "F"
max = 104.0
margin = 0.9
reserve = [{ loss = "a pump", flat = 18.0, share = 0.5, over = "supply", left = { by = "supply", reach = 86.0, full = 95.0 } }]
[[limit]]
id = "dew"
name = "Above dew point"
role = "supply"
above = "supply"
unit = "F"
min = 3.6
margin = 0.9
"#;

    #[test]
    fn bounds_in_fahrenheit_become_celsius_once() {
        let site = SiteFile::parse(Path::new("x"), TEXT).unwrap();
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} {b}");
        let a = &site.actuators[0];
        for (is, should) in [(a.lo, 20.0), (a.hi, 40.0), (a.default, 25.0), (a.slew_per_min, 0.2), (a.slew_per_10min, 2.0), (a.step, 0.1)] {
            near(is, should);
        }
        near(site.limits[0].max.unwrap(), 40.0);
        near(site.limits[0].margin, 0.5);
        near(site.limits[0].reserve[0].flat, 10.0);
        let left = site.limits[0].reserve[0].left.as_ref().unwrap();
        near(left.reach, 30.0);
        near(left.full.unwrap(), 35.0);
        near(site.limits[1].min.unwrap(), 2.0);
        assert!(a.unit.is_none() && site.limits.iter().all(|l| l.unit.is_none()));
        let again = SiteFile::parse(Path::new("x"), &toml::to_string(&site).unwrap()).unwrap();
        assert_eq!(again, site, "written and read again, nothing is converted twice");
        let why = SiteFile::parse(Path::new("x"), &TEXT.replace("\"F\"", "\"furlong\"")).unwrap_err().to_string();
        assert!(why.contains("actuator \"supply\"") && why.contains("furlong"), "{why}");
        let bound = SiteFile::parse(Path::new("x"), &TEXT.replace(", full = 95.0", "")).unwrap();
        near(bound.limits[0].reserve[0].left.as_ref().unwrap().full.unwrap(), 40.0);
    }

    /// What would switch a limit off in silence: a comparison with what is no number is always false.
    #[test]
    fn numbers_that_are_none_and_limits_without_room_are_refused() {
        for (from, to, says) in [
            ("max = 104.0", "max = nan", "finite"),
            ("margin = 0.9\nreserve", "margin = inf\nreserve", "finite"),
            ("flat = 18.0", "flat = inf", "finite"),
            ("reach = 86.0", "reach = nan", "reach"),
            ("slew_per_min = 0.36", "slew_per_min = inf", "finite"),
            ("min = 3.6\nmargin", "min = 3.6\nmax = 5.0\nmargin", "no room"),
            ("unit = \"F\"\nmax = 104.0", "unit = \"K\"\nmax = 5.0", "absolute temperature"),
        ] {
            assert!(TEXT.contains(from), "{from}");
            let why = SiteFile::parse(Path::new("x"), &TEXT.replace(from, to)).unwrap_err().to_string();
            assert!(why.contains(says), "{to}: {why}");
        }
    }
}
