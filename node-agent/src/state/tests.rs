use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use super::*;
use crate::fakes::FakeAuthority;

struct Bed {
    directory: tempfile::TempDir,
    authority: FakeAuthority,
}

impl Bed {
    fn new() -> Self {
        let authority = FakeAuthority::new(Timestamp::from_unix_seconds(1_800_000_000));
        Self { directory: tempfile::tempdir().unwrap(), authority }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    fn svid(&self) -> X509Svid {
        let id = self.authority.id("/signet/agent/n1");
        self.authority.svid(&id, Duration::from_secs(600), Timestamp::from_unix_seconds(1_800_000_000))
    }
}

#[test]
fn what_is_stored_is_found_again_whole() {
    let bed = Bed::new();
    let state = StateDir::open(&bed.path()).unwrap();
    assert!(matches!(state.svid(), StoredSvid::Absent));
    assert!(state.bundle(&bed.authority.trust_domain).unwrap().is_none());
    let key = state.node_key().unwrap();
    assert_eq!(state.node_key().unwrap().public_key(), key.public_key(), "made once");
    let svid = bed.svid();
    state.store_svid(&svid).unwrap();
    state.store_bundle(&bed.authority.bundle(7)).unwrap();
    drop(state);

    let state = StateDir::open(&bed.path()).unwrap();
    let StoredSvid::Present(found) = state.svid() else { panic!("not found") };
    assert_eq!((found.chain(), found.issued()), (svid.chain(), svid.issued()));
    let bundle = state.bundle(&bed.authority.trust_domain).unwrap().unwrap();
    assert_eq!(bundle, bed.authority.bundle(7));
}

#[test]
fn keys_are_for_their_owner_only_and_one_process_has_the_directory() {
    let bed = Bed::new();
    let state = StateDir::open(&bed.path()).unwrap();
    state.node_key().unwrap();
    state.store_svid(&bed.svid()).unwrap();
    for name in [NODE_KEY, AGENT_SVID] {
        let mode = std::fs::metadata(bed.file(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    assert!(StateDir::open(&bed.path()).is_err());
    assert!(StateDir::inspect(&bed.path()).is_ok(), "looking needs no lock");
    drop(state);
    assert!(StateDir::open(&bed.path()).is_ok());
    std::fs::set_permissions(bed.path(), PermissionsExt::from_mode(0o777)).unwrap();
    assert!(StateDir::open(&bed.path()).is_err());
}

#[test]
fn a_damaged_svid_is_told_and_a_damaged_key_or_bundle_stops_the_start() {
    let bed = Bed::new();
    let state = StateDir::open(&bed.path()).unwrap();
    state.node_key().unwrap();
    state.store_svid(&bed.svid()).unwrap();
    state.store_bundle(&bed.authority.bundle(7)).unwrap();

    let file = bed.file(AGENT_SVID);
    let whole = std::fs::read_to_string(&file).unwrap();
    let other = bed.svid().key().to_pkcs8_pem();
    let chain = &whole[whole.find(CERTIFICATE_BEGIN).unwrap()..];
    let header = whole.lines().next().unwrap();
    let mixed = format!("{header}\n{}{chain}", other.as_str());
    for damaged in [&whole[..whole.len() / 2], "", whole.split_once('\n').unwrap().1, &mixed] {
        std::fs::write(&file, damaged).unwrap();
        assert!(matches!(state.svid(), StoredSvid::Damaged(_)), "{damaged:.40}");
    }
    std::fs::write(&file, &whole).unwrap();
    assert!(matches!(state.svid(), StoredSvid::Present(_)));

    let text = std::fs::read_to_string(bed.file(BUNDLE)).unwrap();
    let without_authorities = r#"{"keys":[],"spiffe_sequence":7}"#;
    for damaged in [&text[..text.len() / 2], "", without_authorities, &bed.authority.bundle(7).to_pem()] {
        std::fs::write(bed.file(BUNDLE), damaged).unwrap();
        assert!(matches!(state.bundle(&bed.authority.trust_domain), Err(StateError::Damaged { .. })), "{damaged:.40}");
    }
    std::fs::write(bed.file(BUNDLE), &text).unwrap();
    assert!(state.bundle(&bed.authority.trust_domain).unwrap().is_some());
    std::fs::write(bed.file(NODE_KEY), "no key").unwrap();
    assert!(matches!(state.node_key(), Err(StateError::Damaged { .. })));
}

#[test]
fn a_bundle_of_an_agent_before_jwt_svids_is_read_until_a_newer_one_is_stored() {
    let bed = Bed::new();
    let state = StateDir::open(&bed.path()).unwrap();
    let pem = bed.authority.bundle(7).to_pem();
    std::fs::write(bed.file(FORMER_BUNDLE), format!("{FORMER_BUNDLE_HEADER}7\n{pem}")).unwrap();
    let former = state.bundle(&bed.authority.trust_domain).unwrap().unwrap();
    assert_eq!((former.authorities(), former.sequence()), (bed.authority.bundle(7).authorities(), 7));
    assert!(former.jwt_authorities().is_empty());
    state.store_bundle(&bed.authority.bundle(8)).unwrap();
    assert!(!bed.file(FORMER_BUNDLE).exists());
    assert_eq!(state.bundle(&bed.authority.trust_domain).unwrap().unwrap(), bed.authority.bundle(8));
    // Were it still there, the newer file would count.
    std::fs::write(bed.file(FORMER_BUNDLE), format!("{FORMER_BUNDLE_HEADER}9\n{pem}")).unwrap();
    assert_eq!(state.bundle(&bed.authority.trust_domain).unwrap().unwrap().sequence(), 8);
    std::fs::remove_file(bed.file(BUNDLE)).unwrap();
    std::fs::write(bed.file(FORMER_BUNDLE), pem).unwrap();
    assert!(matches!(state.bundle(&bed.authority.trust_domain), Err(StateError::Damaged { .. })), "its sequence is unknown");
}

#[test]
fn keys_under_a_passphrase_are_read_under_it_alone() {
    let under = |text: &str| {
        let passphrase = pki::Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap();
        KeyProtection::Passphrase(passphrase)
    };
    let bed = Bed::new();
    let state = StateDir::open(&bed.path()).unwrap().protecting(under("phrase"));
    let key = state.node_key().unwrap();
    state.store_svid(&bed.svid()).unwrap();
    for name in [NODE_KEY, AGENT_SVID] {
        let text = std::fs::read_to_string(bed.file(name)).unwrap();
        assert!(text.contains("ENCRYPTED PRIVATE KEY") && !text.contains("BEGIN PRIVATE KEY"), "{text}");
    }
    assert_eq!(state.node_key().unwrap().public_key(), key.public_key());
    assert!(matches!(state.svid(), StoredSvid::Present(_)));
    drop(state);

    for protection in [KeyProtection::Plain, under("other")] {
        let state = StateDir::open(&bed.path()).unwrap().protecting(protection);
        assert!(matches!(state.node_key(), Err(StateError::Protection { .. })));
        assert!(matches!(state.svid(), StoredSvid::Damaged(_)));
    }

    // And a key that lies open where it should not: refused, while the SVID is got anew.
    let open = Bed::new();
    let state = StateDir::open(&open.path()).unwrap();
    state.node_key().unwrap();
    state.store_svid(&open.svid()).unwrap();
    let state = state.protecting(under("phrase"));
    assert!(matches!(state.node_key(), Err(StateError::Protection { .. })));
    assert!(matches!(state.svid(), StoredSvid::Damaged(_)));
}

#[test]
fn the_tainted_keys_are_kept_with_the_bundle() {
    let bed = Bed::new();
    let state = StateDir::open(&bed.path()).unwrap();
    let bundle = FakeAuthority::bundle_of(&[&bed.authority], &[bed.authority.root_key(), bed.authority.token_key()], 9);
    state.store_bundle(&bundle).unwrap();
    assert_eq!(state.bundle(&bed.authority.trust_domain).unwrap().unwrap(), bundle);
    // A file whose tainted keys cannot be read must not pass for one without any.
    let text = std::fs::read_to_string(bed.file(BUNDLE)).unwrap();
    std::fs::write(bed.file(BUNDLE), text.replace("signet_tainted_keys\":[\"", "signet_tainted_keys\":[\"=")).unwrap();
    assert!(matches!(state.bundle(&bed.authority.trust_domain), Err(StateError::Damaged { .. })));
}
