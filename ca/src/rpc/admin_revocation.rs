//! What an operator revokes and restores, and what the lists say.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use identity::SpiffeId;
use pki::crl::RevocationReason;
use pki::{RevocationList, SerialNumber, Timestamp};
use proto::v1;

use crate::audit::Actor;
use crate::revocation::{DeniedIdentity, Outcome, Published, Revocation, Target};
use crate::rpc::admin::{AdminService, entry_id, node_name};
use crate::rpc::admin_status::AdminError;
use crate::rpc::wire::timestamp;
use crate::store::StoreError;

/// Certificates of one answer.
const MOST_TOLD: usize = 1000;

/// How long an answer waits for the lists that name what was revoked: it is revoked either way.
const LISTS_PATIENCE: Duration = Duration::from_secs(5);

impl AdminService {
    pub(super) async fn revoke_target(&self, request: v1::RevokeRequest, actor: Actor) -> Result<v1::RevokeResponse, AdminError> {
        let v1::RevokeRequest { what, reason, dry_run } = request;
        let target = self.read_target(what)?;
        let (reason, now) = (read_reason(reason)?, self.now());
        let outcome = if dry_run {
            self.store.plan_revocation(target, reason, now).await?
        } else {
            self.store.revoke(target, reason, actor, now).await?
        };
        let sequence = match outcome.revoked.first() {
            Some(revoked) if !dry_run => self.listed(&revoked.serial).await,
            Some(_) | None => self.lists.borrow().set.sequence(),
        };
        let Outcome { revoked, revoked_before, identity_denied, node_banned } = outcome;
        Ok(v1::RevokeResponse {
            certificates_total: u64::try_from(revoked.len()).unwrap_or(u64::MAX),
            certificates: revoked.iter().take(MOST_TOLD).map(certificate).collect(),
            revoked_before,
            identity_denied,
            node_banned,
            sequence,
        })
    }

    /// The sequence of the lists that name this serial; of the newest, when none does in time.
    async fn listed(&self, serial: &SerialNumber) -> u64 {
        let mut lists = self.lists.clone();
        let names_it = |published: &Arc<Published>| published.set.lists().iter().any(|list| list.contains(serial));
        let waited = tokio::time::timeout(LISTS_PATIENCE, lists.wait_for(names_it)).await;
        match waited {
            Ok(Ok(published)) => published.set.sequence(),
            Ok(Err(_)) | Err(_) => {
                tracing::warn!(%serial, "what was revoked is on no list yet; status tells why");
                self.lists.borrow().set.sequence()
            }
        }
    }

    pub(super) async fn restore_target(
        &self,
        request: v1::UnrevokeRequest,
        actor: Actor,
    ) -> Result<v1::UnrevokeResponse, AdminError> {
        let v1::UnrevokeRequest { what } = request;
        let now = self.now();
        let changed = match what {
            Some(v1::unrevoke_request::What::SpiffeId(id)) => {
                self.store.restore_identity(self.read_identity(&id)?, actor, now).await?
            }
            Some(v1::unrevoke_request::What::Node(node)) => match self.store.unban_node(node_name(&node)?, actor, now).await {
                Ok(()) => true,
                Err(StoreError::NotFound { .. }) => false,
                Err(error) => return Err(error.into()),
            },
            None => return Err(AdminError::Target("name a SPIFFE ID or a node".to_owned())),
        };
        Ok(v1::UnrevokeResponse { changed })
    }

    /// Deletes an entry, and revokes what was issued for it.
    pub(super) async fn delete_and_revoke(
        &self,
        id: &str,
        reason: i32,
        actor: Actor,
    ) -> Result<v1::DeleteEntryResponse, AdminError> {
        let (id, reason) = (entry_id(id)?, read_reason(reason)?);
        self.check_deletable(&id).await?;
        let (entry, outcome) = self.store.delete_and_revoke(id, reason, actor, self.now()).await?;
        if let Some(revoked) = outcome.revoked.first() {
            self.listed(&revoked.serial).await;
        }
        let revoked = u64::try_from(outcome.revoked.len()).unwrap_or(u64::MAX);
        Ok(v1::DeleteEntryResponse { entry: Some(self.entry(&entry)), outstanding: None, revoked })
    }

    /// Everything but certificates first, then those; at least one message.
    pub(super) async fn pages_of_revocations(&self) -> Result<Vec<v1::ListRevocationsResponse>, AdminError> {
        let now = self.now();
        let (identities, revocations) = (self.store.denied_identities().await?, self.store.revocations(now).await?);
        let first = v1::ListRevocationsResponse {
            status: Some(self.revocation_status()),
            identities: identities.iter().map(identity).collect(),
            certificates: Vec::new(),
        };
        let pages = revocations.chunks(MOST_TOLD).map(|page| v1::ListRevocationsResponse {
            status: None,
            identities: Vec::new(),
            certificates: page.iter().map(certificate).collect(),
        });
        Ok(std::iter::once(first).chain(pages).collect())
    }

