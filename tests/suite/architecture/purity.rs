//! The pure modules name no I/O, no clock, no randomness and no environment.

use std::path::PathBuf;

use super::{root, rust_files};

/// Folders and files that must stay pure. A module may be a file or grow into a folder.
const PURE: &[&str] = &[
    "identity/src",
    "pki/src",
    "policy/src",
    "ca/src/authority",
    "ca/src/federation/judgement",
    "ca/src/federation/relation",
    "ca/src/federation/schedule",
    "ca/src/issuance",
    "ca/src/istio/impersonation",
    "ca/src/jwt/issuance",
    "ca/src/revocation/lists",
    "ca/src/node_pods/rule",
    "ca/src/turns/queue",
    "ca/src/turns/urgency",
    "ca/src/oidc/rule",
    "ca/src/oidc/template",
    "ca/src/service_accounts/account",
    "ca/src/service_accounts/cache",
    "kubernetes/src/pods",
    "node-agent/src/workload/hierarchies",
    "node-agent/src/workload/kubernetes/cgroup",
    "node-agent/src/workload/kubernetes/selectors",
    "sds/src/stream",
];

/// Names that give a module away.
const TELLTALES: &[&str] = &[
    "std::env",
    "std::fs",
    "std::io::",
    "std::net::Tcp",
    "std::net::Udp",
    "std::process",
    "std::thread",
    "tokio::",
    "SystemTime::now",
    "Instant",
    "getrandom",
    "SystemClock",
    "SystemEntropy",
    "rusqlite",
    "nix::",
    "tracing::",
];

/// The code of a file without its test module and its comments.
fn shipped_code(text: &str) -> String {
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

fn is_test_file(path: &std::path::Path) -> bool {
    path.file_stem().is_some_and(|stem| stem == "tests" || stem == "test_pki")
        || path.components().any(|part| part.as_os_str() == "tests")
}

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    for place in PURE {
        let folder = root().join(place);
        let file = root().join(format!("{place}.rs"));
        let mut files: Vec<PathBuf> = if folder.is_dir() { rust_files(&folder) } else { Vec::new() };
        files.extend(file.is_file().then_some(file));
        assert!(!files.is_empty(), "{place} is gone; its successor belongs in this list");
        for path in files.iter().filter(|path| !is_test_file(path)) {
            let code = shipped_code(&std::fs::read_to_string(path).expect("a source file can be read"));
            for telltale in TELLTALES {
                assert!(!code.contains(telltale), "{} names {telltale}", path.display());
            }
        }
    }
}

#[test]
fn the_reading_of_shipped_code_would_notice_a_clock() {
    let code = shipped_code("// SystemTime::now in a comment\nlet t = SystemTime::now();\n#[cfg(test)]\nmod tests { std::fs }");
    assert!(code.contains("SystemTime::now") && !code.contains("comment") && !code.contains("std::fs"));
}
