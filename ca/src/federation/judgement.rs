//! Whether what a bundle endpoint answered takes the place of what is held. Pure.

use std::cmp::Ordering;

use identity::TrustDomain;
use pki::{BundleDocument, BundleDocumentError, TrustBundle};

/// What became of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It says what is held.
    Same(BundleDocument),
    /// It takes the place of what is held.
    Newer(BundleDocument),
}

/// Why a document is refused: what is held stays.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleRefusal {
    /// It is no bundle of that trust domain.
    #[error("it is no bundle of {trust_domain}: {cause}")]
    Document {
        /// Whose it should be.
        trust_domain: TrustDomain,
        /// What is wrong.
        cause: BundleDocumentError,
    },
    /// It goes back.
    #[error(
        "its sequence {found} is behind that of the bundle held, {held}: an old copy would bring back authorities that were taken out"
    )]
    Older {
        /// Its sequence; 0 when it names none.
        found: u64,
        /// That of what is held.
        held: u64,
    },
    /// Two contents of one sequence.
    #[error("it has the sequence {sequence} of the bundle held and other content: one of the two is not its publisher's")]
    Contradicting {
        /// Of both.
        sequence: u64,
    },
    /// It holds an authority of this CA's own trust domain.
    #[error("it holds an authority of this CA's own trust domain (key SHA-256 {key}), which speaks for nobody else")]
    OwnAuthority {
        /// SHA-256 of the SubjectPublicKeyInfo, in hex.
        key: String,
    },
}

