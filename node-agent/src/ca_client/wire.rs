//! From the CA's messages to values that may be used. The CA is trusted, its answers are still input: each is checked whole.

use std::sync::Arc;
use std::time::SystemTime;

use identity::{SpiffeId, TrustDomain};
use pki::{
    AudienceSet, Certificate, JWT_CLOCK_SKEW, JwksContent, JwtAuthority, JwtError, JwtSvid, KeyId, MAX_JWT_TTL, MAX_TAINTED_KEYS,
    PrivateKey, PublicKey, RevocationSet, Sha256Digest, SvidError, Timestamp, TrustBundle, X509Svid,
};
use proto::v1;

use super::view::ForeignBundles;

/// The most certificates in a chain that is looked at.
const MAX_CHAIN: usize = 8;

/// The most bundles of other trust domains that are kept.
const MAX_FOREIGN_BUNDLES: usize = 64;

/// Why an answer is refused.
#[derive(Debug, thiserror::Error)]
pub enum AnswerFault {
    /// A part is missing.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A tainted key of the bundle is no digest.
    #[error("its bundle names a tainted key that is no SHA-256 digest")]
    TaintedKey,
    /// More tainted keys than are kept.
    #[error("its bundle names {found} tainted keys, at most {MAX_TAINTED_KEYS} are taken")]
    TaintedKeys {
        /// How many.
        found: usize,
    },
    /// The peer speaks another protocol.
    #[error("it speaks protocol {found} (build {build:?}), this agent {ours} (build {our_build}): upgrade the older of the two")]
    Protocol {
        /// Theirs.
        found: u32,
        /// Their program.
        build: String,
        /// Ours.
        ours: u32,
        /// Our program.
        our_build: &'static str,
    },
    /// The peer requires what we do not know.
    #[error(
        "it requires the feature {feature:?} (build {build:?}), which this agent (build {our_build}) does not know: upgrade the agent"
    )]
    Feature {
        /// What it requires.
        feature: String,
        /// Their program.
        build: String,
        /// Ours.
        our_build: &'static str,
    },
    /// A certificate does not parse.
    #[error("a certificate in it does not parse: {0}")]
    Certificate(#[from] pki::CertificateError),
    /// The chain is longer than any that makes sense.
    #[error("its chain has {found} certificates, at most {MAX_CHAIN} are taken")]
    ChainLength {
        /// How many.
        found: usize,
    },
    /// The certificate names somebody else.
    #[error("it names {found}, asked for was {asked}")]
    OtherIdentity {
        /// In the certificate.
        found: SpiffeId,
        /// Of the entry or the node.
        asked: SpiffeId,
    },
    /// Key, names or chain do not hold.
    #[error(transparent)]
    Svid(#[from] SvidError),
    /// The token does not validate under our bundle now.
    #[error(transparent)]
    Jwt(#[from] JwtError),
    /// The token is for others.
    #[error("its token is for {found}, asked for was {asked}")]
    OtherAudiences {
        /// In the token.
        found: AudienceSet,
        /// Asked for.
        asked: AudienceSet,
    },
    /// The token's end is not the one that the answer tells, or too far off.
    #[error("its token ends at {found}, which is not the end that the answer tells or over {} s off", MAX_JWT_TTL.as_secs())]
    TokenEnd {
        /// In the token.
        found: Timestamp,
    },
    /// The revocation lists do not hold.
    #[error("its revocation lists are refused: {0}")]
    Revocation(#[from] pki::crl::RevocationSetError),
    /// The bundle is of another trust domain.
    #[error("it speaks of trust domain {found:?}, this agent's is {ours}")]
    OtherTrustDomain {
        /// Theirs.
        found: String,
        /// Ours.
        ours: TrustDomain,
    },
    /// The bundle does not hold.
    #[error("its bundle is refused: {0}")]
    Bundle(#[from] pki::BundleError),
    /// A JWT authority of the bundle does not hold.
    #[error("a JWT authority of its bundle is refused: {0}")]
    JwtAuthority(String),
    /// An answer of Istio's API needs a leaf and roots.
    #[error("it has {found} elements: at least two, the leaf and the trust anchors, and at most 16 are taken")]
    Elements {
        /// How many.
        found: usize,
    },
    /// A name that the identity needs is not in the certificate.
    #[error("its certificate does not bear the DNS name {missing}: the CA grants names by rules of its own")]
    DnsName {
        /// Which one.
        missing: identity::DnsName,
    },
    /// It bears a name that nobody asked for.
    #[error("its certificate bears {found}, which was not asked for: the role signs more than this identity, narrow it")]
    ExtraName {
        /// Which one, or of what kind.
        found: String,
    },
    /// It lives longer than was asked for.
    #[error(
        "its certificate ends at {not_after}, asked for was an end by {latest}: the role gives longer lives than are asked for"
    )]
    Lifetime {
        /// Its last second.
        not_after: Timestamp,
        /// The latest end that is taken.
        latest: Timestamp,
    },
    /// It brings an authority that this node was not told to trust.
    #[error("it brings the root \"{subject}\", which is neither one of the configured roots nor signed by one")]
    ForeignRoot {
        /// The subject.
        subject: String,
    },
    /// The node's name does not parse.
    #[error("its node name is refused: {0}")]
    NodeName(#[from] identity::NodeNameError),
}

/// What this agent says of itself.
pub(crate) fn hello(now: SystemTime) -> v1::Hello {
    v1::Hello {
        protocol: v1::PROTOCOL_VERSION,
        build: BUILD.to_owned(),
        features: Vec::new(),
        required_features: Vec::new(),
        wall_clock: Some(now.into()),
        audit_checkpoint: None,
        rebootstrap: None,
    }
}

/// The same at the beginning of a sync stream: with what is kept of the CA's audit chain, and the promise to tell progress.
pub(crate) fn sync_hello(
    now: SystemTime,
    audit_checkpoint: Option<v1::AuditCheckpoint>,
    rebootstrap: Option<v1::Rebootstrap>,
) -> v1::Hello {
    let features = [AUDIT_CHECKPOINTS, BUNDLE_PROGRESS, REVOCATION, FEDERATION].map(str::to_owned).to_vec();
    v1::Hello { features, audit_checkpoint, rebootstrap, ..hello(now) }
}

/// Checks what the CA says of itself. No feature is defined yet, so any that it requires is unknown.
///
/// # Errors
/// [`AnswerFault::Protocol`] or [`AnswerFault::Feature`].
pub fn check_hello(hello: Option<v1::Hello>) -> Result<(), AnswerFault> {
    let v1::Hello { protocol, build, features: _, required_features, wall_clock: _, audit_checkpoint: _, rebootstrap: _ } =
        hello.ok_or(AnswerFault::Missing("hello"))?;
    if protocol != v1::PROTOCOL_VERSION {
        let build = beginning(&build);
        return Err(AnswerFault::Protocol { found: protocol, build, ours: v1::PROTOCOL_VERSION, our_build: BUILD });
    }
    match required_features.into_iter().next() {
        Some(feature) => Err(AnswerFault::Feature { feature: beginning(&feature), build: beginning(&build), our_build: BUILD }),
        None => Ok(()),
    }
}

/// Reads a bundle of our own trust domain.
///
/// # Errors
/// [`AnswerFault`] when it is another's or does not hold.
pub fn bundle(bundle: v1::Bundle, ours: &TrustDomain) -> Result<TrustBundle, AnswerFault> {
    let v1::Bundle { trust_domain, x509_authorities, sequence, jwt_authorities, tainted_keys } = bundle;
    if trust_domain != ours.as_str() {
        return Err(AnswerFault::OtherTrustDomain { found: beginning(&trust_domain), ours: ours.clone() });
    }
    let authorities = x509_authorities.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    let jwt_authorities = jwt_authorities.into_iter().map(jwt_authority).collect::<Result<Vec<_>, _>>()?;
    if tainted_keys.len() > MAX_TAINTED_KEYS {
        return Err(AnswerFault::TaintedKeys { found: tainted_keys.len() });
    }
    let tainted_keys = tainted_keys.into_iter().map(|key| Sha256Digest::try_from(key).map_err(|_| AnswerFault::TaintedKey));
    let tainted_keys = tainted_keys.collect::<Result<_, _>>()?;
    let bundle = TrustBundle::new(ours.clone(), authorities, sequence)?.with_jwt_authorities(jwt_authorities)?;
    Ok(bundle.with_tainted_keys(tainted_keys))
}

/// Reads the revocation lists of our own trust domain, and verifies them under its bundle: all of them or none.
///
/// # Errors
/// [`AnswerFault`] when they are another's or one does not hold.
pub fn revocation(lists: v1::RevocationLists, ours: &TrustDomain, bundle: &TrustBundle) -> Result<RevocationSet, AnswerFault> {
    let v1::RevocationLists { trust_domain, sequence, lists, complete, complete_for_leaves } = lists;
    if trust_domain != ours.as_str() {
        return Err(AnswerFault::OtherTrustDomain { found: beginning(&trust_domain), ours: ours.clone() });
    }
    let lists = lists.iter().map(|list| (list.list.as_slice(), list.issuer.as_slice()));
    let set = RevocationSet::verify(lists, sequence, complete, bundle)?;
    Ok(set.with_complete_for_leaves(complete_for_leaves))
}

/// Lists as they travel, and as they are stored.
pub fn revocation_to_wire(set: &RevocationSet, trust_domain: &TrustDomain) -> v1::RevocationLists {
    let list = |list: &pki::RevocationList| v1::RevocationList { list: list.der().to_vec(), issuer: list.issuer_der().to_vec() };
    v1::RevocationLists {
        trust_domain: trust_domain.to_string(),
        sequence: set.sequence(),
        lists: set.lists().iter().map(list).collect(),
        complete: set.says_complete(),
        complete_for_leaves: set.says_complete_for_leaves(),
    }
}

/// Reads bundles of other trust domains; what is not taken, and why, beside them. One that does not hold is left out: nothing of its trust
/// domain is accepted then, and the others do not suffer. None may be of our own trust domain.
pub fn foreign_bundles(bundles: v1::ForeignBundles, ours: &TrustDomain) -> (ForeignBundles, Vec<String>) {
    let v1::ForeignBundles { bundles } = bundles;
    let (mut taken, mut refused) = (ForeignBundles::new(), Vec::new());
    if bundles.len() > MAX_FOREIGN_BUNDLES {
        refused.push(format!("{} bundles, of which {MAX_FOREIGN_BUNDLES} are taken", bundles.len()));
    }
    for bundle in bundles.into_iter().take(MAX_FOREIGN_BUNDLES) {
        let name = beginning(&bundle.trust_domain);
        match foreign_bundle(bundle, ours) {
            Ok(bundle) => drop(taken.insert(bundle.trust_domain().clone(), Arc::new(bundle))),
            Err(why) => refused.push(format!("{name:?}: {why}")),
        }
    }
    (taken, refused)
}

fn foreign_bundle(bundle: v1::ForeignBundle, ours: &TrustDomain) -> Result<TrustBundle, String> {
    let v1::ForeignBundle { trust_domain, document } = bundle;
    let trust_domain = TrustDomain::parse(&trust_domain).map_err(|error| error.to_string())?;
    if trust_domain == *ours {
        return Err("it is this agent's own trust domain, whose bundle never comes as a foreign one".to_owned());
    }
    TrustBundle::from_jwks(trust_domain, &document).map_err(|error| error.to_string())
}

/// Foreign bundles as they travel, and as they are stored.
pub fn foreign_bundles_to_wire(bundles: &ForeignBundles) -> v1::ForeignBundles {
    let bundle = |bundle: &Arc<TrustBundle>| v1::ForeignBundle {
        trust_domain: bundle.trust_domain().to_string(),
        document: bundle.to_jwks(JwksContent::All).into_bytes(),
    };
    v1::ForeignBundles { bundles: bundles.values().map(bundle).collect() }
}

fn jwt_authority(authority: v1::JwtAuthority) -> Result<JwtAuthority, AnswerFault> {
    let v1::JwtAuthority { key_id, public_key } = authority;
    let refused = |error: &dyn std::error::Error| AnswerFault::JwtAuthority(error.to_string());
    let key_id = KeyId::parse(&key_id).map_err(|error| refused(&error))?;
    let public_key = PublicKey::from_spki_der(&public_key).map_err(|error| refused(&error))?;
    JwtAuthority::new(key_id, public_key).map_err(|error| refused(&error))
}

/// Checks an issued certificate whole before anything uses it: it is for our key, it names exactly whom we asked for, and its
/// chain validates under our bundle now.
///
/// The time of issue is the CA's stamp, as the life of the certificate counts from it; when that lies ahead of our clock our
/// own is taken, as a renewal must not come later than half of what this node will live to see.
///
/// # Errors
/// [`AnswerFault`] naming what does not agree.
pub fn svid(
    answer: v1::X509Svid,
    asked: &SpiffeId,
    key: PrivateKey,
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<X509Svid, AnswerFault> {
    // The text of the ID is for people; what counts is what the certificate says.
    let v1::X509Svid { spiffe_id: _, chain, issued_at } = answer;
    if chain.len() > MAX_CHAIN {
        return Err(AnswerFault::ChainLength { found: chain.len() });
    }
    let chain = chain.iter().map(|der| Certificate::from_der(der)).collect::<Result<Vec<_>, _>>()?;
    let issued_at = time(issued_at, "time of issue")?;
    let svid = X509Svid::new(chain, key, issued_at.min(now))?;
    if svid.id() != asked {
        return Err(AnswerFault::OtherIdentity { found: svid.id().clone(), asked: asked.clone() });
    }
    svid.verify(bundle, now)?;
    Ok(svid)
}

/// Checks an issued JWT-SVID whole before anybody gets it: it validates under our bundle now, names exactly whom we asked for, is
/// for exactly the audiences that we asked for, and ends when the answer says and within an hour.
///
/// The time of issue is taken as for certificates, see [`svid`].
///
/// # Errors
/// [`AnswerFault`] naming what does not agree.
pub fn jwt_svid(
    answer: v1::IssueJwtSvidResponse,
    asked: &SpiffeId,
    audiences: &AudienceSet,
    bundle: &TrustBundle,
    now: Timestamp,
) -> Result<JwtSvid, AnswerFault> {
    let v1::IssueJwtSvidResponse { token, issued_at, expires_at } = answer;
    let token = zeroize::Zeroizing::new(token);
    let (issued_at, expires_at) = (time(issued_at, "time of issue")?, time(expires_at, "end")?);
    let svid = JwtSvid::validated(&token, issued_at.min(now), bundle, now)?;
    if svid.id() != asked {
        return Err(AnswerFault::OtherIdentity { found: svid.id().clone(), asked: asked.clone() });
    }
    if svid.audiences() != audiences {
        return Err(AnswerFault::OtherAudiences { found: svid.audiences().clone(), asked: audiences.clone() });
    }
    let latest = now.plus(MAX_JWT_TTL + JWT_CLOCK_SKEW);
    if svid.expires_at() != expires_at || svid.expires_at() > latest {
        return Err(AnswerFault::TokenEnd { found: svid.expires_at() });
    }
    Ok(svid)
}

/// As much of a foreign text as is repeated in an error.
fn beginning(text: &str) -> String {
    text.chars().take(64).collect()
}

fn time(time: Option<prost_types::Timestamp>, what: &'static str) -> Result<Timestamp, AnswerFault> {
    let time = time.ok_or(AnswerFault::Missing(what))?;
    Ok(Timestamp::from_unix_seconds(u64::try_from(time.seconds).unwrap_or(0)))
}

/// The feature of agents that keep checkpoints of the audit chain.
const AUDIT_CHECKPOINTS: &str = "audit-checkpoints";
/// The feature of agents that tell how far their node is with what they were sent, and of CAs that listen.
pub(super) const BUNDLE_PROGRESS: &str = "bundle-progress";
/// The feature of agents that take revocation lists.
const REVOCATION: &str = "revocation";
/// The feature of agents that take bundles of other trust domains.
const FEDERATION: &str = "federation";
const BUILD: &str = env!("CARGO_PKG_VERSION");
