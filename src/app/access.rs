//! Tokens, trusted proxies, client certificates and the rule of the open door; `token create|list|revoke`.
//!
//! Words: the *keyring* is the file of tokens in the data directory: names, roles and hashes, never a token itself.
//! Who several things are shown of is the first of: the token, the user that a trusted proxy names, the client certificate. A
//! token that opens nothing is refused, whatever is shown beside it.
//! Invariants: a token is 256 random bits, so its plain BLAKE3 is safe at rest; it is shown once, when it is made; a
//! revoked or expired one opens nothing within [`REREAD`]; while the keyring has no token in force, and neither proxies nor
//! certificates have roles, the door is open to this host alone; a keyring that cannot be read opens nothing.

use super::certificate::{self, CertificateRole};
use super::cli::{TokenArgs, TokenCommand};
use super::site_task::host_now;
use crate::api::Problem;
use crate::api::access::{Caller, Credentials, Gatekeeper, Role};
use crate::event::{ACCESS_REFUSED, Tally};
use crate::time::{Span, Timestamp};
use axum::http::StatusCode;
use base64::Engine;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

/// How long the keyring is believed before its file is looked at again.
const REREAD: Duration = Duration::from_secs(1);
const NAME_MAX: usize = 60;

/// `[access]` of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AccessSettings {
    /// What a caller without a token may do once there are tokens; nothing where absent.
    pub anonymous: Option<Role>,
    /// Addresses of proxies that are believed when they name a user.
    pub proxies: Vec<IpAddr>,
    /// The header in which they name him.
    pub proxy_header: String,
    /// What their users may do.
    pub users: BTreeMap<String, Role>,
    /// Client certificates that have a role; the first that fits counts.
    pub client_certificate: Vec<CertificateRole>,
    /// Requests a second that one caller may make on average, and ten times as many in a burst.
    pub rate_per_s: f64,
}

impl Default for AccessSettings {
    fn default() -> AccessSettings {
        AccessSettings {
            anonymous: None,
            proxies: Vec::new(),
            proxy_header: "X-Remote-User".into(),
            users: BTreeMap::new(),
            client_certificate: Vec::new(),
            rate_per_s: 500.0,
        }
    }
}

impl AccessSettings {
    /// Refuses what would let everybody in, or nobody.
    pub fn check(&self) -> Result<(), String> {
        if !self.proxies.is_empty() && self.users.is_empty() {
            return Err("`proxies` name users, but no user has a role: give [access.users] with name = \"viewer\" and so on".into());
        }
        if self.proxy_header.parse::<axum::http::HeaderName>().is_err() {
            return Err(format!("proxy_header = {:?} is no name of a header", self.proxy_header));
        }
        certificate::check(&self.client_certificate)?;
        if !(self.rate_per_s > 0.0) {
            return Err(format!("rate_per_s = {}: give a number above 0", self.rate_per_s));
        }
        Ok(())
    }
}

/// One token, as the keyring has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Key {
    name: String,
    role: Role,
    /// BLAKE3 of the token, hex.
    hash: String,
    /// Epoch ms.
    created_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked_at: Option<i64>,
}

impl Key {
    fn in_force(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|e| now.0 < e)
    }

    fn state(&self, now: Timestamp) -> String {
        match (self.revoked_at, self.expires_at) {
            (Some(t), _) => format!("revoked {}", Timestamp(t)),
            (None, Some(t)) if now.0 >= t => format!("expired {}", Timestamp(t)),
            (None, Some(t)) => format!("until {}", Timestamp(t)),
            (None, None) => "in force".into(),
        }
    }
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    #[serde(default)]
    token: Vec<Key>,
}

/// Where the keyring of a data directory is.
fn key_path(data_dir: &Path) -> PathBuf {
    data_dir.join("access").join("tokens.toml")
}

fn read(path: &Path) -> Result<KeyFile, String> {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            toml::from_str(&text).map_err(|e| format!("{}: {}; restore it, or delete it and make tokens anew", path.display(), e.message()))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(KeyFile::default()),
        Err(e) => Err(format!("{}: cannot be read: {e}", path.display())),
    }
}

