//! DSX Flex load targets: a CloudEvents 1.0 message whose `data` is a compact JWS, signed ES256 or RS256.
//!
//! Source: NVIDIA, "DSX Flex 1.7.0" (CloudEvents over MQTT 3.1.1); RFC 7515 (JWS), RFC 7517 (JWK), RFC 7518 (algorithms).
//! Words: the *keys* are the signers' public keys, a JSON Web Key Set beside the site file.
//! Invariants: nothing of a message is believed before its signature is verified with a key of the set; the algorithm is
//! the key's, never the message's choice; `none` and symmetric algorithms do not exist here. A verified payload's numbers
//! are flattened into dotted names; `{"value","unit"}` of power becomes one number in W, `start_time` and `end_time` epoch ms.
//! Not prevented: replay. The event's `time` stands outside the signature, so that a recorded payload under a fresh time counts
//! as new. Only where the claims have an `exp` (RFC 7519) is an event refused whose time is not before it: the broker must let
//! nobody but the signer publish on the topic.

use super::time;
use super::{Batch, NESTING_MAX, Name, Value};
use crate::site::TimeUnit;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey};
use serde::Deserialize;

/// The type of event that sets load targets.
const SET: &str = "grid.loadtarget.set.v1";

/// A signer's public key.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    /// Uncompressed point: 04, x, y.
    Es256(Vec<u8>),
    Rs256 {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

/// The signers' keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    keys: Vec<(Option<String>, Key)>,
}

#[derive(Deserialize)]
struct WireKeys {
    keys: Vec<WireKey>,
}

#[derive(Deserialize)]
struct WireKey {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crv: String,
    #[serde(default)]
    x: String,
    #[serde(default)]
    y: String,
    #[serde(default)]
    n: String,
    #[serde(default)]
    e: String,
}

impl Keys {
    /// Reads a JSON Web Key Set. The error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Keys, String> {
        let wire: WireKeys = serde_json::from_str(text).map_err(|e| format!("not a JSON Web Key Set: {e}"))?;
        let bytes = |t: &str, what: &str| URL_SAFE_NO_PAD.decode(t).map_err(|e| format!("{what}: not base64url: {e}"));
        let mut keys = Vec::new();
        for (i, k) in wire.keys.into_iter().enumerate() {
            let key = match (k.kty.as_str(), k.crv.as_str()) {
                ("EC", "P-256") => {
                    let (x, y) = (bytes(&k.x, "x")?, bytes(&k.y, "y")?);
                    if x.len() != 32 || y.len() != 32 {
                        return Err(format!("key {}: x and y of P-256 have 32 bytes", i + 1));
                    }
                    Key::Es256([&[4], x.as_slice(), y.as_slice()].concat())
                }
                ("RSA", _) => {
                    let (n, e) = (bytes(&k.n, "n")?, bytes(&k.e, "e")?);
                    if n.len() < 256 || e.is_empty() {
                        return Err(format!("key {}: an RSA key has at least 2048 bits", i + 1));
                    }
                    Key::Rs256 { n, e }
                }
                (kty, crv) => return Err(format!("key {}: kty {kty:?} {crv:?} is not taken; give EC P-256 (ES256) or RSA (RS256)", i + 1)),
            };
            keys.push((k.kid, key));
        }
        if keys.is_empty() {
            return Err("holds no key".into());
        }
        Ok(Keys { keys })
    }

    /// The payload of a compact JWS whose signature one of the keys made.
    fn verified(&self, jws: &str) -> Result<Vec<u8>, &'static str> {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
            #[serde(default)]
            kid: Option<String>,
            /// Extensions that must be understood: none is.
            #[serde(default)]
            crit: Option<serde::de::IgnoredAny>,
        }
        let (signed, signature) = jws.rsplit_once('.').ok_or("data not a compact JWS")?;
        let (header, payload) = signed.split_once('.').ok_or("data not a compact JWS")?;
        let bytes = |t: &str| URL_SAFE_NO_PAD.decode(t).map_err(|_| "data not a compact JWS");
        let header: Header = serde_json::from_slice(&bytes(header)?).map_err(|_| "data not a compact JWS")?;
        if header.crit.is_some() {
            return Err("signature with extensions that are not understood");
        }
        let signature = bytes(signature)?;
        let good = self.keys.iter().any(|(kid, key)| {
            if header.kid.is_some() && kid.is_some() && *kid != header.kid {
                return false;
            }
            match key {
                Key::Es256(point) if header.alg == "ES256" => {
                    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).is_ok()
                }
                Key::Rs256 { n, e } if header.alg == "RS256" => {
                    RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature).is_ok()
                }
                _ => false,
            }
        });
        if good { bytes(payload) } else { Err("signature not verified") }
    }
}

