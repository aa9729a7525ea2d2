mod certificate;

use std::path::Path;
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use runtime::clock::TestClock;
use runtime::entropy::SystemEntropy;
use runtime::shutdown::{self, ShutdownTrigger};
use tokio::task::JoinHandle;

use super::*;
use crate::config::TokenSource;
use crate::fakes::FakeCa;

mod jwt;
mod progress;
mod revocation;
mod taint;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

/// A node of its own, run against a fake CA.
struct Bed {
    clock: Arc<TestClock>,
    ca: FakeCa,
    directory: tempfile::TempDir,
    /// How far its clock goes at each look while something is awaited.
    step: Duration,
}

struct Running {
    views: watch::Receiver<Arc<NodeView>>,
    statuses: watch::Receiver<NodeStatus>,
    issuer: CaIssuer,
    readiness: Readiness,
    trigger: ShutdownTrigger,
    task: JoinHandle<Result<(), NodeFailure>>,
}

impl Bed {
    async fn new() -> Self {
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let ca = FakeCa::start(clock.clone()).await;
        Self::around(clock, ca)
    }

    fn around(clock: Arc<TestClock>, ca: FakeCa) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("token"), TOKEN).unwrap();
        Self { clock, ca, directory, step: Duration::from_millis(100) }
    }

    fn state_dir(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    fn prepare(&self, token: Option<&Path>, first: Option<&FirstTrust>) -> Result<NodeClient, NodeFailure> {
        self.prepare_by(token.map(|path| FirstProof::Token(TokenSource::File(path.to_owned()))), first)
    }

    fn prepare_by(&self, first_proof: Option<FirstProof>, first: Option<&FirstTrust>) -> Result<NodeClient, NodeFailure> {
        let settings = NodeSettings {
            ca: CaAddresses::new(self.ca.address.clone(), vec![], 0),
            trust_domain: self.ca.authority.trust_domain.clone(),
            pin: None,
            first_proof,
            clock: self.clock.clone(),
            entropy: Arc::new(SystemEntropy),
            readiness: Readiness::default(),
            metrics: AgentMetrics::default(),
        };
        NodeClient::prepare(settings, StateDir::open(&self.state_dir())?, first)
    }

    fn run(node: NodeClient) -> Running {
        let (trigger, shutdown) = shutdown::channel();
        Running {
            views: node.views(),
            statuses: node.statuses(),
            issuer: node.issuer(),
            readiness: node.settings.readiness.clone(),
            trigger,
            #[expect(clippy::disallowed_methods, reason = "joined by the test or ended with its runtime")]
            task: tokio::spawn(node.run(shutdown)),
        }
    }

    /// A node that has a token and the pin, as the command line of `token create` gives them.
    fn start(&self) -> Running {
        let pin = FirstTrust::Fingerprint(self.ca.fingerprint());
        Self::run(self.prepare(Some(&self.directory.path().join("token")), Some(&pin)).unwrap())
    }

    /// The same node again, with nothing but its state directory.
    fn start_again(&self) -> Running {
        Self::run(self.prepare(None, None).unwrap())
    }

    /// Waits for real, letting the clock of the test run along: ticks are real, backoff and certificates are not. Five
    /// refusals make a pause of up to 20 s of that clock, so it may run for a minute.
    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..600 {
            if holds() {
                return;
            }
            self.clock.advance(self.step);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never came true: {what}; seen {:?}", self.ca.seen());
    }

    async fn ready(&self, running: &Running) {
        self.until("the node is ready and connected", || {
            running.readiness.failing().is_empty() && running.statuses.borrow().connected
        })
        .await;
    }
}

impl Running {
    async fn stop(self) {
        self.trigger.fire();
        self.task.await.unwrap().unwrap();
    }

    async fn failure(self) -> NodeFailure {
        self.task.await.unwrap().unwrap_err()
    }

    fn serial(&self) -> String {
        self.statuses.borrow().svid.as_ref().unwrap().leaf().serial().to_string()
    }

