//! What an agent says of its node on a sync stream. What will matter when it is gone is kept in the store: once for each agent and sequence.

use std::sync::Arc;

use identity::NodeName;
use pki::Timestamp;
use proto::v1;

use crate::rpc::admin_sources::Progress;
use crate::store::{Settled, Store};
use crate::sync::{AckError, OpenStream};

/// What was heard on one stream.
pub(crate) struct Heard {
    store: Arc<dyn Store>,
    node: NodeName,
    /// The highest sequences that the store keeps of what was said here; 0: none yet.
    acknowledged: u64,
    settled: u64,
    /// The agent said that it uses a bundle which was not sent; told once.
    told_of_another: bool,
}

impl Heard {
    /// Nothing so far.
    pub(crate) fn new(store: Arc<dyn Store>, node: NodeName) -> Self {
        Self { store, node, acknowledged: 0, settled: 0, told_of_another: false }
    }

    /// Takes an acknowledgement; `sent` is the sequence of the newest bundle that the agent was sent.
    ///
    /// # Errors
    /// [`AckError`].
    pub(crate) async fn acknowledge(&mut self, open: &OpenStream, ack: v1::sync_request::Ack, sent: u64) -> Result<(), AckError> {
        let v1::sync_request::Ack { sequence, bundle_sequence } = ack;
        // An agent that keeps a bundle of another history has not taken ours, however high the number of its own is.
        let in_use = if bundle_sequence > sent { 0 } else { bundle_sequence };
        open.acknowledge(sequence, in_use)?;
        if in_use != bundle_sequence && !self.told_of_another {
            self.told_of_another = true;
            tracing::warn!(node = %self.node, sent, bundle_sequence, "an agent uses a bundle that this CA has not sent: was its store put back?");
        }
        if in_use > self.acknowledged {
            match self.store.acknowledge_bundle(self.node.clone(), in_use).await {
                Ok(()) => self.acknowledged = in_use,
                Err(error) => self.not_kept(&error),
            }
        }
        Ok(())
    }

    /// Takes a word of progress, at `now`.
    pub(crate) async fn progress(&mut self, open: &OpenStream, told: Progress, sent: u64, now: Timestamp) {
        open.progress(told, now);
        let Progress { bundle_sequence, streams_behind, streams: _, files_behind, files: _, svids_tainted } = told;
        let is_settled = (streams_behind, files_behind, svids_tainted) == (0, 0, 0) && bundle_sequence <= sent;
        if is_settled && bundle_sequence > self.settled {
            let settled = Settled { sequence: bundle_sequence, at: now };
            match self.store.settle_bundle(self.node.clone(), settled).await {
                Ok(()) => self.settled = bundle_sequence,
                Err(error) => self.not_kept(&error),
            }
        }
    }

    /// The stream goes on, and its next word is the next try: until then an absent node counts as further behind than it is.
    fn not_kept(&self, error: &crate::store::StoreError) {
        tracing::warn!(node = %self.node, %error, "what an agent acknowledged is not kept");
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use runtime::clock::TestClock;

    use super::*;
    use crate::records::TokenRecord;
    use crate::rpc::admin_sources::Fleet;
    use crate::store::{Actor, AuthorityStore, SqliteStore, TokenStore};
    use crate::sync::SyncHub;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_unix_seconds(1_700_000_000 + seconds)
    }

    fn ack(sequence: u64, bundle_sequence: u64) -> v1::sync_request::Ack {
        v1::sync_request::Ack { sequence, bundle_sequence }
    }

    struct Fixture {
        store: Arc<SqliteStore>,
        hub: Arc<SyncHub>,
        node: NodeName,
        _directory: tempfile::TempDir,
    }

    impl Fixture {
        /// With a node `n1` on record.
        async fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let store = Arc::new(SqliteStore::open(&directory.path().join("store.db")).unwrap());
            let node = NodeName::parse("n1").unwrap();
            let token = TokenRecord { hash: [1; 32], node: node.clone(), expires_at: at(60) };
            store.create_token(token, Actor::System, at(0)).await.unwrap();
            store.redeem_token([1; 32], vec![1; 91], at(0)).await.unwrap();
            Self { store, hub: SyncHub::new(TestClock::at(SystemTime::UNIX_EPOCH)), node, _directory: directory }
        }

