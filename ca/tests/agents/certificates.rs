//! Attestation by a certificate of a provisioning authority.

use std::path::Path;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime};

use identity::{SpiffeId, TrustDomain};
use pki::proof::certificate_transcript;
use pki::{
    AuthorityRole, AuthoritySpec, Certificate, LeafProfile, LeafRequest, PrivateKey, ReplicaByte, SerialNumber, Timestamp,
    X509Svid, build_request, prepare_authority, prepare_leaf,
};
use proto::v1;
use proto::v1::attest_certificate_request::{Begin, Proof, Step as Ask};
use proto::v1::attest_certificate_response::Step as Say;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status};

use crate::test_agent::{Connection, connect, hello, key, reason, svid_of};
use crate::test_ca::TestCa;

const HOUR: Duration = Duration::from_secs(3600);

/// An authority outside of the CA, for another trust domain.
struct Provisioner {
    root: Certificate,
    key: PrivateKey,
}

/// A certificate of it, with its key.
struct Provisioned {
    chain: Vec<Vec<u8>>,
    key: PrivateKey,
}

fn serial() -> SerialNumber {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    SerialNumber::new(ReplicaByte::new(9).unwrap(), [NEXT.fetch_add(1, Ordering::Relaxed); 17])
}

impl Provisioner {
    fn new() -> Self {
        let key = key();
        let spec = AuthoritySpec {
            role: AuthorityRole::Root,
            trust_domain: &TrustDomain::parse("machines.example").unwrap(),
            public_key: key.public_key(),
            lifetime: HOUR * 10_000,
            serial: serial(),
            now: Timestamp::from(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000) - HOUR * 10),
        };
        let root = prepare_authority(&spec, None).unwrap().sign(&key).unwrap();
        Self { root, key }
    }

    fn certificate(&self, path: &str, now: Timestamp) -> Provisioned {
        let key = key();
        let request = LeafRequest {
            id: &SpiffeId::parse(&format!("spiffe://machines.example{path}")).unwrap(),
            dns_names: &[],
            ip_addresses: &[],
            public_key: key.public_key(),
            ttl: None,
            serial: serial(),
            now,
        };
        let leaf = prepare_leaf(&LeafProfile::new(HOUR, HOUR).unwrap(), &request, &self.root).unwrap().sign(&self.key).unwrap();
        Provisioned { chain: vec![leaf.der().to_vec()], key }
    }

    /// A CA that takes its certificates.
    async fn ca(&self) -> TestCa {
        let pem = pki::certificates_to_pem([&self.root]);
        TestCa::start_with(|directory: &Path| {
            std::fs::write(directory.join("machines.pem"), pem).unwrap();
            let roots = directory.join("machines.pem").display().to_string();
            format!("[[attestation.certificate]]\nroots = \"{roots}\"\nnode = \"spiffe://machines.example/vm/{{node}}\"\n")
        })
        .await
    }
}

/// What one caller does in the dialogue: an honest one, of which a test changes one part.
struct Caller<'a> {
    connection: &'a Connection,
    chain: Vec<Vec<u8>>,
    certificate_key: &'a PrivateKey,
    node_key: &'a PrivateKey,
    /// That the proofs carry.
    exporter: [u8; 32],
    /// The key of the agent SVID asked for, when it is not a fresh one.
    agent_key: Option<&'a PrivateKey>,
    /// That signs in place of the node key.
    signer: Option<&'a PrivateKey>,
}

impl<'a> Caller<'a> {
    fn honest(connection: &'a Connection, provisioned: &'a Provisioned, node_key: &'a PrivateKey) -> Self {
        Self {
            connection,
            chain: provisioned.chain.clone(),
            certificate_key: &provisioned.key,
            node_key,
            exporter: connection.exporter,
            agent_key: None,
            signer: None,
        }
    }

