//! The shipped fonts: widths, glyphs, and the subset of them that a document used.

use flate2::Compression;
use flate2::write::ZlibEncoder;
use pdf_writer::types::{CidFontType, FontFlags, SystemInfo, UnicodeCmap};
use pdf_writer::{Filter, Finish, Name, Pdf, Rect, Ref, Str};
use std::collections::BTreeMap;
use std::io::Write;
use subsetter::GlyphRemapper;

static REGULAR: &[u8] = include_bytes!("../../../dashboards/report/fonts/DejaVuSans.ttf");
static BOLD: &[u8] = include_bytes!("../../../dashboards/report/fonts/DejaVuSans-Bold.ttf");

/// One face of the document.
pub struct Face {
    pub name: &'static str,
    data: &'static [u8],
    face: ttf_parser::Face<'static>,
    used: GlyphRemapper,
    /// New glyph → its character, for those who copy text.
    chars: BTreeMap<u16, char>,
}

impl Face {
    pub fn load(bold: bool) -> Result<Face, String> {
        let (name, data) = if bold { ("DejaVuSans-Bold", BOLD) } else { ("DejaVuSans", REGULAR) };
        let face = ttf_parser::Face::parse(data, 0).map_err(|e| format!("{name}: {e}"))?;
        Ok(Face { name, data, face, used: GlyphRemapper::new(), chars: BTreeMap::new() })
    }

    fn units(&self, v: f32) -> f32 {
        1000.0 * v / f32::from(self.face.units_per_em())
    }

    /// Width in points.
    pub fn width(&self, text: &str, size: f32) -> f32 {
        let advance = |c| self.face.glyph_index(c).and_then(|g| self.face.glyph_hor_advance(g)).unwrap_or(0);
        let sum: u32 = text.chars().map(|c| u32::from(advance(c))).sum();
        sum as f32 * size / f32::from(self.face.units_per_em())
    }

    /// Height of the letters above the line, in points.
    pub fn ascent(&self, size: f32) -> f32 {
        f32::from(self.face.ascender()) * size / f32::from(self.face.units_per_em())
    }

    /// The text as glyphs of the subset, two bytes each.
    pub fn encode(&mut self, text: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(2 * text.len());
        for c in text.chars() {
            let glyph = self.face.glyph_index(c).map_or(0, |g| g.0);
            let new = self.used.remap(glyph);
            self.chars.entry(new).or_insert(c);
            out.extend(new.to_be_bytes());
        }
        out
    }

    /// Writes the font's objects; five of them from `first` on.
    pub fn write(&self, pdf: &mut Pdf, ids: [Ref; 5]) -> Result<(), String> {
        let [font, cid, descriptor, cmap, file] = ids;
        let name = format!("TRAMUN+{}", self.name);
        let info = SystemInfo { registry: Str(b"Adobe"), ordering: Str(b"Identity"), supplement: 0 };
        pdf.type0_font(font)
            .base_font(Name(name.as_bytes()))
            .encoding_predefined(Name(b"Identity-H"))
            .descendant_font(cid)
            .to_unicode(cmap);
        let mut c = pdf.cid_font(cid);
        c.subtype(CidFontType::Type2).base_font(Name(name.as_bytes())).system_info(info).font_descriptor(descriptor).default_width(0.0);
        c.cid_to_gid_map_predefined(Name(b"Identity"));
        let advance = |g: u16| self.units(f32::from(self.face.glyph_hor_advance(ttf_parser::GlyphId(g)).unwrap_or(0)));
        c.widths().consecutive(0, self.used.remapped_gids().map(advance));
        c.finish();
        let b = self.face.global_bounding_box();
        let [x0, y0, x1, y1] = [b.x_min, b.y_min, b.x_max, b.y_max].map(|v| self.units(f32::from(v)));
        pdf.font_descriptor(descriptor)
            .name(Name(name.as_bytes()))
            .flags(FontFlags::NON_SYMBOLIC)
            .bbox(Rect::new(x0, y0, x1, y1))
            .italic_angle(0.0)
            .ascent(self.units(f32::from(self.face.ascender())))
            .descent(self.units(f32::from(self.face.descender())))
            .cap_height(self.units(f32::from(self.face.capital_height().unwrap_or(1493))))
            .stem_v(80.0)
            .font_file2(file);
        let mut map = UnicodeCmap::<u16>::new(Name(b"Custom"), info);
        self.chars.iter().for_each(|(g, c)| map.pair(*g, *c));
        pdf.cmap(cmap, &map.finish());
        let subset = subsetter::subset(self.data, 0, &self.used).map_err(|e| format!("{}: {e}", self.name))?;
        let packed = deflate(&subset)?;
        pdf.stream(file, &packed).filter(Filter::FlateDecode).pair(Name(b"Length1"), subset.len() as i32);
        Ok(())
    }
}

pub fn deflate(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut z = ZlibEncoder::new(Vec::new(), Compression::default());
    z.write_all(data).map_err(|e| e.to_string())?;
    z.finish().map_err(|e| e.to_string())
}
