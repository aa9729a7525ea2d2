use std::cell::RefCell;

use futures_util::{FutureExt, StreamExt};
use pki::{RevocationSet, Timestamp};
use proto::workload::X509svidResponse;
use tonic::Code;

use super::*;
use crate::ca_client::view::EntryKnowledge;
use crate::fakes::FakeAuthority;
use crate::fakes::caller::own_caller;
use crate::fakes::held::{available, entry, facts, missing, revoked};
use crate::identities::{Held, HeldIdentity};
use crate::secrets::{CallerSecrets, Facts};
use crate::workload::Unreadable;
use crate::workload_api::content::{X509Bundles, X509Svids};
use crate::workload_api::open_streams::OpenStreams;

const UID: &[&str] = &["unix:uid:1"];

struct Bed {
    authority: FakeAuthority,
    secrets: CallerSecrets,
    revocation: RefCell<Option<Arc<RevocationSet>>>,
}

impl Bed {
    fn new() -> Self {
        let authority = FakeAuthority::new(Timestamp::from_unix_seconds(1_800_000_000));
        Self { authority, secrets: CallerSecrets::default(), revocation: RefCell::default() }
    }

    fn publish(&self, identities: Vec<HeldIdentity>) {
        self.secrets.publish(Held {
            knowledge: EntryKnowledge::Synced,
            bundle: Some(Arc::new(self.authority.bundle(1))),
            revocation: self.revocation.borrow().clone(),
            foreign: Arc::default(),
            identities,
            has_account_rule: false,
        });
    }

    fn held(&self, id: &str, age: i64) -> HeldIdentity {
        available(&self.authority, entry(id, UID, age, ""))
    }

    fn stream_of(&self, facts: Facts) -> Messages<X509svidResponse> {
        let caller = own_caller();
        let open = OpenStreams::default().take(&caller).unwrap();
        let states = self.secrets.states_of(facts, || true);
        follow::<X509Svids>(states, caller, Call::X509Svid, WorkloadApiMetrics::default(), open)
    }

    fn stream(&self) -> Messages<X509svidResponse> {
        self.stream_of(facts(UID))
    }
}

/// What is there without waiting.
fn now(stream: &mut Messages<X509svidResponse>) -> Option<Result<Vec<String>, Code>> {
    stream.next().now_or_never().map(|next| read(next.expect("the stream goes on")))
}

async fn next(stream: &mut Messages<X509svidResponse>) -> Result<Vec<String>, Code> {
    read(stream.next().await.expect("the stream goes on"))
}

fn read(next: Result<X509svidResponse, Status>) -> Result<Vec<String>, Code> {
    let path = |id: &str| id.strip_prefix("spiffe://example.org/").unwrap().to_owned();
    next.map(|response| response.svids.iter().map(|svid| path(&svid.spiffe_id)).collect()).map_err(|status| status.code())
}

fn ids(texts: &[&str]) -> Result<Vec<String>, Code> {
    Ok(texts.iter().map(|text| (*text).to_owned()).collect())
}

#[tokio::test(start_paused = true)]
async fn the_whole_state_comes_at_once_and_on_each_change_and_never_twice() {
    let bed = Bed::new();
    let a = bed.held("a", 1);
    bed.publish(vec![a.clone()]);
    let mut stream = bed.stream();
    assert_eq!(now(&mut stream), Some(ids(&["a"])));
    assert_eq!(now(&mut stream), None);
    bed.publish(vec![a.clone()]);
    assert_eq!(now(&mut stream), None, "nothing changed");
    let b = bed.held("b", 2);
    bed.publish(vec![a.clone(), missing(entry("b", UID, 2, ""), None)]);
    assert_eq!(now(&mut stream), None, "what is not there yet changes nothing that was sent");
    bed.publish(vec![a.clone(), b.clone()]);
    assert_eq!(now(&mut stream), Some(ids(&["a", "b"])));
    bed.publish(vec![bed.held("a", 1), b.clone()]);
    assert_eq!(now(&mut stream), Some(ids(&["a", "b"])), "a renewed SVID is a change, and the order stays");
    bed.publish(vec![b]);
    assert_eq!(now(&mut stream), Some(ids(&["b"])), "an entry that went is left out of the whole");
}

