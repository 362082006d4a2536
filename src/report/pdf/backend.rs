//! A plotters backend that draws into a page's content: lines, areas and text stay vectors.

use super::font::Face;
use pdf_writer::{Content, Name, Str};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{
    BackendColor, BackendCoord, BackendStyle, BackendTextStyle, DrawingBackend, DrawingErrorKind, FontStyle, FontTransform,
};

/// Plotters gives the height of a line; fonts want their em.
const LINE_PER_EM: f64 = 1.24;

/// Draws with (0, 0) at the upper left of a rectangle of the page.
pub struct Sheet<'a> {
    pub content: &'a mut Content,
    pub regular: &'a mut Face,
    pub bold: &'a mut Face,
    pub size: (u32, u32),
    /// Upper left corner on the page, and points a pixel.
    pub origin: (f32, f32),
    pub scale: f32,
}

type Done = Result<(), DrawingErrorKind<std::fmt::Error>>;

impl Sheet<'_> {
    fn at(&self, p: BackendCoord) -> (f32, f32) {
        (self.origin.0 + self.scale * p.0 as f32, self.origin.1 - self.scale * p.1 as f32)
    }

    /// Transparency as its colour on white paper.
    fn rgb(c: BackendColor) -> [f32; 3] {
        let on_white = |v: u8| (1.0 - c.alpha * (1.0 - f64::from(v) / 255.0)) as f32;
        [on_white(c.rgb.0), on_white(c.rgb.1), on_white(c.rgb.2)]
    }

    fn pen<S: BackendStyle>(&mut self, style: &S) {
        let [r, g, b] = Self::rgb(style.color());
        self.content.set_stroke_rgb(r, g, b);
        self.content.set_line_width((style.stroke_width() as f32 * self.scale).max(0.3));
    }

    fn ink(&mut self, c: BackendColor) {
        let [r, g, b] = Self::rgb(c);
        self.content.set_fill_rgb(r, g, b);
    }

    fn trace(&mut self, points: impl IntoIterator<Item = BackendCoord>) -> usize {
        let mut n = 0;
        for p in points {
            let (x, y) = self.at(p);
            if n == 0 {
                self.content.move_to(x, y);
            } else {
                self.content.line_to(x, y);
            }
            n += 1;
        }
        n
    }
}

impl DrawingBackend for Sheet<'_> {
    type ErrorType = std::fmt::Error;

    fn get_size(&self) -> (u32, u32) {
        self.size
    }
    fn ensure_prepared(&mut self) -> Done {
        Ok(())
    }
    fn present(&mut self) -> Done {
        Ok(())
    }

    fn draw_pixel(&mut self, p: BackendCoord, c: BackendColor) -> Done {
        self.draw_rect(p, (p.0 + 1, p.1 + 1), &c, true)
    }

    fn draw_line<S: BackendStyle>(&mut self, from: BackendCoord, to: BackendCoord, style: &S) -> Done {
        self.draw_path([from, to], style)
    }

    fn draw_path<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, path: I, style: &S) -> Done {
        if style.color().alpha > 0.0 {
            self.pen(style);
            if self.trace(path) > 1 {
                self.content.stroke()
            } else {
                self.content.end_path()
            };
        }
        Ok(())
    }

    fn draw_rect<S: BackendStyle>(&mut self, a: BackendCoord, b: BackendCoord, style: &S, fill: bool) -> Done {
        if style.color().alpha > 0.0 {
            let ((x0, y0), (x1, y1)) = (self.at(a), self.at(b));
            if fill {
                self.ink(style.color())
            } else {
                self.pen(style)
            }
            self.content.rect(x0.min(x1), y0.min(y1), (x1 - x0).abs(), (y1 - y0).abs());
            if fill {
                self.content.fill_nonzero()
            } else {
                self.content.stroke()
            };
        }
        Ok(())
    }

    fn fill_polygon<S: BackendStyle, I: IntoIterator<Item = BackendCoord>>(&mut self, points: I, style: &S) -> Done {
        if style.color().alpha > 0.0 {
            self.ink(style.color());
            if self.trace(points) > 2 {
                self.content.fill_nonzero()
            } else {
                self.content.end_path()
            };
        }
        Ok(())
    }

    fn draw_circle<S: BackendStyle>(&mut self, centre: BackendCoord, radius: u32, style: &S, fill: bool) -> Done {
        let (x, y) = self.at(centre);
        let (r, k) = (radius as f32 * self.scale, 0.552_285 * radius as f32 * self.scale);
        if fill {
            self.ink(style.color())
        } else {
            self.pen(style)
        }
        self.content.move_to(x + r, y);
        self.content.cubic_to(x + r, y + k, x + k, y + r, x, y + r);
        self.content.cubic_to(x - k, y + r, x - r, y + k, x - r, y);
        self.content.cubic_to(x - r, y - k, x - k, y - r, x, y - r);
        self.content.cubic_to(x + k, y - r, x + r, y - k, x + r, y);
        if fill {
            self.content.fill_nonzero()
        } else {
            self.content.close_and_stroke()
        };
        Ok(())
    }

    fn draw_text<T: BackendTextStyle>(&mut self, text: &str, style: &T, p: BackendCoord) -> Done {
        if style.color().alpha <= 0.0 {
            return Ok(());
        }
        let size = (style.size() / LINE_PER_EM) as f32 * self.scale;
        let bold = matches!(style.style(), FontStyle::Bold);
        let (x, y) = self.at(p);
        let face = if bold { &mut *self.bold } else { &mut *self.regular };
        let (wide, high) = (face.width(text, size), face.ascent(size) * 0.82);
        let glyphs = face.encode(text);
        let anchor = style.anchor();
        let dx = match anchor.h_pos {
            HPos::Left => 0.0,
            HPos::Right => -wide,
            HPos::Center => -wide / 2.0,
        };
        let dy = match anchor.v_pos {
            VPos::Top => -high,
            VPos::Center => -high / 2.0,
            VPos::Bottom => 0.0,
        };
        // Columns of the rotation; pages' y grows upwards.
        let (c, s) = match style.transform() {
            FontTransform::None => (1.0, 0.0),
            FontTransform::Rotate90 => (0.0, -1.0),
            FontTransform::Rotate180 => (-1.0, 0.0),
            FontTransform::Rotate270 => (0.0, 1.0),
        };
        self.ink(style.color());
        self.content.begin_text();
        self.content.set_font(Name(if bold { b"F2" } else { b"F1" }), size);
        self.content.set_text_matrix([c, s, -s, c, x + c * dx - s * dy, y + s * dx + c * dy]);
        self.content.show(Str(&glyphs));
        self.content.end_text();
        Ok(())
    }

    fn estimate_text_size<T: BackendTextStyle>(&self, text: &str, style: &T) -> Result<(u32, u32), DrawingErrorKind<std::fmt::Error>> {
        let em = (style.size() / LINE_PER_EM) as f32;
        let face = if matches!(style.style(), FontStyle::Bold) { &*self.bold } else { &*self.regular };
        Ok((face.width(text, em).ceil() as u32, style.size().ceil() as u32))
    }
}
