//! Real files, looked at for readers who are not this process.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::sys::stat::Mode;
use pki::Timestamp;

use super::look::{ContentCache, Found, MAX_FILE_BYTES, Unfit};
use super::reader::Reader;
use super::settings::{FileLinks, FileSecretSettings};
use super::walk::Refusal;
use crate::fakes::FakeAuthority;

/// Neither root nor this process.
const STRANGER: u32 = 4242;
const START: u64 = 1_800_000_000;

struct Bed {
    directory: tempfile::TempDir,
    cache: ContentCache,
    links: FileLinks,
    authority: FakeAuthority,
}

impl Bed {
    /// A directory that everybody may go through.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let authority = FakeAuthority::new(Timestamp::from_unix_seconds(START));
        Self { directory, cache: ContentCache::default(), links: FileLinks::Forbid, authority }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8], mode: u32) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    /// Chain and key of a new SVID, in PEM.
    fn pair(&self) -> (String, String) {
        let now = Timestamp::from_unix_seconds(START);
        let svid = self.authority.svid(&self.authority.id("/web"), Duration::from_secs(600), now);
        (pki::certificates_to_pem(svid.chain()), svid.key().to_pkcs8_pem().to_string())
    }

    fn write_pair(&self, directory: &str, mode: u32) {
        let (chain, key) = self.pair();
        self.write(&format!("{directory}/tls.crt"), chain.as_bytes(), 0o644);
        self.write(&format!("{directory}/tls.key"), key.as_bytes(), mode);
    }

    fn look_for(&mut self, reader: &Reader, name: &str) -> Found {
        let name = name.replace("{}", self.directory.path().to_str().unwrap());
        let settings = FileSecretSettings { directories: vec![self.directory.path().to_owned()], links: self.links };
        self.cache.look(&Arc::from(name), reader, &settings, Timestamp::from_unix_seconds(u64::from(u32::MAX)))
    }

    fn look(&mut self, name: &str) -> Found {
        self.look_for(&Reader::new(STRANGER, &[STRANGER]), name)
    }

    #[track_caller]
    fn gives(&mut self, name: &str) {
        let found = self.look(name);
        assert!(matches!(found, Found::Secret(_)), "{found:?}");
    }

    #[track_caller]
    fn refuses(&mut self, name: &str) -> Refusal {
        match self.look(name) {
            Found::Refused(refusal) => refusal,
            found @ (Found::Secret(_) | Found::Unfit(_)) => panic!("not refused: {found:?}"),
        }
    }
}

const PAIR: &str = "file-cert:{}/a/tls.crt~{}/a/tls.key";
const ROOT: &str = "file-root:{}/a/tls.crt";

#[test]
fn a_reader_gets_what_its_user_and_groups_may_read_and_nothing_else() {
    let mut bed = Bed::new();
    bed.write_pair("a", 0o644);
    bed.gives(PAIR);
    bed.gives(ROOT);
    let key = bed.path("a/tls.key");
    for mode in [0o600, 0o640, 0o604, 0o000] {
        fs::set_permissions(&key, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(bed.refuses(PAIR), Refusal::NotForTheReader { what: "read", .. }), "{mode:o}");
        bed.gives(ROOT);
    }
    // Root may read everything; the group that the file has, when the mode gives it to the group.
    assert!(matches!(bed.look_for(&Reader::new(0, &[]), PAIR), Found::Secret(_)));
    let group = std::os::unix::fs::MetadataExt::gid(&fs::metadata(&key).unwrap());
    let member = Reader::new(STRANGER, &[STRANGER, group]);
    fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(bed.look_for(&member, PAIR), Found::Secret(_)));
    fs::set_permissions(&key, Permissions::from_mode(0o604)).unwrap();
    assert!(matches!(bed.look_for(&member, PAIR), Found::Refused(_)), "the group's bits stand above the others'");
}

#[test]
fn a_directory_that_the_reader_could_not_go_through_hides_what_is_below() {
    let mut bed = Bed::new();
    bed.write_pair("a", 0o644);
    bed.gives(PAIR);
    for (at, mode) in [("a", 0o700), ("", 0o750)] {
        let path = bed.path(at);
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert!(matches!(bed.refuses(PAIR), Refusal::NotForTheReader { what: "go through", .. }), "{at} {mode:o}");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        bed.gives(PAIR);
    }
    fs::set_permissions(bed.path("a"), Permissions::from_mode(0o711)).unwrap();
    bed.gives(PAIR);
}

#[test]
fn an_access_control_list_leaves_it_open_so_the_reader_gets_nothing() {
    let mut bed = Bed::new();
    bed.write_pair("a", 0o644);
    bed.gives(PAIR);
    // acl(5) as the kernel keeps it: version 2, then tag, permissions and ID of: owner rw, user 4242 none, group r, mask r, others r.
    let entries: [(u16, u16, u32); 5] =
        [(0x01, 6, u32::MAX), (0x02, 0, STRANGER), (0x04, 4, u32::MAX), (0x10, 4, u32::MAX), (0x20, 4, u32::MAX)];
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in entries {
        list.extend([tag.to_le_bytes(), permissions.to_le_bytes()].concat());
        list.extend(id.to_le_bytes());
    }
    let key = bed.path("a/tls.key");
    match rustix::fs::setxattr(&key, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty()) {
        Err(rustix::io::Errno::OPNOTSUPP) => println!("skipped: this file system has no access control lists"),
        set => {
            set.unwrap();
            assert!(matches!(bed.refuses(PAIR), Refusal::NotForTheReader { .. }));
        }
    }
}

