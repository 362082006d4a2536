//! Measured heat per group, on a regular step: what `demo --load` takes instead of simulated jobs.

use super::table::{SignalError, Table};
use crate::time::Span;
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
