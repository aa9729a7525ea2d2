//! Whether a peer is one of those that a policy names. Fields of the identity are compared, never its text by a regular expression.

use identity::SpiffeId;

use super::aliases;
use crate::mesh::Mesh;
use crate::pattern::{AccountPattern, Leaning, Pattern};

/// Identities by the fields that policies name.
///
/// `spiffe://td/ns/N/sa/S` has a namespace and a service account. An identity of any other shape has neither where a match admits; where
/// it refuses, whatever stands behind an `ns` or `sa` counts, so that an odd identity escapes nothing.
#[derive(Clone, Copy)]
pub(crate) struct PeerFields<'a> {
    id: &'a SpiffeId,
    /// Namespace and service account, in the one shape that has them.
    workload: Option<(&'a str, &'a str)>,
}

impl<'a> PeerFields<'a> {
    pub(super) fn of(id: &'a SpiffeId) -> Self {
        let mut segments = id.path().split('/').skip(1);
        let mut next = || segments.next();
        let workload = match (next(), next(), next(), next(), next()) {
            (Some("ns"), Some(namespace), Some("sa"), Some(account), None) => Some((namespace, account)),
            _ => None,
        };
        Self { id, workload }
    }

    /// The identity as principals are written: without its scheme.
    pub(crate) fn principal(self) -> &'a str {
        self.id.as_str().strip_prefix("spiffe://").unwrap_or_default()
    }

    pub(crate) fn trust_domain(self) -> &'a str {
        self.id.trust_domain().as_str()
    }

    /// Everything that counts as its namespace where a match refuses, which is no less than where it admits.
    pub(crate) fn namespaces(self) -> impl Iterator<Item = &'a str> {
        self.named("ns", self.workload.map(|(namespace, _)| namespace), Leaning::Refuses)
    }

    /// As [`Self::namespaces`], of its service account.
    pub(crate) fn accounts(self) -> impl Iterator<Item = &'a str> {
        self.named("sa", self.workload.map(|(_, account)| account), Leaning::Refuses)
    }

    pub(crate) fn is_principal(self, pattern: &Pattern, mesh: &Mesh, aliases_count: bool, leaning: Leaning) -> bool {
        if !aliases_count {
            return self.is_written_principal(pattern, leaning);
        }
        aliases::principal(&pattern.to_string(), mesh).iter().any(|pattern| self.is_written_principal(pattern, leaning))
    }

    fn is_written_principal(self, pattern: &Pattern, leaning: Leaning) -> bool {
        // The end of an odd identity may look like a whole one: td/x/ns/foo/sa/admin.
        let whole = self.workload.is_some() || leaning == Leaning::Refuses || !matches!(pattern, Pattern::Suffix(_));
        whole && pattern.matches(self.principal().as_bytes())
    }

    pub(crate) fn is_in_namespace(self, pattern: &Pattern, leaning: Leaning) -> bool {
        self.named("ns", self.workload.map(|(namespace, _)| namespace), leaning).any(|name| pattern.matches(name.as_bytes()))
    }

    /// `own_namespace` is that of the policy.
    pub(super) fn is_account(self, account: &AccountPattern, own_namespace: &str, leaning: Leaning) -> bool {
        let mut namespaces = self.named("ns", self.workload.map(|(namespace, _)| namespace), leaning);
        namespaces.any(|namespace| {
            let mut accounts = self.named("sa", self.workload.map(|(_, name)| name), leaning);
            accounts.any(|name| account.names(own_namespace, namespace, name))
        })
    }

    pub(super) fn is_in_trust_domain(self, pattern: &Pattern, mesh: &Mesh, aliases_count: bool) -> bool {
        let domain = self.trust_domain().as_bytes();
        if !aliases_count {
            return pattern.matches(domain);
        }
        aliases::trust_domain(&pattern.to_string(), mesh).iter().any(|pattern| pattern.matches(domain))
    }

    /// The field of a workload, or, for an odd identity where a match refuses, every segment behind one of this name.
    fn named(self, field: &'static str, value: Option<&'a str>, leaning: Leaning) -> impl Iterator<Item = &'a str> {
        let odd = value.is_none() && leaning == Leaning::Refuses;
        let path = if odd { self.id.path() } else { "" };
        let behind = path.split('/').zip(path.split('/').skip(1)).filter(move |(name, _)| *name == field).map(|(_, next)| next);
        value.into_iter().chain(behind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEANINGS: [Leaning; 2] = [Leaning::Admits, Leaning::Refuses];

    fn id(path: &str) -> SpiffeId {
        SpiffeId::parse(&format!("spiffe://{path}")).unwrap()
    }

    #[test]
    fn fields_are_compared_as_they_are() {
        let id = id("td/ns/foo/sa/a.b");
        let peer = PeerFields::of(&id);
        let mesh = Mesh::default();
        for leaning in LEANINGS {
            for (text, expected) in
                [("foo", true), ("fo", false), ("f*", true), ("*o", true), ("*", true), ("fo.", false), (".*", false)]
            {
                assert_eq!(peer.is_in_namespace(&Pattern::of(text), leaning), expected, "{text}");
            }
            for (text, expected) in [
                ("td/ns/foo/sa/a.b", true),
                ("td/ns/foo/sa/a", false),
                ("*/ns/foo/sa/a.b", true),
                ("*", true),
                ("td/ns/foo/*", true),
                ("*b", true),
                ("spiffe://td/ns/foo/sa/a.b", false),
                ("TD/ns/foo/sa/a.b", false),
            ] {
                assert_eq!(peer.is_principal(&Pattern::of(text), &mesh, true, leaning), expected, "{text}");
            }
            for (text, expected) in
                [("a.b", true), ("foo/a.b", true), ("axb", false), ("bar/a.b", false), ("a.bc", false), ("a", false)]
            {
                let account = AccountPattern::parse(text).unwrap();
                assert_eq!(peer.is_account(&account, "foo", leaning), expected, "{text}");
            }
            let in_domain = |text| peer.is_in_trust_domain(&Pattern::of(text), &mesh, true);
            assert!(in_domain("td") && !in_domain("t"));
        }
    }

    #[test]
    fn an_odd_identity_is_let_in_by_nothing_and_escapes_nothing() {
        let id = id("td/ns/foo/ns/bar/sa/x");
        let peer = PeerFields::of(&id);
        let mesh = Mesh::default();
        for (leaning, expected) in [(Leaning::Admits, false), (Leaning::Refuses, true)] {
            assert_eq!(peer.is_in_namespace(&Pattern::of("bar"), leaning), expected);
            assert_eq!(peer.is_in_namespace(&Pattern::of("foo"), leaning), expected);
            assert!(!peer.is_in_namespace(&Pattern::of("sa"), leaning));
            assert_eq!(peer.is_account(&AccountPattern::parse("x").unwrap(), "bar", leaning), expected);
            assert_eq!(peer.is_principal(&Pattern::of("*/ns/bar/sa/x"), &mesh, true, leaning), expected);
            assert!(peer.is_principal(&Pattern::of("td/ns/foo/ns/bar/sa/x"), &mesh, true, leaning));
            assert!(peer.is_principal(&Pattern::of("*"), &mesh, true, leaning));
        }
    }
}
