//! Verifying a set of authority files whole: every piece there, each chained to the next, the key the certificate's own.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use identity::{SystemIdentity, TrustDomain};
use pki::{
    CaConstraints, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SERIAL_RANDOM_BYTES,
    SerialNumber, Signer, Timestamp, TrustBundle, certificates_from_pem,
};

use super::{AuthorityError, AuthorityFile, AuthorityFiles, KeyContent, SigningAuthority};

/// Most CA certificates between a leaf and its root. Verifiers bound the depth of a path, so a longer one would only fail later.
const MOST_ON_PATH: usize = 4;

/// What the key signs to show that it fits. No to-be-signed certificate begins like this: those begin with a SEQUENCE.
const KEY_TRIAL: &[u8] = b"signet authority key trial: not a certificate";

/// A certificate with the file that it came from.
#[derive(Clone)]
struct Sourced {
    certificate: Certificate,
    file: PathBuf,
}

pub(super) async fn verify(
    files: AuthorityFiles,
    trust_domain: &TrustDomain,
    now: Timestamp,
) -> Result<SigningAuthority, AuthorityError> {
    let AuthorityFiles { certificate, key, chain, roots, protection } = files;
    // Presence first, so that a half-copied set is told as that, whatever else is wrong with it.
    let certificate = require(certificate)?;
    let (key_file, key) = require(key)?;
    let chain = chain.map(require).transpose()?;
    let roots = require(roots)?;

    let certificates = read_some(certificate)?;
    let [ca, rest @ ..] = certificates.as_slice() else {
        return Err(AuthorityError::Missing { file: key_file });
    };
    let chain = chain.map_or(Ok(Vec::new()), read_certificates)?;
    let roots_file = roots.0.clone();
    let roots = read_some(roots)?;
    let key: Arc<dyn Signer> = match key {
        KeyContent::Held(key) => key,
        KeyContent::Pem(pem) => {
            let key = PrivateKey::from_protected_pem(&pem.0, &protection);
            Arc::new(key.map_err(|cause| AuthorityError::Key { file: key_file.clone(), cause })?)
        }
    };

    check_ca(ca, now)?;
    check_trust_domain(ca, trust_domain)?;
    check_key(&*key, &key_file, ca).await?;
    // Dates count for the root of the path alone: another one that has ended vouches for nothing wherever it is read, and a CA
    // that rotates its roots must come up again on the day after.
    for root in &roots {
        check_may_issue(root)?;
        check_self_signed(root)?;
    }
    let authorities = roots.iter().map(|root| root.certificate.clone()).collect();
    TrustBundle::new(trust_domain.clone(), authorities, 1)
        .map_err(|cause| AuthorityError::Roots { file: roots_file.clone(), cause })?;
    let intermediates: Vec<&Sourced> = rest.iter().chain(&chain).collect();
    let (path, root) = find_path(ca, &intermediates, &roots, &roots_file, now)?;
    check_trial_leaf(ca, trust_domain, now)?;
    Ok(SigningAuthority {
        trust_domain: trust_domain.clone(),
        certificate: ca.certificate.clone(),
        key,
        path,
        root,
        roots: roots.into_iter().map(|root| root.certificate).collect(),
    })
}

fn require<T>(file: AuthorityFile<T>) -> Result<(PathBuf, T), AuthorityError> {
    let AuthorityFile { path, content } = file;
    match content {
        Some(content) => Ok((path, content)),
        None => Err(AuthorityError::Missing { file: path }),
    }
}

/// The certificates of a file that may be empty.
fn read_certificates((file, pem): (PathBuf, Vec<u8>)) -> Result<Vec<Sourced>, AuthorityError> {
    let certificates = certificates_from_pem(&pem).map_err(|cause| AuthorityError::Certificate { file: file.clone(), cause })?;
    Ok(certificates.into_iter().map(|certificate| Sourced { certificate, file: file.clone() }).collect())
}

/// The certificates of a file that must have one.
fn read_some((file, pem): (PathBuf, Vec<u8>)) -> Result<Vec<Sourced>, AuthorityError> {
    let certificates = read_certificates((file.clone(), pem))?;
    if certificates.is_empty() { Err(AuthorityError::NoCertificate { file }) } else { Ok(certificates) }
}

/// The key is the certificate's, and what it signs verifies. The trial is no certificate, so the ledger need not know of it.
async fn check_key(key: &dyn Signer, key_file: &Path, ca: &Sourced) -> Result<(), AuthorityError> {
    if key.public_key() != ca.certificate.public_key() {
        return Err(AuthorityError::KeyMismatch { key_file: key_file.to_owned(), certificate_file: ca.file.clone() });
    }
    let signature = key.signing(KEY_TRIAL).made().await;
    let signature = signature.map_err(|cause| AuthorityError::Key { file: key_file.to_owned(), cause })?;
    ca.certificate.public_key().verify(KEY_TRIAL, &signature).map_err(|_| AuthorityError::KeyBroken { file: key_file.to_owned() })
}

/// What holds for every certificate on the path: a CA's, may sign certificates, valid now.
fn check_ca(ca: &Sourced, now: Timestamp) -> Result<(), AuthorityError> {
    check_may_issue(ca)?;
    let (file, subject) = (ca.file.clone(), ca.certificate.subject());
    if now < ca.certificate.not_before() {
        return Err(AuthorityError::NotYetValid { file, subject, not_before: ca.certificate.not_before(), now });
    }
    if ca.certificate.not_after() < now {
        return Err(AuthorityError::Expired { file, subject, not_after: ca.certificate.not_after(), now });
    }
    Ok(())
}

