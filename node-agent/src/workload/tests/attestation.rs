//! What is read of a process, and what is not believed.

use std::path::Path;
use std::process::Command;

use identity::{Selector, SelectorKind};
use tokio::net::{UnixListener, UnixStream};

use super::super::caller::{AttestError, Caller, Peer};
use super::children::{
    ControlGroup, Running, as_child, attest_pid, child, copy_of_sleep, possible, skipped, sleeper, wait_for_exec,
};

fn path_selector(path: &Path) -> Selector {
    Selector::new(SelectorKind::Path, path.to_str().unwrap()).unwrap()
}

fn why_no_path(caller: &Caller) -> &str {
    assert!(!caller.selectors.iter().any(|selector| selector.as_str().starts_with("unix:path:")), "{caller:?}");
    &caller.unreadable.iter().find(|unreadable| unreadable.kind == SelectorKind::Path).expect("path is named as unreadable").why
}

#[test]
fn a_process_has_user_group_path_and_content() {
    let directory = tempfile::tempdir().unwrap();
    let (program, running) = sleeper(directory.path(), "web");
    let caller = attest_pid(running.pid()).unwrap();
    let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
    assert_eq!((caller.pid, caller.uid, caller.gid), (running.pid(), uid.as_raw(), gid.as_raw()));
    let mut expected = vec![format!("unix:uid:{uid}"), format!("unix:gid:{gid}"), path_selector(&program).to_string()];
    let user = nix::unistd::User::from_uid(uid).unwrap();
    let group = nix::unistd::Group::from_gid(gid).unwrap();
    expected.extend(user.map(|user| format!("unix:user:{}", user.name)));
    expected.extend(group.map(|group| format!("unix:group:{}", group.name)));
    expected.push(format!("unix:sha256:{}", sha256sum(&program)));
    for selector in &expected {
        assert!(caller.selectors.contains(&Selector::parse(selector).unwrap()), "{selector} is not in {caller:?}");
    }
    for kind in SelectorKind::ALL {
        let here = caller.selectors.iter().any(|selector| selector.is(kind));
        let reason = caller.unreadable.iter().any(|unreadable| unreadable.kind == kind);
        let may_be_none = matches!(kind, SelectorKind::SupplementaryGid | SelectorKind::SupplementaryGroup);
        if kind == SelectorKind::File || SelectorKind::OF_PODS.contains(&kind) {
            assert!(!here && !reason, "no process of this node has it");
        } else {
            assert!(here || reason || may_be_none, "{kind} is absent without a reason: {caller:?}");
        }
    }
}

fn sha256sum(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_ascii_whitespace().next().unwrap().to_owned()
}

fn has(caller: &Caller, selector: &str) -> bool {
    caller.selectors.contains(&Selector::parse(selector).unwrap())
}

/// What runs is hashed, wherever its name leads to now.
#[test]
fn the_content_is_that_of_the_running_file() {
    let directory = tempfile::tempdir().unwrap();
    let (program, running) = sleeper(directory.path(), "web");
    let of_sleep = format!("unix:sha256:{}", sha256sum(&program));
    std::fs::remove_file(&program).unwrap();
    assert!(Command::new("cp").arg("/bin/cat").arg(&program).status().unwrap().success());
    let of_cat = format!("unix:sha256:{}", sha256sum(&program));
    let caller = attest_pid(running.pid()).unwrap();
    assert!(has(&caller, &of_sleep) && !has(&caller, &of_cat), "{caller:?}");
    let swapped = Running::start(&mut Command::new(&program));
    wait_for_exec(swapped.pid(), &program);
    let caller = attest_pid(swapped.pid()).unwrap();
    assert!(has(&caller, &of_cat) && !has(&caller, &of_sleep), "same path, other content: {caller:?}");
}

