//! One stream: follows the state of its caller, sends each change, ends when there is nothing to have any more.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::sync::watch;
use tokio::time::Sleep;
use tonic::Status;

use super::content::{Content, Found};
use super::metrics::{Call, WorkloadApiMetrics};
use super::open_streams::OpenStream;
use super::standing;
use crate::progress::Taken;
use crate::secrets::CallerState;
use crate::workload::Caller;

/// How long a caller that is entitled waits for what is being fetched, before it is told that it is not there.
const PATIENCE: Duration = Duration::from_secs(5);

/// A stream of messages, as tonic sends it.
pub(super) type Messages<M> = Pin<Box<dyn Stream<Item = Result<M, Status>> + Send>>;

/// One open stream and what it sent last.
struct Following<C> {
    states: watch::Receiver<Arc<CallerState>>,
    caller: Caller,
    sent: Option<C>,
    /// The state whose message was handed out, or that needed none.
    taken: Arc<Taken<CallerState>>,
    /// Runs while the caller waits.
    patience: Option<Pin<Box<Sleep>>>,
    call: Call,
    metrics: WorkloadApiMetrics,
    /// Its place among the open streams.
    _open: OpenStream,
}

/// What to do about a state.
enum Step<C> {
    Send(C),
    End(Status),
    /// Nothing new; with a status, nothing at all, which is told when the caller has waited long enough.
    Wait(Option<Status>),
    /// Some of what comes is there, and is sent when the caller has waited long enough.
    WaitForRest(C),
}

/// Follows the state of a caller from now on.
pub(super) fn follow<C: Content>(
    states: watch::Receiver<Arc<CallerState>>,
    caller: Caller,
    call: Call,
    metrics: WorkloadApiMetrics,
    open: OpenStream,
) -> Messages<C::Message> {
    let taken = open.follow(&states);
    let following = Following::<C> { states, caller, sent: None, taken, patience: None, call, metrics, _open: open };
    Box::pin(stream::unfold(Some(following), |following| async {
        let mut following = following?;
        let next = following.next().await;
        following.metrics.answered(following.call, next.as_ref().err());
        // A refusal ends the stream.
        let rest = next.is_ok().then_some(following);
        Some((next, rest))
    }))
}

impl<C: Content> Following<C> {
    async fn next(&mut self) -> Result<C::Message, Status> {
        loop {
            let state = Arc::clone(&self.states.borrow_and_update());
            let (late, part) = match self.step(&state) {
                Step::Send(content) => return Ok(self.send(&state, content)),
                Step::End(status) => return Err(status),
                Step::Wait(None) => {
                    self.patience = None;
                    self.taken.take(&state);
                    (None, None)
                }
                Step::Wait(Some(status)) => (Some(status), None),
                Step::WaitForRest(content) => (None, Some(content)),
            };
            let waits = late.is_some() || part.is_some();
            if waits && self.patience.is_none() {
                self.patience = Some(Box::pin(tokio::time::sleep(PATIENCE)));
            }
            let over = async {
                match &mut self.patience {
                    Some(patience) if waits => patience.await,
                    Some(_) | None => std::future::pending().await,
                }
            };
            tokio::select! {
                // A change that has come is looked at before the wait is declared over.
                biased;
                changed = self.states.changed() => changed.map_err(|_| ended())?,
                () = over => match (part, late) {
                    (Some(content), _) => return Ok(self.send(&state, content)),
                    (None, Some(status)) => return Err(status),
                    (None, None) => {}
                },
            }
        }
    }

    fn step(&self, state: &CallerState) -> Step<C> {
        let entitled = match standing::entitlements(state, &self.caller) {
            Ok(entitled) => entitled,
            Err(status) => return Step::End(status),
        };
        match (C::of(state, entitled), &self.sent) {
            (Found::Missing(status), _) => Step::Wait(Some(status)),
            (Found::Whole(content) | Found::Part(content), Some(sent)) if content.same(sent) => Step::Wait(None),
            (Found::Whole(content), _) | (Found::Part(content), Some(_)) => Step::Send(content),
            (Found::Part(content), None) => Step::WaitForRest(content),
        }
    }

    fn send(&mut self, state: &Arc<CallerState>, content: C) -> C::Message {
        self.patience = None;
        self.taken.take(state);
        let message = content.message();
        self.sent = Some(content);
        message
    }
}

/// The sender is dropped when the process has ended, or with the agent.
fn ended() -> Status {
    Status::unavailable("the process that called has ended, or the agent stops; connect again")
}

#[cfg(test)]
mod tests;
