//! What Kubernetes calls things, as far as selectors speak of them: what no API server would take is no selector.

/// The longest label of a DNS name, in bytes: names of namespaces and containers, and both parts of a pod's labels.
const MAX_LABEL_BYTES: usize = 63;
/// The longest of other names, and the prefix of the key of a pod's label, in bytes.
const MAX_NAME_BYTES: usize = 253;
/// The longest UID, in bytes. They are opaque; those of today have 36.
const MAX_UID_BYTES: usize = 128;
/// The longest reference of an image, in bytes.
const MAX_IMAGE_BYTES: usize = 1024;

/// Of a namespace or a container: one label (RFC 1123 section 2.1).
pub(super) fn is_label(text: &str) -> bool {
    text.len() <= MAX_LABEL_BYTES && !text.contains('.') && is_name(text)
}

/// Of a pod or a service account: labels between dots. Kubernetes bounds the whole, and not each label.
pub(super) fn is_name(text: &str) -> bool {
    let is_edge = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_part = |part: &str| {
        let bytes = part.as_bytes();
        let is_closed = bytes.first().is_some_and(is_edge) && bytes.last().is_some_and(is_edge);
        is_closed && bytes.iter().all(|byte| is_edge(byte) || *byte == b'-')
    };
    text.len() <= MAX_NAME_BYTES && text.split('.').all(is_part)
}

/// 1 to 128 letters, digits, `-`, `_` or `.`.
pub(super) fn is_uid(text: &str) -> bool {
    (1..=MAX_UID_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

/// `KEY:VALUE` of a label that a pod has. Neither has a colon.
pub(super) fn is_pod_label(text: &str) -> bool {
    let Some((key, value)) = text.split_once(':') else { return false };
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    prefix.is_none_or(is_name) && is_qualified(name) && (value.is_empty() || is_qualified(value))
}

/// A reference as container runtimes write it, with a tag or a digest.
pub(super) fn is_image(text: &str) -> bool {
    (1..=MAX_IMAGE_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_qualified(text: &str) -> bool {
    let bytes = text.as_bytes();
    let is_closed = bytes.first().is_some_and(u8::is_ascii_alphanumeric) && bytes.last().is_some_and(u8::is_ascii_alphanumeric);
    bytes.len() <= MAX_LABEL_BYTES && is_closed && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_api_server_would_not_take_is_refused() {
        for good in ["app:web", "app.kubernetes.io/name:web-1", "a_B.c:", "x:A.b_c-9"] {
            assert!(is_pod_label(good), "{good}");
        }
        let (long, longest) = (format!("a:{}", "b".repeat(64)), format!("{}/a:b", "c".repeat(253)));
        assert!(is_pod_label(&longest) && !is_pod_label(&format!("c{longest}")));
        for bad in ["", "app", "app:web:1", ":web", "/app:web", "a/b/c:d", "A.b/c:d", "app-:web", "app:-web", "app:w b", &long] {
            assert!(!is_pod_label(bad), "{bad}");
        }
        assert!(is_label("kube-system") && !is_label("a.b") && !is_label(&"a".repeat(64)) && !is_label("A"));
        assert!(is_name("web.front-1") && !is_name("") && !is_name("a..b") && !is_name("a_b") && !is_name(&"a".repeat(254)));
        assert!(is_uid("0f1e-2d_.A") && !is_uid("") && !is_uid("a b") && !is_uid(&"a".repeat(129)));
        assert!(is_image("registry.example:5000/a/b@sha256:0f") && !is_image("") && !is_image("a b") && !is_image("a\u{e9}"));
    }
}
