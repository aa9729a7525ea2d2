//! The events: each a typed value with a kind and a body in canonical JSON. No secret can get in: a token is named by the start of
//! its hash, a key by the hash of its public part.

mod account_secrets;
mod authorities;
mod backups;
mod body;
mod federations;
mod replicas;
mod revocations;

use std::collections::BTreeSet;

use identity::{AliasName, NodeName, SpiffeId, TrustDomain};
use pki::{AudienceSet, KeyId, SerialNumber, Sha256Digest, Timestamp};

pub use account_secrets::AccountSecretAction;
pub use authorities::AuthorityAction;
pub use backups::{BackupAction, RestoredFrom};
pub use federations::FederationAction;
pub use replicas::ReplicaAction;
pub use revocations::RevocationAction;

use crate::records::{AgentPod, Entry, NodeAlias, OpenToken, Provenance, ProvisioningCertificate, TokenRecord};

/// Who did it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Actor {
    /// Someone at the admin socket, or who works on the state of a CA that is stopped.
    Operator {
        /// The user of that process, as the kernel says.
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

/// Why a pod that the API server vouched for did not attest its node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AgentPodRefusal {
    /// Another key came from this pod before, or its node was evicted or banned since.
    Used,
    /// The node is on record with a key that no pod of this cluster proved.
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
        before: Box<Entry>,
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
    /// An operator said that the clock is right, though something was issued later than now.
    ClockAccepted {
        /// The latest issuance on record until then.
        latest: Timestamp,
    },
    /// A join token was made.
    TokenCreated(TokenRecord),
    /// A join token was ended before its time; this is what it was.
    TokenRevoked(OpenToken),
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
    /// A node was attested by the pod of its agent.
    PodAttested {
        /// Which.
        pod: AgentPod,
        /// With which key.
        node_key: Sha256Digest,
        /// Whether for the first time.
        used: TokenUse,
        /// What became of the key on record.
        change: NodeKeyChange,
    },
    /// A pod that the API server vouched for attested no node.
    PodRefused {
        /// Which.
        pod: AgentPod,
        /// For which key.
        node_key: Sha256Digest,
        /// Why.
        why: AgentPodRefusal,
    },
    /// A node gave up its trust bundle and trusts this CA anew, by an operator's order on the node, as its agent tells.
    AgentRebootstrapped {
        /// Which.
        node: NodeName,
        /// When, by the node's clock.
        at: Timestamp,
        /// The sequence of the bundle that it held; 0 when it held none.
        former_sequence: u64,
    },
    /// A node has its first agent SVID after redeeming a token or a certificate, or by its agent's pod.
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
    /// An agent showed a checkpoint under this CA's key that its store does not have: another history was signed for.
    ForkFound {
        /// Who showed it.
        node: NodeName,
        /// The event that it covers.
        sequence: u64,
        /// The hash of that event, as it says.
        head: Sha256Digest,
        /// When it says that it was made.
        made_at: Timestamp,
    },
    /// An operator has looked into that.
    ForkAcknowledged {
        /// The digests of the checkpoints, lower-case hex.
        checkpoints: Vec<String>,
    },
    /// A peer proved a certificate under this CA's root that is not on record: a history that is lost issued it, or whoever else has the key.
    UnknownCertificateShown {
        /// Its serial.
        serial: SerialNumber,
        /// Whom it names.
        subject: SpiffeId,
        /// Its end.
        not_after: Timestamp,
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
    /// The CA's own authorities.
    Authority(AuthorityAction),
    /// What was called back.
    Revocation(RevocationAction),
    /// Relationships with other trust domains.
    Federation(FederationAction),
    /// The replicas that share the store.
    Replica(ReplicaAction),
    /// Secrets of service accounts.
    AccountSecrets(AccountSecretAction),
    /// The record as a whole.
    Backup(BackupAction),
}

impl AuditEvent {
    /// Lower snake case, such as `certificate_intended`. Stable: searched for by people and programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match &self.action {
            Action::EntryCreated(_) => "entry_created",
            Action::EntryDeleted(_) => "entry_deleted",
            Action::EntryUpdated { .. } => "entry_updated",
            Action::EntryExpired(_) => "entry_expired",
            Action::AliasCreated(_) => "node_alias_created",
            Action::AliasChanged { .. } => "node_alias_changed",
            Action::AliasDeleted(_) => "node_alias_deleted",
            Action::TokenCreated(_) => "token_created",
            Action::TokenRevoked(_) => "token_revoked",
            Action::TokenRedeemed { .. } => "token_redeemed",
            Action::TokenRefused { .. } => "token_refused",
            Action::CertificateRedeemed { .. } => "provisioning_certificate_redeemed",
            Action::CertificateRefused { .. } => "provisioning_certificate_refused",
            Action::AgentRebootstrapped { .. } => "agent_rebootstrapped",
            Action::PodAttested { .. } => "agent_pod_attested",
            Action::PodRefused { .. } => "agent_pod_refused",
            Action::NodeAttested { .. } => "node_attested",
            Action::NodeReattested { .. } => "node_reattested",
            Action::AgentRenewed { .. } => "agent_renewed",
            Action::NodeEvicted { .. } => "node_evicted",
            Action::NodeBanned { .. } => "node_banned",
            Action::NodeUnbanned { .. } => "node_unbanned",
            Action::CertificateIntended { .. } => "certificate_intended",
            Action::CertificateSigned { .. } => "certificate_signed",
            Action::JwtSvidIntended { .. } => "jwt_svid_intended",
            Action::ForkFound { .. } => "audit_fork_found",
            Action::UnknownCertificateShown { .. } => "unknown_certificate_shown",
            Action::ForkAcknowledged { .. } => "audit_fork_acknowledged",
            Action::BundlePublished { .. } => "bundle_published",
            Action::ClockAccepted { .. } => "clock_accepted",
            Action::Authority(action) => action.kind(),
            Action::Revocation(action) => action.kind(),
            Action::Federation(action) => action.kind(),
            Action::Replica(action) => action.kind(),
            Action::AccountSecrets(action) => action.kind(),
            Action::Backup(action) => action.kind(),
        }
    }
}
