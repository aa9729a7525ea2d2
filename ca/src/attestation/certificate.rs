//! Attestation by a certificate of a provisioning authority.
//!
//! The caller proves both keys over one transcript, that of the node and that of the certificate, before the certificate is even
//! looked at; only then is it validated, and used up in the store.

use pki::proof::certificate_transcript;
use pki::{Certificate, CertificateDer, Timestamp, sha256};

use super::{AttestError, Attestation, Attested, NONCE_BYTES, Proof};
use crate::provisioning::{self, Provisioned};
use crate::records::{ProvisioningCertificate, SvidGrounds};

/// The most certificates of a chain that is looked at.
pub(crate) const MAX_CHAIN: usize = 6;

/// A chain as the caller sent it, with its proof.
pub(crate) struct CertificateProof {
    /// DER, leaf first.
    pub(crate) chain: Vec<Vec<u8>>,
    /// By the key of the leaf.
    pub(crate) signature: Vec<u8>,
    /// By the node key, over the same transcript.
    pub(crate) node: Proof,
}

impl Attestation {
    /// Attests the node that a certificate names, over the nonce that this CA gave on the same stream. The same node key may do so
    /// again for a while: its first answer may have been lost.
    ///
    /// # Errors
    /// [`AttestError`]; no certificate is used up by a caller that did not prove both keys.
    pub(crate) async fn by_certificate(
        &self,
        nonce: &[u8; NONCE_BYTES],
        proof: CertificateProof,
    ) -> Result<Attested, AttestError> {
        let _slot = self.slot().await?;
        self.check_clock()?;
        let CertificateProof { chain, signature, node } = proof;
        if chain.len() > MAX_CHAIN {
            return Err(AttestError::CertificateProof);
        }
        let leaf = chain.first().ok_or(AttestError::CertificateProof)?;
        let holder = Certificate::from_der(leaf).map_err(|_| AttestError::CertificateProof)?;
        let transcript = certificate_transcript(&node.exporter, nonce, &node.csr, &node.node_public_key, leaf);
        holder.public_key().verify(&transcript, &signature).map_err(|_| AttestError::CertificateProof)?;
        let proven = node.verify(&transcript)?;
        if proven.request.public_key() == holder.public_key() {
            return Err(AttestError::CertificateKeyReused);
        }
        let now = Timestamp::from(self.clock.now());
        let chain: Vec<_> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
        let Provisioned { node, leaf } = provisioning::judge(&self.provisioning, &chain, now)?;
        let certificate = ProvisioningCertificate {
            issuer: sha256(leaf.issuer_der()),
            serial: leaf.serial().clone(),
            node,
            not_after: leaf.not_after(),
        };
        let node_key_spki = proven.node_key.spki_der().to_vec();
        let record = self.store.redeem_certificate(certificate, node_key_spki.clone(), now).await?;
        self.admit(&record, &proven.request, SvidGrounds::Attestation { node_key_spki }).await
    }
}
