//! Vault or OpenBao above this CA: their PKI secrets engine signs its issuing CAs (`sign-intermediate`).
//!
//! What the engine says its CA shall be called does not count, nor what the request asks for: each field of the certificate is named here,
//! and `answer` verifies what came of it.

use std::sync::Arc;
use std::time::Duration;

use ::vault::{FaultKind, IntermediateRequest, VaultClient, VaultConfig, VaultError, VaultMetrics};
use data_encoding::HEXLOWER;
use futures_util::future::BoxFuture;
use pki::{Certificate, VerifiedRequest};
use runtime::clock::Clock;
use runtime::entropy::Entropy;

use super::{IssuerRequest, UpstreamAnswer, UpstreamAuthority, UpstreamError, UpstreamRoots};

/// The longest organizationName (RFC 5280 appendix A.1, ub-organization-name).
const MAX_ORGANIZATION_BYTES: usize = 64;
const COMMON_NAME: &str = "Signet issuing CA";

/// A PKI secrets engine as the authority above.
pub(crate) struct VaultUpstream {
    client: VaultClient,
}

impl VaultUpstream {
    /// Nothing is read, and nothing is sent.
    pub(crate) fn new(config: VaultConfig, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>, metrics: VaultMetrics) -> Self {
        Self { client: VaultClient::new(config, clock, entropy, metrics) }
    }

    async fn ask(&self, request: IssuerRequest) -> Result<UpstreamAnswer, UpstreamError> {
        let request = intermediate(request)?;
        let signed = self.client.sign_intermediate(&request).await.map_err(|error| explain(&error))?;
        Ok(UpstreamAnswer { chain: der(&signed.chain()), roots: der(&signed.roots()) })
    }

    async fn look(&self) -> Result<Option<UpstreamRoots>, UpstreamError> {
        let roots = self.client.roots_of_issuer().await.map_err(|error| explain(&error))?;
        // Of several it is not told under which one is signed.
        let signing = if let [one] = roots.as_slice() { Some(one.fingerprint()) } else { None };
        Ok(Some(UpstreamRoots { roots: der(&roots), signing }))
    }
}

impl UpstreamAuthority for VaultUpstream {
    fn name(&self) -> &str {
        "vault"
    }

    fn sign_issuer(&self, request: IssuerRequest) -> BoxFuture<'_, Result<UpstreamAnswer, UpstreamError>> {
        Box::pin(self.ask(request))
    }

    fn roots(&self) -> BoxFuture<'_, Result<Option<UpstreamRoots>, UpstreamError>> {
        Box::pin(self.look())
    }
}

/// The certificate that is asked for: named as a CA of our own would be. The serial number in the subject follows from the key, so that no two
/// CAs of this one have the same name, which would make path building guess.
fn intermediate(request: IssuerRequest) -> Result<IntermediateRequest, UpstreamError> {
    let IssuerRequest { csr_der, trust_domain, ttl, path_len } = request;
    let parsed = VerifiedRequest::parse(&csr_der).map_err(|error| UpstreamError::Refused(format!("not asked: {error}")))?;
    let digest = pki::sha256(parsed.public_key().spki_der());
    let name = trust_domain.as_str();
    Ok(IntermediateRequest {
        subject_serial: HEXLOWER.encode(&digest[..16]),
        csr_der,
        common_name: COMMON_NAME.to_owned(),
        // A trust domain may be longer than an organizationName; its whole text is in the URI.
        organization: (name.len() <= MAX_ORGANIZATION_BYTES).then(|| name.to_owned()),
        uri: trust_domain.id().to_string(),
        path_len,
        ttl: Duration::from_secs(ttl.as_secs()),
    })
}

fn der(certificates: &[Certificate]) -> Vec<Vec<u8>> {
    certificates.iter().map(|certificate| certificate.der().to_vec()).collect()
}

fn explain(error: &VaultError) -> UpstreamError {
    let words = error.to_string();
    match error.kind() {
        FaultKind::Unreachable => UpstreamError::Unreachable(words),
        FaultKind::Credential => UpstreamError::Credential(words),
        FaultKind::Refused => UpstreamError::Refused(words),
        FaultKind::Malformed => UpstreamError::Malformed(words),
    }
}

#[cfg(test)]
mod tests {
    use identity::TrustDomain;
    use pki::{KeyAlgorithm, PrivateKey, build_request};

    use super::*;

    fn request(trust_domain: &str) -> IssuerRequest {
        let key = PrivateKey::generate(KeyAlgorithm::EcdsaP256).unwrap();
        let csr_der = build_request(&key, None).unwrap();
        let ttl = Duration::from_millis(86_400_500);
        IssuerRequest { csr_der, trust_domain: TrustDomain::parse(trust_domain).unwrap(), ttl, path_len: 0 }
    }

    #[test]
    fn each_name_of_the_ca_is_said_and_no_two_are_called_alike() {
        let first = intermediate(request("example.org")).unwrap();
        assert_eq!((first.uri.as_str(), first.organization.as_deref()), ("spiffe://example.org", Some("example.org")));
        assert_eq!((first.path_len, first.ttl, first.common_name.as_str()), (0, Duration::from_secs(86_400), COMMON_NAME));
        let second = intermediate(request("example.org")).unwrap();
        assert_eq!(first.subject_serial.len(), 32);
        assert_ne!(first.subject_serial, second.subject_serial);
        let long = format!("{}.example", "a".repeat(60));
        assert_eq!(intermediate(request(&long)).unwrap().organization, None);
        let broken = IssuerRequest { csr_der: vec![0x30, 0], ..request("example.org") };
        assert!(matches!(intermediate(broken), Err(UpstreamError::Refused(_))));
    }
}
