//! Keeps one set of files as the node holds the identity: writes each change, tells the program, and tries again what failed.
//!
//! Nothing is ever removed because something is missing. While the CA is away the last set stays; when the entry is withdrawn it
//! stays too, until it ends, as an SVID that was handed out does: a program that is cut off in the middle of the night by a slip in
//! the registry is worse than one that runs to the end of its hour, and the status and a metric say so meanwhile.

use std::sync::Arc;
use std::time::Duration;

use pki::{Timestamp, TrustBundle, X509Svid};
use runtime::backoff::Backoff;
use runtime::clock::Clock;
use runtime::entropy::{Entropy, bytes};
use runtime::private_files::read_bounded;
use runtime::shutdown::Shutdown;
use sds::SecretState;
use tokio::sync::watch;

use super::board::{FileBoard, FileSetState, ReloadOutcome};
use super::config::FileSetConfig;
use super::contents;
use super::directory::{DirectoryError, SetDirectory};
use super::reload::reload;
use crate::identities::IdentityState;
use crate::progress::Taken;
use crate::secrets::{CallerSecrets, Facts};

/// Keeps one set.
pub(crate) struct FileKeeper {
    config: Arc<FileSetConfig>,
    secrets: Arc<CallerSecrets>,
    states: watch::Receiver<Arc<SecretState>>,
    board: FileBoard,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    written: Option<Written>,
    /// The state that the files were brought to last.
    taken: Arc<Taken<SecretState>>,
    /// Whether the program is still to be told of what is written.
    untold: bool,
    backoff: Backoff,
}

/// What one set is made of.
#[derive(Clone)]
struct Written {
    svid: Arc<X509Svid>,
    bundle: Arc<TrustBundle>,
}

impl FileKeeper {
    /// Listens to what the node holds for this set.
    pub(crate) fn new(
        config: FileSetConfig,
        secrets: Arc<CallerSecrets>,
        board: FileBoard,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let states = secrets.secrets_of(Facts { selectors: [config.selector.clone()].into(), unreadable: Vec::new() }, || true);
        let taken = board.follow(&config.name, &states);
        Self {
            config: Arc::new(config),
            secrets,
            states,
            board,
            clock,
            entropy,
            written: None,
            taken,
            untold: false,
            backoff: Backoff::new(FIRST_RETRY, LAST_RETRY),
        }
    }

    /// Keeps the set until the shutdown.
    ///
    /// # Errors
    /// None: what fails is shown and tried again.
    pub(crate) async fn run(mut self, shutdown: Shutdown) -> Result<(), std::convert::Infallible> {
        self.show_what_lies_there().await;
        loop {
            // Either order is fine. A reload command that runs at the shutdown is killed with its group.
            let settled = tokio::select! {
                settled = self.settle() => settled,
                () = shutdown.fired() => return Ok(()),
            };
            let retry = if settled {
                self.backoff.reset();
                // What is held and what is written agree; the end of a certificate that is not renewed wakes nobody.
                LOOK_EVERY
            } else {
                self.backoff.next_delay(bytes::<1>(self.entropy.as_ref())[0])
            };
            tokio::select! {
                changed = self.states.changed() => if changed.is_err() {
                    // Nothing comes any more: the agent ends.
                    shutdown.fired().await;
                    return Ok(());
                },
                () = tokio::time::sleep(retry) => {}
                () = shutdown.fired() => return Ok(()),
            }
        }
    }

    /// Shows the end of a certificate that an earlier run left: until there is a new one it is the one that counts.
    async fn show_what_lies_there(&self) {
        let chain = self.config.directory.join(contents::CHAIN);
        let reading = tokio::task::spawn_blocking(move || {
            let pem = read_bounded(&chain, MAX_CHAIN_BYTES).ok()?;
            pki::certificates_from_pem(&pem).ok()?.into_iter().next()
        });
        if let Ok(Some(leaf)) = reading.await {
            let shown = (leaf.serial().clone(), leaf.not_after());
            self.board.update(&self.config.name, |status| status.written = Some(shown));
        }
    }

    /// Brings the files to what is held, and tells the program. Says whether nothing is left to try again.
    async fn settle(&mut self) -> bool {
        let state = Arc::clone(&self.states.borrow_and_update());
        let wanted = self.wanted(&state);
        if let Ok(wanted) = &wanted
            && !self.is_written(wanted)
            && let Err(error) = self.write(wanted.clone()).await
        {
            self.show(FileSetState::NotWritten, Some(error));
            return false;
        }
        if self.untold
            && let Err(why) = self.tell().await
        {
            self.show(FileSetState::NotReloaded, Some(why));
            return false;
        }
        if wanted.is_ok() || !self.counts_without(&state) {
            self.taken.take(&state);
        }
        match wanted {
            Ok(_) => self.show(FileSetState::Current, None),
            Err(why) if self.written.is_some() => self.show(FileSetState::Withdrawn, Some(why)),
            Err(why) => self.show(FileSetState::Waiting, Some(why)),
        }
        true
    }

