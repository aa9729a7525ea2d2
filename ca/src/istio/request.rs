//! What a caller asks for, read strictly. The names in a request are compared, never copied.

use std::collections::BTreeMap;
use std::time::Duration;

use pki::VerifiedRequest;

use super::error::CallError;
use crate::csr_limit::CsrLimit;

/// The keys of the metadata that mean something here, as `istio.v1.auth` has them.
const CERT_SIGNER: &str = "CertSigner";
const IMPERSONATED_IDENTITY: &str = "ImpersonatedIdentity";

/// The metadata of a request: text values as such, `None` for a value of any other kind.
pub(crate) type Metadata = BTreeMap<String, Option<String>>;

/// A request whose key was proved to be the sender's.
#[derive(Debug)]
pub(crate) struct SigningRequest {
    /// The request itself.
    pub(crate) request: VerifiedRequest,
    /// The life asked for; `None`: the default.
    pub(crate) ttl: Option<Duration>,
    /// The identity that is asked for in the place of the caller's own, as it came.
    pub(crate) impersonated: Option<String>,
}

impl SigningRequest {
    /// Reads a request of `CreateCertificate`.
    ///
    /// # Errors
    /// [`CallError`]: another signer is asked for, a value is of the wrong kind, or the CSR is not one good PEM block.
    pub(crate) fn create_certificate(
        csr: &str,
        validity_seconds: i64,
        metadata: &Metadata,
        limit: &CsrLimit,
    ) -> Result<Self, CallError> {
        let impersonated = text(metadata, IMPERSONATED_IDENTITY)?;
        let signer = text(metadata, CERT_SIGNER)?;
        if !signer.is_empty() {
            return Err(CallError::Signer { asked: signer.chars().take(64).collect() });
        }
        Ok(Self {
            request: verified(csr.as_bytes(), limit)?,
            ttl: positive(validity_seconds).map(Duration::from_secs),
            impersonated: Some(impersonated).filter(|asked| !asked.is_empty()).map(str::to_owned),
        })
    }

    /// Reads a request of `HandleCSR`, in which names must be asked for.
    ///
    /// # Errors
    /// [`CallError`]: the CSR is not one good PEM block, or names nobody.
    pub(crate) fn handle_csr(csr: &[u8], ttl_minutes: i32, limit: &CsrLimit) -> Result<Self, CallError> {
        let request = verified(csr, limit)?;
        if !request.asks_for_names() {
            return Err(CallError::NoNames);
        }
        let ttl = positive(i64::from(ttl_minutes)).map(|minutes| Duration::from_secs(minutes.saturating_mul(60)));
        Ok(Self { request, ttl, impersonated: None })
    }
}

/// A value of the metadata; one that is absent is empty.
fn text<'m>(metadata: &'m Metadata, key: &'static str) -> Result<&'m str, CallError> {
    match metadata.get(key) {
        Some(Some(text)) => Ok(text),
        Some(None) => Err(CallError::MetadataType { key }),
        None => Ok(""),
    }
}

fn positive(span: i64) -> Option<u64> {
    u64::try_from(span).ok().filter(|span| *span > 0)
}

fn verified(pem: &[u8], limit: &CsrLimit) -> Result<VerifiedRequest, CallError> {
    Ok(limit.read(&pki::request_from_pem(pem)?)?)
}

#[cfg(test)]
mod tests {
    use identity::SpiffeId;
    use pki::{KeyAlgorithm, PrivateKey, build_request, request_to_pem};

    use super::*;
    use crate::issuing::IssuingError;
    use crate::metrics::LimitMetrics;

    fn limit() -> CsrLimit {
        let metrics = LimitMetrics::register(&mut runtime::telemetry::registry());
        CsrLimit { max_bytes: pki::MAX_CSR_BYTES, metrics }
    }

    fn csr(id: Option<&str>) -> String {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let id = id.map(|id| SpiffeId::parse(id).unwrap());
        request_to_pem(&build_request(&key, id.as_ref()).unwrap())
    }

    fn metadata(key: &str, value: Option<&str>) -> Metadata {
        Metadata::from([(key.to_owned(), value.map(str::to_owned)), ("ClusterID".to_owned(), None)])
    }

    #[test]
    fn an_empty_signer_passes_whatever_else_is_in_the_metadata_and_an_identity_is_told_as_it_came() {
        let csr = csr(None);
        let read = |metadata: &Metadata| SigningRequest::create_certificate(&csr, 60, metadata, &limit());
        for good in [Metadata::new(), metadata(CERT_SIGNER, Some("")), metadata(IMPERSONATED_IDENTITY, Some(""))] {
            assert_eq!(read(&good).unwrap().impersonated, None, "{good:?}");
        }
        let signer = read(&metadata(CERT_SIGNER, Some("vault"))).unwrap_err();
        assert!(signer.to_string().contains("vault"), "{signer}");
        let asked = read(&metadata(IMPERSONATED_IDENTITY, Some("spiffe://example.org/x"))).unwrap();
        assert_eq!(asked.impersonated.as_deref(), Some("spiffe://example.org/x"));
        for key in [CERT_SIGNER, IMPERSONATED_IDENTITY] {
            assert!(matches!(read(&metadata(key, None)), Err(CallError::MetadataType { key: found }) if found == key));
        }
    }

    #[test]
    fn a_span_that_is_not_positive_is_the_default() {
        let csr = csr(Some("spiffe://example.org/web"));
        let seconds = |span| SigningRequest::create_certificate(&csr, span, &Metadata::new(), &limit()).unwrap().ttl;
        assert_eq!((seconds(i64::MIN), seconds(-1), seconds(0), seconds(1)), (None, None, None, Some(Duration::from_secs(1))));
        assert_eq!(seconds(i64::MAX), Some(Duration::from_secs(i64::MAX.unsigned_abs())));
        let minutes = |span| SigningRequest::handle_csr(csr.as_bytes(), span, &limit()).unwrap().ttl;
        assert_eq!((minutes(i32::MIN), minutes(0), minutes(2)), (None, None, Some(Duration::from_secs(120))));
        assert_eq!(minutes(i32::MAX), Some(Duration::from_secs(60 * u64::from(i32::MAX.unsigned_abs()))));
    }

    #[test]
    fn the_old_call_wants_a_name_in_the_request() {
        assert!(SigningRequest::handle_csr(csr(Some("spiffe://example.org/web")).as_bytes(), 0, &limit()).is_ok());
        assert!(matches!(SigningRequest::handle_csr(csr(None).as_bytes(), 0, &limit()), Err(CallError::NoNames)));
    }

    #[test]
    fn exactly_one_request_that_its_own_key_signed() {
        let good = csr(None);
        let read = |pem: &str| SigningRequest::create_certificate(pem, 0, &Metadata::new(), &limit());
        assert!(read(&good).is_ok());
        assert!(matches!(read(&format!("{good}{good}")), Err(CallError::Pem(_))));
        assert!(matches!(read(""), Err(CallError::Pem(_))));
        let mut der = pki::request_from_pem(good.as_bytes()).unwrap();
        *der.last_mut().unwrap() ^= 1;
        let refused = read(&request_to_pem(&der)).unwrap_err();
        assert!(matches!(&refused, CallError::Issuing(IssuingError::Csr(_))), "{refused}");
    }
}
