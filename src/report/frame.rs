//! One panel's frame: scales, ticks, grid, lines, bands and a legend that stands above the plot, never on it.
//!
//! Drawn in pixels on any plotters backend. Time ticks are whole hours of the site's zone, with the date at midnight.

use super::run::{Band, Trace};
use crate::time::Timestamp;
use jiff::tz::TimeZone;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{FontStyle, register_font};
use std::sync::Once;

/// The registered family. In SVG a viewer may put its own sans-serif in its place.
pub const FONT: &str = "sans-serif";
static REGULAR: &[u8] = include_bytes!("../../dashboards/report/fonts/DejaVuSans.ttf");
static BOLD: &[u8] = include_bytes!("../../dashboards/report/fonts/DejaVuSans-Bold.ttf");

/// Okabe & Ito (2008): told apart with any colour vision.
pub const BLUE_: RGBColor = RGBColor(0, 114, 178);
pub const ORANGE: RGBColor = RGBColor(213, 94, 0);
pub const GREEN_: RGBColor = RGBColor(0, 158, 115);
pub const AMBER: RGBColor = RGBColor(230, 159, 0);
pub const PURPLE: RGBColor = RGBColor(166, 86, 140);
pub const SKY: RGBColor = RGBColor(86, 180, 233);
pub const INK: RGBColor = RGBColor(35, 35, 40);
pub const SOFT: RGBColor = RGBColor(95, 95, 105);
const GRID: RGBColor = RGBColor(222, 222, 226);
pub const PALETTE: [RGBColor; 6] = [BLUE_, ORANGE, GREEN_, PURPLE, AMBER, SKY];

/// Points of one line at most; a longer trace is drawn as means of equal buckets.
const POINTS_MAX: usize = 1_500;

/// Makes the shipped fonts known to plotters, once.
pub fn fonts() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // The bytes are part of the program; were one unreadable, the drawing would say so.
        let _ = register_font(FONT, FontStyle::Normal, REGULAR);
        let _ = register_font(FONT, FontStyle::Bold, BOLD);
    });
}

/// Breaks text at spaces into lines of bold type that are no wider than `wide` pixels; a longer word stands alone.
pub fn title_lines(s: &str, px: i32, wide: i32) -> Vec<String> {
    fonts();
    let font = FontDesc::from((FONT, px, FontStyle::Bold));
    let fits = |line: &str| font.box_size(line).map_or(line.chars().count() as i32 * px / 2, |(w, _)| w as i32) <= wide;
    let mut out: Vec<String> = Vec::new();
    for word in s.split_whitespace() {
        match out.last_mut() {
            Some(line) if fits(&format!("{line} {word}")) => {
                line.push(' ');
                line.push_str(word);
            }
            _ => out.push(word.to_owned()),
        }
    }
    out
}

/// How a line looks.
#[derive(Clone, Copy)]
pub struct Pen {
    pub colour: RGBColor,
    pub width: u32,
    pub dash: Option<(i32, i32)>,
    /// Holds its value until the next row.
    pub step: bool,
    pub alpha: f64,
}

impl Pen {
    pub fn new(colour: RGBColor, width: u32) -> Pen {
        Pen { colour, width, dash: None, step: false, alpha: 1.0 }
    }
    pub fn dashed(self, on: i32, off: i32) -> Pen {
        Pen { dash: Some((on, off)), ..self }
    }
    pub fn stepped(self) -> Pen {
        Pen { step: true, ..self }
    }
    pub fn faint(self, alpha: f64) -> Pen {
        Pen { alpha, ..self }
    }
}

/// A legend entry.
pub enum Key {
    Line(Pen, String),
    Area(RGBColor, String),
}

/// Text on an area; errors as text so that panels need not name the backend's.
pub struct Canvas<'a, DB: DrawingBackend> {
    pub area: &'a DrawingArea<DB, Shift>,
}

