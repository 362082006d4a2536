//! Control of one site: view -> mode -> plan -> check -> explain.
//!
//! Words: a *view* is everything a tick may know; a *plan* is a set of target setpoints with its expected energy; the
//! *checker* is a second author that judges requests without the plan's code or the model; a *recommendation* is the
//! immutable record of it all; a *board* says where jobs may go.
//! Invariants: no request leaves without [`check::check`]; a limit is never a weight in an objective; missing or bad
//! data is a state, never an error; the same view and history give the same plan.
//! Absent by design: I/O, clocks, randomness (a search's own has a fixed seed), and any word about a particular plant.

pub mod check;
pub mod controller;
pub mod desk;
pub mod explain;
pub mod learn;
pub mod ledger;
pub mod mode;
pub mod objective;
pub mod place;
pub mod plan;
pub mod recommendation;
pub mod view;

pub use controller::Handed;
pub use controller::{Controller, Request, Tick};
pub use ledger::Entry;
pub use mode::{Mode, ModeEvent, Operation, Order, Why};
pub use place::{Board, Outlook, RackView};
pub use recommendation::Recommendation;
pub use view::{Aged, Bindings, Link, LoadForecast, View, ViewBuilder};
