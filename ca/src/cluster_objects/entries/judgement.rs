//! What an object may have. Pure.
//!
//! Whoever may write objects in a namespace is a tenant of it, and nothing more: nothing is believed because the API server let it in, since the
//! definition there may be another one. What comes out is below `/ns/<namespace>/`, outside of what belongs to service accounts, and for pods of
//! that namespace alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use identity::{Selector, SelectorKind, SpiffeId, TrustDomain};
use kubernetes::identity_entries::{EntrySpec, IdentityEntry};

use crate::cluster_objects::queue::Key;
use crate::config::ObjectEntriesConfig;
use crate::records::{ClusterObject, Hint, NewEntry, Parent};
use crate::rpc::entry_wire::{leaf_ttl, read_foreign, workload_id};

/// Selectors of one object, beside the one of its namespace: as the definition has it.
const MAX_SELECTORS: usize = 16;
/// What a tenant may tell the pods of a namespace apart by.
const OF_PODS: [SelectorKind; 6] = [
    SelectorKind::PodServiceAccount,
    SelectorKind::PodName,
    SelectorKind::PodUid,
    SelectorKind::PodLabel,
    SelectorKind::ContainerName,
    SelectorKind::ContainerImage,
];
/// What belongs to service accounts below a namespace.
const ACCOUNTS: &str = "sa";

/// What objects are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a> {
    /// The name of their cluster.
    pub cluster: &'a str,
    /// That of the CA.
    pub trust_domain: &'a TrustDomain,
    /// The longest life of a leaf.
    pub max_ttl: Duration,
    /// The trust domains that there is a relationship with.
    pub federations: &'a BTreeSet<TrustDomain>,
}

/// Why an object has no entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// One word, for programs: stable.
    pub reason: &'static str,
    /// For people.
    pub message: String,
}

impl Refusal {
    fn of(reason: &'static str, message: impl ToString) -> Self {
        Self { reason, message: message.to_string() }
    }
}

/// What an object may have: the one place that says so.
///
/// # Errors
/// [`Refusal`]: nothing.
pub fn judge(object: &IdentityEntry, rules: &Rules<'_>) -> Result<NewEntry, Refusal> {
    let EntrySpec { path, selectors, ttl_seconds, hint, federates_with } =
        object.spec.as_ref().map_err(|error| Refusal::of("InvalidSpec", format!("the spec is not read: {error}")))?;
    let namespace = object.namespace.as_str();
    let mut entry = NewEntry {
        spiffe_id: identity_of(namespace, path, rules.trust_domain)?,
        selectors: selectors_of(namespace, selectors)?,
        parent: Parent::Object(Box::new(ClusterObject {
            cluster: rules.cluster.to_owned(),
            namespace: namespace.to_owned(),
            name: object.name.clone(),
            uid: object.uid.clone(),
        })),
        ttl: ttl_of(*ttl_seconds, rules.max_ttl)?,
        // A namespace has no names of its own that the CA could tell from those of others.
        dns_names: Vec::new(),
        hint: Hint::parse(hint.as_deref().unwrap_or_default()).map_err(|error| Refusal::of("InvalidHint", error))?,
        expires_at: None,
        federates_with: federations_of(federates_with.as_deref().unwrap_or_default(), rules)?,
    };
    entry.sort_selectors();
    Ok(entry)
}

/// `spiffe://<trust domain>/ns/<namespace>/<path>`.
fn identity_of(namespace: &str, path: &str, trust_domain: &TrustDomain) -> Result<SpiffeId, Refusal> {
    let refused = |why: &dyn std::fmt::Display| Refusal::of("InvalidPath", format!("spec.path {path:?}: {why}"));
    if path.split('/').next() == Some(ACCOUNTS) {
        return Err(refused(&format!("what begins with {ACCOUNTS} belongs to service accounts")));
    }
    let id = workload_id(&format!("spiffe://{trust_domain}/ns/{namespace}/{path}"), trust_domain).map_err(|why| refused(&why))?;
    // Whatever a parser makes of it: the name is below the namespace, by what was asked for and nothing else.
    let below = id.path().strip_prefix("/ns/").and_then(|rest| rest.strip_prefix(namespace)?.strip_prefix('/'));
    if below == Some(path) { Ok(id) } else { Err(refused(&"it does not lie below the namespace")) }
}