impl<DB: DrawingBackend> Canvas<'_, DB> {
    pub fn text(&self, s: &str, at: (i32, i32), px: i32, colour: RGBColor, bold: bool, h: HPos, v: VPos) -> Result<(), String> {
        let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
        let style = TextStyle::from((FONT, px, style)).color(&colour).pos(Pos::new(h, v));
        self.area.draw_text(s, &style, at).map_err(|e| e.to_string())
    }

    fn upright(&self, s: &str, at: (i32, i32), px: i32) -> Result<(), String> {
        let font = FontDesc::from((FONT, px)).transform(FontTransform::Rotate270);
        let style = TextStyle::from(font).color(&INK).pos(Pos::new(HPos::Center, VPos::Center));
        self.area.draw_text(s, &style, at).map_err(|e| e.to_string())
    }

    pub fn width(&self, s: &str, px: i32) -> i32 {
        let style = TextStyle::from((FONT, px));
        self.area.estimate_text_size(s, &style).map_or(s.chars().count() as i32 * px / 2, |(w, _)| w as i32)
    }

    pub fn path(&self, points: Vec<(i32, i32)>, style: ShapeStyle) -> Result<(), String> {
        self.area.draw(&PathElement::new(points, style)).map_err(|e| e.to_string())
    }

    fn stroke(&self, points: &[(i32, i32)], pen: Pen) -> Result<(), String> {
        let style = pen.colour.mix(pen.alpha).stroke_width(pen.width);
        match pen.dash {
            None => self.path(points.to_vec(), style),
            Some((on, off)) => dashes(points, on, off).into_iter().try_for_each(|d| self.path(d, style)),
        }
    }

    /// Draws entries in rows from the left; returns the height used. With `draw` false only measures.
    pub fn legend(&self, keys: &[Key], from: (i32, i32), right: i32, draw: bool) -> Result<i32, String> {
        const PX: i32 = 22;
        const ROW: i32 = 32;
        let (mut x, mut y) = from;
        for key in keys {
            let name = match key {
                Key::Line(_, n) | Key::Area(_, n) => n,
            };
            let wide = 52 + self.width(name, PX);
            if x > from.0 && x + wide > right {
                (x, y) = (from.0, y + ROW);
            }
            if draw {
                match key {
                    Key::Line(pen, _) => self.stroke(&[(x, y), (x + 42, y)], *pen)?,
                    Key::Area(colour, _) => {
                        let r = Rectangle::new([(x, y - 9), (x + 42, y + 9)], colour.mix(0.3).filled());
                        self.area.draw(&r).map_err(|e| e.to_string())?;
                    }
                }
                self.text(name, (x + 52, y), PX, INK, false, HPos::Left, VPos::Center)?;
            }
            x += wide + 34;
        }
        Ok(y - from.1 + ROW)
    }
}

/// The plot's rectangle and scales.
pub struct Frame {
    pub left: i32,
    pub right: i32,
    pub top: i32,
    pub bottom: i32,
    pub from: Timestamp,
    pub to: Timestamp,
    pub lo: f64,
    pub hi: f64,
}

impl Frame {
    pub fn x(&self, at: Timestamp) -> i32 {
        let part = (at.0 - self.from.0) as f64 / (self.to.0 - self.from.0).max(1) as f64;
        self.left + (part.clamp(0.0, 1.0) * f64::from(self.right - self.left)).round() as i32
    }

    pub fn y(&self, v: f64) -> i32 {
        let part = (v - self.lo) / (self.hi - self.lo);
        self.bottom - (part.clamp(-0.05, 1.05) * f64::from(self.bottom - self.top)).round() as i32
    }

    /// Grid, value labels (left or right) and the axis title with its unit.
    pub fn values<DB: DrawingBackend>(&self, c: &Canvas<DB>, title: &str, on_right: bool) -> Result<(), String> {
        let step = nice_step(self.hi - self.lo, 5);
        let digits = if step >= 1.0 { 0 } else { (-step.log10()).ceil() as usize };
        let mut v = (self.lo / step).ceil() * step;
        while v <= self.hi + step * 1e-6 {
            let y = self.y(v);
            let label = super::table::number(if v.abs() < step * 1e-6 { 0.0 } else { v }, digits);
            if on_right {
                c.text(&label, (self.right + 12, y), 22, SOFT, false, HPos::Left, VPos::Center)?;
            } else {
                c.path(vec![(self.left, y), (self.right, y)], GRID.stroke_width(1))?;
                c.text(&label, (self.left - 12, y), 22, INK, false, HPos::Right, VPos::Center)?;
            }
            v += step;
        }
        let middle = (self.top + self.bottom) / 2;
        c.upright(title, (if on_right { self.right + 92 } else { self.left - 112 }, middle), 22)
    }

