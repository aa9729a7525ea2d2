//! What a service tells the service manager that started it: sd_notify(3), a datagram to the socket that `NOTIFY_SOCKET` names.
//!
//! Without that variable nobody asked, and nothing is told. Only the variables of sd_notify(3) and sd_watchdog_enabled(3) are read.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::readiness::Readiness;
use crate::shutdown::Shutdown;

/// The way to the service manager, when there is one.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl ServiceManager {
    /// As the environment says. An address that cannot be used is logged, and nothing is told then: the service itself is well.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the service manager speaks through the environment, and only here")]
    pub fn from_environment() -> Self {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let number = |name| variable(name).and_then(|value| value.to_str()?.parse::<u64>().ok());
        let Some(address) = variable("NOTIFY_SOCKET") else { return Self::default() };
        // A watchdog that is another process's, such as that of a parent, is not ours to feed.
        let ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|_| ours).map(Duration::from_micros);
        Self::new(address.as_bytes(), watchdog).unwrap_or_else(|error| {
            tracing::warn!(address = %address.display(), %error, "the service manager cannot be told anything");
            Self::default()
        })
    }

    /// With an address as in `NOTIFY_SOCKET`: a path, or `@` and an abstract name.
    ///
    /// # Errors
    /// What the system says of the address, or when no socket can be made.
    pub fn new(address: &[u8], watchdog: Option<Duration>) -> io::Result<Self> {
        let address = match address {
            [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
            [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(address))?,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "neither a path nor an abstract name")),
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold up the service.
        socket.set_nonblocking(true)?;
        Ok(Self { socket: Some((socket, address)), watchdog: watchdog.filter(|period| !period.is_zero()) })
    }

    /// Tells how the service stands, until it is dropped: `READY=1` once every condition of `readiness` holds, `STATUS=` whenever it
    /// changes, `WATCHDOG=1` twice in each period asked for, `STOPPING=1` when the shutdown fires. Never resolves: run it beside the
    /// service and drop it with it.
    pub async fn follow(self, readiness: Readiness, shutdown: Shutdown) {
        let Some((socket, address)) = &self.socket else { return std::future::pending().await };
        let tell = |message: &str| {
            if let Err(error) = socket.send_to_addr(message.as_bytes(), address) {
                tracing::debug!(%error, "the service manager was not told");
            }
        };
        let look_every = self.watchdog.map_or(LOOK_EVERY, |period| (period / 2).clamp(SHORTEST_LOOK, LOOK_EVERY));
        let (mut ready, mut told, mut stopping) = (false, String::new(), false);
        loop {
            let failing = readiness.failing();
            let status = match (stopping, failing.first()) {
                (true, _) => "stopping".to_owned(),
                (false, None) => "ready".to_owned(),
                (false, Some(why)) => one_line(why),
            };
            if status != told {
                tell(&format!("STATUS={status}"));
                told = status;
            }
            if !ready && !stopping && failing.is_empty() {
                tell("READY=1");
                ready = true;
            }
            if self.watchdog.is_some() {
                tell("WATCHDOG=1");
            }
            // Either order is fine: the one that was not taken is looked at again.
            tokio::select! {
                () = tokio::time::sleep(look_every) => {}
                () = shutdown.fired(), if !stopping => {
                    stopping = true;
                    tell("STOPPING=1");
                }
            }
        }
    }
}

/// A line of a message ends it.
fn one_line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(256).collect()
}

const LOOK_EVERY: Duration = Duration::from_millis(500);

/// No watchdog is meant to be fed faster.
const SHORTEST_LOOK: Duration = Duration::from_millis(10);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shutdown;

    struct Manager(tokio::net::UnixDatagram);

    impl Manager {
        async fn hears(&self) -> String {
            let mut buffer = [0; 512];
            let received = tokio::time::timeout(Duration::from_secs(10), self.0.recv(&mut buffer)).await;
            String::from_utf8(buffer[..received.expect("a message").unwrap()].to_vec()).unwrap()
        }
    }

    #[tokio::test]
    async fn a_service_tells_that_it_is_ready_alive_and_stopping() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = Manager(tokio::net::UnixDatagram::bind(&path).unwrap());
        let (trigger, shutdown) = shutdown::channel();
        let readiness = Readiness::default();
        readiness.require("store", "not\nopened");
        let service = ServiceManager::new(path.as_os_str().as_bytes(), None).unwrap();
        let story = async {
            assert_eq!(manager.hears().await, "STATUS=store: not opened");
            readiness.met("store");
            assert_eq!(manager.hears().await, "STATUS=ready");
            assert_eq!(manager.hears().await, "READY=1");
            readiness.unmet("store", "away");
            assert_eq!(manager.hears().await, "STATUS=store: away");
            readiness.met("store");
            assert_eq!(manager.hears().await, "STATUS=ready", "ready is said once");
            trigger.fire();
            assert_eq!(manager.hears().await, "STOPPING=1");
            assert_eq!(manager.hears().await, "STATUS=stopping");
        };
        tokio::select! {
            () = service.follow(readiness.clone(), shutdown) => unreachable!("it never ends"),
            () = story => {}
        }
    }

    #[tokio::test]
    async fn a_watchdog_is_fed_while_the_service_lives_ready_or_not() {
        let name = format!("signet-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        socket.set_nonblocking(true).unwrap();
        let manager = Manager(tokio::net::UnixDatagram::from_std(socket).unwrap());
        let (_trigger, shutdown) = shutdown::channel();
        let readiness = Readiness::default();
        readiness.require("ca", "away");
        let service = ServiceManager::new(format!("@{name}").as_bytes(), Some(Duration::from_millis(40))).unwrap();
        let story = async {
            assert_eq!(manager.hears().await, "STATUS=ca: away");
            for _ in 0..5 {
                assert_eq!(manager.hears().await, "WATCHDOG=1");
            }
        };
        tokio::select! {
            () = service.follow(readiness, shutdown) => unreachable!("it never ends"),
            () = story => {}
        }
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_manager_nothing_is_told_and_odd_addresses_are_refused() {
        let (_trigger, shutdown) = shutdown::channel();
        let following = ServiceManager::default().follow(Readiness::default(), shutdown);
        assert!(tokio::time::timeout(Duration::from_secs(60), following).await.is_err());
        assert!(ServiceManager::new(b"relative", None).is_err());
        assert!(ServiceManager::new(&[b'/'; 300], None).is_err());
    }
}
