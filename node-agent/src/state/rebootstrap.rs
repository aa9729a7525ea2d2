//! That an operator had this node trust the CA anew: kept until the CA has heard of it.

use pki::Timestamp;
use runtime::private_files::{self, Overwrite};
use serde_json::{Value, json};

use super::{StateDir, StateError};
use crate::ca_client::RebootstrapNote;

const NOTE: &str = "rebootstrap.json";
const MAX_BYTES: usize = 1024;

impl StateDir {
    /// The note, if the CA has not heard of it. One that cannot be read is told as one of the beginning of time: that it was done must not
    /// be lost.
    pub(crate) fn rebootstrap(&self) -> Option<RebootstrapNote> {
        let path = self.path.join(NOTE);
        if !path.exists() {
            return None;
        }
        let read = private_files::read_private(&path, MAX_BYTES).ok();
        let document: Option<Value> = read.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let number = |key: &str| document.as_ref().and_then(|document| document[key].as_u64()).unwrap_or_default();
        Some(RebootstrapNote { at: Timestamp::from_unix_seconds(number("at")), former_sequence: number("former_sequence") })
    }

    /// Keeps the note.
    ///
    /// # Errors
    /// [`StateError::File`] when the disk refuses.
    pub(crate) fn store_rebootstrap(&self, note: RebootstrapNote) -> Result<(), StateError> {
        let RebootstrapNote { at, former_sequence } = note;
        let text = format!("{}\n", json!({ "at": at.unix_seconds(), "former_sequence": former_sequence }));
        Ok(private_files::write_private(&self.path.join(NOTE), text.as_bytes(), Overwrite::Replace)?)
    }

    /// Takes the note away.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn forget_rebootstrap(&self) -> std::io::Result<()> {
        std::fs::remove_file(self.path.join(NOTE))
    }

    /// Takes the revocation lists away: they are those of a CA that is not trusted any more.
    ///
    /// # Errors
    /// What the system says; that there are none is none.
    pub(crate) fn forget_revocation(&self) -> std::io::Result<()> {
        match std::fs::remove_file(self.path.join(super::revocation::REVOCATION)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            outcome => outcome,
        }
    }
}
