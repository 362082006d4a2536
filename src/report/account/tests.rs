//! Each with an answer worked out by hand.

use super::*;
use crate::reading::Quality;
use crate::store::Row;
use crate::time::{Span, Timestamp};

fn t(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn grid(from: &str, hours: i64) -> Grid {
    Grid::new(t(from), t(from) + Span::hours(hours)).unwrap()
}

fn run(grid: Grid, terms: Terms, readings: impl IntoIterator<Item = (i64, f64)>) -> (Quantity, Metered) {
    let mut s = Segment::new(grid, terms).unwrap();
    readings.into_iter().for_each(|(minute, v)| s.take(grid.from + Span::minutes(minute), v));
    let (q, mut parts) = Quantity::of(grid, "m", vec![s]);
    (q, parts.remove(0))
}

#[track_caller]
fn near(a: f64, b: f64) {
    assert!((a - b).abs() < 1e-9 * b.abs().max(1.0), "{a} is not {b}");
}

#[test]
fn power_is_a_straight_line_between_readings() {
    // 0 kW at 00:00 rising to 120 kW at 02:00, read every 10 min: 120 kWh; the second hour 60…120 kW = 90 kWh.
    let (q, _) = run(grid("2025-03-01", 2), Terms::new(Nature::Rate), (0..=12).map(|k| (10 * k, 10.0 * k as f64)));
    near(q.value(), 120.0);
    near(q.bins[4..8].iter().sum(), 90.0);
    // The first bin: 0…15 kW over a quarter of an hour.
    near(q.bins[0], 1.875);
    assert_eq!((q.coverage(), q.estimated_share(), q.missing_share()), (1.0, 0.0, 0.0));
}

#[test]
fn a_short_gap_is_a_straight_line_and_marked() {
    // 100 kW, nothing from 01:00 to 02:00, then 160 kW: 130 kWh estimated of 100 + 130 + 160; u = 60 / √12.
    let readings = [0, 15, 30, 45, 60].map(|m| (m, 100.0)).into_iter().chain([120, 135, 150, 165, 180].map(|m| (m, 160.0)));
    let (q, m) = run(grid("2025-03-01", 3), Terms::new(Nature::Rate), readings);
    near(q.value(), 390.0);
    near(q.estimated, 130.0);
    near(q.coverage(), 2.0 / 3.0);
    near(q.u2_gaps.sqrt(), 60.0 / 12_f64.sqrt());
    assert_eq!(m.gaps[0].rule, Rule::StraightLine);
}

#[test]
fn a_long_gap_borrows_from_similar_days() {
    // Five days; hour h of a day has h kW. On the third day 06:00–12:00 is silent: the other four days all say the same, but
    // for 40 kWh more in hour 8 of the last day: mean of four = +10 kWh, sample deviation 20 kWh in that hour.
    let g = grid("2025-03-01", 120);
    let rate = |minute: i64| if (minute / 60) == 4 * 24 + 8 { 48.0 } else { ((minute / 60) % 24) as f64 };
    // Counters make the bins exact: the sum of rates up to each quarter of an hour.
    let mut shown = vec![(0, 0.0)];
    let mut sum = 0.0;
    for k in 0..480 {
        sum += rate(15 * k) / 4.0;
        shown.push((15 * (k + 1), sum));
    }
    // A power meter would be silent; this counter was reset in the silence, and so can't tell.
    let readings =
        shown.into_iter().filter(|(m, _)| !(*m > 54 * 60 && *m < 60 * 60)).map(|(m, v)| (m, if m >= 60 * 60 { v - 612.0 } else { v }));
    let (q, m) = run(g, Terms::new(Nature::Counter), readings);
    // 06:00–12:00 of an ordinary day: 6+7+8+9+10+11 = 51 kWh; with the odd day's share 61.
    assert_eq!(m.gaps.iter().map(|g| g.rule).collect::<Vec<_>>(), [Rule::SimilarDays]);
    near(q.estimated, 61.0);
    near(q.u2_gaps.sqrt(), 20.0);
    near(q.value(), 5.0 * 276.0 + 40.0 - 51.0 + 61.0);
}

#[test]
fn without_anything_to_go_by_the_stretch_is_missing() {
    let (q, m) = run(grid("2025-03-01", 24), Terms::new(Nature::Rate), (0..=8).map(|k| (15 * k, 10.0)));
    near(q.value(), 20.0);
    near(q.missing_share(), 22.0 / 24.0);
    assert_eq!(m.gaps[0].rule, Rule::Missing);
}

#[test]
fn a_counter_that_goes_on_through_a_gap_is_measured() {
    // 6 kWh an hour; silent from 01:00 to 04:00; 24 kWh in four hours, all measured, 3 h not covered.
    let (q, m) =
        run(grid("2025-03-01", 4), Terms::new(Nature::Counter), [(0, 0.0), (15, 1.5), (30, 3.0), (45, 4.5), (60, 6.0), (240, 24.0)]);
    near(q.value(), 24.0);
    near(q.estimated, 0.0);
    near(q.coverage(), 0.25);
    assert_eq!(m.gaps[0].rule, Rule::Counted);
    // Over the period's edge it is shared out by time: read at −1 h (100) and +1 h (110): 5 kWh in the first hour, estimated.
    let (q, m) = run(grid("2025-03-01", 1), Terms::new(Nature::Counter), [(-60, 100.0), (60 + 60, 115.0)]);
    near(q.value(), 5.0);
    near(q.estimated, 5.0);
    assert_eq!(m.gaps[0].rule, Rule::CountedOverEdge);
}

#[test]
fn a_counter_rolls_over_at_full_digits() {
    // Six digits of kWh: 999,990 → 3 is 13 kWh.
    let readings = [(0, 999_970.0), (15, 999_980.0), (30, 999_990.0), (45, 3.0), (60, 13.0)];
    let (q, m) = run(grid("2025-03-01", 1), Terms::new(Nature::Counter), readings);
    near(q.value(), 43.0);
    assert_eq!((m.events[0].what, q.estimated), ("roll_over", 0.0));
    // A register that is full at 5,000 by its data sheet.
    let terms = Terms { rolls_over_at: Some(5000.0), rated: Some(100.0), ..Terms::new(Nature::Counter) };
    let (q, _) = run(grid("2025-03-01", 1), terms.clone(), [(0, 4980.0), (15, 4990.0), (30, 0.0), (45, 10.0), (60, 20.0)]);
    near(q.value(), 40.0);
    // 4,000 kWh in a quarter of an hour through 100 kW cannot be: that was a reset.
    let (_, m) = run(grid("2025-03-01", 1), terms, [(0, 980.0), (15, 990.0), (30, 0.0), (45, 10.0), (60, 20.0)]);
    assert_eq!(m.events[0].what, "reset");
}

#[test]
fn a_reset_is_estimated_and_never_below_what_is_shown() {
    // 40 kW before and after; at 00:30 it shows 2: the straight line says 10 kWh for that quarter of an hour.
    let (q, m) =
        run(grid("2025-03-01", 1), Terms::new(Nature::Counter), [(0, 70_010.0), (15, 70_020.0), (30, 2.0), (45, 12.0), (60, 22.0)]);
    near(q.value(), 40.0);
    near(q.estimated, 10.0);
    assert_eq!(m.events[0].what, "reset");
    // Shown 30: at least that.
    let (q, _) =
        run(grid("2025-03-01", 1), Terms::new(Nature::Counter), [(0, 70_010.0), (15, 70_020.0), (30, 30.0), (45, 40.0), (60, 50.0)]);
    near(q.value(), 60.0);
}

#[test]
fn a_swapped_meter_is_two_devices_with_their_registers() {
    // Old device until 00:40, shown 520 when removed; the new one began at 7, with a transformer ratio of 2.
    let g = grid("2025-03-01", 1);
    let swap = g.from + Span::minutes(40);
    let old = Terms { until: Some(swap), last: Some(520.0), class_pct: Some(0.5), ..Terms::new(Nature::Counter) };
    let new = Terms { since: Some(swap), initial: Some(7.0), factor: 2.0, class_pct: Some(0.2), ..Terms::new(Nature::Counter) };
    let rows: Vec<Row> = [(0, 500.0), (15, 508.0), (30, 516.0), (45, 8.0), (60, 11.0)]
        .map(|(m, value)| Row { at: g.from + Span::minutes(m), ns: 0, value, quality: Quality::GOOD })
        .to_vec();
    let segments: Vec<Segment> = [&old, &new]
        .into_iter()
        .map(|terms| {
            let mut s = Segment::new(g, terms.clone()).unwrap();
            s.rows(&rows);
            s
        })
        .collect();
    let (q, _) = Quantity::of(g, "m", segments);
    // 20 kWh by the old one, (11 − 7) × 2 = 8 by the new one; nothing estimated.
    near(q.value(), 28.0);
    assert_eq!((q.estimated, q.coverage()), (0.0, 1.0));
    // Classes: 0.5 % of 20 and 0.2 % of 8, rectangular, in quadrature.
    near(q.u().unwrap(), (0.1_f64.powi(2) + 0.016_f64.powi(2)).sqrt() / 3_f64.sqrt());
    // Without the registers, the ten minutes between the readings are a straight line: 32 kW before, 24 kW after.
    let segments: Vec<Segment> = [Terms { last: None, ..old }, Terms { initial: None, ..new }]
        .into_iter()
        .map(|terms| {
            let mut s = Segment::new(g, terms).unwrap();
            s.rows(&rows);
            s
        })
        .collect();
    let (q, _) = Quantity::of(g, "m", segments);
    near(q.measured, 16.0 + 6.0);
    near(q.estimated, 32.0 / 6.0 + 24.0 / 12.0);
}

#[test]
fn unusable_readings_are_not_there() {
    let g = grid("2025-03-01", 1);
    let mut s = Segment::new(g, Terms::new(Nature::Rate)).unwrap();
    let row = |m: i64, value: f64, quality| Row { at: g.from + Span::minutes(m), ns: 0, value, quality };
    s.rows(&[
        row(0, 8.0, Quality::GOOD),
        row(15, 8.0, Quality::LATE),
        row(20, 9e9, Quality::OUT_OF_RANGE),
        row(30, f64::NAN, Quality::NO_VALUE),
        row(35, 8.0, Quality::GOOD),
        row(50, 8.0, Quality::GOOD),
        row(60, 8.0, Quality::GOOD),
    ]);
    let (q, _) = Quantity::of(g, "m", vec![s]);
    near(q.value(), 8.0);
    near(q.coverage(), 1.0);
}

#[test]
fn days_of_the_clock_change_have_23_and_25_hours() {
    for (year, hours, days) in [(2025, 8760.0, 365), (2024, 8784.0, 366), (2028, 8784.0, 366)] {
        let p = Period::year(year, "Europe/Madrid").unwrap();
        assert_eq!((p.grid.hours(), p.days().len() - 1), (hours, days));
    }
    let p = Period::parse("2025-03-29..2025-04-01", "Europe/Madrid").unwrap();
    // 1 kW all the time: kWh by civil day.
    let (q, _) = run(p.grid, Terms::new(Nature::Rate), (0..=71 * 4).map(|k| (15 * k, 1.0)));
    let days = p.days();
    let kwh: Vec<f64> = days.windows(2).map(|d| q.bins[p.grid.bin(d[0])..p.grid.bin(d[1])].iter().sum()).collect();
    assert_eq!(kwh, [24.0, 23.0, 24.0]);
    let autumn = Period::parse("2025-10-26..2025-10-27", "Europe/Madrid").unwrap();
    assert_eq!((autumn.grid.hours(), autumn.local(autumn.grid.from)), (25.0, "2025-10-26T00:00:00+02:00".into()));
    let leap = Period::parse("2024-02-29..2024-03-01", "Europe/Madrid").unwrap();
    assert_eq!(leap.grid.hours(), 24.0);
    let morning = Period::parse("2026-01-01T06:00:00+01:00..2026-01-02", "Europe/Madrid").unwrap();
    assert_eq!((morning.grid.hours(), morning.local(morning.grid.from)), (18.0, "2026-01-01T06:00:00+01:00".into()));
    assert!(Period::parse("2025-01-01T00:07:00Z..2025-02-01", "UTC").unwrap_err().to_string().contains("quarter-hour"));
}
