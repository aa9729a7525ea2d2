//! The calls about JWT-SVIDs that are one question and one answer (SPIFFE Workload API section 6.2).

use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use identity::SpiffeId;
use pki::{Audience, AudienceSet, TrustBundle};
use proto::workload;
use runtime::clock::Clock;
use tonic::Status;

use super::claims;
use super::content::Hints;
use super::jwt_svids::JwtSvids;
use super::standing;
use crate::ca_client::CallFault;
use crate::entry::Entry;
use crate::identities::HeldIdentity;
use crate::secrets::{CallerSecrets, CallerState};
use crate::workload::Caller;

/// The most identities for which one call fetches tokens, each with a call to the CA.
const MAX_IDENTITIES: usize = 64;

/// How many of them at a time.
const AT_A_TIME: usize = 8;

/// `FetchJWTSVID` and `ValidateJWTSVID`.
pub(super) struct JwtCalls {
    secrets: Arc<CallerSecrets>,
    svids: JwtSvids,
    clock: Arc<dyn Clock>,
}

impl JwtCalls {
    pub(super) fn new(secrets: Arc<CallerSecrets>, svids: JwtSvids, clock: Arc<dyn Clock>) -> Self {
        Self { secrets, svids, clock }
    }

    /// Tokens for all identities of the caller, or for the one that it names, in the order of the entries.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for audiences that are missing or none; PERMISSION_DENIED for identities that are not the caller's;
    /// UNAVAILABLE when one of the tokens cannot be had: without it, the next would stand in its place as the default.
    pub(super) async fn fetch(
        &self,
        caller: &Caller,
        request: workload::JwtsvidRequest,
    ) -> Result<workload::JwtsvidResponse, Status> {
        let workload::JwtsvidRequest { audience, spiffe_id } = request;
        let audiences = AudienceSet::parse(&audience).map_err(|error| refused("audience", &error))?;
        let asked = match spiffe_id.as_str() {
            "" => None,
            text => Some(SpiffeId::parse(text).map_err(|error| refused("spiffe_id", &error))?),
        };
        let state = self.secrets.state_now(caller);
        let granted = granted(&state, caller, asked.as_ref())?;
        if granted.len() > MAX_IDENTITIES {
            return Err(Status::invalid_argument(format!(
                "this process has {} identities, and tokens for at most {MAX_IDENTITIES} are fetched in one call: name one in spiffe_id",
                granted.len()
            )));
        }
        let bundle = state.bundle.as_ref().ok_or_else(standing::no_bundle)?;
        let entries: Vec<_> = granted.iter().map(|identity| Arc::clone(&identity.entry)).collect();
        let tokens: Vec<_> = stream::iter(entries)
            .map(async |entry: Arc<Entry>| {
                let token = self.svids.get(&entry, &audiences, bundle).await.map_err(|fault| none(&entry.spiffe_id, &fault))?;
                Ok::<_, Status>((entry, token))
            })
            .buffered(AT_A_TIME)
            .try_collect()
            .await?;

        // The CA may have taken its time: what was taken away meanwhile is not given out.
        let state = self.secrets.state_now(caller);
        let still = self::granted(&state, caller, asked.as_ref())?;
        let mut hints = Hints::default();
        let svids: Vec<_> = tokens
            .into_iter()
            .filter(|(entry, _)| still.iter().any(|identity| identity.entry.id == entry.id))
            .map(|(entry, token)| workload::Jwtsvid {
                spiffe_id: entry.spiffe_id.to_string(),
                svid: token.token().to_owned(),
                hint: hints.take(&entry.hint),
            })
            .collect();
        if svids.is_empty() {
            return Err(Status::unavailable("the entries of this process changed while its tokens were fetched; try again"));
        }
        Ok(workload::JwtsvidResponse { svids })
    }

    /// Whom a token names, and all that it says.
    ///
    /// # Errors
    /// INVALID_ARGUMENT with the reason when the token does not hold; as for every call when the caller has no identity.
    pub(super) fn validate(
        &self,
        caller: &Caller,
        request: workload::ValidateJwtsvidRequest,
    ) -> Result<workload::ValidateJwtsvidResponse, Status> {
        let workload::ValidateJwtsvidRequest { audience, svid } = request;
        let audience = Audience::parse(&audience).map_err(|error| refused("audience", &error))?;
        if svid.is_empty() {
            return Err(Status::invalid_argument("svid is empty: it is the token to validate"));
        }
        let state = self.secrets.state_now(caller);
        standing::entitlements(&state, caller)?;
        let bundle: &TrustBundle = state.bundle.as_ref().ok_or_else(standing::no_bundle)?;
        let invalid = |error: pki::JwtError| Status::invalid_argument(standing::short(error.to_string()));
        let claimed = pki::claimed_trust_domain(&svid).map_err(invalid)?;
        // Each trust domain's tokens by its own keys alone; of one that the caller does not federate with, by nobody's.
        let bundle = state.foreign.get(&claimed).map_or(bundle, |foreign| foreign);
        let valid = pki::validate_jwt_svid(&svid, &audience, bundle, self.clock.now().into()).map_err(invalid)?;
        Ok(workload::ValidateJwtsvidResponse {
            spiffe_id: valid.id().to_string(),
            claims: Some(claims::as_struct(valid.claims())),
        })
    }
}

/// The identities for which tokens are asked.
fn granted<'a>(state: &'a CallerState, caller: &Caller, asked: Option<&SpiffeId>) -> Result<Vec<&'a HeldIdentity>, Status> {
    let entitled = standing::entitlements(state, caller)?;
    let meant = |identity: &&HeldIdentity| asked.is_none_or(|asked| identity.entry.spiffe_id == *asked);
    let granted: Vec<_> = entitled.iter().filter(meant).collect();
    match asked {
        Some(asked) if granted.is_empty() && state.revoked.iter().any(|identity| identity.entry.spiffe_id == *asked) => {
            Err(standing::revoked(asked))
        }
        Some(asked) if granted.is_empty() => Err(standing::not_granted(asked, caller)),
        Some(_) | None => Ok(granted),
    }
}

fn refused(field: &str, error: &dyn std::fmt::Display) -> Status {
    Status::invalid_argument(standing::short(format!("{field}: {error}")))
}

fn none(id: &SpiffeId, fault: &CallFault) -> Status {
    Status::unavailable(standing::short(format!(
        "no JWT-SVID for {id}: {fault}; try again, or see on this node: signet agent status"
    )))
}

#[cfg(test)]
mod tests;
