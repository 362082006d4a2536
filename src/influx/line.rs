//! Readings as line protocol (InfluxData, "Line protocol reference", v2).
//!
//! ```text
//! temperature,object_id=CDU1,object_type=CDU,path=CDU/LiquidTemperature/hall/x,point_type=LiquidTemperature,site=hall value=21.5,quality=0i 1784030400000000000
//! ```
//!
//! The measurement is the kind of quantity; `value` is in its canonical unit (`units::Kind::unit`), `quality` is the set of
//! marks (`reading::Quality`) as an integer. A reading without a value has `quality` alone. Tags stand in the order of their
//! names, as the server wants them.
//! Invariants: one reading, one line; no text of a publisher ends a tag, a line or the measurement; timestamps are
//! nanoseconds; no job or step identifier is in a tag.

use crate::reading::Quality;
use crate::site::Point;
use crate::time::Stamp;
use std::fmt::Write;

/// Levels of a topic whose next level is the identifier of a job or of a step (EAR: `…/jobid/<j>/stepid/<s>/…`).
const JOB_LEVELS: [&str; 6] = ["jobid", "job_id", "job", "slurm_jobid", "stepid", "step_id"];

/// What a tag's value becomes before it is escaped: line protocol knows no line break and no trailing backslash in a tag, and
/// no empty one. Both are percent-encoded; an empty text is `-`. The same text is asked for in Flux.
pub fn tag_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            let mut bytes = [0; 4];
            c.encode_utf8(&mut bytes).bytes().for_each(|b| {
                let _ = write!(out, "%{b:02X}");
            });
        } else {
            out.push(c);
        }
    }
    if out.ends_with('\\') {
        out.pop();
        out.push_str("%5C");
    }
    if out.is_empty() {
        out.push('-');
    }
    out
}

/// A path without the identifiers of jobs and steps: they would make a series a job, without end.
pub fn without_jobs(path: &str) -> String {
    let mut out: Vec<&str> = Vec::new();
    let mut levels = path.split('/');
    while let Some(level) = levels.next() {
        if JOB_LEVELS.iter().any(|j| level.eq_ignore_ascii_case(j)) && levels.next().is_some() {
            continue;
        }
        out.push(level);
    }
    out.join("/")
}

/// The tag that a point is known and asked for by.
pub fn path_tag(point: &Point) -> String {
    tag_text(&without_jobs(&point.path))
}

/// Measurement and tags of a point, ready for [`push`].
pub fn head(site: &str, point: &Point) -> String {
    let kind = serde_json::to_value(point.kind).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default();
    let mut out = String::new();
    escape(&tag_text(&kind), &[',', ' '], &mut out);
    let (path, object_id) = (path_tag(point), without_jobs(&point.object_id));
    for (tag, value) in [
        ("object_id", object_id.as_str()),
        ("object_type", &point.object_type),
        ("path", &path),
        ("point_type", &point.point_type),
        ("site", site),
    ] {
        if !value.is_empty() {
            let _ = write!(out, ",{tag}=");
            escape(&tag_text(value), &[',', '=', ' '], &mut out);
        }
    }
    out
}

fn escape(text: &str, special: &[char], out: &mut String) {
    for c in text.chars() {
        if special.contains(&c) {
            out.push('\\');
        }
        out.push(c);
    }
}

/// Appends one reading's line. False where its timestamp has no nanoseconds (beyond 1677–2262): nothing is appended.
pub fn push(out: &mut String, head: &str, stamp: Stamp, value: f64, quality: Quality) -> bool {
    let Some(ns) = stamp.epoch_ns() else { return false };
    out.push_str(head);
    let _ = match value.is_finite() {
        true => writeln!(out, " value={value:?},quality={}i {ns}", quality.0),
        false => writeln!(out, " quality={}i {ns}", quality.0),
    };
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PointId;
    use crate::time::Timestamp;
    use crate::units::Kind;

    fn point(path: &str, object_id: &str) -> Point {
        Point {
            id: PointId(0),
            path: path.into(),
            object_type: "CDU".into(),
            point_type: "LiquidTemperature".into(),
            kind: Kind::Temperature,
            eng_unit: "C".into(),
            state_text: vec![],
            object_name: String::new(),
            object_id: object_id.into(),
            associated: false,
            serves_id: vec![],
            process_area: vec![],
            is_setpoint: false,
            integration: String::new(),
            scope: String::new(),
            phase: String::new(),
        }
    }

    #[test]
    fn a_reading_is_one_line() {
        let h = head("hall", &point("CDU/LiquidTemperature/x y", "C,1"));
        assert_eq!(
            h,
            "temperature,object_id=C\\,1,object_type=CDU,path=CDU/LiquidTemperature/x\\ y,point_type=LiquidTemperature,site=hall"
        );
        let mut out = String::new();
        assert!(push(&mut out, &h, Stamp::from_ns(1_784_030_400_123_000_007), 21.5, Quality::LATE));
        assert!(push(&mut out, &h, Stamp::from_ns(1_000_000), f64::NAN, Quality::NO_VALUE));
        assert!(!push(&mut out, &h, Timestamp(i64::MAX).into(), 1.0, Quality::GOOD));
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(lines[0], format!("{h} value=21.5,quality=16i 1784030400123000007"));
        assert_eq!(lines[1], format!("{h} quality=64i 1000000"));
    }

    #[test]
    fn a_hostile_name_stays_inside_its_tag() {
        let h = head("hall", &point("a\nb,c=d e\\", "x\\"));
        assert!(!h.contains('\n') && h.contains("path=a%0Ab\\,c\\=d\\ e%5C,") && h.contains("object_id=x%5C,"), "{h}");
        assert_eq!(head("hall", &point("", "")).matches(',').count(), 4, "an empty identifier is no tag, an empty path is -");
    }

    #[test]
    fn no_job_or_step_is_in_a_tag() {
        let ear = "org/bsc/cluster/mn5/node/n1/gpu/0/jobid/4711/stepid/0/GPU_POWER";
        assert_eq!(without_jobs(ear), "org/bsc/cluster/mn5/node/n1/gpu/0/GPU_POWER");
        let h = head("hall", &point(ear, ear));
        assert!(!h.contains("4711") && !h.contains("jobid") && !h.contains("stepid"), "{h}");
        assert_eq!(without_jobs("a/JobID/7"), "a");
        assert_eq!(without_jobs("a/jobid"), "a/jobid");
    }
}
