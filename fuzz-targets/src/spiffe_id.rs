//! SPIFFE IDs, trust domains and selectors: accepted exactly when a second reading of the specification accepts.

use identity::{Selector, SpiffeId, TrustDomain};

pub(crate) fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parsed = SpiffeId::parse(text);
    assert_eq!(parsed.is_ok(), is_spiffe_id(data), "the grammar decides otherwise on {text:?}");
    if let Ok(id) = parsed {
        assert_eq!(id.as_str(), text, "an ID is never normalised");
        let rebuilt = format!("spiffe://{}{}", id.trust_domain(), id.path());
        assert_eq!(rebuilt, text, "the parts are not the whole");
        let written = serde_json::to_string(&id).expect("an ID is text");
        assert_eq!(serde_json::from_str::<SpiffeId>(&written).ok(), Some(id));
    }
    let domain = TrustDomain::parse(text);
    assert_eq!(domain.is_ok(), is_trust_domain(data), "the grammar decides otherwise on {text:?}");
    if let Ok(domain) = domain {
        assert_eq!(domain.id().trust_domain(), &domain);
        assert_eq!(SpiffeId::parse(domain.id().as_str()).ok(), Some(domain.id()));
    }
    if let Ok(selector) = Selector::parse(text) {
        assert_eq!(Selector::parse(&selector.to_string()).ok(), Some(selector));
    }
}

/// SPIFFE-ID sections 2.1 to 2.3, byte by byte.
fn is_spiffe_id(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"spiffe://") else { return false };
    let mut parts = rest.split(|byte| *byte == b'/');
    let authority = parts.next().unwrap_or_default();
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_".contains(byte);
    text.len() <= 2048
        && is_trust_domain(authority)
        && parts.all(|segment| !matches!(segment, b"" | b"." | b"..") && segment.iter().all(allowed))
}

/// SPIFFE-ID section 2.1.
fn is_trust_domain(text: &[u8]) -> bool {
    let allowed = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(byte);
    (1..=255).contains(&text.len()) && text.iter().all(allowed)
}
