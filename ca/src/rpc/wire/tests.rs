use super::*;

fn limits() -> EntryLimits {
    EntryLimits { trust_domain: TrustDomain::parse("example.org").unwrap(), max_ttl: Duration::from_secs(3600) }
}

fn request() -> v1::CreateEntryRequest {
    v1::CreateEntryRequest {
        spiffe_id: "spiffe://example.org/web".to_owned(),
        selectors: vec!["unix:uid:1000".to_owned()],
        parent_node: "n1".to_owned(),
        ttl_seconds: 0,
        dns_names: vec!["web.example.org".to_owned()],
    }
}

#[test]
fn a_good_entry_is_read_and_zero_seconds_are_the_default() {
    let entry = new_entry(request(), &limits()).unwrap();
    assert_eq!(entry.spiffe_id.as_str(), "spiffe://example.org/web");
    assert_eq!(entry.ttl, None);
    assert_eq!(entry.dns_names.len(), 1);
    let longest = v1::CreateEntryRequest { ttl_seconds: 3600, ..request() };
    assert_eq!(new_entry(longest, &limits()).unwrap().ttl, Some(Duration::from_secs(3600)));
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
        assert_eq!(new_entry(request, &limits()), Err(vec![fault]));
    }
    assert!(new_entry(v1::CreateEntryRequest { selectors: selectors(64), ..request() }, &limits()).is_ok());
}

#[test]
fn all_faults_are_told_at_once() {
    let bad = v1::CreateEntryRequest {
        spiffe_id: "x".to_owned(),
        selectors: vec!["k8s:ns:web".to_owned(), "unix:uid:01".to_owned()],
        parent_node: "a/b".to_owned(),
        ttl_seconds: u32::MAX,
        dns_names: vec!["*.example.org".to_owned()],
    };
    assert_eq!(new_entry(bad, &limits()).unwrap_err().len(), 6);
}

#[test]
fn a_name_banned_before_it_attested_shows_no_certificate_and_no_attestation() {
    let record = NodeRecord {
        node: NodeName::parse("n1").unwrap(),
        node_key_spki: None,
        state: NodeState::Banned,
        current: None,
        previous: None,
        attested_at: Timestamp::from_unix_seconds(5),
    };
    let told = node(&record, &limits().trust_domain, None);
    assert_eq!((told.state, told.attested_at, told.serial.as_str()), (v1::node_record::State::Banned.into(), None, ""));
    assert_eq!(told.spiffe_id, "spiffe://example.org/signet/agent/n1");
    let attested = NodeRecord { node_key_spki: Some(vec![1]), state: NodeState::Attested, ..record };
    let told = node(&attested, &limits().trust_domain, Some(NodeConnection { bundle_sequence: 7 }));
    assert_eq!((told.attested_at.unwrap().seconds, told.connected, told.bundle_sequence), (5, true, 7));
}
