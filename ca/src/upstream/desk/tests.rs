use std::collections::VecDeque;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use runtime::clock::TestClock;
use tokio::sync::oneshot;

use super::*;
use crate::upstream::{UpstreamAnswer, UpstreamError, UpstreamRoots};

/// One whose answers come when the test says so, whichever was asked for first.
struct Slow(Mutex<VecDeque<oneshot::Receiver<UpstreamRoots>>>);

impl UpstreamAuthority for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn sign_issuer(&self, _: IssuerRequest) -> BoxFuture<'_, Result<UpstreamAnswer, UpstreamError>> {
        Box::pin(async { Err(UpstreamError::Refused("not here".to_owned())) })
    }

    fn roots(&self) -> BoxFuture<'_, Result<Option<UpstreamRoots>, UpstreamError>> {
        let answer = self.0.lock().unwrap().pop_front().unwrap();
        Box::pin(async { answer.await.map(Some).map_err(|_| UpstreamError::Unreachable("nobody there".to_owned())) })
    }
}

#[tokio::test]
async fn an_answer_that_comes_late_undoes_none_that_was_asked_for_later() {
    let now = Timestamp::from_unix_seconds(1_795_172_400);
    let (first, second, third) = (oneshot::channel(), oneshot::channel(), oneshot::channel());
    let desk = UpstreamDesk::new(DeskParts {
        authority: Box::new(Slow(Mutex::new([first.1, second.1, third.1].into()))),
        kind: UpstreamKind::Signet,
        trust_domain: TrustDomain::parse("example.org").unwrap(),
        profile: LeafProfile::new(Duration::from_secs(60), Duration::from_secs(60)).unwrap(),
        ttl: Duration::from_secs(600),
        interval: Duration::from_secs(1),
        clock: Arc::new(IssuanceClock::new(TestClock::at(now.into()), now)),
        metrics: UpstreamMetrics::default(),
    });
    let answer = |signing: u8| UpstreamRoots { roots: Vec::new(), signing: Some([signing; 32]) };
    let mut early = Box::pin(desk.look());
    assert!(early.as_mut().now_or_never().is_none(), "it was asked");
    second.0.send(answer(2)).unwrap();
    desk.look().await;
    assert_eq!(desk.seen().signing, Some([2; 32]));
    first.0.send(answer(1)).unwrap();
    early.await;
    assert_eq!(desk.seen().signing, Some([2; 32]), "what was asked for first is the older");
    drop(third.0);
    desk.look().await;
    assert_eq!((desk.seen().signing, desk.seen().fault.is_some()), (Some([2; 32]), true));
}
