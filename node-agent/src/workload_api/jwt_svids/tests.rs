use super::*;
use crate::ca_client::view::EntryKnowledge;
use crate::fakes::FakeAuthority;
use crate::fakes::held::{entry, missing, revoked};
use crate::fakes::jwt::{FakeJwtIssuer, SharedJwtIssuer};

struct Bed {
    issuer: Arc<FakeJwtIssuer>,
    svids: JwtSvids,
    bundle: Arc<TrustBundle>,
}

impl Bed {
    fn new(permits: usize) -> Self {
        let issuer = FakeJwtIssuer::new(permits);
        let bundle = Arc::new(issuer.authority.bundle(1));
        let shared = Arc::new(SharedJwtIssuer(Arc::clone(&issuer)));
        let svids = JwtSvids::new(shared, issuer.clock.clone(), WorkloadApiMetrics::default());
        Self { issuer, svids, bundle }
    }

    async fn get(&self, id: &str, audience: &str) -> Result<JwtSvid, CallFault> {
        self.svids.get(&of(id), &AudienceSet::parse(&[audience]).unwrap(), &self.bundle).await
    }

    fn pass(&self, seconds: u64) {
        self.issuer.clock.advance(Duration::from_secs(seconds));
    }
}

fn of(id: &str) -> Arc<Entry> {
    Arc::new(entry(id, &["unix:uid:1"], 1, ""))
}

#[tokio::test]
async fn a_token_is_kept_to_half_life_for_its_identity_and_its_audiences() {
    let bed = Bed::new(100);
    let first = bed.get("a", "mail").await.unwrap();
    assert_eq!(first.id().path(), "/a");
    bed.pass(149);
    assert_eq!(bed.get("a", "mail").await.unwrap(), first);
    assert_eq!(bed.issuer.calls(), 1);
    assert_ne!(bed.get("a", "db").await.unwrap().audiences(), first.audiences(), "other audiences are another token");
    assert_eq!(bed.get("b", "mail").await.unwrap().id().path(), "/b", "and so is another identity");
    assert_eq!(bed.issuer.calls(), 3);
    bed.pass(1);
    assert_ne!(bed.get("a", "mail").await.unwrap(), first, "at half life there is a new one");
    let both = ["mail", "db"].map(|text| pki::Audience::parse(text).unwrap());
    let sets = [AudienceSet::new(both.clone()).unwrap(), AudienceSet::new(both.into_iter().rev()).unwrap()];
    let before = bed.issuer.calls();
    for set in &sets {
        assert!(bed.svids.get(&of("a"), set, &bed.bundle).await.is_ok());
    }
    assert_eq!(bed.issuer.calls(), before + 1, "the order of the audiences makes no difference");
}

#[tokio::test]
async fn a_token_from_a_time_that_has_not_come_is_given_to_nobody() {
    use runtime::clock::Clock;

    let bed = Bed::new(100);
    let first = bed.get("a", "mail").await.unwrap();
    let now = bed.issuer.clock.now();
    bed.issuer.clock.set_wall(now - pki::JWT_CLOCK_SKEW);
    assert_eq!(bed.get("a", "mail").await.unwrap(), first, "as far as a validator would take it");
    bed.issuer.clock.set_wall(now - Duration::from_secs(48 * 3600));
    assert_ne!(bed.get("a", "mail").await.unwrap(), first, "nobody can tell by this clock when it ends");
}

#[tokio::test(start_paused = true)]
async fn while_the_ca_is_away_a_token_serves_to_its_end_and_not_beyond() {
    let bed = Bed::new(100);
    let first = bed.get("a", "mail").await.unwrap();
    bed.issuer.away();
    assert!(matches!(bed.get("a", "db").await, Err(CallFault::Unavailable(_))), "what was never had is not made up");
    bed.pass(299);
    assert_eq!(bed.get("a", "mail").await.unwrap(), first);
    bed.pass(1);
    assert!(matches!(bed.get("a", "mail").await, Err(CallFault::Unavailable(_))), "it has ended");
    bed.issuer.sound();
    assert_ne!(bed.get("a", "mail").await.unwrap(), first);
}

#[tokio::test(start_paused = true)]
async fn a_ca_that_does_not_answer_costs_little_while_a_token_is_at_hand() {
    let bed = Bed::new(1);
    let first = bed.get("a", "mail").await.unwrap();
    bed.pass(200);
    let answered = tokio::time::timeout(PATIENCE * 2, bed.get("a", "mail")).await.expect("before the call's own deadline");
    assert_eq!(answered.unwrap(), first);
}

#[tokio::test]
async fn a_ca_that_refuses_is_not_overruled_by_what_is_kept() {
    let bed = Bed::new(100);
    assert!(bed.get("a", "mail").await.is_ok());
    bed.pass(200);
    bed.issuer.refuses();
    assert!(matches!(bed.get("a", "mail").await, Err(CallFault::Refused { .. })));
}

