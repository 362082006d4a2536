//! Load forecasts: polars features, ridges and trees, an online blend, bands that keep their promise, fall-back.
//!
//! Words: a *target* is one load to forecast (the heat of a loop, kW); a *horizon* is how far ahead; an *origin* is the
//! instant that a forecast is made at; an *expert* is one way to forecast (naive ones: persistence, yesterday, last week,
//! the mean day; models: three ridges, trees, trees on what the ridges leave over); the *blend* is their weighted mean, with weights that follow what each was
//! worth so far; a *lane* is one target at one horizon with all of that.
//!
//! Invariants: a forecast uses nothing later than its origin; the same data and seed give the same bytes; a forecast made
//! without fit inputs says so in `fallback`; `p05 <= p10 <= p50 <= p90 <= p95`. No clock; no I/O but [`Forecaster::save`],
//! [`Forecaster::load`] and [`read::read`]. Absent by design: the plant, the store, the bus.

mod backtest;
mod bands;
mod blend;
mod calendar;
mod card;
mod champion;
mod features;
mod forecaster;
mod gram;
pub mod hierarchy;
pub mod jobs;
mod lane;
pub mod read;
mod ridge;
mod rows;
mod score;
mod series;
mod spec;
mod split;
mod tail;
mod train;
mod trees;
mod walk;

pub use backtest::{Horizon as HorizonOutcome, Outcome, Setup, backtest};
pub use bands::{Bands, Edges, Mark, TAILS, pinball};
pub use blend::Blend;
pub use calendar::{Calendar, Clock, Local};
pub use champion::{DRIFT, Standing, Verdict, judge, relative};
pub use features::Table;
pub use forecaster::{Ahead, Forecast, Forecaster};
pub use rows::{FILL_INPUT, FILL_LOAD, Known, Plan, fill, own, shared};
pub use score::Row;
pub use series::{Series, WeatherSeries, Window, resample};
pub use spec::Spec;
pub use split::NAME as SPLIT_RIDGE;
pub use tail::{Tail, WITHIN, Within, steepest};
pub use train::{HORIZONS, Training, train};
pub use trees::{Growth, Trees};
pub use walk::{Made, Members, Took};

use std::path::PathBuf;

/// Why a forecaster could not be trained, saved or loaded, or a series not be read.
#[derive(Debug, thiserror::Error)]
pub enum ForecastError {
    #[error("no target given: pass at least one (name, series)")]
    NoTargets,
    #[error("model name {0:?}: expected `<name>/<version>` of letters, digits, `-` and `_`, for example `bsc-hq-load/1`")]
    Name(String),
    #[error("target {target:?}: {rows} rows with a value, needs at least {need}; give a longer series or a shorter step")]
    TooShort { target: String, rows: usize, need: usize },
    #[error("target {target:?}: {what} differs from that of the first target; resample all to one grid")]
    Grid { target: String, what: &'static str },
    #[error("step {step} and horizons {horizons}: each horizon must be a whole number of steps, more than none")]
    Step { step: crate::time::Span, horizons: String },
    #[error("calendar, {what:?}: {why}; give an IANA zone such as Europe/Madrid, and dates as YYYY-MM-DD")]
    Calendar { what: String, why: String },
    #[error("hierarchy: {0}")]
    Hierarchy(String),
    #[error("{0}")]
    Split(String),
    #[error("features of {target:?}: {why}")]
    Features { target: String, why: String },
    #[error("{path}: {why}", path = path.display())]
    File { path: PathBuf, why: String },
    #[error("{path}: {what} is {found}, expected {expected}; train it again or give the model that belongs to this site", path = path.display())]
    Mismatch { path: PathBuf, what: &'static str, found: String, expected: String },
}
