//! Who is at the other end of a connection.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use identity::Selector;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};
use tokio::net::UnixStream;

use super::executables::ExecutableHashes;
use super::kubernetes::ContainerPlace;
use super::process::{ProcDirectory, Process};
use super::selectors::{self, Facts, Unreadable};

/// An attested process.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Its number, as the agent's PID namespace counts.
    pub pid: i32,
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// What could be read of it.
    pub selectors: BTreeSet<Selector>,
    /// What could not, and why: absent from the selectors.
    pub unreadable: Vec<Unreadable>,
    /// The container of a pod that it runs in, by its control groups; `None` for a process in no pod. Or why that is not known.
    pub container: Result<Option<ContainerPlace>, String>,
    /// Whether it still runs.
    pub process: Arc<Process>,
}

/// Why a process is not attested. Its connection is closed before a byte of it is read.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The kernel does not say, or no longer says, who connected.
    #[error("the kernel does not tell who connected: {source}")]
    Credentials {
        /// What the system says.
        source: io::Error,
    },
    /// It lives in a PID namespace that the agent does not see.
    #[error("the process is in a PID namespace that the agent does not see; run the agent in the host's PID namespace")]
    ForeignPidNamespace,
    /// No such process, or not to be seen by the agent.
    #[error("process {pid} cannot be looked at: {source}")]
    Unseen {
        /// Its number.
        pid: i32,
        /// What the system says.
        source: io::Error,
    },
    /// Its user or group is no longer the one that connected.
    #[error("process {pid} connected as uid {connected_uid}, gid {connected_gid}, and runs as uid {uid}, gid {gid} now")]
    ChangedUser {
        /// Its number.
        pid: i32,
        /// Effective user when it connected.
        connected_uid: u32,
        /// Effective group when it connected.
        connected_gid: u32,
        /// Effective user now.
        uid: u32,
        /// Effective group now.
        gid: u32,
    },
    /// It ended while it was looked at: what was read may be another's.
    #[error("process {pid} ended while it was attested")]
    Ended {
        /// Its number.
        pid: i32,
    },
    /// A lookup took too long, such as that of an account name in a directory service.
    #[error("attestation took longer than {limit:?}; is the account database of this node reachable?")]
    TimedOut {
        /// The time allowed.
        limit: Duration,
    },
}

/// What the kernel says about the peer of a connection, taken at accept. Holds the process fast.
#[derive(Debug)]
pub(super) struct Peer {
    pid: i32,
    uid: u32,
    gid: u32,
    directory: ProcDirectory,
    process: Arc<Process>,
}

impl Peer {
    /// Asks the kernel. Reads nothing from the connection, and waits for nothing.
    pub(super) fn of(stream: &UnixStream) -> Result<Self, AttestError> {
        let credentials =
            getsockopt(stream, sockopt::PeerCredentials).map_err(|errno| AttestError::Credentials { source: errno.into() })?;
        let (pid, uid, gid) = (credentials.pid(), credentials.uid(), credentials.gid());
        if pid <= 0 {
            return Err(AttestError::ForeignPidNamespace);
        }
        let unseen = |source| AttestError::Unseen { pid, source };
        let process = match getsockopt(stream, sockopt::PeerPidfd) {
            Ok(pidfd) => Process::from_pidfd(pidfd).map_err(unseen)?,
            // Linux before 6.5.
            Err(Errno::ENOPROTOOPT) => Process::from_start_time(pid).map_err(unseen)?,
            Err(errno) => return Err(AttestError::Credentials { source: errno.into() }),
        };
        let directory = ProcDirectory::open(pid).map_err(unseen)?;
        Ok(Self { pid, uid, gid, directory, process: Arc::new(process) })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Reads the selectors, that of the executable's content only with `hashes`. May block on the node's account database.
    pub(super) fn attest(self, hashes: Option<&ExecutableHashes>) -> Result<Caller, AttestError> {
        let connected = (self.uid, self.gid);
        let caller = attest(self.pid, &self.directory, self.process, hashes)?;
        if connected != (caller.uid, caller.gid) {
            let (connected_uid, connected_gid) = connected;
            let Caller { pid, uid, gid, .. } = caller;
            return Err(AttestError::ChangedUser { pid, connected_uid, connected_gid, uid, gid });
        }
        Ok(caller)
    }
}

/// What a process would be attested as, for people who ask by its number: all of it. May block on the node's account database.
///
/// # Errors
/// [`AttestError`] when there is no such process, or it ends meanwhile.
pub fn attest_pid(pid: i32, hashes: &ExecutableHashes) -> Result<Caller, AttestError> {
    let unseen = |source| AttestError::Unseen { pid, source };
    if pid <= 0 {
        return Err(unseen(Errno::ESRCH.into()));
    }
    let process = Process::from_start_time(pid).map_err(unseen)?;
    let directory = ProcDirectory::open(pid).map_err(unseen)?;
    attest(pid, &directory, Arc::new(process), Some(hashes))
}

fn attest(
    pid: i32,
    directory: &ProcDirectory,
    process: Arc<Process>,
    hashes: Option<&ExecutableHashes>,
) -> Result<Caller, AttestError> {
    let Facts { uid, gid, selectors, unreadable, container } =
        selectors::read(directory, hashes).map_err(|source| AttestError::Unseen { pid, source })?;
    // After the last read: a process that runs still had its number all along, so all that was read was its own.
    if !process.is_running() {
        return Err(AttestError::Ended { pid });
    }
    Ok(Caller { pid, uid, gid, selectors, unreadable, container, process })
}
