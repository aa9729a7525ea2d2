//! The bare crypto loop: what one certificate costs a processor when nothing but the request's parse, the check of its signature
//! and one signature over a leaf is done. No record, no network, no names, no checks: the ceiling.
//!
//! The calls of `pki` used here are the backend's own, behind a lookup of the algorithm; what `pki` checks of a key happens before
//! the loop.

use std::time::Duration;

use pki::{PrivateKey, PublicKey};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::cpu;

/// Certificates per CPU-second, on this thread, over about a second. `key` is the one of the request, and the one that signs.
pub(crate) fn rate(key: &PrivateKey, csr_der: &[u8], tbs: &[u8]) -> f64 {
    let begin = cpu::of_this_thread();
    let mut count = 0_u32;
    loop {
        for _ in 0..200 {
            parse_and_verify(key.public_key(), csr_der);
            std::hint::black_box(key.sign(tbs).unwrap());
        }
        count += 200;
        let used = cpu::of_this_thread() - begin;
        if used > Duration::from_secs(1) {
            return f64::from(count) / used.as_secs_f64();
        }
    }
}

/// RFC 2986 section 4.2.
fn parse_and_verify(key: &PublicKey, csr_der: &[u8]) {
    let (_, request) = X509CertificationRequest::from_der(csr_der).unwrap();
    key.verify(request.certification_request_info.raw, request.signature_value.data.as_ref()).unwrap();
}
