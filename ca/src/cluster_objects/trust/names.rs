//! What the objects are called, as Istio's clients look for them, and how one of them is named in the queue. Pure.

use crate::cluster_objects::queue::Key;
use crate::config::WebhookName;

/// The ConfigMap with the trust bundle, and its file.
pub(crate) const ROOTS_MAP: &str = "istio-ca-root-cert";
pub(crate) const ROOTS_FILE: &str = "root-cert.pem";
/// The ConfigMap with the revocation lists, and its file.
pub(crate) const LISTS_MAP: &str = "istio-ca-crl";
pub(crate) const LISTS_FILE: &str = "ca-crl.pem";
/// What tells programs that a ConfigMap is of the mesh, and none of the tenant's.
pub(crate) const LABEL: (&str, &str) = ("istio.io/config", "true");
/// Under which name fields are written.
pub(crate) const FIELD_MANAGER: &str = "signet-trust";

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A ConfigMap of a namespace.
    Map(MapKind, String),
    /// A webhook configuration.
    Webhook(WebhookName),
}

/// Which ConfigMap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MapKind {
    /// The one with the trust bundle.
    Roots,
    /// The one with the revocation lists.
    Lists,
}

const VALIDATING: &str = "ValidatingWebhookConfiguration";
const MUTATING: &str = "MutatingWebhookConfiguration";

impl MapKind {
    /// The name of the ConfigMap.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Roots => ROOTS_MAP,
            Self::Lists => LISTS_MAP,
        }
    }

    /// Its file.
    pub(crate) fn file(self) -> &'static str {
        match self {
            Self::Roots => ROOTS_FILE,
            Self::Lists => LISTS_FILE,
        }
    }
}

impl Target {
    /// As it is called in the queue, and before people: what it is, and of which name or namespace.
    pub(crate) fn key(&self) -> Key {
        let (kind, name) = match self {
            Self::Map(kind, namespace) => (kind.name(), namespace),
            Self::Webhook(WebhookName { is_mutating: false, name }) => (VALIDATING, name),
            Self::Webhook(WebhookName { is_mutating: true, name }) => (MUTATING, name),
        };
        (kind.to_owned(), name.clone())
    }

    /// What is called so.
    pub(crate) fn of((kind, name): &Key) -> Option<Self> {
        match kind.as_str() {
            ROOTS_MAP => Some(Self::Map(MapKind::Roots, name.clone())),
            LISTS_MAP => Some(Self::Map(MapKind::Lists, name.clone())),
            VALIDATING => Some(Self::Webhook(WebhookName { is_mutating: false, name: name.clone() })),
            MUTATING => Some(Self::Webhook(WebhookName { is_mutating: true, name: name.clone() })),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_is_called_by_a_name_of_its_own() {
        let hook = |is_mutating| Target::Webhook(WebhookName { is_mutating, name: "shop".to_owned() });
        let targets = [
            Target::Map(MapKind::Roots, "shop".to_owned()),
            Target::Map(MapKind::Lists, "shop".to_owned()),
            hook(false),
            hook(true),
        ];
        for target in targets {
            assert_eq!(Target::of(&target.key()), Some(target));
        }
        assert_eq!(Target::of(&("Secret".to_owned(), "shop".to_owned())), None);
    }
}