    fn trouble(&self) -> String {
        self.statuses.borrow().trouble.clone().unwrap_or_default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_fingerprint_ends_the_agent_and_the_token_is_not_sent_while_the_right_one_attests() {
    let bed = Bed::new().await;
    let token = bed.directory.path().join("token");
    let wrong = bed.prepare(Some(&token), Some(&FirstTrust::Fingerprint([7; 32]))).unwrap();
    let failure = Bed::run(wrong).failure().await;
    let text = failure.to_string();
    assert!(text.contains(&"07".repeat(32)) && text.contains(&HEXLOWER.encode(&bed.ca.fingerprint())), "{text}");
    assert!(bed.ca.seen().tokens.is_empty(), "the token left the machine");

    let right = bed.start();
    bed.ready(&right).await;
    assert_eq!(bed.ca.seen().tokens, [TOKEN]);
    assert_eq!(right.views.borrow().bundle.as_ref().unwrap().sequence(), 5);
    right.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workload_that_plays_the_ca_gets_no_token() {
    let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
    // Under the very root that is pinned, but not a CA by its name.
    let ca = FakeCa::start_as(clock.clone(), "/web").await;
    let bed = Bed::around(clock, ca);
    let running = bed.start();
    bed.until("the node refuses it", || running.trouble().contains("/web")).await;
    assert!(!running.readiness.failing().is_empty());
    running.stop().await;

    let file = bed.directory.path().join("roots.pem");
    std::fs::write(&file, bed.ca.authority.bundle(1).to_pem()).unwrap();
    let token = bed.directory.path().join("token");
    let running = Bed::run(bed.prepare(Some(&token), Some(&FirstTrust::BundleFile(file))).unwrap());
    bed.until("the node refuses it by its bundle too", || running.trouble().contains("/web")).await;
    assert!(bed.ca.seen().tokens.is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_reply_is_retried_with_the_same_key_and_a_used_token_is_told_to_the_operator() {
    let bed = Bed::new().await;
    bed.ca.answer(|answers| answers.lose_replies = 2);
    let running = bed.start();
    bed.ready(&running).await;
    let seen = bed.ca.seen();
    assert_eq!(seen.tokens.len(), 3);
    assert!(seen.node_keys.windows(2).all(|pair| pair[0] == pair[1]));
    running.stop().await;

    let other = Bed::new().await;
    other.ca.answer(|answers| answers.refuse_attestation = Some("TOKEN_USED"));
    let failure = other.start().failure().await;
    assert!(matches!(failure, NodeFailure::TokenRefused(_)), "{failure}");
    assert_eq!(failure.to_string(), "the CA refuses (TOKEN_USED): the fake refuses");
    assert_eq!(failure.advice(), None, "what to do stands in the CA's words, and once is enough");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_comes_back_without_token_or_pin() {
    let bed = Bed::new().await;
    let first = bed.start();
    bed.ready(&first).await;
    let serial = first.serial();
    first.stop().await;
    let again = bed.start_again();
    bed.ready(&again).await;
    assert_eq!(again.serial(), serial);
    assert_eq!(bed.ca.seen().tokens.len(), 1);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_svid_is_renewed_at_half_life_on_the_live_channel_and_a_new_connection_shows_it() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.ready(&running).await;
    let (serial, connections) = (running.serial(), bed.ca.seen().connections);
    bed.clock.advance(Duration::from_secs(340));
    bed.until("the SVID is another", || running.serial() != serial).await;
    bed.until("it is shown on a new connection", || bed.ca.seen().connections > connections).await;
    bed.ready(&running).await;
    assert_eq!(bed.ca.seen().reattestations, 0);
    running.stop().await;
    let stored = StateDir::inspect(&bed.state_dir()).unwrap().svid();
    assert!(matches!(stored, StoredSvid::Present(svid) if svid.leaf().serial().to_string() != serial));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_off_past_its_end_proves_its_node_key_and_comes_back() {
    let bed = Bed::new().await;
    let first = bed.start();
    bed.ready(&first).await;
    first.stop().await;
    bed.clock.advance(Duration::from_secs(3600));
    let again = bed.start_again();
    bed.ready(&again).await;
    let seen = bed.ca.seen();
    assert_eq!((seen.reattestations, seen.tokens.len()), (1, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_ended_by_the_cas_clock_alone_is_refused_in_the_handshake_and_the_node_key_brings_it_back() {
    let started = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let cas_clock = TestClock::at(started);
    let ca = FakeCa::start(cas_clock.clone()).await;
    // Slowly: the end by the agent's own clock must not come, however busy the machine is.
    let bed = Bed { step: Duration::from_millis(10), ..Bed::around(TestClock::at(started), ca) };
    let first = bed.start();
    bed.ready(&first).await;
    let end = first.statuses.borrow().svid.as_ref().unwrap().leaf().not_after();
    first.stop().await;
    bed.clock.advance(Duration::from_secs(550));
    cas_clock.set_wall(bed.clock.now() + Duration::from_secs(55));
    let again = bed.start_again();
    bed.ready(&again).await;
    assert!(Timestamp::from(bed.clock.now()) < end, "the agent's own clock did not have to agree");
    let seen = bed.ca.seen();
    assert_eq!((seen.reattestations, seen.tokens.len()), (1, 1));
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_issuer_that_the_ca_does_not_know_is_replaced_with_the_node_key() {
    let bed = Bed::new().await;
    let first = bed.start();
    bed.ready(&first).await;
    first.stop().await;
    let now = Timestamp::from(bed.clock.now());
    let stranger = crate::fakes::FakeAuthority::new(now);
    let lost = stranger.svid(&stranger.id("/signet/agent/n1"), Duration::from_secs(600), now);
    StateDir::open(&bed.state_dir()).unwrap().store_svid(&lost).unwrap();
    let again = bed.start_again();
    bed.ready(&again).await;
    assert_eq!(bed.ca.seen().reattestations, 1);
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn told_to_reattest_it_does_so_without_a_restart() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.ready(&running).await;
    let serial = running.serial();
    bed.ca.answer(|answers| answers.refuse_node = Some("MUST_REATTEST"));
    bed.until("the node notices", || !running.readiness.failing().is_empty()).await;
    bed.ca.answer(|answers| answers.refuse_node = None);
    bed.ready(&running).await;
    assert_ne!(running.serial(), serial);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_node_returns_by_a_new_token_while_it_runs_and_never_tries_one_twice() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.ready(&running).await;
    bed.ca.answer(|answers| {
        answers.refuse_node = Some("MUST_REATTEST");
        answers.refuse_reattestation = Some("MUST_REATTEST");
    });
    bed.until("it asks by its node key again and again", || bed.ca.seen().reattestations >= 2).await;
    assert_eq!(bed.ca.seen().tokens, [TOKEN], "the token that was redeemed is not sent again");

    let [refused, good] = ["11", "22"].map(|digits| digits.repeat(16));
    bed.ca.answer(|answers| answers.refuse_tokens = Some("TOKEN_UNKNOWN"));
    std::fs::write(bed.directory.path().join("token"), &refused).unwrap();
    bed.until("it says that the token is refused", || running.trouble().contains("TOKEN_UNKNOWN")).await;
    let before = bed.ca.seen().reattestations;
    bed.until("it goes on", || bed.ca.seen().reattestations > before).await;
    assert_eq!(bed.ca.seen().tokens, [TOKEN, &refused]);
    assert!(!running.task.is_finished(), "a node with workloads does not end for a bad token");

    bed.ca.answer(|answers| (answers.refuse_node, answers.refuse_tokens) = (None, None));
    std::fs::write(bed.directory.path().join("token"), &good).unwrap();
    bed.ready(&running).await;
    assert_eq!(bed.ca.seen().tokens, [TOKEN, &refused, &good]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_banned_node_stays_up_not_ready_says_why_and_returns_when_unbanned() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.ready(&running).await;
    bed.ca.answer(|answers| {
        answers.refuse_node = Some("BANNED");
        answers.refuse_attestation = Some("BANNED");
    });
    bed.until("the node says why", || running.readiness.failing().iter().any(|why| why.contains("BANNED"))).await;
    bed.until("it keeps asking", || bed.ca.seen().reattestations >= 2).await;
    assert!(!running.task.is_finished());
    assert_eq!(bed.ca.seen().tokens.len(), 1, "a node on record does not try its old token");
    bed.ca.answer(|answers| (answers.refuse_node, answers.refuse_attestation) = (None, None));
    bed.ready(&running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_answers_to_an_attestation_are_refused_and_the_right_one_is_taken() {
    type Fault = (&'static str, fn(&mut crate::fakes::Answers));
    let faults: [Fault; 4] = [
        ("asked for was", |answers| answers.wrong_name = Some("spiffe://example.org/signet/agent/n2".to_owned())),
        ("key", |answers| answers.wrong_key = true),
        ("signature", |answers| answers.stranger = true),
        ("protocol", |answers| answers.protocol = 99),
    ];
    for (word, fault) in faults {
        let bed = Bed::new().await;
        bed.ca.answer(fault);
        let running = bed.start();
        bed.until(word, || running.trouble().contains(word)).await;
        assert!(running.statuses.borrow().svid.is_none(), "{word}");
        assert!(matches!(StateDir::inspect(&bed.state_dir()).unwrap().svid(), StoredSvid::Absent));
        bed.ca.answer(|answers| *answers = crate::fakes::Answers::default());
        bed.ready(&running).await;
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_bundle_is_refused_in_sync_and_attestation_and_a_newer_one_is_stored() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.ready(&running).await;
    bed.ca.answer(|answers| answers.bundle_sequence = 3);
    bed.until("the agent acknowledges with the bundle it keeps", || bed.ca.seen().acks.contains(&(2, 5))).await;
    assert_eq!(running.views.borrow().bundle.as_ref().unwrap().sequence(), 5);
    bed.ca.answer(|answers| answers.bundle_sequence = 8);
    bed.until("the newer is in use", || bed.ca.seen().acks.iter().any(|ack| ack.1 == 8)).await;
    running.stop().await;

    bed.ca.answer(|answers| answers.bundle_sequence = 7);
    bed.clock.advance(Duration::from_secs(3600));
    let again = bed.start_again();
    bed.until("the older is refused", || again.trouble().contains("bundle sequence 7")).await;
    bed.ca.answer(|answers| (answers.bundle_sequence, answers.strange_bundle) = (8, true));
    bed.until("another one of that sequence is refused", || again.trouble().contains("two bundles")).await;
    bed.ca.answer(|answers| answers.strange_bundle = false);
    bed.ca.answer(|answers| answers.bundle_sequence = 8);
    bed.ready(&again).await;
    again.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_stream_is_opened_again_and_brings_the_whole_state() {
    let bed = Bed::new().await;
    bed.ca.entries.send_replace(vec![bed.ca.entry("e1", "/a", "unix:uid:1"), bed.ca.entry("e2", "/b", "unix:uid:2")]);
    let running = bed.start();
    bed.until("the entries are there", || running.views.borrow().entries.len() == 2).await;
    bed.ca.hang_up();
    bed.until("the loss is noticed", || bed.ca.seen().streams >= 2).await;
    bed.ready(&running).await;
    bed.ca.entries.send_replace(vec![bed.ca.entry("e2", "/b", "unix:uid:2")]);
    bed.until("only what is meant is held", || running.views.borrow().entries.len() == 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_full_disk_refused_is_told_and_stored_when_there_is_room() {
    let bed = Bed::new().await;
    let running = bed.start();
    bed.ready(&running).await;
    // A directory where the file belongs refuses root too.
    let file = bed.state_dir().join("bundle.json");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    bed.ca.answer(|answers| answers.bundle_sequence = 8);
    bed.until("the operator is told", || running.statuses.borrow().unstored.as_ref().is_some_and(|why| why.contains("bundle")))
        .await;
    assert!(running.readiness.failing().is_empty(), "what is held is good");
    std::fs::remove_dir(&file).unwrap();
    bed.clock.advance(Duration::from_secs(31));
    bed.until("it is stored", || running.statuses.borrow().unstored.is_none()).await;
    let stored = StateDir::inspect(&bed.state_dir()).unwrap().bundle(&bed.ca.authority.trust_domain).unwrap();
    assert_eq!(stored.unwrap().sequence(), 8);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_token_or_without_trust_does_not_start() {
    let bed = Bed::new().await;
    let pin = FirstTrust::Fingerprint([1; 32]);
    assert!(matches!(bed.prepare(None, Some(&pin)).err(), Some(NodeFailure::NoFirstProof)));
    let token = bed.directory.path().join("token");
    assert!(matches!(bed.prepare(Some(&token), None).err(), Some(NodeFailure::NoTrust)));
    let missing = FirstTrust::BundleFile("/nonexistent.pem".into());
    assert!(matches!(bed.prepare(Some(&token), Some(&missing)).err(), Some(NodeFailure::TrustBundle { .. })));
    let file = bed.directory.path().join("roots.pem");
    std::fs::write(&file, bed.ca.authority.bundle(1).to_pem()).unwrap();
    let running = Bed::run(bed.prepare(Some(&token), Some(&FirstTrust::BundleFile(file))).unwrap());
    bed.ready(&running).await;
    running.stop().await;
}
