//! The events: each a typed value with a kind and a body in canonical JSON. No secret can get in: a token is named by the start of
//! its hash, a key by the hash of its public part.

use std::collections::{BTreeMap, BTreeSet};

use data_encoding::HEXLOWER;
use identity::{AliasName, NodeName, SpiffeId, TrustDomain};
use pki::{AudienceSet, KeyId, SerialNumber, Sha256Digest, Timestamp};
use serde::Serialize;

use crate::records::{Entry, NodeAlias, Parent, Provenance, ProvisioningCertificate, RenewalGrounds, TokenRecord};

/// How many bytes of a token's hash name it in the log.
const TOKEN_NAME_BYTES: usize = 8;

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Someone at the admin socket.
    Operator {
        /// The user of the peer process, as the kernel says.
        uid: u32,
    },
    /// The agent of this node.
    Agent(NodeName),
    /// The CA itself.
    System,
}

/// Something that happened, and who did it.
#[derive(Clone, Debug)]
pub struct AuditEvent {
    /// Who.
    pub actor: Actor,
    /// What.
    pub action: Action,
}

/// Whether a token or certificate was redeemed for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// The first time: it is bound to the key now.
    First,
    /// Again by the same key, whose first reply was lost.
    Retry,
}

/// Why a token that exists was not redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenRefusal {
    /// Its time was over.
    Expired,
    /// Another key had it.
    UsedByAnotherKey,
    /// The node or the key is banned.
    Banned,
    /// The key belongs to a node of another name.
    KeyOfAnotherNode,
}

/// Why a provisioning certificate was not redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateRefusal {
    /// Another key had used it, or the same too long ago, or its node was evicted or banned since.
    Used,
    /// It was used for a node of another name.
    OtherName,
    /// The node is on record with another key.
    NodeOfAnotherKey,
    /// The key belongs to a node of another name.
    KeyOfAnotherNode,
    /// The node or the key is banned.
    Banned,
}

/// What the redemption did to the key on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeKeyChange {
    /// The node was not known.
    Registered,
    /// The node had this key already.
    Kept,
    /// The node had another key, which is forgotten.
    Replaced {
        /// SHA-256 of the SubjectPublicKeyInfo of the former key.
        former: Sha256Digest,
    },
}

