//! What the store keeps, as domain values. Conversions to wire messages are in `rpc::wire`, to rows in `store::sqlite`.

mod entry;
mod provenance;

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER;
use identity::{NodeName, SpiffeId};
use pki::{SerialNumber, Sha256Digest, Timestamp, sha256};
use zeroize::Zeroizing;

use crate::service_accounts::ReviewedAccount;

pub use entry::{
    ClusterObject, Entry, EntryEdit, EntryId, EntryIdError, Hint, HintError, Memberships, NewEntry, NodeAlias, NodeEntries,
    Outstanding, Parent,
};
pub use provenance::{GroundsError, LivePod, MAX_GROUNDS_BYTES, Provenance, RenewalGrounds};

/// A join token as the operator gets it: 128 random bits as 32 characters of lower-case hex. A secret: it cannot be printed by
/// accident and is wiped when dropped.
pub struct JoinToken(Zeroizing<String>);

/// Why a text is no join token. Says nothing of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a join token has 32 characters of 0-9 and a-f")]
pub struct JoinTokenError;

/// The name of a join token: the start of its hash. No secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenId([u8; TOKEN_ID_BYTES]);

/// Enough that no two tokens of a CA share it.
pub const TOKEN_ID_BYTES: usize = 8;

/// Why a text names no join token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a join token is named by {} characters of 0-9 and a-f", 2 * TOKEN_ID_BYTES)]
pub struct TokenIdError;

/// A join token that may be redeemed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenToken {
    /// Which.
    pub token: TokenRecord,
    /// Whether a node key has redeemed it: the same key may do so again.
    pub used: bool,
}

/// A join token as it is kept: its text is known to the operator alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRecord {
    /// SHA-256 of the token's text.
    pub hash: Sha256Digest,
    /// The name that the node will have.
    pub node: NodeName,
    /// From here on it is not redeemed.
    pub expires_at: Timestamp,
}

/// A provisioning certificate, as far as its one use must be known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvisioningCertificate {
    /// SHA-256 of the issuer's Name (DER): with the serial it names the certificate (RFC 5280 section 4.1.2.2).
    pub issuer: Sha256Digest,
    /// Its serial number.
    pub serial: SerialNumber,
    /// The node that it names.
    pub node: NodeName,
    /// Its last second: from then on it needs not be remembered.
    pub not_after: Timestamp,
}

/// A pod in which an agent runs, as the API server of its cluster vouched for it when it attested its node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentPod {
    /// The name that the configuration gives the cluster.
    pub cluster: String,
    /// The node that the pod is bound to, which is the node that it attests.
    pub node: NodeName,
    /// The namespace of the pod and of its service account.
    pub namespace: String,
    /// The name of the service account.
    pub account: String,
    /// The pod's name.
    pub pod: String,
    /// Tells the pod from another of its name; never used again in a cluster.
    pub uid: String,
}

/// An agent SVID, as far as sessions must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgentSvidRecord {
    /// Its serial number.
    pub serial: SerialNumber,
    /// Its end.
    pub not_after: Timestamp,
}

/// On what grounds a node gets an agent SVID: compared with the record in the same transaction, so that nobody who was evicted,
/// banned or replaced while the certificate was made ends up on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SvidGrounds {
    /// A token or a certificate redeemed by this key.
    Attestation {
        /// SubjectPublicKeyInfo (DER) of the node key.
        node_key_spki: Vec<u8>,
    },
    /// A nonce signed by this key.
    Reattestation {
        /// SubjectPublicKeyInfo (DER) of the node key.
        node_key_spki: Vec<u8>,
    },
    /// A session with a client certificate.
    Renewal {
        /// The serial of that certificate.
        presented: SerialNumber,
    },
}

/// The standing of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// May speak.
    Attested,
    /// Neither the name nor the key may.
    Banned,
}

/// A node that attested, or a name that was banned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Its name.
    pub node: NodeName,
    /// SubjectPublicKeyInfo (DER) of the node key; none for a name that was banned before it attested.
    pub node_key_spki: Option<Vec<u8>>,
    /// Whether it may speak.
    pub state: NodeState,
    /// The agent SVID issued last; none until the first is set.
    pub current: Option<AgentSvidRecord>,
    /// The one before: it may still speak, since the reply with the current one may have been lost.
    pub previous: Option<AgentSvidRecord>,
    /// When it last redeemed a token or re-attested; for a name banned before it attested, when it was banned.
    pub attested_at: Timestamp,
}

/// Why a certificate is made, for the ledger and the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// For an entry.
    Entry(EntryId),
    /// A node attested, or came back by its node key.
    Attestation,
    /// An agent renewed its SVID.
    AgentRenewal,
    /// The CA's own serving certificate.
    Serving,
    /// A bearer token proved who the caller is.
    Token {
        /// The claim `iss`.
        issuer: String,
        /// The claim `sub`.
        subject: String,
    },
    /// The API server of a Kubernetes cluster vouched for a service account's token.
    ServiceAccount(ReviewedAccount),
    /// For a pod, asked for by the proxy of its node, whose token the API server vouched for.
    PodOfNode {
        /// The proxy.
        by: ReviewedAccount,
        /// Namespace, name and UID of a pod that has the identity.
        pod: String,
    },
    /// For a service account that a live pod on the caller's node runs as.
    LivePod(LivePod),
    /// For the Secret of a service account, by the CA's own hand.
    AccountSecret(AccountSecret),
    /// The holder of a certificate that was issued by token asked for the next one.
    Renewal {
        /// The serial of the certificate that it presented.
        presented: SerialNumber,
    },
    /// A root or an issuing CA, made by `signet ca init` or `signet ca issuer renew`.
    Authority,
    /// The issuing CA of another CA, which has this identity.
    Downstream(SpiffeId),
}

