//! The `[rotation]` table: how the CA replaces its own authorities.

use std::time::Duration;

use runtime::config::Section;

use crate::authority::lifecycle::schedule::Policy;

/// How the CA replaces its own authorities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RotationConfig {
    /// Whether it does so by itself: an issuing CA at half of its life, a root with a third of its life left, a JWT key as
    /// [`Self::policy`] says.
    pub automatic: bool,
    /// When.
    pub policy: Policy,
    /// How long a receiver that cannot acknowledge, such as a reader of files, is given to take up a bundle that was written for it. Where objects
    /// of a cluster are written the default is ten minutes: the kubelet brings them to pods.
    pub propagation_hold: Duration,
}

/// Reads it. `is_issuer_foreign`: there is an upstream; `writes_to_cluster`: objects of a cluster show the bundle.
pub(super) fn read(section: &Section<'_>, is_issuer_foreign: bool, writes_to_cluster: bool) -> RotationConfig {
    let automatic = section.boolean("automatic").unwrap_or(true);
    let jwt_key_life = section.duration("jwt_key_life");
    if jwt_key_life.is_some_and(|life| !(MIN_JWT_KEY_LIFE..=MAX_JWT_KEY_LIFE).contains(&life)) {
        section.fault(
            "jwt_key_life",
            format!("not between {MIN_JWT_KEY_LIFE:?} and {MAX_JWT_KEY_LIFE:?}: each new key goes to every verifier, and must have time to"),
        );
    }
    let propagation_hold = section.duration("propagation_hold");
    if propagation_hold.is_some_and(|hold| hold > MAX_PROPAGATION_HOLD) {
        section.fault("propagation_hold", format!("more than {MAX_PROPAGATION_HOLD:?}"));
    }
    RotationConfig {
        automatic,
        policy: Policy { jwt_key_life: jwt_key_life.unwrap_or(DEFAULT_JWT_KEY_LIFE), is_issuer_foreign },
        propagation_hold: propagation_hold.unwrap_or(if writes_to_cluster {
            CLUSTER_PROPAGATION_HOLD
        } else {
            DEFAULT_PROPAGATION_HOLD
        }),
    }
}

const DEFAULT_JWT_KEY_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);
/// A JWT-SVID lives an hour at most, and its key must outlive it.
const MIN_JWT_KEY_LIFE: Duration = Duration::from_secs(2 * 60 * 60);
const MAX_JWT_KEY_LIFE: Duration = Duration::from_secs(3650 * 24 * 60 * 60);
const DEFAULT_PROPAGATION_HOLD: Duration = Duration::from_secs(60);
/// The kubelet looks about once a minute, with a cache of a minute before it; what reads the file may be as slow.
const CLUSTER_PROPAGATION_HOLD: Duration = Duration::from_secs(10 * 60);
const MAX_PROPAGATION_HOLD: Duration = Duration::from_secs(24 * 60 * 60);
