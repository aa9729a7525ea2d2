//! The shape of files: sizes, tables of contents, one clippy configuration.

use std::path::Path;

use super::{root, rust_files};

const CRATES: &[&str] = &[
    "identity",
    "proto",
    "runtime",
    "pki",
    "policy",
    "pkcs11",
    "mtls",
    "vault",
    "kubernetes",
    "ca",
    "sds",
    "node-agent",
    "cli",
    "fuzz-targets",
    "tests",
];

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).expect("a source file can be read").lines().count()
}

#[test]
fn no_file_is_over_600_lines_and_95_of_100_stay_below_451() {
    let mut sizes = Vec::new();
    for name in CRATES {
        for path in rust_files(&root().join(name)) {
            let size = lines(&path);
            assert!(size <= 600, "{} has {size} lines: split it by its reasons to change", path.display());
            sizes.push(size);
        }
    }
    sizes.sort_unstable();
    let p95 = sizes[sizes.len() * 95 / 100];
    assert!(p95 <= 450, "the 95th percentile of file sizes is {p95} lines");
}

#[test]
fn each_lib_is_a_table_of_contents() {
    for name in CRATES.iter().filter(|name| **name != "cli" && **name != "proto") {
        let lib = root().join(name).join("src/lib.rs");
        assert!(lines(&lib) <= 60, "{} is more than a table of contents", lib.display());
    }
}

#[test]
fn one_clippy_configuration_rules_all() {
    for name in CRATES {
        for file in ["clippy.toml", ".clippy.toml", "rustfmt.toml", "rust-toolchain.toml", "rust-toolchain"] {
            assert!(!root().join(name).join(file).exists(), "{name}/{file} would replace the one at the root");
        }
    }
    assert!(root().join("clippy.toml").is_file());
}

#[test]
fn no_module_hides_behind_a_name_that_says_nothing() {
    for name in CRATES {
        for path in rust_files(&root().join(name)) {
            let stem = path.file_stem().and_then(|stem| stem.to_str()).expect("a source file has a name");
            let parent = path.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap_or_default();
            for vague in ["util", "utils", "helper", "helpers", "common", "manager", "misc"] {
                assert!(stem != vague && parent != vague, "{} says nothing of what is in it", path.display());
            }
        }
    }
}
