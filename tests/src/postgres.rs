//! A PostgreSQL server of one test run: in a directory of its own, as an ordinary user, on a Unix socket.
//!
//! The unit tests of the store include this file too, so it stands on the standard library, nix and tempfile alone.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Gid, Pid, Uid, chown, geteuid};

/// The superuser of the server, who needs no password at the socket.
pub(crate) const USER: &str = "signet";

/// Who runs the server when the tests run as root, which PostgreSQL refuses: nobody.
const ORDINARY: u32 = 65_534;

/// How often it is asked whether it is ready, each 50 ms.
const TRIES: usize = 1_200;

/// The server that the tests of this process share, while any of them needs it.
static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());

/// A server, which ends when it is dropped, or with this process.
#[derive(Debug)]
pub struct PostgresServer {
    programs: Programs,
    home: tempfile::TempDir,
    databases: AtomicU32,
    keeper: Mutex<Option<Keeper>>,
}

/// A database of a server.
#[derive(Debug)]
pub struct Database {
    server: Arc<PostgresServer>,
    name: String,
}

/// The thread that started the server: the kernel ends the server with it.
#[derive(Debug)]
struct Keeper {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

/// PostgreSQL as Debian has it.
#[derive(Clone, Debug)]
struct Programs {
    bin: PathBuf,
    libraries: Vec<PathBuf>,
}

impl PostgresServer {
    /// A fresh database on the server that this process shares; `None` where there is no PostgreSQL, which is told and listed.
    ///
    /// # Panics
    /// When there is none though `REQUIRE_POSTGRES` promised it, or it does not do its work.
    #[must_use]
    pub fn database() -> Option<Database> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        let server = match shared.upgrade() {
            Some(server) => server,
            None => {
                let started = Self::start(&[])?;
                *shared = Arc::downgrade(&started);
                started
            }
        };
        drop(shared);
        Some(server.new_database())
    }

    /// A server of its own, with these settings (`name=value`).
    ///
    /// # Panics
    /// As [`Self::database`].
    #[must_use]
    pub fn start(settings: &[&str]) -> Option<Arc<Self>> {
        let Some(programs) = programs() else {
            list_as_skipped();
            return None;
        };
        let home = home();
        if geteuid().is_root() {
            chown(home.path(), Some(Uid::from_raw(ORDINARY)), Some(Gid::from_raw(ORDINARY)))
                .expect("root gives directories away");
        }
        let server = Self { programs, home, databases: AtomicU32::new(0), keeper: Mutex::new(None) };
        let mut make = server.ordinary("initdb");
        make.args(["--username", USER, "--auth", "trust", "--encoding", "UTF8", "--locale", "C", "--no-sync", "--pgdata"]);
        checked(make.arg(server.data()));
        let settings: String = settings.iter().map(|setting| format!("{setting}\n")).collect();
        let usual = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nmax_connections = 300\nshared_buffers = 32MB\n{settings}",
            server.socket().display()
        );
        let mut file = OpenOptions::new().append(true).open(server.data().join("postgresql.conf")).expect("initdb wrote it");
        file.write_all(usual.as_bytes()).expect("it can be written");
        server.run();
        Some(Arc::new(server))
    }

    /// A fresh database.
    ///
    /// # Panics
    /// When the server does not make it.
    #[must_use]
    pub fn new_database(self: &Arc<Self>) -> Database {
        let name = format!("ca{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        Database { server: Arc::clone(self), name }
    }

    /// Runs the server, which was made or ended before.
    ///
    /// # Panics
    /// When it does not get ready.
    pub fn run(&self) {
        let mut command = self.ordinary("postgres");
        command.arg("-D").arg(self.data()).stdin(Stdio::null());
        let log = OpenOptions::new().create(true).append(true).open(self.log()).expect("the log is writable");
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        let ((stop, stopped), (started, has_started)) = (mpsc::channel::<()>(), mpsc::channel());
        let keep = move || {
            let mut child: Child = command.spawn().expect("postgres starts");
            started.send(()).ok();
            // An error says that whoever would stop it is gone.
            stopped.recv().ok();
            // Fast: sessions are ended, and what was confirmed is on disk.
            kill(Pid::from_raw(i32::try_from(child.id()).expect("a process id")), Signal::SIGINT).ok();
            child.wait().expect("the server ends");
        };
        let thread = std::thread::Builder::new().name("postgres".to_owned()).spawn(keep).expect("a thread");
        has_started.recv().expect("the server was started");
        *self.keeper.lock().unwrap_or_else(PoisonError::into_inner) = Some(Keeper { stop, thread });
        let is_ready = || {
            let mut asked = self.programs.command("pg_isready");
            asked.arg("--quiet").arg("--host").arg(self.socket()).status().is_ok_and(|status| status.success())
        };
        for _ in 0..TRIES {
            if is_ready() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("the server is not ready: {}", std::fs::read_to_string(self.log()).unwrap_or_default());
    }

    /// Ends the server, and all sessions with it.
    pub fn end(&self) {
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Keeper { stop, thread }) = keeper {
            drop(stop);
            thread.join().ok();
        }
    }

    /// The directory of its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.home.path().to_owned()
    }

    /// Where its data lies.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Runs statements as the superuser; answers with what they answer, a line for each row.
    ///
    /// # Panics
    /// When the server refuses them.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let mut command = self.programs.command("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--username", USER, "--dbname", database]);
        command.args(["--set", "ON_ERROR_STOP=1", "--command", sql]).arg("--host").arg(self.socket());
        checked(&mut command).trim().to_owned()
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("log")
    }

    /// A program of the server, as an ordinary user, that ends with whoever started it.
    fn ordinary(&self, program: &str) -> Command {
        let mut command = Command::new("setpriv");
        if geteuid().is_root() {
            command.args([&format!("--reuid={ORDINARY}"), &format!("--regid={ORDINARY}"), "--clear-groups"]);
        }
        command.args(["--pdeathsig", "QUIT", "--"]).arg(self.programs.bin.join(program)).current_dir(self.home.path());
        self.programs.with_libraries(&mut command);
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Database {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The directory of the server's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.server.socket()
    }

    /// Runs statements as the superuser.
    ///
    /// # Panics
    /// When the server refuses them.
    pub fn sql(&self, sql: &str) -> String {
        self.server.sql(&self.name, sql)
    }

    /// Ends every session of a CA with this database, in the middle of whatever it does, and waits for it; says how many there were.
    ///
    /// # Panics
    /// When the server refuses.
    #[must_use]
    pub fn end_sessions(&self) -> usize {
        let sql = format!(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE datname = '{}' AND application_name = 'signet-ca'",
            self.name
        );
        self.sql(&sql).lines().count()
    }
}

