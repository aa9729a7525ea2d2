//! SDS requests of a peer that may say anything, decoded as they come from the wire: it gets what it asked for and is entitled to,
//! verified at that moment; a rejection never loses the last good content; and the newest state arrives at last.

mod peer;
mod states;

use std::sync::Arc;

use arbitrary::{Result, Unstructured};
use sds::SecretState;

use peer::{Peer, Reply};
use states::STATES;

/// Most events of one input.
const MAX_EVENTS: usize = 64;

pub(crate) fn run(data: &[u8]) {
    let mut plan = Unstructured::new(data);
    let mut peer = Peer::new();
    for _ in 0..MAX_EVENTS {
        if plan.is_empty() || event(&mut peer, &mut plan).is_err() {
            break;
        }
    }
    peer.settles(&STATES.settled);
    peer.keeps_the_last_good(&STATES.after);
}

fn event(peer: &mut Peer, plan: &mut Unstructured<'_>) -> Result<()> {
    let (what, which) = (plan.arbitrary::<u8>()?, plan.arbitrary::<u8>()?);
    match what % 12 {
        0 => peer.open(which.is_multiple_of(2)),
        1 => peer.close(which),
        2 | 3 => {
            let (names, reply) = (plan.arbitrary::<u8>()?, Reply::of(plan.arbitrary::<u8>()?));
            peer.asks(which, names, reply);
        }
        4 => {
            let length = plan.len().min(plan.arbitrary::<u8>()?.into());
            peer.says(which, plan.bytes(length.min(plan.len()))?);
        }
        5 | 6 => peer.given(pick(which)),
        7 => peer.waits(plan.arbitrary::<u16>()?),
        8 => peer.fetches(which),
        _ => peer.takes(which),
    }
    Ok(())
}

fn pick(which: u8) -> &'static Arc<SecretState> {
    STATES.any.get(usize::from(which) % STATES.any.len()).unwrap_or(&STATES.settled)
}
