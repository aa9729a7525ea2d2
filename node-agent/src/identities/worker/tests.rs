use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::SystemTime;

use futures_util::future::FutureExt;
use identity::{NodeName, SpiffeId};
use pki::VerifiedRequest;
use runtime::clock::TestClock;
use runtime::entropy::SystemEntropy;
use runtime::secret_source::SecretSource;
use runtime::shutdown::{self, ShutdownTrigger};
use sds::SecretState;
use tokio::sync::Semaphore;

use super::*;
use crate::ca_client::view::EntryKnowledge;
use crate::entry::{Entry, EntryId};
use crate::fakes::FakeAuthority;
use crate::fakes::held::{facts, of_account};
use crate::svid_cache::SvidCache;

/// An issuer that answers as told.
#[derive(Clone)]
struct FakeIssuer {
    authority: Arc<FakeAuthority>,
    stranger: Arc<FakeAuthority>,
    clock: Arc<TestClock>,
    how: Arc<Mutex<How>>,
    asked: Arc<Mutex<Vec<Vec<String>>>>,
    /// Each answer takes one; a test that adds none has a CA that never answers.
    permits: Arc<Semaphore>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Sound,
    WrongName,
    WrongKey,
    Stranger,
    Ended,
    Unstamped,
    Refuse,
    Short,
    Away,
}

impl SvidIssuer for FakeIssuer {
    fn issue(&self, batch: Vec<IssueItem>) -> BoxFuture<'static, Result<Vec<IssueAnswer>, CallFault>> {
        self.asked.lock().unwrap().push(batch.iter().map(|item| item.entry_id.to_string()).collect());
        let this = self.clone();
        async move {
            this.permits.acquire().await.unwrap().forget();
            let how = *this.how.lock().unwrap();
            if how == How::Away {
                return Err(CallFault::Unavailable("away".to_owned()));
            }
            let mut answers: Vec<_> = batch.iter().map(|item| this.answer(how, item)).collect();
            if how == How::Short {
                answers.pop();
            }
            Ok(answers)
        }
        .boxed()
    }
}

impl FakeIssuer {
    fn answer(&self, how: How, item: &IssueItem) -> IssueAnswer {
        let request = VerifiedRequest::parse(&item.csr).unwrap();
        let own = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let key = if how == How::WrongKey { own.public_key() } else { request.public_key() };
        let name = if how == How::WrongName { "/somebody-else".to_owned() } else { format!("/{}", item.entry_id) };
        let authority = if how == How::Stranger { &self.stranger } else { &self.authority };
        let now = self.clock.now();
        let signed = if how == How::Ended { now - Duration::from_secs(900) } else { now };
        if how == How::Refuse {
            let reason = RefusalReason::EntryNotFound;
            return Err(CallFault::Refused { reason, reason_text: "ENTRY_NOT_FOUND".to_owned(), message: "no".to_owned() });
        }
        let chain = authority.chain(&authority.id(&name), key, Duration::from_secs(600), signed.into());
        Ok(v1::X509Svid {
            spiffe_id: String::new(),
            chain: chain.iter().map(|certificate| certificate.der().to_vec()).collect(),
            issued_at: (how != How::Unstamped).then(|| signed.into()),
        })
    }
}

struct Bed {
    clock: Arc<TestClock>,
    issuer: FakeIssuer,
    view: watch::Sender<Arc<NodeView>>,
    channel: watch::Sender<Option<Channel>>,
    secrets: Arc<CallerSecrets>,
    _trigger: ShutdownTrigger,
}

impl Bed {
    fn new(how: How) -> Self {
        Self::started(how, BTreeMap::new(), |_| None)
    }

    /// A worker that finds these entries, and what the cache has, when it starts.
    fn started(
        how: How,
        entries: BTreeMap<EntryId, Arc<Entry>>,
        cache: impl FnOnce(&FakeAuthority) -> Option<Arc<SvidCache>>,
    ) -> Self {
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let now = Timestamp::from(clock.now());
        let authority = Arc::new(FakeAuthority::new(now.minus(Duration::from_secs(3600))));
        let stranger = Arc::new(FakeAuthority::new(now.minus(Duration::from_secs(3600))));
        let issuer = FakeIssuer {
            stranger,
            clock: Arc::clone(&clock),
            how: Arc::new(Mutex::new(how)),
            asked: Arc::default(),
            permits: Arc::new(Semaphore::new(1000)),
            authority,
        };
        let bundle = Some(Arc::new(issuer.authority.bundle(1)));
        let node = Some(NodeName::parse("n1").unwrap());
        let view = watch::Sender::new(Arc::new(NodeView {
            node,
            knowledge: EntryKnowledge::Synced,
            entries,
            bundle,
            has_account_rule: true,
            ..NodeView::default()
        }));
        let channel = watch::Sender::new(None);
        let secrets = Arc::new(CallerSecrets::default());
        let worker = IdentityWorker::new(
            Arc::new(issuer.clone()),
            view.subscribe(),
            channel.subscribe(),
            Arc::clone(&secrets),
            clock.clone(),
            Arc::new(SystemEntropy),
            AgentMetrics::default(),
        )
        .with_cache(cache(&issuer.authority));
        let (trigger, shutdown) = shutdown::channel();
        #[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
        tokio::spawn(async move { worker.opened().await.run(shutdown).await });
        Self { clock, issuer, view, channel, secrets, _trigger: trigger }
    }

