//! A CA whose keys are in memory: each start has another issuing CA from upstream, and leaves nobody behind.

use std::path::PathBuf;

use super::upstream::{Above, Spoil, acknowledge, add_root, desk_of, new_root};
use super::*;
use crate::keystore::CA_KEY;
use crate::rotation::forgotten::enrol;
use crate::upstream::desk::UpstreamDesk;

const MEMORY: &str = "[rotation]\npropagation_hold = \"0s\"\n[keys]\nstore = \"memory\"\n[upstream]\nkind = \"signet\"\n\
                      [upstream.signet]\naddress = \"parent.example:8443\"\ndirectory = \"/identity\"\n";

/// A CA that was never started, and its upstream.
async fn bed() -> (Bed, Above, Arc<UpstreamDesk>) {
    let mut bed = Bed::new(MEMORY).await;
    let (root, key) = new_root();
    let (above, desk) = desk_of(&bed, root, key);
    bed.upstream = Some(Arc::clone(&desk));
    desk.look().await;
    (bed, above, desk)
}

/// Every file below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What a start says that does not come to have anything to sign with.
async fn refused(bed: &Bed) -> String {
    let (_store, mut journal, materials) = bed.open(&Steps::logged()).await;
    enrol(&mut journal, &materials, bed.now()).await.unwrap_err().to_string()
}

#[tokio::test]
async fn each_start_has_another_issuing_ca_and_what_the_former_one_signed_stays_good_while_it_is_renewed() {
    let (bed, ..) = bed().await;
    let (first, token_key) = bed
        .with_driver(async |running| {
            for path in files(&bed.config.state_dir) {
                let content = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
                assert!(!content.contains("PRIVATE KEY"), "{}", path.display());
            }
            (running.authority.borrow().certificate().clone(), running.jwt.borrow().key_id().clone())
        })
        .await;
    bed.agents.lock().unwrap().push(commands::agent("n1", 1));
    bed.with_driver(async |running| {
        let state = running.lifecycle();
        assert_eq!((slot(&state, "issuer-1"), slot(&state, "issuer-2")), (Some(Slot::Old), Some(Slot::Active)));
        assert_ne!(*running.authority.borrow().certificate(), first);
        // What it signed verifies under what everybody has, tokens too, and is renewed.
        let bundle = running.bundle.borrow().clone();
        let [root] = bundle.authorities() else { panic!("one root") };
        first.verify_signed_by(root.public_key()).unwrap();
        assert!(bundle.tainted_keys().contains(&first.public_key().fingerprint()));
        assert!(bundle.jwt_authorities().iter().any(|jwt| *jwt.key_id() == token_key));
        assert_ne!(*running.jwt.borrow().key_id(), token_key);
        // Once everybody knows, and nothing rests on them, they go by themselves.
        running
            .until(|view| {
                acknowledge(&bed, running);
                ["issuer-1", "jwt-1"].iter().all(|old| slot(&view.lifecycle, old) == Some(Slot::Revoked))
            })
            .await;
        running.until(|view| view.lifecycle.get(name("issuer-1")).is_some_and(|old| old.destroyed)).await;
        assert!(!bed.config.state_dir.join("authority/0001").join(CA_KEY).exists());
    })
    .await;
}

#[tokio::test]
async fn without_upstream_there_is_no_start_and_with_it_there_is_again() {
    let (bed, above, _desk) = bed().await;
    *above.0.spoil.lock().unwrap() = Spoil::Away;
    assert!(refused(&bed).await.contains("nobody there"));
    *above.0.spoil.lock().unwrap() = Spoil::Nothing;
    bed.with_driver(async |_| ()).await;
    *above.0.spoil.lock().unwrap() = Spoil::Away;
    assert!(refused(&bed).await.contains("nobody there"));
    *above.0.spoil.lock().unwrap() = Spoil::Nothing;
    // Cut short after the answer was written, before it was taken over: nobody has that key.
    let (store, mut journal, materials) = bed.open(&Steps::logged()).await;
    enrol(&mut journal, &materials, bed.now()).await.unwrap();
    drop((store, journal, materials));
    bed.with_driver(async |running| {
        assert_eq!(slot(&running.lifecycle(), "issuer-3"), Some(Slot::Active));
        assert_eq!(slot(&running.lifecycle(), "issuer-2"), None);
    })
    .await;
}

#[tokio::test]
async fn what_was_prepared_is_dropped_and_a_rotation_goes_on_with_another() {
    let (bed, ..) = bed().await;
    bed.with_driver(async |running| {
        running.handle.prepare(AuthorityKind::Issuer, OPERATOR).await.unwrap();
        running.handle.prepare(AuthorityKind::Jwt, OPERATOR).await.unwrap();
    })
    .await;
    bed.agents.lock().unwrap().push(commands::agent("n1", 1));
    bed.with_driver(async |running| {
        let state = running.lifecycle();
        for (dropped, active) in [("issuer-2", "issuer-3"), ("jwt-2", "jwt-3")] {
            assert_eq!((slot(&state, dropped), slot(&state, active)), (Some(Slot::Revoked), Some(Slot::Active)));
        }
        let refused = running.handle.activate(name("issuer-1"), Accepted::default(), OPERATOR).await.unwrap_err();
        assert!(refused.to_string().contains("tainted"), "{refused}");
        running.handle.prepare(AuthorityKind::Issuer, OPERATOR).await.unwrap();
        running.handle.activate(name("issuer-4"), Accepted::default(), OPERATOR).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_root_that_was_pushed_before_the_end_is_gone_over_to_and_another_one_is_not() {
    let (bed, above, desk) = bed().await;
    bed.with_driver(async |running| {
        add_root(&above);
        desk.look().await;
        running.until(|_| running.bundle.borrow().authorities().len() == 2).await;
    })
    .await;
    *above.0.signing.lock().unwrap() = 1;
    desk.look().await;
    let second = above.0.roots.lock().unwrap()[1].0.clone();
    bed.with_driver(async |running| {
        assert_eq!(*running.authority.borrow().root(), second);
        assert_eq!(running.bundle.borrow().authorities().len(), 2, "what rests on the former one is good");
        assert_eq!(slot(&running.lifecycle(), "root-2"), Some(Slot::Active));
        let refused = running.handle.abort(AuthorityKind::Root, OPERATOR).await.unwrap_err();
        assert!(refused.to_string().contains("no issuing CA under root-1 can sign"), "{refused}");
    })
    .await;
    // While the CA was away upstream has gone to a root that nobody here has.
    add_root(&above);
    *above.0.signing.lock().unwrap() = 2;
    desk.look().await;
    let told = refused(&bed).await;
    assert!(told.contains("must sign under that root once more"), "{told}");
}

/// Far more starts than a bundle has places.
#[tokio::test]
async fn many_starts_in_a_row_fill_nothing_up() {
    let (bed, ..) = bed().await;
    for _ in 0..70 {
        let (store, mut journal, materials) = bed.open(&Steps::logged()).await;
        enrol(&mut journal, &materials, bed.now()).await.unwrap();
        drop(open_issuer(&mut journal, &materials, bed.now()).await.unwrap());
        drop(open_jwt(&mut journal, &materials, bed.now()).await.unwrap());
        drop(store);
    }
    bed.with_driver(async |running| {
        assert!(running.bundle.borrow().jwt_authorities().len() <= 17);
    })
    .await;
}
