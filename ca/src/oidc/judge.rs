//! The judgement of bearer tokens, and of what was granted by one before.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use identity::{DnsName, SpiffeId, TrustDomain};
use mtls::https::{HttpsClient, WebRoots, WebRootsError};
use pki::{JwtError, MAX_TOKEN_BYTES, Timestamp, verify_id_token};
use runtime::clock::Clock;
use runtime::private_files::{PrivateFileError, read_bounded};
use runtime::web_roots::{self, NoSystemRoots};
use serde::Deserialize;

use super::error::{TokenError, TokenRefusal};
use super::keys::{Cadence, KeySource};
use super::metrics::OidcMetrics;
use super::refresher::{KeyRefresher, Place, oddity, read_keys};
use super::rule::{AdmissionSource, Grant, KeyLocation, OidcRule};

/// The most bytes of a file of web authorities.
const MAX_ROOTS_BYTES: usize = 1 << 20;

/// What a token proves under the rules of now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSubject {
    /// Who shows it.
    pub id: SpiffeId,
    /// The DNS names beside it.
    pub dns_names: Vec<DnsName>,
    /// What to record, so that the grant can be judged anew; the issuer and its name for the subject among it.
    pub source: AdmissionSource,
}

/// Why the rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OidcStartError {
    /// The file of `jwks_roots` cannot be read.
    #[error("the jwks_roots of the issuer {issuer:?}: {cause}")]
    RootsFile {
        /// Of the rule.
        issuer: String,
        /// What the system says.
        cause: PrivateFileError,
    },
    /// It holds no usable authorities.
    #[error("the jwks_roots of the issuer {issuer:?}, {}: {cause}", path.display())]
    Roots {
        /// Of the rule.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        cause: WebRootsError,
    },
    /// The system has no bundle of authorities, and the rule names none.
    #[error(
        "the jwks_url of the issuer {issuer:?} needs authorities of the web: {cause}; name a PEM file by the rule's jwks_roots"
    )]
    NoSystemRoots {
        /// Of the rule.
        issuer: String,
        /// Where was looked.
        cause: NoSystemRoots,
    },
    /// The system's bundle is of no use.
    #[error("the jwks_url of the issuer {issuer:?}: the system's authorities: {cause}; name a PEM file by the rule's jwks_roots")]
    SystemRoots {
        /// Of the rule.
        issuer: String,
        /// What is wrong.
        cause: WebRootsError,
    },
}

/// Judges tokens. One for the process.
pub struct TokenJudge {
    trust_domain: TrustDomain,
    issuers: BTreeMap<String, Issuer>,
    metrics: OidcMetrics,
}

struct Issuer {
    rule: OidcRule,
    keys: Arc<KeySource>,
}

/// The one claim that is looked at before a signature is: it says under whose keys to check it.
#[derive(Deserialize)]
struct Claimed {
    iss: String,
}

impl TokenJudge {
    /// A judge by these rules, and those who look up the keys, each to be run. No key is known before they run.
    ///
    /// # Errors
    /// [`OidcStartError`]: web authorities that a rule needs are not there.
    pub fn new(
        trust_domain: TrustDomain,
        rules: &[OidcRule],
        clock: &Arc<dyn Clock>,
        metrics: OidcMetrics,
    ) -> Result<(Self, Vec<KeyRefresher>), OidcStartError> {
        let mut issuers = BTreeMap::new();
        let mut refreshers = Vec::new();
        for rule in rules {
            let (place, cadence) = match &rule.keys {
                KeyLocation::File(path) => (Place::File { path: path.clone(), read: None }, Cadence::of_file()),
                KeyLocation::Https { url, roots, allow_addresses } => {
                    let roots = web_roots_of(&rule.issuer, roots.as_deref())?;
                    let client = HttpsClient::new(roots, allow_addresses.clone(), Arc::clone(clock));
                    (Place::Https { url: url.clone(), client }, Cadence::of_server(rule.max_stale))
                }
            };
            let keys = Arc::new(KeySource::new(rule.issuer.clone(), rule.max_stale, cadence, Arc::clone(clock)));
            refreshers.push(KeyRefresher { source: Arc::clone(&keys), place, metrics: metrics.clone(), told: None });
            issuers.insert(rule.issuer.clone(), Issuer { rule: rule.clone(), keys });
        }
        Ok((Self { trust_domain, issuers, metrics }, refreshers))
    }

    /// Whether there is any rule: without one no token is good, and nobody needs to be told to bring one.
    pub fn has_rules(&self) -> bool {
        !self.issuers.is_empty()
    }

