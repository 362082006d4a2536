//! One point as its metadata describes it.

use crate::id::PointId;
use crate::units::{Kind, Unit};
use serde::{Deserialize, Serialize};

/// The text of one enumerated state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateText {
    pub value: i64,
    pub text: String,
}

/// A point: identity, meaning, place in the topology. Field names follow the DSX metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub id: PointId,
    /// `{objectType}/{pointType}/{tagPath…}`: identity only, never parsed for meaning.
    pub path: String,
    pub object_type: String,
    pub point_type: String,
    pub kind: Kind,
    /// The unit as published; empty for states and heartbeats.
    pub eng_unit: String,
    pub state_text: Vec<StateText>,
    pub object_name: String,
    /// `objectId`, or `rackLocationId` for racks, or `associateId` where the point belongs to another object.
    pub object_id: String,
    /// True where `object_id` came as `associateId`.
    pub associated: bool,
    pub serves_id: Vec<String>,
    pub process_area: Vec<String>,
    pub is_setpoint: bool,
    /// The integration that must publish this point's value; empty for the BMS's own.
    pub integration: String,
    pub scope: String,
    pub phase: String,
}

impl Point {
    /// How published values become canonical ones. An unknown engineering unit is taken as sent (`Kind::Opaque`).
    pub fn unit(&self) -> Unit {
        match self.kind {
            Kind::State | Kind::Instant | Kind::Opaque => Unit::plain(self.kind),
            _ => Unit::parse(&self.eng_unit).unwrap_or(Unit::plain(self.kind)),
        }
    }
}
