//! `Hello`: what each side speaks, checked before anything else is said (docs/protocol.md, section "Hello").

use identity::TrustDomain;
use pki::Timestamp;
use proto::v1;

/// The version of the program, for people.
pub(crate) const BUILD: &str = env!("CARGO_PKG_VERSION");

/// Features of protocol 1 that this CA understands. A peer may require these and no others.
const FEATURES: [&str; 10] = [
    "join-token",
    "attest-certificate",
    "attest-service-account",
    "reattest",
    "batch-issue",
    "jwt-svid",
    AUDIT_CHECKPOINTS,
    "bundle-progress",
    REVOCATION,
    FEDERATION,
];

/// The feature of agents that keep checkpoints of the audit chain.
pub(crate) const AUDIT_CHECKPOINTS: &str = "audit-checkpoints";

/// The feature of agents that take revocation lists.
pub(crate) const REVOCATION: &str = "revocation";

/// The feature of agents that take bundles of other trust domains.
pub(crate) const FEDERATION: &str = "federation";

/// Most features that a peer may name, of each sort; before authentication everything is counted.
const MAX_FEATURES: usize = 64;

/// Why a peer's hello is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HelloError {
    /// It did not come, or not first.
    #[error("the first message must be a hello; this CA speaks protocol {}", v1::PROTOCOL_VERSION)]
    Missing,
    /// Another protocol.
    #[error(
        "the peer (build {build:?}) speaks protocol {theirs}, this CA (build {BUILD}) speaks {}: run the same release on both sides",
        v1::PROTOCOL_VERSION
    )]
    ProtocolMismatch {
        /// Theirs.
        theirs: u32,
        /// Their program, cut to 64 characters.
        build: String,
    },
    /// It cannot go on without something that this CA does not know.
    #[error(
        "the peer (build {build:?}, protocol {theirs}) requires the feature {feature:?}, which this CA (build {BUILD}, protocol {}) \
         does not know: upgrade the CA first",
        v1::PROTOCOL_VERSION
    )]
    UnknownRequiredFeature {
        /// What it requires, cut to 64 characters.
        feature: String,
        /// Their protocol.
        theirs: u32,
        /// Their program, cut to 64 characters.
        build: String,
    },
}

/// What this CA says of itself.
pub(crate) fn ours(now: Timestamp) -> v1::Hello {
    v1::Hello {
        protocol: v1::PROTOCOL_VERSION,
        build: BUILD.to_owned(),
        features: FEATURES.map(str::to_owned).to_vec(),
        required_features: Vec::new(),
        wall_clock: Some(std::time::SystemTime::from(now).into()),
        audit_checkpoint: None,
        rebootstrap: None,
    }
}

/// Checks what the peer says. Differing clocks are not refused (the certificates decide), but told.
///
/// # Errors
/// [`HelloError`] naming both versions.
pub fn check(hello: Option<v1::Hello>, trust_domain: &TrustDomain, now: Timestamp) -> Result<(), HelloError> {
    let v1::Hello { protocol, build, features: _, required_features, wall_clock, audit_checkpoint: _, rebootstrap: _ } =
        hello.ok_or(HelloError::Missing)?;
    let build: String = build.chars().take(64).collect();
    if protocol != v1::PROTOCOL_VERSION {
        return Err(HelloError::ProtocolMismatch { theirs: protocol, build });
    }
    let unknown = required_features.iter().enumerate().find(|(i, name)| *i >= MAX_FEATURES || !FEATURES.contains(&name.as_str()));
    if let Some((_, feature)) = unknown {
        let feature = feature.chars().take(64).collect();
        return Err(HelloError::UnknownRequiredFeature { feature, theirs: protocol, build });
    }
    if let Some(theirs) = wall_clock.and_then(|time| u64::try_from(time.seconds).ok()).map(Timestamp::from_unix_seconds) {
        let apart = theirs.since(now).max(now.since(theirs));
        if apart > TOLERABLE_SKEW {
            tracing::warn!(%trust_domain, peer_clock = %theirs, our_clock = %now, apart = ?apart, "the peer's clock differs from ours");
        }
    }
    Ok(())
}

/// What leaves are back-dated by: a clock further behind than this sees fresh certificates as not yet valid.
const TOLERABLE_SKEW: std::time::Duration = std::time::Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(change: impl FnOnce(&mut v1::Hello)) -> Result<(), HelloError> {
        let now = Timestamp::from_unix_seconds(1_800_000_000);
        let mut hello = ours(now);
        change(&mut hello);
        check(Some(hello), &TrustDomain::parse("example.org").unwrap(), now)
    }

    #[test]
    fn our_own_hello_passes_and_known_features_may_be_required() {
        assert_eq!(verdict(|_| ()), Ok(()));
        assert_eq!(verdict(|hello| hello.required_features = FEATURES.map(str::to_owned).to_vec()), Ok(()));
        assert_eq!(verdict(|hello| hello.features.push("something-newer".to_owned())), Ok(()));
        assert_eq!(verdict(|hello| hello.wall_clock = None), Ok(()));
    }

    #[test]
    fn another_protocol_or_an_unknown_requirement_is_refused_naming_both_versions() {
        let error = verdict(|hello| hello.protocol = 7).unwrap_err();
        assert!(error.to_string().contains("speaks protocol 7") && error.to_string().contains("speaks 1"), "{error}");
        let error = verdict(|hello| hello.required_features = vec!["join-token".to_owned(), "warp".to_owned()]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("\"warp\"") && text.matches("protocol 1").count() == 2, "{text}");
        let now = Timestamp::from_unix_seconds(0);
        assert_eq!(check(None, &TrustDomain::parse("example.org").unwrap(), now), Err(HelloError::Missing));
    }

    #[test]
    fn a_peer_cannot_make_us_walk_or_repeat_long_texts() {
        let many = vec!["join-token".to_owned(); MAX_FEATURES + 1];
        assert!(verdict(|hello| hello.required_features = many).is_err());
        let error = verdict(|hello| hello.required_features = vec!["x".repeat(10_000)]).unwrap_err();
        assert!(error.to_string().len() < 400, "{}", error.to_string().len());
    }
}
