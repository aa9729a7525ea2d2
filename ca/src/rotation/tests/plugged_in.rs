//! A driver whose root and issuing CA come from a directory that the test fills.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use pki::{AuthorityRole, PrivateKey, certificates_to_pem};
use runtime::private_files::{Overwrite, write_private, write_public};
use rusqlite::Connection;

use super::upstream::{new_root, signed};
use super::*;
use crate::keystore::{CA_CERT, CA_KEY, CERT_CHAIN};
use crate::rotation::places::ROOT_CERT;

type Pair = (Certificate, Arc<PrivateKey>);

/// A directory as Kubernetes mounts a secret: names that are links through one link, which is swapped.
struct Secret(TempDir);

impl Secret {
    fn new() -> Self {
        let secret = Self(tempfile::tempdir().unwrap());
        for name in [CA_CERT, CA_KEY, ROOT_CERT, CERT_CHAIN] {
            symlink(Path::new("..data").join(name), secret.folder().join(name)).unwrap();
        }
        secret
    }

    fn folder(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// Puts a version aside, to be shown later.
    fn write(&self, version: &str, (issuer, key): &Pair, root: &Certificate) {
        let directory = self.folder().join(version);
        ensure_private_dir(&directory).unwrap();
        let public = |name: &str, pem: &str| write_public(&directory.join(name), pem.as_bytes(), Overwrite::Refuse).unwrap();
        public(CA_CERT, &certificates_to_pem([issuer]));
        public(ROOT_CERT, &certificates_to_pem([root]));
        public(CERT_CHAIN, "");
        write_private(&directory.join(CA_KEY), key.to_pkcs8_pem().as_bytes(), Overwrite::Refuse).unwrap();
    }

    fn show(&self, version: &str) {
        let next = self.folder().join("..next");
        symlink(version, &next).unwrap();
        std::fs::rename(next, self.folder().join("..data")).unwrap();
    }
}

fn root() -> Pair {
    let (certificate, key) = new_root();
    (certificate, Arc::new(key))
}

fn under(root: &Pair) -> Pair {
    let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
    (signed(AuthorityRole::Issuer, key.public_key(), Some(root), None, start_time()), Arc::new(key))
}

async fn bed(secret: &Secret) -> Bed {
    secret.show("1");
    Bed::new(&format!("[rotation]\npropagation_hold = \"0s\"\n[authority]\ndirectory = \"{}\"\n", secret.folder().display()))
        .await
}

fn faults(view: &Arc<RotationView>, words: &str) -> bool {
    view.faults.iter().any(|fault| fault.contains(words))
}

#[tokio::test]
async fn a_set_that_the_store_could_not_record_is_taken_when_it_can() {
    let (secret, root) = (Secret::new(), root());
    let [first, second] = [under(&root), under(&root)];
    secret.write("1", &first, &root.0);
    secret.write("2", &second, &root.0);
    let bed = bed(&secret).await;
    bed.with_driver(async |running| {
        let store = Connection::open(bed.config.store_path()).unwrap();
        store.busy_timeout(Duration::from_secs(20)).unwrap();
        store.execute_batch("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no room'); END").unwrap();
        secret.show("2");
        running.until(|view| !view.faults.is_empty()).await;
        assert_eq!(*running.authority.borrow().certificate(), first.0, "nothing is used that is not on record");
        store.execute_batch("DROP TRIGGER full").unwrap();
        let mut authority = running.authority.clone();
        authority.wait_for(|authority| *authority.certificate() == second.0).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_set_that_was_refused_is_judged_again_after_another_lay_there() {
    let (secret, root, other) = (Secret::new(), root(), root());
    let first = under(&root);
    secret.write("1", &first, &root.0);
    secret.write("2", &under(&other), &other.0);
    let broken = under(&root);
    secret.write("3", &(broken.0, under(&root).1), &root.0);
    let bed = bed(&secret).await;
    bed.with_driver(async |running| {
        for _ in 0..2 {
            secret.show("2");
            running.until(|view| faults(view, "in one step")).await;
            secret.show("3");
            running.until(|view| !faults(view, "in one step") && !view.faults.is_empty()).await;
        }
        secret.show("2");
        running.until(|view| faults(view, "in one step")).await;
        secret.show("1");
        running.until(|view| view.faults.is_empty()).await;
        assert_eq!(*running.authority.borrow().certificate(), first.0);
    })
    .await;
}
