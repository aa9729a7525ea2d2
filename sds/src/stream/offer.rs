//! What one caller may be offered at a moment: SVIDs that were verified together with the bundle, and what each name means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use identity::SpiffeId;
use pki::{Sha256Digest, Sha256Hasher, SvidError, Timestamp, TrustBundle, X509Svid};

use super::message::{Resource, Secret, UnansweredReason};
use crate::{SecretState, ValidationContextKind};

/// Bytes of a content hash that stand in a version: enough that two contents of one caller never share it.
const VERSION_BYTES: usize = 16;

/// A bundle and the SVIDs that verify under it. Nobody but [`compose`] makes one, so nothing unverified can be sent.
#[derive(Debug)]
pub(super) struct Offer {
    default: Option<SpiffeId>,
    svids: BTreeMap<SpiffeId, Offered>,
    bundle: Arc<TrustBundle>,
    bundle_digest: Sha256Digest,
    content: Sha256Digest,
}

#[derive(Clone, Debug)]
struct Offered {
    svid: Arc<X509Svid>,
    digest: Sha256Digest,
}

/// An SVID that did not verify, and is not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) id: SpiffeId,
    pub(super) serial: String,
    pub(super) why: SvidError,
}

impl Fault {
    /// Whether both speak of one SVID: an alarm is raised once for each, however the reason is worded later.
    pub(super) fn same_svid(&self, other: &Self) -> bool {
        self.id == other.id && self.serial == other.serial
    }
}

/// The outcome of [`compose`].
#[derive(Debug)]
pub(super) struct Composition {
    /// `None`: nothing in the state can be sent.
    pub(super) offer: Option<Offer>,
    pub(super) faults: Vec<Fault>,
}

/// Verifies each SVID of `state` with the bundle of `state` at `now`.
///
/// An SVID that fails is replaced by the one of the same identity in `last_good`, if that one verifies under the new bundle, and is
/// left out otherwise. When none is left there is no offer: the bundle belongs to a pair, and half a pair is not sent.
pub(super) fn compose(state: &SecretState, last_good: Option<&Offer>, now: Timestamp) -> Composition {
    let mut faults = Vec::new();
    let Some(bundle) = &state.bundle else { return Composition { offer: None, faults } };
    let mut svids = BTreeMap::new();
    for svid in &state.svids {
        match svid.verify(bundle, now) {
            Ok(()) => {
                svids.insert(svid.id().clone(), Offered::new(Arc::clone(svid)));
            }
            Err(why) => {
                faults.push(Fault { id: svid.id().clone(), serial: svid.leaf().serial().to_string(), why });
                let stays = last_good.and_then(|offer| offer.svids.get(svid.id()));
                if let Some(offered) = stays.filter(|offered| offered.svid.verify(bundle, now).is_ok()) {
                    svids.insert(svid.id().clone(), offered.clone());
                }
            }
        }
    }
    // `default` is the first SVID of the state. When that one cannot be sent, the next must not take its place.
    let default = state.svids.first().map(|svid| svid.id().clone());
    let offer = (!svids.is_empty()).then(|| Offer::new(default, svids, Arc::clone(bundle)));
    Composition { offer, faults }
}

impl Offer {
    fn new(default: Option<SpiffeId>, svids: BTreeMap<SpiffeId, Offered>, bundle: Arc<TrustBundle>) -> Self {
        let bundle_digest = digest_of_bundle(&bundle);
        let mut hasher = Sha256Hasher::new();
        hash_part(&mut hasher, default.as_ref().map_or("", |id| id.as_str()).as_bytes());
        for (id, offered) in &svids {
            hash_part(&mut hasher, id.as_str().as_bytes());
            hash_part(&mut hasher, &offered.digest);
        }
        hash_part(&mut hasher, &bundle_digest);
        Self { default, svids, bundle, bundle_digest, content: hasher.finish() }
    }

    /// The hash of everything in the offer.
    pub(super) fn content(&self) -> Sha256Digest {
        self.content
    }

    /// Checks chain, key and bundle together, at `now`.
    pub(super) fn verify(&self, now: Timestamp) -> Result<(), Fault> {
        for (id, offered) in &self.svids {
            offered.svid.verify(&self.bundle, now).map_err(|why| Fault {
                id: id.clone(),
                serial: offered.svid.leaf().serial().to_string(),
                why,
            })?;
        }
        Ok(())
    }

    /// How long until one of its SVIDs has ended; zero when one has.
    pub(super) fn ends_in(&self, now: Timestamp) -> Duration {
        let end = self.svids.values().map(|offered| offered.svid.leaf().not_after()).min();
        end.map_or(Duration::ZERO, |last_second| last_second.plus(Duration::from_secs(1)).since(now))
    }

