//! The last hours of an issuing CA: leaves are cut, then refused with the way out, which works.

use std::time::Duration;

use pki::Timestamp;
use tonic::Code;

use crate::test_agent::{TestAgent, reason};
use crate::test_ca::{TestCa, eventually};

const MINUTE: Duration = Duration::from_secs(60);

/// The last second of the certificate that plays `role`.
pub(crate) async fn end_of(ca: &TestCa, role: &str) -> Timestamp {
    let certificates = ca.status().await.certificates;
    let found = certificates.into_iter().find(|certificate| certificate.role == role).unwrap();
    Timestamp::from_unix_seconds(found.not_after.unwrap().seconds.try_into().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn below_half_a_default_ttl_issuance_is_refused_naming_both_dates_and_a_renewed_issuer_heals_it() {
    let ca = TestCa::start_without_rotation().await;
    let entry = ca.entry("/web", "n1").await;
    let end = end_of(&ca, "issuer").await;
    // 45 minutes are left of leaves of an hour, of which at least 30 minutes must be.
    ca.clock.advance(end.minus(45 * MINUTE).since(ca.clock_now()));
    eventually("a serving certificate of now", async || end_of(&ca, "serving").await >= ca.clock_now()).await;
    let agent = TestAgent::attest(&ca, "n1").await;
    let connection = agent.connect(&ca).await;
    let cut = connection.issue(&entry.id).await.unwrap().unwrap();
    assert_eq!((cut.leaf().not_after(), agent.svid.leaf().not_after()), (end, end), "cut to the issuer's end");

    ca.clock.advance(20 * MINUTE);
    let wanted = ca.clock_now().plus(60 * MINUTE).minus(Duration::from_secs(1));
    let names_the_way_out = |message: &str| {
        for part in [&end.to_string(), &wanted.to_string(), "signet ca issuer renew"] {
            assert!(message.contains(part), "{part} is missing in: {message}");
        }
    };
    let refused = connection.issue(&entry.id).await.unwrap().unwrap_err();
    assert_eq!((refused.code, refused.reason.as_str()), (i32::from(Code::FailedPrecondition), "ISSUER_ENDS_TOO_SOON"));
    names_the_way_out(&refused.message);
    let refused = connection.renew().await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "ISSUER_ENDS_TOO_SOON"));
    names_the_way_out(refused.message());

    ca::issuer_renew(&ca.config(), None, &*ca.clock, &runtime::entropy::SystemEntropy).await.unwrap();
    eventually("whole leaves again", async || {
        connection.issue(&entry.id).await.unwrap().is_ok_and(|svid| svid.leaf().not_after() >= wanted)
    })
    .await;
    connection.renew().await.unwrap();
}
