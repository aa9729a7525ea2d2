//! Every signature algorithm on the lists: the key as SubjectPublicKeyInfo, ECDSA signatures in ASN.1 form under the identifiers of
//! certificates and fixed-width under those of tokens.

use rustls_pki_types::{AlgorithmIdentifier, alg_id};

use super::unhex;
use crate::{JwsAlgorithm, KeyError, PublicKey};

#[derive(serde::Deserialize)]
struct Group {
    key: String,
    tests: Vec<Vector>,
}

#[derive(serde::Deserialize)]
struct Vector {
    id: u32,
    comment: String,
    msg: String,
    sig: String,
    result: Outcome,
}

#[derive(Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    Valid,
    /// A signature that some specification lets pass.
    Acceptable,
    Invalid,
}

/// How many vectors of a file are accepted, refused by their signature, and refused by their key.
#[derive(Debug, PartialEq, Eq)]
struct Figures {
    accepted: u32,
    refused: u32,
    key_refused: u32,
}

macro_rules! corpus {
    ($name:literal) => {
        serde_json::from_str::<Vec<Group>>(include_str!(concat!("../../../testdata/wycheproof/", $name, "_test.json"))).unwrap()
    };
}

/// Runs a file. `wanted` says which signatures are to be accepted.
fn figures(corpus: &[Group], wanted: impl Fn(&Vector) -> bool, verify: impl Fn(&PublicKey, &[u8], &[u8]) -> bool) -> Figures {
    let mut figures = Figures { accepted: 0, refused: 0, key_refused: 0 };
    for group in corpus {
        let key = PublicKey::from_spki_der(&unhex(&group.key));
        for test in &group.tests {
            let key = match &key {
                Ok(key) => key,
                // The one rule for keys that these files run into: exponents other than 65537.
                Err(KeyError::RsaExponent) => {
                    figures.key_refused += 1;
                    continue;
                }
                Err(other) => panic!("{}: {other}", group.key),
            };
            let accepted = verify(key, &unhex(&test.msg), &unhex(&test.sig));
            assert_eq!(accepted, wanted(test), "{} {}", test.id, test.comment);
            *(if accepted { &mut figures.accepted } else { &mut figures.refused }) += 1;
        }
    }
    figures
}

/// What is right there is right here. The signatures without the NULL of their digest, acceptable there, are not.
fn valid(test: &Vector) -> bool {
    test.result == Outcome::Valid
}

fn in_certificates(corpus: &[Group], algorithm: AlgorithmIdentifier) -> Figures {
    figures(corpus, valid, |key, message, signature| key.verify_as(&algorithm, message, signature).is_ok())
}

fn in_tokens(corpus: &[Group], algorithm: JwsAlgorithm) -> Figures {
    figures(corpus, valid, |key, message, signature| algorithm.verify(key, message, signature).is_ok())
}

fn of(accepted: u32, refused: u32, key_refused: u32) -> Figures {
    Figures { accepted, refused, key_refused }
}

#[test]
fn ecdsa_in_certificates() {
    for (corpus, algorithm, expected) in [
        (corpus!("ecdsa_secp256r1_sha256"), alg_id::ECDSA_SHA256, of(174, 310, 0)),
        (corpus!("ecdsa_secp384r1_sha256"), alg_id::ECDSA_SHA256, of(162, 310, 0)),
        (corpus!("ecdsa_secp384r1_sha384"), alg_id::ECDSA_SHA384, of(194, 310, 0)),
    ] {
        assert_eq!(in_certificates(&corpus, algorithm), expected);
    }
}

#[test]
fn ecdsa_in_tokens() {
    for (corpus, algorithm, expected) in [
        (corpus!("ecdsa_secp256r1_sha256_p1363"), JwsAlgorithm::Es256, of(173, 89, 0)),
        (corpus!("ecdsa_secp384r1_sha384_p1363"), JwsAlgorithm::Es384, of(193, 87, 0)),
    ] {
        assert_eq!(in_tokens(&corpus, algorithm), expected);
    }
}

#[test]
fn ed25519_in_certificates() {
    assert_eq!(in_certificates(&corpus!("ed25519"), alg_id::ED25519), of(88, 63, 0));
}

/// RSASSA-PKCS1-v1_5 is the same bytes in certificates and tokens.
#[test]
fn rsa_pkcs1_in_certificates_and_tokens() {
    for (corpus, in_certificate, in_token, expected) in [
        (corpus!("rsa_signature_2048_sha256"), alg_id::RSA_PKCS1_SHA256, JwsAlgorithm::Rs256, of(7, 250, 2)),
        (corpus!("rsa_signature_2048_sha384"), alg_id::RSA_PKCS1_SHA384, JwsAlgorithm::Rs384, of(7, 251, 0)),
        (corpus!("rsa_signature_2048_sha512"), alg_id::RSA_PKCS1_SHA512, JwsAlgorithm::Rs512, of(7, 251, 1)),
        (corpus!("rsa_signature_3072_sha384"), alg_id::RSA_PKCS1_SHA384, JwsAlgorithm::Rs384, of(7, 252, 0)),
        (corpus!("rsa_signature_4096_sha512"), alg_id::RSA_PKCS1_SHA512, JwsAlgorithm::Rs512, of(7, 252, 0)),
    ] {
        assert_eq!(in_certificates(&corpus, in_certificate), expected);
        assert_eq!(in_tokens(&corpus, in_token), expected);
    }
}

#[test]
fn rsa_pss_in_tokens() {
    for (corpus, algorithm, expected) in [
        (corpus!("rsa_pss_2048_sha256_mgf1_32"), JwsAlgorithm::Ps256, of(63, 45, 0)),
        (corpus!("rsa_pss_2048_sha384_mgf1_48"), JwsAlgorithm::Ps384, of(95, 46, 0)),
        (corpus!("rsa_pss_4096_sha512_mgf1_64"), JwsAlgorithm::Ps512, of(132, 47, 0)),
    ] {
        assert_eq!(in_tokens(&corpus, algorithm), expected);
    }
}

/// RFC 7518 section 3.5: the salt is as long as the hash. A file of signatures without salt has one that is, invalid there.
#[test]
fn rsa_pss_with_another_salt_length_is_refused() {
    let verify = |key: &PublicKey, message: &[u8], signature: &[u8]| JwsAlgorithm::Ps256.verify(key, message, signature).is_ok();
    let as_long_as_the_hash = |test: &Vector| test.comment == "s_len changed to 32";
    assert_eq!(figures(&corpus!("rsa_pss_2048_sha256_mgf1_0"), as_long_as_the_hash, verify), of(1, 102, 0));
}

/// Algorithms of tokens alone do not verify under the identifiers of certificates: RSA-PSS has none on the list.
#[test]
fn rsa_pss_in_certificates_is_refused() {
    let corpus = corpus!("rsa_pss_2048_sha256_mgf1_32");
    let algorithm = alg_id::RSA_PSS_SHA256;
    let refused = figures(&corpus, |_| false, |key, message, signature| key.verify_as(&algorithm, message, signature).is_ok());
    assert_eq!(refused, of(0, 108, 0));
}
