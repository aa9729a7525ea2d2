//! Root, issuing CA and leaves of one trust domain.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use identity::{SpiffeId, TrustDomain};
use pki::crl::{CrlTemplate, RevocationReason, RevokedSerial, prepare_crl};
use pki::{
    AudienceSet, AuthorityRole, AuthoritySpec, Certificate, JwtAuthority, JwtKey, JwtSvid, KeyAlgorithm, LeafProfile,
    LeafRequest, PrivateKey, PublicKey, ReplicaByte, RevocationSet, SerialNumber, Sha256Digest, Timestamp, TrustBundle, X509Svid,
    prepare_authority, prepare_jwt_svid, prepare_leaf,
};
use proto::v1;

use crate::ca_client::wire;

const DAY: Duration = Duration::from_secs(86_400);

#[derive(Debug)]
pub(crate) struct FakeAuthority {
    pub(crate) trust_domain: TrustDomain,
    pub(crate) root: Certificate,
    root_key: PrivateKey,
    issuer: Certificate,
    issuer_key: PrivateKey,
    jwt_key: JwtKey,
    serials: AtomicU64,
}

fn serial(number: u64) -> SerialNumber {
    let mut random = [7; 17];
    random[9..].copy_from_slice(&number.to_be_bytes());
    SerialNumber::new(ReplicaByte::new(1).unwrap(), random)
}

impl FakeAuthority {
    pub(crate) fn new(now: Timestamp) -> Self {
        Self::of("example.org", now)
    }

    /// Of another trust domain.
    pub(crate) fn of(trust_domain: &str, now: Timestamp) -> Self {
        let trust_domain = TrustDomain::parse(trust_domain).unwrap();
        let root_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let issuer_key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let spec = |role, public_key, number| AuthoritySpec {
            role,
            trust_domain: &trust_domain,
            public_key,
            lifetime: DAY * 365,
            serial: serial(number),
            now,
        };
        let root = spec(AuthorityRole::Root, root_key.public_key(), 1);
        let root = prepare_authority(&root, None).unwrap().sign(&root_key).unwrap();
        let issuer = spec(AuthorityRole::Issuer, issuer_key.public_key(), 2);
        let issuer = prepare_authority(&issuer, Some(&root)).unwrap().sign(&root_key).unwrap();
        let jwt_key = JwtKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap();
        Self { trust_domain, root, root_key, issuer, issuer_key, jwt_key, serials: AtomicU64::new(100) }
    }

    pub(crate) fn bundle(&self, sequence: u64) -> TrustBundle {
        let bundle = TrustBundle::new(self.trust_domain.clone(), vec![self.root.clone()], sequence).unwrap();
        bundle.with_jwt_authorities(vec![self.jwt_key.authority().clone()]).unwrap()
    }

    /// The bundle of several generations of a trust domain, of which nothing should rest on these keys any more.
    pub(crate) fn bundle_of(generations: &[&Self], tainted: &[Sha256Digest], sequence: u64) -> TrustBundle {
        let (roots, keys): (Vec<_>, Vec<_>) =
            generations.iter().map(|authority| (authority.root.clone(), authority.jwt_key.authority().clone())).unzip();
        let bundle = TrustBundle::new(generations[0].trust_domain.clone(), roots, sequence).unwrap();
        bundle.with_jwt_authorities(keys).unwrap().with_tainted_keys(tainted.iter().copied().collect())
    }

    /// The lists of root and issuing CA, good for a week from `now`, with these leaves revoked.
    pub(crate) fn lists(&self, revoked: &[&X509Svid], sequence: u64, now: Timestamp) -> RevocationSet {
        let week = DAY * 7;
        let entry = |svid: &&X509Svid| RevokedSerial {
            serial: svid.leaf().serial().clone(),
            revoked_at: now,
            reason: RevocationReason::default(),
        };
        let entries: Vec<_> = revoked.iter().map(entry).collect();
        let list = |issuer: &Certificate, key: &PrivateKey, entries: &[RevokedSerial]| {
            let (number, next_update) = (sequence.into(), now.plus(week));
            let template = CrlTemplate { issuer, number, this_update: now, next_update, entries };
            prepare_crl(&template).unwrap().sign(key).unwrap()
        };
        let lists = [list(&self.root, &self.root_key, &[]), list(&self.issuer, &self.issuer_key, &entries)];
        let issuers = [&self.root, &self.issuer];
        let lists = lists.iter().zip(issuers).map(|(list, issuer)| (list.as_slice(), issuer.der().as_ref()));
        RevocationSet::verify(lists, sequence, true, &self.bundle(1)).unwrap()
    }

