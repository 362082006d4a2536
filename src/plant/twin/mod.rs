//! The twin: a simulated plant with dynamics, leakage, noise, drift and dropout.
//!
//! Words: a *rack* turns GPU work into heat; a *CDU* moves liquid heat from the technology cooling system (TCS) to the
//! facility water (FWS); a *heat rejection* is a dry cooler or a tower with a trim chiller behind it; the *cold loop*
//! carries what leaves the racks as warm air, through rear doors. *Truth* is the plant's real state; what sensors say of
//! it is [`sense`].
//! Equations: `../shared/contracts/PLANT.md`. Source of every parameter: the site's `twin.toml`.
//! Invariants: one step allocates nothing; the same seed and inputs give the same bytes; in steady state heat in equals
//! heat out to 0.1 %. Absent: any knowledge of setpoint policy, of MQTT, of wall-clock time.

mod physics;
mod points;
mod sense;
mod spec;
mod step;

pub use points::{SimPoint, SimPointKind, Source};
pub use sense::{Beside, Sensed, Sensors};
pub use spec::{ActuatorSpec, CduSpec, ColdSpec, LimitSpec, RackGroup, RejectionKind, RejectionSpec, TwinSpec, TwinSpecError};
pub use step::{Outage, Truth, Twin};

/// Index of each actuator in the twin's setpoint vector.
pub const TCS_SUPPLY: usize = 0;
/// TCS flow, % of design.
pub const TCS_FLOW: usize = 1;
/// Facility water supply, °C.
pub const FWS_SUPPLY: usize = 2;
/// Cold-loop supply, °C.
pub const COLD_SUPPLY: usize = 3;
