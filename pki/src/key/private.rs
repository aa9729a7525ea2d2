//! Private keys.

use zeroize::Zeroizing;

use super::container::{Container, from_pkcs1, from_pkcs8, from_sec1};
use super::encrypted::{open, seal};
use super::{KEY_ENCRYPTION_RANDOM_BYTES, KeyAlgorithm, KeyError, KeyProtection, PublicKey};
use crate::crypto::KeyPair;
use crate::pem::{self, Block};

const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// A private key with its public half. `Debug` shows only its algorithm.
///
/// The encoded key and all buffers on the way to it are wiped on drop; the backend's own parsed form is not, since it
/// offers no way to.
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    pair: KeyPair,
    public: PublicKey,
}

impl PrivateKey {
    /// Makes a fresh key; its randomness comes from the crypto backend.
    ///
    /// # Errors
    /// [`KeyError::Generation`] when the system gives no randomness.
    pub fn generate(algorithm: KeyAlgorithm) -> Result<Self, KeyError> {
        Self::from_pkcs8_der(&KeyPair::generate(algorithm)?)
    }

    /// Reads the one private key of a PEM text: PKCS#8 (`PRIVATE KEY`), SEC1 (`EC PRIVATE KEY`, with or without the
    /// `EC PARAMETERS` block that OpenSSL writes before it) or PKCS#1 (`RSA PRIVATE KEY`).
    ///
    /// # Errors
    /// [`KeyError`] when the text is no PEM, holds no private key or several, holds anything else, or the key is not allowed.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        Self::from_protected_pem(pem, &KeyProtection::Plain)
    }

    /// The same of a place where keys are protected so: under a passphrase only an encrypted key (`ENCRYPTED PRIVATE KEY`) is
    /// read, and otherwise only a plain one, so that a key is never less protected than somebody thinks.
    ///
    /// Deriving the key from the passphrase takes a good part of a second, and for foreign files up to a few.
    ///
    /// # Errors
    /// [`KeyError`] as [`Self::from_pem`], and when the key is not protected so, or the passphrase does not open it.
    pub fn from_protected_pem(pem: &[u8], protection: &KeyProtection) -> Result<Self, KeyError> {
        let blocks = pem::blocks(pem).map_err(|error| match error {
            pem::PemError::Encrypted => KeyError::LegacyEncryption,
            other @ (pem::PemError::TooLong { .. }
            | pem::PemError::Stray { .. }
            | pem::PemError::Label { .. }
            | pem::PemError::Unended { .. }
            | pem::PemError::Headers { .. }
            | pem::PemError::Base64 { .. }) => KeyError::Pem(other),
        })?;
        let mut keys = Vec::new();
        for block in &blocks {
            match block.label.as_str() {
                "PRIVATE KEY" | "EC PRIVATE KEY" | "RSA PRIVATE KEY" => keys.push(block),
                // Only repeats the curve, which the key names itself.
                "EC PARAMETERS" => {}
                ENCRYPTED => keys.push(block),
                label => return Err(KeyError::Label { label: label.to_owned() }),
            }
        }
        let [Block { label, der }] = keys[..] else { return Err(KeyError::PrivateKeyCount { found: keys.len() }) };
        Self::from_container(match (label.as_str(), protection) {
            (ENCRYPTED, KeyProtection::Plain) => return Err(KeyError::Encrypted),
            (ENCRYPTED, KeyProtection::Passphrase(passphrase)) => {
                // A wrong key can leave padding that looks right, and what is then read is noise.
                from_pkcs8(&open(der, passphrase)?).map_err(|_| KeyError::WrongPassphrase)?
            }
            (_, KeyProtection::Passphrase(_)) => return Err(KeyError::NotEncrypted),
            ("EC PRIVATE KEY", KeyProtection::Plain) => from_sec1(der)?,
            ("RSA PRIVATE KEY", KeyProtection::Plain) => from_pkcs1(der)?,
            (_, KeyProtection::Plain) => from_pkcs8(der)?,
        })
    }

    /// Reads PKCS#8 DER (RFC 5958).
    ///
    /// # Errors
    /// [`KeyError`] when it is malformed, not allowed, or its halves do not belong together.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        Self::from_container(from_pkcs8(der)?)
    }

    fn from_container(container: Container) -> Result<Self, KeyError> {
        let Container { pkcs8, algorithm } = container;
        let pair = KeyPair::from_pkcs8(algorithm, &pkcs8)?;
        let public = PublicKey::from_bits(&algorithm.key_identifier(), pair.public_bits())?;
        Ok(Self { pkcs8, pair, public })
    }

    /// The key as PKCS#8 DER, whatever form it was loaded from.
    #[must_use]
    pub fn pkcs8_der(&self) -> &Zeroizing<Vec<u8>> {
        &self.pkcs8
    }

    /// The key as PKCS#8 PEM (`PRIVATE KEY`).
    #[must_use]
    pub fn to_pkcs8_pem(&self) -> Zeroizing<String> {
        pem::encode("PRIVATE KEY", &self.pkcs8)
    }

    /// The key as PEM as it belongs in a place where keys are protected so: `PRIVATE KEY`, or `ENCRYPTED PRIVATE KEY` by PBES2
    /// (PBKDF2-HMAC-SHA-256 with 600,000 iterations, AES-256-CBC). `random` is used up by one encryption.
    #[must_use]
    pub fn to_protected_pem(&self, protection: &KeyProtection, random: &[u8; KEY_ENCRYPTION_RANDOM_BYTES]) -> Zeroizing<String> {
        match protection {
            KeyProtection::Plain => self.to_pkcs8_pem(),
            KeyProtection::Passphrase(passphrase) => pem::encode(ENCRYPTED, &seal(&self.pkcs8, passphrase, random)),
        }
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public
    }

    /// Signs with the key's one algorithm: ECDSA with SHA-256 (P-256) or SHA-384 (P-384), in ASN.1 form; RSA PKCS#1 v1.5 with
    /// SHA-256; Ed25519.
    ///
    /// # Errors
    /// [`KeyError::Signing`] when the backend fails, for want of randomness.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        self.pair.sign(message)
    }
}

impl std::fmt::Debug for PrivateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PrivateKey({})", self.public.algorithm())
    }
}