    /// Whether files that get no successor lie there under other authorities than the node trusts now: whoever reads them would meet
    /// what these do not vouch for. It ends with the certificate in them.
    fn counts_without(&self, state: &SecretState) -> bool {
        let now = Timestamp::from(self.clock.now());
        match (&self.written, &state.bundle) {
            (Some(written), Some(bundle)) if written.bundle.authorities() == bundle.authorities() => false,
            (Some(written), _) => now <= written.svid.leaf().not_after(),
            // Of before the start: under which authorities is not known.
            (None, _) => {
                let sets = self.board.sets();
                let set = sets.iter().find(|set| set.name == self.config.name);
                set.and_then(|set| set.written.as_ref()).is_some_and(|(_, end)| now <= *end)
            }
        }
    }

    /// What belongs on disk now, or why nothing new does.
    fn wanted(&self, state: &SecretState) -> Result<Written, String> {
        let id = &self.config.spiffe_id;
        let svid = state.svids.iter().find(|svid| svid.id() == id).ok_or_else(|| self.why_not_held())?;
        let bundle = state.bundle.as_ref().ok_or("no trust bundle is held yet")?;
        // A pair that does not verify would replace one that does.
        svid.verify(bundle, Timestamp::from(self.clock.now()))
            .map_err(|error| format!("the certificate is not written: {error}"))?;
        Ok(Written { svid: Arc::clone(svid), bundle: Arc::clone(bundle) })
    }

    fn why_not_held(&self) -> String {
        let FileSetConfig { selector, spiffe_id, .. } = self.config.as_ref();
        let held = self.secrets.held();
        let allowed = held.identities.iter().find(|identity| {
            identity.entry.spiffe_id == *spiffe_id && identity.entry.selectors.iter().all(|wanted| wanted == selector)
        });
        match allowed {
            None => format!(
                "no entry of this node lets {spiffe_id} be written to disk: \
                 `signet entry create --spiffe-id {spiffe_id} --node NODE --selector {selector}`"
            ),
            Some(identity) => match (&identity.state, &identity.last_error) {
                (IdentityState::Unavailable(why), _) | (_, Some(why)) => format!("{spiffe_id} is not held: {why}"),
                (IdentityState::Initializing | IdentityState::Available(_), None) => format!("{spiffe_id} is not issued yet"),
            },
        }
    }

    fn is_written(&self, wanted: &Written) -> bool {
        // Values are replaced, never changed in place. A bundle may come again with the same roots.
        self.written.as_ref().is_some_and(|written| {
            Arc::ptr_eq(&written.svid, &wanted.svid)
                && (Arc::ptr_eq(&written.bundle, &wanted.bundle) || written.bundle.authorities() == wanted.bundle.authorities())
        })
    }

    /// Writes a set, on a thread of its own. An error leaves the old set in place.
    async fn write(&mut self, wanted: Written) -> Result<(), String> {
        let (config, set) = (Arc::clone(&self.config), wanted.clone());
        let seconds = Timestamp::from(self.clock.now()).unix_seconds();
        let random = u64::from_be_bytes(bytes(self.entropy.as_ref()));
        let writing = tokio::task::spawn_blocking(move || put(&config, &set, seconds, random)).await;
        let outcome = writing.map_err(|panicked| panicked.to_string()).and_then(|put| put.map_err(|error| error.to_string()));
        self.board.wrote(outcome.is_ok());
        if let Some(left) = outcome.inspect_err(|error| self.warn("files were not written", error))? {
            self.warn("an old set of files could not be removed", &left.to_string());
        }
        let leaf = wanted.svid.leaf();
        tracing::info!(files = self.config.name, serial = %leaf.serial(), not_after = %leaf.not_after(), "files were written");
        let shown = (leaf.serial().clone(), leaf.not_after());
        self.board.update(&self.config.name, |status| status.written = Some(shown));
        self.written = Some(wanted);
        self.untold = self.config.reload.is_some();
        Ok(())
    }

    async fn tell(&mut self) -> Result<(), String> {
        let Some(hook) = &self.config.reload else { return Ok(()) };
        match reload(hook).await {
            Ok(()) => {
                self.board.reloaded(ReloadOutcome::Done);
                self.untold = false;
                Ok(())
            }
            Err(error) => {
                self.board.reloaded(error.outcome());
                let why = error.to_string();
                self.warn("a program was not told of its new files", &why);
                Err(why)
            }
        }
    }

    fn show(&self, state: FileSetState, trouble: Option<String>) {
        self.board.update(&self.config.name, |status| {
            status.state = state;
            status.trouble = trouble;
        });
    }

    fn warn(&self, what: &'static str, why: &str) {
        tracing::warn!(files = self.config.name, directory = %self.config.directory.display(), why, "{what}");
    }
}

/// Switches to a new set and reads it back; with why the old one could not be removed.
fn put(config: &FileSetConfig, set: &Written, seconds: u64, random: u64) -> Result<Option<DirectoryError>, DirectoryError> {
    let owner = config.ownership.resolve()?;
    let directory = SetDirectory::prepare(&config.directory)?;
    let files = contents::files(config, &set.svid, &set.bundle);
    let switch = directory.switch(seconds, random, owner);
    let mut left = None;
    for step in directory.steps(&files) {
        if let Err(error) = switch.perform(&step) {
            if !switch.is_done() {
                return Err(error);
            }
            left = Some(error);
            break;
        }
    }
    switch.check(&files)?;
    Ok(left)
}

const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A chain has a few certificates of about 1 KiB.
const MAX_CHAIN_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
