//! What one caller may be offered at a moment: SVIDs that were verified together with the bundle, and what each name means.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use data_encoding::HEXLOWER;
use identity::SpiffeId;
use pki::{RevocationSet, Sha256Digest, Sha256Hasher, SvidError, Timestamp, TrustBundle, X509Svid};

use super::lists::Lists;
use super::message::{Resource, Secret, UnansweredReason};
use crate::file_secret::{FileSecret, FileSecrets, is_file_name};
use crate::{SecretState, ValidationContextKind};

/// Bytes of a content hash that stand in a version: enough that two contents of one caller never share it.
const VERSION_BYTES: usize = 16;

/// A bundle and the SVIDs that verify under it, and beside them what the host checked in files. Nobody but [`compose`] makes one, so nothing unverified can be sent.
#[derive(Debug)]
pub(super) struct Offer {
    default: Option<SpiffeId>,
    svids: BTreeMap<SpiffeId, Offered>,
    /// `None` when there is no SVID either.
    trust: Option<Trust>,
    files: BTreeMap<Arc<str>, Arc<FileSecret>>,
    content: Sha256Digest,
}

#[derive(Clone, Debug)]
struct Trust {
    bundle: Arc<TrustBundle>,
    /// Of the authorities.
    digest: Sha256Digest,
    revocation: Option<Arc<RevocationSet>>,
    /// What of it is given at the moment.
    lists: Lists,
    /// Of other trust domains, those with authorities.
    foreign: Vec<Foreign>,
}

