use super::*;
use crate::fakes::FakeAuthority;
use pki::Timestamp;

struct Bed {
    authority: FakeAuthority,
    other: FakeAuthority,
    node: NodeName,
}

impl Bed {
    fn new() -> Self {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        Self { authority: FakeAuthority::new(now), other: FakeAuthority::new(now), node: NodeName::parse("n1").unwrap() }
    }

    fn bundle(authority: &FakeAuthority, sequence: u64) -> v1::Bundle {
        authority.wire_bundle(sequence)
    }

    fn apply(&self, position: &mut StreamPosition, view: &NodeView, update: v1::SyncUpdate) -> Result<Applied, UpdateFault> {
        position.apply(view, &self.authority.trust_domain, &self.node, update)
    }

    fn full(&self, sequence: u64, entries: Vec<v1::Entry>) -> v1::SyncUpdate {
        v1::SyncUpdate {
            sequence: 1,
            replaces_entries: true,
            upserted: entries,
            removed: Vec::new(),
            bundle: Some(Self::bundle(&self.authority, sequence)),
            revocation: None,
            foreign_bundles: None,
        }
    }
}

fn entry(id: &str) -> v1::Entry {
    v1::Entry {
        id: id.to_owned(),
        spiffe_id: format!("spiffe://example.org/{id}"),
        selectors: vec!["unix:uid:1".to_owned()],
        parent_node: "n1".to_owned(),
        ..v1::Entry::default()
    }
}

fn change(sequence: u64) -> v1::SyncUpdate {
    v1::SyncUpdate { sequence, ..v1::SyncUpdate::default() }
}

fn held(view: &NodeView) -> Vec<&str> {
    view.entries.keys().map(EntryId::as_str).collect()
}

#[test]
fn updates_build_on_each_other_and_a_full_one_replaces() {
    let bed = Bed::new();
    let mut position = StreamPosition::default();
    let first = bed.apply(&mut position, &NodeView::default(), bed.full(4, vec![entry("a"), entry("b")])).unwrap();
    assert_eq!(first.bundle, BundleChange::Newer);
    assert_eq!((first.ack.sequence, first.ack.bundle_sequence), (1, 4));
    let mut update = change(2);
    update.upserted = vec![entry("c")];
    update.removed = vec!["a".to_owned(), "never".to_owned(), String::new()];
    let second = bed.apply(&mut position, &first.view, update).unwrap();
    assert_eq!(held(&second.view), ["b", "c"]);
    assert_eq!((second.bundle, second.ack.bundle_sequence), (BundleChange::Same, 4));

    // A new stream counts from 1 again, and what it does not carry is gone.
    let again = bed.apply(&mut StreamPosition::default(), &second.view, bed.full(4, vec![entry("c")])).unwrap();
    assert_eq!(held(&again.view), ["c"]);
}

#[test]
fn a_stream_out_of_order_or_without_the_whole_state_first_is_refused() {
    let bed = Bed::new();
    let view = NodeView::default();
    assert!(matches!(bed.apply(&mut StreamPosition::default(), &view, change(1)), Err(UpdateFault::Partial)));
    let mut no_bundle = bed.full(1, Vec::new());
    no_bundle.bundle = None;
    assert!(matches!(bed.apply(&mut StreamPosition::default(), &view, no_bundle), Err(UpdateFault::Partial)));
    let mut position = StreamPosition::default();
    let view = bed.apply(&mut position, &view, bed.full(1, Vec::new())).unwrap().view;
    assert!(matches!(bed.apply(&mut position, &view, change(1)), Err(UpdateFault::Order { found: 1, last: 1 })));
    assert!(bed.apply(&mut position, &view, change(7)).is_ok());
}

#[test]
fn an_entry_that_is_refused_takes_away_nothing_but_its_older_self() {
    let bed = Bed::new();
    let mut position = StreamPosition::default();
    let view = bed.apply(&mut position, &NodeView::default(), bed.full(1, vec![entry("a"), entry("b")])).unwrap().view;
    let mut update = change(2);
    update.upserted = vec![v1::Entry { selectors: vec!["k8s:namespace:x".to_owned()], ..entry("a") }, entry("c")];
    let applied = bed.apply(&mut position, &view, update).unwrap();
    assert_eq!(held(&applied.view), ["b", "c"]);
    assert_eq!(applied.refused.len(), 1);
}

