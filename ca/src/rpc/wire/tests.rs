use identity::NodeName;
use pki::Timestamp;

use super::*;
use crate::rpc::admin_sources::NodeConnection;

fn domain() -> TrustDomain {
    TrustDomain::parse("example.org").unwrap()
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
    let told = node(&record, &domain(), None, 6);
    assert_eq!((told.connected, told.bundle_sequence), (false, 6), "as it is kept");
    assert_eq!((told.state, told.attested_at, told.serial.as_str()), (v1::node_record::State::Banned.into(), None, ""));
    assert_eq!(told.spiffe_id, "spiffe://example.org/signet/agent/n1");
    let attested = NodeRecord { node_key_spki: Some(vec![1]), state: NodeState::Attested, ..record };
    let told = node(&attested, &domain(), Some(NodeConnection { bundle_sequence: 7, progress: None }), 6);
    assert_eq!((told.attested_at.unwrap().seconds, told.connected, told.bundle_sequence), (5, true, 7));
}
