//! PEM bundles: none of their certificates vanishes, and none appears.

use arbitrary::{Result, Unstructured};
use pki::{Certificate, certificates_from_pem, certificates_to_pem, request_from_pem, request_to_pem};

use crate::fixture::CHAINS;

/// The first byte says how the rest is read: as the text itself, or as the way to put one together.
pub(crate) fn run(data: &[u8]) {
    match data.split_first() {
        Some((0, text)) => read(text),
        Some((_, plan)) => _ = assemble(&mut Unstructured::new(plan)),
        None => {}
    }
}

fn read(text: &[u8]) {
    if let Ok(certificates) = certificates_from_pem(text) {
        assert_eq!(certificates.len(), begins(text), "as many certificates as there are blocks");
        round_trip(&certificates);
    }
    if let Ok(der) = request_from_pem(text) {
        assert_eq!(request_from_pem(request_to_pem(&der).as_bytes()).ok(), Some(der));
    }
}

/// Lines that begin a certificate, counted without the parser.
fn begins(text: &[u8]) -> usize {
    text.split(|byte| *byte == b'\n').filter(|line| line.trim_ascii() == b"-----BEGIN CERTIFICATE-----").count()
}

fn round_trip(certificates: &[Certificate]) {
    let text = certificates_to_pem(certificates);
    assert_eq!(certificates_from_pem(text.as_bytes()).ok().as_deref(), Some(certificates));
}

/// Good blocks with lines between them: text is skipped, and what looks like a damaged boundary refuses the whole.
fn assemble(plan: &mut Unstructured<'_>) -> Result<()> {
    let known: Vec<&Certificate> = CHAINS.genuine.iter().chain(&CHAINS.refused).flatten().collect();
    let (mut text, mut put, mut only_text) = (Vec::new(), Vec::new(), true);
    while !plan.is_empty() && put.len() < 16 {
        let choice = usize::from(plan.arbitrary::<u8>()?);
        if let Some(certificate) = known.get(choice) {
            text.extend_from_slice(certificates_to_pem([*certificate]).as_bytes());
            put.push((*certificate).clone());
        } else {
            let length = plan.len().min(choice % 80);
            let line = plan.bytes(length)?;
            only_text &= !line.windows(4).any(|window| window == b"----");
            text.extend_from_slice(line);
            text.push(b'\n');
        }
    }
    let parsed = certificates_from_pem(&text);
    match &parsed {
        Ok(certificates) => assert_eq!(certificates.len(), begins(&text)),
        Err(_) => assert!(!only_text || put.is_empty(), "good blocks with text between them were refused"),
    }
    if only_text && !put.is_empty() {
        assert_eq!(parsed.ok(), Some(put), "a certificate vanished, appeared or moved");
    }
    Ok(())
}
