//! The one list of everything that moves an authority: each write that must last, sync, rename, signature and publication of this module
//! goes through [`Steps::run`]. A process may end before and after each of them, and the rotation goes on at the next start; tests end it
//! at each.

use std::sync::Arc;

use futures_util::future::{self, BoxFuture};

/// What is done, one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The new state is stored, with its audit events.
    StoreLifecycle,
    /// The goal of a rotation is stored.
    StoreRotation,
    /// A rotation is over, and its goal forgotten.
    EndRotation,
    /// A key is made: in memory, or for good in a token.
    MakeKey,
    /// The intent to sign a CA certificate is recorded.
    RecordCertificate,
    /// A CA certificate is signed.
    SignCertificate,
    /// The signed CA certificate is recorded.
    RecordSigned,
    /// The directory is made in which places of authorities lie.
    MakeParent,
    /// What a run that was cut short left is removed.
    ClearUnfinished,
    /// The directory is made in which a place is written before it has its name.
    MakeUnfinished,
    /// A private key is written, or the public half of one in a token.
    WriteKey,
    /// A CA certificate is written.
    WriteCertificate,
    /// The root above it is written.
    WriteRoot,
    /// The certificates between are written.
    WriteChain,
    /// The directory is synced.
    SyncUnfinished,
    /// The directory gets its name.
    Rename,
    /// The name is synced.
    SyncParent,
    /// A JWT key is written, whole and with its name.
    WriteJwtKey,
    /// The bundle gets its sequence.
    NumberBundle,
    /// The bundle is shown to everybody.
    PublishBundle,
    /// Another issuing CA signs from now on.
    SwitchIssuer,
    /// Another JWT key signs from now on.
    SwitchJwtKey,
    /// The CA's own serving certificate is replaced by one under the issuing CA that signs.
    RenewServing,
    /// Whoever has the key of the root is asked to sign an issuing CA, or is not asked any more.
    AskReplica,
    /// This process alone signs what another replica asked for.
    ClaimRequest,
    /// The other replica is given what was signed.
    AnswerRequest,
    /// A replica that is gone is fenced off.
    RetireReplica,
    /// It is on record no more.
    ForgetReplica,
    /// A private key is destroyed.
    DestroyKey,
    /// Its removal is synced.
    SyncDestroyed,
}

impl Step {
    /// Those that only replicas take which share a store.
    pub const AMONG_REPLICAS: [Self; 5] =
        [Self::AskReplica, Self::ClaimRequest, Self::AnswerRequest, Self::RetireReplica, Self::ForgetReplica];

    /// All that a CA takes which has its store to itself, in the order in which a rotation comes to them first.
    pub const ALL: [Self; 25] = [
        Self::StoreRotation,
        Self::StoreLifecycle,
        Self::MakeKey,
        Self::RecordCertificate,
        Self::SignCertificate,
        Self::RecordSigned,
        Self::MakeParent,
        Self::ClearUnfinished,
        Self::MakeUnfinished,
        Self::WriteKey,
        Self::WriteCertificate,
        Self::WriteRoot,
        Self::WriteChain,
        Self::SyncUnfinished,
        Self::Rename,
        Self::SyncParent,
        Self::WriteJwtKey,
        Self::NumberBundle,
        Self::PublishBundle,
        Self::SwitchIssuer,
        Self::SwitchJwtKey,
        Self::RenewServing,
        Self::DestroyKey,
        Self::SyncDestroyed,
        Self::EndRotation,
    ];
}

/// A point at which the process might end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moment {
    /// Nothing of the step was done.
    Before(Step),
    /// All of it was done, and nobody was told.
    After(Step),
}

/// What is told of each moment.
pub trait StepSeam: Send + Sync + 'static {
    /// The next thing is done when this resolves.
    fn reached(&self, moment: Moment) -> BoxFuture<'_, ()>;
}

/// What a service does: each moment is in its log, at the level debug.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LoggedSteps;

impl StepSeam for LoggedSteps {
    fn reached(&self, moment: Moment) -> BoxFuture<'_, ()> {
        tracing::debug!(?moment, "a step of an authority");
        Box::pin(future::ready(()))
    }
}

/// Where steps are taken. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Steps(Arc<dyn StepSeam>);

impl Steps {
    /// Under this seam.
    pub(crate) fn new(seam: Arc<dyn StepSeam>) -> Self {
        Self(seam)
    }

    /// As a service takes them.
    pub(crate) fn logged() -> Self {
        Self(Arc::new(LoggedSteps))
    }

    /// Takes one.
    pub(crate) async fn run<T>(&self, step: Step, work: impl Future<Output = T>) -> T {
        self.0.reached(Moment::Before(step)).await;
        let outcome = work.await;
        self.0.reached(Moment::After(step)).await;
        outcome
    }
}