#[test]
fn a_bundle_never_goes_back_and_one_sequence_has_one_content() {
    let bed = Bed::new();
    let mut position = StreamPosition::default();
    let view = bed.apply(&mut position, &NodeView::default(), bed.full(5, Vec::new())).unwrap().view;
    let with = |sequence, bundle| v1::SyncUpdate { bundle: Some(bundle), ..change(sequence) };

    let older = bed.apply(&mut position, &view, with(2, Bed::bundle(&bed.authority, 4))).unwrap();
    assert_eq!(older.bundle, BundleChange::Refused { found: 4, held: 5 });
    assert_eq!(older.ack.bundle_sequence, 5);
    let other = bed.apply(&mut position, &view, with(3, Bed::bundle(&bed.other, 5))).unwrap();
    assert_eq!(other.bundle, BundleChange::Refused { found: 5, held: 5 });
    assert_eq!(other.view.bundle, view.bundle);
    let same = bed.apply(&mut position, &view, with(4, Bed::bundle(&bed.authority, 5))).unwrap();
    assert_eq!(same.bundle, BundleChange::Same);
    let newer = bed.apply(&mut position, &view, with(5, Bed::bundle(&bed.other, 6))).unwrap();
    assert_eq!((newer.bundle, newer.ack.bundle_sequence), (BundleChange::Newer, 6));
}

#[test]
fn a_bundle_of_another_trust_domain_or_without_authorities_is_refused() {
    let bed = Bed::new();
    let mut foreign = bed.full(1, Vec::new());
    foreign.bundle.as_mut().unwrap().trust_domain = "other.org".to_owned();
    let mut empty = bed.full(1, Vec::new());
    empty.bundle.as_mut().unwrap().x509_authorities.clear();
    for update in [foreign, empty] {
        assert!(matches!(bed.apply(&mut StreamPosition::default(), &NodeView::default(), update), Err(UpdateFault::Bundle(_))));
    }
}

#[test]
fn the_entries_are_known_with_the_first_update_and_not_before() {
    let bed = Bed::new();
    let before = NodeView::default();
    assert_eq!(before.knowledge, EntryKnowledge::None);
    let mut position = StreamPosition::default();
    assert!(bed.apply(&mut position, &before, change(1)).is_err(), "a part says nothing of the whole");
    let applied = bed.apply(&mut position, &before, bed.full(5, Vec::new())).unwrap();
    assert_eq!(applied.view.knowledge, EntryKnowledge::Synced, "no entry is an answer too");
}

#[test]
fn under_one_sequence_keys_may_become_tainted_and_never_sound_again() {
    let bed = Bed::new();
    let (one, two) = ([1; 32], [2; 32]);
    let bundle = |sequence, tainted: &[pki::Sha256Digest]| FakeAuthority::bundle_of(&[&bed.authority], tainted, sequence);
    let held = bundle(5, &[one]);
    let refused = BundleChange::Refused { found: 5, held: 5 };
    assert_eq!(compare(&held, &bundle(5, &[one])), BundleChange::Same);
    assert_eq!(compare(&held, &bundle(5, &[one, two])), BundleChange::Newer);
    assert_eq!(compare(&held, &bundle(5, &[])), refused);
    assert_eq!(compare(&held, &bundle(5, &[two])), refused);
    assert_eq!(compare(&held, &bundle(6, &[])), BundleChange::Newer);
    assert_eq!(compare(&held, &bundle(4, &[one, two])), BundleChange::Refused { found: 4, held: 5 });
    assert_eq!(compare(&held, &FakeAuthority::bundle_of(&[&bed.other], &[one, two], 5)), refused);
}

#[test]
fn tainted_keys_are_digests_and_bounded() {
    let bed = Bed::new();
    let take = |tainted_keys: Vec<Vec<u8>>| {
        wire::bundle(v1::Bundle { tainted_keys, ..bed.authority.wire_bundle(5) }, &bed.authority.trust_domain)
    };
    assert_eq!(take(vec![vec![1; 32]]).unwrap().tainted_keys().len(), 1);
    assert!(matches!(take(vec![vec![1; 31]]), Err(AnswerFault::TaintedKey)));
    let many = |count: usize| (0..count).map(|number| pki::sha256(&number.to_be_bytes()).to_vec()).collect();
    assert!(take(many(pki::MAX_TAINTED_KEYS)).is_ok());
    assert!(matches!(take(many(pki::MAX_TAINTED_KEYS + 1)), Err(AnswerFault::TaintedKeys { found: 1025 })));
}

