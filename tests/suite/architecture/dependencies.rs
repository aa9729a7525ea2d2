//! Who may depend on whom, read from `cargo metadata`.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use super::root;

/// One crate's place in the house.
struct Place {
    name: &'static str,
    floor: u8,
    /// The crates of this workspace that it may use.
    may_use: &'static [&'static str],
    /// External crates that must not be anywhere below it.
    must_not_touch: &'static [&'static str],
}

const PURE: &[&str] = &["tokio", "rustls", "tonic", "hyper", "nix", "rusqlite", "getrandom"];

const HOUSE: &[Place] = &[
    Place { name: "identity", floor: 0, may_use: &[], must_not_touch: PURE },
    Place { name: "proto", floor: 0, may_use: &[], must_not_touch: &["rustls", "rusqlite", "nix", "ring", "aws-lc-rs"] },
    Place {
        name: "runtime",
        floor: 0,
        may_use: &[],
        must_not_touch: &["rustls", "tonic", "prost", "ring", "aws-lc-rs", "rusqlite"],
    },
    // ring reads the system's randomness inside the seam, through getrandom: the one exception.
    Place {
        name: "pki",
        floor: 1,
        may_use: &["identity"],
        must_not_touch: &["tokio", "rustls", "tonic", "hyper", "nix", "rusqlite"],
    },
    Place {
        name: "policy",
        floor: 1,
        may_use: &["identity"],
        must_not_touch: &["tokio", "rustls", "tonic", "hyper", "nix", "rusqlite", "getrandom", "ring", "aws-lc-rs"],
    },
    Place { name: "pkcs11", floor: 2, may_use: &["pki", "runtime"], must_not_touch: &["rustls", "tonic", "prost", "rusqlite"] },
    Place { name: "mtls", floor: 2, may_use: &["identity", "pki", "runtime"], must_not_touch: &["tonic", "prost", "rusqlite"] },
    Place { name: "vault", floor: 3, may_use: &["mtls", "pki", "runtime"], must_not_touch: &["tonic", "prost", "rusqlite"] },
    Place { name: "kubernetes", floor: 3, may_use: &["mtls", "runtime"], must_not_touch: &["tonic", "prost", "rusqlite"] },
    Place {
        name: "ca",
        floor: 4,
        may_use: &["identity", "kubernetes", "pki", "pkcs11", "mtls", "proto", "runtime", "vault"],
        must_not_touch: &[],
    },
    Place { name: "sds", floor: 4, may_use: &["identity", "pki", "proto", "runtime"], must_not_touch: &["rustls", "rusqlite"] },
    Place {
        name: "node-agent",
        floor: 5,
        may_use: &["identity", "kubernetes", "pki", "mtls", "proto", "runtime", "sds", "vault"],
        must_not_touch: &["rusqlite", "tokio-postgres"],
    },
    Place {
        name: "cli",
        floor: 6,
        may_use: &["identity", "pki", "mtls", "proto", "runtime", "ca", "sds", "node-agent"],
        must_not_touch: &[],
    },
    Place {
        name: "fuzz-targets",
        floor: 6,
        may_use: &["identity", "pki", "policy", "proto", "ca", "kubernetes", "sds", "node-agent", "vault"],
        must_not_touch: &["libfuzzer-sys"],
    },
    Place {
        name: "tests",
        floor: 6,
        may_use: &["identity", "kubernetes", "pki", "mtls", "vault", "proto", "runtime", "ca", "sds", "node-agent", "cli"],
        must_not_touch: &[],
    },
];

/// External crates that only the named crates may take directly.
const KEPT_BY: &[(&str, &[&str])] = &[
    ("rustls", &["mtls"]),
    ("tokio-rustls", &["mtls"]),
    ("rustls-webpki", &["pki"]),
    ("aws-lc-rs", &["pki"]),
    ("ring", &["pki"]),
    // The harness makes what is no SVID with it: certificates of Kubernetes' nodes.
    ("rcgen", &["pki", "tests"]),
    // What ring lacks to read and write PKCS#8 under a passphrase.
    ("aes", &["pki"]),
    ("cbc", &["pki"]),
    ("scrypt", &["pki"]),
    // The fuzz targets hold it against what pki accepted.
    ("x509-parser", &["pki", "fuzz-targets"]),
    ("rusqlite", &["ca"]),
    ("tokio-postgres", &["ca"]),
    ("envoy-types", &["proto"]),
    ("getrandom", &["runtime"]),
    ("clap", &["cli"]),
    // The only name of PKCS #11 there is.
    ("cryptoki", &["pkcs11"]),
    ("cryptoki-sys", &[]),
];

