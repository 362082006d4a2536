//! Pictures of a backtest: fans against truth, calibration, error by hour and horizon, weights. Each as SVG and PNG.

use super::ReportError;
use super::frame::{AMBER, BLUE_, Canvas, FONT, GREEN_, INK, Key, ORANGE, PALETTE, Pen, SKY, SOFT, fonts};
use crate::time::Timestamp;
use jiff::tz::TimeZone;
use plotters::coord::Shift;
use plotters::prelude::*;
use std::path::{Path, PathBuf};

/// Forecasts of a fan that are drawn: the last ones.
const DRAWN: usize = 400;
/// Features of the picture of weights.
const FEATURES: usize = 16;

/// One forecast and what came.
#[derive(Clone, Debug)]
pub struct Fan {
    /// The instant that is forecast.
    pub at: Timestamp,
    pub truth: f64,
    /// p5, p10, p50, p90, p95.
    pub edges: [f64; 5],
}

/// One horizon of a backtest.
#[derive(Clone, Debug)]
pub struct HorizonErrors {
    pub name: String,
    /// (model, is it the chosen one, MAE).
    pub models: Vec<(String, bool, f64)>,
    pub forecasts: Vec<Fan>,
    /// Experts and their share of the blend.
    pub shares: Vec<(String, f64)>,
    /// Features, absolute weight of the ridge, share of the trees' splits.
    pub leanings: Vec<(String, f64, f64)>,
}

/// What is drawn.
#[derive(Clone, Debug)]
pub struct Plots {
    pub title: String,
    pub time_zone: String,
    pub horizons: Vec<HorizonErrors>,
}

/// Draws `fans`, `calibration`, `errors` and `weights` into a folder and returns the paths.
pub fn draw(plots: &Plots, dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    fonts();
    std::fs::create_dir_all(dir).map_err(|why| ReportError::Write { path: dir.to_owned(), why })?;
    let rows = plots.horizons.len().max(1) as u32;
    let mut out = Vec::new();
    let mut picture = |name: &str, size: (u32, u32), f: &dyn Fn(&mut dyn Painter) -> Result<(), String>| -> Result<(), ReportError> {
        let fail = |why: String| ReportError::Draw { site: format!("{}, {name}", plots.title), why };
        let (svg, png) = (dir.join(format!("{name}.svg")), dir.join(format!("{name}.png")));
        f(&mut Svg { path: &svg, size }).map_err(fail)?;
        f(&mut Png { path: &png, size }).map_err(fail)?;
        out.extend([svg, png]);
        Ok(())
    };
    picture("fans", (1600, 120 + 380 * rows), &|p| p.paint(plots, Kind::Fans))?;
    picture("calibration", (900, 820), &|p| p.paint(plots, Kind::Calibration))?;
    picture("errors", (1600, 800), &|p| p.paint(plots, Kind::Errors))?;
    picture("weights", (1600, 80 + 460 * rows), &|p| p.paint(plots, Kind::Weights))?;
    Ok(out)
}

#[derive(Clone, Copy)]
enum Kind {
    Fans,
    Calibration,
    Errors,
    Weights,
}

/// Opens a backend and has the picture painted on it.
trait Painter {
    fn paint(&mut self, plots: &Plots, kind: Kind) -> Result<(), String>;
}

struct Svg<'a> {
    path: &'a Path,
    size: (u32, u32),
}
struct Png<'a> {
    path: &'a Path,
    size: (u32, u32),
}

impl Painter for Svg<'_> {
    fn paint(&mut self, plots: &Plots, kind: Kind) -> Result<(), String> {
        let root = SVGBackend::new(self.path, self.size).into_drawing_area();
        paint(&root, plots, kind)?;
        root.present().map_err(|e| e.to_string())
    }
}
impl Painter for Png<'_> {
    fn paint(&mut self, plots: &Plots, kind: Kind) -> Result<(), String> {
        let root = BitMapBackend::new(self.path, self.size).into_drawing_area();
        paint(&root, plots, kind)?;
        root.present().map_err(|e| e.to_string())
    }
}

