//! Whether a leaf that was signed is the one that was asked for. Pure.

use std::time::Duration;

use ::vault::answer::SignedCertificate;
use identity::{DnsName, SpiffeId};
use pki::{Certificate, CertificateDer, Timestamp, TrustBundle, Usage, validate_svid};

use super::super::wire::AnswerFault;
use crate::config::MAX_TTL;

/// How far the server's clock may be ahead of ours.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

/// What was asked for. Whom the key belongs to is checked by whoever holds it.
#[derive(Clone, Copy, Debug)]
pub struct AskedLeaf<'a> {
    /// The one URI name.
    pub spiffe_id: &'a SpiffeId,
    /// The DNS names, all of them.
    pub dns_names: &'a [DnsName],
    /// The longest life; `None`: 90 days.
    pub ttl: Option<Duration>,
}

/// The chain, leaf first and without roots, when its leaf names exactly whom it was asked for, bears the DNS names asked for and no other
/// name of any kind, lives no longer than asked, and is valid now under the bundle, as a client and as a server.
///
/// # Errors
/// [`AnswerFault`] naming what does not agree.
pub fn checked_chain(
    signed: &SignedCertificate,
    asked: AskedLeaf<'_>,
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<Vec<Certificate>, AnswerFault> {
    let AskedLeaf { spiffe_id, dns_names, ttl } = asked;
    let chain = signed.chain();
    let der: Vec<_> = chain.iter().map(|certificate| CertificateDer::from(certificate.der().as_ref())).collect();
    let svid = validate_svid(&der, bundle, Usage::Both, now)?;
    if svid.id() != spiffe_id {
        return Err(AnswerFault::OtherIdentity { found: svid.id().clone(), asked: spiffe_id.clone() });
    }
    let leaf = svid.leaf();
    let bears = |name: &DnsName| leaf.dns_sans().iter().any(|san| san.eq_ignore_ascii_case(name.as_str()));
    if let Some(missing) = dns_names.iter().find(|name| !bears(name)) {
        return Err(AnswerFault::DnsName { missing: missing.clone() });
    }
    let is_asked = |san: &String| dns_names.iter().any(|name| san.eq_ignore_ascii_case(name.as_str()));
    if let Some(extra) = leaf.dns_sans().iter().find(|san| !is_asked(san)) {
        let found = extra.chars().take(255).flat_map(char::escape_default).collect::<String>();
        return Err(AnswerFault::ExtraName { found: format!("the DNS name {found}") });
    }
    if leaf.other_sans() > 0 {
        return Err(AnswerFault::ExtraName { found: "an address, a mail box or a name of another kind".to_owned() });
    }
    let latest = now.plus(ttl.unwrap_or(MAX_TTL)).plus(CLOCK_SKEW);
    if leaf.not_after() > latest {
        return Err(AnswerFault::Lifetime { not_after: leaf.not_after(), latest });
    }
    Ok(chain)
}
