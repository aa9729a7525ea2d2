//! Drives a verification over a store, page by page: no page is a long read, so a store that is written to meanwhile is not held up,
//! and memory does not grow with the log.

use pki::Sha256Digest;

use crate::audit::{AuditRecord, AuditVerdict, ChainFault, ChainHead, ChainWalk, ShownCheckpoint, Verification};
use crate::store::{AuditReader, StoreError};

/// Events, and checkpoints, of one page.
const PAGE: u32 = 1_000;

/// Verifies the whole log up to the head that it has now, and tells `progress` after each page how many events were walked and how
/// many there are.
///
/// # Errors
/// [`StoreError`] when the store cannot be read. What it says wrongly is a finding, not an error.
pub async fn verify(
    store: &(impl AuditReader + ?Sized),
    shown: Vec<ShownCheckpoint>,
    keys_named: Vec<Sha256Digest>,
    mut progress: impl FnMut(u64, u64) + Send,
) -> Result<AuditVerdict, StoreError> {
    // In this order: what is covered here was appended before the head was read, so it lies before that head.
    let last_checkpoint = store.last_checkpoint().await?.map_or(0, |checkpoint| checkpoint.sequence);
    let head = store.chain_head().await?;
    let mut verification = Verification::new(head, shown, keys_named);
    let (mut after, mut taken) = (0, 0);
    loop {
        let mut events = store.audit_after(after, PAGE).await?;
        events.retain(|event| event.sequence <= head.sequence);
        let Some(last) = events.last().map(|event| event.sequence) else { break };
        taken = page(store, &mut verification, &events, taken, last).await?;
        progress(verification.events(), head.sequence);
        after = last;
    }
    let beyond = beyond(store, head).await?;
    let last = beyond.last().map_or(after, |event| event.sequence).max(last_checkpoint);
    page(store, &mut verification, &beyond, taken, last).await?;
    Ok(verification.finish())
}

/// Feeds these events and the store's checkpoints up to `last`; says up to which those were taken.
async fn page(
    store: &(impl AuditReader + ?Sized),
    verification: &mut Verification,
    mut events: &[AuditRecord],
    mut taken: u64,
    last: u64,
) -> Result<u64, StoreError> {
    loop {
        let stored = store.checkpoints(taken, last, PAGE).await?;
        match stored.last() {
            // More than there can be over so few events: somebody put them in.
            Some(newest) if is_full(stored.len()) => {
                taken = newest.sequence;
                let (now, later) = events.split_at(events.partition_point(|event| event.sequence <= taken));
                verification.page(now, &stored);
                events = later;
            }
            Some(_) | None => {
                verification.page(events, &stored);
                return Ok(taken.max(last));
            }
        }
    }
}

/// Whether a page of this many rows may be followed by more.
fn is_full(rows: usize) -> bool {
    u32::try_from(rows).is_ok_and(|rows| rows >= PAGE)
}

/// The first event after the head, unless the head has moved on meanwhile: then it was appended in order.
async fn beyond(store: &(impl AuditReader + ?Sized), head: ChainHead) -> Result<Vec<AuditRecord>, StoreError> {
    let events = store.audit_after(head.sequence, 1).await?;
    let grown = store.chain_head().await?.sequence > head.sequence;
    Ok(if grown { Vec::new() } else { events })
}

/// Walks what came after `from`, an event that a checkpoint names, up to the head that the store has now; says that head.
///
/// # Errors
/// [`ContinuationError`] when it does not continue that event, or cannot be read.
pub(crate) async fn continuation(store: &(impl AuditReader + ?Sized), from: ChainHead) -> Result<ChainHead, ContinuationError> {
    let head = store.chain_head().await?;
    if head.sequence < from.sequence {
        return Err(ChainFault::Cut { first_missing: head.sequence.saturating_add(1), head: from.sequence }.into());
    }
    let mut walk = ChainWalk::after(from, head);
    let mut after = from.sequence;
    while after < head.sequence {
        let mut events = store.audit_after(after, PAGE).await?;
        events.retain(|event| event.sequence <= head.sequence);
        let Some(last) = events.last().map(|event| event.sequence) else { break };
        events.iter().try_for_each(|event| walk.step(event))?;
        after = last;
    }
    walk.finish()?;
    Ok(head)
}

/// Why a chain is not signed for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContinuationError {
    /// It does not hold.
    #[error(transparent)]
    Chain(#[from] ChainFault),
    /// It cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}
