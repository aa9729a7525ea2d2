//! Callers who prove themselves by a bearer token, or by a certificate that one such call gave them.
//!
//! A certificate opens the way to the next one of its line only while everything that gave the first one still holds: the facts are
//! gathered by the caller of these functions, in this very call, and judged here.

use std::time::Duration;

use identity::{DnsName, SpiffeId, TrustDomain};
use pki::{SerialNumber, Timestamp, ValidatedSvid};

use super::{Admitted, LeafSubject};
use crate::oidc::{AdmissionSource, Grant, TokenRefusal, TokenSubject};
use crate::records::{AccountSecret, GroundsError, IssuedRecord, Provenance, Reason, RenewalGrounds};
use crate::service_accounts::ReviewedAccount;

/// Why a caller who is known may not have a certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallerError {
    /// What a rule makes of a token is not a workload's identity of this trust domain.
    #[error("{id} is not a workload's identity of trust domain {trust_domain}: correct the mapping of the issuer's rule")]
    NotAWorkload {
        /// What the rule says.
        id: SpiffeId,
        /// The CA's trust domain.
        trust_domain: TrustDomain,
    },
    /// Too much would have to be recorded.
    #[error(transparent)]
    Grounds(#[from] GroundsError),
    /// An identity of Signet's own, or none of this trust domain's workloads.
    #[error("{id} is not renewed here: agents renew by their own service, and nobody else has an identity below /signet")]
    Reserved {
        /// Whose certificate was presented.
        id: SpiffeId,
    },
    /// The certificate was revoked.
    #[error("the certificate {serial} was revoked: come back with a token")]
    Revoked {
        /// Its serial.
        serial: SerialNumber,
    },
    /// The ledger has no such certificate: another CA under the same root made it.
    #[error("the certificate {serial} was not issued by this CA: come back with a token")]
    NotRecorded {
        /// Its serial.
        serial: SerialNumber,
    },
    /// It was issued on grounds that its holder cannot show again.
    #[error(
        "the certificate {serial} of {id} opens no way to the next one: who has it by a node's agent gets that from the agent, and who \
         has it by the token of a Kubernetes service account by such a token"
    )]
    NotRenewable {
        /// Its serial.
        serial: SerialNumber,
        /// Its identity.
        id: SpiffeId,
        /// Why it was issued, as the ledger has it; for the log.
        reason: String,
    },
    /// The line has had its time.
    #[error(
        "the certificates of this line have been renewed since {line_start}, at most {max_age:?} are allowed and now is {now}: \
         come back with a token"
    )]
    LineEnded {
        /// When the first one was issued.
        line_start: Timestamp,
        /// For how long they are renewed.
        max_age: Duration,
        /// The CA's clock.
        now: Timestamp,
    },
    /// What admitted the first one would not do so any more.
    #[error("what {id} was admitted by is not accepted any more; come back with a token, or ask the CA's operators")]
    NoLongerGranted {
        /// Whose certificate was presented.
        id: SpiffeId,
        /// Which check fails now; for the log.
        why: TokenRefusal,
    },
    /// It would admit somebody else.
    #[error("the rules for {held} have changed since its certificate was issued; come back with a token for the identity of now")]
    GrantDiffers {
        /// Whose certificate was presented.
        held: SpiffeId,
        /// What the rules of now give; for the log.
        granted: SpiffeId,
    },
}

/// What must be known to renew a certificate for its holder.
#[derive(Clone, Copy, Debug)]
pub struct RenewalFacts<'a> {
    /// The CA's trust domain.
    pub trust_domain: &'a TrustDomain,
    /// The certificate presented, validated against the bundle and the time of now.
    pub presented: &'a ValidatedSvid,
    /// Whether it was revoked.
    pub is_revoked: bool,
    /// What the ledger says of its serial.
    pub record: Option<&'a IssuedRecord>,
    /// For how long a line is renewed.
    pub max_age: Duration,
    /// The CA's clock.
    pub now: Timestamp,
}

