//! The process may end before and after each step; the rotation goes on and completes.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::{StreamExt, stream};
use tokio::sync::Notify;

use super::super::steps::{Moment, Step};
use super::*;

/// Cases that run at once: they wait for the disk most of the time.
const AT_ONCE: usize = 16;

/// Ends the process at one of the moments, counted from the start; remembers all.
#[derive(Default)]
struct EndAt {
    moment: Option<usize>,
    reached: Mutex<Vec<Moment>>,
    count: AtomicUsize,
    ended: Notify,
}

impl StepSeam for EndAt {
    fn reached(&self, moment: Moment) -> BoxFuture<'_, ()> {
        self.reached.lock().unwrap().push(moment);
        let number = self.count.fetch_add(1, Ordering::SeqCst);
        if self.moment == Some(number) {
            self.ended.notify_one();
            return Box::pin(future::pending());
        }
        Box::pin(future::ready(()))
    }
}

/// Runs a rotation of this kind until it is over, or until the process ends at this moment. Says what was reached.
async fn run_until_end(bed: &Bed, kind: AuthorityKind, moment: Option<usize>) -> Vec<Moment> {
    let seam = Arc::new(EndAt { moment, ..EndAt::default() });
    let ending = Arc::clone(&seam);
    let whole = async {
        let (running, driver) = bed.start(seam.clone()).await;
        let script = async {
            // What signs at any moment is vouched for by the bundle of that moment.
            let vouched = || {
                let (authority, bundle) = (Arc::clone(&running.authority.borrow()), Arc::clone(&running.bundle.borrow()));
                assert!(bundle.authorities().contains(authority.root()));
                let jwt = Arc::clone(&running.jwt.borrow());
                assert!(bundle.jwt_authorities().contains(jwt.authority()));
            };
            let stored = bed.store();
            let is_begun = !stored.rotations().await.unwrap().is_empty();
            let state = stored.lifecycle().await.unwrap();
            // The bed's own authorities are the first ones.
            if !is_begun && state.active(kind).is_none_or(|active| active.name.number == 1) {
                running.handle.start(kind, Pace::Taint, Accepted::default(), OPERATOR).await.unwrap();
            }
            vouched();
            running
                .until(|view| {
                    view.rotations.iter().all(|standing| !standing.is_under_way())
                        && view.lifecycle.active(kind).is_some_and(|active| active.name.number > 1)
                })
                .await;
            vouched();
            running.trigger.fire();
        };
        let (ended, ()) = tokio::join!(driver, script);
        ended.unwrap();
    };
    tokio::select! {
        biased;
        () = ending.ended.notified() => {}
        done = tokio::time::timeout(Duration::from_secs(60), whole) => done.expect("the rotation ends"),
    }
    let reached = ending.reached.lock().unwrap();
    reached.clone()
}

/// What is so after a rotation, however it came about.
async fn assert_completed(bed: &Bed, kind: AuthorityKind, at: &str) {
    let store = bed.store();
    let state = store.lifecycle().await.unwrap();
    state.check().unwrap_or_else(|fault| panic!("{at}: {fault}"));
    let first = AuthorityName { kind, number: 1 };
    assert!(state.get(first).is_some_and(|old| old.slot == Slot::Revoked && old.destroyed), "{at}");
    assert!(state.active(kind).is_some_and(|active| active.name.number == 2), "{at}: {state:?}");
    assert_eq!(store.rotations().await.unwrap(), [], "{at}");
    for authority in state.authorities() {
        let is_there = key_file(bed, authority.name).exists();
        assert_eq!(is_there, authority.is_in_force(), "{at}: the key of {}", authority.name);
    }
    for leftover in ["authority/.new", "roots/.new"] {
        assert!(!bed.config.state_dir.join(leftover).exists(), "{at}: {leftover}");
    }
    assert_eq!(crate::audit_walk::verify(&*store, vec![], vec![], |_, _| ()).await.unwrap().findings, [], "{at}");
}

fn key_file(bed: &Bed, name: AuthorityName) -> PathBuf {
    let places = places::Places::of(&bed.config);
    match name.kind {
        AuthorityKind::Root => places.root(name.number).join("root-key.pem"),
        AuthorityKind::Issuer => places.generation(name.number).join("ca-key.pem"),
        AuthorityKind::Jwt => places.jwt_key(name.number),
    }
}

async fn interrupted_everywhere(kind: AuthorityKind) -> BTreeSet<Moment> {
    let whole = run_until_end(&Bed::new("[rotation]\nautomatic = false\n").await, kind, None).await;
    let cases = stream::iter(whole.iter().enumerate()).map(|(number, moment)| async move {
        let at = format!("{kind}, moment {number}, {moment:?}");
        let bed = Bed::new("[rotation]\nautomatic = false\n").await;
        run_until_end(&bed, kind, Some(number)).await;
        // What is stored is a state that a start accepts.
        bed.store().lifecycle().await.unwrap_or_else(|error| panic!("{at}: {error}"));
        run_until_end(&bed, kind, None).await;
        assert_completed(&bed, kind, &at).await;
    });
    cases.buffer_unordered(AT_ONCE).collect::<()>().await;
    whole.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_is_cut_off_at_any_step_goes_on_and_completes() {
    let mut reached = BTreeSet::new();
    for kind in AuthorityKind::ALL {
        reached.extend(interrupted_everywhere(kind).await);
    }
    for step in Step::ALL {
        assert!(reached.contains(&Moment::Before(step)) && reached.contains(&Moment::After(step)), "{step:?} is in no rotation");
    }
}
