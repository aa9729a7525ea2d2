//! Batches of CSRs and requests for JWT-SVIDs to the CA, over whichever connection is live.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use pki::{AudienceSet, JwtSvid};
use proto::v1;
use runtime::clock::Clock;
use tokio::sync::{mpsc, watch};
use tonic::Code;
use tonic::transport::Channel;

use super::fault::{CallFault, LONGEST_PAUSE, RefusalReason, call};
use super::view::NodeView;
use super::wire;
use crate::entry::{Entry, EntryId, ServiceAccount};
use crate::identities::{IssueAnswer, IssueItem, SvidIssuer};

/// The largest answer taken, in bytes: 500 chains of up to 32 KiB.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// The largest answer with a token taken, in bytes: the longest token that is read, and two times.
const MAX_TOKEN_ANSWER_BYTES: usize = pki::MAX_TOKEN_BYTES + 1024;

/// Where JWT-SVIDs come from.
pub(crate) trait JwtIssuer: Send + Sync + 'static {
    /// A JWT-SVID of an entry of this node for exactly these audiences, checked whole under the bundle of now. Not cached: each
    /// call asks the CA, which records it.
    fn issue_jwt(&self, entry: Arc<Entry>, audiences: AudienceSet) -> BoxFuture<'static, Result<JwtSvid, CallFault>>;
}

/// The CA as an issuer.
#[derive(Clone)]
pub(crate) struct CaIssuer {
    pub(super) channel: watch::Receiver<Option<Channel>>,
    /// Where a refusal that concerns the node itself is told.
    pub(super) refusals: mpsc::Sender<CallFault>,
    /// Whether the CA has other addresses: one that cannot serve now is left for another.
    pub(super) has_others: bool,
    /// Whom an entry names, and what answers are checked under.
    pub(super) view: watch::Receiver<Arc<NodeView>>,
    pub(super) clock: Arc<dyn Clock>,
}

impl SvidIssuer for CaIssuer {
    fn issue(&self, batch: Vec<IssueItem>) -> BoxFuture<'static, Result<Vec<IssueAnswer>, CallFault>> {
        let (channel, refusals, has_others) = (self.channel.borrow().clone(), self.refusals.clone(), self.has_others);
        Box::pin(async move {
            let answer = issue_on(live(channel)?, batch).await;
            let fault = match &answer {
                Err(fault) => Some(fault),
                // As when its store is cut off: it answers, and for no identity.
                Ok(items) => items.first().and_then(|item| item.as_ref().err()).filter(|_| items.iter().all(Result::is_err)),
            };
            if let Some(fault) = fault {
                report(fault, has_others, &refusals);
            }
            answer
        })
    }
}

impl JwtIssuer for CaIssuer {
    fn issue_jwt(&self, entry: Arc<Entry>, audiences: AudienceSet) -> BoxFuture<'static, Result<JwtSvid, CallFault>> {
        let Self { channel, refusals, has_others, view, clock } = self.clone();
        Box::pin(async move {
            // Those of the rule are the node's own, and the CA judges them.
            let known = if entry.account.is_some() { Some(entry.clone()) } else { view.borrow().entries.get(&entry.id).cloned() };
            let Some(known) = known else {
                let message = format!("this node has no entry {} any more", entry.id);
                return Err(CallFault::Refused { reason: RefusalReason::EntryNotFound, reason_text: String::new(), message });
            };
            let channel = live(channel.borrow().clone())?;
            let (entry_id, service_account) = asked_for(&known.id, known.account.clone());
            let audiences_asked = audiences.iter().map(ToString::to_string).collect();
            let request = v1::IssueJwtSvidRequest { entry_id, audiences: audiences_asked, service_account };
            let mut client = v1::node_client::NodeClient::new(channel).max_decoding_message_size(MAX_TOKEN_ANSWER_BYTES);
            let answer = call(client.issue_jwt_svid(request)).await.inspect_err(|fault| report(fault, has_others, &refusals))?;
            // The bundle of now: a key that was new to the CA when it signed may have come meanwhile.
            let bundle = view.borrow().bundle.clone();
            let bundle = bundle.ok_or_else(|| CallFault::Answer("no trust bundle is held to check it against".to_owned()))?;
            wire::jwt_svid(answer, &known.spiffe_id, &audiences, &bundle, clock.now().into())
                .map_err(|fault| CallFault::Answer(fault.to_string()))
        })
    }
}

