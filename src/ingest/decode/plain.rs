//! JSON as most publishers write it: texts without escapes, numbers of at most 19 digits.
//!
//! A cursor that reads such JSON in one pass and gives up (`None`) at anything else, right or wrong; whoever uses it then
//! asks `serde_json`, whose word counts. So what it does read must be what `serde_json` would read: the same text, the same
//! bits of the number, the same refusal of leading zeros, bare points and control characters.
//! Invariants: total; no allocation; what is read borrows from the message.
//! Why: a message of one value costs `serde_json` some 200 ns, most of it in finding out what it is; this costs a quarter.

/// Powers of ten that a double holds exactly.
const TENS: [f64; 23] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22];
/// Whole numbers up to here are exact in a double.
const EXACT: u64 = 1 << 53;

/// A number as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Without point and exponent, and not −0.
    Whole(i64),
    Other(f64),
}

impl Number {
    #[inline]
    pub fn value(self) -> f64 {
        match self {
            Number::Whole(n) => n as f64,
            Number::Other(v) => v,
        }
    }
}

/// A place in a message.
pub struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    /// `None` where the message is no UTF-8.
    pub fn new(message: &'a [u8]) -> Option<Cursor<'a>> {
        Some(Cursor { text: std::str::from_utf8(message).ok()?, at: 0 })
    }

    /// The next byte that is no white space; it stays.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(b) = bytes.get(self.at) {
            if !matches!(b, b' ' | b'\n' | b'\t' | b'\r') {
                return Some(*b);
            }
            self.at += 1;
        }
        None
    }

    /// Takes a byte, with white space before it.
    #[inline]
    pub fn take(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// Takes a word, such as `null`.
    pub fn word(&mut self, wanted: &str) -> Option<()> {
        self.peek()?;
        self.text.get(self.at..)?.starts_with(wanted).then(|| self.at += wanted.len())
    }

    /// Takes the end of the message.
    pub fn end(&mut self) -> Option<()> {
        self.peek().is_none().then_some(())
    }

    /// Takes a text.
    #[inline]
    pub fn text(&mut self) -> Option<&'a str> {
        self.take(b'"')?;
        let from = self.at;
        let length = self.text.as_bytes().get(from..)?.iter().position(|b| *b < 0x20 || matches!(b, b'"' | b'\\'))?;
        self.at = from + length;
        self.take_at(b'"')?;
        self.text.get(from..from + length)
    }

    #[inline]
    fn take_at(&mut self, wanted: u8) -> Option<()> {
        (*self.text.as_bytes().get(self.at)? == wanted).then(|| self.at += 1)
    }

    /// Takes digits into `mantissa` and returns how many they were.
    #[inline]
    fn digits(&mut self, mantissa: &mut u64) -> usize {
        let from = self.at;
        for b in self.text.as_bytes().get(from..).unwrap_or_default() {
            let digit = b.wrapping_sub(b'0');
            if digit > 9 {
                break;
            }
            *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
            self.at += 1;
        }
        self.at - from
    }

    /// Takes a number.
    #[inline]
    pub fn number(&mut self) -> Option<Number> {
        self.peek()?;
        let (from, mut mantissa) = (self.at, 0);
        let negative = self.take_at(b'-').is_some();
        let first = *self.text.as_bytes().get(self.at)?;
        let whole = self.digits(&mut mantissa);
        if whole == 0 || (first == b'0' && whole > 1) {
            return None;
        }
        let fraction = match self.take_at(b'.') {
            None => 0,
            Some(()) => match self.digits(&mut mantissa) {
                0 => return None,
                n => n,
            },
        };
        if whole + fraction > 19 || matches!(self.text.as_bytes().get(self.at), Some(b'e' | b'E')) {
            return None;
        }
        let sign = if negative { -1.0 } else { 1.0 };
        if fraction == 0 && mantissa > 0 {
            let n = i64::try_from(mantissa).ok()?;
            return Some(Number::Whole(if negative { -n } else { n }));
        }
        if fraction == 0 && !negative {
            return Some(Number::Whole(0));
        }
        // Exact over exact is rounded once, as it should be (Clinger, "How to read floating point numbers accurately", 1990).
        if mantissa <= EXACT {
            return Some(Number::Other(sign * (mantissa as f64 / TENS.get(fraction)?)));
        }
        self.text.get(from..self.at)?.parse().ok().map(Number::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, SeedableRng};

    fn number(text: &str) -> Option<f64> {
        let mut c = Cursor::new(text.as_bytes())?;
        let n = c.number()?;
        c.end()?;
        Some(n.value())
    }

    #[test]
    fn numbers_are_the_ones_that_serde_json_reads() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(4);
        let mut read = 0;
        for _ in 0..200_000 {
            let text = match rng.random_range(0..4) {
                0 => rng.random::<i64>().to_string(),
                1 => format!("{}.{:04}", rng.random_range(-5000..5000), rng.random_range(0..10_000)),
                2 => format!("{:?}", f64::from_bits(rng.random())),
                _ => (0..rng.random_range(1..9)).map(|_| char::from(b"0123456789-+.eE "[rng.random_range(0..16)])).collect(),
            };
            if let Some(n) = number(&text) {
                let theirs: f64 = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{text}: {e}"));
                assert_eq!(n.to_bits(), theirs.to_bits(), "{text}");
                read += 1;
            }
        }
        assert!(read > 80_000, "{read}");
        for (text, want) in [("0", 0.0), ("-0", -0.0), ("-0.0", -0.0), ("9007199254740993.0", 9007199254740992.0), (" 7 ", 7.0)] {
            assert_eq!(number(text).map(f64::to_bits), Some(f64::to_bits(want)), "{text}");
        }
        for text in ["", "-", "01", "1.", ".5", "1e5", "+1", "1 2", "NaN", "12345678901234567890"] {
            assert_eq!(number(text), None, "{text}");
        }
    }

    #[test]
    fn texts_are_borrowed_or_left_to_others() {
        let text = |t: &'static str| Cursor::new(t.as_bytes()).and_then(|mut c| c.text());
        assert_eq!((text(r#" "a°" "#), text("\"\"")), (Some("a°"), Some("")));
        assert_eq!((text(r#""a\n""#), text("\"a\n\""), text("\"a"), text("a")), (None, None, None, None));
        assert!(Cursor::new(&[b'"', 0xff, b'"']).is_none());
    }
}
