//! Jobs as `squeue --json`, `sacct --json` and slurmrestd's `/slurm/…/jobs` give them.
//!
//! Slurm 22.05 writes plain numbers and texts; later versions write `{"set": true, "infinite": false, "number": 7}` and
//! lists of states. Invariant: reading is total; what has no identifier or no state is counted, never guessed.

use super::node::{gpus, gres};
use crate::site::hosts;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Jobs that one answer may hold.
pub const JOBS_MAX: usize = 100_000;

/// One job.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Job {
    pub id: String,
    pub partition: String,
    pub nodes: Vec<String>,
    pub gpus: u32,
    /// Waits for resources (else it runs).
    pub waits: bool,
    /// Epoch s; 0 = not known.
    pub start_s: i64,
    pub end_s: i64,
    /// Latest start that still meets its deadline, epoch s; 0 = it has none.
    pub latest_start_s: i64,
}

/// Jobs that wait or run, and how many could not be read. `Err` = the text is no list of jobs.
pub fn parse(text: &str) -> Result<(Vec<Job>, usize), String> {
    let root: Value = serde_json::from_str(text).map_err(|e| format!("no JSON: {e}"))?;
    let Some(list) = root.get("jobs").and_then(Value::as_array) else {
        return Err("it has no list named `jobs`; give the output of squeue --json, sacct --json or slurmrestd's /jobs".into());
    };
    let (mut out, mut bad) = (vec![], list.len().saturating_sub(JOBS_MAX));
    for v in list.iter().take(JOBS_MAX) {
        match one(v) {
            Some(Some(job)) => out.push(job),
            Some(None) => {}
            None => bad += 1,
        }
    }
    Ok((out, bad))
}

fn number(v: &Value) -> Option<i64> {
    match v {
        Value::Number(n) => n.as_i64(),
        Value::Object(o) if o.get("set").and_then(Value::as_bool) != Some(false) => o.get("number").and_then(Value::as_i64),
        Value::String(s) => s.parse().ok(),
        _ => None,
    }
}

fn state(v: &Value) -> Option<String> {
    let s = v.get("job_state").or_else(|| v.get("state").and_then(|s| s.get("current")))?;
    let one = s.as_str().or_else(|| s.as_array().and_then(|a| a.first()).and_then(Value::as_str))?;
    Some(one.to_uppercase())
}

/// `None` = unreadable; `Some(None)` = a job that is over.
fn one(v: &Value) -> Option<Option<Job>> {
    let id = v.get("job_id").and_then(number)?;
    let waits = match state(v)?.as_str() {
        "PENDING" | "CONFIGURING" | "REQUEUED" | "REQUEUE_HOLD" => true,
        "RUNNING" | "SUSPENDED" | "COMPLETING" | "STAGE_OUT" => false,
        _ => return Some(None),
    };
    let text = |key: &str| v.get(key).and_then(Value::as_str).unwrap_or("").to_owned();
    let when =
        |key: &str| v.get(key).or_else(|| v.get("time").and_then(|t| t.get(key.trim_end_matches("_time")))).and_then(number).unwrap_or(0);
    let nodes = split_hosts(&text("nodes"));
    let tres = [text("tres_alloc_str"), text("tres_req_str")];
    let listed = |side: &str| {
        let all = v.get("tres").and_then(|t| t.get(side)).and_then(Value::as_array)?;
        let gpu =
            |t: &&Value| t.get("type").and_then(Value::as_str) == Some("gres") && t.get("name").and_then(Value::as_str) == Some("gpu");
        all.iter().find(gpu).and_then(|t| t.get("count")).and_then(number).and_then(|n| u32::try_from(n).ok())
    };
    // Where the cluster does not account for GPUs, the job's own lists tell.
    let detail = || {
        let all = v.get("gres_detail").and_then(Value::as_array).filter(|a| !a.is_empty())?;
        Some(all.iter().filter_map(Value::as_str).map(gres).fold(0, u32::saturating_add)).filter(|n| *n > 0)
    };
    let per_node = || {
        let each = gres(text("tres_per_node").split(':').skip_while(|w| *w == "gres").collect::<Vec<_>>().join(":").as_str());
        Some(each.saturating_mul(u32::try_from(v.get("node_count").and_then(number).unwrap_or(1).max(1)).unwrap_or(1))).filter(|n| *n > 0)
    };
    let told = tres.iter().find_map(|t| gpus(t)).or_else(|| listed("allocated")).or_else(|| listed("requested"));
    let count = told.or_else(detail).or_else(per_node).unwrap_or(0);
    let (deadline, limit_min) = (when("deadline"), v.get("time_limit").and_then(number).unwrap_or(0));
    Some(Some(Job {
        id: id.to_string(),
        partition: text("partition"),
        nodes: if waits { vec![] } else { nodes },
        gpus: count,
        waits,
        start_s: when("start_time"),
        end_s: when("end_time"),
        latest_start_s: if deadline > 0 { deadline.saturating_sub(limit_min.saturating_mul(60)) } else { 0 },
    }))
}

/// `n[01-02],m7`: a comma inside brackets separates numbers, outside names.
pub fn split_hosts(list: &str) -> Vec<String> {
    let (mut parts, mut depth, mut from) = (vec![], 0, 0);
    for (i, c) in list.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&list[from..i]);
                from = i + 1;
            }
            _ => {}
        }
    }
    parts.push(&list[from..]);
    parts.into_iter().filter(|p| !p.is_empty() && *p != "None assigned").filter_map(|p| hosts(p).ok()).flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_new_shapes_are_read() {
        let old = r#"{"jobs":[{"job_id":7,"job_state":"RUNNING","partition":"train","nodes":"n[01-02],m7","tres_alloc_str":"cpu=4,gres/gpu=16","start_time":10,"end_time":20},
            {"job_id":8,"job_state":"PENDING","nodes":"","tres_req_str":"cpu=1,gres/gpu=2","deadline":7200,"time_limit":60},{"job_id":9,"job_state":"COMPLETED"},{"x":1}]}"#;
        let (jobs, bad) = parse(old).unwrap();
        assert_eq!((jobs.len(), bad), (2, 1));
        assert_eq!((jobs[0].nodes.as_slice(), jobs[0].gpus), (["n01", "n02", "m7"].map(String::from).as_slice(), 16));
        assert_eq!((jobs[1].waits, jobs[1].gpus, jobs[1].latest_start_s), (true, 2, 3600));
        let bare = r#"{"jobs":[{"job_id":1,"job_state":"RUNNING","nodes":"n1","tres_alloc_str":"cpu=1","gres_detail":["gpu:h100:2(IDX:0-1)"]},
            {"job_id":2,"job_state":"PENDING","tres_per_node":"gres:gpu:4","node_count":3}]}"#;
        assert_eq!(parse(bare).unwrap().0.iter().map(|j| j.gpus).collect::<Vec<_>>(), [2, 12]);
        let new = r#"{"jobs":[{"job_id":7,"job_state":["RUNNING"],"nodes":"n1","start_time":{"set":true,"infinite":false,"number":5}}]}"#;
        assert_eq!(parse(new).unwrap().0[0].start_s, 5);
        let sacct = r#"{"jobs":[{"job_id":3,"state":{"current":"RUNNING"},"nodes":"n3","time":{"start":9,"end":0},"tres":{"allocated":[{"type":"gres","name":"gpu","count":4}]}}]}"#;
        let (jobs, _) = parse(sacct).unwrap();
        assert_eq!((jobs[0].gpus, jobs[0].start_s), (4, 9));
        assert!(parse("[]").unwrap_err().contains("squeue --json") && parse("x").is_err());
    }
}
