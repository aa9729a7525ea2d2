//! The store's behaviour on a real file.

mod acknowledgements;
mod aliases;
mod apply;
mod authorities;
mod certificates;
mod chain;
mod clock;
mod entries;
mod file;
mod issuance;
mod leaves;
mod migration;
mod nodes;
mod orphans;
mod remembered;
mod revocations;
mod tokens;

use std::path::PathBuf;

use identity::{AliasName, NodeName, SpiffeId};
use pki::{SerialNumber, Sha256Digest, Timestamp, sha256};

use super::SqliteStore;
use super::remembered::{Generation, Remembered};
use crate::audit::{Actor, AuditRecord};
use crate::issuance::{Intent, Ledger};
use crate::oidc::AdmissionSource;
use crate::records::{
    AgentSvidRecord, EntryId, Hint, NewEntry, NodeRecord, Parent, Provenance, Reason, RenewalGrounds, SvidGrounds, TokenRecord,
};
use crate::store::{AuditLog, AuditReader, RedeemError, StoreError, TokenStore};

const OPERATOR: Actor = Actor::Operator { uid: 1000 };

/// A store in a directory that goes away with it.
struct Fixture {
    directory: tempfile::TempDir,
    store: SqliteStore,
}

impl Fixture {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(&directory.path().join("store.db")).unwrap();
        Self { directory, store }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("store.db")
    }

    /// Closes and opens the same file.
    fn reopened(self) -> Self {
        let Self { directory, store } = self;
        drop(store);
        let store = SqliteStore::open(&directory.path().join("store.db")).unwrap();
        Self { directory, store }
    }

    async fn events(&self) -> Vec<AuditRecord> {
        self.store.audit_after(0, 10_000).await.unwrap()
    }

    async fn kinds(&self) -> Vec<String> {
        self.events().await.into_iter().map(|event| event.kind).collect()
    }

    /// Makes a token of which every byte of the hash is `number`.
    async fn token(&self, number: u8, name: &str) -> Result<(), StoreError> {
        let token = TokenRecord { hash: hash(number), node: node(name), expires_at: at(600) };
        self.store.create_token(token, OPERATOR, at(0)).await
    }

    async fn redeem(&self, number: u8, key: u8, now: u64) -> Result<NodeRecord, RedeemError> {
        self.store.redeem_token(hash(number), vec![key; 91], at(now)).await
    }
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(1_700_000_000 + seconds)
}

fn node(name: &str) -> NodeName {
    NodeName::parse(name).unwrap()
}

fn hash(number: u8) -> Sha256Digest {
    [number; 32]
}

fn serial(number: u64) -> SerialNumber {
    SerialNumber::from_bytes(&[&[1_u8][..], &number.to_be_bytes()].concat()).unwrap()
}

fn svid(number: u64) -> AgentSvidRecord {
    AgentSvidRecord { serial: serial(number), not_after: at(3600) }
}

fn attestation(key: u8) -> SvidGrounds {
    SvidGrounds::Attestation { node_key_spki: vec![key; 91] }
}

fn entry_id(number: u8) -> EntryId {
    EntryId::from_random([number; 16])
}

fn entry(path: &str, parent: &str, selectors: &[&str]) -> NewEntry {
    NewEntry {
        spiffe_id: SpiffeId::parse(&format!("spiffe://example.org/{path}")).unwrap(),
        selectors: selectors.iter().map(|text| text.parse().unwrap()).collect(),
        parent: Parent::Node(node(parent)),
        ttl: None,
        dns_names: vec![],
        hint: Hint::default(),
        expires_at: None,
    }
}

/// Who signs, where a test does not say otherwise.
const ISSUER: Sha256Digest = [0x1c; 32];

fn intent(number: u64) -> Intent {
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

/// A line that began at 0.
fn provenance() -> Provenance {
    let source = AdmissionSource {
        issuer: "https://issuer.example".to_owned(),
        audiences: vec!["signet".to_owned()],
        claims: [("sub".to_owned(), "s".to_owned())].into(),
    };
    Provenance { grounds: RenewalGrounds::Token(source), line_start: at(0) }
}
