//! What was decided, why, and what is said on the wire.

use std::fmt;

use crate::authentication::PeerMode;
use crate::path::PathRefusal;
use crate::request::{HeaderFault, PeerFault, TokenFault};

/// Whether a request, or a connection, goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It goes on.
    Allow,
    /// It ends here.
    Deny,
}

/// Where it was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Whether the connection is one that is taken, and tells who is there.
    PeerAuthentication,
    /// Whether the request can be read in one way only.
    Request,
    /// Whether its token is good.
    RequestAuthentication,
    /// Policies that ask a provider.
    Custom,
    /// Policies that deny.
    Deny,
    /// Policies that allow.
    Allow,
    /// Roles of Istio 1.1.
    RbacV1,
    /// There was nothing to decide by.
    Default,
}

/// Why it was decided so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reason {
    /// No policy that allows is there, so everything is allowed that nothing denies.
    NoAllowPolicies,
    /// A policy that allows matched.
    AllowMatched,
    /// Policies that allow are there, and none matched.
    NoAllowMatched,
    /// A policy that denies matched.
    DenyMatched,
    /// A policy matched that asks a provider which the mesh does not have, or asks one provider of several.
    BadCustomProvider,
    /// Plaintext came where only mutual TLS is taken.
    PlaintextOnStrict,
    /// TLS came without a client certificate where only mutual TLS is taken.
    NoClientCertificate,
    /// A client certificate was shown that names nobody.
    PeerUnreadable(PeerFault),
    /// The path cannot be read in one way only.
    PathRefused(PathRefusal),
    /// A header cannot be read in one way only.
    HeaderRefused(HeaderFault),
    /// A token came that is not good.
    TokenRefused(TokenFault),
    /// No peer came that an Istio 1.1 Policy asks for; what was wrong with its token, if one came.
    PeerNotAuthenticated(Option<TokenFault>),
    /// No end user came that an Istio 1.1 Policy asks for; what was wrong with the token, if one came.
    OriginNotAuthenticated(Option<TokenFault>),
    /// A role of Istio 1.1 grants it, and nothing else decides.
    RoleMatched,
    /// Roles of Istio 1.1 decide, and none of those that are bound to whoever asks grants it.
    NoRoleBinding,
}

/// Which rule of which policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RuleRef<'p> {
    /// The namespace of the policy.
    pub namespace: &'p str,
    /// Its name.
    pub name: &'p str,
    /// The place of the rule among its rules, from 0; for an Istio 1.1 Policy, of the method among its peers or origins.
    pub rule: usize,
}

/// What policies would have decided that are only shown (annotation `istio.io/dry-run`; in Istio 1.1, PERMISSIVE of bindings and of the
/// configuration).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow<'p> {
    /// Of which stage they are: [`Stage::Deny`], [`Stage::Allow`] or [`Stage::RbacV1`].
    pub stage: Stage,
    /// What they would have decided.
    pub verdict: Verdict,
    /// The rule that matched, if one did.
    pub matched: Option<RuleRef<'p>>,
}

/// A decision, which borrows from the policies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<'p> {
    /// Whether it goes on. Where providers are to be asked, what holds unless one of them denies.
    pub verdict: Verdict,
    /// Where it was decided.
    pub stage: Stage,
    /// The rule that decided, if one did.
    pub matched: Option<RuleRef<'p>>,
    /// Why.
    pub reason: Reason,
    /// Which connections the port takes, and who said so.
    pub mode: PeerMode<'p>,
    /// What policies that are only shown would have decided, a line for each stage that has any.
    pub shadow: Vec<Shadow<'p>>,
    /// The rule that asks for an audit, if one matched. It decides nothing.
    pub audit: Option<RuleRef<'p>>,
    /// The providers to ask, in this order, before the verdict counts, whatever it is: one that denies answers for itself.
    pub providers: Vec<&'p str>,
    /// What is said on the wire if it ends here.
    pub refusal: Option<Refusal>,
}

/// What is said to whoever is refused. It never tells which policy it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The connection ends without a byte, before the workload is dialled.
    Close,
    /// An answer over HTTP.
    Http(Reply),
    /// An answer over gRPC: HTTP 200 without a body, and this `grpc-status`.
    Grpc {
        /// The code (google.rpc.Code).
        status: u8,
        /// The message.
        message: &'static str,
    },
}

/// An answer over HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The body, as plain text.
    pub body: &'static str,
    /// What `WWW-Authenticate` holds as `error`, if the header is there.
    pub challenge: Option<&'static str>,
}

