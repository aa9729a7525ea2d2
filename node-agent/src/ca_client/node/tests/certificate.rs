//! A first attestation by an existing certificate, and the way back by a newer one.

use std::os::unix::fs::PermissionsExt;

use super::*;

impl Bed {
    /// Puts a fresh certificate into the directory and gives its fingerprint.
    fn put_certificate(&self) -> Sha256Digest {
        let at = self.directory.path();
        let svid = self.ca.authority.svid(&self.ca.authority.id("/vm/n1"), Duration::from_secs(600), self.clock.now().into());
        std::fs::write(at.join("cert-chain.pem"), pki::certificates_to_pem(svid.chain())).unwrap();
        std::fs::write(at.join("key.pem"), svid.key().to_pkcs8_pem().as_bytes()).unwrap();
        std::fs::set_permissions(at.join("key.pem"), std::fs::Permissions::from_mode(0o600)).unwrap();
        svid.leaf().fingerprint()
    }

    fn start_by_certificate(&self) -> Running {
        let proof = FirstProof::CertificateDirectory(self.directory.path().to_owned());
        Self::run(self.prepare_by(Some(proof), Some(&FirstTrust::Fingerprint(self.ca.fingerprint()))).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_attests_the_node_once_and_its_svid_does_the_rest() {
    let bed = Bed::new().await;
    let shown = bed.put_certificate();
    let running = bed.start_by_certificate();
    bed.ready(&running).await;
    let seen = bed.ca.seen();
    assert_eq!((seen.provisioned, seen.tokens.len()), (vec![shown], 0));
    running.stop().await;
    std::fs::remove_file(bed.directory.path().join("key.pem")).unwrap();
    let again = bed.start_by_certificate();
    bed.ready(&again).await;
    assert_eq!(bed.ca.seen().provisioned.len(), 1, "a node that is attested needs no certificate");
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_goes_only_to_the_pinned_ca_and_what_is_missing_is_waited_for() {
    let bed = Bed::new().await;
    bed.put_certificate();
    let proof = || Some(FirstProof::CertificateDirectory(bed.directory.path().to_owned()));
    let wrong = bed.prepare_by(proof(), Some(&FirstTrust::Fingerprint([7; 32]))).unwrap();
    assert!(matches!(Bed::run(wrong).failure().await, NodeFailure::Fingerprint { .. }));
    assert!(bed.ca.seen().provisioned.is_empty());

    std::fs::remove_file(bed.directory.path().join("key.pem")).unwrap();
    let running = bed.start_by_certificate();
    bed.until("the operator is told", || running.trouble().contains("there is no certificate to attest by")).await;
    bed.put_certificate();
    bed.ready(&running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_certificate_is_told_and_another_one_is_taken_when_it_is_there() {
    let bed = Bed::new().await;
    bed.put_certificate();
    bed.ca.answer(|answers| answers.refuse_provisioning = Some("CERTIFICATE_REFUSED"));
    let running = bed.start_by_certificate();
    bed.until("the operator is told", || running.trouble().contains("CERTIFICATE_REFUSED")).await;
    bed.ca.answer(|answers| answers.refuse_provisioning = None);
    bed.ready(&running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_answer_was_lost_too_long_ago_comes_by_its_node_key() {
    let bed = Bed::new().await;
    bed.put_certificate();
    bed.ca.answer(|answers| answers.refuse_provisioning = Some("CERTIFICATE_USED"));
    let running = bed.start_by_certificate();
    bed.ready(&running).await;
    let seen = bed.ca.seen();
    assert_eq!((seen.provisioned.len(), seen.reattestations), (1, 1));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_node_returns_by_a_newer_certificate_and_never_tries_one_twice() {
    let bed = Bed::new().await;
    let first = bed.put_certificate();
    let running = bed.start_by_certificate();
    bed.ready(&running).await;
    bed.ca.answer(|answers| {
        answers.refuse_node = Some("MUST_REATTEST");
        answers.refuse_reattestation = Some("MUST_REATTEST");
    });
    bed.until("it has tried its node key", || bed.ca.seen().reattestations >= 2).await;
    assert_eq!(bed.ca.seen().provisioned, [first], "the one that attested it is not tried again");
    bed.ca.answer(|answers| answers.refuse_node = None);
    let second = bed.put_certificate();
    bed.ready(&running).await;
    assert_eq!(bed.ca.seen().provisioned, [first, second]);
    running.stop().await;
}
