//! The one integration test binary; each room has its file.

mod access;
mod alarms;
mod api;
mod asyncapi;
mod common;
mod control;
mod control_any;
mod dashboards;
mod demo;
mod forecast;
mod formats;
mod greybox;
mod influx;
mod ingest;
mod link;
mod placement;
mod placement_boards;
mod plant;
mod plant_model;
mod quality;
mod report;
mod serve;
mod store;
mod store_size;
mod tidy;