#[tokio::test]
async fn many_callers_of_one_token_are_one_call_and_a_call_that_nobody_waits_for_is_none() {
    let bed = Bed::new(0);
    let audiences = AudienceSet::parse(&["mail"]).unwrap();
    let waiting: Vec<_> = (0..50).map(|_| Box::pin(bed.get("a", "mail"))).collect();
    let all = futures_util::future::join_all(waiting);
    let (got, ()) = tokio::join!(all, async {
        tokio::task::yield_now().await;
        assert_eq!(bed.issuer.calls(), 1);
        bed.issuer.permits.add_permits(1);
    });
    assert!(got.iter().all(|svid| svid.as_ref().is_ok_and(|svid| *svid.audiences() == audiences)));
    assert_eq!(bed.issuer.calls(), 1);

    assert!(bed.get("b", "mail").now_or_never().is_none(), "its one caller goes away");
    bed.issuer.permits.add_permits(1);
    assert!(bed.get("b", "mail").await.is_ok(), "the next one does not wait for a call that nobody makes");
    assert_eq!(bed.issuer.calls(), 3);
}

#[tokio::test]
async fn one_identity_can_neither_ask_without_end_nor_push_out_the_tokens_of_others() {
    let bed = Bed::new(0);
    let names: Vec<_> = (0..MAX_CALLS_PER_ENTRY).map(|n| format!("a{n}")).collect();
    let mut calls: Vec<_> = names.iter().map(|name| Box::pin(bed.get("a", name))).collect();
    for call in &mut calls {
        assert!(call.now_or_never().is_none());
    }
    assert!(matches!(bed.get("a", "one more").await, Err(CallFault::Unavailable(text)) if text.contains("too many")));
    assert!(bed.get("b", "mail").now_or_never().is_none(), "another identity is asked for all the same");
    drop(calls);

    bed.issuer.permits.add_permits(1000);
    let others = bed.get("b", "mail").await.unwrap();
    for n in 0..2 * held::MAX_PER_ENTRY {
        assert!(bed.get("a", &format!("flood-{n}")).await.is_ok());
    }
    assert_eq!(bed.svids.held(), held::MAX_PER_ENTRY + 1);
    assert_eq!(bed.get("b", "mail").await.unwrap(), others);
}

#[tokio::test]
async fn a_token_goes_with_its_key_and_with_its_identity() {
    let mut bed = Bed::new(100);
    let first = bed.get("a", "mail").await.unwrap();
    bed.bundle = Arc::new(bed.issuer.authority.bundle(2));
    assert_eq!(bed.get("a", "mail").await.unwrap(), first, "the same authorities under another number");
    let other = FakeAuthority::new(bed.issuer.clock.now().into());
    bed.bundle = Arc::new(other.bundle(3));
    bed.issuer.away();
    assert!(bed.get("a", "mail").await.is_err(), "its key is not in the bundle any more");

    let bed = Bed::new(100);
    assert!(bed.get("a", "mail").await.is_ok());
    bed.issuer.away();
    let renamed = Arc::new(Entry { spiffe_id: bed.issuer.authority.id("/other"), ..Entry::clone(&of("a")) });
    let audiences = AudienceSet::parse(&["mail"]).unwrap();
    assert!(bed.svids.get(&renamed, &audiences, &bed.bundle).await.is_err(), "the entry names somebody else now");
}

#[tokio::test]
async fn a_token_under_a_tainted_key_is_given_to_nobody_any_more() {
    let mut bed = Bed::new(100);
    let first = bed.get("a", "mail").await.unwrap();
    let of =
        |tainted: &[pki::Sha256Digest], sequence| Arc::new(FakeAuthority::bundle_of(&[&bed.issuer.authority], tainted, sequence));
    let (others, own) = (of(&[bed.issuer.authority.root_key()], 2), of(&[bed.issuer.authority.token_key()], 3));
    bed.bundle = others;
    assert_eq!(bed.get("a", "mail").await.unwrap(), first, "the key of certificates signs no tokens");
    bed.bundle = own;
    let second = bed.get("a", "mail").await.unwrap();
    assert_eq!(bed.issuer.calls(), 2);
    bed.issuer.away();
    assert!(bed.get("a", "mail").await.is_err(), "nor while the CA is away");
    assert!(second.rests_on(bed.bundle.tainted_keys(), &bed.bundle), "this CA signs with it still");
}

#[tokio::test]
async fn the_tokens_of_a_revoked_identity_are_dropped_and_no_others() {
    let bed = Bed::new(100);
    for (id, audience) in [("a", "mail"), ("a", "db"), ("b", "mail")] {
        bed.get(id, audience).await.unwrap();
    }
    let (trigger, shutdown) = runtime::shutdown::channel();
    let (held, changes) = watch::channel(Arc::new(Held::default()));
    let following = bed.svids.clone().follow(changes, shutdown);
    let play = async {
        let publish = |knowledge, identities| held.send_replace(Arc::new(Held { knowledge, identities, ..Held::default() }));
        let entry = |id: &str| entry(id, &["unix:uid:1"], 1, "");
        publish(EntryKnowledge::None, Vec::new());
        tokio::task::yield_now().await;
        assert_eq!(bed.svids.held(), 3, "entries that are not known take nothing away");
        publish(EntryKnowledge::Synced, vec![revoked(entry("a")), missing(entry("b"), None)]);
        while bed.svids.held() != 1 {
            tokio::task::yield_now().await;
        }
        let calls = bed.issuer.calls();
        bed.get("b", "mail").await.unwrap();
        assert_eq!(bed.issuer.calls(), calls, "the other one is kept");
        trigger.fire();
    };
    let (ended, ()) = tokio::join!(following, play);
    ended.unwrap();
}