fn say<E: std::fmt::Display>(e: E) -> String {
    e.to_string()
}

fn paint<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>, plots: &Plots, kind: Kind) -> Result<(), String> {
    root.fill(&WHITE).map_err(say)?;
    let head = match kind {
        Kind::Fans => "forecast and truth, by horizon (the last forecasts of the test part)",
        Kind::Calibration => "calibration",
        Kind::Errors => "mean absolute error of the chosen model by local hour; and of each model by horizon",
        Kind::Weights => "shares of the blend; what the ridge and the trees lean on",
    };
    let keys = match kind {
        Kind::Fans => vec![
            Key::Area(BLUE_, "80 % band, paler: 90 %".into()),
            Key::Line(Pen::new(BLUE_, 3), "p50".into()),
            Key::Line(Pen::new(ORANGE, 3), "truth".into()),
        ],
        Kind::Errors => {
            let line = |(i, h): (usize, &HorizonErrors)| Key::Line(Pen::new(PALETTE[i % PALETTE.len()], 3), format!("{} ahead", h.name));
            plots.horizons.iter().enumerate().map(line).collect()
        }
        Kind::Calibration | Kind::Weights => vec![],
    };
    let (top, rest) = root.split_vertically(if keys.is_empty() { 70 } else { 110 });
    Canvas { area: &top }.legend(&keys, (24, 84), 1_560, true)?;
    top.draw_text(&format!("{}: {head}", plots.title), &TextStyle::from((FONT, 26)).color(&INK), (24, 22)).map_err(say)?;
    match kind {
        Kind::Fans => each(&rest, plots, fan),
        Kind::Calibration => calibration(&rest, plots),
        Kind::Errors => errors(&rest, plots),
        Kind::Weights => each(&rest, plots, weights),
    }
}

fn each<DB: DrawingBackend>(
    area: &DrawingArea<DB, Shift>,
    plots: &Plots,
    f: impl Fn(&DrawingArea<DB, Shift>, &HorizonErrors, &TimeZone) -> Result<(), String>,
) -> Result<(), String> {
    let zone = TimeZone::get(&plots.time_zone).unwrap_or(TimeZone::UTC);
    let parts = area.split_evenly((plots.horizons.len().max(1), 1));
    parts.iter().zip(&plots.horizons).try_for_each(|(a, h)| f(a, h, &zone))
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (lo, hi) = values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    if lo <= hi { (lo - 0.05 * (hi - lo) - 1e-9, hi + 0.05 * (hi - lo) + 1e-9) } else { (0.0, 1.0) }
}

fn number(v: &f64) -> String {
    match v.abs() {
        a if a >= 1e6 => format!("{:.1} M", v / 1e6),
        a if a >= 1e4 => format!("{:.0} k", v / 1e3),
        a if a >= 10.0 || a == 0.0 => format!("{v:.0}"),
        a if a >= 0.1 => format!("{v:.2}"),
        _ => format!("{v:.4}"),
    }
}

