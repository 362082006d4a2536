//! Integration tests of tokens, roles, the far door and the audit trail, with the program itself and no broker.

use crate::common::{Kept, command, free_port, scratch, wait};
use crate::link::certificates;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;

fn run(args: &[&str]) -> (bool, String, String) {
    let out = command(args).output().expect("the program runs");
    (out.status.success(), String::from_utf8_lossy(&out.stdout).trim().to_owned(), String::from_utf8_lossy(&out.stderr).into_owned())
}

fn serve(config: &str, data: &str, listen: &str) -> Kept {
    let child = command(&["serve", "--config", config, "--broker", "mqtt://127.0.0.1:9", "--data-dir", data, "--listen", listen])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Kept(child.expect("serve starts"))
}

/// Status and body of a request with a token.
fn ask(url: &str, token: Option<&str>, body: Option<Value>) -> (u16, Value) {
    let bearer = token.map(|t| format!("Bearer {t}"));
    let mut answer = match body {
        None => {
            let mut r = ureq::get(url);
            if let Some(b) = &bearer {
                r = r.header("authorization", b);
            }
            r.config().http_status_as_error(false).build().call()
        }
        Some(json) => {
            let mut r = ureq::post(url);
            if let Some(b) = &bearer {
                r = r.header("authorization", b);
            }
            r.config().http_status_as_error(false).build().send_json(json)
        }
    }
    .expect("an answer");
    (answer.status().as_u16(), answer.body_mut().read_json().unwrap_or(Value::Null))
}

