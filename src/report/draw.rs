//! Charts by plotters, on any backend: SVG for the page, our own for PDF.

use super::figure::{Chart, ChartKind};
use super::frame::{FONT, INK, PALETTE, SOFT, fonts};
use super::lang::Lang;
use plotters::coord::Shift;
use plotters::prelude::*;

/// Size of a chart, px.
pub const SIZE: (u32, u32) = (1000, 500);

fn say<E: std::fmt::Display>(e: E) -> String {
    e.to_string()
}

/// A chart as the text of an SVG element.
pub fn svg(chart: &Chart, lang: Lang) -> Result<String, String> {
    let mut out = String::new();
    {
        let root = SVGBackend::with_string(&mut out, SIZE).into_drawing_area();
        paint(&root, chart, lang)?;
        root.present().map_err(say)?;
    }
    Ok(out.get(out.find("<svg").unwrap_or(0)..).unwrap_or("").to_owned())
}

fn label(lang: Lang, v: f64, span: f64) -> String {
    let digits = if span >= 20.0 { 0 } else { (1.3 - span.max(1e-9).log10()).ceil().clamp(0.0, 6.0) as usize };
    lang.number(if v.abs() < span * 1e-9 { 0.0 } else { v }, digits)
}

/// Draws on an area of [`SIZE`].
pub fn paint<DB: DrawingBackend>(root: &DrawingArea<DB, Shift>, chart: &Chart, lang: Lang) -> Result<(), String> {
    fonts();
    root.fill(&WHITE).map_err(say)?;
    match &chart.kind {
        ChartKind::Lines(series) => lines(root, chart, series, lang),
        ChartKind::Bars { categories, series } => bars(root, chart, categories, series, lang),
    }
}

fn bounds(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    let (lo, hi) = values.filter(|v| v.is_finite()).fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    (lo <= hi).then_some((lo, hi))
}

fn lines<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    chart: &Chart,
    series: &[(String, Vec<(f64, f64)>)],
    lang: Lang,
) -> Result<(), String> {
    let all = || series.iter().flat_map(|s| s.1.iter());
    let (Some((x0, x1)), Some((y0, y1))) = (bounds(all().map(|p| p.0)), bounds(all().map(|p| p.1))) else { return Ok(()) };
    // Amounts are shown from zero; a ratio that never comes near it is not.
    let y0 = if y0 > 0.6 * y1 { y0 - 0.15 * (y1 - y0).max(0.01 * y1) } else { y0.min(0.0) };
    let y1 = y1 + 0.08 * (y1 - y0).max(1e-9);
    let (xs, ys) = ((x1 - x0).max(1e-9), y1 - y0);
    let mut c = ChartBuilder::on(root)
        .margin(14)
        .x_label_area_size(58)
        .y_label_area_size(104)
        .build_cartesian_2d(x0..x0 + xs, y0..y1)
        .map_err(say)?;
    c.configure_mesh()
        .light_line_style(TRANSPARENT)
        .bold_line_style(SOFT.mix(0.25))
        .x_desc(&chart.x)
        .y_desc(&chart.y)
        .x_labels(9)
        .y_labels(6)
        .x_label_formatter(&|v| label(lang, *v, xs))
        .y_label_formatter(&|v| label(lang, *v, ys))
        .label_style((FONT, 18))
        .axis_desc_style((FONT, 18))
        .draw()
        .map_err(say)?;
    for (i, (name, points)) in series.iter().enumerate() {
        let colour = PALETTE[i % PALETTE.len()];
        let good = points.iter().copied().filter(|p| p.1.is_finite());
        c.draw_series(LineSeries::new(good.clone(), colour.stroke_width(3)))
            .map_err(say)?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 22, y)], colour.stroke_width(3)));
        if points.len() <= 60 {
            c.draw_series(good.map(|p| Circle::new(p, 4, colour.filled()))).map_err(say)?;
        }
    }
    if series.len() > 1 {
        c.configure_series_labels()
            .label_font((FONT, 18))
            .background_style(WHITE)
            .border_style(SOFT.mix(0.4))
            .position(SeriesLabelPosition::UpperRight)
            .draw()
            .map_err(say)?;
    }
    Ok(())
}

