//! What is to be fetched, found by the callers that it is for.
//!
//! A node has an identity for each service account of its pods, and nearly all of them are asked for by nobody: neither are they gone through for
//! each caller, nor are the CA's entries for each of them.

use std::collections::BTreeMap;

use identity::Selector;

use super::Facts;
use crate::identities::{Held, HeldIdentity, IdentityState};

/// Identities that have no SVID, or one that must go.
pub(super) struct Missing<'h> {
    held: &'h Held,
    /// By the last of their selectors: whoever has them all has that one, and of the entry for an account it is the account's name.
    by_selector: BTreeMap<&'h Selector, Vec<&'h HeldIdentity>>,
}

impl<'h> Missing<'h> {
    pub(super) fn of(held: &'h Held) -> Self {
        let is_missing = |identity: &&HeldIdentity| match &identity.state {
            IdentityState::Initializing | IdentityState::Unavailable(_) => true,
            IdentityState::Available(_) => identity.tainted,
            IdentityState::Revoked => false,
        };
        let mut by_selector = BTreeMap::<_, Vec<_>>::new();
        for identity in held.identities.iter().filter(is_missing) {
            // One without any is for nobody.
            if let Some(selector) = identity.entry.selectors.last() {
                by_selector.entry(selector).or_default().push(identity);
            }
        }
        Self { held, by_selector }
    }

    /// Those that are for this caller. Whether the CA has an entry for it is looked for once, and only when that matters.
    pub(super) fn of_caller(&self, facts: &Facts) -> impl Iterator<Item = &'h HeldIdentity> {
        let mut of_ca = None;
        facts.selectors.iter().filter_map(|selector| self.by_selector.get(selector)).flatten().copied().filter(move |identity| {
            let is_by_rule = identity.entry.account.is_some();
            facts.match_entry(&identity.entry)
                && !(is_by_rule && *of_ca.get_or_insert_with(|| facts.entries_of_ca_count(self.held)))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fakes::held::{entry, facts, missing, of_account};

    /// As it is written down: each identity with each caller.
    fn one_by_one(held: &Held, callers: &[Facts]) -> BTreeSet<String> {
        let is_for = |identity: &&HeldIdentity| {
            let by_rule = identity.entry.account.is_some();
            callers.iter().any(|facts| facts.match_entry(&identity.entry) && !(by_rule && facts.entries_of_ca_count(held)))
        };
        held.identities.iter().filter(is_for).map(|identity| identity.entry.id.to_string()).collect()
    }

    #[test]
    fn whatever_is_missing_is_found_by_whom_it_is_for_as_one_by_one() {
        let accounts = ["shop/a", "shop/b", "mall/a", "mall/c"];
        let of_ca = [
            vec!["unix:uid:1"],
            vec!["unix:uid:2", "k8s:ns:shop"],
            vec!["k8s:sa:a", "k8s:ns:mall", "unix:gid:5"],
            vec!["unix:path:/bin/x", "unix:uid:9"],
        ];
        let callers = [
            facts(&[]),
            facts(&["unix:uid:1", "k8s:ns:shop", "k8s:sa:a"]),
            facts(&["unix:uid:2", "k8s:ns:shop", "k8s:sa:b"]),
            facts(&["unix:uid:3", "k8s:ns:mall", "k8s:sa:a"]),
            facts(&["unix:uid:3", "unix:gid:5", "k8s:ns:mall", "k8s:sa:a"]),
            facts(&["unix:uid:3", "k8s:ns:mall", "k8s:sa:c"]),
        ];
        // Each choice of entries, with each choice of callers.
        for chosen in 0_u32..1 << of_ca.len() {
            let mine = of_ca.iter().enumerate().filter(|(number, _)| chosen & (1 << number) != 0);
            let mine = mine.map(|(number, selectors)| missing(entry(&format!("e{number}"), selectors, 1, ""), None));
            let by_rule = accounts.iter().map(|account| missing(of_account(account), None));
            let held = Held { identities: mine.chain(by_rule).collect(), has_account_rule: true, ..Held::default() };
            for listening in 0_u32..1 << callers.len() {
                let there = callers.iter().enumerate().filter(|(number, _)| listening & (1 << number) != 0);
                let there: Vec<_> = there.map(|(_, facts)| facts.clone()).collect();
                let all = Missing::of(&held);
                let found: BTreeSet<_> =
                    there.iter().flat_map(|facts| all.of_caller(facts)).map(|found| found.entry.id.to_string()).collect();
                assert_eq!(found, one_by_one(&held, &there), "{chosen:b} {listening:b}");
            }
        }
    }

    /// A count and no time: `Missing` looks at what shares a selector with the caller.
    #[test]
    fn what_is_for_others_is_not_gone_through_for_each_caller() {
        let accounts = (0..250).map(|number| missing(of_account(&format!("shop/a{number}")), None));
        let held = Held { identities: accounts.collect(), has_account_rule: true, ..Held::default() };
        let missing = Missing::of(&held);
        let looked_at = |facts: &Facts| -> usize {
            facts.selectors.iter().filter_map(|selector| missing.by_selector.get(selector)).map(Vec::len).sum()
        };
        let looks: usize =
            (0..250).map(|number| looked_at(&facts(&["unix:uid:0", "k8s:ns:shop", &format!("k8s:sa:a{number}")]))).sum();
        assert_eq!(looks, 250);
    }
}