/// Writes the keyring so that a reader sees the old one or the new one, and no other user either.
fn write(path: &Path, keys: &KeyFile) -> Result<(), String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let fail = |e: std::io::Error| format!("{}: cannot be written: {e}", path.display());
    let text = toml::to_string(keys).map_err(|e| e.to_string())?;
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(fail)?;
    let beside = path.with_extension("new");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside).map_err(fail)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(fail)?;
    std::fs::rename(&beside, path).map_err(fail)
}

/// Does a data directory have a token in force? Asked before a listener that other hosts reach is opened.
pub fn has_tokens(data_dir: &Path) -> Result<bool, String> {
    let now = host_now();
    Ok(read(&key_path(data_dir))?.token.iter().any(|k| k.in_force(now)))
}

struct Ring {
    keys: Result<KeyFile, String>,
    modified: Option<std::time::SystemTime>,
    looked: Instant,
}

/// Requests that a caller may still make.
struct Allowance {
    left: f64,
    at: Instant,
}

/// Who is let in.
pub struct Keyring {
    path: PathBuf,
    settings: RwLock<Arc<AccessSettings>>,
    over_tls: bool,
    tally: Arc<Tally>,
    ring: Mutex<Ring>,
    /// By caller's name; bounded by the number of tokens and users.
    allowances: Mutex<BTreeMap<String, Allowance>>,
}

impl Keyring {
    pub fn open(data_dir: &Path, settings: AccessSettings, over_tls: bool, tally: Arc<Tally>) -> Keyring {
        let path = key_path(data_dir);
        let modified = modified(&path);
        let ring = Ring { keys: read(&path), modified, looked: Instant::now() };
        Keyring { path, settings: RwLock::new(Arc::new(settings)), over_tls, tally, ring: Mutex::new(ring), allowances: Mutex::default() }
    }

    fn settings(&self) -> Arc<AccessSettings> {
        Arc::clone(&self.settings.read().unwrap_or_else(|e| e.into_inner()))
    }

    /// Puts other settings in force.
    pub fn put_settings(&self, settings: AccessSettings) {
        *self.settings.write().unwrap_or_else(|e| e.into_inner()) = Arc::new(settings);
    }

    /// The tokens, read again where the file has changed.
    fn keys(&self) -> Result<KeyFile, String> {
        let mut ring = self.ring.lock().unwrap_or_else(|e| e.into_inner());
        if ring.looked.elapsed() >= REREAD {
            ring.looked = Instant::now();
            let modified = modified(&self.path);
            if modified != ring.modified {
                ring.keys = read(&self.path);
                ring.modified = modified;
            }
        }
        ring.keys.clone()
    }

    fn refuse(&self, why: &str, status: StatusCode, detail: String, mend: &str) -> Problem {
        self.tally.add(ACCESS_REFUSED, why, 1);
        Problem::new(status, None, detail, mend.into())
    }

    /// The user whom a trusted proxy names.
    fn proxied(&self, shown: &Credentials) -> Option<Caller> {
        let peer = shown.peer?;
        let settings = self.settings();
        if !settings.proxies.contains(&peer) {
            return None;
        }
        let user = shown.headers?.get(settings.proxy_header.as_str())?.to_str().ok()?;
        let role = *settings.users.get(user)?;
        Some(Caller { name: Some(user.to_owned()), role })
    }

    /// The holder of the connection's certificate, where certificates have roles and this one does.
    fn certified(&self, shown: &Credentials, now: Timestamp) -> Result<Option<Caller>, Problem> {
        let settings = self.settings();
        let Some(c) = shown.certificate.filter(|_| !settings.client_certificate.is_empty()) else { return Ok(None) };
        // TLS looks at the date once; a connection may last.
        if now.0 >= c.not_after {
            let detail = format!("the client certificate {} is over since {}", c.subject, Timestamp(c.not_after));
            return Err(self.refuse("certificate over", StatusCode::UNAUTHORIZED, detail, "connect with a new one"));
        }
        let known = settings.client_certificate.iter().find(|r| r.is_of(c));
        Ok(known.map(|r| Caller { name: Some(r.name.clone()), role: r.role }))
    }

