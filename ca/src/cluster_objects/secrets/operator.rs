//! What operators are shown of Secrets, and what they may ask for.

use std::collections::BTreeSet;
use std::sync::Arc;

use kubernetes::ApiError;
use pki::{SerialNumber, Timestamp};

use super::content::{Verdict, due};
use super::plan::{Action, DeleteReason, Idle, Kept};
use super::worker::Worker;
use crate::cluster_objects::queue::Key;
use crate::cluster_objects::queue::SharedQueue;
use crate::replicas::Tenure;

/// The hand of operators on the controller.
pub(crate) struct SecretOperator {
    worker: Arc<Worker>,
    queue: SharedQueue,
    tenure: Tenure,
}

/// How a Secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AccountSecretState {
    /// As it should be.
    Good,
    /// Something is to be done about it, or is being done.
    Pending,
    /// Its namespace is not managed any more: nothing renews it.
    Left,
    /// Somebody else's Secret has the name.
    Alien,
    /// The account has too long a name.
    TooLong,
}

/// One account, or one Secret that is left.
#[derive(Clone, Debug)]
pub(crate) struct SecretRow {
    pub(crate) namespace: String,
    pub(crate) account: String,
    pub(crate) state: AccountSecretState,
    /// Why it is so, or what is to be done; for people.
    pub(crate) why: String,
    /// Of its certificate, where it has one.
    pub(crate) serial: Option<SerialNumber>,
    pub(crate) not_after: Option<Timestamp>,
    /// When it is to be replaced.
    pub(crate) due: Option<Timestamp>,
}

impl SecretOperator {
    pub(crate) fn new(worker: Arc<Worker>, queue: SharedQueue, tenure: Tenure) -> Self {
        Self { worker, queue, tenure }
    }

    /// Each account of the managed namespaces, and each Secret of ours anywhere, or those alone that are left; of one namespace, if one is
    /// named, from after one account on, and at most so many. Says whether there may be more.
    pub(crate) fn page(
        &self,
        namespace: Option<&str>,
        left_only: bool,
        after: Option<&Key>,
        most: usize,
    ) -> (Vec<SecretRow>, bool) {
        let keys = self
            .worker
            .world
            .keys()
            .into_iter()
            .filter(|key| namespace.is_none_or(|named| named == key.0) && after.is_none_or(|after| key > after));
        // Before it is judged, which takes a while where there are many.
        let is_left = |key: &Key| self.worker.world.decision(&key.0).is_some_and(|decision| !decision.is_managed);
        let rows = keys.filter(|key| !left_only || is_left(key)).filter_map(|key| self.row(&key));
        let mut rows = rows.filter(|row| !left_only || row.state == AccountSecretState::Left);
        let page: Vec<_> = rows.by_ref().take(most).collect();
        let is_full = page.len() == most;
        (page, is_full)
    }

