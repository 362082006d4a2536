//! Charts and tables of a run, and reports of a period: the account of a site's meters, packs of figures that are filed, energy
//! per GPU-hour, savings.
//!
//! Words: an *arm* of a demo is the run with the operators' fixed setpoints (*baseline*), with recommendations, or with
//! perfect foresight (*optimum*); a *trace* is a series of (instant, value) as it is drawn.
//! Invariants: totals are sums over sums, never means of ratios; every axis carries its unit and times are in the site's
//! zone; a figure that cannot be computed is absent, not 0.
//! Absent by design: no simulation, no HTTP, no clock.

pub mod account;
mod book;
mod charts;
mod draw;
pub mod facts;
pub mod figure;
pub mod forecast_plots;
mod frame;
pub mod gpu;
mod jobs;
mod lang;
pub mod model;
pub mod pack;
mod page;
mod pdf;
mod register;
pub mod result;
mod run;
pub mod savings;
mod series;
pub mod table;
pub mod write;

pub use book::{Book, MeterBook, PartitionBook};
pub use lang::Lang;
pub use page::run_page;
pub use register::{MeterRole, RegisterError, ReportFile};
pub use result::{Account, DemoResult, Interval, Margin, SeedRow, SiteResult, Traffic};
pub use run::{Band, LimitLine, LoadTrace, RunReport, SetpointTrace, Trace};

use std::path::PathBuf;

/// Why a page could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    #[error("{path}: cannot be written: {why}; give a folder that this user may write to", path = path.display())]
    Write { path: PathBuf, why: std::io::Error },
    #[error("site {site:?}: {why}")]
    Draw { site: String, why: String },
    #[error("site {site:?}: no trace has two instants, so there is nothing to draw; was the run cut off?")]
    Empty { site: String },
}
