//! Identities that several floors share.

use serde::{Deserialize, Serialize};

/// Index of a point in its site's catalogue. Stable within a data directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PointId(pub u32);
