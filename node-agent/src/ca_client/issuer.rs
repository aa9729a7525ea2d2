//! Batches of CSRs to the CA, over whichever connection is live.

use futures_util::future::BoxFuture;
use proto::v1;
use tokio::sync::{mpsc, watch};
use tonic::transport::Channel;

use super::fault::{CallFault, RefusalReason, call};
use crate::identities::{IssueAnswer, IssueItem, SvidIssuer};

/// The largest answer taken, in bytes: 500 chains of up to 32 KiB.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The CA as an issuer.
pub(crate) struct CaIssuer {
    channel: watch::Receiver<Option<Channel>>,
    /// Where a refusal that concerns the node itself is told.
    refusals: mpsc::Sender<CallFault>,
}

impl CaIssuer {
    pub(crate) fn new(channel: watch::Receiver<Option<Channel>>, refusals: mpsc::Sender<CallFault>) -> Self {
        Self { channel, refusals }
    }
}

impl SvidIssuer for CaIssuer {
    fn issue(&self, batch: Vec<IssueItem>) -> BoxFuture<'static, Result<Vec<IssueAnswer>, CallFault>> {
        let channel = self.channel.borrow().clone();
        let refusals = self.refusals.clone();
        Box::pin(async move {
            let Some(channel) = channel else {
                return Err(CallFault::Unavailable("no connection to the CA".to_owned()));
            };
            let answer = issue_on(channel, batch).await;
            if let Err(fault) = &answer
                && matches!(
                    fault.refusal(),
                    Some(RefusalReason::MustReattest | RefusalReason::Banned | RefusalReason::NotAnAgent)
                )
                && refusals.try_send(fault.clone()).is_err()
            {
                // Full or closed: the node has been told, or is ending.
                tracing::debug!("the refusal was already reported");
            }
            answer
        })
    }
}

async fn issue_on(channel: Channel, batch: Vec<IssueItem>) -> Result<Vec<IssueAnswer>, CallFault> {
    let items = batch
        .into_iter()
        .map(|IssueItem { entry_id, csr }| v1::batch_issue_request::Item { entry_id: entry_id.to_string(), csr })
        .collect();
    let mut client = v1::node_client::NodeClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
    let v1::BatchIssueResponse { items } = call(client.batch_issue(v1::BatchIssueRequest { items })).await?;
    Ok(items.into_iter().map(read_item).collect())
}

fn read_item(item: v1::batch_issue_response::Item) -> IssueAnswer {
    use v1::batch_issue_response::item::Outcome;
    match item.outcome {
        Some(Outcome::Svid(svid)) => Ok(svid),
        Some(Outcome::Error(v1::IssueError { code: _, reason, message })) => {
            Err(CallFault::Refused { reason: RefusalReason::from_text(&reason), reason_text: reason, message })
        }
        None => Err(CallFault::Answer("an item has no outcome".to_owned())),
    }
}
