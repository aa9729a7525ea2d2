//! The verifier of one handshake.
//!
//! Made anew for each, so that the proof it leaves behind can only speak of that handshake. Path and SVID rules are `pki`'s;
//! the signature that proves possession of the key is checked by the backend's algorithms.

use std::fmt;
use std::sync::{Arc, OnceLock};

use pki::{
    Sha256Digest, TrustBundle, TrustedRoots, Usage, X509Svid, validate_server, validate_svid_sharing, validate_under_pinned_root,
};
use runtime::clock::Clock;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, SignatureScheme};

use identity::{Host, TrustDomain};

use crate::{ClientAuthentication, PeerMatcher, PeerRejection, VerifiedPeer, backend};

/// Under which authorities a chain must stand.
pub(crate) enum Anchors {
    /// Those of the bundle. What the peer sends of `read`, this end's own chain if any, is not held once more.
    Bundle { bundle: Arc<TrustBundle>, read: Option<Arc<X509Svid>> },
    /// The last certificate sent, which must hash to this.
    PinnedRoot { sha256: Sha256Digest, trust_domain: TrustDomain },
    /// These roots; the server is known by its name and not by a SPIFFE ID.
    Roots { roots: TrustedRoots, name: Host },
}

/// Verifies the peer of one handshake and keeps the outcome.
pub(crate) struct Verifier {
    anchors: Anchors,
    expect: Option<PeerMatcher>,
    clients: ClientAuthentication,
    clock: Arc<dyn Clock>,
    provider: Arc<CryptoProvider>,
    outcome: OnceLock<Result<Option<Arc<VerifiedPeer>>, PeerRejection>>,
}

impl Verifier {
    /// For a client: the server must show a certificate, and match. `expect` says nothing where the anchors name the server.
    pub(crate) fn of_server(anchors: Anchors, expect: Option<PeerMatcher>, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self::new(anchors, expect, ClientAuthentication::Required, clock))
    }

    /// For a server: any client under these anchors.
    pub(crate) fn of_client(anchors: Anchors, clients: ClientAuthentication, clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self::new(anchors, None, clients, clock))
    }

    fn new(anchors: Anchors, expect: Option<PeerMatcher>, clients: ClientAuthentication, clock: Arc<dyn Clock>) -> Self {
        Self { anchors, expect, clients, clock, provider: backend::provider(), outcome: OnceLock::new() }
    }

    /// The peer, once the handshake has succeeded; `None` when it showed no certificate, or is no part of a trust domain.
    pub(crate) fn verified(&self) -> Option<Arc<VerifiedPeer>> {
        self.outcome.get().and_then(|outcome| outcome.as_ref().ok()).cloned().flatten()
    }

    /// Why the peer's certificate was refused, if it was.
    pub(crate) fn rejection(&self) -> Option<PeerRejection> {
        self.outcome.get().and_then(|outcome| outcome.as_ref().err()).cloned()
    }

    fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        usage: Usage,
    ) -> Result<(), rustls::Error> {
        let outcome = self.outcome.get_or_init(|| {
            let chain: Vec<_> = std::iter::once(end_entity).chain(intermediates).cloned().collect();
            self.judge(&chain, usage)
        });
        outcome.as_ref().map_or_else(|rejection| Err(rejection.to_alert()), |_| Ok(()))
    }

    fn judge(&self, chain: &[CertificateDer<'_>], usage: Usage) -> Result<Option<Arc<VerifiedPeer>>, PeerRejection> {
        let now = self.clock.now().into();
        let (svid, pinned_root) = match &self.anchors {
            Anchors::Bundle { bundle, read } => {
                let read = read.as_ref().map_or(&[][..], |own| own.chain());
                (validate_svid_sharing(chain, read, bundle, usage, now)?, None)
            }
            Anchors::PinnedRoot { sha256, trust_domain } => {
                let (svid, root) = validate_under_pinned_root(chain, sha256, trust_domain, usage, now)?;
                (svid, Some(root))
            }
            Anchors::Roots { roots, name } => {
                validate_server(chain, roots, name, now)?;
                return Ok(None);
            }
        };
        VerifiedPeer::admit(svid, pinned_root, self.expect.as_ref()).map(|peer| Some(Arc::new(peer)))
    }

    /// Whether the peer holds the key of its certificate. rustls asks in the words of two traits that share no method; what they
    /// have in common is answered here and below.
    fn possession(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn signature_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// TLS 1.2 is not offered, so its signatures are refused whoever made them.
fn tls12_is_off() -> Result<HandshakeSignatureValid, rustls::Error> {
    Err(rustls::Error::General("TLS 1.2 is not offered".to_owned()))
}

/// rustls asks for it; says nothing of the outcome.
impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier").field("expect", &self.expect).finish_non_exhaustive()
    }
}

impl ServerCertVerifier for Verifier {
    // Ignored: rustls's server name (SPIFFE recognises IDs, and what is known by name has it in the anchors), OCSP, and rustls's idea of the time (the clock is ours).
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, Usage::Server)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tls12_is_off()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.possession(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signature_schemes()
    }
}

impl ClientCertVerifier for Verifier {
    fn client_auth_mandatory(&self) -> bool {
        self.clients == ClientAuthentication::Required
    }

    /// None: a client shows what it has, whoever issued it, and is told by an alert if that is not trusted.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, Usage::Client)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        tls12_is_off()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.possession(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signature_schemes()
    }
}
