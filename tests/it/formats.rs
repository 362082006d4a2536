//! Acceptance of every wire format by programs that others have written: publish → `serve` → values on the API, exactly.
//!
//! Publishers: `paho` as EAR and ExaMon, `pysparkplug` (PyPI), `sparkplug-client` (npm), `mosquitto_pub`, node's own crypto
//! as a grid agent; brokers: Mosquitto, and NATS with JetStream. NVIDIA's exemplar is `serve`'s test. What is not installed
//! says SKIPPED; `tests/run` installs it. The sites are the examples of `sensors/examples`.

use crate::common::{Kept, free_port, get, mosquitto, points, program, repository, scratch, serve, site, wait};
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{ChildStdout, Command, Stdio};
use tramuntana::ingest::SiteIngest;
use tramuntana::site::{Catalogue, Classes, SiteFile};

/// Values that each publisher sends of each point: value k = 100 + k/2 at base + k × 10 s.
const N: usize = 20;

fn expected(k: usize) -> f64 {
    100.0 + k as f64 / 2.0
}

/// Twenty minutes ago, on a whole ten seconds.
fn base_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    (now - 1_200_000) / 10_000 * 10_000
}

fn examples() -> Vec<PathBuf> {
    let dir = repository().join("sensors/examples");
    let mut files: Vec<PathBuf> = std::fs::read_dir(dir).expect("examples").flatten().map(|e| e.path()).collect();
    files.retain(|p| p.extension().is_some_and(|e| e == "toml"));
    files.sort();
    files
}

#[test]
fn every_example_loads_and_each_format_has_one() {
    let mut formats = std::collections::BTreeSet::new();
    for path in examples() {
        let file = SiteFile::load(&path).unwrap_or_else(|e| panic!("{e}"));
        tramuntana::ingest::check_sources(&file).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert!(SiteIngest::new(&file, Classes::default(), Catalogue::new()).catalogue().is_empty());
        formats.extend(file.sources.iter().map(|s| s.format.name()));
    }
    let all = ["bare", "dcdb", "examon", "examon_json", "flex", "json", "line", "redfish", "sparkplug", "thin_edge", "thingsboard"];
    assert_eq!(formats.into_iter().collect::<Vec<_>>(), all);
}

/// The examples, copied, with a configuration that names them; `keys` replaces the load targets' keys.
fn configuration(dir: &Path, keys: Option<&Value>) -> PathBuf {
    let mut sites = Vec::new();
    for path in examples() {
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        std::fs::copy(&path, dir.join(&name)).expect("copied");
        sites.push(format!("{name:?}"));
    }
    let shipped = std::fs::read_to_string(repository().join("sensors/examples/flex-keys.json")).expect("keys");
    std::fs::write(dir.join("flex-keys.json"), keys.map_or(shipped, Value::to_string)).expect("written");
    let config = dir.join("tramuntana.toml");
    let text = format!("format = 1\nbroker = \"mqtt://127.0.0.1:1\"\nsites = [{}]\n", sites.join(", "));
    std::fs::write(&config, text).expect("written");
    config
}

/// A publisher that stays: its standard input, and the lines that it says.
struct Publisher {
    child: Kept,
    says: BufReader<ChildStdout>,
}

impl Publisher {
    fn start(command: &mut Command) -> Publisher {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("the publisher starts");
        let says = BufReader::new(child.stdout.take().expect("piped"));
        Publisher { child: Kept(child), says }
    }

    fn hears(&mut self, line: &str) {
        let stdin = self.child.0.stdin.as_mut().expect("piped");
        // At once: line and line break in two writes would be two messages for who reads what comes.
        stdin.write_all(format!("{line}\n").as_bytes()).and_then(|()| stdin.flush()).expect("it listens");
    }

