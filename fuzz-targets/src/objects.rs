//! Objects of a Kubernetes cluster, as its API server tells of them: most of what they say is a tenant's own words.

use std::collections::BTreeSet;
use std::time::Duration;

use ca::entry_objects::{Rules, judge};
use ca::records::Parent;
use kubernetes::Resource;
use kubernetes::identity_entries::IdentityEntry;
use kubernetes::metadata::{Namespace, ServiceAccount};
use kubernetes::names::{is_label, is_name};
use kubernetes::pods::Pod;
use kubernetes::secrets::Secret;

use crate::fixture::trust_domain;

const MAX_TTL: Duration = Duration::from_secs(24 * 3600);

/// The first byte says of which kind.
pub(crate) fn run(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    match which % 5 {
        0 => entry(bytes),
        1 => read::<Pod>(bytes, |pod| is_label(&pod.namespace) && is_name(&pod.name)),
        2 => read::<Secret>(bytes, |secret| is_label(&secret.namespace) && is_name(&secret.name)),
        3 => {
            read::<ServiceAccount>(bytes, |ServiceAccount(of)| of.namespace.as_deref().is_none_or(is_label) && is_name(&of.name))
        }
        _ => read::<Namespace>(bytes, |Namespace(of)| is_name(&of.name)),
    }
}

fn read<T: Resource>(bytes: &[u8], is_named: impl Fn(&T) -> bool) {
    if let Ok(object) = serde_json::from_slice::<T>(bytes) {
        assert!(is_named(&object) && !object.version().is_empty(), "it has no name, or no version");
    }
}

fn entry(bytes: &[u8]) {
    let Ok(object) = serde_json::from_slice::<IdentityEntry>(bytes) else { return };
    let namespace = object.namespace.as_str();
    assert!(is_label(namespace) && is_name(&object.name) && !object.version.is_empty(), "it has no name, or no version");
    let (own, friend) = (trust_domain(), "partner.example".parse().expect("it is a name"));
    let federations = BTreeSet::from([friend]);
    let rules = Rules { cluster: "east", trust_domain: &own, max_ttl: MAX_TTL, federations: &federations };
    let Ok(entry) = judge(&object, &rules) else { return };
    let below = entry.spiffe_id.path().strip_prefix(&format!("/ns/{namespace}/"));
    assert!(entry.spiffe_id.trust_domain() == &own && below.is_some(), "it is not the namespace's: {}", entry.spiffe_id);
    assert!(below.is_some_and(|path| path != "sa" && !path.starts_with("sa/")), "it is a service account's: {}", entry.spiffe_id);
    let mine = format!("k8s:ns:{namespace}");
    let of_namespaces: Vec<_> =
        entry.selectors.iter().map(ToString::to_string).filter(|text| text.starts_with("k8s:ns:")).collect();
    assert_eq!(of_namespaces, [mine], "for pods of others");
    assert!(
        (2..=17).contains(&entry.selectors.len())
            && entry.selectors.iter().all(|selector| selector.to_string().starts_with("k8s:"))
    );
    assert!(entry.dns_names.is_empty() && entry.expires_at.is_none() && entry.ttl.is_none_or(|ttl| ttl <= MAX_TTL));
    assert!(entry.federates_with.is_subset(&federations), "a bundle of nobody's choice");
    assert!(
        matches!(&entry.parent, Parent::Object(of) if of.cluster == "east" && of.namespace == namespace && of.uid == object.uid)
    );
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Were nothing taken, nothing would be learned from what is refused.
    #[test]
    fn a_good_object_is_read_and_judged() {
        let text = json!({
            "metadata": { "namespace": "shop", "name": "front", "uid": "8a1f0d9e-3c52-4d0a-9a53-2b1f7d1c9e10", "resourceVersion": "7",
                          "generation": 1, "creationTimestamp": "2026-11-20T11:00:00Z" },
            "spec": { "path": "front", "selectors": ["k8s:sa:web"] },
        });
        let object: IdentityEntry = serde_json::from_value(text).unwrap();
        let own = trust_domain();
        let rules = Rules { cluster: "east", trust_domain: &own, max_ttl: MAX_TTL, federations: &BTreeSet::new() };
        assert_eq!(judge(&object, &rules).unwrap().spiffe_id.to_string(), "spiffe://example.org/ns/shop/front");
    }
}
