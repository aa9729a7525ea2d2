//! The targets by their names.

use crate::{
    answer, attest, cgroup, config, crl, csr, foreign_bundle, hello, jwks, jwt, ledger, objects, pem, policy, sds, spiffe_id,
    svid_verify, sync, vault,
};

/// A function over bytes of anybody's choice, and what it is called everywhere.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Of the binary below `fuzz/fuzz_targets` and of the folder below `fuzz/corpus`.
    pub name: &'static str,
    /// Panics when a rule does not hold.
    pub run: fn(&[u8]),
}

/// Every target. `fuzz/Cargo.toml` has a binary for each; `tests/replay.rs` compares.
pub const TARGETS: &[Target] = &[
    Target { name: "answer", run: answer::run },
    Target { name: "attest", run: attest::run },
    Target { name: "cgroup", run: cgroup::run },
    Target { name: "config", run: config::run },
    Target { name: "crl", run: crl::run },
    Target { name: "csr", run: csr::run },
    Target { name: "foreign_bundle", run: foreign_bundle::run },
    Target { name: "hello", run: hello::run },
    Target { name: "jwks", run: jwks::run },
    Target { name: "jwt", run: jwt::run },
    Target { name: "ledger", run: ledger::run },
    Target { name: "objects", run: objects::run },
    Target { name: "pem", run: pem::run },
    Target { name: "policy", run: policy::run },
    Target { name: "sds", run: sds::run },
    Target { name: "spiffe_id", run: spiffe_id::run },
    Target { name: "svid_verify", run: svid_verify::run },
    Target { name: "sync", run: sync::run },
    Target { name: "vault", run: vault::run },
];

/// The target of this name.
///
/// # Panics
/// When there is none.
#[must_use]
pub fn target(name: &str) -> Target {
    let found = TARGETS.iter().find(|target| target.name == name);
    *found.unwrap_or_else(|| unreachable!("no target is called {name}"))
}
