//! Integration tests of the simulated plants that the repository ships.

use std::path::Path;
use std::sync::Arc;
use tramuntana::plant::twin::TwinSpec;
use tramuntana::signal::jobs::{JobStream, Offer};
use tramuntana::signal::weather::WeatherSeries;
use tramuntana::sim::hall::{Hall, Placement, Scenario, Work};
use tramuntana::time::{Span, Timestamp};

fn hall(site: &str, seed: u64, hours: i64, offset_k: f64) -> Hall {
    let spec = Arc::new(TwinSpec::load(&Path::new("sensors").join(site).join("twin.toml")).expect("shipped twin"));
    let start = Timestamp::parse("2026-07-14").expect("a date");
    let span = Span::hours(hours);
    let jobs = JobStream::generate(seed, start, span, Offer { class: spec.job_class, gpus: spec.gpus() });
    let weather = Arc::new(WeatherSeries::synthetic(seed, start, span, offset_k));
    Hall::new(spec, Scenario { seed, start, span, weather, work: Work::Jobs(Arc::new(jobs)) })
}

#[test]
fn physics_has_an_interior_optimum_that_the_weather_moves() {
    for (offset_k, label) in [(0.0, "July"), (-10.0, "ten kelvin cooler")] {
        for site in ["bsc-hq", "torre-girona"] {
            let fixed = hall(site, 1, 24, offset_k).run_fixed();
            let mut rule = hall(site, 1, 24, offset_k);
            let mut n = 0;
            while !rule.done() {
                if n % 30 == 0 {
                    let w = rule.truth().weather.unwrap_or(tramuntana::signal::weather::Weather::from_dew_point(25.0, 15.0));
                    let fws = (w.wet_bulb_c + 5.5).clamp(15.0, 31.0);
                    for (i, v) in [fws + 4.0, 90.0, fws, 18.0].into_iter().enumerate() {
                        rule.request(i, v);
                    }
                }
                rule.advance(&mut Placement::FirstFit);
                n += 1;
            }
            let (f, r) = (fixed.account(), rule.account());
            println!(
                "{label} {site}: IT {:.0} -> {:.0}, cooling {:.0} -> {:.0} kWh ({:+.1} %), kWh/GPU-h {:.4} -> {:.4} ({:+.2} %), gpuh {:.0}",
                f.it_kwh,
                r.it_kwh,
                f.cooling_kwh,
                r.cooling_kwh,
                100.0 * (r.cooling_kwh / f.cooling_kwh - 1.0),
                f.kwh_per_gpu_hour(),
                r.kwh_per_gpu_hour(),
                100.0 * (r.kwh_per_gpu_hour() / f.kwh_per_gpu_hour() - 1.0),
                f.gpu_hours
            );
            println!("   fixed {:?}\n   rule  {:?}", f.components_kwh, r.components_kwh);
            println!("   margins {:?} / {:?}", f.least_margin, r.least_margin);
            assert_eq!(f.gpu_hours, r.gpu_hours, "setpoints do not move GPU-hours");
            assert!(offset_k < 0.0 || r.cooling_kwh < f.cooling_kwh, "in July warmer water saves cooling energy");
        }
    }
}
