//! How far this node is with what its CA sent: which streams and files have taken the bundle and the SVIDs in use, and how many of these
//! rest on a tainted key. A CA that is about to sign with a new authority, or to give up an old one, waits for it.
//!
//! [`Report`] is pure. What is not known is told as behind: a node that says too little holds up a rotation, one that says too much has
//! its workloads cut off.

mod taken;

use std::sync::Arc;
use std::time::Duration;

use pki::TrustBundle;
use proto::v1::sync_request::Progress;
use runtime::shutdown::Shutdown;
use sds::SdsProgress;
use tokio::sync::watch;

use crate::bearer;
use crate::files::FileBoard;
use crate::secrets::CallerSecrets;
use crate::workload_api::OpenStreams;

pub(crate) use taken::Taken;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was found at one look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    /// Of the bundle that everything here is about; 0 without one.
    pub(crate) bundle_sequence: u64,
    /// How many keys it names as tainted.
    pub(crate) tainted_keys: usize,
    pub(crate) streams: usize,
    pub(crate) streams_behind: usize,
    pub(crate) files: usize,
    pub(crate) files_behind: usize,
    /// SVIDs held for workloads.
    pub(crate) svids: usize,
    /// Of them, those that rest on a tainted key of that bundle.
    pub(crate) svids_tainted: usize,
}

/// Reports, once there is one, whenever they change.
pub(crate) type Reports = watch::Receiver<Option<Report>>;

impl Report {
    /// What is told of a node that has this bundle, whose agent's own SVID is tainted or not. Of a bundle that this report does not
    /// know yet nobody has taken anything.
    pub(crate) fn progress(self, bundle: &TrustBundle, own_tainted: bool) -> Progress {
        let is_known = self.bundle_sequence == bundle.sequence() && self.tainted_keys == bundle.tainted_keys().len();
        let known = if is_known { self } else { self.before(bundle) };
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        Progress {
            bundle_sequence: bundle.sequence(),
            streams_behind: count(known.streams_behind),
            streams: count(known.streams),
            files_behind: count(known.files_behind),
            files: count(known.files),
            svids_tainted: count(known.svids_tainted.saturating_add(usize::from(own_tainted))),
        }
    }

    /// The worst that a bundle which came after this report can mean.
    fn before(self, bundle: &TrustBundle) -> Self {
        let svids_tainted = if bundle.tainted_keys().is_empty() { 0 } else { self.svids };
        Self { streams_behind: self.streams, files_behind: self.files, svids_tainted, ..self }
    }
}

/// Where to look.
pub(crate) struct ProgressSources {
    pub(crate) secrets: Arc<CallerSecrets>,
    pub(crate) sds: SdsProgress,
    pub(crate) workload_api: OpenStreams,
    pub(crate) files: FileBoard,
    /// What is held for tokens, where that is turned on.
    pub(crate) bearer: Option<bearer::InUse>,
}

impl ProgressSources {
    /// Looks. First at what is held: what has taken it by the time of the second look is not behind, and whatever is held later is not
    /// spoken of.
    pub(crate) fn look(&self) -> Report {
        let held = self.secrets.held();
        let bundle = held.bundle.as_deref();
        let by_token = self.bearer.as_ref().zip(bundle).map(|(bearer, bundle)| bearer.count(bundle));
        let (by_token, by_token_tainted) = by_token.unwrap_or_default();
        let (sds, (streams, streams_behind)) = (self.sds.now(), self.workload_api.progress());
        let (files, files_behind) = self.files.progress();
        Report {
            bundle_sequence: bundle.map_or(0, TrustBundle::sequence),
            tainted_keys: bundle.map_or(0, |bundle| bundle.tainted_keys().len()),
            streams: sds.streams + streams,
            streams_behind: sds.behind + streams_behind,
            files,
            files_behind,
            svids: held.svids() + by_token,
            svids_tainted: held.tainted() + by_token_tainted,
        }
    }

    /// Looks again and again until the shutdown.
    ///
    /// # Errors
    /// None; the type is what tasks have.
    pub(crate) async fn watch(
        self,
        reports: watch::Sender<Option<Report>>,
        shutdown: Shutdown,
    ) -> Result<(), std::convert::Infallible> {
        loop {
            let report = Some(self.look());
            reports.send_if_modified(|before| std::mem::replace(before, report) != report);
            tokio::select! {
                () = shutdown.fired() => return Ok(()),
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
