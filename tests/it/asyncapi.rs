//! The DSX side against NVIDIA's AsyncAPI file itself: every message of every channel, taken in and given out.
//!
//! The file is walked by `peers/asyncapi.py` (pyyaml, jsonschema): it makes for each channel and message one instance with
//! what is required and one with everything, checks them with the file's own schemas, and breaks them. What the file takes
//! we take; what it refuses we refuse; what we publish it takes.

use crate::common::{repository, shared};
use serde_json::Value;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use tramuntana::event::Tally;
use tramuntana::ingest::{Packet, SiteIngest, publish};
use tramuntana::site::{Catalogue, Classes, SiteFile};
use tramuntana::time::Timestamp;

const T0: Timestamp = Timestamp(1_743_620_423_000);

fn hall() -> SiteIngest {
    let text = "format = 1\n[site]\nid = \"hall\"\nname = \"Hall\"\ntime_zone = \"UTC\"\n[bus]\nfilter = \"BMS/#\"\nintegration = \"US\"\nclock = \"bms\"\n";
    SiteIngest::new(&SiteFile::parse(Path::new("hall"), text).expect("a site"), Classes::default(), Catalogue::new())
}

#[test]
fn asyncapi() {
    let Some(contract) = shared("contracts/dsx-bms-asyncapi.yaml") else { return };
    let python = std::env::var("TRAMUNTANA_PYTHON").unwrap_or_else(|_| "python3".into());
    if !Command::new(&python).args(["-c", "import yaml, jsonschema"]).output().is_ok_and(|o| o.status.success()) {
        println!("SKIPPED: python with pyyaml and jsonschema not present");
        return;
    }
    let script = repository().join("tests/it/peers/asyncapi.py");
    let walk = Command::new(&python).arg(&script).arg(&contract).arg("generate").output().expect("it runs");
    assert!(walk.status.success(), "{}", String::from_utf8_lossy(&walk.stderr));
    let rows: Vec<Value> = String::from_utf8(walk.stdout).expect("text").lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();

    let (mut hall, tally) = (hall(), Tally::new());
    let text = |v: &Value| v.as_str().expect("a text").to_owned();
    let mut take = |topic: String, payload: String| {
        let before = hall.waiting();
        let t = hall.take(&[Packet { topic, payload: payload.into_bytes().into(), retain: false }], T0, &tally);
        (t.refused, t.values, hall.waiting() > before)
    };
    // Metadata first: a value of an unknown point would wait.
    let (metadata, values): (Vec<&Value>, Vec<&Value>) = rows.iter().partition(|r| text(&r["topic"]).contains("/Metadata/"));
    let mut faults = Vec::new();
    for r in metadata.iter().chain(&values) {
        let (topic, ok) = (text(&r["topic"]), r["ok"] == true);
        if topic.contains("/US/") && ok {
            // An integration's channel: its points are declared by metadata of the bus, below.
            continue;
        }
        let (refused, _, _) = take(topic.clone(), r["payload"].to_string());
        if (refused == 0) != ok {
            faults.push(format!("{}: {topic} {}", if ok { "refused" } else { "taken" }, r["payload"]));
        }
    }
    assert!(faults.is_empty(), "{} of {}:\n{}", faults.len(), rows.len(), faults[..faults.len().min(20)].join("\n"));
    let good = rows.iter().filter(|r| r["ok"] == true).count();
    assert!(good > 500 && hall.catalogue().len() > 200, "{good} messages, {} points", hall.catalogue().len());

    // Everything that is ours goes out as the contract wants it: values, null apart, and heartbeats.
    let mut lines = String::new();
    for (point, topic) in hall.our_points() {
        let out = if point.point_type.starts_with("Heartbeat") {
            publish::heartbeat(point, "US", T0, T0)
        } else {
            publish::value(point, "US", 1.0, T0)
        };
        let out = out.unwrap_or_else(|e| panic!("{topic}: {e}"));
        assert!(out.topic == topic && publish::may_go_out(&topic, "US"));
        lines += &format!("{topic} {}\n", String::from_utf8(out.payload).expect("text"));
    }
    assert!(lines.lines().count() > 20, "{lines}");
    let mut judge = Command::new(&python)
        .arg(&script)
        .arg(&contract)
        .arg("judge")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    judge.stdin.take().expect("piped").write_all(lines.as_bytes()).expect("it reads");
    let verdict = judge.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&verdict.stdout);
    println!("asyncapi: {good} messages taken, {} broken ones refused; published: {said}", rows.len() - good);
    assert!(verdict.status.success(), "{said}");
}
