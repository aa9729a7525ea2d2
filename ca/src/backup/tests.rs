//! Backups of a CA that is stopped, and the way back.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use identity::NodeName;
use pki::{KeyAlgorithm, Passphrase};
use runtime::clock::{Clock, TestClock};
use runtime::entropy::SystemEntropy;
use zeroize::Zeroizing;

use super::*;
use crate::audit::{Actor, AuditRecord};
use crate::config::CaConfig;
use crate::records::TokenRecord;
use crate::revocation::ListIntent;
use crate::store::{AuditReader, BundleStore, IssuanceStore, RedeemError, RevocationStore, SqliteStore, TokenStore};
use crate::{InitOptions, init};

struct Bed {
    directory: tempfile::TempDir,
    clock: Arc<TestClock>,
    config: CaConfig,
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.as_bytes().to_vec())).unwrap()
}

fn config_at(state_dir: &Path) -> CaConfig {
    let text = format!("trust_domain = \"example.org\"\nstate_dir = \"{}\"\nlisten = \"127.0.0.1:0\"\n", state_dir.display());
    CaConfig::parse("test", &text).unwrap()
}

impl Bed {
    /// A CA that was made and never ran.
    async fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let clock = TestClock::at(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000));
        let config = config_at(&directory.path().join("ca"));
        let options = InitOptions { algorithm: KeyAlgorithm::EcdsaP256, root_key_out: None };
        init(&config, options, &*clock, &SystemEntropy).await.unwrap();
        Self { directory, clock, config }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    async fn make(&self, name: &str) -> Result<VerifiedBackup, BackupError> {
        make(&self.config, &self.at(name), passphrase("right"), &*self.clock, &SystemEntropy).await
    }

    async fn restore(&self, name: &str, to: &str, options: RestoreOptions) -> Result<RestoreReport, RestoreError> {
        restore(&self.at(name), &self.at(to), passphrase("right"), options, &*self.clock).await
    }

    /// What lies beside the backups and the CA.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.directory.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn accepting() -> RestoreOptions {
    RestoreOptions { accept_loss: true, shown: Vec::new() }
}

async fn events(state_dir: &Path) -> Vec<AuditRecord> {
    SqliteStore::open(&state_dir.join("store.db")).unwrap().audit_after(0, 1000).await.unwrap()
}

