//! The audit log as a stream: page by page from the store, then each new event as it is committed.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use proto::v1;
use runtime::shutdown::Shutdown;
use tokio::sync::watch;
use tonic::Status;

use crate::audit::AuditRecord;
use crate::rpc::admin_status::AdminError;
use crate::rpc::wire;
use crate::store::{Store, StoreError};

/// Events read from the store at once: what one stream holds in memory.
const PAGE: u32 = 256;

/// Where a tail ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Until {
    /// With the last event that there was when it began.
    Now,
    /// When the reader goes away or the CA stops.
    Stopped,
}

struct Tail {
    store: Arc<dyn Store>,
    head: watch::Receiver<u64>,
    shutdown: Shutdown,
    /// The last sequence to send; none: no end.
    end: Option<u64>,
    /// The last sequence sent.
    last: u64,
    page: VecDeque<AuditRecord>,
    failed: bool,
}

/// The last `lines` events, and those that come after, as `until` says.
pub(crate) fn tail(
    store: Arc<dyn Store>,
    shutdown: Shutdown,
    lines: u32,
    until: Until,
) -> BoxStream<'static, Result<v1::AuditEvent, Status>> {
    let head = store.audit_head();
    let newest = *head.borrow();
    let end = match until {
        Until::Now => Some(newest),
        Until::Stopped => None,
    };
    let last = newest.saturating_sub(lines.into());
    let tail = Tail { store, head, shutdown, end, last, page: VecDeque::new(), failed: false };
    unfold(tail, async |mut tail| {
        let event = tail.next().await?;
        Some((event.map(wire::audit_event).map_err(|error| AdminError::Store(error).into()), tail))
    })
    .boxed()
}

impl Tail {
    /// The next event; none at the end, also after an error.
    async fn next(&mut self) -> Option<Result<AuditRecord, StoreError>> {
        while !self.failed {
            if self.page.is_empty() {
                // Marked as seen before reading: an event that comes in between wakes the wait below.
                self.head.borrow_and_update();
                match self.store.audit_after(self.last, PAGE).await {
                    Ok(page) => self.page = page.into(),
                    Err(error) => {
                        self.failed = true;
                        return Some(Err(error));
                    }
                }
            }
            match (self.page.pop_front(), self.end) {
                (Some(event), Some(end)) if event.sequence > end => return None,
                (Some(event), _) => {
                    self.last = event.sequence;
                    return Some(Ok(event));
                }
                (None, Some(_)) => return None,
                // Either may come first: a stop that loses is seen at the next event.
                (None, None) => tokio::select! {
                    changed = self.head.changed() => changed.ok()?,
                    () = self.shutdown.fired() => return None,
                },
            }
        }
        None
    }
}