    /// Such lists as they travel.
    pub(crate) fn wire_lists(&self, revoked: &[&X509Svid], sequence: u64, now: Timestamp) -> v1::RevocationLists {
        wire::revocation_to_wire(&self.lists(revoked, sequence, now), &self.trust_domain)
    }

    /// What a taint of the root names.
    pub(crate) fn root_key(&self) -> Sha256Digest {
        self.root.public_key().fingerprint()
    }

    /// What a taint of the issuing CA names.
    pub(crate) fn issuer_key(&self) -> Sha256Digest {
        self.issuer.public_key().fingerprint()
    }

    /// What a taint of the JWT key names.
    pub(crate) fn token_key(&self) -> Sha256Digest {
        self.jwt_key.authority().public_key().fingerprint()
    }

    /// The bundle as it travels.
    pub(crate) fn wire_bundle(&self, sequence: u64) -> v1::Bundle {
        Self::wire_of(&self.bundle(sequence))
    }

    /// Any bundle as it travels.
    pub(crate) fn wire_of(bundle: &TrustBundle) -> v1::Bundle {
        let jwt_authority = |authority: &JwtAuthority| v1::JwtAuthority {
            key_id: authority.key_id().to_string(),
            public_key: authority.public_key().spki_der().to_vec(),
        };
        v1::Bundle {
            trust_domain: bundle.trust_domain().to_string(),
            x509_authorities: bundle.authorities().iter().map(|root| root.der().to_vec()).collect(),
            sequence: bundle.sequence(),
            jwt_authorities: bundle.jwt_authorities().iter().map(jwt_authority).collect(),
            tainted_keys: bundle.tainted_keys().iter().map(|key| key.to_vec()).collect(),
        }
    }

    pub(crate) fn jwt_svid(&self, id: &SpiffeId, audiences: &AudienceSet, ttl: Duration, now: Timestamp) -> JwtSvid {
        prepare_jwt_svid(self.jwt_key.authority(), id, audiences, ttl, now).unwrap().sign(&self.jwt_key).unwrap()
    }

    pub(crate) fn chain(&self, id: &SpiffeId, key: &PublicKey, ttl: Duration, now: Timestamp) -> Vec<Certificate> {
        self.addressed_chain(id, &[], key, ttl, now)
    }

    fn addressed_chain(
        &self,
        id: &SpiffeId,
        ip_addresses: &[IpAddr],
        key: &PublicKey,
        ttl: Duration,
        now: Timestamp,
    ) -> Vec<Certificate> {
        let profile = LeafProfile::new(DAY, DAY).unwrap();
        let number = self.serials.fetch_add(1, Ordering::Relaxed);
        let request =
            LeafRequest { id, dns_names: &[], ip_addresses, public_key: key, ttl: Some(ttl), serial: serial(number), now };
        let leaf = prepare_leaf(&profile, &request, &self.issuer).unwrap().sign(&self.issuer_key).unwrap();
        vec![leaf, self.issuer.clone()]
    }

    pub(crate) fn svid(&self, id: &SpiffeId, ttl: Duration, now: Timestamp) -> X509Svid {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        X509Svid::new(self.chain(id, key.public_key(), ttl, now), key, now).unwrap()
    }

    pub(crate) fn id(&self, path: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://{}{path}", self.trust_domain)).unwrap()
    }

    /// A certificate for a server at 127.0.0.1.
    pub(crate) fn serving(&self, path: &str, now: Timestamp) -> Arc<X509Svid> {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let here = [IpAddr::from([127, 0, 0, 1])];
        let chain = self.addressed_chain(&self.id(path), &here, key.public_key(), DAY, now);
        Arc::new(X509Svid::new(chain, key, now).unwrap())
    }
}
