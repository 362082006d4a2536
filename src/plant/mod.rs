//! The plant: a physics twin to test against, and the identified model to plan on.
//!
//! Words: the *twin* ([`twin`]) is a simulated plant with dynamics, noise and faults; the *identified model*
//! ([`identified`]) is what telemetry alone tells of a plant. The controller sees only [`predict::Predict`].
//! Invariant: `control` never plans on the twin.

pub mod greybox;
pub mod identified;
pub mod predict;
pub mod rows;
pub mod twin;
