//! Real certificates and a peer to play with.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use identity::{SpiffeId, TrustDomain};
use pki::crl::{CrlTemplate, RevocationReason, RevokedSerial, prepare_crl};
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, KeyAlgorithm, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, RevocationSet,
    SerialNumber, Timestamp, TrustBundle, X509Svid, prepare_authority, prepare_leaf,
};

use super::super::*;
use crate::SecretState;

pub(crate) const START: u64 = 1_800_000_000;
const HOUR: Duration = Duration::from_secs(3600);

pub(crate) struct Authority {
    root: Certificate,
    root_key: PrivateKey,
    issuer: Certificate,
    issuer_key: PrivateKey,
    serials: Cell<u8>,
}

fn serial(number: u8) -> SerialNumber {
    SerialNumber::new(ReplicaByte::new(1).unwrap(), [number; pki::SERIAL_RANDOM_BYTES])
}

pub(crate) fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
}

pub(crate) fn id(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://example.org/{name}")).unwrap()
}

impl Authority {
    pub(crate) fn new() -> Self {
        Self::of(&domain())
    }

    pub(crate) fn of(trust_domain: &TrustDomain) -> Self {
        let now = Timestamp::from_unix_seconds(START - 3600);
        let keys = [0, 1].map(|_| PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap());
        let mint = |role, key: &PrivateKey, number, issuer: Option<&Certificate>| {
            let lifetime = Duration::from_secs(300 * 86_400);
            let (serial, public_key) = (serial(number), key.public_key());
            let spec = AuthoritySpec { role, trust_domain, public_key, lifetime, serial, now };
            prepare_authority(&spec, issuer).unwrap().sign(&keys[0]).unwrap()
        };
        let root = mint(AuthorityRole::Root, &keys[0], 1, None);
        let issuer = mint(AuthorityRole::Issuer, &keys[1], 2, Some(&root));
        let [root_key, issuer_key] = keys;
        Self { root, root_key, issuer, issuer_key, serials: Cell::new(3) }
    }

    pub(crate) fn root(&self) -> Certificate {
        self.root.clone()
    }

    /// The list of the root or the issuing CA, from an hour before `START` to `until` seconds after it.
    pub(crate) fn list(&self, role: AuthorityRole, revoked: &[&X509Svid], until: u64) -> (Vec<u8>, Certificate) {
        self.list_from(START - 3600, role, revoked, until)
    }

    pub(crate) fn list_from(&self, start: u64, role: AuthorityRole, revoked: &[&X509Svid], until: u64) -> (Vec<u8>, Certificate) {
        let (issuer, key) = match role {
            AuthorityRole::Root => (&self.root, &self.root_key),
            AuthorityRole::Issuer => (&self.issuer, &self.issuer_key),
        };
        let start = Timestamp::from_unix_seconds(start);
        let entry = |svid: &&X509Svid| RevokedSerial {
            serial: svid.leaf().serial().clone(),
            revoked_at: start,
            reason: RevocationReason::default(),
        };
        let entries: Vec<_> = revoked.iter().map(entry).collect();
        let (this_update, next_update) = (start, Timestamp::from_unix_seconds(START + until));
        let template = CrlTemplate { issuer, number: 1.into(), this_update, next_update, entries: &entries };
        (prepare_crl(&template).unwrap().sign(key).unwrap(), issuer.clone())
    }

    /// An SVID issued at `START` plus `at` seconds.
    pub(crate) fn svid(&self, name: &str, at: u64, ttl: Duration) -> Arc<X509Svid> {
        let now = Timestamp::from_unix_seconds(START + at);
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        self.serials.set(self.serials.get() + 1);
        let request = LeafRequest {
            id: &id(name),
            dns_names: &[],
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: Some(ttl),
            serial: serial(self.serials.get()),
            now,
        };
        let profile = LeafProfile::new(HOUR, 24 * HOUR).unwrap();
        let leaf = prepare_leaf(&profile, &request, &self.issuer).unwrap().sign(&self.issuer_key).unwrap();
        Arc::new(X509Svid::new(vec![leaf, self.issuer.clone()], key, now).unwrap())
    }

    /// An SVID for an hour from `START`.
    pub(crate) fn fresh(&self, name: &str) -> Arc<X509Svid> {
        self.svid(name, 0, HOUR)
    }
}

pub(crate) fn bundle(authorities: &[&Authority]) -> Arc<TrustBundle> {
    Arc::new(TrustBundle::new(domain(), authorities.iter().map(|authority| authority.root()).collect(), 1).unwrap())
}