    /// Waits for a line that begins so.
    fn says(&mut self, want: &str) {
        let mut line = String::new();
        while !line.starts_with(want) {
            line.clear();
            assert!(self.says.read_line(&mut line).expect("readable") > 0, "it left without saying {want:?}");
        }
    }
}

fn python(modules: &str) -> Option<String> {
    let python = std::env::var("TRAMUNTANA_PYTHON").unwrap_or_else(|_| "python3".into());
    let ready = Command::new(&python).args(["-c", &format!("import {modules}")]).output().is_ok_and(|o| o.status.success());
    if !ready {
        println!("SKIPPED: python with {modules} not present");
    }
    ready.then_some(python)
}

/// Node with the packages that `tests/run` installs; `None` where they are missing.
fn node(package: &str) -> Option<Command> {
    let mut command = Command::new(program("node")?);
    if let Some(modules) = std::env::var_os("TRAMUNTANA_NODE_MODULES") {
        command.env("NODE_PATH", modules);
    }
    let mut probe = Command::new(command.get_program());
    probe.args(["-e", &format!("require({package:?})")]).envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))));
    if !probe.output().is_ok_and(|o| o.status.success()) {
        println!("SKIPPED: npm package {package} not present");
        return None;
    }
    Some(command)
}

fn peer(file: &str) -> PathBuf {
    repository().join("tests/it/peers").join(file)
}

/// `mosquitto_pub`: one message.
fn publish(port: u16, topic: &str, payload: &[u8]) {
    let mut child = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", topic, "-q", "1", "-s"])
        .stdin(Stdio::piped())
        .spawn()
        .expect("mosquitto_pub starts");
    child.stdin.take().expect("piped").write_all(payload).expect("it reads");
    assert!(child.wait().expect("it ends").success(), "{topic}");
}

fn point(api: &str, id: &str, path: &str) -> Option<Value> {
    points(api, id).into_iter().find(|p| p["path"] == path)
}

/// The history of a point is exactly these values, ten seconds apart from `base`, each once.
fn history(api: &str, id: &str, path: &str, base: i64, want: &[f64]) {
    wait(&format!("{id} {path}"), || {
        point(api, id, path).is_some_and(|p| p["last_at"].as_i64() >= Some(base + (want.len() as i64 - 1) * 10_000))
    });
    let p = point(api, id, path).expect("it is there");
    let to = base + want.len() as i64 * 10_000;
    let series = get(&format!("{api}/api/v1/series?site={id}&point={}&from={base}&to={to}&step=10s", p["id"])).expect("a series");
    let rows: Vec<(i64, u64, f64)> = (series["rows"].as_array().expect("rows").iter())
        .filter(|r| r["mean"].is_number())
        .map(|r| (r["at"].as_i64().unwrap_or(0), r["count"].as_u64().unwrap_or(0), r["mean"].as_f64().unwrap_or(f64::NAN)))
        .collect();
    assert_eq!(rows.len(), want.len(), "{id} {path}: {rows:?}");
    for (k, (row, value)) in rows.iter().zip(want).enumerate() {
        let close = (row.2 - value).abs() <= 1e-9 * value.abs().max(1.0);
        assert!(row.0 == base + k as i64 * 10_000 && row.1 == 1 && close, "{id} {path}: {row:?}, expected {value}");
    }
}

fn scaled(by: f64) -> Vec<f64> {
    (0..N).map(|k| expected(k) * by).collect()
}

fn up(api: &str) {
    wait("all links", || get(&format!("{api}/api/v1/health")).is_some_and(|h| h["ready"] == true));
}

