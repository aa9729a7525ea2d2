//! What a caller is sent, as values to compare and as messages (SPIFFE Workload API sections 5 and 6). Pure.

use std::collections::BTreeSet;
use std::sync::Arc;

use pki::{Certificate, JwksContent, RevocationList, RevocationSet, TrustBundle, X509Svid};
use proto::workload;
use tonic::Status;

use super::standing;
use crate::ca_client::view::ForeignBundles;
use crate::identities::{HeldIdentity, IdentityState};
use crate::secrets::CallerState;

/// What a stream of one kind sends: always the whole of it.
pub(super) trait Content: Sized + Send + Sync + 'static {
    type Message: Send + 'static;

    /// The content for an entitled caller, and whether all of it is there.
    fn of(state: &CallerState, entitled: &[HeldIdentity]) -> Found<Self>;

    /// Whether a client would see no difference.
    fn same(&self, other: &Self) -> bool;

    fn message(&self) -> Self::Message;
}

/// What of a content is there.
pub(super) enum Found<C> {
    /// All of it.
    Whole(C),
    /// Some of it, and the rest is being fetched.
    Part(C),
    /// Nothing: what to say when the wait is over.
    Missing(Status),
}

/// `X509SVIDResponse`.
pub(super) struct X509Svids {
    /// With their hints, in the order of the entries; never empty.
    svids: Vec<(Arc<X509Svid>, String)>,
    bundle: Arc<TrustBundle>,
    revocation: Option<Arc<RevocationSet>>,
    foreign: ForeignBundles,
}

/// `X509BundlesResponse`.
pub(super) struct X509Bundles(Arc<TrustBundle>, Option<Arc<RevocationSet>>, ForeignBundles);

/// `JWTBundlesResponse`.
pub(super) struct JwtBundles(Arc<TrustBundle>, ForeignBundles);

impl Content for X509Svids {
    type Message = workload::X509svidResponse;

    fn of(state: &CallerState, entitled: &[HeldIdentity]) -> Found<Self> {
        let Some(bundle) = &state.bundle else { return Found::Missing(standing::no_bundle()) };
        let mut hints = Hints::default();
        let svids: Vec<_> = entitled
            .iter()
            .filter_map(|identity| Some((Arc::clone(identity.state.svid()?), hints.take(&identity.entry.hint))))
            .collect();
        if svids.is_empty() {
            return Found::Missing(standing::none_held(entitled));
        }
        // One that has failed already may fail for long: the others do not wait for it.
        let fetched_for_the_first_time =
            |identity: &HeldIdentity| matches!(identity.state, IdentityState::Initializing) && identity.last_error.is_none();
        let (revocation, foreign) = (state.revocation.clone(), state.foreign.clone());
        let content = Self { svids, bundle: Arc::clone(bundle), revocation, foreign };
        if entitled.iter().any(fetched_for_the_first_time) { Found::Part(content) } else { Found::Whole(content) }
    }

    fn same(&self, other: &Self) -> bool {
        self.svids.len() == other.svids.len()
            && self.svids.iter().zip(&other.svids).all(|(a, b)| Arc::ptr_eq(&a.0, &b.0) && a.1 == b.1)
            && self.bundle.authorities() == other.bundle.authorities()
            && lists_of(&self.revocation) == lists_of(&other.revocation)
            && x509_of(&self.foreign).eq(x509_of(&other.foreign))
    }

    /// It holds private keys: it must never be logged.
    fn message(&self) -> Self::Message {
        let bundle = concatenated(self.bundle.authorities());
        let svid = |(svid, hint): &(Arc<X509Svid>, String)| workload::X509svid {
            spiffe_id: svid.id().to_string(),
            x509_svid: concatenated(svid.chain()),
            x509_svid_key: svid.key().pkcs8_der().to_vec(),
            bundle: bundle.clone(),
            hint: hint.clone(),
        };
        workload::X509svidResponse {
            svids: self.svids.iter().map(svid).collect(),
            crl: crl(&self.revocation),
            federated_bundles: x509_of(&self.foreign).collect(),
        }
    }
}

