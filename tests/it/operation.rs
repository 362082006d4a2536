//! Integration tests of the service's operation: backup and restore while messages come in, orderly ends, a changed configuration.
//!
//! They say SKIPPED where Mosquitto is missing. Each test brings its own broker on a free port.

use crate::common::{Service, command, free_port, mosquitto, scratch, serve_logged, wait};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The time of message 0, epoch ms; message n is n ms later.
const T0: i64 = 1_784_000_000_000;
const POINTS: u64 = 8;

/// Publishes numbers at QoS 1 until it is dropped, some thousand a second.
struct Publisher {
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Publisher {
    fn start(port: u16) -> Publisher {
        let mut options = rumqttc::MqttOptions::new("operation-publisher", "127.0.0.1", port);
        options.set_inflight(200);
        let (client, mut events) = rumqttc::Client::new(options, 200);
        let (sent, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let polling = std::thread::spawn(move || while events.iter().next().is_some_and(|e| e.is_ok()) {});
        let (n, over) = (Arc::clone(&sent), Arc::clone(&stop));
        let publishing = std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    let i = n.load(Ordering::Relaxed);
                    let text = format!("{{\"ts\": {}, \"n\": {i}}}", T0 + i as i64);
                    if client.publish(format!("op/p{}", i % POINTS), rumqttc::QoS::AtLeastOnce, false, text).is_err() {
                        return;
                    }
                    n.store(i + 1, Ordering::Relaxed);
                }
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            let _ = client.disconnect();
        });
        Publisher { sent, stop, threads: vec![publishing, polling] }
    }

    fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for t in self.threads.drain(..) {
            let _ = t.join();
        }
    }
}

/// A configuration with one site that takes those numbers in.
fn config(dir: &Path, broker: u16) -> PathBuf {
    let path = dir.join("operation.toml");
    let text = format!(
        r#"format = 1
broker = "mqtt://127.0.0.1:{broker}"
[[inline]]
format = 1
[inline.site]
id = "op"
name = "operation"
label = "test"
time_zone = "UTC"
[inline.bus]
clock = "data"
[[inline.source]]
filter = "op/#"
format = "json"
time = "ts"
time_unit = "ms"
[[inline.source.value]]
key = "n"
unit = "1"
"#
    );
    std::fs::write(&path, text).expect("written");
    path
}

/// Serves a configuration; what it says goes into `<dir>/serve.log`.
fn serve(dir: &Path, config: &Path, data: &Path) -> Service {
    serve_logged(config, &[], data, &dir.join("serve.log"))
}

