//! One condition of a rule (Istio AuthorizationPolicy `spec.rules[].when[]`).

use super::names::is_header_name;
use super::values::{Match, account, address, pattern, port, principal, request_principal, trust_domain};
use crate::diagnostic::{Code, Findings, quoted};
use crate::document::{Cursor, Fields};
use crate::pattern::{AccountPattern, AddressRange, Pattern, RequestPrincipalPattern};

/// One condition: the attribute and what it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// `request.headers[name]`: HTTP only. Names are compared without case, values with.
    Header {
        /// The name, as it was written.
        name: String,
        /// What it must be.
        values: Match<Pattern>,
    },
    /// `source.ip`: the peer of the connection.
    SourceIp(Match<AddressRange>),
    /// `remote.ip`: the client, as told by a proxy that is trusted.
    RemoteIp(Match<AddressRange>),
    /// `source.namespace`: mTLS only.
    SourceNamespace(Match<Pattern>),
    /// `source.principal`: mTLS only, without `spiffe://`.
    SourcePrincipal(Match<Pattern>),
    /// `source.serviceAccount`: mTLS only.
    SourceServiceAccount(Match<AccountPattern>),
    /// `source.trustDomain`: mTLS only.
    SourceTrustDomain(Match<Pattern>),
    /// `request.auth.principal`: `iss/sub` of the token, HTTP only.
    RequestPrincipal(Match<RequestPrincipalPattern>),
    /// `request.auth.audiences`: HTTP only.
    RequestAudience(Match<Pattern>),
    /// `request.auth.presenter`: `azp` of the token, HTTP only.
    RequestPresenter(Match<Pattern>),
    /// `request.auth.claims[a][b]`: HTTP only.
    RequestClaim {
        /// The claim, and those within it.
        path: Vec<String>,
        /// What it must be.
        values: Match<Pattern>,
    },
    /// `destination.ip`.
    DestinationIp(Match<AddressRange>),
    /// `destination.port`: the port that the proxy sees.
    DestinationPort(Match<u16>),
    /// `connection.sni`.
    Sni(Match<Pattern>),
    /// `experimental.envoy.filters.F[k]`: told by a filter of Envoy, and absent everywhere else.
    EnvoyMetadata {
        /// The filter.
        filter: String,
        /// The key of its metadata.
        key: String,
        /// What it must be; `[v]` is a member of a list.
        values: Match<Pattern>,
    },
}

