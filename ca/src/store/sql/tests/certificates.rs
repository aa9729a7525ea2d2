//! Provisioning certificates: once, for one node, with one key.

use futures_util::future::join_all;

use super::*;
use crate::records::ProvisioningCertificate;
use crate::store::{CertificateUseError, NodeStore, ProvisioningStore};

impl Fixture {
    /// Redeems certificate `number` of one issuer for `name`, by the key of which every byte is `key`.
    async fn certify(&self, number: u64, name: &str, key: u8, now: u64) -> Result<NodeRecord, CertificateUseError> {
        let certificate =
            ProvisioningCertificate { issuer: [9; 32], serial: serial(number), node: node(name), not_after: at(100_000) };
        self.store.redeem_certificate(certificate, vec![key; 91], at(now)).await
    }
}

#[tokio::test]
async fn a_certificate_registers_its_node_and_the_same_key_may_retry_for_a_while() {
    let Some(fixture) = Fixture::new() else { return };
    let record = fixture.certify(1, "n1", 1, 10).await.unwrap();
    assert_eq!((record.node.clone(), record.node_key_spki), (node("n1"), Some(vec![1; 91])));
    fixture.store.set_agent_svid(node("n1"), svid(1), attestation(1), at(11)).await.unwrap();
    let fixture = fixture.reopened();
    assert_eq!(fixture.certify(1, "n1", 1, 610).await.unwrap().current, Some(svid(1)), "the SVID of a lost reply stays");
    assert!(matches!(fixture.certify(1, "n1", 1, 611).await, Err(CertificateUseError::Used)), "its node key is for later");
    let kinds = ["redeemed", "redeemed", "refused"].map(|kind| format!("provisioning_certificate_{kind}"));
    assert_eq!(fixture.kinds().await, [&kinds[0], "node_attested", &kinds[1], &kinds[2]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_64_keys_that_bring_one_certificate_at_once_one_wins() {
    let Some(fixture) = Fixture::new() else { return };
    let results = join_all((0..64).map(|key| fixture.certify(1, "n1", key, 1))).await;
    let winners: Vec<u8> = (0..64).filter(|&key| results[usize::from(key)].is_ok()).collect();
    assert_eq!(winners.len(), 1, "{winners:?}");
    for refusal in results.iter().filter_map(|result| result.as_ref().err()) {
        assert!(matches!(refusal, CertificateUseError::Used), "{refusal}");
    }
    assert!(fixture.certify(1, "n1", winners[0], 2).await.is_ok());
    let refused = fixture.kinds().await.iter().filter(|kind| *kind == "provisioning_certificate_refused").count();
    assert_eq!(refused, 16, "a spent certificate cannot fill the log");
}

#[tokio::test]
async fn a_certificate_takes_no_name_and_no_key_from_a_node_on_record() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.certify(1, "n1", 1, 1).await.unwrap();
    let name = fixture.certify(2, "n1", 2, 2).await.unwrap_err();
    assert!(matches!(&name, CertificateUseError::NodeOfAnotherKey { node } if node.as_str() == "n1"), "{name}");
    let key = fixture.certify(2, "n2", 1, 2).await.unwrap_err();
    assert!(matches!(&key, CertificateUseError::KeyOfAnotherNode { node } if node.as_str() == "n1"), "{key}");
    fixture.certify(2, "n2", 2, 2).await.expect("what was only refused is not used");
    let renamed = fixture.certify(2, "n3", 2, 3).await.unwrap_err();
    assert!(matches!(&renamed, CertificateUseError::OtherName { node } if node.as_str() == "n2"), "{renamed}");
    fixture.certify(3, "n1", 1, 3).await.expect("the same key may bring a newer certificate");
}

#[tokio::test]
async fn a_certificate_stays_used_when_its_node_is_evicted_and_a_new_one_is_taken() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.certify(1, "n1", 1, 1).await.unwrap();
    fixture.store.evict_node(node("n1"), OPERATOR, at(2)).await.unwrap();
    for key in [1, 2] {
        assert!(matches!(fixture.certify(1, "n1", key, 3).await, Err(CertificateUseError::Used)), "key {key}");
    }
    fixture.certify(2, "n1", 2, 3).await.unwrap();
}

#[tokio::test]
async fn a_banned_name_or_key_is_refused_whatever_the_certificate() {
    let Some(fixture) = Fixture::new() else { return };
    fixture.certify(1, "n1", 1, 1).await.unwrap();
    fixture.store.ban_node(node("n1"), OPERATOR, at(2)).await.unwrap();
    for (number, name, key) in [(1, "n1", 1), (2, "n1", 1), (3, "n1", 2), (4, "n2", 1)] {
        let refused = fixture.certify(number, name, key, 3).await.unwrap_err();
        assert!(matches!(refused, CertificateUseError::Banned), "{name} {key}: {refused}");
    }
    fixture.certify(5, "n2", 2, 3).await.unwrap();
    fixture.store.unban_node(node("n1"), OPERATOR, at(4)).await.unwrap();
    assert!(matches!(fixture.certify(1, "n1", 1, 5).await, Err(CertificateUseError::Used)), "a ban spends it");
    fixture.certify(2, "n1", 1, 5).await.unwrap();
}

#[tokio::test]
async fn certificates_of_two_issuers_share_no_serials_and_are_forgotten_after_their_end() {
    let Some(fixture) = Fixture::new() else { return };
    let certificate =
        |issuer, name| ProvisioningCertificate { issuer: [issuer; 32], serial: serial(1), node: node(name), not_after: at(100) };
    for (issuer, name, key) in [(1, "n1", 1), (2, "n2", 2)] {
        fixture.store.redeem_certificate(certificate(issuer, name), vec![key; 91], at(1)).await.unwrap();
    }
    fixture.certify(7, "n3", 3, 100 + 86_401).await.unwrap();
    assert_eq!(fixture.rows("SELECT count(*) AS rows FROM provisioning_certificates"), 1);
}
