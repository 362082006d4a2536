//! Load forecasts: polars features, linfa models, bands, fall-back.
//!
//! Words: a *target* is one load to forecast (the heat of a loop, kW); a *horizon* is how far ahead; *persistence* says
//! that the load stays as it is; *yesterday* says that it will be what it was at the same time of the day before; the
//! *linear* model says by how much it will change from now. The model *in force* for a target and horizon is the one
//! that did best on a block of the training part held out for that choice; the linear one must earn its place.
//!
//! Invariants: a forecast uses nothing later than `now`; the same data and seed give the same bytes; a forecast made
//! without fit inputs says so in `fallback`; `p10 <= p50 <= p90`. No clock, no I/O but [`Forecaster::save`] and
//! [`Forecaster::load`]. Absent by design: the plant, the store, the bus.

mod backtest;
mod bands;
mod card;
mod features;
mod forecaster;
mod linear;
mod series;
mod train;

pub use backtest::{Row, backtest};
pub use bands::{ADAPT_STEP, pinball};
pub use features::{FeatureRow, HORIZONS_MIN, Spec, Table};
pub use forecaster::{Ahead, Forecast, Forecaster};
pub use series::{Series, WeatherSeries, Window, resample};
pub use train::train;

use std::path::PathBuf;

/// Why a forecaster could not be trained, saved or loaded.
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
    #[error("step {0}: expected more than 0 and a divisor of at least one horizon (5, 15, 30 min, 1, 2, 4, 6 h)")]
    Step(crate::time::Span),
    #[error("features of {target:?}: {why}")]
    Features { target: String, why: String },
    #[error("{path}: {why}", path = path.display())]
    File { path: PathBuf, why: String },
    #[error("{path}: {what} is {found}, expected {expected}; train it again or give the model that belongs to this site", path = path.display())]
    Mismatch { path: PathBuf, what: &'static str, found: String, expected: String },
}
