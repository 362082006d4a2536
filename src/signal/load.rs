//! Measured heat per group, on a regular step: what `demo --load` takes instead of simulated jobs.

use super::table::{SignalError, Table};
use crate::time::Span;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::path::Path;

/// Heat of several groups, kW, from the start of the recording.
#[derive(Clone, Debug)]
pub struct LoadSeries {
    step: Span,
    groups: Vec<String>,
    /// Row-major: one row a step, one column a group.
    kw: Vec<f64>,
}

impl LoadSeries {
    /// Reads `t_s` and the columns whose names end in `_w` or `_kw`. Columns that are not power (`…_c`, `…_pct`) are
    /// left out; any other ending is refused by name, so that no group's heat is lost without a word.
    pub fn load(path: &Path) -> Result<LoadSeries, SignalError> {
        let table = Table::load(path)?;
        let expected = "a load file has t_s (seconds from the start) and one column of heat per group, <name>_w or <name>_kw";
        let time = table.column("t_s", expected)?;
        let mut columns: Vec<(usize, f64)> = Vec::new();
        for (i, name) in table.header.iter().enumerate() {
            let unit = name.rsplit('_').next().unwrap_or("");
            match unit {
                "w" => columns.push((i, 1e-3)),
                "kw" => columns.push((i, 1.0)),
                "s" | "c" | "k" | "pct" | "rh" | "lpm" | "kpa" => {}
                _ => {
                    let why = format!("the unit {unit:?} is not accepted; give heat in W (<name>_w) or kW (<name>_kw), or cut the column");
                    return Err(SignalError::Cell { path: path.into(), line: 1, column: name.clone(), why });
                }
            }
        }
        if columns.is_empty() {
            return Err(SignalError::NoColumn {
                path: path.into(),
                missing: "<name>_w".into(),
                have: table.header.join(", "),
                expected: expected.into(),
            });
        }
        if table.len() < 2 {
            return Err(SignalError::Shape { path: path.into(), why: "needs at least two rows".into() });
        }
        let step_s = table.number(1, time)? - table.number(0, time)?;
        if !(step_s > 0.0) {
            return Err(table.cell(1, time, format!("the step is {step_s} s; t_s must grow")));
        }
        let mut kw = Vec::with_capacity(table.len() * columns.len());
        for row in 0..table.len() {
            let (t, due) = (table.number(row, time)?, table.number(0, time)? + row as f64 * step_s);
            if (t - due).abs() > step_s * 0.01 {
                let why = format!(
                    "is {t} s where {due} s is due at a step of {step_s} s: a gap or a repeated row; fill it or cut the file before it"
                );
                return Err(table.cell(row, time, why));
            }
            for &(column, scale) in &columns {
                let value = table.number(row, column)?;
                if value < 0.0 {
                    return Err(table.cell(row, column, format!("{value} is negative; heat is 0 or above")));
                }
                kw.push(value * scale);
            }
        }
        let groups = columns.iter().map(|(i, _)| table.header[*i].clone()).collect();
        Ok(LoadSeries { step: Span((step_s * 1e3).round() as i64), groups, kw })
    }

