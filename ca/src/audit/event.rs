//! The events: each a typed value with a kind and a body in canonical JSON. No secret can get in: a token is named by the start of
//! its hash, a key by the hash of its public part.

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use identity::{NodeName, SpiffeId, TrustDomain};
use pki::{SerialNumber, Sha256Digest, Timestamp};
use serde::Serialize;

use crate::records::{Entry, TokenRecord};

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

/// Whether a token was redeemed for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenUse {
    /// The first time: the token is bound to the key now.
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
    /// A node has its first agent SVID after redeeming a token.
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
            Action::TokenCreated(_) => "token_created",
            Action::TokenRedeemed { .. } => "token_redeemed",
            Action::TokenRefused { .. } => "token_refused",
            Action::NodeAttested { .. } => "node_attested",
            Action::NodeReattested { .. } => "node_reattested",
            Action::AgentRenewed { .. } => "agent_renewed",
            Action::NodeEvicted { .. } => "node_evicted",
            Action::NodeBanned { .. } => "node_banned",
            Action::NodeUnbanned { .. } => "node_unbanned",
            Action::CertificateIntended { .. } => "certificate_intended",
            Action::CertificateSigned { .. } => "certificate_signed",
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
            Self::EntryCreated(entry) | Self::EntryDeleted(entry) => describe_entry(entry, body),
            Self::TokenCreated(token) => {
                describe_token(token, body);
                body.text("expires_at", token.expires_at);
            }
            Self::TokenRedeemed { token, node_key, used, change } => {
                describe_token(token, body);
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
            Self::CertificateIntended { serial, subject, caller, reason, not_after, tbs } => {
                body.text("serial", serial);
                body.text("subject", subject);
                body.text("caller", caller);
                body.text("reason", reason);
                body.text("not_after", not_after);
                body.text("tbs_sha256", HEXLOWER.encode(tbs));
            }
            Self::CertificateSigned { serial, certificate } => {
                body.text("serial", serial);
                body.text("certificate_sha256", HEXLOWER.encode(certificate));
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
    body.text("parent", &entry.spec.parent);
    body.insert("selectors", Field::List(entry.spec.selectors.iter().map(ToString::to_string).collect()));
    body.insert("dns_names", Field::List(entry.spec.dns_names.iter().map(ToString::to_string).collect()));
    if let Some(ttl) = entry.spec.ttl {
        body.number("ttl_seconds", ttl.as_secs());
    }
}

fn describe_token(token: &TokenRecord, body: &mut Body) {
    body.text("token", HEXLOWER.encode(token.hash.split_at(TOKEN_NAME_BYTES).0));
    body.text("node", &token.node);
}

/// Filling a body.
trait Fill {
    fn text(&mut self, key: &'static str, value: impl ToString);
    fn number(&mut self, key: &'static str, value: u64);
}

impl Fill for Body {
    fn text(&mut self, key: &'static str, value: impl ToString) {
        self.insert(key, Field::Text(value.to_string()));
    }

    fn number(&mut self, key: &'static str, value: u64) {
        self.insert(key, Field::Number(value));
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
