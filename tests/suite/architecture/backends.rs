//! One crypto backend in each build: `ring` by default, `aws-lc` in its place; what is in a build is read from `cargo tree`.

use std::collections::BTreeSet;
use std::process::Command;

use cargo_metadata::{DependencyKind, Package};

use super::dependencies::{members, metadata};
use super::root;

/// A way to build.
struct Build {
    name: &'static str,
    features: &'static [&'static str],
    /// What makes the backend, all of which is there.
    own: &'static [&'static str],
    /// What belongs to the other one, none of which is.
    others: &'static [&'static str],
}

const BUILDS: &[Build] = &[
    Build { name: "ring", features: &[], own: &["ring"], others: &["aws-lc-rs", "aws-lc-sys", "aws-lc-fips-sys"] },
    Build {
        name: "aws-lc",
        features: &["--no-default-features", "--features", "aws-lc"],
        own: &["aws-lc-rs", "aws-lc-sys"],
        // The last three do for ring what it lacks.
        others: &["ring", "aws-lc-fips-sys", "aes", "cbc", "scrypt"],
    },
];

/// What no build has: a third TLS stack, and the RSA of RUSTSEC-2023-0071.
const NOWHERE: &[&str] = &["openssl", "openssl-sys", "native-tls", "rsa"];

fn cargo_tree(arguments: &[&str]) -> String {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).args(["tree", "--locked", "--prefix", "none", "--format", "{p}"]).args(arguments);
    let output = cargo.output().expect("cargo runs");
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo writes UTF-8")
}

/// The names of the packages in a tree, which come one in a line, each before its version.
fn packages(tree: &str) -> BTreeSet<&str> {
    tree.lines().filter_map(|line| line.split_whitespace().next()).collect()
}

/// What is wrong with a tree as one of this build; empty when nothing is.
fn faults(build: &Build, tree: &str) -> Vec<String> {
    let packages = packages(tree);
    let missing = build.own.iter().filter(|name| !packages.contains(**name)).map(|name| format!("{name} is missing"));
    let foreign = build.others.iter().chain(NOWHERE).filter(|name| packages.contains(**name));
    missing.chain(foreign.map(|name| format!("{name} is there"))).collect()
}

#[test]
fn the_shipped_binary_has_one_crypto_backend_in_either_build() {
    for build in BUILDS {
        let tree = cargo_tree(&[&["--package", "cli", "--edges", "normal"], build.features].concat());
        assert_eq!(faults(build, &tree), [""; 0], "the build with {}", build.name);
    }
}

#[test]
fn no_test_or_build_script_brings_the_other_backend_along() {
    for build in BUILDS {
        let tree = cargo_tree(&[&["--workspace", "--edges", "normal,build,dev"], build.features].concat());
        assert_eq!(faults(build, &tree), [""; 0], "the workspace with {}", build.name);
    }
}

/// The control: the forbidden build with both backends is at fault as either, and so is a tree with what no build has.
#[test]
fn a_second_backend_is_found() {
    let both = cargo_tree(&["--package", "cli", "--edges", "normal", "--features", "aws-lc"]);
    let [ring, aws_lc] = BUILDS else { panic!("there are two builds") };
    assert_eq!(faults(ring, &both), ["aws-lc-rs is there", "aws-lc-sys is there"]);
    assert_eq!(faults(aws_lc, &both), ["ring is there", "aes is there", "cbc is there", "scrypt is there"]);
    let planted = "cli v0.1.0 (/src/cli)\nring v0.17.14\nrsa v0.9.8\nopenssl-sys v0.9.109 (*)\nrsa-like v1.0.0\n";
    assert_eq!(faults(ring, planted), ["openssl-sys is there", "rsa is there"]);
    assert_eq!(faults(ring, "cli v0.1.0\n"), ["ring is missing"]);
}

fn enables(package: &Package, feature: &str, wanted: &str) -> bool {
    package.features.get(feature).is_some_and(|enabled| enabled.iter().any(|one| one == wanted))
}

#[test]
fn every_crate_hands_both_features_down_and_has_ring_as_its_default() {
    let metadata = metadata();
    let members = members(&metadata);
    for (name, package) in &members {
        let siblings = package.dependencies.iter().filter(|one| one.kind == DependencyKind::Normal);
        let siblings = siblings.filter_map(|one| members.get(one.name.as_str()));
        let chosen = siblings.filter(|sibling| sibling.features.contains_key("ring")).collect::<Vec<_>>();
        let chooses = !chosen.is_empty() || *name == "pki";
        assert_eq!(package.features.contains_key("ring"), chooses, "{name}");
        assert_eq!(package.features.contains_key("aws-lc"), chooses, "{name}");
        assert_eq!(enables(package, "default", "ring"), chooses, "{name}");
        assert!(!enables(package, "default", "aws-lc"), "{name}");
        for (sibling, feature) in chosen.iter().flat_map(|sibling| [(sibling, "ring"), (sibling, "aws-lc")]) {
            let wanted = format!("{}/{feature}", sibling.name);
            assert!(enables(package, feature, &wanted), "{name}: its feature {feature} lacks {wanted}");
        }
    }
}

/// `--all-features` would enable both.
#[test]
fn no_script_builds_with_all_features() {
    for script in ["test", ".ci/run"] {
        let text = std::fs::read_to_string(root().join(script)).expect("a script of ours can be read");
        assert!(text.contains("cargo ") && !text.contains("--all-features"), "{script}");
    }
}
