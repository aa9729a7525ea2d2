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
async fn a_ca_whose_store_failed_gives_out_nothing_more_and_ends() {
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
    let why = ca.ended().await.unwrap_err().to_string();
    assert!(why.contains("store"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_is_told_where_the_audit_chain_was_tampered_with_across_a_restart() {
    let ca = TestCa::start().await;
    TestAgent::attest(&ca, "n1").await;
    let verify = async |ca: &TestCa| ca.operator().await.verify_audit(v1::VerifyAuditRequest {}).await.unwrap().into_inner();
    let whole = verify(&ca).await;
    assert_eq!((whole.broken_at, whole.fault.as_str()), (0, ""));
    assert!(whole.events > 3);
    let (directory, clock) = ca.stop().await;
    let edit = "UPDATE audit SET kind = kind || 'x' WHERE sequence = 3";
    TestCa::store(directory.path()).execute_batch(edit).unwrap();
    let ca = TestCa::over(directory, clock).await;
    let broken = verify(&ca).await;
    assert_eq!(broken.broken_at, 3);
    assert!(broken.fault.contains('3'), "{}", broken.fault);
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