#[derive(Clone, Debug)]
struct Foreign {
    bundle: Arc<TrustBundle>,
    /// Of the authorities.
    digest: Sha256Digest,
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
/// left out otherwise. When none is left there is no offer: the bundle belongs to a pair, and half a pair is not sent. Then files
/// alone go beside the SVIDs and the bundle of `last_good`.
pub(super) fn compose(state: &SecretState, files: &FileSecrets, last_good: Option<&Offer>, now: Timestamp) -> Composition {
    let mut faults = Vec::new();
    let mut svids = BTreeMap::new();
    for svid in state.bundle.as_ref().map_or(&[][..], |_| &state.svids) {
        let Some(bundle) = &state.bundle else { break };
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
    let default = default_of(state);
    let bundle = state.bundle.as_ref().filter(|_| !svids.is_empty());
    let mut trust = bundle.map(|bundle| Trust::new(bundle, state.revocation.as_ref(), Foreign::all(&state.foreign), &svids, now));
    let files: BTreeMap<_, _> =
        files.answers.iter().filter_map(|(name, secret)| Some((Arc::clone(name), Arc::clone(secret.as_ref()?)))).collect();
    if svids.is_empty()
        && !files.is_empty()
        && let Some(good) = last_good.filter(|good| good.verify(now).is_ok())
    {
        svids.clone_from(&good.svids);
        trust.clone_from(&good.trust);
    }
    let offer = (!svids.is_empty() || !files.is_empty()).then(|| Offer::new(default, svids, trust, files));
    Composition { offer, faults }
}

impl Offer {
    fn new(
        default: Option<SpiffeId>,
        svids: BTreeMap<SpiffeId, Offered>,
        trust: Option<Trust>,
        files: BTreeMap<Arc<str>, Arc<FileSecret>>,
    ) -> Self {
        let mut hasher = Sha256Hasher::new();
        hash_part(&mut hasher, default.as_ref().map_or("", |id| id.as_str()).as_bytes());
        for (id, offered) in &svids {
            hash_part(&mut hasher, id.as_str().as_bytes());
            hash_part(&mut hasher, &offered.digest);
        }
        hash_part(&mut hasher, trust.as_ref().map_or(&[][..], |trust| &trust.digest));
        for kind in [ValidationContextKind::SpiffeValidator, ValidationContextKind::TrustedCa] {
            let digest = trust.as_ref().and_then(|trust| trust.lists.digest(kind));
            hash_part(&mut hasher, digest.map_or(&[][..], |digest| digest));
        }
        for foreign in trust.iter().flat_map(|trust| &trust.foreign) {
            hash_part(&mut hasher, &foreign.digest);
        }
        for (name, secret) in &files {
            hash_part(&mut hasher, name.as_bytes());
            hash_part(&mut hasher, secret.digest());
        }
        Self { default, svids, trust, files, content: hasher.finish() }
    }

    /// The hash of everything in the offer.
    pub(super) fn content(&self) -> Sha256Digest {
        self.content
    }

    /// Checks chain, key and bundle together, at `now`.
    pub(super) fn verify(&self, now: Timestamp) -> Result<(), Fault> {
        let Some(Trust { bundle, .. }) = &self.trust else { return Ok(()) };
        for (id, offered) in &self.svids {
            offered.svid.verify(bundle, now).map_err(|why| Fault {
                id: id.clone(),
                serial: offered.svid.leaf().serial().to_string(),
                why,
            })?;
        }
        Ok(())
    }

    /// How long until one of its SVIDs has ended; zero when one has, `None` when it has none.
    pub(super) fn ends_in(&self, now: Timestamp) -> Option<Duration> {
        let end = self.svids.values().map(|offered| offered.svid.leaf().not_after()).min();
        end.map(|last_second| last_second.plus(Duration::from_secs(1)).since(now))
    }

    /// Whether the revocation lists in it are those that are to be given at `now`.
    pub(super) fn has_lists_of(&self, now: Timestamp) -> bool {
        self.trust.as_ref().is_none_or(|trust| trust.lists.hold_at(now))
    }

    /// How long until other revocation lists may have to be given.
    pub(super) fn lists_change_in(&self, now: Timestamp) -> Option<Duration> {
        self.trust.as_ref().and_then(|trust| trust.lists.change_in(now))
    }

    /// This offer with the revocation lists that are to be given at `now`.
    pub(super) fn with_lists_of(&self, now: Timestamp) -> Self {
        let anew = |trust: &Trust| Trust::new(&trust.bundle, trust.revocation.as_ref(), trust.foreign.clone(), &self.svids, now);
        let trust = self.trust.as_ref().map(anew);
        Self::new(self.default.clone(), self.svids.clone(), trust, self.files.clone())
    }

    /// This offer without the identities and files that are not the caller's any more; `None` when none is left.
    pub(super) fn still_entitled(&self, state: &SecretState, files: &FileSecrets) -> Option<Self> {
        let entitled: BTreeSet<&SpiffeId> = state.svids.iter().map(|svid| svid.id()).collect();
        let svids: BTreeMap<_, _> = self
            .svids
            .iter()
            .filter(|(id, _)| entitled.contains(id))
            .map(|(id, offered)| (id.clone(), offered.clone()))
            .collect();
        let granted = self.files.iter().filter(|(name, _)| files.get(name).is_some());
        let files: BTreeMap<_, _> = granted.map(|(name, secret)| (Arc::clone(name), Arc::clone(secret))).collect();
        let default = default_of(state);
        let mut trust = self.trust.clone().filter(|_| !svids.is_empty());
        if let Some(trust) = &mut trust {
            // A trust domain that is followed no more, or that says that nothing of it is valid any more, is not trusted on as last good.
            trust.foreign.retain(|foreign| {
                let name = foreign.bundle.trust_domain();
                state.foreign.iter().any(|now| now.trust_domain() == name && !now.authorities().is_empty())
            });
        }
        (!svids.is_empty() || !files.is_empty()).then(|| Self::new(default, svids, trust, files))
    }

    /// The resources that `names` stand for here, in the order of the names. Names without one are left out.
    pub(super) fn resources(&self, names: &BTreeSet<Arc<str>>, kind: ValidationContextKind) -> Vec<Resource> {
        let resource = |name: &Arc<str>| {
            let secret = match self.meaning(name)? {
                Meaning::Certificate(offered) => Secret::Certificate(Arc::clone(&offered.svid)),
                Meaning::ValidationContext(trust, scope) => {
                    let (bundle, lists) = (Arc::clone(&trust.bundle), Arc::clone(trust.lists.given(kind)));
                    let foreign = trust.beside(scope, kind).iter().map(|foreign| Arc::clone(&foreign.bundle)).collect();
                    Secret::ValidationContext { bundle, lists, kind, foreign }
                }
                // Tied to its trust domain whatever the peer's own kind: as plain roots it could vouch for any name.
                Meaning::Foreign(foreign) => Secret::ValidationContext {
                    bundle: Arc::clone(&foreign.bundle),
                    lists: Arc::new([]),
                    kind: ValidationContextKind::SpiffeValidator,
                    foreign: Vec::new(),
                },
                Meaning::File(secret) => Secret::File(Arc::clone(secret)),
            };
            Some(Resource { name: Arc::clone(name), version: self.version_of(name, kind)?, secret })
        };
        names.iter().filter_map(resource).collect()
    }

    /// The content hash of [`Self::resources`]; `None` when there are none.
    pub(super) fn version(&self, names: &BTreeSet<Arc<str>>, kind: ValidationContextKind) -> Option<String> {
        let mut hasher = Sha256Hasher::new();
        let found = names.iter().filter(|name| self.hash_secret(&mut hasher, name, kind)).count();
        (found > 0).then(|| version_text(hasher))
    }

    /// The content hash of what `name` stands for; `None` when that is nothing.
    pub(super) fn version_of(&self, name: &str, kind: ValidationContextKind) -> Option<String> {
        let mut hasher = Sha256Hasher::new();
        self.hash_secret(&mut hasher, name, kind).then(|| version_text(hasher))
    }

    fn hash_secret(&self, hasher: &mut Sha256Hasher, name: &str, kind: ValidationContextKind) -> bool {
        let Some(meaning) = self.meaning(name) else { return false };
        hash_part(hasher, name.as_bytes());
        match meaning {
            Meaning::Certificate(offered) => hash_part(hasher, &offered.digest),
            Meaning::ValidationContext(trust, scope) => {
                hash_part(hasher, kind.as_str().as_bytes());
                hash_part(hasher, &trust.digest);
                if let Some(lists) = trust.lists.digest(kind) {
                    hash_part(hasher, lists);
                }
                for foreign in trust.beside(scope, kind) {
                    hash_part(hasher, &foreign.digest);
                }
            }
            Meaning::Foreign(foreign) => hash_part(hasher, &foreign.digest),
            Meaning::File(secret) => hash_part(hasher, secret.digest()),
        }
        true
    }

    /// Whether `name` stands for something here.
    pub(super) fn answers(&self, name: &str) -> bool {
        self.meaning(name).is_some()
    }

    fn meaning(&self, name: &str) -> Option<Meaning<'_>> {
        match name {
            "default" => self.svids.get(self.default.as_ref()?).map(Meaning::Certificate),
            "ROOTCA" => self.trust.as_ref().map(|trust| Meaning::ValidationContext(trust, Scope::Own)),
            "ALL" => self.trust.as_ref().map(|trust| Meaning::ValidationContext(trust, Scope::All)),
            _ if is_file_name(name) => self.files.get(name).map(Meaning::File),
            _ => {
                let id = SpiffeId::parse(name).ok()?;
                let Some(trust) = &self.trust else { return self.svids.get(&id).map(Meaning::Certificate) };
                if id == trust.bundle.trust_domain().id() {
                    return Some(Meaning::ValidationContext(trust, Scope::Own));
                }
                let foreign = trust.foreign.iter().find(|foreign| id == foreign.bundle.trust_domain().id());
                foreign.map(Meaning::Foreign).or_else(|| self.svids.get(&id).map(Meaning::Certificate))
            }
        }
    }
}

/// Why `name` has no answer, given that what may be sent has none. `files`: `None` when secrets from files are not given.
pub(super) fn why_unanswered(name: &str, state: &SecretState, files: Option<&FileSecrets>) -> UnansweredReason {
    if let Some(files) = files.filter(|_| is_file_name(name)) {
        return match files.answers.get(name) {
            None => UnansweredReason::NotYet,
            Some(None) => UnansweredReason::FileRefused,
            Some(Some(_)) => UnansweredReason::HeldBack,
        };
    }
    let id = SpiffeId::parse(name).ok();
    let is_trust = matches!(name, "ROOTCA" | "ALL")
        || id.as_ref().is_some_and(|id| {
            let foreign = state.foreign.iter().filter(|foreign| !foreign.authorities().is_empty());
            state.bundle.iter().chain(foreign).any(|bundle| bundle.trust_domain().id() == *id)
        });
    let held = match &id {
        _ if is_trust || name == "default" => !state.svids.is_empty(),
        Some(id) => state.svids.iter().any(|svid| svid.id() == id),
        None => false,
    };
    let pending = match &id {
        _ if is_trust || name == "default" => !state.pending.is_empty(),
        Some(id) => state.pending.contains(id),
        None => false,
    };
    let revoked = match &id {
        _ if name == "default" => state.default_revoked,
        _ if is_trust => state.svids.is_empty() && state.pending.is_empty() && !state.revoked.is_empty(),
        Some(id) => state.revoked.contains(id) && !held,
        None => false,
    };
    if revoked {
        UnansweredReason::Revoked
    } else if held {
        UnansweredReason::HeldBack
    } else if pending || !state.known {
        UnansweredReason::NotYet
    } else if state.svids.is_empty() && state.pending.is_empty() && state.revoked.is_empty() {
        UnansweredReason::NoIdentity
    } else {
        UnansweredReason::NotTheCallers
    }
}

/// Whom `default` stands for: nobody while the caller's first identity is a revoked one.
fn default_of(state: &SecretState) -> Option<SpiffeId> {
    state.svids.first().filter(|_| !state.default_revoked).map(|svid| svid.id().clone())
}

/// How much a validation context speaks of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The own trust domain.
    Own,
    /// Every trust domain that the caller may verify with, each by its own authorities.
    All,
}