    /// One account; `None` when nothing is known of it, or nothing is to be.
    pub(crate) fn row(&self, key: &Key) -> Option<SecretRow> {
        let look = self.worker.world.look(key)?;
        let is_ours = look.secret.as_ref().is_some_and(|kept| kept.is_ours);
        let action = self.worker.plan(key, &look).unwrap_or(Action::Nothing(Idle::Nobody));
        let (state, mut why) = match action {
            Action::Nothing(Idle::Unmanaged) if is_ours => (
                AccountSecretState::Left,
                format!("nothing renews it: its namespace is not managed, as {}", look.decision.ground.text()),
            ),
            Action::Nothing(Idle::Unmanaged | Idle::Nobody) => return None,
            Action::Nothing(Idle::Going) => (AccountSecretState::Pending, "account or Secret is about to go".to_owned()),
            Action::Nothing(Idle::Good) => (AccountSecretState::Good, String::new()),
            Action::Issue(reason) => (AccountSecretState::Pending, format!("to be issued: {}", reason.label())),
            Action::Rewrite(_) => (AccountSecretState::Pending, "to be written anew with the trust bundle of now".to_owned()),
            Action::Delete(DeleteReason::AccountGone) => {
                (AccountSecretState::Pending, "to be deleted: its account is gone".to_owned())
            }
            Action::Delete(DeleteReason::FormerAccount) => {
                (AccountSecretState::Pending, "to be deleted: it is of an account that had this name before".to_owned())
            }
            Action::Delete(DeleteReason::Immutable) => (AccountSecretState::Pending, "to be deleted: it is immutable".to_owned()),
            Action::LeaveAlien => (AccountSecretState::Alien, String::new()),
            Action::TooLong => (AccountSecretState::TooLong, String::new()),
        };
        if let Some(trouble) = self.worker.troubles.of(key) {
            why = if why.is_empty() { trouble.text } else { format!("{why}; {}", trouble.text) };
        }
        let state = match self.worker.troubles.of(key).map(|trouble| trouble.kind) {
            Some(super::troubles::TroubleKind::Alien) if state == AccountSecretState::Pending => AccountSecretState::Alien,
            _ => state,
        };
        let leaf = look.secret.as_ref().and_then(|kept| kept.content.as_ref().ok()).map(|content| content.leaf().clone());
        let (namespace, account) = key.clone();
        Some(SecretRow {
            namespace,
            account,
            state,
            why,
            serial: leaf.as_ref().map(|leaf| leaf.serial().clone()),
            not_after: leaf.as_ref().map(pki::Certificate::not_after),
            due: leaf.as_ref().filter(|_| state != AccountSecretState::Left).map(due),
        })
    }

    /// What is to be said of an account in sentences, from what decides on its namespace to what is next.
    pub(crate) fn explain(&self, key: &Key) -> Vec<String> {
        let (namespace, account) = key;
        let mut lines = Vec::new();
        match self.worker.world.decision(namespace) {
            None => lines.push("namespaces were not listed yet".to_owned()),
            Some(decision) => lines.push(format!(
                "the namespace {namespace} is {}managed: {}",
                if decision.is_managed { "" } else { "not " },
                decision.ground.text()
            )),
        }
        let Some(look) = self.worker.world.look(key) else {
            lines.push("accounts and Secrets of it are not known: they are not watched, or were not listed yet".to_owned());
            lines.extend(self.warnings());
            return lines;
        };
        lines.push(match &look.account {
            Some(found) if found.is_terminating => format!("the service account {account} ({}) is about to go", found.uid),
            Some(found) => format!("the service account {account} is there ({})", found.uid),
            None => format!("there is no service account {account}"),
        });
        lines.push(match &look.secret {
            None => format!("there is no Secret istio.{account} of the type istio.io/key-and-cert"),
            Some(kept) if !kept.is_ours => format!("the Secret istio.{account} was not made by this CA, and is left as it is"),
            Some(kept) => self.about(key, kept),
        });
        let action = self.worker.plan(key, &look);
        lines.push(match action {
            Ok(action) => format!("to be done: {}", told(action)),
            Err(fault) => format!("nothing can be done: {fault}"),
        });
        if let Some(trouble) = self.worker.troubles.of(key) {
            lines.push(format!("it failed: {}", trouble.text));
        }
        if self.tenure.fence().lead.is_none() {
            lines.push("another replica leads, and does it".to_owned());
        }
        lines
    }

    /// Has accounts issued anew; says how many. Only those that have a Secret of ours, in managed namespaces.
    pub(crate) fn renew(&self, namespace: &str, account: Option<&str>) -> usize {
        let world = &self.worker.world;
        let keys: BTreeSet<Key> = world
            .secrets(|key, kept| {
                let is_meant = key.0 == namespace && account.is_none_or(|named| named == key.1);
                (is_meant && kept.is_ours).then(|| key.clone())
            })
            .into_iter()
            .filter(|(namespace, _)| world.decision(namespace).is_some_and(|decision| decision.is_managed))
            .collect();
        self.worker.memory.ask(keys.iter().cloned());
        let count = keys.len();
        // At the rate of a change of the bundle: their pods all read at once what is written at once.
        self.queue.locked().sweep(keys);
        count
    }

