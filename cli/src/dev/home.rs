//! The directory of a `dev` system: who lies where, and the configuration files written into it.

use std::fmt::Write;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use runtime::private_files::{DirLock, Overwrite, ensure_private_dir, write_private};
use serde_json::json;
use tempfile::TempDir;

use crate::args::DevArgs;
use crate::failure::Failure;

/// The trust domain of every `dev` system; its authority never leaves the machine.
pub(super) const TRUST_DOMAIN: &str = "dev.signet.local";
/// The name of the one node.
pub(super) const NODE: &str = "dev";

/// The identity of the calling workload.
pub(super) fn web_id() -> String {
    format!("spiffe://{TRUST_DOMAIN}/web")
}

/// The identity of the called workload.
pub(super) fn api_id() -> String {
    format!("spiffe://{TRUST_DOMAIN}/api")
}

/// The identity that `dev` proposes for an Envoy of the reader.
pub(super) fn envoy_id() -> String {
    format!("spiffe://{TRUST_DOMAIN}/envoy")
}

/// An identity that nobody has.
pub(super) fn wrong_id() -> String {
    format!("spiffe://{TRUST_DOMAIN}/not-the-api")
}

/// A state directory, locked, and the program that it is for.
pub(super) struct Home {
    root: PathBuf,
    program: PathBuf,
    // Held, not read: the lock, and the directory that goes with it. The lock must go first.
    _lock: DirLock,
    _temporary: Option<TempDir>,
}

impl Home {
    /// Opens or makes the directory that the arguments ask for.
    pub(super) fn open(args: &DevArgs) -> Result<Self, Failure> {
        let cannot = |error: &dyn std::fmt::Display| Failure::failed("cannot set up a state directory").because(error);
        let program = std::env::current_exe().map_err(|error| cannot(&error))?;
        let (wanted, temporary) = if args.ephemeral || (args.check && args.state_dir.is_none()) {
            let mut builder = tempfile::Builder::new();
            let directory = builder.prefix("signet-dev-").permissions(fs::Permissions::from_mode(0o700)).tempdir();
            let directory = directory.map_err(|error| cannot(&error))?;
            (directory.path().to_owned(), Some(directory))
        } else if let Some(directory) = &args.state_dir {
            (directory.clone(), None)
        } else {
            (default_directory()?, None)
        };
        if let Some(parent) = wanted.parent() {
            let made = fs::create_dir_all(parent);
            made.map_err(|error| cannot(&format!("{}: {error}", parent.display())).advise(ELSEWHERE))?;
        }
        ensure_private_dir(&wanted).map_err(|error| cannot(&error).advise(ELSEWHERE))?;
        // Without symbolic links: `unix:path` selectors name what the kernel sees.
        let root = fs::canonicalize(&wanted).map_err(|error| cannot(&error))?;
        let longest = root.join(LONGEST_SOCKET);
        if longest.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(Failure::failed(format!("the path of {} is too long", root.display()))
                .because(format!("a Unix socket path has at most {MAX_SOCKET_PATH} bytes"))
                .advise("name a shorter one with `--state-dir DIR`, or use `--ephemeral`"));
        }
        let lock = DirLock::acquire(&root).map_err(|error| {
            cannot(&error).advise("end the other `signet dev`, or use `--ephemeral` or another `--state-dir`")
        })?;
        for part in ["ca", "agent", "bin", "log"] {
            ensure_private_dir(&root.join(part)).map_err(|error| cannot(&error))?;
        }
        Ok(Self { root, program, _lock: lock, _temporary: temporary })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// This program's own file.
    pub(super) fn program(&self) -> &Path {
        &self.program
    }

    pub(super) fn ca_config(&self) -> PathBuf {
        self.root.join("ca.toml")
    }

    pub(super) fn agent_config(&self) -> PathBuf {
        self.root.join("agent.toml")
    }

    pub(super) fn ca_admin_socket(&self) -> PathBuf {
        self.root.join("ca.sock")
    }

    pub(super) fn agent_admin_socket(&self) -> PathBuf {
        self.root.join(LONGEST_SOCKET)
    }

    pub(super) fn api_socket(&self) -> PathBuf {
        self.root.join("api.sock")
    }

    pub(super) fn log_of(&self, name: &str) -> PathBuf {
        self.root.join("log").join(format!("{name}.log"))
    }

    /// Whether `ca init` was here.
    pub(super) fn has_authority(&self) -> bool {
        self.root.join("ca/root-cert.pem").exists()
    }

    /// Whether the agent has joined before.
    pub(super) fn has_agent_identity(&self) -> bool {
        self.root.join("agent/agent-svid.pem").exists()
    }

    pub(super) fn write_ca_config(&self, ttl: &str) -> Result<(), Failure> {
        let mut text = String::new();
        line(&mut text, "trust_domain", TRUST_DOMAIN);
        line(&mut text, "state_dir", &self.root.join("ca"));
        line(&mut text, "listen", "127.0.0.1:0");
        line(&mut text, "admin_socket", &self.ca_admin_socket());
        text.push_str("\n[leaf]\n");
        line(&mut text, "default_ttl", ttl);
        line(&mut text, "max_ttl", ttl);
        text.push_str("\n[telemetry]\n");
        line(&mut text, "address", "127.0.0.1:0");
        write_config(&self.ca_config(), &text)
    }

