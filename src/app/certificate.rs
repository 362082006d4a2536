//! Client certificates and the roles that the configuration gives them (`[[access.client_certificate]]`).
//!
//! Words: an *identity* is one thing that a certificate says of its holder: its whole subject, its common name, an alternative
//! name, or the fingerprint of the certificate itself.
//! Invariants: only certificates that TLS has verified come here; an identity is compared whole, letter by letter, as a text that
//! no value in it can imitate (RFC 4514 escapes); a certificate that cannot be read has nothing but its fingerprint.

use crate::api::access::{ClientCertificate, Role};
use serde::Deserialize;
use std::fmt::Write;
use std::str::FromStr;
use x509_cert::der::asn1::{Any, Ia5StringRef, PrintableStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::CN;
use x509_cert::der::{Decode, Error};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::RdnSequence;

const NAME_MAX: usize = 60;

/// What a certificate is known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Identity {
    /// RFC 4514: `CN=desk,O=BSC,C=ES`.
    Subject(String),
    CommonName(String),
    /// `DNS:…`, `URI:…`, `email:…`.
    AlternativeName(String),
    /// SHA-256, hex.
    Fingerprint(String),
}

/// One entry of the configuration.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "Raw")]
pub struct CertificateRole {
    pub identity: Identity,
    pub role: Role,
    /// Under which acts are filed.
    pub name: String,
}

/// As it stands in the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    subject: Option<String>,
    cn: Option<String>,
    san: Option<String>,
    fingerprint: Option<String>,
    role: Role,
    name: String,
}

impl TryFrom<Raw> for CertificateRole {
    type Error = String;

    fn try_from(raw: Raw) -> Result<CertificateRole, String> {
        let Raw { subject, cn, san, fingerprint, role, name } = raw;
        if name.trim().is_empty() || name.len() > NAME_MAX || name.chars().any(char::is_control) {
            return Err(format!(
                "client_certificate.name = {name:?}: give who holds it, at most {NAME_MAX} bytes; acts are filed under it"
            ));
        }
        let given: Vec<Result<Identity, String>> =
            [subject.map(|t| subject_of(&t)), cn.map(common_name), san.map(alternative), fingerprint.map(|t| fingerprint_of(&t))]
                .into_iter()
                .flatten()
                .collect();
        match <[_; 1]>::try_from(given) {
            Ok([identity]) => Ok(CertificateRole { identity: identity?, role, name }),
            Err(given) => Err(format!(
                "client_certificate {name:?}: has {} of subject, cn, san and fingerprint; give just one, by which the certificate is known",
                given.len()
            )),
        }
    }
}

fn subject_of(text: &str) -> Result<Identity, String> {
    let known = RdnSequence::from_str(text).ok().filter(|n| !n.is_empty());
    let known = known.ok_or_else(|| {
        format!("client_certificate.subject = {text:?}: is no distinguished name; write it as `openssl x509 -noout -subject -nameopt RFC2253` does: CN=desk,O=BSC,C=ES")
    })?;
    Ok(Identity::Subject(known.to_string()))
}

fn common_name(text: String) -> Result<Identity, String> {
    match text.trim().is_empty() || text.starts_with("CN=") {
        true => Err(format!("client_certificate.cn = {text:?}: give the common name alone: cn = \"desk\"")),
        false => Ok(Identity::CommonName(text)),
    }
}

fn alternative(text: String) -> Result<Identity, String> {
    let known = text.split_once(':').filter(|(kind, rest)| ["DNS", "URI", "email"].contains(kind) && !rest.is_empty());
    match known {
        Some(_) => Ok(Identity::AlternativeName(text)),
        None => {
            Err(format!("client_certificate.san = {text:?}: give DNS:, URI: or email: and the name: \"URI:spiffe://example.org/desk\""))
        }
    }
}

fn fingerprint_of(text: &str) -> Result<Identity, String> {
    let hex: String = text.chars().filter(|c| *c != ':').map(|c| c.to_ascii_lowercase()).collect();
    match hex.len() == 64 && hex.chars().all(|c| c.is_ascii_hexdigit()) {
        true => Ok(Identity::Fingerprint(hex)),
        false => Err(format!(
            "client_certificate.fingerprint = {text:?}: give the 64 hex digits of SHA-256, with or without colons, as `openssl x509 -noout -fingerprint -sha256` prints them"
        )),
    }
}

/// Refuses a certificate that would have two roles.
pub fn check(roles: &[CertificateRole]) -> Result<(), String> {
    for (i, r) in roles.iter().enumerate() {
        if let Some(other) = roles[..i].iter().find(|o| o.identity == r.identity) {
            return Err(format!("client_certificate {:?} and {:?} name the same certificate; leave one of them out", other.name, r.name));
        }
    }
    Ok(())
}

