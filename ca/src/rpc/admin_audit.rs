//! What the Admin service answers about the audit chain and the ledger, page by page.

use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use pki::{Sha256Digest, Timestamp};
use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit::ShownCheckpoint;
use crate::audit_walk;
use crate::rpc::admin_status::AdminError;
use crate::rpc::checkpoint_wire;
use crate::store::{OrphanCursor, OrphanKind, Store, StoreError};

/// Most checkpoints that are held against the chain at once: one of each node of a large fleet.
const MAX_SHOWN: usize = 10_000;
/// Most keys that an auditor may name.
const MAX_KEYS: usize = 64;

/// What is to be held against the chain.
///
/// # Errors
/// [`AdminError::Checkpoint`].
pub(crate) fn shown(request: v1::VerifyAuditRequest) -> Result<(Vec<ShownCheckpoint>, Vec<Sha256Digest>), AdminError> {
    let v1::VerifyAuditRequest { shown, keys } = request;
    let refused = |why: String| AdminError::Checkpoint(why);
    if shown.len() > MAX_SHOWN || keys.len() > MAX_KEYS {
        return Err(refused(format!("at most {MAX_SHOWN} checkpoints and {MAX_KEYS} keys are taken at once")));
    }
    let read = |v1::ShownCheckpoint { source, checkpoint }: v1::ShownCheckpoint| -> Result<_, AdminError> {
        let source: String = source.chars().take(256).collect();
        let checkpoint = checkpoint.ok_or_else(|| "it is empty".to_owned()).and_then(checkpoint_wire::signed);
        let checkpoint = checkpoint.map_err(|why| refused(format!("{source}: {why}")))?;
        Ok(ShownCheckpoint { source, checkpoint })
    };
    let key = |key: Vec<u8>| key.try_into().map_err(|_| refused("a key is named by the 32 bytes of its SHA-256".to_owned()));
    Ok((shown.into_iter().map(read).collect::<Result<_, _>>()?, keys.into_iter().map(key).collect::<Result<_, _>>()?))
}

/// The walk, with its progress; it ends when nobody listens any more.
pub(crate) fn verify(
    store: Arc<dyn Store>,
    shown: Vec<ShownCheckpoint>,
    keys: Vec<Sha256Digest>,
) -> BoxStream<'static, Result<v1::VerifyAuditResponse, Status>> {
    let (told, answers) = mpsc::channel(1);
    let walk = async move {
        let progress = |events, of| {
            // One that finds no room is overtaken by the next.
            drop(told.try_send(Ok(v1::VerifyAuditResponse { events, of, verdict: None })));
        };
        let verdict = audit_walk::verify(&*store, shown, keys, progress).await;
        if let Ok(verdict) = &verdict {
            for finding in &verdict.findings {
                tracing::error!(kind = finding.kind(), sequence = finding.sequence(), %finding, "the audit log does not hold");
            }
        }
        verdict
            .map(|verdict| v1::VerifyAuditResponse {
                events: verdict.events,
                of: verdict.head.sequence,
                verdict: Some(verdict.into()),
            })
            .map_err(|error| AdminError::Store(error).into())
    };
    // The walk is driven by whoever reads: one who goes away ends it. `Receiver` yields progress while the walk runs.
    let walk = futures_util::stream::once(walk);
    futures_util::stream::select(ReceiverStream::new(answers), walk).boxed()
}

struct Listing {
    store: Arc<dyn Store>,
    now: Timestamp,
    /// What is left to list, the kind under way last.
    kinds: Vec<OrphanKind>,
    since: Timestamp,
    next: OrphanCursor,
}

/// Orphans of these kinds, one kind after the other.
pub(crate) fn orphans(
    store: Arc<dyn Store>,
    request: v1::ListOrphansRequest,
    now: Timestamp,
) -> BoxStream<'static, Result<v1::ListOrphansResponse, Status>> {
    let v1::ListOrphansRequest { since, jwt } = request;
    let since = checkpoint_wire::seconds(since).unwrap_or_else(|| Timestamp::from_unix_seconds(0));
    let kinds = if jwt { vec![OrphanKind::Jwt, OrphanKind::X509] } else { vec![OrphanKind::X509] };
    let listing = Listing { store, now, kinds, since, next: OrphanCursor::since(since) };
    unfold(listing, async |mut listing| {
        let page = listing.page().await?;
        Some((page.map_err(|error| AdminError::Store(error).into()), listing))
    })
    .boxed()
}

impl Listing {
    /// The next page; none at the end, also after an error.
    async fn page(&mut self) -> Option<Result<v1::ListOrphansResponse, StoreError>> {
        let kind = *self.kinds.last()?;
        match self.store.orphans(kind, self.next).await {
            Ok(page) => {
                match page.next {
                    Some(next) => self.next = next,
                    None => {
                        self.kinds.pop();
                        self.next = OrphanCursor::since(self.since);
                    }
                }
                let orphans = page.orphans.into_iter().map(|orphan| orphan.into_message(self.now)).collect();
                Some(Ok(v1::ListOrphansResponse { orphans }))
            }
            Err(error) => {
                self.kinds.clear();
                Some(Err(error))
            }
        }
    }
}
