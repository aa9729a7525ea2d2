//! The FederationAdmin service: relationships with other trust domains, over the same Unix socket as Admin and for the same callers.
//!
//! Owns the checks of what is asked; the poller takes up what the store has from the commit on.

use std::sync::Arc;

use identity::TrustDomain;
use pki::{BundleDocument, Timestamp, TrustBundle};
use proto::v1;
use runtime::clock::Clock;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::audit::Actor;
use crate::federation::{
    BundleEndpoint, BundleRefusal, EndpointTrust, Federation, FederationFault, FederationViews, ForeignDocument, Judged,
    MAX_FEDERATIONS, Standing, StoredFederation, judge,
};
use crate::rpc::admin::operator;
use crate::rpc::admin_status::AdminError;
use crate::rpc::wire::timestamp;
use crate::store::{EntryFilter, Store, StoreError};

/// The service; its parts are given by the server.
pub(crate) struct FederationAdminService {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) views: FederationViews,
    /// The CA's own bundle, of which nothing may be in another.
    pub(crate) own: watch::Receiver<Arc<TrustBundle>>,
    pub(crate) clock: Arc<dyn Clock>,
}

impl FederationAdminService {
    async fn add(&self, request: v1::AddFederationRequest, actor: Actor) -> Result<v1::Federation, AdminError> {
        let now = Timestamp::from(self.clock.now());
        let (federation, bundle) = read(request, &self.trust_domain, now)?;
        let own = Arc::clone(&self.own.borrow());
        let document = bundle.map(|json| first(&federation.trust_domain, &own, json, now)).transpose()?;
        let (document, told) = document.unzip();
        if self.store.federations().await?.len() >= MAX_FEDERATIONS {
            return Err(AdminError::TooManyFederations { max: MAX_FEDERATIONS });
        }
        self.store.add_federation(federation.clone(), document.clone(), actor, now).await?;
        let stored = StoredFederation { federation, document };
        Ok(shown(&stored, None, told.as_ref().map(|told| &told.bundle)))
    }

    async fn list(&self) -> Result<v1::ListFederationsResponse, AdminError> {
        let stored = self.store.federations().await?;
        let standings = Arc::clone(&self.views.standings.borrow());
        let of_one = |stored: &StoredFederation| {
            let standing = standings.get(&stored.federation.trust_domain);
            shown(stored, standing, standing.and_then(|standing| standing.bundle.as_deref()))
        };
        Ok(v1::ListFederationsResponse { federations: stored.iter().map(of_one).collect() })
    }

    async fn refresh(&self, request: v1::RefreshFederationRequest) -> Result<v1::Federation, AdminError> {
        let v1::RefreshFederationRequest { trust_domain } = request;
        let trust_domain = TrustDomain::parse(&trust_domain).map_err(FederationFault::from)?;
        self.views.refresh(trust_domain.clone()).await;
        let found = self.list().await?.federations.into_iter().find(|found| found.trust_domain == trust_domain.as_str());
        let not_found = || StoreError::NotFound { what: "federation", name: trust_domain.to_string() };
        Ok(found.ok_or_else(not_found)?)
    }

    async fn remove(
        &self,
        request: v1::RemoveFederationRequest,
        actor: Actor,
    ) -> Result<v1::RemoveFederationResponse, AdminError> {
        let v1::RemoveFederationRequest { trust_domain } = request;
        let trust_domain = TrustDomain::parse(&trust_domain).map_err(FederationFault::from)?;
        self.store.remove_federation(trust_domain.clone(), actor, self.clock.now().into()).await?;
        let entries = self.store.entries(EntryFilter::All).await?;
        let naming = entries.iter().filter(|entry| entry.spec.federates_with.contains(&trust_domain)).count();
        Ok(v1::RemoveFederationResponse { entries: u32::try_from(naming).unwrap_or(u32::MAX) })
    }
}