    async fn attest(&self) -> Result<(String, X509Svid), Status> {
        let (steps, outbound) = mpsc::channel(2);
        let step = |step| v1::AttestCertificateRequest { step: Some(step) };
        let node_public_key = self.node_key.public_key().spki_der().to_vec();
        let begin = Begin { hello: Some(hello()), chain: self.chain.clone(), node_public_key: node_public_key.clone() };
        steps.send(step(Ask::Begin(begin))).await.unwrap();
        let mut inbound = self.connection.attestation().attest_certificate(ReceiverStream::new(outbound)).await?.into_inner();
        let Some(Say::Challenge(challenge)) = inbound.message().await?.unwrap().step else { panic!("no challenge") };
        let nonce: [u8; 32] = challenge.nonce.try_into().unwrap();
        let fresh = key();
        let agent_key = self.agent_key.unwrap_or(&fresh);
        let csr = build_request(agent_key, None).unwrap();
        let leaf = self.chain.first().map(Vec::as_slice).unwrap_or_default();
        let transcript = certificate_transcript(&self.exporter, &nonce, &csr, &node_public_key, leaf);
        let node_proof = self.signer.unwrap_or(self.node_key).sign(&transcript).unwrap();
        let certificate_proof = self.certificate_key.sign(&transcript).unwrap();
        steps.send(step(Ask::Proof(Proof { csr, node_proof, certificate_proof }))).await.unwrap();
        let Some(Say::Result(result)) = inbound.message().await?.unwrap().step else { panic!("no result") };
        Ok((result.node, svid_of(&result.svid.unwrap(), fresh)))
    }