    /// Time grid and labels.
    pub fn hours<DB: DrawingBackend>(&self, c: &Canvas<DB>, zone: &TimeZone) -> Result<(), String> {
        for (at, label, date) in hour_ticks(self.from, self.to, zone) {
            let x = self.x(at);
            c.path(vec![(x, self.top), (x, self.bottom)], GRID.stroke_width(if date.is_some() { 3 } else { 1 }))?;
            c.text(&label, (x, self.bottom + 10), 22, INK, false, HPos::Center, VPos::Top)?;
            if let Some(date) = date {
                c.text(&date, (x, self.bottom + 36), 22, INK, true, HPos::Center, VPos::Top)?;
            }
        }
        c.path(vec![(self.left, self.top), (self.left, self.bottom), (self.right, self.bottom)], INK.stroke_width(2))
    }

    /// A line; NaN breaks it.
    pub fn line<DB: DrawingBackend>(&self, c: &Canvas<DB>, trace: &Trace, pen: Pen) -> Result<(), String> {
        let mut part: Vec<(i32, i32)> = Vec::new();
        for (at, v) in thin(trace, pen.step) {
            if !v.is_finite() {
                if part.len() > 1 {
                    c.stroke(&part, pen)?;
                }
                part.clear();
                continue;
            }
            let p = (self.x(at), self.y(v));
            if let (true, Some(last)) = (pen.step, part.last()) {
                let corner = (p.0, last.1);
                part.push(corner);
            }
            part.push(p);
        }
        if pen.step
            && let Some(&(_, y)) = part.last()
        {
            part.push((self.right, y));
        }
        if part.len() > 1 { c.stroke(&part, pen) } else { Ok(()) }
    }

    /// The area between p10 and p90.
    pub fn band<DB: DrawingBackend>(&self, c: &Canvas<DB>, band: &[Band], colour: RGBColor) -> Result<(), String> {
        let rows: Vec<&Band> = band.iter().filter(|b| b.p10.is_finite() && b.p90.is_finite()).collect();
        if rows.len() < 2 {
            return Ok(());
        }
        let stride = rows.len().div_ceil(POINTS_MAX);
        let rows: Vec<&Band> = rows.into_iter().step_by(stride).collect();
        let mut points: Vec<(i32, i32)> = rows.iter().map(|b| (self.x(b.at), self.y(b.p90))).collect();
        points.extend(rows.iter().rev().map(|b| (self.x(b.at), self.y(b.p10))));
        c.area.draw(&Polygon::new(points, colour.mix(0.25).filled())).map_err(|e| e.to_string())
    }
}

/// Bounds with room above and below; never narrower than `least`.
pub fn bounds(values: impl Iterator<Item = f64>, least: f64) -> (f64, f64) {
    let (mut lo, mut hi) = (f64::INFINITY, f64::NEG_INFINITY);
    for v in values.filter(|v| v.is_finite()) {
        (lo, hi) = (lo.min(v), hi.max(v));
    }
    if lo > hi {
        return (0.0, least);
    }
    let short = (least - (hi - lo)).max(0.0) / 2.0;
    let room = 0.06 * (hi - lo).max(least);
    (lo - short - room, hi + short + room)
}

/// A step of 1, 2 or 5 times a power of ten that gives about `count` ticks.
fn nice_step(span: f64, count: usize) -> f64 {
    let raw = (span / count as f64).max(1e-9);
    let ten = 10f64.powf(raw.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|m| m * ten).find(|s| *s >= raw * 0.999).unwrap_or(10.0 * ten)
}

