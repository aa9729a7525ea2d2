//! Node attestation by a certificate that somebody else issued: which issuers count, and which node a certificate names.
//!
//! Pure but for `files`. An operator who names provisioning roots lets whoever holds a certificate of theirs become a node, so the roots are
//! those of the configuration and no others, and the name is the one that the template finds: never a choice of the caller.

mod files;

use std::fmt;
use std::str::FromStr;

use identity::{DnsName, NodeName, SpiffeId};
use pki::{Certificate, CertificateDer, SvidError, Timestamp, TrustedRoots, Usage, validate_chain};

pub use files::{ProvisioningRootsError, load};

/// What stands for the node's name in a template.
const PLACE: &str = "{node}";

/// Where the name of the node stands in its certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeTemplate {
    /// One whole segment of the path of the one SPIFFE ID.
    SpiffeId {
        /// Everything before the segment, with the slash.
        before: String,
        /// Everything behind it.
        after: String,
    },
    /// The first label of a DNS name.
    Dns {
        /// The labels behind it.
        suffix: DnsName,
    },
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a SPIFFE ID with {{node}} as one segment of its path, such as \"spiffe://example.org/vm/{{node}}\", or a DNS name with \
     it as the first label, such as \"dns:{{node}}.vm.example.org\": {why}"
)]
pub struct NodeTemplateError {
    /// What is wrong.
    pub why: String,
}

/// Why a certificate does not say which node its holder is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NodeNameFault {
    /// Not exactly one URI SAN, or it is no SPIFFE ID.
    #[error("it does not have exactly one URI SAN that is a SPIFFE ID")]
    NoSpiffeId,
    /// It is an identity of this system.
    #[error("{id} is an identity of Signet's own parts")]
    Reserved {
        /// Whom it names.
        id: SpiffeId,
    },
    /// Its name does not have the form of the template.
    #[error("none of its names has the form {template}")]
    NoMatch {
        /// The form wanted.
        template: NodeTemplate,
    },
    /// More than one name has that form.
    #[error("more than one of its names has the form {template}")]
    Several {
        /// The form wanted.
        template: NodeTemplate,
    },
}

/// One provisioning authority.
#[derive(Clone, Debug)]
pub struct ProvisioningSource {
    /// Its roots.
    pub roots: TrustedRoots,
    /// Where its certificates have the name of the node.
    pub template: NodeTemplate,
}

/// A node as its certificate names it.
#[derive(Clone, Debug)]
pub struct Provisioned {
    /// The name.
    pub node: NodeName,
    /// The certificate.
    pub leaf: Certificate,
}

