use std::time::SystemTime;

use pki::{KeyAlgorithm, PrivateKey};
use runtime::clock::TestClock;
use rusqlite::Connection;

use super::*;
use crate::records::{JoinToken, TokenRecord};
use crate::replicas::Tenure;
use crate::store::{AuditLog, AuditReader, SqliteStore, TokenStore};

const START: u64 = 1_800_000_000;
const SCHEDULE: CheckpointSchedule = CheckpointSchedule { events: 3, interval: Duration::from_secs(60) };

struct Fixture {
    directory: tempfile::TempDir,
    store: Arc<SqliteStore>,
    clock: Arc<TestClock>,
    desk: Arc<CheckpointDesk>,
    began: Duration,
}

fn key() -> CheckpointKey {
    CheckpointKey::new(PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap()).unwrap()
}

/// The same key, since one cannot be had twice from the desk that owns it.
fn pair() -> (CheckpointKey, CheckpointKey) {
    let made = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    let again = PrivateKey::from_pkcs8_der(made.pkcs8_der()).unwrap();
    (CheckpointKey::new(made).unwrap(), CheckpointKey::new(again).unwrap())
}

async fn desk(store: &Arc<SqliteStore>, clock: &Arc<TestClock>, key: CheckpointKey) -> Arc<CheckpointDesk> {
    desk_of("example.org", store, clock, key).await
}

async fn desk_of(
    trust_domain: &str,
    store: &Arc<SqliteStore>,
    clock: &Arc<TestClock>,
    key: CheckpointKey,
) -> Arc<CheckpointDesk> {
    let parts = CheckpointParts {
        tenure: Tenure::fixed("ca-1"),
        trust_domain: trust_domain.parse().unwrap(),
        key,
        schedule: SCHEDULE,
        store: Arc::<SqliteStore>::clone(store),
        clock: Arc::<TestClock>::clone(clock),
        metrics: CheckpointMetrics::default(),
    };
    CheckpointDesk::open(parts).await.unwrap()
}

impl Fixture {
    async fn with(key: CheckpointKey) -> Self {
        Self::of("example.org", key).await
    }

    async fn of(trust_domain: &str, key: CheckpointKey) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteStore::open(&directory.path().join("store.db")).unwrap());
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(START));
        let desk = desk_of(trust_domain, &store, &clock, key).await;
        let began = clock.boottime();
        Self { directory, store, clock, desk, began }
    }

    async fn event(&self, number: u8) {
        let token = JoinToken::from_random([number; 16]);
        let now = Timestamp::from_unix_seconds(START);
        let node = NodeName::parse("n1").unwrap();
        let record = TokenRecord { hash: token.hash(), node, expires_at: now.plus(Duration::from_secs(60)) };
        self.store.create_token(record, Actor::System, now).await.unwrap();
    }

    async fn make(&self, made_at: Option<u64>) -> Result<bool, MakingError> {
        // Times since the fixture was made.
        let now = self.clock.boottime().saturating_sub(self.began);
        self.desk.make_if_due(made_at.map(Duration::from_secs), now).await
    }

    fn tamper(&self, sql: &str) {
        Connection::open(self.directory.path().join("store.db")).unwrap().execute_batch(sql).unwrap();
    }

    fn newest(&self) -> SignedCheckpoint {
        SignedCheckpoint::clone(self.desk.newest().borrow().as_ref().unwrap())
    }

    async fn judge(&self, shown: &SignedCheckpoint) -> Kept {
        self.desk.judge(&NodeName::parse("n7").unwrap(), Some(Ok(shown.clone()))).await
    }
}

#[tokio::test]
async fn each_checkpoint_continues_the_one_before_and_is_stored_before_it_is_told() {
    let fixture = Fixture::with(key()).await;
    assert!(!fixture.make(None).await.unwrap(), "there is nothing to sign for");
    fixture.event(1).await;
    assert!(fixture.make(None).await.unwrap());
    let first = fixture.newest();
    assert_eq!((first.checkpoint().sequence, first.checkpoint().previous), (1, NO_CHECKPOINT));
    assert_eq!(first.checkpoint().time, Timestamp::from_unix_seconds(START));
    fixture.event(2).await;
    assert!(!fixture.make(Some(0)).await.unwrap(), "neither events nor time enough");
    fixture.clock.advance(Duration::from_secs(60));
    assert!(fixture.make(Some(0)).await.unwrap());
    let second = fixture.newest();
    assert_eq!((second.checkpoint().sequence, second.checkpoint().previous), (2, *first.digest()));
    let stored = fixture.store.last_checkpoint().await.unwrap().unwrap();
    assert_eq!(stored.content, Ok(second.clone()));
    // A restart takes up where the store is.
    let again = desk(&fixture.store, &fixture.clock, key()).await;
    assert_eq!(again.newest().borrow().as_deref(), Some(&second));
    assert_eq!(fixture.desk.warnings(), Vec::<String>::new());
}

