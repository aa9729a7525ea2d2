//! Admission of trust anchors: once when a bundle is loaded, and never again at a handshake.
//!
//! A certificate that must not be an anchor refuses the whole bundle: somebody meant it to be one, and nobody would notice that it
//! is not. Dates are another matter. A bundle that rotates holds roots that have ended or have not begun, and one of them must
//! not take down the others: it is kept, vouches for nothing while it is outside its dates, and is told as [`AnchorLapse`] to
//! whoever loads the bundle. A bundle in which none is valid validates nothing; it can still be loaded, since what replaces
//! it has to reach a program that runs.

use std::sync::Arc;

use data_encoding::HEXLOWER;
use identity::TrustDomain;
use rustls_pki_types::{Der, TrustAnchor};
use webpki::anchor_from_trusted_cert;

use super::anchor::{check_anchor, check_authority};
use super::{AnchorError, BundleError, MAX_AUTHORITIES};
use crate::{Certificate, Timestamp};

/// Certificates that were admitted as trust anchors, in the order given. Only admission makes one, and paths are built to nothing
/// else. `Clone` is cheap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrustAnchors {
    certificates: Arc<[Certificate]>,
    /// What path building takes of each, in the same order.
    parts: Arc<[TrustAnchor<'static>]>,
}

impl TrustAnchors {
    /// Admits at most [`MAX_AUTHORITIES`] certificates, none twice, as authorities of a trust domain, or as roots of somebody else.
    pub(crate) fn admit(certificates: Vec<Certificate>, trust_domain: Option<&TrustDomain>) -> Result<Self, BundleError> {
        if certificates.len() > MAX_AUTHORITIES {
            return Err(BundleError::Count { found: certificates.len() });
        }
        let mut parts = Vec::with_capacity(certificates.len());
        for (index, certificate) in certificates.iter().enumerate() {
            let refused = |source| BundleError::Anchor {
                subject: certificate.subject(),
                sha256: HEXLOWER.encode(&certificate.fingerprint()),
                source,
            };
            match trust_domain {
                Some(trust_domain) => check_anchor(certificate, trust_domain),
                None => check_authority(certificate),
            }
            .map_err(refused)?;
            if certificates.iter().take(index).any(|earlier| earlier == certificate) {
                let sha256 = HEXLOWER.encode(&certificate.fingerprint());
                return Err(BundleError::Duplicate { subject: certificate.subject(), sha256 });
            }
            let part = anchor_from_trusted_cert(certificate.der())
                .map_err(|error| refused(AnchorError::Unusable { reason: error.to_string() }))?;
            parts.push(part.to_owned());
        }
        Ok(Self { certificates: certificates.into(), parts: parts.into() })
    }

    /// All of them, whatever their dates.
    pub(crate) fn certificates(&self) -> &[Certificate] {
        &self.certificates
    }

    /// Those within their dates, each with what path building takes of it.
    pub(crate) fn valid_at(&self, now: Timestamp) -> impl Iterator<Item = (&Certificate, TrustAnchor<'_>)> {
        let borrowed = |part| Der::from_slice(<Der<'_> as AsRef<[u8]>>::as_ref(part));
        self.certificates.iter().zip(self.parts.iter()).filter(move |(certificate, _)| certificate.is_valid_at(now)).map(
            move |(certificate, part)| {
                let part = TrustAnchor {
                    subject: borrowed(&part.subject),
                    subject_public_key_info: borrowed(&part.subject_public_key_info),
                    name_constraints: part.name_constraints.as_ref().map(borrowed),
                };
                (certificate, part)
            },
        )
    }

    /// Those outside their dates.
    pub(crate) fn lapsed_at(&self, now: Timestamp) -> Vec<AnchorLapse> {
        self.certificates
            .iter()
            .filter_map(|certificate| {
                let (subject, sha256) = (certificate.subject(), HEXLOWER.encode(&certificate.fingerprint()));
                let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
                if now > not_after {
                    Some(AnchorLapse::Ended { subject, sha256, not_after, now })
                } else if now < not_before {
                    Some(AnchorLapse::NotBegun { subject, sha256, not_before, now })
                } else {
                    None
                }
            })
            .collect()
    }
}

/// A trust anchor outside its dates: it stays in its bundle and vouches for nothing. A warning, not a refusal.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnchorLapse {
    /// It has ended.
    #[error(
        "the trust anchor \"{subject}\" (SHA-256 {sha256}) ended at {not_after}; it is {now} now: nothing below it is accepted; \
         take it out of the bundle once its successor is in it"
    )]
    Ended {
        /// Its subject.
        subject: String,
        /// SHA-256 of its DER, in hex.
        sha256: String,
        /// Its last second.
        not_after: Timestamp,
        /// The time of the look.
        now: Timestamp,
    },
    /// It has not begun.
    #[error(
        "the trust anchor \"{subject}\" (SHA-256 {sha256}) begins at {not_before}; it is {now} now: nothing below it is accepted \
         before; check this machine's clock if it should be in use"
    )]
    NotBegun {
        /// Its subject.
        subject: String,
        /// SHA-256 of its DER, in hex.
        sha256: String,
        /// Its first second.
        not_before: Timestamp,
        /// The time of the look.
        now: Timestamp,
    },
}
