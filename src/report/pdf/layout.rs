//! Pages: headings, paragraphs, tables, charts, one below the other.

use super::backend::Sheet;
use super::font::{Face, deflate};
use crate::report::draw::SIZE;
use crate::report::frame::{BLUE_, INK, SOFT};
use crate::report::lang::Lang;
use pdf_writer::{Content, Filter, Finish, Name, Pdf, Rect, Ref, Str, TextStr};
use plotters::coord::Shift;
use plotters::prelude::{DrawingArea, IntoDrawingArea, RGBColor};

/// A4 and its margins, points.
const PAGE: (f32, f32) = (595.28, 841.89);
const MARGIN: f32 = 40.0;
/// Width between the margins.
pub const WIDTH: f32 = PAGE.0 - 2.0 * MARGIN;
const LINE: f32 = 1.32;
/// Between a column's text and the next column.
const PAD: f32 = 6.0;
/// Lines of one cell; longer text ends in an ellipsis.
const CELL_LINES: usize = 14;

#[derive(Clone, Copy, PartialEq)]
pub enum Align {
    Left,
    Right,
}

pub struct Column {
    head: String,
    width: f32,
    align: Align,
}

impl Column {
    pub fn new(head: String, width: f32, align: Align) -> Column {
        Column { head, width, align }
    }
}

/// The document while it is written.
pub struct Book {
    title: String,
    lang: Lang,
    regular: Face,
    bold: Face,
    pages: Vec<Content>,
    /// Where the next thing goes: points below the upper edge.
    y: f32,
}

/// A word's parts that a line may end after.
fn parts(word: &str) -> impl Iterator<Item = &str> {
    word.split_inclusive(['/', '_', ':']).filter(|p| !p.is_empty())
}

impl Book {
    pub fn new(title: &str, lang: Lang) -> Result<Book, String> {
        Ok(Book { title: title.into(), lang, regular: Face::load(false)?, bold: Face::load(true)?, pages: vec![Content::new()], y: MARGIN })
    }

    fn face(&mut self, bold: bool) -> &mut Face {
        if bold { &mut self.bold } else { &mut self.regular }
    }

    fn left(&self) -> f32 {
        PAGE.1 - MARGIN - 18.0 - self.y
    }

    fn page(&mut self) {
        self.pages.push(Content::new());
        self.y = MARGIN;
    }

    /// A new page where less than this is left.
    fn need(&mut self, height: f32) {
        if self.left() < height && self.y > MARGIN {
            self.page();
        }
    }

    pub fn space(&mut self, points: f32) {
        self.y += points;
    }

    /// One line at a place, its top at `y`.
    fn put(&mut self, text: &str, x: f32, y: f32, size: f32, bold: bool, colour: RGBColor) {
        let face = if bold { &mut self.bold } else { &mut self.regular };
        let glyphs = face.encode(text);
        let drop = face.ascent(size) * 0.95;
        let Some(c) = self.pages.last_mut() else { return };
        c.set_fill_rgb(f32::from(colour.0) / 255.0, f32::from(colour.1) / 255.0, f32::from(colour.2) / 255.0);
        c.begin_text();
        c.set_font(Name(if bold { b"F2" } else { b"F1" }), size);
        c.next_line(x, PAGE.1 - y - drop);
        c.show(Str(&glyphs));
        c.end_text();
    }

    fn rule(&mut self, y: f32, width: f32, colour: RGBColor) {
        let Some(c) = self.pages.last_mut() else { return };
        c.set_stroke_rgb(f32::from(colour.0) / 255.0, f32::from(colour.1) / 255.0, f32::from(colour.2) / 255.0);
        c.set_line_width(width);
        c.move_to(MARGIN, PAGE.1 - y).line_to(MARGIN + WIDTH, PAGE.1 - y).stroke();
    }

    /// Lines no wider than `width`: broken at spaces, within words after `/`, `_` and `:`; what is still too long, anywhere.
    fn wrap(&mut self, text: &str, size: f32, width: f32, bold: bool) -> Vec<String> {
        let face = self.face(bold);
        let mut out: Vec<String> = Vec::new();
        let mut line = String::new();
        for word in text.split([' ', '\n']).filter(|w| !w.is_empty()) {
            for (i, part) in parts(word).enumerate() {
                let joined = if line.is_empty() || i > 0 { format!("{line}{part}") } else { format!("{line} {part}") };
                if face.width(&joined, size) <= width {
                    line = joined;
                    continue;
                }
                if !line.is_empty() {
                    out.push(std::mem::take(&mut line));
                }
                for c in part.chars() {
                    line.push(c);
                    if face.width(&line, size) > width && line.chars().count() > 1 {
                        let last = line.pop();
                        out.push(std::mem::take(&mut line));
                        line.extend(last);
                    }
                }
            }
        }
        if !line.is_empty() || out.is_empty() {
            out.push(line);
        }
        out
    }