/// Those that are asked for, all of the pods of the namespace.
fn selectors_of(namespace: &str, texts: &[String]) -> Result<Vec<Selector>, Refusal> {
    let refused = |why: String| Refusal::of("InvalidSelector", why);
    if texts.is_empty() {
        return Err(refused(
            "there is no selector, so every pod of the namespace would match; give at least one, such as k8s:sa:web".to_owned(),
        ));
    }
    if texts.len() > MAX_SELECTORS {
        return Err(refused(format!("there are {} selectors, at most {MAX_SELECTORS} are allowed", texts.len())));
    }
    let own = Selector::new(SelectorKind::PodNamespace, namespace).map_err(|error| refused(error.to_string()))?;
    let mut selectors = vec![own];
    for text in texts {
        let selector = Selector::parse(text).map_err(|error| refused(error.to_string()))?;
        if selector.is(SelectorKind::PodNamespace) {
            return Err(refused(format!("{text}: the namespace is that of the object, and is added by the CA")));
        }
        if !OF_PODS.iter().any(|kind| selector.is(*kind)) {
            return Err(refused(format!("{text}: an object speaks of pods by k8s: selectors alone")));
        }
        selectors.push(selector);
    }
    Ok(selectors)
}

fn ttl_of(seconds: Option<u64>, max: Duration) -> Result<Option<Duration>, Refusal> {
    let refused = |why: &dyn std::fmt::Display| Refusal::of("InvalidTTL", format!("spec.ttlSeconds: {why}"));
    match seconds {
        None => Ok(None),
        Some(0) => Err(refused(&"a life of nothing; leave it out for the CA's default")),
        Some(seconds) => {
            let seconds = u32::try_from(seconds).map_err(|error| refused(&error))?;
            leaf_ttl(seconds, max).map_err(|error| refused(&error))
        }
    }
}

fn federations_of(texts: &[String], rules: &Rules<'_>) -> Result<BTreeSet<TrustDomain>, Refusal> {
    let mut faults = Vec::new();
    let domains = read_foreign(texts, rules.trust_domain, &mut faults);
    if let Some(fault) = faults.first() {
        return Err(Refusal::of("InvalidFederation", fault));
    }
    match domains.iter().find(|domain| !rules.federations.contains(*domain)) {
        Some(domain) => Err(Refusal::of("UnknownTrustDomain", format!("this CA has no relationship with trust domain {domain}"))),
        None => Ok(domains),
    }
}

/// What all of them may have. Of a namespace, and of all, those that were made first have theirs.
pub(super) fn judge_all(
    mut objects: Vec<Arc<IdentityEntry>>,
    rules: &Rules<'_>,
    bounds: &ObjectEntriesConfig,
) -> BTreeMap<Key, (Arc<IdentityEntry>, Result<NewEntry, Refusal>)> {
    let age = |object: &IdentityEntry| (object.created_at.clone(), object.namespace.clone(), object.name.clone());
    objects.sort_by_cached_key(|object| age(object));
    let mut of_namespaces: BTreeMap<String, usize> = BTreeMap::new();
    let mut of_all = 0;
    let mut judge_one = |object: &IdentityEntry| {
        let entry = judge(object, rules)?;
        let of_namespace = of_namespaces.entry(object.namespace.clone()).or_default();
        for (taken, most, of) in
            [(*of_namespace, bounds.max_per_namespace, "of this namespace"), (of_all, bounds.max, "of all namespaces together")]
        {
            if taken >= most {
                let message =
                    format!("{most} older objects {of} have entries, and no more may; delete some, or have the bound raised");
                return Err(Refusal::of("TooMany", message));
            }
        }
        *of_namespace += 1;
        of_all += 1;
        Ok(entry)
    };
    objects
        .into_iter()
        .map(|object| {
            let judged = judge_one(&object);
            ((object.namespace.clone(), object.name.clone()), (object, judged))
        })
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
