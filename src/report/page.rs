//! The page of one run: load and forecast, setpoints, cooling power, savings; as SVG, PNG and HTML.

use super::frame::{AMBER, BLUE_, Canvas, Frame, GREEN_, INK, Key, ORANGE, PALETTE, Pen, SKY, SOFT, bounds, title_lines};
use super::run::{RunReport, Trace};
use super::{ReportError, table};
use crate::time::Timestamp;
use jiff::tz::TimeZone;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, VPos};
use std::path::{Path, PathBuf};

const WIDTH: i32 = 1600;
const TITLE_PX: i32 = 36;
const TITLE_LINE: i32 = 48;
const PANEL: i32 = 480;
const LEFT: i32 = 150;
const RIGHT: i32 = WIDTH - 130;
const TEMPLATE: &str = include_str!("../../dashboards/report/page.html");
const LIMIT: RGBColor = RGBColor(170, 20, 20);

/// Draws a run to `out_dir/<site>/{run.svg, run.png, index.html}` and returns the three paths.
pub fn run_page(run: &RunReport, out_dir: &Path) -> Result<Vec<PathBuf>, ReportError> {
    let (from, to) = run.extent().ok_or_else(|| ReportError::Empty { site: run.site_id.clone() })?;
    let draw = |why: String| ReportError::Draw { site: run.site_id.clone(), why };
    let dir = out_dir.join(&run.site_id);
    std::fs::create_dir_all(&dir).map_err(|why| ReportError::Write { path: dir.clone(), why })?;
    let title = format!("{}: {}", run.site_name, run.title);
    let heading = title_lines(&title, TITLE_PX, WIDTH - 60);
    let size = (WIDTH as u32, (head(&heading) + PANEL * panels(run).len() as i32) as u32);

    let mut svg = String::new();
    {
        let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        page(&root, run, &heading, from, to).map_err(draw)?;
        root.present().map_err(|e| draw(e.to_string()))?;
    }
    let (svg_path, png_path, html_path) = (dir.join("run.svg"), dir.join("run.png"), dir.join("index.html"));
    {
        let root = BitMapBackend::new(&png_path, size).into_drawing_area();
        page(&root, run, &heading, from, to).map_err(draw)?;
        root.present().map_err(|e| draw(format!("{}: {e}", png_path.display())))?;
    }
    let write = |path: &Path, text: &str| std::fs::write(path, text).map_err(|why| ReportError::Write { path: path.into(), why });
    write(&svg_path, &svg)?;
    let html = TEMPLATE
        .replace("{{title}}", &escape(&title))
        .replace("{{label}}", &escape(&run.label))
        .replace("{{table}}", &html_table(&run.figures))
        .replace("{{svg}}", svg.get(svg.find("<svg").unwrap_or(0)..).unwrap_or(""));
    write(&html_path, &html)?;
    Ok(vec![svg_path, png_path, html_path])
}

pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn html_table(rows: &[Vec<String>]) -> String {
    let Some((head, body)) = rows.split_first() else { return String::new() };
    let line = |row: &[String], tag: &str| {
        let cells: String = row.iter().map(|c| format!("<{tag}>{}</{tag}>", escape(c))).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let body: String = body.iter().map(|r| line(r, "td")).collect();
    format!("<table>\n<thead>{}</thead>\n<tbody>\n{body}</tbody>\n</table>", line(head, "th"))
}

/// Height of the title, its lines and the label below it.
fn head(heading: &[String]) -> i32 {
    TITLE_LINE * heading.len() as i32 + 82
}

enum Panel {
    Load,
    Setpoints(String),
    Cooling,
    Savings,
}

/// Setpoints of different units get panels of their own.
fn panels(run: &RunReport) -> Vec<Panel> {
    let mut units: Vec<String> = Vec::new();
    for s in &run.setpoints {
        if !units.contains(&s.unit) {
            units.push(s.unit.clone());
        }
    }
    let mut out = vec![Panel::Load];
    out.extend(units.into_iter().map(Panel::Setpoints));
    out.extend([Panel::Cooling, Panel::Savings]);
    out
}

fn page<DB: DrawingBackend>(
    root: &DrawingArea<DB, Shift>,
    run: &RunReport,
    heading: &[String],
    from: Timestamp,
    to: Timestamp,
) -> Result<(), String> {
    root.fill(&WHITE).map_err(|e| e.to_string())?;
    let c = Canvas { area: root };
    let zone = TimeZone::get(&run.time_zone).unwrap_or(TimeZone::UTC);
    let zone_name = if TimeZone::get(&run.time_zone).is_ok() { run.time_zone.as_str() } else { "UTC" };
    for (i, line) in heading.iter().enumerate() {
        c.text(line, (30, TITLE_LINE * (i as i32 + 1)), TITLE_PX, INK, true, HPos::Left, VPos::Center)?;
    }
    let head = head(heading);
    c.text(&format!("{}. Times in {zone_name}.", run.label), (30, head - 34), 22, SOFT, false, HPos::Left, VPos::Center)?;
    for (i, panel) in panels(run).iter().enumerate() {
        let place = Place { c: &c, top: head + PANEL * i as i32, letter: (b'a' + i as u8) as char, from, to, zone: &zone };
        match panel {
            Panel::Load => load(&place, run)?,
            Panel::Setpoints(unit) => setpoints(&place, run, unit)?,
            Panel::Cooling => cooling(&place, run)?,
            Panel::Savings => savings(&place, run)?,
        }
    }
    Ok(())
}

/// Where a panel stands.
struct Place<'a, 'b, DB: DrawingBackend> {
    c: &'a Canvas<'b, DB>,
    top: i32,
    letter: char,
    from: Timestamp,
    to: Timestamp,
    zone: &'a TimeZone,
}

impl<DB: DrawingBackend> Place<'_, '_, DB> {
    /// Title, legend, axes; returns the frame for the lines.
    fn frame(&self, title: &str, keys: &[Key], axis: &str, (lo, hi): (f64, f64)) -> Result<Frame, String> {
        self.c.text(&format!("{}  {title}", self.letter), (30, self.top + 22), 28, INK, true, HPos::Left, VPos::Center)?;
        let used = self.c.legend(keys, (LEFT, self.top + 64), RIGHT, true)?;
        let frame = Frame {
            left: LEFT,
            right: RIGHT,
            top: self.top + 56 + used,
            bottom: self.top + PANEL - 86,
            from: self.from,
            to: self.to,
            lo,
            hi,
        };
        frame.values(self.c, axis, false)?;
        frame.hours(self.c, self.zone)?;
        Ok(frame)
    }
}

fn values(trace: &Trace) -> impl Iterator<Item = f64> + '_ {
    trace.iter().map(|r| r.1)
}

fn load<DB: DrawingBackend>(p: &Place<DB>, run: &RunReport) -> Result<(), String> {
    let mut keys = Vec::new();
    for (l, colour) in run.loads.iter().zip(PALETTE) {
        keys.push(Key::Line(Pen::new(colour, 3), l.name.clone()));
        if !l.forecast.is_empty() {
            keys.push(Key::Area(colour, format!("p10–p90, made {} before", l.ahead)));
        }
    }
    let all = run.loads.iter().flat_map(|l| values(&l.truth_kw).chain(l.forecast.iter().flat_map(|b| [b.p10, b.p90])));
    let frame = p.frame("Load and its forecast", &keys, "heat load, kW", bounds(all, 1.0))?;
    for (l, colour) in run.loads.iter().zip(PALETTE) {
        frame.band(p.c, &l.forecast, colour)?;
        let median: Trace = l.forecast.iter().map(|b| (b.at, b.p50)).collect();
        frame.line(p.c, &median, Pen::new(colour, 2).dashed(8, 7).faint(0.7))?;
    }
    run.loads.iter().zip(PALETTE).try_for_each(|(l, colour)| frame.line(p.c, &l.truth_kw, Pen::new(colour, 3)))
}

