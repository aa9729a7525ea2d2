//! Backups of a CA that runs, one at a time.

use std::sync::Arc;

use pki::{Passphrase, Timestamp};
use runtime::clock::Clock;
use runtime::entropy::Entropy;
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

use super::collect::{Hold, collect};
use super::error::BackupError;
use super::offline::{check_store, write_apart};
use crate::audit::{Action, Actor, AuditEvent, BackupAction};
use crate::config::CaConfig;
use crate::metrics::{BackupMetrics, BackupOutcome};
use crate::signing_keys::SigningKeys;
use crate::store::Store;

/// Sealed pieces that wait for whoever takes them: what a slow one makes the CA hold.
const WAITING: usize = 4;

/// What a backup of this CA is made of.
pub(crate) struct Backups {
    pub(crate) config: CaConfig,
    pub(crate) keys: SigningKeys,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) metrics: BackupMetrics,
    /// Held by the one that is under way.
    pub(crate) turn: Arc<Mutex<()>>,
}

/// The pieces of a backup file, in order; one that failed ends with the reason.
pub(crate) type PiecesOfBackup = mpsc::Receiver<Result<Vec<u8>, BackupError>>;

impl Backups {
    /// Begins a backup; `None` while another one is under way. It is on record before the first byte is out, and ends when nobody takes it.
    pub(crate) fn begin(
        self: &Arc<Self>,
        passphrase: Passphrase,
        actor: Actor,
    ) -> Option<(PiecesOfBackup, impl Future<Output = ()> + use<>)> {
        let turn = Arc::clone(&self.turn).try_lock_owned().ok()?;
        let (pieces, taken) = mpsc::channel(WAITING);
        let backups = Arc::clone(self);
        Some((taken, async move { backups.run(passphrase, actor, pieces, turn).await }))
    }

    async fn run(
        &self,
        passphrase: Passphrase,
        actor: Actor,
        pieces: mpsc::Sender<Result<Vec<u8>, BackupError>>,
        turn: OwnedMutexGuard<()>,
    ) {
        let mut ending = Ending { backups: self, outcome: BackupOutcome::Failed };
        match self.make(passphrase, actor, &pieces, Arc::new(turn)).await {
            Ok(()) => {
                tracing::info!("a backup was made");
                ending.outcome = BackupOutcome::Made;
            }
            Err(error) => {
                tracing::warn!(%error, "a backup was not made");
                // Whoever asked may be gone.
                pieces.send(Err(error)).await.ok();
            }
        }
    }

    async fn make(
        &self,
        passphrase: Passphrase,
        actor: Actor,
        pieces: &mpsc::Sender<Result<Vec<u8>, BackupError>>,
        hold: Hold,
    ) -> Result<(), BackupError> {
        check_store(&self.config)?;
        let now = Timestamp::from(self.clock.now());
        self.store.note(AuditEvent { actor, action: Action::Backup(BackupAction::Started) }, now).await?;
        let collected = collect(&self.config, &self.keys, true, &hold, now).await?;
        let pieces = pieces.clone();
        let send = move |bytes| {
            let _hold = &hold;
            pieces.blocking_send(Ok(bytes)).map_err(|_| BackupError::Gone)
        };
        write_apart(collected, passphrase, Arc::clone(&self.entropy), send).await
    }
}

/// Counts a backup when it is over, also one that nobody waited for.
struct Ending<'a> {
    backups: &'a Backups,
    outcome: BackupOutcome,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.backups.metrics.count(self.outcome, self.backups.clock.now().into());
    }
}
