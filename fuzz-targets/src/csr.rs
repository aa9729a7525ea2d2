//! Certificate signing requests: what is accepted, a second reader accepts too and reads alike.

use arbitrary::{Result, Unstructured};
use pki::{MAX_CSR_BYTES, VerifiedRequest};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use crate::fixture::{csr_of, der, web};

/// The first byte says how the rest is read: as DER, or as the subject and attributes of a request that is signed here, so that what
/// lies behind the signature is reached.
pub(crate) fn run(data: &[u8]) {
    match data.split_first() {
        Some((0, request)) => judge(request),
        Some((1, attributes)) => judge(&csr_of(&der(0x30, &[]), attributes)),
        Some((_, plan)) => _ = assemble(&mut Unstructured::new(plan)),
        None => {}
    }
}

fn judge(request: &[u8]) {
    let Ok(accepted) = VerifiedRequest::parse(request) else { return };
    assert!(request.len() <= MAX_CSR_BYTES);
    let (rest, second) = X509CertificationRequest::from_der(request).expect("a second reader reads what was accepted");
    assert!(rest.is_empty(), "bytes behind the request");
    let info = &second.certification_request_info;
    assert_eq!(info.version.0, 0);
    assert_eq!(info.subject_pki.raw, accepted.public_key().spki_der(), "two readers see two keys");
    assert!(second.verify_signature().is_ok(), "the second reader does not verify the signature");

    let names = second.requested_extensions().into_iter().flatten().find_map(|extension| {
        if let ParsedExtension::SubjectAlternativeName(names) = extension { Some(&names.general_names) } else { None }
    });
    assert_eq!(names.is_some(), accepted.asks_for_names());
    let admitted = web();
    let mut uris =
        names.into_iter().flatten().filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None });
    assert_eq!(uris.all(|uri| uri == admitted.as_str()), accepted.check_uri_sans(&admitted).is_ok(), "a URI SAN was overlooked");
}

/// A request whose attributes are put together from pieces, most of them in good order.
fn assemble(plan: &mut Unstructured<'_>) -> Result<()> {
    let mut attributes = Vec::new();
    while !plan.is_empty() && attributes.len() < 4096 {
        attributes.extend(match plan.arbitrary::<u8>()? % 4 {
            0 => piece(plan)?,
            1 => attribute(CHALLENGE_PASSWORD, &piece(plan)?),
            _ => attribute(EXTENSION_REQUEST, &extensions(plan)?),
        });
    }
    judge(&csr_of(&der(0x30, &[]), &attributes));
    Ok(())
}

fn attribute(kind: &[u8], value: &[u8]) -> Vec<u8> {
    der(0x30, &[&der(0x06, &[kind]), &der(0x31, &[value])])
}

fn extensions(plan: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    for _ in 0..plan.arbitrary::<u8>()? % 4 {
        let mut names = Vec::new();
        for _ in 0..plan.arbitrary::<u8>()? % 4 {
            names.extend(match plan.arbitrary::<u8>()? % 4 {
                0 => piece(plan)?,
                1 => der(0x82, &[b"web.example.org"]),
                _ => der(0x86, &[web().as_str().as_bytes()]),
            });
        }
        let critical: &[u8] = if plan.arbitrary::<u8>()? % 2 == 0 { &[] } else { &[0x01, 0x01, 0xff] };
        let value = der(0x04, &[&der(0x30, &[&names])]);
        all.extend(der(0x30, &[&der(0x06, &[SUBJECT_ALTERNATIVE_NAME]), critical, &value]));
    }
    Ok(der(0x30, &[&all]))
}

/// One value of any tag.
fn piece(plan: &mut Unstructured<'_>) -> Result<Vec<u8>> {
    let (tag, length) = (plan.arbitrary::<u8>()?, plan.arbitrary::<u8>()?);
    let length = plan.len().min(usize::from(length));
    Ok(der(tag, &[plan.bytes(length)?]))
}

/// 1.2.840.113549.1.9.14 (RFC 2985 section 5.4.2).
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
/// 1.2.840.113549.1.9.7 (RFC 2985 section 5.4.1).
const CHALLENGE_PASSWORD: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x07];
/// 2.5.29.17.
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
