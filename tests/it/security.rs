//! What strangers may send, sent: to the API, over the bus, into files. Each test prints what it sent and what came back; the
//! README's table says the same.
//!
//! Those over the bus say SKIPPED where Mosquitto is missing.

use crate::common::{Kept, command, free_port, get, mosquitto, points, scratch, wait};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

const CONFIG: &str = r#"format = 1
broker = "mqtt://127.0.0.1:BROKER"
[[inline]]
format = 1
[inline.site]
id = "hall"
name = "hall"
label = "test"
time_zone = "UTC"
[inline.bus]
filter = "BMS/#"
clock = "data"
[[inline.source]]
filter = "hall/#"
format = "json"
time = "ts"
time_unit = "ms"
max_points = 2000
[[inline.source.value]]
key = "*"
unit = "1"
"#;

struct Running {
    _child: Kept,
    address: String,
    api: String,
}

fn serve(dir: &Path, broker: u16) -> Running {
    let (config, port) = (dir.join("t.toml"), free_port());
    std::fs::write(&config, CONFIG.replace("BROKER", &broker.to_string())).expect("written");
    let address = format!("127.0.0.1:{port}");
    let child = command(&["serve", "--config", &config.to_string_lossy(), "--data-dir", &dir.join("data").to_string_lossy()])
        .args(["--listen", &address])
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(dir.join("log")).expect("a log"))
        .spawn()
        .expect("serve starts");
    let api = format!("http://{address}");
    wait("the API", || ureq::get(format!("{api}/api/v1/session")).call().is_ok());
    Running { _child: Kept(child), address, api }
}

/// Sends bytes as they are; the first line of the answer and its body, empty where the connection was closed without one.
fn raw(address: &str, bytes: &[u8]) -> (String, String) {
    let mut s = TcpStream::connect(address).expect("connected");
    s.set_read_timeout(Some(Duration::from_secs(20))).expect("a limit");
    // A server that has seen enough may close before all is sent.
    let _ = s.write_all(bytes);
    let mut answer = Vec::new();
    let _ = s.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    (head.lines().next().unwrap_or("").to_owned(), body.to_owned())
}