    /// Widths of a table's columns that fill the page: none narrower than its longest part that should not be broken, as long as
    /// the page is wide enough; what is left goes by how much longer the cells are.
    pub fn widths(&mut self, heads: &[String], rows: &[Vec<String>], size: f32) -> Vec<f32> {
        let mut need = |text: &str, bold: bool| {
            let face = self.face(bold);
            let longest = text.split([' ', '\n']).flat_map(parts).map(|p| face.width(p, size)).fold(0.0, f32::max);
            (longest + PAD + 0.5, face.width(text, size) + PAD + 0.5)
        };
        let all: Vec<(f32, f32)> = heads
            .iter()
            .enumerate()
            .map(|(c, head)| {
                let (least, _) = need(head, true);
                let cells = rows.iter().filter_map(|r| r.get(c)).map(|t| need(t, false));
                let (a, b) = cells.fold((least, least), |(a, b), (x, y)| (a.max(x), b.max(y)));
                let a = a.min(WIDTH / 4.0);
                (a, b.clamp(a, WIDTH / 2.0))
            })
            .collect();
        let (least, wish): (f32, f32) = all.iter().fold((0.0, 0.0), |s, w| (s.0 + w.0, s.1 + w.1));
        if least >= WIDTH || wish <= WIDTH {
            let by = if least >= WIDTH { least } else { wish };
            return all.iter().map(|w| WIDTH * (if least >= WIDTH { w.0 } else { w.1 }) / by).collect();
        }
        let part = (WIDTH - least) / (wish - least);
        all.iter().map(|w| w.0 + part * (w.1 - w.0)).collect()
    }

    fn lines(&mut self, text: &str, x: f32, width: f32, size: f32, bold: bool, colour: RGBColor) {
        for line in self.wrap(text, size, width, bold) {
            self.need(size * LINE);
            let y = self.y;
            self.put(&line, x, y, size, bold, colour);
            self.y += size * LINE;
        }
    }

    pub fn title(&mut self, text: &str) {
        self.lines(text, MARGIN, WIDTH, 18.0, true, INK);
        self.space(6.0);
    }

    pub fn accent(&mut self, text: &str) {
        self.lines(text, MARGIN, WIDTH, 9.5, true, BLUE_);
        self.space(2.0);
    }

    pub fn heading(&mut self, text: &str) {
        self.need(70.0);
        self.space(14.0);
        self.lines(text, MARGIN, WIDTH, 12.5, true, INK);
        self.space(3.0);
    }

    pub fn text(&mut self, text: &str, size: f32) {
        self.lines(text, MARGIN, WIDTH, size, false, INK);
        self.space(3.0);
    }

    /// A name and what it is, side by side.
    pub fn pair(&mut self, name: &str, text: &str) {
        self.need(13.0);
        let y = self.y;
        self.put(name, MARGIN, y, 8.5, true, SOFT);
        if text.is_empty() {
            self.y += 22.0;
            let Some(c) = self.pages.last_mut() else { return };
            c.set_line_width(0.5);
            let y = PAGE.1 - self.y + 6.0;
            c.move_to(MARGIN + 90.0, y).line_to(MARGIN + 330.0, y).stroke();
            return;
        }
        self.lines(text, MARGIN + 90.0, WIDTH - 90.0, 8.5, false, INK);
    }

    /// A key with a small paragraph below it.
    pub fn entry(&mut self, key: &str, text: &str) {
        self.need(24.0);
        self.lines(key, MARGIN, WIDTH, 7.5, true, INK);
        self.lines(text, MARGIN + 10.0, WIDTH - 10.0, 7.0, false, SOFT);
        self.space(2.0);
    }

    fn head(&mut self, columns: &[Column], size: f32) {
        let mut x = MARGIN;
        let y = self.y;
        let mut tall = 1;
        for c in columns {
            let lines = self.wrap(&c.head, size, c.width - PAD, true);
            tall = tall.max(lines.len());
            for (i, line) in lines.iter().enumerate() {
                let inset = if c.align == Align::Right { c.width - PAD - self.bold.width(line, size) } else { 0.0 };
                self.put(line, x + inset, y + i as f32 * size * LINE, size, true, INK);
            }
            x += c.width;
        }
        self.y += tall as f32 * size * LINE + 2.0;
        let y = self.y;
        self.rule(y, 0.8, INK);
        self.y += 2.0;
    }

