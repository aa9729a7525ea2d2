//! A CA whose ground gives way, and one that stands on somebody else's.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use pki::PublicKeyAlgorithm;
use proto::v1;
use runtime::clock::TestClock;

use crate::test_agent::TestAgent;
use crate::test_ca::TestCa;

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_whose_store_fails_gives_out_nothing_and_goes_on_when_it_is_well_again() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    connection.issue(&entry.id).await.unwrap().unwrap();
    // From here on each intent takes the whole transaction with it, as SQLite itself does when the disk is full.
    let full = "CREATE TRIGGER full BEFORE INSERT ON issuance BEGIN SELECT RAISE(ROLLBACK, 'the disk is full'); END";
    TestCa::store(ca.directory()).execute_batch(full).unwrap();
    let refused = connection.issue(&entry.id).await.unwrap().unwrap_err();
    assert_eq!(refused.reason, "STORE_UNAVAILABLE");
    assert!(!refused.message.contains("disk"), "{}", refused.message);
    TestCa::store(ca.directory()).execute_batch("DROP TRIGGER full").unwrap();
    let mut tries = 0;
    while connection.issue(&entry.id).await.is_ok_and(|answer| answer.is_err()) {
        // The store opens its file anew, which takes a moment.
        tries += 1;
        assert!(tries < 1000, "the store does not recover");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Result rows follow their answers: one that is still to be written would meet the fault before the call that is to meet it.
async fn results_are_written(ca: &TestCa) {
    let unanswered = || -> i64 {
        let store = TestCa::store(ca.directory());
        store.query_row("SELECT count(*) FROM issuance_unanswered", [], |row| row.get(0)).unwrap()
    };
    let mut tries = 0;
    while unanswered() > 0 {
        tries += 1;
        assert!(tries < 1000, "the result rows are not written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// As a disk would show it that never wrote what it had confirmed: found when the file is opened anew after a fault.
#[tokio::test(flavor = "multi_thread")]
async fn a_ca_whose_store_lost_what_it_had_confirmed_ends() {
    let ca = TestCa::start().await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let connection = agent.connect(&ca).await;
    connection.issue(&entry.id).await.unwrap().unwrap();
    results_are_written(&ca).await;
    let lost = "CREATE TRIGGER fault BEFORE INSERT ON issuance BEGIN SELECT RAISE(ROLLBACK, 'a fault'); END;
                UPDATE audit_head SET sequence = 1, hash = (SELECT hash FROM audit WHERE sequence = 1)";
    TestCa::store(ca.directory()).execute_batch(lost).unwrap();
    assert_eq!(connection.issue(&entry.id).await.unwrap().unwrap_err().reason, "STORE_UNAVAILABLE");
    let why = ca.ended().await.unwrap_err().to_string();
    assert!(why.contains("does not hold what it had confirmed") && why.contains("restore a backup"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_told_where_the_audit_chain_was_tampered_with_across_a_restart() {
    let ca = TestCa::start().await;
    TestAgent::attest(&ca, "n1").await;
    let verify = async |ca: &TestCa| {
        let mut answer = ca.operator().await.verify_audit(v1::VerifyAuditRequest::default()).await.unwrap().into_inner();
        loop {
            if let Some(verdict) = answer.message().await.unwrap().expect("a verdict comes").verdict {
                return verdict;
            }
        }
    };
    let whole = verify(&ca).await;
    assert_eq!(whole.findings, []);
    assert!(whole.events > 3);
    let (directory, clock) = ca.stop().await;
    let edit = "UPDATE audit SET kind = kind || 'x' WHERE sequence = 3";
    TestCa::store(directory.path()).execute_batch(edit).unwrap();
    let ca = TestCa::over(directory, clock).await;
    let broken = verify(&ca).await;
    let [finding] = broken.findings.as_slice() else { panic!("{broken:?}") };
    assert_eq!((finding.sequence, finding.kind.as_str()), (3, "event_edited"));
    assert!(finding.text.contains('3'), "{}", finding.text);
}

/// A set made by OpenSSL: an RSA key in PKCS#1 under an ECDSA root.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugged_in_rsa_authority_signs_for_agents_and_workloads() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let plugged = directory.path().join("plugged");
    fs::create_dir(&plugged).unwrap();
    fs::set_permissions(&plugged, PermissionsExt::from_mode(0o700)).unwrap();
    for (name, content) in [
        ("ca-cert.pem", &include_bytes!("../../testdata/rsa-ca-cert.pem")[..]),
        ("ca-key.pem", include_bytes!("../../testdata/rsa-ca-key.pem")),
        ("root-cert.pem", include_bytes!("../../testdata/openssl-root-cert.pem")),
        ("cert-chain.pem", b""),
    ] {
        fs::write(plugged.join(name), content).unwrap();
        fs::set_permissions(plugged.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    // 2030: when that set is valid.
    let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000));
    let ca = TestCa::plugged_in("plugged", directory, clock).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let entry = ca.entry("/web", "n1").await;
    let svid = agent.connect(&ca).await.issue(&entry.id).await.unwrap().unwrap();
    let [leaf, issuer] = svid.chain() else { panic!("leaf and issuing CA") };
    assert!(matches!(issuer.public_key().algorithm(), PublicKeyAlgorithm::Rsa { .. }));
    leaf.verify_signed_by(issuer.public_key()).unwrap();
}
