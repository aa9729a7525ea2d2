//! The border where a request comes as text (RFC 7468), as in Istio's `CreateCertificate`.

use super::request::changed;
use super::{ADMITTED, Case, bad, good};
use crate::der;

const TWIN: &str = "base.pem";
const COUNT: &str = "RequestPemError::Count";
const LABEL: &str = "RequestPemError::Label";

/// Text as PEM tools write it, with its own label.
fn pem(label: &str, der: &[u8]) -> String {
    pki::request_to_pem(der).replace("CERTIFICATE REQUEST", label)
}

pub(super) fn cases() -> Vec<Case> {
    let der = changed(|_| ());
    let text = pki::request_to_pem(&der);
    let lines: Vec<_> = text.lines().collect();
    let body = lines[1..lines.len() - 1].concat();
    let around = |begin: &str, body: &str, end: &str| format!("{begin}\n{body}\n{end}\n");
    let framed = |body: &str| around(lines[0], body, lines[lines.len() - 1]);
    let good = |file, about, text: String| good(file, about, text.into_bytes());
    let bad = |file, about, text: String, by| bad(file, about, text.into_bytes(), by, TWIN);
    let fault = |file, about, text: String, kind: &str| {
        super::bad(file, about, text.into_bytes(), &format!("RequestPemError::Pem({kind})"), TWIN)
    };
    let other_identity =
        super::request::extensions(&[super::request::names(&[super::request::uri("spiffe://example.org/admin")])]);
    vec![
        good(TWIN, "a request as text", text.clone()),
        good("crlf.pem", "line ends of two characters", text.replace('\n', "\r\n")),
        good("no-last-newline.pem", "no line end behind the last line", text.trim_end().to_owned()),
        good("one-line.pem", "its base64 on one line", framed(&body)),
        good("explained.pem", "lines of explanation around it", format!("subject: {ADMITTED}\n{text}made with openssl\n")),
        bad("empty.pem", "no text", String::new(), COUNT),
        bad("blank.pem", "white space", " \n\t\n".to_owned(), COUNT),
        bad("words.pem", "words", "please issue a certificate".to_owned(), COUNT),
        bad("base64-alone.pem", "base64 without its boundaries", body.clone(), COUNT),
        bad("two.pem", "two requests", text.repeat(2), COUNT),
        bad(
            "request-and-certificate.pem",
            "a request and a certificate",
            text.clone() + &pem("CERTIFICATE", &crate::svid::issuer_der()),
            COUNT,
        ),
        bad("certificate.pem", "a certificate", pem("CERTIFICATE", &crate::svid::issuer_der()), LABEL),
        bad("certificate-label.pem", "a request under the label of a certificate", pem("CERTIFICATE", &der), LABEL),
        bad("new-request.pem", "the label of old tools", pem("NEW CERTIFICATE REQUEST", &der), LABEL),
        bad("private-key.pem", "a request under the label of a private key", pem("PRIVATE KEY", &der), LABEL),
        bad("longer-label.pem", "a word behind the label", pem("CERTIFICATE REQUESTS", &der), LABEL),
        fault("lower-case.pem", "a label in lower case", pem("certificate request", &der), "Label"),
        fault("no-label.pem", "no label", pem("", &der), "Label"),
        fault("label-escape.pem", "an escape in the label", pem("CERTIFICATE\x1b[2J REQUEST", &der), "Label"),
        fault(
            "four-dashes.pem",
            "a dash too few",
            around("----BEGIN CERTIFICATE REQUEST-----", &body, lines[lines.len() - 1]),
            "Stray",
        ),
        fault("byte-order-mark.pem", "a byte order mark", format!("\u{feff}{text}"), "Stray"),
        fault("begin-in-line.pem", "text before the boundary", format!("csr: {text}"), "Stray"),
        fault("end-alone.pem", "an end before the beginning", format!("{}\n{text}", lines[lines.len() - 1]), "Stray"),
        fault("no-end.pem", "no end", format!("{}\n{body}\n", lines[0]), "Unended"),
        fault("other-end.pem", "the end of something else", around(lines[0], &body, "-----END CERTIFICATE-----"), "Unended"),
        fault("nested.pem", "a beginning inside", around(lines[0], lines[0], &text), "Unended"),
        fault("cut-end.pem", "an end without its dashes", around(lines[0], &body, "-----END CERTIFICATE REQUEST"), "Unended"),
        fault("headers.pem", "headers (RFC 1421)", framed(&format!("X-Comment: yes\n\n{body}")), "Headers"),
        fault(
            "encrypted.pem",
            "headers of an encrypted block",
            framed(&format!("Proc-Type: 4,ENCRYPTED\n\n{body}")),
            "Encrypted",
        ),
        fault("bad-letter.pem", "a character that is not base64", framed(&body.replacen('A', "*", 1)), "Base64"),
        fault("url-alphabet.pem", "the alphabet of base64url", framed(&format!("-_{}", &body[2..])), "Base64"),
        fault("no-padding.pem", "a character short", framed(&body[..body.len() - 1]), "Base64"),
        fault("padding-inside.pem", "padding in the middle", framed(&format!("AA=={body}")), "Base64"),
        fault("nul.pem", "a NUL in the base64", framed(&format!("{}\0{}", &body[..40], &body[41..])), "Base64"),
        fault("space-inside.pem", "a space in a line", framed(&format!("{} {}", &body[..40], &body[40..])), "Base64"),
        fault("too-long.pem", "more than 1 MiB", "explanation\n".to_owned(), "TooLong").repeated(100_000),
        bad("nothing-inside.pem", "an empty block", framed(""), "CsrError::Der(Truncated)"),
        bad(
            "trailing-inside.pem",
            "a NULL behind the request inside the block",
            pki::request_to_pem(&[der.clone(), der::null()].concat()),
            "CsrError::Der(Trailing)",
        ),
        bad("two-inside.pem", "two requests inside one block", pki::request_to_pem(&der.repeat(2)), "CsrError::Der(Trailing)"),
        bad("large-inside.pem", "a block of 20 kB", pki::request_to_pem(&[0x30; 20_000]), "CsrError::TooLarge"),
        bad(
            "other-identity.pem",
            "a request for another identity",
            pki::request_to_pem(&other_identity),
            "CsrError::UriSanDiffers",
        ),
    ]
}