impl CertificateRole {
    /// Is this the certificate?
    pub fn is_of(&self, c: &ClientCertificate) -> bool {
        match &self.identity {
            Identity::Subject(s) => *s == c.subject,
            Identity::CommonName(n) => c.common_name.as_ref() == Some(n),
            Identity::AlternativeName(n) => c.names.contains(n),
            Identity::Fingerprint(f) => *f == c.fingerprint,
        }
    }
}

/// Reads a certificate that TLS has verified.
pub fn read(der: &[u8]) -> ClientCertificate {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    let fingerprint = digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    });
    let mut known = ClientCertificate { fingerprint, not_after: i64::MAX, ..ClientCertificate::default() };
    if let Err(e) = fill(&mut known, der) {
        tracing::warn!("a client certificate (SHA-256 {}) cannot be read beyond its fingerprint: {e}", known.fingerprint);
        known.names.clear();
    }
    known
}

fn fill(known: &mut ClientCertificate, der: &[u8]) -> Result<(), Error> {
    let told = x509_cert::Certificate::from_der(der)?.tbs_certificate;
    known.not_after = i64::try_from(told.validity.not_after.to_unix_duration().as_millis()).unwrap_or(i64::MAX);
    known.subject = told.subject.to_string();
    let common: Vec<&Any> = told.subject.0.iter().flat_map(|r| r.0.iter()).filter(|a| a.oid == CN).map(|a| &a.value).collect();
    // Of two common names neither is the holder's for sure.
    if let [one] = common[..] {
        known.common_name = text(one);
    }
    if let Some((_, names)) = told.get::<SubjectAltName>()? {
        known.names = names.0.iter().filter_map(name).collect();
    }
    Ok(())
}

fn text(value: &Any) -> Option<String> {
    let utf8 = || value.decode_as::<Utf8StringRef<'_>>().ok().map(|t| t.as_str().to_owned());
    let printable = || value.decode_as::<PrintableStringRef<'_>>().ok().map(|t| t.as_str().to_owned());
    let ia5 = || value.decode_as::<Ia5StringRef<'_>>().ok().map(|t| t.as_str().to_owned());
    utf8().or_else(printable).or_else(ia5)
}

fn name(of: &GeneralName) -> Option<String> {
    match of {
        GeneralName::DnsName(n) => Some(format!("DNS:{}", n.as_str())),
        GeneralName::UniformResourceIdentifier(n) => Some(format!("URI:{}", n.as_str())),
        GeneralName::Rfc822Name(n) => Some(format!("email:{}", n.as_str())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(text: &str) -> Result<CertificateRole, String> {
        toml::from_str(&format!("{text}\nrole = \"operator\"\nname = \"desk\"")).map_err(|e| e.message().to_owned())
    }

    #[test]
    fn an_identity_is_written_one_way_or_refused() {
        assert_eq!(entry("subject = \"CN=desk,O=BSC,C=ES\"").unwrap().identity, Identity::Subject("CN=desk,O=BSC,C=ES".into()));
        let colons = format!("fingerprint = \"{}\"", ["AB"; 32].join(":"));
        assert_eq!(entry(&colons).unwrap().identity, Identity::Fingerprint("ab".repeat(32)));
        for (text, why) in [
            ("", "0 of subject"),
            ("cn = \"a\"\nsan = \"DNS:a\"", "2 of subject"),
            ("subject = \"desk\"", "distinguished name"),
            ("cn = \"CN=desk\"", "alone"),
            ("cn = \"\"", "alone"),
            ("san = \"desk.example.org\"", "DNS:"),
            ("san = \"IP:10.0.0.1\"", "DNS:"),
            ("fingerprint = \"12:34\"", "64 hex digits"),
            ("issuer = \"x\"", "unknown field"),
        ] {
            let e = entry(text).unwrap_err();
            assert!(e.contains(why), "{text}: {e}");
        }
        let twice = [entry("cn = \"a\"").unwrap(), entry("cn = \"a\"").unwrap()];
        assert!(check(&twice).unwrap_err().contains("same certificate") && check(&twice[..1]).is_ok());
    }

    #[test]
    fn what_cannot_be_read_has_only_its_fingerprint() {
        let c = read(b"no certificate");
        assert_eq!((c.fingerprint.len(), c.subject.as_str(), c.names.len()), (64, "", 0));
        let by = |text: &str| entry(text).unwrap().is_of(&c);
        assert!(by(&format!("fingerprint = \"{}\"", c.fingerprint)) && !by("cn = \"a\"") && !by("subject = \"CN=a\""));
    }
}