    fn judge(&self, shown: &Credentials) -> Result<Caller, Problem> {
        let keys = self.keys().map_err(|e| self.refuse("keyring", StatusCode::SERVICE_UNAVAILABLE, e, "until then nobody is let in"))?;
        let now = host_now();
        if let Some(token) = shown.token {
            let hash = blake3::hash(token.as_bytes());
            // The comparison of two hashes takes the same time wherever they differ.
            let key = keys.token.iter().find(|k| blake3::Hash::from_hex(&k.hash).is_ok_and(|h| h == hash));
            return match key {
                Some(k) if k.in_force(now) => Ok(Caller { name: Some(k.name.clone()), role: k.role }),
                Some(k) => Err(self.refuse(
                    "token over",
                    StatusCode::UNAUTHORIZED,
                    format!("the token {:?} is {}", k.name, k.state(now)),
                    "ask for a new one: tramuntana token create",
                )),
                None => Err(self.refuse(
                    "token unknown",
                    StatusCode::UNAUTHORIZED,
                    "no such token".into(),
                    "check for missing characters, or ask for a new one: tramuntana token create",
                )),
            };
        }
        if let Some(caller) = self.proxied(shown) {
            return Ok(caller);
        }
        if let Some(caller) = self.certified(shown, now)? {
            return Ok(caller);
        }
        let settings = self.settings();
        if !keys.token.iter().any(|k| k.in_force(now)) && settings.proxies.is_empty() && settings.client_certificate.is_empty() {
            return self.open_door(shown);
        }
        match (settings.anonymous, shown.certificate.filter(|_| !settings.client_certificate.is_empty())) {
            (Some(role), _) => Ok(Caller { name: None, role }),
            (None, Some(c)) => Err(self.refuse(
                "certificate unknown",
                StatusCode::UNAUTHORIZED,
                format!("the client certificate {} (SHA-256 {}) has no role here", c.subject, c.fingerprint),
                "give it one in [[access.client_certificate]], or send a token",
            )),
            (None, None) => Err(self.refuse(
                "no token",
                StatusCode::UNAUTHORIZED,
                "a token is needed here".into(),
                "send it as `Authorization: Bearer …`; tramuntana token create makes one",
            )),
        }
    }

    /// Without tokens everybody on this host may do everything; a page of elsewhere that made its name point here may not.
    fn open_door(&self, shown: &Credentials) -> Result<Caller, Problem> {
        let host = shown.headers.and_then(|h| h.get(axum::http::header::HOST)).and_then(|h| h.to_str().ok()).unwrap_or("localhost");
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
            _ => host,
        };
        let ours = name == "localhost" || name.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        if ours {
            return Ok(Caller { name: None, role: Role::Admin });
        }
        Err(self.refuse(
            "foreign host",
            StatusCode::FORBIDDEN,
            format!(
                "asked for as {:?}: without tokens only an address or localhost is answered",
                name.chars().take(80).collect::<String>()
            ),
            "use the address that the service printed, or make tokens: tramuntana token create",
        ))
    }

    fn within_rate(&self, caller: &Caller) -> bool {
        let rate = self.settings().rate_per_s;
        let burst = 10.0 * rate;
        let mut all = self.allowances.lock().unwrap_or_else(|e| e.into_inner());
        let now = Instant::now();
        let a = all.entry(caller.name.clone().unwrap_or_default()).or_insert(Allowance { left: burst, at: now });
        a.left = (a.left + rate * (now - a.at).as_secs_f64()).min(burst);
        a.at = now;
        if a.left < 1.0 {
            return false;
        }
        a.left -= 1.0;
        true
    }
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    std::fs::metadata(path).and_then(|m| m.modified()).ok()
}

impl Gatekeeper for Keyring {
    fn over_tls(&self) -> bool {
        self.over_tls
    }

    fn caller(&self, shown: &Credentials) -> Result<Caller, Problem> {
        let caller = self.judge(shown)?;
        if !self.within_rate(&caller) {
            let detail = format!("more than {} requests a second", self.settings().rate_per_s);
            return Err(self.refuse("rate", StatusCode::TOO_MANY_REQUESTS, detail, "ask less often, or raise rate_per_s in [access]"));
        }
        Ok(caller)
    }
}

