//! What is told of a trust bundle where it is taken up.

use pki::{Timestamp, TrustBundle};

/// One line for each authority outside its dates. The bundle is taken all the same: one root that has ended must not take down the
/// others, and nothing below it is accepted.
pub(crate) fn warn_of_lapses(bundle: &TrustBundle, now: Timestamp) {
    for lapse in bundle.lapsed_at(now) {
        tracing::warn!(trust_domain = %bundle.trust_domain(), sequence = bundle.sequence(), %lapse, "an authority is not in use");
    }
}
