//! The cases of x509-limbo (C2SP) through the validation of servers and clients that are known by name. It knows no SPIFFE IDs:
//! what is tried is the path building and the admission of anchors below everything else.
//!
//! The cases are not ours to keep: `./test --limbo FILE` names a copy. Where Signet and a case differ stands with its reason
//! in `tests/data/limbo-differences.toml`; a line there that no longer says anything fails too.

use std::collections::BTreeMap;

use identity::Host;
use pki::{CertificateDer, Timestamp, TrustedRoots, Usage, validate_chain, validate_server};
use serde_json::Value;
use tests::{Requirement, limbo, needs};

const DIFFERENCES: &str = include_str!("../data/limbo-differences.toml");
/// 2026-11-20T11:00:00Z, for cases that name no time.
const NOW: u64 = 1_795_172_400;

/// Case by case, or feature by feature, with the reason.
#[derive(Default)]
struct Differences {
    skipped_features: BTreeMap<String, String>,
    accepted: BTreeMap<String, String>,
    refused: BTreeMap<String, String>,
}

impl Differences {
    fn read() -> Self {
        let table: toml::Table = DIFFERENCES.parse().unwrap();
        let part = |name: &str| -> BTreeMap<String, String> {
            let part = table[name].as_table().unwrap();
            part.iter().map(|(id, reason)| (id.clone(), reason.as_str().unwrap().to_owned())).collect()
        };
        assert_eq!(table.len(), 3, "a part of the list is not read");
        Self { skipped_features: part("skipped_features"), accepted: part("accepted"), refused: part("refused") }
    }
}

fn text<'a>(case: &'a Value, member: &str) -> &'a str {
    case[member].as_str().unwrap()
}

/// DER from PEM without a look into it: what is malformed must reach the validation.
fn der(pem: &str) -> CertificateDer<'static> {
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    data_encoding::BASE64.decode(base64.as_bytes()).unwrap().into()
}

/// What Signet says of a case, with its reason.
fn judge(case: &Value) -> Result<(), String> {
    let list = |member: &str| case[member].as_array().unwrap().iter().map(|pem| pem.as_str().unwrap()).collect::<Vec<_>>();
    let now = match case["validation_time"].as_str() {
        Some(time) => humantime::parse_rfc3339(&time.replace("+00:00", "Z")).unwrap().into(),
        None => Timestamp::from_unix_seconds(NOW),
    };
    let roots = TrustedRoots::from_pem(list("trusted_certs").concat().as_bytes()).map_err(|error| error.to_string())?;
    let chain: Vec<_> = std::iter::once(text(case, "peer_certificate")).chain(list("untrusted_intermediates")).map(der).collect();
    let usage = match text(case, "validation_kind") {
        "SERVER" => Usage::Server,
        "CLIENT" => Usage::Client,
        kind => panic!("{}: an unknown kind of validation, {kind}", case["id"]),
    };
    let name = case["expected_peer_name"]["value"].as_str();
    match (usage, name) {
        (Usage::Server, Some(name)) => {
            // A port makes one reader of hosts and addresses fit for both.
            let address = if name.contains(':') { format!("[{name}]:443") } else { format!("{name}:443") };
            let host: Host = address.parse::<identity::HostPort>().map_err(|error| error.to_string())?.host().clone();
            validate_server(&chain, &roots, &host, now).map_err(|error| error.to_string())
        }
        _ => validate_chain(&chain, &roots, usage, now).map(|_| ()).map_err(|error| error.to_string()),
    }
}

#[test]
fn the_cases_of_x509_limbo_are_judged_as_expected_or_differ_for_a_listed_reason() {
    if !needs("the_cases_of_x509_limbo_are_judged_as_expected_or_differ_for_a_listed_reason", Requirement::Limbo) {
        return;
    }
    let file: Value = serde_json::from_slice(&std::fs::read(limbo().unwrap()).unwrap()).unwrap();
    assert_eq!(file["version"], 1, "the schema of x509-limbo changed");
    let cases = file["testcases"].as_array().unwrap();
    let known = Differences::read();
    let mut found = Differences::default();
    let (mut accepted, mut refused, mut skipped) = (0, 0, 0);
    for case in cases {
        let id = text(case, "id").to_owned();
        let features = case["features"].as_array().unwrap().iter().map(|feature| feature.as_str().unwrap().to_owned());
        let left_out: Vec<_> = features.filter(|feature| known.skipped_features.contains_key(feature)).collect();
        if !left_out.is_empty() {
            skipped += 1;
            found.skipped_features.extend(left_out.into_iter().map(|feature| (feature, String::new())));
            continue;
        }
        match (judge(case), text(case, "expected_result")) {
            (Ok(()), "SUCCESS") => accepted += 1,
            (Err(_), "FAILURE") => refused += 1,
            (Ok(()), "FAILURE") => {
                let why = text(case, "description").split("\n\n").next().unwrap_or_default().to_owned();
                found.accepted.insert(id, why);
            }
            (Err(why), "SUCCESS") => {
                found.refused.insert(id, why);
            }
            (_, result) => panic!("{id}: an unknown result, {result}"),
        }
    }
    println!(
        "x509-limbo: {} cases: {accepted} accepted and {refused} refused as expected, {} accepted and {} refused against it for \
         a listed reason, {skipped} skipped",
        cases.len(),
        found.accepted.len(),
        found.refused.len()
    );
    let faults = [
        compare("skipped_features", &known.skipped_features, &found.skipped_features),
        compare("accepted", &known.accepted, &found.accepted),
        compare("refused", &known.refused, &found.refused),
    ]
    .concat();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// What only one side names: new differences, and stale lines.
fn compare(part: &str, known: &BTreeMap<String, String>, found: &BTreeMap<String, String>) -> Vec<String> {
    let new =
        found.iter().filter(|(id, _)| !known.contains_key(*id)).map(|(id, why)| format!("not under [{part}]: {id} = {why:?}"));
    let stale = known.keys().filter(|id| !found.contains_key(*id)).map(|id| format!("under [{part}], and no longer so: {id}"));
    new.chain(stale).collect()
}

#[test]
fn every_listed_difference_has_a_reason() {
    let Differences { skipped_features, accepted, refused } = Differences::read();
    for (id, reason) in skipped_features.iter().chain(&accepted).chain(&refused) {
        assert!(reason.ends_with('.') && reason.len() > 20, "{id}: {reason:?}");
    }
}
