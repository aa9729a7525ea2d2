//! Which identity is fetched when. Pure: entries, times and outcomes come in; batches and states come out.
//!
//! One record per entry, so one CSR per identity however many ask. Whether something is due is worked out from the wall clock
//! on every call, so that a clock that is set or a machine that slept changes nothing but the answer; only backoff counts time
//! since boot. A failure never takes a valid SVID away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pki::{RevocationSet, Timestamp, TrustBundle, X509Svid};
use runtime::backoff::Backoff;

use super::held::{Held, HeldIdentity, IdentityState};
use crate::ca_client::view::NodeView;
use crate::entry::{Entry, EntryId};

/// The most CSRs in one call to the CA.
pub(crate) const MAX_BATCH: usize = 500;
/// Between tries for one identity.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(150));
/// The most SVIDs in one call that are replaced for a tainted key alone: all of a node's become due in one moment, as those of every
/// other node do, and what is due for its age goes beside them.
const MAX_TAINTED: usize = 64;
/// A renewal is late when it has been due for longer than this part of the certificate's life.
const LATE_PART: u32 = 10;

/// Who is served by a batch. Each lane has at most one batch under way, so a long background batch never delays a workload
/// that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// Identities that a connected workload has none of.
    Waiting,
    /// Identities fetched ahead, and renewals.
    Background,
}

/// One thing to ask the CA for, and what it is checked against when the answer comes.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) entry: Arc<Entry>,
    /// What is held for it now: some CAs renew by that.
    pub(crate) held: Option<Arc<X509Svid>>,
    /// Tells this request's answer from that of an entry that changed meanwhile.
    revision: u64,
}

/// How many renewals are past their time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Overdue {
    /// Past the time to renew, or without an SVID.
    pub(crate) due: usize,
    /// Due for too long: something is wrong.
    pub(crate) late: usize,
}

#[derive(Debug)]
struct Record {
    entry: Arc<Entry>,
    revision: u64,
    state: IdentityState,
    /// Fetch at once, whatever the SVID held says.
    stale: bool,
    /// The SVID held rests on a tainted key, or is revoked: fetch at once.
    tainted: bool,
    /// Somebody has asked for it: what no operator made an entry for is not fetched ahead.
    wanted: bool,
    in_flight: Option<Lane>,
    retry_not_before: Duration,
    backoff: Backoff,
    last_error: Option<String>,
}

/// All identities of the node.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    records: BTreeMap<EntryId, Record>,
    revisions: u64,
    /// The bundle whose tainted keys count.
    bundle: Option<Arc<TrustBundle>>,
    /// The lists that count.
    revocation: Option<Arc<RevocationSet>>,
}

impl Record {
    fn new(entry: Arc<Entry>, revision: u64) -> Self {
        let state = if entry.revoked { IdentityState::Revoked } else { IdentityState::Initializing };
        let wanted = entry.account.is_none();
        Self {
            wanted,
            entry,
            revision,
            state,
            stale: false,
            tainted: false,
            in_flight: None,
            retry_not_before: Duration::ZERO,
            backoff: Backoff::new(RETRY.0, RETRY.1),
            last_error: None,
        }
    }

    fn due(&self, now: Timestamp) -> bool {
        match &self.state {
            IdentityState::Initializing | IdentityState::Unavailable(_) => self.wanted,
            IdentityState::Revoked => false,
            // One that ends with its entry has no successor.
            IdentityState::Available(svid) => {
                // With the clock set to before its first second this node cannot tell any more when its time comes.
                let time_has_come = now >= svid.renew_at() || now < svid.leaf().not_before();
                self.stale || self.tainted || (time_has_come && !self.entry.ends_with(svid.leaf().not_after()))
            }
        }
    }

    fn late(&self, now: Timestamp) -> bool {
        match &self.state {
            IdentityState::Initializing => self.last_error.is_some(),
            IdentityState::Unavailable(_) => true,
            IdentityState::Revoked => false,
            IdentityState::Available(svid) => {
                let life = svid.leaf().not_after().since(svid.issued());
                let waits_for_its_start = now < svid.leaf().not_before() && self.last_error.is_some();
                self.due(now) && (waits_for_its_start || now > svid.renew_at().plus(life / LATE_PART))
            }
        }
    }
}