enum Meaning<'a> {
    Certificate(&'a Offered),
    ValidationContext(&'a Trust, Scope),
    Foreign(&'a Foreign),
    File(&'a Arc<FileSecret>),
}

impl Trust {
    fn new(
        bundle: &Arc<TrustBundle>,
        revocation: Option<&Arc<RevocationSet>>,
        foreign: Vec<Foreign>,
        svids: &BTreeMap<SpiffeId, Offered>,
        now: Timestamp,
    ) -> Self {
        let svids = svids.values().map(|offered| &*offered.svid);
        let lists = revocation.map(|set| Lists::of(set, bundle, svids, now)).unwrap_or_default();
        Self { bundle: Arc::clone(bundle), digest: digest_of_bundle(bundle), revocation: revocation.cloned(), lists, foreign }
    }

    /// What stands beside the own trust domain. Plain roots are tied to no trust domain, so that there others are left out: merged, each would
    /// vouch for the names of all.
    fn beside(&self, scope: Scope, kind: ValidationContextKind) -> &[Foreign] {
        match (scope, kind) {
            (Scope::All, ValidationContextKind::SpiffeValidator) => &self.foreign,
            (Scope::All, ValidationContextKind::TrustedCa) | (Scope::Own, _) => &[],
        }
    }
}

impl Foreign {
    fn all(bundles: &[Arc<TrustBundle>]) -> Vec<Self> {
        let some = bundles.iter().filter(|bundle| !bundle.authorities().is_empty());
        some.map(|bundle| Self { bundle: Arc::clone(bundle), digest: digest_of_bundle(bundle) }).collect()
    }
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
pub(super) fn hash_part(hasher: &mut Sha256Hasher, part: &[u8]) {
    let length = u64::try_from(part.len()).unwrap_or(u64::MAX);
    hasher.update(&length.to_be_bytes());
    hasher.update(part);
}

/// A prefix of the hash.
pub(super) fn version_text(hasher: Sha256Hasher) -> String {
    let digest = hasher.finish();
    HEXLOWER.encode(digest.get(..VERSION_BYTES).unwrap_or(&digest))
}
