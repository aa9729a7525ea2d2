//! Certificate signing requests (PKCS#10, RFC 2986).
//!
//! A request proves that its sender holds a key, and nothing more. What it asks for (subject, key usage, life, any
//! extension) is not kept; the URI SANs are, only to refuse a request that names another identity than the admitted one.

#[cfg(test)]
mod tests;

use identity::SpiffeId;
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, DistinguishedName, PublicKeyData, SanType, SignatureAlgorithm, SigningKey};
use x509_parser::extensions::SubjectAlternativeName;
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::certificate::{check_name, read_extension, read_uris};
use crate::der::{self, CONTEXT_0, DerError, INTEGER, OBJECT_IDENTIFIER, Reader, SEQUENCE, SET};
use crate::key::EncoderKey;
use crate::unsigned::{DummySigner, put_together};
use crate::{KeyError, PrivateKey, PublicKey, PublicKeyAlgorithm, Signer, crypto};

/// The largest request read, in bytes. One for RSA 4096 has about 1,200.
pub const MAX_CSR_BYTES: usize = 16 * 1024;

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    /// Over [`MAX_CSR_BYTES`].
    #[error("the request has {found} bytes, at most {MAX_CSR_BYTES} are read")]
    TooLarge {
        /// The length met, in bytes.
        found: usize,
    },
    /// The encoding is not strict DER, or there is more than one request.
    #[error("malformed request: {0}")]
    Der(#[from] DerError),
    /// The structure is not that of a request.
    #[error("malformed request: it does not have the structure of PKCS#10")]
    Structure,
    /// Not version 1, the only one there is.
    #[error("the request has an unknown version")]
    Version,
    /// The key is not allowed.
    #[error("the request's key is refused: {0}")]
    Key(#[from] KeyError),
    /// The signature's algorithm is not on the allow-list, or does not go with the key.
    #[error("the request is signed with the algorithm {oid}, which is not allowed for a key of {key}")]
    SignatureAlgorithm {
        /// The object identifier of the signature's algorithm.
        oid: String,
        /// The request's key.
        key: PublicKeyAlgorithm,
    },
    /// The request is not signed by its own key: the sender has not shown that it holds it.
    #[error("the request's signature does not verify under its own key")]
    Signature,
    /// Extensions are asked for twice.
    #[error("the request asks for extensions more than once")]
    DuplicateExtensionRequest,
    /// An extension asked for is malformed, or stands twice.
    #[error("the request asks for malformed or repeated alternative names")]
    AlternativeNames,
    /// A URI SAN that is not the admitted identity.
    #[error("the request asks for the identity {asked:?}, but {admitted} was admitted")]
    UriSanDiffers {
        /// What it asks for, cut to 256 characters.
        asked: String,
        /// The identity that the caller was admitted as.
        admitted: SpiffeId,
    },
}

/// Builds a request for `key` (DER), with an empty subject and, when given, the wanted identity as its one URI SAN.
///
/// # Errors
/// [`KeyError::Signing`] or [`KeyError::Encoding`]; neither is the caller's fault.
pub fn build_request(key: &PrivateKey, id: Option<&SpiffeId>) -> Result<Vec<u8>, KeyError> {
    let encoding = |error: rcgen::Error| KeyError::Encoding { reason: error.to_string() };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(id) = id {
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(id.as_str()).map_err(encoding)?)];
    }
    let signer = RequestSigner { public: EncoderKey(key.public_key().clone()), private: key };
    params.serialize_request(&signer).map(|request| request.der().to_vec()).map_err(encoding)
}

/// Builds a request for a key that may lie in a device (DER), with an empty subject and no names: who is asked knows whom it signs for.
///
/// # Errors
/// [`KeyError::Signing`], [`KeyError::Device`] or [`KeyError::Encoding`]; none is the caller's fault.
pub async fn build_request_by(signer: &dyn Signer) -> Result<Vec<u8>, KeyError> {
    let encoding = |reason: String| KeyError::Encoding { reason };
    let key = signer.public_key();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    let dummy = DummySigner::of(key);
    let unsigned = params.serialize_request(&dummy).map_err(|error| encoding(error.to_string()))?;
    let info =
        Reader::only(unsigned.der(), SEQUENCE).and_then(|content| Reader::new(content).next().map(|info| info.encoded.to_vec()));
    let info = info.map_err(|error| encoding(error.to_string()))?;
    let signature = signer.signing(&info).made().await?;
    Ok(put_together(&info, key, &signature))
}

/// The encoder signs with the key through this.
struct RequestSigner<'a> {
    public: EncoderKey,
    private: &'a PrivateKey,
}

impl PublicKeyData for RequestSigner<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.public.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.public.algorithm()
    }
}

impl SigningKey for RequestSigner<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.private.sign(message).map_err(|_| rcgen::Error::RemoteKeyError)
    }
}

