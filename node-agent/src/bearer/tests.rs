//! Tokens against a fake CA that records what it is sent.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use runtime::clock::{Clock, SystemClock, TestClock};
use runtime::entropy::SystemEntropy;
use runtime::shutdown::{self, ShutdownTrigger};
use sds::SecretState;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::metadata::{MetadataMap, MetadataValue};

use super::*;
use crate::ca_client::istio::CaTrust;
use crate::ca_client::view::NodeView;
use crate::fakes::FakeCa;
use crate::workload::{ExecutableHashes, attest_pid};

struct Bed {
    clock: Arc<TestClock>,
    ca: FakeCa,
    views: watch::Sender<Arc<NodeView>>,
    identities: BearerIdentities,
    shutdown: ShutdownTrigger,
    worker: JoinHandle<Result<(), std::convert::Infallible>>,
}

fn token(text: &str) -> BearerToken {
    let mut metadata = MetadataMap::new();
    metadata.insert_bin("istio_sds_credentials_header-bin", MetadataValue::from_bytes(text.as_bytes()));
    BearerToken::from_metadata(&metadata).unwrap().unwrap()
}

fn caller() -> Caller {
    let hashes = ExecutableHashes::new(SystemClock::shared());
    attest_pid(i32::try_from(std::process::id()).unwrap(), &hashes).unwrap()
}

impl Bed {
    async fn new() -> Self {
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let ca = FakeCa::start(clock.clone()).await;
        let view = NodeView { bundle: Some(Arc::new(ca.authority.bundle(1))), ..NodeView::default() };
        let views = watch::Sender::new(Arc::new(view));
        let door = IstioCa::new(ca.address.clone(), CaTrust::Node(views.subscribe()), clock.clone());
        let domain = ca.authority.bundle(1).trust_domain().clone();
        let (identities, worker) = BearerIdentities::new(
            door,
            domain,
            views.subscribe(),
            clock.clone(),
            Arc::new(SystemEntropy),
            AgentMetrics::default(),
        );
        let (shutdown, listener) = shutdown::channel();
        #[expect(clippy::disallowed_methods, reason = "a test owns its task")]
        let worker = tokio::spawn(worker.run(listener));
        Self { clock, ca, views, identities, shutdown, worker }
    }

    fn bring(&self, text: &str) -> watch::Receiver<Arc<SecretState>> {
        self.identities.subscribe(&caller(), token(text)).unwrap()
    }

    async fn end(self) {
        self.shutdown.fire();
        self.worker.await.unwrap().unwrap();
    }
}

async fn until(state: &mut watch::Receiver<Arc<SecretState>>, what: impl FnMut(&Arc<SecretState>) -> bool) -> Arc<SecretState> {
    let waited = tokio::time::timeout(Duration::from_secs(20), state.wait_for(what)).await;
    Arc::clone(&waited.expect("it comes in time").expect("the driver runs"))
}

#[tokio::test]
async fn each_token_gets_an_identity_of_its_own_that_is_renewed_at_half_of_its_life() {
    let bed = Bed::new().await;
    let (mut one, mut two) = (bed.bring("one.a.a"), bed.bring("two.a.a"));
    let first = until(&mut one, |state| !state.svids.is_empty()).await;
    let other = until(&mut two, |state| !state.svids.is_empty()).await;
    assert!(first.known && first.bundle.is_some() && first.pending.is_empty());
    assert_ne!(first.svids[0].leaf().public_key(), other.svids[0].leaf().public_key());
    let mut sent: Vec<_> = bed.ca.seen().certificates.iter().map(|call| call.bearer.clone().unwrap()).collect();
    sent.sort();
    assert_eq!(sent, ["Bearer one.a.a", "Bearer two.a.a"]);
    drop(two);
    let leaf = first.svids[0].leaf();
    let half = first.svids[0].renew_at().since(bed.clock.now().into());
    assert!(half < leaf.not_after().since(bed.clock.now().into()));
    bed.clock.advance(half + Duration::from_secs(1));
    let renewed = until(&mut one, |state| !Arc::ptr_eq(&state.svids[0], &first.svids[0])).await;
    assert_ne!(renewed.svids[0].leaf().public_key(), leaf.public_key());
    assert_eq!(bed.ca.seen().certificates.len(), 3, "the other token's listener was gone: nothing was asked for it");
    bed.end().await;
}

