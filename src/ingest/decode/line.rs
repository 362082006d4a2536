//! Influx line protocol: `measurement[,tag=v…] field=v[,field=v…] [timestamp]`, one line or many.
//!
//! Words: a line's *series* is its measurement with its tags as they stand; see [`series`] for what names the point.
//! Source: InfluxData, "Line protocol" (InfluxDB 2 reference). Telegraf's MQTT output writes it.
//! Invariants: a bad line is refused and the next one read; no line allocates unless a name has an escape.
//! Ours rather than the `influxdb-line-protocol` crate's: that one gives back a list of owned parts per line
//! (`tests/bench/decode.rs` says how fast this is).

use super::time;
use super::{Batch, NAME_MAX, Name, SAMPLES_MAX, Sample, Value, put_tag};
use crate::reading::Quality;
use crate::site::{Source, TimeUnit};
use crate::time::Stamp;
use std::borrow::Cow;

/// Decodes one message.
pub fn decode<'a>(source: &Source, payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    let text = std::str::from_utf8(payload).map_err(|_| "message not a text")?;
    let unit = source.time_unit.unwrap_or(TimeUnit::Ns);
    let mut rest = text;
    while !rest.is_empty() {
        let from = batch.samples.len();
        if from > SAMPLES_MAX {
            return Err("too many values in a message");
        }
        let mut cursor = Cursor { text: rest, at: 0 };
        if let Err(reason) = line(&mut cursor, unit, batch) {
            batch.samples.truncate(from);
            batch.refuse(reason);
            // From the line's beginning: a quotation that never closed has run over the lines behind it.
            cursor.at = 0;
            cursor.skip_line();
        }
        rest = rest.get(cursor.at..).unwrap_or_default();
    }
    Ok(())
}

/// A place in the text. Stops only at ASCII bytes, which are always the beginning of a character.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The text up to the first byte that `end` means and that no backslash escapes, and whether it has escapes.
    fn until(&mut self, end: impl Fn(u8) -> bool) -> (&'a str, bool) {
        let from = self.at;
        let mut escaped = false;
        while let Some(b) = self.peek() {
            if b == b'\\' && self.text.as_bytes().get(self.at + 1).is_some_and(|n| *n != b'\n') {
                escaped = true;
                self.at += 2;
            } else if end(b) {
                break;
            } else {
                self.at += 1;
            }
        }
        self.at = self.at.min(self.text.len());
        // An escaped character may have more bytes than the two that were passed over.
        while !self.text.is_char_boundary(self.at) {
            self.at += 1;
        }
        (self.text.get(from..self.at).unwrap_or_default(), escaped)
    }

    fn spaces(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }

    /// Passes the end of the line.
    fn skip_line(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        self.at += rest.find('\n').map_or(rest.len(), |i| i + 1);
    }
}

fn line<'a>(c: &mut Cursor<'a>, unit: TimeUnit, batch: &mut Batch<'a>) -> Result<(), &'static str> {
    c.spaces();
    match c.peek() {
        None => return Ok(()),
        Some(b'\n' | b'#') => {
            c.skip_line();
            return Ok(());
        }
        _ => {}
    }
    let (series, _) = c.until(|b| matches!(b, b' ' | b'\n'));
    if series.starts_with(',') {
        return Err("line without a measurement");
    }
    if series.len() > NAME_MAX {
        return Err("series too long");
    }
    c.spaces();
    let index = batch.series.len() as u32;
    let from = batch.samples.len();
    loop {
        let (key, escaped) = c.until(|b| matches!(b, b'=' | b',' | b' ' | b'\n'));
        if c.peek() != Some(b'=') || key.is_empty() {
            return Err("line without a field");
        }
        c.at += 1;
        let value = field(c)?;
        if batch.samples.len() > SAMPLES_MAX {
            return Err("too many values in a message");
        }
        if key.len() > NAME_MAX {
            batch.refuse("name too long");
        } else {
            let key = if escaped { Name::Made(unescaped(key)) } else { Name::Sent(key) };
            batch.samples.push(Sample { series: Some(index), key, value, at: None, marks: Quality::GOOD });
        }
        match c.peek() {
            Some(b',') => c.at += 1,
            _ => break,
        }
    }
    c.spaces();
    if !matches!(c.peek(), None | Some(b'\n')) {
        let (stamp, _) = c.until(|b| matches!(b, b' ' | b'\n' | b'\r'));
        let at = Some(timestamp(stamp, unit)?);
        batch.samples.iter_mut().skip(from).for_each(|s| s.at = at);
        c.spaces();
    }
    match c.peek() {
        None => {}
        Some(b'\n') => c.at += 1,
        Some(_) => return Err("text behind the timestamp"),
    }
    batch.series.push(Cow::Borrowed(series));
    Ok(())
}

