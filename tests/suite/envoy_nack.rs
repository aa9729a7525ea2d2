//! The three traps of a rejected secret, each sprung on a real Envoy and got out of.
//!
//! The agent checks what it sends, so a relay spoils one answer on its way. The relay is the agent's caller: entries name its user.

use std::net::SocketAddr;
use std::sync::Arc;

use identity::{SpiffeId, TrustDomain};
use mtls::{ClientTls, PeerMatcher, ServerTrust};
use pki::{TrustBundle, X509Svid};
use runtime::clock::SystemClock;
use tests::{Agent, Ca, CaOptions, Envoy, HttpService, Requirement, TestBed, attested_connection, eventually, issue, needs};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::envoy_pair::inbound_bootstrap;
use crate::sds_relay::{FirstPair, Passed, RelayTask, SdsRelay, Spoil};

const API: &str = "spiffe://example.org/api";
const WEB: &str = "spiffe://example.org/web";

struct Trap {
    bed: TestBed,
    agent: Agent,
    service: HttpService,
    relay: SdsRelay,
    client: ClientTls,
    entry: String,
    ca: Ca,
    _task: RelayTask,
}

impl Trap {
    async fn set(order: FirstPair, leaf_ttl: &str) -> Self {
        let bed = TestBed::new();
        let ca = Ca::start(&bed, CaOptions { leaf_ttl: leaf_ttl.to_owned(), ..CaOptions::default() }).await;
        let agent = Agent::start(&bed, &ca, "node-1").await;
        let entry = ca.create_entry(API, &[&format!("unix:uid:{}", nix::unistd::getuid())], "node-1");
        eventually("the identity to be there", async || {
            (agent.metric("signet_agent_identities{state=\"available\"}").await == Some(1.0)).then_some(())
        })
        .await;
        let (relay, task) = SdsRelay::start(bed.path().join("relay.sock"), &agent.api_socket(), order).await;
        let client = knocker(&ca).await;
        Self { service: HttpService::start().await, bed, agent, relay, client, entry, ca, _task: task }
    }

    async fn envoy(&self) -> Envoy {
        let bootstrap = inbound_bootstrap("default", self.service.address, &[WEB], &self.relay.socket);
        Envoy::start(&self.bed, "api", &bootstrap).await
    }

    /// Whether a client that trusts this mesh gets through the handshake.
    async fn shakes_hands(&self, server: SocketAddr) -> bool {
        let Ok(tcp) = TcpStream::connect(server).await else { return false };
        self.client.connect(tcp).await.is_ok()
    }

    /// Waits for Envoy's first rejection.
    async fn rejection(&self) -> Passed {
        let nack = |passed: &Passed| matches!(passed, Passed::Nack { .. });
        eventually("Envoy to reject what was spoilt", async || self.relay.passed().into_iter().find(nack)).await
    }

    /// An Envoy that serves, whose next certificate is spoilt and rejected.
    async fn spring(&self, how: Spoil) -> (Envoy, SocketAddr, Passed) {
        let envoy = self.envoy().await;
        envoy.ready().await;
        let server = envoy.listener("inbound").await;
        assert!(self.shakes_hands(server).await);
        self.relay.spoil_next(how);
        let rejected = self.rejection().await;
        (envoy, server, rejected)
    }
}

/// Trap 1: a rejected certificate stays inside Envoy and poisons the trust bundle's stream, until the good pair comes again.
#[tokio::test(flavor = "multi_thread")]
async fn p14_trap_1_a_rejected_certificate_does_not_poison_the_bundle() {
    if !needs("p14_trap_1_a_rejected_certificate_does_not_poison_the_bundle", Requirement::Envoy) {
        return;
    }
    let trap = Trap::set(FirstPair::AsSent, "20s").await;
    let (_envoy, server, rejected) = trap.spring(Spoil::GarbageChain).await;
    let Passed::Nack { why, .. } = &rejected else { unreachable!() };
    assert!(why.contains("Failed to load certificate chain"), "{why}");
    // The pair comes again with new nonces, and both halves of it are accepted.
    eventually("both halves to be accepted after the rejection", async || {
        let passed = trap.relay.passed();
        let after = passed.iter().skip_while(|passed| **passed != rejected);
        let accepted: Vec<_> =
            after.filter_map(|passed| if let Passed::Ack { name, .. } = passed { Some(name.as_str()) } else { None }).collect();
        (accepted.contains(&"default") && accepted.contains(&"ROOTCA")).then_some(())
    })
    .await;
    assert!(trap.shakes_hands(server).await, "it served all along");
    let alarms = trap.agent.metrics().await;
    assert!(alarms.lines().any(|line| line.starts_with("signet_sds_nacks") && !line.ends_with(" 0")), "{alarms}");
}