#[test]
fn no_path_leads_anywhere_but_to_its_route() {
    let dir = scratch("security-paths");
    let s = serve(&dir, 9);
    let climbs = [
        "../../../../etc/passwd",
        "..%2f..%2f..%2fetc%2fpasswd",
        "%2e%2e/%2e%2e/etc/passwd",
        "..%5c..%5cboot.ini",
        "%00",
        "....//....//etc/passwd",
        "/etc/passwd",
    ];
    // Every route of the document, with each of its path parameters climbing.
    let document = get(&format!("{}/api/v1/openapi.json", s.api)).expect("the document");
    let (mut sent, mut statuses) = (0, std::collections::BTreeMap::<String, u32>::new());
    let mut ask = |method: &str, target: &str| {
        let body = r#"{"who":"x","why":"y","hold":true,"mode":"auto","actuator":"x","value":1}"#;
        let text = format!(
            "{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let (status, body) = raw(&s.address, text.as_bytes());
        assert!(!body.contains("root:") && !body.contains("[boot"), "{target}: {body}");
        assert!(status.starts_with("HTTP/1.1 4"), "{method} {target}: {status} {body}");
        *statuses.entry(status).or_default() += 1;
        sent += 1;
    };
    for (path, operations) in document["paths"].as_object().expect("paths") {
        for method in operations.as_object().expect("methods").keys().filter(|m| ["get", "post"].contains(&m.as_str())) {
            if path.contains('{') {
                for climb in climbs {
                    let mut target = path.clone();
                    while let (Some(from), Some(to)) = (target.find('{'), target.find('}')) {
                        target.replace_range(from..=to, climb);
                    }
                    ask(&method.to_uppercase(), &target);
                }
            }
        }
    }
    for climb in climbs {
        for target in [
            format!("/{climb}"),
            format!("/app.js/{climb}"),
            format!("/api/v1/series?site=hall&point={climb}"),
            format!("/api/v1/points?site={climb}"),
        ] {
            ask("GET", &target);
        }
    }
    println!("path traversal: {sent} requests over every path parameter and the page's files: {statuses:?}");

    // Names that become folders: of sites, of models.
    for (from, to) in [
        ("id = \"hall\"", "id = \"../../hall\""),
        ("clock = \"data\"", "clock = \"data\"\n[inline.control]\nload_model = \"../../../tmp/x\""),
    ] {
        let bad = dir.join("bad.toml");
        std::fs::write(&bad, CONFIG.replace("BROKER", "9").replacen(from, to, 1)).expect("written");
        let out = command(&["check", "--offline", "--config", &bad.to_string_lossy()]).output().expect("check runs");
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(!out.status.success() && text.contains("use letters") | text.contains("letters, digits"), "{text}");
        println!("{to:?}: {}", text.trim());
    }
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn requests_without_measure_are_refused_and_slow_ones_hold_nobody_up() {
    let dir = scratch("security-size");
    let s = serve(&dir, 9);
    let head = "host: localhost\r\nconnection: close\r\n";
    let many: String = (0..20_000).map(|i| format!("x-{i}: {i}\r\n")).collect();
    let deep = "[".repeat(8_000);
    let json = |path: &str, body: &str| {
        format!("POST {path} HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len())
    };
    let cases: Vec<(&str, String, &[&str])> = vec![
        ("an address of 1 MB", format!("GET /{} HTTP/1.1\r\n{head}\r\n", "a".repeat(1 << 20)), &["414", "431", "400", ""]),
        ("20,000 headers", format!("GET / HTTP/1.1\r\n{many}{head}\r\n"), &["431", "400", ""]),
        ("a header of 1 MB", format!("GET / HTTP/1.1\r\nx: {}\r\n{head}\r\n", "a".repeat(1 << 20)), &["431", "400", ""]),
        ("an act of 1 MB", json("/api/v1/sites/hall/hold", &format!("{{\"who\":\"{}\"}}", "a".repeat(1 << 20))), &["413", ""]),
        ("jobs of 40 MB", json("/api/v1/placement/rank", &format!("{{\"jobs\":[{}]}}", "1,".repeat(20 << 20))), &["413", ""]),
        (
            "an act that claims 4 GB",
            format!(
                "POST /api/v1/sites/hall/hold HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: 4294967296\r\n\r\n{{"
            ),
            &["413"],
        ),
        (
            "two lengths",
            format!("POST /api/v1/sites/hall/hold HTTP/1.1\r\n{head}content-length: 2\r\ncontent-length: 40\r\n\r\n{{}}"),
            &["400"],
        ),
        (
            "a length and chunks",
            format!("POST /api/v1/sites/hall/hold HTTP/1.1\r\n{head}content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
            &["400", "415"],
        ),
        ("8,000 lists in each other", json("/api/v1/placement/rank", &deep), &["400", "422"]),
        ("no HTTP", "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".into(), &["400", ""]),
        ("another method", format!("TRACE / HTTP/1.1\r\n{head}\r\n"), &["405"]),
        ("a foreign host's name", "GET /api/v1/sites HTTP/1.1\r\nhost: evil.example\r\nconnection: close\r\n\r\n".into(), &["403"]),
    ];
    for (what, text, expected) in cases {
        let (status, body) = raw(&s.address, text.as_bytes());
        let code = status.split(' ').nth(1).unwrap_or("").to_owned();
        println!("{what}: {} {}", if status.is_empty() { "connection closed" } else { &status }, body.chars().take(90).collect::<String>());
        assert!(expected.contains(&code.as_str()), "{what}: {status} {body}");
        assert!(get(&format!("{}/api/v1/sites", s.api)).is_some(), "{what}: no answer any more");
    }
    // Four hundred that never end their request; others are answered meanwhile.
    let slow: Vec<TcpStream> = (0..400)
        .map(|i| {
            let mut c = TcpStream::connect(&s.address).expect("connected");
            let part = [
                "GET /api/v1/sites HTTP/1.1\r\nhost: local",
                "POST /api/v1/sites/hall/hold HTTP/1.1\r\nhost: localhost\r\ncontent-length: 500\r\n\r\n{",
                "",
            ][i % 3];
            c.write_all(part.as_bytes()).expect("written");
            c
        })
        .collect();
    let begun = Instant::now();
    for _ in 0..20 {
        assert!(get(&format!("{}/api/v1/sites", s.api)).is_some());
    }
    println!("400 requests that never end: 20 others answered in {} ms", begun.elapsed().as_millis());
    // They are cut off without our doing anything: each sees its end.
    let begun = Instant::now();
    for mut c in slow {
        c.set_read_timeout(Some(Duration::from_secs(90))).expect("a limit");
        let mut rest = Vec::new();
        let _ = c.read_to_end(&mut rest);
        assert!(begun.elapsed() < Duration::from_secs(80), "a slow connection is still open");
    }
    println!("the 400 were cut off after {:.0} s", begun.elapsed().as_secs_f64());
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

/// What the tally of refusals says, by label.
fn refused(api: &str) -> std::collections::BTreeMap<String, f64> {
    let text = ureq::get(&format!("{api}/metrics")).call().ok().and_then(|mut a| a.body_mut().read_to_string().ok()).unwrap_or_default();
    let lines = text.lines().filter(|l| l.starts_with("tramuntana_refused_total{"));
    lines.filter_map(|l| l.split_once('{')?.1.rsplit_once("} ")).filter_map(|(l, n)| Some((l.to_owned(), n.parse().ok()?))).collect()
}

#[test]
fn a_hostile_publisher_costs_counters_and_nothing_else() {
    let dir = scratch("security-bus");
    let broker_port = free_port();
    let Some(_broker) = mosquitto(&dir, broker_port, "allow_anonymous true\nmax_packet_size 268435455") else { return };
    let s = serve(&dir, broker_port);
    wait("the link", || get(&format!("{}/api/v1/sites", s.api)).is_some_and(|v| v[0]["link"]["state"] == "up"));
    let mut o = rumqttc::MqttOptions::new("hostile", "127.0.0.1", broker_port);
    o.set_max_packet_size(2 << 20, 120 << 20);
    let (client, mut events) = rumqttc::Client::new(o, 100);
    // A broker that ends the connection over a message is asked again.
    std::thread::spawn(move || {
        for e in events.iter() {
            match e {
                Ok(_) => {}
                Err(rumqttc::ConnectionError::RequestsDone) => return,
                Err(e) => {
                    println!("the broker: {e}");
                    std::thread::sleep(Duration::from_millis(100));
                }
            }
        }
    });
    let send = |topic: &str, payload: Vec<u8>| client.publish(topic, rumqttc::QoS::AtLeastOnce, false, payload).expect("published");
    let mut n = 0_i64;
    let mut good = |what: &str| {
        n += 1;
        send("hall/ok/a", format!("{{\"ts\": {}, \"v\": {n}}}", 1_784_000_000_000_i64 + n).into_bytes());
        let series = format!("{}/api/v1/points?site=hall&q=ok", s.api);
        wait(what, || get(&series).is_some_and(|p| p["points"].as_array().is_some_and(|l| l.iter().any(|p| p["last_value"] == n as f64))));
    };
    good("a good value first");
    let t = 1_784_000_100_000_i64;
    let deep = |open: &str, n: usize| format!("{{\"ts\": {t}, \"v\": {}", open.repeat(n)).into_bytes();
    let metadata = |object_type: &str, name: &str| {
        serde_json::json!({"objectType": object_type, "pointType": "LiquidTemperature", "engUnit": "C", "objectName": name, "objectId": name}).to_string().into_bytes()
    };
    let long = "x".repeat(60_000);
    let cases: Vec<(&str, String, Vec<u8>)> = vec![
        ("not UTF-8", "hall/x".into(), vec![0xff, 0xfe, 0x80, b'{']),
        ("UTF-8 in UTF-16's clothes", "hall/x".into(), b"{\"ts\": 1784000100000, \"v\": \"\\ud800\"}".to_vec()),
        ("NaN", "hall/x".into(), format!("{{\"ts\": {t}, \"v\": NaN}}").into_bytes()),
        ("Infinity and 1e999", "hall/x".into(), format!("{{\"ts\": {t}, \"v\": 1e999, \"w\": -Infinity}}").into_bytes()),
        ("100,000 objects in each other", "hall/x".into(), deep("{\"a\":", 100_000)),
        ("100,000 lists in each other", "hall/x".into(), deep("[", 100_000)),
        ("a time before the epoch, and one in 290 million years", "hall/x".into(), b"{\"ts\": -9223372036854775808, \"v\": 1}".to_vec()),
        ("a time beyond 64 bits", "hall/x".into(), b"{\"ts\": 99999999999999999999999, \"v\": 1}".to_vec()),
        ("a text where a number is", "hall/x".into(), format!("{{\"ts\": {t}, \"v\": \"=cmd|' /C calc'!A0\"}}").into_bytes()),
        ("no JSON", "hall/x".into(), b"<script>alert(1)</script>".to_vec()),
        ("nothing", "hall/x".into(), vec![]),
        ("1 MiB of zeros", "hall/x".into(), vec![0; 1 << 20]),
        ("a topic of 60,000 letters", format!("hall/{long}"), format!("{{\"ts\": {t}, \"v\": 1}}").into_bytes()),
        ("a topic that climbs", "hall/../../etc/passwd".into(), format!("{{\"ts\": {t}, \"v\": 1}}").into_bytes()),
        ("a topic that is a formula", "hall/=1*1".into(), format!("{{\"ts\": {t}, \"@SUM(A1)\": 1}}").into_bytes()),
        ("levels without names", "hall//////".into(), format!("{{\"ts\": {t}, \"v\": 1}}").into_bytes()),
        ("DSX metadata with wildcards in its path", "BMS/v1/PUB/Metadata/CDU/LiquidTemperature/$SYS".into(), metadata("+/#", "a\0b")),
        ("DSX metadata that climb", "BMS/v1/PUB/Metadata/CDU/LiquidTemperature/../../x".into(), metadata("CDU", "../../../etc/cron.d/x")),
        ("DSX metadata of 900 kB", "BMS/v1/PUB/Metadata/CDU/LiquidTemperature/big".into(), metadata("CDU", &"n".repeat(900_000))),
        (
            "a value in our name",
            "BMS/v1/TRAMUNTANA/Value/CDU/LiquidTemperature/x".into(),
            b"{\"value\":1,\"timestamp\":1784000100000,\"quality\":1}".to_vec(),
        ),
        ("a DSX topic that ends early", "BMS/v1/PUB".into(), b"{}".to_vec()),
    ];
    for (what, topic, payload) in cases {
        let before = refused(&s.api);
        send(&topic, payload);
        good(what);
        let after = refused(&s.api);
        let new: Vec<&String> = after.iter().filter(|(k, v)| before.get(*k).copied().unwrap_or(0.0) < **v).map(|(k, _)| k).collect();
        println!("{what}: {}", if new.is_empty() { "taken in".into() } else { format!("refused and counted: {new:?}") });
    }
    // Five messages of 100 MB, and 20,000 topics that nobody declared.
    for _ in 0..2 {
        send("hall/huge", vec![b'7'; 100 << 20]);
    }
    good("a value after 100 MB");
    for i in 0..20_000 {
        send(&format!("hall/t{i}/x"), format!("{{\"ts\": {t}, \"v\": 1}}").into_bytes());
    }
    good("a value after 20,000 topics");
    let all = refused(&s.api);
    println!("at the end: {all:?}");
    assert!(all.keys().any(|k| k.contains("message above 1 MiB")), "{all:?}");
    let there = points(&s.api, "hall");
    assert!(there.len() <= 2_100, "{} points", there.len());
    assert!(there.iter().all(|p| p["last_value"].as_f64().is_none_or(f64::is_finite)));
    // Nothing was written but in the data directory, under names of ours.
    let mut names: Vec<String> =
        std::fs::read_dir(dir.join("data")).expect("data").flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    assert!(
        names.iter().all(|n| ["FORMAT", "LOCK", "hot", "service.sock", "access", "models", "sealed"].contains(&n.as_str())),
        "{names:?}"
    );
    let log = std::fs::read_to_string(dir.join("log")).expect("the log");
    assert!(
        !log.contains("panicked") && log.len() < 100_000,
        "{} bytes of log: {}",
        log.len(),
        log.chars().take(2_000).collect::<String>()
    );
    drop(s);

    // Names that publishers chose go into an export as texts, and come back as they were.
    let data = dir.join("data").to_string_lossy().into_owned();
    let csv = dir.join("out.csv").to_string_lossy().into_owned();
    let run = |args: &[&str]| {
        let out = command(args).output().expect("the program runs");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8_lossy(&out.stdout).into_owned()
    };
    let hostile = dir.join("hostile.csv");
    std::fs::write(&hostile, "at_ms,point,value\n1784000000000,=HYPERLINK(1),1\n1784000000000,@x/y,2\n1784000000000,'=z,3\n")
        .expect("written");
    let other = dir.join("other").to_string_lossy().into_owned();
    run(&["store", "import", "--data-dir", &other, "--site", "x", &hostile.to_string_lossy()]);
    run(&["store", "export", "--data-dir", &other, "--site", "x", "--out", &csv]);
    let text = std::fs::read_to_string(&csv).expect("the export");
    let cells: Vec<&str> = text.lines().skip(1).flat_map(|l| l.split(',')).map(|c| c.trim_matches('"')).collect();
    assert!(cells.iter().all(|c| !c.starts_with(['=', '@', '+'])), "{text}");
    assert!(text.contains("'@x/y"), "{text}");
    let again = dir.join("again").to_string_lossy().into_owned();
    run(&["store", "import", "--data-dir", &again, "--site", "x", &csv]);
    assert_eq!(run(&["store", "export", "--data-dir", &again, "--site", "x"]), text);
    println!("names that are formulas, exported: {:?}", cells.iter().filter(|c| c.starts_with('\'')).collect::<Vec<_>>());
    let whole = run(&["store", "export", "--data-dir", &data, "--site", "hall"]);
    assert!(whole.lines().skip(1).flat_map(|l| l.split(',')).all(|c| !c.trim_matches('"').starts_with(['=', '@', '+'])));
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