fn timestamp(text: &str, unit: TimeUnit) -> Result<Stamp, &'static str> {
    time::whole(text.parse().map_err(|_| "timestamp not a whole number")?, unit)
}

/// A field's value: float, `1i`, `1u`, `"text"`, `t`, `true`, `F`, ….
fn field<'a>(c: &mut Cursor<'a>) -> Result<Value<'a>, &'static str> {
    if c.peek() == Some(b'"') {
        c.at += 1;
        let (text, escaped) = c.until(|b| b == b'"');
        if c.peek() != Some(b'"') {
            return Err("text not closed");
        }
        c.at += 1;
        return Ok(Value::Text(if escaped { Cow::Owned(text.replace("\\\"", "\"").replace("\\\\", "\\")) } else { Cow::Borrowed(text) }));
    }
    let from = c.at;
    while let Some(b) = c.peek()
        && !matches!(b, b',' | b' ' | b'\n' | b'\r')
    {
        c.at += 1;
    }
    let text = c.text.get(from..c.at).unwrap_or_default();
    let digits = text.get(..text.len().saturating_sub(1)).unwrap_or_default();
    match text.as_bytes().last() {
        Some(b'0'..=b'9' | b'.') => {
            let number: f64 = text.parse().map_err(|_| "value not a number")?;
            if number.is_finite() { Ok(Value::Number(number)) } else { Err("value not finite") }
        }
        Some(b'i') => digits.parse::<i64>().map(|n| Value::Number(n as f64)).map_err(|_| "value not a number"),
        Some(b'u') => digits.parse::<u64>().map(|n| Value::Number(n as f64)).map_err(|_| "value not a number"),
        None => Err("field without a value"),
        _ => match text {
            "t" | "T" | "true" | "True" | "TRUE" => Ok(Value::Number(1.0)),
            "f" | "F" | "false" | "False" | "FALSE" => Ok(Value::Number(0.0)),
            _ => Err("value not a number"),
        },
    }
}

/// Takes the backslash from `\,`, `\ ` and `\=`.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(ch) = chars.next() {
        match (ch, chars.peek()) {
            ('\\', Some(next @ (',' | ' ' | '='))) => {
                out.push(*next);
                chars.next();
            }
            _ => out.push(ch),
        }
    }
    out
}

/// The measurement and the tags of a series' text.
pub fn parts(series: &str) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let mut c = Cursor { text: series, at: 0 };
    let plain = |(text, escaped): (&str, bool)| if escaped { unescaped(text) } else { text.to_owned() };
    let mut parts = vec![(Cow::Borrowed("measurement"), Cow::Owned(plain(c.until(|b| b == b','))))];
    while c.peek() == Some(b',') {
        c.at += 1;
        let key = plain(c.until(|b| matches!(b, b'=' | b',')));
        if c.peek() == Some(b'=') {
            c.at += 1;
            parts.push((Cow::Owned(key), Cow::Owned(plain(c.until(|b| b == b',')))));
        }
    }
    parts
}

