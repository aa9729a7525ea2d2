use std::time::Duration;

use identity::{SpiffeId, TrustDomain};

use super::*;
use crate::{
    AuthorityRole, AuthoritySpec, KeyAlgorithm, LeafProfile, LeafRequest, ReplicaByte, SERIAL_RANDOM_BYTES, SerialNumber,
    Timestamp, lint_authority, lint_leaf, prepare_authority, prepare_leaf,
};

const RSA: &[u8] = include_bytes!("../../testdata/rsa2048-pkcs1.pem");
const ED25519: &[u8] = include_bytes!("../../testdata/ed25519-pkcs8.pem");

fn keys() -> [PrivateKey; 4] {
    [
        PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(),
        PrivateKey::generate(KeyAlgorithm::EcdsaP384).unwrap(),
        PrivateKey::from_pem(RSA).unwrap(),
        PrivateKey::from_pem(ED25519).unwrap(),
    ]
}

fn serial(byte: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(0x7f).unwrap(), [byte; SERIAL_RANDOM_BYTES])
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_795_172_400)
}

fn root(key: &PrivateKey) -> Unsigned {
    let trust_domain = TrustDomain::parse("example.org").unwrap();
    let spec = AuthoritySpec {
        role: AuthorityRole::Root,
        trust_domain: &trust_domain,
        public_key: key.public_key(),
        lifetime: Duration::from_secs(86_400),
        serial: serial(1),
        now: now(),
    };
    let unsigned = prepare_authority(&spec, None).unwrap();
    assert_eq!(lint_authority(unsigned.dummy_signed(), &trust_domain, None), []);
    unsigned
}

fn leaf(issuer: &Certificate, key: &PrivateKey) -> Unsigned {
    let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let minute = Duration::from_secs(60);
    let request = LeafRequest {
        id: &id,
        dns_names: &[],
        ip_addresses: &[],
        public_key: key.public_key(),
        ttl: None,
        serial: serial(2),
        now: now(),
    };
    let unsigned = prepare_leaf(&LeafProfile::new(minute, minute).unwrap(), &request, issuer).unwrap();
    assert_eq!(lint_leaf(unsigned.dummy_signed(), &id, issuer), []);
    unsigned
}

#[test]
fn every_kind_of_ca_key_signs_leaves_of_every_kind() {
    for ca_key in keys() {
        let ca = root(&ca_key);
        assert!(ca.dummy_signed().verify_signed_by(ca_key.public_key()).is_err(), "the dummy signature verifies");
        let ca = ca.sign(&ca_key).unwrap();
        assert_eq!(ca.verify_signed_by(ca_key.public_key()), Ok(()));
        for leaf_key in keys() {
            if leaf_key.public_key() == ca_key.public_key() {
                continue;
            }
            let unsigned = leaf(&ca, &leaf_key);
            let signed = unsigned.sign(&ca_key).unwrap();
            assert_eq!(signed.tbs_der(), unsigned.tbs_der());
            assert_eq!(signed.verify_signed_by(ca_key.public_key()), Ok(()));
            assert_eq!(signed.issuer_der(), ca.subject_der());
            assert_eq!(signed.authority_key_id(), ca.subject_key_id());
            assert_eq!(signed.public_key(), leaf_key.public_key());
        }
    }
}

#[test]
fn a_key_that_is_not_the_issuers_does_not_sign() {
    let [ca_key, ..] = keys();
    let [other, leaf_key, ..] = keys();
    let ca = root(&ca_key).sign(&ca_key).unwrap();
    let unsigned = leaf(&ca, &leaf_key);
    assert!(matches!(unsigned.sign(&other), Err(SigningError::WrongKey)));
    assert!(unsigned.sign(&ca_key).is_ok());
}

#[test]
fn bytes_that_changed_after_they_were_prepared_are_not_given_out() {
    let [ca_key, leaf_key, ..] = keys();
    let ca = root(&ca_key).sign(&ca_key).unwrap();
    let unsigned = leaf(&ca, &leaf_key);
    let signature = ca_key.sign(unsigned.tbs_der()).unwrap();
    assert!(unsigned.assemble(&signature).is_ok());

    // An issuer key of another kind: the algorithm outside is no longer the one inside.
    let mut other_algorithm = unsigned.clone();
    other_algorithm.issuer_key = leaf_key.public_key().clone();
    assert!(matches!(other_algorithm.assemble(&signature), Err(SigningError::Altered)));

    // Each single byte of what is to be signed, also where the result would still be a certificate.
    for position in 0..unsigned.tbs_der.len() {
        let mut other_bytes = unsigned.clone();
        other_bytes.tbs_der[position] ^= 1;
        assert!(matches!(other_bytes.assemble(&signature), Err(SigningError::Altered)), "{position}");
    }

    // Bytes that do not end where their outermost length says.
    let mut longer = unsigned;
    longer.tbs_der.push(0);
    assert!(matches!(longer.assemble(&signature), Err(SigningError::Altered)));
}