    /// Entries named `w<uid>`, each for one user.
    fn entries(&self, uids: impl IntoIterator<Item = u32>) {
        let node = NodeName::parse("n1").unwrap();
        let wire = |uid: u32| v1::Entry {
            id: format!("w{uid}"),
            spiffe_id: self.issuer.authority.id(&format!("/w{uid}")).to_string(),
            selectors: vec![format!("unix:uid:{uid}")],
            parent_node: "n1".to_owned(),
            ..v1::Entry::default()
        };
        let parse = |uid| Arc::new(Entry::from_wire(wire(uid), &self.issuer.authority.trust_domain, &node).unwrap());
        let entries = uids.into_iter().map(parse).map(|entry| (entry.id.clone(), entry)).collect();
        self.view.send_modify(|view| *view = Arc::new(NodeView { entries, ..NodeView::clone(view) }));
    }

    fn caller(&self, uid: u32) -> watch::Receiver<Arc<SecretState>> {
        self.secrets.secrets_of(facts(&[&format!("unix:uid:{uid}")]), || true)
    }

    fn asked(&self) -> Vec<Vec<String>> {
        self.issuer.asked.lock().unwrap().clone()
    }

    async fn until(&self, what: &str, mut holds: impl FnMut() -> bool) {
        for _ in 0..1000 {
            if holds() {
                return;
            }
            self.clock.advance(Duration::from_millis(100));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("never came true: {what}; asked {:?}", self.asked());
    }
}

fn ids(state: &watch::Receiver<Arc<SecretState>>) -> Vec<String> {
    state.borrow().svids.iter().map(|svid| SpiffeId::path(svid.id()).to_owned()).collect()
}

#[tokio::test]
async fn every_entry_is_fetched_ahead_and_each_caller_gets_its_own_only() {
    let bed = Bed::new(How::Sound);
    let (one, two) = (bed.caller(1), bed.caller(2));
    bed.entries([1, 2, 3]);
    bed.until("both have theirs", || ids(&one) == ["/w1"] && ids(&two) == ["/w2"]).await;
    let late = bed.caller(3);
    bed.until("one who comes later is served from the cache", || ids(&late) == ["/w3"]).await;
    assert_eq!(bed.asked().iter().flatten().count(), 3, "one CSR per identity");
    assert!(one.borrow().bundle.is_some());
}

#[tokio::test]
async fn every_wrong_answer_is_refused_and_the_right_one_after_it_is_published() {
    for how in [How::WrongName, How::WrongKey, How::Stranger, How::Ended, How::Unstamped, How::Refuse, How::Short, How::Away] {
        let bed = Bed::new(how);
        let caller = bed.caller(1);
        bed.entries([1]);
        let failed = || bed.secrets.held().identities.first().is_some_and(|identity| identity.last_error.is_some());
        bed.until("the answer is refused", failed).await;
        assert!(ids(&caller).is_empty(), "{how:?} was published");
        *bed.issuer.how.lock().unwrap() = How::Sound;
        bed.until("the right one comes", || ids(&caller) == ["/w1"]).await;
    }
}

#[tokio::test]
async fn a_ca_that_hangs_in_the_background_does_not_delay_a_workload_that_waits() {
    let bed = Bed::new(How::Sound);
    bed.issuer.permits.forget_permits(1000);
    bed.entries([1]);
    bed.until("the first batch hangs", || bed.asked().len() == 1).await;
    let waiting = bed.caller(2);
    bed.entries([1, 2]);
    bed.until("the second is asked for beside it", || bed.asked().len() == 2).await;
    assert_eq!(bed.asked()[1], ["w2"]);
    bed.issuer.permits.add_permits(2);
    bed.until("it is served", || ids(&waiting) == ["/w2"]).await;
}

#[tokio::test]
async fn renewals_come_at_half_life_and_a_failing_one_keeps_the_svid_until_its_end() {
    let bed = Bed::new(How::Sound);
    let caller = bed.caller(1);
    bed.entries([1]);
    bed.until("it is there", || ids(&caller) == ["/w1"]).await;
    let first = caller.borrow().svids[0].leaf().serial().clone();
    *bed.issuer.how.lock().unwrap() = How::Away;
    bed.clock.advance(Duration::from_secs(340));
    bed.until("the renewal fails", || bed.asked().len() >= 2).await;
    assert_eq!(caller.borrow().svids[0].leaf().serial(), &first);
    bed.clock.advance(Duration::from_secs(300));
    bed.until("it ends", || ids(&caller).is_empty()).await;
    *bed.issuer.how.lock().unwrap() = How::Sound;
    bed.clock.advance(Duration::from_secs(200));
    bed.until("it comes back", || ids(&caller) == ["/w1"]).await;
}

#[tokio::test]
async fn a_ca_that_is_back_is_asked_at_once_whatever_the_backoff() {
    let bed = Bed::new(How::Away);
    bed.entries([1]);
    for _ in 0..8 {
        let before = bed.asked().len();
        bed.clock.advance(Duration::from_secs(200));
        bed.until("it tries again", || bed.asked().len() > before).await;
    }
    let before = bed.asked().len();
    *bed.issuer.how.lock().unwrap() = How::Sound;
    let lazy = tonic::transport::Endpoint::from_static("http://127.0.0.1:9").connect_lazy();
    bed.channel.send_replace(Some(lazy));
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(bed.asked().len() > before, "no time has passed on its clock");
}

#[tokio::test]
async fn a_removed_entry_and_a_new_bundle_reach_every_listener() {
    let bed = Bed::new(How::Sound);
    let (one, two) = (bed.caller(1), bed.caller(2));
    bed.entries([1, 2]);
    bed.until("both have theirs", || ids(&one) == ["/w1"] && ids(&two) == ["/w2"]).await;
    bed.entries([2]);
    bed.until("one has nothing", || ids(&one).is_empty()).await;
    assert_eq!(ids(&two), ["/w2"]);
    let newer = Some(Arc::new(bed.issuer.authority.bundle(2)));
    bed.view.send_modify(|view| *view = Arc::new(NodeView { bundle: newer, ..NodeView::clone(view) }));
    bed.until("both see the bundle", || {
        [&one, &two].iter().all(|caller| caller.borrow().bundle.as_ref().is_some_and(|bundle| bundle.sequence() == 2))
    })
    .await;
    assert_eq!(ids(&two), ["/w2"], "an SVID that holds under the new bundle stays");
}

fn for_user(uid: u32, ends: Option<u64>) -> (EntryId, Arc<Entry>) {
    let held = crate::fakes::held::entry(&format!("w{uid}"), &[&format!("unix:uid:{uid}")], 1, "");
    let expires_at = ends.map(Timestamp::from_unix_seconds);
    (held.id.clone(), Arc::new(Entry { expires_at, ..held }))
}

#[tokio::test]
async fn an_entry_that_ends_takes_its_identity_with_it_and_the_others_stay() {
    let entries = BTreeMap::from([for_user(1, Some(1_800_000_005)), for_user(2, None), for_user(3, Some(1_800_000_000))]);
    let bed = Bed::started(How::Sound, entries, |_| None);
    let (one, two, three) = (bed.caller(1), bed.caller(2), bed.caller(3));
    bed.until("both that grant are fetched", || ids(&one) == ["/w1"] && ids(&two) == ["/w2"]).await;
    assert!(bed.asked().iter().flatten().all(|entry| entry != "w3"), "what has ended is not even asked for");
    bed.until("the end of the first", || ids(&one).is_empty()).await;
    assert_eq!(ids(&two), ["/w2"]);
    assert!(ids(&three).is_empty());
}

/// A file with the key of a cache.
fn cache_key(directory: &tempfile::TempDir) -> std::path::PathBuf {
    let key = directory.path().join("key");
    std::fs::write(&key, [7; 32]).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    key
}

#[tokio::test]
async fn what_the_cache_has_for_a_service_account_waits_for_the_pods_of_the_node() {
    let directory = tempfile::tempdir().unwrap();
    let key = cache_key(&directory);
    let by_rule = Arc::new(of_account("shop/web"));
    let fill = |authority: &FakeAuthority| {
        let domain = authority.trust_domain.clone();
        let cache = SvidCache::new(directory.path(), &SecretSource::File(key.clone()), domain, Arc::new(SystemEntropy)).unwrap();
        let (now, life) = (Timestamp::from_unix_seconds(1_800_000_000), Duration::from_secs(600));
        let svids = [(by_rule.id.clone(), Arc::new(authority.svid(&by_rule.spiffe_id, life, now)))];
        cache.store(Some(&NodeName::parse("n1").unwrap()), &svids).unwrap();
        Some(Arc::new(cache))
    };
    let bed = Bed::started(How::Away, BTreeMap::new(), fill);
    let caller = bed.secrets.secrets_of(facts(&["k8s:ns:shop", "k8s:sa:web"]), || true);
    bed.entries([1]);
    bed.until("entries of the CA are known", || bed.secrets.held().identities.len() == 1).await;
    assert!(ids(&caller).is_empty());
    let entries = [(by_rule.id.clone(), Arc::clone(&by_rule))].into();
    bed.view.send_modify(|view| *view = Arc::new(NodeView { entries, ..NodeView::clone(view) }));
    bed.until("it is served", || ids(&caller) == ["/of-account"]).await;
}

#[tokio::test]
async fn what_the_cache_has_is_served_at_once_where_an_entry_grants_it_and_it_still_holds() {
    let directory = tempfile::tempdir().unwrap();
    let key = cache_key(&directory);
    let fill = |authority: &FakeAuthority| {
        let domain = authority.trust_domain.clone();
        let cache = SvidCache::new(directory.path(), &SecretSource::File(key.clone()), domain, Arc::new(SystemEntropy)).unwrap();
        let (now, life) = (Timestamp::from_unix_seconds(1_800_000_000), Duration::from_secs(600));
        let stranger = FakeAuthority::new(now);
        let svid = |entry: &str, path: &str, by: &FakeAuthority, at: Timestamp| {
            (EntryId::parse(entry).unwrap(), Arc::new(by.svid(&by.id(path), life, at)))
        };
        let ended = now.minus(Duration::from_secs(3000));
        let svids = [
            svid("w1", "/w1", authority, now),
            svid("w2", "/w2", authority, ended),
            svid("w3", "/w3", &stranger, now),
            svid("w4", "/other", authority, now),
            svid("w5", "/w5", authority, now),
        ];
        cache.store(Some(&NodeName::parse("n1").unwrap()), &svids).unwrap();
        Some(Arc::new(cache))
    };
    let entries = (1..=4).map(|uid| for_user(uid, None)).collect();
    let bed = Bed::started(How::Away, entries, fill);
    let callers: Vec<_> = (1..=5).map(|uid| bed.caller(uid)).collect();
    bed.until("the first is served", || ids(&callers[0]) == ["/w1"]).await;
    for (caller, why) in
        callers[1..].iter().zip(["it has ended", "of no authority of the bundle", "another identity", "no entry"])
    {
        assert!(ids(caller).is_empty(), "{why}");
    }
}

#[tokio::test]
async fn a_taint_renews_what_rests_on_the_key_while_every_caller_keeps_what_it_has() {
    let bed = Bed::new(How::Sound);
    let (one, two) = (bed.caller(1), bed.caller(2));
    bed.entries([1, 2, 3]);
    bed.until("all are there", || ids(&one) == ["/w1"] && ids(&two) == ["/w2"] && bed.secrets.held().svids() == 3).await;
    let (old, new) = (&bed.issuer.authority, &bed.issuer.stranger);
    let publish = |keys: &[pki::Sha256Digest], sequence| {
        let bundle = Some(Arc::new(FakeAuthority::bundle_of(&[old, new], keys, sequence)));
        bed.view.send_modify(|view| *view = Arc::new(NodeView { bundle, ..NodeView::clone(view) }));
    };
    publish(&[], 2);
    let sequence = || bed.secrets.held().bundle.as_ref().map(|bundle| bundle.sequence());
    bed.until("the new root is told", || sequence() == Some(2)).await;
    let asked = bed.asked().len();

    bed.issuer.permits.forget_permits(1000);
    *bed.issuer.how.lock().unwrap() = How::Stranger;
    publish(&[old.root_key()], 3);
    bed.until("they are asked for in one batch", || bed.asked().len() == asked + 1).await;
    assert_eq!(bed.asked()[asked], ["w1", "w2", "w3"], "those whom a caller waits for first");
    assert_eq!((bed.secrets.held().tainted(), ids(&one), ids(&two)), (3, vec!["/w1".to_owned()], vec!["/w2".to_owned()]));
    bed.issuer.permits.add_permits(1000);
    bed.until("nothing rests on it any more", || bed.secrets.held().tainted() == 0).await;
    let bundle = bed.secrets.held().bundle.clone().unwrap();
    for caller in [&one, &two] {
        assert!(!caller.borrow().svids[0].rests_on(bundle.tainted_keys(), &bundle));
    }
    let asked = bed.asked().len();
    publish(&[old.root_key(), old.issuer_key()], 4);
    bed.until("the next bundle is there", || sequence() == Some(4)).await;
    assert_eq!(bed.asked().len(), asked, "once is enough");
}