#[tokio::test]
async fn a_refused_token_ends_its_streams_with_the_cas_words_and_is_not_tried_again() {
    let bed = Bed::new().await;
    let mut good = bed.bring("one.a.a");
    let held = until(&mut good, |state| !state.svids.is_empty()).await;
    bed.ca.answer(|answers| answers.refuse_certificate = Some(tonic::Status::unauthenticated("the token has ended")));
    let mut bad = bed.bring("bad.a.a");
    let refused = until(&mut bad, |state| state.refused.is_some()).await;
    assert!(refused.refused.as_deref().unwrap().contains("the token has ended") && refused.svids.is_empty());
    assert!(!refused.refused.as_deref().unwrap().contains("bad.a.a"));
    let calls = bed.ca.seen().certificates.len();
    bed.clock.advance(held.svids[0].renew_at().since(bed.clock.now().into()) + Duration::from_secs(1));
    let ended = until(&mut good, |state| state.refused.is_some()).await;
    assert!(ended.svids.is_empty(), "a renewal that is refused ends what was held");
    assert!(bed.ca.seen().certificates.len() <= calls + 1);
    bed.end().await;
}

#[tokio::test]
async fn a_ca_that_is_away_is_asked_again() {
    let bed = Bed::new().await;
    bed.ca.answer(|answers| answers.refuse_certificate = Some(tonic::Status::unavailable("later")));
    let mut state = bed.bring("one.a.a");
    assert!(tokio::time::timeout(Duration::from_millis(500), state.changed()).await.is_err(), "nothing is known of it yet");
    bed.ca.answer(|answers| answers.refuse_certificate = None);
    bed.clock.advance(Duration::from_secs(2));
    until(&mut state, |state| !state.svids.is_empty()).await;
    // A bundle that the node learns meanwhile reaches it without a new certificate.
    let newer = Arc::new(bed.ca.authority.bundle(2));
    bed.views.send_modify(|view| *view = Arc::new(NodeView { bundle: Some(Arc::clone(&newer)), ..NodeView::clone(view) }));
    until(&mut state, |state| state.bundle.as_ref().is_some_and(|bundle| bundle.sequence() == 2)).await;
    bed.end().await;
}

#[tokio::test]
async fn an_answer_for_the_system_itself_is_not_taken() {
    let bed = Bed::new().await;
    bed.ca.answer(|answers| answers.wrong_name = Some("spiffe://example.org/signet/agent/n1".to_owned()));
    let mut state = bed.bring("one.a.a");
    assert!(tokio::time::timeout(Duration::from_millis(500), state.changed()).await.is_err());
    bed.ca.answer(|answers| answers.wrong_name = None);
    bed.clock.advance(Duration::from_secs(2));
    until(&mut state, |state| !state.svids.is_empty()).await;
    bed.end().await;
}

#[tokio::test]
async fn one_users_tokens_are_bounded() {
    let bed = Bed::new().await;
    let held: Vec<_> = (0..admission::MAX_PER_UID).map(|number| bed.bring(&format!("t{number}.a.a"))).collect();
    let refused = bed.identities.subscribe(&caller(), token("more.a.a")).map(drop);
    assert_eq!(refused, Err(BearerRefusal::TooMany));
    drop(held);
    bed.end().await;
}

#[tokio::test]
async fn what_rests_on_a_tainted_key_is_replaced_at_once_and_counts_until_then() {
    use crate::fakes::FakeAuthority;

    let bed = Bed::new().await;
    let mut state = bed.bring("one.a.a");
    let first = until(&mut state, |state| !state.svids.is_empty()).await;
    let (old, new) = (&bed.ca.authority, Arc::new(FakeAuthority::new(bed.clock.now().into())));
    let in_use = bed.identities.in_use();
    let publish = |tainted: &[pki::Sha256Digest], sequence| {
        let bundle = Arc::new(FakeAuthority::bundle_of(&[old, &new], tainted, sequence));
        let told = Some(Arc::clone(&bundle));
        bed.views.send_modify(|view| *view = Arc::new(NodeView { bundle: told, ..NodeView::clone(view) }));
        bundle
    };
    publish(&[], 2);
    until(&mut state, |state| state.bundle.as_ref().is_some_and(|bundle| bundle.sequence() == 2)).await;
    assert_eq!(bed.ca.seen().certificates.len(), 1, "a new root alone makes nothing due");

    // The CA signs with the old authority once more: what comes is used, and replaced after a pause, not in a circle.
    let bundle = publish(&[old.root_key()], 3);
    assert_eq!(in_use.count(&bundle), (1, 1));
    let second = until(&mut state, |state| !Arc::ptr_eq(&state.svids[0], &first.svids[0])).await;
    assert_eq!((in_use.count(&bundle), bed.ca.seen().certificates.len()), ((1, 1), 2));
    bed.ca.answer(|answers| answers.successor = Some(Arc::clone(&new)));
    bed.clock.advance(Duration::from_secs(2));
    until(&mut state, |state| !Arc::ptr_eq(&state.svids[0], &second.svids[0])).await;
    assert_eq!((in_use.count(&bundle), bed.ca.seen().certificates.len()), ((1, 0), 3));
    drop(state);
    bed.end().await;
    assert_eq!(in_use.count(&bundle), (0, 0));
}
