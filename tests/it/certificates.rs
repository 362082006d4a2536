//! Client certificates that have roles: the right one, others, none, one that is over, one of another authority; beside tokens; and a
//! configuration that changes while the service runs. Certificates are made by openssl.

use crate::common::{Kept, command, free_port, repository, scratch, wait};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

/// Makes a server's certificate and those of clients. False where openssl is missing.
fn made(dir: &Path) -> bool {
    let script = r#"
        set -e
        key() { openssl req "$@" -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes; }
        for ca in ca stranger; do
            key -x509 -days 2 -subj "/CN=$ca" -keyout $ca.key -out $ca.pem -addext basicConstraints=critical,CA:TRUE
        done
        sign() { # name subject authority days alternative-names
            key -subj "$2" -keyout $1.key -out $1.csr
            printf "subjectAltName=$5\n" > $1.ext
            openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key -CAcreateserial -days $4 -extfile $1.ext -out $1.pem
        }
        sign server /CN=localhost ca 2 DNS:localhost,IP:127.0.0.1
        sign desk /C=ES/O=BSC/CN=desk ca 2 URI:spiffe://bsc.example/desk
        sign slurm /CN=slurm ca 2 DNS:slurm.bsc.example
        sign robot /CN=robot ca 2 email:robot@bsc.example
        sign wall /CN=wall ca 2 DNS:wall.bsc.example
        sign other /CN=other ca 2 DNS:other.bsc.example
        sign tricky "/C=ES/O=x,CN=desk/CN=tricky" ca 2 DNS:tricky.bsc.example
        sign over /C=ES/O=BSC/CN=desk ca -1 URI:spiffe://bsc.example/desk
        sign forged /C=ES/O=BSC/CN=desk stranger 2 URI:spiffe://bsc.example/desk"#;
    let out = Command::new("sh").args(["-c", script]).current_dir(dir).stdout(Stdio::null()).stderr(Stdio::null()).status();
    let there = out.is_ok_and(|s| s.success());
    if !there {
        println!("SKIPPED: openssl is not installed");
    }
    there
}

struct Hall {
    dir: PathBuf,
    url: String,
    child: Kept,
}

/// What clients are given.
const ROLES: &str = r#"
[[access.client_certificate]]
subject = "CN=desk,O=BSC,C=ES"
role = "operator"
name = "control desk"
[[access.client_certificate]]
cn = "slurm"
role = "scheduler"
name = "scheduler of the hall"
[[access.client_certificate]]
san = "email:robot@bsc.example"
role = "viewer"
name = "robot"
[[access.client_certificate]]
fingerprint = "WALL"
role = "viewer"
name = "wall"
"#;

fn roles(dir: &Path) -> String {
    let out = Command::new("openssl").args(["x509", "-in", "wall.pem", "-noout", "-fingerprint", "-sha256"]).current_dir(dir).output();
    let text = String::from_utf8(out.expect("openssl").stdout).expect("text");
    ROLES.replace("WALL", text.trim().split_once('=').expect("a fingerprint").1)
}

fn write(dir: &Path, more: &str) -> PathBuf {
    let site = repository().join("sensors/bsc-hq/site.toml");
    let https = "[https]\ncert = \"server.pem\"\nkey = \"server.key\"\nclient_ca = \"ca.pem\"";
    let path = dir.join("c.toml");
    let text = format!("format = 1\nbroker = \"mqtt://127.0.0.1:9\"\nsites = [{site:?}]\n{https}\n{more}");
    std::fs::write(&path, text).expect("written");
    path
}

impl Hall {
    fn start(dir: &Path, config: &Path) -> Hall {
        let port = free_port();
        let (config, data) = (config.to_string_lossy(), dir.join("data").to_string_lossy().into_owned());
        let log = std::fs::File::create(dir.join("log")).expect("a log");
        let child = command(&["serve", "--config", &config, "--data-dir", &data, "--listen", &format!("127.0.0.1:{port}")])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("serve starts");
        let hall = Hall { dir: dir.to_owned(), url: format!("https://localhost:{port}/api/v1"), child: Kept(child) };
        wait("HTTPS", || hall.client(Some("wall")).get(format!("{}/session", hall.url)).call().is_ok());
        hall
    }