/// What happened. Keys are named by the SHA-256 of their SubjectPublicKeyInfo.
#[derive(Clone, Debug)]
pub enum Action {
    /// An entry was made.
    EntryCreated(Entry),
    /// An entry was removed; this is what it said.
    EntryDeleted(Entry),
    /// An entry was changed.
    EntryUpdated {
        /// What it said.
        before: Entry,
        /// What it says.
        after: Entry,
    },
    /// An entry was forgotten some time after its end.
    EntryExpired(Entry),
    /// A node alias was made.
    AliasCreated(NodeAlias),
    /// Members of a node alias came or went.
    AliasChanged {
        /// Which.
        alias: AliasName,
        /// Who came.
        added: BTreeSet<NodeName>,
        /// Who went.
        removed: BTreeSet<NodeName>,
    },
    /// A node alias was removed; this is what it was.
    AliasDeleted(NodeAlias),
    /// A join token was made.
    TokenCreated(TokenRecord),
    /// A join token was redeemed.
    TokenRedeemed {
        /// Which.
        token: TokenRecord,
        /// By which key.
        node_key: Sha256Digest,
        /// Whether for the first time.
        used: TokenUse,
        /// What became of the key on record.
        change: NodeKeyChange,
    },
    /// A join token that exists was not redeemed.
    TokenRefused {
        /// Which.
        token: TokenRecord,
        /// For which key.
        node_key: Sha256Digest,
        /// Why.
        why: TokenRefusal,
    },
    /// A provisioning certificate was redeemed.
    CertificateRedeemed {
        /// Which.
        certificate: ProvisioningCertificate,
        /// By which key.
        node_key: Sha256Digest,
        /// Whether for the first time.
        used: TokenUse,
        /// What became of the key on record.
        change: NodeKeyChange,
    },
    /// A valid provisioning certificate was not redeemed.
    CertificateRefused {
        /// Which.
        certificate: ProvisioningCertificate,
        /// For which key.
        node_key: Sha256Digest,
        /// Why.
        why: CertificateRefusal,
    },
    /// A node has its first agent SVID after redeeming a token or a certificate.
    NodeAttested {
        /// Which.
        node: NodeName,
        /// Of its agent SVID.
        serial: SerialNumber,
        /// The end of that SVID.
        not_after: Timestamp,
    },
    /// A lapsed node proved its key and has a new agent SVID.
    NodeReattested {
        /// Which.
        node: NodeName,
        /// Of its agent SVID.
        serial: SerialNumber,
        /// The end of that SVID.
        not_after: Timestamp,
    },
    /// An agent renewed its SVID.
    AgentRenewed {
        /// Which.
        node: NodeName,
        /// Of the new SVID.
        serial: SerialNumber,
        /// The end of that SVID.
        not_after: Timestamp,
        /// The serial that the agent came with.
        presented: SerialNumber,
    },
    /// A node was forgotten.
    NodeEvicted {
        /// Which.
        node: NodeName,
        /// The key that is forgotten.
        node_key: Option<Sha256Digest>,
    },
    /// A node's name and key were blocked.
    NodeBanned {
        /// Which.
        node: NodeName,
        /// The key blocked, if the node had attested.
        node_key: Option<Sha256Digest>,
    },
    /// A block was lifted.
    NodeUnbanned {
        /// Which.
        node: NodeName,
        /// The key that was blocked.
        node_key: Option<Sha256Digest>,
    },
    /// A certificate is about to be signed.
    CertificateIntended {
        /// Of the certificate.
        serial: SerialNumber,
        /// Its identity.
        subject: SpiffeId,
        /// Who asked.
        caller: String,
        /// Why it is made.
        reason: String,
        /// The line that it belongs to, when its holder may renew it.
        provenance: Option<Provenance>,
        /// Its end.
        not_after: Timestamp,
        /// SHA-256 of the bytes that will be signed.
        tbs: Sha256Digest,
    },
    /// A certificate was signed.
    CertificateSigned {
        /// Of the certificate.
        serial: SerialNumber,
        /// SHA-256 of the certificate.
        certificate: Sha256Digest,
    },
    /// A JWT-SVID is about to be signed.
    JwtSvidIntended {
        /// Whom it names.
        subject: SpiffeId,
        /// Whom it is for.
        audiences: AudienceSet,
        /// The key that signs.
        key_id: KeyId,
        /// Its end.
        expires_at: Timestamp,
        /// SHA-256 of the bytes that will be signed.
        signing_input: Sha256Digest,
        /// Who asked.
        caller: String,
        /// Why it is made.
        reason: String,
    },
    /// A trust bundle with new content got its sequence.
    BundlePublished {
        /// Whose bundle.
        trust_domain: TrustDomain,
        /// Its sequence.
        sequence: u64,
        /// SHA-256 of its content.
        content: Sha256Digest,
    },
}

/// A value in a body.
#[derive(Serialize)]
#[serde(untagged)]
enum Field {
    Text(String),
    Number(u64),
    List(Vec<String>),
    Object(Body),
}

/// A sorted map, so that one event has one text whatever the order in which it was filled.
type Body = BTreeMap<&'static str, Field>;

impl AuditEvent {
    /// Lower snake case, such as `certificate_intended`. Stable: searched for by people and programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self.action {
            Action::EntryCreated(_) => "entry_created",
            Action::EntryDeleted(_) => "entry_deleted",
            Action::EntryUpdated { .. } => "entry_updated",
            Action::EntryExpired(_) => "entry_expired",
            Action::AliasCreated(_) => "node_alias_created",
            Action::AliasChanged { .. } => "node_alias_changed",
            Action::AliasDeleted(_) => "node_alias_deleted",
            Action::TokenCreated(_) => "token_created",
            Action::TokenRedeemed { .. } => "token_redeemed",
            Action::TokenRefused { .. } => "token_refused",
            Action::CertificateRedeemed { .. } => "provisioning_certificate_redeemed",
            Action::CertificateRefused { .. } => "provisioning_certificate_refused",
            Action::NodeAttested { .. } => "node_attested",
            Action::NodeReattested { .. } => "node_reattested",
            Action::AgentRenewed { .. } => "agent_renewed",
            Action::NodeEvicted { .. } => "node_evicted",
            Action::NodeBanned { .. } => "node_banned",
            Action::NodeUnbanned { .. } => "node_unbanned",
            Action::CertificateIntended { .. } => "certificate_intended",
            Action::CertificateSigned { .. } => "certificate_signed",
            Action::JwtSvidIntended { .. } => "jwt_svid_intended",
            Action::BundlePublished { .. } => "bundle_published",
        }
    }

    /// The event as canonical JSON: one object, keys sorted, no spaces.
    #[must_use]
    pub fn body(&self) -> String {
        let mut body = Body::new();
        match &self.actor {
            Actor::Operator { uid } => {
                body.text("actor", "operator");
                body.number("uid", u64::from(*uid));
            }
            Actor::Agent(node) => {
                body.text("actor", "agent");
                body.text("agent", node);
            }
            Actor::System => body.text("actor", "ca"),
        }
        self.action.describe(&mut body);
        serde_json::to_string(&body).expect("a map of texts, numbers and lists of texts is always JSON")
    }
}