/// Judges a document of `trust_domain` against what is held of it, and against the CA's own bundle.
///
/// A sequence never goes back, and one sequence never means two contents; publishers that name none (their sequence is 0) may change
/// content freely, as nothing tells which is newer. A document without keys says that nothing of the trust domain is valid any more, and is
/// taken like any other.
///
/// # Errors
/// [`BundleRefusal`].
pub fn judge(
    trust_domain: &TrustDomain,
    held: Option<&TrustBundle>,
    own: &TrustBundle,
    json: &[u8],
) -> Result<Judged, BundleRefusal> {
    let document = BundleDocument::parse(trust_domain.clone(), json)
        .map_err(|cause| BundleRefusal::Document { trust_domain: trust_domain.clone(), cause })?;
    let keys = |bundle: &TrustBundle| {
        let x509 = bundle.authorities().iter().map(|authority| authority.public_key().fingerprint());
        let jwt = bundle.jwt_authorities().iter().map(|authority| authority.public_key().fingerprint());
        x509.chain(jwt).collect::<Vec<_>>()
    };
    let ours = keys(own);
    if let Some(key) = keys(&document.bundle).into_iter().find(|key| ours.contains(key)) {
        return Err(BundleRefusal::OwnAuthority { key: data_encoding::HEXLOWER.encode(&key) });
    }
    let Some(held) = held else { return Ok(Judged::Newer(document)) };
    let (found, before) = (document.bundle.sequence(), held.sequence());
    let same = document.bundle.same_content(held);
    match found.cmp(&before) {
        Ordering::Less => Err(BundleRefusal::Older { found, held: before }),
        Ordering::Equal if same => Ok(Judged::Same(document)),
        Ordering::Equal if found == 0 => Ok(Judged::Newer(document)),
        Ordering::Equal => Err(BundleRefusal::Contradicting { sequence: found }),
        Ordering::Greater => Ok(Judged::Newer(document)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use pki::{
        AuthorityRole, AuthoritySpec, Certificate, JwksContent, KeyAlgorithm, PrivateKey, ReplicaByte, SerialNumber, Timestamp,
        prepare_authority,
    };

    use super::*;

    fn root(domain: &str) -> Certificate {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let trust_domain = TrustDomain::parse(domain).unwrap();
        let spec = AuthoritySpec {
            role: AuthorityRole::Root,
            trust_domain: &trust_domain,
            public_key: key.public_key(),
            lifetime: Duration::from_secs(86_400),
            serial: SerialNumber::new(ReplicaByte::new(1).unwrap(), [7; pki::SERIAL_RANDOM_BYTES]),
            now: Timestamp::from_unix_seconds(1_800_000_000),
        };
        prepare_authority(&spec, None).unwrap().sign(&key).unwrap()
    }

    fn bundle(domain: &str, roots: &[&Certificate], sequence: u64) -> TrustBundle {
        let roots = roots.iter().copied().cloned().collect();
        TrustBundle::new(TrustDomain::parse(domain).unwrap(), roots, sequence).unwrap()
    }

    fn judged(held: Option<&TrustBundle>, own: &TrustBundle, found: &TrustBundle) -> Result<bool, BundleRefusal> {
        let other = TrustDomain::parse("other.org").unwrap();
        let judged = judge(&other, held, own, found.to_jwks(JwksContent::All).as_bytes());
        judged.map(|judged| matches!(judged, Judged::Newer(_)))
    }

    #[test]
    fn a_sequence_never_goes_back_and_never_means_two_contents() {
        let (own, one, two) = (bundle("example.org", &[&root("example.org")], 9), root("other.org"), root("other.org"));
        let at = |roots: &[&Certificate], sequence| bundle("other.org", roots, sequence);
        let held = at(&[&one], 5);
        assert_eq!(judged(None, &own, &held), Ok(true));
        assert_eq!(judged(Some(&held), &own, &held), Ok(false));
        assert_eq!(judged(Some(&held), &own, &at(&[&one, &two], 6)), Ok(true));
        assert_eq!(judged(Some(&held), &own, &at(&[&one], 6)), Ok(true), "the sequence is held too");
        assert_eq!(judged(Some(&held), &own, &at(&[&two], 4)), Err(BundleRefusal::Older { found: 4, held: 5 }));
        assert_eq!(judged(Some(&held), &own, &at(&[&one], 0)), Err(BundleRefusal::Older { found: 0, held: 5 }));
        assert_eq!(judged(Some(&held), &own, &at(&[&two], 5)), Err(BundleRefusal::Contradicting { sequence: 5 }));
        assert_eq!(judged(Some(&at(&[&one], 0)), &own, &at(&[&two], 0)), Ok(true), "who names no sequence may change content");
    }

    #[test]
    fn a_bundle_of_another_trust_domain_or_our_own_is_refused() {
        let (ours, theirs) = (root("example.org"), root("other.org"));
        let own = bundle("example.org", &[&ours], 9);
        assert_eq!(judged(None, &own, &bundle("other.org", &[&theirs], 1)), Ok(true));
        let refused = judged(None, &own, &bundle("third.org", &[&root("third.org")], 1));
        assert!(matches!(refused, Err(BundleRefusal::Document { .. })), "{refused:?}");
        let refused = judged(None, &own, &own);
        assert!(matches!(refused, Err(BundleRefusal::Document { .. })), "its root names our trust domain: {refused:?}");
        // A root that names no trust domain at all tells nobody whose it is: the key does.
        let nameless = bundle("other.org", &[&theirs], 9);
        let refused = judged(None, &nameless, &nameless);
        assert!(matches!(refused, Err(BundleRefusal::OwnAuthority { .. })), "{refused:?}");
    }

    /// What anybody may answer with, collected in `testdata/foreign-bundles`: each is refused, in words that say what is wrong, where the genuine
    /// document is held and a newer one would be taken.
    #[test]
    fn documents_that_do_not_hold_are_refused_in_words() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/foreign-bundles");
        let read = |name: &str| std::fs::read(folder.join(format!("{name}.json"))).unwrap();
        let theirs = TrustDomain::parse("example.org").unwrap();
        let own = bundle("ours.org", &[&root("ours.org")], 9);
        let Ok(Judged::Newer(held)) = judge(&theirs, None, &own, &read("genuine")) else { panic!("it is genuine") };
        let held = Some(&held.bundle);
        assert!(matches!(judge(&theirs, held, &own, &read("genuine")), Ok(Judged::Same(_))));
        assert!(matches!(judge(&theirs, held, &own, &read("genuine-newer")), Ok(Judged::Newer(_))));
        let listed = std::fs::read_to_string(folder.join("refused.txt")).unwrap();
        let cases: Vec<_> =
            listed.lines().filter(|line| !line.starts_with('#')).map(|line| line.split_once(": ").unwrap()).collect();
        assert_eq!(
            cases.len() + 3,
            std::fs::read_dir(&folder).unwrap().count(),
            "each document is listed, but for the genuine ones"
        );
        for (name, words) in cases {
            let refused = judge(&theirs, held, &own, &read(name)).expect_err(name).to_string();
            assert!(refused.contains(words), "{name}: {words:?} is not in: {refused}");
        }
    }

    #[test]
    fn no_keys_at_all_are_taken_as_the_end_of_everything() {
        let own = bundle("example.org", &[&root("example.org")], 9);
        let held = bundle("other.org", &[&root("other.org")], 5);
        let other = TrustDomain::parse("other.org").unwrap();
        let empty = br#"{"keys":[],"spiffe_sequence":6}"#;
        let Ok(Judged::Newer(document)) = judge(&other, Some(&held), &own, empty) else { panic!("it is newer") };
        assert!(document.bundle.authorities().is_empty() && document.bundle.jwt_authorities().is_empty());
        for bad in [&b"{}"[..], b"", b"{\"keys\":1}", br#"{"keys":[],"keys":[]}"#] {
            assert!(matches!(judge(&other, Some(&held), &own, bad), Err(BundleRefusal::Document { .. })));
        }
    }
}