/// A service account whose Secret the CA writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountSecret {
    /// The name that the configuration gives the cluster.
    pub cluster: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Tells it from another account of its name.
    pub uid: String,
    /// Why a certificate is due, in one word.
    pub why: &'static str,
}

/// The last certificate that a caller was given for what it asks for now, as the ledger has it: how urgent the next one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// When it was issued.
    pub issued_at: Timestamp,
    /// Its last second.
    pub not_after: Timestamp,
}

/// The last certificate that an agent was given for a service account on its node, as the ledger has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfirmedPod {
    /// Its times.
    pub held: Held,
    /// The pod that was found alive.
    pub pod: LivePod,
    /// When it was.
    pub confirmed_at: Timestamp,
}

/// A certificate as the ledger has it, as far as its renewal must know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedRecord {
    /// The to-be-signed bytes: a serial alone would not tell it from another CA's under the same root.
    pub tbs_der: Vec<u8>,
    /// Its identity.
    pub subject: SpiffeId,
    /// Why it was made, as text for people.
    pub reason: String,
    /// Its line; `None` for a certificate that its holder cannot renew.
    pub provenance: Option<Provenance>,
}

/// As the ledger and the audit chain have it.
impl fmt::Display for AccountSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, namespace, name, uid, why } = self;
        write!(f, "{cluster} {namespace}/{name} {uid} {why}")
    }
}

impl JoinToken {
    /// The token made of 16 random bytes.
    #[must_use]
    pub fn from_random(random: [u8; 16]) -> Self {
        Self(Zeroizing::new(HEXLOWER.encode(&random)))
    }

    /// Reads what a caller sent.
    ///
    /// # Errors
    /// [`JoinTokenError`] when it is not 32 characters of lower-case hex.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        if is_hex_128(text) { Ok(Self(Zeroizing::new(text.to_owned()))) } else { Err(JoinTokenError) }
    }

    /// SHA-256 of the text: what the store keeps and what a proof covers.
    #[must_use]
    pub fn hash(&self) -> Sha256Digest {
        sha256(self.0.as_bytes())
    }

    /// The text, to be handed to the operator and nobody else.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JoinToken(redacted)")
    }
}

impl TokenRecord {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> TokenId {
        let (start, _) = self.hash.split_first_chunk().expect("a digest is longer than the start of one");
        TokenId(*start)
    }
}

impl TokenId {
    /// The start of the hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl FromStr for TokenId {
    type Err = TokenIdError;

    fn from_str(text: &str) -> Result<Self, TokenIdError> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| TokenIdError)?;
        bytes.try_into().map(Self).map_err(|_| TokenIdError)
    }
}

impl fmt::Display for TokenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl NodeRecord {
    /// Whether a certificate of this serial may speak for the node now: the node is not banned, and the serial is the current or
    /// the previous one. The caller has checked that the certificate itself is valid.
    #[must_use]
    pub fn accepts(&self, serial: &SerialNumber) -> bool {
        match self.state {
            NodeState::Attested => [&self.current, &self.previous].into_iter().flatten().any(|svid| svid.serial == *serial),
            NodeState::Banned => false,
        }
    }
}

fn is_hex_128(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_32_lower_case_hex_digits_and_nothing_else() {
        let token = JoinToken::from_random([0xa7; 16]);
        assert_eq!(token.expose(), "a7".repeat(16));
        assert_eq!(JoinToken::parse(token.expose()).unwrap().hash(), token.hash());
        assert_eq!(format!("{token:?}"), "JoinToken(redacted)");
        for bad in ["", "a7", &"A7".repeat(16), &"a7".repeat(17), &"é".repeat(16), &"g".repeat(32)] {
            assert!(JoinToken::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_named_by_the_start_of_its_hash() {
        let hash = JoinToken::from_random([0xa7; 16]).hash();
        let token = TokenRecord { hash, node: NodeName::parse("n1").unwrap(), expires_at: Timestamp::from_unix_seconds(600) };
        let name = token.id().to_string();
        assert_eq!(name, HEXLOWER.encode(&hash)[..16]);
        assert_eq!(name.parse(), Ok(token.id()));
        for bad in ["", "a7", &"A7".repeat(8), &"a7".repeat(9), &"é".repeat(8), &"g".repeat(16)] {
            assert_eq!(bad.parse::<TokenId>(), Err(TokenIdError), "{bad}");
        }
    }

    #[test]
    fn only_the_current_and_the_previous_serial_of_a_node_in_good_standing_speak() {
        let serial = |last: u8| SerialNumber::from_bytes(&[1, 2, last]).unwrap();
        let svid = |last| Some(AgentSvidRecord { serial: serial(last), not_after: Timestamp::from_unix_seconds(9) });
        let mut record = NodeRecord {
            node: NodeName::parse("n").unwrap(),
            node_key_spki: Some(vec![1]),
            state: NodeState::Attested,
            current: svid(2),
            previous: svid(1),
            attested_at: Timestamp::from_unix_seconds(1),
        };
        assert!(record.accepts(&serial(1)) && record.accepts(&serial(2)));
        assert!(!record.accepts(&serial(3)));
        record.state = NodeState::Banned;
        assert!(!record.accepts(&serial(1)) && !record.accepts(&serial(2)));
    }
}