pub(super) fn metadata() -> Metadata {
    let mut command = MetadataCommand::new();
    command.manifest_path(root().join("Cargo.toml")).other_options(["--locked".to_owned()]);
    command.exec().expect("cargo metadata reads this workspace")
}

pub(super) fn members(metadata: &Metadata) -> BTreeMap<&str, &Package> {
    metadata.workspace_packages().into_iter().map(|package| (package.name.as_str(), package)).collect()
}

/// Names of everything that ships below a package: its normal and build dependencies, and theirs.
fn below(metadata: &Metadata, package: &Package) -> BTreeSet<String> {
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut seen = BTreeSet::new();
    let mut open = vec![&package.id];
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let ships = dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal);
            if ships && seen.insert(&dependency.pkg) {
                open.push(&dependency.pkg);
            }
        }
    }
    seen.into_iter().map(|id| metadata[id].name.to_string()).collect()
}

#[test]
fn every_crate_has_its_place_and_lies_in_the_folder_of_its_name() {
    let metadata = metadata();
    let found: BTreeSet<_> = members(&metadata).into_keys().collect();
    let placed: BTreeSet<_> = HOUSE.iter().map(|place| place.name).collect();
    assert_eq!(found, placed);
    for (name, package) in members(&metadata) {
        let folder = package.manifest_path.parent().expect("a manifest lies in a folder");
        assert_eq!(folder.file_name(), Some(name));
    }
}

#[test]
fn edges_go_down_and_only_where_the_table_says() {
    let floors: BTreeMap<_, _> = HOUSE.iter().map(|place| (place.name, place.floor)).collect();
    let metadata = metadata();
    let members = members(&metadata);
    for place in HOUSE {
        let own = members[place.name].dependencies.iter().filter(|dependency| floors.contains_key(dependency.name.as_str()));
        for dependency in own.filter(|dependency| dependency.kind != DependencyKind::Development) {
            let name = dependency.name.as_str();
            assert!(place.may_use.contains(&name), "{} may not use {name}", place.name);
            // The one edge within a floor is none: the node agent, which hosts sds, stands a floor above it.
            assert!(floors[name] < place.floor, "{} (floor {}) uses {name} (floor {})", place.name, place.floor, floors[name]);
        }
    }
}

#[test]
fn nothing_below_a_crate_is_what_it_must_not_touch() {
    let metadata = metadata();
    let members = members(&metadata);
    for place in HOUSE {
        let below = below(&metadata, members[place.name]);
        let touched: Vec<_> = place.must_not_touch.iter().filter(|name| below.contains(**name)).collect();
        assert!(touched.is_empty(), "{} touches {touched:?}", place.name);
    }
}

#[test]
fn named_external_crates_are_taken_by_their_keepers_alone() {
    let metadata = metadata();
    for (name, package) in members(&metadata) {
        for dependency in package.dependencies.iter().filter(|dependency| dependency.kind != DependencyKind::Development) {
            if let Some((external, keepers)) = KEPT_BY.iter().find(|(external, _)| *external == dependency.name) {
                assert!(keepers.contains(&name), "{name} takes {external}, which is kept by {keepers:?}");
            }
        }
    }
}

#[test]
fn siblings_are_taken_without_their_default_features() {
    let metadata = metadata();
    let members = members(&metadata);
    for (name, package) in &members {
        for dependency in package.dependencies.iter().filter(|dependency| members.contains_key(dependency.name.as_str())) {
            let has_backend = members[dependency.name.as_str()].features.contains_key("ring");
            assert!(
                !(has_backend && dependency.uses_default_features),
                "{name} chooses the backend of {} by default",
                dependency.name
            );
        }
    }
}