fn bars<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    chart: &Chart,
    categories: &[String],
    series: &[(String, Vec<f64>, Vec<f64>)],
    lang: Lang,
) -> Result<(), String> {
    let whole = |s: &(String, Vec<f64>, Vec<f64>)| -> Vec<f64> {
        let half = |i: usize| s.2.get(i).copied().unwrap_or(0.0);
        s.1.iter().enumerate().flat_map(|(i, v)| [v - half(i), v + half(i)]).collect()
    };
    let Some((lo, hi)) = bounds(series.iter().flat_map(whole)) else { return Ok(()) };
    let (n, k) = (categories.len().max(1), series.len().max(1));
    let (lo, hi) = (lo.min(0.0), hi.max(0.0));
    let room = 0.14 * (hi - lo).max(1e-9);
    let (lo, hi) = (if lo < 0.0 { lo - room } else { 0.0 }, hi + room);
    let mut c = ChartBuilder::on(root)
        .margin(14)
        .x_label_area_size(58)
        .y_label_area_size(104)
        .build_cartesian_2d(0.0..n as f64, lo..hi)
        .map_err(say)?;
    c.configure_mesh()
        .disable_x_mesh()
        .x_labels(0)
        .light_line_style(TRANSPARENT)
        .bold_line_style(SOFT.mix(0.25))
        .y_desc(&chart.y)
        .y_labels(6)
        .y_label_formatter(&|v| label(lang, *v, hi - lo))
        .label_style((FONT, 18))
        .axis_desc_style((FONT, 18))
        .draw()
        .map_err(say)?;
    let wide = 0.8 / k as f64;
    for (j, (name, values, halves)) in series.iter().enumerate() {
        let colour = PALETTE[j % PALETTE.len()];
        let left = |i: usize| i as f64 + 0.1 + wide * j as f64;
        let bar = values.iter().enumerate().map(|(i, v)| Rectangle::new([(left(i), 0.0), (left(i) + 0.94 * wide, *v)], colour.filled()));
        c.draw_series(bar).map_err(say)?.label(name).legend(move |(x, y)| Rectangle::new([(x, y - 6), (x + 22, y + 6)], colour.filled()));
        for (i, v) in values.iter().enumerate() {
            let x = left(i) + 0.47 * wide;
            let mut top = *v;
            if let Some(h) = halves.get(i).filter(|h| **h > 0.0) {
                let whisker = PathElement::new(vec![(x, v - h), (x, v + h)], INK.stroke_width(2));
                c.draw_series(std::iter::once(whisker)).map_err(say)?;
                top = top.max(v + h);
            }
            // A number on each bar, where there is room for it.
            if n * k <= 14 && v.is_finite() {
                let style = TextStyle::from((FONT, 16)).color(&INK).pos(plotters::style::text_anchor::Pos::new(
                    plotters::style::text_anchor::HPos::Center,
                    plotters::style::text_anchor::VPos::Bottom,
                ));
                let at = (x, top.max(0.0) + room * 0.12);
                c.draw_series(std::iter::once(Text::new(lang.value(*v), at, style))).map_err(say)?;
            }
        }
    }
    c.draw_series(std::iter::once(PathElement::new(vec![(0.0, 0.0), (n as f64, 0.0)], INK.stroke_width(1)))).map_err(say)?;
    // Names below their bars, in pixels: the axis itself knows numbers only.
    let (from, to) = c.plotting_area().get_pixel_range();
    let step = f64::from(from.end - from.start) / n as f64;
    for (i, name) in categories.iter().enumerate() {
        let style = TextStyle::from((FONT, 17)).color(&INK).pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Center,
            plotters::style::text_anchor::VPos::Top,
        ));
        let x = f64::from(from.start) + step * (i as f64 + 0.5);
        root.draw_text(name, &style, (x.round() as i32, to.end + 10)).map_err(say)?;
    }
    if !chart.x.is_empty() {
        let style = TextStyle::from((FONT, 18)).color(&INK).pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Center,
            plotters::style::text_anchor::VPos::Top,
        ));
        root.draw_text(&chart.x, &style, ((from.start + from.end) / 2, to.end + 34)).map_err(say)?;
    }
    if series.len() > 1 {
        c.configure_series_labels()
            .label_font((FONT, 18))
            .background_style(WHITE)
            .border_style(SOFT.mix(0.4))
            .position(SeriesLabelPosition::UpperRight)
            .draw()
            .map_err(say)?;
    }
    Ok(())
}