    pub fn table(&mut self, columns: &[Column], rows: &[Vec<String>], size: f32) {
        self.need(size * LINE * 4.0);
        self.head(columns, size);
        for row in rows {
            let cells: Vec<Vec<String>> = columns
                .iter()
                .enumerate()
                .map(|(i, c)| {
                    let mut lines = self.wrap(row.get(i).map_or("", |t| t), size, c.width - PAD, false);
                    if lines.len() > CELL_LINES {
                        lines.truncate(CELL_LINES);
                        if let Some(last) = lines.last_mut() {
                            last.push('…');
                        }
                    }
                    lines
                })
                .collect();
            let tall = cells.iter().map(Vec::len).max().unwrap_or(1) as f32 * size * LINE;
            if self.left() < tall + 4.0 {
                self.page();
                self.head(columns, size);
            }
            let (mut x, y) = (MARGIN, self.y);
            for (c, lines) in columns.iter().zip(&cells) {
                for (i, line) in lines.iter().enumerate() {
                    let inset = if c.align == Align::Right { c.width - PAD - self.regular.width(line, size) } else { 0.0 };
                    self.put(line, x + inset.max(0.0), y + i as f32 * size * LINE, size, false, INK);
                }
                x += c.width;
            }
            self.y += tall + 2.0;
            let y = self.y;
            self.rule(y, 0.25, RGBColor(205, 205, 210));
            self.y += 2.0;
        }
        self.space(6.0);
    }

    /// A chart with its title; `paint` draws on an area of [`SIZE`].
    pub fn chart(&mut self, title: &str, paint: impl FnOnce(&DrawingArea<Sheet<'_>, Shift>) -> Result<(), String>) -> Result<(), String> {
        let scale = WIDTH / SIZE.0 as f32;
        let tall = SIZE.1 as f32 * scale;
        self.need(tall + 44.0);
        self.heading(title);
        let origin = (MARGIN, PAGE.1 - self.y);
        let Some(content) = self.pages.last_mut() else { return Ok(()) };
        let sheet = Sheet { content, regular: &mut self.regular, bold: &mut self.bold, size: SIZE, origin, scale };
        let area = sheet.into_drawing_area();
        paint(&area)?;
        drop(area);
        self.space(tall + 6.0);
        Ok(())
    }

    /// The file's bytes, with page numbers.
    pub fn finish(mut self) -> Result<Vec<u8>, String> {
        let n = self.pages.len();
        let mut contents = Vec::with_capacity(n);
        for (i, content) in std::mem::take(&mut self.pages).into_iter().enumerate() {
            // The foot is put on a page as everything else is: on the last one there is.
            self.pages.push(content);
            let foot = self.lang.say("page", &[&(i + 1).to_string(), &n.to_string()]);
            let wide = self.regular.width(&foot, 7.5);
            let y = PAGE.1 - MARGIN + 6.0;
            self.put(&foot, MARGIN + WIDTH - wide, y, 7.5, false, SOFT);
            let title = self.title.clone();
            self.put(&title, MARGIN, y, 7.5, false, SOFT);
            contents.append(&mut self.pages);
        }
        let mut next = 1;
        let mut id = || {
            let r = Ref::new(next);
            next += 1;
            r
        };
        let (catalog, tree, info) = (id(), id(), id());
        let fonts = [[id(), id(), id(), id(), id()], [id(), id(), id(), id(), id()]];
        let ids: Vec<(Ref, Ref)> = contents.iter().map(|_| (id(), id())).collect();
        let mut pdf = Pdf::new();
        pdf.catalog(catalog).pages(tree).lang(TextStr(self.lang.code()));
        pdf.document_info(info).title(TextStr(&self.title)).producer(TextStr("Tramuntana"));
        pdf.pages(tree).kids(ids.iter().map(|p| p.0)).count(n as i32);
        for ((page, stream), content) in ids.iter().zip(contents) {
            let mut p = pdf.page(*page);
            p.parent(tree).media_box(Rect::new(0.0, 0.0, PAGE.0, PAGE.1)).contents(*stream);
            let mut resources = p.resources();
            resources.fonts().pair(Name(b"F1"), fonts[0][0]).pair(Name(b"F2"), fonts[1][0]);
            resources.finish();
            p.finish();
            let packed = deflate(&content.finish())?;
            pdf.stream(*stream, &packed).filter(Filter::FlateDecode);
        }
        self.regular.write(&mut pdf, fonts[0])?;
        self.bold.write(&mut pdf, fonts[1])?;
        Ok(pdf.finish())
    }
}
