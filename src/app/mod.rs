//! Floor 5: configuration, commands, tasks, wiring, shutdown.
//!
//! Words: a *command* is one subcommand of the binary; the *service* is what `serve` runs and what `demo` confronts with
//! simulated plants; the *embedded broker* and the *simulated BMS* exist for the demo and for tests only.
//! Invariants: the only clock, seeds and spawned tasks of the program are here; every task ends on shutdown; an error
//! that reaches the user names the thing and the way out.

pub mod access;
mod alarms;
pub mod audit;
pub mod backend;
pub mod backtest;
mod backup;
pub mod bms;
pub mod brain;
pub mod broker;
pub mod campaign;
mod certificate;
pub mod check;
pub mod cli;
pub mod cli_schedulers;
pub mod closed;
pub mod config;
pub mod demo;
pub mod door;
pub mod evaluate;
mod gauges;
mod hatch;
pub mod history;
pub mod identify;
pub mod influx;
pub mod journal;
mod kept_orders;
pub mod kubernetes;
pub mod learner;
mod lease;
pub mod log;
pub mod model_cli;
pub mod placement;
mod reload;
pub mod replay;
pub mod report_cli;
mod reports;
pub mod retrain;
pub mod savings_cli;
mod savings_sim;
pub mod service;
mod service_client;
pub mod simulate;
pub mod site_task;
pub mod slurm;
mod store_cli;
pub mod study;
pub mod train;
pub mod versus;
mod views;
pub mod wire_client;

pub use cli::main;