    async fn refused(&self) -> (Code, String, String) {
        let status = self.attest().await.unwrap_err();
        (status.code(), reason(&status), status.message().to_owned())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_attests_the_node_that_it_names_and_later_its_svid_speaks() {
    let provisioner = Provisioner::new();
    let ca = provisioner.ca().await;
    let (provisioned, node_key) = (provisioner.certificate("/vm/n1", ca.clock_now()), key());
    let connection = connect(&ca, None).await;
    let (node, svid) = Caller::honest(&connection, &provisioned, &node_key).attest().await.unwrap();
    assert_eq!((node.as_str(), svid.id().path()), ("n1", "/signet/agent/n1"));
    let svid = std::sync::Arc::new(svid);
    connect(&ca, Some(&svid)).await.renew().await.unwrap();
    connection.reattest(&node_key, &connection.exporter).await.expect("its node key is on record");
    let audit = ca.audit().await;
    assert!(audit.contains("provisioning_certificate_redeemed") && audit.contains("node_attested"), "{audit}");
    let again = Caller::honest(&connection, &provisioned, &node_key).attest().await;
    again.expect("the same node key may retry, as its answer may have been lost");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_good_for_one_node_key() {
    let provisioner = Provisioner::new();
    let ca = provisioner.ca().await;
    let (provisioned, first, second) = (provisioner.certificate("/vm/n1", ca.clock_now()), key(), key());
    let connection = connect(&ca, None).await;
    Caller::honest(&connection, &provisioned, &first).attest().await.unwrap();
    let (code, reason, text) = Caller::honest(&connection, &provisioned, &second).refused().await;
    assert_eq!((code, reason.as_str()), (Code::PermissionDenied, "CERTIFICATE_USED"), "{text}");
    // Another certificate for the same name does not push the node off the record either, until an operator evicts it.
    let other = provisioner.certificate("/vm/n1", ca.clock_now());
    let (_, reason, text) = Caller::honest(&connection, &other, &second).refused().await;
    assert_eq!(reason, "CERTIFICATE_REFUSED");
    assert!(text.contains("signet node evict n1"), "{text}");
    ca.evict("n1").await;
    let (_, reason, _) = Caller::honest(&connection, &provisioned, &first).refused().await;
    assert_eq!(reason, "CERTIFICATE_USED", "eviction does not make it new");
    Caller::honest(&connection, &other, &second).attest().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stolen_certificate_without_its_key_and_a_proof_from_elsewhere_are_worth_nothing() {
    let provisioner = Provisioner::new();
    let ca = provisioner.ca().await;
    let (provisioned, node_key, thief) = (provisioner.certificate("/vm/n1", ca.clock_now()), key(), key());
    let connection = connect(&ca, None).await;
    let elsewhere = connect(&ca, None).await.exporter;
    let honest = || Caller::honest(&connection, &provisioned, &node_key);
    for (what, caller) in [
        ("another key for the certificate", Caller { certificate_key: &thief, ..honest() }),
        ("another key for the node", Caller { signer: Some(&thief), ..honest() }),
        ("another connection", Caller { exporter: elsewhere, ..honest() }),
        ("no chain", Caller { chain: Vec::new(), ..honest() }),
        ("no certificate", Caller { chain: vec![vec![0x30; 100]], ..honest() }),
        ("a chain without end", Caller { chain: vec![provisioned.chain[0].clone(); 7], ..honest() }),
    ] {
        let (code, reason, text) = caller.refused().await;
        assert_eq!((code, reason.as_str()), (Code::PermissionDenied, "PROOF_INVALID"), "{what}: {text}");
    }
    for (what, agent_key) in [("of the node", &node_key), ("of the certificate", &provisioned.key)] {
        let (_, reason, text) = Caller { agent_key: Some(agent_key), ..honest() }.refused().await;
        assert_eq!(reason, "CSR_INVALID", "the key {what} for the agent SVID: {text}");
    }
    honest().attest().await.expect("none of the refused calls used the certificate up");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_valid_certificate_of_a_configured_root_with_a_name_of_the_template_counts() {
    let (provisioner, stranger) = (Provisioner::new(), Provisioner::new());
    let ca = provisioner.ca().await;
    let now = ca.clock_now();
    let connection = connect(&ca, None).await;
    let node_key = key();
    let refused = async |provisioned: Provisioned| {
        let (code, reason, text) = Caller::honest(&connection, &provisioned, &node_key).refused().await;
        assert_eq!((code, reason.as_str()), (Code::PermissionDenied, "CERTIFICATE_REFUSED"), "{text}");
        text
    };
    refused(stranger.certificate("/vm/n1", now)).await;
    let expired = refused(provisioner.certificate("/vm/n1", now.minus(2 * HOUR))).await;
    assert!(expired.contains("ended at"), "{expired}");
    let early = refused(provisioner.certificate("/vm/n1", now.plus(HOUR))).await;
    assert!(early.contains("begins at"), "{early}");
    for path in ["/vm/n1/x", "/other/n1", "/vm"] {
        let text = refused(provisioner.certificate(path, now)).await;
        assert!(text.contains("spiffe://machines.example/vm/{node}"), "{text}");
    }
    // An SVID of this CA's own trust domain is no provisioning certificate, though the CA issued it.
    let good = provisioner.certificate("/vm/n1", now);
    let (_, svid) = Caller::honest(&connection, &good, &node_key).attest().await.unwrap();
    let chain = svid.chain().iter().map(|certificate| certificate.der().to_vec()).collect();
    let (_, reason, _) =
        Caller { chain, certificate_key: svid.key(), ..Caller::honest(&connection, &good, &node_key) }.refused().await;
    assert_eq!(reason, "CERTIFICATE_REFUSED");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_node_stays_banned_whatever_certificate_it_brings() {
    let provisioner = Provisioner::new();
    let ca = provisioner.ca().await;
    let connection = connect(&ca, None).await;
    let (provisioned, node_key) = (provisioner.certificate("/vm/n1", ca.clock_now()), key());
    Caller::honest(&connection, &provisioned, &node_key).attest().await.unwrap();
    ca.ban("n1").await;
    for (path, node_key) in [("/vm/n1", &node_key), ("/vm/n2", &node_key), ("/vm/n1", &key())] {
        let fresh = provisioner.certificate(path, ca.clock_now());
        let (_, reason, text) = Caller::honest(&connection, &fresh, node_key).refused().await;
        assert_eq!(reason, "BANNED", "{path}: {text}");
    }
    let other = provisioner.certificate("/vm/n2", ca.clock_now());
    Caller::honest(&connection, &other, &key()).attest().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn without_provisioning_authorities_no_certificate_attests() {
    let provisioner = Provisioner::new();
    let ca = TestCa::start().await;
    let connection = connect(&ca, None).await;
    let provisioned = provisioner.certificate("/vm/n1", ca.clock_now());
    let (_, reason, text) = Caller::honest(&connection, &provisioned, &key()).refused().await;
    assert_eq!(reason, "CERTIFICATE_REFUSED");
    assert!(text.contains("[[attestation.certificate]]"), "{text}");
}
