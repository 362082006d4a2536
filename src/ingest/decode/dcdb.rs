//! DCDB: binary readings, job data, names of topics. Source: DCDB's pusher and collect agent (LRZ, GPL; format only).
//!
//! Words: data are N × 16 bytes, little-endian `int64 value, uint64 timestamp_ns`; exactly 8 bytes are one value that is
//! stamped on arrival. Scale and unit come from the site file.
//! Invariants: any other length is malformed; a job is a note, never a point: its number names nothing.

use super::time;
use super::{Batch, JobNote, Name, Note, SAMPLES_MAX, Value};
use crate::site::TimeUnit;
use serde::Deserialize;

const JOBS: &str = "/DCDB_JOBDATA";
const METADATA: &str = "/DCDB_MAP/METADATA/";
const MAP: &str = "/DCDB_MAP/";

/// Decodes one message of any kind. A reading's name is empty: the topic gives it.
pub fn decode<'a>(topic: &'a str, payload: &'a [u8], batch: &mut Batch<'a>) -> Result<(), &'static str> {
    if topic.starts_with(JOBS) {
        let job = job(payload)?;
        batch.notes.push(Note::Job(job));
        return Ok(());
    }
    if topic.starts_with(METADATA) {
        // Unit and scale are the site file's to say; what a publisher claims of them is only looked at for being whole.
        return serde_json::from_slice::<serde::de::IgnoredAny>(payload).map(|_| ()).map_err(|_| "metadata not JSON");
    }
    if let Some(named) = topic.strip_prefix(MAP) {
        let name = std::str::from_utf8(payload).map_err(|_| "name not a text")?.trim();
        if named.is_empty() || name.is_empty() || name.len() > super::NAME_MAX {
            return Err("map without topic or name");
        }
        batch.notes.push(Note::Named { topic: named, name });
        return Ok(());
    }
    readings(payload, batch)
}

fn readings(payload: &[u8], batch: &mut Batch<'_>) -> Result<(), &'static str> {
    if let Ok(value) = <[u8; 8]>::try_from(payload) {
        return batch.push(Name::Sent(""), Value::Number(i64::from_le_bytes(value) as f64));
    }
    let (pairs, rest) = payload.as_chunks::<16>();
    if pairs.is_empty() || !rest.is_empty() {
        return Err("length neither 8 nor N times 16 bytes");
    }
    if pairs.len() > SAMPLES_MAX {
        return Err("too many values in a message");
    }
    let mut bad = None;
    batch.run.reserve(pairs.len());
    for pair in pairs {
        let pair = u128::from_le_bytes(*pair);
        let (value, ns) = (pair as u64 as i64, (pair >> 64) as u64);
        match i64::try_from(ns).map_err(|_| "timestamp after the year 9999").and_then(|ns| time::whole(ns, TimeUnit::Ns)) {
            Ok(at) => batch.run.push((at, value as f64)),
            Err(reason) => bad = Some((reason, bad.map_or(1, |(_, n)| n + 1))),
        }
    }
    batch.refusals.extend(bad);
    Ok(())
}

#[derive(Deserialize)]
struct WireJob {
    jobid: String,
    #[serde(default)]
    userid: String,
    starttime: String,
    endtime: String,
    #[serde(default)]
    nodes: Vec<String>,
}

/// Job data: every scalar is a text; times are ns. An end of 0, or an odd one, says that the job has started.
fn job(payload: &[u8]) -> Result<JobNote, &'static str> {
    let wire: WireJob = serde_json::from_slice(payload).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => "job data not as agreed",
        _ => "job data not JSON",
    })?;
    let start = time::text(&wire.starttime, TimeUnit::Ns)?.at;
    let end_ns: u64 = wire.endtime.parse().map_err(|_| "job data not as agreed")?;
    let end = (end_ns.is_multiple_of(2) && end_ns > 0).then(|| time::text(&wire.endtime, TimeUnit::Ns).map(|end| end.at)).transpose()?;
    if wire.jobid.is_empty() || wire.jobid.len() > super::NAME_MAX {
        return Err("job data without a job");
    }
    Ok(JobNote { id: wire.jobid, user: wire.userid, start, end, nodes: wire.nodes })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::tests::{Seen, seen, source};
    use crate::time::Timestamp;

    const NS: u64 = 1_784_000_000_123_456_789;

    fn pair(value: i64, ns: u64) -> Vec<u8> {
        [value.to_le_bytes(), ns.to_le_bytes()].concat()
    }

    #[test]
    fn eight_bytes_or_sixteen_each() {
        let source = source("format = \"dcdb\"");
        assert_eq!(seen(&source, &(-42i64).to_le_bytes()), Ok(vec![Seen::number("", -42.0, None)]));
        let two = [pair(7, NS), pair(-8, NS + 1_000_000)].concat();
        let want = vec![Seen::number("", 7.0, Some(1_784_000_000_123)), Seen::number("", -8.0, Some(1_784_000_000_124))];
        assert_eq!(seen(&source, &two), Ok(want.clone()));
        assert_eq!(seen(&source, &[two, pair(1, 0), pair(1, u64::MAX)].concat()), Ok(want));
        for length in [0, 1, 7, 9, 15, 17, 24, 33] {
            assert_eq!(seen(&source, &vec![1; length]), Err("length neither 8 nor N times 16 bytes"), "{length}");
        }
    }

    #[test]
    fn jobs_and_names_are_notes() {
        let note = |topic, payload: &'static str| {
            let mut batch = Batch::default();
            decode(topic, payload.as_bytes(), &mut batch).map(|()| batch.notes)
        };
        let ended =
            r#"{"jobid":"4711","userid":"u1","starttime":"1784000000000000000","endtime":"1784000100000000000","nodes":["/n1","/n2"]}"#;
        let notes = note("/DCDB_JOBDATA/", ended).unwrap();
        let [Note::Job(job)] = notes.as_slice() else { panic!("{notes:?}") };
        assert_eq!((job.id.as_str(), job.end, job.nodes.len()), ("4711", Some(Timestamp(1_784_000_100_000)), 2));
        let started =
            note("/DCDB_JOBDATA/", r#"{"jobid":"4711","userid":"u1","starttime":"1784000000000000000","endtime":"0","nodes":[]}"#);
        assert!(matches!(started.as_deref(), Ok([Note::Job(JobNote { end: None, .. })])));
        assert_eq!(note("/DCDB_JOBDATA/", r#"{"jobid":4711}"#), Err("job data not as agreed"));
        assert_eq!(note("/DCDB_MAP//r1/n1/power", "rack 1 power"), Ok(vec![Note::Named { topic: "/r1/n1/power", name: "rack 1 power" }]));
        assert_eq!(note("/DCDB_MAP/METADATA//r1/n1/power", r#"{"unit":"W"}"#), Ok(vec![]));
        assert_eq!(note("/DCDB_MAP/METADATA//r1/n1/power", "{"), Err("metadata not JSON"));
        assert_eq!(note("/DCDB_MAP/", "x"), Err("map without topic or name"));
    }
}
