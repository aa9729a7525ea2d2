//! What objects are called, as the API server takes it: what does not look like it is neither believed nor asked about.

/// The longest name of a namespace, and of everything else (RFC 1123 section 2.1, as Kubernetes takes it), in bytes.
const MAX_LABEL_BYTES: usize = 63;
const MAX_NAME_BYTES: usize = 253;
/// The longest UID, in bytes. They are opaque; those of today are UUIDs of 36.
const MAX_UID_BYTES: usize = 128;

/// Whether this can be the name of a namespace: one label of at most 63 bytes.
#[must_use]
pub fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL_BYTES && !text.contains('.') && is_name(text)
}

/// Whether this can be the name of a pod, a node or a service account: labels between dots, at most 253 bytes together. Kubernetes bounds
/// the whole, and not each label. Such a name needs no encoding in a path, and goes nowhere else there.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        let is_closed = bytes.first().is_some_and(is_edge) && bytes.last().is_some_and(is_edge);
        is_closed && bytes.iter().all(|byte| is_edge(byte) || *byte == b'-')
    };
    text.len() <= MAX_NAME_BYTES && text.split('.').all(is_part)
}

/// Whether this can be a UID: 1 to 128 letters, digits, `-`, `_` or `.`.
#[must_use]
pub fn is_uid(text: &str) -> bool {
    (1..=MAX_UID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_rfc_1123_and_lead_nowhere_else_in_a_path() {
        for good in ["a", "web-1", "web.front", "0", &"a".repeat(253)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", ".", "..", "a..b", "-a", "a-", "A", "a/b", "a%2fb", "a?b", "a b", "a\n", "\u{e9}", &"a".repeat(254)] {
            assert!(!is_name(bad), "{bad:?}");
        }
        assert!(is_label("kube-system") && is_label(&"a".repeat(63)));
        assert!(!is_label("a.b") && !is_label(&"a".repeat(64)) && !is_label(""));
        assert!(is_uid("0f1e-2d_.A") && !is_uid("") && !is_uid("a b") && !is_uid(&"a".repeat(129)));
    }
}
