//! The hub of the sync streams: which nodes are connected, what woke them, and what they acknowledged.
//!
//! The hub queues nothing. A stream that is woken looks at the store and sends what differs from what it sent before, so a
//! slow agent gets the newest state and costs no memory. One stream per node: a newer one ends the older.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use identity::NodeName;
use pki::Timestamp;
use runtime::clock::Clock;
use runtime::shutdown::Shutdown;
use tokio::sync::{broadcast, watch};

use crate::rpc::admin_sources::{Fleet, NodeConnection, NodeProgress, Progress};
use crate::store::Change;

/// Most updates that an agent may leave unacknowledged; further changes wait and are sent as one.
pub(crate) const MAX_UNACKNOWLEDGED: usize = 16;

/// What a stream learns of the world between two messages. Both count up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wake {
    /// Something about this node changed (entries, standing): look again.
    pub(crate) changes: u64,
    /// Another stream of this node took over: end.
    pub(crate) replaced: bool,
}

struct Stream {
    id: u64,
    wake: watch::Sender<Wake>,
    /// Sequence and time since boot of each update that was sent and not acknowledged, oldest first.
    unacknowledged: VecDeque<(u64, Duration)>,
    /// The bundle sequence that the agent acknowledged last; 0 before the first.
    bundle_sequence: u64,
    /// What it said last of its node; `None` before the first word, or when it says none.
    progress: Option<NodeProgress>,
    /// When the first of the entries ends that the agent was told of.
    entry_ends_at: Option<Timestamp>,
}

#[derive(Default)]
struct State {
    streams: BTreeMap<NodeName, Stream>,
    next_id: u64,
}

/// The hub. One for the process.
pub(crate) struct SyncHub {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
    /// Whether agents are better served by another replica.
    cut_off: watch::Sender<bool>,
}

