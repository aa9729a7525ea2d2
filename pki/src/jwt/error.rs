//! Why a token is refused.

use identity::{SpiffeId, SpiffeIdError, TrustDomain};

use super::audience::{Audience, AudienceError, AudienceSet};
use super::compact::MAX_TOKEN_BYTES;
use super::json::JsonFault;
use crate::{PublicKeyAlgorithm, Timestamp};

/// Why a token is refused. No variant carries the token or its signature.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    /// Over [`MAX_TOKEN_BYTES`].
    #[error("the token has {found} bytes, at most {MAX_TOKEN_BYTES} are read")]
    TooLong {
        /// The length met, in bytes.
        found: usize,
    },
    /// Not three parts: the JSON serialisation, an encrypted token, or no token at all.
    #[error("the token is not a JWS in compact serialization: it has {parts} parts between dots, three are needed")]
    NotCompact {
        /// How many parts it has.
        parts: usize,
    },
    /// A part is not base64url without padding and with all unused bits zero.
    #[error("the {part} of the token is not strict base64url without padding")]
    Base64 {
        /// Which part.
        part: &'static str,
    },
    /// Header or payload is not one JSON object with one reading.
    #[error("the {part} of the token is refused: {fault}")]
    Json {
        /// Which part.
        part: &'static str,
        /// What is wrong with it.
        fault: JsonFault,
    },
    /// The header has no `alg`, or it is no text.
    #[error("the token's header does not name an algorithm")]
    AlgorithmMissing,
    /// Not on the allow-list.
    #[error("the algorithm {found:?} is not allowed; RS256, RS384, RS512, PS256, PS384, PS512, ES256 and ES384 are")]
    Algorithm {
        /// The `alg` value, cut to 64 characters.
        found: String,
    },
    /// The key does not make such signatures.
    #[error("the token names the algorithm {found}, the key {kid:?} is for another one ({key})")]
    AlgorithmOfKey {
        /// The `alg` value.
        found: &'static str,
        /// Which key.
        kid: String,
        /// What kind it is.
        key: PublicKeyAlgorithm,
    },
    /// A header parameter that must not be there (JWT-SVID section 2; for an ID token `crit` and `b64`).
    #[error("the token's header has the parameter {name:?}, which is not allowed")]
    HeaderParameter {
        /// Its name, cut to 64 characters.
        name: String,
    },
    /// `typ` is something else than `JWT` or `JOSE` (JWT-SVID section 2.3).
    #[error("the token's typ is not \"JWT\" or \"JOSE\"")]
    Type,
    /// `kid` is no text, empty, or not one that a key may have.
    #[error("the token's kid is not 1 to 128 printable ASCII characters")]
    KeyId,
    /// No `kid`, and not exactly one key fits.
    #[error("the token names no key, and {fitting} keys fit its algorithm")]
    KeyIdMissing {
        /// How many fit.
        fitting: usize,
    },
    /// No key of this name. A source of keys may be asked anew.
    #[error("no key {kid:?} is known")]
    UnknownKey {
        /// The name in the token.
        kid: String,
    },
    /// Several keys of this name fit.
    #[error("several keys are named {kid:?}")]
    AmbiguousKey {
        /// The name in the token.
        kid: String,
    },
    /// The signature does not verify.
    #[error("the token's signature does not verify")]
    Signature,
    /// A claim that must be there is not.
    #[error("the token has no {name}")]
    ClaimMissing {
        /// Its name.
        name: &'static str,
    },
    /// A claim is not what it should be.
    #[error("the token's {name} is not {expected}")]
    Claim {
        /// Its name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// `sub` is no SPIFFE ID.
    #[error("the token's sub is no SPIFFE ID: {0}")]
    Subject(#[from] SpiffeIdError),
    /// `sub` names the trust domain itself.
    #[error("the token's sub {id} names no workload: it has no path")]
    SubjectWithoutPath {
        /// The ID.
        id: SpiffeId,
    },
    /// `sub` is of another trust domain than the bundle.
    #[error("the token's sub is of the trust domain {found}, the bundle is of {expected}")]
    OtherTrustDomain {
        /// Of the token.
        found: TrustDomain,
        /// Of the bundle.
        expected: TrustDomain,
    },
    /// `aud` holds nothing, too much, or what is no audience.
    #[error("the token's aud is refused: {0}")]
    Audiences(#[from] AudienceError),
    /// Meant for others.
    #[error("the token is for {found}, not for {expected:?}", expected = expected.as_str())]
    OtherAudience {
        /// Whom it is for.
        found: AudienceSet,
        /// Who asks.
        expected: Audience,
    },
    /// Its time is over.
    #[error("the token expired at {expired_at}; it is {now} here")]
    Expired {
        /// Its `exp`.
        expired_at: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
    /// Its time has not come.
    #[error("the token's {name} is {from}; it is {now} here")]
    NotYetValid {
        /// `nbf` or `iat`.
        name: &'static str,
        /// When it begins.
        from: Timestamp,
        /// The time of the check.
        now: Timestamp,
    },
}