/// Why a certificate attests nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProvisioningError {
    /// There is no `[[attestation.certificate]]`.
    #[error("this CA attests no nodes by certificate: an operator can set [[attestation.certificate]]; join tokens work")]
    NotConfigured,
    /// No provisioning authority issued it, or it is not valid now, or not for this.
    #[error("the certificate is refused: {0}")]
    Chain(#[from] SvidError),
    /// It names no node.
    #[error("the certificate is refused: {0}")]
    Name(#[from] NodeNameFault),
    /// Two provisioning authorities find different names in it.
    #[error("the certificate names more than one node: {one} and {other}")]
    Ambiguous {
        /// By one template.
        one: NodeName,
        /// By another.
        other: NodeName,
    },
}

impl NodeTemplate {
    /// The one node that a certificate names.
    ///
    /// # Errors
    /// [`NodeNameFault`]; a name is never mended, cut or chosen among several.
    pub fn node_of(&self, leaf: &Certificate) -> Result<NodeName, NodeNameFault> {
        let no_match = || NodeNameFault::NoMatch { template: self.clone() };
        match self {
            Self::SpiffeId { before, after } => {
                let [uri] = leaf.uri_sans() else { return Err(NodeNameFault::NoSpiffeId) };
                let id = SpiffeId::parse(uri).map_err(|_| NodeNameFault::NoSpiffeId)?;
                if id.is_reserved() {
                    return Err(NodeNameFault::Reserved { id });
                }
                let node = id.as_str().strip_prefix(before.as_str()).and_then(|rest| rest.strip_suffix(after.as_str()));
                // A slash in it would be another segment, which a node's name cannot have.
                node.and_then(|node| NodeName::parse(node).ok()).ok_or_else(no_match)
            }
            Self::Dns { suffix } => {
                let mut found = leaf.dns_sans().iter().filter_map(|name| {
                    let (label, rest) = name.split_once('.')?;
                    let sound = rest == suffix.as_str() && DnsName::parse(name).is_ok();
                    NodeName::parse(label).ok().filter(|_| sound)
                });
                match (found.next(), found.next()) {
                    (Some(node), None) => Ok(node),
                    (None, _) => Err(no_match()),
                    (Some(_), Some(_)) => Err(NodeNameFault::Several { template: self.clone() }),
                }
            }
        }
    }
}

impl FromStr for NodeTemplate {
    type Err = NodeTemplateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = |why: &str| NodeTemplateError { why: why.to_owned() };
        if text.matches(PLACE).count() != 1 {
            return Err(refused("{node} must stand in it once"));
        }
        if let Some(name) = text.strip_prefix("dns:") {
            let suffix = name.strip_prefix("{node}.").ok_or_else(|| refused("{node} must be its first label"))?;
            let suffix = DnsName::parse(suffix).map_err(|error| refused(&error.to_string()))?;
            return Ok(Self::Dns { suffix });
        }
        let (before, after) = text.split_once(PLACE).unwrap_or_default();
        if !before.ends_with('/') || !(after.is_empty() || after.starts_with('/')) {
            return Err(refused("{node} must be a whole segment"));
        }
        let trust_domain_at_least = before.strip_suffix('/').is_some_and(|before| SpiffeId::parse(before).is_ok());
        if !trust_domain_at_least {
            return Err(refused("what stands before {node} must be a SPIFFE ID"));
        }
        // With any name in its place it must be a SPIFFE ID.
        let example = SpiffeId::parse(&format!("{before}n{after}")).map_err(|error| refused(&error.to_string()))?;
        if example.is_reserved() {
            return Err(refused("what is below /signet belongs to Signet's own parts, whose certificates attest nobody"));
        }
        Ok(Self::SpiffeId { before: before.to_owned(), after: after.to_owned() })
    }
}

impl fmt::Display for NodeTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SpiffeId { before, after } => write!(f, "{before}{PLACE}{after}"),
            Self::Dns { suffix } => write!(f, "dns:{PLACE}.{suffix}"),
        }
    }
}

/// The node that a chain (leaf first) attests at `now` under these sources.
///
/// Every source is asked, so that a certificate under two of them cannot be two nodes.
///
/// # Errors
/// [`ProvisioningError`]; of several, the one that came closest to being accepted.
pub fn judge(
    sources: &[ProvisioningSource],
    chain: &[CertificateDer<'_>],
    now: Timestamp,
) -> Result<Provisioned, ProvisioningError> {
    let mut found: Option<Provisioned> = None;
    let mut refusal = ProvisioningError::NotConfigured;
    for ProvisioningSource { roots, template } in sources {
        let leaf = match validate_chain(chain, roots, Usage::Client, now) {
            Ok(leaf) => leaf,
            Err(error) => {
                // "Another root" says least: what a second source knows better about this certificate stays.
                if matches!(refusal, ProvisioningError::NotConfigured | ProvisioningError::Chain(SvidError::UnknownRoot { .. })) {
                    refusal = error.into();
                }
                continue;
            }
        };
        match (template.node_of(&leaf), &found) {
            (Err(error), _) => refusal = error.into(),
            (Ok(node), Some(earlier)) if earlier.node != node => {
                return Err(ProvisioningError::Ambiguous { one: earlier.node.clone(), other: node });
            }
            (Ok(node), _) => found = Some(Provisioned { node, leaf }),
        }
    }
    found.ok_or(refusal)
}

#[cfg(test)]
mod tests;
