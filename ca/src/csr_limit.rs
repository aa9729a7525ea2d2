//! Certificate requests, read within the configured size.

use pki::VerifiedRequest;

use crate::issuing::IssuingError;
use crate::metrics::{Limit, LimitMetrics};

/// Reads requests of at most so many bytes.
#[derive(Clone, Debug)]
pub(crate) struct CsrLimit {
    pub(crate) max_bytes: usize,
    pub(crate) metrics: LimitMetrics,
}

impl CsrLimit {
    /// Refuses what is too large before anything else is done with it. `csr` is DER.
    ///
    /// # Errors
    /// [`IssuingError::CsrTooLarge`].
    pub(crate) fn check(&self, csr: &[u8]) -> Result<(), IssuingError> {
        if csr.len() > self.max_bytes {
            self.metrics.reached(Limit::CsrBytes);
            return Err(IssuingError::CsrTooLarge { found: csr.len(), limit: self.max_bytes });
        }
        Ok(())
    }

    /// Reads one, and verifies that its key signed it. `csr` is DER.
    ///
    /// # Errors
    /// [`IssuingError::CsrTooLarge`] or [`IssuingError::Csr`].
    pub(crate) fn read(&self, csr: &[u8]) -> Result<VerifiedRequest, IssuingError> {
        self.check(csr)?;
        VerifiedRequest::parse(csr).map_err(IssuingError::Csr)
    }
}

#[cfg(test)]
mod tests {
    use pki::{KeyAlgorithm, PrivateKey, build_request};

    use super::*;

    #[test]
    fn a_request_of_just_the_size_is_read_and_one_byte_less_is_too_small_a_limit() {
        let csr = build_request(&PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap(), None).unwrap();
        let metrics = LimitMetrics::register(&mut runtime::telemetry::registry());
        let limit = |max_bytes| CsrLimit { max_bytes, metrics: metrics.clone() };
        assert!(limit(csr.len()).read(&csr).is_ok());
        let refused = limit(csr.len() - 1).read(&csr).unwrap_err();
        assert!(
            matches!(refused, IssuingError::CsrTooLarge { .. }) && refused.to_string().contains("[limits] csr_bytes"),
            "{refused}"
        );
    }
}
