//! Integration tests of `serve`, `check` and `replay` against a real Mosquitto.
//!
//! They say SKIPPED where Mosquitto or the shared data are missing. Each test brings its own broker on a free port and
//! ends what it started.

use crate::common::{Service, serve as serve_config};
use crate::common::{command, free_port, get, mosquitto, points, scratch, shared, site, wait};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn serve(broker: &str, data: &Path) -> Service {
    serve_config("tramuntana.toml", broker, data)
}

#[test]
fn nvidias_pod_is_taken_in_whole_and_survives_a_kill() {
    let Some(exemplar) = shared("data/dsx/exemplar.csv") else { return };
    let exemplar = exemplar.to_string_lossy();
    let dir = scratch("exemplar");
    let port = free_port();
    let Some(broker) = mosquitto(&dir, port, "allow_anonymous true") else { return };
    let url = format!("mqtt://127.0.0.1:{port}");
    let data = dir.join("data");
    let service = serve(&url, &data);
    wait("the link", || site(&service.api, "dsx-exemplar")["link"]["state"] == "up");
    let out = command(&["replay", &exemplar, "--broker", &url, "--speed", "max"]).output().expect("replay runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stdout).contains("4711 messages"), "{}", String::from_utf8_lossy(&out.stdout));
    wait("4,545 values", || site(&service.api, "dsx-exemplar")["readings_in"] == 4545);
    let state = site(&service.api, "dsx-exemplar");
    assert_eq!((&state["points"], &state["readings_refused"]), (&Value::from(166), &Value::from(0)));
    let rows = points(&service.api, "dsx-exemplar");
    assert_eq!(rows.len(), 166);
    let meter = rows.iter().find(|p| p["object_type"] == "PowerMeter" && p["point_type"] == "ActivePower").expect("a power meter");
    assert_eq!(meter["unit"], "kW");
    assert!(
        meter["serves_id"].as_array().is_some_and(|s| s.len() == 6) && meter["last_value"].is_number() && meter["quality"] == "good",
        "{meter}"
    );
    let metrics = ureq::get(&format!("{}/metrics", service.api)).call().expect("metrics").body_mut().read_to_string().expect("text");
    assert!(metrics.contains("tramuntana_readings_stored_total") && metrics.ends_with("# EOF\n"));

    // SIGKILL, then the same directory: everything that was stored is there.
    let history = |api: &str| {
        let (id, to) = (&meter["id"], meter["last_at"].as_i64().unwrap_or(0) + 60_000);
        get(&format!("{api}/api/v1/series?site=dsx-exemplar&point={id}&from={}&to={to}&step=10s", to - 300_000)).expect("a series")
    };
    let count = |v: &Value| v["rows"].as_array().map_or(0, |r| r.iter().map(|b| b["count"].as_u64().unwrap_or(0)).sum::<u64>());
    let before = count(&history(&service.api));
    assert!(before > 10, "{before} readings of the meter");
    drop(service.child);
    let again = serve(&url, &data);
    assert_eq!(count(&history(&again.api)), before);
    assert_eq!(points(&again.api, "dsx-exemplar").len(), 166);
    drop(again);

    // A broker that goes away and comes back.
    let service = serve(&url, &data);
    wait("the link", || site(&service.api, "bsc-hq")["link"]["state"] == "up");
    drop(broker);
    wait("the loss", || site(&service.api, "bsc-hq")["link"]["state"] == "down");
    let health = ureq::get(&format!("{}/api/v1/health", service.api))
        .config()
        .http_status_as_error(false)
        .build()
        .call()
        .expect("an answer")
        .body_mut()
        .read_to_string()
        .expect("text");
    assert!(health.contains("bsc-hq"), "{health}");
    let Some(_broker) = mosquitto(&dir, port, "allow_anonymous true") else { return };
    wait("the return", || site(&service.api, "bsc-hq")["link"]["state"] == "up");
    drop(service);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn check_names_the_thing_and_the_way_out() {
    let check = |args: &[&str]| {
        let out = command(&[&["check"], args].concat()).output().expect("check runs");
        (out.status.success(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
    };
    let (ok, text) = check(&["--config", "tramuntana.toml", "--offline"]);
    assert!(ok && text.contains("all good") && text.contains("site torre-girona"), "{text}");

    let nobody = format!("mqtt://127.0.0.1:{}", free_port());
    let (ok, text) = check(&["--config", "tramuntana.toml", "--broker", &nobody]);
    assert!(!ok && text.contains(&nobody), "{text}");

    let (ok, text) = check(&["--config", "no-such.toml"]);
    assert!(!ok && text.contains("no-such.toml") && text.contains("--config"), "{text}");

    let dir = scratch("check");
    let bad = dir.join("bad.toml");
    std::fs::write(&bad, "format = 1\nbroker = \"mqtt://127.0.0.1\"\nsites = [\"none/site.toml\"]\n").expect("written");
    let (ok, text) = check(&["--config", &bad.to_string_lossy()]);
    assert!(!ok && text.contains("none/site.toml"), "{text}");

    let port = free_port();
    let users = dir.join("users");
    let made = Command::new("mosquitto_passwd").args(["-b", "-c", &users.to_string_lossy(), "plant", "garbi"]).status();
    if made.is_ok_and(|s| s.success())
        && let Some(_broker) = mosquitto(&dir, port, &format!("allow_anonymous false\npassword_file {}\nuser root", users.display()))
    {
        let (ok, text) = check(&["--config", "tramuntana.toml", "--broker", &format!("mqtt://plant:mistral@127.0.0.1:{port}")]);
        assert!(!ok && text.contains("password") && !text.contains("mistral"), "{text}");
        let (ok, text) = check(&["--config", "tramuntana.toml", "--broker", &format!("mqtt://plant:garbi@127.0.0.1:{port}")]);
        assert!(ok && !text.contains("garbi"), "{text}");
    } else {
        println!("SKIPPED: mosquitto_passwd is not installed");
    }
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
