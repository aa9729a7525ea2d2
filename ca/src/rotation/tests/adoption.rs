//! What a start takes over, and what it refuses.

use std::fs;

use super::*;
use crate::init::issuer_renew;

#[tokio::test]
async fn a_directory_from_before_is_taken_over_whole_and_once() {
    let bed = Bed::new("").await;
    let (certificate, sequence) = bed
        .with_driver(async |running| {
            let view =
                running.until(|view| view.lifecycle.get(name("jwt-1")).is_some_and(|jwt| jwt.published_in.is_some())).await;
            let state = &view.lifecycle;
            assert_eq!(["root-1", "issuer-1", "jwt-1"].map(|name| slot(state, name)), [Some(Slot::Active); 3]);
            assert_eq!(state.authorities().count(), 3);
            assert_eq!(state.get(name("issuer-1")).unwrap().parent, Some(name("root-1")));
            (running.authority.borrow().certificate().clone(), view.bundle_sequence)
        })
        .await;
    bed.with_driver(async |running| {
        assert_eq!(running.lifecycle().authorities().count(), 3);
        assert_eq!(*running.authority.borrow().certificate(), certificate);
        assert_eq!(running.bundle.borrow().sequence(), sequence);
    })
    .await;
}

#[tokio::test]
async fn a_generation_that_is_made_beside_a_running_ca_signs_and_the_old_one_goes() {
    let bed = Bed::new("").await;
    bed.with_driver(async |running| {
        running.until(|view| slot(&view.lifecycle, "issuer-1") == Some(Slot::Active)).await;
        let renewed = issuer_renew(&bed.config, None, &*bed.clock, &SystemEntropy).await.unwrap();
        // Nothing rests on the first one, so it is taken out as well.
        let view = running.until(|view| slot(&view.lifecycle, "issuer-1") == Some(Slot::Revoked)).await;
        assert_eq!(slot(&view.lifecycle, "issuer-2"), Some(Slot::Active));
        assert_eq!(running.authority.borrow().certificate().serial(), &renewed.serial);
        assert!(!bed.config.generations_dir().join("0001/ca-key.pem").exists());
    })
    .await;
}

#[tokio::test]
async fn a_jwt_key_that_was_taken_away_is_followed_by_another_and_vouches_for_nothing() {
    let bed = Bed::new("").await;
    let (first, sequence) =
        bed.with_driver(async |running| (running.jwt.borrow().key_id().clone(), running.bundle.borrow().sequence())).await;
    fs::remove_file(bed.config.jwt_key_path()).unwrap();
    bed.with_driver(async |running| {
        assert_ne!(*running.jwt.borrow().key_id(), first);
        let bundle = Arc::clone(&running.bundle.borrow());
        assert_eq!((bundle.jwt_authorities().len(), bundle.sequence()), (1, sequence + 1));
        let state = running.lifecycle();
        assert_eq!(["jwt-1", "jwt-2"].map(|name| slot(&state, name)), [Some(Slot::Revoked), Some(Slot::Active)]);
    })
    .await;
}

async fn refusal(bed: &Bed) -> AdoptionError {
    let (store, steps) = (bed.store(), Steps::logged());
    let tenure = bed.tenure(&store).await;
    let mut journal = Journal::open(Arc::clone(&store), steps.clone(), tenure.clone()).await.unwrap();
    let keys = SigningKeys::open(&bed.config).await.unwrap();
    let materials = Materials::new(&bed.config, keys, store, Arc::new(SystemEntropy), steps, tenure);
    match open_issuer(&mut journal, &materials, bed.now()).await {
        Err(error) => error,
        Ok(_) => open_jwt(&mut journal, &materials, bed.now()).await.unwrap_err(),
    }
}

#[tokio::test]
async fn what_was_exchanged_on_disk_does_not_sign() {
    let (bed, other) = (Bed::new("").await, Bed::new("").await);
    bed.with_driver(async |_| ()).await;
    let swap = |file: &str| {
        let (own, foreign) = (bed.config.state_dir.join(file), other.config.state_dir.join(file));
        let kept = fs::read(&own).unwrap();
        fs::write(&own, fs::read(foreign).unwrap()).unwrap();
        move || fs::write(&own, &kept).unwrap()
    };
    let restore = swap("jwt-key.pem");
    let error = refusal(&bed).await;
    assert!(
        matches!(error, AdoptionError::Material(MaterialError::Another { .. })) && error.to_string().contains("jwt-key.pem"),
        "{error}"
    );
    restore();
    let restores = ["ca-cert.pem", "ca-key.pem", "root-cert.pem"].map(|file| swap(&format!("authority/0001/{file}")));
    let error = refusal(&bed).await;
    assert!(
        matches!(error, AdoptionError::Material(MaterialError::Another { .. })) && error.to_string().contains("issuer-1"),
        "{error}"
    );
    restores.into_iter().for_each(|restore| restore());
    bed.with_driver(async |_| ()).await;
}

#[tokio::test]
async fn a_generation_under_another_root_is_told_and_not_used() {
    let (bed, other) = (Bed::new("").await, Bed::new("").await);
    bed.with_driver(async |running| {
        let first = running.authority.borrow().certificate().clone();
        let (from, to) = (other.config.generations_dir().join("0001"), bed.config.generations_dir().join("0002"));
        fs::rename(from, to).unwrap();
        let view = running.until(|view| !view.faults.is_empty()).await;
        assert!(view.faults[0].contains("root-1") && view.faults[0].contains("0002"), "{:?}", view.faults);
        assert_eq!(*running.authority.borrow().certificate(), first);
        assert_eq!(slot(&view.lifecycle, "issuer-2"), None);
    })
    .await;
}
