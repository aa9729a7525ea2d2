//! When files are written, kept, and told of.

use std::cell::RefCell;
use std::path::PathBuf;

use identity::{NodeName, SpiffeId};
use prometheus_client::registry::Registry;
use proto::v1;
use runtime::clock::TestClock;
use runtime::config::Document;
use runtime::entropy::SystemEntropy;
use runtime::shutdown;

use super::*;
use crate::ca_client::view::EntryKnowledge;
use crate::entry::Entry;
use crate::fakes::FakeAuthority;
use crate::identities::{Held, HeldIdentity};

const NOW: u64 = 1_800_000_000;

struct Bed {
    authority: FakeAuthority,
    secrets: Arc<CallerSecrets>,
    revocation: RefCell<Option<Arc<RevocationSet>>>,
    board: FileBoard,
    clock: Arc<TestClock>,
    directory: PathBuf,
    reloaded: PathBuf,
    keeper: FileKeeper,
    _files: tempfile::TempDir,
}

impl Bed {
    fn new(hook: bool) -> Self {
        let files = tempfile::tempdir().unwrap();
        let place = files.path().canonicalize().unwrap();
        let (directory, reloaded) = (place.join("certs"), place.join("reloaded"));
        let hook = if hook {
            format!("reload = {{ command = [\"sh\", \"-c\", \"test -e {0}-may && echo x >> {0}\"] }}\n", reloaded.display())
        } else {
            String::new()
        };
        let text = format!(
            "[[files]]\nname = \"web\"\nspiffe_id = \"spiffe://example.org/web\"\ndirectory = \"{}\"\nformats = [\"pem\", \"combined-pem\"]\n{hook}",
            directory.display()
        );
        let document = Document::parse("agent.toml", &text).unwrap();
        let authority = FakeAuthority::new(Timestamp::from_unix_seconds(NOW));
        let sets = crate::files::config::read(&document.root(), Some(&authority.trust_domain));
        document.finish().unwrap();
        let secrets = Arc::new(CallerSecrets::default());
        let board = FileBoard::register(&mut Registry::default(), &sets);
        let clock = TestClock::at(Timestamp::from_unix_seconds(NOW).into());
        let set = sets.into_iter().next().unwrap();
        let entropy = Arc::new(SystemEntropy);
        let keeper = FileKeeper::new(set, Arc::clone(&secrets), board.clone(), Arc::<TestClock>::clone(&clock), entropy);
        let revocation = RefCell::default();
        Self { authority, secrets, revocation, board, clock, directory, reloaded, keeper, _files: files }
    }

    fn entry(&self, path: &str, selector: &str) -> Arc<Entry> {
        let wire = v1::Entry {
            id: "e1".to_owned(),
            spiffe_id: format!("spiffe://example.org{path}"),
            selectors: vec![selector.to_owned()],
            parent_node: "n1".to_owned(),
            ..v1::Entry::default()
        };
        Arc::new(Entry::from_wire(wire, &self.authority.trust_domain, &NodeName::parse("n1").unwrap()).unwrap())
    }

    /// An identity that is held from now on.
    fn hold(&self, path: &str, selector: &str) -> Arc<X509Svid> {
        let entry = self.entry(path, selector);
        let now = Timestamp::from(self.clock.now());
        let svid = Arc::new(self.authority.svid(&entry.spiffe_id, Duration::from_secs(600), now));
        let identity =
            HeldIdentity { entry, state: IdentityState::Available(Arc::clone(&svid)), last_error: None, tainted: false };
        self.publish(vec![identity]);
        svid
    }

    fn publish(&self, identities: Vec<HeldIdentity>) {
        self.secrets.publish(Held {
            knowledge: EntryKnowledge::Synced,
            bundle: Some(Arc::new(self.authority.bundle(1))),
            revocation: self.revocation.borrow().clone(),
            foreign: Arc::default(),
            identities,
            has_account_rule: false,
        });
    }

    /// The identity is revoked from now on.
    fn revoke(&self) {
        let entry = Entry { revoked: true, ..self.entry("/web", "signet:file:web").as_ref().clone() };
        self.publish(vec![crate::fakes::held::revoked(entry)]);
    }

    fn state(&self) -> (FileSetState, String) {
        let set = self.board.sets().remove(0);
        (set.state, set.trouble.unwrap_or_default())
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.join(name)).unwrap_or_default()
    }

    /// How often the program was told.
    fn told(&self) -> usize {
        std::fs::read_to_string(&self.reloaded).unwrap_or_default().lines().count()
    }
}

