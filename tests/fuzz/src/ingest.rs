//! `src/ingest/mod.rs` without `mqtt` and `replay`.

#[path = "../../../src/ingest/decode/mod.rs"]
pub mod decode;
#[path = "../../../src/ingest/gate/mod.rs"]
pub mod gate;
#[path = "../../../src/ingest/points.rs"]
mod points;
#[path = "../../../src/ingest/publish.rs"]
pub mod publish;
#[path = "../../../src/ingest/quarantine.rs"]
mod quarantine;
#[path = "../../../src/ingest/route.rs"]
mod route;
#[path = "rows.rs"]
pub mod rows;
#[path = "../../../src/ingest/site.rs"]
mod site;

pub use quarantine::Refusal;
pub use site::{Packet, SiteIngest, Taken};
