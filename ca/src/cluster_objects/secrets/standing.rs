//! How far Secrets follow a change of the trust bundle, for a rotation, which waits for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pki::{Certificate, Sha256Digest, Timestamp, TrustBundle, X509Svid};

use super::plan::Kept;
use super::world::World;
use crate::authority::lifecycle::gate::ObjectFacts;
use crate::cluster_objects::shown::{Shown, Wanted};

/// The most names of Secrets that are told.
const NAMES_TOLD: usize = 3;
/// How those who wait for them call them.
const WHAT: &str = "Secrets of service accounts";

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Standing(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    wanted: Option<(Arc<TrustBundle>, Wanted)>,
    shown: Shown,
    facts: Option<ObjectFacts>,
}

/// Which chains rest on what is tainted: each chain of intermediates is judged once.
struct Rests<'a> {
    bundle: &'a TrustBundle,
    of_chain: HashMap<Sha256Digest, bool>,
}

impl Standing {
    /// Looks at all Secrets that are kept, as the watches know them. One that cannot be read counts for nothing: it is made anew.
    pub(super) fn observe(&self, world: &World, bundle: &Arc<TrustBundle>, now: Timestamp) {
        let mut state = self.state();
        if !state.wanted.as_ref().is_some_and(|(of, _)| Arc::ptr_eq(of, bundle)) {
            state.wanted = Some((Arc::clone(bundle), Wanted::of(bundle)));
        }
        let Some((_, wanted)) = state.wanted.clone() else { return };
        let (mut of, mut first, mut rests) = (0_u64, Vec::new(), Rests { bundle, of_chain: HashMap::new() });
        let mut unknown = world.warnings();
        let behind = world.secrets(|(namespace, account), kept| {
            if !kept.is_ours || !world.decision(namespace).is_none_or(|decision| decision.is_managed) {
                return None;
            }
            of += 1;
            let is_behind = is_behind(kept, &wanted, &mut rests);
            if is_behind && first.len() < NAMES_TOLD {
                first.push(format!("{namespace}/{account}"));
            }
            is_behind.then_some(())
        });
        if !world.is_listed() && unknown.is_empty() {
            unknown.push("not all lists are read yet".to_owned());
        }
        let behind = behind.len() + unknown.len();
        first.extend(unknown.into_iter().take(1));
        let written_at = state.shown.observe(&wanted, behind, now);
        let behind = u64::try_from(behind).unwrap_or(u64::MAX);
        state.facts =
            Some(ObjectFacts { what: WHAT, sequence: bundle.sequence(), of: of.max(behind), behind, first, written_at });
    }

    /// Before the first look nothing is known.
    pub(super) fn facts(&self) -> ObjectFacts {
        self.state().facts.clone().unwrap_or_else(|| ObjectFacts::unknown(WHAT))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_behind(kept: &Kept, wanted: &Wanted, rests: &mut Rests<'_>) -> bool {
    let Ok(content) = &kept.content else { return false };
    *content.roots() != wanted.roots || rests.on_tainted(content.chain())
}

impl Rests<'_> {
    fn on_tainted(&mut self, chain: &[Certificate]) -> bool {
        let Self { bundle, of_chain } = self;
        let tainted = bundle.tainted_keys();
        match chain.split_first() {
            None => false,
            Some(_) if tainted.is_empty() => false,
            // The leaf's own key is nobody's authority.
            Some((_, intermediates @ [issuer, ..])) => {
                *of_chain.entry(issuer.fingerprint()).or_insert_with(|| X509Svid::chain_rests_on(intermediates, tainted, bundle))
            }
            Some((_, [])) => X509Svid::chain_rests_on(chain, tainted, bundle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster_objects::secrets::content::tests::{DAY, Issuer, content};
    use crate::cluster_objects::secrets::plan::tests::kept;

    #[test]
    fn a_secret_is_behind_while_it_has_other_roots_or_rests_on_what_is_tainted() {
        let (issuer, other) = (Issuer::root(), Issuer::root());
        let good = Kept { content: Ok(content(&issuer, DAY)), ..kept() };
        let is_behind = |kept: &Kept, bundle: &TrustBundle| {
            is_behind(kept, &Wanted::of(bundle), &mut Rests { bundle, of_chain: HashMap::new() })
        };
        assert!(!is_behind(&good, &issuer.bundle()));
        assert!(is_behind(&good, &other.bundle()));
        let tainted = |key: &pki::PrivateKey| issuer.bundle().with_tainted_keys([key.public_key().fingerprint()].into());
        assert!(is_behind(&good, &tainted(&issuer.key)));
        assert!(!is_behind(&good, &tainted(&other.key)));
        assert!(!is_behind(&kept(), &other.bundle()), "what cannot be read is made anew");
    }
}