#[tonic::async_trait]
impl v1::federation_admin_server::FederationAdmin for FederationAdminService {
    async fn add_federation(&self, request: Request<v1::AddFederationRequest>) -> Result<Response<v1::Federation>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.add(request.into_inner(), actor).await?))
    }

    async fn list_federations(
        &self,
        request: Request<v1::ListFederationsRequest>,
    ) -> Result<Response<v1::ListFederationsResponse>, Status> {
        operator(request.extensions())?;
        Ok(Response::new(self.list().await?))
    }

    async fn refresh_federation(
        &self,
        request: Request<v1::RefreshFederationRequest>,
    ) -> Result<Response<v1::Federation>, Status> {
        operator(request.extensions())?;
        Ok(Response::new(self.refresh(request.into_inner()).await?))
    }

    async fn remove_federation(
        &self,
        request: Request<v1::RemoveFederationRequest>,
    ) -> Result<Response<v1::RemoveFederationResponse>, Status> {
        let actor = operator(request.extensions())?;
        Ok(Response::new(self.remove(request.into_inner(), actor).await?))
    }
}

/// What an operator asks for, and the bundle to begin with.
fn read(
    request: v1::AddFederationRequest,
    ours: &TrustDomain,
    now: Timestamp,
) -> Result<(Federation, Option<Vec<u8>>), FederationFault> {
    let v1::AddFederationRequest { trust_domain, endpoint_url, profile, endpoint_spiffe_id, bundle } = request;
    let trust_domain = TrustDomain::parse(&trust_domain)?;
    if trust_domain == *ours {
        return Err(FederationFault::OwnTrustDomain(trust_domain));
    }
    let spiffe_id = match v1::FederationProfile::try_from(profile) {
        Ok(v1::FederationProfile::HttpsWeb) if endpoint_spiffe_id.is_empty() => None,
        Ok(v1::FederationProfile::HttpsWeb) => return Err(FederationFault::SpiffeIdUnused),
        Ok(v1::FederationProfile::HttpsSpiffe) if endpoint_spiffe_id.is_empty() => return Err(FederationFault::SpiffeIdMissing),
        Ok(v1::FederationProfile::HttpsSpiffe) if bundle.is_empty() => return Err(FederationFault::BundleMissing),
        Ok(v1::FederationProfile::HttpsSpiffe) => Some(endpoint_spiffe_id.as_str()),
        Ok(v1::FederationProfile::Unspecified) | Err(_) => return Err(FederationFault::Profile),
    };
    let endpoint = BundleEndpoint::new(&trust_domain, &endpoint_url, spiffe_id)?;
    Ok((Federation { trust_domain, endpoint, created_at: now }, (!bundle.is_empty()).then_some(bundle)))
}

/// The bundle to begin with, judged as one that is fetched.
fn first(
    trust_domain: &TrustDomain,
    own: &TrustBundle,
    json: Vec<u8>,
    now: Timestamp,
) -> Result<(ForeignDocument, BundleDocument), AdminError> {
    let (Judged::Newer(document) | Judged::Same(document)) = judge(trust_domain, None, own, &json)?;
    Ok((ForeignDocument { json, sequence: document.bundle.sequence(), taken_at: now }, document))
}

fn shown(stored: &StoredFederation, standing: Option<&Standing>, bundle: Option<&TrustBundle>) -> v1::Federation {
    let StoredFederation { federation, document } = stored;
    let Federation { trust_domain, endpoint, created_at } = federation;
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let bundle = bundle.zip(document.as_ref()).map(|(bundle, document)| v1::ForeignBundleStatus {
        sequence: bundle.sequence(),
        taken_at: Some(timestamp(document.taken_at)),
        x509_authorities: count(bundle.authorities().len()),
        jwt_authorities: count(bundle.jwt_authorities().len()),
        refresh_seconds: standing.map_or(0, |standing| u32::try_from(standing.interval.as_secs()).unwrap_or(u32::MAX)),
    });
    let profile = match &endpoint.trust {
        EndpointTrust::Web => v1::FederationProfile::HttpsWeb,
        EndpointTrust::Spiffe(_) => v1::FederationProfile::HttpsSpiffe,
    };
    v1::Federation {
        trust_domain: trust_domain.to_string(),
        endpoint_url: endpoint.url.to_string(),
        profile: profile.into(),
        endpoint_spiffe_id: endpoint.spiffe_id().map(ToString::to_string).unwrap_or_default(),
        created_at: Some(timestamp(*created_at)),
        bundle,
        answered_at: standing.and_then(|standing| standing.answered_at).map(timestamp),
        next_at: standing.map(|standing| timestamp(standing.next_at)),
        trouble: standing.and_then(|standing| standing.trouble.clone()).unwrap_or_default(),
        stale: standing.is_some_and(|standing| standing.stale),
    }
}