impl Reason {
    /// Its name, which stays as it is.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NoAllowPolicies => "no_allow_policies",
            Self::AllowMatched => "allow_matched",
            Self::NoAllowMatched => "no_allow_matched",
            Self::DenyMatched => "deny_matched",
            Self::BadCustomProvider => "bad_custom_provider",
            Self::PlaintextOnStrict => "plaintext_on_strict",
            Self::NoClientCertificate => "no_client_certificate",
            Self::PeerUnreadable(_) => "peer_unreadable",
            Self::PathRefused(_) => "path_refused",
            Self::HeaderRefused(_) => "header_refused",
            Self::PeerNotAuthenticated(_) => "peer_not_authenticated",
            Self::OriginNotAuthenticated(_) => "origin_not_authenticated",
            Self::RoleMatched => "role_matched",
            Self::NoRoleBinding => "no_role_binding",
            Self::TokenRefused(fault) => match fault {
                TokenFault::Malformed => "token_malformed",
                TokenFault::UnknownIssuer => "token_unknown_issuer",
                TokenFault::BadSignature => "token_bad_signature",
                TokenFault::Expired => "token_expired",
                TokenFault::NotYetValid => "token_not_yet_valid",
                TokenFault::NoExpiry => "token_no_expiry",
                TokenFault::Audience => "token_audience",
                TokenFault::KeysUnavailable => "token_keys_unavailable",
                TokenFault::RulesUnreadable => "token_rules_unreadable",
            },
        }
    }

    fn status(&self) -> u16 {
        match self {
            Self::PathRefused(_) | Self::HeaderRefused(_) => 400,
            Self::TokenRefused(TokenFault::Audience) => 403,
            Self::TokenRefused(_) | Self::PeerNotAuthenticated(_) | Self::OriginNotAuthenticated(_) => 401,
            Self::NoAllowPolicies
            | Self::AllowMatched
            | Self::NoAllowMatched
            | Self::DenyMatched
            | Self::BadCustomProvider
            | Self::PlaintextOnStrict
            | Self::NoClientCertificate
            | Self::PeerUnreadable(_)
            | Self::RoleMatched
            | Self::NoRoleBinding => 403,
        }
    }

    /// What is said to a client over HTTP, in gRPC's way if that is what it speaks.
    #[must_use]
    pub fn refusal(&self, is_grpc: bool) -> Refusal {
        let status = self.status();
        let (body, challenge) = match self {
            Self::TokenRefused(fault) => (token_text(*fault), Some("invalid_token")),
            Self::PathRefused(_) | Self::HeaderRefused(_) => ("Bad Request", None),
            Self::PeerNotAuthenticated(_) => ("Peer authentication failed.", None),
            Self::OriginNotAuthenticated(_) => ("Origin authentication failed.", None),
            Self::NoAllowPolicies
            | Self::AllowMatched
            | Self::NoAllowMatched
            | Self::DenyMatched
            | Self::BadCustomProvider
            | Self::PlaintextOnStrict
            | Self::NoClientCertificate
            | Self::PeerUnreadable(_)
            | Self::RoleMatched
            | Self::NoRoleBinding => ("RBAC: access denied", None),
        };
        if !is_grpc {
            return Refusal::Http(Reply { status, body, challenge });
        }
        let grpc = match status {
            400 => 13,
            401 => 16,
            _ => 7,
        };
        Refusal::Grpc { status: grpc, message: body }
    }
}

/// What Envoy's JWT filter says.
fn token_text(fault: TokenFault) -> &'static str {
    match fault {
        TokenFault::Malformed => "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections",
        TokenFault::UnknownIssuer => "Jwt issuer is not configured",
        TokenFault::BadSignature | TokenFault::RulesUnreadable => "Jwt verification fails",
        TokenFault::Expired | TokenFault::NoExpiry => "Jwt is expired",
        TokenFault::NotYetValid => "Jwt not yet valid",
        TokenFault::Audience => "Audiences in Jwt are not allowed",
        TokenFault::KeysUnavailable => "Jwks remote fetch is failed",
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for RuleRef<'_> {
    /// As Istio names the policies of Envoy: `ns[foo]-policy[web]-rule[0]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ns[{}]-policy[{}]-rule[{}]", self.namespace, self.name, self.rule)
    }
}

impl Decision<'_> {
    /// What Envoy says in an access log of a request that a policy denied (`RESPONSE_CODE_DETAILS`).
    #[must_use]
    pub fn details(&self) -> Option<String> {
        let denied =
            self.verdict == Verdict::Deny && matches!(self.stage, Stage::Custom | Stage::Deny | Stage::Allow | Stage::RbacV1);
        denied.then(|| {
            let id = self.matched.map_or_else(|| "none".to_owned(), |rule| rule.to_string());
            format!("rbac_access_denied_matched_policy[{}]", id.replace(char::is_whitespace, "_"))
        })
    }
}
