//! What rules about tokens have in common in both generations of objects.

use super::names::is_header_name;
use super::values::texts;
use crate::diagnostic::{Code, Findings, quoted};
use crate::document::{Cursor, Fields};

/// Rules about tokens, or none that could ever be met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tokens<T> {
    /// As they were written, in their order.
    Rules(Vec<T>),
    /// Every token is invalid: the rules could not be read.
    AllInvalid,
}

/// Where the keys come from that verify tokens.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum KeySource {
    /// From the discovery document of the issuer (OpenID Connect Discovery 1.0).
    #[default]
    Discovery,
    /// From this URI, `http` or `https`.
    Uri(String),
    /// From the object: a JWK set in JSON (RFC 7517), whose keys are not judged yet.
    Inline(String),
}

/// Items of one list at most.
const MAX_NAMES: usize = 1_000;

impl KeySource {
    /// Reads `jwksUri` and `jwks`, of which one may be there.
    pub(super) fn read(fields: &Fields<'_>, findings: &mut Findings) -> Self {
        let (uri, inline) = (fields.text("jwksUri", findings), fields.text("jwks", findings));
        if !uri.is_empty() && !inline.is_empty() {
            fields.fault(findings, Code::JwksTwice, "jwks", "jwks stands beside jwksUri");
        }
        if !uri.is_empty() {
            if let Err(why) = check_uri(&uri) {
                fields.fault(findings, Code::BadUri, "jwksUri", format!("{}: {why}", quoted(&uri)));
            }
            return Self::Uri(uri);
        }
        if inline.is_empty() {
            return Self::Discovery;
        }
        match judge_jwks(&inline) {
            Ok(false) => {}
            Ok(true) => fields.fault(findings, Code::PrivateJwks, "jwks", "a private key is in it"),
            Err(why) => fields.fault(findings, Code::BadJwks, "jwks", why),
        }
        Self::Inline(inline)
    }
}

/// An absolute URI of `http` or `https` with a host (RFC 3986, RFC 9110 section 4.2).
fn check_uri(text: &str) -> Result<(), &'static str> {
    let (scheme, rest) = text.split_once("://").ok_or("it is not absolute")?;
    if !["http", "https"].iter().any(|known| scheme.eq_ignore_ascii_case(known)) {
        return Err("the scheme is neither http nor https");
    }
    if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f) || text.len() > 4_096 {
        return Err("it holds a space or a control character, or is too long");
    }
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let (host, port) = match host.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port),
        _ => (host, "80"),
    };
    if host.is_empty() {
        return Err("it has no host");
    }
    if port.parse::<u16>().is_err() {
        return Err("its port is no port");
    }
    Ok(())
}

/// Whether a JWK set holds a private or symmetric key; what is wrong with it otherwise.
fn judge_jwks(text: &str) -> Result<bool, String> {
    let read: serde_json::Value = serde_json::from_str(text).map_err(|error| format!("it is no JSON: {error}"))?;
    let keys = read.get("keys").and_then(serde_json::Value::as_array).ok_or("it has no list \"keys\"")?;
    if keys.is_empty() || !keys.iter().all(|key| key.get("kty").is_some_and(serde_json::Value::is_string)) {
        return Err("it has no key, or one without \"kty\"".to_owned());
    }
    Ok(keys.iter().any(|key| key.get("d").is_some() || key.get("k").is_some()))
}

/// The texts of a list of names.
pub(super) fn names(fields: &Fields<'_>, name: &'static str, findings: &mut Findings) -> Vec<String> {
    texts(fields, name, MAX_NAMES, findings).into_iter().map(|(_, text)| text.to_owned()).collect()
}

/// A list of names of headers.
pub(super) fn header_names(fields: &Fields<'_>, name: &'static str, findings: &mut Findings) -> Vec<String> {
    let texts = texts(fields, name, MAX_NAMES, findings);
    let checked = texts.into_iter().map(|(cursor, text)| {
        check_header(&cursor, text, findings);
        text.to_owned()
    });
    checked.collect()
}

/// Says where a text is no name of a header. Of an empty one, that was said.
pub(super) fn check_header(cursor: &Cursor<'_>, text: &str, findings: &mut Findings) {
    if !text.is_empty() && !is_header_name(text) {
        cursor.fault(findings, Code::BadHeaderName, format!("{} is no name of a header", quoted(text)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_fetched_by_http_alone() {
        for text in [
            "https://a",
            "http://a.b:8080/c?d#e",
            "HTTPS://a/b",
            "https://[::1]:80/",
            "https://[::1]/",
            "https://u@a/",
            "http://a:0",
        ] {
            assert_eq!(check_uri(text), Ok(()), "{text}");
        }
        for text in [
            "",
            "a",
            "a/b",
            "//a/b",
            "https:/a",
            "ftp://a",
            "file:///etc/passwd",
            "https://",
            "https:///a",
            "https://:80",
            "https://a:b/",
            "https://a:65536",
            "https://a b",
            "https://a\n",
            "https://u@/",
        ] {
            assert!(check_uri(text).is_err(), "{text}");
        }
        assert!(check_uri(&format!("https://{}", "a".repeat(4_100))).is_err());
    }

    #[test]
    fn a_jwk_set_has_keys_and_they_are_public() {
        assert_eq!(judge_jwks(r#"{"keys":[{"kty":"EC","crv":"P-256","x":"","y":""}]}"#), Ok(false));
        assert_eq!(judge_jwks(r#"{"keys":[{"kty":"RSA"},{"kty":"EC","d":"x"}]}"#), Ok(true));
        assert_eq!(judge_jwks(r#"{"keys":[{"kty":"oct","k":"x"}]}"#), Ok(true));
        for text in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"keys":{}}"#,
            r#"{"keys":[]}"#,
            r#"{"keys":[{}]}"#,
            r#"{"keys":[{"kty":1}]}"#,
            "keys: [{kty: EC}]",
        ] {
            assert!(judge_jwks(text).is_err(), "{text}");
        }
        assert!(judge_jwks(&"[".repeat(100_000)).is_err());
    }
}