/// A request whose self-signature was verified over the bytes that were parsed. Only its public key goes on.
#[derive(Clone, Debug)]
#[must_use]
pub struct VerifiedRequest {
    public_key: PublicKey,
    /// `None`: it asks for no alternative names at all.
    uri_sans: Option<Vec<String>>,
}

impl VerifiedRequest {
    /// Parses and verifies one DER request: at most [`MAX_CSR_BYTES`], strict DER, no trailing bytes, a key and a signature
    /// algorithm on the allow-lists, signed by that key.
    ///
    /// # Errors
    /// [`CsrError`], one variant per refusal.
    pub fn parse(der: &[u8]) -> Result<Self, CsrError> {
        if der.len() > MAX_CSR_BYTES {
            return Err(CsrError::TooLarge { found: der.len() });
        }
        der::check(der)?;
        let mut request = Reader::new(Reader::only(der, SEQUENCE)?);
        let info = request.next()?;
        let algorithm = request.expect(SEQUENCE)?;
        let signature = request.whole_byte_bit_string()?;
        request.finish()?;

        let mut fields = Reader::new(Reader::only(info.encoded, SEQUENCE)?);
        if fields.expect(INTEGER)? != [0] {
            return Err(CsrError::Version);
        }
        check_name(fields.expect(SEQUENCE)?)?;
        let public_key = PublicKey::from_spki_der(fields.next()?.encoded)?;
        let attributes = fields.optional(CONTEXT_0)?.unwrap_or_default();
        fields.finish()?;

        // Proof of possession before anything that the sender says is looked at.
        if !crypto::allows_signature_of_key(&public_key.algorithm().key_identifier(), algorithm) {
            let oid = der::oid_text(Reader::new(algorithm).expect(OBJECT_IDENTIFIER)?);
            return Err(CsrError::SignatureAlgorithm { oid, key: public_key.algorithm() });
        }
        public_key.verify_as(algorithm, info.encoded, signature).map_err(|_| CsrError::Signature)?;

        // A second reader must agree that these bytes are one request with this signed part.
        let (rest, parsed) = X509CertificationRequest::from_der(der).map_err(|_| CsrError::Structure)?;
        if !rest.is_empty() || parsed.certification_request_info.raw != info.encoded {
            return Err(CsrError::Structure);
        }
        Ok(Self { public_key, uri_sans: requested_uris(attributes)? })
    }

    /// The key that the requester proved to hold.
    #[must_use]
    pub fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    /// Whether it asks for alternative names of any kind. What they are does not matter: none of them is taken from here.
    #[must_use]
    pub fn asks_for_names(&self) -> bool {
        self.uri_sans.is_some()
    }

    /// Refuses when any URI SAN asked for differs from `id`. A request without one passes: the identity comes from the
    /// caller's admission, never from the request.
    ///
    /// # Errors
    /// [`CsrError::UriSanDiffers`] with the first one that differs.
    pub fn check_uri_sans(&self, id: &SpiffeId) -> Result<(), CsrError> {
        match self.uri_sans.iter().flatten().find(|asked| *asked != id.as_str()) {
            Some(asked) => Err(CsrError::UriSanDiffers { asked: asked.chars().take(256).collect(), admitted: id.clone() }),
            None => Ok(()),
        }
    }
}

/// The URI SANs among the extensions asked for (RFC 2985 section 5.4.2); `None` when no alternative names are.
fn requested_uris(attributes: &[u8]) -> Result<Option<Vec<String>>, CsrError> {
    let mut attributes = Reader::new(attributes);
    let mut request = None;
    while !attributes.is_empty() {
        let mut attribute = Reader::new(attributes.expect(SEQUENCE)?);
        let kind = attribute.expect(OBJECT_IDENTIFIER)?;
        let mut values = Reader::new(attribute.expect(SET)?);
        attribute.finish()?;
        if kind == EXTENSION_REQUEST {
            let extensions = values.expect(SEQUENCE)?;
            if !values.is_empty() || request.replace(extensions).is_some() {
                return Err(CsrError::DuplicateExtensionRequest);
            }
        }
    }
    let mut uris = None;
    let mut extensions = Reader::new(request.unwrap_or_default());
    while !extensions.is_empty() {
        let (oid, value) = read_extension(&mut extensions)?;
        if oid != SUBJECT_ALTERNATIVE_NAME {
            continue;
        }
        der::check(value)?;
        let (_, names) = SubjectAlternativeName::from_der(value).map_err(|_| CsrError::AlternativeNames)?;
        let names = read_uris(&names.general_names).ok_or(CsrError::AlternativeNames)?;
        if uris.replace(names).is_some() {
            return Err(CsrError::AlternativeNames);
        }
    }
    Ok(uris)
}

/// `extensionRequest`, 1.2.840.113549.1.9.14 (RFC 2985 section 5.4.2).
const EXTENSION_REQUEST: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e];
/// `id-ce-subjectAltName`, 2.5.29.17.
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
