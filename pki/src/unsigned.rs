//! Certificates that nobody has signed yet, and how a signature is put on them.
//!
//! A certificate is encoded once, by a signer that holds the issuer's public key and no private one. It keeps the to-be-signed
//! bytes and returns a dummy signature of the right shape, so the whole can be linted before the CA key is used. Signing later puts
//! a real signature beside exactly those bytes and parses the result anew.

use std::cell::OnceCell;

use rcgen::{CertificateParams, Issuer, PublicKeyData, SigningKey};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::der::{self, BIT_STRING, INTEGER, SEQUENCE};
use crate::key::EncoderKey;
use crate::{Certificate, CertificateError, KeyError, PrivateKey, PublicKey, PublicKeyAlgorithm};

/// Why a certificate could not be encoded: the issuer's certificate cannot be used, or a bug.
#[derive(Debug, thiserror::Error)]
#[error("the certificate cannot be encoded: {cause}")]
pub struct EncodingError {
    /// What the encoder said.
    pub cause: String,
}

impl EncodingError {
    pub(crate) fn new(cause: impl std::fmt::Display) -> Self {
        Self { cause: cause.to_string() }
    }
}

/// Why a signature was not put on a certificate. None of these is a requester's fault.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key is not the one that the certificate names as its issuer's.
    #[error("the signing key does not belong to the issuer that the certificate was encoded for")]
    WrongKey,
    /// The key did not sign.
    #[error("the issuer's key did not sign: {0}")]
    Key(#[from] KeyError),
    /// The signed certificate does not parse: a bug.
    #[error("the signed certificate does not parse: {0}")]
    Unparsable(#[from] CertificateError),
    /// What was signed is not what was prepared: a bug or an attack.
    #[error("the signed certificate differs from the one that was prepared")]
    Altered,
}

/// An encoded certificate that nobody has signed: the to-be-signed bytes, and the DER with a dummy signature for the lints.
#[derive(Clone, Debug)]
pub struct Unsigned {
    tbs_der: Vec<u8>,
    dummy_signed: Certificate,
    issuer_key: PublicKey,
}

impl Unsigned {
    /// Encodes `params` for `subject_key` under `issuer`, or under itself when there is no issuer (a root).
    pub(crate) fn encode(
        params: &CertificateParams,
        subject_key: &PublicKey,
        issuer: Option<&Certificate>,
    ) -> Result<Self, EncodingError> {
        let issuer_key = issuer.map_or(subject_key, Certificate::public_key);
        let signer = CapturingSigner::new(issuer_key);
        let encoded = match issuer {
            // From the certificate's DER and never from parameters: with those, name and key identifier could differ from
            // what the certificate says.
            Some(issuer) => {
                let issuer = Issuer::from_ca_cert_der(issuer.der(), &signer).map_err(EncodingError::new)?;
                params.signed_by(&EncoderKey(subject_key.clone()), &issuer)
            }
            None => params.self_signed(&signer),
        };
        let dummy_signed = Certificate::from_der(encoded.map_err(EncodingError::new)?.der()).map_err(EncodingError::new)?;
        let tbs_der = signer.captured.into_inner().ok_or_else(|| EncodingError::new("the encoder did not sign"))?;
        if dummy_signed.tbs_der() != tbs_der {
            return Err(EncodingError::new("the encoder signed other bytes than it wrote"));
        }
        Ok(Self { tbs_der, dummy_signed, issuer_key: issuer_key.clone() })
    }

    /// The bytes to sign: a whole `TBSCertificate`.
    #[must_use]
    pub fn tbs_der(&self) -> &[u8] {
        &self.tbs_der
    }

    /// The whole certificate, under the dummy signature. No verifier accepts it.
    #[must_use]
    pub fn dummy_signed(&self) -> &Certificate {
        &self.dummy_signed
    }

    /// The key that must sign.
    #[must_use]
    pub fn issuer_key(&self) -> &PublicKey {
        &self.issuer_key
    }

    /// Puts the signature that `key` makes over exactly [`Self::tbs_der`] in place of the dummy, parses the result, and requires
    /// that its to-be-signed bytes are the same ones and that both signature algorithms in it agree.
    ///
    /// Whether the signature verifies is the caller's to check, on the result: it costs more than making it.
    ///
    /// # Errors
    /// [`SigningError`]: a key that is not the issuer's, a key that fails, or a result that differs.
    pub fn sign(&self, key: &PrivateKey) -> Result<Certificate, SigningError> {
        if key.public_key() != &self.issuer_key {
            return Err(SigningError::WrongKey);
        }
        let signature = key.sign(&self.tbs_der)?;
        self.assemble(&signature)
    }

    fn assemble(&self, signature: &[u8]) -> Result<Certificate, SigningError> {
        let algorithm = signature_algorithm_der(self.issuer_key.algorithm());
        // A BIT STRING begins with the number of unused bits.
        let signature = der::encode(BIT_STRING, &[&[0], signature]);
        let whole = der::encode(SEQUENCE, &[&self.tbs_der, &algorithm, &signature]);
        let signed = Certificate::from_der(&whole)?;
        let (_, parsed) = X509Certificate::from_der(&whole).map_err(|_| SigningError::Altered)?;
        // RFC 5280 section 4.1.1.2: the algorithm outside is the one inside.
        if signed.tbs_der() != self.tbs_der || parsed.signature_algorithm != parsed.tbs_certificate.signature {
            return Err(SigningError::Altered);
        }
        Ok(signed)
    }
}

/// Announces the issuer's key and algorithm, keeps what it is asked to sign, and signs nothing.
struct CapturingSigner {
    public: EncoderKey,
    dummy: Vec<u8>,
    captured: OnceCell<Vec<u8>>,
}

impl CapturingSigner {
    fn new(issuer_key: &PublicKey) -> Self {
        let dummy = dummy_signature(issuer_key.algorithm());
        Self { public: EncoderKey(issuer_key.clone()), dummy, captured: OnceCell::new() }
    }
}

impl PublicKeyData for CapturingSigner {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl SigningKey for CapturingSigner {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        // A second call would mean that the bytes kept are not the bytes of the certificate.
        self.captured.set(message.to_vec()).map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(self.dummy.clone())
    }
}

/// A signature of the right shape that is never valid: r = s = 0 (FIPS 186-5 section 6.4.2), or zeros.
fn dummy_signature(algorithm: PublicKeyAlgorithm) -> Vec<u8> {
    match algorithm {
        PublicKeyAlgorithm::EcdsaP256 | PublicKeyAlgorithm::EcdsaP384 => {
            let zero = der::encode(INTEGER, &[&[0]]);
            der::encode(SEQUENCE, &[&zero, &zero]).to_vec()
        }
        PublicKeyAlgorithm::Ed25519 => vec![0; 64],
        PublicKeyAlgorithm::Rsa { bits } => vec![0; usize::try_from(bits.div_ceil(8)).unwrap_or(512)],
    }
}

/// The AlgorithmIdentifier of the one signature algorithm that goes with a key: RFC 5758 section 3.2, RFC 8410 section 3, RFC 4055
/// section 5.
pub(crate) fn signature_algorithm_der(algorithm: PublicKeyAlgorithm) -> Vec<u8> {
    der::encode(SEQUENCE, &[algorithm.signature_identifier().as_ref()]).to_vec()
}

#[cfg(test)]
mod tests;