#[test]
fn names_lead_to_regular_files_below_a_configured_directory_only() {
    let mut bed = Bed::new();
    bed.write_pair("a", 0o644);
    bed.gives(PAIR);
    let outside = tempfile::tempdir().unwrap();
    let outside = outside.path().to_str().unwrap();
    let directory = bed.directory.path().file_name().unwrap().to_str().unwrap().to_owned();
    for name in [
        &format!("file-root:{outside}/tls.crt"),
        "file-root:{}",
        "file-root:/etc/ssl/certs/ca-certificates.crt",
        "file-root:{}x/a/tls.crt",
    ] {
        assert!(matches!(bed.refuses(name), Refusal::Outside), "{name}");
    }
    for name in [
        &format!("file-root:{{}}/../{directory}/a/tls.crt"),
        "file-root:{}/./a/tls.crt",
        "file-root:{}//a/tls.crt",
        "file-root:{}/a/tls.crt/",
        "file-root:a/tls.crt",
        "file-root:",
        "file-cert:{}/a/tls.crt",
        "file-cert:{}/a/tls.crt~{}/a/tls.key~{}/a/tls.key",
    ] {
        assert!(matches!(bed.refuses(name), Refusal::NotPlain), "{name}");
    }
    nix::unistd::mkfifo(&bed.path("a/pipe"), Mode::from_bits_truncate(0o666)).unwrap();
    for name in ["file-root:{}/a/pipe", "file-root:{}/a"] {
        assert!(matches!(bed.refuses(name), Refusal::NotRegular { .. }), "{name}");
    }
    for name in ["file-root:{}/a/none", "file-root:{}/a/tls.crt/more"] {
        assert!(matches!(bed.refuses(name), Refusal::Unopened { .. } | Refusal::NotRegular { .. }), "{name}");
    }
}

#[test]
fn links_are_refused_or_followed_below_the_directory_never_out_of_it() {
    let mut bed = Bed::new();
    bed.write_pair("..1", 0o644);
    fs::create_dir(bed.path("a")).unwrap();
    bed.write_pair("a/..1", 0o644);
    symlink("..1", bed.path("a/..data")).unwrap();
    symlink("..data/tls.crt", bed.path("a/tls.crt")).unwrap();
    symlink("..data/tls.key", bed.path("a/tls.key")).unwrap();
    assert!(matches!(bed.refuses(PAIR), Refusal::Link { .. }));
    bed.links = FileLinks::Data;
    bed.gives(PAIR);
    let absolute = bed.path("a/..1/tls.crt");
    let targets = [absolute.to_str().unwrap(), "../..1/tls.crt", "/etc/passwd", "/proc/self/root/etc/passwd", "self"];
    for (number, target) in targets.into_iter().enumerate() {
        symlink(target, bed.path(&format!("a/self{number}"))).unwrap();
        assert!(
            matches!(bed.refuses(&format!("file-root:{{}}/a/self{number}")), Refusal::Link { .. } | Refusal::Unopened { .. }),
            "{target}"
        );
    }
    symlink("self", bed.path("a/self")).unwrap();
    assert!(matches!(bed.refuses("file-root:{}/a/self"), Refusal::Link { .. }), "a circle ends");
    // A directory behind a link is judged as any other.
    fs::set_permissions(bed.path("a/..1"), Permissions::from_mode(0o700)).unwrap();
    assert!(matches!(bed.refuses(PAIR), Refusal::NotForTheReader { what: "go through", .. }));
}

#[test]
fn a_hard_link_brings_its_own_mode_along() {
    let mut bed = Bed::new();
    bed.write_pair("secret", 0o600);
    bed.write_pair("a", 0o644);
    bed.gives(PAIR);
    fs::remove_file(bed.path("a/tls.key")).unwrap();
    fs::hard_link(bed.path("secret/tls.key"), bed.path("a/tls.key")).unwrap();
    assert!(matches!(bed.refuses(PAIR), Refusal::NotForTheReader { what: "read", .. }));
}

#[test]
fn a_pair_that_does_not_match_is_unfit_and_a_new_one_is_seen() {
    let mut bed = Bed::new();
    bed.write_pair("a", 0o644);
    let Found::Secret(first) = bed.look(PAIR) else { panic!("not given") };
    let Found::Secret(again) = bed.look(PAIR) else { panic!("not given") };
    assert_eq!(first, again);
    let (chain, key) = bed.pair();
    bed.write("a/tls.crt", chain.as_bytes(), 0o644);
    assert!(matches!(bed.look(PAIR), Found::Unfit(Unfit::Content(_))), "half of the new pair");
    bed.write("a/tls.key", key.as_bytes(), 0o644);
    let Found::Secret(second) = bed.look(PAIR) else { panic!("not given") };
    assert_ne!(first, second);
    bed.write("a/tls.crt", b"", 0o644);
    assert!(matches!(bed.look(ROOT), Found::Unfit(Unfit::Content(_))));
    bed.write("a/tls.crt", &vec![b'x'; MAX_FILE_BYTES + 1], 0o644);
    assert!(matches!(bed.look(ROOT), Found::Unfit(Unfit::TooLarge)));
    let padded = [chain.as_bytes(), &vec![b'\n'; MAX_FILE_BYTES - chain.len()]].concat();
    bed.write("a/tls.crt", &padded, 0o644);
    bed.gives(ROOT);
}

#[test]
fn a_missing_directory_and_a_swap_under_way_are_refusals_not_faults() {
    let mut bed = Bed::new();
    let settings = FileSecretSettings { directories: vec![Path::new("/nowhere/at/all").to_owned()], links: FileLinks::Data };
    let name = Arc::from("file-root:/nowhere/at/all/ca.crt");
    let found = bed.cache.look(&name, &Reader::new(0, &[]), &settings, Timestamp::from_unix_seconds(START));
    assert!(matches!(found, Found::Refused(Refusal::Unopened { .. })), "{found:?}");
}
