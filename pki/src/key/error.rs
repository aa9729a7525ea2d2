//! Why a key is refused.

use crate::der::DerError;
use crate::pem::PemError;

use super::KeyAlgorithm;

/// Why a key is refused, or could not be made or used. No variant carries key material.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The text is not PEM.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// The PEM text holds no private key, or more than one.
    #[error("the PEM text must hold exactly one private key, found {found}")]
    PrivateKeyCount {
        /// How many it holds.
        found: usize,
    },
    /// A PEM block of a kind that has no place beside a private key.
    #[error("the PEM block \"{label}\" is no private key; PRIVATE KEY, EC PRIVATE KEY and RSA PRIVATE KEY are read")]
    Label {
        /// The label of the block.
        label: String,
    },
    /// The private key is encrypted, and no passphrase is at hand.
    #[error(
        "the private key is encrypted, and no passphrase is configured; name one under [keys]: passphrase_file or passphrase_credential"
    )]
    Encrypted,
    /// The private key is encrypted in the way of OpenSSL before PKCS#8, which derives its key by one round of MD5.
    #[error(
        "the private key is encrypted in the old PEM way, which protects it badly; convert it with `openssl pkcs8 -topk8 -v2 aes-256-cbc`"
    )]
    LegacyEncryption,
    /// A passphrase is configured, and the key is not under it.
    #[error(
        "the private key is not encrypted, and a passphrase is configured under [keys]; encrypt it with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 600000`, or configure no passphrase"
    )]
    NotEncrypted,
    /// The passphrase does not open it, or its content is damaged: the encryption cannot tell which.
    #[error("the passphrase does not open the private key, or the key is damaged")]
    WrongPassphrase,
    /// It is encrypted in a way that is not read, or that asks for too much work.
    #[error(
        "the encryption of the private key is not read: {what}; PBES2 with PBKDF2 over SHA-2 or scrypt and AES-256-CBC is, as \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc` writes it"
    )]
    Encryption {
        /// What is not read.
        what: String,
    },
    /// It is under scrypt, which the crypto backend of this build does not have.
    #[error(
        "the private key is under scrypt, which is not in aws-lc, the crypto backend of this build; write it anew with \
         `openssl pkcs8 -topk8 -v2 aes-256-cbc -v2prf hmacWithSHA256 -iter 600000`"
    )]
    ScryptNotInBackend,
    /// The encoding is not strict DER or not of the shape of a key.
    #[error("malformed key: {0}")]
    Der(#[from] DerError),
    /// A container version that is not known.
    #[error("the private key has an unknown version of {container}")]
    Version {
        /// `PKCS#8`, `SEC1` or `PKCS#1`.
        container: &'static str,
    },
    /// A key of a kind that is not on the allow-list.
    #[error("keys of the algorithm {oid} are not allowed; use ECDSA P-256 or P-384, Ed25519, or RSA of 2048 to 4096 bits")]
    Algorithm {
        /// The object identifier of the key's algorithm.
        oid: String,
    },
    /// The algorithm's parameters are not the ones that go with it.
    #[error("the algorithm {oid} has parameters that do not belong to it")]
    AlgorithmParameters {
        /// The object identifier of the key's algorithm.
        oid: String,
    },
    /// The curve is spelled out, or missing, instead of named (RFC 5480 section 2.1.1).
    #[error("the curve of the key is not given by name")]
    CurveNotNamed,
    /// A curve that is not on the allow-list.
    #[error("keys on the curve {oid} are not allowed; use P-256 or P-384")]
    Curve {
        /// The object identifier of the curve.
        oid: String,
    },
    /// The container names one curve outside and another inside.
    #[error("the private key names two different curves")]
    CurveMismatch,
    /// The point is compressed, at infinity, or of the wrong length.
    #[error("the public point has {length} bytes and begins with {form:#04x}; an uncompressed point of its curve is needed")]
    PointForm {
        /// The first byte, 4 for an uncompressed point, 0 when there is none.
        form: u8,
        /// The length, in bytes.
        length: usize,
    },
    /// The point does not satisfy the equation of its curve.
    #[error("the public point does not lie on its curve")]
    PointNotOnCurve,
    /// An Ed25519 key that does not have 32 bytes.
    #[error("an Ed25519 public key has 32 bytes, found {found}")]
    Ed25519Length {
        /// The length met, in bytes.
        found: usize,
    },
    /// An Ed25519 key of small order: anybody can sign for it.
    #[error("the Ed25519 public key has small order: signatures under it prove nothing")]
    Ed25519SmallOrder,
    /// An RSA modulus outside 2048 to 4096 bits.
    #[error("RSA keys have 2048 to 4096 bits, found {bits}")]
    RsaBits {
        /// The bits of the modulus.
        bits: u64,
    },
    /// An even RSA modulus.
    #[error("the RSA modulus is even")]
    RsaModulusEven,
    /// A public exponent other than 65537.
    #[error("the RSA public exponent must be 65537")]
    RsaExponent,
    /// An RSA key made by the flawed generator of CVE-2017-15361, whose factors can be found.
    #[error(
        "the RSA key was made by a flawed generator (CVE-2017-15361): its private half can be computed; make a new key elsewhere"
    )]
    RsaRoca,
    /// The private key does not carry its public half, which cannot be derived here.
    #[error("the EC private key does not carry its public point; rewrite it with `openssl pkey`")]
    PublicPointMissing,
    /// The private half is out of range, or does not go with the public one.
    #[error("the private key is not sound: {reason}")]
    Rejected {
        /// The backend's word for it.
        reason: String,
    },
    /// The crypto backend of this build does not make such keys.
    #[error(
        "{algorithm} keys cannot be made by {backend}, the crypto backend of this build; choose an ECDSA key, or use a build with \
         `--no-default-features --features aws-lc`"
    )]
    GenerationNotInBackend {
        /// The key that was asked for.
        algorithm: KeyAlgorithm,
        /// The name of the backend.
        backend: &'static str,
    },
    /// The backend could not make a key: it got no randomness.
    #[error("no key could be generated: the system gave no randomness")]
    Generation,
    /// The backend could not sign.
    #[error("the crypto backend could not sign")]
    Signing,
    /// The device that holds the key did not sign.
    #[error("{cause}")]
    Device {
        /// What it, or whoever speaks to it, says.
        cause: String,
    },
    /// What the device gave is no signature over what it was asked to sign.
    #[error("what the device gave does not verify under its public key: another key signed, or something else was signed")]
    DeviceSignature,
    /// Asked of a key that is not ECDSA.
    #[error("only ECDSA keys on P-256 and P-384 can lie in a device")]
    NotEcdsa,
    /// The encoder of requests failed: a bug.
    #[error("the request could not be encoded: {reason}")]
    Encoding {
        /// The encoder's word for it.
        reason: String,
    },
}

/// The signature does not verify under the key, or is of an algorithm that does not go with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureInvalid;