impl Content for X509Bundles {
    type Message = workload::X509BundlesResponse;

    fn of(state: &CallerState, _entitled: &[HeldIdentity]) -> Found<Self> {
        match &state.bundle {
            Some(bundle) => Found::Whole(Self(Arc::clone(bundle), state.revocation.clone(), state.foreign.clone())),
            None => Found::Missing(standing::no_bundle()),
        }
    }

    fn same(&self, other: &Self) -> bool {
        self.0.authorities() == other.0.authorities()
            && lists_of(&self.1) == lists_of(&other.1)
            && x509_of(&self.2).eq(x509_of(&other.2))
    }

    fn message(&self) -> Self::Message {
        let own = (trust_domain_id(&self.0), concatenated(self.0.authorities()));
        workload::X509BundlesResponse { crl: crl(&self.1), bundles: std::iter::once(own).chain(x509_of(&self.2)).collect() }
    }
}

impl Content for JwtBundles {
    type Message = workload::JwtBundlesResponse;

    fn of(state: &CallerState, _entitled: &[HeldIdentity]) -> Found<Self> {
        match &state.bundle {
            Some(bundle) => Found::Whole(Self(Arc::clone(bundle), state.foreign.clone())),
            None => Found::Missing(standing::no_bundle()),
        }
    }

    fn same(&self, other: &Self) -> bool {
        self.0.jwt_authorities() == other.0.jwt_authorities() && jwt_of(&self.1).eq(jwt_of(&other.1))
    }

    fn message(&self) -> Self::Message {
        let own = (trust_domain_id(&self.0), self.0.to_jwks(JwksContent::Jwt).into_bytes());
        workload::JwtBundlesResponse { bundles: std::iter::once(own).chain(jwt_of(&self.1)).collect() }
    }
}

/// Hints of one response: each must be unique in it (section 5.2.1). The first that has one keeps it, the others go without,
/// since clients drop an SVID whose hint they have met before.
#[derive(Default)]
pub(super) struct Hints(BTreeSet<String>);

impl Hints {
    pub(super) fn take(&mut self, hint: &str) -> String {
        if self.0.insert(hint.to_owned()) { hint.to_owned() } else { String::new() }
    }
}

/// The SPIFFE ID of a bundle's trust domain, under which bundles are listed.
fn trust_domain_id(bundle: &TrustBundle) -> String {
    format!("spiffe://{}", bundle.trust_domain())
}

/// Foreign X.509 authorities as they are listed. A trust domain without any is left out: whoever has no bundle of it accepts nothing of it.
fn x509_of(foreign: &ForeignBundles) -> impl Iterator<Item = (String, Vec<u8>)> {
    let some = foreign.values().filter(|bundle| !bundle.authorities().is_empty());
    some.map(|bundle| (trust_domain_id(bundle), concatenated(bundle.authorities())))
}

/// Foreign JWT authorities as they are listed.
fn jwt_of(foreign: &ForeignBundles) -> impl Iterator<Item = (String, Vec<u8>)> {
    foreign.values().map(|bundle| (trust_domain_id(bundle), bundle.to_jwks(JwksContent::Jwt).into_bytes()))
}

fn lists_of(revocation: &Option<Arc<RevocationSet>>) -> &[RevocationList] {
    revocation.as_ref().map_or(&[], |set| set.lists())
}

/// Each list whole, DER. A stale one too: what it names is revoked all the same, and whoever reads it reads its dates.
fn crl(revocation: &Option<Arc<RevocationSet>>) -> Vec<Vec<u8>> {
    lists_of(revocation).iter().map(|list| list.der().to_vec()).collect()
}

fn concatenated(certificates: &[Certificate]) -> Vec<u8> {
    certificates.iter().flat_map(|certificate| certificate.der().iter()).copied().collect()
}

#[cfg(test)]
mod tests;
