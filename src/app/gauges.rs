//! The gauges of `/metrics`: what the service is at, and what the plant is at, by site, loop, setpoint and limit.
//!
//! Invariants: names end with their unit where they have one (Prometheus naming); an unknown value is left out, never 0;
//! the number of series follows the site file, not the points: history by point is in the store.

use super::influx::Mirror;
use super::site_task::SiteShared;
use crate::api::model::{Gauge, Severity, SiteStatus};
use crate::store::StoreStats;
use std::sync::atomic::{AtomicU64, Ordering};

/// Collects gauges.
#[derive(Default)]
pub(super) struct Gauges {
    out: Vec<Gauge>,
}

type Labels = Vec<(&'static str, String)>;

impl Gauges {
    fn add(&mut self, name: &'static str, help: &'static str, labels: Labels, value: f64) {
        if value.is_finite() {
            self.out.push(Gauge { name, help, labels, value });
        }
    }

    pub fn done(self) -> Vec<Gauge> {
        self.out
    }

    /// Link, queues, mode and alarms of a site.
    pub fn service(&mut self, s: &SiteShared) {
        let site = || vec![("site", s.id().to_owned())];
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed) as f64;
        let up = s.book().up();
        self.add("tramuntana_link_up", "1 while the site's broker is connected.", site(), f64::from(u8::from(s.broker_up())));
        let in_charge = s.charge.writer().is_some();
        self.add(
            "tramuntana_in_charge",
            "1 where this service writes to the plant, 0 where it stands by.",
            site(),
            f64::from(u8::from(in_charge)),
        );
        self.add("tramuntana_deliveries_waiting", "Batches that wait for the site's task, at most 2.", site(), load(&s.queued));
        self.add("tramuntana_delivery_messages", "Messages of the batch taken last, at most 4096.", site(), load(&s.batch));
        let waiting = s.publisher.waiting_bytes() as f64;
        self.add("tramuntana_outbox_bytes", "Bytes that wait for the broker to read, at most 4 MiB.", site(), waiting);
        let refusing = f64::from(u8::from(!s.trouble().is_empty()));
        self.add("tramuntana_store_refusing", "1 while the store takes nothing.", site(), refusing);
        for (severity, name) in [(Severity::Notice, "notice"), (Severity::Warning, "warning"), (Severity::Critical, "critical")] {
            let labels = [site(), vec![("severity", name.to_owned())]].concat();
            let n = up.iter().filter(|a| a.severity == severity).count() as f64;
            self.add("tramuntana_alarms_up", "Alarms that are up.", labels, n);
        }
        let core = s.core();
        self.add("tramuntana_points", "Points known from metadata.", site(), core.ingest.catalogue().len() as f64);
        self.add("tramuntana_early_values", "Values that wait for their metadata.", site(), core.ingest.waiting() as f64);
        if let Some(c) = core.ingest.clock() {
            self.add("tramuntana_site_clock_seconds", "The site's clock, seconds since the epoch.", site(), c.0 as f64 / 1e3);
        }
        let labels = [site(), vec![("mode", core.brain.controller.mode().name().to_owned())]].concat();
        self.add("tramuntana_mode", "1 for the mode that the site is in.", labels, 1.0);
    }

    /// Powers, energy per GPU-hour, loops, setpoints, limits and forecasts of a site.
    pub fn plant(&mut self, s: &SiteShared, status: &SiteStatus) {
        let site = || vec![("site", s.id().to_owned())];
        let with = |key: &'static str, value: &str| [site(), vec![(key, value.to_owned())]].concat();
        for (part, kw) in [("it", status.it_kw), ("cooling", status.cooling_kw), ("loss", status.loss_kw)] {
            self.add("tramuntana_power_kilowatts", "Power by side of the account.", with("part", part), kw.unwrap_or(f64::NAN));
        }
        let of = |v: Option<f64>| v.unwrap_or(f64::NAN);
        self.add("tramuntana_gpus_allocated", "GPUs that jobs have.", site(), of(status.gpus_allocated));
        let help = "Energy per allocated GPU-hour, kWh.";
        self.add("tramuntana_kwh_per_gpu_hour", help, with("over", "now"), of(status.kwh_per_gpu_hour_now));
        self.add("tramuntana_kwh_per_gpu_hour", help, with("over", "today"), of(status.kwh_per_gpu_hour_today));
        self.add("tramuntana_pue", "Power usage effectiveness now.", site(), of(status.pue_now));
        let core = s.core();
        let Some(row) = &core.brain.journal.last else { return };
        let weather = [("dry bulb", row.dry_bulb_c), ("wet bulb", row.wet_bulb_c), ("dew point", row.dew_point_c)];
        for (name, c) in weather {
            self.add("tramuntana_outdoor_celsius", "Outdoor air.", with("what", name), c);
        }
        for (l, [supply, back, load]) in s.site.loops.iter().zip(&row.loops) {
            let loop_ = |side: &str| [with("loop", &l.id), vec![("side", side.to_owned())]].concat();
            self.add("tramuntana_loop_celsius", "Temperature of a loop.", loop_("supply"), *supply);
            self.add("tramuntana_loop_celsius", "Temperature of a loop.", loop_("return"), *back);
            self.add("tramuntana_loop_load_kilowatts", "Heat load of a loop.", with("loop", &l.id), *load);
        }
        for (a, values) in s.site.actuators.iter().zip(&row.actuators) {
            for (state, v) in ["asked", "in force", "measured"].into_iter().zip(values) {
                let labels = [with("actuator", &a.id), vec![("state", state.to_owned())]].concat();
                self.add("tramuntana_setpoint", "Setpoints in their own unit.", labels, *v);
            }
        }
        for (l, [value, max, min]) in s.site.limits.iter().zip(&row.limits) {
            let margin = (max - value).min(value - min);
            self.add("tramuntana_limit_margin", "Distance to a limit in its own unit; below 0 it is broken.", with("limit", &l.id), margin);
        }
        for f in &core.brain.forecasts {
            for p in &f.points {
                for (q, v) in [("0.1", p.p10), ("0.5", p.p50), ("0.9", p.p90)] {
                    let ahead = format!("{}", p.ahead.as_secs_f64());
                    let labels = [with("load", &f.target), vec![("ahead_s", ahead), ("quantile", q.to_owned())]].concat();
                    self.add("tramuntana_load_forecast_kilowatts", "Newest load forecast.", labels, v);
                }
            }
        }
    }

    /// The InfluxDB 2 mirror.
    pub fn mirror(&mut self, m: &Mirror) {
        let state = m.state();
        let up = f64::from(u8::from(state.state == "up"));
        self.add("tramuntana_influx_up", "1 while InfluxDB 2 takes readings.", Vec::new(), up);
        self.add("tramuntana_influx_waiting_bytes", "Bytes that wait for InfluxDB 2 on disk.", Vec::new(), m.waiting_bytes() as f64);
        for (site, at) in &state.newest {
            let help = "Newest site time that InfluxDB 2 has, seconds since the epoch.";
            self.add("tramuntana_influx_newest_seconds", help, vec![("site", site.clone())], at.0 as f64 / 1e3);
        }
    }

    /// The embedded store.
    pub fn store(&mut self, stats: &StoreStats) {
        let none = Vec::new;
        self.add("tramuntana_store_hot_bytes", "Bytes of hot rows, records and log on disk.", none(), stats.hot_bytes as f64);
        let help = "Readings in memory until their next flush, at most 1,048,576 and a batch.";
        self.add("tramuntana_store_head_rows", help, none(), stats.head_rows as f64);
        self.add("tramuntana_store_free_bytes", "Bytes that the store's file system has left.", none(), stats.free_bytes as f64);
        self.add("tramuntana_store_sealed_bytes", "Bytes of sealed days on disk.", none(), stats.sealed_bytes as f64);
    }
}
