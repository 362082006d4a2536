//! The intake without its link: the files of `src/` that turn bytes into readings, by path.

#[path = "../../../src/event.rs"]
pub mod event;
#[path = "../../../src/id.rs"]
pub mod id;
pub mod ingest;
#[path = "../../../src/reading.rs"]
pub mod reading;
#[path = "../../../src/site/mod.rs"]
pub mod site;
#[path = "../../../src/time.rs"]
pub mod time;
#[path = "../../../src/units.rs"]
pub mod units;
