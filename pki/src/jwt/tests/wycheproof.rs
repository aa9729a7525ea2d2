//! Project Wycheproof's vectors for JWS and JWK (`testdata/wycheproof`).

use super::super::compact::Compact;
use super::*;

#[derive(serde::Deserialize)]
struct Group {
    comment: String,
    jwks: Value,
    tests: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Vector {
    id: u32,
    comment: String,
    jws: String,
    result: String,
}

/// What is valid there and refused here on purpose.
fn is_out_of_reach(group: &Group) -> bool {
    let kinds = group.jwks["keys"].as_array().unwrap();
    // Secrets are no public keys; the backend does not have P-521; and two groups declare a key for PS256 whose token is PS384
    // (RFC 7520 section 4.2 has a key without that declaration).
    let declared_wrongly = |key: &Value| group.comment.starts_with("rfc7520") && key["alg"] == "PS256";
    kinds.iter().all(|key| key["kty"] == "oct" || key["crv"] == "P-521" || declared_wrongly(key))
}

#[test]
fn wycheproof_signatures_and_keys() {
    let files = [
        include_str!("../../../testdata/wycheproof/json_web_signature_test.json"),
        include_str!("../../../testdata/wycheproof/json_web_key_test.json"),
    ];
    let (mut valid, mut invalid) = (0, 0);
    for group in files.iter().flat_map(|file| serde_json::from_str::<Vec<Group>>(file).unwrap()) {
        let keys = JsonWebKeys::parse(group.jwks.to_string().as_bytes()).unwrap();
        for test in &group.tests {
            let name = format!("{} {}: {}", group.comment, test.id, test.comment);
            let verified = Compact::parse(&test.jws).and_then(|token| token.verify(keys.candidates()));
            if test.result == "valid" && !is_out_of_reach(&group) {
                assert_eq!(verified, Ok(()), "{name}");
                valid += 1;
            } else {
                assert!(verified.is_err(), "{name}");
                assert!(verify_id_token(&test.jws, &keys).is_err(), "{name}");
                invalid += 1;
            }
        }
    }
    assert_eq!((valid, invalid), (33, 394));
}
