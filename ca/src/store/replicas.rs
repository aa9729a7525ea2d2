//! The replicas that share a store, and the leases by which one of them leads: what a fenced write must hold.

use std::fmt;

use futures_util::future::BoxFuture;
use identity::ReplicaName;
use pki::{ReplicaByte, Sha256Digest, Timestamp};

use super::StoreError;
use crate::audit::Actor;
use crate::authority::lifecycle::AuthorityName;
use crate::issuance::{Intent, LedgerError};

/// A right that one process has at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseName {
    /// To be the replica of this name.
    Replica(ReplicaName),
    /// To lead the rotations of what all replicas share.
    Lead,
}

impl fmt::Display for LeaseName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replica(name) => write!(f, "replica {name}"),
            Self::Lead => f.write_str("lead"),
        }
    }
}

/// Who has a lease, and how it was when it was read. While it is held its beat grows: one whose epoch and beat stay the same for long is held
/// by nobody that lives. No clocks of two hosts are ever compared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The replica that has it, or had it last.
    pub replica: ReplicaName,
    /// Which process, as told apart by its state directory; `None` after it was given up.
    pub instance: Option<Sha256Digest>,
    /// Grows with each process that takes it.
    pub epoch: u64,
    /// Grows while it is held.
    pub beat: u64,
}

/// What a process holds: each write of a rotation names it, and is refused once another process has taken it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The replica that this process is.
    pub replica: ReplicaName,
    /// The epoch in which it is that.
    pub epoch: u64,
    /// The epoch in which it leads, if it does.
    pub lead: Option<u64>,
}

/// How a replica presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Its name.
    pub replica: ReplicaName,
    /// The first byte of the serials that it makes: no two replicas have the same.
    pub serial_byte: ReplicaByte,
    /// Where its agents connect.
    pub address: String,
    /// What tells the process apart: the name of the key in its state directory, which one process has at a time.
    pub instance: Sha256Digest,
}

/// A replica on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaRecord {
    /// Its name.
    pub name: ReplicaName,
    /// The first byte of the serials that it makes.
    pub serial_byte: u8,
    /// Where its agents connect.
    pub address: String,
    /// When it was heard last, by its own clock.
    pub seen_at: Timestamp,
    /// Which process is it, or was it last.
    pub instance: Sha256Digest,
    /// By what it is that replica.
    pub lease: Lease,
}

/// An issuing CA that a replica wants signed by whoever has the key of the root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuerRequest {
    /// The name that it will have.
    pub name: AuthorityName,
    /// Whose it will be.
    pub replica: ReplicaName,
    /// The root that is to sign it.
    pub root: AuthorityName,
    /// The request (PKCS #10, DER), by which its key is proved.
    pub csr_der: Vec<u8>,
}

/// Why a lease is not had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LeaseError {
    /// Another process has it, and may live.
    #[error("another process has the lease \"{name}\" (replica {}, epoch {})", lease.replica, lease.epoch)]
    Held {
        /// Which.
        name: LeaseName,
        /// As it is now: to be taken when it stays so for long.
        lease: Lease,
    },
    /// Another replica makes serials that begin so.
    #[error("replica_byte {byte} is that of the replica {by}: give each replica its own")]
    Byte {
        /// Which.
        byte: u8,
        /// Whose it is.
        by: ReplicaName,
    },
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Replicas and leases. In a store that one process has to itself, whoever asks for a lease gets it.
pub trait ReplicaStore: Send + Sync {
    /// Whether other processes may write into the same store.
    fn is_shared(&self) -> bool;

    /// Makes this process the replica of its name, under a new epoch: when nobody is it, when the same instance was it before, or when the
    /// lease is still as it was in `silent`, which the caller has watched for long enough.
    ///
    /// # Errors
    /// [`LeaseError`].
    fn register(
        &self,
        registration: Registration,
        silent: Option<Lease>,
        now: Timestamp,
    ) -> BoxFuture<'_, Result<u64, LeaseError>>;

    /// Takes the lead, under a new epoch, with the same conditions. `fence` says who asks; the lead that it names, if it does, is not looked at.
    ///
    /// # Errors
    /// [`LeaseError`], with [`StoreError::Fenced`] when another process is this replica by now.
    fn take_lead(&self, fence: Fence, silent: Option<Lease>, now: Timestamp) -> BoxFuture<'_, Result<u64, LeaseError>>;

    /// Says that this process lives: the beat of what it holds grows. Answers with the epoch of its lead, if it still has it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`] when another process is this replica by now.
    fn beat(&self, fence: Fence, now: Timestamp) -> BoxFuture<'_, Result<Option<u64>, StoreError>>;

    /// Lets others take at once what this process holds. What it holds no more is no error.
    fn give_up(&self, fence: Fence) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Who leads, or did last.
    fn lead(&self) -> BoxFuture<'_, Result<Option<Lease>, StoreError>>;

    /// All replicas on record, by name.
    fn replicas(&self) -> BoxFuture<'_, Result<Vec<ReplicaRecord>, StoreError>>;

    /// Asks whoever has the key of a root for an issuing CA. The same again is no news; another key takes the place of the one before.
    ///
    /// # Errors
    /// [`StoreError::Fenced`].
    fn ask_issuer(&self, fence: Fence, request: IssuerRequest, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// What was signed for this request, as DER; `None` before it was.
    fn issuer_answer(&self, request: IssuerRequest) -> BoxFuture<'_, Result<Option<Vec<u8>>, StoreError>>;

    /// What is asked for and not signed.
    fn issuer_requests(&self) -> BoxFuture<'_, Result<Vec<IssuerRequest>, StoreError>>;

    /// Lets this process alone sign it; says whether it may. One that was claimed and never answered is free when it is asked for again.
    ///
    /// # Errors
    /// [`StoreError::Fenced`].
    fn claim_issuer(&self, fence: Fence, request: IssuerRequest) -> BoxFuture<'_, Result<bool, StoreError>>;

    /// What was signed for a request that this process has claimed. One that is asked for no more is no error.
    ///
    /// # Errors
    /// [`StoreError::Fenced`].
    fn answer_issuer(
        &self,
        fence: Fence,
        request: IssuerRequest,
        certificate_der: Vec<u8>,
    ) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Takes a request back, answered or not.
    ///
    /// # Errors
    /// [`StoreError::Fenced`].
    fn forget_issuer(&self, fence: Fence, name: AuthorityName) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Fences off a replica that is gone, so that no process is it any more: while `fence` leads and its lease is still as it was in `seen`, of
    /// which the caller knows that nobody is behind it.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], [`StoreError::NotFound`], and [`StoreError::Changed`] when it has moved.
    fn retire_replica(&self, fence: Fence, seen: Lease, actor: Actor, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// Takes a replica off the record that was fenced off, with what it asked for: its serial byte is free. The epochs of its name go on.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], and [`StoreError::Changed`] when it is back, or an authority of it is in force.
    fn forget_replica(&self, fence: Fence, replica: ReplicaName, now: Timestamp) -> BoxFuture<'_, Result<(), StoreError>>;

    /// [`crate::issuance::Ledger::persist`] for the certificate of an authority: only while `fence` holds, its lead included if it names one.
    ///
    /// # Errors
    /// [`StoreError::Fenced`], and as there.
    fn persist_fenced(&self, fence: Fence, intent: Intent) -> BoxFuture<'_, Result<(), LedgerError>>;
}