pub(crate) fn state(svids: &[&Arc<X509Svid>], bundle: &Arc<TrustBundle>) -> Arc<SecretState> {
    Arc::new(SecretState {
        known: true,
        svids: svids.iter().map(|svid| Arc::clone(svid)).collect(),
        bundle: Some(Arc::clone(bundle)),
        ..SecretState::default()
    })
}

/// The bundle of another trust domain, of these authorities.
pub(crate) fn foreign(name: &str, authorities: &[&Authority]) -> Arc<TrustBundle> {
    let jwks = r#"{"keys":[]}"#.as_bytes();
    let name = TrustDomain::parse(name).unwrap();
    if authorities.is_empty() {
        return Arc::new(TrustBundle::from_jwks(name, jwks).unwrap());
    }
    Arc::new(TrustBundle::new(name, authorities.iter().map(|authority| authority.root()).collect(), 1).unwrap())
}

/// The same with bundles of other trust domains.
pub(crate) fn federating(state: &Arc<SecretState>, foreign: &[&Arc<TrustBundle>]) -> Arc<SecretState> {
    let foreign = foreign.iter().map(|bundle| Arc::clone(bundle)).collect();
    Arc::new(SecretState { foreign, ..SecretState::clone(state) })
}

/// The same with what was revoked.
pub(crate) fn with_lists(state: &Arc<SecretState>, lists: &Arc<RevocationSet>) -> Arc<SecretState> {
    Arc::new(SecretState { revocation: Some(Arc::clone(lists)), ..SecretState::clone(state) })
}

/// Lists as their publisher sends them, for a bundle of these authorities.
pub(crate) fn lists(authorities: &[&Authority], lists: &[(Vec<u8>, Certificate)], complete: bool) -> Arc<RevocationSet> {
    let lists = lists.iter().map(|(list, issuer)| (list.as_slice(), issuer.der().as_ref()));
    Arc::new(RevocationSet::verify(lists, 1, complete, &bundle(authorities)).unwrap())
}

/// Root and issuing CA, each with its list, to `until` seconds after `START`.
pub(crate) fn whole_lists(authority: &Authority, revoked: &[&X509Svid], until: u64) -> Arc<RevocationSet> {
    let both = [AuthorityRole::Root, AuthorityRole::Issuer];
    let both = both.map(|role| authority.list(role, if role == AuthorityRole::Issuer { revoked } else { &[] }, until));
    lists(&[authority], &both, true)
}

/// How many lists the one validation context in a response carries.
pub(crate) fn lists_in(response: &Response) -> usize {
    let [Resource { secret: Secret::ValidationContext { lists, .. }, .. }] = response.resources.as_slice() else {
        panic!("not one validation context: {response:?}")
    };
    lists.len()
}

/// A machine, and the time.
pub(crate) struct Bench {
    pub(crate) machine: Connection,
    pub(crate) now: Now,
}

impl Bench {
    pub(crate) fn new(state: Arc<SecretState>) -> Self {
        Self::of(ValidationContextKind::SpiffeValidator, state)
    }

    /// Whose validation contexts have this form where nobody asks for another.
    pub(crate) fn of(kind: ValidationContextKind, state: Arc<SecretState>) -> Self {
        let now = Now { wall: Timestamp::from_unix_seconds(START + 1), boot: Duration::from_secs(1000) };
        Self { machine: Connection::new(kind, state, now), now }
    }

    pub(crate) fn pass(&mut self, span: Duration) {
        self.now = Now { wall: self.now.wall.plus(span), boot: self.now.boot + span };
    }

    /// Time passes, and the streams look when the machine wants to be asked, as they do behind the service.
    pub(crate) fn pass_awake(&mut self, span: Duration) {
        self.pass(span);
        if self.machine.next_wakeup().is_some_and(|at| at <= self.now.boot) {
            self.machine.advance(self.now);
        }
    }

    /// No list that a response carries is stale or about to be, is of somebody whom the bundle beside it does not vouch for, or lets a verifier
    /// miss one: with the SPIFFE validator each CA has its own, with the plain one that of each leaf.
    #[track_caller]
    pub(crate) fn check_lists(&self, response: &Response, state: &SecretState) {
        for resource in &response.resources {
            let Secret::ValidationContext { bundle, lists, kind, foreign: _ } = &resource.secret else { continue };
            for list in lists.iter() {
                let soon = self.now.wall.plus(Duration::from_secs(29));
                assert!(list.is_current(self.now.wall) && list.is_current(soon), "a list that ends at {}", list.next_update());
                assert!(pki::RevocationList::verify(list.der(), list.issuer_der(), bundle).is_ok(), "a list of a stranger");
            }
            let of = |root: &Certificate| lists.iter().any(|list| list.issuer() == root);
            match kind {
                _ if lists.is_empty() => {}
                ValidationContextKind::SpiffeValidator => assert!(bundle.authorities().iter().all(of), "a root without a list"),
                ValidationContextKind::TrustedCa => {
                    // Of what is held back the peer has nothing.
                    let own = state.bundle.as_ref().unwrap_or(bundle);
                    let sent = |svid: &&Arc<X509Svid>| [own, bundle].iter().all(|by| svid.verify(by, self.now.wall).is_ok());
                    let covered = |svid: &Arc<X509Svid>| lists.iter().any(|list| list.is_for(svid.leaf()));
                    assert!(state.svids.iter().filter(sent).all(covered), "a leaf without a list");
                }
            }
        }
    }