/// Trap 2: after an empty certificate a valid bundle is taken and the listener stops serving, until the good pair comes again.
#[tokio::test(flavor = "multi_thread")]
async fn p14_trap_2_an_empty_certificate_does_not_end_the_service() {
    if !needs("p14_trap_2_an_empty_certificate_does_not_end_the_service", Requirement::Envoy) {
        return;
    }
    let trap = Trap::set(FirstPair::AsSent, "20s").await;
    let (envoy, server, rejected) = trap.spring(Spoil::Empty).await;
    eventually("the certificate to be accepted after the rejection", async || {
        let passed = trap.relay.passed();
        let mut after = passed.iter().skip_while(|passed| **passed != rejected);
        after.any(|passed| matches!(passed, Passed::Ack { name, .. } if name == "default")).then_some(())
    })
    .await;
    // Envoy's threads that serve have it a moment after the one that accepted it.
    eventually("a handshake after it", async || trap.shakes_hands(server).await.then_some(())).await;
    let cut = envoy.stat("downstream_context_secrets_not_ready").await;
    for _ in 0..20 {
        assert!(trap.shakes_hands(server).await);
    }
    assert_eq!(envoy.stat("downstream_context_secrets_not_ready").await, cut, "no handshake is cut");
}

/// Trap 3: at first start the certificate's fault is told on the bundle's stream. Nothing good was there to send again, so nothing
/// is; the next content heals. That is made when the rejection has been seen: a renewal by the clock could come between a certificate
/// and its bundle, and Envoy would never see the spoilt one beside a bundle.
#[tokio::test(flavor = "multi_thread")]
async fn p14_trap_3_a_nack_of_first_content_sends_nothing_again_and_the_next_content_heals() {
    if !needs("p14_trap_3_a_nack_of_first_content_sends_nothing_again_and_the_next_content_heals", Requirement::Envoy) {
        return;
    }
    let trap = Trap::set(FirstPair::CertificateFirst, "1h").await;
    trap.relay.spoil_next(Spoil::GarbageChain);
    let envoy = trap.envoy().await;
    let rejected = trap.rejection().await;
    let Passed::Nack { name, .. } = &rejected else { unreachable!() };
    assert_eq!(name, "ROOTCA", "the fault of the certificate is told on the other stream: {:?}", trap.relay.passed());
    let server = envoy.listener("inbound").await;
    assert!(!trap.shakes_hands(server).await, "nothing good was there");
    drop(trap.ca.operate(&["entry", "update", &trap.entry, "--dns", "api.example.org"]).ok());
    let server = eventually("a handshake after the next content", async || {
        let server = envoy.listener("inbound").await;
        trap.shakes_hands(server).await.then_some(server)
    })
    .await;
    let passed = trap.relay.passed();
    let before: Vec<_> = passed.iter().take_while(|passed| **passed != rejected).collect();
    let first_after =
        passed.iter().skip_while(|passed| **passed != rejected).find(|passed| matches!(passed, Passed::Sent { .. }));
    let Some(Passed::Sent { name, .. }) = first_after else { panic!("nothing was sent after the rejection: {passed:?}") };
    assert_eq!(name, "default", "the first thing sent after it is the new certificate: {before:?} {passed:?}");
    assert!(trap.shakes_hands(server).await);
}

/// A client of the mesh with an SVID that it fetched itself.
async fn knocker(ca: &Ca) -> ClientTls {
    let (connection, _node) = attested_connection(ca, "knocker").await;
    let entry = ca.create_entry_with(WEB, &["unix:uid:4294967295"], "knocker", &["--ttl", "1h"]);
    let svid: Arc<X509Svid> = Arc::new(issue(&connection, &[&entry]).await.unwrap().remove(0));
    let domain = TrustDomain::parse("example.org").unwrap();
    let bundle = TrustBundle::from_pem(domain, &std::fs::read(ca.root_certificate()).unwrap(), 1).unwrap();
    let trust = ServerTrust::Bundle {
        bundle: watch::channel(Arc::new(bundle)).1,
        expect: PeerMatcher::Exact(SpiffeId::parse(API).unwrap()),
    };
    ClientTls::new(trust, Some(watch::channel(svid).1), &[], SystemClock::shared())
}
