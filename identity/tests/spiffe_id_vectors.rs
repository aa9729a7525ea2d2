//! `testdata/spiffe-ids.json`: what is a SPIFFE ID (SPIFFE-ID section 2) and what is not, each refusal with its variant.

#![expect(clippy::unwrap_used, reason = "this is a test: it fails by them")]

use identity::{SpiffeId, SpiffeIdError, TrustDomain};
use serde_json::Value;

const VECTORS: &str = include_str!("../testdata/spiffe-ids.json");

fn vectors() -> Value {
    serde_json::from_str(VECTORS).unwrap()
}

fn list(part: &str) -> Vec<Value> {
    vectors()[part].as_array().unwrap().clone()
}

/// The name of the variant, `TrustDomain(Empty)`, without its facts.
fn variant(error: &SpiffeIdError) -> String {
    let text = format!("{error:?}");
    let name = |text: &str| text.chars().take_while(char::is_ascii_alphanumeric).collect::<String>();
    let outer = name(&text);
    match text.strip_prefix(&outer).and_then(|rest| rest.strip_prefix('(')) {
        Some(inner) => format!("{outer}({})", name(inner)),
        None => outer,
    }
}

#[test]
fn valid_ids_are_read_with_their_parts_and_written_as_they_were() {
    let valid = list("valid");
    assert!(valid.len() >= 30);
    for case in valid {
        let text = case["id"].as_str().unwrap();
        let id = SpiffeId::parse(text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        assert_eq!(id.as_str(), text);
        assert_eq!(id.to_string(), text);
        assert_eq!(id.trust_domain().as_str(), case["trust_domain"].as_str().unwrap(), "{text:?}");
        assert_eq!(id.path(), case["path"].as_str().unwrap(), "{text:?}");
        assert_eq!(TrustDomain::parse(id.trust_domain().as_str()).as_ref(), Ok(id.trust_domain()));
        assert_eq!(text.parse::<SpiffeId>(), Ok(id));
    }
}

#[test]
fn invalid_ids_are_refused_each_by_its_own_error() {
    let invalid = list("invalid");
    assert!(invalid.len() >= 120);
    for case in invalid {
        let text = case["id"].as_str().unwrap();
        let error = SpiffeId::parse(text).expect_err(text);
        assert_eq!(variant(&error), case["error"].as_str().unwrap(), "{text:?}: {error}");
        assert!(!error.to_string().contains(char::is_control), "{text:?}: its error would steer a terminal");
    }
}

#[test]
fn lengths_are_held_to_the_byte() {
    for case in list("filled") {
        let start = case["id"].as_str().unwrap();
        let length: usize = case["filled_to"].as_u64().unwrap().try_into().unwrap();
        let text = format!("{start}{}", "a".repeat(length - start.len()));
        let found = SpiffeId::parse(&text).err().map(|error| variant(&error));
        assert_eq!(found.as_deref(), case["error"].as_str(), "{start} filled to {length} bytes");
    }
}

/// Each of the first 256 characters, in a trust domain and in a path, in the middle and alone.
#[test]
fn every_character_is_in_its_set_or_refused() {
    let vectors = vectors();
    let allowed = |part: &str, c: char| vectors["characters"][part].as_str().unwrap().contains(c);
    for c in '\0'..='\u{ff}' {
        // A slash ends the one and divides the other; as a segment alone, a dot is another fault.
        if c == '/' {
            continue;
        }
        for domain in [format!("a{c}b"), c.to_string()] {
            assert_eq!(SpiffeId::parse(&format!("spiffe://{domain}/x")).is_ok(), allowed("trust_domain", c), "{c:?}");
            assert_eq!(TrustDomain::parse(&domain).is_ok(), allowed("trust_domain", c), "{c:?}");
        }
        assert_eq!(SpiffeId::parse(&format!("spiffe://t/a{c}b")).is_ok(), allowed("path", c), "{c:?}");
        assert_eq!(SpiffeId::parse(&format!("spiffe://t/{c}")).is_ok(), allowed("path", c) && c != '.', "{c:?}");
    }
}