impl SyncHub {
    /// Nobody is connected.
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { clock, state: Mutex::default(), cut_off: watch::Sender::new(false) })
    }

    /// Registers the stream of a node and ends an older one.
    pub(crate) fn open(self: &Arc<Self>, node: NodeName) -> OpenStream {
        let (wake, woken) = watch::channel(Wake { changes: 0, replaced: false });
        let mut state = self.state();
        state.next_id += 1;
        let id = state.next_id;
        let stream =
            Stream { id, wake, unacknowledged: VecDeque::new(), bundle_sequence: 0, progress: None, entry_ends_at: None };
        if let Some(older) = state.streams.insert(node.clone(), stream) {
            older.wake.send_modify(|wake| wake.replaced = true);
        }
        drop(state);
        OpenStream { hub: Arc::clone(self), node, id, woken, sequence: 0 }
    }

    /// Wakes the streams that a change concerns, until the end. To be subscribed before the first stream opens.
    pub(crate) async fn run(self: Arc<Self>, mut changes: broadcast::Receiver<Change>, shutdown: Shutdown) {
        loop {
            let change = tokio::select! {
                // Either order is fine: a change that comes with the end would wake streams that end anyway.
                () = shutdown.fired() => return,
                change = changes.recv() => change,
            };
            match change {
                Ok(Change::Entries(nodes)) => nodes.iter().for_each(|node| self.wake(node)),
                Ok(Change::Node(node)) => self.wake(&node),
                // Which entries have the identity, or are of its cluster, is for each stream to see.
                Ok(Change::Revocations | Change::EntriesOfClusters | Change::Unknown) => self.wake_all(),
                // What comes of it is pushed as a bundle.
                Ok(Change::Authorities) => {}
                // Streams watch the bundles themselves.
                Ok(Change::Federations) => {}
                Err(broadcast::error::RecvError::Lagged(missed)) => {
                    tracing::warn!(missed, "changes came faster than they were passed on: every sync stream looks again");
                    self.wake_all();
                }
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }

    /// Says whether this replica is cut off from the store while others may not be: streams end then, and none begins. None of them asks the
    /// store whether it should, which might not even say no.
    pub(crate) fn set_cut_off(&self, is_so: bool) {
        self.cut_off.send_if_modified(|cut_off| std::mem::replace(cut_off, is_so) != is_so);
    }

    /// Resolves when this replica is cut off (cancel safe).
    pub(crate) async fn until_cut_off(&self) {
        // The sender lives in the hub, which lives longer than this borrow.
        drop(self.cut_off.subscribe().wait_for(|cut_off| *cut_off).await);
    }

    /// How many streams are open.
    pub(crate) fn connected(&self) -> usize {
        self.state().streams.len()
    }

    /// Age of the oldest update that a connected agent has not acknowledged; zero when all have.
    pub(crate) fn lag(&self) -> Duration {
        let now = self.clock.boottime();
        let state = self.state();
        let oldest = state.streams.values().filter_map(|stream| stream.unacknowledged.front()).map(|(_, sent)| *sent).min();
        oldest.map_or(Duration::ZERO, |oldest| now.saturating_sub(oldest))
    }

    /// Wakes the streams whose agents were told of an entry that has ended by now. To be called by the clock.
    pub(crate) fn wake_for_ends(&self, now: Timestamp) {
        for stream in self.state().streams.values_mut() {
            if stream.entry_ends_at.is_some_and(|end| now >= end) {
                // The stream looks at the store and says when it is next.
                stream.entry_ends_at = None;
                stream.wake.send_modify(|wake| wake.changes += 1);
            }
        }
    }

    fn wake(&self, node: &NodeName) {
        if let Some(stream) = self.state().streams.get(node) {
            stream.wake.send_modify(|wake| wake.changes += 1);
        }
    }

    /// Wakes every stream: what each agent may hold is judged anew.
    pub(crate) fn wake_all(&self) {
        for stream in self.state().streams.values() {
            stream.wake.send_modify(|wake| wake.changes += 1);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Fleet for SyncHub {
    fn connection(&self, node: &NodeName) -> Option<NodeConnection> {
        self.state()
            .streams
            .get(node)
            .map(|stream| NodeConnection { bundle_sequence: stream.bundle_sequence, progress: stream.progress })
    }
}

/// Why an acknowledgement is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AckError {
    /// It names an update that this stream has not sent.
    #[error("acknowledged update {acknowledged}, but this stream has sent {sent} so far")]
    NotSent { acknowledged: u64, sent: u64 },
}

/// A node's place in the hub; the drop gives it up.
pub(crate) struct OpenStream {
    hub: Arc<SyncHub>,
    node: NodeName,
    id: u64,
    woken: watch::Receiver<Wake>,
    sequence: u64,
}

impl OpenStream {
    /// Resolves when there may be news (cancel safe).
    pub(crate) async fn woken(&mut self) {
        // The sender lives in the hub until this stream is replaced (which was sent first) or dropped.
        if self.woken.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// What is known now; later changes resolve [`Self::woken`] again. To be called before the store is read.
    pub(crate) fn seen(&mut self) -> Wake {
        *self.woken.borrow_and_update()
    }

    /// The sequence of the next update, counted as sent now; `None` while too many wait for their acknowledgement.
    pub(crate) fn next_sequence(&mut self) -> Option<u64> {
        let now = self.hub.clock.boottime();
        let mut state = self.hub.state();
        let next = self.sequence + 1;
        match state.streams.get_mut(&self.node) {
            Some(stream) if stream.id == self.id => {
                if stream.unacknowledged.len() >= MAX_UNACKNOWLEDGED {
                    return None;
                }
                stream.unacknowledged.push_back((next, now));
            }
            // Replaced: this stream is about to end and counts for nothing.
            Some(_) | None => {}
        }
        drop(state);
        self.sequence = next;
        Some(next)
    }

    /// When the first of the entries ends that are in force for this agent; `None`: none of them does.
    pub(crate) fn entry_ends_at(&self, end: Option<Timestamp>) {
        if let Some(stream) = self.hub.state().streams.get_mut(&self.node).filter(|stream| stream.id == self.id) {
            stream.entry_ends_at = end;
        }
    }

    /// Takes an acknowledgement of everything up to `sequence`, with the bundle sequence in use.
    ///
    /// # Errors
    /// [`AckError`] when it names what was never sent.
    pub(crate) fn acknowledge(&self, sequence: u64, bundle_sequence: u64) -> Result<(), AckError> {
        if sequence > self.sequence {
            return Err(AckError::NotSent { acknowledged: sequence, sent: self.sequence });
        }
        let mut state = self.hub.state();
        let Some(stream) = state.streams.get_mut(&self.node).filter(|stream| stream.id == self.id) else { return Ok(()) };
        while stream.unacknowledged.front().is_some_and(|(sent, _)| *sent <= sequence) {
            stream.unacknowledged.pop_front();
        }
        stream.bundle_sequence = bundle_sequence;
        Ok(())
    }

    /// Takes the agent's word of how far its node is, at `now`.
    pub(crate) fn progress(&self, told: Progress, now: Timestamp) {
        if let Some(stream) = self.hub.state().streams.get_mut(&self.node).filter(|stream| stream.id == self.id) {
            let settled = told.files > 0 && told.files_behind == 0;
            // A word that changes nothing about the files does not begin their hold anew.
            let before = stream.progress.filter(|before| before.told.bundle_sequence == told.bundle_sequence);
            let written_at = before.and_then(|before| before.files_written_at).unwrap_or(now);
            stream.progress = Some(NodeProgress { told, files_written_at: settled.then_some(written_at) });
        }
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        if state.streams.get(&self.node).is_some_and(|stream| stream.id == self.id) {
            state.streams.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::clock::TestClock;
    use std::time::SystemTime;
    use tokio::task::JoinSet;

    fn hub() -> (Arc<SyncHub>, Arc<TestClock>) {
        let clock = TestClock::at(SystemTime::UNIX_EPOCH);
        (SyncHub::new(clock.clone()), clock)
    }

    fn bundle_of(hub: &SyncHub, name: &str) -> Option<u64> {
        hub.connection(&node(name)).map(|connection| connection.bundle_sequence)
    }

    fn node(name: &str) -> NodeName {
        NodeName::parse(name).unwrap()
    }

    #[test]
    fn a_newer_stream_of_a_node_ends_the_older_one_only() {
        let (hub, _) = hub();
        let (mut older, mut other) = (hub.open(node("n1")), hub.open(node("n2")));
        let mut newer = hub.open(node("n1"));
        assert!(older.seen().replaced && !newer.seen().replaced && !other.seen().replaced);
        drop(older);
        assert!(hub.connection(&node("n1")).is_some(), "the older one's end must not unregister the newer one");
        drop(newer);
        assert!(hub.connection(&node("n1")).is_none() && hub.connection(&node("n2")).is_some());
    }

    #[test]
    fn lag_is_the_age_of_the_oldest_update_without_acknowledgement() {
        let (hub, clock) = hub();
        let mut stream = hub.open(node("n1"));
        assert_eq!(hub.lag(), Duration::ZERO);
        assert_eq!(stream.next_sequence(), Some(1));
        clock.advance(Duration::from_secs(5));
        assert_eq!(stream.next_sequence(), Some(2));
        clock.advance(Duration::from_secs(2));
        assert_eq!(hub.lag(), Duration::from_secs(7));
        stream.acknowledge(1, 9).unwrap();
        assert_eq!(hub.lag(), Duration::from_secs(2));
        stream.acknowledge(2, 10).unwrap();
        assert_eq!((hub.lag(), bundle_of(&hub, "n1")), (Duration::ZERO, Some(10)));
        assert_eq!(stream.acknowledge(3, 11), Err(AckError::NotSent { acknowledged: 3, sent: 2 }));
        assert_eq!(bundle_of(&hub, "n1"), Some(10));
    }

    #[test]
    fn an_agent_that_never_acknowledges_is_sent_no_more() {
        let (hub, _) = hub();
        let mut stream = hub.open(node("n1"));
        for sequence in 1..=16 {
            assert_eq!(stream.next_sequence(), Some(sequence));
        }
        assert_eq!(stream.next_sequence(), None);
        stream.acknowledge(1, 1).unwrap();
        assert_eq!(stream.next_sequence(), Some(17));
    }

    #[test]
    fn an_entry_that_ends_wakes_its_own_stream_once() {
        let (hub, _) = hub();
        let at = Timestamp::from_unix_seconds;
        let (mut one, mut two) = (hub.open(node("n1")), hub.open(node("n2")));
        one.entry_ends_at(Some(at(10)));
        two.entry_ends_at(Some(at(20)));
        hub.wake_for_ends(at(9));
        assert_eq!((one.seen().changes, two.seen().changes), (0, 0));
        hub.wake_for_ends(at(10));
        hub.wake_for_ends(at(11));
        assert_eq!((one.seen().changes, two.seen().changes), (1, 0));
        one.entry_ends_at(Some(at(12)));
        hub.wake_for_ends(at(25));
        assert_eq!((one.seen().changes, two.seen().changes), (2, 1));
    }

    #[tokio::test]
    async fn who_waits_for_the_cut_hears_of_one_that_is_and_of_one_that_comes() {
        let (hub, _) = hub();
        let mut waiting = JoinSet::new();
        let wait = |waiting: &mut JoinSet<()>| {
            let hub = Arc::clone(&hub);
            waiting.spawn(async move { hub.until_cut_off().await });
        };
        wait(&mut waiting);
        tokio::task::yield_now().await;
        assert!(waiting.try_join_next().is_none());
        hub.set_cut_off(true);
        waiting.join_next().await.unwrap().unwrap();
        hub.until_cut_off().await;
        hub.set_cut_off(false);
        wait(&mut waiting);
        tokio::task::yield_now().await;
        assert!(waiting.try_join_next().is_none(), "it serves again");
    }

    #[tokio::test]
    async fn changes_wake_the_streams_that_they_concern() {
        let (hub, _) = hub();
        let (sender, changes) = broadcast::channel(4);
        let (trigger, shutdown) = runtime::shutdown::channel();
        let (mut one, mut two) = (hub.open(node("n1")), hub.open(node("n2")));
        let run = Arc::clone(&hub).run(changes, shutdown);
        let script = async {
            sender.send(Change::Entries(Arc::from([node("n1")]))).unwrap();
            one.woken().await;
            assert_eq!((one.seen().changes, two.seen().changes), (1, 0));
            sender.send(Change::Node(node("n1"))).unwrap();
            one.woken().await;
            assert_eq!((one.seen().changes, two.seen().changes), (2, 0));
            sender.send(Change::Node(node("n2"))).unwrap();
            two.woken().await;
            trigger.fire();
        };
        tokio::join!(run, script);
    }
}