#[tokio::test]
async fn each_new_identity_is_written_whole_and_told_once() {
    let mut bed = Bed::new(true);
    std::fs::write(format!("{}-may", bed.reloaded.display()), "").unwrap();
    for round in 1..=3 {
        let svid = bed.hold("/web", "signet:file:web");
        assert!(bed.keeper.settle().await && bed.keeper.settle().await);
        let chain = pki::certificates_to_pem(svid.chain());
        assert_eq!(bed.read("cert-chain.pem"), chain);
        assert_eq!(bed.read("key.pem"), *svid.key().to_pkcs8_pem());
        assert_eq!(bed.read("root-cert.pem"), bed.authority.bundle(1).to_pem());
        assert_eq!(bed.read("combined.pem"), format!("{chain}{}", *svid.key().to_pkcs8_pem()));
        assert_eq!((bed.told(), bed.state().0), (round, FileSetState::Current));
        let (serial, _) = bed.board.sets().remove(0).written.unwrap();
        assert_eq!(serial, *svid.leaf().serial());
    }
}

#[tokio::test]
async fn nothing_is_written_without_an_entry_for_files() {
    let mut bed = Bed::new(false);
    for (path, selector) in [("/web", "unix:uid:0"), ("/web", "signet:file:other"), ("/other", "signet:file:web")] {
        bed.hold(path, selector);
        bed.keeper.settle().await;
        assert!(!bed.directory.exists(), "{path} {selector}");
        let (state, why) = bed.state();
        assert_eq!(state, FileSetState::Waiting);
        assert!(why.contains("signet entry create --spiffe-id spiffe://example.org/web"), "{why}");
    }
    bed.hold("/web", "signet:file:web");
    bed.keeper.settle().await;
    assert!(!bed.read("key.pem").is_empty(), "the twin is written");
}

/// An entry for files and a process at once is nobody's: neither has both.
#[tokio::test]
async fn an_entry_for_files_is_for_files_alone() {
    let mut bed = Bed::new(false);
    let id = SpiffeId::parse("spiffe://example.org/web").unwrap();
    let selectors = ["signet:file:web", "unix:uid:0"].map(|text| identity::Selector::parse(text).unwrap());
    let entry = Entry { selectors: selectors.clone().into(), ..bed.entry("/web", "signet:file:web").as_ref().clone() };
    let svid = bed.authority.svid(&id, Duration::from_secs(600), bed.clock.now().into());
    let state = IdentityState::Available(Arc::new(svid));
    bed.publish(vec![HeldIdentity { entry: Arc::new(entry), state, last_error: None, tainted: false }]);
    bed.keeper.settle().await;
    assert_eq!(bed.state().0, FileSetState::Waiting);
    let process = bed.secrets.secrets_of(Facts { selectors: [selectors[1].clone()].into(), unreadable: Vec::new() }, || true);
    assert!(process.borrow().svids.is_empty());
}

#[tokio::test]
async fn files_stay_when_the_identity_goes_and_the_status_says_so() {
    let mut bed = Bed::new(false);
    bed.hold("/web", "signet:file:web");
    bed.keeper.settle().await;
    let before = bed.read("key.pem");
    // The CA is away and the certificate has ended for the agent; then the entry is gone.
    let gone = HeldIdentity {
        entry: bed.entry("/web", "signet:file:web"),
        state: IdentityState::Unavailable("the CA cannot be reached".to_owned()),
        last_error: None,
        tainted: false,
    };
    for (identities, why) in [(vec![gone], "the CA cannot be reached"), (Vec::new(), "signet entry create")] {
        bed.publish(identities);
        assert!(bed.keeper.settle().await);
        assert_eq!(bed.read("key.pem"), before);
        let (state, trouble) = bed.state();
        assert_eq!(state, FileSetState::Withdrawn);
        assert!(trouble.contains(why), "{trouble}");
    }
    bed.hold("/web", "signet:file:web");
    bed.keeper.settle().await;
    assert_eq!(bed.state().0, FileSetState::Current);
    assert_ne!(bed.read("key.pem"), before);
}

#[tokio::test]
async fn a_certificate_that_does_not_verify_replaces_none_that_does() {
    let mut bed = Bed::new(false);
    bed.hold("/web", "signet:file:web");
    bed.keeper.settle().await;
    let before = bed.read("cert-chain.pem");
    bed.hold("/web", "signet:file:web");
    bed.clock.advance(Duration::from_secs(100_000));
    bed.keeper.settle().await;
    assert_eq!(bed.read("cert-chain.pem"), before);
    assert!(bed.state().1.contains("not written"), "{:?}", bed.state());
}

