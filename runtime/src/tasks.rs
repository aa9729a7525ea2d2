//! Tasks with an owner, a name and an end.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};

use crate::shutdown::{self, Shutdown, ShutdownTrigger};

/// Which task failed, and how.
#[derive(Debug, thiserror::Error)]
#[error("{task}: {cause}")]
pub struct TaskFailure {
    /// The name of the task.
    pub task: String,
    /// The error or panic text.
    pub cause: String,
}

/// A group whose first failure (an error or a panic) fires the shutdown of all. Dropping the group aborts its tasks.
///
/// For the parts of a service, which live as long as it does. Ended tasks are kept until [`join`](Self::join), so tasks that come
/// and go, such as one per connection, belong in a `JoinSet` inside one task of a group.
#[derive(Debug)]
pub struct TaskGroup {
    tasks: JoinSet<Result<(), String>>,
    names: HashMap<Id, String>,
    trigger: Arc<ShutdownTrigger>,
    shutdown: Shutdown,
}

impl TaskGroup {
    /// The group's [`shutdown`](Self::shutdown) fires when `parent` fires or a task fails; `parent` hears nothing of it.
    #[must_use]
    pub fn new(parent: Shutdown) -> Self {
        let (trigger, own) = shutdown::channel();
        Self { tasks: JoinSet::new(), names: HashMap::new(), trigger: Arc::new(trigger), shutdown: parent.or(&own) }
    }

    /// What tasks of this group should listen to.
    #[must_use]
    pub fn shutdown(&self) -> Shutdown {
        self.shutdown.clone()
    }

    /// Spawns a named task. A task that returns `Ok` simply ends; the group lives on.
    pub fn spawn<F, E>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Display + Send + 'static,
    {
        let alarm = Alarm(Some(self.trigger.clone()));
        let handle = self.tasks.spawn(async move {
            let mut alarm = alarm;
            let outcome = task.await.map_err(|error| error.to_string());
            if outcome.is_ok() {
                alarm.0 = None;
            }
            outcome
        });
        self.names.insert(handle.id(), name.into());
    }

    /// Waits for the end of all: until every task has ended by itself or, once the shutdown has fired, at most `grace`
    /// longer; what still runs then is aborted and named in the log.
    ///
    /// # Errors
    /// The first failure. A task aborted at the end of the grace is none.
    pub async fn join(mut self, grace: Duration) -> Result<(), TaskFailure> {
        let mut failure = None;
        let shutdown = self.shutdown.clone();
        let end_of_grace = async {
            shutdown.fired().await;
            tokio::time::sleep(grace).await;
        };
        tokio::pin!(end_of_grace);
        loop {
            tokio::select! {
                // A task that has ended is taken before the grace is looked at, so an outcome that is there is never lost.
                biased;
                ended = self.tasks.join_next_with_id() => {
                    let Some(ended) = ended else { break };
                    let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
                    let task = self.names.remove(&id).unwrap_or_default();
                    if let Some(cause) = cause_of(ended.map(|(_, outcome)| outcome)) {
                        tracing::error!(task, cause, "a task failed; its group ends");
                        failure.get_or_insert(TaskFailure { task, cause });
                    }
                }
                () = &mut end_of_grace => {
                    let mut running: Vec<_> = self.names.values().map(String::as_str).collect();
                    running.sort_unstable();
                    tracing::warn!(tasks = running.join(", "), ?grace, "aborting tasks that did not end in time");
                    self.tasks.shutdown().await;
                    break;
                }
            }
        }
        failure.map_or(Ok(()), Err)
    }
}

/// Fires the group's shutdown when dropped armed: by an error, by a panic that unwinds, or by an abort.
struct Alarm(Option<Arc<ShutdownTrigger>>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if let Some(trigger) = &self.0 {
            trigger.fire();
        }
    }
}

fn cause_of(ended: Result<Result<(), String>, JoinError>) -> Option<String> {
    match ended {
        Ok(outcome) => outcome.err(),
        Err(error) => Some(match error.try_into_panic() {
            Ok(panic) => {
                let text =
                    panic.downcast_ref::<&str>().map(ToString::to_string).or_else(|| panic.downcast_ref::<String>().cloned());
                format!("panicked: {}", text.unwrap_or_else(|| "no text".to_owned()))
            }
            Err(error) => error.to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    #[tokio::test]
    async fn the_first_failure_ends_the_others_and_is_returned() {
        for panics in [false, true] {
            let (_trigger, parent) = shutdown::channel();
            let mut group = TaskGroup::new(parent.clone());
            let listening = group.shutdown();
            group.spawn("waits", async move {
                listening.fired().await;
                Ok::<(), Infallible>(())
            });
            group.spawn("ends at once", async { Ok::<(), Infallible>(()) });
            group.spawn("breaks", async move {
                tokio::task::yield_now().await;
                assert!(!panics, "a broken promise");
                Err("no more disk")
            });
            let failure = group.join(Duration::from_secs(30)).await.unwrap_err();
            let expected = if panics { "breaks: panicked: a broken promise" } else { "breaks: no more disk" };
            assert_eq!(failure.to_string(), expected);
            assert!(!parent.is_fired());
        }
    }

    #[tokio::test]
    async fn a_failure_is_heard_before_anybody_joins() {
        let (_trigger, parent) = shutdown::channel();
        let mut group = TaskGroup::new(parent);
        group.spawn("breaks", async { Err("at once") });
        tokio::time::timeout(Duration::from_secs(5), group.shutdown().fired()).await.unwrap();
    }

    #[tokio::test]
    async fn tasks_that_end_well_leave_the_group_unfired() {
        let (_trigger, parent) = shutdown::channel();
        let mut group = TaskGroup::new(parent);
        let listening = group.shutdown();
        group.spawn("ends", async { Ok::<(), Infallible>(()) });
        group.join(Duration::ZERO).await.unwrap();
        assert!(listening.is_fired(), "the group is gone, so whoever still listens is told");
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_will_not_end_is_aborted_after_the_grace() {
        let (trigger, parent) = shutdown::channel();
        let mut group = TaskGroup::new(parent);
        group.spawn("stuck", async {
            std::future::pending::<()>().await;
            Ok::<(), Infallible>(())
        });
        trigger.fire();
        tokio::time::timeout(Duration::from_secs(4), group.join(Duration::from_secs(3))).await.unwrap().unwrap();
    }
}