fn fan<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, h: &HorizonErrors, zone: &TimeZone) -> Result<(), String> {
    let fans = &h.forecasts[h.forecasts.len().saturating_sub(DRAWN)..];
    let Some((first, last)) = fans.first().zip(fans.last()) else { return Ok(()) };
    let (lo, hi) = bounds(fans.iter().flat_map(|f| [f.truth, f.edges[0], f.edges[4]]));
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .caption(format!("{} ahead", h.name), (FONT, 20))
        .x_label_area_size(36)
        .y_label_area_size(90)
        .build_cartesian_2d(first.at.0..last.at.0.max(first.at.0 + 1), lo..hi)
        .map_err(say)?;
    let stamp = |ms: &i64| {
        jiff::Timestamp::from_millisecond(*ms)
            .map_or_else(|_| String::new(), |t| t.to_zoned(zone.clone()).strftime("%d %b %H:%M").to_string())
    };
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_labels(8)
        .x_label_formatter(&stamp)
        .y_label_formatter(&number)
        .label_style((FONT, 15))
        .draw()
        .map_err(say)?;
    let ribbon = |low: usize, high: usize| -> Vec<(i64, f64)> {
        fans.iter().map(|f| (f.at.0, f.edges[high])).chain(fans.iter().rev().map(|f| (f.at.0, f.edges[low]))).collect()
    };
    for (low, high, alpha) in [(0, 4, 0.18), (1, 3, 0.28)] {
        chart.draw_series(std::iter::once(Polygon::new(ribbon(low, high), BLUE_.mix(alpha)))).map_err(say)?;
    }
    let mut line = |colour: RGBColor, value: fn(&Fan) -> f64| {
        chart.draw_series(LineSeries::new(fans.iter().map(|f| (f.at.0, value(f))), colour.stroke_width(2))).map_err(say).map(drop)
    };
    line(BLUE_, |f| f.edges[2])?;
    line(ORANGE, |f| f.truth)?;
    Ok(())
}

fn calibration<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, plots: &Plots) -> Result<(), String> {
    let mut chart = ChartBuilder::on(area)
        .margin(16)
        .x_label_area_size(60)
        .y_label_area_size(80)
        .build_cartesian_2d(0.0..1.0, 0.0..1.0)
        .map_err(say)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("nominal level of the edge")
        .y_desc("share of outcomes below it")
        .label_style((FONT, 16))
        .draw()
        .map_err(say)?;
    chart.draw_series(LineSeries::new([(0.0, 0.0), (1.0, 1.0)], SOFT.stroke_width(1))).map_err(say)?;
    for (i, h) in plots.horizons.iter().enumerate() {
        let colour = PALETTE[i % PALETTE.len()];
        let n = h.forecasts.len().max(1) as f64;
        let share = |e: usize| h.forecasts.iter().filter(|f| f.truth <= f.edges[e]).count() as f64 / n;
        let points: Vec<(f64, f64)> = [0.05, 0.1, 0.5, 0.9, 0.95].iter().enumerate().map(|(e, level)| (*level, share(e))).collect();
        chart
            .draw_series(LineSeries::new(points.clone(), colour.stroke_width(2)))
            .map_err(say)?
            .label(format!("{} ahead, n = {}", h.name, h.forecasts.len()))
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(2)));
        chart.draw_series(points.into_iter().map(|p| Circle::new(p, 4, colour.filled()))).map_err(say)?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::LowerRight)
        .label_font((FONT, 16))
        .background_style(WHITE)
        .border_style(SOFT)
        .draw()
        .map_err(say)
}

