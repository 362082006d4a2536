//! Integration tests of alarms with the program itself: raised, told to a webhook, acknowledged, filed.

use crate::common::{Kept, command, free_port, get, scratch, site, wait};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

/// A webhook that refuses its first call and takes the others.
fn webhook() -> (String, mpsc::Receiver<Value>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}/hook", listener.local_addr().expect("an address"));
    let (tx, rx) = mpsc::channel();
    std::thread::spawn(move || {
        for (n, stream) in listener.incoming().flatten().enumerate() {
            let mut reader = BufReader::new(stream);
            let (mut length, mut line) = (0, String::new());
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                if let Some(v) = line.to_lowercase().strip_prefix("content-length:") {
                    length = v.trim().parse().unwrap_or(0);
                }
                line.clear();
            }
            let mut body = vec![0; length];
            let whole = reader.read_exact(&mut body).is_ok();
            let answer = if n == 0 {
                "HTTP/1.1 500 Busy\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            } else {
                "HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
            };
            let _ = reader.into_inner().write_all(answer.as_bytes());
            if n > 0 && whole && tx.send(serde_json::from_slice(&body).unwrap_or(Value::Null)).is_err() {
                return;
            }
        }
    });
    (url, rx)
}

#[test]
fn a_broker_that_is_away_is_an_alarm_that_is_told_seen_and_filed() {
    let dir = scratch("alarms");
    let (url, told) = webhook();
    let exemplar = crate::common::repository().join("sensors/dsx-exemplar/site.toml");
    let config = dir.join("c.toml");
    let text = format!("format = 1\nbroker = \"mqtt://127.0.0.1:{}\"\nsites = [{exemplar:?}]\n[notify]\nwebhook = {url:?}\n", free_port());
    std::fs::write(&config, text).expect("written");
    let (data, port) = (dir.join("data"), free_port());
    let (data, listen, api) = (data.to_string_lossy(), format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}"));
    let child = command(&["serve", "--config", &config.to_string_lossy(), "--data-dir", &data, "--listen", &listen])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("serve starts");
    let _child = Kept(child);
    let up = || site(&api, "dsx-exemplar")["alarms"].as_array().cloned().unwrap_or_default();
    wait("the alarm", || up().iter().any(|a| a["id"] == "broker"));
    let event = told.recv_timeout(Duration::from_secs(20)).expect("the webhook is told, after one refusal");
    assert!(event["state"] == "raised" && event["alarm"]["id"] == "broker" && event["alarm"]["severity"] == "critical", "{event}");

    let seen = |alarm: &str| {
        ureq::post(format!("{api}/api/v1/sites/dsx-exemplar/alarms/{alarm}/acknowledge"))
            .config()
            .http_status_as_error(false)
            .build()
            .send_json(json!({"who": "Maria"}))
            .map(|a| a.status().as_u16())
    };
    assert_eq!(seen("no-such").ok(), Some(404));
    assert_eq!(seen("broker").ok(), Some(200));
    let broker = up().into_iter().find(|a| a["id"] == "broker").expect("still up");
    assert!(broker["acknowledged_by"] == "Maria" && broker["since"].is_i64(), "{broker}");
    let events = get(&format!("{api}/api/v1/sites/dsx-exemplar/alarms")).expect("events");
    let states: Vec<&str> =
        events.as_array().expect("a list").iter().filter(|e| e["alarm"]["id"] == "broker").filter_map(|e| e["state"].as_str()).collect();
    assert_eq!(states, ["acknowledged", "raised"]);
    let audit = get(&format!("{api}/api/v1/audit")).expect("the trail");
    assert_eq!(audit[0]["act"], json!({"acknowledge": "broker"}));
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
