//! The hash chain: each event's hash covers the hash before it, so that no event changes without all later ones changing.
//!
//! The hash of an event is SHA-256 over the parts below, each preceded by its length in bytes as 64 bits big-endian, so that no
//! two different events share an input: a label, the hash of the event before, the sequence (64 bits big-endian), the time (Unix
//! seconds, 64 bits big-endian), the kind, the body.

use pki::{Sha256Digest, Sha256Hasher, Timestamp};

/// What stands for "the event before" at the first event.
pub const GENESIS: Sha256Digest = [0; 32];

const LABEL: &[u8] = b"signet audit event v1";

/// How far from its place a moved event is looked for, so that a forged head cannot make the search endless.
const SEARCH_SPAN: u64 = 100_000;

/// One event as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRecord {
    /// Counts up by one, from 1.
    pub sequence: u64,
    /// When it happened, by the CA's clock.
    pub time: Timestamp,
    /// Lower snake case, such as `certificate_intended`.
    pub kind: String,
    /// The event as canonical JSON: keys sorted, no spaces.
    pub body: String,
    /// The hash of the event before, or [`GENESIS`].
    pub previous: Sha256Digest,
    /// The hash of this event.
    pub hash: Sha256Digest,
}

/// The end of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainHead {
    /// The sequence of the last event; 0 when there is none.
    pub sequence: u64,
    /// The hash of the last event; [`GENESIS`] when there is none.
    pub hash: Sha256Digest,
}

impl ChainHead {
    /// The head of a chain without events.
    pub const EMPTY: Self = Self { sequence: 0, hash: GENESIS };

    /// The event that comes after this head.
    #[must_use]
    pub fn next(&self, time: Timestamp, kind: String, body: String) -> AuditRecord {
        let sequence = self.sequence.saturating_add(1);
        let hash = link(&self.hash, sequence, time, &kind, &body);
        AuditRecord { sequence, time, kind, body, previous: self.hash, hash }
    }
}

impl AuditRecord {
    /// The head of a chain that ends with this event.
    #[must_use]
    pub fn head(&self) -> ChainHead {
        ChainHead { sequence: self.sequence, hash: self.hash }
    }

    /// Whether the hash of this event is right for what it says, as the event of that sequence.
    fn is_whole_at(&self, sequence: u64) -> bool {
        self.hash == link(&self.previous, sequence, self.time, &self.kind, &self.body)
    }
}

/// What is wrong with a chain, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainFault {
    /// Events are missing between two others.
    #[error("event {expected} is missing: event {found} follows event {}", .expected.saturating_sub(1))]
    Gap {
        /// The sequence that should have come.
        expected: u64,
        /// The sequence that came.
        found: u64,
    },
    /// What the event says is not what was hashed.
    #[error("event {sequence} was edited: its hash does not fit what it says")]
    Edited {
        /// Which event.
        sequence: u64,
    },
    /// The event was written at another place: events changed places, or one was put in or taken out and those after it renumbered.
    #[error(
        "the events were reordered: what stands as event {sequence} was written as event {origin}; events changed places, or one was \
         put in or taken out before it"
    )]
    Moved {
        /// Where it stands.
        sequence: u64,
        /// Where it was written.
        origin: u64,
    },
    /// The event is whole but continues another chain.
    #[error("event {sequence} does not continue the event before it: one of the two was replaced")]
    Unlinked {
        /// Which event.
        sequence: u64,
    },
    /// The end of the log is missing.
    #[error("the log ends before event {first_missing}, but the recorded head is event {head}: the tail was cut off")]
    Cut {
        /// The first event that is missing.
        first_missing: u64,
        /// The last event that the store remembers having written.
        head: u64,
    },
    /// There are events after the recorded head.
    #[error("event {sequence} lies beyond the recorded head, event {head}: it was put in, or the head was set back")]
    BeyondHead {
        /// The first event beyond.
        sequence: u64,
        /// The recorded head.
        head: u64,
    },
    /// The last event is not the one that the head names.
    #[error("the last event, {sequence}, is not the one whose hash the recorded head holds")]
    HeadDiffers {
        /// The last event.
        sequence: u64,
    },
}

