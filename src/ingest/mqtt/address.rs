//! A broker's address: `mqtt://[user[:password]@]host[:port]`, or `mqtts://…` for TLS.

use std::fmt;

const PORT: u16 = 1883;
const PORT_TLS: u16 = 8883;

/// Where a broker is and who we are there. `Display` and `Debug` never show the password.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerAddress {
    /// Host name or address; IPv6 in brackets.
    pub host: String,
    pub port: u16,
    /// `mqtts://`
    pub tls: bool,
    pub user: Option<String>,
    pub password: Option<String>,
}

/// A refused address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "broker address {shown:?}: {why}; write mqtt://[user[:password]@]host[:port] (mqtts:// for TLS), for example mqtt://127.0.0.1:1883"
)]
pub struct BadAddress {
    shown: String,
    why: String,
}

impl BrokerAddress {
    /// Reads an address. User and password may be percent-encoded.
    pub fn parse(text: &str) -> Result<BrokerAddress, BadAddress> {
        let refuse = |why: &str| BadAddress { shown: without_password(text), why: why.into() };
        let (tls, rest) = match text.trim().split_once("://") {
            Some(("mqtt" | "tcp", rest)) => (false, rest),
            Some(("mqtts" | "ssl", rest)) => (true, rest),
            Some((scheme, _)) => return Err(refuse(&format!("unknown scheme {scheme:?}"))),
            None => return Err(refuse("there is no mqtt:// in front")),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let (login, place) = rest.rsplit_once('@').map_or((None, rest), |(l, p)| (Some(l), p));
        let (user, password) = match login {
            None => (None, None),
            Some(l) => {
                let (u, p) = l.split_once(':').map_or((l, None), |(u, p)| (u, Some(p)));
                let user = decoded(u).ok_or_else(|| refuse("the user is not percent-encoded UTF-8"))?;
                let password = match p {
                    Some(p) => Some(decoded(p).ok_or_else(|| refuse("the password is not percent-encoded UTF-8"))?),
                    None => None,
                };
                (Some(user), password)
            }
        };
        if place.contains(['/', '?', '#']) {
            return Err(refuse("nothing may follow the port"));
        }
        let (host, port) = match place.rfind(']').map(|i| place.split_at(i + 1)) {
            Some((host, port)) => (host, port.strip_prefix(':')),
            None => place.rsplit_once(':').map_or((place, None), |(h, p)| (h, Some(p))),
        };
        if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
            return Err(refuse("there is no host (an IPv6 address stands in brackets)"));
        }
        let port = match port {
            None if tls => PORT_TLS,
            None => PORT,
            Some(p) => p.parse().ok().filter(|p| *p != 0).ok_or_else(|| refuse("the port is not a number from 1 to 65535"))?,
        };
        Ok(BrokerAddress { host: host.into(), port, tls, user: user.filter(|u| !u.is_empty()), password })
    }
}

impl fmt::Display for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "mqtts" } else { "mqtt" };
        match &self.user {
            Some(user) => write!(f, "{scheme}://{user}@{}:{}", self.host, self.port),
            None => write!(f, "{scheme}://{}:{}", self.host, self.port),
        }
    }
}

impl fmt::Debug for BrokerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

fn decoded(text: &str) -> Option<String> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(b) = bytes.next() {
        if b == b'%' {
            let hex = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&hex).ok()?, 16).ok()?);
        } else {
            out.push(b);
        }
    }
    String::from_utf8(out).ok()
}

/// Hides what may be a password, also in an address that cannot be read.
fn without_password(text: &str) -> String {
    let Some((login, place)) = text.rsplit_once('@') else { return text.to_owned() };
    let (scheme, login) = login.split_once("://").map_or(("", login), |(s, l)| (s, l));
    let user = login.split(':').next().unwrap_or_default();
    if scheme.is_empty() { format!("{user}@{place}") } else { format!("{scheme}://{user}@{place}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_never_show_the_password() {
        let a = BrokerAddress::parse("mqtt://ann:p%40ss@broker.hall:1884").unwrap();
        assert_eq!((a.host.as_str(), a.port, a.user.as_deref(), a.password.as_deref()), ("broker.hall", 1884, Some("ann"), Some("p@ss")));
        assert_eq!(format!("{a} {a:?}"), "mqtt://ann@broker.hall:1884 mqtt://ann@broker.hall:1884");
        assert_eq!(BrokerAddress::parse("mqtt://127.0.0.1").unwrap().port, 1883);
        let tls = BrokerAddress::parse("mqtts://hall").unwrap();
        assert_eq!((tls.tls, tls.port, tls.to_string().as_str()), (true, 8883, "mqtts://hall:8883"));
        assert_eq!(BrokerAddress::parse("mqtt://[::1]:1885/").unwrap().host, "[::1]");
        for bad in ["127.0.0.1:1883", "http://x", "mqtt://", "mqtt://h:0", "mqtt://h:99999", "mqtt://::1", "mqtt://h/x"] {
            let why = BrokerAddress::parse(bad).unwrap_err().to_string();
            assert!(why.contains("mqtt://[user[:password]@]host[:port]"), "{why}");
        }
        assert!(!BrokerAddress::parse("http://ann:secret@h").unwrap_err().to_string().contains("secret"));
    }
}
