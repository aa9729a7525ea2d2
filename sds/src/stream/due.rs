//! What a stream should be sent and was not.

use std::collections::BTreeSet;
use std::sync::Arc;

use pki::Sha256Hasher;

use super::delta::Told;
use super::message::StreamId;
use super::offer::{Offer, hash_part, version_text};
use super::{Connection, Resend, Stream};

/// The next response of a stream, as long as nothing changes.
#[derive(Debug)]
pub(super) struct Due {
    /// What the names stand for; `None` when there are removed names alone.
    pub(super) offer: Option<Arc<Offer>>,
    /// What is sent: the offer has an answer for each.
    pub(super) names: BTreeSet<Arc<str>>,
    /// What is said to be gone.
    pub(super) removed: Vec<Arc<str>>,
    /// Of the whole.
    pub(super) version: String,
}

impl Connection {
    /// What stream `id` should be sent now, if anything.
    pub(super) fn due(&self, id: StreamId) -> Option<Due> {
        let stream = self.streams.get(&id)?;
        match &stream.told {
            None => self.due_whole(stream),
            Some(told) => self.due_changes(stream, told),
        }
    }

    fn due_whole(&self, stream: &Stream) -> Option<Due> {
        let target = self.target.as_ref()?;
        let version = target.version(&stream.names, stream.validation.unwrap_or(self.validation))?;
        let sent = stream.last.as_ref().is_some_and(|last| last.version == version);
        (!sent || stream.resend == Resend::Now).then(|| {
            let names = stream.names.iter().filter(|name| target.answers(name)).cloned().collect();
            Due { offer: Some(Arc::clone(target)), names, removed: Vec::new(), version }
        })
    }

    /// A response carries, beside what changed, all that the peer has not accepted yet: the newest response then says everything,
    /// and an answer to an older one can be left aside, as with the state of the world.
    fn due_changes(&self, stream: &Stream, told: &Told) -> Option<Due> {
        let kind = stream.validation.unwrap_or(self.validation);
        let resend = stream.resend == Resend::Now;
        let last = stream.last.as_ref().map(|last| last.nonce.as_str());
        let (mut names, mut removed, mut changed) = (BTreeSet::new(), Vec::new(), false);
        let mut hasher = Sha256Hasher::new();
        for name in &stream.names {
            let version = self.target.as_ref().and_then(|target| target.version_of(name, kind));
            if version.is_none() && !(told.was_told_of(name) && self.why_unanswered(name).is_final()) {
                continue;
            }
            let news = told.differs(name, version.as_deref());
            if !news && !resend && told.is_confirmed(name) {
                continue;
            }
            changed |= news || told.was_left_out(name, last);
            hash_part(&mut hasher, name.as_bytes());
            if let Some(version) = version {
                hash_part(&mut hasher, version.as_bytes());
                names.insert(Arc::clone(name));
            } else if news || !told.is_confirmed(name) {
                removed.push(Arc::clone(name));
            }
        }
        let due = changed || (resend && !(names.is_empty() && removed.is_empty()));
        let offer = self.target.as_ref().filter(|_| !names.is_empty()).map(Arc::clone);
        due.then(|| Due { offer, names, removed, version: version_text(hasher) })
    }
}
