//! Certificates that nobody has signed yet, and how a signature is put on them.
//!
//! A certificate is encoded once, without the issuer's private key and with a dummy signature of the right shape, so that the whole can be parsed and linted before the CA key is used. Signing later puts a real signature beside
//! exactly the to-be-signed bytes that were parsed and linted, and requires that nothing else differs in the result.

use rcgen::{CertificateParams, Issuer, PublicKeyData, SigningKey};

use crate::der::{self, BIT_STRING, INTEGER, SEQUENCE};
use crate::key::EncoderKey;
use crate::{Certificate, KeyError, PrivateKey, PublicKey, PublicKeyAlgorithm, Signer};

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
        let signer = DummySigner::of(issuer_key);
        let encoded = match issuer {
            // From the certificate's DER and never from parameters: with those, name and key identifier could differ from
            // what the certificate says.
            Some(issuer) => {
                let issuer = Issuer::from_ca_cert_der(issuer.der(), &signer).map_err(EncodingError::new)?;
                params.signed_by(&EncoderKey(subject_key.clone()), &issuer)
            }
            None => params.self_signed(&signer),
        };
        let encoded = encoded.map_err(EncodingError::new)?;
        let dummy_signed = Certificate::from_der_for_key(encoded.der(), subject_key).map_err(EncodingError::new)?;
        // What the encoder wrote, and so what is linted; what it asked its signer to sign counts for nothing.
        let tbs_der = dummy_signed.tbs_der().to_vec();
        Ok(Self { tbs_der, dummy_signed, issuer_key: issuer_key.clone() })
    }

    /// A leaf for `subject_key` under `issuer`, from its to-be-signed bytes.
    pub(crate) fn of_leaf(tbs_der: &[u8], subject_key: &PublicKey, issuer: &Certificate) -> Result<Self, EncodingError> {
        let issuer_key = issuer.public_key();
        let whole = put_together(tbs_der, issuer_key, &dummy_signature(issuer_key.algorithm()));
        let dummy_signed = Certificate::from_der_for_key(&whole, subject_key).map_err(EncodingError::new)?;
        if dummy_signed.tbs_der() != tbs_der {
            return Err(EncodingError::new("the to-be-signed bytes are not one value"));
        }
        Ok(Self { tbs_der: tbs_der.to_vec(), dummy_signed, issuer_key: issuer_key.clone() })
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

    /// Puts the signature that `key` makes over exactly [`Self::tbs_der`] in place of the dummy, reads the result, and requires that
    /// its to-be-signed bytes are those that were parsed and linted, and that both signature algorithms in it agree.
    ///
    /// Whether the signature verifies is the caller's to check, on the result: it costs more than making it.
    ///
    /// # Errors
    /// [`SigningError`]: a key that is not the issuer's, a key that fails, or a result that differs.
    pub fn sign(&self, key: &PrivateKey) -> Result<Certificate, SigningError> {
        self.check_key(key.public_key())?;
        self.assemble(&key.sign(&self.tbs_der)?)
    }

    /// The same with a key that may lie in a device.
    ///
    /// # Errors
    /// [`SigningError`], as [`Self::sign`].
    pub async fn sign_by(&self, signer: &dyn Signer) -> Result<Certificate, SigningError> {
        self.check_key(signer.public_key())?;
        self.assemble(&signer.signing(&self.tbs_der).made().await?)
    }

    fn check_key(&self, key: &PublicKey) -> Result<(), SigningError> {
        if *key == self.issuer_key { Ok(()) } else { Err(SigningError::WrongKey) }
    }

    fn assemble(&self, signature: &[u8]) -> Result<Certificate, SigningError> {
        let whole = put_together(&self.tbs_der, &self.issuer_key, signature);
        // The dummy's algorithm outside is the one inside (RFC 5280 section 4.1.1.2), so this one's is.
        self.dummy_signed.with_other_signature(whole).ok_or(SigningError::Altered)
    }
}

/// A certificate, a revocation list or a request, of its three parts (RFC 5280 sections 4.1.1 and 5.1.1, RFC 2986 section 4.2).
pub(crate) fn put_together(tbs_der: &[u8], issuer_key: &PublicKey, signature: &[u8]) -> Vec<u8> {
    let mut whole = Vec::with_capacity(tbs_der.len() + signature.len() + 64);
    der::nest(&mut whole, SEQUENCE, |out| {
        out.extend_from_slice(tbs_der);
        der::nest(out, SEQUENCE, |out| out.extend_from_slice(issuer_key.algorithm().signature_identifier().as_ref()));
        der::nest(out, BIT_STRING, |out| {
            // It begins with the number of unused bits.
            out.push(0);
            out.extend_from_slice(signature);
        });
    });
    whole
}

/// Announces the issuer's key and algorithm, and signs nothing.
pub(crate) struct DummySigner {
    public: EncoderKey,
    dummy: Vec<u8>,
}

impl DummySigner {
    /// In place of this key.
    pub(crate) fn of(key: &PublicKey) -> Self {
        Self { public: EncoderKey(key.clone()), dummy: dummy_signature(key.algorithm()) }
    }
}

impl PublicKeyData for DummySigner {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl SigningKey for DummySigner {
    fn sign(&self, _: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(self.dummy.clone())
    }
}

/// A signature of the right shape that is never valid: r = s = 0 (FIPS 186-5 section 6.4.2), or zeros.
pub(crate) fn dummy_signature(algorithm: PublicKeyAlgorithm) -> Vec<u8> {
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
