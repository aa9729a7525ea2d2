use super::*;

fn limits() -> EntryLimits {
    EntryLimits { trust_domain: TrustDomain::parse("example.org").unwrap(), max_ttl: Duration::from_secs(3600) }
}

fn now() -> Timestamp {
    Timestamp::from_unix_seconds(1_000)
}

fn request() -> v1::CreateEntryRequest {
    v1::CreateEntryRequest {
        spiffe_id: "spiffe://example.org/web".to_owned(),
        selectors: vec!["unix:uid:1000".to_owned()],
        parent_node: "n1".to_owned(),
        ttl_seconds: 0,
        dns_names: vec!["web.example.org".to_owned()],
        ..v1::CreateEntryRequest::default()
    }
}

#[test]
fn a_good_entry_is_read_and_zero_seconds_are_the_default() {
    let entry = new_entry(request(), &limits(), now()).unwrap();
    assert_eq!(entry.spiffe_id.as_str(), "spiffe://example.org/web");
    assert_eq!(entry.ttl, None);
    assert_eq!(entry.dns_names.len(), 1);
    let longest = v1::CreateEntryRequest { ttl_seconds: 3600, ..request() };
    assert_eq!(new_entry(longest, &limits(), now()).unwrap().ttl, Some(Duration::from_secs(3600)));
}

#[test]
fn each_fault_of_an_entry_is_refused_by_its_own_error() {
    let ours = limits().trust_domain;
    let selectors = |count: usize| (0..count).map(|uid| format!("unix:uid:{uid}")).collect::<Vec<_>>();
    let cases = [
        (
            v1::CreateEntryRequest { spiffe_id: "spiffe://other.org/web".to_owned(), ..request() },
            EntryFault::TrustDomain { found: TrustDomain::parse("other.org").unwrap(), ours: ours.clone() },
        ),
        (
            v1::CreateEntryRequest { spiffe_id: "spiffe://example.org".to_owned(), ..request() },
            EntryFault::NoPath { trust_domain: ours },
        ),
        (
            v1::CreateEntryRequest { spiffe_id: "spiffe://example.org/signet/agent/n".to_owned(), ..request() },
            EntryFault::Reserved,
        ),
        (v1::CreateEntryRequest { spiffe_id: "web".to_owned(), ..request() }, EntryFault::SpiffeId(SpiffeIdError::Scheme)),
        (v1::CreateEntryRequest { selectors: vec![], ..request() }, EntryFault::NoSelector),
        (v1::CreateEntryRequest { selectors: selectors(65), ..request() }, EntryFault::TooManySelectors { found: 65 }),
        (v1::CreateEntryRequest { ttl_seconds: 1, ..request() }, EntryFault::TtlTooShort { asked: Duration::from_secs(1) }),
        (
            v1::CreateEntryRequest { ttl_seconds: 3601, ..request() },
            EntryFault::TtlAboveMax { asked: Duration::from_secs(3601), max: Duration::from_secs(3600) },
        ),
        (
            v1::CreateEntryRequest { dns_names: vec!["web.example.org".to_owned(); 33], ..request() },
            EntryFault::TooManyDnsNames { found: 33 },
        ),
    ];
    for (request, fault) in cases {
        assert_eq!(new_entry(request, &limits(), now()), Err(vec![fault]));
    }
    assert!(new_entry(v1::CreateEntryRequest { selectors: selectors(64), ..request() }, &limits(), now()).is_ok());
}

#[test]
fn all_faults_are_told_at_once() {
    let bad = v1::CreateEntryRequest {
        spiffe_id: "x".to_owned(),
        selectors: vec!["k8s:namespace:web".to_owned(), "unix:uid:01".to_owned()],
        parent_node: "a/b".to_owned(),
        ttl_seconds: u32::MAX,
        dns_names: vec!["*.example.org".to_owned()],
        ..v1::CreateEntryRequest::default()
    };
    assert_eq!(new_entry(bad, &limits(), now()).unwrap_err().len(), 6);
}

fn at(seconds: i64) -> Option<prost_types::Timestamp> {
    Some(prost_types::Timestamp { seconds, nanos: 999 })
}

#[test]
fn an_entry_has_exactly_one_parent() {
    let with = |node: &str, alias: &str| {
        let (parent_node, parent_alias) = (node.to_owned(), alias.to_owned());
        new_entry(v1::CreateEntryRequest { parent_node, parent_alias, ..request() }, &limits(), now())
    };
    assert_eq!(with("n1", "").unwrap().parent, Parent::Node(NodeName::parse("n1").unwrap()));
    assert_eq!(with("", "web").unwrap().parent, Parent::Alias(AliasName::parse("web").unwrap()));
    assert_eq!(with("", ""), Err(vec![EntryFault::Parent]));
    assert_eq!(with("n1", "web"), Err(vec![EntryFault::Parent]));
    assert!(matches!(with("", "a/b").unwrap_err().as_slice(), [EntryFault::Node(_)]));
}

