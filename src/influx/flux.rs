//! Questions in Flux.
//!
//! Invariants: every generated query parses and type-checks by InfluxData's own parser (a test runs it); a text from outside
//! becomes a string literal by [`string`] alone; windows are aligned to the epoch, as the embedded store's steps are; sums,
//! counts, least and largest values are asked for by their plain functions, which the server pushes down to its storage.
//! Marks are joined by `bitwise.sor`, which is there since Flux 0.173 (InfluxDB 2.4).

use crate::time::{Span, Timestamp};
use std::fmt::Write;

/// The instants that the server's nanoseconds can say, ms.
const INSTANT_MS_MAX: i64 = i64::MAX / 1_000_000;

/// A Flux string literal. Besides quotes, backslashes and control characters, `${` would begin an interpolation.
pub fn string(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '$' if chars.peek() == Some(&'{') => out.push_str("\\$"),
            c if c.is_control() => {
                let mut bytes = [0; 4];
                c.encode_utf8(&mut bytes).bytes().for_each(|b| {
                    let _ = write!(out, "\\x{b:02x}");
                });
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// Steps of one series with `from <= time < to`: tables `sum`, `count`, `min`, `max` (`_time`, `_value`) and `quality` (`_start`,
/// `marks`). `path` is `line::path_tag` of the point.
pub fn series(bucket: &str, site: &str, path: &str, from: Timestamp, to: Timestamp, step: Span) -> String {
    let [from, to] = [from, to].map(|t| Timestamp(t.0.clamp(-INSTANT_MS_MAX, INSTANT_MS_MAX)));
    let mut q = format!(
        "import \"bitwise\"\n\ndata = from(bucket: {}) |> range(start: {from}, stop: {to})\n    |> filter(fn: (r) => r.site == {} and r.path == {})\nvalues = data |> filter(fn: (r) => r._field == \"value\")\n",
        string(bucket),
        string(&super::line::tag_text(site)),
        string(path)
    );
    let every = step.0.max(1);
    for f in ["sum", "count", "min", "max"] {
        let _ = writeln!(
            q,
            "values |> aggregateWindow(every: {every}ms, fn: {f}, createEmpty: false, timeSrc: \"_start\") |> keep(columns: [\"_time\", \"_value\"]) |> yield(name: \"{f}\")"
        );
    }
    let _ = writeln!(
        q,
        "data |> filter(fn: (r) => r._field == \"quality\") |> window(every: {every}ms)\n    |> reduce(identity: {{marks: 0}}, fn: (r, accumulator) => ({{marks: bitwise.sor(a: accumulator.marks, b: r._value)}}))\n    |> keep(columns: [\"_start\", \"marks\"]) |> yield(name: \"quality\")"
    );
    q
}

/// Is the bucket there, and may the token see it? One row, or none.
pub fn bucket_is_there(bucket: &str) -> String {
    format!("buckets() |> filter(fn: (r) => r.name == {}) |> keep(columns: [\"name\"])", string(bucket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_cannot_leave_their_literal() {
        assert_eq!(string("a\"b\\c${d}$e\nf\u{1}"), "\"a\\\"b\\\\c\\${d}$e\\nf\\x01\"");
    }
}