#[test]
fn supplementary_groups_are_the_kernels_own_list() {
    let root = nix::unistd::geteuid().is_root();
    if !possible("supplementary_groups_are_the_kernels_own_list", "Root", root) {
        return;
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--groups=12345,0", "/bin/sleep", "60"]);
    let running = Running::start(&mut command);
    wait_for_exec(running.pid(), &std::fs::canonicalize("/bin/sleep").unwrap());
    let caller = attest_pid(running.pid()).unwrap();
    assert!(has(&caller, "unix:supplementary_gid:12345") && has(&caller, "unix:supplementary_gid:0"), "{caller:?}");
    assert!(has(&caller, "unix:supplementary_group:root"), "{caller:?}");
    assert!(!has(&caller, "unix:supplementary_gid:65534"), "the group it runs as is not among them: {caller:?}");
    let nameless = caller.unreadable.iter().find(|unreadable| unreadable.kind == SelectorKind::SupplementaryGroup).unwrap();
    assert!(nameless.why.contains("12345"), "a group without a name has a reason: {nameless:?}");
}

#[test]
fn the_unit_is_that_of_the_control_group() {
    let Some(group) = ControlGroup::make("web-signet.service") else {
        // A machine without the privilege to make one, or in a cgroup namespace: named among what did not run.
        return skipped("the_unit_is_that_of_the_control_group", "a writable hierarchy of cgroup version 2");
    };
    let inside = Running::start(Command::new("/bin/sleep").arg("60"));
    let outside = Running::start(Command::new("/bin/sleep").arg("60"));
    assert!(!has(&attest_pid(inside.pid()).unwrap(), "systemd:unit:web-signet.service"), "not yet");
    group.take(inside.pid());
    assert!(has(&attest_pid(inside.pid()).unwrap(), "systemd:unit:web-signet.service"));
    let caller = attest_pid(outside.pid()).unwrap();
    assert!(!has(&caller, "systemd:unit:web-signet.service"), "{caller:?}");
}

#[test]
fn a_deleted_or_replaced_executable_is_no_path_selector() {
    let directory = tempfile::tempdir().unwrap();
    let (program, running) = sleeper(directory.path(), "web");
    assert!(attest_pid(running.pid()).unwrap().selectors.contains(&path_selector(&program)));
    std::fs::remove_file(&program).unwrap();
    assert!(why_no_path(&attest_pid(running.pid()).unwrap()).contains("deleted or replaced"));
    std::fs::copy("/bin/sleep", &program).unwrap();
    assert!(why_no_path(&attest_pid(running.pid()).unwrap()).contains("deleted or replaced"));
    // Nor under the name that the kernel shows for a deleted file, when somebody makes such a file.
    let shown = directory.path().join("web (deleted)");
    std::fs::copy("/bin/sleep", &shown).unwrap();
    assert!(why_no_path(&attest_pid(running.pid()).unwrap()).contains("deleted or replaced"));
}

/// In a user and mount namespace of its own anybody can run any file under any path.
#[test]
fn a_path_faked_with_a_bind_mount_is_absent() {
    let directory = tempfile::tempdir().unwrap();
    let (real, twin) = sleeper(directory.path(), "real");
    assert!(attest_pid(twin.pid()).unwrap().selectors.contains(&path_selector(&real)), "the twin passes");
    let namespaces = Command::new("unshare").args(["-Urm", "true"]).status().is_ok_and(|status| status.success());
    if !possible("a_path_faked_with_a_bind_mount_is_absent", "UserNamespaces", namespaces) {
        return;
    }
    let fake = directory.path().join("fake");
    copy_of_sleep(&fake);
    let script = "mount --bind \"$1\" \"$2\" && exec \"$2\" 60";
    let faker = Running::start(Command::new("unshare").args(["-Urm", "sh", "-c", script, "sh"]).args([&fake, &real]));
    // The kernel shows the faked path.
    wait_for_exec(faker.pid(), &real);
    let caller = attest_pid(faker.pid()).unwrap();
    assert!(why_no_path(&caller).contains("another file"), "{caller:?}");
    assert_eq!(caller.uid, nix::unistd::geteuid().as_raw(), "and it is still its own user, not root of its namespace");
}

#[tokio::test]
async fn a_peer_is_who_the_kernel_says() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    let caller = Peer::of(&ours).unwrap().attest(None).unwrap();
    assert_eq!(caller.pid, i32::try_from(std::process::id()).unwrap());
    assert!(caller.selectors.contains(&path_selector(&std::env::current_exe().unwrap().canonicalize().unwrap())));
    assert!(caller.process.is_running());
}

