//! Which DestinationRule holds for a call, and which of its settings.

use crate::mesh::Mesh;
use crate::objects::{ClientTls, DestinationRule, ExportTo, Labels, TrafficPolicy};

/// Whoever calls.
#[derive(Clone, Copy, Debug)]
pub struct Client<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// Its labels, which `workloadSelector` is held against.
    pub labels: &'a Labels,
}

/// What is called.
#[derive(Clone, Copy, Debug)]
pub struct Destination<'a> {
    /// Its name in full, such as `web.shop.svc.cluster.local`.
    pub host: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// The port of the service, which is not that of the workload.
    pub port: u16,
    /// The part of it that routing chose.
    pub subset: Option<&'a str>,
}

/// How near to the call settings were found; the nearest count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SettingsLevel {
    /// No rule says anything.
    None,
    /// `trafficPolicy.tls`.
    Host,
    /// `trafficPolicy.portLevelSettings`, which take the place of all that is said for the host.
    Port,
    /// `subsets[].trafficPolicy.tls`.
    Subset,
    /// `subsets[].trafficPolicy.portLevelSettings`.
    SubsetPort,
}

/// What rules say about the TLS of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSettings<'p> {
    /// The settings; absent where no rule has any, or where one for the port leaves them out.
    pub tls: Option<&'p ClientTls>,
    /// Where they stand.
    pub level: SettingsLevel,
    /// The rule that says so; absent where nobody does.
    pub by: Option<&'p DestinationRule>,
}

/// Finds what rules say about a call.
///
/// Rules of the client's namespace come first, those with a `workloadSelector` before the others, then those of the service's namespace and
/// those of the root namespace that are exported to the client. In the first of these that has any, the host that fits best counts: the
/// name itself, then the longest wildcard. Several rules for one host are one, of which the oldest that says something about TLS says what
/// holds for the host, and the oldest that has the subset what holds for it.
#[must_use]
pub fn client_settings<'p>(
    rules: &'p [DestinationRule],
    mesh: &Mesh,
    client: Client<'_>,
    destination: Destination<'_>,
) -> ClientSettings<'p> {
    let fitting: Vec<(usize, &DestinationRule)> =
        rules.iter().filter_map(|rule| Some((fit(rule, destination.host)?, rule))).collect();
    let own = |rule: &DestinationRule| rule.metadata.namespace == client.namespace;
    let selected = |rule: &DestinationRule| rule.workloads.as_ref().is_some_and(|labels| has_all(client.labels, labels));
    let exported = |rule: &DestinationRule, namespace: &str| {
        rule.workloads.is_none() && rule.metadata.namespace == namespace && is_exported(rule, client.namespace)
    };
    let pools: [&dyn Fn(&DestinationRule) -> bool; 4] = [
        &|rule| own(rule) && selected(rule),
        &|rule| own(rule) && rule.workloads.is_none(),
        &|rule| exported(rule, destination.namespace),
        &|rule| exported(rule, &mesh.root_namespace),
    ];
    for pool in pools {
        let there = || fitting.iter().filter(|(_, rule)| pool(rule));
        let Some(best) = there().map(|(fit, _)| *fit).max() else { continue };
        let mut one: Vec<&DestinationRule> = there().filter(|(fit, _)| *fit == best).map(|(_, rule)| *rule).collect();
        one.sort_by_key(|rule| {
            let metadata = &rule.metadata;
            // Whoever has no age is the youngest.
            (metadata.created.is_none(), metadata.created, metadata.name.as_str())
        });
        return settings_of(&one, destination);
    }
    ClientSettings { tls: None, level: SettingsLevel::None, by: None }
}

fn settings_of<'p>(rules: &[&'p DestinationRule], destination: Destination<'_>) -> ClientSettings<'p> {
    let says = |policy: &TrafficPolicy| policy.tls.is_some() || !policy.ports.is_empty();
    let host = rules.iter().find(|rule| says(&rule.policy)).map(|rule| (*rule, &rule.policy));
    let subset = rules.iter().find_map(|rule| {
        let subset = rule.subsets.iter().find(|subset| Some(subset.name.as_str()) == destination.subset)?;
        Some((*rule, &subset.policy))
    });
    let mut found = ClientSettings { tls: None, level: SettingsLevel::None, by: rules.first().copied() };
    for (policy, whole, port) in
        [(host, SettingsLevel::Host, SettingsLevel::Port), (subset, SettingsLevel::Subset, SettingsLevel::SubsetPort)]
    {
        let Some((rule, policy)) = policy else { continue };
        if let Some(tls) = &policy.tls {
            found = ClientSettings { tls: Some(tls), level: whole, by: Some(rule) };
        }
        if let Some(tls) = policy.ports.get(&destination.port) {
            found = ClientSettings { tls: tls.as_ref(), level: port, by: Some(rule) };
        }
    }
    found
}

/// How well the host of a rule fits: the name itself best, then the longest wildcard.
fn fit(rule: &DestinationRule, host: &str) -> Option<usize> {
    let wanted = rule.host.to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    if wanted == "*" {
        return Some(0);
    }
    if let Some(domain) = wanted.strip_prefix('*') {
        return (host.len() > domain.len() && host.ends_with(domain)).then_some(domain.len());
    }
    // A name without a dot is one of the rule's namespace, in whatever domain the cluster has.
    let short = format!("{wanted}.{}.svc.", rule.metadata.namespace);
    let named = wanted == host || (!wanted.contains('.') && host.len() > short.len() && host.starts_with(&short));
    named.then_some(usize::MAX)
}

fn is_exported(rule: &DestinationRule, namespace: &str) -> bool {
    let to = |export: &ExportTo| match export {
        ExportTo::All => true,
        ExportTo::Own => rule.metadata.namespace == namespace,
        ExportTo::Namespace(name) => name == namespace,
    };
    rule.export_to.is_empty() || rule.export_to.iter().any(to)
}

fn has_all(labels: &Labels, wanted: &Labels) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}