impl Programs {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        self.with_libraries(&mut command);
        command
    }

    fn with_libraries(&self, command: &mut Command) {
        if !self.libraries.is_empty() {
            let paths = self.libraries.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
            command.env("LD_LIBRARY_PATH", paths.join(":"));
        }
    }
}

/// In memory where there is a file system for that: what the server syncs then costs nothing.
fn home() -> tempfile::TempDir {
    let (mut builder, memory) = (tempfile::Builder::new(), Path::new("/dev/shm"));
    builder.prefix("postgres-");
    let made = if memory.is_dir() { builder.tempdir_in(memory) } else { builder.tempdir() };
    made.expect("a temporary directory")
}

/// Whether there is a PostgreSQL: of the system, or as `./test` unpacks it.
#[must_use]
pub(crate) fn is_there() -> bool {
    programs().is_some()
}

/// The newest version below the root that `./test` names, or the system's.
fn programs() -> Option<Programs> {
    let named = variable("SIGNET_TEST_POSTGRES").map(PathBuf::from);
    let root = named.clone().unwrap_or_else(|| "/".into());
    let entries = |path: &Path| std::fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.path());
    let versions = entries(&root.join("usr/lib/postgresql"));
    let bin = versions.map(|version| version.join("bin")).filter(|bin| bin.join("postgres").exists()).max()?;
    let libraries = named.map(|_| entries(&root.join("usr/lib")).filter(|path| path.is_dir()).collect());
    Some(Programs { bin, libraries: libraries.unwrap_or_default() })
}

fn list_as_skipped() {
    assert!(variable("REQUIRE_POSTGRES").is_none(), "PostgreSQL is needed, and this machine lacks it; run it through ./test");
    if let Some(list) = variable("SIGNET_TEST_SKIPS") {
        let mut list = OpenOptions::new().append(true).create(true).open(list).expect("the list of skipped tests is writable");
        writeln!(list, "tests of the store on PostgreSQL (need Postgres)").expect("the list of skipped tests is writable");
    }
    eprintln!("this did not run: it needs PostgreSQL");
}

fn checked(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {told}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[expect(clippy::disallowed_methods, reason = "`./test` tells what it installed through the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