#[tokio::test]
async fn a_peer_that_has_ended_is_refused_and_a_living_one_passes() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut heirs = Vec::new();
    let mut connect = || {
        let mut process = Running::start(&mut child("connects_and_hands_its_socket_to_a_child"));
        process.tell(socket.to_str().unwrap());
        heirs.push(process.hear().parse::<i32>().unwrap());
        process
    };
    let (mut before, mut between, alive) = (connect(), connect(), connect());
    let (of_before, _) = listener.accept().await.unwrap();
    let (of_between, _) = listener.accept().await.unwrap();
    let (of_alive, _) = listener.accept().await.unwrap();
    before.end();
    let error = Peer::of(&of_before).unwrap_err();
    assert!(matches!(error, AttestError::Credentials { .. } | AttestError::Unseen { .. }), "{error}");
    // After the kernel said who, before the selectors are read. Not reaped: its status can be read, and is not believed.
    let peer = Peer::of(&of_between).unwrap();
    between.end_unreaped();
    let error = peer.attest(None).unwrap_err();
    assert!(matches!(error, AttestError::Ended { .. }), "{error}");
    assert_eq!(Peer::of(&of_alive).unwrap().attest(None).unwrap().pid, alive.pid());
    heirs.into_iter().for_each(super::children::end_by_pid);
}

#[tokio::test]
async fn a_peer_that_changed_its_user_since_it_connected_is_refused() {
    let root = nix::unistd::geteuid().is_root();
    if !possible("a_peer_that_changed_its_user_since_it_connected_is_refused", "Root", root) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let mut process = Running::start(&mut child("connects_and_becomes_another_user"));
    process.tell(socket.to_str().unwrap());
    assert_eq!(process.hear(), "connected");
    let (stream, _) = listener.accept().await.unwrap();
    assert_eq!(Peer::of(&stream).unwrap().attest(None).unwrap().uid, 0, "before, it passes");
    process.tell("change");
    assert_eq!(process.hear(), "changed");
    let error = Peer::of(&stream).unwrap().attest(None).unwrap_err();
    assert!(matches!(error, AttestError::ChangedUser { connected_uid: 0, uid: 65_534, .. }), "{error}");
}

/// A zombie can still be looked at, and what `/proc` says of it is half a truth.
#[tokio::test]
async fn a_process_that_ended_and_was_not_reaped_is_refused() {
    let mut process = Running::start(Command::new("/bin/sleep").arg("60"));
    assert!(attest_pid(process.pid()).is_ok());
    let watched = attest_pid(process.pid()).unwrap().process;
    process.end_unreaped();
    assert!(!watched.is_running());
    assert!(matches!(attest_pid(process.pid()), Err(AttestError::Unseen { .. })));
}

#[test]
fn numbers_that_are_no_process_are_refused() {
    for pid in [0, -1, i32::MIN, i32::MAX] {
        assert!(matches!(attest_pid(pid), Err(AttestError::Unseen { .. })), "{pid}");
    }
}

/// An agent in a PID namespace cannot see who calls from outside: the kernel says 0.
#[test]
fn pid_0_is_refused() {
    let namespaces = Command::new("unshare").args(["-Urpf", "true"]).status().is_ok_and(|status| status.success());
    if !possible("pid_0_is_refused", "UserNamespaces", namespaces) {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut inside = Command::new("unshare");
    inside.args(["-Urpf", "--kill-child", "--mount-proc"]).arg(std::env::current_exe().unwrap());
    as_child(&mut inside, "says_who_connects_to_it");
    let mut said = Vec::new();
    for (name, mut command) in [("inside", inside), ("outside", child("says_who_connects_to_it"))] {
        let socket = directory.path().join(name);
        let mut listener = Running::start(&mut command);
        listener.tell(socket.to_str().unwrap());
        assert_eq!(listener.hear(), "ready");
        let _connection = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        said.push(listener.hear());
    }
    assert_eq!(said[0], AttestError::ForeignPidNamespace.to_string());
    assert_eq!(said[1], std::process::id().to_string(), "the twin passes");
}

#[test]
fn attestations_leave_no_descriptor_behind() {
    let mut process = Running::start(&mut child("attests_a_thousand_times_and_counts_its_descriptors"));
    process.tell("go");
    assert_eq!(process.hear(), "true");
}