/// Runs a `token` command. The service need not be stopped: it looks at the file itself.
pub fn run(args: TokenArgs) -> Result<(), String> {
    let path = key_path(&args.data_dir);
    let mut keys = read(&path)?;
    let now = host_now();
    match args.command {
        TokenCommand::Create { name, role, expires } => {
            let token = create(&mut keys, &name, role, expires.as_deref(), now)?;
            write(&path, &keys)?;
            eprintln!("token {name:?} for the role {}; it is shown this once:", role.name());
            println!("{token}");
        }
        TokenCommand::List => {
            println!("{:<24} {:<10} {:<26} state", "name", "role", "created");
            for k in &keys.token {
                println!("{:<24} {:<10} {:<26} {}", k.name, k.role.name(), Timestamp(k.created_at).to_string(), k.state(now));
            }
        }
        TokenCommand::Revoke { name } => {
            let key = keys.token.iter_mut().find(|k| k.name == name && k.in_force(now));
            let key = key.ok_or_else(|| format!("no token in force is called {name:?}; tramuntana token list shows them"))?;
            key.revoked_at = Some(now.0);
            write(&path, &keys)?;
            println!("{name:?} opens nothing any more");
        }
    }
    Ok(())
}

fn create(keys: &mut KeyFile, name: &str, role: Role, expires: Option<&str>, now: Timestamp) -> Result<String, String> {
    use ring::rand::SecureRandom;
    if name.trim().is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
        return Err(format!("--name {name:?}: give who will use it, at most {NAME_MAX} bytes"));
    }
    if keys.token.iter().any(|k| k.name == name && k.in_force(now)) {
        return Err(format!("a token in force is called {name:?} already; revoke it first, or give another --name"));
    }
    let expires_at = match expires {
        None => None,
        Some(text) => {
            let span = Span::parse(text).filter(|s| s.0 > 0);
            Some((now + span.ok_or_else(|| format!("--expires {text:?}: give a length of time such as 90d or 12h"))?).0)
        }
    };
    let mut secret = [0_u8; 32];
    ring::rand::SystemRandom::new().fill(&mut secret).map_err(|_| "the system gives no random numbers".to_owned())?;
    let token = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(secret);
    let hash = blake3::hash(token.as_bytes()).to_hex().to_string();
    keys.token.push(Key { name: name.into(), role, hash, created_at: now.0, expires_at, revoked_at: None });
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::access::ClientCertificate;
    use axum::http::HeaderMap;

    fn ring(dir: &Path, settings: AccessSettings) -> Keyring {
        Keyring::open(dir, settings, false, Arc::new(Tally::new()))
    }

    fn folder(name: &str) -> PathBuf {
        let dir = std::env::temp_dir().join(format!("tramuntana-access-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&dir);
        dir
    }

    #[test]
    fn without_tokens_the_door_is_open_to_this_host_alone() {
        let dir = folder("open");
        let r = ring(&dir, AccessSettings::default());
        let ask = |host: &str| {
            let mut h = HeaderMap::new();
            h.insert("host", host.parse().unwrap());
            r.caller(&Credentials { headers: Some(&h), ..Credentials::default() }).map(|c| c.role)
        };
        for ours in ["127.0.0.1:8080", "localhost:8080", "[::1]:8080", "localhost"] {
            assert_eq!(ask(ours), Ok(Role::Admin), "{ours}");
        }
        assert_eq!(ask("evil.example:8080").unwrap_err().status, 403);
    }

    #[test]
    fn a_token_opens_for_its_role_until_it_is_revoked_or_over() {
        let dir = folder("token");
        let path = key_path(&dir);
        let mut keys = KeyFile::default();
        let now = host_now();
        let token = create(&mut keys, "desk", Role::Operator, None, now).unwrap();
        let old = create(&mut keys, "old", Role::Admin, Some("1h"), Timestamp(now.0 - 7_200_000)).unwrap();
        assert!(create(&mut keys, "desk", Role::Viewer, None, now).unwrap_err().contains("already"));
        write(&path, &keys).unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains(&token), "only the hash is at rest");
        let ask = |t: Option<&str>| ring(&dir, AccessSettings::default()).caller(&Credentials { token: t, ..Credentials::default() });
        assert_eq!(ask(Some(&token)), Ok(Caller { name: Some("desk".into()), role: Role::Operator }));
        assert_eq!(ask(None).unwrap_err().status, 401);
        assert!(ask(Some(&old)).unwrap_err().detail.contains("expired"));
        assert_eq!(ask(Some("guess")).unwrap_err().status, 401);
        keys.token[0].revoked_at = Some(now.0);
        write(&path, &keys).unwrap();
        assert!(ask(Some(&token)).unwrap_err().detail.contains("revoked"));
        std::fs::write(&path, "token = 5").unwrap();
        assert_eq!(ask(Some(&token)).unwrap_err().status, 503, "a broken keyring opens nothing");
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn a_proxy_is_believed_by_its_address_and_only_for_known_users() {
        let dir = folder("proxy");
        let proxy: IpAddr = "10.0.0.5".parse().unwrap();
        let users = [("maria".to_owned(), Role::Operator)].into();
        let r = ring(&dir, AccessSettings { proxies: vec![proxy], users, ..AccessSettings::default() });
        let ask = |user: &str, peer: &str| {
            let mut h = HeaderMap::new();
            h.insert("x-remote-user", user.parse().unwrap());
            r.caller(&Credentials { headers: Some(&h), peer: peer.parse().ok(), ..Credentials::default() })
        };
        assert_eq!(ask("maria", "10.0.0.5").unwrap().role, Role::Operator);
        assert_eq!(ask("maria", "10.0.0.6").unwrap_err().status, 401);
        assert_eq!(ask("nobody", "10.0.0.5").unwrap_err().status, 401);
    }

    #[test]
    fn a_certificate_has_the_role_that_it_is_given_and_the_token_wins() {
        let dir = folder("certificate");
        let mut keys = KeyFile::default();
        let token = create(&mut keys, "wall", Role::Viewer, None, host_now()).unwrap();
        let text = "[[client_certificate]]\ncn = \"desk\"\nrole = \"operator\"\nname = \"control desk\"";
        let settings: AccessSettings = toml::from_str(text).unwrap();
        let r = ring(&dir, settings.clone());
        let desk = ClientCertificate { common_name: Some("desk".into()), not_after: i64::MAX, ..ClientCertificate::default() };
        let other = ClientCertificate { subject: "CN=other".into(), common_name: Some("other".into()), ..desk.clone() };
        let old = ClientCertificate { not_after: 5, ..desk.clone() };
        let ask = |r: &Keyring, token: Option<&str>, c: Option<&ClientCertificate>| {
            r.caller(&Credentials { token, certificate: c, ..Credentials::default() })
        };
        let control = Caller { name: Some("control desk".into()), role: Role::Operator };
        assert_eq!(ask(&r, None, Some(&desk)), Ok(control.clone()));
        // With certificates that have a role the door is no longer open, tokens or not.
        assert_eq!(ask(&r, None, None).unwrap_err().status, 401);
        let unknown = ask(&r, None, Some(&other)).unwrap_err();
        assert!(unknown.status == 401 && unknown.detail.contains("CN=other"), "{unknown:?}");
        assert!(ask(&r, None, Some(&old)).unwrap_err().detail.contains("is over"));
        // A token wins over a certificate, for less as for more; one that opens nothing is refused beside the best of them.
        write(&key_path(&dir), &keys).unwrap();
        let r = ring(&dir, settings.clone());
        assert_eq!(ask(&r, Some(&token), Some(&desk)), Ok(Caller { name: Some("wall".into()), role: Role::Viewer }));
        assert_eq!(ask(&r, Some("guess"), Some(&desk)).unwrap_err().status, 401);
        assert_eq!(ask(&r, None, Some(&desk)), Ok(control));
        // Who is unknown is anonymous; and a mapping that is taken away opens nothing at once.
        r.put_settings(AccessSettings { anonymous: Some(Role::Viewer), ..settings });
        assert_eq!(ask(&r, None, Some(&other)), Ok(Caller { name: None, role: Role::Viewer }));
        r.put_settings(AccessSettings::default());
        assert_eq!(ask(&r, None, Some(&desk)).unwrap_err().status, 401);
        std::fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn one_caller_cannot_take_all_requests() {
        let r = ring(&folder("rate"), AccessSettings { rate_per_s: 1.0, ..AccessSettings::default() });
        let answers: Vec<bool> = (0..12).map(|_| r.caller(&Credentials::default()).is_ok()).collect();
        assert_eq!(answers.iter().filter(|ok| **ok).count(), 10);
    }
}