/// A certificate whose holder may have the next one if what admitted the first one still does. Only [`Renewable::check`] makes one.
#[derive(Debug)]
#[must_use]
pub struct Renewable {
    id: SpiffeId,
    serial: SerialNumber,
    source: AdmissionSource,
    line_start: Timestamp,
}

impl Renewable {
    /// Judges everything but the grounds.
    ///
    /// # Errors
    /// [`CallerError`], one variant per fact that speaks against it.
    pub fn check(facts: RenewalFacts<'_>) -> Result<Self, CallerError> {
        let RenewalFacts { trust_domain, presented, is_revoked, record, max_age, now } = facts;
        let (id, serial) = (presented.id(), presented.serial());
        if !is_workload(trust_domain, id) {
            return Err(CallerError::Reserved { id: id.clone() });
        }
        if is_revoked {
            return Err(CallerError::Revoked { serial: serial.clone() });
        }
        // The whole certificate, not its serial alone: another CA under the same root may have used the same one.
        let record = record.filter(|record| record.tbs_der == presented.leaf().tbs_der() && record.subject == *id);
        let record = record.ok_or_else(|| CallerError::NotRecorded { serial: serial.clone() })?;
        let (source, line_start) = match record.provenance.clone() {
            Some(Provenance { grounds: RenewalGrounds::Token(source), line_start }) => (source, line_start),
            Some(Provenance { grounds: RenewalGrounds::LivePod(_), .. }) | None => {
                let reason = record.reason.clone();
                return Err(CallerError::NotRenewable { serial: serial.clone(), id: id.clone(), reason });
            }
        };
        if now.since(line_start) >= max_age {
            return Err(CallerError::LineEnded { line_start, max_age, now });
        }
        Ok(Self { id: id.clone(), serial: serial.clone(), source, line_start })
    }

    /// What must grant the identity now.
    #[must_use]
    pub fn source(&self) -> &AdmissionSource {
        &self.source
    }

    /// Whose certificate it is.
    #[must_use]
    pub fn id(&self) -> &SpiffeId {
        &self.id
    }
}

impl Admitted {
    /// Admits who proved itself by a token in this very call; a line of renewals begins with it. `ttl` is the life asked for.
    ///
    /// # Errors
    /// [`CallerError::NotAWorkload`] or [`CallerError::Grounds`].
    pub fn for_token(
        trust_domain: &TrustDomain,
        subject: TokenSubject,
        ttl: Option<Duration>,
        now: Timestamp,
    ) -> Result<Self, CallerError> {
        let TokenSubject { id, dns_names, source } = subject;
        if !is_workload(trust_domain, &id) {
            return Err(CallerError::NotAWorkload { id, trust_domain: trust_domain.clone() });
        }
        let caller = id.to_string();
        let reason = Reason::Token { issuer: source.issuer.clone(), subject: source.subject().to_owned() };
        let grounds = RenewalGrounds::Token(source);
        // Measured before anything is signed for it: the ledger would refuse it.
        drop(grounds.to_json()?);
        let subject = LeafSubject { id, dns_names, ip_addresses: Vec::new(), ttl, ends_by: None };
        Ok(Self { subject, caller, reason, provenance: Some(Provenance { grounds, line_start: now }) })
    }

    /// Admits the service account that the API server named in this very call. No line begins with it: whoever comes back shows a token that
    /// is reviewed anew, since nothing that could be recorded says whether the account and its pod are still there.
    ///
    /// # Errors
    /// [`CallerError::NotAWorkload`].
    pub fn for_account(
        trust_domain: &TrustDomain,
        id: SpiffeId,
        account: ReviewedAccount,
        ttl: Option<Duration>,
    ) -> Result<Self, CallerError> {
        if !is_workload(trust_domain, &id) {
            return Err(CallerError::NotAWorkload { id, trust_domain: trust_domain.clone() });
        }
        let caller = id.to_string();
        let subject = LeafSubject { id, dns_names: Vec::new(), ip_addresses: Vec::new(), ttl, ends_by: None };
        Ok(Self { subject, caller, reason: Reason::ServiceAccount(account), provenance: None })
    }

