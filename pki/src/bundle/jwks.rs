//! Trust bundles as SPIFFE JWKS documents: SPIFFE Trust Domain and Bundle section 4.

use std::collections::BTreeSet;
use std::time::Duration;

use data_encoding::BASE64;
use identity::TrustDomain;
use serde_json::{Map, Value, json};

use super::{BundleError, MAX_AUTHORITIES, MAX_TAINTED_KEYS, TrustBundle};
use crate::jwt::{self, JwkFault, JwksError, JwtAuthority, JwtKeyError, KeyId};
use crate::{Certificate, CertificateError, Sha256Digest};

/// The longest bundle document, in bytes: twice what [`MAX_AUTHORITIES`] of each kind need.
const MAX_DOCUMENT_BYTES: usize = 1024 * 1024;

/// The most keys of a document, unknown ones included.
const MAX_KEYS: usize = 4 * MAX_AUTHORITIES;

/// How often a reader should look again, written into each document.
const REFRESH_HINT: Duration = Duration::from_secs(300);

/// The member of a kept document that names the tainted keys: SHA-256 of each SubjectPublicKeyInfo, in base64. Not of the SPIFFE
/// format, whose readers ignore it (RFC 7517 section 5).
const TAINTED_KEYS: &str = "signet_tainted_keys";

/// Which authorities a document shall hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JwksContent {
    /// All.
    All,
    /// All, and the tainted keys (the member `signet_tainted_keys`): for a copy that its holder keeps.
    Kept,
    /// Those of X.509-SVIDs.
    X509,
    /// Those of JWT-SVIDs.
    Jwt,
}

/// Why a document is no bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleDocumentError {
    /// The document itself does not hold.
    #[error(transparent)]
    Document(#[from] JwksError),
    /// `spiffe_sequence` or `spiffe_refresh_hint` is no whole number that fits.
    #[error("the bundle's {name} is not a whole number from 0 to 2^64 - 1")]
    Number {
        /// Which.
        name: &'static str,
    },
    /// The tainted keys are not what a kept document says of them.
    #[error("the bundle's {TAINTED_KEYS} is no list of at most {MAX_TAINTED_KEYS} SHA-256 digests in base64")]
    TaintedKeys,
    /// A key of a known use does not hold. One bad key refuses the whole.
    #[error("the key at position {position} of the bundle is refused: {fault}")]
    Key {
        /// Its place, from 0.
        position: usize,
        /// Why.
        fault: BundleKeyFault,
    },
    /// Together the authorities are no bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
}

/// Why a key of a bundle document is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleKeyFault {
    /// As a key of any set.
    #[error(transparent)]
    Jwk(#[from] JwkFault),
    /// `x5c` does not hold exactly one certificate in base64.
    #[error("its x5c must hold exactly one certificate in base64")]
    Certificates,
    /// The certificate does not parse.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The members name another key than the certificate (RFC 7517 section 4.7).
    #[error("it is another key than its certificate's")]
    OtherKey,
    /// An X.509 authority with a `kid`, which must not be set.
    #[error("it is for X.509-SVIDs and has a kid, which it must not have")]
    KeyIdOfCertificate,
    /// A key that JWT-SVIDs cannot be signed with.
    #[error(transparent)]
    Authority(#[from] JwtKeyError),
}

/// A bundle as its document says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BundleDocument {
    /// The bundle; without `spiffe_sequence` its sequence is 0.
    pub bundle: TrustBundle,
    /// How often its publisher would have a reader look again.
    pub refresh_hint: Option<Duration>,
}

impl BundleDocument {
    /// Reads a document. Keys of an unknown or missing `use` or an unknown kind are ignored; any other fault refuses the whole.
    ///
    /// A document may hold no key at all, which says that nothing of the trust domain is valid any more: such a bundle validates
    /// nothing.
    ///
    /// # Errors
    /// [`BundleDocumentError`].
    pub fn parse(trust_domain: TrustDomain, json: &[u8]) -> Result<Self, BundleDocumentError> {
        let (members, keys) = jwt::jwks_document(json, MAX_DOCUMENT_BYTES, MAX_KEYS)?;
        let number = |name: &'static str| match members.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or(BundleDocumentError::Number { name }),
        };
        let sequence = number("spiffe_sequence")?.unwrap_or(0);
        let refresh_hint = number("spiffe_refresh_hint")?.map(Duration::from_secs);
        let (mut certificates, mut authorities) = (Vec::new(), Vec::new());
        for (position, key) in keys.iter().enumerate() {
            let refused = |fault| BundleDocumentError::Key { position, fault };
            let Some(jwk) = key.as_object() else { return Err(refused(JwkFault::NotAnObject.into())) };
            match jwk.get("use").and_then(Value::as_str) {
                Some("x509-svid") => certificates.extend(x509_authority(jwk).map_err(refused)?),
                Some("jwt-svid") => authorities.extend(jwt_authority(jwk).map_err(refused)?),
                _ => {}
            }
        }
        let tainted_keys = members.get(TAINTED_KEYS).map(tainted_keys).transpose()?.unwrap_or_default();
        let bundle = TrustBundle::admit(trust_domain, certificates, sequence)?.with_jwt_authorities(authorities)?;
        Ok(Self { bundle: bundle.with_tainted_keys(tainted_keys), refresh_hint })
    }
}