#[derive(Deserialize)]
struct Event {
    specversion: String,
    #[serde(rename = "type")]
    kind: String,
    time: String,
    data: String,
}

/// Decodes one message.
pub fn decode(keys: &Keys, payload: &[u8], batch: &mut Batch<'_>) -> Result<(), &'static str> {
    let event: Event = serde_json::from_slice(payload).map_err(|e| match e.classify() {
        serde_json::error::Category::Data => "message not a CloudEvent",
        _ => "message not JSON",
    })?;
    if !event.specversion.starts_with("1.0") || event.kind != SET {
        return Err("event not of load targets");
    }
    let claims = keys.verified(&event.data)?;
    let claims: serde_json::Value = serde_json::from_slice(&claims).map_err(|_| "signed payload not JSON")?;
    let at = time::text(&event.time, TimeUnit::Rfc3339)?;
    let expires_s = claims.get("exp").and_then(serde_json::Value::as_f64);
    if expires_s.is_some_and(|exp| at.at.0 as f64 / 1e3 >= exp) {
        return Err("signed claims expired");
    }
    flatten(String::new(), &claims, 0, batch)?;
    batch.samples.iter_mut().for_each(|s| s.at = Some(at));
    Ok(())
}

fn flatten(name: String, value: &serde_json::Value, depth: usize, batch: &mut Batch<'_>) -> Result<(), &'static str> {
    use serde_json::Value as Json;
    if depth > NESTING_MAX {
        return Err("nested too deep");
    }
    let inner = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    match value {
        Json::Object(map) => {
            if let Some(watts) = power_w(map) {
                return batch.push(Name::Made(name), Value::Number(watts));
            }
            map.iter().try_for_each(|(k, v)| flatten(inner(k), v, depth + 1, batch))
        }
        Json::Array(list) => list.iter().enumerate().try_for_each(|(i, v)| flatten(inner(&i.to_string()), v, depth + 1, batch)),
        Json::Number(n) => batch.push(Name::Made(name), Value::Number(n.as_f64().unwrap_or_default())),
        Json::Bool(b) => batch.push(Name::Made(name), Value::Number(f64::from(u8::from(*b)))),
        Json::String(text) if name.ends_with("start_time") || name.ends_with("end_time") => {
            let at = time::text(text, TimeUnit::Rfc3339)?;
            batch.push(Name::Made(name), Value::Number(at.at.0 as f64))
        }
        // Names of feeds and strategies: they are no readings.
        Json::String(_) | Json::Null => Ok(()),
    }
}

/// `{"value":5,"unit":"megawatt"}` in W.
fn power_w(map: &serde_json::Map<String, serde_json::Value>) -> Option<f64> {
    let scale = match map.get("unit")?.as_str()? {
        "watt" => 1.0,
        "kilowatt" => 1e3,
        "megawatt" => 1e6,
        _ => return None,
    };
    Some(map.get("value")?.as_f64()? * scale)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::decode::tests::{Seen, owned};
    use ring::rand::SystemRandom;
    use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};

    fn b64(bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(bytes)
    }

    struct Signer(EcdsaKeyPair);

    impl Signer {
        fn new() -> Signer {
            let random = SystemRandom::new();
            let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
            Signer(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random).unwrap())
        }
        fn keys(&self, kid: &str) -> Keys {
            let point = self.0.public_key().as_ref();
            let (x, y) = (b64(&point[1..33]), b64(&point[33..]));
            Keys::parse(&format!(r#"{{"keys":[{{"kty":"EC","crv":"P-256","kid":"{kid}","x":"{x}","y":"{y}"}}]}}"#)).unwrap()
        }
        fn sign(&self, header: &str, claims: &str) -> String {
            let signed = format!("{}.{}", b64(header.as_bytes()), b64(claims.as_bytes()));
            let signature = self.0.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
            format!("{signed}.{}", b64(signature.as_ref()))
        }
    }

    fn event(data: &str) -> String {
        format!(
            r#"{{"specversion":"1.0.2","id":"1","source":"//grid/v1/isv/a","type":"{SET}","time":"2026-07-14T03:33:20Z","datacontenttype":"application/json","subject":"loadtarget","data":"{data}"}}"#
        )
    }

    fn take(keys: &Keys, message: &str) -> Result<Vec<Seen>, &'static str> {
        let mut batch = Batch::default();
        decode(keys, message.as_bytes(), &mut batch).map(|()| owned(&batch))
    }

    const CLAIMS: &str = r#"{"load_targets":[{"interval":{"start_time":"2026-07-14T04:00:00Z"},"load":{"value":5,"unit":"megawatt"},"feed":"a","priority":2}]}"#;

    #[test]
    fn a_verified_target_is_flattened() {
        let signer = Signer::new();
        let at = Some(1_784_000_000_000);
        let want = [
            Seen::number("load_targets.0.interval.start_time", 1_784_001_600_000.0, at),
            Seen::number("load_targets.0.load", 5e6, at),
            Seen::number("load_targets.0.priority", 2.0, at),
        ];
        let jws = signer.sign(r#"{"alg":"ES256","kid":"k1"}"#, CLAIMS);
        assert_eq!(take(&signer.keys("k1"), &event(&jws)).as_deref(), Ok(&want[..]));
        let nameless = signer.sign(r#"{"alg":"ES256"}"#, CLAIMS);
        assert!(take(&signer.keys("k1"), &event(&nameless)).is_ok());
    }

    #[test]
    fn what_is_not_verified_is_refused() {
        let (signer, other) = (Signer::new(), Signer::new());
        let keys = signer.keys("k1");
        let no = Err("signature not verified");
        assert_eq!(take(&keys, &event(&other.sign(r#"{"alg":"ES256"}"#, CLAIMS))), no);
        assert_eq!(take(&keys, &event(&signer.sign(r#"{"alg":"ES256","kid":"k2"}"#, CLAIMS))), no);
        assert_eq!(take(&keys, &event(&signer.sign(r#"{"alg":"none"}"#, CLAIMS))), no);
        assert_eq!(take(&keys, &event(&signer.sign(r#"{"alg":"HS256"}"#, CLAIMS))), no);
        assert_eq!(take(&keys, &event(&signer.sign(r#"{"alg":"RS256"}"#, CLAIMS))), no);
        let jws = signer.sign(r#"{"alg":"ES256"}"#, CLAIMS);
        let (head, signature) = jws.rsplit_once('.').unwrap();
        assert_eq!(take(&keys, &event(&format!("{head}."))), no);
        let forged = format!("{}.{}.{signature}", head.split_once('.').unwrap().0, b64(CLAIMS.replace('5', "9").as_bytes()));
        assert_eq!(take(&keys, &event(&forged)), no);
        assert_eq!(take(&keys, &event("a.b")), Err("data not a compact JWS"));
        assert_eq!(
            take(&keys, &event(&signer.sign(r#"{"alg":"ES256","crit":["b64"]}"#, CLAIMS))),
            Err("signature with extensions that are not understood")
        );
        assert_eq!(take(&keys, &event(&jws).replace(SET, "grid.powerstate.status.v1")), Err("event not of load targets"));
        assert_eq!(take(&keys, &event(&jws).replace("2026-07-14T03:33:20Z", "soon")), Err("time not RFC 3339"));
        assert_eq!(take(&keys, "{}"), Err("message not a CloudEvent"));
        assert_eq!(take(&keys, "{"), Err("message not JSON"));
        assert_eq!(take(&Keys::default(), &event(&jws)), no);
    }

    #[test]
    fn rs256_is_verified_with_the_key_of_rfc_7515() {
        // RFC 7515 appendix A.2: key, header, payload and signature.
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        let jws = concat!(
            "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.",
            "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4",
            "BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqv",
            "hJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw"
        );
        let keys = Keys::parse(&format!(r#"{{"keys":[{{"kty":"RSA","n":"{n}","e":"AQAB"}}]}}"#)).unwrap();
        // Signed until 18:43 that day; under a later time it was recorded.
        let then = Some(1_300_819_320_000);
        assert_eq!(
            take(&keys, &event(jws).replace("2026-07-14T03:33:20Z", "2011-03-22T18:42:00Z")).as_deref(),
            Ok(&[Seen::number("exp", 1_300_819_380.0, then), Seen::number("http://example.com/is_root", 1.0, then)][..])
        );
        assert_eq!(take(&keys, &event(jws)), Err("signed claims expired"));
        assert!(take(&keys, &event(&jws.replace("cC4h", "cC5h"))).is_err());
    }

    #[test]
    fn key_files_say_what_is_wrong_with_them() {
        for (text, why) in [
            ("{", "not a JSON Web Key Set"),
            (r#"{"keys":[]}"#, "no key"),
            (r#"{"keys":[{"kty":"oct"}]}"#, "is not taken"),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#, "32 bytes"),
            (r#"{"keys":[{"kty":"RSA","n":"AA","e":"AQAB"}]}"#, "2048 bits"),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"!","y":"AA"}]}"#, "base64url"),
        ] {
            let e = Keys::parse(text).unwrap_err();
            assert!(e.contains(why), "{e}");
        }
    }
}
