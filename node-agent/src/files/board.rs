//! What people see of the files: one status per set, and `signet_files_*`. docs/metrics.md is the list for people.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use identity::SpiffeId;
use pki::{SerialNumber, Timestamp};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use runtime::telemetry;
use sds::SecretState;
use tokio::sync::watch;

use super::config::FileSetConfig;
use crate::progress::Taken;

type OneLabel = [(&'static str, &'static str); 1];

/// How a set stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileSetState {
    /// Nothing was written since the agent started: what lay there before lies there still.
    Waiting,
    /// The files are what the node holds, and the program was told.
    Current,
    /// The files could not be written: older ones are in place.
    NotWritten,
    /// The files are new, and the program could not be told.
    NotReloaded,
    /// The files stay until they end: the identity was withdrawn.
    Withdrawn,
    /// Key and certificate are removed: the identity is revoked.
    Revoked,
}

/// One set, for people.
#[derive(Clone, Debug)]
pub(crate) struct FileSetStatus {
    pub(crate) name: String,
    pub(crate) spiffe_id: SpiffeId,
    pub(crate) directory: PathBuf,
    pub(crate) state: FileSetState,
    /// Serial and end of the certificate on disk, as far as it is known.
    pub(crate) written: Option<(SerialNumber, Timestamp)>,
    /// What is wrong, and what to do.
    pub(crate) trouble: Option<String>,
}

/// How telling a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReloadOutcome {
    Done,
    Failed,
    TimedOut,
}

/// All sets; clones share it.
#[derive(Clone, Default)]
pub(crate) struct FileBoard(Arc<Inner>);

#[derive(Default)]
struct Inner {
    sets: Mutex<Vec<FileSetStatus>>,
    /// What each set has taken, by its name.
    taken: Mutex<BTreeMap<String, Arc<Taken<SecretState>>>>,
    states: Family<OneLabel, Gauge>,
    writes: Family<OneLabel, Counter>,
    reloads: Family<OneLabel, Counter>,
    first_expiry: Gauge,
}

impl FileBoard {
    /// Shows the sets, waiting, and registers the metrics below `files`.
    pub(crate) fn register(registry: &mut Registry, sets: &[FileSetConfig]) -> Self {
        let waiting = |set: &FileSetConfig| FileSetStatus {
            name: set.name.clone(),
            spiffe_id: set.spiffe_id.clone(),
            directory: set.directory.clone(),
            state: FileSetState::Waiting,
            written: None,
            trouble: None,
        };
        let board = Self(Arc::new(Inner { sets: Mutex::new(sets.iter().map(waiting).collect()), ..Inner::default() }));
        let registry = registry.sub_registry_with_prefix("files");
        registry.register("sets", "Sets of files that the agent keeps, by state", board.0.states.clone());
        registry.register("writes", "Sets written, by outcome", board.0.writes.clone());
        registry.register("reloads", "Programs told of new files, by outcome", board.0.reloads.clone());
        registry.register(
            "first_expiry_timestamp_seconds",
            "Last second of the first certificate on disk to end, Unix time; 0 when none is known",
            board.0.first_expiry.clone(),
        );
        for outcome in ["written", "failed"] {
            drop(board.0.writes.get_or_create(&[("outcome", outcome)]));
        }
        for outcome in [ReloadOutcome::Done, ReloadOutcome::Failed, ReloadOutcome::TimedOut] {
            drop(board.0.reloads.get_or_create(&[("outcome", outcome.as_str())]));
        }
        board.count(&board.sets());
        board
    }

    /// Every set, in the order of the configuration.
    pub(crate) fn sets(&self) -> Vec<FileSetStatus> {
        self.0.sets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// For the keeper of a set, to be told what is written and read back.
    pub(super) fn follow(&self, name: &str, states: &watch::Receiver<Arc<SecretState>>) -> Arc<Taken<SecretState>> {
        let taken = Arc::new(Taken::of(states));
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), Arc::clone(&taken));
        taken
    }

    /// How many sets there are, and how many of them are not what the node holds now.
    pub(crate) fn progress(&self) -> (usize, usize) {
        let sets = self.sets();
        let taken = self.0.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let behind = |set: &&FileSetStatus| taken.get(&set.name).is_none_or(|taken| taken.is_behind());
        (sets.len(), sets.iter().filter(behind).count())
    }

    /// Changes the status of one set.
    pub(super) fn update(&self, name: &str, change: impl FnOnce(&mut FileSetStatus)) {
        let mut sets = self.0.sets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = sets.iter_mut().find(|set| set.name == name) {
            change(set);
        }
        self.count(&sets);
    }

    pub(super) fn wrote(&self, done: bool) {
        self.0.writes.get_or_create(&[("outcome", if done { "written" } else { "failed" })]).inc();
    }

    pub(super) fn reloaded(&self, outcome: ReloadOutcome) {
        self.0.reloads.get_or_create(&[("outcome", outcome.as_str())]).inc();
    }

    fn count(&self, sets: &[FileSetStatus]) {
        for state in FileSetState::ALL {
            let count = sets.iter().filter(|set| set.state == state).count();
            self.0.states.get_or_create(&[("state", state.as_str())]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let first = sets.iter().filter_map(|set| set.written.as_ref()).map(|(_, end)| *end).min();
        self.0.first_expiry.set(first.map_or(0, |end| telemetry::unix_seconds(end.into())));
    }
}

impl FileSetState {
    const ALL: [Self; 6] = [Self::Waiting, Self::Current, Self::NotWritten, Self::NotReloaded, Self::Withdrawn, Self::Revoked];

    /// The word for it: a closed set, also the labels of a metric.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Current => "current",
            Self::NotWritten => "not_written",
            Self::NotReloaded => "not_reloaded",
            Self::Withdrawn => "withdrawn",
            Self::Revoked => "revoked",
        }
    }
}

impl ReloadOutcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
        }
    }
}
