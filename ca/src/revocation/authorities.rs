//! Which CAs need a list, and who can sign it.

use pki::crl::{RevocationReason, RevokedSerial};
use pki::{Certificate, Sha256Digest, Timestamp, TrustBundle};

use super::CLOCK_SKEW;
use crate::authority::SigningAuthority;
use crate::authority::lifecycle::{Authority, AuthorityKind, AuthorityName, Lifecycle, Slot};
use crate::rotation::{MaterialError, certificate_of};

/// A CA of a chain that may end in the bundle.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// As operators call it, or its subject.
    pub(crate) label: String,
    /// Its certificate.
    pub(crate) certificate: Certificate,
    /// SHA-256 of its SubjectPublicKeyInfo.
    pub(crate) key: Sha256Digest,
    /// Who signs its lists.
    pub(crate) signer: Signer,
    /// CA certificates below it that are revoked.
    pub(crate) authorities: Vec<RevokedSerial>,
}

/// Where the key is that signs the lists of a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signer {
    /// With the issuing CA of this name.
    Issuer(AuthorityName),
    /// With the issuing CA of this name, at another replica.
    Replica(AuthorityName),
    /// With the root of this name, or somewhere else.
    Root(AuthorityName),
    /// With the issuing CA that is plugged in.
    PluggedIn,
    /// With whoever fills the directory of what is plugged in.
    Elsewhere,
}

/// Each CA that needs a list: the roots of the bundle, and the CAs below them that sign, will sign, or have signed what is still good.
/// Roots first. A root that has ended vouches for nothing, whatever bundle it is still in. `plugged_in` is what signs, when somebody else
/// fills its directory.
///
/// # Errors
/// [`MaterialError::Journal`].
pub(crate) fn listed(
    lifecycle: &Lifecycle,
    plugged_in: Option<&SigningAuthority>,
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<Vec<Listed>, MaterialError> {
    if let Some(authority) = plugged_in {
        return Ok(of_plugged_in(authority, bundle, now));
    }
    let mut found = Vec::new();
    let roots = || lifecycle.of(AuthorityKind::Root).filter(|root| root.is_in_bundle() && !root.has_ended(now));
    for root in roots() {
        let certificate = certificate_of(root)?;
        found.push(Listed {
            label: root.name.to_string(),
            key: certificate.public_key().fingerprint(),
            certificate,
            signer: Signer::Root(root.name),
            authorities: revoked_under(lifecycle, root, now)?,
        });
    }
    // The last list of what another replica took out is carried over while it is good.
    let is_done = |issuer: &Authority| issuer.slot == Slot::Revoked && lifecycle.get(issuer.name).is_none();
    let issuers = roots().flat_map(|root| lifecycle.all_under(root.name));
    for issuer in issuers.filter(|issuer| needs_list(issuer, now) && !is_done(issuer)) {
        let certificate = certificate_of(issuer)?;
        found.push(Listed {
            label: issuer.name.to_string(),
            key: certificate.public_key().fingerprint(),
            certificate,
            signer: if lifecycle.get(issuer.name).is_some() { Signer::Issuer(issuer.name) } else { Signer::Replica(issuer.name) },
            authorities: Vec::new(),
        });
    }
    Ok(found)
}

/// One that is revoked signs what is still due for as long as it has its key.
fn needs_list(issuer: &Authority, now: Timestamp) -> bool {
    let has_key = match issuer.slot {
        Slot::Prepared | Slot::Active | Slot::Old => true,
        Slot::Revoked => !issuer.destroyed,
        Slot::Making => false,
    };
    has_key && issuer.material.is_some() && !issuer.has_ended(now)
}

/// The issuing CAs under a root that were revoked and have not ended.
fn revoked_under(lifecycle: &Lifecycle, root: &Authority, now: Timestamp) -> Result<Vec<RevokedSerial>, MaterialError> {
    let mut found = Vec::new();
    for issuer in lifecycle.all_under(root.name).filter(|issuer| issuer.slot == Slot::Revoked && issuer.material.is_some()) {
        let certificate = certificate_of(issuer)?;
        if now <= certificate.not_after().plus(CLOCK_SKEW) {
            let serial = certificate.serial().clone();
            found.push(RevokedSerial { serial, revoked_at: issuer.since, reason: RevocationReason::CessationOfOperation });
        }
    }
    Ok(found)
}

fn of_plugged_in(authority: &SigningAuthority, bundle: &TrustBundle, now: Timestamp) -> Vec<Listed> {
    let listed = |certificate: &Certificate, signer| Listed {
        label: certificate.subject(),
        key: certificate.public_key().fingerprint(),
        certificate: certificate.clone(),
        signer,
        authorities: Vec::new(),
    };
    let signing = authority.certificate();
    let others = bundle.authorities().iter().chain(authority.path().iter().skip(1).rev()).filter(|other| *other != signing);
    let good = others.filter(|other| now <= other.not_after());
    good.map(|other| listed(other, Signer::Elsewhere)).chain([listed(signing, Signer::PluggedIn)]).collect()
}
