//! Outside signals: weather, measured load, jobs.

pub mod weather;
