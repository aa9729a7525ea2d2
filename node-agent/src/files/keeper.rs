//! Keeps one set of files as the node holds the identity: writes each change, tells the program, and tries again what failed.
//!
//! Nothing is ever removed because something is missing. While the CA is away the last set stays; when the entry is withdrawn it
//! stays too, until it ends, as an SVID that was handed out does: a program that is cut off in the middle of the night by a slip in
//! the registry is worse than one that runs to the end of its hour, and the status and a metric say so meanwhile.
//!
//! An identity that is revoked is no slip: its key and certificate are removed, and what says whom to trust stays.

use std::sync::Arc;
use std::time::Duration;

use pki::{RevocationSet, Timestamp, TrustBundle, X509Svid};
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
    /// Whether lists of another making are in the place of ours.
    other_lists: bool,
    backoff: Backoff,
}

/// What one set is made of.
#[derive(Clone)]
struct Written {
    /// `None`: the identity is revoked.
    svid: Option<Arc<X509Svid>>,
    bundle: Arc<TrustBundle>,
    revocation: Option<Arc<RevocationSet>>,
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
            other_lists: false,
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
            Ok(Written { svid: None, .. }) => self.show(FileSetState::Revoked, Some(self.removed())),
            Ok(_) if self.other_lists => {
                let why = format!("a {} of another making lies there and stays: move it away to have the lists", contents::LISTS);
                self.show(FileSetState::Current, Some(why));
            }
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
            (Some(written), _) => written.svid.as_ref().is_some_and(|svid| now <= svid.leaf().not_after()),
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
        let revocation = state.revocation.clone();
        if state.revoked.contains(id) {
            let bundle = state.bundle.clone().ok_or("no trust bundle is held yet")?;
            return Ok(Written { svid: None, bundle, revocation });
        }
        let svid = state.svids.iter().find(|svid| svid.id() == id).ok_or_else(|| self.why_not_held())?;
        let bundle = state.bundle.as_ref().ok_or("no trust bundle is held yet")?;
        // A pair that does not verify would replace one that does.
        svid.verify(bundle, Timestamp::from(self.clock.now()))
            .map_err(|error| format!("the certificate is not written: {error}"))?;
        Ok(Written { svid: Some(Arc::clone(svid)), bundle: Arc::clone(bundle), revocation })
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
                (IdentityState::Revoked, None) => {
                    format!("{spiffe_id} is revoked; `signet unrevoke --spiffe-id {spiffe_id}` restores it")
                }
                (IdentityState::Initializing | IdentityState::Available(_), None) => format!("{spiffe_id} is not issued yet"),
            },
        }
    }

    fn is_written(&self, wanted: &Written) -> bool {
        // Values are replaced, never changed in place. A bundle may come again with the same roots.
        self.written.as_ref().is_some_and(|written| {
            let lists = |of: &Written| of.revocation.as_ref().map(|set| set.lists().to_vec()).unwrap_or_default();
            written.svid.as_ref().map(Arc::as_ptr) == wanted.svid.as_ref().map(Arc::as_ptr)
                && (Arc::ptr_eq(&written.bundle, &wanted.bundle) || written.bundle.authorities() == wanted.bundle.authorities())
                && lists(written) == lists(wanted)
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
        let Put { left, other_lists } = outcome.inspect_err(|error| self.warn("files were not written", error))?;
        self.other_lists = other_lists;
        let left = left.map(|left| left.to_string());
        if let Some(left) = &left {
            self.warn("an old set of files could not be removed", left);
        }
        let Some(svid) = &wanted.svid else {
            // The key may lie in what was left.
            left.map_or(Ok(()), |left| Err(format!("key and certificate of a revoked identity could not be removed: {left}")))?;
            self.warn("key and certificate were removed", "the identity is revoked");
            self.board.update(&self.config.name, |status| status.written = None);
            self.written = Some(wanted);
            self.untold = false;
            return Ok(());
        };
        let leaf = svid.leaf();
        tracing::info!(files = self.config.name, serial = %leaf.serial(), not_after = %leaf.not_after(), "files were written");
        let shown = (leaf.serial().clone(), leaf.not_after());
        self.board.update(&self.config.name, |status| status.written = Some(shown));
        self.written = Some(wanted);
        self.untold = self.config.reload.is_some();
        Ok(())
    }

    fn removed(&self) -> String {
        let id = &self.config.spiffe_id;
        format!(
            "{id} is revoked: key and certificate were removed. The program goes on with what it has loaded until it is stopped; \
             `signet unrevoke --spiffe-id {id}` restores the identity"
        )
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

/// What became of a switch that was done.
struct Put {
    /// Why the old set could not be removed.
    left: Option<DirectoryError>,
    other_lists: bool,
}

/// Switches to a new set and reads it back.
fn put(config: &FileSetConfig, set: &Written, seconds: u64, random: u64) -> Result<Put, DirectoryError> {
    let owner = config.ownership.resolve()?;
    let directory = SetDirectory::prepare(&config.directory)?;
    let other_lists = directory.has_other_lists();
    let mut files = match &set.svid {
        Some(svid) => contents::files(config, svid, &set.bundle, set.revocation.as_deref()),
        None => contents::trust_files(config, &set.bundle, set.revocation.as_deref()),
    };
    files.retain(|file| !(other_lists && file.name == contents::LISTS));
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
    Ok(Put { left, other_lists })
}

const FIRST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A chain has a few certificates of about 1 KiB.
const MAX_CHAIN_BYTES: usize = 256 * 1024;

#[cfg(test)]
mod tests;
