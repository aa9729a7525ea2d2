//! How the rest of the CA reaches the task: commands go in by a short queue, what there is to see comes out by a watch.

use std::sync::Arc;

use identity::ReplicaName;
use tokio::sync::{mpsc, oneshot, watch};

use super::{Changed, CommandError, RotationView};
use crate::authority::lifecycle::gate::Accepted;
use crate::authority::lifecycle::rotation::Pace;
use crate::authority::lifecycle::{AuthorityKind, AuthorityName};
use crate::store::Actor;

/// Commands that may wait; operators type them.
const MAX_COMMANDS: usize = 16;

/// What is asked of the task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Make a successor.
    Prepare(AuthorityKind),
    /// Let it sign.
    Activate(AuthorityName, Accepted),
    /// Have everything renewed that rests on it.
    Taint(AuthorityName),
    /// Take it out.
    Revoke(AuthorityName, Accepted),
    /// The whole sequence. Of one that is under way, what is accepted grows.
    Start(AuthorityKind, Pace, Accepted),
    /// Undo the sequence.
    Abort(AuthorityKind),
    /// Have others renew what rests on a replica that is gone, then take it off the record.
    RemoveReplica(ReplicaName),
}

/// A request with who asks.
#[derive(Debug)]
pub(crate) struct Command {
    /// What.
    pub(crate) request: Request,
    /// Who, for the audit chain.
    pub(crate) actor: Actor,
    /// Where the answer goes; nobody may be there any more.
    pub(crate) answer: oneshot::Sender<Result<Changed, CommandError>>,
}

/// What others see and ask of the task. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RotationHandle {
    commands: mpsc::Sender<Command>,
    view: watch::Receiver<Arc<RotationView>>,
}

impl RotationHandle {
    /// A handle over what `view` tells, and the commands that will come by it.
    pub(crate) fn new(view: watch::Receiver<Arc<RotationView>>) -> (Self, mpsc::Receiver<Command>) {
        let (commands, coming) = mpsc::channel(MAX_COMMANDS);
        (Self { commands, view }, coming)
    }

    /// What there is to see, and each change of it.
    pub(crate) fn view(&self) -> watch::Receiver<Arc<RotationView>> {
        self.view.clone()
    }

    /// Makes a successor for the active one of a kind; a root comes with an issuing CA. Answers when it is made and published. One that was
    /// prepared before is no error.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) async fn prepare(&self, kind: AuthorityKind, actor: Actor) -> Result<Changed, CommandError> {
        self.ask(Request::Prepare(kind), actor).await
    }

    /// Lets an authority sign instead of the active one, if everybody has the bundle with it, but for what is accepted.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) async fn activate(&self, name: AuthorityName, accepted: Accepted, actor: Actor) -> Result<Changed, CommandError> {
        self.ask(Request::Activate(name, accepted), actor).await
    }

    /// Tells everybody to renew at once what rests on an old authority.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) async fn taint(&self, name: AuthorityName, actor: Actor) -> Result<Changed, CommandError> {
        self.ask(Request::Taint(name), actor).await
    }

    /// Takes an authority out of the bundle and destroys its key, if nothing rests on it any more, but for what is accepted.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) async fn revoke(&self, name: AuthorityName, accepted: Accepted, actor: Actor) -> Result<Changed, CommandError> {
        self.ask(Request::Revoke(name, accepted), actor).await
    }

    /// Starts the whole sequence for a kind. When it is under way, `accepted` is added to what was accepted, and nothing else changes but
    /// that [`Pace::Taint`] takes the place of [`Pace::Natural`].
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) async fn start(
        &self,
        kind: AuthorityKind,
        pace: Pace,
        accepted: Accepted,
        actor: Actor,
    ) -> Result<(), CommandError> {
        self.ask(Request::Start(kind, pace, accepted), actor).await.map(drop)
    }

    /// Undoes the sequence of a kind that is under way.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) async fn abort(&self, kind: AuthorityKind, actor: Actor) -> Result<(), CommandError> {
        self.ask(Request::Abort(kind), actor).await.map(drop)
    }

    /// Takes a replica that is gone out: what rests on its authorities is renewed at once, and when nothing does they are revoked and the
    /// replica is on record no more. Answers once it has begun.
    ///
    /// # Errors
    /// [`CommandError`].
    pub(crate) async fn remove_replica(&self, replica: ReplicaName, actor: Actor) -> Result<Changed, CommandError> {
        self.ask(Request::RemoveReplica(replica), actor).await
    }

    async fn ask(&self, request: Request, actor: Actor) -> Result<Changed, CommandError> {
        let (answer, answered) = oneshot::channel();
        let command = Command { request, actor, answer };
        if self.commands.send(command).await.is_err() {
            return Err(CommandError::Closing);
        }
        answered.await.unwrap_or(Err(CommandError::Closing))
    }
}
