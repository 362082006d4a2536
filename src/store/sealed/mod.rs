//! Sealed days: Parquet files of one site and UTC day, sorted by point and time, that anybody's tools read.
//!
//! Layout under `sealed/<site>/`: `raw/<day>.parquet` (every row), `5m/<day>.parquet` and `1h/<day>.parquet` (steps),
//! `1m/<day>.parquet` (made when the raw rows' time is over), `points.csv` (number, path, unit, meaning of each point).
//! Columns: see [`table`]. Invariants: a file appears whole or not at all (written aside, synced, renamed); a day's steps
//! hold what its raw file holds, or nothing newer.

mod group;
mod table;

pub use group::{Cursor, Writing};
pub use table::TableReader;

use super::StoreError;
use crate::time::{Span, Timestamp};
use std::path::{Path, PathBuf};

/// How finely a file's rows lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tier {
    Raw,
    Minute,
    FiveMinutes,
    Hour,
}

impl Tier {
    pub const ALL: [Tier; 4] = [Tier::Raw, Tier::Minute, Tier::FiveMinutes, Tier::Hour];

    /// The folder's name.
    pub fn name(self) -> &'static str {
        match self {
            Tier::Raw => "raw",
            Tier::Minute => "1m",
            Tier::FiveMinutes => "5m",
            Tier::Hour => "1h",
        }
    }

    /// Length of a step; zero for raw rows.
    pub fn step(self) -> Span {
        match self {
            Tier::Raw => Span::ZERO,
            Tier::Minute => Span::minutes(1),
            Tier::FiveMinutes => Span::minutes(5),
            Tier::Hour => Span::hours(1),
        }
    }

    /// Can steps of `step` be made of this tier's?
    pub fn serves(self, step: Span) -> bool {
        self == Tier::Raw || step.0 % self.step().0 == 0
    }
}

/// The folder of sealed files.
pub struct Sealed {
    dir: PathBuf,
}

impl Sealed {
    pub fn new(data_dir: &Path) -> Sealed {
        Sealed { dir: data_dir.join("sealed") }
    }

    pub fn site(&self, site: &str) -> PathBuf {
        self.dir.join(site)
    }

    pub fn path(&self, site: &str, tier: Tier, day: &str) -> PathBuf {
        self.dir.join(site).join(tier.name()).join(format!("{day}.parquet"))
    }

    pub fn has(&self, site: &str, tier: Tier, day: &str) -> bool {
        self.path(site, tier, day).is_file()
    }

    /// Days of a site that have a file of a tier, in order.
    pub fn days(&self, site: &str, tier: Tier) -> Result<Vec<String>, StoreError> {
        let entries = match std::fs::read_dir(self.dir.join(site).join(tier.name())) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(vec![]),
            Err(e) => return Err(StoreError::io(&self.dir, &e)),
        };
        let name = |e: std::fs::DirEntry| e.file_name().to_str()?.strip_suffix(".parquet").map(str::to_owned);
        let mut days: Vec<String> = entries.flatten().filter_map(name).filter(|d| Timestamp::parse(d).is_some()).collect();
        days.sort();
        Ok(days)
    }

    /// Days of a site that have a file of any tier, in order.
    pub fn all_days(&self, site: &str) -> Result<Vec<String>, StoreError> {
        let mut days = Vec::new();
        for tier in Tier::ALL {
            days.extend(self.days(site, tier)?);
        }
        days.sort();
        days.dedup();
        Ok(days)
    }

    /// Bytes of all sealed files, and the number of raw days.
    pub fn size(&self) -> (u64, u64) {
        let list = |dir: &Path| std::fs::read_dir(dir).into_iter().flatten().flatten().map(|e| e.path()).collect::<Vec<_>>();
        let (mut bytes, mut days) = (0, 0);
        for tier in list(&self.dir).iter().flat_map(|site| list(site)) {
            for file in list(&tier).iter().filter(|f| f.extension().is_some_and(|x| x == "parquet")) {
                bytes += file.metadata().map_or(0, |m| m.len());
                days += u64::from(tier.ends_with(Tier::Raw.name()));
            }
        }
        (bytes, days)
    }

    pub fn remove(&self, site: &str, tier: Tier, day: &str) -> Result<bool, StoreError> {
        match std::fs::remove_file(self.path(site, tier, day)) {
            Ok(()) => Ok(true),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(StoreError::io(&self.dir, &e)),
        }
    }
}
