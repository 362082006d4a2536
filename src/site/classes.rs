//! Point classes: what a sensible value of a kind of point is (`sensors/<site>/points/*.toml`, format 1).
//!
//! Words: a *class* binds a selector to limits of plausibility: range, largest change, longest stillness, spikes. The first class
//! (files in the order of their names, classes in the order of the file) that means a point is the point's class.
//! Invariants: limits are in the canonical unit, and a class applies only to points whose canonical unit is `unit`;
//! limits mark values, they never drop them; a false mark is worse than none, so they are generous.

use super::{Point, Selector};
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// The version of the format that this program reads.
const FORMAT: u32 = 1;

/// A refused points file: where, what was expected, how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum ClassesError {
    #[error("{path}: cannot be read: {why}; give the process read access to it, or remove it", path = path.display())]
    Unreadable { path: PathBuf, why: std::io::Error },
    #[error("{path}, line {line}: {why}", path = path.display())]
    Refused { path: PathBuf, line: usize, why: String },
}

/// One class of points.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Class {
    pub name: String,
    pub select: Selector,
    /// Canonical unit of the limits (`°C`, `kW`, `L/min`, …; see `units::Kind::unit`).
    pub unit: String,
    /// One sentence of truth about what the value is.
    pub about: String,
    /// Lowest and highest plausible value.
    #[serde(default)]
    pub range: Option<[f64; 2]>,
    /// Largest plausible change within one minute.
    #[serde(default)]
    pub max_rate_per_min: Option<f64>,
    /// Longest time that the value can stand still while the sensor lives, s; a machine at rest may stand longer. Where
    /// absent, a point that has been seen to change is judged by its own habit.
    #[serde(default)]
    pub frozen_after_s: Option<u32>,
    /// Largest plausible departure of one value from the median of the last seven. Where absent, a value is a spike when it
    /// departs from them and from all that the point has shown.
    #[serde(default)]
    pub max_departure: Option<f64>,
    /// The value may rest at its highest (a capped power, an end stop): no value is marked as clipped.
    #[serde(default)]
    pub tops_out: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClassFile {
    format: u32,
    #[serde(default, rename = "class")]
    classes: Vec<toml::Spanned<Class>>,
}

/// The classes of one site. Empty = no plausibility limits.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Classes {
    classes: Vec<Class>,
}

const UNITS: [&str; 18] =
    ["°C", "K", "kW", "kVA", "kWh", "A", "V", "Hz", "L/min", "m³/h", "kPa", "%RH", "%", "dB", "m³", "1", "state", "ms"];

impl Classes {
    /// Reads every `*.toml` of a directory, in the order of their names. A directory that does not exist gives no classes.
    pub fn load(dir: &Path) -> Result<Classes, ClassesError> {
        let mut paths: Vec<PathBuf> = match std::fs::read_dir(dir) {
            Ok(entries) => entries.flatten().map(|e| e.path()).filter(|p| p.extension().is_some_and(|x| x == "toml")).collect(),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Classes::default()),
            Err(why) => return Err(ClassesError::Unreadable { path: dir.into(), why }),
        };
        paths.sort();
        let mut all = Classes::default();
        for path in paths {
            let text = std::fs::read_to_string(&path).map_err(|why| ClassesError::Unreadable { path: path.clone(), why })?;
            all.classes.extend(Classes::parse(&path, &text)?.classes);
        }
        Ok(all)
    }

    /// Checks one file's text; `path` is for the errors.
    pub fn parse(path: &Path, text: &str) -> Result<Classes, ClassesError> {
        let line = |at: usize| 1 + text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count();
        let refuse = |at: usize, why: String| ClassesError::Refused { path: path.into(), line: line(at), why };
        let file: ClassFile = toml::from_str(text).map_err(|e| refuse(e.span().map_or(0, |s| s.start), e.message().to_owned()))?;
        if file.format != FORMAT {
            return Err(refuse(0, format!("format = {}: this program reads format {FORMAT}", file.format)));
        }
        let mut classes: Vec<Class> = Vec::with_capacity(file.classes.len());
        for spanned in file.classes {
            let at = spanned.span().start;
            let class = spanned.into_inner();
            if let Some(why) = fault(&class) {
                return Err(refuse(at, format!("class {:?}: {why}", class.name)));
            }
            if classes.iter().any(|c| c.name == class.name) {
                return Err(refuse(at, format!("class {:?}: is there twice; rename one", class.name)));
            }
            classes.push(class);
        }
        Ok(Classes { classes })
    }

    /// The class of a point: the first that means it and shares its canonical unit.
    pub fn of(&self, point: &Point) -> Option<&Class> {
        self.index_of(point).and_then(|i| self.classes.get(i))
    }

    /// Index of [`Classes::of`], for tables kept beside the classes.
    pub fn index_of(&self, point: &Point) -> Option<usize> {
        self.classes.iter().position(|c| c.unit == point.kind.unit() && c.select.matches(point))
    }

    pub fn get(&self, index: usize) -> Option<&Class> {
        self.classes.get(index)
    }
    pub fn iter(&self) -> impl Iterator<Item = &Class> {
        self.classes.iter()
    }
    pub fn len(&self) -> usize {
        self.classes.len()
    }
    pub fn is_empty(&self) -> bool {
        self.classes.is_empty()
    }
}

fn fault(c: &Class) -> Option<String> {
    if c.select.is_empty() {
        return Some("its `select` is empty: it would mean no point".into());
    }
    if !UNITS.contains(&c.unit.as_str()) {
        return Some(format!("unit = {:?} is not a canonical unit; use one of {}", c.unit, UNITS.join(", ")));
    }
    if c.about.trim().is_empty() {
        return Some("`about` must say in one sentence what the value is".into());
    }
    if let Some([lo, hi]) = c.range
        && !(lo.is_finite() && hi.is_finite() && lo < hi)
    {
        return Some("range must be [lo, hi] with lo < hi".into());
    }
    if c.max_rate_per_min.is_some_and(|r| !(r.is_finite() && r > 0.0)) {
        return Some("max_rate_per_min must be above 0".into());
    }
    if c.max_departure.is_some_and(|d| !(d.is_finite() && d > 0.0)) {
        return Some("max_departure must be above 0".into());
    }
    if c.frozen_after_s == Some(0) {
        return Some("frozen_after_s must be above 0".into());
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "format = 1\n\n[[class]]\nname = \"a\"\nselect = { object_type = \"CDU\" }\nunit = \"°C\"\nabout = \"Water.\"\nrange = [0, 90]\nmax_rate_per_min = 30\nfrozen_after_s = 3600\n";

    fn refused(text: &str) -> String {
        Classes::parse(Path::new("p/x.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn errors_name_file_and_line() {
        assert_eq!(Classes::parse(Path::new("x"), GOOD).unwrap().len(), 1);
        assert!(
            refused(&GOOD.replace("°C", "F")).starts_with("p/x.toml, line 3: class \"a\": unit = \"F\""),
            "{}",
            refused(&GOOD.replace("°C", "F"))
        );
        assert!(refused(&GOOD.replace("[0, 90]", "[90, 0]")).contains("lo < hi"));
        assert!(refused(&format!("{GOOD}max_departure = -1\n")).contains("max_departure must be above 0"));
        assert!(refused(&GOOD.replace("range", "rnage")).starts_with("p/x.toml, line"));
        assert!(refused(&GOOD.replace("format = 1", "format = 2")).contains("reads format 1"));
        assert!(refused(&GOOD.replace("{ object_type = \"CDU\" }", "{}")).contains("empty"));
    }
}
