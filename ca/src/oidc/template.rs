//! Templates that make names of claims: small on purpose, so that a reader sees what can come out.
//!
//! A placeholder stands for one whole segment of a path, or one whole label of a DNS name, and its value can be nothing more. A path
//! begins with a segment that is written out and a DNS name ends with one, so that no claim chooses whose name it is.

use std::collections::BTreeMap;
use std::fmt;

use identity::{DnsName, DnsNameError, SpiffeId, SpiffeIdError, TrustDomain};

/// The claims that a mapping uses, by name. All are texts.
pub type UsedClaims = BTreeMap<String, String>;

/// The claim that names whom a token is about (RFC 7519 section 4.1.2).
pub(crate) const SUBJECT: &str = "sub";

/// The most segments or labels of a template.
const MAX_PARTS: usize = 16;
const MAX_CLAIM_NAME_BYTES: usize = 128;
const SERVICE_ACCOUNT_PREFIX: &str = "system:serviceaccount:";

/// The path of a SPIFFE ID, such as `/ns/{k8s:namespace}/sa/{k8s:service_account}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentityTemplate(Vec<Part>);

/// A DNS name, such as `{claim:job}.jobs.example.org`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsTemplate(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Value(Placeholder),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Placeholder {
    /// The claim of this name.
    Claim(String),
    /// The third part of a Kubernetes subject, `system:serviceaccount:<namespace>:<service account>`.
    Namespace,
    /// The fourth part of it.
    ServiceAccount,
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A path that does not begin with a slash.
    #[error("the identity is a path and begins with \"/\", such as /team/{{claim:team}}")]
    NoPath,
    /// A placeholder of another kind, or one that is not closed.
    #[error("{found:?} is no placeholder; there are {{claim:NAME}}, {{k8s:namespace}} and {{k8s:service_account}}")]
    Placeholder {
        /// The text met.
        found: String,
    },
    /// Text and a placeholder in one segment or label.
    #[error("{found:?} mixes text and a placeholder: a placeholder stands for a whole segment of a path or label of a name")]
    Mixed {
        /// The text met.
        found: String,
    },
    /// Too many parts.
    #[error("the template has more than {MAX_PARTS} parts")]
    TooManyParts,
    /// No placeholder at all.
    #[error("the template names no claim, so that every token of the issuer would be the same workload")]
    NoPlaceholder,
    /// A path that begins with a placeholder, or a DNS name that ends with one.
    #[error(
        "a path begins with a segment, and a DNS name ends with a label, that is written out: no claim chooses whose name it is"
    )]
    Unrooted,
    /// A path at or below `/signet`.
    #[error("/signet is kept for Signet's own parts")]
    Reserved,
    /// The text in the path breaks the rules of SPIFFE IDs.
    #[error(transparent)]
    Path(#[from] SpiffeIdError),
    /// The text in the name breaks the rules of DNS names.
    #[error(transparent)]
    Name(#[from] DnsNameError),
}

/// Why claims give no name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// A claim that the mapping uses is not there.
    #[error("the token has no claim {claim:?}, which the mapping of this issuer uses")]
    ClaimMissing {
        /// Its name.
        claim: String,
    },
    /// It is there, and is no text.
    #[error("the claim {claim:?} is not a string")]
    ClaimNotText {
        /// Its name.
        claim: String,
    },
    /// Its value is not one segment of a path, or not one label of a DNS name.
    #[error("the claim {claim:?} has the value {value:?}, which is not one whole {wanted}")]
    ClaimValue {
        /// Its name.
        claim: String,
        /// Its value, cut to a length that a log can take.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// The subject is not a Kubernetes service account.
    #[error(
        "the subject {subject:?} is not system:serviceaccount:<namespace>:<service account> with two DNS labels; a mapping of other \
         claims is configured by the key \"identity\" of the rule"
    )]
    NotServiceAccount {
        /// The subject, cut to a length that a log can take.
        subject: String,
    },
    /// The ID would be one of Signet's own.
    #[error("the mapping gives {id}, and /signet is kept for Signet's own parts")]
    Reserved {
        /// The ID.
        id: SpiffeId,
    },
    /// The ID breaks a rule of SPIFFE IDs, such as its length.
    #[error("the mapping gives no SPIFFE ID: {0}")]
    Identity(SpiffeIdError),
    /// The name breaks a rule of DNS names, such as its length.
    #[error("the mapping gives no DNS name: {0}")]
    DnsName(DnsNameError),
}