    /// A client that shows a certificate, or none. A new one each time: nothing of an earlier handshake is used again.
    fn client(&self, certificate: Option<&str>) -> ureq::Agent {
        let pem = |name: &str| std::fs::read(self.dir.join(name)).expect("a file");
        let ca = Certificate::from_pem(&pem("ca.pem")).expect("a certificate");
        let shown = certificate.map(|name| {
            let chain = [Certificate::from_pem(&pem(&format!("{name}.pem"))).expect("a certificate")];
            ClientCert::new_with_certs(&chain, PrivateKey::from_pem(&pem(&format!("{name}.key"))).expect("a key"))
        });
        let tls = TlsConfig::builder().root_certs(RootCerts::new_with_certs(&[ca])).client_cert(shown).build();
        ureq::Agent::config_builder().tls_config(tls).http_status_as_error(false).build().into()
    }

    /// Status and body, where there is an answer.
    fn ask(&self, certificate: Option<&str>, token: Option<&str>, path: &str, body: Option<Value>) -> Option<(u16, Value)> {
        let (agent, url) = (self.client(certificate), format!("{}{path}", self.url));
        let bearer = token.map_or_else(String::new, |t| format!("Bearer {t}"));
        let answer = match body {
            None => agent.get(&url).header("authorization", bearer).call(),
            Some(json) => agent.post(&url).header("authorization", bearer).send_json(json),
        };
        let mut answer = answer.ok()?;
        Some((answer.status().as_u16(), answer.body_mut().read_json().unwrap_or(Value::Null)))
    }

    fn who(&self, certificate: Option<&str>, token: Option<&str>) -> Option<(u16, Value)> {
        self.ask(certificate, token, "/session", None)
    }

    fn hang_up(&self) {
        let pid = self.child.0.id().to_string();
        assert!(Command::new("kill").args(["-HUP", &pid]).status().expect("kill runs").success());
    }
}

fn token(dir: &Path, name: &str, role: &str) -> String {
    let data = dir.join("data").to_string_lossy().into_owned();
    let out = command(&["token", "create", "--data-dir", &data, "--name", name, "--role", role]).output().expect("it runs");
    String::from_utf8_lossy(&out.stdout).trim().to_owned()
}

#[test]
fn a_client_certificate_has_the_role_that_it_is_given() {
    let dir = scratch("certificates");
    if !made(&dir) {
        return;
    }
    let hall = Hall::start(&dir, &write(&dir, &roles(&dir)));
    for (certificate, name, role) in [
        ("desk", "control desk", "operator"),
        ("slurm", "scheduler of the hall", "scheduler"),
        ("robot", "robot", "viewer"),
        ("wall", "wall", "viewer"),
    ] {
        assert_eq!(hall.who(Some(certificate), None), Some((200, json!({ "name": name, "role": role }))), "{certificate}");
    }
    // Unknown ones have no role, although there is no token yet; a subject that imitates another is another.
    for certificate in ["other", "tricky"] {
        let (status, problem) = hall.who(Some(certificate), None).expect("an answer");
        assert!(status == 401 && problem["detail"].as_str().is_some_and(|d| d.contains("has no role here")), "{certificate}: {problem}");
    }
    // These do not come as far as a request.
    for certificate in [None, Some("over"), Some("forged")] {
        assert_eq!(hall.who(certificate, None), None, "{certificate:?}");
    }
    // What a role may, and under whose name it is filed.
    let hold =
        |certificate, token| hall.ask(certificate, token, "/sites/bsc-hq/hold", Some(json!({ "hold": true, "why": "test" }))).map(|a| a.0);
    assert_eq!(hold(Some("desk"), None), Some(200));
    assert_eq!([hold(Some("slurm"), None), hold(Some("wall"), None), hold(Some("other"), None)], [Some(403), Some(403), Some(401)]);
    let (_, trail) = hall.ask(Some("wall"), None, "/audit?site=bsc-hq", None).expect("an answer");
    assert_eq!(trail[0]["who"], "control desk");
    // A token wins over a certificate, for less and for more; one that opens nothing is refused beside a good certificate.
    let (viewer, admin) = (token(&dir, "lobby", "viewer"), token(&dir, "boss", "admin"));
    wait("the keyring", || hall.who(Some("wall"), Some(&admin)).is_some_and(|a| a.0 == 200));
    assert_eq!(hall.who(Some("wall"), Some(&admin)), Some((200, json!({ "name": "boss", "role": "admin" }))));
    assert_eq!(hall.who(Some("desk"), Some(&viewer)), Some((200, json!({ "name": "lobby", "role": "viewer" }))));
    assert_eq!(hold(Some("desk"), Some(&viewer)), Some(403));
    assert_eq!(hall.who(Some("desk"), Some("guess")).map(|a| a.0), Some(401));
    assert_eq!(hall.who(Some("other"), Some(&viewer)).map(|a| a.0), Some(200));
    let metrics =
        hall.client(Some("wall")).get(hall.url.replace("/api/v1", "/metrics")).call().expect("metrics").body_mut().read_to_string();
    let metrics = metrics.expect("text");
    for label in ["certificate unknown", "handshake"] {
        assert!(metrics.contains(&format!("tramuntana_access_refused_total{{label=\"{label}\"}}")), "{label}: {metrics}");
    }

    // Read again while it runs: another role for the desk, none for the robot, a certificate no longer asked of everybody.
    let less = roles(&dir).replace("\"operator\"", "\"viewer\"").replace("robot@", "nobody@");
    write(&dir, &format!("client_optional = true\n{less}"));
    hall.hang_up();
    wait("the new role", || hall.who(Some("desk"), None).is_some_and(|a| a.1["role"] == "viewer"));
    assert_eq!(hall.who(Some("robot"), None).map(|a| a.0), Some(401));
    assert_eq!(hall.who(None, None).map(|a| a.0), Some(401), "no certificate: a token is needed");
    assert_eq!(hall.who(None, Some(&viewer)).map(|a| a.0), Some(200));
    assert_eq!(hall.who(Some("forged"), Some(&viewer)), None, "a bad certificate is worse than none");
    // Who is unknown reads, where the configuration says so.
    write(&dir, &format!("client_optional = true\n[access]\nanonymous = \"viewer\"\n{less}"));
    hall.hang_up();
    wait("readers", || hall.who(Some("other"), None).is_some_and(|a| a == (200, json!({ "name": null, "role": "viewer" }))));
    assert_eq!(hold(Some("other"), None), Some(403));
    // A mistake changes nothing.
    write(&dir, "[[access.client_certificate]]\ncn = \"desk\"\nrole = \"king\"\nname = \"x\"");
    hall.hang_up();
    wait("the refusal", || std::fs::read_to_string(dir.join("log")).is_ok_and(|t| t.contains("not taken") && t.contains("king")));
    assert_eq!(hall.who(Some("desk"), None).map(|a| a.1["role"].clone()), Some(json!("viewer")));
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}