/// What `mosquitto_pub` can send: JSON, bare values, DCDB, line protocol, thin-edge, ThingsBoard, Redfish.
fn by_hand(port: u16, base: i64) {
    let mut dcdb = Vec::new();
    let mut lines = String::from("# a comment\nipmi_sensor,name=broken\n");
    for k in 0..N {
        let (at, v) = (base + k as i64 * 10_000, expected(k));
        let ns = at * 1_000_000;
        publish(port, "dc/h1/r07/n012/telemetry", format!(r#"{{"ts":{ns},"node":"n012","watts":{v},"inlet_c":{v},"seq":{k}}}"#).as_bytes());
        dcdb.extend_from_slice(&((v * 1000.0) as i64).to_le_bytes());
        dcdb.extend_from_slice(&(ns as u64).to_le_bytes());
        lines += &format!("ipmi_sensor,host=n1,name=pwr_1,job_id={k} value={v},other=1i {ns}\nnvidia_smi,host=n1 power_draw={v} {ns}\n");
        let time = tramuntana::time::Timestamp(at);
        publish(port, "te/device/cdu1///m/env", format!(r#"{{"time":"{time}","temperature":{v},"current":{{"L1":{v}}}}}"#).as_bytes());
        publish(port, "v1/devices/room/telemetry", format!(r#"{{"ts":{at},"values":{{"temperature":{v}}}}}"#).as_bytes());
        let report = format!(r#"{{"Timestamp":"{time}","MetricValues":[{{"MetricId":"PowerConsumedWatts","MetricValue":"{v}"}}]}}"#);
        publish(port, "redfish/bmc1/metrics", report.as_bytes());
    }
    publish(port, "/rack1/n1/power", &dcdb);
    publish(port, "/DCDB_MAP//rack1/n1/power", b"node 1 power");
    let job = format!(r#"{{"jobid":"4711","userid":"u","starttime":"{}","endtime":"0","nodes":["/rack1/n1"]}}"#, base * 1_000_000);
    publish(port, "/DCDB_JOBDATA/", job.as_bytes());
    publish(port, "telegraf/n1/all", lines.as_bytes());
    publish(port, "plant/cdu1/supply_c", b"21.5\n");
    publish(port, "plant/cdu1/pump", b"on");
    publish(port, "plant/cdu1/flow", b"nonsense");
}

#[test]
fn third_party_publishers_are_taken_in_exactly() {
    if program("mosquitto_pub").is_none() {
        return;
    }
    let (dir, port, base) = (scratch("formats"), free_port(), base_ms());
    let Some(_broker) = mosquitto(&dir, port, "allow_anonymous true") else { return };
    let grid = node("crypto")
        .and_then(|mut n| n.arg(peer("flex.cjs")).output().ok())
        .map(|o| serde_json::from_slice::<Value>(&o.stdout).expect("JSON"));
    let config = configuration(&dir, grid.as_ref().map(|g| &g["keys"]));
    let service = serve(&config.to_string_lossy(), &format!("mqtt://127.0.0.1:{port}"), &dir.join("data"));
    let api = service.api.as_str();
    up(api);

    by_hand(port, base);
    let kilo = scaled(1e-3);
    history(api, "example-json", "r07/n012/power", base, &kilo);
    history(api, "example-json", "r07/n012/inlet", base, &scaled(1.0));
    history(api, "example-dcdb", "/rack1/n1/power", base, &kilo);
    history(api, "example-line", "n1/pwr_1", base, &kilo);
    history(api, "example-line", "n1/gpu/power", base, &kilo);
    history(api, "example-thin-edge", "cdu1/temperature", base, &scaled(1.0));
    history(api, "example-thin-edge", "cdu1/current.L1", base, &scaled(1.0));
    history(api, "example-thingsboard", "room/temperature", base, &scaled(1.0));
    history(api, "example-redfish", "bmc1/power", base, &kilo);
    wait("the pump", || point(api, "example-bare", "cdu1/pump").is_some_and(|p| p["last_value"] == 1.0 && p["state_text"] == "on"));
    assert_eq!(point(api, "example-bare", "cdu1/supply_c").map(|p| p["last_value"].clone()), Some(Value::from(21.5)));
    let refusals = get(&format!("{api}/api/v1/refusals?limit=100")).expect("refusals").to_string();
    for (format, reason) in [("bare", "text is no state of the point"), ("line", "line without a field")] {
        assert!(refusals.contains(&format!(r#""format":"{format}""#)) && refusals.contains(reason), "{format}: {refusals}");
    }

    if let Some(grid) = grid {
        for message in ["forged", "good"] {
            publish(port, "grid/v1/isv/acme/loadtarget/set", grid[message].as_str().expect("a text").as_bytes());
        }
        let target = |kw: f64| point(api, "example-flex", "grid/acme/load_targets.0.load").is_some_and(|p| p["last_value"] == kw);
        wait("the load target", || target(5000.0));
        publish(port, "grid/v1/isv/acme/loadtarget/set", grid["rsa"].as_str().expect("a text").as_bytes());
        wait("the RS256 load target", || target(4000.0) || site(api, "example-flex")["readings_in"] == 2);
        assert_eq!(site(api, "example-flex")["readings_refused"], 1, "the forged one");
    }
    if let Some(python) = python("paho.mqtt") {
        let status =
            Command::new(&python).arg(peer("publish.py")).args(["ear", &port.to_string(), &base.to_string(), &N.to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "EAR's publisher");
        history(api, "example-examon", "mn5/n1/dc_power", base, &kilo);
        history(api, "example-examon", "mn5/n1/gpu0/mem_util", base, &scaled(1.0));
        history(api, "example-examon", "mn5/n1/gpu1/power", base + 10_000, &kilo[1..]);
        history(api, "example-examon", "mn5/n2/power", base, &kilo);
    }
    by_pysparkplug(api, port, base);
    by_sparkplug_client(api, port, base);
    drop(service);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

/// The valve is a signed whole number: −5, −4, ….
fn valve() -> Vec<f64> {
    (0..N).map(|k| k as f64 - 5.0).collect()
}

fn by_pysparkplug(api: &str, port: u16, base: i64) {
    let Some(python) = python("pysparkplug") else { return };
    let mut command = Command::new(python);
    command.arg(peer("publish.py")).args(["pysparkplug", &port.to_string(), &base.to_string(), &N.to_string()]);
    let mut publisher = Publisher::start(&mut command);
    publisher.says("published");
    history(api, "example-sparkplug", "py/power", base, &scaled(1.0));
    history(api, "example-sparkplug", "py/cdu1/valve", base, &valve());
    history(api, "example-sparkplug", "py/cdu1/supply", base, &scaled(1.0));
    let quality =
        |path: &str| point(api, "example-sparkplug", path).map_or_else(String::new, |p| p["quality"].as_str().unwrap_or("").to_owned());
    assert_eq!((quality("py/power"), quality("py/cdu1/valve")), ("good".into(), "good".into()));
    // It leaves with a death whose bdSeq is not its birth's: neither believed nor ignored.
    publisher.hears("leave");
    wait("distrust of the edge and its device", || quality("py/power") == "distrusted" && quality("py/cdu1/valve") == "distrusted");
}

fn by_sparkplug_client(api: &str, port: u16, base: i64) {
    let Some(mut node) = node("sparkplug-client") else { return };
    node.arg(peer("sparkplug.cjs")).args([port.to_string(), base.to_string(), N.to_string()]);
    let mut publisher = Publisher::start(&mut node);
    publisher.says("published");
    history(api, "example-sparkplug", "js/power", base, &scaled(1.0));
    history(api, "example-sparkplug", "js/cdu2/valve", base, &valve());
    history(api, "example-sparkplug", "js/cdu2/supply", base, &scaled(1.0));
    // It loses count: we ask for a rebirth, it answers, and is trusted again.
    publisher.hears("gap");
    publisher.says("rebirth asked");
    let newest = |path: &str| point(api, "example-sparkplug", path).unwrap_or_default();
    let reborn = base + N as i64 * 10_000;
    wait("the rebirth", || {
        let power = newest("js/power");
        power["last_at"] == reborn && power["quality"] == "good"
    });
    assert_eq!(newest("js/cdu2/valve")["quality"], "good");
    // Its death certificate is its birth's: its points and its device's have no value at once.
    publisher.hears("leave");
    wait("the death", || newest("js/power")["quality"] == "no value" && newest("js/cdu2/supply")["quality"] == "no value");
}

#[test]
fn nats_with_jetstream_is_a_broker_too() {
    let (Some(nats), Some(_)) = (program("nats-server"), program("mosquitto_pub")) else { return };
    let (dir, port, client, base) = (scratch("nats"), free_port(), free_port(), base_ms());
    let conf = dir.join("nats.conf");
    let store = dir.join("jetstream");
    let text = format!(
        "server_name: hall\nlisten: \"127.0.0.1:{client}\"\njetstream {{ store_dir: {:?} }}\nmqtt {{ host: \"127.0.0.1\", port: {port} }}\n",
        store.to_string_lossy()
    );
    std::fs::write(&conf, text).expect("written");
    let child = Command::new(nats).arg("-c").arg(&conf).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("nats-server starts");
    let _broker = Kept(child);
    wait("nats-server", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let config = configuration(&dir, None);
    let only = std::fs::read_to_string(&config).expect("readable");
    let list = only.lines().find(|l| l.starts_with("sites")).expect("sites").to_owned();
    std::fs::write(&config, only.replace(&list, "sites = [\"json.toml\", \"examon.toml\"]")).expect("written");
    let service = serve(&config.to_string_lossy(), &format!("mqtt://127.0.0.1:{port}"), &dir.join("data"));
    let api = service.api.as_str();
    up(api);
    for k in 0..N {
        let (ns, v) = ((base + k as i64 * 10_000) * 1_000_000, expected(k));
        publish(port, "dc/h1/r07/n012/telemetry", format!(r#"{{"ts":{ns},"watts":{v}}}"#).as_bytes());
    }
    history(api, "example-json", "r07/n012/power", base, &scaled(1e-3));
    if let Some(python) = python("paho.mqtt") {
        let status =
            Command::new(&python).arg(peer("publish.py")).args(["ear", &port.to_string(), &base.to_string(), &N.to_string()]).status();
        assert!(status.is_ok_and(|s| s.success()), "EAR's publisher");
        history(api, "example-examon", "mn5/n1/dc_power", base, &scaled(1e-3));
        history(api, "example-examon", "mn5/n2/power", base, &scaled(1e-3));
    }
    drop(service);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn a_payload_of_100_megabytes_costs_no_process() {
    if program("mosquitto_pub").is_none() {
        return;
    }
    let (dir, port, base) = (scratch("huge"), free_port(), base_ms());
    let Some(_broker) = mosquitto(&dir, port, "allow_anonymous true") else { return };
    let config = configuration(&dir, None);
    let service = serve(&config.to_string_lossy(), &format!("mqtt://127.0.0.1:{port}"), &dir.join("data"));
    up(&service.api);
    let huge = dir.join("huge");
    std::fs::write(&huge, vec![b'1'; 100 * 1024 * 1024]).expect("written");
    let sent = Command::new("mosquitto_pub")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-t", "dc/h1/r07/n012/telemetry", "-f", &huge.to_string_lossy()])
        .status();
    assert!(sent.is_ok_and(|s| s.success()));
    wait("a value behind it", || {
        publish(port, "dc/h1/r07/n012/telemetry", format!(r#"{{"ts":{},"watts":100}}"#, base * 1_000_000).as_bytes());
        point(&service.api, "example-json", "r07/n012/power").is_some_and(|p| p["last_value"] == 0.1)
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", service.child.0.id())).unwrap_or_default();
    let peak_kb: u64 = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0);
    println!("peak memory of the service: {} MB", peak_kb / 1024);
    drop(service);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
