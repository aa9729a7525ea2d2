//! Names as Kubernetes takes them (RFC 1123 as its API conventions read it), and tokens of HTTP.

/// A DNS label: 1 to 63 lower-case letters, digits and hyphens, none of these at an end.
pub(super) fn is_label(text: &str) -> bool {
    (1..=63).contains(&text.len())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

/// A DNS subdomain: labels of any length with dots between them, 253 bytes at most.
pub(super) fn is_subdomain(text: &str) -> bool {
    let is_part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    };
    text.len() <= 253 && text.split('.').all(is_part)
}

/// The name of a service port: a label of at most 15 bytes with a letter in it (RFC 6335 section 5.1).
pub(super) fn is_port_name(text: &str) -> bool {
    text.len() <= 15 && is_label(text) && text.bytes().any(|byte| byte.is_ascii_lowercase())
}

/// The name of a header field, a token (RFC 9110 section 5.1).
pub(super) fn is_header_name(text: &str) -> bool {
    (1..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_kubernetes_takes_them() {
        for (text, label, subdomain) in [
            ("a", true, true),
            ("a-1", true, true),
            ("a.b", false, true),
            ("", false, false),
            ("a.", false, false),
            ("-a", false, false),
            ("a-", false, false),
            ("a.-b", false, false),
            ("A", false, false),
            ("a_b", false, false),
            ("a/b", false, false),
            ("*", false, false),
        ] {
            assert_eq!((is_label(text), is_subdomain(text)), (label, subdomain), "{text:?}");
        }
        assert!(is_label(&"a".repeat(63)) && !is_label(&"a".repeat(64)) && is_subdomain(&"a".repeat(253)));
        assert!(!is_subdomain(&"a".repeat(254)));
    }

    #[test]
    fn ports_and_headers_have_names_of_their_own() {
        assert!(is_port_name("http-2") && is_port_name("a") && is_port_name(&"a".repeat(15)));
        assert!(!is_port_name("80") && !is_port_name("") && !is_port_name("HTTP") && !is_port_name(&"a".repeat(16)));
        assert!(is_header_name("X-Token_1") && is_header_name(&"a".repeat(256)));
        for text in ["", "a b", "a:", ":path", "ä", "a\n", "a(b)", &"a".repeat(257)] {
            assert!(!is_header_name(text), "{text:?}");
        }
    }
}
