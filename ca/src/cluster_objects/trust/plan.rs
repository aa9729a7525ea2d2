//! What is to be done about one object. Pure.

use kubernetes::{LabelSelector, ObjectVersion};
use pki::Sha256Digest;

use super::index::{SeenMap, SeenWebhooks};
use crate::cluster_objects::namespaces::NamespaceFacts;
use crate::config::TrustConfig;

/// What is to be done about a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MapAction {
    /// It is as it should be, or is nobody's affair here.
    Nothing,
    /// There is none.
    Create,
    /// It is not as it should be at this version.
    Apply(ObjectVersion),
    /// It should have no file.
    RemoveFile(ObjectVersion),
    /// It cannot be written: it has to be made anew.
    Delete(ObjectVersion),
}

/// Whether a namespace has ConfigMaps. One that is about to go takes none.
pub(crate) fn is_chosen(config: &TrustConfig, name: &str, namespace: &NamespaceFacts) -> bool {
    let is_selected = || config.selectors.iter().any(|selector: &LabelSelector| selector.matches(&namespace.labels));
    !namespace.is_terminating && !config.skip.contains(name) && (config.selectors.is_empty() || is_selected())
}

/// What is to be done about the ConfigMap of a namespace. `wanted`: what its file should hold; `None`: it should have none.
pub(crate) fn plan_map(is_chosen: bool, seen: Option<&SeenMap>, wanted: Option<&Sha256Digest>) -> MapAction {
    if !is_chosen || seen.is_some_and(|seen| seen.is_terminating) {
        return MapAction::Nothing;
    }
    match (seen, wanted) {
        (None, None) => MapAction::Nothing,
        (None, Some(_)) => MapAction::Create,
        // A file that somebody else wrote, where there is nothing to say, is theirs.
        (Some(seen), None) if seen.file.is_none() || !seen.is_ours => MapAction::Nothing,
        (Some(seen), Some(wanted)) if seen.file == Some(*wanted) && seen.is_labelled => MapAction::Nothing,
        (Some(seen), _) if seen.is_fixed => MapAction::Delete(seen.version.clone()),
        (Some(seen), Some(_)) => MapAction::Apply(seen.version.clone()),
        (Some(seen), None) => MapAction::RemoveFile(seen.version.clone()),
    }
}

/// Whether webhooks are verified by something else than what they should.
pub(crate) fn is_behind(seen: &SeenWebhooks, wanted: &Sha256Digest) -> bool {
    !seen.is_terminating && seen.webhooks.iter().any(|(_, bundle)| bundle != wanted)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use pki::sha256;

    use super::*;

    fn config(selectors: &[&str]) -> TrustConfig {
        TrustConfig {
            skip: ["kube-public".to_owned()].into(),
            selectors: selectors.iter().map(|text| LabelSelector::parse(text).unwrap()).collect(),
            revocation_lists: true,
            webhooks: [].into(),
            rewrites_per_second: 1,
        }
    }

    fn seen(file: Option<&str>) -> SeenMap {
        SeenMap {
            version: ObjectVersion { uid: "u".to_owned(), version: "1".to_owned() },
            file: file.map(|file| sha256(file.as_bytes())),
            is_labelled: true,
            is_ours: true,
            is_fixed: false,
            is_terminating: false,
        }
    }

    #[test]
    fn namespaces_are_chosen_by_any_selector_but_for_those_that_are_skipped_or_about_to_go() {
        let shop = NamespaceFacts { labels: BTreeMap::from([("team".to_owned(), "shop".to_owned())]), is_terminating: false };
        assert!(is_chosen(&config(&[]), "shop", &shop));
        assert!(is_chosen(&config(&["other", "team=shop"]), "shop", &shop));
        assert!(!is_chosen(&config(&["other"]), "shop", &shop));
        assert!(!is_chosen(&config(&[]), "kube-public", &shop));
        assert!(!is_chosen(&config(&[]), "shop", &NamespaceFacts { is_terminating: true, ..shop }));
    }

    #[test]
    fn a_map_is_made_healed_and_made_anew_where_it_cannot_be_written_and_nothing_is_done_without_need() {
        let (a, b) = (sha256(b"a"), sha256(b"b"));
        let version = || seen(None).version;
        let good = seen(Some("a"));
        assert_eq!(plan_map(true, None, Some(&a)), MapAction::Create);
        assert_eq!(plan_map(true, Some(&good), Some(&a)), MapAction::Nothing);
        assert_eq!(plan_map(true, Some(&good), Some(&b)), MapAction::Apply(version()));
        assert_eq!(plan_map(true, Some(&seen(None)), Some(&a)), MapAction::Apply(version()));
        assert_eq!(plan_map(true, Some(&SeenMap { is_labelled: false, ..good.clone() }), Some(&a)), MapAction::Apply(version()));
        let theirs = SeenMap { is_ours: false, ..good.clone() };
        assert_eq!(plan_map(true, Some(&theirs), Some(&b)), MapAction::Apply(version()), "the name is ours");
        let fixed = SeenMap { is_fixed: true, ..good.clone() };
        assert_eq!(plan_map(true, Some(&fixed), Some(&b)), MapAction::Delete(version()));
        assert_eq!(plan_map(true, Some(&fixed), Some(&a)), MapAction::Nothing);
        for seen in [None, Some(&good)] {
            assert_eq!(plan_map(false, seen, Some(&b)), MapAction::Nothing);
        }
        assert_eq!(plan_map(true, Some(&SeenMap { is_terminating: true, ..good.clone() }), Some(&b)), MapAction::Nothing);
        // Where there is nothing to say.
        assert_eq!(plan_map(true, None, None), MapAction::Nothing);
        assert_eq!(plan_map(true, Some(&good), None), MapAction::RemoveFile(version()));
        assert_eq!(plan_map(true, Some(&fixed), None), MapAction::Delete(version()));
        assert_eq!(plan_map(true, Some(&theirs), None), MapAction::Nothing);
        assert_eq!(plan_map(true, Some(&seen(None)), None), MapAction::Nothing);
    }

    #[test]
    fn one_webhook_that_is_verified_by_something_else_is_enough() {
        let wanted = sha256(b"a");
        let of = |bundles: &[&str], is_terminating| SeenWebhooks {
            version: seen(None).version,
            webhooks: bundles.iter().map(|bundle| ("w".to_owned(), sha256(bundle.as_bytes()))).collect(),
            is_terminating,
        };
        assert!(!is_behind(&of(&[], false), &wanted) && !is_behind(&of(&["a", "a"], false), &wanted));
        assert!(is_behind(&of(&["a", "b"], false), &wanted) && !is_behind(&of(&["b"], true), &wanted));
    }
}
