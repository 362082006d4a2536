//! The model that is learnt within hours: few numbers, each with a physical sign.
//!
//! Words: an *axis* is a direction along which cooling gets easier (a warmer setpoint over the wet bulb, a wider gap
//! between two loops, a slower pump); a *ramp* is one stretch of it; power is a sum of ramps with weights that are never
//! negative, so that it can only fall along an axis (monotone regression); the *leak* is the share by which IT power
//! grows per kelvin of the chips.
//! Invariants: nothing of a plant is code, only the names of the site file and the numbers of its telemetry; the same
//! rows give the same bytes; outside the data a meter's power stays flat where that would be cheaper and goes on rising
//! where it would be dearer; a fit says which of its parts the data do not identify.
//! The richer [`super::identified`] needs days of rows; this one speaks after some tens.

mod basis;
mod card;
mod fitting;
mod leak;
mod machines;
mod model;
mod motion;
mod report;
mod solve;

pub use card::{Trial, load, newest, save};
pub use fitting::{FitError, ROWS_MIN, fit};
pub use leak::Leak;
pub use model::GreyBox;
pub use report::{Identified, report};