impl Schedule {
    /// Takes the entries of now. A removed entry's SVID is dropped, and so is that of one whose identity is revoked, with whatever is under
    /// way for it; one whose certificate would be another is fetched anew, and keeps its SVID until then only if that names the same
    /// identity.
    pub(crate) fn set_entries(&mut self, entries: &BTreeMap<EntryId, Arc<Entry>>) {
        self.records.retain(|id, _| entries.contains_key(id));
        for (id, entry) in entries {
            self.revisions = self.revisions.wrapping_add(1);
            let revision = self.revisions;
            match self.records.get_mut(id) {
                Some(record) if record.entry.revoked != entry.revoked => {
                    if entry.revoked {
                        tracing::warn!(id = %entry.spiffe_id, entry = %entry.id, "an identity is revoked: it is taken from its workloads");
                    } else {
                        tracing::info!(id = %entry.spiffe_id, entry = %entry.id, "a revoked identity is restored");
                    }
                    *record = Record::new(Arc::clone(entry), revision);
                }
                Some(record) if record.entry.same_certificate(entry) => record.entry = Arc::clone(entry),
                Some(record) if record.entry.spiffe_id == entry.spiffe_id => {
                    record.entry = Arc::clone(entry);
                    record.revision = revision;
                    record.in_flight = None;
                    record.stale = true;
                    record.retry_not_before = Duration::ZERO;
                }
                Some(_) | None => {
                    self.records.insert(id.clone(), Record::new(Arc::clone(entry), revision));
                }
            }
        }
    }

    /// Takes an SVID from before a restart for an entry that has none. Whether it still holds was checked. One with other DNS
    /// names than the entry has now serves until the next is there, as when an entry is changed.
    pub(crate) fn restore(&mut self, entry: &EntryId, svid: X509Svid) -> bool {
        let tainted = self.rests_on_tainted(&svid);
        match self.records.get_mut(entry) {
            Some(record) if matches!(record.state, IdentityState::Initializing) && record.entry.spiffe_id == *svid.id() => {
                let asked: BTreeSet<_> = record.entry.dns_names.iter().map(ToString::to_string).collect();
                record.stale = asked != svid.leaf().dns_sans().iter().cloned().collect();
                record.tainted = tainted;
                record.wanted = true;
                record.state = IdentityState::Available(Arc::new(svid));
                true
            }
            Some(_) | None => false,
        }
    }

    /// Withdraws what does not hold under this bundle now (an authority was taken out of it, or the SVID has ended), and
    /// fetches it anew. Says whether anything was withdrawn.
    pub(crate) fn withdraw_invalid(&mut self, bundle: &TrustBundle, now: Timestamp) -> bool {
        self.withdraw(|svid| svid.verify(bundle, now).map_err(|error| error.to_string()))
    }

    /// Has what rests on a tainted key of the bundle of now, or is on a list of now, fetched anew at once; it serves until then.
    pub(crate) fn note_taints(&mut self, bundle: &Arc<TrustBundle>, revocation: Option<&Arc<RevocationSet>>) {
        self.bundle = Some(Arc::clone(bundle));
        self.revocation = revocation.cloned();
        let (mut found, mut all) = (0_usize, 0_usize);
        for record in self.records.values_mut() {
            let before = record.tainted;
            let svid = record.state.svid();
            record.tainted = svid.is_some_and(|svid| must_go(svid, Some(bundle), revocation));
            if record.tainted && !before {
                found += 1;
                record.retry_not_before = Duration::ZERO;
                record.backoff.reset();
            }
            all += usize::from(svid.is_some());
        }
        if found > 0 {
            tracing::warn!(
                found,
                all,
                "SVIDs rest on a tainted key or are revoked: they are replaced at once, and serve until then"
            );
        }
    }

    fn rests_on_tainted(&self, svid: &X509Svid) -> bool {
        must_go(svid, self.bundle.as_ref(), self.revocation.as_ref())
    }

    /// Withdraws what has ended. Says whether anything was withdrawn.
    pub(crate) fn withdraw_expired(&mut self, now: Timestamp) -> bool {
        self.withdraw(|svid| {
            let not_after = svid.leaf().not_after();
            if now > not_after { Err(format!("it ended at {not_after} and could not be renewed")) } else { Ok(()) }
        })
    }

    fn withdraw(&mut self, check: impl Fn(&X509Svid) -> Result<(), String>) -> bool {
        let mut withdrawn = false;
        for record in self.records.values_mut() {
            if let IdentityState::Available(svid) = &record.state
                && let Err(why) = check(svid)
            {
                tracing::error!(id = %record.entry.spiffe_id, why, "an identity is withdrawn from its workloads");
                record.state = IdentityState::Unavailable(why);
                record.tainted = false;
                withdrawn = true;
            }
        }
        withdrawn
    }

