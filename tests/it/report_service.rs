//! Reports that the running service makes: ordered, waited for, downloaded; what is refused, bounded, corrected, and who may what.

use crate::common::{Service, command, scratch, serve, wait};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const SITE: &str = r#"format = 1
[site]
id = "hall"
name = "Hall"
label = "A test, not a real plant"
time_zone = "Europe/Madrid"
[bus]
clock = "data"
[[source]]
filter = "hall/#"
format = "json"
undeclared = "take"
[[meter]]
id = "it"
name = "IT distribution"
select = { path = "PowerMeter/It" }
boundary = "it"
[[partition]]
id = "main"
name = "hall partition"
racks = { object_type = "Rack", point_type = "RackPower" }
gpus_per_rack = 72
rack_rating_kw = 132.0
job_classes = ["training"]
"#;

const REGISTER: &str = r#"format = 1
[answers]
NAME = "a hall"
OWNER = "=HYPERLINK(\"http://evil.example\")"
[[meter]]
id = "it"
role = "pdu_out"
"#;

/// Two days of 100 kW in a store, and a configuration that keeps three reports.
fn hall(dir: &Path) -> (PathBuf, PathBuf) {
    let (config, data) = (dir.join("c.toml"), dir.join("data"));
    std::fs::create_dir_all(dir.join("hall")).expect("a folder");
    std::fs::write(dir.join("hall/site.toml"), SITE).expect("written");
    std::fs::write(dir.join("hall/report.toml"), REGISTER).expect("written");
    std::fs::write(&config, "format = 1\nbroker = \"mqtt://127.0.0.1:9\"\nsites = [\"hall/site.toml\"]\n[reports]\nkeep = 3\n")
        .expect("written");
    let from = 1_783_979_999_000_i64 / 900_000 * 900_000;
    let rows: String = (0..400).map(|k| format!("{},PowerMeter/It,100,kW\n", from + k * 900_000)).collect();
    std::fs::write(dir.join("it.csv"), format!("at_ms,point,value,unit\n{rows}")).expect("written");
    let (data_dir, file) = (data.to_string_lossy().into_owned(), dir.join("it.csv").to_string_lossy().into_owned());
    let out = command(&["store", "import", "--data-dir", &data_dir, "--site", "hall", &file]).output().expect("import runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    (config, data)
}

/// Status, headers and body of a request.
struct Answer {
    status: u16,
    headers: ureq::http::HeaderMap,
    bytes: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

fn ask(url: &str, token: Option<&str>, match_tag: Option<&str>, body: Option<Value>) -> Answer {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let answer = match body {
        None => {
            let mut r = agent.get(url);
            if let Some(t) = token {
                r = r.header("authorization", format!("Bearer {t}"));
            }
            if let Some(t) = match_tag {
                r = r.header("if-none-match", t);
            }
            r.call()
        }
        Some(json) => {
            let mut r = agent.post(url);
            if let Some(t) = token {
                r = r.header("authorization", format!("Bearer {t}"));
            }
            r.send_json(json)
        }
    };
    let mut answer = answer.expect("an answer");
    let bytes = answer.body_mut().read_to_vec().expect("a body");
    Answer { status: answer.status().as_u16(), headers: answer.headers().clone(), bytes }
}

fn order(pack: &str, period: &str) -> Value {
    json!({ "pack": pack, "period": period, "site": "hall", "who": "Núria", "why": "test" })
}

/// Orders a report and waits until it is made or has failed.
fn made(s: &Service, order: Value) -> Value {
    let base = format!("{}/api/v1/reports", s.api);
    let taken = ask(&base, None, None, Some(order));
    assert_eq!(taken.status, 202, "{}", taken.json());
    let place = format!("{}{}", s.api, taken.header("location"));
    let mut report = Value::Null;
    wait("the report", || {
        report = ask(&place, None, None, None).json();
        report["state"] == "made" || report["state"] == "failed"
    });
    report
}

#[test]
fn a_report_is_ordered_made_and_downloaded() {
    let dir = scratch("report-service");
    let (config, data) = hall(&dir);
    let config = config.to_string_lossy().into_owned();
    let s = serve(&config, "mqtt://127.0.0.1:9", &data);
    let base = format!("{}/api/v1/reports", s.api);
    let list = ask(&base, None, None, None).json();
    assert_eq!((list["packs"].as_array().map(Vec::len), list["reports"].as_array().map(Vec::len)), (Some(3), Some(0)), "{list}");

    // What is wrong names its field and the way out.
    let wrong = |change: &dyn Fn(&mut Value)| {
        let mut order = order("iso-30134", "2026");
        change(&mut order);
        let a = ask(&base, None, None, Some(order));
        assert_eq!(a.header("content-type"), "application/problem+json");
        (a.status, a.json()["field"].as_str().unwrap_or_default().to_owned(), a.json()["mend"].as_str().unwrap_or_default().to_owned())
    };
    for (field, status, value, mend) in [
        ("pack", 404, json!("iso"), "eu-2024-1364"),
        ("pack", 404, json!("../../etc/passwd"), "eu-2024-1364"),
        ("period", 400, json!("26"), "a year (2026)"),
        ("period", 400, json!("2026-07-01..2026-01-01"), "a year (2026)"),
        ("period", 400, json!("2000-01-01..2026-01-01"), "a year (2026)"),
        ("period", 400, json!("2026-01-01T00:07:00Z..2026-01-02"), "quarter-hours"),
        ("lang", 400, json!("fr"), "en, es, ca"),
        ("site", 404, json!("../hall"), "hall"),
        ("who", 400, json!(" "), "your name"),
        ("who", 400, json!("x".repeat(200)), "shorten"),
        ("why", 400, json!("x".repeat(2000)), "shorten"),
    ] {
        let (s, f, m) = wrong(&|o| o[field] = value.clone());
        assert!(s == status && f == field && m.contains(mend), "{field} = {value}: {s} {f}: {m}");
    }
    assert_eq!(wrong(&|o| o["out"] = json!("/tmp/x")).0, 400, "an unknown field");
    assert_eq!(wrong(&|o| o["period"] = json!(2026)).1, "body");

    // One is made.
    let report = made(&s, order("eu-2024-1364", "2026-07-14..2026-07-15"));
    assert_eq!((&report["state"], &report["version"], &report["sites"]), (&json!("made"), &json!(1), &json!(["hall"])), "{report}");
    let id = report["id"].as_str().expect("an id");
    let files = report["files"].as_array().expect("files");
    let names: Vec<&str> = files.iter().filter_map(|f| f["name"].as_str()).collect();
    assert_eq!(names[..4], ["report.pdf", "report.xlsx", "report.html", "report.json"]);
    for f in files {
        let name = f["name"].as_str().expect("a name");
        let a = ask(&format!("{base}/{id}/files/{name}"), None, None, None);
        assert_eq!((a.status, a.bytes.len() as u64), (200, f["bytes"].as_u64().unwrap_or(0)), "{name}");
        assert_eq!(a.header("content-type"), f["media_type"]);
        assert_eq!(a.header("x-content-type-options"), "nosniff");
        let saved = format!("attachment; filename=\"hall-eu-2024-1364-2026-07-14_2026-07-15-en-v1-{name}\"");
        assert_eq!(a.header("content-disposition"), saved);
        let begins = match name.rsplit_once('.').map(|(_, e)| e) {
            Some("pdf") => "%PDF-",
            Some("xlsx") => "PK\u{3}\u{4}",
            Some("html") => "<!doctype html>",
            Some("json") => "{",
            _ => "",
        };
        assert!(a.bytes.to_ascii_lowercase().starts_with(begins.to_ascii_lowercase().as_bytes()), "{name}");
        let again = ask(&format!("{base}/{id}/files/{name}"), None, Some(a.header("etag")), None);
        assert!(again.status == 304 && again.bytes.is_empty(), "{name}");
        assert_eq!(ask(&format!("{base}/{id}/files/{name}"), None, Some("\"another\""), None).status, 200);
    }
    let csv = String::from_utf8(ask(&format!("{base}/{id}/files/figures.csv"), None, None, None).bytes).expect("text");
    assert!(csv.contains("'=HYPERLINK") && csv.contains(",2400,"), "24 h of 100 kW, and no formula: {csv}");
    let tag = ask(&base, None, None, None).header("etag").to_owned();
    assert_eq!(ask(&base, None, Some(&tag), None).status, 304);

    // Nothing but those files.
    for path in [
        "nothing",
        "..",
        "%2e%2e",
        "..%2f..%2f..%2fetc%2fpasswd",
        &format!("{id}/files/MADE.json"),
        &format!("{id}/files/..%2fMADE.json"),
        &format!("{id}/files/..%2f..%2f..%2fhall%2fsite.toml"),
        &format!("{id}/files/%2e%2e/%2e%2e/FORMAT"),
        &format!("{id}/files/report.pdf%00"),
        &format!("{id}/files/"),
    ] {
        let a = ask(&format!("{base}/{path}"), None, None, None);
        assert_eq!(a.status, 404, "{path}: {}", a.json());
    }

    // Made again it stays version 1; corrected, it is version 2 and says what changed; the old one is still there.
    let again = made(&s, order("eu-2024-1364", "2026-07-14..2026-07-15"));
    assert_eq!((&again["version"], &again["changes"]), (&json!(1), &json!(0)));
    std::fs::write(dir.join("hall/report.toml"), REGISTER.replace("a hall", "another hall")).expect("written");
    let corrected = made(&s, order("eu-2024-1364", "2026-07-14..2026-07-15"));
    assert_eq!((&corrected["version"], &corrected["changes"]), (&json!(2), &json!(1)), "{corrected}");
    assert!(corrected["files"].as_array().is_some_and(|f| f.iter().any(|f| f["name"] == "changes.csv")));
    assert_eq!(ask(&format!("{base}/{id}"), None, None, None).status, 200);

    // One that fails says why, and the next one is made all the same. Three are kept.
    std::fs::write(dir.join("hall/report.toml"), "format = 7").expect("written");
    let failed = made(&s, order("iso-30134", "2026"));
    assert!(failed["state"] == "failed" && failed["why_not"].as_str().is_some_and(|w| w.contains("report.toml")), "{failed}");
    std::fs::write(dir.join("hall/report.toml"), REGISTER).expect("written");
    let group = made(&s, json!({ "pack": "iso-30134", "period": "2026-07-14..2026-07-16", "lang": "ca", "who": "Núria" }));
    assert_eq!((&group["state"], &group["site"], &group["lang"]), (&json!("made"), &Value::Null, &json!("ca")), "{group}");
    wait("the oldest to go", || ask(&format!("{base}/{id}"), None, None, None).status == 404);
    let folders = || std::fs::read_dir(data.join("reports")).expect("a shelf").count();
    wait("its folder to go", || folders() == 3);
    assert_eq!(
        ask(&format!("{base}?site=hall"), None, None, None).json()["reports"].as_array().map(Vec::len),
        Some(4),
        "three and the failed one"
    );
    assert_eq!(ask(&format!("{base}?limit=1"), None, None, None).json()["reports"][0]["id"], group["id"]);
    assert_eq!(ask(&format!("{base}?site=nowhere"), None, None, None).status, 404);

    // Who ordered is on record, and every end is counted.
    let trail = ask(&format!("{}/api/v1/audit?site=hall", s.api), None, None, None).json();
    let orders: Vec<&Value> =
        trail.as_array().expect("a trail").iter().filter(|e| e["who"] == "Núria" && !e["act"]["report"].is_null()).collect();
    assert_eq!(orders.len(), 5, "{trail}");
    let metrics = String::from_utf8(ask(&format!("{}/metrics", s.api), None, None, None).bytes).expect("text");
    for line in [
        "tramuntana_reports_total{label=\"made\"} 4",
        "tramuntana_reports_total{label=\"failed\"} 1",
        "tramuntana_reports_total{label=\"refused\"}",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }

    // The command says who makes it meanwhile.
    let (out, data_dir) = (dir.join("out").to_string_lossy().into_owned(), data.to_string_lossy().into_owned());
    let args =
        ["report", "--pack", "iso-30134", "--year", "2026", "--site", "hall", "--config", &config, "--data-dir", &data_dir, "--out", &out];
    let said = command(&args).output().expect("it runs");
    let text = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success() && text.contains("under Reports") && text.contains("/api/v1/reports"), "{text}");

    // They are there after a restart; what was left unfinished is not.
    drop(s);
    std::fs::create_dir_all(data.join("reports/20260101T000000Z-aside")).expect("a folder");
    let s = serve(&config, "mqtt://127.0.0.1:9", &data);
    let list = ask(&format!("{}/api/v1/reports", s.api), None, None, None).json();
    assert_eq!((list["reports"].as_array().map(Vec::len), &list["reports"][0]["id"]), (Some(3), &group["id"]));
    assert_eq!(folders(), 3);
    drop(s); // it is still making reports
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn who_reads_downloads_and_who_operates_orders() {
    let dir = scratch("report-roles");
    let (config, data) = hall(&dir);
    let s = serve(&config.to_string_lossy(), "mqtt://127.0.0.1:9", &data);
    let report = made(&s, order("eu-2024-1364", "2026-07-14..2026-07-15"));
    let token = |role: &str| {
        let out =
            command(&["token", "create", "--data-dir", &data.to_string_lossy(), "--name", role, "--role", role]).output().expect("it runs");
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    };
    let base = format!("{}/api/v1/reports", s.api);
    let file = format!("{base}/{}/files/report.pdf", report["id"].as_str().expect("an id"));
    let tokens = ["viewer", "scheduler", "operator", "admin"].map(token);
    wait("the keyring", || ask(&base, None, None, None).status == 401);
    assert_eq!(ask(&file, None, None, None).status, 401);
    for (t, may) in tokens.iter().zip([403, 403, 202, 202]) {
        assert_eq!((ask(&base, Some(t), None, None).status, ask(&file, Some(t), None, None).status), (200, 200));
        let mut o = order("iso-30134", "2026-07-14..2026-07-15");
        o["who"] = json!("");
        assert_eq!(ask(&base, Some(t), None, Some(o)).status, may);
    }
    let trail = ask(&format!("{}/api/v1/audit", s.api), Some(&tokens[0]), None, None).json();
    assert!(trail.as_array().is_some_and(|t| t.iter().any(|e| e["who"] == "operator" && e["act"]["pack"] == "iso-30134")), "{trail}");
    drop(s); // it is still making reports
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
