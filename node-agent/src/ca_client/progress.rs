//! Tells the CA how far the node is with what it sent: before each acknowledgement that speaks of a new bundle, on every change after,
//! and at most once a second apart from that.

use std::time::Duration;

use proto::v1::sync_request::Progress;
use tokio::sync::watch;

use super::node::NodeClient;
use crate::progress::{Report, Reports};

/// Between two words of what changed.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// What was told on the stream that is open. Pure, but for where reports come from.
pub(super) struct ProgressTeller {
    /// Without a report nothing is told.
    reports: Reports,
    /// Whether the CA of this stream understands it.
    listens: bool,
    told: Option<Progress>,
    /// Time since boot.
    not_before: Duration,
}

impl Default for ProgressTeller {
    /// Has nothing to tell.
    fn default() -> Self {
        Self::new(watch::Sender::new(None).subscribe())
    }
}

impl ProgressTeller {
    pub(super) fn new(reports: Reports) -> Self {
        Self { reports, listens: false, told: None, not_before: Duration::ZERO }
    }

    /// A stream begins: its other end knows nothing, and understands what it says that it does.
    pub(super) fn begin(&mut self, listens: bool) {
        self.listens = listens;
        self.told = None;
        self.not_before = Duration::ZERO;
    }

    /// What to tell, if it is news and its time has come; with `at_once` whenever it is news.
    fn next(&mut self, progress: Progress, boot: Duration, at_once: bool) -> Option<Progress> {
        if !self.listens || self.told.as_ref() == Some(&progress) || (boot < self.not_before && !at_once) {
            return None;
        }
        self.told = Some(progress);
        self.not_before = boot.saturating_add(TELL_EVERY);
        Some(progress)
    }
}

impl NodeClient {
    /// What to tell now. `at_once` for what must come before an acknowledgement: the CA must not take the word of the last bundle for
    /// one of this.
    pub(super) fn next_progress(&mut self, at_once: bool) -> Option<Progress> {
        let bundle = self.view.borrow().bundle.clone()?;
        let report: Report = (*self.progress.reports.borrow())?;
        let progress = report.progress(&bundle, self.lifecycle.is_tainted());
        let boot = self.boot();
        self.progress.next(progress, boot, at_once)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn news_are_told_once_at_most_every_second_and_at_once_where_they_must_be() {
        let word = |streams_behind| Progress { streams_behind, ..Progress::default() };
        let at = Duration::from_millis;
        let mut teller = ProgressTeller::default();
        assert_eq!(teller.next(word(3), at(0), true), None, "nobody listens");
        teller.begin(true);
        assert_eq!(teller.next(word(3), at(0), false), Some(word(3)), "the first");
        assert_eq!(teller.next(word(3), at(5000), true), None, "no news");
        assert_eq!(teller.next(word(2), at(999), false), None, "too early");
        assert_eq!(teller.next(word(1), at(1000), false), Some(word(1)), "the newest alone");
        assert_eq!(teller.next(word(4), at(1001), true), Some(word(4)));
        assert_eq!(teller.next(word(0), at(1500), false), None);
        assert_eq!(teller.next(word(0), at(2001), false), Some(word(0)));
        teller.begin(false);
        assert_eq!(teller.next(word(9), at(9000), true), None, "a CA of before this would end the stream");
        teller.begin(true);
        assert_eq!(teller.next(word(0), at(2001), false), Some(word(0)), "another stream has not heard it");
    }
}