#[tokio::test]
async fn a_failed_write_keeps_the_old_set_and_is_tried_again() {
    let mut bed = Bed::new(false);
    bed.hold("/web", "signet:file:web");
    bed.keeper.settle().await;
    let before = bed.read("key.pem");
    let foreign = bed.directory.join("..data");
    let moved = bed.directory.join("moved");
    std::fs::rename(&foreign, &moved).unwrap();
    std::os::unix::fs::symlink(std::fs::read_link(&moved).unwrap(), bed.directory.join("odd")).unwrap();
    std::fs::write(&foreign, "").unwrap();
    let svid = bed.hold("/web", "signet:file:web");
    assert!(!bed.keeper.settle().await);
    let (state, why) = bed.state();
    assert_eq!(state, FileSetState::NotWritten);
    assert!(why.contains("..data"), "{why}");
    std::fs::rename(&moved, &foreign).unwrap();
    assert_eq!(bed.read("key.pem"), before, "the old set is whole");
    assert!(bed.keeper.settle().await);
    assert_eq!(bed.read("key.pem"), *svid.key().to_pkcs8_pem());
}

#[tokio::test]
async fn a_failed_reload_is_shown_and_tried_again_until_it_works() {
    let mut bed = Bed::new(true);
    bed.hold("/web", "signet:file:web");
    for _ in 0..2 {
        assert!(!bed.keeper.settle().await);
        assert_eq!(bed.state().0, FileSetState::NotReloaded);
    }
    assert_eq!(bed.told(), 0);
    std::fs::write(format!("{}-may", bed.reloaded.display()), "").unwrap();
    assert!(bed.keeper.settle().await && bed.keeper.settle().await);
    assert_eq!((bed.told(), bed.state().0), (1, FileSetState::Current));
}

#[tokio::test]
async fn it_runs_until_the_shutdown_and_writes_what_comes() {
    let mut bed = Bed::new(false);
    let (trigger, shutdown) = shutdown::channel();
    bed.hold("/web", "signet:file:web");
    bed.keeper.settle().await;
    // As after a restart: nothing written yet, and a certificate of before.
    bed.keeper.written = None;
    let before = bed.board.sets().remove(0).written;
    bed.board.update("web", |status| status.written = None);
    bed.keeper.show_what_lies_there().await;
    assert!(before.is_some() && bed.board.sets().remove(0).written == before);
    let svid = bed.hold("/web", "signet:file:web");
    let (directory, keeper) = (bed.directory.clone(), bed.keeper);
    let watching = async {
        while !std::fs::read_to_string(directory.join("key.pem")).is_ok_and(|key| key == *svid.key().to_pkcs8_pem()) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        trigger.fire();
    };
    let (ended, ()) = tokio::join!(keeper.run(shutdown), watching);
    ended.unwrap();
}

#[tokio::test]
async fn a_set_is_behind_until_it_is_written_and_read_back_and_its_program_was_told() {
    let mut bed = Bed::new(true);
    assert_eq!(bed.board.progress(), (1, 1), "nobody has looked yet");
    bed.keeper.settle().await;
    assert_eq!(bed.board.progress(), (1, 0), "nothing is to be written");
    bed.hold("/web", "signet:file:web");
    assert_eq!(bed.board.progress(), (1, 1));
    assert!(!bed.keeper.settle().await);
    assert_eq!((bed.state().0, bed.board.progress()), (FileSetState::NotReloaded, (1, 1)));
    std::fs::write(format!("{}-may", bed.reloaded.display()), "").unwrap();
    assert!(bed.keeper.settle().await);
    assert_eq!(bed.board.progress(), (1, 0));

    // A write that fails leaves the older set, and that is not the newest.
    let data = bed.directory.join("..data");
    let moved = bed.directory.join("moved");
    std::fs::rename(&data, &moved).unwrap();
    std::fs::write(&data, "").unwrap();
    bed.hold("/web", "signet:file:web");
    assert!(!bed.keeper.settle().await);
    assert_eq!((bed.state().0, bed.board.progress()), (FileSetState::NotWritten, (1, 1)));
    std::fs::rename(&moved, &data).unwrap();
    assert!(bed.keeper.settle().await);
    assert_eq!(bed.board.progress(), (1, 0));
}

#[tokio::test]
async fn a_set_without_a_successor_is_behind_while_it_is_good_and_lies_under_other_authorities() {
    let mut bed = Bed::new(false);
    bed.hold("/web", "signet:file:web");
    assert!(bed.keeper.settle().await);
    bed.publish(Vec::new());
    assert!(bed.keeper.settle().await);
    assert_eq!((bed.state().0, bed.board.progress()), (FileSetState::Withdrawn, (1, 0)), "the same authorities");

    let other = FakeAuthority::new(Timestamp::from_unix_seconds(NOW));
    let both = Arc::new(FakeAuthority::bundle_of(&[&bed.authority, &other], &[], 2));
    let publish = |bed: &Bed| {
        let bundle = Some(Arc::clone(&both));
        bed.secrets.publish(Held { knowledge: EntryKnowledge::Synced, bundle, ..Held::default() });
    };
    publish(&bed);
    assert!(bed.keeper.settle().await);
    assert_eq!(bed.board.progress(), (1, 1));
    // After a restart nobody knows under which authorities it was written.
    bed.keeper.written = None;
    bed.publish(Vec::new());
    assert!(bed.keeper.settle().await);
    assert_eq!((bed.state().0, bed.board.progress()), (FileSetState::Waiting, (1, 1)));
    bed.clock.advance(Duration::from_secs(700));
    assert!(bed.keeper.settle().await);
    assert_eq!(bed.board.progress(), (1, 0), "it has ended");
}

