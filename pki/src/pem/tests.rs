use proptest::prelude::*;

use super::*;

const GOOD: &str = "subject=/CN=x\n# a comment\n-----BEGIN CERTIFICATE-----\nAQID\nBA==\n-----END CERTIFICATE-----\n\n";

fn contents(text: &str) -> Result<Vec<(String, Vec<u8>)>, PemError> {
    Ok(blocks(text.as_bytes())?.into_iter().map(|block| (block.label, block.der.to_vec())).collect())
}

#[test]
fn blocks_between_lines_of_explanation_and_with_carriage_returns() {
    let one = ("CERTIFICATE".to_owned(), vec![1, 2, 3, 4]);
    assert_eq!(contents(GOOD), Ok(vec![one.clone()]));
    assert_eq!(contents(&GOOD.replace('\n', "\r\n")), Ok(vec![one.clone()]));
    assert_eq!(contents(&GOOD.repeat(2)), Ok(vec![one.clone(), one.clone()]));
    assert_eq!(contents(GOOD.trim_end()), Ok(vec![one]));
    assert_eq!(contents(" \n\t"), Ok(vec![]));
}

#[test]
fn each_fault_has_its_error() {
    for (from, to, error) in [
        ("-----BEGIN", "----BEGIN", PemError::Stray { line: 3 }),
        ("# a comment", "-----END CERTIFICATE-----", PemError::Stray { line: 2 }),
        ("BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE---", PemError::Label { line: 3 }),
        ("BEGIN CERTIFICATE", "BEGIN certificate", PemError::Label { line: 3 }),
        ("-----END CERTIFICATE-----", "", PemError::Unended { line: 3 }),
        ("END CERTIFICATE", "END PRIVATE KEY", PemError::Unended { line: 3 }),
        ("BA==", "-----BEGIN CERTIFICATE-----", PemError::Unended { line: 3 }),
        ("AQID\n", "Name: value\n\nAQID\n", PemError::Headers { line: 3 }),
        ("AQID\n", "Proc-Type: 4,ENCRYPTED\n\nAQID\n", PemError::Encrypted),
        ("BA==", "BA=", PemError::Base64 { line: 3 }),
        ("BA==", "BB==", PemError::Base64 { line: 3 }),
        ("BA==", "BA-=", PemError::Base64 { line: 3 }),
    ] {
        assert_eq!(contents(&GOOD.replace(from, to)), Err(error), "{to}");
    }
    let long = vec![b'\n'; MAX_PEM_BYTES + 1];
    assert!(matches!(blocks(&long), Err(PemError::TooLong { .. })));
}

#[test]
fn certificates_only_and_none_only_from_white_space() {
    assert_eq!(certificates_from_pem(b" \n"), Ok(vec![]));
    assert_eq!(certificates_from_pem(b"not a bundle"), Err(CertificateError::NoneInPem));
    let key = encode("PRIVATE KEY", b"secret");
    assert_eq!(certificates_from_pem(key.as_bytes()), Err(CertificateError::PemLabel { label: "PRIVATE KEY".to_owned() }));
}

#[test]
fn a_request_is_one_block_of_its_own_kind() {
    let one = request_to_pem(b"a request");
    assert!(one.ends_with("-----END CERTIFICATE REQUEST-----\n"));
    assert_eq!(request_from_pem(format!("made by hand\n{one}\n").as_bytes()), Ok(b"a request".to_vec()));
    assert_eq!(request_from_pem(b""), Err(RequestPemError::Count { found: 0 }));
    assert_eq!(request_from_pem(format!("{one}{one}").as_bytes()), Err(RequestPemError::Count { found: 2 }));
    let other = encode("NEW CERTIFICATE REQUEST", b"a request");
    assert!(matches!(request_from_pem(other.as_bytes()), Err(RequestPemError::Label { .. })));
    let damaged = one.replace("-----END", "----END");
    assert!(matches!(request_from_pem(damaged.as_bytes()), Err(RequestPemError::Pem(_))));
}

proptest! {
    #[test]
    fn what_is_written_reads_back(der in proptest::collection::vec(any::<u8>(), 0..300)) {
        let text = encode("X", &der);
        prop_assert!(text.lines().all(|line| line.len() <= LINE_CHARACTERS));
        prop_assert_eq!(contents(&text), Ok(vec![("X".to_owned(), der)]));
    }

    #[test]
    fn no_bytes_make_it_panic(at in 0..GOOD.len(), byte: u8) {
        let mut text = GOOD.as_bytes().to_vec();
        text[at] = byte;
        if let Ok(found) = blocks(&text) {
            prop_assert!(found.len() <= 1);
        }
    }
}
