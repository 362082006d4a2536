//! The model identified from telemetry.