#[tokio::test]
async fn revocation_lists_are_a_file_of_the_set_and_new_ones_are_written_and_told() {
    let mut bed = Bed::new(true);
    std::fs::write(format!("{}-may", bed.reloaded.display()), "").unwrap();
    let svid = bed.hold("/web", "signet:file:web");
    assert!(bed.keeper.settle().await);
    assert!(!bed.directory.join("crl.pem").exists());
    let publish = |bed: &Bed, lists: &RevocationSet| {
        let identities = bed.secrets.held().identities.clone();
        *bed.revocation.borrow_mut() = Some(Arc::new(lists.clone()));
        bed.publish(identities);
    };
    for (round, revoked) in [(2, &[][..]), (3, &[&*svid])] {
        let lists = bed.authority.lists(revoked, round, Timestamp::from_unix_seconds(NOW));
        publish(&bed, &lists);
        assert!(bed.keeper.settle().await);
        assert_eq!(bed.read("crl.pem"), lists.to_pem());
        assert_eq!(bed.told(), usize::try_from(round).unwrap());
        publish(&bed, &lists);
        assert!(bed.keeper.settle().await);
        assert_eq!(bed.told(), usize::try_from(round).unwrap(), "the same again is not written");
    }
    assert_eq!(bed.read("cert-chain.pem"), pki::certificates_to_pem(svid.chain()));
}

#[tokio::test]
async fn lists_of_another_making_stay_and_the_status_says_so() {
    let mut bed = Bed::new(false);
    std::fs::create_dir(&bed.directory).unwrap();
    std::fs::write(bed.directory.join("crl.pem"), "an operator's own").unwrap();
    *bed.revocation.borrow_mut() = Some(Arc::new(bed.authority.lists(&[], 1, Timestamp::from_unix_seconds(NOW))));
    let svid = bed.hold("/web", "signet:file:web");
    assert!(bed.keeper.settle().await);
    assert_eq!(bed.read("key.pem"), *svid.key().to_pkcs8_pem());
    assert_eq!(bed.read("crl.pem"), "an operator's own");
    let (state, trouble) = bed.state();
    assert!(state == FileSetState::Current && trouble.contains("crl.pem"), "{trouble}");
}

#[tokio::test]
async fn a_revoked_identity_loses_key_and_certificate_and_keeps_what_says_whom_to_trust() {
    for after_a_restart in [false, true] {
        let mut bed = Bed::new(true);
        std::fs::write(format!("{}-may", bed.reloaded.display()), "").unwrap();
        let lists = bed.authority.lists(&[], 1, Timestamp::from_unix_seconds(NOW));
        *bed.revocation.borrow_mut() = Some(Arc::new(lists.clone()));
        bed.hold("/web", "signet:file:web");
        assert!(bed.keeper.settle().await);
        if after_a_restart {
            bed.keeper.written = None;
        }
        bed.revoke();
        assert!(bed.keeper.settle().await);
        let is_set = |name: &std::fs::DirEntry| name.file_name().to_string_lossy().starts_with("..1");
        let sets: Vec<_> = std::fs::read_dir(&bed.directory).unwrap().map(Result::unwrap).filter(is_set).collect();
        assert_eq!(sets.len(), 1, "the set with the key is gone");
        for name in ["key.pem", "cert-chain.pem", "combined.pem"] {
            assert!(std::fs::symlink_metadata(bed.directory.join(name)).is_err(), "{name}");
            assert!(!sets[0].path().join(name).exists(), "{name}");
        }
        assert_eq!((bed.read("root-cert.pem"), bed.read("crl.pem")), (bed.authority.bundle(1).to_pem(), lists.to_pem()));
        let (state, why) = bed.state();
        assert!(state == FileSetState::Revoked && why.contains("signet unrevoke"), "{why}");
        assert_eq!((bed.told(), bed.board.progress()), (1, (1, 0)), "there is nothing to load");
        assert!(bed.board.sets().remove(0).written.is_none());
        assert!(bed.keeper.settle().await);

        let svid = bed.hold("/web", "signet:file:web");
        assert!(bed.keeper.settle().await);
        assert_eq!(bed.read("key.pem"), *svid.key().to_pkcs8_pem());
        assert_eq!((bed.state().0, bed.told()), (FileSetState::Current, 2));
    }
}