/// An attribute whose values are patterns.
type OfPatterns = (&'static str, fn(Match<Pattern>) -> Condition);

/// Attributes without brackets, apart from those whose values are no patterns.
const PATTERNS: [OfPatterns; 4] = [
    ("source.namespace", Condition::SourceNamespace),
    ("request.auth.audiences", Condition::RequestAudience),
    ("request.auth.presenter", Condition::RequestPresenter),
    ("connection.sni", Condition::Sni),
];

const OF_WORKLOAD: [(&str, &str); 4] = [
    ("destination.namespace", "the namespace of the policy"),
    ("destination.labels", "the selector"),
    ("destination.name", "the selector"),
    ("destination.user", "the selector"),
];

impl Condition {
    /// Reads one.
    pub(super) fn read(cursor: &Cursor<'_>, findings: &mut Findings) -> Option<Self> {
        if cursor.node.is_null() {
            cursor.fault(findings, Code::NullItem, "the condition is null");
            return None;
        }
        let fields = cursor.fields(&["key", "values", "notValues"], findings);
        let key = fields.text("key", findings);
        if key.is_empty() {
            fields.fault(findings, Code::KeyMissing, "key", "the condition has no key");
            return None;
        }
        if !["values", "notValues"].iter().any(|name| fields.get(name).is_some_and(|list| !list.is_empty_list())) {
            fields.fault_of_all(findings, Code::ValuesMissing, "the condition has neither values nor notValues");
        }
        Self::of_key(&key, &fields, findings)
    }

    fn of_key(key: &str, fields: &Fields<'_>, findings: &mut Findings) -> Option<Self> {
        const BOTH: (&str, &str) = ("values", "notValues");
        if let Some((_, condition)) = PATTERNS.iter().find(|(name, _)| *name == key) {
            return Some(condition(patterns(fields, findings)));
        }
        let condition = match key {
            "source.ip" => Self::SourceIp(Match::read(fields, BOTH, findings, address)),
            "remote.ip" => Self::RemoteIp(Match::read(fields, BOTH, findings, address)),
            "destination.ip" => Self::DestinationIp(Match::read(fields, BOTH, findings, address)),
            "destination.port" => Self::DestinationPort(Match::read(fields, BOTH, findings, port)),
            "source.trustDomain" => Self::SourceTrustDomain(Match::read(fields, BOTH, findings, trust_domain)),
            "source.serviceAccount" => Self::SourceServiceAccount(Match::read(fields, BOTH, findings, account)),
            "source.principal" => Self::SourcePrincipal(Match::read(fields, BOTH, findings, principal)),
            "request.auth.principal" => Self::RequestPrincipal(Match::read(fields, BOTH, findings, request_principal)),
            _ => return Self::of_map(key, fields, findings),
        };
        Some(condition)
    }

    /// Attributes that are maps: `a[b]`.
    fn of_map(key: &str, fields: &Fields<'_>, findings: &mut Findings) -> Option<Self> {
        let name = key.split('[').next().unwrap_or_default();
        if let Some((_, instead)) = OF_WORKLOAD.iter().find(|(known, _)| *known == name) {
            let what = format!("{} is said by {instead}", quoted(key));
            fields.fault(findings, Code::KeyOfWorkload, "key", what);
            return None;
        }
        let filter = name.strip_prefix("experimental.envoy.filters.").filter(|filter| !filter.is_empty());
        if !matches!(name, "request.headers" | "request.auth.claims") && filter.is_none() {
            fields.fault(findings, Code::UnknownKey, "key", format!("{} is no attribute", quoted(key)));
            return None;
        }
        let Some(path) = brackets(&key[name.len()..]) else {
            fields.fault(findings, Code::BadKey, "key", format!("{} is malformed", quoted(key)));
            return None;
        };
        match (name, filter, path.as_slice()) {
            ("request.headers", _, [header]) => {
                if !is_header_name(header.strip_prefix(':').unwrap_or(header)) {
                    fields.fault(findings, Code::BadHeaderName, "key", format!("{} is no header", quoted(header)));
                }
                Some(Self::Header { name: header.clone(), values: patterns(fields, findings) })
            }
            ("request.auth.claims", _, _) => Some(Self::RequestClaim { path, values: patterns(fields, findings) }),
            (_, Some(filter), [metadata]) => {
                fields.fault(findings, Code::EnvoyMetadata, "key", format!("{} is told by Envoy alone", quoted(key)));
                let values = patterns(fields, findings);
                Some(Self::EnvoyMetadata { filter: filter.to_owned(), key: metadata.clone(), values })
            }
            _ => {
                fields.fault(findings, Code::BadKey, "key", format!("{} has more than one bracket", quoted(key)));
                None
            }
        }
    }

    /// Whether only HTTP has the attribute.
    #[must_use]
    pub fn is_http_only(&self) -> bool {
        match self {
            Self::Header { .. }
            | Self::RequestPrincipal(_)
            | Self::RequestAudience(_)
            | Self::RequestPresenter(_)
            | Self::RequestClaim { .. } => true,
            Self::SourceIp(_)
            | Self::RemoteIp(_)
            | Self::SourceNamespace(_)
            | Self::SourcePrincipal(_)
            | Self::SourceServiceAccount(_)
            | Self::SourceTrustDomain(_)
            | Self::DestinationIp(_)
            | Self::DestinationPort(_)
            | Self::Sni(_)
            | Self::EnvoyMetadata { .. } => false,
        }
    }

    /// Whether it speaks of the peer or of a token, which CUSTOM cannot (Istio AuthorizationPolicy `action`).
    pub(super) fn is_about_identity(&self) -> bool {
        match self {
            Self::SourceNamespace(_)
            | Self::SourcePrincipal(_)
            | Self::SourceServiceAccount(_)
            | Self::SourceTrustDomain(_)
            | Self::RequestPrincipal(_)
            | Self::RequestAudience(_)
            | Self::RequestPresenter(_)
            | Self::RequestClaim { .. } => true,
            Self::Header { .. }
            | Self::SourceIp(_)
            | Self::RemoteIp(_)
            | Self::DestinationIp(_)
            | Self::DestinationPort(_)
            | Self::Sni(_)
            | Self::EnvoyMetadata { .. } => false,
        }
    }
}

fn patterns(fields: &Fields<'_>, findings: &mut Findings) -> Match<Pattern> {
    Match::read(fields, ("values", "notValues"), findings, pattern)
}

/// What stands in `[a][b]`; absent when that is malformed or a part is empty.
pub(super) fn brackets(text: &str) -> Option<Vec<String>> {
    let inner = text.strip_prefix('[')?.strip_suffix(']')?;
    let parts: Vec<String> = inner.split("][").map(str::to_owned).collect();
    parts.iter().all(|part| !part.is_empty() && !part.contains(['[', ']'])).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_hold_names() {
        assert_eq!(brackets("[a]"), Some(vec!["a".to_owned()]));
        assert_eq!(brackets("[a.b][c d]"), Some(vec!["a.b".to_owned(), "c d".to_owned()]));
        for text in ["", "[]", "[a", "a]", "a", "[a]b", "[a]b[c]", "[[a]]", "[a][]", "[]]"] {
            assert_eq!(brackets(text), None, "{text}");
        }
    }
}
