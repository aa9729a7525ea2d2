//! What the tests of both engines are made of.

use std::collections::BTreeSet;

use identity::TrustDomain;
pub(in crate::store) use identity::{AliasName, NodeName, ReplicaName, SpiffeId};
pub(in crate::store) use pki::{ReplicaByte, SerialNumber, Sha256Digest, Timestamp, sha256};

pub(in crate::store) use crate::audit::{Actor, AuditRecord};
pub(in crate::store) use crate::federation::{BundleEndpoint, Federation, ForeignDocument};
pub(in crate::store) use crate::issuance::{Intent, Ledger};
pub(in crate::store) use crate::oidc::AdmissionSource;
pub(in crate::store) use crate::records::{
    AgentSvidRecord, EntryId, Hint, NewEntry, NodeRecord, Parent, Provenance, Reason, RenewalGrounds, SvidGrounds, TokenRecord,
};
pub(in crate::store) use crate::store::sql::{Engine, SqlStore};
pub(in crate::store) use crate::store::{AuditLog, AuditReader, RedeemError, Registration, StoreError, TokenStore};

pub(in crate::store) const OPERATOR: Actor = Actor::Operator { uid: 1000 };

/// What is asked of every store under test.
pub(in crate::store) trait Asked {
    async fn events(&self) -> Vec<AuditRecord>;
    async fn kinds(&self) -> Vec<String>;
    /// Makes a token of which every byte of the hash is `number`.
    async fn token(&self, number: u8, name: &str) -> Result<(), StoreError>;
    async fn redeem(&self, number: u8, key: u8, now: u64) -> Result<NodeRecord, RedeemError>;
}

/// A fixture around a store.
pub(in crate::store) trait HasStore {
    type Engine: Engine;
    fn store(&self) -> &SqlStore<Self::Engine>;
}

impl<F: HasStore> Asked for F {
    async fn events(&self) -> Vec<AuditRecord> {
        self.store().audit_after(0, 10_000).await.unwrap()
    }

    async fn kinds(&self) -> Vec<String> {
        self.events().await.into_iter().map(|event| event.kind).collect()
    }

    async fn token(&self, number: u8, name: &str) -> Result<(), StoreError> {
        let token = TokenRecord { hash: hash(number), node: node(name), expires_at: at(600) };
        self.store().create_token(token, OPERATOR, at(0)).await
    }

    async fn redeem(&self, number: u8, key: u8, now: u64) -> Result<NodeRecord, RedeemError> {
        self.store().redeem_token(hash(number), vec![key; 91], at(now)).await
    }
}

pub(in crate::store) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000 + seconds)
}

pub(in crate::store) fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

pub(in crate::store) fn hash(number: u8) -> Sha256Digest {
    [number; 32]
}

pub(in crate::store) fn serial(number: u64) -> SerialNumber {
    SerialNumber::from_bytes(&[&[1_u8][..], &number.to_be_bytes()].concat()).unwrap()
}

pub(in crate::store) fn svid(number: u64) -> AgentSvidRecord {
    AgentSvidRecord { serial: serial(number), not_after: at(3600) }
}

pub(in crate::store) fn attestation(key: u8) -> SvidGrounds {
    SvidGrounds::Attestation { node_key_spki: vec![key; 91] }
}

pub(in crate::store) fn entry_id(number: u8) -> EntryId {
    EntryId::from_random([number; 16])
}

pub(in crate::store) fn entry(path: &str, parent: &str, selectors: &[&str]) -> NewEntry {
    NewEntry {
        spiffe_id: SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap(),
        selectors: selectors.iter().map(|text| text.parse().unwrap()).collect(),
        parent: Parent::Node(node(parent)),
        ttl: None,
        dns_names: vec![],
        hint: Hint::default(),
        expires_at: None,
        federates_with: BTreeSet::new(),
    }
}

/// A relationship with an endpoint of the profile `https_spiffe`.
pub(in crate::store) fn federation(name: &str) -> Federation {
    let trust_domain = TrustDomain::parse(name).unwrap();
    let id = format!("spiffe://{name}/ca");
    let endpoint = BundleEndpoint::new(&trust_domain, "https://127.0.0.1:8444/", Some(&id)).unwrap();
    Federation { trust_domain, endpoint, created_at: at(0) }
}

/// A document of this sequence that says `content`: the store does not look into it.
pub(in crate::store) fn foreign_document(sequence: u64, content: &str) -> ForeignDocument {
    ForeignDocument { json: content.as_bytes().to_vec(), sequence, taken_at: at(sequence) }
}

/// Who signs, where a test does not say otherwise.
pub(in crate::store) const ISSUER: Sha256Digest = [0x1c; 32];

pub(in crate::store) fn intent(number: u64) -> Intent {
    Intent {
        serial: serial(number),
        tbs_der: sha256(&number.to_be_bytes()).to_vec(),
        subject: SpiffeId::parse("spiffe://example.org/web").unwrap(),
        caller: "n1".to_owned(),
        reason: Reason::Attestation,
        provenance: None,
        not_after: at(3600),
        issuer_key: ISSUER,
        now: at(0),
    }
}

/// How a replica of this name presents itself; each name is an instance of its own.
pub(in crate::store) fn registration(name: &str, byte: u8) -> Registration {
    Registration {
        replica: ReplicaName::parse(name).unwrap(),
        serial_byte: ReplicaByte::new(byte).unwrap(),
        address: format!("{name}.example.org:8443"),
        instance: sha256(name.as_bytes()),
    }
}

/// A line that began at 0.
pub(in crate::store) fn provenance() -> Provenance {
    let source = AdmissionSource {
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["signet".to_owned()],
        claims: [("sub".to_owned(), "s".to_owned())].into(),
    };
    Provenance { grounds: RenewalGrounds::Token(source), line_start: at(0) }
}
