//! Any order of events: it is always known what rests on a tainted key, it is asked for in bounds, and it is replaced at last.

use std::sync::LazyLock;

use identity::{NodeName, TrustDomain};
use pki::{Certificate, PrivateKey};
use proptest::prelude::*;
use proto::v1;

use super::*;
use crate::fakes::FakeAuthority;

const T0: u64 = 1_800_000_000;
/// More than one batch may have of tainted ones.
const ENTRIES: u32 = 80;

/// An SVID of each of two authorities; whose it is makes no difference to the schedule.
struct Stock {
    authorities: [FakeAuthority; 2],
    svids: [(Vec<Certificate>, String); 2],
}

static STOCK: LazyLock<Stock> = LazyLock::new(|| {
    let authorities = [(); 2].map(|()| FakeAuthority::new(at(0)));
    let svids = [0, 1].map(|index: usize| {
        let authority: &FakeAuthority = &authorities[index];
        let svid = authority.svid(&authority.id("/w"), Duration::from_secs(3600), at(0));
        (svid.chain().to_vec(), svid.key().to_pkcs8_pem().to_string())
    });
    Stock { authorities, svids }
});

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_seconds(T0 + seconds)
}

fn svid(authority: usize) -> X509Svid {
    let (chain, key) = &STOCK.svids[authority];
    X509Svid::new(chain.clone(), PrivateKey::from_pem(key.as_bytes()).unwrap(), at(0)).unwrap()
}

fn entries(count: u32) -> BTreeMap<EntryId, Arc<Entry>> {
    let (domain, node) = (TrustDomain::parse("example.org").unwrap(), NodeName::parse("n1").unwrap());
    let entry = |number: u32| {
        let wire = v1::Entry {
            id: format!("e{number:04}"),
            spiffe_id: "spiffe://example.org/w".to_owned(),
            selectors: vec![format!("unix:uid:{number}")],
            parent_node: "n1".to_owned(),
            ..v1::Entry::default()
        };
        let entry = Entry::from_wire(wire, &domain, &node).unwrap();
        (entry.id.clone(), Arc::new(entry))
    };
    (0..count).map(entry).collect()
}

fn bundle(tainted: [bool; 2]) -> Arc<TrustBundle> {
    let [old, new] = &STOCK.authorities;
    let keys: Vec<_> =
        [old, new].iter().zip(tainted).filter(|(_, tainted)| *tainted).map(|(authority, _)| authority.issuer_key()).collect();
    Arc::new(FakeAuthority::bundle_of(&[old, new], &keys, 1))
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Entries(u32),
    Taint([bool; 2]),
    Ask(Lane, u32),
    /// Answers a lane's batch by an authority, or not at all.
    Answer(Lane, Option<usize>),
    Restore(u32, usize),
    Pass(u64),
}

fn action() -> impl Strategy<Value = Action> {
    let lane = || prop_oneof![Just(Lane::Waiting), Just(Lane::Background)];
    let authority = prop_oneof![2 => Just(Some(0)), 2 => Just(Some(1)), 1 => Just(None)];
    prop_oneof![
        1 => (0..=ENTRIES).prop_map(Action::Entries),
        2 => any::<[bool; 2]>().prop_map(Action::Taint),
        5 => (lane(), 0..=ENTRIES).prop_map(|(lane, waiting)| Action::Ask(lane, waiting)),
        5 => (lane(), authority).prop_map(|(lane, authority)| Action::Answer(lane, authority)),
        1 => (0..ENTRIES, 0..2_usize).prop_map(|(entry, authority)| Action::Restore(entry, authority)),
        3 => (0..200_u64).prop_map(Action::Pass),
    ]
}

struct Model {
    schedule: Schedule,
    bundle: Option<Arc<TrustBundle>>,
    under_way: BTreeMap<Lane, Vec<Order>>,
    now: u64,
}