fn errors<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, plots: &Plots) -> Result<(), String> {
    let (left, right) = area.split_horizontally(800);
    let zone = TimeZone::get(&plots.time_zone).unwrap_or(TimeZone::UTC);
    let hour = |at: Timestamp| jiff::Timestamp::from_millisecond(at.0).map_or(0, |t| t.to_zoned(zone.clone()).hour() as usize);
    let by_hour: Vec<Vec<f64>> = (plots.horizons.iter())
        .map(|h| {
            let (mut sum, mut n) = ([0.0; 24], [0.0; 24]);
            for f in &h.forecasts {
                sum[hour(f.at)] += (f.truth - f.edges[2]).abs();
                n[hour(f.at)] += 1.0;
            }
            sum.iter().zip(n).map(|(s, n)| if n > 0.0 { s / n } else { f64::NAN }).collect()
        })
        .collect();
    let top = bounds(by_hour.iter().flatten().copied()).1;
    let mut chart = ChartBuilder::on(&left)
        .margin(16)
        .x_label_area_size(50)
        .y_label_area_size(90)
        .build_cartesian_2d(0.0..23.0, 0.0..top)
        .map_err(say)?;
    chart
        .configure_mesh()
        .light_line_style(TRANSPARENT)
        .x_desc("local hour of the target")
        .y_desc("MAE")
        .x_label_formatter(&|v| format!("{v:.0}"))
        .y_label_formatter(&number)
        .label_style((FONT, 15))
        .draw()
        .map_err(say)?;
    for (i, line) in by_hour.iter().enumerate() {
        let colour = PALETTE[i % PALETTE.len()];
        let points = line.iter().enumerate().filter(|(_, v)| v.is_finite()).map(|(k, v)| (k as f64, *v));
        chart.draw_series(LineSeries::new(points, colour.stroke_width(2))).map_err(say)?;
    }
    // Relative to persistence, so that horizons stand side by side.
    let panels = right.split_evenly((1, plots.horizons.len().max(1)));
    for (panel, h) in panels.iter().zip(&plots.horizons) {
        let base = h.models.iter().find(|(n, _, _)| n == "persistence").map_or(1.0, |(_, _, m)| *m).max(1e-300);
        let bars: Vec<(String, f64, RGBColor)> =
            h.models.iter().map(|(n, chosen, m)| (n.clone(), m / base, if *chosen { ORANGE } else { SKY })).collect();
        bar_panel(panel, &format!("{}: MAE over persistence's", h.name), &bars)?;
    }
    Ok(())
}

fn bar_panel<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, title: &str, bars: &[(String, f64, RGBColor)]) -> Result<(), String> {
    let top = bars.iter().map(|b| b.1).filter(|v| v.is_finite()).fold(0.0, f64::max).max(1e-12) * 1.15;
    let n = bars.len().max(1);
    let mut chart = ChartBuilder::on(area)
        .margin(10)
        .caption(title, (FONT, 14))
        .x_label_area_size(30)
        .y_label_area_size(8)
        .build_cartesian_2d(0.0..top, 0.0..n as f64)
        .map_err(say)?;
    chart
        .configure_mesh()
        .disable_y_axis()
        .light_line_style(TRANSPARENT)
        .x_labels(4)
        .x_label_formatter(&number)
        .label_style((FONT, 13))
        .draw()
        .map_err(say)?;
    for (i, (name, v, colour)) in bars.iter().enumerate() {
        let y = (n - 1 - i) as f64;
        let v = if v.is_finite() { *v } else { 0.0 };
        chart.draw_series(std::iter::once(Rectangle::new([(0.0, y + 0.15), (v, y + 0.85)], colour.mix(0.75).filled()))).map_err(say)?;
        chart
            .draw_series(std::iter::once(Text::new(
                format!("{name} {}", number(&v)),
                (top * 0.01, y + 0.72),
                TextStyle::from((FONT, 14)).color(&INK),
            )))
            .map_err(say)?;
    }
    Ok(())
}

fn weights<DB: DrawingBackend>(area: &DrawingArea<DB, Shift>, h: &HorizonErrors, _: &TimeZone) -> Result<(), String> {
    let parts = area.split_evenly((1, 3));
    let shares: Vec<_> = h.shares.iter().map(|(n, s)| (n.clone(), *s, GREEN_)).collect();
    bar_panel(&parts[0], &format!("{}: share of the blend", h.name), &shares)?;
    for (panel, title, trees) in
        [(&parts[1], "ridge: absolute weight per standard deviation", false), (&parts[2], "trees: share of splits", true)]
    {
        let value = |l: &(String, f64, f64)| if trees { l.2 } else { l.1 };
        let mut top: Vec<_> = h.leanings.iter().map(|l| (l.0.clone(), value(l), if trees { AMBER } else { BLUE_ })).collect();
        top.sort_by(|a, b| b.1.total_cmp(&a.1));
        top.truncate(FEATURES);
        bar_panel(panel, &format!("{}: {title}", h.name), &top)?;
    }
    Ok(())
}
