//! The closed loop without the bus: a plant, its building management system and its scheduler in simulated time.
//!
//! Words: a *hall* ([`hall::Hall`]) is a simulated site; an *arm* is one way to run it (the operators' fixed setpoints,
//! recommendations, perfect foresight); a *fleet* is several halls
//! under one scheduler. Invariant: limits are judged on the plant's true values, never on sensors.

pub mod arms;
pub mod excite;
pub mod fault;
pub mod fleet;
pub mod hall;
pub mod optimum;
pub mod telemetry;
pub mod trim;
