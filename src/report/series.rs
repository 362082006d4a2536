//! A signal on the account's grid: price or carbon intensity by quarter of an hour, with what had to be filled in.
//!
//! Rule: a bin without a value gets the mean of those at the same time of day within seven days on either side, three of them at
//! least; else the period's mean. Both are counted as estimated.

use super::account::{BIN, DONOR_DAYS, DONORS_MIN, Period};
use super::lang::Lang;
use super::register::SeriesSource;
use crate::signal::dated::Dated;
use crate::site::Catalogue;
use crate::store::Store;
use crate::time::Span;
use jiff::tz::TimeZone;
use std::path::Path;

/// Values by bin.
#[derive(Clone, Debug, Default)]
pub struct Series {
    /// NaN nowhere, unless there was nothing at all.
    pub bins: Vec<f64>,
    pub estimated: Vec<bool>,
    pub source: String,
    /// What was wrong with the file, in words.
    pub notes: Vec<String>,
}

impl Series {
    pub fn estimated_share(&self) -> f64 {
        self.estimated.iter().filter(|e| **e).count() as f64 / self.estimated.len().max(1) as f64
    }
}

/// Loads a series for a period.
///
/// # Errors
/// The source names nothing, or what it names cannot be read.
pub fn load(
    store: &dyn Store,
    site: &str,
    catalogue: &Catalogue,
    dir: &Path,
    source: &SeriesSource,
    period: &Period,
    lang: Lang,
) -> Result<Series, String> {
    let grid = period.grid;
    let mut bins = vec![f64::NAN; grid.len()];
    let mut notes = Vec::new();
    if let Some(constant) = source.constant {
        bins.fill(constant);
    } else if let Some(file) = &source.file {
        let zone = match &source.zone {
            Some(z) => TimeZone::get(z).map_err(|e| format!("report.toml: series zone {z:?}: {e}"))?,
            None => period.zone.clone(),
        };
        let or = |name: &str, otherwise: &str| if name.is_empty() { otherwise.to_owned() } else { name.to_owned() };
        let d = Dated::load(&dir.join(file), &or(&source.time, "time"), &or(&source.value, "value"), &zone).map_err(|e| e.to_string())?;
        for (at, v) in &d.rows {
            grid.pieces(*at, *at + d.step, |bin, _, _| bins[bin] = *v);
        }
        let within = |list: &[String]| -> Vec<String> {
            let civil = |t: &String| t.parse::<jiff::civil::DateTime>().ok().and_then(|c| c.to_zoned(zone.clone()).ok());
            let inside = |t: &&String| civil(t).is_some_and(|z| (grid.from.0..grid.to.0).contains(&z.timestamp().as_millisecond()));
            list.iter().filter(inside).cloned().collect()
        };
        let (gone, once) = (within(&d.impossible), within(&d.once));
        let name = file.display().to_string();
        if !gone.is_empty() {
            notes.push(lang.say("n_jump", &[&name, &gone.join(", ")]));
        }
        if !once.is_empty() {
            notes.push(lang.say("n_twice", &[&name, &once.join(", ")]));
        }
        if d.empty + d.repeated > 0 {
            notes.push(lang.say("n_bad", &[&name, &d.empty.to_string(), &d.repeated.to_string()]));
        }
    } else if let Some(path) = &source.point {
        let point =
            catalogue.id(path).ok_or_else(|| format!("report.toml: series point {path:?}: the store of {site} has no such point"))?;
        let mut last: Option<f64> = None;
        // In pieces: years of quarter-hours are more than a series may have.
        let taken = store.series_each(site, &[point], grid.from - Span::hours(24), grid.to, BIN, &mut |_, steps| {
            for s in steps.iter().filter(|s| s.mean.is_finite() && s.quality.usable()) {
                if s.at >= grid.from {
                    bins[grid.bin(s.at)] = s.mean;
                } else {
                    last = Some(s.mean);
                }
            }
            true
        });
        taken.map_err(|e| e.to_string())?;
        // A signal holds until the next one, an hour at most: hourly ones fill their quarters.
        let mut age = 0;
        for b in &mut bins {
            age = if b.is_finite() { 0 } else { age + 1 };
            match last {
                Some(v) if !b.is_finite() && age < 4 => *b = v,
                _ => {}
            }
            last = if b.is_finite() { Some(*b) } else { last };
        }
    } else {
        return Err("report.toml: a series has neither `file` nor `point` nor `constant`".into());
    }
    let estimated = fill(&mut bins);
    let filled = estimated.iter().filter(|e| **e).count();
    if filled > 0 {
        let hours = [(filled as f64 * BIN.as_hours_f64(), 2), (grid.hours(), 0)].map(|(h, digits)| lang.number(h, digits));
        notes.push(lang.say("n_filled", &[&hours[0], &hours[1], &DONOR_DAYS.to_string()]));
    }
    Ok(Series { bins, estimated, source: source.source.clone(), notes })
}

/// Fills what is not there by the rule; says where.
fn fill(bins: &mut [f64]) -> Vec<bool> {
    let known = bins.to_vec();
    let (sum, n) = known.iter().filter(|v| v.is_finite()).fold((0.0, 0_usize), |(s, n), v| (s + v, n + 1));
    let day = (Span::hours(24).0 / BIN.0) as usize;
    let mut estimated = vec![false; bins.len()];
    if n == 0 {
        return estimated;
    }
    for i in 0..bins.len() {
        if known[i].is_finite() {
            continue;
        }
        let days = 1..=DONOR_DAYS as usize;
        let near = days.flat_map(|k| [i.checked_sub(k * day), Some(i + k * day)]).flatten();
        let donors: Vec<f64> = near.filter_map(|j| known.get(j).copied().filter(|v| v.is_finite())).collect();
        bins[i] = if donors.len() >= DONORS_MIN { donors.iter().sum::<f64>() / donors.len() as f64 } else { sum / n as f64 };
        estimated[i] = true;
    }
    estimated
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_day_gets_the_mean_of_its_neighbours() {
        // Nine days; day d has the value d all day; day 4 is missing: (0+1+2+3+5+6+7+8)/8 = 4.
        let mut bins: Vec<f64> = (0..9 * 96).map(|i| (i / 96) as f64).collect();
        bins[4 * 96..5 * 96].fill(f64::NAN);
        let estimated = fill(&mut bins);
        assert!(bins[4 * 96..5 * 96].iter().all(|v| (*v - 4.0).abs() < 1e-12));
        assert_eq!(estimated.iter().filter(|e| **e).count(), 96);
    }
}
