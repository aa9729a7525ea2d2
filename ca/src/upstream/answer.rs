//! Verifying what upstream gave, whole, before any of it is written.

use std::path::PathBuf;

use identity::TrustDomain;
use pki::{CaConstraints, Certificate, CertificateError, LeafProfile, Sha256Digest, Timestamp, certificates_to_pem};

use super::UpstreamAnswer;
use crate::authority::{AuthorityError, AuthorityFile, AuthorityFiles, KeyContent, NotReady, SigningAuthority};
use crate::signing_keys::NewKey;

/// Most certificates between a leaf and its root, and most roots: more than any verifier takes.
const MOST_OF_CHAIN: usize = 4;
const MOST_ROOTS: usize = 16;
/// The largest certificate, in bytes.
const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;
/// In place of files in the texts of refusals.
const CHAIN: &str = "the answer of upstream";
const ROOTS: &str = "the roots of upstream";

/// Why an answer is not used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AnswerRefusal {
    /// Too many certificates, or too large ones.
    #[error("{what} has {found}, at most {most} are taken")]
    TooMuch { what: &'static str, found: usize, most: usize },
    /// One does not parse.
    #[error("{what}: {cause}")]
    Certificate { what: &'static str, cause: CertificateError },
    /// It does not verify: another key, no path to a root, another trust domain, dates, or no leaf can be made under it.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// It may sign CAs, which nobody asked for.
    #[error("the issuing CA allows {} CAs beneath it, and 0 were asked for", .found.map_or("any number of".to_owned(), |found| found.to_string()))]
    PathLength { found: Option<u32> },
    /// It stands under another root than the one that it was made for.
    #[error(
        "it stands under the root {found}, and this CA signs under {wanted}. A new root comes to this CA by the roots of upstream: its \
         successor is prepared by itself as soon as upstream has both"
    )]
    OtherRoot { found: String, wanted: String },
    /// It would not last.
    #[error("it does not live long enough: {0}. Allow a longer life at upstream, or shorten [leaf] default_ttl")]
    TooShort(NotReady),
}

/// An answer that verified.
#[derive(Debug)]
pub(crate) struct VerifiedAnswer {
    /// The issuing CA.
    pub(crate) issuer: Certificate,
    /// What stands between it and the root.
    pub(crate) intermediates: Vec<Certificate>,
    /// The root that its path leads to.
    pub(crate) root: Certificate,
}

/// The roots that upstream names, parsed.
///
/// # Errors
/// [`AnswerRefusal::TooMuch`], [`AnswerRefusal::Certificate`].
pub(crate) fn parse_roots(ders: &[Vec<u8>]) -> Result<Vec<Certificate>, AnswerRefusal> {
    parse(ders, ROOTS, MOST_ROOTS)
}

fn parse(ders: &[Vec<u8>], what: &'static str, most: usize) -> Result<Vec<Certificate>, AnswerRefusal> {
    if ders.len() > most {
        return Err(AnswerRefusal::TooMuch { what, found: ders.len(), most });
    }
    let each = ders.iter().map(|der| {
        if der.len() > MAX_CERTIFICATE_BYTES {
            return Err(AnswerRefusal::TooMuch { what, found: der.len(), most: MAX_CERTIFICATE_BYTES });
        }
        Certificate::from_der(der).map_err(|cause| AnswerRefusal::Certificate { what, cause })
    });
    each.collect()
}

/// Verifies an answer for this key as a start will verify what is written of it, at `now`. `wanted`: the root that it must stand under;
/// `None` at the first start, where the root is believed that came by the connection, which was verified under what an operator configured.
///
/// # Errors
/// [`AnswerRefusal`].
pub(crate) async fn verify(
    answer: &UpstreamAnswer,
    key: &NewKey,
    trust_domain: &TrustDomain,
    profile: &LeafProfile,
    wanted: Option<&Certificate>,
    now: Timestamp,
) -> Result<VerifiedAnswer, AnswerRefusal> {
    let chain = parse(&answer.chain, CHAIN, MOST_OF_CHAIN)?;
    let roots = parse_roots(&answer.roots)?;
    let file = |name: &str, content: Vec<u8>| AuthorityFile { path: PathBuf::from(name), content: Some(content) };
    let files = AuthorityFiles {
        certificate: file(CHAIN, certificates_to_pem(&chain).into_bytes()),
        key: AuthorityFile { path: PathBuf::from("the key made for it"), content: Some(KeyContent::Held(key.signer())) },
        chain: None,
        roots: file(ROOTS, certificates_to_pem(&roots).into_bytes()),
        protection: pki::KeyProtection::default(),
    };
    let authority = SigningAuthority::verify(files, trust_domain, now).await?;
    let (issuer, root) = (authority.certificate().clone(), authority.root().clone());
    match CaConstraints::of(&issuer).path_len {
        Some(0) => {}
        found => return Err(AnswerRefusal::PathLength { found }),
    }
    if let Some(wanted) = wanted.filter(|wanted| **wanted != root) {
        return Err(AnswerRefusal::OtherRoot { found: super::step::named(&root), wanted: super::step::named(wanted) });
    }
    authority.check_ready(profile, now).map_err(AnswerRefusal::TooShort)?;
    let intermediates = authority.path().iter().skip(1).cloned().collect();
    Ok(VerifiedAnswer { issuer, intermediates, root })
}

/// The roots that are good now and that nobody here knows yet, the newest first.
pub(crate) fn unknown_roots(roots: &[Certificate], known: &[Sha256Digest], now: Timestamp) -> Vec<Certificate> {
    let good = |root: &&Certificate| root.is_valid_at(now) && !known.contains(&root.fingerprint());
    let mut found: Vec<_> = roots.iter().filter(good).cloned().collect();
    found.sort_by_key(|root| std::cmp::Reverse(root.not_before()));
    found
}

#[cfg(test)]
mod tests;
