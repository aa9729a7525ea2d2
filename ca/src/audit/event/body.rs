//! What each event says, as canonical JSON.

mod authority;

use std::collections::BTreeMap;

use data_encoding::HEXLOWER;
use pki::Sha256Digest;
use serde::Serialize;

use super::{
    AccountSecretAction, Action, Actor, AgentPodRefusal, AuditEvent, BackupAction, CertificateRefusal, FederationAction,
    NodeKeyChange, ReplicaAction, RestoredFrom, RevocationAction, TokenRefusal, TokenUse,
};
use crate::federation::Federation;
use crate::records::{
    AgentPod, Entry, LivePod, OpenToken, Parent, Provenance, ProvisioningCertificate, RenewalGrounds, TokenRecord,
};
use crate::revocation::{ListIntent, Revocation, Target};

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
                for (key, entry) in [("before", &**before), ("after", after)] {
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
            Self::TokenRevoked(OpenToken { token, used }) => {
                describe_token(token, body);
                body.text("expires_at", token.expires_at);
                body.text("standing", if *used { "used" } else { "open" });
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
            Self::AgentRebootstrapped { node, at, former_sequence } => {
                body.text("node", node);
                body.text("at", at);
                body.number("former_bundle_sequence", *former_sequence);
            }
            Self::PodAttested { pod, node_key, used, change } => {
                describe_pod(pod, body);
                describe_use(node_key, *used, change, body);
            }
            Self::PodRefused { pod, node_key, why } => {
                describe_pod(pod, body);
                body.text("node_key", HEXLOWER.encode(node_key));
                body.text(
                    "why",
                    match why {
                        AgentPodRefusal::Used => "used",
                        AgentPodRefusal::NodeOfAnotherKey => "node_of_another_key",
                        AgentPodRefusal::KeyOfAnotherNode => "key_of_another_node",
                        AgentPodRefusal::Banned => "banned",
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
                        RenewalGrounds::LivePod(LivePod { cluster, node, pod }) => {
                            body.text("cluster", cluster);
                            body.text("node", node);
                            body.text("pod", pod);
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
            Self::ForkFound { node, sequence, head, made_at } => {
                body.text("node", node);
                body.number("sequence", *sequence);
                body.text("head", HEXLOWER.encode(head));
                body.text("made_at", made_at);
            }
            Self::UnknownCertificateShown { serial, subject, not_after } => {
                body.text("serial", serial);
                body.text("subject", subject);
                body.text("not_after", not_after);
            }
            Self::ClockAccepted { latest } => body.text("latest_issuance", latest),
            Self::ForkAcknowledged { checkpoints } => body.list("checkpoints", checkpoints),
            Self::BundlePublished { trust_domain, sequence, content } => {
                body.text("trust_domain", trust_domain);
                body.number("sequence", *sequence);
                body.text("content_sha256", HEXLOWER.encode(content));
            }
            Self::Authority(action) => authority::describe(action, body),
            Self::Revocation(action) => describe_revocation(action, body),
            Self::Federation(action) => describe_federation(action, body),
            Self::Replica(ReplicaAction::Registered { replica, serial_byte, address, epoch }) => {
                body.text("replica", replica);
                body.number("serial_byte", u64::from(*serial_byte));
                body.text("address", address);
                body.number("epoch", *epoch);
            }
            Self::Replica(ReplicaAction::Removed { replica }) => body.text("replica", replica),
            Self::Replica(ReplicaAction::LeadTaken { replica, epoch } | ReplicaAction::Retired { replica, epoch }) => {
                body.text("replica", replica);
                body.number("epoch", *epoch);
            }
            Self::AccountSecrets(AccountSecretAction::RenewalOrdered { namespace, account }) => {
                body.text("namespace", namespace);
                if let Some(account) = account {
                    body.text("account", account);
                }
            }
            Self::AccountSecrets(AccountSecretAction::PruneOrdered { namespace }) => body.text("namespace", namespace),
            Self::Backup(BackupAction::Started) => {}
            Self::Backup(BackupAction::Restored(from)) => {
                let RestoredFrom { made_at, events, head, events_lost } = from;
                body.text("backup_made_at", made_at);
                body.number("backup_events", *events);
                body.text("backup_head", HEXLOWER.encode(head));
                if let Some(lost) = events_lost {
                    body.number("events_lost_at_least", *lost);
                }
            }
        }
    }
}

fn describe_revocation(action: &RevocationAction, body: &mut Body) {
    match action {
        RevocationAction::CertificateRevoked { revocation, target } => {
            let Revocation { serial, issuer_key, subject, caller, not_after, revoked_at: _, reason } = revocation;
            body.text("serial", serial);
            if let Some(key) = issuer_key {
                body.text("issuer_key", HEXLOWER.encode(key));
            }
            body.text("subject", subject);
            body.text("caller", caller);
            body.text("not_after", not_after);
            body.text("reason", reason);
            body.text(
                "revoked_with",
                match target {
                    Target::Serial(_) => "serial".to_owned(),
                    Target::Identity(_) => "spiffe_id".to_owned(),
                    Target::Node(node) => format!("node {node}"),
                    Target::Entry(entry) => format!("entry {entry}"),
                },
            );
        }
        RevocationAction::IdentityDenied { id, reason } => {
            body.text("spiffe_id", id);
            body.text("reason", reason);
        }
        RevocationAction::IdentityRestored { id } => body.text("spiffe_id", id),
        RevocationAction::ListIntended(list) => {
            let ListIntent { issuer_key, issuer_der: _, number, next_update, entries, tbs } = list;
            body.text("issuer_key", HEXLOWER.encode(issuer_key));
            body.number("number", *number);
            body.text("next_update", next_update);
            body.number("entries", *entries);
            body.text("tbs_sha256", HEXLOWER.encode(tbs));
        }
    }
}

fn describe_federation(action: &FederationAction, body: &mut Body) {
    match action {
        FederationAction::Added(federation) | FederationAction::Removed(federation) => {
            let Federation { trust_domain, endpoint, created_at: _ } = federation;
            body.text("trust_domain", trust_domain);
            body.text("endpoint_url", endpoint.url.as_str());
            if let Some(id) = endpoint.spiffe_id() {
                body.text("endpoint_spiffe_id", id);
            }
        }
        FederationAction::BundleTaken { trust_domain, sequence, content } => {
            body.text("trust_domain", trust_domain);
            body.number("sequence", *sequence);
            body.text("content_sha256", HEXLOWER.encode(content));
        }
    }
}

fn describe_entry(entry: &Entry, body: &mut Body) {
    body.text("entry", entry.id.as_str());
    body.text("spiffe_id", &entry.spec.spiffe_id);
    match &entry.spec.parent {
        Parent::Node(node) => body.text("parent", node),
        Parent::Alias(alias) => body.text("parent_alias", alias),
        Parent::Object(object) => body.text("parent_object", object),
    }
    body.list("selectors", &entry.spec.selectors);
    body.list("dns_names", &entry.spec.dns_names);
    if let Some(ttl) = entry.spec.ttl {
        body.number("ttl_seconds", ttl.as_secs());
    }
    if !entry.spec.hint.as_str().is_empty() {
        body.text("hint", entry.spec.hint.as_str());
    }
    if !entry.spec.federates_with.is_empty() {
        body.list("federates_with", &entry.spec.federates_with);
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

fn describe_pod(pod: &AgentPod, body: &mut Body) {
    let AgentPod { cluster, node, namespace, account, pod, uid } = pod;
    body.text("cluster", cluster);
    body.text("node", node);
    body.text("namespace", namespace);
    body.text("account", account);
    body.text("pod", pod);
    body.text("pod_uid", uid);
}

fn describe_token(token: &TokenRecord, body: &mut Body) {
    body.text("token", token.id());
    body.text("node", &token.node);
}

/// Filling a body.
pub(super) trait Fill {
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
    use identity::NodeName;
    use pki::Timestamp;

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
