//! The committed files through bundle admission and path validation.

use std::collections::BTreeSet;

use data_encoding::BASE64;
use pki::{CertificateDer, SvidError, Timestamp, TrustBundle, Usage, ValidatedSvid, validate_svid};
use serde_json::Value;

use super::corpus;
use crate::corpus::{assert_fit_for_a_log, files, folder, variant};

const FOLDER: &str = "svid-hostile";

fn certificates(list: &Value) -> Vec<CertificateDer<'static>> {
    let list = list.as_array().unwrap();
    list.iter().map(|text| BASE64.decode(text.as_str().unwrap().as_bytes()).unwrap().into()).collect()
}

/// A bundle as its PEM file is loaded.
fn bundle(case: &Value, list: &Value) -> Result<TrustBundle, (String, String)> {
    let pem: String = certificates(list)
        .iter()
        .map(|der| format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(der)))
        .collect();
    TrustBundle::from_pem(case["trust_domain"].as_str().unwrap().parse().unwrap(), pem.as_bytes(), 1)
        .map_err(|error| (variant(&error), error.to_string()))
}

/// Both as a client and as a server, which must agree.
fn judged(case: &Value) -> Result<ValidatedSvid, (String, String)> {
    let bundle_of = |list| bundle(case, list);
    let held = bundle_of(&case["bundle"])?;
    let (chain, now) = (certificates(&case["chain"]), Timestamp::from_unix_seconds(case["now"].as_u64().unwrap()));
    let refused = |error: SvidError| (variant(&error), error.to_string());
    let as_one = |usage| {
        let proof = validate_svid(&chain, &held, usage, now).map_err(refused)?;
        if case["later_bundle"].is_null() {
            return Ok(proof);
        }
        proof.validate_again(&bundle_of(&case["later_bundle"])?, usage, now).map_err(refused)
    };
    match [Usage::Client, Usage::Server].map(as_one) {
        [Ok(client), Ok(server)] => {
            assert_eq!(client.id(), server.id());
            Ok(client)
        }
        [Err(client), Err(server)] => {
            assert_eq!(client, server, "{}", case["about"]);
            Err(client)
        }
        [client, server] => panic!("client: {client:?}, server: {server:?}"),
    }
}

fn cases() -> Vec<(String, Value)> {
    let folder = folder(FOLDER);
    files(&folder)
        .into_iter()
        .map(|file| {
            let case = serde_json::from_slice(&std::fs::read(folder.join(&file)).unwrap()).unwrap();
            (file, case)
        })
        .collect()
}

#[test]
fn every_hostile_chain_is_refused_for_what_it_is_and_its_twin_is_accepted() {
    let cases = cases();
    let accepted: BTreeSet<_> =
        cases.iter().filter(|(_, case)| case["accepted"] == true).map(|(file, _)| file.as_str()).collect();
    let refused = cases.len() - accepted.len();
    assert!(refused >= 60, "only {refused} chains are refused");
    let mut wrong = Vec::new();
    for (file, case) in &cases {
        match (judged(case), case["refused"].as_str()) {
            (Ok(proof), None) => {
                assert!(accepted.contains(file.as_str()), "{file} must say what is expected of it");
                assert_eq!(proof.id().as_str(), "spiffe://example.org/web", "{file}");
            }
            (Ok(_), Some(by)) => wrong.push(format!("{file}: accepted, {by} expected")),
            (Err((by, text)), None) => wrong.push(format!("{file}: refused by {by}: {text}")),
            (Err((by, text)), Some(expected)) => {
                assert_fit_for_a_log(file, &text);
                let twin = case["twin"].as_str().unwrap();
                assert!(accepted.contains(twin), "the twin of {file}, {twin}, is no accepted file");
                if by != expected {
                    wrong.push(format!("{file}: refused by {by}, {expected} expected: {text}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} files:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn the_committed_files_are_what_the_generator_makes() {
    let (folder, corpus) = (folder(FOLDER), corpus());
    let expected: BTreeSet<_> = corpus.iter().map(super::Case::file).collect();
    assert_eq!(expected.len(), corpus.len(), "two cases have one name");
    for case in &corpus {
        let committed = std::fs::read_to_string(folder.join(case.file())).unwrap();
        assert_eq!(committed, case.text(), "{}: run `write_the_corpus`", case.name);
    }
    assert_eq!(files(&folder), expected.into_iter().collect::<Vec<_>>());
}

#[test]
#[ignore = "writes testdata/svid-hostile anew; run it after a change of the generator, and read the difference"]
fn write_the_corpus() {
    let folder = folder(FOLDER);
    std::fs::create_dir_all(&folder).unwrap();
    for file in files(&folder) {
        std::fs::remove_file(folder.join(file)).unwrap();
    }
    for case in corpus() {
        std::fs::write(folder.join(case.file()), case.text()).unwrap();
    }
}
