//! What a test needs of the machine. A test that cannot run is counted and named in the last line of `./test`, never passed over.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use crate::PeerKind;

/// Something that not every machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The suite runs as root (`REQUIRE_ROOT=1` makes its absence a failure).
    Root,
    /// strace(1), and leave to trace (`REQUIRE_STRACE=1`).
    Strace,
    /// The kernel lets this user make user and mount namespaces.
    UserNamespaces,
    /// Python with the packages of `tests/peers/istio`, which `./test` installs.
    IstioPeer,
    /// The Envoy binary that `./test` installs.
    Envoy,
    /// A client program of `tests/peers`, which `./test` builds where its tool chain is.
    Peer(PeerKind),
    /// A copy of x509-limbo's cases, which `./test --limbo FILE` names.
    Limbo,
    /// The nginx binary of the system, or the one that `./test` unpacks.
    Nginx,
    /// PostgreSQL, of the system or as `./test` unpacks it (`REQUIRE_POSTGRES=1`).
    Postgres,
    /// SoftHSM, of the system or as `./test` unpacks it (`REQUIRE_SOFTHSM=1`).
    SoftHsm,
    /// The control plane of Kubernetes that `./test` builds from `tests/apiserver` where Go is (`REQUIRE_APISERVER=1`).
    ApiServer,
    /// The program that renders the manifests, which `./test` builds from `tests/render` where Go is (`REQUIRE_APISERVER=1`).
    Renderer,
    /// Root, and a hierarchy of control groups of version 2 in which groups can be made at its root.
    ControlGroups,
}

impl Requirement {
    /// Whether the machine has it.
    #[must_use]
    pub fn is_met(self) -> bool {
        match self {
            Self::Root => nix::unistd::geteuid().is_root(),
            Self::Strace => crate::strace::strace_works(),
            Self::UserNamespaces => user_namespaces_work(),
            Self::IstioPeer => istio_peer().is_some(),
            Self::Peer(kind) => kind.program().is_some(),
            Self::Envoy => envoy_binary().is_some(),
            Self::Limbo => limbo().is_some_and(|path| path.is_file()),
            Self::Nginx => nginx_binary().is_some(),
            Self::Postgres => crate::postgres::is_there(),
            Self::SoftHsm => softhsm_root().is_some(),
            Self::ApiServer => apiserver_program().is_some(),
            Self::Renderer => renderer_program().is_some(),
            Self::ControlGroups => crate::container::is_possible(),
        }
    }

    /// Whether its absence was ruled out by whoever runs the tests.
    fn is_demanded(self) -> bool {
        match self {
            Self::Root | Self::UserNamespaces => variable("REQUIRE_ROOT").is_some(),
            Self::Strace => variable("REQUIRE_STRACE").is_some(),
            Self::IstioPeer | Self::Envoy => variable("SIGNET_TEST_FAST").is_none(),
            Self::Peer(kind) => variable("SIGNET_TEST_FAST").is_none() && kind.has_tool_chain(),
            Self::Limbo => limbo().is_some(),
            Self::Nginx => variable("REQUIRE_NGINX").is_some(),
            Self::Postgres => variable("REQUIRE_POSTGRES").is_some(),
            Self::SoftHsm => variable("REQUIRE_SOFTHSM").is_some(),
            Self::ApiServer | Self::Renderer => variable("REQUIRE_APISERVER").is_some(),
            // Where the tests run in a container of their own, nobody can promise it.
            Self::ControlGroups => false,
        }
    }
}

/// Whether the machine has what the test needs. If not, the test is listed as not run, or fails where its running was demanded.
///
/// # Panics
/// When the requirement is missing though `REQUIRE_ROOT`, `REQUIRE_STRACE`, `REQUIRE_NGINX`, `REQUIRE_SOFTHSM`, `REQUIRE_POSTGRES`, `REQUIRE_APISERVER` or the full `./test` promised it.
#[must_use]
pub fn needs(test: &str, requirement: Requirement) -> bool {
    if requirement.is_met() {
        return true;
    }
    assert!(!requirement.is_demanded(), "{test} needs {requirement:?}, which this machine lacks; run it through ./test");
    if let Some(list) = variable("SIGNET_TEST_SKIPS") {
        let mut list = OpenOptions::new().append(true).create(true).open(list).expect("the list of skipped tests is writable");
        writeln!(list, "{test} (needs {requirement:?})").expect("the list of skipped tests is writable");
    }
    eprintln!("{test} did not run: it needs {requirement:?}");
    false
}

/// The Python that `./test` gave the packages of `tests/peers/istio`.
#[must_use]
pub fn istio_peer() -> Option<PathBuf> {
    variable("SIGNET_TEST_ISTIO_PEER").map(PathBuf::from).filter(|path| path.is_file())
}

/// The file of x509-limbo's cases that `./test --limbo` was given.
#[must_use]
pub fn limbo() -> Option<PathBuf> {
    variable("SIGNET_TEST_LIMBO").map(PathBuf::from)
}

/// The Envoy binary that `./test` installed.
pub(crate) fn envoy_binary() -> Option<PathBuf> {
    variable("SIGNET_TEST_ENVOY").map(PathBuf::from).filter(|path| path.is_file())
}

/// Where `./test` put the programs of `tests/peers`.
pub(crate) fn peers_directory() -> Option<PathBuf> {
    variable("SIGNET_TEST_PEERS").map(PathBuf::from)
}

/// The nginx binary that `./test` found or unpacked, or the system's.
#[must_use]
pub fn nginx_binary() -> Option<PathBuf> {
    let named = variable("SIGNET_TEST_NGINX").map(PathBuf::from);
    named.or_else(|| Some("/usr/sbin/nginx".into())).filter(|path| path.is_file())
}

/// The program of `tests/apiserver` that `./test` built.
pub(crate) fn apiserver_program() -> Option<PathBuf> {
    variable("SIGNET_TEST_APISERVER").map(PathBuf::from).filter(|path| path.is_file())
}

/// The program of `tests/render` that `./test` built.
#[must_use]
pub fn renderer_program() -> Option<PathBuf> {
    variable("SIGNET_TEST_RENDER").map(PathBuf::from).filter(|path| path.is_file())
}

/// The directory below which SoftHSM lies as Debian has it: where `./test` unpacked it, or the system's root.
pub(crate) fn softhsm_root() -> Option<PathBuf> {
    let named = variable("SIGNET_TEST_SOFTHSM").map(PathBuf::from);
    let is_there =
        |root: &PathBuf| root.join("usr/lib/softhsm/libsofthsm2.so").exists() && root.join("usr/bin/softhsm2-util").exists();
    named.or_else(|| Some("/".into())).filter(is_there)
}

fn user_namespaces_work() -> bool {
    std::process::Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .stderr(std::process::Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

#[expect(clippy::disallowed_methods, reason = "`./test` tells the suite what it installed through the environment")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
