//! The one integration test binary; each room has its file.

mod api;
mod control;
mod demo;
mod forecast;
mod influx;
mod ingest;
mod plant;
mod plant_model;
mod quality;
mod report;
mod serve;
mod store;
mod tidy;