        fn open(&self) -> (OpenStream, Heard) {
            let store: Arc<dyn Store> = Arc::<SqliteStore>::clone(&self.store);
            (self.hub.open(self.node.clone()), Heard::new(store, self.node.clone()))
        }

        async fn kept(&self) -> (Option<u64>, Option<Settled>) {
            let acknowledged = self.store.acknowledged().await.unwrap().get(&self.node).copied();
            (acknowledged, self.store.settled().await.unwrap().get(&self.node).copied())
        }

        fn in_use(&self) -> u64 {
            self.hub.connection(&self.node).unwrap().bundle_sequence
        }
    }

    #[tokio::test]
    async fn what_was_acknowledged_is_kept_when_it_rises_and_not_again() {
        let fixture = Fixture::new().await;
        let (mut open, mut heard) = fixture.open();
        assert_eq!((open.next_sequence(), open.next_sequence()), (Some(1), Some(2)));
        heard.acknowledge(&open, ack(1, 7), 7).await.unwrap();
        assert_eq!((fixture.kept().await, fixture.in_use()), ((Some(7), None), 7));
        // Whoever clears the row would see it written again.
        fixture.store.acknowledge_bundle(fixture.node.clone(), 9).await.unwrap();
        heard.acknowledge(&open, ack(2, 7), 7).await.unwrap();
        assert_eq!((fixture.kept().await.0, fixture.in_use()), (Some(9), 7));
        let error = heard.acknowledge(&open, ack(3, 8), 8).await.unwrap_err();
        assert_eq!(error, AckError::NotSent { acknowledged: 3, sent: 2 });
        assert_eq!((fixture.kept().await.0, fixture.in_use()), (Some(9), 7), "what was never sent is not kept");
    }

    #[tokio::test]
    async fn a_bundle_that_was_not_sent_is_none_of_ours() {
        let fixture = Fixture::new().await;
        let (mut open, mut heard) = fixture.open();
        assert_eq!(open.next_sequence(), Some(1));
        heard.acknowledge(&open, ack(1, u64::MAX), 7).await.unwrap();
        assert_eq!((fixture.kept().await, fixture.in_use()), ((None, None), 0));
        let told = |bundle_sequence| Progress {
            bundle_sequence,
            streams_behind: 0,
            streams: 1,
            files_behind: 0,
            files: 0,
            svids_tainted: 0,
        };
        heard.progress(&open, told(8), 7, at(1)).await;
        assert_eq!(fixture.kept().await, (None, None));
        heard.progress(&open, told(7), 7, at(1)).await;
        assert_eq!(fixture.kept().await, (Some(7), Some(Settled { sequence: 7, at: at(1) })));
    }

    #[tokio::test]
    async fn a_node_is_settled_when_nothing_of_it_is_behind() {
        let fixture = Fixture::new().await;
        let (mut open, mut heard) = fixture.open();
        assert_eq!(open.next_sequence(), Some(1));
        heard.acknowledge(&open, ack(1, 7), 7).await.unwrap();
        let all = Progress { bundle_sequence: 7, streams_behind: 0, streams: 3, files_behind: 0, files: 2, svids_tainted: 0 };
        let behind =
            [Progress { streams_behind: 1, ..all }, Progress { files_behind: 1, ..all }, Progress { svids_tainted: 1, ..all }];
        for told in behind {
            heard.progress(&open, told, 7, at(1)).await;
            assert_eq!(fixture.kept().await, (Some(7), None), "{told:?}");
        }
        heard.progress(&open, all, 7, at(2)).await;
        heard.progress(&open, all, 7, at(3)).await;
        assert_eq!(fixture.kept().await, (Some(7), Some(Settled { sequence: 7, at: at(2) })));
        // Another stream says it anew, which is no news to the store.
        drop((open, heard));
        let (open, mut heard) = fixture.open();
        heard.progress(&open, all, 7, at(9)).await;
        assert_eq!(fixture.kept().await, (Some(7), Some(Settled { sequence: 7, at: at(2) })));
    }
}