    /// Admits the proxy of a node to the identity of `pod` (namespace, name and UID), which was found alive on that node in this very call.
    /// No line begins with it, as with [`Self::for_account`].
    ///
    /// # Errors
    /// [`CallerError::NotAWorkload`].
    pub fn for_pod_of_node(
        trust_domain: &TrustDomain,
        id: SpiffeId,
        by: ReviewedAccount,
        pod: String,
        ttl: Option<Duration>,
    ) -> Result<Self, CallerError> {
        if !is_workload(trust_domain, &id) {
            return Err(CallerError::NotAWorkload { id, trust_domain: trust_domain.clone() });
        }
        let caller = by.id(trust_domain).map_or_else(|| by.to_string(), |id| id.to_string());
        let subject = LeafSubject { id, dns_names: Vec::new(), ip_addresses: Vec::new(), ttl, ends_by: None };
        Ok(Self { subject, caller, reason: Reason::PodOfNode { by, pod }, provenance: None })
    }

    /// Admits a service account to a Secret with a key that the CA makes: its controller has seen the account, and nobody asks for it. No line
    /// begins with it.
    ///
    /// # Errors
    /// [`CallerError::NotAWorkload`].
    pub fn for_account_secret(
        trust_domain: &TrustDomain,
        id: SpiffeId,
        account: AccountSecret,
        dns_names: Vec<DnsName>,
        ttl: Option<Duration>,
    ) -> Result<Self, CallerError> {
        if !is_workload(trust_domain, &id) {
            return Err(CallerError::NotAWorkload { id, trust_domain: trust_domain.clone() });
        }
        let caller = format!("secret controller of cluster {}", account.cluster);
        let subject = LeafSubject { id, dns_names, ip_addresses: Vec::new(), ttl, ends_by: None };
        Ok(Self { subject, caller, reason: Reason::AccountSecret(account), provenance: None })
    }

    /// Admits the holder of a renewable certificate to the same identity again, and to no other, with the DNS names of now.
    /// `granted` is what its grounds are granted by the rules of now; `ttl` the life asked for.
    ///
    /// # Errors
    /// [`CallerError::NoLongerGranted`] or [`CallerError::GrantDiffers`].
    pub fn for_renewal(
        renewable: Renewable,
        granted: Result<Grant, TokenRefusal>,
        ttl: Option<Duration>,
    ) -> Result<Self, CallerError> {
        let Renewable { id, serial, source, line_start } = renewable;
        let Grant { id: granted, dns_names } = match granted {
            Ok(grant) => grant,
            Err(why) => return Err(CallerError::NoLongerGranted { id, why }),
        };
        if granted != id {
            return Err(CallerError::GrantDiffers { held: id, granted });
        }
        let caller = id.to_string();
        let subject = LeafSubject { id, dns_names, ip_addresses: Vec::new(), ttl, ends_by: None };
        let provenance = Some(Provenance { grounds: RenewalGrounds::Token(source), line_start });
        Ok(Self { subject, caller, reason: Reason::Renewal { presented: serial }, provenance })
    }
}

/// Who an account is: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
pub(crate) fn account_id(trust_domain: &TrustDomain, namespace: &str, name: &str) -> Option<SpiffeId> {
    SpiffeId::parse(&format!("spiffe://{trust_domain}/ns/{namespace}/sa/{name}")).ok()
}

fn is_workload(trust_domain: &TrustDomain, id: &SpiffeId) -> bool {
    id.trust_domain() == trust_domain && !id.is_reserved() && !id.path().is_empty()
}

#[cfg(test)]
mod tests;