/// What names the points of a series: the measurement and the tags that identify, in the order of their names.
pub fn series(source: &Source, parts: &[(Cow<'_, str>, Cow<'_, str>)]) -> String {
    let mut text = parts.first().map(|(_, m)| m.to_string()).unwrap_or_default();
    let mut tags: Vec<_> = parts.iter().skip(1).filter(|(k, _)| source.identifies(k)).collect();
    tags.sort_unstable();
    tags.iter().for_each(|(k, v)| put_tag(&mut text, k, v));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::tests::{Seen, owned, seen, source};

    const AT: Option<i64> = Some(1_784_000_000_123);

    fn all(payload: &str) -> (Vec<Seen>, Vec<(&'static str, u64)>) {
        let source = source("format = \"line\"");
        let mut batch = Batch::default();
        decode(&source, payload.as_bytes(), &mut batch).unwrap();
        (owned(&batch), batch.refusals.clone())
    }

    #[test]
    fn every_kind_of_value_and_escape() {
        let (seen, refused) = all(concat!(
            "cpu,host=n1,cpu=cpu0 usage_idle=97.5,n=3i,u=4u,on=t,off=False,state=\"a \\\"b\\\", c\" 1784000000123456789\n",
            "# a comment\n\r\n",
            "my\\ meas\\,ure,ta\\=g=v\\ 1 fie\\ ld=-1e-3\n",
            "last x=1 1784000000123000000",
        ));
        let cpu = "cpu,host=n1,cpu=cpu0";
        assert_eq!(
            seen,
            [
                Seen::number("usage_idle", 97.5, AT).of(cpu),
                Seen::number("n", 3.0, AT).of(cpu),
                Seen::number("u", 4.0, AT).of(cpu),
                Seen::number("on", 1.0, AT).of(cpu),
                Seen::number("off", 0.0, AT).of(cpu),
                Seen::text("state", "a \"b\", c", AT).of(cpu),
                Seen::number("fie ld", -0.001, None).of("my\\ meas\\,ure,ta\\=g=v\\ 1"),
                Seen::number("x", 1.0, AT).of("last"),
            ]
        );
        assert_eq!(refused, []);
    }

    #[test]
    fn a_bad_line_leaves_the_others_alone() {
        for (line, why) in [
            ("cpu", "line without a field"),
            ("cpu x", "line without a field"),
            ("cpu x=", "field without a value"),
            ("cpu x=1,", "line without a field"),
            ("cpu x=1,y=z", "value not a number"),
            ("cpu x=NaN", "value not a number"),
            ("cpu x=1e999", "value not finite"),
            ("cpu x=\"open", "text not closed"),
            ("cpu x=1 soon", "timestamp not a whole number"),
            ("cpu x=1 1784000000123456789 more", "text behind the timestamp"),
            (",host=a x=1", "line without a measurement"),
            ("cpu x=99999999999999999999i", "value not a number"),
            ("cpu x=1 -5", "timestamp not after 1970"),
            ("cpu x=1 99999999999999999999", "timestamp not a whole number"),
        ] {
            let (seen, refused) = all(&format!("{line}\nok v=1"));
            assert_eq!((seen, refused.as_slice()), (vec![Seen::number("v", 1.0, None).of("ok")], &[(why, 1)][..]), "{line}");
        }
        assert_eq!(seen(&source("format = \"line\""), &[0xff]), Err("message not a text"));
        all("a\\é b=1\n\\");
    }

    #[test]
    fn the_units_of_time_and_the_parts() {
        let seconds = source("format = \"line\"\ntime_unit = \"s\"");
        assert_eq!(seen(&seconds, b"a x=1 1784000000").unwrap()[0].at, Some(1_784_000_000_000));
        let source = source("format = \"line\"");
        let parts = parts("te\\ mp,zone=b,job_id=7,host=a\\=1");
        assert_eq!(parts[0], ("measurement".into(), "te mp".into()));
        assert_eq!(series(&source, &parts), "te mp,host=a=1,zone=b");
    }
}