    /// Deletes the Secrets that are left in a namespace that is not managed; says which they were, and what went wrong.
    ///
    /// # Errors
    /// [`ApiError`] of the first that could not be deleted; those before it are gone.
    pub(crate) async fn prune(&self, namespace: &str, is_dry_run: bool) -> Result<Vec<Key>, ApiError> {
        let (left, _) = self.page(Some(namespace), true, None, usize::MAX);
        let mut gone = Vec::new();
        for SecretRow { namespace, account, .. } in left {
            let key = (namespace, account);
            if is_dry_run || self.worker.prune(&key).await? {
                gone.push(key);
            }
        }
        Ok(gone)
    }

    /// How many of a sweep are left.
    pub(crate) fn swept(&self) -> usize {
        self.queue.locked().lengths().swept
    }

    /// Whether this replica does the work.
    pub(crate) fn leads(&self) -> bool {
        self.tenure.fence().lead.is_some()
    }

    /// What operators should know.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let mut lines = self.worker.world.warnings();
        lines.extend(self.worker.troubles.warnings());
        let swept = self.swept();
        if swept > 0 {
            lines.push(format!("the trust bundle has changed: {swept} Secrets of service accounts are still to be looked at"));
        }
        let left = self.worker.world.secrets(|(namespace, _), kept| {
            let is_left = kept.is_ours && self.worker.world.decision(namespace).is_some_and(|decision| !decision.is_managed);
            is_left.then(|| kept.content.as_ref().map(|content| content.leaf().not_after()).ok())
        });
        if !left.is_empty() {
            let first =
                left.iter().flatten().min().map_or_else(String::new, |first| format!(", the first of which ends at {first}"));
            lines.push(format!(
                "{} Secrets are left in namespaces that are not managed and nothing renews them{first}: `signet k8s secrets list --left`, \
                 `signet k8s secrets prune`",
                left.len()
            ));
        }
        lines
    }

    fn about(&self, key: &Key, kept: &Kept) -> String {
        let account = &key.1;
        let verdict = match self.worker.verdict(key, kept) {
            Ok(Verdict::Good { due }) => format!("is good until it is replaced at {due}"),
            Ok(Verdict::OldRoots { due }) => format!("is good but for its trust bundle, and is replaced at {due}"),
            Ok(Verdict::Bad(reason)) => format!("is not good: {}", reason.label()),
            Err(fault) => format!("cannot be judged: {fault}"),
        };
        match &kept.content {
            Ok(content) => format!(
                "the Secret istio.{account} holds the certificate {}, which ends at {}, and {verdict}",
                content.serial(),
                content.leaf().not_after()
            ),
            Err(_) => format!("the Secret istio.{account} {verdict}"),
        }
    }
}

fn told(action: Action) -> String {
    match action {
        Action::Nothing(Idle::Unmanaged) => "nothing, as its namespace is not managed".to_owned(),
        Action::Nothing(Idle::Nobody) => "nothing, as nobody is there".to_owned(),
        Action::Nothing(Idle::Going) => "nothing until account or Secret is gone".to_owned(),
        Action::Nothing(Idle::Good) => "nothing".to_owned(),
        Action::Issue(reason) => format!("a new key and certificate ({})", reason.label()),
        Action::Rewrite(_) => "its trust bundle and annotation are written anew, key and certificate stay".to_owned(),
        Action::Delete(_) => "the Secret is deleted".to_owned(),
        Action::LeaveAlien => "nothing, as the Secret is not ours".to_owned(),
        Action::TooLong => "nothing, as the name of the account is longer than 247 bytes".to_owned(),
    }
}
