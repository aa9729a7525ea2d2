//! Identities that the configuration itself names, for CAs that send no entries.

use std::collections::BTreeSet;
use std::time::Duration;

use identity::{DnsName, Selector, SpiffeId, TrustDomain};
use runtime::config::Section;

use crate::entry::MAX_HINT_BYTES;

/// The most identities: one CSR each at every renewal.
const MAX_IDENTITIES: usize = 1000;
/// The longest life that is asked for, and that is taken where none is asked for.
pub(crate) const MAX_TTL: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// One identity, and which processes may hold it.
#[derive(Clone, Debug)]
pub struct ConfiguredIdentity {
    /// Of the agent's trust domain, with a path, not below `/signet`.
    pub spiffe_id: SpiffeId,
    /// What a process must show; never empty.
    pub selectors: BTreeSet<Selector>,
    /// DNS names that its certificates must bear; the CA decides by its own rules.
    pub dns_names: Vec<DnsName>,
    /// The life asked for, in whole seconds; `None` leaves it to the CA.
    pub ttl: Option<Duration>,
    /// Tells a workload's identities apart; may be empty.
    pub hint: String,
}

/// Reads the tables `identity` of a section, each with what `more` reads beside: in the order in which a caller that matches several
/// finds them.
pub(super) fn read_identities<T>(
    section: &Section<'_>,
    trust_domain: Option<&TrustDomain>,
    more: impl Fn(&Section<'_>) -> Option<T>,
) -> Vec<(ConfiguredIdentity, T)> {
    let tables = section.sections("identity");
    if tables.len() > MAX_IDENTITIES {
        section.fault("identity", format!("{} identities, at most {MAX_IDENTITIES} are kept", tables.len()));
    }
    let mut identities: Vec<(ConfiguredIdentity, T)> = Vec::new();
    for table in &tables {
        // Both are read in any case, so that the faults of both are told.
        let (identity, more) = (read_identity(table, trust_domain), more(table));
        if let (Some(identity), Some(more)) = (identity, more) {
            let same = |(other, _): &(ConfiguredIdentity, T)| {
                other.spiffe_id == identity.spiffe_id && other.selectors == identity.selectors
            };
            if identities.iter().any(same) {
                table.fault("spiffe_id", "given twice with the same selectors: keep one of the two");
            }
            identities.push((identity, more));
        }
    }
    identities
}

fn read_identity(table: &Section<'_>, trust_domain: Option<&TrustDomain>) -> Option<ConfiguredIdentity> {
    let spiffe_id = table.required("spiffe_id", |text| {
        let id = SpiffeId::parse(text).map_err(|error| error.to_string())?;
        match trust_domain {
            Some(ours) if id.trust_domain() != ours => Err(format!("{id} is not of this agent's trust domain {ours}")),
            _ if id.path().is_empty() || id.is_reserved() => Err(format!("{id} cannot be the identity of a workload")),
            _ => Ok(id),
        }
    });
    let selectors: BTreeSet<_> = table.list("selectors", Selector::parse).into_iter().collect();
    if selectors.is_empty() {
        table.fault("selectors", "none are given, so every process would match: name at least one, such as \"unix:uid:1000\"");
    }
    let dns_names = table.list("dns", DnsName::parse);
    let ttl = table.duration("ttl");
    if ttl.is_some_and(|ttl| ttl.subsec_nanos() != 0 || ttl.is_zero() || ttl > MAX_TTL) {
        table.fault("ttl", "expected whole seconds, at most 90 days");
    }
    let hint = table.optional("hint", |text| {
        if text.len() > MAX_HINT_BYTES { Err(format!("over {MAX_HINT_BYTES} bytes")) } else { Ok(text.to_owned()) }
    });
    if selectors.is_empty() {
        return None;
    }
    Some(ConfiguredIdentity { spiffe_id: spiffe_id?, selectors, dns_names, ttl, hint: hint.unwrap_or_default() })
}