#[tokio::test]
async fn a_chain_that_does_not_continue_what_was_signed_for_is_not_signed_for_again() {
    for tampering in [
        "UPDATE audit SET body = '{}' WHERE sequence = 4",
        "DELETE FROM audit WHERE sequence = 4",
        "DELETE FROM audit WHERE sequence > 2; UPDATE audit_head SET sequence = 2, hash = (SELECT hash FROM audit WHERE sequence = 2)",
        "UPDATE audit_head SET hash = zeroblob(32)",
    ] {
        let fixture = Fixture::with(key()).await;
        for number in 1..=3 {
            fixture.event(number).await;
        }
        assert!(fixture.make(None).await.unwrap());
        for number in 4..=6 {
            fixture.event(number).await;
        }
        fixture.tamper(tampering);
        let fault = fixture.make(None).await.unwrap_err();
        assert!(matches!(fault, MakingError::Chain(ContinuationError::Chain(_))), "{tampering}: {fault}");
        fixture.desk.fault(fault);
        assert!(fixture.desk.warnings()[0].contains("the audit chain is broken"), "{tampering}: {:?}", fixture.desk.warnings());
        assert_eq!(fixture.newest().checkpoint().sequence, 3, "{tampering}");
    }
}

#[tokio::test]
async fn a_newest_checkpoint_that_does_not_count_is_told_and_not_continued() {
    let fixture = Fixture::with(key()).await;
    fixture.event(1).await;
    assert!(fixture.make(None).await.unwrap());
    fixture.tamper("UPDATE audit_checkpoints SET time = time + 1");
    let again = desk(&fixture.store, &fixture.clock, key()).await;
    fixture.event(2).await;
    assert!(!again.make_if_due(None, Duration::ZERO).await.unwrap());
    assert!(again.warnings()[0].contains("over event 1, does not count"), "{:?}", again.warnings());
}

/// The store is that of a backup: what an agent shows was signed for by this key and is not there.
#[tokio::test]
async fn a_checkpoint_of_another_history_stops_checkpoints_until_an_operator_has_looked_into_it() {
    let (ours, theirs) = pair();
    let other = Fixture::with(theirs).await;
    for number in 1..=2 {
        other.event(number).await;
    }
    assert!(other.make(None).await.unwrap());
    let fork = other.newest();

    let fixture = Fixture::with(ours).await;
    fixture.event(9).await;
    assert!(fixture.make(None).await.unwrap());
    let known = fixture.newest();
    assert_eq!(fixture.judge(&known).await, Kept::Ours { sequence: 1, digest: *known.digest() });
    assert_eq!(fixture.desk.judge(&NodeName::parse("n1").unwrap(), None).await, Kept::Nothing);
    assert_eq!(fixture.desk.warnings(), Vec::<String>::new());

    for _ in 0..2 {
        assert_eq!(fixture.judge(&fork).await, Kept::Foreign);
        let [warning] = fixture.desk.warnings().try_into().unwrap();
        assert!(warning.contains("the agent of n7") && warning.contains("acknowledge-fork"), "{warning}");
    }
    let events = fixture.store.audit_after(0, 100).await.unwrap();
    let found: Vec<_> = events.iter().filter(|event| event.kind == "audit_fork_found").collect();
    assert_eq!(found.len(), 1, "once for each checkpoint");
    assert!(found[0].body.contains("\"node\":\"n7\"") && found[0].body.contains("\"sequence\":2"), "{}", found[0].body);
    fixture.event(10).await;
    assert!(!fixture.make(None).await.unwrap(), "no checkpoint takes the place of the evidence");
    let restarted = desk(&fixture.store, &fixture.clock, key()).await;
    assert!(!restarted.make_if_due(None, Duration::ZERO).await.unwrap(), "not after a restart either");

    let operator = Actor::Operator { uid: 7 };
    let now = Timestamp::from_unix_seconds(START);
    assert_eq!(fixture.desk.acknowledge(operator.clone(), now).await, Ok(1));
    assert!(matches!(fixture.desk.acknowledge(operator, now).await, Err(StoreError::NotFound { .. })));
    assert_eq!(fixture.desk.warnings(), Vec::<String>::new());
    assert!(fixture.make(None).await.unwrap());
    // The agent shows it again at each stream; that is known now.
    assert_eq!(fixture.judge(&fork).await, Kept::Foreign);
    assert_eq!((fixture.desk.warnings().len(), fixture.store.forks().await.unwrap().open.len()), (0, 0));
}

#[tokio::test]
async fn a_checkpoint_that_is_not_ours_is_told_and_stops_nothing() {
    let other = Fixture::with(key()).await;
    other.event(1).await;
    assert!(other.make(None).await.unwrap());
    let fixture = Fixture::with(key()).await;
    fixture.event(1).await;
    assert_eq!(fixture.judge(&other.newest()).await, Kept::Foreign);
    let [warning] = fixture.desk.warnings().try_into().unwrap();
    assert!(warning.contains("under the key"), "{warning}");
    let nonsense = fixture.desk.judge(&NodeName::parse("n8").unwrap(), Some(Err("its signature does not hold".to_owned()))).await;
    assert_eq!(nonsense, Kept::Foreign);
    let [warning] = fixture.desk.warnings().try_into().unwrap();
    assert!(warning.contains("n8") && warning.contains("does not count"), "{warning}");
    assert!(fixture.make(None).await.unwrap(), "whoever may speak as an agent must not stop checkpoints");
    assert!(fixture.store.forks().await.unwrap().open.is_empty());
    // Under this very key, and of another trust domain.
    let (ours, theirs) = pair();
    let (fixture, other) = (Fixture::with(ours).await, Fixture::of("other.org", theirs).await);
    other.event(1).await;
    assert!(other.make(None).await.unwrap());
    assert_eq!(fixture.judge(&other.newest()).await, Kept::Foreign);
    assert!(fixture.store.forks().await.unwrap().open.is_empty(), "it says nothing of this chain");
}
