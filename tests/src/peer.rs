//! Other people's clients: the programs of `tests/peers`, which all speak alike.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::requirement::peers_directory;
use crate::{PATIENCE, Process, TestBed, eventually};

/// Which library a peer stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerKind {
    /// go-spiffe.
    Go,
    /// The crates `spiffe` and `spiffe-rustls`.
    Rust,
    /// The packages `spiffe` and `spiffe-tls`.
    Python,
    /// java-spiffe.
    Java,
    /// spiffe-helper, which writes files; it does not speak like the others.
    SpiffeHelper,
}

impl PeerKind {
    /// Those that speak alike.
    pub const CLIENTS: [Self; 4] = [Self::Go, Self::Rust, Self::Python, Self::Java];

    /// A short name, lower case.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Rust => "rust",
            Self::Python => "python",
            Self::Java => "java",
            Self::SpiffeHelper => "spiffe-helper",
        }
    }

    /// The program that runs it, by the path that the kernel will tell; `None` when it was not built.
    #[must_use]
    pub fn program(self) -> Option<PathBuf> {
        let directory = peers_directory()?;
        let program = match self {
            Self::Go => directory.join("go/peer"),
            Self::Rust => directory.join("rust/debug/peer"),
            Self::Python => directory.join("python/bin/python3"),
            Self::Java => {
                if !directory.join("java/classes/Peer.class").exists() {
                    return None;
                }
                found_on_path("java")?
            }
            Self::SpiffeHelper => directory.join("go/spiffe-helper"),
        };
        std::fs::canonicalize(program).ok()
    }

    /// Whether the machine could build it.
    pub(crate) fn has_tool_chain(self) -> bool {
        match self {
            Self::Go | Self::SpiffeHelper => found_on_path("go").is_some(),
            Self::Rust => true,
            Self::Python => found_on_path("python3").is_some(),
            Self::Java => found_on_path("mvn").is_some() && found_on_path("javac").is_some(),
        }
    }

    fn command(self) -> Command {
        let directory = peers_directory().expect("the test asked for the peer");
        let program = match self {
            // By its own path: that is what makes Python find the packages beside it.
            Self::Python => directory.join("python/bin/python3"),
            Self::Go | Self::Rust | Self::Java | Self::SpiffeHelper => self.program().expect("the test asked for the peer"),
        };
        let mut command = Command::new(program);
        match self {
            Self::Go | Self::Rust | Self::SpiffeHelper => {}
            Self::Python => {
                command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/peers/python/peer.py"));
            }
            Self::Java => {
                let classes = directory.join("java/classes");
                command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp"]);
                command.arg(format!("{}:{}/*", classes.display(), directory.join("java/lib").display())).arg("Peer");
            }
        }
        command
    }
}

/// A running client.
pub struct Peer {
    /// The process.
    pub process: Process,
    /// Which library it stands for.
    pub kind: PeerKind,
    /// Lines taken so far.
    taken: usize,
}

impl Peer {
    /// Starts a verb of `tests/peers/README.md` at this socket.
    ///
    /// # Panics
    /// When the peer was not built.
    #[must_use]
    pub fn start(bed: &TestBed, kind: PeerKind, socket: &Path, words: &[&str]) -> Self {
        let verb = words.first().expect("a verb");
        let mut command = kind.command();
        command.args(words).env("SPIFFE_ENDPOINT_SOCKET", format!("unix://{}", socket.display()));
        let process = Process::start_fed(&format!("{}-{verb}", kind.name()), &mut command, bed.path());
        Self { process, kind, taken: 0 }
    }

    /// Runs a verb that ends by itself and gives its one line.
    pub async fn run(bed: &TestBed, kind: PeerKind, socket: &Path, words: &[&str]) -> Value {
        let mut peer = Self::start(bed, kind, socket, words);
        let line = peer.line().await;
        peer.process.exit(PATIENCE).await;
        line
    }

    /// Its next line.
    ///
    /// # Panics
    /// When none comes within a minute.
    pub async fn line(&mut self) -> Value {
        let what = format!("line {} of the {} peer", self.taken + 1, self.kind.name());
        let line = eventually(&what, async || self.lines().get(self.taken).cloned()).await;
        self.taken += 1;
        line
    }

    /// Lines up to the first that is as wanted; that one.
    pub async fn line_where(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.line().await;
            if wanted(&line) {
                return line;
            }
        }
    }

    /// How many lines it has written.
    #[must_use]
    pub fn written(&self) -> usize {
        self.lines().len()
    }

    fn lines(&self) -> Vec<Value> {
        let text = self.process.stdout();
        let whole = text.rfind('\n').and_then(|end| text.get(..end)).unwrap_or_default();
        let parse =
            |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{} says no JSON: {line}", self.kind.name()));
        whole.lines().map(parse).collect()
    }
}

#[expect(clippy::disallowed_methods, reason = "where programs are is told by the environment")]
fn found_on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|candidate| candidate.is_file())
}
