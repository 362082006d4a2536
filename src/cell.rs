//! Cells of tables: those of Parquet files as numbers and instants, whatever types their writer chose; texts in CSV.
//!
//! Invariant: a text that a publisher chose is no formula in anybody's spreadsheet ([`plain`]).
//! Absent: no file is opened here; a cell that means nothing is `None`, and what that means is its reader's to say.

use crate::time::{Stamp, Timestamp};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::record::Field;
use parquet::schema::types::ColumnDescriptor;

/// A number; `None` for null, texts and what else is none. Booleans are 0 and 1.
pub fn number(f: &Field) -> Option<f64> {
    Some(match f {
        Field::Bool(v) => f64::from(u8::from(*v)),
        Field::Byte(v) => f64::from(*v),
        Field::Short(v) => f64::from(*v),
        Field::Int(v) => f64::from(*v),
        Field::Long(v) => *v as f64,
        Field::UByte(v) => f64::from(*v),
        Field::UShort(v) => f64::from(*v),
        Field::UInt(v) => f64::from(*v),
        Field::ULong(v) => *v as f64,
        Field::Float(v) => f64::from(*v),
        Field::Double(v) => *v,
        _ => return None,
    })
}

/// What a whole number in a column counts, where the file says that it is a timestamp.
pub fn time_unit(column: &ColumnDescriptor) -> Option<TimeUnit> {
    match column.logical_type_ref() {
        Some(LogicalType::Timestamp { unit, .. }) => Some(*unit),
        _ => None,
    }
}

/// An instant of a column whose whole numbers count `unit`; `None` for texts, null and numbers without a unit.
pub fn instant(f: &Field, unit: Option<TimeUnit>) -> Option<Stamp> {
    match (f, unit) {
        (Field::TimestampMillis(v), _) | (Field::Long(v), Some(TimeUnit::MILLIS)) => Some(Timestamp(*v).into()),
        (Field::TimestampMicros(v), _) | (Field::Long(v), Some(TimeUnit::MICROS)) => Some(Stamp::from_us(*v)),
        (Field::Long(v), Some(TimeUnit::NANOS)) => Some(Stamp::from_ns(*v)),
        _ => None,
    }
}

/// Does a spreadsheet take this beginning for a formula (OWASP, CSV injection)?
fn looks_like_a_formula(text: &str) -> bool {
    text.starts_with(['=', '+', '-', '@', '\t', '\r', '\n'])
}

/// Text of a CSV cell that no spreadsheet takes for a formula.
pub fn plain(text: &str) -> std::borrow::Cow<'_, str> {
    // A text that begins like a neutralised one gets a mark of its own, so that reading takes away what writing put there.
    let marked = text.strip_prefix('\'').is_some_and(|t| looks_like_a_formula(t) || t.starts_with('\''));
    if looks_like_a_formula(text) || marked { format!("'{text}").into() } else { text.into() }
}

/// The text that [`plain`] was given.
pub fn from_plain(cell: &str) -> &str {
    cell.strip_prefix('\'').filter(|t| looks_like_a_formula(t) || t.starts_with('\'')).unwrap_or(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_is_a_formula_and_each_comes_back() {
        for (text, safe) in
            [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("-2", "'-2"), ("+1", "'+1"), ("\t=1", "'\t=1"), ("plain", "plain"), ("", "")]
        {
            assert_eq!(plain(text), safe);
            assert_eq!(from_plain(safe), text);
        }
        for text in ["'=x", "'x", "''", "''=x", "'", "it's"] {
            assert_eq!(from_plain(&plain(text)), text);
        }
    }

    #[test]
    fn instants_count_what_their_column_says() {
        let ms = Stamp::from(Timestamp(1_784_000_000_123));
        assert_eq!(instant(&Field::TimestampMillis(1_784_000_000_123), None), Some(ms));
        assert_eq!(instant(&Field::Long(1_784_000_000_123_000), Some(TimeUnit::MICROS)), Some(ms));
        assert_eq!(instant(&Field::Long(1_784_000_000_123_000_009), Some(TimeUnit::NANOS)), Some(Stamp { ns: 9, ..ms }));
        assert_eq!(instant(&Field::Long(5), None), None);
        assert_eq!((number(&Field::Null), number(&Field::UShort(7))), (None, Some(7.0)));
    }
}
