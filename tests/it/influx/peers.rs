//! The mirror and the history before others' programs. Each test says SKIPPED where its peer is not installed.

use super::*;
use crate::common::{Kept, free_port, program};
use serde_json::Value;
use std::io::Write as _;
use tramuntana::app::influx::History;
use tramuntana::influx::{flux, write::Writer};

fn spawn(program: &Path, args: &[String]) -> Kept {
    Kept(Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it starts"))
}

fn text(url: &str) -> Option<String> {
    ureq::get(url).call().ok()?.body_mut().with_config().limit(256 << 20).read_to_string().ok()
}

fn target(url: &str) -> Target {
    Target { url: url.into(), org: ORG.into(), bucket: BUCKET.into(), token: TOKEN.into(), authority: None }
}

/// VictoriaMetrics takes the mirror's writes, gzip and nanoseconds, and gives every value back once.
#[test]
fn victoria_metrics_gives_back_what_the_mirror_wrote() {
    let Some(vm) = program("victoria-metrics") else { return };
    let dir = scratch("influx-vm");
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}");
    let args = [
        format!("-httpListenAddr=127.0.0.1:{port}"),
        format!("-storageDataPath={}", dir.join("vm").display()),
        "-retentionPeriod=100y".into(),
        "-memory.allowedBytes=200MB".into(),
    ];
    let server = spawn(&vm, &args);
    wait("VictoriaMetrics", 30, || text(&format!("{url}/health")).is_some());
    // Of this year, so that no retention of theirs is in the way; the hostile names besides the numbered ones.
    let catalogue = points(&[hostile(), (0..20).map(|i| format!("hall/cdu{i}")).collect()].concat());
    let n = catalogue.len();
    let rig = Rig::new(&dir.join("store"), &catalogue, &url, "", "batch = 3000");
    let all: Vec<Reading> = readings(0, 50_000, n);
    all.chunks(1777).for_each(|c| rig.append(c));
    rig.drained(60);
    assert_eq!(rig.tally.total(INFLUX_ERRORS), 0);
    let mut got: BTreeMap<(String, i64), f64> = BTreeMap::new();
    wait("VictoriaMetrics to show all", 30, || {
        let _ = text(&format!("{url}/internal/force_flush"));
        got.clear();
        let export = text(&format!("{url}/api/v1/export?match[]=temperature_value&start=0")).unwrap_or_default();
        for l in export.lines() {
            let row: Value = serde_json::from_str(l).expect("a JSON line");
            assert_eq!(row["metric"]["site"], SITE);
            let path = row["metric"]["path"].as_str().unwrap_or_default().to_owned();
            for (at, v) in row["timestamps"].as_array().into_iter().flatten().zip(row["values"].as_array().into_iter().flatten()) {
                let twice = got.insert((path.clone(), at.as_i64().expect("ms")), v.as_f64().expect("a number"));
                assert_eq!(twice, None, "{path} at {at} is there twice");
            }
        }
        got.len() == all.len()
    });
    for r in &all {
        let path = line::path_tag(catalogue.get(r.point).expect("known"));
        assert_eq!(got.get(&(path.clone(), r.at.0)), Some(&r.value), "{path}");
    }
    println!("VictoriaMetrics: {} values of {n} points back, each once", got.len());
    drop((rig, server));
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

/// influxdb 1.6, which has real 400s, reads every line as it was meant.
#[test]
fn influxdb_1_reads_hostile_names_as_they_are() {
    let Some(influxd) = program("influxd") else { return };
    let dir = scratch("influx-influxd");
    let (http, rpc) = (free_port(), free_port());
    let conf = dir.join("influxdb.conf");
    let at = |d: &str| dir.join(d).display().to_string();
    let text_of = format!(
        "reporting-disabled = true\nbind-address = \"127.0.0.1:{rpc}\"\n[meta]\ndir = {:?}\n[data]\ndir = {:?}\nwal-dir = {:?}\n[http]\nbind-address = \"127.0.0.1:{http}\"\nlog-enabled = false\n[monitor]\nstore-enabled = false\n[subscriber]\nenabled = false\n",
        at("meta"),
        at("data"),
        at("wal")
    );
    std::fs::write(&conf, text_of).expect("written");
    let server = spawn(&influxd, &["-config".into(), conf.display().to_string()]);
    let url = format!("http://127.0.0.1:{http}");
    wait("influxdb", 30, || ureq::get(format!("{url}/ping")).call().is_ok());
    // A server that answers pings may still be about to open its catalogue.
    wait("the database", 30, || {
        let _ = ureq::post(format!("{url}/query")).query("q", "CREATE DATABASE t").send_empty();
        let all = ureq::get(format!("{url}/query")).query("q", "SHOW DATABASES").call();
        all.is_ok_and(|mut r| r.body_mut().read_to_string().is_ok_and(|t| t.contains("\"t\"")))
    });
    let write = |lines: &str| {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut r = agent.post(format!("{url}/write")).query("db", "t").query("precision", "ns").send(lines).expect("an answer");
        (r.status().as_u16(), r.body_mut().read_to_string().unwrap_or_default())
    };
    let mut lines = String::new();
    let known = hostile_points();
    for (i, p) in known.iter().enumerate() {
        assert!(line::push(&mut lines, &line::head(SITE, p), (T0 + Span(i as i64)).into(), i as f64 + 0.5, Quality::LATE));
    }
    assert!(line::push(&mut lines, &line::head(SITE, &known[0]), (T0 + Span::minutes(1)).into(), f64::NAN, Quality::NO_VALUE));
    assert_eq!(lines.lines().count(), known.len() + 1, "one reading, one line");
    let (status, body) = write(&lines);
    assert_eq!(status, 204, "{body}");
    assert_eq!(write("temperature,path= value=1 1\n").0, 400, "this server does refuse lines");
    let mut answer = ureq::get(format!("{url}/query"))
        .query("db", "t")
        .query("epoch", "ns")
        .query("q", "SELECT * FROM temperature")
        .call()
        .expect("rows");
    let json: Value = answer.body_mut().read_json().expect("JSON");
    let table = &json["results"][0]["series"][0];
    let column = |name: &str| {
        table["columns"].as_array().into_iter().flatten().position(|c| c == name).unwrap_or_else(|| panic!("{name} in {table}"))
    };
    assert_eq!(table["columns"].as_array().map(Vec::len), Some(8), "no tag and no field beyond ours: {}", table["columns"]);
    let rows = table["values"].as_array().expect("rows");
    assert_eq!(rows.len(), known.len() + 1);
    for (i, p) in known.iter().enumerate() {
        let path = line::path_tag(p);
        let row = rows.iter().find(|r| r[column("path")] == path.as_str() && r[column("value")] == i as f64 + 0.5);
        let row = row.unwrap_or_else(|| panic!("{path:?} in {rows:?}"));
        assert_eq!(row[column("time")].as_i64(), Some((T0.0 + i as i64) * 1_000_000));
        assert_eq!((&row[column("site")], row[column("quality")].as_i64()), (&Value::from(SITE), Some(16)));
        assert!(!row.to_string().contains("4711"), "no job in a tag");
    }
    println!("influxdb 1.6: {} hostile names back as they were", known.len());
    drop(server);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

/// What InfluxData's own parser says of each question, `valid` or `invalid`; `None`, said as SKIPPED, where it is not installed.
pub fn flux_verdicts(questions: &[String]) -> Option<Vec<String>> {
    let modules = std::env::var("TRAMUNTANA_NODE_MODULES").map(PathBuf::from).unwrap_or_default();
    if !modules.join("@influxdata/flux-lsp-browser").is_dir() {
        println!("SKIPPED: npm package @influxdata/flux-lsp-browser is not installed (TRAMUNTANA_NODE_MODULES)");
        return None;
    }
    let check = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/influx/flux.mjs");
    let mut node = Command::new("node")
        .arg(check)
        .arg(&modules)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node starts");
    let input: String = questions.iter().map(|q| format!("{}\n", Value::from(q.as_str()))).collect();
    node.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("asked");
    let out = node.wait_with_output().expect("an answer");
    let said: Vec<String> = String::from_utf8_lossy(&out.stdout).lines().map(str::to_owned).collect();
    assert_eq!(said.len(), questions.len(), "{}", String::from_utf8_lossy(&out.stderr));
    Some(said)
}

/// Every question that we can ask parses and type-checks by InfluxData's own Flux parser.
#[test]
fn influxdatas_parser_accepts_every_question() {
    let mut questions = Vec::new();
    let names: Vec<String> = hostile_points().iter().map(line::path_tag).chain(hostile()).collect();
    for name in &names {
        questions.push(flux::series(name, name, name, T0, T0 + Span::hours(24), Span::minutes(5)));
        questions.push(flux::bucket_is_there(name));
    }
    for (from, to, step) in [(0, 1, 1), (1, 253_402_300_799_000, 86_400_000), (-86_400_000, 123, 7)] {
        questions.push(flux::series(BUCKET, SITE, "a", Timestamp(from), Timestamp(to), Span(step)));
    }
    let good = questions.len();
    // What it must refuse: or the check would be none.
    let one = questions[0].clone();
    questions.push(one.replace("every:", "evry:"));
    questions.push(one.replace("bitwise.sor", "bitwise.nor_there"));
    questions.push(one.replace("from(bucket: ", "from(bucket: 5 + "));
    questions.push(one.replacen('"', "", 1));
    let Some(said) = flux_verdicts(&questions) else { return };
    for (q, verdict) in questions[..good].iter().zip(&said) {
        assert_eq!(verdict, "valid", "{q}");
    }
    assert_eq!(said[good..], ["invalid"; 4]);
    println!("Flux: {good} questions valid by InfluxData's parser, 4 broken ones refused");
}

/// PyPI's `influxdb-client` works against the double: what the double answers is what a client expects of InfluxDB 2.
#[test]
fn the_double_is_true_for_influxdb_client() {
    let python = std::env::var("TRAMUNTANA_PYTHON").unwrap_or_else(|_| "python3".into());
    if !Command::new(&python).args(["-c", "import influxdb_client"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success()) {
        println!("SKIPPED: the Python package influxdb-client is not installed");
        return;
    }
    let double = Double::new();
    let question = flux::series(BUCKET, SITE, "py", T0, T0 + Span::minutes(10), Span::minutes(5));
    double.kept().script.extend([(429, Some("1".to_owned())), (503, Some("1".to_owned()))]);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/influx/client.py");
    let out = Command::new(&python)
        .arg(script)
        .args([&double.url, ORG, BUCKET, TOKEN, &question, &(T0.0 * 1_000_000).to_string()])
        .output()
        .expect("python runs");
    let said = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(out.status.success(), "{said}{}", String::from_utf8_lossy(&out.stderr));
    assert!(said.ends_with("all as expected\n"), "{said}");
    let kept = double.kept();
    assert_eq!(kept.requests.iter().map(|r| r.1).collect::<Vec<_>>(), [429, 503, 204, 401, 404, 400]);
    // Of the six writes those whose body the double read: the accepted one and the bad line.
    assert_eq!((kept.points(), kept.gzipped), (601, 2));
    print!("influxdb-client: {said}");
}

/// The embedded store's steps and the server's are the same ones.
#[test]
fn history_reads_as_the_embedded_store_does() {
    let dir = scratch("influx-history");
    let double = Double::new();
    let catalogue = points(&hostile());
    let n = catalogue.len();
    let rig = Rig::new(&dir, &catalogue, &double.url, TOKEN, "");
    let mut all = readings(0, 20_000, n);
    for (i, r) in all.iter_mut().enumerate() {
        if i % 97 == 0 {
            r.quality = Quality::LATE.with(Quality::FROZEN);
        }
        if i % 101 == 0 {
            (r.value, r.quality) = (f64::NAN, Quality::NO_VALUE);
        }
    }
    rig.append(&all);
    rig.drained(20);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    let history = History::new(target(&double.url));
    let ask = |h: &History, p: &Point, from, to, step| {
        let (h, p) = (h.clone(), p.clone());
        runtime.block_on(runtime.spawn(async move { h.series(SITE, &p, from, to, step) })).expect("no panic leaves it")
    };
    let (mut steps, mut worst) = (0, 0.0_f64);
    for p in catalogue.iter() {
        for (from, to, step) in [(0, 2_000_000, 60_000), (1_234, 1_500_777, 7_000), (-500, 100, 1), (3_000_000, 4_000_000, 1000)] {
            let (from, to, step) = (T0 + Span(from), T0 + Span(to), Span(step));
            let own = rig.store.series(SITE, p.id, from, to, step).expect("steps");
            let theirs = ask(&history, p, from, to, step).expect("steps");
            assert_eq!(own.len(), theirs.len(), "{}", p.path);
            for (a, b) in own.iter().zip(&theirs) {
                assert_eq!((a.at, a.count, a.quality), (b.at, b.count, b.quality), "{}", p.path);
                assert!(a.count == 0 || (a.min, a.max) == (b.min, b.max), "{a:?} {b:?}");
                worst = worst.max(if a.count == 0 { 0.0 } else { (a.mean - b.mean).abs() });
                steps += 1;
            }
        }
    }
    assert!(steps > 1000 && worst < 1e-9, "{steps} {worst}");
    let p = catalogue.get(PointId(0)).expect("known");
    let wrong = History::new(Target { token: "wrong".into(), ..target(&double.url) });
    let e = ask(&wrong, p, T0, T0 + Span::hours(1), Span::minutes(1)).unwrap_err();
    assert!(e.contains("401") && e.contains("token_env") && !e.contains("wrong"), "{e}");
    let e =
        ask(&History::new(target(&format!("http://127.0.0.1:{}", free_port()))), p, T0, T0 + Span::hours(1), Span::minutes(1)).unwrap_err();
    assert!(e.contains("does not answer"), "{e}");

    // A server that sends nonsense makes the client panic; that is an error, not the end.
    for (body, what) in [
        (
            "#datatype,string,long,dateTime:RFC3339,double\n#group,false,false,false,false\n#default,sum,,,\n,result,table,_time,_value\n,,0,2026-07-14T00:00:00Z,\n",
            "an empty number",
        ),
        (
            "#datatype,string,long,dateTime:RFC3339,double\n#group,false,false,false,false\n#default,sum,,,\n,result,table,_time,_value\n,,0,noon,1\n",
            "no time",
        ),
        ("\"unclosed", "no table"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let answer =
            format!("HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        let once = std::thread::spawn(move || {
            use std::io::Read as _;
            let (mut s, _) = listener.accept().expect("a question");
            let mut head = [0; 65_536];
            let _ = s.read(&mut head);
            let _ = s.write_all(answer.as_bytes());
        });
        let e = ask(&History::new(target(&url)), p, T0, T0 + Span::hours(1), Span::minutes(1));
        assert!(e.as_ref().is_err_and(|e| e.contains(&url)) || e.as_ref().is_ok_and(Vec::is_empty), "{what}: {e:?}");
        once.join().expect("asked");
    }
    drop(rig);
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

/// A batch of a thousand lines, for the size of what goes over the wire.
#[test]
fn a_batch_is_small_on_the_wire() {
    let double = Double::new();
    let catalogue = numbered(100);
    let heads: Vec<String> = catalogue.iter().map(|p| line::head(SITE, p)).collect();
    let mut lines = String::new();
    for r in readings(0, 5000, 100) {
        line::push(&mut lines, &heads[r.point.0 as usize], r.stamp(), r.value, r.quality);
    }
    Writer::new(target(&double.url)).expect("a writer").write(&lines, T0).expect("written");
    let kept = double.kept();
    assert_eq!((kept.points(), kept.gzipped), (5000, 1));
    println!("5,000 readings: {} bytes of lines", lines.len());
}
