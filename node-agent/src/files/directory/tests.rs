//! Whole sets at every moment, and nobody in between.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use tempfile::TempDir;
use zeroize::Zeroizing;

use super::*;

fn set(content: &str) -> Vec<SetFile> {
    let file = |name, mode| SetFile { name, bytes: Zeroizing::new(format!("{name} {content}").into_bytes()), mode };
    vec![file("root-cert.pem", 0o644), file("cert-chain.pem", 0o644), file("key.pem", 0o600)]
}

fn directory() -> (TempDir, PathBuf) {
    let bed = tempfile::tempdir().unwrap();
    let path = bed.path().canonicalize().unwrap().join("certs");
    (bed, path)
}

/// Does the first `count` steps, as a program that is killed then.
fn interrupted(path: &Path, files: &[SetFile], random: u64, count: usize) -> usize {
    let directory = SetDirectory::prepare(path).unwrap();
    let switch = directory.switch(1_800_000_000, random, (None, None));
    let steps = directory.steps(files);
    for step in steps.iter().take(count) {
        switch.perform(step).unwrap();
    }
    steps.len()
}

fn put(path: &Path, content: &str, random: u64) {
    interrupted(path, &set(content), random, usize::MAX);
}

/// What a program finds that opens the files by their names.
fn found(path: &Path) -> BTreeMap<&'static str, String> {
    NAMES.into_iter().filter_map(|name| Some((name, std::fs::read_to_string(path.join(name)).ok()?))).collect()
}

fn whole(content: &str) -> BTreeMap<&'static str, String> {
    set(content).into_iter().map(|file| (file.name, format!("{} {content}", file.name))).collect()
}