/// A CA's, and may sign certificates.
fn check_may_issue(ca: &Sourced) -> Result<(), AuthorityError> {
    let (file, subject) = (ca.file.clone(), ca.certificate.subject());
    if !ca.certificate.is_ca() {
        return Err(AuthorityError::NotCa { file, subject });
    }
    if !CaConstraints::of(&ca.certificate).key_cert_sign {
        return Err(AuthorityError::NoCertSign { file, subject });
    }
    Ok(())
}

/// A CA certificate that names a SPIFFE ID names its trust domain's (X509-SVID section 4); one without is accepted.
fn check_trust_domain(ca: &Sourced, trust_domain: &TrustDomain) -> Result<(), AuthorityError> {
    let expected = trust_domain.id();
    if ca.certificate.uri_sans().iter().all(|uri| uri == expected.as_str()) {
        return Ok(());
    }
    Err(AuthorityError::OtherTrustDomain {
        file: ca.file.clone(),
        subject: ca.certificate.subject(),
        found: ca.certificate.uri_sans().join(", "),
        trust_domain: trust_domain.clone(),
    })
}

fn check_self_signed(root: &Sourced) -> Result<(), AuthorityError> {
    if is_signed_by(&root.certificate, &root.certificate) {
        return Ok(());
    }
    Err(AuthorityError::RootNotSelfSigned { file: root.file.clone(), subject: root.certificate.subject() })
}

fn is_signed_by(certificate: &Certificate, issuer: &Certificate) -> bool {
    certificate.issuer_der() == issuer.subject_der() && certificate.verify_signed_by(issuer.public_key()).is_ok()
}

/// The path from the CA certificate upwards without the root, and the root. Each step is checked as it is taken.
fn find_path(
    ca: &Sourced,
    intermediates: &[&Sourced],
    roots: &[Sourced],
    roots_file: &Path,
    now: Timestamp,
) -> Result<(Vec<Certificate>, Certificate), AuthorityError> {
    let mut path = Vec::new();
    let mut current = ca;
    while path.len() <= MOST_ON_PATH {
        if let Some(root) = roots.iter().find(|root| root.certificate == current.certificate) {
            return Ok((path, root.certificate.clone()));
        }
        let signers = || {
            let all = roots.iter().chain(intermediates.iter().copied());
            all.filter(|parent| parent.certificate != current.certificate)
                .filter(|parent| is_signed_by(&current.certificate, &parent.certificate))
        };
        // A root renewed with its old key stands beside what it renews; without a valid one, the other is named in the refusal.
        let parent = signers().find(|parent| parent.certificate.is_valid_at(now)).or_else(|| signers().next());
        let Some(parent) = parent else {
            return Err(AuthorityError::Unchained { file: roots_file.to_owned(), subject: current.certificate.subject() });
        };
        path.push(current.certificate.clone());
        check_ca(parent, now)?;
        check_step(current, parent, path.len())?;
        current = parent;
    }
    Err(AuthorityError::PathTooLong { file: ca.file.clone(), subject: ca.certificate.subject(), most: MOST_ON_PATH })
}

/// `parent` allows the `below` CA certificates that stand under it, and does not end before `child`.
fn check_step(child: &Sourced, parent: &Sourced, below: usize) -> Result<(), AuthorityError> {
    if let Some(allowed) = CaConstraints::of(&parent.certificate).path_len
        && usize::try_from(allowed).is_ok_and(|allowed| allowed < below)
    {
        return Err(AuthorityError::PathLength {
            file: parent.file.clone(),
            subject: parent.certificate.subject(),
            allowed,
            found: below,
        });
    }
    let (not_after, issuer_not_after) = (child.certificate.not_after(), parent.certificate.not_after());
    if issuer_not_after < not_after {
        return Err(AuthorityError::OutlivesIssuer {
            file: child.file.clone(),
            subject: child.certificate.subject(),
            not_after,
            issuer_not_after,
        });
    }
    Ok(())
}

/// Prepares a leaf as issuing would, compares what ties it to the CA byte for byte, and lints it. It is thrown away unsigned: the
/// CA key signs no certificate that the ledger does not know.
fn check_trial_leaf(ca: &Sourced, trust_domain: &TrustDomain, now: Timestamp) -> Result<(), AuthorityError> {
    let (file, subject) = (ca.file.clone(), ca.certificate.subject());
    let fails = |cause: String| AuthorityError::Trial { file: file.clone(), subject: subject.clone(), cause };
    let Some(key_identifier) = ca.certificate.subject_key_id() else {
        return Err(AuthorityError::NoKeyIdentifier { file, subject });
    };
    // The shortest profile there is: how soon the CA ends is for issuing to tell, with the real profile.
    let ttl = Duration::from_secs(2);
    let profile = LeafProfile::new(ttl, ttl).map_err(|error| fails(error.to_string()))?;
    let leaf_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).map_err(|error| fails(error.to_string()))?;
    let replica = ReplicaByte::new(1).expect("1 is a replica byte");
    let id = SystemIdentity::Ca(identity::ReplicaName::parse("trial").expect("one segment")).id(trust_domain);
    let request = LeafRequest {
        id: &id,
        dns_names: &[],
        ip_addresses: &[],
        public_key: leaf_key.public_key(),
        ttl: None,
        serial: SerialNumber::new(replica, [1; SERIAL_RANDOM_BYTES]),
        now,
    };
    let leaf = pki::prepare_leaf(&profile, &request, &ca.certificate).map_err(|error| fails(error.to_string()))?;
    let leaf = leaf.dummy_signed();
    if leaf.authority_key_id() != Some(key_identifier) {
        return Err(AuthorityError::TrialKeyIdentifier { file, subject });
    }
    let findings = pki::lint_leaf(leaf, &id, &ca.certificate);
    if findings.is_empty() {
        return Ok(());
    }
    Err(fails(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))
}