#[test]
fn check_says_what_is_wrong_with_a_mapping() {
    let dir = scratch("certificates-check");
    if !made(&dir) {
        return;
    }
    let check = |more: &str| {
        let path = write(&dir, more);
        let out = command(&["check", "--offline", "--config", &path.to_string_lossy()]).output().expect("check runs");
        let said = [out.stdout, out.stderr].map(|b| String::from_utf8_lossy(&b).into_owned()).concat();
        (out.status.success(), said)
    };
    let entry = |identity: &str| format!("[[access.client_certificate]]\n{identity}\nrole = \"viewer\"\nname = \"x\"\n");
    let (ok, said) = check(&roles(&dir));
    assert!(ok && said.contains("client certificates: 4 have a role"), "{said}");
    for (more, why) in [
        (entry(""), "0 of subject, cn, san and fingerprint"),
        (entry("fingerprint = \"00\""), "64 hex digits"),
        (entry("cn = \"a\"\nsan = \"DNS:a\""), "give just one"),
        (entry("subject = \"desk\""), "no distinguished name"),
        (entry("san = \"desk.example\""), "DNS:, URI: or email:"),
        (entry("cn = \"a\"").repeat(2), "the same certificate"),
        (entry("cn = \"a\"").replace("\"viewer\"", "\"king\""), "king"),
        (entry("cn = \"a\"").replace("\"x\"", "\"\""), "client_certificate.name"),
    ] {
        let (ok, said) = check(&more);
        assert!(!ok && said.contains(why) && said.contains("c.toml"), "{more}: {said}");
    }
    // Without an authority nobody would be asked for a certificate.
    let path = write(&dir, &entry("cn = \"a\""));
    let text = std::fs::read_to_string(&path).expect("read").replace("client_ca = \"ca.pem\"\n", "");
    std::fs::write(&path, text).expect("written");
    let out = command(&["check", "--offline", "--config", &path.to_string_lossy()]).output().expect("check runs");
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(!out.status.success() && said.contains("client_ca in [https]"), "{said}");
    std::fs::remove_dir_all(&dir).expect("scratch goes");
}