impl IdentityTemplate {
    /// What Kubernetes service accounts are called: `/ns/{k8s:namespace}/sa/{k8s:service_account}`.
    pub(crate) fn service_account() -> Self {
        let literal = |text: &str| Part::Literal(text.to_owned());
        Self(vec![literal("ns"), Part::Value(Placeholder::Namespace), literal("sa"), Part::Value(Placeholder::ServiceAccount)])
    }

    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let parts = parts(text.strip_prefix('/').ok_or(TemplateError::NoPath)?, '/')?;
        match parts.first() {
            Some(Part::Literal(first)) if first == "signet" => return Err(TemplateError::Reserved),
            Some(Part::Literal(_)) => {}
            Some(Part::Value(_)) | None => return Err(TemplateError::Unrooted),
        }
        if parts.iter().all(|part| matches!(part, Part::Literal(_))) {
            return Err(TemplateError::NoPlaceholder);
        }
        SpiffeId::parse(&format!("spiffe://t/{}", specimen(&parts, "/")))?;
        Ok(Self(parts))
    }

    /// The ID that these claims prove.
    ///
    /// # Errors
    /// [`MappingError`].
    pub(crate) fn id(&self, trust_domain: &TrustDomain, claims: &UsedClaims) -> Result<SpiffeId, MappingError> {
        let path = fill(&self.0, "/", claims, is_path_segment, "path segment of letters, digits, '.', '-' and '_'")?;
        let id = SpiffeId::parse(&format!("spiffe://{trust_domain}/{path}")).map_err(MappingError::Identity)?;
        if id.is_reserved() { Err(MappingError::Reserved { id }) } else { Ok(id) }
    }

    /// The names of the claims that it uses.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(Part::claim)
    }
}

impl DnsTemplate {
    /// Reads a template.
    ///
    /// # Errors
    /// [`TemplateError`].
    pub(crate) fn parse(text: &str) -> Result<Self, TemplateError> {
        let parts = parts(text, '.')?;
        if !matches!(parts.last(), Some(Part::Literal(_))) {
            return Err(TemplateError::Unrooted);
        }
        if parts.iter().all(|part| matches!(part, Part::Literal(_))) {
            return Err(TemplateError::NoPlaceholder);
        }
        DnsName::parse(&specimen(&parts, "."))?;
        Ok(Self(parts))
    }

    /// The name that these claims prove.
    ///
    /// # Errors
    /// [`MappingError`].
    pub(crate) fn name(&self, claims: &UsedClaims) -> Result<DnsName, MappingError> {
        let name = fill(&self.0, ".", claims, is_dns_label, "DNS label of a-z, 0-9 and '-'")?;
        DnsName::parse(&name).map_err(MappingError::DnsName)
    }

    /// The names of the claims that it uses.
    pub(crate) fn claims(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(Part::claim)
    }
}

impl Part {
    fn claim(&self) -> Option<&str> {
        match self {
            Self::Literal(_) => None,
            Self::Value(Placeholder::Claim(name)) => Some(name),
            Self::Value(Placeholder::Namespace | Placeholder::ServiceAccount) => Some(SUBJECT),
        }
    }
}

