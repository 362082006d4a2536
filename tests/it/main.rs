//! The one integration test binary; each room has its file.

mod api;
mod control;
mod demo;
mod forecast;
mod greybox;
mod ingest;
mod plant;
mod plant_model;
mod report;
mod serve;
mod store;
mod tidy;