    pub(crate) fn update(&mut self, state: &Arc<SecretState>) {
        self.machine.update(Arc::clone(state), self.now);
    }

    pub(crate) fn ask(&mut self, stream: StreamId, names: &[&str]) {
        let request = Request { type_url: SECRET_TYPE_URL.to_owned(), names: owned(names), ..Request::default() };
        self.machine.request(stream, request, self.now).unwrap();
    }

    pub(crate) fn open(&mut self, names: &[&str]) -> StreamId {
        let stream = self.machine.open().unwrap();
        self.ask(stream, names);
        stream
    }

    pub(crate) fn take(&mut self, stream: StreamId) -> Option<Response> {
        self.machine.transmit(stream, self.now)
    }

    #[track_caller]
    pub(crate) fn sent(&mut self, stream: StreamId) -> Response {
        self.take(stream).expect("a response")
    }

    #[track_caller]
    pub(crate) fn silent(&mut self, streams: &[StreamId]) {
        for stream in streams {
            let sent = self.take(*stream);
            assert!(sent.is_none(), "stream {stream} was sent {sent:?}");
        }
    }

    pub(crate) fn ack(&mut self, stream: StreamId, names: &[&str], response: &Response) {
        let Response { version, nonce, .. } = response;
        let request = Request { names: owned(names), version: version.clone(), nonce: nonce.clone(), ..Request::default() };
        self.machine.request(stream, request, self.now).unwrap();
    }

    pub(crate) fn nack(&mut self, stream: StreamId, names: &[&str], response: &Response) {
        let (nonce, rejection) = (response.nonce.clone(), Some("Failed to load certificate chain from <inline>".to_owned()));
        let request = Request { names: owned(names), nonce, rejection, ..Request::default() };
        self.machine.request(stream, request, self.now).unwrap();
    }

    pub(crate) fn ask_delta(&mut self, stream: StreamId, request: DeltaRequest) {
        self.machine.request_delta(stream, request, self.now).unwrap();
    }

    pub(crate) fn open_delta(&mut self, names: &[&str], held: &[(&str, &str)]) -> StreamId {
        let stream = self.machine.open_delta().unwrap();
        let initial_versions = held.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect();
        let type_url = SECRET_TYPE_URL.to_owned();
        let request = DeltaRequest { type_url, subscribe: owned(names), initial_versions, ..DeltaRequest::default() };
        self.ask_delta(stream, request);
        stream
    }

    pub(crate) fn ack_delta(&mut self, stream: StreamId, response: &Response) {
        self.ask_delta(stream, DeltaRequest { nonce: response.nonce.clone(), ..DeltaRequest::default() });
    }

    pub(crate) fn nack_delta(&mut self, stream: StreamId, response: &Response) {
        let (nonce, rejection) = (response.nonce.clone(), Some("Failed to load certificate chain from <inline>".to_owned()));
        self.ask_delta(stream, DeltaRequest { nonce, rejection, ..DeltaRequest::default() });
    }

    pub(crate) fn alarms(&mut self) -> Vec<Alarm> {
        let alarm = |event| if let Event::Alarm(alarm) = event { Some(alarm) } else { None };
        self.machine.take_events().into_iter().filter_map(alarm).collect()
    }
}

pub(crate) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The serial of the one certificate in a response.
pub(crate) fn serial_of(response: &Response) -> String {
    let serials: Vec<_> = response.resources.iter().filter_map(|resource| svid_of(resource)).collect();
    let [svid] = serials.as_slice() else { panic!("not one certificate: {response:?}") };
    svid.leaf().serial().to_string()
}

pub(crate) fn svid_of(resource: &Resource) -> Option<&X509Svid> {
    if let Secret::Certificate(svid) = &resource.secret { Some(svid) } else { None }
}

pub(crate) fn bundle_of(response: &Response) -> &TrustBundle {
    let [Resource { secret: Secret::ValidationContext { bundle, .. }, .. }] = response.resources.as_slice() else {
        panic!("not one validation context: {response:?}")
    };
    bundle
}