/// The sum of a metric over its labels.
fn metric(api: &str, name: &str) -> f64 {
    let text = ureq::get(&format!("{api}/metrics")).call().ok().and_then(|mut a| a.body_mut().read_to_string().ok()).unwrap_or_default();
    let of = |l: &&str| l.starts_with(&format!("{name}{{")) || l.starts_with(&format!("{name} "));
    text.lines().filter(of).filter_map(|l| l.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// Runs a command; its output where it went well, else its error.
fn run(args: &[&str]) -> Result<String, String> {
    let out = command(args).output().expect("the program runs");
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
}

/// Every number stored in a data directory, and how often.
fn numbers(data: &str) -> BTreeMap<u64, u32> {
    let csv = run(&["store", "export", "--data-dir", data, "--site", "op"]).expect("an export");
    let mut lines = csv.lines();
    let header: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| header.iter().position(|h| *h == name).expect("a column");
    let (at, value) = (column("at_ms"), column("value"));
    let mut out = BTreeMap::new();
    for line in lines {
        let cells: Vec<&str> = line.split(',').collect();
        let n = (cells[at].parse::<i64>().expect("a time") - T0) as u64;
        assert_eq!(cells[value].parse::<f64>().expect("a value"), n as f64);
        *out.entry(n).or_insert(0) += 1;
    }
    out
}

#[test]
fn a_backup_under_load_restores_whole_with_all_that_was_acknowledged() {
    let dir = scratch("backup");
    let port = free_port();
    let Some(_broker) = mosquitto(&dir, port, "allow_anonymous true\nmax_inflight_messages 200") else { return };
    let data = dir.join("data");
    let data_text = data.to_string_lossy().into_owned();
    run(&["token", "create", "--data-dir", &data_text, "--name", "desk", "--role", "viewer"]).expect("a token");
    std::fs::create_dir_all(data.join("models/m/1")).expect("a model's folder");
    std::fs::write(data.join("models/m/1/card.toml"), "format = 0\n").expect("a file");
    // With a token the metrics want one: this test looks in as a viewer.
    let conf = config(&dir, port);
    let text = std::fs::read_to_string(&conf).expect("text").replace("[[inline]]", "[access]\nanonymous = \"viewer\"\n[[inline]]");
    std::fs::write(&conf, text).expect("written");
    let service = serve(&dir, &conf, &data);
    wait("the link", || metric(&service.api, "tramuntana_link_up") == 1.0);
    let publisher = Publisher::start(port);
    for round in 1..=3 {
        let stored = || metric(&service.api, "tramuntana_readings_stored_total");
        let some = stored() + 3_000.0;
        wait("readings", || stored() > some);
        let (copy, back) = (dir.join(format!("backup-{round}")), dir.join(format!("back-{round}")));
        let (copy, back) = (copy.to_string_lossy().into_owned(), back.to_string_lossy().into_owned());
        // What is counted as stored is on the disk; what is acknowledged is counted before.
        let before = stored() as u64;
        let said = run(&["store", "backup", "--data-dir", &data_text, "--to", &copy]).expect("a backup");
        let sent = publisher.sent();
        assert!(said.contains("the running service"), "{said}");
        let said = run(&["store", "restore", "--from", &copy, "--data-dir", &back]).expect("restored and verified");
        assert!(said.contains("site op: 8 points") && said.contains(" ok"), "{said}");
        run(&["store", "verify", "--data-dir", &back]).expect("whole");
        let there = numbers(&back);
        println!("backup {round}: {before} stored before it, {} in it, {sent} sent when it ended", there.len());
        // One publisher on one connection: what is there is a beginning of what was sent, without a gap and each once.
        assert!(there.len() as u64 >= before, "{} of {before}", there.len());
        assert!(there.iter().zip(0..).all(|((n, times), i)| *n == i && *times == 1), "gaps or doubles");
        assert!(there.len() as u64 <= sent);
        assert_eq!(std::fs::read(Path::new(&back).join("models/m/1/card.toml")).expect("the model"), b"format = 0\n");
        assert!(run(&["token", "list", "--data-dir", &back]).expect("tokens").contains("desk"));
    }
    assert!(metric(&service.api, "tramuntana_refused_total") == 0.0);
    drop(publisher);
    drop(service);

    // The same without a service; and what must be refused, each with its reason.
    let (copy, back) = (dir.join("backup-1").to_string_lossy().into_owned(), dir.join("again").to_string_lossy().into_owned());
    let cold = dir.join("cold").to_string_lossy().into_owned();
    assert!(run(&["store", "backup", "--data-dir", &data_text, "--to", &cold]).expect("a backup").contains("nobody had open"));
    let why = run(&["store", "backup", "--data-dir", &data_text, "--to", &copy]).unwrap_err();
    assert!(why.contains("not empty") && why.contains("--to"), "{why}");
    let inside = data.join("inside").to_string_lossy().into_owned();
    assert!(run(&["store", "backup", "--data-dir", &data_text, "--to", &inside]).unwrap_err().contains("in the data directory itself"));
    assert!(run(&["store", "restore", "--from", &copy, "--data-dir", &data_text]).unwrap_err().contains("not empty"));
    let damage = |file: &str, change: &dyn Fn(Vec<u8>) -> Vec<u8>, expected: &str| {
        let path = dir.join("backup-1").join(file);
        let whole = std::fs::read(&path).expect("a file of the backup");
        std::fs::write(&path, change(whole.clone())).expect("changed");
        let why = run(&["store", "restore", "--from", &copy, "--data-dir", &back]).unwrap_err();
        assert!(why.contains(expected), "{file}: {why}");
        assert!(!Path::new(&back).exists(), "nothing half restored stays");
        std::fs::write(&path, whole).expect("mended");
    };
    let flip = |mut b: Vec<u8>| {
        let middle = b.len() / 2;
        b[middle] ^= 1;
        b
    };
    damage("files/models/m/1/card.toml", &flip, "digest differs");
    damage("hot.frames", &flip, "");
    damage("hot.frames", &|mut b| b.split_off(b.len() / 2), "hot rows");
    let text =
        |from: &'static str, to: &'static str| move |b: Vec<u8>| String::from_utf8(b).expect("text").replacen(from, to, 1).into_bytes();
    damage("BACKUP.json", &text("models/m/1/card.toml", "../../escaped"), "leads out");
    damage("BACKUP.json", &text("tramuntana-store 2", "tramuntana-store 3"), "tramuntana-store 3");
    std::fs::remove_file(dir.join("backup-1/BACKUP.json")).expect("removed");
    assert!(run(&["store", "restore", "--from", &copy, "--data-dir", &back]).unwrap_err().contains("not finished"));
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

fn signal(service: &Service, name: &str) {
    let sent = std::process::Command::new("kill").args([&format!("-{name}"), &service.child.0.id().to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

#[test]
fn sigterm_under_load_ends_in_order_and_loses_nothing() {
    let dir = scratch("drain");
    let port = free_port();
    let Some(_broker) = mosquitto(&dir, port, "allow_anonymous true\nmax_inflight_messages 200") else { return };
    let (conf, data) = (config(&dir, port), dir.join("data"));
    let mut service = serve(&dir, &conf, &data);
    wait("the link", || metric(&service.api, "tramuntana_link_up") == 1.0);
    let publisher = Publisher::start(port);
    wait("readings", || metric(&service.api, "tramuntana_readings_stored_total") > 2_000.0);
    // Those that would hold it up: a page that listens, a request that never ends, a connection that says nothing, and a
    // backup whose reader takes nothing.
    let address = service.api.trim_start_matches("http://").to_owned();
    let hangers: Vec<std::net::TcpStream> =
        ["GET /api/v1/events HTTP/1.1\r\nhost: localhost\r\n\r\n", "POST /api/v1/placement/rank HT", ""]
            .iter()
            .map(|text| {
                let mut s = std::net::TcpStream::connect(&address).expect("connected");
                std::io::Write::write_all(&mut s, text.as_bytes()).expect("written");
                s
            })
            .collect();
    let mut reader = std::os::unix::net::UnixStream::connect(data.join("service.sock")).expect("the hatch");
    std::io::Write::write_all(&mut reader, b"backup\n").expect("asked");
    std::thread::sleep(std::time::Duration::from_millis(300));
    let begun = std::time::Instant::now();
    signal(&service, "TERM");
    let mut ended = None;
    wait("the end", || {
        ended = service.child.0.try_wait().expect("a state");
        ended.is_some()
    });
    println!("SIGTERM under load, with three connections and a backup hanging: ended after {:.2} s", begun.elapsed().as_secs_f64());
    assert!(ended.is_some_and(|s| s.success()), "{ended:?}");
    let log = std::fs::read_to_string(dir.join("serve.log")).expect("a log");
    assert!(log.contains("stopped in") && !log.contains("panic"), "{log}");
    assert!(!data.join("service.sock").exists());
    drop((hangers, reader));
    let sent = publisher.sent();
    drop(publisher);
    // Once more: the broker's session brings what was not acknowledged.
    let service = serve(&dir, &conf, &data);
    let mut last = (0.0, std::time::Instant::now());
    wait("the rest", || {
        let n = metric(&service.api, "tramuntana_readings_stored_total") + metric(&service.api, "tramuntana_readings_duplicate_total");
        if n != last.0 {
            last = (n, std::time::Instant::now());
        }
        last.1.elapsed().as_secs_f64() > 2.0
    });
    drop(service);
    let there = numbers(&data.to_string_lossy());
    assert!(there.len() as u64 >= sent, "{} of {sent}", there.len());
    assert!(there.iter().zip(0..).all(|((n, times), i)| *n == i && *times == 1), "gaps or doubles");
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn sighup_takes_a_good_configuration_and_leaves_a_bad_one() {
    let dir = scratch("reload");
    let port = free_port();
    let Some(_broker) = mosquitto(&dir, port, "allow_anonymous true") else { return };
    let (conf, data) = (config(&dir, port), dir.join("data"));
    run(&["token", "create", "--data-dir", &data.to_string_lossy(), "--name", "desk", "--role", "viewer"]).expect("a token");
    let text = std::fs::read_to_string(&conf).expect("text");
    let with = |more: &str| std::fs::write(&conf, text.replace("[[inline]]", &format!("{more}\n[[inline]]"))).expect("written");
    with("[access]\nanonymous = \"viewer\"");
    let service = serve(&dir, &conf, &data);
    let log = || std::fs::read_to_string(dir.join("serve.log")).expect("a log");
    let status = || {
        let answer = ureq::get(format!("{}/api/v1/sites", service.api)).config().http_status_as_error(false).build().call();
        answer.map(|a| a.status().as_u16()).unwrap_or(0)
    };
    assert_eq!(status(), 200);
    let told = |what: &str| {
        signal(&service, "HUP");
        wait(what, || log().contains(what));
    };
    // What is wrong is named with its place, and changes nothing.
    with("[access]\nanonimous = \"viewer\"");
    told("unknown field `anonimous`");
    assert!(log().contains("goes on with the configuration that it has") && log().contains("line 4"), "{}", log());
    with("[store]\nhot_days = 500");
    told("raw_days = 400 must be above hot_days = 500");
    with("[notify]\nwebhook = \"ftp://x\"");
    told("webhook = \"ftp://x\"");
    assert_eq!(status(), 200);
    // What may change at once does; what cannot is named and stays.
    with("listen = \"127.0.0.1:1\"\n[store]\nhot_days = 2\n[mqtt]\nclient_id = \"other\"");
    std::fs::write(&conf, std::fs::read_to_string(&conf).expect("text").replace("key = \"n\"", "key = \"m\"")).expect("written");
    told("in force now: [store], [access]");
    assert!(log().contains("waits for a restart: [mqtt], site op\n"), "{}", log());
    assert_eq!(status(), 401, "nobody is let in without a token any more");
    with("[access]\nanonymous = \"viewer\"\n[store]\nhot_days = 2");
    told("in force now: [access] ");
    assert_eq!(status(), 200);
    assert_eq!(metric(&service.api, "tramuntana_config_read_total"), 5.0);
    drop(service);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