impl From<FederationFault> for AdminError {
    fn from(fault: FederationFault) -> Self {
        Self::Federation(fault)
    }
}

impl From<BundleRefusal> for AdminError {
    fn from(refusal: BundleRefusal) -> Self {
        Self::ForeignBundle(refusal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(profile: v1::FederationProfile) -> v1::AddFederationRequest {
        v1::AddFederationRequest {
            trust_domain: "other.org".to_owned(),
            endpoint_url: "https://other.org/".to_owned(),
            profile: profile.into(),
            ..v1::AddFederationRequest::default()
        }
    }

    fn refused(request: v1::AddFederationRequest) -> FederationFault {
        let ours = TrustDomain::parse("example.org").unwrap();
        read(request, &ours, Timestamp::from_unix_seconds(1)).expect_err("it is refused")
    }

    #[test]
    fn each_profile_wants_its_own_parameters_and_nothing_is_inferred() {
        use v1::FederationProfile::{HttpsSpiffe, HttpsWeb, Unspecified};
        let (web, spiffe) = (asked(HttpsWeb), asked(HttpsSpiffe));
        let id = "spiffe://other.org/ca".to_owned();
        let ours = TrustDomain::parse("example.org").unwrap();
        let now = Timestamp::from_unix_seconds(1);
        assert!(read(web.clone(), &ours, now).is_ok());
        let whole = v1::AddFederationRequest { endpoint_spiffe_id: id.clone(), bundle: vec![b'{'], ..spiffe.clone() };
        assert_eq!(read(whole.clone(), &ours, now).unwrap().0.endpoint.spiffe_id().unwrap().as_str(), id);
        for (request, fault) in [
            (asked(Unspecified), FederationFault::Profile),
            (v1::AddFederationRequest { profile: 7, ..web.clone() }, FederationFault::Profile),
            (v1::AddFederationRequest { endpoint_spiffe_id: id, ..web.clone() }, FederationFault::SpiffeIdUnused),
            (v1::AddFederationRequest { endpoint_spiffe_id: String::new(), ..whole.clone() }, FederationFault::SpiffeIdMissing),
            (v1::AddFederationRequest { bundle: Vec::new(), ..whole }, FederationFault::BundleMissing),
            (v1::AddFederationRequest { trust_domain: ours.to_string(), ..web }, FederationFault::OwnTrustDomain(ours.clone())),
        ] {
            assert_eq!(refused(request), fault);
        }
    }

    #[test]
    fn the_bundle_to_begin_with_is_judged_like_any_other() {
        let (ours, other) = (TrustDomain::parse("example.org").unwrap(), TrustDomain::parse("other.org").unwrap());
        let own = TrustBundle::from_jwks(ours, b"{\"keys\":[]}").unwrap();
        let now = Timestamp::from_unix_seconds(1);
        let (document, _) = first(&other, &own, br#"{"keys":[],"spiffe_sequence":3}"#.to_vec(), now).unwrap();
        assert_eq!((document.sequence, document.taken_at), (3, now));
        assert!(matches!(first(&other, &own, b"{}".to_vec(), now), Err(AdminError::ForeignBundle(_))));
    }
}