#[tokio::test]
async fn a_ca_comes_back_with_its_keys_and_its_record_and_says_that_it_did() {
    let bed = Bed::new().await;
    let made = bed.make("backup").await.unwrap();
    assert_eq!(std::fs::metadata(bed.at("backup")).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!bed.config.state_dir.join("backup-snapshot").exists(), "the snapshot is gone");
    let paths: Vec<_> = made.manifest.files.iter().map(|file| file.path.as_str()).collect();
    for wanted in ["store.db", "audit-key.pem", "root-cert.pem", "root-key.pem", "jwt-key.pem", "authority/0001/ca-key.pem"] {
        assert!(paths.contains(&wanted), "{wanted} is not among {paths:?}");
    }
    assert_eq!(verify(&bed.at("backup"), &passphrase("right")).unwrap().manifest, made.manifest);
    let before = events(&bed.config.state_dir).await;
    assert_eq!(before.last().unwrap().kind, "backup_started", "on record before it was written");

    bed.clock.advance(Duration::from_secs(3600));
    let report = bed.restore("backup", "other", accepting()).await.unwrap();
    let other = bed.at("other");
    assert_eq!(std::fs::metadata(&other).unwrap().permissions().mode() & 0o777, 0o700);
    for file in made.manifest.files.iter().filter(|file| file.path != "store.db") {
        assert_eq!(std::fs::read(other.join(&file.path)).unwrap(), std::fs::read(bed.config.state_dir.join(&file.path)).unwrap());
        assert_eq!(std::fs::metadata(other.join(&file.path)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let after = events(&other).await;
    assert_eq!(after[..before.len()], before);
    let last = after.last().unwrap();
    assert_eq!((last.kind.as_str(), last.sequence), ("ca_restored", report.event));
    assert!(last.body.contains(&format!("\"backup_events\":{}", before.len())), "{}", last.body);
    // A start finds what it needs.
    let restored = config_at(&other);
    crate::check(&restored, &*bed.clock).await.unwrap();
    assert_eq!(note_of(&other).unwrap().unwrap().restored_at, 1_800_003_600);
    assert_eq!(note_of(&bed.config.state_dir).unwrap(), None);
}

#[tokio::test]
async fn nothing_of_the_past_is_used_again() {
    let bed = Bed::new().await;
    let domain = bed.config.trust_domain.clone();
    let now = bed.clock.now().into();
    let token = |number: u8, node: &str| TokenRecord {
        hash: [number; 32],
        node: NodeName::parse(node).unwrap(),
        expires_at: pki::Timestamp::from_unix_seconds(1_800_010_000),
    };
    let numbered_list =
        |number| ListIntent { issuer_key: [9; 32], issuer_der: vec![9], number, next_update: now, entries: 0, tbs: [9; 32] };
    let (before, lists_before) = {
        let store = SqliteStore::open(&bed.config.store_path()).unwrap();
        for (number, node) in [(1, "used"), (2, "open")] {
            store.create_token(token(number, node), Actor::System, now).await.unwrap();
        }
        store.redeem_token([1; 32], vec![1; 91], now).await.unwrap();
        store.record_list(numbered_list(now.unix_seconds()), now).await.unwrap();
        let bundle = store.bundle_sequence(domain.clone(), [7; 32], Arc::default(), now).await.unwrap();
        (bundle, store.revocation_sequence([8; 32], vec![], now).await.unwrap())
    };
    bed.make("backup").await.unwrap();
    // Within one second the lost CA publishes a hundred more: of each it is ahead of its clock.
    let lost = {
        let store = SqliteStore::open(&bed.config.store_path()).unwrap();
        store.record_list(numbered_list(now.unix_seconds() + 100), now).await.unwrap();
        let mut last = (0, 0);
        for content in 100..200 {
            let bundle = store.bundle_sequence(domain.clone(), [content; 32], Arc::default(), now).await.unwrap();
            last = (bundle, store.revocation_sequence([content; 32], vec![], now).await.unwrap());
        }
        last
    };
    assert!(lost.0 > now.unix_seconds() + 60 && lost.1 > now.unix_seconds() + 60, "{lost:?}");
    bed.clock.advance(Duration::from_secs(60));
    let now = bed.clock.now().into();
    let report = bed.restore("backup", "other", accepting()).await.unwrap();
    let store = SqliteStore::open(&bed.at("other").join("store.db")).unwrap();
    assert_eq!(report.tokens_ended, 1);
    let redeemed = store.redeem_token([2; 32], vec![2; 91], now).await;
    assert!(matches!(redeemed, Err(RedeemError::Expired { .. })), "it may have been used after the backup: {redeemed:?}");
    store.redeem_token([1; 32], vec![1; 91], now).await.expect("whose it is stands in the backup");
    let lists = store.revocation_sequence([8; 32], vec![], now).await.unwrap();
    assert!(lists > lists_before && lists > lost.1, "of revocation lists: {lists_before}, {lost:?}, {lists}");
    let number = store.revocation_lists().await.unwrap()[0].number;
    assert!(number > now.unix_seconds() + 100, "the next list is numbered above what was signed: {number}");
    assert_eq!(store.latest_issuance().await.unwrap(), now, "no clock goes back behind the restore");
    let after = store.bundle_sequence(domain.clone(), [7; 32], Arc::default(), now).await.unwrap();
    assert!(after > before && after > lost.0, "the same bundle under a sequence of its own: {before}, {lost:?}, {after}");
    assert_eq!(store.bundle_sequence(domain, [7; 32], Arc::default(), now).await.unwrap(), after);
}

#[tokio::test]
async fn going_back_in_time_is_told_and_not_done_unless_it_is_meant() {
    let bed = Bed::new().await;
    let events = bed.make("backup").await.unwrap().manifest.events;
    bed.clock.advance(Duration::from_secs(7200));
    let Err(RestoreError::GoesBack(told)) = bed.restore("backup", "other", RestoreOptions::default()).await else {
        panic!("it was done silently")
    };
    let told = told.join("\n");
    assert!(told.contains("2 h 0 min ago") && told.contains(&format!("audit event {events}")), "{told}");
    assert_eq!(bed.names(), ["backup", "ca"], "nothing is left of it");
    bed.restore("backup", "other", accepting()).await.unwrap();
}

#[tokio::test]
async fn a_restore_never_overwrites_and_takes_an_empty_directory() {
    let bed = Bed::new().await;
    bed.make("backup").await.unwrap();
    assert!(matches!(bed.make("backup").await, Err(BackupError::File(_))), "neither does a backup");
    let refused = bed.restore("backup", "ca", accepting()).await;
    assert!(matches!(refused, Err(RestoreError::Exists { .. })), "{refused:?}");
    std::fs::write(bed.at("file"), "").unwrap();
    assert!(matches!(bed.restore("backup", "file", accepting()).await, Err(RestoreError::Exists { .. })));
    std::fs::create_dir(bed.at("empty")).unwrap();
    bed.restore("backup", "empty", accepting()).await.unwrap();
    assert!(matches!(bed.restore("backup", "empty", accepting()).await, Err(RestoreError::Exists { .. })));
}

#[tokio::test]
async fn what_was_tampered_with_or_cut_leaves_nothing_behind() {
    let bed = Bed::new().await;
    bed.make("backup").await.unwrap();
    let good = std::fs::read(bed.at("backup")).unwrap();
    let mut changed = good.clone();
    let middle = changed.len() / 2;
    changed[middle] ^= 1;
    for (name, bytes) in
        [("changed", changed), ("cut", good[..middle].to_vec()), ("cut-at-the-end", good[..good.len() - 1].to_vec())]
    {
        std::fs::write(bed.at(name), bytes).unwrap();
        let refused = bed.restore(name, "other", accepting()).await;
        assert!(matches!(refused, Err(RestoreError::Sealed(_) | RestoreError::Cut)), "{name}: {refused:?}");
        assert!(verify(&bed.at(name), &passphrase("right")).is_err());
        std::fs::remove_file(bed.at(name)).unwrap();
        assert_eq!(bed.names(), ["backup", "ca"]);
    }
    let wrong = restore(&bed.at("backup"), &bed.at("other"), passphrase("wrong"), accepting(), &*bed.clock).await;
    assert!(wrong.unwrap_err().to_string().contains("passphrase"));
    bed.restore("backup", "other", accepting()).await.unwrap();
}

#[tokio::test]
async fn keys_and_certificates_that_are_not_those_of_the_store_are_no_backup() {
    let bed = Bed::new().await;
    // The store knows its authorities from the first start on.
    let bound = crate::Server::bind(bed.config.clone(), bed.clock.clone(), Arc::new(SystemEntropy)).await.unwrap();
    drop(bound);
    let made = bed.make("backup").await.unwrap();
    let names: Vec<_> = made.manifest.authorities.iter().map(|one| (one.name.as_str(), one.place)).collect();
    assert_eq!(names, [("root-1", KeyPlace::Here), ("issuer-1", KeyPlace::Here), ("jwt-1", KeyPlace::Here)]);
    // Kept elsewhere, as an operator may: told, and no fault.
    let root_key = bed.config.state_dir.join("root-key.pem");
    std::fs::rename(&root_key, bed.at("root-key.pem")).unwrap();
    let made = bed.make("without").await.unwrap();
    assert_eq!(made.manifest.authorities[0].place, KeyPlace::Elsewhere);
    // Another key in the place of one.
    std::fs::copy(bed.config.state_dir.join("jwt-key.pem"), &root_key).unwrap();
    let refused = bed.make("another").await.unwrap_err();
    assert!(matches!(&refused, BackupError::Disagree(what) if what.contains("root-1")), "{refused}");
    assert!(!bed.at("another").exists());
    std::fs::rename(bed.at("root-key.pem"), &root_key).unwrap();
    // An issuing CA without its key signs nothing: no backup pretends otherwise.
    std::fs::remove_file(bed.config.state_dir.join("authority/0001/ca-key.pem")).unwrap();
    let refused = bed.make("another").await.unwrap_err();
    assert!(matches!(&refused, BackupError::Disagree(what) if what.contains("issuer-1")), "{refused}");
}

#[tokio::test]
async fn a_clock_that_is_behind_the_backup_and_a_running_ca_are_refused() {
    let bed = Bed::new().await;
    bed.make("backup").await.unwrap();
    bed.clock.set_wall(bed.clock.now() - Duration::from_secs(3600));
    let refused = bed.restore("backup", "other", accepting()).await;
    assert!(matches!(refused, Err(RestoreError::Clock { .. })), "{refused:?}");
    bed.clock.set_wall(bed.clock.now() + Duration::from_secs(3600));
    let running = crate::Server::bind(bed.config.clone(), bed.clock.clone(), Arc::new(SystemEntropy)).await.unwrap();
    assert!(matches!(bed.make("second").await, Err(BackupError::File(_))), "two processes on one state directory");
    drop(running);
    bed.make("second").await.unwrap();
}

#[test]
fn a_backup_by_a_later_build_is_refused_for_what_it_is() {
    let (loss, now) =
        (Loss::of(&manifest::tests::manifest(), &[], pki::Timestamp::from_unix_seconds(1_800_000_000)), 1_800_000_000);
    let now = pki::Timestamp::from_unix_seconds(now);
    let newest = crate::store::newest_schema();
    let of = |schema| restore::admit(&Manifest { schema, ..manifest::tests::manifest() }, &loss, true, now);
    assert!(of(newest).is_ok() && of(newest - 1).is_ok());
    assert!(matches!(of(newest + 1), Err(RestoreError::Schema { .. })));
}