    /// Whether a rule is for the issuer that the token names, which nobody has checked yet: it says who shall judge it, and no more.
    pub fn has_rule_for(&self, token: &str) -> bool {
        claimed_issuer(token).is_ok_and(|issuer| self.issuers.contains_key(&issuer))
    }

    /// What the token proves. Waits for the keys of its issuer, a few seconds at most.
    ///
    /// # Errors
    /// [`TokenError`]; its text is for the log and holds nothing of the token but claims.
    pub async fn judge(&self, token: &str, now: Timestamp) -> Result<TokenSubject, TokenError> {
        let outcome = self.examine(token, now).await;
        self.metrics.judged(&outcome);
        outcome
    }

    async fn examine(&self, token: &str, now: Timestamp) -> Result<TokenSubject, TokenError> {
        let claimed = claimed_issuer(token)?;
        let issuer = self.issuers.get(&claimed).ok_or_else(|| TokenRefusal::unknown_issuer(&claimed))?;
        let verified = match verify_id_token(token, &*issuer.keys.keys().await?) {
            Err(unknown @ JwtError::UnknownKey { .. }) => match issuer.keys.newer_keys().await? {
                Some(keys) => verify_id_token(token, &keys),
                None => Err(unknown),
            },
            outcome => outcome,
        };
        let verified = verified.map_err(TokenRefusal::from)?;
        let source = issuer.rule.source(verified.claims(), now)?;
        let Grant { id, dns_names } = issuer.rule.grant(&self.trust_domain, &source)?;
        Ok(TokenSubject { id, dns_names, source })
    }

    /// What a source recorded before is granted by the rules of now, for a renewal with no token at hand.
    ///
    /// # Errors
    /// [`TokenRefusal`]: there is no rule for the issuer any more, or it grants nothing to this source.
    pub fn still_grants(&self, source: &AdmissionSource) -> Result<Grant, TokenRefusal> {
        let issuer = self.issuers.get(&source.issuer).ok_or_else(|| TokenRefusal::unknown_issuer(&source.issuer))?;
        issuer.rule.grant(&self.trust_domain, source)
    }

    /// What an operator should know of the issuers' keys.
    pub fn warnings(&self) -> Vec<String> {
        self.issuers.values().filter_map(|issuer| issuer.keys.warning()).collect()
    }
}

/// What a start would find: the web authorities of each rule are there, and what is odd about key files, which may come later.
///
/// # Errors
/// [`OidcStartError`].
pub(crate) fn check(rules: &[OidcRule]) -> Result<Vec<String>, OidcStartError> {
    let mut warnings = Vec::new();
    for rule in rules {
        let warning = match &rule.keys {
            KeyLocation::File(path) => read_keys(path).map_or_else(Some, |keys| oddity(&keys)),
            KeyLocation::Https { roots, .. } => web_roots_of(&rule.issuer, roots.as_deref()).map(|_| None)?,
        };
        warnings.extend(warning.map(|warning| format!("the keys of the issuer {:?}: {warning}", rule.issuer)));
    }
    Ok(warnings)
}

fn claimed_issuer(token: &str) -> Result<String, TokenRefusal> {
    let malformed = |what| TokenRefusal::Malformed { what };
    if token.len() > MAX_TOKEN_BYTES {
        return Err(malformed("it has more than 16384 bytes"));
    }
    let mut parts = token.split('.');
    let (Some(_), Some(payload), Some(_), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(malformed("it has not three parts between dots"));
    };
    let payload = BASE64URL_NOPAD.decode(payload.as_bytes()).map_err(|_| malformed("its payload is not base64url"))?;
    let claimed: Claimed =
        serde_json::from_slice(&payload).map_err(|_| malformed("its payload is no JSON object with one iss"))?;
    Ok(claimed.iss)
}

fn web_roots_of(issuer: &str, configured: Option<&Path>) -> Result<WebRoots, OidcStartError> {
    let issuer = || issuer.to_owned();
    match configured {
        Some(path) => {
            let pem =
                read_bounded(path, MAX_ROOTS_BYTES).map_err(|cause| OidcStartError::RootsFile { issuer: issuer(), cause })?;
            WebRoots::configured(&pem).map_err(|cause| OidcStartError::Roots { issuer: issuer(), path: path.to_owned(), cause })
        }
        None => {
            let pem = web_roots::system().map_err(|cause| OidcStartError::NoSystemRoots { issuer: issuer(), cause })?;
            WebRoots::of_system(&pem).map_err(|cause| OidcStartError::SystemRoots { issuer: issuer(), cause })
        }
    }
}
