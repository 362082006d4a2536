//! `serve` with `[influx]`: NVIDIA's recorded pod to the embedded store and the double, refusals where people look, history
//! read back by a service whose own store is empty.

use super::*;
use crate::common::{Kept, command, free_port, get, mosquitto, points, shared, site};
use serde_json::Value;

const POD: &str = "dsx-exemplar";

/// A configuration with one site and `[influx]`.
fn config(dir: &Path, name: &str, broker: &str, url: &str, more: &str) -> PathBuf {
    let root = env!("CARGO_MANIFEST_DIR");
    std::fs::write(dir.join("token"), format!("{TOKEN}\n")).expect("written");
    let path = dir.join(name);
    let text = format!(
        "format = 1\nbroker = {broker:?}\nsites = [\"{root}/sensors/{POD}/site.toml\"]\nmodels_dir = \"{root}/models\"\n[influx]\nurl = {url:?}\norg = {ORG:?}\nbucket = {BUCKET:?}\ntoken_file = \"token\"\nlinger_s = 0.1\n{more}\n"
    );
    std::fs::write(&path, text).expect("written");
    path
}

fn serve(config: &Path, data: &Path) -> (Kept, String) {
    let api = format!("127.0.0.1:{}", free_port());
    let args = ["serve", "--config", &config.to_string_lossy(), "--data-dir", &data.to_string_lossy(), "--listen", &api];
    let child = command(&args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("serve starts");
    let api = format!("http://{api}");
    wait("the API", 30, || ureq::get(format!("{api}/api/v1/openapi.json")).call().is_ok());
    (Kept(child), api)
}

/// Health, whatever its status.
fn health(api: &str) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    agent.get(format!("{api}/api/v1/health")).call().expect("an answer").body_mut().read_json().expect("JSON")
}

#[test]
fn serve_mirrors_a_pod_shows_a_refusal_and_reads_history_back() {
    let Some(exemplar) = shared("data/dsx/exemplar.csv") else { return };
    let dir = scratch("influx-serve");
    let port = free_port();
    let Some(_broker) = mosquitto(&dir, port, "allow_anonymous true") else { return };
    let broker = format!("mqtt://127.0.0.1:{port}");
    let double = Double::new();
    double.kept().token = "not yet".into();
    let mirrored = config(&dir, "mirror.toml", &broker, &double.url, "");
    let (service, api) = serve(&mirrored, &dir.join("data"));
    wait("the link", 30, || site(&api, POD)["link"]["state"] == "up");
    let out = command(&["replay", &exemplar.to_string_lossy(), "--broker", &broker, "--speed", "max"]).output().expect("replay runs");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    wait("4,545 values", 60, || site(&api, POD)["readings_in"] == 4545);

    // The token is refused: ready all the same, and said in health, among the alarms and in the metrics.
    wait("the refusal", 20, || health(&api)["mirror"]["state"] == "refused");
    let h = health(&api);
    assert_eq!(h["ready"], true, "a mirror that waits keeps nothing else from its work");
    assert!(h["mirror"]["why"].as_str().is_some_and(|w| w.contains("401") && !w.contains(TOKEN)), "{h}");
    assert!(h["mirror"]["waiting_bytes"].as_u64() > Some(4545 * 22), "{h}");
    let alarm =
        || site(&api, POD)["alarms"].as_array().is_some_and(|a| a.iter().any(|a| a["id"] == "influx" && a["severity"] == "warning"));
    wait("the alarm", 20, alarm);
    let metrics = ureq::get(format!("{api}/metrics")).call().expect("metrics").body_mut().read_to_string().expect("text");
    assert!(metrics.contains("tramuntana_influx_errors_total{label=\"401\"}") && metrics.contains("tramuntana_influx_up{} 0"), "{metrics}");

    // `check` says so too, and what would mend it.
    let check = |config: &Path| {
        let out = command(&["check", "--config", &config.to_string_lossy()]).output().expect("check runs");
        (out.status.success(), format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr)))
    };
    let (ok, said) = check(&mirrored);
    assert!(!ok && said.contains("401") && said.contains("token_file") && !said.contains(TOKEN), "{said}");

    // What a power meter said: the newest values live in the process that took them in.
    let rows = points(&api, POD);
    let meter = rows.iter().find(|p| p["object_type"] == "PowerMeter" && p["point_type"] == "ActivePower").expect("a power meter");
    let to = meter["last_at"].as_i64().expect("a time") + 60_000;
    let path = meter["path"].as_str().expect("a path").to_owned();

    // The token counts now. The process is killed and started again: everything comes, once.
    double.kept().token = TOKEN.into();
    drop(service);
    let (service, api) = serve(&mirrored, &dir.join("data"));
    wait("the queue to be empty", 60, || health(&api)["mirror"]["waiting_bytes"] == 0);
    let (points_there, overwritten) = {
        let kept = double.kept();
        (kept.points(), kept.overwritten)
    };
    assert_eq!((points_there, overwritten), (4545, 0));
    assert_eq!(health(&api)["mirror"]["state"], "up");
    let (ok, said) = check(&mirrored);
    assert!(ok && said.contains("the token sees the bucket"), "{said}");

    // A service with an empty store answers the same from there.
    let series = |api: &str| {
        let escaped: String = path.bytes().map(|b| format!("%{b:02X}")).collect();
        get(&format!("{api}/api/v1/series?site={POD}&point={escaped}&from={}&to={to}&step=10s", to - 300_000))
    };
    let own = series(&api).expect("a series");
    drop(service);
    let reading = config(&dir, "history.toml", &broker, &double.url, "mirror = false\nread = true");
    let (service, api) = serve(&reading, &dir.join("empty"));
    wait("the points", 30, || site(&api, POD)["points"] == 166);
    let theirs = series(&api).expect("a series from there");
    assert!(own["rows"].as_array().is_some_and(|r| r.len() > 5), "{own}");
    assert_eq!(own["rows"], theirs["rows"]);
    // Where it does not answer, a part is not given for the whole.
    double.kept().token = "gone".into();
    assert_eq!(series(&api), None);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let asked = format!("{api}/api/v1/series?site={POD}&point=0&from={}&to={to}&step=10s", to - 300_000);
    let mut answer = agent.get(asked).call().expect("an answer");
    assert_eq!(answer.status(), 503);
    let problem = answer.body_mut().read_to_string().expect("text");
    assert!(problem.contains("InfluxDB") && problem.contains("401"), "{problem}");
    drop(service);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