fn setpoints<DB: DrawingBackend>(p: &Place<DB>, run: &RunReport, unit: &str) -> Result<(), String> {
    let mine: Vec<_> = run.setpoints.iter().filter(|s| s.unit == unit).zip(PALETTE).collect();
    let limits: Vec<_> = run.limits.iter().filter(|l| l.unit == unit).collect();
    let asked = |colour| Pen::new(colour, 2).dashed(4, 8).stepped();
    let limit = Pen::new(LIMIT, 2).dashed(14, 8);
    let mut keys: Vec<Key> = mine.iter().map(|(s, colour)| Key::Line(Pen::new(*colour, 4), s.name.clone())).collect();
    keys.push(Key::Line(asked(SOFT), "asked".into()));
    keys.push(Key::Line(Pen::new(SOFT, 4), "in force".into()));
    keys.push(Key::Line(Pen::new(SOFT, 2).faint(0.55), "measured".into()));
    if !limits.is_empty() {
        keys.push(Key::Line(limit, "limit".into()));
    }
    let own = mine.iter().flat_map(|(s, _)| values(&s.asked).chain(values(&s.in_force)).chain(values(&s.measured)));
    let all = own.chain(limits.iter().flat_map(|l| values(&l.value)));
    let title = format!("Setpoints and what the loops did, {unit}");
    let axis = if unit == "°C" { "temperature, °C".to_owned() } else { format!("setpoint, {unit}") };
    // Room for the names of limits above and below.
    let (lo, hi) = bounds(all, 2.0);
    let room = if limits.is_empty() { 0.0 } else { 0.08 * (hi - lo) };
    let range = (lo - room, hi + room);
    let frame = p.frame(&title, &keys, &axis, range)?;
    for (s, colour) in &mine {
        frame.line(p.c, &s.measured, Pen::new(*colour, 2).faint(0.55))?;
        frame.line(p.c, &s.in_force, Pen::new(*colour, 4).stepped())?;
        frame.line(p.c, &s.asked, asked(INK))?;
    }
    // The name of a limit stands on the side of its line where no setpoint is: a lower limit's below, an upper one's above.
    let mean = |v: Vec<f64>| v.iter().sum::<f64>() / v.len().max(1) as f64;
    let setpoints_mean = mean(mine.iter().flat_map(|(s, _)| values(&s.in_force)).filter(|v| v.is_finite()).collect());
    let mut labels: Vec<(i32, &str)> = Vec::new();
    for l in limits {
        let rows: Trace = match l.value.as_slice() {
            [only] => vec![(p.from, only.1), (p.to, only.1)],
            trace => trace.to_vec(),
        };
        frame.line(p.c, &rows, limit)?;
        let from_x = RIGHT - p.c.width(&l.name, 20) - 14;
        let ys: Vec<i32> =
            rows.iter().filter(|r| r.1.is_finite() && (frame.x(r.0) >= from_x || l.value.len() == 1)).map(|r| frame.y(r.1)).collect();
        let lower = mean(values(&rows).filter(|v| v.is_finite()).collect()) < setpoints_mean;
        let beside = if lower { ys.iter().max().map(|y| y + 20) } else { ys.iter().min().map(|y| y - 20) };
        labels.extend(beside.map(|y| (y, l.name.as_str())));
    }
    // Two names that would touch are moved apart.
    labels.sort_unstable();
    let mut above = i32::MIN / 2;
    for (y, name) in labels {
        let y = y.max(above + 24);
        above = y;
        p.c.text(name, (RIGHT - 8, y), 20, LIMIT, false, HPos::Right, VPos::Center)?;
    }
    Ok(())
}

fn cooling<DB: DrawingBackend>(p: &Place<DB>, run: &RunReport) -> Result<(), String> {
    let wet = Pen::new(AMBER, 2).dashed(10, 6);
    let (before, after) = (Pen::new(ORANGE, 3), Pen::new(BLUE_, 3));
    let mut keys = vec![Key::Line(before, "fixed setpoints".into()), Key::Line(after, "recommended".into())];
    if !run.wet_bulb_c.is_empty() {
        keys.push(Key::Line(wet, "wet bulb (right)".into()));
    }
    let both = values(&run.cooling_baseline_kw).chain(values(&run.cooling_recommended_kw));
    let (_, hi) = bounds(both, 1.0);
    let frame = p.frame("Cooling power", &keys, "electric power, kW", (0.0, hi))?;
    if !run.wet_bulb_c.is_empty() {
        let (lo, hi) = bounds(values(&run.wet_bulb_c), 5.0);
        let right = Frame { lo, hi, ..frame };
        right.values(p.c, "wet bulb, °C", true)?;
        right.line(p.c, &run.wet_bulb_c, wet)?;
    }
    let frame = Frame { lo: 0.0, hi, ..frame };
    frame.line(p.c, &run.cooling_baseline_kw, before)?;
    frame.line(p.c, &run.cooling_recommended_kw, after)
}

fn savings<DB: DrawingBackend>(p: &Place<DB>, run: &RunReport) -> Result<(), String> {
    let (total, part) = (Pen::new(GREEN_, 4), Pen::new(SKY, 3));
    let last = |t: &Trace| t.iter().rev().find(|r| r.1.is_finite()).map(|r| r.1);
    let name = |what: &str, t: &Trace| last(t).map_or_else(|| what.to_owned(), |v| format!("{what}: {} kWh", table::number(v, 0)));
    let mut keys = vec![Key::Line(total, name("IT, cooling and losses", &run.saved_total_kwh))];
    if !run.saved_cooling_kwh.is_empty() {
        keys.push(Key::Line(part, name("cooling alone", &run.saved_cooling_kwh)));
    }
    let all = values(&run.saved_total_kwh).chain(values(&run.saved_cooling_kwh)).chain(std::iter::once(0.0));
    let frame = p.frame("Energy saved since the start", &keys, "saved, kWh", bounds(all, 1.0))?;
    let zero = frame.y(0.0);
    p.c.path(vec![(frame.left, zero), (frame.right, zero)], SOFT.stroke_width(2))?;
    frame.line(p.c, &run.saved_cooling_kwh, part)?;
    frame.line(p.c, &run.saved_total_kwh, total)
}
