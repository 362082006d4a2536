//! Time series on disk.