fn entries(path: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_program_finds_one_whole_set_or_the_other_wherever_a_switch_is_cut() {
    let (_bed, path) = directory();
    put(&path, "old", 0);
    let mut switched = 0;
    let mut count = 0;
    loop {
        let steps = interrupted(&path, &set("new"), 100 + u64::try_from(count).unwrap(), count);
        let found = found(&path);
        switched += usize::from(found == whole("new"));
        assert!(found == whole("old") || found == whole("new"), "after {count} of {steps} steps: {found:?}");
        // The next start goes on from there.
        put(&path, "old", 1000 + u64::try_from(count).unwrap());
        assert_eq!(self::found(&path), whole("old"));
        let set = format!("..1800000000-{:016x}", 1000 + count);
        assert_eq!(entries(&path), [&set, "..data", "cert-chain.pem", "key.pem", "root-cert.pem"], "nothing is left behind");
        if count == steps {
            break;
        }
        count += 1;
    }
    assert!(switched >= 2 && count >= 10, "{switched} of {count}");
}

#[test]
fn the_first_switch_is_whole_too_and_a_file_half_written_never_counts() {
    for count in 0..14 {
        let (_bed, path) = directory();
        interrupted(&path, &set("new"), 1, count);
        let found = found(&path);
        assert!(found.is_empty() || found == whole("new"), "after {count} steps: {found:?}");
        if let Some(torn) = entries(&path).iter().find(|name| is_set(OsStr::new(name)) && found.is_empty()) {
            std::fs::write(path.join(torn).join("key.pem"), "ke").unwrap();
            assert!(self::found(&path).is_empty());
        }
        put(&path, "next", 2);
        assert_eq!(self::found(&path), whole("next"));
        assert_eq!(entries(&path).len(), 5, "{:?}", entries(&path));
    }
}

#[test]
fn a_set_that_no_longer_has_a_file_loses_its_link() {
    let (_bed, path) = directory();
    put(&path, "old", 1);
    let files = [SetFile { name: "combined.pem", bytes: Zeroizing::new(b"x".to_vec()), mode: 0o600 }];
    interrupted(&path, &files, 2, usize::MAX);
    assert_eq!(entries(&path), ["..1800000000-0000000000000002", "..data", "combined.pem"]);
}

#[test]
fn modes_and_owner_are_on_the_files_before_they_count() {
    let (_bed, path) = directory();
    let root = geteuid().is_root();
    let owner = if root { (Some(Uid::from_raw(65_534)), Some(Gid::from_raw(12_345))) } else { (None, None) };
    let expected = if root { (65_534, 12_345) } else { (geteuid().as_raw(), nix::unistd::getegid().as_raw()) };
    let files = set("new");
    let directory = SetDirectory::prepare(&path).unwrap();
    let switch = directory.switch(1_800_000_000, 1, owner);
    let mut checked = 0;
    for step in directory.steps(&files) {
        if matches!(step, Step::Switch) {
            for file in &files {
                let metadata = std::fs::symlink_metadata(path.join(&switch.set).join(file.name)).unwrap();
                assert_eq!((metadata.mode() & 0o7777, (metadata.uid(), metadata.gid())), (file.mode, expected), "{}", file.name);
                checked += 1;
            }
        }
        switch.perform(&step).unwrap();
    }
    assert_eq!(checked, 3);
    assert!(switch.is_done());
    for directory in [path.clone(), path.join("..data")] {
        let metadata = std::fs::metadata(directory).unwrap();
        assert_eq!((metadata.mode() & 0o7777, metadata.uid()), (0o755, geteuid().as_raw()), "theirs to read, ours to write");
    }
}

fn refused(path: &Path) -> DirectoryError {
    assert!(check(path).is_err(), "the check says so before");
    SetDirectory::prepare(path).map(|_| ()).unwrap_err()
}

#[test]
fn a_link_in_the_path_is_refused_wherever_it_stands() {
    let (_bed, path) = directory();
    put(&path, "old", 1);
    assert!(check(&path).is_ok());
    let beside = path.with_file_name("beside");
    symlink(&path, &beside).unwrap();
    assert!(matches!(refused(&beside), DirectoryError::NotADirectory { .. }));
    let parent = path.parent().unwrap().with_file_name(format!("link-{}", std::process::id()));
    symlink(path.parent().unwrap(), &parent).unwrap();
    let through = refused(&parent.join("certs"));
    std::fs::remove_file(&parent).unwrap();
    assert!(matches!(through, DirectoryError::NotADirectory { .. }), "{through}");
    assert_eq!(found(&path), whole("old"));
}

#[test]
fn a_directory_that_others_may_change_is_refused_at_each_level() {
    let (_bed, path) = directory();
    put(&path, "old", 1);
    let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    for (place, good, bad) in [(path.as_path(), 0o755, 0o775), (&path, 0o755, 0o1777), (path.parent().unwrap(), 0o700, 0o707)] {
        mode(place, bad);
        assert!(matches!(refused(&path), DirectoryError::NotOurs { .. }), "{} {bad:o}", place.display());
        mode(place, good);
        assert!(check(&path).is_ok());
    }
    // Above it others may make their own files, when they cannot touch ours.
    mode(path.parent().unwrap(), 0o1777);
    assert!(check(&path).is_ok());
    if geteuid().is_root() {
        std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
        assert!(matches!(refused(&path), DirectoryError::NotOurs { owner: 65_534, .. }));
    }
}

#[test]
fn what_is_not_ours_is_never_replaced() {
    type Plant = fn(&Path);
    let plants: [(&str, Plant); 5] = [
        ("key.pem", |path| std::fs::write(path, "an operator's own").unwrap()),
        ("root-cert.pem", |path| symlink("/etc/passwd", path).unwrap()),
        ("combined.pem", |path| std::fs::write(path, "not of this set").unwrap()),
        ("..data", |path| symlink("/etc", path).unwrap()),
        ("..data", |path| std::fs::create_dir(path).unwrap()),
    ];
    for (name, plant) in plants {
        let (_bed, path) = directory();
        std::fs::create_dir(&path).unwrap();
        plant(&path.join(name));
        let before = entries(&path);
        assert!(matches!(check(&path), Err(DirectoryError::InTheWay { .. })), "{name}");
        let directory = SetDirectory::prepare(&path).unwrap();
        let files = set("new");
        let switch = directory.switch(1_800_000_000, 1, (None, None));
        let error = directory.steps(&files).iter().try_for_each(|step| switch.perform(step)).unwrap_err();
        assert!(matches!(error, DirectoryError::InTheWay { .. }), "{name}: {error}");
        assert_eq!(entries(&path), before, "nothing was made or removed");
        assert!(!switch.is_done());
    }
}

/// A place of a set, or of a file in it, that somebody else made first is not written to.
#[test]
fn nothing_is_written_through_what_lies_in_the_way() {
    let (bed, path) = directory();
    std::fs::create_dir(&path).unwrap();
    let elsewhere = bed.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let directory = SetDirectory::prepare(&path).unwrap();
    let switch = directory.switch(1_800_000_000, 1, (None, None));
    symlink(&elsewhere, path.join(&switch.set)).unwrap();
    let files = set("new");
    assert!(switch.perform(&Step::Make).is_err());
    assert!(matches!(switch.perform(&Step::Write(&files[2])), Err(DirectoryError::NotADirectory { .. })));
    std::fs::remove_file(path.join(&switch.set)).unwrap();
    switch.perform(&Step::Make).unwrap();
    symlink(elsewhere.join("stolen"), path.join(&switch.set).join("key.pem")).unwrap();
    assert!(switch.perform(&Step::Write(&files[2])).is_err());
    assert_eq!(entries(&elsewhere), [""; 0]);
    std::fs::remove_file(path.join(&switch.set).join("key.pem")).unwrap();
    assert!(switch.perform(&Step::Write(&files[2])).is_ok(), "the twin passes");
}

#[test]
fn only_names_of_ours_are_swept() {
    let (_bed, path) = directory();
    put(&path, "old", 1);
    for name in ["..others", "..1800000000-xyz", "notes.txt", ".hidden", "..1-0123456789abcdef"] {
        std::fs::write(path.join(name), "an operator's").unwrap();
    }
    put(&path, "new", 2);
    assert_eq!(entries(&path).len(), 10, "{:?}", entries(&path));
}

#[test]
fn a_switch_that_is_not_seen_under_every_name_does_not_pass() {
    let (_bed, path) = directory();
    put(&path, "old", 0);
    let directory = SetDirectory::prepare(&path).unwrap();
    let (files, switch) = (set("new"), directory.switch(1_800_000_000, 7, (None, None)));
    for step in directory.steps(&files) {
        if matches!(step, Step::Switch) {
            assert!(matches!(switch.check(&files), Err(DirectoryError::NotReadBack { .. })), "the old set counts");
        }
        switch.perform(&step).unwrap();
    }
    switch.check(&files).unwrap();
    std::fs::remove_file(path.join("key.pem")).unwrap();
    let error = switch.check(&files).unwrap_err();
    assert!(matches!(&error, DirectoryError::NotReadBack { path } if path.ends_with("key.pem")), "{error}");
    // Another switch took over: this one's set is not the one that is read.
    put(&path, "newer", 8);
    assert!(matches!(switch.check(&files), Err(DirectoryError::NotReadBack { .. })));
}

/// Those of an operator who kept them here before there were any of ours.
#[test]
fn revocation_lists_of_another_making_stay_and_keep_nothing_from_being_written() {
    let (_bed, path) = directory();
    std::fs::create_dir(&path).unwrap();
    std::fs::write(path.join("crl.pem"), "an operator's own").unwrap();
    check(&path).unwrap();
    assert!(SetDirectory::prepare(&path).unwrap().has_other_lists());
    for random in [1, 2] {
        put(&path, "new", random);
        let mut found = found(&path);
        assert_eq!(found.remove("crl.pem").as_deref(), Some("an operator's own"));
        assert_eq!(found, whole("new"));
    }
    std::fs::remove_file(path.join("crl.pem")).unwrap();
    assert!(!SetDirectory::prepare(&path).unwrap().has_other_lists());
}