impl ChainFault {
    /// Lower snake case, such as `event_edited`. Stable: searched for by people and programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Gap { .. } => "event_removed",
            Self::Edited { .. } => "event_edited",
            Self::Moved { .. } => "event_moved",
            Self::Unlinked { .. } => "event_replaced",
            Self::Cut { .. } => "tail_cut",
            Self::BeyondHead { .. } => "event_beyond_head",
            Self::HeadDiffers { .. } => "head_differs",
        }
    }

    /// The position of the fault.
    #[must_use]
    pub fn sequence(&self) -> u64 {
        match *self {
            Self::Gap { expected: sequence, .. }
            | Self::Cut { first_missing: sequence, .. }
            | Self::Edited { sequence }
            | Self::Moved { sequence, .. }
            | Self::Unlinked { sequence }
            | Self::BeyondHead { sequence, .. }
            | Self::HeadDiffers { sequence } => sequence,
        }
    }
}

/// A walk along a chain, event by event, that stops at the first fault.
#[derive(Debug)]
pub struct ChainWalk {
    recorded_head: ChainHead,
    at: ChainHead,
}

impl ChainWalk {
    /// Starts before the first event of a chain whose end should be `recorded_head`.
    #[must_use]
    pub fn new(recorded_head: ChainHead) -> Self {
        Self::after(ChainHead::EMPTY, recorded_head)
    }

    /// Starts after an event that is known to be right, such as one that a checkpoint names.
    #[must_use]
    pub fn after(at: ChainHead, recorded_head: ChainHead) -> Self {
        Self { recorded_head, at }
    }

    /// Checks the next event, in the order in which the log holds them.
    ///
    /// # Errors
    /// [`ChainFault`] when the event does not continue the chain; the walk has ended then.
    pub fn step(&mut self, event: &AuditRecord) -> Result<(), ChainFault> {
        let expected = self.at.sequence.saturating_add(1);
        let sequence = event.sequence;
        if sequence != expected {
            return Err(ChainFault::Gap { expected, found: sequence });
        }
        if !event.is_whole_at(sequence) {
            return Err(match self.origin(event) {
                Some(origin) => ChainFault::Moved { sequence, origin },
                None => ChainFault::Edited { sequence },
            });
        }
        if event.previous != self.at.hash {
            return Err(ChainFault::Unlinked { sequence });
        }
        if sequence > self.recorded_head.sequence {
            return Err(ChainFault::BeyondHead { sequence, head: self.recorded_head.sequence });
        }
        self.at = event.head();
        Ok(())
    }

    /// Ends the walk after the last event.
    ///
    /// # Errors
    /// [`ChainFault`] when the log ends elsewhere than at the recorded head.
    pub fn finish(self) -> Result<(), ChainFault> {
        if self.at.sequence < self.recorded_head.sequence {
            let first_missing = self.at.sequence.saturating_add(1);
            return Err(ChainFault::Cut { first_missing, head: self.recorded_head.sequence });
        }
        if self.at.hash != self.recorded_head.hash {
            return Err(ChainFault::HeadDiffers { sequence: self.at.sequence });
        }
        Ok(())
    }

    /// The sequence under which an event that does not fit its place would be whole.
    fn origin(&self, event: &AuditRecord) -> Option<u64> {
        let nearest = event.sequence.saturating_sub(SEARCH_SPAN).max(1);
        let farthest = event.sequence.saturating_add(SEARCH_SPAN).min(self.recorded_head.sequence);
        (nearest..=farthest).find(|&sequence| event.is_whole_at(sequence))
    }
}

fn link(previous: &Sha256Digest, sequence: u64, time: Timestamp, kind: &str, body: &str) -> Sha256Digest {
    let mut hasher = Sha256Hasher::new();
    let parts: [&[u8]; 6] =
        [LABEL, previous, &sequence.to_be_bytes(), &time.unix_seconds().to_be_bytes(), kind.as_bytes(), body.as_bytes()];
    for part in parts {
        let length = u64::try_from(part.len()).expect("no buffer is longer than 64 bits can say");
        hasher.update(&length.to_be_bytes());
        hasher.update(part);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
