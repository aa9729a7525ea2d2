//! The task that looks at the files which callers ask for, and tells each caller what changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pki::Timestamp;
use runtime::clock::{Clock, Ticker};
use runtime::log_budget::LogBudget;
use runtime::shutdown::Shutdown;
use sds::{FileNames, FileSecret, FileSecrets};
use tokio::sync::watch;

use super::look::{ContentCache, Found};
use super::reader::Reader;
use super::settings::FileSecretSettings;
use crate::metrics::{AgentMetrics, Alarm};
use crate::workload::Caller;

/// How soon new names are looked at.
const TICK: Duration = Duration::from_millis(250);

/// All names are looked at again each this many ticks: once a second.
const TICKS_BETWEEN_LOOKS: u32 = 4;

/// Most names of one user on all of its connections: each costs some calls a second.
const MAX_NAMES_PER_UID: usize = 256;

/// Who asks for files, shared between the service and the task.
#[derive(Clone)]
pub(crate) struct FileSecretWorker {
    settings: Arc<FileSecretSettings>,
    listeners: Arc<Mutex<Vec<Listener>>>,
    clock: Arc<dyn Clock>,
    metrics: AgentMetrics,
}

/// One connection.
struct Listener {
    reader: Reader,
    names: watch::Receiver<FileNames>,
    found: watch::Sender<Arc<FileSecrets>>,
    /// Why each name is not served as it stands, as it was told last.
    troubles: BTreeMap<Arc<str>, String>,
}

/// What a listener asks for, for the thread that looks.
struct Wanted {
    reader: Reader,
    names: FileNames,
}

impl FileSecretWorker {
    pub(crate) fn new(settings: FileSecretSettings, clock: Arc<dyn Clock>, metrics: AgentMetrics) -> Self {
        Self { settings: Arc::new(settings), listeners: Arc::default(), clock, metrics }
    }

    /// What `caller` gets for `names`, from the next tick on.
    pub(crate) fn listen(&self, caller: &Caller, mut names: watch::Receiver<FileNames>) -> watch::Receiver<Arc<FileSecrets>> {
        let (found, receiver) = watch::channel(Arc::default());
        names.mark_changed();
        self.lock().push(Listener { reader: Reader::of(caller), names, found, troubles: BTreeMap::new() });
        receiver
    }

    /// Works until the end.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub(crate) async fn run(self, shutdown: Shutdown) -> std::io::Result<()> {
        let mut ticker = Ticker::new(TICK)?;
        let mut cache = ContentCache::default();
        let mut log = LogBudget::new(self.clock.boottime());
        let mut ticks = 0_u32;
        loop {
            // Nothing is lost whichever comes first: the next tick finds all of it again.
            tokio::select! {
                () = shutdown.fired() => return Ok(()),
                tick = ticker.tick() => drop(tick?),
            }
            ticks = ticks.wrapping_add(1);
            let news = self.forget_closed_and_find_news();
            if !news && !ticks.is_multiple_of(TICKS_BETWEEN_LOOKS) {
                continue;
            }
            let (wanted, settings, now) = (self.wanted(), Arc::clone(&self.settings), self.clock.now().into());
            if wanted.is_empty() {
                cache.keep(|_| false);
                continue;
            }
            // A file system may hang: it must not hold up anything but this task.
            let looked = tokio::task::spawn_blocking(move || {
                let found = look_at_all(&wanted, &mut cache, &settings, now);
                (wanted, found, cache)
            });
            let (wanted, found, kept) = looked.await.map_err(std::io::Error::other)?;
            cache = kept;
            self.tell(&wanted, found, &mut log);
        }
    }

    /// Whether a connection came or asks for other names.
    fn forget_closed_and_find_news(&self) -> bool {
        let mut listeners = self.lock();
        listeners.retain(|listener| !listener.found.is_closed());
        listeners.iter().any(|listener| listener.names.has_changed().unwrap_or(false))
    }

    fn wanted(&self) -> Vec<Wanted> {
        let mut listeners = self.lock();
        let wanted = |listener: &mut Listener| {
            let names = Arc::clone(&listener.names.borrow_and_update());
            Wanted { reader: listener.reader.clone(), names }
        };
        listeners.iter_mut().map(wanted).collect()
    }

    /// Listeners are only added at the end and only removed by the task itself, so each is where it was.
    fn tell(&self, wanted: &[Wanted], found: Vec<BTreeMap<Arc<str>, Found>>, log: &mut LogBudget) {
        let mut listeners = self.lock();
        for ((listener, wanted), found) in listeners.iter_mut().zip(wanted).zip(found) {
            let before = Arc::clone(&listener.found.borrow());
            let mut answers = BTreeMap::new();
            let mut troubles = BTreeMap::new();
            for name in wanted.names.iter() {
                let (answer, trouble) = match found.get(name) {
                    Some(Found::Secret(secret)) => (Some(Arc::clone(secret)), None),
                    Some(Found::Unfit(unfit)) => (last_good(&before, name), Some((unfit.to_string(), true))),
                    Some(Found::Refused(refusal)) => (None, Some((refusal.to_string(), false))),
                    None => {
                        (None, Some((format!("uid {} asks for more than {MAX_NAMES_PER_UID} names", wanted.reader.uid()), false)))
                    }
                };
                if let Some((why, unfit)) = trouble {
                    if listener.troubles.get(name) != Some(&why) {
                        self.say(name, &why, unfit, wanted.reader.uid(), log);
                    }
                    troubles.insert(Arc::clone(name), why);
                }
                answers.insert(Arc::clone(name), answer);
            }
            listener.troubles = troubles;
            let now = FileSecrets { answers };
            if *before != now {
                listener.found.send_replace(Arc::new(now));
            }
        }
    }

    fn say(&self, name: &str, why: &str, unfit: bool, uid: u32, log: &mut LogBudget) {
        if unfit {
            self.metrics.alarm(Alarm::FileUnfit);
        }
        if let Some(left_out) = log.take(self.clock.boottime()) {
            let name: String = name.chars().take(256).flat_map(char::escape_debug).collect();
            if unfit {
                tracing::error!(name, uid, why, left_out, "files cannot be served: what was read of them before stays");
            } else {
                tracing::warn!(name, uid, why, left_out, "files are not given to this caller");
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Listener>> {
        // Whole listeners are added and removed, and each value in one is replaced in one assignment.
        self.listeners.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What this very listener was given before: another one's would be a file that this one was never judged for.
fn last_good(before: &FileSecrets, name: &str) -> Option<Arc<FileSecret>> {
    before.answers.get(name).cloned().flatten()
}

/// For each of `wanted` what its names hold; a name beyond the bound of its user is left out.
fn look_at_all(
    wanted: &[Wanted],
    cache: &mut ContentCache,
    settings: &FileSecretSettings,
    now: Timestamp,
) -> Vec<BTreeMap<Arc<str>, Found>> {
    let mut of_users: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    let mut looked = Vec::with_capacity(wanted.len());
    for Wanted { reader, names } in wanted {
        let of_user = of_users.entry(reader.uid()).or_default();
        let mut found = BTreeMap::new();
        for name in names.iter() {
            if !of_user.contains(&**name) && of_user.len() >= MAX_NAMES_PER_UID {
                continue;
            }
            of_user.insert(name);
            found.insert(Arc::clone(name), cache.look(name, reader, settings, now));
        }
        looked.push(found);
    }
    cache.keep(|name| of_users.values().any(|names| names.contains(&**name)));
    looked
}
