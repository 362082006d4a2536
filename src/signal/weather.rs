//! Outdoor air.

use serde::{Deserialize, Serialize};

/// The state of outdoor air.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weather {
    pub dry_bulb_c: f64,
    pub wet_bulb_c: f64,
    pub dew_point_c: f64,
}
