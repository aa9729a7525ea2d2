//! All that SDS serves on this node, put together for each caller.

use std::sync::Arc;

use sds::{BearerRefusal, BearerToken, FileNames, FileSecrets, SecretSource, SecretState};
use tokio::sync::watch;

use crate::bearer::BearerIdentities;
use crate::file_secrets::FileSecretWorker;
use crate::secrets::CallerSecrets;
use crate::workload::Caller;

/// Identities for everybody; files and tokens where an operator turned them on.
pub(crate) struct SdsSource {
    pub(crate) secrets: Arc<CallerSecrets>,
    pub(crate) files: Option<FileSecretWorker>,
    pub(crate) bearer: Option<BearerIdentities>,
}

impl SecretSource for SdsSource {
    type Caller = Caller;

    fn subscribe(&self, caller: &Caller) -> watch::Receiver<Arc<SecretState>> {
        self.secrets.subscribe(caller)
    }

    fn files(&self, caller: &Caller, names: watch::Receiver<FileNames>) -> Option<watch::Receiver<Arc<FileSecrets>>> {
        self.files.as_ref().map(|files| files.listen(caller, names))
    }

    fn bearer(&self, caller: &Caller, token: BearerToken) -> Result<watch::Receiver<Arc<SecretState>>, BearerRefusal> {
        self.bearer.as_ref().ok_or(BearerRefusal::Off)?.subscribe(caller, token)
    }
}
