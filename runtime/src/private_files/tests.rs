use std::os::unix::fs::symlink;

use tempfile::tempdir;

use super::*;

fn mode_of(path: &Path) -> u32 {
    permission_bits(&std::fs::symlink_metadata(path).unwrap())
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn modes_hold_whatever_the_umask() {
    let temporary = tempdir().unwrap();
    let directory = temporary.path().join("parent/state");
    // The umask belongs to the whole process, where other tests run meanwhile: this one only narrows, for group and others.
    let before = nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    let made = ensure_private_dir(&temporary.path().join("masked"));
    let written = write_private(&temporary.path().join("key"), b"k", Overwrite::Refuse);
    let public = write_public(&temporary.path().join("certificate"), b"c", Overwrite::Refuse);
    nix::sys::stat::umask(before);
    made.and(written).and(public).unwrap();
    ensure_private_dir(&directory).unwrap();
    for (name, mode) in [("masked", 0o700), ("key", 0o600), ("certificate", 0o644), ("parent/state", 0o700)] {
        assert_eq!(mode_of(&temporary.path().join(name)), mode, "{name}");
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let temporary = tempdir().unwrap();
    let directory = temporary.path().join("state");
    ensure_private_dir(&directory).unwrap();
    for mode in [0o700, 0o750, 0o755] {
        set_mode(&directory, mode);
        ensure_private_dir(&directory).unwrap();
    }
    for mode in [0o770, 0o702, 0o1777] {
        set_mode(&directory, mode);
        let refused = ensure_private_dir(&directory).unwrap_err();
        assert!(matches!(refused, PrivateFileError::WritableByOthers { .. }), "{refused}");
        assert!(refused.to_string().contains("chmod go-w"), "{refused}");
    }
}

#[test]
fn what_another_user_owns_is_refused() {
    if !geteuid().is_root() {
        eprintln!("not root: cannot give a file away, so the owner check was not run");
        return;
    }
    let temporary = tempdir().unwrap();
    let directory = temporary.path().join("state");
    let key = temporary.path().join("key");
    ensure_private_dir(&directory).unwrap();
    write_private(&key, b"k", Overwrite::Refuse).unwrap();
    check_private_dir(&directory).unwrap();
    read_private(&key, 10).unwrap();
    for path in [&directory, &key] {
        std::os::unix::fs::chown(path, Some(65_534), None).unwrap();
    }
    let text = check_private_dir(&directory).unwrap_err().to_string();
    assert!(text.contains("belongs to uid 65534, and this process runs as uid 0"), "{text}");
    assert!(matches!(read_private(&key, 10).unwrap_err(), PrivateFileError::ForeignOwner { .. }));
}

#[test]
fn a_state_directory_is_no_link_and_no_file() {
    let temporary = tempdir().unwrap();
    let link = temporary.path().join("link");
    symlink(temporary.path(), &link).unwrap();
    assert!(matches!(ensure_private_dir(&link).unwrap_err(), PrivateFileError::Io { .. }));
    let file = temporary.path().join("file");
    write_public(&file, b"", Overwrite::Refuse).unwrap();
    assert!(ensure_private_dir(&file).is_err());
}

#[test]
fn an_existing_file_is_replaced_only_when_asked_and_nothing_is_left_behind() {
    let temporary = tempdir().unwrap();
    let path = temporary.path().join("key");
    write_private(&path, b"first", Overwrite::Refuse).unwrap();
    let refused = write_private(&path, b"second", Overwrite::Refuse).unwrap_err();
    assert!(matches!(refused, PrivateFileError::Exists { .. }), "{refused}");
    assert_eq!(read_private(&path, 100).unwrap(), b"first");
    write_private(&path, b"third", Overwrite::Replace).unwrap();
    assert_eq!(read_private(&path, 100).unwrap(), b"third");
    let names: Vec<_> = std::fs::read_dir(temporary.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["key"]);
}

#[test]
fn replacing_a_link_leaves_its_target_alone() {
    let temporary = tempdir().unwrap();
    let (target, link) = (temporary.path().join("target"), temporary.path().join("link"));
    write_private(&target, b"target", Overwrite::Refuse).unwrap();
    symlink(&target, &link).unwrap();
    write_private(&link, b"new", Overwrite::Replace).unwrap();
    assert_eq!(read_private(&target, 100).unwrap(), b"target");
    assert_eq!(read_private(&link, 100).unwrap(), b"new");
}

#[test]
fn a_key_that_others_reach_is_refused() {
    let temporary = tempdir().unwrap();
    let path = temporary.path().join("key");
    write_private(&path, b"key", Overwrite::Refuse).unwrap();
    for mode in [0o600, 0o400] {
        set_mode(&path, mode);
        read_private(&path, 3).unwrap();
    }
    for mode in [0o604, 0o620, 0o644, 0o602] {
        set_mode(&path, mode);
        let refused = read_private(&path, 3).unwrap_err();
        assert!(matches!(refused, PrivateFileError::ReachableByOthers { .. }), "{mode:o}: {refused}");
        read_bounded(&path, 3).unwrap();
    }
}

#[test]
fn reads_are_bounded_and_of_regular_files_only() {
    let temporary = tempdir().unwrap();
    let path = temporary.path().join("key");
    write_private(&path, b"12345", Overwrite::Refuse).unwrap();
    assert_eq!(read_private(&path, 5).unwrap(), b"12345");
    assert!(matches!(read_private(&path, 4).unwrap_err(), PrivateFileError::TooLarge { max: 4, .. }));
    assert!(matches!(read_bounded(temporary.path(), 4).unwrap_err(), PrivateFileError::NotRegular { .. }));
    assert_eq!(read_bounded(&temporary.path().join("none"), 4).unwrap_err().io_kind(), Some(io::ErrorKind::NotFound));
    let pipe = temporary.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(matches!(read_bounded(&pipe, 4).unwrap_err(), PrivateFileError::NotRegular { .. }));
}

#[test]
fn one_process_holds_a_directory_and_the_other_is_told_which() {
    let temporary = tempdir().unwrap();
    let lock = DirLock::acquire(temporary.path()).unwrap();
    // A second open file stands for a second process: flock(2) locks belong to the open file.
    let refused = DirLock::acquire(temporary.path()).unwrap_err().to_string();
    assert!(refused.contains(&format!("in use by process {},", std::process::id())), "{refused}");
    assert_eq!(mode_of(&temporary.path().join("lock")) & 0o077, 0);
    drop(lock);
    DirLock::acquire(temporary.path()).unwrap();
}