/// (instant, `HH:MM`, date where it is the day's first tick) at whole local hours, at most 17 of them.
fn hour_ticks(from: Timestamp, to: Timestamp, zone: &TimeZone) -> Vec<(Timestamp, String, Option<String>)> {
    let hours = ((to - from).as_hours_f64()).max(0.1);
    let every = [1, 2, 3, 6, 12, 24, 48, 168].into_iter().find(|h| hours / f64::from(*h) <= 16.0).unwrap_or(720);
    let mut out = Vec::new();
    let mut at = from.floor(crate::time::Span::hours(1));
    let (mut last_date, mut last_at) = (None, None::<Timestamp>);
    while at <= to && out.len() < 17 {
        if let (true, Ok(t)) = (at >= from, jiff::Timestamp::from_millisecond(at.0)) {
            let local = t.to_zoned(zone.clone());
            let apart = last_at.is_none_or(|l| every <= 24 || (at - l).as_hours_f64() >= f64::from(every) - 1.5);
            if local.minute() == 0 && i32::from(local.hour()) % every.min(24) == 0 && apart {
                let date = local.date();
                let new = last_date != Some(date);
                last_date = Some(date);
                last_at = Some(at);
                out.push((at, local.strftime("%H:%M").to_string(), new.then(|| local.strftime("%-d %b").to_string())));
            }
        }
        // Half hours, for zones that are off by one.
        at += crate::time::Span::minutes(30);
    }
    out
}

/// At most [`POINTS_MAX`] rows: means of equal buckets, or the last of each for a stepped line.
fn thin(trace: &Trace, step: bool) -> Vec<(Timestamp, f64)> {
    let bucket = trace.len().div_ceil(POINTS_MAX).max(1);
    if bucket == 1 {
        return trace.clone();
    }
    trace
        .chunks(bucket)
        .filter_map(|c| {
            let last = c.last()?;
            let mean = c.iter().map(|r| r.1).sum::<f64>() / c.len() as f64;
            Some((last.0, if step { last.1 } else { mean }))
        })
        .collect()
}

/// Cuts a path into dashes (pixels).
fn dashes(points: &[(i32, i32)], on: i32, off: i32) -> Vec<Vec<(i32, i32)>> {
    let mut out: Vec<Vec<(i32, i32)>> = Vec::new();
    let mut left = f64::from(on);
    let mut drawing = true;
    let mut dash: Vec<(i32, i32)> = points.first().map(|p| vec![*p]).unwrap_or_default();
    for pair in points.windows(2) {
        let (mut x, mut y) = (f64::from(pair[0].0), f64::from(pair[0].1));
        let (ex, ey) = (f64::from(pair[1].0), f64::from(pair[1].1));
        loop {
            let rest = (ex - x).hypot(ey - y);
            if rest <= left {
                left -= rest;
                if drawing {
                    dash.push(pair[1]);
                }
                break;
            }
            x += (ex - x) * left / rest;
            y += (ey - y) * left / rest;
            let p = (x.round() as i32, y.round() as i32);
            if drawing {
                dash.push(p);
                out.push(std::mem::take(&mut dash));
            } else {
                dash = vec![p];
            }
            drawing = !drawing;
            left = f64::from(if drawing { on } else { off }).max(1.0);
        }
    }
    if drawing && dash.len() > 1 {
        out.push(dash);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Span;

    #[test]
    fn ticks_are_whole_local_hours_with_the_date_at_midnight() {
        let zone = TimeZone::get("Europe/Madrid").unwrap();
        let from = Timestamp::parse("2026-07-14T22:00:00Z").unwrap();
        let ticks = hour_ticks(from, from + Span::hours(48), &zone);
        // Madrid is two hours ahead in July: the first tick is midnight of the 15th; every 3 h over two days.
        assert_eq!((ticks[0].1.as_str(), ticks[0].2.as_deref()), ("00:00", Some("15 Jul")));
        assert_eq!((ticks[1].1.as_str(), ticks[1].2.as_deref()), ("03:00", None));
        assert_eq!(ticks.len(), 17);
    }

    #[test]
    fn steps_are_nice_and_bounds_have_room() {
        assert_eq!(nice_step(1000.0, 5), 200.0);
        assert_eq!(nice_step(7.0, 5), 2.0);
        let (lo, hi) = bounds([10.0, 20.0, f64::NAN].into_iter(), 1.0);
        assert!(lo < 10.0 && hi > 20.0 && lo > 9.0);
        assert_eq!(bounds(std::iter::empty(), 3.0), (0.0, 3.0));
    }

    #[test]
    fn dashes_cover_half_of_an_even_pattern() {
        let d = dashes(&[(0, 0), (100, 0)], 10, 10);
        assert_eq!(d.len(), 5);
        assert_eq!(d[1], [(20, 0), (30, 0)]);
    }
}
