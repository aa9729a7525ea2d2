//! Alternative names asked for. Only URIs matter, and only to refuse: one that is not the admitted identity, byte for byte, ends
//! the request. A name of another kind is dropped, but the list must be readable as a whole.

use super::request::{extension, extensions, names, uri};
use super::{ADMITTED, Case, bad, good};
use crate::der;

pub(super) fn cases() -> Vec<Case> {
    [accepted(), other_identities(), malformed()].into_iter().flatten().collect()
}

fn accepted() -> Vec<Case> {
    let asked = |all: &[Vec<u8>]| extensions(&[names(all)]);
    let named = |tag: u8, content: &[u8]| asked(&[uri(ADMITTED), der::value(tag, content)]);
    let other_name =
        der::of(0xa0, &[der::oid("1.3.6.1.4.1.311.20.2.3"), der::of(0xa0, &[der::value(der::UTF8_STRING, b"root")])]);
    vec![
        good("wish-names.der", "the admitted identity", asked(&[uri(ADMITTED)])),
        good(
            "names-critical.der",
            "the admitted identity, critical",
            extensions(&[extension("2.5.29.17", true, &der::sequence(&[uri(ADMITTED)]))]),
        ),
        good("names-same-twice.der", "the admitted identity twice", asked(&[uri(ADMITTED), uri(ADMITTED)])),
        good("names-dns-api-server.der", "the name of the cluster's API", named(0x82, b"kubernetes.default")),
        good("names-dns-wildcard.der", "a wildcard", named(0x82, b"*.example.org")),
        good("names-dns-nul.der", "a NUL in a DNS name", named(0x82, b"ca.example.org\0.attacker.test")),
        good("names-dns-empty.der", "an empty DNS name", named(0x82, b"")),
        good("names-dns-looks-like-a-uri.der", "another identity as a DNS name", named(0x82, b"spiffe://example.org/admin")),
        good("names-ip.der", "loopback", named(0x87, &[127, 0, 0, 1])),
        good("names-ip-6.der", "loopback, version 6", named(0x87, &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])),
        good("names-email.der", "a mail address", named(0x81, b"root@example.org")),
        good("names-registered-id.der", "a registered identifier", named(0x88, &[0x2a, 0x03])),
        good("names-other.der", "another kind of name", asked(&[uri(ADMITTED), other_name])),
    ]
}

fn other_identities() -> Vec<Case> {
    let differs =
        |file, about, all: &[Vec<u8>]| bad(file, about, extensions(&[names(all)]), "CsrError::UriSanDiffers", "wish-names.der");
    let one = |file, about, text: &str| differs(file, about, &[uri(text)]);
    let path = |bytes: usize| format!("spiffe://example.org/{}", "a".repeat(bytes - "spiffe://example.org/".len()));
    vec![
        one("uri-other-path.der", "another workload", "spiffe://example.org/admin"),
        one("uri-other-domain.der", "another trust domain", "spiffe://other.org/web"),
        one("uri-longer.der", "a path below the admitted one", "spiffe://example.org/web/admin"),
        one("uri-shorter.der", "a prefix of the admitted one", "spiffe://example.org/we"),
        one("uri-trust-domain.der", "the trust domain itself", "spiffe://example.org"),
        one("uri-root-path.der", "the path of a slash", "spiffe://example.org/"),
        one("uri-reserved.der", "a part of Signet", "spiffe://example.org/signet/ca/1"),
        one("uri-agent.der", "an agent", "spiffe://example.org/signet/agent/n1"),
        one("uri-trailing-slash.der", "a slash behind it", "spiffe://example.org/web/"),
        one("uri-double-slash.der", "an empty segment", "spiffe://example.org//web"),
        one("uri-dot.der", "a segment of a dot", "spiffe://example.org/./web"),
        one("uri-dot-dot.der", "a segment of two dots", "spiffe://example.org/admin/../web"),
        one("uri-percent.der", "an encoded letter", "spiffe://example.org/%77eb"),
        one("uri-percent-slash.der", "an encoded slash", "spiffe://example.org/web%2f..%2fadmin"),
        one("uri-upper-scheme.der", "the scheme in upper case", "SPIFFE://example.org/web"),
        one("uri-upper-domain.der", "the trust domain in upper case", "spiffe://EXAMPLE.org/web"),
        one("uri-upper-path.der", "the path in upper case", "spiffe://example.org/WEB"),
        one("uri-dot-domain.der", "a dot behind the trust domain", "spiffe://example.org./web"),
        one("uri-port.der", "a port", "spiffe://example.org:443/web"),
        one("uri-user.der", "a user before the trust domain", "spiffe://admin@example.org/web"),
        one("uri-user-domain.der", "the trust domain as a user", "spiffe://example.org@other.org/web"),
        one("uri-query.der", "a query", "spiffe://example.org/web?admin"),
        one("uri-fragment.der", "a fragment", "spiffe://example.org/web#admin"),
        one("uri-nul.der", "a NUL behind it", "spiffe://example.org/web\0"),
        one("uri-nul-inside.der", "a NUL and another path behind it", "spiffe://example.org/web\0/admin"),
        one("uri-newline.der", "a line end and a made-up line of log", "spiffe://example.org/web\n2026-11-20 INFO admitted"),
        one("uri-escape.der", "terminal escapes", "spiffe://example.org/\x1b[2J\x1b[1;1Hweb"),
        one("uri-space.der", "a space behind it", "spiffe://example.org/web "),
        one("uri-space-before.der", "a space before it", " spiffe://example.org/web"),
        one("uri-backslash.der", "a backslash as a slash", "spiffe:\\\\example.org\\web"),
        one("uri-empty.der", "an empty URI", ""),
        one("uri-scheme-alone.der", "the scheme alone", "spiffe://"),
        one("uri-relative.der", "a path alone", "/web"),
        one("uri-https.der", "an address of the web", "https://example.org/web"),
        one("uri-file.der", "a file", "file:///etc/shadow"),
        one("uri-script.der", "a script", "javascript:alert(1)"),
        one("uri-look-alike.der", "a trust domain that looks alike in punycode", "spiffe://xn--exmple-cua.org/web"),
        one("uri-2049.der", "2,049 bytes", &path(2049)),
        one("uri-8000.der", "8,000 bytes", &path(8000)),
        differs(
            "uri-second.der",
            "another identity behind the admitted one",
            &[uri(ADMITTED), uri("spiffe://example.org/admin")],
        ),
        differs("uri-first.der", "another identity before the admitted one", &[uri("spiffe://example.org/admin"), uri(ADMITTED)]),
        differs(
            "uri-behind-dns.der",
            "another identity behind a DNS name",
            &[der::value(0x82, b"a.b"), uri("spiffe://example.org/admin")],
        ),
        differs(
            "uri-last-of-many.der",
            "another identity behind the admitted one five hundred times",
            &[vec![uri(ADMITTED); 500], vec![uri("spiffe://example.org/admin")]].concat(),
        ),
        bad(
            "uri-ten-thousand.der",
            "ten thousand names",
            extensions(&[names(&vec![uri(ADMITTED); 10_000])]),
            "CsrError::TooLarge",
            "wish-names.der",
        ),
    ]
}

