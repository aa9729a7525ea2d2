//! What a review of the API server proves: a service account, and the pod and the node that its token is bound to. Pure.
//!
//! Only the answer is read. What a token says of itself counts for nothing here, and what is absent from the answer is not filled in.

use std::fmt;

use identity::{SpiffeId, TrustDomain};
use kubernetes::Message;
use kubernetes::names::{is_label, is_name, is_uid};
use kubernetes::review::{TokenReview, UserInfo};

use crate::admission::account_id;

use crate::config::AccountName;

/// The group of every service account.
const GROUP: &str = "system:serviceaccounts";
/// The extras by which the API server names what a token is bound to.
const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";
const NODE_NAME: &str = "authentication.kubernetes.io/node-name";
const NODE_UID: &str = "authentication.kubernetes.io/node-uid";

/// A service account that the API server vouches for, and what its token is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReviewedAccount {
    /// The name that the configuration gives the cluster.
    pub cluster: String,
    /// The account's namespace.
    pub namespace: String,
    /// The account's name.
    pub name: String,
    /// The pod that the token is bound to; `None` for a token that any process may have been given.
    pub pod: Option<BoundPod>,
}

/// A pod that a token is bound to: the token ends with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundPod {
    /// The pod's name, in the namespace of the account.
    pub name: String,
    /// Tells it from another of its name.
    pub uid: String,
    /// The node that it was bound to when the token was made, where the API server says so.
    pub node: Option<String>,
    /// Tells that node from another of its name, where the API server knew.
    pub node_uid: Option<String>,
}

/// What speaks against a token. No variant carries it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReviewRefusal {
    /// It cannot be a token of a service account, and nobody is asked about it.
    #[error("it is no JSON Web Token: {what}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
    },
    /// The API server does not know whom it stands for: it is another cluster's, has ended, is for another audience, or what it is bound to
    /// is gone.
    #[error("the API server does not take it: {why}")]
    NotAuthenticated {
        /// Its words.
        why: Message,
    },
    /// It is taken, but not for us.
    #[error("the API server takes it for none of the configured audiences: {}", wanted.join(", "))]
    Audience {
        /// Those of the configuration.
        wanted: Vec<String>,
    },
    /// It stands for somebody who is no service account.
    #[error("it stands for {user}, and not for a service account")]
    NotAnAccount {
        /// Whom it stands for.
        user: Message,
    },
    /// What it is bound to is told in a way that nobody knows.
    #[error("the API server's word on what it is bound to is not understood: {key}")]
    Bound {
        /// Which part of it.
        key: &'static str,
    },
}

impl ReviewedAccount {
    /// What a review proves to a CA that asked for `audiences`.
    ///
    /// # Errors
    /// [`ReviewRefusal`], the first check that fails.
    pub(crate) fn of(review: TokenReview, cluster: &str, audiences: &[String]) -> Result<Self, ReviewRefusal> {
        let TokenReview { authenticated, audiences: accepted, user, error } = review;
        if !authenticated {
            return Err(ReviewRefusal::NotAuthenticated { why: Message::of(&error) });
        }
        // A server that does not look at audiences names none, and would take a token that was made for another service.
        if !accepted.iter().any(|audience| audiences.contains(audience)) {
            return Err(ReviewRefusal::Audience { wanted: audiences.to_vec() });
        }
        let (namespace, name) =
            account_of(&user).ok_or_else(|| ReviewRefusal::NotAnAccount { user: Message::of(&user.username) })?;
        Ok(Self { cluster: cluster.to_owned(), namespace, name, pod: pod_of(&user)? })
    }

    /// Its namespace and name, as a configuration writes them.
    pub(crate) fn account_name(&self) -> AccountName {
        AccountName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// Who it is: `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`.
    pub(crate) fn id(&self, trust_domain: &TrustDomain) -> Option<SpiffeId> {
        account_id(trust_domain, &self.namespace, &self.name)
    }

    /// What it costs no more than a look to refuse: the shape of a JSON Web Token in its compact form (RFC 7515 section 7.1).
    pub(crate) fn may_be_token(token: &str) -> Result<(), ReviewRefusal> {
        if token.len() > pki::MAX_TOKEN_BYTES {
            return Err(ReviewRefusal::Malformed { what: "it has more than 16384 bytes" });
        }
        let of_a_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_part = |part: &str| !part.is_empty() && part.bytes().all(of_a_part);
        let has_its_shape = token.split('.').count() == 3 && token.split('.').all(is_part);
        if has_its_shape {
            Ok(())
        } else {
            Err(ReviewRefusal::Malformed { what: "it has not three parts of base64url between dots" })
        }
    }
}

/// As the ledger and the audit chain have it: the account, then what its token was bound to.
impl fmt::Display for ReviewedAccount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, namespace, name, pod } = self;
        write!(f, "{cluster} {namespace}/{name}")?;
        let Some(BoundPod { name, uid, node, node_uid }) = pod else { return Ok(()) };
        write!(f, " pod {name} {uid}")?;
        for (word, value) in [(" node", node), ("", node_uid)] {
            if let Some(value) = value {
                write!(f, "{word} {value}")?;
            }
        }
        Ok(())
    }
}

impl ReviewRefusal {
    pub(crate) fn not_an_account(account: &ReviewedAccount) -> Self {
        Self::NotAnAccount { user: Message::of(&account.to_string()) }
    }

    /// Which kind of check, for metrics.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::NotAuthenticated { .. } => "not_authenticated",
            Self::Audience { .. } => "audience",
            Self::NotAnAccount { .. } => "not_an_account",
            Self::Bound { .. } => "bound",
        }
    }
}

/// Namespace and name of an account, by the name of four parts and by the group of all accounts: an authenticator of the operator's may
/// give one of both to others.
fn account_of(user: &UserInfo) -> Option<(String, String)> {
    let mut parts = user.username.split(':');
    let (Some("system"), Some("serviceaccount"), Some(namespace), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return None;
    };
    let is_account = user.groups.iter().any(|group| group == GROUP) && is_label(namespace) && is_name(name);
    is_account.then(|| (namespace.to_owned(), name.to_owned()))
}

fn pod_of(user: &UserInfo) -> Result<Option<BoundPod>, ReviewRefusal> {
    let one = |key: &'static str, is_good: fn(&str) -> bool| match user.extra.get(key).map(Vec::as_slice) {
        None => Ok(None),
        Some([value]) if is_good(value) => Ok(Some(value.clone())),
        Some(_) => Err(ReviewRefusal::Bound { key }),
    };
    let (name, uid) = (one(POD_NAME, is_name)?, one(POD_UID, is_uid)?);
    let (node, node_uid) = (one(NODE_NAME, is_name)?, one(NODE_UID, is_uid)?);
    match (name, uid) {
        (Some(name), Some(uid)) => Ok(Some(BoundPod { name, uid, node, node_uid })),
        (None, None) => Ok(None),
        (Some(_), None) => Err(ReviewRefusal::Bound { key: POD_UID }),
        (None, Some(_)) => Err(ReviewRefusal::Bound { key: POD_NAME }),
    }
}

#[cfg(test)]
mod tests;
