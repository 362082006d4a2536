//! The Grafana dashboards: every name that they ask for exists, and every question is one that its server understands.

use crate::common::{Kept, free_port, program, repository, scratch, serve, wait};
use crate::influx::peers::flux_verdicts;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// Every dashboard: file and document.
fn boards() -> Vec<(PathBuf, Value)> {
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(repository().join("dashboards/grafana")).expect("the folder").flatten().map(|e| e.path()).collect();
    files.sort();
    let read = |p: PathBuf| {
        let text = std::fs::read_to_string(&p).expect("read");
        let json = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", p.display()));
        (p, json)
    };
    files.into_iter().map(read).collect()
}

/// The questions of all panels under a key (`expr` or `query`), with the panel's title.
fn questions(key: &str) -> Vec<(String, String)> {
    let of_board = |board: &Value| {
        let panels = board["panels"].as_array().cloned().unwrap_or_default();
        panels
            .iter()
            .flat_map(|p| {
                let title = format!("{}, {}", board["title"], p["title"]);
                let asked: Vec<_> =
                    p["targets"].as_array().into_iter().flatten().filter_map(|t| t[key].as_str()).map(str::to_owned).collect();
                asked.into_iter().map(move |q| (title.clone(), q))
            })
            .collect::<Vec<_>>()
    };
    boards().iter().flat_map(|(_, b)| of_board(b)).collect()
}

fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|w| w.starts_with("tramuntana_")).map(str::to_owned).collect()
}

#[test]
fn every_metric_that_a_dashboard_asks_for_exists() {
    let counters = names(include_str!("../../src/event.rs")).into_iter().map(|n| format!("{n}_total"));
    let have: BTreeSet<String> = counters.chain(names(include_str!("../../src/app/gauges.rs"))).collect();
    let asked = questions("expr");
    assert!(asked.len() > 40, "{} questions", asked.len());
    for (title, q) in &asked {
        for name in names(q) {
            assert!(have.contains(&name), "{title}: no metric is called {name}");
        }
    }
    println!("dashboards: {} questions, every metric exists", asked.len());
}

#[test]
fn grafana_knows_every_key() {
    let python = std::env::var("TRAMUNTANA_PYTHON").unwrap_or_else(|_| "python3".into());
    let check = |files: &[PathBuf]| {
        let out = Command::new(&python).arg(repository().join("tests/it/peers/grafana.py")).args(files).output().expect("python runs");
        (out.status.code(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
    };
    let files: Vec<PathBuf> = boards().into_iter().map(|(p, _)| p).collect();
    let (code, said) = check(&files);
    if code == Some(3) {
        println!("SKIPPED: the Python package grafana-foundation-sdk is not installed");
        return;
    }
    assert_eq!(code, Some(0), "{said}");
    // A key that it must not know: or the check would be none.
    let dir = scratch("grafana");
    let bad = dir.join("bad.json");
    let text = std::fs::read_to_string(&files[0]).expect("read").replacen("\"editable\"", "\"edible\"", 1);
    std::fs::write(&bad, text).expect("written");
    assert!(matches!(check(&[bad]), (Some(1), said) if said.contains("edible")));
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn victoria_metrics_understands_every_promql_question() {
    let Some(vm) = program("victoria-metrics") else { return };
    let dir = scratch("promql");
    let (port, url) = {
        let p = free_port();
        (p, format!("http://127.0.0.1:{p}"))
    };
    let args = [
        format!("-httpListenAddr=127.0.0.1:{port}"),
        format!("-storageDataPath={}", dir.join("vm").display()),
        "-memory.allowedBytes=100MB".into(),
        "-search.latencyOffset=0s".into(),
    ];
    let _server = Kept(Command::new(vm).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"));
    wait("VictoriaMetrics", || ureq::get(format!("{url}/health")).call().is_ok());
    // What a service says of itself, whatever its brokers do.
    let service = serve("tramuntana.toml", "mqtt://127.0.0.1:9", &dir.join("data"));
    let ours = ureq::get(format!("{}/metrics", service.api)).call().expect("metrics").body_mut().read_to_string().expect("text");
    ureq::post(format!("{url}/api/v1/import/prometheus")).send(&ours).expect("taken");
    let _ = ureq::get(format!("{url}/internal/force_flush")).call();
    let ask = |q: &str| {
        let mut answer = ureq::get(format!("{url}/api/v1/query"))
            .query("query", q)
            .config()
            .http_status_as_error(false)
            .build()
            .call()
            .expect("an answer");
        answer.body_mut().read_json::<Value>().unwrap_or_default()
    };
    wait("the metrics", || ask("tramuntana_points")["data"]["result"].as_array().is_some_and(|r| !r.is_empty()));
    let mut with_data = 0;
    let all = questions("expr");
    for (title, q) in &all {
        let answer = ask(&q.replace("$site", ".*"));
        assert_eq!(answer["status"], "success", "{title}: {q}: {answer}");
        with_data += usize::from(answer["data"]["result"].as_array().is_some_and(|r| !r.is_empty()));
    }
    assert_eq!(ask("sum by (tramuntana_points")["status"], "error", "what it must refuse");
    assert!(with_data >= 8, "{with_data} of {} questions found something", all.len());
    println!("PromQL: {} questions understood, {with_data} with data of a service without plants", all.len());
    drop(service);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn influxdatas_parser_accepts_every_flux_question() {
    let fill = |q: String| {
        let with = [
            ("${bucket}", "telemetry"),
            ("${site}", "bsc-hq"),
            ("${rack}", "T01"),
            ("v.timeRangeStart", "-1h"),
            ("v.timeRangeStop", "now()"),
            ("v.windowPeriod", "1m"),
        ];
        with.iter().fold(q, |q, (from, to)| q.replace(from, to))
    };
    let mut asked: Vec<String> = questions("query").into_iter().map(|(_, q)| fill(q)).collect();
    for (_, board) in boards() {
        let variables = board["templating"]["list"].as_array().cloned().unwrap_or_default();
        asked.extend(variables.iter().filter_map(|v| v["query"].as_str()).filter(|q| q.contains("schema.")).map(|q| fill(q.to_owned())));
    }
    assert!(asked.len() > 10, "{}", asked.len());
    let good = asked.len();
    asked.push(asked[0].replace("range(", "rnage("));
    let Some(said) = flux_verdicts(&asked) else { return };
    for (q, verdict) in asked[..good].iter().zip(&said) {
        assert_eq!(verdict, "valid", "{q}");
    }
    assert_eq!(said[good], "invalid");
    println!("Flux: {good} questions of the dashboards valid by InfluxData's parser");
}
