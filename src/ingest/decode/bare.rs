//! Bare values: a payload is one number, a truth value or a state's text; the topic names the point.
//!
//! Invariant: white space around the value is no part of it; an empty payload is refused, `null` and `nan` are "no value".

use super::{Batch, NAME_MAX, Name, Value};
use std::borrow::Cow;

/// Decodes one message. The value's name is empty: the topic gives it.
pub fn decode<'a>(payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    let text = std::str::from_utf8(payload).map_err(|_| "value not a text")?.trim();
    if text.is_empty() {
        return Err("value empty");
    }
    if text.len() > NAME_MAX {
        return Err("value too long");
    }
    batch.push(Name::Sent(""), value(text)?)
}

/// A value written as text.
pub(super) fn value(text: &str) -> Result<Value<'_>, &'static str> {
    if let Ok(number) = text.parse::<f64>() {
        return match number {
            n if n.is_finite() => Ok(Value::Number(n)),
            n if n.is_nan() => Ok(Value::Null),
            _ => Err("value not finite"),
        };
    }
    Ok(match text {
        "true" | "True" | "TRUE" => Value::Number(1.0),
        "false" | "False" | "FALSE" => Value::Number(0.0),
        "null" => Value::Null,
        other => Value::Text(Cow::Borrowed(other)),
    })
}

#[cfg(test)]
mod tests {
    use crate::ingest::decode::tests::{Seen, seen, source};

    #[test]
    fn one_value_a_message() {
        let source = source("format = \"bare\"");
        let check = |payload: &str, want: Result<Seen, &'static str>| {
            assert_eq!(seen(&source, payload.as_bytes()), want.map(|s| vec![s]), "{payload:?}");
        };
        check("21.5", Ok(Seen::number("", 21.5, None)));
        check(" -3e2\n", Ok(Seen::number("", -300.0, None)));
        check("true", Ok(Seen::number("", 1.0, None)));
        check("open", Ok(Seen::text("", "open", None)));
        check("NaN", Ok(Seen::null("", None)));
        check("1e999", Err("value not finite"));
        check("-inf", Err("value not finite"));
        check("", Err("value empty"));
        assert_eq!(seen(&source, &[0xff]), Err("value not a text"));
    }
}
