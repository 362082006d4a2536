//! The model identified from telemetry.
//!
//! Words: to *identify* is to learn a plant's answer from recorded steps ([`Dataset`]) in which its setpoints were moved;
//! the result ([`IdentifiedModel`]) predicts the power of every meter and the value of every limited role of the site file.
//! Invariants: nothing of a plant is code, only the names in the site file and the numbers in the telemetry; the same
//! data give the same bytes; a model of another plant is refused when read.
//! Absent by design: the physics of the twin. What is shaped by physics here is the form of the features alone.

mod card;
mod compiled;
mod dataset;
mod drift;
mod feature;
mod fitting;
mod leak;
mod model;
mod solve;

pub use card::{Card, Trained, load, save};
pub use compiled::{Compiled, Lazily};
pub use dataset::{Binding, Dataset, ROWS_MAX, Row};
pub use drift::{BIAS_SIGMAS, Drift, Residuals};
pub use feature::{Feature, Layout};
pub use fitting::{IdentifyError, ROWS_MIN, fit};
pub use model::{IdentifiedModel, ItModel, Leak, LimitModel, Linear, MeterModel};
