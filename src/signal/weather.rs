//! Outdoor air: its state, and hourly series of it.

use super::table::{SignalError, Table};
use crate::time::{Span, Timestamp};
use crate::units;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The state of outdoor air.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weather {
    pub dry_bulb_c: f64,
    pub wet_bulb_c: f64,
    pub dew_point_c: f64,
}

impl Weather {
    /// From dry bulb and dew point, °C; the wet bulb follows (Stull).
    pub fn from_dew_point(dry_bulb_c: f64, dew_point_c: f64) -> Weather {
        let dew_point_c = dew_point_c.min(dry_bulb_c);
        let humidity_pct = 100.0 * units::saturation_pressure_kpa(dew_point_c) / units::saturation_pressure_kpa(dry_bulb_c);
        Weather { dry_bulb_c, wet_bulb_c: units::wet_bulb_c(dry_bulb_c, humidity_pct).clamp(dew_point_c, dry_bulb_c), dew_point_c }
    }

    /// Relative humidity, %.
    pub fn humidity_pct(&self) -> f64 {
        100.0 * units::saturation_pressure_kpa(self.dew_point_c) / units::saturation_pressure_kpa(self.dry_bulb_c)
    }

    fn between(a: Weather, b: Weather, share: f64) -> Weather {
        let mix = |x: f64, y: f64| x + (y - x) * share;
        Weather {
            dry_bulb_c: mix(a.dry_bulb_c, b.dry_bulb_c),
            wet_bulb_c: mix(a.wet_bulb_c, b.wet_bulb_c),
            dew_point_c: mix(a.dew_point_c, b.dew_point_c),
        }
    }
}

#[derive(Clone, Debug)]
enum Index {
    /// First row's instant.
    From(Timestamp),
    /// Rows are the hours of a typical year, 8,760 of them; row 0 is the hour that ends at 01:00 on 1 January.
    TypicalYear,
}

/// Hourly weather, interpolated linearly between rows.
#[derive(Clone, Debug)]
pub struct WeatherSeries {
    index: Index,
    rows: Vec<Weather>,
}

const DAYS_BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];

impl WeatherSeries {
    /// A Barcelona July: dry bulb 21–32 °C, dew point 15–21 °C, a sea breeze in the afternoon, days that differ.
    /// `offset_k` shifts dry bulb and dew point alike (a cooler or hotter spell).
    pub fn synthetic(seed: u64, start: Timestamp, span: Span, offset_k: f64) -> WeatherSeries {
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x7765_6174_6865_7200);
        let first = start.floor(Span::hours(1));
        let hours = (span.as_hours_f64().ceil() as usize).max(1) + 3;
        let (mut warm_k, mut damp_k) = (rng.random_range(-2.0..2.0), rng.random_range(-1.5..1.5));
        let rows = (0..hours)
            .map(|h| {
                let hour = (first + Span::hours(h as i64)).hour_of_day();
                // Days wander; within a day the sun leads the dry bulb to its top at 15 h local (13 UTC).
                warm_k += rng.random_range(-0.45..0.45) - 0.02 * warm_k;
                damp_k += rng.random_range(-0.3..0.3) - 0.02 * damp_k;
                let sun = ((hour - 13.0) / 24.0 * std::f64::consts::TAU).cos();
                let breeze = (-(hour - 14.5).powi(2) / 8.0).exp();
                let dry_bulb_c = 26.2 + 4.3 * sun - 0.9 * breeze + warm_k + offset_k;
                let dew_point_c = 17.6 + 0.7 * sun + 0.8 * breeze + damp_k + offset_k;
                Weather::from_dew_point(dry_bulb_c, dew_point_c)
            })
            .collect();
        WeatherSeries { index: Index::From(first), rows }
    }

    /// Reads a TMY3 year (`month,day,hour_ending,db_c,dewpoint_c,…`; gzip where the name ends in `.gz`). The wet bulb
    /// follows from dry bulb and dew point.
    pub fn load_tmy3(path: &Path) -> Result<WeatherSeries, SignalError> {
        let table = Table::load(path)?;
        let expected = "a TMY3 file has month, day, hour_ending, db_c, dewpoint_c";
        let [month, day, hour, db, dew] = ["month", "day", "hour_ending", "db_c", "dewpoint_c"].map(|n| table.column(n, expected));
        let (month, day, hour, db, dew) = (month?, day?, hour?, db?, dew?);
        if table.len() != 8760 {
            return Err(SignalError::Shape { path: path.into(), why: format!("{} rows; a typical year has 8,760 hours", table.len()) });
        }
        let mut rows = Vec::with_capacity(8760);
        for row in 0..table.len() {
            let m = table.number(row, month)?;
            let of_year = DAYS_BEFORE.get((m as usize).wrapping_sub(1)).copied().unwrap_or(0) as f64 + table.number(row, day)? - 1.0;
            if of_year * 24.0 + table.number(row, hour)? != row as f64 + 1.0 {
                return Err(table.cell(
                    row,
                    hour,
                    "hours must follow one another from 1 January, hour_ending 1; a row is missing or out of order".into(),
                ));
            }
            let (dry_bulb_c, dew_point_c) = (table.number(row, db)?, table.number(row, dew)?);
            if !(-60.0..=60.0).contains(&dry_bulb_c) {
                return Err(table.cell(row, db, format!("{dry_bulb_c} is no dry bulb in °C; is the unit °F or K?")));
            }
            rows.push(Weather::from_dew_point(dry_bulb_c, dew_point_c));
        }
        Ok(WeatherSeries { index: Index::TypicalYear, rows })
    }

    /// The weather at an instant; before the first and after the last row, that row.
    pub fn at(&self, t: Timestamp) -> Weather {
        let hours = match self.index {
            Index::From(first) => (t - first).as_hours_f64(),
            Index::TypicalYear => {
                let (month, day) = t.month_day();
                let day_of_year = DAYS_BEFORE[usize::from(month.clamp(1, 12)) - 1] + u32::from(day.min(28 + 3)) - 1;
                f64::from(day_of_year) * 24.0 + t.hour_of_day() - 1.0
            }
        };
        let last = self.rows.len() - 1;
        let at = hours.clamp(0.0, last as f64);
        let i = (at.floor() as usize).min(last);
        Weather::between(self.rows[i], self.rows[(i + 1).min(last)], at - i as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_july_day_is_hot_and_its_bulbs_are_in_order() {
        let start = Timestamp::parse("2026-07-14").unwrap();
        for seed in 0..20 {
            let series = WeatherSeries::synthetic(seed, start, Span::hours(48), 0.0);
            for h in 0..48 {
                let w = series.at(start + Span::hours(h));
                assert!(w.dew_point_c <= w.wet_bulb_c && w.wet_bulb_c <= w.dry_bulb_c);
                assert!((14.0..40.0).contains(&w.dry_bulb_c), "{w:?}");
            }
        }
        let a = WeatherSeries::synthetic(7, start, Span::hours(48), 0.0).at(start);
        assert_eq!(a, WeatherSeries::synthetic(7, start, Span::hours(48), 0.0).at(start));
    }

    #[test]
    fn interpolation_is_linear() {
        let w = |t| Weather::from_dew_point(t, 10.0);
        let series = WeatherSeries { index: Index::From(Timestamp(0)), rows: vec![w(20.0), w(22.0)] };
        assert!((series.at(Timestamp(0) + Span::minutes(30)).dry_bulb_c - 21.0).abs() < 1e-9);
        assert_eq!(series.at(Timestamp(0) + Span::hours(9)), series.rows[1]);
    }
}