    pub(super) fn revocation_status(&self) -> v1::RevocationStatus {
        let published = Arc::clone(&self.lists.borrow());
        let revoked = Arc::clone(&self.store.revoked().borrow());
        v1::RevocationStatus {
            sequence: published.set.sequence(),
            complete: published.set.complete_at(self.now()),
            missing: published.missing.clone(),
            lists: published.set.lists().iter().map(|list| list_status(list, &published)).collect(),
            certificates: u64::try_from(revoked.serials.len()).unwrap_or(u64::MAX),
            identities: u64::try_from(revoked.denied.len()).unwrap_or(u64::MAX),
        }
    }

    fn read_target(&self, what: Option<v1::revoke_request::What>) -> Result<Target, AdminError> {
        use v1::revoke_request::What;
        Ok(match what {
            Some(What::Serial(serial)) => Target::Serial(serial.parse().map_err(|error| {
                AdminError::Target(format!("{error}; `signet audit tail`, or the certificate itself, shows serials"))
            })?),
            Some(What::SpiffeId(id)) => Target::Identity(self.read_identity(&id)?),
            Some(What::Node(node)) => Target::Node(node_name(&node)?),
            Some(What::EntryId(id)) => Target::Entry(entry_id(&id)?),
            None => return Err(AdminError::Target("name a serial, a SPIFFE ID, a node or an entry".to_owned())),
        })
    }

    fn read_identity(&self, text: &str) -> Result<SpiffeId, AdminError> {
        let id = SpiffeId::parse(text).map_err(|error| AdminError::Target(error.to_string()))?;
        if id.trust_domain() != &self.limits.trust_domain {
            return Err(AdminError::Target(format!("{id} is not of the trust domain {} of this CA", self.limits.trust_domain)));
        }
        Ok(id)
    }
}

fn read_reason(reason: i32) -> Result<RevocationReason, AdminError> {
    let reason = v1::RevocationReason::try_from(reason)
        .map_err(|_| AdminError::Target(format!("{reason} is no reason for a revocation that this CA knows")))?;
    Ok(match reason {
        v1::RevocationReason::Unspecified => RevocationReason::Unspecified,
        v1::RevocationReason::KeyCompromise => RevocationReason::KeyCompromise,
        v1::RevocationReason::AffiliationChanged => RevocationReason::AffiliationChanged,
        v1::RevocationReason::Superseded => RevocationReason::Superseded,
        v1::RevocationReason::CessationOfOperation => RevocationReason::CessationOfOperation,
        v1::RevocationReason::PrivilegeWithdrawn => RevocationReason::PrivilegeWithdrawn,
    })
}

fn reason(reason: RevocationReason) -> i32 {
    let reason = match reason {
        // No operator gives the latter to a leaf.
        RevocationReason::Unspecified | RevocationReason::CaCompromise => v1::RevocationReason::Unspecified,
        RevocationReason::KeyCompromise => v1::RevocationReason::KeyCompromise,
        RevocationReason::AffiliationChanged => v1::RevocationReason::AffiliationChanged,
        RevocationReason::Superseded => v1::RevocationReason::Superseded,
        RevocationReason::CessationOfOperation => v1::RevocationReason::CessationOfOperation,
        RevocationReason::PrivilegeWithdrawn => v1::RevocationReason::PrivilegeWithdrawn,
    };
    reason.into()
}

fn certificate(revocation: &Revocation) -> v1::RevokedCertificate {
    let Revocation { serial, issuer_key, subject, caller, not_after, revoked_at, reason: why } = revocation;
    v1::RevokedCertificate {
        serial: serial.to_string(),
        spiffe_id: subject.to_string(),
        caller: caller.clone(),
        issuer_key: issuer_key.map(|key| HEXLOWER.encode(&key)).unwrap_or_default(),
        not_after: Some(timestamp(*not_after)),
        revoked_at: Some(timestamp(*revoked_at)),
        reason: reason(*why),
    }
}

fn identity(denied: &DeniedIdentity) -> v1::DeniedIdentity {
    let DeniedIdentity { id, denied_at, reason: why } = denied;
    v1::DeniedIdentity { spiffe_id: id.to_string(), denied_at: Some(timestamp(*denied_at)), reason: reason(*why) }
}

fn list_status(list: &RevocationList, published: &Published) -> v1::RevocationListStatus {
    let key = list.issuer_key();
    let label = published.labels.get(&key);
    let time = |time: Timestamp| Some(timestamp(time));
    v1::RevocationListStatus {
        authority: label.map_or_else(|| list.issuer().subject(), |label| label.authority.clone()),
        issuer_key: HEXLOWER.encode(&key),
        number: list.number().to_string(),
        this_update: time(list.this_update()),
        next_update: time(list.next_update()),
        entries: u64::try_from(list.len()).unwrap_or(u64::MAX),
        imported: label.is_some_and(|label| label.imported),
    }
}