impl TrustBundle {
    /// The bundle as a SPIFFE JWKS document, on one line.
    #[must_use]
    pub fn to_jwks(&self, content: JwksContent) -> String {
        self.to_jwks_hinting(content, REFRESH_HINT)
    }

    /// The same with another `spiffe_refresh_hint`, in whole seconds: how often a reader should look again.
    #[must_use]
    pub fn to_jwks_hinting(&self, content: JwksContent, refresh_hint: Duration) -> String {
        let (x509, jwt) = match content {
            JwksContent::All | JwksContent::Kept => (self.authorities(), self.jwt_authorities()),
            JwksContent::X509 => (self.authorities(), [].as_slice()),
            JwksContent::Jwt => ([].as_slice(), self.jwt_authorities()),
        };
        let x509 = x509.iter().map(|authority| {
            let mut jwk = jwt::members_of(authority.public_key());
            jwk.insert("use".to_owned(), "x509-svid".into());
            jwk.insert("x5c".to_owned(), json!([BASE64.encode(authority.der())]));
            Value::Object(jwk)
        });
        let jwt = jwt.iter().map(|authority| {
            let mut jwk = jwt::members_of(authority.public_key());
            jwk.insert("use".to_owned(), "jwt-svid".into());
            jwk.insert("kid".to_owned(), authority.key_id().as_str().into());
            Value::Object(jwk)
        });
        let mut document = json!({
            "keys": x509.chain(jwt).collect::<Vec<_>>(),
            "spiffe_sequence": self.sequence(),
            "spiffe_refresh_hint": refresh_hint.as_secs(),
        });
        if content == JwksContent::Kept {
            let tainted: Vec<_> = self.tainted_keys().iter().map(|key| BASE64.encode(key)).collect();
            document[TAINTED_KEYS] = json!(tainted);
        }
        document.to_string()
    }

    /// Reads a SPIFFE JWKS document, as [`BundleDocument::parse`] does.
    ///
    /// # Errors
    /// [`BundleDocumentError`].
    pub fn from_jwks(trust_domain: TrustDomain, json: &[u8]) -> Result<Self, BundleDocumentError> {
        Ok(BundleDocument::parse(trust_domain, json)?.bundle)
    }
}

fn tainted_keys(value: &Value) -> Result<BTreeSet<Sha256Digest>, BundleDocumentError> {
    let keys = value.as_array().filter(|keys| keys.len() <= MAX_TAINTED_KEYS).ok_or(BundleDocumentError::TaintedKeys)?;
    let key = |key: &Value| Sha256Digest::try_from(BASE64.decode(key.as_str()?.as_bytes()).ok()?).ok();
    keys.iter().map(|value| key(value).ok_or(BundleDocumentError::TaintedKeys)).collect()
}

/// `None` for a kind of key that is not known. The members beside `x5c` must say the same key.
fn x509_authority(jwk: &Map<String, Value>) -> Result<Option<Certificate>, BundleKeyFault> {
    // The kind must be said, as in every JWK; `x5c` alone decides which key it is.
    if !matches!(jwt::jwk_text(jwk, "kty")?, "RSA" | "EC" | "OKP") {
        return Ok(None);
    }
    if jwk.contains_key("kid") {
        return Err(BundleKeyFault::KeyIdOfCertificate);
    }
    let Some([Value::String(certificate)]) = jwk.get("x5c").and_then(Value::as_array).map(Vec::as_slice) else {
        return Err(BundleKeyFault::Certificates);
    };
    let der = BASE64.decode(certificate.as_bytes()).map_err(|_| BundleKeyFault::Certificates)?;
    let certificate = Certificate::from_der(&der)?;
    match jwt::jwk_public_key(jwk) {
        Ok(key) if &key == certificate.public_key() => Ok(Some(certificate)),
        Ok(_) => Err(BundleKeyFault::OtherKey),
        // An Ed25519 authority: judged as a certificate, its members are not read.
        Err(JwkFault::Kind { .. }) => Ok(Some(certificate)),
        Err(fault) => Err(fault.into()),
    }
}

/// `None` for a kind of key that the backend cannot verify with.
fn jwt_authority(jwk: &Map<String, Value>) -> Result<Option<JwtAuthority>, BundleKeyFault> {
    let public_key = match jwt::jwk_public_key(jwk) {
        Ok(key) => key,
        Err(JwkFault::Kind { .. }) => return Ok(None),
        Err(fault) => return Err(fault.into()),
    };
    let key_id = jwk.get("kid").and_then(Value::as_str).and_then(|kid| KeyId::parse(kid).ok()).ok_or(JwkFault::KeyId)?;
    Ok(Some(JwtAuthority::new(key_id, public_key)?))
}

#[cfg(test)]
mod tests;