    /// Heat that swings as a training machine's does: all groups follow one level that is drawn anew after ten minutes to
    /// five hours and is reached within seconds or over some minutes; each group leaves it for a while on its own. Levels
    /// are shares of a group's range (0–1), stated as kW. The same seed gives the same series.
    pub fn swings(seed: u64, span: Span, groups: usize) -> LoadSeries {
        let (step, groups) = (Span::seconds(30), groups.max(1));
        let mut rng = ChaCha8Rng::seed_from_u64(seed ^ 0x7377_696e_6773);
        let rows = (span.0 / step.0).max(1) as usize + 1;
        let mut draw = move |from: f64, to: f64| rng.random_range(from..to);
        // (level now, level to reach, change a step, steps until the next draw)
        let mut common = (0.5, 0.5, 0.1, 0.0);
        let mut own: Vec<(f64, f64)> = vec![(0.0, 0.0); groups];
        let mut kw = Vec::with_capacity(rows * groups);
        // The first two rows span the whole range, so that a level means the same share in every series.
        for edge in [0.0, 1.0] {
            kw.extend(std::iter::repeat_n(edge, groups));
        }
        for _ in 2..rows.max(3) {
            if common.3 <= 0.0 {
                common.1 = if draw(0.0, 1.0) < 0.5 { draw(0.0, 0.25) + 0.75 * f64::round(draw(0.0, 1.0)) } else { draw(0.0, 1.0) };
                common.2 = draw(0.03, 0.6);
                common.3 = draw(10.0, 300.0) * 60.0 / step.as_secs_f64();
            }
            common.3 -= 1.0;
            common.0 += f64::clamp(common.1 - common.0, -common.2, common.2);
            for (shift, left) in &mut own {
                if *left <= 0.0 {
                    *shift = if draw(0.0, 1.0) < 0.3 { draw(-0.5, 0.5) } else { draw(-0.05, 0.05) };
                    *left = draw(10.0, 240.0) * 60.0 / step.as_secs_f64();
                }
                *left -= 1.0;
                kw.push((common.0 + *shift + draw(-0.02, 0.02)).clamp(0.0, 1.0));
            }
        }
        LoadSeries { step, groups: (0..groups).map(|g| format!("swing{g}")).collect(), kw }
    }

    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Length of the recording.
    pub fn span(&self) -> Span {
        Span(self.step.0 * (self.kw.len() / self.groups.len()) as i64)
    }

    /// Heat per group, kW, at a time since the start; the last row after the end.
    pub fn at(&self, since_start: Span) -> &[f64] {
        let n = self.groups.len();
        let rows = self.kw.len() / n;
        let row = (since_start.0.max(0) / self.step.0.max(1)).min(rows as i64 - 1) as usize;
        &self.kw[row * n..(row + 1) * n]
    }

    /// Lowest and highest value of each group, kW: (lowest, highest).
    pub fn ranges_kw(&self) -> Vec<(f64, f64)> {
        let n = self.groups.len();
        let mut ranges = vec![(f64::INFINITY, 0.0_f64); n];
        for row in self.kw.chunks_exact(n) {
            for (r, v) in ranges.iter_mut().zip(row) {
                *r = (r.0.min(*v), r.1.max(*v));
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<LoadSeries, String> {
        let path =
            std::env::temp_dir().join(format!("tramuntana-load-{}-{}.csv", std::process::id(), blake3::hash(text.as_bytes()).to_hex()));
        std::fs::write(&path, text).unwrap();
        let result = LoadSeries::load(&path).map_err(|e| e.to_string());
        std::fs::remove_file(&path).unwrap();
        result
    }

    #[test]
    fn a_good_file_reads_in_kw() {
        let series = load("t_s,a_w,b_kw,wetbulb_c\n0,1000,2,9\n15,2000,3,9\n").unwrap();
        assert_eq!((series.groups(), series.span()), (2, Span::seconds(30)));
        assert_eq!(series.at(Span::seconds(20)), &[2.0, 3.0]);
        assert_eq!(series.ranges_kw(), [(1.0, 2.0), (2.0, 3.0)]);
    }

    #[test]
    fn faults_name_line_and_column() {
        for (text, parts) in [
            ("time,a_w\n0,1\n15,2\n", ["t_s", "time, a_w"]),
            ("t_s,a_mw\n0,1\n15,2\n", ["line 1, column \"a_mw\"", "not accepted"]),
            ("t_s,a_w,b_tons\n0,1,1\n15,2,1\n", ["line 1, column \"b_tons\"", "not accepted"]),
            ("t_s,a_w\n0,1\n\n15,x\n", ["line 4, column \"a_w\"", "not a number"]),
            ("t_s,a_w\n0,1\n15,x\n", ["line 3, column \"a_w\"", "\"x\" is not a number"]),
            ("t_s,a_w\n0,1\n15,\n", ["line 3, column \"a_w\"", "is empty"]),
            ("t_s,a_w\n0,1\n15,2\n45,3\n", ["line 4, column \"t_s\"", "gap"]),
            ("t_s,a_w\n0,1\n15,-2\n", ["line 3", "negative"]),
            ("t_s,wetbulb_c\n0,1\n15,-2\n", ["<name>_w", "wetbulb_c"]),
        ] {
            let why = load(text).unwrap_err();
            assert!(parts.iter().all(|p| why.contains(p)), "{why}");
        }
    }
}
