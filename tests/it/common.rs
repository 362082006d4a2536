//! What several rooms need: the shared data, scratch folders, a broker, the service as a child, its API.
//!
//! Every child ends with the test that started it. What is not installed says SKIPPED.

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tramuntana::reading::PointId;
use tramuntana::site::{Catalogue, Point};
use tramuntana::units::Kind;

/// The repository's folder.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the shared folder beside the checkout (`../shared`, or `TRAMUNTANA_SHARED`); `None`, said as SKIPPED, where it
/// is missing.
pub fn shared(file: &str) -> Option<PathBuf> {
    let root = std::env::var_os("TRAMUNTANA_SHARED").map_or_else(|| repository().join("../shared"), PathBuf::from);
    let path = root.join(file);
    if !path.exists() {
        println!("SKIPPED: ../shared/{file} not present");
        return None;
    }
    Some(path)
}

/// A child process that ends with the test.
pub struct Kept(pub Child);

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An empty folder for one test.
pub fn scratch(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tramuntana-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&dir);
    std::fs::create_dir_all(&dir).expect("a scratch folder");
    dir
}

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a port").port()
}

/// A program's path; `None`, said as SKIPPED, where it is not installed.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found = path.split(':').chain(["/usr/sbin", "/usr/local/sbin"]).map(|d| Path::new(d).join(name)).find(|p| p.is_file());
    if found.is_none() {
        println!("SKIPPED: {name} is not installed");
    }
    found
}

/// Mosquitto on a port; `None` where it is not installed.
pub fn mosquitto(dir: &Path, port: u16, more: &str) -> Option<Kept> {
    let program = program("mosquitto")?;
    let conf = dir.join(format!("mosquitto-{port}.conf"));
    let text = format!("listener {port} 127.0.0.1\nmax_queued_messages 0\npersistence false\nlog_dest none\n{more}\n");
    std::fs::write(&conf, text).expect("written");
    let child = Command::new(program).arg("-c").arg(&conf).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("mosquitto starts");
    wait("mosquitto", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    Some(Kept(child))
}

/// Waits until something is so.
pub fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !done() {
        assert!(Instant::now() < end, "waited 30 s for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The program, started in the repository.
pub fn command(args: &[&str]) -> Command {
    let mut c = Command::new(env!("CARGO_BIN_EXE_tramuntana"));
    c.args(args).current_dir(env!("CARGO_MANIFEST_DIR")).env("NO_COLOR", "1");
    c
}

/// A running service.
pub struct Service {
    pub child: Kept,
    pub api: String,
}

/// Serves a configuration.
pub fn serve(config: &str, broker: &str, data: &Path) -> Service {
    serve_with(config, &["--broker", broker], data, Stdio::null())
}

/// The same with more arguments; what it says goes to the end of a file.
pub fn serve_logged(config: &Path, more: &[&str], data: &Path, log: &Path) -> Service {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a log");
    serve_with(&config.to_string_lossy(), more, data, log.into())
}

fn serve_with(config: &str, more: &[&str], data: &Path, log: Stdio) -> Service {
    let listen = format!("127.0.0.1:{}", free_port());
    let data = data.to_string_lossy();
    let child = command(&["serve", "--config", config, "--data-dir", &data, "--listen", &listen])
        .args(more)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("serve starts");
    let child = Kept(child);
    let api = format!("http://{listen}");
    // It answers before it is ready: a broker may be away for ever.
    wait("the API", || ureq::get(format!("{api}/api/v1/session")).call().is_ok());
    Service { child, api }
}

pub fn get(url: &str) -> Option<Value> {
    ureq::get(url).call().ok()?.body_mut().read_json().ok()
}

/// A site as the API shows it.
pub fn site(api: &str, id: &str) -> Value {
    let all = get(&format!("{api}/api/v1/sites")).unwrap_or_default();
    let rows = all.as_array().cloned().or_else(|| all["sites"].as_array().cloned()).unwrap_or_default();
    rows.into_iter().find(|s| s["id"] == id).unwrap_or_default()
}

/// All points of a site, page by page.
pub fn points(api: &str, id: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(&format!("{api}/api/v1/points?site={id}&limit=100{cursor}")).expect("a page");
        all.extend(page["points"].as_array().cloned().unwrap_or_default());
        match page["next"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

/// As many liquid temperatures.
pub fn catalogue(points: u32) -> Catalogue {
    let mut c = Catalogue::new();
    for i in 0..points {
        c.upsert(Point {
            id: PointId(0),
            path: format!("CDU/LiquidTemperature/{i}"),
            object_type: "CDU".into(),
            point_type: "LiquidTemperature".into(),
            kind: Kind::Temperature,
            eng_unit: "C".into(),
            state_text: vec![],
            object_name: format!("CDU {i}"),
            object_id: format!("C{i}"),
            associated: false,
            serves_id: vec![],
            process_area: vec![],
            is_setpoint: false,
            integration: String::new(),
            scope: String::new(),
            phase: String::new(),
        });
    }
    c
}