    /// The next batch of a lane, at most [`MAX_BATCH`], marked as under way; empty when nothing is due or one is under way.
    ///
    /// In the background what has no SVID comes first; then at most [`MAX_TAINTED`] of what rests on a tainted key, before all what a
    /// workload that is `waiting` is connected for; then what ends first.
    pub(crate) fn next_batch(&mut self, lane: Lane, waiting: &BTreeSet<EntryId>, now: Timestamp, boot: Duration) -> Vec<Order> {
        for id in waiting {
            if let Some(record) = self.records.get_mut(id) {
                record.wanted = true;
            }
        }
        if self.records.values().any(|record| record.in_flight == Some(lane)) {
            return Vec::new();
        }
        let lane_of = |record: &Record| match record.state {
            IdentityState::Initializing | IdentityState::Unavailable(_) if waiting.contains(&record.entry.id) => Lane::Waiting,
            IdentityState::Initializing
            | IdentityState::Unavailable(_)
            | IdentityState::Available(_)
            | IdentityState::Revoked => Lane::Background,
        };
        let mut due: Vec<_> = self
            .records
            .values_mut()
            .filter(|record| record.in_flight.is_none() && boot >= record.retry_not_before && record.due(now))
            .filter(|record| lane_of(record) == lane)
            .collect();
        due.sort_by_key(|record| {
            let rank = (record.state.svid().is_some(), !record.tainted, record.tainted && !waiting.contains(&record.entry.id));
            (rank, record.state.svid().map(|svid| svid.leaf().not_after()))
        });
        let mut tainted = 0;
        due.retain(|record| {
            tainted += usize::from(record.tainted);
            !record.tainted || tainted <= MAX_TAINTED
        });
        due.truncate(MAX_BATCH);
        let order = |record: &mut Record| {
            record.in_flight = Some(lane);
            Order { entry: Arc::clone(&record.entry), held: record.state.svid().cloned(), revision: record.revision }
        };
        due.into_iter().map(order).collect()
    }

    /// An SVID that was checked takes the place of the one held.
    pub(crate) fn issued(&mut self, order: &Order, svid: X509Svid, now: Timestamp, boot: Duration, random: u8) {
        let tainted = self.rests_on_tainted(&svid);
        let Some(record) = self.current(order) else { return };
        record.in_flight = None;
        record.last_error = None;
        record.stale = false;
        record.tainted = tainted;
        if svid.renew_at() > now && !tainted {
            record.backoff.reset();
            record.retry_not_before = Duration::ZERO;
        } else {
            // Clocks far apart, or an answer that was signed before the taint, make a new SVID due at once: without a pause node and CA
            // would renew in a circle.
            record.retry_not_before = boot.saturating_add(record.backoff.next_delay(random));
        }
        record.state = IdentityState::Available(Arc::new(svid));
    }

    /// The CA says that an operator revoked the identity: it is held no more, whatever is known here of it. It is asked for again, since nothing
    /// else would tell that it was restored.
    pub(crate) fn revoked(&mut self, order: &Order, why: &str) {
        let Some(record) = self.current(order) else { return };
        record.state = IdentityState::Unavailable(why.to_owned());
        record.tainted = false;
    }

    /// A try failed: what is held stays, and the next try waits, at least for the `pause` that the CA asked for.
    pub(crate) fn failed(&mut self, order: &Order, why: String, pause: Option<Duration>, boot: Duration, random: u8) {
        let Some(record) = self.current(order) else { return };
        record.in_flight = None;
        record.last_error = Some(why);
        let delay = record.backoff.next_delay(random).max(pause.unwrap_or_default());
        record.retry_not_before = boot.saturating_add(delay);
    }

    /// The CA is back: what waits in backoff may try at once.
    pub(crate) fn retry_now(&mut self) {
        for record in self.records.values_mut() {
            record.retry_not_before = Duration::ZERO;
            record.backoff.reset();
        }
    }

    /// The wall clock was set: what failed by the former time may be tried by the new one at once, and once.
    pub(crate) fn clock_was_set(&mut self) {
        for record in self.records.values_mut() {
            record.retry_not_before = Duration::ZERO;
        }
    }

    /// Everything held, for readers.
    pub(crate) fn held(&self, view: &NodeView) -> Held {
        let mut identities: Vec<_> = self
            .records
            .values()
            .map(|record| HeldIdentity {
                entry: Arc::clone(&record.entry),
                state: record.state.clone(),
                last_error: record.last_error.clone(),
                tainted: record.tainted,
            })
            .collect();
        identities.sort_by(|a, b| a.entry.order().cmp(&b.entry.order()));
        let foreign = Arc::clone(&view.foreign);
        Held {
            knowledge: view.knowledge,
            bundle: view.bundle.clone(),
            revocation: view.revocation.clone(),
            foreign,
            identities,
            has_account_rule: view.has_account_rule,
        }
    }

    /// How many identities are due and late.
    pub(crate) fn overdue(&self, now: Timestamp) -> Overdue {
        Overdue {
            due: self.records.values().filter(|record| record.due(now)).count(),
            late: self.records.values().filter(|record| record.late(now)).count(),
        }
    }

    /// The record that an order still speaks of.
    fn current(&mut self, order: &Order) -> Option<&mut Record> {
        self.records.get_mut(&order.entry.id).filter(|record| record.revision == order.revision)
    }
}

/// Whether a certificate is to be replaced whatever its age.
pub(crate) fn must_go(svid: &X509Svid, bundle: Option<&Arc<TrustBundle>>, revocation: Option<&Arc<RevocationSet>>) -> bool {
    bundle.is_some_and(|bundle| svid.rests_on(bundle.tainted_keys(), bundle))
        || revocation.is_some_and(|lists| lists.is_revoked(svid.leaf()))
}

#[cfg(test)]
mod random;
#[cfg(test)]
mod tests;
