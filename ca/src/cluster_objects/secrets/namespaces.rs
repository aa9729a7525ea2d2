//! In which namespaces accounts have Secrets. Pure. The labels are Citadel's; that nothing is managed which nobody asked for is ours.

use std::collections::{BTreeMap, BTreeSet};

/// `true` or `false` decides for its namespace, whatever else there is.
pub(crate) const OVERRIDE_LABEL: &str = "ca.istio.io/override";
/// The namespace of the CA that its namespace belongs to.
pub(crate) const ENVIRONMENT_LABEL: &str = "ca.istio.io/env";

/// Which namespaces are managed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct NamespaceRule {
    /// Those that the configuration names.
    pub(crate) listed: BTreeSet<String>,
    /// What labels say; `None`: labels are not read.
    pub(crate) labels: Option<LabelRule>,
}

/// How labels are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LabelRule {
    /// What [`ENVIRONMENT_LABEL`] must say; `None`: it decides nothing in favour.
    pub(crate) environment: Option<String>,
    /// What becomes of a namespace without labels.
    pub(crate) default: bool,
}

/// What decided on a namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ground {
    /// The configuration names it.
    Listed,
    /// [`OVERRIDE_LABEL`].
    Override,
    /// [`ENVIRONMENT_LABEL`].
    Environment,
    /// Nothing is said of it.
    Default,
}

/// The decision on one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    /// Whether its accounts have Secrets.
    pub(crate) is_managed: bool,
    /// Why.
    pub(crate) ground: Ground,
}

impl NamespaceRule {
    /// Decides on a namespace with these labels. A label that says neither `true` nor `false` where one of them is meant says no: whoever
    /// wrote it meant something, and keys that nobody asked for are worse than those that are missing.
    pub(crate) fn judge(&self, namespace: &str, labels: &BTreeMap<String, String>) -> Decision {
        if self.listed.contains(namespace) {
            return Decision { is_managed: true, ground: Ground::Listed };
        }
        let Some(LabelRule { environment, default }) = &self.labels else {
            return Decision { is_managed: false, ground: Ground::Default };
        };
        if let Some(said) = labels.get(OVERRIDE_LABEL) {
            return Decision { is_managed: said == "true", ground: Ground::Override };
        }
        if let Some(said) = labels.get(ENVIRONMENT_LABEL) {
            return Decision { is_managed: environment.as_ref() == Some(said), ground: Ground::Environment };
        }
        Decision { is_managed: *default, ground: Ground::Default }
    }
}

impl Ground {
    /// For people.
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Listed => "the configuration of the CA names it",
            Self::Override => "its label ca.istio.io/override says so",
            Self::Environment => "its label ca.istio.io/env says so",
            Self::Default => "nothing else is said of it",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(environment: Option<&str>, default: bool) -> NamespaceRule {
        let labels = Some(LabelRule { environment: environment.map(str::to_owned), default });
        NamespaceRule { listed: BTreeSet::from(["shop".to_owned()]), labels }
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_list_goes_before_the_override_that_before_the_environment_and_the_default_is_last() {
        let on = (OVERRIDE_LABEL, "true");
        let off = (OVERRIDE_LABEL, "false");
        let ours = (ENVIRONMENT_LABEL, "signet");
        let theirs = (ENVIRONMENT_LABEL, "istio-system");
        type Said<'a> = &'a [(&'a str, &'a str)];
        type Case<'a> = (&'a str, Said<'a>, (bool, Ground), (bool, Ground));
        let cases: &[Case<'_>] = &[
            ("shop", &[off, theirs], (true, Ground::Listed), (true, Ground::Listed)),
            ("other", &[on, theirs], (true, Ground::Override), (true, Ground::Override)),
            ("other", &[off, ours], (false, Ground::Override), (false, Ground::Override)),
            ("other", &[ours], (true, Ground::Environment), (true, Ground::Environment)),
            ("other", &[theirs], (false, Ground::Environment), (false, Ground::Environment)),
            ("other", &[], (false, Ground::Default), (true, Ground::Default)),
            ("other", &[(OVERRIDE_LABEL, "True")], (false, Ground::Override), (false, Ground::Override)),
            ("other", &[(OVERRIDE_LABEL, "")], (false, Ground::Override), (false, Ground::Override)),
        ];
        for (namespace, pairs, without, with) in cases {
            for (default, (is_managed, ground)) in [(false, without), (true, with)] {
                let decision = rule(Some("signet"), default).judge(namespace, &labels(pairs));
                assert_eq!(decision, Decision { is_managed: *is_managed, ground: *ground }, "{namespace} {pairs:?} {default}");
            }
        }
        assert!(!rule(None, true).judge("other", &labels(&[(ENVIRONMENT_LABEL, "")])).is_managed, "an empty label is not ours");
    }

    #[test]
    fn where_labels_are_not_read_the_list_alone_counts() {
        let rule = NamespaceRule { labels: None, ..rule(None, true) };
        assert!(rule.judge("shop", &BTreeMap::new()).is_managed);
        assert!(!rule.judge("other", &labels(&[(OVERRIDE_LABEL, "true")])).is_managed);
    }
}
