//! The report's words and numbers in English, Spanish and Catalan. Fields' names are in the packs; the rest is in `words`.

mod words;

use clap::ValueEnum;
use serde::Serialize;
use words::WORDS;

/// A language of the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Lang {
    #[default]
    En,
    Es,
    Ca,
}

impl Lang {
    pub const ALL: [Lang; 3] = [Lang::En, Lang::Es, Lang::Ca];

    pub fn code(self) -> &'static str {
        match self {
            Lang::En => "en",
            Lang::Es => "es",
            Lang::Ca => "ca",
        }
    }

    /// The language of a code.
    pub fn of(code: &str) -> Option<Lang> {
        Lang::ALL.into_iter().find(|l| l.code() == code)
    }

    /// A word; the key itself where there is none, which a test forbids.
    pub fn t(self, key: &str) -> String {
        let word = WORDS.iter().find(|w| w.0 == key);
        word.map_or(key, |w| match self {
            Lang::En => w.1,
            Lang::Es => w.2,
            Lang::Ca => w.3,
        })
        .to_owned()
    }

    /// A sentence with its parts in place.
    pub fn say(self, key: &str, parts: &[&str]) -> String {
        let mut out = String::new();
        let text = self.t(key);
        let mut pieces = text.split("{}");
        out.push_str(pieces.next().unwrap_or(""));
        for (i, piece) in pieces.enumerate() {
            out.push_str(parts.get(i).copied().unwrap_or(""));
            out.push_str(piece);
        }
        out
    }

    /// A number with the language's decimal sign, thin groups of three, and so many digits after the sign.
    pub fn number(self, v: f64, digits: usize) -> String {
        let plain = format!("{v:.digits$}");
        let (whole, rest) = plain.split_once('.').unwrap_or((&plain, ""));
        let (sign, whole) = whole.strip_prefix('-').map_or(("", whole), |w| ("−", w));
        let mut grouped = String::new();
        for (i, c) in whole.chars().enumerate() {
            if i > 0 && (whole.len() - i) % 3 == 0 && whole.len() > 4 {
                grouped.push('\u{202f}');
            }
            grouped.push(c);
        }
        let point = if self == Lang::En { "." } else { "," };
        if rest.is_empty() { format!("{sign}{grouped}") } else { format!("{sign}{grouped}{point}{rest}") }
    }

    /// A value as a person reads it: about five digits.
    pub fn value(self, v: f64) -> String {
        let digits = match v.abs() {
            a if a >= 1000.0 => 0,
            a if a >= 100.0 => 1,
            a if a >= 10.0 => 2,
            a if a >= 1.0 => 3,
            0.0 => 0,
            _ => 4,
        };
        self.number(v, digits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_three_languages_with_the_same_parts() {
        for (key, en, es, ca) in WORDS {
            let parts = |t: &str| t.matches("{}").count();
            assert!(!en.is_empty() && parts(en) == parts(es) && parts(es) == parts(ca), "{key}");
            assert_eq!(WORDS.iter().filter(|w| w.0 == *key).count(), 1, "{key} is there twice");
        }
    }

    #[test]
    fn numbers_are_written_as_people_do() {
        assert_eq!(Lang::En.number(-1_234_567.891, 1), "−1\u{202f}234\u{202f}567.9");
        assert_eq!(Lang::Ca.value(1.2345), "1,234");
        assert_eq!(Lang::Es.value(0.0), "0");
    }
}
