//! What an accept loop does after an error: it goes on.

use std::io;
use std::time::Duration;

/// How long an accept loop should wait before it tries again, if at all. A wait is logged.
///
/// Errors of the one connection that was about to be accepted ask for no wait (accept(2) hands on pending network errors).
/// Everything else is a shortage (descriptors, memory) that only time heals: without a pause the loop would spin, because
/// the connection stays in the queue.
#[must_use]
pub fn pause_after(error: &io::Error) -> Option<Duration> {
    if concerns_one_connection(error) {
        return None;
    }
    tracing::warn!(%error, pause = ?PAUSE, "accepting connections is failing; trying again");
    Some(PAUSE)
}

/// Waits as [`pause_after`] says, for loops that have nothing else to do meanwhile.
pub async fn pause_after_error(error: &io::Error) {
    if let Some(pause) = pause_after(error) {
        tokio::time::sleep(pause).await;
    }
}

fn concerns_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    [
        Kind::ConnectionAborted,
        Kind::ConnectionReset,
        Kind::Interrupted,
        Kind::HostUnreachable,
        Kind::NetworkUnreachable,
        Kind::NetworkDown,
    ]
    .contains(&error.kind())
}

const PAUSE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use nix::errno::Errno;

    use super::*;

    #[test]
    fn only_shortages_make_the_loop_wait() {
        assert!(concerns_one_connection(&Errno::ECONNABORTED.into()));
        assert!(!concerns_one_connection(&Errno::EMFILE.into()));
        assert!(!concerns_one_connection(&Errno::ENOBUFS.into()));
        // Some milliseconds at least: a loop that only yields takes a whole processor for as long as the shortage lasts.
        let pause = pause_after(&Errno::EMFILE.into()).expect("a shortage is waited out");
        assert!((Duration::from_millis(10)..=Duration::from_secs(1)).contains(&pause), "{pause:?}");
        assert_eq!(pause_after(&Errno::ECONNABORTED.into()), None);
    }
}