/// What the CA is asked for: the entry that it has, or the service account.
fn asked_for(entry: &EntryId, account: Option<ServiceAccount>) -> (String, Option<v1::ServiceAccount>) {
    match account {
        Some(ServiceAccount { namespace, name }) => (String::new(), Some(v1::ServiceAccount { namespace, name })),
        None => (entry.to_string(), None),
    }
}

fn live(channel: Option<Channel>) -> Result<Channel, CallFault> {
    channel.ok_or_else(|| CallFault::Unavailable("no connection to the CA".to_owned()))
}

/// A refusal of the node itself is for the task that keeps its standing, and so is a replica that cannot serve while others might.
fn report(fault: &CallFault, has_others: bool, refusals: &mpsc::Sender<CallFault>) {
    let is_of_the_node =
        matches!(fault.refusal(), Some(RefusalReason::MustReattest | RefusalReason::Banned | RefusalReason::NotAnAgent));
    let is_away = has_others && matches!(fault, CallFault::Unavailable(_) | CallFault::Deadline(_));
    if (is_of_the_node || is_away) && refusals.try_send(fault.clone()).is_err() {
        // Full or closed: the node has been told, or is ending.
        tracing::debug!("the refusal was already reported");
    }
}

async fn issue_on(channel: Channel, batch: Vec<IssueItem>) -> Result<Vec<IssueAnswer>, CallFault> {
    let items = batch
        .into_iter()
        .map(|IssueItem { entry_id, account, csr, held: _ }| {
            let (entry_id, service_account) = asked_for(&entry_id, account);
            v1::batch_issue_request::Item { entry_id, csr, service_account }
        })
        .collect();
    let mut client = v1::node_client::NodeClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    let v1::BatchIssueResponse { items } = call(client.batch_issue(v1::BatchIssueRequest { items })).await?;
    Ok(items.into_iter().map(read_item).collect())
}

fn read_item(item: v1::batch_issue_response::Item) -> IssueAnswer {
    use v1::batch_issue_response::item::Outcome;
    match item.outcome {
        Some(Outcome::Svid(svid)) => Ok(svid),
        Some(Outcome::Error(v1::IssueError { code, reason, message, retry_after })) => {
            Err(match (Code::from_i32(code), retry_after.and_then(|after| Duration::try_from(after).ok())) {
                // Not a word about this identity: the CA had no room for it.
                (Code::Unavailable, Some(after)) if !after.is_zero() => {
                    CallFault::Busy { message, after: after.min(LONGEST_PAUSE) }
                }
                (Code::Unavailable, _) => CallFault::Unavailable(message),
                _ => CallFault::Refused { reason: RefusalReason::from_text(&reason), reason_text: reason, message },
            })
        }
        None => Err(CallFault::Answer("an item has no outcome".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_that_found_no_room_is_asked_for_again_when_the_ca_says() {
        let read = |code: Code, seconds: Option<i64>| {
            let retry_after = seconds.map(|seconds| prost_types::Duration { seconds, nanos: 0 });
            let error = v1::IssueError { code: code.into(), reason: "OVERLOADED".into(), message: "full".into(), retry_after };
            let outcome = Some(v1::batch_issue_response::item::Outcome::Error(error));
            read_item(v1::batch_issue_response::Item { outcome }).unwrap_err()
        };
        assert_eq!(read(Code::Unavailable, Some(7)).pause(), Some(Duration::from_secs(7)));
        assert_eq!(read(Code::Unavailable, Some(86_400)).pause(), Some(LONGEST_PAUSE));
        for odd in [None, Some(0), Some(-7)] {
            assert!(matches!(read(Code::Unavailable, odd), CallFault::Unavailable(_)), "{odd:?}");
        }
        assert_eq!(read(Code::NotFound, Some(7)).refusal(), Some(RefusalReason::Other), "a refusal stays one");
    }
}