fn malformed() -> Vec<Case> {
    let wrong = |file, about, content, by| bad(file, about, content, by, "wish-names.der");
    let bad = |file, about, all: &[Vec<u8>]| wrong(file, about, extensions(&[names(all)]), "CsrError::AlternativeNames");
    let value = |value: &[u8]| extensions(&[extension("2.5.29.17", false, value)]);
    let by = "CsrError::AlternativeNames";
    let own = names(&[uri(ADMITTED)]);
    vec![
        bad("names-homoglyph.der", "a letter of another script, in UTF-8", &[uri("spiffe://ex\u{0430}mple.org/web")]),
        bad("names-right-to-left.der", "characters that turn the text around", &[uri("spiffe://example.org/\u{202e}bew")]),
        bad("names-latin.der", "a byte of Latin-1", &[der::value(0x86, b"spiffe://example.org/w\xe9b")]),
        bad(
            "names-dns-not-ascii.der",
            "a DNS name that is not ASCII",
            &[uri(ADMITTED), der::value(0x82, "b\u{fc}cher.example".as_bytes())],
        ),
        bad("names-ip-empty.der", "an address of no bytes", &[uri(ADMITTED), der::value(0x87, &[])]),
        bad("names-ip-3.der", "an address of 3 bytes", &[uri(ADMITTED), der::value(0x87, &[10, 0, 0])]),
        bad("names-ip-5.der", "an address of 5 bytes", &[uri(ADMITTED), der::value(0x87, &[10, 0, 0, 0, 1])]),
        bad(
            "names-ip-mask.der",
            "an address with a mask, as constraints have it",
            &[uri(ADMITTED), der::value(0x87, &[10, 0, 0, 0, 255, 0, 0, 0])],
        ),
        bad("names-ip-17.der", "an address of 17 bytes", &[uri(ADMITTED), der::value(0x87, &[0; 17])]),
        bad("names-kind-9.der", "a kind of name that there is not", &[uri(ADMITTED), der::value(0x89, b"x")]),
        bad("names-universal.der", "a UTF8String instead of a name", &[uri(ADMITTED), der::value(der::UTF8_STRING, b"x")]),
        wrong("names-extension-twice.der", "alternative names twice", extensions(&[own.clone(), own.clone()]), by),
        wrong(
            "names-extension-twice-apart.der",
            "alternative names twice, something between",
            extensions(&[own.clone(), extension("1.2.3.4", false, &der::null()), own]),
            by,
        ),
        wrong("names-not-a-list.der", "a URI without its list", value(&uri(ADMITTED)), by),
        wrong("names-no-value.der", "no bytes where names should be", value(&[]), "CsrError::Der(Truncated)"),
        wrong("names-set.der", "names in a SET", value(&der::set(&[uri(ADMITTED)])), by),
        wrong(
            "names-tail.der",
            "a NULL behind the names",
            value(&[der::sequence(&[uri(ADMITTED)]), der::null()].concat()),
            "CsrError::Der(Trailing)",
        ),
        wrong(
            "names-long-form.der",
            "a length inside in the long form",
            value(&[&[0x30, 0x81, 0x1a, 0x86, 0x18][..], ADMITTED.as_bytes()].concat()),
            "CsrError::Der(Length)",
        ),
        wrong(
            "names-cut.der",
            "a name longer than its list",
            value(&[&[0x30, 0x1a, 0x86, 0x19][..], ADMITTED.as_bytes()].concat()),
            "CsrError::Der(Truncated)",
        ),
    ]
}