impl Placeholder {
    fn parse(text: &str) -> Result<Self, TemplateError> {
        let is_name = |name: &&str| {
            !name.is_empty()
                && name.len() <= MAX_CLAIM_NAME_BYTES
                && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'{')
        };
        match (text, text.strip_prefix("claim:").filter(is_name)) {
            (_, Some(name)) => Ok(Self::Claim(name.to_owned())),
            ("k8s:namespace", _) => Ok(Self::Namespace),
            ("k8s:service_account", _) => Ok(Self::ServiceAccount),
            _ => Err(TemplateError::Placeholder { found: format!("{{{text}}}") }),
        }
    }

    fn value<'a>(&self, claims: &'a UsedClaims) -> Result<&'a str, MappingError> {
        let claim = |name: &str| claims.get(name).ok_or_else(|| MappingError::ClaimMissing { claim: name.to_owned() });
        match self {
            Self::Claim(name) => Ok(claim(name)?),
            Self::Namespace => Ok(service_account(claim(SUBJECT)?)?.0),
            Self::ServiceAccount => Ok(service_account(claim(SUBJECT)?)?.1),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Literal(text) => f.write_str(text),
            Self::Value(Placeholder::Claim(name)) => write!(f, "{{claim:{name}}}"),
            Self::Value(Placeholder::Namespace) => f.write_str("{k8s:namespace}"),
            Self::Value(Placeholder::ServiceAccount) => f.write_str("{k8s:service_account}"),
        }
    }
}

/// Splits at the separator, which may stand inside a placeholder too.
fn parts(text: &str, separator: char) -> Result<Vec<Part>, TemplateError> {
    let mut parts = Vec::new();
    let mut rest = Some(text);
    while let Some(text) = rest {
        let end = match text.strip_prefix('{') {
            Some(inner) => {
                inner.find('}').map(|at| at + 2).ok_or_else(|| TemplateError::Placeholder { found: text.to_owned() })?
            }
            None => text.find(separator).unwrap_or(text.len()),
        };
        let (part, after) = text.split_at(end);
        rest = if after.is_empty() { None } else { Some(after.strip_prefix(separator).ok_or_else(|| mixed(text))?) };
        parts.push(match part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            Some(placeholder) => Part::Value(Placeholder::parse(placeholder)?),
            None if part.contains(['{', '}']) => return Err(mixed(part)),
            None => Part::Literal(part.to_owned()),
        });
        if parts.len() > MAX_PARTS {
            return Err(TemplateError::TooManyParts);
        }
    }
    Ok(parts)
}

fn mixed(text: &str) -> TemplateError {
    TemplateError::Mixed { found: text.to_owned() }
}

/// What the template gives when each claim is the shortest there is: wrong text shows in it.
fn specimen(parts: &[Part], separator: &str) -> String {
    let texts: Vec<_> = parts.iter().map(|part| if let Part::Literal(text) = part { text } else { "x" }).collect();
    texts.join(separator)
}

fn fill(
    parts: &[Part],
    separator: &str,
    claims: &UsedClaims,
    fits: fn(&str) -> bool,
    wanted: &'static str,
) -> Result<String, MappingError> {
    let mut texts = Vec::with_capacity(parts.len());
    for part in parts {
        texts.push(match part {
            Part::Literal(text) => text.as_str(),
            Part::Value(placeholder) => {
                let value = placeholder.value(claims)?;
                if !fits(value) {
                    let claim = part.claim().unwrap_or_default().to_owned();
                    return Err(MappingError::ClaimValue { claim, value: excerpt(value), wanted });
                }
                value
            }
        });
    }
    Ok(texts.join(separator))
}

/// Namespace and service account of a subject of exactly four parts.
fn service_account(subject: &str) -> Result<(&str, &str), MappingError> {
    let names = subject.strip_prefix(SERVICE_ACCOUNT_PREFIX).and_then(|rest| rest.split_once(':'));
    names
        .filter(|(namespace, account)| is_dns_label(namespace) && is_dns_label(account))
        .ok_or_else(|| MappingError::NotServiceAccount { subject: excerpt(subject) })
}

/// One segment of a SPIFFE ID's path (SPIFFE-ID section 2.2).
fn is_path_segment(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    !matches!(text, "" | "." | "..") && text.bytes().all(allowed)
}

/// A DNS label (RFC 1123 section 2.1) in lower case.
fn is_dns_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}

/// The beginning of a text that somebody sent, for a log line.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(MAX_EXCERPT).collect()
}

const MAX_EXCERPT: usize = 128;

#[cfg(test)]
mod tests;
