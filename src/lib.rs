//! Tramuntana: telemetry of an AI supercomputing centre in, cooling setpoints and placement hints out.
//!
//! One package, six floors. A module names only lower floors, never a sibling; `tests/it/tidy.rs` keeps it.
//!
//! ```text
//! 5  app                                config, CLI, tasks, wiring, shutdown; the only real clock, and where tasks are spawned
//! 4  sim  api  report  scheduler        closed loop | HTTP, SSE, OpenAPI | charts | scheduler artefacts
//! 3  control                            view -> mode -> plan -> check -> explain; no I/O, no clock, no polars
//! 2  plant  forecast  ingest  store     twin and identified model | load models | MQTT bytes -> readings | time series
//!    influx                             line protocol, Flux, the mirror's queue
//! 1  site  reading  signal  cell        catalogue and site file | Reading, Quality | weather, load, jobs | Parquet cells
//! 0  units  time  event  id             quantities | Timestamp, Span | one named event = one counter | identities
//! ```
//!
//! Invariants that hold everywhere: below `app` nothing reads a clock, makes a seed or spawns a task; no request
//! leaves without `control::check`; what was acknowledged is on disk; what was refused is counted; what was estimated
//! is marked; the same seed gives the same bytes.

pub mod event;
pub mod id;
pub mod time;
pub mod units;

pub mod cell;
pub mod reading;
pub mod signal;
pub mod site;

pub mod forecast;
pub mod influx;
pub mod ingest;
pub mod plant;
pub mod store;

pub mod control;

pub mod api;
pub mod report;
pub mod scheduler;
pub mod sim;

pub mod app;
