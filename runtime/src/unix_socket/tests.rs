use tempfile::tempdir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

fn mode_of(path: &Path) -> u32 {
    std::fs::symlink_metadata(path).unwrap().mode() & 0o7777
}

#[tokio::test]
async fn a_bound_socket_serves_with_its_mode_and_goes_when_dropped() {
    let temporary = tempdir().unwrap();
    for (name, mode) in [("a/b/open.sock", 0o666), ("a/private.sock", 0o600)] {
        let path = temporary.path().join(name);
        let bound = BoundSocket::bind(&path, mode).unwrap();
        assert_eq!(mode_of(&path), mode);
        assert_eq!(mode_of(path.parent().unwrap()) & 0o022, 0);
        let mut client = UnixStream::connect(&path).await.unwrap();
        let mut server = bound.accept().await.unwrap();
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        drop(bound);
        assert!(!path.exists());
    }
}

#[tokio::test]
async fn only_a_dead_socket_of_ours_is_replaced() {
    let temporary = tempdir().unwrap();
    let path = temporary.path().join("s.sock");
    let live = BoundSocket::bind(&path, 0o600).unwrap();
    assert!(matches!(BoundSocket::bind(&path, 0o600).unwrap_err(), SocketError::InUse { .. }));
    drop(live);

    drop(StdUnixListener::bind(&path).unwrap());
    assert!(path.exists(), "std leaves the socket behind");
    let replaced = BoundSocket::bind(&path, 0o600).unwrap();
    drop(replaced);

    std::fs::write(&path, b"precious").unwrap();
    assert!(matches!(BoundSocket::bind(&path, 0o600).unwrap_err(), SocketError::NotASocket { .. }));
    assert_eq!(std::fs::read(&path).unwrap(), b"precious");
}

#[tokio::test]
async fn a_socket_or_directory_of_another_user_is_refused() {
    if !geteuid().is_root() {
        eprintln!("not root: cannot give a file away, so the owner checks were not run");
        return;
    }
    let temporary = tempdir().unwrap();
    let path = temporary.path().join("s.sock");
    drop(StdUnixListener::bind(&path).unwrap());
    std::os::unix::fs::chown(&path, Some(65_534), None).unwrap();
    let refused = BoundSocket::bind(&path, 0o600).unwrap_err();
    assert!(matches!(refused, SocketError::ForeignSocket { owner: 65_534, .. }), "{refused}");
    std::fs::remove_file(&path).unwrap();
    std::os::unix::fs::chown(temporary.path(), Some(65_534), None).unwrap();
    let refused = BoundSocket::bind(&path, 0o600).unwrap_err();
    assert!(matches!(refused, SocketError::ForeignDirectory { owner: 65_534, .. }), "{refused}");
}

#[tokio::test]
async fn a_directory_that_others_may_write_to_is_refused_unless_sticky() {
    let temporary = tempdir().unwrap();
    let path = temporary.path().join("s.sock");
    for (mode, accepted) in [(0o755, true), (0o1777, true), (0o777, false), (0o775, false)] {
        std::fs::set_permissions(temporary.path(), Permissions::from_mode(mode)).unwrap();
        let outcome = BoundSocket::bind(&path, 0o600);
        assert_eq!(outcome.is_ok(), accepted, "{mode:o}: {outcome:?}");
        if let Err(refused) = outcome {
            assert!(matches!(refused, SocketError::WritableDirectory { .. }), "{refused}");
        }
    }
}

#[tokio::test]
async fn a_path_has_at_most_107_bytes() {
    let temporary = tempdir().unwrap();
    let room = MAX_SOCKET_PATH_BYTES - temporary.path().as_os_str().len() - 1;
    BoundSocket::bind(&temporary.path().join("s".repeat(room)), 0o600).unwrap();
    let refused = BoundSocket::bind(&temporary.path().join("s".repeat(room + 1)), 0o600).unwrap_err();
    assert!(matches!(refused, SocketError::PathTooLong { found: 108, .. }), "{refused}");
}

#[tokio::test]
async fn dropping_leaves_a_socket_that_replaced_ours() {
    let temporary = tempdir().unwrap();
    let path = temporary.path().join("s.sock");
    let first = BoundSocket::bind(&path, 0o600).unwrap();
    // Renamed away rather than removed, so that the newcomer cannot be given the same inode number.
    std::fs::rename(&path, temporary.path().join("old.sock")).unwrap();
    let second = BoundSocket::bind(&path, 0o600).unwrap();
    drop(first);
    assert!(path.exists());
    drop(second);
    assert!(!path.exists());
}
