//! Certificates and keys that others made and that this process only passes on: whether they are whole and belong together.
//!
//! They need not be SVIDs: any algorithm that the TLS library can serve with will do.

use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use zeroize::Zeroize;

use crate::backend;

/// Why a PEM text cannot be served. Nothing of its content is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PemFault {
    /// No certificate, a broken one, or too many.
    #[error("no readable chain of 1 to {MAX_CERTIFICATES} certificates in PEM")]
    Chain,
    /// No key, a broken one, or one of a kind or size that TLS is not served with.
    #[error("no readable private key in PEM (PKCS#8, PKCS#1 or SEC 1; RSA of 2048 bits at least, P-256, P-384 or Ed25519)")]
    Key,
    /// The key is another certificate's.
    #[error("the key is not that of the first certificate")]
    Mismatch,
}

/// Most certificates of one file.
const MAX_CERTIFICATES: usize = 64;

/// Checks that `chain` is certificates, and `key` the private key of the first.
///
/// # Errors
/// [`PemFault`].
pub fn check_pem_pair(chain: &[u8], key: &[u8]) -> Result<(), PemFault> {
    load_pair(chain, key).map(drop)
}

/// The same, to be served with.
pub(crate) fn load_pair(chain: &[u8], key: &[u8]) -> Result<CertifiedKey, PemFault> {
    let chain = certificates(chain)?;
    let mut key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PemFault::Key)?;
    let loaded = backend::any_signing_key(&key);
    key.zeroize();
    let pair = CertifiedKey::new(chain, loaded.map_err(|_| PemFault::Key)?);
    pair.keys_match().map_err(|_| PemFault::Mismatch)?;
    Ok(pair)
}

/// Checks that `roots` is certificates, each fit to be a trust anchor.
///
/// # Errors
/// [`PemFault::Chain`].
pub fn check_pem_roots(roots: &[u8]) -> Result<(), PemFault> {
    let mut store = RootCertStore::empty();
    certificates(roots)?.into_iter().try_for_each(|root| store.add(root)).map_err(|_| PemFault::Chain)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, PemFault> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).take(MAX_CERTIFICATES + 1).collect();
    found.ok().filter(|found| (1..=MAX_CERTIFICATES).contains(&found.len())).ok_or(PemFault::Chain)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use identity::{SpiffeId, TrustDomain};
    use pki::{
        AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SerialNumber,
        Timestamp, certificates_to_pem, prepare_authority, prepare_leaf,
    };

    use super::*;

    fn root_and_leaf() -> (Certificate, Certificate, PrivateKey) {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let serial = |number| SerialNumber::new(ReplicaByte::new(1).unwrap(), [number; pki::SERIAL_RANDOM_BYTES]);
        let [root_key, key] = [0, 1].map(|_| PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
        let trust_domain = TrustDomain::parse("example.org").unwrap();
        let lifetime = Duration::from_secs(86_400 * 30);
        let (role, public_key) = (AuthorityRole::Root, root_key.public_key());
        let spec = AuthoritySpec { role, trust_domain: &trust_domain, public_key, lifetime, serial: serial(1), now };
        let root = prepare_authority(&spec, None).unwrap().sign(&root_key).unwrap();
        let issuer_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let spec = AuthoritySpec { role: AuthorityRole::Issuer, public_key: issuer_key.public_key(), serial: serial(2), ..spec };
        let issuer = prepare_authority(&spec, Some(&root)).unwrap().sign(&root_key).unwrap();
        let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
        let request = LeafRequest {
            id: &id,
            dns_names: &[],
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: None,
            serial: serial(3),
            now,
        };
        let profile = LeafProfile::new(Duration::from_secs(3600), Duration::from_secs(86_400)).unwrap();
        let leaf = prepare_leaf(&profile, &request, &issuer).unwrap().sign(&issuer_key).unwrap();
        (root, leaf, key)
    }

    #[test]
    fn a_pair_is_a_chain_and_its_own_key() {
        let (root, leaf, key) = root_and_leaf();
        let chain = certificates_to_pem([&leaf, &root]);
        let key = key.to_pkcs8_pem();
        assert_eq!(check_pem_pair(chain.as_bytes(), key.as_bytes()), Ok(()));
        let other = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap().to_pkcs8_pem();
        assert_eq!(check_pem_pair(chain.as_bytes(), other.as_bytes()), Err(PemFault::Mismatch));
        assert_eq!(check_pem_pair(certificates_to_pem([&root]).as_bytes(), key.as_bytes()), Err(PemFault::Mismatch));
        assert_eq!(check_pem_pair(b"", key.as_bytes()), Err(PemFault::Chain));
        assert_eq!(check_pem_pair(chain.as_bytes(), chain.as_bytes()), Err(PemFault::Key));
        let torn = chain.get(..chain.len() - 60).unwrap();
        assert_eq!(check_pem_pair(torn.as_bytes(), key.as_bytes()), Err(PemFault::Chain));
    }

    #[test]
    fn roots_are_certificates_and_not_too_many() {
        let (root, _, key) = root_and_leaf();
        assert_eq!(check_pem_roots(certificates_to_pem([&root]).as_bytes()), Ok(()));
        assert_eq!(check_pem_roots(certificates_to_pem(vec![&root; MAX_CERTIFICATES]).as_bytes()), Ok(()));
        let many = certificates_to_pem(vec![&root; MAX_CERTIFICATES + 1]);
        assert_eq!(check_pem_roots(many.as_bytes()), Err(PemFault::Chain));
        assert_eq!(check_pem_roots(key.to_pkcs8_pem().as_bytes()), Err(PemFault::Chain));
    }
}
