//! The committed files through the readers that the CA uses.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::{SpiffeId, TrustDomain};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, CsrError, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, SerialNumber,
    Timestamp, VerifiedRequest, prepare_authority, prepare_leaf, request_from_pem,
};
use serde_json::Value;

use super::{ADMITTED, corpus};
use crate::corpus::{assert_fit_for_a_log, files, folder, variant};

const FOLDER: &str = "csr-hostile";
const INDEX: &str = "index.json";

fn index() -> Vec<Value> {
    serde_json::from_slice(&std::fs::read(folder(FOLDER).join(INDEX)).unwrap()).unwrap()
}

fn index_text() -> String {
    let lines: Vec<_> = corpus().iter().map(|case| format!("  {}", case.index_line())).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

/// As `CreateCertificate` reads a request that is PEM, and every other call one that is DER: the variant of the refusal and its
/// text.
fn read(file: &str, content: &[u8]) -> Result<VerifiedRequest, (String, String)> {
    let der = if file.ends_with(".pem") {
        request_from_pem(content).map_err(|error| (variant(&error), error.to_string()))?
    } else {
        content.to_vec()
    };
    let refused = |error: CsrError| (variant(&error), error.to_string());
    let request = VerifiedRequest::parse(&der).map_err(refused)?;
    request.check_uri_sans(&ADMITTED.parse().unwrap()).map_err(refused)?;
    Ok(request)
}

fn content(case: &Value) -> Vec<u8> {
    let content = std::fs::read(folder(FOLDER).join(case["file"].as_str().unwrap())).unwrap();
    content.repeat(case["repeat"].as_u64().map_or(1, |times| times.try_into().unwrap()))
}

#[test]
fn every_hostile_request_is_refused_for_what_it_is_and_its_twin_is_accepted() {
    let index = index();
    let accepted: BTreeSet<_> =
        index.iter().filter(|case| case["accepted"] == true).map(|case| &case["file"]).map(Value::to_string).collect();
    let refused = index.iter().filter(|case| case["refused"].is_string()).count();
    assert!(refused >= 150, "only {refused} files are refused");
    let mut wrong = Vec::new();
    for case in &index {
        let file = case["file"].as_str().unwrap();
        match (read(file, &content(case)), case["refused"].as_str()) {
            (Ok(_), None) => assert!(accepted.contains(&case["file"].to_string()), "{file} must say what is expected of it"),
            (Ok(_), Some(by)) => wrong.push(format!("{file}: accepted, {by} expected")),
            (Err((by, text)), None) => wrong.push(format!("{file}: refused by {by}: {text}")),
            (Err((by, text)), Some(expected)) => {
                assert_fit_for_a_log(file, &text);
                assert!(accepted.contains(&case["twin"].to_string()), "the twin of {file} is no accepted file");
                if by != expected {
                    wrong.push(format!("{file}: refused by {by}, {expected} expected"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), index.len(), wrong.join("\n"));
}

fn authority(trust_domain: &TrustDomain, now: Timestamp) -> Certificate {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let serial = SerialNumber::from_bytes(&[0x02; 16]).unwrap();
    let lifetime = Duration::from_secs(24 * 60 * 60);
    let role = AuthorityRole::Root;
    let spec = AuthoritySpec { role, trust_domain, public_key: key.public_key(), lifetime, serial, now };
    prepare_authority(&spec, None).unwrap().sign(&key).unwrap()
}

/// The leaf that a request leads to, whatever it asks for: the same bytes as for the request that asks for nothing.
#[test]
fn what_a_request_asks_for_changes_no_byte_of_what_is_signed() {
    let id = SpiffeId::parse(ADMITTED).unwrap();
    let now = Timestamp::from_unix_seconds(crate::svid::NOW);
    let issuer = authority(id.trust_domain(), now);
    let leaf = |request: &VerifiedRequest| {
        let request = LeafRequest {
            id: &id,
            dns_names: &[],
            ip_addresses: &[],
            public_key: request.public_key(),
            ttl: None,
            serial: SerialNumber::from_bytes(&[0x01; 16]).unwrap(),
            now,
        };
        let profile = LeafProfile::new(Duration::from_secs(3600), Duration::from_secs(3600)).unwrap();
        prepare_leaf(&profile, &request, &issuer).unwrap().tbs_der().to_vec()
    };
    let requester = super::request::requester().spki;
    let plain = leaf(&read("base.der", &std::fs::read(folder(FOLDER).join("base.der")).unwrap()).unwrap());
    let mut compared = 0;
    for case in index().iter().filter(|case| case["accepted"] == true) {
        let request = read(case["file"].as_str().unwrap(), &content(case)).unwrap();
        if request.public_key().spki_der() == requester {
            assert_eq!(leaf(&request), plain, "{case}");
            compared += 1;
        }
    }
    assert!(compared > 20, "{compared}");
}

#[test]
fn the_committed_files_are_what_the_generator_makes() {
    let (folder, corpus) = (folder(FOLDER), corpus());
    let mut expected: BTreeSet<_> = corpus.iter().map(|case| case.file.clone()).collect();
    assert_eq!(expected.len(), corpus.len(), "two cases have one name");
    for case in &corpus {
        assert_eq!(std::fs::read(folder.join(&case.file)).unwrap(), case.content, "{}: run `write_the_corpus`", case.file);
    }
    assert_eq!(std::fs::read_to_string(folder.join(INDEX)).unwrap(), index_text());
    expected.insert(INDEX.to_owned());
    assert_eq!(files(&folder), expected.into_iter().collect::<Vec<_>>());
}

#[test]
#[ignore = "writes testdata/csr-hostile anew; run it after a change of the generator, and read the difference"]
fn write_the_corpus() {
    let folder = folder(FOLDER);
    std::fs::create_dir_all(&folder).unwrap();
    for file in files(&folder) {
        std::fs::remove_file(folder.join(file)).unwrap();
    }
    for case in corpus() {
        std::fs::write(folder.join(&case.file), &case.content).unwrap();
    }
    std::fs::write(folder.join(INDEX), index_text()).unwrap();
}