impl Action {
    fn describe(&self, body: &mut Body) {
        match self {
            Self::EntryCreated(entry) | Self::EntryDeleted(entry) | Self::EntryExpired(entry) => describe_entry(entry, body),
            Self::EntryUpdated { before, after } => {
                body.text("entry", after.id.as_str());
                for (key, entry) in [("before", before), ("after", after)] {
                    let mut object = Body::new();
                    describe_entry(entry, &mut object);
                    body.insert(key, Field::Object(object));
                }
            }
            Self::AliasCreated(alias) | Self::AliasDeleted(alias) => {
                body.text("alias", &alias.name);
                body.list("nodes", &alias.nodes);
            }
            Self::AliasChanged { alias, added, removed } => {
                body.text("alias", alias);
                body.list("added", added);
                body.list("removed", removed);
            }
            Self::TokenCreated(token) => {
                describe_token(token, body);
                body.text("expires_at", token.expires_at);
            }
            Self::TokenRedeemed { token, node_key, used, change } => {
                describe_token(token, body);
                describe_use(node_key, *used, change, body);
            }
            Self::CertificateRedeemed { certificate, node_key, used, change } => {
                describe_certificate(certificate, body);
                describe_use(node_key, *used, change, body);
            }
            Self::CertificateRefused { certificate, node_key, why } => {
                describe_certificate(certificate, body);
                body.text("node_key", HEXLOWER.encode(node_key));
                body.text(
                    "why",
                    match why {
                        CertificateRefusal::Used => "used",
                        CertificateRefusal::OtherName => "used_for_another_name",
                        CertificateRefusal::NodeOfAnotherKey => "node_of_another_key",
                        CertificateRefusal::KeyOfAnotherNode => "key_of_another_node",
                        CertificateRefusal::Banned => "banned",
                    },
                );
            }
            Self::TokenRefused { token, node_key, why } => {
                describe_token(token, body);
                body.text("node_key", HEXLOWER.encode(node_key));
                body.text(
                    "why",
                    match why {
                        TokenRefusal::Expired => "expired",
                        TokenRefusal::UsedByAnotherKey => "used_by_another_key",
                        TokenRefusal::Banned => "banned",
                        TokenRefusal::KeyOfAnotherNode => "key_of_another_node",
                    },
                );
            }
            Self::NodeAttested { node, serial, not_after } | Self::NodeReattested { node, serial, not_after } => {
                body.text("node", node);
                body.text("serial", serial);
                body.text("not_after", not_after);
            }
            Self::AgentRenewed { node, serial, not_after, presented } => {
                body.text("node", node);
                body.text("serial", serial);
                body.text("not_after", not_after);
                body.text("presented", presented);
            }
            Self::NodeEvicted { node, node_key }
            | Self::NodeBanned { node, node_key }
            | Self::NodeUnbanned { node, node_key } => {
                body.text("node", node);
                if let Some(node_key) = node_key {
                    body.text("node_key", HEXLOWER.encode(node_key));
                }
            }
            Self::CertificateIntended { serial, subject, caller, reason, provenance, not_after, tbs } => {
                body.text("serial", serial);
                body.text("subject", subject);
                body.text("caller", caller);
                body.text("reason", reason);
                body.text("not_after", not_after);
                body.text("tbs_sha256", HEXLOWER.encode(tbs));
                if let Some(Provenance { grounds, line_start }) = provenance {
                    body.text("line_start", line_start);
                    match grounds {
                        RenewalGrounds::Token(source) => {
                            body.text("token_issuer", &source.issuer);
                            body.text("token_subject", source.subject());
                        }
                    }
                }
            }
            Self::CertificateSigned { serial, certificate } => {
                body.text("serial", serial);
                body.text("certificate_sha256", HEXLOWER.encode(certificate));
            }
            Self::JwtSvidIntended { subject, audiences, key_id, expires_at, signing_input, caller, reason } => {
                body.text("subject", subject);
                body.insert("audiences", Field::List(audiences.iter().map(ToString::to_string).collect()));
                body.text("kid", key_id);
                body.text("expires_at", expires_at);
                body.text("signing_input_sha256", HEXLOWER.encode(signing_input));
                body.text("caller", caller);
                body.text("reason", reason);
            }
            Self::BundlePublished { trust_domain, sequence, content } => {
                body.text("trust_domain", trust_domain);
                body.number("sequence", *sequence);
                body.text("content_sha256", HEXLOWER.encode(content));
            }
        }
    }
}

