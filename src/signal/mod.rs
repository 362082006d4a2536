//! Outside signals: weather, measured load, jobs, price and carbon intensity, dated series of any other kind.
//!
//! Words: a *series* is indexed by the site's clock or by the time since a run's start; a *job* asks for GPUs for a while; a
//! *tariff* is what a kWh costs or emits at a time.
//! Invariant: reading a file is total: an error names the file, the line, the column and how to mend it.

pub mod dated;
pub mod jobs;
pub mod load;
pub mod table;
pub mod tariff;
pub mod weather;

pub use table::SignalError;