impl Model {
    fn ask(&mut self, lane: Lane, waiting: u32) {
        let waiting: BTreeSet<EntryId> = entries(waiting).into_keys().collect();
        let tainted: BTreeSet<EntryId> = self.tainted();
        let orders = self.schedule.next_batch(lane, &waiting, at(self.now), Duration::from_secs(self.now));
        let of_tainted: Vec<_> = orders.iter().filter(|order| tainted.contains(&order.entry.id)).collect();
        assert!(of_tainted.len() <= MAX_TAINTED && orders.len() <= MAX_BATCH);
        let begins = |order: &&&Order| waiting.contains(&order.entry.id);
        assert!(of_tainted.is_sorted_by_key(|order| !begins(&order)), "whoever waits comes first");
        if !orders.is_empty() {
            let before = self.under_way.insert(lane, orders).unwrap_or_default();
            let live = |order: &Order| {
                self.schedule.records.get(&order.entry.id).is_some_and(|record| record.revision == order.revision)
            };
            assert!(!before.iter().any(live), "two batches of one lane are under way");
        }
    }

    fn tainted(&self) -> BTreeSet<EntryId> {
        let held = self.schedule.held(&NodeView::default());
        held.identities.into_iter().filter(|identity| identity.tainted).map(|identity| identity.entry.id.clone()).collect()
    }

    fn answer(&mut self, lane: Lane, authority: Option<usize>) {
        let (now, boot) = (at(self.now), Duration::from_secs(self.now));
        for order in self.under_way.remove(&lane).unwrap_or_default() {
            match authority {
                Some(authority) => self.schedule.issued(&order, svid(authority), now, boot, 128),
                None => self.schedule.failed(&order, "away".to_owned(), None, boot, 128),
            }
        }
    }

    fn act(&mut self, action: Action) {
        match action {
            Action::Entries(count) => self.schedule.set_entries(&entries(count)),
            Action::Taint(tainted) => {
                let bundle = bundle(tainted);
                self.schedule.note_taints(&bundle, None);
                self.bundle = Some(bundle);
            }
            Action::Ask(lane, waiting) => self.ask(lane, waiting),
            Action::Answer(lane, authority) => self.answer(lane, authority),
            Action::Restore(entry, authority) => {
                let id = EntryId::parse(&format!("e{entry:04}")).unwrap();
                self.schedule.restore(&id, svid(authority));
            }
            Action::Pass(seconds) => self.now += seconds,
        }
        let known = |svid: &X509Svid| self.bundle.as_ref().is_some_and(|bundle| svid.rests_on(bundle.tainted_keys(), bundle));
        for identity in self.schedule.held(&NodeView::default()).identities {
            let rests = identity.state.svid().is_some_and(|svid| known(svid));
            assert_eq!(identity.tainted, rests, "{}", identity.entry.id);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_what_is_tainted_is_known_asked_for_in_bounds_and_replaced_at_last(
        actions in prop::collection::vec(action(), 1..40),
    ) {
        let mut model = Model { schedule: Schedule::default(), bundle: None, under_way: BTreeMap::new(), now: 0 };
        model.act(Action::Entries(ENTRIES));
        prop_assert!(model.schedule.records.len() > MAX_TAINTED);
        for action in actions {
            model.act(action);
        }
        // From here only the first authority is tainted, and the second one signs everything.
        model.act(Action::Taint([true, false]));
        for _ in 0..4 {
            for lane in [Lane::Waiting, Lane::Background] {
                model.act(Action::Answer(lane, Some(1)));
                model.act(Action::Pass(200));
                model.act(Action::Ask(lane, 0));
            }
        }
        model.act(Action::Answer(Lane::Background, Some(1)));
        prop_assert_eq!(model.tainted().len(), 0);
        let held = model.schedule.held(&NodeView::default());
        prop_assert!(held.identities.iter().all(|identity| identity.state.svid().is_some()));
    }
}