#[test]
fn tokens_open_for_their_role_and_acts_are_chained() {
    let dir = scratch("access");
    let data = dir.join("data").to_string_lossy().into_owned();
    let token = |name: &str, role: &str| {
        let (ok, token, err) = run(&["token", "create", "--data-dir", &data, "--name", name, "--role", role]);
        assert!(ok && token.len() > 40, "{err}");
        token
    };
    let port = free_port();
    let (listen, api) = (format!("127.0.0.1:{port}"), format!("http://127.0.0.1:{port}"));
    let child = serve("tramuntana.toml", &data, &listen);
    wait("the API", || ureq::get(format!("{api}/api/v1/session")).call().is_ok());
    let hold = format!("{api}/api/v1/sites/bsc-hq/hold");
    // Without any token this host may do everything, but has to say who he is.
    assert_eq!(ask(&hold, None, Some(json!({"hold": true}))).0, 400);
    assert_eq!(ask(&hold, None, Some(json!({"hold": true, "who": "Maria", "why": "pump test"}))).0, 200);

    let (viewer, operator, scheduler) = (token("wall", "viewer"), token("desk", "operator"), token("slurm", "scheduler"));
    wait("the keyring", || ask(&format!("{api}/api/v1/sites"), None, None).0 == 401);
    let sites = format!("{api}/api/v1/sites");
    for t in [&viewer, &operator, &scheduler] {
        assert_eq!(ask(&sites, Some(t), None).0, 200);
    }
    assert_eq!(ask(&sites, Some("guess"), None).0, 401);
    for t in [&viewer, &scheduler] {
        let (status, problem) = ask(&hold, Some(t), Some(json!({"hold": false})));
        assert!(status == 403 && problem["mend"].as_str().is_some_and(|m| m.contains("token create")), "{problem}");
    }
    // The token says who; a name beside it is kept beside it.
    assert_eq!(ask(&hold, Some(&operator), Some(json!({"hold": false}))).0, 200);
    assert_eq!(ask(&hold, Some(&operator), Some(json!({"hold": true, "who": "Jordi"}))).0, 200);
    let (_, trail) = ask(&format!("{api}/api/v1/audit?site=bsc-hq"), Some(&viewer), None);
    let who: Vec<&str> = trail.as_array().expect("a list").iter().filter_map(|e| e["who"].as_str()).collect();
    assert_eq!(who, ["Jordi [desk]", "desk", "Maria"]);

    assert!(run(&["token", "revoke", "desk", "--data-dir", &data]).0);
    wait("the revocation", || ask(&sites, Some(&operator), None).0 == 401);
    let (_, list, _) = run(&["token", "list", "--data-dir", &data]);
    assert!(list.contains("revoked") && !list.contains(&viewer), "{list}");
    drop(child);

    let (ok, text, _) = run(&["audit", "verify", "--data-dir", &data]);
    assert!(ok && text.contains("bsc-hq: 3 entries, whole"), "{text}");
    let (_, shown, _) = run(&["audit", "show", "--data-dir", &data, "--site", "bsc-hq"]);
    assert!(shown.contains("Maria") && shown.contains("pump test"), "{shown}");
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn a_far_door_needs_tls_and_a_token() {
    let dir = scratch("door");
    let data = dir.join("data").to_string_lossy().into_owned();
    let start = |config: &Path, listen: &str| {
        run(&["serve", "--config", &config.to_string_lossy(), "--broker", "mqtt://127.0.0.1:9", "--data-dir", &data, "--listen", listen])
    };
    let site = crate::common::repository().join("sensors/dsx-exemplar/site.toml");
    let config = |more: &str| {
        let path = dir.join("c.toml");
        std::fs::write(&path, format!("format = 1\nbroker = \"mqtt://127.0.0.1:9\"\nsites = [{:?}]\n{more}", site)).expect("written");
        path
    };
    let (ok, _, err) = start(&config(""), "0.0.0.0:0");
    assert!(!ok && err.contains("[https] cert and key") && err.contains("127.0.0.1"), "{err}");
    if !certificates(&dir) {
        return;
    }
    let https = "[https]\ncert = \"broker.pem\"\nkey = \"broker.key\"\n";
    let (ok, _, err) = start(&config(https), "0.0.0.0:0");
    assert!(!ok && err.contains("no token yet") && err.contains("token create"), "{err}");
    let (ok, _, err) = start(&config("[https]\ncert = \"broker.pem\"\n"), "127.0.0.1:0");
    assert!(!ok && err.contains("belong together"), "{err}");
    let (ok, _, err) = start(&config("[https]\ncert = \"absent.pem\"\nkey = \"broker.key\"\n"), "127.0.0.1:0");
    assert!(!ok && err.contains("absent.pem"), "{err}");

    // TLS itself, with the authority that signed the certificate.
    let port = free_port();
    let _child = serve(&config(https).to_string_lossy(), &data, &format!("127.0.0.1:{port}"));
    let pem = std::fs::read(dir.join("ca.pem")).expect("the authority");
    let ca = ureq::tls::Certificate::from_pem(&pem).expect("a certificate");
    let tls = ureq::tls::TlsConfig::builder().root_certs(ureq::tls::RootCerts::new_with_certs(&[ca])).build();
    let agent: ureq::Agent = ureq::Agent::config_builder().tls_config(tls).build().into();
    let url = format!("https://localhost:{port}/api/v1/session");
    wait("HTTPS", || agent.get(&url).call().is_ok());
    // A token that the page keeps does not travel without TLS.
    let (ok, token, err) = run(&["token", "create", "--data-dir", &data, "--name", "page", "--role", "viewer"]);
    assert!(ok, "{err}");
    let login = || agent.post(&url).send_json(json!({ "token": token })).ok().filter(|a| a.status() == 200);
    wait("the token", || login().is_some());
    let kept = login().and_then(|a| a.headers().get("set-cookie")?.to_str().ok().map(str::to_owned)).unwrap_or_default();
    assert!(["HttpOnly", "SameSite=Strict", "Secure"].iter().all(|w| kept.contains(w)), "{kept}");
    // A client that says nothing holds nobody up.
    let _silent = std::net::TcpStream::connect(("127.0.0.1", port)).expect("connected");
    assert_eq!(login().expect("an answer").status(), 200);
    assert!(ureq::get(&url).call().is_err(), "an unknown authority is not believed");
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