    /// This offer without the identities that `state` no longer holds; `None` when none is left.
    pub(super) fn still_entitled(&self, state: &SecretState) -> Option<Self> {
        let entitled: BTreeSet<&SpiffeId> = state.svids.iter().map(|svid| svid.id()).collect();
        let svids: BTreeMap<_, _> = self
            .svids
            .iter()
            .filter(|(id, _)| entitled.contains(id))
            .map(|(id, offered)| (id.clone(), offered.clone()))
            .collect();
        let default = state.svids.first().map(|svid| svid.id().clone());
        (!svids.is_empty()).then(|| Self::new(default, svids, Arc::clone(&self.bundle)))
    }

    /// The resources that `names` stand for here, in the order of the names. Names without one are left out.
    pub(super) fn resources(&self, names: &BTreeSet<Arc<str>>, kind: ValidationContextKind) -> Vec<Resource> {
        let resource = |name: &Arc<str>| {
            let secret = match self.meaning(name)? {
                Meaning::Certificate(offered) => Secret::Certificate(Arc::clone(&offered.svid)),
                Meaning::ValidationContext => Secret::ValidationContext { bundle: Arc::clone(&self.bundle), kind },
            };
            Some(Resource { name: Arc::clone(name), secret })
        };
        names.iter().filter_map(resource).collect()
    }

    /// The content hash of [`Self::resources`]; `None` when there are none.
    pub(super) fn version(&self, names: &BTreeSet<Arc<str>>, kind: ValidationContextKind) -> Option<String> {
        let mut hasher = Sha256Hasher::new();
        let mut found = 0_usize;
        for name in names {
            let Some(meaning) = self.meaning(name) else { continue };
            found += 1;
            hash_part(&mut hasher, name.as_bytes());
            match meaning {
                Meaning::Certificate(offered) => hash_part(&mut hasher, &offered.digest),
                Meaning::ValidationContext => {
                    hash_part(&mut hasher, kind.as_str().as_bytes());
                    hash_part(&mut hasher, &self.bundle_digest);
                }
            }
        }
        let digest = hasher.finish();
        (found > 0).then(|| HEXLOWER.encode(digest.get(..VERSION_BYTES).unwrap_or(&digest)))
    }

    /// Whether `name` stands for something here.
    pub(super) fn answers(&self, name: &str) -> bool {
        self.meaning(name).is_some()
    }

    fn meaning(&self, name: &str) -> Option<Meaning<'_>> {
        match name {
            "default" => self.svids.get(self.default.as_ref()?).map(Meaning::Certificate),
            "ROOTCA" | "ALL" => Some(Meaning::ValidationContext),
            _ => {
                let id = SpiffeId::parse(name).ok()?;
                if id == self.bundle.trust_domain().id() {
                    return Some(Meaning::ValidationContext);
                }
                self.svids.get(&id).map(Meaning::Certificate)
            }
        }
    }
}

/// Why `name` has no answer under `state` while `offer` is what may be sent.
pub(super) fn why_unanswered(name: &str, state: &SecretState, offer: Option<&Offer>) -> UnansweredReason {
    if state.svids.is_empty() {
        return UnansweredReason::NoIdentity;
    }
    let in_state = match name {
        "default" | "ROOTCA" | "ALL" => true,
        _ => SpiffeId::parse(name).is_ok_and(|id| {
            state.svids.iter().any(|svid| *svid.id() == id)
                || state.bundle.as_ref().is_some_and(|bundle| bundle.trust_domain().id() == id)
        }),
    };
    match (in_state, offer.is_some_and(|offer| offer.answers(name))) {
        (true, false) => UnansweredReason::HeldBack,
        (true, true) | (false, _) => UnansweredReason::NotTheCallers,
    }
}

enum Meaning<'a> {
    Certificate(&'a Offered),
    ValidationContext,
}

impl Offered {
    fn new(svid: Arc<X509Svid>) -> Self {
        // The key needs no part in the hash: its public half stands in the leaf, and the two were matched when the SVID was made.
        let mut hasher = Sha256Hasher::new();
        for certificate in svid.chain() {
            hash_part(&mut hasher, certificate.der());
        }
        let digest = hasher.finish();
        Self { svid, digest }
    }
}

fn digest_of_bundle(bundle: &TrustBundle) -> Sha256Digest {
    let mut hasher = Sha256Hasher::new();
    hash_part(&mut hasher, bundle.trust_domain().as_str().as_bytes());
    for authority in bundle.authorities() {
        hash_part(&mut hasher, authority.der());
    }
    hasher.finish()
}

/// Length first, so that no two lists of parts feed the same bytes.
fn hash_part(hasher: &mut Sha256Hasher, part: &[u8]) {
    let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
    hasher.update(&length.to_be_bytes());
    hasher.update(part);
}