#[tokio::test(start_paused = true)]
async fn before_the_entries_are_known_nobody_is_denied() {
    let bed = Bed::new();
    assert_eq!(now(&mut bed.stream()), Some(Err(Code::Unavailable)), "entries that are not known grant and deny nothing");
    bed.publish(Vec::new());
    let mut denied = bed.stream();
    assert_eq!(now(&mut denied), Some(Err(Code::PermissionDenied)));
    assert!(denied.next().await.is_none(), "a refusal ends the stream");
    bed.publish(vec![bed.held("a", 1)]);
    assert_eq!(now(&mut bed.stream()), Some(ids(&["a"])));
}

#[tokio::test(start_paused = true)]
async fn the_last_entitlement_that_goes_ends_the_stream_at_once() {
    let bed = Bed::new();
    bed.publish(vec![bed.held("a", 1)]);
    let mut stream = bed.stream();
    assert_eq!(now(&mut stream), Some(ids(&["a"])));
    bed.publish(vec![available(&bed.authority, entry("other", &["unix:uid:2"], 1, ""))]);
    assert_eq!(now(&mut stream), Some(Err(Code::PermissionDenied)));
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_entitled_caller_waits_for_its_svid_and_is_told_why_when_none_comes() {
    let bed = Bed::new();
    bed.publish(vec![missing(entry("a", UID, 1, ""), None)]);
    let mut served = bed.stream();
    let mut unserved = bed.stream();
    assert_eq!(now(&mut served), None);
    bed.publish(vec![bed.held("a", 1)]);
    assert_eq!(now(&mut served), Some(ids(&["a"])));
    assert_eq!(now(&mut unserved), Some(ids(&["a"])));
    bed.publish(vec![missing(entry("a", UID, 1, ""), Some("the CA is away"))]);
    let status = unserved.next().await.unwrap().unwrap_err();
    assert_eq!(status.code(), Code::Unavailable, "what was held and is withdrawn is no denial");
    assert!(status.message().contains("the CA is away"), "{status}");
}

#[tokio::test(start_paused = true)]
async fn the_first_message_waits_for_all_that_is_being_fetched_but_not_for_ever() {
    let bed = Bed::new();
    let (first, second) = (missing(entry("a", UID, 1, ""), None), bed.held("b", 2));
    bed.publish(vec![first.clone(), second.clone()]);
    let mut stream = bed.stream();
    assert_eq!(now(&mut stream), None, "the second must not stand in the place of the default identity");
    bed.publish(vec![bed.held("a", 1), second.clone()]);
    assert_eq!(now(&mut stream), Some(ids(&["a", "b"])));
    bed.publish(vec![first, second]);
    assert_eq!(next(&mut bed.stream()).await, ids(&["b"]), "after the wait what is there is sent");
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_could_not_be_read_whole_is_not_denied_where_that_decides() {
    let bed = Bed::new();
    let named = entry("a", &["unix:uid:1", "unix:user:web"], 1, "");
    bed.publish(vec![available(&bed.authority, named)]);
    let unread = |passing| {
        let why = "the account of uid 1 cannot be looked up".to_owned();
        let unreadable = vec![Unreadable { kind: identity::SelectorKind::User, why, passing }];
        Facts { unreadable, ..facts(UID) }
    };
    assert_eq!(now(&mut bed.stream_of(unread(true))), Some(Err(Code::Unavailable)));
    assert_eq!(now(&mut bed.stream_of(unread(false))), Some(Err(Code::PermissionDenied)), "there is no such account");
    let stranger = Facts { selectors: facts(&["unix:uid:2"]).selectors, ..unread(true) };
    assert_eq!(now(&mut bed.stream_of(stranger)), Some(Err(Code::PermissionDenied)), "the uid alone decides");
    assert_eq!(now(&mut bed.stream_of(facts(&["unix:uid:1", "unix:user:web"]))), Some(ids(&["a"])));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_with_the_process() {
    let bed = Bed::new();
    bed.publish(vec![bed.held("a", 1)]);
    let mut stream = bed.stream();
    assert_eq!(now(&mut stream), Some(ids(&["a"])));
    drop(bed.secrets);
    assert_eq!(now(&mut stream), Some(Err(Code::Unavailable)));
    assert!(stream.next().await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_behind_until_the_message_with_the_newest_was_handed_out_or_none_was_needed() {
    let bed = Bed::new();
    let streams = OpenStreams::default();
    let open = || {
        let (caller, states) = (own_caller(), bed.secrets.states_of(facts(UID), || true));
        let open = streams.take(&caller).unwrap();
        follow::<X509Svids>(states, caller, Call::X509Svid, WorkloadApiMetrics::default(), open)
    };
    let a = bed.held("a", 1);
    bed.publish(vec![a.clone()]);
    let (mut read, mut unread) = (open(), open());
    assert_eq!(streams.progress(), (2, 2));
    assert_eq!(now(&mut read), Some(ids(&["a"])));
    assert_eq!(streams.progress(), (2, 1), "the other one's client does not read");
    assert_eq!(now(&mut unread), Some(ids(&["a"])));
    assert_eq!(streams.progress(), (2, 0));

    // The same again under another bundle of the same roots: nothing to send, once somebody looked.
    bed.publish(vec![a]);
    assert_eq!(streams.progress(), (2, 2));
    assert_eq!((now(&mut read), streams.progress()), (None, (2, 1)));
    bed.publish(vec![bed.held("a", 1)]);
    assert_eq!(now(&mut read), Some(ids(&["a"])));
    assert_eq!(streams.progress(), (2, 1));
    drop(unread);
    assert_eq!(streams.progress(), (1, 0), "whoever went is not waited for");

    // What has nothing newer keeps what it had, until its stream ends.
    bed.publish(vec![missing(entry("a", UID, 1, ""), Some("the CA is away"))]);
    assert_eq!((now(&mut read), streams.progress()), (None, (1, 1)));
    assert_eq!(next(&mut read).await, Err(Code::Unavailable));
    assert_eq!(streams.progress(), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_revoked_identity_is_denied_at_once_and_comes_back_when_it_is_restored() {
    let bed = Bed::new();
    let (a, b) = (bed.held("a", 1), bed.held("b", 2));
    bed.publish(vec![a.clone(), b.clone()]);
    let mut stream = bed.stream();
    assert_eq!(now(&mut stream), Some(ids(&["a", "b"])));
    bed.publish(vec![revoked(entry("a", UID, 1, "")), b]);
    assert_eq!(now(&mut stream), Some(ids(&["b"])), "the other one is not touched");
    bed.publish(vec![revoked(entry("a", UID, 1, "")), revoked(entry("b", UID, 2, ""))]);
    let status = stream.next().now_or_never().unwrap().unwrap().unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("spiffe://example.org/a is revoked"), "{status}");
    assert!(stream.next().await.is_none(), "the denial ends the stream");
    assert_eq!(now(&mut bed.stream()), Some(Err(Code::PermissionDenied)));
    bed.publish(vec![a]);
    assert_eq!(now(&mut bed.stream()), Some(ids(&["a"])));
}

#[tokio::test(start_paused = true)]
async fn new_revocation_lists_are_a_message_with_them_and_the_same_again_are_none() {
    let bed = Bed::new();
    let at = Timestamp::from_unix_seconds(1_800_000_000);
    let a = bed.held("a", 1);
    bed.publish(vec![a.clone()]);
    let mut stream = bed.stream();
    let lists = |next: Option<Option<Result<X509svidResponse, Status>>>| next.map(|next| next.unwrap().unwrap().crl);
    assert_eq!(lists(stream.next().now_or_never()), Some(Vec::new()));
    for sequence in [1, 2] {
        let set = bed.authority.lists(&[a.state.svid().unwrap()], sequence, at);
        let expected: Vec<_> = set.lists().iter().map(|list| list.der().to_vec()).collect();
        *bed.revocation.borrow_mut() = Some(Arc::new(set.clone()));
        bed.publish(vec![a.clone()]);
        assert_eq!(lists(stream.next().now_or_never()), Some(expected.clone()));
        let states = bed.secrets.states_of(facts(UID), || true);
        let open = OpenStreams::default().take(&own_caller()).unwrap();
        let mut bundles = follow::<X509Bundles>(states, own_caller(), Call::X509Bundles, WorkloadApiMetrics::default(), open);
        assert_eq!(bundles.next().await.unwrap().unwrap().crl, expected);
        *bed.revocation.borrow_mut() = Some(Arc::new(set));
        bed.publish(vec![a.clone()]);
        assert_eq!(lists(stream.next().now_or_never()), None, "the same lists are no news");
        assert!(bundles.next().now_or_never().is_none());
    }
}
