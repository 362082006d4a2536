//! The one integration test binary; each room has its file.

mod api;
mod asyncapi;
mod common;
mod control;
mod demo;
mod forecast;
mod formats;
mod greybox;
mod influx;
mod ingest;
mod link;
mod plant;
mod plant_model;
mod quality;
mod report;
mod report_year;
mod serve;
mod store;
mod store_size;
mod tidy;