fn describe_entry(entry: &Entry, body: &mut Body) {
    body.text("entry", entry.id.as_str());
    body.text("spiffe_id", &entry.spec.spiffe_id);
    match &entry.spec.parent {
        Parent::Node(node) => body.text("parent", node),
        Parent::Alias(alias) => body.text("parent_alias", alias),
    }
    body.list("selectors", &entry.spec.selectors);
    body.list("dns_names", &entry.spec.dns_names);
    if let Some(ttl) = entry.spec.ttl {
        body.number("ttl_seconds", ttl.as_secs());
    }
    if !entry.spec.hint.as_str().is_empty() {
        body.text("hint", entry.spec.hint.as_str());
    }
    if let Some(end) = entry.spec.expires_at {
        body.text("expires_at", end);
    }
}

fn describe_use(node_key: &Sha256Digest, used: TokenUse, change: &NodeKeyChange, body: &mut Body) {
    body.text("node_key", HEXLOWER.encode(node_key));
    body.text(
        "use",
        match used {
            TokenUse::First => "first",
            TokenUse::Retry => "retry",
        },
    );
    body.text(
        "record",
        match change {
            NodeKeyChange::Registered => "registered",
            NodeKeyChange::Kept => "kept",
            NodeKeyChange::Replaced { .. } => "key_replaced",
        },
    );
    if let NodeKeyChange::Replaced { former } = change {
        body.text("former_node_key", HEXLOWER.encode(former));
    }
}

fn describe_certificate(certificate: &ProvisioningCertificate, body: &mut Body) {
    let ProvisioningCertificate { issuer, serial, node, not_after } = certificate;
    body.text("issuer_sha256", HEXLOWER.encode(issuer));
    body.text("serial", serial);
    body.text("node", node);
    body.text("not_after", not_after);
}

fn describe_token(token: &TokenRecord, body: &mut Body) {
    body.text("token", HEXLOWER.encode(token.hash.split_at(TOKEN_NAME_BYTES).0));
    body.text("node", &token.node);
}

/// Filling a body.
trait Fill {
    fn text(&mut self, key: &'static str, value: impl ToString);
    fn number(&mut self, key: &'static str, value: u64);
    fn list<T: ToString>(&mut self, key: &'static str, values: impl IntoIterator<Item = T>);
}

impl Fill for Body {
    fn text(&mut self, key: &'static str, value: impl ToString) {
        self.insert(key, Field::Text(value.to_string()));
    }

    fn number(&mut self, key: &'static str, value: u64) {
        self.insert(key, Field::Number(value));
    }

    fn list<T: ToString>(&mut self, key: &'static str, values: impl IntoIterator<Item = T>) {
        self.insert(key, Field::List(values.into_iter().map(|value| value.to_string()).collect()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_is_canonical_and_a_token_is_named_by_the_start_of_its_hash() {
        let token =
            TokenRecord { hash: [0xab; 32], node: NodeName::parse("n1").unwrap(), expires_at: Timestamp::from_unix_seconds(600) };
        let event = AuditEvent { actor: Actor::Operator { uid: 7 }, action: Action::TokenCreated(token) };
        assert_eq!(event.kind(), "token_created");
        let want = r#"{"actor":"operator","expires_at":"1970-01-01T00:10:00Z","node":"n1","token":"abababababababab","uid":7}"#;
        assert_eq!(event.body(), want);
    }
}