    pub(super) fn write_agent_config(&self, ca_address: &str, ca_fingerprint: &str) -> Result<(), Failure> {
        let mut text = String::new();
        line(&mut text, "trust_domain", TRUST_DOMAIN);
        line(&mut text, "state_dir", &self.root.join("agent"));
        line(&mut text, "ca_address", ca_address);
        line(&mut text, "ca_fingerprint", ca_fingerprint);
        line(&mut text, "api_socket", &self.api_socket());
        line(&mut text, "admin_socket", &self.agent_admin_socket());
        text.push_str("\n[telemetry]\n");
        line(&mut text, "address", "127.0.0.1:0");
        write_config(&self.agent_config(), &text)
    }

    /// A copy of the program under another name, so that `unix:path` tells its process from every other.
    pub(super) fn copy_of_program(&self, name: &str) -> Result<PathBuf, Failure> {
        let copy = self.root.join("bin").join(name);
        let made = remove_if_there(&copy)
            // By way of /proc: the file may have been replaced by a newer build since this process began.
            .and_then(|()| fs::copy("/proc/self/exe", &copy))
            .and_then(|_| fs::set_permissions(&copy, fs::Permissions::from_mode(0o700)));
        made.map(|()| copy.clone())
            .map_err(|error| Failure::failed(format!("cannot copy this program to {}", copy.display())).because(error))
    }
}

fn default_directory() -> Result<PathBuf, Failure> {
    let user = nix::unistd::User::from_uid(nix::unistd::Uid::effective()).ok().flatten();
    let user = user.ok_or_else(|| {
        Failure::failed("cannot tell where to keep state")
            .because("this user is not in the account database")
            .advise("name a directory with `--state-dir DIR`, or use `--ephemeral`")
    })?;
    Ok(user.dir.join(".local/state/signet/dev"))
}

fn remove_if_there(file: &Path) -> io::Result<()> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write_config(path: &Path, text: &str) -> Result<(), Failure> {
    write_private(path, text.as_bytes(), Overwrite::Replace)
        .map_err(|error| Failure::failed(format!("cannot write {}", path.display())).because(error))
}

/// A JSON string is a TOML basic string too.
fn line(text: &mut String, key: &str, value: &(impl serde::Serialize + ?Sized)) {
    writeln!(text, "{key} = {}", json!(value)).expect("writing to a String succeeds");
}

const ELSEWHERE: &str = "name another directory with `--state-dir DIR`, or use `--ephemeral`";
/// `sun_path` has 108 bytes, the last of them zero.
const MAX_SOCKET_PATH: usize = 107;
const LONGEST_SOCKET: &str = "agent.sock";

#[cfg(test)]
mod tests {
    use ca::config::CaConfig;
    use node_agent::config::AgentConfig;

    use super::*;

    fn home() -> Home {
        Home::open(&DevArgs { check: false, ephemeral: true, state_dir: None }).unwrap()
    }

    #[test]
    fn the_services_take_the_configuration_that_is_written() {
        let home = home();
        home.write_ca_config("20s").unwrap();
        let ca = CaConfig::load(&home.ca_config()).unwrap();
        assert_eq!(ca.leaf.default_ttl().as_secs(), 20);
        assert!(ca.listen.ip().is_loopback());
        home.write_agent_config("127.0.0.1:8443", &"ab".repeat(32)).unwrap();
        let agent = AgentConfig::load(&home.agent_config()).unwrap();
        assert_eq!(agent.trust_domain, ca.trust_domain);
        assert_eq!(agent.api_socket, home.api_socket());
    }

    #[test]
    fn one_directory_one_dev() {
        let home = home();
        let again = DevArgs { check: false, ephemeral: false, state_dir: Some(home.root().to_owned()) };
        let Err(refused) = Home::open(&again) else { panic!("the directory is locked") };
        assert!(refused.one_line().contains("in use"), "{}", refused.one_line());
        let root = home.root().to_owned();
        drop(home);
        assert!(!root.exists(), "an ephemeral home goes");
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_with_advice() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(100));
        let args = DevArgs { check: false, ephemeral: false, state_dir: Some(deep) };
        let Err(refused) = Home::open(&args) else { panic!("the path is too long") };
        assert!(refused.one_line().contains("107"), "{}", refused.one_line());
    }

    #[test]
    fn a_copy_is_another_file_that_runs() {
        let home = home();
        let copy = home.copy_of_program("web").unwrap();
        assert_eq!(fs::metadata(&copy).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(&copy).unwrap().len(), fs::metadata(home.program()).unwrap().len());
        assert_eq!(home.copy_of_program("web").unwrap(), copy, "a second time too");
    }
}