#[test]
fn an_end_lies_ahead_and_a_fraction_of_a_second_is_dropped() {
    let ending = |expires_at| new_entry(v1::CreateEntryRequest { expires_at, ..request() }, &limits(), now());
    assert_eq!(ending(at(1_001)).unwrap().expires_at, Some(Timestamp::from_unix_seconds(1_001)));
    let over = Timestamp::from_unix_seconds(1_000);
    assert_eq!(ending(at(1_000)), Err(vec![EntryFault::EndsInThePast { end: over, now: now() }]));
    for odd in [-1, i64::MIN, i64::MAX, 253_402_300_800] {
        assert_eq!(ending(at(odd)), Err(vec![EntryFault::EndNotATime]), "{odd}");
    }
    // A document may name what is over; it does not make it again.
    let kept = wanted_entry(v1::CreateEntryRequest { expires_at: at(5), ..request() }, &limits()).unwrap();
    assert_eq!(kept.expires_at, Some(Timestamp::from_unix_seconds(5)));
}

#[test]
fn a_hint_is_checked_and_an_entry_goes_back_as_it_came() {
    let hinted = |hint: &str| new_entry(v1::CreateEntryRequest { hint: hint.to_owned(), ..request() }, &limits(), now());
    assert!(matches!(hinted(&"h".repeat(1025)).unwrap_err().as_slice(), [EntryFault::Hint(HintError::TooLong { found: 1025 })]));
    assert!(matches!(hinted("a\nb").unwrap_err().as_slice(), [EntryFault::Hint(HintError::ControlCharacter)]));
    let spec = hinted("internal").unwrap();
    let id = crate::records::EntryId::from_random([7; 16]);
    let stored = Entry { id, spec, created_at: now(), revision: 3 };
    let told = entry(&stored);
    assert_eq!((told.hint.as_str(), told.revision, told.parent_node.as_str()), ("internal", 3, "n1"));
    let mut by_alias = stored;
    by_alias.spec.parent = Parent::Alias(AliasName::parse("web").unwrap());
    let told = entry_for(&NodeName::parse("n2").unwrap(), &by_alias);
    assert_eq!((told.parent_node.as_str(), told.parent_alias.as_str()), ("n2", "web"));
}

#[test]
fn an_update_changes_what_it_names_and_is_refused_whole() {
    let of = |change: v1::UpdateEntryRequest| update(change, &limits(), now());
    let nothing = of(v1::UpdateEntryRequest { id: "x".to_owned(), ..v1::UpdateEntryRequest::default() }).unwrap();
    assert_eq!((nothing.id.as_str(), nothing.expected_revision, nothing.edit), ("x", None, EntryEdit::default()));
    let texts = |list: &[&str]| Some(v1::TextList { texts: list.iter().map(|&text| text.to_owned()).collect() });
    let whole = v1::UpdateEntryRequest {
        expected_revision: 4,
        selectors: texts(&["unix:uid:1"]),
        ttl_seconds: Some(0),
        dns_names: texts(&[]),
        hint: Some(String::new()),
        never_expires: true,
        ..v1::UpdateEntryRequest::default()
    };
    let read = of(whole.clone()).unwrap();
    assert_eq!(read.expected_revision, Some(4));
    let EntryEdit { selectors, ttl, dns_names, hint, expires_at, federates_with: _ } = read.edit;
    assert_eq!((selectors.map(|list| list.len()), ttl, dns_names), (Some(1), Some(None), Some(Vec::new())));
    assert_eq!((hint, expires_at), (Some(Hint::default()), Some(None)));
    let faults = |change| of(change).err().unwrap();
    assert_eq!(faults(v1::UpdateEntryRequest { selectors: texts(&[]), ..whole.clone() }), [EntryFault::NoSelector]);
    assert_eq!(faults(v1::UpdateEntryRequest { expires_at: at(2_000), ..whole.clone() }), [EntryFault::EndAndNone]);
    let bad = v1::UpdateEntryRequest {
        ttl_seconds: Some(9_999),
        dns_names: texts(&["*"]),
        expires_at: at(1),
        never_expires: false,
        ..whole
    };
    assert_eq!(faults(bad).len(), 3);
}
