//! Versions below which a published vulnerability is known.

use std::collections::BTreeMap;

use super::root;

/// The lowest version that is safe, and why.
const FLOORS: &[(&str, (u64, u64, u64), &str)] = &[
    ("rustls-webpki", (0, 103, 13), "RUSTSEC-2026-0104, -0098, -0099, -0049; RUSTSEC-2023-0053"),
    ("rustls", (0, 23, 18), "RUSTSEC-2024-0399, -0336"),
    ("ring", (0, 17, 12), "RUSTSEC-2025-0009"),
    ("aws-lc-sys", (0, 39, 0), "RUSTSEC-2026-0044 to -0048"),
    ("aws-lc-fips-sys", (0, 13, 13), "RUSTSEC-2026-0044 to -0048"),
    ("h2", (0, 4, 16), "RUSTSEC-2026-0258, 2024-0332, 2024-0003, 2023-0034"),
    ("tonic", (0, 12, 3), "RUSTSEC-2024-0376"),
    ("jsonwebtoken", (10, 3, 0), "CVE-2026-25537"),
    ("time", (0, 3, 47), "RUSTSEC-2026-0009"),
    ("prost", (0, 6, 1), "RUSTSEC-2020-0002"),
    ("protobuf", (3, 7, 2), "RUSTSEC-2024-0437"),
    ("bytes", (1, 11, 1), "RUSTSEC-2026-0007"),
    ("hyper", (0, 14, 10), "RUSTSEC-2021-0078, -0079"),
];

/// Crates that must not be there in any version.
const BANNED: &[(&str, &str)] =
    &[("rsa", "RUSTSEC-2023-0071"), ("rustls-pemfile", "RUSTSEC-2025-0134"), ("openssl-sys", "one crypto backend")];

fn locked() -> BTreeMap<String, Vec<(u64, u64, u64)>> {
    locked_in("Cargo.lock")
}

fn locked_in(lock: &str) -> BTreeMap<String, Vec<(u64, u64, u64)>> {
    let text = std::fs::read_to_string(root().join(lock)).expect("Cargo.lock is committed");
    let lock: toml::Table = text.parse().expect("Cargo.lock is TOML");
    let mut versions = BTreeMap::<_, Vec<_>>::new();
    for package in lock["package"].as_array().expect("Cargo.lock lists packages") {
        let version = package["version"].as_str().expect("a package has a version");
        let numbers = version.split(['-', '+']).next().unwrap_or_default();
        let mut numbers = numbers.split('.').map(|number| number.parse().expect("a version is three numbers"));
        let mut next = || numbers.next().expect("a version is three numbers");
        let name = package["name"].as_str().expect("a package has a name").to_owned();
        versions.entry(name).or_default().push((next(), next(), next()));
    }
    versions
}

#[test]
fn no_locked_version_is_below_its_floor() {
    let locked = locked();
    for (name, floor, why) in FLOORS {
        for version in locked.get(*name).into_iter().flatten() {
            assert!(version >= floor, "{name} {version:?} is below {floor:?}: {why}");
        }
    }
    for needed in ["rustls", "rustls-webpki", "ring", "aws-lc-sys", "h2", "tonic", "time", "prost", "bytes"] {
        assert!(locked.contains_key(needed), "{needed} left the tree: its floor can go too");
    }
}

#[test]
fn banned_crates_are_not_locked_at_all() {
    let locked = locked();
    for (name, why) in BANNED {
        assert!(!locked.contains_key(*name), "{name}: {why}");
    }
}

#[test]
fn what_is_fuzzed_is_what_ships() {
    let (shipped, fuzzed) = (locked(), locked_in("fuzz/Cargo.lock"));
    for (name, versions) in &fuzzed {
        let Some(ours) = shipped.get(name) else { continue };
        let others: Vec<_> = versions.iter().filter(|version| !ours.contains(version)).collect();
        assert!(others.is_empty(), "fuzz/Cargo.lock has {name} {others:?}, Cargo.lock {ours:?}: copy Cargo.lock there and build");
    }
    assert!(fuzzed.contains_key("libfuzzer-sys") && !shipped.contains_key("libfuzzer-sys"));
}
