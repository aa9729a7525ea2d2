//! What a caller may be entitled to at a moment, good and bad, made with real certificates when the process starts.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use pki::{Certificate, Timestamp, TrustBundle, X509Svid};
use sds::SecretState;

use crate::authority::{Authority, DAY, fresh_key, id};
use crate::fixture::{NOW, now, trust_domain};

pub(super) struct States {
    /// Any of these may come at any time.
    pub(super) any: Vec<Arc<SecretState>>,
    /// A good one that is not among them.
    pub(super) settled: Arc<SecretState>,
    /// Another, of the same identities.
    pub(super) after: Arc<SecretState>,
    /// Every bundle of all of them.
    pub(super) bundles: Vec<Arc<TrustBundle>>,
    /// Every leaf of all of them that one of their bundles vouches for while the leaf lives: authorities outlive all inputs. Found out
    /// once, apart from what an SVID remembers of its own verification.
    pub(super) sound: Vec<Certificate>,
}

pub(super) static STATES: LazyLock<States> = LazyLock::new(|| {
    let (authority, other) = (Authority::new(1), Authority::new(2));
    let one = bundle(&[&authority]);
    let both = bundle(&[&authority, &other]);
    let web = [1, 2, 3, 4].map(|number| svid(&authority, "web", number, DAY));
    let [api, last_api] = [5, 6].map(|number| svid(&authority, "api", number, DAY));
    let brief = svid(&authority, "web", 7, Duration::from_secs(60));
    let foreign = svid(&other, "web", 8, DAY);
    let [first, second, settled, after] = &web;
    let without_bundle = SecretState { known: true, svids: vec![Arc::clone(first)], ..SecretState::default() };
    let pending = SecretState { known: true, pending: vec![id("web")], bundle: Some(Arc::clone(&one)), ..SecretState::default() };
    let any = vec![
        state(&[first], &one),
        Arc::new(SecretState::default()),
        state(&[], &one),
        state(&[second], &one),
        state(&[first], &both),
        state(&[second, &api], &both),
        state(&[&api, first], &one),
        state(&[&brief, &api], &one),
        state(&[&foreign], &one),
        state(&[&foreign, &api], &both),
        Arc::new(without_bundle),
        Arc::new(pending),
    ];
    let (settled, after) = (state(&[settled, &api], &both), state(&[after, &last_api], &both));
    let vouched = |svid: &&Arc<X509Svid>| [&one, &both].iter().any(|bundle| svid.verify(bundle, now()).is_ok());
    let svids = any.iter().chain([&settled, &after]).flat_map(|state| &state.svids);
    let sound = svids.filter(vouched).map(|svid| svid.leaf().clone()).collect();
    States { any, settled, after, bundles: vec![one, both], sound }
});

fn svid(authority: &Authority, name: &str, number: u8, ttl: Duration) -> Arc<X509Svid> {
    let key = fresh_key();
    let chain = vec![authority.leaf(name, number, ttl, &key), authority.issuer.clone()];
    Arc::new(X509Svid::new(chain, key, Timestamp::from_unix_seconds(NOW)).expect("chain and key belong together"))
}

fn bundle(authorities: &[&Authority]) -> Arc<TrustBundle> {
    let roots = authorities.iter().map(|authority| authority.root.clone()).collect();
    Arc::new(TrustBundle::new(trust_domain(), roots, 1).expect("they are roots"))
}

fn state(svids: &[&Arc<X509Svid>], bundle: &Arc<TrustBundle>) -> Arc<SecretState> {
    let svids = svids.iter().map(|svid| Arc::clone(svid)).collect();
    Arc::new(SecretState { known: true, svids, bundle: Some(Arc::clone(bundle)), ..SecretState::default() })
}
