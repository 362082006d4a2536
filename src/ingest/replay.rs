//! Recorded traffic: CSV `offset,topic,payload` as NVIDIA records its exemplar.
//!
//! Words: an *offset* is a Go duration since the start (`0s`, `3.4731ms`, `1m39.3675441s`); `{{timestamp_ms}}` in a
//! payload stands for start + offset in epoch ms.
//! Invariants: a recording is whole or refused with line and column; memory is bounded by [`MESSAGES_MAX`] and
//! [`BYTES_MAX`]. Absent: no publishing, no pacing.

use super::decode::dsx::Topic;
use crate::time::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Messages that one recording may have.
pub const MESSAGES_MAX: usize = 2_000_000;
/// Largest recording, bytes.
pub const BYTES_MAX: u64 = 512 * 1024 * 1024;
const PLACEHOLDER: &str = "{{timestamp_ms}}";
const HEADER: [&str; 3] = ["offset", "topic", "payload"];

/// A refused recording: where, what was expected, how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{path}: cannot be read: {why}; give the path of a CSV file with the columns offset,topic,payload", path = path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("{path}, line {line}, column {column}: {why}", path = path.display())]
    Refused { path: PathBuf, line: u64, column: &'static str, why: String },
}

/// One recorded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub offset: Duration,
    pub topic: String,
    pub payload: String,
}

impl Message {
    /// The payload with its timestamp filled in.
    pub fn payload_at(&self, start: Timestamp) -> String {
        if !self.payload.contains(PLACEHOLDER) {
            return self.payload.clone();
        }
        let at = start.0.saturating_add(self.offset.as_millis() as i64);
        self.payload.replace(PLACEHOLDER, &at.to_string())
    }

    /// Metadata is retained on the bus; values are not.
    pub fn is_metadata(&self) -> bool {
        matches!(Topic::parse(&self.topic), Ok(Topic::Metadata { .. }))
    }
}

/// A recording, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recording {
    pub messages: Vec<Message>,
}

impl Recording {
    pub fn load(path: &Path) -> Result<Recording, ReplayError> {
        let unreadable = |why: String| ReplayError::Unreadable { path: path.into(), why };
        let size = std::fs::metadata(path).map_err(|e| unreadable(e.to_string()))?.len();
        if size > BYTES_MAX {
            return Err(unreadable(format!("it has {size} bytes, more than {BYTES_MAX}; split it")));
        }
        let text = std::fs::read(path).map_err(|e| unreadable(e.to_string()))?;
        Recording::parse(path, &text)
    }

    /// Reads a recording's bytes; `path` is for the errors.
    pub fn parse(path: &Path, text: &[u8]) -> Result<Recording, ReplayError> {
        let refuse = |line: u64, column: &'static str, why: String| ReplayError::Refused { path: path.into(), line, column, why };
        let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(text);
        let mut messages = Vec::new();
        let mut record = csv::StringRecord::new();
        let mut line = 1;
        loop {
            match reader.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) if messages.is_empty() && line == 1 => {
                    return Err(refuse(1, "offset", "the file is empty; the first line must be offset,topic,payload".into()));
                }
                Ok(false) => return Ok(Recording { messages }),
                Err(e) => {
                    let at = e.position().map_or(line, csv::Position::line);
                    return Err(refuse(at, "offset", format!("is not UTF-8 CSV: {e}")));
                }
            }
            let first = line == 1 && messages.is_empty() && record.get(0) == Some(HEADER[0]);
            line = record.position().map_or(line, csv::Position::line);
            if line == 1 && !first {
                return Err(refuse(1, "offset", "the first line must be the header offset,topic,payload".into()));
            }
            if record.len() != 3 {
                let column = HEADER.get(record.len()).copied().unwrap_or("payload");
                return Err(refuse(line, column, format!("has {} columns; expected offset,topic,payload", record.len())));
            }
            if first {
                if record.iter().ne(HEADER) {
                    return Err(refuse(1, "topic", "the header must be offset,topic,payload".into()));
                }
                line = 2;
                continue;
            }
            let field = |i: usize| record.get(i).unwrap_or_default().to_owned();
            let (offset, topic, payload) = (field(0), field(1), field(2));
            let Some(offset) = go_duration(&offset) else {
                return Err(refuse(line, "offset", format!("{offset:?} is not a duration such as 0s, 3.4731ms or 1m39.3675441s")));
            };
            if topic.is_empty() || topic.len() > 65_535 || topic.contains(['+', '#', '\0']) {
                return Err(refuse(line, "topic", format!("{topic:?} is not an MQTT topic (1 to 65,535 bytes, no `+`, `#`, NUL)")));
            }
            if messages.len() >= MESSAGES_MAX {
                return Err(refuse(line, "offset", format!("more than {MESSAGES_MAX} messages; split the recording")));
            }
            messages.push(Message { offset, topic, payload });
        }
    }
}

/// Reads a Go duration (`time.Duration.String`): one or more of number + unit (h, m, s, ms, µs, us, ns).
pub fn go_duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut seconds = 0.0f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.'))?;
        let number: f64 = rest.get(..end)?.parse().ok()?;
        rest = rest.get(end..)?;
        let unit_end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        seconds += number
            * match rest.get(..unit_end)? {
                "h" => 3600.0,
                "m" => 60.0,
                "s" => 1.0,
                "ms" => 1e-3,
                "us" | "µs" | "μs" => 1e-6,
                "ns" => 1e-9,
                _ => return None,
            };
        rest = rest.get(unit_end..)?;
    }
    Duration::try_from_secs_f64(seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        for (text, micros) in
            [("0s", 0), ("3.4731ms", 3473), ("1m39.3675441s", 99_367_544), ("250µs", 250), ("2h3m", 7_380_000_000), ("1.5us", 1)]
        {
            assert_eq!(go_duration(text).map(|d| d.as_micros() as u64), Some(micros), "{text}");
        }
        for text in ["", "5", "s", "1x", "1m-3s", "1..2s"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }

    #[test]
    fn recordings_are_whole_or_refused_with_their_line() {
        let parse = |t: &str| Recording::parse(Path::new("r.csv"), t.as_bytes()).map_err(|e| e.to_string());
        let r = parse("offset,topic,payload\n1.5s,BMS/v1/PUB/Value/a/b/c,\"{\"\"timestamp\"\":{{timestamp_ms}}}\"\n").unwrap();
        assert_eq!(r.messages[0].payload_at(Timestamp(1000)), r#"{"timestamp":2500}"#);
        assert!(!r.messages[0].is_metadata());
        assert!(parse("").unwrap_err().contains("line 1"));
        assert!(parse("time,topic,payload\n").unwrap_err().contains("header"));
        assert!(parse("offset,topic,payload\n0s,a,b\nsoon,a,b\n").unwrap_err().starts_with("r.csv, line 3, column offset: \"soon\""));
        assert!(parse("offset,topic,payload\n0s,a\n").unwrap_err().starts_with("r.csv, line 2, column payload: has 2 columns"));
        assert!(parse("offset,topic,payload\n0s,a/#,b\n").unwrap_err().starts_with("r.csv, line 2, column topic"));
    }
}
