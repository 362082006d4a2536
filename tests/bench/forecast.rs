//! Speed and memory of the forecast: `cargo bench --bench forecast`.
//!
//! Features for 1,000 points of 30 days at 1 min (aim < 30 s and < 2 GiB), and one forecast cycle of 200 loops with four
//! horizons (aim < 200 ms).

use std::time::Instant;
use tramuntana::forecast::{Series, Spec, Table, Training, Window, train};
use tramuntana::time::{Span, Timestamp};

/// The service's own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn load(rows: usize, step: Span, salt: u64) -> Series {
    let mut x = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values = (0..rows)
        .map(|k| {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
            let hour = (k as f64 * step.as_secs_f64() / 3600.0) % 24.0;
            900.0 + 200.0 * (hour / 24.0 * std::f64::consts::TAU).sin() + (x >> 40) as f64 / (1u64 << 20) as f64
        })
        .collect();
    Series::new(Timestamp(1_784_000_100_000), step, values)
}

fn peak_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|l| l.starts_with("VmHWM")).unwrap_or("");
    line.split_whitespace().nth(1).and_then(|v| v.parse::<f64>().ok()).unwrap_or(f64::NAN) / 1024.0
}

fn main() {
    let points: u64 = std::env::var("POINTS").ok().and_then(|v| v.parse().ok()).unwrap_or(1_000);
    let step = Span::minutes(1);
    let horizons = [Span::minutes(15), Span::hours(1), Span::hours(6), Span::hours(24)];
    let spec = Spec::new(step, &horizons, Span::hours(24 * 7)).expect("whole steps");
    let clock = spec.calendar.clock().expect("UTC");
    let rows = 30 * 1_440;
    let (mut cells, mut sum) = (0usize, 0.0);
    let started = Instant::now();
    for first in (0..points).step_by(8) {
        let loads: Vec<Series> = (first..(first + 8).min(points)).map(|p| load(rows, step, p + 1)).collect();
        let named: Vec<(&str, &Series)> = loads.iter().map(|s| ("point", s)).collect();
        for t in Table::many(&spec, &clock, &named, &[], &[]).expect("features") {
            cells += t.rows * (t.shared.len() + t.own.iter().map(Vec::len).sum::<usize>());
            sum += t.shared[1][rows - 1];
        }
    }
    println!(
        "features: {points} points x 30 days at 1 min, {} horizons, {:.2e} cells: {:.1} s, peak {:.0} MiB (check {sum:.1})",
        horizons.len(),
        cells as f64,
        started.elapsed().as_secs_f64(),
        peak_mib()
    );

    let step = Span::minutes(5);
    let horizons = [Span::minutes(15), Span::hours(1), Span::hours(2), Span::hours(6)];
    let targets: Vec<(String, Series)> = (0..200).map(|i| (format!("loop-{i}"), load(5 * 288, step, i + 1))).collect();
    let mut forecaster = train(&Training { horizons: &horizons, ..Training::new("bench/1", &targets, None, 1) }).expect("trains");
    let window = Window { loads: targets.clone(), ..Window::default() };
    let mut took: Vec<f64> = (0..20)
        .map(|k| {
            let now = targets[0].1.time(4 * 288 + k);
            let started = Instant::now();
            let said = forecaster.cycle(now, &window);
            assert!(said.len() == 200 && said.iter().all(|f| f.points.len() == 4));
            started.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    took.sort_by(f64::total_cmp);
    println!("cycle: 200 loops x 4 horizons: median {:.1} ms, worst of 20 {:.1} ms", took[10], took[19]);
}