#[test]
fn revocation_lists_are_taken_whole_and_never_go_back() {
    let bed = Bed::new();
    let at = Timestamp::from_unix_seconds(1_800_000_000);
    let svid = bed.authority.svid(&bed.authority.id("/web"), std::time::Duration::from_secs(600), at);
    let mut position = StreamPosition::default();
    let mut view = bed.apply(&mut position, &NodeView::default(), bed.full(5, Vec::new())).unwrap().view;
    assert_eq!(view.revocation, None);
    let mut take = |lists: v1::RevocationLists| {
        let sequence = position.sequence + 1;
        let applied = bed.apply(&mut position, &view, v1::SyncUpdate { revocation: Some(lists), ..change(sequence) }).unwrap();
        view = applied.view;
        (applied.revocation, view.revocation.as_ref().map_or(0, |held| held.sequence()))
    };
    let refused = |change: (RevocationChange, u64), held: u64| {
        let (RevocationChange::Refused(why), kept) = change else { panic!("taken: {change:?}") };
        assert_eq!(kept, held, "{why}");
        why
    };
    let first = bed.authority.wire_lists(&[], 3, at);
    assert_eq!(take(first.clone()), (RevocationChange::Newer, 3));
    assert_eq!(take(first), (RevocationChange::Same, 3));
    let other_content = refused(take(bed.authority.wire_lists(&[&svid], 3, at)), 3);
    assert!(other_content.contains("sequence is 3"), "{other_content}");
    refused(take(bed.authority.wire_lists(&[&svid], 2, at)), 3);
    refused(take(bed.other.wire_lists(&[&svid], 4, at)), 3);
    let mut damaged = bed.authority.wire_lists(&[&svid], 4, at);
    *damaged.lists[1].list.last_mut().unwrap() ^= 1;
    refused(take(damaged), 3);
    let foreign = v1::RevocationLists { trust_domain: "other.org".to_owned(), ..bed.authority.wire_lists(&[&svid], 4, at) };
    refused(take(foreign), 3);
    let sound = bed.authority.wire_lists(&[&svid], 4, at);
    assert_eq!(take(sound), (RevocationChange::Newer, 4));
    assert!(view.revocation.unwrap().is_revoked(svid.leaf()));
}

#[test]
fn lists_of_an_authority_that_leaves_the_bundle_leave_with_it() {
    let bed = Bed::new();
    let at = Timestamp::from_unix_seconds(1_800_000_000);
    let mut position = StreamPosition::default();
    let both = FakeAuthority::wire_of(&FakeAuthority::bundle_of(&[&bed.authority, &bed.other], &[], 5));
    let mut lists = bed.authority.wire_lists(&[], 3, at);
    lists.lists.extend(bed.other.wire_lists(&[], 3, at).lists);
    let full = v1::SyncUpdate { bundle: Some(both), revocation: Some(lists), ..bed.full(5, Vec::new()) };
    let view = bed.apply(&mut position, &NodeView::default(), full).unwrap().view;
    assert_eq!(view.revocation.as_ref().unwrap().lists().len(), 4);
    let alone = v1::SyncUpdate { bundle: Some(Bed::bundle(&bed.other, 6)), ..change(2) };
    let applied = bed.apply(&mut position, &view, alone).unwrap();
    let left = applied.view.revocation.unwrap();
    assert_eq!((applied.revocation, left.sequence(), left.lists().len()), (RevocationChange::Same, 3, 2));
    assert!(left.complete_for(applied.view.bundle.as_ref().unwrap(), at));
}

#[test]
fn foreign_bundles_replace_those_before_and_a_bad_one_is_left_out_alone() {
    let bed = Bed::new();
    let at = Timestamp::from_unix_seconds(1_800_000_000);
    let [one, two] = ["one.org", "two.org"].map(|name| FakeAuthority::of(name, at));
    let wire = |authority: &FakeAuthority, sequence| v1::ForeignBundle {
        trust_domain: authority.trust_domain.to_string(),
        document: authority.bundle(sequence).to_jwks(pki::JwksContent::All).into_bytes(),
    };
    let mut position = StreamPosition::default();
    let mut view = bed.apply(&mut position, &NodeView::default(), bed.full(5, Vec::new())).unwrap().view;
    let mut take = |bundles: Option<Vec<v1::ForeignBundle>>| {
        let foreign_bundles = bundles.map(|bundles| v1::ForeignBundles { bundles });
        let update = v1::SyncUpdate { foreign_bundles, ..change(position.sequence + 1) };
        let applied = bed.apply(&mut position, &view, update).unwrap();
        view = applied.view;
        let names: Vec<_> = view.foreign.keys().map(ToString::to_string).collect();
        (names, applied.foreign_refused.len())
    };
    assert_eq!(take(Some(vec![wire(&one, 1), wire(&two, 1)])), (vec!["one.org".to_owned(), "two.org".to_owned()], 0));
    assert_eq!(take(None).0.len(), 2, "nothing said is nothing changed");
    let ours = wire(&bed.authority, 9);
    let bad = v1::ForeignBundle { document: b"{}".to_vec(), ..wire(&two, 2) };
    let mixed = v1::ForeignBundle { trust_domain: "two.org".to_owned(), ..wire(&one, 2) };
    assert_eq!(take(Some(vec![wire(&one, 2), bad])), (vec!["one.org".to_owned()], 1));
    assert_eq!(take(Some(vec![wire(&one, 2), mixed])), (vec!["one.org".to_owned()], 1), "another trust domain's authorities");
    assert_eq!(take(Some(vec![ours, wire(&two, 2)])), (vec!["two.org".to_owned()], 1), "ours never comes as a foreign one");
    let empty = v1::ForeignBundle { document: b"{\"keys\":[]}".to_vec(), ..wire(&one, 3) };
    assert_eq!(take(Some(vec![empty])), (vec!["one.org".to_owned()], 0), "nothing of it is valid any more");
    assert_eq!(take(Some(Vec::new())).0.len(), 0);
}
